"""Manifests of every form are read, and damage of every kind is an error of one class."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from regfs.catalog.fsck.refusal import CRASH, refusal
from regfs.catalog.manifest import (
    DOCKER_LIST,
    DOCKER_MANIFEST,
    DOCKER_SCHEMA1,
    DOCKER_SCHEMA1_SIGNED,
    OCI_ARTIFACT,
    OCI_INDEX,
    OCI_MANIFEST,
    Manifest,
    ManifestError,
    MediaTypeError,
    Reference,
    parse_config,
    parse_manifest,
    parse_time,
)
from regfs.image import build_image
from regfs.layout import Digest

OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
DOCKER_FOREIGN = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"

A, B, C = (Digest.of(letter) for letter in (b"a", b"b", b"c"))


def descriptor(digest: Digest, media_type: str, size: int = 1, **more: Any) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": str(digest), "size": size, **more}


def image(**more: Any) -> dict[str, Any]:
    return {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": descriptor(A, OCI_CONFIG),
        "layers": [descriptor(B, OCI_LAYER, 2), descriptor(C, OCI_LAYER, 3)],
        **more,
    }


def parse(document: object) -> Manifest:
    return parse_manifest(json.dumps(document).encode())


def relations(manifest: Manifest) -> list[tuple[str, Digest]]:
    return [(reference.relation, reference.digest) for reference in manifest.references]


# -- every form --------------------------------------------------------------------------------------------


def test_oci_image() -> None:
    found = parse(image(annotations={"a": "b"}))
    assert (found.media_type, found.kind, found.artifact_type) == (OCI_MANIFEST, "image", "")
    assert found.references == (
        Reference("config", A, 1, OCI_CONFIG),
        Reference("layer", B, 2, OCI_LAYER),
        Reference("layer", C, 3, OCI_LAYER),
    )
    assert found.config == found.references[0]
    assert found.subject is None
    assert found.kept == (A, B, C)
    assert found.annotations == {"a": "b"}


def test_docker_image_with_a_layer_that_may_not_be_distributed() -> None:
    layers = [descriptor(B, DOCKER_FOREIGN, urls=["https://example.com"]), descriptor(C, DOCKER_LAYER)]
    found = parse(image(mediaType=DOCKER_MANIFEST, config=descriptor(A, DOCKER_CONFIG), layers=layers))
    assert (found.media_type, found.kind) == (DOCKER_MANIFEST, "image")
    assert [reference.foreign for reference in found.references] == [False, True, False]
    assert found.kept == (A, B, C), "the registry's collector keeps what it has of it"
    assert (
        parse(image(layers=[descriptor(B, OCI_LAYER.replace("v1", "nondistributable.v1"))])).kind == "image"
    )


@pytest.mark.parametrize("media_type", [OCI_INDEX, DOCKER_LIST])
def test_index_and_index_of_indexes(media_type: str) -> None:
    children = [
        descriptor(A, OCI_MANIFEST, platform={"os": "linux", "architecture": "arm", "variant": "v7"}),
        descriptor(B, media_type, platform="linux"),
    ]
    found = parse({"schemaVersion": 2, "mediaType": media_type, "manifests": children})
    assert (found.media_type, found.kind) == (media_type, "index")
    assert [(reference.relation, reference.digest, reference.platform) for reference in found.references] == [
        ("manifest", A, "linux/arm/v7"),
        ("manifest", B, ""),
    ]
    assert found.kept == (A, B)


@pytest.mark.parametrize("media_type", [OCI_INDEX, DOCKER_LIST])
def test_children_of_an_index_are_what_their_media_types_say(media_type: str) -> None:
    """BuildKit's caches are indexes of layers and a configuration."""
    layers = OCI_LAYER if media_type == OCI_INDEX else DOCKER_LAYER
    children = [
        descriptor(A, layers, 5),
        descriptor(B, layers, 6),
        descriptor(C, "application/vnd.buildkit.cacheconfig.v0"),
    ]
    cache = {"schemaVersion": 2, "mediaType": media_type, "manifests": children}
    found = parse(cache)
    assert relations(found) == [("layer", A), ("layer", B), ("config", C)]
    assert (found.kind, found.artifact_type) == ("index", "application/vnd.buildkit.cacheconfig.v0")
    assert found.kept == (A, B, C)
    assert found.config == found.references[2]
    assert parse({**cache, "artifactType": "text/x"}).artifact_type == "text/x"


@pytest.mark.parametrize(
    ("media_type", "relation"),
    [
        *(
            (item, "manifest")
            for item in (OCI_MANIFEST, OCI_INDEX, OCI_ARTIFACT, DOCKER_MANIFEST, DOCKER_LIST)
        ),
        *((item, "manifest") for item in (DOCKER_SCHEMA1, DOCKER_SCHEMA1_SIGNED, "", None)),
        *((item, "config") for item in (OCI_CONFIG, DOCKER_CONFIG)),
        *((item, "layer") for item in (OCI_LAYER, DOCKER_LAYER, DOCKER_FOREIGN, "text/spdx", "x")),
    ],
)
def test_a_child_of_each_media_type(media_type: Any, relation: str) -> None:
    child = descriptor(A, media_type)
    if media_type is None:
        del child["mediaType"]
    assert relations(parse({"schemaVersion": 2, "manifests": [child]})) == [(relation, A)]


def test_an_empty_list_may_be_null_as_go_writes_it() -> None:
    assert parse(image(layers=None)).kept == (A,)
    assert parse({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": None}).references == ()


def test_a_layer_with_urls_may_lie_elsewhere() -> None:
    layers = [
        descriptor(B, OCI_LAYER, urls=["https://example.com/b", 1, "\ud800"]),
        descriptor(C, OCI_LAYER, urls=[]),
    ]
    found = parse(image(config=descriptor(A, OCI_CONFIG, urls=["https://example.com/a"]), layers=layers))
    assert [reference.foreign for reference in found.references] == [False, True, False]
    assert found.references[1].urls == ("https://example.com/b", "?")


def test_artifacts() -> None:
    empty = descriptor(A, "application/vnd.oci.empty.v1+json", 2)
    found = parse(image(config=empty, artifactType="text/spdx", subject=descriptor(C, OCI_MANIFEST)))
    assert (found.kind, found.artifact_type, found.subject) == ("artifact", "text/spdx", C)
    assert found.kept == (A, B, C)
    assert relations(found)[-1] == ("subject", C)
    about_nothing_else = parse(image(layers=[], subject=descriptor(C, OCI_MANIFEST)))
    assert about_nothing_else.kept == (A,), "a subject is not kept"
    assert parse(image(config=descriptor(A, "application/vnd.cncf.helm.config.v1+json"))).artifact_type == (
        "application/vnd.cncf.helm.config.v1+json"
    )


def test_buildkit_attestation_is_no_image() -> None:
    found = parse(image(layers=[descriptor(B, "application/vnd.in-toto+json")]))
    assert (found.kind, found.artifact_type) == ("artifact", OCI_CONFIG)


def test_image_without_layers_is_one() -> None:
    assert parse(image(layers=[])).kind == "image"


def test_oci_artifact_manifest() -> None:
    document = {"mediaType": OCI_ARTIFACT, "artifactType": "text/x", "blobs": [descriptor(A, "text/plain")]}
    found = parse({**document, "subject": descriptor(B, OCI_MANIFEST)})
    assert (found.kind, found.artifact_type, found.kept, found.subject) == ("artifact", "text/x", (A,), B)
    assert parse({"mediaType": OCI_ARTIFACT}).references == ()


SCHEMA1 = {
    "schemaVersion": 1,
    "name": "a",
    "tag": "b",
    "fsLayers": [{"blobSum": str(B)}, {"blobSum": str(A)}, {"blobSum": str(B)}],
}


def jws(payload: bytes) -> dict[str, Any]:
    return {"payload": base64.urlsafe_b64encode(payload).decode().rstrip("="), "signatures": [{}]}


@pytest.mark.parametrize(
    ("document", "media_type"),
    [
        (SCHEMA1, DOCKER_SCHEMA1),
        ({**SCHEMA1, "signatures": [{}]}, DOCKER_SCHEMA1_SIGNED),
        ({**SCHEMA1, "mediaType": DOCKER_SCHEMA1_SIGNED}, DOCKER_SCHEMA1_SIGNED),
        (jws(json.dumps(SCHEMA1).encode()), DOCKER_SCHEMA1_SIGNED),
    ],
)
def test_schema_1(document: dict[str, Any], media_type: str) -> None:
    found = parse(document)
    assert (found.media_type, found.kind, found.kept) == (media_type, "schema1", (B, A, B))
    assert [reference.size for reference in found.references] == [None] * 3


def test_the_media_type_may_be_absent() -> None:
    children = [descriptor(A, OCI_MANIFEST)]
    assert parse({"schemaVersion": 2, "manifests": children}).media_type == OCI_INDEX
    told = image()
    del told["mediaType"]
    assert parse(told).media_type == OCI_MANIFEST
    assert parse({**told, "manifests": None}).media_type == OCI_MANIFEST
    assert parse({**told, "mediaType": ""}).media_type == OCI_MANIFEST


def test_the_later_of_two_fields_counts() -> None:
    text = json.dumps(image())[:-1] + f', "layers": [{json.dumps(descriptor(A, OCI_LAYER))}]}}'
    assert relations(parse_manifest(text.encode())) == [("config", A), ("layer", A)]


def test_what_build_image_makes() -> None:
    made = build_image([{"a": b"x"}], created=datetime(2025, 3, 1, tzinfo=timezone.utc), architecture="arm64")
    manifest, config = parse_manifest(made.manifest), parse_config(made.config)
    assert manifest.kept == (made.config_digest, *made.layer_digests)
    assert [reference.size for reference in manifest.references] == [len(made.config), len(made.layers[0])]
    assert (config.platform, config.created) == ("linux/arm64", datetime(2025, 3, 1, tzinfo=timezone.utc))


# -- damage ------------------------------------------------------------------------------------------------

HUGE = "1" + "0" * 5000
NAN = json.dumps(image(x=0)).replace('"x": 0', '"x": NaN')

DAMAGED: dict[str, bytes] = {
    "empty": b"",
    "cut": json.dumps(image()).encode()[:-1],
    "no JSON": b"<html>",
    "null": b"null",
    "array": b"[]",
    "text": b'"x"',
    "number": b"1",
    "empty object": b"{}",
    "invalid UTF-8": json.dumps(image()).encode().replace(b"vnd", b"v\xffd", 1),
    "huge number": b'{"schemaVersion": ' + HUGE.encode() + b"}",
    "media type": json.dumps(image(mediaType="text/plain")).encode(),
    "media type no text": json.dumps(image(mediaType=[OCI_MANIFEST])).encode(),
    "no config": json.dumps(image(config=None)).encode(),
    "config no object": json.dumps(image(config=[])).encode(),
    "layers no list": json.dumps(image(layers={})).encode(),
    "layers missing": json.dumps({"mediaType": OCI_MANIFEST, "config": descriptor(A, OCI_CONFIG)}).encode(),
    "layer no object": json.dumps(image(layers=["x"])).encode(),
    "layer null": json.dumps(image(layers=[None])).encode(),
    "no digest": json.dumps(image(config={"size": 1})).encode(),
    "bad digest": json.dumps(image(config={**descriptor(A, OCI_CONFIG), "digest": "sha256:x"})).encode(),
    "digest up a directory": json.dumps(
        image(config={**descriptor(A, OCI_CONFIG), "digest": "a:../.."})
    ).encode(),
    "digest no text": json.dumps(image(config={**descriptor(A, OCI_CONFIG), "digest": [[1]]})).encode(),
    "negative size": json.dumps(image(config=descriptor(A, OCI_CONFIG, -1))).encode(),
    "size no number": json.dumps(image(config=descriptor(A, OCI_CONFIG, "1"))).encode(),  # type: ignore[arg-type]  # wrong on purpose
    "size true": json.dumps(image(config=descriptor(A, OCI_CONFIG, True))).encode(),
    "size a fraction": json.dumps(image(config=descriptor(A, OCI_CONFIG, 1.5))).encode(),  # type: ignore[arg-type]  # wrong on purpose
    "size beyond 64 bits": json.dumps(image(config=descriptor(A, OCI_CONFIG, 2**63))).encode(),
    "size NaN": json.dumps(image(config=descriptor(A, OCI_CONFIG, float("nan")))).encode(),  # type: ignore[arg-type]  # wrong on purpose
    "subject no object": json.dumps(image(subject="x")).encode(),
    "index of nothing": json.dumps({"mediaType": OCI_INDEX}).encode(),
    "schema 1 without layers": json.dumps({"schemaVersion": 1}).encode(),
    "schema 1 with a bad layer": json.dumps({"schemaVersion": 1, "fsLayers": [1]}).encode(),
    "payload no base64": json.dumps({"payload": "ä", "signatures": []}).encode(),
    "payload no text": json.dumps({"payload": 5, "signatures": []}).encode(),
    "payload null": json.dumps({"payload": None, "signatures": []}).encode(),
    "payload no JSON": json.dumps(jws(b"x")).encode(),
    "payload a list": json.dumps(jws(b"[]")).encode(),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damage(name: str) -> None:
    with pytest.raises(ManifestError) as caught:
        parse_manifest(DAMAGED[name])
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


def test_an_unknown_media_type_is_told_from_damage() -> None:
    with pytest.raises(MediaTypeError, match=r"text/x{70,}…?"):
        parse(image(mediaType="text/" + "x" * 10**6))
    with pytest.raises(ManifestError) as caught:
        parse(image(layers={}))
    assert not isinstance(caught.value, MediaTypeError)


def test_nan_elsewhere_is_no_damage_to_us_but_to_the_registry() -> None:
    assert parse_manifest(NAN.encode()).kept == (A, B, C)
    assert refusal(NAN.encode()) == "it is not JSON"


def test_text_that_no_output_can_encode() -> None:
    half = "\ud800"
    found = parse(image(artifactType=half, annotations={half: half, "b": 1, "c": {"d": []}}))
    assert (found.artifact_type, found.annotations) == ("?", {"?": "?"})
    config = parse_config(json.dumps({"os": half, "architecture": "amd64"}).encode())
    assert config.platform == "?/amd64"
    with pytest.raises(MediaTypeError, match=r"'\?'"):
        parse(image(mediaType=half))


DEEP = """
import sys
from regfs.catalog.manifest import ManifestError, parse_config, parse_manifest
from regfs.catalog.fsck.refusal import refusal
def tried(function, data):
    try:
        function(data)
    except ManifestError as exc:
        return str(exc)
levels = 100_000
for left, right in (b"[", b"]"), (b'{"a":', b"}"):
    deep = left * levels + b"1" + right * levels
    for data in (deep, left * levels, b'{"schemaVersion":2,"x":' + deep + b"}"):
        assert tried(parse_manifest, data) == tried(parse_config, data) == "it is not JSON"
        assert refusal(data) == "it is nested too deeply", refusal(data)
# Just what the reader bears: what comes behind it must bear it as well.
for depth in range(10, sys.getrecursionlimit()):
    inside = b"[" * depth + b"]" * depth
    for data in (
        b'{"schemaVersion":2,"manifests":[{"size":1,"digest":%s}]}' % inside,
        b'{"schemaVersion":2,"manifests":[],"annotations":{"a":%s}}' % inside,
    ):
        tried(parse_manifest, data)
        refusal(data)
print("survived")
"""


def test_deep_nesting_in_a_process_of_its_own() -> None:
    done = subprocess.run(
        [sys.executable, "-c", DEEP], capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.stdout, done.stderr) == ("survived\n", "")


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
anything = st.recursive(
    scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20
)
digests = st.sampled_from([str(A), str(B), "sha256:x", "a:../..", ""]) | anything
descriptors = st.fixed_dictionaries(
    {},
    optional={
        "digest": digests,
        "size": st.integers() | anything,
        "mediaType": st.just(OCI_LAYER) | anything,
    },
)
documents = st.fixed_dictionaries(
    {},
    optional={
        "schemaVersion": st.sampled_from([1, 2]) | anything,
        "mediaType": st.sampled_from([OCI_MANIFEST, OCI_INDEX, OCI_ARTIFACT, DOCKER_SCHEMA1]) | anything,
        "config": descriptors | anything,
        "subject": descriptors | anything,
        "layers": st.lists(descriptors | anything) | anything,
        "manifests": st.lists(descriptors | anything) | anything,
        "blobs": st.lists(descriptors | anything) | anything,
        "fsLayers": st.lists(st.fixed_dictionaries({"blobSum": digests}) | anything) | anything,
        "payload": st.text() | anything,
        "signatures": anything,
        "annotations": anything,
        "artifactType": anything,
        "os": anything,
        "created": anything,
    },
)


@given(st.binary() | (anything | documents).map(lambda document: json.dumps(document).encode()))
@example(b'{"payload":"\xc3\xa4","signatures":1}')
def test_nothing_but_a_manifest_error(data: bytes) -> None:
    try:
        manifest = parse_manifest(data)
    except ManifestError:
        pass
    else:
        told = [
            manifest.media_type,
            manifest.artifact_type,
            *manifest.annotations,
            *manifest.annotations.values(),
        ]
        told += [
            text for reference in manifest.references for text in (reference.media_type, reference.platform)
        ]
        assert "".join(told).encode()
        assert all(reference.size is None or 0 <= reference.size < 2**63 for reference in manifest.references)
    try:
        config = parse_config(data)
    except ManifestError:
        pass
    else:
        assert config.platform.encode() is not None
        assert config.created is None or config.created.utcoffset() == timedelta(0)
    assert isinstance(refusal(data), str)


@given(documents)
def test_what_the_registry_reads_and_has_to_keep_we_read(document: dict[str, Any]) -> None:
    """Whoever deletes what nothing needs must understand every manifest that the registry serves, or stop."""
    data = json.dumps(document).encode()
    try:
        manifest = parse_manifest(data)
    except ManifestError:
        return
    if refusal(data) or document.get("schemaVersion") == 1:
        return
    media_type = document.get("mediaType")
    if media_type in (OCI_INDEX, DOCKER_LIST) or (not media_type and document.get("manifests") is not None):
        listed = document.get("manifests") or []
    else:
        listed = [document.get("config") or {}, *(document.get("layers") or [])]
    wanted = {item["digest"] for item in listed if "digest" in item}
    kept = {str(blob) for blob in manifest.kept}
    assert wanted <= kept
    assert wanted == kept or manifest.kind == "schema1"


def test_the_version_counts_for_more_than_the_media_type() -> None:
    assert parse({**SCHEMA1, "mediaType": OCI_MANIFEST}).kept == (B, A, B)
    both = {**image(), **SCHEMA1, "schemaVersion": 2}
    assert parse(both).kept == (A, B, C)
    del both["mediaType"]
    assert parse(both).kept == (A, B, C)


# -- times -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2025-03-01T12:00:00Z", "2025-03-01T12:00:00+00:00"),
        ("2025-03-01T12:00:00.5Z", "2025-03-01T12:00:00.500000+00:00"),
        ("2025-03-01T12:00:00.123456789Z", "2025-03-01T12:00:00.123456+00:00"),
        ("2025-03-01T12:00:00.12345678901234Z", "2025-03-01T12:00:00.123456+00:00"),
        ("2025-03-01T12:00:00+02:00", "2025-03-01T10:00:00+00:00"),
        ("2025-03-01T12:00:00.1-07:30", "2025-03-01T19:30:00.100000+00:00"),
        ("2025-03-01t12:00:00z", "2025-03-01T12:00:00+00:00"),
        ("2025-03-01 12:00:00Z", "2025-03-01T12:00:00+00:00"),
        ("2024-02-29T23:59:59Z", "2024-02-29T23:59:59+00:00"),
        ("1970-01-01T00:00:00Z", "1970-01-01T00:00:00+00:00"),
        ("9999-12-31T23:59:59.999999999Z", "9999-12-31T23:59:59.999999+00:00"),
    ],
)
def test_times_as_go_writes_them(text: str, expected: str) -> None:
    found = parse_time(text)
    assert found is not None
    assert found.isoformat() == expected


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        0,
        1.5,
        ["2025-03-01T12:00:00Z"],
        "0001-01-01T00:00:00Z",
        "2025-03-01",
        "2025-03-01T12:00:00",
        "2025-03-01T12:00Z",
        "2025-02-30T12:00:00Z",
        "2025-03-01T24:00:01Z",
        "2025-03-01T12:00:60Z",
        "2025-03-01T12:00:00Z\n",
        "2025-03-01T12:00:00+25:00",
        "9999-12-31T23:59:59-01:00",
        "0001-01-01T00:00:00+01:00",
        "٢٠٢٥-03-01T12:00:00Z",
        "yesterday",
    ],
)
def test_what_is_no_time(text: object) -> None:
    assert parse_time(text) is None


@given(st.datetimes().filter(lambda m: 1 < m.year < 9999), st.integers(-1439, 1439), st.integers(0, 999))
def test_any_time_comes_back(moment: datetime, minutes: int, nanoseconds: int) -> None:
    moment = moment.replace(tzinfo=timezone(timedelta(minutes=minutes)))
    text = f"{moment.replace(tzinfo=None).isoformat(timespec='microseconds')}{nanoseconds:03}{moment:%z}"
    found = parse_time(f"{text[:-2]}:{text[-2:]}")
    assert found == moment
    assert found.utcoffset() == timedelta(0)


# -- what the registry refuses (test_fsck_interop.py asks it) ------------------------------------------------


def test_refusals() -> None:
    good = json.dumps(image()).encode()
    assert refusal(good) == ""
    assert refusal(good.replace(b"schemaVersion", b"SCHEMAVERSION")) == ""
    assert refusal(good.replace(b'"schemaVersion": 2', b'"schemaVersion": 2.0')) != ""
    assert (
        refusal(good.replace(b'"schemaVersion": 2', b'"schemaVersion": 3'))
        == "its schema version 3 is unknown"
    )
    assert refusal(b'{"schemaVersion":2,"manifests":{}}') == CRASH
    assert refusal(b"\xef\xbb\xbf" + good) == "it is not JSON"
    assert refusal(good.ljust(4 * 2**20)) == ""
    assert refusal(good.ljust(4 * 2**20 + 1)) == "it has more than 4194304 bytes"


# -- names as Go reads them -------------------------------------------------------------------------------

CONFIG_A = json.dumps(descriptor(A, OCI_CONFIG))
LAYER_B, LAYER_C = (json.dumps([descriptor(item, OCI_LAYER)]) for item in (B, C))
IMAGE_AB = f'"config": {CONFIG_A}, "layers": {LAYER_B}'
SPELLED_OTHERWISE: dict[str, tuple[str, tuple[Digest, ...]]] = {
    "another case alone": (f'"Config": {CONFIG_A}, "LAYERS": {LAYER_B}', (A, B)),
    "the last is the other": (f'"config": {CONFIG_A}, "layers": [], "Layers": {LAYER_B}', (A, B)),
    "the last is the proper": (f'"config": {CONFIG_A}, "Layers": {LAYER_B}, "layers": {LAYER_C}', (A, C)),
    "the proper one twice": (
        f'"config": {CONFIG_A}, "layers": [], "Layers": {LAYER_B}, "layers": {LAYER_C}',
        (A, C),
    ),
    "letters that fold": (f'"config": {CONFIG_A}, "layer\u017f": {LAYER_B}', (A, B)),
    "null empties a list": (f'"config": {CONFIG_A}, "layers": {LAYER_B}, "Layers": null', (A,)),
    "null leaves all else": (f'"config": {CONFIG_A}, "Config": null, "layers": {LAYER_B}', (A, B)),
    "null leaves the media type": (
        f'"mediaType": "{OCI_MANIFEST}", "mediaType": null, "manifests": [], {IMAGE_AB}',
        (A, B),
    ),
    "in a descriptor": (
        f'"config": {CONFIG_A}, "layers": [{{"size": 1, "digest": "{C}", "Digest": "{B}"}}]',
        (A, B),
    ),
    "the version": (f'"SchemaVersion": 1, "FSLayers": [{{"blobsum": "{B}"}}]', (B,)),
    "the media type": (f'"MEDIATYPE": "{OCI_INDEX}", "Manifests": {LAYER_B}', (B,)),
    "no field": (f'"config": {CONFIG_A}, "layers": {LAYER_B}, "con\ufb01g": null, "layer": []', (A, B)),
}


@pytest.mark.parametrize("name", SPELLED_OTHERWISE)
def test_fields_are_assigned_as_go_assigns_them(name: str) -> None:
    # "Layers" counted for nothing, and layers were deleted as garbage though a registry serves the image.
    text, kept = SPELLED_OTHERWISE[name]
    assert parse_manifest(f"{{{text}}}".encode()).kept == kept


def test_annotations_keep_their_case() -> None:
    found = parse(image(annotations={"Size": "1", "size": "2", "Layers": "3"}, Annotation="x"))
    assert found.annotations == {"Size": "1", "size": "2", "Layers": "3"}
