"""zarr's own suite for stores, and its random machines, through ``zarr.storage.FsspecStore``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

pytest.importorskip("zarr", minversion="3", reason="zarr 3 needs Python 3.11")

from zarr.api.asynchronous import open_group
from zarr.core.buffer import Buffer, cpu
from zarr.core.sync import sync
from zarr.storage import FsspecStore
from zarr.testing.stateful import ZarrHierarchyStateMachine, ZarrStoreStateMachine
from zarr.testing.store import StoreTests

from regfs import RegistryFileSystem


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
    def store_kwargs(self, fs: RegistryFileSystem, options: dict[str, Any]) -> dict[str, Any]:
        self.blocking = RegistryFileSystem(**options)
        return {"fs": fs, "path": "/zarr"}

    @pytest.fixture
    def store(self, store_kwargs: dict[str, Any]) -> FsspecStore:
        return self.store_cls(**store_kwargs)

    @pytest.fixture
    def store_not_open(self, store_kwargs: dict[str, Any]) -> FsspecStore:
        return self.store_cls(**store_kwargs)

    async def get(self, store: FsspecStore, key: str) -> Buffer:
        data: Buffer = cpu.Buffer.from_bytes(self.blocking.cat_file(f"{store.path}/{key}"))
        return data

    async def set(self, store: FsspecStore, key: str, value: Buffer) -> None:
        self.blocking.pipe_file(f"{store.path}/{key}", value.to_bytes())

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
