"""``regfs orphans --apply`` deleted every blob of a registry that keeps its metadata in a database.

GitLab's registry does: the bucket has blobs whose links are in PostgreSQL, and a lock file beside "v2", which
is missing at times. So does, for as long as it lasts, a bucket that was copied by half.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from cli.conftest import write_config
from click.testing import CliRunner

import regfs
from regfs.catalog.orphans import Orphan, Plan, UnreliableLinksError, apply
from regfs.catalog.plan import place
from regfs.catalog.source import Source
from regfs.cli.errors import Code
from regfs.cli.group import cli
from regfs.image import build_image
from regfs.layout import BLOBS, DATABASE_LOCK, BlobData, Digest

if TYPE_CHECKING:
    from pathlib import Path

    from support.servers import Place

pytestmark = pytest.mark.parametrize("server", ["seaweedfs"], indirect=True)


@pytest.fixture(params=["lock file", "no lock file"])
def locked(raw: Place, request: pytest.FixtureRequest) -> bool:
    """Two images of GitLab's registry: blobs alone, and with or without the lock file."""
    for text in (b"one", b"two"):
        for digest, content in build_image([{"file": text * 1000}]).blobs.items():
            raw.put(BlobData(digest).path[1:], content)
    is_locked: bool = request.param == "lock file"
    if is_locked:
        raw.put(DATABASE_LOCK[1:], b'{"version":1}')
    return is_locked


@pytest.mark.parametrize("more", [[], ["--allow-most"], ["--allow-most", "--dry-run"]])
def test_the_command_deletes_nothing(locked: bool, raw: Place, tmp_path: Path, more: list[str]) -> None:
    before = raw.keys()
    config = write_config(tmp_path / "config.yml", raw.options)
    arguments = ["orphans", "--older-than", "0", "--apply", "--yes", *more, "--config", config]
    done = CliRunner().invoke(cli, arguments)
    assert raw.keys() == before
    assert done.exit_code == Code.USAGE
    *_, refusal = done.stderr.splitlines()
    if locked:
        assert "lockfiles/database-in-use says that this registry's metadata is in a database" in refusal
        assert "online garbage collection" in refusal
    else:
        size = sum(raw.head(key)["ContentLength"] for key in before)
        assert f"no repository has a manifest, beside {len(before)} blobs of {size:,} bytes" in refusal


def test_a_plan_made_elsewhere_deletes_nothing(locked: bool, raw: Place, tmp_path: Path) -> None:
    """A file that was edited, or made by a version that did not ask."""
    source = Source(regfs.create("s3", raw.options))
    found = [
        Orphan(Digest("sha256", entry.path.split("/")[-2]), entry.size, entry.modified)
        for page in source.pages(BLOBS)
        for entry in page
    ]
    taken = Plan(place(source), max(item.modified for item in found), timedelta(0), tuple(found))
    taken.save(tmp_path / "plan")
    before = raw.keys()
    expected = regfs.MetadataDatabaseError if locked else UnreliableLinksError
    for plan in (Plan.load(tmp_path / "plan"), replace(taken, blobs=taken.blobs[:1])):
        with pytest.raises(expected):
            apply(source, plan, allow_most=True)
    config = write_config(tmp_path / "config.yml", raw.options)
    arguments = ["orphans", "--apply", str(tmp_path / "plan"), "--yes", "--allow-most", "--config", config]
    assert CliRunner().invoke(cli, arguments).exit_code == Code.USAGE
    assert raw.keys() == before
