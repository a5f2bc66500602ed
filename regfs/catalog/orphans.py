"""Orphaned blobs: plans to delete them, and the application of such plans.

An orphan is a blob that the registry's own ``garbage-collect`` would delete, by the rule of
:mod:`regfs.catalog.reach`, except for the blobs that a tag needs although its manifest has lost its revision
link. Planning and deleting are separate: a `Plan` can be reviewed, saved and applied later. `apply` trusts
nothing in it. It scans the registry again, lists all links once more before each batch of deletions, and
skips the blobs that are needed by now, were written again, or may be about to be used.

One race remains, which the registry's own collector has during its whole run: a push checks that a blob
exists just before the blob is deleted, and writes its manifest just after. With an old layer link the push
leaves no trace in between. Here the race is limited to the time of one listing of the links and one request,
and `Applied.lost` reports the blobs that it affected. To rule it out, set the registry to ``readonly`` while
the plan is applied, as the registry's documentation asks for.
"""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from typing import NamedTuple

from regfs.catalog.guards import (
    ExcessivePlanError,
    MetadataDatabaseError,
    UnreliableLinksError,
    check_database,
    check_links,
    check_share,
)
from regfs.catalog.manifest import LARGEST
from regfs.catalog.plan import IncompletePlanError, Orphan, Plan, PlanError, place
from regfs.catalog.reach import needs
from regfs.catalog.reading import altered, batches, too_large, understand
from regfs.catalog.scan import Progress, scan
from regfs.catalog.snapshot import File, ReadManifest, Repository, Snapshot
from regfs.catalog.source import Source
from regfs.layout import (
    REPOSITORIES,
    BlobData,
    Digest,
    InvalidDigestError,
    LayerLink,
    ManifestRevisionLink,
    TagCurrentLink,
    parse,
    parse_link,
    resembles_link,
)

__all__ = [
    "Applied",
    "ExcessivePlanError",
    "IncompletePlanError",
    "MetadataDatabaseError",
    "Orphan",
    "Plan",
    "PlanError",
    "Skipped",
    "UnreliableLinksError",
    "apply",
    "plan",
]

BATCH = 1000
"""The number of blobs deleted between two listings of the links: as many as one request to S3 may name."""

_CLOCK_SKEW = timedelta(minutes=5)
"""Tags written less than this before the scan are read again before each batch."""

_ALTERED = "its content does not match its digest"


def plan(
    source: Source,
    snapshot: Snapshot,
    older_than: timedelta | float | None = None,
    *,
    allow_most: bool = False,
    progress: Progress | None = None,
) -> Plan:
    """Plan the deletion of all orphans, unless the links are unreliable (:mod:`regfs.catalog.guards`).

    Parameters
    ----------
    source : Source
        The registry's storage.
    snapshot : Snapshot
        A scan of it.
    older_than : timedelta or float, optional
        Leave out blobs that were written, or linked to a repository, less than this ago; a number is in
        seconds. They may belong to a push in progress. By default no blob is left out.
    allow_most : bool
        Allow the plan to name more than half of the blobs or of their bytes.
    progress : callable, optional
        ``progress(stage, done, total)``, called as the work proceeds.

    Raises
    ------
    ValueError
        The age is negative.
    regfs.MetadataDatabaseError
        The registry keeps its metadata in a database.
    regfs.catalog.orphans.UnreliableLinksError
        There are links that cannot be read; or no repository has a manifest although there are blobs; or the
        manifests that belong to no repository, or are missing, outnumber those that belong to one.
    regfs.catalog.orphans.ExcessivePlanError
        The plan names more than half, and `allow_most` is false.
    OSError
        A read failed; PermissionError if it is unknown whether there is a database.
    """
    age = timedelta(seconds=older_than) if isinstance(older_than, (int, float)) else older_than
    tagged = _tagged(source, snapshot)
    unneeded = _unneeded(snapshot, tagged)
    check_database(source, snapshot.database_in_use or None)  # the snapshot may be outdated
    check_links(source, snapshot, unneeded, progress or (lambda *_: None))
    links, names = _Links(), defaultdict[Digest, list[str]](list)
    for repository in snapshot.repositories.values():
        for digest, file in repository.layers.items():
            if digest in unneeded:
                links.add(digest, file.modified)
                names[digest].append(repository.name)
    orphans = [
        Orphan(digest, file.size, file.modified, *links.of(digest), tuple(sorted(names.get(digest, ()))))
        for digest, file in sorted(unneeded.items())
    ]
    younger: list[Orphan] = []
    if age is not None:
        cutoff = snapshot.started - age
        younger = [orphan for orphan in orphans if orphan.touched > cutoff]
        orphans = [orphan for orphan in orphans if orphan.touched <= cutoff]
    result = Plan(
        place(source),
        snapshot.started,
        age,
        tuple(orphans),
        (*_unreadable(snapshot), *tagged.unreadable),
        len(younger),
        sum(orphan.size for orphan in younger),
    )
    if not allow_most and not result.incomplete:  # an incomplete plan is for review only
        check_share(snapshot, [orphan.digest for orphan in orphans])
    return result


class _Needs(NamedTuple):
    """The blobs that manifests need, each with a repository, and the unreadable manifests."""

    needed: dict[Digest, str]
    unreadable: list[str]


def _tagged(source: Source, snapshot: Snapshot) -> _Needs:
    """Return the needs of the manifests that tags lead to but that are not revisions of their repository.

    The registry's own collector reads neither tags nor children that are not revisions: it deletes their
    blobs, and the image is lost.
    """
    return _follow(
        source,
        {
            digest: repository.name
            for repository in snapshot.repositories.values()
            for digest in _unlinked(snapshot, repository)
        },
    )


def _unlinked(snapshot: Snapshot, repository: Repository) -> set[Digest]:
    """Return the manifests without a revision link that tags lead to, directly or through indexes.

    A tag with an unreadable link leads to all manifests in its index directory.
    """
    unlinked: set[Digest] = set()
    seen: set[Digest] = set()
    tags = repository.tags.values()
    pending = [digest for tag in tags for digest in ([tag.target] if tag.target else tag.index)]
    while pending:
        digest = pending.pop()
        if digest in seen:
            continue
        seen.add(digest)
        if digest not in repository.revisions:
            unlinked.add(digest)
            continue
        read = snapshot.manifests.get(digest)
        references = read.manifest.references if read and read.manifest else ()
        pending += [reference.digest for reference in references if reference.relation == "manifest"]
    return unlinked


def _follow(source: Source, manifests: Mapping[Digest, str]) -> _Needs:
    """Return the needs of manifests and of the children of indexes, as far as their blobs exist.

    Parameters
    ----------
    source : Source
        The registry's storage.
    manifests : mapping of Digest to str
        The repository of each manifest.
    """
    result = _Needs({}, [])
    level = manifests
    seen: set[Digest] = set()
    while level:
        seen.update(level)
        children: dict[Digest, str] = {}
        for digest, read in _manifests(source, level):
            repository = level[digest]
            result.needed.setdefault(digest, repository)
            if read.manifest is None:
                result.unreadable.append(f"{digest} in {repository}: {read.problem}")
                continue
            result.needed.update(dict.fromkeys(read.manifest.kept, repository))
            for reference in read.manifest.references:
                if reference.relation == "manifest" and reference.digest not in seen:
                    children[reference.digest] = repository
        level = children
    return result


def _manifests(source: Source, digests: Iterable[Digest]) -> Iterator[tuple[Digest, ReadManifest]]:
    """Read the manifests that exist; content that does not match its digest counts as unreadable."""
    digests = list(digests)
    entries = zip(digests, source.find_many(BlobData(digest).path for digest in digests), strict=True)
    sizes = {digest: entry.size for digest, entry in entries if entry is not None}
    paths = {BlobData(digest).path: digest for digest, size in sizes.items() if size <= LARGEST}
    for digest in sizes.keys() - paths.values():
        yield digest, too_large(sizes[digest])
    for batch in batches(paths, lambda path: sizes[paths[path]]):
        for path, content in zip(batch, source.read(batch), strict=True):
            if isinstance(content, bytes):
                digest, read = paths[path], understand(content)
                if read.manifest and altered(digest, content):
                    read = replace(read, manifest=None, problem=_ALTERED)
                yield digest, read


def _unneeded(snapshot: Snapshot, tagged: _Needs) -> dict[Digest, File]:
    needed = set(tagged.needed)
    for repository in snapshot.repositories.values():
        needed |= needs(snapshot, repository)
    return {digest: file for digest, file in snapshot.blobs.items() if digest not in needed}


class Skipped(NamedTuple):
    """A blob, and why it was not deleted or should not have been."""

    digest: Digest
    reason: str


@dataclass(frozen=True, slots=True)
class Applied:
    """The result of applying a plan.

    Attributes
    ----------
    deleted : tuple of Orphan
        The deleted blobs; in a dry run, those that would have been deleted.
    skipped : tuple of Skipped
        The blobs that were left alone, and why.
    failed : tuple of Skipped
        The blobs that could not be deleted, and why.
    lost : tuple of Skipped
        The deleted blobs that a concurrent push relied on. Push those images again.
    dry_run : bool
        Whether this was a dry run, which deletes nothing.
    """

    deleted: tuple[Orphan, ...]
    skipped: tuple[Skipped, ...]
    failed: tuple[Skipped, ...]
    lost: tuple[Skipped, ...]
    dry_run: bool

    @property
    def bytes(self) -> int:
        """The number of bytes freed."""
        return sum(blob.size for blob in self.deleted)


def apply(
    source: Source,
    plan: Plan,
    progress: Progress | None = None,
    *,
    dry_run: bool = False,
    deleted: Callable[[Sequence[Orphan]], object] = lambda _: None,
    allow_most: bool = False,
) -> Applied:
    """Delete the blobs of a plan that are still orphans.

    The checks of :func:`plan` run again, on the present content of the bucket rather than on the plan's.

    It may be interrupted at any time and called again. A registry with a cache of blobs must be restarted
    afterwards, or its cache emptied, as after its own garbage collection.

    Parameters
    ----------
    source : Source
        The registry's storage.
    plan : Plan
        A plan for the same place.
    progress : callable, optional
        ``progress(stage, done, total)``, called as the work proceeds.
    dry_run : bool
        Run all checks, but delete nothing.
    deleted : callable
        Called with the blobs of each batch after their deletion; in a dry run, after the batch's checks.
    allow_most : bool
        Delete even if the plan names more than half of the blobs or of their bytes.

    Returns
    -------
    Applied
        The deleted blobs and the others.

    Raises
    ------
    regfs.catalog.plan.PlanError
        The plan is for another place.
    regfs.catalog.plan.IncompletePlanError
        A manifest cannot be read, so the blobs that it needs are unknown.
    regfs.MetadataDatabaseError
        The registry keeps its metadata in a database; checked again before each batch.
    regfs.catalog.orphans.UnreliableLinksError, regfs.catalog.orphans.ExcessivePlanError
        As :func:`plan` raises them.
    OSError
        A listing or a read failed. Earlier batches stay deleted.
    """
    current_place = place(source)
    if plan.place != current_place:
        raise PlanError(f"the plan is for {plan.place}, not for {current_place}; create a new one")
    if plan.incomplete:
        raise IncompletePlanError(plan.incomplete)
    progress = progress or (lambda *_: None)
    now = scan(source, progress, configs=False)
    check_database(source, now.database_in_use)
    tagged = _tagged(source, now)
    check_links(source, now, _unneeded(now, tagged), progress)
    if unreadable := [*_unreadable(now), *tagged.unreadable]:
        raise IncompletePlanError(unreadable)
    if not allow_most:
        check_share(now, [blob.digest for blob in plan.blobs if blob.digest in now.blobs])
    return _Application(source, plan, now, tagged, progress, dry_run, deleted).run()


def _unreadable(snapshot: Snapshot) -> list[str]:
    """Return the unreadable manifests: revisions whose needs are unknown."""
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
    """The number of each blob's layer links, and the time of the newest."""

    def __init__(self) -> None:
        self._links: dict[Digest, tuple[int, datetime]] = {}

    def add(self, digest: Digest, modified: datetime) -> None:
        count, newest = self._links.get(digest, (0, modified))
        self._links[digest] = count + 1, max(newest, modified)

    def of(self, digest: Digest) -> tuple[int, datetime | None]:
        return self._links.get(digest, (0, None))


@dataclass
class _Application:
    """An application of a plan."""

    source: Source
    plan: Plan
    now: Snapshot
    tagged: _Needs
    progress: Progress
    dry_run: bool
    report: Callable[[Sequence[Orphan]], object]
    deleted: list[Orphan] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    failed: list[Skipped] = field(default_factory=list)
    lost: list[Skipped] = field(default_factory=list)

    def run(self) -> Applied:
        orphans = {blob.digest: blob for blob in self.plan.blobs}
        watch = _Watch(self.source, orphans, self.now, self.tagged)
        del self.now  # to free its memory
        total = len(self.plan.blobs)
        stage = "dry run" if self.dry_run else "deleting"
        self.progress(stage, 0, total)
        for start in range(0, total, BATCH):
            before = len(self.deleted)
            self._batch(self.plan.blobs[start : start + BATCH], watch)
            self.report(self.deleted[before:])
            self.progress(stage, min(start + BATCH, total), total)
        if self.deleted and not self.dry_run:
            self.progress("checking", 0, None)
            self._check_deleted(watch)
        return Applied(
            tuple(self.deleted), tuple(self.skipped), tuple(self.failed), tuple(self.lost), self.dry_run
        )

    def _batch(self, batch: Sequence[Orphan], watch: _Watch) -> None:
        entries = self.source.find_many(_path(blob) for blob in batch)
        watch.refresh()  # directly before the deletion, except for one small request
        check_database(self.source, deleted=len(self.deleted))
        orphans = []
        for orphan, entry in zip(batch, entries, strict=True):
            reason = watch.reason(orphan)
            if entry is None:
                reason = "it is gone already"
            elif entry.size != orphan.size or _seconds(entry.modified) != _seconds(orphan.modified):
                reason = reason or "it was written again since the plan"
            if reason:
                self.skipped.append(Skipped(orphan.digest, reason))
            else:
                orphans.append(orphan)
        if self.dry_run:
            self.deleted += orphans
        else:
            self._delete(orphans)

    def _delete(self, batch: list[Orphan]) -> None:
        failure: OSError | None = None
        for _ in range(2):  # twice, as a blob that has just vanished may have stopped the deletion of others
            if not batch:
                return
            try:
                self.source.delete([_path(blob) for blob in batch])
            except OSError as exc:
                failure = exc
            else:
                self.deleted += batch
                return
            entries = self.source.find_many(_path(blob) for blob in batch)
            self.deleted += [orphan for orphan, entry in zip(batch, entries, strict=True) if entry is None]
            batch = [orphan for orphan, entry in zip(batch, entries, strict=True) if entry is not None]
        self.failed += [Skipped(blob.digest, str(failure)) for blob in batch]

    def _check_deleted(self, watch: _Watch) -> None:
        watch.refresh()
        wanted = [blob for blob in self.deleted if blob.digest in watch.needed]
        for orphan, entry in zip(wanted, self.source.find_many(map(_path, wanted)), strict=True):
            if entry is None:
                self.lost.append(Skipped(orphan.digest, watch.reason(orphan)))


class _Watch:
    """The reasons to keep some of a plan's blobs; `refresh` updates them from the registry's links."""

    def __init__(self, source: Source, orphans: dict[Digest, Orphan], now: Snapshot, tagged: _Needs) -> None:
        self.source = source
        self.orphans = orphans
        self.needed: dict[Digest, str] = {}
        self.blind = ""
        self._links = _Links()
        self._seen: set[tuple[str, Digest]] = set()
        self._tags: dict[tuple[str, str], datetime] = {}
        self._keep(tagged.needed)
        for repository in now.repositories.values():
            readable = (digest for digest in repository.revisions if digest in now.manifests)
            self._seen.update((repository.name, digest) for digest in readable)
            self._need(repository.name, needs(now, repository))
            for tag, files in repository.tags.items():
                # A tag written just now may be moved again within the same second, the precision of S3.
                if files.current and files.current.modified < now.started - _CLOCK_SKEW:
                    self._tags[repository.name, tag] = files.current.modified
        self._need_aliases(now)

    def _need_aliases(self, now: Snapshot) -> None:
        """Keep the blobs of layer links whose name is another digest than the blob's.

        A blob that was pushed as ``sha512:...`` is stored by its SHA-256, and only the content of its layer
        link connects the two. The registry's own collector deletes it, and its images are lost.
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
                    with contextlib.suppress(InvalidDigestError):  # fsck reports malformed links
                        self._need(links[path], [parse_link(content)])

    def _need(self, repository: str, blobs: Iterable[Digest]) -> None:
        for digest in blobs:
            if digest in self.orphans:
                self.needed.setdefault(digest, repository)

    def _keep(self, needed: Mapping[Digest, str]) -> None:
        for digest, repository in needed.items():
            self._need(repository, [digest])

    def refresh(self) -> None:
        """List all links, and read the manifests that are new to a repository or a tag."""
        self._links = _Links()
        new: dict[Digest, list[str]] = {}
        tags: dict[str, str] = {}
        for page in self.source.pages(REPOSITORIES):
            for entry in page:
                match parse(entry.path):
                    case LayerLink(_, digest) if digest in self.orphans:
                        self._links.add(digest, entry.modified)
                    case ManifestRevisionLink(name, digest) if (name, digest) not in self._seen:
                        new.setdefault(digest, []).append(name)
                    case TagCurrentLink(name, tag) if self._tags.get((name, tag)) != entry.modified:
                        tags[entry.path] = name
                    case None if resembles_link(entry.path):
                        self.blind = f"what the link {self.source.url(entry.path)} keeps is unknown"
        for digest, names in new.items():
            self._read(digest, names)
        self._read_tags(tags)

    def _read_tags(self, repositories: Mapping[str, str]) -> None:
        """Read tags, given by the paths of their links, and the manifests that are not known revisions."""
        manifests: dict[Digest, str] = {}
        for batch in batches(repositories, lambda _: 0):
            for path, content in zip(batch, self.source.read(batch), strict=True):
                if isinstance(content, bytes):
                    with contextlib.suppress(InvalidDigestError):  # fsck reports malformed links
                        digest = parse_link(content)
                        if (repositories[path], digest) not in self._seen:
                            manifests[digest] = repositories[path]
        needed, unreadable = _follow(self.source, manifests)
        self._keep(needed)
        if unreadable:
            reason = "a tag names a manifest whose needs are unknown"
            self.blind = self.blind or f"{reason}: {unreadable[0]}"

    def _read(self, digest: Digest, names: list[str]) -> None:
        for name in names:
            self._need(name, [digest])
        for _, read in _manifests(self.source, [digest]):  # a link whose manifest is missing keeps nothing
            if read.manifest is None:
                reason = f"{digest} has become a manifest of {names[0]}, and what it needs is unknown"
                self.blind = f"{reason}: {read.problem}"
                return
            for name in names:
                self._need(name, read.manifest.kept)
                self._seen.add((name, digest))

    def reason(self, orphan: Orphan) -> str:
        """Return why a blob must not be deleted; empty if it may be."""
        if orphan.digest in self.needed:
            return f"{self.needed[orphan.digest]} needs it again"
        if self.blind:
            return self.blind
        count, newest = self._links.of(orphan.digest)
        if newest is not None and (count > orphan.links or orphan.linked is None or newest > orphan.linked):
            return "a repository has linked to it since the plan: a push may be in progress"
        return ""


def _path(orphan: Orphan) -> str:
    return BlobData(orphan.digest).path


def _seconds(moment: datetime) -> int:
    """Round a time down to seconds, the precision of a HEAD; a listing may have more."""
    return int(moment.astimezone(timezone.utc).timestamp())
