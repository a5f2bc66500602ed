"""Many files at once, and trees: the upper half of what moves contents.

A fixed number of workers (:func:`regfs.store.transfer.gather`) carries them, where fsspec makes a task
for each file; an interrupt ends all of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from functools import partial
from glob import has_magic
from typing import Any

from fsspec.callbacks import DEFAULT_CALLBACK, Callback
from fsspec.implementations.local import make_path_posix

from regfs.filesystem.contents import RegistryContents
from regfs.filesystem.pairs import LOCAL, End, Pair, make_room
from regfs.filesystem.patterns import Pattern, blocking, directories_like_patterns, names_only, pattern_below
from regfs.filesystem.tree import Info
from regfs.s3.objects import ObjectInfo
from regfs.store.listing import list_all
from regfs.store.ranges import NEAR, Block, merge
from regfs.store.transfer import Deletion, delete_keys, gather


class RegistryBulk(RegistryContents):
    """The base of :class:`~regfs.RegistryFileSystem` that moves many files."""

    # -- names and patterns ---------------------------------------------------------------------------

    async def _expand_path(
        self, path: Any, recursive: bool = False, maxdepth: int | None = None, assume_literal: bool = False
    ) -> list[str]:
        if maxdepth is not None and maxdepth < 1:
            raise ValueError("maxdepth must be at least 1")
        names = self._names(path)
        literal = assume_literal or names_only()
        if not recursive and (literal or not any(map(has_magic, names))):
            return sorted(names)
        return sorted(await self._expand(names, recursive, maxdepth, literal=literal))

    expand_path = blocking(_expand_path)

    async def _expand(
        self, names: Sequence[str], recursive: bool, maxdepth: int | None = None, *, literal: bool
    ) -> dict[str, Info]:
        """Return the properties of all paths that names and patterns stand for.

        What exists is meant literally, leading directories as well. A file is asked for by one HEAD, a tree
        by the listing that it takes anyway; a directory that is not wanted whole shows in the listing of the
        pattern.

        Raises
        ------
        FileNotFoundError
            There is none.
        """

        async def expand(name: str) -> dict[str, Info]:
            if recursive:
                tree: dict[str, Info] = await self._find(name, maxdepth=maxdepth, withdirs=True, detail=True)
                if tree or literal or not has_magic(name):
                    return {name: self._directory(name), **tree} if tree else {}
            elif literal or not has_magic(name) or await self._isfile(name):
                return {name: {"name": name, "type": "file"}}
            pattern = await self._pattern(name)
            if pattern is None:
                return {} if recursive else {name: {"name": name, "type": "file"}}
            entries = await self.candidates(pattern, maxdepth)
            if name in entries or (pattern.escaped and await self._is_prefix(name)):
                return {name: self._directory(name)}
            matches = pattern.matching(entries)
            if recursive and (maxdepth is None or maxdepth > 1):
                if not matches:
                    raise self._not_found(name)
                matches |= await self._expand(list(matches), True, maxdepth and maxdepth - 1, literal=True)
            return matches

        results = await gather([partial(expand, name) for name in names], self.batch_size)
        infos = {name: info for entries in results for name, info in entries.items()}
        if not infos:
            raise self._not_found(names[0])
        return infos

    async def _pattern(self, name: str) -> Pattern | None:
        """Return the pattern that a missing path is; None if it is a name in a directory that exists.

        One LIST for each directory above it with magic characters in its own name, up to the first that is
        missing.
        """
        existing = ""
        for directory in directories_like_patterns(name):
            if not await self._is_prefix(directory):
                break
            existing = directory
        return pattern_below(existing, name)

    def _names(self, path: Any) -> list[str]:
        """Return the paths that were given, one or several, each once."""
        paths = [path] if isinstance(path, (str, os.PathLike)) else path
        names = list(dict.fromkeys(self._strip_own(given) for given in paths))
        if not names:
            raise FileNotFoundError(errno.ENOENT, "No path is given")
        return names

    # -- reading and writing --------------------------------------------------------------------------

    async def _cat(
        self,
        path: Any,
        recursive: bool = False,
        on_error: str = "raise",
        batch_size: int | None = None,
        **kwargs: Any,
    ) -> Any:
        # fsspec would make a task of each file at once, and read the directories of a tree as well.
        if recursive:
            infos = await self._expand(self._names(path), True, literal=names_only())
            paths = sorted(name for name, info in infos.items() if info["type"] == "file")
        else:
            paths = await self._expand_path(path)

        async def read(name: str) -> bytes | Exception:
            try:
                return await self._cat_file(name, **kwargs)
            except Exception as exc:  # noqa: BLE001 - given back in its place, or raised below
                return exc

        found = await gather([partial(read, name) for name in paths], batch_size or self.batch_size)
        if on_error == "raise":
            for answer in found:
                if isinstance(answer, Exception):
                    raise answer
        if isinstance(path, str) and paths == [self._strip_own(path)]:
            return found[0]
        answers = zip(paths, found, strict=True)
        return {name: x for name, x in answers if on_error != "omit" or not isinstance(x, Exception)}

    cat = blocking(_cat)

    async def _pipe(self, path: Any, value: Any = None, batch_size: int | None = None, **kwargs: Any) -> None:
        files = {path: value} if isinstance(path, str) else path
        calls = [partial(self._pipe_file, name, data, **kwargs) for name, data in files.items()]
        await gather(calls, batch_size or self.batch_size)

    async def _cat_ranges(
        self,
        paths: list[str],
        starts: Any,
        ends: Any,
        max_gap: int | None = None,
        batch_size: int | None = None,
        on_error: str = "return",
        **kwargs: Any,
    ) -> list[Any]:
        if not isinstance(paths, list):
            raise TypeError(f"paths: a list is needed, not {type(paths).__name__}")
        spread = [[x] * len(paths) if x is None or isinstance(x, int) else list(x) for x in (starts, ends)]
        if {len(paths)} != {len(x) for x in spread}:
            raise ValueError("paths, starts and ends differ in length")
        ranges = list(zip([self._strip_own(path) for path in paths], *spread, strict=True))
        blocks = merge(ranges, NEAR if max_gap is None else max_gap)

        def read(block: Block) -> Callable[[], Awaitable[bytes | Exception]]:
            async def call() -> bytes | Exception:
                try:
                    return await self._cat_file(block.path, block.start, block.stop)
                except Exception as exc:  # noqa: BLE001 - given back in its place, or raised below
                    return exc

            return call

        found: list[Any] = [None] * len(ranges)
        answers = await gather([read(block) for block in blocks], batch_size or self.batch_size)
        for block, answer in zip(blocks, answers, strict=True):
            if isinstance(answer, Exception) and on_error != "return":
                raise answer
            for position in block.wanted:
                _, start, stop = ranges[position]
                if isinstance(answer, Exception) or len(block.wanted) == 1:
                    found[position] = answer
                else:
                    at = block.start or 0
                    found[position] = answer[(start or 0) - at : stop - at]
        return found

    # -- in, out, about and away ----------------------------------------------------------------------

    @property
    def _end(self) -> End:
        return End(self._strip_own, self._expand_path, self._directories)

    async def _directories(self, names: Sequence[str]) -> set[str]:
        answers = await gather([partial(self._isdir, name) for name in names], self.batch_size)
        return {name for name, is_directory in zip(names, answers, strict=True) if is_directory}

    async def _put(
        self,
        lpath: Any,
        rpath: Any,
        recursive: bool = False,
        callback: Callback = DEFAULT_CALLBACK,
        batch_size: int | None = None,
        maxdepth: int | None = None,
        **kwargs: Any,
    ) -> None:
        self._made.clear()  # where directories are never empty, fsspec's suite wants none to be left
        pairs = await LOCAL.pairs(lpath, rpath, self._end, recursive=recursive, maxdepth=maxdepth)
        directories = await LOCAL.directories([source for source, _ in pairs])
        files = [pair for pair in pairs if pair[0] not in directories]
        await self._carry(files, partial(self._put_file, **kwargs), callback, batch_size)

    put = blocking(_put)

    async def _get(
        self,
        rpath: Any,
        lpath: Any,
        recursive: bool = False,
        callback: Callback = DEFAULT_CALLBACK,
        maxdepth: int | None = None,
        batch_size: int | None = None,
        **kwargs: Any,
    ) -> None:
        target = make_path_posix(lpath)
        pairs = await self._end.pairs(rpath, target, LOCAL, recursive=recursive, maxdepth=maxdepth)
        await asyncio.to_thread(make_room, [path for _, path in pairs], target)
        await self._carry(pairs, partial(self._get_file, **kwargs), callback, batch_size)

    get = blocking(_get)

    async def _carry(
        self,
        pairs: list[Pair],
        carry: Callable[..., Awaitable[None]],
        callback: Callback,
        batch_size: int | None,
    ) -> None:
        # fsspec would carry as well, but what is interrupted then goes on in tasks of its own.
        callback.set_size(len(pairs))

        async def one(source: str, target: str) -> None:
            with callback.branched(source, target) as child:
                await carry(source, target, callback=child)
            callback.relative_update(1)

        await gather([partial(one, *pair) for pair in pairs], batch_size or self.batch_size)

    async def _copy(
        self,
        path1: Any,
        path2: Any,
        recursive: bool = False,
        on_error: str | None = None,
        maxdepth: int | None = None,
        batch_size: int | None = None,
        callback: Callback = DEFAULT_CALLBACK,
        **kwargs: Any,
    ) -> None:
        self._made.clear()  # as in _put()
        pairs = await self._end.pairs(path1, path2, self._end, recursive=recursive, maxdepth=maxdepth)
        ignore = on_error == "ignore" or (on_error is None and recursive)
        await self._copy_pairs(pairs, callback, batch_size, ignore=ignore)

    copy = blocking(_copy)

    async def _copy_pairs(
        self, pairs: list[Pair], callback: Callback, batch_size: int | None, *, ignore: bool
    ) -> None:
        """Copy files; with `ignore`, what has vanished since it was listed is left out."""
        callback.set_size(len(pairs))

        async def copy(source: str, target: str) -> None:
            try:
                await self._cp_file(source, target)
            except FileNotFoundError:
                if not ignore:
                    raise
            callback.relative_update(1)

        await gather([partial(copy, *pair) for pair in pairs], batch_size or self.batch_size)

    async def _mv(
        self,
        path1: Any,
        path2: Any,
        recursive: bool = False,
        maxdepth: int | None = None,
        batch_size: int | None = None,
        callback: Callback = DEFAULT_CALLBACK,
        **kwargs: Any,
    ) -> None:
        """Move files and trees: only when all of them have been copied are they deleted."""
        if path1 == path2:
            return
        # fsspec would copy and then remove by the same pattern, which may match other files by then.
        pairs = await self._end.pairs(path1, path2, self._end, recursive=recursive, maxdepth=maxdepth)
        if not pairs:
            text = "Is a directory; give recursive=True to move it"
            raise IsADirectoryError(errno.EISDIR, text, self.space.url(self._names(path1)[0]))
        sources = self._names(source for source, _ in pairs)
        whole = recursive and maxdepth is None
        tops = _tops(sources) if whole else sources
        self._check_targets([self._strip_own(target) for _, target in pairs], tops, whole=whole)
        await self._copy_pairs(pairs, callback, batch_size, ignore=False)
        if whole:
            await gather([partial(self.delete_tree, top) for top in tops], batch_size or self.batch_size)
        else:
            await self._remove(sources, recursive=recursive)

    mv = blocking(_mv)

    def _check_targets(self, targets: Sequence[str], sources: Sequence[str], *, whole: bool) -> None:
        """Check that no file is lost by a move: replaced by another, or copied to where it is deleted."""
        deleted = set(sources)
        taken: set[str] = set()
        for target in targets:
            if target in deleted or (whole and not deleted.isdisjoint(_ancestors(target))):
                raise OSError(errno.EINVAL, "Cannot be moved onto or into itself", self.space.url(target))
            if target in taken:
                raise OSError(errno.EINVAL, "Several files would be moved there", self.space.url(target))
            taken.add(target)

    async def _rm_file(self, path: str, **kwargs: Any) -> None:
        await self._remove([self._strip_own(path)])  # the very file, whose name may look like a pattern

    async def _rm(
        self,
        path: str | list[str],
        recursive: bool = False,
        batch_size: int | None = None,
        maxdepth: int | None = None,
        **kwargs: Any,
    ) -> None:
        if not recursive or maxdepth is not None:
            paths = await self._expand_path(path, recursive=recursive, maxdepth=maxdepth)
            await self._remove(paths, recursive=recursive)
            return
        literal = names_only()
        names = self._names(path)
        self._made.difference_update(names)
        tops = _tops(names)
        if len(tops) > 1 and not literal and any(map(has_magic, tops)):
            # What each name means is decided before a deletion changes it; a single name decides by its own.
            meanings = await gather(
                [partial(self._expand, [top], False, literal=False) for top in tops], self.batch_size
            )
            tops = _tops(name for infos in meanings for name in infos)
            literal = True
        for top in tops:
            try:
                await self.delete_tree(top)
            except FileNotFoundError:
                pattern = None if literal or not has_magic(top) else await self._pattern(top)
                matches = pattern.matching(await self.candidates(pattern)) if pattern else {}
                if not matches:
                    raise
                for match in _tops(matches):
                    with contextlib.suppress(FileNotFoundError):  # gone meanwhile
                        await self.delete_tree(match)

    rm = blocking(_rm)

    async def _remove(self, paths: list[str], *, recursive: bool = False) -> None:
        """Delete files; what is a directory is an error, or with `recursive` left alone."""
        infos = await gather([lambda p=p: self._info(p) for p in paths], self.batch_size)  # type: ignore[misc]  # a lambda's default has no type
        files = [info["name"] for info in infos if info["type"] == "file"]
        if not recursive and len(files) < len(infos):
            folder = next(info["name"] for info in infos if info["type"] != "file")
            text = "Is a directory; give recursive=True to remove it"
            raise IsADirectoryError(errno.EISDIR, text, self.space.url(folder))
        await delete_keys(self.client, [self.space.key(name) for name in files])

    async def list_tree(self, path: str, use: Callable[[list[ObjectInfo]], Awaitable[None]]) -> None:
        """List what :meth:`delete_tree` deletes: a file, and every key under it as a directory.

        Parameters
        ----------
        path : str
            The driver path.
        use : callable
            ``await use(objects)`` for each page, as :func:`regfs.store.listing.list_all` calls it.
        """

        async def file() -> None:
            if path != "/":
                with contextlib.suppress(FileNotFoundError):
                    await use([await self.client.head(self.space.key(path))])

        async def tree() -> None:
            await list_all(self.client, self.space.prefix(path), use)

        await gather([file, tree])

    async def delete_tree(
        self, path: str, deleted: Callable[[list[ObjectInfo]], Awaitable[object]] | None = None
    ) -> None:
        """Delete a file and everything under it as a directory, and no sibling that shares the prefix.

        Parameters
        ----------
        path : str
            The driver path.
        deleted : callable, optional
            ``await deleted(objects)`` after each request, with the objects that it deleted.

        Raises
        ------
        FileNotFoundError
            There is neither.
        OSError
            Some keys could not be deleted; they are named.
        """
        listed: dict[str, ObjectInfo] = {}  # and not reported as deleted so far

        async def report(keys: Sequence[str]) -> None:
            if deleted is not None:
                objects = [listed.pop(key, None) for key in keys]  # None: it was listed twice
                await deleted([item for item in objects if item is not None])

        deletion = Deletion(self.client, report)

        async def page(objects: list[ObjectInfo]) -> None:
            if deleted is not None:
                listed.update((item.key, item) for item in objects)
            await deletion.delete([item.key for item in objects])

        await self.list_tree(path, page)
        if not await deletion.end() and path != "/":
            raise self._not_found(path)


def _ancestors(path: str) -> Iterator[str]:
    while path != "/":
        path = path.rpartition("/")[0] or "/"
        yield path


def _tops(paths: Iterable[str]) -> list[str]:
    """Return those of some paths that lie under no other of them."""
    given = set(paths)
    return sorted(path for path in given if given.isdisjoint(_ancestors(path)))
