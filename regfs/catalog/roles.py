"""What a manifest is to its repository: tagged, an index' child, a referrer, or untagged. Pure."""

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

# What signing tools tag: https://github.com/sigstore/cosign, "sha256-<hex>.sig"; the OCI distribution
# specification's referrers tag is the same without an ending.
_REFERRER_TAG = re.compile(r"(?P<algorithm>[a-z0-9]+)-(?P<hex>[a-f0-9]{64,128})(?:\.[a-z]+)?")


class Standing(NamedTuple):
    """A manifest's role, and the index or subject that it has it by; None where there is none."""

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
        The index that a child belongs to, or what a referrer is about.
    tags : tuple of str
        The tags that name it now, by name.
    kind, artifact_type : str
        Of the manifest; empty where it could not be read.
    size : int or None
        Bytes of it and of all that it leads to, each content once, as the manifests state; None where it
        could not be read.
    pushed : datetime or None
        When its revision link was written, UTC; None where there is none.
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
    """Return the digest that a tag is made of, as signing tools name what is about a manifest; else None."""
    match = _REFERRER_TAG.fullmatch(tag)
    try:
        return Digest(*match.group("algorithm", "hex")) if match else None
    except InvalidDigestError:
        return None


def standings(
    manifests: Mapping[Digest, ReadManifest], names: Mapping[Digest, Collection[str]]
) -> dict[Digest, Standing]:
    """Return what each of some manifests is to the others.

    Parameters
    ----------
    manifests : mapping of Digest to ReadManifest
        Those that are there, of one repository or of all.
    names : mapping of Digest to collection of str
        The tags that name each. A tag made of a digest, as signing tools have them, makes a referrer.

    Returns
    -------
    dict of Digest to Standing
        Of each manifest. A child of several indexes has the first tagged one, by digest, or else the first. A
        manifest whose subject is not there is no referrer.
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
        abouts = [subject for tag in sorted(tags) if (subject := referrer_tag(tag))]
        subject = read.manifest.subject if read.manifest else None
        if len(abouts) < len(tags):
            standings_by_digest[digest] = Standing("tagged")
        elif digest in parents:
            standings_by_digest[digest] = Standing("child", parents[digest][1])
        elif abouts or subject in manifests:
            standings_by_digest[digest] = Standing("referrer", abouts[0] if abouts else subject)
        else:
            standings_by_digest[digest] = Standing("untagged")
    return standings_by_digest


def tag_names(tags: Iterable[tuple[str, TagFiles]]) -> dict[Digest, list[str]]:
    """Return the names of the tags that name each manifest, sorted."""
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
        Its name.
    links : mapping of Digest to File
        Its revision links.
    tags : mapping of str to TagFiles
        Its tags, by name.
    manifests : mapping of Digest to ReadManifest
        Manifests that were read, perhaps of other repositories, too.
    """
    names = tag_names(tags.items())
    readable = {digest: manifests[digest] for digest in links if digest in manifests}
    roles = standings(readable, names)
    records = []
    for digest, link in links.items():
        read = readable.get(digest)
        absent = Standing("tagged" if digest in names else "untagged")
        role, of = roles.get(digest, absent)
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
"""The problem of a manifest, or of a configuration, of which there is a link but no blob."""
