"""``repos``, ``tags``, ``show``, ``files`` and ``usage``, on one small registry."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from cli.conftest import payload, write_config
from cli.shop import HOSTILE, Shop, shop
from faults.table import error
from support.servers import Place, Server, fresh_place

from regfs.cli.errors import Code
from regfs.filesystem import RegistryFileSystem

if TYPE_CHECKING:
    from cli.conftest import Regfs, Terminal
    from support.proxy import CountingProxy

pytestmark = pytest.mark.parametrize("server", ["seaweedfs"], indirect=True)
OK = 0


@pytest.fixture(scope="module")
def place(server: Server, s3: Any, worker_bucket: str) -> Iterator[Place]:
    with fresh_place(server, s3, worker_bucket) as fresh:
        shop().store(RegistryFileSystem(**fresh.options))
        yield fresh


@pytest.fixture(scope="module")
def made() -> Shop:
    return shop()


@pytest.fixture
def config(place: Place, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The config.yml of the shop."""
    return write_config(tmp_path_factory.mktemp("config") / "config.yml", place.options)


@pytest.fixture
def proxied(place: Place, proxy: CountingProxy, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The same through the counting proxy."""
    options = {**place.options, "regionendpoint": proxy.endpoint}
    return write_config(tmp_path_factory.mktemp("config") / "config.yml", options)


def told(regfs: Regfs, *arguments: str) -> Any:
    return payload(regfs(*arguments, "--json").stdout)


def rows(regfs: Regfs, *arguments: str) -> list[list[str]]:
    return [line.split("\t") for line in regfs(*arguments).stdout.splitlines()]


# -- repos -----------------------------------------------------------------------------------------------


def test_repos(regfs: Regfs) -> None:
    counts = {row[-1]: row[:4] for row in rows(regfs, "repos")}
    assert list(counts) == sorted(counts)
    assert counts == {
        "library/hello": ["2", "2", "4", "0"],
        "multi/arch": ["2", "6", "7", "0"],
        "team/app": ["2", "1", "3", "1"],
    }
    first = told(regfs, "repos")[0]
    assert first["repository"] == "library/hello"
    assert first["modified"].endswith("Z")


def test_repos_tell_the_bytes_of_each_kind_as_usage_does(regfs: Regfs) -> None:
    used = {repository["repository"]: repository for repository in told(regfs, "usage")["repositories"]}
    for item in told(regfs, "repos"):
        assert not {"bytes", "name"} & item.keys()
        for kind in ("stored", "link", "upload", "pending"):
            assert item[f"{kind}_bytes"] == used[item["repository"]][f"{kind}_bytes"], kind
    assert {row[-1]: row[4] for row in rows(regfs, "repos", "--bytes")} == {
        name: str(one["stored_bytes"]) for name, one in used.items()
    }


def test_the_order_of_repos(regfs: Regfs) -> None:
    for order, key in (("stored", "stored_bytes"), ("modified", "modified"), ("manifests", "manifests")):
        found = told(regfs, "repos", "--sort", order)
        assert [item[key] for item in found] == sorted((item[key] for item in found), reverse=True)
    assert [row[-1] for row in rows(regfs, "repos", "--sort", "layers")] == [
        "multi/arch",
        "library/hello",
        "team/app",
    ]


def test_repos_in_which_something_was_written_since(
    regfs: Regfs, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert len(told(regfs, "repos", "--since", "1d")) == 3
    written = max(datetime.fromisoformat(item["modified"][:-1] + "+00:00") for item in told(regfs, "repos"))

    class Later(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return written + timedelta(days=8)

    monkeypatch.setattr("regfs.catalog.scan.datetime", Later)
    assert told(regfs, "repos", "--since", "7d") == []
    assert len(told(regfs, "repos", "--since", "9d")) == 3
    assert rows(regfs, "repos", "--since", "7d") == []


def test_the_bucket_may_be_a_url(regfs: Regfs, place: Place) -> None:
    assert len(rows(regfs, "repos", f"regfs://{place.bucket}")) == 3
    refused = regfs("repos", f"regfs://{place.bucket}/a", code=Code.USAGE)
    assert "give regfs://BUCKET, and -o rootdirectory=/a" in refused.stderr
    tags = rows(regfs, "tags", f"regfs://{place.bucket}/library/hello")
    assert [row[0] for row in tags] == ["1.0", "latest"]


def test_no_registry_tells_where_there_is_one(regfs: Regfs, place: Place) -> None:
    for verb in (["repos"], ["usage"], ["tags", "library/hello"], ["show", "library/hello"]):
        failed = regfs(*verb, "-o", "rootdirectory=/wrong", code=Code.NOT_FOUND)
        (line,) = failed.stderr.splitlines()
        assert "no registry lies there" in line
        assert failed.stdout == ""
    parent = place.root.rpartition("/")[0] or "/"
    failed = regfs("repos", "-o", f"rootdirectory={parent}", code=Code.NOT_FOUND)
    assert place.root in failed.stderr


# -- tags ------------------------------------------------------------------------------------------------


def test_tags(regfs: Regfs, made: Shop) -> None:
    found = {row[0]: row[1:] for row in rows(regfs, "tags", "library/hello", "--bytes")}
    assert list(found) == ["1.0", "latest"]
    digest, kind, platforms, size, _, revisions = found["latest"]
    assert (digest, kind, platforms, revisions) == (str(made.digests["new"]), "image", "linux/amd64", "2")
    manifest = made.files[f"/docker/registry/v2/blobs/sha256/{digest[7:9]}/{digest[7:]}/data"]
    parts = json.loads(manifest)
    blobs = parts["config"]["size"] + sum(layer["size"] for layer in parts["layers"])
    assert int(size) == len(manifest) + blobs


def test_tags_of_an_index_and_a_broken_one(regfs: Regfs) -> None:
    index = next(item for item in told(regfs, "tags", "multi/arch") if item["tag"] == "1.0")
    assert (index["kind"], index["platforms"]) == ("index", ["linux/amd64", "linux/arm64"])
    broken, fine = told(regfs, "tags", "team/app")
    assert (broken["digest"], broken["problem"]) == (None, "its link is empty")
    assert fine["problem"] == ""
    assert ["broken", "-", "-", "-", "-"] in [row[:5] for row in rows(regfs, "tags", "team/app")]


def test_the_history_of_tags(regfs: Regfs, made: Shop) -> None:
    history = [row for row in rows(regfs, "tags", "library/hello", "--history") if row[0] == "latest"]
    assert {row[2]: row[3] for row in history} == {
        str(made.digests["new"]): "now",
        str(made.digests["old"]): "",
    }


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["tags", "library/helo"], Code.NOT_FOUND, "no such repository; did you mean library/hello?"),
        (["tags", "hello"], Code.NOT_FOUND, "did you mean library/hello?"),
        (["tags", "quite/another"], Code.NOT_FOUND, "quite/another: no such repository\n"),
        (["tags", "Bad Name"], Code.USAGE, "repository 'Bad Name'"),
        (["tags", "library"], Code.NOT_FOUND, "no such repository"),
        (["show", "library/hello:1.1"], Code.NOT_FOUND, "no such tag; there are 1.0, latest\n"),
        (["show", "multi/arch"], Code.NOT_FOUND, "multi/arch:latest: no such tag; there are"),
        (["show", "team/app:broken"], Code.USAGE, "its link is empty"),
        (["show", "library/hello@sha256:abcd"], Code.NOT_FOUND, "no manifest of the repository has"),
        (["show", "library/hello@xyz"], Code.USAGE, "expected sha256:"),
        (["show", "regfs://registry"], Code.USAGE, "names no repository"),
    ],
)
def test_names_that_are_wrong(regfs: Regfs, arguments: list[str], code: Code, says: str) -> None:
    failed = regfs(*arguments, code=code)
    assert says in failed.stderr
    assert failed.stdout == ""


# -- show ------------------------------------------------------------------------------------------------


def test_show_an_image(regfs: Regfs, made: Shop) -> None:
    found = told(regfs, "show", "library/hello")
    assert found["digest"] == str(made.digests["new"])
    assert (found["kind"], found["platforms"]) == ("image", ["linux/amd64"])
    assert found["created"] == "2025-03-01T12:00:00Z"
    assert found["config"]["entrypoint"] == ["/app", "--serve it"]
    assert found["config"]["environment"] == ["PATH", "TOKEN"]
    assert [layer["created_by"] for layer in found["layers"]] == [
        "regfs.image: layer 1",
        "regfs.image: layer 2",
    ]
    assert found["layers"][0]["repositories"] is None
    text = regfs("show", "library/hello").stdout
    assert "hidden" not in text, "a value of the environment"
    assert "entrypoint\t/app '--serve it'" in text
    assert "environment\tPATH, TOKEN" in text
    assert f"layer\t1\t{found['layers'][0]['size']}" in regfs("show", "library/hello", "--bytes").stdout


def test_show_tells_who_shares_a_layer_when_it_is_asked(regfs: Regfs) -> None:
    base, own = told(regfs, "show", "library/hello", "--sharing")["layers"]
    assert (base["repositories"], own["repositories"]) == (["team/app"], [])


def test_show_by_the_beginning_of_a_digest(regfs: Regfs, made: Shop) -> None:
    whole = str(made.digests["old"])
    for given in (whole, whole[:20], made.digests["old"].hex[:12]):
        assert told(regfs, "show", f"library/hello@{given}")["digest"] == whole
    assert told(regfs, "show", f"library/hello:latest@{whole}")["digest"] == whole


def test_a_beginning_of_several_digests(regfs: Regfs, made: Shop) -> None:
    """Of six manifests with random digests, made until two begin alike."""
    digests = [path.split("/")[-2] for path in made.files if "multi/arch/_manifests/revisions" in path]
    firsts = [digest[0] for digest in digests]
    shared = next((first for first in firsts if firsts.count(first) > 1), None)
    assert shared, "change the shop, so that two manifests of multi/arch begin alike"
    failed = regfs("show", f"multi/arch@{shared}", code=Code.USAGE)
    assert f"matches {firsts.count(shared)} digests" in failed.stderr


def test_show_an_index_and_what_is_about_it(regfs: Regfs, made: Shop) -> None:
    found = told(regfs, "show", "multi/arch:1.0")
    children = [(child["platform"], child["kind"]) for child in found["children"]]
    assert children == [
        ("linux/amd64", "image"),
        ("linux/arm64", "image"),
        ("unknown/unknown", "artifact"),
    ]
    assert found["annotations"] == {"org.example.note": HOSTILE}
    referrers = {
        referrer["digest"]: (referrer["how"], referrer["artifact_type"]) for referrer in found["referrers"]
    }
    assert referrers == {
        str(made.digests["bom"]): ("subject", "application/spdx+json"),
        str(made.digests["signature"]): ("tag", "application/x.sig"),
    }


def test_show_an_artifact(regfs: Regfs, made: Shop) -> None:
    found = told(regfs, "show", f"multi/arch@{made.digests['bom']}")
    assert (found["kind"], found["subject"]) == ("artifact", str(made.digests["index"]))
    assert [layer["title"] for layer in found["layers"]] == ["bom.json"]


def test_what_a_manifest_holds_moves_no_cursor(regfs: Regfs, terminal: Callable[..., Terminal]) -> None:
    assert "\x1b[2J" not in regfs("show", "library/hello:1.0").stdout
    code, said = terminal("show", "library/hello:1.0").end()
    assert code == OK
    assert r"\x1b[2J\u202e" in said.replace("\r\n", "")
    assert "\x1b[2J" not in said
    assert "sha256:" in said


def test_one_repository_is_read_and_nothing_else(
    regfs: Regfs, proxied: str, proxy: CountingProxy, place: Place
) -> None:
    verbs: list[tuple[list[str], int]] = [
        (["tags", "library/hello"], 16),
        (["show", "library/hello"], 20),
        (["files", "library/hello"], 9),
    ]
    for arguments, most in verbs:
        with proxy.counting() as seen:
            regfs(*arguments, "--config", proxied)
        assert 0 < len(seen) <= most, (arguments, seen)
        for request in seen:
            asked = request.query.get("prefix", request.path)
            assert "team" not in asked
            assert "multi" not in asked
            if "list-type" in request.query:
                assert "library/hello/_manifests" in asked


# -- files -----------------------------------------------------------------------------------------------


def test_files_as_a_container_sees_them(regfs: Regfs) -> None:
    assert regfs("files", "team/app:v1").stdout.splitlines() == ["/etc/", "/etc/link", "/etc/motd"]
    mode, owner, size, _, layer, path = rows(regfs, "files", "-l", "team/app:v1")[2]
    assert (mode, owner, size, layer, path) == ("-rw-r-----", "0:0", "4", "2", "/etc/motd")
    assert rows(regfs, "files", "-l", "team/app:v1")[1][-1] == "/etc/link -> motd"


def test_all_files_of_all_layers(regfs: Regfs) -> None:
    found = [(e["path"], e["layer"], e["state"]) for e in told(regfs, "files", "team/app:v1", "--all")]
    assert found == [
        ("/etc", 1, ""),
        ("/etc/.wh.base", 2, "whiteout"),
        ("/etc/base", 1, "overridden"),
        ("/etc/link", 2, ""),
        ("/etc/motd", 2, ""),
        ("/etc/motd", 1, "overridden"),
    ]


def test_one_layer_as_it_is(regfs: Regfs) -> None:
    assert [e["path"] for e in told(regfs, "files", "team/app:v1", "--layer", "2")] == [
        "/etc/.wh.base",
        "/etc/motd",
        "/etc/link",
    ]
    refused = regfs("files", "team/app:v1", "--layer", "3", code=Code.USAGE)
    assert "--layer 3: the image has 2 layers" in refused.stderr


def test_files_of_an_index(regfs: Regfs) -> None:
    refused = regfs("files", "multi/arch:1.0", code=Code.USAGE)
    assert "choose with --platform: linux/amd64, linux/arm64\n" in refused.stderr
    arm = regfs("files", "multi/arch:1.0", "--platform", "linux/arm64").stdout
    assert arm.splitlines() == ["/bin/", "/bin/arm"]
    refused = regfs("files", "multi/arch:1.0", "--platform", "plan9/amd64", code=Code.USAGE)
    assert "has no image for plan9/amd64; there is linux/amd64, linux/arm64" in refused.stderr


def test_a_damaged_layer_is_named(regfs: Regfs, place: Place, made: Shop) -> None:
    digest = made.digests["base"]
    key = f"docker/registry/v2/blobs/sha256/{digest.hex[:2]}/{digest.hex}/data"
    content = place.get(key)
    try:
        place.put(key, content[:-30])
        failed = regfs("files", "library/hello", code=Code.FAILED)
        (line,) = failed.stderr.splitlines()
        assert f"{digest}: is damaged" in line
    finally:
        place.put(key, content)


# -- usage -----------------------------------------------------------------------------------------------


def test_the_usage_adds_up_to_the_listing(regfs: Regfs, place: Place) -> None:
    found = told(regfs, "usage")
    totals = found["totals"]
    kinds = ("unique", "shared", "orphaned", "link", "upload", "unknown")
    assert totals["bytes"] == sum(totals[f"{kind}_bytes"] for kind in kinds)
    assert totals["bytes"] == sum(len(place.get(key)) for key in place.keys() if not key.endswith("/"))
    assert [repository["repository"] for repository in found["repositories"]] == sorted(
        ("library/hello", "multi/arch", "team/app"),
        key=lambda name: -next(o["stored_bytes"] for o in found["repositories"] if o["repository"] == name),
    )


def test_the_table_of_usage(regfs: Regfs) -> None:
    found = told(regfs, "usage")
    table = rows(regfs, "usage", "--bytes", "--sort", "name")
    assert [row[0] for row in table] == ["library/hello", "multi/arch", "team/app", "total"]
    assert table[-1][5:7] == [str(found["totals"]["unique_bytes"]), str(found["totals"]["shared_bytes"])]
    unique = sum(int(row[5]) for row in table[:-1])
    assert unique == found["totals"]["unique_bytes"]


def test_the_first_and_the_others(regfs: Regfs) -> None:
    table = rows(regfs, "usage", "--bytes", "--top", "1", "--sort", "unique")
    assert [row[0] for row in table][1:] == ["(2 others)", "total"]
    assert int(table[0][5]) + int(table[1][5]) == int(table[2][5])
    assert len(told(regfs, "usage", "--top", "1")["repositories"]) == 1


def test_usage_by_tags(regfs: Regfs) -> None:
    table = rows(regfs, "usage", "--by", "tag", "--sort", "name")
    assert "library/hello:latest" in [row[0] for row in table]
    tags = told(regfs, "usage", "--by", "tag", "--sort", "freed")["tags"]
    assert [tag["freed_bytes"] for tag in tags] == sorted((o["freed_bytes"] for o in tags), reverse=True)


def test_usage_on_a_terminal(terminal: Callable[..., Terminal]) -> None:
    code, said = terminal("usage", environ={"COLUMNS": "140"}).end()
    assert code == OK
    assert "█" in said
    assert "orphaned + " in said
    assert " in all" in said


def test_what_uploads_hold_is_not_known_where_s3_refuses_to_tell(
    regfs: Regfs, terminal: Callable[..., Terminal], proxied: str, proxy: CountingProxy
) -> None:
    refused = error("403 Forbidden", "AccessDenied")
    proxy.fault = lambda request: refused if "uploads" in request.query else None
    found = told(regfs, "usage", "--config", proxied)
    assert found["totals"] == {**told(regfs, "usage")["totals"], "pending_bytes": None}
    code, said = terminal("usage", "--config", proxied, environ={"COLUMNS": "200"}).end()
    assert code == OK
    assert "what unfinished uploads hold beside it is not known: S3 refuses to list them" in said
    page = regfs("report", "-", "--config", proxied).stdout
    assert "What lies in parts of unfinished uploads is not known" in page
    regfs("uploads", "--config", proxied, code=Code.DENIED)
