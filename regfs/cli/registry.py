"""The verbs about all of a registry, or a repository of it: ``repos``, ``tags``, ``usage``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import click

from regfs.cli.errors import Refusal
from regfs.cli.options import Duration, shared, sizes_option
from regfs.cli.output import Column, Output, counted
from regfs.cli.place import Place
from regfs.cli.scanning import (
    RegistryOrRepository,
    abbreviated,
    bar,
    catalog,
    open_lookup,
    open_source,
    plain,
    short,
    stages,
    url_argument,
)
from regfs.units import format_size

if TYPE_CHECKING:
    from regfs.catalog.damage import Damage
    from regfs.catalog.snapshot import File, ReadManifest, TagFiles
    from regfs.catalog.usage import Totals, Usage
    from regfs.layout import Digest


_COUNTS = ("tags", "manifests", "layers", "uploads")
_ORDERS = ("name", "modified", "stored", *_COUNTS)
_NEVER = datetime.min.replace(tzinfo=timezone.utc)


@click.command()
@url_argument
@click.option("--sort", type=click.Choice(_ORDERS), default="name", show_default=True)
@click.option(
    "--since", type=Duration(), help="Only those in which something was written since, as 12h or 7d."
)
@sizes_option
@shared
def repos(place: Place, out: Output, url: str, *, sort: str, since: timedelta | None, human: bool) -> None:
    """List the repositories, with what each has.

    "layers" are its links to layers and configurations; "stored" is the blobs that it needs, each once;
    "modified" is when one of its files was last written, UTC. All but names are sorted from the largest, or
    the latest, on. Reads the whole listing and all manifests, but no configuration.

    JSON: an object with repositories, an array of objects with repository, tags, manifests, layers, uploads,
    files, stored_bytes, link_bytes, upload_bytes, pending_bytes (of uploads' parts; null where S3 refuses to
    list them) and modified.
    """
    with catalog(place, url, configs=False) as found:
        repositories = found.repositories
    if since is not None:
        begin = found.snapshot.started - since
        repositories = [
            repository for repository in repositories if repository.modified and repository.modified >= begin
        ]
    records: list[dict[str, Any]] = [plain(repository) for repository in repositories]
    if sort == "modified":
        records.sort(key=lambda record: record["modified"] or _NEVER, reverse=True)
    elif sort != "name":
        records.sort(key=lambda record: -record["stored_bytes" if sort == "stored" else sort])
    shown = ({**record, "stored": record["stored_bytes"]} for record in records)
    drops = {"layers": 4, "uploads": 3, "manifests": 2}
    columns = [Column(name, "number", drops.get(name, 0)) for name in _COUNTS]
    columns += [Column("stored", "size" if human else "bytes"), Column("modified", "time", drop=1)]
    columns += [Column("repository")]
    out.table(columns, records if out.as_json else shown, "repositories")
    if since is not None:
        every = len(found.snapshot.repositories)
        out.note(f"{len(records):,} of {every:,} {'repository' if every == 1 else 'repositories'}")
    _told_of(out, found.changes)


def _told_of(out: Output, changes: Sequence[Any]) -> None:
    if changes:
        out.note(f"{counted(len(changes), 'file')} came or went meanwhile; the counts follow them")


@click.command()
@click.argument("repository", default="/", metavar="[REPO | regfs://BUCKET]", type=RegistryOrRepository())
@click.option("--history", is_flag=True, help="What each tag has named, and since when.")
@click.option("--untagged", is_flag=True, help="The manifests that no tag names, instead.")
@sizes_option
@shared
def tags(
    place: Place, out: Output, repository: tuple[str, str], *, history: bool, untagged: bool, human: bool
) -> None:
    """List the tags of a repository, or of all, with what each names.

    "size" is of all that the tag leads to, each content once, as the manifests state; "moved" is when it got
    what it names now, UTC; "revisions" counts what it has named. "problem" is what a pull of it misses, such
    as a layer whose blob is gone. Of one repository nothing else is read.

    With --untagged, the manifests that no tag names, each with its role: "child" of an index, "referrer",
    which is about another manifest (a signature, an attestation), or "untagged", which is neither; "of" is
    that index, or what it is about; "pushed" is when it came, UTC.

    JSON: an object with tags, an array of objects with repository, tag, digest, kind, platforms, created,
    size, moved, history and problem; with --untagged with manifests, an array of objects with repository,
    digest, role, of, tags, kind, artifact_type, size, pushed and problem.
    """
    if history and untagged:
        raise Refusal("--history: is of tags; leave it out, or --untagged")
    url, name = repository
    records = (_of_one if name else _of_all)(place, url, name, untagged)
    if out.as_json:
        out.table([], records, name="manifests" if untagged else "tags")
    elif untagged:
        _show_untagged(out, records, human, every=not name)
    elif history:
        _show_history(out, records, every=not name)
    else:
        _show_tags(out, records, human, every=not name)


def _of_one(place: Place, url: str, name: str, untagged: bool) -> list[dict[str, Any]]:
    """Read one repository."""
    with stages() as progress:
        lookup = open_lookup(place, url, progress)
        tags = lookup.tags(name)
        if untagged:
            links = lookup.revisions(name)
            return _untagged(name, links, tags, lookup.present(lookup.closure(links)))
        read = lookup.closure(files.target for files in tags.values() if files.target)
        return _tags(name, tags, read, lookup.damage(name, read))


def _of_all(place: Place, url: str, _: str, untagged: bool) -> list[dict[str, Any]]:
    """Read all repositories."""
    from regfs.catalog.damage import damage

    records: list[dict[str, Any]] = []
    with catalog(place, url, configs=not untagged) as found:
        manifests = found.snapshot.manifests
        for name, repository in sorted(found.snapshot.repositories.items()):
            if untagged:
                records += _untagged(name, repository.revisions, repository.tags, manifests)
            else:
                records += _tags(
                    name, dict(sorted(repository.tags.items())), manifests, damage(found.snapshot, repository)
                )
    return records


def _untagged(
    name: str,
    links: Mapping[Digest, File],
    tags: Mapping[str, TagFiles],
    manifests: Mapping[Digest, ReadManifest],
) -> list[dict[str, Any]]:
    from regfs.catalog.roles import revisions

    return [plain(revision) for revision in revisions(name, links, tags, manifests) if not revision.tags]


def _tags(
    name: str, tags: Mapping[str, TagFiles], read: Mapping[Digest, ReadManifest], lacking: Damage
) -> list[dict[str, Any]]:
    from regfs.catalog.images import platforms_of
    from regfs.catalog.reach import size_of

    records: list[dict[str, Any]] = []
    for tag, files in tags.items():
        this = read.get(files.target) if files.target else None
        moves = sorted(((file.modified, digest) for digest, file in files.index.items()), reverse=True)
        records.append(
            {
                "repository": name,
                "tag": tag,
                "digest": str(files.target) if files.target else None,
                "kind": this.manifest.kind if this and this.manifest else None,
                "platforms": list(platforms_of(files.target, read)) if files.target else [],
                "created": this.config.created if this and this.config else None,
                "size": size_of(files.target, read) if files.target and this and this.manifest else None,
                "moved": files.current.modified if files.current else None,
                "history": [{"digest": str(digest), "since": since} for since, digest in moves],
                "problem": files.problem or (lacking.problem(files.target, read) if files.target else ""),
            }
        )
    return records


def _show_tags(out: Output, records: Sequence[Mapping[str, Any]], human: bool, *, every: bool) -> None:
    columns = [Column("repository")] if every else []
    columns += [Column("tag"), Column("digest", drop=3), Column("kind", drop=4), Column("platforms", drop=1)]
    columns += [Column("size", "size" if human else "bytes"), Column("moved", "time", drop=2)]
    columns += [Column("revisions", "number", drop=5)]
    if any(record["problem"] for record in records):
        columns.append(Column("problem", "prose"))
    shown = (
        {
            **record,
            "tag": abbreviated(record["tag"], out),
            "digest": short(record["digest"], out),
            "platforms": ",".join(record["platforms"]) or "-",
            "revisions": len(record["history"]),
            "problem": abbreviated(record["problem"], out) or "-",
        }
        for record in records
    )
    out.table(columns, shown, name="tags")


def _show_untagged(out: Output, records: Sequence[Mapping[str, Any]], human: bool, *, every: bool) -> None:
    columns = [Column("repository")] if every else []
    columns += [Column("digest"), Column("role"), Column("of", drop=1), Column("kind", drop=3)]
    columns += [Column("size", "size" if human else "bytes"), Column("pushed", "time", drop=2)]
    if any(record["problem"] for record in records):
        columns.append(Column("problem", "prose"))
    shown = (
        {
            **record,
            "digest": short(record["digest"], out),
            "of": short(record["of"], out),
            "kind": record["kind"] or "-",
            "problem": record["problem"] or "-",
        }
        for record in records
    )
    out.table(columns, shown, name="manifests")
    counts = Counter(record["role"] for record in records)
    out.note(", ".join(f"{count:,} {role}" for role, count in sorted(counts.items())) or "none")


def _show_history(out: Output, records: Iterable[Mapping[str, Any]], *, every: bool) -> None:
    moves = [
        {
            "repository": record["repository"],
            "tag": record["tag"],
            "digest": short(move["digest"], out),
            "since": move["since"],
            "now": "now" if move["digest"] == record["digest"] else "",
        }
        for record in records
        for move in record["history"]
    ]
    columns = [Column("repository")] if every else []
    columns += [Column("tag"), Column("since", "time"), Column("digest", drop=1), Column("now")]
    out.table(columns, moves, name="tags")


_SORTS = ("stored", "unique", "shared", "logical", "freed", "name")
_ADDED = ("tags", "manifests", "logical_bytes", "unique_bytes", "freed_bytes", "pending_bytes")
"""What may be added up over several rows; what is shared would count twice."""


@click.command()
@click.argument("registry", default="/", metavar="[regfs://BUCKET | REPO]", type=RegistryOrRepository())
@click.option("--by", type=click.Choice(["repository", "tag"]), default="repository", show_default=True)
@click.option("--sort", type=click.Choice(_SORTS), default="stored", show_default=True)
@click.option("--top", type=click.IntRange(1), metavar="N", help="The first N rows; the others as one.")
@sizes_option
@shared
def usage(
    place: Place,
    out: Output,
    registry: tuple[str, str],
    *,
    by: str,
    sort: str,
    top: int | None,
    human: bool,
) -> None:
    """Show how much each repository or tag uses; of REPO, what it consists of.

    \b
    logical  what it would take if nothing were shared
    stored   the blobs that it needs, each once
    unique   of those, what no other repository needs
    shared   the rest
    freed    how much storage deleting it and collecting garbage would
             free
    pending  parts of its unfinished uploads, which no listing shows (a
             column where there are any)

    The total of "stored" counts what is shared once. The line below adds up to all that is stored.

    Of one repository: its tags, each with what it frees alone; its manifests that no tag names: "untagged"
    ones, children of indexes, and referrers, which are about other manifests; its layers and other blobs, by
    size, with the tags and the other repositories that need each; and what all this adds up to.

    JSON: an object with database_in_use (whether this is not all, as the metadata is in a database), totals
    and an array, repositories or tags, of which --top leaves the first. Of one repository: its sums, and the
    arrays tag_usage, untagged and blobs.
    """  # noqa: D301 - \b is click's
    url, name = registry
    if name:
        if by != "repository":
            raise Refusal(f"--by {by}: is for the whole registry; leave it out, {name} is shown by its tags")
        _show_breakdown(place, out, url, name, sort, top, human)
        return
    with catalog(place, url, configs=False) as found:
        used = found.usage()
    rows: list[dict[str, Any]] = [
        plain(repository) for repository in (used.repositories if by == "repository" else used.tags)
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
        key = "repositories" if by == "repository" else "tags"
        out.record({"database_in_use": found.database_in_use, "totals": plain(used.totals), key: shown})
        return
    _show_usage(out, rows, used, key, top, human)
    _told_of(out, found.changes)


def _show_breakdown(
    place: Place, out: Output, url: str, name: str, sort: str, top: int | None, human: bool
) -> None:
    from regfs.catalog.lookup import Lookup
    from regfs.cli import breakdown

    Lookup(open_source(place, url)).check_repository(name)  # before all is listed
    with catalog(place, url, configs=False) as scanned:
        usage = scanned.usage_of(name)
    if out.as_json:
        out.record(breakdown.record(usage, sort, top))
    else:
        breakdown.show(out, usage, sort, top, human)
    _told_of(out, scanned.changes)


def _show_usage(
    out: Output, rows: list[dict[str, Any]], used: Usage, key: str, top: int | None, human: bool
) -> None:
    totals = used.totals
    blobs = totals.unique_bytes + totals.shared_bytes
    shown = rows[:top]
    if others := rows[len(shown) :]:
        sums = {name: sum(row[name] or 0 for row in others) for name in _ADDED if name in others[0]}
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
    columns += [Column("tags", "number"), Column("manifests", "number", 4)] if key == "repository" else []
    names = ["logical", "stored", "unique", "shared", "freed"]
    if any(row.get("pending_bytes") for row in rows):
        shown[-1]["pending_bytes"] = totals.pending_bytes
        names.append("pending")
    for row in shown:
        row.update({name: row.get(f"{name}_bytes") for name in names})
        row["repository" if key == "repository" else "tag"] = row[key]
    drops = {"logical": 3, "shared": 2, "unique": 1}
    columns += [Column(name, kind, drops.get(name, 0)) for name in names]  # type: ignore[arg-type]  # of the two
    if out.for_reading:
        columns.append(Column("share", drop=5))
    out.table(columns, shown)
    if out.for_reading:
        click.echo()
    out.summary(_sum(totals, human))


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
        return format_size(number) if human else f"{number} B"

    text = " + ".join(f"{amount(number)} {name}" for number, name in parts if number)
    line = f"{text or '0 B'} = {amount(totals.bytes)} in all"
    if totals.pending_bytes is None:
        line += "; what unfinished uploads hold beside it is not known: S3 refuses to list them"
    elif totals.pending_bytes:
        line += f"; beside it {amount(totals.pending_bytes)} of unfinished uploads that no listing shows"
    return line
