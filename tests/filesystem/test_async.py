"""The filesystem in an application's own event loop: ``asynchronous=True`` and ``open_async``."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from regfs import FileChangedError, RegistryFileSystem

if TYPE_CHECKING:
    from support.proxy import CountingProxy
    from support.servers import Place

MIB = 2**20
CHUNK = 5 * MIB
CONTENT = bytes(range(256)) * (3 * MIB // 256)

Work = Callable[[RegistryFileSystem], Awaitable[None]]


@asynccontextmanager
async def opened(options: dict[str, Any]) -> AsyncIterator[RegistryFileSystem]:
    gc.collect()  # s3fs closes what an earlier test dropped in a task of the loop that runs now
    while others := asyncio.all_tasks() - {asyncio.current_task()}:
        await asyncio.wait(others)
    fs = RegistryFileSystem(**options, asynchronous=True, chunksize=CHUNK, skip_instance_cache=True)
    try:
        yield fs
    finally:
        await fs.close()
        assert len(asyncio.all_tasks()) == 1, "a task was lost"


def run(options: dict[str, Any], work: Work) -> None:
    async def main() -> None:
        async with opened(options) as fs:
            await work(fs)

    asyncio.run(main(), debug=False)
    gc.collect()  # an unclosed socket would warn now, and warnings are errors


class TestReading:
    def test_in_pieces(self, options: dict[str, Any], raw: Place) -> None:
        raw.put("file", CONTENT)

        async def work(fs: RegistryFileSystem) -> None:
            async with await fs.open_async("/file") as file:
                assert file.size == len(CONTENT)
                pieces = [await file.read(100), await file.read(0), await file.read(MIB)]
                assert file.tell() == 100 + MIB
                pieces += [await file.read(), await file.read(), await file.read(7)]
            assert b"".join(pieces) == CONTENT

        run(options, work)

    def test_takes_one_request(
        self, proxied_options: dict[str, Any], proxy: CountingProxy, raw: Place
    ) -> None:
        raw.put("file", CONTENT)

        async def work(fs: RegistryFileSystem) -> None:
            async with await fs.open_async(f"regfs://{raw.bucket}/file") as file:
                while await file.read(64 * 1024):
                    pass

        run(proxied_options, work)
        assert [request.method for request in proxy.requests] == ["GET"]

    def test_seeking(self, options: dict[str, Any], raw: Place) -> None:
        raw.put("file", CONTENT)

        async def work(fs: RegistryFileSystem) -> None:
            async with await fs.open_async("/file") as file:
                for at in (MIB, 5, len(CONTENT) - 3, len(CONTENT)):
                    file.seek(at)
                    assert await file.read(10) == CONTENT[at : at + 10]

        run(options, work)

    def test_never_mixes_two_versions(self, options: dict[str, Any], raw: Place) -> None:
        raw.put("file", CONTENT)

        async def work(fs: RegistryFileSystem) -> None:
            async with await fs.open_async("/file") as file:
                await file.read(10)
                await fs._pipe_file("/file", CONTENT[::-1])
                file.seek(MIB)
                with pytest.raises(FileChangedError):
                    await file.read(10)

        run(options, work)

    def test_an_empty_file(self, options: dict[str, Any], raw: Place) -> None:
        raw.put("file", b"")

        async def work(fs: RegistryFileSystem) -> None:
            async with await fs.open_async("/file") as file:
                assert await file.read() == b""

        run(options, work)

    def test_what_is_missing_is_told_of_at_once(self, options: dict[str, Any], raw: Place) -> None:
        raw.put("dir/file", b"")

        async def work(fs: RegistryFileSystem) -> None:
            with pytest.raises(FileNotFoundError, match=f"regfs://{raw.bucket}/missing"):
                await fs.open_async("/missing")
            with pytest.raises(IsADirectoryError):
                await fs.open_async("/dir")

        run(options, work)

    def test_left_unread_and_unclosed(self, options: dict[str, Any], raw: Place) -> None:
        raw.put("file", CONTENT)

        async def work(fs: RegistryFileSystem) -> None:
            for _ in range(20):
                file = await fs.open_async("/file")
                await file.read(10)
            del file
            gc.collect()

        run(options, work)


class TestWriting:
    @pytest.mark.parametrize("size", [0, 71, CHUNK, 2 * CHUNK + 7])
    def test_round_trip(self, options: dict[str, Any], raw: Place, size: int) -> None:
        content = (CONTENT * 4)[:size]

        async def work(fs: RegistryFileSystem) -> None:
            async with await fs.open_async("/file", "wb") as file:
                for start in range(0, size, MIB):
                    piece = content[start : start + MIB]
                    assert await file.write(piece) == len(piece)
                assert file.tell() == size
                await file.flush()
                assert raw.keys() == []
            assert file.closed

        run(options, work)
        assert raw.get("file") == content
        assert raw.uploads() == []

    @pytest.mark.parametrize("size", [71, 2 * CHUNK + 7])
    def test_an_exception_publishes_nothing(self, options: dict[str, Any], raw: Place, size: int) -> None:
        async def work(fs: RegistryFileSystem) -> None:
            with pytest.raises(KeyError):
                async with await fs.open_async("/file", "wb") as file:
                    await file.write((CONTENT * 4)[:size])
                    raise KeyError
            file = await fs.open_async("/file", "wb")
            await file.write((CONTENT * 4)[:size])
            await file.discard()

        run(options, work)
        assert raw.keys() == []
        assert raw.uploads() == []

    def test_append(self, options: dict[str, Any], raw: Place) -> None:
        raw.put("file", b"old ")

        async def work(fs: RegistryFileSystem) -> None:
            async with await fs.open_async("/file", "ab") as file:
                assert file.tell() == 4
                await file.write(b"new")

        run(options, work)
        assert raw.get("file") == b"old new"

    def test_exclusive(self, options: dict[str, Any], raw: Place) -> None:
        raw.put("file", b"old")

        async def work(fs: RegistryFileSystem) -> None:
            with pytest.raises(FileExistsError):
                await fs.open_async("/file", "xb")

        run(options, work)
        assert raw.get("file") == b"old"

    def test_a_failing_part_leaves_nothing(
        self, proxied_options: dict[str, Any], proxy: CountingProxy, raw: Place
    ) -> None:
        denied = b"<Error><Code>AccessDenied</Code><Message>no</Message></Error>"
        head = f"HTTP/1.1 403 -\r\nContent-Type: application/xml\r\nContent-Length: {len(denied)}\r\n\r\n"
        proxy.fault = lambda request: head.encode() + denied if "partNumber" in request.query else None

        async def work(fs: RegistryFileSystem) -> None:
            with pytest.raises(PermissionError):
                async with await fs.open_async("/file", "wb") as file:
                    for _ in range(6):
                        await file.write(CONTENT)

        run({**proxied_options, "maxretries": 0}, work)
        assert raw.keys() == []
        assert raw.uploads() == []


class TestMisuse:
    def test_modes(self, options: dict[str, Any], raw: Place) -> None:
        raw.put("file", b"content")

        async def work(fs: RegistryFileSystem) -> None:
            for mode in ("r", "w", "r+b", "rt", ""):
                with pytest.raises(ValueError, match="must be one of"):
                    await fs.open_async("/file", mode)
            with pytest.raises(ValueError, match="compression"):
                await fs.open_async("/file", compression="gzip")
            async with await fs.open_async("/file") as file:
                with pytest.raises(OSError, match="not writable"):
                    await file.write(b"x")
            with pytest.raises(ValueError, match="closed"):
                await file.read()
            async with await fs.open_async("/other", "wb") as file:
                with pytest.raises(OSError, match="not readable"):
                    await file.read()
            with pytest.raises(ValueError, match="closed"):
                await file.write(b"x")
            with pytest.raises(RuntimeError, match="open_async"):
                fs.open("/file")

        run(options, work)

    def test_the_loop_is_not_blocked(self, options: dict[str, Any], raw: Place) -> None:
        """Other tasks of the application go on while a large file travels."""
        raw.put("file", CONTENT * 4)
        ticks: list[float] = []

        async def tick() -> None:
            loop = asyncio.get_running_loop()
            while True:
                ticks.append(loop.time())
                await asyncio.sleep(0.001)

        async def work(fs: RegistryFileSystem) -> None:
            await fs.set_session()
            other = asyncio.create_task(tick())
            async with await fs.open_async("/file") as file:
                while await file.read(256 * 1024):
                    pass
            other.cancel()
            await asyncio.gather(other, return_exceptions=True)

        run(options, work)
        assert len(ticks) > 3  # a loop that is blocked until the file is there ticks once


def test_in_two_loops_one_after_the_other(options: dict[str, Any]) -> None:
    fs = RegistryFileSystem(**options, asynchronous=True, skip_instance_cache=True)

    async def work(number: int) -> None:
        await fs._pipe_file(f"/{number}", b"content")
        assert await fs._cat_file(f"/{number}") == b"content"
        await fs.close()

    asyncio.run(work(0))
    asyncio.run(work(1))
