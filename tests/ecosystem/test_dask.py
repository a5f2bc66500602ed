"""Many processes over one bucket: dask on a cluster of two, and multiprocessing by itself."""

from __future__ import annotations

import gzip
import json
import multiprocessing
import os
import pickle
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from operator import methodcaller
from typing import TYPE_CHECKING, Any

import dask
import dask.bag
import dask.dataframe
import fsspec
import pandas as pd
import pytest
from dask.base import tokenize
from distributed import Client, LocalCluster

from regfs import RegistryFileSystem

if TYPE_CHECKING:
    from support.servers import Place

# Parts of dask and distributed have no types.
frames: Any = dask.dataframe
bags: Any = dask.bag
start_cluster: Any = LocalCluster
connect: Any = Client

pytestmark = [
    pytest.mark.parametrize("server", ["seaweedfs"], indirect=True),
    pytest.mark.slow,
    # dask still calls set_index and reset_index so, which pandas 3.1 warns of.
    pytest.mark.filterwarnings("ignore:The inplace keyword in DataFrame:DeprecationWarning"),
]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Client]:
    """Two worker processes, started by dask's nanny with "spawn"."""
    with (
        start_cluster(
            n_workers=2,
            threads_per_worker=2,
            processes=True,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",  # its own default, even for None, is a port that may be taken
        ) as local,
        connect(local) as client,
    ):
        yield client


@pytest.fixture
def base(options: dict[str, Any]) -> str:
    """What the URLs begin with."""
    return f"regfs://{options['bucket']}"


@pytest.fixture
def table() -> pd.DataFrame:
    """Rows enough for several parts."""
    data = {"n": range(4000), "year": [2024, 2025] * 2000, "half": [0.5] * 4000}
    frame: pd.DataFrame = pd.DataFrame(data)
    return frame


@pytest.mark.usefixtures("cluster")
class TestDataFrames:
    def test_parquet(self, table: pd.DataFrame, base: str, options: dict[str, Any], raw: Place) -> None:
        url = f"{base}/set"
        frames.from_pandas(table, npartitions=4).to_parquet(url, storage_options=options)
        assert [key for key in raw.keys() if not key.endswith("_metadata")] == [
            f"set/part.{i}.parquet" for i in range(4)
        ]
        assert raw.uploads() == []
        read = frames.read_parquet(url, storage_options=options)
        assert read.npartitions > 1
        pd.testing.assert_frame_equal(read.compute(), table)
        assert read["n"].sum().compute() == table["n"].sum()

    def test_parquet_by_partition(self, table: pd.DataFrame, base: str, options: dict[str, Any]) -> None:
        url = f"{base}/by-year"
        parts = frames.from_pandas(table, npartitions=2)
        parts.to_parquet(url, partition_on=["year"], storage_options=options)
        read = frames.read_parquet(url, filters=[("year", "==", 2025)], storage_options=options)
        assert int(read["n"].sum().compute()) == table[table["year"] == 2025]["n"].sum()

    @pytest.mark.parametrize("filesystem", ["fsspec", "given"])
    def test_parquet_through_a_filesystem(
        self, table: pd.DataFrame, options: dict[str, Any], filesystem: str
    ) -> None:
        fs = RegistryFileSystem(**options)
        with fs.open("/one.parquet", "wb") as file:
            table.to_parquet(file)
        if filesystem == "given":
            read = frames.read_parquet("/one.parquet", filesystem=fs)
        else:
            read = frames.read_parquet("regfs:///one.parquet", filesystem="fsspec", storage_options=options)
        pd.testing.assert_frame_equal(read.compute(), table)

    def test_overwriting_leaves_only_the_new(
        self, table: pd.DataFrame, base: str, options: dict[str, Any], raw: Place
    ) -> None:
        url = f"{base}/set"
        frames.from_pandas(table, npartitions=3).to_parquet(url, storage_options=options)
        less = table.head(10)
        frames.from_pandas(less, npartitions=1).to_parquet(url, overwrite=True, storage_options=options)
        pd.testing.assert_frame_equal(frames.read_parquet(url, storage_options=options).compute(), less)
        assert "set/part.2.parquet" not in raw.keys()

    def test_csv_in_blocks(self, table: pd.DataFrame, base: str, options: dict[str, Any], raw: Place) -> None:
        raw.put("logs/2024.csv", table.to_csv(index=False).encode())
        raw.put("logs/2025.csv", table.to_csv(index=False).encode())
        read = frames.read_csv(f"{base}/logs/*.csv", blocksize=10_000, storage_options=options)
        assert read.npartitions > 4
        assert len(read) == 2 * len(table)
        assert int(read["n"].sum().compute()) == 2 * table["n"].sum()

    def test_csv_written(self, table: pd.DataFrame, base: str, options: dict[str, Any], raw: Place) -> None:
        parts = frames.from_pandas(table, npartitions=2)
        parts.to_csv(f"{base}/out/part-*.csv.gz", index=False, compression="gzip", storage_options=options)
        assert raw.keys() == ["out/part-0.csv.gz", "out/part-1.csv.gz"]
        assert gzip.decompress(raw.get("out/part-0.csv.gz")).startswith(b"n,year,half\n0,2024,0.5\n")

    def test_a_missing_file_is_not_its_own_cause(self, options: dict[str, Any]) -> None:
        # distributed pickles an error with its causes: one that causes itself fills a worker's memory.
        fs = RegistryFileSystem(**options)
        for use in (fs.cat_file, fs.open, fs.info):
            with pytest.raises(FileNotFoundError) as caught:
                use("/nope")
            assert caught.value.__cause__ is not caught.value
            assert len(pickle.dumps(caught.value)) < 100_000

    @pytest.mark.timeout(20)
    def test_an_error_comes_back_from_a_worker(self, options: dict[str, Any], cluster: Client) -> None:
        fs = RegistryFileSystem(**options)
        with pytest.raises(FileNotFoundError) as caught:
            cluster.submit(methodcaller("cat_file", "/nope"), fs, pure=False).result()
        assert caught.value.filename == fs.unstrip_protocol("/nope")
        with pytest.raises(PermissionError):
            wrong = RegistryFileSystem(**{**options, "secretkey": "wrong"})
            cluster.submit(methodcaller("cat_file", "/nope"), wrong, pure=False).result()

    def test_both_processes_share_one_filesystem(self, options: dict[str, Any], cluster: Client) -> None:
        fs = RegistryFileSystem(**options)
        workers = list(cluster.scheduler_info()["workers"])
        assert len(workers) == len(set(cluster.run(os.getpid).values())) == 2
        for worker in workers:
            write = methodcaller("pipe_file", f"/from-{worker[-5:]}", b"1")
            cluster.submit(write, fs, workers=worker, pure=False).result()
        assert len(fs.ls("/")) == 2

    def test_an_open_file_goes_to_a_worker(self, options: dict[str, Any], cluster: Client) -> None:
        RegistryFileSystem(**options).pipe_file("/x", b"0123456789")
        opened = fsspec.open("regfs:///x", **options)
        assert cluster.submit(_read, opened, pure=False).result() == b"0123456789"


def _read(opened: Any) -> bytes:
    with opened as file:
        data: bytes = file.read()
    return data


@pytest.mark.usefixtures("cluster")
class TestBags:
    @pytest.mark.parametrize("compression", ["infer", "gzip"])
    def test_text(self, base: str, options: dict[str, Any], raw: Place, compression: str) -> None:
        for i in range(3):
            raw.put(f"logs/{i}.txt.gz", gzip.compress(f"first {i}\nsecond {i}\n".encode()))
        lines = bags.read_text(f"{base}/logs/*.gz", compression=compression, storage_options=options)
        assert lines.npartitions == 3
        assert lines.str.strip().compute() == [
            f"{word} {i}" for i in range(3) for word in ("first", "second")
        ]

    def test_text_in_blocks(self, base: str, options: dict[str, Any], raw: Place) -> None:
        wanted = [f"line {i}\n" for i in range(3000)]
        raw.put("x.txt", "".join(wanted).encode())
        lines = bags.read_text(f"{base}/x.txt", blocksize=4096, storage_options=options)
        assert lines.npartitions > 3
        assert lines.compute() == wanted

    def test_text_written(self, base: str, options: dict[str, Any], raw: Place) -> None:
        bag = bags.from_sequence(["a", "b", "c", "d"], npartitions=2)
        bag.to_textfiles(f"{base}/out/*.txt", storage_options=options)
        assert [raw.get(key).split() for key in raw.keys()] == [[b"a", b"b"], [b"c", b"d"]]


@pytest.mark.parametrize("method", ["fork", "spawn"])
# Python 3.12 warns of a fork in a process with threads, which every program with fsspec is.
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
class TestMultiprocessing:
    def test_a_filesystem_in_each_child(self, options: dict[str, Any], method: str) -> None:
        fs = RegistryFileSystem(**options)
        fs.pipe_file("/given", b"from the parent")  # its connections and its loop are in use already
        with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context(method)) as pool:
            assert pool.submit(os.getpid).result() != os.getpid()
            assert list(pool.map(methodcaller("cat_file", "/given"), [fs] * 4)) == [b"from the parent"] * 4
            pool.submit(methodcaller("pipe_file", "/from/child", b"from a child"), fs).result()
            error = pool.submit(methodcaller("cat_file", "/nope"), fs).exception()
        assert fs.cat_file("/from/child") == b"from a child"
        assert isinstance(error, FileNotFoundError)
        assert error.filename == fs.unstrip_protocol("/nope")


def _cat(fs: RegistryFileSystem, path: str, results: Any) -> None:
    results.put(fs.cat_file(path))


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")  # as above
def test_a_forked_child_uses_the_parents_object_itself(options: dict[str, Any]) -> None:
    fs = RegistryFileSystem(**options)
    fs.pipe_file("/x", b"1")
    context = multiprocessing.get_context("fork")
    results = context.SimpleQueue()
    children = [context.Process(target=_cat, args=(fs, "/x", results)) for _ in range(2)]
    for child in children:
        child.start()
    for child in children:
        child.join(30)
        assert child.exitcode == 0
    assert [results.get(), results.get()] == [b"1", b"1"]
    assert fs.cat_file("/x") == b"1"


class TestSecrets:
    """Credentials of the environment stay in it; each process finds its own."""

    @pytest.fixture
    def bare(self, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
        """The options without keys, which are in the environment instead."""
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", options["accesskey"])
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", options["secretkey"])
        return {k: v for k, v in options.items() if k not in ("accesskey", "secretkey")}

    def test_they_do_not_travel(self, bare: dict[str, Any], options: dict[str, Any]) -> None:
        fs = RegistryFileSystem(**bare)
        fs.pipe_file("/x", b"1")  # now they have been used
        with fs.open("/x") as file:
            travelling = [pickle.dumps(fs), pickle.dumps(file), fs.to_json().encode()]
        travelling += [
            pickle.dumps(fsspec.open("regfs:///x", **bare)),
            pickle.dumps(fs.get_mapper("/")),
            json.dumps(fs.to_dict()).encode(),
            json.dumps(fs.storage_options).encode(),
            repr((fs, fs.storage_options, fs.parameters, fs.fsid, fs._fs_token)).encode(),
            repr((tokenize(fs), tokenize(fs.storage_options), fs.__dask_tokenize__())).encode(),
        ]
        for data in travelling:
            assert options["accesskey"].encode() not in data
            assert options["secretkey"].encode() not in data

    def test_the_copy_works_where_they_are(self, bare: dict[str, Any]) -> None:
        fs = RegistryFileSystem(**bare)
        fs.pipe_file("/x", b"1")
        travelling = pickle.dumps(fs)
        RegistryFileSystem.clear_instance_cache()
        assert pickle.loads(travelling).cat_file("/x") == b"1"

    def test_and_nowhere_else(self, bare: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
        fs = RegistryFileSystem(**bare)
        fs.pipe_file("/x", b"1")
        travelling = pickle.dumps(fs)
        RegistryFileSystem.clear_instance_cache()
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
        with pytest.raises(PermissionError, match="no credentials"):
            pickle.loads(travelling).cat_file("/x")

    def test_a_dask_graph_carries_none(
        self, bare: dict[str, Any], options: dict[str, Any], table: pd.DataFrame
    ) -> None:
        with dask.config.set(scheduler="sync"):  # the cluster's workers have another environment
            frames.from_pandas(table, npartitions=2).to_parquet("regfs:///set", storage_options=bare)
        read = frames.read_parquet("regfs:///set", filesystem="fsspec", storage_options=bare)
        for data in (pickle.dumps(read), pickle.dumps(dict(read.dask))):
            assert options["accesskey"].encode() not in data
            assert options["secretkey"].encode() not in data
        with dask.config.set(scheduler="sync"):
            assert len(read) == len(table)

    def test_tokens_tell_places_apart(self, options: dict[str, Any]) -> None:
        here = RegistryFileSystem(**options)
        again = pickle.loads(pickle.dumps(here))
        elsewhere = RegistryFileSystem(**{**options, "rootdirectory": "/elsewhere"})
        assert tokenize(here) == tokenize(again)
        assert tokenize(here) != tokenize(elsewhere)
