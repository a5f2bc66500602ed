"""Files that were opened for writing and never closed, whose bytes are lost: reported, at exit as well.

They are not published, as half a file is no file, and a forgotten ``close()`` looks like an exception. The
report is a line in the log and a ``ResourceWarning``, as for any unclosed file of Python's.
"""

from __future__ import annotations

import atexit
import logging
import os
import sys
import warnings
import weakref
from typing import Protocol

from regfs.parameters.notices import level
from regfs.s3 import unfinished

logger = logging.getLogger("regfs")

AT_EXIT = 5.0
"""Seconds that aborting what is left may take at the interpreter's exit."""


class Unclosed(Protocol):
    """A file that may be dropped before it is published."""

    def forget(self) -> None:
        """Report what is lost, unless it was published, and do not wait for anything."""


_watched: weakref.WeakValueDictionary[int, Unclosed] = weakref.WeakValueDictionary()
_child = 0


def watch(file: Unclosed) -> None:
    """Forget a file at exit, if it is still there."""
    _watched[id(file)] = file
    _watch_child()


def warn(text: str, file: object) -> None:
    """Report what is lost. As of Python's own files, the warning may be an error.

    Parameters
    ----------
    text : str
        The URL, the bytes and what to do, in one line.
    file : object
        What was dropped.
    """
    logger.warning("%s", text)
    warnings.warn(text, ResourceWarning, stacklevel=level(), source=file)


def _forget_all() -> None:
    """Forget what is still open, and abort what is left of it."""
    unfinished.expect_exit()
    errors: list[Warning] = []
    for file in list(_watched.values()):
        try:
            file.forget()
        except Warning as error:  # under -W error; the other files have their turn all the same
            errors.append(error)
    unfinished.abort_at_exit(AT_EXIT)
    if errors:
        raise errors[0]


def _watch_child() -> None:
    """Register for the end of a process of multiprocessing, which runs none of Python's exit functions."""
    global _child
    process, util = (sys.modules.get(f"multiprocessing.{name}") for name in ("process", "util"))
    if process and util and process.parent_process() is not None and _child != os.getpid():
        _child = os.getpid()
        util.Finalize(None, _forget_all, exitpriority=0)


atexit.register(_forget_all)
os.register_at_fork(after_in_child=_watched.clear)
