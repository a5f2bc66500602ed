"""The same tables by many processes: on a cluster of two, and of generated registries."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dask
import dask.dataframe
import pandas as pd
import pytest
from catalog.registry_tree import Files, in_memory, trees
from catalog.varied import store
from distributed import Client, LocalCluster
from hypothesis import HealthCheck, given, settings
from support.servers import fresh_place

import regfs
from regfs.catalog import Catalog
from regfs.frames import DaskFrames, Frames
from regfs.frames.schemas import CATALOG
from regfs.image import build_image, store_image
from regfs.layout import BLOBS, DATABASE_LOCK, REPOSITORIES

if TYPE_CHECKING:
    from support.proxy import CountingProxy
    from support.servers import Place, Server

# Parts of dask and distributed have no types.
start_cluster: Any = LocalCluster
connect: Any = Client
compute: Any = dask.compute  # type: ignore[attr-defined]  # dask exports it untold

ON_SEAWEEDFS = pytest.mark.parametrize("server", ["seaweedfs"], indirect=True)
pytestmark = [
    # dask still calls set_index and reset_index so, which pandas 3.1 warns of.
    pytest.mark.filterwarnings("ignore:The inplace keyword in DataFrame:DeprecationWarning"),
]
HERE = partial(dask.config.set, {"scheduler": "threads", "dataframe.shuffle.method": "tasks"})
BY_DIGEST = {"blobs", "manifests", "references"}


@pytest.fixture(scope="module")
def place(server: Server, s3: Any, worker_bucket: str) -> Iterator[Place]:
    """The varied registry; nobody writes into its tree."""
    with fresh_place(server, s3, worker_bucket) as place:
        store(regfs.create("s3", {**place.options, "chunksize": 5 * 2**20}))
        yield place


@pytest.fixture(scope="module")
def cluster() -> Iterator[Client]:
    """Two worker processes."""
    with (
        start_cluster(
            n_workers=2,
            threads_per_worker=2,
            processes=True,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
        ) as local,
        connect(local) as client,
    ):
        yield client


def settled(table: Any, wanted: Any, name: str) -> Any:
    """Bring a computed table into the order of the wanted one; its categories are those that occur."""
    table = table.copy()
    for column in wanted.select_dtypes("category"):
        assert set(table[column].cat.categories) <= set(wanted[column].cat.categories), column
        table[column] = table[column].cat.set_categories(wanted[column].cat.categories)
    if name not in BY_DIGEST:  # these are in order
        table = table.sort_values(list(table.columns))
    return table.reset_index(drop=True)


def assert_same(frames: Frames, parts: dict[str, Any], computed: dict[str, Any]) -> None:
    """Compare tables: columns, dtypes of the lazy and of the computed one, and every row."""
    for name, table in computed.items():
        wanted = frames[name]
        lazy = parts[name].dtypes
        assert list(lazy.index) == list(wanted.columns)
        assert [str(item) for item in lazy] == [str(dtype) for dtype in table.dtypes]
        assert [str(item) for item in lazy] == [str(dtype) for dtype in wanted.dtypes]
        if name == "uploads":  # the ages are those of two looks
            begun = frames.catalog.snapshot.started
            assert ((table["started"] + table["age"] - begun).abs() < pd.Timedelta("5min")).all()
            table, wanted = table.drop(columns="age"), wanted.drop(columns="age")
        if name not in BY_DIGEST:
            wanted = settled(wanted, wanted, name)
        pd.testing.assert_frame_equal(settled(table, wanted, name), wanted)


def parts_of(frames: DaskFrames) -> dict[str, Any]:
    return {name: getattr(frames, name) for name in CATALOG}


def compute_all(parts: dict[str, Any]) -> dict[str, Any]:
    return dict(zip(parts, compute(*parts.values()), strict=True))


@ON_SEAWEEDFS
@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
class TestOnACluster:
    @pytest.mark.parametrize("npartitions", [pytest.param(1, marks=pytest.mark.again), 7])
    @pytest.mark.parametrize("face", ["filesystem", "driver", "catalog"])
    def test_every_table_is_the_same(self, place: Place, npartitions: int, face: str) -> None:
        driver = regfs.create("s3", place.options)
        frames = Frames(Catalog(driver))
        given = {"filesystem": driver.fs, "driver": driver, "catalog": frames.catalog}[face]
        parts = parts_of(DaskFrames(given, npartitions))
        assert parts["blobs"].npartitions == parts["manifests"].npartitions == npartitions
        assert parts["tags"].npartitions == npartitions
        assert_same(frames, parts, compute_all(parts))

    def test_one_at_a_time(self, place: Place) -> None:
        driver = regfs.create("s3", place.options)
        parts = parts_of(DaskFrames(driver, 3))
        assert_same(Frames(Catalog(driver)), parts, {name: one.compute() for name, one in parts.items()})

    def test_partitions_are_of_digests_that_begin_alike(self, place: Place) -> None:
        blobs = DaskFrames(regfs.create("s3", place.options), 4).blobs
        parts = compute(*blobs.partitions)
        starts = [{item[7] for item in part["digest"] if item.startswith("sha256")} for part in parts]
        for quarter, found in zip(("0123", "4567", "89ab", "cdef"), starts, strict=True):
            assert found <= set(quarter)
        assert [item.partition(":")[0] for item in parts[0]["digest"]][:2] == ["blake3", "sha256"]
        assert parts[3]["digest"].iloc[-1].startswith("sha512:")

    def test_what_dask_makes_of_them(self, place: Place, tmp_path: Path) -> None:
        driver = regfs.create("s3", place.options)
        lazy, frames = DaskFrames(driver, 4), Frames(Catalog(driver))
        layers = lazy.references.query("relation == 'layer'").merge(lazy.blobs, on="digest", how="inner")
        wanted = frames.references.query("relation == 'layer'").merge(frames.blobs, on="digest")
        assert int(layers["size_y"].sum().compute()) == wanted["size_y"].sum()
        by_repository = lazy.links.groupby("repository", observed=True)["size"].sum().compute()
        expected = frames.links.groupby("repository", observed=True)["size"].sum()
        assert by_repository.sort_index().to_dict() == expected.to_dict()
        lazy.blobs.to_parquet(tmp_path / "blobs")
        assert int(pd.read_parquet(tmp_path / "blobs")["size"].sum()) == frames.blobs["size"].sum()

    def test_a_failure_in_a_worker_is_told(self, place: Place) -> None:
        fs = regfs.RegistryFileSystem(**place.options)
        frames = DaskFrames(fs, 2)
        lazy = frames.blobs
        frames = DaskFrames(regfs.RegistryFileSystem(**{**place.options, "secretkey": "wrong"}), 2)
        with pytest.raises(PermissionError):
            _ = frames.blobs
        assert len(lazy) > 0


@ON_SEAWEEDFS
class TestReading:
    def test_only_directories_until_something_is_computed(
        self, proxied_options: dict[str, Any], proxy: CountingProxy
    ) -> None:
        driver = regfs.create("s3", proxied_options)
        store(driver, uploads=False)
        proxy.clear()
        frames = DaskFrames(driver, 2)
        assert proxy.count() == 0
        parts = parts_of(frames)
        # Eight directories are wanted: so those that are directly in repositories/ are listed as well.
        base = proxied_options["rootdirectory"] + REPOSITORIES
        names = ("", "/broken", "/multi", "/old", "/other", "/pushing", "/team")
        lock = proxy.requests.pop(0)
        assert (lock.method, lock.path.endswith(DATABASE_LOCK)) == ("HEAD", True)
        listed = [request.query["prefix"].rstrip("/") for request in proxy.requests]
        assert sorted(listed) == [f"{base.strip('/')}{name}" for name in names]
        assert {request.query["delimiter"] for request in proxy.requests} == {"/"}
        proxy.clear()
        with HERE():
            computed = compute_all(parts)
        gets = [request.path for request in proxy.requests if request.method == "GET" and not request.query]
        read = [path for path in gets if BLOBS in path]
        assert len(read) == len(set(read)), "a blob was read twice"
        images = computed["manifests"].query("kind == 'image'")
        manifests = computed["manifests"]
        small = manifests[manifests["size"] < 2**22]
        assert len(read) == len(small) + images["config"].nunique()

    def test_each_object_reads_anew(self, options: dict[str, Any]) -> None:
        driver = regfs.create("s3", options)
        store_image(driver, build_image([{"a": b"1"}]), "one", "v1")
        with HERE():
            assert len(DaskFrames(driver, 2).tags) == 1
            store_image(driver, build_image([{"a": b"2"}]), "one", "v2")
            assert len(DaskFrames(driver, 2).tags) == 2

    @pytest.mark.parametrize("npartitions", [1, 3, 20])
    def test_a_registry_without_manifests(self, raw: Place, npartitions: int) -> None:
        raw.put("docker/registry/v2/repositories/a/b/_uploads/1/startedat", b"2026-11-01T10:00:00Z")
        driver = regfs.create("s3", raw.options)
        parts = parts_of(DaskFrames(driver, npartitions))
        with HERE():
            assert_same(Frames(Catalog(driver)), parts, compute_all(parts))

    def test_one_without_repositories(self, raw: Place) -> None:
        raw.put(f"{BLOBS[1:]}/sha256/ab/{'ab' * 32}/data", b"some")
        driver = regfs.create("s3", raw.options)
        parts = parts_of(DaskFrames(driver, 2))
        with HERE():
            assert_same(Frames(Catalog(driver)), parts, compute_all(parts))

    def test_where_there_is_no_registry(self, options: dict[str, Any]) -> None:
        frames = DaskFrames(regfs.RegistryFileSystem(**options))
        with pytest.raises(FileNotFoundError, match="no registry lies there"):
            _ = frames.blobs

    def test_bad_arguments(self, options: dict[str, Any]) -> None:
        fs = regfs.RegistryFileSystem(**options)
        for npartitions in (0, 257):
            with pytest.raises(ValueError, match=f"npartitions {npartitions}: must be 1 to 256"):
                DaskFrames(fs, npartitions)
        with pytest.raises(
            TypeError, match="a catalog needs an fsspec filesystem, its URL, a storage driver"
        ):
            DaskFrames(object())
        with pytest.raises(KeyError, match="growth: no such frame; there are repositories"):
            DaskFrames(fs)["growth"]

    def test_credentials_of_the_environment_do_not_travel(
        self, place: Place, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        options = place.options
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", options["accesskey"])
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", options["secretkey"])
        bare = {name: one for name, one in options.items() if name not in ("accesskey", "secretkey")}
        parts = parts_of(DaskFrames(regfs.RegistryFileSystem(**bare), 2))
        for part in parts.values():
            graph = pickle.dumps(dict(part.dask))
            assert options["accesskey"].encode() not in graph
            assert options["secretkey"].encode() not in graph
        with (
            start_cluster(
                n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address="127.0.0.1:0"
            ) as local,
            connect(local),
        ):  # its processes are begun now, with this environment
            assert_same(Frames(Catalog(regfs.create("s3", bare))), parts, compute_all(parts))


@settings(deadline=None, max_examples=12, suppress_health_check=list(HealthCheck))
@given(trees())
def test_of_any_registry(files: Files) -> None:
    if not files:
        return
    with in_memory(files) as fs, HERE():
        frames = DaskFrames(fs, 3)
        assert_same(Frames(Catalog(fs)), parts := parts_of(frames), compute_all(parts))
