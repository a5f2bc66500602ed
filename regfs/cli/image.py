"""The verb about one image: ``show``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from regfs.cli.errors import Failure, Refusal
from regfs.cli.options import shared, sizes_option
from regfs.cli.output import Column, Output
from regfs.cli.place import Place
from regfs.cli.scanning import RepositoryName, abbreviated, open_lookup, plain, section, short, stages

if TYPE_CHECKING:
    from regfs.catalog.inspection import Inspection
    from regfs.catalog.lookup import Lookup
    from regfs.layout import Digest

_name_argument = click.argument("name", metavar="REPO[:TAG|@DIGEST]", type=RepositoryName(tags=True))


@click.command()
@_name_argument
@click.option(
    "--sharing",
    is_flag=True,
    help="Tell which other repositories have each layer; lists the links of all repositories.",
)
@click.option("--raw", is_flag=True, help="The manifest as it was pushed, byte for byte, and nothing else.")
@click.option(
    "--raw-config",
    is_flag=True,
    help="The image's configuration as it was pushed; its environment may hold secrets.",
)
@sizes_option
@shared
def show(
    place: Place,
    out: Output,
    name: tuple[str, str],
    *,
    sharing: bool,
    raw: bool,
    raw_config: bool,
    human: bool,
) -> None:
    """Show an image, an index of images, or an artifact.

    A digest may be cut short: REPO@3f2a. Without tag and digest the tag is latest. Of the environment only
    the names are shown, and no build arguments: the values may be secrets. Only this repository is read;
    all its manifests are, to find the artifacts that are about the image: signatures, attestations, bills
    of materials.

    "problem" is what a pull of it misses: a layer whose blob is gone is marked, too; of an index, the
    platforms that it lacks.

    JSON: an object.
    """
    from regfs.catalog.inspection import inspect
    from regfs.catalog.names import Name

    url, text = name
    image_name = Name.parse(text)
    if raw or raw_config:
        if raw and raw_config:
            raise Refusal("--raw and --raw-config: give one of them")
        if out.as_json:
            raise Refusal("--json: the document is the output")
        lookup = open_lookup(place, url)
        _write_document(lookup, lookup.resolve(image_name), config=raw_config)
        return
    with stages() as progress:
        lookup = open_lookup(place, url, progress)
        digest = lookup.resolve(image_name)
        details = inspect(lookup, image_name.repository, digest, sharing=sharing)
    record = _record(image_name.repository, image_name.tag, details)
    if out.as_json:
        out.record(record)
    else:
        _print(out, record, "size" if human else "bytes")


def _write_document(lookup: Lookup, digest: Digest, *, config: bool) -> None:
    from regfs.catalog.manifest import ManifestError

    try:
        content = lookup.config_document(digest) if config else lookup.document(digest)
    except ManifestError as exc:
        raise Failure(str(exc)) from exc
    sys.stdout.buffer.write(content)
    sys.stdout.buffer.flush()


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
        "problem": found.problem,
        "manifest_size": found.read.size,
        "subject": str(manifest.subject) if manifest and manifest.subject else None,
        "config": config,
        "layers": plain(found.layers),
        "children": plain(found.children),
        "annotations": dict(manifest.annotations) if manifest else {},
        "referrers": [
            {
                "digest": str(referrer.digest),
                "how": referrer.how,
                "tag": referrer.tag or None,
                "kind": referrer.read.manifest.kind if referrer.read.manifest else None,
                "artifact_type": referrer.read.manifest.artifact_type if referrer.read.manifest else None,
                "problem": referrer.read.problem,
            }
            for referrer in found.referrers
        ],
    }


def _print(out: Output, record: dict[str, Any], kind: Any) -> None:
    config = record["config"]
    properties = {
        "name": f"{record['repository']}:{record['tag']}" if record["tag"] else record["repository"],
        "digest": record["digest"],
        "media_type": record["media_type"],
        "kind": record["kind"],
        "artifact_type": record["artifact_type"],
        "platforms": ", ".join(record["platforms"]),
        "created": record["created"],
        "size": record["size"],
        "problem": abbreviated(record["problem"], out),
        "subject": record["subject"],
        "config": config["digest"],
        "config_problem": config["problem"],
        **{key: config[key] for key in ("author", "user", "workdir")},
        "entrypoint": _command(config["entrypoint"]),
        "cmd": _command(config["cmd"]),
        **{key: ", ".join(config[key]) for key in ("environment", "ports", "volumes")},
    }
    columns = [Column("created", "time"), Column("size", kind)]
    out.record({key: value for key, value in properties.items() if value not in (None, "")}, columns)
    _print_layers(out, record["layers"], kind)
    children = [
        {**child, "digest": short(child["digest"], out), "problem": abbreviated(child["problem"], out)}
        for child in record["children"]
    ]
    columns = [Column("platform"), Column("kind", drop=1), Column("size", kind), Column("digest")]
    columns += [Column("problem", "prose")] if any(child["problem"] for child in children) else []
    section(out, f"Children ({len(children)})", columns, children, "child")
    referrers = [{**referrer, "digest": short(referrer["digest"], out)} for referrer in record["referrers"]]
    columns = [Column("artifact_type"), Column("how", drop=1), Column("tag"), Column("digest")]
    section(out, f"Referrers ({len(referrers)})", columns, referrers, "referrer")
    for title, pairs in (("Annotations", record["annotations"]), ("Labels", config["labels"])):
        rows = [{"name": name, "value": value} for name, value in sorted(pairs.items())]
        section(out, title, [Column("name"), Column("value", "prose")], rows, title.lower()[:-1])
    steps = [
        {"step": number, "layer": "yes" if step["layer"] else "", "made_by": step["created_by"]}
        for number, step in enumerate(config["history"], 1)
    ]
    section(out, "History", [Column("step", "number"), Column("layer"), Column("made_by")], steps, "step")


def _print_layers(out: Output, layers: list[dict[str, Any]], kind: Any) -> None:
    rows = []
    damaged = any(layer["problem"] for layer in layers)
    for layer in layers:
        others = layer["repositories"]
        rows.append(
            {
                **layer,
                "digest": short(layer["digest"], out),
                "problem": layer["problem"] or ("-" if damaged else ""),
                "what": layer["title"] or layer["created_by"] or layer["media_type"],
                "shared_with": None if others is None else _some(others, out),
            }
        )
    columns = [Column("number", "number"), Column("size", kind), Column("digest")]
    if any(row["shared_with"] is not None for row in rows):
        columns.append(Column("shared_with"))
    if any(row["problem"] for row in rows):
        columns.append(Column("problem", "prose"))
    section(out, f"Layers ({len(rows)})", [*columns, Column("what")], rows, "layer")


def _some(names: list[str], out: Output) -> str:
    """Return the first few names."""
    if len(names) <= 3 or not out.for_reading:
        return ", ".join(names) or "-"
    return f"{', '.join(names[:3])} and {len(names) - 3:,} more"


def _command(words: list[str]) -> str:
    from shlex import join

    return join(words)
