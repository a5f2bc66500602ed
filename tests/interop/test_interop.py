"""regfs and the real registry on one live bucket, at the same time, both ways."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import subprocess
import sys
import time
import urllib.parse
import uuid
from typing import TYPE_CHECKING, Any

import pytest
from interop.registry import SECRET
from support.oci import read_oci_layout, write_oci_layout

from regfs import PathNotFoundError, RegistryFileSystem, StorageDriver, create
from regfs.image import Image, build_image, store_image
from regfs.layout import (
    BLOBS,
    BlobData,
    Digest,
    TagCurrentLink,
    UploadData,
    UploadStartedAt,
    parse,
    parse_link,
    tags_root,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from interop.registry import Registry
    from support.servers import Place

pytestmark = pytest.mark.interop

REPOSITORY = "team/app"


@pytest.fixture
def driver(interop_options: dict[str, Any]) -> StorageDriver:
    return create("s3", {**interop_options, "chunksize": 5 * 2**20, "encrypt": True})


@pytest.fixture
def fs(driver: StorageDriver) -> RegistryFileSystem:
    return driver.fs


@pytest.fixture
def image() -> Image:
    return build_image([{"etc/motd": b"hello\n"}, {"data/random": os.urandom(6 << 20)}], cmd=["/bin/true"])


def blobs(image: Image) -> dict[str, bytes]:
    return {BlobData(digest).path: content for digest, content in image.blobs.items()}


def test_regfs_reads_what_the_registry_was_pushed(
    registry: Registry, driver: StorageDriver, fs: RegistryFileSystem, image: Image, tmp_path: Path
) -> None:
    write_oci_layout(tmp_path, {"one": image})
    registry.push(f"{tmp_path}:one", f"{REPOSITORY}:1.0")
    registry.push(f"{tmp_path}:one", f"{REPOSITORY}:1.0-rc1")

    found = [path for path in fs.find(BLOBS) if path.endswith("/data")]
    assert sorted(found) == sorted(blobs(image))
    walked: list[str] = []
    driver.walk(BLOBS, lambda info: None if info.is_dir else walked.append(info.path))
    assert sorted(walked) == sorted(found)
    for path in found:
        spec = parse(path)
        assert isinstance(spec, BlobData)
        content = driver.get_content(path)
        assert Digest.of(content) == spec.digest
        assert fs.cat_file(path) == content
        with fs.open(path) as file, driver.reader(path) as stream:
            assert hashlib.sha256(file.read()).hexdigest() == spec.digest.hex
            assert hashlib.sha256(stream.read()).hexdigest() == spec.digest.hex
        assert driver.stat(path).size == fs.info(path)["size"] == len(content)

    assert driver.list(tags_root(REPOSITORY)) == [f"{tags_root(REPOSITORY)}/{t}" for t in ("1.0", "1.0-rc1")]
    link = parse_link(driver.get_content(TagCurrentLink(REPOSITORY, "1.0").path))
    assert link == image.manifest_digest
    assert fs.cat_file(BlobData(link).path) == image.manifest


def test_the_registry_serves_what_the_driver_stored(
    registry: Registry, driver: StorageDriver, image: Image, tmp_path: Path
) -> None:
    digest = store_image(driver, image, REPOSITORY, "2.0")
    registry.pull(f"{REPOSITORY}:2.0", f"{tmp_path}/pulled:x")
    assert read_oci_layout(tmp_path / "pulled") == {str(d): c for d, c in image.blobs.items()}
    assert registry.manifest(REPOSITORY, str(digest)) == image.manifest
    assert registry.tags(REPOSITORY) == ["2.0"]


def test_a_deletion_on_either_side_is_seen_by_the_other(
    registry: Registry, driver: StorageDriver, fs: RegistryFileSystem, image: Image
) -> None:
    later = build_image([{"etc/motd": b"later\n"}])
    store_image(driver, image, REPOSITORY, "old")
    digest = store_image(driver, later, REPOSITORY, "new")
    assert sorted(registry.tags(REPOSITORY)) == ["new", "old"]

    assert registry.manifest(REPOSITORY, "old") == image.manifest
    driver.delete(f"{tags_root(REPOSITORY)}/old")
    # Not by its list of tags, in which SeaweedFS shows a deleted prefix for some seconds more.
    assert registry.request("GET", f"/v2/{REPOSITORY}/manifests/old").status == 404
    assert registry.manifest(REPOSITORY, "new") == later.manifest

    registry.delete_manifest(REPOSITORY, str(digest))
    with pytest.raises(PathNotFoundError):
        driver.get_content(TagCurrentLink(REPOSITORY, "new").path)
    assert not fs.exists(TagCurrentLink(REPOSITORY, "new").path)

    fs.rm(BLOBS, recursive=True)
    assert registry.request("GET", f"/v2/{REPOSITORY}/blobs/{image.config_digest}").status == 404


def at_offset(location: str, offset: int) -> str:
    """Return an upload's location as the registry would give it at another offset (Go: handlers/hmac.go)."""
    url = urllib.parse.urlsplit(location)
    state = base64.urlsafe_b64decode(urllib.parse.parse_qs(url.query)["_state"][0])[32:]
    told = json.dumps({**json.loads(state), "Offset": offset}).encode()
    sealed = hmac.new(SECRET.encode(), told, hashlib.sha256).digest() + told
    query = urllib.parse.urlencode({"_state": base64.urlsafe_b64encode(sealed).decode()})
    return urllib.parse.urlunsplit(url._replace(query=query))


@pytest.mark.parametrize(
    "sizes", [(6 << 20, 7 << 20, 100), (100, 200, 300), (6 << 20, 10, 10), (10, 11 << 20, 10)]
)
def test_an_upload_goes_from_the_registry_to_regfs_and_back(
    registry: Registry, driver: StorageDriver, interop_place: Place, sizes: tuple[int, int, int]
) -> None:
    first, second, third = (os.urandom(size) for size in sizes)
    location = registry.patch_upload(registry.begin_upload(REPOSITORY), first)
    ours = UploadData(REPOSITORY, urllib.parse.urlsplit(location).path.rpartition("/")[2]).path
    registry.kill()

    with driver.writer(ours, append=True) as writer:
        assert writer.size == len(first)
        writer.write(second)
    registry.start()
    location = at_offset(location, len(first) + len(second))
    assert registry.upload_size(location) == len(first) + len(second)
    digest = Digest.of(first + second + third)
    registry.finish_upload(location, str(digest), third)
    assert driver.get_content(BlobData(digest).path) == first + second + third
    assert interop_place.uploads() == []


def begin_of_ours(registry: Registry, driver: StorageDriver) -> tuple[str, Callable[[int], str]]:
    """Begin an upload by regfs; give its path, and how the registry would call its location at an offset."""
    begun = urllib.parse.urlsplit(registry.begin_upload(REPOSITORY))
    id_ = str(uuid.uuid4())
    driver.put_content(UploadStartedAt(REPOSITORY, id_).path, b"2026-01-01T00:00:00Z")

    def location(offset: int) -> str:
        state = base64.urlsafe_b64decode(urllib.parse.parse_qs(begun.query)["_state"][0])[32:]
        told = json.dumps({**json.loads(state), "UUID": id_, "Offset": offset}).encode()
        sealed = base64.urlsafe_b64encode(hmac.new(SECRET.encode(), told, hashlib.sha256).digest() + told)
        path = f"{begun.path.rpartition('/')[0]}/{id_}"
        query = urllib.parse.urlencode({"_state": sealed.decode()})
        return urllib.parse.urlunsplit(begun._replace(path=path, query=query))

    return UploadData(REPOSITORY, id_).path, location


@pytest.mark.parametrize("sizes", [(6 << 20, 7 << 20, 100), (100, 200, 300), (11 << 20, 10, 6 << 20)])
def test_an_upload_goes_from_regfs_to_the_registry_and_back(
    registry: Registry, driver: StorageDriver, interop_place: Place, sizes: tuple[int, int, int]
) -> None:
    first, second, third = (os.urandom(size) for size in sizes)
    ours, location = begin_of_ours(registry, driver)
    with driver.writer(ours) as writer:
        writer.write(first)

    assert registry.upload_size(location(len(first))) == len(first)
    registry.patch_upload(location(len(first)), second)
    registry.kill()
    with driver.writer(ours, append=True) as writer:
        assert writer.size == len(first) + len(second)
        writer.write(third)
        writer.commit()
    assert driver.get_content(ours) == first + second + third
    driver.delete(ours.rpartition("/")[0])
    assert [key for key, _ in interop_place.uploads() if key == ours[1:]] == []


KILLED = """
import json, sys, time
from regfs import RegistryFileSystem, StorageDriver

options, path = json.loads(sys.argv[1])
driver = StorageDriver(RegistryFileSystem(**options))
content = sys.stdin.buffer.read()
with driver.writer(path) as writer:
    writer.write(content[:10 << 20])
writer = driver.writer(path, append=True)
writer.write(content[10 << 20:])
print("written", flush=True)
time.sleep(600)
"""


def test_the_registry_goes_on_after_regfs_was_killed(
    registry: Registry, driver: StorageDriver, interop_place: Place, interop_options: dict[str, Any]
) -> None:
    content = os.urandom(22 << 20)
    ours, location = begin_of_ours(registry, driver)
    options = {**interop_options, "chunksize": 5 << 20, "encrypt": True}
    command = [sys.executable, "-c", KILLED, json.dumps([options, ours])]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin
        assert process.stdout
        try:
            process.stdin.write(content)
            process.stdin.close()
            assert process.stdout.readline() == b"written\n"
            wait_for_parts(interop_place, ours, 4)  # two of the second sitting; 2 MiB are in memory alone
        finally:
            process.kill()

    size = registry.upload_size(location(20 << 20))
    assert size == 20 << 20
    digest = Digest.of(content)
    registry.finish_upload(location(size), str(digest), content[size:])
    assert driver.get_content(BlobData(digest).path) == content
    assert [key for key, _ in interop_place.uploads() if key == ours[1:]] == []


def wait_for_parts(place: Place, path: str, count: int) -> None:
    [upload] = [upload for key, upload in place.uploads() if key == path[1:]]
    target = {"Bucket": place.bucket, "Key": place.prefix + path[1:], "UploadId": upload}
    end = time.monotonic() + 30
    while len(place.s3.list_parts(**target).get("Parts", ())) < count:
        assert time.monotonic() < end
        time.sleep(0.05)
