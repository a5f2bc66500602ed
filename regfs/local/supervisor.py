"""A server process that outlives neither the Python process that started it nor its supervisor.

Between the two stands a supervisor: this very file, run as a script. It reads from a pipe whose write end
the owner alone holds, so the kernel reports the owner's end, however that came about (``SIGKILL``
too). It then stops the server by its pid and removes the server's directories. Nothing here may know what
is served, and nothing here may import from regfs: the script starts without site-packages.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

GRACE = 5.0
"""Seconds between the server's SIGTERM and its SIGKILL."""
_PR_SET_PDEATHSIG = 1


class SupervisedProcess:
    """A running server together with its supervisor.

    Both live in a session of their own, out of reach of the terminal's signals. The server is stopped by
    `stop` and by the death of this process. A ``fork()`` of this process has no say in it: it neither
    stops the server nor keeps it alive.

    Parameters
    ----------
    command : sequence of str
        The program (a path) and its arguments.
    environ : mapping of str to str
        The program's whole environment.
    directory : Path
        The program's working directory; what it prints goes to the file ``log`` there.
    remove : sequence of Path
        Directories and files that are removed in the end, in any case.

    Attributes
    ----------
    pid : int
        The server's process id.

    Raises
    ------
    RuntimeError
        If the program cannot be started; what is to be removed is gone by then.
    """

    def __init__(
        self, command: Sequence[str], *, environ: Mapping[str, str], directory: Path, remove: Sequence[Path]
    ) -> None:
        self._log = directory / "log"
        self._owner = os.getpid()
        self._remove = [os.fspath(path) for path in remove]
        self._lock = threading.Lock()
        self._pipe: int | None = None
        self._status = -1
        self._process: subprocess.Popen[bytes] | None = None
        job = {
            "command": [*command],
            "environ": {**environ},
            "cwd": os.fspath(directory),
            "remove": self._remove,
        }
        reader = status_writer = -1
        _running.add(self)
        try:
            # os.pipe() is close-on-exec: no program that this process starts inherits the write end.
            reader, self._pipe = os.pipe()
            self._status, status_writer = os.pipe()
            with self._log.open("ab") as log:
                # By path, not by module: -I and -S skip site-packages, so it is there within 30 ms.
                script = [sys.executable, "-I", "-S", __file__, str(status_writer)]
                self._process = subprocess.Popen(  # noqa: S603 - our own file
                    script,
                    stdin=reader,
                    stdout=log,
                    stderr=log,
                    pass_fds=[status_writer],
                    start_new_session=True,
                )
            os.close(status_writer)
            status_writer = -1
            with contextlib.suppress(BrokenPipeError), open(self._pipe, "wb", closefd=False) as pipe:
                pipe.write(json.dumps(job).encode() + b"\n")
            with open(self._status, "rb", closefd=False) as status:
                answer = status.readline()
            if not answer.strip().isdigit():  # else it is the reason; empty if the supervisor itself failed
                reason = answer.decode().strip() or self.last_words()
                raise RuntimeError(f"cannot start {command[0]!r}: {reason}")  # noqa: TRY301 - what was begun is ended by one handler
            self.pid = int(answer)
        except BaseException:
            self.stop()
            raise
        finally:
            for descriptor in (reader, status_writer):
                if descriptor >= 0:
                    os.close(descriptor)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for the server to end by itself.

        Parameters
        ----------
        timeout : float, optional
            Seconds; without it, for ever.

        Returns
        -------
        bool
            Whether it has ended.
        """
        if self._pipe is None:
            return True
        # The supervisor closes its end of the status pipe when the server is gone, or by dying itself.
        poll = select.poll()
        poll.register(self._status, select.POLLIN)
        return bool(poll.poll(None if timeout is None else timeout * 1000))

    def log(self) -> str:
        """Return what the server has printed so far, empty once its directory is gone."""
        with contextlib.suppress(OSError):
            return self._log.read_text(errors="replace")
        return ""

    def last_words(self) -> str:
        """Return the last two lines that the server has printed, as one."""
        lines = [line.strip() for line in self.log().splitlines() if line.strip()]
        return " | ".join(lines[-2:]) or "it said nothing"

    def stop(self) -> None:
        """Stop the server, wait until it is gone, and remove what it leaves. Idempotent."""
        if os.getpid() != self._owner:
            return
        with self._lock:
            _running.discard(self)
            if self._pipe is None:
                return
            with contextlib.suppress(BrokenPipeError):
                os.write(self._pipe, b"stop\n")  # not the end of file alone: C code may have forked, too
            os.close(self._pipe)
            self._pipe = None
            if self._process is not None and self._process.wait() != 0:
                # The supervisor was killed. The group's id is the supervisor's pid, and the system gives
                # it to nobody else while the server is still a member.
                _kill_group(self._process.pid)
            if self._status >= 0:
                os.close(self._status)
            _clear(self._remove)

    def disown(self) -> None:
        """Close everything, in a child made by ``fork()``."""
        if self._pipe is not None:
            os.close(self._pipe)
            os.close(self._status)
            self._pipe = None
            if self._process is not None:
                self._process.returncode = 0  # not this process's child: nothing to reap, nothing to warn of


def _clear(paths: Sequence[str]) -> None:
    for path in paths:
        if os.path.isdir(path):
            shutil.rmtree(path, ignore_errors=True)
        else:
            with contextlib.suppress(OSError):
                os.unlink(path)


def _kill_group(group: int) -> None:
    deadline = time.monotonic() + GRACE
    with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS: EPERM for a zombie
        while time.monotonic() < deadline:
            os.killpg(group, signal.SIGKILL)
            time.sleep(0.01)


def _disown_all() -> None:
    for process in list(_running):
        process.disown()
    _running.clear()


_running: set[SupervisedProcess] = set()
os.register_at_fork(after_in_child=_disown_all)


# -- The other side: the supervisor's own process ------------------------------------------------------


def _supervise(status: int) -> None:
    wake_reader, wake_writer = os.pipe()
    os.set_blocking(wake_writer, False)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    signal.set_wakeup_fd(wake_writer, warn_on_full_buffer=False)
    stopping = False

    def stop(*_: object) -> None:
        nonlocal stopping
        stopping = True

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    for ignored in (signal.SIGINT, signal.SIGHUP):
        signal.signal(ignored, lambda *_: None)  # not SIG_IGN, which the server would inherit

    line = b""
    while not line.endswith(b"\n"):
        chunk = os.read(0, 65536)
        if not chunk:
            return
        line += chunk
    job = json.loads(line)
    stop_requested = False
    try:
        try:
            server = _start(job)
        except (OSError, subprocess.SubprocessError) as error:
            with contextlib.suppress(BrokenPipeError):
                os.write(status, f"{error}\n".encode())
            return
        try:
            with contextlib.suppress(BrokenPipeError):
                os.write(status, b"%d\n" % server.pid)
            while not stopping and not stop_requested and server.poll() is None:
                readable, _, _ = select.select([0, wake_reader], [], [])
                stop_requested = 0 in readable  # a word from the owner, or its end
                if wake_reader in readable:
                    os.read(wake_reader, 65536)
        finally:
            _stop(server)
        os.close(status)
        if not stop_requested:
            os.read(0, 65536)  # the owner may still want to read the log
    finally:
        _clear(job["remove"])


def _start(job: dict[str, Any]) -> subprocess.Popen[bytes]:
    before_exec = None
    if sys.platform == "linux":
        # Should the supervisor itself be killed, the kernel takes the server down with it.
        import ctypes

        prctl, supervisor = ctypes.CDLL(None).prctl, os.getpid()

        def before_exec() -> None:
            prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != supervisor:
                os._exit(1)

    return subprocess.Popen(  # noqa: S603 - the owner's command; no threads here, so preexec_fn is safe
        job["command"], env=job["environ"], cwd=job["cwd"], stdin=subprocess.DEVNULL, preexec_fn=before_exec
    )


def _stop(server: subprocess.Popen[bytes]) -> None:
    server.terminate()  # does nothing to one that was reaped
    try:
        server.wait(GRACE)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


if __name__ == "__main__":
    _supervise(int(sys.argv[1]))
