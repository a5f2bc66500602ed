"""Work on several keys or several parts of one key at once: server-side copies and deletions."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from regfs.errors import ThrottledError
from regfs.s3.client import PAGE
from regfs.s3.failures import THROTTLING
from regfs.store.upload import MAX_PARTS

if TYPE_CHECKING:
    from regfs.s3.client import S3Client
    from regfs.s3.objects import ObjectInfo, PartInfo

T = TypeVar("T")

AT_ONCE = 64
"""Requests at once where neither the caller nor a parameter says otherwise."""
DELETIONS = 8
"""DeleteObjects requests at once; services count each key of them against their limits, and may slow down."""
NAMED = 5
"""Keys that an error about many names; the rest is counted."""
_WIDTH = 200
"""Characters of each."""


async def gather(calls: Sequence[Callable[[], Awaitable[T]]], limit: int | None = None) -> list[T]:
    """Run calls at most `limit` at once and give their results in order.

    Raises
    ------
    Exception
        The first failure, after the calls under way have ended: cancelling a request does not stop the
        service from carrying it out, and what is done next may rely on its being over.
    """
    results: dict[int, T] = {}
    queue = iter(enumerate(calls))
    failures: list[Exception] = []

    async def worker() -> None:
        for index, call in queue:
            try:
                results[index] = await call()
            except Exception as exc:  # noqa: BLE001 - raised below, once the others have ended
                failures.append(exc)
            if failures:
                return

    count = min(limit if limit and limit > 0 else AT_ONCE, len(calls))
    workers = [asyncio.create_task(worker()) for _ in range(count)]
    try:
        await asyncio.gather(*workers)
    finally:
        for task in workers:
            task.cancel()
    if failures:
        raise failures[0]
    return [results[index] for index in range(len(calls))]


async def copy_object(client: S3Client, source: ObjectInfo, key: str) -> None:
    """Copy an object of any size on the server.

    Up to ``multipartcopythresholdsize`` by one request; above by concurrent part copies, which leave no
    upload behind if one of them fails. The copy is made only of the very version that `source` describes.
    """
    p = client.parameters
    if source.size <= p.multipart_copy_threshold_size:
        await client.copy(source, key)
        return
    step = max(p.multipart_copy_chunk_size, -(-source.size // MAX_PARTS))
    upload = await client.create_upload(key, source)

    def part(number: int, start: int) -> Callable[[], Awaitable[PartInfo]]:
        stop = min(start + step, source.size)
        return lambda: client.copy_part(key, upload, number, source, start, stop)

    try:
        calls = [part(number, start) for number, start in enumerate(range(0, source.size, step), 1)]
        parts = await gather(calls, p.multipart_copy_max_concurrency)
        await client.complete_upload(key, upload, parts)
    except BaseException:
        await client.give_up(key, upload)
        raise


class Deletion:
    """Keys that are deleted, 1,000 a request and some requests at once, going on where some cannot be.

    Keys wait for others until there are 1,000, so that a listing by small pages takes no more requests.

    Parameters
    ----------
    client : S3Client
        Sends the requests.
    deleted : callable, optional
        ``await deleted(keys)`` after each request, with the keys that it deleted.
    """

    def __init__(
        self, client: S3Client, deleted: Callable[[Sequence[str]], Awaitable[object]] | None = None
    ) -> None:
        self._client = client
        self._deleted = deleted
        self._free = asyncio.Semaphore(DELETIONS)
        self._waiting: list[str] = []
        self._failed: list[tuple[str, str]] = []
        self._total = 0

    async def delete(self, keys: Sequence[str]) -> None:
        """Delete keys, whether or not they exist; the last of them, and all failures, at the :meth:`end`.

        A service may list keys with ".." in them, and resolve them in a request: those are never sent.
        """
        self._total += len(keys)
        within = self._client.space.within
        if not all(map(within, keys)):
            self._failed += [(key, "InvalidPath") for key in keys if not within(key)]
            keys = [key for key in keys if within(key)]
        self._waiting += keys
        whole = len(self._waiting) - len(self._waiting) % PAGE
        ready, self._waiting = self._waiting[:whole], self._waiting[whole:]
        await gather([partial(self._send, ready[at : at + PAGE]) for at in range(0, whole, PAGE)])

    async def _send(self, keys: Sequence[str]) -> None:
        async with self._free:
            failed = await self._client.delete(keys)
        self._failed += failed
        if self._deleted is not None:
            kept = {key for key, _ in failed}
            if gone := [key for key in keys if key not in kept]:
                await self._deleted(gone)

    async def end(self) -> int:
        """Delete the remaining keys, and return how many keys there were.

        Raises
        ------
        OSError
            Some could not be deleted; the others are gone. The error names them together.
        """
        if self._waiting:
            await self._send(self._waiting)
        if self._failed:
            space = self._client.space
            named = ", ".join(
                f"{_shown(space.path(key))} ({_shown(code)})" for key, code in self._failed[:NAMED]
            )
            more = f" and {len(self._failed) - NAMED} more" if len(self._failed) > NAMED else ""
            text = f"{len(self._failed)} of {self._total} could not be deleted: {named}{more}"
            codes = {code for _, code in self._failed}
            kind, number = OSError, errno.EIO
            if codes == {"AccessDenied"}:
                kind, number = PermissionError, errno.EACCES
            elif codes <= THROTTLING:
                kind, number = ThrottledError, errno.EBUSY
            raise kind(number, text, space.url(space.path(self._failed[0][0])))
        return self._total


def _shown(text: str) -> str:
    """Return a text that the service made, as one short line."""
    line = text if text.isprintable() else repr(text)[1:-1]
    return line if len(line) <= _WIDTH else line[:_WIDTH] + "..."


async def delete_keys(
    client: S3Client,
    keys: Sequence[str],
    deleted: Callable[[Sequence[str]], Awaitable[object]] | None = None,
) -> None:
    """Delete keys, whether or not they exist; `deleted` is as in :class:`Deletion`.

    Raises
    ------
    OSError
        As for :meth:`Deletion.end`.
    """
    deletion = Deletion(client, deleted)
    await deletion.delete(keys)
    await deletion.end()
