"""Several threads on one file object: each byte is read and written once, as by Python's buffered files."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from regfs import RegistryFileSystem

if TYPE_CHECKING:
    from support.servers import Place

pytestmark = pytest.mark.parametrize("server", ["seaweedfs"], indirect=True)

SIZE = 3_000_000
THREADS = 4


def test_each_byte_is_read_once(options: dict[str, Any], raw: Place) -> None:
    content = random.Random(8).randbytes(SIZE)
    raw.put("file", content)
    fs = RegistryFileSystem(**options)
    for _ in range(3):
        with fs.open("/file") as file, ThreadPoolExecutor(THREADS) as pool:
            pieces = pool.map(lambda _: list(iter(lambda: file.read(7_000), b"")), range(THREADS))
            found = [piece for some in pieces for piece in some]
        assert sum(map(len, found)) == SIZE
        assert all(piece in content for piece in found[:: max(1, len(found) // 20)])


def test_each_byte_is_written_once(options: dict[str, Any], raw: Place) -> None:
    fs = RegistryFileSystem(**options, chunksize=5 * 2**20)
    pieces = [bytes([number]) * 100_000 for number in range(160)]
    with fs.open("/file", "wb") as file, ThreadPoolExecutor(THREADS) as pool:
        assert sum(pool.map(file.write, pieces)) == 16_000_000
    content = raw.get("file")
    written = [content[start : start + 100_000] for start in range(0, len(content), 100_000)]
    assert sorted(written) == sorted(pieces)
