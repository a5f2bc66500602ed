"""The README says what is true: its code runs, its tables match the code, its names exist."""

from __future__ import annotations

import builtins
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from cli.conftest import write_config
from faults.operations import OPERATIONS
from faults.table import FAULTS, table
from memory import MemoryDriver

import regfs
from regfs.catalog.fsck.findings import KINDS
from regfs.frames.schemas import SCHEMAS, markdown
from regfs.parameters.table import parameter_table

if TYPE_CHECKING:
    from servers import Server

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
PYTHON = re.findall(r"^```python\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def section(title: str) -> str:
    found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", README, re.MULTILINE | re.DOTALL)
    assert found, title
    return found[1]


@pytest.mark.slow
@pytest.mark.parametrize("server", ["seaweedfs"], indirect=True)
# dask still calls set_index and reset_index so, which pandas 3.1 warns of.
@pytest.mark.filterwarnings("ignore:The inplace keyword in DataFrame:DeprecationWarning")
def test_the_code_runs(
    server: Server, options: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    # The README's code, with a file of this test's place in the bucket.
    write_config(tmp_path / "config.yml", options)
    names: dict[str, Any] = {"MyDriver": MemoryDriver}
    for code in PYTHON:
        ours = code.replace("regfs://registry", f"regfs://{options['bucket']}")
        # Lines are counted as in the README, so that a failure tells where.
        line = README[: README.index(code)].count("\n")
        exec(compile("\n" * line + ours, str(ROOT / "README.md"), "exec"), names)


def test_the_parameter_table_is_the_one_in_the_code() -> None:
    found = re.search(r"^<!-- parameters -->\n(.*?)^<!-- /parameters -->$", README, re.MULTILINE | re.DOTALL)
    assert found
    assert found[1].strip() == parameter_table().strip(), "put parameter_table() between the two comments"


def test_the_table_of_frames_is_the_one_in_the_code() -> None:
    assert "\n".join(markdown()) in section("What the bucket holds")


def test_every_kind_of_bytes_has_its_word() -> None:
    columns = {column.name for schema in SCHEMAS.values() for column in schema.columns}
    kinds = {name.removesuffix("_bytes") for name in columns if name.endswith("_bytes")} - {"total"}
    rows = re.findall(r"^\| ([a-z, ]+) \|", section("What the bucket holds"), re.MULTILINE)
    assert kinds <= {word for row in rows for word in row.split(", ")}


def test_every_kind_of_finding_is_in_the_table() -> None:
    rows = re.findall(r"^\| `([\w-]+)` \|", section("What the bucket holds"), re.MULTILINE)
    assert {row for row in rows if "-" in row} == set(KINDS)


def test_the_table_of_faults_is_the_one_that_is_run() -> None:
    found = re.search(r"^<!-- faults -->\n(.*?)^<!-- /faults -->$", README, re.MULTILINE | re.DOTALL)
    assert found
    assert found[1].strip() == table().strip(), "put faults.table.table() between the two comments"
    cells = re.search(r"([\d,]+) cells", section("Faults"))
    assert cells
    assert int(cells[1].replace(",", "")) == 2 * len(FAULTS) * len(OPERATIONS)


def test_every_module_is_described() -> None:
    rows = re.findall(r"^\| (`.*?) \|", section("Architecture"), re.MULTILINE)
    described = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    folders = [ROOT / "regfs", *(ROOT / "regfs" / name for name in ("s3", "catalog", "doctor"))]
    modules = {path.stem for folder in folders for path in folder.glob("*.py")} - {"__init__", "_version"}
    modules |= {path.parent.name for path in (ROOT / "regfs").glob("*/__init__.py")}
    assert described == modules


def test_every_dependency_has_its_reason() -> None:
    metadata = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    listed = re.search(r"^dependencies = \[\n(.*?)^\]", metadata, re.MULTILINE | re.DOTALL)
    extras = re.search(r"^\[project.optional-dependencies\]\n(.*?)^\[", metadata, re.MULTILINE | re.DOTALL)
    assert listed
    assert extras
    rows = re.findall(r"^\| `?([\w.-]+)`? \| .* \|$", section("Dependencies"), re.MULTILINE)
    needed = re.findall(r'"([A-Za-z0-9_-]+)', listed[1])
    offered = re.findall(r"^([\w-]+) = \[", extras[1], re.MULTILINE)
    assert [row for row in rows if row not in ("package", "extra")] == needed + offered


def test_every_error_exists() -> None:
    for name in re.findall(r"`(\w+Error)`", section("Errors")):
        assert hasattr(regfs, name) or hasattr(builtins, name), name


def test_it_names_no_machine() -> None:
    for line in README.splitlines():
        assert not re.search(r"/(?:work|root|home|tmp)/|pypi\.|localhost", line), line
