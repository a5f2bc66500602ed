"""What type checkers and editors see: a typo and a wrong type are errors, results have types."""

from __future__ import annotations

import dataclasses
import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from typing import get_type_hints

import pytest

import regfs
from regfs.parameters.table import PARAMETERS, DriverParameters, Options

SNIPPET = """
from typing import Any
from typing_extensions import assert_type

from regfs import RegistryFileSystem

options: dict[str, Any] = {}
RegistryFileSystem(**options)
RegistryFileSystem()
RegistryFileSystem(config="config.yml", anon=True, skip_instance_cache=True)
fs = RegistryFileSystem(bucket="registry", region="eu-west-1", encrypt=True, chunksize="16MiB", maxretries=3)
assert_type(fs, RegistryFileSystem)
assert_type(fs.ls("/a"), list[dict[str, Any]])
assert_type(fs.ls("/a", detail=False), list[str])
assert_type(fs.info("/a"), dict[str, Any])
fs.open("/a").read()
with fs.open("/a", "w") as text:
    text.write("a")
RegistryFileSystem(buckett="registry")  # error
RegistryFileSystem(bucket="registry", regoin="eu-west-1")  # error
RegistryFileSystem(bucket=b"registry")  # error
RegistryFileSystem(bucket="registry", encrypt="yes, please")  # error
RegistryFileSystem(bucket="registry", maxretries=1.5)  # error
RegistryFileSystem(key="a", secret="b")  # error
fs.ls("/a", detail=False)[0]["name"]  # error
fs.open("/a", "w").write(b"a")  # error
"""
EXPECTED = {number for number, line in enumerate(SNIPPET.splitlines(), 1) if line.endswith("# error")}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("checker", "arguments", "pattern"),
    [
        ("mypy", ("--strict", "--config-file="), r"^[^:]*snippet\.py:(\d+): error"),
        (
            "basedpyright",
            ("--level", "error", "--pythonpath", sys.executable),
            r"snippet\.py:(\d+):\d+ - error",
        ),
    ],
)
def test_a_type_checker(checker: str, arguments: tuple[str, ...], pattern: str, tmp_path: Path) -> None:
    if importlib.util.find_spec(checker) is None:
        pytest.skip(f"{checker} is not installed")
    (tmp_path / "snippet.py").write_text(SNIPPET)
    done = subprocess.run(
        [sys.executable, "-m", checker, *arguments, str(tmp_path / "snippet.py")],
        cwd=Path(regfs.__file__).parent.parent,
        capture_output=True,
        text=True,
        timeout=170,
    )
    assert {int(line) for line in re.findall(pattern, done.stdout, re.MULTILINE)} == EXPECTED, done.stdout


def test_every_parameter_is_a_keyword_of_its_type() -> None:
    hints = get_type_hints(Options)
    assert list(hints) == list(PARAMETERS)
    for field in dataclasses.fields(DriverParameters):
        kind = {"int": int, "str": str, "bool": bool, "bool | None": bool}[str(field.type)]
        assert hints[field.metadata["row"].key] in (kind | None, kind | str | None)


def test_the_package_shows_its_public_names_alone() -> None:
    assert dir(regfs) == sorted(regfs.__all__)
