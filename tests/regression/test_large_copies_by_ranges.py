"""A resume past 5 GiB copied the object as one part, S3's limit for which is 5 GiB.

The plan of the copies is checked on a client that only notes what is asked of it, so that 5 TiB cost
nothing. One test copies 6 GiB for real.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, cast

import pytest

from regfs import DriverParameters, RegistryFileSystem, StorageDriver
from regfs.s3.objects import ObjectInfo, PartInfo
from regfs.store.transfer import copy_object
from regfs.store.upload import IN_FLIGHT, MAX_OBJECT, MAX_PARTS, Upload, part_size

MAX_PART = 5 * 2**30  # S3 API, "Multipart upload limits"

if TYPE_CHECKING:
    from support.proxy import CountingProxy, Request
    from support.servers import Place, Server

    from regfs.s3.client import S3Client

KIB, MIB, GIB = 2**10, 2**20, 2**30
CHUNK = 5 * MIB


class NotedBody:
    """Gives bytes, of which only the number counts."""

    async def read(self, n: int) -> bytes:
        return bytes(n)

    def close(self) -> None:
        pass


@dataclass
class NotingClient:
    """Stands for `S3Client`: takes every request and notes its range of the source."""

    parameters: DriverParameters
    copied: dict[int, tuple[int, int]] = field(default_factory=dict)
    read: list[tuple[int, int]] = field(default_factory=list)
    uploaded: dict[int, int] = field(default_factory=dict)
    completed: list[PartInfo] = field(default_factory=list)
    whole: int = 0
    under_way: int = 0
    most_at_once: int = 0

    async def create_upload(self, key: str, like: ObjectInfo | None = None) -> str:
        return "upload"

    async def copy(self, source: ObjectInfo, key: str) -> None:
        self.whole += 1

    async def copy_part(
        self, key: str, upload: str, number: int, source: ObjectInfo, start: int, stop: int
    ) -> PartInfo:
        assert number not in self.copied
        self.copied[number] = start, stop
        self.under_way += 1
        self.most_at_once = max(self.most_at_once, self.under_way)
        await asyncio.sleep(0)
        self.under_way -= 1
        return PartInfo(number, "etag", stop - start)

    async def open(self, key: str, start: int, stop: int, etag: str) -> NotedBody:
        self.read.append((start, stop))
        return NotedBody()

    async def upload_part(self, key: str, upload: str, number: int, data: bytearray) -> PartInfo:
        self.uploaded[number] = len(data)
        return PartInfo(number, "etag", len(data))

    async def complete_upload(
        self, key: str, upload: str, parts: list[PartInfo], *, exclusive: bool = False
    ) -> None:
        self.completed = list(parts)

    def check_copies(self, size: int) -> list[int]:
        """Check that the ranges hold each byte once and nothing that S3 refuses; give the parts' sizes."""
        ranges = [self.copied[number] for number in sorted(self.copied)]
        at = 0
        for start, stop in sorted([*ranges, *self.read]):
            assert start == at
            at = stop
        assert at == size
        assert ranges == sorted(ranges)
        sizes = [part.size for part in self.completed]
        assert [part.number for part in self.completed] == list(range(1, len(sizes) + 1))
        assert len(sizes) <= MAX_PARTS
        assert all(CHUNK <= item <= MAX_PART for item in sizes[:-1])
        assert sizes[-1] <= MAX_PART
        assert sizes[:-1] == sorted(sizes[:-1]), "parts are equal or growing"
        assert [stop - start for start, stop in ranges] == sizes[: len(ranges)]
        return sizes


def noting(**parameters: Any) -> NotingClient:
    required = {"bucket": "b", "region": "us-east-1", "accesskey": "a", "secretkey": "s"}
    return NotingClient(DriverParameters.from_mapping({**required, **parameters}))


def source(size: int) -> ObjectInfo:
    return ObjectInfo("from", size, datetime(2020, 1, 1, tzinfo=timezone.utc), '"etag"')


def as_client(client: NotingClient) -> S3Client:
    return cast("S3Client", client)


# -- the plan -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunk", [5 * MIB, 10 * MIB, 5 * GIB])
@pytest.mark.parametrize("size", [5 * GIB + 1, 12 * GIB, MAX_OBJECT])
def test_what_is_continued_is_copied_by_ranges(chunk: int, size: int) -> None:
    """All but a rest that is less than a part: it goes through memory, as more will come behind it."""
    stop, number = 0, 1
    while stop + part_size(number, chunk) <= size:
        stop, number = stop + part_size(number, chunk), number + 1
    assert number - (stop == size) <= MAX_PARTS, "the rest has a number left"
    small = part_size(number, chunk) < 100 * MIB
    if small:  # the buffer of a larger part is not worth its while here
        stop = size

    async def work() -> NotingClient:
        client = noting(chunksize=chunk)
        upload = Upload(as_client(client), "key", like=source(size))
        await upload.copy(source(size), 0, stop)
        assert upload.size == stop
        await upload.commit()
        return client

    client = asyncio.run(work())
    sizes = client.check_copies(stop)
    assert sum(sizes) == stop
    assert sum(high - low for low, high in client.read) < part_size(number, chunk)
    assert len(client.copied) == number - 1
    assert len(client.uploaded) == len(sizes) - len(client.copied) <= small
    assert client.most_at_once == min(IN_FLIGHT, number - 1)


@pytest.mark.parametrize("chunk", [5 * MIB, 32 * MIB, 5 * GIB])
@pytest.mark.parametrize("size", [5 * GIB, 5 * GIB + 1, 12 * GIB, MAX_OBJECT - 1, MAX_OBJECT])
def test_a_copy_by_ranges(chunk: int, size: int) -> None:
    async def work() -> NotingClient:
        client = noting(multipartcopychunksize=chunk, multipartcopymaxconcurrency=7)
        await copy_object(as_client(client), source(size), "to")
        return client

    client = asyncio.run(work())
    sizes = client.check_copies(size)
    assert client.read == []
    assert client.whole == 0
    assert len(set(sizes[:-1])) <= 1, "all but the last are equal"
    assert sizes[-1] <= sizes[0]
    assert len(sizes) == 1 or sizes[0] == max(chunk, -(-size // MAX_PARTS))
    assert client.most_at_once == min(7, len(sizes))


def test_the_largest_copy_by_one_request() -> None:
    async def work(size: int) -> NotingClient:
        client = noting(multipartcopythresholdsize=5 * GIB, multipartcopychunksize=5 * GIB)
        await copy_object(as_client(client), source(size), "to")
        return client

    whole = asyncio.run(work(5 * GIB))
    assert (whole.whole, whole.copied) == (1, {})
    parts = asyncio.run(work(5 * GIB + 1))
    assert (parts.whole, parts.copied) == (0, {1: (0, 5 * GIB), 2: (5 * GIB, 5 * GIB + 1)})


# -- move -----------------------------------------------------------------------------------------------

DONE = b"<CopyObjectResult><ETag>&quot;e&quot;</ETag></CopyObjectResult>"


def answered(body: bytes) -> bytes:
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/xml\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


@pytest.mark.parametrize("there", [b"short", None])
@pytest.mark.parametrize("way", ["whole", "parts"])
def test_the_source_stays_where_the_copy_is_not_whole(
    proxied_options: dict[str, Any], proxy: CountingProxy, raw: Place, way: str, there: bytes | None
) -> None:
    """The service says that it copied, and has something else or nothing."""
    small: dict[str, Any] = {"multipartcopythresholdsize": CHUNK, "multipartcopychunksize": CHUNK}
    driver = StorageDriver(RegistryFileSystem(**proxied_options, **small, maxretries=0))
    content = b"x" * (7 if way == "whole" else CHUNK + 1)
    raw.put("from", content)
    if there is not None:
        raw.put("to", there)

    def lie(request: Request) -> bytes | None:
        if request.method == "POST" and "uploadId" in request.query:
            done = DONE.replace(b"CopyObjectResult", b"CompleteMultipartUploadResult")
            return answered(done)
        copies = request.method == "PUT" and "partNumber" not in request.query
        return answered(DONE) if copies else None

    proxy.fault = lie
    told = "the copy has 5 bytes instead of" if there else "the copy has nothing|nothing is there"
    with pytest.raises(OSError, match=told):
        driver.move("/from", "/to")
    assert raw.get("from") == content
    deleted = [item for item in proxy.requests if item.method == "DELETE" and "uploadId" not in item.query]
    assert deleted == []


# -- the real thing -------------------------------------------------------------------------------------

SEED = 128 * MIB
COPIES = 48
LARGE = COPIES * SEED


def stamp(number: int) -> bytes:
    """What stands at the start of each MiB of the seed."""
    return b"MiB %6d of the seed" % number


@pytest.fixture
def large(server: Server, s3: Any, bucket: str) -> StorageDriver:
    """A bucket of its own with an object of 6 GiB, "/from": the same 128 MiB again and again.

    Deleting the bucket gives its space back, which deleting an object would not do before a vacuum.
    """
    seed = bytearray(SEED)
    for number in range(SEED // MIB):
        text = stamp(number)
        seed[number * MIB : number * MIB + len(text)] = text
    s3.put_object(Bucket=bucket, Key="seed", Body=bytes(seed))
    target = {"Bucket": bucket, "Key": "from"}
    upload = s3.create_multipart_upload(**target)["UploadId"]

    def part(number: int) -> dict[str, Any]:
        copied = s3.upload_part_copy(
            **target, UploadId=upload, PartNumber=number, CopySource={"Bucket": bucket, "Key": "seed"}
        )
        return {"PartNumber": number, "ETag": copied["CopyPartResult"]["ETag"]}

    with ThreadPoolExecutor(2) as pool:
        parts = list(pool.map(part, range(1, COPIES + 1)))
    s3.complete_multipart_upload(**target, UploadId=upload, MultipartUpload={"Parts": parts})
    s3.delete_object(Bucket=bucket, Key="seed")
    # A hundred copies at once, the default, keep a slow disk too busy to answer within a minute.
    few: dict[str, Any] = {"multipartcopymaxconcurrency": 8}
    return StorageDriver(RegistryFileSystem(**server.storage_options(bucket), **few))


def check_content(driver: StorageDriver, path: str) -> None:
    """Look at the start, the end, and both sides of the places where parts and limits meet."""
    step = driver.fs.parameters.multipart_copy_chunk_size
    places = {0, MIB, step, 150 * step, SEED, LARGE // 2, 5 * GIB, LARGE - SEED, LARGE - MIB}
    for place in places:
        at = max(place - KIB, 0)
        want = bytearray(place + KIB - at)
        for start in range(place // MIB * MIB, place + KIB, MIB):
            text = stamp(start % SEED // MIB)
            want[start - at : start - at + len(text)] = text
        assert driver.fs.cat_file(path, at, place + KIB) == want, place


@pytest.mark.huge
@pytest.mark.timeout(900)
@pytest.mark.parametrize("server", ["seaweedfs"], indirect=True)
def test_more_than_a_part_may_hold(large: StorageDriver) -> None:
    """Needs 22 GB of disk and about five minutes."""
    large.move("/from", "/to")
    assert large.list("/") == ["/to"]
    assert large.stat("/to").size == LARGE
    check_content(large, "/to")
    more = b"m" * MIB
    with large.writer("/to", append=True) as writer:
        assert writer.size == LARGE
        writer.write(more)
        assert large.stat("/to").size == LARGE
        writer.commit()
    assert large.stat("/to").size == LARGE + MIB
    check_content(large, "/to")
    assert large.fs.cat_file("/to", LARGE - 5, LARGE + 5) == bytes(5) + more[:5]
    assert large.fs.cat_file("/to", -MIB - 1) == bytes(1) + more
    assert large.fs.uploads() == []
