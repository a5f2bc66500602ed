"""What nothing needs: planned as the registry's collector would, deleted with more care than it takes."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import time
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest
from catalog import registry_tree as tree
from catalog.registry_tree import Files, all_files, in_memory, trees
from fsspec.implementations.dirfs import DirFileSystem
from fsspec.implementations.memory import MemoryFileSystem
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from support.memory import MemoryDriver

from regfs import RegistryFileSystem, StorageDriver, create
from regfs.catalog import Catalog, orphans
from regfs.catalog.orphans import (
    Applied,
    IncompletePlanError,
    Orphan,
    Plan,
    PlanError,
    UnreliableLinksError,
    apply,
    plan,
)
from regfs.catalog.plan import place
from regfs.catalog.snapshot import File, ReadManifest, Repository, Snapshot
from regfs.catalog.source import Source
from regfs.image import Image, build_image, store_image
from regfs.layout import DATABASE_LOCK, BlobData, Digest, LayerLink, ManifestRevisionLink, link_content

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.proxy import CountingProxy, Request
    from support.servers import Place

on_seaweedfs = pytest.mark.parametrize("server", ["seaweedfs"], indirect=True)
NOW = datetime(2026, 11, 24, 12, tzinfo=timezone.utc)


# -- what is one ------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.too_slow])
@given(trees())
def test_the_plan_is_the_garbage_and_to_apply_it_collects_that(files: Files) -> None:
    assume(files)
    if strange := tree.unreadable_links(files):
        with in_memory(files) as fs, pytest.raises(UnreliableLinksError, match="the form of a link"):
            Catalog(fs).orphans(allow_most=True)
        files = {path: content for path, content in files.items() if path not in strange}
    spared, readable = tree.spared(files)
    left = tree.collect(files) | {path: files[path] for path in map(tree.blob_path, spared) if path in files}
    garbage = {path: content for path, content in files.items() if path not in left}
    with in_memory(files) as fs:
        catalog = Catalog(fs)
        if (tree.blobs(files) and not tree.owned(files)) or tree.doubtful(files) > len(tree.owned(files)):
            with pytest.raises(UnreliableLinksError):
                catalog.orphans(allow_most=True)
            return
        taken = catalog.orphans(allow_most=True)
        assert {BlobData(blob.digest).path: blob.size for blob in taken.blobs} == {
            path: len(content) for path, content in garbage.items()
        }
        assert taken.bytes == tree.size(garbage)
        assert bool(taken.incomplete) is not readable
        if taken.incomplete:
            return
        assert len(apply(catalog.source, taken, dry_run=True, allow_most=True).deleted) == len(garbage)
        assert all_files(fs) == files
        done = apply(catalog.source, taken, allow_most=True)
        assert (done.deleted, done.bytes) == (taken.blobs, taken.bytes)
        assert (done.skipped, done.failed, done.lost) == ((), (), ())
        assert all_files(fs) == left
        catalog.refresh()
        if left:
            assert catalog.orphans().blobs == ()
            orphaned = tree.size(left) - tree.size(tree.collect(left))
            assert catalog.usage().totals.orphaned_bytes == orphaned


@pytest.mark.parametrize("face", ["filesystem", "driver"])
def test_the_same_on_s3(options: dict[str, Any], raw: Place, tmp_path: Path, face: str) -> None:
    files = tree.example()
    for path, content in files.items():
        raw.put(path[1:], content)
    driver = create("s3", options)
    catalog = Catalog(driver if face == "driver" else driver.fs)
    file = tmp_path / "plan.json"
    catalog.orphans().save(file)
    done = apply(catalog.source, Plan.load(file))
    assert len(done.deleted) == 2
    assert {key: raw.get(key) for key in raw.keys()} == {
        path[1:]: content for path, content in tree.collect(files).items()
    }


def look(blobs: dict[Digest, File], *repositories: Repository) -> Snapshot:
    """Return what a scan found: the blobs, the repositories, and one more with a manifest."""
    used = Digest.of(b"used")
    using = Repository("using", revisions={used: File(71, ago(days=300))})
    found = {item.name: item for item in (*repositories, using)}
    return Snapshot(NOW, NOW, found, {**blobs, used: File(8, ago(days=300))}, {used: ReadManifest(8)})


def ago(**since: float) -> datetime:
    return NOW - timedelta(**since)


def test_what_is_younger_than_the_age_is_left_out() -> None:
    old, young, linked = (Digest.of(text) for text in (b"old", b"young", b"linked"))
    blobs = {old: File(1, ago(hours=24)), young: File(2, ago(hours=23.9)), linked: File(4, ago(days=300))}
    # An old blob that a repository was linked to just now belongs to a push that goes on.
    repositories = [
        Repository("a", layers={linked: File(71, ago(days=299)), old: File(71, ago(days=2))}),
        Repository("b", layers={linked: File(71, ago(minutes=1))}),
    ]
    found = look(blobs, *repositories)
    source = Source(MemoryDriver())
    assert {blob.digest for blob in plan(source, found, allow_most=True).blobs} == {old, young, linked}
    for age in (timedelta(hours=24), 24 * 3600, 24 * 3600.0):
        taken = plan(source, found, age)
        assert [blob.digest for blob in taken.blobs] == [old]
        assert taken.older_than == timedelta(hours=24)
        assert taken.taken == NOW
    every = plan(source, found, 0, allow_most=True).blobs
    assert len(every) == 3
    assert [item for item in every if item.digest == linked] == [
        Orphan(linked, 4, ago(days=300), 2, ago(minutes=1), ("a", "b"))
    ]
    with pytest.raises(ValueError, match=r"older_than -1.0 s: must not be negative"):
        plan(source, found, -1)


# -- races ------------------------------------------------------------------------------------------------


def image_of(*texts: str) -> Image:
    return build_image([{"file": text.encode() * 100} for text in texts])


def forget(driver: StorageDriver, name: str) -> None:
    """Make garbage of a repository's images, as deleting all its manifests does."""
    driver.delete(f"/docker/registry/v2/repositories/{name}/_manifests")


class Scene:
    """A registry with an image in use, and one that is garbage; both have a layer in common."""

    def __init__(self, options: dict[str, Any]) -> None:
        self.driver = create("s3", options)
        self.used, self.garbage = image_of("base", "used"), image_of("base", "old")
        store_image(self.driver, self.used, "app", "latest")
        store_image(self.driver, self.garbage, "old", "latest")
        forget(self.driver, "old")
        self.source = Source(self.driver)

    def plan(self) -> Plan:
        return Catalog(self.driver).orphans()

    def missing(self, image: Image) -> list[str]:
        """Return the blobs that a pull would not find."""
        return [str(digest) for digest in image.blobs if self.source.find(BlobData(digest).path) is None]


@pytest.fixture
def scene(options: dict[str, Any]) -> Scene:
    return Scene(options)


def reasons(done: Applied) -> dict[Digest, str]:
    return {item.digest: item.reason for item in done.skipped}


@on_seaweedfs
def test_nothing_is_deleted_by_a_dry_run(scene: Scene, raw: Place) -> None:
    before = raw.keys()
    taken = scene.plan()
    # The layer in common is needed still; the other layer, the configuration and the manifest are not.
    unneeded = scene.garbage.blobs.keys() - scene.used.blobs.keys()
    assert {blob.digest for blob in taken.blobs} == unneeded
    assert len(unneeded) == 3
    done = apply(scene.source, taken, dry_run=True)
    assert done.dry_run
    assert done.deleted == taken.blobs
    assert raw.keys() == before
    done = apply(scene.source, taken)
    assert not done.dry_run
    assert set(before) - set(raw.keys()) == {BlobData(digest).path[1:] for digest in unneeded}
    assert scene.missing(scene.used) == []


@on_seaweedfs
def test_what_a_push_needs_again_stays(scene: Scene) -> None:
    taken = scene.plan()
    layer = scene.garbage.layer_digests[1]
    pushed = build_image([{"file": b"base" * 100}, {"file": b"old" * 100}], labels={"new": "yes"})
    assert layer in pushed.blobs
    store_image(scene.driver, pushed, "appears/later", "1")
    done = apply(scene.source, taken)
    assert reasons(done) == {layer: "appears/later needs it again"}
    assert scene.missing(pushed) == []
    assert {blob.digest for blob in done.deleted} == {
        scene.garbage.config_digest,
        scene.garbage.manifest_digest,
    }


@on_seaweedfs
def test_a_tag_that_moves_to_garbage_saves_it(scene: Scene) -> None:
    taken = scene.plan()
    store_image(scene.driver, scene.garbage, "app", "latest")
    done = apply(scene.source, taken)
    assert done.deleted == ()
    assert {*reasons(done).values()} == {"app needs it again"}
    assert scene.missing(scene.garbage) == []


@on_seaweedfs
def test_what_was_uploaded_again_or_linked_since_stays(scene: Scene) -> None:
    taken = scene.plan()
    again, mounted, relinked = sorted(blob.digest for blob in taken.blobs)
    for digest in (again, mounted, relinked):
        scene.driver.put_content(LayerLink("old", digest).path, link_content(digest))
    time.sleep(1.1)  # S3's times have seconds
    taken = scene.plan()
    time.sleep(1.1)
    path = BlobData(again).path
    scene.driver.put_content(path, scene.driver.get_content(path))
    scene.driver.put_content(LayerLink("other", mounted).path, link_content(mounted))
    scene.driver.put_content(LayerLink("old", relinked).path, link_content(relinked))
    done = apply(scene.source, taken)
    linked = "a repository has linked to it since the plan: a push may be in progress"
    assert reasons(done) == {again: "it was written again since the plan", mounted: linked, relinked: linked}
    assert done.deleted == ()
    assert scene.missing(scene.garbage) == []


@on_seaweedfs
def test_a_push_while_it_is_applied_is_noticed_up_to_the_last_request(
    proxied_options: dict[str, Any], options: dict[str, Any], proxy: CountingProxy
) -> None:
    scene = Scene(options)
    source = Source(create("s3", proxied_options))
    taken = replace(scene.plan(), place=place(source))
    beside = create("s3", options)
    asked: list[str] = []

    def push_before_the_blobs_are_asked_for(request: Request) -> None:
        if request.method == "HEAD" and not asked:
            asked.append(request.path)
            store_image(beside, scene.garbage, "late", "1")

    proxy.fault = push_before_the_blobs_are_asked_for
    done = apply(source, taken)
    assert asked
    assert done.deleted == ()
    assert {*reasons(done).values()} == {"late needs it again"}
    assert scene.missing(scene.garbage) == []
    assert not [request for request in proxy.requests if request.method in ("POST", "DELETE")]


@on_seaweedfs
def test_what_a_push_lost_in_the_last_moment_is_told(
    proxied_options: dict[str, Any], options: dict[str, Any], proxy: CountingProxy
) -> None:
    scene = Scene(options)
    source = Source(create("s3", proxied_options))
    taken = replace(scene.plan(), place=place(source))
    beside = create("s3", options)
    layer = scene.garbage.layer_digests[1]

    def push_a_manifest_before_the_deletion(request: Request) -> None:
        if request.method == "POST" and "delete" in request.query:
            # A client that was told that the layer is there sends the manifest alone.
            pushed = build_image([{"file": b"base" * 100}, {"file": b"old" * 100}], labels={"new": "yes"})
            for digest in (pushed.config_digest, pushed.manifest_digest):
                beside.put_content(BlobData(digest).path, pushed.blobs[digest])
            manifest = pushed.manifest_digest
            beside.put_content(ManifestRevisionLink("late", manifest).path, link_content(manifest))

    proxy.fault = push_a_manifest_before_the_deletion
    done = apply(source, taken)
    assert done.deleted == taken.blobs
    assert [(item.digest, item.reason) for item in done.lost] == [(layer, "late needs it again")]


@on_seaweedfs
def test_what_goes_between_the_question_and_the_deletion_stops_nothing(
    proxied_options: dict[str, Any], options: dict[str, Any], proxy: CountingProxy
) -> None:
    scene = Scene(options)
    source = Source(create("s3", proxied_options))
    taken = replace(scene.plan(), place=place(source))
    first = BlobData(taken.blobs[0].digest).path
    beside = create("s3", options)
    heads: list[str] = []

    def delete_before_the_second_question(request: Request) -> None:
        if request.method == "HEAD" and request.path.endswith(first):
            heads.append(request.path)
            if len(heads) == 2:
                beside.delete(first)

    proxy.fault = delete_before_the_second_question
    done = apply(source, taken)
    assert (done.skipped, done.failed) == ((), ())
    assert {blob.digest for blob in done.deleted} == {blob.digest for blob in taken.blobs}
    assert scene.plan().blobs == ()


@on_seaweedfs
def test_an_interrupted_one_is_completed_by_the_next(
    scene: Scene, raw: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(orphans, "BATCH", 1)
    taken = scene.plan()

    def interrupt(stage: str, done: int, total: int | None) -> None:
        if (stage, done) == ("deleting", 2):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        apply(scene.source, taken, interrupt)
    assert [blob.digest for blob in scene.plan().blobs] == [taken.blobs[2].digest]
    done = apply(scene.source, taken)
    assert done.deleted == taken.blobs[2:]
    assert [*reasons(done).values()] == ["it is gone already"] * 2
    assert scene.plan().blobs == ()
    assert scene.missing(scene.used) == []


@on_seaweedfs
def test_what_it_costs(
    proxied_options: dict[str, Any], options: dict[str, Any], proxy: CountingProxy
) -> None:
    scene = Scene(options)
    source = Source(create("s3", proxied_options).fs)
    taken = replace(scene.plan(), place=place(source))
    proxy.clear()
    apply(source, taken)
    locks = [item for item in proxy.requests if item.path.endswith(DATABASE_LOCK)]
    assert [lock.method for lock in locks] == ["HEAD"] * 2, "at the start, and before the batch"
    manifests = [item for item in proxy.requests if item.method == "GET" and item.path.endswith("/data")]
    assert len(manifests) == 1, "the manifest in use is read once, and no configuration"
    heads = [item for item in proxy.requests if item.method == "HEAD" and item not in locks]
    assert len(heads) == 2 * len(taken.blobs), "one to see whether it is the same, one by the deletion"
    assert len([request for request in proxy.requests if request.method == "POST"]) == 1


# -- failures ---------------------------------------------------------------------------------------------


class LockedDriver(MemoryDriver):
    """Refuses to delete one file."""

    locked = ""

    def delete(self, path: str) -> None:
        if path == self.locked:
            raise PermissionError(13, "the object is locked", path)
        super().delete(path)


def filled(files: Files, kind: type[MemoryDriver] = MemoryDriver) -> Any:
    driver = kind()
    for path, content in files.items():
        driver.put_content(path, content)
    return driver


def test_what_cannot_be_deleted_is_named_and_the_rest_is_deleted() -> None:
    driver = filled(tree.example(), LockedDriver)
    catalog = Catalog(driver)
    taken = catalog.orphans()
    for blob in taken.blobs:
        driver.locked = BlobData(blob.digest).path
        done = apply(catalog.source, taken)
        assert [(bad.digest, "the object is locked" in bad.reason) for bad in done.failed] == [
            (blob.digest, True)
        ]
        assert {other.digest for other in done.deleted} | {other.digest for other in done.skipped} == {
            other.digest for other in taken.blobs if other != blob
        }
        driver.locked = ""
        for other in done.deleted:
            path = BlobData(other.digest).path
            driver.files[path] = tree.example()[path], other.modified


def damaged(files: Files) -> tuple[Files, Digest]:
    """Make a manifest that is in use unreadable."""
    _, match = next(tree.find(files, tree._REVISION, name="library/base"))
    digest = match["digest"].replace("/", ":")
    return {**files, tree.blob_path(digest): b"{"}, Digest.parse(digest)


def test_nothing_is_deleted_where_a_manifest_cannot_be_read(tmp_path: Path) -> None:
    files, digest = damaged(tree.example())
    driver = filled(files)
    catalog = Catalog(driver)
    taken = catalog.orphans()
    assert len(taken.incomplete) == 1
    assert str(digest) in taken.incomplete[0]
    assert "library/base" in taken.incomplete[0]
    taken.save(tmp_path / "plan")
    for item in (taken, Plan.load(tmp_path / "plan"), replace(taken, incomplete=())):
        with pytest.raises(IncompletePlanError, match=f"manifest {digest} in library/base: .*nothing is del"):
            apply(catalog.source, item)
    assert {path: content for path, (content, _) in driver.files.items()} == files


def test_an_altered_manifest_counts_as_unreadable() -> None:
    files = tree.example()
    _, match = next(tree.find(files, tree._REVISION, name="library/base"))
    blob = tree.blob_path(match["digest"].replace("/", ":"))
    document = json.loads(files[blob])
    document["layers"] = []
    catalog = Catalog(filled({**files, blob: json.dumps(document).encode()}))
    assert "does not match its digest" in catalog.orphans().incomplete[0]


class ChangingDriver(MemoryDriver):
    """Does something at its second walk of the repositories: the last look before the first deletion."""

    act: Callable[[], None] = staticmethod(lambda: None)

    def walk(self, path: str, *args: Any, **kwargs: Any) -> None:
        if path.endswith("/repositories"):
            self.act()
        super().walk(path, *args, **kwargs)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"no manifest", "it is not JSON"),
        (b'{"manifests": []}', "its content does not match its digest"),
    ],
)
def test_a_manifest_that_comes_meanwhile_and_cannot_be_read_stops_it(content: bytes, problem: str) -> None:
    files = tree.example()
    driver = filled(files, ChangingDriver)
    catalog = Catalog(driver)
    taken = catalog.orphans()
    digest = Digest.of(b"no manifest")

    def push() -> None:
        driver.put_content(BlobData(digest).path, content)
        driver.put_content(ManifestRevisionLink("new", digest).path, link_content(digest))

    driver.act = push
    done = apply(catalog.source, taken)
    assert done.deleted == ()
    told = f"{digest} has become a manifest of new, and what it needs is unknown: {problem}"
    assert {*reasons(done).values()} == {told}
    assert set(files) <= set(driver.files)


def test_a_new_link_counts_within_the_second_of_the_last_and_as_the_first() -> None:
    files = tree.example()
    driver = filled(files)
    linked, alone = (Digest.of(text) for text in (b"garbage" * 30, b"alone"))
    driver.put_content(BlobData(alone).path, b"alone")
    catalog = Catalog(driver)
    taken = catalog.orphans()
    told = {blob.digest: blob for blob in taken.blobs}
    assert (told[linked].links, told[alone].links) == (1, 0)
    driver.files[LayerLink("new", linked).path] = link_content(linked), told[linked].linked
    driver.put_content(LayerLink("new", alone).path, link_content(alone))
    done = apply(catalog.source, taken)
    assert {linked, alone} == reasons(done).keys()
    assert all("a push may be in progress" in reason for reason in reasons(done).values())
    assert len(done.deleted) == len(taken.blobs) - 2


def test_a_plan_that_was_incomplete_stays_so_when_the_manifest_is_repaired() -> None:
    files, digest = damaged(tree.example())
    driver = filled(files)
    catalog = Catalog(driver)
    taken = catalog.orphans()
    driver.put_content(BlobData(digest).path, tree.example()[BlobData(digest).path])
    with pytest.raises(IncompletePlanError, match=str(digest)):
        apply(catalog.source, taken)
    catalog.refresh()
    assert len(apply(catalog.source, catalog.orphans()).deleted) == 2


# -- places and files -------------------------------------------------------------------------------------


def test_a_plan_for_another_place_is_refused(
    options: dict[str, Any], proxied_options: dict[str, Any]
) -> None:
    driver = create("s3", options)
    store_image(driver, image_of("a"), "a", "1")
    taken = Catalog(driver).orphans()
    others = [
        {**options, "rootdirectory": options["rootdirectory"] + "/below"},
        {**options, "bucket": "another-bucket"},
        proxied_options,
    ]
    text = r"the plan is for regfs://.*, not for regfs://.*; create a new one"
    told = set()
    for other in others:
        with pytest.raises(PlanError, match=text) as caught:
            apply(Source(RegistryFileSystem(**other)), taken)
        told.add(str(caught.value))
    assert len(told) == len(others)
    # Both faces and every spelling of one place are that place.
    for same in (driver.fs, create("s3", {**options, "rootdirectory": options["rootdirectory"] + "/"})):
        assert apply(Source(same), taken, dry_run=True).deleted == ()


def test_a_place_holds_no_secret(options: dict[str, Any]) -> None:
    secrets = {"accesskey": "the-key", "secretkey": "the-secret", "sessiontoken": "the-token"}
    told = place(Source(RegistryFileSystem(**{**options, **secrets})))
    assert told.startswith(f"regfs://{options['bucket']}/")
    for part in ("rootdirectory", "regionendpoint"):
        assert f"{part}={options[part]}" in told
    for secret in secrets.values():
        assert secret not in told


def test_directories_of_other_filesystems_are_places_of_their_own() -> None:
    memory = MemoryFileSystem()
    places = [place(Source(DirFileSystem(path, memory))) for path in ("/a", "/b")]
    assert places == ["memory:///a/docker/registry/v2", "memory:///b/docker/registry/v2"]
    nested = DirFileSystem("b", DirFileSystem("/a", memory))
    assert place(Source(nested)) == "memory:///a/b/docker/registry/v2"


MOMENTS = st.integers(0, 2**50).map(lambda microseconds: ago(microseconds=microseconds))
ORPHANS = st.builds(
    lambda content, algorithm, size, modified, linked, links: Orphan(
        Digest.parse(tree.digest_of(content, algorithm)),
        size,
        modified,
        links if linked else 0,
        linked,
        ("a", "b/c")[:links] if linked else (),
    ),
    st.binary(max_size=3),
    st.sampled_from(["sha256", "sha512", "sha384"]),
    st.integers(0, 2**50),
    MOMENTS,
    st.none() | MOMENTS,
    st.integers(1, 9),
)


@settings(deadline=None)
@given(st.lists(ORPHANS, unique_by=lambda item: item.digest), st.text(), st.lists(st.text(), max_size=2))
def test_a_saved_plan_reads_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, blobs: list[Orphan], where: str, incomplete: list[str]
) -> None:
    file = tmp_path_factory.mktemp("plans") / "plan"
    for age in (None, timedelta(0), timedelta(microseconds=1)):
        old = tuple(blob for blob in blobs if age is None or blob.touched <= NOW - age)
        taken = Plan(where, NOW, age, old, tuple(incomplete))
        taken.save(file)
        assert Plan.load(file) == taken
        assert os.listdir(file.parent) == ["plan"]


TAKEN = Plan(
    "regfs://bucket/docker/registry/v2",
    NOW,
    timedelta(hours=24),
    (
        Orphan(Digest.of(b"a"), 10, ago(days=2), 1, ago(days=3)),
        Orphan(Digest.of(b"b"), 20, ago(days=2)),
    ),
)


def of_blob(**changes: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda plan: plan["blobs"][0].update(changes)


def without(name: str) -> Callable[[dict[str, Any]], Any]:
    return lambda plan: plan.pop(name)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda plan: plan.update(format="other"), "it is not a plan of orphaned blobs"),
        (lambda plan: plan.update(version=3), "its version is 3, not 2"),
        (lambda plan: plan.update(version="1" * 999), "its version is '1111111111111111111, not 2"),
        (lambda plan: plan.update(version=True), "its version is True, not 2"),
        (of_blob(repositories="a"), "the repositories of blob 1 are not a list of strings"),
        (of_blob(repositories=[1]), "the repositories of blob 1 are not a list of strings"),
        (of_blob(repositories=["a", "b"]), "links and repositories of blob 1 contradict each other"),
        (of_blob(repositories=["Not A Name"]), "repository 'Not A Name'"),
        (without("place"), "it lacks place"),
        (without("blobs"), "it lacks blobs"),
        (lambda plan: plan.update(apply=True), "it has 'apply', an unknown field"),
        (lambda plan: plan.update(blobs={}), "its blobs are not a list"),
        (lambda plan: plan.update(blobs=["x"]), "blob 1 is not an object"),
        (lambda plan: plan.update(place=None), "its place is not a string"),
        (lambda plan: plan.update(taken="yesterday"), "its taken is not a time with a time zone"),
        (lambda plan: plan.update(taken="2026-11-24T12:00:00"), "its taken is not a time with a time zone"),
        (lambda plan: plan.update(taken=1.5), "its taken is not a time with a time zone"),
        (lambda plan: plan.update(older_than="24h"), "its older_than is not a number of seconds"),
        (lambda plan: plan.update(older_than=True), "its older_than is not a number of seconds"),
        (lambda plan: plan.update(older_than=float("inf")), "its older_than is not a number of seconds"),
        (lambda plan: plan.update(older_than=1e300), ""),
        (lambda plan: plan.update(older_than=-1), "older_than -1.0 s: must not be negative"),
        (lambda plan: plan.update(incomplete="no"), "its incomplete is not a list of strings"),
        (lambda plan: plan.update(incomplete=[1]), "its incomplete is not a list of strings"),
        (lambda plan: plan.update(count=1), "its count or bytes do not match its blobs"),
        (lambda plan: plan.update(bytes=31), "its count or bytes do not match its blobs"),
        (lambda plan: plan["blobs"].pop(), "its count or bytes do not match its blobs"),
        (lambda plan: plan["blobs"].append(plan["blobs"][0]), f"{Digest.of(b'a')} is listed twice"),
        (of_blob(path="/docker/registry/v2/repositories"), "blob 1 has 'path', an unknown field"),
        (of_blob(digest="sha256:../../../repositories/a"), "sha256 takes 64 lower-case hexadecimal digits"),
        (of_blob(digest="other:../repositories"), "expected algorithm:hex"),
        (of_blob(digest="../x:ab"), "expected algorithm:hex"),
        (of_blob(digest=str(Digest.of(b"a")).upper()), "expected algorithm:hex"),
        (of_blob(digest=7), "the digest of blob 1 is not a string"),
        (of_blob(size=-1), "the size of blob 1 is not a whole number from 0"),
        (of_blob(size=10.0), "the size of blob 1 is not a whole number from 0"),
        (of_blob(size=True), "the size of blob 1 is not a whole number from 0"),
        (of_blob(modified=None), "the modified of blob 1 is not a time with a time zone"),
        (of_blob(modified=ago(hours=1).isoformat()), f"{Digest.of(b'a')} is younger than the plan's age"),
        (of_blob(linked=ago(hours=1).isoformat()), f"{Digest.of(b'a')} is younger than the plan's age"),
        (of_blob(linked=None), "links and linked of blob 1 contradict each other"),
        (of_blob(links=0), "links and linked of blob 1 contradict each other"),
    ],
)
def test_a_damaged_plan_is_refused_in_one_line(
    tmp_path: Path, change: Callable[[dict[str, Any]], Any], told: str
) -> None:
    file = tmp_path / "plan.json"
    TAKEN.save(file)
    document = json.loads(file.read_text())
    change(document)
    file.write_text(json.dumps(document))
    with pytest.raises(PlanError) as caught:
        Plan.load(file)
    text = str(caught.value)
    assert text.startswith(f"plan {file}: ")
    assert told in text
    assert text.endswith("; create a new one")
    assert len(text.splitlines()) == 1
    assert len(text) < 600


@pytest.mark.parametrize("data", [b"", b"[]", b"null", b"\xff", b"{", b"[" * 200_000, b"1" * 10_000])
def test_what_is_no_plan_is_refused(tmp_path: Path, data: bytes) -> None:
    file = tmp_path / "plan.json"
    file.write_bytes(data)
    with pytest.raises(PlanError, match=r"create a new one$"):
        Plan.load(file)


@given(
    st.binary(max_size=200)
    | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(
        lambda value: json.dumps({"format": "regfs orphans", "version": 2, "blobs": value}).encode()
    )
)
def test_no_bytes_are_anything_but_a_plan_or_an_error(tmp_path_factory: Any, data: bytes) -> None:
    file = tmp_path_factory.getbasetemp() / "bytes"
    file.write_bytes(data)
    with pytest.raises(PlanError):
        Plan.load(file)


def test_a_plan_is_saved_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "plan.json"
    TAKEN.save(file)
    before = file.read_bytes()
    assert file.stat().st_mode & 0o077 == 0

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        replace(TAKEN, blobs=()).save(file)
    assert file.read_bytes() == before
    assert os.listdir(tmp_path) == ["plan.json"]
    with pytest.raises(FileNotFoundError):
        TAKEN.save(tmp_path / "no" / "directory")


def test_errors_travel_between_processes() -> None:
    error = IncompletePlanError(("sha256:1 in a: it is not JSON", "another"))
    again = pickle.loads(pickle.dumps(error))
    assert str(again) == str(error)
    assert again.manifests == error.manifests
    assert "(and 1 more)" in str(error)


def test_what_was_pushed_by_another_name_is_spared() -> None:
    """The registry's collector deletes it: only a layer link's content tells that it is needed."""
    content = b"a layer pushed as sha512"
    stored, pushed = Digest.of(content), Digest("sha512", hashlib.sha512(content).hexdigest())
    garbage, manifest = Digest.of(b"garbage"), b'{"schemaVersion":2,"manifests":[]}'
    files = {
        BlobData(Digest.of(manifest)).path: manifest,
        ManifestRevisionLink("a", Digest.of(manifest)).path: link_content(Digest.of(manifest)),
        BlobData(stored).path: content,
        BlobData(garbage).path: b"garbage",
        LayerLink("a", pushed).path: link_content(stored),
        LayerLink("a", Digest.of(b"gone")).path: b"damaged",
    }
    with in_memory(files) as fs:
        catalog = Catalog(fs)
        taken = catalog.orphans(allow_most=True)
        assert {blob.digest for blob in taken.blobs} == {stored, garbage}
        done = apply(catalog.source, taken, allow_most=True)
        assert [blob.digest for blob in done.deleted] == [garbage]
        assert [(item.digest, item.reason) for item in done.skipped] == [(stored, "a needs it again")]
