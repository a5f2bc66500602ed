"""Why a repository is as large as it is: against deleting and collecting garbage for real."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest
from catalog import registry_tree as tree
from catalog.registry_tree import Files, in_memory, trees
from cli.shop import BASE, Shop, shop
from hypothesis import HealthCheck, assume, given, settings

from regfs.catalog import Catalog
from regfs.catalog.names import UnknownNameError
from regfs.image import build_image
from regfs.layout import BlobData, ManifestRevisionLink

if TYPE_CHECKING:
    from regfs.catalog.breakdown import Breakdown


def without_manifest(files: Files, name: str, digest: str) -> Files:
    """Remove a manifest that no tag leads to, and what nothing else in the repository leads to."""
    there = tree.manifests(files, name)
    tops = {one for tag in tree.tags(files, name) if (one := tree.current(files, name, tag))}
    led = {below for top in tops for below in tree.led(files, name, top)}
    child = {below for document in there.values() for below in tree.children(document)}
    others = there.keys() - led - child - {digest}
    kept = led | {below for top in others for below in tree.led(files, name, top)}
    gone = set()
    for item in (tree.led(files, name, digest) or {digest}) - kept:
        gone |= {
            path for path, _ in tree.find(files, tree._REVISION, tree._SIGNATURE, name=name, digest=item)
        }
    return {path: content for path, content in files.items() if path not in gone}


def check(found: Breakdown, files: Files) -> None:
    """Compare with the model, all of it."""
    whole, name = found.repository, found.repository.repository
    sizes = Counter[bool]()
    for blob in found.blobs:
        sizes[bool(blob.repositories)] += blob.size
        digest = str(blob.digest)
        assert blob.missing == (digest not in tree.blobs(files))
        others = {other for other in tree.repositories(files) - {name} if digest in tree.keeps(files, other)}
        assert set(blob.repositories) == others
        tags = tree.tags(files, name)
        assert set(blob.tags) == {tag for tag in tags if digest in tree.tag_reach(files, name, tag)}
        documents = tree.manifests(files, name)
        assert set(map(str, blob.manifests)) == {
            one for one, document in documents.items() if digest in (one, *tree.references(document))
        }
    assert {str(blob.digest) for blob in found.blobs} == tree.keeps(files, name)
    assert (sizes[False], sizes[True]) == (whole.unique_bytes, whole.shared_bytes)
    assert sizes.total() == whole.stored_bytes
    named = {tree.current(files, name, tag) for tag in tree.tags(files, name)}
    for manifest in found.manifests:
        digest = str(manifest.digest)
        assert digest not in named
        if manifest.freed_bytes is None:
            assert manifest.role == "child"
            assert digest in tree.children(tree.manifests(files, name)[str(manifest.of)])
        else:
            freed = tree.size(tree.collect(files)) - tree.size(
                tree.collect(without_manifest(files, name, digest))
            )
            assert manifest.freed_bytes == freed, digest
    alone = sum(item.freed_bytes for item in found.tags) + sum(
        item.freed_bytes or 0 for item in found.manifests
    )
    assert alone <= whole.freed_bytes


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(trees())
def test_every_sum_is_what_a_deletion_shows(files: Files) -> None:
    assume(files)
    with in_memory(files) as fs:
        catalog = Catalog(fs)
        for repository in catalog.repositories:
            check(catalog.usage_of(repository.repository), files)


@pytest.fixture
def made() -> Shop:
    """The shop, and an untagged image of library/hello."""
    made = shop()
    image = build_image([BASE, {"left": b"left" * 300}])
    made.digests["left"] = made.image("library/hello", image)
    made.digests["layer"] = image.layer_digests[1]
    return made


def test_an_untagged_image_frees_what_it_alone_has(made: Shop) -> None:
    with in_memory(made.files) as fs:
        found = Catalog(fs).usage_of("library/hello")
    check(found, made.files)
    by_digest = {manifest.digest: manifest for manifest in found.manifests}
    assert by_digest[made.digests["left"]].role == "untagged"
    assert {manifest.digest for manifest in found.manifests} == {made.digests["left"]}
    base = next(blob for blob in found.blobs if blob.digest == made.digests["base"])
    assert (base.tags, base.repositories) == (("1.0", "latest"), ("team/app",))
    assert made.digests["left"] in base.manifests
    own = next(blob for blob in found.blobs if blob.digest == made.digests["layer"])
    assert (own.relation, own.tags, own.manifests) == ("layer", (), (made.digests["left"],))


def test_children_and_referrers_are_no_untagged_images(made: Shop) -> None:
    with in_memory(made.files) as fs:
        found = Catalog(fs).usage_of("multi/arch")
    check(found, made.files)
    roles = Counter(manifest.role for manifest in found.manifests)
    assert roles == {"child": 3, "referrer": 1}
    assert {manifest.of for manifest in found.manifests} == {made.digests["index"]}
    assert {manifest.freed_bytes is None for manifest in found.manifests if manifest.role == "child"} == {
        True
    }


def test_an_untagged_index_goes_with_its_children(made: Shop) -> None:
    index = made.digests["index"]
    for path in [path for path in made.files if "/tags/1.0/" in path and "multi/arch" in path]:
        del made.files[path]
    with in_memory(made.files) as fs:
        found = {manifest.digest: manifest for manifest in Catalog(fs).usage_of("multi/arch").manifests}
    children = [item for item in found.values() if item.role == "child"]
    assert found[index].role == "untagged"
    assert (found[index].freed_bytes or 0) >= sum(child.stored_bytes for child in children) > 0


def test_what_is_missing_has_no_bytes(made: Shop) -> None:
    del made.files[BlobData(made.digests["base"]).path]
    revision = made.digests["left"]
    del made.files[BlobData(revision).path]
    with in_memory(made.files) as fs:
        found = Catalog(fs).usage_of("library/hello")
    base = next(blob for blob in found.blobs if blob.digest == made.digests["base"])
    assert (base.size, base.missing) == (0, True)
    dangling = next(manifest for manifest in found.manifests if manifest.digest == revision)
    link = ManifestRevisionLink("library/hello", revision).path
    assert dangling.freed_bytes == len(made.files[link])


def test_a_repository_that_is_not_there(made: Shop) -> None:
    with in_memory(made.files) as fs, pytest.raises(UnknownNameError, match="did you mean library/hello"):
        Catalog(fs).usage_of("library/helo")
