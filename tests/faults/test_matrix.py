"""Every fault, once and lasting, in every request of every operation of both faces, on a real server."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from faults.operations import OPERATIONS, PART, Cell, Operation
from faults.table import CLEARING, FAULTS, REFUSED, STALL, Fault, identity, kind
from fsspec.asyn import sync
from support.proxy import CountingProxy, Fate, Request
from support.servers import Place

import regfs.s3.client
import regfs.s3.fast
import regfs.s3.pace
import regfs.s3.retry
import regfs.s3.transport
import regfs.store.download
from regfs import RegistryFileSystem, StorageDriver

pytestmark = pytest.mark.parametrize("server", ["seaweedfs"], indirect=True)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read by small ranges, and do not wait for long before the next attempt."""
    monkeypatch.setattr(regfs.store.download, "RANGE", 2**18)
    for module in (regfs.s3.retry, regfs.s3.client):
        monkeypatch.setattr(module, "pause", lambda attempt, error=None: 0.05 * attempt)


@dataclass
class Way:
    """A filesystem behind a proxy of its own, in a root directory of its own."""

    place: Place
    proxy: CountingProxy
    fs: RegistryFileSystem
    local: Path

    def cell(self, number: int) -> Cell:
        """Return an operation a place of its own."""
        folder = self.local / str(number)
        folder.mkdir()
        return Cell(self.fs, StorageDriver(self.fs), f"/c{number}", folder)

    def run(
        self, fault: Fault, lasting: bool, operations: Sequence[tuple[int, Operation]]
    ) -> tuple[dict[str, str], int]:
        """Run cells one after another; tell which failed why, and how many requests were hit."""
        failures, struck = {}, 0
        for number, operation in operations:
            try:
                struck += self.run_cell(self.cell(number), operation, fault, lasting)
            except Exception as exc:
                failures[operation.name] = f"{type(exc).__name__}: {exc}"[:300]
                self.place.clean()
        return failures, struck

    def run_cell(self, cell: Cell, operation: Operation, fault: Fault, lasting: bool) -> int:
        """Run one cell of the table."""
        for name, data in operation.before.items():
            self.place.put(f"{cell.base[1:]}/{name}", data)
        self.proxy.fault = striker = Striker(fault, lasting)
        result, failure = None, None
        try:
            result = operation.run(cell)
        except Exception as exc:
            failure = exc
        finally:
            self.proxy.fault = None
        state = self.look(cell.base[1:], operation)
        before = {name: operation.before.get(name) for name in state}
        after = {**before, **operation.after}
        if lasting and fault.lasting and striker.struck:
            assert isinstance(failure, fault.lasting), f"{failure!r} instead of {fault.lasting.__name__}"
            assert "\n" not in str(failure)
            wrong = [name for name, data in state.items() if data not in (before[name], after[name])]
            assert not wrong, f"neither as before nor as after: {wrong}"
            moved = operation.group == "copies" and state.get("small", b"") is None
            assert not moved or state["x"] == operation.before["small"], "lost"
        else:
            if failure:
                raise failure
            assert result == operation.result
            assert state == after
        assert self.place.uploads() == [], "an upload was left behind"
        return striker.struck

    def look(self, base: str, operation: Operation) -> dict[str, bytes | None]:
        """Read what an operation has left of what it is about."""
        there = {key for key in self.place.keys() if key.startswith(base + "/")}
        names = {f"{base}/{name}": name for name in (*operation.before, *operation.after)}
        assert there <= names.keys(), "something else was left behind"
        return {name: self.place.get(key) if key in there else None for key, name in names.items()}

    def close(self) -> None:
        """Close the filesystem, and see that it leaves no connection and no task behind."""
        sync(self.fs.loop, self.fs.close)
        deadline = time.monotonic() + 30
        while self.proxy.connections and time.monotonic() < deadline:
            time.sleep(0.01)
        left = self.proxy.connections
        self.proxy.close()
        assert not left, "a connection was left open"


class Striker:
    """The proxy's fault function."""

    def __init__(self, fault: Fault, lasting: bool) -> None:
        self.struck = 0
        self._fault = fault
        self._lasting = lasting
        self._seen: set[tuple[object, ...]] = set()
        self._lock = threading.Lock()

    def __call__(self, request: Request) -> bytes | Fate | None:
        if not self._fault.strikes(request) or (self._lasting and kind(request) in CLEARING):
            return None
        with self._lock:
            if not self._lasting and identity(request) in self._seen:
                return None
            self._seen.add(identity(request))
            self.struck += 1
        hit = self._fault.hit
        if isinstance(hit, bytes) and request.method == "HEAD":
            hit = hit.partition(b"\r\n\r\n")[0] + b"\r\n\r\n" if hit else hit
        return hit


@contextlib.contextmanager
def ways(raw: Place, count: int, local: Path, **options: Any) -> Iterator[list[Way]]:
    """Return filesystems that do not disturb each other; after the block nothing of them may be left."""
    made = []
    for number in range(count):
        place = Place(raw.server, raw.s3, raw.bucket, f"{raw.root}/{number}")
        proxy = CountingProxy(raw.server.endpoint)
        fs = RegistryFileSystem(
            **{**place.options, "regionendpoint": proxy.endpoint, "maxretries": 2, **options},
            chunksize=PART,
            multipartcopythresholdsize=PART,
            multipartcopychunksize=PART,
        )
        folder = local / f"way{number}"
        folder.mkdir()
        made.append(Way(place, proxy, fs, folder))
    yield made
    for way in made:
        way.close()

    async def tasks() -> set[asyncio.Task[Any]]:
        return asyncio.all_tasks() - {asyncio.current_task()}

    assert not sync(made[0].fs.loop, tasks), "a task was left behind"


@pytest.mark.parametrize(
    "lasting", [pytest.param(False, id="once"), pytest.param(True, id="lasting", marks=pytest.mark.again)]
)
@pytest.mark.parametrize(
    "fault", [item for item in FAULTS if item.name != REFUSED], ids=lambda item: item.name
)
def test_every_operation(
    fault: Fault, lasting: bool, raw: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells = list(enumerate(OPERATIONS))
    # A service that throttles for ever is asked once a second; that is test_throttling's business.
    monkeypatch.setattr(regfs.s3.pace, "MINIMUM", 1000.0)
    monkeypatch.setattr(regfs.s3.pace, "MINIMUM_ALONE", 1000.0)
    stalls = isinstance(fault.hit, Fate) and fault.hit.how == "stalled"
    if stalls:
        monkeypatch.setattr(regfs.s3.fast, "READ_TIMEOUT", STALL)
        monkeypatch.setattr(regfs.s3.transport, "READ_TIMEOUT", STALL)
    count = len(cells) if stalls else 2  # they wait for most of the time
    with (
        # Eight, as a busy machine stalls by itself now and then.
        ways(raw, count, tmp_path, maxretries=2 if lasting else 8) as made,
        ThreadPoolExecutor(count) as pool,
    ):
        running = [pool.submit(way.run, fault, lasting, cells[n::count]) for n, way in enumerate(made)]
        told = [item.result() for item in running]
    failures = [f"{name}: {text}" for some, _ in told for name, text in some.items()]
    assert not failures, "\n".join(failures)
    assert sum(struck for _, struck in told)


def test_connection_refused_once(raw: Place, tmp_path: Path) -> None:
    with ways(raw, 1, tmp_path, maxretries=5) as (way,), ThreadPoolExecutor(1) as pool:
        for number, operation in enumerate(OPERATIONS):
            for name, data in operation.before.items():
                way.place.put(f"c{number}/{name}", data)
            cell = way.cell(number)
            with way.proxy.refusing():
                running = pool.submit(operation.run, cell)
                time.sleep(0.04)
                assert not running.done(), operation.name
            assert running.result() == operation.result, operation.name
            state = way.look(cell.base[1:], operation)
            assert state == {**operation.before, **operation.after}, operation.name
            assert way.place.uploads() == [], operation.name


def test_connection_refused_for_good(raw: Place, tmp_path: Path) -> None:
    with ways(raw, 1, tmp_path, maxretries=1) as (way,):
        with way.proxy.refusing():
            for number, operation in enumerate(OPERATIONS):
                with pytest.raises(ConnectionError, match="no connection to the service"):
                    operation.run(way.cell(number))
        assert way.place.keys() == []
