"""Fixtures of the command's tests: run it in this process, or as the real thing."""

from __future__ import annotations

import codecs
import contextlib
import fcntl
import json
import os
import pty
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from click.testing import CliRunner, Result

from regfs.cli.group import cli

if TYPE_CHECKING:
    from support.servers import Place

Regfs = Callable[..., Result]
Start = Callable[..., "subprocess.Popen[bytes]"]


def write_config(path: Any, options: dict[str, Any]) -> str:
    """Write a registry's config.yml."""
    path.write_text(yaml.safe_dump({"version": 0.1, "storage": {"s3": options}}))
    return str(path)


def located(raw: Place) -> str:
    """Return the words that name a place in questions and sums."""
    return f"bucket {raw.bucket}, root directory {raw.root}, endpoint {raw.server.endpoint}"


def payload(text: str) -> Any:
    """Return what a verb's JSON document holds beside the place and the time: its array, if that is all."""
    document = json.loads(text)
    places = document.pop("place")
    assert all(place.startswith("regfs://") for place in ([places] if isinstance(places, str) else places))
    assert datetime.fromisoformat(document.pop("taken").replace("Z", "+00:00")).utcoffset() == timedelta(0)
    values = list(document.values())
    return values[0] if len(values) == 1 and isinstance(values[0], list) else document


@pytest.fixture
def config(options: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> str:
    """The config.yml of the empty place of ``options``."""
    return write_config(tmp_path_factory.mktemp("config") / "config.yml", options)


@pytest.fixture
def proxied(proxied_options: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> str:
    """The same through the counting proxy."""
    return write_config(tmp_path_factory.mktemp("config") / "config.yml", proxied_options)


@pytest.fixture
def regfs(config: str, monkeypatch: pytest.MonkeyPatch) -> Regfs:
    """Run a command line in this process, on the empty place; ``code`` is the exit code it must have."""
    monkeypatch.setenv("REGFS_CONFIG", config)

    def run(*arguments: str, code: int = 0, **kwargs: Any) -> Result:
        result = CliRunner().invoke(cli, list(arguments), prog_name="regfs", **kwargs)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == code, (result.stdout, result.stderr)
        return result

    return run


def _interruptible() -> None:
    # A shell's background jobs ignore it, and their children with them.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _at_its_terminal() -> None:
    _interruptible()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)  # whose Ctrl-C is for it then


def _environment(config: str, environ: dict[str, str] | None) -> dict[str, str]:
    return {**os.environ, "REGFS_CONFIG": config, **(environ or {})}


@pytest.fixture
def start(config: str) -> Iterator[Start]:
    """Start the command as a process of its own, on the empty place."""
    with contextlib.ExitStack() as stack:

        def begin(
            *arguments: str, environ: dict[str, str] | None = None, stdin: int = subprocess.DEVNULL
        ) -> subprocess.Popen[bytes]:
            process = stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-m", "regfs", *arguments],
                    env=_environment(config, environ),
                    stdin=stdin,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    preexec_fn=_interruptible,
                )
            )
            stack.callback(process.kill)
            return process

        yield begin


@dataclass
class Terminal:
    """The command on a terminal of its own."""

    process: subprocess.Popen[bytes]
    descriptor: int
    said: str = ""
    decoder: codecs.IncrementalDecoder = field(default_factory=codecs.getincrementaldecoder("utf-8"))

    def expect(self, text: str, timeout: float = 60) -> None:
        """Read until a text has been written."""
        deadline = time.monotonic() + timeout
        while text not in self.said:
            assert time.monotonic() < deadline, f"{text!r} never came: {self.said!r}"
            if self._ready(0.2):
                self._read()

    def _ready(self, timeout: float) -> bool:
        """Wait until something can be read. Not by select(), which knows no descriptor above 1023."""
        waiting = select.poll()
        waiting.register(self.descriptor, select.POLLIN)
        return bool(waiting.poll(1000 * timeout))

    def _read(self) -> bool:
        try:
            data = os.read(self.descriptor, 65536)
        except OSError:  # Linux' way to say that nobody has it open any more
            return False
        self.said += self.decoder.decode(data)  # a read may end within a character
        return bool(data)

    def type(self, text: str) -> None:
        """Type something."""
        os.write(self.descriptor, text.encode())

    def interrupt(self) -> None:
        """Press Ctrl-C; again where it came just before the program fell asleep, which does not wake it."""
        while self.process.poll() is None:
            self.type("\x03")
            deadline = time.monotonic() + 20  # a second one would end what tidies up
            while self.process.poll() is None and time.monotonic() < deadline:
                if self._ready(0.2):
                    self._read()
                    time.sleep(0.02)

    def end(self) -> tuple[int, str]:
        """Wait for its end, and give the exit code and all that was written."""
        deadline = time.monotonic() + 60
        while self._ready(max(0, deadline - time.monotonic())):
            if not self._read():
                break
        return self.process.wait(60), self.said


@pytest.fixture
def terminal(config: str) -> Iterator[Callable[..., Terminal]]:
    """Start the command on a terminal."""
    with contextlib.ExitStack() as stack:

        def begin(
            *arguments: str,
            environ: dict[str, str] | None = None,
            program: Sequence[str] = ("-m", "regfs"),
        ) -> Terminal:
            ours, theirs = pty.openpty()
            stack.callback(os.close, ours)
            process = stack.enter_context(
                subprocess.Popen(
                    [sys.executable, *program, *arguments],
                    env=_environment(config, {"TERM": "xterm", "COLUMNS": "80", **(environ or {})}),
                    stdin=theirs,
                    stdout=theirs,
                    stderr=theirs,
                    preexec_fn=_at_its_terminal,
                    start_new_session=True,
                )
            )
            os.close(theirs)
            stack.callback(process.kill)
            return Terminal(process, ours)

        yield begin
