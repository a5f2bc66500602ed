"""The works: what every client is asked to do, and how it is seen that it did it.

A work lives in two kinds of processes. The one that holds the race prepares the bucket and looks into it
afterwards; the clients' own ones make the inputs, run, and compare what came back.
`Work.run` alone is measured.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from regfs.layout import BLOBS

from .data import PIECE, body, check_stream, pieces, tree
from .peers import Peer

if TYPE_CHECKING:
    from obstore.store import S3Store

WARM_UP = "warm-up"
PROBE = "probe"
"""A key that is always there: a client's first request asks for it, outside all measuring."""
_MIB = 2**20
_SMALL = 1024
_SEEN = 16
"""Bytes of each piece of a stream that are compared."""


class Work:
    """One row of figures.

    Parameters
    ----------
    quick : bool
        Whether to take little of everything.

    Attributes
    ----------
    count : int
        The operations in one run.
    """

    name: ClassVar[str]
    about: ClassVar[str]
    unit: ClassVar[str]
    """What one operation is."""
    group: ClassVar[str] = ""
    """Another name for it and others."""
    trials: ClassVar[int] = 3
    """Runs of each variant before the best is kept."""
    sizes: ClassVar[tuple[int, int]]
    """How many or how much there is, in full and with `quick`."""

    def __init__(self, quick: bool) -> None:
        self.size = self.sizes[quick]
        self.count = self.size

    @property
    def operation(self) -> str:
        """The client's method, as `Peer.variants` names it."""
        return self.name.replace("-", "_")

    def prepare(self, store: S3Store) -> None:
        """Fill the bucket, once."""

    def before(self, store: S3Store, run: str) -> None:
        """Fill the bucket for one run, which `run` names."""

    def inputs(self, run: str) -> Any:
        """Make what one run is given; `WARM_UP` in its name tells that it is not for the figures."""

    def run(self, peer: Peer, inputs: Any) -> Any:
        """Do the work."""
        raise NotImplementedError

    def check(self, peer: Peer, inputs: Any, result: Any) -> None:
        """Raise AssertionError unless the result is right."""

    def after(self, store: S3Store, run: str) -> None:
        """Raise AssertionError unless the run left in the bucket what it should; take it away."""


class _Small(Work):
    """Works on many small objects that are there from the start."""

    unit = "object"

    @functools.cached_property
    def bodies(self) -> Mapping[str, bytes]:
        return {
            f"{self.name}/{number:05}": body(f"{self.name} {number}", _SMALL) for number in range(self.count)
        }

    def prepare(self, store: S3Store) -> None:
        fill(store, self.bodies.items())

    def inputs(self, run: str) -> Any:
        return list(self.bodies)

    def check(self, peer: Peer, inputs: Any, result: Any) -> None:
        wrong = [key for key, data in zip(inputs, result, strict=True) if bytes(data) != self.bodies[key]]
        assert not wrong, f"wrong bytes: {wrong[:3]}"


class Cat(_Small):
    name = "cat"
    about = "small objects of 1 KiB read at once"
    sizes = (1000, 50)

    def run(self, peer: Peer, inputs: Any) -> Any:
        return peer.cat(inputs)


class GetContent(_Small):
    name = "get-content"
    group = "content"
    about = "small objects of 1 KiB read one after another"
    sizes = (200, 20)

    def run(self, peer: Peer, inputs: Any) -> Any:
        return [peer.get_content(key) for key in inputs]


class Stat(GetContent):
    name = "stat"
    about = "objects asked for their size one after another"

    def run(self, peer: Peer, inputs: Any) -> Any:
        return [peer.stat(key) for key in inputs]

    def check(self, peer: Peer, inputs: Any, result: Any) -> None:
        assert result == [_SMALL] * self.count


class Pipe(_Small):
    name = "pipe"
    about = "small objects of 1 KiB written at once"
    sizes = (1000, 50)

    def prepare(self, store: S3Store) -> None:
        pass

    def inputs(self, run: str) -> Any:
        return {f"{run}/{key}": data for key, data in self.bodies.items()}

    def run(self, peer: Peer, inputs: Any) -> Any:
        peer.pipe(inputs)

    def check(self, peer: Peer, inputs: Any, result: Any) -> None:
        pass

    def after(self, store: S3Store, run: str) -> None:
        found = {str(item["path"]): item["size"] for some in store.list(run) for item in some}
        assert found == dict.fromkeys((f"{run}/{key}" for key in self.bodies), _SMALL), "wrong keys or sizes"
        for key, data in list(self.bodies.items())[:: max(1, self.count // 5)]:
            assert bytes(store.get(f"{run}/{key}").bytes()) == data, f"wrong bytes: {key}"
        store.delete(list(found))


class PutContent(Pipe):
    name = "put-content"
    group = "content"
    about = "small objects of 1 KiB written one after another"
    sizes = (200, 20)

    def run(self, peer: Peer, inputs: Any) -> Any:
        for key, data in inputs.items():
            peer.put_content(key, data)


class Find(Work):
    name = "find"
    about = "keys of a registry's storage listed: blobs in 256 directories, and links to them"
    unit = "listing"
    sizes = (20_000, 600)

    def __init__(self, quick: bool) -> None:
        super().__init__(quick)
        self.count = 1

    @functools.cached_property
    def keys(self) -> Sequence[str]:
        return tree(self.name, self.size)

    def prepare(self, store: S3Store) -> None:
        fill(store, ((key, b"sha256:") for key in self.keys))

    def inputs(self, run: str) -> Any:
        # A whole listing takes long, and the next one is no quicker for it.
        return f"{self.name}{BLOBS}/sha256/00" if WARM_UP in run else self.name

    def run(self, peer: Peer, inputs: Any) -> Any:
        return peer.find(inputs)

    def check(self, peer: Peer, inputs: Any, result: Any) -> None:
        keys = [key for key in self.keys if key.startswith(inputs + "/")]
        found = sorted(peer.names(result))
        assert found == keys, f"{len(found)} keys instead of {len(keys)}, or others"


class Walk(Find):
    name = "walk"
    about = "the same, with the directories between"

    def run(self, peer: Peer, inputs: Any) -> Any:
        return peer.walk(inputs)


class _Large(Work):
    trials = 1

    def __init__(self, quick: bool) -> None:
        super().__init__(quick)
        self.count = 1

    def prepare(self, store: S3Store) -> None:
        import obstore

        with obstore.open_writer(store, self.name) as file:
            for piece in pieces(self.size):
                file.write(piece)


class StreamWrite(_Large):
    name = "stream-write"
    about = "an object of 512 MiB written in pieces of 1 MiB, uploaded in parts of 10 MiB"
    unit = "object"
    sizes = (512 * _MIB, 24 * _MIB)

    def prepare(self, store: S3Store) -> None:
        pass

    def inputs(self, run: str) -> Any:
        return run, pieces(self.size)

    def run(self, peer: Peer, inputs: Any) -> Any:
        peer.stream_write(*inputs)

    def after(self, store: S3Store, run: str) -> None:
        offsets = [*range(0, self.size, 7 * PIECE), self.size - _SEEN]
        found = store.get_ranges(run, starts=offsets, lengths=[_SEEN] * len(offsets), coalesce=0)
        samples = list(zip(offsets, map(bytes, found), strict=True))
        check_stream(run, self.size, store.head(run)["size"], samples)
        store.delete(run)


class StreamRead(_Large):
    name = "stream-read"
    about = "an object of 512 MiB read from begin to end in pieces of 1 MiB"
    unit = "object"
    sizes = (512 * _MIB, 32 * _MIB)

    def inputs(self, run: str) -> Any:
        pieces(0)  # here, so that what the comparison needs counts as nobody's memory

    def run(self, peer: Peer, inputs: Any) -> Any:
        size, samples = 0, []
        for data in peer.stream_read(self.name, PIECE):
            samples.append((size, bytes(memoryview(data)[:_SEEN])))
            size += len(data)
        return size, samples

    def check(self, peer: Peer, inputs: Any, result: Any) -> None:
        # A client may give smaller pieces than it was asked for, but no sample may leave its block.
        size, samples = result
        check_stream(self.name, self.size, size, [(at, data[: PIECE - at % PIECE]) for at, data in samples])


class GetObject(_Large):
    name = "get-object"
    about = "an object of 256 MiB read into memory"
    unit = "object"
    trials = 2
    sizes = (256 * _MIB, 32 * _MIB)

    def inputs(self, run: str) -> Any:
        pieces(0)

    def run(self, peer: Peer, inputs: Any) -> Any:
        return peer.get_object(self.name, self.size)

    def check(self, peer: Peer, inputs: Any, result: Any) -> None:
        view = memoryview(result)
        samples = [(at, bytes(view[at : at + _SEEN])) for at in range(0, self.size, PIECE // 2)]
        check_stream(self.name, self.size, len(view), samples)


class Delete(Work):
    name = "delete"
    about = "keys deleted with what they lie under"
    unit = "key"
    trials = 1
    sizes = (5000, 200)

    def _keys(self, run: str) -> list[str]:
        return [f"{run}/{number % 50:02}/{number:05}" for number in range(self.size)]

    def before(self, store: S3Store, run: str) -> None:
        fill(store, ((key, b"data") for key in self._keys(run)))

    def inputs(self, run: str) -> Any:
        return run

    def run(self, peer: Peer, inputs: Any) -> Any:
        peer.delete(inputs)

    def after(self, store: S3Store, run: str) -> None:
        left = [item["path"] for some in store.list(run) for item in some if not item["path"].endswith("/")]
        assert not left, f"{len(left)} keys are still there"


WORKS: tuple[type[Work], ...] = (
    Cat,
    Pipe,
    GetContent,
    Stat,
    PutContent,
    Find,
    Walk,
    StreamWrite,
    StreamRead,
    GetObject,
    Delete,
)


def fill(store: S3Store, items: Iterable[tuple[str, bytes]]) -> None:
    """Put many small objects."""
    from obstore import put_async

    rest = iter(items)

    async def work() -> None:
        for key, data in rest:
            await put_async(store, key, data)

    async def run() -> None:
        await asyncio.gather(*(work() for _ in range(32)))

    asyncio.run(run())
