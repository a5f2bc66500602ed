"""The reasons why a registry cannot read a stored manifest, and therefore does not serve it. Pure.

The rules are those of distribution 2.8.2 (``registry/storage/manifeststore.go``) and of its parser, Go's
encoding/json: a field of the wrong type is an error, an unknown field is not, null fits every type, and the
case of field names is ignored.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, TypeAlias

from regfs.catalog.manifest import DOCKER_LIST, DOCKER_MANIFEST, LARGEST, OCI_INDEX, OCI_MANIFEST

CRASH = "it has no media type, and its manifests field has the wrong type"
"""The only refusal without a response: the registry panics and closes the connection."""

_Shape: TypeAlias = "type | list[Any] | dict[str, Any]"
"""str, int, [shape of the elements], {field: shape}, or {"*": shape} for a map."""

_DEEPEST = 10_000
_INTEGER = re.compile(r"-?\d+")
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)

_VERSIONED: dict[str, Any] = {"schemaVersion": int, "mediaType": str}
_PLATFORM: dict[str, Any] = {
    "architecture": str,
    "os": str,
    "os.version": str,
    "os.features": [str],
    "variant": str,
}
_DESCRIPTOR: dict[str, Any] = {
    "mediaType": str,
    "size": int,
    "digest": str,
    "urls": [str],
    "annotations": {"*": str},
    "platform": _PLATFORM,
}
_IMAGE = {**_VERSIONED, "config": _DESCRIPTOR, "layers": [_DESCRIPTOR]}
_OCI_IMAGE = {**_IMAGE, "annotations": {"*": str}}
_INDEX = {
    **_VERSIONED,
    "manifests": [{**_DESCRIPTOR, "platform": {**_PLATFORM, "features": [str]}}],
}
_SCHEMA1 = {
    **_VERSIONED,
    "name": str,
    "tag": str,
    "architecture": str,
    "fsLayers": [{"blobSum": str}],
    "history": [{"v1Compatibility": str}],
}


class _Number(str):
    """A number as text, so no number is too large."""

    __slots__ = ()


class _Object(tuple[tuple[str, Any], ...]):
    """An object's fields in order, including duplicates."""

    __slots__ = ()


def refusal(data: bytes) -> str:
    """Return the reason why the registry responds 500 to a manifest's pull; empty if it serves it.

    Parameters
    ----------
    data : bytes
        The manifest's content.
    """
    if len(data) > LARGEST:
        return f"it has more than {LARGEST} bytes"
    if data.count(b"[") + data.count(b"{") > _DEEPEST and _depth(data) > _DEEPEST:
        return "it is nested too deeply"
    try:
        # Go replaces invalid UTF-8 in strings; outside of strings it is invalid JSON either way.
        document = _decode(data.decode("utf-8", "replace"))
    except RecursionError:
        # Too deep for Python, but not for Go; such depth occurs only in fields that the registry ignores.
        return ""
    except ValueError:
        return "it is not JSON"
    if not _fits(document, _VERSIONED):
        return "its schemaVersion or mediaType has the wrong type"
    version, media_type = _value(document, "schemaVersion"), _value(document, "mediaType") or ""
    if version is not None and int(version) == 1:
        return "" if _fits(document, _SCHEMA1) else "one of its fields has the wrong type"
    if version is None or int(version) != 2:
        return f"its schema version {version or 0} is unknown"
    if media_type == "":
        if not _fits(document, _INDEX):
            return CRASH
        shape = _INDEX if _is_index(document) else _OCI_IMAGE
    elif media_type in _SHAPES:
        shape = _SHAPES[media_type]
    else:
        return f"the registry does not know its media type {media_type[:80]!r}"
    return "" if _fits(document, shape) else "one of its fields has the wrong type"


_SHAPES: dict[str, dict[str, Any]] = {
    DOCKER_MANIFEST: _IMAGE,
    OCI_MANIFEST: _OCI_IMAGE,
    DOCKER_LIST: _INDEX,
    OCI_INDEX: _INDEX,
}


def _decode(text: str) -> Any:
    def constant(name: str) -> None:
        raise ValueError(name)

    return json.loads(
        text,
        object_pairs_hook=_Object,
        parse_int=_Number,
        parse_float=_Number,
        parse_constant=constant,
    )


def _depth(data: bytes) -> int:
    depth = deepest = 0
    for character in _STRING.sub(b"", data):
        if character in b"[{":
            depth += 1
            deepest = max(deepest, depth)
        elif character in b"]}":
            depth -= 1
    return deepest


def _fits(value: Any, shape: _Shape) -> bool:
    if value is None:
        return True
    if shape is int:
        return isinstance(value, _Number) and _is_int64(value)
    if shape is str:
        return isinstance(value, str) and not isinstance(value, _Number)
    if isinstance(shape, list):
        return isinstance(value, list) and all(_fits(item, shape[0]) for item in value)
    if not isinstance(value, _Object) or not isinstance(shape, dict):
        return False
    if "*" in shape:
        return all(_fits(member, shape["*"]) for _, member in value)
    return all(_fits(member, shape[field]) for name, member in value if (field := _field(name, shape)))


def _is_int64(number: str) -> bool:
    return bool(_INTEGER.fullmatch(number)) and len(number) < 21 and -(2**63) <= int(number) < 2**63


def _field(name: str, shape: Mapping[str, Any]) -> str | None:
    """Return the field that Go assigns a name's value to: an exact match, else one that differs in case."""
    if name in shape:
        return name
    folded = name.casefold()
    return next((field for field in shape if field.casefold() == folded), None)


def _value(document: Any, field: str) -> str | None:
    """Return a field's last value other than null."""
    match = None
    for name, value in document or ():
        if value is not None and _field(name, _VERSIONED) == field:
            match = value
    return match


def _is_index(document: _Object) -> bool:
    present = False
    for name, value in document:
        if _field(name, _INDEX) == "manifests":
            present = value is not None
    return present
