"""Detection of lost links: blobs exist, but no link says which repository they belong to.

A registry whose links were lost, or not copied with its blobs, looks full of garbage to a deletion and empty
to a reader. Both get a warning.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from regfs.layout import BLOBS, REPOSITORIES, BlobData, LayerLink, ManifestRevisionLink, parse
from regfs.parameters.notices import warn

if TYPE_CHECKING:
    from regfs.catalog.snapshot import Snapshot
    from regfs.catalog.source import Source

_MOST_LINKS = 50_000
"""The number of links that `seem_lost` lists before it gives up."""
UNTRUE = "the links are in a database, as GitLab's registry keeps them, or lost, or not copied yet"
"""The possible reasons why links do not show which blobs are needed."""


class LostLinksWarning(UserWarning):
    """No repository has a manifest although there are blobs: the links are lost or stored elsewhere."""


def without_manifests(snapshot: Snapshot) -> str:
    """Return a sentence if there are blobs but no repository has a manifest, else an empty text."""
    if not snapshot.blobs or any(
        digest in snapshot.blobs
        for repository in snapshot.repositories.values()
        for digest in repository.revisions
    ):
        return ""
    count, size = len(snapshot.blobs), sum(file.size for file in snapshot.blobs.values())
    counted = f"{count:,} blob{'' if count == 1 else 's'}"
    return f"no repository has a manifest, beside {counted} of {size:,} bytes: {UNTRUE}"


def lost_links(snapshot: Snapshot) -> str:
    """Return the sentence of :func:`without_manifests` if links are lost, else an empty text.

    A registry that is receiving its first image has no manifest either. But there each blob has a layer
    link, which a manifest's blob never has.
    """
    layers = {digest for repository in snapshot.repositories.values() for digest in repository.layers}
    return without_manifests(snapshot) if snapshot.blobs.keys() - layers else ""


def seem_lost(source: Source) -> bool:
    """Return whether links seem to be lost, judged by a page of blobs and the links up to the first revision.

    Usually costs two LISTs. Returns False if the first 50,000 links include no revision.

    Raises
    ------
    OSError
        A listing failed.
    """
    blobs = {
        spec.digest
        for page in islice(source.pages(BLOBS), 1)
        for entry in page
        if isinstance(spec := parse(entry.path), BlobData)
    }
    if not blobs:
        return False
    links = 0
    for page in source.pages(REPOSITORIES):
        for entry in page:
            spec = parse(entry.path)
            if isinstance(spec, ManifestRevisionLink):
                return False
            if isinstance(spec, LayerLink):
                blobs.discard(spec.digest)
        links += len(page)
        if links >= _MOST_LINKS:
            return False
    return bool(blobs)


def notice(source: Source, snapshot: Snapshot) -> str:
    """Return the warning for readers; empty if no links are lost or the metadata is in a database."""
    text = "" if snapshot.database_in_use else lost_links(snapshot)
    return f"{source.url(REPOSITORIES)}: {text}" if text else ""


def warn_readers(source: Source, snapshot: Snapshot) -> None:
    """Log the notice, if there is one, and issue it as a :class:`LostLinksWarning`."""
    if text := notice(source, snapshot):
        warn(text, LostLinksWarning)
