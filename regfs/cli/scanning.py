"""What the verbs about a registry's content have in common: opening it, progress, and their cells."""

from __future__ import annotations

import os
import re
import shutil
import sys
import textwrap
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import click

from regfs.atomic import replacing
from regfs.cli.completion import within_limit
from regfs.cli.errors import Refusal
from regfs.cli.options import place_of
from regfs.cli.output import Column, Output, visible
from regfs.cli.place import Place, split
from regfs.layout import Digest

if TYPE_CHECKING:
    from regfs.catalog import Catalog
    from regfs.catalog.lookup import Lookup
    from regfs.catalog.scan import Progress
    from regfs.catalog.source import Source

_PATIENCE = 1.0
"""Seconds before the progress appears."""
_WIDEST = 100
"""Columns that sentences take, at most."""
_BLOCKS = " ▏▎▍▌▋▊▉█"
_HEX = re.compile(r"\b([0-9a-f]{12})[0-9a-f]{20,}\b")
_NAMES = 2
"""Names that a cell on a terminal has room for."""

url_argument = click.argument("url", default="/", metavar="[regfs://BUCKET]")
"""The place of a whole registry; see :func:`open_source`."""
overwrite_option = click.option("--overwrite", is_flag=True, help="Replace what is there.")
"""For verbs that write a new file; see :func:`check_file`."""


def open_source(place: Place, url: str) -> Source:
    """Open the registry that a verb is about; no request is sent yet.

    Raises
    ------
    Refusal
        The URL has a path: a registry lies in the root directory.
    """
    from regfs.catalog.source import Source

    bucket, path = split(url)
    if path != "/":
        raise Refusal(f"{url}: has a path; give regfs://BUCKET, and -o rootdirectory={path}")
    return Source(place.filesystem(bucket))


def open_lookup(place: Place, url: str, progress: Progress | None = None) -> Lookup:
    """Open the registry of a verb about one repository, and warn if its metadata is in a database."""
    from regfs.catalog.database import database_in_use, warn_readers
    from regfs.catalog.lookup import Lookup

    source = open_source(place, url)
    warn_readers(source, database_in_use(source))
    return Lookup(source, progress)


@contextmanager
def catalog(place: Place, url: str, *, configs: bool = True) -> Iterator[Catalog]:
    """Return a catalog whose scan shows its progress on a terminal's stderr."""
    from regfs.catalog import Catalog

    with stages() as progress:
        yield Catalog(open_source(place, url).fs, progress, configs=configs)


@contextmanager
def stages() -> Iterator[Progress]:
    """Show on a terminal's stderr what goes on, stage by stage, once it has taken a second.

    Yields
    ------
    callable
        ``progress(stage, done, total)``.
    """
    if not sys.stderr.isatty():
        yield lambda *_: None
        return
    shown = _Stages()
    timer = threading.Timer(_PATIENCE, shown.show)
    timer.daemon = True
    timer.start()
    try:
        yield shown.report
    finally:
        timer.cancel()
        shown.end()


class _Stages:
    """A line that shows the current stage.

    A stage whose total is reached is over; as long as no other begins, its bar is not full but moves.
    """

    def __init__(self) -> None:
        self._task: dict[str, Any] = {"description": "connecting", "completed": 0, "total": None}
        self._progress: Any = None
        self._ended = False
        self._lock = threading.Lock()

    def report(self, stage: str, done: int, total: int | None) -> None:
        over = total is not None and done >= total
        with self._lock:
            begins = stage != self._task["description"]
            self._task = {
                "description": "evaluating" if over else stage,
                "completed": done,
                "total": None if over else total,
            }
            if self._progress is not None:
                if begins and not over:
                    self._progress.reset(0)
                self._progress.update(0, **self._task)

    def show(self) -> None:
        from rich import progress
        from rich.console import Console

        columns = [progress.TextColumn("{task.description}"), progress.BarColumn()]
        columns += [progress.TextColumn("{task.completed:,}"), progress.TimeElapsedColumn()]
        with self._lock:
            if self._ended:
                return
            # Rich would write to stderr what is printed on stdout meanwhile.
            self._progress = progress.Progress(
                *columns,
                console=Console(stderr=True),
                transient=True,
                redirect_stdout=sys.stdout.isatty(),
            )
            self._progress.add_task(**self._task)
            self._progress.start()

    def end(self) -> None:
        with self._lock:
            self._ended = True
            if self._progress:
                self._progress.stop()


class RegistryOrRepository(click.ParamType):  # type: ignore[type-arg]  # before click 8.2 it takes none
    """A whole registry, ``regfs://BUCKET``, or one of its repositories, alone or behind its bucket."""

    name = "repository"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Split it into the URL of its bucket and the repository's name, which may be empty."""
        if isinstance(value, tuple):
            return value
        text = str(value)
        if "://" not in text:
            return "/", text.strip("/") if text.startswith("/") else text
        bucket, path = split(text)
        return f"regfs://{bucket}" if bucket else "/", path.strip("/")

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[Any]:
        """Complete a repository's name."""
        return RepositoryName().shell_complete(ctx, param, incomplete)


class RepositoryName(click.ParamType):  # type: ignore[type-arg]  # before click 8.2 it takes none
    """A repository, ``library/hello``, perhaps behind its bucket: ``regfs://BUCKET/library/hello``.

    Parameters
    ----------
    tags : bool
        Whether a tag or digest may follow.
    """

    name = "repository"

    def __init__(self, *, tags: bool = False) -> None:
        self._tags = tags

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Split it into the URL of its bucket and the name."""
        if isinstance(value, tuple):
            return value
        text = str(value)
        if "://" not in text:
            return "/", text
        bucket, path = split(text)
        if path == "/":
            self.fail(f"{text!r}: names no repository; give regfs://BUCKET/REPO", param, ctx)
        return f"regfs://{bucket}", path[1:]

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[Any]:
        """Return names that the registry has."""
        bucket, colon, name = incomplete.rpartition("://")
        bucket, slash, name = name.partition("/") if colon else ("", "", incomplete)
        if "@" in name or (":" in name and not self._tags) or (colon and not slash):
            return []
        url = f"regfs://{bucket}"

        def names() -> list[str]:
            from regfs.catalog.lookup import Lookup

            completions = Lookup(open_source(place_of(ctx), url if colon else "/")).complete(name)
            return [f"{url}/{completion}" for completion in completions] if colon else completions

        return within_limit(names)


class _Ignored(click.ParamType):  # type: ignore[type-arg]  # as above
    """``KIND`` or ``KIND:PATTERN``, an :class:`~regfs.catalog.fsck.findings.Ignore`."""

    name = "kind"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        from regfs.catalog.fsck.findings import Ignore

        try:
            return value if isinstance(value, Ignore) else Ignore.parse(str(value))
        except ValueError as exc:
            raise Refusal(f"--ignore {exc}") from exc

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[Any]:
        from regfs.catalog.fsck.findings import KINDS

        kinds = (kind for kind in KINDS if kind.startswith(incomplete))
        return [click.shell_completion.CompletionItem(kind, help=KINDS[kind]) for kind in kinds]


ignore_option = click.option(
    "--ignore",
    multiple=True,
    type=_Ignored(),
    metavar="KIND[:PATTERN]",
    help="Leave out the findings of a kind, or only those whose repository or path matches a glob, as "
    'missing-revision:mirror/*; "*" matches slashes too. May be repeated.',
)
"""For verbs that show what fsck finds."""


def bar(part: float, whole: float, width: int = 12) -> str:
    """Draw a share, an eighth of a character exact, with its percentage."""
    share = part / whole if whole else 0.0
    eighths = min(round(share * width * 8), width * 8)
    drawn = "█" * (eighths // 8) + (_BLOCKS[eighths % 8] if eighths % 8 else "")
    return f"{drawn:{width}} {share:4.0%}"


def short(digest: Digest | str | None, out: Output) -> str:
    """Return a digest as a person needs it, and a program: twelve digits of its hex, or all of it."""
    if digest is None:
        return "-"
    algorithm, _, encoded = str(digest).partition(":")
    return f"{algorithm}:{encoded[:12]}" if out.for_reading else str(digest)


def abbreviated(text: str, out: Output) -> str:
    """Shorten the digests within a text on a terminal, those in signing tools' tags among them."""
    return _HEX.sub(r"\1", text) if out.for_reading else text


def some(names: Sequence[str], out: Output) -> str:
    """Return names in one cell: on a terminal the first few, for a program all of them."""
    names = [abbreviated(name, out) for name in names]
    if len(names) <= _NAMES or not out.for_reading:
        return ", ".join(names) or "-"
    return f"{', '.join(names[:_NAMES])} (+{len(names) - _NAMES:,})"


def plain(value: Any) -> Any:
    """Return a record, or what one holds, as JSON has words for; ages become seconds."""
    if is_dataclass(value) and not isinstance(value, type):
        if isinstance(value, Digest):
            return str(value)
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return {name: plain(member) for name, member in value._asdict().items()}
    if isinstance(value, timedelta):
        return value.total_seconds()
    if type(value) is date:
        return value.isoformat()
    if isinstance(value, Mapping):
        return {str(name): plain(member) for name, member in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value


def section(
    out: Output, title: str, columns: Sequence[Column], records: Sequence[Mapping[str, Any]], name: str = ""
) -> None:
    """Print one of several tables: under a title, or, for a program, each row behind the table's name."""
    if not records or out.quiet:
        return
    if out.for_reading:
        click.echo(f"\n{click.style(visible(title), bold=True)}")
        out.table(columns, records)
    else:
        rows = (
            {key: visible(v) if isinstance(v, str) else v for key, v in record.items()} for record in records
        )
        first = {"table": name or title.lower()}
        out.table([Column("table"), *columns], ({**first, **row} for row in rows))


def labelled(sentences: Iterable[tuple[str, str]], width: int = 14) -> Iterator[str]:
    """Yield the lines of sentences that fit a terminal, each behind its label of `width` columns."""
    columns = min(shutil.get_terminal_size().columns, _WIDEST)
    for label, text in sentences:
        yield from textwrap.wrap(
            text,
            columns,
            initial_indent=f"{label:{width}}",
            subsequent_indent=" " * width,
            break_long_words=False,
            break_on_hyphens=False,
        )


def check_file(path: str, what: str, *, overwrite: bool) -> None:
    """Check, before a long work, that its result can be written as a local file.

    Parameters
    ----------
    path : str
        The file.
    what : str
        What it becomes, for the error.
    overwrite : bool
        Whether one that is there may be replaced.

    Raises
    ------
    Refusal
        It is there, is a directory, or is in none that can be written to.
    """
    directory = os.path.dirname(os.path.abspath(path))
    if os.path.isdir(path):
        raise Refusal(f"{path}: is a directory; name the file that the {what} becomes")
    if not os.path.isdir(directory):
        raise Refusal(f"{path}: there is no directory {directory}")
    if not os.access(directory, os.W_OK):
        raise Refusal(f"{path}: the directory cannot be written to")
    if not overwrite and os.path.lexists(path):
        raise Refusal(f"{path}: is there already; give another name, or --overwrite")


def write_file(path: str, text: str) -> None:
    """Write a local file that appears whole or not at all; an existing one is replaced."""
    with replacing(path) as file:
        file.write(text.encode())
