"""RegistryFileSystem: a registry's bucket as an fsspec filesystem, ``regfs://bucket/path``.

Users need only expect builtin exceptions, each with the full URL. This module moves bytes in and out; what
is there is :mod:`regfs.tree`'s to tell, and requests are made by :mod:`regfs.client` alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import stat
import tempfile
from collections.abc import AsyncIterator, Callable
from glob import has_magic
from typing import IO, Any

from fsspec.asyn import sync
from fsspec.callbacks import DEFAULT_CALLBACK, Callback

from regfs.answers import Body, ObjectInfo
from regfs.client import MAX_PRESIGN
from regfs.errors import BucketNotFoundError
from regfs.transfer import batches, copy_object, delete_keys, gather
from regfs.tree import RegistryTree
from regfs.upload import Upload

DEFAULT_EXPIRY = 20 * 60
"""Seconds that a presigned URL is valid unless told otherwise, as in the registry's driver."""
_BLOCK = 2**20


class RegistryFileSystem(RegistryTree):
    """A container registry's S3 bucket.

    Parameters
    ----------
    config : str or path-like, optional
        A registry's ``config.yml``, whose ``storage.s3`` section gives the options, with the registry's own
        ``REGISTRY_STORAGE_S3_*`` overrides; options given beside it win.
    asynchronous : bool
        Whether the instance is used from coroutines of the caller's own event loop.
    loop : asyncio.AbstractEventLoop, optional
        The loop for blocking calls; fsspec's by default.
    batch_size : int, optional
        Requests at once in operations on many paths; fsspec's default otherwise.
    **options
        The registry's storage parameters, by the registry's spelling: ``bucket``, ``region``,
        ``rootdirectory``, ``encrypt`` ... (:class:`~regfs.DriverParameters`).

    Attributes
    ----------
    parameters : DriverParameters
        The parameters in force.
    client : S3Client
        Sends the requests.
    space : KeySpace
        Maps paths to keys.

    Raises
    ------
    regfs.ParameterError
        An option is unknown, missing or breaks its rule. No connection is opened here.

    Examples
    --------
    >>> fs = fsspec.filesystem("regfs", bucket="registry", region="eu-west-1")  # doctest: +SKIP
    >>> fs.ls("/docker/registry/v2/repositories", detail=False)  # doctest: +SKIP
    ['/docker/registry/v2/repositories/library']
    """

    # -- whole files ----------------------------------------------------------------------------------

    async def read_key(self, path: str) -> bytes:
        """Read a whole file by one GET, without asking what else may be there if it is missing."""
        return await self.client.get(self.space.key(path))

    async def _cat_file(
        self, path: str, start: int | None = None, end: int | None = None, **kwargs: Any
    ) -> bytes:
        path = self._strip_own(path)
        key = self.space.key(path)
        try:
            if start is not None and start < 0 and end is None:
                return await self.client.get_suffix(key, -start)
            if (start or 0) < 0 or (end or 0) < 0:
                start, end, _ = slice(start, end).indices((await self.client.head(key)).size)
            start = start or 0
            if end is not None and end <= start:
                await self.client.head(key)  # nothing to read, but a missing file is an error all the same
                return b""
            return await self.client.get(key, start, end)
        except FileNotFoundError as exc:
            raise await self._no_file(path, exc) from exc

    async def _cat(self, path: Any, recursive: bool = False, **kwargs: Any) -> Any:
        if recursive:  # the files of the trees: fsspec would read the directories as well
            tops = await self._expand_path(path)
            path = [name for top in tops for name in await self._find(top)]
        return await super()._cat(path, **kwargs)

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
            data = value if isinstance(value, (bytes, bytearray)) else bytes(view)
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
            await upload.abort()
            raise

    def _file_key(self, path: str) -> str:
        """Give the key of a file to be written; the root cannot be one."""
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
        **kwargs: Any,
    ) -> None:
        path = self._strip_own(rpath)
        try:
            body = await self.client.open(self._file_key(path))
        except FileNotFoundError as exc:
            if isinstance(await self._no_file(path, exc), IsADirectoryError):
                await asyncio.to_thread(os.makedirs, str(lpath), exist_ok=True)
                return
            raise
        try:
            callback.set_size(body.info.size)
            target = outfile or lpath
            if isinstance(target, (str, os.PathLike)):
                await self._save(body, os.fspath(target), callback)
            else:
                await _pour(body, target.write, callback)
        finally:
            body.close()

    @staticmethod
    async def _save(body: Body, target: str, callback: Callback) -> None:
        """Write a local file that appears whole or not at all."""
        if await asyncio.to_thread(os.path.isdir, target):
            raise IsADirectoryError(errno.EISDIR, "Is a directory", target)
        folder, name = os.path.split(target)
        file = await asyncio.to_thread(
            tempfile.NamedTemporaryFile,
            dir=folder or ".",
            prefix=f".{name[:64]}.",
            suffix=".part",
            delete=False,
        )
        try:
            with file:
                await _pour(body, file.write, callback)
            mask = os.umask(0)
            os.umask(mask)
            os.chmod(file.name, 0o666 & ~mask)  # what open() would have given
            await asyncio.to_thread(os.replace, file.name, target)
        except BaseException:
            os.unlink(file.name)
            raise

    async def _cp_file(self, path1: str, path2: str, **kwargs: Any) -> None:
        source, target = self._strip_own(path1), self._strip_own(path2)
        key = self._file_key(target)
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
        copied = await self.client.head(key)
        if copied.size != info.size:
            text = f"the copy has {copied.size} bytes instead of {info.size}; the source is kept"
            raise OSError(errno.EIO, text, self.space.url(target))
        await delete_keys(self.client, batches([info.key]))

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
        infos = await gather([lambda p=p: self._info(p) for p in paths], self.batch_size)  # type: ignore[misc]
        files = [info["name"] for info in infos if info["type"] == "file"]
        if not recursive and len(files) < len(infos):
            folder = next(info["name"] for info in infos if info["type"] != "file")
            text = "Is a directory; give recursive=True to remove it"
            raise IsADirectoryError(errno.EISDIR, text, self.space.url(folder))
        await delete_keys(self.client, batches([self.space.key(name) for name in files]))

    async def delete_tree(self, path: str) -> None:
        """Delete a file and everything under it as a directory, and no sibling that shares the prefix.

        Raises
        ------
        FileNotFoundError
            There is neither.
        OSError
            Some keys could not be deleted; they are named.
        """

        async def keys() -> AsyncIterator[list[str]]:
            if path != "/":
                with contextlib.suppress(FileNotFoundError):
                    yield [(await self.client.head(self.space.key(path))).key]
            async for page in self.client.pages(self.space.prefix(path)):
                if page.objects:
                    yield [item.key for item in page.objects]

        if not await delete_keys(self.client, keys()) and path != "/":
            raise self._not_found(path)

    async def _touch(self, path: str, truncate: bool = True, **kwargs: Any) -> None:
        path = self._strip_own(path)
        if truncate or not await self._exists(path):
            await self.client.put(self._file_key(path), b"")

    def touch(self, path: str, truncate: bool = True, **kwargs: Any) -> None:
        """Make an empty file; with ``truncate=False`` an existing one stays as it is, its time too."""
        sync(self.loop, self._touch, path, truncate)

    # -- open files -----------------------------------------------------------------------------------

    async def open_body(self, path: str, start: int, stop: int | None) -> Body:
        """Begin to read a file; a directory is called one."""
        try:
            return await self.client.open(self._file_key(path), start, stop)
        except FileNotFoundError as exc:
            raise await self._no_file(path, exc) from exc

    async def open_upload(self, path: str, mode: str) -> Upload:
        """Begin to write a file.

        Parameters
        ----------
        path : str
            The driver path.
        mode : str
            "wb" anew; "xb" if it does not exist; "ab" behind what is there; "r+b" the same, if it exists.
        """
        key = self._file_key(path)
        if mode == "wb":
            return Upload(self.client, key)
        try:
            info = await self.client.head(key)
        except FileNotFoundError as exc:
            if mode == "r+b" or isinstance(exc, BucketNotFoundError):
                raise
            return Upload(self.client, key, exclusive=mode == "xb")
        if mode == "xb":
            raise FileExistsError(errno.EEXIST, "File exists", self.space.url(path))
        return await self._continue(info, info.size)

    async def open_at(self, path: str, offset: int) -> Upload:
        """Begin to write a file that keeps its first `offset` bytes, as far as it has them."""
        if offset == 0:
            return Upload(self.client, self._file_key(path))
        try:
            info = await self.client.head(self._file_key(path))
        except BucketNotFoundError:
            raise
        except FileNotFoundError:
            return Upload(self.client, self._file_key(path))
        return await self._continue(info, min(offset, info.size))

    async def _continue(self, info: ObjectInfo, size: int) -> Upload:
        upload = Upload(self.client, info.key, like=info)
        try:
            await upload.copy(info, 0, size)
        except BaseException:
            await upload.abort()
            raise
        return upload

    def _open(self, path: str, mode: str = "rb", block_size: int | None = None, **kwargs: Any) -> Any:
        from regfs.file import RegistryFile

        if self.asynchronous:
            raise RuntimeError("open() blocks; with asynchronous=True await _cat_file and its like")
        if mode not in ("rb", "wb", "xb", "ab"):
            raise ValueError(f"mode {mode!r}: must be one of rb, wb, xb, ab, or the same without b for text")
        return RegistryFile(self, path, mode, block_size, **kwargs)

    def open(
        self,
        path: str,
        mode: str = "rb",
        block_size: int | None = None,
        cache_options: dict[str, Any] | None = None,
        compression: str | None = None,
        **kwargs: Any,
    ) -> Any:
        """Open a file; see :meth:`fsspec.AbstractFileSystem.open` for the parameters.

        A file opened for writing is published whole by ``close()``. An exception that leaves its ``with``
        block publishes nothing, in text mode and under a compression as well.
        """
        if "r" in mode or ("b" in mode and compression is None):
            return super().open(path, mode, block_size, cache_options, compression, **kwargs)
        from fsspec.compression import compr
        from fsspec.core import get_compression

        from regfs.file import WholeBinary, WholeText

        text = {k: kwargs.pop(k) for k in ("encoding", "errors", "newline") if k in kwargs}
        binary = mode.replace("t", "").replace("b", "") + "b"
        codec = get_compression(self._strip_own(path), compression)
        file = super().open(path, binary, block_size, cache_options, None, **kwargs)
        target = file if codec is None else WholeBinary(compr[codec](file, mode="w"), file)
        return target if "b" in mode else WholeText(target, file, **text)

    # -- URLs -----------------------------------------------------------------------------------------

    def sign(self, path: str, expiration: float = DEFAULT_EXPIRY, method: str = "GET", **kwargs: Any) -> str:
        """Make a presigned URL, without any request.

        Parameters
        ----------
        path : str
            The file.
        expiration : float
            Seconds from now, at most 7 days.
        method : str
            "GET" or "HEAD".

        Raises
        ------
        ValueError
            Another method, or a time outside 1 second to 7 days.
        """
        return str(sync(self.loop, self._sign, path, expiration, method))

    url = sign

    async def _sign(self, path: str, expiration: float = DEFAULT_EXPIRY, method: str = "GET") -> str:
        if method not in ("GET", "HEAD"):
            raise ValueError(f"method {method!r}: only GET and HEAD can be presigned")
        seconds = int(expiration)
        if not 1 <= seconds <= MAX_PRESIGN:
            raise ValueError(f"expiration {expiration!r}: must be 1 to {MAX_PRESIGN} seconds (7 days)")
        return await self.client.presign(method, self._file_key(self._strip_own(path)), seconds)


async def _pour(body: Body, write: Callable[[Any], object], callback: Callback) -> None:
    while data := await body.read(_BLOCK):
        await asyncio.to_thread(write, data)
        callback.relative_update(len(data))
