"""The verbs about the files in an image: ``files``, ``extract``, and what ``cat`` does with an image."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from regfs.cli.errors import Failure, Refusal
from regfs.cli.options import quiet_option, shared, sizes_option
from regfs.cli.output import Column, Output, counted
from regfs.cli.place import Place, is_remote
from regfs.cli.scanning import RepositoryName, open_lookup, plain, stages
from regfs.units import format_size

if TYPE_CHECKING:
    from regfs.catalog.layers import Entry
    from regfs.catalog.rootfs import RootFilesystem
    from regfs.catalog.scan import Progress
    from regfs.catalog.weight import Waste

_name_argument = click.argument("name", metavar="REPO[:TAG|@DIGEST]", type=RepositoryName(tags=True))
platform_option = click.option(
    "--platform", metavar="OS/ARCH", help="Of an index: which image, as linux/arm64."
)


@click.command()
@_name_argument
@platform_option
@click.option("--layer", "only", type=click.IntRange(1), metavar="N", help="This layer alone, as it is.")
@click.option("--all", "every", is_flag=True, help="What layers above override or remove, as well.")
@click.option("--sort", type=click.Choice(["path", "size"]), help="By path, or the largest first.")
@click.option("--dirs", is_flag=True, help="Sizes by directory, with all that is in each.")
@click.option(
    "--depth", type=click.IntRange(0), metavar="N", help="With --dirs: how deep, 1 by default; 0 is the sum."
)
@click.option("--wasted", is_flag=True, help="What later layers delete or overwrite, and the efficiency.")
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
    sort: str | None,
    dirs: bool,
    depth: int | None,
    wasted: bool,
    long: bool,
    human: bool,
) -> None:
    """List the files in an image, as a container sees them: its layers, laid over each other.

    With --all, each layer's own entries; "state" says why one is not in the image: "overridden" by a layer
    above, or a "whiteout" that removes what is below. Every layer that is read is checked against its digest.

    Sizes are those of the files, which layers hold compressed. --dirs counts a file with several hard links
    once. The efficiency of --wasted is the share of all layers' bytes that is in the image. Both have the
    largest first.

    JSON: an object with files, an array of objects with path, kind, size, mode, owner, modified, target,
    layer and state; or with directories, of path, size and files; or with wasted, of path, wasted_bytes,
    layers and reason ("deleted" or "overwritten"), beside layer_bytes, image_bytes, wasted_bytes and
    efficiency.
    """
    if dirs + wasted + (only is not None or every or long) > 1:
        raise Refusal("--dirs, --wasted: one of them, and without --layer, --all and -l")
    if depth is not None and not dirs:
        raise Refusal("--depth: needs --dirs")
    states = every or only is not None
    with _failures(platform):
        if only is not None:  # printed while it is read
            entries: Iterable[Entry] = _one_layer(_open(place, out, name, platform), only)
            _list(out, _sorted(entries, sort), long=long, sizes=sort == "size", human=human, states=states)
            return
        with stages() as progress:
            rootfs = _open(place, out, name, platform, progress)
            entries = rootfs.entries(every=every)
    if dirs:
        _print_directories(out, rootfs, 1 if depth is None else depth, sort or "size", human=human)
    elif wasted:
        _print_waste(out, rootfs.waste(), sort or "size", human=human)
    else:
        _list(out, _sorted(entries, sort), long=long, sizes=sort == "size", human=human, states=states)


def _sorted(entries: Iterable[Entry], order: str | None) -> Iterable[Entry]:
    if order is None:
        return entries
    return sorted(entries, key=lambda entry: (-entry.size * (order == "size"), entry.path))


def _print_directories(out: Output, rootfs: RootFilesystem, depth: int, order: str, *, human: bool) -> None:
    records = [plain(item) for item in rootfs.directory_sizes(depth)]
    _sort(records, order, "size")
    columns = [Column("size", "size" if human else "bytes"), Column("files", "number"), Column("path")]
    out.table(columns, records, name="directories")


def _sort(records: list[dict[str, Any]], order: str, key: str) -> None:
    records.sort(
        key=lambda record: (-record[key], record["path"]) if order == "size" else (0, record["path"])
    )


def _one_layer(rootfs: RootFilesystem, number: int) -> Iterable[Entry]:
    if number > len(rootfs.layers):
        raise Refusal(f"--layer {number}: the image has {counted(len(rootfs.layers), 'layer')}")
    return () if number in rootfs.absent else rootfs.layer_entries(number)


def _list(
    out: Output, entries: Iterable[Entry], *, long: bool, sizes: bool, human: bool, states: bool
) -> None:
    if out.as_json:
        out.table([], map(_record, entries), name="files")
        return
    if not (long or states or sizes):
        out.lines(entry.path + "/" * (entry.kind == "directory" and entry.path != "/") for entry in entries)
        return
    size_column = Column("size", "size" if human else "bytes")
    columns = [size_column]
    if long or states:
        columns = [Column("mode", drop=2), Column("owner", drop=4), size_column]
        columns += [Column("modified", "time", drop=3), Column("layer", "number", drop=1)]
    columns += [Column("state")] if states else []
    shown = (
        {**_record(entry), "path": f"{entry.path} -> {entry.target}" if entry.target else entry.path}
        for entry in entries
    )
    out.table([*columns, Column("path")], shown, name="files")


def _record(entry: Entry) -> dict[str, Any]:
    record: dict[str, Any] = plain(entry)
    del record["position"]
    return record


def _print_waste(out: Output, waste: Waste, order: str, *, human: bool) -> None:
    records = [plain(path) for path in waste.paths]
    _sort(records, order, "wasted_bytes")
    sums = {
        "layer_bytes": waste.layer_bytes,
        "image_bytes": waste.image_bytes,
        "wasted_bytes": waste.wasted_bytes,
        "efficiency": round(waste.efficiency, 4),
    }
    if out.as_json:
        out.record({**sums, "wasted": records})
        return
    columns = [
        Column("wasted_bytes", "size" if human else "bytes"),
        Column("reason"),
        Column("layers", drop=1),
    ]
    rows = [{**record, "layers": ", ".join(map(str, record["layers"]))} for record in records]
    out.table([*columns, Column("path")], rows, name="wasted")
    out.summary(
        f"{format_size(waste.wasted_bytes)} wasted of {format_size(waste.layer_bytes)} in all layers; "
        f"efficiency {_percent(waste.efficiency)}"
    )


def _percent(share: float) -> str:
    """Format a share, rounded down, so that 100 % is said of nothing less."""
    return f"{int(share * 1000) / 10:g} %"


@click.command()
@_name_argument
@click.argument("target", nargs=-1, required=True, metavar="[PATH] DIR")
@platform_option
@quiet_option
@shared
def extract(
    place: Place, out: Output, name: tuple[str, str], target: tuple[str, ...], *, platform: str | None
) -> None:
    """Write the files of an image into a local directory, as a container sees them: whole or not at all.

    DIR becomes what PATH is in the image, all of it by default; a PATH that is a file is written into DIR.
    DIR must be new, or empty: nothing is overwritten. It appears when every layer has been read and agrees
    with its digest; after a failure or Ctrl-C there is nothing.

    Nothing is written outside of DIR, whatever names and links the layers hold. Modes, times, hard links
    and symbolic links are kept. An absolute symbolic link leads out of DIR when you follow it. Owners and
    set-user-ID bits are not kept; devices and fifos are left out.

    JSON: an object with repository, tag, digest, path, directory, files, directories, links, size,
    skipped (devices and fifos), leaving (links that lead out of DIR), and absent (numbers of layers that
    are not distributed with the image, and not in the registry).
    """
    from regfs.catalog.names import Name

    if len(target) > 2:
        raise Refusal(f"{target[2]}: extract takes one PATH and one DIR")
    path, directory = target if len(target) == 2 else ("/", target[0])
    if is_remote(directory):
        raise Refusal(f"{directory}: DIR is a local directory")
    with _failures(platform), stages() as progress:
        rootfs = _open(place, out, name, platform, progress)
        extraction = rootfs.extract(directory, path)
    if out.as_json:
        parsed = Name.parse(name[1])
        image = {"repository": parsed.repository, "tag": parsed.tag or None, "digest": str(rootfs.digest)}
        out.record({**image, "path": path, **plain(extraction), "absent": list(rootfs.absent)})
        return
    text = f"{counted(extraction.files, 'file')}, {format_size(extraction.size)}, extracted to {directory}"
    if extraction.skipped:
        nouns = "device or fifo" if len(extraction.skipped) == 1 else "devices and fifos"
        text += f"; {len(extraction.skipped):,} {nouns} left out"
    if extraction.leaving:
        lead = "leads" if len(extraction.leaving) == 1 else "lead"
        text += f"; {counted(len(extraction.leaving), 'symbolic link')} {lead} out of it"
    if rootfs.absent:
        text += f"; {counted(len(rootfs.absent), 'layer')} not in the registry left out"
    out.summary(text)


def is_image(path: str) -> bool:
    """Return whether an argument of ``cat`` is an image; a path in the bucket begins with a slash."""
    return not path.startswith(("/", "-")) and "://" not in path and not is_remote(path)


def write_contents(place: Place, out: Output, image: str, paths: Sequence[str], platform: str | None) -> None:
    """Write files of an image to stdout, one after the other, exactly.

    The layers are read from the uppermost down, and no more of them than needed. Each that is read is read
    to its end and compared with its digest before the first byte is written.
    """
    if not paths:
        text = f"give paths in the image, as regfs files lists them; /{image} is in the bucket"
        raise Refusal(f"{image}: {text}")
    with _failures(platform), stages() as progress:
        files = _open(place, out, ("/", image), platform, progress).open_many(paths)
    for file in files:
        with file:
            shutil.copyfileobj(file, sys.stdout.buffer)
    sys.stdout.buffer.flush()


def _open(
    place: Place,
    out: Output,
    name: tuple[str, str],
    platform: str | None,
    progress: Progress | None = None,
) -> RootFilesystem:
    """Find an image; its layers are not read yet."""
    from regfs.catalog.names import Name
    from regfs.catalog.rootfs import RootFilesystem

    url, text = name
    parsed = Name.parse(text)
    lookup = open_lookup(place, url)
    digest = lookup.resolve(parsed)
    rootfs = RootFilesystem.of(
        lookup, parsed.repository, digest, platform, name=str(parsed), progress=progress
    )
    for number in rootfs.absent:
        layer = rootfs.layers[number - 1]
        out.note(f"layer {number} is not distributed with the image, so it is left out: {layer.digest}")
    return rootfs


@contextmanager
def _failures(platform: str | None) -> Iterator[None]:
    """Raise an image's errors with exit codes, and with what this command can do about them."""
    from regfs.catalog.layers import LayerError
    from regfs.catalog.rootfs import BuildCacheError, PlatformError, UnreadableImageError

    try:
        yield
    except PlatformError as exc:
        if platform:
            raise
        text = f"has images for several platforms; choose with --platform: {', '.join(exc.platforms)}"
        raise Refusal(f"{exc.name}: {text}") from exc
    except BuildCacheError as exc:
        raise Refusal(f"{exc}; regfs files --layer N lists one of them") from exc
    except (LayerError, UnreadableImageError) as exc:
        raise Failure(str(exc)) from exc
