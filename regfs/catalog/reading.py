"""How the files of a registry are read: in groups of a bounded size, and what their bytes mean. Pure."""

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
"""What is read at once, at most."""


def too_large(size: int) -> ReadManifest:
    """Return what stands for a manifest that is larger than one may be, and is not read."""
    problem = f"it has {size} bytes, more than a registry takes for a manifest ({LARGEST})"
    return ReadManifest(size, problem=problem, fault="large", refusal=problem)


def understand(content: bytes) -> ReadManifest:
    """Parse a manifest, or return what is wrong with it."""
    refused = refusal(content)
    try:
        return ReadManifest(len(content), parse_manifest(content), refusal=refused)
    except MediaTypeError as exc:
        return ReadManifest(len(content), problem=str(exc), fault="type", refusal=refused)
    except ManifestError as exc:
        return ReadManifest(len(content), problem=str(exc), fault="damaged", refusal=refused)


def altered(digest: Digest, content: bytes) -> bool:
    """Return whether some content is not what its digest promises, if that can be computed."""
    return digest.algorithm in ALGORITHMS and hashlib.new(digest.algorithm, content).hexdigest() != digest.hex


def batches(paths: Iterable[str], size: Callable[[str], int]) -> Iterator[list[str]]:
    """Yield paths in groups that can be read at once; ``size(path)`` returns the bytes of each."""
    batch: list[str] = []
    held = 0
    for path in paths:
        held += size(path)
        if batch and (len(batch) == _BATCH_FILES or held > _BATCH_BYTES):
            yield batch
            batch, held = [], size(path)
        batch.append(path)
    if batch:
        yield batch
