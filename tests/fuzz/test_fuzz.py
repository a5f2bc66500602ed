"""A bounded number of runs of each fuzzer; they may go on for as long as one likes by hand."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("atheris") is None, reason="atheris has no build for this Python"
    ),
]


@pytest.mark.parametrize(
    ("name", "runs"),
    [
        ("fuzz_documents", 60_000),
        ("fuzz_headers", 40_000),
        ("fuzz_http1", 60_000),
        ("fuzz_sigv4", 10_000),
    ],
)
def test_only_documented_errors_come_out(name: str, runs: int, tmp_path: Path) -> None:
    script = Path(__file__).with_name(f"{name}.py")
    command = [sys.executable, str(script), f"-runs={runs}", "-seed=1", "-max_len=300"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=170)
    assert run.returncode == 0, run.stdout[-2000:] + run.stderr[-4000:]
    assert re.search(rf"^Done {runs} runs in", run.stderr, re.MULTILINE)
