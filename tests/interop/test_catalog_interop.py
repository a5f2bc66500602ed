"""The catalog and the real registry agree on what is garbage, and on every byte that there is."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest
from support.oci import read_oci_layout, write_oci_layout

from regfs import create
from regfs.catalog import Catalog
from regfs.catalog.manifest import DOCKER_LIST, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST
from regfs.catalog.orphans import Plan, apply
from regfs.image import Image, build_image
from regfs.layout import (
    BlobData,
    Digest,
    ManifestRevisionLink,
    TagCurrentLink,
    layers_root,
    link_content,
    tags_root,
)

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from interop.registry import Registry
    from support.servers import Place

pytestmark = pytest.mark.interop

BASE = {"etc/os-release": b"NAME=base\n" * 300}


def image_of(text: str, *, base: bool = True, architecture: str = "amd64") -> Image:
    own = {f"app/{text}": text.encode() * 200}
    return build_image([BASE, own] if base else [own], architecture=architecture)


def index_of(entries: Iterable[tuple[Digest, int]], media_type: str, of: str) -> bytes:
    manifests = [
        {
            "mediaType": of,
            "digest": str(digest),
            "size": size,
            "platform": {"os": "linux", "architecture": architecture},
        }
        for (digest, size), architecture in zip(entries, ("amd64", "arm64"), strict=False)
    ]
    return json.dumps({"schemaVersion": 2, "mediaType": media_type, "manifests": manifests}).encode()


def write_index(directory: Path, tag: str, images: Iterable[Image]) -> None:
    """Write an OCI layout of one image for several platforms."""
    images = list(images)
    write_oci_layout(directory, {str(at): image for at, image in enumerate(images)})
    index = index_of(
        [(image.manifest_digest, len(image.manifest)) for image in images], OCI_INDEX, OCI_MANIFEST
    )
    digest = Digest.of(index)
    (directory / "blobs" / "sha256" / digest.hex).write_bytes(index)
    entry = {
        "mediaType": OCI_INDEX,
        "digest": str(digest),
        "size": len(index),
        "annotations": {"org.opencontainers.image.ref.name": tag},
    }
    (directory / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))


def put_manifest(registry: Registry, name: str, reference: str, data: bytes, media_type: str) -> None:
    url = f"/v2/{name}/manifests/{reference}"
    answer = registry.request("PUT", url, data, {"Content-Type": media_type})
    assert answer.status == 201, answer.body


def put_blob(registry: Registry, name: str, data: bytes) -> None:
    registry.finish_upload(registry.begin_upload(name), str(Digest.of(data)), data)


def eligible(printed: str) -> set[str]:
    """Return what the registry's garbage collector would delete."""
    return set(re.findall(r"^blob eligible for deletion: (\S+)$", printed, re.MULTILINE))


def remove(place: Place, directory: str) -> None:
    """Remove a directory by hand, as operators do."""
    for key in place.keys():
        if key.startswith(directory[1:] + "/"):
            place.s3.delete_object(Bucket=place.bucket, Key=place.prefix + key)


def sizes(place: Place) -> dict[str, int]:
    """Return what raw S3 lists, by driver path."""
    pages = place.s3.get_paginator("list_objects_v2").paginate(Bucket=place.bucket, Prefix=place.prefix)
    return {
        "/" + item["Key"].removeprefix(place.prefix): item["Size"]
        for page in pages
        for item in page.get("Contents", ())
    }


def fill(registry: Registry, place: Place, directory: Path) -> dict[str, Image]:
    """Make a registry with much in it and much left over; give the images that can be pulled."""
    one, two, gone, single = (
        image_of("one"),
        image_of("two"),
        image_of("gone"),
        image_of("single", base=False),
    )
    write_oci_layout(directory / "all", {"one": one, "two": two, "gone": gone, "single": single})

    def push(tag: str, image: str) -> None:
        registry.push(f"{directory}/all:{tag}", image)

    push("one", "team/app:1")
    push("one", "team/app:latest")
    push("two", "team/app:latest")
    push("one", "team/app/nested:1")  # the same image in a repository that lies in the other's directory
    push("one", "team/app-extra:moved")
    push("two", "team/app-extra:moved")  # the first one stays there without a tag
    push("gone", "deleted:1")
    registry.delete_manifest("deleted", str(gone.manifest_digest))
    push("gone", "half-deleted:gone")
    push("single", "half-deleted:1")
    registry.delete_manifest("half-deleted", str(gone.manifest_digest))
    push("single", "untagged:1")
    remove(place, f"{tags_root('untagged')}/1")
    push("gone", "cut:1")
    remove(place, tags_root("cut").removesuffix("/tags"))

    platforms = [image_of(f"multi-{each}", architecture=each) for each in ("amd64", "arm64")]
    write_index(directory / "multi", "multi", platforms)
    for name in ("multi", "multi-deleted"):
        registry._copy(
            "--all",
            "--dest-tls-verify=false",
            f"oci:{directory}/multi:multi",
            f"docker://{registry.host}/{name}:1",
        )
    # Its children stay: the collector takes each for a manifest in its own right.
    index = registry.manifest("multi", "1")
    registry.delete_manifest("multi-deleted", str(Digest.of(index)))
    nested = index_of([(Digest.of(index), len(index))], OCI_INDEX, OCI_INDEX)
    put_manifest(registry, "multi", "nested", nested, OCI_INDEX)

    registry._run(
        "skopeo",
        "--insecure-policy",
        "copy",
        "--quiet",
        "--format",
        "v2s2",
        "--dest-tls-verify=false",
        f"oci:{directory}/all:one",
        f"docker://{registry.host}/docker/v2s2:1",
    )
    docker = registry.manifest("docker/v2s2", "1")
    assert json.loads(docker)["mediaType"] == DOCKER_MANIFEST
    listed = index_of([(Digest.of(docker), len(docker))], DOCKER_LIST, DOCKER_MANIFEST)
    put_manifest(registry, "docker/v2s2", "list", listed, DOCKER_LIST)

    put_blob(registry, "blobs-alone", b"never in a manifest")
    registry.patch_upload(registry.begin_upload("uploading"), b"unfinished")
    return {
        "team/app:1": one,
        "team/app:latest": two,
        "team/app/nested:1": one,
        "team/app-extra:moved": two,
        f"team/app-extra@{one.manifest_digest}": one,
        "half-deleted:1": single,
        f"untagged@{single.manifest_digest}": single,
        **{f"multi@{each.manifest_digest}": each for each in platforms},
        **{f"multi-deleted@{each.manifest_digest}": each for each in platforms},
    }


def test_orphans_are_what_the_registry_would_collect(
    registry: Registry, interop_place: Place, interop_options: dict[str, Any], tmp_path: Path
) -> None:
    pullable = fill(registry, interop_place, tmp_path)
    catalog = Catalog(create("s3", interop_options))
    plan = catalog.orphans()
    assert not plan.incomplete
    assert {str(blob.digest) for blob in plan.blobs} == eligible(registry.garbage_collect(dry_run=True))
    # Of the deleted image what is not the base; the blob alone.
    assert len(plan.blobs) == 4

    listed = sizes(interop_place)
    usage = catalog.usage()
    totals = usage.totals
    assert totals.bytes == sum(listed.values())
    assert (
        totals.orphaned_bytes == plan.bytes == sum(listed[BlobData(blob.digest).path] for blob in plan.blobs)
    )
    blobs = totals.unique_bytes + totals.shared_bytes + totals.orphaned_bytes
    assert blobs == sum(size for path, size in listed.items() if path.endswith("/data"))
    assert totals.pending_bytes == len(b"unfinished")
    assert totals.unknown_bytes == 0

    plan.save(tmp_path / "plan.json")
    done = apply(catalog.source, Plan.load(tmp_path / "plan.json"))
    assert done.deleted == plan.blobs
    assert listed.keys() - sizes(interop_place).keys() == {BlobData(blob.digest).path for blob in plan.blobs}
    assert eligible(registry.garbage_collect(dry_run=True)) == set()
    for at, (name, image) in enumerate(pullable.items()):
        registry.pull(name, f"{tmp_path}/pulled-{at}:x")
        pulled = read_oci_layout(tmp_path / f"pulled-{at}")
        assert pulled == {str(digest): content for digest, content in image.blobs.items()}, name
    for name in ("multi:1", "docker/v2s2:1", "docker/v2s2:list"):
        registry._copy(
            "--all",
            "--src-tls-verify=false",
            f"docker://{registry.host}/{name}",
            f"dir:{tmp_path}/{name.replace('/', '-').replace(':', '-')}",
        )


def test_what_a_deletion_frees_is_what_the_registry_frees(
    registry: Registry, interop_place: Place, interop_options: dict[str, Any], tmp_path: Path
) -> None:
    fill(registry, interop_place, tmp_path)
    registry.garbage_collect()
    driver = create("s3", interop_options)
    usage = Catalog(driver).usage()
    assert usage.totals.orphaned_bytes == 0
    freed = {(item.repository, item.tag): item for item in usage.tags}
    before = sum(sizes(interop_place).values())
    tag = freed["docker/v2s2", "list"]
    registry.delete_manifest("docker/v2s2", str(tag.digest))
    registry.garbage_collect()
    after = sum(sizes(interop_place).values())
    # The image in the list has a tag of its own, so that only the list goes.
    assert before - after == tag.freed_bytes
    assert 0 < tag.freed_bytes < tag.stored_bytes

    repository = next(item for item in Catalog(driver).usage().repositories if item.repository == "team/app")
    for directory in ("_layers", "_manifests"):
        remove(interop_place, f"{layers_root('team/app').removesuffix('/_layers')}/{directory}")
    registry.garbage_collect()
    assert after - sum(sizes(interop_place).values()) == repository.freed_bytes


def test_a_repository_without_layer_links_is_kept_though_the_registry_forgets_it(
    registry: Registry, interop_place: Place, interop_options: dict[str, Any], tmp_path: Path
) -> None:
    one, two = image_of("one"), image_of("two")
    write_oci_layout(tmp_path, {"one": one})
    registry.push(f"{tmp_path}:one", "whole:1")
    # Written by hand: SeaweedFS still lists for some seconds a directory whose files were deleted.
    for digest, content in two.blobs.items():
        interop_place.put(BlobData(digest).path[1:], content)
    manifest = two.manifest_digest
    for link in (ManifestRevisionLink("cut", manifest), TagCurrentLink("cut", "1")):
        interop_place.put(link.path[1:], link_content(manifest))
    would = eligible(registry.garbage_collect(dry_run=True))
    assert would == {str(digest) for digest in two.blobs.keys() - one.blobs.keys()}
    assert Catalog(create("s3", interop_options)).orphans().blobs == ()
