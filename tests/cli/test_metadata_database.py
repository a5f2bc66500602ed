"""Each verb about a registry's content says if its metadata is in a database, as GitLab's registry has it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
import pytest
from cli.conftest import located, payload
from cli.shop import shop

from regfs.cli.errors import Code
from regfs.filesystem import RegistryFileSystem
from regfs.layout import DATABASE_LOCK, BlobData

if TYPE_CHECKING:
    from pathlib import Path

    from cli.conftest import Regfs, Start
    from support.proxy import CountingProxy
    from support.servers import Place

pytestmark = pytest.mark.parametrize("server", ["seaweedfs"], indirect=True)
WARNING = f"{DATABASE_LOCK}: this registry's metadata is in a database (GitLab's registry)"
VERBS: list[list[str]] = [
    ["repos"],
    ["tags", "library/hello"],
    ["usage"],
    ["fsck"],
    ["export"],
    ["report"],
    ["show", "library/hello"],
    ["files", "library/hello"],
]


@pytest.fixture
def place(options: dict[str, Any], raw: Place) -> Place:
    """The shop, whose links are those of the time before an import."""
    shop().store(RegistryFileSystem(**options))
    raw.put(DATABASE_LOCK[1:], b'{"version":1}')
    return raw


def command(verb: list[str], directory: Path) -> list[str]:
    targets = {"export": "export", "report": "report.html"}
    return [*verb, str(directory / targets[verb[0]])] if verb[0] in targets else verb


@pytest.mark.parametrize("as_json", [[], ["--json"]])
@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb[0])
def test_it_is_said_in_the_first_line(
    regfs: Regfs, place: Place, tmp_path: Path, verb: list[str], as_json: list[str]
) -> None:
    code = Code.FINDINGS if verb[0] == "fsck" else Code.OK
    done = regfs(*command(verb, tmp_path), *as_json, code=code)
    (line, *_) = done.stderr.splitlines()
    assert line.startswith("regfs: WARNING: regfs://")
    assert WARNING in line
    if as_json:
        told = payload(done.stdout)
        if verb[0] == "usage":
            assert told["database_in_use"] is True
        if verb[0] == "fsck":
            assert told[0]["kind"] == "metadata-in-database"
    place.s3.delete_object(Bucket=place.bucket, Key=place.prefix + DATABASE_LOCK[1:])
    (tmp_path / "again").mkdir()
    again = regfs(*command(verb, tmp_path / "again"), *as_json, code=code)
    assert "WARNING" not in again.stderr
    if as_json and verb[0] == "usage":
        assert payload(again.stdout)["database_in_use"] is False


def test_it_is_said_once_by_the_real_command(start: Start, place: Place) -> None:
    process = start("repos")
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0
    assert out.count(b"\n") == 3
    (line,) = err.decode().splitlines()
    assert WARNING in line


@pytest.mark.parametrize("arguments", [[], ["--apply", "--yes"], ["--apply", "plan.json", "--yes"]])
def test_orphans_says_it_once_and_looks_no_further(
    regfs: Regfs,
    place: Place,
    proxied: str,
    proxy: CountingProxy,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    place.s3.delete_object(Bucket=place.bucket, Key=place.prefix + DATABASE_LOCK[1:])
    age = [] if "plan.json" in arguments else ["--older-than", "0"]
    regfs("orphans", "--older-than", "0", "--plan", "plan.json", "--config", proxied)
    place.put(DATABASE_LOCK[1:], b'{"version":1}')
    proxy.clear()
    refused = regfs("orphans", *age, *arguments, "--config", proxied, code=Code.USAGE)
    (line,) = refused.stderr.splitlines()
    assert "says that this registry's metadata is in a database" in line
    assert "online garbage collection" in line
    assert "remove that file" not in line
    assert [request.method for request in proxy.requests] == ["HEAD"]


def test_no_message_says_to_remove_the_blobs(regfs: Regfs, raw: Place) -> None:
    for path, content in shop().files.items():
        if "/_manifests/" not in path:
            raw.put(path[1:], content)
    refused = regfs("orphans", "--older-than", "0", code=Code.USAGE)
    assert "no repository has a manifest" in refused.stderr
    assert "rm -r" not in refused.stderr


@pytest.mark.parametrize(
    "verb", [*VERBS, ["orphans"], ["rm", "-r", "/docker", "--yes"]], ids=lambda verb: verb[0]
)
def test_a_wrong_secret_is_the_only_thing_to_say(
    regfs: Regfs, place: Place, tmp_path: Path, verb: list[str]
) -> None:
    refused = regfs(*command(verb, tmp_path), "-o", "secretkey=wrong", code=Code.DENIED)
    (line,) = refused.stderr.splitlines()
    assert "WARNING" not in line
    secret = "the secretkey does not belong to the accesskey" in line
    assert secret or (verb[0] == "rm" and "access denied" in line), line


BLOB = shop().digests["orphan"]
REGISTRYS = ["/docker", "/docker/registry/v2", BlobData(BLOB).path]
STILL_NAMED = "; the registry's metadata is in a database, which still names what is removed"


@pytest.mark.parametrize("path", REGISTRYS)
def test_rm_of_a_registrys_files_says_it(regfs: Regfs, place: Place, path: str) -> None:
    where = located(place)
    refused = regfs("rm", "-r", path, code=Code.USAGE)
    assert f", in {where}{STILL_NAMED}? Nobody is there to ask" in refused.stderr
    preview = regfs("rm", "-r", path, "--dry-run")
    assert preview.stderr.endswith(f", in {where}{STILL_NAMED}\n")
    assert payload(regfs("rm", "-r", path, "--dry-run", "--json").stdout)["database_in_use"] is True
    done = regfs("rm", "-r", path, "--yes")
    assert done.stderr.endswith(f", in {where}{STILL_NAMED}\n")


@pytest.mark.parametrize("path", [*REGISTRYS, "/docker/registry/v2x", "/other"])
def test_rm_asks_for_the_lock_file_of_a_registrys_files_alone(
    regfs: Regfs, place: Place, proxied: str, proxy: CountingProxy, path: str
) -> None:
    place.s3.delete_object(Bucket=place.bucket, Key=place.prefix + DATABASE_LOCK[1:])
    place.put("docker/registry/v2x", b"")
    place.put("other", b"")
    arguments = ["rm", "-r", path, "--dry-run", "--json", "--config", proxied]
    document = payload(regfs(*arguments).stdout)
    asked = sum(request.path.endswith(DATABASE_LOCK) for request in proxy.requests)
    if path in REGISTRYS:
        assert (document["database_in_use"], asked) == (False, 1)
    else:
        assert ("database_in_use" in document, asked) == (False, 0)


def test_a_repository_that_is_not_in_the_bucket(regfs: Regfs, place: Place) -> None:
    first, second = regfs("tags", "only/in/the/database", code=Code.NOT_FOUND).stderr.splitlines()
    assert WARNING in first
    assert "no such repository" in second


def test_a_new_registry_is_no_mistake(regfs: Regfs, raw: Place) -> None:
    raw.put(DATABASE_LOCK[1:], b"")
    done = regfs("repos", "--json")
    assert payload(done.stdout) == []
    assert WARNING in done.stderr


def test_what_is_handed_on_tells_it(regfs: Regfs, place: Place, tmp_path: Path) -> None:
    regfs("export", str(tmp_path / "out"), "--only", "blobs")
    metadata = pq.read_schema(tmp_path / "out" / "blobs.parquet").metadata
    assert metadata[b"regfs.database_in_use"] == b"true"
    regfs("report", str(tmp_path / "page.html"))
    page = (tmp_path / "page.html").read_text()
    banner, cards = page.index('<p class="banner"'), page.index('<div class="cards"')
    assert banner < cards
    assert "this registry&#39;s metadata is in a database" in page[banner:cards]
    assert "No blob can be deleted as orphaned." in page
    assert "regfs orphans --apply" not in page
    assert "metadata-in-database" in page


def test_a_page_about_links_that_are_lost(regfs: Regfs, raw: Place, tmp_path: Path) -> None:
    for path, content in shop().files.items():
        if "/_manifests/" not in path:
            raw.put(path[1:], content)
    regfs("report", str(tmp_path / "page.html"))
    page = (tmp_path / "page.html").read_text()
    assert (
        "no repository has a manifest"
        in page[page.index('<p class="banner"') : page.index('<div class="cards"')]
    )
    assert "No blob can be deleted as orphaned." in page
    assert "no repository has a manifest" in page


@pytest.mark.parametrize("more", [["--read-only"], []])
def test_the_doctor_finds_it(regfs: Regfs, place: Place, more: list[str]) -> None:
    checks = {item["check"]: item for item in payload(regfs("doctor", "--json", *more).stdout)}
    assert checks["metadata"]["verdict"] == "warning"
    assert WARNING in checks["metadata"]["found"]
    assert "online garbage collection" in checks["metadata"]["advice"]
    place.s3.delete_object(Bucket=place.bucket, Key=place.prefix + DATABASE_LOCK[1:])
    checks = {item["check"]: item for item in payload(regfs("doctor", "--json", *more).stdout)}
    assert (checks["metadata"]["verdict"], checks["metadata"]["advice"]) == ("ok", "")


def test_orphans_beyond_half(regfs: Regfs, raw: Place, options: dict[str, Any], tmp_path: Path) -> None:
    made = shop()
    large = made.blob(b"large" * 100_000)
    made.store(RegistryFileSystem(**options))
    file = str(tmp_path / "plan.json")
    for arguments in (["--json"], ["--plan", file], ["--apply", "--yes"]):
        refused = regfs("orphans", "--older-than", "0", *arguments, code=Code.USAGE)
        assert "more than half" in refused.stderr
        assert "--allow-most" in refused.stderr
    regfs("orphans", "--older-than", "0", "--plan", file, "--allow-most")
    regfs("orphans", "--apply", file, "--yes", code=Code.USAGE)
    regfs("orphans", "--apply", file, "--yes", "--dry-run", code=Code.USAGE)
    told = payload(regfs("orphans", "--apply", file, "--yes", "--allow-most", "--json").stdout)
    assert {blob["digest"] for blob in told["deleted"]} == {str(large), str(made.digests["orphan"])}
