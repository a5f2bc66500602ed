"""RegistryFileSystem: a registry's bucket as an fsspec filesystem, ``regfs://bucket/path``.

Users need only expect builtin exceptions, each with the full URL.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import AsyncGenerator, Generator
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal, overload

from regfs.errors import BucketNotFoundError
from regfs.filesystem.bulk import RegistryBulk
from regfs.filesystem.tree import Info
from regfs.filesystem.waiting import sync
from regfs.s3.body import Body
from regfs.s3.client import MAX_PRESIGN
from regfs.s3.objects import ObjectInfo
from regfs.store import pending
from regfs.store.listing import AT_ONCE, list_all
from regfs.store.pending import PendingUpload
from regfs.store.upload import Upload
from regfs.store.verify import PIECE, Verifier, promised

if TYPE_CHECKING:
    from io import TextIOWrapper

    from regfs.filesystem.afile import RegistryAsyncFile
    from regfs.filesystem.file import RegistryFile

DEFAULT_EXPIRY = 20 * 60
"""Seconds that a presigned URL is valid unless told otherwise, as in the registry's driver."""


_Binary = Literal["rb", "wb", "xb", "ab"]
_Text = Literal["r", "w", "x", "a", "rt", "wt", "xt", "at"]


async def _following(pages: AsyncGenerator[list[Info], None]) -> list[Info] | None:
    return await anext(pages, None)


class RegistryFileSystem(RegistryBulk):
    """A container registry's S3 bucket.

    Parameters
    ----------
    config : str or path-like, optional
        A registry's ``config.yml``, whose ``storage.s3``, ``s3aws`` or ``s3_v2`` section gives the options,
        with the registry's own ``REGISTRY_STORAGE_S3_*`` overrides; options given beside it win. Without it
        and any option, `bucket` aside, ``REGFS_CONFIG`` names it, or those variables give the options.
    anon : bool
        Send unsigned requests, to a public bucket; without effect beside ``accesskey``.
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

    # -- pending uploads ------------------------------------------------------------------------------

    async def _uploads(self, older_than: timedelta | float | None = None) -> list[PendingUpload]:
        return await pending.find(self.client, older_than)

    def uploads(self, older_than: timedelta | float | None = None) -> list[PendingUpload]:
        """List the multipart uploads under the root directory that were neither committed nor aborted.

        Parameters
        ----------
        older_than : timedelta or float, optional
            Only those begun at least so long ago; a number is in seconds.

        Returns
        -------
        list of PendingUpload
            Path, id, start (UTC), parts and bytes of each, the oldest first.
        """
        found: list[PendingUpload] = sync(self.loop, self._uploads, older_than)
        return found

    async def _abort_uploads(
        self, older_than: timedelta | float | None = None, dry_run: bool = True
    ) -> list[PendingUpload]:
        entries = await pending.find(self.client, older_than)
        if not dry_run:
            await pending.abort(self.client, entries)
        return entries

    def abort_uploads(
        self, older_than: timedelta | float | None = None, dry_run: bool = True
    ) -> list[PendingUpload]:
        """Remove pending uploads under the root directory, and none elsewhere.

        Somebody may still be writing them: give an age beyond which nobody does.

        Parameters
        ----------
        older_than : timedelta or float, optional
            Only those begun at least so long ago; a number is in seconds.
        dry_run : bool
            Remove nothing, only tell what would be removed.

        Returns
        -------
        list of PendingUpload
            What was removed, or would be.
        """
        removed: list[PendingUpload] = sync(self.loop, self._abort_uploads, older_than, dry_run)
        return removed

    # -- listings without end -------------------------------------------------------------------------

    async def _find_pages(self, path: str) -> AsyncGenerator[list[Info], None]:
        prefix = self.space.prefix(self._strip_own(path))
        ready: asyncio.Queue[list[Info] | None] = asyncio.Queue()
        room = asyncio.Semaphore(AT_ONCE)

        async def page(objects: list[ObjectInfo]) -> None:
            await room.acquire()
            entries = [self.describe(one) for one in objects if self.space.addressable(one.key)]
            ready.put_nowait(entries)

        listing = asyncio.create_task(list_all(self.client, prefix, page))
        listing.add_done_callback(lambda _: ready.put_nowait(None))
        try:
            while (entries := await ready.get()) is not None:
                yield entries
                room.release()
            await listing
        finally:
            listing.cancel()
            await asyncio.wait([listing])

    def find_pages(self, path: str = "/") -> Generator[list[Info], None, None]:
        """List all files under a directory page by page, as they come: memory does not grow with the tree.

        Parameters
        ----------
        path : str
            The directory; one that does not exist has no pages.

        Yields
        ------
        list of dict
            Up to 1,000 files as ``info`` gives them; the pages are in no order. One LIST each, and some more,
            16 at a time.

        Raises
        ------
        OSError
            The listing failed, in the middle perhaps.
        """
        pages = self._find_pages(path)
        try:
            while (entries := sync(self.loop, _following, pages)) is not None:
                yield entries
        finally:
            sync(self.loop, pages.aclose)

    # -- open files -----------------------------------------------------------------------------------

    async def open_body(self, path: str, start: int, stop: int | None) -> Body:
        """Begin to read a file; a directory is called one."""
        try:
            return await self.client.open(self._file_key(path), start, stop)
        except FileNotFoundError as exc:
            await self._raise_no_file(path, exc)
            raise

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
            await upload.give_up()
            raise
        return upload

    async def open_async(
        self, path: str, mode: str = "rb", verify: bool = False, **kwargs: Any
    ) -> RegistryAsyncFile:
        """Open a file whose methods are awaited, for streaming reads and writes.

        Parameters
        ----------
        path : str
            The driver path.
        mode : str
            "rb"; "wb"; "xb", which fails if the file exists; "ab", which continues it.
        verify : bool
            As for :meth:`verify`, while it is read.

        Raises
        ------
        FileNotFoundError
            There is no such file, or the directory is none: at once, not at the first read.
        ValueError
            Another mode, or a compression; `verify`, and the path promises no digest.
        """
        from regfs.filesystem.afile import RegistryAsyncFile

        if mode not in ("rb", "wb", "xb", "ab"):
            raise ValueError(f"mode {mode!r}: must be one of rb, wb, xb, ab")
        if kwargs.get("compression"):
            raise ValueError(f"compression {kwargs['compression']!r}: not in open_async")
        path = self._strip_own(path)
        if mode == "rb":
            if verify:
                promised(path)
            body = await self.open_body(path, 0, None)
            verifier = Verifier(self.space, path, body.info.size) if verify else None
            return RegistryAsyncFile(self, path, mode, body, verifier)
        return RegistryAsyncFile(self, path, mode, await self.open_upload(path, mode))

    def _open(self, path: str, mode: str = "rb", block_size: int | None = None, **kwargs: Any) -> Any:
        from regfs.filesystem.file import RegistryFile

        if self.asynchronous:
            raise RuntimeError("open() blocks; with asynchronous=True await open_async() or _cat_file()")
        if mode not in ("rb", "wb", "xb", "ab"):
            raise ValueError(f"mode {mode!r}: must be one of rb, wb, xb, ab, or the same without b for text")
        return RegistryFile(self, path, mode, block_size, **kwargs)

    @overload
    def open(self, path: str, mode: _Binary = "rb", *args: Any, **kwargs: Any) -> RegistryFile: ...
    @overload
    def open(self, path: str, mode: _Text, *args: Any, **kwargs: Any) -> TextIOWrapper: ...
    @overload
    def open(self, path: str, mode: str, *args: Any, **kwargs: Any) -> Any: ...
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
            file = super().open(path, mode, block_size, cache_options, compression, **kwargs)
            if "b" not in mode:
                file.mode = mode  # as the builtin open() does
            return file
        from fsspec.compression import compr
        from fsspec.core import get_compression

        from regfs.filesystem.file import WholeBinary, WholeText

        text = {k: kwargs.pop(k) for k in ("encoding", "errors", "newline") if k in kwargs}
        binary = mode.replace("t", "").replace("b", "") + "b"
        codec = get_compression(self._strip_own(path), compression)
        file = super().open(path, binary, block_size, cache_options, None, **kwargs)
        try:
            target = file if codec is None else WholeBinary(compr[codec](file, mode="w"), file)
            return target if "b" in mode else WholeText(target, file, mode, **text)
        except BaseException:  # of an unknown encoding, say
            file.discard()
            raise

    def arrow(self) -> Any:
        """Return this filesystem as pyarrow's, whose paths may lack the leading slash.

        Returns
        -------
        pyarrow.fs.PyFileSystem
            For ``filesystem=`` of pyarrow's datasets, tables and readers.

        Raises
        ------
        ModuleNotFoundError
            pyarrow is not there.
        """
        from pyarrow.fs import PyFileSystem

        from regfs.filesystem.arrow import RegistryHandler

        return PyFileSystem(RegistryHandler(self))

    # -- blobs ----------------------------------------------------------------------------------------

    async def _verify(self, path: str) -> str:
        path = self._strip_own(path)
        digest = promised(path)
        body = await self.open_body(path, 0, None)
        try:
            verifier = Verifier(self.space, path, body.info.size)
            verifier.feed(0, b"")
            while data := await body.some(PIECE):
                verifier.feed(verifier.at, data)
        finally:
            body.close()
        return str(digest)

    def verify(self, path: str) -> str:
        """Read a registry's blob and compare its content with the digest that its path promises.

        The same happens while a blob is read with ``verify=True``: by ``open``, ``open_async``, ``cat``,
        ``get`` and :meth:`StorageDriver.reader`.

        Parameters
        ----------
        path : str
            A blob's data, ``/docker/registry/v2/blobs/sha256/ab/ab…/data``.

        Returns
        -------
        str
            The digest, ``sha256:ab…``.

        Raises
        ------
        DigestMismatchError
            The content is another one.
        ValueError
            The path promises no digest.
        """
        digest: str = sync(self.loop, self._verify, path)
        return digest

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
        if not 1 <= expiration <= MAX_PRESIGN:  # neither is NaN
            raise ValueError(f"expiration {expiration!r}: must be 1 to {MAX_PRESIGN} seconds (7 days)")
        return await self.client.presign(method, self._file_key(self._strip_own(path)), int(expiration))
