"""Streams that are read."""

from __future__ import annotations

import contextlib
import io
from typing import TYPE_CHECKING, cast

import pytest

from regfs import (
    InvalidOffsetError,
    PathNotFoundError,
    StorageDriver,
)

if TYPE_CHECKING:
    from support.proxy import CountingProxy
    from support.servers import Place

from support.drivers import MIB, both, content_of, eventually, kinds


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
