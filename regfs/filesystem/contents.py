"""Whole files and trees in, out, about and away: the middle of :class:`~regfs.RegistryFileSystem`.

What is written is published whole or not at all, here as in open files.
"""

from __future__ import annotations

import asyncio
import errno
import os
import stat
from collections.abc import AsyncIterator
from functools import partial
from typing import IO, Any

from fsspec.callbacks import DEFAULT_CALLBACK, Callback

from regfs.filesystem.tree import RegistryTree
from regfs.filesystem.waiting import sync
from regfs.store.download import RANGE, Memory, download, pour, save
from regfs.store.transfer import copy_object, delete_keys
from regfs.store.upload import Upload, flat
from regfs.store.verify import Verifier, promised

_BLOCK = 2**20


class RegistryContents(RegistryTree):
    """The base of :class:`~regfs.RegistryFileSystem` that moves whole files."""

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

    async def _pipe_file(self, path: str, value: Any, mode: str = "overwrite", **kwargs: Any) -> None:
        path = self._strip_own(path)
        key = self._file_key(path)
        view = flat(value)
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
                from regfs.filesystem.file import Held

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
        upload.stored = callback.relative_update

        async def blocks() -> AsyncIterator[bytes]:
            source: IO[bytes] = await asyncio.to_thread(open, lpath, "rb")
            try:
                while data := await asyncio.to_thread(source.read, _BLOCK):
                    yield data
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

    async def _cp_file(self, path1: str, path2: str, **kwargs: Any) -> None:
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

    async def _touch(self, path: str, truncate: bool = True, **kwargs: Any) -> None:
        path = self._strip_own(path)
        if truncate or not await self._exists(path):
            await self.client.put(self._file_key(path), b"")

    def touch(self, path: str, truncate: bool = True, **kwargs: Any) -> None:
        """Make an empty file; with ``truncate=False`` an existing one stays as it is, its time too."""
        sync(self.loop, self._touch, path, truncate)
