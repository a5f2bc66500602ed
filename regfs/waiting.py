"""Waiting for coroutines on the filesystem's loop: fsspec's ``sync``, but a timeout keeps what it says.

fsspec raises an empty ``FSTimeoutError`` for every ``TimeoutError``; errno, text and URL would be lost.
"""

from __future__ import annotations

import functools
from asyncio import iscoroutinefunction
from collections.abc import Callable
from typing import Any

from fsspec import asyn
from fsspec.exceptions import FSTimeoutError


def sync(loop: Any, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Run a coroutine function on a loop, from any other thread, and give what it returns or raises."""
    try:
        return asyn.sync(loop, function, *args, **kwargs)
    except FSTimeoutError as exc:
        told = exc.__cause__
        if isinstance(told, OSError) and told.errno is not None:
            raise told from told.__cause__
        raise


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
