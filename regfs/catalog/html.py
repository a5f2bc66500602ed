"""Small HTML tables for notebooks (``_repr_html_``). Pure; every text is escaped here and nowhere else."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timezone
from html import escape
from itertools import islice
from typing import TypeAlias

from regfs.units import format_size


class Bytes(int):
    """A number of bytes: a cell shows ``1.5 MiB``, and the exact number as its tooltip."""


Cell: TypeAlias = "str | int | float | Bytes | datetime | None"
"""What a cell may hold. Numbers stand right, times are shown in UTC, and None is a dash."""


def table(
    caption: str, columns: Sequence[str], rows: Iterable[Sequence[Cell]], *, note: str = "", most: int = 50
) -> str:
    """Format a table as HTML.

    It has no style sheet and no script, so that it looks as the notebook's own tables do.

    Parameters
    ----------
    caption : str
        What the table is about; plain text, as is every other text here.
    columns : sequence of str
        The headings; of a table of properties there are none.
    rows : iterable of sequence
        For each row its cells, in the order of the columns.
    note : str
        A line below the table.
    most : int
        Rows that are shown at most; how many more there are is said below.

    Returns
    -------
    str
        One ``table`` element.
    """
    left = iter(rows)
    shown = list(islice(left, most))
    more = sum(1 for _ in left)
    notes = [f"and {more:,} more"] if more else []
    notes += [note] if note else []
    parts = ["<table>", f"<caption>{text(caption)}</caption>"]
    if columns:
        parts += ["<thead><tr>", *(f"<th>{text(name)}</th>" for name in columns), "</tr></thead>"]
    parts.append("<tbody>")
    parts += [f"<tr>{''.join(map(_cell, row))}</tr>" for row in shown]
    parts.append("</tbody>")
    if notes:
        width = len(columns) or max(map(len, shown), default=1)
        parts.append(f'<tfoot><tr><td colspan="{width}">{text("; ".join(notes))}</td></tr></tfoot>')
    return "".join([*parts, "</table>"])


def text(value: str) -> str:
    """Escape a text for HTML; control characters and those that change direction become visible escapes."""
    if not value.isprintable():
        value = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in value)
    return escape(value)


def _cell(value: Cell) -> str:
    right = ' style="text-align: right"'
    if value is None:
        return "<td>–</td>"
    if isinstance(value, Bytes):
        return f'<td{right} title="{int(value):,} bytes">{format_size(value)}</td>'
    if isinstance(value, datetime):
        return f"<td>{value.astimezone(timezone.utc):%Y-%m-%d %H:%M:%S}</td>"
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return f"<td{right}>{value:,}</td>"
    return f'<td style="text-align: left">{text(str(value))}</td>'
