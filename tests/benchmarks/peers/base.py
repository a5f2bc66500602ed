"""What a client must be able to do to be compared."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import Any, ClassVar, TypeAlias, TypeVar

from ..place import Place

T = TypeVar("T")
U = TypeVar("U")
Buffer: TypeAlias = Any
"""Whatever ``memoryview`` takes: a client may hand out its own memory instead of ``bytes``."""
Variants: TypeAlias = Mapping[str, Mapping[str, Any]]
"""Settings by a label. The quickest of them takes part."""

DEFAULT: Variants = {"default": {}}
PART = 10 * 2**20
"""Bytes of a part of an upload; the registry's default, which every client is given."""


class Peer:
    """A client, opened on a place.

    Keys have no leading slash, prefixes no trailing one. Everything blocks. What a client cannot do is not
    in its ``variants``.

    Parameters
    ----------
    place : Place
        The bucket.
    settings : mapping
        Those of one of its variants.
    """

    name: ClassVar[str]
    package: ClassVar[str]
    """Whose version is reported."""
    variants: ClassVar[Mapping[str, Variants]]
    """By operation: the names of the methods below."""

    def __init__(self, place: Place, settings: Mapping[str, Any]) -> None:
        self.place = place
        self.settings = settings
        self.open()

    def open(self) -> None:
        """Make the client."""
        raise NotImplementedError

    @cached_property
    def pool(self) -> ThreadPoolExecutor:
        """As many threads as the setting ``threads`` says."""
        return ThreadPoolExecutor(self.settings["threads"])

    def map(self, function: Callable[[T], U], items: Iterable[T]) -> list[U]:
        """Call a function with each item, in the pool's threads."""
        return list(self.pool.map(function, items))

    def cat(self, keys: Sequence[str]) -> Sequence[Buffer]:
        """Read many small objects, in order."""
        raise NotImplementedError

    def pipe(self, bodies: Mapping[str, bytes]) -> None:
        """Write many small objects."""
        raise NotImplementedError

    def get_content(self, key: str) -> Buffer:
        """Read a small object."""
        raise NotImplementedError

    def stat(self, key: str) -> int:
        """Ask for an object's size."""
        raise NotImplementedError

    def put_content(self, key: str, content: bytes) -> None:
        """Write a small object."""
        raise NotImplementedError

    def find(self, prefix: str) -> Sequence[Any]:
        """List what lies under a prefix, in the client's own form."""
        raise NotImplementedError

    def walk(self, prefix: str) -> Sequence[Any]:
        """List what lies under a prefix and the directories between, in the client's own form."""
        raise NotImplementedError

    def names(self, listing: Sequence[Any]) -> Iterator[str]:
        """Return the objects' keys of what `find` or `walk` returned; not measured."""
        raise NotImplementedError

    def stream_write(self, key: str, data: Iterator[bytes]) -> None:
        """Write a large object out of pieces."""
        raise NotImplementedError

    def stream_read(self, key: str, piece: int) -> Iterator[Buffer]:
        """Read a large object piece by piece, of `piece` bytes where the client lets one say."""
        raise NotImplementedError

    def get_object(self, key: str, size: int) -> Buffer:
        """Read a large object of a known size into memory, in one piece."""
        raise NotImplementedError

    def delete(self, prefix: str) -> None:
        """Delete everything under a prefix; which keys that are the client has to find out."""
        raise NotImplementedError


def read_all(file: Any, piece: int) -> Iterator[Buffer]:
    """Read an open file to its end and close it."""
    with file:
        while len(data := file.read(piece)):
            yield data


def spans(size: int, count: int) -> list[tuple[int, int]]:
    """Cut `size` bytes into `count` ranges, end exclusive."""
    step = -(-size // count)
    return [(start, min(start + step, size)) for start in range(0, size, step)]
