"""The bytes that are read and written: random, and the same in every process that asks."""

from __future__ import annotations

import functools
import hashlib
import random
from collections.abc import Iterator, Sequence

from regfs.layout import BlobData, Digest, LayerLink

PIECE = 2**20
"""Bytes that a stream is written and read in."""
_BLOCKS = 17
"""Shares no divisor with the pieces of a part, so that a part in a wrong place shows."""


def body(name: str, size: int) -> bytes:
    """Make the body of a small object."""
    return random.Random(name).randbytes(size)


@functools.lru_cache(maxsize=1)
def _blocks() -> tuple[bytes, ...]:
    return tuple(body(f"block {number}", PIECE) for number in range(_BLOCKS))


def pieces(size: int) -> Iterator[bytes]:
    """Return a stream of `size` bytes, a multiple of ``PIECE``, out of few pieces that are kept."""
    blocks = _blocks()
    return (blocks[number % _BLOCKS] for number in range(size // PIECE))


def check_stream(name: str, size: int, sizes: int, samples: Sequence[tuple[int, bytes]]) -> None:
    """Compare what was seen of a stream: its whole size, and some bytes at some offsets."""
    if sizes != size:
        raise AssertionError(f"{name}: {sizes} bytes instead of {size}")
    blocks = _blocks()
    for offset, found in samples:
        at = offset % PIECE
        if blocks[offset // PIECE % _BLOCKS][at : at + len(found)] != found:
            raise AssertionError(f"{name}: wrong bytes at {offset}")


def tree(prefix: str, count: int) -> list[str]:
    """Name the keys of a registry's storage: as many blobs as links to them, `count` in all, sorted."""
    keys = []
    for number in range(count // 2):
        digest = Digest("sha256", hashlib.sha256(str(number).encode()).hexdigest())
        keys.append(prefix + BlobData(digest).path)
        keys.append(prefix + LayerLink(f"team{number % 7}/image{number % 50}", digest).path)
    return sorted(keys)
