"""The XML documents of S3 that the fast transport reads and writes. Pure.

They are read by expat, without document types: no entity is ever defined, so none can be expanded.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any
from urllib.parse import unquote_plus
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from regfs.s3.objects import ListPage, ObjectInfo

LARGEST = 64 * 2**20
"""Bytes of a document that are read at most; a page of 1,000 keys of 1,024 bytes each takes 7 MB at worst."""


class DocumentError(ValueError):
    """The response is not the document that was expected."""


def check(data: bytes) -> None:
    """Check that a document defines no entities, so that any parser can read it.

    Raises
    ------
    DocumentError
        It is not UTF-8, or declares a document type.
    """
    if b"<!DOCTYPE" in data or b"<!ENTITY" in data:
        raise DocumentError("the service's answer declares a document type")
    try:
        data.decode()
    except ValueError as exc:
        raise DocumentError("the service's answer is not in UTF-8") from exc
    if b"\0" in data:  # expat would decode it as UTF-16 and find declarations there
        raise DocumentError("the service's answer is not in UTF-8")


def parse(data: bytes) -> Any:
    """Parse a document and give its root.

    Raises
    ------
    DocumentError
        It is not well-formed UTF-8 XML, or declares a document type.
    """
    check(data)
    try:
        return ElementTree.fromstring(data, ElementTree.XMLParser(encoding="utf-8"))  # noqa: S314 - see above
    except (ElementTree.ParseError, ValueError) as exc:
        raise DocumentError("the service's answer is no XML") from exc


def _name(tag: str) -> str:
    return tag.rpartition("}")[2]


def _fields(element: Any) -> dict[str, str]:
    return {_name(child.tag): child.text or "" for child in element}


def parse_error(data: bytes) -> tuple[str, str]:
    """Return code and message of an error document; empty where it is none."""
    try:
        root = parse(data)
    except DocumentError:
        return "", ""
    fields = _fields(root) if _name(root.tag) == "Error" else {}
    return fields.get("Code", ""), fields.get("Message", "")


def parse_page(data: bytes) -> ListPage:
    """Read one page of a listing (ListObjectsV2).

    Raises
    ------
    DocumentError
        It is another document, or an entry lacks what every entry has.
    """
    root = parse(data)
    if _name(root.tag) != "ListBucketResult":
        raise DocumentError(f"the service answered a listing with {_name(root.tag)!r}")
    space = root.tag[: len(root.tag) - len("ListBucketResult")]  # the namespace, which some leave out
    escaped = root.findtext(f"{space}EncodingType") == "url"
    contents, common, prefix = f"{space}Contents", f"{space}CommonPrefixes", f"{space}Prefix"
    key, size, modified, etag, kind = (
        space + name for name in ("Key", "Size", "LastModified", "ETag", "StorageClass")
    )
    objects, prefixes = [], []
    moments: dict[str | None, datetime] = {}  # much is written within the same second
    try:
        for child in root:
            if child.tag == contents:
                fields = {entry.tag: entry.text for entry in child}
                name, timestamp = fields[key], fields[modified]
                if timestamp not in moments:
                    moments[timestamp] = moment(timestamp)
                objects.append(
                    ObjectInfo(
                        _unescape(name) if escaped else name,
                        int(fields[size]),
                        moments[timestamp],
                        fields.get(etag) or "",
                        fields.get(kind) or "STANDARD",
                    )
                )
            elif child.tag == common:
                text = child.find(prefix).text
                prefixes.append(_unescape(text) if escaped else text)
    except (KeyError, TypeError, ValueError, AttributeError) as exc:
        raise DocumentError("an entry of the service's listing lacks its key, size or time") from exc
    if None in prefixes or not all(item.key and item.size >= 0 for item in objects):
        raise DocumentError("an entry of the service's listing has no name, or a size below 0")
    truncated = root.findtext(f"{space}IsTruncated") == "true"
    token = root.findtext(f"{space}NextContinuationToken") if truncated else None
    if truncated and not token:
        raise DocumentError("the service's listing goes on without a continuation token")
    return ListPage(objects, prefixes, token)


def _unescape(text: str) -> str:
    return unquote_plus(text) if "%" in text or "+" in text else text


def moment(text: str) -> datetime:
    """Read a time as S3's documents have it, "2026-01-31T12:00:00.000Z"; aware, UTC."""
    if not text.endswith("Z"):
        raise ValueError(f"{text!r} is no time in UTC")
    return datetime.fromisoformat(text[:-1] + "+00:00")


# A parser makes a line feed of each carriage return that is not written so, and that would be another key.
_BREAKS = {"\r": "&#13;", "\n": "&#10;", "\t": "&#9;"}
_NO_CHARACTER = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")


def nameable(key: str) -> bool:
    """Return whether a document can hold a key; XML 1.0 has no way to write some characters."""
    return key.isprintable() or not _NO_CHARACTER.search(key)


def delete_request(keys: Sequence[str]) -> bytes:
    """Write a DeleteObjects request whose response names only what failed."""
    objects = "".join(f"<Object><Key>{escape(key, _BREAKS)}</Key></Object>" for key in keys)
    space = "http://s3.amazonaws.com/doc/2006-03-01/"
    return f'<Delete xmlns="{space}"><Quiet>true</Quiet>{objects}</Delete>'.encode()


def parse_deleted(data: bytes) -> list[tuple[str, str]]:
    """Return the keys that a DeleteObjects request could not delete, each with S3's error code.

    Raises
    ------
    DocumentError
        It is another document.
    """
    root = parse(data)
    if _name(root.tag) != "DeleteResult":
        raise DocumentError(f"the service answered a deletion with {_name(root.tag)!r}")
    failed = [_fields(child) for child in root if _name(child.tag) == "Error"]
    return [(fields.get("Key", "?"), fields.get("Code", "?")) for fields in failed]
