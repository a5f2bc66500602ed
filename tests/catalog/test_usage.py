"""What is used, shared and freed: to the byte, against deleting and collecting garbage for real."""

from __future__ import annotations

import itertools
import time
from collections import Counter
from datetime import date, datetime, timezone
from typing import TYPE_CHECKING, Any

import pytest
from catalog import registry_tree as tree
from catalog.registry_tree import Files, in_memory, trees
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from support.memory import MemoryDriver

from regfs import create
from regfs.catalog import Catalog
from regfs.catalog.manifest import OCI_MANIFEST, Manifest, Reference
from regfs.catalog.snapshot import File, ReadManifest, Repository, Snapshot, TagFiles
from regfs.catalog.usage import Month, Sharing, Usage, usage
from regfs.layout import Digest, UploadData

if TYPE_CHECKING:
    from collections.abc import Iterable

    from support.servers import Place

NOW = datetime(2026, 11, 24, 12, tzinfo=timezone.utc)


def check(found: Usage, files: Files) -> None:
    """Compare with the model, all of it."""
    totals = found.totals
    kinds = tree.kinds(files)
    assert totals.bytes == tree.size(files)
    assert totals.blobs == len(tree.blobs(files))
    assert {
        "unique": totals.unique_bytes,
        "shared": totals.shared_bytes,
        "orphaned": totals.orphaned_bytes,
        "links": totals.link_bytes,
        "uploads": totals.upload_bytes,
        "unknown": totals.unknown_bytes,
    } == kinds
    assert sum(kinds.values()) == totals.bytes
    assert totals.orphaned_bytes == tree.size(files) - tree.size(tree.collect(files))

    assert [repository.repository for repository in found.repositories] == sorted(tree.repositories(files))
    for repository in found.repositories:
        sums = tree.repository_sums(files, repository.repository)
        told = tree.Sums(
            repository.logical_bytes, repository.stored_bytes, repository.unique_bytes, repository.freed_bytes
        )
        assert told == sums, repository.repository
        assert repository.shared_bytes == sums.stored - sums.unique
        assert (
            repository.freed_bytes
            == repository.unique_bytes + repository.link_bytes + repository.upload_bytes
        )
    assert sum(repository.unique_bytes for repository in found.repositories) == totals.unique_bytes
    assert sum(repository.link_bytes for repository in found.repositories) == totals.link_bytes
    assert sum(repository.upload_bytes for repository in found.repositories) == totals.upload_bytes

    assert [(item.repository, item.tag) for item in found.tags] == sorted(
        (name, tag) for name in tree.repositories(files) for tag in tree.tags(files, name)
    )
    for tag in found.tags:
        sums = tree.tag_sums(files, tag.repository, tag.tag)
        freed = tree.Sums(tag.logical_bytes, tag.stored_bytes, tag.unique_bytes, tag.freed_bytes)
        assert freed == sums, (tag.repository, tag.tag)
        assert tag.shared_bytes == sums.stored - sums.unique
        named = tree.current(files, tag.repository, tag.tag)
        assert (str(tag.digest) if tag.digest else None) == named

    sizes = tree.blobs(files)
    pairs = Counter[tuple[str, str]]()
    for names in itertools.combinations(sorted(tree.repositories(files)), 2):
        both = tree.keeps(files, names[0]) & tree.keeps(files, names[1]) & sizes.keys()
        if both:
            pairs[names] = sum(sizes[digest] for digest in both)
            assert Sharing(*names, len(both), pairs[names]) in found.sharing(None)
    assert len(found.sharing(None)) == len(pairs)
    assert [item.bytes for item in found.sharing(2)] == sorted(pairs.values(), reverse=True)[:2]
    assert sum(month.bytes for month in found.growth) == sum(sizes.values())


@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.too_slow])
@given(trees())
def test_every_sum_is_what_a_deletion_shows(files: Files) -> None:
    assume(files)
    with in_memory(files) as fs:
        check(Catalog(fs).usage(), files)


@pytest.mark.parametrize("face", ["filesystem", "driver"])
def test_the_same_on_s3(options: dict[str, Any], raw: Place, face: str) -> None:
    files = tree.example()
    driver = create("s3", options)
    for path, content in files.items():
        raw.put(path[1:], content)
    # Not by the driver, which keeps a record of its own beside it; a registry's looks like this.
    key = raw.prefix + UploadData("uploading", "1").path[1:]
    upload = raw.s3.create_multipart_upload(Bucket=raw.bucket, Key=key)["UploadId"]
    raw.s3.upload_part(Bucket=raw.bucket, Key=key, UploadId=upload, PartNumber=1, Body=b"p" * 1234)
    found = Catalog(driver if face == "driver" else driver.fs).usage()
    check(found, files)
    assert found.totals.bytes == listed(raw)
    assert found.totals.pending_bytes == 1234
    assert found.totals.upload_bytes == 20


def test_a_driver_that_is_not_of_regfs() -> None:
    files = tree.example()
    driver = MemoryDriver()
    for path, content in files.items():
        driver.put_content(path, content)
    check(Catalog(driver).usage(), files)


def test_a_layer_that_a_manifest_has_twice_counts_once_for_it() -> None:
    files = tree.example()
    with in_memory(files) as fs:
        found = {(tag.repository, tag.tag): tag for tag in Catalog(fs).usage().tags}
    assert found["library/base", "1"].logical_bytes == found["library/base", "1"].stored_bytes
    # Two tags of one manifest have nothing of their own, and to delete one frees no more than its links.
    assert found["library/base", "1"].unique_bytes == 0
    assert found["library/base", "1"].freed_bytes == 2 * 71
    assert found["old", "gone"].stored_bytes == 0
    assert found["old", "gone"].freed_bytes == 71


def listed(place: Place) -> int:
    """Add up what raw S3 lists."""
    pages = place.s3.get_paginator("list_objects_v2").paginate(Bucket=place.bucket, Prefix=place.prefix)
    return sum(item["Size"] for page in pages for item in page.get("Contents", ()))


def snapshot(repositories: Iterable[Repository], blobs: dict[Digest, File]) -> Snapshot:
    return Snapshot(NOW, NOW, {repository.name: repository for repository in repositories}, blobs)


def test_months_go_by_utc_and_none_is_left_out() -> None:
    times = [
        datetime(2025, 11, 30, 23, 59, 59, tzinfo=timezone.utc),
        datetime(2026, 2, 1, tzinfo=timezone.utc),
        datetime(2026, 2, 28, 12, tzinfo=timezone.utc),
    ]
    blobs = {Digest.of(b"%d" % at): File(10**at, moment) for at, moment in enumerate(times)}
    assert usage(snapshot([], blobs)).growth == [
        Month(date(2025, 11, 1), 1, 1, 1),
        Month(date(2025, 12, 1), 0, 0, 1),
        Month(date(2026, 1, 1), 0, 0, 1),
        Month(date(2026, 2, 1), 2, 110, 111),
    ]
    assert usage(snapshot([], {})).growth == []
    last = File(1, datetime(9999, 12, 31, tzinfo=timezone.utc))
    assert usage(snapshot([], {Digest.of(b""): last})).growth == [Month(date(9999, 12, 1), 1, 1, 1)]


def registry(layers_of: dict[str, list[list[Digest]]], sizes: dict[Digest, int]) -> Snapshot:
    """Make what a look would find: repositories, the layers of each of their manifests, a tag for each."""
    blobs = {digest: File(size, NOW) for digest, size in sizes.items()}
    manifests: dict[Digest, ReadManifest] = {}
    repositories = []
    for name, images in layers_of.items():
        repository = Repository(name)
        for at, layers in enumerate(images):
            digest = Digest.of(f"{name}:{at}".encode())
            references = tuple(Reference("layer", layer, sizes[layer], "") for layer in layers)
            manifests[digest] = ReadManifest(1000, Manifest(OCI_MANIFEST, "image", references))
            blobs[digest] = File(1000, NOW)
            repository.revisions[digest] = File(71, NOW)
            repository.tags[f"v{at}"] = TagFiles(File(71, NOW), digest, "", {digest: File(71, NOW)})
            repository.layers.update(dict.fromkeys(layers, File(71, NOW)))
        repository.files = len(repository.revisions) * 3 + len(repository.layers)
        repository.bytes = repository.files * 71
        repositories.append(repository)
    found = snapshot(repositories, blobs)
    found.manifests.update(manifests)
    return found


@settings(deadline=None)
@given(st.data())
def test_the_largest_pairs_are_the_largest_of_all(data: st.DataObject) -> None:
    sizes = {Digest.of(b"%d" % at): size for at, size in enumerate(data.draw(st.lists(_SIZES, min_size=1)))}
    some = st.lists(st.sampled_from(sorted(sizes)), max_size=12)
    layers = data.draw(st.lists(some, min_size=2, max_size=9))
    found = usage(registry({f"r{at}": [one] for at, one in enumerate(layers)}, sizes))
    pairs = [
        sum(sizes[digest] for digest in set(one) & set(other))
        for one, other in itertools.combinations(layers, 2)
        if set(one) & set(other)
    ]
    assert [pair.bytes for pair in found.sharing(None)] == sorted(pairs, reverse=True)
    for most in (0, 1, 3, 10):
        told = found.sharing(most)
        assert [pair.bytes for pair in told] == sorted(pairs, reverse=True)[:most]
        assert set(told) <= set(found.sharing(None))


_SIZES = st.integers(0, 5) | st.integers(0, 1000)


def test_a_large_registry_takes_seconds() -> None:
    # 2,000 repositories of 5 images on a common base: 100,000 objects, and two million pairs that share.
    layer = [Digest.of(b"%d" % at) for at in range(30_000)]
    base, own = layer[:5], iter(layer[5:])
    layers_of = {
        f"team{at % 40}/app{at}": [[*base, *itertools.islice(own, 2)] for _ in range(5)] for at in range(2000)
    }
    found = registry(layers_of, {digest: 10 + at for at, digest in enumerate(layer)})
    assert found.files > 90_000
    begun = time.process_time()
    told = usage(found)
    pairs = told.sharing(100)
    took = time.process_time() - begun
    assert [pair.bytes for pair in pairs] == [10 + 11 + 12 + 13 + 14] * 100
    assert sum(repository.unique_bytes for repository in told.repositories) == told.totals.unique_bytes
    assert told.totals.bytes == found.bytes
    assert took < 10, f"{took:.1f} s"


def test_tags_of_one_manifest_are_reckoned_once() -> None:
    # 20,000 tags of an image with 100 layers: two million steps if each looked for itself.
    layers = [Digest.of(b"%d" % at) for at in range(100)]
    found = registry({"app": [layers]}, dict.fromkeys(layers, 7))
    tag = found.repositories["app"].tags.pop("v0")
    found.repositories["app"].tags = dict.fromkeys((f"t{at}" for at in range(20_000)), tag)
    begun = time.process_time()
    told = usage(found)
    took = time.process_time() - begun
    assert {item.stored_bytes for item in told.tags} == {1700}
    assert {item.freed_bytes for item in told.tags} == {142}
    assert took < 3, f"{took:.1f} s"
