"""The server is killed in the middle of everything, and started again: what it acknowledged is there."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fsspec.asyn import sync
from support.proxy import CountingProxy

import regfs.local.server
from regfs import RegistryFileSystem, StorageDriver
from regfs.local import LocalS3

KILLS = 3
PART = 5 * 2**20


class Ledger:
    """What was acknowledged: each path's content, None for what was deleted.

    What was under way when the server died may have happened or not; so a path in doubt has several.
    """

    def __init__(self) -> None:
        self.may: dict[str, set[bytes | None]] = {}
        self.moved = b""
        """What is being moved."""
        self.accepted = b""
        self.offered = b""
        """What a writer has acknowledged, and with what it was given since."""

    @contextlib.contextmanager
    def change(self, path: str, content: bytes | None) -> Iterator[None]:
        """Note a change: certain once the block is over, possible if it fails."""
        before = self.may.get(path, {None})
        self.may[path] = {*before, content}
        yield
        self.may[path] = {content}


@pytest.fixture
def proxy() -> Iterator[CountingProxy]:
    proxy = CountingProxy("http://127.0.0.1:9")
    yield proxy
    proxy.close()


def data(rng: random.Random, size: int) -> bytes:
    return rng.randbytes(rng.randint(1, size))


def small(driver: StorageDriver, ledger: Ledger, base: str, rng: random.Random) -> None:
    path, content = f"{base}/{rng.randrange(20)}", data(rng, 2000)
    with ledger.change(path, content):
        driver.put_content(path, content)


def large(driver: StorageDriver, ledger: Ledger, base: str, rng: random.Random) -> None:
    path, content = f"{base}/{rng.randrange(4)}", data(rng, 1000) * 12_000
    with ledger.change(path, content), driver.fs.open(path, "wb") as file:
        file.write(content)


def moves(driver: StorageDriver, ledger: Ledger, base: str, rng: random.Random) -> None:
    source, target, content = f"{base}/from", f"{base}/to-{rng.randrange(5)}", data(rng, 2000)
    with ledger.change(source, content):
        driver.put_content(source, content)
    ledger.moved = content
    with ledger.change(target, content), ledger.change(source, None):
        driver.move(source, target)


def trees(driver: StorageDriver, ledger: Ledger, base: str, rng: random.Random) -> None:
    tree = f"{base}/{rng.randrange(3)}"
    for name in "abcdefgh":
        with ledger.change(f"{tree}/{name}", name.encode()):
            driver.put_content(f"{tree}/{name}", name.encode())
    with contextlib.ExitStack() as stack:
        for name in "abcdefgh":
            stack.enter_context(ledger.change(f"{tree}/{name}", None))
        driver.delete(tree)


def reads(driver: StorageDriver, ledger: Ledger, base: str, rng: random.Random) -> None:
    path = f"{base}/kept"
    if path not in ledger.may:
        content = rng.randbytes(3 * 2**20)
        with ledger.change(path, content):
            driver.put_content(path, content)
    with driver.reader(path) as stream:
        assert {stream.read()} == ledger.may[path]


def uploads(driver: StorageDriver, ledger: Ledger, base: str, rng: random.Random) -> None:
    """Close writers without a commit. Of a write that failed any part from its begin on may be there."""
    path = f"{base}/upload"
    if ledger.accepted:
        writer = driver.writer(path, append=True)
        assert len(ledger.accepted) <= writer.size <= len(ledger.offered)
        ledger.accepted = ledger.offered[: writer.size]
    else:
        writer = driver.writer(path)
    more = data(rng, 1000) * 3000
    ledger.offered = ledger.accepted + more
    writer.write(more)
    writer.close()
    ledger.accepted = ledger.offered


KINDS: tuple[Callable[..., None], ...] = (small, large, moves, trees, reads, uploads)


@pytest.mark.slow
def test_nothing_acknowledged_is_lost(
    tmp_path: Path, proxy: CountingProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = SimpleNamespace(token_hex=lambda n: "key" * n, token_urlsafe=lambda n: "secret" * n)
    monkeypatch.setattr(regfs.local.server, "secrets", keys)  # the same ones at each start
    server = LocalS3(directory=tmp_path / "data").start()
    options: dict[str, Any] = {**server.storage_options, "regionendpoint": proxy.endpoint}
    fs = RegistryFileSystem(**options, maxretries=1, chunksize=PART)
    driver = StorageDriver(fs)
    ledgers = {kind: Ledger() for kind in KINDS}
    done = dict.fromkeys(KINDS, 0)
    failures: list[BaseException] = []
    wrong: list[BaseException] = []
    alive = threading.Event()

    def work(kind: Callable[..., None], seed: int) -> None:
        rng = random.Random(seed)
        while alive.is_set():
            try:
                kind(driver, ledgers[kind], f"/{kind.__name__}", rng)
                done[kind] += 1
            except OSError as exc:
                failures.append(exc)
                return
            except BaseException as exc:
                wrong.append(exc)
                return

    try:
        for turn in range(KILLS):
            proxy.forward_to(server.endpoint)
            alive.set()
            threads = [threading.Thread(target=work, args=(kind, turn)) for kind in KINDS]
            for thread in threads:
                thread.start()
            time.sleep(1.5)
            until = time.monotonic() + 30  # a busy machine takes longer to do something of each kind
            while not all(done.values()) and not wrong and time.monotonic() < until:
                time.sleep(0.1)
            assert server.pid is not None
            os.kill(server.pid, signal.SIGKILL)
            alive.clear()
            for thread in threads:
                thread.join()
            assert not wrong, wrong
            server.stop()
            server.start()
        proxy.forward_to(server.endpoint)
        assert failures, "it was never killed in the middle of anything"
        assert all(done.values()), done
        for kind, ledger in ledgers.items():
            check(driver, kind, ledger)
        fs.abort_uploads(dry_run=False)
        sync(fs.loop, fs.close)
    finally:
        server.stop()


def check(driver: StorageDriver, kind: Callable[..., None], ledger: Ledger) -> None:
    found = set()
    for path, possible in ledger.may.items():
        there = driver.get_content(path) if driver.fs.exists(path) else None
        assert there in possible, f"{path}: {there and len(there)} bytes"
        found.add(there)
    if kind is moves:
        assert ledger.moved in found
    if kind is uploads:
        writer = driver.writer("/uploads/upload", append=True)
        writer.commit()
        writer.close()
        there = driver.get_content("/uploads/upload")
        assert there == ledger.offered[: len(there)]
        assert len(there) >= len(ledger.accepted)
