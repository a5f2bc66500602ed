"""What the page shows of a catalog: the largest of each kind, and the rest as one line. Pure but for fsck.

So the page stays small, however many repositories there are.
"""

from __future__ import annotations

import heapq
import itertools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from regfs.catalog.database import notice
from regfs.catalog.fsck.findings import Ignore, remaining
from regfs.catalog.lost import notice as notice_of_lost_links
from regfs.catalog.plan import Plan, PlanError
from regfs.layout import Digest
from regfs.report.charts import Tile

if TYPE_CHECKING:
    from regfs.catalog import Catalog
    from regfs.catalog.records import UploadRecord
    from regfs.catalog.snapshot import Change, File
    from regfs.catalog.usage import Month, RepositoryUsage, Sharing, TagUsage, Totals, Usage

REPOSITORIES = 60
TAGS = 20
BLOBS = 25
PAIRS = 15
MATRIX = 12
FINDINGS = 100
UPLOADS = 20
MONTHS = 36
NAMESPACES, MORE_NAMESPACES = 8, 24
IN_NAMESPACE = 14
_OLD = timedelta(days=1)
_STALE = timedelta(days=7)


@dataclass(frozen=True)
class BlobRow:
    """A large blob: what manifests have it for, and who needs it."""

    digest: Digest
    file: File
    role: str
    repositories: Sequence[str]


@dataclass(frozen=True)
class Content:
    """The content of the page; sizes in bytes, times in UTC.

    Attributes
    ----------
    place : dict
        Bucket, root directory and endpoint, as far as there are such things.
    notice : str
        What the page does not show, as the metadata is in a database or links are lost; empty if nothing.
    taken, ended : datetime
        When the look began and ended.
    counts : dict
        How many repositories, tags, manifests and blobs.
    kinds : list of (name, size, class, meaning)
        What all bytes are made of.
    repositories, tags, blobs, pairs, uploads, findings
        The first of each; `others` counts the rest.
    orphans : Plan or str
        What could be deleted, or why nothing can.
    findings : list or None
        None where they were not looked for.
    ignored : int
        How many more there are that are known.
    """

    place: Mapping[str, str]
    notice: str
    taken: datetime
    ended: datetime
    totals: Totals
    counts: Mapping[str, int]
    logical: int
    kinds: Sequence[tuple[str, int, str, str]]
    tiles: Sequence[Tile]
    namespaces: Sequence[tuple[str, str]]
    repositories: Sequence[RepositoryUsage]
    other_repositories: Mapping[str, int]
    tags: Sequence[TagUsage]
    blobs: Sequence[BlobRow]
    growth: Sequence[Month]
    months: int
    sharers: Sequence[str]
    shared: dict[tuple[str, str], int]
    pairs: Sequence[Sharing]
    orphans: Plan | str
    orphaned: int
    uploads: Sequence[UploadRecord]
    uploads_in_all: int
    stale: int
    stale_bytes: int
    findings: Sequence[Any] | None
    ignored: int
    found: Mapping[str, int]
    kinds_found: Sequence[tuple[str, str, int]]
    changes: Sequence[Change]
    changed: int


def gather(catalog: Catalog, *, findings: bool, ignore: Sequence[Ignore] = ()) -> Content:
    """Pick what the page shows.

    Parameters
    ----------
    catalog : Catalog
        What is in the bucket.
    findings : bool
        Whether to look for what is broken.
    ignore : sequence of Ignore
        What of that is only counted.
    """
    snapshot, used = catalog.snapshot, catalog.usage()
    ordered = sorted(
        used.repositories, key=lambda repository: (-repository.stored_bytes, repository.repository)
    )
    others = ordered[REPOSITORIES:]
    tiles, namespaces = _tiles(used)
    sharers = [
        repository.repository
        for repository in heapq.nlargest(
            MATRIX, used.repositories, key=lambda repository: repository.shared_bytes
        )
        if repository.shared_bytes
    ]
    uploads = sorted(catalog.uploads, key=lambda upload: -_held(upload))
    stale = [upload for upload in uploads if upload.age is not None and upload.age >= _STALE]
    every = catalog.fsck() if findings else None
    problems = None if every is None else remaining(every, ignore)
    by_kind = Counter((problem.severity, problem.kind) for problem in problems or ())
    return Content(
        _place(catalog),
        notice(catalog.source, snapshot.database_in_use) or notice_of_lost_links(catalog.source, snapshot),
        snapshot.started,
        snapshot.ended,
        used.totals,
        {
            "repository": len(used.repositories),
            "tag": sum(repository.tags for repository in used.repositories),
            "manifest": len(snapshot.manifests),
            "blob": used.totals.blobs,
        },
        sum(repository.logical_bytes for repository in used.repositories),
        _kinds(used.totals),
        tiles,
        namespaces,
        ordered[:REPOSITORIES],
        {
            "count": len(others),
            **{
                name: sum(getattr(other, name) for other in others)
                for name in ("tags", "manifests", "logical_bytes", "unique_bytes")
            },
        },
        [tag for tag in heapq.nlargest(TAGS, used.tags, key=lambda tag: tag.freed_bytes) if tag.freed_bytes],
        _largest(catalog),
        used.growth[-MONTHS:],
        len(used.growth),
        sharers,
        _shared(catalog, sharers),
        used.sharing(PAIRS),
        _orphans(catalog),
        sum(digest not in catalog.needed for digest in snapshot.blobs),
        uploads[:UPLOADS],
        len(uploads),
        len(stale),
        sum(map(_held, stale)),
        None
        if problems is None
        else sorted(problems, key=lambda problem: problem.severity != "error")[:FINDINGS],
        len(every or ()) - len(problems or ()),
        Counter(problem.severity for problem in problems or ()),
        [(kind, severity, count) for (severity, kind), count in sorted(by_kind.items())],
        snapshot.changes[:FINDINGS],
        len(snapshot.changes),
    )


def _place(catalog: Catalog) -> dict[str, str]:
    fs = catalog.source.fs
    parameters = getattr(fs, "parameters", None)
    if parameters is None:
        return {"place": catalog.source.url("/")}
    return {
        "bucket": parameters.bucket,
        "root directory": parameters.root_directory or "/",
        "endpoint": parameters.endpoint_url or parameters.region or "",
    }


def _orphans(catalog: Catalog) -> Plan | str:
    try:
        return catalog.orphans(_OLD, allow_most=True)
    except (PlanError, PermissionError) as exc:
        return str(exc)


def _kinds(totals: Totals) -> list[tuple[str, int, str, str]]:
    return [
        ("unique", totals.unique_bytes, "unique", "blobs that one repository needs"),
        ("shared", totals.shared_bytes, "shared", "blobs that several repositories need, counted once"),
        ("orphaned", totals.orphaned_bytes, "orphaned", "blobs that no manifest of any repository needs"),
        ("uploads", totals.upload_bytes, "uploads", "files of unfinished uploads"),
        ("links", totals.link_bytes, "links", "the files that make blobs part of repositories"),
        ("unknown", totals.unknown_bytes, "unknown", "files that no registry writes"),
    ]


def _tiles(used: Usage) -> tuple[list[Tile], list[tuple[str, str]]]:
    """Divide all bytes: by namespaces and repositories, what is shared, and what nothing needs."""
    spaces: dict[str, list[RepositoryUsage]] = {}
    for repository in used.repositories:
        spaces.setdefault(repository.repository.partition("/")[0], []).append(repository)
    sizes = {name: sum(item.unique_bytes for item in found) for name, found in spaces.items()}
    ranked = sorted(spaces, key=lambda name: (-sizes[name], name))
    tiles, legend = [], []
    for at, name in enumerate(ranked[:NAMESPACES]):
        if not sizes[name]:
            continue
        tiles.append(Tile(name, sizes[name], f"hue{at}", tuple(_inner(name, spaces[name], f"hue{at}"))))
        legend.append((name, f"hue{at}"))
    tiles += [Tile(name, sizes[name], "rest") for name in ranked[NAMESPACES:MORE_NAMESPACES]]
    rest = ranked[MORE_NAMESPACES:]
    totals = used.totals
    other = totals.link_bytes + totals.upload_bytes + totals.unknown_bytes
    tiles += [
        Tile(f"{len(rest):,} more namespaces", sum(sizes[name] for name in rest), "rest faint"),
        Tile("shared by repositories", totals.shared_bytes, "shared"),
        Tile("orphaned", totals.orphaned_bytes, "orphaned"),
        Tile("links, uploads, unknown", other, "links"),
    ]
    return [tile for tile in tiles if tile.size], legend


def _inner(space: str, found: Iterable[RepositoryUsage], kind: str) -> Iterable[Tile]:
    ordered = sorted(found, key=lambda item: -item.unique_bytes)
    for item in ordered[:IN_NAMESPACE]:
        yield Tile(item.repository, item.unique_bytes, kind)
    rest = ordered[IN_NAMESPACE:]
    if rest:
        yield Tile(f"{len(rest):,} more of {space}", sum(item.unique_bytes for item in rest), f"{kind} faint")


def _held(upload: UploadRecord) -> int:
    """Return the bytes of an upload, as far as they are known."""
    return (upload.pending_bytes or 0) + upload.upload_bytes


def _largest(catalog: Catalog) -> list[BlobRow]:
    blobs = heapq.nlargest(BLOBS, catalog.snapshot.blobs.items(), key=lambda item: item[1].size)
    roles: dict[Digest, set[str]] = {digest: set() for digest, _ in blobs}
    for digest, read in catalog.snapshot.manifests.items():
        if digest in roles:
            roles[digest].add("manifest")
        for reference in read.manifest.references if read.manifest else ():
            if reference.digest in roles and reference.relation != "subject":
                roles[reference.digest].add(reference.relation)
    return [
        BlobRow(digest, file, ", ".join(sorted(roles[digest])) or "–", catalog.needed.get(digest, ()))
        for digest, file in blobs
    ]


def _shared(catalog: Catalog, names: Sequence[str]) -> dict[tuple[str, str], int]:
    """Add up what each two of some repositories have in common."""
    wanted = set(names)
    counts: Counter[tuple[str, str]] = Counter()
    for digest, needing in catalog.needed.items():
        file = catalog.snapshot.blobs.get(digest)
        if file is None or len(needing) < 2:
            continue
        for pair in itertools.combinations(sorted(wanted.intersection(needing)), 2):
            counts[pair] += file.size
    return dict(counts)
