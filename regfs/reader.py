"""The binary stream of ``StorageDriver.reader``: one response, read as it arrives."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from regfs.waiting import sync

if TYPE_CHECKING:
    from regfs.answers import Body
    from regfs.filesystem import RegistryFileSystem


class BodyReader(io.RawIOBase):
    """A response as a raw stream.

    Parameters
    ----------
    fs : RegistryFileSystem
        Whose loop the response lives on.
    body : Body
        The response.
    """

    def __init__(self, fs: RegistryFileSystem, body: Body) -> None:
        super().__init__()
        self._fs = fs
        self._body = body

    def readable(self) -> bool:
        """Say yes."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer; less only at the end."""
        view = memoryview(buffer).cast("B")
        data = sync(self._fs.loop, self._body.read, len(view))
        view[: len(data)] = data
        return len(data)

    def close(self) -> None:
        """Give the connection back, or drop it if the stream was not read to its end."""
        if not self.closed:
            self._fs.call_soon(self._body.close)
        super().close()
