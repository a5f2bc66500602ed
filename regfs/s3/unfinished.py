"""The multipart uploads that this process has begun and neither completed nor aborted.

S3 keeps and charges them for ever, so none may outlive the process that began it. What is registered here is
plain data (client, key, upload id), which is whole even where the garbage collector has finalized the file.
"""

from __future__ import annotations

import _thread
import asyncio
import concurrent.futures
import contextlib
import logging
import os
import time
from collections.abc import Callable, Collection, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol, TypeVar

T = TypeVar("T")

logger = logging.getLogger("regfs")

BACKGROUND = 60.0
"""Seconds that an upload without a loop of its own may take to be aborted."""


class Client(Protocol):
    """The part of a client that aborting its uploads needs."""

    async def abort_upload(self, key: str, upload: str) -> None:
        """Remove an upload and its parts."""

    def log_leftover(self, key: str, upload: str, error: Exception) -> None:
        """Log that an upload could not be aborted, and why."""

    async def close(self) -> None:
        """Close the connections of the running loop."""


_begun: dict[str, tuple[Client, str]] = {}
_background: dict[Future[None], asyncio.AbstractEventLoop] = {}
_tasks: set[asyncio.Task[None]] = set()
_exiting = False


def _after_fork() -> None:
    """Leave the parent's uploads alone, in its child."""
    _begun.clear()
    _background.clear()
    _tasks.clear()


os.register_at_fork(after_in_child=_after_fork)


def add(client: Client, key: str, upload: str) -> None:
    """Record an upload that was begun."""
    _begun[upload] = client, key


def remove(upload: str) -> None:
    """Forget an upload: it was completed or aborted, or is to outlive this process."""
    _begun.pop(upload, None)


def abort_soon(
    loop: asyncio.AbstractEventLoop | None, upload: str, parts: Collection[asyncio.Task[Any]]
) -> None:
    """Abort an upload and do not wait for it; from any thread, and from the garbage collector.

    Parameters
    ----------
    loop : asyncio.AbstractEventLoop, optional
        The loop that the upload was written on; None if nothing was sent.
    upload : str
        The upload's id. One that is not noted is left as it is once its parts have arrived.
    parts : collection of asyncio.Task
        The parts in flight. They end first: none may arrive after the abort.
    """
    if loop is None:
        return
    ended: Future[None] = Future()

    def start() -> None:
        task = loop.create_task(_abort_behind(parts, upload))
        _tasks.add(task)  # a loop alone does not keep it alive
        task.add_done_callback(finish)

    def finish(task: asyncio.Task[None]) -> None:
        _tasks.discard(task)
        _background.pop(ended, None)
        ended.set_result(None)
        if task.cancelled():  # with its loop, as asyncio.run() does at its end
            _abort_apart(upload)

    if loop.is_running():
        _background[ended] = loop
        with contextlib.suppress(RuntimeError):  # closed just now
            loop.call_soon_threadsafe(start)
            return
        _background.pop(ended, None)
    _abort_apart(upload)


async def _abort_behind(parts: Collection[asyncio.Task[Any]], upload: str) -> None:
    if parts:
        await asyncio.wait(parts)
        for part in parts:
            if not part.cancelled():
                part.exception()  # asked for, or it would be a warning
    if not _exiting:  # then a loop may lack what it needs, and abort_at_exit() comes
        await _abort(upload, None)


def _abort_apart(upload: str) -> None:
    """Abort an upload whose loop does not run any more, in a thread of its own."""
    if upload in _begun and not _exiting:

        def abort() -> None:
            _run_apart(lambda: _abort_all([upload], BACKGROUND))

        with contextlib.suppress(RuntimeError):  # the interpreter ends, and abort_at_exit() comes
            # Not threading.Thread: its locks may be held by the very thread that the collector runs in.
            _thread.start_new_thread(abort, ())


def expect_exit() -> None:
    """Leave to :func:`abort_at_exit` what is to be aborted from now on."""
    global _exiting
    _exiting = True


def abort_at_exit(seconds: float) -> None:
    """Abort all that are left, when the interpreter ends.

    Parameters
    ----------
    seconds : float
        How long it may take. What is not done by then stays, and is named in the log.
    """
    deadline = time.monotonic() + seconds
    running = [future for future, loop in list(_background.items()) if loop.is_running()]
    concurrent.futures.wait(running, timeout=seconds / 2)
    if uploads := list(_begun):
        _run_apart(lambda: _abort_all(uploads, deadline - time.monotonic()))


async def _abort_all(uploads: list[str], seconds: float) -> None:
    clients = {id(noted[0]): noted[0] for upload in uploads if (noted := _begun.get(upload))}
    try:
        await asyncio.gather(*[_abort(upload, seconds) for upload in uploads])
    finally:
        for client in clients.values():
            await client.close()


async def _abort(upload: str, seconds: float | None) -> None:
    client, key = _begun.get(upload, (None, ""))
    if client is None:
        return
    try:
        await asyncio.wait_for(client.abort_upload(key, upload), seconds)
    except Exception as exc:  # noqa: BLE001 - nobody waits for it
        client.log_leftover(key, upload, exc)


def _run_apart(function: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a coroutine on a loop of its own, without other threads: at exit none can be started."""
    loop = asyncio.new_event_loop()
    loop.set_default_executor(_SameThread())
    try:
        loop.run_until_complete(function())
        loop.run_until_complete(loop.shutdown_asyncgens())
    except Exception:
        logger.exception("uploads that were not completed may have been left behind")
    finally:
        loop.close()


class _SameThread(ThreadPoolExecutor):
    """Runs each call at once, in the thread that submits it."""

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Run the call."""
        future: Future[T] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except BaseException as exc:  # noqa: BLE001 - the future carries it
            future.set_exception(exc)
        return future
