"""``usage REPO``, ``who``, ``tags --untagged``, and what is said of images that are broken."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest
from cli.conftest import payload, write_config
from cli.shop import BASE, CREATED, Shop, described, shop
from cli.test_registry_verbs import rows, told
from support.servers import Place, Server, fresh_place

from regfs.cli.errors import Code
from regfs.filesystem import RegistryFileSystem
from regfs.image import build_image
from regfs.layout import BlobData, Digest, LayerLink, ManifestRevisionLink, UploadData

if TYPE_CHECKING:
    from cli.conftest import Regfs, Terminal
    from support.proxy import CountingProxy

pytestmark = pytest.mark.parametrize("server", ["seaweedfs"], indirect=True)
OK = 0


def filled() -> Shop:
    """The shop, and an image of library/hello that no tag names any more."""
    made = shop()
    image = build_image([BASE, {"left": b"left" * 300}], created=CREATED)
    made.digests["left"] = made.image("library/hello", image)
    return made


@pytest.fixture(scope="module")
def made() -> Shop:
    return filled()


@pytest.fixture(scope="module")
def place(server: Server, s3: Any, worker_bucket: str) -> Iterator[Place]:
    """The shop, with a pending upload; nobody changes it."""
    with fresh_place(server, s3, worker_bucket) as fresh:
        filled().store(RegistryFileSystem(**fresh.options))
        key = fresh.prefix + UploadData("team/app", "one").path[1:]
        upload = s3.create_multipart_upload(Bucket=fresh.bucket, Key=key)["UploadId"]
        s3.upload_part(Bucket=fresh.bucket, Key=key, UploadId=upload, PartNumber=1, Body=b"p" * 5_000)
        yield fresh
        s3.abort_multipart_upload(Bucket=fresh.bucket, Key=key, UploadId=upload)


@pytest.fixture
def config(place: Place, tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_config(tmp_path_factory.mktemp("config") / "config.yml", place.options)


# -- usage REPO --------------------------------------------------------------------------------------------


def test_the_usage_of_a_repository_adds_up(regfs: Regfs, made: Shop) -> None:
    found = told(regfs, "usage", "library/hello")
    whole = next(
        repository
        for repository in told(regfs, "usage")["repositories"]
        if repository["repository"] == "library/hello"
    )
    assert whole.items() <= found.items()
    assert sum(blob["size"] for blob in found["blobs"]) == whole["stored_bytes"]
    own = sum(blob["size"] for blob in found["blobs"] if not blob["repositories"])
    assert own == whole["unique_bytes"]
    assert whole["freed_bytes"] == own + whole["link_bytes"] + whole["upload_bytes"]
    tags = told(regfs, "usage", "--by", "tag", "--sort", "name")["tags"]
    assert {tag["tag"]: tag["freed_bytes"] for tag in found["tag_usage"]} == {
        tag["tag"]: tag["freed_bytes"] for tag in tags if tag["repository"] == "library/hello"
    }
    (untagged,) = found["untagged"]
    assert (untagged["digest"], untagged["role"]) == (str(made.digests["left"]), "untagged")
    base = next(blob for blob in found["blobs"] if blob["digest"] == str(made.digests["base"]))
    assert (base["tags"], base["repositories"]) == (["1.0", "latest"], ["team/app"])
    assert str(made.digests["left"]) in base["manifests"]


def test_the_tables_of_a_repository(regfs: Regfs, made: Shop) -> None:
    table = rows(regfs, "usage", "library/hello", "--bytes")
    kinds = [row[0] for row in table]
    assert kinds == sorted(kinds, key=["tag", "manifest", "blob"].index)
    assert {row[-1] for row in table if row[0] == "tag"} == {"1.0", "latest"}
    (untagged,) = (row for row in table if row[0] == "manifest")
    assert (untagged[4], untagged[-1]) == ("untagged", str(made.digests["left"]))
    blobs = [row for row in table if row[0] == "blob"]
    assert [int(row[1]) for row in blobs] == sorted((int(row[1]) for row in blobs), reverse=True)
    base = next(row for row in blobs if row[3] == str(made.digests["base"]))
    assert base[4:] == ["1.0, latest", "team/app"]


def test_a_repository_by_its_url_and_the_first_of_each_kind(regfs: Regfs, place: Place) -> None:
    url = f"regfs://{place.bucket}/library/hello"
    assert rows(regfs, "usage", url) == rows(regfs, "usage", "library/hello")
    assert rows(regfs, "usage", "/library/hello") == rows(regfs, "usage", "library/hello")
    assert rows(regfs, "usage", f"regfs://{place.bucket}") == rows(regfs, "usage")
    first = told(regfs, "usage", url, "--top", "1", "--sort", "name")
    assert [len(first[name]) for name in ("tag_usage", "untagged", "blobs")] == [1, 1, 1]
    assert first["tag_usage"][0]["tag"] == "1.0"
    table = rows(regfs, "usage", url, "--top", "1", "--sort", "freed")
    assert [row[-1] for row in table if row[0] == "tag"][1:] == ["(1 other)"]


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["usage", "library/helo"], Code.NOT_FOUND, "no such repository; did you mean library/hello?"),
        (["usage", "hello"], Code.NOT_FOUND, "did you mean library/hello?"),
        (["usage", "library/hello:latest"], Code.USAGE, "repository 'library/hello:latest'"),
        (["usage", "library/hello", "--by", "tag"], Code.USAGE, "leave it out"),
        (["tags", "--untagged", "library/helo"], Code.NOT_FOUND, "did you mean library/hello?"),
        (["tags", "--untagged", "--history"], Code.USAGE, "--history"),
    ],
)
def test_names_that_are_wrong(regfs: Regfs, arguments: list[str], code: Code, says: str) -> None:
    failed = regfs(*arguments, code=code)
    assert says in failed.stderr
    assert failed.stdout == ""


def test_the_usage_of_a_repository_on_a_terminal(terminal: Callable[..., Terminal]) -> None:
    code, said = terminal("usage", "library/hello", environ={"COLUMNS": "110"}).end()
    assert code == OK
    for text in ("Tags (2)", "no tag names (1 untagged)", "needed by", "shared with", "the sum of all"):
        assert text in said
    assert "freed if all of it is deleted" in said
    code, said = terminal("usage", "multi/arch", environ={"COLUMNS": "110"}).end()
    assert "(3 of indexes, 1 about other manifests)" in said
    assert "sha256-" in said, "a signature's tag"
    assert max(len(line) for line in said.splitlines() if "\x1b" not in line) <= 110


def test_what_pending_uploads_hold_is_a_column(regfs: Regfs, place: Place) -> None:
    found = {
        repository["repository"]: repository["pending_bytes"]
        for repository in told(regfs, "usage")["repositories"]
    }
    assert found == {"library/hello": 0, "multi/arch": 0, "team/app": 5_000}
    table = {row[0]: row for row in rows(regfs, "usage", "--bytes")}
    assert (table["team/app"][-1], table["total"][-1]) == ("5000", "5000")
    assert told(regfs, "usage", "team/app")["pending_bytes"] == 5_000
    assert {item["repository"]: item["pending_bytes"] for item in told(regfs, "repos")} == found


# -- who ---------------------------------------------------------------------------------------------------


def test_who_uses_a_layer(regfs: Regfs, made: Shop) -> None:
    base = made.digests["base"]
    found = told(regfs, "who", base.hex[:16])
    assert (found["digest"], found["size"]) == (str(base), len(made.files[BlobData(base).path]))
    assert found["repositories"] == ["library/hello", "team/app"]
    assert [(use["repository"], use["tags"]) for use in found["uses"]] == [
        ("library/hello", []),
        ("library/hello", ["1.0"]),
        ("library/hello", ["latest"]),
        ("team/app", ["v1"]),
    ]
    assert all(use["how"] == "layer" and use["keeps"] for use in found["uses"])
    assert rows(regfs, "who", str(base))[-1] == [
        "team/app",
        "v1",
        f"layer of image {made.digests['app']}",
    ]


def test_who_uses_a_layer_of_an_index(regfs: Regfs, made: Shop, terminal: Callable[..., Terminal]) -> None:
    index = json.loads(made.files[BlobData(made.digests["index"]).path])
    arm = Digest.parse(index["manifests"][1]["digest"])
    layer = json.loads(made.files[BlobData(arm).path])["layers"][0]["digest"]
    (row,) = rows(regfs, "who", layer)
    way = f"layer of image {arm}, child for linux/arm64 of index {made.digests['index']}"
    assert row == ["multi/arch", "1.0", way]
    code, said = terminal("who", layer).end()
    assert code == OK
    assert "; 1 repository needs it" in said
    assert arm.hex[:12] in said
    assert arm.hex not in said


def test_nobody_uses_it(regfs: Regfs, made: Shop, terminal: Callable[..., Terminal]) -> None:
    orphan = made.digests["orphan"]
    done = regfs("who", str(orphan))
    assert done.stdout == ""
    assert "no manifest needs it" in done.stderr
    assert told(regfs, "who", str(orphan))["size"] == 6000
    code, said = terminal("who", str(orphan)).end()
    assert code == OK
    assert "5.9 KiB, written" in said
    assert "no manifest needs it" in said


def test_a_digest_that_is_none_or_several(regfs: Regfs, made: Shop) -> None:
    unknown = regfs("who", "0123456789abcdef" * 4, code=Code.FAILED)
    assert "no blob has this digest, and no link or manifest refers to it" in unknown.stderr
    several = regfs("who", made.digests["base"].hex[0], code=Code.USAGE)
    assert "digests: sha256:" in several.stderr
    assert "expected sha256:" in regfs("who", "latest", code=Code.USAGE).stderr


# -- tags of all, and what is untagged ---------------------------------------------------------------------


def test_the_tags_of_all_repositories(regfs: Regfs) -> None:
    every = told(regfs, "tags")
    assert {item["repository"] for item in every} == {"library/hello", "multi/arch", "team/app"}
    for name in ("library/hello", "multi/arch", "team/app"):
        assert [item for item in every if item["repository"] == name] == told(regfs, "tags", name)
    assert ["library/hello", "1.0"] in [row[:2] for row in rows(regfs, "tags")]
    assert ["library/hello", "1.0"] in [row[:2] for row in rows(regfs, "tags", "--history")]


def test_what_no_tag_names(regfs: Regfs, made: Shop) -> None:
    every = told(regfs, "tags", "--untagged")
    for name in ("library/hello", "multi/arch"):
        assert [item for item in every if item["repository"] == name] == told(
            regfs, "tags", "--untagged", name
        )
    (left,) = told(regfs, "tags", "--untagged", "library/hello")
    assert (left["digest"], left["role"], left["of"]) == (str(made.digests["left"]), "untagged", None)
    assert left["pushed"].endswith("Z")
    manifest = made.files[BlobData(made.digests["left"]).path]
    parts = json.loads(manifest)
    blobs = parts["config"]["size"] + sum(layer["size"] for layer in parts["layers"])
    assert left["size"] == len(manifest) + blobs
    index = made.digests["index"]
    roles = {
        item["digest"]: (item["role"], item["of"]) for item in told(regfs, "tags", "--untagged", "multi/arch")
    }
    assert roles.pop(str(made.digests["bom"])) == ("referrer", str(index))
    assert list(roles.values()) == [("child", str(index))] * 3
    assert str(made.digests["signature"]) not in roles, "a tag names it, as signing tools do"
    table = rows(regfs, "tags", "--untagged")
    assert ["library/hello", str(made.digests["left"]), "untagged", "-", "image"] in [
        row[:5] for row in table
    ]


# -- broken marks ------------------------------------------------------------------------------------------


@pytest.fixture
def broken(options: dict[str, Any], raw: Place) -> tuple[Shop, Place]:
    """A place of its own, to be damaged."""
    made = filled()
    made.store(RegistryFileSystem(**options))
    return made, raw


def lose(place: Place, *paths: str) -> None:
    for path in paths:
        place.s3.delete_object(Bucket=place.bucket, Key=place.prefix + path[1:])


@pytest.fixture
def own(options: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return ["--config", write_config(tmp_path_factory.mktemp("own") / "config.yml", options)]


def problems(regfs: Regfs, own: list[str], *arguments: str) -> dict[str, str]:
    return {item["tag"]: item["problem"] for item in told(regfs, "tags", *arguments, *own)}


def test_an_image_whose_layer_is_gone_is_marked(
    regfs: Regfs, broken: tuple[Shop, Place], own: list[str], terminal: Callable[..., Terminal]
) -> None:
    made, place = broken
    assert set(problems(regfs, own, "library/hello").values()) == {""}
    base = made.digests["base"]
    lose(place, BlobData(base).path)
    text = f"layer {base} is missing"
    assert problems(regfs, own, "library/hello") == {"1.0": text, "latest": text}
    assert problems(regfs, own)["v1"] == text
    shown = told(regfs, "show", "library/hello", *own)
    assert shown["problem"] == text
    assert [layer["problem"] for layer in shown["layers"]] == ["missing", ""]
    assert rows(regfs, "tags", "library/hello", *own)[0][-1] == text
    code, said = terminal("show", "library/hello", *own).end()
    assert code == OK
    assert f"layer sha256:{base.hex[:12]} is missing" in said
    assert "missing" in said[said.index("Layers (2)") :]


def test_an_image_whose_configuration_is_gone_is_marked(
    regfs: Regfs, broken: tuple[Shop, Place], own: list[str]
) -> None:
    made, place = broken
    config = json.loads(made.files[BlobData(made.digests["app"]).path])["config"]["digest"]
    lose(place, BlobData(Digest.parse(config)).path)
    assert problems(regfs, own, "team/app")["v1"] == f"config {config} is missing"
    assert problems(regfs, own)["v1"] == f"config {config} is missing"
    assert told(regfs, "show", "team/app:v1", *own)["problem"] == f"config {config} is missing"


@pytest.mark.parametrize("lost", ["blob", "link"])
def test_an_index_lacks_a_platform_whose_manifest_is_gone(
    regfs: Regfs, broken: tuple[Shop, Place], own: list[str], lost: str
) -> None:
    made, place = broken
    children = json.loads(made.files[BlobData(made.digests["index"]).path])["manifests"]
    intel, arm, _ = (Digest.parse(child["digest"]) for child in children)
    for child, text in ((arm, "lacks linux/arm64"), (intel, f"manifest {intel} is missing (+1 more)")):
        lose(place, (BlobData(child) if lost == "blob" else ManifestRevisionLink("multi/arch", child)).path)
        assert problems(regfs, own, "multi/arch")["1.0"] == text
        every = {item["repository"] + item["tag"]: item["problem"] for item in told(regfs, "tags", *own)}
        assert every["multi/arch1.0"] == text
        shown = told(regfs, "show", "multi/arch:1.0", *own)
        assert [bool(item["problem"]) for item in shown["children"]] == [child is intel, True, False]
    severities = {item["severity"] for item in told_of_fsck(regfs, own) if "missing" in item["kind"]}
    assert "error" in severities


def told_of_fsck(regfs: Regfs, own: list[str]) -> Any:
    return payload(regfs("fsck", "--json", *own, code=Code.FINDINGS).stdout)


def test_a_layer_of_a_platform_is_named_with_it(
    regfs: Regfs, broken: tuple[Shop, Place], own: list[str]
) -> None:
    made, place = broken
    arm = json.loads(made.files[BlobData(made.digests["index"]).path])["manifests"][1]["digest"]
    layer = json.loads(made.files[BlobData(Digest.parse(arm)).path])["layers"][0]["digest"]
    lose(place, BlobData(Digest.parse(layer)).path)
    assert problems(regfs, own, "multi/arch")["1.0"] == f"linux/arm64: layer {layer} is missing"
    shown = told(regfs, "show", "multi/arch:1.0", *own)
    assert [child["problem"] for child in shown["children"]] == ["", f"layer {layer} is missing", ""]


def test_a_foreign_layer_need_not_be_there(regfs: Regfs, broken: tuple[Shop, Place], own: list[str]) -> None:
    made, _ = broken
    document = json.loads(made.files[BlobData(made.digests["app"]).path])
    foreign = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
    document["layers"].append(described(b"elsewhere", foreign, urls=["https://example.org/layer"]))
    added = Shop()
    added.manifest("team/app", document, "foreign")
    added.store(RegistryFileSystem(**told_options(own)))
    assert problems(regfs, own, "team/app")["foreign"] == ""
    assert told(regfs, "show", "team/app:foreign", *own)["problem"] == ""
    assert [tag for tag, text in problems(regfs, own).items() if text] == ["broken"]


def told_options(own: list[str]) -> dict[str, Any]:
    return {"config": own[1]}


def test_what_marks_cost(regfs: Regfs, made: Shop, place: Place, proxied: str, proxy: CountingProxy) -> None:
    """One HEAD for each distinct layer, configuration and child's link; blobs are not listed."""
    with proxy.counting() as seen:
        regfs("tags", "multi/arch", "--config", proxied)
    heads = [request.path for request in seen if request.method == "HEAD"]
    index = json.loads(made.files[BlobData(made.digests["index"]).path])
    links = [path for path in heads if "/revisions/" in path]
    assert len(links) == len(set(links)) == len(index["manifests"])
    manifests = [made.digests["index"], made.digests["signature"]]
    manifests += [Digest.parse(child["digest"]) for child in index["manifests"]]
    layers = set()
    for digest in manifests:
        document = json.loads(made.files[BlobData(digest).path])
        layers |= {layer["digest"] for layer in document.get("layers", ())}
    blobs = [path for path in heads if "/blobs/" in path]
    assert all(any(digest[7:] in path for path in blobs) for digest in layers)
    for digest in layers:
        assert sum(digest[7:] in path for path in blobs) == 1
    assert not [
        item for item in seen if "list-type" in item.query and "blobs" in item.query.get("prefix", "")
    ]
    assert len(seen) <= 33


@pytest.fixture
def proxied(place: Place, proxy: CountingProxy, tmp_path_factory: pytest.TempPathFactory) -> str:
    options = {**place.options, "regionendpoint": proxy.endpoint}
    return write_config(tmp_path_factory.mktemp("config") / "config.yml", options)


# -- fsck, orphans ------------------------------------------------------------------------------------------


def test_fsck_names_the_tags_that_break(
    regfs: Regfs, broken: tuple[Shop, Place], own: list[str], terminal: Callable[..., Terminal]
) -> None:
    made, place = broken
    base = made.digests["base"]
    lose(place, BlobData(base).path)
    found = [item for item in told_of_fsck(regfs, own) if item["kind"] == "missing-blob"]
    assert {item["repository"]: (item["breaks"], item["broken_tags"]) for item in found} == {
        "library/hello": (["library/hello:1.0", "library/hello:latest"], 2),
        "team/app": (["team/app:v1"], 1),
    }
    advice = {item["repository"]: item["advice"] for item in found}
    assert advice["library/hello"] == "breaks library/hello: 1.0, latest; push one of them again"
    assert advice["team/app"] == "breaks team/app:v1; push it again"
    code, said = terminal("fsck", *own, environ={"COLUMNS": "200"}).end()
    assert code == Code.FINDINGS
    assert "breaks library/hello: 1.0, latest; push one of them again" in said
    page = regfs("report", "-", *own).stdout
    assert "breaks library/hello: 1.0, latest; push one of them again" in page


def test_orphans_name_the_repositories_they_came_from(
    regfs: Regfs, broken: tuple[Shop, Place], own: list[str], tmp_path: Any
) -> None:
    made, place = broken
    left = made.digests["left"]
    lose(place, ManifestRevisionLink("library/hello", left).path)
    config = json.loads(made.files[BlobData(left).path])["config"]["digest"]
    file = tmp_path / "plan.json"
    found = told(regfs, "orphans", "--older-than", "0", "--plan", str(file), *own)
    by_digest = {blob["digest"]: blob["repositories"] for blob in found["blobs"]}
    assert by_digest[config] == ["library/hello"]
    assert by_digest[str(made.digests["orphan"])] == []
    plan = json.loads(file.read_text())
    assert plan["version"] == 2
    assert {blob["digest"]: blob["repositories"] for blob in plan["blobs"]} == by_digest
    table = {row[3]: row[4] for row in rows(regfs, "orphans", "--older-than", "0", *own)}
    assert (table[config], table[str(made.digests["orphan"])]) == ("library/hello", "-")
    plan["version"] = 1
    for blob in plan["blobs"]:
        del blob["repositories"]
    file.write_text(json.dumps(plan))
    done = told(regfs, "orphans", "--apply", str(file), "--dry-run", *own)
    assert {blob["digest"] for blob in done["deleted"]} == set(by_digest)


def test_layer_links_alone(regfs: Regfs, broken: tuple[Shop, Place], own: list[str]) -> None:
    made, place = broken
    orphan = made.digests["orphan"]
    place.put(LayerLink("team/app", orphan).path[1:], str(orphan).encode())
    (row,) = rows(regfs, "who", str(orphan), *own)
    assert row == ["team/app", "-", "layer link alone, which keeps nothing"]
    assert "no manifest needs it, but 1 link to it remains" in regfs("who", str(orphan), *own).stderr


# -- links that are lost ------------------------------------------------------------------------------------


@pytest.fixture
def lost(raw: Place) -> Place:
    """Blobs without any link, nor a lock file."""
    for path, content in shop().files.items():
        if "/blobs/" in path:
            raw.put(path[1:], content)
    return raw


@pytest.mark.parametrize("verb", ["repos", "usage", "tags", "export", "report", "fsck", "who"])
def test_every_reader_says_that_links_are_lost(
    regfs: Regfs, lost: Place, own: list[str], tmp_path: Any, verb: str
) -> None:
    more = {"export": [str(tmp_path / "out"), "--only", "blobs"], "report": [str(tmp_path / "page.html")]}
    more["who"] = [str(shop().digests["orphan"])]
    code = Code.FINDINGS if verb == "fsck" else OK
    done = regfs(verb, *more.get(verb, []), *own, code=code)
    line = done.stderr.splitlines()[0]
    assert line.startswith("regfs: WARNING: regfs://")
    assert "no repository has a manifest, beside" in line
    assert "or lost, or not copied yet" in line
    if verb == "report":
        page = (tmp_path / "page.html").read_text()
        banner = page[page.index('<p class="banner"') :]
        assert "no repository has a manifest" in banner[:400]


def test_lost_links_are_a_finding(regfs: Regfs, lost: Place, own: list[str]) -> None:
    (found,) = [item for item in told_of_fsck(regfs, own) if item["kind"] == "links-lost"]
    assert (found["severity"], found["repository"]) == ("error", "")
    assert "no repository has a manifest" in found["detail"]
    assert "restore the links" in found["advice"]
    ignored = regfs("fsck", "--ignore", "links-lost", "--json", *own)
    assert "links-lost" not in ignored.stdout


def test_the_doctor_says_that_links_are_lost(regfs: Regfs, lost: Place, own: list[str]) -> None:
    checks = {item["check"]: item for item in payload(regfs("doctor", "--read-only", "--json", *own).stdout)}
    assert checks["links"]["verdict"] == "warning"
    assert "no repository has a manifest" in checks["links"]["found"]
    filled().store(RegistryFileSystem(**told_options(own)))
    checks = {item["check"]: item for item in payload(regfs("doctor", "--read-only", "--json", *own).stdout)}
    assert checks["links"]["verdict"] == "ok"


def test_a_first_push_is_no_loss(regfs: Regfs, raw: Place, own: list[str]) -> None:
    """Layers come before their manifest, each with its link."""
    for path, content in build_image([BASE]).blobs.items():
        if b'"layers"' not in content:
            raw.put(BlobData(path).path[1:], content)
            raw.put(LayerLink("new", path).path[1:], str(path).encode())
    assert "no repository has a manifest" not in regfs("repos", *own).stderr
    assert "links-lost" not in regfs("fsck", "--json", *own).stdout
