"""Where in a bucket a registry's storage is, if it is not where it was looked for."""

from __future__ import annotations

import errno
from collections.abc import Iterator, Sequence
from typing import Any

from regfs.catalog.source import Source, spread
from regfs.layout import ROOT

DEPTH = 4
"""Directories that a root directory is made of, at most, to be found."""
WIDTH = 200
"""Directories that are looked into, at most, on each level."""


class NoRegistryError(FileNotFoundError):
    """There is no registry where one was looked for.

    Attributes
    ----------
    suggestions : tuple of str
        Root directories, absolute, under which there is one.
    """

    suggestions: tuple[str, ...] = ()

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.errno, self.strerror, self.filename), {"suggestions": self.suggestions}


def no_registry(source: Source) -> NoRegistryError:
    """Make the error that says where no registry is and where, in the same bucket, there is one.

    Costs a LIST for each directory that is looked into.
    """
    other_roots: dict[str, None] = {}
    message = "no registry lies there; correct bucket and rootdirectory"
    try:
        for root in _suggestions(source):
            other_roots[root] = None
    except OSError as exc:  # who may list the root directory alone still needs the error
        message += f" (to look for it elsewhere failed: {exc.strerror or exc})"
    if other_roots:
        message = f"no registry lies there, but one does under rootdirectory: {' or '.join(other_roots)}"
    error = NoRegistryError(errno.ENOENT, message, source.url(ROOT))
    error.suggestions = tuple(other_roots)
    return error


def _suggestions(source: Source) -> Iterator[str]:
    base = getattr(getattr(source.fs, "parameters", None), "root_directory", "").strip("/")
    yield from (f"/{base}{directory}".replace("//", "/") for directory in roots(source))
    if base:  # it may be the root directory that is wrong: look at the whole bucket
        options = {**source.fs.storage_options, "rootdirectory": ""}
        yield from roots(Source(type(source.fs)(**options)))


def roots(source: Source, depth: int = DEPTH) -> list[str]:
    """Find the directories under which a registry lies, "/" if it is the source's own root.

    Parameters
    ----------
    source : Source
        Where to look.
    depth : int
        How many directories deep.
    """
    level: Sequence[str] = ["/"]
    roots_found: list[str] = []
    for _ in range(depth + 1):
        inside = spread(source.directories, level[:WIDTH])
        first = ROOT.split("/")[1]
        likely = [path for path, names in zip(level, inside, strict=False) if _join(path, first) in names]
        directories = spread(lambda path: source.directories(_join(path, ROOT[1:])), likely)
        roots_found += [path for path, names in zip(likely, directories, strict=True) if names]
        level = [name for names in inside for name in names if name.rpartition("/")[2] != first]
    return roots_found


def _join(path: str, name: str) -> str:
    return f"{path.rstrip('/')}/{name}"
