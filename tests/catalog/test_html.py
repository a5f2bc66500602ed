"""Tables for notebooks: whole, escaped, and short."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from xml.etree import ElementTree

import pytest

from regfs.catalog.html import Bytes, Cell, table
from regfs.units import format_size


def parsed(html: str) -> ElementTree.Element:
    """Parse a table, which is well-formed XML too."""
    return ElementTree.fromstring(html)


def texts(element: ElementTree.Element, tag: str) -> list[str]:
    return ["".join(item.itertext()) for item in element.iter(tag)]


def test_a_table_has_its_caption_headings_and_cells() -> None:
    moment = datetime(2025, 3, 1, 12, tzinfo=timezone(timedelta(hours=2)))
    made = parsed(
        table("images", ["name", "n", "size", "when", "no"], [("a", 1234, Bytes(2048), moment, None)])
    )
    assert texts(made, "caption") == ["images"]
    assert texts(made, "th") == ["name", "n", "size", "when", "no"]
    assert texts(made, "td") == ["a", "1,234", "2.0 KiB", "2025-03-01 10:00:00", "–"]
    assert [item.get("title") for item in made.iter("td")] == [None, None, "2,048 bytes", None, None]
    assert made.find("tfoot") is None


def test_every_text_is_escaped_and_shows() -> None:
    hostile = "<script>alert('x')</script>\x1b[2J\u202e&\""
    html = table(hostile, [hostile], [(hostile,)], note=hostile)
    assert "<script" not in html
    assert "\x1b" not in html
    assert "\u202e" not in html
    made = parsed(html)
    shown = "<script>alert('x')</script>\\x1b[2J\\u202e&\""
    assert [texts(made, tag) for tag in ("caption", "th", "td")] == [[shown], [shown], [shown, shown]]


@pytest.mark.parametrize(
    ("count", "said"), [(3, []), (4, ["and 1 more; note"]), (2000, ["and 1,997 more; note"])]
)
def test_a_long_table_is_cut_and_says_so(count: int, said: list[str]) -> None:
    rows: list[tuple[Cell, ...]] = [(number, "x") for number in range(count)]
    made = parsed(table("many", [], rows, note="note" if said else "", most=3))
    assert len(made.findall("tbody/tr")) == 3
    assert texts(made, "tfoot") == said
    assert [item.get("colspan") for item in made.iter("td") if item.get("colspan")] == ["2"] * len(said)


@pytest.mark.parametrize(
    ("count", "shown"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 KiB"), (10 * 2**20, "10 MiB"), (2**60, "1024 PiB")],
)
def test_sizes(count: int, shown: str) -> None:
    assert format_size(count) == shown
