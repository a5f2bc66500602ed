"""A look at a registry that goes on working: what moves is told, and nothing that is gone counts as there."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from catalog.faces import on_seaweedfs as pytest_generate_tests  # noqa: F401 - pytest looks for it
from faults.table import error

import regfs
from regfs import frames
from regfs.catalog import Catalog
from regfs.catalog.snapshot import Change
from regfs.image import Image, build_image, store_image
from regfs.layout import (
    BlobData,
    Digest,
    ManifestRevisionLink,
    TagCurrentLink,
    TagIndexLink,
    UploadData,
    UploadStartedAt,
    link_content,
    tags_root,
    uploads_root,
)

if TYPE_CHECKING:
    from support.proxy import CountingProxy, Request

    from regfs import StorageDriver


@pytest.fixture
def driver(options: dict[str, Any]) -> StorageDriver:
    """The registry that writes, not through the proxy."""
    return regfs.create("s3", options)


@pytest.fixture
def watched(proxied_options: dict[str, Any]) -> StorageDriver:
    """What the catalog reads through."""
    return regfs.create("s3", proxied_options)


def image(number: int) -> Image:
    return build_image([{"base": b"base"}, {"own": b"%d" % number}], labels={"n": str(number)})


class Once:
    """Does something once, just before the first request for a path goes on to the server."""

    def __init__(self, proxy: CountingProxy, ending: str, act: Callable[[], object]) -> None:
        self.ending, self.act = ending, act
        self.done = False
        self._lock = threading.Lock()
        proxy.fault = self

    def __call__(self, request: Request) -> None:
        with self._lock:
            if not self.done and request.method == "GET" and request.path.endswith(self.ending):
                self.act()
                self.done = True


def consistent(catalog: Catalog) -> None:
    """Compare the sums of the records with each other, and what is there with what has gone."""
    snapshot = catalog.snapshot
    links = sum(link.size for link in catalog.links)
    uploads = sum(upload.upload_bytes for upload in catalog.uploads)
    blobs = sum(blob.size for blob in catalog.blobs)
    assert (
        sum(repository.link_bytes + repository.upload_bytes for repository in catalog.repositories)
        == links + uploads
    )
    assert snapshot.bytes == blobs + links + uploads + catalog.unknown.bytes
    files = len(catalog.blobs) + len(catalog.links) + sum(upload.files for upload in catalog.uploads)
    assert snapshot.files == files + catalog.unknown.files
    present = {link.path for link in catalog.links} | {BlobData(blob.digest).path for blob in catalog.blobs}
    for change in catalog.changes:
        assert (change.path in present) == (change.what == "appeared")
    manifests = {manifest.digest for manifest in catalog.manifests}
    assert manifests <= {blob.digest for blob in catalog.blobs}
    assert len({link.path for link in catalog.links}) == len(catalog.links)


def truth(catalog: Catalog) -> None:
    """Everything that the records tell is so now: nothing else has moved in these tests."""
    listed = {entry.path for page in catalog.source.pages("/docker") for entry in page}
    assert {link.path for link in catalog.links} <= listed
    assert {BlobData(blob.digest).path for blob in catalog.blobs} <= listed


def test_nothing_moves(driver: StorageDriver, watched: StorageDriver) -> None:
    store_image(driver, image(1), "a", "v1")
    driver.put_content("/docker/registry/v2/strange", b"12345")
    catalog = Catalog(watched)
    consistent(catalog)
    assert catalog.changes == []
    assert catalog.snapshot.bytes == driver.fs.du("/")
    assert catalog.unknown.examples == ["/docker/registry/v2/strange"]
    assert catalog.snapshot.started <= catalog.snapshot.ended


def test_a_tag_goes_before_it_is_read(
    driver: StorageDriver, watched: StorageDriver, proxy: CountingProxy
) -> None:
    store_image(driver, image(1), "a", "v1")
    store_image(driver, image(2), "a", "v2")
    hook = Once(proxy, "/tags/v1/current/link", lambda: driver.delete(f"{tags_root('a')}/v1"))
    catalog = Catalog(watched)
    assert [tag.name for tag in catalog.tags] == ["v2"]
    assert hook.done
    links = TagCurrentLink("a", "v1").path, TagIndexLink("a", "v1", image(1).manifest_digest).path
    assert catalog.changes == [Change("vanished", path) for path in links]
    assert [repository.tags for repository in catalog.repositories] == [1]
    consistent(catalog)
    truth(catalog)
    assert catalog.snapshot.bytes == driver.fs.du("/")
    assert catalog.fsck(verify=True) == []


def test_a_tag_loses_its_current_link_alone(
    driver: StorageDriver, watched: StorageDriver, proxy: CountingProxy
) -> None:
    store_image(driver, image(1), "a", "v1")
    current = TagCurrentLink("a", "v1").path
    Once(proxy, current, lambda: driver.delete(current))
    catalog = Catalog(watched)
    (tag,) = catalog.tags
    assert (tag.digest, tag.problem) == (None, "it has no current link")
    assert catalog.changes == [Change("vanished", current)]
    consistent(catalog)
    truth(catalog)
    assert [item.kind for item in catalog.fsck()] == ["tag-without-current"]


def test_an_image_is_pushed_behind_the_listing(
    driver: StorageDriver, watched: StorageDriver, proxy: CountingProxy
) -> None:
    store_image(driver, image(1), "a", "v1")
    hook = Once(proxy, "/tags/v1/current/link", lambda: store_image(driver, image(2), "b", "v2"))
    catalog = Catalog(watched)
    assert [repository.name for repository in catalog.repositories] == ["a"]
    assert hook.done
    assert catalog.changes == []
    consistent(catalog)
    truth(catalog)
    assert catalog.fsck(verify=True) == []
    catalog.refresh()
    assert [repository.name for repository in catalog.repositories] == ["a", "b"]


def test_a_tag_moves_to_a_manifest_pushed_behind_the_listing(
    driver: StorageDriver, watched: StorageDriver, proxy: CountingProxy
) -> None:
    store_image(driver, image(1), "a", "v1")
    new = image(2)
    Once(proxy, "/tags/v1/current/link", lambda: store_image(driver, new, "a", "v1"))
    catalog = Catalog(watched)
    assert [tag.digest for tag in catalog.tags] == [new.manifest_digest]
    revision = ManifestRevisionLink("a", new.manifest_digest).path
    own = {BlobData(item).path for item in (new.manifest_digest, new.config_digest, new.layer_digests[1])}
    assert set(catalog.changes) == {Change("appeared", path) for path in (revision, *own)}
    assert {manifest.digest for manifest in catalog.manifests} == {
        image(1).manifest_digest,
        new.manifest_digest,
    }
    assert {blob.digest for blob in catalog.blobs if blob.repositories} == {*image(1).blobs, *new.blobs}
    consistent(catalog)
    truth(catalog)
    assert catalog.fsck(verify=True) == [], "that its layers' links were not listed is no finding"


def test_an_index_is_pushed_behind_the_listing(
    driver: StorageDriver, watched: StorageDriver, proxy: CountingProxy
) -> None:
    """What came since the listing is followed as deep as it goes."""
    store_image(driver, image(1), "a", "v1")
    child = image(2)

    def index_over(digest: Digest, size: int) -> bytes:
        told = f'{{"digest":"{digest}","size":{size}}}'
        return f'{{"schemaVersion":2,"manifests":[{told}]}}'.encode()

    inner = index_over(child.manifest_digest, len(child.manifest))
    outer = index_over(Digest.of(inner), len(inner))

    def push() -> None:
        store_image(driver, child, "a", "child")
        for data in (inner, outer):
            driver.put_content(BlobData(Digest.of(data)).path, data)
            driver.put_content(ManifestRevisionLink("a", Digest.of(data)).path, link_content(Digest.of(data)))
        driver.put_content(TagCurrentLink("a", "v1").path, link_content(Digest.of(outer)))

    Once(proxy, "/tags/v1/current/link", push)
    catalog = Catalog(watched)
    wanted = {Digest.of(outer), Digest.of(inner), child.manifest_digest}
    assert wanted <= {manifest.digest for manifest in catalog.manifests}
    assert {*child.blobs} <= {blob.digest for blob in catalog.blobs if blob.repositories}
    consistent(catalog)
    truth(catalog)
    assert catalog.fsck(verify=True) == []


def test_a_manifest_goes_before_it_is_read(
    driver: StorageDriver, watched: StorageDriver, proxy: CountingProxy
) -> None:
    gone, left = image(1), image(2)
    store_image(driver, gone, "a", "v1")
    store_image(driver, left, "a", "v2")
    blob = BlobData(gone.manifest_digest).path

    def delete() -> None:  # as the registry does, and then its garbage collector
        driver.delete(f"{tags_root('a')}/v1")
        driver.delete(ManifestRevisionLink("a", gone.manifest_digest).path)
        driver.delete(blob)

    hook = Once(proxy, blob, delete)
    catalog = Catalog(watched)
    assert [manifest.digest for manifest in catalog.manifests] == [left.manifest_digest]
    assert hook.done
    assert Change("vanished", blob) in catalog.changes
    assert gone.manifest_digest not in {item.digest for item in catalog.blobs}
    consistent(catalog)
    assert catalog.fsck(verify=True) == [], "its links are gone as well, as is seen when they are read"


def test_a_manifest_alone_goes_before_it_is_read(
    driver: StorageDriver, watched: StorageDriver, proxy: CountingProxy
) -> None:
    gone = image(1)
    store_image(driver, gone, "a", "v1")
    blob = BlobData(gone.manifest_digest).path
    Once(proxy, blob, lambda: driver.delete(blob))
    catalog = Catalog(watched)
    assert catalog.manifests == []
    assert catalog.changes == [Change("vanished", blob)]
    consistent(catalog)
    truth(catalog)
    assert {item.kind for item in catalog.fsck()} == {"dangling-link"}


def test_a_configuration_goes_before_it_is_read(
    driver: StorageDriver, watched: StorageDriver, proxy: CountingProxy
) -> None:
    made = image(1)
    store_image(driver, made, "a", "v1")
    blob = BlobData(made.config_digest).path
    Once(proxy, blob, lambda: driver.delete(blob))
    catalog = Catalog(watched)
    assert made.config_digest not in {item.digest for item in catalog.blobs}
    assert [(manifest.platform, manifest.problem) for manifest in catalog.manifests] == [("", "")]
    assert catalog.changes == [Change("vanished", blob)]
    consistent(catalog)
    truth(catalog)
    assert {item.kind for item in catalog.fsck()} == {"dangling-link", "missing-blob"}


def test_an_upload_ends_before_it_is_read(
    driver: StorageDriver, watched: StorageDriver, proxy: CountingProxy
) -> None:
    store_image(driver, image(1), "a", "v1")
    for id_ in ("ends", "stays"):
        driver.put_content(UploadStartedAt("a", id_).path, b"2026-11-24T10:00:00Z")
        driver.put_content(f"{uploads_root('a')}/{id_}/hashstates/sha256/0", b"state")
    root, start = f"{uploads_root('a')}/ends", UploadStartedAt("a", "ends").path
    hook = Once(proxy, start, lambda: driver.delete(root))
    catalog = Catalog(watched)
    assert [upload.id for upload in catalog.uploads] == ["stays"]
    assert hook.done
    assert catalog.changes == [Change("vanished", start)]
    consistent(catalog)
    assert catalog.snapshot.bytes == driver.fs.du("/")


def test_an_upload_without_a_start_and_one_that_no_listing_shows(
    driver: StorageDriver, watched: StorageDriver
) -> None:
    driver.put_content(f"{uploads_root('a')}/odd/hashstates/sha256/0", b"state")
    driver.put_content(UploadStartedAt("a", "bad").path, b"yesterday")
    writer = driver.writer(UploadData("b", "pending").path)
    writer.write(bytes(6 << 20))
    writer.close()
    catalog = Catalog(watched)
    found = {(upload.repository, upload.id): upload for upload in catalog.uploads}
    assert set(found) == {("a", "odd"), ("a", "bad"), ("b", "pending")}
    assert catalog.changes == []
    for item in found.values():
        assert item.age is not None
        assert timedelta(minutes=-1) < item.age < timedelta(minutes=5)
    pending = found["b", "pending"]
    assert (pending.pending_bytes or 0) >= 5 << 20
    assert ((pending.parts or 0) >= 1, len(pending.multipart_ids)) == (True, 1)
    consistent(catalog)


REFUSED = error("403 Forbidden", "AccessDenied")


@pytest.mark.parametrize("permission", ["?uploads", "uploadId="])
def test_who_may_not_list_multipart_uploads(
    driver: StorageDriver, watched: StorageDriver, proxy: CountingProxy, permission: str
) -> None:
    """A policy that allows to list and read objects suffices; what is not known is called unknown, not 0."""
    store_image(driver, image(1), "a", "v1")
    driver.put_content(UploadStartedAt("a", "u").path, b"2026-01-01T00:00:00Z")
    writer = driver.writer(UploadData("a", "u").path)
    writer.write(b"unfinished")
    writer.close()
    told = Catalog(driver)
    proxy.fault = lambda request: REFUSED if permission in request.target else None
    catalog = Catalog(watched)
    (upload,) = catalog.uploads
    assert (upload.id, upload.files) == ("u", 1)
    assert (upload.parts, upload.pending_bytes, upload.multipart_ids) == (None, None, ())
    assert catalog.usage().totals == replace(told.usage().totals, pending_bytes=None)
    assert told.usage().totals.pending_bytes == len(b"unfinished")
    (old,) = catalog.fsck()
    assert old.detail.endswith("it holds at least 20 bytes")
    consistent(catalog)
    for made in (
        frames.Frames(catalog).uploads,
        frames.DaskFrames(watched).uploads.compute(scheduler="synchronous"),
    ):
        assert list(made["upload_bytes"]) == [20]
        assert made[["parts", "pending_bytes"]].isna().all(axis=None)


def test_progress_is_told(driver: StorageDriver, watched: StorageDriver) -> None:
    store_image(driver, image(1), "a", "v1")
    told: list[tuple[str, int, int | None]] = []
    catalog = Catalog(watched, lambda *arguments: told.append(arguments))
    catalog.fsck(verify=True)
    size = sum(map(len, image(1).layers))
    stages = [("tags", 1), ("manifests", 1), ("configurations", 1), ("verifying", size), ("links", 5)]
    assert told == [
        ("listing", 0, None),
        ("listing", 10, None),
        ("pending uploads", 0, None),
        # Each begins with nothing done: the one before is over, and what is waited for is this one.
        *((stage, done, total) for stage, total in stages for done in (0, total)),
        ("checking", 0, None),
    ]


@pytest.mark.slow
def test_beside_a_registry_that_pushes_and_deletes(driver: StorageDriver, watched: StorageDriver) -> None:
    """Whatever moment is looked at: the sums agree, and nothing that is fine becomes a finding."""
    stop = threading.Event()
    failures: list[BaseException] = []
    made = [image(number) for number in range(8)]
    store_image(driver, made[0], "still", "v")

    def work(name: str) -> None:
        number = 0
        try:
            while not stop.is_set():
                number += 1
                one, tag = made[number % len(made)], f"v{number % 3}"
                store_image(driver, one, name, tag)
                if number % 2:
                    driver.delete(f"{tags_root(name)}/{tag}")
                    driver.delete(ManifestRevisionLink(name, one.manifest_digest).path)
        except BaseException as exc:
            failures.append(exc)

    threads = [threading.Thread(target=work, args=(name,)) for name in ("a", "a/b")]
    for thread in threads:
        thread.start()
    moved = 0
    try:
        for _ in range(15):
            catalog = Catalog(watched)
            consistent(catalog)
            findings = catalog.fsck(verify=True)
            # A tag can outlive its revision for a moment where two of them name the same manifest.
            assert [finding for finding in findings if finding.kind != "tag-without-revision"] == []
            assert {finding.repository for finding in findings} <= {"a", "a/b"}
            moved += len(catalog.changes)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert failures == []
    assert moved > 0, "nothing has moved, so nothing was tested"
