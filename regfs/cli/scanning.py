"""What the verbs about a registry's content have in common: opening it, progress, and their cells."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import fields, is_dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import click

from regfs.cli.errors import Refusal
from regfs.cli.output import Column, Output, visible
from regfs.cli.place import Place, split
from regfs.layout import Digest

if TYPE_CHECKING:
    from regfs.catalog import Catalog
    from regfs.catalog.scan import Progress
    from regfs.catalog.source import Source

_PATIENCE = 1.0
"""Seconds before the progress appears."""
_COMPLETION = 2.0
"""Seconds that a shell waits for names, at most."""
_BLOCKS = " ▏▎▍▌▋▊▉█"

url_argument = click.argument("url", default="/", metavar="[regfs://BUCKET]")
"""The place of a whole registry; see :func:`open_source`."""
sizes_option = click.option(
    "-h/-b", "--human/--bytes", default=True, help="Sizes for reading (default), or in bytes."
)
"""How tables tell sizes."""


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


@contextmanager
def catalog(place: Place, url: str, *, configs: bool = True) -> Iterator[Catalog]:
    """Give a catalog whose scan shows its progress on a terminal's stderr."""
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
    try:
        yield shown.tell
    finally:
        shown.end()


class _Stages:
    """One line, of what goes on now."""

    def __init__(self) -> None:
        self._begun = time.monotonic()
        self._progress: Any = None
        self._stage = ""
        self._lock = threading.Lock()

    def tell(self, stage: str, done: int, total: int | None) -> None:
        with self._lock:
            if self._progress is None:
                if time.monotonic() - self._begun < _PATIENCE:
                    return
                self._start()
            if stage != self._stage:
                self._stage = stage
                self._progress.reset(0)
            self._progress.update(0, description=stage, completed=done, total=total)

    def _start(self) -> None:
        from rich import progress
        from rich.console import Console

        columns = [progress.TextColumn("{task.description}"), progress.BarColumn()]
        columns += [progress.TextColumn("{task.completed:,}"), progress.TimeElapsedColumn()]
        self._progress = progress.Progress(*columns, console=Console(stderr=True), transient=True)
        self._progress.add_task("", total=None)
        self._progress.start()

    def end(self) -> None:
        with self._lock:
            if self._progress:
                self._progress.stop()


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
        """Ask the registry for names, for a moment; whatever goes wrong, there are none."""
        if "@" in incomplete or "://" in incomplete or (":" in incomplete and not self._tags):
            return []
        found: list[str] = []

        def ask() -> None:
            from regfs.catalog.lookup import Lookup

            place = Place(ctx.params.get("config"), dict(ctx.params.get("given") or ()))
            with suppress(Exception):  # a shell that completes has no place for errors
                found.extend(Lookup(open_source(place, "/")).complete(incomplete))

        logging.disable()
        thread = threading.Thread(target=ask, daemon=True)
        thread.start()
        thread.join(_COMPLETION)
        return [click.shell_completion.CompletionItem(name) for name in list(found)]


def bar(part: float, whole: float, width: int = 12) -> str:
    """Draw a share, an eighth of a character exact, with its percentage."""
    share = part / whole if whole else 0.0
    eighths = min(round(share * width * 8), width * 8)
    drawn = "█" * (eighths // 8) + (_BLOCKS[eighths % 8] if eighths % 8 else "")
    return f"{drawn:{width}} {share:4.0%}"


def short(digest: Digest | str | None, out: Output) -> str:
    """Give a digest as a person needs it, and a program: twelve digits of its hex, or all of it."""
    if digest is None:
        return "-"
    algorithm, _, encoded = str(digest).partition(":")
    return f"{algorithm}:{encoded[:12]}" if out.for_reading else str(digest)


def plain(value: Any) -> Any:
    """Give a record, or what one holds, as JSON has words for; ages become seconds."""
    if is_dataclass(value) and not isinstance(value, type):
        if isinstance(value, Digest):
            return str(value)
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return {name: plain(one) for name, one in value._asdict().items()}
    if isinstance(value, timedelta):
        return value.total_seconds()
    if type(value) is date:
        return value.isoformat()
    if isinstance(value, Mapping):
        return {str(name): plain(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    return value


def section(
    out: Output, title: str, columns: Sequence[Column], records: Sequence[Mapping[str, Any]], name: str = ""
) -> None:
    """Print one of several tables: under a title, or, for a program, each row behind the table's name."""
    if not records:
        return
    if out.for_reading:
        click.echo(f"\n{click.style(visible(title), bold=True)}")
        out.table(columns, records)
    else:
        rows = ({key: visible(v) if isinstance(v, str) else v for key, v in one.items()} for one in records)
        first = {"table": name or title.lower()}
        out.table([Column("table"), *columns], ({**first, **row} for row in rows))


def check_file(path: str, what: str) -> None:
    """See, before a long work, that its result can be written as a local file.

    Raises
    ------
    Refusal
        It is a directory, or in none that can be written to.
    """
    directory = os.path.dirname(os.path.abspath(path))
    if os.path.isdir(path):
        raise Refusal(f"{path}: is a directory; name the file that the {what} becomes")
    if not os.path.isdir(directory):
        raise Refusal(f"{path}: there is no directory {directory}")
    if not os.access(directory, os.W_OK):
        raise Refusal(f"{path}: the directory cannot be written to")


def write_file(path: str, text: str) -> None:
    """Write a local file that appears whole or not at all; one that is there is replaced."""
    mask = os.umask(0)
    os.umask(mask)
    directory, name = os.path.split(os.path.abspath(path))
    handle, temporary = tempfile.mkstemp(prefix=f".{name}.", dir=directory)
    try:
        with open(handle, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
        os.chmod(temporary, 0o666 & ~mask)
        os.replace(temporary, path)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
