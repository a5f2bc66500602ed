"""A file found by the cyclic collector, or open when the interpreter ended, left its upload for ever.

The collector had finalized the buffer that the abort looked at, and what was spawned swallowed the failure.
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from regfs import RegistryFileSystem, StorageDriver
from regfs.s3 import unfinished

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.proxy import CountingProxy
    from support.servers import Place

pytestmark = pytest.mark.parametrize("server", ["seaweedfs"], indirect=True)

CHUNK = 5 * 2**20
DATA = bytes(2 * CHUNK + 1)
DENIED = b"HTTP/1.1 403 -\r\nContent-Length: 0\r\n\r\n"


@pytest.fixture
def fs(options: dict[str, Any]) -> RegistryFileSystem:
    return RegistryFileSystem(**options, chunksize=CHUNK)


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def drop(kept: list[Any]) -> None:
    kept.clear()
    gc.collect()


# -- in a process that goes on ----------------------------------------------------------------------------


def in_a_cycle(file: Any) -> object:
    file.itself = file
    return None


def in_a_kept_exception(file: Any) -> object:
    try:
        raise RuntimeError
    except RuntimeError as error:
        kept = error  # its traceback has this frame, and this frame has it
        return kept and None


def by_count(file: Any) -> object:
    return None


@pytest.mark.parametrize("keep", [by_count, in_a_cycle, in_a_kept_exception])
@pytest.mark.parametrize(("mode", "compression"), [("wb", None), ("ab", None), ("w", None), ("wb", "gzip")])
def test_a_dropped_file(
    fs: RegistryFileSystem, raw: Place, mode: str, compression: str | None, keep: Callable[[Any], object]
) -> None:
    gc.disable()  # it is to happen below
    try:
        file = fs.open("/file", mode, compression=compression)
        content = bytes(range(256)) * (2 * CHUNK // 256)
        file.write(content.decode("latin-1") if mode == "w" else content)
        if compression:
            file.flush()
            while not raw.uploads():  # incompressible, so that parts leave
                file.write(os.urandom(CHUNK))
        assert raw.uploads()
        keep(file)
        kept = [file]
        del file
        with pytest.warns(ResourceWarning, match="never closed"):
            drop(kept)
    finally:
        gc.enable()
    wait_until(lambda: not raw.uploads())
    assert raw.keys() == []


def test_a_transaction_that_never_ends(options: dict[str, Any], raw: Place) -> None:
    fs = RegistryFileSystem(**options, chunksize=CHUNK, skip_instance_cache=True)
    fs.start_transaction()
    with fs.open("/file", "wb") as file:
        file.write(DATA)
    fs.pipe_file("/whole", DATA)
    assert len(raw.uploads()) == 2
    kept = [fs, file]
    del fs, file
    with pytest.warns(ResourceWarning, match="transaction") as warned:
        drop(kept)
    urls = [f"regfs://{raw.bucket}/file", f"regfs://{raw.bucket}/whole"]
    assert sorted(str(entry.message).split()[0] for entry in warned) == urls
    wait_until(lambda: not raw.uploads())
    assert raw.keys() == []


class TestAsync:
    """Where the loop has ended, the upload is aborted on another one."""

    async def write(self, options: dict[str, Any]) -> tuple[RegistryFileSystem, Any]:
        fs = RegistryFileSystem(**options, chunksize=CHUNK, asynchronous=True, skip_instance_cache=True)
        file = await fs.open_async("/file", "wb")
        await file.write(DATA)
        return fs, file

    def test_dropped_in_its_loop(self, options: dict[str, Any], raw: Place) -> None:
        async def main() -> None:
            fs, *kept = await self.write(options)
            with pytest.warns(ResourceWarning, match="never closed"):
                kept.clear()
            while unfinished._background:
                await asyncio.sleep(0.01)
            assert raw.uploads() == []
            await fs.close()

        asyncio.run(main())

    def test_dropped_when_its_loop_ends(self, options: dict[str, Any], raw: Place) -> None:
        async def main() -> None:
            fs, file = await self.write(options)
            await fs.close()
            del fs  # and the file with this coroutine
            assert not file.closed

        with pytest.warns(ResourceWarning, match="never closed"):
            asyncio.run(main())
        wait_until(lambda: not raw.uploads())

    def test_dropped_behind_its_loop(self, options: dict[str, Any], raw: Place) -> None:
        async def main() -> list[Any]:
            fs, file = await self.write(options)
            await fs.close()
            return [file]

        kept = asyncio.run(main())
        assert len(raw.uploads()) == 1
        with pytest.warns(ResourceWarning, match="never closed"):
            kept.clear()
        wait_until(lambda: not raw.uploads())


def test_what_fails_in_the_background_is_logged(
    proxied_options: dict[str, Any], proxy: CountingProxy, raw: Place, caplog: pytest.LogCaptureFixture
) -> None:
    fs = RegistryFileSystem(**proxied_options, chunksize=CHUNK, maxretries=0)
    file = fs.open("/file", "wb")
    file.write(DATA)
    ((_, upload),) = raw.uploads()
    proxy.fault = lambda request: DENIED if request.method == "DELETE" else None
    with caplog.at_level(logging.WARNING, "regfs"):
        with pytest.warns(ResourceWarning):
            del file
        wait_until(lambda: not unfinished._background)
    _, record = caplog.records
    assert record.levelname == "WARNING"
    assert f"upload {upload} of regfs://{raw.bucket}/file could not be aborted" in record.message
    assert proxied_options["secretkey"] not in caplog.text
    assert unfinished._begun.pop(upload), "it is tried again at exit"


def test_nothing_is_remembered(fs: RegistryFileSystem, raw: Place) -> None:
    """What has ended is forgotten, and what a driver's writer leaves is left on purpose."""
    before = set(unfinished._begun)
    with fs.open("/a", "wb") as file:
        file.write(DATA)
        assert len(set(unfinished._begun) - before) == 1
    fs.open("/b", "wb").close()
    fs.pipe_file("/c", DATA)
    with pytest.raises(ZeroDivisionError), fs.open("/d", "wb") as file:
        file.write(DATA)
        raise ZeroDivisionError
    with StorageDriver(fs).writer("/e") as writer:
        writer.write(DATA)
        assert len(raw.uploads()) == 1
        assert set(unfinished._begun) == before
    assert set(unfinished._begun) == before


# -- at the end of the process ----------------------------------------------------------------------------

SETUP = """
import asyncio, json, multiprocessing, os, sys, threading
from regfs import RegistryFileSystem
options = json.loads(sys.argv[1])
data = bytes(11 * 2**20)
def write():
    global file
    fs = RegistryFileSystem(**options)
    file = fs.open("/file", "wb")
    file.write(data)
    return fs
"""
ENDS = {
    "the last line": "write()",
    "an exception": "write()\nraise RuntimeError",
    "sys.exit": "write()\nsys.exit(3)",
    "a thread": "thread = threading.Thread(target=write)\nthread.start()\nthread.join()",
    "connections that are closed": """
import regfs.filesystem.waiting
fs = write()
regfs.filesystem.waiting.sync(fs.loop, fs.close)""",
    "a loop that has ended": """
async def main():
    global file
    fs = RegistryFileSystem(**options, asynchronous=True)
    file = await fs.open_async("/file", "wb")
    await file.write(data)
    await fs.close()
asyncio.run(main())""",
    "a transaction": """
fs = RegistryFileSystem(**options)
fs.start_transaction()
with fs.open("/file", "wb") as file:
    file.write(data)""",
    "text": """
fs = RegistryFileSystem(**options)
text = fs.open("/file", "w")
text.write("x" * len(data))""",
    "a process of multiprocessing": """
child = multiprocessing.get_context("fork").Process(target=write)
child.start()
child.join()
assert child.exitcode == 0""",
}


def run(code: str, options: dict[str, Any], seconds: float = 120) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", SETUP + code]
    given = json.dumps({**options, "chunksize": CHUNK})
    return subprocess.run([*command, given], capture_output=True, text=True, timeout=seconds)


@pytest.mark.parametrize("end", ENDS)
def test_an_end_with_an_open_file(options: dict[str, Any], raw: Place, end: str) -> None:
    # A host's name needs a thread of the loop's executor, and at exit there is none.
    endpoint = options["regionendpoint"].replace("127.0.0.1", "localhost")
    done = run(ENDS[end], {**options, "regionendpoint": endpoint})
    assert raw.uploads() == []
    assert raw.keys() == []
    assert done.returncode == {"an exception": 1, "sys.exit": 3}.get(end, 0)
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("regfs://")]
    assert f"regfs://{raw.bucket}/file" in line
    assert f" {11 * 2**20} bytes are not published" in line
    assert "could not be aborted" not in done.stderr


def test_a_forked_child_leaves_its_parent_alone(options: dict[str, Any], raw: Place) -> None:
    code = """
fs = write()
child = os.fork()
if not child:
    sys.exit()
assert os.waitpid(child, 0)[1] == 0
file.close()
print(fs.size("/file"))
"""
    done = run(code, options)
    assert (done.stdout, done.stderr) == (f"{11 * 2**20}\n", "")
    assert raw.uploads() == []


def test_a_service_that_does_not_answer_is_not_waited_for(
    proxied_options: dict[str, Any], proxy: CountingProxy, raw: Place
) -> None:
    over = threading.Event()
    proxy.fault = lambda request: DENIED if request.method == "DELETE" and over.wait() else None
    code = """
import atexit, time
from regfs.store import unclosed
def tell():
    print(time.monotonic() - began)
atexit.unregister(unclosed._forget_all)
atexit.register(tell)
atexit.register(unclosed._forget_all)
write()
began = time.monotonic()
"""
    try:
        done = run(code, proxied_options)
    finally:
        over.set()
    ((_, upload),) = raw.uploads()
    assert f"upload {upload} of regfs://{raw.bucket}/file could not be aborted" in done.stderr
    assert proxied_options["secretkey"] not in done.stderr
    assert float(done.stdout) < 30, "five seconds, and what a busy machine adds"
