"""FileWriter: the registry's chunked writer, resumable from what lies in S3 alone.

What is kept between two writers, and how a crash between any two requests is survived, is
:mod:`regfs.store.resume`'s to know; here stand the interface and its states.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Coroutine
from functools import partial
from typing import TYPE_CHECKING, Any

from regfs.filesystem.waiting import sync
from regfs.store import unclosed
from regfs.store.resume import ResumableUpload
from regfs.store.upload import flat

if TYPE_CHECKING:
    from types import TracebackType

    from regfs.filesystem.spec import RegistryFileSystem


class FileWriter:
    """Writes one file in chunks (Go: ``storagedriver.FileWriter``).

    Made by :meth:`StorageDriver.writer`. Leaving a ``with`` block closes the writer; only :meth:`commit`
    publishes.

    Parameters
    ----------
    fs : RegistryFileSystem
        The filesystem, whose loop serves the writer.
    path : str
        The driver path.
    append : bool
        Continue what is there instead of starting anew.

    Raises
    ------
    FileNotFoundError
        `append`, and there is neither an upload nor a file.
    """

    _state = "not opened"

    def __init__(self, fs: RegistryFileSystem, path: str, *, append: bool = False) -> None:
        self._fs = fs
        self._path = path
        self._written = 0
        self._failed = False
        self._pid = os.getpid()
        self._file: ResumableUpload = sync(
            fs.loop, ResumableUpload.open, fs.client, fs.space.key(path), append
        )
        self._state = ""
        unclosed.watch(self)

    @property
    def size(self) -> int:
        """Bytes accepted so far, those of the writers before it included."""
        return self._file.size

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
        with flat(data) as view:
            if view and not self._file.ready:
                self._run(self._file.prepare)
            written = self._file.upload.accept(view, partial(self._run, self._file.upload.send))
        self._written += written
        return written

    def commit(self) -> None:
        """Publish the file, an empty one too.

        Raises
        ------
        ValueError
            The writer was closed, committed or cancelled.
        """
        self._check()
        self._run(self._file.commit)
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
        self._run(self._file.cancel)

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
            self._run(self._file.suspend)

    def forget(self) -> None:
        """Report what a writer that was never closed loses, and do not wait.

        As after a crash, the parts that were sent stay in S3, for ``append=True``. What an exception has
        reported is not reported again.
        """
        if self._state or self._pid != os.getpid():
            return
        self._state = "dropped"
        self._file.upload.drop()
        lost = min(self._written, self._file.upload.filled)
        if lost and not self._failed:
            url = self._fs.space.url(self._path)
            text = (
                f"the writer of {url} was never closed: {lost} of the {self._written} bytes written are lost"
            )
            unclosed.warn(f"{text}; close() keeps them for append=True, commit() publishes them", self)

    def __del__(self) -> None:
        self.forget()

    def _run(self, step: Callable[[], Coroutine[Any, Any, None]]) -> None:
        try:
            sync(self._fs.loop, step)
        except BaseException:
            self._failed = True
            raise

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
