"""A build cache, and an index that lacks platforms: neither is broken, and each verb says what it is."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest
from cli.conftest import payload
from cli.shop import BASE, Shop, described

from regfs.cli.errors import Code
from regfs.filesystem import RegistryFileSystem
from regfs.image import build_image
from regfs.layout import BlobData, Digest, ManifestRevisionLink

if TYPE_CHECKING:
    from cli.conftest import Regfs, Terminal
    from support.servers import Place

pytestmark = pytest.mark.parametrize("server", ["seaweedfs"], indirect=True)

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
CACHE = "application/vnd.buildkit.cacheconfig.v0"


@pytest.fixture
def made(options: dict[str, Any]) -> Shop:
    """``app:cache``, a build cache; ``app:sparse``, of whose three platforms one is there."""
    shop = Shop()
    image = build_image([BASE, {"more": b"more"}])
    shop.image("app", image, "v1")
    config = b'{"layers":[]}'
    shop.layer("app", config)
    layers = [described(layer, OCI_LAYER) for layer in image.layers]
    cache = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [*layers, described(config, CACHE)]}
    shop.digests["cache"] = shop.manifest("app", cache, "cache")
    children = [
        described(content, platform={"os": "linux", "architecture": architecture})
        for content, architecture in ((image.manifest, "amd64"), (b"arm", "arm64"), (b"z", "s390x"))
    ]
    children.append(described(b"attests", platform={"os": "unknown", "architecture": "unknown"}))
    sparse = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": children}
    shop.digests["sparse"] = shop.manifest("app", sparse, "sparse")
    shop.digests["layer"] = image.layer_digests[0]
    shop.store(RegistryFileSystem(**options))
    return shop


def test_show_a_build_cache(regfs: Regfs, terminal: Callable[..., Terminal], made: Shop) -> None:
    told = payload(regfs("show", "app:cache", "--json").stdout)
    assert (told["kind"], told["artifact_type"], told["media_type"]) == ("index", CACHE, OCI_INDEX)
    assert told["children"] == []
    assert [layer["media_type"] for layer in told["layers"]] == [OCI_LAYER] * 2
    assert told["layers"][0]["digest"] == str(made.digests["layer"])
    manifest = json.loads(made.files[BlobData(made.digests["cache"]).path])
    size = sum(item["size"] for item in manifest["manifests"]) + told["manifest_size"]
    assert told["size"] == size
    assert told["config"]["digest"] == manifest["manifests"][-1]["digest"]
    code, said = terminal("show", "app:cache").end()
    assert code == 0
    assert "Layers (2)" in said
    assert CACHE in said
    assert "no JSON" not in said
    assert "Children" not in said


def test_the_files_of_a_build_cache(regfs: Regfs, made: Shop) -> None:
    refused = regfs("files", "app:cache", code=Code.USAGE)
    assert (
        "is a build cache, whose layers make no image; regfs files --layer N lists one of them"
        in refused.stderr
    )
    assert (
        regfs("files", "app:cache", "--layer", "2").stdout == regfs("files", "app:v1", "--layer", "2").stdout
    )


def test_the_tags_of_both(regfs: Regfs, made: Shop) -> None:
    told = {item["tag"]: item for item in payload(regfs("tags", "app", "--json").stdout)}
    assert (told["cache"]["kind"], told["cache"]["platforms"]) == ("index", [])
    assert told["sparse"]["platforms"] == ["linux/amd64", "linux/arm64", "linux/s390x"]


def test_a_platform_that_an_index_lacks(regfs: Regfs, made: Shop) -> None:
    assert regfs("files", "app:sparse").stdout == regfs("files", "app:v1").stdout
    refused = regfs("files", "app:sparse", "--platform", "linux/arm64", code=Code.USAGE)
    assert "has no image for linux/arm64; there is linux/amd64" in refused.stderr


def test_neither_is_an_error(regfs: Regfs, made: Shop) -> None:
    found = payload(regfs("fsck", "--json").stdout)
    assert {(item["kind"], item["severity"]) for item in found} == {("missing-revision", "warning")}
    lacking = {Digest.of(content): content for content in (b"arm", b"z", b"attests")}
    assert {item["path"] for item in found} == {ManifestRevisionLink("app", item).path for item in lacking}
    assert regfs("fsck", "--ignore", "missing-revision:app").stdout == ""
    assert len(payload(regfs("orphans", "--older-than", "0", "--json").stdout)["blobs"]) == 0


@pytest.fixture
def broken(made: Shop, raw: Place) -> Shop:
    """An error beside the three warnings: a layer is lost, of a link, an image and a cache."""
    raw.s3.delete_object(
        Bucket=raw.bucket, Key=raw.prefix + BlobData(made.digests["layer"]).path.removeprefix("/")
    )
    return made


def test_what_is_known_is_no_failure(regfs: Regfs, broken: Shop) -> None:
    found = payload(regfs("fsck", "--json", code=Code.FINDINGS).stdout)
    assert {item["kind"] for item in found} == {"missing-revision", "missing-blob", "dangling-link"}
    known = ["--ignore", "missing-blob", "--ignore", "dangling-link:a*"]
    left = payload(regfs("fsck", "--json", *known).stdout)
    assert {item["kind"] for item in left} == {"missing-revision"}
    by_path = f"missing-blob:*/{broken.digests['layer'].hex}/data"
    left = payload(regfs("fsck", "--json", "--ignore", by_path, code=Code.FINDINGS).stdout)
    assert {item["kind"] for item in left} == {"missing-revision", "dangling-link"}
    regfs("fsck", "--ignore", "missing-blob:other", "--ignore", "dangling-link", code=Code.FINDINGS)


def test_the_summary_counts_what_is_ignored(terminal: Callable[..., Terminal], broken: Shop) -> None:
    code, said = terminal("fsck", "--ignore", "missing-blob", "--ignore", "dangling-link").end()
    assert code == 0
    assert said.rstrip().endswith("0 errors, 3 warnings, 2 ignored")
    _, said = terminal("fsck").end()
    assert said.rstrip().endswith("2 errors, 3 warnings")


@pytest.mark.parametrize("verb", [["fsck"], ["report", "page.html"], ["export", "tables"]])
def test_a_kind_that_is_none(regfs: Regfs, tmp_path: Path, verb: list[str]) -> None:
    arguments = [verb[0], *(str(tmp_path / name) for name in verb[1:])]
    refused = regfs(*arguments, "--ignore", "mising-blob:team/*", code=Code.USAGE)
    assert (
        refused.stderr
        == "regfs: --ignore 'mising-blob' is not a kind of finding; did you mean missing-blob?\n"
    )
    assert list(tmp_path.iterdir()) == []


def test_a_page_counts_what_is_ignored(regfs: Regfs, broken: Shop) -> None:
    page = regfs("report", "-", "--ignore", "missing-blob", "--ignore", "dangling-link").stdout
    assert "missing-blob" not in page
    assert "2\u00a0known findings ignored (<code>--ignore</code>)" in page
    assert "missing-revision" in page
    assert "known finding" not in regfs("report", "-").stdout


def test_a_table_leaves_out_what_is_ignored(regfs: Regfs, broken: Shop, tmp_path: Path) -> None:
    regfs("export", str(tmp_path), "--only", "findings", "--ignore", "missing-revision:app")
    findings = pd.read_parquet(tmp_path / "findings.parquet")
    assert sorted(findings["kind"]) == ["dangling-link", "missing-blob"]
