"""The errors: each one is also a builtin, says one line that begins with the driver's name, and pickles."""

from __future__ import annotations

import asyncio
import copy
import errno
import pickle
from collections.abc import Callable
from typing import Any

import aiohttp
import pytest
from botocore import exceptions as boto
from fsspec.asyn import get_loop
from fsspec.exceptions import FSTimeoutError

import regfs
from regfs import RegistryFileSystem, StorageDriver
from regfs.errors import (
    BucketNotFoundError,
    DriverError,
    FileChangedError,
    InvalidOffsetError,
    InvalidPathError,
    PathNotFoundError,
    ThrottledError,
    UnsupportedMethodError,
    UploadNotFoundError,
)
from regfs.filesystem.waiting import sync
from regfs.s3.failures import of_service, translate

URL = "regfs://registry/docker/a"
ENDPOINT = "http://127.0.0.1:1"
SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"


@pytest.mark.parametrize(
    ("kind", "builtin", "number"),
    [
        (PathNotFoundError, FileNotFoundError, errno.ENOENT),
        (InvalidPathError, ValueError, errno.EINVAL),
        (InvalidOffsetError, ValueError, errno.EINVAL),
        (UnsupportedMethodError, NotImplementedError, errno.ENOSYS),
        (DriverError, OSError, errno.EIO),
    ],
)
class TestDriverErrors:
    def test_is_also_the_builtin(
        self, kind: type[DriverError], builtin: type[Exception], number: int
    ) -> None:
        assert issubclass(kind, DriverError)
        assert issubclass(kind, OSError)
        assert getattr(regfs, kind.__name__) is kind
        with pytest.raises(builtin) as caught:
            raise kind("what is wrong", "/a", "s3")
        assert isinstance(caught.value, OSError)
        assert caught.value.errno == number
        assert caught.value.filename == "/a"

    def test_message_begins_with_the_driver_and_names_the_path(
        self, kind: type[DriverError], builtin: type[Exception], number: int
    ) -> None:
        error = kind("what is wrong", "/a/b", "s3aws")
        assert str(error) == "s3aws: what is wrong: '/a/b'"
        assert (error.path, error.driver) == ("/a/b", "s3aws")
        assert str(kind("x", "/a")).startswith("regfs: ")

    def test_is_one_line_whatever_the_path(
        self, kind: type[DriverError], builtin: type[Exception], number: int
    ) -> None:
        for path in ("/a\nb", "/a\r", "/a\x00", "/\u2028", "/\x85", "/\ud800"):
            text = str(kind("what is wrong", path))
            assert len(text.splitlines()) == 1
            text.encode()

    def test_survives_pickle_and_copy(
        self, kind: type[DriverError], builtin: type[Exception], number: int
    ) -> None:
        error = kind("what is wrong", "/a\nb", "s3")
        copies = [
            pickle.loads(pickle.dumps(error, protocol)) for protocol in range(pickle.HIGHEST_PROTOCOL + 1)
        ]
        for again in [*copies, copy.copy(error)]:
            assert type(again) is kind
            assert str(again) == str(error)
            assert (again.path, again.driver, again.errno) == (error.path, error.driver, number)
            assert again.filename == error.filename


@pytest.mark.parametrize("kind", [BucketNotFoundError, UploadNotFoundError, FileChangedError])
def test_errors_of_both_faces(kind: type[OSError]) -> None:
    error = kind(errno.ESTALE, "what is wrong", URL)
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind
    assert (str(again), again.errno, again.filename) == (str(error), errno.ESTALE, URL)
    assert getattr(regfs, kind.__name__) is kind
    assert isinstance(error, FileNotFoundError) == (kind is BucketNotFoundError)
    assert not isinstance(error, DriverError)


def answered(code: str, status: int, message: str = "message of the service") -> boto.ClientError:
    response: Any = {
        "Error": {"Code": code, "Message": message},
        "ResponseMetadata": {"HTTPStatusCode": status},
    }
    return boto.ClientError(response, "GetObject")


class TestTranslate:
    @pytest.mark.parametrize(
        ("code", "status", "kind", "number", "text"),
        [
            ("NoSuchBucket", 404, BucketNotFoundError, errno.ENOENT, "bucket"),
            ("NoSuchKey", 404, FileNotFoundError, errno.ENOENT, "No such file"),
            ("NoSuchUpload", 404, UploadNotFoundError, errno.ESTALE, "upload"),
            ("SignatureDoesNotMatch", 403, PermissionError, errno.EACCES, "secretkey"),
            ("InvalidAccessKeyId", 403, PermissionError, errno.EACCES, "accesskey"),
            ("AccessDenied", 403, PermissionError, errno.EACCES, "denied"),
            ("ExpiredToken", 400, PermissionError, errno.EACCES, "expired"),
            ("RequestTimeTooSkewed", 403, PermissionError, errno.EACCES, "clock"),
            ("PreconditionFailed", 412, FileChangedError, errno.ESTALE, "replaced"),
            ("KeyTooLongError", 400, OSError, errno.ENAMETOOLONG, "1024"),
            ("SlowDown", 503, ThrottledError, errno.EBUSY, "maxrequestspersecond"),
            # A HEAD's answer has no body: botocore gives the status as the code.
            ("401", 401, PermissionError, errno.EACCES, "denied"),
            ("403", 403, PermissionError, errno.EACCES, "denied"),
            ("404", 404, FileNotFoundError, errno.ENOENT, "No such file"),
            ("412", 412, FileChangedError, errno.ESTALE, "replaced"),
            ("429", 429, ThrottledError, errno.EBUSY, "maxrequestspersecond"),
            ("503", 503, ThrottledError, errno.EBUSY, "not available"),
            # A code that nobody knows: the status decides.
            ("Strange", 403, PermissionError, errno.EACCES, "denied"),
            ("", 404, FileNotFoundError, errno.ENOENT, "No such file"),
            ("Strange", 500, OSError, errno.EIO, "500 Strange: message of the service"),
            ("", 599, OSError, errno.EIO, "599"),
        ],
    )
    def test_answers(self, code: str, status: int, kind: type[OSError], number: int, text: str) -> None:
        error = translate(answered(code, status), URL, ENDPOINT)
        assert type(error) is kind
        assert error.errno == number
        assert error.filename == URL
        assert text in (error.strerror or "")

    def test_the_message_is_never_looked_at(self) -> None:
        for message in ("NoSuchKey", "404 Not Found", "AccessDenied", "No such file or directory"):
            error = translate(answered("InternalError", 500, message), URL)
            assert type(error) is OSError
            assert error.errno == errno.EIO

    def test_one_line_whatever_the_service_says(self) -> None:
        for message in ("", "one\ntwo", "one\r\ntwo\n", "\n", "\none"):
            error = translate(answered("Strange", 400, message), URL)
            assert len(str(error).splitlines()) == 1
        assert len(str(translate(boto.ClientError({}, "GetObject"), URL)).splitlines()) == 1

    @pytest.mark.parametrize(
        ("error", "kind", "number", "text"),
        [
            (boto.NoCredentialsError(), PermissionError, errno.EACCES, "no credentials"),
            (
                boto.PartialCredentialsError(provider="env", cred_var="x"),
                PermissionError,
                errno.EACCES,
                "no credentials",
            ),
            (
                boto.SSLError(endpoint_url=ENDPOINT, error=ValueError("x")),
                ConnectionError,
                errno.ECONNABORTED,
                "skipverify",
            ),
            (
                boto.EndpointConnectionError(endpoint_url=ENDPOINT),
                ConnectionError,
                errno.ECONNREFUSED,
                "regionendpoint",
            ),
            (
                boto.ConnectTimeoutError(endpoint_url=ENDPOINT),
                ConnectionError,
                errno.ECONNREFUSED,
                "regionendpoint",
            ),
            (
                boto.ProxyConnectionError(proxy_url=ENDPOINT),
                ConnectionError,
                errno.ECONNREFUSED,
                "HTTP_PROXY",
            ),
            (boto.ReadTimeoutError(endpoint_url=ENDPOINT), TimeoutError, errno.ETIMEDOUT, "in time"),
            (TimeoutError(), TimeoutError, errno.ETIMEDOUT, "in time"),
            (
                boto.ConnectionClosedError(endpoint_url=ENDPOINT),
                ConnectionError,
                errno.ECONNRESET,
                "broke",
            ),
            (boto.HTTPClientError(error=ValueError()), ConnectionError, errno.ECONNRESET, "broke"),
            (ConnectionResetError(), ConnectionError, errno.ECONNRESET, "broke"),
            (boto.BotoCoreError(), OSError, errno.EIO, "BotoCoreError"),
            (aiohttp.ClientPayloadError(), ConnectionError, errno.ECONNRESET, "broke"),
        ],
    )
    def test_failures_without_an_answer(
        self, error: Exception, kind: type[OSError], number: int, text: str
    ) -> None:
        told = translate(error, URL, ENDPOINT)
        assert isinstance(told, kind)
        assert told.errno == number
        assert told.filename == URL
        assert text in (told.strerror or "")
        assert ENDPOINT in str(told) or isinstance(told, PermissionError)
        assert len(str(told).splitlines()) == 1

    def test_our_own_errors_pass(self) -> None:
        for error in (
            FileExistsError(errno.EEXIST, "File exists", URL),
            PathNotFoundError("path not found", "/a"),
            IsADirectoryError(errno.EISDIR, "Is a directory", URL),
        ):
            assert translate(error, "regfs://other", ENDPOINT) is error

    @pytest.mark.parametrize(
        "error",
        [
            answered("SignatureDoesNotMatch", 403, f"StringToSign {SECRET}"),
            answered("InvalidAccessKeyId", 403, SECRET),
            answered("AccessDenied", 403, SECRET),
            boto.ProxyConnectionError(proxy_url=f"http://user:{SECRET}@proxy"),
            boto.EndpointConnectionError(endpoint_url=f"http://user:{SECRET}@host"),
            boto.ConnectTimeoutError(endpoint_url=f"http://host/?X-Amz-Signature={SECRET}"),
            boto.ReadTimeoutError(endpoint_url=f"http://user:{SECRET}@host"),
            boto.HTTPClientError(error=ValueError(SECRET)),
            boto.SSLError(endpoint_url=ENDPOINT, error=ValueError(SECRET)),
            boto.PartialCredentialsError(provider=SECRET, cred_var=SECRET),
            aiohttp.ClientPayloadError(SECRET),
            ConnectionResetError(SECRET),
        ],
    )
    def test_secrets_are_never_in_the_text(self, error: Exception) -> None:
        told = translate(error, URL, ENDPOINT)
        assert SECRET not in str(told)
        assert SECRET not in repr(told)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (answered("NoSuchKey", 404), True),
        (boto.NoCredentialsError(), True),
        (aiohttp.ClientPayloadError(), True),
        (ConnectionResetError(), True),
        (TimeoutError(), True),
        (ValueError(), False),
        (TypeError(), False),
        (KeyError("x"), False),
    ],
)
def test_faults_in_the_program_are_not_the_services(error: Exception, expected: bool) -> None:
    assert of_service(error) is expected


class TestATimeoutKeepsWhatItSays:
    """fsspec would raise an empty error instead, from Python 3.11 on."""

    @pytest.fixture
    def fs(self, monkeypatch: pytest.MonkeyPatch) -> RegistryFileSystem:
        fs = RegistryFileSystem(bucket="b", region="us-east-1", accesskey="a", secretkey="s")

        async def attempts(*args: object) -> None:
            told = TimeoutError(errno.ETIMEDOUT, "the service did not answer in time", "regfs://b/file")
            raise told from KeyError("the cause")

        monkeypatch.setattr(fs.client.transport, "attempts", attempts)
        return fs

    @pytest.mark.parametrize(
        "call",
        [
            lambda fs: fs.cat_file("/file"),
            lambda fs: fs.open("/file"),
            lambda fs: fs.ls("/"),
            lambda fs: fs.pipe("/file", b"content"),
            lambda fs: fs.uploads(),
            lambda fs: StorageDriver(fs).get_content("/file"),
            lambda fs: StorageDriver(fs).reader("/file"),
            lambda fs: StorageDriver(fs).writer("/file", append=True),
            lambda fs: StorageDriver(fs).walk("/", lambda info: None),
        ],
    )
    def test_on_both_faces(
        self, fs: RegistryFileSystem, call: Callable[[RegistryFileSystem], object]
    ) -> None:
        with pytest.raises(TimeoutError) as caught:
            call(fs)
        assert caught.value.errno == errno.ETIMEDOUT
        assert str(caught.value).endswith("in time: 'regfs://b/file'")
        assert isinstance(caught.value.__cause__, KeyError)

    def test_a_timeout_of_the_waiting_itself_stays_fsspecs(self) -> None:
        async def forever() -> None:
            await asyncio.sleep(60)

        with pytest.raises(FSTimeoutError):
            sync(get_loop(), forever, timeout=0.05)

    def test_waiting_for_what_is_no_coroutine_fails_at_once(self) -> None:
        with pytest.raises(TypeError, match="no coroutine function"):
            sync(get_loop(), lambda: 1)
