"""Parts were sent one after another, out of buffers that grew to twice their size, and without end.

One connection's speed was then all that a stream could reach, and an upload broke off at part 10,001, by an
answer of the service, when everything before it had been sent. How large the parts of an upload are is
checked in ``test_resume.py``.
"""

from __future__ import annotations

import asyncio
import errno
import io
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import pytest

from regfs import RegistryFileSystem, StorageDriver
from regfs.paths import KeySpace
from regfs.s3.objects import PartInfo
from regfs.store import upload
from regfs.store.upload import IN_FLIGHT, MAX_PARTS, Upload

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.proxy import CountingProxy, Request
    from support.servers import Place

    from regfs.s3.client import S3Client

CHUNK = 5 * 2**20
PARTS = IN_FLIGHT + 2
CONTENT = b"".join(bytes([number]) * CHUNK for number in range(PARTS - 1)) + b"end"


class Traffic:
    """A fault of the proxy: holds parts until as many travel as may, and a while longer, then lets all go."""

    def __init__(self) -> None:
        self.arrived: list[str] = []
        self.at_once = 0
        self._lock = threading.Lock()
        self._enough = threading.Event()
        self._over = threading.Event()

    def __call__(self, request: Request) -> None:
        if "partNumber" not in request.query:
            return
        with self._lock:
            self.arrived.append(request.query["partNumber"])
            last = len(self.arrived) == IN_FLIGHT
        if last:
            self._enough.set()
            self._over.wait(0.5)  # nothing ends this wait but a part too many
            self.at_once = len(self.arrived)
            self._over.set()
        elif len(self.arrived) > IN_FLIGHT:
            self._over.set()
        elif not self._enough.wait(10):  # they go one after another; no use in holding the others, too
            self._enough.set()
            self._over.set()
        else:
            self._over.wait(10)


def written(driver: StorageDriver, content: bytes, step: int) -> None:
    with driver.writer("/file") as writer:
        for start in range(0, len(content), step):
            writer.write(content[start : start + step])
        writer.commit()


def opened(driver: StorageDriver, content: bytes) -> None:
    with driver.fs.open("/file", "wb") as file:
        file.write(content)


STREAMS: dict[str, Callable[[StorageDriver, bytes], object]] = {
    "writer": lambda d, content: written(d, content, len(content)),
    "writer-piece-by-piece": lambda d, content: written(d, content, 1_000_003),
    "write_stream": lambda d, content: d.write_stream("/file", 0, io.BytesIO(content)),
    "open": opened,
}
WAYS: dict[str, Callable[[StorageDriver, bytes], object]] = {
    **STREAMS,
    "put_content": lambda d, content: d.put_content("/file", content),
}


@pytest.mark.parametrize("server", ["seaweedfs"], indirect=True)
@pytest.mark.parametrize("way", WAYS)
def test_parts_in_flight(proxied_options: dict[str, Any], proxy: CountingProxy, raw: Place, way: str) -> None:
    traffic = Traffic()
    proxy.fault = traffic
    WAYS[way](StorageDriver(RegistryFileSystem(**proxied_options, chunksize=CHUNK, maxretries=0)), CONTENT)
    assert traffic.at_once == IN_FLIGHT
    assert sorted(traffic.arrived[:IN_FLIGHT]) == [str(number) for number in range(1, IN_FLIGHT + 1)]
    assert sorted(traffic.arrived, key=int) == [str(number) for number in range(1, PARTS + 1)]
    assert raw.get("file") == CONTENT


# -- the buffer and the end of the numbers --------------------------------------------------------------


@dataclass
class NotingClient:
    """Stands for `S3Client`: parts arrive late and in any order."""

    parameters: Any
    space: KeySpace = field(default_factory=lambda: KeySpace("bucket", ""))
    parts: dict[int, bytes] = field(default_factory=dict)
    content: bytes = b""
    under_way: int = 0
    most_at_once: int = 0

    async def create_upload(self, key: str, like: object = None) -> str:
        return "upload"

    async def upload_part(self, key: str, upload: str, number: int, data: bytearray) -> PartInfo:
        assert number not in self.parts
        self.parts[number] = bytes(data)
        self.under_way += 1
        self.most_at_once = max(self.most_at_once, self.under_way)
        for _ in range(number * 7 % 5):
            await asyncio.sleep(0)
        self.under_way -= 1
        return PartInfo(number, "etag", len(data))

    async def complete_upload(
        self, key: str, upload: str, parts: list[PartInfo], *, exclusive: bool = False
    ) -> None:
        self.content = b"".join(self.parts[part.number] for part in parts)


@dataclass
class TinyParts:
    """Stands for the parameters; 5 MiB are too much to write 10,000 times."""

    chunk_size: int


def tiny(chunk: int) -> tuple[NotingClient, S3Client]:
    client = NotingClient(TinyParts(chunk))
    return client, cast("S3Client", client)


@pytest.mark.parametrize("step", [1, 7, 10, 11, 25, 999])
def test_a_buffer_is_one_part(step: int) -> None:
    content = bytes(range(100)) * 9 + b"end"

    async def work() -> NotingClient:
        client, as_client = tiny(10)
        file = Upload(as_client, "key")
        for start in range(0, len(content), step):
            view = memoryview(content)[start : start + step]
            while view:
                view = view[file.fill(view) :]
                assert len(file.unsent) <= 10
                assert file.fill(memoryview(b"")) == 0
                if view:
                    assert len(file.unsent) == 10, "full before it is sent"
                    assert file.fill(view) == 0, "and full is full"
                    await file.send()
                    assert file.unsent == b""
        await file.commit()
        assert file.unsent == b""
        return client

    client = asyncio.run(work())
    assert client.content == content
    assert {len(client.parts[number]) for number in range(1, len(client.parts))} == {10}
    assert 1 < client.most_at_once <= IN_FLIGHT


def test_the_last_part_number_is_used() -> None:
    async def work() -> NotingClient:
        client, as_client = tiny(1)
        file = Upload(as_client, "key", total=MAX_PARTS)
        await file.write(b"x" * MAX_PARTS)
        await file.commit()
        return client

    client = asyncio.run(work())
    assert client.content == b"x" * MAX_PARTS
    assert max(client.parts) == MAX_PARTS
    assert client.most_at_once == IN_FLIGHT


def test_a_part_too_many_is_not_sent() -> None:
    """A file that grows while it is stored: its parts are as large as it was at first."""

    async def work() -> NotingClient:
        client, as_client = tiny(1)
        file = Upload(as_client, "key", total=1)
        with pytest.raises(
            OSError, match=f"the object exceeds what S3 stores in {MAX_PARTS} parts"
        ) as caught:
            await file.write(b"x" * (MAX_PARTS + 2))
        assert caught.value.errno == errno.EFBIG
        assert caught.value.filename == "regfs://bucket/key"
        with pytest.raises(OSError, match="exceeds"):
            await file.commit()
        await file.settle()
        return client

    client = asyncio.run(work())
    assert max(client.parts) == MAX_PARTS
    assert client.content == b""


@pytest.mark.parametrize("way", STREAMS)  # put_content knows what is to come, and takes larger parts
def test_a_part_too_many_publishes_nothing(
    monkeypatch: pytest.MonkeyPatch,
    proxied_options: dict[str, Any],
    proxy: CountingProxy,
    raw: Place,
    way: str,
) -> None:
    monkeypatch.setattr(upload, "MAX_PARTS", 2)
    driver = StorageDriver(RegistryFileSystem(**proxied_options, chunksize=CHUNK, maxretries=0))
    STREAMS[way](driver, CONTENT[: 2 * CHUNK])
    assert raw.get("file") == CONTENT[: 2 * CHUNK]
    proxy.clear()
    with pytest.raises(OSError, match="exceeds what S3 stores") as caught:
        STREAMS[way](driver, CONTENT[: 2 * CHUNK + 1])
    assert caught.value.errno == errno.EFBIG
    assert str(caught.value.filename).endswith("/file")
    sent = [request.query["partNumber"] for request in proxy.requests if "partNumber" in request.query]
    assert sorted(sent) == ["1", "2"]
    assert not [
        request for request in proxy.requests if request.method == "POST" and "uploadId" in request.query
    ]
    assert raw.get("file") == CONTENT[: 2 * CHUNK]
    if way.startswith("writer"):  # what it had accepted is kept, as after every failure
        driver.fs.abort_uploads(dry_run=False)
    assert raw.uploads() == []
