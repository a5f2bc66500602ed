"""Results go to stdout, all else to stderr.

``--json`` makes one JSON object of the results, which begins with the place and the time (UTC); records are
an array in it, one in each line. Without it, tables are for reading on a terminal, whose width they fit; in
a pipe they are separated by tabs, sizes are exact bytes, and there is a heading with ``--header`` alone.

What a verb has changed is a result: a line for each file on stdout as it happens, and at the end the sums
and the place on stderr, on a terminal and elsewhere. ``--quiet`` leaves both out; a JSON document has both.
"""

from __future__ import annotations

import copy
import json
import shutil
import sys
import textwrap
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any, Literal

import click

from regfs.units import format_size

_PATIENCE = 1.0
"""Seconds before a progress bar appears."""
Kind = Literal["text", "prose", "size", "bytes", "number", "time"]
"""What a column holds."""
_GAP = 2
"""Columns of the terminal between two of a table."""
_NARROWEST = {"text": 12, "prose": 24}
"""Columns of the terminal below which neither an ellipsis nor folding makes a table's column narrower."""


def counted(count: int, noun: str) -> str:
    """Return a number and its noun: ``1 file``, ``2,000 files``."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def duration(time: timedelta) -> str:
    """Return a duration for reading: ``24 h``, ``7 d``, ``90 s``."""
    seconds = time.total_seconds()
    if seconds >= 2 * 86_400 and seconds % 86_400 == 0:
        return f"{seconds / 86_400:g} d"
    for unit, length in (("h", 3600), ("min", 60)):
        if seconds and seconds % length == 0:
            return f"{seconds / length:g} {unit}"
    return f"{seconds:g} s"


def none_older(nouns: str, time: timedelta | None, younger: str, where: str) -> str:
    """Return the sentence that nothing is old enough, and how to see what is younger.

    Parameters
    ----------
    nouns : str
        What is looked for, in the plural.
    time : timedelta or None
        The age asked for; None or zero is none.
    younger : str
        How many younger ones there are, and their size; empty if there is none.
    where : str
        The place.
    """
    if time and younger:
        return (
            f"No {nouns} older than {duration(time)} ({younger}; show them with --older-than 0), in {where}"
        )
    return f"No {nouns}, in {where}"


def when(moment: datetime) -> str:
    """Return a time for reading, in UTC."""
    return f"{moment.astimezone(timezone.utc):%Y-%m-%d %H:%M:%S}"


@dataclass(frozen=True)
class Column:
    """A column of a table: the record's field it shows, and how.

    Attributes
    ----------
    key : str
        The field, by which the heading is called, too.
    kind : str
        "text", of a name, which is never folded; "prose", which is, between its words; "size", of bytes;
        "bytes", the exact number of them; "number"; "time".
    drop : int
        Where the terminal is too narrow, columns are left out, those of the highest number first; those of 0
        never are.
    """

    key: str
    kind: Kind = "text"
    drop: int = 0

    def show(self, value: Any, *, exact: bool = False) -> str:
        """Format a value; sizes in bytes if `exact`."""
        if value is None:
            return "-"
        if self.kind == "size" and not exact:
            return format_size(value)
        if self.kind == "time":
            return when(value)
        return "yes" if value is True else "no" if value is False else str(value)


def fit(columns: Sequence[Column], natural: Sequence[int], width: int) -> list[int]:
    """Return the width of each column of a table that fits the terminal; 0 for those to be left out.

    Columns that may be dropped go first, by their number. Then prose is folded and, at last, the longest
    names end in an ellipsis. What cannot be made narrower stays as it is, and the table is too wide.

    Parameters
    ----------
    columns : sequence of Column
        The table's.
    natural : sequence of int
        The width of each column's widest cell, its heading included.
    width : int
        The terminal's.
    """
    widths = list(natural)

    def excess() -> int:
        shown = [each for each in widths if each]
        return sum(shown) + _GAP * (len(shown) - 1) - width

    for number in sorted(
        (n for n, column in enumerate(columns) if column.drop), key=lambda n: -columns[n].drop
    ):
        # Prose shrinks before a column is dropped for it.
        spare = sum(
            max(w - _NARROWEST["prose"], 0) for w, c in zip(widths, columns, strict=True) if c.kind == "prose"
        )
        if excess() > spare:
            widths[number] = 0
    for kind in ("prose", "text"):
        floor = _NARROWEST[kind]
        while excess() > 0:
            able = [n for n, column in enumerate(columns) if column.kind == kind and widths[n] > floor]
            if not able:
                break
            widest = max(able, key=lambda n: widths[n])
            second = max((widths[n] for n in able if n != widest), default=floor)
            widths[widest] = max(widths[widest] - max(min(excess(), widths[widest] - second), 1), floor)
    return widths


def _plain(value: Any) -> Any:
    """Return what JSON has no word for."""
    if isinstance(value, datetime):
        return value.astimezone(timezone.utc).isoformat().replace("+00:00", "Z")
    raise TypeError(f"{type(value).__name__} in the output")


def _dumps(value: Any) -> str:
    return json.dumps(value, default=_plain)


def visible(text: str) -> str:
    """Return a text that a terminal takes for nothing but text: a key may hold what moves its cursor."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def fold(text: str) -> str:
    """Fold a sentence between its words where it is wider than the terminal."""
    width = shutil.get_terminal_size().columns
    return textwrap.fill(text, width, break_long_words=False, break_on_hyphens=False) if text else ""


class _Bar:
    """A progress bar that appears when it is started.

    Once all bytes have come it is not full but moves, and names what is waited for.
    """

    def __init__(self, total: int | None, ending: str) -> None:
        self._total = total
        self._ending = ending
        self._done = 0
        self._lock = threading.Lock()
        self._ended = False
        self._shown: Any = None

    def show(self) -> None:
        from rich import progress
        from rich.console import Console
        from rich.text import Text

        ending = self._ending

        def over(task: progress.Task) -> bool:
            # Rich takes no task for finished that was so when it was added.
            return task.total is not None and task.completed >= task.total

        class Bar(progress.BarColumn):
            def render(self, task: progress.Task) -> Any:
                bar = super().render(task)
                bar.pulse = bar.pulse or over(task)
                return bar

        class Remaining(progress.TimeRemainingColumn):
            def render(self, task: progress.Task) -> Text:
                return Text(ending) if over(task) else super().render(task)

        parts = [Bar(bar_width=30), progress.DownloadColumn(binary_units=True)]
        parts += [progress.TransferSpeedColumn(), Remaining()]
        with self._lock:
            if self._ended:
                return
            # Rich would write to stderr what others print on stdout.
            self._shown = progress.Progress(
                *parts, console=Console(stderr=True), transient=True, redirect_stdout=False
            )
            self._shown.add_task("", total=self._total, completed=self._done)
            self._shown.start()

    def print(self, text: str) -> bool:
        """Print a text above the bar; return whether there is one."""
        with self._lock:
            if self._shown is None or self._ended:
                return False
            from rich.text import Text

            self._shown.console.print(Text(text), soft_wrap=True)
            return True

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
    quiet : bool
        Whether ``--quiet`` was given: only errors, questions and a JSON document are printed.
    header : bool
        Whether ``--header`` was given: tables in a pipe have a heading, too.
    places : callable
        Returns the places that were opened, each as a URL; for JSON.
    """

    def __init__(
        self,
        as_json: bool,
        quiet: bool = False,
        header: bool = False,
        places: Callable[[], Sequence[str]] = tuple,
    ) -> None:
        self.as_json = as_json
        self.quiet = quiet
        self.header = header
        self._places = places
        self._taken = datetime.now(timezone.utc)
        self._heading = ""
        self._bar: _Bar | None = None

    @property
    def for_reading(self) -> bool:
        """Whether a person reads the output: it is a terminal, and not JSON."""
        return not self.as_json and sys.stdout.isatty()

    @property
    def answer(self) -> Output:
        """The output of a list that was asked for, which ``--quiet`` does not leave out."""
        answer = copy.copy(self)
        answer.quiet = False
        return answer

    def head(self) -> dict[str, Any]:
        """Return what every JSON object begins with: ``place``, a URL or an array of several, and ``taken``.

        The place is None if none was opened; the time is that of the verb's start, in UTC.
        """
        places = list(self._places())
        return {"place": places if len(places) > 1 else next(iter(places), None), "taken": self._taken}

    def table(self, columns: Sequence[Column], records: Iterable[Mapping[str, Any]], name: str = "") -> None:
        """Print records: some of their fields in a table, or all of them as a JSON object's array.

        Parameters
        ----------
        columns : sequence of Column
            The table's.
        records : iterable of mapping
            One for each row.
        name : str
            What the array is called, in the plural.
        """
        if self.as_json:
            self._array(records, name)
        elif self.quiet:
            return
        elif self.for_reading:
            self._draw(columns, records)
        else:
            self._head_pipe(columns)
            for record in records:
                click.echo("\t".join(column.show(record.get(column.key), exact=True) for column in columns))

    def record(self, record: Mapping[str, Any], columns: Sequence[Column] = ()) -> None:
        """Print one record: a field a line, or a JSON object. `columns` says how some are shown."""
        if self.as_json:
            click.echo(_dumps({**self.head(), **record}))
            return
        by_key = {column.key: column for column in columns}
        width = max(map(len, record), default=0)
        for key, value in record.items():
            column = by_key.get(key, Column(key))
            if self.for_reading:
                label = click.style(f"{key.replace('_', ' '):{width}}", bold=True)
                click.echo(f"{label}  {visible(column.show(value))}")
            else:
                click.echo(f"{key}\t{column.show(value, exact=True)}")

    def _head_pipe(self, columns: Sequence[Column]) -> None:
        """Print a table's heading in a pipe, if asked for and unless the last one was the same."""
        heading = "\t".join(column.key for column in columns)
        if self.header and heading != self._heading:
            click.echo(heading)
            self._heading = heading

    def lines(self, lines: Iterable[str]) -> None:
        """Print lines of text; not for JSON."""
        if self.quiet:
            return
        for line in lines:
            click.echo(visible(line) if self.for_reading else line)

    def sentences(self, texts: Iterable[str]) -> None:
        """Print sentences, each from a line of its own; not for JSON."""
        for text in texts:
            self.lines(fold(visible(text)).split("\n") if self.for_reading else [text])

    def note(self, text: str) -> None:
        """Print a remark on stderr for a person who reads along."""
        if sys.stderr.isatty() and not self.quiet:
            click.echo(visible(text), err=True)

    def summary(self, text: str) -> None:
        """Print sums on stderr, whether or not it is a terminal; a JSON document has them itself."""
        if not self.as_json and not self.quiet:
            click.echo(visible(text), err=True)

    @contextmanager
    def journal(
        self,
        line: Callable[[Mapping[str, Any]], str],
        summary: Callable[[Journal], str],
        head: Mapping[str, Any] | None = None,
    ) -> Iterator[Journal]:
        """Print what a verb changes as it happens, and the sums at the end, also where it fails on the way.

        Parameters
        ----------
        line : callable
            Returns the line that a record is printed as.
        summary : callable
            Returns the sums that are printed at the end.
        head : mapping, optional
            What a JSON object begins with, before ``entries``.

        Yields
        ------
        Journal
            Called with the changes.
        """
        journal = Journal(self, line, head or {})
        try:
            yield journal
        except BaseException:
            if journal.files:
                journal.end(summary(journal))
            raise
        journal.end(summary(journal))

    @contextmanager
    def progress(self, total: int | None, ending: str = "") -> Iterator[Callable[[int], None]]:
        """Show on a terminal's stderr how far a copy is, once it has taken a second.

        Parameters
        ----------
        total : int or None
            The bytes to come; None if unknown.
        ending : str
            What is waited for once they have come.

        Yields
        ------
        callable
            Called with the bytes that have come, from any thread.
        """
        if not sys.stderr.isatty():
            yield lambda _: None
            return
        bar = self._bar = _Bar(total, ending)
        timer = threading.Timer(_PATIENCE, bar.show)
        timer.daemon = True
        timer.start()
        try:
            yield bar.advance
        finally:
            timer.cancel()
            bar.end()
            self._bar = None

    def echo(self, text: str) -> None:
        """Print a text, above a progress bar where both are on a terminal."""
        if not (self._bar and self.for_reading and self._bar.print(text)):
            click.echo(text)

    def _array(self, records: Iterable[Mapping[str, Any]], name: str) -> None:
        started = False
        for record in records:
            before = "," if started else self.begin({}, name)
            click.echo(f"{before}\n{_dumps(record)}", nl=False)
            started = True
        click.echo("\n]}" if started else f"{self.begin({}, name)}]}}")

    def begin(self, head: Mapping[str, Any], name: str) -> str:
        """Return the beginning of a JSON object, up to its array."""
        return f"{_dumps({**self.head(), **head})[:-1]}, {_dumps(name)}: ["

    def _draw(self, columns: Sequence[Column], records: Iterable[Mapping[str, Any]]) -> None:
        from rich.cells import cell_len
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        rows = [[visible(column.show(record.get(column.key))) for column in columns] for record in records]
        if not rows:
            return
        headings = [column.key.replace("_", " ") for column in columns]
        natural = [max(map(cell_len, cells)) for cells in zip(headings, *rows, strict=True)]
        terminal = shutil.get_terminal_size().columns
        widths = fit(columns, natural, terminal)
        table = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), header_style="bold")
        for column, heading, width in zip(columns, headings, widths, strict=True):
            if width:
                table.add_column(
                    heading,
                    justify="left" if column.kind in ("text", "prose", "time") else "right",
                    no_wrap=column.kind != "prose",
                    overflow="fold" if column.kind == "prose" else "ellipsis",
                    width=width,
                )
        for row in rows:
            table.add_row(*(Text(cell) for cell, width in zip(row, widths, strict=True) if width))
        # Wider than the terminal where nothing more can be left out, rather than crushed.
        Console(highlight=False, width=max(terminal, sum(widths) + _GAP * len(widths))).print(table)
        dropped = [heading for heading, width in zip(headings, widths, strict=True) if not width]
        if dropped:
            self.note(f"(too narrow for {', '.join(dropped)}; --json has all)")


class Tally:
    """A number of files, and their size together.

    Attributes
    ----------
    files, bytes : int
        The sums.
    """

    def __init__(self) -> None:
        self.files = self.bytes = 0
        self._lock = threading.Lock()

    def __str__(self) -> str:
        return f"{counted(self.files, 'file')}, {format_size(self.bytes)}"

    def add(self, records: Sequence[Mapping[str, Any]]) -> None:
        """Add files, from any thread.

        Parameters
        ----------
        records : sequence of mapping
            One for each file, with its "size" in bytes.
        """
        with self._lock:
            self.files += len(records)
            self.bytes += sum(record["size"] for record in records)
            if records:
                self._print(records)

    def _print(self, records: Sequence[Mapping[str, Any]]) -> None:
        """Print what has been added; nothing here."""


class Journal(Tally):
    """The files that a verb has changed, each printed once it is; for :meth:`Output.journal`.

    Attributes
    ----------
    more : dict
        What a JSON object ends with, after the sums.
    """

    def __init__(
        self, out: Output, line: Callable[[Mapping[str, Any]], str], head: Mapping[str, Any]
    ) -> None:
        super().__init__()
        self.more: dict[str, Any] = {}
        self._out = out
        self._line = line
        self._head = head

    def _print(self, records: Sequence[Mapping[str, Any]]) -> None:
        if self._out.as_json:
            texts = ",\n".join(map(_dumps, records))
            first = self.files == len(records)
            click.echo(f"{self._start() if first else ','}\n{texts}", nl=False)
        elif not self._out.quiet:
            lines = map(self._line, records)
            self._out.echo("\n".join(map(visible, lines) if self._out.for_reading else lines))

    def _start(self) -> str:
        return self._out.begin(self._head, "entries")

    def end(self, summary: str) -> None:
        """Print the sums."""
        if not self._out.as_json:
            self._out.summary(summary)
            return
        tail = _dumps({"files": self.files, "bytes": self.bytes, **self.more})[1:]
        click.echo(f"\n], {tail}" if self.files else f"{self._start()}], {tail}")
