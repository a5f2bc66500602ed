"""``readline(size)`` and ``readlines(hint)`` raised TypeError: open files do what a local file does.

Each observation is made of a file in the bucket and of a local one, and their results or exceptions are
compared. What is being written cannot seek here, and nor can the driver's stream: there a pipe is compared.
"""

from __future__ import annotations

import array
import csv
import gzip
import io
import os
import pickle
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pytest

from regfs import RegistryFileSystem, StorageDriver

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.servers import Place

pytestmark = pytest.mark.parametrize("server", ["seaweedfs"], indirect=True)

LINES = b"one\ntwo\n\nthree\r\n" + b"x" * 10_000 + b"\nlast without an end"
WRITTEN = "one\ntwo\nthr\u00e9e"

Observation: TypeAlias = Callable[[Any], Any]


def observed(make: Observation, file: Any) -> Any:
    """Return what an observation gives, or the builtin exception that somebody would catch."""
    try:
        return make(file)
    except io.UnsupportedOperation:
        return {"OSError", "ValueError"}
    except StopIteration:
        return "StopIteration"
    except (OSError, ValueError, TypeError, BufferError, AttributeError) as exc:
        kinds = {"OSError", "ValueError", "TypeError", "BufferError", "AttributeError"}
        return {kind.__name__ for kind in type(exc).mro()} & kinds


def agree(make: Observation, ours: Any, local: Any) -> None:
    """Compare what is observed; where a local file raises one exception, ours may be another one, too."""
    mine, other = observed(make, ours), observed(make, local)
    assert mine == other or (isinstance(other, set) and isinstance(mine, set) and other and mine > other)


def filled(kind: str, size: int) -> Observation:
    """Read into a buffer by one of the two methods."""

    def read(file: Any) -> tuple[int, bytes]:
        buffer = bytearray(size)
        return getattr(file, kind)(buffer), bytes(buffer)

    return read


def copied(file: Any) -> bytes:
    target = io.BytesIO()
    shutil.copyfileobj(file, target)
    return target.getvalue()


def wrapped(wrapper: Any) -> list[Any]:
    with wrapper:
        return list(wrapper)


def detached(text: Any) -> bytes:
    with text.detach() as binary:
        data: bytes = binary.read(3)
        return data


def closed_first(make: Observation) -> Observation:
    def work(file: Any) -> Any:
        file.close()
        return make(file)

    return work


def entered_again(file: Any) -> Any:
    with file:
        pass
    with file:
        pass


# -- what both directions have ------------------------------------------------------------------------

STATE: dict[str, Observation] = {
    "readable": lambda f: f.readable(),
    "writable": lambda f: f.writable(),
    "closed": lambda f: f.closed,
    "closed after close": closed_first(lambda f: f.closed),
    "close twice": closed_first(lambda f: f.close()),
    "isatty": lambda f: f.isatty(),
    "mode": lambda f: f.mode,
    "is of io": lambda f: [isinstance(f, kind) for kind in (io.IOBase, io.BufferedIOBase, io.TextIOBase)],
    "enters itself": lambda f: f.__enter__() is f,
    "enters twice": entered_again,
    "seek to a float": lambda f: f.seek(1.5),
    "flush": lambda f: f.flush(),
    **{
        f"{name} after close": closed_first(make)
        for name, make in {
            "readable": lambda f: f.readable(),
            "writable": lambda f: f.writable(),
            "seekable": lambda f: f.seekable(),
            "isatty": lambda f: f.isatty(),
            "tell": lambda f: f.tell(),
            "flush": lambda f: f.flush(),
            "seek": lambda f: f.seek(0),
            "iter": iter,
            "truncate": lambda f: f.truncate(0),
            "enter": lambda f: f.__enter__(),
        }.items()
    },
}

READS: dict[str, Observation] = {
    **STATE,
    "read": lambda f: f.read(),
    "read None": lambda f: f.read(None),
    "read -1": lambda f: f.read(-1),
    "read 0": lambda f: f.read(0),
    "read 3": lambda f: (f.read(3), f.tell()),
    "read beyond": lambda f: f.read(10**6),
    "read at the end": lambda f: (f.read(), f.read(), f.read(5)),
    "read a float": lambda f: f.read(2.0),
    "read a text": lambda f: f.read("5"),
    "readline": lambda f: [f.readline() for _ in range(9)],
    "readline -1": lambda f: f.readline(-1),
    "readline -5": lambda f: f.readline(-5),
    "readline None": lambda f: f.readline(None),
    "readline 0": lambda f: (f.readline(0), f.tell()),
    "readline 2": lambda f: [f.readline(2) for _ in range(12)],
    "readline 4": lambda f: [f.readline(4) for _ in range(5)],
    "readline 9000": lambda f: [len(f.readline(9000)) for _ in range(9)],
    "readline and tell": lambda f: (f.readline(), f.tell(), f.readline(2), f.tell(), f.read(2)),
    "readline a float": lambda f: f.readline(2.0),
    "readlines": lambda f: f.readlines(),
    "readlines None": lambda f: f.readlines(None),
    "readlines 0": lambda f: f.readlines(0),
    "readlines -1": lambda f: f.readlines(-1),
    "readlines 1": lambda f: (f.readlines(1), f.readline()),
    "readlines 8": lambda f: (f.readlines(8), f.readline()),
    "readlines 10000": lambda f: [len(line) for line in f.readlines(10_000)],
    "readlines a float": lambda f: f.readlines(2.0),
    "readlines at the end": lambda f: (f.read(), f.readlines()),
    "iterate": list,
    "next": lambda f: (next(f), f.readline()),
    "next at the end": lambda f: (f.read(), next(f)),
    "write": lambda f: f.write(b"x"),
    "writelines": lambda f: f.writelines([b"x"]),
    "truncate": lambda f: f.truncate(),
    "read after close": closed_first(lambda f: f.read()),
    "read 0 after close": closed_first(lambda f: f.read(0)),
    "readline after close": closed_first(lambda f: f.readline()),
    "readline 0 after close": closed_first(lambda f: f.readline(0)),
    "readlines after close": closed_first(lambda f: f.readlines()),
    "next after close": closed_first(next),
}

BINARY_READS: dict[str, Observation] = {
    **READS,
    "read1 3": lambda f: f.read1(3),
    "read1 0": lambda f: f.read1(0),
    "read1 some": lambda f: (f.read1(), f.read1(-1))[0][:100],
    "read1 at the end": lambda f: (f.read(), f.read1(), f.read1(4)),
    "peek": lambda f: (f.peek()[:3], f.peek(2)[:2], f.tell(), f.read(4)),
    "peek at the end": lambda f: (f.read(), f.peek()),
    "readinto 3": filled("readinto", 3),
    "readinto 0": filled("readinto", 0),
    "readinto all": filled("readinto", 20_000),
    "readinto1 3": filled("readinto1", 3),
    "readinto of wide items": lambda f: (n := array.array("i", [0, 0]), f.readinto(n), n.tobytes())[1:],
    "readinto what is read only": lambda f: f.readinto(b"abc"),
    "readinto a list": lambda f: f.readinto([1]),
    "readinto at the end": lambda f: (f.read(), f.readinto(bytearray(3))),
    "peek after close": closed_first(lambda f: f.peek()),
    "read1 after close": closed_first(lambda f: f.read1()),
    "readinto after close": closed_first(lambda f: f.readinto(bytearray(1))),
    "copied": copied,
    "buffered again": lambda f: wrapped(io.BufferedReader(f)),
    "as text": lambda f: wrapped(io.TextIOWrapper(f, newline="")),
    "csv": lambda f: list(csv.reader(wrapped(io.TextIOWrapper(f, newline="")))),
}

SEEKS: dict[str, Observation] = {
    "seekable": lambda f: f.seekable(),
    "seek": lambda f: (f.seek(5), f.tell(), f.read(4)),
    "seek to the end": lambda f: (f.seek(0, os.SEEK_END), f.read()),
    "seek past the end": lambda f: (f.seek(99_999), f.read(), f.readline(), f.tell()),
    "seek before the beginning": lambda f: f.seek(-1),
    "seek by an unknown whence": lambda f: f.seek(0, 9),
}
BINARY_SEEKS: dict[str, Observation] = {
    "seek on": lambda f: (f.seek(3), f.seek(2, os.SEEK_CUR), f.read(4)),
    "seek back": lambda f: (f.seek(10), f.seek(-4, os.SEEK_CUR), f.read(4)),
    "seek from the end": lambda f: (f.seek(-5, os.SEEK_END), f.read()),
    "seek before the beginning from the end": lambda f: f.seek(-(10**6), os.SEEK_END),
    "seek before the beginning from anywhere": lambda f: (f.seek(3), f.seek(-4, os.SEEK_CUR)),
}
TEXT_ONLY: dict[str, Observation] = {
    "read -2": lambda f: f.read(-2),
    "tell": lambda f: (f.readline(), f.tell()),
    "newlines": lambda f: (f.read(), f.newlines),
}


ALL_BINARY_READS = {**BINARY_READS, **SEEKS, **BINARY_SEEKS}
ALL_TEXT_READS = {**READS, **SEEKS, **TEXT_ONLY}


def but(observations: dict[str, Observation], *names: str) -> list[str]:
    """Name all observations but some."""
    assert observations.keys() >= set(names)
    return [name for name in observations if name not in names]


@pytest.fixture
def fs(options: dict[str, Any]) -> RegistryFileSystem:
    return RegistryFileSystem(**options)


@pytest.mark.parametrize("cache", [None, "readahead", "bytes", "all"])
@pytest.mark.parametrize("name", ALL_BINARY_READS)
def test_binary_reading(
    fs: RegistryFileSystem, raw: Place, tmp_path: Path, cache: str | None, name: str
) -> None:
    make = ALL_BINARY_READS[name]
    (tmp_path / "file").write_bytes(LINES)
    raw.put("file", LINES)
    with open(tmp_path / "file", "rb") as local, fs.open("/file", "rb", cache_type=cache) as ours:
        agree(make, ours, local)


@pytest.mark.parametrize("name", ALL_TEXT_READS)
def test_text_reading(fs: RegistryFileSystem, raw: Place, tmp_path: Path, name: str) -> None:
    make = ALL_TEXT_READS[name]
    (tmp_path / "file").write_bytes(LINES)
    raw.put("file", LINES)
    with open(tmp_path / "file", encoding="utf-8") as local, fs.open("/file", "r", encoding="utf-8") as ours:
        agree(make, ours, local)


def test_detached_from_text(fs: RegistryFileSystem, raw: Place) -> None:
    raw.put("file", LINES)
    assert detached(fs.open("/file", "r")) == LINES[:3]


@pytest.mark.parametrize("name", but(BINARY_READS, "mode"))
def test_compressed_reading(fs: RegistryFileSystem, raw: Place, tmp_path: Path, name: str) -> None:
    make = BINARY_READS[name]
    (tmp_path / "file.gz").write_bytes(gzip.compress(LINES))
    raw.put("file.gz", gzip.compress(LINES))
    with (
        gzip.open(tmp_path / "file.gz", "rb") as local,
        fs.open("/file.gz", "rb", compression="gzip") as ours,
    ):
        agree(make, ours, local)


# -- streams that cannot seek ---------------------------------------------------------------------------


@contextmanager
def pipe(mode: str, content: bytes = b"") -> Iterator[Any]:
    """Open one end of a pipe, as a local file that cannot seek."""
    reading, writing = os.pipe()
    mine, other = (reading, writing) if mode == "rb" else (writing, reading)
    if content:
        os.write(writing, content)
    if mode == "rb":
        os.close(other)
    try:
        with open(mine, mode) as file:
            yield file
    finally:
        if mode != "rb":
            os.close(other)


@pytest.mark.parametrize("name", but({**BINARY_READS, **SEEKS}))
def test_the_reader_of_the_driver(fs: RegistryFileSystem, raw: Place, name: str) -> None:
    make = {**BINARY_READS, **SEEKS}[name]
    raw.put("file", LINES)
    with pipe("rb", LINES) as local, StorageDriver(fs).reader("/file") as ours:
        agree(make, ours, local)


WRITES: dict[str, Observation] = {
    **STATE,
    "seekable": lambda f: f.seekable(),
    "seek": lambda f: f.seek(0),
    "read": lambda f: f.read(),
    "readline": lambda f: f.readline(),
    "readline 3": lambda f: f.readline(3),
    "readlines": lambda f: f.readlines(),
    "next": next,
    "a number": lambda f: f.write(5),
    "nothing at all": lambda f: f.write(None),
}
BINARY_WRITES: dict[str, Observation] = {
    **WRITES,
    "read1": lambda f: f.read1(),
    "readinto": lambda f: f.readinto(bytearray(1)),
    "bytes": lambda f: f.write(b"abc"),
    "nothing": lambda f: f.write(b""),
    "a bytearray": lambda f: f.write(bytearray(b"abc")),
    "a memoryview": lambda f: f.write(memoryview(b"abcdef")[1:4]),
    "wide items": lambda f: f.write(array.array("i", [1, 2])),
    "no wide items": lambda f: f.write(array.array("d")),
    "every second byte": lambda f: f.write(memoryview(b"abcdef")[::2]),
    "numbers of another byte order": lambda f: f.write(np.arange(3, dtype=">i4")),
    "an empty table": lambda f: f.write(np.empty((0, 3))),
    "records": lambda f: f.write(np.zeros(2, dtype=[("a", "i4"), ("b", "f8")])),
    "times": lambda f: f.write(np.array(["2020-01-01"], dtype="M8[D]")),
    "by columns": lambda f: f.write(np.asfortranarray(np.arange(6).reshape(2, 3))),
    "text": lambda f: f.write("abc"),
    "lines": lambda f: f.writelines([b"a\n", bytearray(b"b"), memoryview(b"c")]),
    "lines of text": lambda f: f.writelines(["a"]),
    "write after close": closed_first(lambda f: f.write(b"x")),
    "writelines after close": closed_first(lambda f: f.writelines([b"x"])),
}
TEXT_WRITES: dict[str, Observation] = {
    **WRITES,
    "text": lambda f: f.write(WRITTEN),
    "bytes": lambda f: f.write(b"abc"),
    "lines": lambda f: f.writelines(["a\n", "b"]),
    "write after close": closed_first(lambda f: f.write("x")),
}
SEEKING = ("seek", "seekable", "seek to a float", "seek after close")


@pytest.mark.parametrize("name", BINARY_WRITES)
def test_binary_writing(fs: RegistryFileSystem, raw: Place, tmp_path: Path, name: str) -> None:
    make = BINARY_WRITES[name]
    with pipe("wb") as other, open(tmp_path / "file", "wb") as local, fs.open("/file", "wb") as ours:
        agree(make, ours, other if name in SEEKING else local)
    assert raw.get("file") == (tmp_path / "file").read_bytes()


@pytest.mark.parametrize("name", TEXT_WRITES)
def test_text_writing(fs: RegistryFileSystem, raw: Place, tmp_path: Path, name: str) -> None:
    make = TEXT_WRITES[name]
    options: Any = {"encoding": "utf-8", "newline": "\n"}
    with (
        pipe("wb") as other,
        io.TextIOWrapper(other, **options) as unseekable,
        open(tmp_path / "file", "w", **options) as local,
        fs.open("/file", "w", **options) as ours,
    ):
        agree(make, ours, unseekable if name in SEEKING else local)
    assert raw.get("file") == (tmp_path / "file").read_bytes()


@pytest.mark.parametrize("name", ["bytes", "wide items", "text", "lines", "write after close", "read"])
def test_compressed_writing(fs: RegistryFileSystem, raw: Place, tmp_path: Path, name: str) -> None:
    make = BINARY_WRITES[name]
    with (
        open(tmp_path / "file.gz", "wb") as target,
        gzip.GzipFile(fileobj=target, mode="wb") as packer,
        io.BufferedWriter(packer) as local,
        fs.open("/file.gz", "wb", compression="gzip") as ours,
    ):
        agree(make, ours, local)
    assert gzip.decompress(raw.get("file.gz")) == gzip.decompress((tmp_path / "file.gz").read_bytes())


# -- what others make of it -----------------------------------------------------------------------------


def test_modules_that_take_a_file(fs: RegistryFileSystem) -> None:
    table = np.arange(1000)
    with fs.open("/t.npy", "wb") as file:
        np.save(file, table)
    with fs.open("/t.npy", "rb") as file:
        assert (np.load(file) == table).all()
    with fs.open("/p", "wb") as file:
        pickle.dump({"a": [1, 2]}, file)
    with fs.open("/p", "rb") as file:
        assert pickle.load(file) == {"a": [1, 2]}
    with fs.open("/z.zip", "wb") as file, zipfile.ZipFile(file, "w") as archive:
        archive.writestr("inner", b"zip")
    with fs.open("/z.zip", "rb") as file, zipfile.ZipFile(file) as archive:
        assert archive.read("inner") == b"zip"
    with fs.open("/t.tar.gz", "wb") as file, tarfile.open(fileobj=file, mode="w:gz") as tar:
        info = tarfile.TarInfo("inner")
        info.size = 3
        tar.addfile(info, io.BytesIO(b"tar"))
    with fs.open("/t.tar.gz", "rb") as file, tarfile.open(fileobj=file) as tar:
        inner = tar.extractfile("inner")
        assert inner is not None
        assert inner.read() == b"tar"
    with fs.open("/c.csv", "w", newline="") as text:
        csv.writer(text).writerows([["a", "b"], ["1", "two\nlines"]])
    with fs.open("/c.csv", "r", newline="") as text:
        assert list(csv.reader(text)) == [["a", "b"], ["1", "two\nlines"]]


def test_names_are_urls(fs: RegistryFileSystem, raw: Place) -> None:
    url = f"regfs://{raw.bucket}/d/x"
    for mode in ("wb", "w", "rb", "r"):
        with fs.open("/d/x", mode) as file:
            assert (file.name, file.mode) == (url, mode)
    with StorageDriver(fs).reader("/d/x") as stream:
        assert (stream.name, stream.mode) == (url, "rb")


@pytest.mark.parametrize("mode", ["wb", "xb", "ab"])
def test_what_is_written_has_a_hash(fs: RegistryFileSystem, mode: str) -> None:
    with fs.open("/new", mode) as file:
        assert file in {file}


def test_detached(fs: RegistryFileSystem, raw: Place) -> None:
    text = fs.open("/x", "w")
    text.write("text, ")
    file = text.detach()
    del text
    file.write(b"and bytes")
    file.close()
    assert raw.get("x") == b"text, and bytes"
