"""What fsspec builds on a filesystem: globs, chains, caches, copies, transactions; and who reads with it."""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import fsspec
import fsspec.generic
import polars as pl
import pyarrow as pa
import pyarrow.csv
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
import s3fs
from fsspec.implementations.dirfs import DirFileSystem

from regfs import RegistryFileSystem

if TYPE_CHECKING:
    from support.servers import Place, Server

ON_SEAWEEDFS = pytest.mark.parametrize("server", ["seaweedfs"], indirect=True)


@pytest.fixture
def fs(options: dict[str, Any]) -> RegistryFileSystem:
    return RegistryFileSystem(**options)


@pytest.fixture
def base(options: dict[str, Any]) -> str:
    """What the URLs begin with."""
    return f"regfs://{options['bucket']}"


class TestOpenFiles:
    def test_a_pattern(self, base: str, options: dict[str, Any], raw: Place) -> None:
        for name in ("a.csv", "b.csv", "c.txt", "deep/d.csv"):
            raw.put(f"logs/{name}", name.encode())
        files = fsspec.open_files(f"{base}/logs/*.csv", **options)
        assert [file.path for file in files] == ["/logs/a.csv", "/logs/b.csv"]
        with files as opened:
            assert [file.read() for file in opened] == [b"a.csv", b"b.csv"]
        deep = fsspec.open_files(f"{base}/logs/**/*.csv", "rt", **options)
        assert [file.path for file in deep] == ["/logs/a.csv", "/logs/b.csv", "/logs/deep/d.csv"]

    def test_a_list_of_urls(self, base: str, options: dict[str, Any], raw: Place) -> None:
        raw.put("a", b"1")
        raw.put("b", b"2")
        with fsspec.open_files([f"{base}/a", f"{base}/b"], **options) as opened:
            assert [file.read() for file in opened] == [b"1", b"2"]

    def test_numbered_names_to_write(self, base: str, options: dict[str, Any], raw: Place) -> None:
        with fsspec.open_files(f"{base}/out/*.txt", "wt", num=3, **options) as opened:
            for i, file in enumerate(opened):
                file.write(str(i))
        assert {key: raw.get(key) for key in raw.keys()} == {
            "out/0.txt": b"0",
            "out/1.txt": b"1",
            "out/2.txt": b"2",
        }

    @pytest.mark.parametrize("ending", ["gz", "bz2", "xz", "txt"])
    def test_compression_is_inferred(
        self, base: str, options: dict[str, Any], raw: Place, ending: str
    ) -> None:
        url = f"{base}/x.{ending}"
        with fsspec.open(url, "wt", compression="infer", **options) as file:
            file.write("zwölf\n" * 100)
        with fsspec.open(url, "rt", compression="infer", **options) as file:
            assert file.read() == "zwölf\n" * 100
        assert (raw.get(f"x.{ending}") == "zwölf\n".encode() * 100) == (ending == "txt")

    def test_text_of_two_bytes_begins_with_its_mark(self, fs: RegistryFileSystem) -> None:
        with fs.open("/x", "w", encoding="utf-16") as file:
            file.write("zwölf")
        assert fs.cat_file("/x") == "zwölf".encode("utf-16")

    def test_url_to_fs(self, base: str, options: dict[str, Any]) -> None:
        found, path = fsspec.url_to_fs(f"{base}/a/b", **options)
        assert found == RegistryFileSystem(**options)
        assert path == "/a/b"


def _tar() -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w:gz") as archive:
        member = tarfile.TarInfo("etc/motd")
        member.size = 5
        archive.addfile(member, io.BytesIO(b"hello"))
    return target.getvalue()


def _zip() -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr("etc/motd", "hello")
    return target.getvalue()


class TestChains:
    @pytest.mark.parametrize("cache", ["simplecache", "blockcache", "filecache"])
    # fsspec's blockcache leaves the local file that it maps into memory to the collector.
    @pytest.mark.filterwarnings("ignore:unclosed file <_io.BufferedRandom:ResourceWarning")
    def test_caches(self, base: str, options: dict[str, Any], raw: Place, tmp_path: Path, cache: str) -> None:
        data = bytes(range(256)) * 1000
        raw.put("x", data)
        how = {cache: {"cache_storage": str(tmp_path)}, "regfs": options}
        for _ in range(2):
            with fsspec.open(f"{cache}::{base}/x", **how) as file:
                file.seek(100_000)
                assert file.read(1000) == data[100_000:101_000]
        assert any(tmp_path.iterdir())
        raw.s3.delete_object(Bucket=raw.bucket, Key=f"{raw.prefix}x")
        if cache == "filecache":  # asks nobody for as long as it keeps a file
            with fsspec.open(f"{cache}::{base}/x", **how) as file:
                assert file.read() == data

    def test_filecache_sees_a_new_version(
        self, base: str, options: dict[str, Any], raw: Place, tmp_path: Path
    ) -> None:
        how = {"filecache": {"cache_storage": str(tmp_path), "check_files": True}, "regfs": options}
        for data in (b"first", b"other"):
            raw.put("x", data)
            with fsspec.open(f"filecache::{base}/x", **how) as file:
                assert file.read() == data

    def test_simplecache_writes(self, base: str, options: dict[str, Any], raw: Place, tmp_path: Path) -> None:
        how = {"simplecache": {"cache_storage": str(tmp_path)}, "regfs": options}
        with fsspec.open(f"simplecache::{base}/d/x", "wb", **how) as file:
            file.write(b"written")
        assert raw.get("d/x") == b"written"

    def test_open_local(self, base: str, options: dict[str, Any], raw: Place, tmp_path: Path) -> None:
        raw.put("x.txt", b"here")
        how = {"simplecache": {"cache_storage": str(tmp_path)}, "regfs": options}
        name = fsspec.open_local(f"simplecache::{base}/x.txt", **how)
        assert Path(name).read_bytes() == b"here"

    @pytest.mark.parametrize(
        ("name", "data", "how"),
        [("x.tgz", _tar(), {"tar": {"compression": "gzip"}}), ("x.zip", _zip(), {})],
        ids=["tar", "zip"],
    )
    def test_archives(
        self, base: str, options: dict[str, Any], raw: Place, name: str, data: bytes, how: dict[str, Any]
    ) -> None:
        raw.put(name, data)
        kind = "tar" if how else "zip"
        with fsspec.open(f"{kind}://etc/motd::{base}/{name}", regfs=options, **how) as file:
            assert file.read() == b"hello"

    def test_an_archive_through_a_cache(
        self, base: str, options: dict[str, Any], raw: Place, tmp_path: Path
    ) -> None:
        raw.put("x.zip", _zip())
        url = f"zip://etc/*::simplecache::{base}/x.zip"
        how = {"simplecache": {"cache_storage": str(tmp_path)}, "regfs": options}
        with fsspec.open_files(url, **how) as opened:
            assert [file.read() for file in opened] == [b"hello"]

    def test_a_missing_archive(self, base: str, options: dict[str, Any]) -> None:
        with pytest.raises(FileNotFoundError, match=f"{base}/nope.zip"):
            fsspec.open(f"zip://a::{base}/nope.zip", regfs=options).open()

    def test_a_directory(self, base: str, options: dict[str, Any], raw: Place) -> None:
        below = fsspec.filesystem("dir", path="/d", fs=RegistryFileSystem(**options))
        below.pipe("x", b"1")
        assert raw.keys() == ["d/x"]
        assert below.ls("", detail=False) == ["x"]
        assert below.glob("*") == ["x"]
        with fsspec.open(f"dir://x::{base}/d", regfs=options) as file:
            assert file.read() == b"1"


class TestMappers:
    def test_mapper(self, base: str, options: dict[str, Any], raw: Place) -> None:
        mapper = fsspec.get_mapper(f"{base}/store", **options)
        mapper["a/b"] = b"1"
        mapper.setitems({"c": b"2", "d": b"3"})
        assert raw.keys() == ["store/a/b", "store/c", "store/d"]
        assert (sorted(mapper), len(mapper)) == (["a/b", "c", "d"], 3)
        assert mapper.getitems(["c", "nope"], on_error="omit") == {"c": b"2"}
        assert "a/b" in mapper
        assert "a" not in mapper
        with pytest.raises(KeyError):
            mapper["nope"]
        del mapper["c"]
        mapper.delitems(["d"])
        assert dict(mapper) == {"a/b": b"1"}
        mapper.clear()
        assert raw.keys() == []

    def test_mapper_of_a_directory_filesystem(self, fs: RegistryFileSystem, raw: Place) -> None:
        mapper = DirFileSystem("/below", fs).get_mapper("store")
        mapper["a/b"] = b"1"
        assert raw.keys() == ["below/store/a/b"]
        assert dict(mapper) == {"a/b": b"1"}

    @ON_SEAWEEDFS
    def test_no_permission_is_no_missing_key(self, base: str, options: dict[str, Any]) -> None:
        mapper = fsspec.get_mapper(f"{base}/store", **{**options, "secretkey": "wrong"})
        for use in (lambda: mapper["a"], lambda: "a" in mapper, lambda: list(mapper)):
            with pytest.raises(PermissionError):
                use()


@ON_SEAWEEDFS
class TestGenericCopies:
    @pytest.fixture
    def generic(self, server: Server, options: dict[str, Any]) -> Iterator[fsspec.generic.GenericFileSystem]:
        """Any URL, each kind with its own options."""
        amazon = {
            "key": server.access_key,
            "secret": server.secret_key,
            "endpoint_url": server.endpoint,
            "client_kwargs": {"region_name": server.region},
            "use_listings_cache": False,
        }
        yield fsspec.generic.GenericFileSystem(
            default_method="options", storage_options={"regfs": options, "s3": amazon}
        )
        s3fs.S3FileSystem.clear_instance_cache()

    @pytest.mark.parametrize("other", ["file", "s3"])
    def test_rsync_there_and_back(
        self, generic: Any, base: str, raw: Place, tmp_path: Path, other: str
    ) -> None:
        for name in ("a", "b/c"):
            raw.put(f"from/{name}", name.encode())
        there = f"file://{tmp_path}/there" if other == "file" else f"s3://{raw.bucket}{raw.root}/there"
        generic.rsync(f"{base}/from", there)
        assert generic.cat_file(f"{there}/b/c") == b"b/c"
        generic.rsync(there, f"{base}/back")
        assert [key for key in raw.keys() if key.startswith("back/")] == ["back/a", "back/b/c"]
        raw.put("from/a", b"longer now")
        raw.put("from/d", b"d")
        generic.rsync(f"{base}/from", f"{base}/back")
        assert [raw.get(f"back/{name}") for name in ("a", "b/c", "d")] == [b"longer now", b"b/c", b"d"]
        raw.s3.delete_object(Bucket=raw.bucket, Key=f"{raw.prefix}from/d")
        fsspec.generic.rsync(f"{base}/from", f"{base}/back", delete_missing=True, fs=generic)
        assert [key for key in raw.keys() if key.startswith("back/")] == ["back/a", "back/b/c"]

    @pytest.mark.parametrize("other", ["file", "s3"])
    def test_one_file(self, generic: Any, base: str, raw: Place, tmp_path: Path, other: str) -> None:
        raw.put("x", b"1")
        there = f"file://{tmp_path}/x" if other == "file" else f"s3://{raw.bucket}{raw.root}/y"
        generic.cp_file(f"{base}/x", there)
        generic.cp_file(there, f"{base}/z")
        assert raw.get("z") == b"1"


class TestTransactions:
    def test_commit(self, fs: RegistryFileSystem, raw: Place) -> None:
        with fs.transaction:
            with fs.open("/a.txt", "w") as file:
                file.write("a")
            fs.pipe({"/b": b"b", "/c": b"c"})
            assert raw.keys() == []
        assert raw.keys() == ["a.txt", "b", "c"]

    def test_start_and_complete(self, fs: RegistryFileSystem, raw: Place) -> None:
        fs.start_transaction()
        fs.pipe_file("/a", b"1")
        assert raw.keys() == []
        fs.end_transaction()
        assert raw.keys() == ["a"]

    def test_rollback(self, fs: RegistryFileSystem, raw: Place) -> None:
        raw.put("a", b"old")
        fs.start_transaction()
        fs.pipe_file("/a", b"new")
        fs.transaction.complete(commit=False)
        assert raw.get("a") == b"old"
        assert raw.uploads() == []

    def test_an_exception_rolls_back(self, fs: RegistryFileSystem, raw: Place) -> None:
        with pytest.raises(ZeroDivisionError), fs.transaction:
            with fs.open("/x.gz", "wt", compression="gzip") as file:
                file.write("text")
            fs.pipe_file("/y", b"1")
            raise ZeroDivisionError
        assert raw.keys() == []
        assert raw.uploads() == []
        fs.pipe_file("/z", b"1")  # and it is over
        assert raw.keys() == ["z"]

    def test_fsspec_open_takes_part(
        self, fs: RegistryFileSystem, base: str, options: dict[str, Any], raw: Place
    ) -> None:
        with fs.transaction:  # fsspec gives the same instance for the same options
            with fsspec.open(f"{base}/x", "wb", **options) as file:
                file.write(b"1")
            assert raw.keys() == []
        assert raw.keys() == ["x"]


YEARS = pa.table({"year": [2024, 2024, 2025], "n": [1, 2, 3], "tag": ["a", "b", "c"]})


@pytest.fixture
def dataset(fs: RegistryFileSystem) -> str:
    """A dataset of one file for each year, as pyarrow writes it."""
    ds.write_dataset(
        YEARS,
        "/set",
        filesystem=fs,
        format="parquet",
        partitioning=ds.partitioning(pa.schema([("year", pa.int64())]), flavor="hive"),
    )
    return "/set"


class TestArrow:
    def test_partitions(self, fs: RegistryFileSystem, raw: Place, dataset: str) -> None:
        assert {key.rpartition("/")[0] for key in raw.keys()} == {"set/year=2024", "set/year=2025"}
        read = ds.dataset(dataset, filesystem=fs, format="parquet", partitioning="hive")
        assert read.to_table(filter=ds.field("year") == 2025)["n"].to_pylist() == [3]
        assert sorted(read.to_table(columns=["n"])["n"].to_pylist()) == [1, 2, 3]
        assert len(list(read.get_fragments(filter=ds.field("year") == 2024))) == 1

    def test_parquet_module(self, fs: RegistryFileSystem, dataset: str) -> None:
        table = pq.read_table(dataset, filesystem=fs, filters=[("n", ">", 1)])
        assert sorted(table["tag"].to_pylist()) == ["b", "c"]
        assert pq.read_schema(f"{dataset}/year=2025/part-0.parquet", filesystem=fs).names == ["n", "tag"]

    def test_csv_dataset(self, fs: RegistryFileSystem, raw: Place) -> None:
        raw.put("csv/a.csv", b"n\n1\n")
        raw.put("csv/b.csv", b"n\n2\n")
        read = ds.dataset("/csv", filesystem=fs, format="csv")
        assert sorted(read.to_table()["n"].to_pylist()) == [1, 2]
        with fs.open("/csv/a.csv") as file:
            assert pyarrow.csv.read_csv(file)["n"].to_pylist() == [1]


class TestPolars:
    def test_round_trip_by_open_files(self, fs: RegistryFileSystem) -> None:
        frame = pl.DataFrame({"n": [1, 2, 3], "tag": ["a", "b", "c"]})
        writers: list[tuple[str, Callable[[Any], Any], Callable[[Any], pl.DataFrame]]] = [
            ("/x.parquet", frame.write_parquet, pl.read_parquet),
            ("/x.csv", frame.write_csv, pl.read_csv),
            ("/x.ndjson", frame.write_ndjson, pl.read_ndjson),
            ("/x.arrow", frame.write_ipc, pl.read_ipc),
        ]
        for path, write, read in writers:
            with fs.open(path, "wb") as file:
                write(file)
            with fs.open(path) as file:
                assert read(file).equals(frame)

    def test_scan_of_a_dataset(self, fs: RegistryFileSystem, dataset: str) -> None:
        read = ds.dataset(dataset, filesystem=fs, partitioning="hive")
        lazy = pl.scan_pyarrow_dataset(read).filter(pl.col("year") == 2025).select("n")
        assert lazy.collect()["n"].to_list() == [3]

    def test_scan_of_an_open_file(self, fs: RegistryFileSystem, dataset: str) -> None:
        with fs.open(f"{dataset}/year=2024/part-0.parquet") as file:
            assert pl.scan_parquet(file).select(pl.col("n").sum()).collect().item() == 3


OLD_DUCKDB = int(duckdb.__version__.partition(".")[0]) < 2  # the newest there is for Python 3.10


class TestDuckDB:
    @pytest.fixture
    def database(self, fs: RegistryFileSystem) -> Iterator[duckdb.DuckDBPyConnection]:
        """A database in memory that knows regfs:// ."""
        with duckdb.connect() as connection:
            connection.register_filesystem(fs)
            yield connection

    def test_queries(self, database: duckdb.DuckDBPyConnection, base: str, dataset: str) -> None:
        url = f"{base}{dataset}"
        one = database.execute(f"select sum(n) from read_parquet('{url}/year=2024/*.parquet')").fetchone()
        assert one == (3,)
        where = f"read_parquet('{url}/*/*.parquet', hive_partitioning = true) where year = 2025"
        assert database.execute(f"select tag from {where}").fetchall() == [("c",)]

    def test_copies(self, database: duckdb.DuckDBPyConnection, base: str, raw: Place) -> None:
        database.execute(f"copy (select 1 as n) to '{base}/out/x.csv' (header)")
        assert raw.get("out/x.csv") == b"n\n1\n"
        database.execute(
            f"copy (select range as n from range(1000)) to '{base}/out/x.parquet' (format parquet)"
        )
        assert database.execute(f"select count(*) from '{base}/out/x.parquet'").fetchone() == (1000,)

    @pytest.mark.parametrize(
        "how", ["partition_by (x)", "partition_by (x), append", "per_thread_output", "file_size_bytes 10"]
    )
    @pytest.mark.parametrize("form", ["csv", "parquet"])
    def test_copies_into_a_new_directory(
        self, database: duckdb.DuckDBPyConnection, base: str, form: str, how: str
    ) -> None:
        if OLD_DUCKDB and form == "csv" and "file_size" in how:
            pytest.skip("DuckDB before 2.0 drops the first of these files without closing it")
        database.execute("create table t as select range as n, range % 3 as x from range(100)")
        target = f"{base}/new/deep"
        database.execute(f"copy t to '{target}' (format {form}, {how})")
        pattern = f"{target}/*/*.{form}" if "partition" in how else f"{target}/*.{form}"
        query = f"select sum(n), count(*) from read_{form}('{pattern}')"
        assert database.execute(query).fetchall() == [(4950, 100)]
        # Before 2.0 DuckDB joins a directory's path and the whole path of a directory listed in it.
        if "append" not in how and not (OLD_DUCKDB and "partition" in how):
            with pytest.raises(duckdb.IOException, match="not empty"):
                database.execute(f"copy t to '{target}' (format {form}, {how})")
            database.execute(f"copy t to '{target}' (format {form}, {how}, overwrite)")
            assert database.execute(query).fetchall() == [(4950, 100)]

    @pytest.mark.parametrize("form", ["csv", "parquet"])
    def test_a_database_in_a_transaction(
        self, database: duckdb.DuckDBPyConnection, fs: RegistryFileSystem, base: str, form: str
    ) -> None:
        database.execute("create table t as select range as n from range(100); create view v as from t")
        with fs.transaction:
            database.execute(f"export database '{base}/all' (format {form})")
        with duckdb.connect() as other:
            other.register_filesystem(fs)
            other.execute(f"import database '{base}/all'")
            assert other.execute("select sum(n) from v").fetchall() == [(4950,)]

    def test_a_database_without_one_is_loud(
        self, database: duckdb.DuckDBPyConnection, fs: RegistryFileSystem, base: str
    ) -> None:
        """DuckDB closes neither of two of its files, and nobody else can."""
        database.execute("create table t as select 1 as n")
        with pytest.warns(ResourceWarning) as warned:
            database.execute(f"export database '{base}/all'")
        lost = [str(entry.message).split()[0] for entry in warned if "never closed" in str(entry.message)]
        assert lost == [f"{base}/all/schema.sql", f"{base}/all/load.sql"]
        assert fs.find("/all") == ["/all/t.csv"]

    def test_what_is_not_there(self, database: duckdb.DuckDBPyConnection, base: str) -> None:
        with pytest.raises((duckdb.Error, FileNotFoundError)):
            database.execute(f"select * from read_parquet('{base}/nope.parquet')").fetchall()


def test_gzip_module_over_an_open_file(fs: RegistryFileSystem, raw: Place) -> None:
    with fs.open("/x.gz", "wb") as file, gzip.open(file, "wt") as text:
        text.write("hello")
    assert gzip.decompress(raw.get("x.gz")) == b"hello"
