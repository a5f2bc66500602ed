"""The reader of HTTP/1.1 answers: the same whatever pieces they come in, and strict."""

from __future__ import annotations

import contextlib
import http.client
import io
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regfs.s3.http.parser import LONGEST, Parser, ProtocolError


def read(answer: bytes, cuts: list[int], *, bodiless: bool = False, ended: bool = False) -> Any:
    """Feed an answer in pieces; give status, reason, headers, body and rest."""
    parser, body, at = Parser(bodiless=bodiless), b"", 0
    for cut in [*sorted(cuts), len(answer)]:
        body += b"".join(parser.feed(answer[at:cut]))
        at = max(at, cut)
    if ended:
        parser.end()
    assert parser.done
    assert parser.head is not None
    return (*parser.head, body, parser.rest)


def chunked(body: bytes, sizes: list[int], *, extension: str = "", trailer: str = "") -> bytes:
    out, at = b"", 0
    for size in sizes:
        piece = body[at : at + size]
        at += len(piece)
        if piece:
            out += f"{len(piece):x}{extension}\r\n".encode() + piece + b"\r\n"
    if body[at:]:
        out += f"{len(body) - at:X}\r\n".encode() + body[at:] + b"\r\n"
    return out + f"0\r\n{trailer}\r\n".encode()


BODIES = st.binary(max_size=60) | st.sampled_from([b"\r\n\r\n", b"0\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n"])
CUTS = st.lists(st.integers(0, 200), max_size=8)


@given(BODIES, CUTS, st.binary(max_size=5))
def test_a_body_of_known_length(body: bytes, cuts: list[int], rest: bytes) -> None:
    answer = b'HTTP/1.1 206 Partial Content\r\nContent-LENGTH: %d\r\nETag:"x" \r\n\r\n' % len(body) + body
    headers = {"content-length": str(len(body)), "etag": '"x"'}
    assert read(answer + rest, cuts) == (206, "Partial Content", headers, body, rest)


@given(BODIES, CUTS, st.lists(st.integers(1, 20), max_size=4), st.sampled_from(["", ";a=b"]))
def test_a_body_in_chunks(body: bytes, cuts: list[int], sizes: list[int], extension: str) -> None:
    coded = chunked(body, sizes, extension=extension, trailer="x-sum: 1\r\n")
    answer = b"HTTP/1.1 200 \r\nTransfer-Encoding: chunked\r\n\r\n" + coded
    assert read(answer + b"!", cuts)[3:] == (body, b"!")
    assert http_client(answer) == body


def http_client(answer: bytes) -> bytes:
    """Read it as the standard library does."""

    class Socket:
        def makefile(self, mode: str) -> io.BytesIO:
            return io.BytesIO(answer)

    response = http.client.HTTPResponse(Socket())  # type: ignore[arg-type]  # all that is asked of a socket
    response.begin()
    return response.read()


@given(BODIES, CUTS)
def test_a_body_until_the_end(body: bytes, cuts: list[int]) -> None:
    assert read(b"HTTP/1.0 200 OK\r\n\r\n" + body, cuts, ended=True)[3] == body


@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"])
def test_no_body(status: bytes) -> None:
    assert read(b"HTTP/1.1 " + status + b"\r\nContent-Length: 5\r\n\r\n", [])[3:] == (b"", b"")
    assert read(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", [], bodiless=True)[3:] == (b"", b"")


def test_what_comes_before_the_answer_is_passed_over() -> None:
    answer = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
    assert read(answer + b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx", [])[:4] == (
        200,
        "OK",
        {"content-length": "1"},
        b"x",
    )


@pytest.mark.parametrize(
    ("head", "lives"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0", True),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: Close", False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: x\r\nConnection: close", False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\nConnection: keep-alive", False),
        (b"HTTP/1.1 200 OK", False),
    ],
)
def test_whether_the_connection_lives(head: bytes, lives: bool) -> None:
    parser = Parser()
    parser.feed(head + b"\r\n\r\n")
    assert parser.lives is lives


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/2 200 OK\r\n\r\n",
        b"HTTP/1.1 99 Low\r\n\r\n",
        b"HTTP/1.1  200 OK\r\n\r\n",
        b"ICY 200 OK\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1, 1\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nxy\r\n",
        b"HTTP/1.1 200 OK\r\n folded: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX : y\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: a\rb\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: a\nb\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: a\nY: b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: a\rY: b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno name Y: b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: a\0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: a\0b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno header\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * LONGEST + b"\r\n\r\n",
        b"x" * (LONGEST + 1),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1" * (LONGEST + 1),
    ],
)
def test_what_is_refused(answer: bytes) -> None:
    with pytest.raises(ProtocolError):
        Parser().feed(answer)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n",
    ],
)
def test_an_end_too_early(answer: bytes) -> None:
    parser = Parser()
    parser.feed(answer)
    with pytest.raises(ProtocolError):
        parser.end()


def test_a_body_that_goes_elsewhere() -> None:
    parser = Parser()
    assert parser.plain == 0
    assert parser.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc") == [b"abc"]
    assert parser.plain == 7
    parser.took(7)
    assert parser.done
    assert parser.plain == 0


@given(st.lists(st.binary(max_size=40), max_size=6))
def test_only_one_error_comes_out(pieces: list[bytes]) -> None:
    parser = Parser()
    with contextlib.suppress(ProtocolError):
        for piece in (b"HTTP/1.1 200 OK\r\n", *pieces):
            parser.feed(piece)
        parser.end()
