"""The paths that names and patterns stand for in a bucket.

What exists is meant literally (:mod:`regfs.filesystem.patterns`). A file costs one HEAD, a tree the listing
that it takes anyway; a directory that is not wanted whole shows in the listing of the pattern.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from functools import partial
from glob import has_magic

from regfs.filesystem.info import Info, directory_info, info_of
from regfs.filesystem.patterns import Pattern, directories_like_patterns, pattern_below
from regfs.store.store import Store
from regfs.store.transfer import gather

Find = Callable[..., Awaitable[dict[str, Info]]]


class Names:
    """Finds what names and patterns stand for.

    Parameters
    ----------
    store : Store
        The bucket.
    find : callable
        ``await find(path, maxdepth, withdirs=…, detail=True, prefix=…)``, fsspec's method.
    batch_size : int, optional
        Requests at once.
    """

    def __init__(self, store: Store, find: Find, batch_size: int | None) -> None:
        self._store = store
        self._find = find
        self._batch_size = batch_size

    async def expand(
        self, names: Sequence[str], recursive: bool, maxdepth: int | None = None, *, literal: bool
    ) -> dict[str, Info]:
        """Return the properties of all paths that names and patterns stand for.

        Parameters
        ----------
        names : sequence of str
            Driver paths, perhaps patterns.
        recursive : bool
            Whether a directory stands for everything under it as well.
        maxdepth : int, optional
            Levels below each name; all by default.
        literal : bool
            Whether no name is a pattern.

        Raises
        ------
        FileNotFoundError
            There is none.
        """

        async def expand_name(name: str) -> dict[str, Info]:
            if recursive:
                tree = await self._find(name, maxdepth=maxdepth, withdirs=True, detail=True)
                if tree or literal or not has_magic(name):
                    return {name: directory_info(name), **tree} if tree else {}
            elif literal or not has_magic(name) or await self._store.find(name):
                return {name: {"name": name, "type": "file"}}
            pattern = await self.pattern(name)
            if pattern is None:
                return {} if recursive else {name: {"name": name, "type": "file"}}
            entries = await self.candidates(pattern, maxdepth)
            if name in entries or (pattern.escaped and await self._store.is_prefix(name)):
                return {name: directory_info(name)}
            matches = pattern.matching(entries)
            if recursive and (maxdepth is None or maxdepth > 1):
                if not matches:
                    raise self._store.not_found(name)
                matches |= await self.expand(list(matches), True, maxdepth and maxdepth - 1, literal=True)
            return matches

        results = await gather([partial(expand_name, name) for name in names], self._batch_size)
        infos = {name: info for entries in results for name, info in entries.items()}
        if not infos:
            raise self._store.not_found(names[0])
        return infos

    async def pattern(self, name: str) -> Pattern | None:
        """Return the pattern that a missing path is; None if it is a name in a directory that exists.

        One LIST for each directory above it with magic characters in its own name, up to the first that is
        missing.
        """
        existing = ""
        for directory in directories_like_patterns(name):
            if not await self._store.is_prefix(directory):
                break
            existing = directory
        return pattern_below(existing, name)

    async def candidates(
        self, pattern: Pattern, maxdepth: int | None = None, withdirs: bool = True
    ) -> dict[str, Info]:
        """List the entries at the places where a pattern's matches lie.

        Unless it has escaped characters, an entry with the pattern's own text as its name is among them.
        """
        if pattern.name is None:
            depth = pattern.depth(maxdepth)
            return await self._find(
                pattern.root, maxdepth=depth, withdirs=withdirs, detail=True, prefix=pattern.prefix
            )
        entry = await self._store.lookup(pattern.name)
        return {pattern.name: info_of(entry)} if entry else {}


def ancestors(path: str) -> Iterator[str]:
    """Yield the directories above a path, the nearest first."""
    while path != "/":
        path = path.rpartition("/")[0] or "/"
        yield path


def tops(paths: Iterable[str]) -> list[str]:
    """Return those paths that lie under no other of them, sorted."""
    unique = set(paths)
    return sorted(path for path in unique if unique.isdisjoint(ancestors(path)))
