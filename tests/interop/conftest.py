"""Fixtures of the tests beside a real registry; they run on SeaweedFS, which verifies signatures."""

from __future__ import annotations

import contextlib
import os
import shutil
from typing import TYPE_CHECKING, Any

import pytest
from interop.registry import PROGRAMS, Registry
from support.servers import Place, Server, fresh_place

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def programs() -> None:
    """Skip where the registry cannot run; in CI that would hide a broken job, so there it fails."""
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if not missing:
        return
    reason = f"not installed: {' and '.join(missing)} (Debian's packages of these names)"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def interop_bucket(programs: None, seaweedfs: Server) -> Iterator[str]:
    """The bucket of this worker's interop places."""
    name = seaweedfs.make_bucket()
    yield name
    seaweedfs.remove_bucket(name)


@pytest.fixture
def interop_place(seaweedfs: Server, interop_bucket: str) -> Iterator[Place]:
    """A root directory of the test's own, seen with raw boto3."""
    with (
        contextlib.closing(seaweedfs.client()) as s3,
        fresh_place(seaweedfs, s3, interop_bucket) as place,
    ):
        yield place


@pytest.fixture
def interop_options(interop_place: Place) -> dict[str, Any]:
    """The storage options of `interop_place`, for regfs as for the registry."""
    return interop_place.options


@pytest.fixture
def registry(interop_options: dict[str, Any]) -> Iterator[Registry]:
    """A registry on `interop_place`."""
    with Registry(interop_options) as running:
        yield running
