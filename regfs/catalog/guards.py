"""Checks that the links in a bucket are reliable, before blobs are deleted because no link leads to them.

They are not if the registry keeps its metadata in a database, if a bucket was copied only in part, if a
listing ended early, or if links were lost. Each of these looks like a registry full of garbage.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple

from regfs.catalog.database import locked
from regfs.catalog.lost import UNTRUE, without_manifests
from regfs.catalog.manifest import LARGEST, ManifestError, parse_manifest
from regfs.catalog.plan import PlanError
from regfs.catalog.reading import batches
from regfs.catalog.snapshot import File, Snapshot
from regfs.catalog.source import Source
from regfs.layout import BLOBS, DATABASE_LOCK, REPOSITORIES, BlobData, Digest

_BEGINNING = 16 * 2**10
"""The bytes read from a small blob to see whether it may be a manifest; most manifests are no larger."""


class MetadataDatabaseError(PlanError):
    """The registry's metadata is in a database, so the bucket does not show which blobs are needed."""


class UnreliableLinksError(PlanError):
    """The links in the bucket are unreliable, so they do not show which blobs are needed."""


class ExcessivePlanError(PlanError):
    """A plan without `allow_most` covers more than half of a registry's blobs or of their bytes."""


def check_database(source: Source, in_use: bool | None = None, deleted: int = 0) -> None:
    """Raise if the registry keeps its metadata in a database.

    Parameters
    ----------
    source : Source
        The registry's storage.
    in_use : bool, optional
        The result of a scan; by default the lock file is requested (one HEAD).
    deleted : int
        The number of blobs that were deleted before the lock file appeared, for the message.

    Raises
    ------
    MetadataDatabaseError
        The metadata is in a database.
    PermissionError
        The credentials do not allow reading the lock file.
    """
    if locked(source) if in_use is None else in_use:
        outcome = f"nothing more is deleted, after {_counted(deleted)}" if deleted else "nothing is deleted"
        raise MetadataDatabaseError(
            f"{source.url(DATABASE_LOCK)} says that this registry's metadata is in a database (GitLab's "
            f"registry), so the links in the bucket do not show what is needed: {outcome}. "
            "Use GitLab's cleanup policies and its online garbage collection, which runs by itself"
        )


def check_links(
    source: Source,
    snapshot: Snapshot,
    unneeded: Mapping[Digest, File],
    progress: Callable[[str, int, int | None], object],
) -> None:
    """Raise if the links are unreliable.

    Small blobs that nothing needs and no layer link leads to are read to count the manifests among them: one
    GET for the start of each, a second one for a large manifest. The reads stop once the count is decided:
    when it exceeds the number of the repositories' manifests, or no longer can.

    Parameters
    ----------
    source : Source
        The registry's storage.
    snapshot : Snapshot
        The result of a scan of the whole registry.
    unneeded : mapping of Digest to File
        The blobs of any age that nothing needs.
    progress : callable
        ``progress(stage, done, total)``.

    Raises
    ------
    UnreliableLinksError
        There are invalid link paths; or there are blobs, but no repository has a manifest; or more manifests
        are missing or belong to no repository than belong to one.
    OSError
        A read failed.
    """
    if links := snapshot.unknown.links:
        raise UnreliableLinksError(
            f"{source.url(snapshot.unknown.first_link)}: {links:,} "
            f"{'file has' if links == 1 else 'files have'} the form of a link, but the repository, tag or "
            "digest in the path breaks the registry's rules, so what it keeps is unknown: nothing is "
            "deleted. Move or remove such files, which no registry serves, and try again"
        )
    revisions = {digest for repository in snapshot.repositories.values() for digest in repository.revisions}
    owned = len(revisions & snapshot.blobs.keys())
    if sentence := without_manifests(snapshot):
        raise UnreliableLinksError(
            f"{source.url(REPOSITORIES)}: {sentence}, and nothing is deleted. If its images were deleted on "
            "purpose, run the registry's own garbage-collect, which knows where its metadata is"
        )
    # A registry creates layer links for layers and configurations only: a blob with such a link was pushed as
    # a layer, even if its content is a manifest.
    layers = {digest for repository in snapshot.repositories.values() for digest in repository.layers}
    candidates = {digest: file for digest, file in unneeded.items() if digest not in layers}
    dangling = len(revisions - snapshot.blobs.keys())
    tagged = {
        tag.target
        for repository in snapshot.repositories.values()
        for tag in repository.tags.values()
        if tag.target
    }
    unlinked = len((tagged & snapshot.blobs.keys()) - revisions - unneeded.keys())
    lost, exact = _count_manifests(source, candidates, owned - unlinked - dangling, progress)
    if max(lost) + unlinked + dangling > owned:
        missing = f" and the blobs of {dangling:,} are missing" if dangling else ""
        noun = "manifests" if lost.manifests >= lost.configs else "image configurations"
        raise UnreliableLinksError(
            f"{source.url(BLOBS)}: {'' if exact else 'at least '}{max(lost) + unlinked:,} {noun} belong to "
            f"no repository{missing}, more than the {owned:,} that repositories have: {UNTRUE}, and nothing "
            "is deleted. If those images were deleted on purpose, run the registry's own garbage-collect, "
            "which knows where its metadata is"
        )


def check_share(snapshot: Snapshot, chosen: Collection[Digest]) -> None:
    """Raise if blobs are more than half of a registry's blobs or of their bytes.

    Parameters
    ----------
    snapshot : Snapshot
        The result of a scan of the whole registry, which has the sizes.
    chosen : collection of Digest
        Existing blobs.

    Raises
    ------
    ExcessivePlanError
        The blobs are more than half.
    """
    count, size = len(chosen), sum(snapshot.blobs[digest].size for digest in chosen)
    blobs, total = len(snapshot.blobs), sum(file.size for file in snapshot.blobs.values())
    if 2 * count > blobs or 2 * size > total:
        raise ExcessivePlanError(
            f"the plan names {count:,} of {_counted(blobs)}, {size:,} of {total:,} bytes: more than half. To "
            "allow that, use --allow-most (allow_most=True)"
        )


def _counted(blobs: int) -> str:
    return f"{blobs:,} blob{'' if blobs == 1 else 's'}"


class _Lost(NamedTuple):
    """The numbers of manifests and of image configurations that belong to no repository.

    With its metadata in a database, GitLab's registry stores configurations as blobs, but no manifests.
    """

    manifests: int
    configs: int


def _count_manifests(
    source: Source,
    candidates: Mapping[Digest, File],
    enough: int,
    progress: Callable[[str, int, int | None], object],
) -> tuple[_Lost, bool]:
    """Count the manifests and configurations among blobs, until either count exceeds `enough` or cannot.

    Returns the counts, and whether they cover all blobs.
    """
    # Smallest first, because most manifests are small.
    small = sorted((file.size, digest) for digest, file in candidates.items() if 0 < file.size <= LARGEST)
    sizes = {BlobData(digest).path: size for size, digest in small}
    count, done = _Lost(0, 0), 0
    progress("orphaned manifests", done, len(sizes))
    for batch in batches(sizes, lambda path: min(sizes[path], _BEGINNING)):
        if max(count) > enough or max(count) + len(sizes) - done <= enough:
            break
        batch_count = _classify(source, batch, sizes)
        count = _Lost(count.manifests + batch_count.manifests, count.configs + batch_count.configs)
        done += len(batch)
        progress("orphaned manifests", done, len(sizes))
    return count, done == len(sizes)


def _classify(source: Source, paths: list[str], sizes: Mapping[str, int]) -> _Lost:
    # A JSON object starts with "{", after blanks at most; other blobs need no further read.
    contents = {
        path: beginning
        for path, beginning in zip(paths, source.read_beginnings(paths, _BEGINNING), strict=True)
        if isinstance(beginning, bytes) and beginning.lstrip()[:1] in (b"{", b"")
    }
    whole = [data for path, data in contents.items() if len(data) >= sizes[path]]
    truncated = [path for path, data in contents.items() if len(data) < sizes[path]]
    for batch in batches(truncated, sizes.__getitem__):
        whole += [data for data in source.read(batch) if isinstance(data, bytes)]
    return _Lost(sum(map(_is_manifest, whole)), sum(map(_is_config, whole)))


def _is_manifest(data: bytes) -> bool:
    try:
        parse_manifest(data)
    except ManifestError:
        return False
    return True


def _is_config(data: bytes) -> bool:
    """Return whether a blob is an image's configuration, which lists layers as ``rootfs.diff_ids``."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return False
    rootfs = document.get("rootfs") if isinstance(document, dict) else None
    return isinstance(rootfs, dict) and isinstance(rootfs.get("diff_ids"), list)
