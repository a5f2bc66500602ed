"""Whether a registry's links are lost: there are blobs, and nothing says whose they are.

A registry whose links were lost, or not copied with the blobs, looks like one full of garbage to whoever
deletes, and like an empty one to whoever reads. So both are warned.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from regfs.layout import BLOBS, REPOSITORIES, BlobData, LayerLink, ManifestRevisionLink, parse
from regfs.parameters.notices import warn

if TYPE_CHECKING:
    from regfs.catalog.snapshot import Snapshot
    from regfs.catalog.source import Source

_ENOUGH = 50_000
UNTRUE = "the links are in a database, as GitLab's registry keeps them, or lost, or not copied yet"
"""Why links do not show what is needed."""


class LostLinksWarning(UserWarning):
    """No repository of a registry has a manifest, though there are blobs: the links are lost or elsewhere."""


def without_manifests(snapshot: Snapshot) -> str:
    """Return the sentence that there are blobs, and that no repository has a manifest; empty if one has."""
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
    """Return the sentence of :func:`without_manifests` where the links are lost; else "".

    A registry to which the first image is being pushed has no manifest either. There each blob has a layer
    link, which no manifest's blob has.
    """
    layers = {digest for repository in snapshot.repositories.values() for digest in repository.layers}
    return without_manifests(snapshot) if snapshot.blobs.keys() - layers else ""


def seem_lost(source: Source) -> bool:
    """Return whether links seem to be lost, from little: the links up to the first manifest, and some blobs.

    Costs two LISTs as a rule. Where 50,000 links and more lead to no manifest, it is not found out.

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
        if links >= _ENOUGH:
            return False
    return bool(blobs)


def notice(source: Source, snapshot: Snapshot) -> str:
    """Return the line that warns readers of lost links; empty if none are lost, or they are in a database."""
    text = "" if snapshot.database_in_use else lost_links(snapshot)
    return f"{source.url(REPOSITORIES)}: {text}" if text else ""


def warn_readers(source: Source, snapshot: Snapshot) -> None:
    """Log the notice, and show it as a :class:`LostLinksWarning`, if there is one."""
    if text := notice(source, snapshot):
        warn(text, LostLinksWarning)
