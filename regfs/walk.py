"""Everything under a directory, in order of names, by as few requests as may be.

A service lists in two ways. *Flat*, one request gives a thousand keys of a whole subtree, whatever its
directories are: the best way where all is wanted. *By directory*, one request gives what lies directly in a
directory and nothing below it: the best way where directories are skipped. So a walk begins flat. Where a
page does not hold a subtree whole, its directory is listed, and what the page held is still used. Once the
function that looks at everything has skipped a directory, the walk goes on by directory: it will skip others.

Names are compared component by component, so that what lies under "a" comes before "a-b", whatever order the
service lists in: "a-b/x" comes before "a/x" on AWS, by bytes. All that is relied upon is that the keys of one
directory follow each other.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from regfs.errors import BucketNotFoundError
from regfs.tree import by_name

if TYPE_CHECKING:
    from regfs.answers import ObjectInfo
    from regfs.tree import Info, RegistryTree

AT_ONCE = 16
"""Directories that are listed at the same time with ``parallelwalk``."""


class SkipDir(Exception):  # noqa: N818 - the registry's name (Go: ErrSkipDir)
    """Raised by the function given to :meth:`StorageDriver.walk`: do not descend into this directory."""


class StopWalk(Exception):  # noqa: N818 - the registry's word (Go: ErrFilledBuffer)
    """Raised by the function given to :meth:`StorageDriver.walk`: enough, end quietly."""


class Listing(NamedTuple):
    """What lies directly in a directory, sorted, and of some directories among it all that they hold."""

    entries: list[Info]
    contents: dict[str, list[ObjectInfo]]


class _Partial(NamedTuple):
    """The directory that a page ends in, and what the page has of it."""

    name: str = ""
    items: Sequence[ObjectInfo] = ()


async def read(
    fs: RegistryTree,
    path: str,
    *,
    flat: bool = True,
    after: str = "",
    known: Sequence[ObjectInfo] | None = None,
) -> Listing:
    """List a directory, or what comes behind a name in it.

    Parameters
    ----------
    fs : RegistryTree
        Where.
    path : str
        The directory.
    flat : bool
        Whether to try first if one flat page holds all of it; if so, directories that some services list
        for a while after their last file are not among the entries.
    after : str
        The name.
    known : sequence of ObjectInfo, optional
        The first keys of the subtree, if they were listed before.

    Raises
    ------
    FileNotFoundError
        Nothing lies under `path`.
    """
    prefix = fs.space.prefix(path)
    start = prefix + after if after else ""
    if known is None and flat:
        page = await fs.client.list_page(prefix, start_after=start)
        if not page.token:
            if not page.objects and path != "/":
                raise fs._not_found(path)  # noqa: SLF001 - both are one filesystem
            return _split(fs, path, page.objects)
        known = page.objects
    contents = _split(fs, path, known).contents if known else {}
    if known:
        contents.pop(_child(fs, path, known[-1].key), None)  # it may go on behind what is known
    return Listing(await fs.children(path, start_after=after), contents)


def _child(fs: RegistryTree, path: str, key: str) -> str:
    """Give the directory directly in `path` that a key lies in; "" for a file."""
    base = len(fs.space.prefix(path))
    head, slash, _ = key[base:].partition("/")
    return fs.space.path(key[: base + len(head)]) if head and slash else ""


def _split(fs: RegistryTree, path: str, objects: Sequence[ObjectInfo]) -> Listing:
    """Sort the keys of a subtree into what lies directly in its directory, as RegistryTree.children does."""
    base = len(fs.space.prefix(path))
    entries: list[Info] = []
    contents: dict[str, list[ObjectInfo]] = {}
    for item in objects:
        head, slash, _ = item.key[base:].partition("/")
        key = item.key[: base + len(head)]
        if not head or not fs.space.addressable(key):
            continue
        if slash:
            contents.setdefault(fs.space.path(key), []).append(item)
        else:
            entries.append(fs.describe(item))
    entries += [fs._directory(name) for name in contents]  # noqa: SLF001 - both are one filesystem
    return Listing(sorted(entries, key=by_name), contents)


class Walk:
    """One walk.

    Parameters
    ----------
    fs : RegistryTree
        Where.
    look : callable
        ``look(info)`` is called in the caller's thread with each file's and directory's properties, one call
        at a time; it may raise :class:`SkipDir`.
    run : callable
        ``run(function, *args)`` waits for a coroutine function on the filesystem's loop.
    """

    def __init__(self, fs: RegistryTree, look: Callable[[Info], object], run: Callable[..., Any]) -> None:
        self._fs = fs
        self._look = look
        self._run = run
        self._flat = True
        self._later: list[str] | None = None

    def run(self, path: str) -> None:
        """Walk a directory, parents before children and siblings in order.

        Raises
        ------
        FileNotFoundError
            Nothing lies under `path`. "/" may be empty.
        """
        self._enter(path, self._run(read, self._fs, path))

    def run_after(self, path: str, start: str) -> None:
        """Walk what comes behind `start` in order, whether it is there or not.

        Raises
        ------
        FileNotFoundError
            As for :meth:`run`.
        """
        after, top = tuple(start.split("/")), tuple(path.rstrip("/").split("/"))
        if after <= top:
            self.run(path)
        elif after[: len(top)] != top:
            self._run(self._require, path)
        else:
            self._run(self._require, path)
            self._resume(path, after[len(top) :])

    def run_parallel(self, path: str) -> None:
        """Walk with several listings under way; parents before children, siblings in no order.

        Raises
        ------
        FileNotFoundError
            As for :meth:`run`.
        """
        first = self._run(read, self._fs, path)
        self._later = []
        running: dict[concurrent.futures.Future[Listing | None], str] = {}
        try:
            self._enter(path, first)
            while self._later or running:
                while self._later and len(running) < AT_ONCE:
                    name = self._later.pop()
                    assert self._fs.loop is not None  # noqa: S101 - the driver takes blocking filesystems only
                    running[asyncio.run_coroutine_threadsafe(self._found(name), self._fs.loop)] = name
                done, _ = concurrent.futures.wait(running, return_when=concurrent.futures.FIRST_COMPLETED)
                for future in done:
                    name, listing = running.pop(future), future.result()
                    if listing:
                        self._enter(name, listing)
        finally:
            for future in running:
                future.cancel()

    # -- inside ---------------------------------------------------------------------------------------

    async def _require(self, path: str) -> None:
        if path != "/" and not await self._fs._is_prefix(path):  # noqa: SLF001 - both are one filesystem
            raise self._fs._not_found(path)  # noqa: SLF001 - as above

    def _resume(self, path: str, rest: tuple[str, ...]) -> None:
        """Walk what comes behind a path that begins with `rest` under a directory."""
        inner = f"{path.rstrip('/')}/{rest[0]}"
        if rest[1:]:
            self._resume(inner, rest[1:])
        elif listing := self._run(self._found, inner):
            self._enter(inner, listing)
        if listing := self._run(self._found, path, rest[0]):
            entries = [info for info in listing.entries if info["name"] > inner]
            self._enter(path, Listing(entries, listing.contents))

    def _enter(self, path: str, listing: Listing) -> None:
        """Look at everything in a directory and descend."""
        contents, partial = listing.contents, _Partial()
        for entry in listing.entries:
            try:
                self._look(entry)
            except SkipDir:
                self._flat = self._flat and entry["type"] != "directory"
                continue
            name = entry["name"]
            if entry["type"] != "directory":
                continue
            if name not in contents and self._later is not None:
                self._later.append(name)
                continue
            if name not in contents and self._flat:
                # From here on, so that the page serves the directories that follow, too.
                more, partial = self._run(self._page, path, name)
                contents.update(more)
            if name in contents:
                self._enter(name, _split(self._fs, name, contents.pop(name)))
            else:
                known = partial.items if partial.name == name else None
                inside = self._run(self._found, name, "", known)
                if inside:
                    self._enter(name, inside)

    async def _page(self, path: str, name: str) -> tuple[dict[str, list[ObjectInfo]], _Partial]:
        """List one page of a directory's subtree from one of its directories on."""
        prefix = self._fs.space.prefix
        page = await self._fs.client.list_page(prefix(path), start_after=prefix(name))
        contents = _split(self._fs, path, page.objects).contents
        partial = _Partial()
        if page.token and page.objects:
            last = _child(self._fs, path, page.objects[-1].key)
            partial = _Partial(last, contents.pop(last, []))
        return contents, partial

    async def _found(
        self, path: str, after: str = "", known: Sequence[ObjectInfo] | None = None
    ) -> Listing | None:
        """List a directory that may have vanished since it was seen; Go's drivers go on as well then."""
        try:
            return await read(self._fs, path, flat=self._flat, after=after, known=known)
        except BucketNotFoundError:
            raise
        except FileNotFoundError:
            return None
