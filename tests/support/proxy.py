"""A counting HTTP/1.1 proxy between a client under test and an S3 server.

It forwards every byte as it came (so that signatures hold: the client signs for the proxy's own host and
port, and the server verifies the Host header that it receives), notes each request, and can answer in the
server's place. One thread and one connection to the server for each connection of a client.
"""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import sys
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal
from urllib.parse import parse_qsl, unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_BLOCK = 256 * 1024
_MAX_HEAD = 256 * 1024
_TIMEOUT = 60.0


@dataclass
class Request:
    """One request as it went over the wire. ``status`` is 0 until the answer's first line is there."""

    method: str
    path: str
    """Percent-decoded."""
    target: str
    """Path and query as they came, nothing decoded."""
    query: dict[str, str]
    """Percent-decoded; a parameter without a value has the empty string."""
    headers: dict[str, str]
    """Names in lower case."""
    status: int = 0
    body: bytes = b""
    """Of a request that was answered in the server's place."""

    def __repr__(self) -> str:
        query = "&".join(f"{name}={value}" if value else name for name, value in self.query.items())
        return f"<{self.method} {self.path}{'?' * bool(query)}{query} {self.status}>"


@dataclass(frozen=True)
class Fate:
    """What becomes of an exchange that reaches the server.

    Attributes
    ----------
    request, answer : float or None
        The share of the request's or the answer's body after which it ends; -1: not even the answer's head
        comes through, though the server has done its part. None: it does not end early.
    how : str
        How it ends: the client's connection is "reset", "closed", or "stalled" until the client goes away.
    drip : float
        Seconds between the answer's pieces, which are a sixteenth of it.
    spoil : bool
        Change a byte of the request's body on the way.
    """

    request: float | None = None
    answer: float | None = None
    how: Literal["reset", "closed", "stalled"] = "reset"
    drip: float = 0.0
    spoil: bool = False


class Throttling:
    """A fault: answers in the server's place whatever is more than `rate` requests a second.

    Parameters
    ----------
    rate : float
        Requests a second that come through; infinite lifts it.
    burst : float
        Requests that come through at once after a rest.
    answer : callable
        Makes the raw response to the others; the method tells whether it may have a body.

    Attributes
    ----------
    refused : int
        How many were.
    """

    def __init__(self, rate: float, burst: float, answer: Callable[[Request], bytes]) -> None:
        self.rate, self._burst, self._answer = rate, burst, answer
        self.refused = 0
        self._tokens, self._filled = burst, time.monotonic()
        self._lock = threading.Lock()

    def __call__(self, request: Request) -> bytes | None:
        with self._lock:
            now = time.monotonic()
            self._tokens = min(self._burst, self._tokens + (now - self._filled) * self.rate)
            self._filled = now
            if self._tokens >= 1:
                self._tokens -= 1
                return None
            self.refused += 1
        return self._answer(request)


@dataclass
class CountingProxy:
    """Forwards requests to ``upstream`` ("http://127.0.0.1:PORT") and notes them.

    Attributes
    ----------
    fault : callable, optional
        Asked before each request is forwarded. None as its answer lets the request through; bytes are
        sent to the client as the raw response; ``b""`` resets the client's connection; a `Fate` lets it
        reach the server. It runs in the connection's thread, and may wait there to hold a request up.
    requests : list of Request
        In the order of their arrival.
    """

    upstream: str
    fault: Callable[[Request], bytes | Fate | None] | None = None
    requests: list[Request] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._port = 0
        self._lock = threading.Lock()
        self._sockets: set[socket.socket] = set()
        self.forward_to(self.upstream)
        self._threads: list[threading.Thread] = []
        self._closed = False
        self._listen()
        self.endpoint = f"http://127.0.0.1:{self._port}"

    def _listen(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", self._port), backlog=256)
        self._port = self._listener.getsockname()[1]
        self._refusing = False
        self._acceptor = threading.Thread(target=self._accept, daemon=True, name="proxy")
        self._acceptor.start()

    def clear(self) -> None:
        """Forget the requests seen so far."""
        self.requests.clear()

    def count(self, method: str | None = None) -> int:
        """Count the requests seen so far, all or those of one method."""
        return sum(method in (None, request.method) for request in list(self.requests))

    @contextlib.contextmanager
    def counting(self) -> Iterator[list[Request]]:
        """Return a list that holds, after the block, the requests that were made in it."""
        seen: list[Request] = []
        start = len(self.requests)
        try:
            yield seen
        finally:
            seen.extend(self.requests[start:])

    @contextlib.contextmanager
    def refusing(self) -> Iterator[None]:
        """Drop every connection and refuse new ones for the time of the block."""
        self._stop_listening()
        self._drop()
        try:
            yield
        finally:
            self._listen()

    def forward_to(self, upstream: str) -> None:
        """Forward what comes on new connections to another server, and drop the old ones."""
        parts = urlsplit(upstream)
        self._upstream = (parts.hostname or "", parts.port or 80)
        self._drop()

    @property
    def connections(self) -> int:
        """How many sockets are open, of clients and to the server."""
        with self._lock:
            return len(self._sockets)

    def close(self) -> None:
        """Drop every connection and stop every thread."""
        self._closed = True
        self._stop_listening()
        self._drop()
        for thread in self._threads:
            thread.join(_TIMEOUT)

    def _stop_listening(self) -> None:
        self._refusing = True
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        with contextlib.suppress(OSError):  # where shutdown does not end accept()
            socket.create_connection(self._listener.getsockname(), timeout=1).close()
        self._acceptor.join()
        self._listener.close()

    def _drop(self) -> None:
        with self._lock:
            for each in self._sockets:
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self._refusing:
                client.close()
                return
            thread = threading.Thread(target=self._serve, args=(client,), daemon=True, name="proxy")
            self._threads = [item for item in self._threads if item.is_alive()]
            self._threads.append(thread)
            thread.start()

    def _serve(self, client: socket.socket) -> None:
        with self._open(client) as down, contextlib.ExitStack() as stack:
            up: _Connection | None = None
            # OSError: either side went away, in the middle perhaps. Then both connections are dropped.
            with contextlib.suppress(OSError, _GoneError):
                while head := down.read_head():
                    request = _parse_request(head)
                    self.requests.append(request)
                    answer = self.fault(request) if self.fault is not None else None
                    if isinstance(answer, bytes):
                        if not _answer(down, request, answer):
                            return
                        continue
                    if up is None or up.is_stale():
                        up = stack.enter_context(self._open(socket.create_connection(self._upstream)))
                    if not _exchange(down, up, head, request, answer or _UNTOUCHED):
                        return

    @contextlib.contextmanager
    def _open(self, connected: socket.socket) -> Iterator[_Connection]:
        connected.settimeout(_TIMEOUT)
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with self._lock:
            self._sockets.add(connected)
        try:
            if self._closed:
                connected.shutdown(socket.SHUT_RDWR)
            yield _Connection(connected)
        finally:
            with self._lock:
                self._sockets.discard(connected)
            connected.close()


_UNTOUCHED = Fate()


class _GoneError(Exception):
    """A message ended before its end."""


class _Connection:
    def __init__(self, connected: socket.socket) -> None:
        self.socket = connected
        self.buffer = b""

    def is_stale(self) -> bool:
        """Return whether the server has closed a connection that waits for its next request."""
        return bool(self.buffer) or bool(_readable(self.socket))

    def read_head(self) -> bytes:
        """Read up to and including the empty line; empty if the connection ends before."""
        while (end := self.buffer.find(b"\r\n\r\n")) < 0:
            data = self.socket.recv(_BLOCK)
            if not data or len(self.buffer) > _MAX_HEAD:
                return b""
            self.buffer += data
        head, self.buffer = self.buffer[: end + 4], self.buffer[end + 4 :]
        return head

    def read_body(self, body: _Body) -> bytes:
        """Read some bytes of a body that is not done."""
        data = self.buffer or self.socket.recv(_BLOCK)
        if not data:
            if body.until_close:
                body.done = True
                return b""
            raise _GoneError
        taken = body.take(data)
        self.buffer = data[taken:]
        return data[:taken]


class _Body:
    """Finds where a body ends.

    ``length`` is its bytes, or None if it comes chunked (https://www.rfc-editor.org/rfc/rfc9112#section-7.1).
    """

    def __init__(self, length: int | None = 0, *, until_close: bool = False) -> None:
        self.until_close = until_close
        self.done = length == 0 and not until_close
        self._chunked = length is None and not until_close
        self._left = length or 0
        self._line = b""
        self._trailer = False

    def take(self, data: bytes) -> int:
        """Return how many of the bytes belong to the body."""
        if self.until_close:
            return len(data)
        if not self._chunked:
            taken = min(self._left, len(data))
            self._left -= taken
            self.done = self._left == 0
            return taken
        at = 0
        while at < len(data) and not self.done:
            if self._left:
                step = min(self._left, len(data) - at)
                self._left -= step
                at += step
                continue
            end = data.find(b"\n", at) + 1
            self._line += data[at : end or len(data)]
            at = end or len(data)
            if end:
                self._end_of_line(self._line.strip())
                self._line = b""
        return at

    def _end_of_line(self, line: bytes) -> None:
        if self._trailer:
            self.done = not line
        else:
            size = int(line.partition(b";")[0], 16)
            self._trailer = size == 0
            self._left = size + 2 if size else 0  # the line break after the chunk's data


def _readable(*sockets: socket.socket, timeout: float = 0) -> list[socket.socket]:
    poll = select.poll()
    for each in sockets:
        poll.register(each, select.POLLIN)
    ready = {descriptor for descriptor, _ in poll.poll(timeout * 1000)}
    return [each for each in sockets if each.fileno() in ready]


def _headers(head: bytes) -> dict[str, str]:
    lines = head.decode("latin-1").split("\r\n")[1:-2]
    return {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}


def _parse_request(head: bytes) -> Request:
    method, target, _ = head.partition(b"\r\n")[0].decode("latin-1").split(" ")
    parts = urlsplit(target)
    return Request(
        method,
        unquote(parts.path),
        target,
        dict(parse_qsl(parts.query, keep_blank_values=True)),
        _headers(head),
    )


def _body_of_request(request: Request) -> _Body:
    if "chunked" in request.headers.get("transfer-encoding", "").lower():
        return _Body(None)
    return _Body(int(request.headers.get("content-length", "0")))


def _body_of_response(method: str, status: int, headers: dict[str, str]) -> _Body:
    if method == "HEAD" or status in (204, 304):
        return _Body(0)
    if "chunked" in headers.get("transfer-encoding", "").lower():
        return _Body(None)
    if "content-length" in headers:
        return _Body(int(headers["content-length"]))
    return _Body(until_close=True)


def _status(head: bytes) -> int:
    return int(head.split(b" ", 2)[1])


def _answer(down: _Connection, request: Request, answer: bytes) -> bool:
    """Send a made-up response; return whether the connection goes on."""
    if not answer:
        _reset(down)
        return False
    status = answer.split(maxsplit=2)[1:2]
    request.status = int(status[0]) if status and status[0].isdigit() else 0  # a test may answer nonsense
    if "100-continue" in request.headers.get("expect", "").lower():
        down.socket.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
    body = _body_of_request(request)
    while not body.done:  # to the end, so that the connection can go on
        request.body += down.read_body(body)
    down.socket.sendall(answer)
    return (
        "close" not in _headers(answer.partition(b"\r\n\r\n")[0] + b"\r\n\r\n").get("connection", "").lower()
    )


def _exchange(down: _Connection, up: _Connection, head: bytes, request: Request, fate: Fate) -> bool:
    """Forward one request and its response; return whether the connections go on."""
    up.socket.sendall(head)
    body, headers = _body_of_request(request), None
    silent = fate.answer == -1
    length = int(request.headers.get("content-length", "0"))
    left = sys.maxsize if fate.request is None else int(length * fate.request)
    spoil = fate.spoil
    while not body.done and headers is None:
        # The server may speak before the body is through: 100 Continue, or a refusal.
        if not down.buffer and up.socket in _readable(down.socket, up.socket, timeout=_TIMEOUT):
            headers = _forward_head(down, up, request, silent)
            continue
        data = down.read_body(body)
        if spoil:
            data, spoil = bytes([data[0] ^ 1]) + data[1:], False
        up.socket.sendall(data[:left])
        left -= len(data)
        if left < 0:
            return _end(down, fate)
    while headers is None:
        headers = _forward_head(down, up, request, silent)
    answer = _body_of_response(request.method, request.status, headers)
    length = int(headers.get("content-length", "0"))
    left = sys.maxsize if fate.answer is None else int(length * fate.answer)
    while not answer.done:
        data = up.read_body(answer)
        step = max(1, length // 16) if fate.drip else len(data) or 1
        for at in range(0, 0 if silent else min(len(data), left), step):
            down.socket.sendall(data[:left][at : at + step])
            time.sleep(fate.drip)
        left -= len(data)
        if left < 0 and not silent:
            return _end(down, fate)
    if silent:
        return _end(down, fate)
    return body.done and not answer.until_close and "close" not in headers.get("connection", "").lower()


def _end(down: _Connection, fate: Fate) -> bool:
    """End a client's connection."""
    if fate.how == "stalled":
        _readable(down.socket, timeout=_TIMEOUT)  # until the client closes it
    elif fate.how == "reset":
        _reset(down)
    return False


def _reset(down: _Connection) -> None:
    # Lingering for zero seconds makes close() send a reset.
    down.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def _forward_head(
    down: _Connection, up: _Connection, request: Request, silent: bool
) -> dict[str, str] | None:
    """Forward the head of a response; return its headers, or None if another one follows (1xx)."""
    head = up.read_head()
    if not head:
        raise _GoneError
    status = _status(head)
    if status >= 200:
        request.status = status  # before the client can know, so that no test reads it too early
    if status < 200 or not silent:
        down.socket.sendall(head)
    return _headers(head) if status >= 200 else None
