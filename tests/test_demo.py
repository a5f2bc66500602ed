"""The demo, as a newcomer runs it: what it shows, how it ends, and that nothing stays behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
COMMAND = [sys.executable, "-m", "regfs.demo"]


def processes_in(directory: Path) -> list[str]:
    """Return the command lines that name a directory: the server's data lies in the demo's TMPDIR."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            line = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if str(directory) in line:
            found.append(line)
    return found


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """The settings of a user behind a proxy, with an AWS profile that is not there."""
    proxy = "http://127.0.0.1:9"
    return {
        **os.environ,
        "TMPDIR": str(tmp_path),
        "HTTP_PROXY": proxy,
        "http_proxy": proxy,
        "AWS_PROFILE": "no",
    }


@pytest.mark.slow
def test_it_tells_its_story_and_leaves_nothing(tmp_path: Path, environment: dict[str, str]) -> None:
    started = time.monotonic()
    done = subprocess.run(COMMAND, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert time.monotonic() - started < 60
    assert done.stderr == ""
    for text in (
        "SeaweedFS",
        "files of the json package in one layer",
        "Store it through the StorageDriver as python:latest",
        "has type application/vnd.oci.image.manifest.v1+json",
        "application/vnd.oci.image.layer.v1.tar+gzip",
        "the same as in this Python's own json/tool.py",
        "3 rows, equal to what was written",
        "Catalog(driver).usage()",
        "freed by deletion",
        "bytes in all, each counted once",
        "the server is stopped",
    ):
        assert text in done.stdout
    assert [line[:2] for line in done.stdout.splitlines() if line[:1].isdigit()] == [
        f"{number}." for number in range(1, 9)
    ]
    assert len(done.stdout.partition("Try next:\n")[2].splitlines()) == 3
    assert "\x1b" not in done.stdout
    bars = {
        line.split()[0]: line.split()[-1]
        for line in done.stdout.splitlines()
        if re.search(r"[█░#=] *$", line)
    }
    assert sorted(bars) == ["python", "team/copy", "team/mail"]
    assert set(bars["python"]) <= set("░="), "all of it is in team/copy as well"
    assert len(set(bars["team/mail"])) == 2
    assert max(map(len, done.stdout.partition("Try next:")[0].splitlines())) <= 80
    assert processes_in(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("step", ["1.", "3.", "5."])
def test_ctrl_c_ends_it_in_one_line(tmp_path: Path, environment: dict[str, str], step: str) -> None:
    with subprocess.Popen(
        COMMAND,
        cwd=ROOT,
        env={**environment, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as demo:
        assert demo.stdout is not None
        for line in demo.stdout:
            if line.startswith(step):
                demo.send_signal(signal.SIGINT)
                break
        _, errors = demo.communicate(timeout=30)
    # CPython ends by the signal itself (130 in a shell) where it came inside an exec() of text.
    assert demo.returncode in (130, -signal.SIGINT)
    assert errors == "regfs.demo: interrupted; the S3 server is stopped\n"
    assert processes_in(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("module", ["rich", "pandas", "pyarrow"])
def test_a_missing_package_names_the_extra(module: str) -> None:
    hide = f"import sys; sys.modules[{module!r}] = None; from regfs.demo import main"
    done = subprocess.run(
        [sys.executable, "-c", f"{hide}; sys.exit(main([]))"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    assert done.stderr == f'regfs.demo: not installed: {module}: pip install "regfs[demo]"\n'
    assert done.stdout == ""


def test_a_missing_server_names_the_extra() -> None:
    code = """
import sys
from regfs import demo
from regfs.local import server as local
local.importlib.metadata.files = lambda name: []
local.sysconfig.get_path = lambda name: "/nowhere"
sys.exit(demo.main([]))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert done.stderr == 'regfs.demo: the embedded S3 server is not installed: pip install "regfs[demo]"\n'
