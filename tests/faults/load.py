"""Everything at once through random faults, against a model: ``python tests/faults/load.py --seconds 120``.

Eight threads and two forked processes share one filesystem (each process its own copy) and have twenty
operations under way each. Each has a directory of its own, so that it knows at any time what has to be
there. Whatever is read is compared; in the end all of it.
"""

from __future__ import annotations

import argparse
import multiprocessing
import random
import statistics
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))  # as a script it is alone

from faults.table import FAULTS, REFUSED, identity
from support.proxy import CountingProxy, Fate, Request

from regfs import RegistryFileSystem, StorageDriver
from regfs.local import LocalS3

THREADS = 8
PROCESSES = 2
BATCH = 20
RATE = 0.03
"""The share of requests that something happens to."""
PART = 5 * 2**20
GROWTH = 1.3
"""The mean memory of the last third of the time, divided by that of the third before, at most."""
LONG = 60.0
"""Seconds below which memory is still on its way to where it levels off."""
_LEFT_OUT = {"403 ExpiredToken", "no answer", "stalled in the middle of the answer"}
"""Errors that do not pass by themselves, and waiting that takes longer than the test."""


class Weather:
    """The proxy's fault function: some fault now and then."""

    def __init__(self, seed: int) -> None:
        self.hits: Counter[str] = Counter()
        self._sent_elsewhere: set[object] = set()
        self._rng = random.Random(seed)
        self._lock = threading.Lock()
        self._faults = [item for item in FAULTS if item.name not in (_LEFT_OUT | {REFUSED})]

    def __call__(self, request: Request) -> bytes | Fate | None:
        with self._lock:
            if self._rng.random() >= RATE:
                return None
            fault = self._rng.choice([item for item in self._faults if item.strikes(request)])
            if fault.name.endswith("another region"):
                if identity(request) in self._sent_elsewhere:
                    return None  # twice in a row it is what lasts, and rightly an error
                self._sent_elsewhere.add(identity(request))
            self.hits[fault.name] += 1
            return fault.hit


@dataclass
class Worker:
    """One directory, and what has to be in it."""

    driver: StorageDriver
    base: str
    seed: int
    model: dict[str, bytes] = field(default_factory=dict)
    operations: int = 0

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        self.fs = self.driver.fs

    def run(self, seconds: float) -> None:
        """Work for a while, then compare everything."""
        stop = time.monotonic() + seconds
        while time.monotonic() < stop:
            self.rng.choice(
                (self.write, self.write, self.read, self.read, self.move, self.delete, self.large)
            )()
        found = self.fs.find(self.base)
        assert found == sorted(self.model), f"{self.base}: other files than there should be"
        if self.model:  # else there is no path to give
            assert self.fs.cat([*self.model]) == self.model

    def write(self) -> None:
        """Write some files at once."""
        files = {
            f"{self.base}/{self.rng.randrange(3)}/{self.rng.randrange(40)}": self.rng.randbytes(
                self.rng.randrange(5000)
            )
            for _ in range(BATCH)
        }
        self.fs.pipe(files)
        self.model |= files
        self.operations += len(files)

    def read(self) -> None:
        """Read some files at once, and list their directory."""
        paths = self.rng.sample(sorted(self.model), min(BATCH, len(self.model)))
        if paths:
            assert self.fs.cat(paths) == {path: self.model[path] for path in paths}
        folder = f"{self.base}/{self.rng.randrange(3)}"
        expected = sorted(path for path in self.model if path.startswith(folder + "/"))
        assert self.fs.find(folder) == expected
        self.operations += len(paths) + 1

    def move(self) -> None:
        """Move a file."""
        if self.model:
            source = self.rng.choice(sorted(self.model))
            target = f"{self.base}/0/moved-{self.rng.randrange(10)}"
            self.driver.move(source, target)
            self.model[target] = self.model.pop(source)
            self.operations += 1

    def delete(self) -> None:
        """Delete a directory or a file."""
        if self.model:
            path = self.rng.choice(sorted(self.model))
            if self.rng.random() < 0.2:
                path = path.rpartition("/")[0]
            self.driver.delete(path)
            self.model = {
                name: data
                for name, data in self.model.items()
                if name != path and not name.startswith(path + "/")
            }
            self.operations += 1

    def large(self) -> None:
        """Write a file in parts, in two sittings, and read it as a stream."""
        if self.rng.random() < 0.7:
            return
        path, data = f"{self.base}/2/large", self.rng.randbytes(1000) * 6000
        with self.driver.writer(path) as writer:
            writer.write(data[:1_000_000])
        with self.driver.writer(path, append=True) as writer:
            writer.write(data[1_000_000:])
            writer.commit()
        with self.driver.reader(path) as stream:
            assert stream.read() == data
        # Gone at once: or what is read of such files at a time would be the memory that is measured.
        self.driver.delete(path)
        self.operations += 5


@dataclass
class Outcome:
    """What a load gave: operations done, faults that hit, the process's memory in MiB once a second."""

    operations: int = 0
    hits: Counter[str] = field(default_factory=Counter)
    memory: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


def resident() -> float:
    """Return this process's resident memory in MiB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise OSError("no VmRSS")


def _in_child(fs: RegistryFileSystem, base: str, seed: int, seconds: float, answers: Any) -> None:
    worker = Worker(StorageDriver(fs), base, seed)
    try:
        worker.run(seconds)
        answers.put((worker.operations, ""))
    except BaseException as exc:
        answers.put((worker.operations, f"{base}: {type(exc).__name__}: {exc}"))


def run(server: LocalS3, seconds: float, seed: int = 0) -> Outcome:
    """Put the load on a server."""
    outcome = Outcome()
    proxy = CountingProxy(server.endpoint)
    weather = Weather(seed)
    options = {**server.storage_options, "regionendpoint": proxy.endpoint}
    fs = RegistryFileSystem(**options, chunksize=PART, maxretries=8, skip_instance_cache=True)
    fs.pipe_file("/used", b"before the fork")
    context = multiprocessing.get_context("fork")
    answers = context.Queue()
    children = [
        context.Process(target=_in_child, args=(fs, f"/child{n}", seed + 100 + n, seconds, answers))
        for n in range(PROCESSES)
    ]
    for child in children:
        child.start()
    proxy.fault = weather
    workers = [Worker(StorageDriver(fs), f"/thread{n}", seed + n) for n in range(THREADS)]

    def work(worker: Worker) -> None:
        try:
            worker.run(seconds)
        except BaseException as exc:
            outcome.failures.append(f"{worker.base}: {type(exc).__name__}: {exc}")

    threads = [threading.Thread(target=work, args=(worker,)) for worker in workers]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        outcome.memory.append(resident())
        proxy.clear()  # it notes every request, which is not regfs' memory
        time.sleep(1)
    for _ in children:
        operations, failure = answers.get(timeout=120)
        outcome.operations += operations
        outcome.failures += [failure] if failure else []
    for child in children:
        child.join()
    outcome.operations += sum(worker.operations for worker in workers)
    outcome.hits = weather.hits
    proxy.fault = None
    third = len(outcome.memory) // 3
    grown = statistics.mean(outcome.memory[2 * third :]) / statistics.mean(outcome.memory[third : 2 * third])
    if grown > GROWTH and seconds >= LONG:
        outcome.failures.append(f"memory grew to {grown:.2f} times as much: {outcome.memory}")
    left = fs.uploads()
    outcome.failures += [f"an upload was left behind: {item.path}" for item in left]
    proxy.close()
    return outcome


def curve(values: list[float], width: int = 60) -> str:
    """Draw values as a line of text."""
    if len(values) > width:
        values = [values[at * len(values) // width] for at in range(width)]
    low, high = min(values), max(values)
    return "".join("▁▂▃▄▅▆▇█"[int(7.99 * (value - low) / (high - low or 1))] for value in values)


def main() -> int:
    """Run as a script."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=120.0, help="default: %(default)g")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    with LocalS3() as server:
        outcome = run(server, chosen.seconds, chosen.seed)
    faults = sum(outcome.hits.values())
    lines = [
        *(f"FAILED {failure}" for failure in outcome.failures),
        f"{outcome.operations} operations, {faults} faults, {len(outcome.failures)} failures",
        *(f"  {count:6} {name}" for name, count in outcome.hits.most_common()),
        f"memory: {min(outcome.memory):.0f} to {max(outcome.memory):.0f} MiB  {curve(outcome.memory)}",
    ]
    sys.stdout.write("\n".join(lines) + "\n")
    return 1 if outcome.failures else 0


if __name__ == "__main__":
    sys.exit(main())
