"""What S3 answers, as values: objects, pages, parts, uploads, and the body of a GET."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from types import MappingProxyType
from typing import Any, NamedTuple

_META = "x-amz-meta-"


class ObjectInfo(NamedTuple):  # the cheapest to make: a listing makes thousands
    """What S3 says of one object: `size` in bytes, `modified` aware and in UTC, `etag` with its quotes."""

    key: str
    size: int
    modified: datetime
    etag: str
    storage_class: str = "STANDARD"
    content_type: str | None = None
    metadata: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class ListPage:
    """One page of a listing: objects, common prefixes (each with its final slash), and how to go on."""

    objects: list[ObjectInfo]
    prefixes: list[str]
    token: str | None


@dataclass(frozen=True, slots=True)
class PartInfo:
    """One uploaded part: `number` from 1, `size` in bytes, `checksum` in base64 if one was sent."""

    number: int
    etag: str
    size: int
    checksum: str = ""


@dataclass(frozen=True, slots=True)
class UploadInfo:
    """One pending multipart upload; `started` is aware and in UTC."""

    key: str
    id: str
    started: datetime


class Body:
    """The answer to a GET, to be read as a stream and closed.

    Attributes
    ----------
    info : ObjectInfo
        Of the whole object, whatever the range.
    """

    def __init__(
        self, info: ObjectInfo, stream: Any, length: int, failed: Callable[[BaseException], OSError]
    ):
        self.info = info
        self._stream = stream
        self._left = length
        self._failed = failed

    async def read(self, n: int) -> bytes:
        """Read exactly `n` bytes, or what is left of the range if that is less."""
        want = min(n, self._left)
        pieces: list[bytes] = []
        while want:
            pieces.append(await self.some(want))
            want -= len(pieces[-1])
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def some(self, n: int) -> bytes:
        """Read what has arrived, at most `n` bytes; waits for a first one. Empty at the end of the range."""
        want = min(n, self._left)
        if not want:
            return b""
        try:
            piece: bytes = await self._stream.read(want)
        except Exception as exc:
            raise self._failed(exc) from exc
        if not piece:
            broken = ConnectionResetError("the answer ended early")
            raise self._failed(broken) from broken
        self._left -= len(piece)
        return piece

    def close(self) -> None:
        """Give the connection back if the range was read to its end, else drop it."""
        if self._stream is not None:
            self._stream.close()


@functools.lru_cache(maxsize=1024)
def http_date(text: str) -> datetime:
    """Read a time as HTTP's headers have it; aware, UTC."""
    return parsedate_to_datetime(text).astimezone(timezone.utc)


def header_info(key: str, size: int, headers: Mapping[str, str]) -> ObjectInfo:
    """Make a value of the headers of a HEAD or GET, whose names may be in any case."""
    metadata = {
        name[len(_META) :].lower(): value for name, value in headers.items() if name[:11].lower() == _META
    }
    return ObjectInfo(
        key,
        size,
        http_date(headers["Last-Modified"]),
        headers.get("ETag", ""),
        headers.get("x-amz-storage-class") or "STANDARD",
        headers.get("Content-Type"),
        metadata,
    )


class EmptyStream:
    """The stream of a range that holds nothing."""

    async def read(self, n: int) -> bytes:
        """Read nothing."""
        return b""

    def close(self) -> None:
        """Do nothing."""


def object_info(key: str, size: int, answer: dict[str, Any]) -> ObjectInfo:
    """Make a value of what botocore gives for a HEAD, a GET or an entry of a listing."""
    return ObjectInfo(
        key,
        size,
        answer["LastModified"].astimezone(timezone.utc),
        answer.get("ETag", ""),
        answer.get("StorageClass") or "STANDARD",
        answer.get("ContentType"),
        answer.get("Metadata") or {},
    )
