"""Readers, writers, write_stream and URLs."""

from __future__ import annotations

import io
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from typing import BinaryIO, cast

import pytest

from regfs import InvalidOffsetError, PathNotFoundError, UnsupportedMethodError
from regfs.testing.base import Driver, SuiteBase, content_of

READERS = ("reader", "read_stream")


class _ReaderError(Exception):
    """The error of the failing reader."""


class _FailingReader(io.RawIOBase):
    """Gives so many bytes, then raises."""

    def __init__(self, data: bytes) -> None:
        self._data = io.BytesIO(data)

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        data = self._data.read(min(size, 65536) if size >= 0 else 65536)
        if not data:
            raise _ReaderError
        return data


def fetch(url: str, method: str = "GET") -> tuple[int, bytes]:
    """Fetch a URL with a plain HTTP client; return the Content-Length and the body."""
    request = urllib.request.Request(url, method=method)  # noqa: S310 - the driver's own URL
    with urllib.request.urlopen(request, timeout=60) as response:  # noqa: S310 - as above
        return int(response.headers["Content-Length"]), response.read()


class StreamTests(SuiteBase):
    """``reader``, ``writer``, ``read_stream``, ``write_stream``, ``redirect_url`` and ``url_for``."""

    # -- reading --------------------------------------------------------------------------------------

    @pytest.mark.parametrize("method", READERS)
    def test_read_from_every_offset(self, driver: Driver, root: str, method: str) -> None:
        content = content_of(96)
        driver.put_content(f"{root}/file", content)
        for offset in (0, 1, 32, 64, 95, 96, 97, 10**6):
            with getattr(driver, method)(f"{root}/file", offset) as stream:
                assert stream.read() == content[offset:], offset
                assert stream.read(1) == b""

    @pytest.mark.parametrize("method", READERS)
    def test_read_an_empty_file(self, driver: Driver, root: str, method: str) -> None:
        driver.put_content(f"{root}/file", b"")
        for offset in (0, 1):
            with getattr(driver, method)(f"{root}/file", offset) as stream:
                assert stream.read() == b""

    @pytest.mark.parametrize("method", READERS)
    def test_read_in_pieces(self, driver: Driver, root: str, method: str) -> None:
        content = content_of(100_000)
        driver.put_content(f"{root}/file", content)
        with getattr(driver, method)(f"{root}/file", 7) as stream:
            assert stream.readable()
            assert stream.read(0) == b""
            assert stream.read(13) == content[7:20]
            buffer = bytearray(30)
            assert stream.readinto(buffer) == 30
            assert buffer == content[20:50]
            pieces = list(iter(lambda: stream.read(4096), b""))
        assert b"".join(pieces) == content[50:]

    @pytest.mark.parametrize("method", READERS)
    @pytest.mark.parametrize("offset", [-1, -(2**40)])
    def test_read_from_a_negative_offset(self, driver: Driver, root: str, method: str, offset: int) -> None:
        driver.put_content(f"{root}/file", b"content")
        with pytest.raises(InvalidOffsetError) as caught:
            getattr(driver, method)(f"{root}/file", offset)
        assert isinstance(caught.value, ValueError)
        assert caught.value.offset == offset
        assert str(caught.value).startswith(f"{driver.name}:")
        assert str(offset) in str(caught.value)

    @pytest.mark.parametrize("method", READERS)
    @pytest.mark.parametrize("offset", [0, 64])
    def test_a_missing_file_is_told_of_at_the_call(
        self, driver: Driver, root: str, method: str, offset: int
    ) -> None:
        with pytest.raises(PathNotFoundError):
            getattr(driver, method)(f"{root}/missing", offset)

    def test_a_reader_may_be_left_unread(self, driver: Driver, root: str) -> None:
        driver.put_content(f"{root}/file", content_of(self.large))
        for _ in range(20):
            with driver.reader(f"{root}/file") as stream:
                assert stream.read(10) == content_of(self.large)[:10]

    def test_many_readers_at_once(self, driver: Driver, root: str) -> None:
        content = content_of(self.large)
        driver.put_content(f"{root}/file", content)

        def work(number: int) -> bool:
            offset = number * self.large // 10 + number
            with driver.reader(f"{root}/file", offset) as stream:
                return bool(stream.read() == content[offset:])

        with ThreadPoolExecutor(10) as pool:
            assert all(pool.map(work, range(10)))

    # -- writing in chunks ----------------------------------------------------------------------------

    def test_write_sizes(self, driver: Driver, root: str) -> None:
        for size in (0, 1, 71, 2**20, self.large):
            content = content_of(size)
            writer = driver.writer(f"{root}/file")
            assert writer.size == 0
            assert writer.write(content) == size
            assert writer.size == size
            writer.commit()
            writer.close()
            assert writer.size == size
            assert driver.get_content(f"{root}/file") == content

    def test_write_in_pieces(self, driver: Driver, root: str) -> None:
        content = content_of(self.large)
        writer = driver.writer(f"{root}/file")
        step = self.large // 37
        for start in range(0, len(content), step):
            piece = content[start : start + step]
            assert writer.write(piece) == len(piece)
            assert writer.size == start + len(piece)
        writer.commit()
        writer.close()
        assert driver.get_content(f"{root}/file") == content

    def test_nothing_is_written_at_all(self, driver: Driver, root: str) -> None:
        writer = driver.writer(f"{root}/file")
        writer.commit()
        writer.close()
        assert driver.get_content(f"{root}/file") == b""
        assert driver.stat(f"{root}/file").size == 0

    def test_content_is_readable_only_after_the_commit(self, driver: Driver, root: str) -> None:
        for size in (71, self.large):
            path = f"{root}/file-{size}"
            writer = driver.writer(path)
            writer.write(content_of(size))
            with pytest.raises(PathNotFoundError):
                driver.get_content(path)
            writer.close()
            with pytest.raises(PathNotFoundError):
                driver.get_content(path)
            writer = driver.writer(path, append=True)
            writer.commit()
            writer.close()
            assert driver.get_content(path) == content_of(size)

    def test_an_old_file_stays_until_the_commit(self, driver: Driver, root: str) -> None:
        path = f"{root}/file"
        driver.put_content(path, b"old")
        writer = driver.writer(path)
        writer.write(content_of(self.large))
        assert driver.get_content(path) == b"old"
        writer.commit()
        writer.close()
        assert driver.get_content(path) == content_of(self.large)

    @pytest.mark.parametrize("chunks", ["small", "large", "mixed"])
    def test_continue(self, driver: Driver, root: str, chunks: str) -> None:
        path = f"{root}/file"
        sizes = {"small": (32, 32, 32), "large": (self.large,) * 3, "mixed": (7, self.large, 0, 71, 1)}[
            chunks
        ]
        content = content_of(sum(sizes))
        done = 0
        for session, size in enumerate(sizes):
            writer = self.reopen(driver).writer(path, append=session > 0)
            assert writer.size == done
            assert writer.write(content[done : done + size]) == size
            done += size
            assert writer.size == done
            if session == len(sizes) - 1:
                writer.commit()
            writer.close()
            assert writer.size == done
        assert driver.get_content(path) == content

    def test_continue_what_was_closed_empty(self, driver: Driver, root: str) -> None:
        path = f"{root}/file"
        driver.writer(path).close()
        writer = self.reopen(driver).writer(path, append=True)
        assert writer.size == 0
        writer.write(b"content")
        writer.commit()
        writer.close()
        assert driver.get_content(path) == b"content"

    def test_append_to_a_committed_file(self, driver: Driver, root: str) -> None:
        path = f"{root}/file"
        for size in (0, 71, self.large):
            driver.put_content(path, content_of(size))
            writer = driver.writer(path, append=True)
            assert writer.size == size
            writer.write(b"more")
            assert driver.get_content(path) == content_of(size)
            writer.commit()
            writer.close()
            assert driver.get_content(path) == content_of(size) + b"more"

    def test_append_to_a_committed_file_in_two_sittings(self, driver: Driver, root: str) -> None:
        path = f"{root}/file"
        driver.put_content(path, b"old ")
        writer = driver.writer(path, append=True)
        writer.write(b"new ")
        writer.close()
        assert driver.get_content(path) == b"old "
        writer = self.reopen(driver).writer(path, append=True)
        assert writer.size == 8
        writer.write(b"last")
        writer.commit()
        writer.close()
        assert driver.get_content(path) == b"old new last"

    def test_begin_anew(self, driver: Driver, root: str) -> None:
        path = f"{root}/file"
        writer = driver.writer(path)
        writer.write(b"given up")
        writer.close()
        writer = self.reopen(driver).writer(path)
        assert writer.size == 0
        writer.write(b"content")
        writer.close()
        writer = driver.writer(path, append=True)
        assert writer.size == len(b"content")
        writer.commit()
        writer.close()
        assert driver.get_content(path) == b"content"

    def test_cancel(self, driver: Driver, root: str) -> None:
        for size in (0, 71, self.large):
            path = f"{root}/file-{size}"
            writer = driver.writer(path)
            writer.write(content_of(size))
            writer.cancel()
            writer.close()
            for append in (driver.get_content, lambda path: driver.writer(path, append=True)):
                with pytest.raises(PathNotFoundError):
                    append(path)

    def test_cancel_what_was_continued(self, driver: Driver, root: str) -> None:
        path = f"{root}/file"
        writer = driver.writer(path)
        writer.write(content_of(self.large))
        writer.close()
        writer = self.reopen(driver).writer(path, append=True)
        writer.write(b"more")
        writer.cancel()
        writer.close()
        with pytest.raises(PathNotFoundError):
            driver.writer(path, append=True)

    def test_cancel_keeps_the_old_file(self, driver: Driver, root: str) -> None:
        path = f"{root}/file"
        driver.put_content(path, b"old")
        for append in (False, True):
            writer = driver.writer(path, append=append)
            writer.write(content_of(self.large))
            writer.cancel()
            writer.close()
            assert driver.get_content(path) == b"old"

    @pytest.mark.parametrize("end", ["close", "commit", "cancel"])
    def test_a_writer_is_of_no_use_after_its_end(self, driver: Driver, root: str, end: str) -> None:
        path = f"{root}/file"
        writer = driver.writer(path)
        writer.write(b"content")
        getattr(writer, end)()
        with pytest.raises((ValueError, OSError)):
            writer.write(b"more")
        with pytest.raises((ValueError, OSError)):
            writer.commit()
        with pytest.raises((ValueError, OSError)):
            writer.cancel()
        if end != "close":
            writer.close()
        with pytest.raises((ValueError, OSError)):
            writer.close()
        if end == "close":
            driver.writer(path, append=True).cancel()

    def test_many_writers_at_once(self, driver: Driver, root: str) -> None:
        def work(number: int) -> None:
            content = content_of(self.large, number)
            writer = driver.writer(f"{root}/file-{number}")
            for start in range(0, len(content), 2**20):
                writer.write(content[start : start + 2**20])
            writer.commit()
            writer.close()
            with driver.reader(f"{root}/file-{number}") as stream:
                assert stream.read() == content

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(work, range(8)))

    # -- writing at an offset -------------------------------------------------------------------------

    @pytest.mark.parametrize("old", [None, 0, 71, "large"])
    def test_write_stream(self, driver: Driver, root: str, old: int | str | None) -> None:
        path = f"{root}/file"
        size = self.large if old == "large" else old
        before = b"" if size is None else content_of(int(size))
        for offset in sorted(
            {0, 1, len(before) // 2, max(0, len(before) - 1), len(before), len(before) + 100}
        ):
            for new in (b"", b"new", *[content_of(self.large, seed=1)] * (offset == len(before) // 2)):
                if size is not None:
                    driver.put_content(path, before)
                assert driver.write_stream(path, offset, io.BytesIO(new)) == len(new)
                assert driver.get_content(path) == before[:offset].ljust(offset, b"\0") + new
                driver.delete(path)

    def test_write_stream_piece_by_piece(self, driver: Driver, root: str) -> None:
        path, content = f"{root}/file", content_of(96)
        for offset in (0, 32, 64, 0, 32):
            driver.write_stream(path, offset, io.BytesIO(content[offset : offset + 32]))
            assert driver.get_content(path) == content[: offset + 32]

    @pytest.mark.parametrize("offset", [-1, -(2**40)])
    def test_write_stream_at_a_negative_offset(self, driver: Driver, root: str, offset: int) -> None:
        with pytest.raises(InvalidOffsetError):
            driver.write_stream(f"{root}/file", offset, io.BytesIO(b"content"))
        with pytest.raises(PathNotFoundError):
            driver.stat(f"{root}/file")

    @pytest.mark.parametrize("given", [0, 71, "large"])
    @pytest.mark.parametrize("offset", [0, 2, 100])
    def test_write_stream_from_a_reader_that_fails(
        self, driver: Driver, root: str, given: int | str, offset: int
    ) -> None:
        path = f"{root}/file"
        size = self.large if given == "large" else int(given)
        driver.put_content(path, b"old")
        with pytest.raises(_ReaderError) as caught:
            driver.write_stream(path, offset, cast("BinaryIO", _FailingReader(content_of(size))))
        assert vars(caught.value)["bytes_read"] == size
        assert driver.get_content(path) == b"old"

    # -- URLs -----------------------------------------------------------------------------------------

    def test_urls(self, driver: Driver, root: str) -> None:
        path, content = f"{root}/file", content_of(71)
        driver.put_content(path, content)
        if not self.presigned:
            with pytest.raises(UnsupportedMethodError):
                driver.url_for(path)
            assert driver.redirect_url(path) == ""
            return
        in_an_hour = datetime.now(timezone.utc) + timedelta(hours=1)
        for url in (driver.redirect_url(path), driver.url_for(path), driver.url_for(path, expiry=in_an_hour)):
            assert fetch(url) == (71, content)
        for url in (driver.redirect_url(path, "HEAD"), driver.url_for(path, "HEAD")):
            assert fetch(url, "HEAD") == (71, b"")
        missing = driver.url_for(f"{root}/missing")  # it is offline, so it cannot know
        with pytest.raises(urllib.error.HTTPError) as caught:
            fetch(missing)
        assert caught.value.code == 404
        caught.value.close()

    @pytest.mark.parametrize("method", ["PUT", "POST", "DELETE", "get", ""])
    def test_urls_for_other_methods(self, driver: Driver, root: str, method: str) -> None:
        with pytest.raises(UnsupportedMethodError) as caught:
            driver.url_for(f"{root}/file", method)
        assert str(caught.value).startswith(f"{driver.name}:")
        assert driver.redirect_url(f"{root}/file", method) == ""

    def test_urls_last_seven_days_at_most(self, driver: Driver, root: str) -> None:
        if self.presigned:
            now = datetime.now(timezone.utc)
            driver.url_for(f"{root}/file", expiry=now + timedelta(days=7))
            for expiry in (now + timedelta(days=7, minutes=1), now - timedelta(minutes=1)):
                with pytest.raises(ValueError, match="7 days"):
                    driver.url_for(f"{root}/file", expiry=expiry)
