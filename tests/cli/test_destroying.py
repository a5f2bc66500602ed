"""What destroys or changes: each thing on stdout, sums and place on stderr, on a terminal and elsewhere."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest
from cli.conftest import Terminal, located, payload
from cli.shop import Shop, shop

from regfs.catalog.orphans import Plan
from regfs.cli.errors import Code
from regfs.filesystem import RegistryFileSystem
from regfs.layout import BlobData

if TYPE_CHECKING:
    from pathlib import Path

    from cli.conftest import Regfs, Start
    from support.proxy import CountingProxy, Request
    from support.servers import Place

pytestmark = pytest.mark.parametrize("server", ["seaweedfs"], indirect=True)


@pytest.fixture
def tree(raw: Place) -> list[str]:
    """The URLs of three files."""
    for name in ("t/a", "t/b/c", "t/b/d"):
        raw.put(name, b"12345")
    return [f"regfs://{raw.bucket}/t/{name}" for name in ("a", "b/c", "b/d")]


@pytest.fixture
def made(options: dict[str, Any]) -> Shop:
    """A registry with an orphan of 6,000 bytes."""
    found = shop()
    found.store(RegistryFileSystem(**options))
    return found


@pytest.fixture
def pending(raw: Place) -> list[str]:
    """Two uploads, begun more than a second ago: services tell seconds."""
    for name in ("a/first", "b"):
        raw.s3.create_multipart_upload(Bucket=raw.bucket, Key=raw.prefix + name)
    time.sleep(1.1)
    return ["/a/first", "/b"]


def run(start: Start, *arguments: str) -> tuple[str, str]:
    """Run a command line as a process in two pipes, and return what came through both."""
    process = start(*arguments)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    return out.decode(), err.decode()


def shown(said: str) -> list[str]:
    """Return the lines that a terminal shows at the end, without their colours."""
    kept = re.sub(r"[^\n]*\x1b\[2K", "", said)  # which erases a line
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", kept)
    lines = [line.strip() for line in plain.replace("\r", "").splitlines()]
    return [line for line in lines if line and "━" not in line]  # but for progress bars


# -- rm ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dry", [True, False])
def test_rm_in_a_pipe(start: Start, raw: Place, tree: list[str], dry: bool) -> None:
    out, err = run(start, "rm", "-r", "/t", "--dry-run" if dry else "--yes")
    assert sorted(out.splitlines()) == tree
    done = "would remove" if dry else "removed"
    assert err == f"{done} 3 files, 15 B, in {located(raw)}\n"
    assert len(raw.keys()) == (3 if dry else 0)


@pytest.mark.parametrize("dry", [True, False])
@pytest.mark.parametrize("arguments", [["/t/a", "/t/b/c"], ["-r", "/t/a", "/t/b", "/t/b/c", "/t/a"]])
def test_the_dry_run_of_rm_lists_what_rm_removes(
    regfs: Regfs, raw: Place, tree: list[str], arguments: list[str], dry: bool
) -> None:
    raw.put("t/b/marker/")
    before = raw.keys()
    listed = regfs("rm", *arguments, "--dry-run").stdout.splitlines()
    removed = regfs("rm", *arguments, "--yes").stdout.splitlines()
    assert sorted(listed) == sorted(removed)
    gone = set(before) - set(raw.keys())
    assert sorted(removed) == sorted(f"regfs://{raw.bucket}/{name}" for name in gone)


def test_rm_on_a_terminal(terminal: Callable[..., Terminal], raw: Place, tree: list[str]) -> None:
    command = terminal("rm", "-r", "/t")
    command.expect(f"Remove regfs://{raw.bucket}/t: 3 files, 15 B, in {located(raw)}? [y/N]: ")
    command.type("y\n")
    code, said = command.end()
    assert code == 0
    lines = shown(said)
    assert sorted(lines[1:-1]) == tree
    assert lines[-1] == f"removed 3 files, 15 B, in {located(raw)}"


def test_rm_as_json(start: Start, raw: Place, tree: list[str]) -> None:
    out, err = run(start, "rm", "-r", "/t", "--yes", "--json")
    document = payload(out)
    assert err == ""
    assert sorted((entry["path"], entry["size"]) for entry in document.pop("entries")) == [
        (url, 5) for url in tree
    ]
    assert document == {
        "paths": [f"regfs://{raw.bucket}/t"],
        "rootdirectory": raw.root,
        "endpoint": raw.server.endpoint,
        "removed": True,
        "files": 3,
        "bytes": 15,
    }


def test_rm_tells_what_was_removed_before_a_failure(
    regfs: Regfs, raw: Place, tree: list[str], proxied: str, proxy: CountingProxy
) -> None:
    refusal = b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n"
    proxy.fault = lambda r: refusal if r.method == "DELETE" and r.path.endswith("/t/b/c") else None
    arguments = ["rm", "/t/a", "/t/b/c", "/t/b/d", "--yes", "--config", proxied]
    result = regfs(*arguments, code=Code.DENIED)
    assert result.stdout.splitlines() == tree[:1]
    sums, error = result.stderr.splitlines()
    assert sums.startswith("removed 1 file, 5 B, in bucket ")
    assert "could not be deleted: /t/b/c" in error
    raw.put("t/a", b"12345")
    document = payload(regfs(*arguments, "--json", code=Code.DENIED).stdout)
    assert [entry["path"] for entry in document["entries"]] == tree[:1]
    raw.put("t/a", b"12345")
    result = regfs(*arguments, "--quiet", code=Code.DENIED)
    assert result.stdout == ""
    (error,) = result.stderr.splitlines()
    assert "could not be deleted: /t/b/c" in error


def test_rm_prints_while_it_removes(
    start: Start, raw: Place, options: dict[str, Any], proxied: str, proxy: CountingProxy
) -> None:
    fs = RegistryFileSystem(**options)
    fs.pipe({f"/t/{number}": b"x" for number in range(1100)})
    printed = threading.Event()
    first = threading.Lock()

    def hold(request: Request) -> None:
        if "delete" in request.query and not first.acquire(blocking=False):
            assert printed.wait(60)

    proxy.fault = hold
    process = start("rm", "-r", "/t", "--yes", environ={"REGFS_CONFIG": proxied})
    assert process.stdout is not None
    line = process.stdout.readline()
    printed.set()
    assert len({line, *process.stdout.readlines()}) == 1100
    assert process.wait(60) == 0
    assert process.stderr is not None
    assert process.stderr.read().startswith(b"removed 1,100 files, 1.1 KiB, in bucket ")


# -- cp and mv --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dry", [True, False])
@pytest.mark.parametrize("verb", ["cp", "mv"])
def test_cp_and_mv_in_a_pipe(
    start: Start, raw: Place, tree: list[str], tmp_path: Path, verb: str, dry: bool
) -> None:
    target = str(tmp_path / "down")
    out, err = run(start, verb, "-r", "regfs:///t", target, *["--dry-run"] * dry)
    assert sorted(out.splitlines()) == [f"{url} -> {target}/{url.partition('/t/')[2]}" for url in tree]
    done = {"cp": ("copied", "would copy"), "mv": ("moved", "would move")}[verb][dry]
    assert re.fullmatch(rf"{done} 3 files, 15 B(, in \d+\.\d s)?, from {re.escape(located(raw))}\n", err)
    assert len(raw.keys()) == (0 if verb == "mv" and not dry else 3)


def test_where_files_come_from_and_go_to(regfs: Regfs, raw: Place, tree: list[str], bucket: str) -> None:
    assert regfs("cp", "regfs:///t/a", "regfs:///x").stderr.endswith(f" s, within {located(raw)}\n")
    across = regfs("cp", "regfs:///t/a", f"regfs://{bucket}/x").stderr
    assert across.endswith(f" s, from {located(raw)}, to {located(raw).replace(raw.bucket, bucket)}\n")
    up = regfs("cp", "-", "regfs:///y", input=b"123")
    assert up.stdout == f"- -> regfs://{raw.bucket}/y\n"
    assert re.fullmatch(rf"copied 1 file, 3 B, in [\d.]+ s, to {re.escape(located(raw))}\n", up.stderr)
    down = regfs("cp", "regfs:///y", "-")
    assert (down.stdout, down.stderr) == ("123", "")


def test_the_dry_run_of_no_clobber_leaves_out_what_is_there(
    regfs: Regfs, raw: Place, tree: list[str], tmp_path: Path
) -> None:
    raw.put("u/b/c", b"mine")
    told = regfs("cp", "-rn", "--dry-run", "regfs:///t/", "regfs:///u")
    assert len(told.stdout.splitlines()) == 2
    assert "/u/b/c" not in told.stdout
    assert told.stderr.startswith("would copy 2 files, 10 B, 1 skipped, within bucket ")
    (tmp_path / "a").write_bytes(b"mine")
    arguments = ["mv", "-rn", "regfs:///t/", str(tmp_path)]
    told = regfs(*arguments, "--dry-run", "--json")
    moved = payload(regfs(*arguments, "--json").stdout)
    assert moved["skipped"] == 1
    by_source = {entry["source"]: entry for entry in payload(told.stdout)}
    assert by_source == {entry["source"]: entry for entry in moved["entries"]}


@pytest.mark.parametrize("verb", ["cp", "mv"])
def test_cp_and_mv_on_a_terminal(
    terminal: Callable[..., Terminal], raw: Place, tree: list[str], verb: str
) -> None:
    code, said = terminal(verb, "-r", "regfs:///t", "regfs:///u").end()
    assert code == 0
    *lines, sums = shown(said)
    assert sorted(lines) == [f"{url} -> {url.replace('/t/', '/u/')}" for url in tree]
    assert sums.startswith("copied 3 files, 15 B, in " if verb == "cp" else "moved 3 files, 15 B, in ")


def test_lines_above_a_progress_bar(
    terminal: Callable[..., Terminal], raw: Place, tree: list[str], proxied: str, proxy: CountingProxy
) -> None:
    """One line each, though the bar is redrawn and paths are longer than a line of the terminal."""
    name = "long/" + "x" * 150
    raw.put(f"t/b/{name}", b"12345")
    drawn = threading.Event()

    def hold(request: Request) -> None:
        if request.method == "PUT":
            drawn.wait(60)

    proxy.fault = hold
    command = terminal("cp", "-r", "regfs:///t", "regfs:///u", environ={"REGFS_CONFIG": proxied})
    command.expect("0/20 bytes")
    drawn.set()
    code, said = command.end()
    assert code == 0
    wanted = {f"{url} -> {url.replace('/t/', '/u/')}" for url in [*tree, f"regfs://{raw.bucket}/t/b/{name}"]}
    lines = [line for line in shown(said) if " -> " in line]
    assert sorted(lines) == sorted(wanted)


def test_mv_prints_what_has_left_its_source(
    regfs: Regfs, raw: Place, tree: list[str], proxied: str, proxy: CountingProxy
) -> None:
    refusal = b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n"
    proxy.fault = lambda r: refusal if r.method == "PUT" and r.path.endswith("/u/b/d") else None
    result = regfs("mv", "-r", "regfs:///t", "regfs:///u", "--config", proxied, code=Code.DENIED)
    assert (result.stdout, len(result.stderr.splitlines())) == ("", 1)
    assert "t/a" in raw.keys()


# -- orphans ----------------------------------------------------------------------------------------------


def test_orphans_that_are_too_young(start: Start, made: Shop, raw: Place) -> None:
    out, err = run(start, "orphans")
    hint = "(1 younger one, 5.9 KiB; show them with --older-than 0)"
    assert (out, err) == ("", f"No orphaned blobs older than 24 h {hint}, in {located(raw)}\n")
    out, err = run(start, "orphans", "--older-than", "7d", "--apply", "--yes")
    assert (out, err) == ("", f"No orphaned blobs older than 7 d {hint}, in {located(raw)}\n")
    document = payload(run(start, "orphans", "--json")[0])
    assert (document["younger"], document["younger_bytes"]) == (1, 6000)
    out, err = run(start, "orphans", "--older-than", "0")
    assert out.endswith(f"\t{made.digests['orphan']}\t-\n")
    assert re.fullmatch(rf"1 orphaned blob, 5\.9 KiB, as of .* UTC, in {re.escape(located(raw))}\n", err)


def test_no_orphans_at_all(start: Start, made: Shop, raw: Place) -> None:
    raw.s3.delete_object(Bucket=raw.bucket, Key=f"{raw.prefix}{BlobData(made.digests['orphan']).path[1:]}")
    assert run(start, "orphans") == ("", f"No orphaned blobs, in {located(raw)}\n")


@pytest.mark.parametrize("dry", [True, False])
def test_orphans_in_a_pipe(start: Start, made: Shop, raw: Place, dry: bool) -> None:
    out, err = run(start, "orphans", "--older-than", "0", "--apply", "--dry-run" if dry else "-y")
    (line,) = out.splitlines()
    done = "would delete" if dry else "deleted"
    assert line.split("\t")[0] == done
    assert line.endswith(f"\t6000\t0\t{made.digests['orphan']}\t-")
    assert err == f"{done} 1 blob, 5.9 KiB, in {located(raw)}\n"


@pytest.mark.parametrize("asked", [True, False])
def test_orphans_on_a_terminal(
    terminal: Callable[..., Terminal], made: Shop, raw: Place, asked: bool
) -> None:
    command = terminal("orphans", "--older-than", "0", "--apply", *([] if asked else ["-y"]))
    if asked:
        command.expect(f"Delete 1 blob, 5.9 KiB, in {located(raw)}? [y/N]: ")
        command.type("y\n")
    code, said = command.end()
    assert code == 0
    lines = shown(said)
    assert sum(made.digests["orphan"].hex[:12] in line for line in lines) == 1
    assert lines[-1] == f"deleted 1 blob, 5.9 KiB, in {located(raw)}"


@pytest.mark.parametrize("left", [1, 0])
def test_the_question_counts_what_would_go(
    terminal: Callable[..., Terminal], regfs: Regfs, made: Shop, raw: Place, tmp_path: Path, left: int
) -> None:
    """A plan names what is gone or needed by now; what is asked about is the rest."""
    file = tmp_path / "plan.json"
    more = [made.blob(b"more" * number) for number in (1, 2, 3)]
    made.store(RegistryFileSystem(**raw.options))
    regfs("orphans", "--older-than", "0", "--plan", str(file))
    for digest in more if left else [*more, made.digests["orphan"]]:
        raw.s3.delete_object(Bucket=raw.bucket, Key=raw.prefix + BlobData(digest).path[1:])
    before = raw.keys()
    command = terminal("orphans", "--apply", str(file))
    if left:
        command.expect(f"Delete 1 blob, 5.9 KiB (3 of the plan are skipped), in {located(raw)}? [y/N]: ")
        assert raw.keys() == before
        command.type("y\n")
    code, said = command.end()
    assert code == 0
    lines = shown(said)
    assert sum(line.endswith("it is gone already") for line in lines) == (3 if left else 4)
    assert lines[-1].startswith("deleted 1 blob, 5.9 KiB, in " if left else "deleted 0 blobs, 0 B, in ")


def test_a_log_has_what_was_deleted_and_not_what_was_asked_about(
    made: Shop, raw: Place, config: str, tmp_path: Path
) -> None:
    """Stdout goes to a file, as under tee; the person at the terminal answers."""
    digest = made.digests["orphan"]
    ours, theirs = pty.openpty()
    log = tmp_path / "log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "regfs", "orphans", "--older-than", "0", "--apply"],
            env={**os.environ, "REGFS_CONFIG": config, "TERM": "xterm", "COLUMNS": "80"},
            stdin=theirs,
            stdout=file,
            stderr=theirs,
        )
    os.close(theirs)
    try:
        command = Terminal(process, ours)
        command.expect("? [y/N]: ")
        assert digest.hex[:12] in command.said
        assert log.read_text() == ""
        command.type("y\n")
        code, said = command.end()
    finally:
        process.kill()
        process.wait()
        os.close(ours)
    assert code == 0
    assert "deleted 1 blob, 5.9 KiB, in " in said
    (line,) = log.read_text().splitlines()
    assert line.startswith("deleted\t")
    assert line.endswith(f"\t{digest}\t-")


def test_orphans_tell_what_was_deleted_before_a_failure(
    regfs: Regfs, made: Shop, raw: Place, proxied: str, proxy: CountingProxy
) -> None:
    gone = threading.Event()

    def refuse(request: Request) -> bytes | None:
        if request.method in ("DELETE", "POST"):
            gone.set()
        elif gone.is_set():  # the last look at the links
            return b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n"
        return None

    proxy.fault = refuse
    arguments = ["orphans", "--older-than", "0", "--apply", "-y", "--config", proxied]
    result = regfs(*arguments, code=Code.DENIED)
    assert str(made.digests["orphan"]) in result.stdout
    sums, _ = result.stderr.splitlines()
    assert sums.startswith("deleted 1 blob, 5.9 KiB, in bucket ")
    gone.clear()
    made.store(RegistryFileSystem(**raw.options))
    document = payload(regfs(*arguments, "--json", code=Code.DENIED).stdout)
    assert [blob["digest"] for blob in document["deleted"]] == [str(made.digests["orphan"])]


def test_a_plan_keeps_no_count_of_what_is_not_in_it(regfs: Regfs, made: Shop, tmp_path: Path) -> None:
    file = tmp_path / "plan.json"
    told = regfs("orphans", "--plan", str(file)).stderr
    assert told.endswith(f"wrote {file}; regfs orphans --apply {file} deletes what it names\n")
    assert Plan.load(file).younger == 0


# -- uploads ----------------------------------------------------------------------------------------------


def test_uploads_that_are_too_young(start: Start, pending: list[str], raw: Place) -> None:
    hint = "(2 younger ones, 0 B; show them with --older-than 0)"
    sentence = f"No pending uploads older than 7 d {hint}, in {located(raw)}\n"
    assert run(start, "uploads", "--older-than", "7d") == ("", sentence)
    assert run(start, "uploads", "--older-than", "7d", "--abort", "-y") == ("", sentence)
    assert payload(run(start, "uploads", "--older-than", "7d", "--abort", "-y", "--json")[0]) == []
    out, err = run(start, "uploads")
    assert sorted(line.rpartition("\t")[2] for line in out.splitlines()) == pending
    assert err == f"2 uploads, 0 B, in {located(raw)}\n"


def test_uploads_in_a_pipe(start: Start, pending: list[str], raw: Place) -> None:
    out, err = run(start, "uploads", "--older-than", "0", "--abort", "-y")
    assert sorted(line.rpartition("\t")[2] for line in out.splitlines()) == pending
    assert err == f"aborted 2 uploads, 0 B, in {located(raw)}\n"
    assert raw.uploads() == []


def test_uploads_on_a_terminal(terminal: Callable[..., Terminal], pending: list[str], raw: Place) -> None:
    command = terminal("uploads", "--older-than", "0", "--abort")
    command.expect(f"Abort 2 uploads, 0 B, in {located(raw)}? [y/N]: ")
    raw.s3.create_multipart_upload(Bucket=raw.bucket, Key=f"{raw.prefix}younger")
    time.sleep(1.1)
    command.type("y\n")
    code, said = command.end()
    assert code == 0
    lines = shown(said)
    assert [sum(line.endswith(f" {path}") for line in lines) for path in pending] == [1, 1]
    assert lines[-1] == f"aborted 2 uploads, 0 B, in {located(raw)}"
    assert [key for key, _ in raw.uploads()] == ["younger"], "it was not part of the question"


def test_uploads_tell_what_was_aborted_before_a_failure(
    regfs: Regfs, pending: list[str], raw: Place, proxied: str, proxy: CountingProxy
) -> None:
    refusal = b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n"
    proxy.fault = lambda r: refusal if r.method == "DELETE" and r.path.endswith("/b") else None
    arguments = ["uploads", "--older-than", "0", "--abort", "-y", "--config", proxied]
    result = regfs(*arguments, code=Code.DENIED)
    assert [key for key, _ in raw.uploads()] == ["b"]
    assert result.stdout.endswith("\t/a/first\n")
    assert result.stderr.startswith("aborted 1 upload, 0 B, in bucket ")


# -- sums -------------------------------------------------------------------------------------------------


def test_sums_are_on_stderr_in_pipes(regfs: Regfs, made: Shop, tmp_path: Path) -> None:
    used = regfs("usage", "--bytes")
    total = sum(len(content) for content in made.files.values())
    assert re.fullmatch(rf"\d+ B unique \+ .* = {total} B in all\n", used.stderr)
    assert " in all" not in used.stdout
    found = regfs("fsck", code=Code.FINDINGS)
    assert found.stderr == "1 error, 2 warnings\n"
    page = tmp_path / "page.html"
    assert regfs("report", str(page)).stderr.startswith(f"wrote {page}, ")
    assert regfs("export", str(tmp_path / "tables"), "--only", "tags").stderr == "wrote 1 table\n"
    for verb in (["usage"], ["fsck"], ["report", str(page), "--overwrite"]):
        code = Code.FINDINGS if verb == ["fsck"] else Code.OK
        assert regfs(*verb, "--json", code=code).stderr == ""


# -- silence ----------------------------------------------------------------------------------------------


def _commands() -> Iterator[list[str]]:
    for dry in (True, False):
        yield ["rm", "-r", "/t", "--dry-run" if dry else "-y"]
        yield ["cp", "-r", "regfs:///t", "regfs:///u", *["--dry-run"] * dry]
        yield ["mv", "-r", "regfs:///t", "regfs:///u", *["--dry-run"] * dry]
        yield ["orphans", "--older-than", "0", "--apply", "--dry-run" if dry else "-y"]
    yield ["uploads", "--older-than", "0", "--abort", "-y"]
    yield ["orphans"]
    yield ["uploads", "--older-than", "7d"]


@pytest.mark.parametrize("arguments", [*_commands()], ids=" ".join)
def test_quiet(start: Start, made: Shop, tree: list[str], pending: list[str], arguments: list[str]) -> None:
    assert run(start, *arguments, "-q") == ("", "")


@pytest.mark.parametrize("arguments", [*_commands()], ids=" ".join)
def test_json_is_one_document_and_nothing_else(
    regfs: Regfs, made: Shop, tree: list[str], pending: list[str], arguments: list[str]
) -> None:
    result = regfs(*arguments, "--json", "--quiet")
    assert payload(result.stdout) or arguments[0] == "uploads"
    assert result.stderr == ""


def test_quiet_still_asks(terminal: Callable[..., Terminal], raw: Place, tree: list[str]) -> None:
    command = terminal("rm", "-rq", "/t")
    command.expect(f"in {located(raw)}? [y/N]: ")
    command.type("y\n")
    code, said = command.end()
    assert (code, len(shown(said))) == (0, 1)
    assert raw.keys() == []
