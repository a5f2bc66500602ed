"""Fuzz the fast lane's reader of HTTP with atheris: ``python tests/fuzz/fuzz_http1.py -runs=100000``."""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports():
    from regfs.s3.http.parser import Head, Parser, ProtocolError

_HEADS = (
    b"",
    b"HTTP/1.1 200 OK\r\n",
    b"HTTP/1.1 206 Partial Content\r\nContent-Length: 5\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.0 404 Not Found\r\n",
)
Answer = tuple[Head | None, bytes, bytes, bool, bool]


def read(data: bytes, cuts: list[int], bodiless: bool) -> Answer | None:
    """Read an answer that comes in pieces; None where it is none."""
    parser = Parser(bodiless=bodiless)
    body = b""
    try:
        for start, stop in zip([0, *cuts], [*cuts, len(data)], strict=True):
            body += b"".join(parser.feed(data[start:stop]))
    except ProtocolError:
        return None
    return parser.head, body, parser.rest, parser.done, parser.lives


def one(data: bytes) -> None:
    """Read one answer, whole and in pieces: they must be the same answer, which holds no more than came."""
    source = atheris.FuzzedDataProvider(data)
    bodiless = source.ConsumeBool()
    cuts = [source.ConsumeIntInRange(0, 80) for _ in range(source.ConsumeIntInRange(0, 4))]
    sent = _HEADS[source.ConsumeIntInRange(0, len(_HEADS) - 1)] + source.ConsumeBytes(sys.maxsize)
    whole = read(sent, [], bodiless)
    pieces = read(sent, sorted(min(cut, len(sent)) for cut in cuts), bodiless)
    assert whole == pieces, (sent, cuts, whole, pieces)
    if whole:
        head, body, rest, _, _ = whole
        assert len(body) + len(rest) <= len(sent)
        assert sent.endswith(rest)
        assert head is None or not any(ord(c) in (0, 10, 13) for text in head.headers.values() for c in text)


if __name__ == "__main__":
    atheris.Setup(sys.argv, one)
    atheris.Fuzz()
