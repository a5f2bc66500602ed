"""Whole files and trees in, out, about and away: the middle of :class:`~regfs.RegistryFileSystem`.

What is written is published whole or not at all, here as in open files.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import stat
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from glob import has_magic
from typing import IO, Any

from fsspec.callbacks import DEFAULT_CALLBACK, Callback

from regfs.answers import ObjectInfo
from regfs.download import RANGE, Memory, download, pour, save
from regfs.listing import list_all
from regfs.ranges import NEAR, Block, merge
from regfs.transfer import Deletion, copy_object, delete_keys, gather
from regfs.tree import RegistryTree
from regfs.upload import Upload
from regfs.verify import Verifier, promised
from regfs.waiting import sync

_BLOCK = 2**20


class RegistryContents(RegistryTree):
    """The base of :class:`~regfs.RegistryFileSystem` that moves whole files."""

    # -- whole files ----------------------------------------------------------------------------------

    async def read_key(self, path: str) -> bytes:
        """Read a whole file by one GET, without asking what else may be there if it is missing."""
        return await self.client.get(self.space.key(path))

    async def _cat_file(
        self,
        path: str,
        start: int | None = None,
        end: int | None = None,
        verify: bool = False,
        **kwargs: Any,
    ) -> bytes:
        path = self._strip_own(path)
        key = self._file_key(path)
        if verify:
            promised(path)
            if (start, end) != (None, None):
                raise ValueError(f"start {start}, end {end}: only a whole blob can be verified")
        try:
            if start is not None and start < 0 and end is None:
                return await self.client.get_suffix(key, -start)
            if (start or 0) < 0 or (end or 0) < 0:
                start, end, _ = slice(start, end).indices((await self.client.head(key)).size)
            start = start or 0
            if end is not None and end <= start:
                await self.client.head(key)  # nothing to read, but a missing file is an error all the same
                return b""
            if end is not None and end - start <= RANGE:
                return await self.client.get(key, start, end)
            memory = Memory()
            await download(self.client, key, memory, start, end)
        except FileNotFoundError as exc:
            await self._raise_no_file(path, exc)
            raise
        data = memory.result()
        if verify:
            await asyncio.to_thread(Verifier(self.space, path, len(data)).feed, 0, data)
        return data

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

    async def _pipe_file(self, path: str, value: Any, mode: str = "overwrite", **kwargs: Any) -> None:
        path = self._strip_own(path)
        key = self._file_key(path)
        view = memoryview(value).cast("B")
        if len(view) > self.parameters.chunk_size or self._intrans:

            async def blocks() -> AsyncIterator[memoryview]:
                yield view

            await self._publish(
                Upload(self.client, key, exclusive=mode == "create", total=len(view)), blocks()
            )
        else:
            data = value if isinstance(value, bytes) else bytes(view)
            await self.client.put(key, data, exclusive=mode == "create")

    async def _publish(self, upload: Upload, blocks: AsyncIterator[Any]) -> None:
        """Write and commit, or in a transaction leave the commit to it; after a failure nothing is left."""
        try:
            async for data in blocks:
                await upload.write(data)
            if self._intrans:
                from regfs.file import Held

                await upload.finish()
                self.transaction.files.append(Held(self, upload))
            else:
                await upload.commit()
        except BaseException:
            await upload.give_up()
            raise

    def _file_key(self, path: str) -> str:
        """Give the key of a file; the root cannot be one."""
        if path == "/":
            raise IsADirectoryError(errno.EISDIR, "Is a directory", self.space.url(path))
        return self.space.key(path)

    async def _put_file(
        self,
        lpath: str,
        rpath: str,
        mode: str = "overwrite",
        callback: Callback = DEFAULT_CALLBACK,
        **kwargs: Any,
    ) -> None:
        status = await asyncio.to_thread(os.stat, lpath)
        if stat.S_ISDIR(status.st_mode):
            await self._makedirs(rpath, exist_ok=True)
            return
        path = self._strip_own(rpath)
        size = status.st_size
        callback.set_size(size)
        upload = Upload(self.client, self._file_key(path), exclusive=mode == "create", total=size)

        async def blocks() -> AsyncIterator[bytes]:
            source: IO[bytes] = await asyncio.to_thread(open, lpath, "rb")
            try:
                while data := await asyncio.to_thread(source.read, _BLOCK):
                    yield data
                    callback.relative_update(len(data))
            finally:
                source.close()

        await self._publish(upload, blocks())

    async def _get_file(
        self,
        rpath: str,
        lpath: str | IO[bytes],
        callback: Callback = DEFAULT_CALLBACK,
        outfile: IO[bytes] | None = None,
        verify: bool = False,
        **kwargs: Any,
    ) -> None:
        path = self._strip_own(rpath)
        target = outfile or lpath
        if verify:
            promised(path)
        check = partial(Verifier, self.space, path) if verify else None
        try:
            if isinstance(target, (str, os.PathLike)):
                if await asyncio.to_thread(os.path.isdir, target) and not await self._isdir(path):
                    raise IsADirectoryError(errno.EISDIR, "Is a directory", os.fspath(target))
                await save(self.client, self._file_key(path), os.fspath(target), callback, check)
            else:
                await pour(self.client, self._file_key(path), target, callback, check)
        except FileNotFoundError as exc:
            if isinstance(await self._no_file(path, exc), IsADirectoryError):
                await asyncio.to_thread(os.makedirs, str(lpath), exist_ok=True)
                return
            raise

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

    async def _cp_file(
        self, path1: str, path2: str, plan: list[tuple[str, str]] | None = None, **kwargs: Any
    ) -> None:
        if plan is not None:
            plan.append((path1, path2))
            return
        source, target = self._strip_own(path1), self._strip_own(path2)
        key = self._file_key(target)
        if source == "/":  # no file, even where a marker of that key lies
            return
        try:
            info = await self.client.head(self.space.key(source))
        except FileNotFoundError as exc:
            # fsspec hands over the directories of a tree as well; there is nothing to copy in them.
            if isinstance(await self._no_file(source, exc), IsADirectoryError):
                return
            raise
        if source != target:
            await copy_object(self.client, info, key)

    async def _mv_file(self, path1: str, path2: str, **kwargs: Any) -> None:
        """Move one file on the server: copied, the copy's size compared, only then the source deleted."""
        source, target = self._strip_own(path1), self._strip_own(path2)
        key = self._file_key(target)
        info = await self.client.head(self._file_key(source))
        if source == target:
            return
        await copy_object(self.client, info, key)
        try:
            copied = (await self.client.head(key)).size
        except FileNotFoundError:
            copied = -1
        if copied != info.size:
            there = f"{copied} bytes" if copied >= 0 else "nothing"
            text = f"the copy has {there} instead of {info.size} bytes; the source is kept"
            raise OSError(errno.EIO, text, self.space.url(target))
        await delete_keys(self.client, [info.key])

    async def _rm_file(self, path: str, **kwargs: Any) -> None:
        await self._rm(path)

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
        if not deletion.end() and path != "/":
            raise self._not_found(path)

    async def _touch(self, path: str, truncate: bool = True, **kwargs: Any) -> None:
        path = self._strip_own(path)
        if truncate or not await self._exists(path):
            await self.client.put(self._file_key(path), b"")

    def touch(self, path: str, truncate: bool = True, **kwargs: Any) -> None:
        """Make an empty file; with ``truncate=False`` an existing one stays as it is, its time too."""
        sync(self.loop, self._touch, path, truncate)
