"""The session in the README is what the command shows on a terminal."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from support.example import example

from regfs import RegistryFileSystem

if TYPE_CHECKING:
    from cli.conftest import Terminal

README = Path(__file__).parents[2] / "README.md"
PLACE = "in bucket registry, root directory /, endpoint http://127.0.0.1:8333"


@pytest.mark.slow
@pytest.mark.parametrize("server", ["seaweedfs"], indirect=True)
def test_it_is_real(options: dict[str, Any], terminal: Callable[..., Terminal]) -> None:
    example().store(RegistryFileSystem(**options))
    (session,) = re.findall(r"^```console\n(.*?)^```$", README.read_text(encoding="utf-8"), re.M | re.S)
    for part in re.split(r"^\$ regfs ", session, flags=re.MULTILINE)[1:]:
        command, _, expected = part.partition("\n")
        code, output = terminal(*command.split(), environ={"NO_COLOR": "1"}).end()
        assert code == 0, output
        output = re.sub(r"\x1b\[[?0-9;]*[A-Za-z]", "", output)
        output = re.sub(r"in bucket \S+, root directory \S+, endpoint \S+", PLACE, output)
        progress = re.compile(r"\d:\d\d:\d\d$")  # lines that were erased, by the time that ends them
        lines = [line.strip() for line in output.splitlines() if not progress.search(line.rstrip())]
        assert [line for line in lines if line] == [line for line in expected.splitlines() if line]
