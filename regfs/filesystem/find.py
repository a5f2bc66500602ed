"""Everything under a directory, as fsspec's ``find`` returns it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from regfs.filesystem.info import Info, directory_info, info_of
from regfs.s3.objects import ObjectInfo
from regfs.store.listing import AT_ONCE
from regfs.store.store import Store


async def find(store: Store, path: str, prefix: str, *, withdirs: bool) -> dict[str, Info]:
    """Return the files under a directory, or the file of that path, by path and sorted.

    Parameters
    ----------
    store : Store
        The bucket.
    path : str
        The directory.
    prefix : str
        What the paths below it begin with.
    withdirs : bool
        Include the directories, itself among them, sorted by level first.
    """
    objects, is_directory = await _objects(store, path, prefix)
    infos = {entry.path: info_of(entry) for entry in store.entries(objects)}
    if withdirs and is_directory:
        _add_directories(store, path, objects, infos)
    names = sorted(infos)
    if withdirs:
        # A level at a time: zarr's clear() removes each entry with all that is in it, in this order, and
        # stops at the first that is gone with its parent. All of the first level must be gone by then.
        names.sort(key=lambda name: name.count("/"))
    return {name: infos[name] for name in names}


async def find_paths(store: Store, path: str, prefix: str) -> list[str]:
    """Return the paths of the files that :func:`find` returns, in half the time."""
    objects, _ = await _objects(store, path, prefix)
    return sorted({store.space.path(item.key) for item in objects if store.space.addressable(item.key)})


async def _objects(store: Store, path: str, prefix: str) -> tuple[list[ObjectInfo], bool]:
    """Return the objects under a directory, or the file's; and whether it is a directory."""
    objects: list[ObjectInfo] = []

    async def keep(page: list[ObjectInfo]) -> None:
        objects.extend(page)

    await store.list_files(path, keep, prefix)
    is_directory = bool(objects) or (path == "/" and not prefix)
    if not is_directory and not prefix and (item := await store.find(path)):
        objects = [item]
    return objects, is_directory


def _add_directories(store: Store, path: str, objects: list[ObjectInfo], infos: dict[str, Info]) -> None:
    """Add the directories that lead to some objects, even to those that no path can name."""
    space = store.space
    base = len(space.prefix(path))
    for item in objects:
        directory = space.path(item.key.rpartition("/")[0]) if "/" in item.key[base:] else path
        while len(directory) > len(path) and directory not in infos:
            if space.addressable(space.base + directory[1:]):
                infos[directory] = directory_info(directory)
            directory = directory.rpartition("/")[0] or "/"
    infos.setdefault(path, directory_info(path))


async def pages(store: Store, path: str) -> AsyncGenerator[list[Info], None]:
    """Yield the files under a directory page by page, in no order; at most 16 pages are in memory."""
    ready: asyncio.Queue[list[Info] | None] = asyncio.Queue()
    room = asyncio.Semaphore(AT_ONCE)

    async def page(objects: list[ObjectInfo]) -> None:
        await room.acquire()
        ready.put_nowait([info_of(entry) for entry in store.entries(objects)])

    listing = asyncio.create_task(store.list_files(path, page))
    listing.add_done_callback(lambda _: ready.put_nowait(None))
    try:
        while (infos := await ready.get()) is not None:
            yield infos
            room.release()
        await listing
    finally:
        listing.cancel()
        await asyncio.wait([listing])
