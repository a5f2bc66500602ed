"""``regfs orphans --apply`` deleted the blobs of images whose links it did not see, or did not follow."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from catalog.varied import Tree, described
from support.memory import MemoryDriver

from regfs.catalog import Catalog
from regfs.catalog.manifest import OCI_INDEX
from regfs.catalog.orphans import IncompletePlanError, Plan, UnreliableLinksError, apply
from regfs.catalog.plan import place
from regfs.catalog.source import Source
from regfs.image import Image, build_image
from regfs.layout import REPOSITORIES, BlobData, Digest, TagCurrentLink, link_content


def image(number: int) -> Image:
    return build_image([{"own": b"%d" % number * 100}], labels={"n": str(number)})


def registry(images: int = 5) -> Tree:
    """Make a registry of some images and a blob that is garbage."""
    made = Tree()
    for number in range(images):
        made.image(f"team/app{number}", image(number), "v1")
    made.blob(b"garbage")
    return made


def driver_of(made: Tree) -> Any:
    driver = MemoryDriver()
    for path, content in made.files.items():
        driver.put_content(path, content)
    return driver


def paths_of(some: Image) -> set[str]:
    return {BlobData(digest).path for digest in some.blobs}


GARBAGE = BlobData(Digest.of(b"garbage")).path


# -- names that regfs cannot read -------------------------------------------------------------------------

NAMES = [
    "Team/App",
    "team/App",
    "team/app_",
    "reg.example.com:5000/app",
    "a" * 200 + "/" + "b" * 100,
    "_old/app",
]


def renamed(made: Tree, name: str) -> Tree:
    """Return a repository another name, which need not be one."""
    before = f"{REPOSITORIES}/team/app0/"
    made.files = {path.replace(before, f"{REPOSITORIES}/{name}/"): data for path, data in made.files.items()}
    return made


class LenientDriver(MemoryDriver):
    def _check(self, path: str, *, root: bool = False) -> str:
        return path


@pytest.mark.parametrize("name", NAMES)
def test_repositories_whose_names_cannot_be_read(name: str) -> None:
    driver = LenientDriver()
    for path, content in renamed(registry(), name).files.items():
        driver.put_content(path, content)
    before = set(driver.files)
    catalog = Catalog(driver)
    taken = Plan(place(catalog.source), catalog.snapshot.started, None, ())
    first = f"{REPOSITORIES}/{name}/_layers/sha256/"
    for action in (lambda: catalog.orphans(allow_most=True), lambda: apply(catalog.source, taken)):
        with pytest.raises(UnreliableLinksError, match="5 files have the form of a link") as caught:
            action()
        assert str(caught.value).startswith(first)
    assert set(driver.files) == before


def test_other_files_of_nobody_refuse_nothing() -> None:
    made = registry()
    for name in ("team/app0/_layers/junk", "README", "Team/App/link", "team/app0/_uploads/x/y/link"):
        made.files[f"{REPOSITORIES}/{name}"] = b"junk"
    driver = driver_of(made)
    assert [BlobData(orphan.digest).path for orphan in Catalog(driver).orphans().blobs] == [GARBAGE]


def test_a_name_that_cannot_be_read_and_comes_meanwhile() -> None:
    driver = driver_of(registry())
    taken = Catalog(driver).orphans()

    def push(stage: str, *_: Any) -> None:
        if stage == "manifests":
            digest = image(9).manifest_digest
            path = f"{REPOSITORIES}/Team/App/_manifests/revisions/sha256/{digest.hex}/link"
            driver.put_content(path, link_content(digest))

    (skipped,) = apply(Source(driver), taken, push).skipped
    assert "what the link " in skipped.reason
    assert GARBAGE in driver.files


# -- revision links that are missing ----------------------------------------------------------------------


def without_revisions(made: Tree, name: str) -> Tree:
    """Lose a repository's revision links, as a copy does that ends early."""
    start = f"{REPOSITORIES}/{name}/_manifests/revisions/"
    made.files = {path: data for path, data in made.files.items() if not path.startswith(start)}
    return made


def nested() -> tuple[Tree, set[str]]:
    """Make a repository with an index of an index of an image; return the paths of its blobs, too."""
    made = registry()
    before = set(made.files)
    child = image(7)
    inner = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": OCI_INDEX,
            "manifests": [described(made.image("multi", child), len(child.manifest))],
        }
    ).encode()
    outer = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": OCI_INDEX,
            "manifests": [described(made.manifest("multi", inner), len(inner), OCI_INDEX)],
        }
    ).encode()
    made.manifest("multi", outer, "v1")
    blobs = {path for path in made.files.keys() - before if path.endswith("/data")}
    return made, blobs


def test_a_tag_whose_revision_link_is_missing_keeps_what_it_needs() -> None:
    made = without_revisions(registry(), "team/app0")
    driver = driver_of(made)
    taken = Catalog(driver).orphans()
    assert [BlobData(orphan.digest).path for orphan in taken.blobs] == [GARBAGE]
    assert len(apply(Source(driver), taken).deleted) == 1
    assert set(driver.files) == made.files.keys() - {GARBAGE}


def test_so_does_the_tag_of_an_index_all_of_whose_revision_links_are_missing() -> None:
    made, blobs = nested()
    assert len(blobs) == 5
    driver = driver_of(without_revisions(made, "multi"))
    taken = Catalog(driver).orphans()
    assert [BlobData(orphan.digest).path for orphan in taken.blobs] == [GARBAGE]


def test_a_plan_that_was_made_before_believes_the_tag() -> None:
    """As a version of regfs made it that went by the registry's rule."""
    made, blobs = nested()
    driver = driver_of(made)
    for path in without_revisions(made, "multi").files.keys() ^ set(driver.files):
        driver.delete(path)
    driver_without = {path: data for path, data in driver.files.items() if "/multi/" not in path}
    kept, driver.files = driver.files, driver_without
    taken = Catalog(driver).orphans(allow_most=True)
    assert {BlobData(orphan.digest).path for orphan in taken.blobs} == {*blobs, GARBAGE}
    driver.files = kept
    done = apply(Source(driver), taken)
    assert [BlobData(orphan.digest).path for orphan in done.deleted] == [GARBAGE]
    assert {reason for _, reason in done.skipped} == {"multi needs it again"}


@pytest.mark.parametrize("change", ["a new tag", "another target"])
def test_a_tag_that_comes_meanwhile_without_a_revision_link(change: str) -> None:
    """The links are looked at again before each batch, and what changed is read."""
    made, blobs = nested()
    digest = next(
        Digest.of(data)
        for path, data in made.files.items()
        if path in blobs and OCI_INDEX.encode() in data[60:]
    )
    made.files = {path: data for path, data in made.files.items() if "/multi/" not in path}
    driver = driver_of(made)
    taken = Catalog(driver).orphans(allow_most=True)
    name, tag = ("multi", "v1") if change == "a new tag" else ("team/app0", "v1")

    def push(stage: str, *_: Any) -> None:
        if stage == "manifests":
            driver.put_content(TagCurrentLink(name, tag).path, link_content(digest))

    done = apply(Source(driver), taken, push)
    assert [BlobData(orphan.digest).path for orphan in done.deleted] == [GARBAGE]
    assert {reason for _, reason in done.skipped} == {f"{name} needs it again"}


@pytest.mark.parametrize("content", [b"{", b'{"schemaVersion": 2}'])
def test_a_tag_whose_manifest_cannot_be_read_makes_a_plan_incomplete(content: bytes) -> None:
    made = registry()
    made.manifest("broken", content, "v1")
    driver = driver_of(without_revisions(made, "broken"))
    taken = Catalog(driver).orphans()
    (problem,) = taken.incomplete
    assert problem.startswith(f"{Digest.of(content)} in broken: it is ")
    with pytest.raises(IncompletePlanError):
        apply(Source(driver), replace(taken, incomplete=()))


# -- manifests that are missing ---------------------------------------------------------------------------


@pytest.mark.parametrize(("missing", "refused"), [(5, False), (6, True)])
def test_revision_links_without_manifests_speak_against_the_links(missing: int, refused: bool) -> None:
    """A bucket whose blobs are copied by half: what the missing manifests need looks like garbage."""
    made = registry(10)
    for number in range(missing):
        del made.files[BlobData(image(number).manifest_digest).path]
    driver = driver_of(made)
    before = set(driver.files)
    catalog = Catalog(driver)
    if not refused:
        assert len(catalog.orphans().blobs) == 2 * missing + 1
        return
    text = "0 manifests belong to no repository and the blobs of 6 are missing, more than the 4 that"
    taken = Plan(place(catalog.source), catalog.snapshot.started, None, ())
    for action in (lambda: catalog.orphans(allow_most=True), lambda: apply(catalog.source, taken)):
        with pytest.raises(UnreliableLinksError, match=text):
            action()
    assert set(driver.files) == before


@pytest.mark.parametrize(("lost", "missing", "refused"), [(2, 1, False), (3, 1, True), (1, 2, True)])
def test_what_is_missing_counts_with_what_is_lost(lost: int, missing: int, refused: bool) -> None:
    made = registry(4)
    for number in range(missing):
        del made.files[BlobData(image(number).manifest_digest).path]
    for number in range(lost):
        made.blob(image(100 + number).manifest)
    catalog = Catalog(driver_of(made))
    if not refused:
        assert len(catalog.orphans(allow_most=True).blobs) == 2 * missing + lost + 1
        return
    with pytest.raises(UnreliableLinksError, match=f"blobs of {missing} are missing, more than the"):
        catalog.orphans(allow_most=True)


def test_tags_without_revision_links_count_as_well() -> None:
    """Six of ten repositories have lost them; of such a bucket, untagged images would be deleted."""
    made = registry(10)
    for number in range(6):
        without_revisions(made, f"team/app{number}")
    with pytest.raises(UnreliableLinksError, match="6 manifests belong to no repository, more than the 4"):
        Catalog(driver_of(made)).orphans(allow_most=True)
