"""All keys under a prefix, listed in parallel where one page does not hold them.

One page after the other, a listing takes a round trip for each thousand keys, and it is unknown where the
next page begins before the last has come. So what lies behind the first page is cut into *spans*, each all
keys that begin with some text, which are listed at the same time. Where to cut is asked of the service: the
directories that lead to the first page's last key are listed by directory, all at once, and what the page has
not shown is divided so that a span is a page or two; of a registry's blobs, for example, those whose digest
begins with the same digit. Smaller spans would be many more requests, and no quicker. Where a page does not
hold a span, that is cut in the same way, or goes on page by page once enough is under way.

All that is relied upon is that the keys that begin with the same text, down to the name of one directory,
follow each other in a listing. They do by bytes, as on AWS, and by directory, as on SeaweedFS.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from os.path import commonprefix
from typing import TYPE_CHECKING, NamedTuple

from regfs.s3.client import PAGE
from regfs.s3.objects import ListPage

if TYPE_CHECKING:
    from regfs.s3.client import S3Client
    from regfs.s3.objects import ObjectInfo

AT_ONCE = 16
"""Pages that are asked for, or used, at the same time; so many are in memory at most."""
_LARGE = 4
"""Keys for each entry of a directory from which it pays to list its entries first."""


class _Span(NamedTuple):
    """All keys that begin with `prefix`; those behind `after`; those from the page that `token` names on."""

    prefix: str
    after: str = ""
    token: str | None = None


async def list_all(
    client: S3Client,
    prefix: str,
    use: Callable[[list[ObjectInfo]], Awaitable[None]],
    limit: int = PAGE,
) -> None:
    """List all objects under a prefix, page by page, in no order; up to ``AT_ONCE`` pages at once.

    Parameters
    ----------
    client : S3Client
        Sends the requests: one LIST where a page holds all; else one for each thousand keys of a span, and
        for what is left of them, and a few for each cut.
    prefix : str
        What all keys begin with.
    use : callable
        ``await use(objects)``. No page is empty.
    limit : int
        Keys of a page.

    Raises
    ------
    Exception
        The first failure of a request or of `use`, once nothing of this listing is under way any more.
    """
    await _Listing(client, use, limit).run(_Span(prefix))


class _Listing:
    """A listing."""

    def __init__(
        self, client: S3Client, use: Callable[[list[ObjectInfo]], Awaitable[None]], limit: int
    ) -> None:
        self._client = client
        self._use = use
        self._limit = limit
        self._waiting: deque[_Span] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._failures: list[BaseException] = []
        self._over = asyncio.Event()

    async def run(self, span: _Span) -> None:
        self._add([span])
        try:
            await self._over.wait()
        except asyncio.CancelledError:
            self._waiting.clear()
            for task in self._tasks:
                task.cancel()
            if self._tasks:
                await asyncio.wait(self._tasks)
            raise
        if self._failures:
            raise self._failures[0]

    def _add(self, spans: Iterable[_Span]) -> None:
        self._waiting.extend(spans)
        while self._waiting and len(self._tasks) < AT_ONCE and not self._failures:
            task = asyncio.create_task(self._list(self._waiting.popleft()))
            self._tasks.add(task)
            task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            self._failures.append(error)
        self._add(())
        if not self._tasks:
            self._over.set()

    async def _list(self, span: _Span) -> None:
        page = await self._page(span.prefix, token=span.token, start_after=span.after)
        if page.token:
            whole = not span.after and not span.token  # the page begins where the span does
            spans: list[_Span] = []
            if page.objects and whole and len(self._waiting) + len(self._tasks) < AT_ONCE:
                spans = await self._cut(span.prefix, page.objects)
            self._add(spans or [span._replace(after="", token=page.token)])
        if page.objects:
            await self._use(page.objects)

    async def _page(self, prefix: str, **asked: str | None) -> ListPage:
        return await self._client.list_page(prefix, limit=self._limit, **asked)  # type: ignore[arg-type]  # of the two

    async def _cut(self, prefix: str, shown: Sequence[ObjectInfo]) -> list[_Span]:
        """Divide what begins with a prefix and lies behind its first page; nothing if that does not pay."""
        last = shown[-1].key
        levels = list(_levels(prefix, [item.key for item in shown]))
        large = len(shown) >= _LARGE * len(levels[-1][1])
        if len(levels) == 1 and not large:
            return []
        listed = await asyncio.gather(
            *(self._directory(level) for level, _ in levels[: None if large else -1])
        )
        spans: list[_Span] = []
        files: list[ObjectInfo] = []
        for (level, names), entries in zip(levels, listed, strict=large):
            base = len(level)
            new = [name for common in entries.prefixes if (name := common[base:]) not in names]
            if level is levels[-1][0]:
                # The directory that the page ends in goes on as well, and takes of what follows what fits.
                most = max(1, 2 * self._limit * len(names) // len(shown))
                final = _child(last[base:])
                near = next((n for n in range(len(final)) if _count(new, final[:n]) <= most), len(final))
                spans.append(_Span(level + final[:near], last))
                new = [name for name in new if not name.startswith(final[:near])]
            else:
                most = -(-len(new) // AT_ONCE)
            spans += [_Span(level + text) for text in divide(new, names, most)]
            files += [item for item in entries.objects if item.key[base:] not in names]
        if not large:
            spans.append(_Span(levels[-1][0], last))
        prefixes = tuple(span.prefix for span in spans)
        files = [item for item in files if not item.key.startswith(prefixes)]
        if files:
            await self._use(files)
        return spans

    async def _directory(self, level: str) -> ListPage:
        """List what lies directly in a directory."""
        page = await self._page(level, delimiter="/")
        while page.token:
            more = await self._page(level, delimiter="/", token=page.token)
            page = ListPage(page.objects + more.objects, page.prefixes + more.prefixes, more.token)
        return page


def _child(name: str) -> str:
    """Return the first component of a relative name, with its slash if it is a directory's."""
    head, slash, _ = name.partition("/")
    return head + slash


def _count(names: Sequence[str], start: str) -> int:
    return sum(name.startswith(start) for name in names)


def _levels(prefix: str, keys: Sequence[str]) -> Iterator[tuple[str, set[str]]]:
    """Yield the directories that lead to the last key, each with the names in it that the keys show.

    The first is the prefix itself, which may end within a name. Where a directory shows several names, they
    are small, and it is the last one given.
    """
    level = prefix
    while True:
        names = {_child(key[len(level) :]) for key in keys if key.startswith(level)}
        yield level, names
        final = _child(keys[-1][len(level) :])
        if len(names) > 1 or not final.endswith("/"):
            return
        level += final


def divide(new: Sequence[str], old: Iterable[str], most: int) -> Iterator[str]:
    """Yield prefixes that cover `new`, each name by one, and match nothing in `old`.

    Parameters
    ----------
    new, old : sequence of str
        Names of directories, with their slashes; no two are equal. In `old` names of files as well.
    most : int
        Names that one text shall begin at most; a single name is its own text if need be.
    """
    if not new:
        return
    common = commonprefix(list(new))  # noqa: RUF071 - by characters, as is meant
    old = [name for name in old if name.startswith(common)]
    if len(new) == 1 or (len(new) <= most and not old):
        yield common
        return
    groups: dict[str, list[str]] = {}
    for name in new:
        groups.setdefault(name[: len(common) + 1], []).append(name)
    for group in groups.values():
        yield from divide(group, old, most)
