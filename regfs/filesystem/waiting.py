"""Waiting for coroutines on the filesystem's loop: what fsspec's ``sync`` does, in half the time.

And a timeout keeps what it says: fsspec raises an empty ``FSTimeoutError`` for every ``TimeoutError``, so
that errno, text and URL would be lost.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import threading
from asyncio import iscoroutinefunction
from collections.abc import Callable, Coroutine
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
        return asyn.sync(loop, function, *args, timeout=timeout, **kwargs)  # waits, or raises what is wrong
    coroutine = function(*args, **kwargs)
    if not asyncio.iscoroutine(coroutine):
        raise TypeError(f"{function!r} is no coroutine function")
    call = _Call(loop, coroutine)
    try:
        loop.call_soon_threadsafe(call.start)
        _wait(call.done)
    except BaseException:
        _end(call)
        raise
    error, call.error = call.error, None  # it would be part of its own traceback
    if error is None:
        return call.result
    try:
        raise error
    finally:
        del error, call, coroutine  # the traceback would hold them, and all that they hold


class _Call:
    """A coroutine on its way through a loop, for which another thread waits.

    The thread is woken by the coroutine's last step, not by the task's callback, which comes a turn of the
    loop later.
    """

    __slots__ = ("coroutine", "done", "error", "loop", "result", "task")

    def __init__(self, loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, Any]) -> None:
        self.loop = loop
        self.coroutine = coroutine
        self.done = threading.Lock()
        self.done.acquire()
        self.task: asyncio.Task[None] | None = None
        self.result: Any = None
        self.error: BaseException | None = None

    def start(self) -> None:
        """Start the coroutine, on the loop."""
        self.task = self.loop.create_task(self._run())

    async def _run(self) -> None:
        try:
            self.result = await self.coroutine
        except BaseException as exc:  # noqa: BLE001 - the waiting thread raises it
            self.error = exc
        self.done.release()


def _wait(done: threading.Lock) -> None:
    """Wait until a lock is released.

    In naps: a signal that came just before the thread fell asleep does not wake it.
    """
    while not done.acquire(timeout=_NAP):
        pass


def _end(call: _Call) -> None:
    """Cancel a call that the user has interrupted, and wait until it has cleaned up.

    Left alone it would go on, and publish what was given up. Another interrupt ends this wait, too.
    """
    ended = threading.Lock()
    ended.acquire()

    def stop() -> None:
        if call.task is None or call.task.done():  # it had not begun, or was just over
            finish()
            return
        call.task.add_done_callback(finish)
        call.task.cancel()

    def finish(_: object = None) -> None:
        call.coroutine.close()  # where it had not taken its first step
        ended.release()

    call.loop.call_soon_threadsafe(stop)
    _wait(ended)


def call_soon(loop: asyncio.AbstractEventLoop | None, function: Callable[[], object]) -> None:
    """Run a function on a loop, from any thread, without waiting for it."""
    if loop is not None and loop.is_running():
        with contextlib.suppress(RuntimeError):  # closed meanwhile: the interpreter ends
            loop.call_soon_threadsafe(function)


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def mirror_blocking(fs: Any) -> None:
    """Set a filesystem's blocking methods, which fsspec makes of its coroutines, to wait by :func:`sync`."""
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
