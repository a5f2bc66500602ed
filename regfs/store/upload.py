"""An object on its way into the bucket: a single put, or a multipart upload with several parts in flight.

Owns the part sizes, the buffer, and the promise that an object appears whole or not at all. Knows keys and
bytes, no paths; what a caller may do when is its caller's business (``file.py``, ``driver.py``).

The path of the data: the writer's bytes are copied once, by the writer's own thread, into the buffer of the
current part (:meth:`Upload.fill`); a full buffer becomes the body of a request as it is (:meth:`Upload.send`)
and a new one takes its place. So memory is at most the part size × (parts in flight + 1).
"""

from __future__ import annotations

import asyncio
import errno
import io
import os
from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any

from regfs.s3 import unfinished

if TYPE_CHECKING:
    from regfs.s3.client import S3Client
    from regfs.s3.objects import ObjectInfo, PartInfo

MIB = 2**20
MIN_PART = 5 * MIB
"""The smallest part, in bytes, of all but the last (S3 API, "Multipart upload limits")."""
MAX_PARTS = 10_000
MAX_OBJECT = 5 * 2**40
"""The largest object, in bytes."""
EQUAL_PARTS = 1_000
"""So many parts of a stream of unknown length are equal, 10 GiB with the default part size; from then on
they grow by the same step, so that 10,000 of them hold the largest object."""
IN_FLIGHT = 4
"""Parts of one upload that travel at once."""


def part_size(number: int, chunk: int, total: int | None = None) -> int:
    """Return the size of a part in bytes; never smaller than the part before.

    Parameters
    ----------
    number : int
        The part's number, from 1.
    chunk : int
        The ``chunksize`` asked for, in bytes.
    total : int, optional
        The object's size in bytes where it is known: then all parts are equal, the last one excepted, and
        larger than `chunk` only if 10,000 of them would not do.
    """
    if total is not None:
        return max(chunk, -(-total // MAX_PARTS))
    growing = MAX_PARTS - EQUAL_PARTS
    lacking = MAX_OBJECT - MAX_PARTS * chunk
    if number <= EQUAL_PARTS or lacking <= 0:
        return chunk
    step = -(-2 * lacking // (growing * (growing + 1)))
    return chunk + step * (number - EQUAL_PARTS)


def flat(data: Any) -> memoryview:
    """Return a view of the bytes of anything that a file accepts, as bytes (format "B").

    Raises
    ------
    TypeError, BufferError, ValueError
        What a local file raises: it is not bytes-like, or not contiguous.
    """
    try:
        return memoryview(data).cast("B")
    except (TypeError, ValueError):
        # Empty tables and numpy's times have bytes, but none that memoryview shows. PickleBuffer.raw() does,
        # and crashes the garbage collector of Python 3.11.
        copy = io.BytesIO()
        copy.write(data)
        return memoryview(copy.getvalue())


class Upload:
    """An object being written.

    Parameters
    ----------
    client : S3Client
        Sends the requests.
    key : str
        The object's key. Nothing changes there before :meth:`commit`.
    exclusive : bool
        Commit only if the key is still free then.
    total : int, optional
        The size to come in bytes, if known; see :func:`part_size`.
    like : ObjectInfo, optional
        Hands down content type and metadata.
    resumable : bool
        Whether a multipart upload that is neither committed nor aborted is to stay, to be continued.

    Attributes
    ----------
    size : int
        Bytes accepted so far.
    filled : int
        How many of them lie in the current part.
    ended : bool
        Whether the object was published or given up.
    stored : callable
        Called with the size in bytes of each part, or of an object that is put whole, once it is stored.
    """

    def __init__(
        self,
        client: S3Client,
        key: str,
        *,
        exclusive: bool = False,
        total: int | None = None,
        like: ObjectInfo | None = None,
        resumable: bool = False,
    ) -> None:
        self.size = 0
        self.filled = 0
        self.ended = False
        self.stored: Callable[[int], object] = lambda _: None
        self._client = client
        self._key = key
        self._exclusive = exclusive
        self._total = total
        self._like = like
        self._resumable = resumable
        self._process = os.getpid()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._id = ""
        self._parts: dict[int, PartInfo] = {}
        self._number = 1
        self._buffer = io.BytesIO()
        self._tasks: set[asyncio.Task[PartInfo]] = set()
        self._kept: PartInfo | None = None
        self._failure: BaseException | None = None

    @classmethod
    def resumed(
        cls,
        client: S3Client,
        key: str,
        upload: str,
        parts: Sequence[PartInfo],
        tail: bytes = b"",
        kept: PartInfo | None = None,
    ) -> Upload:
        """Continue a pending upload, which stays unless it is committed or aborted.

        Parameters
        ----------
        client : S3Client
            Sends the requests.
        key : str
            The object's key.
        upload : str
            The upload's id.
        parts : sequence of PartInfo
            Numbered from 1 without gaps, each at least 5 MiB.
        tail : bytes
            What follows them and will lie in the next part.
        kept : PartInfo, optional
            The part that holds `tail` already; it is uploaded again only if more comes to it.
        """
        self = cls(client, key, resumable=True)
        self._id = upload
        self._parts = {part.number: part for part in parts}
        self._number = len(parts) + 1
        self.size = sum(part.size for part in parts)
        self.fill(memoryview(tail))
        self._kept = kept
        return self

    @property
    def id(self) -> str:
        """The multipart upload's id; empty as long as there is none."""
        return self._id

    @property
    def own(self) -> bool:
        """Whether this process began it: in a forked child it is still the parent's."""
        return self._process == os.getpid()

    @property
    def url(self) -> str:
        """The URL of the object."""
        return self._client.space.url(self._client.space.path(self._key))

    @property
    def number(self) -> int:
        """The number of the current part."""
        return self._number

    @property
    def unsent(self) -> bytes:
        """The content of the current part so far."""
        return self._buffer.getvalue()

    @property
    def _capacity(self) -> int:
        return part_size(self._number, self._client.parameters.chunk_size, self._total)

    def fill(self, data: memoryview) -> int:
        """Copy what fits of `data` into the current part; no I/O.

        Parameters
        ----------
        data : memoryview
            Of bytes (format "B").

        Returns
        -------
        int
            The bytes taken. Less than given: the part is full, :meth:`send` it and go on.
        """
        taken = min(len(data), self._capacity - self.filled)
        if taken:
            self._buffer.write(data[:taken])
            self.filled += taken
            self.size += taken
        return taken

    def accept(self, data: Any, send: Callable[[], object]) -> int:
        """Copy all of `data` into parts, for blocking code.

        Parameters
        ----------
        data : bytes-like
            The bytes.
        send : callable
            Runs :meth:`send` to its end, or raises. A full part is sent only when more is to come: the last
            one may be put whole.

        Returns
        -------
        int
            The bytes of `data`.
        """
        with flat(data) as view:
            start = self.fill(view)
            while start < len(view):
                send()
                start += self._fill_from(view, start)
            return len(view)

    def _fill_from(self, view: memoryview, start: int) -> int:
        with view[start:] as rest:  # released, as an exception's traceback may hold this frame
            return self.fill(rest)

    async def write(self, data: bytes | memoryview) -> None:
        """Accept all of `data`, waiting while too many parts are in flight.

        Raises
        ------
        OSError
            This part or an earlier one failed, or the object is larger than S3 allows. The upload stays;
            it is the caller's to :meth:`abort`.
        """
        with flat(data) as view:
            start = self.fill(view)
            while start < len(view):
                await self.send()
                start += self._fill_from(view, start)

    async def send(self) -> None:
        """Send the current part, full or not, as soon as a request may start."""
        self._collect()
        if self._number > MAX_PARTS:
            text = f"the object exceeds what S3 stores in {MAX_PARTS} parts"
            raise OSError(errno.EFBIG, text, self.url)
        try:
            await self.begin()
            body, kept = self._take(), self._kept
            self._kept = None
            if kept is not None and kept.size == len(body):
                self._parts[kept.number] = kept
            else:
                await self._launch(self._client.upload_part(self._key, self._id, self._number, body))
            self._number += 1
        except BaseException as exc:
            self._failure = self._failure or exc  # these bytes are missing, see _collect
            raise

    async def copy(self, source: ObjectInfo, start: int, stop: int) -> None:
        """Append the bytes from `start` up to `stop` of an object, on the server as far as parts allow."""
        while start < stop:
            if self.filled == 0 and stop - start >= self._capacity:
                await self.begin()
                end = start + self._capacity
                await self._launch(
                    self._client.copy_part(self._key, self._id, self._number, source, start, end)
                )
                self._number += 1
                self.size += end - start
                start = end
            else:
                end = min(stop, start + self._capacity - self.filled)
                body = await self._client.open(source.key, start, end, source.etag)
                try:
                    await self.write(await body.read(end - start))
                finally:
                    body.close()
                start = end

    async def begin(self) -> None:
        """Create the multipart upload, if there is none yet."""
        self._loop = asyncio.get_running_loop()
        if not self._id:
            self._id = await self._client.create_upload(self._key, self._like)
            if self._resumable:
                unfinished.remove(self._id)

    async def settle(self) -> None:
        """Wait until no part is in flight."""
        while self._tasks:
            await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
            self._collect()
        self._collect()

    async def finish(self) -> None:
        """Bring everything accepted into S3 short of publishing it; a lone part stays in memory."""
        if self._id:
            if self.filled:
                await self.send()
            await self.settle()

    async def commit(self) -> None:
        """Publish the object: all of it appears at once.

        Raises
        ------
        FileExistsError
            `exclusive`, and the key is taken by now.
        """
        self._collect()
        if not self._id:
            body = self._take()
            try:
                await self._client.put(self._key, body, exclusive=self._exclusive)
            except BaseException:
                self._buffer.write(body)  # it may be tried again
                self.filled = len(body)
                raise
            self.ended = True
            self.stored(len(body))
            return
        await self.finish()
        parts = [self._parts[number] for number in sorted(self._parts)]
        if not parts:  # S3 takes no upload without parts, so an empty object is put instead
            await self._client.put(self._key, b"", exclusive=self._exclusive)
            await self.abort()
            return
        await self._client.complete_upload(self._key, self._id, parts, exclusive=self._exclusive)
        self._id = ""
        self.ended = True

    def drop(self) -> None:
        """Abort what was neither committed nor aborted, from any thread, and do not wait for it.

        The garbage collector may call this in the middle of anything, and after it has closed the buffer.
        In a forked child nothing happens: the upload is the parent's.
        """
        if self.ended or not self.own:
            return
        self.ended = True
        upload, self._id = self._id, ""
        unfinished.abort_soon(self._loop, upload, tuple(self._tasks))

    async def give_up(self) -> None:
        """Abort after a failure, which must not be hidden by another one here."""
        upload, self._id = self._id, ""
        await self.abort()
        if upload:
            await self._client.give_up(self._key, upload)

    async def abort(self) -> None:
        """Remove what is in S3 and forget the rest. No part may land after the abort, so they end first."""
        if self._tasks:  # not cancelled: that would not stop the service from storing them
            await asyncio.wait(self._tasks)
            for task in self._tasks:
                if not task.cancelled():
                    task.exception()  # asked for, or it would be a warning
        self._tasks.clear()
        self._buffer, self.filled = io.BytesIO(), 0
        self.ended = True
        upload, self._id = self._id, ""
        if upload:
            await self._client.abort_upload(self._key, upload)

    # -- inside ---------------------------------------------------------------------------------------

    def _take(self) -> bytes:
        body = self._buffer.getvalue()  # not a copy but the buffer itself, which nothing writes to any more
        self._buffer, self.filled = io.BytesIO(), 0
        return body

    async def _launch(self, request: Coroutine[Any, Any, PartInfo]) -> None:
        try:
            while len(self._tasks) >= IN_FLIGHT:
                await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
                self._collect()
        except BaseException:
            request.close()
            raise
        self._tasks.add(asyncio.create_task(self._carried(request)))

    async def _carried(self, request: Coroutine[Any, Any, PartInfo]) -> PartInfo:
        part = await request
        self.stored(part.size)
        return part

    def _collect(self) -> None:
        done = {task for task in self._tasks if task.done()}
        self._tasks -= done
        # All are asked before the first failure is raised: an exception nobody asked for is a warning.
        failed = [error for task in done if (error := task.exception())]
        for task in done:
            if not task.exception():
                part = task.result()
                self._parts[part.number] = part
        # For good: the failed part's bytes are gone from memory, so nothing may ever be published without it.
        self._failure = self._failure or next(iter(failed), None)
        if self._failure:
            raise self._failure
