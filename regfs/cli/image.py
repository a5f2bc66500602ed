"""The verbs about one image: ``show``, ``files``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import click

from regfs.cli.errors import Failure, Refusal
from regfs.cli.options import shared
from regfs.cli.output import Column, Output, counted
from regfs.cli.place import Place
from regfs.cli.scanning import RepositoryName, open_source, plain, section, short, sizes_option, stages
from regfs.layout import BlobData

if TYPE_CHECKING:
    from regfs.catalog.inspection import Inspection
    from regfs.catalog.layers import Entry
    from regfs.catalog.lookup import Lookup
    from regfs.catalog.manifest import Reference
    from regfs.catalog.scan import Progress
    from regfs.catalog.source import Source
    from regfs.layout import Digest

_name_argument = click.argument("name", metavar="REPO[:TAG|@DIGEST]", type=RepositoryName(tags=True))


@click.command()
@_name_argument
@click.option(
    "--sharing",
    is_flag=True,
    help="Tell which other repositories have each layer; lists the links of all repositories.",
)
@sizes_option
@shared
def show(place: Place, out: Output, name: tuple[str, str], *, sharing: bool, human: bool) -> None:
    """Show all there is to tell of an image, an index of images, or an artifact.

    A digest may be cut short: REPO@3f2a. Without tag and digest the tag is latest. Of the environment only
    the names are shown, and no build arguments: the values may be secrets. Only this repository is read;
    all its manifests are, to find the artifacts that are about the image: signatures, attestations, bills
    of materials.

    JSON: an object.
    """
    from regfs.catalog.inspection import inspect
    from regfs.catalog.lookup import Lookup
    from regfs.catalog.names import Name

    url, text = name
    asked = Name.parse(text)
    with stages() as progress:
        lookup = Lookup(open_source(place, url), progress)
        digest = lookup.resolve(asked)
        found = inspect(lookup, asked.repository, digest, sharing=sharing)
    record = _record(asked.repository, asked.tag, found)
    if out.as_json:
        out.record(record)
    else:
        _print(out, record, "size" if human else "bytes")


def _record(repository: str, tag: str, found: Inspection) -> dict[str, Any]:
    manifest = found.read.manifest
    config = plain(found.config)
    config["history"] = [{"created_by": step, "layer": made} for step, made in found.config.history]
    return {
        "repository": repository,
        "tag": tag or None,
        "digest": str(found.digest),
        "media_type": manifest.media_type if manifest else None,
        "kind": manifest.kind if manifest else None,
        "artifact_type": (manifest.artifact_type if manifest else "") or None,
        "platforms": list(found.platforms),
        "created": found.created,
        "size": found.size,
        "manifest_size": found.read.size,
        "subject": str(manifest.subject) if manifest and manifest.subject else None,
        "config": config,
        "layers": plain(found.layers),
        "children": plain(found.children),
        "annotations": dict(manifest.annotations) if manifest else {},
        "referrers": [
            {
                "digest": str(one.digest),
                "how": one.how,
                "tag": one.tag or None,
                "kind": one.read.manifest.kind if one.read.manifest else None,
                "artifact_type": one.read.manifest.artifact_type if one.read.manifest else None,
                "problem": one.read.problem,
            }
            for one in found.referrers
        ],
    }


def _print(out: Output, record: dict[str, Any], kind: Any) -> None:
    config = record["config"]
    told = {
        "name": f"{record['repository']}:{record['tag']}" if record["tag"] else record["repository"],
        "digest": record["digest"],
        "media_type": record["media_type"],
        "kind": record["kind"],
        "artifact_type": record["artifact_type"],
        "platforms": ", ".join(record["platforms"]),
        "created": record["created"],
        "size": record["size"],
        "subject": record["subject"],
        "config": config["digest"],
        "config_problem": config["problem"],
        **{key: config[key] for key in ("author", "user", "workdir")},
        "entrypoint": _command(config["entrypoint"]),
        "cmd": _command(config["cmd"]),
        **{key: ", ".join(config[key]) for key in ("environment", "ports", "volumes")},
    }
    columns = [Column("created", "time"), Column("size", kind)]
    out.record({key: value for key, value in told.items() if value not in (None, "")}, columns)
    _print_layers(out, record["layers"], kind)
    children = [{**one, "digest": short(one["digest"], out)} for one in record["children"]]
    columns = [Column("platform"), Column("kind"), Column("size", kind), Column("digest")]
    columns += [Column("problem")] if any(one["problem"] for one in children) else []
    section(out, f"Children ({len(children)})", columns, children, "child")
    referrers = [{**one, "digest": short(one["digest"], out)} for one in record["referrers"]]
    columns = [Column("artifact_type"), Column("how"), Column("tag"), Column("digest")]
    section(out, f"Referrers ({len(referrers)})", columns, referrers, "referrer")
    for title, pairs in (("Annotations", record["annotations"]), ("Labels", config["labels"])):
        rows = [{"name": name, "value": value} for name, value in sorted(pairs.items())]
        section(out, title, [Column("name"), Column("value")], rows, title.lower()[:-1])
    steps = [
        {"step": number, "layer": "yes" if step["layer"] else "", "made_by": step["created_by"]}
        for number, step in enumerate(config["history"], 1)
    ]
    section(out, "History", [Column("step", "number"), Column("layer"), Column("made_by")], steps, "step")


def _print_layers(out: Output, layers: list[dict[str, Any]], kind: Any) -> None:
    rows = []
    for one in layers:
        others = one["repositories"]
        rows.append(
            {
                **one,
                "digest": short(one["digest"], out),
                "what": one["title"] or one["created_by"] or one["media_type"],
                "shared_with": None if others is None else _some(others, out),
            }
        )
    columns = [Column("number", "number"), Column("size", kind), Column("digest")]
    if any(row["shared_with"] is not None for row in rows):
        columns.append(Column("shared_with"))
    section(out, f"Layers ({len(rows)})", [*columns, Column("what")], rows, "layer")


def _some(names: list[str], out: Output) -> str:
    """Name the first few."""
    if len(names) <= 3 or not out.for_reading:
        return ", ".join(names) or "-"
    return f"{', '.join(names[:3])} and {len(names) - 3:,} more"


def _command(words: list[str]) -> str:
    from shlex import join

    return join(words)


@click.command()
@_name_argument
@click.option("--platform", metavar="OS/ARCH", help="Of an index: which image, as linux/arm64.")
@click.option("--layer", "only", type=click.IntRange(1), metavar="N", help="This layer alone, as it is.")
@click.option("--all", "every", is_flag=True, help="What layers above override or remove, as well.")
@click.option("-l", "long", is_flag=True, help="With mode, owner, size, time (UTC) and layer.")
@sizes_option
@shared
def files(
    place: Place,
    out: Output,
    name: tuple[str, str],
    *,
    platform: str | None,
    only: int | None,
    every: bool,
    long: bool,
    human: bool,
) -> None:
    """List the files in an image, as a container sees them: its layers, laid over each other.

    With --all, each layer's own entries; "state" tells of those that are not in the image: "overridden" by
    a layer above, or a "whiteout" that removes what is below. Layers stream by and are held nowhere; each
    is checked against its digest.

    JSON: an array of objects with path, kind, size, mode, owner, modified, target, layer and state.
    """
    from regfs.catalog.layers import LayerError
    from regfs.catalog.lookup import Lookup
    from regfs.catalog.names import Name

    url, text = name
    asked = Name.parse(text)
    source = open_source(place, url)
    lookup = Lookup(source)
    layers = _layers(lookup, asked.repository, lookup.resolve(asked), platform)
    chosen = [(number, one) for number, one in enumerate(layers, 1) if only in (None, number)]
    if not chosen and only:
        raise Refusal(f"--layer {only}: the image has {counted(len(layers), 'layer')}")
    there = []
    for number, one in chosen:
        if one.foreign and not source.find(BlobData(one.digest).path):
            out.note(f"layer {number} is not distributed with the image, so it is left out: {one.digest}")
            continue
        if one.media_type.endswith("+encrypted"):
            raise Failure(f"{one.digest}: layer {number} is encrypted")
        there.append((number, one.digest))
    try:
        entries = _read(source, there, raw=only is not None, every=every)
        _list(out, entries, long=long, human=human, states=every or only is not None)
    except LayerError as exc:
        raise Failure(str(exc)) from exc


def _read(source: Source, layers: list[tuple[int, Digest]], *, raw: bool, every: bool) -> Iterable[Entry]:
    """Read a layer as it is, or lay all over each other."""
    from regfs.catalog.layers import merged, read_layer

    streams = [read_layer(source, digest, number) for number, digest in layers]
    if raw:
        return (entry for stream in streams for entry in stream)
    with stages() as progress:
        return merged([_counted(stream, progress) for stream in streams], every=every)


def _counted(stream: Iterator[Entry], progress: Progress) -> Iterator[Entry]:
    for number, entry in enumerate(stream):
        if number % 500 == 0:
            progress(f"layer {entry.layer}", number, None)
        yield entry


def _layers(lookup: Lookup, repository: str, digest: Digest, platform: str | None) -> list[Reference]:
    """Find the layers of an image; of an index', the image for a platform."""
    from regfs.catalog.inspection import platforms_of

    read = lookup.closure([digest])
    where = f"{repository}@{digest}"
    images = {
        one: platforms_of(one, read)
        for one, this in read.items()
        if this.manifest
        and this.manifest.kind != "index"
        and (one == digest or this.manifest.kind != "artifact")
    }
    told = {
        child.digest: child.platform
        for this in read.values()
        if this.manifest
        for child in this.manifest.references
        if child.relation == "manifest" and child.platform
    }
    known = {one: told.get(one) or ", ".join(found) for one, found in images.items()}
    there = ", ".join(sorted(set(filter(None, known.values()))))
    if platform:
        fitting = [one for one, it in known.items() if it == platform]
        if not fitting:
            raise Refusal(f"{where}: has no image for {platform}; there is {there or 'none that tells'}")
    else:
        fitting = list(known)
        if len(fitting) > 1:
            raise Refusal(f"{where}: has images for several platforms; choose with --platform: {there}")
    if not fitting:
        problems = "; ".join(this.problem for this in read.values() if this.problem)
        raise Failure(f"{where}: has no image that can be read: {problems or 'it is an empty index'}")
    manifest = read[fitting[0]].manifest
    found = [one for one in manifest.references if one.relation == "layer"] if manifest else []
    # Schema 1 tells the uppermost first.
    return found[::-1] if manifest and manifest.kind == "schema1" else found


def _list(out: Output, entries: Iterable[Entry], *, long: bool, human: bool, states: bool) -> None:
    if not (long or out.as_json or states):
        out.lines(entry.path + "/" * (entry.kind == "directory" and entry.path != "/") for entry in entries)
        return
    columns = [Column("mode"), Column("owner"), Column("size", "size" if human else "bytes")]
    columns += [Column("modified", "time"), Column("layer", "number")]
    columns += [Column("state")] if states else []
    if out.as_json:
        out.table([], (plain(entry) for entry in entries))
        return
    shown = (
        {**plain(entry), "path": f"{entry.path} -> {entry.target}" if entry.target else entry.path}
        for entry in entries
    )
    out.table([*columns, Column("path")], shown)
