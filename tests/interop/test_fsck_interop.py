"""What `regfs.catalog.fsck.pulls` foretells of a damaged storage, the real registry does: `fsck` is true."""

from __future__ import annotations

import hashlib
import json
import os
import random
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from interop.registry import _ACCEPT

import regfs
from regfs.catalog import Catalog
from regfs.catalog.fsck.check import _Check
from regfs.catalog.fsck.pulls import FAILURE, Answer
from regfs.catalog.fsck.refusal import CRASH, refusal
from regfs.catalog.manifest import DOCKER_LIST, DOCKER_MANIFEST, LARGEST, OCI_ARTIFACT, OCI_INDEX
from regfs.catalog.scan import altered
from regfs.image import CONFIG_TYPE, LAYER_TYPE, MANIFEST_TYPE, build_image
from regfs.layout import (
    BlobData,
    Digest,
    LayerLink,
    ManifestRevisionLink,
    PathSpec,
    TagCurrentLink,
    TagIndexLink,
    link_content,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from interop.registry import Registry
    from support.servers import Place

    from regfs.image import Image

pytestmark = pytest.mark.interop

TAG = "v1"
DAY = timedelta(days=1)


def key(spec: PathSpec) -> str:
    return spec.path[1:]


@dataclass
class Pushed:
    """An image and an index over it, pushed to a repository of its own, for a test to damage."""

    place: Place
    registry: Registry
    name: str
    image: Image
    index: bytes

    @property
    def manifest(self) -> Digest:
        return self.image.manifest_digest

    @property
    def layer(self) -> Digest:
        return self.image.layer_digests[0]

    @property
    def config(self) -> Digest:
        return self.image.config_digest

    def put(self, spec: PathSpec, content: bytes) -> None:
        self.place.put(key(spec), content)

    def delete(self, *specs: PathSpec) -> None:
        for spec in specs:
            self.place.s3.delete_object(Bucket=self.place.bucket, Key=self.place.prefix + key(spec))


def push_blob(registry: Registry, name: str, content: bytes, digest: str = "") -> None:
    location = registry.begin_upload(name)
    registry.finish_upload(location, digest or str(Digest.of(content)), content)


def push_manifest(registry: Registry, name: str, reference: str, media_type: str, content: bytes) -> None:
    path = f"/v2/{name}/manifests/{reference}"
    registry._expect(201, "PUT", path, content, {"Content-Type": media_type})


def index_of(*images: Image) -> bytes:
    children = [
        {"mediaType": MANIFEST_TYPE, "digest": str(image.manifest_digest), "size": len(image.manifest)}
        for image in images
    ]
    return json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": children}).encode()


def push(place: Place, registry: Registry, name: str) -> Pushed:
    # Its blobs are nobody else's, so that damage stays in one repository.
    image = build_image([{"name": name.encode()}, {"more": os.urandom(100)}], labels={"name": name})
    for blob in (*image.layers, image.config):
        push_blob(registry, name, blob)
    push_manifest(registry, name, TAG, MANIFEST_TYPE, image.manifest)
    index = index_of(image)
    push_manifest(registry, name, "all", OCI_INDEX, index)
    return Pushed(place, registry, name, image, index)


# -- what is done to a repository, and what has to be found ----------------------------------------------

OTHER = b"of nobody"


def dangling_layer(it: Pushed) -> None:
    it.delete(BlobData(it.layer))


def dangling_revision(it: Pushed) -> None:
    it.delete(BlobData(it.manifest))


def no_layer_link(it: Pushed) -> None:
    it.delete(LayerLink(it.name, it.layer))


def no_config_link(it: Pushed) -> None:
    it.delete(LayerLink(it.name, it.config))


def empty_layer_link(it: Pushed) -> None:
    it.put(LayerLink(it.name, it.layer), b"")


def malformed_layer_link(it: Pushed) -> None:
    it.put(LayerLink(it.name, it.layer), link_content(it.layer) + b"\n")


def wrong_layer_link(it: Pushed) -> None:
    it.put(LayerLink(it.name, it.layer), link_content(it.config))


def unknown_algorithm_in_a_link(it: Pushed) -> None:
    it.put(LayerLink(it.name, it.layer), b"blake3:0123456789abcdef")


def layer_link_to_nothing(it: Pushed) -> None:
    it.put(LayerLink(it.name, it.layer), link_content(Digest.of(OTHER)))


def no_revision(it: Pushed) -> None:
    it.delete(ManifestRevisionLink(it.name, it.manifest))


def no_revision_but_a_layer_link(it: Pushed) -> None:
    no_revision(it)
    it.put(LayerLink(it.name, it.manifest), link_content(it.manifest))


def empty_revision(it: Pushed) -> None:
    it.put(ManifestRevisionLink(it.name, it.manifest), b"")


def wrong_revision(it: Pushed) -> None:
    it.put(ManifestRevisionLink(it.name, it.manifest), link_content(Digest.of(it.index)))


def revision_to_a_layer(it: Pushed) -> None:
    it.put(ManifestRevisionLink(it.name, it.manifest), link_content(it.layer))


def no_current(it: Pushed) -> None:
    it.delete(TagCurrentLink(it.name, TAG))


def empty_current(it: Pushed) -> None:
    it.put(TagCurrentLink(it.name, TAG), b"")


def malformed_current(it: Pushed) -> None:
    it.put(TagCurrentLink(it.name, TAG), b"latest")


def current_to_nothing(it: Pushed) -> None:
    it.put(TagCurrentLink(it.name, TAG), link_content(Digest.of(OTHER)))


def empty_index_entry(it: Pushed) -> None:
    it.put(TagIndexLink(it.name, TAG, it.manifest), b"")


def index_entry_to_nothing(it: Pushed) -> None:
    gone = Digest.of(OTHER)
    it.put(TagIndexLink(it.name, TAG, gone), link_content(gone))


def cut_layer(it: Pushed) -> None:
    it.put(BlobData(it.layer), it.image.layers[0][:-1])


def altered_layer(it: Pushed) -> None:
    it.put(BlobData(it.layer), bytes(len(it.image.layers[0])))


def altered_manifest(it: Pushed) -> None:
    it.put(BlobData(it.manifest), it.image.manifest.replace(b'"schemaVersion":2', b' "schemaVersion":2'))


def damaged_manifest(it: Pushed) -> None:
    it.put(BlobData(it.manifest), it.image.manifest[:-1])


def large_manifest(it: Pushed) -> None:
    it.put(BlobData(it.manifest), it.image.manifest.ljust(LARGEST + 1))


def largest_manifest(it: Pushed) -> None:
    it.put(BlobData(it.manifest), it.image.manifest.ljust(LARGEST))


def manifest_of_another_type(it: Pushed) -> None:
    it.put(BlobData(it.manifest), b'{"schemaVersion":2,"mediaType":"text/plain"}')


def crashing_manifest(it: Pushed) -> None:
    it.put(BlobData(it.manifest), b'{"schemaVersion":2,"manifests":{}}')


def no_schema_version(it: Pushed) -> None:
    it.put(BlobData(it.manifest), it.image.manifest.replace(b'"schemaVersion":2', b'"schemaversion":3'))


def damaged_config(it: Pushed) -> None:
    it.put(BlobData(it.config), b"[" * len(it.image.config))


def unused(it: Pushed) -> None:
    push_blob(it.registry, it.name, OTHER + it.name.encode())


def nothing(it: Pushed) -> None:
    pass


INDEX_TOO = {"missing-blob"}  # the index misses its child
ALTERED = {"wrong-digest", "wrong-size"}
DAMAGES: list[tuple[Callable[[Pushed], None], set[str]]] = [
    (nothing, set()),
    (dangling_layer, {"dangling-link", "missing-blob"}),
    (dangling_revision, {"dangling-link", "unused-link", *INDEX_TOO}),
    (no_layer_link, {"missing-link"}),
    (no_config_link, {"missing-link"}),
    (empty_layer_link, {"empty-link"}),
    (malformed_layer_link, {"malformed-link"}),
    (wrong_layer_link, {"wrong-link"}),
    (unknown_algorithm_in_a_link, {"malformed-link"}),
    (layer_link_to_nothing, {"wrong-link", "dangling-link"}),
    (no_revision, {"tag-without-revision", "missing-revision"}),
    (no_revision_but_a_layer_link, {"tag-without-revision", "missing-revision"}),
    (empty_revision, {"empty-link"}),
    (wrong_revision, {"wrong-link"}),
    (revision_to_a_layer, {"wrong-link"}),
    (no_current, {"tag-without-current"}),
    (empty_current, {"empty-link"}),
    (malformed_current, {"malformed-link"}),
    (current_to_nothing, {"dangling-link"}),
    (empty_index_entry, {"empty-link"}),
    (index_entry_to_nothing, {"dangling-link"}),
    (cut_layer, ALTERED),
    (altered_layer, {"wrong-digest"}),
    (altered_manifest, ALTERED),
    (damaged_manifest, {"damaged-manifest", *ALTERED}),
    (large_manifest, {"large-manifest", *ALTERED}),
    (largest_manifest, ALTERED),
    (manifest_of_another_type, {"unknown-manifest", *ALTERED}),
    (crashing_manifest, {"damaged-manifest", *ALTERED}),
    (no_schema_version, {"refused-manifest", "wrong-digest"}),
    (damaged_config, {"damaged-config", "wrong-digest"}),
    (unused, {"unused-link"}),
]


def ask(registry: Registry, path: str, digest: Digest | None) -> Answer:
    """Tell what the registry answers, in the words of `regfs.catalog.fsck.pulls`."""
    try:
        answer = registry.request("GET", path, headers={"Accept": _ACCEPT})
    except ConnectionError:
        return Answer(0)
    if answer.status != 200:
        return Answer(answer.status, json.loads(answer.body)["errors"][0]["code"])
    return Answer(other=digest is not None and altered(digest, answer.body))


def plain(answer: Answer) -> Answer:
    return Answer(answer.status, answer.code, answer.other)


def compare(registry: Registry, found: _Check) -> dict[str, tuple[Answer, Answer]]:
    """Ask the registry for everything there is, and give what differs from what is foretold."""
    pulls = found.pulls
    differing = {}
    for name, repository in found.snapshot.repositories.items():
        foretold = {
            (f"/v2/{name}/manifests/{tag}", files.target): pulls.tag(repository, tag)
            for tag, files in repository.tags.items()
        }
        manifests, blobs = {*repository.revisions}, {*repository.layers}
        for digest in repository.revisions:
            read = pulls.read(digest)
            for reference in read.manifest.references if read and read.manifest else ():
                (manifests if reference.relation == "manifest" else blobs).add(reference.digest)
        manifests.update(blobs)
        blobs.update(manifests)
        foretold |= {
            (f"/v2/{name}/manifests/{manifest}", manifest): pulls.manifest(name, manifest)
            for manifest in manifests
        }
        foretold |= {(f"/v2/{name}/blobs/{blob}", blob): pulls.blob(name, blob) for blob in blobs}
        for (path, named), answer in foretold.items():
            if answer.status == 200 and "/manifests/" in path and named and pulls.read(named) is None:
                continue  # a layer's link asked for as a manifest: nobody reads layers to foretell that
            told = ask(registry, path, named)
            if told != plain(answer):
                differing[path] = answer, told
    return differing


@pytest.mark.slow
def test_findings_and_what_they_say_of_pulls(registry: Registry, interop_place: Place) -> None:
    for damage, _ in DAMAGES:
        name = f"damaged/{damage.__name__}"
        damage(push(interop_place, registry, name))
    check = checked(registry)
    findings = check.run(verify=True)

    kinds = {
        damage.__name__: {
            finding.kind for finding in findings if finding.repository == f"damaged/{damage.__name__}"
        }
        for damage, _ in DAMAGES
    }
    assert kinds == {damage.__name__: expected for damage, expected in DAMAGES}
    assert compare(registry, check) == {}

    broken = {finding.repository for finding in findings if finding.severity == "error"}
    for damage, _ in DAMAGES:
        name = f"damaged/{damage.__name__}"
        assert pull_fails(registry, name) == (name in broken), name


def pull_fails(registry: Registry, name: str) -> bool:
    """Pull all tags as a client does: what is referred to as well, each content compared with its digest."""
    waiting: list[tuple[str, str, int | None]] = [("manifests", TAG, None), ("manifests", "all", None)]
    while waiting:
        kind, reference, size = waiting.pop()
        digest = Digest.parse(reference) if ":" in reference else None
        try:
            answer = registry.request("GET", f"/v2/{name}/{kind}/{reference}", headers={"Accept": _ACCEPT})
        except ConnectionError:
            return True
        digest = digest or Digest.parse(answer.headers.get("Docker-Content-Digest", f"sha256:{'0' * 64}"))
        if answer.status != 200 or Digest.of(answer.body) != digest or size not in (None, len(answer.body)):
            return True
        if kind == "manifests":
            document: dict[str, Any] = json.loads(answer.body)
            waiting += [("manifests", item["digest"], item["size"]) for item in document.get("manifests", ())]
            blobs = [*document.get("layers", ()), *([document["config"]] if "config" in document else ())]
            waiting += [("blobs", blob["digest"], blob["size"]) for blob in blobs]
    return False


def test_blob_that_is_known_by_another_algorithm(registry: Registry, interop_place: Place) -> None:
    content = os.urandom(50)
    digest = Digest("sha512", hashlib.sha512(content).hexdigest())
    push_blob(registry, "a", content, str(digest))
    config = b"{}"
    push_blob(registry, "a", config)
    layer = {"mediaType": LAYER_TYPE, "digest": str(digest), "size": len(content)}
    manifest = manifest_of(config, [layer])
    push_manifest(registry, "a", "v1", MANIFEST_TYPE, manifest)
    # The registry keeps the blob by its SHA-256, and a link from the one name to the other.
    assert interop_place.get(key(LayerLink("a", digest))) == link_content(Digest.of(content))

    check = checked(registry)
    assert check.run(verify=True) == []
    assert compare(registry, check) == {}
    interop_place.s3.delete_object(
        Bucket=interop_place.bucket, Key=interop_place.prefix + key(BlobData(Digest.of(content)))
    )
    check = checked(registry)
    assert {item.kind for item in check.run(verify=True)} == {"dangling-link", "missing-blob"}
    assert compare(registry, check) == {}


def test_other_forms_of_manifests(registry: Registry, interop_place: Place) -> None:
    config, layer = b'{"architecture":"arm64","os":"linux"}', os.urandom(40)
    for blob in (config, layer):
        push_blob(registry, "a", blob)
    layers = [
        {"mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip", **described(layer)},
        # Nobody has it but where it came from, and nobody misses it.
        {"mediaType": "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", **described(b"Windows")},
    ]
    docker = manifest_of(config, layers, DOCKER_MANIFEST, "application/vnd.docker.container.image.v1+json")
    store(interop_place, "a", docker, "docker")
    subject = {"mediaType": DOCKER_MANIFEST, **described(b"gone")}
    about = manifest_of(config, [], extra={"subject": subject, "artifactType": "text/x"})
    store(interop_place, "a", about, "about")
    inner = json.dumps({"schemaVersion": 2, "mediaType": DOCKER_LIST, "manifests": [described(docker)]})
    store(interop_place, "a", inner.encode())
    store(
        interop_place,
        "a",
        json.dumps({"schemaVersion": 2, "manifests": [described(inner.encode())]}).encode(),
        "nested",
    )
    schema1 = {
        "schemaVersion": 1,
        "name": "a",
        "tag": "old",
        "fsLayers": [{"blobSum": str(Digest.of(layer))}],
    }
    store(interop_place, "a", json.dumps(schema1, indent=3).encode(), "old")

    check = checked(registry)
    assert check.run(verify=True) == []
    differing = compare(registry, check)
    # The registry signs this form anew each time it is asked for, so the content is another one.
    old = {str(files.target) for tag, files in check.snapshot.repositories["a"].tags.items() if tag == "old"}
    assert {path.rpartition("/")[2] for path in differing} == {"old", *old}
    assert all(told == Answer(other=True) for _, told in differing.values())

    artifact = {"mediaType": OCI_ARTIFACT, "blobs": [described(layer)]}
    store(interop_place, "a", json.dumps(artifact).encode(), "artifact")
    check = checked(registry)
    assert {item.kind for item in check.run(verify=True)} == {"refused-manifest"}
    assert ask(registry, "/v2/a/manifests/artifact", None) == Answer(500, "UNKNOWN")


def test_refusals(registry: Registry, interop_place: Place) -> None:
    chance = random.Random(2026)
    documents = list(dict.fromkeys(manifests_to_be_refused(chance, 400)))
    wrong = []
    refused = 0
    for content in documents:
        digest = store(interop_place, "odd", content)
        told = ask(registry, f"/v2/odd/manifests/{digest}", None)
        reason = refusal(content)
        refused += bool(reason)
        expected = Answer(0) if reason == CRASH else FAILURE if reason else Answer()
        if told != expected:
            wrong.append((content[:300], reason, told))
    assert wrong == []
    assert 100 < refused < 350, "either nearly all were refused, or nearly none"


def manifests_to_be_refused(chance: random.Random, number: int) -> Iterator[bytes]:
    """Make manifests of every form and damage them, some beyond what is refused."""
    descriptor = {**described(b"x"), "mediaType": LAYER_TYPE, "urls": ["a"], "annotations": {"a": "b"}}
    platform = {
        "architecture": "amd64",
        "os": "linux",
        "os.features": ["a"],
        "features": ["b"],
        "variant": "",
    }
    image = {"schemaVersion": 2, "config": descriptor, "layers": [descriptor], "annotations": {"a": "b"}}
    index = {
        "schemaVersion": 2,
        "manifests": [{**descriptor, "platform": platform}],
        "annotations": {"a": "b"},
    }
    schema1 = {
        "schemaVersion": 1,
        "name": "a",
        "tag": "b",
        "architecture": "amd64",
        "fsLayers": [{"blobSum": str(Digest.of(b"x"))}],
        "history": [{"v1Compatibility": "{}"}],
    }
    bases: list[dict[str, Any]] = [
        {**image, "mediaType": MANIFEST_TYPE},
        {**image, "mediaType": DOCKER_MANIFEST},
        {**index, "mediaType": OCI_INDEX},
        {**index, "mediaType": DOCKER_LIST},
        image,
        index,
        schema1,
    ]
    values = [None, True, 0, 2, -1, 1.5, 10**18, 10**19, 1e300, "x", "\ud800", [], {}, [1], {"a": 1}, ["a"]]
    yield from (json.dumps(base).encode() for base in bases)
    plain_image = json.dumps(bases[0]).encode()
    yield from (plain_image.decode().encode(name) for name in ("utf-16", "utf-32", "utf-8-sig"))
    yield from (b"", b"null", b"[]", b"{}", b"2", b'"x"', b'{"schemaVersion":1}', b'{"schemaVersion":1,}')
    deep = [
        b'{"schemaVersion":2,"mediaType":"%s","x":%s}' % (MANIFEST_TYPE.encode(), b"[" * n + b"]" * n)
        for n in (500, 9_000, 11_000)
    ]
    yield from deep
    for _ in range(number):
        base = json.loads(json.dumps(chance.choice(bases)))
        if chance.random() < 0.75:
            parent, at = chance.choice(list(places(base)))
            if isinstance(parent, dict) and chance.random() < 0.3:
                parent[chance.choice([at.upper(), at.capitalize(), at + "s"])] = parent.pop(at)
            else:
                parent[at] = chance.choice(values)
            text = json.dumps(base)
        else:
            text = json.dumps(base)
            where = chance.randrange(len(text))
            text = (
                text[:where]
                + chance.choice(["", "NaN", ",", '"', "\x00", "1", "\ufffd", "\\u12"])
                + text[where + 1 :]
            )
        content = text.encode("utf-8", "surrogatepass")
        if chance.random() < 0.1:
            content = content.replace(b"linux", b"li\xffnux", 1).replace(b"gzip", b"gz\xc3ip", 1)
        if chance.random() < 0.15:
            name = chance.choice(["schemaVersion", "mediaType", "layers", "manifests"])
            content = content[:-1] + b',"%s":%s}' % (
                name.encode(),
                json.dumps(chance.choice(values)).encode(),
            )
        yield content


def places(document: Any) -> Iterator[tuple[Any, Any]]:
    """Return each place in a document, as what it is in and where in that."""
    inside = document.items() if isinstance(document, dict) else enumerate(document)
    for at, value in list(inside):
        yield document, at
        if isinstance(value, dict | list):
            yield from places(value)


def described(content: bytes) -> dict[str, Any]:
    return {"digest": str(Digest.of(content)), "size": len(content)}


def manifest_of(
    config: bytes,
    layers: list[dict[str, Any]],
    media_type: str = MANIFEST_TYPE,
    config_type: str = CONFIG_TYPE,
    extra: dict[str, Any] | None = None,
) -> bytes:
    document = {
        "schemaVersion": 2,
        "mediaType": media_type,
        "config": {"mediaType": config_type, **described(config)},
        "layers": layers,
        **(extra or {}),
    }
    return json.dumps(document).encode()


def store(place: Place, name: str, manifest: bytes, tag: str = "") -> Digest:
    """Store a manifest that the registry would not take."""
    digest = Digest.of(manifest)
    place.put(key(BlobData(digest)), manifest)
    specs: list[PathSpec] = [ManifestRevisionLink(name, digest)]
    if tag:
        specs += [TagIndexLink(name, tag, digest), TagCurrentLink(name, tag)]
    for spec in specs:
        place.put(key(spec), link_content(digest))
    return digest


def checked(registry: Registry) -> _Check:
    catalog = Catalog(regfs.create("s3", registry._s3))
    return _Check(catalog.source, catalog.snapshot, lambda *_: None, grace=DAY * 0)
