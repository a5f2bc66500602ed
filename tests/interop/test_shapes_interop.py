"""What is pushed besides images is healthy: a real registry takes it, and fsck finds no fault."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest
from interop.registry import _ACCEPT
from interop.test_catalog_interop import eligible
from interop.test_fsck_interop import checked, compare, key, manifest_of, push_blob, push_manifest, store

import regfs
from regfs.catalog import Catalog
from regfs.catalog.manifest import DOCKER_LIST, DOCKER_MANIFEST, OCI_INDEX
from regfs.image import CONFIG_TYPE, LAYER_TYPE, MANIFEST_TYPE
from regfs.layout import BlobData, Digest, LayerLink, ManifestRevisionLink, PathSpec

if TYPE_CHECKING:
    from interop.registry import Registry
    from support.servers import Place

pytestmark = pytest.mark.interop

DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
BUILDKIT_CACHE = "application/vnd.buildkit.cacheconfig.v0"
EMPTY_TYPE = "application/vnd.oci.empty.v1+json"


def described(content: bytes, media_type: str, **more: Any) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": str(Digest.of(content)), "size": len(content), **more}


def platform(name: str) -> dict[str, Any]:
    os_, architecture = name.split("/")
    return {"platform": {"os": os_, "architecture": architecture}}


def index_of(children: list[dict[str, Any]] | None, media_type: str = OCI_INDEX, **more: Any) -> bytes:
    document = {"schemaVersion": 2, "mediaType": media_type, "manifests": children, **more}
    return json.dumps(document).encode()


def push_blobs(registry: Registry, name: str, *contents: bytes) -> None:
    for content in contents:
        push_blob(registry, name, content)


def push_image(registry: Registry, name: str, architecture: str, tag: str = "") -> bytes:
    config = json.dumps({"os": "linux", "architecture": architecture}).encode()
    layer = os.urandom(50)
    push_blobs(registry, name, config, layer)
    manifest = manifest_of(config, [described(layer, LAYER_TYPE)])
    push_manifest(registry, name, tag or str(Digest.of(manifest)), MANIFEST_TYPE, manifest)
    return manifest


def push_artifact(
    registry: Registry, name: str, config: tuple[bytes, str], layers: list[tuple[bytes, str]], **extra: Any
) -> bytes:
    push_blobs(registry, name, config[0], *(content for content, _ in layers))
    listed = [described(*layer) for layer in layers]
    manifest = manifest_of(config[0], listed, config_type=config[1], extra=extra)
    push_manifest(registry, name, str(Digest.of(manifest)), MANIFEST_TYPE, manifest)
    return manifest


def push_cache(registry: Registry, name: str, media_type: str, layer_type: str) -> bytes:
    """Push what BuildKit does: layers and the configuration as blobs, and an index of them."""
    layers = [os.urandom(size) for size in (60, 70, 80)]
    config = json.dumps({"layers": [{"blob": str(Digest.of(layer))} for layer in layers]}).encode()
    push_blobs(registry, name, *layers, config)
    notes = {
        "annotations": {"containerd.io/uncompressed": str(Digest.of(b"x")), "buildkit/createdat": "2025"}
    }
    children = [described(layer, layer_type, **notes) for layer in layers]
    cache = index_of([*children, described(config, BUILDKIT_CACHE)], media_type)
    push_manifest(registry, name, "cache", media_type, cache)
    return cache


def push_all(registry: Registry) -> None:
    """Push everything to repositories of their own."""
    push_cache(registry, "cache/oci", OCI_INDEX, LAYER_TYPE)
    push_cache(registry, "cache/docker", DOCKER_LIST, DOCKER_LAYER)
    push_artifact(registry, "cache/manifest", (b'{"layers":[]}', BUILDKIT_CACHE), [(b"cached", LAYER_TYPE)])
    nothing = manifest_of(b"{}", None, config_type=BUILDKIT_CACHE)  # type: ignore[arg-type]  # null, as Go writes it
    push_blob(registry, "cache/nothing", b"{}")
    push_manifest(registry, "cache/nothing", "cache", MANIFEST_TYPE, nothing)

    image = push_image(registry, "buildx", "amd64")
    statement = (b'{"_type":"https://in-toto.io/Statement/v0.1"}', "application/vnd.in-toto+json")
    attestation = push_artifact(registry, "buildx", (b'{"architecture":"unknown"}', CONFIG_TYPE), [statement])
    children = [
        described(image, MANIFEST_TYPE, **platform("linux/amd64")),
        described(attestation, MANIFEST_TYPE, **platform("unknown/unknown")),
    ]
    inner = index_of(children)
    push_manifest(registry, "buildx", "latest", OCI_INDEX, inner)
    outer = index_of([described(inner, OCI_INDEX), described(image, "")])
    push_manifest(registry, "buildx", "nested", OCI_INDEX, outer)
    push_manifest(registry, "buildx", "empty", OCI_INDEX, index_of([]))
    push_manifest(registry, "buildx", "null", OCI_INDEX, index_of(None))

    subject = {"subject": described(image, MANIFEST_TYPE)}
    push_artifact(
        registry, "buildx", (b"{}", EMPTY_TYPE), [(b"{}", EMPTY_TYPE)], artifactType="x/y", **subject
    )
    push_artifact(
        registry,
        "buildx",
        (b"{}", CONFIG_TYPE),
        [(b"payload", "application/vnd.dev.cosign.simplesigning.v1+json")],
    )
    push_artifact(
        registry,
        "helm",
        (b"name: x", "application/vnd.cncf.helm.config.v1+json"),
        [(b"chart", "application/vnd.cncf.helm.chart.content.v1.tar+gzip")],
    )
    push_artifact(
        registry, "wasm", (b"{}", "application/vnd.wasm.config.v0+json"), [(b"\0asm", "application/wasm")]
    )
    push_artifact(
        registry,
        "zstd",
        (b'{"os":"linux"}', CONFIG_TYPE),
        [(b"\x28\xb5\x2f\xfd", "application/vnd.oci.image.layer.v1.tar+zstd")],
    )

    # An index of blobs that nobody here knows, and of a manifest of which it tells another type.
    mixed = push_image(registry, "mixed", "amd64")
    push_blobs(registry, "mixed", b"bill of materials")
    listed = [described(mixed, "application/json"), described(b"bill of materials", "text/spdx")]
    push_manifest(registry, "mixed", "latest", OCI_INDEX, index_of(listed))

    # Layers that lie elsewhere.
    config, urls = b'{"os":"windows"}', {"urls": ["https://example.com/layer"]}
    push_blobs(registry, "windows", config)
    elsewhere = [
        described(b"a", "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", **urls),
        described(b"b", LAYER_TYPE, **urls),
    ]
    push_manifest(registry, "windows", "oci", MANIFEST_TYPE, manifest_of(config, elsewhere))
    foreign = [described(b"c", "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", **urls)]
    docker = manifest_of(config, foreign, DOCKER_MANIFEST, "application/vnd.docker.container.image.v1+json")
    push_manifest(registry, "windows", "docker", DOCKER_MANIFEST, docker)


def test_what_is_healthy_has_no_findings(registry: Registry, interop_place: Place) -> None:
    push_all(registry)
    garbage = Digest.of(b"garbage")
    interop_place.put(key(BlobData(garbage)), b"garbage")

    check = checked(registry)
    assert check.run(verify=True) == []
    assert compare(registry, check) == {}
    planned = Catalog(regfs.create("s3", registry._s3)).orphans()
    assert {str(blob.digest) for blob in planned.blobs} == {str(garbage)}
    assert eligible(registry.garbage_collect(dry_run=True)) == {str(garbage)}


def test_the_layers_of_a_cache_are_checked_as_layers(registry: Registry, interop_place: Place) -> None:
    def remove(*specs: PathSpec) -> None:
        for spec in specs:
            interop_place.s3.delete_object(Bucket=interop_place.bucket, Key=interop_place.prefix + key(spec))

    caches = {}
    for name in ("blob", "link", "size"):
        document = json.loads(push_cache(registry, name, OCI_INDEX, LAYER_TYPE))
        caches[name] = Digest.parse(document["manifests"][0]["digest"])
    remove(BlobData(caches["blob"]), LayerLink("link", caches["link"]))
    interop_place.put(key(BlobData(caches["size"])), b"cut")

    check = checked(registry)
    found = {(item.repository, item.kind, item.severity) for item in check.run(verify=False)}
    assert found == {
        ("blob", "missing-blob", "error"),
        ("blob", "dangling-link", "error"),
        ("link", "missing-link", "error"),
        ("size", "wrong-size", "error"),
    }
    check.run(verify=True)
    assert compare(registry, check) == {}


def test_an_index_that_lacks_platforms(registry: Registry, interop_place: Place) -> None:
    images = {name: push_image(registry, "whole", name) for name in ("amd64", "arm64", "s390x")}
    listed = [described(image, MANIFEST_TYPE, **platform(f"linux/{name}")) for name, image in images.items()]
    push_manifest(registry, "whole", "latest", OCI_INDEX, index_of(listed))
    # As a copy of one platform leaves it: the blobs of the others are there, of another repository.
    config = json.dumps({"os": "linux", "architecture": "amd64"}).encode()
    layer = registry.blob("whole", json.loads(images["amd64"])["layers"][0]["digest"])
    push_blobs(registry, "sparse", config, layer)
    amd64 = str(Digest.of(images["amd64"]))
    push_manifest(registry, "sparse", amd64, MANIFEST_TYPE, images["amd64"])
    store(interop_place, "sparse", index_of(listed), "latest")

    check = checked(registry)
    found = check.run(verify=True)
    assert {item.path: (item.kind, item.severity) for item in found} == {
        ManifestRevisionLink("sparse", Digest.of(images[name])).path: ("missing-revision", "warning")
        for name in ("arm64", "s390x")
    }
    assert {item.pull for item in found} == {
        f"works for linux/amd64; fails for linux/{name}: the registry answers 404 MANIFEST_UNKNOWN"
        for name in ("arm64", "s390x")
    }
    assert compare(registry, check) == {}
    assert registry.manifest("sparse", "latest") == index_of(listed)
    for name, status in (("amd64", 200), ("arm64", 404), ("s390x", 404)):
        path = f"/v2/sparse/manifests/{Digest.of(images[name])}"
        assert registry.request("GET", path, headers={"Accept": _ACCEPT}).status == status

    registry.delete_manifest("sparse", amd64)
    check = checked(registry)
    errors = [item for item in check.run(verify=True) if item.severity == "error"]
    assert [error.kind for error in errors] == ["missing-revision"] * 3
    assert all("works" not in error.pull for error in errors)
    assert compare(registry, check) == {}
