"""How the page writes numbers and texts. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from regfs.units import format_size

_SPACE = "\N{NO-BREAK SPACE}"


def amount(size: float) -> str:
    """Return a number of bytes in three digits at most, with a space that breaks no line."""
    return format_size(size).replace(" ", _SPACE)


def counted(count: int, noun: str) -> str:
    """Return a number and its noun: ``1 file``, ``2,000 files``, ``3 repositories``."""
    if count != 1:
        noun = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"{count:,}{_SPACE}{noun}"


def several(names: Sequence[str], most: int = 2) -> str:
    """Return the first few names, and how many more there are."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def plainly(text: str) -> str:
    """Return a text whose every character can be seen: none ends a line, or turns its direction."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == _SPACE else c.encode("unicode_escape").decode() for c in text)


def cut(text: str, letters: int) -> str:
    """Cut a text to some letters, of a repository its end; empty if too few would be left."""
    if len(text) <= letters:
        return text
    last = text.rpartition("/")[2]
    if len(last) <= letters:
        return last
    return f"{last[: letters - 1]}…" if letters >= 7 else ""


def steps(largest: float, most: int = 5) -> list[int]:
    """Return the marks of an axis of bytes: 0, and round numbers of a unit up to `largest` or more."""
    unit = 1
    while unit * 1000 < largest:
        unit *= 1024
    sizes = (unit * factor for factor in (1, 2, 5, 10, 20, 50, 100, 200, 250, 500))
    step = next((size for size in sizes if size * most >= largest), unit * 1024)
    return [step * number for number in range(int(-(-max(largest, 1) // step)) + 1)]
