"""Converters: what a parameter's value may look like, as a real type or as text from YAML or a variable.

Each takes the value and gives it in its type, or raises ValueError with the rule. Nothing here knows which
parameter is meant.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from decimal import Decimal, InvalidOperation
from typing import Any

MIB = 2**20

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
# Go: strconv.ParseBool.
_BOOLEANS = {
    **dict.fromkeys(("1", "t", "T", "TRUE", "true", "True"), True),
    **dict.fromkeys(("0", "f", "F", "FALSE", "false", "False"), False),
}
_UNITS = {
    "": 1,
    "b": 1,
    **{f"{letter}ib": 1024**power for power, letter in enumerate("kmgt", 1)},
    **{f"{letter}b": 1000**power for power, letter in enumerate("kmgt", 1)},
}
# Digits and exponent are bounded: no size needs more, and Decimal would expand what it is given.
_NUMBER = re.compile(r"([+-]?\d{1,40}(?:\.\d{0,40})?(?:[eE][+-]?\d{1,2})?) ?([A-Za-z]*)", re.ASCII)


def text(value: Any) -> str:
    """Take a string, or a number that YAML made of one."""
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise ValueError("must be text")
    try:
        given = str(value)
        given.encode()
    except ValueError as exc:  # a lone surrogate, or more digits than Python turns into text
        raise ValueError("must be text that UTF-8 can encode") from exc
    if _CONTROL.search(given):
        raise ValueError("must not hold control characters")
    return given


def boolean(value: Any) -> bool:
    """Take a bool, 0, 1, or what Go's strconv.ParseBool takes."""
    if isinstance(value, bool):
        return value
    if isinstance(value, (str, int)) and str(value)[:6] in _BOOLEANS and len(str(value)) < 6:
        return _BOOLEANS[str(value)]
    raise ValueError("must be one of 1 t T TRUE true True 0 f F FALSE false False")


def optional_boolean(value: Any) -> bool | None:
    """Take a boolean or None."""
    return None if value is None else boolean(value)


def number(value: Any) -> int:
    """Take a whole number, as int, as float or as text, with an exponent if need be."""
    return _whole(value, {"": 1}, "must be a whole number")


def size(value: Any) -> int:
    """Take a number of bytes: also "10MiB", "10 MB", and 1.048576e7 as Helm writes large numbers."""
    return _whole(
        value, _UNITS, "must be a whole number of bytes, or one with KiB, MiB, GiB, TiB, KB, MB, GB, TB"
    )


def _whole(value: Any, units: dict[str, int], rule: str) -> int:
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise ValueError(rule)
    if isinstance(value, int):
        return value
    match = _NUMBER.fullmatch(value if isinstance(value, str) else repr(value))
    if match is None or match[2].lower() not in units:
        raise ValueError(rule)
    try:
        exact = Decimal(match[1]) * units[match[2].lower()]
    except InvalidOperation as exc:
        raise ValueError(rule) from exc
    if exact != exact.to_integral_value():
        raise ValueError(rule)
    return int(exact)


def bounded(convert: Callable[[Any], int], low: int, high: int | None, why: str) -> Callable[[Any], int]:
    """Give a converter that keeps a number within bounds and says why they are there."""

    def within(value: Any) -> int:
        found = convert(value)
        if found < low:
            raise ValueError(f"is less than {show(low, convert)}, {why}")
        if high is not None and found > high:
            raise ValueError(f"is more than {show(high, convert)}, {why}")
        return found

    return within


def show(count: int, convert: Callable[[Any], int] = number) -> str:
    """Write a number, a size with its unit."""
    if convert is size and count >= MIB and count % MIB == 0:
        return f"{count // 2**30} GiB" if count % 2**30 == 0 else f"{count // MIB} MiB"
    return str(count)


def choice(allowed: Collection[str], *, upper: bool = False) -> Callable[[Any], str]:
    """Give a converter that takes one of some words."""

    def one(value: Any) -> str:
        word = text(value)
        word = word.upper() if upper else word
        if word not in allowed:
            raise ValueError("must be one of " + ", ".join(repr(a) if not a else a for a in allowed))
        return word

    return one


def header(value: Any) -> str:
    """Take text that may stand in an HTTP header."""
    found = text(value)
    if not found.isascii():
        raise ValueError("must be ASCII, as it goes into a header")
    return found


def root_directory(value: Any) -> str:
    """Take a root directory."""
    found = text(value)
    if any(part in (".", "..") for part in found.split("/")):
        raise ValueError("must not have '.' or '..' components")
    return found


_HOST = r"(?:[A-Za-z0-9_.-]+|\[[0-9A-Fa-f:.]+\])(?::\d{1,5})?"
_ENDPOINT = re.compile(rf"(?:(?:https?)://)?{_HOST}(?:/[^\s?#@]*)?", re.ASCII)
_ORIGIN = re.compile(rf"https?://{_HOST}", re.ASCII)


def endpoint(value: Any) -> str:
    """Take a host with or without scheme, port and path."""
    found = text(value)
    if found and not _ENDPOINT.fullmatch(found):
        raise ValueError(
            "must be host[:port], or http:// or https:// before it, without user, query or fragment"
        )
    return found.rstrip("/")


def origin(value: Any) -> str:
    """Take scheme and host alone."""
    found = text(value)
    if found and not _ORIGIN.fullmatch(found):
        raise ValueError("must be http://host[:port] or https://host[:port], without path or query")
    return found


# botocore's own rule (botocore.handlers.VALID_BUCKET, VALID_S3_ARN): names, and access points by ARN.
_BUCKET = re.compile(r"[A-Za-z0-9.\-_]{1,255}", re.ASCII)
_ARN = re.compile(r"arn:aws[a-z-]*:s3[a-z-]*:[a-z0-9-]*:[0-9]{12}:[A-Za-z0-9.\-_/:]{1,200}", re.ASCII)


def bucket(value: Any) -> str:
    """Take a bucket's name or an access point's ARN."""
    found = text(value)
    if found and (found in (".", "..") or not (_BUCKET.fullmatch(found) or _ARN.fullmatch(found))):
        raise ValueError("must be a bucket's name (letters, digits, dots, hyphens) or an access point's ARN")
    return found
