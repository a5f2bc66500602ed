"""Waiting for coroutines on the filesystem's loop: what fsspec's ``sync`` does, in half the time.

And a timeout keeps what it says: fsspec raises an empty ``FSTimeoutError`` for every ``TimeoutError``, so
that errno, text and URL would be lost.
"""

from __future__ import annotations

import asyncio
import functools
import threading
from asyncio import iscoroutinefunction
from collections.abc import Callable
from typing import Any

from fsspec import asyn

_NAP = 1.0
"""Seconds until a waiting thread looks whether it has been interrupted."""


def sync(
    loop: asyncio.AbstractEventLoop | None,
    function: Callable[..., Any],
    *args: Any,
    timeout: float | None = None,
    **kwargs: Any,
) -> Any:
    """Run a coroutine function on a loop, from any other thread, and give what it returns or raises.

    An exception that comes to the waiting thread itself, which is Ctrl-C's ``KeyboardInterrupt``, cancels it.

    Raises
    ------
    TypeError
        It is no coroutine function.
    """
    if timeout is not None or loop is None or loop.is_closed() or _running_loop() is loop:
        return asyn.sync(loop, function, *args, timeout=timeout, **kwargs)  # waits, or tells what is wrong
    coroutine = function(*args, **kwargs)
    if not asyncio.iscoroutine(coroutine):
        raise TypeError(f"{function!r} is no coroutine function")
    done = threading.Lock()
    done.acquire()
    tasks: list[asyncio.Task[Any]] = []

    def start() -> None:
        tasks.append(loop.create_task(coroutine))
        tasks[0].add_done_callback(lambda _: done.release())

    try:
        loop.call_soon_threadsafe(start)
        _wait(done)
    except BaseException:
        _end(loop, tasks)
        raise
    try:
        return tasks.pop().result()
    finally:
        coroutine = None  # an error's traceback would hold it, and all that it holds


def _wait(done: threading.Lock) -> None:
    """Wait until a lock is released.

    In naps: a signal that came just before the thread fell asleep does not wake it.
    """
    while not done.acquire(timeout=_NAP):
        pass


def _end(loop: asyncio.AbstractEventLoop, tasks: list[asyncio.Task[Any]]) -> None:
    """Cancel what nobody waits for any more, as the user has interrupted it, and wait until it has tidied up.

    Left alone it would go on, and publish what was given up. Another interrupt ends this wait, too.
    """
    ended = threading.Lock()
    ended.acquire()

    def stop() -> None:
        if not tasks or tasks[0].done():  # it had not begun, or was just over
            ended.release()
            return
        tasks[0].add_done_callback(lambda _: ended.release())
        tasks[0].cancel()

    loop.call_soon_threadsafe(stop)
    _wait(ended)
    for task in tasks:
        if not task.cancelled():
            task.exception()  # asked for, or it would be a warning


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def mirror_blocking(fs: Any) -> None:
    """Give a filesystem the blocking methods that fsspec makes of its coroutines, waiting by :func:`sync`."""
    asyn.mirror_sync_methods(fs)
    for name, method in list(vars(fs).items()):
        coroutine = getattr(method, "__wrapped__", None)
        if iscoroutinefunction(coroutine):
            setattr(fs, name, _blocking(fs, method, coroutine))


def _blocking(fs: Any, method: Callable[..., Any], coroutine: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def call(*args: Any, **kwargs: Any) -> Any:
        return sync(fs.loop, coroutine, *args, **kwargs)

    return call
