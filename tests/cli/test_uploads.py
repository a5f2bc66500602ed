"""``uploads``: what was begun and never ended, told and removed."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest

from regfs.cli.errors import Code

if TYPE_CHECKING:
    from collections.abc import Callable

    from cli.conftest import Regfs, Terminal
    from servers import Place

# All of moto's uploads are of 2010.
pytestmark = pytest.mark.parametrize("server", ["seaweedfs"], indirect=True)


@pytest.fixture
def pending(raw: Place) -> list[str]:
    """Two uploads, with 1,000 bytes in the first."""
    ids = []
    for name in ("a/first", "b"):
        key = raw.prefix + name
        ids.append(raw.s3.create_multipart_upload(Bucket=raw.bucket, Key=key)["UploadId"])
    raw.s3.upload_part(
        Bucket=raw.bucket, Key=raw.prefix + "a/first", UploadId=ids[0], PartNumber=1, Body=b"x" * 1000
    )
    return ids


def test_the_list(regfs: Regfs, pending: list[str]) -> None:
    lines = [line.split("\t") for line in regfs("uploads").stdout.splitlines()]
    assert sorted(line[1:] for line in lines) == [["0 B", "0", "/b"], ["1.0 KiB", "1", "/a/first"]]
    assert regfs("uploads", "--older-than", "1h").stdout == ""


def test_json(regfs: Regfs, pending: list[str]) -> None:
    told = json.loads(regfs("uploads", "--json").stdout)
    assert {entry["id"] for entry in told} == set(pending)
    assert {entry["path"]: (entry["parts"], entry["bytes"]) for entry in told} == {
        "/a/first": (1, 1000),
        "/b": (0, 0),
    }


def test_abort_needs_an_age_and_a_yes(regfs: Regfs, pending: list[str], raw: Place) -> None:
    assert "--older-than" in regfs("uploads", "--abort", "--yes", code=Code.USAGE).stderr
    time.sleep(1.1)  # services tell seconds
    refused = regfs("uploads", "--abort", "--older-than", "0s", code=Code.USAGE)
    assert "give --yes" in refused.stderr
    assert len(raw.uploads()) == 2


def test_abort(regfs: Regfs, pending: list[str], raw: Place) -> None:
    time.sleep(1.1)
    regfs("uploads", "--abort", "--older-than", "1h", "--yes")
    assert len(raw.uploads()) == 2  # younger
    told = json.loads(regfs("uploads", "--abort", "--older-than", "0s", "--yes", "--json").stdout)
    assert {entry["id"] for entry in told} == set(pending)
    assert raw.uploads() == []


def test_only_a_whole_root_directory(regfs: Regfs) -> None:
    assert "whole root directory" in regfs("uploads", "/a", code=Code.USAGE).stderr


@pytest.mark.parametrize(("answer", "code", "left"), [("y\n", 0, 0), ("n\n", 2, 2), ("\n", 2, 2)])
def test_the_question(
    terminal: Callable[..., Terminal], pending: list[str], raw: Place, answer: str, code: int, left: int
) -> None:
    time.sleep(1.1)
    command: Any = terminal("uploads", "--abort", "--older-than", "0s")
    command.expect("Abort 2 uploads, ")
    command.type(answer)
    assert command.end()[0] == code
    assert len(raw.uploads()) == left
