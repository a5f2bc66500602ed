"""The file objects of the filesystem face.

A file opened for writing is published by ``close()`` - whole, or, when an exception leaves its ``with``
block, not at all. Nothing is published by the garbage collector.
"""

from __future__ import annotations

import codecs
import io
import os
from typing import TYPE_CHECKING, Any

from fsspec.spec import AbstractBufferedFile

from regfs.stream import FIRST_BLOCK, StreamCache
from regfs.upload import Upload
from regfs.verify import Verifier, promised
from regfs.waiting import sync

if TYPE_CHECKING:
    from types import TracebackType

    from regfs.filesystem import RegistryFileSystem
    from regfs.s3.answers import Body


class RegistryFile(AbstractBufferedFile):
    """A file of a :class:`~regfs.RegistryFileSystem`, binary.

    Parameters
    ----------
    fs : RegistryFileSystem
        The filesystem.
    path : str
        The driver path.
    mode : str
        "rb"; "wb"; "xb", which fails if the file exists; "ab", which continues it.
    block_size : int, optional
        Of the fsspec cache named by `cache_type`, in bytes. Parts of uploads have ``chunksize`` always.
    cache_type : str, optional
        One of fsspec's caches instead of regfs' own streaming.
    size : int, optional
        In bytes, where the caller knows it.
    verify : bool
        Compare the content of a registry's blob with the digest that its path promises, at its end.
    """

    closed: bool

    def __init__(
        self,
        fs: RegistryFileSystem,
        path: str,
        mode: str = "rb",
        block_size: int | None = None,
        *,
        autocommit: bool = True,
        cache_type: str | None = None,
        cache_options: dict[str, Any] | None = None,
        size: int | None = None,
        verify: bool = False,
        **kwargs: Any,
    ) -> None:
        if verify:
            promised(path)
        self._pid = os.getpid()
        self._key = fs.space.key(path)
        self._head = b""
        self._etag: str | None = None
        self._upload: Upload | None = None
        self._dropped = False
        self._verifier: Verifier | None = None
        if cache_type == StreamCache.name:
            cache_type = None  # as a pickled file asks for it
        if mode == "rb":
            body: Body = sync(fs.loop, fs.open_body, path, 0, FIRST_BLOCK)
            try:
                size, self._etag = body.info.size, body.info.etag or None
                self._head = sync(fs.loop, body.read, FIRST_BLOCK)
            finally:
                fs.call_soon(body.close)
            self._details = fs.describe(body.info)
        super().__init__(
            fs,
            path,
            mode,
            block_size or "default",
            autocommit=autocommit,
            cache_type=cache_type or "none",
            cache_options=cache_options,
            size=size,
            **kwargs,
        )
        if mode == "rb":
            if verify:
                self._verifier = Verifier(fs.space, path, self.size)
            if cache_type is None:
                self.cache = StreamCache(
                    self.size, self._head, self._open_body, self._read_body, self._drop_body
                )
        else:
            self.buffer = None
            self._upload = sync(fs.loop, fs.open_upload, path, mode)
            self.loc = self._upload.size

    # -- reading --------------------------------------------------------------------------------------

    def _open_body(self, start: int, stop: int) -> Body:
        body: Body = sync(self.fs.loop, self.fs.client.open, self._key, start, stop, self._etag)
        return body

    def _read_body(self, body: Body, n: int) -> bytes:
        data: bytes = sync(self.fs.loop, body.read, n)
        return data

    def _drop_body(self, body: Body) -> None:
        self.fs.call_soon(body.close)

    def _fetch_range(self, start: int, end: int) -> bytes:
        """Serve fsspec's own caches, from the version that was opened."""
        end = min(end, self.size)
        if start >= end:
            return b""
        if end <= len(self._head):
            return self._head[start:end]
        body = self._open_body(start, end)
        try:
            return self._read_body(body, end - start)
        finally:
            self._drop_body(body)

    def read(self, length: int | None = -1) -> bytes:
        """Read so many bytes, less only at the end; all that is left by default.

        Raises
        ------
        DigestMismatchError
            With ``verify=True``: the content, which ends here, is not what the path promises.
        """
        if self._verifier:
            self._verifier.catch_up(self.loc, self.cache._fetch)  # noqa: SLF001 - as fsspec's files call it
        data: bytes = super().read(-1 if length is None else length)
        if self._verifier:
            self._verifier.feed(self.loc - len(data), data)
        return data

    def readuntil(self, char: bytes = b"\n", blocks: int | None = None) -> bytes:
        """Read up to and including `char`; fsspec would copy a whole block for each line."""
        line: bytes = super().readuntil(char, blocks or 8192)
        return line

    # -- writing --------------------------------------------------------------------------------------

    def write(self, data: Any) -> int:
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
        if self._dropped:
            return memoryview(data).nbytes
        if self._upload is None:
            raise io.UnsupportedOperation("not writable") if not self.closed else ValueError("file is closed")
        if self.closed:
            raise ValueError("I/O operation on closed file.")
        view = memoryview(data).cast("B")
        written = len(view)
        while view:
            view = view[self._upload.fill(view) :]
            if view:  # a full part leaves only when more is to come: the last one may be put whole
                self._guard(self._upload.send)
        self.loc += written
        return written

    def flush(self, force: bool = False) -> None:
        """Do nothing: an object cannot be published in part."""

    def close(self) -> None:
        """Publish what was written, unless a transaction holds it back, and end the file.

        Raises
        ------
        OSError
            It could not be published; the old object is still there, and no upload is left behind.
        """
        if self.closed:
            return
        if self._upload is None:
            super().close()
            return
        try:
            if not self._dropped:
                self._guard(self._upload.commit if self.autocommit else self._upload.finish)
        finally:
            self.closed = True

    def commit(self) -> None:
        """Publish a file that a transaction held back."""
        if self._upload is not None and not self._dropped:
            self._guard(self._upload.commit)

    def discard(self) -> None:
        """Publish nothing, remove the upload; later writes and ``close()`` have no effect."""
        if self._upload is not None and not self._dropped:
            self._dropped = True
            sync(self.fs.loop, self._upload.abort)

    def _guard(self, step: Any) -> None:
        """Run a step of the upload; if it fails, leave nothing behind."""
        try:
            sync(self.fs.loop, step)
        except BaseException:
            self._drop()
            raise

    def _drop(self) -> None:
        """Discard because of a failure, which must not be hidden by another one here."""
        if self._upload is not None and not self._dropped:
            self._dropped = True
            sync(self.fs.loop, self._upload.give_up)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self._drop()
        self.close()

    def forget(self) -> None:
        """Publish nothing and do not wait: for a file that was never closed."""
        if getattr(self, "_pid", None) != os.getpid():
            return  # a forked child's copy; the upload and the response are the parent's
        upload = getattr(self, "_upload", None)
        if upload is not None and not self.closed and not self._dropped:
            self._dropped = True
            self.fs.spawn(upload.abort)  # not sync(): the collector may run on the loop's own thread
        cache = getattr(self, "cache", None)
        if isinstance(cache, StreamCache):
            cache.close()

    def __del__(self) -> None:
        self.forget()


class Held:
    """A whole object that a transaction holds back; fsspec calls one of the two methods.

    Parameters
    ----------
    fs : RegistryFileSystem
        Whose loop it is to be published on.
    upload : Upload
        Finished but not committed.
    """

    def __init__(self, fs: RegistryFileSystem, upload: Upload) -> None:
        self._fs = fs
        self._upload = upload

    def commit(self) -> None:
        """Publish it."""
        sync(self._fs.loop, self._upload.commit)

    def discard(self) -> None:
        """Remove it."""
        sync(self._fs.loop, self._upload.abort)


class _Whole:
    """What a wrapper around a file opened for writing adds: the fate of the wrapper is the file's.

    Without it a text file or a compressor would publish what an exception had left half-written, as
    Python's own wrappers close what they wrap without telling why.
    """

    _file: RegistryFile

    def close(self) -> None:
        """Publish what was written."""
        try:
            super().close()  # type: ignore[misc]  # of the io class it is mixed into
        except BaseException:
            self._file.discard()
            raise
        finally:
            self._file.close()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self._file.discard()
        self.close()

    def __del__(self) -> None:
        if hasattr(self, "_file"):
            self._file.forget()


class WholeText(_Whole, io.TextIOWrapper):
    """Text over a file opened for writing."""

    def __init__(self, buffer: Any, file: RegistryFile, **kwargs: Any) -> None:
        super().__init__(buffer, **kwargs)
        self._file = file
        if file.loc == 0 and codecs.lookup(self.encoding).name in ("utf-16", "utf-32"):
            self.write("\ufeff")  # the byte order mark, which Python leaves out where it cannot seek


class WholeBinary(_Whole, io.BufferedWriter):
    """A compressor over a file opened for writing; closing it closes both."""

    def __init__(self, compressor: Any, file: RegistryFile) -> None:
        super().__init__(compressor)
        self._file = file
