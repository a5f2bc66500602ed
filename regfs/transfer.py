"""Work on several keys or several parts of one key at once: server-side copies and deletions."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

from regfs.client import PAGE
from regfs.upload import MAX_PARTS

if TYPE_CHECKING:
    from regfs.answers import ObjectInfo, PartInfo
    from regfs.client import S3Client

T = TypeVar("T")

AT_ONCE = 64
"""Requests at once where neither the caller nor a parameter says otherwise."""
NAMED = 5
"""Keys that an error about many names; the rest is counted."""


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


async def delete_keys(client: S3Client, batches: AsyncIterator[Sequence[str]]) -> int:
    """Delete keys, up to 1,000 a request, and go on where some cannot be deleted.

    Returns
    -------
    int
        How many keys there were.

    Raises
    ------
    OSError
        Some could not be deleted; the others are gone. All are told of together.
    """
    failed: list[tuple[str, str]] = []
    total = 0
    async for keys in batches:
        total += len(keys)
        failed += await client.delete(keys)
    if failed:
        named = ", ".join(f"{client.space.path(key)} ({code})" for key, code in failed[:NAMED])
        more = f" and {len(failed) - NAMED} more" if len(failed) > NAMED else ""
        text = f"{len(failed)} of {total} could not be deleted: {named}{more}"
        denied = all(code == "AccessDenied" for _, code in failed)
        kind, number = (PermissionError, errno.EACCES) if denied else (OSError, errno.EIO)
        raise kind(number, text, client.space.url(client.space.path(failed[0][0])))
    return total


async def batches(keys: Sequence[str]) -> AsyncIterator[Sequence[str]]:
    """Cut a list of keys into requests' worth."""
    for start in range(0, len(keys), PAGE):
        yield keys[start : start + PAGE]
