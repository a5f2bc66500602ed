"""The page's charts, as SVG. Pure: numbers in, markup out; colours and fonts are the style sheet's.

squarify lays the treemap out. The rest is rectangles, which need no library; drawn here, they follow the
reader's light or dark scheme, and weigh a few kilobytes.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import squarify  # type: ignore[import-untyped]  # it ships no types
from markupsafe import Markup

from regfs.report.words import amount, counted, cut, plainly, steps

_LETTER = 7.0
"""Pixels that a letter of a chart takes, on the average and rather more."""
_LINE = 15
_GAP = 1.5
_SHADES = 6


@dataclass(frozen=True)
class Tile:
    """A rectangle of a treemap: its name, bytes, colour's class; and what lies in it."""

    name: str
    size: int
    kind: str
    inner: tuple[Tile, ...] = field(default=())


def _tag(name: str, text: str = "", /, **attributes: Any) -> Markup:
    """Write an element; everything is escaped and can be seen, except markup."""
    text = text if isinstance(text, Markup) else plainly(text)
    written = Markup("").join(
        Markup(' {}="{}"').format(key.rstrip("_").replace("_", "-"), _number(value))
        for key, value in attributes.items()
    )
    if name == "rect" and not text:
        return Markup("<rect{}/>").format(written)
    return Markup("<{}{}>{}</{}>").format(name, written, text, name)


def _number(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.1f}".removesuffix(".0")
    return plainly(str(value))


def _svg(width: float, height: float, label: str, name: str, parts: Iterator[Markup]) -> Markup:
    content = Markup("").join([_tag("title", label), *parts])
    return _tag("svg", content, class_=name, viewBox=f"0 0 {width:.0f} {height:.0f}", role="img")


def treemap(tiles: Sequence[Tile], *, width: float, height: float, label: str, name: str) -> Markup:
    """Draw rectangles whose areas are as the bytes; each shows its name and size when pointed at."""

    def parts() -> Iterator[Markup]:
        for tile, (x, y, w, h) in _laid(tiles, 0, 0, width, height):
            if tile.inner:
                for inner, box in _laid(tile.inner, x, y, w, h):
                    yield _tile(inner, *box)
            else:
                yield _tile(tile, x, y, w, h)

    return _svg(width, height, label, name, parts())


def _laid(
    tiles: Sequence[Tile], x: float, y: float, width: float, height: float
) -> Iterator[tuple[Tile, tuple[float, float, float, float]]]:
    ordered = sorted((tile for tile in tiles if tile.size > 0), key=lambda tile: -tile.size)
    if not ordered or width <= 0 or height <= 0:
        return
    sizes = squarify.normalize_sizes([tile.size for tile in ordered], width, height)
    for tile, box in zip(ordered, squarify.squarify(sizes, x, y, width, height), strict=True):
        yield tile, (box["x"], box["y"], box["dx"], box["dy"])


def _tile(tile: Tile, x: float, y: float, width: float, height: float) -> Markup:
    w, h = max(width - _GAP, 0.3), max(height - _GAP, 0.3)
    parts = [_tag("title", f"{tile.name}: {amount(tile.size)}")]
    parts.append(_tag("rect", x=x, y=y, width=w, height=h, rx=min(2.0, w / 4), class_=tile.kind))
    letters = int((w - 10) / _LETTER)
    shown = cut(plainly(tile.name), letters) if h > _LINE + 4 else ""
    if shown:
        parts.append(_tag("text", shown, x=x + 6, y=y + _LINE))
        if h > 2 * _LINE + 4 and len(amount(tile.size)) <= letters:
            parts.append(_tag("text", amount(tile.size), x=x + 6, y=y + 2 * _LINE, class_="quiet"))
    return _tag("g", Markup("").join(parts))


def growth(
    months: Sequence[tuple[date, int, int, int]], *, width: float, height: float, label: str, name: str
) -> Markup:
    """Draw a bar for each month: what was there before, and on it what was added.

    Parameters
    ----------
    months : sequence of (date, int, int, int)
        First day, blobs added, bytes added, bytes in all.
    """
    left, bottom, top, right = 66.0, 24.0, 8.0, 4.0
    marks = steps(max((total for *_, total in months), default=0))
    inner = height - bottom - top

    def level(size: float) -> float:
        return top + inner * (1 - size / marks[-1])

    def parts() -> Iterator[Markup]:
        for mark in marks:
            y = level(mark)
            yield _tag("path", d=f"M{left:.0f} {y:.1f}H{width - right:.0f}", class_="grid")
            yield _tag("text", amount(mark), x=left - 8, y=y + 4, class_="quiet end")
        slot = min((width - left - right) / max(len(months), 1), 90)
        thick = max(slot * 0.72, 1)
        every = -(-70 // max(int(slot), 1)) if slot < 70 else 1
        for at, (month, blobs, size, total) in enumerate(months):
            x = left + at * slot + (slot - thick) / 2
            caption = (
                f"{month:%B %Y}: {amount(size)} added in {counted(blobs, 'blob')}; {amount(total)} in all"
            )
            bars = [_tag("title", caption)]
            bars.append(
                _tag("rect", x=x - (slot - thick) / 2, y=top, width=slot, height=inner, class_="clear")
            )
            for low, high, kind in ((0, total - size, "before"), (total - size, total, "added")):
                tall = level(low) - level(high)
                if tall > 0:
                    tall = max(tall, 1.0)
                    box = {"x": x, "y": level(low) - tall, "width": thick, "height": tall}
                    bars.append(_tag("rect", **box, class_=kind))
            yield _tag("g", Markup("").join(bars))
            if at % every == 0:
                yield _tag("text", f"{month:%b %Y}", x=x + thick / 2, y=height - 6, class_="quiet middle")

    return _svg(width, height, label, name, parts())


def heat(names: Sequence[str], shared: dict[tuple[str, str], int], *, label: str, name: str) -> Markup:
    """Draw a square for each pair of repositories, the darker the more both need.

    Parameters
    ----------
    names : sequence of str
        The repositories, the one that shares most first.
    shared : dict
        Bytes by pairs of names, sorted.
    """
    side = 30.0
    left = 150.0 if name == "narrow" else 230.0
    letters = int((left - 40) / _LETTER)
    largest = max((shared.get(pair, 0) for pair in itertools.combinations(sorted(names), 2)), default=0)

    def parts() -> Iterator[Markup]:
        for row, this in enumerate(names):
            y = 22 + row * side
            shown = plainly(this) if len(this) <= letters else f"…{plainly(this)[-letters + 1 :]}"
            yield _tag("text", shown, x=left - 34, y=y + 20, class_="end")
            yield _tag("text", str(row + 1), x=left - 10, y=y + 20, class_="quiet end")
            yield _tag("text", str(row + 1), x=left + row * side + side / 2, y=14, class_="quiet middle")
            for column, other in enumerate(names):
                x = left + column * side
                if row == column:
                    yield _tag("rect", x=x + 1, y=y + 1, width=side - 2, height=side - 2, rx=2, class_="self")
                    continue
                size = shared.get((min(this, other), max(this, other)), 0)
                shade = 0 if not size else 1 + min(int(size / largest * (_SHADES - 1) + 0.5), _SHADES - 1)
                box = {"x": x + 1, "y": y + 1, "width": side - 2, "height": side - 2, "rx": 2}
                caption = f"{this} and {other}: {amount(size)} in common"
                square = _tag("rect", **box, class_=f"heat{shade}")
                yield _tag("g", Markup("").join([_tag("title", caption), square]))

    return _svg(left + side * len(names) + 2, 24 + side * len(names), label, name, parts())


def bar(largest: int, *parts: tuple[int, str], name: str = "bar") -> Markup:
    """Draw a row's bar: parts, each of so many bytes and of a colour's class, one behind the other."""
    drawn, x = [], 0.0
    for size, kind in parts:
        width = 100 * size / largest if largest else 0.0
        if width:
            drawn.append(_tag("rect", x=x, y=0, width=width, height=10, class_=kind))
        x += width
    attributes = {
        "viewBox": "0 0 100 10",
        "preserveAspectRatio": "none",
        "class_": name,
        "aria_hidden": "true",
    }
    return _tag("svg", Markup("").join(drawn), **attributes)
