"""Registry trees made by Hypothesis, and a model of them that is naive on purpose.

A tree is a dictionary: driver path → content. The model knows nothing of regfs: it has its own expressions
for paths, reads the JSON itself, and finds out what a deletion frees by deleting and collecting garbage.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from fsspec.implementations.dirfs import DirFileSystem
from fsspec.implementations.memory import MemoryFileSystem
from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Iterator

Files: TypeAlias = dict[str, bytes]

TOP = "/docker/registry/v2"
OCI = "application/vnd.oci.image"
DOCKER = "application/vnd.docker"
NAMES = ("a", "a/b", "a/b/c", "a-b", "a0", "team/app", "team/app-extra", "Host.Example/app")
TAGS = ("latest", "1.0", "1.0.1", "_")

# -- the model ---------------------------------------------------------------------------------------------

_DIGEST = r"(?P<{0}>sha256/[0-9a-f]{{64}}|sha512/[0-9a-f]{{128}})"
_HERE = rf"{TOP}/repositories/(?P<name>(?:(?!_)[^/]+/)+)"
_BLOB = re.compile(rf"{TOP}/blobs/(?P<kind>sha256|sha512)/(?P<two>..)/(?P<hex>(?P=two)[0-9a-f]+)/data")
_LAYER = re.compile(_HERE + "_layers/" + _DIGEST.format("digest") + "/link")
_REVISION = re.compile(_HERE + "_manifests/revisions/" + _DIGEST.format("digest") + "/link")
_SIGNATURE = re.compile(
    _HERE
    + "_manifests/revisions/"
    + _DIGEST.format("digest")
    + "/signatures/"
    + _DIGEST.format("other")
    + "/link"
)
_CURRENT = re.compile(_HERE + "_manifests/tags/(?P<tag>[^/]+)/current/link")
_INDEX = re.compile(_HERE + "_manifests/tags/(?P<tag>[^/]+)/index/" + _DIGEST.format("digest") + "/link")
_UPLOAD = re.compile(_HERE + r"_uploads/[0-9a-z-]+/(data|startedat|hashstates/sha256/\d+)")
_OWN = (_LAYER, _REVISION, _SIGNATURE, _CURRENT, _INDEX, _UPLOAD)


def size(files: Files) -> int:
    return sum(map(len, files.values()))


def find(files: Files, *kinds: re.Pattern[str], **wanted: str) -> Iterator[tuple[str, re.Match[str]]]:
    """Return the paths of some kinds, as far as their parts are as wanted."""
    for path in files:
        for kind in kinds:
            match = kind.fullmatch(path)
            if match and all(_part(match, name) == value for name, value in wanted.items()):
                yield path, match


def _part(match: re.Match[str], name: str) -> str:
    text = match[name]
    return text.rstrip("/") if name == "name" else text.replace("/", ":")


def blob_path(digest: str) -> str:
    kind, _, encoded = digest.partition(":")
    return f"{TOP}/blobs/{kind}/{encoded[:2]}/{encoded}/data"


def blobs(files: Files) -> dict[str, int]:
    return {f"{match['kind']}:{match['hex']}": len(files[path]) for path, match in find(files, _BLOB)}


def repositories(files: Files) -> set[str]:
    return {_part(match, "name") for _, match in find(files, *_OWN)}


def tags(files: Files, name: str) -> set[str]:
    return {match["tag"] for _, match in find(files, _CURRENT, _INDEX, name=name)}


def current(files: Files, name: str, tag: str) -> str | None:
    """Return what a tag names, if it is a digest."""
    for path, _ in find(files, _CURRENT, name=name, tag=tag):
        text = files[path].decode("ascii", "replace")
        if re.fullmatch("sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}", text):
            return text
    return None


def manifests(files: Files, name: str) -> dict[str, Any]:
    """Return a repository's manifests, those of its revisions that have a blob."""
    found = {}
    for _, match in find(files, _REVISION, name=name):
        digest = _part(match, "digest")
        if blob_path(digest) in files:
            found[digest] = json.loads(files[blob_path(digest)])
    return found


def references(document: Any) -> list[str]:
    """Return what a manifest keeps, in its own order; never its subject."""
    found = [layer["blobSum"] for layer in document.get("fsLayers", ())]
    descriptors = [document["config"]] if "config" in document else []
    for field in ("layers", "manifests", "blobs"):
        descriptors += document.get(field, ())
    return found + [descriptor["digest"] for descriptor in descriptors]


def children(document: Any) -> list[str]:
    """Return what an index has below it that is a manifest: a build cache has layers."""
    listed = document.get("manifests", ())
    return [item["digest"] for item in listed if item["mediaType"] not in (*_LAYERS, *_CACHE_CONFIGS)]


def keeps(files: Files, name: str) -> set[str]:
    """Return what a repository keeps from being garbage."""
    found = set()
    for digest, document in manifests(files, name).items():
        found |= {digest, *references(document)}
    return found


def collect(files: Files) -> Files:
    """Collect garbage."""
    marked: set[str] = set()
    for name in repositories(files):
        marked |= keeps(files, name)
    garbage = {blob_path(digest) for digest in blobs(files) if digest not in marked}
    return {path: content for path, content in files.items() if path not in garbage}


def owned(files: Files) -> set[str]:
    """Return the manifests that repositories have."""
    return {digest for name in repositories(files) for digest in manifests(files, name)}


def lost(files: Files) -> set[str]:
    """Return the manifests that are garbage; what a layer's link leads to was pushed as a layer."""
    found = set()
    layers = {_part(match, "digest") for _, match in find(files, _LAYER)}
    for path, match in find({item: files[item] for item in files.keys() - collect(files).keys()}, _BLOB):
        with contextlib.suppress(ValueError):
            document = json.loads(files[path])
            if isinstance(document, dict) and document.get("schemaVersion"):
                found.add(f"{match['kind']}:{match['hex']}")
    return found - layers


def adrift(files: Files) -> set[str]:
    """Return the manifests that tags name though they are no revision of the tag's repository."""
    found = set()
    for name in repositories(files):
        targets = {current(files, name, tag) for tag in tags(files, name)}
        found |= {
            target
            for target in targets
            if target and link_path(name, "_manifests/revisions", target) not in files
        }
    return {digest for digest in found if blob_path(digest) in files}


def unlinked(files: Files) -> set[str]:
    """Return the manifests that tags lead to, from index to child, though they are no revision."""
    found: set[str] = set()
    for name in repositories(files):
        linked = {_part(match, "digest") for _, match in find(files, _REVISION, name=name)}
        own, seen, pending = manifests(files, name), set(), []
        for tag in tags(files, name):
            target = current(files, name, tag)
            named = [_part(match, "digest") for _, match in find(files, _INDEX, name=name, tag=tag)]
            pending += [target] if target else named
        while pending:
            digest = pending.pop()
            if digest in seen:
                continue
            seen.add(digest)
            if digest not in linked:
                found.add(digest)
            elif digest in own:
                pending += children(own[digest])
    return {digest for digest in found if blob_path(digest) in files}


def spared(files: Files) -> tuple[set[str], bool]:
    """Return the blobs that such manifests need, down to the last child, and whether all can be read."""
    found: set[str] = set()
    readable = True
    pending = list(unlinked(files))
    seen: set[str] = set()
    while pending:
        digest = pending.pop()
        if digest in seen or blob_path(digest) not in files:
            continue
        seen.add(digest)
        found.add(digest)
        document = None
        with contextlib.suppress(ValueError):
            document = json.loads(files[blob_path(digest)])
        if isinstance(document, dict) and document.get("schemaVersion"):
            found.update(references(document))
            pending += children(document)
        else:
            readable = False
    return found, readable


def doubtful(files: Files) -> int:
    """Count the manifests that speak against the links: without a repository, or without a blob."""
    revisions = {_part(match, "digest") for _, match in find(files, _REVISION)}
    dangling = {digest for digest in revisions if blob_path(digest) not in files}
    return len(lost(files) - spared(files)[0]) + len(adrift(files) - revisions) + len(dangling)


def unreadable_links(files: Files) -> set[str]:
    """Return the files in the form of links that are none."""
    form = re.compile(rf"{TOP}/repositories/(.*/)?(_layers|_manifests)/(.*/)?link")
    return {path for path in files if form.fullmatch(path)} - {path for path, _ in find(files, *_OWN)}


def without_repository(files: Files, name: str) -> Files:
    gone = {path for path, _ in find(files, *_OWN, name=name)}
    return {path: content for path, content in files.items() if path not in gone}


def led(files: Files, name: str, top: str | None) -> set[str]:
    """Return the manifests of a repository that one leads to."""
    there = manifests(files, name)
    if top not in there:
        return set()
    found = {top}
    for child in children(there[top]):
        found |= led(files, name, child)
    return found


def without_tag(files: Files, name: str, tag: str) -> Files:
    """Remove a tag, and the manifests that nothing else leads to."""
    leading = {item: led(files, name, current(files, name, item)) for item in tags(files, name)}
    untagged = manifests(files, name).keys() - {digest for found in leading.values() for digest in found}
    kept = {digest for one, found in leading.items() if one != tag for digest in found}
    for top in untagged:
        kept |= led(files, name, top)
    gone = {path for path, _ in find(files, _CURRENT, _INDEX, name=name, tag=tag)}
    for digest in leading[tag] - kept:
        gone |= {path for path, _ in find(files, _REVISION, _SIGNATURE, name=name, digest=digest)}
    return {path: content for path, content in files.items() if path not in gone}


@dataclass(frozen=True)
class Sums:
    """What a repository or a tag uses, in bytes."""

    logical: int
    stored: int
    unique: int
    freed: int


def weigh(files: Files, digests: set[str] | list[str]) -> int:
    return sum(blobs(files).get(digest, 0) for digest in digests)


def logical(files: Files, name: str, some: set[str]) -> int:
    there = manifests(files, name)
    return sum(weigh(files, {digest, *references(there[digest])}) for digest in some)


def repository_sums(files: Files, name: str) -> Sums:
    mine = keeps(files, name)
    others = {digest for other in repositories(files) - {name} for digest in keeps(files, other)}
    freed = size(collect(files)) - size(collect(without_repository(files, name)))
    whole = logical(files, name, set(manifests(files, name)))
    return Sums(whole, weigh(files, mine), weigh(files, mine - others), freed)


def tag_reach(files: Files, name: str, tag: str) -> set[str]:
    there = manifests(files, name)
    return {
        digest
        for item in led(files, name, current(files, name, tag))
        for digest in (item, *references(there[item]))
    }


def tag_sums(files: Files, name: str, tag: str) -> Sums:
    mine = tag_reach(files, name, tag)
    others = {
        digest
        for other in repositories(files)
        for item in tags(files, other)
        if (other, item) != (name, tag)
        for digest in tag_reach(files, other, item)
    }
    freed = size(collect(files)) - size(collect(without_tag(files, name, tag)))
    whole = logical(files, name, led(files, name, current(files, name, tag)))
    return Sums(whole, weigh(files, mine), weigh(files, mine - others), freed)


def kinds(files: Files) -> dict[str, int]:
    """Sort all bytes: of blobs by how many repositories need them, of links, of uploads, of nobody."""
    needing: dict[str, int] = {}
    for name in repositories(files):
        for digest in keeps(files, name):
            needing[digest] = needing.get(digest, 0) + 1
    found = dict.fromkeys(("orphaned", "unique", "shared", "links", "uploads", "unknown"), 0)
    for digest, length in blobs(files).items():
        found[("orphaned", "unique", "shared")[min(needing.get(digest, 0), 2)]] += length
    found["uploads"] = sum(len(files[path]) for path, _ in find(files, _UPLOAD))
    found["links"] = sum(len(files[path]) for path, _ in find(files, *_OWN)) - found["uploads"]
    found["unknown"] = size(files) - sum(found.values())
    return found


# -- the trees ---------------------------------------------------------------------------------------------


def digest_of(data: bytes, algorithm: str = "sha256") -> str:
    return f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"


def link_path(name: str, kind: str, digest: str, behind: str = "link") -> str:
    """Return the path of a link; `kind` is "_layers", "_manifests/revisions" and so on."""
    return f"{TOP}/repositories/{name}/{kind}/{digest.replace(':', '/')}/{behind}"


def current_path(name: str, tag: str) -> str:
    return f"{TOP}/repositories/{name}/_manifests/tags/{tag}/current/link"


_AT_LEAST = st.sampled_from([0, 1, 2, 2, 3, 3])
_CONTENTS = st.one_of(st.just(b""), st.integers(1, 30).flatmap(lambda n: st.binary(min_size=n, max_size=n)))
_ALGORITHMS = st.sampled_from(["sha256"] * 5 + ["sha512"])
_MISSING = st.builds(digest_of, st.sampled_from([b"never", b"stored"]), _ALGORITHMS)
_CONFIGS = (f"{OCI}.config.v1+json", f"{DOCKER}.container.image.v1+json", "application/vnd.example+json")
_CACHE_CONFIGS = ("application/vnd.buildkit.cacheconfig.v0",)
_LAYERS = (
    f"{OCI}.layer.v1.tar+gzip",
    f"{DOCKER}.image.rootfs.diff.tar.gzip",
    f"{DOCKER}.image.rootfs.foreign.diff.tar.gzip",
    "application/vnd.in-toto+json",
)


def _descriptor(digest: str, media_type: str, told: int) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": digest, "size": told}


@st.composite
def _documents(draw: st.DrawFn, blobs: list[str], manifests: list[str]) -> dict[str, Any]:
    """A manifest that refers to blobs, to manifests in their place or as children, and to what is missing."""
    content = st.sampled_from(blobs) if blobs else _MISSING
    anything = st.one_of(*[content] * 5, st.sampled_from([*manifests, *blobs] or [digest_of(b"never")]))
    one = st.one_of(*[anything] * 7, _MISSING)
    told = st.integers(0, 9)

    def described(media_types: tuple[str, ...], digests: st.SearchStrategy[str]) -> dict[str, Any]:
        return _descriptor(draw(digests), draw(st.sampled_from(media_types)), draw(told))

    form = draw(st.sampled_from(["image", "image", "image", "index", "index", "schema1", "artifact"]))
    document: dict[str, Any] = {"schemaVersion": 2}
    if form == "schema1":
        layers = draw(st.lists(one, max_size=3))
        document = {"schemaVersion": 1, "name": "x", "fsLayers": [{"blobSum": each} for each in layers]}
        if draw(st.booleans()):
            document["signatures"] = [{"signature": "x"}]
        return document
    if form == "index":
        media_types = [f"{OCI}.index.v1+json", f"{DOCKER}.distribution.manifest.list.v2+json"]
        child = st.one_of(*[st.sampled_from(manifests)] * 5, one) if manifests else one
        found = draw(st.lists(child, min_size=draw(st.integers(0, 2)), max_size=3))
        types = st.sampled_from([*[f"{OCI}.manifest.v1+json"] * 5, *_LAYERS[:1], *_CACHE_CONFIGS])
        document["manifests"] = [_descriptor(each, draw(types), draw(told)) for each in found]
    elif form == "artifact":
        media_types = [f"{OCI.removesuffix('.image')}.artifact.manifest.v1+json"]
        document["artifactType"] = "application/vnd.example.signature"
        document["blobs"] = [described(_LAYERS, one) for _ in range(draw(st.integers(0, 2)))]
    else:
        media_types = [f"{OCI}.manifest.v1+json", f"{DOCKER}.distribution.manifest.v2+json"]
        document["config"] = described(_CONFIGS, one)
        document["layers"] = [described(_LAYERS, one) for _ in range(draw(st.integers(0, 4)))]
    media_type = draw(st.sampled_from(media_types))
    if form == "artifact" or DOCKER in media_type or draw(st.booleans()):
        document["mediaType"] = media_type
    if draw(st.booleans()) and manifests:
        subject = draw(st.sampled_from(manifests))
        document["subject"] = _descriptor(subject, f"{OCI}.manifest.v1+json", draw(told))
    return document


@st.composite
def trees(draw: st.DrawFn) -> Files:
    """Whole registries, small ones, in which nearly everything occurs that a registry may leave behind."""
    files: Files = {}
    stored: list[str] = []
    for data in draw(st.lists(_CONTENTS, min_size=draw(_AT_LEAST), max_size=6, unique=True)):
        stored.append(digest_of(data, draw(_ALGORITHMS)))
        files[blob_path(stored[-1])] = data
    made: list[str] = []
    for _ in range(draw(st.sampled_from([0, *range(3, 9)]))):
        data = json.dumps(draw(_documents(stored, made))).encode()
        made.append(digest_of(data, draw(_ALGORITHMS)))
        if draw(st.integers(0, 9)):  # else a manifest whose blob is gone
            files[blob_path(made[-1])] = data
    for name in draw(st.lists(st.sampled_from(NAMES), min_size=draw(_AT_LEAST), max_size=4, unique=True)):
        files.update(draw(_repository_files(name, stored, made)))
    files.update(dict.fromkeys(draw(st.sets(st.sampled_from(_STRANGE))), b"of nobody"))
    return files


_STRANGE = (
    f"{TOP}/README",
    f"{TOP}/blobs/sha256/aa/data",
    f"{TOP}/blobs/sha256/aa/{'b' * 64}/data",
    f"{TOP}/blobs/sha256/bb/{'b' * 64}/date",
    f"{TOP}/repositories/a/README",
    f"{TOP}/repositories/a/_layers/sha256/{'b' * 63}/link",
    f"{TOP}/repositories/a/_manifests/tags/latest/current/link~",
    f"{TOP}/repositories/_x/_layers/sha256/{'b' * 64}/link",
)


@st.composite
def _repository_files(draw: st.DrawFn, name: str, stored: list[str], made: list[str]) -> Files:
    files: Files = {}
    top = f"{TOP}/repositories/{name}"
    everything = [*stored, *made, digest_of(b"never")]
    revisions = set(made)
    if draw(st.booleans()) and made:
        revisions = draw(st.sets(st.sampled_from(made), max_size=7))
    for digest in sorted(revisions):
        files[link_path(name, "_manifests/revisions", digest)] = digest.encode()
        if not draw(st.integers(0, 5)):
            other = draw(st.sampled_from(everything))
            below = f"signatures/{other.replace(':', '/')}/link"
            files[link_path(name, "_manifests/revisions", digest, below)] = other.encode()
    for digest in draw(st.sets(st.sampled_from(everything))):
        files[link_path(name, "_layers", digest)] = digest.encode()
    for tag in draw(st.sets(st.sampled_from(TAGS), min_size=draw(_AT_LEAST))):
        likely = [*sorted(revisions), *(digest for digest in made[-3:] if digest in revisions)]
        targets = st.sampled_from([*likely, *likely, *likely, *everything])
        for digest in draw(st.sets(targets, max_size=2)):
            files[link_path(name, f"_manifests/tags/{tag}/index", digest)] = digest.encode()
        link = draw(st.one_of(*[targets] * 7, st.sampled_from(["", "sha256:short", "\xff"])))
        if draw(st.integers(0, 7)):
            files[current_path(name, tag)] = link.encode("latin-1")
    for number in range(draw(st.integers(0, 2))):
        upload = f"{top}/_uploads/0000-{number}"
        files[f"{upload}/startedat"] = b"2026-11-01T10:00:00Z"
        files[f"{upload}/hashstates/sha256/0"] = draw(st.binary(max_size=9))
        if draw(st.booleans()):
            files[f"{upload}/data"] = b"small"
    return files


def example() -> Files:
    """One tree with all that matters: a multi-platform image, shared layers, garbage of every kind."""
    files: Files = {}

    def blob(data: bytes, algorithm: str = "sha256") -> str:
        digest = digest_of(data, algorithm)
        files[blob_path(digest)] = data
        return digest

    def manifest(name: str, document: dict[str, Any], *tagged: str) -> str:
        digest = blob(json.dumps({"schemaVersion": 2, **document}).encode())
        files[link_path(name, "_manifests/revisions", digest)] = digest.encode()
        for reference in references(document) if "manifests" not in document else ():
            files[link_path(name, "_layers", reference)] = reference.encode()
        for tag in tagged:
            files[current_path(name, tag)] = digest.encode()
            files[link_path(name, f"_manifests/tags/{tag}/index", digest)] = digest.encode()
        return digest

    def image(name: str, config: bytes, *layers: str, tagged: tuple[str, ...] = ()) -> str:
        kinds = [_descriptor(layer, _LAYERS[0], 1) for layer in layers]
        return manifest(name, {"config": _descriptor(blob(config), _CONFIGS[0], 1), "layers": kinds}, *tagged)

    base, other, big = blob(b"base" * 50), blob(b"other" * 40), blob(b"big" * 100, "sha512")
    lost = digest_of(b"lost")
    amd, arm = image("team/app", b"{amd}", base, other), image("team/app", b"{arm}", base, big)
    for name in ("team/app", "team/app/sub"):
        index = manifest(
            name,
            {"manifests": [_descriptor(item, f"{OCI}.manifest.v1+json", 1) for item in (amd, arm)]},
            "latest",
        )
    manifest("team/app", {"manifests": [_descriptor(index, f"{OCI}.index.v1+json", 1)]}, "nested")
    image("team/app", b"{arm}", base, big, tagged=("arm", "1.0"))
    image("team/app", b"{old}", other, tagged=())
    image("library/base", b"{base}", base, base, tagged=("1", "2"))
    image("library/base", b"{broken}", lost, tagged=("broken",))
    signature = {"config": _descriptor(blob(b"{}"), _CONFIGS[2], 2), "layers": []}
    manifest("team/app", {**signature, "subject": _descriptor(amd, f"{OCI}.manifest.v1+json", 1)})
    old = manifest("old", {"schemaVersion": 1, "fsLayers": [{"blobSum": base}, {"blobSum": base}]}, "1")
    signed = blob(b"signature")
    below = f"signatures/{signed.replace(':', '/')}/link"
    files[link_path("old", "_manifests/revisions", old, below)] = signed.encode()
    files[current_path("old", "gone")] = lost.encode()
    files[link_path("empty", "_layers", blob(b"garbage" * 30))] = b""
    files[f"{TOP}/repositories/uploading/_uploads/1/startedat"] = b"2026-11-01T10:00:00Z"
    files[f"{TOP}/README"] = b"of nobody"
    return files


# -- where they are put ------------------------------------------------------------------------------------


@contextlib.contextmanager
def in_memory(files: Files) -> Iterator[DirFileSystem]:
    """Put a tree into fsspec's memory filesystem."""
    memory = MemoryFileSystem()
    root = f"/{uuid.uuid4().hex}"
    try:
        for path, content in files.items():
            memory.pipe_file(root + path, content)
        yield DirFileSystem(root, memory)
    finally:
        if memory.exists(root):
            memory.rm(root, recursive=True)


def all_files(fs: DirFileSystem) -> Files:
    """Read a tree back."""
    return {f"/{path}": fs.cat_file(path) for path in fs.find("")}
