"""The connections of the fast lane, on a server that does as it is told."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeAlias

import pytest

from regfs.s3.http.connection import PIECE, SCRATCH, Response
from regfs.s3.http.pool import NoConnectionError, Origin, Pool, request

GET = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"
Script: TypeAlias = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def served(script: Script, limit: int = 4, timeout: float = 5.0) -> AsyncIterator[Pool]:
    """Return a pool of connections to a server that runs `script` on each; after the block none is left."""
    here: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        here.add(task)
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                await script(reader, writer)
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()
        finally:
            writer.transport.abort()
            here.discard(task)

    server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=2**20)
    pool = Pool(Origin("127.0.0.1", server.sockets[0].getsockname()[1], None), limit, 2.0, timeout)
    try:
        yield pool
    finally:
        pool.close()
        await pool.wait_closed()
        server.close()
        for task in list(here):
            task.cancel()
        await asyncio.gather(*here, return_exceptions=True)
        await asyncio.sleep(0)  # for the loop to close the server's sockets


def run(work: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        await asyncio.wait_for(work(), 30)

    asyncio.run(main())


def answer(body: bytes, *, status: str = "200 OK", more: str = "") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{more}\r\n".encode() + body


def always(data: bytes, times: int = 1000) -> Script:
    """Answer each request with the same bytes, `times` at most on a connection."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(times):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(data)
            await writer.drain()

    return script


async def whole(response: Response) -> bytes:
    pieces = []
    while piece := await response.read(10**9):
        pieces.append(piece)
    return b"".join(pieces)


def test_a_connection_serves_many_requests() -> None:
    async def work() -> None:
        async with served(always(answer(b"hello"))) as pool:
            for _ in range(5):
                response = await request(pool, GET, None, bodiless=False)
                assert (response.status, response.reason) == (200, "OK")
                assert await whole(response) == b"hello"
            assert len(pool._all) == 1

    run(work)


def test_more_wait_than_there_are_connections() -> None:
    async def work() -> None:
        async with served(always(answer(b"x" * 1000)), limit=3) as pool:

            async def one() -> bytes:
                return await whole(await request(pool, GET, None, bodiless=False))

            assert await asyncio.gather(*(one() for _ in range(50))) == [b"x" * 1000] * 50
            assert len(pool._all) <= 3

    run(work)


@pytest.mark.parametrize("size", [1, SCRATCH, PIECE + 1, 5 * 2**20])
def test_a_buffer_is_filled(size: int) -> None:
    body = bytes(range(256)) * (size // 256 + 1)

    async def work() -> None:
        async with served(always(answer(body))) as pool:
            for _ in range(2):
                response = await request(pool, GET, None, bodiless=False)
                target = memoryview(bytearray(len(body) + 10))
                assert await response.into(target[:3]) == min(3, len(body))
                assert await response.into(target[3:]) == len(body) - 3
                assert bytes(target[: len(body)]) == body
                assert await response.into(target) == 0
            assert len(pool._all) == 1

    run(work)


def test_chunks_fill_a_buffer_as_well() -> None:
    coded = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n"

    async def work() -> None:
        async with served(always(coded)) as pool:
            response = await request(pool, GET, None, bodiless=False)
            target = memoryview(bytearray(5))
            assert await response.into(target) == 5
            assert bytes(target) == b"abcde"
            assert await whole(response) == b"fg"

    run(work)


def test_nothing_is_read_ahead_without_end() -> None:
    """What nobody reads stays in the socket, and the service has to wait."""
    sent = [0]

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        size = 64 * 2**20
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        while sent[0] < size:
            writer.write(bytes(2**20))
            await writer.drain()
            sent[0] += 2**20

    async def work() -> None:
        async with served(script) as pool:
            response = await request(pool, GET, None, bodiless=False)
            await asyncio.sleep(0.3)
            assert response._held <= PIECE + SCRATCH
            assert sent[0] < 32 * 2**20
            assert len(await whole(response)) == 64 * 2**20

    run(work)


def test_a_large_body_is_sent_while_the_server_reads() -> None:
    body = bytes(range(256)) * 2**15

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        assert await reader.readexactly(len(body)) == body
        writer.write(answer(b""))
        await writer.drain()

    async def work() -> None:
        async with served(script) as pool:
            head = b"PUT / HTTP/1.1\r\ncontent-length: %d\r\n\r\n" % len(body)
            assert (await request(pool, head, body, bodiless=False)).status == 200

    run(work)


def test_an_answer_before_all_was_sent_ends_the_connection() -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer(b"no", status="403 Forbidden"))
        await writer.drain()
        await asyncio.sleep(1)

    async def work() -> None:
        async with served(script) as pool:
            head = b"PUT / HTTP/1.1\r\ncontent-length: %d\r\n\r\n" % 2**26
            response = await request(pool, head, bytes(2**26), bodiless=False)
            assert response.status == 403
            assert await whole(response) == b"no"
            assert not pool._all

    run(work)


def test_a_connection_that_was_closed_meanwhile_is_replaced() -> None:
    async def work() -> None:
        async with served(always(answer(b"x"), times=2)) as pool:
            for _ in range(7):
                assert await whole(await request(pool, GET, None, bodiless=False)) == b"x"
                await asyncio.sleep(0.02)  # with each second one the server has closed it by then
                assert set(pool._free) == pool._all
                assert len(pool._free) == len(pool._all) <= 1

    run(work)


def test_connections_of_a_burst_do_not_stay_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("regfs.s3.http.pool.IDLE", 0.3)
    left = 0

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal left
        try:
            await always(answer(b"x"))(reader, writer)
        finally:
            left += 1  # the client has closed it

    async def work() -> None:
        async with served(script) as pool:

            async def one() -> None:
                assert await whole(await request(pool, GET, None, bodiless=False)) == b"x"

            await asyncio.gather(*(one() for _ in range(4)))
            assert len(pool._all) == 4
            while left < 3:
                assert pool._all
                await asyncio.sleep(0.05)
                await one()  # one of them is in use all the time
            assert len(pool._all) == 1
            while pool._all:
                await asyncio.sleep(0.05)
            while left < 4:
                await asyncio.sleep(0.05)

    run(work)


def test_what_breaks_on_a_new_connection_is_not_repeated() -> None:
    asked = [0]

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        asked[0] += 1

    async def work() -> None:
        async with served(script) as pool:
            with pytest.raises(ConnectionError):
                await request(pool, GET, None, bodiless=False)
            assert asked == [1]

    run(work)


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab"])
def test_silence(said: bytes) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(said)
        await asyncio.sleep(20)

    async def work() -> None:
        async with served(script, timeout=0.2) as pool:
            with pytest.raises(TimeoutError):
                await whole(await request(pool, GET, None, bodiless=False))
            assert not pool._all

    run(work)


def test_who_reads_slowly_is_not_timed_out() -> None:
    body = bytes(4 * PIECE)

    async def work() -> None:
        async with served(always(answer(body)), timeout=1) as pool:
            response = await request(pool, GET, None, bodiless=False)
            await asyncio.sleep(1.5)
            assert await whole(response) == body

    run(work)


def test_a_body_that_ends_early_gives_what_came_first() -> None:
    cut = answer(b"abcdef")[:-2]

    async def work() -> None:
        async with served(always(cut, times=1)) as pool:
            response = await request(pool, GET, None, bodiless=False)
            target = memoryview(bytearray(6))
            assert await response.into(target) == 4
            with pytest.raises(ConnectionError):
                await response.into(target)
            response = await request(pool, GET, None, bodiless=False)
            assert await response.read(10) == b"abcd"
            with pytest.raises(ConnectionError):
                await response.read(10)

    run(work)


def test_what_is_not_read_takes_its_connection_with_it() -> None:
    async def work() -> None:
        async with served(always(answer(bytes(10 * PIECE)))) as pool:
            response = await request(pool, GET, None, bodiless=False)
            response.close()
            assert not pool._all
            with pytest.raises(ConnectionError):
                await whole(response)

    run(work)


def test_who_gives_up_takes_the_connection_with_him() -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(20)

    async def work() -> None:
        async with served(script, limit=1) as pool:
            tasks = [asyncio.create_task(request(pool, GET, None, bodiless=False)) for _ in range(3)]
            await asyncio.sleep(0.1)
            for task in tasks:  # one waits for an answer, two for a connection
                task.cancel()
            await asyncio.wait(tasks)
            assert not pool._all
            assert not pool._waiting

    run(work)


def test_a_server_that_speaks_unasked_is_not_listened_to() -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer(b"one") + answer(b"forged"))
        await writer.drain()
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer(b"two"))

    async def work() -> None:
        async with served(script) as pool:
            for _ in range(3):
                assert await whole(await request(pool, GET, None, bodiless=False)) == b"one"

    run(work)


def test_no_connection() -> None:
    async def work() -> None:
        with pytest.raises(NoConnectionError) as caught:
            await Pool(Origin("127.0.0.1", 1, None), 1, 2.0, 1.0).take()
        assert isinstance(caught.value.__cause__, ConnectionRefusedError)

    run(work)


def test_a_closed_pool_gives_nothing() -> None:
    async def work() -> None:
        async with served(always(answer(b""))) as pool:
            pool.close()
            with pytest.raises(ConnectionError):
                await request(pool, GET, None, bodiless=False)

    run(work)
