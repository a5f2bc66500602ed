"""A small registry in which nearly everything occurs that a table has a column or a special case for."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from regfs.catalog.manifest import DOCKER_LIST, LARGEST, OCI_INDEX, OCI_MANIFEST
from regfs.image import Image, build_image
from regfs.layout import (
    BlobData,
    Digest,
    LayerLink,
    ManifestRevisionLink,
    SignatureLink,
    TagCurrentLink,
    TagIndexLink,
    UploadData,
    UploadStartedAt,
    link_content,
)

if TYPE_CHECKING:
    from regfs.driver import StorageDriver

CREATED = datetime(2025, 3, 1, 12, tzinfo=timezone.utc)


class Tree:
    """Files of a registry, by driver path."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}

    def blob(self, data: bytes) -> Digest:
        digest = Digest.of(data)
        self.files[BlobData(digest).path] = data
        return digest

    def manifest(self, repository: str, document: Mapping[str, Any] | bytes, *tags: str) -> Digest:
        """Store a manifest as a revision, and let tags name it."""
        data = document if isinstance(document, bytes) else json.dumps(document).encode()
        digest = self.blob(data)
        self.link(ManifestRevisionLink(repository, digest).path, digest)
        for tag in tags:
            self.link(TagIndexLink(repository, tag, digest).path, digest)
            self.link(TagCurrentLink(repository, tag).path, digest)
        return digest

    def link(self, path: str, digest: Digest) -> None:
        self.files[path] = link_content(digest)

    def image(self, repository: str, image: Image, *tags: str) -> Digest:
        for data in (*image.layers, image.config):
            self.link(LayerLink(repository, self.blob(data)).path, Digest.of(data))
        return self.manifest(repository, image.manifest, *tags)


def described(digest: Digest, size: int, media_type: str = OCI_MANIFEST, **more: Any) -> dict[str, Any]:
    """Return a descriptor."""
    return {"mediaType": media_type, "digest": str(digest), "size": size, **more}


def tree() -> Tree:
    """Make the files."""
    made = Tree()
    base = {"etc/base": b"base" * 500}
    for number in range(6):
        image = build_image(
            [base, {f"app{number}": b"%d" % number * 700}],
            created=CREATED.replace(month=number + 1),
            labels={"n": str(number)},
        )
        made.image(f"team/app{number % 3}", image, f"1.{number}", "latest")
    made.image("other", build_image([base]), "base")
    arm = build_image([base], architecture="arm64")
    bare = build_image([{"x": b"x" * 100}], architecture="", os="")
    index: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": OCI_INDEX,
        "annotations": {"ä": "ö", "a": "b"},
        "manifests": [
            described(made.image("multi", arm), len(arm.manifest)),
            # Its configuration does not tell the platform; the index does.
            described(
                made.image("multi", bare),
                len(bare.manifest),
                platform={"os": "linux", "architecture": "arm", "variant": "v7"},
            ),
            described(Digest.of(b"gone"), 4),
        ],
    }
    inner = made.manifest("multi", index, "v1")
    # Other indexes tell another platform of it, or none.
    for platform in ({"os": "linux", "architecture": "arm", "variant": "v6"}, None):
        child = described(bare.manifest_digest, len(bare.manifest), platform=platform)
        made.manifest("multi", {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [child]})
    outer = {"schemaVersion": 2, "mediaType": DOCKER_LIST, "manifests": [described(inner, 1, OCI_INDEX)]}
    made.manifest("multi", outer, "nested")
    cache = [(made.blob(b"cached" * 9), 54, "application/vnd.oci.image.layer.v1.tar+gzip")]
    cache.append((made.blob(b'{"layers":[]}'), 13, "application/vnd.buildkit.cacheconfig.v0"))
    for digest, *_ in cache:
        made.link(LayerLink("multi", digest).path, digest)
    made.manifest(
        "multi",
        {
            "schemaVersion": 2,
            "mediaType": OCI_INDEX,
            "manifests": [described(*item) for item in cache],
        },
        "cache",
    )
    empty = made.blob(b"{}")
    artifact = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "artifactType": "application/x.sbom",
        "config": described(empty, 2, "application/vnd.oci.empty.v1+json"),
        "layers": [described(made.blob(b"sbom"), 4, "text/plain"), described(Digest.of(b"lost"), 4, "")],
        "subject": described(inner, 1, OCI_INDEX),
    }
    made.manifest("multi", artifact)
    lower = made.blob(b"lower" * 9)
    old = {"schemaVersion": 1, "fsLayers": [{"blobSum": str(item)} for item in (lower, Digest.of(b"lost"))]}
    revision = made.manifest("old/schema1", old, "v0")
    made.link(SignatureLink("old/schema1", revision, Digest.of(b"signature")).path, Digest.of(b"signature"))
    made.manifest("broken", b"no JSON", "damaged")
    made.manifest("broken", b" " * (LARGEST + 1))
    made.files[TagCurrentLink("broken", "empty").path] = b""
    made.link(TagIndexLink("broken", "no-current", Digest.of(b"gone")).path, Digest.of(b"gone"))
    made.link(TagCurrentLink("broken", "target-gone").path, Digest.of(b"gone"))
    made.link(ManifestRevisionLink("broken", Digest.of(b"gone")).path, Digest.of(b"gone"))
    made.files[UploadData("pushing", "one").path] = b"some"
    made.files[UploadStartedAt("pushing", "one").path] = b"2026-11-01T10:00:00Z"
    made.blob(b"orphan")
    for algorithm in ("sha512", "blake3"):  # the one stands behind sha256, the other before it
        longer = Digest(algorithm, hashlib.sha512(b"long").hexdigest())
        made.files[BlobData(longer).path] = b"long"
    made.files["/docker/registry/v2/repositories/team/app0/_layers/junk"] = b"junk"
    return made


def store(driver: StorageDriver, *, uploads: bool = True) -> None:
    """Store them, and a pending multipart upload of a repository of which nothing else is there."""
    for path, data in tree().files.items():
        driver.put_content(path, data)
    if uploads:
        writer = driver.writer(UploadData("only/pending", "two").path)
        writer.write(b"z" * 5_300_000)
        writer.close()
