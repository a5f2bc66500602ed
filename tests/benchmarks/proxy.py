"""A proxy that counts requests and, if asked, delays them; a process of its own.

It forwards every byte as it came, so that signatures hold. Each time a client speaks after the server did, it
waits: once for a request, once more for a body whose sender waited for "100 Continue". That is what distance
costs; what follows without a pause flows freely.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import re
import time
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

_REQUEST = re.compile(rb"[A-Z]+ [^ ]+ HTTP/1\.[01]\r\n")
_HELD = 2**20
"""Bytes that wait on one side before the other is asked to pause."""


class _Side(asyncio.Protocol):
    """One connection, client's or server's; what it receives goes to the other."""

    def __init__(self, proxy: _Forwarder) -> None:
        self.proxy = proxy
        self.transport: Any = None
        self.other: _Side | None = None
        self.waiting: list[bytes] = []  # received, and not yet sent on
        self.held = False  # whether what arrives must wait
        self.ended = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.transport.set_write_buffer_limits(_HELD)

    def pause_writing(self) -> None:
        if self.other:
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.other and not self.other.ended:
            self.other.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended = True
        if self.other and self.other.transport and not self.held:
            self.other.transport.close()  # after what is still to be written

    def data_received(self, data: bytes) -> None:
        if self.held:
            self.waiting.append(data)
        elif self.other:
            self.other.transport.write(data)


class _FromServer(_Side):
    def data_received(self, data: bytes) -> None:
        if isinstance(self.other, _FromClient):
            self.other.answered = True
        super().data_received(data)


class _FromClient(_Side):
    answered = True  # whether the server has spoken since the client did

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.held = True  # until the server's side is there
        self.delayed = False
        self.task = asyncio.create_task(self._connect())

    async def _connect(self) -> None:
        try:
            _, self.other = await asyncio.get_running_loop().create_connection(
                lambda: _FromServer(self.proxy), *self.proxy.upstream
            )
        except OSError:
            self.transport.abort()
            return
        self.other.other = self
        if not self.delayed:
            self._release()

    def _due(self) -> None:
        self.delayed = False
        if self.other:
            self._release()

    def _release(self) -> None:
        """Send on what waited."""
        assert self.other is not None
        self.held = False
        self.other.transport.writelines(self.waiting)
        self.waiting.clear()
        if self.ended:
            self.other.transport.close()

    def data_received(self, data: bytes) -> None:
        if self.answered:
            self.answered = False
            if _REQUEST.match(data):
                with self.proxy.count.get_lock():
                    self.proxy.count.value += 1
            if self.proxy.delay:
                self.held = self.delayed = True
                asyncio.get_running_loop().call_later(self.proxy.delay, self._due)
        super().data_received(data)


class _Forwarder:
    """What the sides of all connections share."""

    def __init__(self, upstream: tuple[str, int], delay: float, count: Any) -> None:
        self.upstream = upstream
        self.delay = delay
        self.count = count


async def _serve(
    upstream: tuple[str, int], delay: float, count: Any, port: Any, lifeline: Connection
) -> None:
    forwarder = _Forwarder(upstream, delay, count)
    server = await asyncio.get_running_loop().create_server(
        lambda: _FromClient(forwarder), "127.0.0.1", 0, backlog=2048
    )
    owner_ended = asyncio.Event()
    asyncio.get_running_loop().add_reader(lifeline.fileno(), owner_ended.set)
    port.value = server.sockets[0].getsockname()[1]
    await owner_ended.wait()


def _main(upstream: tuple[str, int], delay: float, count: Any, port: Any, lifeline: Connection) -> None:
    asyncio.run(_serve(upstream, delay, count, port, lifeline))


class Proxy:
    """The proxy's process, as a context manager.

    Parameters
    ----------
    endpoint : str
        The server's, ``http://HOST:PORT``.
    delay : float
        Seconds in front of each request.

    Attributes
    ----------
    endpoint : str
        The proxy's own.
    """

    def __init__(self, endpoint: str, delay: float = 0.0) -> None:
        parts = urlsplit(endpoint)
        context = multiprocessing.get_context("spawn")
        self._count = context.Value("q", 0)
        self._port = context.Value("i", 0)
        # The other end of it ends with this process, however that comes about.
        self._lifeline, self._other = context.Pipe()
        self._process = context.Process(
            target=_main,
            args=((parts.hostname, parts.port), delay, self._count, self._port, self._other),
            daemon=True,
            name="proxy",
        )
        self.endpoint = ""

    @property
    def count(self) -> int:
        """How many requests have begun so far."""
        return int(self._count.value)

    def __enter__(self) -> Self:
        self._process.start()
        self._other.close()
        deadline = time.monotonic() + 30
        while not self._port.value:
            if not self._process.is_alive() or time.monotonic() > deadline:
                raise RuntimeError("the proxy did not start")
            time.sleep(0.01)
        self.endpoint = f"http://127.0.0.1:{self._port.value}"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.join()
        self._lifeline.close()
