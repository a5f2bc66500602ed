from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import shutil
import subprocess
import sysconfig
import tarfile
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.oci import read_oci_layout, write_oci_layout

from regfs.image import (
    CONFIG_TYPE,
    LAYER_TYPE,
    MANIFEST_TYPE,
    ContentStore,
    Image,
    Layer,
    build_image,
    store_image,
)
from regfs.layout import Digest, LayerLink, TagCurrentLink, parse, parse_link

if TYPE_CHECKING:
    from regfs.driver import StorageDriver

    def storage_driver_is_a_store(driver: StorageDriver) -> ContentStore:
        """Checked by mypy."""
        return driver


def python_layer() -> Layer:
    package = Path(sysconfig.get_path("stdlib"), "json")
    return {f"usr/lib/python3/json/{file.name}": file for file in package.glob("*.py")}


@pytest.fixture
def image() -> Image:
    return build_image(
        [{"etc/os-release": b"ID=regfs\n", "empty": b""}, python_layer()],
        architecture="arm64",
        created=datetime(2024, 1, 2, 3, 4, 5, tzinfo=timezone(timedelta(hours=2))),
        entrypoint=["/usr/bin/python3"],
        cmd=["-m", "json.tool"],
        labels={"org.opencontainers.image.title": "regfs"},
    )


def test_manifest_describes_the_blobs(image: Image) -> None:
    assert json.loads(image.manifest) == {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": {
            "mediaType": CONFIG_TYPE,
            "digest": "sha256:" + hashlib.sha256(image.config).hexdigest(),
            "size": len(image.config),
        },
        "layers": [
            {
                "mediaType": LAYER_TYPE,
                "digest": "sha256:" + hashlib.sha256(layer).hexdigest(),
                "size": len(layer),
            }
            for layer in image.layers
        ],
    }
    assert str(image.manifest_digest) == "sha256:" + hashlib.sha256(image.manifest).hexdigest()
    assert list(image.blobs) == [*image.layer_digests, image.config_digest, image.manifest_digest]


def test_config_describes_the_uncompressed_layers(image: Image) -> None:
    assert json.loads(image.config) == {
        "created": "2024-01-02T01:04:05Z",
        "architecture": "arm64",
        "os": "linux",
        "config": {
            "Entrypoint": ["/usr/bin/python3"],
            "Cmd": ["-m", "json.tool"],
            "Labels": {"org.opencontainers.image.title": "regfs"},
        },
        "rootfs": {
            "type": "layers",
            "diff_ids": [
                "sha256:" + hashlib.sha256(gzip.decompress(layer)).hexdigest() for layer in image.layers
            ],
        },
        "history": [
            {"created": "2024-01-02T01:04:05Z", "created_by": f"regfs.image: layer {number}"}
            for number in (1, 2)
        ],
    }


def test_layers_are_tars_of_the_files(image: Image) -> None:
    lower, upper = map(io.BytesIO, image.layers)
    with (
        tarfile.open(fileobj=lower, mode="r:gz") as first,
        tarfile.open(fileobj=upper, mode="r:gz") as second,
    ):
        assert [(member.name, member.isdir()) for member in first] == [
            ("empty", False),
            ("etc", True),
            ("etc/os-release", False),
        ]
        release = first.extractfile("etc/os-release")
        assert release is not None
        assert release.read() == b"ID=regfs\n"
        for name, source in python_layer().items():
            assert isinstance(source, Path)
            file = second.extractfile(name)
            assert file is not None
            assert file.read() == source.read_bytes()
        for member in (*first, *second):
            assert (member.mtime, member.uid, member.gid, member.uname, member.gname) == (0, 0, 0, "", "")
            assert member.mode == (0o755 if member.isdir() else 0o644)


def test_same_files_give_the_same_image(tmp_path: Path) -> None:
    content = os.urandom(100_000)
    one, other = tmp_path / "one", tmp_path / "other"
    one.write_bytes(content)
    other.write_bytes(content)
    other.chmod(0o600)
    os.utime(other, (1, 1))
    images = [
        build_image([{"a/x": one, "b": b"b"}]),
        build_image([{"b": b"b", "a/x": other}]),
        build_image([{"b": b"b", "a/x": content}]),
    ]
    assert images[0] == images[1] == images[2]
    assert build_image([{"a/x": content}]) != images[0]


def test_gzip_header_tells_nothing_of_the_machine(image: Image) -> None:
    # RFC 1952: no name, no time, default compression, unknown system
    assert {layer[:10] for layer in image.layers} == {bytes.fromhex("1f8b08000000000000ff")}


@pytest.mark.parametrize("name", ["/etc/x", "../x", "a/../b", "a//b", "a/", "./a", ".", ""])
def test_paths_that_leave_the_image(name: str) -> None:
    with pytest.raises(ValueError, match="layer file"):
        build_image([{name: b""}])


def test_path_that_is_file_and_directory() -> None:
    with pytest.raises(ValueError, match="'a': is also a directory"):
        build_image([{"a": b"", "a/b": b""}])


def test_naive_creation_time() -> None:
    with pytest.raises(ValueError, match="created"):
        build_image([], created=datetime(2024, 1, 1))  # noqa: DTZ001


class RecordingDriver:
    """Keeps what is stored, in order, and can fail at any call."""

    def __init__(self, fail_at: int = -1) -> None:
        self.files: dict[str, bytes] = {}
        self.streamed: list[str] = []
        self.calls: list[str] = []
        self.fail_at = fail_at

    def put_content(self, path: str, content: bytes) -> None:
        self.call("put")
        self.files[path] = content

    def writer(self, path: str) -> RecordingWriter:
        self.call("open")
        self.streamed.append(path)
        return RecordingWriter(self, path)

    def call(self, name: str) -> None:
        self.calls.append(name)
        if len(self.calls) - 1 == self.fail_at:
            raise OSError("as told")


class RecordingWriter:
    def __init__(self, driver: RecordingDriver, path: str) -> None:
        self.driver, self.path, self.data = driver, path, b""

    def write(self, data: bytes) -> int:
        self.driver.call("write")
        self.data += data
        return len(data)

    def commit(self) -> None:
        self.driver.call("commit")
        self.driver.files[self.path] = self.data

    def cancel(self) -> None:
        self.driver.calls.append("cancel")

    def close(self) -> None:
        self.driver.calls.append("close")


def test_store_writes_what_is_referred_to_first(image: Image) -> None:
    driver = RecordingDriver()
    assert store_image(driver, image, "team/app", "1.0") == image.manifest_digest

    root = "/docker/registry/v2"
    blobs = {
        f"{root}/blobs/sha256/{digest.hex[:2]}/{digest.hex}/data": blob
        for digest, blob in image.blobs.items()
    }
    repository = f"{root}/repositories/team/app"
    *layers, config, manifest = blobs
    revision = image.manifest_digest
    assert list(driver.files) == [
        *layers,
        config,
        *(f"{repository}/_layers/sha256/{digest.hex}/link" for digest in image.layer_digests),
        f"{repository}/_layers/sha256/{image.config_digest.hex}/link",
        manifest,
        f"{repository}/_manifests/revisions/sha256/{revision.hex}/link",
        f"{repository}/_manifests/tags/1.0/index/sha256/{revision.hex}/link",
        f"{repository}/_manifests/tags/1.0/current/link",
    ]
    assert driver.streamed == layers
    assert driver.calls[:8] == ["open", "write", "commit", "close"] * 2
    for path, content in driver.files.items():
        spec = parse(path)
        if path in blobs:
            assert content == blobs[path]
        elif isinstance(spec, LayerLink):
            assert parse_link(content) == spec.digest
        else:
            assert parse_link(content) == revision


def test_store_that_fails_leaves_no_link_to_nothing(image: Image) -> None:
    whole = RecordingDriver()
    store_image(whole, image, "a", "t")
    for at, name in enumerate(whole.calls):
        if name == "close":
            continue
        driver = RecordingDriver(fail_at=at)
        with pytest.raises(OSError, match="as told"):
            store_image(driver, image, "a", "t")
        assert driver.calls.count("close") == len(driver.streamed)
        assert driver.calls.count("cancel") == (name in ("write", "commit"))
        assert list(driver.files.items()) == list(whole.files.items())[: len(driver.files)]
        stored = {Digest.of(content) for content in driver.files.values()}
        assert not any(isinstance(parse(path), TagCurrentLink) for path in driver.files)
        for path, content in driver.files.items():
            if path.endswith("/link"):
                assert parse_link(content) in stored


def test_image_with_a_layer_twice_stores_one_link() -> None:
    driver = RecordingDriver()
    store_image(driver, build_image([{"a": b"a"}, {"a": b"a"}]), "a", "t")
    assert sum(isinstance(parse(path), LayerLink) for path in driver.files) == 2  # the layer, the config


@pytest.mark.parametrize(("repository", "tag"), [("Bad", "t"), ("a", ".t")])
def test_store_refuses_bad_names_before_it_writes(image: Image, repository: str, tag: str) -> None:
    driver = RecordingDriver()
    with pytest.raises(ValueError, match=r"^(repository|tag) "):
        store_image(driver, image, repository, tag)
    assert driver.calls == []


def test_skopeo_takes_the_image(image: Image, tmp_path: Path) -> None:
    skopeo = shutil.which("skopeo")
    if skopeo is None:
        missing = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
        missing("skopeo is not installed (Debian's package of this name)")
    write_oci_layout(tmp_path / "oci", {"1.0": image})
    assert read_oci_layout(tmp_path / "oci") == {str(key): blob for key, blob in image.blobs.items()}
    done = subprocess.run(
        [skopeo, "--insecure-policy", "inspect", f"oci:{tmp_path}/oci:1.0"],
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["Digest"] == str(image.manifest_digest)
    assert told["Layers"] == [str(digest) for digest in image.layer_digests]
    assert (told["Architecture"], told["Created"]) == ("arm64", "2024-01-02T01:04:05Z")
    assert told["Labels"] == {"org.opencontainers.image.title": "regfs"}
