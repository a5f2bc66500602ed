"""Helpers for reading a registry's files: batches of bounded size, and the parsing of manifests. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from regfs.catalog.fsck.refusal import refusal
from regfs.catalog.manifest import LARGEST, ManifestError, MediaTypeError, parse_manifest
from regfs.catalog.snapshot import ReadManifest
from regfs.store.verify import ALGORITHMS

if TYPE_CHECKING:
    from regfs.layout import Digest

_BATCH_FILES = 512
_BATCH_BYTES = 32 * 2**20
"""The largest batch, in files and in bytes."""


def too_large(size: int) -> ReadManifest:
    """Return the result for a manifest that exceeds the size limit and is not read."""
    problem = f"it has {size} bytes, more than a registry takes for a manifest ({LARGEST})"
    return ReadManifest(size, problem=problem, fault="large", refusal=problem)


def understand(content: bytes) -> ReadManifest:
    """Parse a manifest; `problem` says what is wrong with an invalid one."""
    refused = refusal(content)
    try:
        return ReadManifest(len(content), parse_manifest(content), refusal=refused)
    except MediaTypeError as exc:
        return ReadManifest(len(content), problem=str(exc), fault="type", refusal=refused)
    except ManifestError as exc:
        return ReadManifest(len(content), problem=str(exc), fault="damaged", refusal=refused)


def altered(digest: Digest, content: bytes) -> bool:
    """Return whether content does not match its digest; False if the algorithm is not supported."""
    return digest.algorithm in ALGORITHMS and hashlib.new(digest.algorithm, content).hexdigest() != digest.hex


def batches(paths: Iterable[str], size: Callable[[str], int]) -> Iterator[list[str]]:
    """Yield paths in batches to be read at once; ``size(path)`` returns a file's size in bytes."""
    batch: list[str] = []
    batch_bytes = 0
    for path in paths:
        batch_bytes += size(path)
        if batch and (len(batch) == _BATCH_FILES or batch_bytes > _BATCH_BYTES):
            yield batch
            batch, batch_bytes = [], size(path)
        batch.append(path)
    if batch:
        yield batch
