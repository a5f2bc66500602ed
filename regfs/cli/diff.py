"""The verb ``diff``: what changed between two images, two exports, or an export and now."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import click

from regfs.cli.errors import Code, Failure, Refusal
from regfs.cli.options import shared, sizes_option
from regfs.cli.output import Column, Output, visible, when
from regfs.cli.place import Place, is_remote, split
from regfs.cli.scanning import (
    RepositoryName,
    catalog,
    labelled,
    open_lookup,
    plain,
    section,
    short,
    stages,
)
from regfs.units import format_size

if TYPE_CHECKING:
    from regfs.catalog.compare import ConfigChange, ImageDifference, Layer, LayerChanges
    from regfs.frames.changes import Changes, State

_NOW = "now"
"""The registry as it is, where an export is compared with it."""
_SHOWN = 10
"""Rows of a table on a terminal, without --all."""


class _Side(NamedTuple):
    """An argument: an image's name, an export's directory, or "now"."""

    kind: Literal["image", "export", "now"]
    text: str


def _side(text: str, *, second: bool) -> _Side:
    """Find out what an argument means.

    Raises
    ------
    Refusal
        It may be both an image and an export.
    """
    if second and text == _NOW:
        return _Side("now", text)
    tagged = "@" in text or ":" in text.rpartition("/")[2]
    if is_remote(text):
        if text.endswith("/"):
            return _Side("export", text)
        if tagged:
            return _Side("image", text)
        raise Refusal(
            f"{text}: may be an image or an export; write {text}:latest for the image, {text}/ for the export"
        )
    if re.match(r"[a-z][a-z0-9+.-]*(::|://)", text) or text.startswith(("/", "./", "../", "~")):
        return _Side("export", os.path.expanduser(text))
    if os.path.isdir(text):
        if tagged:
            raise Refusal(
                f"{text}: may be an image or the local directory; write ./{text} for the directory, "
                "REPO@DIGEST for the image"
            )
        if not text.endswith("/") and not any(name.endswith(".parquet") for name in os.listdir(text)):
            raise Refusal(
                f"{text}: is a local directory without an export in it; write {text}:latest for the image"
            )
        return _Side("export", text)
    return _Side("export" if text.endswith("/") else "image", text)


@click.command()
@click.argument("old", metavar="OLD", shell_complete=RepositoryName(tags=True).shell_complete)
@click.argument(
    "new", metavar="[NEW]", required=False, shell_complete=RepositoryName(tags=True).shell_complete
)
@click.option("--platform", metavar="OS/ARCH", help="Of indexes: which images, as linux/arm64.")
@click.option(
    "--files/--no-files", default=True, help="With files and packages (default), or no layer is read."
)
@click.option("--all", "every", is_flag=True, help="All rows on a terminal, not only the largest changes.")
@click.option("--exit-code", is_flag=True, help="Exit with 5 if they differ.")
@click.option("--allow-other-place", is_flag=True, help="Compare exports of different registries.")
@sizes_option
@shared
@click.pass_context
def diff(
    ctx: click.Context,
    place: Place,
    out: Output,
    old: str,
    new: str | None,
    *,
    platform: str | None,
    files: bool,
    every: bool,
    exit_code: bool,
    allow_other_place: bool,
    human: bool,
) -> None:
    """Show what changed between two images, between two exports, or between an export and now.

    \b
    regfs diff team/app:1.0 team/app:1.1     two images, REPO:TAG or REPO@DIGEST
    regfs diff exports/2026-02-27            an export and the registry as it is
    regfs diff exports/2026-02-27 exports/2026-02-28

    Of images: layers; the configuration, without the values of the environment, which may be secrets; files,
    by their content, mode, owner and link target, but not their time; packages, where there are databases of
    dpkg or apk, or of rpm in the form of sqlite. The layers that both begin with are read only as far as the
    others need it. Of indexes the images of --platform are compared, or of the only platform that both have.

    Of exports: repositories, tags, blobs and bytes. An export is a directory that "regfs export" wrote: a
    local one, a URL that fsspec knows, or regfs://BUCKET/DIRECTORY/ with a slash at its end. A name that may
    be both an image and an export is an error that says how to write it.

    The exit code is 0, also where they differ; with --exit-code it is 5 then. Images are the same if the
    digests of their manifests are.

    JSON: an object. Of images: different, old, new, platform, layers, config, files, packages, problems. Of
    exports: different, old, new, repositories, tags, added_blobs, added_bytes, removed_blobs, removed_bytes.
    """  # noqa: D301 - \b is click's
    first = _side(old, second=False)
    second = _side(new if new is not None else _NOW, second=first.kind == "export")
    kinds = first.kind, second.kind
    if "image" in kinds and kinds != ("image", "image"):
        image, other = (first, second) if first.kind == "image" else (second, first)
        raise Refusal(
            f"{image.text} is an image and {other.text} an export; name two images, or two exports "
            f"(a local directory as ./{image.text})"
        )
    if kinds == ("image", "image"):
        if new is None:
            raise Refusal(f"{old}: is an image; name the one that it is compared with, as {old} REPO:TAG")
        if allow_other_place:
            raise Refusal("--allow-other-place: is for exports")
        different = _diff_images(
            place, out, (first.text, second.text), platform=platform, files=files, every=every, human=human
        )
    else:
        if platform or not files:
            raise Refusal(f"--{'platform' if platform else 'no-files'}: is for images")
        different = _diff_exports(
            place, out, (first, second), every=every, human=human, allowed=allow_other_place
        )
    if different and exit_code:
        ctx.exit(Code.FINDINGS)


# -- images ----------------------------------------------------------------------------------------------


def _diff_images(
    place: Place,
    out: Output,
    texts: tuple[str, str],
    *,
    platform: str | None,
    files: bool,
    every: bool,
    human: bool,
) -> bool:
    from regfs.catalog.difference import ChoiceError, Named, compare_images
    from regfs.catalog.layers import LayerError
    from regfs.catalog.names import Name

    with stages() as progress:
        images = []
        for text in texts:
            url, name = RepositoryName(tags=True).convert(text, None, None)
            lookup = open_lookup(place, url, progress)
            images.append(Named(lookup, text, lookup.resolve(Name.parse(name))))
        try:
            difference = compare_images(images[0], images[1], platform, files=files, progress=progress)
        except ChoiceError as exc:
            raise Refusal(str(exc)) from exc
        except LayerError as exc:
            raise Failure(str(exc)) from exc
    if out.as_json:
        names = zip(("old", "new"), zip(texts, (difference.old, difference.new), strict=True), strict=True)
        record = {label: {"name": text, "digest": str(digest)} for label, (text, digest) in names}
        out.record({"different": difference.different, **plain(difference), **record})
    else:
        _show_images(out, texts, difference, every=every, human=human)
    return difference.different


def _show_images(
    out: Output, texts: tuple[str, str], found: ImageDifference, *, every: bool, human: bool
) -> None:
    kind: Any = "size" if human else "bytes"
    if out.for_reading:
        out.lines(labelled(_summary(texts, found), 15))
    layers = [
        {"change": change, "size": layer.size, "digest": short(layer.digest, out)}
        for change, side in (("removed", found.layers.removed), ("added", found.layers.added))
        for layer in side
    ]
    columns = [Column("change"), Column("size", kind), Column("digest")]
    listed(out, "Layers", columns, layers, "layer", every=every)
    config = [
        {
            "change": change.change,
            "field": f"{change.field} {change.name}".strip(),
            "from": _value(change, change.old, "added"),
            "to": _value(change, change.new, "removed"),
        }
        for change in found.config
    ]
    columns = [Column("change"), Column("field"), Column("from", "prose"), Column("to", "prose")]
    listed(out, "Configuration", columns, config, "config", every=every)
    packages = [
        {
            "change": change.change,
            "package": change.name,
            "manager": change.manager,
            "architecture": change.architecture or "-",
            "from": ", ".join(change.old_versions) or "-",
            "to": ", ".join(change.new_versions) or "-",
        }
        for change in found.packages or ()
    ]
    columns = [Column("change"), Column("package"), Column("from"), Column("to")]
    if not out.for_reading or len({(row["manager"], row["architecture"]) for row in packages}) > 1:
        columns += [Column("architecture", drop=2), Column("manager", drop=1)]
    listed(out, "Packages", columns, packages, "package", every=every)
    changes = found.files or []
    if out.for_reading and not every:
        changes = sorted(changes, key=lambda change: (-change.weight, change.path))
    rows = [
        {
            "change": change.change,
            "old": change.old_size,
            "new": change.new_size,
            "what": ", ".join(change.what) or "-",
            "path": change.path,
        }
        for change in changes
    ]
    columns = [
        Column("change"),
        Column("old", kind),
        Column("new", kind),
        Column("what", drop=1),
        Column("path"),
    ]
    listed(out, "Files", columns, rows, "file", every=every)
    for problem in found.problems:
        click.echo(f"regfs: {visible(problem)}", err=True)


def _value(change: ConfigChange, value: str | None, lacking: str) -> str | None:
    """Return a value as it is shown; that of the environment is masked."""
    return "…" if change.field == "environment" and change.change != lacking else value or None


def _summary(texts: tuple[str, str], found: ImageDifference) -> Iterator[tuple[str, str]]:
    digests = [":".join((digest.algorithm, digest.hex[:12])) for digest in (found.old, found.new)]
    for label, text, digest in zip(("Old", "New"), texts, digests, strict=True):
        yield label, text if "@" in text else f"{text}  {digest}"
    if found.platform:
        yield "Platform", found.platform
    if not found.different:
        yield "Same", "the manifests have one digest"
        return
    layers = found.layers
    base = f"{len(layers.base):,} in common ({_bytes(layers.base)})"
    parts = [f"{len(side):,} {word} ({_bytes(side)})" for word, side in _layer_sides(layers) if side]
    yield "Layers", ", ".join([base, *parts])
    yield "Configuration", _counts(found.config)
    if found.files is None or found.packages is None:
        yield "Files", "not compared (--no-files)"
        return
    yield "Packages", _counts(found.packages)
    growth = sum(change.growth for change in found.files)
    grown = f"; {'+' if growth >= 0 else '-'}{format_size(abs(growth))}" if found.files else ""
    yield "Files", _counts(found.files) + grown


def _layer_sides(layers: LayerChanges) -> list[tuple[str, tuple[Layer, ...]]]:
    return [("removed", layers.removed), ("added", layers.added), ("in another place", layers.shared)]


def _bytes(layers: Sequence[Layer]) -> str:
    return format_size(sum(layer.size or 0 for layer in layers))


def _counts(changes: Sequence[Any]) -> str:
    kinds = [change.change for change in changes]
    counts = [f"{kinds.count(kind):,} {kind}" for kind in ("added", "removed", "changed") if kind in kinds]
    return ", ".join(counts) or "no change"


# -- exports ---------------------------------------------------------------------------------------------


def _diff_exports(
    place: Place, out: Output, sides: tuple[_Side, _Side], *, every: bool, human: bool, allowed: bool
) -> bool:
    try:
        from regfs.frames import Frames
    except ImportError as exc:  # which names the extra
        raise Refusal(str(exc)) from exc
    from regfs.frames.changes import State, compare

    old, new = sides
    before = _load(place, old)
    if new.kind == "now":
        with catalog(place, "/", configs=False) as registry:
            after = State.of(Frames(registry))
    else:
        after = _load(place, new)
    changes = compare(before, after, allow_other_place=allowed)
    if out.as_json:
        states = {
            name: {
                "name": state.name,
                "place": state.place,
                "rootdirectory": state.rootdirectory,
                "endpoint": state.endpoint or None,
                "taken": state.taken,
                **plain(amount),
            }
            for name, state, amount in (("old", before, changes.old), ("new", after, changes.new))
        }
        out.record(
            {
                "different": changes.different,
                **states,
                "repositories": plain(changes.repositories),
                "tags": plain(changes.tags),
                **{name: getattr(changes, name) for name in _BLOBS},
            }
        )
    else:
        _show_exports(out, before, after, changes, every=every, human=human)
    return changes.different


_BLOBS = ("added_blobs", "added_bytes", "removed_blobs", "removed_bytes")


def _load(place: Place, side: _Side) -> State:
    from regfs.frames.changes import State

    options = place.options(split(side.text)[0]) if is_remote(side.text) else {}
    return State.load(side.text, options)


def _show_exports(
    out: Output, before: State, after: State, changes: Changes, *, every: bool, human: bool
) -> None:
    kind: Any = "size" if human else "bytes"

    def amount(number: int) -> str:
        return format_size(number) if human and out.for_reading else str(number)

    if out.for_reading:
        places = [before.at()] if before.at() == after.at() else [before.at(), after.at()]
        names = [f"{when(state.taken)} UTC  {state.name}" for state in (before, after)]
        out.lines(labelled(zip(("Old", "New", "Place", ""), [*names, *places], strict=False), 7))
    totals: list[dict[str, Any]] = [
        {"total": "repositories", "old": changes.old.repositories, "new": changes.new.repositories},
        {"total": "tags", "old": changes.old.tags, "new": changes.new.tags},
        {
            "total": "blobs",
            "old": changes.old.blobs,
            "new": changes.new.blobs,
            "added": changes.added_blobs,
            "removed": changes.removed_blobs,
        },
        {
            "total": "bytes",
            "old": amount(changes.old.blob_bytes),
            "new": amount(changes.new.blob_bytes),
            "added": amount(changes.added_bytes),
            "removed": amount(changes.removed_bytes),
        },
    ]
    kinds = ([change.change for change in rows] for rows in (changes.repositories, changes.tags))
    for row, made in zip(totals, kinds, strict=False):
        row |= {kind: made.count(kind) for kind in ("added", "removed")}
    numbers = [Column(name, "number") for name in ("old", "new", "added", "removed")]
    section(out, "Totals", [Column("total"), *numbers], totals, "total")
    repositories = [
        {**plain(change), "old": change.old_stored_bytes, "new": change.new_stored_bytes}
        for change in changes.repositories
    ]
    columns = [Column("change"), Column("old", kind), Column("new", kind), Column("repository")]
    listed(out, "Repositories", columns, repositories, "repository", every=every)
    tags = [
        {
            **plain(change),
            "from": short(change.old_digest, out),
            "to": short(change.new_digest, out),
            "tag": f"{change.repository}:{change.tag}",
        }
        for change in changes.tags
    ]
    columns = [Column("change"), Column("from", drop=1), Column("to"), Column("tag")]
    listed(out, "Tags", columns, tags, "tag", every=every)
    if out.for_reading and not changes.different:
        out.lines(["", "No repository, tag or blob changed."])


def listed(
    out: Output,
    title: str,
    columns: Sequence[Column],
    rows: Sequence[dict[str, Any]],
    name: str,
    *,
    every: bool,
) -> None:
    """Print a table of changes; on a terminal the first rows of it, unless all are asked for."""
    shown = rows if every or not out.for_reading else rows[:_SHOWN]
    section(out, f"{title} ({len(rows):,} changed)", columns, shown, name)
    if len(shown) < len(rows):
        out.lines([f"... and {len(rows) - len(shown):,} more; --all shows them"])
