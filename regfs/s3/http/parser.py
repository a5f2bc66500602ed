"""How an HTTP/1.1 answer is read: its head, and where its body ends. Pure: bytes in, bytes out.

It is strict. Whatever is odd is an error, since a reader that guesses where a response ends reads the next
one wrongly. Rules: https://www.rfc-editor.org/rfc/rfc9112
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

LONGEST = 64 * 1024
"""Bytes that a head, or a line between chunks, may have."""

_STATUS = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9]{2})(?: ([^\r\n]*))?")
_FIELD = re.compile(r"^([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\r\n\0]*)\r\n", re.MULTILINE)
_LENGTH = re.compile(r"[0-9]{1,19}")
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,16})[ \t]*(?:;[^\r\n]*)?")


class ProtocolError(ConnectionError):
    """A malformed or incomplete response."""


class Head(NamedTuple):
    """The beginning of a response; the names of `headers` are in lower case."""

    status: int
    reason: str
    headers: Mapping[str, str]


class Parser:
    """Reads one response.

    Parameters
    ----------
    bodiless : bool
        Whether there is no body whatever the head says: the response to a HEAD.

    Attributes
    ----------
    head : Head or None
        Once it is here.
    done : bool
        Whether all is here.
    lives : bool
        Whether the connection may carry another exchange after this one.
    rest : bytes
        What came behind the end.
    """

    def __init__(self, *, bodiless: bool = False) -> None:
        self.head: Head | None = None
        self.done = False
        self.lives = True
        self.rest = b""
        self._bodiless = bodiless
        self._held = b""
        """Of a head or a line, what has come."""
        self._left: int | None = 0
        """Bytes of the body, or of this chunk, still to come; None: all until the connection ends."""
        self._chunked = False
        self._behind = False
        """Whether the line behind a chunk comes next."""
        self._trailer = False

    def feed(self, data: bytes) -> list[bytes]:
        """Parse received bytes, and return those of the body.

        Raises
        ------
        ProtocolError
            It is no response.
        """
        if self._held:
            data, self._held = self._held + data, b""
        pieces: list[bytes] = []
        while data and not self.done:
            if self.head is None:
                data = self._read_head(data)
            elif self._chunked and not self._left:
                data = self._read_line(data)
            else:
                data = self._read_body(data, pieces)
        self.rest += data
        return pieces

    def end(self) -> None:
        """Process the end of the connection.

        Raises
        ------
        ProtocolError
            The response is not whole.
        """
        if self.head is not None and self._left is None and not self._chunked:
            self.done = True
        if not self.done:
            raise ProtocolError("the connection ended")

    @property
    def plain(self) -> int | None:
        """The number of the next bytes that belong to the body; None: all. 0 where it is not known yet."""
        if self.head is None or self._chunked or self.done:
            return 0
        return self._left

    def took(self, count: int) -> None:
        """Record that some bytes of the body (:attr:`plain`) were received elsewhere."""
        if self._left is not None:
            self._left -= count
            self.done = self._left == 0

    def _read_head(self, data: bytes) -> bytes:
        end = data.find(b"\r\n\r\n")
        if end < 0:
            return self._hold(data)
        if end > LONGEST:
            raise ProtocolError("the answer's head has no end")
        first, _, fields = data[: end + 2].partition(b"\r\n")
        status_line = _STATUS.fullmatch(first)
        if status_line is None:
            raise ProtocolError("the answer is not in HTTP/1.1")
        status = int(status_line[2])
        if status >= 200:
            headers = _headers(fields.decode("latin-1"))
            self.lives = status_line[1] == b"1" and "close" not in headers.get("connection", "").lower()
            self._measure(status, headers)
            self.head = Head(status, (status_line[3] or b"").decode("latin-1"), headers)
        elif status == 101:
            raise ProtocolError("the server changes the protocol")
        return data[end + 4 :]

    def _measure(self, status: int, headers: Mapping[str, str]) -> None:
        """Find out where the body ends."""
        coding, length = headers.get("transfer-encoding"), headers.get("content-length")
        if coding is not None and (coding.lower() != "chunked" or length is not None):
            raise ProtocolError("the answer's length cannot be told")
        if length is not None and not _LENGTH.fullmatch(length):
            raise ProtocolError("the answer's length is none")
        if self._bodiless or status in (204, 304):
            self.done = True
        elif coding is not None:
            self._chunked = True
        elif length is not None:
            self._left = int(length)
            self.done = not self._left
        else:
            self._left, self.lives = None, False

    def _read_line(self, data: bytes) -> bytes:
        """Read the line before a chunk or behind it, or one of the trailer."""
        end = data.find(b"\r\n")
        if end < 0:
            return self._hold(data)
        line, data = data[:end], data[end + 2 :]
        if self._behind:
            if line:
                raise ProtocolError("a chunk is longer than it said")
            self._behind = False
        elif self._trailer:
            self.done = not line
        else:
            size = _CHUNK.fullmatch(line)
            if size is None:
                raise ProtocolError("a chunk does not tell its size")
            self._left = int(size[1], 16)
            self._trailer = not self._left
        return data

    def _read_body(self, data: bytes, found: list[bytes]) -> bytes:
        if self._left is None:
            found.append(data)
            return b""
        found.append(data[: self._left])
        data, self._left = data[self._left :], self._left - len(found[-1])
        if not self._left:
            self._behind = self._chunked
            self.done = not self._chunked
        return data

    def _hold(self, data: bytes) -> bytes:
        if len(data) > LONGEST:
            raise ProtocolError("a line of the answer has no end")
        self._held = data
        return b""


def _headers(text: str) -> dict[str, str]:
    """Read lines, each with its end: all at once, as there are a dozen in every response."""
    fields = _FIELD.findall(text)
    if len(fields) != text.count("\n"):
        raise ProtocolError("a header is none")
    headers = {name.lower(): value.rstrip(" \t") for name, value in fields}
    return headers if len(headers) == len(fields) else _joined(fields)


def _joined(fields: list[tuple[str, str]]) -> dict[str, str]:
    """Join the values of headers that come more than once."""
    headers: dict[str, str] = {}
    for field, text in fields:
        name, value = field.lower(), text.rstrip(" \t")
        if name not in headers:
            headers[name] = value
        elif name != "content-length":
            headers[name] += f", {value}"
        elif headers[name] != value:
            raise ProtocolError("the answer's length cannot be told")
    return headers
