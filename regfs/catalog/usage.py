"""The storage usage of repositories and tags: stored, shared, and freed by a deletion. Pure.

Everything is computed from a :class:`~regfs.catalog.snapshot.Snapshot`. Each file counts once, so
`Usage.totals` equals the listing to the byte. A blob's size is its stored size, whatever manifests state; a
missing blob has no bytes. :mod:`regfs.catalog.reach` defines which blobs a repository keeps.
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
"""The repositories that need each blob."""
PAIRS = 100
"""The number of pairs that `Usage.sharing` returns by default."""


@dataclass(frozen=True, slots=True)
class RepositoryUsage:
    """The usage of a repository, in bytes except for the counts.

    Attributes
    ----------
    repository : str
    tags, manifests : int
        The number of tags with a current link, and the number of revisions.
    logical_bytes : int
        The size if nothing were shared: for each manifest, itself and each blob that it keeps.
    stored_bytes : int
        The blobs that it needs, each once.
    unique_bytes : int
        The part of `stored_bytes` that no other repository needs.
    shared_bytes : int
        The rest of `stored_bytes`, which other repositories need too.
    link_bytes : int
        Its links.
    upload_bytes : int
        The files of its unfinished uploads, without their pending parts.
    pending_bytes : int or None
        The parts of these uploads. No listing shows them, but S3 stores and charges for them. None if the
        service forbids listing them.
    freed_bytes : int
        How much smaller the listing would be if the repository's own files were deleted and garbage was then
        collected: its unique bytes, links and uploads. Repositories inside its directory stay.
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
    """The usage of a tag, in bytes.

    It covers the manifest that the tag names now and, for an index, its children that are revisions of the
    same repository. A tag whose manifest is not a revision uses nothing.

    Attributes
    ----------
    repository, tag : str
    digest : Digest or None
        The manifest that it names; None for a broken tag.
    logical_bytes : int
        The size of these manifests if nothing were shared, as for a repository.
    stored_bytes : int
        The blobs of these manifests, each once.
    unique_bytes : int
        The part of `stored_bytes` that no other tag of any repository leads to.
    shared_bytes : int
        The rest of `stored_bytes`.
    freed_bytes : int
        How much smaller the listing would be if the tag's directory were deleted, with the revisions that
        nothing else in the repository leads to (neither another tag nor an untagged manifest), and garbage
        was then collected. Untagged manifests and other repositories may still keep unique bytes.
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
    """The totals of the storage. The six kinds of bytes add up to `bytes`.

    Attributes
    ----------
    blobs : int
        The number of blobs.
    unique_bytes, shared_bytes, orphaned_bytes : int
        The blobs that one repository needs, that several need, and that none needs; each counts once.
    link_bytes, upload_bytes, unknown_bytes : int
        Links, the files of unfinished uploads, and files that no registry writes.
    bytes : int
        All files in the listing.
    pending_bytes : int or None
        The parts of uploads, which are not part of `bytes`: no listing shows them, but S3 stores and charges
        for them. None if the service forbids listing them.
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
    """A pair of repositories, with the number and the bytes of the blobs that both need."""

    repository: str
    other: str
    blobs: int
    bytes: int


class Month(NamedTuple):
    """The growth in a month: its first day (UTC), the blobs written, their bytes, and the total at its end.

    Only blobs that still exist count.
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
        The totals of the storage.
    growth : list of Month
        By month, from that of the oldest blob to that of the newest, including months without blobs.
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
        """Return the pairs of repositories that share the most bytes, the largest first.

        The result is exact. Pairs that cannot be among the largest are skipped: a pair never shares more than
        either repository shares with all others.

        Parameters
        ----------
        most : int or None
            The largest number of pairs to return; None for all. Repositories with a common base image have
            n * (n - 1) / 2 pairs.

        Returns
        -------
        list of Sharing
            By bytes, the largest first. Which of the pairs with equal bytes are included is unspecified.
        """
        names = [repository.repository for repository in self.repositories]
        groups: list[list[tuple[tuple[int, ...], tuple[int, int]]]] = [[] for _ in names]
        for group, weight in self._groups.items():
            for index in group:
                groups[index].append((group, weight))
        largest: list[tuple[int, int, int, int]] = []
        order = sorted(range(len(names)), key=lambda index: (-self.repositories[index].shared_bytes, index))
        seen = [False] * len(names)
        for index in order:
            full = most is not None and len(largest) >= most
            if full and (not largest or self.repositories[index].shared_bytes <= largest[0][0]):
                break
            blobs: Counter[int] = Counter()
            size: Counter[int] = Counter()
            for group, weight in groups[index]:
                for other in group:
                    if seen[other]:
                        blobs[other] += weight[0]
                        size[other] += weight[1]
            for other, count in blobs.items():
                first, second = sorted((index, other))
                pair = size[other], -first, -second, count
                if most is None or len(largest) < most:
                    heappush(largest, pair)
                elif pair > largest[0]:
                    heapreplace(largest, pair)
            seen[index] = True
        return [
            Sharing(names[-first], names[-second], count, size)
            for size, first, second, count in sorted(largest, reverse=True)
        ]


def usage(snapshot: Snapshot) -> Usage:
    """Compute the usage of all repositories and tags.

    Takes time and memory in proportion to the references of all repositories' manifests.

    Parameters
    ----------
    snapshot : Snapshot
        The registry's scan.
    """
    sums = [Sums(snapshot, repository) for _, repository in sorted(snapshot.repositories.items())]
    needing: defaultdict[Digest, list[int]] = defaultdict(list)
    leading: Counter[Digest] = Counter()
    for index, repository_sums in enumerate(sums):
        for digest in repository_sums.holders:
            needing[digest].append(index)
        repository_sums.count_tags(leading)
    kinds: Counter[int] = Counter()
    groups: dict[tuple[int, ...], tuple[int, int]] = {}
    for digest, file in snapshot.blobs.items():
        group = tuple(needing.get(digest, ()))
        kinds[min(len(group), 2)] += file.size
        if len(group) > 1:
            blobs, size = groups.get(group, (0, 0))
            groups[group] = blobs + 1, size + file.size
    repositories = [repository_sums.repository for repository_sums in sums]
    upload_bytes = sum(repository.upload_bytes for repository in repositories)
    totals = Totals(
        len(snapshot.blobs),
        kinds[1],
        kinds[2],
        kinds[0],
        sum(repository.bytes for repository in repositories) - upload_bytes,
        upload_bytes,
        snapshot.unknown.bytes,
        snapshot.bytes,
        sum(repository.pending_bytes for repository in repositories) if snapshot.pending_known else None,
    )
    return Usage(
        [repository_sums.whole(needing) for repository_sums in sums],
        [tag for repository_sums in sums for tag in repository_sums.tags(needing, leading)],
        totals,
        _growth(snapshot),
        groups,
    )


class Sums:
    """The counts from which a repository's usage is computed.

    Attributes
    ----------
    kept : dict of Digest to tuple of Digest
        For each existing manifest the blobs that it keeps, itself first and each blob once.
    holders : Counter of Digest
        For each blob the number of manifests that keep it.
    named : Counter of Digest
        For each manifest the number of tags that name it.
    closures : dict of Digest to tuple of Digest
        For each tagged manifest the manifests that it leads to.
    led : Counter of Digest
        For each manifest the number of tags that lead to it.
    heads : dict of Digest to tuple of Digest
        For each untagged manifest that is not the child of another untagged one, the manifests that it leads
        to.
    held : Counter of Digest
        For each manifest the number of `heads` that lead to it.
    signatures : Counter of Digest
        For each revision the bytes of its signature links.
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
        for target, tags in self.named.items():
            for digest in self.closures[target]:
                self.led[digest] += tags
        untagged = [digest for digest in self.kept if digest not in self.led]
        below = {child for digest in untagged for child in self._children(digest)}
        self.heads = {digest: tuple(self.closure(digest)) for digest in untagged if digest not in below}
        self.held = Counter(digest for closure in self.heads.values() for digest in closure)
        self.signatures: Counter[Digest] = Counter()
        for (revision, _), file in repository.signatures.items():
            self.signatures[revision] += file.size

    def closure(self, top: Digest) -> Iterator[Digest]:
        """Yield a manifest and, for an index, its children at any depth, as far as they are revisions."""
        pending, seen = [top], {top}
        while pending:
            digest = pending.pop()
            if digest not in self.kept:
                continue
            yield digest
            children = self._children(digest) - seen
            seen |= children
            pending += children

    def _children(self, digest: Digest) -> set[Digest]:
        manifest = self.snapshot.manifests[digest].manifest
        references = manifest.references if manifest else ()
        return {reference.digest for reference in references if reference.relation == "manifest"}

    def reached(self, manifests: Iterable[Digest]) -> set[Digest]:
        """Return the blobs that manifests keep, including their own."""
        return {blob for digest in manifests for blob in self.kept[digest]}

    def size(self, blobs: Iterable[Digest]) -> int:
        """Return the total bytes of the blobs that exist."""
        stored = self.snapshot.blobs
        return sum(stored[digest].size for digest in blobs if digest in stored)

    def count_tags(self, leading: Counter[Digest]) -> None:
        """Add to `leading`, for each blob, the number of tags that lead to it."""
        for target, tags in self.named.items():
            for blob in self.reached(self.closures[target]):
                leading[blob] += tags

    def whole(self, needing: Needing) -> RepositoryUsage:
        """Return the usage of the whole repository."""
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
        """Yield the usage of each tag."""
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
        links = [*files.index.values(), *([files.current] if files.current else [])]
        freed = sum(file.size for file in links)
        closure = self.closures[files.target] if files.target else ()
        removed = {digest for digest in closure if self.led[digest] == 1 and not self.held[digest]}
        return freed + self._removed(removed, needing)

    def freed_untagged(self, digest: Digest, needing: Needing) -> int:
        """Return the bytes that deleting an untagged manifest would free, if no index refers to it.

        Like a tag, it is deleted with the revisions that nothing else in the repository leads to.
        """
        closure = self.heads.get(digest, (digest,))  # a revision without a blob leads to nothing
        removed = {revision for revision in closure if not self.led[revision] and self.held[revision] < 2}
        return self._removed(removed, needing)

    def _removed(self, removed: Collection[Digest], needing: Needing) -> int:
        """Return the bytes that deleting revisions and collecting garbage would free."""
        freed = sum(self.repository.revisions[digest].size for digest in removed)
        freed += sum(self.signatures[digest] for digest in removed)
        released = Counter(blob for digest in removed for blob in self.kept.get(digest, ()))
        return freed + self.size(
            blob
            for blob, holders in released.items()
            if holders == self.holders[blob] and len(needing[blob]) == 1
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
    for _ in range(_month_number(max(blobs)) - _month_number(month)):
        total += size[month]
        months.append(Month(month, blobs[month], size[month], total))
        month = date(month.year + month.month // 12, month.month % 12 + 1, 1)
    total += size[month]
    return [*months, Month(month, blobs[month], size[month], total)]


def _month_number(month: date) -> int:
    return month.year * 12 + month.month
