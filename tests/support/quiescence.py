"""Waiting until a process has nothing left to do but wait.

A test that sends a signal and then lets go of what the process waits for needs to know that the signal has
been dealt with. How long that takes depends on the machine; that every thread sleeps afterwards does not.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

_SAMPLES = 5
_INTERVAL = 0.05
_TIMEOUT = 60.0


def wait_until_asleep(pid: int) -> None:
    """Wait until no signal is pending for a process and its threads have slept through several samples.

    Parameters
    ----------
    pid : int
        The process; of one that has ended nothing is awaited. Without ``/proc`` a second has to do.
    """
    if not Path("/proc/self/stat").exists():
        time.sleep(1)
        return
    deadline = time.monotonic() + _TIMEOUT
    previous: dict[str, int] | None = None
    unchanged = 0
    while unchanged < _SAMPLES:
        assert time.monotonic() < deadline, f"process {pid} has been busy for {_TIMEOUT:.0f} s"
        time.sleep(_INTERVAL)
        try:
            current = _cpu_ticks_of_sleepers(pid)
        except (FileNotFoundError, ProcessLookupError):  # it has ended, or one of its threads just now
            if not Path(f"/proc/{pid}").exists():
                return
            current = None
        unchanged = unchanged + 1 if current is not None and current == previous else 0
        previous = current


def _cpu_ticks_of_sleepers(pid: int) -> dict[str, int] | None:
    """Return the CPU time of each thread, None while a signal is pending or a thread can run."""
    ticks = {}
    for thread in os.listdir(f"/proc/{pid}/task"):
        status = Path(f"/proc/{pid}/task/{thread}/status").read_text()
        pending = [line.split()[1] for line in status.splitlines() if line.startswith(("SigPnd:", "ShdPnd:"))]
        fields = Path(f"/proc/{pid}/task/{thread}/stat").read_text().rpartition(")")[2].split()
        if fields[0] == "Z":
            continue
        if fields[0] != "S" or any(int(mask, 16) for mask in pending):
            return None
        ticks[thread] = int(fields[11]) + int(fields[12])
    return ticks
