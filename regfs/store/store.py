"""Store: one bucket by driver paths, which is what both faces are made of.

Paths are absolute, "/a/b", and translated to keys here and nowhere above. The methods are coroutines. Nothing
here knows fsspec or the registry's interface: a method returns values of its own or of :mod:`regfs.s3`, and
raises the builtin errors, each with the full URL.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import timedelta
from functools import partial
from typing import IO, Any, NamedTuple

from regfs.errors import BucketNotFoundError
from regfs.paths import KeySpace
from regfs.s3.body import Body
from regfs.s3.client import S3Client
from regfs.s3.objects import ObjectInfo
from regfs.store import pending
from regfs.store.download import Memory, download, pour, save
from regfs.store.listing import list_all
from regfs.store.pending import PendingUpload
from regfs.store.transfer import Deletion, copy_object, delete_keys, gather
from regfs.store.upload import Upload, flat
from regfs.store.verify import PIECE, Verifier, promised

_BLOCK = 2**20


class Entry(NamedTuple):
    """A file or directory.

    Attributes
    ----------
    path : str
        The driver path.
    object : ObjectInfo or None
        The file's object; None for a directory, which is nothing but the keys under it.
    """

    path: str
    object: ObjectInfo | None = None


class Store:
    """A bucket, or what lies under a root directory in it.

    Parameters
    ----------
    client : S3Client
        Sends the requests.
    space : KeySpace
        Maps paths to keys.
    """

    def __init__(self, client: S3Client, space: KeySpace) -> None:
        self.client = client
        self.space = space

    # -- paths ----------------------------------------------------------------------------------------

    def url(self, path: str) -> str:
        """Return the full URL of a path."""
        return self.space.url(path)

    def key(self, path: str) -> str:
        """Return the key of a file.

        Raises
        ------
        IsADirectoryError
            The path is "/".
        """
        if path == "/":
            raise self.directory_error(path)
        return self.space.key(path)

    def not_found(self, path: str) -> FileNotFoundError:
        """Return the error for a path at which there is nothing."""
        return FileNotFoundError(errno.ENOENT, "No such file or directory", self.url(path))

    def directory_error(self, path: str) -> IsADirectoryError:
        """Return the error for a directory in place of a file."""
        return IsADirectoryError(errno.EISDIR, "Is a directory", self.url(path))

    # -- properties -----------------------------------------------------------------------------------

    async def head(self, path: str) -> ObjectInfo:
        """Return a file's properties. One HEAD.

        Raises
        ------
        FileNotFoundError
            There is no such file; there may be such a directory.
        """
        return await self.client.head(self.key(path))

    async def find(self, path: str) -> ObjectInfo | None:
        """Return a file's properties, or None. One HEAD."""
        return None if path == "/" else await self.client.find(self.space.key(path))

    async def is_prefix(self, path: str) -> bool:
        """Return whether any key lies under a path as a directory. One LIST."""
        # Without delimiter: SeaweedFS lists a prefix for a while after its last key is gone.
        page = await self.client.list_page(self.space.prefix(path), limit=1)
        return bool(page.objects)

    async def lookup(self, path: str) -> Entry | None:
        """Return the file at a path, or else the directory, or None. One HEAD, and one LIST without a file.

        "/" is a directory even where the bucket is empty.
        """
        if path == "/":
            return Entry(path)
        if item := await self.find(path):
            return Entry(path, item)
        return Entry(path) if await self.is_prefix(path) else None

    async def stat(self, path: str) -> Entry:
        """Return the file at a path, or else the directory, as :meth:`lookup` does.

        Raises
        ------
        FileNotFoundError
            There is neither.
        """
        entry = await self.lookup(path)
        if entry is None:
            raise self.not_found(path)
        return entry

    # -- listings -------------------------------------------------------------------------------------

    async def children(self, path: str, prefix: str = "", start_after: str = "") -> list[Entry] | None:
        """List what lies directly in a directory. One LIST for each 1,000 entries.

        Parameters
        ----------
        path : str
            The directory.
        prefix : str
            Only names that begin with it.
        start_after : str
            Only names behind it are needed; whether the others are listed is the service's choice.

        Returns
        -------
        list of Entry or None
            Sorted by name; a file comes before the directory of the same name. None: nothing lies under
            `path`, so it is no directory. "/" always is one.
        """
        base = self.space.prefix(path)
        entries: list[Entry] = []
        exists = path == "/" or bool(prefix)
        start = start_after and base + start_after
        async for page in self.client.pages(base + prefix, delimiter="/", start_after=start):
            exists = exists or bool(page.objects or page.prefixes)
            entries += self.entries(page.objects)
            keys = [common[:-1] for common in page.prefixes]
            entries += [Entry(self.space.path(key)) for key in keys if self.space.addressable(key)]
        return sorted(entries, key=entry_order) if exists else None

    def entries(self, objects: Sequence[ObjectInfo]) -> list[Entry]:
        """Return the files among some objects: those whose keys a path can name."""
        space = self.space
        return [Entry(space.path(item.key), item) for item in objects if space.addressable(item.key)]

    async def list_files(
        self, path: str, use: Callable[[list[ObjectInfo]], Awaitable[None]], prefix: str = ""
    ) -> None:
        """List every object under a directory, several pages at once.

        Parameters
        ----------
        path : str
            The directory.
        use : callable
            ``await use(objects)`` for each page, as :func:`regfs.store.listing.list_all` calls it.
        prefix : str
            Only those whose path below the directory begins with it.
        """
        await list_all(self.client, self.space.prefix(path) + prefix, use)

    async def list_tree(self, path: str, use: Callable[[list[ObjectInfo]], Awaitable[None]]) -> None:
        """List what :meth:`delete_tree` deletes: a file, and every object under it as a directory.

        Parameters
        ----------
        path : str
            The driver path.
        use : callable
            As for :meth:`list_files`.
        """

        async def file() -> None:
            if item := await self.find(path):
                await use([item])

        async def tree() -> None:
            await self.list_files(path, use)

        await gather([file, tree])

    # -- reading --------------------------------------------------------------------------------------

    async def read(self, path: str, start: int = 0, stop: int | None = None) -> bytes:
        """Read a file, or its bytes from `start` up to `stop`; past the end is empty.

        One GET for each 16 MiB, several at once, all of one version of the file.

        Raises
        ------
        FileNotFoundError
            There is no such file; :meth:`explain` looks for a directory.
        """
        with Memory() as memory:
            await download(self.client, self.key(path), memory, start, stop)
            return memory.result()

    async def read_suffix(self, path: str, length: int) -> bytes:
        """Read the last `length` bytes of a file, or all of a shorter one. One GET."""
        return await self.client.get_suffix(self.key(path), length)

    async def open_body(self, path: str, start: int = 0, stop: int | None = None, etag: str = "") -> Body:
        """Open a file, or its bytes from `start` up to `stop`, of the version `etag` if given. One GET."""
        return await self.client.open(self.key(path), start, stop, etag or None)

    async def explain(self, path: str, error: FileNotFoundError) -> OSError:
        """Return the error for a file that could not be read: `error`, or that a directory is there."""
        if isinstance(error, BucketNotFoundError) or not await self.is_prefix(path):
            return error
        return self.directory_error(path)

    async def verify(self, path: str) -> str:
        """Read a blob, compare its content with the digest that its path promises, and return the digest.

        Raises
        ------
        DigestMismatchError
            The content has another digest.
        ValueError
            The path promises no digest.
        """
        digest = promised(path)
        body = await self.open_body(path)
        try:
            verifier = Verifier(self.space, path, body.info.size)
            verifier.feed(0, b"")
            while data := await body.some(PIECE):
                verifier.feed(verifier.at, data)
        finally:
            body.close()
        return str(digest)

    async def save(
        self,
        path: str,
        target: str | IO[bytes],
        *,
        verify: bool = False,
        size: Callable[[int], object] = lambda _: None,
        progress: Callable[[int], object] = lambda _: None,
    ) -> None:
        """Copy a file to this machine.

        Parameters
        ----------
        path : str
            The driver path.
        target : str or binary file
            A local file, which appears whole or not at all; or an open file, even a pipe, written in order.
        verify : bool
            Compare the content with the digest that the path promises; what differs does not appear.
        size : callable
            Called with the number of bytes to come.
        progress : callable
            Called with the number of bytes that have come since; negative where some have to come again.
        """
        check = partial(Verifier, self.space, path) if verify else None
        write = save if isinstance(target, str) else pour
        await write(self.client, self.key(path), target, check, size=size, progress=progress)  # type: ignore[arg-type]  # each its own target

    # -- writing --------------------------------------------------------------------------------------

    def new_upload(self, path: str, *, exclusive: bool = False, total: int | None = None) -> Upload:
        """Return an upload that replaces a file when it is committed; no request yet.

        Parameters
        ----------
        path : str
            The driver path.
        exclusive : bool
            Fail where the file exists by then.
        total : int, optional
            The size to come in bytes, if known.
        """
        return Upload(self.client, self.key(path), exclusive=exclusive, total=total)

    async def open_upload(self, path: str, mode: str) -> Upload:
        """Begin to write a file.

        Parameters
        ----------
        path : str
            The driver path.
        mode : str
            "wb" anew; "xb" if it does not exist; "ab" behind the existing content; "r+b" the same, if the
            file exists.
        """
        if mode == "wb":
            return self.new_upload(path)
        item = await (self.head(path) if mode == "r+b" else self.find(path))
        if item is None:
            return self.new_upload(path, exclusive=mode == "xb")
        if mode == "xb":
            raise FileExistsError(errno.EEXIST, "File exists", self.url(path))
        return await self._continue(item, item.size)

    async def open_at(self, path: str, offset: int) -> Upload:
        """Begin to write a file that keeps its first `offset` bytes, or fewer if it is shorter or missing."""
        key = self.key(path)
        item = await self.client.find(key) if offset else None
        return await self._continue(item, min(offset, item.size)) if item else Upload(self.client, key)

    async def _continue(self, item: ObjectInfo, size: int) -> Upload:
        upload = Upload(self.client, item.key, like=item)
        try:
            await upload.copy(item, 0, size)
        except BaseException:
            await upload.give_up()
            raise
        return upload

    async def write(self, path: str, data: Any, *, exclusive: bool = False) -> None:
        """Write a file whole: one PUT up to ``chunksize``, several parts at once beyond it.

        Raises
        ------
        FileExistsError
            `exclusive`, and the file exists.
        """
        view = flat(data)
        if len(view) <= self.client.parameters.chunk_size:
            body = data if isinstance(data, bytes) else bytes(view)
            await self.client.put(self.key(path), body, exclusive=exclusive)
            return
        await self.publish(self.new_upload(path, exclusive=exclusive, total=len(view)), once(view))

    async def publish(self, upload: Upload, blocks: AsyncIterator[Any], *, commit: bool = True) -> None:
        """Write blocks to an upload, and commit or only finish it. After a failure nothing is left of it."""
        try:
            async for block in blocks:
                await upload.write(block)
            await (upload.commit() if commit else upload.finish())
        except BaseException:
            await upload.give_up()
            raise

    async def send_file(
        self, local: str, upload: Upload, *, commit: bool = True, progress: Callable[[int], object]
    ) -> None:
        """Write a local file to an upload, as :meth:`publish` does.

        `progress` is called with the number of bytes stored since.
        """
        upload.stored = progress

        async def blocks() -> AsyncIterator[bytes]:
            source: IO[bytes] = await asyncio.to_thread(open, local, "rb")
            try:
                while data := await asyncio.to_thread(source.read, _BLOCK):
                    yield data
            finally:
                source.close()

        await self.publish(upload, blocks(), commit=commit)

    async def touch(self, path: str, *, truncate: bool = True) -> None:
        """Write an empty file; without `truncate`, only where neither a file nor a directory exists."""
        if truncate or await self.lookup(path) is None:
            await self.client.put(self.key(path), b"")

    # -- copying, moving and deleting -----------------------------------------------------------------

    async def copy(self, source: str, target: str) -> None:
        """Copy a file of any size on the server.

        Raises
        ------
        FileNotFoundError
            There is no such file; :meth:`explain` looks for a directory.
        """
        key = self.key(target)
        item = await self.head(source)
        if source != target:
            await copy_object(self.client, item, key)

    async def move(self, source: str, target: str) -> None:
        """Move a file on the server. The source is deleted only after the copy's size has been checked.

        Raises
        ------
        FileNotFoundError
            There is no such file; the target is untouched.
        OSError
            The copy has another size; the source is kept.
        """
        key = self.key(target)
        item = await self.head(source)
        if source == target:
            return
        await copy_object(self.client, item, key)
        copied = await self.client.find(key)
        if copied is None or copied.size != item.size:
            size = f"{copied.size} bytes" if copied else "nothing"
            text = f"the copy has {size} instead of {item.size} bytes; the source is kept"
            raise OSError(errno.EIO, text, self.url(target))
        await self.delete([source])

    async def delete(self, paths: Sequence[str]) -> None:
        """Delete files, whether or not they exist; 1,000 with one DELETE.

        Raises
        ------
        OSError
            Some could not be deleted; the error names them.
        """
        await delete_keys(self.client, [self.space.key(path) for path in paths])

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
            Some keys could not be deleted; the error names them.
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
            raise self.not_found(path)

    # -- pending uploads ------------------------------------------------------------------------------

    async def uploads(self, older_than: timedelta | float | None = None) -> list[PendingUpload]:
        """List the multipart uploads under the root directory that are neither committed nor aborted.

        `older_than` is their least age, a number in seconds. The oldest comes first.
        """
        return await pending.find(self.client, older_than)

    async def abort_uploads(
        self,
        uploads: Sequence[PendingUpload],
        aborted: Callable[[PendingUpload], object] = lambda _: None,
    ) -> None:
        """Abort pending uploads and delete their records; `aborted` is called with each."""
        await pending.abort(self.client, uploads, aborted)

    # -- URLs and connections -------------------------------------------------------------------------

    async def presign(self, path: str, seconds: int, method: str = "GET") -> str:
        """Return a URL that reads a file without credentials for some seconds. No request."""
        return await self.client.presign(method, self.key(path), seconds)

    async def check(self) -> None:
        """Check that the bucket can be listed. One LIST."""
        await self.client.list_page(self.space.base, limit=1)


def entry_order(entry: Entry) -> tuple[str, bool]:
    """Return the sort key of a directory's entries: by name, a file before the directory of its name."""
    return entry.path, entry.object is None


async def once(block: Any) -> AsyncIterator[Any]:
    """Yield one block."""
    yield block
