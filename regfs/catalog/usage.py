"""Who uses how much of a registry's storage, what is shared, and what a deletion would free. Pure.

All of it follows from a :class:`~regfs.catalog.snapshot.Snapshot`, whose files each count once:
`Usage.totals` adds up to the listing to the byte. A blob is as large as it is stored, whatever manifests
tell of it; what is missing has no bytes. What keeps a blob is the rule of :mod:`regfs.catalog.reach`.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from heapq import heappush, heapreplace
from typing import NamedTuple, TypeAlias

from regfs.catalog.html import Bytes, table
from regfs.catalog.snapshot import Repository, Snapshot, TagFiles
from regfs.layout import Digest
from regfs.units import format_size

Needing: TypeAlias = "Mapping[Digest, Sequence[object]]"
"""Who needs a blob."""
PAIRS = 100
"""Pairs of repositories that `Usage.sharing` returns by default."""


@dataclass(frozen=True, slots=True)
class RepositoryUsage:
    """One repository's usage; all but the counts in bytes.

    Attributes
    ----------
    repository : str
    tags, manifests : int
        How many tags name something, and how many revisions there are.
    logical_bytes : int
        What its manifests would take if nothing were shared: for each, itself and each blob that it keeps.
    stored_bytes : int
        The blobs that it needs, each once.
    unique_bytes : int
        Of those, what no other repository needs.
    shared_bytes : int
        The rest: what another one needs, too.
    link_bytes : int
        Its links.
    upload_bytes : int
        What its unfinished uploads hold as files; their pending parts are not among it.
    pending_bytes : int or None
        The parts of these uploads, which no listing shows: stored and charged for beside all else. None where
        the service does not let us ask for them.
    freed_bytes : int
        By how much the listing would shrink if the repository's own files were removed and garbage then
        collected: its unique bytes, links and uploads. Repositories within its directory stay.
    """

    repository: str
    tags: int
    manifests: int
    logical_bytes: int
    stored_bytes: int
    unique_bytes: int
    shared_bytes: int
    link_bytes: int
    upload_bytes: int
    pending_bytes: int | None
    freed_bytes: int


@dataclass(frozen=True, slots=True)
class TagUsage:
    """One tag's usage, in bytes.

    It is about the manifest that the tag names now and, below an index, about those children that are
    revisions of the same repository. A tag that leads to no revision uses nothing.

    Attributes
    ----------
    repository, tag : str
    digest : Digest or None
        What it names; None of a tag that is broken.
    logical_bytes : int
        What these manifests would take if nothing were shared, as for a repository.
    stored_bytes : int
        The blobs that it leads to, each once.
    unique_bytes : int
        Of those, what no other tag of any repository leads to.
    shared_bytes : int
        The rest.
    freed_bytes : int
        By how much the listing would shrink if the tag's directory were removed, with the revisions that
        nothing else in the repository leads to (neither another tag nor an untagged manifest), and garbage
        then collected. An untagged manifest or another repository may hold unique bytes back.
    """

    repository: str
    tag: str
    digest: Digest | None
    logical_bytes: int
    stored_bytes: int
    unique_bytes: int
    shared_bytes: int
    freed_bytes: int


@dataclass(frozen=True, slots=True)
class Totals:
    """All that is stored. The six kinds of bytes add up to `bytes`.

    Attributes
    ----------
    blobs : int
        How many there are.
    unique_bytes, shared_bytes, orphaned_bytes : int
        Of blobs that one repository needs, that several need, and that none does; each counts once.
    link_bytes, upload_bytes, unknown_bytes : int
        Of links, of unfinished uploads' files, and of files that no registry writes.
    bytes : int
        All that a listing shows.
    pending_bytes : int or None
        Of uploads' parts, which no listing shows: stored and charged for beside `bytes`. None where the
        service does not let us ask for them.
    """

    blobs: int
    unique_bytes: int
    shared_bytes: int
    orphaned_bytes: int
    link_bytes: int
    upload_bytes: int
    unknown_bytes: int
    bytes: int
    pending_bytes: int | None


class Sharing(NamedTuple):
    """Two repositories, by name, and what both need: blobs, and their bytes."""

    repository: str
    other: str
    blobs: int
    bytes: int


class Month(NamedTuple):
    """A month's growth: its first day (UTC), the blobs written in it and their bytes, all bytes by its end.

    It counts the blobs that exist now: what was deleted since is not in it.
    """

    month: date
    blobs: int
    bytes: int
    total_bytes: int


@dataclass(frozen=True, slots=True)
class Usage:
    """The result of :func:`usage`.

    Attributes
    ----------
    repositories : list of RepositoryUsage
        By name.
    tags : list of TagUsage
        By repository and name.
    totals : Totals
        All that is stored.
    growth : list of Month
        By month, from the first blob's to the last one's, months without any included.
    """

    repositories: list[RepositoryUsage]
    tags: list[TagUsage]
    totals: Totals
    growth: list[Month]
    _groups: dict[tuple[int, ...], tuple[int, int]] = field(repr=False)

    def _repr_html_(self) -> str:
        totals = self.totals
        orphaned, pending = format_size(totals.orphaned_bytes), totals.pending_bytes
        note = f"{format_size(totals.bytes)} in all, {orphaned} of them in blobs that nothing needs"
        if pending:
            note += f", and {format_size(pending)} in parts of unfinished uploads"
        return table(
            "Usage",
            ["repository", "tags", "manifests", "stored", "unique", "shared", "freed by deletion"],
            (
                (
                    repository.repository,
                    repository.tags,
                    repository.manifests,
                    Bytes(repository.stored_bytes),
                    Bytes(repository.unique_bytes),
                    Bytes(repository.shared_bytes),
                    Bytes(repository.freed_bytes),
                )
                for repository in sorted(
                    self.repositories, key=lambda item: (-item.stored_bytes, item.repository)
                )
            ),
            note=note,
        )

    def sharing(self, most: int | None = PAIRS) -> list[Sharing]:
        """Return the pairs of repositories that share most, the largest first.

        Parameters
        ----------
        most : int or None
            How many pairs; None gives all of them, half the square of the repositories if all have a base
            in common.

        Returns
        -------
        list of Sharing
            Exact, however many repositories there are: pairs that cannot be among the largest are not
            looked at, as no pair shares more than either of the two shares with all others. Of pairs with
            as many bytes, it may give any.
        """
        names = [repository.repository for repository in self.repositories]
        groups: list[list[tuple[tuple[int, ...], tuple[int, int]]]] = [[] for _ in names]
        for group, weight in self._groups.items():
            for at in group:
                groups[at].append((group, weight))
        largest: list[tuple[int, int, int, int]] = []
        order = sorted(range(len(names)), key=lambda at: (-self.repositories[at].shared_bytes, at))
        seen = [False] * len(names)
        for at in order:
            full = most is not None and len(largest) >= most
            if full and (not largest or self.repositories[at].shared_bytes <= largest[0][0]):
                break
            blobs: Counter[int] = Counter()
            size: Counter[int] = Counter()
            for group, weight in groups[at]:
                for other in group:
                    if seen[other]:
                        blobs[other] += weight[0]
                        size[other] += weight[1]
            for other, count in blobs.items():
                first, second = sorted((at, other))
                pair = size[other], -first, -second, count
                if most is None or len(largest) < most:
                    heappush(largest, pair)
                elif pair > largest[0]:
                    heapreplace(largest, pair)
            seen[at] = True
        return [
            Sharing(names[-first], names[-second], count, size)
            for size, first, second, count in sorted(largest, reverse=True)
        ]


def usage(snapshot: Snapshot) -> Usage:
    """Reckon up what is stored and by whom.

    Takes time and memory in proportion to the references of all repositories' manifests.

    Parameters
    ----------
    snapshot : Snapshot
        What a look found.
    """
    sums = [Sums(snapshot, repository_sums) for _, repository_sums in sorted(snapshot.repositories.items())]
    needing: defaultdict[Digest, list[int]] = defaultdict(list)
    leading: Counter[Digest] = Counter()
    for at, repository_sums in enumerate(sums):
        for digest in repository_sums.holders:
            needing[digest].append(at)
        repository_sums.count_tags(leading)
    kinds: Counter[int] = Counter()
    groups: dict[tuple[int, ...], tuple[int, int]] = {}
    for digest, file in snapshot.blobs.items():
        group = tuple(needing.get(digest, ()))
        kinds[min(len(group), 2)] += file.size
        if len(group) > 1:
            blobs, size = groups.get(group, (0, 0))
            groups[group] = blobs + 1, size + file.size
    upload_bytes = sum(item.repository.upload_bytes for item in sums)
    totals = Totals(
        len(snapshot.blobs),
        kinds[1],
        kinds[2],
        kinds[0],
        sum(item.repository.bytes for item in sums) - upload_bytes,
        upload_bytes,
        snapshot.unknown.bytes,
        snapshot.bytes,
        sum(item.repository.pending_bytes for item in sums) if snapshot.pending_known else None,
    )
    return Usage(
        [item.whole(needing) for item in sums],
        [tag for item in sums for tag in item.tags(needing, leading)],
        totals,
        _growth(snapshot),
        groups,
    )


class Sums:
    """A repository's sums.

    `kept` maps each manifest that has a blob to what it keeps, itself first and each blob once; `holders` how
    many of them keep a blob. `named` counts what tags name; `closures` has the manifests that each of these
    leads to, and `led` how many tags lead to a manifest. `held` counts, for each manifest that untagged ones
    lead to, those among these that no index refers to.
    """

    def __init__(self, snapshot: Snapshot, repository: Repository) -> None:
        self.snapshot = snapshot
        self.repository = repository
        self.kept: dict[Digest, tuple[Digest, ...]] = {}
        self.holders: Counter[Digest] = Counter()
        for digest in repository.revisions:
            read = snapshot.manifests.get(digest)
            if read is not None:
                kept = read.manifest.kept if read.manifest else ()
                self.kept[digest] = tuple(dict.fromkeys((digest, *kept)))
                self.holders.update(self.kept[digest])
        self.named = Counter(files.target for files in repository.tags.values() if files.target is not None)
        self.closures = {target: tuple(self.closure(target)) for target in self.named}
        self.led: Counter[Digest] = Counter()
        for target, times in self.named.items():
            for digest in self.closures[target]:
                self.led[digest] += times
        untagged = [digest for digest in self.kept if digest not in self.led]
        below = {child for digest in untagged for child in self._children(digest)}
        self.heads = {digest: tuple(self.closure(digest)) for digest in untagged if digest not in below}
        self.held = Counter(digest for closure in self.heads.values() for digest in closure)
        self.signatures: Counter[Digest] = Counter()
        for (revision, _), file in repository.signatures.items():
            self.signatures[revision] += file.size

    def closure(self, top: Digest) -> Iterator[Digest]:
        """Yield the revisions that a manifest leads to, itself and, below an index, its children."""
        waiting, seen = [top], {top}
        while waiting:
            digest = waiting.pop()
            if digest not in self.kept:
                continue
            yield digest
            children = self._children(digest) - seen
            seen |= children
            waiting += children

    def _children(self, digest: Digest) -> set[Digest]:
        manifest = self.snapshot.manifests[digest].manifest
        references = manifest.references if manifest else ()
        return {reference.digest for reference in references if reference.relation == "manifest"}

    def reached(self, manifests: Iterable[Digest]) -> set[Digest]:
        """Return what some of the manifests keep, themselves included."""
        return {blob for digest in manifests for blob in self.kept[digest]}

    def size(self, blobs: Iterable[Digest]) -> int:
        """Return the bytes of those blobs that are there."""
        stored = self.snapshot.blobs
        return sum(stored[digest].size for digest in blobs if digest in stored)

    def count_tags(self, leading: Counter[Digest]) -> None:
        """Count for each blob the tags that lead to it."""
        for target, times in self.named.items():
            for blob in self.reached(self.closures[target]):
                leading[blob] += times

    def whole(self, needing: Needing) -> RepositoryUsage:
        """Return what the repository uses."""
        repository = self.repository
        stored = self.size(self.holders)
        unique = self.size(blob for blob in self.holders if len(needing[blob]) == 1)
        uploads = repository.upload_bytes
        return RepositoryUsage(
            repository.name,
            sum(files.current is not None for files in repository.tags.values()),
            len(repository.revisions),
            sum(map(self.size, self.kept.values())),
            stored,
            unique,
            stored - unique,
            repository.bytes - uploads,
            uploads,
            repository.pending_bytes if self.snapshot.pending_known else None,
            unique + repository.bytes,
        )

    def tags(self, needing: Needing, leading: Counter[Digest]) -> Iterator[TagUsage]:
        """Yield what each tag uses."""
        sums: dict[Digest, tuple[int, int, int]] = {}
        for target, closure in self.closures.items():
            reached = self.reached(closure)
            unique = self.size(blob for blob in reached if leading[blob] == 1)
            logical = sum(self.size(self.kept[digest]) for digest in closure)
            sums[target] = logical, self.size(reached), unique
        for name, files in sorted(self.repository.tags.items()):
            logical, stored, unique = sums.get(files.target, (0, 0, 0)) if files.target else (0, 0, 0)
            freed = self._freed(files, needing)
            yield TagUsage(
                self.repository.name, name, files.target, logical, stored, unique, stored - unique, freed
            )

    def _freed(self, files: TagFiles, needing: Needing) -> int:
        own = [*files.index.values(), *([files.current] if files.current else [])]
        freed = sum(file.size for file in own)
        closure = self.closures[files.target] if files.target else ()
        removed = {digest for digest in closure if self.led[digest] == 1 and not self.held[digest]}
        return freed + self._removed(removed, needing)

    def freed_untagged(self, digest: Digest, needing: Needing) -> int:
        """Return by how much the listing would shrink without an untagged manifest that no index refers to.

        With the revisions that nothing else in the repository leads to, as for a tag.
        """
        closure = self.heads.get(digest, (digest,))  # a revision without a blob leads to nothing
        return self._removed(
            {item for item in closure if not self.led[item] and self.held[item] < 2}, needing
        )

    def _removed(self, removed: Collection[Digest], needing: Needing) -> int:
        """Return what removing some revisions, and collecting garbage then, frees."""
        freed = sum(self.repository.revisions[digest].size for digest in removed)
        freed += sum(self.signatures[digest] for digest in removed)
        released = Counter(blob for digest in removed for blob in self.kept.get(digest, ()))
        return freed + self.size(
            blob
            for blob, times in released.items()
            if times == self.holders[blob] and len(needing[blob]) == 1
        )


def _growth(snapshot: Snapshot) -> list[Month]:
    blobs: Counter[date] = Counter()
    size: Counter[date] = Counter()
    for file in snapshot.blobs.values():
        month = file.modified.date().replace(day=1)
        blobs[month] += 1
        size[month] += file.size
    if not blobs:
        return []
    months: list[Month] = []
    month, total = min(blobs), 0
    for _ in range(_number(max(blobs)) - _number(month)):
        total += size[month]
        months.append(Month(month, blobs[month], size[month], total))
        month = date(month.year + month.month // 12, month.month % 12 + 1, 1)
    total += size[month]
    return [*months, Month(month, blobs[month], size[month], total)]


def _number(month: date) -> int:
    return month.year * 12 + month.month
