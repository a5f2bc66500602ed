"""What the questions about a registry answer, where a real registry wrote what is there."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from interop.test_fsck_interop import index_of, push_blob, push_manifest

import regfs
from regfs.catalog import Catalog
from regfs.catalog.manifest import OCI_INDEX, OCI_MANIFEST
from regfs.image import MANIFEST_TYPE, build_image
from regfs.layout import BlobData, Digest, LayerLink, TagCurrentLink

if TYPE_CHECKING:
    from interop.registry import Registry
    from support.servers import Place

    from regfs.catalog.fsck.findings import Finding
    from regfs.image import Image

pytestmark = pytest.mark.interop

OLD = build_image([{"base": b"base" * 500}, {"old": b"o" * 900}])
NEW = build_image([{"base": b"base" * 500}, {"new": b"n" * 700}])
NAME = "team/app1"


def push(registry: Registry, name: str, image: Image, reference: str) -> None:
    """Push as clients do: only what the registry says it lacks."""
    for blob in (*image.layers, image.config):
        if registry.request("HEAD", f"/v2/{name}/blobs/{Digest.of(blob)}").status != 200:
            push_blob(registry, name, blob)
    push_manifest(registry, name, reference, MANIFEST_TYPE, image.manifest)


@pytest.fixture
def catalog(registry: Registry, interop_options: dict[str, Any]) -> Catalog:
    """A tag that was overwritten, an index, a signature as an OCI referrer; and another repository."""
    push(registry, NAME, OLD, "latest")
    push(registry, NAME, NEW, "latest")
    child = build_image([{"child": b"c" * 300}])
    push(registry, NAME, child, str(child.manifest_digest))
    push_manifest(registry, NAME, "multi", OCI_INDEX, index_of(child))
    push_blob(registry, NAME, b"{}")
    empty = {"mediaType": "application/vnd.oci.empty.v1+json", "digest": str(Digest.of(b"{}")), "size": 2}
    subject = {
        "mediaType": MANIFEST_TYPE,
        "digest": str(NEW.manifest_digest),
        "size": len(NEW.manifest),
    }
    signature = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "artifactType": "application/x.sig",
        "config": empty,
        "layers": [empty],
        "subject": subject,
    }
    content = json.dumps(signature).encode()
    push_manifest(registry, NAME, str(Digest.of(content)), OCI_MANIFEST, content)
    push(registry, "library/base", OLD, "1")
    return Catalog(regfs.RegistryFileSystem(**interop_options))


def test_what_an_overwritten_tag_leaves(catalog: Catalog) -> None:
    found = {revision.digest: (revision.role, revision.tags) for revision in catalog.revisions(NAME)}
    assert found[OLD.manifest_digest] == ("untagged", ())
    assert found[NEW.manifest_digest] == ("tagged", ("latest",))
    assert sorted(role for role, _ in found.values()) == ["child", "referrer", "tagged", "tagged", "untagged"]
    usage = catalog.usage_of(NAME)
    untagged = next(manifest for manifest in usage.manifests if manifest.role == "untagged")
    # library/base has the same image: nothing but the link would go.
    assert (untagged.freed_bytes, untagged.stored_bytes > 900) == (71, True)
    assert sum(blob.size for blob in usage.blobs) == usage.repository.stored_bytes
    base = catalog.uses_of(OLD.layer_digests[0].hex[:20])
    assert base.repositories == ("library/base", NAME)
    assert {(use.repository, use.tags) for use in base.uses} == {
        ("library/base", ("1",)),
        (NAME, ()),
        (NAME, ("latest",)),
    }


def errors(catalog: Catalog) -> list[Finding]:
    catalog.refresh()
    return [finding for finding in catalog.fsck(verify=True) if finding.severity == "error"]


@pytest.mark.parametrize("damage", ["missing", "altered", "empty link", "empty tag"])
def test_what_fsck_advises_heals(
    catalog: Catalog, registry: Registry, interop_place: Place, damage: str
) -> None:
    layer = NEW.layer_digests[1]
    blob, link = BlobData(layer).path[1:], LayerLink(NAME, layer).path[1:]
    tag = TagCurrentLink(NAME, "latest").path[1:]
    assert errors(catalog) == []
    if damage == "missing":
        interop_place.s3.delete_object(Bucket=interop_place.bucket, Key=interop_place.prefix + blob)
    elif damage == "altered":
        interop_place.put(blob, b"x" * len(NEW.layers[1]))
    else:
        interop_place.put(link if damage == "empty link" else tag, b"")
    found = errors(catalog)
    assert found
    for finding in found:
        assert (finding.breaks, finding.broken_tags) == ((f"{NAME}:latest",), 1)
        assert finding.advice.startswith(f"breaks {NAME}:latest; ")
        _, _, remedy = finding.advice.partition("; ")
        assert remedy in ("push it again", "remove that file, and push it again")
        if remedy.startswith("remove"):
            key = interop_place.prefix + finding.path[1:]
            interop_place.s3.delete_object(Bucket=interop_place.bucket, Key=key)
    push(registry, NAME, NEW, "latest")
    assert errors(catalog) == []
