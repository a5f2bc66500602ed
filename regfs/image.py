"""Small, real OCI images out of local files, and their way into a registry's storage tree.

For the demo, the notebooks and the tests: no base image and no network is needed. It knows the OCI image
format (https://github.com/opencontainers/image-spec); where things are stored it asks `regfs.layout`, and
it stores them through any object that has a storage driver's ``put_content`` and ``writer``.
"""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path, PurePosixPath
from typing import Any, Protocol, TypeAlias

from regfs.layout import (
    BlobData,
    Digest,
    LayerLink,
    ManifestRevisionLink,
    TagCurrentLink,
    TagIndexLink,
    link_content,
)

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar+gzip"

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)

Layer: TypeAlias = Mapping[str, "bytes | Path"]
"""A layer's files: path in the image, relative to its root → content, or the local file that has it."""


@dataclass(frozen=True)
class Image:
    """An OCI image, whole.

    Parameters
    ----------
    manifest : bytes
        The manifest, as it is stored and hashed.
    config : bytes
        The configuration, likewise.
    layers : tuple of bytes
        The layers, lowest first, each a gzip-compressed tar archive.
    """

    manifest: bytes
    config: bytes
    layers: tuple[bytes, ...]

    @property
    def manifest_digest(self) -> Digest:
        """The digest that names the image."""
        return Digest.of(self.manifest)

    @property
    def config_digest(self) -> Digest:
        """The configuration's digest."""
        return Digest.of(self.config)

    @property
    def layer_digests(self) -> tuple[Digest, ...]:
        """The layers' digests, as the manifest lists them."""
        return tuple(map(Digest.of, self.layers))

    @property
    def blobs(self) -> dict[Digest, bytes]:
        """All that has to be stored, each content once: layers, configuration, and last the manifest."""
        return {Digest.of(blob): blob for blob in (*self.layers, self.config, self.manifest)}


def build_image(
    layers: Iterable[Layer],
    *,
    architecture: str = "amd64",
    os: str = "linux",
    created: datetime = EPOCH,
    entrypoint: Sequence[str] = (),
    cmd: Sequence[str] = (),
    labels: Mapping[str, str] | None = None,
) -> Image:
    """Build an image in memory.

    The same arguments and file contents give the same digests (with one version of zlib, whose compression
    is no standard): owners, modes and times of local files are left out.

    Parameters
    ----------
    layers : iterable of mapping
        The layers, lowest first: each maps paths in the image to bytes or local files.
    architecture, os : str
        The platform, in Go's words (``GOARCH``, ``GOOS``).
    created : datetime
        When the image was made, aware.
    entrypoint, cmd : sequence of str
        What a container of the image runs.
    labels : mapping of str to str, optional
        The image's labels.

    Returns
    -------
    Image
        The image.

    Raises
    ------
    ValueError
        If a path would leave the image, or `created` has no time zone.
    OSError
        If a local file cannot be read.
    """
    if created.tzinfo is None:
        raise ValueError(f"created {created!r}: must carry its time zone")
    when = created.astimezone(timezone.utc).isoformat().replace("+00:00", "Z")
    tars = [_tar(layer) for layer in layers]
    compressed = tuple(map(_gzip, tars))
    runtime = {
        "Entrypoint": list(entrypoint),
        "Cmd": list(cmd),
        "Labels": dict(labels or {}),
    }
    config = _json(
        {
            "created": when,
            "architecture": architecture,
            "os": os,
            "config": {key: value for key, value in runtime.items() if value},
            "rootfs": {"type": "layers", "diff_ids": [str(Digest.of(tar)) for tar in tars]},
            "history": [
                {"created": when, "created_by": f"regfs.image: layer {number}"}
                for number in range(1, len(tars) + 1)
            ],
        }
    )
    manifest = _json(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": _descriptor(CONFIG_TYPE, config),
            "layers": [_descriptor(LAYER_TYPE, layer) for layer in compressed],
        }
    )
    return Image(manifest, config, compressed)


def _descriptor(media_type: str, content: bytes) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": str(Digest.of(content)), "size": len(content)}


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), sort_keys=True).encode()


def _tar(files: Layer) -> bytes:
    directories: set[str] = set()
    for name in files:
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or str(path) != name or name == ".":
            raise ValueError(f"layer file {name!r}: expected a plain path, relative to the image's root")
        directories.update(str(parent) for parent in path.parents if parent.name)
    if clash := directories & files.keys():
        raise ValueError(f"layer file {min(clash)!r}: is also a directory of other files")
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        # Sorted, every directory stands before what is in it.
        for name in sorted(directories | files.keys()):
            member = tarfile.TarInfo(name)
            if name in directories:
                member.type, member.mode = tarfile.DIRTYPE, 0o755
                archive.addfile(member)
            else:
                source = files[name]
                content = source if isinstance(source, bytes) else source.read_bytes()
                member.size, member.mode = len(content), 0o644
                archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def _gzip(data: bytes) -> bytes:
    # Not gzip.compress: what it writes as the operating system depends on the version of Python.
    buffer = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", compresslevel=6, fileobj=buffer, mtime=0) as file:
        file.write(data)
    return buffer.getvalue()


class BlobWriter(Protocol):
    """The part of a storage driver's writer that `store_image` uses."""

    def write(self, data: bytes, /) -> int:
        """Accept bytes."""

    def commit(self) -> None:
        """Publish what was written."""

    def cancel(self) -> None:
        """Drop what was written."""

    def close(self) -> None:
        """End the writer."""


class ContentStore(Protocol):
    """The part of a storage driver that `store_image` uses."""

    def put_content(self, path: str, content: bytes, /) -> None:
        """Store a small file."""

    def writer(self, path: str, /) -> BlobWriter:
        """Open a file for chunked writing."""


def store_image(driver: ContentStore, image: Image, repository: str, tag: str) -> Digest:
    """Store an image as a registry does, so that one on the same bucket serves it by tag and by digest.

    In the registry's own order: what refers to something is written after it. So at
    every moment, and after a crash, a reader finds either the whole image or no trace of it by name.

    Parameters
    ----------
    driver : ContentStore
        The storage driver to write through.
    image : Image
        The image.
    repository, tag : str
        Its name there. A tag that exists is moved.

    Returns
    -------
    Digest
        The manifest's digest.

    Raises
    ------
    ValueError
        If repository or tag break the registry's rules; nothing was written.
    """
    revision = image.manifest_digest
    links = [LayerLink(repository, digest) for digest in (*image.layer_digests, image.config_digest)]
    current = TagCurrentLink(repository, tag)

    for layer in image.layers:
        _write(driver, BlobData(Digest.of(layer)).path, layer)
    driver.put_content(BlobData(image.config_digest).path, image.config)
    for link in dict.fromkeys(links):
        driver.put_content(link.path, link_content(link.digest))
    driver.put_content(BlobData(revision).path, image.manifest)
    for path in (
        ManifestRevisionLink(repository, revision).path,
        TagIndexLink(repository, tag, revision).path,
        current.path,
    ):
        driver.put_content(path, link_content(revision))
    return revision


def _write(driver: ContentStore, path: str, content: bytes) -> None:
    writer = driver.writer(path)
    try:
        writer.write(content)
        writer.commit()
    except BaseException:
        writer.cancel()
        raise
    finally:
        writer.close()
