"""A failed part copy, and a failed write, left their multipart upload behind for ever."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import pytest

from regfs import RegistryFileSystem, StorageDriver

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.proxy import CountingProxy, Request
    from support.servers import Place

CHUNK = 5 * 2**20
STATUSES = {403: ("AccessDenied", PermissionError), 500: ("InternalError", OSError)}


@pytest.fixture
def driver(proxied_options: dict[str, Any]) -> StorageDriver:
    small: dict[str, Any] = {"multipartcopythresholdsize": CHUNK, "multipartcopychunksize": CHUNK}
    return StorageDriver(RegistryFileSystem(**proxied_options, **small, chunksize=CHUNK, maxretries=2))


def failing(status: int, hit: Callable[[Request], bool]) -> Callable[[Request], bytes | None]:
    body = f"<Error><Code>{STATUSES[status][0]}</Code><Message>injected</Message></Error>".encode()
    head = f"HTTP/1.1 {status} -\r\nContent-Type: application/xml\r\nContent-Length: {len(body)}\r\n\r\n"
    return lambda request: head.encode() + body if hit(request) else None


@pytest.mark.parametrize("status", [403, 500])
@pytest.mark.parametrize("number", ["1", "3", "4"])
def test_a_part_copy_that_fails(
    driver: StorageDriver, proxy: CountingProxy, raw: Place, status: int, number: str
) -> None:
    content = bytes(3 * CHUNK + 1)
    raw.put("from", content)
    raw.put("to", b"old")
    proxy.fault = failing(status, lambda request: request.query.get("partNumber") == number)
    with pytest.raises(STATUSES[status][1]):
        driver.move("/from", "/to")
    assert raw.uploads() == []
    assert raw.get("from") == content
    assert raw.get("to") == b"old"


@pytest.mark.parametrize("method", ["move", "put_content"])
def test_the_first_failure_is_what_is_told(
    driver: StorageDriver, proxy: CountingProxy, raw: Place, method: str
) -> None:
    raw.put("from", bytes(2 * CHUNK))
    denied = failing(403, lambda request: request.query.get("partNumber") == "2")
    broken = failing(500, lambda request: request.method == "DELETE")
    proxy.fault = lambda request: denied(request) or broken(request)
    calls: dict[str, Callable[[], object]] = {
        "move": lambda: driver.move("/from", "/to"),
        "put_content": lambda: driver.put_content("/to", bytes(2 * CHUNK)),
    }
    with pytest.raises(PermissionError):
        calls[method]()


def test_a_copy_that_cannot_be_completed(driver: StorageDriver, proxy: CountingProxy, raw: Place) -> None:
    raw.put("from", bytes(CHUNK + 1))
    proxy.fault = failing(403, lambda request: request.method == "POST" and "uploadId" in request.query)
    with pytest.raises(PermissionError):
        driver.move("/from", "/to")
    assert raw.uploads() == []
    assert raw.keys() == ["from"]


@pytest.mark.parametrize("step", ["part", "complete"])
@pytest.mark.parametrize("method", ["put_content", "write_stream", "write_stream-offset"])
def test_a_write_that_fails(
    driver: StorageDriver, proxy: CountingProxy, raw: Place, method: str, step: str
) -> None:
    raw.put("file", b"old")
    proxy.fault = failing(
        403,
        lambda request: (
            request.query.get("partNumber") == "2"
            if step == "part"
            else request.method == "POST" and "uploadId" in request.query
        ),
    )
    new = bytes(2 * CHUNK + 1)
    calls: dict[str, Callable[[], object]] = {
        "put_content": lambda: driver.put_content("/file", new),
        "write_stream": lambda: driver.write_stream("/file", 0, io.BytesIO(new)),
        "write_stream-offset": lambda: driver.write_stream("/file", 2, io.BytesIO(new)),
    }
    with pytest.raises(PermissionError):
        calls[method]()
    assert raw.uploads() == []
    assert raw.get("file") == b"old"


@pytest.mark.parametrize("size", [7, 2 * CHUNK + 1])
def test_a_reader_that_fails(driver: StorageDriver, raw: Place, size: int) -> None:
    class Failing(io.BytesIO):
        def read(self, n: int | None = -1) -> bytes:
            data = super().read(n)
            if not data:
                raise RuntimeError("the reader's own")
            return data

    with pytest.raises(RuntimeError, match="the reader's own"):
        driver.write_stream("/file", 3, Failing(bytes(size)))
    assert raw.uploads() == []
    assert raw.keys() == []
