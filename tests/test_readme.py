"""The READMEs say what is true: their code runs, their tables match the code, their names and links exist."""

from __future__ import annotations

import builtins
import importlib.util
import os
import re
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import pytest
from cli.browser import program
from cli.conftest import write_config
from faults.operations import OPERATIONS
from faults.table import FAULTS, table
from support.example import HEIGHT, WIDTH, picture
from support.memory import MemoryDriver

import regfs
from regfs.catalog.fsck.findings import KINDS
from regfs.cli.errors import MEANING, Code
from regfs.cli.group import cli as regfs_command
from regfs.frames.schemas import SCHEMAS, markdown
from regfs.parameters.table import parameter_table

if TYPE_CHECKING:
    from support.servers import Server

ROOT = Path(__file__).parent.parent
PACKAGES = sorted(path.parent.name for path in ROOT.glob("regfs/*/README.md"))
FILES = [
    "README.md",
    *(f"regfs/{name}/README.md" for name in PACKAGES),
    "tests/README.md",
    "tests/benchmarks/README.md",
]
TEXTS = {name: (ROOT / name).read_text(encoding="utf-8") for name in FILES}
WITH_CODE = [name for name in FILES if "```python" in TEXTS[name]]


def section(name: str, title: str) -> str:
    found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", TEXTS[name], re.MULTILINE | re.DOTALL)
    assert found, title
    return found[1]


def between(name: str, mark: str) -> str:
    found = re.search(rf"^<!-- {mark} -->\n(.*?)^<!-- /{mark} -->$", TEXTS[name], re.MULTILINE | re.DOTALL)
    assert found, mark
    return found[1].strip()


@pytest.mark.slow
@pytest.mark.parametrize("server", ["seaweedfs"], indirect=True)
# dask still calls set_index and reset_index so, which pandas 3.1 warns of.
@pytest.mark.filterwarnings("ignore:The inplace keyword in DataFrame:DeprecationWarning")
@pytest.mark.parametrize("name", WITH_CODE)
def test_the_code_runs(
    server: Server, options: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Each file's blocks in their order, with a configuration file of an empty place in a bucket."""
    monkeypatch.chdir(tmp_path)
    write_config(tmp_path / "config.yml", options)
    names: dict[str, Any] = {"MyDriver": MemoryDriver}
    text = TEXTS[name]
    for block in re.finditer(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        code = block[1].replace("regfs://registry", f"regfs://{options['bucket']}")
        # Lines are counted as in the file, so that a failure shows where.
        line = text[: block.start(1)].count("\n")
        exec(compile("\n" * line + code, str(ROOT / name), "exec"), names)


@pytest.mark.slow
def test_the_picture_is_made_by_a_script(tmp_path: Path) -> None:
    if program() is None:
        if os.environ.get("CI") == "true":
            pytest.fail("chromium is missing")
        pytest.skip("chromium is missing")
    picture(tmp_path / "report.png")
    for file in (tmp_path / "report.png", ROOT / "notebooks" / "report.png"):
        content = file.read_bytes()
        assert content.startswith(b"\x89PNG\r\n\x1a\n")
        assert struct.unpack(">II", content[16:24]) == (WIDTH, HEIGHT)
        assert 20_000 < len(content) < 300_000


def test_the_parameter_table_is_the_one_in_the_code() -> None:
    shown = between("regfs/parameters/README.md", "parameters")
    assert shown == parameter_table().strip(), "put parameter_table() between the two comments"


def test_everyday_parameters_have_their_defaults() -> None:
    defaults = dict(re.findall(r"^\| `(\w+)` \| (.*?) \|", parameter_table(), re.MULTILINE))
    rows = re.findall(r"^\| (`.*?`) \| (.*?) \|", section("README.md", "Everyday parameters"), re.MULTILINE)
    assert rows
    for names, default in rows:
        assert defaults[re.findall(r"`(\w+)`", names)[0]] == default


def test_the_table_of_frames_is_the_one_in_the_code() -> None:
    assert "\n".join(markdown()) in TEXTS["regfs/frames/README.md"]


def test_every_kind_of_bytes_has_its_word() -> None:
    columns = {column.name for schema in SCHEMAS.values() for column in schema.columns}
    kinds = {name.removesuffix("_bytes") for name in columns if name.endswith("_bytes")} - {"total"}
    rows = re.findall(r"^\| ([a-z, ]+) \|", TEXTS["regfs/catalog/README.md"], re.MULTILINE)
    assert kinds <= {word for row in rows for word in row.split(", ")}


def test_every_kind_of_finding_is_in_the_table() -> None:
    rows = re.findall(r"^\| `([\w-]+)` \|", TEXTS["regfs/catalog/README.md"], re.MULTILINE)
    assert {row for row in rows if "-" in row} == set(KINDS)


def test_the_table_of_faults_is_the_one_that_is_run() -> None:
    assert between("regfs/s3/README.md", "faults") == table().strip(), "put faults.table.table() there"
    cells = re.search(r"([\d,]+) cells", section("regfs/s3/README.md", "Faults"))
    assert cells
    assert int(cells[1].replace(",", "")) == 2 * len(FAULTS) * len(OPERATIONS)


@pytest.mark.parametrize("name", [name for name in FILES if name != "README.md"])
def test_a_package_has_three_usages(name: str) -> None:
    usages = section(name, "Three usages")
    assert re.search(r"^```(python|sh|console)$", usages, re.MULTILINE)


@pytest.mark.parametrize("folder", [*(f"regfs/{name}" for name in PACKAGES), "tests/benchmarks"])
def test_every_module_is_described(folder: str) -> None:
    rows = re.findall(r"^\| (`.*?) \|", section(f"{folder}/README.md", "Modules"), re.MULTILINE)
    described = {name for row in rows for name in re.findall(r"`([\w.]+)`", row)}
    package = ROOT / folder
    modules = {".".join(path.relative_to(package).with_suffix("").parts) for path in package.rglob("*.py")}
    assert described == {name for name in modules if name.rpartition(".")[2] not in ("__init__", "__main__")}


def test_every_package_is_described() -> None:
    rows = re.findall(r"^\| (\[?`.*?) \|", section("README.md", "Architecture"), re.MULTILINE)
    described = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    folders = {path.parent.name for path in ROOT.glob("regfs/*/__init__.py")}
    modules = {path.stem for path in ROOT.glob("regfs/*.py")} - {"__init__", "__main__", "_version"}
    assert described == folders | modules
    assert folders == set(PACKAGES)


def test_the_folders_of_the_tests_are_described() -> None:
    rows = re.findall(r"^\| (`.*?) \|", section("tests/README.md", "Folders"), re.MULTILINE)
    described = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert described == {path.relative_to(ROOT / "tests").parts[0] for path in ROOT.glob("tests/*/*.py")}


@pytest.mark.parametrize("name", FILES)
def test_the_verbs_and_their_options_exist(name: str) -> None:
    text = TEXTS[name].replace("\\|", "/")
    with click.Context(regfs_command) as context:
        for verb, arguments in re.findall(r"\bregfs ([a-z]+)\b([^`|\n]*)", text):
            command = regfs_command.get_command(context, verb)
            if command is None:  # in a sentence about regfs
                assert f"`regfs {verb}" not in text, verb
                assert f"$ regfs {verb}" not in text, verb
                continue
            options = {"--help", "-h"} | {
                option
                for parameter in command.params
                for option in (*parameter.opts, *parameter.secondary_opts)
            }
            assert set(re.findall(r"(?<!\S)\[?(--?[a-zA-Z][\w-]*)", arguments)) <= options, verb


def test_every_exit_code_is_described() -> None:
    rows = re.findall(
        r"^\| ([\d, ]+) \| (.*) \|$", section("regfs/cli/README.md", "Exit codes"), re.MULTILINE
    )
    assert {int(code) for codes, _ in rows for code in codes.split(", ")} == set(Code)
    for codes, meaning in rows:
        if "," not in codes:
            assert meaning.replace("`", "") == MEANING[Code(int(codes))]


@pytest.mark.parametrize("name", FILES)
def test_the_commands_name_what_exists(name: str) -> None:
    """Files, modules and extras; what the commands do is tested where each belongs, or by ``.ci/run``."""
    metadata = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    for block in re.findall(r"^```sh\n(.*?)^```$", TEXTS[name], re.MULTILINE | re.DOTALL):
        for extra in re.findall(r"'(?:\.|regfs)\[(\w+)\]'", block):
            assert re.search(rf"^{extra} = \[", metadata, re.MULTILINE), extra
        for path in re.findall(r"(?<!\S)tests/\S+", block):
            assert (ROOT / path).exists(), path
        for module in re.findall(r" -m ([a-z]\S*)", block):
            if module != "again":  # a mark of pytest
                assert importlib.util.find_spec(module), module


@pytest.mark.parametrize("name", FILES)
def test_links_lead_somewhere(name: str) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", TEXTS[name]):
        file, _, anchor = target.partition("#")
        if "://" in target:
            continue
        path = (ROOT / name).parent / file if file else ROOT / name
        assert path.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {
                re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings
            }


def test_every_dependency_has_its_reason() -> None:
    metadata = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    listed = re.search(r"^dependencies = \[\n(.*?)^\]", metadata, re.MULTILINE | re.DOTALL)
    extras = re.search(r"^\[project.optional-dependencies\]\n(.*?)^\[", metadata, re.MULTILINE | re.DOTALL)
    assert listed
    assert extras
    rows = re.findall(
        r"^\| `?([\w.-]+)`? \| .* \|$", section("tests/README.md", "Dependencies"), re.MULTILINE
    )
    needed = re.findall(r'"([A-Za-z0-9_-]+)', listed[1])
    offered = re.findall(r"^([\w-]+) = \[", extras[1], re.MULTILINE)
    assert [row for row in rows if row not in ("package", "extra")] == needed + offered


def test_every_error_exists() -> None:
    for name in re.findall(r"`(\w+Error)`", section("README.md", "Errors")):
        assert hasattr(regfs, name) or hasattr(builtins, name), name


@pytest.mark.parametrize("name", FILES)
def test_it_names_no_machine(name: str) -> None:
    for line in TEXTS[name].splitlines():
        assert not re.search(r"/(?:work|root|home|tmp)/|pypi\.|localhost", line), line


def test_the_first_page_stays_short() -> None:
    assert len(TEXTS["README.md"].splitlines()) <= 240
