"""What manifests lead to: what the registry's own collector keeps, and the size of it. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from regfs.catalog.snapshot import ReadManifest, Repository, Snapshot
    from regfs.layout import Digest


def needs(snapshot: Snapshot, repository: Repository) -> set[Digest]:
    """Return the blobs that a repository keeps, present or missing.

    By the rule of the registry's garbage collector (distribution: ``garbagecollect.go``,
    ``MarkAndSweep``): each manifest that is a revision of the repository and exists, and what that refers
    to. A layer's link keeps nothing, and nobody looks into an index' child that is no revision itself.
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
    """Return the bytes of a manifest and all that it leads to, each content once, as the manifests state.

    Parameters
    ----------
    digest : Digest
        The manifest.
    read : mapping of Digest to ReadManifest
        Its closure.
    """
    sizes: dict[Digest, int] = {}
    waiting = [digest]
    while waiting:
        candidate = waiting.pop()
        if candidate in sizes or candidate not in read:
            continue
        sizes[candidate] = read[candidate].size
        for reference in this.references if (this := read[candidate].manifest) else ():
            if reference.relation == "manifest":
                waiting.append(reference.digest)
            elif reference.relation != "subject":
                sizes.setdefault(reference.digest, reference.size or 0)
    return sum(sizes.values())
