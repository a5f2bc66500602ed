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
import contextlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from os.path import commonprefix
from typing import TYPE_CHECKING, Any, NamedTuple

from regfs.s3.objects import ListPage
from regfs.store.listing import divide
from regfs.store.store import Entry, Store, entry_order

if TYPE_CHECKING:
    from regfs.s3.objects import ObjectInfo

AT_ONCE = 16
"""Directories that are listed at the same time with ``parallelwalk``."""


class SkipDir(Exception):  # noqa: N818 - the registry's name (Go: ErrSkipDir)
    """Raised by the function given to :meth:`StorageDriver.walk`: do not descend into this directory."""


class StopWalk(Exception):  # noqa: N818 - the registry's word (Go: ErrFilledBuffer)
    """Raised by the function given to :meth:`StorageDriver.walk`: enough, end quietly."""


class Listing(NamedTuple):
    """The sorted entries of a directory, and the contents of some directories among them."""

    entries: list[Entry]
    contents: dict[str, list[ObjectInfo]]
    """All that they hold."""
    begun: dict[str, list[ObjectInfo]]
    """The first page of it."""


async def read(
    store: Store,
    path: str,
    *,
    flat: bool = True,
    after: str = "",
    known: Sequence[ObjectInfo] | None = None,
) -> Listing | None:
    """List a directory, or what comes behind a name in it.

    Parameters
    ----------
    store : Store
        The bucket.
    path : str
        The directory.
    flat : bool
        Whether to try first if one flat page holds all of it; if so, directories that some services list
        for a while after their last file are not among the entries.
    after : str
        The name.
    known : sequence of ObjectInfo, optional
        The first keys of the subtree, if they were listed before.

    Returns
    -------
    Listing or None
        None: nothing lies under `path`, which is not "/".
    """
    prefix = store.space.prefix(path)
    start = prefix + after if after else ""
    if known is None and flat:
        page = await store.client.list_page(prefix, start_after=start)
        if not page.token:
            return _split(store, path, page.objects) if page.objects or path == "/" else None
        known = page.objects
    contents, begun = _known(store, path, known) if known else ({}, {})
    entries = await store.children(path, start_after=after)
    return None if entries is None else Listing(entries, contents, begun)


def _child(store: Store, path: str, key: str) -> str:
    """Return the directory directly in `path` that a key lies in; "" for a file."""
    base = len(store.space.prefix(path))
    head, slash, _ = key[base:].partition("/")
    return store.space.path(key[: base + len(head)]) if head and slash else ""


def _known(
    store: Store, path: str, objects: Sequence[ObjectInfo]
) -> tuple[dict[str, list[ObjectInfo]], dict[str, list[ObjectInfo]]]:
    """Return the directories that some keys hold whole, and the one that all keys lie in, if any."""
    contents = _split(store, path, objects).contents
    last = _child(store, path, objects[-1].key)
    begun = {last: contents.pop(last)} if last in contents else {}
    return contents, begun if len(begun.get(last, ())) == len(objects) else {}


def _split(store: Store, path: str, objects: Sequence[ObjectInfo]) -> Listing:
    """Sort the keys of a subtree into what lies directly in its directory, as Store.children does."""
    base = len(store.space.prefix(path))
    files: list[Entry] = []
    heads: dict[str, list[ObjectInfo]] = {}
    for item in objects:
        head, slash, _ = item.key[base:].partition("/")
        if slash:
            heads.setdefault(head, []).append(item)
        elif head and store.space.addressable(item.key):
            files.append(Entry(store.space.path(item.key), item))
    contents: dict[str, list[ObjectInfo]] = {}
    for head, items in heads.items():
        key = items[0].key[: base + len(head)]
        if head and store.space.addressable(key):
            contents[store.space.path(key)] = items
    folders = [Entry(name) for name in contents]
    return Listing(sorted(files + folders, key=entry_order), contents, {})


class Walk:
    """A walk of a tree.

    Parameters
    ----------
    store : Store
        The bucket.
    loop : asyncio.AbstractEventLoop
        Runs the listings ahead.
    look : callable
        ``look(entry)`` is called in the caller's thread with each file and directory, one call at a
        time; it may raise :class:`SkipDir`.
    run : callable
        ``run(function, *args)`` waits for a coroutine function on the filesystem's loop.
    """

    def __init__(
        self,
        store: Store,
        loop: asyncio.AbstractEventLoop,
        look: Callable[[Entry], object],
        run: Callable[..., Any],
    ) -> None:
        self._store = store
        self._loop = loop
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
        self._enter(path, self._run(self._top, path))

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
        first = self._run(self._top, path)
        self._later = []
        running: dict[concurrent.futures.Future[Listing | None], str] = {}
        try:
            self._enter(path, first)
            while self._later or running:
                while self._later and len(running) < AT_ONCE:
                    name = self._later.pop()
                    running[asyncio.run_coroutine_threadsafe(self._found(name), self._loop)] = name
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
        if path != "/" and not await self._store.is_prefix(path):
            raise self._store.not_found(path)

    async def _top(self, path: str) -> Listing:
        listing = await read(self._store, path)
        if listing is None:
            raise self._store.not_found(path)
        return listing

    def _resume(self, path: str, rest: tuple[str, ...]) -> None:
        """Walk what comes behind a path that begins with `rest` under a directory."""
        inner = f"{path.rstrip('/')}/{rest[0]}"
        if rest[1:]:
            self._resume(inner, rest[1:])
        elif listing := self._run(self._found, inner):
            self._enter(inner, listing)
        if listing := self._run(self._found, path, rest[0]):
            entries = [entry for entry in listing.entries if entry.path > inner]
            self._enter(path, Listing(entries, listing.contents, {}))

    def _enter(self, path: str, listing: Listing) -> None:
        """Visit everything in a directory, and descend."""
        folders = [entry.path for entry in listing.entries if entry.object is None]
        ahead = _Ahead(self._store, self._loop, path, folders, listing)
        try:
            for entry in listing.entries:
                try:
                    self._look(entry)
                except SkipDir:
                    self._flat = self._flat and entry.object is not None
                    continue
                name = entry.path
                if entry.object is not None:
                    continue
                if name not in ahead.contents and self._later is not None:
                    self._later.append(name)
                    continue
                if name not in ahead.contents and name not in ahead.begun and self._flat:
                    ahead.get(name, self._run)
                if name in ahead.contents:
                    self._show(name, ahead.contents.pop(name))
                    continue
                inside = self._run(self._found, name, "", ahead.begun.pop(name, None))
                if inside:
                    self._enter(name, inside)
        finally:
            ahead.close()

    def _show(self, path: str, objects: Sequence[ObjectInfo]) -> None:
        """Visit everything under a directory whose keys are all known."""
        space = self._store.space
        prefix = space.prefix(path)
        base, root = len(prefix), len(space.base)
        shown: list[str] = []  # the directories that lead to the last key, as far as they were looked at
        skipped: list[str] | None = None
        for parts, item in sorted([(item.key[base:].split("/"), item) for item in objects]):
            if skipped is not None and parts[: len(skipped)] == skipped:
                continue
            usable = space.addressable(item.key)
            if parts[:-1] != shown:
                depth = len(commonprefix([shown, parts[:-1]]))  # noqa: RUF071 - of lists, as is meant
                del shown[depth:]
                for name in parts[depth:-1]:
                    shown.append(name)
                    key = prefix + "/".join(shown)
                    if not name or not (usable or space.addressable(key)):
                        skipped = list(shown)
                        break
                    try:
                        self._look(Entry("/" + key[root:]))
                    except SkipDir:
                        self._flat = False
                        skipped = list(shown)
                        break
                else:
                    skipped = None
            if usable and skipped is None:
                with contextlib.suppress(SkipDir):
                    self._look(Entry(space.path(item.key), item))

    async def _found(
        self, path: str, after: str = "", known: Sequence[ObjectInfo] | None = None
    ) -> Listing | None:
        """List a directory, or return None where it has vanished since it was seen, as Go's drivers do."""
        return await read(self._store, path, flat=self._flat, after=after, known=known)


class _Ahead:
    """The contents of a directory's directories, listed before the walk comes to them.

    The first page shows how much lies in one of them. From then on the directories that follow are listed in
    groups of about a page, each by the text that their names begin with, and the further the walk goes, the
    more groups at once.

    Parameters
    ----------
    store : Store
        The bucket.
    loop : asyncio.AbstractEventLoop
        Runs the listings.
    path : str
        The directory.
    names : sequence of str
        The directories in it, sorted.
    listing : Listing
        What is known of them already.

    Attributes
    ----------
    contents, begun : dict
        As those of a `Listing`.
    """

    def __init__(
        self,
        store: Store,
        loop: asyncio.AbstractEventLoop,
        path: str,
        names: Sequence[str],
        listing: Listing,
    ) -> None:
        self.contents = listing.contents
        self.begun = listing.begun
        self._store = store
        self._loop = loop
        self._path = path
        self._names = names
        self._texts: Iterator[str] | None = None
        self._groups: deque[_Group] = deque()
        self._width = 1

    def get(self, name: str, run: Callable[..., Any]) -> None:
        """List a directory as far as a page or two hold it: all of it, its first page or, rarely, nothing."""
        key = self._store.space.prefix(name)
        while self._groups and not key.startswith(text := self._groups[0].text) and _before(text, key):
            self._groups.popleft().page.cancel()  # its directories were skipped
        if self._groups and key.startswith(self._groups[0].text):
            page = run(self._result, self._groups.popleft())
        else:
            page = run(self._from, key)
        if page.objects:
            contents, self.begun = _known(self._store, self._path, page.objects)
            if not page.token:
                contents = _split(self._store, self._path, page.objects).contents
                self.begun = {}
            self.contents.update(contents)
        if page.token and self._texts is None:
            self._texts = self._divide(name)
        self._width = min(2 * self._width, AT_ONCE)
        while self._texts and len(self._groups) < self._width and (text := next(self._texts, "")):
            future = asyncio.run_coroutine_threadsafe(self._group(text), self._loop)
            self._groups.append(_Group(text, future))

    def close(self) -> None:
        """Stop what is under way."""
        for group in self._groups:
            group.page.cancel()

    def _divide(self, name: str) -> Iterator[str]:
        """Group the directories behind the first page, which began with `name`, by as many as it had."""
        prefix = self._store.space.prefix
        known = {*self.contents, name}
        new = [prefix(other) for other in self._names if other > name and other not in known]
        old = [prefix(other) for other in self._names if other <= name or other in known]
        return divide(new, old, len(known))

    async def _from(self, key: str) -> ListPage:
        """List a page from a directory on, so that it serves those that follow as well."""
        return await self._store.client.list_page(self._store.space.prefix(self._path), start_after=key)

    async def _result(self, group: _Group) -> ListPage:
        return await asyncio.wrap_future(group.page)

    async def _group(self, text: str) -> ListPage:
        """List one page, or two, of the keys that begin with a text."""
        page = await self._store.client.list_page(text)
        if page.token:
            more = await self._store.client.list_page(text, token=page.token)
            page = ListPage(page.objects + more.objects, [], more.token)
        return page


def _before(text: str, key: str) -> bool:
    """Return whether a text that does not begin `key` begins directories that come before it by name."""
    return text.rstrip("/") < key.rstrip("/")


class _Group(NamedTuple):
    """Directories that are listed together."""

    text: str
    """What their prefixes begin with."""
    page: concurrent.futures.Future[ListPage]
