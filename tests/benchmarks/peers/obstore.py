"""obstore: Rust's object_store. It may give its own memory instead of ``bytes``."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

from .base import DEFAULT, PART, Buffer, Peer, Variants, spans

_MIB = 2**20
_MANY = {
    "16 at once": {"tasks": 16},
    "64 at once": {"tasks": 64},
    "256 at once": {"tasks": 256},
    "all at once": {"tasks": 0},
    "8 threads": {"threads": 8},
    "32 threads": {"threads": 32},
}


class Obstore(Peer):
    """Its settings: ``tasks`` at once in a loop (0 is all), or ``threads``; sizes and ways to read."""

    name = "obstore"
    package = "obstore"
    variants: ClassVar[Mapping[str, Variants]] = {
        "cat": _MANY,
        "pipe": _MANY,
        "get_content": DEFAULT,
        "stat": DEFAULT,
        "put_content": DEFAULT,
        "find": {"list": {}},
        "walk": {"list": {}},
        "stream_write": {"concurrency 12": {"concurrency": 12}, "concurrency 4": {"concurrency": 4}},
        "stream_read": {
            "open_reader, 1 MiB": {"buffer": _MIB},
            "open_reader, 10 MiB": {"buffer": 10 * _MIB},
            "get, stream": {},
        },
        "get_object": {"get": {}, "4 ranges": {"ranges": 4}, "16 ranges": {"ranges": 16}},
        "delete": DEFAULT,
    }

    def open(self) -> None:
        self.store: Any = self.place.store()
        self.loop = asyncio.new_event_loop()

    def _all(self, function: Callable[[Any], Awaitable[Any]], items: Sequence[Any]) -> list[Any]:
        """Await a function's answers for all items, as many at once as the setting says."""
        found: list[Any] = [None] * len(items)
        rest = iter(range(len(items)))

        async def work() -> None:
            for number in rest:
                found[number] = await function(items[number])

        async def run() -> None:
            if tasks := self.settings["tasks"]:
                await asyncio.gather(*(work() for _ in range(tasks)))
            else:
                found[:] = await asyncio.gather(*map(function, items))

        self.loop.run_until_complete(run())
        return found

    def cat(self, keys: Sequence[str]) -> Sequence[Buffer]:
        if "threads" in self.settings:
            return self.map(self.get_content, keys)
        from obstore import get_async

        async def get(key: str) -> Buffer:
            return await (await get_async(self.store, key)).bytes_async()

        return self._all(get, keys)

    def pipe(self, bodies: Mapping[str, bytes]) -> None:
        if "threads" in self.settings:
            self.map(lambda item: self.put_content(*item), bodies.items())
            return
        from obstore import put_async

        async def put(item: tuple[str, bytes]) -> None:
            await put_async(self.store, *item)

        self._all(put, list(bodies.items()))

    def get_content(self, key: str) -> Buffer:
        return self.store.get(key).bytes()

    def stat(self, key: str) -> int:
        return int(self.store.head(key)["size"])

    def put_content(self, key: str, content: bytes) -> None:
        self.store.put(key, content, use_multipart=False)

    def find(self, prefix: str) -> Sequence[Any]:
        return [item for some in self.store.list(prefix, chunk_size=1000) for item in some]

    def walk(self, prefix: str) -> Sequence[Any]:
        return self.find(prefix)  # it knows no directories

    def names(self, listing: Sequence[Any]) -> Iterator[str]:
        return (item["path"] for item in listing)

    def stream_write(self, key: str, data: Iterator[bytes]) -> None:
        import obstore

        concurrency = self.settings["concurrency"]
        with obstore.open_writer(self.store, key, buffer_size=PART, max_concurrency=concurrency) as file:
            for piece in data:
                file.write(piece)

    def stream_read(self, key: str, piece: int) -> Iterator[Buffer]:
        if size := self.settings.get("buffer"):
            import obstore

            file = obstore.open_reader(self.store, key, buffer_size=size)
            while len(data := file.read(piece)):
                yield data
            file.close()
        else:
            yield from self.store.get(key).stream(min_chunk_size=piece)

    def get_object(self, key: str, size: int) -> Buffer:
        if count := self.settings.get("ranges"):
            starts, ends = zip(*spans(size, count), strict=True)
            return b"".join(self.store.get_ranges(key, starts=starts, ends=ends, coalesce=0))
        return self.store.get(key).bytes()

    def delete(self, prefix: str) -> None:
        keys = [item["path"] for some in self.store.list(prefix, chunk_size=1000) for item in some]
        self.store.delete(keys)
