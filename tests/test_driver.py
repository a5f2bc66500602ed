"""StorageDriver: every method of both generations of the interface, on both servers.

What a single fault of another driver was about stands in ``regression/``.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import random
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import pytest

from regfs import (
    BucketNotFoundError,
    FileInfo,
    InvalidOffsetError,
    InvalidPathError,
    ParameterError,
    PathNotFoundError,
    RegistryFileSystem,
    StorageDriver,
    UnsupportedMethodError,
    create,
)

if TYPE_CHECKING:
    from proxy import CountingProxy, Request
    from servers import Place, Server

MIB = 2**20
CHUNK = 5 * MIB
SIZES = [0, 1, 71, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 3 * CHUNK + 7]
SIBLINGS = ["a", "ab", "a-b", "a.b", "a0", "a_b", "A"]
"""Names around "/": "-" and "." sort before it, digits and letters behind it."""

on_seaweedfs = pytest.mark.parametrize("server", ["seaweedfs"], indirect=True)


def content_of(size: int, seed: int = 0) -> bytes:
    return random.Random(f"{seed} {size}").randbytes(size)


@pytest.fixture
def driver(options: dict[str, Any]) -> StorageDriver:
    return StorageDriver(RegistryFileSystem(**options, chunksize=CHUNK))


@pytest.fixture
def counted(proxied_options: dict[str, Any]) -> StorageDriver:
    """The driver of the same place whose requests ``proxy`` counts."""
    return StorageDriver(RegistryFileSystem(**proxied_options, chunksize=CHUNK, maxretries=0))


def kinds(requests: list[Request]) -> list[str]:
    """Name the requests: a GET of the bucket is a LIST, a POST that names many keys a DELETE."""
    names = []
    for request in requests:
        if request.method == "GET" and "list-type" in request.query:
            names.append("LIST")
        elif request.method == "GET" and "uploads" in request.query:
            names.append("UPLOADS")
        elif request.method == "POST" and "delete" in request.query:
            names.append("DELETE")
        else:
            names.append(request.method)
    return names


def answer(status: int, body: str = "") -> bytes:
    data = body.encode()
    head = f"HTTP/1.1 {status} -\r\nContent-Type: application/xml\r\nContent-Length: {len(data)}\r\n\r\n"
    return head.encode() + data


DENIED = answer(403, "<Error><Code>AccessDenied</Code><Message>no</Message></Error>")


def eventually(condition: Callable[[], bool], seconds: float = 60) -> bool:
    """Ask again and again until it is so."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


class FailingReader(io.RawIOBase):
    """Gives `size` bytes and then fails."""

    def __init__(self, size: int, error: BaseException) -> None:
        super().__init__()
        self.left = size
        self.error = error

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self.left:
            raise self.error
        taken = min(self.left, len(buffer))
        buffer[:taken] = b"x" * taken
        self.left -= taken
        return taken

    def stream(self) -> BinaryIO:
        return cast("BinaryIO", self)


# -- construction ---------------------------------------------------------------------------------------


class TestConstruction:
    def test_from_a_filesystem(self, options: dict[str, Any]) -> None:
        fs = RegistryFileSystem(**options)
        driver = StorageDriver(fs)
        assert driver.fs is fs
        assert driver.name == "s3aws"

    def test_both_faces_show_the_same_bucket(self, driver: StorageDriver) -> None:
        driver.put_content("/a/b", b"content")
        assert driver.fs.cat_file("/a/b") == b"content"
        driver.fs.pipe_file("/a/c", b"other")
        assert driver.get_content("/a/c") == b"other"

    @pytest.mark.parametrize("name", ["s3", "s3aws"])
    def test_create(self, options: dict[str, Any], name: str) -> None:
        driver = create(name, options)
        assert driver.name == name
        with pytest.raises(PathNotFoundError, match=f"^{name}: "):
            driver.get_content("/missing")

    @pytest.mark.parametrize("name", ["", "S3", "gcs", "filesystem", "s3-aws"])
    def test_create_knows_no_other_name(self, name: str) -> None:
        with pytest.raises(ValueError, match="'s3', 's3aws' and 's3_v2'") as caught:
            create(name, {})
        assert repr(name) in str(caught.value)

    def test_from_parameters_makes_one_request(
        self, proxied_options: dict[str, Any], proxy: CountingProxy
    ) -> None:
        assert StorageDriver.from_parameters(proxied_options, "s3").name == "s3"
        assert kinds(proxy.requests) == ["LIST"]

    def test_repr_tells_the_place_and_no_secret(self, options: dict[str, Any]) -> None:
        driver = StorageDriver(RegistryFileSystem(**options), "s3")
        assert options["bucket"] in repr(driver)
        assert "'s3'" in repr(driver)
        assert options["secretkey"] not in repr(driver)

    def test_refuses_a_filesystem_for_coroutines(self, options: dict[str, Any]) -> None:
        fs = RegistryFileSystem(**options, asynchronous=True)
        with pytest.raises(ValueError, match="asynchronous"):
            StorageDriver(fs)


class TestConstructionFails:
    def test_bad_parameters_and_nothing_is_sent(
        self, proxied_options: dict[str, Any], proxy: CountingProxy
    ) -> None:
        for wrong in ({"chunksize": 1}, {"bucket": ""}, {"buket": "x"}, {"v4auth": "perhaps"}):
            with pytest.raises(ParameterError, match=next(iter(wrong))) as caught:
                StorageDriver.from_parameters({**proxied_options, **wrong})
            assert "\n" not in str(caught.value)
            assert proxied_options["secretkey"] not in str(caught.value)
        assert proxy.count() == 0

    def test_missing_bucket(self, options: dict[str, Any]) -> None:
        with pytest.raises(BucketNotFoundError, match="no-such-bucket") as caught:
            StorageDriver.from_parameters({**options, "bucket": "no-such-bucket"})
        assert "\n" not in str(caught.value)
        assert not isinstance(caught.value, PathNotFoundError)

    @on_seaweedfs
    @pytest.mark.parametrize(
        ("wrong", "text"), [("secretkey", "secretkey"), ("accesskey", "does not know this accesskey")]
    )
    def test_wrong_credentials(self, options: dict[str, Any], wrong: str, text: str) -> None:
        with pytest.raises(PermissionError, match=text) as caught:
            StorageDriver.from_parameters({**options, wrong: "wrong-credential"})
        assert "\n" not in str(caught.value)
        assert "wrong-credential" not in str(caught.value)
        assert options["secretkey"] not in str(caught.value)

    @on_seaweedfs
    def test_wrong_credentials_are_never_an_empty_result(self, options: dict[str, Any], raw: Place) -> None:
        raw.put("a/b", b"x")
        denied = StorageDriver(RegistryFileSystem(**{**options, "secretkey": "wrong"}))
        calls: list[Callable[[], object]] = [
            lambda: denied.get_content("/a/b"),
            lambda: denied.put_content("/a/b", b""),
            lambda: denied.reader("/a/b"),
            lambda: denied.stat("/a/b"),
            lambda: denied.list("/"),
            lambda: denied.walk("/", print),
            lambda: denied.move("/a/b", "/c"),
            lambda: denied.delete("/a"),
            lambda: denied.writer("/a/b", append=True),
            lambda: denied.write_stream("/a/b", 1, io.BytesIO(b"y")),
        ]
        for call in calls:
            with pytest.raises(PermissionError):
                call()
        assert raw.get("a/b") == b"x"

    def parameters(self, port: int) -> dict[str, Any]:
        return {
            "accesskey": "a",
            "secretkey": "s",
            "region": "us-east-1",
            "regionendpoint": f"http://127.0.0.1:{port}",
            "bucket": "registry",
            "secure": False,
        }

    def unreachable_within(self, seconds: float, port: int) -> None:
        start = time.monotonic()
        with pytest.raises(ConnectionError, match=f"127.0.0.1:{port}") as caught:
            StorageDriver.from_parameters(self.parameters(port))
        assert time.monotonic() - start < seconds
        assert "regionendpoint" in str(caught.value)
        assert "\n" not in str(caught.value)

    def test_endpoint_that_refuses_connections(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
        self.unreachable_within(30, port)

    def test_endpoint_that_swallows_connections(self) -> None:
        # A full backlog: the system drops further attempts to connect without a word, as a firewall does.
        with contextlib.ExitStack() as stack:
            listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
            for _ in range(8):
                filler = stack.enter_context(socket.socket())
                filler.setblocking(False)
                filler.connect_ex(listener.getsockname())
            self.unreachable_within(30, listener.getsockname()[1])

    def test_a_bucket_that_is_gone_is_no_missing_file(self, server: Server, options: dict[str, Any]) -> None:
        driver = StorageDriver(RegistryFileSystem(**{**options, "bucket": "no-such-bucket"}))
        calls: list[Callable[[], object]] = [
            lambda: driver.get_content("/a"),
            lambda: driver.reader("/a"),
            lambda: driver.stat("/a"),
            lambda: driver.list("/"),
            lambda: driver.walk("/", print),
            lambda: driver.delete("/a"),
            lambda: driver.put_content("/a", b""),
            lambda: driver.write_stream("/a", 0, io.BytesIO(b"")),
        ]
        for call in calls:
            with pytest.raises(BucketNotFoundError):
                call()


# -- paths ----------------------------------------------------------------------------------------------

BAD_PATHS: list[Any] = [
    "",
    "a",
    "//",
    "/a/",
    "/a//b",
    "/a/../b",
    "/..",
    "/.",
    "/a/./b",
    "/a\x00",
    "/a\n",
    "/ä",
]
BAD_PATHS += ["/a b", "/a%2e", None, 5]
WITHOUT_ROOT: dict[str, Callable[[StorageDriver, Any], object]] = {
    "get_content": lambda driver, path: driver.get_content(path),
    "put_content": lambda driver, path: driver.put_content(path, b"x"),
    "reader": lambda driver, path: driver.reader(path),
    "read_stream": lambda driver, path: driver.read_stream(path, 1),
    "writer": lambda driver, path: driver.writer(path),
    "writer-append": lambda driver, path: driver.writer(path, append=True),
    "write_stream": lambda driver, path: driver.write_stream(path, 0, io.BytesIO(b"x")),
    "write_stream-offset": lambda driver, path: driver.write_stream(path, 3, io.BytesIO(b"x")),
    "move-from": lambda driver, path: driver.move(path, "/ok"),
    "move-to": lambda driver, path: driver.move("/ok", path),
    "delete": lambda driver, path: driver.delete(path),
    "url_for": lambda driver, path: driver.url_for(path),
    "redirect_url": lambda driver, path: driver.redirect_url(path),
}
WITH_ROOT: dict[str, Callable[[StorageDriver, Any], object]] = {
    "stat": lambda driver, path: driver.stat(path),
    "list": lambda driver, path: driver.list(path),
    "walk": lambda driver, path: driver.walk(path, print),
}


class TestBadPaths:
    @pytest.mark.parametrize("method", [*WITHOUT_ROOT, *WITH_ROOT])
    def test_are_refused_and_nothing_is_sent(
        self, method: str, counted: StorageDriver, proxy: CountingProxy
    ) -> None:
        call = {**WITHOUT_ROOT, **WITH_ROOT}[method]
        for path in BAD_PATHS if method in WITH_ROOT else [*BAD_PATHS, "/"]:
            with pytest.raises(InvalidPathError) as caught:
                call(counted, path)
            assert str(caught.value).startswith("s3aws: invalid path")
            assert repr(path) in str(caught.value)
            assert len(str(caught.value).splitlines()) == 1
        assert proxy.count() == 0

    def test_a_bad_start_of_a_walk_is_refused(self, counted: StorageDriver, proxy: CountingProxy) -> None:
        with pytest.raises(InvalidPathError):
            counted.walk("/", print, start_after="/a/../b")
        assert proxy.count() == 0

    def test_the_root_is_valid_for_list_stat_and_walk(self, driver: StorageDriver) -> None:
        assert driver.stat("/") == FileInfo("/", 0, None, True)
        assert driver.list("/") == []
        seen: list[FileInfo] = []
        driver.walk("/", seen.append)
        assert seen == []


# -- whole files ----------------------------------------------------------------------------------------


class TestContent:
    @pytest.mark.parametrize("size", SIZES)
    def test_round_trip(self, driver: StorageDriver, raw: Place, size: int) -> None:
        content = content_of(size)
        driver.put_content("/some/file", content)
        assert raw.get("some/file") == content
        assert driver.get_content("/some/file") == content
        assert raw.uploads() == []

    def test_any_bytes(self, driver: StorageDriver) -> None:
        for content in (bytes(range(256)), b"\r\n\0\n", b"0\r\n\r\n", b"\xff\xfe", "ü€😀".encode()):
            driver.put_content("/file", content)
            assert driver.get_content("/file") == content
            assert driver.stat("/file").size == len(content)

    def test_put_replaces_completely(self, driver: StorageDriver, raw: Place) -> None:
        for size in (71, CHUNK + 1, 3, 0):
            driver.put_content("/file", content_of(size))
            assert raw.get("file") == content_of(size)

    @pytest.mark.parametrize("name", ["...", "a..b", "-", "_", ".a", "A", "0", "sha256-_.x"])
    def test_every_allowed_name(self, driver: StorageDriver, raw: Place, name: str) -> None:
        driver.put_content(f"/{name}/{name}", b"x")
        assert raw.keys() == [f"{name}/{name}"]
        assert driver.get_content(f"/{name}/{name}") == b"x"

    def test_what_others_stored_is_read(self, driver: StorageDriver, raw: Place) -> None:
        raw.put("a/b", b"by hand")
        assert driver.get_content("/a/b") == b"by hand"

    @pytest.mark.parametrize(
        "path", ["/missing", "/dir", "/dir/missing", "/dir/file/under", "/di", "/dir/fil"]
    )
    def test_missing(self, driver: StorageDriver, raw: Place, path: str) -> None:
        raw.put("dir/file", b"x")
        with pytest.raises(PathNotFoundError) as caught:
            driver.get_content(path)
        assert str(caught.value) == f"s3aws: path not found: {path!r}"
        assert caught.value.path == path

    def test_a_failed_put_leaves_the_old_content(
        self, counted: StorageDriver, proxy: CountingProxy, raw: Place
    ) -> None:
        raw.put("file", b"old")
        for size, failing in ((3, ""), (2 * CHUNK, "2")):
            proxy.fault = lambda request, failing=failing: (
                DENIED if request.method == "PUT" and request.query.get("partNumber", "") == failing else None
            )
            with pytest.raises(PermissionError, match="/file"):
                counted.put_content("/file", content_of(size))
            assert raw.get("file") == b"old"
            assert raw.uploads() == []


def test_an_answer_that_breaks_off_names_its_cause(options: dict[str, Any]) -> None:
    modified = b"Last-Modified: Mon, 23 Nov 2026 11:00:00 GMT"
    broken = b"\r\n".join([b"HTTP/1.1 200 OK", b"Content-Length: 100", modified, b"", b"abc"])

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                with client:
                    client.recv(65_536)
                    client.sendall(broken)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        endpoint = f"http://127.0.0.1:{listener.getsockname()[1]}"
        driver = StorageDriver(RegistryFileSystem(**{**options, "regionendpoint": endpoint, "maxretries": 0}))
        with pytest.raises(OSError, match="/file") as caught:
            driver.get_content("/file")
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
    assert caught.value.__cause__ is not None
    assert caught.value.__cause__ is not caught.value


# -- readers --------------------------------------------------------------------------------------------


both = pytest.mark.parametrize("method", ["reader", "read_stream"])


class TestReader:
    @both
    def test_reads_from_every_offset(self, driver: StorageDriver, raw: Place, method: str) -> None:
        content = content_of(2 * MIB + 3)
        raw.put("file", content)
        size = len(content)
        for offset in (0, 1, 70, MIB - 1, MIB, MIB + 1, size - 1, size, size + 1, 2 * size, 2**40):
            with getattr(driver, method)("/file", offset) as stream:
                assert stream.read() == content[offset:]
                assert stream.read() == b""
                assert stream.read(1) == b""

    def test_of_an_empty_file(self, driver: StorageDriver, raw: Place) -> None:
        raw.put("file", b"")
        for offset in (0, 1, 1000):
            with driver.reader("/file", offset) as stream:
                assert stream.read() == b""

    def test_is_a_binary_file(self, driver: StorageDriver, raw: Place) -> None:
        content = content_of(100_000)
        raw.put("file", content)
        with driver.reader("/file", 5) as stream:
            assert stream.readable()
            assert not stream.writable()
            assert stream.read(3) == content[5:8]
            buffer = bytearray(7)
            assert cast("io.BufferedReader", stream).readinto(buffer) == 7
            assert buffer == content[8:15]
            assert stream.readline() == content[15 : content.index(b"\n", 15) + 1]
        assert stream.closed
        with pytest.raises(ValueError, match="closed"):
            stream.read()
        stream.close()

    @both
    def test_negative_offset(self, counted: StorageDriver, proxy: CountingProxy, method: str) -> None:
        for offset in (-1, -(2**40)):
            with pytest.raises(InvalidOffsetError, match=f"^s3aws: invalid offset {offset}") as caught:
                getattr(counted, method)("/file", offset)
            assert caught.value.path == "/file"
        assert proxy.count() == 0

    @both
    @pytest.mark.parametrize("path", ["/missing", "/dir", "/dir/fil"])
    def test_missing_at_the_call(self, driver: StorageDriver, raw: Place, method: str, path: str) -> None:
        raw.put("dir/file", b"x")
        for offset in (0, 3):
            with pytest.raises(PathNotFoundError, match="path not found"):
                getattr(driver, method)(path, offset)

    def test_sends_one_get(self, counted: StorageDriver, proxy: CountingProxy, raw: Place) -> None:
        raw.put("file", content_of(3 * MIB))
        with counted.reader("/file", 10) as stream:
            while stream.read(100_000):
                pass
        assert kinds(proxy.requests) == ["GET"]


def test_readers_left_unread_leak_no_connection(
    counted: StorageDriver, proxy: CountingProxy, raw: Place
) -> None:
    raw.put("file", content_of(8 * MIB))

    def given_back() -> bool:
        return len(proxy._sockets) <= 2  # one connection kept for the next request, as the proxy's two

    with counted.reader("/file") as stream:
        assert len(stream.read(10)) == 10
        assert len(proxy._sockets) == 2
    for _ in range(8):
        counted.reader("/file").close()
        counted.reader("/file").read(1)  # dropped without being closed, which warnings would show
    assert eventually(given_back)
    assert len(counted.get_content("/file")) == 8 * MIB


def test_many_readers_at_once(driver: StorageDriver, raw: Place) -> None:
    content = content_of(MIB)
    raw.put("file", content)
    with contextlib.ExitStack() as stack:
        streams = [stack.enter_context(driver.reader("/file", offset)) for offset in range(20)]
        for start in range(0, 4000, 1000):
            for offset, stream in enumerate(streams):
                assert stream.read(1000) == content[offset + start : offset + start + 1000]
        assert [item.read() for item in reversed(streams)] == [
            content[at + 4000 :] for at in range(19, -1, -1)
        ]


# -- write_stream ---------------------------------------------------------------------------------------


class TestWriteStream:
    @pytest.mark.parametrize("new", [0, 71, CHUNK + 1])
    @pytest.mark.parametrize("old", [None, 0, 10, CHUNK + 3])
    def test_at_every_kind_of_offset(
        self, driver: StorageDriver, raw: Place, old: int | None, new: int
    ) -> None:
        before = b"" if old is None else content_of(old, seed=1)
        size = len(before)
        offsets = {0, 1, size // 2, size, size + 1, size + 1000} if size < MIB else {size - 4, size, size + 1}
        for offset in sorted(offsets):
            if old is None:
                with contextlib.suppress(PathNotFoundError):
                    driver.delete("/file")
            else:
                raw.put("file", before)
            content = content_of(new, seed=2)
            assert driver.write_stream("/file", offset, io.BytesIO(content)) == new
            assert raw.get("file") == before[:offset].ljust(offset, b"\0") + content
        assert raw.uploads() == []

    def test_far_behind_the_end(self, driver: StorageDriver, raw: Place) -> None:
        raw.put("file", b"old")
        offset = 2 * CHUNK + 17
        assert driver.write_stream("/file", offset, io.BytesIO(b"new")) == 3
        assert raw.get("file") == b"old" + bytes(offset - 3) + b"new"

    def test_piece_by_piece(self, driver: StorageDriver, raw: Place) -> None:
        content = content_of(2 * CHUNK + 11)
        at = 0
        for size in (100, CHUNK, 1, 0, CHUNK - 90):
            at += driver.write_stream("/file", at, io.BytesIO(content[at : at + size]))
        assert at == len(content)
        assert raw.get("file") == content

    def test_reads_as_the_reader_gives(self, driver: StorageDriver, raw: Place) -> None:
        class Dribble(io.BytesIO):
            def read(self, size: int | None = -1) -> bytes:
                return super().read(min(size or 0, 7) if size and size > 0 else 7)

        assert driver.write_stream("/file", 2, Dribble(content_of(1000))) == 1000
        assert raw.get("file") == b"\0\0" + content_of(1000)

    @pytest.mark.parametrize("offset", [-1, -(2**40)])
    def test_negative_offset(self, counted: StorageDriver, proxy: CountingProxy, offset: int) -> None:
        reader = io.BytesIO(b"content")
        with pytest.raises(InvalidOffsetError, match=f"^s3aws: invalid offset {offset}"):
            counted.write_stream("/file", offset, reader)
        assert proxy.count() == 0
        assert reader.tell() == 0

    @pytest.mark.parametrize("given", [0, 100, 3 * CHUNK])
    @pytest.mark.parametrize("offset", [0, 3, 2 * CHUNK])
    def test_a_failing_reader_changes_nothing(
        self, driver: StorageDriver, raw: Place, offset: int, given: int
    ) -> None:
        raw.put("file", b"old content")
        error = ZeroDivisionError("the reader's own")
        with pytest.raises(ZeroDivisionError) as caught:
            driver.write_stream("/file", offset, FailingReader(given, error).stream())
        assert caught.value is error
        assert caught.value.bytes_read == given  # type: ignore[attr-defined]  # any exception may carry it
        assert raw.get("file") == b"old content"
        assert raw.uploads() == []

    @pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, EOFError, OSError, TimeoutError])
    def test_the_readers_exception_is_kept(
        self, driver: StorageDriver, raw: Place, kind: type[BaseException]
    ) -> None:
        error = kind()
        with pytest.raises(kind) as caught:
            driver.write_stream("/file", 0, FailingReader(7, error).stream())
        assert caught.value is error
        assert error.bytes_read == 7  # type: ignore[attr-defined]  # any exception may carry it
        assert raw.keys() == []

    def test_a_file_missing_for_the_reader_is_not_the_drivers(self, driver: StorageDriver) -> None:
        error = FileNotFoundError(2, "no such file", "/tmp/spool")
        with pytest.raises(FileNotFoundError) as caught:
            driver.write_stream("/file", 0, FailingReader(7, error).stream())
        assert caught.value is error

    def test_a_failing_service_changes_nothing(
        self, counted: StorageDriver, proxy: CountingProxy, raw: Place
    ) -> None:
        raw.put("file", b"old content")
        proxy.fault = lambda request: DENIED if request.query.get("partNumber") == "2" else None
        with pytest.raises(PermissionError) as caught:
            counted.write_stream("/file", 4, io.BytesIO(content_of(2 * CHUNK)))
        assert caught.value.bytes_read == 2 * CHUNK  # type: ignore[attr-defined]  # any exception may carry it
        proxy.fault = lambda request: DENIED if request.method == "PUT" else None
        with pytest.raises(PermissionError) as caught:
            counted.write_stream("/file", 4, io.BytesIO(b"new"))
        assert caught.value.bytes_read == 3  # type: ignore[attr-defined]  # any exception may carry it
        assert raw.get("file") == b"old content"
        assert raw.uploads() == []

    def test_a_failure_before_the_first_byte_carries_the_count(
        self, counted: StorageDriver, proxy: CountingProxy, raw: Place
    ) -> None:
        raw.put("file", b"old content")
        proxy.fault = lambda request: answer(403) if request.method == "HEAD" else None
        with pytest.raises(PermissionError) as caught:
            counted.write_stream("/file", 4, io.BytesIO(b"new"))
        assert caught.value.bytes_read == 0  # type: ignore[attr-defined]  # any exception may carry it


# -- writer ---------------------------------------------------------------------------------------------


class TestWriter:
    @pytest.mark.parametrize("size", SIZES)
    def test_written_at_once(self, driver: StorageDriver, raw: Place, size: int) -> None:
        content = content_of(size)
        writer = driver.writer("/dir/file")
        assert writer.size == 0
        assert writer.write(content) == size
        assert writer.size == size
        writer.commit()
        assert writer.size == size
        writer.close()
        assert raw.get("dir/file") == content
        assert raw.uploads() == []

    @pytest.mark.parametrize("step", [997, 65_536, CHUNK - 1, CHUNK + 1])
    def test_written_piece_by_piece(self, driver: StorageDriver, raw: Place, step: int) -> None:
        content = content_of(2 * CHUNK + 100 if step > 1000 else 100_000)
        writer = driver.writer("/file")
        for start in range(0, len(content), step):
            piece = content[start : start + step]
            assert writer.write(piece) == len(piece)
            assert writer.size == start + len(piece)
        writer.commit()
        assert raw.get("file") == content

    def test_takes_every_kind_of_buffer(self, driver: StorageDriver, raw: Place) -> None:
        with driver.writer("/file") as writer:
            buffer = bytearray(b"bytearray ")
            assert writer.write(buffer) == 10
            buffer[:] = b"changed   "  # what was accepted is the writer's own
            assert writer.write(memoryview(b"xmemoryview ")[1:]) == 11
            assert writer.write(b"") == 0
            assert writer.write(b"bytes") == 5
            writer.commit()
        assert raw.get("file") == b"bytearray memoryview bytes"

    def test_an_empty_file(self, driver: StorageDriver, raw: Place) -> None:
        writer = driver.writer("/file")
        writer.commit()
        writer.close()
        assert raw.get("file") == b""
        assert driver.stat("/file").size == 0
        assert raw.uploads() == []

    @pytest.mark.parametrize("size", [3, 2 * CHUNK + 1])
    def test_nothing_is_readable_before_the_commit(
        self, driver: StorageDriver, raw: Place, size: int
    ) -> None:
        content = content_of(size)
        writer = driver.writer("/dir/file")
        writer.write(content)
        for call in (driver.get_content, driver.stat, driver.list):
            with pytest.raises(PathNotFoundError):
                call("/dir/file")
        assert driver.list("/") == []
        writer.commit()
        assert driver.get_content("/dir/file") == content
        writer.close()

    @pytest.mark.parametrize("size", [3, 2 * CHUNK + 1])
    def test_an_old_file_stays_until_the_commit(self, driver: StorageDriver, raw: Place, size: int) -> None:
        raw.put("file", b"old")
        writer = driver.writer("/file")
        writer.write(content_of(size))
        assert driver.get_content("/file") == b"old"
        writer.commit()
        assert driver.get_content("/file") == content_of(size)
        writer.close()

    @pytest.mark.parametrize("size", [0, 3, 2 * CHUNK + 1])
    def test_cancel_leaves_nothing(self, driver: StorageDriver, raw: Place, size: int) -> None:
        raw.put("old", b"old")
        for path in ("/new", "/old"):
            writer = driver.writer(path)
            writer.write(content_of(size))
            writer.cancel()
            writer.close()
        assert raw.keys() == ["old"]
        assert raw.get("old") == b"old"
        assert raw.uploads() == []

    @pytest.mark.parametrize("end", ["commit", "cancel", "close"])
    @pytest.mark.parametrize("size", [3, 2 * CHUNK])
    def test_is_of_no_use_after_its_end(
        self, counted: StorageDriver, proxy: CountingProxy, end: str, size: int
    ) -> None:
        writer = counted.writer("/file")
        writer.write(content_of(size))
        getattr(writer, end)()
        word = {"commit": "committed", "cancel": "cancelled", "close": "closed"}[end]
        with proxy.counting() as seen:
            calls: list[Callable[[], object]] = [
                lambda: writer.write(b"x"),
                lambda: writer.write(b""),
                writer.commit,
                writer.cancel,
            ]
            for call in calls:
                with pytest.raises(ValueError, match=f"writer of /file: already {word}"):
                    call()
            assert writer.size == size
            if end != "close":
                writer.close()
            with pytest.raises(ValueError, match="already closed"):
                writer.close()
            with pytest.raises(ValueError, match="already closed"):
                writer.write(b"x")
        assert seen == []

    def test_leaving_a_with_block_closes_and_publishes_nothing(
        self, driver: StorageDriver, raw: Place
    ) -> None:
        with driver.writer("/file") as writer:
            writer.write(b"content")
        with pytest.raises(ValueError, match="already closed"):
            writer.write(b"x")
        assert "file" not in raw.keys()
        assert driver.list("/") == []
        assert [key for key, _ in raw.uploads()] == ["file"]

    @pytest.mark.parametrize(
        ("size", "requests"),
        [
            (0, ["PUT"]),
            (71, ["PUT"]),
            (CHUNK, ["PUT"]),
            (CHUNK + 1, ["POST", "PUT", "PUT", "POST"]),
            (2 * CHUNK, ["POST", "PUT", "PUT", "POST"]),
            (3 * CHUNK + 7, ["POST", "PUT", "PUT", "PUT", "PUT", "POST"]),
        ],
    )
    def test_writes_no_more_than_it_must(
        self, counted: StorageDriver, proxy: CountingProxy, size: int, requests: list[str]
    ) -> None:
        with counted.writer("/file") as writer:
            writer.write(content_of(size))
            writer.commit()
        assert [kind for kind in kinds(proxy.requests) if kind != "UPLOADS"] == requests
        parts = sorted(
            (int(request.query["partNumber"]), int(request.headers["content-length"]))
            for request in proxy.requests
            if "partNumber" in request.query
        )
        assert [number for number, _ in parts] == list(range(1, len(parts) + 1))
        assert all(length == CHUNK for _, length in parts[:-1])

    def test_a_small_file_is_one_put_after_a_look_for_older_uploads(
        self, counted: StorageDriver, proxy: CountingProxy
    ) -> None:
        with counted.writer("/file") as writer:
            writer.write(b"content")
            writer.commit()
        # What an earlier writer left pending would be continued later instead of this.
        assert [(request.method, "uploads" in request.query) for request in proxy.requests] == [
            ("GET", True),
            ("PUT", False),
        ]

    def test_a_failed_commit_loses_nothing_silently(
        self, counted: StorageDriver, proxy: CountingProxy, raw: Place
    ) -> None:
        writer = counted.writer("/file")
        writer.write(b"content")
        proxy.fault = lambda request: DENIED if request.method == "PUT" else None
        with pytest.raises(PermissionError):
            writer.commit()
        proxy.fault = None
        with contextlib.suppress(OSError, ValueError):  # either it still has the bytes or it says no
            writer.commit()
        assert raw.keys() == [] or raw.get("file") == b"content"

    def test_nothing_is_published_where_the_upload_could_not_begin(
        self, counted: StorageDriver, proxy: CountingProxy, raw: Place
    ) -> None:
        raw.put("file", b"old")
        writer = counted.writer("/file")
        proxy.fault = lambda request: DENIED if request.method == "POST" else None
        with pytest.raises(PermissionError):
            writer.write(content_of(2 * CHUNK))
        proxy.fault = None
        with pytest.raises(PermissionError):
            writer.commit()
        assert raw.get("file") == b"old"
        assert raw.uploads() == []

    def test_nothing_is_published_without_a_part_that_failed(
        self, counted: StorageDriver, proxy: CountingProxy, raw: Place
    ) -> None:
        raw.put("file", b"old")
        writer = counted.writer("/file")
        proxy.fault = lambda request: DENIED if request.query.get("partNumber") == "2" else None
        with pytest.raises(PermissionError):
            writer.write(content_of(4 * CHUNK))
            writer.commit()
        proxy.fault = None
        for _ in range(2):
            with pytest.raises(PermissionError):
                writer.commit()
        writer.cancel()
        assert raw.get("file") == b"old"
        assert raw.uploads() == []

    def test_append_to_a_committed_file(self, driver: StorageDriver, raw: Place) -> None:
        for size in (0, 3, CHUNK + 5):
            raw.put("file", content_of(size))
            writer = driver.writer("/file", append=True)
            assert writer.size == size
            writer.write(b"more")
            assert raw.get("file") == content_of(size)
            writer.commit()
            writer.close()
            assert raw.get("file") == content_of(size) + b"more"

    @pytest.mark.parametrize("path", ["/missing", "/dir", "/dir/fil"])
    def test_append_where_nothing_is(self, driver: StorageDriver, raw: Place, path: str) -> None:
        raw.put("dir/file", b"x")
        with pytest.raises(PathNotFoundError, match=f"^s3aws: path not found: '{path}'"):
            driver.writer(path, append=True)
        assert raw.uploads() == []


# -- stat and list --------------------------------------------------------------------------------------


class TestStat:
    def test_a_file(self, driver: StorageDriver, raw: Place) -> None:
        raw.put("dir/file", b"content")
        info = driver.stat("/dir/file")
        assert info == FileInfo("/dir/file", 7, raw.head("dir/file")["LastModified"], False)
        assert info.mod_time is not None
        assert info.mod_time.tzinfo == timezone.utc
        assert abs(datetime.now(timezone.utc) - info.mod_time) < timedelta(minutes=5)

    def test_an_empty_file_is_a_file(self, driver: StorageDriver, raw: Place) -> None:
        raw.put("file", b"")
        assert driver.stat("/file").is_dir is False

    def test_a_directory(self, driver: StorageDriver, raw: Place) -> None:
        raw.put("a/b/c", b"content")
        for path in ("/a", "/a/b"):
            assert driver.stat(path) == FileInfo(path, 0, None, True)

    def test_file_and_directory_of_one_name(self, driver: StorageDriver, raw: Place) -> None:
        raw.put("a", b"content")
        raw.put("a/b", b"x")
        info = driver.stat("/a")
        assert (info.path, info.size, info.is_dir) == ("/a", 7, False)

    @pytest.mark.parametrize("path", ["/missing", "/a", "/abc/de", "/abc/def/g", "/ab", "/abcd"])
    def test_missing(self, driver: StorageDriver, raw: Place, path: str) -> None:
        raw.put("abc/def", b"x")
        with pytest.raises(PathNotFoundError) as caught:
            driver.stat(path)
        assert str(caught.value) == f"s3aws: path not found: {path!r}"

    def test_the_root_always_exists(self, driver: StorageDriver, raw: Place) -> None:
        assert driver.stat("/") == FileInfo("/", 0, None, True)
        raw.put("a", b"")
        assert driver.stat("/") == FileInfo("/", 0, None, True)

    def test_an_info_cannot_be_changed(self, driver: StorageDriver) -> None:
        with pytest.raises(AttributeError):
            driver.stat("/").size = 1  # type: ignore[misc]  # it is frozen: that is tested


class TestList:
    def test_children_only(self, driver: StorageDriver, raw: Place) -> None:
        for key in ("a/1", "a/2/x", "a/2/y/z", "a/3", "b", "c/d/e/f"):
            raw.put(key, b"")
        assert driver.list("/") == ["/a", "/b", "/c"]
        assert driver.list("/a") == ["/a/1", "/a/2", "/a/3"]
        assert driver.list("/a/2") == ["/a/2/x", "/a/2/y"]
        assert driver.list("/c/d") == ["/c/d/e"]

    def test_siblings(self, driver: StorageDriver, raw: Place) -> None:
        for name in SIBLINGS:
            raw.put(f"d/{name}/x", b"")
        assert driver.list("/d") == sorted(f"/d/{name}" for name in SIBLINGS)
        for name in SIBLINGS:
            assert driver.list(f"/d/{name}") == [f"/d/{name}/x"]

    def test_an_empty_store(self, driver: StorageDriver) -> None:
        assert driver.list("/") == []

    def test_without_root_directory(self, server: Server, bucket: str) -> None:
        driver = StorageDriver(RegistryFileSystem(**server.storage_options(bucket)))
        assert driver.list("/") == []
        driver.put_content("/a/b", b"x")
        assert driver.list("/") == ["/a"]
        assert driver.list("/a") == ["/a/b"]
        driver.delete("/a")

    @pytest.mark.parametrize("path", ["/missing", "/a/b", "/a/bc", "/a/b/c"])
    def test_missing_or_a_file(self, driver: StorageDriver, raw: Place, path: str) -> None:
        raw.put("a/b", b"x")
        with pytest.raises(PathNotFoundError, match=f"^s3aws: path not found: '{path}'"):
            driver.list(path)

    def test_file_and_directory_of_one_name_are_one(self, driver: StorageDriver, raw: Place) -> None:
        raw.put("a", b"x")
        raw.put("a/b", b"x")
        assert driver.list("/") == ["/a"]
        assert driver.list("/a") == ["/a/b"]

    def test_fresh_every_time(self, driver: StorageDriver, raw: Place) -> None:
        raw.put("a/1", b"")
        assert driver.list("/a") == ["/a/1"]
        raw.put("a/2", b"")
        assert driver.list("/a") == ["/a/1", "/a/2"]
        driver.delete("/a/1")
        assert driver.list("/a") == ["/a/2"]


# -- move and delete ------------------------------------------------------------------------------------


class TestMove:
    @pytest.mark.parametrize("size", [0, 71, CHUNK + 1])
    def test_moves(self, driver: StorageDriver, raw: Place, size: int) -> None:
        raw.put("a/from", content_of(size))
        driver.move("/a/from", "/b/c/to")
        assert raw.keys() == ["b/c/to"]
        assert raw.get("b/c/to") == content_of(size)

    def test_replaces_the_destination(self, driver: StorageDriver, raw: Place) -> None:
        raw.put("from", b"new")
        raw.put("to", b"old and longer")
        driver.move("/from", "/to")
        assert raw.keys() == ["to"]
        assert raw.get("to") == b"new"

    @pytest.mark.parametrize("source", ["/missing", "/dir", "/dir/fil"])
    def test_a_missing_source_leaves_the_destination(
        self, driver: StorageDriver, raw: Place, source: str
    ) -> None:
        raw.put("dir/file", b"x")
        raw.put("to", b"old")
        with pytest.raises(PathNotFoundError, match=f"^s3aws: path not found: '{source}'"):
            driver.move(source, "/to")
        assert raw.keys() == ["dir/file", "to"]
        assert raw.get("to") == b"old"

    def test_onto_itself(self, driver: StorageDriver, raw: Place) -> None:
        raw.put("file", b"content")
        driver.move("/file", "/file")
        assert raw.keys() == ["file"]
        assert raw.get("file") == b"content"
        with pytest.raises(PathNotFoundError):
            driver.move("/missing", "/missing")

    def test_only_the_file_and_no_sibling(self, driver: StorageDriver, raw: Place) -> None:
        for key in ("a", "a/b", "ab", "a-b"):
            raw.put(key, b"x")
        driver.move("/a", "/to")
        assert raw.keys() == ["a-b", "a/b", "ab", "to"]

    @pytest.mark.parametrize("size", [CHUNK, CHUNK + 1, 2 * CHUNK, 3 * CHUNK + 1])
    def test_by_parts_above_the_threshold(
        self, proxied_options: dict[str, Any], proxy: CountingProxy, raw: Place, size: int
    ) -> None:
        small: dict[str, Any] = {"multipartcopythresholdsize": CHUNK, "multipartcopychunksize": CHUNK}
        driver = StorageDriver(RegistryFileSystem(**proxied_options, **small))
        raw.put("from", content_of(size), ContentType="text/plain", Metadata={"key": "value"})
        driver.move("/from", "/to")
        assert raw.keys() == ["to"]
        assert raw.get("to") == content_of(size)
        assert raw.uploads() == []
        head = raw.head("to")
        assert head["ContentType"] == "text/plain"
        assert head["Metadata"] == {"key": "value"}
        parts = [request for request in proxy.requests if "partNumber" in request.query]
        assert len(parts) == (0 if size <= CHUNK else -(-size // CHUNK))
        assert all("x-amz-copy-source" in part.headers for part in parts)

    @pytest.mark.parametrize("size", [71, CHUNK + 1])
    def test_encryption_and_storage_class_are_the_drivers(
        self, options: dict[str, Any], raw: Place, size: int
    ) -> None:
        small: dict[str, Any] = {"multipartcopythresholdsize": CHUNK, "multipartcopychunksize": CHUNK}
        settings: dict[str, Any] = {"encrypt": True, "storageclass": "REDUCED_REDUNDANCY"}
        driver = StorageDriver(RegistryFileSystem(**options, **small, **settings))
        raw.put("from", content_of(size))
        assert "ServerSideEncryption" not in raw.head("from")
        driver.move("/from", "/to")
        head = raw.head("to")
        assert head["ServerSideEncryption"] == "AES256"
        assert head["StorageClass"] == "REDUCED_REDUNDANCY"
        assert raw.get("to") == content_of(size)

    @pytest.mark.parametrize("failing", ["copy", "check", "delete"])
    def test_the_source_stays_until_the_copy_is_there(
        self, counted: StorageDriver, proxy: CountingProxy, raw: Place, failing: str
    ) -> None:
        raw.put("from", b"content")

        def fault(request: Request) -> bytes | None:
            hit = {
                "copy": request.method == "PUT",
                "check": request.method == "HEAD" and request.path.endswith("/to"),
                "delete": "DELETE" in kinds([request]),
            }
            if not hit[failing]:
                return None
            return DENIED if request.method != "HEAD" else answer(403)

        proxy.fault = fault
        with pytest.raises(PermissionError):
            counted.move("/from", "/to")
        assert raw.get("from") == b"content"


class TestDelete:
    @pytest.mark.parametrize("name", ["a", "a-b", "a.b", "a0", "ab"])
    def test_a_tree_and_no_sibling(self, driver: StorageDriver, raw: Place, name: str) -> None:
        for sibling in SIBLINGS:
            for key in ("x", "y/z", "y/y/y"):
                raw.put(f"{sibling}/{key}", b"")
        before = raw.keys()
        driver.delete(f"/{name}")
        assert raw.keys() == [key for key in before if not key.startswith(f"{name}/")]
        with pytest.raises(PathNotFoundError):
            driver.stat(f"/{name}")

    def test_a_file(self, driver: StorageDriver, raw: Place) -> None:
        for key in ("a/b", "a/bc", "a/b-c"):
            raw.put(key, b"")
        driver.delete("/a/b")
        assert raw.keys() == ["a/b-c", "a/bc"]

    def test_file_and_directory_of_one_name(self, driver: StorageDriver, raw: Place) -> None:
        for key in ("a", "a/b", "a/c/d", "ab"):
            raw.put(key, b"")
        driver.delete("/a")
        assert raw.keys() == ["ab"]

    @pytest.mark.parametrize("path", ["/missing", "/abc/de", "/ab", "/a", "/abc/def/g"])
    def test_missing(self, driver: StorageDriver, raw: Place, path: str) -> None:
        raw.put("abc/def", b"")
        with pytest.raises(PathNotFoundError, match=f"^s3aws: path not found: '{path}'"):
            driver.delete(path)
        assert raw.keys() == ["abc/def"]

    def test_twice(self, driver: StorageDriver, raw: Place) -> None:
        raw.put("a/b", b"")
        driver.delete("/a")
        with pytest.raises(PathNotFoundError):
            driver.delete("/a")

    def failing(self, raw: Place, *failures: tuple[str, str]) -> bytes:
        errors = "".join(
            f"<Error><Key>{raw.prefix}{key}</Key><Code>{code}</Code><Message>m</Message></Error>"
            for key, code in failures
        )
        return answer(200, f'<?xml version="1.0"?><DeleteResult>{errors}</DeleteResult>')

    def test_failures_are_raised_together(
        self, counted: StorageDriver, proxy: CountingProxy, raw: Place
    ) -> None:
        for name in "bcde":
            raw.put(f"a/{name}", b"")
        told = self.failing(raw, ("a/c", "AccessDenied"), ("a/e", "InternalError"))
        proxy.fault = lambda request: told if request.method == "POST" else None
        with pytest.raises(OSError, match="2 of 4 could not be deleted") as caught:
            counted.delete("/a")
        assert "/a/c (AccessDenied)" in str(caught.value)
        assert "/a/e (InternalError)" in str(caught.value)
        assert "/a/b" not in str(caught.value)
        assert "\n" not in str(caught.value)
        assert not isinstance(caught.value, (PermissionError, FileNotFoundError))

    def test_failures_by_lack_of_permission(
        self, counted: StorageDriver, proxy: CountingProxy, raw: Place
    ) -> None:
        names = [f"a/{number}" for number in range(7)]
        for name in names:
            raw.put(name, b"")
        told = self.failing(raw, *((name, "AccessDenied") for name in names))
        proxy.fault = lambda request: told if request.method == "POST" else None
        with pytest.raises(PermissionError, match=r"7 of 7 .* and 2 more"):
            counted.delete("/a")

    def test_a_lone_key_fails_as_the_others_do(
        self, counted: StorageDriver, proxy: CountingProxy, raw: Place
    ) -> None:
        raw.put("a", b"")
        proxy.fault = lambda request: DENIED if request.method == "DELETE" else None
        with pytest.raises(PermissionError, match="1 of 1 could not be deleted: /a "):
            counted.delete("/a")
        assert raw.keys() == ["a"]

    def test_a_file_goes_with_the_directory_of_its_name(
        self, counted: StorageDriver, proxy: CountingProxy, raw: Place
    ) -> None:
        for key in ("a", "a/b", "a/c", "ab"):
            raw.put(key, b"")
        with proxy.counting() as seen:
            counted.delete("/a")
        assert sorted(kinds(seen)) == ["DELETE", "HEAD", "LIST"]
        assert raw.keys() == ["ab"]


# -- presigned URLs -------------------------------------------------------------------------------------


def fetch(url: str, method: str = "GET") -> tuple[int, bytes, dict[str, str]]:
    """Get a URL as any HTTP client does."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method=method), timeout=30) as got:
            return got.status, got.read(), dict(got.headers)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read(), dict(error.headers)


def in_seconds(seconds: float) -> datetime:
    return datetime.now(timezone.utc) + timedelta(seconds=seconds)


class TestPresigned:
    @pytest.mark.parametrize("method", ["url_for", "redirect_url"])
    def test_is_fetched(self, driver: StorageDriver, raw: Place, method: str) -> None:
        content = content_of(100_000)
        raw.put("a/b..-_Z", content)
        status, got, _ = fetch(getattr(driver, method)("/a/b..-_Z"))
        assert (status, got) == (200, content)
        status, got, headers = fetch(getattr(driver, method)("/a/b..-_Z", "HEAD"), "HEAD")
        assert (status, got) == (200, b"")
        assert {name.lower(): value for name, value in headers.items()}["content-length"] == "100000"

    def test_no_request_is_made(self, counted: StorageDriver, proxy: CountingProxy) -> None:
        for method in ("GET", "HEAD"):
            assert counted.url_for("/missing", method, in_seconds(60)).startswith(proxy.endpoint)
            assert counted.redirect_url("/missing", method).startswith(proxy.endpoint)
        assert counted.redirect_url("/missing", "PUT") == ""
        assert proxy.count() == 0

    @pytest.mark.parametrize("method", ["PUT", "DELETE", "POST", "get", "", "GET "])
    def test_other_methods(self, driver: StorageDriver, method: str) -> None:
        assert driver.redirect_url("/file", method) == ""
        with pytest.raises(UnsupportedMethodError, match=r"^s3aws: ") as caught:
            driver.url_for("/file", method)
        assert repr(method) in str(caught.value)
        assert caught.value.path == "/file"

    def test_twenty_minutes_unless_told(self, driver: StorageDriver) -> None:
        assert "X-Amz-Expires=1200&" in driver.url_for("/file") + "&"
        assert "X-Amz-Expires=1200&" in driver.redirect_url("/file") + "&"
        for seconds in (1, 61, 7 * 24 * 3600 - 1):
            url = driver.url_for("/file", expiry=in_seconds(seconds))
            assert f"X-Amz-Expires={seconds}&" in url + "&"
        elsewhere = in_seconds(90).astimezone(timezone(timedelta(hours=-7)))
        assert "X-Amz-Expires=90&" in driver.url_for("/file", expiry=elsewhere) + "&"

    def test_expiry_out_of_bounds(self, driver: StorageDriver) -> None:
        wrong = [
            datetime.now(),  # noqa: DTZ005 - without a zone on purpose - naive is what this is about
            datetime.now() + timedelta(hours=1),  # noqa: DTZ005 - without a zone on purpose
            in_seconds(-1),
            in_seconds(-(10**8)),
            in_seconds(7 * 24 * 3600 + 60),
            datetime.max.replace(tzinfo=timezone.utc),
        ]
        for expiry in wrong:
            with pytest.raises(ValueError, match="expiry"):
                driver.url_for("/file", expiry=expiry)

    @on_seaweedfs
    def test_the_wrong_method_is_refused(self, driver: StorageDriver, raw: Place) -> None:
        raw.put("file", b"content")
        url = driver.url_for("/file")
        for method in ("HEAD", "DELETE", "PUT"):
            assert fetch(url, method)[0] == 403
        assert fetch(driver.url_for("/file", "HEAD"), "GET")[0] == 403
        assert fetch(url)[:2] == (200, b"content")

    @on_seaweedfs
    def test_tampering_is_refused(self, driver: StorageDriver, raw: Place) -> None:
        raw.put("file", b"content")
        raw.put("fils", b"secret")
        url = driver.url_for("/file")
        start, _, signature = url.partition("X-Amz-Signature=")
        other = "0" if signature[0] != "0" else "1"
        for tampered in (
            url.replace("/file?", "/fils?"),
            url.replace("X-Amz-Expires=1200", "X-Amz-Expires=9999"),
            f"{start}X-Amz-Signature={other}{signature[1:]}",
            url.partition("?")[0],
        ):
            assert tampered != url
            status, body, _ = fetch(tampered)
            assert status == 403
            assert b"secret" not in body
        assert fetch(url)[0] == 200

    @on_seaweedfs
    def test_it_expires(self, driver: StorageDriver, raw: Place) -> None:
        raw.put("file", b"content")
        url = driver.url_for("/file", expiry=in_seconds(2))
        assert fetch(url)[:2] == (200, b"content")
        assert eventually(lambda: fetch(url)[0] == 403)
        assert fetch(driver.url_for("/file"))[0] == 200

    @on_seaweedfs
    def test_signature_version_2(self, options: dict[str, Any], raw: Place) -> None:
        raw.put("file", b"content")
        driver = StorageDriver(RegistryFileSystem(**options, v4auth=False))
        url = driver.url_for("/file", expiry=in_seconds(60))
        assert "X-Amz-" not in url
        assert "Signature=" in url
        assert fetch(url)[:2] == (200, b"content")
        assert fetch(url.replace("Signature=", "Signature=A"))[0] == 403


# -- requests per operation -----------------------------------------------------------------------------


class TestRequests:
    """The contract of what a registry's bucket costs."""

    def test_get_content(self, counted: StorageDriver, proxy: CountingProxy, raw: Place) -> None:
        for size in (0, 71, CHUNK):
            raw.put("file", content_of(size))
            with proxy.counting() as seen:
                counted.get_content("/file")
            assert kinds(seen) == ["GET"]

    def test_missing_get_content(self, counted: StorageDriver, proxy: CountingProxy) -> None:
        with proxy.counting() as seen, pytest.raises(PathNotFoundError):
            counted.get_content("/missing")
        assert kinds(seen) == ["GET"]

    def test_put_content(self, counted: StorageDriver, proxy: CountingProxy) -> None:
        for size in (0, 71, CHUNK):
            with proxy.counting() as seen:
                counted.put_content("/file", content_of(size))
            assert kinds(seen) == ["PUT"]

    def test_stat(self, counted: StorageDriver, proxy: CountingProxy, raw: Place) -> None:
        raw.put("dir/file", b"x")
        for path, expected in (("/dir/file", ["HEAD"]), ("/dir", ["HEAD", "LIST"]), ("/", [])):
            with proxy.counting() as seen:
                counted.stat(path)
            assert kinds(seen) == expected
        with proxy.counting() as seen, pytest.raises(PathNotFoundError):
            counted.stat("/missing")
        assert kinds(seen) == ["HEAD", "LIST"]

    def test_list(self, counted: StorageDriver, proxy: CountingProxy, raw: Place) -> None:
        raw.put("dir/file", b"x")
        raw.put("dir/sub/file", b"x")
        for path in ("/", "/dir", "/dir/sub"):
            with proxy.counting() as seen:
                counted.list(path)
            assert kinds(seen) == ["LIST"]

    def test_delete(self, counted: StorageDriver, proxy: CountingProxy, raw: Place) -> None:
        for key in ("file", "tree/1", "tree/2/3", "tree-4", "one/1"):
            raw.put(key, b"x")
        for path in ("/file", "/tree", "/one"):
            with proxy.counting() as seen:
                counted.delete(path)
            assert kinds(seen).count("DELETE") == 1
            assert kinds(seen).count("HEAD") + kinds(seen).count("LIST") == len(seen) - 1 <= 2

    def test_write_stream(self, counted: StorageDriver, proxy: CountingProxy) -> None:
        with proxy.counting() as seen:
            counted.write_stream("/file", 0, io.BytesIO(b"content"))
        assert kinds(seen) == ["PUT"]

    def test_more_than_a_page(self, counted: StorageDriver, proxy: CountingProxy, raw: Place) -> None:
        names = [f"{kind}{number}" for number in range(503) for kind in ("s-", "s")]
        folders = {"s-0", "s-77", "s500"}
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda name: raw.put(f"t/{name}{'/x' * (name in folders)}"), names))
        raw.put("t/s/x")
        with proxy.counting() as seen:
            assert counted.list("/t") == sorted(f"/t/{name}" for name in [*names, "s"])
        assert kinds(seen) == ["LIST", "LIST"]
        with proxy.counting() as seen:
            counted.delete("/t/s")  # a thousand siblings share its prefix
        *looks, last = kinds(seen)
        assert (sorted(looks), last) == (["HEAD", "LIST"], "DELETE")  # the two are sent together
        walked: list[FileInfo] = []
        with proxy.counting() as seen:
            counted.walk("/t", walked.append)
        assert len([info for info in walked if not info.is_dir]) == len(names)
        found = {info.path for info in walked if info.is_dir}
        # SeaweedFS shows the prefix of what was deleted for a while.
        assert found - {"/t/s"} == {f"/t/{name}" for name in folders}
        # A flat page, which is not all, then the directory's two, and one page from the first directory on.
        assert len(seen) <= 4 + len(found)
        with proxy.counting() as seen:
            counted.delete("/t")
        asked, deleted = len(seen) - kinds(seen).count("DELETE"), kinds(seen).count("DELETE")
        assert asked <= 2 + 1
        assert deleted <= 2 + 1
        assert raw.keys() == []


# -- threads --------------------------------------------------------------------------------------------


def test_sixteen_threads_on_one_driver(driver: StorageDriver, raw: Place) -> None:
    barrier = threading.Barrier(16)

    def work(number: int) -> None:
        content = content_of(5000 + number, seed=number)
        mine = f"/t{number}"
        barrier.wait()
        driver.put_content(f"{mine}/put", content)
        assert driver.write_stream(f"{mine}/stream", number, io.BytesIO(content)) == len(content)
        with driver.writer(f"{mine}/writer") as writer:
            for start in range(0, len(content), 1000):
                writer.write(content[start : start + 1000])
            writer.commit()
        for _ in range(3):
            assert driver.get_content(f"{mine}/put") == content
            assert driver.get_content(f"{mine}/stream") == bytes(number) + content
            with driver.reader(f"{mine}/writer", number) as stream:
                assert stream.read() == content[number:]
            assert driver.stat(f"{mine}/stream").size == len(content) + number
            assert driver.list(mine) == [f"{mine}/put", f"{mine}/stream", f"{mine}/writer"]
        driver.move(f"{mine}/put", f"{mine}/moved")
        assert driver.get_content(f"{mine}/moved") == content
        assert f"/t{number}/stream" in driver.url_for(f"{mine}/stream")
        with pytest.raises(PathNotFoundError) as caught:
            driver.get_content(f"{mine}/put")
        assert caught.value.path == f"{mine}/put"
        if number % 2:
            driver.delete(mine)

    with ThreadPoolExecutor(16) as pool:
        for done in [pool.submit(work, number) for number in range(16)]:
            done.result()
    left = itertools.product(range(0, 16, 2), ("moved", "stream", "writer"))
    assert raw.keys() == sorted(f"t{number}/{name}" for number, name in left)
    assert raw.uploads() == []
