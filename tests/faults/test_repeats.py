"""What is repeated, from where, how often and after how long; and what is never done twice."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from faults.table import answer, error, kind
from support.proxy import Fate

import regfs.s3.client
import regfs.s3.retry
from regfs import FileChangedError, RegistryFileSystem, StorageDriver, ThrottledError

if TYPE_CHECKING:
    from support.proxy import CountingProxy, Request
    from support.servers import Place

pytestmark = pytest.mark.parametrize("server", ["seaweedfs"], indirect=True)

BODY = random.Random(3).randbytes(400_000)
PART = 5 * 2**20


@pytest.fixture
def fs(proxied_options: dict[str, Any], raw: Place) -> RegistryFileSystem:
    raw.put("file", BODY)
    return RegistryFileSystem(**proxied_options, chunksize=PART)


def by_reader(fs: RegistryFileSystem, tmp_path: Path) -> bytes:
    with StorageDriver(fs).reader("/file") as stream:
        return stream.read()


def by_open(fs: RegistryFileSystem, tmp_path: Path) -> bytes:
    with fs.open("/file") as file:
        return b"".join(iter(lambda: file.read(7777), b""))


def by_get(fs: RegistryFileSystem, tmp_path: Path) -> bytes:
    with (tmp_path / "pipe").open("wb") as file:
        fs.get_file("/file", file)
    return (tmp_path / "pipe").read_bytes()


def by_async(fs: RegistryFileSystem, tmp_path: Path) -> bytes:
    async def read() -> bytes:
        own = RegistryFileSystem(**fs.storage_options, asynchronous=True)
        try:
            async with await own.open_async("/file") as file:
                data: bytes = await file.read()
                return data
        finally:
            await own.close()

    return asyncio.run(read())


def by_cat(fs: RegistryFileSystem, tmp_path: Path) -> bytes:
    data: bytes = fs.cat_file("/file")
    return data


READS = (by_reader, by_open, by_get, by_async, by_cat)
Read = Callable[[RegistryFileSystem, Path], bytes]


def gets(proxy: CountingProxy) -> list[Request]:
    return [request for request in proxy.requests if kind(request) == "GetObject"]


@pytest.mark.parametrize("read", READS)
class TestReadsGoOn:
    @pytest.mark.parametrize("how", ["reset", "closed"])
    def test_from_the_byte_reached_and_of_the_same_version(
        self, fs: RegistryFileSystem, proxy: CountingProxy, tmp_path: Path, read: Read, how: Any
    ) -> None:
        cuts = iter([0.9, 0.5, 0.0])

        def cut(request: Request) -> Fate | None:
            share = next(cuts, None)
            return None if share is None else Fate(answer=share, how=how)

        proxy.fault = cut
        assert read(fs, tmp_path) == BODY
        again = gets(proxy)[1:]
        assert len(again) >= 3
        assert all("if-match" in request.headers for request in again)
        starts = [int(request.headers["range"][6:].partition("-")[0]) for request in again]
        assert starts == sorted(starts)
        assert starts[-1] > 0

    def test_as_often_as_it_gets_any_further(
        self,
        fs: RegistryFileSystem,
        proxy: CountingProxy,
        tmp_path: Path,
        read: Read,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(regfs.s3.client, "pause", lambda attempt: 0)
        proxy.fault = lambda request: Fate(answer=0.3, how="closed") if len(gets(proxy)) < 12 else None
        assert read(fs, tmp_path) == BODY
        assert len(gets(proxy)) >= 12  # maxretries is 5

    def test_but_not_for_ever_in_one_place(
        self, fs: RegistryFileSystem, proxy: CountingProxy, tmp_path: Path, read: Read
    ) -> None:
        fs = RegistryFileSystem(**{**fs.storage_options, "maxretries": 2})
        proxy.fault = lambda request: Fate(answer=0.0, how="closed")
        with pytest.raises(ConnectionError, match="broke"):
            read(fs, tmp_path)
        assert len(gets(proxy)) == 3

    def test_never_mix_two_versions(
        self, fs: RegistryFileSystem, proxy: CountingProxy, raw: Place, tmp_path: Path, read: Read
    ) -> None:
        cut = [Fate(answer=0.8, how="closed")]

        def replace(request: Request) -> Fate | None:
            if cut:
                return cut.pop()
            raw.put("file", BODY[::-1])
            return None

        proxy.fault = replace
        if read is by_cat:  # nobody has seen any of it yet, so it begins anew
            assert read(fs, tmp_path) == BODY[::-1]
            return
        with pytest.raises(FileChangedError):
            read(fs, tmp_path)


class TestPauses:
    def test_as_long_as_the_service_asks(self, fs: RegistryFileSystem, proxy: CountingProxy) -> None:
        answers = [error("503 Slow Down", "SlowDown", Retry_After="1")]
        proxy.fault = lambda request: answers.pop() if answers else None
        started = time.monotonic()
        assert fs.cat_file("/file") == BODY
        assert time.monotonic() - started > 0.95

    @pytest.mark.parametrize("read", [by_cat, by_open])
    def test_but_not_past_the_deadline(
        self, fs: RegistryFileSystem, proxy: CountingProxy, tmp_path: Path, read: Read
    ) -> None:
        proxy.fault = lambda request: error("503 Slow Down", "SlowDown", Retry_After="3600")
        with pytest.raises(ThrottledError) as caught:
            read(fs, tmp_path)
        assert caught.value.retry_after == 3600
        assert len(proxy.requests) == 1

    def test_nor_more_attempts_than_the_deadline_allows(
        self, fs: RegistryFileSystem, proxy: CountingProxy, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(regfs.s3.retry, "DEADLINE", 0.5)
        monkeypatch.setattr(regfs.s3.retry, "pause", lambda attempt, error: 0.2)
        proxy.fault = lambda request: error("500 Internal Server Error", "InternalError")
        with pytest.raises(OSError, match="InternalError"):
            fs.cat_file("/file")
        assert 2 <= len(proxy.requests) <= 3


class TestNothingIsDoneTwice:
    def test_a_lost_answer_to_an_exclusive_put_is_looked_into(
        self, fs: RegistryFileSystem, proxy: CountingProxy, raw: Place
    ) -> None:
        lost = [Fate(answer=-1)]
        proxy.fault = lambda request: lost.pop() if lost and request.method == "PUT" else None
        fs.pipe_file("/mine", b"mine", mode="create")
        assert raw.get("mine") == b"mine"
        assert [kind(request) for request in proxy.requests].count("PutObject") == 1

    @pytest.mark.parametrize("size", [4, PART + 1])
    def test_and_is_no_success_where_somebody_else_was_faster(
        self, fs: RegistryFileSystem, proxy: CountingProxy, raw: Place, size: int
    ) -> None:
        lost = [b""]

        def lose(request: Request) -> bytes | None:
            if lost and kind(request) in ("PutObject", "CompleteMultipartUpload"):
                raw.put("mine", b"theirs")
                return lost.pop()
            return None

        proxy.fault = lose
        with pytest.raises(FileExistsError):
            fs.pipe_file("/mine", bytes(size), mode="create")
        assert raw.get("mine") == b"theirs"
        assert raw.uploads() == []

    def test_a_lost_answer_to_the_completion_is_looked_into(
        self, fs: RegistryFileSystem, proxy: CountingProxy, raw: Place
    ) -> None:
        lost = [Fate(answer=-1)]
        proxy.fault = lambda request: (
            lost.pop() if lost and kind(request) == "CompleteMultipartUpload" else None
        )
        fs.pipe_file("/large", bytes(PART + 1))
        assert raw.head("large")["ContentLength"] == PART + 1
        assert [kind(request) for request in proxy.requests].count("CompleteMultipartUpload") == 1

    def test_an_upload_whose_id_was_lost_is_removed_and_no_other(
        self, fs: RegistryFileSystem, proxy: CountingProxy, raw: Place
    ) -> None:
        key = f"{raw.prefix}large"
        theirs = raw.s3.create_multipart_upload(Bucket=raw.bucket, Key=key)["UploadId"]
        raw.s3.upload_part(Bucket=raw.bucket, Key=key, UploadId=theirs, PartNumber=1, Body=b"theirs")
        lost = [Fate(answer=-1)]
        proxy.fault = lambda request: (
            lost.pop() if lost and kind(request) == "CreateMultipartUpload" else None
        )
        fs.pipe_file("/large", bytes(PART + 1))
        assert raw.uploads() == [("large", theirs)]

    def test_a_completion_that_lost_bytes_is_an_error(
        self, fs: RegistryFileSystem, proxy: CountingProxy
    ) -> None:
        when = "Mon, 23 Nov 2026 10:00:00 GMT"
        made = (
            b"<CompleteMultipartUploadResult><ETag>&quot;other-2&quot;</ETag></CompleteMultipartUploadResult>"
        )
        answers = {
            "CompleteMultipartUpload": answer("200 OK", made),
            "HeadObject": answer("200 OK", ETag='"other-2"', Last_Modified=when, Content_Length="4"),
        }
        proxy.fault = lambda request: answers.get(kind(request))
        with pytest.raises(OSError, match=f"made an object of 4 bytes out of {PART + 1}"):
            fs.pipe_file("/short", bytes(PART + 1))


@pytest.mark.parametrize("size", [10, PART + 10])
@pytest.mark.parametrize(("algorithm", "header"), [("", "content-md5"), ("CRC32", "x-amz-checksum-crc32")])
def test_uploads_carry_a_checksum(
    proxied_options: dict[str, Any], proxy: CountingProxy, algorithm: str, header: str, size: int
) -> None:
    fs = RegistryFileSystem(**proxied_options, chunksize=PART, checksum_algorithm=algorithm)
    fs.pipe_file("/x", bytes(size))
    bodies = [request for request in proxy.requests if kind(request) in ("PutObject", "UploadPart")]
    assert all(header in body.headers for body in bodies)
    assert not any("aws-chunked" in request.headers.get("content-encoding", "") for request in proxy.requests)
    proxy.clear()
    fs = RegistryFileSystem(**proxied_options, chunksize=PART, checksum_disabled=True)
    fs.pipe_file("/x", bytes(size))
    sums = ("content-md5", "x-amz-checksum", "x-amz-sdk-checksum", "x-amz-trailer")
    bodies = [request for request in proxy.requests if kind(request) in ("PutObject", "UploadPart")]
    assert not [name for body in bodies for name in body.headers if name.startswith(sums)]


def test_a_damaged_upload_is_refused_by_the_service(
    fs: RegistryFileSystem, proxy: CountingProxy, raw: Place
) -> None:
    proxy.fault = lambda request: Fate(spoil=True) if request.method == "PUT" else None
    fs = RegistryFileSystem(**{**fs.storage_options, "maxretries": 1})
    with pytest.raises(OSError, match="BadDigest"):
        fs.pipe_file("/damaged", b"some bytes")
    assert raw.keys() == ["file"]
