"""Local files that appear whole or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO

_NAME = 64
"""Characters of the target's name that the name of the hidden file begins with."""


def create_hidden(target: str | os.PathLike[str], mode: int = 0o666) -> tuple[str, int]:
    """Create an empty hidden file beside a target, with the permissions that ``open()`` gives.

    Parameters
    ----------
    target : str or path-like
        A path in the directory of the file.
    mode : int
        The permissions, before the process's umask.

    Returns
    -------
    str, int
        The file's path, to be renamed to the target or deleted by the caller; and its descriptor, open for
        reading and writing.
    """
    directory, name = os.path.split(target)
    while True:
        path = os.path.join(directory, f".{name[:_NAME]}.{secrets.token_hex(4)}.part")
        try:
            # O_EXCL follows no symbolic link. The process's umask applies, unlike to tempfile's 0600.
            return path, os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        except FileExistsError:
            continue


@contextmanager
def replacing(target: str | os.PathLike[str], *, private: bool = False) -> Iterator[IO[bytes]]:
    """Open a file that replaces a target when the block ends, and vanishes where an exception ends it.

    Parameters
    ----------
    target : str or path-like
        The file to be.
    private : bool
        Whether only its owner may read it.

    Yields
    ------
    binary file
        Buffered, open for reading and writing.
    """
    path, descriptor = create_hidden(target, 0o600 if private else 0o666)
    try:
        with open(descriptor, "w+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(path, target)
    except BaseException:
        with suppress(FileNotFoundError):  # it was renamed just before an interrupt
            os.unlink(path)
        raise
