"""What is interrupted ends as a whole: no file of a tree is written after it."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from regfs import RegistryFileSystem

if TYPE_CHECKING:
    from support.proxy import CountingProxy, Fate, Request
    from support.servers import Place

pytestmark = pytest.mark.parametrize("server", ["seaweedfs"], indirect=True)


class Gate:
    """Holds the requests of a proxy up until it is opened."""

    def __init__(self, proxy: CountingProxy) -> None:
        self.opened = threading.Event()
        self.held = threading.Semaphore(0)
        proxy.fault = self

    def __call__(self, request: Request) -> bytes | Fate | None:
        if request.method not in ("PUT", "GET") or "list-type" in request.query:
            return None
        self.held.release()
        self.opened.wait(20)
        return None


def interrupted(fs: RegistryFileSystem, gate: Gate, call: Any, count: int) -> None:
    """Begin, wait until some requests are held up, cancel, let them go, and see that it ends."""

    async def work() -> None:
        task = asyncio.create_task(call())
        for _ in range(count):
            await asyncio.to_thread(gate.held.acquire)
        task.cancel()
        await asyncio.sleep(0.05)
        gate.opened.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert asyncio.all_tasks() == {asyncio.current_task()}, "a task was left behind"
        await fs.close()

    asyncio.run(work())


def test_a_put_of_a_tree(
    proxied_options: dict[str, Any], proxy: CountingProxy, raw: Place, tmp_path: Path
) -> None:
    for number in range(40):
        (tmp_path / str(number)).write_bytes(random.Random(number).randbytes(1000))
    fs = RegistryFileSystem(**proxied_options, asynchronous=True, batch_size=4)
    gate = Gate(proxy)
    interrupted(fs, gate, lambda: fs._put(str(tmp_path) + "/", "/tree", recursive=True), 4)
    time.sleep(0.3)
    assert len(raw.keys()) <= 4  # those that were on their way to the service


def test_a_get_of_a_tree(
    proxied_options: dict[str, Any], proxy: CountingProxy, raw: Place, tmp_path: Path
) -> None:
    for number in range(20):
        raw.put(f"tree/{number}", b"x" * 1000)
    fs = RegistryFileSystem(**proxied_options, asynchronous=True, batch_size=4)
    gate = Gate(proxy)
    interrupted(fs, gate, lambda: fs._get("/tree", str(tmp_path / "tree"), recursive=True), 4)
    there = list(tmp_path.rglob("*"))
    assert not [path for path in there if path.name.endswith(".part")]
    time.sleep(0.2)
    assert list(tmp_path.rglob("*")) == there
