"""Blobs that nothing needs: how a plan to delete them is taken, and how it is applied.

An orphan is what the registry's own ``garbage-collect`` would delete, by the rule of
:mod:`regfs.catalog.reach`, but for what a tag needs whose manifest has lost its revision link. To plan is one
thing and to delete another: a `Plan` can be looked at, kept and applied later, and `apply` believes none of
it. It looks at everything anew, and once more at all links before each batch that it deletes, and passes over
what has become of use, was written again, or may be about to be used.

What remains is what the registry's own collector has for its whole run: a push that asked whether a blob is
there just before it was deleted, and whose manifest comes just after. An old layer link suffices for that
and leaves no trace. Here the time is that of one listing of the links and one request. `Applied.lost` lists
if it happened. To rule it out, set the registry to ``readonly`` meanwhile, as its documentation asks for.
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
"""Blobs that are deleted between two looks at the links; S3 takes as many in one request."""

_SAME_TIME = timedelta(minutes=5)
"""Tags written so shortly before the scan are read again before each batch; clocks may differ by less."""

_ALTERED = "its content is not what its digest promises"


def plan(
    source: Source,
    snapshot: Snapshot,
    older_than: timedelta | float | None = None,
    *,
    allow_most: bool = False,
    progress: Progress | None = None,
) -> Plan:
    """Plan to delete what nothing needs, unless the links cannot be the truth (:mod:`regfs.catalog.guards`).

    Parameters
    ----------
    source : Source
        Where the registry is.
    snapshot : Snapshot
        What a look at it found.
    older_than : timedelta or float, optional
        Leave out what is younger, a number in seconds: a blob that was written, or linked to a repository,
        less than that ago may belong to a push that goes on. By default nothing is left out.
    allow_most : bool
        Let the plan name more than half of the blobs or of their bytes.
    progress : callable, optional
        ``progress(stage, done, total)`` is called as the work goes on.

    Raises
    ------
    ValueError
        The age is negative.
    regfs.MetadataDatabaseError
        The registry keeps its metadata in a database.
    regfs.catalog.orphans.UnreliableLinksError
        There are links that cannot be read, no repository has a manifest though there are blobs, or more
        manifests belong to no repository, or are missing, than belong to one.
    regfs.catalog.orphans.ExcessivePlanError
        More than half would go, and `allow_most` is not given.
    OSError
        A read failed; PermissionError where it cannot be known whether there is a database.
    """
    age = timedelta(seconds=older_than) if isinstance(older_than, (int, float)) else older_than
    tagged = _tagged(source, snapshot)
    unneeded = _unneeded(snapshot, tagged)
    check_database(source, snapshot.database_in_use or None)  # the snapshot may have grown old
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
        before = snapshot.started - age
        younger = [orphan for orphan in orphans if orphan.touched > before]
        orphans = [orphan for orphan in orphans if orphan.touched <= before]
    taken = Plan(
        place(source),
        snapshot.started,
        age,
        tuple(orphans),
        (*_unreadable(snapshot), *tagged.unreadable),
        len(younger),
        sum(orphan.size for orphan in younger),
    )
    if not allow_most and not taken.incomplete:  # which is to be looked at, and says why
        check_share(snapshot, [orphan.digest for orphan in orphans])
    return taken


class _Followed(NamedTuple):
    """The blobs that manifests need, each with a repository; and the unreadable manifests."""

    needed: dict[Digest, str]
    unreadable: list[str]


def _tagged(source: Source, snapshot: Snapshot) -> _Followed:
    """Follow what tags lead to and is no revision of their repository, though its blob may be there.

    The registry's own collector looks at no tag, and into no child that is no revision: it deletes their
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
    """Return the manifests that tags lead to, from index to child, and that have no revision link.

    A tag whose link cannot be read leads to all that it has named.
    """
    unlinked: set[Digest] = set()
    seen: set[Digest] = set()
    tags = repository.tags.values()
    waiting = [digest for tag in tags for digest in ([tag.target] if tag.target else tag.index)]
    while waiting:
        digest = waiting.pop()
        if digest in seen:
            continue
        seen.add(digest)
        if digest not in repository.revisions:
            unlinked.add(digest)
            continue
        read = snapshot.manifests.get(digest)
        references = read.manifest.references if read and read.manifest else ()
        waiting += [reference.digest for reference in references if reference.relation == "manifest"]
    return unlinked


def _follow(source: Source, manifests: Mapping[Digest, str]) -> _Followed:
    """Read manifests, and the children of those that are indexes, as far as their blobs are there.

    Parameters
    ----------
    source : Source
        Where the registry is.
    manifests : mapping of Digest to str
        The repository of each.
    """
    followed = _Followed({}, [])
    level = manifests
    seen: set[Digest] = set()
    while level:
        seen.update(level)
        children: dict[Digest, str] = {}
        for digest, read in _manifests(source, level):
            repository = level[digest]
            followed.needed.setdefault(digest, repository)
            if read.manifest is None:
                followed.unreadable.append(f"{digest} in {repository}: {read.problem}")
                continue
            followed.needed.update(dict.fromkeys(read.manifest.kept, repository))
            for reference in read.manifest.references:
                if reference.relation == "manifest" and reference.digest not in seen:
                    children[reference.digest] = repository
        level = children
    return followed


def _manifests(source: Source, digests: Iterable[Digest]) -> Iterator[tuple[Digest, ReadManifest]]:
    """Read the manifests that are there; one whose content is not what its digest promises is a problem."""
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


def _unneeded(snapshot: Snapshot, tagged: _Followed) -> dict[Digest, File]:
    needed = set(tagged.needed)
    for repository in snapshot.repositories.values():
        needed |= needs(snapshot, repository)
    return {digest: file for digest, file in snapshot.blobs.items() if digest not in needed}


class Skipped(NamedTuple):
    """A blob, and why it was not deleted (or should not have been)."""

    digest: Digest
    reason: str


@dataclass(frozen=True, slots=True)
class Applied:
    """The result of applying a plan.

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
        """The bytes that were freed."""
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
    """Delete what a plan names, as far as nothing needs it still.

    What refuses a plan refuses it here again, by what is in the bucket now and not by what the plan says.

    It can be interrupted at any moment and called again. A registry that keeps a cache of blobs must be
    started anew afterwards, or have its cache emptied, as after its own garbage collection.

    Parameters
    ----------
    source : Source
        Where the registry is.
    plan : Plan
        Taken of the same place.
    progress : callable, optional
        ``progress(stage, done, total)`` is called as the work goes on.
    dry_run : bool
        Look at everything, and delete nothing.
    deleted : callable
        Told of the blobs of each batch once they are deleted; of a dry run, once they would be.
    allow_most : bool
        Delete even if the plan names more than half of the blobs or of their bytes.

    Returns
    -------
    Applied
        What was deleted and what was not.

    Raises
    ------
    regfs.catalog.plan.PlanError
        The plan is of another place.
    regfs.catalog.plan.IncompletePlanError
        A manifest cannot be read, so what it needs is unknown.
    regfs.MetadataDatabaseError
        The registry keeps its metadata in a database; looked for again before each batch.
    regfs.catalog.orphans.UnreliableLinksError, regfs.catalog.orphans.ExcessivePlanError
        As :func:`plan` raises them.
    OSError
        A listing or a read failed. What was deleted before stays so.
    """
    current_place = place(source)
    if plan.place != current_place:
        raise PlanError(f"the plan is of {plan.place}, not of {current_place}; take a new one")
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
    """Return the manifests that keep blobs which cannot be determined."""
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
    """The number of a blob's layer links, and the time of the newest."""

    def __init__(self) -> None:
        self._found: dict[Digest, tuple[int, datetime]] = {}

    def add(self, digest: Digest, modified: datetime) -> None:
        count, newest = self._found.get(digest, (0, modified))
        self._found[digest] = count + 1, max(newest, modified)

    def of(self, digest: Digest) -> tuple[int, datetime | None]:
        return self._found.get(digest, (0, None))


@dataclass
class _Application:
    """An application of a plan."""

    source: Source
    plan: Plan
    now: Snapshot
    tagged: _Followed
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
        del self.now  # it is large, and grows old
        total = len(self.plan.blobs)
        stage = "dry run" if self.dry_run else "deleting"
        self.progress(stage, 0, total)
        for at in range(0, total, BATCH):
            before = len(self.deleted)
            self._batch(self.plan.blobs[at : at + BATCH], watch)
            self.report(self.deleted[before:])
            self.progress(stage, min(at + BATCH, total), total)
        if self.deleted and not self.dry_run:
            self.progress("checking", 0, None)
            self._look_back(watch)
        return Applied(
            tuple(self.deleted), tuple(self.skipped), tuple(self.failed), tuple(self.lost), self.dry_run
        )

    def _batch(self, batch: Sequence[Orphan], watch: _Watch) -> None:
        entries = self.source.find_many(_path(blob) for blob in batch)
        watch.look()  # the last thing before the deletion, but for one small request
        check_database(self.source, deleted=len(self.deleted))
        left = []
        for orphan, entry in zip(batch, entries, strict=True):
            reason = watch.reason(orphan)
            if entry is None:
                reason = "it is gone already"
            elif entry.size != orphan.size or _seconds(entry.modified) != _seconds(orphan.modified):
                reason = reason or "it was written again since the plan"
            if reason:
                self.skipped.append(Skipped(orphan.digest, reason))
            else:
                left.append(orphan)
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

    def _look_back(self, watch: _Watch) -> None:
        watch.look()
        wanted = [blob for blob in self.deleted if blob.digest in watch.needed]
        for orphan, entry in zip(wanted, self.source.find_many(map(_path, wanted)), strict=True):
            if entry is None:
                self.lost.append(Skipped(orphan.digest, watch.reason(orphan)))


class _Watch:
    """What has come to need some blobs, as far as is known; `look` makes it known."""

    def __init__(
        self, source: Source, orphans: dict[Digest, Orphan], now: Snapshot, tagged: _Followed
    ) -> None:
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
                # One that was written in these seconds may be written again in the same one.
                if files.current and files.current.modified < now.started - _SAME_TIME:
                    self._tags[repository.name, tag] = files.current.modified
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
                    with contextlib.suppress(InvalidDigestError):  # fsck reports that
                        self._need(links[path], [parse_link(content)])

    def _need(self, repository: str, blobs: Iterable[Digest]) -> None:
        for digest in blobs:
            if digest in self.orphans:
                self.needed.setdefault(digest, repository)

    def _keep(self, needed: Mapping[Digest, str]) -> None:
        for digest, repository in needed.items():
            self._need(repository, [digest])

    def look(self) -> None:
        """List all links, and read the manifests that are new to a repository or to a tag."""
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
        """Follow tags, by the paths of their links, to the manifests that are not known to be revisions."""
        manifests: dict[Digest, str] = {}
        for batch in batches(repositories, lambda _: 0):
            for path, content in zip(batch, self.source.read(batch), strict=True):
                if isinstance(content, bytes):
                    with contextlib.suppress(InvalidDigestError):  # fsck reports that
                        digest = parse_link(content)
                        if (repositories[path], digest) not in self._seen:
                            manifests[digest] = repositories[path]
        followed = _follow(self.source, manifests)
        self._keep(followed.needed)
        if followed.unreadable:
            reason = "a tag names a manifest whose needs are unknown"
            self.blind = self.blind or f"{reason}: {followed.unreadable[0]}"

    def _read(self, digest: Digest, names: list[str]) -> None:
        for name in names:
            self._need(name, [digest])
        for _, read in _manifests(self.source, [digest]):  # a link to nothing keeps nothing, so far
            if read.manifest is None:
                reason = f"{digest} has become a manifest of {names[0]}, and what it needs is unknown"
                self.blind = f"{reason}: {read.problem}"
                return
            for name in names:
                self._need(name, read.manifest.kept)
                self._seen.add((name, digest))

    def reason(self, orphan: Orphan) -> str:
        """Return why a blob must not be deleted, or an empty text."""
        if orphan.digest in self.needed:
            return f"{self.needed[orphan.digest]} needs it again"
        if self.blind:
            return self.blind
        count, newest = self._links.of(orphan.digest)
        if newest is not None and (count > orphan.links or orphan.linked is None or newest > orphan.linked):
            return "a repository was linked to it since the plan: a push may be on its way"
        return ""


def _path(orphan: Orphan) -> str:
    return BlobData(orphan.digest).path


def _seconds(moment: datetime) -> int:
    """Round a time down to the seconds of a HEAD; a listing may have more."""
    return int(moment.astimezone(timezone.utc).timestamp())
