"""How the files of a plan travel: up, down, and between buckets; each appears whole or not at all.

Nothing here asks or prints; what happens is reported to functions. What is interrupted or fails leaves
neither a part of a file nor an upload.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import IO, TYPE_CHECKING, Any

from regfs.cli.sides import Local, Remote, Step, in_thread
from regfs.filesystem.waiting import sync
from regfs.store.transfer import copy_object, gather

if TYPE_CHECKING:
    from regfs.filesystem.spec import RegistryFileSystem

AT_ONCE = 16
"""Files that travel at once."""
LARGE_AT_ONCE = 2
"""Of those larger than a part. Such a file has several parts or ranges on the way, and memory for them."""
_BLOCK = 2**20


@dataclass
class Result:
    """The result: `files` copied with their `bytes`; the targets of `skipped` existed already."""

    files: int = 0
    bytes: int = 0
    skipped: set[Local | Remote] = field(default_factory=set)


def transfer(
    steps: Sequence[Step],
    *,
    clobber: bool = True,
    sizes: bool = False,
    advance: Callable[[int], object] = lambda _: None,
    copied: Callable[[Step], object] | None = None,
) -> Result:
    """Copy files.

    Parameters
    ----------
    steps : sequence of Step
        At least one side of each is in a bucket.
    clobber : bool
        Whether files that are there are replaced.
    sizes : bool
        Ask how large a copy is, and call it a failure where that differs from its source. For those who will
        remove the source.
    advance : callable
        Told of the bytes copied, from another thread.
    copied : callable, optional
        Told of each file once it has been copied, from other threads.

    Raises
    ------
    OSError
        The first failure, once nothing is under way any more. What was copied before stays.
    """
    result = Result()
    sides = [side for step in steps for side in (step.source, step.target)]
    remote = next((side for side in sides if isinstance(side, Remote)), None)
    if remote is None:
        return result
    large = asyncio.Semaphore(LARGE_AT_ONCE)
    chunk = remote.fs.parameters.chunk_size

    async def carry_step(step: Step) -> None:
        async with large if step.size > chunk else contextlib.nullcontext():
            if sizes:
                await _check_apart(step)
            if not clobber and await _is_there(step.target):
                done = False
            else:
                done = await _carry(step, clobber, advance)
        if not done:
            result.skipped.add(step.source)
            advance(step.size)
            return
        if sizes:
            await _check(step)
        result.files += 1
        result.bytes += step.size
        if copied is not None:
            await in_thread(copied, step)

    # The small ones first, so that a large one holds up no more than its own kind.
    ordered = sorted(steps, key=lambda step: step.size)
    sync(remote.fs.loop, gather, [partial(carry_step, step) for step in ordered], AT_ONCE)
    return result


def lacking(steps: Sequence[Step]) -> list[Step]:
    """Return the steps whose target is not there: those that :func:`transfer` copies without `clobber`."""
    fs = next((step.target.fs for step in steps if isinstance(step.target, Remote)), None)
    if fs is None:
        return [step for step in steps if not os.path.lexists(step.target.path)]
    exists_flags = sync(fs.loop, gather, [partial(_is_there, step.target) for step in steps], AT_ONCE)
    return [step for step, exists in zip(steps, exists_flags, strict=True) if not exists]


async def _is_there(side: Local | Remote) -> bool:
    if isinstance(side, Local):
        return await asyncio.to_thread(os.path.lexists, side.path)
    return await side.fs.store.find(side.path) is not None


async def _carry(step: Step, clobber: bool, advance: Callable[[int], object]) -> bool:
    """Copy one file; return False if the target appeared meanwhile."""
    source, target = step.source, step.target
    try:
        if isinstance(source, Local) and isinstance(target, Remote):
            upload = target.fs.store.new_upload(target.path, exclusive=not clobber, total=step.size)
            await target.fs.store.send_file(source.path, upload, progress=advance)
        elif isinstance(source, Remote) and isinstance(target, Local):
            await _down(source, target, advance)
        elif isinstance(source, Remote) and isinstance(target, Remote):
            if together(source.fs, target.fs):
                info = await source.fs.store.head(source.path)
                await copy_object(target.fs.client, info, target.fs.store.key(target.path))
                advance(step.size)
            else:
                await _across(source, target, "wb" if clobber else "xb", advance)
    except FileExistsError:
        if clobber:
            raise
        return False
    return True


async def _check_apart(step: Step) -> None:
    """Check that a move does not lead from a file to itself, by another address of the same service."""
    source, target = step.source, step.target
    if isinstance(source, Local) or isinstance(target, Local) or together(source.fs, target.fs):
        return  # by the service itself: the plan has compared the keys
    existing = await target.fs.store.find(target.path)
    if existing is None:
        return
    original = await source.fs.store.head(source.path)
    if (original.size, original.etag, original.modified) == (existing.size, existing.etag, existing.modified):
        text = f"is the same file as {source}, by another address of the service; nothing is removed"
        raise OSError(errno.EINVAL, text, str(target))


async def _check(step: Step) -> None:
    """Check that the copy has the source's size."""
    if isinstance(step.target, Local):
        return  # every byte was counted on its way
    fs, path = step.target.fs, step.target.path
    size = (await fs.store.head(path)).size
    if size != step.size:
        text = f"the copy has {size} instead of {step.size} bytes; {step.source} is kept"
        raise OSError(errno.EIO, text, str(step.target))


def together(source: RegistryFileSystem, target: RegistryFileSystem) -> bool:
    """Return whether the service itself can copy: one bucket, and the same who asks."""

    def place(fs: RegistryFileSystem) -> tuple[Any, ...]:
        p = fs.parameters
        identity = p.access_key, p.session_token, p.credentials_config_path
        return p.endpoint_url, p.region, p.bucket, identity

    return place(source) == place(target)


async def _down(source: Remote, target: Local, advance: Callable[[int], object]) -> None:
    """Write a local file. A link is written through; a pipe or device gets the bytes as they come."""
    path, mode = await asyncio.to_thread(_resolve, target.path)
    if stat.S_ISREG(mode):
        await source.fs.store.save(source.path, path, progress=advance)
        return
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, "Is a directory", path)
    file = await asyncio.to_thread(open, path, "wb")
    with file:
        await source.fs.store.save(source.path, file, progress=advance)


def _resolve(path: str) -> tuple[str, int]:
    """Follow a link, and return the path and its mode; create the directories of a missing file."""
    path = os.path.realpath(path) if os.path.islink(path) else path
    try:
        return path, os.stat(path).st_mode
    except FileNotFoundError:
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        return path, stat.S_IFREG


async def _across(source: Remote, target: Remote, mode: str, advance: Callable[[int], object]) -> None:
    """Copy through this machine, in the memory of one upload."""
    async with await source.fs.open_async(source.path) as file:
        upload = await target.fs.store.open_upload(target.path, mode)
        upload.stored = advance
        try:
            while data := await file.read(_BLOCK):
                await upload.write(data)
            await upload.commit()
        except BaseException:
            await upload.give_up()
            raise


def pour_in(
    stream: IO[bytes], target: Remote, clobber: bool, advance: Callable[[int], object] = lambda _: None
) -> Result:
    """Write what a pipe brings, whatever its length, into a file.

    The thread that calls reads: a read that waits for its pipe can only be interrupted there.

    Raises
    ------
    FileExistsError
        `clobber` is false, and the file is there.
    """
    with target.fs.open(target.path, "wb" if clobber else "xb") as file:
        while data := stream.read(_BLOCK):
            file.write(data)
            advance(len(data))
        size = file.loc
    return Result(1, size)
