"""``uploads``: what was begun and never ended, told and removed."""

from __future__ import annotations

import importlib
import time
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest
from cli.conftest import located, payload

from regfs.cli.errors import Code
from regfs.filesystem import RegistryFileSystem
from regfs.layout import uploads_root

if TYPE_CHECKING:
    from collections.abc import Callable

    from cli.conftest import Regfs, Terminal
    from support.servers import Place

uploads = importlib.import_module("regfs.cli.uploads")
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
    assert sorted(line[1:] for line in lines) == [["0", "0", "/b"], ["1000", "1", "/a/first"]]
    assert regfs("uploads", "--older-than", "1h").stdout == ""


def test_json(regfs: Regfs, pending: list[str]) -> None:
    told = payload(regfs("uploads", "--json").stdout)
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
    told = payload(regfs("uploads", "--abort", "--older-than", "0s", "--yes", "--json").stdout)
    assert {entry["id"] for entry in told} == set(pending)
    assert raw.uploads() == []


@pytest.fixture
def registrys(raw: Place) -> tuple[str, list[str]]:
    """A registry's upload, more than a second old: the key of its data, and its files."""
    directory = f"{uploads_root('team/app')[1:]}/0d8a"
    names = [f"{directory}/{name}" for name in ("hashstates/sha256/0", "startedat")]
    for name in names:
        raw.put(name, b"12345")
    raw.put(f"{uploads_root('team/app')[1:]}/another/startedat", b"12345")
    raw.s3.create_multipart_upload(Bucket=raw.bucket, Key=f"{raw.prefix}{directory}/data")
    time.sleep(1.1)
    return f"{directory}/data", names


ABORT = ("uploads", "--abort", "--older-than", "0s")


def test_a_registrys_upload_goes_with_its_files(
    regfs: Regfs, pending: list[str], registrys: tuple[str, list[str]], raw: Place
) -> None:
    key, files = registrys
    time.sleep(1.1)
    before = raw.keys()
    preview = regfs(*ABORT, "--dry-run")
    sums = f"3 uploads, 1.0 KiB, and remove 2 files of theirs, 10 B, in {located(raw)}"
    assert preview.stderr == f"would abort {sums}\n"
    assert {line.rpartition("\t")[2] for line in preview.stdout.splitlines()} == {"/" + key, "/b", "/a/first"}
    document = payload(regfs(*ABORT, "--dry-run", "--json").stdout)
    beside = {entry["path"]: entry["files"] for entry in document}
    assert beside == {"/" + key: ["/" + name for name in files], "/b": [], "/a/first": []}
    assert f"Abort {sums}? Nobody is there to ask" in regfs(*ABORT, code=Code.USAGE).stderr
    assert (raw.keys(), len(raw.uploads())) == (before, 3)
    done = regfs(*ABORT, "--yes")
    assert done.stderr == f"aborted {sums.replace('remove', 'removed')}\n"
    assert sorted(done.stdout.splitlines()) == sorted(preview.stdout.splitlines())
    assert raw.uploads() == []
    assert raw.keys() == [key for key in before if key not in files]


def test_a_document_names_the_files_that_went(
    regfs: Regfs, registrys: tuple[str, list[str]], raw: Place
) -> None:
    (entry,) = payload(regfs(*ABORT, "--yes", "--json").stdout)
    assert entry["files"] == ["/" + name for name in registrys[1]]
    assert not set(registrys[1]) & set(raw.keys())


def test_the_files_of_an_upload_that_may_be_alive_stay(
    registrys: tuple[str, list[str]], raw: Place, options: dict[str, Any]
) -> None:
    key, files = registrys
    raw.s3.create_multipart_upload(Bucket=raw.bucket, Key=raw.prefix + key)
    fs = RegistryFileSystem(**options)
    older, younger = fs.uploads()
    later = datetime.now(timezone.utc) + timedelta(minutes=1)
    sizes = {f"/{name}": 5 for name in files}
    assert uploads._files(fs, [older, younger], [older, younger], later) == {f"/{key}": sizes}
    assert uploads._files(fs, [older, younger], [older], later) == {}, "another goes on at the same path"
    assert uploads._files(fs, [older], [older], later - timedelta(hours=1)) == {}, "a file is younger"


def test_a_dry_run_is_for_aborting(regfs: Regfs) -> None:
    refused = regfs("uploads", "--dry-run", code=Code.USAGE)
    assert refused.stderr == "regfs: --dry-run: is for --abort; without that nothing is removed\n"


def test_quiet_leaves_the_list(regfs: Regfs, pending: list[str]) -> None:
    done = regfs("uploads", "-q")
    assert (len(done.stdout.splitlines()), done.stderr) == (2, "")


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
