"""Warnings to the user: each is logged, and shown as a Python warning."""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
import warnings
from collections.abc import Iterator
from typing import NamedTuple

logger = logging.getLogger("regfs")

_given: set[str] = set()
_recordings: list[Recording] = []
_lock = threading.Lock()


class Recording(NamedTuple):
    """The texts of the warnings of a category, shown again or not."""

    category: type[Warning]
    texts: list[str]


@contextlib.contextmanager
def recorded(category: type[Warning]) -> Iterator[list[str]]:
    """Record what is warned of in the block, for those who print it elsewhere, too.

    Yields
    ------
    list of str
        The texts.
    """
    recording = Recording(category, [])
    _recordings.append(recording)
    try:
        yield recording.texts
    finally:
        _recordings[:] = [other for other in _recordings if other is not recording]


def warn_once(text: str, category: type[Warning]) -> None:
    """Warn as :func:`warn` does, unless it was done before in this process with the same text."""
    for recording in _recordings:
        if recording.category is category:
            recording.texts.append(text)
    with _lock:
        if text in _given:
            return
        _given.add(text)
    warn(text, category)


def warn(text: str, category: type[Warning]) -> None:
    """Warn.

    Where warnings are errors it is logged alone: no warning is a reason to read nothing.

    Parameters
    ----------
    text : str
        One line.
    category : type
        Of the Python warning, which names the caller's line outside of regfs.
    """
    logger.warning(text)
    with contextlib.suppress(category):
        warnings.warn(text, category, stacklevel=level())


def level() -> int:
    """Return the stack level, for the calling function, of the first frame outside of regfs and fsspec."""
    number, frame = 1, sys._getframe(1)  # noqa: SLF001 - documented, and warnings' own can't before 3.12
    while frame.f_back and str(frame.f_globals.get("__name__")).partition(".")[0] in ("regfs", "fsspec"):
        number, frame = number + 1, frame.f_back
    return number
