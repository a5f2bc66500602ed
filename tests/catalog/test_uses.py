"""Who uses a blob: each way to it, and only those."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from catalog import registry_tree as tree
from catalog.registry_tree import Files, in_memory, trees
from cli.shop import Shop, described, shop
from hypothesis import HealthCheck, assume, given, settings

from regfs.catalog import Catalog
from regfs.catalog.manifest import OCI_INDEX
from regfs.catalog.names import AmbiguousDigestError, UnknownNameError
from regfs.layout import (
    BlobData,
    Digest,
    InvalidDigestError,
    LayerLink,
    ManifestRevisionLink,
    SignatureLink,
    TagIndexLink,
    link_content,
)

if TYPE_CHECKING:
    from regfs.catalog.uses import Uses


def uses_of(made: Shop, digest: Digest | str) -> Uses:
    with in_memory(made.files) as fs:
        return Catalog(fs).uses_of(digest)


def ways(found: Uses) -> set[tuple[str, str, tuple[tuple[str, Digest], ...], tuple[str, ...], bool]]:
    return {
        (use.repository, use.how, tuple((step.how, step.digest) for step in use.steps), use.tags, use.keeps)
        for use in found.uses
    }


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(trees())
def test_the_repositories_are_those_that_keep_it(files: Files) -> None:
    assume(files)
    with in_memory(files) as fs:
        catalog = Catalog(fs)
        for blob in catalog.blobs:
            found = catalog.uses_of(blob.digest)
            names = {name for name in tree.repositories(files) if str(blob.digest) in tree.keeps(files, name)}
            assert set(found.repositories) == names
            assert {use.repository for use in found.uses if use.keeps} == names
            for use in found.uses:
                top = use.steps[-1].digest if use.steps else blob.digest
                if use.how in ("manifest", "layer", "config", "child"):
                    named = {
                        tag
                        for tag in tree.tags(files, use.repository)
                        if tree.current(files, use.repository, tag) == str(top)
                    }
                    assert set(use.tags) == named


def test_a_layer_of_several_images() -> None:
    made = shop()
    assert ways(uses_of(made, made.digests["base"])) == {
        ("library/hello", "layer", (("layer", made.digests["old"]),), ("1.0",), True),
        ("library/hello", "layer", (("layer", made.digests["new"]),), ("latest",), True),
        ("team/app", "layer", (("layer", made.digests["app"]),), ("v1",), True),
    }


def test_a_layer_below_nested_indexes() -> None:
    made = shop()
    inner = json.loads(made.files[BlobData(made.digests["index"]).path])
    outer = {
        "schemaVersion": 2,
        "mediaType": OCI_INDEX,
        "manifests": [described(json.dumps(inner).encode(), OCI_INDEX)],
    }
    top = made.manifest("multi/arch", outer, "nested")
    arm = Digest.parse(inner["manifests"][1]["digest"])
    layer = Digest.parse(json.loads(made.files[BlobData(arm).path])["layers"][0]["digest"])
    below = (("layer", arm), ("child", made.digests["index"]))
    assert ways(uses_of(made, layer)) == {
        ("multi/arch", "layer", below, ("1.0",), True),
        ("multi/arch", "layer", (*below, ("child", top)), ("nested",), True),
    }
    (platforms,) = {use.steps[1].platform for use in uses_of(made, layer).uses}
    assert platforms == "linux/arm64"


def test_a_manifest_is_used_as_itself_and_by_what_is_about_it() -> None:
    made = shop()
    index, bom, signature = (made.digests[name] for name in ("index", "bom", "signature"))
    assert ways(uses_of(made, index)) == {
        ("multi/arch", "manifest", (), ("1.0",), True),
        ("multi/arch", "subject", (("subject", bom),), (), False),
        ("multi/arch", "subject", (("subject", signature),), (f"sha256-{index.hex}.sig",), False),
    }


def test_what_links_alone_lead_to_is_needed_by_nobody() -> None:
    made = shop()
    orphan = made.digests["orphan"]
    assert uses_of(made, orphan).uses == ()
    made.files[LayerLink("team/app", orphan).path] = link_content(orphan)
    made.files[TagIndexLink("team/app", "v1", orphan).path] = link_content(orphan)
    signature = SignatureLink("team/app", made.digests["app"], orphan)
    made.files[signature.path] = link_content(orphan)
    found = uses_of(made, orphan)
    assert found.repositories == ()
    assert {(use.how, use.tags, use.keeps) for use in found.uses} == {
        ("layer link", (), False),
        ("signature link", (), False),
        ("tag history", ("v1",), False),
    }


def test_a_tag_keeps_nothing_without_the_revision() -> None:
    made = shop()
    app = made.digests["app"]
    del made.files[ManifestRevisionLink("team/app", app).path]
    found = uses_of(made, made.digests["base"])
    assert "team/app" not in found.repositories
    assert ("team/app", "layer", (("layer", app),), ("v1",), False) in ways(found)


def test_the_beginning_of_a_digest() -> None:
    made = shop()
    base = made.digests["base"]
    for text in (str(base), base.hex, base.hex[:16], f"sha256:{base.hex[:16]}"):
        assert uses_of(made, text).digest == base
    with pytest.raises(AmbiguousDigestError, match=r"matches \d+ digests: sha256:\w{16}, sha256:"):
        uses_of(made, base.hex[0])
    with pytest.raises(UnknownNameError, match="no blob has this digest"):
        uses_of(made, "0123456789abcdef0123")
    with pytest.raises(UnknownNameError, match="no blob has this digest"):
        uses_of(made, f"sha512:{base.hex[:16]}")
    with pytest.raises(InvalidDigestError, match="expected sha256"):
        uses_of(made, "latest")


def test_a_blob_that_is_missing_is_known_by_who_needs_it() -> None:
    made = shop()
    del made.files[BlobData(made.digests["base"]).path]
    found = uses_of(made, made.digests["base"].hex[:12])
    assert (found.size, found.repositories) == (None, ("library/hello", "team/app"))
