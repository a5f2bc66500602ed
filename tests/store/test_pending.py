"""Pending uploads: seen and removed under the root directory, and nowhere else."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

from regfs import RegistryFileSystem, StorageDriver

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.servers import Place

import pytest

# moto tells the same day of 2010 as the start of every upload.
pytestmark = pytest.mark.parametrize("server", ["seaweedfs"], indirect=True)

MIB = 2**20


@pytest.fixture
def stranger(raw: Place) -> Iterator[tuple[str, str]]:
    """An upload beside the root directory, whose name begins with the root directory's."""
    key = raw.prefix.rstrip("/") + "-other/x"
    upload = raw.s3.create_multipart_upload(Bucket=raw.bucket, Key=key)["UploadId"]
    yield key, upload
    raw.s3.abort_multipart_upload(Bucket=raw.bucket, Key=key, UploadId=upload)


def test_what_is_pending(options: dict[str, Any], raw: Place, stranger: tuple[str, str]) -> None:
    driver = StorageDriver(RegistryFileSystem(**options, chunksize=5 * MIB))
    with driver.writer("/a/data") as writer:
        writer.write(bytes(5 * MIB + 100))
    with driver.writer("/b/data") as writer:
        writer.write(b"")
    found = {entry.path: entry for entry in driver.fs.uploads()}
    assert set(found) == {"/a/data", "/b/data"}
    assert (found["/a/data"].parts, found["/a/data"].bytes) == (2, 5 * MIB + 100)
    assert (found["/b/data"].parts, found["/b/data"].bytes) == (0, 0)
    assert (
        timedelta(minutes=-5) < datetime.now(timezone.utc) - found["/a/data"].started < timedelta(minutes=5)
    )
    assert driver.fs.uploads(older_than=3600) == []
    assert driver.fs.uploads(older_than=timedelta(hours=1)) == []
    assert len(driver.fs.uploads(older_than=timedelta(hours=-1))) == 2


def test_abort(options: dict[str, Any], raw: Place, stranger: tuple[str, str]) -> None:
    driver = StorageDriver(RegistryFileSystem(**options))
    driver.put_content("/kept", b"1")
    for path in ("/a/data", "/b/data"):
        with driver.writer(path) as writer:
            writer.write(b"small")
    assert driver.fs.abort_uploads(older_than=3600, dry_run=False) == []
    told = driver.fs.abort_uploads()
    assert [entry.path for entry in told] == ["/a/data", "/b/data"]
    assert len(raw.uploads()) == 2
    assert driver.fs.abort_uploads(dry_run=False) == told
    assert raw.uploads() == []
    assert raw.keys() == ["kept"]
    listed = raw.s3.list_multipart_uploads(Bucket=raw.bucket, Prefix=stranger[0]).get("Uploads", [])
    assert [item["UploadId"] for item in listed] == [stranger[1]]
