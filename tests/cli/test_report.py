"""``report``: the page, what it is made of, and what a real browser makes of it."""

from __future__ import annotations

import base64
import hashlib
import itertools
import math
import os
import random
import re
from collections.abc import Callable, Iterator
from datetime import date, datetime, timedelta, timezone
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fsspec
import pytest
from cli.browser import PROGRAMS, Browser, program
from cli.conftest import payload
from cli.shop import shop
from hypothesis import given
from hypothesis import strategies as st

from regfs.catalog import Catalog
from regfs.catalog.manifest import OCI_MANIFEST, Manifest, Reference
from regfs.catalog.snapshot import File, ReadManifest, Repository, Snapshot, TagFiles
from regfs.cli.errors import Code
from regfs.filesystem import RegistryFileSystem
from regfs.layout import Digest
from regfs.report import make
from regfs.report.charts import Tile, bar, growth, heat, treemap
from regfs.report.words import amount, counted, cut, plainly, several, steps

if TYPE_CHECKING:
    from cli.conftest import Regfs
    from support.servers import Place

NOW = datetime(2026, 11, 24, 12, tzinfo=timezone.utc)
HOSTILE = "<script>window.struck=1</script><img src=x onerror=window.struck=1>\u202e\"'&"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
seaweedfs = pytest.mark.parametrize("server", ["seaweedfs"], indirect=True)


class Page(HTMLParser):
    """What stands in a page: its elements with their attributes, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.rows: list[list[str]] = []
        self._inside: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._inside.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        while self._inside and self._inside.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        self.text += data
        if self.rows and self.rows[-1] and {"td", "th"} & set(self._inside) and "title" not in self._inside:
            self.rows[-1][-1] += data.strip()

    def row(self, first: str) -> list[str]:
        """Return the first row that begins so."""
        return next(row for row in self.rows if row and row[0] == first)


def synthetic(repositories: int, *, name: Callable[[int], str] = "team{0}/app{0}".format) -> Catalog:
    """Make a catalog of many repositories over three years; nothing is read."""
    draw = random.Random(7)

    def digest() -> Digest:
        return Digest("sha256", f"{draw.getrandbits(256):064x}")

    def file(size: int) -> File:
        return File(size, NOW - timedelta(days=1100 * draw.random()))

    found = Snapshot(NOW, NOW + timedelta(seconds=3))
    bases = [digest() for _ in range(5)]
    for base in bases:
        found.blobs[base] = file(50_000_000)
    for number in range(repositories):
        repository = Repository(name(number))
        found.repositories[repository.name] = repository
        layers = [digest() for _ in range(2)]
        for layer in layers:
            found.blobs[layer] = file(draw.randrange(1000, 90_000_000))
        references = [
            Reference("layer", item, found.blobs[item].size, LAYER) for item in (draw.choice(bases), *layers)
        ]
        this = digest()
        found.blobs[this] = file(1500)
        found.manifests[this] = ReadManifest(1500, Manifest(OCI_MANIFEST, "image", tuple(references)))
        repository.revisions[this] = file(71)
        repository.tags["v1"] = TagFiles(file(71), this, "", {this: file(71)})
        repository.files, repository.bytes = 3, 3 * 71
    found.blobs[digest()] = file(12_000_000)  # an orphan
    catalog = Catalog(fsspec.filesystem("memory"))
    catalog.__dict__["snapshot"] = found
    return catalog


# -- the page --------------------------------------------------------------------------------------------


def test_the_page_needs_nothing_else() -> None:
    text = make(synthetic(50), findings=False)
    page = Page(text)
    tags = {tag for tag, _ in page.elements}
    assert not tags & {"script", "iframe", "object", "embed", "form", "base"}
    for tag, attributes in page.elements:
        for key, value in attributes.items():
            assert not key.startswith("on"), (tag, key)
            assert key != "style", (tag, value)
            if key in ("href", "src"):
                assert value is not None
                assert value.startswith("#") or value == "data:,", (tag, value)
    assert "url(" not in text
    assert "@import" not in text


def test_the_policy_lets_the_style_in_and_nothing_else() -> None:
    text = make(synthetic(3), findings=False)
    metas = [attributes for tag, attributes in Page(text).elements if tag == "meta"]
    policy = next(meta["content"] for meta in metas if meta.get("http-equiv"))
    assert policy is not None
    (style,) = re.findall("<style>(.*?)</style>", text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert "default-src 'none'" in policy
    assert f"style-src 'sha256-{digest}'" in policy
    assert "unsafe" not in policy


@seaweedfs
def test_the_page_of_a_bucket(regfs: Regfs, options: dict[str, Any], raw: Place, tmp_path: Path) -> None:
    shop().store(RegistryFileSystem(**options))
    file = tmp_path / "page.html"
    told = payload(regfs("report", str(file), "--json").stdout)
    assert told == {"path": str(file), "bytes": file.stat().st_size}
    assert os.listdir(tmp_path) == ["page.html"]
    assert file.stat().st_mode & 0o777 == 0o666 & ~_mask()
    text = file.read_text(encoding="utf-8")
    page = Page(text)
    totals = payload(regfs("usage", "--json").stdout)["totals"]
    for kind in ("unique", "shared", "orphaned"):
        assert page.row(kind)[1] == amount(totals[f"{kind}_bytes"])
    assert page.row("in all")[1] == amount(totals["bytes"])
    assert page.row("library/hello")[7:] == ["2", "2"]
    for expected in (raw.bucket, raw.root, "empty-link", "500 UNKNOWN", "orphaned"):
        assert expected in page.text
    assert options["secretkey"] not in text
    assert options["accesskey"] not in text


def _mask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@seaweedfs
def test_what_lies_in_the_bucket_is_text(regfs: Regfs, options: dict[str, Any], tmp_path: Path) -> None:
    """A key may be anything, and one that no registry writes is shown as an example."""
    fs = RegistryFileSystem(**options)
    shop().store(fs)
    fs.pipe_file(f"/docker/registry/v2/{HOSTILE.replace('/', '%')}", b"x")
    text = regfs("report", "-").stdout
    page = Page(text)
    assert "script" not in {tag for tag, _ in page.elements}
    assert "img" not in {tag for tag, _ in page.elements}
    assert "<script>window.struck=1<%script>" in page.text
    assert "\u202e" not in text
    assert "\\u202e" in page.text


@seaweedfs
def test_a_page_without_findings(regfs: Regfs, options: dict[str, Any]) -> None:
    shop().store(RegistryFileSystem(**options))
    text = regfs("report", "-", "--no-fsck").stdout
    assert "The registry was not checked" in text
    assert "empty-link" not in text


@seaweedfs
def test_where_no_page_can_be_written(regfs: Regfs, tmp_path: Path) -> None:
    assert "is a directory" in regfs("report", str(tmp_path), code=Code.USAGE).stderr
    refused = regfs("report", str(tmp_path / "none" / "page.html"), code=Code.USAGE)
    assert "there is no directory" in refused.stderr
    assert "the page is the output" in regfs("report", "-", "--json", code=Code.USAGE).stderr


def test_a_page_of_thousands_of_repositories_is_small_and_tells_of_the_others() -> None:
    text = make(synthetic(2000), findings=False)
    assert len(text) < 250_000
    page = Page(text)
    others = page.row("1,940 others")
    assert others[7] == "1,940"
    assert "The 60 of 2,000\N{NO-BREAK SPACE}repositories" in page.text
    assert len(page.elements) < 4000, "elements make a page slow"


def test_a_registry_with_nothing_in_it() -> None:
    catalog = synthetic(0)
    catalog.snapshot.blobs.clear()
    catalog.snapshot.repositories["only/links"] = Repository("only/links")
    page = Page(make(catalog, findings=False))
    assert "There are no blobs." in page.text
    assert "No two repositories have a blob in common." in page.text


# -- what it is made of ----------------------------------------------------------------------------------


def rectangles(svg: str) -> list[tuple[float, float, float, float, str]]:
    found = re.findall(
        r'<rect x="([\d.-]+)" y="([\d.-]+)" width="([\d.]+)" height="([\d.]+)"[^>]*class="([^"]+)"', svg
    )
    return [(float(x), float(y), float(w), float(h), name) for x, y, w, h, name in found]


@given(st.lists(st.integers(0, 10**15), max_size=40))
def test_areas_are_as_the_bytes(sizes: list[int]) -> None:
    tiles = [Tile(f"tile {at}", size, f"hue{at}") for at, size in enumerate(sizes)]
    drawn = rectangles(str(treemap(tiles, width=1000, height=400, label="l", name="n")))
    total = sum(sizes)
    assert len(drawn) == sum(size > 0 for size in sizes)
    for x, y, width, height, name in drawn:
        assert -0.1 <= x <= x + width <= 1000.5
        assert -0.1 <= y <= y + height <= 400.5
        share = sizes[int(name.removeprefix("hue"))] / total
        if min(width, height) > 0.4:  # the thinnest would not be seen, and are drawn thicker
            # Each is smaller by the gap beside it, and written with one digit.
            assert (width - 0.1) * (height - 0.1) <= share * 400_000 <= (width + 1.7) * (height + 1.7)


def test_tiles_within_tiles_and_names_that_have_room() -> None:
    inner = (Tile("a/large", 900, "hue0"), Tile("a/small", 1, "hue0"))
    svg = str(treemap([Tile("a", 901, "hue0", inner)], width=600, height=300, label="l", name="n"))
    assert "<title>a/large: 900" in svg
    assert "<title>a/small: 1" in svg
    assert re.findall("<text[^>]*>([^<]*)</text>", svg) == ["a/large", "900\N{NO-BREAK SPACE}B"]


def test_names_are_escaped_in_charts() -> None:
    for svg in (
        treemap([Tile(HOSTILE, 5, "hue0")], width=2000, height=100, label=HOSTILE, name="n"),
        heat([HOSTILE, "b"], {(HOSTILE, "b"): 5}, label=HOSTILE, name="wide"),
    ):
        assert "<script" not in svg
        assert "<img" not in svg
        assert "\u202e" not in svg


def test_growth_stacks_what_was_added_on_what_was_there() -> None:
    months = [(date(2026, 1, 1), 3, 100, 100), (date(2026, 2, 1), 0, 0, 100), (date(2026, 3, 1), 9, 300, 400)]
    svg = str(growth(months, width=600, height=270, label="l", name="n"))
    bars = [(y, h, name) for _, y, _, h, name in rectangles(svg) if name != "clear"]
    assert [name for *_, name in bars] == ["added", "before", "before", "added"]
    assert bars[3][0] + bars[3][1] == pytest.approx(bars[2][0], abs=0.2)
    assert bars[3][1] == pytest.approx(3 * bars[0][1], rel=0.02)
    assert "March 2026: 300\N{NO-BREAK SPACE}B added in 9\N{NO-BREAK SPACE}blobs" in svg


def test_the_darkest_square_is_the_largest() -> None:
    svg = str(heat(["a", "b", "c"], {("a", "b"): 100, ("a", "c"): 10}, label="l", name="wide"))
    shades = re.findall("<title>(. and .): [^<]*</title><rect[^>]*class=.(heat.)", svg)
    assert dict(shades)["a and b"] == dict(shades)["b and a"] == "heat6"
    assert dict(shades)["a and c"] == "heat2"
    assert dict(shades)["b and c"] == "heat0"


def test_a_bar_of_nothing() -> None:
    assert "rect" not in bar(0, (0, "unique"))
    assert rectangles(str(bar(200, (50, "unique"), (100, "shared"))))[1][:3] == (25, 0, 50)


@given(st.integers(0, 2**60))
def test_marks_are_few_round_and_reach_the_largest(largest: int) -> None:
    marks = steps(largest)
    assert marks[0] == 0
    assert marks[-1] >= largest
    assert marks[-2] < max(largest, 1)
    assert 2 <= len(marks) <= 6
    assert len({b - a for a, b in itertools.pairwise(marks)}) == 1


@given(st.integers(0, 2**70))
def test_amounts_are_short_and_near(size: int) -> None:
    number, unit = amount(size).split("\N{NO-BREAK SPACE}")
    power = ("B", "KiB", "MiB", "GiB", "TiB", "PiB").index(unit)
    assert math.isclose(float(number) * 1024**power, size, rel_tol=0.06)
    assert len(number) <= 3 or unit == "PiB"


def test_words() -> None:
    assert counted(1, "repository") == "1\N{NO-BREAK SPACE}repository"
    assert counted(2000, "repository") == "2,000\N{NO-BREAK SPACE}repositories"
    assert several(["a", "b", "c", "d"]) == "a, b and 2 more"
    assert [cut("team/service", letters) for letters in (12, 8, 7, 6)] == [
        "team/service",
        "service",
        "service",
        "",
    ]
    assert cut("team/long-service", 9) == "long-ser…"
    assert plainly("a\nb\u202ec\N{NO-BREAK SPACE}") == "a\\nb\\u202ec\N{NO-BREAK SPACE}"


# -- in a browser ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium; in CI it must be there."""
    path = program()
    if path is None:
        reason = f"no browser: none of {', '.join(PROGRAMS)} (Debian's package chromium)"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    with Browser(path) as running:
        yield running


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A page with hostile names in every place that shows one."""
    file = tmp_path_factory.mktemp("page") / "page.html"

    def name(number: int) -> str:
        return f"team{number % 12}/{HOSTILE}{number}" if number % 3 else f"team{number % 12}/app{number}"

    file.write_text(make(synthetic(200, name=name), findings=False), encoding="utf-8")
    return file.as_uri()


@pytest.mark.parametrize(("width", "dark"), [(1100, False), (1100, True), (360, False), (360, True)])
def test_in_a_browser(browser: Browser, url: str, width: int, dark: bool) -> None:
    browser.open(url, width=width, dark=dark)
    assert [item for item in browser.requested() if not item.startswith("data:")] == [url], "a request"
    assert browser.told("Log.entryAdded") == []
    assert browser.told("Runtime.exceptionThrown") == []
    assert browser.told("Runtime.consoleAPICalled") == []
    assert browser.evaluate("window.struck") is None
    assert browser.evaluate("document.documentElement.scrollWidth") <= width, "it scrolls sideways"
    text = browser.evaluate("document.body.innerText")
    for expected in ("Where the bytes go", "Growth by month", "Largest blobs", "<script>window.struck=1"):
        assert expected in text
    shown = browser.evaluate(
        "[...document.querySelectorAll('figure > svg')].filter(e => e.getBoundingClientRect().height > 100)"
        ".map(e => e.classList[0])"
    )
    assert shown == ["narrow" if width < 640 else "wide"] * 3
    assert browser.picture().startswith(b"\x89PNG")


CONTRAST = """
(() => {
    const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
    const parse = color => {
        canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = color; canvas.fillRect(0, 0, 1, 1);
        return [...canvas.getImageData(0, 0, 1, 1).data];
    };
    const light = ([r, g, b]) => {
        const [x, y, z] = [r, g, b].map(v => v / 255).map(
            v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4
        );
        return 0.2126 * x + 0.7152 * y + 0.0722 * z;
    };
    const mixed = (upper, lower, share) => upper.map((v, i) => v * share + lower[i] * (1 - share));
    const behind = element => {
        for (; element; element = element.parentElement) {
            const color = parse(getComputedStyle(element).backgroundColor);
            if (color[3]) return color;
        }
        return [255, 255, 255];
    };
    const page = parse(getComputedStyle(document.body).backgroundColor);
    let worst = [99, ''];
    const look = (front, back, where) => {
        const [a, b] = [light(front), light(back)].sort((x, y) => y - x);
        worst = (a + 0.05) / (b + 0.05) < worst[0] ? [(a + 0.05) / (b + 0.05), where] : worst;
    };
    const texts = 'p, th, td, h1, h2, span, b, a, dt, dd, figcaption, li, code';
    for (const e of document.querySelectorAll(texts)) {
        look(parse(getComputedStyle(e).color), behind(e), e.tagName + '.' + e.className);
    }
    for (const e of document.querySelectorAll('svg.wide text')) {
        const style = getComputedStyle(e), rect = e.parentElement.querySelector('rect');
        const fill = rect && e.parentElement.tagName === 'g' ? getComputedStyle(rect) : null;
        const back = fill ? mixed(parse(fill.fill), page, +fill.fillOpacity) : page;
        const where = 'text on ' + (rect ? rect.className.baseVal : '');
        look(mixed(parse(style.fill), back, +style.opacity), back, where);
    }
    return worst;
})()
"""


@pytest.mark.parametrize("dark", [False, True])
def test_texts_can_be_read(browser: Browser, url: str, dark: bool) -> None:
    """The contrast that WCAG 2 asks of text, level AA."""
    browser.open(url, dark=dark)
    worst, where = browser.evaluate(CONTRAST)
    assert worst >= 4.5, where


def test_in_print(browser: Browser, url: str) -> None:
    browser.open(url, dark=True)
    assert browser.printed().startswith(b"%PDF-")
    browser.call("Emulation.setEmulatedMedia", media="print", features=[])
    assert browser.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    tall = browser.evaluate("document.querySelector('details table').getBoundingClientRect().height")
    browser.call("Emulation.setEmulatedMedia", media="", features=[])
    assert tall > 50, "what is folded up on the screen is printed"
