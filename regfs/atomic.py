"""Local files that appear whole or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO

_NAME = 64
"""Characters of the target's name that the name of the hidden file begins with."""


def create_hidden(target: str | os.PathLike[str]) -> tuple[str, int]:
    """Create an empty hidden file beside a target, with the permissions that ``open()`` gives.

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
            return path, os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        except FileExistsError:
            continue


@contextmanager
def replacing(target: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """Open a file that replaces a target when the block ends, and vanishes where an exception ends it.

    Yields
    ------
    binary file
        Buffered, open for reading and writing.
    """
    path, descriptor = create_hidden(target)
    try:
        with open(descriptor, "w+b") as file:
            yield file
        os.replace(path, target)
    except BaseException:
        with suppress(FileNotFoundError):  # it was renamed just before an interrupt
            os.unlink(path)
        raise
