"""Files for applications with an event loop of their own: ``await fs.open_async(path)``.

One response for as long as reading is sequential; parts in flight while writing. Published by ``close()``,
whole, or not at all where an exception leaves the ``async with`` block.
"""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING, Any

from fsspec.asyn import AbstractAsyncStreamedFile

from regfs.filesystem.info import file_info
from regfs.store import unclosed
from regfs.store.upload import flat

if TYPE_CHECKING:
    from types import TracebackType

    from fsspec.asyn import AsyncFileSystem

    from regfs.s3.body import Body
    from regfs.store.store import Store
    from regfs.store.upload import Upload
    from regfs.store.verify import Verifier


class RegistryAsyncFile(AbstractAsyncStreamedFile):
    """A file of a :class:`~regfs.RegistryFileSystem`, binary, whose methods are awaited.

    Made by :meth:`RegistryFileSystem.open_async`.

    Parameters
    ----------
    fs : AsyncFileSystem
        The filesystem.
    store : Store
        The bucket.
    path : str
        The driver path.
    mode : str
        "rb", "wb", "xb" or "ab".
    opened : Body or Upload
        The response that is read, or the upload that is written.
    verifier : Verifier, optional
        Compares what is read with what the path promises; then there is no jumping forward.
    """

    closed: bool
    _upload: Upload | None = None

    def __init__(
        self,
        fs: AsyncFileSystem,
        store: Store,
        path: str,
        mode: str,
        opened: Body | Upload,
        verifier: Verifier | None = None,
    ) -> None:
        self._store = store
        self._verifier = verifier
        self._body: Body | None = None
        self._pid = os.getpid()
        if mode == "rb":
            body: Any = opened
            super().__init__(fs, path, mode, cache_type="none", size=body.info.size)
            self._body, self._at = body, 0
            self._etag = body.info.etag
            self._details = file_info(path, body.info)
        else:
            upload: Any = opened
            super().__init__(fs, path, mode)
            self._upload = upload
            self.loc = self._start = upload.size
            unclosed.watch(self)

    async def read(self, length: int | None = -1) -> bytes:
        """Read so many bytes, less only at the end; all that is left by default.

        Raises
        ------
        FileChangedError
            After a seek: the file was replaced since it was opened.
        DigestMismatchError
            With ``verify=True``: the content, which ends here, is not what the path promises.
        """
        if self.mode != "rb":
            raise io.UnsupportedOperation("not readable")
        if self.closed:
            raise ValueError("I/O operation on closed file.")
        left = max(0, self.size - self.loc)
        want = left if length is None or length < 0 else min(length, left)
        if self._verifier and self.loc > self._verifier.at:
            raise io.UnsupportedOperation("no jump forward with verify=True")
        if not want:
            if self._verifier:
                self._verifier.feed(self.loc, b"")
            return b""
        if self._body is None or self._at != self.loc:
            self._drop_body()
            self._body = await self._store.open_body(self.path, self.loc, None, self._etag)
        data = await self._body.read(want)
        if self._verifier:
            self._verifier.feed(self.loc, data)
        self.loc += len(data)
        self._at = self.loc
        return data

    async def write(self, data: Any) -> int:
        """Accept bytes, and wait only while as many parts as may be are in flight.

        Returns
        -------
        int
            The bytes accepted: all of them.

        Raises
        ------
        OSError
            A part failed. The upload has been removed, the old object is still there.
        """
        if self._upload is None:
            raise io.UnsupportedOperation("not writable")
        if self.closed:
            raise ValueError("I/O operation on closed file.")
        view = flat(data)
        try:
            await self._upload.write(view)
        except BaseException:
            await self._drop()
            raise
        self.loc += len(view)
        return len(view)

    async def flush(self, force: bool = False) -> None:
        """Do nothing: an object cannot be published in part."""

    async def close(self) -> None:
        """Publish what was written, and end the file."""
        if self.closed:
            return
        if self._upload is None:
            self.closed = True
            self._drop_body()
            return
        try:
            await self._upload.commit()
        except BaseException:
            await self._drop()
            raise
        self.closed = True

    async def discard(self) -> None:
        """Publish nothing, remove the upload, and end the file."""
        if self._upload is not None and not self.closed:
            self.closed = True
            await self._upload.abort()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None and self._upload is not None and not self.closed:
            await self._drop()
        await self.close()

    async def _drop(self) -> None:
        """Discard because of a failure, which must not be hidden by another one here."""
        self.closed = True
        if self._upload is not None:
            await self._upload.give_up()

    def _drop_body(self) -> None:
        body, self._body = self._body, None
        if body is not None:
            body.close()

    def forget(self) -> None:
        """Publish nothing, report what is lost, and do not wait: for a file that was dropped."""
        if self._pid != os.getpid():
            return  # a forked child's copy
        self._drop_body()
        if self._upload is None or self._upload.ended:
            return
        self.closed = True
        self._upload.drop()
        lost = self.loc - self._start
        text = f"{self._upload.url} was never closed: its {lost} bytes are not published"
        unclosed.warn(f"{text}; write it in an async with block", self)

    def __del__(self) -> None:
        self.forget()

    def __hash__(self) -> int:
        # fsspec would ask S3 for the properties of what is not there yet.
        return super().__hash__() if self.mode == "rb" else id(self)
