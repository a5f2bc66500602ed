"""A connection of a lean HTTP/1.1 client, and the responses that come by it, one at a time.

Most of what a small request costs with an HTTP library is that library's generality: redirections, cookies,
middlewares, URL objects. Here is what the fast transport needs and nothing else. Whatever is odd breaks the
connection, and the caller repeats the request by other means. A body's bytes go from the socket right to
where they are wanted (:meth:`Response.into`), without a buffer between.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any, Protocol

from regfs.s3.http.parser import Head, Parser, ProtocolError

SCRATCH = 64 * 1024
"""Bytes of a connection's own buffer, for heads and what comes with them."""
PIECE = 128 * 1024
"""Bytes of a body that are handed to the socket at once, or that may arrive before they are read."""


class Keeper(Protocol):
    """The part of a pool that a connection uses. `timeout`: the seconds that may pass without a byte."""

    timeout: float

    def free(self, connection: Connection) -> None:
        """Keep a connection for the next request."""

    def gone(self, connection: Connection) -> None:
        """Remove a connection that has ended."""

    def closed(self, connection: Connection) -> None:
        """Forget a connection whose socket is closed."""


class Response:
    """A response, whose body is the caller's to read or to close.

    Parameters
    ----------
    head : Head
        Its head.
    connection : Connection
        Where the body comes from.

    Attributes
    ----------
    status : int
        As the head has it; `reason` and `headers` as well.
    """

    def __init__(self, head: Head, connection: Connection) -> None:
        self.status, self.reason, self.headers = head
        self.waits = False
        """Whether a read waits for more of the body."""
        self._connection: Connection | None = connection
        self._pieces: deque[bytes] = deque()
        self._held = 0
        self._error: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._target: memoryview | None = None
        """What of a buffer is still to be filled."""

    async def read(self, n: int) -> bytes:
        """Read what has arrived, at most `n` bytes; waits for a first one. Empty at the end.

        Raises
        ------
        ConnectionError
            The connection broke before the end.
        TimeoutError
            Nothing came for too long.
        """
        while not self._pieces:
            if self._error:
                raise self._error
            if self._connection is None:
                return b""
            await self._wait(self._connection)
        piece = self._pieces.popleft()
        if len(piece) > n:
            self._pieces.appendleft(piece[n:])
            piece = piece[:n]
        self._held -= len(piece)
        self._flow()
        return piece

    async def into(self, view: memoryview) -> int:
        """Fill a buffer; less only at the end, or where it broke. The errors are those of :meth:`read`.

        Bytes that came before the connection broke are returned first; the next call raises the error.
        """
        at = 0
        while self._pieces and at < len(view):
            piece = await self.read(len(view) - at)
            view[at : at + len(piece)] = piece
            at += len(piece)
        if at < len(view) and self._connection is not None:
            self._target = view[at:]
            try:
                while self._target and self._connection is not None:
                    await self._wait(self._connection)
                at = len(view) - len(self._target)
            finally:
                self._target.release()
                self._target = None
        if not at and view and self._error:
            raise self._error
        return at

    def close(self) -> None:
        """Drop the connection, unless the body was received to its end: then it is in the pool already."""
        if self._connection is not None:
            self._connection.drop()

    async def _wait(self, connection: Connection) -> None:
        self._waiter, self.waits = connection.loop.create_future(), True
        connection.moved()  # nobody has waited until now
        self._flow()
        try:
            await self._waiter
        except BaseException:
            connection.drop()
            raise
        finally:
            self._waiter, self.waits = None, False

    def _flow(self) -> None:
        if self._connection is not None:
            self._connection.flow(self._held < PIECE)

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # -- the connection's side ------------------------------------------------------------------------

    def room(self) -> memoryview | None:
        """Return the buffer that the next bytes of the body are wanted in, if there is one."""
        return self._target

    def filled(self, count: int) -> None:
        """Record that some bytes were received into it."""
        if self._target is not None:
            with self._target as target:
                self._target = target[count:]
            if not self._target:
                self._wake()

    def accept(self, data: bytes) -> None:
        """Add bytes of the body."""
        if self._target:
            taken = min(len(data), len(self._target))
            self._target[:taken] = data[:taken]
            self.filled(taken)
            data = data[taken:]
        if data:
            self._pieces.append(data)
            self._held += len(data)
            self._wake()
            self._flow()

    def end(self, error: Exception | None = None) -> None:
        """Record the end of the body."""
        self._connection, self._error = None, error
        self._wake()


class Connection(asyncio.BufferedProtocol):
    """A connection. Between exchanges it lies in its pool.

    Parameters
    ----------
    pool : Keeper
        Gets it back.
    loop : asyncio.AbstractEventLoop
        The pool's loop.

    Attributes
    ----------
    used : bool
        Whether it has carried an exchange.
    free_since : float
        When the last one ended, by the loop's clock.
    """

    def __init__(self, pool: Keeper, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.used = False
        self.free_since = 0.0
        self._pool = pool
        self._transport: Any = None
        self._closed = False
        self._scratch = memoryview(bytearray(SCRATCH))
        self._room: memoryview | None = None
        """Where the bytes that arrive now go if they are wanted there; asyncio holds it, too."""
        self._parser = Parser()
        self._answer: asyncio.Future[Response] | None = None
        self._response: Response | None = None
        self._sending = False
        self._reading = True
        self._writable: asyncio.Future[None] | None = None
        self._full = False
        self._timer: asyncio.TimerHandle | None = None
        self._moved = 0.0

    async def exchange(self, head: bytes, body: bytes | None, *, bodiless: bool) -> Response:
        """Send a request and wait for the head of its response.

        Raises
        ------
        ConnectionError
            The connection broke.
        TimeoutError
            Nothing came for too long.
        """
        self._parser = Parser(bodiless=bodiless)
        answer: asyncio.Future[Response] = self.loop.create_future()
        self._answer = answer
        self.moved()
        if self._timer is None:
            self._watch()
        try:
            if body and len(body) > PIECE:
                self._transport.write(head)
                await self._send(memoryview(body), answer)
            else:
                self._transport.write(head + body if body else head)
            return await answer
        except BaseException:
            if answer.done() and not answer.cancelled():
                answer.exception()  # asked for, or it would be a warning
            self.drop()
            raise

    async def _send(self, body: memoryview, answer: asyncio.Future[Response]) -> None:
        """Send in pieces: in one they would be copied where the socket takes less."""
        self._sending = True
        for start in range(0, len(body), PIECE):
            if answer.done():  # it answers before it has heard all, and will not listen any more
                return
            self._transport.write(body[start : start + PIECE])
            if self._full:
                self._writable = self.loop.create_future()
                await self._writable
            self.moved()
        self._sending = False

    def drop(self) -> None:
        """Close the connection; a pending read fails."""
        self._end(ConnectionAbortedError("the connection was given up"))

    def moved(self) -> None:
        """Count the time without a byte from now on."""
        self._moved = self.loop.time()

    def flow(self, wanted: bool) -> None:
        """Resume or pause reading."""
        if wanted is not self._reading and not self._closed:
            self._reading = wanted
            if wanted:
                self._transport.resume_reading()
            else:
                self._transport.pause_reading()

    def _watch(self) -> None:
        """Check for a stall. One timer serves many exchanges."""
        self._timer = None
        if self._answer is None and self._response is None:
            return
        quiet = self.loop.time() - self._moved
        if quiet >= self._pool.timeout and (self._response is None or self._response.waits):
            self._end(TimeoutError("nothing came in time"))
            return
        left = self._pool.timeout - quiet
        self._timer = self.loop.call_later(max(left, self._pool.timeout / 8), self._watch)

    # -- asyncio's side -------------------------------------------------------------------------------

    def connection_made(self, transport: Any) -> None:
        """Keep the transport."""
        self._transport = transport

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return room for what arrives: where it is wanted, if it can be nothing but that."""
        self._leave_room()
        room = self._response.room() if self._response is not None else None
        plain = self._parser.plain if room else 0
        if room and plain != 0:
            self._room = room[:plain]
            return self._room
        return self._scratch

    def buffer_updated(self, nbytes: int) -> None:
        """Process what was received."""
        self.moved()
        response, parser = self._response, self._parser
        direct = self._room is not None
        self._leave_room()
        if direct and response is not None:
            parser.took(nbytes)
            response.filled(nbytes)
        else:
            try:
                self._feed(bytes(self._scratch[:nbytes]))
            except ProtocolError as exc:
                self._end(exc)
                return
        if parser.done and self._response is not None:
            self._finish()

    def _feed(self, data: bytes) -> None:
        if self._answer is None and self._response is None:
            raise ProtocolError("the server speaks without being asked")
        pieces = self._parser.feed(data)
        answer, head = self._answer, self._parser.head
        if answer is not None and head is not None:
            self._answer, self._response = None, Response(head, self)
            if not answer.done():
                answer.set_result(self._response)
            self._go_on_writing()
        if self._response is not None:
            for piece in pieces:
                self._response.accept(piece)

    def _finish(self) -> None:
        """Be free again: the response is here to its last byte."""
        response, self._response = self._response, None
        if response is not None:
            response.end()
        if not self._parser.lives or self._parser.rest or self._sending:
            self.drop()
            return
        self.flow(True)
        self.used, self.free_since = True, self.loop.time()
        self._pool.free(self)

    def eof_received(self) -> bool:
        """Process the end of what the server sends."""
        if self._answer is None and self._response is None:
            self.drop()
            return False
        try:
            self._parser.end()
        except ProtocolError as exc:
            self._end(exc)
        else:
            self._finish()
        return False

    def _leave_room(self) -> None:
        """Release the view that asyncio was given, whose frame may live on in an exception's traceback."""
        room, self._room = self._room, None
        if room is not None:
            room.release()

    def connection_lost(self, exc: Exception | None) -> None:
        """Process the end of the connection."""
        self._leave_room()
        self._end(exc if isinstance(exc, OSError) else ProtocolError("the connection ended"))
        self._pool.closed(self)

    def pause_writing(self) -> None:
        """Wait with the next piece."""
        self._full = True

    def resume_writing(self) -> None:
        """Resume writing."""
        self._full = False
        self._go_on_writing()

    def _go_on_writing(self) -> None:
        writable, self._writable = self._writable, None
        if writable is not None and not writable.done():
            writable.set_result(None)

    def _end(self, error: Exception) -> None:
        if self._closed:
            return
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        for waiting in (self._writable, self._answer):
            if waiting is not None and not waiting.done():
                waiting.set_exception(error)
        response, self._response, self._answer = self._response, None, None
        if response is not None:
            response.end(error)
        if self._transport is not None:  # else it never came about
            self._pool.gone(self)
            self._transport.abort()
