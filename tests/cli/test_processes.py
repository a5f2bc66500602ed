"""The command as a process: pipes, signals in the middle of a copy, progress, and what is left of it all."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from cli.conftest import payload
from cli.shop import shop
from support.proxy import CountingProxy, Fate, Request
from support.quiescence import wait_until_asleep

from regfs.cli.errors import Code

if TYPE_CHECKING:
    from cli.conftest import Start, Terminal
    from support.servers import Place

pytestmark = pytest.mark.parametrize("server", ["seaweedfs"], indirect=True)

LARGE = 24 * 2**20
_CHUNK = ["-o", "chunksize=5MiB"]


class Gate:
    """Holds requests up, from the first that is of a kind until it is opened."""

    def __init__(self, proxy: CountingProxy, kind: Callable[[Request], bool]) -> None:
        self._kind = kind
        self._reached = threading.Event()
        self._open = threading.Event()
        proxy.fault = self._hold

    def _hold(self, request: Request) -> None:
        if self._kind(request):
            self._reached.set()
            self._open.wait(60)

    def wait(self) -> None:
        assert self._reached.wait(60)

    def open(self) -> None:
        self._open.set()


@pytest.fixture
def environ(proxied: str) -> dict[str, str]:
    return {"REGFS_CONFIG": proxied}


@pytest.fixture
def large(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "large"
    path.write_bytes(os.urandom(LARGE))
    yield path
    path.unlink()


def end(process: subprocess.Popen[bytes]) -> tuple[int, bytes, str]:
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err.decode()


# -- pipes --------------------------------------------------------------------------------------------


def test_in_and_out(start: Start, raw: Place, large: Path) -> None:
    with large.open("rb") as file:
        assert end(start("cp", "-", "regfs:///x", *_CHUNK, stdin=file.fileno()))[0] == 0
    assert raw.uploads() == []
    code, out, err = end(start("cat", "/x"))
    assert (code, out, err) == (0, large.read_bytes(), "")


@pytest.mark.parametrize("arguments", [["cat", "/x"], ["cp", "regfs:///x", "-"]])
def test_a_reader_that_goes_away(start: Start, raw: Place, arguments: list[str]) -> None:
    raw.put("x", b"line\n" * 10**6)
    process = start(*arguments)
    assert process.stdout is not None
    assert process.stdout.readline() == b"line\n"
    process.stdout.close()
    assert process.stderr is not None
    assert (process.wait(60), process.stderr.read()) == (Code.PIPE, b"")


def test_a_reader_of_a_listing_that_goes_away(start: Start, raw: Place) -> None:
    raw.put("x")
    process = start("ls")
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    assert (process.wait(60), process.stderr.read()) == (Code.PIPE, b"")


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["ls"], Code.OK),
        (["stat", "/x"], Code.NOT_FOUND),
        (["ls", "--no"], Code.USAGE),
        (["rm", "/y"], Code.USAGE),
    ],
)
def test_exit_codes(start: Start, raw: Place, arguments: list[str], code: int) -> None:
    raw.put("y")
    assert end(start(*arguments))[0] == code


def test_doctor(start: Start, raw: Place, environ: dict[str, str], proxy: CountingProxy) -> None:
    code, out, err = end(start("doctor"))
    assert (code, err) == (0, "")
    assert "✓ CompleteMultipartUpload: " in out.decode()
    refusal = b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n"
    proxy.fault = lambda request: refusal if "x-amz-copy-source" in request.headers else None
    code, out, _ = end(start("doctor", environ=environ))
    assert code == Code.FINDINGS
    assert "✗ CopyObject: access denied" in out.decode()
    assert "    allow s3:GetObject and s3:PutObject on " in out.decode()
    assert (raw.keys(), raw.uploads()) == ([], [])


def test_doctor_tells_of_a_key_that_is_there_twice(start: Start, config: str, raw: Place) -> None:
    path = Path(config)
    path.write_text(
        path.read_text().replace("    bucket:", "    encrypt: true\n    encrypt: false\n    bucket:")
    )
    process = start("doctor", "--json", "--read-only")
    out, err = process.communicate(timeout=60)
    checks = {check["check"]: check for check in payload(out.decode())}
    assert checks["configuration"]["verdict"] == "warning"
    assert "gives encrypt again in line " in checks["configuration"]["found"]
    assert checks["configuration"]["advice"] == "write each key once"
    assert checks["configuration"]["found"] in err.decode()


def test_doctor_in_another_encoding(start: Start, raw: Place) -> None:
    code, out, err = end(start("doctor", environ={"PYTHONIOENCODING": "latin-1"}))
    assert (code, err) == (0, "")
    assert b"\\u2713 parameters: " in out


# -- Ctrl-C -------------------------------------------------------------------------------------------


def _part(request: Request) -> bool:
    return "partNumber" in request.query


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_an_interrupted_upload(
    start: Start,
    raw: Place,
    proxy: CountingProxy,
    environ: dict[str, str],
    large: Path,
    number: signal.Signals,
) -> None:
    raw.put("x", b"old")
    gate = Gate(proxy, _part)
    process = start("cp", str(large), "regfs:///x", *_CHUNK, environ=environ)
    gate.wait()
    process.send_signal(number)
    wait_until_asleep(process.pid)
    gate.open()
    code, _, err = end(process)
    interrupted = number == signal.SIGINT
    assert (code, err) == ((130, "regfs: interrupted\n") if interrupted else (143, ""))
    assert raw.uploads() == []
    assert raw.get("x") == b"old"


def test_an_interrupted_upload_of_a_tree(
    start: Start, raw: Place, proxy: CountingProxy, environ: dict[str, str], tmp_path: Path
) -> None:
    for number in range(40):
        (tmp_path / f"{number}").write_bytes(b"x" * number)
    gate = Gate(proxy, lambda request: request.method == "PUT" and request.path.endswith("/20"))
    process = start("cp", "-r", f"{tmp_path}/", "regfs:///t", environ=environ)
    gate.wait()
    process.send_signal(signal.SIGINT)
    wait_until_asleep(process.pid)
    gate.open()
    assert end(process)[0] == 130
    stored = {key: len(raw.get(key)) for key in raw.keys()}
    assert stored == {f"t/{size}": size for size in stored.values()}  # each of them whole
    assert 0 < len(stored) < 40


def test_an_interrupted_upload_from_a_pipe(start: Start, raw: Place, large: Path) -> None:
    process = start("cp", "-", "regfs:///x", *_CHUNK, stdin=subprocess.PIPE)
    assert process.stdin is not None
    process.stdin.write(large.read_bytes())
    process.stdin.flush()
    deadline = time.monotonic() + 60
    while not raw.uploads():  # it waits for more, with an upload open
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    process.stdin.close()
    assert (raw.keys(), raw.uploads()) == ([], [])


def test_an_interrupted_download(
    start: Start, raw: Place, proxy: CountingProxy, environ: dict[str, str], tmp_path: Path
) -> None:
    raw.put("x", os.urandom(LARGE))
    proxy.fault = lambda request: Fate(drip=0.3) if request.method == "GET" else None
    target = tmp_path / "x"
    target.write_bytes(b"old")
    process = start("cp", "regfs:///x", str(target), environ=environ)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob(".x.*.part")):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    code, _, err = end(process)
    assert (code, err) == (130, "regfs: interrupted\n")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"x": b"old"}


def test_an_interrupted_move(start: Start, raw: Place, proxy: CountingProxy, environ: dict[str, str]) -> None:
    for number in range(20):
        raw.put(f"t/{number}", b"x" * number)
    gate = Gate(proxy, lambda request: request.path.endswith("/moved/10") and request.method == "PUT")
    process = start("mv", "-r", "regfs:///t", "regfs:///moved", environ=environ)
    gate.wait()
    process.send_signal(signal.SIGINT)
    wait_until_asleep(process.pid)
    gate.open()
    assert end(process)[0] == 130
    assert {f"t/{number}" for number in range(20)} <= set(raw.keys())


def test_an_interrupted_copy_between_buckets(
    start: Start, raw: Place, bucket: str, proxy: CountingProxy, environ: dict[str, str]
) -> None:
    raw.put("x", os.urandom(LARGE))
    gate = Gate(proxy, _part)
    process = start("cp", "regfs:///x", f"regfs://{bucket}/x", *_CHUNK, environ=environ)
    gate.wait()
    process.send_signal(signal.SIGINT)
    wait_until_asleep(process.pid)
    gate.open()
    assert end(process)[0] == 130
    assert raw.s3.list_objects_v2(Bucket=bucket).get("Contents") is None
    assert raw.s3.list_multipart_uploads(Bucket=bucket).get("Uploads") is None


def test_an_interrupted_doctor(
    start: Start, raw: Place, proxy: CountingProxy, environ: dict[str, str]
) -> None:
    gate = Gate(proxy, _part)
    process = start("doctor", environ=environ)
    gate.wait()
    process.send_signal(signal.SIGINT)
    wait_until_asleep(process.pid)
    gate.open()
    code, out, err = end(process)
    assert (code, err) == (130, "regfs: interrupted\n")
    assert out.decode().endswith("clean-up: nothing is left behind\n")
    assert (raw.keys(), raw.uploads()) == ([], [])


# -- progress -----------------------------------------------------------------------------------------


def test_progress_on_a_terminal(
    terminal: Callable[..., Terminal],
    raw: Place,
    proxy: CountingProxy,
    environ: dict[str, str],
    tmp_path: Path,
) -> None:
    raw.put("x", os.urandom(LARGE))
    proxy.fault = lambda request: Fate(drip=0.15) if request.method == "GET" else None
    command = terminal("cp", "regfs:///x", str(tmp_path / "x"), environ=environ)
    command.expect("24.0 MiB")
    code, said = command.end()
    assert code == 0
    assert "copied 1 file, 24 MiB, in " in said
    assert (tmp_path / "x").stat().st_size == LARGE


def _drawn(said: str, text: str) -> list[str]:
    """Return each line with a text that a progress display has drawn, with its colours."""
    return [line.strip() for line in re.split(r"\x1b\[2K|[\r\n]", said) if text in line]


@pytest.mark.parametrize("early", [True, False], ids=["before the bar appears", "while it is there"])
def test_an_upload_that_waits_for_its_completion_shows_no_full_bar(
    terminal: Callable[..., Terminal],
    raw: Place,
    proxy: CountingProxy,
    environ: dict[str, str],
    large: Path,
    early: bool,
) -> None:
    gate = Gate(proxy, lambda request: request.method == "POST" and "uploadId" in request.query)
    hold = proxy.fault
    assert hold is not None

    def slowly(request: Request) -> Any:
        if not early and _part(request):
            time.sleep(1.5)
        return hold(request)

    proxy.fault = slowly
    command = terminal("cp", str(large), "regfs:///x", *_CHUNK, environ=environ)
    gate.wait()
    command.expect("24.0/24.0 MiB")
    command.expect("completing the upload")
    gate.open()
    code, said = command.end()
    assert code == 0
    for line in _drawn(said, "24.0/24.0 MiB"):
        plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", line)
        assert plain.endswith("completing the upload")
        assert len(plain) <= 80
        # A bar that moves has more than one colour; a full one is of one.
        assert len(set(re.findall(r"\x1b\[([0-9;]+)m━", line))) > 1


def test_parts_on_their_way_are_not_counted(
    terminal: Callable[..., Terminal],
    raw: Place,
    proxy: CountingProxy,
    environ: dict[str, str],
    large: Path,
) -> None:
    gate = Gate(proxy, _part)
    command = terminal("cp", str(large), "regfs:///x", *_CHUNK, environ=environ)
    gate.wait()
    command.expect("0.0/24.0 MiB")
    gate.open()
    code, said = command.end()
    assert code == 0
    assert "copied 1 file, 24 MiB, in " in said
    assert len(raw.get("x")) == LARGE


def test_a_stage_that_is_over_shows_no_full_bar(
    terminal: Callable[..., Terminal], raw: Place, proxy: CountingProxy, environ: dict[str, str]
) -> None:
    for path, content in shop().files.items():
        raw.put(path[1:], content)
    # With the first manifest all tags are there.
    gate = Gate(proxy, lambda request: request.method == "GET" and "/blobs/" in request.path)
    command = terminal("usage", environ=environ)
    gate.wait()
    command.expect("manifests")
    gate.open()
    assert command.end()[0] == 0


def test_what_is_waited_for_is_shown_before_anything_has_come(
    terminal: Callable[..., Terminal], raw: Place, proxy: CountingProxy, environ: dict[str, str]
) -> None:
    for path, content in shop().files.items():
        raw.put(path[1:], content)
    gate = Gate(proxy, lambda request: "list-type" in request.query)
    command = terminal("usage", environ=environ)
    gate.wait()
    command.expect("listing")
    gate.open()
    assert command.end()[0] == 0


def test_no_progress_for_what_is_quick(terminal: Callable[..., Terminal], raw: Place, tmp_path: Path) -> None:
    raw.put("x", b"small")
    for _ in range(20):  # on a busy machine it need not be quick
        code, said = terminal("cp", "regfs:///x", str(tmp_path / "x")).end()
        assert code == 0
        copied = re.search(r"copied 1 file, 5 B, in ([\d.]+) (ms|s)", said)
        assert copied, said
        if copied[2] == "ms" or float(copied[1]) < 0.5:
            break
    assert "━" not in said


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_a_closed_output(config: str, raw: Place, closed: str) -> None:
    raw.put("a", b"a")
    command = f'"{sys.executable}" -m regfs --config "{config}" rm -y /a {closed}'
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert raw.keys() == []
