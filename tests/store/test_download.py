"""Large objects by several ranges: whole, of one version, and no request more than it takes."""

from __future__ import annotations

import asyncio
import gc
import os
import random
import threading
from io import BytesIO
from typing import TYPE_CHECKING, Any

import pytest
from fsspec.callbacks import Callback

from regfs import RegistryFileSystem
from regfs.errors import FileChangedError
from regfs.store import download

if TYPE_CHECKING:
    from pathlib import Path

    from support.proxy import CountingProxy, Request
    from support.servers import Place

RANGE = 64 * 1024
DATA = random.Random(1).randbytes(10 * RANGE + 17)
RANGES = 11


@pytest.fixture
def fs(proxied_options: dict[str, Any], raw: Place, monkeypatch: pytest.MonkeyPatch) -> RegistryFileSystem:
    """A filesystem to which 64 KiB are much, and a file of a little more than ten times that."""
    monkeypatch.setattr(download, "RANGE", RANGE)
    raw.put("blob", DATA)
    return RegistryFileSystem(**proxied_options)


class Told(Callback):  # type: ignore[misc]  # fsspec ships no types
    """Notes what it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []

    def set_size(self, size: int) -> None:
        self.sizes.append(size)
        super().set_size(size)


def once(matches: Any, answer: bytes) -> Any:
    """Answer the first request that matches in the server's place."""
    lock, left = threading.Lock(), [1]

    def fault(request: Request) -> bytes | None:
        with lock:
            if left and matches(request):
                left.pop()
                return answer
        return None

    return fault


def test_one_get_for_each_range(fs: RegistryFileSystem, proxy: CountingProxy) -> None:
    with proxy.counting() as requests:
        assert fs.cat_file("/blob") == DATA
    assert [request.method for request in requests] == ["GET"] * RANGES
    conditions = [request.headers.get("if-match") for request in requests]
    assert conditions[0] is None
    assert set(conditions[1:]) == {fs.info("/blob")["ETag"]}


@pytest.mark.parametrize("size", [0, 1, RANGE - 1, RANGE])
def test_one_get_for_what_is_small(
    fs: RegistryFileSystem, proxy: CountingProxy, raw: Place, tmp_path: Path, size: int
) -> None:
    raw.put("small", DATA[:size])
    with proxy.counting() as requests:
        assert fs.cat_file("/small") == DATA[:size]
        fs.get_file("/small", tmp_path / "small")
    assert len(requests) == 2
    assert (tmp_path / "small").read_bytes() == DATA[:size]


@pytest.mark.parametrize(
    ("start", "end"),
    [
        (0, RANGE),
        (0, RANGE + 1),
        (7, None),
        (5, 3 * RANGE),
        (RANGE, -1),
        (-3 * RANGE, -1),
        (9 * RANGE, 10**9),
    ],
)
def test_slices(fs: RegistryFileSystem, start: int, end: int | None) -> None:
    assert fs.cat_file("/blob", start, end) == DATA[start:end]


def test_past_the_end(fs: RegistryFileSystem) -> None:
    assert fs.cat_file("/blob", len(DATA)) == b""
    assert fs.cat_file("/blob", 10**9, 2 * 10**9) == b""


def test_to_a_file(fs: RegistryFileSystem, tmp_path: Path) -> None:
    told = Told()
    fs.get_file("/blob", tmp_path / "blob", callback=told)
    assert (tmp_path / "blob").read_bytes() == DATA
    assert (told.sizes, told.value) == ([len(DATA)], len(DATA))
    assert os.listdir(tmp_path) == ["blob"]


def test_to_an_open_file_in_order(fs: RegistryFileSystem, proxy: CountingProxy) -> None:
    file, told = BytesIO(b"before"), Told()
    file.seek(6)
    with proxy.counting() as requests:
        fs.get_file("/blob", file, callback=told)
    assert file.getvalue() == b"before" + DATA
    assert (told.sizes, told.value) == ([len(DATA)], len(DATA))
    assert len(requests) == 1


CUT = b"HTTP/1.1 206 Partial Content\r\nContent-Length: 65536\r\nETag: %s\r\nLast-Modified: %s\r\n"
CUT += b"Content-Range: bytes %d-%d/%d\r\nConnection: close\r\n\r\n"


@pytest.mark.parametrize("number", [0, 4])
def test_a_broken_range_goes_on_alone(
    fs: RegistryFileSystem, proxy: CountingProxy, tmp_path: Path, number: int
) -> None:
    start = number * RANGE
    etag = fs.info("/blob")["ETag"].encode()
    cut = CUT % (etag, b"Mon, 23 Nov 2026 10:00:00 GMT", start, start + RANGE - 1, len(DATA))
    cut += DATA[start : start + 1000]

    def matches(request: Request) -> bool:
        return request.headers.get("range", "").startswith(f"bytes={start}-")

    told = Told()
    proxy.fault = once(matches, cut)
    with proxy.counting() as requests:
        fs.get_file("/blob", tmp_path / "blob", callback=told)
    assert len(requests) == RANGES + 1
    assert (tmp_path / "blob").read_bytes() == DATA
    assert told.value == len(DATA)
    proxy.fault = once(matches, cut)
    assert fs.cat_file("/blob") == DATA


@pytest.mark.parametrize("to_file", [False, True])
def test_a_file_that_is_replaced_is_read_anew(
    fs: RegistryFileSystem, proxy: CountingProxy, raw: Place, tmp_path: Path, to_file: bool
) -> None:
    """What arrives is the old one or the new one, whole; here the new one, as it is replaced at once."""
    new = DATA[::-1][: 5 * RANGE]
    lock = threading.Lock()
    replaced: list[bool] = []

    def fault(request: Request) -> None:
        with lock:
            if "if-match" in request.headers and not replaced:
                raw.put("blob", new)
                replaced.append(True)

    proxy.fault = fault
    if to_file:
        told = Told()
        fs.get_file("/blob", tmp_path / "blob", callback=told)
        assert (tmp_path / "blob").read_bytes() == new
        assert (told.sizes, told.value) == ([len(DATA), len(new)], len(new))
    else:
        assert fs.cat_file("/blob") == new


def test_a_file_that_is_replaced_all_the_time(
    fs: RegistryFileSystem, proxy: CountingProxy, raw: Place, tmp_path: Path
) -> None:
    lock = threading.Lock()
    count = [0]

    def fault(request: Request) -> None:
        with lock:
            if "if-match" in request.headers:
                count[0] += 1
                raw.put("blob", DATA + str(count[0]).encode())

    proxy.fault = fault
    with pytest.raises(FileChangedError, match="replaced") as caught:
        fs.get_file("/blob", tmp_path / "blob")
    assert caught.value.filename == fs.unstrip_protocol("/blob")
    assert os.listdir(tmp_path) == []


def test_missing_and_directories(fs: RegistryFileSystem, raw: Place, tmp_path: Path) -> None:
    raw.put("d/1", b"")
    with pytest.raises(FileNotFoundError, match="regfs://"):
        fs.get_file("/no", tmp_path / "no")
    fs.get_file("/d", tmp_path / "d")
    assert (tmp_path / "d").is_dir()
    with pytest.raises(IsADirectoryError):
        fs.cat_file("/d")
    assert os.listdir(tmp_path) == ["d"]


def test_a_full_disk_leaves_nothing(
    fs: RegistryFileSystem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: download.File, at: int, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(download.File, "_put", full)
    with pytest.raises(OSError, match="No space left"):
        fs.get_file("/blob", tmp_path / "blob")
    assert os.listdir(tmp_path) == []


def test_memory_that_was_not_filled_is_collected_without_a_word() -> None:
    """With an exception that holds it, say; from Python 3.13 on it would be reported."""

    async def drop() -> None:
        memory: Any = download.Memory()
        await memory.begin(RANGE)
        memory.itself = memory

    asyncio.run(drop())
    gc.collect()
