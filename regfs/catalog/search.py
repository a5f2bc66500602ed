"""The search for a registry's root directory in a bucket, if the given one holds no registry."""

from __future__ import annotations

import errno
from collections.abc import Iterator, Sequence
from typing import Any

from regfs.catalog.source import Source, spread
from regfs.layout import ROOT

DEPTH = 4
"""The depth, in directories, of the search."""
WIDTH = 200
"""The largest number of directories listed on each level."""


class NoRegistryError(FileNotFoundError):
    """The bucket holds no registry under the root directory.

    Attributes
    ----------
    suggestions : tuple of str
        Absolute root directories under which it does hold a registry.
    """

    suggestions: tuple[str, ...] = ()

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.errno, self.strerror, self.filename), {"suggestions": self.suggestions}


def no_registry(source: Source) -> NoRegistryError:
    """Return the error for a missing registry, with the root directories of registries in the same bucket.

    Costs a LIST for each directory of the search.
    """
    other_roots: dict[str, None] = {}
    message = "no registry lies there; correct bucket and rootdirectory"
    try:
        for root in _suggestions(source):
            other_roots[root] = None
    except OSError as exc:  # without permission to list other directories the error is still needed
        message += f" (the search for one elsewhere failed: {exc.strerror or exc})"
    if other_roots:
        message = f"no registry lies there, but one does under rootdirectory: {' or '.join(other_roots)}"
    error = NoRegistryError(errno.ENOENT, message, source.url(ROOT))
    error.suggestions = tuple(other_roots)
    return error


def _suggestions(source: Source) -> Iterator[str]:
    base = getattr(getattr(source.fs, "parameters", None), "root_directory", "").strip("/")
    yield from (f"/{base}{directory}".replace("//", "/") for directory in roots(source))
    if base:  # the root directory itself may be wrong, so search the whole bucket
        options = {**source.fs.storage_options, "rootdirectory": ""}
        yield from roots(Source(type(source.fs)(**options)))


def roots(source: Source, depth: int = DEPTH) -> list[str]:
    """Return the root directories of registries; "/" is the source's own root.

    Parameters
    ----------
    source : Source
        The storage to search.
    depth : int
        The depth of the search, in directories.
    """
    level: Sequence[str] = ["/"]
    directories: list[str] = []
    for _ in range(depth + 1):
        listings = spread(source.directories, level[:WIDTH])
        first = ROOT.split("/")[1]
        candidates = [
            path for path, paths in zip(level, listings, strict=False) if _join(path, first) in paths
        ]
        contents = spread(lambda path: source.directories(_join(path, ROOT[1:])), candidates)
        directories += [path for path, content in zip(candidates, contents, strict=True) if content]
        level = [path for paths in listings for path in paths if path.rpartition("/")[2] != first]
    return directories


def _join(path: str, name: str) -> str:
    return f"{path.rstrip('/')}/{name}"
