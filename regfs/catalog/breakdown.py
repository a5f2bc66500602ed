"""The usage of one repository by its tags, untagged manifests and blobs. Pure.

The rules are those of :mod:`regfs.catalog.usage`, and the parts add up to the repository's usage there.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from regfs.catalog.roles import Role, revisions
from regfs.catalog.usage import RepositoryUsage, Sums, TagUsage, Usage
from regfs.layout import Digest

if TYPE_CHECKING:
    from datetime import datetime

    from regfs.catalog.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class ManifestUsage:
    """The usage of a manifest that no tag names, in bytes.

    Attributes
    ----------
    digest : Digest
    role : str
        "untagged", "child" or "referrer", as :data:`regfs.catalog.roles.ROLES` defines them.
    of : Digest or None
        The index of a child, or the subject of a referrer.
    kind : str
        "image", "index", "artifact" or "schema1"; empty if the manifest could not be read.
    pushed : datetime or None
        When its revision link was written, UTC.
    stored_bytes : int
        The manifest and the blobs that it keeps, each once; for an index, also those of its children.
    freed_bytes : int or None
        How much storage a garbage collection would free after its revision was removed, together with the
        children that nothing else in the repository refers to. None for a child, which is removed with its
        index.
    """

    digest: Digest
    role: Role
    of: Digest | None
    kind: str
    pushed: datetime | None
    stored_bytes: int
    freed_bytes: int | None


@dataclass(frozen=True, slots=True)
class BlobUsage:
    """A blob that the repository needs, and its users.

    Attributes
    ----------
    digest : Digest
    relation : str
        "layer", "config" or "manifest".
    size : int
        The stored size in bytes; 0 if the blob is missing.
    missing : bool
        Whether the registry has no such blob.
    tags : tuple of str
        The repository's tags that lead to the blob, by name.
    manifests : tuple of Digest
        The repository's manifests that keep the blob; for a manifest, itself and the indexes that list it.
    repositories : tuple of str
        The other repositories that need the blob, by name.
    """

    digest: Digest
    relation: str
    size: int
    missing: bool
    tags: tuple[str, ...]
    manifests: tuple[Digest, ...]
    repositories: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Breakdown:
    """The usage of one repository, by its parts.

    Attributes
    ----------
    repository : RepositoryUsage
        The repository's totals. The sizes of `blobs` add up to its `stored_bytes`: those of blobs that no
        other repository needs to `unique_bytes`, the others to `shared_bytes`.
    tags : list of TagUsage
        By name.
    manifests : list of ManifestUsage
        The manifests that no tag names, the last pushed first.
    blobs : list of BlobUsage
        By size, the largest first.
    """

    repository: RepositoryUsage
    tags: list[TagUsage]
    manifests: list[ManifestUsage]
    blobs: list[BlobUsage]


def breakdown(
    snapshot: Snapshot, name: str, used: Usage, needed: Mapping[Digest, Sequence[str]]
) -> Breakdown:
    """Return the usage of a repository by its tags, untagged manifests and blobs.

    Parameters
    ----------
    snapshot : Snapshot
        The result of a scan.
    name : str
        The repository's name.
    used : Usage
        The usage of all repositories.
    needed : mapping of Digest to sequence of str
        The repositories that need each blob.

    Raises
    ------
    KeyError
        There is no such repository.
    """
    repository = snapshot.repositories[name]
    sums = Sums(snapshot, repository)
    (totals,) = (usage for usage in used.repositories if usage.repository == name)
    return Breakdown(
        totals,
        [tag for tag in used.tags if tag.repository == name],
        [
            ManifestUsage(
                revision.digest,
                revision.role,
                revision.of,
                revision.kind,
                revision.pushed,
                sums.size(sums.reached(sums.closure(revision.digest))),
                None if revision.role == "child" else sums.freed_untagged(revision.digest, needed),
            )
            for revision in revisions(name, repository.revisions, repository.tags, snapshot.manifests)
            if not revision.tags
        ],
        _blobs(snapshot, name, sums, needed),
    )


def _blobs(
    snapshot: Snapshot, name: str, sums: Sums, needed: Mapping[Digest, Sequence[str]]
) -> list[BlobUsage]:
    manifests: defaultdict[Digest, list[Digest]] = defaultdict(list)
    for digest, kept in sorted(sums.kept.items()):
        for blob in kept:
            manifests[blob].append(digest)
    tags: defaultdict[Digest, list[str]] = defaultdict(list)
    for tag, files in sorted(sums.repository.tags.items()):
        if files.target is not None:
            for blob in sums.reached(sums.closures[files.target]):
                tags[blob].append(tag)
    relations = {
        reference.digest: reference.relation
        for digest in sums.kept
        if (manifest := snapshot.manifests[digest].manifest)
        for reference in manifest.references
        if reference.relation != "subject"
    }
    blobs = []
    for blob, keepers in manifests.items():
        file = snapshot.blobs.get(blob)
        blobs.append(
            BlobUsage(
                blob,
                "manifest" if blob in sums.kept else relations[blob],
                file.size if file else 0,
                file is None,
                tuple(tags[blob]),
                tuple(keepers),
                tuple(other for other in needed.get(blob, ()) if other != name),
            )
        )
    return sorted(blobs, key=lambda item: (-item.size, item.digest))
