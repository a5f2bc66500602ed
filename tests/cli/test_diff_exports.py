"""``diff`` of exports: what changed in a registry since one, and between two."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from cli.shop import BASE, Shop, shop
from pyarrow import parquet

from regfs.cli.errors import Code
from regfs.filesystem import RegistryFileSystem
from regfs.image import build_image
from regfs.layout import BlobData, TagCurrentLink, repository_root

if TYPE_CHECKING:
    from cli.conftest import Regfs, Terminal
    from support.servers import Place

pytestmark = pytest.mark.parametrize("server", ["seaweedfs"], indirect=True)


@pytest.fixture
def fs(options: dict[str, Any]) -> RegistryFileSystem:
    return RegistryFileSystem(**options)


@pytest.fixture
def made(fs: RegistryFileSystem) -> Shop:
    """The shop, stored in the empty place."""
    found = shop()
    found.store(fs)
    return found


@pytest.fixture
def export(regfs: Regfs, made: Shop, tmp_path: Path) -> str:
    """An export of the shop, of the tables that a comparison needs."""
    directory = str(tmp_path / "before")
    tables = ("tags", "blobs", "usage_repositories")
    regfs("export", directory, *(word for table in tables for word in ("--only", table)))
    return directory


def change(fs: RegistryFileSystem, made: Shop) -> dict[str, Any]:
    """Move a tag, add and remove a tag, add and remove a repository; return the new images' bytes."""
    later = Shop()
    moved = build_image([BASE, {"app": b"new" * 100}])
    later.image("library/hello", moved, "latest", "2.0")
    fresh = build_image([{"fresh": b"fresh" * 1000}])
    later.image("team/fresh", fresh, "v1")
    later.store(fs)
    fs.rm(TagCurrentLink("library/hello", "1.0").path)
    fs.rm(repository_root("multi/arch"), recursive=True)
    fs.rm(BlobData(made.digests["orphan"]).path)
    blobs = {**moved.blobs, **fresh.blobs}
    added = {digest: data for digest, data in blobs.items() if BlobData(digest).path not in made.files}
    return {"moved": moved, "fresh": fresh, "added": added}


def check(document: dict[str, Any], made: Shop, changed: dict[str, Any]) -> None:
    assert document["different"] is True
    changes = {repository["repository"]: repository for repository in document["repositories"]}
    assert {name: one["change"] for name, one in changes.items()} == {
        "library/hello": "grown",
        "multi/arch": "removed",
        "team/fresh": "added",
    }
    stored = sum(map(len, changed["fresh"].blobs.values()))
    assert (changes["team/fresh"]["old_stored_bytes"], changes["team/fresh"]["new_stored_bytes"]) == (
        0,
        stored,
    )
    assert changes["multi/arch"]["new_stored_bytes"] == 0
    sizes = [
        abs(repository["new_stored_bytes"] - repository["old_stored_bytes"])
        for repository in document["repositories"]
    ]
    assert sizes == sorted(sizes, reverse=True)
    tags = {(tag["repository"], tag["tag"]): tag for tag in document["tags"]}
    moved = tags["library/hello", "latest"]
    digest = str(changed["moved"].manifest_digest)
    assert (moved["change"], moved["old_digest"], moved["new_digest"]) == (
        "moved",
        str(made.digests["new"]),
        digest,
    )
    assert (tags["library/hello", "1.0"]["change"], tags["library/hello", "1.0"]["new_digest"]) == (
        "broken",
        None,
    )
    assert tags["library/hello", "2.0"]["change"] == "added"
    assert tags["multi/arch", "1.0"]["change"] == "removed"
    assert tags["multi/arch", "1.0"]["new_digest"] is None
    assert ("team/app", "v1") not in tags
    added = changed["added"].values()
    assert (document["added_blobs"], document["added_bytes"]) == (len(added), sum(map(len, added)))
    assert (document["removed_blobs"], document["removed_bytes"]) == (1, 6000)
    old, new = document["old"], document["new"]
    assert new["blob_bytes"] - old["blob_bytes"] == document["added_bytes"] - 6000
    assert (old["repositories"], new["repositories"]) == (3, 3)
    assert old["taken"] < new["taken"]


def test_since_an_export(regfs: Regfs, made: Shop, export: str, fs: RegistryFileSystem) -> None:
    changed = change(fs, made)
    document = json.loads(regfs("diff", export, "--json").stdout)
    check(document, made, changed)
    assert document["new"]["name"] == "now"
    again = json.loads(regfs("diff", export, "now", "--json").stdout)
    assert again["tags"] == document["tags"]


def test_between_a_local_export_and_one_in_the_bucket(
    regfs: Regfs, made: Shop, export: str, fs: RegistryFileSystem, raw: Place
) -> None:
    changed = change(fs, made)
    url = f"regfs://{raw.bucket}/exports/later"
    regfs("export", url)
    check(json.loads(regfs("diff", export, f"{url}/", "--json").stdout), made, changed)
    refused = regfs("diff", export, url, code=Code.USAGE)
    assert f"write {url}:latest for the image, {url}/ for the export" in refused.stderr


def test_nothing_changed(regfs: Regfs, export: str) -> None:
    document = json.loads(regfs("diff", export, "--exit-code", "--json").stdout)
    assert document["different"] is False
    assert (document["repositories"], document["tags"]) == ([], [])


def test_the_exit_code(regfs: Regfs, made: Shop, export: str, fs: RegistryFileSystem) -> None:
    change(fs, made)
    regfs("diff", export)
    regfs("diff", export, "--exit-code", code=Code.FINDINGS)


def test_in_a_pipe(regfs: Regfs, made: Shop, export: str, fs: RegistryFileSystem) -> None:
    change(fs, made)
    rows = [line.split("\t") for line in regfs("diff", export, "--bytes").stdout.splitlines()]
    assert ["tag", "moved", str(made.digests["new"])] in [row[:3] for row in rows]
    assert ["repository", "removed"] in [row[:2] for row in rows]
    (total,) = (row for row in rows if row[:2] == ["total", "bytes"])
    assert total[-1] == "6000"


def test_on_a_terminal(
    terminal: Callable[..., Terminal], made: Shop, export: str, fs: RegistryFileSystem
) -> None:
    change(fs, made)
    many = Shop()
    image = build_image([BASE])
    many.image("many/tags", image, *(f"tag-{number}" for number in range(20)))
    many.store(fs)
    code, text = terminal("diff", export).end()
    assert code == 0
    page = re.sub(r"\x1b\[\d*m", "", text.replace("\r", "").rpartition("\x1b[2K")[2])
    lines = page.splitlines()
    assert [line for line in lines if len(line) > 80 and export not in line] == []
    assert any(line.startswith("... and ") and line.endswith("more; --all shows them") for line in lines)
    _, whole = terminal("diff", "--all", export).end()
    assert "tag-19" in whole
    assert "--all shows them" not in whole


def test_exports_of_different_places(regfs: Regfs, export: str, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    for file in Path(export).iterdir():
        table = parquet.read_table(file)
        metadata = {**table.schema.metadata, b"regfs.rootdirectory": b"/elsewhere"}
        parquet.write_table(table.replace_schema_metadata(metadata), other / file.name)
    refused = regfs("diff", str(other), export, code=Code.USAGE)
    assert "root directory /elsewhere" in refused.stderr
    assert "--allow-other-place" in refused.stderr
    document = json.loads(regfs("diff", str(other), export, "--allow-other-place", "--json").stdout)
    assert document["different"] is False


def test_an_export_that_lacks_tables(regfs: Regfs, export: str) -> None:
    (Path(export) / "tags.parquet").unlink()
    (Path(export) / "usage_repositories.parquet").unlink()
    refused = regfs("diff", export, code=Code.USAGE)
    assert "lacks tags.parquet, usage_repositories.parquet" in refused.stderr


def test_tables_of_different_scans(regfs: Regfs, export: str) -> None:
    regfs("export", export, "--only", "tags", "--overwrite")
    refused = regfs("diff", export, code=Code.USAGE)
    assert "its tables are of different scans" in refused.stderr


@pytest.mark.parametrize("content", [b"no Parquet", None])
def test_what_is_no_table_of_an_export(regfs: Regfs, export: str, content: bytes | None) -> None:
    file = Path(export) / "tags.parquet"
    if content is None:
        parquet.write_table(pa.table({"tag": ["a"]}), file)
    else:
        file.write_bytes(content)
    refused = regfs("diff", export, code=Code.USAGE)
    assert "tags.parquet" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1


def test_no_such_export(regfs: Regfs, tmp_path: Path) -> None:
    failed = regfs("diff", str(tmp_path / "none"), code=Code.NOT_FOUND)
    assert "there is no such export" in failed.stderr


def test_a_directory_without_an_export(regfs: Regfs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "team" / "app").mkdir(parents=True)
    (tmp_path / "app:1").mkdir()
    refused = regfs("diff", "team/app", code=Code.USAGE)
    assert (
        "is a local directory without an export in it; write team/app:latest for the image" in refused.stderr
    )
    refused = regfs("diff", "app:1", "app:2", code=Code.USAGE)
    assert "may be an image or the local directory; write ./app:1 for the directory" in refused.stderr


@pytest.mark.parametrize("missing", ["pandas", "pyarrow"])
def test_without_the_extra(
    regfs: Regfs, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, missing: str
) -> None:
    for name in list(sys.modules):
        if name.startswith("regfs.frames"):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, missing, None)
    failed = regfs("diff", str(tmp_path), f"{tmp_path}/", code=Code.USAGE)
    (line,) = failed.stderr.splitlines()
    assert line.endswith(': pip install "regfs[pandas]"')
