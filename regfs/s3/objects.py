"""What S3 says of objects, listings, parts and uploads, as values."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from types import MappingProxyType
from typing import Any, NamedTuple

_META = "x-amz-meta-"


class ObjectInfo(NamedTuple):  # the cheapest to make: a listing makes thousands
    """The properties of an object: `size` in bytes, `modified` aware and in UTC, `etag` with its quotes."""

    key: str
    size: int
    modified: datetime
    etag: str
    storage_class: str = "STANDARD"
    content_type: str | None = None
    metadata: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class ListPage:
    """A page of a listing: objects, common prefixes (with final slashes), and the continuation token."""

    objects: list[ObjectInfo]
    prefixes: list[str]
    token: str | None


@dataclass(frozen=True, slots=True)
class PartInfo:
    """A uploaded part: `number` from 1, `size` in bytes, `checksum` in base64 if one was sent."""

    number: int
    etag: str
    size: int
    checksum: str = ""


@dataclass(frozen=True, slots=True)
class UploadInfo:
    """A pending multipart upload; `started` is aware and in UTC."""

    key: str
    id: str
    started: datetime


@functools.lru_cache(maxsize=1024)
def http_date(text: str) -> datetime:
    """Read a time as HTTP's headers have it; aware, UTC."""
    return parsedate_to_datetime(text).astimezone(timezone.utc)


def header_info(key: str, size: int, headers: Mapping[str, str]) -> ObjectInfo:
    """Make a value of the headers of a HEAD or GET, whose names are in lower case."""
    metadata = {name[len(_META) :]: value for name, value in headers.items() if name.startswith(_META)}
    return ObjectInfo(
        key,
        size,
        http_date(headers["last-modified"]),
        headers.get("etag", ""),
        headers.get("x-amz-storage-class") or "STANDARD",
        headers.get("content-type"),
        metadata,
    )


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
