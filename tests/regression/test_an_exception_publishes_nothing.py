"""In fsspec and s3fs, an exception inside ``with fs.open(path, "wb")`` publishes the partial file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from regfs import RegistryFileSystem, StorageDriver

if TYPE_CHECKING:
    from support.servers import Place

CHUNK = 5 * 2**20
SIZES = [0, 7, 2 * CHUNK + 1]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("old", [None, b"old"])
@pytest.mark.parametrize("kind", [RuntimeError, KeyboardInterrupt])
def test_of_the_filesystem(
    options: dict[str, Any], raw: Place, size: int, old: bytes | None, kind: type[BaseException]
) -> None:
    fs = RegistryFileSystem(**options, chunksize=CHUNK)
    if old is not None:
        raw.put("file", old)
    before = raw.keys()
    with pytest.raises(kind), fs.open("/file", "wb") as file:
        file.write(bytes(size))
        raise kind
    assert raw.keys() == before
    assert old is None or raw.get("file") == old
    assert raw.uploads() == []


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("old", [None, b"old"])
def test_of_the_driver(options: dict[str, Any], raw: Place, size: int, old: bytes | None) -> None:
    driver = StorageDriver(RegistryFileSystem(**options, chunksize=CHUNK))
    if old is not None:
        raw.put("file", old)
    before = driver.list("/")
    with pytest.raises(RuntimeError), driver.writer("/file") as writer:
        writer.write(bytes(size))
        raise RuntimeError
    assert driver.list("/") == before
    assert old is None or raw.get("file") == old


def test_of_a_writer_that_is_forgotten(options: dict[str, Any], raw: Place) -> None:
    driver = StorageDriver(RegistryFileSystem(**options, chunksize=CHUNK))
    writer = driver.writer("/file")
    writer.write(b"content")
    with pytest.warns(ResourceWarning, match="7 of the 7 bytes"):
        del writer
    assert driver.list("/") == []
