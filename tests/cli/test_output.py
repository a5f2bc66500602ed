"""Tables that fit the terminal, JSON documents, and pipes."""

from __future__ import annotations

import itertools
import json
import re
from typing import TYPE_CHECKING, Any

import pytest
from cli.shop import BASE, CREATED, shop
from hypothesis import given
from hypothesis import strategies as st

from regfs.cli.output import _GAP, _NARROWEST, Column, Output, fit
from regfs.filesystem import RegistryFileSystem
from regfs.image import build_image
from regfs.layout import UploadData

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cli.conftest import Regfs, Terminal
    from support.servers import Place

NAME = "organisation/a-rather-long-name/with-parts"
COLUMNS = [
    Column("repository"),
    Column("tags", "number"),
    Column("manifests", "number", drop=4),
    Column("logical", "size", drop=3),
    Column("stored", "size"),
    Column("shared", "size", drop=2),
    Column("freed", "size"),
    Column("share", drop=5),
]
ROW = {
    "repository": NAME,
    "tags": 12,
    "manifests": 3456,
    "logical": 10**10,
    "stored": 10**9,
    "shared": 9 * 10**8,
    "freed": 10**8,
    "share": "█████▏        43%",
}


class _Terminal(Output):
    for_reading = True


def drawn(
    columns: list[Column], row: dict[str, Any], width: int, capfd: pytest.CaptureFixture[str]
) -> list[str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", str(width))
        _Terminal(as_json=False).table(columns, [row], "rows")
    return capfd.readouterr().out.splitlines()


@pytest.mark.parametrize(
    ("width", "left_out"),
    [
        (200, ""),
        (112, "share"),
        (93, "share manifests"),
        (82, "share manifests logical"),
        (73, "share manifests logical shared"),
    ],
)
def test_columns_are_dropped_by_their_order(
    width: int, left_out: str, capfd: pytest.CaptureFixture[str]
) -> None:
    heading, row = drawn(COLUMNS, ROW, width, capfd)
    assert heading.split() == [column.key for column in COLUMNS if column.key not in left_out.split()]
    assert row.startswith(f"{NAME} ")
    assert len(heading.rstrip()) <= width


def test_an_ellipsis_comes_last(capfd: pytest.CaptureFixture[str]) -> None:
    heading, row = drawn(COLUMNS, ROW, 60, capfd)
    assert heading.split() == ["repository", "tags", "stored", "freed"]
    name = row.split()[0]
    assert name.endswith("…")
    assert NAME.startswith(name[:-1])
    assert len(row.rstrip()) == 60


def test_prose_is_folded_between_words(capfd: pytest.CaptureFixture[str]) -> None:
    problem = "the layer is missing, so that a pull of it fails"
    columns = [Column("repository"), Column("platforms", drop=1), Column("problem", "prose")]
    lines = drawn(columns, {"repository": NAME, "platforms": "linux/arm64", "problem": problem}, 80, capfd)
    assert lines[1].startswith(f"{NAME}  ")
    assert " ".join(line[len(NAME) :].replace("linux/arm64", "").strip() for line in lines[1:]) == problem


def test_what_cannot_be_made_narrower_is_not_crushed(capfd: pytest.CaptureFixture[str]) -> None:
    _, row = drawn([Column("a", "number"), Column("b", "number")], {"a": 10**20, "b": 10**20}, 20, capfd)
    assert row.split() == [str(10**20)] * 2


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["text", "prose", "size", "number"]), st.integers(0, 3), st.integers(1, 60)
        ),
        min_size=1,
        max_size=9,
    ),
    st.integers(20, 200),
)
def test_a_table_fits_wherever_it_can(drawn_columns: list[tuple[Any, int, int]], width: int) -> None:
    columns = [Column(str(n), kind, drop) for n, (kind, drop, _) in enumerate(drawn_columns)]
    natural = [length for _, _, length in drawn_columns]
    widths = fit(columns, natural, width)

    def total(these: list[int]) -> int:
        shown = [each for each in these if each]
        return sum(shown) + _GAP * (len(shown) - 1)

    assert all(0 <= given <= wanted for given, wanted in zip(widths, natural, strict=True))
    assert all(given for given, column in zip(widths, columns, strict=True) if not column.drop)
    assert all(
        given in (0, wanted)
        for given, wanted, column in zip(widths, natural, columns, strict=True)
        if column.kind not in _NARROWEST
    )
    if total(natural) <= width:
        assert widths == natural
    least = [
        0 if column.drop else min(wanted, _NARROWEST.get(column.kind, wanted))
        for wanted, column in zip(natural, columns, strict=True)
    ]
    assert total(widths) <= max(width, total(least))


@pytest.mark.parametrize("width", [60, 80, 100, 200])
def test_a_real_terminal(terminal: Callable[..., Terminal], raw: Place, width: int) -> None:
    raw.put("some/file", b"content")
    code, said = terminal("ls", "-l", "/some", environ={"COLUMNS": str(width)}).end()
    assert code == 0
    heading, row = said.replace("\x1b[1m", "").replace("\x1b[0m", "").splitlines()[:2]
    assert heading.split()[:2] == ["size", "modified"]
    assert row.rstrip().endswith("  file")
    assert max(len(line.rstrip()) for line in (heading, row)) <= width


LONG = "organisation/department/a-rather-long-name"
RELEASE = "release-2026.11.27-build.1234"
VERBS = [
    "repos",
    "tags",
    "tags {name}",
    "tags --history",
    "tags --untagged",
    "usage",
    "usage --by tag",
    "usage {name}",
    "show {name}:{tag}",
    "show multi/arch:1.0",
    "files -l {name}:{tag}",
    "files --dirs --depth 1 {name}:{tag}",
    "files --wasted team/app:v1",
    "diff library/hello:1.0 {name}:{tag}",
    "who {base}",
    "orphans --older-than 0",
    "uploads",
    "fsck",
    "summary",
    "ls -l /docker/registry/v2/blobs/sha256",
    "du /docker/registry/v2",
]
ALL = """
import os, sys
from regfs.cli.group import cli
sys.stderr = open(os.devnull, "w")  # sums and remarks are no tables
for line in sys.argv[1:]:
    print(f"$ {line}", flush=True)
    try:
        cli.main(line.split(), prog_name="regfs")
    except SystemExit as exc:
        print(f"= {exc.code}", flush=True)
"""


@pytest.mark.parametrize("server", ["seaweedfs"], indirect=True)
@pytest.mark.parametrize("width", [60, 80, 100, 200])
def test_every_verb_fits(
    terminal: Callable[..., Terminal], options: dict[str, Any], raw: Place, width: int
) -> None:
    made = shop()
    for number in range(2):
        image = build_image([BASE, {f"srv/file{number}": b"x" * 3000}], created=CREATED)
        made.image(LONG, image, RELEASE)
    made.store(RegistryFileSystem(**options))
    raw.s3.create_multipart_upload(Bucket=raw.bucket, Key=raw.prefix + UploadData(LONG, "0" * 36).path[1:])
    lines = [verb.format(name=LONG, tag=RELEASE, base=made.digests["base"]) for verb in VERBS]
    code, said = terminal(*lines, environ={"COLUMNS": str(width)}, program=("-c", ALL)).end()
    assert code == 0
    endings = re.findall(r"^= (\d)\r$", said, re.MULTILINE)
    assert [verb for verb, ending in zip(VERBS, endings, strict=True) if ending != "0"] == ["fsck"]
    tables = list(headed(said))
    assert len(tables) >= len(VERBS) - 3, "fsck and summary have none, usage and show several"
    for table in tables:
        assert max(len(line.rstrip()) for line in table) <= width, "\n".join(table)
    repositories, tags = tables[:2]
    assert (LONG in "\n".join(repositories)) == (width >= len(LONG))
    assert ("revisions" in tags[0]) == (width == 200)


def headed(said: str) -> Iterator[list[str]]:
    """Return the tables: from a heading, which is bold, to what is no row any more."""
    lines = said.replace("\r", "").split("\n")
    for number, line in enumerate(lines):
        if line.count("\x1b[1m") > 1 and line.endswith("\x1b[0m"):
            rows = itertools.takewhile(lambda row: row and row[0] not in "(=$\x1b", lines[number + 1 :])
            yield [re.sub(r"\x1b\[\d*m", "", row) for row in (line, *rows)]


def test_pipes_have_exact_sizes_and_a_heading_if_asked(regfs: Regfs, raw: Place) -> None:
    raw.put("some/file", bytes(2000))
    plain = regfs("ls", "-l", "/some").stdout
    assert plain.startswith("2000\t")
    assert regfs("ls", "-l", "/some", "--header").stdout == f"size\tmodified\tclass\tname\n{plain}"


def test_json_names_the_place(regfs: Regfs, raw: Place) -> None:
    document = json.loads(regfs("ls", "--json").stdout)
    assert list(document) == ["place", "taken", "entries"]
    query = f"rootdirectory={raw.root}&regionendpoint={raw.server.endpoint}"
    assert document["place"] == f"regfs://{raw.bucket}/?{query}"


def test_json_of_several_places(regfs: Regfs, raw: Place) -> None:
    raw.put("a", b"content")
    option = ("--to-option", f"rootdirectory={raw.root}/elsewhere")
    document = json.loads(regfs("cp", "regfs:///a", "regfs:///b", *option, "--json").stdout)
    roots = {place.partition("rootdirectory=")[2].partition("&")[0] for place in document["place"]}
    assert roots == {raw.root, f"{raw.root}/elsewhere"}
