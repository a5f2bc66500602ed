"""Appending to a file of zero bytes failed, and committing zero bytes sent a completion without parts.

S3 refuses a CompleteMultipartUpload that names no part, and there is nothing in an empty object to copy.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import pytest

from regfs import RegistryFileSystem, StorageDriver

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from support.proxy import CountingProxy
    from support.servers import Place

CHUNK = 5 * 2**20
PATH = "/a/data"


@pytest.fixture
def driver(proxied_options: dict[str, Any]) -> StorageDriver:
    return StorageDriver(RegistryFileSystem(**proxied_options, chunksize=CHUNK, maxretries=0))


@pytest.fixture(autouse=True)
def _nothing_is_refused(proxy: CountingProxy) -> Iterator[None]:
    """After each test: no upload without a part was completed, and no request was called a bad one."""
    yield
    requests = list(proxy.requests)
    filled = {request.query["uploadId"] for request in requests if "partNumber" in request.query}
    completed = {
        request.query["uploadId"]
        for request in requests
        if request.method == "POST" and "uploadId" in request.query
    }
    assert completed <= filled
    # What is asked for and not there is 404, and the bytes of an empty object are 416.
    assert [
        request for request in requests if request.status >= 400 and request.status not in (404, 416)
    ] == []


def write(driver: StorageDriver, content: bytes, *, append: bool = False) -> None:
    with driver.writer(PATH, append=append) as writer:
        writer.write(content)
        writer.commit()


def leave(driver: StorageDriver, content: bytes, *, append: bool = False) -> None:
    with driver.writer(PATH, append=append) as writer:
        writer.write(content)


def in_two_sittings(driver: StorageDriver, content: bytes) -> None:
    leave(driver, content, append=True)
    write(driver, b"", append=True)


def untouched(driver: StorageDriver, *, append: bool = False) -> None:
    """A writer that never saw a write."""
    driver.writer(PATH, append=append).close()


def opened(driver: StorageDriver, mode: str, content: bytes) -> None:
    with driver.fs.open(PATH, mode) as file:
        file.write(content)


WRITTEN: dict[str, Callable[[StorageDriver], object]] = {
    "put_content": lambda d: d.put_content(PATH, b""),
    "write_stream": lambda d: d.write_stream(PATH, 0, io.BytesIO()),
    "writer": lambda d: write(d, b""),
    "open": lambda d: opened(d, "wb", b""),
    "append-to-nothing": lambda d: opened(d, "ab", b""),
    "touch": lambda d: d.fs.touch(PATH),
}
APPENDED: dict[str, Callable[[StorageDriver, bytes], object]] = {
    "writer": lambda d, data: write(d, data, append=True),
    "write_stream": lambda d, data: d.write_stream(PATH, 0, io.BytesIO(data)),
    "open": lambda d, data: opened(d, "ab", data),
    "writer-in-two-sittings": in_two_sittings,
}


@pytest.mark.parametrize("way", WRITTEN)
def test_an_empty_file(driver: StorageDriver, raw: Place, way: str) -> None:
    WRITTEN[way](driver)
    assert raw.get("a/data") == b""
    assert driver.get_content(PATH) == b""
    assert driver.stat(PATH).size == 0
    assert raw.keys() == ["a/data"]
    assert raw.uploads() == []


@pytest.mark.parametrize("way", WRITTEN)
def test_an_empty_file_in_place_of_another(driver: StorageDriver, raw: Place, way: str) -> None:
    raw.put("a/data", b"old")
    WRITTEN[way](driver)
    assert raw.get("a/data") == (b"old" if way == "append-to-nothing" else b"")
    assert raw.uploads() == []


@pytest.mark.parametrize("size", [0, CHUNK + 1])
@pytest.mark.parametrize("way", APPENDED)
def test_append_to_an_empty_file(driver: StorageDriver, raw: Place, way: str, size: int) -> None:
    raw.put("a/data")
    APPENDED[way](driver, b"x" * size)
    assert raw.get("a/data") == b"x" * size
    assert raw.keys() == ["a/data"]
    assert raw.uploads() == []


def test_behind_the_end_of_an_empty_file(driver: StorageDriver, raw: Place) -> None:
    raw.put("a/data")
    assert driver.write_stream(PATH, 3, io.BytesIO()) == 0
    assert raw.get("a/data") == bytes(3)


@pytest.mark.parametrize("old", [None, b"old"])
@pytest.mark.parametrize("first", [leave, lambda driver, _: untouched(driver)], ids=["zero", "untouched"])
@pytest.mark.parametrize("second", [0, 5])
def test_a_writer_closed_with_nothing_is_resumed(
    driver: StorageDriver,
    raw: Place,
    old: bytes | None,
    first: Callable[[StorageDriver, bytes], None],
    second: int,
) -> None:
    if old is not None:
        raw.put("a/data", old)
    first(driver, b"")
    assert len(raw.uploads()) == 1, "a fresh writer that was closed is there to be continued"
    for _ in range(2):
        untouched(driver, append=True)
    writer = driver.writer(PATH, append=True)
    assert writer.size == 0
    writer.write(b"x" * second)
    writer.commit()
    writer.close()
    assert raw.get("a/data") == b"x" * second
    assert raw.keys() == ["a/data"]
    assert raw.uploads() == []


def test_a_writer_closed_with_nothing_is_cancelled(driver: StorageDriver, raw: Place) -> None:
    raw.put("a/data")
    untouched(driver)
    writer = driver.writer(PATH, append=True)
    writer.cancel()
    writer.close()
    assert raw.uploads() == []
    assert raw.keys() == ["a/data"]


@pytest.mark.parametrize("way", ["commit", "close"])
@pytest.mark.parametrize("old", [b"", b"old"])
def test_nothing_is_added_to_a_file(driver: StorageDriver, raw: Place, old: bytes, way: str) -> None:
    raw.put("a/data", old)
    writer = driver.writer(PATH, append=True)
    assert writer.size == len(old)
    assert writer.write(b"") == 0
    if way == "commit":
        writer.commit()
    writer.close()
    assert raw.get("a/data") == old
    with driver.writer(PATH, append=True) as writer:
        assert writer.size == len(old)
        writer.commit()
    assert raw.get("a/data") == old
    assert raw.keys() == ["a/data"]
    assert raw.uploads() == []


@pytest.mark.parametrize("size", [0, 5])
def test_a_foreign_upload_without_parts(driver: StorageDriver, raw: Place, size: int) -> None:
    """The registry's own driver begins the upload at once, and cannot commit it."""
    raw.s3.create_multipart_upload(Bucket=raw.bucket, Key=raw.prefix + "a/data")
    write(driver, b"x" * size, append=True)
    assert raw.get("a/data") == b"x" * size
    assert raw.keys() == ["a/data"]
    assert raw.uploads() == []
