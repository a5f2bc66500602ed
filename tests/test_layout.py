from __future__ import annotations

import ast
import sys
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import regfs.layout
from regfs.layout import (
    BLOBS,
    REPOSITORIES,
    ROOT,
    BlobData,
    Digest,
    InvalidDigestError,
    InvalidNameError,
    LayerLink,
    ManifestRevisionLink,
    PathSpec,
    SignatureLink,
    TagCurrentLink,
    TagIndexLink,
    UploadData,
    UploadHashState,
    UploadStartedAt,
    check_repository,
    check_tag,
    layers_root,
    link_content,
    parse,
    parse_link,
    repository_root,
    revisions_root,
    tags_root,
    uploads_root,
)
from regfs.paths import check_driver_path

HEX = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"  # of b"test"
DIGEST = Digest("sha256", HEX)
UPLOAD = "0d4f8a7e-1a9a-4f5c-9d53-2f7d1f2b9c11"

registered = st.sampled_from([("sha256", 64), ("sha384", 96), ("sha512", 128)]).flatmap(
    lambda kind: st.builds(
        Digest, st.just(kind[0]), st.text("0123456789abcdef", min_size=kind[1], max_size=kind[1])
    )
)
others = st.builds(
    Digest,
    st.from_regex(r"[a-z0-9]+(?:[_-][a-z0-9]+)*", fullmatch=True).filter(
        lambda name: name not in ("sha256", "sha384", "sha512")
    ),
    st.from_regex(r"[A-Za-z0-9_-]{2,}", fullmatch=True),
)
digests = registered | others
component = st.from_regex(r"[a-z0-9]{1,9}(?:(?:\.|_|__|-{1,3})[a-z0-9]{1,9}){0,3}", fullmatch=True)
host = st.from_regex(r"[A-Za-z0-9]{1,9}(?:[.-][A-Za-z0-9]{1,9}){0,2}", fullmatch=True)
names = (
    st.tuples(host | component, st.lists(component, min_size=1, max_size=5)).map(
        lambda n: "/".join([n[0], *n[1]])
    )
    | component
).filter(lambda name: len(name) <= 255)
tags = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}", fullmatch=True)
uploads = st.uuids().map(str) | st.from_regex(r"[A-Za-z0-9_-]{1,40}", fullmatch=True)
algorithms = st.sampled_from(["sha256", "sha384", "sha512", "blake3"])
specs: st.SearchStrategy[PathSpec] = st.one_of(
    st.builds(BlobData, digests),
    st.builds(LayerLink, names, digests),
    st.builds(ManifestRevisionLink, names, digests),
    st.builds(SignatureLink, names, digests, digests),
    st.builds(TagCurrentLink, names, tags),
    st.builds(TagIndexLink, names, tags, digests),
    st.builds(UploadData, names, uploads),
    st.builds(UploadStartedAt, names, uploads),
    st.builds(UploadHashState, names, uploads, algorithms, st.integers(0, 2**63 - 1)),
)

EXAMPLES: list[tuple[PathSpec, str]] = [
    (BlobData(DIGEST), f"{BLOBS}/sha256/9f/{HEX}/data"),
    (BlobData(Digest("sha512", 2 * HEX)), f"{BLOBS}/sha512/9f/{2 * HEX}/data"),
    (LayerLink("a/b", DIGEST), f"{REPOSITORIES}/a/b/_layers/sha256/{HEX}/link"),
    (ManifestRevisionLink("a", DIGEST), f"{REPOSITORIES}/a/_manifests/revisions/sha256/{HEX}/link"),
    (
        SignatureLink("a", DIGEST, DIGEST),
        f"{REPOSITORIES}/a/_manifests/revisions/sha256/{HEX}/signatures/sha256/{HEX}/link",
    ),
    (TagCurrentLink("a/b/c", "1.0"), f"{REPOSITORIES}/a/b/c/_manifests/tags/1.0/current/link"),
    # A tag may be any word of the tree itself, and begin with "_".
    (TagCurrentLink("a", "current"), f"{REPOSITORIES}/a/_manifests/tags/current/current/link"),
    (TagCurrentLink("a", "_layers"), f"{REPOSITORIES}/a/_manifests/tags/_layers/current/link"),
    (
        TagIndexLink("a", "latest", DIGEST),
        f"{REPOSITORIES}/a/_manifests/tags/latest/index/sha256/{HEX}/link",
    ),
    (UploadData("a", UPLOAD), f"{REPOSITORIES}/a/_uploads/{UPLOAD}/data"),
    (UploadStartedAt("a", UPLOAD), f"{REPOSITORIES}/a/_uploads/{UPLOAD}/startedat"),
    (
        UploadHashState("a", UPLOAD, "sha256", 10485760),
        f"{REPOSITORIES}/a/_uploads/{UPLOAD}/hashstates/sha256/10485760",
    ),
    # Repositories lie in each other, and a repository may have a name of the tree's.
    (LayerLink("blobs/layers", DIGEST), f"{REPOSITORIES}/blobs/layers/_layers/sha256/{HEX}/link"),
]


@pytest.mark.parametrize(("spec", "path"), EXAMPLES)
def test_examples_both_ways(spec: PathSpec, path: str) -> None:
    assert (spec.path, str(spec)) == (path, path)
    assert parse(path) == spec


def test_every_kind_of_path_has_an_example() -> None:
    assert {type(spec) for spec, _ in EXAMPLES} == {*get_args(PathSpec)}


@given(specs)
def test_parse_inverts_path(spec: PathSpec) -> None:
    assert parse(spec.path) == spec


@given(specs)
def test_every_path_is_one_the_driver_takes(spec: PathSpec) -> None:
    assert check_driver_path(spec.path, "test") == spec.path


@given(specs, st.data())
def test_what_parses_has_exactly_this_path(spec: PathSpec, data: st.DataObject) -> None:
    parts = spec.path.split("/")
    at = data.draw(st.integers(0, len(parts)))
    words = ["", "_layers", "_manifests", "tags", "link", "current", "sha256", HEX, "a", "01"]
    word = data.draw(st.sampled_from(words) | st.text(max_size=5))
    parts[at : at + data.draw(st.integers(0, 1))] = [word]
    changed = "/".join(parts)
    found = parse(changed)
    assert found is None or found.path == changed


@given(st.text() | st.text().map(f"{REPOSITORIES}/".__add__) | st.text().map(f"{BLOBS}/".__add__))
@example("")
@example("/")
@example("\ud800")
@example(f"{REPOSITORIES}/a/_uploads/u/hashstates/sha256/{'9' * 5000}")
@example(f"{REPOSITORIES}/{'a/' * 5000}_uploads/u/data")
def test_parse_never_raises(path: str) -> None:
    found = parse(path)
    assert found is None or found.path == path


@pytest.mark.parametrize(
    "path",
    [
        "/",
        ROOT,
        BLOBS,
        f"{BLOBS}/sha256",
        f"{BLOBS}/sha256/9f/{HEX}",
        f"{BLOBS}/sha256/9f/{HEX}/data/",
        f"{BLOBS}/sha256/9f/{HEX}/data\n",
        f"{BLOBS}/sha256/00/{HEX}/data",
        f"{BLOBS}/sha256/9F/{HEX.upper()}/data",
        f"{BLOBS}/sha256/9f/{HEX[:-1]}/data",
        f"{BLOBS}/sha256/{HEX}/data",
        f"x{BLOBS}/sha256/9f/{HEX}/data",
        f"{BLOBS}/sha256/9f/{HEX}/data"[1:],
        f"{REPOSITORIES}/a/_layers/sha256/{HEX}",
        f"{REPOSITORIES}/_layers/sha256/{HEX}/link",
        f"{REPOSITORIES}/a//_layers/sha256/{HEX}/link",
        f"{REPOSITORIES}/A/_layers/sha256/{HEX}/link",
        f"{REPOSITORIES}/../_layers/sha256/{HEX}/link",
        f"{REPOSITORIES}/a/_layers/_layers/sha256/{HEX}/link",
        f"{REPOSITORIES}/a/_manifests/tags/.x/current/link",
        f"{REPOSITORIES}/a/_manifests/tags/é/current/link",
        f"{REPOSITORIES}/a/_manifests/tags/{'x' * 129}/current/link",
        f"{REPOSITORIES}/{'a' * 256}/_manifests/tags/x/current/link",
        f"{REPOSITORIES}/a/_uploads/{UPLOAD}",
        f"{REPOSITORIES}/a/_uploads/{UPLOAD}/hashstates/sha256",
        f"{REPOSITORIES}/a/_uploads/{UPLOAD}/hashstates/sha256/007",
        f"{REPOSITORIES}/a/_uploads/{UPLOAD}/hashstates/sha256/-1",
        f"{REPOSITORIES}/a/_uploads/{UPLOAD}/hashstates/sha256/٣",
        "/docker/registry/v3/blobs",
        "/scheduler-state.json",
    ],
)
def test_other_paths_are_unknown(path: str) -> None:
    assert parse(path) is None


def test_directories_are_those_of_the_files() -> None:
    assert repository_root("a/b") == f"{REPOSITORIES}/a/b"
    assert LayerLink("a/b", DIGEST).path.startswith(f"{layers_root('a/b')}/")
    assert ManifestRevisionLink("a/b", DIGEST).path.startswith(f"{revisions_root('a/b')}/")
    assert TagCurrentLink("a/b", "t").path.startswith(f"{tags_root('a/b')}/t/")
    assert UploadData("a/b", UPLOAD).path.startswith(f"{uploads_root('a/b')}/{UPLOAD}/")


@given(digests)
def test_digest_and_link_round_trips(digest: Digest) -> None:
    assert Digest.parse(str(digest)) == digest
    assert parse_link(link_content(digest)) == digest


def test_link_is_what_the_registry_writes() -> None:
    assert Digest.of(b"test") == DIGEST
    assert link_content(DIGEST) == b"sha256:" + HEX.encode()
    assert len(link_content(DIGEST)) == 71


@given(st.binary() | st.binary().map(b"sha256:".__add__))
@example(f"sha256:{HEX}\n".encode())
@example(f" sha256:{HEX}".encode())
@example(b"")
@example(b"sha256:" + b"\xff" * 64)
def test_other_links_are_errors(data: bytes) -> None:
    try:
        digest = parse_link(data)
    except InvalidDigestError:
        return
    assert link_content(digest) == data


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":",
        HEX,
        f"sha256:{HEX.upper()}",
        f"sha256:{HEX}0",
        f"sha256:{HEX}\n",
        f"sha512:{HEX}",
        f"SHA256:{HEX}",
        f"sha256:{HEX}:",
        "sha256:",
        "a+b:abc",
        "a:ab=",
        "a:../..",
        "../..:ab",
        "a:b",
    ],
)
def test_invalid_digests(text: str) -> None:
    with pytest.raises(InvalidDigestError, match="digest"):
        Digest.parse(text)


def test_digests_of_other_algorithms_are_taken() -> None:
    assert str(Digest.parse("blake3:AZ-_09")) == "blake3:AZ-_09"


@pytest.mark.parametrize(
    "name", ["a", "library/debian", "a.b/c_d/e__f/g---h", "0/1", "Team/app", "My-Host.example/a", "a" * 255]
)
def test_repository_names(name: str) -> None:
    assert check_repository(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        "A",
        "/a",
        "a/",
        "a//b",
        "-a",
        "a-",
        "a..b",
        "a___b",
        "_a",
        "a/B",
        "A_b/c",
        "a:1/b",
        ".",
        "..",
        "a/../b",
        "a b",
        "a\n",
        "é",
    ],
)
def test_invalid_repository_names(name: str) -> None:
    with pytest.raises(InvalidNameError, match=r"^repository ") as caught:
        check_repository(name)
    assert repr(name) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_repository_name_too_long() -> None:
    with pytest.raises(InvalidNameError, match="256 characters, more than 255"):
        check_repository("a" * 256)


@pytest.mark.parametrize("tag", ["", ".", "..", "-a", "a/b", "a\n", "é", "x" * 129])
def test_invalid_tags(tag: str) -> None:
    with pytest.raises(InvalidNameError, match=r"^tag "):
        check_tag(tag)
    with pytest.raises(InvalidNameError):
        TagCurrentLink("a", tag)


def test_no_spec_without_a_valid_path() -> None:
    with pytest.raises(InvalidNameError, match="'A'"):
        LayerLink("A", DIGEST)
    with pytest.raises(InvalidNameError, match="upload id"):
        UploadData("a", "../x")
    with pytest.raises(InvalidNameError, match="offset -1"):
        UploadHashState("a", UPLOAD, "sha256", -1)
    with pytest.raises(InvalidDigestError, match="algorithm"):
        UploadHashState("a", UPLOAD, "..", 0)


def test_layout_imports_the_standard_library_alone() -> None:
    tree = ast.parse(Path(regfs.layout.__file__).read_text())
    imported = {
        name
        for node in ast.walk(tree)
        for name in (
            [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else []
        )
    }
    assert imported <= sys.stdlib_module_names
