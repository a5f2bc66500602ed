"""What is refused because the links in a bucket cannot be the truth, and what is not."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from catalog.faces import ELSEWHERE, ON_S3, elsewhere, on_s3
from catalog.varied import Tree
from support.memory import MemoryDriver

import regfs
from regfs.catalog import Catalog, guards, orphans
from regfs.catalog.database import database_in_use
from regfs.catalog.manifest import LARGEST, OCI_MANIFEST
from regfs.catalog.orphans import (
    ExcessivePlanError,
    IncompletePlanError,
    Plan,
    PlanError,
    UnreliableLinksError,
    apply,
)
from regfs.catalog.plan import place
from regfs.catalog.source import Source
from regfs.frames import DaskFrames, Frames
from regfs.image import build_image
from regfs.layout import DATABASE_LOCK, REPOSITORIES, ROOT, BlobData, Digest

if TYPE_CHECKING:
    from pathlib import Path

    from support.proxy import CountingProxy, Request
    from support.servers import Place

on_seaweedfs = pytest.mark.parametrize("server", ["seaweedfs"], indirect=True)
LOCK = b'{"version":1}'


def image(number: int) -> Any:
    return build_image([{"base": b"base"}, {"own": b"%d" % number}], labels={"n": str(number)})


def registry(owned: int, lost: int = 0) -> Tree:
    """Make a registry with manifests that a repository has, and with manifests alone that none has."""
    made = Tree()
    for number in range(owned):
        made.image("app", image(number), f"v{number}")
    for number in range(lost):
        made.blob(image(1000 + number).manifest)
    return made


def driver_of(made: Tree, kind: type[MemoryDriver] = MemoryDriver) -> Any:
    driver = kind()
    for path, content in made.files.items():
        driver.put_content(path, content)
    return driver


def paths(driver: MemoryDriver) -> set[str]:
    return set(driver.files)


def empty_plan(catalog: Catalog) -> Plan:
    return Plan(place(catalog.source), catalog.snapshot.started, None, ())


# -- the lock file ----------------------------------------------------------------------------------------


@on_seaweedfs
@pytest.mark.parametrize("name", ON_S3)
def test_the_lock_file_is_seen_through_whatever_reads_s3(raw: Place, name: str) -> None:
    face = on_s3(name, raw)
    source = Source(face.beneath)
    assert database_in_use(source) is False
    raw.put(f"{DATABASE_LOCK[1:]}-not", LOCK)
    raw.put(f"{DATABASE_LOCK[1:].rpartition('/')[0]}/filesystem-in-use", LOCK)
    assert database_in_use(source) is False
    raw.put(DATABASE_LOCK[1:], b"")
    assert database_in_use(source) is True


@pytest.mark.parametrize("name", ELSEWHERE)
def test_the_lock_file_is_seen_elsewhere(name: str, tmp_path: Path) -> None:
    with elsewhere(name, tmp_path) as face:
        source = Source(face.beneath)
        assert database_in_use(source) is False
        face.put(DATABASE_LOCK, LOCK)
        assert database_in_use(source) is True


@on_seaweedfs
@pytest.mark.parametrize("face", ["filesystem", "driver"])
@pytest.mark.parametrize("there", [True, False])
def test_it_costs_one_request(
    raw: Place, proxied_options: dict[str, Any], proxy: CountingProxy, face: str, there: bool
) -> None:
    if there:
        raw.put(DATABASE_LOCK[1:], LOCK)
    driver = regfs.create("s3", proxied_options)
    source = Source(driver if face == "driver" else driver.fs)
    proxy.clear()
    assert database_in_use(source) is there
    assert [(request.method, request.status) for request in proxy.requests] == [
        ("HEAD", 200 if there else 404)
    ]


FORBIDDEN = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"


@on_seaweedfs
@pytest.mark.parametrize("there", [True, False])
def test_who_may_only_list_finds_it_too(
    raw: Place, proxied_options: dict[str, Any], proxy: CountingProxy, there: bool
) -> None:
    """S3 answers 403 to the HEAD of a missing object where listing is allowed under prefixes alone."""
    if there:
        raw.put(DATABASE_LOCK[1:], LOCK)
    source = Source(regfs.create("s3", proxied_options))
    proxy.fault = lambda request: FORBIDDEN if request.method == "HEAD" else None
    assert database_in_use(source) is there


@on_seaweedfs
def test_nothing_is_planned_while_nobody_knows(
    options: dict[str, Any], proxied_options: dict[str, Any], proxy: CountingProxy
) -> None:
    regfs.create("s3", options).fs.pipe(registry(2).files)
    driver = regfs.create("s3", proxied_options)

    def forbid(request: Request) -> bytes | None:
        asked = request.path + request.query.get("prefix", "")
        return FORBIDDEN if "lockfiles" in asked else None

    proxy.fault = forbid
    catalog = Catalog(driver)
    with pytest.warns(regfs.MetadataDatabaseWarning, match="it is unknown whether"):
        assert len(catalog.tags) == 2
    assert catalog.database_in_use is None
    with pytest.raises(PermissionError):
        catalog.orphans()
    taken = empty_plan(catalog)
    with pytest.raises(PermissionError), pytest.warns(regfs.MetadataDatabaseWarning):
        apply(catalog.source, taken)


@pytest.mark.parametrize("batches", [1, 2])
def test_it_is_looked_for_again_before_each_batch(batches: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """An import into the database ends while blobs are being deleted."""
    monkeypatch.setattr(orphans, "BATCH", 1)
    made = registry(6)
    garbage = {BlobData(made.blob(b"garbage %d" % number)).path for number in range(3)}
    driver = driver_of(made)
    taken = Catalog(driver).orphans()
    assert len(taken.blobs) == 3

    def lock(stage: str, done: int, total: int | None) -> None:
        if (stage, done) == ("deleting", batches):
            driver.put_content(DATABASE_LOCK, LOCK)

    with pytest.raises(regfs.MetadataDatabaseError, match=rf"nothing more is deleted, after {batches} blob"):
        apply(Source(driver), taken, lock)
    assert len(garbage - paths(driver)) == batches


def test_it_is_looked_for_when_a_plan_is_taken_of_an_old_look() -> None:
    driver = driver_of(registry(1))
    catalog = Catalog(driver)
    assert len(catalog.tags) == 1
    driver.put_content(DATABASE_LOCK, LOCK)
    with pytest.raises(regfs.MetadataDatabaseError):
        catalog.orphans()


def test_the_catalog_and_its_tables_tell() -> None:
    made = registry(2)
    driver = driver_of(made)
    catalog = Catalog(driver)
    assert Catalog(driver).database_in_use is False
    driver.put_content(DATABASE_LOCK, LOCK)
    text = f"{DATABASE_LOCK}: this registry's metadata is in a database"
    with pytest.warns(regfs.MetadataDatabaseWarning, match=text):
        assert len(Frames(catalog).tags) == 2
    assert catalog.database_in_use is True
    with pytest.warns(regfs.MetadataDatabaseWarning, match=text):
        assert len(DaskFrames(driver, 2).tags.compute()) == 2
    with pytest.raises(regfs.MetadataDatabaseError, match=r"nothing is deleted\. Use GitLab's"):
        catalog.orphans(allow_most=True)
    first, *others = catalog.fsck()
    assert (first.kind, first.severity, first.path) == ("metadata-in-database", "warning", DATABASE_LOCK)
    assert others == []


def test_a_new_registry_with_a_database_is_one() -> None:
    driver = MemoryDriver()
    driver.put_content(DATABASE_LOCK, LOCK)
    with pytest.warns(regfs.MetadataDatabaseWarning):
        assert Catalog(driver).repositories == []
    with pytest.warns(regfs.MetadataDatabaseWarning):
        assert len(DaskFrames(driver).tags.compute()) == 0


# -- links that cannot be the truth -----------------------------------------------------------------------


@pytest.mark.parametrize("older_than", [None, timedelta(days=1)])
def test_more_manifests_without_a_repository_than_with_one(older_than: timedelta | None) -> None:
    """As after images were pushed into a database; that they are young is no reason to trust the rest."""
    driver = driver_of(registry(2, lost=3))
    before = paths(driver)
    catalog = Catalog(driver)
    text = "3 manifests belong to no repository, more than the 2 that repositories have"
    with pytest.raises(UnreliableLinksError, match=text):
        catalog.orphans(older_than, allow_most=True)
    taken = empty_plan(catalog)
    with pytest.raises(UnreliableLinksError, match=text):
        apply(catalog.source, taken, allow_most=True)
    assert paths(driver) == before


def test_images_of_a_database_beside_old_links() -> None:
    """GitLab's registry stores no manifests where its metadata is in a database, but configurations."""
    made = registry(3)
    for number in range(4):
        pushed = image(500 + number)
        for data in (*pushed.layers, pushed.config):
            made.blob(data)
    catalog = Catalog(driver_of(made))
    with pytest.raises(UnreliableLinksError, match=r"4 image configurations belong to no repository.*the 3 "):
        catalog.orphans(allow_most=True)


def test_as_many_manifests_as_repositories_have_may_be_garbage() -> None:
    driver = driver_of(registry(2, lost=2))
    catalog = Catalog(driver)
    assert len(apply(catalog.source, catalog.orphans()).deleted) == 2
    assert len(Catalog(driver).manifests) == 2


def test_images_that_were_deleted_as_a_registry_does_are_garbage() -> None:
    """Their manifests are no more than those that are left; configurations and layers are no manifests."""
    driver = driver_of(registry(4))
    for number in (0, 1):
        revision = f"{REPOSITORIES}/app/_manifests/revisions/sha256/{image(number).manifest_digest.hex}"
        for path in (revision, f"{REPOSITORIES}/app/_manifests/tags/v{number}"):
            driver.delete(path)
    catalog = Catalog(driver)
    assert len(catalog.orphans().blobs) == 6, "manifest, configuration and a layer of each"
    assert len(apply(catalog.source, catalog.orphans()).deleted) == 6


INDEX = {"schemaVersion": 2, "manifests": []}
REFERENCE = {"mediaType": "x", "size": 1, "digest": str(Digest.of(b"x"))}
OF_NO_MANIFEST = [
    b"",
    b"{}",
    b"  ",
    b"\x1f\x8b{}",
    b"[1]",
    b'{"manifests": 1}',
    image(7).config,
    json.dumps({"layers": [{"blob": "x"}], "records": []}).encode(),  # a BuildKit cache's configuration
    json.dumps({"mediaType": "application/vnd.example+json", "config": {}, "layers": []}).encode(),
    json.dumps({**INDEX, "x": "x" * LARGEST}).encode(),
]
OF_A_MANIFEST = [
    image(7).manifest,
    b"\n " + json.dumps(INDEX).encode(),
    json.dumps({**INDEX, "annotations": {"x": "x" * 100_000}}).encode(),
    b" " * 20_000 + json.dumps(INDEX).encode(),
    json.dumps({"schemaVersion": 1, "fsLayers": [{"blobSum": REFERENCE["digest"]}]}).encode(),
    json.dumps({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": REFERENCE, "layers": []}).encode(),
]


@pytest.mark.parametrize("through", ["memory driver", "memory"])
@pytest.mark.parametrize("content", [*OF_NO_MANIFEST, *OF_A_MANIFEST], ids=lambda item: repr(item[:30]))
def test_what_counts_as_a_manifest(content: bytes, through: str, tmp_path: Path) -> None:
    made = registry(1, lost=1)
    made.blob(content)
    with elsewhere(through, tmp_path) as face:
        for path, data in made.files.items():
            face.put(path, data)
        catalog = Catalog(face.beneath)
        if content in OF_A_MANIFEST:
            with pytest.raises(UnreliableLinksError, match=r"2 manifests belong to no .* than the 1 that"):
                catalog.orphans(allow_most=True)
        else:
            assert len(catalog.orphans(allow_most=True).blobs) == 2


def test_counting_ends_when_the_answer_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []

    class Reading(MemoryDriver):
        def reader(self, path: str, offset: int = 0) -> Any:
            read.append(path)
            return super().reader(path, offset)

    driver = driver_of(registry(3, lost=3), Reading)
    assert len(Catalog(driver).orphans().blobs) == 3
    assert read == [], "three can be no more than three"
    made = registry(1, lost=30)
    monkeypatch.setattr(guards, "batches", lambda paths, size: ([path] for path in paths))
    with pytest.raises(UnreliableLinksError, match="at least 2 manifests belong to no repository"):
        Catalog(driver_of(made, Reading)).orphans(allow_most=True)
    assert len(read) == 2


@on_seaweedfs
def test_only_the_beginning_of_a_large_blob_is_read(
    options: dict[str, Any], proxied_options: dict[str, Any], proxy: CountingProxy
) -> None:
    made = registry(1)
    for number in range(2):
        made.blob(b"%d" % number * 300_000)
    regfs.create("s3", options).fs.pipe(made.files)
    catalog = Catalog(regfs.create("s3", proxied_options))
    assert len(catalog.snapshot.blobs) == 6
    proxy.clear()
    catalog.orphans(allow_most=True)
    lock, *reads = proxy.requests
    assert (lock.method, lock.path.endswith(DATABASE_LOCK)) == ("HEAD", True)
    assert [(read.method, read.headers["range"]) for read in reads] == [("GET", "bytes=0-16383")] * 2


# -- buckets and listings that lack a part ----------------------------------------------------------------


def test_blobs_copied_before_the_repositories() -> None:
    made = registry(3)
    driver = driver_of(made)
    driver.delete(REPOSITORIES)
    before = paths(driver)
    catalog = Catalog(driver)
    with pytest.raises(UnreliableLinksError, match=r"no repository has a manifest, beside 10 blobs of"):
        catalog.orphans(allow_most=True)
    with pytest.raises(UnreliableLinksError, match="run the registry's own garbage-collect"):
        apply(
            catalog.source, Plan(place(catalog.source), catalog.snapshot.started, None, ()), allow_most=True
        )
    assert paths(driver) == before


def test_links_to_manifests_that_are_gone_prove_nothing() -> None:
    driver = driver_of(registry(2))
    for number in range(2):
        driver.delete(BlobData(image(number).manifest_digest).path)
    with pytest.raises(UnreliableLinksError, match="no repository has a manifest"):
        Catalog(driver).orphans(allow_most=True)


class CutDriver(MemoryDriver):
    """Lists no repositories with all else, as a service that ends a listing early, or hides a prefix."""

    cut = True

    def walk(self, path: str, fn: Any, start_after: str | None = None) -> None:
        def tell(info: Any) -> None:
            if not self.cut or path != ROOT or not info.path.startswith(REPOSITORIES):
                fn(info)

        super().walk(path, tell, start_after)


def test_a_listing_that_was_cut_short() -> None:
    driver = driver_of(registry(3), CutDriver)
    before = paths(driver)
    catalog = Catalog(driver)
    with pytest.raises(UnreliableLinksError):
        catalog.orphans(allow_most=True)
    driver.cut = False
    made_up = replace(Catalog(driver).orphans())
    driver.cut = True
    with pytest.raises(UnreliableLinksError):
        apply(Source(driver), made_up, allow_most=True)
    assert paths(driver) == before


@on_seaweedfs
def test_repositories_that_may_not_be_listed(
    options: dict[str, Any], proxied_options: dict[str, Any], proxy: CountingProxy, raw: Place
) -> None:
    made = registry(6)
    made.blob(b"garbage")
    regfs.create("s3", options).fs.pipe(made.files)
    driver = regfs.create("s3", proxied_options)
    taken = Catalog(driver).orphans()
    assert len(taken.blobs) == 1
    before = raw.keys()

    def forbid(request: Request) -> bytes | None:
        return FORBIDDEN if request.query.get("prefix", "").endswith("/repositories/") else None

    proxy.fault = forbid
    with pytest.raises(PermissionError):
        apply(Source(driver), taken)
    assert raw.keys() == before


# -- more than half ---------------------------------------------------------------------------------------


@pytest.fixture
def half() -> Tree:
    """A registry of four blobs of an image, and four of garbage that are smaller."""
    made = Tree()
    made.image("app", build_image([{"a": b"a" * 10}, {"b": bytes(range(256)) * 40}]), "v1")
    for number in range(4):
        made.blob(b"%d" % number)
    return made


def test_half_of_the_blobs_may_go_and_no_more(half: Tree) -> None:
    catalog = Catalog(driver_of(half))
    assert len(catalog.orphans().blobs) == 4
    half.blob(b"one more")
    driver = driver_of(half)
    catalog = Catalog(driver)
    with pytest.raises(
        ExcessivePlanError, match=r"names 5 of 9 blobs, 12 of [\d,]+ bytes: more than half.*most"
    ):
        catalog.orphans()
    assert catalog.orphans(timedelta(days=1)).blobs == (), "what is not in the plan does not count"
    taken = catalog.orphans(allow_most=True)
    before = paths(driver)
    for dry_run in (True, False):
        with pytest.raises(ExcessivePlanError, match="names 5 of 9 blobs"):
            apply(catalog.source, taken, dry_run=dry_run)
    assert paths(driver) == before
    assert len(apply(catalog.source, taken, allow_most=True).deleted) == 5


def test_half_of_the_bytes_may_go_and_no_more(half: Tree) -> None:
    half.blob(b"x" * 100_000)
    half.image("app", build_image([{"c": b"c"}]), "v2")
    catalog = Catalog(driver_of(half))
    with pytest.raises(
        ExcessivePlanError, match=r"names 5 of 1\d blobs, 100,004 of [\d,]+ bytes: more than half"
    ):
        catalog.orphans()


def test_the_sizes_of_a_plan_count_for_nothing(half: Tree) -> None:
    half.blob(b"x" * 100_000)
    half.image("app", build_image([{"c": b"c"}]), "v2")
    driver = driver_of(half)
    catalog = Catalog(driver)
    taken = catalog.orphans(allow_most=True)
    edited = replace(taken, blobs=tuple(replace(blob, size=0) for blob in taken.blobs))
    with pytest.raises(ExcessivePlanError, match="100,004 of"):
        apply(catalog.source, edited)


def test_a_manifest_that_cannot_be_read_is_named_first() -> None:
    """What it needs looks like garbage, and more than half is no reason to do anything about that."""
    driver = driver_of(registry(1))
    driver.put_content(BlobData(image(0).manifest_digest).path, b"{")
    catalog = Catalog(driver)
    taken = catalog.orphans()
    assert (len(taken.blobs), len(taken.incomplete)) == (3, 1)
    with pytest.raises(IncompletePlanError):
        apply(catalog.source, replace(taken, incomplete=()))


def test_all_refusals_are_errors_of_plans() -> None:
    for kind in (regfs.MetadataDatabaseError, UnreliableLinksError, ExcessivePlanError):
        assert issubclass(kind, PlanError)
