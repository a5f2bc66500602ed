"""Blobs that nothing needs: how a plan to delete them is taken, and how it is applied.

An orphan is what the registry's own ``garbage-collect`` would delete, by the rule of
:mod:`regfs.catalog.reach`. To plan is one thing and to delete another: a `Plan` can be looked at, kept and
applied later, and `apply` believes none of it. It looks at everything anew, and once more at all links
before each batch that it deletes, and passes over what has become of use, was written again, or may be
about to be used.

What remains is what the registry's own collector has for its whole run: a push that asked whether a blob is
there just before it was deleted, and whose manifest comes just after. An old layer link suffices for that
and leaves no trace. Here the time is that of one listing of the links and one request. `Applied.lost` tells
if it happened. To rule it out, set the registry to ``readonly`` meanwhile, as its documentation asks for.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import NamedTuple

from regfs.catalog.manifest import LARGEST
from regfs.catalog.plan import IncompletePlanError, Orphan, Plan, PlanError, place
from regfs.catalog.reach import needs
from regfs.catalog.reading import batches
from regfs.catalog.scan import Progress, altered, scan, understand
from regfs.catalog.snapshot import Snapshot
from regfs.catalog.source import Source
from regfs.layout import (
    REPOSITORIES,
    BlobData,
    Digest,
    InvalidDigestError,
    LayerLink,
    ManifestRevisionLink,
    parse,
    parse_link,
)

__all__ = [
    "Applied",
    "IncompletePlanError",
    "Orphan",
    "Plan",
    "PlanError",
    "Skipped",
    "apply",
    "plan",
]

BATCH = 1000
"""Blobs that are deleted between two looks at the links; S3 takes as many in one request."""

_ALTERED = "its content is not what its digest promises"


def plan(source: Source, snapshot: Snapshot, older_than: timedelta | float | None = None) -> Plan:
    """Tell which blobs nothing needs.

    Parameters
    ----------
    source : Source
        Where the registry is.
    snapshot : Snapshot
        What a look at it found.
    older_than : timedelta or float, optional
        Leave out what is younger, a number in seconds: a blob that was written, or linked to a repository,
        less than that ago may belong to a push that goes on. By default nothing is left out.

    Raises
    ------
    ValueError
        The age is negative.
    """
    age = timedelta(seconds=older_than) if isinstance(older_than, (int, float)) else older_than
    needed: set[Digest] = set()
    for repository in snapshot.repositories.values():
        needed |= needs(snapshot, repository)
    links = _Links()
    for repository in snapshot.repositories.values():
        for digest, file in repository.layers.items():
            if digest not in needed and digest in snapshot.blobs:
                links.add(digest, file.modified)
    found = [
        Orphan(digest, file.size, file.modified, *links.of(digest))
        for digest, file in sorted(snapshot.blobs.items())
        if digest not in needed
    ]
    if age is not None:
        before = snapshot.started - age
        found = [one for one in found if one.touched <= before]
    return Plan(place(source), snapshot.started, age, tuple(found), tuple(_unreadable(snapshot)))


class Skipped(NamedTuple):
    """A blob, and why it was not deleted (or should not have been)."""

    digest: Digest
    reason: str


@dataclass(frozen=True, slots=True)
class Applied:
    """What became of a plan.

    Attributes
    ----------
    deleted : tuple of Orphan
        What was deleted; of a dry run, what would have been.
    skipped : tuple of Skipped
        What was left alone, and why.
    failed : tuple of Skipped
        What could not be deleted, and why.
    lost : tuple of Skipped
        What was deleted, and a push counted on at the same moment: push that image again.
    dry_run : bool
        Whether nothing was deleted.
    """

    deleted: tuple[Orphan, ...]
    skipped: tuple[Skipped, ...]
    failed: tuple[Skipped, ...]
    lost: tuple[Skipped, ...]
    dry_run: bool

    @property
    def bytes(self) -> int:
        """How much was freed."""
        return sum(one.size for one in self.deleted)


def apply(source: Source, plan: Plan, progress: Progress | None = None, *, dry_run: bool = False) -> Applied:
    """Delete what a plan names, as far as nothing needs it still.

    It can be interrupted at any moment and called again. A registry that keeps a cache of blobs must be
    started anew afterwards, or have its cache emptied, as after its own garbage collection.

    Parameters
    ----------
    source : Source
        Where the registry is.
    plan : Plan
        Taken of the same place.
    progress : callable, optional
        ``progress(stage, done, total)`` is told what goes on.
    dry_run : bool
        Look at everything, and delete nothing.

    Returns
    -------
    Applied
        What was deleted and what was not.

    Raises
    ------
    regfs.catalog.plan.PlanError
        The plan is of another place.
    regfs.catalog.plan.IncompletePlanError
        A manifest cannot be read, so nobody knows what it needs.
    OSError
        A listing or a read failed. What was deleted before stays so.
    """
    here = place(source)
    if plan.place != here:
        raise PlanError(f"the plan is of {plan.place}, not of {here}; take a new one")
    if plan.incomplete:
        raise IncompletePlanError(plan.incomplete)
    now = scan(source, progress, configs=False)
    if unreadable := _unreadable(now):
        raise IncompletePlanError(unreadable)
    return _Application(source, plan, now, progress or (lambda *_: None), dry_run).run()


def _unreadable(snapshot: Snapshot) -> list[str]:
    """Name the manifests that keep something, and nobody can tell what."""
    return [
        f"{digest} in {repository.name}: {problem}"
        for _, repository in sorted(snapshot.repositories.items())
        for digest in sorted(repository.revisions)
        if (problem := _problem(snapshot, digest))
    ]


def _problem(snapshot: Snapshot, digest: Digest) -> str:
    read = snapshot.manifests.get(digest)
    if read and digest in snapshot.altered:
        return _ALTERED
    return read.problem if read and read.manifest is None else ""


class _Links:
    """How many layer links a blob has, and when the newest was written."""

    def __init__(self) -> None:
        self._found: dict[Digest, tuple[int, datetime]] = {}

    def add(self, digest: Digest, modified: datetime) -> None:
        count, newest = self._found.get(digest, (0, modified))
        self._found[digest] = count + 1, max(newest, modified)

    def of(self, digest: Digest) -> tuple[int, datetime | None]:
        return self._found.get(digest, (0, None))


@dataclass
class _Application:
    """One application of a plan."""

    source: Source
    plan: Plan
    now: Snapshot
    progress: Progress
    dry_run: bool
    deleted: list[Orphan] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    failed: list[Skipped] = field(default_factory=list)
    lost: list[Skipped] = field(default_factory=list)

    def run(self) -> Applied:
        orphans = {one.digest: one for one in self.plan.blobs}
        watch = _Watch(self.source, orphans, self.now)
        del self.now  # it is large, and grows old
        total = len(self.plan.blobs)
        for at in range(0, total, BATCH):
            self._batch(self.plan.blobs[at : at + BATCH], watch)
            self.progress("dry run" if self.dry_run else "deleting", min(at + BATCH, total), total)
        if self.deleted and not self.dry_run:
            self._look_back(watch)
        return Applied(
            tuple(self.deleted), tuple(self.skipped), tuple(self.failed), tuple(self.lost), self.dry_run
        )

    def _batch(self, batch: Sequence[Orphan], watch: _Watch) -> None:
        entries = self.source.find_many(_path(one) for one in batch)
        watch.look()  # the last thing before the deletion
        left = []
        for one, entry in zip(batch, entries, strict=True):
            reason = watch.reason(one)
            if entry is None:
                reason = "it is gone already"
            elif entry.size != one.size or _seconds(entry.modified) != _seconds(one.modified):
                reason = reason or "it was written again since the plan"
            if reason:
                self.skipped.append(Skipped(one.digest, reason))
            else:
                left.append(one)
        if self.dry_run:
            self.deleted += left
        else:
            self._delete(left)

    def _delete(self, batch: list[Orphan]) -> None:
        failure: OSError | None = None
        for _ in range(2):  # again, as one that has just gone may have stopped the rest
            if not batch:
                return
            try:
                self.source.delete([_path(one) for one in batch])
            except OSError as exc:
                failure = exc
            else:
                self.deleted += batch
                return
            entries = self.source.find_many(_path(one) for one in batch)
            self.deleted += [one for one, entry in zip(batch, entries, strict=True) if entry is None]
            batch = [one for one, entry in zip(batch, entries, strict=True) if entry is not None]
        self.failed += [Skipped(one.digest, str(failure)) for one in batch]

    def _look_back(self, watch: _Watch) -> None:
        watch.look()
        wanted = [one for one in self.deleted if one.digest in watch.needed]
        for one, entry in zip(wanted, self.source.find_many(map(_path, wanted)), strict=True):
            if entry is None:
                self.lost.append(Skipped(one.digest, watch.reason(one)))


class _Watch:
    """What has come to need some blobs, as far as is known; `look` makes it known."""

    def __init__(self, source: Source, orphans: dict[Digest, Orphan], now: Snapshot) -> None:
        self.source = source
        self.orphans = orphans
        self.needed: dict[Digest, str] = {}
        self.blind = ""
        self._links = _Links()
        self._seen: set[tuple[str, Digest]] = set()
        for repository in now.repositories.values():
            there = (digest for digest in repository.revisions if digest in now.manifests)
            self._seen.update((repository.name, digest) for digest in there)
            self._need(repository.name, needs(now, repository))
        self._need_by_other_names(now)

    def _need_by_other_names(self, now: Snapshot) -> None:
        """Spare what layer links lead to that are named otherwise.

        A blob that was pushed as ``sha512:...`` is stored by its SHA-256, and nothing but the content of its
        layer link joins the two. The registry's own collector deletes it, and its images are lost.
        """
        links = {
            LayerLink(repository.name, digest).path: repository.name
            for repository in now.repositories.values()
            for digest in repository.layers
            if digest not in now.blobs
        }
        for batch in batches(links, lambda _: 0):
            for path, content in zip(batch, self.source.read(batch), strict=True):
                if isinstance(content, bytes):
                    with contextlib.suppress(InvalidDigestError):  # fsck tells of that
                        self._need(links[path], [parse_link(content)])

    def _need(self, repository: str, blobs: Iterable[Digest]) -> None:
        for digest in blobs:
            if digest in self.orphans:
                self.needed.setdefault(digest, repository)

    def look(self) -> None:
        """List all links, and read the manifests that have become part of a repository."""
        self._links = _Links()
        new: dict[Digest, list[str]] = {}
        for page in self.source.pages(REPOSITORIES):
            for entry in page:
                match parse(entry.path):
                    case LayerLink(_, digest) if digest in self.orphans:
                        self._links.add(digest, entry.modified)
                    case ManifestRevisionLink(name, digest) if (name, digest) not in self._seen:
                        new.setdefault(digest, []).append(name)
        for digest, names in new.items():
            self._read(digest, names)

    def _read(self, digest: Digest, names: list[str]) -> None:
        for name in names:
            self._need(name, [digest])
        path = BlobData(digest).path
        entry = self.source.find(path)
        if entry is None:
            return  # a link to nothing keeps nothing, so far
        content = self.source.read([path])[0] if entry.size <= LARGEST else b""
        if isinstance(content, OSError):
            return
        read = understand(content)
        if read.manifest is None or altered(digest, content):
            told = f"{digest} has become a manifest of {names[0]}, and nobody can tell what it needs"
            self.blind = f"{told}: {read.problem or _ALTERED}"
            return
        for name in names:
            self._need(name, read.manifest.kept)
            self._seen.add((name, digest))

    def reason(self, one: Orphan) -> str:
        """Tell why a blob must not be deleted; empty if nothing is known."""
        if one.digest in self.needed:
            return f"{self.needed[one.digest]} needs it again"
        if self.blind:
            return self.blind
        count, newest = self._links.of(one.digest)
        if newest is not None and (count > one.links or one.linked is None or newest > one.linked):
            return "a repository was linked to it since the plan: a push may be on its way"
        return ""


def _path(one: Orphan) -> str:
    return BlobData(one.digest).path


def _seconds(moment: datetime) -> int:
    """Cut a time to what a HEAD tells; a listing may tell more."""
    return int(moment.astimezone(timezone.utc).timestamp())
