"""The body of a response to a GET: a stream that resumes where its connection breaks."""

from __future__ import annotations

import io
from collections.abc import Awaitable, Callable
from typing import Any

from regfs.s3.objects import ObjectInfo


class Buffer(io.BytesIO):
    """Memory that is filled in place and given away by ``getvalue()`` without a copy.

    Each view of it must be released by the code that makes the view, even where an exception passes: CPython
    before 3.12.2, and every 3.10, crashes where the garbage collector finds a view and its buffer in one
    cycle, such as that of an exception's traceback (https://github.com/python/cpython/issues/111049).
    """

    def close(self) -> None:
        """Do nothing: while a view is open it would fail, and Python 3.13 reports that of the collector."""


class Body:
    """The response to a GET, to be read as a stream and closed. Where it breaks, it goes on from there.

    Parameters
    ----------
    info : ObjectInfo
        Of the whole object, whatever the range.
    stream : object
        ``await stream.read(n)`` gives what has arrived, at most `n` bytes; ``await stream.into(view)`` fills
        a buffer and returns how far; ``stream.close()``.
    start, stop : int
        The range in bytes.
    again : callable
        ``await again(info, start, stop, error, breaks)`` gives a body of the rest after a failure, the
        `breaks`-th without a byte between; or raises.

    Attributes
    ----------
    info : ObjectInfo
    stop : int
        As given.
    """

    def __init__(
        self,
        info: ObjectInfo,
        stream: Any,
        start: int,
        stop: int,
        again: Callable[[ObjectInfo, int, int, Exception, int], Awaitable[Body]],
    ) -> None:
        self.info = info
        self.stop = stop
        self._stream = stream
        self._at = start
        self._again = again
        self._breaks = 0
        self._closed = False

    async def read(self, n: int) -> bytes:
        """Read exactly `n` bytes, or what is left of the range if that is less."""
        want = min(n, self.stop - self._at)
        piece = await self.some(want)
        if len(piece) == want:
            return piece
        # Nobody else has these bytes, so the file gives them away without a copy.
        whole = Buffer(bytes(want))
        with whole.getbuffer() as view, view[len(piece) :] as rest:
            view[: len(piece)] = piece
            await self.into(rest)
        return whole.getvalue()

    async def some(self, n: int) -> bytes:
        """Read what has arrived, at most `n` bytes; waits for a first one. Empty at the end of the range."""
        want = min(n, self.stop - self._at)
        while want > 0:
            try:
                piece: bytes = await self._stream.read(want)
            except Exception as exc:  # noqa: BLE001 - whoever goes on decides
                await self._go_on(exc)
                continue
            if piece:
                self._came(len(piece))
                return piece
            await self._go_on(ConnectionResetError("the answer ended early"))
        return b""

    async def into(self, view: memoryview) -> int:
        """Fill a buffer, less only at the end of the range, and return how far."""
        want = min(len(view), self.stop - self._at)
        at = 0
        while at < want:
            try:
                with view[at:want] as part:
                    count: int = await self._stream.into(part)
            except Exception as exc:  # noqa: BLE001 - whoever goes on decides
                await self._go_on(exc)
                continue
            if not count:
                await self._go_on(ConnectionResetError("the answer ended early"))
            else:
                self._came(count)
            at += count
        return at

    def _came(self, count: int) -> None:
        self._breaks = 0
        self._at += count

    async def _go_on(self, broken: Exception) -> None:
        self._stream.close()
        self._breaks += 1
        rest = await self._again(self.info, self._at, self.stop, broken, self._breaks)
        self._stream = rest._stream  # noqa: SLF001 - of this class
        if self._closed:  # meanwhile
            self._stream.close()

    def close(self) -> None:
        """Release the connection if the range was read to its end, else drop it."""
        self._closed = True
        if self._stream is not None:
            self._stream.close()


class CopyingStream:
    """The stream of botocore's answers, which knows no buffers.

    Parameters
    ----------
    stream : object
        ``await stream.read(n)`` and ``stream.close()``.
    """

    def __init__(self, stream: Any) -> None:
        self.read = stream.read
        self.close = stream.close

    async def into(self, view: memoryview) -> int:
        """Copy what has arrived into a buffer."""
        data = await self.read(len(view))
        view[: len(data)] = data
        return len(data)


class EmptyStream:
    """The stream of a range that holds nothing."""

    async def read(self, n: int) -> bytes:
        """Read nothing."""
        return b""

    async def into(self, view: memoryview) -> int:
        """Read nothing."""
        return 0

    def close(self) -> None:
        """Do nothing."""
