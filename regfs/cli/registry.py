"""The verbs about all of a registry, or a repository of it: ``repos``, ``tags``, ``usage``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from regfs.cli.options import shared
from regfs.cli.output import Column, Output, counted, size
from regfs.cli.place import Place
from regfs.cli.scanning import (
    RepositoryName,
    bar,
    catalog,
    open_source,
    plain,
    short,
    sizes_option,
    stages,
    url_argument,
)

if TYPE_CHECKING:
    from regfs.catalog.usage import Totals, Usage


@click.command()
@url_argument
@shared
def repos(place: Place, out: Output, url: str) -> None:
    """List the repositories, with what each has.

    "layers" are its links to layers and configurations; "modified" is when one of its files was last
    written, UTC. Reads the whole listing, but no manifest's configuration.

    JSON: an array of objects with name, tags, manifests, layers, uploads, files, bytes and modified.
    """
    with catalog(place, url, configs=False) as found:
        records = [plain(one) for one in found.repositories]
    counts = [Column(name, "number") for name in ("tags", "manifests", "layers", "uploads")]
    out.table([*counts, Column("modified", "time"), Column("name")], records)
    _told_of(out, found.changes)


def _told_of(out: Output, changes: Sequence[Any]) -> None:
    if changes:
        out.note(f"{counted(len(changes), 'file')} came or went meanwhile; the counts follow them")


@click.command()
@click.argument("repository", metavar="REPO", type=RepositoryName())
@click.option("--history", is_flag=True, help="What each tag has named, and since when.")
@sizes_option
@shared
def tags(place: Place, out: Output, repository: tuple[str, str], *, history: bool, human: bool) -> None:
    """List the tags of a repository, with what each names.

    "size" is of all that the tag leads to, each content once, as the manifests tell; "moved" is when it got
    what it names now, UTC; "revisions" counts what it has named. Only this repository is read.

    JSON: an array of objects with tag, digest, kind, platforms, created, size, moved, history and problem.
    """
    from regfs.catalog.inspection import platforms_of
    from regfs.catalog.lookup import Lookup, size_of

    url, name = repository
    with stages() as progress:
        lookup = Lookup(open_source(place, url), progress)
        found = lookup.tags(name)
        read = lookup.closure(files.target for files in found.values() if files.target)
    records = []
    for tag, files in found.items():
        this = read.get(files.target) if files.target else None
        moves = sorted(((file.modified, digest) for digest, file in files.index.items()), reverse=True)
        records.append(
            {
                "tag": tag,
                "digest": str(files.target) if files.target else None,
                "kind": this.manifest.kind if this and this.manifest else None,
                "platforms": list(platforms_of(files.target, read)) if files.target else [],
                "created": this.config.created if this and this.config else None,
                "size": size_of(files.target, read) if files.target and this and this.manifest else None,
                "moved": files.current.modified if files.current else None,
                "history": [{"digest": str(digest), "since": since} for since, digest in moves],
                "problem": files.problem or (this.problem if this else ""),
            }
        )
    if out.as_json:
        out.table([], records)
    elif history:
        _show_history(out, records)
    else:
        _show_tags(out, records, human)


def _show_tags(out: Output, records: Sequence[Mapping[str, Any]], human: bool) -> None:
    columns = [Column("tag"), Column("digest"), Column("kind"), Column("platforms")]
    columns += [Column("size", "size" if human else "bytes"), Column("moved", "time")]
    columns += [Column("revisions", "number")]
    if any(record["problem"] for record in records):
        columns.append(Column("problem"))
    shown = (
        {
            **record,
            "digest": short(record["digest"], out),
            "platforms": ",".join(record["platforms"]) or "-",
            "revisions": len(record["history"]),
            "problem": record["problem"] or "-",
        }
        for record in records
    )
    out.table(columns, shown)


def _show_history(out: Output, records: Iterable[Mapping[str, Any]]) -> None:
    moves = [
        {
            "tag": record["tag"],
            "digest": short(move["digest"], out),
            "since": move["since"],
            "now": "now" if move["digest"] == record["digest"] else "",
        }
        for record in records
        for move in record["history"]
    ]
    out.table([Column("tag"), Column("since", "time"), Column("digest"), Column("now")], moves)


_SORTS = ("stored", "unique", "shared", "logical", "freed", "name")
_ADDED = ("tags", "manifests", "logical_bytes", "unique_bytes", "freed_bytes")
"""What may be added up over several rows; what is shared would count twice."""


@click.command()
@url_argument
@click.option("--by", type=click.Choice(["repository", "tag"]), default="repository", show_default=True)
@click.option("--sort", type=click.Choice(_SORTS), default="stored", show_default=True)
@click.option("--top", type=click.IntRange(1), metavar="N", help="The first N rows; the others as one.")
@sizes_option
@shared
def usage(place: Place, out: Output, url: str, *, by: str, sort: str, top: int | None, human: bool) -> None:
    """Tell which repository, or which tag, uses how much.

    \b
    logical  what it would take if nothing were shared
    stored   the blobs that it needs, each once
    unique   of those, what nobody else needs
    shared   the rest
    freed    by how much the listing would shrink if it were deleted and
             garbage were then collected

    The total of "stored" counts what is shared once. The line below adds up to all that is stored.

    JSON: an object with totals and an array, repositories or tags, of which --top leaves the first.
    """  # noqa: D301 - \b is click's
    with catalog(place, url, configs=False) as found:
        used = found.usage()
    rows: list[dict[str, Any]] = [
        plain(one) for one in (used.repositories if by == "repository" else used.tags)
    ]
    if by == "tag":
        for row in rows:
            row["name"] = f"{row['repository']}:{row['tag']}"
    key = "repository" if by == "repository" else "name"
    if sort == "name":
        rows.sort(key=lambda row: str(row[key]))
    else:
        rows.sort(key=lambda row: (-row[f"{sort}_bytes"], row[key]))
    if out.as_json:
        shown = [{name: value for name, value in row.items() if name != "name"} for row in rows[:top]]
        out.record({"totals": plain(used.totals), "repositories" if by == "repository" else "tags": shown})
        return
    _show_usage(out, rows, used, key, top, human)
    _told_of(out, found.changes)


def _show_usage(
    out: Output, rows: list[dict[str, Any]], used: Usage, key: str, top: int | None, human: bool
) -> None:
    totals = used.totals
    blobs = totals.unique_bytes + totals.shared_bytes
    shown = rows[:top]
    if others := rows[len(shown) :]:
        sums = {name: sum(row[name] for row in others) for name in _ADDED if name in others[0]}
        shown.append({key: f"({len(others):,} others)", **sums, "freed_bytes": None})
    for row in shown:
        row["share"] = bar(row["stored_bytes"], blobs) if "stored_bytes" in row else "-"
    total = {name: sum(row[name] for row in rows) for name in _ADDED[:3] if rows and name in rows[0]}
    of_blobs = {
        "stored_bytes": blobs,
        "unique_bytes": totals.unique_bytes,
        "shared_bytes": totals.shared_bytes,
    }
    if key == "name":  # by tags, "unique" is another division, that does not add up to anything
        of_blobs = {"stored_bytes": blobs}
    shown.append({**total, **of_blobs, key: "total"})
    kind = "size" if human else "bytes"
    columns = [Column("repository" if key == "repository" else "tag")]
    columns += [Column(name, "number") for name in ("tags", "manifests") if key == "repository"]
    names = ("logical", "stored", "unique", "shared", "freed")
    for row in shown:
        row.update({name: row.get(f"{name}_bytes") for name in names})
        row["repository" if key == "repository" else "tag"] = row[key]
    columns += [Column(name, kind) for name in names]  # type: ignore[arg-type]  # one of the two
    if out.for_reading:
        columns.append(Column("share"))
    out.table(columns, shown)
    if out.for_reading:
        out.lines(["", _sum(totals, human)])


def _sum(totals: Totals, human: bool) -> str:
    """Write out what all bytes are made of."""
    parts = [
        (totals.unique_bytes, "unique"),
        (totals.shared_bytes, "shared"),
        (totals.orphaned_bytes, "orphaned"),
        (totals.link_bytes, "links"),
        (totals.upload_bytes, "uploads"),
        (totals.unknown_bytes, "unknown files"),
    ]

    def amount(number: int) -> str:
        return size(number) if human else f"{number} B"

    text = " + ".join(f"{amount(number)} {name}" for number, name in parts if number)
    line = f"{text or '0 B'} = {amount(totals.bytes)} in all"
    if totals.pending_bytes is None:
        line += "; what unfinished uploads hold beside it is not known: S3 refuses to list them"
    elif totals.pending_bytes:
        line += f"; beside it {amount(totals.pending_bytes)} of unfinished uploads that no listing shows"
    return line
