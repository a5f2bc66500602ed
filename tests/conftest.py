"""Fixtures of every test: two S3 servers, an empty place on one of them, and a proxy that counts.

A test that only needs S3 takes ``options`` (and ``raw`` to look behind regfs). It runs on SeaweedFS, and on
moto as well with ``-m again``; modules about what servers may differ in run on both (``both_servers``). One
that needs a certain server says so: ``@pytest.mark.parametrize("server", ["moto"], indirect=True)``.

Places are root directories of one bucket per worker, not buckets of their own: on SeaweedFS the first
put into a new bucket takes 0.2 s (it makes a volume; later ones take 5 ms), and the hundredth bucket in use
at a time gets none and answers 500. Deleting a bucket gives its volume back, so ``bucket`` is there for
the tests that are about whole buckets.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from typing import TYPE_CHECKING, Any

import pytest
from support.proxy import CountingProxy
from support.servers import Broker, Place, RemoteServers, Server, Servers, Source, fresh_place

if TYPE_CHECKING:
    from collections.abc import Iterator

_SOURCE = pytest.StashKey[Source]()
_SERVERS = pytest.StashKey[Servers]()
_BROKER = pytest.StashKey[Broker]()


def pytest_configure(config: pytest.Config) -> None:
    """Shut out the user's own settings; prepare the servers, which start when first asked for."""
    for name in list(os.environ):
        if name.startswith(("AWS_", "REGISTRY_", "REGFS_", "FSSPEC_")) or name.lower().endswith("_proxy"):
            del os.environ[name]
    os.environ.pop("REQUESTS_CA_BUNDLE", None)  # botocore reads it
    os.environ["AWS_CONFIG_FILE"] = os.environ["AWS_SHARED_CREDENTIALS_FILE"] = os.devnull
    os.environ["AWS_EC2_METADATA_DISABLED"] = "true"
    worker = getattr(config, "workerinput", None)
    if worker is not None:
        config.stash[_SOURCE] = RemoteServers(worker["regfs_servers"])
    else:
        config.stash[_SERVERS] = config.stash[_SOURCE] = Servers()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell a pytest-xdist worker where to ask for the servers."""
    stash = node.config.stash
    if _BROKER not in stash:
        stash[_BROKER] = Broker(stash[_SERVERS])
    node.workerinput["regfs_servers"] = stash[_BROKER].ticket


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stop the servers."""
    if _BROKER in config.stash:
        config.stash[_BROKER].close()
    if _SERVERS in config.stash:
        config.stash[_SERVERS].stop()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what runs on moto though SeaweedFS shows it as well, and is not about what servers differ in."""
    ids = {item.nodeid for item in items}
    for item in items:
        if "moto" in item.nodeid and not item.get_closest_marker("both_servers"):
            parameters = getattr(item, "callspec", None)
            twin = item.nodeid.replace("moto", "seaweedfs")
            if parameters and parameters.params.get("server") == "moto" and twin in ids:
                item.add_marker("again")


@pytest.fixture(scope="session")
def seaweedfs(pytestconfig: pytest.Config) -> Server:
    """The real thing: verifies signatures, lists in tree order."""
    return pytestconfig.stash[_SOURCE].get("seaweedfs")


@pytest.fixture(scope="session")
def moto(pytestconfig: pytest.Config) -> Server:
    """The mock: byte-ordered listings, KMS and ACLs, deleted prefixes gone at once; verifies nothing."""
    return pytestconfig.stash[_SOURCE].get("moto")


@pytest.fixture(scope="session", params=["seaweedfs", "moto"])
def server(request: pytest.FixtureRequest, pytestconfig: pytest.Config) -> Server:
    """Each of the two servers in turn."""
    return pytestconfig.stash[_SOURCE].get(request.param)


@pytest.fixture(scope="session")
def s3(server: Server) -> Iterator[Any]:
    """A plain boto3 client of the server."""
    with contextlib.closing(server.client()) as client:
        yield client


@pytest.fixture(scope="session")
def worker_bucket(server: Server) -> Iterator[str]:
    """The bucket of this worker's places; for `servers.fresh_place` in fixtures of a wider scope."""
    name = server.make_bucket()
    yield name
    server.remove_bucket(name)


@pytest.fixture
def bucket(server: Server) -> Iterator[str]:
    """A fresh bucket, gone after the test; for tests about buckets. The others take ``options``."""
    name = server.make_bucket()
    yield name
    server.remove_bucket(name)


@pytest.fixture
def raw(server: Server, s3: Any, worker_bucket: str) -> Iterator[Place]:
    """The place of ``options``, seen with raw boto3; it is cleaned after the test."""
    with fresh_place(server, s3, worker_bucket) as place:
        yield place


@pytest.fixture
def options(raw: Place) -> dict[str, Any]:
    """The storage options of an empty place with a root directory of its own."""
    return raw.options


@pytest.fixture
def proxy(server: Server) -> Iterator[CountingProxy]:
    """A proxy before the server that counts requests and can answer in its place."""
    counting = CountingProxy(server.endpoint)
    yield counting
    counting.close()


@pytest.fixture
def proxied_options(options: dict[str, Any], proxy: CountingProxy) -> dict[str, Any]:
    """The same place as ``options``, reached through ``proxy``."""
    return {**options, "regionendpoint": proxy.endpoint}


@pytest.fixture(autouse=True)
def _forget_filesystems() -> Iterator[None]:
    """Let fsspec forget the instances it keeps for ever, each with its connections."""
    yield
    loaded = sys.modules.get("regfs.filesystem.spec")
    if loaded is not None:
        loaded.RegistryFileSystem.clear_instance_cache()


@pytest.fixture(autouse=True)
def _restore_log_level() -> Iterator[None]:
    """Set the logger's level back: a filesystem with ``loglevel`` lowers it for the whole process."""
    logger = logging.getLogger("regfs")
    level = logger.level
    yield
    logger.setLevel(level)
