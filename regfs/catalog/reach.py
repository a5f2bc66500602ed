"""The blobs that manifests keep, by the rule of the registry's garbage collector, and their size. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from regfs.catalog.snapshot import ReadManifest, Repository, Snapshot
    from regfs.layout import Digest


def needs(snapshot: Snapshot, repository: Repository) -> set[Digest]:
    """Return the digests of the blobs that a repository keeps, present or missing.

    By the rule of the registry's garbage collector (distribution: ``garbagecollect.go``, ``MarkAndSweep``),
    these are the repository's existing revisions and the blobs that they refer to. A layer link keeps
    nothing, and the children of an index count only if they are revisions themselves.
    """
    digests: set[Digest] = set()
    for digest in repository.revisions:
        read = snapshot.manifests.get(digest)
        if read is not None:
            digests.add(digest)
            if read.manifest:
                digests.update(read.manifest.kept)
    return digests


def size_of(digest: Digest, read: Mapping[Digest, ReadManifest]) -> int:
    """Return the size of a manifest with everything below it, in bytes.

    Each blob counts once, with the size that the manifests state.

    Parameters
    ----------
    digest : Digest
        The manifest.
    read : mapping of Digest to ReadManifest
        The manifest and, below an index, its children at any depth.
    """
    sizes: dict[Digest, int] = {}
    pending = [digest]
    while pending:
        current = pending.pop()
        if current in sizes or current not in read:
            continue
        sizes[current] = read[current].size
        manifest = read[current].manifest
        for reference in manifest.references if manifest else ():
            if reference.relation == "manifest":
                pending.append(reference.digest)
            elif reference.relation != "subject":
                sizes.setdefault(reference.digest, reference.size or 0)
    return sum(sizes.values())
