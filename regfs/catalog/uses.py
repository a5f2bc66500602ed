"""The uses of a blob: every path of references to it from a tag, a manifest or a link. Pure."""

from __future__ import annotations

import errno
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from regfs.catalog.names import AmbiguousDigestError, UnknownNameError, parse_digest
from regfs.catalog.reach import needs
from regfs.catalog.roles import referrer_tag, tag_names
from regfs.layout import Digest

if TYPE_CHECKING:
    from datetime import datetime

    from regfs.catalog.manifest import Reference
    from regfs.catalog.snapshot import Repository, Snapshot

How: TypeAlias = Literal[
    "manifest", "layer", "config", "child", "subject", "layer link", "signature link", "tag history"
]
USES: Mapping[How, str] = {
    "manifest": "it is a manifest of the repository",
    "layer": "a manifest has it as a layer",
    "config": "a manifest has it as its configuration",
    "child": "an index refers to it",
    "subject": "it is the subject of a manifest, or a tag is made of its digest; that keeps nothing",
    "layer link": "the repository has a layer link to it, which keeps nothing",
    "signature link": "the repository has a signature link to it, which keeps nothing",
    "tag history": "a tag named it earlier, which keeps nothing",
}
_SHOWN = 10
"""The number of digests that an error names."""


@dataclass(frozen=True, slots=True)
class Step:
    """A manifest on the path to a digest.

    Attributes
    ----------
    how : str
        How it refers to the next digest on the path: as its "layer", "config", "child" or "subject".
    digest : Digest
    kind : str
        "image", "index", "artifact", "schema1".
    platform : str
        The platform that an index states for its child; else empty.
    """

    how: How
    digest: Digest
    kind: str
    platform: str = ""


@dataclass(frozen=True, slots=True)
class Use:
    """One use of a digest in a repository.

    Attributes
    ----------
    repository : str
    how : str
        One of `USES`.
    steps : tuple of Step
        The manifests on the path to the digest, the nearest first; empty if the repository has the digest
        itself as a manifest.
    tags : tuple of str
        The tags that name the last of these manifests, or the digest itself, by name.
    keeps : bool
        Whether this use keeps the blob from being garbage collected.
    """

    repository: str
    how: How
    steps: tuple[Step, ...]
    tags: tuple[str, ...]
    keeps: bool


@dataclass(frozen=True, slots=True)
class Uses:
    """The uses of a digest.

    Attributes
    ----------
    digest : Digest
    size : int or None
        Bytes of its blob; None if there is no blob.
    modified : datetime or None
        When the blob was written, UTC.
    repositories : tuple of str
        The repositories that need it by the rule of the registry's garbage collector, by name.
    uses : tuple of Use
        By repository; the uses that keep the blob come first.
    """

    digest: Digest
    size: int | None
    modified: datetime | None
    repositories: tuple[str, ...]
    uses: tuple[Use, ...]


def find_digest(snapshot: Snapshot, text: str) -> Digest:
    """Return the one digest of a registry that matches a digest or the beginning of one.

    Parameters
    ----------
    snapshot : Snapshot
        The registry's scan.
    text : str
        A digest, or the first digits of its hex; the algorithm may be left out.

    Raises
    ------
    AmbiguousDigestError
        Several digests match; the error names the first of them.
    UnknownNameError
        No blob has such a digest, and no link or manifest refers to one.
    ValueError
        `text` is neither a digest nor the beginning of one.
    """
    algorithm, beginning = parse_digest(text)
    matches = sorted(
        digest
        for digest in _digests(snapshot)
        if digest.hex.startswith(beginning) and algorithm in ("", digest.algorithm)
    )
    exact = [digest for digest in matches if digest.hex == beginning]
    if len(exact or matches) == 1:
        return (exact or matches)[0]
    if not matches:
        reason = "no blob has this digest, and no link or manifest refers to it"
        raise UnknownNameError(errno.ENOENT, reason, text)
    shown = ", ".join(f"{match.algorithm}:{match.hex[:16]}" for match in matches[:_SHOWN])
    more = f" and {len(matches) - _SHOWN:,} more" if len(matches) > _SHOWN else ""
    raise AmbiguousDigestError(f"{text}: matches {len(matches):,} digests: {shown}{more}")


def _digests(snapshot: Snapshot) -> set[Digest]:
    """Return the digests of all blobs, links and references."""
    digests = {*snapshot.blobs, *snapshot.manifests}
    for repository in snapshot.repositories.values():
        digests.update(repository.layers, repository.revisions)
        for pair in repository.signatures:
            digests.update(pair)
        for files in repository.tags.values():
            digests.update(files.index, [files.target] if files.target else ())
    for read in snapshot.manifests.values():
        digests.update(reference.digest for reference in (read.manifest.references if read.manifest else ()))
    return digests


def uses(snapshot: Snapshot, digest: Digest) -> Uses:
    """Return the uses of a digest in all repositories.

    Parameters
    ----------
    snapshot : Snapshot
        The registry's scan.
    digest : Digest
        The digest of a layer, a configuration or a manifest.
    """
    referrers = _Referrers(snapshot)
    all_uses: list[Use] = []
    names = []
    for name, repository in sorted(snapshot.repositories.items()):
        needed = digest in needs(snapshot, repository)
        names += [name] if needed else []
        all_uses += sorted(
            _uses(repository, digest, referrers), key=lambda use: (not use.keeps, use.tags, len(use.steps))
        )
    file = snapshot.blobs.get(digest)
    return Uses(
        digest, file.size if file else None, file.modified if file else None, tuple(names), tuple(all_uses)
    )


class _Referrers:
    """The manifests that refer to each digest, with their references."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._by_digest: defaultdict[Digest, list[tuple[Digest, Reference]]] = defaultdict(list)
        for digest, read in sorted(snapshot.manifests.items()):
            references = read.manifest.references if read.manifest else ()
            for reference in {(other.digest, other.relation): other for other in references}.values():
                self._by_digest[reference.digest].append((digest, reference))

    def steps(self, digest: Digest) -> Iterator[Step]:
        """Yield the manifests that refer to a digest."""
        for manifest, reference in self._by_digest.get(digest, ()):
            how: How = "child" if reference.relation == "manifest" else reference.relation
            yield Step(how, manifest, self.kind(manifest), reference.platform)

    def kind(self, digest: Digest) -> str:
        read = self._snapshot.manifests.get(digest)
        return read.manifest.kind if read and read.manifest else ""


def _uses(repository: Repository, digest: Digest, referrers: _Referrers) -> Iterator[Use]:
    names = tag_names(repository.tags.items())
    manifests = repository.revisions.keys() | names.keys()
    used = False
    for steps in _paths(digest, manifests, names, referrers):
        used = True
        top = steps[-1].digest if steps else digest
        # A tag alone keeps nothing, and the collector does not read a child that is no revision.
        keeps = (steps[0].digest if steps else digest) in repository.revisions
        how: How = steps[0].how if steps else "manifest"
        yield Use(repository.name, how, tuple(steps), tuple(names.get(top, ())), keeps and how != "subject")
    for tag, files in sorted(repository.tags.items()):
        if referrer_tag(tag) == digest and files.target:
            step = Step("subject", files.target, referrers.kind(files.target))
            yield Use(repository.name, "subject", (step,), (tag,), False)
        if digest in files.index and files.target != digest:
            yield Use(repository.name, "tag history", (), (tag,), False)
    if any(signature == digest for _, signature in repository.signatures):
        yield Use(repository.name, "signature link", (), (), False)
    if digest in repository.layers and not used:
        yield Use(repository.name, "layer link", (), (), False)


def _paths(
    digest: Digest,
    manifests: set[Digest],
    names: Mapping[Digest, Sequence[str]],
    referrers: _Referrers,
) -> Iterator[list[Step]]:
    """Yield the paths up from a digest, each to a manifest that a tag names or that no index refers to.

    Only a repository's own `manifests` are on its paths.
    """
    pending: list[list[Step]] = [[]] if digest in manifests else []
    pending += [[step] for step in referrers.steps(digest) if step.digest in manifests]
    while pending:
        steps = pending.pop(0)
        top = steps[-1].digest if steps else digest
        parents = [step for step in referrers.steps(top) if step.how == "child" and step.digest in manifests]
        if not parents or top in names or (steps and steps[0].how == "subject"):
            yield steps
        # `pending` already has the first steps from the digest itself.
        if steps and steps[0].how != "subject":
            pending += [[*steps, parent] for parent in parents]
