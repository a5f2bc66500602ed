"""What a catalog can be read through: each gives a `put` and the object to read through."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
import s3fs
from fsspec.implementations.dirfs import DirFileSystem
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem
from support.memory import MemoryDriver

import regfs

if TYPE_CHECKING:
    from support.servers import Place

ON_S3 = ("filesystem", "driver", "s3fs")
ELSEWHERE = ("memory driver", "memory", "local")


def on_seaweedfs(metafunc: pytest.Metafunc) -> None:
    """Run a module's tests on SeaweedFS alone: how servers differ, the filesystem's own tests show."""
    if "server" in metafunc.fixturenames:
        # A mark, as one alone takes the place of the fixture's own two servers.
        metafunc.definition.add_marker(pytest.mark.parametrize("server", ["seaweedfs"], indirect=True))


class Face(NamedTuple):
    """Where files are put, and what reads them."""

    put: Callable[[str, bytes], object]
    beneath: Any


def foreign(place: Place) -> DirFileSystem:
    """Open a place with s3fs, which keeps listings for as long as it lives."""
    options = place.options
    fs = s3fs.S3FileSystem(
        key=options["accesskey"],
        secret=options["secretkey"],
        endpoint_url=options["regionendpoint"],
        client_kwargs={"region_name": options["region"]},
        skip_instance_cache=True,
    )
    return DirFileSystem(f"{place.bucket}{place.root}", fs)


def on_s3(name: str, place: Place) -> Face:
    """Return one of `ON_S3`."""

    def put(path: str, content: bytes) -> None:
        place.put(path[1:], content)

    if name == "s3fs":
        return Face(put, foreign(place))
    driver = regfs.create("s3", place.options)
    return Face(put, driver if name == "driver" else driver.fs)


@contextlib.contextmanager
def elsewhere(name: str, directory: Path) -> Iterator[Face]:
    """Return one of `ELSEWHERE`."""
    if name == "memory driver":
        driver = MemoryDriver()
        yield Face(driver.put_content, driver)
        return
    inner = LocalFileSystem(auto_mkdir=True) if name == "local" else MemoryFileSystem()
    root = str(directory) if name == "local" else f"/{uuid.uuid4().hex}"
    fs = DirFileSystem(root, inner)
    try:
        yield Face(lambda path, content: fs.pipe_file(path[1:], content), fs)
    finally:
        if name == "memory" and inner.exists(root):
            inner.rm(root, recursive=True)
