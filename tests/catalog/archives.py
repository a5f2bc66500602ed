"""Layers as tar archives, and the files of an image that is made of them."""

from __future__ import annotations

import io
import tarfile
from typing import Any

from support.memory import MemoryDriver

from regfs.catalog.manifest import Reference
from regfs.catalog.rootfs import RootFilesystem
from regfs.catalog.source import Source
from regfs.layout import BlobData, Digest

DIRECTORY: dict[str, Any] = {"type": tarfile.DIRTYPE, "mode": 0o755}
LAYER = "application/vnd.oci.image.layer.v1.tar"


def tar(*members: tuple[str, dict[str, Any], bytes], form: int = tarfile.PAX_FORMAT) -> bytes:
    """Make an archive of members: name, attributes of the header, content."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as archive:
        for name, attributes, content in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            for key, value in attributes.items():
                setattr(member, key, value)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def files(**contents: bytes) -> bytes:
    """Make an archive of files in the root."""
    return tar(*((name, {}, content) for name, content in contents.items()))


def symlink(target: str) -> dict[str, Any]:
    return {"type": tarfile.SYMTYPE, "linkname": target}


def hardlink(target: str) -> dict[str, Any]:
    return {"type": tarfile.LNKTYPE, "linkname": target}


def stored(content: bytes, digest: Digest | None = None) -> tuple[Source, Digest]:
    """Store a blob in a registry of its own, perhaps under a digest that is not its own."""
    driver = MemoryDriver()
    digest = digest or Digest.of(content)
    driver.put_content(BlobData(digest).path, content)
    return Source(driver), digest


class CountingSource(Source):
    """A source that notes which files are opened."""

    def __init__(self, beneath: Any) -> None:
        super().__init__(beneath)
        self.opened: list[str] = []

    def open(self, path: str) -> Any:
        self.opened.append(path)
        return super().open(path)


def rootfs_of(*layers: bytes, media_type: str = LAYER) -> RootFilesystem:
    """Return the files of an image of these layers, lowest first; :func:`read_layers` tells what it read."""
    driver = MemoryDriver()
    for layer in layers:
        driver.put_content(BlobData(Digest.of(layer)).path, layer)
    references = [Reference("layer", Digest.of(layer), len(layer), media_type) for layer in layers]
    return RootFilesystem(CountingSource(driver), "team/app:v1", references)


def read_layers(rootfs: RootFilesystem) -> list[int]:
    """Return the numbers of the layers that were read, in the order in which they were."""
    assert isinstance(rootfs.source, CountingSource)
    numbers = {BlobData(layer.digest).path: number for number, layer in enumerate(rootfs.layers, 1)}
    return [numbers[path] for path in rootfs.source.opened]
