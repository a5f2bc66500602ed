"""Many threads on one driver, and how much memory streams take.

Memory is measured in a process of its own: as the growth of what is resident (RSS), from before the first
writer to the highest point, and to the state after the last one has closed.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from regfs import RegistryFileSystem, StorageDriver
from regfs.store.upload import IN_FLIGHT

if TYPE_CHECKING:
    from support.servers import Place

# moto keeps everything in memory, of which these tests use much.
pytestmark = [
    pytest.mark.parametrize("server", ["seaweedfs"], indirect=True),
    pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the memory in use from /proc"),
]

MIB = 2**20
CHUNK = 5 * MIB
WRITERS = 32
LARGE_CHUNK = 16 * MIB
SLACK = 40 * MIB
"""For threads, connections and their buffers; many writers have a MiB for each of their connections."""

PREAMBLE = """
import gc, io, json, sys, threading
from concurrent.futures import ThreadPoolExecutor
from regfs import RegistryFileSystem, StorageDriver

def told(field):  # of this process alone: getrusage's ru_maxrss begins with what its parent had
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field + ":"))

options, arguments = json.loads(sys.argv[1])
driver = StorageDriver(RegistryFileSystem(**options))
driver.put_content("/first", b"")
driver.move("/first", "/second")  # what is imported and opened once, on both lanes, is not what is measured
gc.collect()
before = told("VmRSS")
"""
WRITE = """
writers, blocks = arguments
barrier = threading.Barrier(writers)

def work(number):
    with driver.writer(f"/{number}") as writer:
        barrier.wait()
        for at in range(blocks):
            writer.write(b"%08d" % (number * 1000 + at) * (2**20 // 8))
        writer.commit()

with ThreadPoolExecutor(writers) as pool:
    list(pool.map(work, range(writers)))
"""
FILL = """
assert driver.write_stream("/0", arguments, io.BytesIO(b"end")) == 3
"""
REPORT = """
highest = told("VmHWM")
gc.collect()
print(json.dumps([highest - before, told("VmRSS") - before]))
"""


def measure(code: str, options: dict[str, Any], arguments: Any) -> tuple[int, int]:
    """Run the code in a process of its own; give how far its memory grew, and what of that was left."""
    # Large blocks are mapped and unmapped one by one: otherwise the allocator keeps what Python gave back.
    environ = {**os.environ, "MALLOC_MMAP_THRESHOLD_": str(MIB // 4)}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PREAMBLE + code + REPORT, json.dumps([options, arguments])],
        env=environ,
        cwd=Path(__file__).parent.parent,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    highest, left = json.loads(done.stdout)
    return highest, left


# -- writers --------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.again
@pytest.mark.timeout(300)
@pytest.mark.parametrize("blocks", [32])
def test_many_writers_at_once(options: dict[str, Any], raw: Place, blocks: int) -> None:
    """As many MiB each as there are blocks."""
    highest, left = measure(WRITE, {**options, "chunksize": CHUNK}, [WRITERS, blocks])
    for number in range(WRITERS):
        want = b"".join(b"%08d" % (number * 1000 + at) * (MIB // 8) for at in range(blocks))
        assert raw.get(str(number)) == want
    assert raw.uploads() == []
    parts = -(-blocks * MIB // CHUNK)
    slack = WRITERS * min(parts, IN_FLIGHT) * MIB
    assert highest < WRITERS * CHUNK * min(parts, IN_FLIGHT + 1) + slack
    assert left < slack


def test_memory_of_one_writer(options: dict[str, Any], raw: Place) -> None:
    """Parts in flight, one being filled, and a block of the caller's."""
    highest, left = measure(WRITE, {**options, "chunksize": LARGE_CHUNK}, [1, 160])
    assert raw.head("0")["ContentLength"] == 160 * MIB
    assert highest < (IN_FLIGHT + 1) * LARGE_CHUNK + SLACK
    assert left < SLACK


@pytest.mark.slow
@pytest.mark.again
@pytest.mark.timeout(300)
@pytest.mark.parametrize("offset", [1024 * MIB])
def test_memory_of_a_fill_with_zeros(options: dict[str, Any], raw: Place, offset: int) -> None:
    """write_stream far behind the end of a file, here of none."""
    highest, left = measure(FILL, {**options, "chunksize": LARGE_CHUNK}, offset)
    assert raw.head("0")["ContentLength"] == offset + 3
    with StorageDriver(RegistryFileSystem(**options)).reader("/0") as stream:
        for _ in range(offset // MIB):
            assert stream.read(MIB) == bytes(MIB)
        assert stream.read() == b"end"
    assert highest < (IN_FLIGHT + 1) * LARGE_CHUNK + SLACK
    assert left < SLACK


# -- readers --------------------------------------------------------------------------------------------


def test_readers_at_random_offsets(options: dict[str, Any], raw: Place) -> None:
    content = random.Random(0).randbytes(128 * MIB)
    raw.put("file", content)
    driver = StorageDriver(RegistryFileSystem(**options))
    barrier = threading.Barrier(10)

    def work(number: int) -> None:
        chance = random.Random(number)
        barrier.wait()
        for _ in range(5):
            start = chance.randrange(len(content))
            stop = start
            with driver.reader("/file", start) as stream:
                for size in (1, chance.randrange(MIB), chance.randrange(4 * MIB)):
                    got = stream.read(size)
                    assert got == content[stop : stop + size]
                    stop += len(got)

    with ThreadPoolExecutor(10) as pool:
        for done in [pool.submit(work, number) for number in range(10)]:
            done.result()
