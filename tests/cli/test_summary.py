"""``summary``: figures of one scan, conditions over them, and the file for node exporter."""

from __future__ import annotations

import json
import os
import re
import shlex
import sys
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from cli.conftest import located
from cli.shop import Shop, shop
from prometheus_client.parser import text_string_to_metric_families

from regfs.catalog import Catalog
from regfs.catalog.conditions import short_names
from regfs.catalog.metrics import exposition
from regfs.cli.errors import Code
from regfs.driver import StorageDriver
from regfs.filesystem import RegistryFileSystem
from regfs.layout import DATABASE_LOCK, BlobData, UploadData

if TYPE_CHECKING:
    from cli.conftest import Regfs, Terminal
    from support.proxy import CountingProxy
    from support.servers import Place

pytestmark = pytest.mark.parametrize("server", ["seaweedfs"], indirect=True)
README = Path(__file__).parents[2] / "regfs" / "cli" / "README.md"
NONE = ("--older-than", "0")


@pytest.fixture
def made(options: dict[str, Any]) -> Shop:
    """The shop, stored in the empty place."""
    found = shop()
    found.store(RegistryFileSystem(**options))
    return found


def document(regfs: Regfs, *arguments: str, code: int = 0) -> dict[str, Any]:
    figures: dict[str, Any] = json.loads(regfs("summary", "--json", *arguments, code=code).stdout)
    return figures


def samples(file: Path) -> dict[str, list[tuple[dict[str, str], float]]]:
    """Read a file of metrics as Prometheus does: labels and values by name."""
    families = list(text_string_to_metric_families(file.read_text(encoding="utf-8")))
    assert all(family.type == "gauge" and family.documentation for family in families)
    return {family.name: [(sample.labels, sample.value) for sample in family.samples] for family in families}


# -- figures ---------------------------------------------------------------------------------------------


def test_the_figures_are_those_of_the_other_verbs(regfs: Regfs, made: Shop, options: dict[str, Any]) -> None:
    with StorageDriver(RegistryFileSystem(**options)).writer(UploadData("team/app", "one").path) as writer:
        writer.write(b"pending")
        writer.close()
    figures = document(regfs, *NONE)
    totals = json.loads(regfs("usage", "--json").stdout)["totals"]
    for name in ("unique_bytes", "shared_bytes", "link_bytes", "upload_bytes", "unknown_bytes"):
        assert figures[name] == totals[name]
    assert figures["stored_bytes"] == totals["unique_bytes"] + totals["shared_bytes"]
    assert figures["total_bytes"] == totals["bytes"]
    assert figures["pending_bytes"] == len(b"pending")
    assert (figures["orphans"], figures["orphaned_bytes"]) == (1, 6000)
    assert (figures["repositories"], figures["tags"], figures["uploads"]) == (3, 6, 1)
    assert figures["oldest_upload"] == pytest.approx(
        (datetime.now(timezone.utc) - datetime(2026, 11, 1, 10, tzinfo=timezone.utc)).total_seconds(), abs=60
    )
    found = json.loads(regfs("fsck", "--json", code=Code.FINDINGS).stdout)
    found = found if isinstance(found, list) else found["findings"]
    severities = Counter(finding["severity"] for finding in found)
    assert (figures["errors"], figures["warnings"]) == (severities["error"], severities["warning"])
    assert figures["findings"] == len(found)
    assert {kind["kind"] for kind in figures["kinds"]} == {finding["kind"] for finding in found}


def test_orphans_are_a_day_old_unless_told_otherwise(regfs: Regfs, made: Shop) -> None:
    figures = document(regfs)
    assert (figures["orphans"], figures["orphaned_bytes"], figures["older_than"]) == (0, 0, 86_400)


def test_one_scan_and_no_request_twice(regfs: Regfs, made: Shop, proxied: str, proxy: CountingProxy) -> None:
    def listings(*arguments: str) -> Counter[str]:
        with proxy.counting() as seen:
            regfs(*arguments, "--config", proxied)
        read = Counter(
            request.path for request in seen if request.method == "GET" and "/blobs/" in request.path
        )
        assert set(read.values()) == {1}, "each manifest and configuration is read once"
        return Counter(request.query.get("prefix", "") for request in seen if "list-type" in request.query)

    once = listings("usage")
    assert once
    assert listings("summary", "--ignore", "empty-link") == once


def test_ignored_findings_are_counted_apart(regfs: Regfs, made: Shop) -> None:
    figures = document(regfs)
    accepted = document(regfs, "--ignore", "empty-link")
    assert accepted["errors"] == figures["errors"] - 1
    assert accepted["ignored"] == 1


def test_without_fsck_the_findings_are_absent(regfs: Regfs, made: Shop) -> None:
    figures = document(regfs, "--no-fsck")
    assert (figures["findings"], figures["errors"], figures["warnings"]) == (None, None, None)
    assert figures["problems"]["errors"] == "fsck was left out"
    refused = regfs("summary", "--no-fsck", "--fail-if", "errors > 0", code=Code.USAGE)
    assert "--no-fsck leaves the findings out" in refused.stderr


def database(fs: RegistryFileSystem, made: Shop) -> None:
    fs.pipe_file(DATABASE_LOCK, b"")


def unreliable(fs: RegistryFileSystem, made: Shop) -> None:
    fs.pipe_file("/docker/registry/v2/repositories/A/_layers/sha256/" + "a" * 64 + "/link", b"x")


def more_than_half(fs: RegistryFileSystem, made: Shop) -> None:
    fs.pipe({BlobData(made.blob(b"orphan" * 50_000)).path: b"orphan" * 50_000})


def incomplete(fs: RegistryFileSystem, made: Shop) -> None:
    before = set(made.files)
    made.manifest("team/app", b"no JSON")
    fs.pipe({path: made.files[path] for path in made.files.keys() - before})


@pytest.mark.parametrize(
    ("refuse", "reason"),
    [
        (database, "metadata is in a database"),
        (unreliable, "breaks the registry's rules"),
        (more_than_half, "more than half"),
        (incomplete, "what it needs is unknown"),
    ],
)
def test_where_orphans_refuses_their_figures_are_absent(
    regfs: Regfs,
    made: Shop,
    options: dict[str, Any],
    tmp_path: Path,
    refuse: Callable[[RegistryFileSystem, Shop], None],
    reason: str,
) -> None:
    refuse(RegistryFileSystem(**options), made)
    file = tmp_path / "regfs.prom"
    figures = document(regfs, *NONE, "--prometheus", str(file))
    assert (figures["orphans"], figures["orphaned_bytes"]) == (None, None)
    assert reason in figures["problems"]["orphaned_bytes"]
    metrics = samples(file)
    assert "regfs_orphaned_bytes" not in metrics
    assert "regfs_stored_bytes" in metrics
    plain = regfs("summary", *NONE)
    assert "orphaned_bytes\t-" in plain.stdout.splitlines()
    assert reason in plain.stderr
    failed = regfs("summary", "-q", *NONE, "--fail-if", "orphaned >= 0", code=Code.FAILED)
    assert failed.stdout == ""
    assert "orphaned >= 0: cannot be checked: " in failed.stderr


def test_a_pipe_gets_exact_figures(regfs: Regfs, made: Shop) -> None:
    rows = dict(line.split("\t") for line in regfs("summary", *NONE).stdout.splitlines())
    figures = document(regfs, *NONE)
    assert rows["stored_bytes"] == str(figures["stored_bytes"])
    assert rows["orphaned_bytes"] == "6000"
    assert regfs("summary", "-q").stdout == ""


def test_the_page_fits_a_terminal(terminal: Callable[..., Terminal], made: Shop, raw: Place) -> None:
    code, text = terminal("summary", *NONE).end()
    assert code == 0
    page = text.replace("\r", "").rpartition("\x1b[2K")[2]  # behind the progress, if it took so long
    lines = page.splitlines()
    long = [line for line in lines if len(line) > 80]
    assert long == [], long
    assert len(lines) <= 16
    assert located(raw) in " ".join(" ".join(lines).split())
    orphaned = next(line for line in lines if line.startswith("Orphaned"))
    assert "5.9 KiB in 1 blob" in orphaned
    assert any(line.startswith("Findings") and "1 error" in line for line in lines)


# -- conditions ------------------------------------------------------------------------------------------


def test_conditions_that_hold_are_a_line_each(regfs: Regfs, made: Shop) -> None:
    failed = regfs(
        "summary",
        "--quiet",
        *NONE,
        *("--fail-if", "orphaned > 5KiB"),
        *("--fail-if", "orphaned > 6KB"),
        *("--fail-if", "errors>=1"),
        *("--fail-if", "oldest-upload > 1h"),
        code=Code.FINDINGS,
    )
    first, second, third = failed.stderr.splitlines()
    assert first == "regfs: orphaned > 5KiB: it is 5.9 KiB"
    assert second == "regfs: errors>=1: it is 1"
    assert third.startswith("regfs: oldest-upload > 1h: it is ")
    assert failed.stdout == ""


def test_conditions_in_json(regfs: Regfs, made: Shop) -> None:
    figures = document(
        regfs, *NONE, "--fail-if", "tags != 6", "--fail-if", "orphaned == 6kB", code=Code.FINDINGS
    )
    assert figures["conditions"] == [
        {"condition": "tags != 6", "value": 6, "holds": False},
        {"condition": "orphaned == 6kB", "value": 6000, "holds": True},
    ]
    assert regfs("summary", *NONE, "--fail-if", "errors > 5", "-q").stderr == ""


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("orphaned", "operators are > >= < <= == !=, figures are repositories, tags"),
        ("orphaned > lots", "must be FIGURE OPERATOR VALUE"),
        ("orphaned = 1GiB", "operators are > >= < <= == !="),
        ("orphaned > -1GiB", "must be FIGURE OPERATOR VALUE"),
        ("orphaned > 10", "orphaned takes a size with a unit, such as 10GiB, 10GB or 500MB"),
        ("orphaned > 10G", "orphaned takes a size with a unit"),
        ("tags > 10GiB", "tags takes a whole number, such as 5"),
        ("tags > 1.5", "tags takes a whole number"),
        ("oldest-upload > 5", "oldest-upload takes a duration with a unit, such as 12h or 7d"),
        ("weight > 5", "'weight': is not a figure; figures are " + ", ".join(short_names())),
    ],
)
def test_what_no_condition_is(regfs: Regfs, text: str, says: str) -> None:
    refused = regfs("summary", "--fail-if", text, code=Code.USAGE)
    assert says in refused.stderr
    assert len(refused.stderr.splitlines()) == 1


def test_the_help_names_every_figure(regfs: Regfs) -> None:
    text = regfs("summary", "--help").stdout.replace(",", " ").replace("-", "_").split()
    assert {name.replace("-", "_") for name in short_names()} <= set(text)


# -- Prometheus ------------------------------------------------------------------------------------------


def test_the_file_for_node_exporter(regfs: Regfs, made: Shop, raw: Place, tmp_path: Path) -> None:
    file = tmp_path / "regfs.prom"
    file.write_text("old")
    figures = document(regfs, *NONE, "--prometheus", str(file))
    assert os.listdir(tmp_path) == ["regfs.prom"], "nothing is left beside it"
    metrics = samples(file)
    place = {"bucket": raw.bucket, "root": raw.root}
    ((labels, moment),) = metrics.pop("regfs_scan_timestamp_seconds")
    assert labels == place
    taken = datetime.fromisoformat(figures["taken"].replace("Z", "+00:00"))
    assert moment == pytest.approx(taken.timestamp())
    assert metrics.pop("regfs_scan_duration_seconds")[0][1] >= 0
    assert metrics.pop("regfs_orphans_min_age_seconds") == [(place, 0)]
    assert metrics.pop("regfs_oldest_upload_seconds") == [(place, figures["oldest_upload"])]
    assert metrics == {
        f"regfs_{name}": [(place, figures[name])]
        for name in (
            *("repositories", "tags", "manifests", "blobs", "total_bytes", "logical_bytes", "stored_bytes"),
            *("unique_bytes", "shared_bytes", "link_bytes", "unknown_bytes", "orphans", "orphaned_bytes"),
            *("uploads", "upload_bytes", "pending_bytes", "findings", "errors", "warnings"),
        )
    }


def test_a_series_for_each_repository(regfs: Regfs, made: Shop, tmp_path: Path) -> None:
    file = tmp_path / "regfs.prom"
    regfs("summary", "--prometheus", str(file), "--per-repository")
    used = json.loads(regfs("usage", "--json").stdout)["repositories"]
    metrics = samples(file)
    for name in ("stored_bytes", "unique_bytes", "shared_bytes", "logical_bytes", "freed_bytes", "tags"):
        values = {labels["repository"]: value for labels, value in metrics[f"regfs_repository_{name}"]}
        assert values == {item["repository"]: item[name] for item in used}


def test_labels_are_escaped(options: dict[str, Any], made: Shop) -> None:
    summary = Catalog(RegistryFileSystem(**options)).summary()
    root = '/a"b\\c\nd'
    text = exposition(summary, "bucket", root, per_repository=True)
    families = list(text_string_to_metric_families(text))
    assert {sample.labels["root"] for family in families for sample in family.samples} == {root}


def test_the_old_file_stays_where_the_scan_fails(regfs: Regfs, tmp_path: Path) -> None:
    file = tmp_path / "regfs.prom"
    file.write_text("old")
    regfs("summary", "--prometheus", str(file), code=Code.NOT_FOUND)
    assert file.read_text() == "old"
    assert os.listdir(tmp_path) == ["regfs.prom"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--prometheus", "metrics.txt"], "node exporter reads only files whose names end in .prom"),
        (["--prometheus", "/nowhere/regfs.prom"], "there is no directory /nowhere"),
        (["--per-repository"], "--per-repository: is for --prometheus FILE"),
    ],
)
def test_a_file_that_nobody_would_read(regfs: Regfs, arguments: list[str], says: str) -> None:
    assert says in regfs("summary", *arguments, code=Code.USAGE).stderr


def test_without_the_library(regfs: Regfs, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delitem(sys.modules, "regfs.catalog.metrics", raising=False)
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    failed = regfs("summary", "--prometheus", str(tmp_path / "a.prom"), code=Code.USAGE)
    (line,) = failed.stderr.splitlines()
    assert line.endswith(': pip install "regfs[prometheus]"')


def test_the_recipe_for_cron(regfs: Regfs, made: Shop, tmp_path: Path) -> None:
    """The README's crontab: each line is run, as cron would, but for its directories."""
    (recipe,) = re.findall(r"^```crontab\n(.*?)^```$", README.read_text(encoding="utf-8"), re.M | re.S)
    commands = re.findall(r"^\S+ \S+ \S+ \S+ \S+ +regfs (.*)$", recipe, re.M)
    assert len(commands) == 4
    assert "%" not in recipe, "the end of a crontab's line"
    for command in commands:
        for directory in ("/var/lib/node_exporter", "/srv/registry"):
            command = command.replace(directory, str(tmp_path))
        words = shlex.split(command.removesuffix(" --json > /dev/null"))
        failing = "errors > 0" in words  # the shop has an error
        regfs(*words, code=Code.FINDINGS if failing else 0)
    date, file = sorted(os.listdir(tmp_path))
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", date)
    assert file == "registry.prom"


def test_the_summary_in_python(options: dict[str, Any], made: Shop) -> None:
    summary = Catalog(RegistryFileSystem(**options)).summary(older_than=0, ignore=["empty-link"])
    assert summary.figures["orphaned_bytes"] == 6000
    assert summary.ignored == 1
    assert summary.older_than == timedelta()
