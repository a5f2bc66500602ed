"""What the tests of the driver share."""

from __future__ import annotations

import io
import random
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import pytest

from regfs import (
    StorageDriver,
)

if TYPE_CHECKING:
    from support.proxy import Request


MIB = 2**20


CHUNK = 5 * MIB


SIZES = [0, 1, 71, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 3 * CHUNK + 7]


SIBLINGS = ["a", "ab", "a-b", "a.b", "a0", "a_b", "A"]
"""Names around "/": "-" and "." sort before it, digits and letters behind it."""

on_seaweedfs = pytest.mark.parametrize("server", ["seaweedfs"], indirect=True)


def content_of(size: int, seed: int = 0) -> bytes:
    return random.Random(f"{seed} {size}").randbytes(size)


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


both = pytest.mark.parametrize("method", ["reader", "read_stream"])
