"""What keeps a blob from being garbage, as the registry's own collector sees it. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from regfs.catalog.snapshot import Repository, Snapshot
    from regfs.layout import Digest


def needs(snapshot: Snapshot, repository: Repository) -> set[Digest]:
    """Give the blobs that a repository keeps, be they there or not.

    By the rule of the registry's garbage collector (distribution: ``garbagecollect.go``,
    ``MarkAndSweep``): each manifest that is a revision of the repository and exists, and what that refers
    to. A layer's link keeps nothing, and nobody looks into an index' child that is no revision itself.
    """
    found: set[Digest] = set()
    for digest in repository.revisions:
        read = snapshot.manifests.get(digest)
        if read is not None:
            found.add(digest)
            if read.manifest:
                found.update(read.manifest.kept)
    return found
