"""Streams that are written: write_stream and writer."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from regfs import (
    InvalidOffsetError,
    PathNotFoundError,
    StorageDriver,
)

if TYPE_CHECKING:
    from support.proxy import CountingProxy
    from support.servers import Place

from support.drivers import CHUNK, DENIED, MIB, SIZES, FailingReader, answer, content_of, kinds


class TestWriteStream:
    @pytest.mark.parametrize("new", [0, 71, CHUNK + 1])
    @pytest.mark.parametrize("old", [None, 0, 10, CHUNK + 3])
    def test_at_every_kind_of_offset(
        self, driver: StorageDriver, raw: Place, old: int | None, new: int
    ) -> None:
        before = b"" if old is None else content_of(old, seed=1)
        size = len(before)
        offsets = {0, 1, size // 2, size, size + 1, size + 1000} if size < MIB else {size - 4, size, size + 1}
        for offset in sorted(offsets):
            if old is None:
                with contextlib.suppress(PathNotFoundError):
                    driver.delete("/file")
            else:
                raw.put("file", before)
            content = content_of(new, seed=2)
            assert driver.write_stream("/file", offset, io.BytesIO(content)) == new
            assert raw.get("file") == before[:offset].ljust(offset, b"\0") + content
        assert raw.uploads() == []

    def test_far_behind_the_end(self, driver: StorageDriver, raw: Place) -> None:
        raw.put("file", b"old")
        offset = 2 * CHUNK + 17
        assert driver.write_stream("/file", offset, io.BytesIO(b"new")) == 3
        assert raw.get("file") == b"old" + bytes(offset - 3) + b"new"

    def test_piece_by_piece(self, driver: StorageDriver, raw: Place) -> None:
        content = content_of(2 * CHUNK + 11)
        at = 0
        for size in (100, CHUNK, 1, 0, CHUNK - 90):
            at += driver.write_stream("/file", at, io.BytesIO(content[at : at + size]))
        assert at == len(content)
        assert raw.get("file") == content

    def test_reads_as_the_reader_gives(self, driver: StorageDriver, raw: Place) -> None:
        class Dribble(io.BytesIO):
            def read(self, size: int | None = -1) -> bytes:
                return super().read(min(size or 0, 7) if size and size > 0 else 7)

        assert driver.write_stream("/file", 2, Dribble(content_of(1000))) == 1000
        assert raw.get("file") == b"\0\0" + content_of(1000)

    @pytest.mark.parametrize("offset", [-1, -(2**40)])
    def test_negative_offset(self, counted: StorageDriver, proxy: CountingProxy, offset: int) -> None:
        reader = io.BytesIO(b"content")
        with pytest.raises(InvalidOffsetError, match=f"^s3aws: invalid offset {offset}"):
            counted.write_stream("/file", offset, reader)
        assert proxy.count() == 0
        assert reader.tell() == 0

    @pytest.mark.parametrize("given", [0, 100, 3 * CHUNK])
    @pytest.mark.parametrize("offset", [0, 3, 2 * CHUNK])
    def test_a_failing_reader_changes_nothing(
        self, driver: StorageDriver, raw: Place, offset: int, given: int
    ) -> None:
        raw.put("file", b"old content")
        error = ZeroDivisionError("the reader's own")
        with pytest.raises(ZeroDivisionError) as caught:
            driver.write_stream("/file", offset, FailingReader(given, error).stream())
        assert caught.value is error
        assert caught.value.bytes_read == given  # type: ignore[attr-defined]  # any exception may carry it
        assert raw.get("file") == b"old content"
        assert raw.uploads() == []

    @pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, EOFError, OSError, TimeoutError])
    def test_the_readers_exception_is_kept(
        self, driver: StorageDriver, raw: Place, kind: type[BaseException]
    ) -> None:
        error = kind()
        with pytest.raises(kind) as caught:
            driver.write_stream("/file", 0, FailingReader(7, error).stream())
        assert caught.value is error
        assert error.bytes_read == 7  # type: ignore[attr-defined]  # any exception may carry it
        assert raw.keys() == []

    def test_a_file_missing_for_the_reader_is_not_the_drivers(self, driver: StorageDriver) -> None:
        error = FileNotFoundError(2, "no such file", "/tmp/spool")
        with pytest.raises(FileNotFoundError) as caught:
            driver.write_stream("/file", 0, FailingReader(7, error).stream())
        assert caught.value is error

    def test_a_failing_service_changes_nothing(
        self, counted: StorageDriver, proxy: CountingProxy, raw: Place
    ) -> None:
        raw.put("file", b"old content")
        proxy.fault = lambda request: DENIED if request.query.get("partNumber") == "2" else None
        with pytest.raises(PermissionError) as caught:
            counted.write_stream("/file", 4, io.BytesIO(content_of(2 * CHUNK)))
        assert caught.value.bytes_read == 2 * CHUNK  # type: ignore[attr-defined]  # any exception may carry it
        proxy.fault = lambda request: DENIED if request.method == "PUT" else None
        with pytest.raises(PermissionError) as caught:
            counted.write_stream("/file", 4, io.BytesIO(b"new"))
        assert caught.value.bytes_read == 3  # type: ignore[attr-defined]  # any exception may carry it
        assert raw.get("file") == b"old content"
        assert raw.uploads() == []

    def test_a_failure_before_the_first_byte_carries_the_count(
        self, counted: StorageDriver, proxy: CountingProxy, raw: Place
    ) -> None:
        raw.put("file", b"old content")
        proxy.fault = lambda request: answer(403) if request.method == "HEAD" else None
        with pytest.raises(PermissionError) as caught:
            counted.write_stream("/file", 4, io.BytesIO(b"new"))
        assert caught.value.bytes_read == 0  # type: ignore[attr-defined]  # any exception may carry it


# -- writer ---------------------------------------------------------------------------------------------


class TestWriter:
    @pytest.mark.parametrize("size", SIZES)
    def test_written_at_once(self, driver: StorageDriver, raw: Place, size: int) -> None:
        content = content_of(size)
        writer = driver.writer("/dir/file")
        assert writer.size == 0
        assert writer.write(content) == size
        assert writer.size == size
        writer.commit()
        assert writer.size == size
        writer.close()
        assert raw.get("dir/file") == content
        assert raw.uploads() == []

    @pytest.mark.parametrize("step", [997, 65_536, CHUNK - 1, CHUNK + 1])
    def test_written_piece_by_piece(self, driver: StorageDriver, raw: Place, step: int) -> None:
        content = content_of(2 * CHUNK + 100 if step > 1000 else 100_000)
        writer = driver.writer("/file")
        for start in range(0, len(content), step):
            piece = content[start : start + step]
            assert writer.write(piece) == len(piece)
            assert writer.size == start + len(piece)
        writer.commit()
        assert raw.get("file") == content

    def test_takes_every_kind_of_buffer(self, driver: StorageDriver, raw: Place) -> None:
        with driver.writer("/file") as writer:
            buffer = bytearray(b"bytearray ")
            assert writer.write(buffer) == 10
            buffer[:] = b"changed   "  # what was accepted is the writer's own
            assert writer.write(memoryview(b"xmemoryview ")[1:]) == 11
            assert writer.write(b"") == 0
            assert writer.write(b"bytes") == 5
            writer.commit()
        assert raw.get("file") == b"bytearray memoryview bytes"

    def test_an_empty_file(self, driver: StorageDriver, raw: Place) -> None:
        writer = driver.writer("/file")
        writer.commit()
        writer.close()
        assert raw.get("file") == b""
        assert driver.stat("/file").size == 0
        assert raw.uploads() == []

    @pytest.mark.parametrize("size", [3, 2 * CHUNK + 1])
    def test_nothing_is_readable_before_the_commit(
        self, driver: StorageDriver, raw: Place, size: int
    ) -> None:
        content = content_of(size)
        writer = driver.writer("/dir/file")
        writer.write(content)
        for call in (driver.get_content, driver.stat, driver.list):
            with pytest.raises(PathNotFoundError):
                call("/dir/file")
        assert driver.list("/") == []
        writer.commit()
        assert driver.get_content("/dir/file") == content
        writer.close()

    @pytest.mark.parametrize("size", [3, 2 * CHUNK + 1])
    def test_an_old_file_stays_until_the_commit(self, driver: StorageDriver, raw: Place, size: int) -> None:
        raw.put("file", b"old")
        writer = driver.writer("/file")
        writer.write(content_of(size))
        assert driver.get_content("/file") == b"old"
        writer.commit()
        assert driver.get_content("/file") == content_of(size)
        writer.close()

    @pytest.mark.parametrize("size", [0, 3, 2 * CHUNK + 1])
    def test_cancel_leaves_nothing(self, driver: StorageDriver, raw: Place, size: int) -> None:
        raw.put("old", b"old")
        for path in ("/new", "/old"):
            writer = driver.writer(path)
            writer.write(content_of(size))
            writer.cancel()
            writer.close()
        assert raw.keys() == ["old"]
        assert raw.get("old") == b"old"
        assert raw.uploads() == []

    @pytest.mark.parametrize("end", ["commit", "cancel", "close"])
    @pytest.mark.parametrize("size", [3, 2 * CHUNK])
    def test_is_of_no_use_after_its_end(
        self, counted: StorageDriver, proxy: CountingProxy, end: str, size: int
    ) -> None:
        writer = counted.writer("/file")
        writer.write(content_of(size))
        getattr(writer, end)()
        word = {"commit": "committed", "cancel": "cancelled", "close": "closed"}[end]
        with proxy.counting() as seen:
            calls: list[Callable[[], object]] = [
                lambda: writer.write(b"x"),
                lambda: writer.write(b""),
                writer.commit,
                writer.cancel,
            ]
            for call in calls:
                with pytest.raises(ValueError, match=f"writer of /file: already {word}"):
                    call()
            assert writer.size == size
            if end != "close":
                writer.close()
            with pytest.raises(ValueError, match="already closed"):
                writer.close()
            with pytest.raises(ValueError, match="already closed"):
                writer.write(b"x")
        assert seen == []

    def test_leaving_a_with_block_closes_and_publishes_nothing(
        self, driver: StorageDriver, raw: Place
    ) -> None:
        with driver.writer("/file") as writer:
            writer.write(b"content")
        with pytest.raises(ValueError, match="already closed"):
            writer.write(b"x")
        assert "file" not in raw.keys()
        assert driver.list("/") == []
        assert [key for key, _ in raw.uploads()] == ["file"]

    @pytest.mark.parametrize(
        ("size", "requests"),
        [
            (0, ["PUT"]),
            (71, ["PUT"]),
            (CHUNK, ["PUT"]),
            (CHUNK + 1, ["POST", "PUT", "PUT", "POST"]),
            (2 * CHUNK, ["POST", "PUT", "PUT", "POST"]),
            (3 * CHUNK + 7, ["POST", "PUT", "PUT", "PUT", "PUT", "POST"]),
        ],
    )
    def test_writes_no_more_than_it_must(
        self, counted: StorageDriver, proxy: CountingProxy, size: int, requests: list[str]
    ) -> None:
        with counted.writer("/file") as writer:
            writer.write(content_of(size))
            writer.commit()
        assert [kind for kind in kinds(proxy.requests) if kind != "UPLOADS"] == requests
        parts = sorted(
            (int(request.query["partNumber"]), int(request.headers["content-length"]))
            for request in proxy.requests
            if "partNumber" in request.query
        )
        assert [number for number, _ in parts] == list(range(1, len(parts) + 1))
        assert all(length == CHUNK for _, length in parts[:-1])

    def test_a_small_file_is_one_put_after_a_look_for_older_uploads(
        self, counted: StorageDriver, proxy: CountingProxy
    ) -> None:
        with counted.writer("/file") as writer:
            writer.write(b"content")
            writer.commit()
        # What an earlier writer left pending would be continued later instead of this.
        assert [(request.method, "uploads" in request.query) for request in proxy.requests] == [
            ("GET", True),
            ("PUT", False),
        ]

    def test_a_failed_commit_loses_nothing_silently(
        self, counted: StorageDriver, proxy: CountingProxy, raw: Place
    ) -> None:
        writer = counted.writer("/file")
        writer.write(b"content")
        proxy.fault = lambda request: DENIED if request.method == "PUT" else None
        with pytest.raises(PermissionError):
            writer.commit()
        proxy.fault = None
        with contextlib.suppress(OSError, ValueError):  # either it still has the bytes or it says no
            writer.commit()
        assert raw.keys() == [] or raw.get("file") == b"content"

    def test_nothing_is_published_where_the_upload_could_not_begin(
        self, counted: StorageDriver, proxy: CountingProxy, raw: Place
    ) -> None:
        raw.put("file", b"old")
        writer = counted.writer("/file")
        proxy.fault = lambda request: DENIED if request.method == "POST" else None
        with pytest.raises(PermissionError):
            writer.write(content_of(2 * CHUNK))
        proxy.fault = None
        with pytest.raises(PermissionError):
            writer.commit()
        assert raw.get("file") == b"old"
        assert raw.uploads() == []

    def test_nothing_is_published_without_a_part_that_failed(
        self, counted: StorageDriver, proxy: CountingProxy, raw: Place
    ) -> None:
        raw.put("file", b"old")
        writer = counted.writer("/file")
        proxy.fault = lambda request: DENIED if request.query.get("partNumber") == "2" else None
        with pytest.raises(PermissionError):
            writer.write(content_of(4 * CHUNK))
            writer.commit()
        proxy.fault = None
        for _ in range(2):
            with pytest.raises(PermissionError):
                writer.commit()
        writer.cancel()
        assert raw.get("file") == b"old"
        assert raw.uploads() == []

    def test_append_to_a_committed_file(self, driver: StorageDriver, raw: Place) -> None:
        for size in (0, 3, CHUNK + 5):
            raw.put("file", content_of(size))
            writer = driver.writer("/file", append=True)
            assert writer.size == size
            writer.write(b"more")
            assert raw.get("file") == content_of(size)
            writer.commit()
            writer.close()
            assert raw.get("file") == content_of(size) + b"more"

    @pytest.mark.parametrize("path", ["/missing", "/dir", "/dir/fil"])
    def test_append_where_nothing_is(self, driver: StorageDriver, raw: Place, path: str) -> None:
        raw.put("dir/file", b"x")
        with pytest.raises(PathNotFoundError, match=f"^s3aws: path not found: '{path}'"):
            driver.writer(path, append=True)
        assert raw.uploads() == []


# -- stat and list --------------------------------------------------------------------------------------
