"""A driver on the empty place, and one whose requests are counted."""

from __future__ import annotations

from typing import Any

import pytest
from support.drivers import CHUNK

from regfs import (
    RegistryFileSystem,
    StorageDriver,
)


@pytest.fixture
def driver(options: dict[str, Any]) -> StorageDriver:
    return StorageDriver(RegistryFileSystem(**options, chunksize=CHUNK))


@pytest.fixture
def counted(proxied_options: dict[str, Any]) -> StorageDriver:
    """The driver of the same place whose requests ``proxy`` counts."""
    return StorageDriver(RegistryFileSystem(**proxied_options, chunksize=CHUNK, maxretries=0))
