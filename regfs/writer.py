"""FileWriter: the registry's chunked writer, resumable from what lies in S3 alone.

A writer keeps all it accepted in the parts of one pending multipart upload, numbered from 1 without gaps,
which is the form of the registry's own driver; so either continues what the other began.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fsspec.asyn import sync

from regfs.upload import MIN_PART, Upload

if TYPE_CHECKING:
    from types import TracebackType

    from regfs.filesystem import RegistryFileSystem


class FileWriter:
    """Writes one file in chunks (Go: ``storagedriver.FileWriter``).

    Made by :meth:`StorageDriver.writer`. Leaving a ``with`` block closes the writer; only :meth:`commit`
    publishes.

    Parameters
    ----------
    fs : RegistryFileSystem
        The filesystem.
    path : str
        The driver path.
    append : bool
        Continue what is there instead of starting anew.

    Raises
    ------
    FileNotFoundError
        `append`, and there is neither an upload nor a file.
    """

    def __init__(self, fs: RegistryFileSystem, path: str, *, append: bool = False) -> None:
        self._fs = fs
        self._path = path
        self._state = ""
        self._upload: Upload = sync(fs.loop, self._open, append)

    async def _open(self, append: bool) -> Upload:
        client, key = self._fs.client, self._fs.space.key(self._path)
        if not append:
            return Upload(client, key)
        pending = [upload async for upload in client.uploads(key) if upload.key == key]
        if not pending:
            return await self._fs.open_upload(self._path, "r+b")
        newest = max(pending, key=lambda upload: upload.started)
        parts = await client.parts(key, newest.id)
        if parts and parts[-1].size < MIN_PART:
            # Only the last part may be small, and the parts of an unfinished upload cannot be read; so, as
            # the Go driver does, it becomes an object that a new upload copies and goes on from.
            await client.complete_upload(key, newest.id, parts)
            return await self._fs.open_upload(self._path, "r+b")
        return Upload.resumed(client, key, newest.id, parts)

    @property
    def size(self) -> int:
        """Bytes accepted so far, those of the writers before it included."""
        return self._upload.size

    def write(self, data: Any) -> int:
        """Accept bytes; waits only while as many parts as may be are in flight.

        Returns
        -------
        int
            The bytes accepted: all of them.

        Raises
        ------
        ValueError
            The writer was closed, committed or cancelled.
        OSError
            A part failed. The writer is of no use any more; what an earlier ``close()`` kept is still there.
        """
        self._check()
        view = memoryview(data).cast("B")
        written = len(view)
        while view:
            view = view[self._upload.fill(view) :]
            if view:  # a full part leaves only when more is to come: the last one may be put whole
                sync(self._fs.loop, self._upload.send)
        return written

    def commit(self) -> None:
        """Publish the file, an empty one too.

        Raises
        ------
        ValueError
            The writer was closed, committed or cancelled.
        """
        self._check()
        sync(self._fs.loop, self._upload.commit)
        self._state = "committed"

    def cancel(self) -> None:
        """Remove the upload; the file that was there before stays.

        Raises
        ------
        ValueError
            The writer was closed, committed or cancelled.
        """
        self._check()
        self._state = "cancelled"
        sync(self._fs.loop, self._upload.abort)

    def close(self) -> None:
        """End the writer; without a commit, keep every byte accepted so far for ``append=True``.

        Raises
        ------
        ValueError
            The writer was closed before.
        """
        if self._state == "closed":
            raise ValueError(f"writer of {self._path}: already closed")
        state, self._state = self._state, "closed"
        if not state:
            sync(self._fs.loop, self._upload.suspend)

    def _check(self) -> None:
        if self._state:
            raise ValueError(f"writer of {self._path}: already {self._state}")

    def __enter__(self) -> FileWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._state != "closed":
            self.close()
