"""The suite and the random calls on StorageDriver, on both servers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from regfs import RegistryFileSystem, StorageDriver
from regfs.testing import DriverMachine, StorageDriverSuite

if TYPE_CHECKING:
    from support.servers import Place

    from regfs.testing import Driver

pytestmark = pytest.mark.both_servers
CHUNK = 5 * 2**20


class TestStorageDriver(StorageDriverSuite):
    large = CHUNK + 2**20
    many = 150  # more than a page of a listing is test_walk's and test_driver's
    patience = 30  # SeaweedFS lists a directory for 13 to 24 s after its last file is gone

    @pytest.fixture
    def driver(self, raw: Place) -> Driver:
        self.raw = raw
        return StorageDriver(RegistryFileSystem(**raw.options, chunksize=CHUNK))

    def reopen(self, driver: Driver) -> Driver:
        options = {**self.raw.options, "chunksize": CHUNK, "skip_instance_cache": True}
        return StorageDriver(RegistryFileSystem(**options))

    def leftovers(self, driver: Driver) -> list[str]:
        return [*self.raw.keys(), *(f"an upload of {key}" for key, _ in self.raw.uploads())]


def test_random_calls(raw: Place) -> None:
    class Machine(DriverMachine):
        # SeaweedFS goes on listing a directory whose files are gone, and answers 500 where a multipart upload
        # is completed under the name of a directory.
        ghosts = raw.server.name == "seaweedfs"
        overlaps = raw.server.name != "seaweedfs"

        def make_driver(self) -> Driver:
            return StorageDriver(RegistryFileSystem(**raw.options, chunksize=CHUNK))

        def leftovers(self) -> list[str]:
            below = [key for key in raw.keys() if key.startswith(self.root[1:] + "/")]
            return [*below, *(f"an upload of {key}" for key, _ in raw.uploads())]

    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=12,
            stateful_step_count=25,
            deadline=None,
            phases=[Phase.generate],  # to shrink a failure takes minutes here; the calls are printed
            suppress_health_check=list(HealthCheck),
        ),
    )
