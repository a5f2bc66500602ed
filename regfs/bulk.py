"""Many files at once, and trees: the upper half of what moves contents.

A fixed set of workers does what there is to do (:func:`regfs.transfer.gather`), instead of a task for each
file as in fsspec; and what is interrupted ends, with all that was begun.
"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Awaitable, Callable
from functools import partial
from glob import has_magic
from typing import Any

from fsspec.callbacks import DEFAULT_CALLBACK, Callback

from regfs.contents import RegistryContents
from regfs.listing import list_all
from regfs.ranges import NEAR, Block, merge
from regfs.s3.answers import ObjectInfo
from regfs.transfer import Deletion, delete_keys, gather


class RegistryBulk(RegistryContents):
    """The base of :class:`~regfs.RegistryFileSystem` that moves many files."""

    async def _cat(
        self,
        path: Any,
        recursive: bool = False,
        on_error: str = "raise",
        batch_size: int | None = None,
        **kwargs: Any,
    ) -> Any:
        # fsspec would make a task of each file at once, and read the directories of a tree as well.
        paths = await self._expand_path(path)
        if recursive:
            paths = [name for top in paths for name in await self._find(top)]

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
        # fsspec plans and would put as well, but what is interrupted then goes on in tasks of its own.
        plan: list[tuple[str, str]] = []
        await super()._put(lpath, rpath, recursive, maxdepth=maxdepth, plan=plan)
        await self._carry(plan, partial(self._put_file, **kwargs), callback, batch_size)

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
        plan: list[tuple[str, str]] = []
        await super()._get(rpath, lpath, recursive, maxdepth=maxdepth, plan=plan)
        await self._carry(plan, partial(self._get_file, **kwargs), callback, batch_size)

    async def _carry(
        self,
        plan: list[tuple[str, str]],
        carry: Callable[..., Awaitable[None]],
        callback: Callback,
        batch_size: int | None,
    ) -> None:
        callback.set_size(len(plan))

        async def one(source: str, target: str) -> None:
            with callback.branched(source, target) as child:
                await carry(source, target, callback=child)
            callback.relative_update(1)

        await gather([partial(one, *pair) for pair in plan], batch_size or self.batch_size)

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
        # fsspec plans and would copy as well, but it does not tell a callback how much there is to do.
        plan: list[tuple[str, str]] = []
        await super()._copy(path1, path2, recursive, on_error, maxdepth, batch_size, plan=plan)
        callback.set_size(len(plan))

        def copy(pair: tuple[str, str]) -> Callable[[], Awaitable[None]]:
            async def call() -> None:
                try:
                    await self._cp_file(*pair)
                except FileNotFoundError:
                    if on_error != "ignore" and not (on_error is None and recursive):
                        raise
                callback.relative_update(1)

            return call

        await gather([copy(pair) for pair in plan], batch_size or self.batch_size)

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
        if recursive and maxdepth is None:
            for top in await self._expand_path(path):
                try:
                    await self.delete_tree(top)
                except FileNotFoundError:
                    if not isinstance(path, str) or not has_magic(path):
                        raise  # what a pattern matched a moment ago may be gone, what was named must be there
            return
        paths = await self._expand_path(path, recursive=recursive, maxdepth=maxdepth)
        await self._remove(paths, recursive=recursive)

    async def _remove(self, paths: list[str], *, recursive: bool = False) -> None:
        """Delete files; what is a directory is an error, or with `recursive` left alone."""
        infos = await gather([lambda p=p: self._info(p) for p in paths], self.batch_size)  # type: ignore[misc]  # a lambda's default has no type
        files = [info["name"] for info in infos if info["type"] == "file"]
        if not recursive and len(files) < len(infos):
            folder = next(info["name"] for info in infos if info["type"] != "file")
            text = "Is a directory; give recursive=True to remove it"
            raise IsADirectoryError(errno.EISDIR, text, self.space.url(folder))
        await delete_keys(self.client, [self.space.key(name) for name in files])

    async def delete_tree(self, path: str) -> None:
        """Delete a file and everything under it as a directory, and no sibling that shares the prefix.

        Raises
        ------
        FileNotFoundError
            There is neither.
        OSError
            Some keys could not be deleted; they are named.
        """
        deletion = Deletion(self.client)

        async def file() -> None:
            if path != "/":
                with contextlib.suppress(FileNotFoundError):
                    await deletion.delete([(await self.client.head(self.space.key(path))).key])

        async def page(objects: list[ObjectInfo]) -> None:
            await deletion.delete([item.key for item in objects])

        async def tree() -> None:
            await list_all(self.client, self.space.prefix(path), page)

        await gather([file, tree])
        if not await deletion.end() and path != "/":
            raise self._not_found(path)
