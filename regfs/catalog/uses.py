"""Who uses a blob: every way that leads to it from a tag, a manifest or a link. Pure."""

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
    "subject": "a manifest, or a tag made of its digest, is about it; that keeps nothing",
    "layer link": "the repository has a link to it, which keeps nothing",
    "signature link": "the repository has a link to it as a signature, which keeps nothing",
    "tag history": "a tag has named it, which keeps nothing",
}
_SHOWN = 10
"""Digests that an error names."""


@dataclass(frozen=True, slots=True)
class Step:
    """A manifest on the way to what is used.

    Attributes
    ----------
    how : str
        What it has the digest below it as: "layer", "config", "child" or "subject".
    digest : Digest
    kind : str
        "image", "index", "artifact", "schema1".
    platform : str
        As which an index names its child; else empty.
    """

    how: How
    digest: Digest
    kind: str
    platform: str = ""


@dataclass(frozen=True, slots=True)
class Use:
    """A way in which a repository uses a digest.

    Attributes
    ----------
    repository : str
    how : str
        One of `USES`.
    steps : tuple of Step
        The manifests that lead to it, the nearest first; empty where it is used as itself.
    tags : tuple of str
        The tags that name the last of them (or itself), by name.
    keeps : bool
        Whether this keeps it from being collected as garbage.
    """

    repository: str
    how: How
    steps: tuple[Step, ...]
    tags: tuple[str, ...]
    keeps: bool


@dataclass(frozen=True, slots=True)
class Uses:
    """Who uses a digest.

    Attributes
    ----------
    digest : Digest
    size : int or None
        Bytes of its blob; None where there is none.
    modified : datetime or None
        When that was written, UTC.
    repositories : tuple of str
        Those that need it, as the registry's garbage collector sees it, by name.
    uses : tuple of Use
        By repository; those that keep it before the others.
    """

    digest: Digest
    size: int | None
    modified: datetime | None
    repositories: tuple[str, ...]
    uses: tuple[Use, ...]


def find_digest(snapshot: Snapshot, text: str) -> Digest:
    """Return the digest that a text is, or that alone begins so.

    Parameters
    ----------
    snapshot : Snapshot
        What a scan found.
    text : str
        A digest, or how its hex begins; the algorithm may be left out.

    Raises
    ------
    AmbiguousDigestError
        Several begin so; the error names the first of them.
    UnknownNameError
        None does: there is no such blob, and no link or manifest refers to one.
    ValueError
        It is no digest, and no beginning of one.
    """
    algorithm, beginning = parse_digest(text)
    matches = sorted(
        digest
        for digest in _known(snapshot)
        if digest.hex.startswith(beginning) and algorithm in ("", digest.algorithm)
    )
    whole = [digest for digest in matches if digest.hex == beginning]
    if len(whole or matches) == 1:
        return (whole or matches)[0]
    if not matches:
        reason = "no blob has this digest, and no link or manifest refers to it"
        raise UnknownNameError(errno.ENOENT, reason, text)
    shown = ", ".join(f"{match.algorithm}:{match.hex[:16]}" for match in matches[:_SHOWN])
    more = f" and {len(matches) - _SHOWN:,} more" if len(matches) > _SHOWN else ""
    raise AmbiguousDigestError(f"{text}: {len(matches):,} digests begin so: {shown}{more}")


def _known(snapshot: Snapshot) -> set[Digest]:
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
    """Return who uses a digest.

    Parameters
    ----------
    snapshot : Snapshot
        What a scan found.
    digest : Digest
        Of a layer, a configuration, a manifest.
    """
    referring = _Referring(snapshot)
    uses_found: list[Use] = []
    names = []
    for name, repository in sorted(snapshot.repositories.items()):
        needed = digest in needs(snapshot, repository)
        names += [name] if needed else []
        uses_found += sorted(
            _uses(repository, digest, referring), key=lambda use: (not use.keeps, use.tags, len(use.steps))
        )
    file = snapshot.blobs.get(digest)
    return Uses(
        digest, file.size if file else None, file.modified if file else None, tuple(names), tuple(uses_found)
    )


class _Referring:
    """Which manifests refer to a digest, and how."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._by_digest: defaultdict[Digest, list[tuple[Digest, Reference]]] = defaultdict(list)
        for digest, read in sorted(snapshot.manifests.items()):
            references = read.manifest.references if read.manifest else ()
            for reference in {(item.digest, item.relation): item for item in references}.values():
                self._by_digest[reference.digest].append((digest, reference))

    def steps(self, digest: Digest) -> Iterator[Step]:
        """Yield the manifests that refer to a digest."""
        for manifest, reference in self._by_digest.get(digest, ()):
            how: How = "child" if reference.relation == "manifest" else reference.relation
            yield Step(how, manifest, self.kind(manifest), reference.platform)

    def kind(self, digest: Digest) -> str:
        read = self._snapshot.manifests.get(digest)
        return read.manifest.kind if read and read.manifest else ""


def _uses(repository: Repository, digest: Digest, referring: _Referring) -> Iterator[Use]:
    names = tag_names(repository.tags.items())
    own = repository.revisions.keys() | names.keys()
    used = False
    for steps in _ways(digest, own, names, referring):
        used = True
        top = steps[-1].digest if steps else digest
        # A tag alone keeps nothing, and nobody looks into a child that is no revision.
        keeps = (steps[0].digest if steps else digest) in repository.revisions
        how: How = steps[0].how if steps else "manifest"
        yield Use(repository.name, how, tuple(steps), tuple(names.get(top, ())), keeps and how != "subject")
    for tag, files in sorted(repository.tags.items()):
        if referrer_tag(tag) == digest and files.target:
            step = Step("subject", files.target, referring.kind(files.target))
            yield Use(repository.name, "subject", (step,), (tag,), False)
        if digest in files.index and files.target != digest:
            yield Use(repository.name, "tag history", (), (tag,), False)
    if any(signature == digest for _, signature in repository.signatures):
        yield Use(repository.name, "signature link", (), (), False)
    if digest in repository.layers and not used:
        yield Use(repository.name, "layer link", (), (), False)


def _ways(
    digest: Digest,
    own: set[Digest],
    names: Mapping[Digest, Sequence[str]],
    referring: _Referring,
) -> Iterator[list[Step]]:
    """Yield the ways up from a digest: each to a manifest that a tag names, or that no index refers to."""
    waiting: list[list[Step]] = [[]] if digest in own else []
    waiting += [[step] for step in referring.steps(digest) if step.digest in own]
    while waiting:
        steps = waiting.pop(0)
        top = steps[-1].digest if steps else digest
        # From itself the first steps are taken above.
        above = [step for step in referring.steps(top) if step.how == "child" and step.digest in own]
        if not above or top in names or (steps and steps[0].how == "subject"):
            yield steps
        if steps and steps[0].how != "subject":
            waiting += [[*steps, step] for step in above]
