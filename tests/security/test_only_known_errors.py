"""Whatever a service answers or a user gives, only errors of the README's table come out."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from security.conftest import OBJECT

import regfs.s3.client
import regfs.s3.retry
from regfs import DriverParameters, InvalidPathError, ParameterError, RegistryFileSystem, StorageDriver
from regfs.parameters.table import PARAMETERS
from regfs.paths import split_url
from regfs.s3.failures import retry_after

if TYPE_CHECKING:
    from security.conftest import Make
    from support.proxy import CountingProxy, Request

patient = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)

# -- answers ------------------------------------------------------------------------------------------------

NUMBERS = st.sampled_from(
    [
        "0",
        "1",
        "-1",
        "+1",
        "1.5",
        "1e3",
        "",
        " ",
        "many",
        "0x10",
        "٣",
        "9" * 18,
        "9" * 20,
        "9" * 5000,
        "1_000",
        "NaN",
    ]
)
TIMES = st.sampled_from(
    [
        *(
            "Mon, 23 Nov 2026 10:00:00 GMT",
            "Mon, 23 Nov 2026 10:00:00 +9999",
            "Mon, 99 Nov 2026 10:00:00 GMT",
        ),
        *("Mon, 01 Jan 0001 00:00:00 +2359", "Fri, 31 Dec 9999 23:59:59 -2359", "Mon, 23 Nov 26 10:00 -0000"),
        *(
            "yesterday",
            "",
            "0",
            "-1",
            "1e400",
            "2026-11-23T10:00:00.000Z",
            "2026-11-23",
            "2026-13-45T99:99:99Z",
        ),
        *(
            "Z",
            "0001-01-01T00:00:00+23:59",
            "9999-12-31T23:59:59-23:59",
            "1" * 400,
            "Mon, 23 Foo 2026 10:00:00 GMT",
        ),
    ]
)
WORDS = NUMBERS | TIMES | st.text(st.characters(min_codepoint=32, max_codepoint=255), max_size=12)
RANGES = st.sampled_from(
    [
        "bytes 0-0/1",
        "bytes */1",
        "bytes 5-3/1",
        "bytes 0-0/*",
        "bytes",
        "",
        "0-0/1",
        "bytes -1--1/-1",
        "bytes 0-0/" + "9" * 30,
    ]
)
HEADERS = st.fixed_dictionaries(
    {},
    optional={
        "Content-Length": NUMBERS,
        "Last-Modified": TIMES | WORDS,
        "ETag": WORDS,
        "Content-Range": RANGES | WORDS,
        "Content-Type": WORDS,
        "Content-Encoding": st.sampled_from(["gzip", "br", "identity", "aws-chunked", "x"]),
        "Transfer-Encoding": st.sampled_from(["chunked", "gzip", "chunked, chunked", "x"]),
        "Retry-After": NUMBERS | TIMES,
        "x-amz-storage-class": WORDS,
        "x-amz-meta-a": WORDS,
        "x-amz-meta-": WORDS,
        "x-amz-missing-meta": NUMBERS,
        "x-amz-mp-parts-count": NUMBERS,
        "x-amz-version-id": WORDS,
        "x-amz-bucket-region": WORDS,
        "x-amz-delete-marker": WORDS,
        "x-amz-expiration": WORDS,
        "Expires": TIMES,
        "Date": TIMES,
        "Location": st.sampled_from(["http://127.0.0.1:1/", "//x", "", "http://[", "/\x7f"]),
        "Connection": st.sampled_from(["close", "keep-alive", "upgrade"]),
    },
)
STATUSES = st.sampled_from(
    [
        *(
            "200 OK",
            "200 OK",
            "200 OK",
            "206 Partial Content",
            "204 No Content",
            "201 Created",
            "304 Not Modified",
        ),
        *(
            "301 Moved",
            "307 Elsewhere",
            "400 Bad",
            "401 Who",
            "403 No",
            "404 None",
            "409 No",
            "412 No",
            "416 No",
        ),
        *(
            "429 Slow",
            "500 Oops",
            "501 No",
            "503 Busy",
            "504 Late",
            "599 X",
            "999 X",
            "600 X",
            "100 Continue",
        ),
        *("abc", "2000 X", "", "200"),
    ]
)
TAGS = st.sampled_from(
    [
        *("ListBucketResult", "Error", "Code", "Message", "Contents", "Key", "Size", "LastModified", "ETag"),
        *(
            "CommonPrefixes",
            "Prefix",
            "IsTruncated",
            "NextContinuationToken",
            "EncodingType",
            "Region",
            "StorageClass",
        ),
        *(
            "DeleteResult",
            "Deleted",
            "CopyObjectResult",
            "InitiateMultipartUploadResult",
            "UploadId",
            "Upload",
        ),
        *(
            "ListMultipartUploadsResult",
            "Initiated",
            "NextKeyMarker",
            "NextUploadIdMarker",
            "ListPartsResult",
            "Part",
        ),
        *(
            "PartNumber",
            "NextPartNumberMarker",
            "CompleteMultipartUploadResult",
            "Owner",
            "ID",
            "CopyPartResult",
        ),
    ]
)
TEXTS = (
    WORDS
    | st.sampled_from(
        ["root/a", "root/d/a", "true", "false", "url", "root/%", "root/%ff", "NoSuchKey", "AccessDenied"]
    )
    | st.sampled_from(
        ["NoSuchBucket", "SlowDown", "ExpiredToken", "InvalidRange", "PermanentRedirect", "NoSuchUpload"]
    )
)
XML = st.recursive(
    TEXTS.map(lambda text: text.replace("&", "&amp;").replace("<", "&lt;")),
    lambda inside: st.lists(st.tuples(TAGS, inside), max_size=4).map(
        lambda parts: "".join(f"<{tag}>{text}</{tag}>" for tag, text in parts)
    ),
    max_leaves=14,
)
ROOTS = [
    *(
        "ListBucketResult",
        "ListMultipartUploadsResult",
        "ListPartsResult",
        "DeleteResult",
        "CopyObjectResult",
        "Error",
    ),
    *("InitiateMultipartUploadResult", "CompleteMultipartUploadResult", "html"),
]
ENTRY = st.fixed_dictionaries(
    {},
    optional={
        "Key": TEXTS,
        "Size": NUMBERS,
        "LastModified": TIMES,
        "ETag": WORDS,
        "UploadId": WORDS,
        "Initiated": TIMES,
    },
).map(lambda d: "".join(f"<{k}>{v}</{k}>".replace("&", "&amp;") for k, v in d.items()))
NEAR = st.tuples(st.sampled_from(ROOTS), st.sampled_from(["Contents", "Upload", "Part", "Error"]), ENTRY).map(
    lambda item: f"<{item[0]}><{item[1]}>{item[2]}</{item[1]}></{item[0]}>"
)
BODIES = (
    NEAR.map(str.encode)
    | st.tuples(st.sampled_from(ROOTS), XML).map(lambda item: f"<{item[0]}>{item[1]}</{item[0]}>".encode())
    | st.binary(max_size=40)
    | st.just(b"")
)


def write(status: str, headers: dict[str, str], body: bytes) -> bytes:
    lines = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in headers.items())]
    if "Content-Length" not in headers and "Transfer-Encoding" not in headers:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "Connection: close", "", ""]).encode("utf-8", "surrogateescape") + body


OPERATIONS: dict[str, Callable[[RegistryFileSystem], Any]] = {
    "cat": lambda fs: fs.cat_file("/a"),
    "cat range": lambda fs: fs.cat_file("/a", 2, 5),
    "cat end": lambda fs: fs.cat_file("/a", -3),
    "info": lambda fs: fs.info("/a"),
    "exists": lambda fs: fs.exists("/a"),
    "isdir": lambda fs: fs.isdir("/a"),
    "ls": lambda fs: fs.ls("/d"),
    "find": lambda fs: fs.find("/", withdirs=True, detail=True),
    "open": lambda fs: fs.open("/a").read(10),
    "pipe": lambda fs: fs.pipe_file("/a", b"1"),
    "create": lambda fs: fs.pipe_file("/a", b"1", mode="create"),
    "copy": lambda fs: fs.cp_file("/a", "/b"),
    "rm": lambda fs: fs.rm("/d", recursive=True),
    "rm file": lambda fs: fs.rm_file("/a"),
    "uploads": lambda fs: fs.abort_uploads(dry_run=False),
    "created": lambda fs: (fs.created("/a"), fs.checksum("/a")),
    "driver.get_content": lambda fs: StorageDriver(fs).get_content("/a"),
    "driver.reader": lambda fs: StorageDriver(fs).reader("/a", 1).read(3),
    "driver.stat": lambda fs: StorageDriver(fs).stat("/a"),
    "driver.list": lambda fs: StorageDriver(fs).list("/"),
    "driver.walk": lambda fs: StorageDriver(fs).walk("/", lambda _: None),
    "driver.move": lambda fs: StorageDriver(fs).move("/a", "/b"),
    "driver.delete": lambda fs: StorageDriver(fs).delete("/a"),
    "driver.writer": lambda fs: StorageDriver(fs).writer("/a", append=True).cancel(),
    "driver.write_stream": lambda fs: StorageDriver(fs).write_stream("/a", 3, io.BytesIO(b"1")),
}


@pytest.mark.parametrize("server", ["moto"], indirect=True)
@settings(patient, max_examples=100)
@given(
    operation=st.sampled_from(sorted(OPERATIONS)),
    answers=st.lists(st.tuples(STATUSES, HEADERS, BODIES), min_size=1, max_size=4),
    whole=st.booleans(),
)
@example(
    operation="info",
    answers=[("200 OK", {"Last-Modified": "yesterday", "Content-Length": "1"}, b"")],
    whole=False,
)
@example(operation="info", answers=[("200 OK", {"Content-Length": "1"}, b"")], whole=False)
@example(operation="cat", answers=[("200 OK", {"Last-Modified": "1e400"}, b"")], whole=False)
@example(operation="cat", answers=[("200 OK", {"Content-Length": "9" * 18}, b"")], whole=True)
@example(operation="cat", answers=[("200 OK", {"Content-Range": "bytes 0-0/" + "9" * 30}, b"1")], whole=True)
@example(operation="ls", answers=[("503 Busy", {"Retry-After": "9" * 18}, b"")], whole=False)
def test_only_os_errors_come_out(
    make: Make,
    proxy: CountingProxy,
    monkeypatch: pytest.MonkeyPatch,
    operation: str,
    answers: list[tuple[str, dict[str, str], bytes]],
    whole: bool,
) -> None:
    """Of both faces, by both lanes, with headers and documents that are nearly or not at all S3's."""
    monkeypatch.setattr(regfs.s3.retry, "DEADLINE", 1.0)
    monkeypatch.setattr(regfs.s3.client, "EMPTY_PAGES", 20)
    monkeypatch.setattr(regfs.s3.client, "MAX_PAGES", 20)
    proxy.clear()
    turn = iter(range(10**6))

    def reply(request: Request) -> bytes:
        status, headers, body = answers[next(turn) % len(answers)]
        told = write(status, {**OBJECT_HEADERS, **headers} if whole else headers, body)
        return told.partition(b"\r\n\r\n")[0] + b"\r\n\r\n" if request.method == "HEAD" else told

    proxy.fault = reply
    fs = make(rootdirectory="root", maxretries=0)
    with contextlib.suppress(OSError):
        OPERATIONS[operation](fs)


OBJECT_HEADERS = {name.replace("_", "-"): value for name, value in OBJECT.items()}


@settings(max_examples=300)
@given(NUMBERS | TIMES | st.text(max_size=20))
def test_a_pause_that_is_asked_for(text: str) -> None:
    error = RuntimeError()
    error.response = {"ResponseMetadata": {"HTTPHeaders": {"retry-after": text}}}  # type: ignore[attr-defined]  # as botocore's
    asked = retry_after(error)
    assert asked is None or 0 <= asked < 10**12


# -- what the user gives ------------------------------------------------------------------------------------

SCALARS = (
    WORDS
    | st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(10**30), 10**30)
    | st.floats()
    | st.binary(max_size=8)
    | st.lists(st.integers(), max_size=2)
    | st.text(max_size=20)
    | st.sampled_from(
        [
            "http://a",
            "https://u:p@h",
            "10MiB",
            "1e9",
            "true",
            "off",
            "s3.example.com:99999",
            "[::1",
            "arn:aws",
        ]
    )
)
KEYS = st.sampled_from(sorted(PARAMETERS)) | st.text(max_size=12) | st.integers() | st.none()
GOOD: dict[str, Any] = {"bucket": "b", "region": "us-east-1"}


@settings(deadline=None, max_examples=400)
@given(st.dictionaries(KEYS, SCALARS, max_size=4), st.booleans())
def test_parameters(given_: dict[Any, Any], good: bool) -> None:
    mapping = {**GOOD, **given_} if good else given_
    try:
        made = DriverParameters.from_mapping(mapping)
    except ParameterError as exc:
        assert len(str(exc).splitlines()) == 1  # noqa: PT017 - both are results
        assert len(str(exc)) < 2000  # noqa: PT017 - as above
    else:
        assert DriverParameters.from_mapping(made.to_mapping()) == made
        assert isinstance(made.endpoint_url, (str, type(None)))


@settings(deadline=None, max_examples=300)
@given(
    st.text(max_size=30)
    | st.lists(st.sampled_from(["regfs:", "/", "@", ":", "b", "..", "?", "#", "::"])).map("".join)
)
def test_urls(text: str) -> None:
    for url in (text, f"regfs://{text}", f"regfs::{text}", f"simplecache::regfs://{text}"):
        with contextlib.suppress(InvalidPathError):
            bucket, path = split_url(url)
            assert path.startswith("/")
            assert "/" not in bucket
            assert "@" not in bucket
    fs = RegistryFileSystem(**GOOD)
    with contextlib.suppress(ValueError):  # another bucket, or keys
        assert fs._strip_protocol(text).startswith("/")
    with contextlib.suppress(ParameterError, InvalidPathError):
        made = RegistryFileSystem(**{**GOOD, **RegistryFileSystem._get_kwargs_from_urls(f"regfs://{text}")})
        made.clear_instance_cache()


def test_the_table_of_errors_says_so() -> None:
    """What is suppressed above is what the README tells."""
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    table = readme.partition("## Errors")[2].partition("\n## ")[0]
    for name in (
        "FileNotFoundError",
        "PermissionError",
        "ConnectionError",
        "TimeoutError",
        "OSError",
        "InvalidPathError",
    ):
        assert name in table
