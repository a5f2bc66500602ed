"""Each kind of fault is found, told once, and only if it is one; test_fsck_interop.py asks for pulls."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from catalog.faces import on_seaweedfs as pytest_generate_tests  # noqa: F401 - pytest looks for it
from catalog.varied import described, tree
from support.memory import MemoryDriver

import regfs
from regfs.catalog import Catalog
from regfs.catalog.fsck.check import KINDS, Finding, check
from regfs.catalog.fsck.faults import GRACE, OLD
from regfs.catalog.fsck.findings import Ignore
from regfs.catalog.manifest import LARGEST, OCI_INDEX, OCI_MANIFEST
from regfs.image import Image, build_image, store_image
from regfs.layout import (
    DATABASE_LOCK,
    REPOSITORIES,
    ROOT,
    BlobData,
    Digest,
    LayerLink,
    ManifestRevisionLink,
    PathSpec,
    SignatureLink,
    TagCurrentLink,
    TagIndexLink,
    UploadData,
    UploadStartedAt,
    link_content,
    tags_root,
    uploads_root,
)

if TYPE_CHECKING:
    from typing import BinaryIO

    from support.proxy import CountingProxy, Request

NAME = "team/app"
LATER = datetime.now(timezone.utc) + GRACE * 2


class Registry:
    """A driver of memory with an image in it, to be damaged; its files are two hours old."""

    def __init__(self, *, driver: MemoryDriver | None = None) -> None:
        self.driver = driver or MemoryDriver()
        self.image = build_image([{"a": b"1"}, {"b": b"2"}])
        self.digest = store_image(self.driver, self.image, NAME, "v1")
        self.layer = self.image.layer_digests[0]

    def put(self, spec: PathSpec | str, content: bytes | Digest) -> None:
        data = link_content(content) if isinstance(content, Digest) else content
        self.driver.put_content(str(spec), data)

    def blob(self, content: bytes) -> Digest:
        digest = Digest.of(content)
        self.put(BlobData(digest), content)
        return digest

    def manifest(self, content: bytes, name: str = NAME) -> Digest:
        digest = self.blob(content)
        self.put(ManifestRevisionLink(name, digest), digest)
        return digest

    def delete(self, *specs: PathSpec) -> None:
        for spec in specs:
            self.driver.delete(spec.path)

    def findings(self, *, verify: bool = True, new: bool = False) -> list[Finding]:
        """Check; nothing is so young that it is left alone, unless `new`."""
        catalog = Catalog(self.driver)
        grace = GRACE if new else timedelta(0)
        return check(catalog.source, catalog.snapshot, verify=verify, grace=grace)

    def only(self, **kwargs: Any) -> Finding:
        (found,) = self.findings(**kwargs)
        return found


@pytest.fixture
def registry() -> Registry:
    return Registry()


def told(finding: Finding) -> tuple[str, str, str, str]:
    return finding.kind, finding.severity, finding.path, finding.repository


def test_nothing_is_wrong(registry: Registry) -> None:
    assert registry.findings() == []


def test_every_kind_is_explained_and_has_a_test() -> None:
    text = (
        Path(__file__).read_text()
        + (Path(__file__).parent.parent / "interop/test_fsck_interop.py").read_text()
    )
    assert [kind for kind in KINDS if f'"{kind}"' not in text] == []
    assert all(KINDS.values())


def test_metadata_in_a_database_is_told_of_first(registry: Registry) -> None:
    registry.driver.put_content(DATABASE_LOCK, b'{"version":1}')
    registry.delete(BlobData(registry.layer))
    with pytest.warns(regfs.MetadataDatabaseWarning):
        first, *others = registry.findings()
    assert told(first) == ("metadata-in-database", "warning", DATABASE_LOCK, "")
    assert len(others) == 2


def test_links_that_are_lost_are_an_error(registry: Registry) -> None:
    registry.driver.delete(REPOSITORIES)
    with pytest.warns(regfs.LostLinksWarning, match="no repository has a manifest, beside 4 blobs"):
        (lost,) = registry.findings()
    assert told(lost) == ("links-lost", "error", REPOSITORIES, "")
    assert lost.advice.startswith("restore the links")
    registry.driver.put_content(DATABASE_LOCK, b'{"version":1}')
    with pytest.warns(regfs.MetadataDatabaseWarning):
        assert [finding.kind for finding in registry.findings()] == ["metadata-in-database"]


def test_the_tags_that_a_finding_breaks_are_bounded(registry: Registry) -> None:
    names = sorted(["v1", *(f"more-{number:03}" for number in range(120))])
    for name in names:
        registry.put(TagCurrentLink(NAME, name), registry.digest)
    registry.delete(BlobData(registry.layer))
    for finding in registry.findings():
        if finding.severity == "error":
            assert finding.broken_tags == 121
            assert finding.breaks == tuple(f"{NAME}:{name}" for name in names[:100])
            assert f"breaks {NAME}: {names[0]}, {names[1]} (+119); " in finding.advice


def test_what_no_tag_leads_to_breaks_none(registry: Registry) -> None:
    registry.delete(BlobData(registry.layer), TagCurrentLink(NAME, "v1"))
    registry.delete(TagIndexLink(NAME, "v1", registry.digest))
    missing, _ = registry.findings()
    assert (missing.severity, missing.breaks, missing.broken_tags) == ("error", (), 0)
    assert missing.advice == "no tag leads to it: only pulls by digest break"


def test_a_layer_that_is_missing_is_told_of_the_link_and_of_the_manifest(registry: Registry) -> None:
    registry.delete(BlobData(registry.layer))
    missing, dangling = registry.findings()
    assert told(missing) == ("missing-blob", "error", BlobData(registry.layer).path, NAME)
    assert missing.detail == f"it is a layer of manifest {registry.digest}"
    assert missing.pull == "fails: the registry answers 404 BLOB_UNKNOWN"
    assert told(dangling) == ("dangling-link", "error", LayerLink(NAME, registry.layer).path, NAME)


def test_a_layer_of_many_manifests_is_told_once_for_each_repository(registry: Registry) -> None:
    base = {"base": b"base"}
    images = [build_image([base, {"own": b"%d" % number}]) for number in range(4)]
    for number, image in enumerate(images):
        store_image(registry.driver, image, f"app{number // 3}", f"v{number}")
    registry.delete(BlobData(images[0].layer_digests[0]))
    found = [finding for finding in registry.findings() if finding.kind == "missing-blob"]
    assert [item.repository for item in found] == ["app0", "app1"]
    assert found[0].detail.endswith(" and 2 more")


def test_what_garbage_collection_leaves_is_a_warning(registry: Registry) -> None:
    gone = Digest.of(b"gone")
    registry.put(LayerLink(NAME, gone), gone)
    registry.put(TagIndexLink(NAME, "v1", gone), gone)
    layer, index = registry.findings()
    assert told(layer) == ("dangling-link", "warning", LayerLink(NAME, gone).path, NAME)
    assert layer.pull == "works: no manifest refers to it"
    assert told(index) == ("dangling-link", "warning", TagIndexLink(NAME, "v1", gone).path, NAME)
    assert index.pull == "works: no pull reads it"


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"", "empty-link"),
        (b"x", "malformed-link"),
        (b"sha256:" + b"A" * 64, "malformed-link"),
        (b"sha256:" + b"a" * 64 + b"\n", "malformed-link"),
        (b"\xff" * 71, "malformed-link"),
        (b"blake3:" + b"a" * 64, "malformed-link"),
        (b"x" * 100_000, "malformed-link"),
    ],
)
def test_links_of_every_kind_with_every_content(registry: Registry, content: bytes, kind: str) -> None:
    signature = registry.blob(b"signature")
    unused = registry.blob(b"unused")
    specs: list[PathSpec] = [
        LayerLink(NAME, registry.layer),
        LayerLink(NAME, unused),
        ManifestRevisionLink(NAME, registry.digest),
        SignatureLink(NAME, registry.digest, signature),
        TagCurrentLink(NAME, "v1"),
        TagIndexLink(NAME, "v1", registry.digest),
    ]
    for spec in specs:
        registry.put(spec, content)
    found = {finding.path: (finding.kind, finding.severity) for finding in registry.findings()}
    assert found == {
        spec.path: (kind, "warning" if spec in (specs[1], specs[3], specs[5]) else "error") for spec in specs
    }


def test_a_link_that_leads_astray(registry: Registry) -> None:
    registry.put(LayerLink(NAME, registry.layer), registry.image.config_digest)
    found = registry.only()
    assert told(found) == ("wrong-link", "error", LayerLink(NAME, registry.layer).path, NAME)
    assert found.detail == f"it names {registry.image.config_digest}"
    assert found.pull.startswith("fails: the registry answers 200, and the client refuses")


def test_tags(registry: Registry) -> None:
    other = store_image(registry.driver, build_image([{"c": b"3"}]), "other", "x")
    registry.put(TagCurrentLink(NAME, "foreign"), other)
    registry.put(TagIndexLink(NAME, "lost", registry.digest), registry.digest)
    registry.put(TagCurrentLink(NAME, "gone"), Digest.of(b"gone"))
    found = {
        finding.path.split("/")[-3]: (finding.kind, finding.severity, finding.pull)
        for finding in registry.findings()
    }
    nothing = "fails: the registry answers 404 MANIFEST_UNKNOWN"
    assert {tag: what for tag, what in found.items() if tag in ("foreign", "gone")} == {
        "foreign": ("tag-without-revision", "error", nothing),
        "gone": ("dangling-link", "error", nothing),
    }
    lost = next(finding for finding in registry.findings() if finding.kind == "tag-without-current")
    assert (lost.path, lost.pull) == (TagCurrentLink(NAME, "lost").path, nothing)
    # The repository has none of what the foreign manifest refers to.
    assert "missing-link" in {finding.kind for finding in registry.findings()}


def test_a_reference_without_a_link(registry: Registry) -> None:
    registry.delete(LayerLink(NAME, registry.image.config_digest))
    found = registry.only()
    assert told(found) == ("missing-link", "error", LayerLink(NAME, registry.image.config_digest).path, NAME)
    assert found.pull == "fails: the registry answers 404 BLOB_UNKNOWN"


def index_of(*children: tuple[bytes, int]) -> bytes:
    return index_over(*(described(Digest.of(data), size) for data, size in children))


def index_over(*children: dict[str, Any]) -> bytes:
    return json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": children}).encode()


def child(data: bytes, platform: str = "") -> dict[str, Any]:
    """Return the descriptor of a manifest, for a platform as "linux/arm64"."""
    parts = dict(zip(("os", "architecture"), platform.split("/"), strict=False)) if platform else None
    return described(Digest.of(data), len(data), platform=parts)


def test_children_of_an_index(registry: Registry) -> None:
    manifest = registry.image.manifest
    registry.manifest(index_of((manifest, len(manifest))))
    assert registry.findings() == []
    registry.manifest(index_of((manifest, len(manifest))), "elsewhere")
    found = registry.only()
    assert told(found) == (
        *("missing-revision", "error"),
        *(ManifestRevisionLink("elsewhere", registry.digest).path, "elsewhere"),
    )
    # A layer's link will do for a pull, but keeps nothing of what the child needs.
    registry.put(LayerLink("elsewhere", registry.digest), registry.digest)
    found = registry.only()
    assert (found.kind, found.severity) == ("missing-revision", "warning")
    assert found.pull.endswith("but what it refers to is garbage")


def test_an_index_of_which_no_child_is_there(registry: Registry) -> None:
    index = registry.manifest(index_of((b"gone", 4)))
    found = registry.only()
    gone = ManifestRevisionLink(NAME, Digest.of(b"gone"))
    assert told(found) == ("missing-revision", "error", gone.path, NAME)
    assert found.detail == f"it is a manifest of index {index}, of which the repository has no manifest"
    assert found.pull == "fails: the registry answers 404 MANIFEST_UNKNOWN"


def test_an_index_that_lacks_some_platforms(registry: Registry) -> None:
    """As copies leave it: it can be pulled, though not for every platform."""
    here = child(registry.image.manifest, "linux/amd64")
    index = registry.manifest(index_over(here, child(b"a", "linux/arm64"), child(b"b", "windows/amd64")))
    assert [told(finding) for finding in registry.findings()] == sorted(
        ("missing-revision", "warning", ManifestRevisionLink(NAME, Digest.of(data)).path, NAME)
        for data in (b"a", b"b")
    )
    found = next(finding for finding in registry.findings() if "arm64" in finding.detail)
    of = f"it is the manifest for linux/arm64 of index {index}"
    assert found.detail == f"{of}, of which the repository has 1 of 3 manifests"
    fails = "fails for linux/arm64: the registry answers 404 MANIFEST_UNKNOWN"
    assert found.pull == f"works for linux/amd64; {fails}"

    # The blob may be there, of another repository: nothing changes for a pull of this one.
    registry.manifest(b"a", "elsewhere")
    assert [finding.severity for finding in registry.findings() if finding.repository == NAME] == [
        "warning"
    ] * 2


def test_a_child_that_is_lost_is_an_error(registry: Registry) -> None:
    """Its revision is there, so it was there once: nobody left it out on purpose."""
    here = child(registry.image.manifest, "linux/amd64")
    index = registry.manifest(index_over(here, child(b"lost", "linux/arm64")))
    lost = Digest.of(b"lost")
    registry.put(ManifestRevisionLink(NAME, lost), lost)
    missing, dangling = registry.findings()
    assert told(missing) == ("missing-blob", "error", BlobData(lost).path, NAME)
    assert missing.detail == f"it is the manifest for linux/arm64 of index {index}"
    assert missing.pull == "fails for linux/arm64: the registry answers 404 MANIFEST_UNKNOWN"
    assert (dangling.kind, dangling.severity) == ("dangling-link", "error")


def test_attestations_are_nothing_that_anybody_runs(registry: Registry) -> None:
    image, attestation = registry.image.manifest, b'{"attests": 1}'
    registry.manifest(
        index_over(child(image, "linux/amd64"), child(attestation, "unknown/unknown")), "attested"
    )
    registry.put(ManifestRevisionLink("attested", registry.digest), registry.digest)
    for digest in (registry.image.config_digest, *registry.image.layer_digests):
        registry.put(LayerLink("attested", digest), digest)
    found = registry.only()
    assert (found.kind, found.severity) == ("missing-revision", "warning")
    assert "it is an attestation of index " in found.detail
    assert found.pull.startswith("works for linux/amd64; fails for the attestation: the registry answers 404")

    # An attestation alone makes no index that can be pulled.
    statement = registry.image.manifest
    registry.manifest(index_over(child(b"gone", "linux/amd64"), child(statement, "unknown/unknown")))
    found = next(finding for finding in registry.findings() if finding.repository == NAME)
    assert (found.kind, found.severity) == ("missing-revision", "error")


def test_a_child_of_several_indexes_is_judged_by_the_worst(registry: Registry) -> None:
    gone = child(b"gone", "linux/arm64")
    registry.manifest(index_over(child(registry.image.manifest, "linux/amd64"), gone))
    assert registry.only().severity == "warning"
    nothing_left = registry.manifest(index_over(gone))
    found = registry.only()
    assert (found.severity, str(nothing_left) in found.detail) == ("error", True)


def test_a_child_that_comes_meanwhile() -> None:
    registry, driver = meddled()
    other = build_image([{"other": b"x"}])
    index = index_over(child(registry.image.manifest), child(other.manifest))
    registry.manifest(index)
    revision = ManifestRevisionLink(NAME, other.manifest_digest)
    driver.on(revision, lambda: store_image(registry.driver, other, NAME, "v2"), after=2)
    assert registry.findings() == []


def cache_of(registry: Registry, *layers: bytes, config: bytes = b'{"layers":[]}') -> list[dict[str, Any]]:
    """Store what a BuildKit cache is an index of, and give its descriptors."""
    listed = [(layer, "application/vnd.oci.image.layer.v1.tar+gzip") for layer in layers]
    listed.append((config, "application/vnd.buildkit.cacheconfig.v0"))
    for content, _ in listed:
        registry.put(LayerLink(NAME, registry.blob(content)), Digest.of(content))
    return [described(Digest.of(content), len(content), media_type) for content, media_type in listed]


def test_a_build_cache_is_healthy(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its layers are read by nobody, and kept."""
    children = cache_of(registry, b"one", b"two" * 2**20)
    cache = registry.manifest(index_over(*children))
    read: list[str] = []
    get_content = registry.driver.get_content

    def noting(path: str) -> bytes:
        read.append(path)
        return get_content(path)

    monkeypatch.setattr(registry.driver, "get_content", noting)
    assert registry.findings(verify=False) == []
    assert BlobData(cache).path in read
    assert {BlobData(Digest.parse(item["digest"])).path for item in children}.isdisjoint(read)
    catalog = Catalog(registry.driver)
    assert catalog.orphans(0).blobs == ()
    assert {reference.relation for reference in catalog.references if reference.manifest == cache} == {
        "layer",
        "config",
    }


def test_a_layer_of_a_build_cache_that_a_tag_names_is_still_a_layer(registry: Registry) -> None:
    children = cache_of(registry, b"one", b"two")
    registry.manifest(index_over(*children))
    one = Digest.of(b"one")
    registry.put(TagCurrentLink(NAME, "odd"), str(one).encode())
    registry.delete(BlobData(one), LayerLink(NAME, one))
    assert ("missing-blob", BlobData(one).path) in {(f.kind, f.path) for f in registry.findings(verify=False)}


def test_the_layers_of_a_build_cache_are_checked_as_layers(registry: Registry) -> None:
    children = cache_of(registry, b"one", b"two", b"three")
    cache = registry.manifest(index_over(*children))
    one, two, three = (Digest.of(name) for name in (b"one", b"two", b"three"))
    registry.delete(BlobData(one), LayerLink(NAME, two))
    registry.put(BlobData(three), b"cut")
    found = {(finding.kind, finding.path): finding for finding in registry.findings(verify=False)}
    assert set(found) == {
        ("missing-blob", BlobData(one).path),
        ("dangling-link", LayerLink(NAME, one).path),
        ("missing-link", LayerLink(NAME, two).path),
        ("wrong-size", BlobData(three).path),
    }
    assert {item.severity for item in found.values()} == {"error"}
    missing = found["missing-blob", BlobData(one).path]
    assert missing.detail == f"it is a layer of manifest {cache}"
    assert missing.pull == "fails: the registry answers 404 BLOB_UNKNOWN"


def test_what_is_a_child_here_and_a_layer_there(registry: Registry) -> None:
    """A pull of the index may do without it, one of the image may not."""
    here = child(registry.image.manifest, "linux/amd64")
    registry.manifest(index_over(here, child(registry.image.layers[0], "linux/arm64")))
    registry.delete(LayerLink(NAME, registry.layer), BlobData(registry.layer))
    found = {finding.kind: finding.severity for finding in registry.findings()}
    assert found == {"missing-revision": "warning", "missing-blob": "error", "missing-link": "error"}


def test_a_child_of_an_unknown_type_is_what_the_repository_has_it_as(registry: Registry) -> None:
    manifest = described(registry.digest, len(registry.image.manifest), "application/json")
    bill = registry.blob(b"bill of materials")
    registry.put(LayerLink(NAME, bill), bill)
    registry.manifest(index_over(manifest, described(bill, 17, "text/spdx")))
    assert registry.findings() == []
    registry.delete(LayerLink(NAME, bill))
    assert registry.only().kind == "missing-link"


# -- what is known -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        ("missing-blob", True),
        ("missing-link", False),
        ("missing-blob:team/app", True),
        ("missing-blob:team/*", True),
        ("missing-blob:*app", True),
        ("missing-blob:team", False),
        ("missing-blob:app", False),
        ("missing-blob:TEAM/*", False),
        ("missing-blob:/docker/registry/v2/blobs/sha256/aa/*", True),
        ("missing-blob:*/aa/a*/data", True),
        ("missing-blob:*/bb/*", False),
        ("missing-blob:?eam/[ab]pp", True),
        ("missing-link:team/app", False),
    ],
)
def test_what_is_ignored(text: str, matches: bool) -> None:
    finding = Finding("missing-blob", "error", BlobData(Digest("sha256", "a" * 64)).path, "team/app", "", "")
    ignore = Ignore.parse(text)
    assert ignore.matches(finding) is matches
    assert str(ignore) == text
    assert Ignore.parse(str(ignore)) == ignore


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("missing-blobs", "'missing-blobs' is not a kind of finding; did you mean missing-blob?"),
        ("Missing-Link:*", "'Missing-Link' is not a kind of finding; did you mean missing-link?"),
        ("", "'' is not a kind of finding; there are dangling-link, empty-link,"),
        ("*", "'*' is not a kind of finding; there are dangling-link, empty-link,"),
        ("missing-blob:", "'missing-blob:' has no pattern; leave the colon out"),
    ],
)
def test_what_cannot_be_ignored(registry: Registry, text: str, says: str) -> None:
    with pytest.raises(ValueError, match=re.escape(says)):
        Ignore.parse(text)
    catalog = Catalog(registry.driver)
    with pytest.raises(ValueError, match=re.escape(says)):
        catalog.fsck(ignore=[text])
    assert "snapshot" not in catalog.__dict__, "it is refused before anything is read"


def test_a_check_leaves_out_what_is_known(registry: Registry) -> None:
    registry.delete(BlobData(registry.layer))
    registry.manifest(index_over(child(registry.image.manifest), child(b"gone", "linux/arm64")))
    catalog = Catalog(registry.driver)
    assert {item.kind for item in catalog.fsck()} == {"missing-blob", "dangling-link", "missing-revision"}
    left = catalog.fsck(ignore=["missing-revision:team/*", "missing-blob:elsewhere"])
    assert {item.kind for item in left} == {"missing-blob", "dangling-link"}
    every: list[str | Ignore] = ["missing-revision", Ignore("missing-blob"), "dangling-link:*"]
    assert catalog.fsck(ignore=every) == []


def test_what_need_not_be_there(registry: Registry) -> None:
    """Layers that may not be distributed, and what an artifact is about."""
    config = registry.blob(b"{}")
    registry.put(LayerLink(NAME, config), config)
    foreign = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": described(config, 2),
        "layers": [described(Digest.of(b"Windows"), 7, foreign)],
        "subject": described(Digest.of(b"gone"), 4),
    }
    registry.manifest(json.dumps(document).encode())
    assert registry.findings() == []


def test_sizes(registry: Registry) -> None:
    registry.manifest(index_of((registry.image.manifest, 5)))
    found = registry.only()
    assert told(found) == ("wrong-size", "error", BlobData(registry.digest).path, NAME)
    assert f"{len(registry.image.manifest)} bytes, not 5" in found.detail
    registry.put(BlobData(registry.layer), b"cut")
    found = next(
        finding
        for finding in registry.findings(verify=False)
        if finding.path == BlobData(registry.layer).path
    )
    assert found.kind == "wrong-size"
    assert found.pull.startswith("fails: the registry answers 200")


def test_digests(registry: Registry) -> None:
    size = len(registry.image.layers[0])
    registry.put(BlobData(registry.layer), bytes(size))
    orphan = registry.blob(b"orphan")
    registry.put(BlobData(orphan), b"ORPHAN")
    long = Digest("sha512", hashlib.sha512(b"long").hexdigest())
    registry.put(BlobData(long), b"long!")
    unknown = Digest("blake3", "a" * 64)
    registry.put(BlobData(unknown), b"whatever")
    assert registry.findings(verify=False) == [], "what is not read is not compared"
    found = {told(finding) for finding in registry.findings()}
    assert found == {
        ("wrong-digest", "error", BlobData(registry.layer).path, NAME),
        ("wrong-digest", "warning", BlobData(orphan).path, ""),
        ("wrong-digest", "warning", BlobData(long).path, ""),
    }


def test_digests_of_what_is_read_anyway(registry: Registry) -> None:
    registry.put(BlobData(registry.digest), registry.image.manifest.replace(b'":', b'" :', 1))
    registry.put(BlobData(registry.image.config_digest), registry.image.config.replace(b"amd64", b"arm64"))
    found = {(finding.kind, finding.path) for finding in registry.findings(verify=False)}
    assert found == {
        ("wrong-digest", BlobData(registry.digest).path),
        ("wrong-digest", BlobData(registry.image.config_digest).path),
    }


def test_manifests(registry: Registry) -> None:
    damaged = registry.manifest(b"{")
    large = registry.manifest(b"{}".ljust(LARGEST + 1))
    unknown = registry.manifest(b'{"schemaVersion":2,"mediaType":"text/plain"}')
    document = json.loads(registry.image.manifest)
    refused = registry.manifest(json.dumps({**document, "schemaVersion": 3}).encode())
    found = {finding.path: finding for finding in registry.findings()}
    assert {path: one.kind for path, one in found.items()} == {
        BlobData(damaged).path: "damaged-manifest",
        BlobData(large).path: "large-manifest",
        BlobData(unknown).path: "unknown-manifest",
        BlobData(refused).path: "refused-manifest",
    }
    assert {item.pull for item in found.values()} == {"fails: the registry answers 500 UNKNOWN"}
    assert found[BlobData(refused).path].detail == "its schema version 3 is unknown"


def test_a_manifest_that_cannot_be_read_may_use_any_layer(registry: Registry) -> None:
    unused = registry.blob(b"unused")
    registry.put(LayerLink(NAME, unused), unused)
    assert [finding.kind for finding in registry.findings()] == ["unused-link"]
    registry.manifest(b"{")
    assert [finding.kind for finding in registry.findings()] == ["damaged-manifest"]


def test_a_damaged_configuration(registry: Registry) -> None:
    config = b"no JSON"
    digest = registry.blob(config)
    document = json.loads(registry.image.manifest)
    document["config"] |= {"digest": str(digest), "size": len(config)}
    registry.put(LayerLink(NAME, digest), digest)
    revision = registry.manifest(json.dumps(document).encode())
    found = registry.only()
    assert told(found) == ("damaged-config", "error", BlobData(digest).path, NAME)
    assert str(revision) in found.detail


def test_unused_links_and_how_long_they_may_wait(registry: Registry) -> None:
    unused = registry.blob(b"unused")
    registry.put(LayerLink(NAME, unused), unused)
    found = registry.only()
    assert told(found) == ("unused-link", "warning", LayerLink(NAME, unused).path, NAME)
    assert found.pull == "works: no manifest refers to it"
    assert registry.findings(new=True) == [], "its manifest may be on its way"
    content, _ = registry.driver.files[LayerLink(NAME, unused).path]
    registry.driver.files[LayerLink(NAME, unused).path] = content, datetime.now(timezone.utc) - 2 * GRACE
    assert registry.only(new=True) == found


def test_manifests_among_the_layers_are_in_use(registry: Registry) -> None:
    """The registry's version 2.1.0 linked manifests so."""
    registry.put(LayerLink(NAME, registry.digest), registry.digest)
    assert registry.findings() == []


def test_unknown_files(registry: Registry) -> None:
    for number in range(30):
        registry.put(f"{ROOT}/strange/{number:02}", b"12")
    found = registry.only()
    assert told(found) == ("unknown-files", "warning", ROOT, "")
    assert found.detail.startswith("30 files of 60 bytes, such as /docker/registry/v2/strange/")


def test_uploads() -> None:
    registry = Registry()
    old, new = datetime.now(timezone.utc) - OLD - timedelta(hours=1), datetime.now(timezone.utc) - OLD / 2
    for id_, when in (("old", old), ("new", new)):
        registry.put(UploadStartedAt(NAME, id_), when.strftime("%Y-%m-%dT%H:%M:%SZ").encode())
        registry.put(UploadData(NAME, id_), b"12345")
    found = registry.only()
    assert told(found) == ("old-upload", "warning", f"{uploads_root(NAME)}/old", NAME)
    assert found.detail == f"begun {old:%Y-%m-%d %H:%M} UTC, it holds 25 bytes"


def test_findings_come_in_one_order(registry: Registry) -> None:
    for name in ("b", "a/b", "a", "c"):
        made = build_image([{name.replace("/", "-"): b"x"}])
        store_image(registry.driver, made, name, "v1")
        registry.delete(BlobData(made.layer_digests[0]))
    found = registry.findings()
    assert [item.repository for item in found] == ["a", "a", "a/b", "a/b", "b", "b", "c", "c"]
    shuffled = dict(sorted(registry.driver.files.items(), reverse=True))
    registry.driver.files = shuffled
    assert registry.findings() == found


# -- asked once more ---------------------------------------------------------------------------------------


class Meddler(MemoryDriver):
    """Does something just before some path is read for the n-th time."""

    def __init__(self) -> None:
        super().__init__()
        self.path = ""
        self.act: Callable[[], object] = lambda: None
        self.after = 1

    def get_content(self, path: str) -> bytes:
        self._meddle(path)
        return super().get_content(path)

    def stat(self, path: str) -> regfs.FileInfo:
        self._meddle(path)
        return super().stat(path)

    def _meddle(self, path: str) -> None:
        if path == self.path:
            self.after -= 1
            if self.after == 0:
                self.act()

    def on(self, spec: PathSpec, act: Callable[[], object], after: int = 1) -> None:
        self.path, self.act, self.after = spec.path, act, after


def meddled() -> tuple[Registry, Meddler]:
    driver = Meddler()
    return Registry(driver=driver), driver


def test_a_link_that_is_written_anew_meanwhile() -> None:
    registry, driver = meddled()
    link = LayerLink(NAME, registry.layer)
    registry.put(link, b"")
    driver.on(link, lambda: registry.put(link, registry.layer), after=2)
    assert registry.findings() == []


def test_a_blob_that_comes_back_meanwhile() -> None:
    registry, driver = meddled()
    blob = BlobData(registry.layer)
    content = registry.driver.get_content(blob.path)
    registry.delete(blob)
    driver.on(blob, lambda: registry.put(blob, content), after=2)  # the scan asks first, then fsck
    assert registry.findings(verify=False) == []


def test_a_layers_link_that_comes_meanwhile() -> None:
    registry, driver = meddled()
    link = LayerLink(NAME, registry.layer)
    registry.delete(link)
    driver.on(link, lambda: registry.put(link, registry.layer))
    assert registry.findings() == []


def test_a_tag_that_moves_or_goes_meanwhile() -> None:
    for act in ("move", "remove"):
        registry, driver = meddled()
        tag = TagCurrentLink(NAME, "v2")
        registry.put(tag, Digest.of(b"gone"))

        def moved(registry: Registry = registry, tag: TagCurrentLink = tag) -> None:
            registry.put(tag, registry.digest)

        def removed(registry: Registry = registry, tag: TagCurrentLink = tag) -> None:
            registry.delete(tag)

        driver.on(tag, moved if act == "move" else removed, after=2)
        assert registry.findings() == []


def test_a_tag_without_current_that_is_written_or_removed_meanwhile() -> None:
    for write in (True, False):
        registry, driver = meddled()
        tag, entry = TagCurrentLink(NAME, "v2"), TagIndexLink(NAME, "v2", registry.digest)
        registry.put(entry, registry.digest)

        def act(
            write: bool = write,
            registry: Registry = registry,
            tag: TagCurrentLink = tag,
            entry: TagIndexLink = entry,
        ) -> None:
            if write:
                registry.put(tag, registry.digest)
            else:
                registry.delete(entry)

        driver.on(tag, act)
        assert registry.findings() == []


def test_an_image_that_is_deleted_meanwhile() -> None:
    """Between the look and the reading of the links: its revision is gone, and so are its faults."""
    registry, driver = meddled()
    registry.delete(BlobData(registry.layer))
    revision = ManifestRevisionLink(NAME, registry.digest)

    def delete() -> None:
        driver.delete(f"{tags_root(NAME)}/v1")
        registry.delete(revision)

    driver.on(LayerLink(NAME, registry.image.config_digest), delete)
    kinds = {(finding.kind, finding.severity) for finding in registry.findings(verify=False)}
    assert kinds == {("dangling-link", "warning"), ("unused-link", "warning")}


def test_a_manifest_that_comes_for_old_layers() -> None:
    """A link from long ago is in use again, by an image that was pushed since the look."""
    registry, driver = meddled()
    layer = registry.blob(b"old layer")
    registry.put(LayerLink(NAME, layer), layer)
    document = json.loads(registry.image.manifest)
    document["layers"][0] = described(layer, 9, document["layers"][0]["mediaType"])

    driver.on(LayerLink(NAME, layer), lambda: registry.manifest(json.dumps(document).encode()))
    assert registry.findings() == []
    assert [finding.kind for finding in registry.findings()] == []


def test_a_blob_that_goes_while_all_are_verified() -> None:
    registry, driver = meddled()
    blob = BlobData(registry.layer)
    driver.on(blob, lambda: registry.delete(blob))
    assert {finding.kind for finding in registry.findings()} == {"missing-blob", "dangling-link"}


# -- every blob --------------------------------------------------------------------------------------------


def large_image(number: int) -> Image:
    return build_image([{"data": hashlib.shake_128(b"%d" % number).digest(3 << 20)}])


@pytest.mark.parametrize("face", ["driver", "filesystem"])
def test_large_blobs_are_streamed(face: str, options: dict[str, Any]) -> None:
    driver = regfs.create("s3", options)
    images = [large_image(number) for number in range(6)]
    for number, image in enumerate(images):
        store_image(driver, image, "a", f"v{number}")
    broken = images[3].layer_digests[0]
    content = driver.get_content(BlobData(broken).path)
    driver.put_content(BlobData(broken).path, content[:-1] + bytes([content[-1] ^ 1]))
    told: list[tuple[str, int, int | None]] = []
    catalog = Catalog(driver if face == "driver" else driver.fs, lambda *arguments: told.append(arguments))
    (found,) = catalog.fsck(verify=True)
    assert (found.kind, found.path) == ("wrong-digest", BlobData(broken).path)
    total = sum(len(image.layers[0]) for image in images)
    verified = [done for stage, done, of in told if stage == "verifying" and of == total]
    assert verified == sorted(verified)
    assert verified[-1] == total


def test_verifying_holds_a_few_blocks_and_ends_at_the_first_failure() -> None:
    held: set[int] = set()
    most = [0]
    lock = threading.Lock()
    size, opened = 40 << 20, []

    class Endless(MemoryDriver):
        """Has large blobs that it makes up as they are read."""

        def reader(self, path: str, offset: int = 0) -> BinaryIO:
            opened.append(path)
            if len(opened) == 12:
                raise ConnectionError("lost")
            return Zeros()  # type: ignore[return-value]  # it reads, which is all that is asked

    class Zeros:
        def __init__(self) -> None:
            self.left = size

        def read(self, wanted: int) -> bytes:
            with lock:
                held.add(id(self))
                most[0] = max(most[0], len(held))
            assert wanted <= 1 << 20
            self.left -= wanted
            return bytes(wanted) if self.left >= 0 else b""

        def __enter__(self) -> Zeros:
            return self

        def __exit__(self, *_: object) -> None:
            with lock:
                held.discard(id(self))

    driver = Endless()
    now = datetime.now(timezone.utc)
    for number in range(100):
        driver.files[BlobData(Digest.of(b"%d" % number)).path] = Sized(size), now
    driver.put_content(UploadStartedAt("a", "x").path, now.strftime("%Y-%m-%dT%H:%M:%SZ").encode())
    with pytest.raises(ConnectionError, match="lost"):
        Catalog(driver).fsck(verify=True)
    assert most[0] <= 4
    assert len(opened) < 20, "the others are not begun"


class Sized(bytes):
    """Bytes that say they are more than they are."""

    size = 0

    def __new__(cls, size: int) -> Sized:
        made = super().__new__(cls)
        made.size = size
        return made

    def __len__(self) -> int:
        return self.size


def test_a_failure_is_no_finding(proxied_options: dict[str, Any], proxy: CountingProxy) -> None:
    driver = regfs.create("s3", proxied_options)
    image = build_image([{"a": b"1"}])
    store_image(driver, image, "a", "v1")
    catalog = Catalog(driver)
    assert catalog.snapshot
    link = LayerLink("a", image.config_digest).path

    def refuse(request: Request) -> bytes | None:
        return b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n" if request.path.endswith(link) else None

    proxy.fault = refuse
    with pytest.raises(PermissionError):
        catalog.fsck()


def test_a_tree_of_everything() -> None:
    driver = MemoryDriver()
    for path, content in tree().files.items():
        driver.put_content(path, content)
    kinds = {item.kind for item in Catalog(driver).fsck(verify=True)}
    assert {"damaged-manifest", "large-manifest", "empty-link", "tag-without-current"} <= kinds
    assert {"missing-blob", "missing-link", "unknown-files", "old-upload", "wrong-size"} <= kinds
