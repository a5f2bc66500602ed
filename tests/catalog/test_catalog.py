"""The records are the same whatever they are read through, and cost the requests that they must."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import pytest
from catalog import registry_tree
from catalog.faces import ELSEWHERE, ON_S3, elsewhere, on_s3
from catalog.faces import on_seaweedfs as pytest_generate_tests  # noqa: F401 - pytest looks for it
from catalog.registry_tree import Files, in_memory, trees
from catalog.varied import Tree, store, tree
from hypothesis import HealthCheck, given, settings
from support.memory import MemoryDriver

import regfs
from regfs.catalog import Catalog
from regfs.catalog.manifest import LARGEST
from regfs.catalog.search import NoRegistryError
from regfs.image import build_image, store_image
from regfs.layout import (
    DATABASE_LOCK,
    ROOT,
    BlobData,
    Digest,
    LayerLink,
    ManifestRevisionLink,
    TagCurrentLink,
    TagIndexLink,
    UploadData,
    parse,
)

if TYPE_CHECKING:
    from pathlib import Path

    from support.proxy import CountingProxy
    from support.servers import Place

RECORDS = ("repositories", "tags", "manifests", "references", "blobs", "uploads", "links")


def records(catalog: Catalog, *, times: bool) -> dict[str, list[dict[str, Any]]]:
    """Return all records as plain values, with the times of files or without."""
    found = {name: [asdict(item) for item in getattr(catalog, name)] for name in RECORDS}
    for rows in found.values():
        for row in rows:
            row.pop("age", None)  # it depends on when it was looked at
            if not times:
                row.pop("modified", None)
                if "history" in row:
                    row["history"] = sorted(digest["hex"] for digest, _ in row["history"])
    found["unknown"] = [{**asdict(catalog.unknown), "examples": sorted(catalog.unknown.examples)}]
    return found


@pytest.fixture(scope="module")
def in_a_dictionary() -> dict[str, list[dict[str, Any]]]:
    """What the simplest of drivers shows."""
    driver = MemoryDriver()
    for path, content in tree().files.items():
        driver.put_content(path, content)
    return records(Catalog(driver), times=False)


def test_the_same_records_on_s3(raw: Place, in_a_dictionary: dict[str, Any]) -> None:
    for path, content in tree().files.items():
        raw.put(path[1:], content)
    catalogs = [Catalog(on_s3(name, raw).beneath) for name in ON_S3]
    first, *others = [records(catalog, times=True) for catalog in catalogs]
    assert all(other == first for other in others), "to the second of each file's time"
    assert all(catalog.snapshot.bytes == sum(map(len, tree().files.values())) for catalog in catalogs)
    assert [catalog.changes for catalog in catalogs] == [[], [], []]
    assert records(catalogs[0], times=False) == in_a_dictionary
    findings = [catalog.fsck(verify=True) for catalog in catalogs]
    assert findings[0] == findings[1] == findings[2]
    assert findings[0]


@pytest.mark.parametrize("name", ELSEWHERE)
def test_the_same_records_elsewhere(name: str, tmp_path: Path, in_a_dictionary: dict[str, Any]) -> None:
    with elsewhere(name, tmp_path) as face:
        for path, content in tree().files.items():
            face.put(path, content)
        catalog = Catalog(face.beneath)
        assert records(catalog, times=False) == in_a_dictionary
        assert catalog.fsck(verify=True)


def test_what_the_records_tell(options: dict[str, Any]) -> None:
    driver = regfs.create("s3", options)
    store(driver)
    catalog = Catalog(driver)
    assert repr(catalog) == f"Catalog('regfs://{options['bucket']}/')"
    by_name = {repository.name: repository for repository in catalog.repositories}
    assert set(by_name) == {
        *("team/app0", "team/app1", "team/app2", "other", "multi", "old/schema1", "broken", "pushing"),
        "only/pending",
    }
    assert (by_name["team/app0"].tags, by_name["team/app0"].manifests) == (3, 2)
    assert by_name["team/app0"].link_bytes == sum(
        len(content)
        for path, content in tree().files.items()
        if (spec := parse(path)) and getattr(spec, "repository", "") == "team/app0"
    )
    kinds = Counter(manifest.kind for manifest in catalog.manifests)
    assert set(kinds) == {"image", "index", "artifact", "schema1", ""}
    arm = next(manifest for manifest in catalog.manifests if manifest.platform == "linux/arm/v7")
    assert (arm.kind, arm.repositories, arm.tags) == ("image", 1, 0), "as the index tells"
    latest = next(tag for tag in catalog.tags if (tag.repository, tag.name) == ("team/app0", "latest"))
    assert latest.digest in {digest for digest, _ in latest.history}
    assert len(latest.history) == 2
    assert [when for _, when in latest.history] == sorted(when for _, when in latest.history)
    problems = {tag.name: tag.problem for tag in catalog.tags if tag.repository == "broken"}
    assert problems == {
        "damaged": "",
        "empty": "its link is empty",
        "no-current": "it has no current link",
        "target-gone": "",
    }
    base = Counter(blob.repositories for blob in catalog.blobs)
    assert base[5] == 1, "the base layer is needed by five repositories"
    pending = next(upload for upload in catalog.uploads if upload.repository == "only/pending")
    assert pending.path == UploadData("only/pending", "two").path
    assert pending.files == 0
    assert (pending.pending_bytes or 0) > 5_000_000
    assert [
        manifest.size for manifest in catalog.manifests if "more than a registry takes" in manifest.problem
    ] == [LARGEST + 1]


def test_refresh_and_what_is_read_once(proxied_options: dict[str, Any], proxy: CountingProxy) -> None:
    driver = regfs.create("s3", proxied_options)
    store_image(driver, build_image([{"a": b"1"}]), "a", "v1")
    catalog = Catalog(driver)
    assert len(catalog.tags) == 1
    proxy.clear()
    for name in RECORDS:
        assert getattr(catalog, name) is not None
    assert proxy.count() == 0
    store_image(driver, build_image([{"a": b"2"}]), "b", "v1")
    assert len(catalog.tags) == 1
    catalog.refresh()
    assert len(catalog.tags) == len(catalog.repositories) == 2
    assert len(catalog.needed) == 6


def test_without_configurations(proxied_options: dict[str, Any], proxy: CountingProxy) -> None:
    driver = regfs.create("s3", proxied_options)
    image = build_image([{"a": b"1"}])
    store_image(driver, image, "a", "v1")
    proxy.clear()
    (manifest,) = Catalog(driver, configs=False).manifests
    assert (manifest.platform, manifest.created, manifest.config) == ("", None, image.config_digest)
    config = BlobData(image.config_digest).path
    assert not any(request.path.endswith(config) for request in proxy.requests)


FEW = 8
"""Listings beyond the least, for going at it in parallel."""


@pytest.mark.slow
def test_requests(proxied_options: dict[str, Any], proxy: CountingProxy) -> None:
    """One LIST for each 1,000 keys and a few, one GET for each thing that is read; none twice."""
    made, images = Tree(), 300
    for number in range(images):
        image = build_image([{"base": b"base"}, {"own": b"%d" % number}], labels={"n": str(number)})
        made.image(f"team/app{number % 20}", image, f"1.{number}")
    driver = regfs.create("s3", proxied_options)
    driver.fs.pipe(made.files)
    proxy.clear()
    catalog = Catalog(driver)
    assert catalog.snapshot.files == len(made.files) > 2000
    lock = proxy.requests.pop(0)
    assert (lock.method, lock.path.endswith(DATABASE_LOCK)) == ("HEAD", True)
    lists, uploads, files = sorted_requests(proxy)
    assert lists <= len(made.files) // 1000 + 1 + FEW
    assert uploads == 1
    assert files == {"blobs": 2 * images, "tags": images}, "manifests, configurations, and where tags point"

    proxy.clear()
    assert catalog.fsck() == []
    others = {"layers": 20 + 2 * images, "revisions": images, "index": images}
    assert sorted_requests(proxy) == (0, 0, others), "where tags point is known"

    proxy.clear()
    assert catalog.fsck(verify=True) == []
    assert sorted_requests(proxy) == (0, 0, {**others, "blobs": 1 + images}), "of blobs the layers"


def sorted_requests(proxy: CountingProxy) -> tuple[int, int, dict[str, int]]:
    """Count listings, those of uploads, and files that were read; all by GET, and none twice."""
    seen = Counter((request.method, request.path, tuple(request.query.items())) for request in proxy.requests)
    assert {method for method, _, _ in seen} == {"GET"}
    assert set(seen.values()) == {1}
    lists = sum("list-type" in request.query for request in proxy.requests)
    uploads = sum("uploads" in request.query for request in proxy.requests)
    files: Counter[str] = Counter()
    for request in proxy.requests:
        match parse(request.path[request.path.find(ROOT) :]):
            case BlobData():
                files["blobs"] += 1
            case LayerLink():
                files["layers"] += 1
            case ManifestRevisionLink():
                files["revisions"] += 1
            case TagCurrentLink():
                files["tags"] += 1
            case TagIndexLink():
                files["index"] += 1
    assert lists + uploads + sum(files.values()) == len(proxy.requests)
    return lists, uploads, dict(files)


@given(trees())
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_tree(files: Files) -> None:
    """The records add up to the listing and agree with a naive model, and nothing is raised."""
    with in_memory(files) as fs:
        catalog = Catalog(fs)
        try:
            snapshot = catalog.snapshot
        except NoRegistryError:
            assert not registry_tree.blobs(files)
            return
        assert snapshot.bytes == registry_tree.size(files)
        assert snapshot.files == len(files)
        assert {str(blob.digest): blob.size for blob in catalog.blobs} == registry_tree.blobs(files)
        assert {item.name for item in catalog.repositories} == registry_tree.repositories(files)
        for repository in catalog.repositories:
            named = {item.name: item.digest for item in catalog.tags if item.repository == repository.name}
            assert set(named) == registry_tree.tags(files, repository.name)
            for tag, digest in named.items():
                wanted = registry_tree.current(files, repository.name, tag)
                assert (str(digest) if digest else None) == wanted
        needed: dict[str, set[str]] = {name: set() for name in registry_tree.repositories(files)}
        for digest, names in catalog.needed.items():
            for name in names:
                needed[name].add(str(digest))
        assert needed == {name: registry_tree.keeps(files, name) for name in needed}
        check_findings(catalog, files)


def check_findings(catalog: Catalog, files: Files) -> None:
    """Compare what a pull gets by the findings with what is there."""
    findings = catalog.fsck(verify=True)
    assert findings == sorted(
        findings, key=lambda finding: (finding.repository, finding.path, finding.kind, finding.detail)
    )
    assert len(set(findings)) == len(findings)
    assert all((finding.severity == "warning") == finding.pull.startswith("works") for finding in findings)
    dangling = {finding.path for finding in findings if finding.kind == "dangling-link"}
    for link in catalog.links:
        if link.digest is not None:
            there = registry_tree.blob_path(str(link.digest)) in files
            assert (link.path in dangling) == (not there), link.path
    missing = {(finding.repository, finding.path) for finding in findings if finding.kind == "missing-blob"}
    wanted, lacking = set(), set()
    for name in registry_tree.repositories(files):
        read = registry_tree.manifests(files, name)
        tagged = {registry_tree.current(files, name, tag) for tag in registry_tree.tags(files, name)}
        for digest in tagged - {None} - set(read):
            manifest = catalog.snapshot.manifests.get(Digest.parse(digest or ""))
            if manifest and manifest.manifest:
                read[str(digest)] = None
        for digest in read:
            manifest = catalog.snapshot.manifests[Digest.parse(digest)]
            for reference in manifest.manifest.references if manifest.manifest else ():
                path = BlobData(reference.digest).path
                if reference.relation == "manifest" and not {
                    ManifestRevisionLink(name, reference.digest).path,
                    LayerLink(name, reference.digest).path,
                } & set(files):
                    lacking.add((name, ManifestRevisionLink(name, reference.digest).path))
                elif reference.relation != "subject" and not reference.foreign and path not in files:
                    wanted.add((name, path))
    assert missing == wanted
    assert lacking <= {
        (finding.repository, finding.path) for finding in findings if finding.kind == "missing-revision"
    }
