"""An object on its way out of the bucket: a large one by several ranges at once.

The response to the first range has size and version of the whole. While it is read, the
others follow on condition of that version, so that what arrives is one version, whole. Each range goes to its
own place in one buffer or file made for all, and goes on alone where its connection breaks.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
from collections.abc import Callable
from functools import partial
from typing import IO, TYPE_CHECKING, Protocol

from regfs.atomic import create_hidden
from regfs.errors import FileChangedError
from regfs.s3.body import Buffer
from regfs.store.transfer import gather

if TYPE_CHECKING:
    from regfs.s3.body import Body
    from regfs.s3.client import S3Client
    from regfs.store.verify import Verifier

RANGE = 16 * 2**20
"""Bytes of a range; what is not larger is read by one request."""
AT_ONCE = 8
"""Ranges of one object that travel at once."""
PIECE = 2**20
"""Bytes that are written to a file, or reported as progress, at once."""
TRIES = 3
"""How often a read begins anew because the object was replaced meanwhile."""


class Target(Protocol):
    """Where the bytes go."""

    async def begin(self, size: int) -> None:
        """Make room; called again where everything begins anew."""

    async def fill(self, at: int, body: Body, progress: Callable[[int], object]) -> None:
        """Write a body, to its end, at an offset; `progress` is called with the bytes of each piece."""


class Memory:
    """Bytes in memory, in no more of it than they take; used in a ``with`` block."""

    def __init__(self) -> None:
        self._file: Buffer | None = None
        self._view = memoryview(b"")
        self._data = b""

    def take(self, data: bytes) -> None:
        """Keep bytes that came in one piece as they are."""
        self._data = data

    async def begin(self, size: int) -> None:
        """Make room."""
        self._view.release()
        # Zeros that the system gives when they are touched, and nobody's but the file's, so none are copied.
        self._file = Buffer(bytes(size))
        self._view = self._file.getbuffer()

    async def fill(self, at: int, body: Body, progress: Callable[[int], object]) -> None:
        """Write a body at an offset."""
        while True:
            with self._view[at : at + PIECE] as part:
                count = await body.into(part)
            if not count:
                return
            at += count
            progress(count)

    def __enter__(self) -> Memory:
        return self

    def __exit__(self, *_: object) -> None:
        self._view.release()

    def result(self) -> bytes:
        """Return what was written, without a copy."""
        self._view.release()
        return self._data if self._file is None else self._file.getvalue()


class File:
    """A local file.

    Parameters
    ----------
    file : file object
        Binary, writable and seekable, with nothing in its own buffer.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    async def begin(self, size: int) -> None:
        """Make room."""
        await asyncio.to_thread(self._file.truncate, size)

    async def fill(self, at: int, body: Body, progress: Callable[[int], object]) -> None:
        """Write a body at an offset: one buffer is written while the other is filled."""
        buffers = [memoryview(bytearray(PIECE)) for _ in range(2)]
        writing: asyncio.Future[None] | None = None
        try:
            while count := await body.into(buffers[0]):
                if writing:
                    await writing
                writing = asyncio.ensure_future(asyncio.to_thread(self._put, at, buffers[0][:count]))
                at += count
                progress(count)
                buffers.reverse()
        finally:
            if writing:
                await writing

    def _put(self, at: int, data: memoryview) -> None:
        while data:
            count = os.pwrite(self._file.fileno(), data, at)
            at, data = at + count, data[count:]


async def download(
    client: S3Client,
    key: str,
    target: Target,
    start: int = 0,
    stop: int | None = None,
    *,
    size: Callable[[int], object] = lambda _: None,
    progress: Callable[[int], object] = lambda _: None,
) -> None:
    """Read an object, or its bytes from `start` up to `stop`.

    Parameters
    ----------
    client : S3Client
        Sends the requests: one GET for each ``RANGE`` bytes.
    key : str
        The object's key.
    target : Target
        Gets the bytes, the first of them at 0.
    start, stop : int
        In bytes; past the end is empty.
    size : callable
        Called with the number of bytes to come.
    progress : callable
        Called with the number of bytes since; negative where some have to come again.

    Raises
    ------
    FileChangedError
        The object was replaced while it was read, several times over.
    """
    for left in reversed(range(TRIES)):
        this = _Download(client, key, target, start, stop, size, progress)
        try:
            await this.run()
        except FileChangedError:
            progress(-this.done)
            if not left:
                raise
        else:
            return


class _Download:
    """A try."""

    def __init__(
        self,
        client: S3Client,
        key: str,
        target: Target,
        start: int,
        stop: int | None,
        size: Callable[[int], object],
        progress: Callable[[int], object],
    ) -> None:
        self.done = 0
        self._client = client
        self._key = key
        self._target = target
        self._start = start
        self._stop = stop
        self._size = size
        self._progress = progress
        self._etag: str | None = None
        self._rest: asyncio.Task[list[None]] | None = None

    async def run(self) -> None:
        first = self._start + RANGE
        try:
            stop = first if self._stop is None else min(first, self._stop)
            await self._client.fetch(self._key, self._first, self._start, stop)
            if self._rest:
                await self._rest
        finally:
            await self._end()

    async def _first(self, body: Body) -> None:
        """Read the first range, and begin with the others."""
        self._etag = body.info.etag
        stop = body.info.size if self._stop is None else min(self._stop, body.info.size)
        total = max(0, stop - self._start)
        self._size(total)
        if total <= RANGE and isinstance(self._target, Memory):
            self._target.take(await body.read(total))
            return
        try:
            await self._target.begin(total)
        except MemoryError as exc:
            space = self._client.space
            text = f"its {total} bytes do not fit into memory; read it in parts, or into a file"
            raise OSError(errno.ENOMEM, text, space.url(space.path(self._key))) from exc
        calls = [
            partial(self._range, at, min(at + RANGE, stop)) for at in range(self._start + RANGE, stop, RANGE)
        ]
        if calls:
            self._rest = asyncio.create_task(gather(calls, AT_ONCE - 1))
        await self._pour(0, body)

    async def _end(self) -> None:
        """Cancel the remaining ranges, and wait for them."""
        rest, self._rest = self._rest, None
        if rest:
            rest.cancel()
            await asyncio.wait([rest])
            if not rest.cancelled():
                rest.exception()  # asked for, or it would be a warning

    async def _range(self, start: int, stop: int) -> None:
        use = partial(self._pour, start - self._start)
        await self._client.fetch(self._key, use, start, stop, self._etag)

    async def _pour(self, at: int, body: Body) -> None:
        await self._target.fill(at, body, self._came)

    def _came(self, count: int) -> None:
        self.done += count
        self._progress(count)


async def save(
    client: S3Client,
    key: str,
    target: str,
    check: Callable[[int], Verifier] | None = None,
    *,
    size: Callable[[int], object] = lambda _: None,
    progress: Callable[[int], object] = lambda _: None,
) -> None:
    """Write a local file that appears whole or not at all.

    Parameters
    ----------
    client : S3Client
        Sends the requests.
    key : str
        The object's key.
    target : str
        The file.
    check : callable, optional
        Returns the verifier of so many bytes; what it refuses does not appear.
    size, progress : callable
        As for :func:`download`.
    """
    hidden, descriptor = create_hidden(target)  # in a thread, an interrupt could leave the file behind
    try:
        with os.fdopen(descriptor, "w+b", buffering=0) as file:
            await download(client, key, File(file), size=size, progress=progress)
            if check:
                await asyncio.to_thread(_check, file, check)
        await asyncio.to_thread(os.replace, hidden, target)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):  # it was renamed just before an interrupt
            os.unlink(hidden)
        raise


def _check(file: IO[bytes], check: Callable[[int], Verifier]) -> None:
    verifier = check(file.seek(0, os.SEEK_END))
    file.seek(0)
    verifier.feed(0, b"")
    while data := file.read(PIECE):
        verifier.feed(verifier.at, data)


async def pour(
    client: S3Client,
    key: str,
    file: IO[bytes],
    check: Callable[[int], Verifier] | None = None,
    *,
    size: Callable[[int], object] = lambda _: None,
    progress: Callable[[int], object] = lambda _: None,
) -> None:
    """Write to an open file, which may be a pipe: in order. The parameters are those of :func:`save`."""
    body = await client.open(key)
    try:
        size(body.info.size)
        verifier = check(body.info.size) if check else None
        if verifier:
            verifier.feed(0, b"")
        while data := await body.read(PIECE):
            if verifier:
                verifier.feed(verifier.at, data)
            await asyncio.to_thread(file.write, data)
            progress(len(data))
    finally:
        body.close()
