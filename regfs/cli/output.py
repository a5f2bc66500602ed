"""Results go to stdout, all else to stderr.

``--json`` makes one JSON document of the results: an object, or an array with one object in each line.
Without it, tables are for reading on a terminal, and separated by tabs, without a heading, in a pipe.
"""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, Literal

import click

_PATIENCE = 1.0
"""Seconds before a progress bar appears."""
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


def size(count: int) -> str:
    """Give a number of bytes for reading: ``71 B``, ``1.5 KiB``, ``12 MiB``."""
    amount, unit = float(count), _UNITS[0]
    for unit in _UNITS:  # noqa: B007 - the last one is used
        if amount < 999.5:
            break
        amount /= 1024
    else:
        amount *= 1024
    if unit == "B":
        return f"{count} B"
    return f"{amount:.1f} {unit}" if amount < 9.95 else f"{amount:.0f} {unit}"


def counted(count: int, noun: str) -> str:
    """Give a number and its noun: ``1 file``, ``2,000 files``."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def when(moment: datetime) -> str:
    """Give a time for reading, in UTC."""
    return f"{moment.astimezone(timezone.utc):%Y-%m-%d %H:%M:%S}"


@dataclass(frozen=True)
class Column:
    """A column of a table: the record's field it shows, and how.

    Attributes
    ----------
    key : str
        The field, by which the heading is called, too.
    kind : str
        "text"; "size", of bytes; "bytes", the exact number of them; "number"; "time".
    """

    key: str
    kind: Literal["text", "size", "bytes", "number", "time"] = "text"

    def show(self, value: Any) -> str:
        """Give a value as it is printed."""
        if value is None:
            return "-"
        if self.kind == "size":
            return size(value)
        if self.kind == "time":
            return when(value)
        return "yes" if value is True else "no" if value is False else str(value)


def _plain(value: Any) -> Any:
    """Give what JSON has no word for."""
    if isinstance(value, datetime):
        return value.astimezone(timezone.utc).isoformat().replace("+00:00", "Z")
    raise TypeError(f"{type(value).__name__} in the output")


def _dumps(value: Any) -> str:
    return json.dumps(value, default=_plain)


def visible(text: str) -> str:
    """Give a text that a terminal takes for nothing but text: a key may hold what moves its cursor."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


class _Bar:
    """A progress bar that appears when it is told to."""

    def __init__(self, total: int | None) -> None:
        self._total = total
        self._done = 0
        self._lock = threading.Lock()
        self._ended = False
        self._shown: Any = None

    def show(self) -> None:
        from rich import progress
        from rich.console import Console

        parts = [progress.BarColumn(), progress.DownloadColumn(binary_units=True)]
        parts += [progress.TransferSpeedColumn(), progress.TimeRemainingColumn()]
        with self._lock:
            if self._ended:
                return
            self._shown = progress.Progress(*parts, console=Console(stderr=True), transient=True)
            self._shown.add_task("", total=self._total, completed=self._done)
            self._shown.start()

    def advance(self, count: int) -> None:
        with self._lock:
            self._done += count
            if self._shown:
                self._shown.update(0, completed=self._done)

    def end(self) -> None:
        with self._lock:
            self._ended = True
            if self._shown:
                self._shown.stop()


class Output:
    """Where a verb's results go.

    Parameters
    ----------
    as_json : bool
        Whether ``--json`` was given.
    """

    def __init__(self, as_json: bool) -> None:
        self.as_json = as_json

    @property
    def for_reading(self) -> bool:
        """Whether a person reads along: no JSON, and a terminal."""
        return not self.as_json and sys.stdout.isatty()

    def table(self, columns: Sequence[Column], records: Iterable[Mapping[str, Any]]) -> None:
        """Print records: some of their fields in a table, or all of them as a JSON array."""
        if self.as_json:
            self._array(records)
        elif self.for_reading:
            self._drawn(columns, records)
        else:
            for record in records:
                click.echo("\t".join(column.show(record.get(column.key)) for column in columns))

    def record(self, record: Mapping[str, Any], columns: Sequence[Column] = ()) -> None:
        """Print one record: a field a line, or a JSON object. `columns` tells how some are shown."""
        if self.as_json:
            click.echo(_dumps(record))
            return
        known = {column.key: column for column in columns}
        width = max(map(len, record), default=0)
        for key, value in record.items():
            told = known.get(key, Column(key)).show(value)
            if self.for_reading:
                label = key.replace("_", " ")
                click.echo(f"{click.style(f'{label:{width}}', bold=True)}  {visible(told)}")
            else:
                click.echo(f"{key}\t{told}")

    def lines(self, lines: Iterable[str]) -> None:
        """Print lines of text; not for JSON."""
        for line in lines:
            click.echo(visible(line) if self.for_reading else line)

    def note(self, text: str) -> None:
        """Tell a person who reads along, on stderr, what has been done."""
        if sys.stderr.isatty():
            click.echo(visible(text), err=True)

    @contextmanager
    def progress(self, total: int | None) -> Iterator[Callable[[int], None]]:
        """Show on a terminal's stderr how far a copy is, once it has taken a second.

        Parameters
        ----------
        total : int or None
            The bytes to come; None if nobody knows.

        Yields
        ------
        callable
            To be told of the bytes that have come, from any thread.
        """
        if not sys.stderr.isatty():
            yield lambda _: None
            return
        bar = _Bar(total)
        timer = threading.Timer(_PATIENCE, bar.show)
        timer.daemon = True
        timer.start()
        try:
            yield bar.advance
        finally:
            timer.cancel()
            bar.end()

    def _array(self, records: Iterable[Mapping[str, Any]]) -> None:
        before = "["
        for record in records:
            click.echo(f"{before}\n{_dumps(record)}", nl=False)
            before = ","
        click.echo("[]" if before == "[" else "\n]")

    def _drawn(self, columns: Sequence[Column], records: Iterable[Mapping[str, Any]]) -> None:
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
        for column in columns:
            left = column.kind in ("text", "time")
            table.add_column(
                column.key.replace("_", " "),
                justify="left" if left else "right",
                no_wrap=column.kind != "text",
                overflow="fold",
            )
        for record in records:
            table.add_row(*(Text(visible(column.show(record.get(column.key)))) for column in columns))
        if table.row_count:
            Console(highlight=False).print(table)
