"""A small registry that the tests of the catalog's verbs look at: known to the byte."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from regfs.catalog.manifest import OCI_INDEX, OCI_MANIFEST
from regfs.image import Image, build_image
from regfs.layout import (
    BlobData,
    Digest,
    LayerLink,
    ManifestRevisionLink,
    TagCurrentLink,
    TagIndexLink,
    UploadStartedAt,
    link_content,
)

if TYPE_CHECKING:
    from regfs.filesystem import RegistryFileSystem

HOSTILE = "<script>alert('x')</script>\x1b[2J\u202e"
CREATED = datetime(2025, 3, 1, 12, tzinfo=timezone.utc)
BASE = {"etc/base": b"base" * 5000, "etc/motd": b"hello\n"}


@dataclass
class Shop:
    """Files by driver path, and the digests of what the tests ask for, by name."""

    files: dict[str, bytes] = field(default_factory=dict)
    digests: dict[str, Digest] = field(default_factory=dict)

    def blob(self, data: bytes) -> Digest:
        digest = Digest.of(data)
        self.files[BlobData(digest).path] = data
        return digest

    def layer(self, repository: str, data: bytes) -> Digest:
        """Store a blob that a repository has a link to."""
        digest = self.blob(data)
        self.files[LayerLink(repository, digest).path] = link_content(digest)
        return digest

    def manifest(self, repository: str, document: Mapping[str, Any] | bytes, *tags: str) -> Digest:
        """Store a manifest as a revision, and let tags name it."""
        data = document if isinstance(document, bytes) else json.dumps(document).encode()
        digest = self.blob(data)
        self.files[ManifestRevisionLink(repository, digest).path] = link_content(digest)
        for tag in tags:
            self.files[TagIndexLink(repository, tag, digest).path] = link_content(digest)
            self.files[TagCurrentLink(repository, tag).path] = link_content(digest)
        return digest

    def image(self, repository: str, image: Image, *tags: str) -> Digest:
        for data in (*image.layers, image.config):
            self.layer(repository, data)
        return self.manifest(repository, image.manifest, *tags)

    def store(self, fs: RegistryFileSystem) -> None:
        """Write all of it."""
        fs.pipe(self.files)


def configured(image: Image, **runtime: Any) -> Image:
    """Return an image another configuration."""
    document = json.loads(image.config)
    document["config"] = {**document["config"], **runtime}
    config = json.dumps(document).encode()
    manifest = json.loads(image.manifest)
    manifest["config"] |= {"digest": str(Digest.of(config)), "size": len(config)}
    return replace(image, config=config, manifest=json.dumps(manifest).encode())


def whited() -> bytes:
    """Make a layer that removes /etc/base and replaces /etc/motd."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in (("etc/.wh.base", b""), ("etc/motd", b"bye\n")):
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), 0o640
            archive.addfile(member, io.BytesIO(content))
        link = tarfile.TarInfo("etc/link")
        link.type, link.linkname = tarfile.SYMTYPE, "motd"
        archive.addfile(link)
    return gzip.compress(buffer.getvalue(), mtime=0)


def described(data: bytes, media_type: str = OCI_MANIFEST, **more: Any) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": str(Digest.of(data)), "size": len(data), **more}


def shop() -> Shop:
    """Make the files: library/hello and team/app on one base, multi/arch for two platforms, and rubbish."""
    made = Shop()
    old = build_image([BASE], created=CREATED, labels={"org.example": HOSTILE})
    made.digests["old"] = made.image("library/hello", old, "1.0", "latest")
    new = build_image([BASE, {"app": b"app" * 100}], created=CREATED, entrypoint=["/app", "--serve it"])
    new = configured(new, Env=["PATH=/bin", "TOKEN=hidden"], User="web", ExposedPorts={"80/tcp": {}})
    made.digests["new"] = made.image("library/hello", new, "latest")
    made.digests["base"] = new.layer_digests[0]

    layered = build_image([BASE, {"x": b""}], created=CREATED)
    layer = whited()
    manifest = json.loads(layered.manifest)
    manifest["layers"][1] |= {"digest": str(Digest.of(layer)), "size": len(layer)}
    layered = replace(layered, layers=(layered.layers[0], layer), manifest=json.dumps(manifest).encode())
    made.digests["app"] = made.image("team/app", layered, "v1")
    made.files[TagCurrentLink("team/app", "broken").path] = b""

    intel = build_image([{"bin/intel": b"i" * 1000}], created=CREATED)
    arm = build_image([{"bin/arm": b"a" * 1000}], architecture="arm64", created=CREATED)
    attestation = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": described(intel.config, "application/vnd.oci.image.config.v1+json"),
            "layers": [described(b"attested", "application/vnd.in-toto+json")],
        }
    ).encode()
    made.layer("multi/arch", b"attested")
    index = {
        "schemaVersion": 2,
        "mediaType": OCI_INDEX,
        "annotations": {"org.example.note": HOSTILE},
        "manifests": [
            described(intel.manifest, platform={"os": "linux", "architecture": "amd64"}),
            described(arm.manifest, platform={"os": "linux", "architecture": "arm64"}),
            described(attestation, platform={"os": "unknown", "architecture": "unknown"}),
        ],
    }
    made.image("multi/arch", intel)
    made.image("multi/arch", arm)
    made.manifest("multi/arch", attestation)
    made.digests["index"] = made.manifest("multi/arch", index, "1.0")
    bom = b'{"bom": 1}'
    artifact = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "artifactType": "application/spdx+json",
        "config": described(b"{}", "application/vnd.oci.empty.v1+json"),
        "layers": [described(bom, "text/spdx", annotations={"org.opencontainers.image.title": "bom.json"})],
        "subject": described(json.dumps(index).encode(), OCI_INDEX),
    }
    made.layer("multi/arch", bom)
    made.layer("multi/arch", b"{}")
    made.digests["bom"] = made.manifest("multi/arch", artifact)
    signature = {**artifact, "artifactType": "application/x.sig", "layers": []}
    del signature["subject"]
    made.digests["signature"] = made.manifest(
        "multi/arch", signature, f"sha256-{made.digests['index'].hex}.sig"
    )

    made.digests["orphan"] = made.blob(b"orphan" * 1000)
    made.files[UploadStartedAt("team/app", "one").path] = b"2026-11-01T10:00:00Z"
    made.files["/docker/registry/v2/junk"] = b"junk"
    return made
