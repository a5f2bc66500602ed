"""The sessions in the READMEs are what the command shows on a terminal."""

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

ROOT = Path(__file__).parents[2]
PLACE = "bucket registry, root directory /, endpoint http://127.0.0.1:8333"


def shown(text: str) -> list[str]:
    """Return the lines without what differs from run to run: the server, times, compressed digests."""
    text = re.sub(r"\x1b\[[?0-9;]*[A-Za-z]", "", text)
    text = re.sub(r"bucket \S+, root\s+directory\s+\S+,\s+endpoint\s+\S+", PLACE, text)
    text = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "2026-11-27 09:31:25", text)
    text = re.sub(r"sha256:[0-9a-f]{12}\b", "sha256:0123456789ab", text)
    progress = re.compile(r"\d:\d\d:\d\d$")  # lines that were erased, by the time that ends them
    lines = (line.strip() for line in text.splitlines())
    return [line for line in lines if line and not progress.search(line)]


@pytest.mark.slow
@pytest.mark.parametrize("server", ["seaweedfs"], indirect=True)
@pytest.mark.parametrize("name", ["README.md", "regfs/cli/README.md"])
def test_it_is_real(options: dict[str, Any], terminal: Callable[..., Terminal], name: str) -> None:
    example().store(RegistryFileSystem(**options))
    text = (ROOT / name).read_text(encoding="utf-8")
    sessions = re.findall(r"^```console\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert sessions
    for session in sessions:
        for part in re.split(r"^\$ regfs ", session, flags=re.MULTILINE)[1:]:
            command, _, expected = part.partition("\n")
            code, output = terminal(*command.split(), environ={"NO_COLOR": "1"}).end()
            assert code == 0, output
            assert shown(output) == shown(expected)
