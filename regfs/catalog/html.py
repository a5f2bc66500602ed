"""Small HTML tables for notebooks (``_repr_html_``). Pure; this module alone escapes texts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timezone
from html import escape
from itertools import islice
from typing import TypeAlias

from regfs.units import format_size


class Bytes(int):
    """A number of bytes, shown as ``1.5 MiB`` with the exact number as tooltip."""


Cell: TypeAlias = "str | int | float | Bytes | datetime | None"
"""The value of a cell. Numbers are right-aligned, times are shown in UTC, and None as a dash."""


def table(
    caption: str, columns: Sequence[str], rows: Iterable[Sequence[Cell]], *, note: str = "", most: int = 50
) -> str:
    """Format a table as HTML.

    Without a style sheet or script it looks like the notebook's own tables.

    Parameters
    ----------
    caption : str
        The table's caption. This and all other texts are plain text.
    columns : sequence of str
        The headings; empty for a table of properties.
    rows : iterable of sequence
        The rows' cells, in the order of the columns.
    note : str
        A line below the table.
    most : int
        The maximum number of rows; a line below the table states how many more there are.

    Returns
    -------
    str
        A ``table`` element.
    """
    remaining = iter(rows)
    shown = list(islice(remaining, most))
    more = sum(1 for _ in remaining)
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
    """Escape a text for HTML, and show control and direction-changing characters as backslash escapes."""
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
