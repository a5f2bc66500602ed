"""Names of images, and looking them up through whatever there is to read through."""

from __future__ import annotations

import json

import fsspec
import pytest
from cli.shop import Shop, shop
from fsspec.implementations.dirfs import DirFileSystem
from support.memory import MemoryDriver

from regfs.catalog.images import platforms_of
from regfs.catalog.inspection import inspect
from regfs.catalog.lookup import Lookup
from regfs.catalog.manifest import LARGEST
from regfs.catalog.names import AmbiguousDigestError, Name, UnknownNameError
from regfs.catalog.reach import size_of
from regfs.catalog.search import NoRegistryError
from regfs.catalog.source import Source
from regfs.image import build_image
from regfs.layout import BlobData, Digest, TagCurrentLink

HEX = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"


@pytest.fixture
def made() -> Shop:
    return shop()


@pytest.fixture(params=["driver", "fsspec"])
def source(request: pytest.FixtureRequest, made: Shop) -> Source:
    if request.param == "driver":
        driver = MemoryDriver()
        for path, content in made.files.items():
            driver.put_content(path, content)
        return Source(driver)
    fs = fsspec.filesystem("memory", skip_instance_cache=True)
    fs.store, fs.pseudo_dirs = {}, [""]
    fs.pipe({f"/root{path}": content for path, content in made.files.items()})
    return Source(DirFileSystem("/root", fs))


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("hello", Name("hello", "latest")),
        ("library/hello:1.0", Name("library/hello", "1.0")),
        (f"a/b@sha256:{HEX}", Name("a/b", "", f"sha256:{HEX}")),
        (f"a/b:tag@sha256:{HEX}", Name("a/b", "", f"sha256:{HEX}")),
        ("a/b@9f86", Name("a/b", "", "sha256:9f86")),
        ("a/b@sha512:9f86", Name("a/b", "", "sha512:9f86")),
    ],
)
def test_names(text: str, name: Name) -> None:
    assert Name.parse(text) == name
    assert Name.parse(str(name)) == name


NONE = ["", ":tag", "a:", "a@", "a@sha256:", "A/B", "a:.b", "a@SHA256:9F", "a b", "a@x:y"]


@pytest.mark.parametrize("text", NONE)
def test_names_that_are_none(text: str) -> None:
    with pytest.raises(ValueError, match=r"repository|tag|digest"):
        Name.parse(text)


@pytest.mark.parametrize("text", ["127.0.0.1:5000/team/app:latest", "[::1]:5000/a@9f86", "host:443/a/b"])
def test_a_host_is_no_part_of_a_name(text: str) -> None:
    with pytest.raises(ValueError, match=r"^'.*': leave out the host: '[^'/]*") as caught:
        Name.parse(text)
    assert str(caught.value).endswith(repr(text.partition("/")[2]))


def test_a_host_without_a_port(source: Source, made: Shop) -> None:
    for host in ("localhost", "registry.example.com"):
        with pytest.raises(UnknownNameError, match=r"did you mean library/hello\?"):
            Lookup(source).resolve(Name.parse(f"{host}/library/hello:1.0"))


def test_what_a_name_means(source: Source, made: Shop) -> None:
    lookup = Lookup(source)
    assert lookup.resolve(Name.parse("library/hello")) == made.digests["new"]
    assert lookup.resolve(Name.parse("library/hello:1.0")) == made.digests["old"]
    assert lookup.resolve(Name.parse(f"library/hello@{made.digests['old'].hex[:9]}")) == made.digests["old"]
    with pytest.raises(AmbiguousDigestError, match=r"matches \d+ digests"):
        lookup.resolve(Name("multi/arch", "", "sha256:"))
    with pytest.raises(UnknownNameError, match=r"there are 1\.0, latest"):
        lookup.resolve(Name.parse("library/hello:1"))
    with pytest.raises(ValueError, match="its link is empty"):
        lookup.resolve(Name.parse("team/app:broken"))


def test_a_near_name_is_suggested(source: Source) -> None:
    with pytest.raises(UnknownNameError, match=r"did you mean team/app\?"):
        Lookup(source).tags("team/ap")
    with pytest.raises(UnknownNameError, match=r"no such repository: 'zzz'$"):
        Lookup(source).tags("zzz")


def test_no_registry_at_all() -> None:
    with pytest.raises(NoRegistryError):
        Lookup(Source(MemoryDriver())).tags("library/hello")


def test_the_closure_of_an_index(source: Source, made: Shop) -> None:
    index = made.digests["index"]
    read = Lookup(source).closure([index])
    assert sorted(item.manifest.kind for item in read.values() if item.manifest) == [
        "artifact",
        "image",
        "image",
        "index",
    ]
    assert platforms_of(index, read) == ("linux/amd64", "linux/arm64")
    reached = {index, *read} | {d for item in read.values() if item.manifest for d in item.manifest.kept}
    assert size_of(index, read) == sum(len(made.files[BlobData(digest).path]) for digest in reached)


def test_what_cannot_be_read_has_a_problem(made: Shop) -> None:
    driver = MemoryDriver()
    large, damaged = Digest.of(b"large"), Digest.of(b"no JSON")
    driver.put_content(BlobData(large).path, bytes(LARGEST + 1))
    driver.put_content(BlobData(damaged).path, b"no JSON")
    read = Lookup(Source(driver)).closure([large, damaged, Digest.of(b"gone")])
    assert {digest: one.problem for digest, one in read.items()} == {
        large: f"it has {LARGEST + 1} bytes, more than a registry takes ({LARGEST})",
        damaged: "it is not JSON",
        Digest.of(b"gone"): "its blob is missing",
    }
    with pytest.raises(ValueError, match="it is not JSON"):
        inspect(Lookup(Source(driver)), "a", damaged)


def test_an_index_that_leads_to_itself_ends() -> None:
    """No content has its own digest in it, but nobody compares them on the way in."""
    driver, digest = MemoryDriver(), Digest.of(b"?")
    reference = f'{{"mediaType": "", "digest": "{digest}", "size": 1}}'
    driver.put_content(BlobData(digest).path, f'{{"manifests": [{reference}]}}'.encode())
    read = Lookup(Source(driver)).closure([digest])
    assert list(read) == [digest]
    assert platforms_of(digest, read) == ()
    assert size_of(digest, read) == read[digest].size


def test_a_tag_that_goes_during_the_look(made: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    driver = MemoryDriver()
    for path, content in made.files.items():
        driver.put_content(path, content)
    source = Source(driver)
    read = source.read

    def late(paths: list[str]) -> list[bytes | OSError]:
        driver.files.pop(TagCurrentLink("library/hello", "1.0").path, None)
        return read(paths)

    monkeypatch.setattr(source, "read", late)
    tags = Lookup(source).tags("library/hello")
    assert (tags["1.0"].target, tags["1.0"].problem) == (None, "it has no current link")
    assert tags["latest"].target == made.digests["new"]


@pytest.mark.parametrize(
    ("beginning", "names"),
    [
        ("", ["library/", "multi/", "team/"]),
        ("t", ["team/"]),
        ("team/", ["team/app"]),
        ("team/app", ["team/app"]),
        ("team/app/", []),
        ("team/app:", ["team/app:broken", "team/app:v1"]),
        ("team/app:v", ["team/app:v1"]),
        ("x", []),
    ],
)
def test_what_a_name_may_go_on_with(source: Source, beginning: str, names: list[str]) -> None:
    assert Lookup(source).complete(beginning) == names


def test_referrers_by_subject_and_by_tag(source: Source, made: Shop) -> None:
    found = Lookup(source).referrers("multi/arch", made.digests["index"])
    assert {item.digest: item.how for item in found} == {
        made.digests["bom"]: "subject",
        made.digests["signature"]: "tag",
    }
    assert Lookup(source).referrers("library/hello", made.digests["new"]) == []


@pytest.mark.parametrize(
    ("recorded", "shown"),
    [
        ("ENV TOKEN=hidden", "ENV TOKEN=…"),
        ("ENV A=1 TOKEN=hidden", "ENV A=…"),
        ("/bin/sh -c #(nop)  ENV TOKEN=hidden", "/bin/sh -c #(nop)  ENV TOKEN=…"),
        ("ARG TOKEN=hidden", "ARG TOKEN=…"),
        ("ARG NAME", "ARG NAME"),
        ("RUN |2 A=1 TOKEN=hid den /bin/sh -c make # buildkit", "RUN |2 … /bin/sh -c make # buildkit"),
        ("|1 TOKEN=hidden /bin/bash -ec make", "|1 … /bin/bash -ec make"),
        ("RUN /bin/sh -c a | b && X=1 make", "RUN /bin/sh -c a | b && X=1 make"),
    ],
)
def test_what_builders_record_of_secrets_is_left_out(recorded: str, shown: str) -> None:
    image = build_image([{"a": b""}])
    document = json.loads(image.config)
    document["history"] = [{"created_by": recorded}]
    config = json.dumps(document).encode()
    manifest = json.loads(image.manifest)
    manifest["config"] |= {"digest": str(Digest.of(config)), "size": len(config)}
    made, driver = Shop(), MemoryDriver()
    made.blob(config)
    digest = made.manifest("a", manifest)
    for path, content in made.files.items():
        driver.put_content(path, content)
    found = inspect(Lookup(Source(driver)), "a", digest)
    assert [step for step, _ in found.config.history] == [shown]
    assert found.layers[0].created_by == shown
