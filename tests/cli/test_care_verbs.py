"""``orphans``, ``fsck`` and ``export``, each on a small registry of its own."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest
from cli.conftest import located, payload, write_config
from cli.shop import Shop, shop
from support.quiescence import wait_until_asleep

from regfs.cli.errors import Code
from regfs.filesystem import RegistryFileSystem
from regfs.layout import BlobData, Digest, LayerLink, link_content

if TYPE_CHECKING:
    from cli.conftest import Regfs, Start, Terminal
    from support.proxy import CountingProxy, Request
    from support.servers import Place

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
    assert row.split("\t")[1:] == ["6000", "0", str(made.digests["orphan"]), "-"]
    told = payload(regfs("orphans", "--older-than", "0", "--json").stdout)
    assert [blob["digest"] for blob in told["blobs"]] == [str(made.digests["orphan"])]
    assert (told["bytes"], told["older_than"], told["incomplete"]) == (6000, 0, [])


def test_nothing_is_deleted_without_a_yes(regfs: Regfs, made: Shop, raw: Place) -> None:
    before = raw.keys()
    refused = regfs("orphans", "--older-than", "0", "--apply", code=Code.USAGE)
    assert f"Delete 1 blob, 5.9 KiB, in {located(raw)}? Nobody is there to ask: give --yes" in refused.stderr
    assert refused.stdout == "", "what is listed there has been deleted"
    regfs("orphans", "--older-than", "0", "--apply", "--dry-run")
    assert raw.keys() == before


@pytest.mark.parametrize("answer", ["y", "n"])
def test_the_question(terminal: Callable[..., Terminal], made: Shop, raw: Place, answer: str) -> None:
    asked = terminal("orphans", "--older-than", "0", "--apply")
    asked.expect(f"Delete 1 blob, 5.9 KiB, in {located(raw)}? [y/N]")
    asked.type(f"{answer}\n")
    code, said = asked.end()
    assert code == (OK if answer == "y" else Code.USAGE)
    assert ("deleted 1 blob, 5.9 KiB" if answer == "y" else "nothing was done") in said
    assert (key(made.digests["orphan"]) in raw.keys()) == (answer == "n")


def test_what_is_deleted_is_the_orphan_and_nothing_else(regfs: Regfs, made: Shop, raw: Place) -> None:
    before = set(raw.keys())
    told = payload(regfs("orphans", "--older-than", "0", "--apply", "--yes", "--json").stdout)
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
    told = payload(regfs("orphans", "--apply", file, "--yes", "--json").stdout)
    assert told["deleted"] == []
    assert "a push may be in progress" in told["skipped"][0]["reason"]
    assert key(orphan) in raw.keys()


def test_a_plan_of_another_place_and_no_plan_at_all(regfs: Regfs, made: Shop, tmp_path: Path) -> None:
    file = tmp_path / "plan.json"
    regfs("orphans", "--older-than", "0", "--plan", str(file))
    other = ("-o", "rootdirectory=/elsewhere")
    refused = regfs("orphans", "--apply", str(file), "--yes", *other, code=Code.USAGE)
    assert "create a new one" in refused.stderr
    file.write_text("{}")
    refused = regfs("orphans", "--apply", str(file), "--yes", code=Code.USAGE)
    assert "it is not a plan" in refused.stderr
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
    told = payload(regfs("fsck", "--json", code=Code.FINDINGS).stdout)
    missing = next(item for item in told if item["kind"] == "missing-blob")
    assert missing["path"] == BlobData(made.digests["base"]).path
    assert missing["pull"].startswith("fails: the registry answers 404")


def test_warnings_are_no_failure(regfs: Regfs, made: Shop, raw: Place) -> None:
    raw.s3.delete_object(
        Bucket=raw.bucket,
        Key=f"{raw.prefix}docker/registry/v2/repositories/team/app/_manifests/tags/broken/current/link",
    )
    found = payload(regfs("fsck", "--json").stdout)
    assert {item["severity"] for item in found} == {"warning"}


def test_verify_reads_the_blobs(regfs: Regfs, made: Shop, raw: Place) -> None:
    name = key(made.digests["base"])
    raw.put(name, bytes(len(raw.get(name))))
    before = payload(regfs("fsck", "--json", code=Code.FINDINGS).stdout)
    assert "wrong-digest" not in {item["kind"] for item in before}
    found = payload(regfs("fsck", "--verify", "--json", code=Code.FINDINGS).stdout)
    assert "wrong-digest" in {item["kind"] for item in found}


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
    written = payload(regfs("export", str(directory), "--json").stdout)
    assert sorted(os.path.basename(item["path"]) for item in written) == sorted(os.listdir(directory))
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


def taken(directory: Path, bucket: str, verb: str) -> tuple[list[str], str]:
    """Return a verb's arguments, and the file that they would replace."""
    if verb == "export into a bucket":
        return ["export", f"regfs://{bucket}/tables", "--only", "tags"], "tables/tags.parquet"
    file = str(directory / ("tags.parquet" if verb == "export" else "out"))
    return {
        "export": (["export", str(directory), "--only", "tags"], file),
        "report": (["report", file], file),
        "orphans": (["orphans", "--plan", file], file),
    }[verb]


@pytest.mark.parametrize("verb", ["export", "export into a bucket", "report", "orphans"])
def test_what_is_there_is_refused_before_the_scan(
    regfs: Regfs,
    made: Shop,
    raw: Place,
    proxied: str,
    proxy: CountingProxy,
    tmp_path: Path,
    verb: str,
) -> None:
    arguments, file = taken(tmp_path, raw.bucket, verb)
    local = file.startswith("/")
    if local:
        Path(file).write_bytes(b"mine")
    else:
        raw.put(file, b"mine")
    with proxy.counting() as seen:
        refused = regfs(*arguments, "--config", proxied, code=Code.USAGE)
    assert "is there already" in refused.stderr
    assert "--overwrite" in refused.stderr
    # A filesystem asks for the file and, as that may be a directory, for what is under it.
    assert len(seen) <= (0 if local else 2), seen
    assert (Path(file).read_bytes() if local else raw.get(file)) == b"mine"
    regfs(*arguments, "--overwrite")
    assert (Path(file).read_bytes() if local else raw.get(file)) != b"mine"


def test_overwrite_is_for_a_plan(regfs: Regfs) -> None:
    assert "--overwrite: is for --plan FILE" in regfs("orphans", "--overwrite", code=Code.USAGE).stderr


def test_dates_in_names(regfs: Regfs, made: Shop, raw: Place, tmp_path: Path) -> None:
    before = datetime.now(timezone.utc)
    regfs("export", str(tmp_path / "{date}"), "--only", "tags")
    regfs("export", f"regfs://{raw.bucket}/exports/{{date}}T{{time}}", "--only", "tags")
    regfs("report", str(tmp_path / "page-{date}.html"), "--no-fsck")
    regfs("orphans", "--plan", str(tmp_path / "plan-{date}.json"))
    days = {f"{moment:%Y-%m-%d}" for moment in (before, datetime.now(timezone.utc))}
    names = {name for day in days for name in (day, f"page-{day}.html", f"plan-{day}.json")}
    assert len(os.listdir(tmp_path)) == 3
    assert set(os.listdir(tmp_path)) <= names
    (key,) = (name for name in raw.keys() if name.endswith(".parquet"))
    moment = datetime.strptime(key, "exports/%Y-%m-%dT%H%M%SZ/tags.parquet").replace(tzinfo=timezone.utc)
    assert -1 <= (moment - before).total_seconds() < 60
    refused = regfs("export", str(tmp_path / "{day}"), code=Code.USAGE)
    assert "there is no field {day}; there are {date} and {time}" in refused.stderr


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
    failed = regfs(verb, str(tmp_path / "a"), code=Code.USAGE)
    (line,) = failed.stderr.splitlines()
    assert line.endswith(f': pip install "regfs[{extra}]"')


# -- Ctrl-C ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["export", "report", "orphans"])
def test_ctrl_c_leaves_nothing_half_written(
    start: Start, made: Shop, proxied: str, proxy: CountingProxy, tmp_path: Path, verb: str
) -> None:
    """While the manifests are read."""
    reached: list[Request] = []
    over = threading.Event()

    def hold(request: Request) -> None:
        if request.method == "GET" and "/blobs/" in request.path:
            reached.append(request)
            over.wait(60)

    proxy.fault = hold
    target = str(tmp_path / "out")
    arguments = ["orphans", "--plan", target] if verb == "orphans" else [verb, target]
    process = start(*arguments, environ={"REGFS_CONFIG": proxied})
    deadline = time.monotonic() + 60
    while not reached:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    wait_until_asleep(process.pid)
    over.set()
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
