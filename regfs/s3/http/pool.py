"""A pool of connections to one host, for one event loop."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
from collections import deque
from typing import Any, NamedTuple

from regfs.s3.http.connection import Connection, Response

IDLE = 15.0
"""Seconds after which a connection that waits for its next request is not trusted any more."""


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


class NoConnectionError(OSError):
    """No connection was made; the cause says why."""


class Origin(NamedTuple):
    """Whom the connections go to. `tls` is an SSL context, or None for plain HTTP."""

    host: str
    port: int
    tls: Any


class Pool:
    """The connections of one loop to one host.

    Parameters
    ----------
    origin : Origin
        Whom they go to.
    limit : int
        Connections at the same time; who comes when all are taken waits.
    connect_timeout, timeout : float
        Seconds that connecting may take, and that may pass without a byte.
    """

    def __init__(self, origin: Origin, limit: int, connect_timeout: float, timeout: float) -> None:
        self.timeout = timeout
        self._closed = False
        self._origin = origin
        self._limit = limit
        self._connect_timeout = connect_timeout
        self._loop = asyncio.get_running_loop()
        self._free: list[Connection] = []
        self._all: set[Connection] = set()
        self._ending: set[Connection] = set()
        self._ended = asyncio.Event()
        self._ended.set()
        self._opening: set[asyncio.Task[Connection]] = set()
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._sweep: asyncio.TimerHandle | None = None

    async def take(self) -> Connection:
        """Return a connection, a free one if there is one. After an exchange it is back by itself.

        Raises
        ------
        NoConnectionError
            None came about.
        ConnectionError
            The pool was closed.
        """
        while not self._closed:
            while self._free:
                connection = self._free.pop()
                if self._loop.time() - connection.free_since < IDLE:
                    return connection
                connection.drop()
            if len(self._all) + len(self._opening) < self._limit:
                return await self._connect()
            await self._turn()
        raise ConnectionAbortedError("the connections are closed")

    async def _turn(self) -> None:
        turn: asyncio.Future[None] = self._loop.create_future()
        self._waiting.append(turn)
        try:
            await turn
        except BaseException:
            if turn.cancelled():
                with contextlib.suppress(ValueError):
                    self._waiting.remove(turn)
            else:
                self._next()  # it was given to somebody who has left
            raise

    async def _connect(self) -> Connection:
        opening = asyncio.create_task(self._open())
        self._opening.add(opening)
        opening.add_done_callback(self._opened)
        try:
            return await asyncio.shield(opening)
        except asyncio.CancelledError:  # whoever comes next may have it
            opening.add_done_callback(self._unclaimed)
            raise

    async def _open(self) -> Connection:
        host, port, tls = self._origin
        connection = Connection(self, self._loop)
        opening = self._loop.create_connection(
            lambda: connection,
            host,
            port,
            ssl=tls,
            server_hostname=host if tls else None,
            happy_eyeballs_delay=None if _is_address(host) else 0.25,
        )
        try:
            await asyncio.wait_for(opening, self._connect_timeout)
        except (OSError, asyncio.TimeoutError) as exc:  # 3.10's is none of the builtin
            raise NoConnectionError("no connection came about") from exc
        self._all.add(connection)
        if self._closed:
            connection.drop()
        return connection

    def _opened(self, opening: asyncio.Task[Connection]) -> None:
        self._opening.discard(opening)
        self._next()

    def _unclaimed(self, opening: asyncio.Task[Connection]) -> None:
        if not opening.cancelled() and not opening.exception():
            connection = opening.result()
            connection.free_since = self._loop.time()
            self.free(connection)

    def _next(self) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return

    def free(self, connection: Connection) -> None:
        """Return a connection to the pool."""
        if self._closed:
            connection.drop()
            return
        self._free.append(connection)
        if self._sweep is None:
            self._sweep = self._loop.call_later(IDLE, self._drop_idle)
        self._next()

    def _drop_idle(self) -> None:
        """Close connections that were idle for too long, so that no burst leaves them open for ever."""
        self._sweep = None
        while self._free and self._loop.time() - self._free[0].free_since >= IDLE:
            self._free[0].drop()  # the one that was used last is taken first: the first waits for longest
        if self._free:
            self._sweep = self._loop.call_at(self._free[0].free_since + IDLE, self._drop_idle)

    def gone(self, connection: Connection) -> None:
        """Remove a connection that has ended."""
        self._ending.add(connection)
        self._ended.clear()
        self._all.discard(connection)
        with contextlib.suppress(ValueError):
            self._free.remove(connection)
        self._next()

    def closed(self, connection: Connection) -> None:
        """Forget a connection whose socket is closed."""
        self._ending.discard(connection)
        if not self._ending:
            self._ended.set()

    async def wait_closed(self) -> None:
        """Wait, behind :meth:`close`, until all sockets are closed: the loop does that a little later."""
        if self._opening:
            await asyncio.wait(self._opening)
        await self._ended.wait()

    def close(self) -> None:
        """Close all connections; pending requests fail."""
        self._closed = True
        if self._sweep is not None:
            self._sweep.cancel()
        for opening in self._opening:
            opening.cancel()
        for connection in list(self._all):
            connection.drop()
        for turn in self._waiting:
            if not turn.done():
                turn.set_result(None)


async def request(pool: Pool, head: bytes, body: bytes | None, *, bodiless: bool) -> Response:
    """Send a request; once more if a connection that has been used before turns out to be closed.

    Parameters
    ----------
    pool : Pool
        The connections.
    head : bytes
        Request line and headers, with the empty line.
    body : bytes, optional
        What follows.
    bodiless : bool
        Whether the response has no body whatever it says (HEAD).
    """
    connection = await pool.take()
    used = connection.used
    try:
        return await connection.exchange(head, body, bodiless=bodiless)
    except ConnectionError:
        if not used:
            raise
    # A server closes what has been idle for too long, and may do so at this very moment.
    connection = await pool.take()
    return await connection.exchange(head, body, bodiless=bodiless)
