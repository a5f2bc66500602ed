"""Whether what is read is what its path promises: a registry stores a blob under the digest of its content.

The digest is computed while the bytes go by, and compared when the last one does. Pure.
"""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Callable
from typing import TYPE_CHECKING

from regfs.errors import DigestMismatchError
from regfs.layout import BlobData, Digest, parse

if TYPE_CHECKING:
    from regfs.paths import KeySpace

ALGORITHMS = ("sha256", "sha384", "sha512")
"""Those that the registry takes."""
PIECE = 2**20
"""Bytes that are read at once where a reader skips them."""


def promised(path: str) -> Digest:
    """Return the digest that a blob's path promises.

    Raises
    ------
    ValueError
        No blob's data lies there, or its algorithm is none that can be computed.
    """
    spec = parse(path)
    if not isinstance(spec, BlobData):
        text = "promises no digest; only blobs' data can be verified (blobs/ALGORITHM/xx/HEX/data)"
        raise ValueError(f"path {path!r}: {text}")
    if spec.digest.algorithm not in ALGORITHMS:
        raise ValueError(f"path {path!r}: only {', '.join(ALGORITHMS)} can be computed")
    return spec.digest


class Verifier:
    """Follows one read of a blob.

    Parameters
    ----------
    space : KeySpace
        Names the path in errors.
    path : str
        The driver path.
    size : int
        The blob's size in bytes.

    Attributes
    ----------
    at : int
        Bytes seen so far.

    Raises
    ------
    ValueError
        The path promises no digest.
    """

    def __init__(self, space: KeySpace, path: str, size: int) -> None:
        self.at = 0
        self._url = space.url(path)
        self._size = size
        self._digest = promised(path)
        self._hash = hashlib.new(self._digest.algorithm)

    def feed(self, start: int, data: bytes | memoryview) -> None:
        """Add the bytes at an offset; those that were added before are skipped.

        Raises
        ------
        DigestMismatchError
            They are the last ones, and the content is not what the path promises.
        """
        stop = start + len(data)
        if start <= self.at < stop:
            self._hash.update(memoryview(data)[self.at - start :])
            self.at = stop
        if self.at >= self._size and self._hash.hexdigest() != self._digest.hex:
            actual = f"{self._hash.name}:{self._hash.hexdigest()}"
            text = f"the content is not what its path promises but {actual}; push or restore the blob"
            raise DigestMismatchError(errno.EBADMSG, text, self._url)

    def catch_up(self, start: int, read: Callable[[int, int], bytes]) -> None:
        """Add the bytes up to an offset that a reader skips; ``read(start, stop)`` returns them."""
        while self.at < min(start, self._size):
            stop = min(self.at + PIECE, start, self._size)
            self.feed(self.at, read(self.at, stop))
