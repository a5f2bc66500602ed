"""Converters: what a parameter's value may look like, as a real type or as text from YAML or a variable.

Each takes the value, as :func:`plain` gives it, and gives it in its type, or raises ValueError with the rule.
Nothing here knows which parameter is meant. :class:`ParameterError` stands here for those who read values.
"""

from __future__ import annotations

import difflib
import ipaddress
import re
from collections.abc import Callable, Collection, Mapping
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
    "",
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
    # GitLab's for both of its drivers, and those of its s3_v2.
    "logoff",
    "logdebug",
    "logdebugwithsigning",
    "logdebugwithhttpbody",
    "logdebugwithrequestretries",
    "logdebugwithrequesterrors",
    "logdebugwitheventstreambody",
    "logsigning",
    "logretries",
    "logrequest",
    "logrequestwithbody",
    "logresponse",
    "logresponsewithbody",
    "logdeprecatedusage",
    "logrequesteventmessage",
    "logresponseeventmessage",
)
CHECKSUMS = ("", "MD5", "CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256")

_SHOWN = 80  # characters of a value in an error
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_SURROGATE = re.compile("[\ud800-\udfff]")
# Go: strconv.ParseBool, and what the registry's YAML (go-yaml v2) makes booleans of before.
_BOOLEANS = {
    **dict.fromkeys(("1", "t", "T", "TRUE", "true", "True"), True),
    **dict.fromkeys(("0", "f", "F", "FALSE", "false", "False"), False),
    **dict.fromkeys(("y", "Y", "yes", "Yes", "YES", "on", "On", "ON"), True),
    **dict.fromkeys(("n", "N", "no", "No", "NO", "off", "Off", "OFF"), False),
}
_UNITS = {
    "": 1,
    "b": 1,
    **{f"{letter}ib": 1024**power for power, letter in enumerate("kmgt", 1)},
    **{f"{letter}b": 1000**power for power, letter in enumerate("kmgt", 1)},
}
# Digits and exponent are bounded: no size needs more, and a Fraction would expand what it is given.
_NUMBER = re.compile(r"([+-]?\d{1,40}(?:\.\d{0,40})?(?:[eE][+-]?\d{1,2})?) ?([A-Za-z]*)", re.ASCII)
# Go: strconv.ParseInt with base 0, where a leading zero means octal.
_LITERAL = re.compile(
    r"[+-]?(?:0[xX][0-9a-fA-F]{1,40}|0[bB][01]{1,80}|0[oO]?[0-7]{1,40}|[1-9][0-9]{0,40})", re.ASCII
)


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


class Secret(str):
    """A secret in storage options. Its representation only distinguishes it from others in this process."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<secret {hash(self) & 2**64 - 1:016x}>"  # Python keys its hashes of text by chance


def plain(value: Any) -> Any:
    """Return a scalar as the built-in type itself, None as it is, and an empty tuple for anything else.

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
    """Return the name of a value's type, shortened and printable."""
    return re.sub(r"\W", "_", type(value).__name__)[:_SHOWN]


def shown(value: Any, *, quotes: bool = True, width: int = _SHOWN) -> str:
    """Return a scalar as one short line, and of anything else the type alone."""
    scalar = plain(value)
    if scalar == ():
        return f"a value of type {type_name(value)}"
    # Python refuses to write more than 4300 digits of an integer.
    if isinstance(scalar, int) and scalar.bit_length() > 3 * _SHOWN:
        return f"an integer of {scalar.bit_length()} bits"
    representation = repr(scalar[: width + 1] if isinstance(scalar, str) else scalar)
    if isinstance(scalar, str) and not quotes:
        representation = representation[1:-1]
    return representation if len(representation) <= width else representation[: width - 3] + "..."


_URL_SECRET = re.compile(r"[@?]|%40|%3f|//[^/\[]*:(?!\d{1,5}(?:/|$))", re.IGNORECASE)


def may_hold_secret(value: Any) -> bool:
    """Return whether a refused value might be a URL with a password or a signature in it."""
    return isinstance(value, str) and _URL_SECRET.search(value) is not None


def unknown(key: Any, variable: str, keys: Collection[str], elsewhere: Mapping[str, str]) -> ParameterError:
    """Make the error for a key that is none of the known ones, and for the variable that gave it.

    The value may be a secret, so only the key is shown.

    Parameters
    ----------
    key : object
        The key.
    variable : str
        The variable, "" where there is none.
    keys : collection of str
        The known ones.
    elsewhere : mapping of str to str
        By what other libraries call it, without signs between the words: one of `keys`, or what to do.
    """
    if not isinstance(key, str):
        shown_key = shown(key)
        return ParameterError(f"{shown_key}: unknown parameter; the name must be text", shown_key)
    # YAML takes `secretkey:abc`, without a space, for a key: what follows the sign is never shown.
    name = re.split("[:=]", key, maxsplit=1)[0]
    by_letters = {known.replace("_", ""): known for known in keys}
    letters = re.sub("[-_ ]", "", name[:_SHOWN].lower())
    near = difflib.get_close_matches(letters, by_letters, n=1)
    meant = elsewhere.get(letters) or (by_letters[near[0]] if near else "")
    hint = ""
    if name != key:
        hint = "; write key: value, with a space"
    elif meant in keys:
        section = variable[: -len(key)] if variable.upper().endswith(f"_{key}".upper()) else ""
        hint = f"; did you mean {section + meant.upper() if section else repr(meant)}?"
    elif meant:
        hint = f"; {meant}"
    shown_key = shown(variable, quotes=False) if variable else shown(name)
    return ParameterError(f"{shown_key}: unknown parameter{hint}", name[:_SHOWN])


def text(value: Any) -> str:
    """Convert a string, or a number that YAML made of one."""
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise ValueError("must be text")
    if isinstance(value, float):
        value = _as_written(value)
    if isinstance(value, int) and value.bit_length() > 3 * _SHOWN:
        raise ValueError("must be text; put it in quotes")
    string = str(value)
    if _SURROGATE.search(string):  # not by encoding it: the error would carry the value, a secret perhaps
        raise ValueError("must be text that UTF-8 can encode")
    if _CONTROL.search(string):
        raise ValueError("must not hold control characters")
    return string


def _as_written(value: float) -> int | float:
    """Return the number that stood in a file: Helm renders the digits of 12345678 as 1.2345678e+07."""
    if not abs(value) < 2**53:  # NaN, too; more digits than a float holds
        raise ValueError("must be text; put it in quotes")
    return int(value) if value.is_integer() else value


def boolean(value: Any) -> bool:
    """Convert a bool, 0, 1, or a word that the registry takes: Go's strconv.ParseBool's, or YAML's."""
    if isinstance(value, bool):
        return value
    if isinstance(value, int) and value in (0, 1):
        return value == 1
    if isinstance(value, str) and value in _BOOLEANS:
        return _BOOLEANS[value]
    raise ValueError(f"must be one of {' '.join(_BOOLEANS)}")


def optional_boolean(value: Any) -> bool | None:
    """Convert a boolean or None."""
    return None if value is None else boolean(value)


def inverse(value: Any) -> bool:
    """Convert a boolean to its opposite."""
    return not boolean(value)


def number(value: Any) -> int:
    """Convert a whole number: an int, a float or text, which may have an exponent or be a literal of Go."""
    return _whole(value, {"": 1}, "must be a whole number")


def size(value: Any) -> int:
    """Convert a number of bytes: also "10MiB", "10 MB", and 1.048576e7 as Helm writes large numbers."""
    return _whole(
        value, _UNITS, "must be a whole number of bytes, or one with KiB, MiB, GiB, TiB, KB, MB, GB, TB"
    )


def _whole(value: Any, units: dict[str, int], rule: str) -> int:
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise ValueError(rule)
    literal = value.replace("_", "") if isinstance(value, str) else ""
    if isinstance(value, int):
        exact = Fraction(value)
    elif _LITERAL.fullmatch(literal):
        exact = Fraction(int(re.sub(r"^([+-]?0)(?=[0-7])", r"\1o", literal), 0))
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
    """Return a converter that keeps a number within bounds and says why they are there."""

    def formatted(bound: int) -> str:
        if convert is not size:
            return str(bound)
        return f"{bound} bytes" + (f" ({show(bound, size)})" if bound >= MIB else "")

    def within(value: Any) -> int:
        number = convert(value)
        if number < low:
            raise ValueError(f"is less than {formatted(low)}, {why}")
        if high is not None and number > high:
            raise ValueError(f"is more than {formatted(high)}, {why}")
        return number

    return within


def show(count: int, convert: Callable[[Any], int] = number) -> str:
    """Write a number, a size with its unit."""
    if convert is size and count >= MIB and count % MIB == 0:
        return f"{count // 2**30} GiB" if count % 2**30 == 0 else f"{count // MIB} MiB"
    return str(count)


def choice(allowed: Collection[str], *, fold: Callable[[str], str] = str) -> Callable[[Any], str]:
    """Return a converter that takes one of some words.

    Parameters
    ----------
    allowed : collection of str
        The words.
    fold : callable
        Gives a word the case that the allowed ones have.
    """

    def convert(value: Any) -> str:
        word = fold(text(value))
        if word not in allowed:
            raise ValueError("must be one of " + ", ".join(a if a else repr(a) for a in allowed))
        return word

    return convert


def log_levels(value: Any) -> str:
    """Convert one or more of ``LOG_LEVELS``, separated by commas; with one that means off, all are off.

    For the registry's YAML the word off is false, and so are the others that mean it.
    """
    words = "off" if value is False else text(value).lower()
    levels = ["off" if _BOOLEANS.get(word.strip()) is False else word.strip() for word in words.split(",")]
    if not set(levels) <= set(LOG_LEVELS):
        raise ValueError(f"must be one or more, with commas between, of {', '.join(LOG_LEVELS)}")
    return "off" if {"off", "logoff"} & set(levels) else ",".join(levels)


def header(value: Any) -> str:
    """Convert text that may stand in an HTTP header."""
    string = text(value)
    if not string.isascii():
        raise ValueError("must be ASCII, as it goes into a header")
    return string


def root_directory(value: Any) -> str:
    """Convert a root directory."""
    directory = text(value)
    if any(part in (".", "..") for part in directory.split("/")):
        raise ValueError("must not have '.' or '..' components")
    return directory


# What names a host in practice: docker-compose's services may have underscores.
_LABEL = r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)"
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


def is_address(host: str) -> bool:
    """Return whether a host is an IP address."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def endpoint(value: Any) -> str:
    """Convert a host with or without scheme, port and path."""
    string = text(value)
    if string and _url(string) is None:
        raise ValueError(
            "must be host[:port], or http:// or https:// before it, without user, query, fragment or '..'; "
            "a host is made of letters, digits, dots, hyphens and underscores, a port is one of 1 to 65535"
        )
    return _lower_scheme(string).rstrip("/")


def origin(value: Any) -> str:
    """Convert a scheme and host without a path."""
    string = text(value)
    match = _url(string)
    if string and (match is None or not match["scheme"] or match["path"]):
        raise ValueError("must be http://host[:port] or https://host[:port], without path or query")
    return _lower_scheme(string)


# botocore's own rules (botocore.handlers.VALID_BUCKET, VALID_S3_ARN): names, and access points by ARN.
_BUCKET = re.compile(r"[A-Za-z0-9.\-_]{1,255}", re.ASCII)
_ARN = re.compile(
    r"arn:aws[a-z-]*:(?:s3|s3-object-lambda):[a-z0-9-]*:[0-9]{12}:accesspoint[/:][A-Za-z0-9.-]{1,63}"
    r"|arn:aws[a-z-]*:s3-outposts:[a-z0-9-]+:[0-9]{12}"
    r":outpost[/:][A-Za-z0-9-]{1,63}[/:]accesspoint[/:][A-Za-z0-9-]{1,63}",
    re.ASCII,
)


def bucket(value: Any) -> str:
    """Convert a bucket's name or an access point's ARN."""
    name = text(value)
    if name and (name in (".", "..") or not (_BUCKET.fullmatch(name) or _ARN.fullmatch(name))):
        raise ValueError("must be a bucket's name (letters, digits, dots, hyphens) or an access point's ARN")
    return name


_SCOPE = re.compile(r"[!-+.0-~-]*")


def is_scope(name: str) -> bool:
    """Return whether a region's name can be part of a signature's scope, which " ", "," and "/" delimit."""
    return _SCOPE.fullmatch(name) is not None
