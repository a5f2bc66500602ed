"""zarr's own suite for stores, and its random machines, through ``zarr.storage.FsspecStore``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

pytest.importorskip("zarr", minversion="3", reason="zarr 3 needs Python 3.11")

import zarr
from upath import UPath
from zarr.api.asynchronous import open_group
from zarr.core.buffer import Buffer, cpu
from zarr.core.sync import sync
from zarr.storage import FsspecStore
from zarr.testing.stateful import ZarrHierarchyStateMachine, ZarrStoreStateMachine
from zarr.testing.store import StoreTests

from regfs import RegistryFileSystem

if TYPE_CHECKING:
    from support.servers import Place


@pytest.fixture
def fs(options: dict[str, Any]) -> Iterator[RegistryFileSystem]:
    """For zarr's coroutines; whatever zarr's own loop has opened is closed there."""
    yield RegistryFileSystem(**options, asynchronous=True)
    for fs in list(RegistryFileSystem._cache.values()):
        if fs.asynchronous:
            sync(fs.close())


class TestStore(StoreTests[FsspecStore, cpu.Buffer]):
    store_cls = FsspecStore
    buffer_cls = cpu.Buffer

    @pytest.fixture
    def store_kwargs(self, fs: RegistryFileSystem, raw: Place) -> dict[str, Any]:
        self.raw = raw
        return {"fs": fs, "path": "/zarr"}

    @pytest.fixture
    def store(self, open_kwargs: dict[str, Any]) -> FsspecStore:
        store: FsspecStore = sync(self.store_cls.open(**open_kwargs))
        return store

    @pytest.fixture
    def store_not_open(self, store_kwargs: dict[str, Any]) -> FsspecStore:
        return self.store_cls(**store_kwargs)

    async def get(self, store: FsspecStore, key: str) -> Buffer:
        data: Buffer = cpu.Buffer.from_bytes(self.raw.get(f"zarr/{key}"))
        return data

    async def set(self, store: FsspecStore, key: str, value: Buffer) -> None:
        self.raw.put(f"zarr/{key}", value.to_bytes())

    def test_store_repr(self, store: FsspecStore) -> None:
        assert str(store) == "<FsspecStore(RegistryFileSystem, /zarr)>"

    def test_store_supports_writes(self, store: FsspecStore) -> None:
        assert store.supports_writes

    def test_store_supports_listing(self, store: FsspecStore) -> None:
        assert store.supports_listing

    async def test_by_url(self, store: FsspecStore, options: dict[str, Any]) -> None:
        for path, value in (("", 1), ("/deeper", 2)):
            told = {"attributes": {"key": value}, "zarr_format": 3, "node_type": "group"}
            key = f"{path}/zarr.json".lstrip("/")
            await store.set(key, self.buffer_cls.from_bytes(json.dumps(told).encode()))
            url = f"regfs://{options['bucket']}/zarr{path}"
            group = await open_group(store=url, storage_options=options)
            assert dict(group.attrs) == {"key": value}

    async def test_clearing_a_tree(self, store: FsspecStore, raw: Place) -> None:
        for key in ("a/b/1", "a/b/c/2", "a/d", "e", "f/3"):
            await store.set(key, self.buffer_cls.from_bytes(b"1"))
        raw.put("beside", b"")
        await store.clear()
        assert raw.keys() == ["beside"]

    @pytest.mark.usefixtures("fs")  # which closes theirs as well
    def test_by_mapper_and_upath(self, options: dict[str, Any], raw: Place) -> None:
        mapper = RegistryFileSystem(**options).get_mapper("/mapped")
        upath = UPath(f"regfs://{raw.bucket}/upath/", **options, asynchronous=True)
        for store in (FsspecStore.from_mapper(mapper), FsspecStore.from_upath(upath)):
            assert store.fs.asynchronous
            zarr.open_group(store, mode="w").attrs["key"] = 1
            assert dict(zarr.open_group(store, mode="r").attrs) == {"key": 1}
        assert raw.keys() == ["mapped/zarr.json", "upath/zarr.json"]

    @pytest.mark.usefixtures("fs")
    @pytest.mark.parametrize("path", ["", "/deep/er"])
    def test_arrays_by_url(self, options: dict[str, Any], path: str) -> None:
        url = f"regfs://{options['bucket']}{path}"
        numbers = np.arange(100).reshape(10, 10)
        group = zarr.open_group(url, mode="w", storage_options=options)
        group.create_array("x", shape=(10, 10), chunks=(3, 4), dtype="i8")[:] = numbers
        group = zarr.open_group(url, mode="r", storage_options=options)
        assert list(group.keys()) == ["x"]
        array = group["x"]
        assert isinstance(array, zarr.Array)
        assert np.array_equal(np.asarray(array[2:7, 5:]), numbers[2:7, 5:])

    def test_a_blocking_filesystem_is_told_of(self, options: dict[str, Any]) -> None:
        with pytest.warns(UserWarning, match="asynchronous=True"):
            FsspecStore(RegistryFileSystem(**options))

    async def test_an_empty_place(self, store: FsspecStore) -> None:
        assert await store.is_empty("")


@pytest.fixture
def empty(fs: RegistryFileSystem) -> FsspecStore:
    return FsspecStore(fs, path="/zarr")


LIMITS = settings(
    max_examples=8, stateful_step_count=15, deadline=None, suppress_health_check=list(HealthCheck)
)


@pytest.mark.slow
@pytest.mark.parametrize("server", ["seaweedfs"], indirect=True)
def test_random_calls_of_a_store(empty: FsspecStore) -> None:
    class Machine(ZarrStoreStateMachine):
        def __init__(self) -> None:
            super().__init__(empty)

    run_state_machine_as_test(Machine, settings=LIMITS)


@pytest.mark.slow
# SeaweedFS goes on listing a directory for a while after its last file is gone, which the machine looks for.
@pytest.mark.parametrize("server", ["moto"], indirect=True)
@pytest.mark.filterwarnings("ignore::zarr.core.dtype.common.UnstableSpecificationWarning")
def test_random_hierarchies(empty: FsspecStore) -> None:
    class Machine(ZarrHierarchyStateMachine):
        def __init__(self) -> None:
            super().__init__(empty)

    run_state_machine_as_test(Machine, settings=settings(LIMITS, max_examples=4))
