"""The filesystem face: what a user of fsspec does, on both servers."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gzip
import io
import os
import pickle
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import fsspec
import pandas as pd
import pytest
from fsspec.callbacks import Callback

from regfs import InvalidPathError, ParameterError, RegistryFileSystem, StorageDriver
from regfs.s3 import checksums

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.proxy import CountingProxy
    from support.servers import Place, Server

CHUNK = 5 * 2**20


@pytest.fixture
def fs(options: dict[str, Any]) -> RegistryFileSystem:
    return RegistryFileSystem(**options, chunksize=CHUNK)


@pytest.fixture
def counted(proxied_options: dict[str, Any]) -> RegistryFileSystem:
    return RegistryFileSystem(**proxied_options, chunksize=CHUNK)


def pattern(size: int) -> bytes:
    """Bytes in which every part differs, so that swapped parts are noticed."""
    return b"".join(i.to_bytes(8, "big") for i in range(size // 8 + 1))[:size]


class TestWholeFiles:
    @pytest.mark.parametrize("size", [0, 1, 71, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK + 3])
    def test_pipe_then_cat(self, fs: RegistryFileSystem, raw: Place, size: int) -> None:
        data = pattern(size)
        fs.pipe_file("/a/file", data)
        assert raw.get("a/file") == data
        assert fs.cat_file("/a/file") == data
        assert raw.uploads() == []

    @pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
    def test_pipe_takes_any_buffer(self, fs: RegistryFileSystem, kind: Callable[[bytes], Any]) -> None:
        fs.pipe_file("/x", kind(b"abc"))
        assert fs.cat_file("/x") == b"abc"

    @pytest.mark.parametrize(
        ("start", "end"),
        [
            (0, 3),
            (2, None),
            (None, 4),
            (-3, None),
            (-4, -1),
            (None, -2),
            (3, 3),
            (5, 2),
            (10, None),
            (99, 120),
            (0, 99),
        ],
    )
    def test_cat_file_slices_like_bytes(
        self, fs: RegistryFileSystem, start: int | None, end: int | None
    ) -> None:
        data = b"0123456789"
        fs.pipe_file("/x", data)
        assert fs.cat_file("/x", start, end) == data[start:end]

    @pytest.mark.parametrize(("start", "end"), [(None, None), (0, 5), (-5, None), (3, None), (0, 0)])
    def test_cat_file_of_an_empty_file(
        self, fs: RegistryFileSystem, start: int | None, end: int | None
    ) -> None:
        fs.pipe_file("/x", b"")
        assert fs.cat_file("/x", start, end) == b""

    def test_cat_of_many_and_ranges(self, fs: RegistryFileSystem) -> None:
        fs.pipe({"/d/a": b"aaa", "/d/b": b"bbb"})
        assert fs.cat(["/d/a", "/d/b"]) == {"/d/a": b"aaa", "/d/b": b"bbb"}
        assert fs.cat("/d/*") == {"/d/a": b"aaa", "/d/b": b"bbb"}
        assert fs.cat("/d", recursive=True) == {"/d/a": b"aaa", "/d/b": b"bbb"}
        assert fs.cat_ranges(["/d/a", "/d/b"], [0, 1], [2, 3]) == [b"aa", b"bb"]

    def test_pipe_create_refuses_what_exists(self, fs: RegistryFileSystem) -> None:
        fs.pipe_file("/x", b"old")
        with pytest.raises(FileExistsError):
            fs.pipe_file("/x", b"new", mode="create")
        assert fs.cat_file("/x") == b"old"

    @pytest.mark.parametrize("size", [0, 10, 2 * CHUNK + 1])
    def test_put_and_get(self, fs: RegistryFileSystem, tmp_path: Path, size: int) -> None:
        source, target = tmp_path / "source", tmp_path / "target"
        source.write_bytes(pattern(size))
        told = Callback()
        fs.put_file(str(source), "/x", callback=told)
        assert (told.size, told.value) == (size, size)
        told = Callback()
        fs.get_file("/x", str(target), callback=told)
        assert (told.size, told.value) == (size, size)
        assert target.read_bytes() == source.read_bytes()

    def test_put_and_get_of_trees(self, fs: RegistryFileSystem, tmp_path: Path) -> None:
        for name in ("a/1", "a/b/2", "3"):
            (tmp_path / "from" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "from" / name).write_text(name)
        fs.put(str(tmp_path / "from"), "/tree", recursive=True)
        assert fs.find("/tree") == ["/tree/3", "/tree/a/1", "/tree/a/b/2"]
        fs.get("/tree", str(tmp_path / "to"), recursive=True)
        assert (tmp_path / "to" / "a" / "b" / "2").read_text() == "a/b/2"

    def test_a_failed_get_leaves_no_local_file(self, fs: RegistryFileSystem, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError):
            fs.get_file("/nope", str(tmp_path / "x"))
        assert list(tmp_path.iterdir()) == []

    def test_put_of_a_missing_local_file(self, fs: RegistryFileSystem, raw: Place, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError):
            fs.put_file(str(tmp_path / "nope"), "/x")
        assert raw.keys() == []


class TestOpen:
    def test_sequential_and_random_reads(self, fs: RegistryFileSystem, raw: Place) -> None:
        data = pattern(3 * 2**20)
        raw.put("big", data)
        with fs.open("/big") as f:
            assert f.read(10) == data[:10]
            assert f.read(200_000) == data[10:200_010]
            assert f.seek(-5, 2) == len(data) - 5
            assert f.read() == data[-5:]
            f.seek(2_000_000)
            assert f.read(7) == data[2_000_000:2_000_007]
            assert f.read(100) == data[2_000_007:2_000_107]
            f.seek(0)
            assert f.read() == data
            assert f.read() == b""

    @pytest.mark.parametrize("cache", ["none", "bytes", "readahead", "blockcache", "all", "first"])
    def test_fsspec_caches(self, fs: RegistryFileSystem, raw: Place, cache: str) -> None:
        data = pattern(300_000)
        raw.put("x", data)
        with fs.open("/x", cache_type=cache, block_size=64 * 1024) as f:
            f.seek(100_000)
            assert f.read(1000) == data[100_000:101_000]
            f.seek(0)
            assert f.read() == data

    def test_lines(self, fs: RegistryFileSystem) -> None:
        text = "".join(f"line {i}\n" for i in range(30_000))
        fs.pipe_file("/x", text.encode())
        with fs.open("/x", "r") as f:
            assert f.read() == text
        with fs.open("/x") as f:
            assert [line.decode() for line in f] == text.splitlines(keepends=True)

    def test_reading_lines_costs_two_requests(
        self, counted: RegistryFileSystem, raw: Place, proxy: CountingProxy
    ) -> None:
        raw.put("x", b"0123456789abcde\n" * 20_000)
        with counted.open("/x") as f:
            assert sum(1 for _ in f) == 20_000
        assert [r.method for r in proxy.requests] == ["GET", "GET"]

    def test_an_empty_file(self, fs: RegistryFileSystem) -> None:
        with fs.open("/x", "wb"):
            pass
        assert fs.info("/x")["size"] == 0
        with fs.open("/x") as f:
            assert f.read() == b""

    @pytest.mark.parametrize("size", [3, CHUNK, CHUNK + 1, 3 * CHUNK])
    @pytest.mark.parametrize("step", [1000, 2**20])
    def test_write(self, fs: RegistryFileSystem, raw: Place, size: int, step: int) -> None:
        data = pattern(size)
        with fs.open("/x", "wb") as f:
            for start in range(0, size, step):
                assert f.write(data[start : start + step]) == len(data[start : start + step])
            assert f.tell() == size
        assert raw.get("x") == data
        assert raw.uploads() == []

    def test_nothing_is_readable_before_close(self, fs: RegistryFileSystem) -> None:
        fs.pipe_file("/x", b"old")
        with fs.open("/x", "wb") as f:
            f.write(pattern(CHUNK + 1))
            f.flush()
            assert fs.cat_file("/x") == b"old"
        assert fs.size("/x") == CHUNK + 1

    @pytest.mark.parametrize("size", [10, 2 * CHUNK + 10])
    @pytest.mark.parametrize("mode", ["wb", "ab", "w"])
    @pytest.mark.parametrize("compression", [None, "gzip"])
    def test_an_exception_publishes_nothing(
        self, fs: RegistryFileSystem, raw: Place, size: int, mode: str, compression: str | None
    ) -> None:
        fs.pipe_file("/x", b"old")
        noise = os.urandom(size)
        with pytest.raises(ZeroDivisionError), fs.open("/x", mode, compression=compression) as f:
            f.write(noise if "b" in mode else noise.hex())
            raise ZeroDivisionError
        assert raw.get("x") == b"old"
        assert raw.uploads() == []

    def test_the_collector_publishes_nothing(self, fs: RegistryFileSystem, raw: Place) -> None:
        for mode, compression in (("wb", None), ("w", None), ("wb", "gzip")):
            f: Any = fs.open("/x", mode, compression=compression)
            f.write(pattern(20) if "b" in mode else "text")
            with pytest.warns(ResourceWarning, match="never closed"):
                del f
        assert raw.keys() == []

    def test_compression_and_text(self, fs: RegistryFileSystem, raw: Place) -> None:
        with fs.open("/x.gz", "w", compression="infer", encoding="utf-16") as f:
            f.write("zwölf\n")
        assert gzip.decompress(raw.get("x.gz")).decode("utf-16") == "zwölf\n"
        with fs.open("/x.gz", "wb", compression="gzip") as f:
            f.write(b"abc")
        with fs.open("/x.gz", compression="infer") as f:
            assert f.read() == b"abc"

    def test_exclusive(self, fs: RegistryFileSystem) -> None:
        with fs.open("/x", "xb") as f:
            f.write(b"first")
        with pytest.raises(FileExistsError):
            fs.open("/x", "xb")

    def test_exclusive_loses_a_race(self, fs: RegistryFileSystem, raw: Place) -> None:
        f = fs.open("/x", "xb")
        f.write(b"mine")
        raw.put("x", b"theirs")
        with pytest.raises(FileExistsError):
            f.close()
        assert raw.get("x") == b"theirs"

    @pytest.mark.parametrize("old", [0, 5, CHUNK, 2 * CHUNK + 7])
    @pytest.mark.parametrize("new", [0, 3, CHUNK])
    def test_append(self, fs: RegistryFileSystem, raw: Place, old: int, new: int) -> None:
        raw.put("x", pattern(old))
        with fs.open("/x", "ab") as f:
            assert f.tell() == old
            f.write(pattern(new))
        assert raw.get("x") == pattern(old) + pattern(new)
        assert raw.uploads() == []

    def test_append_to_nothing_begins(self, fs: RegistryFileSystem) -> None:
        with fs.open("/x", "ab") as f:
            f.write(b"new")
        assert fs.cat_file("/x") == b"new"

    def test_a_replaced_file_is_never_mixed(self, fs: RegistryFileSystem, raw: Place) -> None:
        raw.put("x", pattern(2**20))
        with fs.open("/x") as f:
            f.read(10)
            raw.put("x", bytes(2**20))
            with pytest.raises(OSError, match="replaced") as caught:
                f.read()
        assert caught.value.errno == errno.ESTALE

    def test_unknown_mode(self, fs: RegistryFileSystem) -> None:
        with pytest.raises(ValueError, match="mode"):
            fs.open("/x", "r+b")

    def test_use_after_close(self, fs: RegistryFileSystem) -> None:
        f = fs.open("/x", "wb")
        f.close()
        with pytest.raises(ValueError, match="closed"):
            f.write(b"x")
        with fs.open("/x") as g, pytest.raises(io.UnsupportedOperation):
            g.write(b"x")


class TestTransactions:
    def test_all_or_nothing(self, fs: RegistryFileSystem, raw: Place) -> None:
        with fs.transaction:
            with fs.open("/a", "wb") as f:
                f.write(pattern(CHUNK + 1))
            fs.pipe_file("/b", b"b")
            assert raw.keys() == []
        assert raw.keys() == ["a", "b"]

    def test_an_exception_discards(self, fs: RegistryFileSystem, raw: Place, tmp_path: Path) -> None:
        (tmp_path / "c").write_bytes(b"c")
        with pytest.raises(ZeroDivisionError), fs.transaction:
            with fs.open("/a", "wb") as f:
                f.write(pattern(CHUNK + 1))
            fs.pipe_file("/b", b"b")
            fs.put_file(str(tmp_path / "c"), "/c")
            raise ZeroDivisionError
        assert raw.keys() == []
        assert raw.uploads() == []


class TestLooking:
    def test_info(self, fs: RegistryFileSystem, raw: Place) -> None:
        raw.put("d/x", b"abc")
        info = fs.info("/d/x")
        assert (info["name"], info["size"], info["type"]) == ("/d/x", 3, "file")
        assert info["LastModified"].tzinfo is not None
        assert abs(datetime.now(timezone.utc) - fs.modified("/d/x")) < timedelta(minutes=5)
        assert fs.created("/d/x") == fs.modified("/d/x")
        assert fs.info("/d") == {"name": "/d", "size": 0, "type": "directory", "StorageClass": "DIRECTORY"}
        assert fs.info("/")["type"] == "directory"
        with pytest.raises(IsADirectoryError):
            fs.modified("/d")

    def test_a_prefix_is_no_directory(self, fs: RegistryFileSystem, raw: Place) -> None:
        raw.put("foobar", b"")
        assert not fs.exists("/foo")
        with pytest.raises(FileNotFoundError):
            fs.info("/foo")
        with pytest.raises(FileNotFoundError):
            fs.ls("/foo")

    def test_ls(self, fs: RegistryFileSystem, raw: Place) -> None:
        for key in ("d/x", "d/y/z", "d-e", "d.f", "d0"):
            raw.put(key, b"1")
        assert fs.ls("/d", detail=False) == ["/d/x", "/d/y"]
        assert [(i["name"], i["type"], i["size"]) for i in fs.ls("/d")] == [
            ("/d/x", "file", 1),
            ("/d/y", "directory", 0),
        ]
        assert fs.ls("/d/x", detail=False) == ["/d/x"]
        assert fs.ls("/", detail=False) == ["/d", "/d-e", "/d.f", "/d0"]

    def test_an_empty_root_is_empty(self, fs: RegistryFileSystem) -> None:
        assert fs.ls("/") == []
        assert fs.find("/") == []
        assert fs.exists("/")

    def test_find_walk_glob_du(self, fs: RegistryFileSystem, raw: Place) -> None:
        for key in ("a/1", "a/b/2", "a/b/c/3", "a-b/4"):
            raw.put(key, key.encode())
        assert fs.find("/a") == ["/a/1", "/a/b/2", "/a/b/c/3"]
        assert fs.find("/a", maxdepth=2) == ["/a/1", "/a/b/2"]
        assert fs.find("/a", withdirs=True) == ["/a", "/a/1", "/a/b", "/a/b/2", "/a/b/c", "/a/b/c/3"]
        assert fs.find("/a/1") == ["/a/1"]
        assert fs.find("/nope") == []
        assert list(fs.walk("/a")) == [("/a", ["b"], ["1"]), ("/a/b", ["c"], ["2"]), ("/a/b/c", [], ["3"])]
        assert list(fs.walk("/nope")) == [("/nope", [], [])]
        assert fs.glob("/a/*") == ["/a/1", "/a/b"]
        assert fs.glob("/a/**") == ["/a", "/a/1", "/a/b", "/a/b/2", "/a/b/c", "/a/b/c/3"]
        assert fs.glob("/a*/*") == ["/a-b/4", "/a/1", "/a/b"]
        assert fs.glob("/**/[23]") == ["/a/b/2", "/a/b/c/3"]
        assert fs.du("/a") == len("a/1a/b/2a/b/c/3")
        assert fs.du("/a", total=False) == {"/a/1": 3, "/a/b/2": 5, "/a/b/c/3": 7}

    def test_marker_keys(self, fs: RegistryFileSystem, raw: Place) -> None:
        for key in ("d/", "d/sub/", "d/x"):
            raw.put(key, b"")
        assert fs.ls("/d", detail=False) == ["/d/sub", "/d/x"]
        assert fs.find("/") == ["/d/x"]
        assert [step[0] for step in fs.walk("/")] == ["/", "/d", "/d/sub"]

    @pytest.mark.parametrize(
        "key", ["year=2024/part.0.parquet", "k k+ä%2e", "ünï/cødé", "a&b;c='d'", "~!@$^()[]{}"]
    )
    def test_any_key_that_s3_takes(self, fs: RegistryFileSystem, raw: Place, key: str) -> None:
        fs.pipe_file("/" + key, b"1")
        assert raw.keys() == [key]
        assert fs.cat_file("/" + key) == b"1"
        assert fs.find("/") == ["/" + key]

    def test_ukey_and_checksum_follow_the_content(self, fs: RegistryFileSystem) -> None:
        fs.pipe_file("/x", b"1")
        first = fs.ukey("/x"), fs.checksum("/x")
        assert first == (fs.ukey("/x"), fs.checksum("/x"))
        fs.pipe_file("/x", b"2")
        assert first != (fs.ukey("/x"), fs.checksum("/x"))
        assert first[1] != fs.checksum("/x")


class TestChanging:
    def test_cp_and_mv(self, fs: RegistryFileSystem, raw: Place) -> None:
        fs.pipe_file("/a", b"1")
        fs.cp("/a", "/b")
        fs.mv("/a", "/c")
        assert raw.keys() == ["b", "c"]
        with pytest.raises(FileNotFoundError):
            fs.mv("/a", "/d")
        fs.mv("/c", "/c")
        assert fs.cat_file("/c") == b"1"

    def test_cp_and_mv_of_trees(self, fs: RegistryFileSystem, raw: Place) -> None:
        fs.pipe({"/t/1": b"1", "/t/u/2": b"2"})
        fs.cp("/t", "/copy", recursive=True)
        fs.mv("/t", "/moved", recursive=True)
        assert raw.keys() == ["copy/1", "copy/u/2", "moved/1", "moved/u/2"]

    def test_cp_by_parts(self, options: dict[str, Any], raw: Place) -> None:
        fs = RegistryFileSystem(
            **options, multipartcopythresholdsize=2**20, multipartcopychunksize=CHUNK, chunksize=CHUNK
        )
        data = pattern(2 * CHUNK + 11)
        raw.put("a", data)
        fs.cp_file("/a", "/b")
        assert raw.get("b") == data
        assert raw.uploads() == []

    def test_rm(self, fs: RegistryFileSystem, raw: Place) -> None:
        for key in ("a", "a/1", "a/b/2", "ab", "a-b/x", "a.b", "a0"):
            raw.put(key, b"")
        fs.rm("/a", recursive=True)
        assert raw.keys() == ["a-b/x", "a.b", "a0", "ab"]
        fs.rm("/a*", recursive=True)
        assert raw.keys() == []
        with pytest.raises(FileNotFoundError):
            fs.rm("/a", recursive=True)

    def test_find_gives_a_level_at_a_time(self, fs: RegistryFileSystem, raw: Place) -> None:
        for key in ("d/a/1", "d/a/b/2", "d/c", "d/e/3"):
            raw.put(key, b"")
        levels = ["/d", "/d/a", "/d/c", "/d/e", "/d/a/1", "/d/a/b", "/d/e/3", "/d/a/b/2"]
        assert fs.find("/d", withdirs=True) == list(fs.find("/d", withdirs=True, detail=True)) == levels
        with contextlib.suppress(FileNotFoundError):  # as zarr's clear() does
            for path in fs.find("/d", withdirs=True)[1:]:
                fs.rm(path, recursive=True)
        assert raw.keys() == []

    def test_rm_of_what_went_with_its_parent(self, fs: RegistryFileSystem, raw: Place) -> None:
        raw.put("d/a/1", b"")
        fs.rm("/d", recursive=True)
        with pytest.raises(FileNotFoundError):
            fs.rm("/d/a", recursive=True)

    def test_rm_of_single_files(self, fs: RegistryFileSystem, raw: Place) -> None:
        fs.pipe({"/a": b"", "/b": b"", "/d/c": b""})
        with pytest.raises(IsADirectoryError):
            fs.rm("/d")
        with pytest.raises(FileNotFoundError):
            fs.rm("/nope")
        fs.rm("/a")
        fs.rm_file("/b")
        assert raw.keys() == ["d/c"]

    def test_directories_need_no_making(self, fs: RegistryFileSystem, raw: Place) -> None:
        fs.mkdir("/d")
        fs.makedirs("/e/f", exist_ok=True)
        assert raw.keys() == []
        fs.touch("/e/f/x")
        assert fs.isdir("/e/f")
        fs.pipe_file("/e/f/x", b"1")
        fs.touch("/e/f/x", truncate=False)
        assert fs.cat_file("/e/f/x") == b"1"
        fs.touch("/e/f/x")
        assert fs.cat_file("/e/f/x") == b""


class TestMadeDirectories:
    """S3 has none; who made one may list it all the same."""

    def test_are_empty(self, fs: RegistryFileSystem, raw: Place) -> None:
        with pytest.raises(FileNotFoundError):
            fs.ls("/a/b")
        fs.mkdir("/a/b")
        assert fs.ls("/a/b") == []
        assert fs.ls("/a/b", detail=False) == []
        assert raw.keys() == []
        fs.pipe_file("/a/b/x", b"")
        assert fs.ls("/a/b", detail=False) == ["/a/b/x"]

    def test_do_not_hide_a_file(self, fs: RegistryFileSystem) -> None:
        fs.mkdir("/a")
        fs.pipe_file("/a", b"")
        assert fs.ls("/a", detail=False) == ["/a"]

    def test_are_nothing_else(self, fs: RegistryFileSystem, options: dict[str, Any]) -> None:
        fs.mkdir("/a")
        assert not fs.exists("/a")
        assert fs.ls("/") == []
        assert fs.find("/", withdirs=True) == ["/"]
        driver = StorageDriver(fs)
        for call in (driver.stat, driver.list, driver.delete):
            with pytest.raises(FileNotFoundError):
                call("/a")
        with pytest.raises(FileNotFoundError):
            RegistryFileSystem(**options, skip_instance_cache=True).ls("/a")

    @pytest.mark.parametrize(
        "forget",
        [
            lambda fs: fs.rmdir("/a"),
            lambda fs: fs.rm("/a", recursive=True),
            lambda fs: fs.cp("/x", "/y"),
            lambda fs: fs.put(__file__, "/y"),
        ],
    )
    def test_are_forgotten(
        self, fs: RegistryFileSystem, forget: Callable[[RegistryFileSystem], None]
    ) -> None:
        fs.pipe_file("/x", b"")
        fs.mkdir("/a")
        with contextlib.suppress(FileNotFoundError):
            forget(fs)
        with pytest.raises(FileNotFoundError):
            fs.ls("/a")

    def test_take_no_request(self, proxied_options: dict[str, Any], proxy: CountingProxy) -> None:
        fs = RegistryFileSystem(**proxied_options)
        fs.makedirs("/a/b")
        fs.rmdir("/a/b")
        assert proxy.requests == []


class TestUrls:
    def test_paths_and_urls_are_one(self, fs: RegistryFileSystem, options: dict[str, Any]) -> None:
        bucket = options["bucket"]
        fs.pipe_file("/d/x", b"1")
        for path in ("/d/x", "d/x", f"regfs://{bucket}/d/x", "regfs:///d/x"):
            assert fs.cat_file(path) == b"1"
        assert fs.unstrip_protocol("/d/x") == f"regfs://{bucket}/d/x"

    def test_fsspec_open(self, fs: RegistryFileSystem, options: dict[str, Any]) -> None:
        url = f"regfs://{options['bucket']}/d/x"
        with fsspec.open(url, "wb", **options) as f:
            f.write(b"1")
        rest = {k: v for k, v in options.items() if k != "bucket"}
        with fsspec.open(url, "rb", **rest) as f:
            assert f.read() == b"1"
        with fsspec.open("regfs:///d/x", "rb", **options) as f:
            assert f.read() == b"1"
        assert fs.cat_file("/d/x") == b"1"

    def test_another_bucket_is_refused(self, fs: RegistryFileSystem, options: dict[str, Any]) -> None:
        with pytest.raises(ValueError, match="'other'"):
            fs.cat_file("regfs://other/d/x")
        with pytest.raises(ValueError, match="'other'"):
            fsspec.open("regfs://other/d/x", **options)

    def test_no_bucket_is_refused(self, options: dict[str, Any]) -> None:
        rest = {k: v for k, v in options.items() if k != "bucket"}
        with pytest.raises(ParameterError, match="bucket"):
            fsspec.open("regfs:///d/x", **rest)

    def test_pickle_json_and_tokens(self, fs: RegistryFileSystem, options: dict[str, Any]) -> None:
        fs.pipe_file("/x", b"1")
        for again in (pickle.loads(pickle.dumps(fs)), fsspec.AbstractFileSystem.from_json(fs.to_json())):
            assert again == fs
            assert again.cat_file("/x") == b"1"
        other = RegistryFileSystem(**{**options, "rootdirectory": "/elsewhere"})
        assert other != fs
        assert other.fsid != fs.fsid

    def test_files_pickle(self, fs: RegistryFileSystem) -> None:
        fs.pipe_file("/x", b"0123456789")
        with fs.open("/x") as f:
            f.read(3)
            with pickle.loads(pickle.dumps(f)) as again:
                assert again.read() == b"3456789"

    def test_no_secret_in_repr(self, fs: RegistryFileSystem, options: dict[str, Any]) -> None:
        assert options["secretkey"] not in repr(fs) + str(fs) + repr(fs.parameters)

    def test_sign(self, fs: RegistryFileSystem) -> None:
        import urllib.request

        fs.pipe_file("/x", b"1")
        with urllib.request.urlopen(fs.sign("/x")) as answer:
            assert answer.read() == b"1"
        for bad in (0, -1, 7 * 24 * 3600 + 1):
            with pytest.raises(ValueError, match="expiration"):
                fs.sign("/x", expiration=bad)
        with pytest.raises(ValueError, match="PUT"):
            fs.url("/x", method="PUT")


class TestAsynchronous:
    def test_in_an_application_s_own_loop(self, options: dict[str, Any]) -> None:
        async def main() -> None:
            fs = RegistryFileSystem(**options, asynchronous=True, skip_instance_cache=True)
            try:
                await fs.set_session()
                await fs._pipe_file("/d/x", b"1")
                assert await fs._cat_file("/d/x") == b"1"
                assert await fs._ls("/d", detail=False) == ["/d/x"]
                assert [step async for step in fs._walk("/")] == [("/", ["d"], []), ("/d", [], ["x"])]
                with pytest.raises(RuntimeError, match="asynchronous"):
                    fs.open("/d/x")
                await fs._rm("/d", recursive=True)
                assert not await fs._exists("/d/x")
            finally:
                await fs.close()

        asyncio.run(main())
        asyncio.run(main())

    def test_one_instance_in_two_loops(self, options: dict[str, Any]) -> None:
        fs = RegistryFileSystem(**options, asynchronous=True, skip_instance_cache=True)

        async def use() -> None:
            try:
                await fs._pipe_file("/x", b"1")
                assert await fs._cat_file("/x") == b"1"
            finally:
                await fs.close()

        asyncio.run(use())
        asyncio.run(use())


class TestBadInput:
    PATHS = ("/a/../b", "/..", "/.", "/a/.", "a/./b", "/a\0b", "/a\nb", "/a\x7f", "/\ud800")

    @pytest.mark.parametrize("path", PATHS)
    def test_nothing_is_sent_for_a_bad_path(
        self, counted: RegistryFileSystem, proxy: CountingProxy, tmp_path: Path, path: str
    ) -> None:
        (tmp_path / "f").write_bytes(b"1")
        for use in (
            lambda: counted.cat_file(path),
            lambda: counted.pipe_file(path, b"1"),
            lambda: counted.open(path),
            lambda: counted.open(path, "wb"),
            lambda: counted.info(path),
            lambda: counted.exists(path),
            lambda: counted.ls(path),
            lambda: counted.find(path),
            lambda: counted.put_file(str(tmp_path / "f"), path),
            lambda: counted.get_file(path, str(tmp_path / "g")),
            lambda: counted.rm(path, recursive=True),
            lambda: counted.touch(path),
            lambda: counted.sign(path),
            lambda: counted.mkdir(path),
        ):
            with pytest.raises(InvalidPathError) as caught:
                use()
            assert "\n" not in str(caught.value)
        assert proxy.requests == []

    def test_a_key_too_long(self, counted: RegistryFileSystem, proxy: CountingProxy) -> None:
        with pytest.raises(OSError, match="1024") as caught:
            counted.pipe_file("/" + "ä" * 600, b"")
        assert caught.value.errno == errno.ENAMETOOLONG
        assert proxy.requests == []

    def test_a_directory_is_no_file(self, fs: RegistryFileSystem, raw: Place) -> None:
        raw.put("d/x", b"")
        for path, mode in (("/d", "rb"), ("/", "rb"), ("/", "wb"), ("/", "xb")):
            with pytest.raises(IsADirectoryError, match="regfs://"):
                fs.open(path, mode)
        with pytest.raises(IsADirectoryError, match="regfs://"):
            fs.cat_file("/d")

    def test_a_missing_file_is_named_in_full(self, fs: RegistryFileSystem, options: dict[str, Any]) -> None:
        for use in (fs.open, fs.cat_file, fs.info, fs.ls, fs.rm, fs.modified, fs.cat):
            with pytest.raises(FileNotFoundError) as caught:
                use("/no/such")
            assert caught.value.filename == f"regfs://{options['bucket']}/no/such"
            assert caught.value.errno == errno.ENOENT

    def test_a_missing_bucket_is_never_empty(self, options: dict[str, Any]) -> None:
        fs = RegistryFileSystem(**{**options, "bucket": "no-such-bucket"})
        for use in (
            lambda: fs.ls("/"),
            lambda: fs.find("/"),
            lambda: list(fs.walk("/")),
            lambda: fs.exists("/x"),
            lambda: fs.isdir("/x"),
            lambda: fs.glob("/*"),
            lambda: fs.pipe_file("/x", b"1"),
            lambda: fs.du("/"),
        ):
            with pytest.raises(FileNotFoundError, match="bucket"):
                use()

    @pytest.mark.parametrize("server", ["seaweedfs"], indirect=True)
    def test_a_wrong_secret_is_never_empty(self, options: dict[str, Any], raw: Place, server: Server) -> None:
        raw.put("x", b"1")
        fs = RegistryFileSystem(**{**options, "secretkey": "wrong-secret"})
        for use in (
            lambda: fs.ls("/"),
            lambda: fs.find("/"),
            lambda: list(fs.walk("/")),
            lambda: fs.exists("/x"),
            lambda: fs.isfile("/x"),
            lambda: fs.isdir("/x"),
            lambda: fs.cat_file("/x"),
            lambda: fs.open("/x"),
            lambda: fs.pipe_file("/y", b"1"),
            lambda: fs.rm("/x"),
            lambda: fs.rm("/", recursive=True),
        ):
            with pytest.raises(PermissionError) as caught:
                use()
            assert "wrong-secret" not in str(caught.value)
        assert raw.keys() == ["x"]

    def test_unknown_option(self, options: dict[str, Any]) -> None:
        with pytest.raises(ParameterError, match="chunksize"):
            RegistryFileSystem(**options, chunk_size=CHUNK)  # type: ignore[call-arg]  # on purpose


class TestRequests:
    """Requests per operation are part of the contract."""

    def test_read(self, counted: RegistryFileSystem, proxy: CountingProxy, raw: Place) -> None:
        raw.put("d/x", b"small")
        with counted.open("/d/x") as f:
            assert f.read() == b"small"
        assert [r.method for r in proxy.requests] == ["GET"]
        proxy.clear()
        assert counted.cat_file("/d/x") == b"small"
        assert [r.method for r in proxy.requests] == ["GET"]

    def test_write(self, counted: RegistryFileSystem, proxy: CountingProxy) -> None:
        with counted.open("/x", "wb") as f:
            f.write(b"small")
        counted.pipe_file("/x", b"small")
        assert [r.method for r in proxy.requests] == ["PUT", "PUT"]

    def test_look(self, counted: RegistryFileSystem, proxy: CountingProxy, raw: Place) -> None:
        raw.put("d/x", b"small")
        for path, methods in (("/d/x", ["HEAD"]), ("/d", ["HEAD", "GET"])):
            for look in (counted.info, counted.exists, counted.isdir):
                proxy.clear()
                assert look(path) is not None
                assert [r.method for r in proxy.requests] == methods
        proxy.clear()
        assert counted.isfile("/d/x")
        assert [r.method for r in proxy.requests] == ["HEAD"]

    @pytest.mark.parametrize("server", ["moto"], indirect=True)
    @pytest.mark.parametrize("n", [1, 1001])
    def test_list_and_delete(
        self, counted: RegistryFileSystem, proxy: CountingProxy, raw: Place, n: int
    ) -> None:
        names = [f"/d/{i:05}" for i in range(n)]
        RegistryFileSystem(**raw.options, batch_size=16).pipe(dict.fromkeys(names, b""))
        for i in range(20):
            raw.put(f"d-{i}", b"")
        pages = -(-n // 1000)
        assert counted.ls("/d", detail=False) == names
        assert len(proxy.requests) == pages
        proxy.clear()
        assert counted.find("/d") == names
        assert len(proxy.requests) == pages
        proxy.clear()
        counted.rm("/d", recursive=True)
        deletes = [r for r in proxy.requests if r.method in ("DELETE", "POST")]
        assert len(deletes) <= pages + 1
        assert len(proxy.requests) - len(deletes) <= pages + 1
        assert len(raw.keys()) == 20

    def test_presign(self, counted: RegistryFileSystem, proxy: CountingProxy) -> None:
        counted.sign("/x")
        assert proxy.requests == []

    def test_construction(self, proxied_options: dict[str, Any], proxy: CountingProxy) -> None:
        RegistryFileSystem(**proxied_options, skip_instance_cache=True)
        assert proxy.requests == []


class TestChecksums:
    @pytest.mark.parametrize("algorithm", ["MD5", "CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"])
    def test_uploads_carry_what_the_service_verifies(
        self, proxied_options: dict[str, Any], proxy: CountingProxy, raw: Place, algorithm: str
    ) -> None:
        fs = RegistryFileSystem(**proxied_options, chunksize=CHUNK, checksum_algorithm=algorithm)
        fs.pipe_file("/small", b"123456789")
        fs.pipe_file("/large", pattern(CHUNK + 1))
        assert raw.get("large") == pattern(CHUNK + 1)
        header = "content-md5" if algorithm == "MD5" else f"x-amz-checksum-{algorithm.lower()}"
        bodies = [r for r in proxy.requests if r.method == "PUT"]
        assert len(bodies) == 3
        assert all(header in r.headers for r in bodies)

    def test_known_values(self) -> None:
        known = {"CRC32": "y/Q5Jg==", "CRC32C": "4waSgw==", "MD5": "JfnnlDI7RTiF9RgfG2JNCw=="}
        assert {a: checksums.compute(a, b"123456789") for a in known} == known

    def test_off(self, proxied_options: dict[str, Any], proxy: CountingProxy) -> None:
        fs = RegistryFileSystem(**proxied_options, checksum_algorithm="SHA256", checksum_disabled=True)
        fs.pipe_file("/small", b"1")
        assert not any(h.startswith("x-amz-checksum") for r in proxy.requests for h in r.headers)


@pytest.mark.parametrize("server", ["seaweedfs"], indirect=True)
class TestPandas:
    """What pandas does with a refusal: it asks again without signature."""

    def test_a_wrong_secret_is_told(self, options: dict[str, Any], raw: Place) -> None:
        raw.put("x.csv", b"a\n1\n")
        with pytest.raises(PermissionError, match="secretkey"):
            pd.read_csv("regfs:///x.csv", storage_options={**options, "secretkey": "wrong"})

    def test_no_credentials_are_told(self, options: dict[str, Any], raw: Place) -> None:
        raw.put("x.csv", b"a\n1\n")
        bare = {k: v for k, v in options.items() if k not in ("accesskey", "secretkey")}
        with pytest.raises(PermissionError, match="access denied"):
            pd.read_csv("regfs:///x.csv", storage_options=bare)
        with pytest.raises(PermissionError, match="no credentials"):
            RegistryFileSystem(**bare).cat_file("/x.csv")

    def test_round_trips(self, options: dict[str, Any]) -> None:
        frame = pd.DataFrame({"a": range(10), "part": [1, 2] * 5})
        frame.to_csv("regfs:///x.csv.gz", storage_options=options, index=False)
        assert pd.read_csv("regfs:///x.csv.gz", storage_options=options).equals(frame)
        frame.to_parquet("regfs:///set", storage_options=options, partition_cols=["part"])
        read = pd.read_parquet("regfs:///set", storage_options=options)
        assert sorted(read["a"]) == list(range(10))


@pytest.mark.parametrize("call", ["cat_file", "open"])
def test_a_missing_file_is_not_its_own_cause(options: dict[str, Any], call: str) -> None:
    """Whoever follows the causes, as a pickler of tracebacks does, would never come to an end."""
    with pytest.raises(FileNotFoundError) as caught:
        getattr(RegistryFileSystem(**options), call)("/missing")
    assert caught.value.__cause__ is not caught.value
    assert caught.value.__context__ is not caught.value
