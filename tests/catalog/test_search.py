"""Where there is no registry, the error says so, where it looked, and where there is one."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

import pytest
from catalog.faces import elsewhere, foreign
from catalog.faces import on_seaweedfs as pytest_generate_tests  # noqa: F401 - pytest looks for it
from support.memory import MemoryDriver
from support.servers import Place

import regfs
from regfs.catalog import Catalog
from regfs.catalog.search import NoRegistryError, roots
from regfs.catalog.source import Source
from regfs.layout import ROOT, BlobData, Digest

if TYPE_CHECKING:
    from pathlib import Path

    from support.proxy import CountingProxy, Request
    from support.servers import Server

BLOB = BlobData(Digest.of(b"x")).path


def error_of(beneath: Any) -> NoRegistryError:
    with pytest.raises(NoRegistryError) as caught:
        _ = Catalog(beneath).blobs
    return caught.value


# In a bucket of their own: SeaweedFS shows the directories of deleted files for some time, and so what other
# tests have left.


def test_nothing_at_all(server: Server, bucket: str) -> None:
    options = {**server.storage_options(bucket), "rootdirectory": "/r"}
    driver = regfs.create("s3", options)
    for beneath in (driver, driver.fs):
        error = error_of(beneath)
        assert isinstance(error, FileNotFoundError)
        assert error.filename == f"regfs://{options['bucket']}{ROOT}"
        assert error.suggestions == ()
        assert "no registry lies there; correct bucket and rootdirectory" in str(error)
        assert "\n" not in str(error)


def test_other_files_are_no_registry(server: Server, s3: Any, bucket: str) -> None:
    place = Place(server, s3, bucket, "/r")
    place.put("docker/registry/v1/old", b"x")
    place.put("backup/2026/dump.sql", b"x")
    assert error_of(regfs.create("s3", place.options)).suggestions == ()


def test_a_root_directory_too_many_too_few_and_another(raw: Place) -> None:
    raw.put(f"prod/images{BLOB}", b"x")
    right = f"{raw.root}/prod/images"
    for wrong in ("/prod", "/prod/images/v2", "/staging", ""):
        driver = regfs.create("s3", {**raw.options, "rootdirectory": raw.root + wrong})
        error = error_of(driver)
        assert right in error.suggestions
        assert "but one does under rootdirectory: /" in str(error)
        assert right in str(error)
        found = Catalog(regfs.create("s3", {**raw.options, "rootdirectory": right}))
        assert len(found.blobs) == 1


def test_several(raw: Place) -> None:
    for name in ("a", "b/c", "b/c/d"):
        raw.put(f"{name}{BLOB}", b"x")
    driver = regfs.create("s3", {**raw.options, "rootdirectory": f"{raw.root}/b"})
    error = error_of(driver)
    assert {f"{raw.root}/{name}" for name in ("a", "b/c", "b/c/d")} <= set(error.suggestions)
    assert error.suggestions[:2] == (f"{raw.root}/b/c", f"{raw.root}/b/c/d"), "the nearest first"
    assert len(set(error.suggestions)) == len(error.suggestions)
    assert " or " in str(error)


def test_too_deep_to_be_found(raw: Place) -> None:
    raw.put(f"1/2/3/4/5{BLOB}", b"x")
    source = Source(regfs.create("s3", raw.options))
    assert roots(source) == []
    assert roots(source, depth=5) == ["/1/2/3/4/5"]


def test_its_own_root_directory(raw: Place) -> None:
    raw.put(BLOB[1:], b"x")
    assert roots(Source(regfs.create("s3", raw.options))) == ["/"]


def test_through_other_filesystems(raw: Place, tmp_path: Path) -> None:
    raw.put(f"deep{BLOB}", b"x")
    assert error_of(foreign(raw)).suggestions == ("/deep",)
    driver = MemoryDriver()
    driver.put_content(f"/a/b{BLOB}", b"x")
    assert error_of(driver).suggestions == ("/a/b",)
    for name in ("memory", "local"):
        with elsewhere(name, tmp_path) as face:
            face.put(f"/a/b{BLOB}", b"x")
            assert error_of(face.beneath).suggestions == ("/a/b",)


def test_a_refusal_while_searching_hides_nothing(
    proxied_options: dict[str, Any], proxy: CountingProxy
) -> None:
    """Whoever may list no more than the root directory is told that nothing is there."""
    root = proxied_options["rootdirectory"].strip("/")

    def refuse(request: Request) -> bytes | None:
        inside = request.query.get("prefix", root).startswith(f"{root}/docker")
        beyond = not inside and "uploads" not in request.query
        return b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n" if beyond else None

    driver = regfs.create("s3", proxied_options)
    proxy.fault = refuse
    error = error_of(driver)
    assert error.filename == f"regfs://{proxied_options['bucket']}{ROOT}"
    assert "no registry lies there" in str(error)
    assert "(the search for one elsewhere failed: " in str(error)
    assert error.suggestions == ()


def test_what_was_found_before_a_refusal_is_told(
    proxied_options: dict[str, Any], proxy: CountingProxy, raw: Place
) -> None:
    raw.put(f"deep{BLOB}", b"x")
    root = proxied_options["rootdirectory"].strip("/")

    def refuse(request: Request) -> bytes | None:
        beyond = not request.query.get("prefix", root).startswith(root)
        return b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n" if beyond else None

    driver = regfs.create("s3", proxied_options)
    proxy.fault = refuse
    assert error_of(driver).suggestions == (f"{raw.root}/deep",)


def test_a_refused_listing_is_no_empty_bucket(proxied_options: dict[str, Any], proxy: CountingProxy) -> None:
    driver = regfs.create("s3", proxied_options)
    proxy.fault = lambda _: b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"
    with pytest.raises(PermissionError):
        _ = Catalog(driver).blobs


def test_a_bucket_that_does_not_exist(options: dict[str, Any]) -> None:
    fs = regfs.RegistryFileSystem(**{**options, "bucket": "there-is-no-such-bucket"})
    with pytest.raises(FileNotFoundError) as caught:
        _ = Catalog(fs).blobs
    assert not isinstance(caught.value, NoRegistryError)


def test_the_error_travels(raw: Place) -> None:
    raw.put(f"deep{BLOB}", b"x")
    error = error_of(regfs.create("s3", raw.options))
    copied = pickle.loads(pickle.dumps(error))
    assert (str(copied), copied.suggestions) == (str(error), error.suggestions)


def test_a_registry_without_images_is_one(raw: Place) -> None:
    raw.put("docker/registry/v2/repositories/a/_uploads/1/startedat", b"2026-11-01T10:00:00Z")
    catalog = Catalog(regfs.create("s3", raw.options))
    assert (catalog.blobs, catalog.tags) == ([], [])
    assert [repository.name for repository in catalog.repositories] == ["a"]
