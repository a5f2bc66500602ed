"""The binary stream of ``StorageDriver.reader``: one response, read as it arrives."""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING, Any

from regfs.filesystem.waiting import call_soon, sync
from regfs.store.verify import Verifier, promised

if TYPE_CHECKING:
    from fsspec.asyn import AsyncFileSystem

    from regfs.s3.body import Body
    from regfs.store.store import Store


async def open_body(store: Store, path: str, offset: int, *, verify: bool) -> tuple[Body, Verifier | None]:
    """Open a file from an offset on, and return its body and verifier.

    Raises
    ------
    ValueError
        `verify`, and the path promises no digest or `offset` is not 0.
    """
    if verify:
        promised(path)
        if offset:
            raise ValueError(f"offset {offset}: only a whole blob can be verified")
    body = await store.open_body(path, offset)
    return body, Verifier(store.space, path, body.info.size) if verify else None


class BodyReader(io.RawIOBase):
    """A response as a raw stream.

    Parameters
    ----------
    fs : AsyncFileSystem
        The filesystem on whose loop the response lives.
    body : Body
        The response.
    name : str
        The file's URL.
    verifier : Verifier, optional
        Compares what is read with what the path promises.
    """

    mode = "rb"

    def __init__(self, fs: AsyncFileSystem, body: Body, name: str, verifier: Verifier | None = None) -> None:
        super().__init__()
        self.name = name
        self._pid = os.getpid()
        self._verifier = verifier
        self._fs = fs
        self._body = body

    def readable(self) -> bool:
        """Return True."""
        self._check_open()
        return True

    def seekable(self) -> bool:
        """Return False."""
        self._check_open()
        return False

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer; less only at the end."""
        self._check_open()
        with memoryview(buffer).cast("B") as view:
            count: int = sync(self._fs.loop, self._body.into, view)
            if self._verifier:
                self._verifier.feed(self._verifier.at, view[:count])
        return count

    def close(self) -> None:
        """Release the connection, or drop it if the stream was not read to its end."""
        if not self.closed and self._pid == os.getpid():  # in a forked child it is the parent's
            call_soon(self._fs.loop, self._body.close)
        super().close()

    def _check_open(self) -> None:
        if self.closed:
            raise ValueError(f"{self.name}: I/O operation on closed file")
