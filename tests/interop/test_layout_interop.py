"""What the real registry stores, `regfs.layout` understands; what `regfs.image` stores, it serves."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, get_args

import pytest
from support.oci import read_oci_layout, write_oci_layout

from regfs.image import Image, build_image, store_image
from regfs.layout import (
    BlobData,
    Digest,
    InvalidNameError,
    ManifestRevisionLink,
    PathSpec,
    SignatureLink,
    TagCurrentLink,
    UploadData,
    check_repository,
    parse,
    parse_link,
)

if TYPE_CHECKING:
    from pathlib import Path

    from interop.registry import Registry
    from support.servers import Place

pytestmark = pytest.mark.interop

REPOSITORY = "team/app_1/x--y"


class Boto3Driver:
    """The least of a storage driver, without regfs."""

    def __init__(self, place: Place) -> None:
        self.place = place

    def put_content(self, path: str, content: bytes) -> None:
        self.place.put(path.removeprefix("/"), content)

    def writer(self, path: str) -> Boto3Writer:
        return Boto3Writer(self, path)


class Boto3Writer:
    def __init__(self, driver: Boto3Driver, path: str) -> None:
        self.driver, self.path, self.data = driver, path, b""

    def write(self, data: bytes) -> int:
        self.data += data
        return len(data)

    def commit(self) -> None:
        self.driver.put_content(self.path, self.data)

    def cancel(self) -> None:
        pass

    def close(self) -> None:
        pass


def contents(place: Place) -> dict[str, bytes]:
    keys = place.keys()
    return {key: place.get(key) for key in keys}


@pytest.fixture
def image() -> Image:
    # The second layer takes more than one part of the registry's smallest chunk size.
    return build_image([{"etc/motd": b"hello\n"}, {"data/random": os.urandom(6 << 20)}], cmd=["/bin/true"])


def test_layout_understands_every_key_that_the_registry_stores(
    registry: Registry, interop_place: Place, image: Image, tmp_path: Path
) -> None:
    later = build_image([{"etc/motd": b"later\n"}])
    write_oci_layout(tmp_path, {"one": image, "two": later})
    registry.push(f"{tmp_path}:one", f"{REPOSITORY}:1.0")
    registry.push(f"{tmp_path}:one", f"{REPOSITORY}:latest")
    registry.push(f"{tmp_path}:two", f"{REPOSITORY}:latest")
    registry.patch_upload(registry.begin_upload(REPOSITORY), b"not finished")

    stored = contents(interop_place)
    pending = [key for key, _ in interop_place.uploads()]
    specs = {key: parse(f"/{key}") for key in (*stored, *pending)}
    assert [key for key, spec in specs.items() if spec is None] == []
    assert {key: spec.path for key, spec in specs.items() if spec} == {key: f"/{key}" for key in specs}
    assert [type(specs[key]) for key in pending] == [UploadData]
    assert {type(spec) for spec in specs.values()} == {*get_args(PathSpec)} - {SignatureLink}

    for key, content in stored.items():
        spec = specs[key]
        if isinstance(spec, BlobData):
            assert Digest.of(content) == spec.digest
        elif isinstance(spec, ManifestRevisionLink):
            assert parse_link(content) == spec.digest
        elif isinstance(spec, TagCurrentLink):
            wanted = {"1.0": image, "latest": later}[spec.tag]
            assert parse_link(content) == wanted.manifest_digest


def test_registry_stores_an_image_in_the_same_files_as_store_image(
    registry: Registry, interop_place: Place, image: Image, tmp_path: Path
) -> None:
    write_oci_layout(tmp_path, {"one": image})
    registry.push(f"{tmp_path}:one", f"{REPOSITORY}:1.0")
    theirs = contents(interop_place)
    interop_place.clean()
    store_image(Boto3Driver(interop_place), image, REPOSITORY, "1.0")
    assert contents(interop_place) == theirs


def test_registry_serves_an_image_stored_by_store_image(
    registry: Registry, interop_place: Place, image: Image, tmp_path: Path
) -> None:
    digest = store_image(Boto3Driver(interop_place), image, REPOSITORY, "1.0")
    blobs = {str(each): content for each, content in image.blobs.items()}

    registry.pull(f"{REPOSITORY}:1.0", f"{tmp_path}/by-tag:x")
    assert read_oci_layout(tmp_path / "by-tag") == blobs
    registry.pull(f"{REPOSITORY}@{digest}", f"{tmp_path}/by-digest:x")
    assert read_oci_layout(tmp_path / "by-digest") == blobs

    assert registry.catalog() == [REPOSITORY]
    assert registry.tags(REPOSITORY) == ["1.0"]
    assert registry.manifest(REPOSITORY, "1.0") == image.manifest
    assert registry.blob(REPOSITORY, str(image.config_digest)) == image.config

    kept = interop_place.keys()
    registry.garbage_collect(delete_untagged=True)
    assert interop_place.keys() == kept

    registry.delete_manifest(REPOSITORY, str(digest))
    assert "eligible for deletion" in registry.garbage_collect(dry_run=True)
    registry.garbage_collect()
    left = {type(parse(f"/{key}")) for key in contents(interop_place)}
    assert BlobData not in left


def test_registry_takes_the_same_repository_names(registry: Registry) -> None:
    good = ["a", "0/1", "a.b/c_d/e__f/g---h", "Team/app", "My-Host.example/a", "a" * 255]
    bad = ["A", "a/B", "a___b", "-a", "a-", "a..b", "A_b/c", "-A/b", "localhost:5000/a", "a" * 256]
    statuses = {
        name: registry.request("POST", f"/v2/{name}/blobs/uploads/", b"").status for name in (*good, *bad)
    }
    assert [name for name, status in statuses.items() if status == 202] == good
    for name in good:
        assert check_repository(name) == name
    for name in bad:
        with pytest.raises(InvalidNameError):
            check_repository(name)


def test_registry_goes_on_with_an_upload_after_a_crash(registry: Registry) -> None:
    first, last = os.urandom(6 << 20), os.urandom(1000)
    location = registry.patch_upload(registry.begin_upload(REPOSITORY), first)
    registry.kill()
    with pytest.raises(OSError, match="refused"):
        registry.tags(REPOSITORY)
    registry.start()
    assert registry.upload_size(location) == len(first)
    location = registry.patch_upload(location, last)
    digest = str(Digest.of(first + last))
    registry.finish_upload(location, digest)
    assert registry.blob(REPOSITORY, digest) == first + last
