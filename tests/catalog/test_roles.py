"""What a manifest is to the others: tagged, a child, a referrer, untagged."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from catalog.registry_tree import in_memory
from cli.shop import Shop, described

from regfs.catalog import Catalog
from regfs.catalog.manifest import OCI_INDEX, OCI_MANIFEST
from regfs.catalog.roles import MISSING, referrer_tag
from regfs.image import build_image
from regfs.layout import BlobData, Digest

if TYPE_CHECKING:
    from regfs.catalog.roles import RevisionRecord

IMAGE = build_image([{"a": b"a" * 100}])


def index(*manifests: bytes, **more: Any) -> bytes:
    children = [described(manifest) for manifest in manifests]
    document = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": children, **more}
    return json.dumps(document).encode()


def referrer(subject: bytes) -> bytes:
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "artifactType": "application/x.sig",
        "config": described(b"{}", "application/vnd.oci.empty.v1+json"),
        "layers": [],
        "subject": described(subject),
    }
    return json.dumps(document).encode()


def roles(made: Shop) -> dict[Digest, RevisionRecord]:
    """Return the revisions of "a"; the frame's column tells the same where there is no other repository."""
    with in_memory(made.files) as fs:
        catalog = Catalog(fs)
        found = {revision.digest: revision for revision in catalog.revisions("a")}
        assert {manifest.digest: manifest.role for manifest in catalog.manifests} == {
            digest: one.role for digest, one in found.items() if one.problem != MISSING
        }
    return found


@pytest.mark.parametrize(
    ("tag", "found"),
    [
        (f"sha256-{'a' * 64}.sig", Digest("sha256", "a" * 64)),
        (f"sha256-{'a' * 64}", Digest("sha256", "a" * 64)),
        (f"sha512-{'b' * 128}.att", Digest("sha512", "b" * 128)),
        (f"sha256-{'a' * 66}", None),
        ("sha256-abc.sig", None),
        ("latest", None),
    ],
)
def test_tags_of_signing_tools(tag: str, found: Digest | None) -> None:
    assert referrer_tag(tag) == found


def test_a_tag_comes_before_an_index_and_a_subject() -> None:
    made = Shop()
    digest = made.image("a", IMAGE, "v1")
    top = made.manifest("a", index(IMAGE.manifest))
    found = roles(made)
    assert (found[digest].role, found[digest].of, found[digest].tags) == ("tagged", None, ("v1",))
    assert found[top].role == "untagged"


def test_a_child_belongs_to_the_tagged_index() -> None:
    made = Shop()
    digest = made.image("a", IMAGE)
    tops = [made.manifest("a", index(IMAGE.manifest, annotations={"n": str(n)})) for n in range(8)]
    assert (roles(made)[digest].role, roles(made)[digest].of) == ("child", min(tops))
    made.manifest("a", index(IMAGE.manifest, annotations={"n": "last"}), "v1")
    tagged = Digest.of(index(IMAGE.manifest, annotations={"n": "last"}))
    assert roles(made)[digest].of == tagged


def test_a_referrer_needs_its_subject() -> None:
    made = Shop()
    made.image("a", IMAGE, "v1")
    about = made.manifest("a", referrer(IMAGE.manifest))
    lost = made.manifest("a", referrer(b"nobody has it"))
    found = roles(made)
    assert (found[about].role, found[about].of) == ("referrer", IMAGE.manifest_digest)
    assert (found[lost].role, found[lost].of) == ("untagged", None)


def test_a_tag_made_of_a_digest_makes_a_referrer() -> None:
    made = Shop()
    made.image("a", IMAGE, "v1")
    tag = f"sha256-{IMAGE.manifest_digest.hex}.sig"
    signature = made.image("a", build_image([{"sig": b"s"}]), tag)
    found = roles(made)[signature]
    assert (found.role, found.of, found.tags) == ("referrer", IMAGE.manifest_digest, (tag,))
    made.image("a", build_image([{"sig": b"s"}]), "signature")
    assert roles(made)[signature].role == "tagged"


def test_a_revision_without_a_blob_has_a_problem() -> None:
    made = Shop()
    made.image("a", IMAGE, "v1")
    other = made.image("a", build_image([{"b": b"b"}]))
    del made.files[BlobData(other).path]
    record = roles(made)[other]
    assert (record.role, record.size, record.problem) == ("untagged", None, MISSING)
