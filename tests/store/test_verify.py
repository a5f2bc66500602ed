"""Blobs that are compared with the digest that their path promises."""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from regfs import DigestMismatchError, RegistryFileSystem, StorageDriver
from regfs.layout import BlobData, Digest, TagCurrentLink

DATA = random.Random(5).randbytes(300_000)
GOOD = BlobData(Digest.of(DATA)).path
BAD = BlobData(Digest.of(b"something else")).path
EMPTY = BlobData(Digest.of(b"")).path
BAD_EMPTY = BlobData(Digest.of(b"not empty")).path
LONG = BlobData(Digest("sha512", hashlib.sha512(DATA).hexdigest())).path


@pytest.fixture
def fs(options: dict[str, Any]) -> RegistryFileSystem:
    fs = RegistryFileSystem(**options)
    fs.pipe({GOOD: DATA, BAD: DATA, LONG: DATA, EMPTY: b"", BAD_EMPTY: b""})
    return fs


def by_verify(fs: RegistryFileSystem, path: str, tmp_path: Path) -> bytes:
    fs.verify(path)
    data: bytes = fs.cat_file(path)
    return data


def by_cat(fs: RegistryFileSystem, path: str, tmp_path: Path) -> bytes:
    data: bytes = fs.cat_file(path, verify=True)
    return data


def by_open(fs: RegistryFileSystem, path: str, tmp_path: Path) -> bytes:
    with fs.open(path, verify=True) as file:
        return b"".join(iter(lambda: file.read(7777), b""))


def by_open_whole(fs: RegistryFileSystem, path: str, tmp_path: Path) -> bytes:
    with fs.open(path, verify=True) as file:
        data: bytes = file.read(file.size)  # and not one read more
        return data


def by_open_with_jumps(fs: RegistryFileSystem, path: str, tmp_path: Path) -> bytes:
    with fs.open(path, verify=True) as file:
        file.seek(200_000)
        file.read(10)
        file.seek(5)
        file.read(10)
        file.seek(-1, 2)
        file.read(1)
    data: bytes = fs.cat_file(path)
    return data


def by_reader(fs: RegistryFileSystem, path: str, tmp_path: Path) -> bytes:
    with StorageDriver(fs).reader(path, verify=True) as stream:
        return stream.read()


def by_get(fs: RegistryFileSystem, path: str, tmp_path: Path) -> bytes:
    try:
        fs.get_file(path, str(tmp_path / "got"), verify=True)
    except BaseException:
        assert list(tmp_path.iterdir()) == []
        raise
    return (tmp_path / "got").read_bytes()


def by_pipe(fs: RegistryFileSystem, path: str, tmp_path: Path) -> bytes:
    with (tmp_path / "got").open("wb") as file:
        fs.get_file(path, file, verify=True)
    return (tmp_path / "got").read_bytes()


def by_async(fs: RegistryFileSystem, path: str, tmp_path: Path) -> bytes:
    async def read() -> bytes:
        own = RegistryFileSystem(**fs.storage_options, asynchronous=True)
        try:
            async with await own.open_async(path, verify=True) as file:
                data = b""
                while more := await file.read(50_000):
                    data += more
                return data
        finally:
            await own.close()

    return asyncio.run(read())


WAYS = (by_verify, by_cat, by_open, by_open_whole, by_open_with_jumps, by_reader, by_get, by_pipe, by_async)
Way = Callable[[RegistryFileSystem, str, Path], bytes]


@pytest.mark.parametrize("way", WAYS)
class TestEveryWay:
    @pytest.mark.parametrize("path", [GOOD, LONG])
    def test_gives_what_is_right(self, fs: RegistryFileSystem, way: Way, path: str, tmp_path: Path) -> None:
        assert way(fs, path, tmp_path) == DATA

    def test_raises_where_it_is_not(self, fs: RegistryFileSystem, way: Way, tmp_path: Path) -> None:
        with pytest.raises(DigestMismatchError, match=f"sha256:{Digest.of(DATA).hex}") as caught:
            way(fs, BAD, tmp_path)
        assert caught.value.filename.endswith(BAD)

    @pytest.mark.parametrize("path", ["/a/file", TagCurrentLink("a", "latest").path, f"{GOOD}x"])
    def test_refuses_what_promises_nothing(
        self, fs: RegistryFileSystem, way: Way, path: str, tmp_path: Path
    ) -> None:
        with pytest.raises(ValueError, match="promises no digest"):
            way(fs, path, tmp_path)

    def test_tells_what_is_missing(self, fs: RegistryFileSystem, way: Way, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError):
            way(fs, BlobData(Digest.of(b"nowhere")).path, tmp_path)


@pytest.mark.parametrize("way", [way for way in WAYS if way not in (by_open_with_jumps, by_open_whole)])
def test_empty_blobs(fs: RegistryFileSystem, way: Way, tmp_path: Path) -> None:
    assert way(fs, EMPTY, tmp_path) == b""
    if way is by_get:
        (tmp_path / "got").unlink()
    with pytest.raises(DigestMismatchError):
        way(fs, BAD_EMPTY, tmp_path)


def test_verify_gives_the_digest(fs: RegistryFileSystem) -> None:
    assert fs.verify(GOOD) == str(Digest.of(DATA))
    assert fs.verify(f"regfs://{fs.space.bucket}{EMPTY}") == str(Digest.of(b""))


def test_a_part_cannot_be_verified(fs: RegistryFileSystem) -> None:
    for call in (
        lambda: fs.cat_file(GOOD, 0, 10, verify=True),
        lambda: StorageDriver(fs).reader(GOOD, 1, verify=True),
    ):
        with pytest.raises(ValueError, match="only a whole blob"):
            call()


def test_without_it_damage_is_not_noticed(fs: RegistryFileSystem) -> None:
    assert fs.cat_file(BAD) == DATA
