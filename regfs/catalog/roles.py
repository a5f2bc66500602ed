"""The roles of manifests in a repository: tagged, child of an index, referrer, or untagged. Pure."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

from regfs.catalog.reach import size_of
from regfs.layout import Digest, InvalidDigestError

if TYPE_CHECKING:
    from datetime import datetime

    from regfs.catalog.snapshot import File, ReadManifest, TagFiles

Role: TypeAlias = Literal["tagged", "child", "referrer", "untagged"]
ROLES: Mapping[Role, str] = {
    "tagged": "a tag names it",
    "child": "an index refers to it",
    "referrer": "it is about another manifest: a signature, an attestation, a bill of materials",
    "untagged": "none of these",
}

# The tags of signing tools (https://github.com/sigstore/cosign), "sha256-<hex>.sig". The referrers tag of the
# OCI distribution specification is the same without a suffix.
_REFERRER_TAG = re.compile(r"(?P<algorithm>[a-z0-9]+)-(?P<hex>[a-f0-9]{64,128})(?:\.[a-z]+)?")


class Standing(NamedTuple):
    """A manifest's role, with the parent index of a child or the subject of a referrer."""

    role: Role
    of: Digest | None = None


@dataclass(frozen=True, slots=True)
class RevisionRecord:
    """A manifest of one repository.

    Attributes
    ----------
    repository : str
    digest : Digest
    role : str
        One of `ROLES`.
    of : Digest or None
        The parent index of a child, or the subject of a referrer.
    tags : tuple of str
        The tags that name it now, by name.
    kind, artifact_type : str
        As in :class:`~regfs.catalog.manifest.Manifest`; empty if it could not be read.
    size : int or None
        Bytes of the manifest and everything below it, each blob once, as the manifests state; None if it
        could not be read.
    pushed : datetime or None
        When its revision link was written, UTC; None if there is no link.
    problem : str
        Why it could not be read; empty if it could.
    """

    repository: str
    digest: Digest
    role: Role
    of: Digest | None
    tags: tuple[str, ...]
    kind: str
    artifact_type: str
    size: int | None
    pushed: datetime | None
    problem: str


def referrer_tag(tag: str) -> Digest | None:
    """Return the digest in the name of a referrer's tag, as signing tools create it; None for other tags."""
    match = _REFERRER_TAG.fullmatch(tag)
    try:
        return Digest(*match.group("algorithm", "hex")) if match else None
    except InvalidDigestError:
        return None


def standings(
    manifests: Mapping[Digest, ReadManifest], names: Mapping[Digest, Collection[str]]
) -> dict[Digest, Standing]:
    """Return the role of each manifest among the given ones.

    Parameters
    ----------
    manifests : mapping of Digest to ReadManifest
        The existing manifests of one repository or of all.
    names : mapping of Digest to collection of str
        The tags that name each manifest. A tag made of a digest, as signing tools create it, marks a
        referrer.

    Returns
    -------
    dict of Digest to Standing
        The standing of each manifest. The parent of a child of several indexes is the first tagged index by
        digest, or else the first. A manifest whose subject does not exist is not a referrer.
    """
    parents: dict[Digest, tuple[bool, Digest]] = {}
    for digest, read in manifests.items():
        for reference in read.manifest.references if read.manifest else ():
            if reference.relation == "manifest":
                parent = not names.get(digest), digest
                parents[reference.digest] = min(parent, parents.get(reference.digest, parent))
    standings_by_digest = {}
    for digest, read in manifests.items():
        tags = names.get(digest, ())
        tag_subjects = [subject for tag in sorted(tags) if (subject := referrer_tag(tag))]
        subject = read.manifest.subject if read.manifest else None
        if len(tag_subjects) < len(tags):
            standings_by_digest[digest] = Standing("tagged")
        elif digest in parents:
            standings_by_digest[digest] = Standing("child", parents[digest][1])
        elif tag_subjects or subject in manifests:
            standings_by_digest[digest] = Standing("referrer", tag_subjects[0] if tag_subjects else subject)
        else:
            standings_by_digest[digest] = Standing("untagged")
    return standings_by_digest


def tag_names(tags: Iterable[tuple[str, TagFiles]]) -> dict[Digest, list[str]]:
    """Return the sorted names of the tags of each manifest."""
    names: defaultdict[Digest, list[str]] = defaultdict(list)
    for tag, files in tags:
        if files.target is not None:
            names[files.target].append(tag)
    return {digest: sorted(tag_list) for digest, tag_list in names.items()}


def revisions(
    repository: str,
    links: Mapping[Digest, File],
    tags: Mapping[str, TagFiles],
    manifests: Mapping[Digest, ReadManifest],
) -> list[RevisionRecord]:
    """Return the manifests of a repository, the last pushed first.

    Parameters
    ----------
    repository : str
        The repository's name.
    links : mapping of Digest to File
        Its revision links.
    tags : mapping of str to TagFiles
        Its tags, by name.
    manifests : mapping of Digest to ReadManifest
        The manifests that were read; they may include those of other repositories.
    """
    names = tag_names(tags.items())
    readable = {digest: manifests[digest] for digest in links if digest in manifests}
    roles = standings(readable, names)
    records = []
    for digest, link in links.items():
        read = readable.get(digest)
        unread = Standing("tagged" if digest in names else "untagged")
        role, of = roles.get(digest, unread)
        records.append(
            RevisionRecord(
                repository,
                digest,
                role,
                of,
                tuple(names.get(digest, ())),
                read.manifest.kind if read and read.manifest else "",
                read.manifest.artifact_type if read and read.manifest else "",
                size_of(digest, manifests) if read and read.manifest else None,
                link.modified,
                read.problem if read else MISSING,
            )
        )
    return sorted(
        records, key=lambda record: (-record.pushed.timestamp() if record.pushed else 0.0, record.digest)
    )


MISSING = "its blob is missing"
"""The problem of a manifest or configuration whose blob does not exist."""
