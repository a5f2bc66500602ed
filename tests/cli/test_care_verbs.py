"""``orphans``, ``fsck`` and ``export``, each on a small registry of its own."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest
from cli.conftest import write_config
from cli.shop import Shop, shop

from regfs.cli.errors import Code
from regfs.filesystem import RegistryFileSystem
from regfs.layout import BlobData, Digest, LayerLink, link_content

if TYPE_CHECKING:
    from cli.conftest import Regfs, Start, Terminal
    from proxy import CountingProxy, Request
    from servers import Place

pytestmark = pytest.mark.parametrize("server", ["seaweedfs"], indirect=True)
OK = 0


@pytest.fixture
def made(options: dict[str, Any]) -> Shop:
    """The shop, stored in the empty place."""
    found = shop()
    found.store(RegistryFileSystem(**options))
    return found


def key(digest: Digest) -> str:
    return BlobData(digest).path[1:]


# -- orphans ---------------------------------------------------------------------------------------------


def test_the_list_of_orphans(regfs: Regfs, made: Shop) -> None:
    assert regfs("orphans").stdout == "", "younger than a day"
    (row,) = regfs("orphans", "--older-than", "0", "--bytes").stdout.splitlines()
    assert row.split("\t")[1:] == ["6000", "0", str(made.digests["orphan"])]
    told = json.loads(regfs("orphans", "--older-than", "0", "--json").stdout)
    assert [blob["digest"] for blob in told["blobs"]] == [str(made.digests["orphan"])]
    assert (told["bytes"], told["older_than"], told["incomplete"]) == (6000, 0, [])


def test_nothing_is_deleted_without_a_yes(regfs: Regfs, made: Shop, raw: Place) -> None:
    before = raw.keys()
    refused = regfs("orphans", "--older-than", "0", "--apply", code=Code.USAGE)
    assert "Delete 1 blob, 5.9 KiB? Nobody is there to ask: give --yes" in refused.stderr
    regfs("orphans", "--older-than", "0", "--apply", "--dry-run")
    assert raw.keys() == before


@pytest.mark.parametrize("answer", ["y", "n"])
def test_the_question(terminal: Callable[..., Terminal], made: Shop, raw: Place, answer: str) -> None:
    asked = terminal("orphans", "--older-than", "0", "--apply")
    asked.expect("Delete 1 blob, 5.9 KiB? [y/N]")
    asked.type(f"{answer}\n")
    code, said = asked.end()
    assert code == (OK if answer == "y" else Code.USAGE)
    assert ("deleted 1 blob, 5.9 KiB" if answer == "y" else "nothing was done") in said
    assert (key(made.digests["orphan"]) in raw.keys()) == (answer == "n")


def test_what_is_deleted_is_the_orphan_and_nothing_else(regfs: Regfs, made: Shop, raw: Place) -> None:
    before = set(raw.keys())
    told = json.loads(regfs("orphans", "--older-than", "0", "--apply", "--yes", "--json").stdout)
    assert [blob["digest"] for blob in told["deleted"]] == [str(made.digests["orphan"])]
    gone = {name for name in before - set(raw.keys()) if name.endswith("/data")}
    assert gone == {key(made.digests["orphan"])}


def test_a_plan_is_applied_later_and_believes_nothing(
    regfs: Regfs, made: Shop, raw: Place, tmp_path: Path
) -> None:
    file = str(tmp_path / "plan.json")
    regfs("orphans", "--older-than", "0", "--plan", file)
    assert os.listdir(tmp_path) == ["plan.json"]
    time.sleep(1.1)  # links are told by the second
    orphan = made.digests["orphan"]
    raw.put(LayerLink("team/app", orphan).path[1:], link_content(orphan))
    told = json.loads(regfs("orphans", "--apply", file, "--yes", "--json").stdout)
    assert told["deleted"] == []
    assert "a push may be on its way" in told["skipped"][0]["reason"]
    assert key(orphan) in raw.keys()


def test_a_plan_of_another_place_and_no_plan_at_all(regfs: Regfs, made: Shop, tmp_path: Path) -> None:
    file = tmp_path / "plan.json"
    regfs("orphans", "--older-than", "0", "--plan", str(file))
    other = ("-o", "rootdirectory=/elsewhere")
    refused = regfs("orphans", "--apply", str(file), "--yes", *other, code=Code.USAGE)
    assert "take a new one" in refused.stderr
    file.write_text("{}")
    refused = regfs("orphans", "--apply", str(file), "--yes", code=Code.USAGE)
    assert "it is no plan" in refused.stderr
    regfs("orphans", "--apply", str(tmp_path / "none"), "--yes", code=Code.NOT_FOUND)


def test_nothing_is_deleted_while_a_manifest_cannot_be_read(regfs: Regfs, made: Shop, raw: Place) -> None:
    damaged = made.manifest("team/app", b"no JSON")
    for path in list(made.files)[-2:]:
        raw.put(path[1:], made.files[path])
    refused = regfs("orphans", "--older-than", "0", "--apply", "--yes", code=Code.USAGE)
    assert str(damaged) in refused.stderr
    assert "nothing is deleted" in refused.stderr
    assert key(made.digests["orphan"]) in raw.keys()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--dry-run"], "--dry-run: is for --apply"),
        (["--apply", "regfs://registry"], "write the URL before --apply"),
        (["--apply", "plan.json", "--older-than", "1h"], "the plan stands already"),
        (["--plan", "/nowhere/plan.json"], "there is no directory /nowhere"),
        (["--plan", "/"], "is a directory"),
    ],
)
def test_options_that_contradict_each_other(regfs: Regfs, arguments: list[str], says: str) -> None:
    assert says in regfs("orphans", *arguments, code=Code.USAGE).stderr


# -- fsck ------------------------------------------------------------------------------------------------


def test_findings(regfs: Regfs, made: Shop, raw: Place) -> None:
    raw.s3.delete_object(Bucket=raw.bucket, Key=raw.prefix + key(made.digests["base"]))
    found = regfs("fsck", code=Code.FINDINGS)
    rows = [line.split("\t") for line in found.stdout.splitlines()]
    assert ("library/hello", "error", "missing-blob") in {tuple(row[:3]) for row in rows}
    assert ("team/app", "error", "empty-link") in {tuple(row[:3]) for row in rows}
    told = json.loads(regfs("fsck", "--json", code=Code.FINDINGS).stdout)
    missing = next(one for one in told if one["kind"] == "missing-blob")
    assert missing["path"] == BlobData(made.digests["base"]).path
    assert missing["pull"].startswith("fails: the registry answers 404")


def test_warnings_are_no_failure(regfs: Regfs, made: Shop, raw: Place) -> None:
    raw.s3.delete_object(
        Bucket=raw.bucket,
        Key=f"{raw.prefix}docker/registry/v2/repositories/team/app/_manifests/tags/broken/current/link",
    )
    found = json.loads(regfs("fsck", "--json").stdout)
    assert {one["severity"] for one in found} == {"warning"}


def test_verify_reads_the_blobs(regfs: Regfs, made: Shop, raw: Place) -> None:
    name = key(made.digests["base"])
    raw.put(name, bytes(len(raw.get(name))))
    before = json.loads(regfs("fsck", "--json", code=Code.FINDINGS).stdout)
    assert "wrong-digest" not in {one["kind"] for one in before}
    found = json.loads(regfs("fsck", "--verify", "--json", code=Code.FINDINGS).stdout)
    assert "wrong-digest" in {one["kind"] for one in found}


def test_findings_on_a_terminal(terminal: Callable[..., Terminal], made: Shop) -> None:
    code, said = terminal("fsck").end()
    assert code == Code.FINDINGS
    lines = [line.strip() for line in said.replace("\r", "").splitlines()]
    at = next(at for at, line in enumerate(lines) if line.endswith("empty-link"))
    assert "error" in lines[at]
    assert lines[at + 3].startswith("a pull fails: the registry answers 500")
    assert "1 error, " in lines[-1]


# -- export ----------------------------------------------------------------------------------------------


def test_export(regfs: Regfs, made: Shop, tmp_path: Path) -> None:
    directory = tmp_path / "tables"
    written = json.loads(regfs("export", str(directory), "--json").stdout)
    assert sorted(os.path.basename(one["path"]) for one in written) == sorted(os.listdir(directory))
    tags = pd.read_parquet(directory / "tags.parquet")
    assert len(tags[tags.repository == "library/hello"]) == 2
    refused = regfs("export", str(directory), code=Code.USAGE)
    assert "is there already; give another directory, or --overwrite" in refused.stderr
    regfs("export", str(directory), "--overwrite", "--only", "tags")


def test_export_into_a_bucket(regfs: Regfs, made: Shop, raw: Place) -> None:
    regfs("export", f"regfs://{raw.bucket}/tables", "--only", "blobs", "--only", "tags")
    assert [name for name in raw.keys() if name.endswith(".parquet")] == [
        "tables/blobs.parquet",
        "tables/tags.parquet",
    ]


def test_a_table_that_is_none(regfs: Regfs, tmp_path: Path) -> None:
    refused = regfs("export", str(tmp_path), "--only", "nope", code=Code.USAGE)
    assert "--only nope: there is no such table; there are repositories, tags" in refused.stderr


@pytest.mark.parametrize(
    ("verb", "missing", "extra"),
    [("export", "pandas", "pandas"), ("export", "pyarrow", "pandas"), ("report", "jinja2", "report")],
)
def test_a_missing_extra_is_told_in_a_line(
    regfs: Regfs, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, verb: str, missing: str, extra: str
) -> None:
    for name in list(sys.modules):
        if name.startswith(("regfs.frames", "regfs.report")):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, missing, None)
    failed = regfs(verb, str(tmp_path / "a"), code=Code.FAILED)
    (line,) = failed.stderr.splitlines()
    assert line.endswith(f': pip install "regfs[{extra}]"')


# -- Ctrl-C ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["export", "report", "orphans"])
def test_ctrl_c_leaves_nothing_half_written(
    start: Start, made: Shop, proxied: str, proxy: CountingProxy, tmp_path: Path, verb: str
) -> None:
    """While the manifests are read."""
    reached: list[Request] = []

    def hold(request: Request) -> None:
        if request.method == "GET" and "/blobs/" in request.path:
            reached.append(request)
            time.sleep(3)

    proxy.fault = hold
    target = str(tmp_path / "out")
    arguments = ["orphans", "--plan", target] if verb == "orphans" else [verb, target]
    process = start(*arguments, environ={"REGFS_CONFIG": proxied})
    deadline = time.monotonic() + 60
    while not reached:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (Code.INTERRUPTED, b"", b"regfs: interrupted\n")
    assert os.listdir(tmp_path) == []


def test_an_empty_place_is_no_registry(regfs: Regfs, tmp_path: Path) -> None:
    for arguments in (
        ["orphans"],
        ["fsck"],
        ["export", str(tmp_path / "a")],
        ["report", str(tmp_path / "b")],
    ):
        failed = regfs(*arguments, code=Code.NOT_FOUND)
        assert "no registry lies there" in failed.stderr
    assert os.listdir(tmp_path) == []


def test_a_config_that_is_another(regfs: Regfs, made: Shop, raw: Place, tmp_path: Path) -> None:
    """The option comes before the environment's file."""
    other = write_config(tmp_path / "other.yml", {**raw.options, "rootdirectory": "/elsewhere"})
    regfs("fsck", "--config", other, code=Code.NOT_FOUND)
