"""Converters: what a parameter's value may look like, as a real type or as text from YAML or a variable.

Each takes the value, as :func:`plain` gives it, and gives it in its type, or raises ValueError with the rule.
Nothing here knows which parameter is meant. :class:`ParameterError` stands here for those who read values.
"""

from __future__ import annotations

import difflib
import ipaddress
import re
from collections.abc import Callable, Collection
from fractions import Fraction
from typing import Any

MIB = 2**20

STORAGE_CLASSES = (
    "STANDARD",
    "REDUCED_REDUNDANCY",
    "STANDARD_IA",
    "ONEZONE_IA",
    "INTELLIGENT_TIERING",
    "OUTPOSTS",
    "GLACIER_IR",
    "EXPRESS_ONEZONE",
    "NONE",
)
ACLS = (
    "private",
    "public-read",
    "public-read-write",
    "authenticated-read",
    "aws-exec-read",
    "bucket-owner-read",
    "bucket-owner-full-control",
)
LOG_LEVELS = (
    "off",
    "debug",
    "debugwithsigning",
    "debugwithhttpbody",
    "debugwithrequestretries",
    "debugwithrequesterrors",
    "debugwitheventstreambody",
)
CHECKSUMS = ("", "MD5", "CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256")

_SHOWN = 80  # characters of a value in an error
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_SURROGATE = re.compile("[\ud800-\udfff]")
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
# Digits and exponent are bounded: no size needs more, and a Fraction would expand what it is given.
_NUMBER = re.compile(r"([+-]?\d{1,40}(?:\.\d{0,40})?(?:[eE][+-]?\d{1,2})?) ?([A-Za-z]*)", re.ASCII)


class ParameterError(ValueError):
    """A parameter is missing, unknown or breaks its rule.

    Attributes
    ----------
    key : str
        The parameter, by the registry's spelling.
    value : str, int, float, bool or None
        What was given; None where the error is not about one value, where it might be a secret and where it
        is no scalar.
    """

    def __init__(self, message: str, key: str, value: str | float | None = None) -> None:
        super().__init__(message)
        self.key = key
        self.value = value

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (str(self), self.key, self.value)


def plain(value: Any) -> Any:
    """Give a scalar as the built-in type itself, None as it is, and an empty tuple for anything else.

    What a subclass makes of str(), repr() or a comparison is of no interest here, and may raise.
    """
    kind = type(value)
    if value is None or kind is bool:
        return value
    for base, take in ((str, str.__str__), (int, int.__int__), (float, float.__float__)):
        if issubclass(kind, base):
            return take(value)
    return ()


def type_name(value: Any) -> str:
    """Give the name of a value's type, whatever that name is made of."""
    return re.sub(r"\W", "_", type(value).__name__)[:_SHOWN]


def shown(value: Any, *, quotes: bool = True, width: int = _SHOWN) -> str:
    """Give a scalar as one short line, and of anything else the type alone."""
    scalar = plain(value)
    if scalar == ():
        return f"a value of type {type_name(value)}"
    # Python refuses to write more than 4300 digits of an integer.
    if isinstance(scalar, int) and scalar.bit_length() > 3 * _SHOWN:
        return f"an integer of {scalar.bit_length()} bits"
    told = repr(scalar[: width + 1] if isinstance(scalar, str) else scalar)
    if isinstance(scalar, str) and not quotes:
        told = told[1:-1]
    return told if len(told) <= width else told[: width - 3] + "..."


_URL_SECRET = re.compile(r"[@?]|%40|%3f|//[^/\[]*:(?!\d{1,5}(?:/|$))", re.IGNORECASE)


def may_hold_secret(value: Any) -> bool:
    """Tell whether a refused value might be a URL with a password or a signature in it."""
    return isinstance(value, str) and _URL_SECRET.search(value) is not None


def unknown(key: Any, variable: str, keys: Collection[str]) -> ParameterError:
    """Make the error for a key that is none of the known ones, and for the variable that gave it.

    The value may be a secret, so the key alone is told.
    """
    if not isinstance(key, str):
        told = shown(key)
        return ParameterError(f"{told}: unknown parameter; the name must be text", told)
    # YAML takes `secretkey:abc`, without a space, for a key: what follows the sign is never told.
    name = re.split("[:=]", key, maxsplit=1)[0]
    by_letters = {known.replace("_", ""): known for known in keys}
    near = difflib.get_close_matches(re.sub("[-_ ]", "", name[:_SHOWN].lower()), by_letters, n=1)
    hint = ""
    if name != key:
        hint = "; write key: value, with a space"
    elif near:
        meant = by_letters[near[0]]
        hint = f"; did you mean {variable[: -len(key)] + meant.upper() if variable else repr(meant)}?"
    told = shown(variable, quotes=False) if variable else shown(name)
    return ParameterError(f"{told}: unknown parameter{hint}", name[:_SHOWN])


def text(value: Any) -> str:
    """Take a string, or a number that YAML made of one."""
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise ValueError("must be text")
    if isinstance(value, float):
        value = _as_written(value)
    if isinstance(value, int) and value.bit_length() > 3 * _SHOWN:
        raise ValueError("must be text; put it in quotes")
    given = str(value)
    if _SURROGATE.search(given):  # not by encoding it: the error would carry the value, a secret perhaps
        raise ValueError("must be text that UTF-8 can encode")
    if _CONTROL.search(given):
        raise ValueError("must not hold control characters")
    return given


def _as_written(value: float) -> int | float:
    """Give the number that stood in a file: Helm renders the digits of 12345678 as 1.2345678e+07."""
    if not abs(value) < 2**53:  # NaN, too; more digits than a float holds
        raise ValueError("must be text; put it in quotes")
    return int(value) if value.is_integer() else value


def boolean(value: Any) -> bool:
    """Take a bool, 0, 1, or what Go's strconv.ParseBool takes."""
    if isinstance(value, bool):
        return value
    if isinstance(value, int) and value in (0, 1):
        return value == 1
    if isinstance(value, str) and value in _BOOLEANS:
        return _BOOLEANS[value]
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
        exact = Fraction(value)
    else:
        match = _NUMBER.fullmatch(value if isinstance(value, str) else repr(value))
        unit = match[2].lower() if match else ""
        if match and len(units) > 1 and unit in ("k", "m", "g", "t"):
            count, letter = match[1], unit.upper()
            raise ValueError(f"has an ambiguous unit; write {count}{letter}iB or {count}{letter}B")
        if match is None or unit not in units:
            raise ValueError(rule)
        exact = Fraction(match[1]) * units[unit]
    if exact.denominator != 1:
        raise ValueError(rule)
    if abs(exact) >= 2**63:
        raise ValueError(f"{rule}, of 64 bits at most")
    return int(exact)


def bounded(convert: Callable[[Any], int], low: int, high: int | None, why: str) -> Callable[[Any], int]:
    """Give a converter that keeps a number within bounds and says why they are there."""

    def told(bound: int) -> str:
        if convert is not size:
            return str(bound)
        return f"{bound} bytes" + (f" ({show(bound, size)})" if bound >= MIB else "")

    def within(value: Any) -> int:
        found = convert(value)
        if found < low:
            raise ValueError(f"is less than {told(low)}, {why}")
        if high is not None and found > high:
            raise ValueError(f"is more than {told(high)}, {why}")
        return found

    return within


def show(count: int, convert: Callable[[Any], int] = number) -> str:
    """Write a number, a size with its unit."""
    if convert is size and count >= MIB and count % MIB == 0:
        return f"{count // 2**30} GiB" if count % 2**30 == 0 else f"{count // MIB} MiB"
    return str(count)


def choice(
    allowed: Collection[str], *, fold: Callable[[str], str] = str, false: str | None = None
) -> Callable[[Any], str]:
    """Give a converter that takes one of some words.

    Parameters
    ----------
    allowed : collection of str
        The words.
    fold : callable
        Gives a word the case that the allowed ones have.
    false : str, optional
        The word that YAML 1.1 reads as false, such as off.
    """

    def one(value: Any) -> str:
        word = fold(text(false if value is False and false is not None else value))
        if word not in allowed:
            raise ValueError("must be one of " + ", ".join(a if a else repr(a) for a in allowed))
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


# As botocore's is_valid_endpoint_url, which refuses a host at the first request.
_LABEL = r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)"
_URL = re.compile(
    rf"(?:(?P<scheme>https?)://)?(?P<host>{_LABEL}(?:\.{_LABEL})*\.?|\[(?P<v6>[0-9A-Fa-f:.]+)\])"
    r"(?::(?P<port>\d{1,5}))?(?P<path>/[A-Za-z0-9._~!$&'()*+,;=:/-]*)?",
    re.ASCII | re.IGNORECASE,
)


def _url(given: str) -> re.Match[str] | None:
    found = _URL.fullmatch(given)
    if found is None or len(found["host"]) > 255 or not 1 <= int(found["port"] or 1) <= 65535:
        return None
    if found["v6"]:
        try:
            ipaddress.IPv6Address(found["v6"])
        except ValueError:
            return None
    return None if {".", ".."} & set((found["path"] or "").split("/")) else found


def _lower_scheme(given: str) -> str:
    scheme, mark, rest = given.partition("://")
    return scheme.lower() + mark + rest if mark else given


def endpoint(value: Any) -> str:
    """Take a host with or without scheme, port and path."""
    given = text(value)
    if given and _url(given) is None:
        raise ValueError(
            "must be host[:port], or http:// or https:// before it, without user, query, fragment or '..'; "
            "a host is made of letters, digits, dots and hyphens, a port is one of 1 to 65535"
        )
    return _lower_scheme(given).rstrip("/")


def origin(value: Any) -> str:
    """Take scheme and host alone."""
    given = text(value)
    found = _url(given)
    if given and (found is None or not found["scheme"] or found["path"]):
        raise ValueError("must be http://host[:port] or https://host[:port], without path or query")
    return _lower_scheme(given)


# botocore's own rules (botocore.handlers.VALID_BUCKET, VALID_S3_ARN): names, and access points by ARN.
_BUCKET = re.compile(r"[A-Za-z0-9.\-_]{1,255}", re.ASCII)
_ARN = re.compile(
    r"arn:aws[a-z-]*:(?:s3|s3-object-lambda):[a-z0-9-]*:[0-9]{12}:accesspoint[/:][A-Za-z0-9.-]{1,63}"
    r"|arn:aws[a-z-]*:s3-outposts:[a-z0-9-]+:[0-9]{12}"
    r":outpost[/:][A-Za-z0-9-]{1,63}[/:]accesspoint[/:][A-Za-z0-9-]{1,63}",
    re.ASCII,
)


def bucket(value: Any) -> str:
    """Take a bucket's name or an access point's ARN."""
    found = text(value)
    if found and (found in (".", "..") or not (_BUCKET.fullmatch(found) or _ARN.fullmatch(found))):
        raise ValueError("must be a bucket's name (letters, digits, dots, hyphens) or an access point's ARN")
    return found


_REGION = re.compile(r"(?![0-9]+$)(?!-)[A-Za-z0-9-]{0,63}(?<!-)", re.ASCII)


def is_region(name: str) -> bool:
    """Tell whether botocore takes a name for a region (botocore.utils.validate_region_name)."""
    return _REGION.fullmatch(name) is not None
