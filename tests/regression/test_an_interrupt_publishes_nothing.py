"""Ctrl-C in a blocking call left its coroutine running: an interrupted upload went on and was published."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest
from fsspec.asyn import get_loop

from regfs.filesystem import waiting

if TYPE_CHECKING:
    from pathlib import Path

    from support.proxy import CountingProxy, Request
    from support.servers import Place

_PROGRAM = """
import json, signal, sys, time
import regfs
signal.signal(signal.SIGINT, signal.default_int_handler)
options, local = json.loads(sys.argv[1])
fs = regfs.RegistryFileSystem(**options)
print("begin", flush=True)
try:
    fs.put_file(local, "/file")
except KeyboardInterrupt:
    print("interrupted", flush=True)
    sys.stdin.read()  # as a notebook goes on
    print(fs.exists("/file"), len(fs.uploads()), flush=True)
"""


@pytest.mark.parametrize("server", ["seaweedfs"], indirect=True)
def test_an_interrupted_put(
    proxied_options: dict[str, Any], proxy: CountingProxy, raw: Place, tmp_path: Path
) -> None:
    local = tmp_path / "file"
    local.write_bytes(b"x" * 12 * 2**20)
    reached, go_on = threading.Event(), threading.Event()

    def hold(request: Request) -> None:
        if "partNumber" in request.query:
            reached.set()
            go_on.wait(30)

    proxy.fault = hold
    options = {**proxied_options, "chunksize": "5MiB"}
    with subprocess.Popen(
        [sys.executable, "-c", _PROGRAM, json.dumps([options, str(local)])],
        env=dict(os.environ),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert reached.wait(60)
            process.send_signal(signal.SIGINT)
            threading.Timer(0.5, go_on.set).start()
            said, _ = process.communicate("\n", timeout=60)
        finally:
            go_on.set()
            process.kill()
    assert said.split("\n") == ["begin", "interrupted", "False 0", ""]
    assert (raw.keys(), raw.uploads()) == ([], [])
    assert not any(request.method == "POST" and "uploadId" in request.query for request in proxy.requests)


@pytest.mark.parametrize("begun", [False, True])
def test_an_interrupt_at_any_time(monkeypatch: pytest.MonkeyPatch, begun: bool) -> None:
    """Before the coroutine's first step as well, when there is nothing yet to cancel."""
    wait, free, running, waits, ended = waiting._wait, threading.Event(), threading.Event(), [], []

    async def work() -> None:
        running.set()
        try:
            await asyncio.sleep(30)
        finally:
            ended.append(True)

    def interrupted(done: threading.Lock) -> None:
        waits.append(done)
        if len(waits) == 1:
            if begun:
                free.set()
                assert running.wait(30)
            raise KeyboardInterrupt
        free.set()
        wait(done)

    monkeypatch.setattr(waiting, "_wait", interrupted)
    loop = get_loop()
    loop.call_soon_threadsafe(free.wait, 30)
    with pytest.raises(KeyboardInterrupt):
        waiting.sync(loop, work)
    assert len(waits) == 2
    assert ended == [True] * begun
    assert running.is_set() == begun
