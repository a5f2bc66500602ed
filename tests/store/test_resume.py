"""Uploads in several sittings: what is kept, and what a crash between any two requests leaves."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import pytest

from regfs import PathNotFoundError, RegistryFileSystem, StorageDriver
from regfs.paths import RECORD_SUFFIX
from regfs.store.resume import Record
from regfs.store.upload import MAX_OBJECT, MAX_PARTS, part_size

MAX_PART = 5 * 2**30  # S3 API, "Multipart upload limits"

if TYPE_CHECKING:
    from support.servers import Place

MIB = 2**20
CHUNK = 5 * MIB
PATH = "/a/data"


def new_driver(options: dict[str, Any]) -> StorageDriver:
    """A driver that shares nothing with another: another process, as far as S3 can tell."""
    return StorageDriver(RegistryFileSystem(**options, chunksize=CHUNK, skip_instance_cache=True))


def piece(number: int, size: int) -> bytes:
    return (b"%d." % number * (size // 2 + 1))[:size]


class Crash:
    """Kills a driver's process, as far as S3 can tell, after so many requests."""

    def __init__(self, driver: StorageDriver, after: int) -> None:
        self.left = after
        self.under_way = 0
        self.transport = driver.fs.client.transport
        self.attempts = self.transport.attempts
        self.transport.attempts = self.run  # type: ignore[method-assign]  # requests are counted there

    async def run(self, call: Callable[[], Awaitable[Any]], *about: Any, **how: Any) -> Any:
        if self.left == 0:
            raise OSError("the process was killed")
        self.left -= 1
        self.under_way += 1
        try:
            return await self.attempts(call, *about, **how)
        finally:
            self.under_way -= 1

    def wait(self) -> None:
        """Wait for what the server is still doing for the dead process."""
        deadline = time.monotonic() + 30
        while self.under_way:
            assert time.monotonic() < deadline
            time.sleep(0.005)


@dataclass(frozen=True)
class Life:
    """A file written in sittings, and how many requests that takes.

    What there is before it begins: nothing, a committed object, or an upload that the registry's own driver
    left, whose last part is small. The first sitting begins anew or continues that.
    """

    sizes: tuple[int, ...]
    requests: int
    before: Literal["nothing", "object", "upload"] = "nothing"
    append: bool = False

    @property
    def copies(self) -> bool:
        """Whether parts are copied. Where such a part's ETag is no digest, the commit ends with a HEAD."""
        return self.append and self.before != "nothing"

    def prepare(self, raw: Place) -> bytes:
        """Put there what there is before; give the content that a first append continues."""
        if self.before == "object":
            raw.put("a/data", piece(9, 6 * MIB))
            return piece(9, 6 * MIB)
        if self.before == "upload":
            return foreign_upload(raw, 5 * MIB, 10)
        return b""

    def sitting(self, number: int) -> bytes:
        """Return what one sitting writes."""
        step = 3 * MIB
        starts = range(0, self.sizes[number], step)
        return b"".join(piece(number + start, min(step, self.sizes[number] - start)) for start in starts)

    def live(self, driver: StorageDriver, kept: list[bytes]) -> None:
        """Write, note what each close() kept, and commit in a last sitting."""
        data = kept[-1] if kept else b""
        for number, size in enumerate(self.sizes):
            writer = driver.writer(PATH, append=self.append or number > 0)
            assert writer.size == len(data)
            content = self.sitting(number)
            for start in range(0, size, 3 * MIB):
                part = content[start : start + 3 * MIB]
                assert writer.write(part) == len(part)
            data += content
            assert writer.size == len(data)
            writer.close()
            kept.append(data)
        writer = driver.writer(PATH, append=True)
        assert writer.size == len(data)
        writer.commit()
        writer.close()


def foreign_upload(raw: Place, *sizes: int) -> bytes:
    """Leave an upload as the registry's own driver does; give its content."""
    key = raw.prefix + "a/data"
    upload = raw.s3.create_multipart_upload(Bucket=raw.bucket, Key=key)["UploadId"]
    for number, size in enumerate(sizes, 1):
        raw.s3.upload_part(
            Bucket=raw.bucket, Key=key, UploadId=upload, PartNumber=number, Body=piece(number, size)
        )
    return b"".join(piece(number, size) for number, size in enumerate(sizes, 1))


LIVES = {
    "small": Life((MIB, MIB), 14),
    "large": Life((6 * MIB, 2 * MIB, 7 * MIB), 20),
    "empty": Life((0, 10), 12),
    "whole parts": Life((CHUNK, 1), 13),
    "mixed": Life((100, 6 * MIB, 100), 20),
    "object": Life((MIB, 10), 20, "object", append=True),
    "anew": Life((MIB, 6 * MIB), 15, "object"),
    "upload": Life((10, MIB), 23, "upload", append=True),
}
each_life = pytest.mark.parametrize("life", LIVES.values(), ids=LIVES)
each_crash = pytest.mark.parametrize(
    ("life", "after"),
    [
        pytest.param(life, after, id=f"{name}-{after}")
        for name, life in LIVES.items()
        for after in range(life.requests)
    ],
)


@each_life
def test_sittings(options: dict[str, Any], raw: Place, life: Life) -> None:
    kept = [old] if (old := life.prepare(raw)) and life.append else []
    driver = new_driver(options)
    counter = Crash(driver, -1)
    life.live(driver, kept)
    looked_over = life.copies and raw.server.name == "seaweedfs"
    assert -1 - counter.left == life.requests + looked_over, "the crashes below are one for each request"
    assert raw.get("a/data") == kept[-1]
    assert raw.keys() == ["a/data"]
    assert raw.uploads() == []


@each_crash
def test_a_crash_after_any_request_loses_nothing_that_close_kept(
    options: dict[str, Any], raw: Place, life: Life, after: int
) -> None:
    # What is found is committed as it is, or more is written to it first: each crash meets the one on one
    # server and the other on the other.
    more = b"the end" if (after + (raw.server.name == "moto")) % 2 else b""
    old = life.prepare(raw)
    kept = [old] if old and life.append else []
    driver = new_driver(options)
    crash = Crash(driver, after)
    with pytest.raises(OSError, match="the process was killed"):
        life.live(driver, kept)
    crash.wait()

    safe = kept[-1] if kept else b""
    try:
        writer = new_driver(options).writer(PATH, append=True)
    except PathNotFoundError:
        assert not kept
        assert not old
        assert raw.uploads() == []
        assert raw.keys() == []
        return
    size = writer.size
    assert size >= len(safe)
    if more:
        writer.write(more)
        writer.close()
        writer = new_driver(options).writer(PATH, append=True)
        assert writer.size == size + len(more)
    writer.commit()
    found = raw.get("a/data")
    assert len(found) == size + len(more)
    assert found.endswith(more)
    assert found.startswith(safe)
    # What came after the last close() may be there or not, but nothing else.
    sittings = len(kept) - bool(old and life.append)
    following = life.sitting(sittings) if sittings < len(life.sizes) else b""
    rest = found[len(safe) : size]
    assert following.startswith(rest) or found[:size] == old
    assert raw.uploads() == []
    assert raw.keys() == ["a/data"]


def test_nothing_is_readable_before_commit(options: dict[str, Any], raw: Place) -> None:
    raw.put("a/data", b"old")
    for number, size in enumerate((MIB, MIB, 7 * MIB, 10)):
        with new_driver(options).writer(PATH, append=number > 0) as writer:
            writer.write(piece(number, size))
        assert raw.get("a/data") == b"old"
    new_driver(options).writer(PATH, append=True).commit()
    assert raw.get("a/data") == b"".join(piece(i, s) for i, s in enumerate((MIB, MIB, 7 * MIB, 10)))


def test_records_are_no_files(options: dict[str, Any], raw: Place) -> None:
    driver = new_driver(options)
    driver.put_content("/a/other", b"1")
    with driver.writer(PATH) as writer:
        writer.write(b"kept")
    assert any(key.endswith(RECORD_SUFFIX) for key in raw.keys())
    assert driver.list("/a") == ["/a/other"]
    assert driver.fs.find("/a") == ["/a/other"]
    driver.delete("/a")
    assert raw.keys() == []


@pytest.mark.parametrize("old", [0, 3, 6 * MIB])
def test_append_to_a_committed_file(options: dict[str, Any], raw: Place, old: int) -> None:
    raw.put("a/data", piece(1, old))
    writer = new_driver(options).writer(PATH, append=True)
    assert writer.size == old
    writer.write(b"more")
    writer.close()
    assert raw.get("a/data") == piece(1, old)
    writer = new_driver(options).writer(PATH, append=True)
    assert writer.size == old + 4
    writer.commit()
    assert raw.get("a/data") == piece(1, old) + b"more"
    assert raw.keys() == ["a/data"]
    assert raw.uploads() == []


def test_append_to_nothing(options: dict[str, Any], raw: Place) -> None:
    with pytest.raises(PathNotFoundError):
        new_driver(options).writer(PATH, append=True)
    raw.put("a/data-2", b"")
    with pytest.raises(PathNotFoundError):
        new_driver(options).writer(PATH, append=True)


def test_a_fresh_writer_starts_anew(options: dict[str, Any], raw: Place) -> None:
    with new_driver(options).writer(PATH) as writer:
        writer.write(b"first")
    with new_driver(options).writer(PATH) as writer:
        writer.write(b"second")
    writer = new_driver(options).writer(PATH, append=True)
    assert writer.size == len(b"second")
    writer.commit()
    assert raw.get("a/data") == b"second"
    assert raw.uploads() == []


def test_cancel_removes_all(options: dict[str, Any], raw: Place) -> None:
    with new_driver(options).writer(PATH) as writer:
        writer.write(b"first")
    new_driver(options).writer(PATH, append=True).cancel()
    assert raw.keys() == []
    assert raw.uploads() == []


def test_a_foreign_upload_with_a_small_last_part(options: dict[str, Any], raw: Place) -> None:
    """The registry's own driver leaves no record."""
    foreign_upload(raw, 5 * MIB, 10)
    writer = new_driver(options).writer(PATH, append=True)
    assert writer.size == 5 * MIB + 10
    writer.write(b"more")
    writer.close()
    writer = new_driver(options).writer(PATH, append=True)
    assert writer.size == 5 * MIB + 14
    writer.commit()
    assert raw.get("a/data") == piece(1, 5 * MIB) + piece(2, 10) + b"more"
    assert raw.keys() == ["a/data"]
    assert raw.uploads() == []


def test_a_record_survives_its_bytes() -> None:
    record = Record("upload", 3, 7, '"etag"', True, b"tail\nof bytes\0")
    assert Record.parse(bytes(record)) == record
    assert Record.parse(b"garbage") == Record()


class TestPartSizes:
    def test_a_stream_of_unknown_length_reaches_the_largest_object(self) -> None:
        for chunk in (5 * MIB, 10 * MIB, 64 * MIB, 600 * MIB):
            sizes = [part_size(number, chunk) for number in range(1, MAX_PARTS + 1)]
            assert sizes == sorted(sizes)
            assert sum(sizes) >= MAX_OBJECT
            assert max(sizes) <= MAX_PART
            assert set(sizes[:1000]) == {chunk}

    @pytest.mark.parametrize("total", [0, 1, 5 * MIB * MAX_PARTS, 5 * MIB * MAX_PARTS + 1, MAX_OBJECT])
    def test_parts_of_known_size_are_equal(self, total: int) -> None:
        sizes = {part_size(number, 5 * MIB, total) for number in (1, 2, 5000, MAX_PARTS)}
        assert len(sizes) == 1
        assert total <= 5 * MIB * MAX_PARTS or sizes.pop() * MAX_PARTS >= total
