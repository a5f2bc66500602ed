"""The verbs that make something to be handed on: ``export``, ``report``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from regfs.cli.dates import dated
from regfs.cli.errors import Refusal
from regfs.cli.options import shared
from regfs.cli.output import Output, counted
from regfs.cli.place import Place, is_remote, split
from regfs.cli.scanning import (
    catalog,
    check_file,
    ignore_option,
    overwrite_option,
    url_argument,
    write_file,
)
from regfs.units import format_size

if TYPE_CHECKING:
    from regfs.catalog.fsck.findings import Ignore


def _tables(_: click.Context, __: click.Parameter, incomplete: str) -> list[str]:
    """Return the names of tables that begin with a text."""
    from regfs.frames import SCHEMAS

    return [name for name in SCHEMAS if name.startswith(incomplete)]


@click.command()
@click.argument("directory", metavar="DIRECTORY")
@url_argument
@click.option(
    "--only",
    "names",
    multiple=True,
    metavar="NAME",
    shell_complete=_tables,
    help="This table alone; may be repeated.",
)
@overwrite_option
@ignore_option
@shared
def export(
    place: Place,
    out: Output,
    directory: str,
    url: str,
    *,
    names: tuple[str, ...],
    overwrite: bool,
    ignore: tuple[Ignore, ...],
) -> None:
    """Write everything as Parquet files, one for each table.

    DIRECTORY is local, or a URL of any filesystem that fsspec knows; one that begins with regfs:// has the
    same parameters as the registry. {date} in it becomes the day, as 2026-02-28, and {time} the time, as
    030000Z, both in UTC: exports/{date}. The files appear together when all are written. The place, the time
    and each column's unit and meaning stand in the file; "regfs diff" compares two exports. The table
    "findings" takes a read of each link; leave it out with --only.

    JSON: an object with files, an array of objects with path.
    """
    try:
        from regfs.frames import SCHEMAS, Frames
    except ImportError as exc:  # which names the extra
        raise Refusal(str(exc)) from exc
    if strange := [name for name in names if name not in SCHEMAS]:
        raise Refusal(f"--only {strange[0]}: there is no such table; there are {', '.join(SCHEMAS)}")
    directory = dated(directory)
    options = place.options(split(directory)[0]) if is_remote(directory) else {}
    with catalog(place, url) as found:
        try:
            paths = Frames(found, ignore=ignore).to_parquet(
                directory, only=names or tuple(SCHEMAS), overwrite=overwrite, storage_options=options
            )
        except FileExistsError as exc:
            raise Refusal(
                f"{exc.filename}: is there already; give another directory, or --overwrite"
            ) from exc
    if out.as_json:
        out.table([], ({"path": path} for path in paths), "files")
    else:
        out.lines(paths)
        out.summary(f"wrote {counted(len(paths), 'table')}")


@click.command()
@click.argument("file", metavar="FILE.html")
@url_argument
@click.option("--fsck/--no-fsck", default=True, help="With what fsck finds (default), or without.")
@overwrite_option
@ignore_option
@shared
def report(
    place: Place,
    out: Output,
    file: str,
    url: str,
    *,
    fsck: bool,
    overwrite: bool,
    ignore: tuple[Ignore, ...],
) -> None:
    """Write a page about the registry: who uses how much, what is shared, what is broken.

    One file that needs nothing else: it opens from the disk, without network and without scripts, and can
    be printed. It shows the bucket, the root directory and the names of repositories and tags, but no
    credentials. "-" writes to stdout. {date} in the name becomes the day, as 2026-02-28, and {time} the time,
    as 030000Z, both in UTC: registry-{date}.html.

    JSON: an object with path and bytes.
    """
    try:
        from regfs.report import make
    except ModuleNotFoundError as exc:
        if exc.name not in ("jinja2", "markupsafe", "squarify"):
            raise
        raise Refusal(f'the page needs {exc.name}: pip install "regfs[report]"') from exc
    if file == "-" and out.as_json:
        raise Refusal("--json: the page is the output")
    file = dated(file)
    if file != "-":
        check_file(file, "report", overwrite=overwrite)
    with catalog(place, url, configs=fsck) as found:
        page = make(found, findings=fsck, ignore=ignore)
    if file == "-":
        click.echo(page.encode())  # UTF-8, whatever the terminal has
        return
    write_file(file, page)
    length = len(page.encode())
    if out.as_json:
        out.record({"path": file, "bytes": length})
    else:
        out.summary(f"wrote {file}, {format_size(length)}")
