"""A short load; the long one is ``python tests/faults/load.py``."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
@pytest.mark.again
def test_every_byte_is_right() -> None:
    # A process of its own, as it forks; Python 3.12 and later warn of that where there are threads.
    options = ["-W", "error", "-W", "ignore::DeprecationWarning"]
    script = str(Path(__file__).with_name("load.py"))
    run = subprocess.run(
        [sys.executable, *options, script, "--seconds", "12"], capture_output=True, text=True, timeout=170
    )
    assert (run.stderr, run.returncode) == ("", 0), run.stdout + run.stderr
    told = re.search(r"^(\d+) operations, (\d+) faults, 0 failures$", run.stdout, re.MULTILINE)
    assert told
    assert int(told[1]) > 500
    assert int(told[2]) > 20
