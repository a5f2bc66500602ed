"""A file that was never closed published nothing and said nothing: now it says so.

It still publishes nothing. A warning and a line in the log name the URL and the bytes that are lost.
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest

from regfs import RegistryFileSystem, StorageDriver
from regfs.s3 import unfinished
from regfs.store import unclosed

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.servers import Place

pytestmark = pytest.mark.parametrize("server", ["seaweedfs"], indirect=True)

CHUNK = 5 * 2**20


@pytest.fixture
def fs(options: dict[str, Any]) -> RegistryFileSystem:
    return RegistryFileSystem(**options, chunksize=CHUNK)


@pytest.fixture(autouse=True)
def _logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "regfs")


def write(mode: str, content: Any, **how: Any) -> Callable[[RegistryFileSystem], None]:
    return lambda fs: fs.open("/d/file", mode, **how).write(content) and None


def opened(mode: str, **how: Any) -> Callable[[RegistryFileSystem], None]:
    return lambda fs: fs.open("/d/file", mode, **how) and None


def appended(fs: RegistryFileSystem) -> None:
    fs.pipe_file("/d/file", b"old")
    fs.open("/d/file", "ab").write(b"and more")


def held(fs: RegistryFileSystem) -> None:
    """Open a file in a transaction, whose end it does not live to see."""
    file = fs.open("/d/file", "wb", autocommit=False)
    file.write(b"held")
    file.close()
    fs.transaction.files.clear()


def awaited(fs: RegistryFileSystem) -> None:
    async def main() -> None:
        asynchronous = RegistryFileSystem(**{**fs.storage_options, "asynchronous": True})
        file = await asynchronous.open_async("/d/file", "wb")
        await file.write(b"awaited")
        del file
        await asynchronous.close()

    asyncio.run(main())


def collected(fs: RegistryFileSystem) -> None:
    file = fs.open("/d/file", "wb")
    file.write(b"in a cycle")
    file.itself = file
    del file
    gc.collect()


# What is dropped, the bytes, and those that are there afterwards.
DROPPED: dict[str, tuple[Callable[[RegistryFileSystem], None], int, bytes | None]] = {
    "binary": (write("wb", b"content"), 7, None),
    "exclusive": (write("xb", b"content"), 7, None),
    "nothing written": (opened("wb"), 0, None),
    "appended": (appended, 8, b"old"),
    "text": (write("w", "zwölf"), 6, None),
    "no text": (opened("w"), 0, None),
    "much text": (write("w", "x" * 2 * CHUNK), 2 * CHUNK, None),
    "compressed": (write("wb", b"content", compression="gzip"), 7, None),
    "compressed text": (write("w", "x" * 100_000, compression="xz"), 100_000, None),
    "nothing compressed": (opened("wb", compression="gzip"), 0, None),
    "held back": (held, 4, None),
    "async": (awaited, 7, None),
    "in a cycle": (collected, 10, None),
    "json.dump": (lambda fs: json.dump([1, 2, 3], fs.open("/d/file", "w")), 9, None),
    "numpy.save": (lambda fs: np.save(fs.open("/d/file", "wb"), np.arange(3)), 128 + 24, None),
    "print": (lambda fs: print("line", file=fs.open("/d/file", "w")), 5, None),
}


@pytest.mark.parametrize("name", DROPPED)
def test_is_reported(fs: RegistryFileSystem, raw: Place, caplog: pytest.LogCaptureFixture, name: str) -> None:
    work, size, left = DROPPED[name]
    with pytest.warns(ResourceWarning) as warned:
        work(fs)
    (warning,) = [str(entry.message) for entry in warned if issubclass(entry.category, ResourceWarning)]
    (record,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert record.getMessage() == warning
    assert record.name == "regfs"
    assert warning.startswith(f"regfs://{raw.bucket}/d/file was ")
    assert f" its {size} bytes are not published" in warning
    assert "\n" not in warning
    assert raw.keys() == ([] if left is None else ["d/file"])
    assert left is None or raw.get("d/file") == left


def test_tells_where(fs: RegistryFileSystem) -> None:
    with pytest.warns(ResourceWarning) as warned:
        fs.open("/file", "wb")
    assert warned[0].filename == __file__
    assert warned[0].source is not None, "tracemalloc tells where it was opened"


def test_polars(fs: RegistryFileSystem, raw: Place) -> None:
    frame = pl.DataFrame({"n": [1, 2]})
    with pytest.warns(ResourceWarning, match=r"regfs://.*/file"):
        frame.write_csv(fs.open("/file", "wb"))
    assert raw.keys() == []
    with fs.open("/file", "wb") as file:
        frame.write_csv(file)
    assert raw.get("file") == b"n\n1\n2\n"


def test_at_exit_too(fs: RegistryFileSystem, raw: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unfinished, "expect_exit", lambda: None)
    kept: list[Any] = [fs.open("/a", "wb"), fs.open("/b", "w"), StorageDriver(fs).writer("/c")]
    for file, content in zip(kept, (b"1", "22", b"333"), strict=True):
        file.write(content)
    with pytest.warns(ResourceWarning) as warned:
        unclosed._forget_all()
    found = sorted(str(entry.message) for entry in warned)
    for text, (path, size) in zip(found, [("/a", 1), ("/b", 2), ("/c", 3)], strict=True):
        assert f"regfs://{raw.bucket}{path}" in text
        assert f" {size} " in text


@pytest.mark.filterwarnings("error")
def test_one_that_is_an_error_does_not_hide_another(
    fs: RegistryFileSystem, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(unfinished, "expect_exit", lambda: None)
    kept = [fs.open("/a", "wb"), fs.open("/b", "wb")]
    with pytest.raises(ResourceWarning):
        unclosed._forget_all()
    assert len(caplog.records) == len(kept)


class TestWriter:
    """The driver's writer, which keeps what it has sent."""

    def test_its_unsent_bytes_are_reported(
        self, fs: RegistryFileSystem, raw: Place, caplog: pytest.LogCaptureFixture
    ) -> None:
        driver = StorageDriver(fs)
        content = os.urandom(2 * CHUNK + 3)
        writer = driver.writer("/file")
        writer.write(content)
        with pytest.warns(
            ResourceWarning, match=rf"regfs://{raw.bucket}/file.* 3 of the {len(content)} bytes"
        ):
            del writer
        assert "append=True" in caplog.records[0].getMessage()
        while unfinished._background:
            pass
        with driver.writer("/file", append=True) as writer:
            assert writer.size == 2 * CHUNK
            writer.write(content[2 * CHUNK :])
            writer.commit()
        assert raw.get("file") == content

    @pytest.mark.parametrize("end", ["close", "commit", "cancel"])
    def test_one_that_ended_says_nothing(
        self, fs: RegistryFileSystem, caplog: pytest.LogCaptureFixture, end: str
    ) -> None:
        writer = StorageDriver(fs).writer("/file")
        writer.write(b"content")
        getattr(writer, end)()
        del writer
        assert caplog.records == []

    def test_what_an_earlier_one_kept_is_not_lost(
        self, fs: RegistryFileSystem, caplog: pytest.LogCaptureFixture
    ) -> None:
        driver = StorageDriver(fs)
        with driver.writer("/file") as writer:
            writer.write(b"kept")
        driver.writer("/file", append=True)  # and dropped
        assert caplog.records == []


class TestSilence:
    """What has had its sign already, or loses nothing."""

    @pytest.mark.parametrize("compression", [None, "gzip"])
    @pytest.mark.parametrize("mode", ["wb", "w"])
    def test_of_what_ended(
        self, fs: RegistryFileSystem, caplog: pytest.LogCaptureFixture, mode: str, compression: str | None
    ) -> None:
        content: Any = b"x" if mode == "wb" else "x"
        file = fs.open("/closed", mode, compression=compression)
        file.write(content)
        file.close()
        with pytest.raises(ZeroDivisionError), fs.open("/failed", mode, compression=compression) as file:
            file.write(content)
            raise ZeroDivisionError
        with fs.transaction, fs.open("/held", mode, compression=compression) as file:
            file.write(content)
        del file
        assert caplog.records == []

    def test_of_a_file_that_could_not_be_opened(
        self, fs: RegistryFileSystem, raw: Place, caplog: pytest.LogCaptureFixture
    ) -> None:
        raw.put("there")
        for path, mode, encoding in (
            ("/there", "xb", None),
            ("/new", "w", "no such"),
            ("/a/../b", "wb", None),
        ):
            with pytest.raises((OSError, LookupError, ValueError)):
                fs.open(path, mode, None, None, None, **({"encoding": encoding} if encoding else {}))
        assert caplog.records == []
        assert raw.keys() == ["there"]

    def test_of_a_file_that_was_read(
        self, fs: RegistryFileSystem, raw: Place, caplog: pytest.LogCaptureFixture
    ) -> None:
        raw.put("file", bytes(100_000))
        fs.open("/file", "rb").read(10)
        assert caplog.records == []


@pytest.mark.parametrize("compression", [None, "gzip"])
@pytest.mark.parametrize("mode", ["wb", "w"])
def test_a_transaction_closes_what_is_open(
    fs: RegistryFileSystem, mode: str, compression: str | None
) -> None:
    """What a text or a compressor still held was missing in what the transaction published."""
    content: Any = b"content" if mode == "wb" else "content"
    with fs.transaction:
        file = fs.open("/file", mode, compression=compression)
        file.write(content)
    assert file.closed
    assert fs.cat_file("/file") if compression is None else True
    with fs.open("/file", "rb", compression=compression) as written:
        assert written.read() == b"content"
