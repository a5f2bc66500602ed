"""Which file goes where when several are copied, up, down or within a bucket: fsspec's rules of copying.

https://filesystem-spec.readthedocs.io/en/latest/copying.html
"""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from glob import has_magic
from itertools import takewhile
from typing import Any

from fsspec.implementations.local import LocalFileSystem, trailing_sep
from fsspec.utils import other_paths

from regfs.filesystem.patterns import directories_like_patterns, pattern_below

Pair = tuple[str, str]
"""A source and its target."""


@dataclass(frozen=True)
class End:
    """An end of a copy: a bucket, or this machine.

    Parameters
    ----------
    strip : callable
        ``strip(path)`` returns a path as `expand` does, without trailing slash.
    expand : callable
        ``await expand(paths, recursive, maxdepth)`` returns the names that paths and patterns stand for.
    directories : callable
        ``await directories(names)`` returns those that are directories.
    """

    strip: Callable[[Any], Any]
    expand: Callable[[Any, bool, int | None], Awaitable[list[str]]]
    directories: Callable[[Sequence[str]], Awaitable[set[str]]]

    async def pairs(
        self, source: Any, target: Any, to: End, *, recursive: bool = False, maxdepth: int | None = None
    ) -> list[Pair]:
        """Return the sources that copying to `target` in `to` means, each with its own target.

        Two lists are pairs already, of which nothing is expanded. A directory that is not copied
        recursively is left out.

        Raises
        ------
        FileNotFoundError
            There is no source.
        ValueError
            Two lists differ in length.
        """
        if isinstance(source, list) and isinstance(target, list):
            return list(zip(source, target, strict=True))
        names = await self.expand(source, recursive, maxdepth)
        if not isinstance(source, str):
            return list(zip(names, other_paths(names, target, flatten=True), strict=True))
        wanted = names
        if not recursive or maxdepth is not None:
            directories = await self.directories(names)
            wanted = [name for name in names if name not in directories]
        if not wanted:
            return []
        if self.strip(source) not in names:  # it is a pattern
            return list(zip(wanted, other_paths(wanted, target, exists=len(wanted) == 1), strict=True))
        inside = (
            isinstance(target, str)
            and not trailing_sep(source)
            and (trailing_sep(target) or bool(await to.directories([target])))
        )
        # Of all names: what is left of a tree may have a longer prefix in common.
        targets = dict(zip(names, other_paths(names, target, exists=inside), strict=True))
        return [(name, targets[name]) for name in wanted]


async def _expand(paths: Any, recursive: bool, maxdepth: int | None) -> list[str]:
    return await asyncio.to_thread(expand_local, paths, recursive, maxdepth)


def expand_local(paths: Any, recursive: bool = False, maxdepth: int | None = None) -> list[str]:
    """Return the local names that paths and patterns stand for; what exists is no pattern, nor a part of one.

    Raises
    ------
    FileNotFoundError
        A pattern matches nothing, or a directory that is copied recursively does not exist.
    """
    fs = LocalFileSystem()
    names: set[str] = set()
    for path in [paths] if isinstance(paths, (str, os.PathLike)) else paths:
        name = fs._strip_protocol(path)  # noqa: SLF001 - fsspec's name for it
        pattern = None
        if isinstance(path, str) and has_magic(name) and not os.path.lexists(name):
            existing = list(takewhile(os.path.isdir, directories_like_patterns(name)))
            pattern = pattern_below(existing[-1] if existing else "", name)
        if pattern is None:
            names.update(fs.expand_path([name], recursive, maxdepth, assume_literal=True))
            continue
        entries = fs.find(pattern.root, pattern.depth(maxdepth), withdirs=True, detail=True)
        matches = list(pattern.matching(entries))
        if not matches:
            raise FileNotFoundError(errno.ENOENT, "No such file or directory", name)
        names.update(matches)
        if recursive and (maxdepth is None or maxdepth > 1):
            names.update(fs.expand_path(matches, True, maxdepth and maxdepth - 1, assume_literal=True))
    return sorted(names)


async def _directories(names: Sequence[str]) -> set[str]:
    return await asyncio.to_thread(lambda: {name for name in names if os.path.isdir(name)})


LOCAL = End(LocalFileSystem._strip_protocol, _expand, _directories)  # noqa: SLF001 - fsspec's name for it


def make_room(paths: Iterable[str], top: Any) -> None:
    """Create the directories of local files.

    Raises
    ------
    ValueError
        A path leads out of `top`, the path that the caller gave, by components of the source's name.
    """
    paths = list(paths)
    if isinstance(top, str):
        root = os.path.join(os.path.abspath(top), "")
        for path in paths:
            if not os.path.join(os.path.abspath(path), "").startswith(root):
                raise ValueError(f"{path}: would lie outside {top}")
    for directory in {os.path.dirname(path) for path in paths}:
        os.makedirs(directory or ".", exist_ok=True)
