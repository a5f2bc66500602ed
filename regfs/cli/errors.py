"""What a failure becomes: one line on stderr, and an exit code. The codes stand here and nowhere else."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from typing import IO, Any

import click

from regfs.cli import MISSING
from regfs.errors import DriverError, InvalidPathError
from regfs.parameters.values import ParameterError


class Code(IntEnum):
    """The exit codes of every verb."""

    OK = 0
    FAILED = 1
    USAGE = 2
    NOT_FOUND = 3
    DENIED = 4
    FINDINGS = 5
    HANGUP = 129
    INTERRUPTED = 130
    PIPE = 141
    TERMINATED = 143


MEANING = {
    Code.OK: "done",
    Code.FAILED: "the service, the network or the disk failed",
    Code.USAGE: "the command line or a parameter is wrong, an extra is not installed, a plan refused, "
    "or a question answered with no or Ctrl-D",
    Code.NOT_FOUND: "there is no such file, directory, bucket, repository or tag",
    Code.DENIED: "wrong credentials, or they lack a permission",
    Code.FINDINGS: "done, and what was checked has faults (doctor, fsck), a condition holds "
    "(summary --fail-if), or what is compared differs (diff --exit-code)",
    Code.HANGUP: "SIGHUP: the terminal was closed",
    Code.INTERRUPTED: "Ctrl-C",
    Code.PIPE: "the reader of the output went away",
    Code.TERMINATED: "SIGTERM",
}
"""What each code means, for the help and the README."""


class Interrupted(KeyboardInterrupt):
    """Ctrl-C that was reported already: cleaning up may take a while."""


class Failure(click.ClickException):
    """A failure that is reported in one line.

    Parameters
    ----------
    message : str
        What is wrong and what to do about it; empty to say nothing.
    code : Code
        The exit code.
    """

    def __init__(self, message: str, code: Code = Code.FAILED) -> None:
        super().__init__(message)
        self.exit_code = code  # type: ignore[misc]  # as click documents it

    def show(self, file: IO[Any] | None = None) -> None:
        """Write the line to stderr."""
        if self.message:
            click.echo(f"regfs: {self.message}", file=file, err=True)


class Refusal(Failure):
    """A refusal to do what was asked: exit code 2."""

    def __init__(self, message: str) -> None:
        super().__init__(message, Code.USAGE)


def one_line(error: BaseException) -> str:
    """Format an error as one line, the path first where there is one."""
    if isinstance(error, OSError) and error.strerror and not isinstance(error, DriverError):
        name = error.filename
        message = (
            f"{os.fsdecode(name)}: {error.strerror}" if isinstance(name, (str, bytes)) else error.strerror
        )
    else:
        message = str(error).removeprefix("regfs: ")  # the name of the driver, which is the command's too
    return " ".join(message.split()) or type(error).__name__


def _code(error: BaseException) -> Code:
    if isinstance(error, (InvalidPathError, ParameterError)):
        return Code.USAGE
    if isinstance(error, FileNotFoundError):
        return Code.NOT_FOUND
    if isinstance(error, PermissionError):
        return Code.DENIED
    return Code.FAILED if isinstance(error, OSError) else Code.USAGE


@contextmanager
def reported() -> Iterator[None]:
    """Raise what a verb raises as a :class:`Failure`; other errors are bugs, and show.

    A ``ValueError`` is a refused value: of a parameter, a path, a time.
    """
    try:
        yield
    except (KeyboardInterrupt, click.Abort) as exc:  # click's at a question
        said = isinstance(exc, Interrupted) or isinstance(exc.__context__, Interrupted)
        raise Failure("" if said else "interrupted", Code.INTERRUPTED) from exc
    except BrokenPipeError as exc:
        if exc.filename is not None:  # not ours: the service's
            raise Failure(one_line(exc), _code(exc)) from exc
        # What is still buffered has no reader; the interpreter would complain of it at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise Failure("", Code.PIPE) from exc
    except ModuleNotFoundError as exc:
        if exc.name == "awscrt":
            raise Refusal(str(exc)) from exc  # which names the extra
        if (exc.name or "").partition(".")[0] not in ("click", "rich"):
            raise
        raise Refusal(MISSING) from exc
    except (OSError, ValueError) as exc:
        raise Failure(one_line(exc), _code(exc)) from exc
