"""Names and patterns: what a name with ``*``, ``?`` or ``[`` in it means.

fsspec's operations on many files (``rm``, ``copy``, ``mv``, ``get``, ``put``, ``cat``) take names and
patterns alike, but S3 allows these characters in names, too. The rule, which :mod:`regfs.filesystem.names`
applies to the bucket and :mod:`regfs.filesystem.pairs` to this machine: a path that exists is meant
literally, so are the leading directories that exist of another path, and only what follows them is a pattern.
Nothing here sends a request.
"""

from __future__ import annotations

import functools
import glob
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cached_property
from types import FrameType
from typing import Any

from fsspec import AbstractFileSystem
from fsspec.utils import glob_translate

from regfs.filesystem.waiting import sync

_WITHOUT_PATTERNS = ("fsspec.mapping", "pyarrow", "upath", "zarr")
"""Whose own interfaces take names only, but hand them to operations that take patterns."""
_BETWEEN = ("fsspec", "regfs")
"""Packages that pass on what they are given."""

_MAGIC = re.compile(r"\[([*?[])\]|[*?[]")
"""A character that glob.escape has escaped (group 1), or one that makes a pattern."""

_names_only: ContextVar[bool] = ContextVar("_names_only", default=False)


# -- who calls ------------------------------------------------------------------------------------------


def names_only() -> bool:
    """Return whether the caller of the filesystem can only mean names.

    fsspec's interface has no argument for it, so the callers are known by their modules: mappers, pyarrow,
    universal_pathlib and zarr. They would otherwise remove what a name matches where it does not exist.
    """
    return _names_only.get() or _without_patterns(sys._getframe().f_back)  # noqa: SLF001 - as inspect does


def _without_patterns(frame: FrameType | None) -> bool:
    """Return whether the first code outside fsspec and regfs on a stack has no patterns in its interface."""
    while frame is not None:
        module = str(frame.f_globals.get("__name__"))
        if _within(module, _WITHOUT_PATTERNS):
            return True
        if not _within(module, _BETWEEN):
            return False
        frame = frame.f_back
    return False


def _within(module: str, packages: tuple[str, ...]) -> bool:
    return any(module == package or module.startswith(package + ".") for package in packages)


@contextmanager
def _noted(frame: FrameType | None) -> Iterator[None]:
    """Record the caller for :func:`names_only` in what runs on the loop's thread within the block."""
    token = _names_only.set(_names_only.get() or _without_patterns(frame))
    try:
        yield
    finally:
        _names_only.reset(token)


def blocking(coroutine: Callable[..., Any]) -> Callable[..., Any]:
    """Return the blocking method of a coroutine method that calls :func:`names_only`."""
    name = coroutine.__name__

    @functools.wraps(coroutine)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        with _noted(sys._getframe().f_back):  # noqa: SLF001 - as inspect does; C code has no frame
            return sync(self.loop, getattr(self, name), *args, **kwargs)  # a subclass may have its own

    call.__name__ = name.removeprefix("_")
    call.__doc__ = getattr(AbstractFileSystem, call.__name__).__doc__
    return call


# -- patterns -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Pattern:
    """A pattern of driver paths, by fsspec's rules.

    Parameters
    ----------
    text : str
        The pattern, without trailing slash. What ``glob.escape`` has escaped stands for itself.
    directories : bool
        Whether it was written with a trailing slash, and matches directories only.
    base : str
        The directory that the pattern begins below, without trailing slash: it stands for itself.
    """

    text: str
    directories: bool = False
    base: str = ""

    @cached_property
    def _start(self) -> int:
        """Where the first component with an unescaped magic character begins; the length without one."""
        magic = self._magic
        return len(self.text) if magic is None else self.text.rindex("/", 0, magic) + 1

    @cached_property
    def _magic(self) -> int | None:
        return next((match.start() for match in _MAGIC.finditer(self.text) if not match[1]), None)

    @property
    def name(self) -> str | None:
        """The only path that it matches; None if it can match several."""
        return self.base + _unescape(self.text) if self._magic is None else None

    @property
    def escaped(self) -> bool:
        """Whether it holds escaped characters: then what is called as the pattern lies elsewhere."""
        return _unescape(self.text) != self.text

    @property
    def root(self) -> str:
        """The directory that all matches lie in."""
        return (self.base + _unescape(self.text[: self._start])).rstrip("/") or "/"

    @property
    def prefix(self) -> str:
        """What the names of all matches begin with below the root."""
        return _unescape(self.text[self._start : self._magic])

    def depth(self, maxdepth: int | None = None) -> int | None:
        """Return how many levels below the root a match can lie; None is any number.

        `maxdepth` is the number of levels that ``**`` stands for.
        """
        rest = self.text[self._start :]
        before, stars, _ = rest.partition("**")
        if not stars:
            return rest.count("/") + 1
        return None if maxdepth is None else before.count("/") + maxdepth

    def matching(self, entries: Mapping[str, Any]) -> dict[str, Any]:
        """Return those of a listing's entries, by path, that match, sorted."""
        text = glob.escape(self.base) + self.text + "/" * self.directories
        match = re.compile(glob_translate(text)).match
        slashed = self.directories or self.text.endswith("/**")
        return {
            path: info
            for path, info in sorted(entries.items())
            if match(path + "/" if slashed and info["type"] == "directory" else path)
        }


def directories_like_patterns(path: str) -> list[str]:
    """Return those directories above a path whose own names have magic characters, the shortest first."""
    names = path.split("/")[:-1]
    return ["/".join(names[: number + 1]) for number, name in enumerate(names) if glob.has_magic(name)]


def pattern_below(directory: str, path: str) -> Pattern | None:
    """Return the pattern that a missing path is below a directory that exists; None if it is a name there.

    Parameters
    ----------
    directory : str
        The last of :func:`directories_like_patterns` that exists; "" for none.
    path : str
        The path.
    """
    rest = path.removeprefix(directory)
    return Pattern(rest, base=directory) if glob.has_magic(rest) else None


def _unescape(text: str) -> str:
    return _MAGIC.sub(lambda match: match[1] or match[0], text)
