"""The file objects of the filesystem face.

They keep the contract of the module ``io``, except that a file which is being written cannot seek. It is
published by ``close()`` - whole, or, when an exception leaves its ``with`` block, not at all. Nothing is
published by the garbage collector: what is lost then is reported (:mod:`regfs.store.unclosed`).
"""

from __future__ import annotations

import codecs
import contextlib
import errno
import functools
import io
import operator
import os
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

from fsspec.spec import AbstractBufferedFile

from regfs.errors import InvalidSeekError
from regfs.filesystem.info import file_info
from regfs.filesystem.stream import FIRST_BLOCK, WINDOW, StreamCache
from regfs.filesystem.waiting import call_soon, sync
from regfs.store import unclosed
from regfs.store.upload import Upload, flat
from regfs.store.verify import Verifier

if TYPE_CHECKING:
    from types import TracebackType

    from fsspec.asyn import AsyncFileSystem

    from regfs.s3.body import Body
    from regfs.store.store import Store


Method = TypeVar("Method", bound=Callable[..., Any])

_LINES = 8192
"""Bytes that are read at once in search of the end of a line."""


def _locked(method: Method) -> Method:
    """Return a method that one thread at a time runs on a file, as on Python's own buffered files."""

    @functools.wraps(method)
    def call(self: RegistryFile, *args: Any, **kwargs: Any) -> Any:
        with self._lock:
            return method(self, *args, **kwargs)

    return call  # type: ignore[return-value]  # with the method's own signature


class RegistryFile(AbstractBufferedFile, io.BufferedIOBase):
    """A file of a :class:`~regfs.RegistryFileSystem`, binary.

    Parameters
    ----------
    fs : AsyncFileSystem
        The filesystem, whose loop serves the file.
    store : Store
        The bucket.
    path : str
        The driver path.
    mode : str
        "rb", "wb", "xb" or "ab".
    opened : Body or Upload
        The response to the first ``FIRST_BLOCK`` bytes, which is read and closed here; or the upload.
    block_size : int, optional
        Of the fsspec cache named by `cache_type`, in bytes. Parts of uploads have ``chunksize`` always.
    cache_type : str, optional
        One of fsspec's caches instead of regfs' own streaming.
    verifier : Verifier, optional
        Compares the content with the digest that the path promises, at its end.
    """

    closed: bool
    _pid = 0  # where opening fails, there is nothing to be forgotten
    _upload: Upload | None = None

    def __init__(
        self,
        fs: AsyncFileSystem,
        store: Store,
        path: str,
        mode: str,
        opened: Body | Upload,
        block_size: int | None = None,
        *,
        autocommit: bool = True,
        cache_type: str | None = None,
        cache_options: dict[str, Any] | None = None,
        verifier: Verifier | None = None,
        **kwargs: Any,
    ) -> None:
        self._pid = os.getpid()
        self._lock = threading.RLock()
        self._store = store
        self._head = b""
        self._etag = ""
        self._dropped = False
        self._start = 0
        self._outer: weakref.ref[_Whole] | None = None
        self._verifier = verifier
        if cache_type == StreamCache.name:
            cache_type = None  # as a pickled file asks for it
        size = None
        if not isinstance(opened, Upload):
            size, self._etag = opened.info.size, opened.info.etag
            self._head = _read_head(fs, opened)
            self._details = file_info(path, opened.info)
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
        if isinstance(opened, Upload):
            self.buffer = None
            self._upload = opened
            self.loc = self._start = opened.size
            unclosed.watch(self)
        elif cache_type is None:
            self.cache = StreamCache(self.size, self._head, self._open_body, self._read_body, self._drop_body)

    # -- reading --------------------------------------------------------------------------------------

    def _open_body(self, start: int, stop: int) -> Body:
        body: Body = sync(self.fs.loop, self._store.open_body, self.path, start, stop, self._etag)
        return body

    def _read_body(self, body: Body, n: int) -> bytes:
        data: bytes = sync(self.fs.loop, body.read, n)
        return data

    def _drop_body(self, body: Body) -> None:
        call_soon(self.fs.loop, body.close)

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

    @_locked
    def read(self, length: int | None = -1) -> bytes:
        """Read so many bytes, less only at the end; all that is left by default.

        Raises
        ------
        DigestMismatchError
            With ``verify=True``: the content, which ends here, is not what the path promises.
        """
        self._check_readable()
        length = -1 if length is None else operator.index(length)
        # Any negative number means all, as elsewhere in fsspec, whose read_block() relies on it.
        stop = self.size if length < 0 else min(self.loc + length, self.size)
        if self._verifier:
            self._verifier.catch_up(self.loc, self.cache._fetch)  # noqa: SLF001 - as fsspec's files call it
        data: bytes = b""
        if self.loc < stop:
            data = self.cache._fetch(self.loc, stop)  # noqa: SLF001 - as above
        self.loc += len(data)
        if self._verifier:
            self._verifier.feed(self.loc - len(data), data)
        return data

    def read1(self, length: int | None = -1) -> bytes:
        """Read at most so many bytes; by default what a response gives at once."""
        return self.read(WINDOW if length is None or length < 0 else length)

    @_locked
    def peek(self, length: int = 0) -> bytes:
        """Read some bytes, none only at the end, and stay where they begin."""
        self._check_readable()
        stop = min(self.loc + max(length, _LINES), self.size)
        data: bytes = b""
        if self.loc < stop:
            data = self.cache._fetch(self.loc, stop)  # noqa: SLF001 - as in read()
        return data

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer; less only at the end."""
        view = memoryview(buffer)
        if view.readonly:
            raise TypeError(f"a read-write bytes-like object is required, not {type(buffer).__name__!r}")
        data = self.read(view.nbytes)
        if data:
            view.cast("B")[: len(data)] = data
        return len(data)

    readinto1 = readinto

    @_locked
    def readuntil(self, char: bytes = b"\n", blocks: int | None = None) -> bytes:
        """Read up to and including `char`; fsspec would copy a whole block for each line."""
        line: bytes = super().readuntil(char, blocks or _LINES)
        return line

    @_locked
    def readline(self, size: int | None = -1) -> bytes:
        """Read a line with its end, or at most `size` bytes of it."""
        left = -1 if size is None else operator.index(size)
        if left < 0:
            return self.readuntil()
        self._check_readable()
        pieces = []
        while left > 0:
            start = self.loc
            piece = self.read(min(left, _LINES))
            if end := piece.find(b"\n") + 1:
                piece, self.loc = piece[:end], start + end
            pieces.append(piece)
            left = 0 if end or not piece else left - len(piece)
        return b"".join(pieces)

    def readlines(self, hint: int | None = -1) -> list[bytes]:
        """Read all lines, or as many as reach `hint` bytes together."""
        hint = -1 if hint is None else operator.index(hint)
        if hint > 0:
            return io.IOBase.readlines(self, hint)
        return io.BytesIO(self.read()).readlines()

    def __iter__(self) -> Iterator[bytes]:
        self._check_open()
        return self

    # -- where it is ----------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """The URL."""
        return self._store.url(self.path)

    def readable(self) -> bool:
        """Return whether it was opened for reading."""
        return self._upload is None and self.seekable()

    def writable(self) -> bool:
        """Return whether it was opened for writing."""
        return self._upload is not None and not self.seekable()

    def seekable(self) -> bool:
        """Return whether it can seek: where it is read."""
        self._check_open()
        return self._upload is None

    @_locked
    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Change the position in a file that is read; past the end there is nothing to read.

        Raises
        ------
        io.UnsupportedOperation
            It is being written.
        InvalidSeekError
            The place lies before the beginning.
        """
        self._check_open()
        if self._upload is not None:
            raise io.UnsupportedOperation(f"{self.name}: a file that is being written cannot seek")
        if whence not in (os.SEEK_SET, os.SEEK_CUR, os.SEEK_END):
            raise ValueError(f"whence {whence}: must be 0, 1 or 2")
        place: int = operator.index(offset) + (0, self.loc, self.size)[whence]
        if place < 0:
            text = f"cannot seek to {place}, before the beginning"
            raise InvalidSeekError(errno.EINVAL, text, self.name)
        self.loc = place
        return place

    def tell(self) -> int:
        """Return where it is, in bytes from the beginning."""
        self._check_open()
        place: int = self.loc
        return place

    def truncate(self, size: int | None = None) -> int:
        """Raise ``io.UnsupportedOperation``: an object cannot be cut, and what was written is on its way."""
        self._check_open()
        raise io.UnsupportedOperation(f"{self.name}: an object cannot be cut; write it anew")

    def _check_open(self) -> None:
        if self.closed:
            raise ValueError(f"{self.name}: I/O operation on closed file")

    def _check_readable(self) -> None:
        if self._upload is not None:
            raise io.UnsupportedOperation(f"{self.name}: not open for reading")
        self._check_open()

    # -- writing --------------------------------------------------------------------------------------

    @_locked
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
        if self._upload is None:
            raise io.UnsupportedOperation(f"{self.name}: not open for writing")
        if self._dropped:
            with flat(data) as view:
                written = len(view)
        else:
            self._check_open()
            written = self._upload.accept(data, functools.partial(self._guard, self._upload.send))
        self.loc += written
        return written

    def flush(self, force: bool = False) -> None:
        """Do nothing: an object cannot be published in part."""
        if not self._dropped:
            self._check_open()

    @_locked
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

    @_locked
    def commit(self) -> None:
        """Publish a file that a transaction held back; where it is still open, close it first."""
        (self._wrapper or self).close()
        if self._upload is not None and not self._dropped:
            self._guard(self._upload.commit)

    @property
    def _wrapper(self) -> _Whole | None:
        return self._outer() if self._outer else None

    def wrapped(self, outer: _Whole | None) -> None:
        """Set the outermost of the wrappers that are closed and discarded with this file; None for none."""
        self._outer = weakref.ref(outer) if outer else None

    @_locked
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

    def __enter__(self) -> RegistryFile:
        self._check_open()
        return self

    def forget(self, outer: _Whole | None = None) -> None:
        """Publish nothing, report what is lost, and do not wait: for a file that was dropped.

        Parameters
        ----------
        outer : _Whole, optional
            The wrapper that was dropped with it, which may hold more.
        """
        if self._pid != os.getpid():
            return  # a forked child's copy; the upload and the response are the parent's
        cache = getattr(self, "cache", None)
        if isinstance(cache, StreamCache):
            cache.close()
        if self._upload is None or self._upload.ended:
            return
        self._dropped = True
        self._upload.drop()  # not sync(): the collector may run on the loop's own thread
        lost = self.loc - self._start
        if outer := outer or self._wrapper:
            with contextlib.suppress(Exception):  # what the collector has closed holds nothing any more
                outer.flush()  # type: ignore[attr-defined]  # of the io class that it is mixed into
            lost = self.loc - self._start if outer.accepted is None else outer.accepted
        why = "was held back by a transaction that never ended" if self.closed else "was never closed"
        text = f"{self.name} {why}: its {lost} bytes are not published"
        unclosed.warn(f"{text}; close it, or write it in a with block or a transaction", outer or self)

    def __del__(self) -> None:
        self.forget()

    def __hash__(self) -> int:
        # fsspec would ask S3 for the properties of what is not there yet.
        return super().__hash__() if self.mode == "rb" else id(self)


def _read_head(fs: AsyncFileSystem, body: Body) -> bytes:
    try:
        head: bytes = sync(fs.loop, body.read, FIRST_BLOCK)
        return head
    finally:
        call_soon(fs.loop, body.close)


class Held:
    """A whole object that a transaction holds back; fsspec calls one of the two methods.

    Parameters
    ----------
    fs : AsyncFileSystem
        The filesystem, on whose loop it is published.
    upload : Upload
        Finished but not committed.
    """

    def __init__(self, fs: AsyncFileSystem, upload: Upload) -> None:
        self._fs = fs
        self._upload = upload
        unclosed.watch(self)

    def commit(self) -> None:
        """Publish it."""
        try:
            sync(self._fs.loop, self._upload.commit)
        except BaseException:
            sync(self._fs.loop, self._upload.give_up)
            raise

    def discard(self) -> None:
        """Remove it."""
        sync(self._fs.loop, self._upload.abort)

    def forget(self) -> None:
        """Publish nothing, report what is lost, and do not wait."""
        upload = self._upload
        if not upload.ended and upload.own:
            upload.drop()
            text = f"{upload.url} was held back by a transaction that never ended"
            unclosed.warn(f"{text}: its {upload.size} bytes are not published; end the transaction", self)

    def __del__(self) -> None:
        self.forget()


class _Whole:
    """A wrapper around a file opened for writing, published and discarded with it.

    Without it a text file or a compressor would publish what an exception had left half-written, as
    Python's own wrappers close what they wrap without saying why.

    Attributes
    ----------
    accepted : int, optional
        Bytes that it has taken, before they are compressed; None where the file counts them.
    """

    accepted: int | None = None
    _file: RegistryFile | None = None

    def _wrap(self, file: RegistryFile) -> None:
        self._file = file
        file.wrapped(self)

    def close(self) -> None:
        """Publish what was written."""
        file = self._file
        try:
            super().close()  # type: ignore[misc]  # of the io class it is mixed into
        except BaseException:
            if file is not None:
                file.discard()
            raise
        finally:
            if file is not None:
                file.close()

    def detach(self) -> Any:
        """Return what was wrapped, whose fate is its own from now on."""
        inner = super().detach()  # type: ignore[misc]  # as above
        if self._file is not None:
            self._file.wrapped(inner if isinstance(inner, _Whole) else None)
        self._file = None
        return inner

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None and self._file is not None:
            self._file.discard()
        self.close()

    def __del__(self) -> None:
        if self._file is not None:
            self._file.forget(self)


class WholeText(_Whole, io.TextIOWrapper):
    """Text over a file opened for writing."""

    def __init__(self, buffer: Any, file: RegistryFile, mode: str, **kwargs: Any) -> None:
        super().__init__(buffer, **kwargs)
        self.mode = mode  # type: ignore[misc]  # as the builtin open() does
        self._wrap(file)
        if file.loc == 0 and codecs.lookup(self.encoding).name in ("utf-16", "utf-32"):
            self.write("\ufeff")  # the byte order mark, which Python leaves out where it cannot seek

    @property
    def accepted(self) -> int | None:  # type: ignore[override]  # counted by the compressor, if there is one
        """Those of the compressor, if there is one."""
        return self.buffer.accepted if isinstance(self.buffer, _Whole) else None


class WholeBinary(_Whole, io.BufferedWriter):
    """A compressor over a file opened for writing; closing it closes both."""

    accepted: int

    def __init__(self, compressor: Any, file: RegistryFile) -> None:
        super().__init__(compressor)
        self.accepted = 0
        self._wrap(file)

    def write(self, data: Any) -> int:
        """Accept bytes."""
        count = super().write(data)
        self.accepted += count
        return count
