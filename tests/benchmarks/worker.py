"""A client's own process: what is measured here is the client's alone."""

from __future__ import annotations

import contextlib
import gc
import multiprocessing
import resource
import sys
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from .place import Place, shut_out_settings

_TIMEOUT = 1200.0
"""Seconds that a run may take."""
_MIB = 2**20


@dataclass(frozen=True)
class Measure:
    """What one run took."""

    wall: float
    """Seconds."""
    cpu: float
    """Seconds of all threads of the client's process, in it and in the kernel for it."""
    peak: float
    """MiB at the highest, above what the process had before its first run."""


class WorkerError(Exception):
    """A client failed, or gave a wrong answer."""


class Worker:
    """The handle of a client's process, which has made its first request by then.

    Parameters
    ----------
    work, peer : str
        Their names.
    quick : bool
        As `Work` takes it.
    place : Place
        Where the client is sent.
    settings : mapping
        The client's.

    Raises
    ------
    WorkerError
        It cannot be started.
    """

    def __init__(self, work: str, peer: str, quick: bool, place: Place, settings: Mapping[str, Any]) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, other = context.Pipe()
        arguments = (other, work, peer, quick, place, dict(settings))
        self._process = context.Process(target=_main, args=arguments, daemon=True, name=f"{work} {peer}")
        self._process.start()
        other.close()
        try:
            self._receive()
        except WorkerError:
            self.stop()
            raise

    def run(self, run: str) -> Measure:
        """Run once.

        Raises
        ------
        WorkerError
            The client failed, or its answer is wrong.
        """
        self._connection.send(run)
        measure = self._receive()
        assert isinstance(measure, Measure)
        return measure

    def stop(self) -> None:
        """End the process."""
        self._connection.close()  # at which it ends by itself
        self._process.join(2)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def _receive(self) -> Measure | None:
        try:
            if not self._connection.poll(_TIMEOUT):
                raise WorkerError(f"no answer within {_TIMEOUT:g} s")
            answer = self._connection.recv()
        except (EOFError, OSError) as exc:
            raise WorkerError("its process ended") from exc
        if isinstance(answer, str):
            raise WorkerError(answer)
        assert answer is None or isinstance(answer, Measure)
        return answer


def _main(
    connection: Connection,
    work_name: str,
    peer_name: str,
    quick: bool,
    place: Place,
    settings: dict[str, Any],
) -> None:
    shut_out_settings()
    try:
        from .peers import PEERS
        from .works import PROBE, WORKS

        work = next(work for work in WORKS if work.name == work_name)(quick)
        peer = PEERS[peer_name](place, settings)
        peer.stat(PROBE)
        work.inputs("")
        gc.collect()
        baseline = _resident()
        connection.send(None)
        while True:
            run = connection.recv()
            inputs = work.inputs(run)
            gc.collect()
            _reset_peak()
            cpu, wall = _cpu(), time.perf_counter()
            result = work.run(peer, inputs)
            wall, cpu = time.perf_counter() - wall, _cpu() - cpu
            peak = _peak()
            work.check(peer, inputs, result)
            del inputs, result
            connection.send(Measure(wall, cpu, max(0, peak - baseline) / _MIB))
    except EOFError:
        pass
    except Exception as exc:
        connection.send(_told(exc))


def _told(error: BaseException) -> str:
    """Tell of an error: what, why, where."""
    lines = traceback.format_exception_only(error)
    cause = error.__cause__ or error.__context__
    while cause is not None:
        lines.append("because of " + "".join(traceback.format_exception_only(cause)))
        cause = cause.__cause__ or cause.__context__
    frames = traceback.extract_tb(error.__traceback__)[-4:]
    return "".join([*lines, *traceback.format_list(frames)]).rstrip()


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _status(name: str) -> int:
    """Read a size in bytes that Linux tells of this process; 0 where it does not."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(name + ":")), 0)


def _highest() -> int:
    """Return the highest resident size of all time, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _resident() -> int:
    return _status("VmRSS") or _highest()


def _peak() -> int:
    return _status("VmHWM") or _highest()


def _reset_peak() -> None:
    """Let the highest resident size begin anew, where that can be: proc(5), ``clear_refs``."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
