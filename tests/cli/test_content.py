"""What is in an image: ``files`` by size and directory, ``cat``, ``extract``, and ``show --raw``."""

from __future__ import annotations

import io
import json
import os
import signal
import tarfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from cli.conftest import payload, write_config
from cli.shop import Shop, described, shop
from support.proxy import Fate
from support.servers import Place, Server, fresh_place

from regfs.catalog.manifest import OCI_MANIFEST
from regfs.cli.errors import Code
from regfs.filesystem import RegistryFileSystem
from regfs.image import build_image
from regfs.layout import BlobData

if TYPE_CHECKING:
    import subprocess

    from cli.conftest import Regfs, Terminal
    from support.proxy import CountingProxy, Request

pytestmark = pytest.mark.parametrize("server", ["seaweedfs"], indirect=True)

BINARY = bytes(range(256)) * 300


def layer(*members: tuple[str, Any]) -> bytes:
    """Make a layer: a content each, or the header's type and a target."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, what in members:
            member = tarfile.TarInfo(name)
            if isinstance(what, bytes):
                member.size = len(what)
                archive.addfile(member, io.BytesIO(what))
            else:
                member.type, member.linkname = what
                archive.addfile(member)
    return buffer.getvalue()


LAYERS = [
    layer(("data/binary", BINARY), ("data/old", b"o" * 3000), ("etc/motd", b"one\n")),
    layer(
        ("data/.wh.old", b""),
        ("etc/motd", b"three\n"),
        ("etc/link", (tarfile.SYMTYPE, "/etc/motd")),
        ("etc/out", (tarfile.SYMTYPE, "../../up")),
        ("dev/null", (tarfile.CHRTYPE, "")),
    ),
]


def content_shop() -> Shop:
    """Add ``team/content:1``, of which each byte is known."""
    made = shop()
    config = build_image([{"x": b""}]).config
    document: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": described(config, "application/vnd.oci.image.config.v1+json"),
        "layers": [described(item, "application/vnd.oci.image.layer.v1.tar") for item in LAYERS],
    }
    for blob in (*LAYERS, config):
        made.layer("team/content", blob)
    # As no program would write it.
    made.digests["content"] = made.manifest(
        "team/content", json.dumps(document, indent=3).encode() + b"\n\n", "1"
    )
    made.digests["lower"] = made.blob(LAYERS[0])
    foreign = "application/vnd.oci.image.layer.nondistributable.v1.tar"
    document["layers"] = [described(b"elsewhere", foreign), *document["layers"][1:]]
    made.manifest("team/foreign", document, "1")
    return made


@pytest.fixture(scope="module")
def place(server: Server, s3: Any, worker_bucket: str) -> Iterator[Place]:
    with fresh_place(server, s3, worker_bucket) as fresh:
        content_shop().store(RegistryFileSystem(**fresh.options))
        yield fresh


@pytest.fixture(scope="module")
def made() -> Shop:
    return content_shop()


@pytest.fixture
def config(place: Place, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The config.yml of the shop."""
    return write_config(tmp_path_factory.mktemp("config") / "config.yml", place.options)


@pytest.fixture
def damaged(place: Place, made: Shop) -> Iterator[str]:
    """The lower layer of ``team/content:1`` has a wrong byte at its end."""
    path = BlobData(made.digests["lower"]).path.removeprefix("/")
    place.put(path, LAYERS[0][:-1] + b"x")
    yield str(made.digests["lower"])
    place.put(path, LAYERS[0])


def rows(regfs: Regfs, *arguments: str) -> list[list[str]]:
    return [line.split("\t") for line in regfs(*arguments).stdout.splitlines()]


# -- files -----------------------------------------------------------------------------------------------


def test_files_the_largest_first(regfs: Regfs) -> None:
    found = rows(regfs, "files", "team/content:1", "--sort", "size", "-b")
    assert [(size, path) for size, path in found] == [
        ("76800", "/data/binary"),
        ("6", "/etc/motd"),
        ("0", "/dev/null"),
        ("0", "/etc/link -> /etc/motd"),
        ("0", "/etc/out -> ../../up"),
    ]
    long = rows(regfs, "files", "team/content:1", "--sort", "size", "-l")
    assert [row[-1] for row in long] == [path for _, path in found]
    first = rows(regfs, "files", "team/content:1", "--layer", "1", "--sort", "size")[0]
    assert first[-1] == "/data/binary"


def test_files_by_path_is_the_default(regfs: Regfs) -> None:
    default = regfs("files", "team/content:1").stdout
    assert default == regfs("files", "team/content:1", "--sort", "path").stdout
    assert default.splitlines() == sorted(default.splitlines())


def test_files_by_directory(regfs: Regfs) -> None:
    assert rows(regfs, "files", "team/content:1", "--dirs", "-b") == [
        ["76806", "2", "/"],
        ["76800", "1", "/data"],
        ["6", "1", "/etc"],
        ["0", "0", "/dev"],
    ]
    by_path = rows(regfs, "files", "team/content:1", "--dirs", "--sort", "path")
    assert [row[-1] for row in by_path] == ["/", "/data", "/dev", "/etc"]
    assert rows(regfs, "files", "team/content:1", "--dirs", "--depth", "0", "-b") == [["76806", "2", "/"]]


def test_what_is_wasted(regfs: Regfs) -> None:
    result = regfs("files", "team/content:1", "--wasted", "-b")
    assert [line.split("\t") for line in result.stdout.splitlines()] == [
        ["3000", "deleted", "1", "/data/old"],
        ["4", "overwritten", "1", "/etc/motd"],
    ]
    assert result.stderr == "2.9 KiB wasted of 78 KiB in all layers; efficiency 96.2 %\n"
    perfect = regfs("files", "library/hello:1.0", "--wasted")
    assert (perfect.stdout, perfect.stderr) == ("", "0 B wasted of 20 KiB in all layers; efficiency 100 %\n")


def test_files_as_json(regfs: Regfs) -> None:
    entries = records(regfs("files", "team/content:1", "--json").stdout, "files")
    assert set(entries[0]) == {
        *("path", "kind", "size", "mode", "owner", "modified", "target", "layer", "state"),
    }
    directories = records(regfs("files", "team/content:1", "--dirs", "--json").stdout, "directories")
    assert directories[0] == {"path": "/", "size": 76806, "files": 2}
    waste = payload(regfs("files", "team/content:1", "--wasted", "--json").stdout)
    assert waste["wasted"][0] == {
        "path": "/data/old",
        "wasted_bytes": 3000,
        "layers": [1],
        "reason": "deleted",
    }
    sums = {key: waste[key] for key in ("layer_bytes", "image_bytes", "wasted_bytes", "efficiency")}
    assert sums == {"layer_bytes": 79810, "image_bytes": 76806, "wasted_bytes": 3004, "efficiency": 0.9624}


def records(text: str, name: str) -> Any:
    """Return the records of a document, after a look at the rest of it."""
    found = payload(text)
    assert found == json.loads(text)[name]
    return found


@pytest.mark.parametrize(
    "options",
    [
        ["--dirs", "--wasted"],
        ["--dirs", "-l"],
        ["--wasted", "--all"],
        ["--wasted", "--layer", "1"],
        ["--depth", "1"],
        ["--sort", "name"],
    ],
)
def test_options_that_exclude_each_other(regfs: Regfs, options: list[str]) -> None:
    assert options[0] in regfs("files", "team/content:1", *options, code=Code.USAGE).stderr


def test_files_on_a_terminal(terminal: Callable[..., Terminal]) -> None:
    code, said = terminal("files", "team/content:1", "--dirs").end()
    assert code == 0
    shown = [line.split() for line in said.splitlines()]
    assert shown[-4:-2] == [["75", "KiB", "2", "/"], ["75", "KiB", "1", "/data"]]
    assert "files" in said
    code, said = terminal("files", "team/content:1", "--wasted").end()
    assert code == 0
    assert "/data/old" in said
    assert "efficiency 96.2 %" in said


# -- cat -------------------------------------------------------------------------------------------------


def test_cat_a_file_of_an_image(regfs: Regfs) -> None:
    assert regfs("cat", "team/content:1", "/data/binary").stdout_bytes == BINARY
    assert regfs("cat", "team/content:1", "etc/link", "/etc/motd").stdout == "three\nthree\n"
    assert regfs("cat", "library/hello", "/app").stdout == "app" * 100
    assert regfs("cat", "team/app:v1", "/etc/link").stdout == "bye\n"


def test_cat_of_a_digest(regfs: Regfs, made: Shop) -> None:
    digest = made.digests["content"]
    for name in (f"team/content@{digest}", f"team/content@{digest.hex[:12]}"):
        assert regfs("cat", name, "/etc/motd").stdout == "three\n"


def test_cat_of_an_index(regfs: Regfs) -> None:
    refused = regfs("cat", "multi/arch:1.0", "/bin/arm", code=Code.USAGE)
    assert "choose with --platform: linux/amd64, linux/arm64\n" in refused.stderr
    arm = regfs("cat", "multi/arch:1.0", "/bin/arm", "--platform", "linux/arm64")
    assert arm.stdout == "a" * 1000


def test_a_path_in_the_bucket_is_what_it_was(regfs: Regfs, made: Shop, place: Place) -> None:
    path = BlobData(made.digests["content"]).path
    for name in (path, f"regfs://{place.bucket}{path}"):
        assert regfs("cat", name).stdout_bytes == made.files[path]
    assert "--platform" in regfs("cat", path, "--platform", "linux/amd64", code=Code.USAGE).stderr


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (
            ["team/content:1"],
            Code.USAGE,
            "team/content:1: give paths in the image, as regfs files lists them; /{} is in the bucket".format(
                "team/content:1"
            ),
        ),
        (["team/content:1", "/data/old"], Code.NOT_FOUND, "/data/old: no such file in team/content:1"),
        (
            ["team/content:1", "/etc/mot"],
            Code.NOT_FOUND,
            "/etc/mot: no such file in team/content:1; did you mean /etc/motd?",
        ),
        (["team/content:1", "/etc"], Code.FAILED, "/etc: is a directory in team/content:1"),
        (["team/content:2", "/etc"], Code.NOT_FOUND, "team/content:2: no such tag; there is 1"),
        (
            ["team/content:1", "/etc/motd", "/etc/x"],
            Code.NOT_FOUND,
            "/etc/x: no such file in team/content:1",
        ),
    ],
)
def test_what_cat_refuses(regfs: Regfs, arguments: list[str], code: Code, text: str) -> None:
    result = regfs("cat", *arguments, code=code)
    assert result.stderr == f"regfs: {text}\n"
    assert result.stdout_bytes == b""


def test_cat_prints_nothing_of_a_damaged_layer(regfs: Regfs, damaged: str) -> None:
    failed = regfs("cat", "team/content:1", "/data/binary", code=Code.FAILED)
    assert failed.stderr == f"regfs: {damaged}: is damaged: the content has another digest\n"
    assert failed.stdout_bytes == b""
    assert regfs("cat", "team/content:1", "/etc/motd").stdout == "three\n", "which is in the layer above"


# -- extract ---------------------------------------------------------------------------------------------


def test_extract_an_image(regfs: Regfs, tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    result = regfs("extract", "team/content:1", out)
    assert result.stdout == ""
    assert result.stderr == (
        f"2 files, 75 KiB, extracted to {out}; 1 device or fifo left out; 2 symbolic links lead out of it\n"
    )
    assert (tmp_path / "out/data/binary").read_bytes() == BINARY
    assert sorted(os.listdir(tmp_path / "out/etc")) == ["link", "motd", "out"]
    assert os.listdir(tmp_path) == ["out"]
    assert regfs("extract", "team/content:1", str(tmp_path / "quiet"), "--quiet").stderr == ""


def test_extract_a_part(regfs: Regfs, tmp_path: Path, made: Shop) -> None:
    result = regfs("extract", "team/content:1", "/etc", str(tmp_path / "etc"), "--json")
    assert payload(result.stdout) == {
        "repository": "team/content",
        "tag": "1",
        "digest": str(made.digests["content"]),
        "path": "/etc",
        "directory": str(tmp_path / "etc"),
        "files": 1,
        "directories": 0,
        "links": 2,
        "size": 6,
        "skipped": [],
        "leaving": ["link", "out"],
        "absent": [],
    }
    regfs("extract", "multi/arch:1.0", "bin/arm", str(tmp_path / "arm"), "--platform", "linux/arm64")
    assert (tmp_path / "arm/arm").read_bytes() == b"a" * 1000


def test_extract_says_which_layers_are_not_there(regfs: Regfs, tmp_path: Path) -> None:
    result = regfs("extract", "team/foreign:1", str(tmp_path / "out"))
    assert result.stderr.endswith("; 1 layer not in the registry left out\n")
    again = regfs("extract", "team/foreign:1", str(tmp_path / "again"), "--json")
    assert payload(again.stdout)["absent"] == [1]
    assert not (tmp_path / "out/data").exists()
    assert (tmp_path / "out/etc/motd").read_text() == "three\n"


def test_extract_overwrites_nothing(regfs: Regfs, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    refused = regfs("extract", "team/content:1", str(tmp_path), code=Code.FAILED)
    text = "is not empty; name a new directory, or an empty one"
    assert refused.stderr == f"regfs: {tmp_path}: {text}\n"
    assert os.listdir(tmp_path) == ["mine"]


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["a", "b", "c"], Code.USAGE, "c: extract takes one PATH and one DIR"),
        (["regfs://x/y"], Code.USAGE, "regfs://x/y: DIR is a local directory"),
        (["/data/old", "NEW"], Code.NOT_FOUND, "/data/old: no such file in team/content:1"),
    ],
)
def test_what_extract_refuses(
    regfs: Regfs, tmp_path: Path, arguments: list[str], code: Code, text: str
) -> None:
    arguments = [str(tmp_path / "new") if argument == "NEW" else argument for argument in arguments]
    assert regfs("extract", "team/content:1", *arguments, code=code).stderr == f"regfs: {text}\n"
    assert os.listdir(tmp_path) == []


def test_extract_leaves_nothing_of_a_damaged_image(regfs: Regfs, tmp_path: Path, damaged: str) -> None:
    failed = regfs("extract", "team/content:1", str(tmp_path / "out"), code=Code.FAILED)
    assert failed.stderr == f"regfs: {damaged}: is damaged: the content has another digest\n"
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_an_interrupted_extraction_leaves_nothing(
    start: Callable[..., subprocess.Popen[bytes]],
    place: Place,
    proxy: CountingProxy,
    made: Shop,
    tmp_path: Path,
    number: signal.Signals,
) -> None:
    options = {**place.options, "regionendpoint": proxy.endpoint}
    config = write_config(tmp_path / "config.yml", options)
    stalled = threading.Event()

    def stall(request: Request) -> Fate | None:
        if request.method != "GET" or made.digests["lower"].hex not in request.path:
            return None
        stalled.set()
        return Fate(answer=0.5, how="stalled")

    proxy.fault = stall
    (tmp_path / "in").mkdir()
    process = start("extract", "team/content:1", str(tmp_path / "in/out"), "--config", config)
    assert stalled.wait(60)
    assert [name.endswith(".incomplete") for name in os.listdir(tmp_path / "in")] == [True]
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    interrupted = number == signal.SIGINT
    assert (process.returncode, err) == ((130, b"regfs: interrupted\n") if interrupted else (143, b""))
    assert os.listdir(tmp_path / "in") == []


# -- show ------------------------------------------------------------------------------------------------


def test_show_raw_is_what_was_pushed(regfs: Regfs, made: Shop) -> None:
    for name, digest in (("team/content:1", "content"), ("multi/arch:1.0", "index")):
        raw = regfs("show", name, "--raw")
        assert raw.stdout_bytes == made.files[BlobData(made.digests[digest]).path]
        assert raw.stderr == ""


def test_show_the_raw_configuration(regfs: Regfs, made: Shop) -> None:
    manifest = json.loads(regfs("show", "library/hello", "--raw").stdout)
    raw = regfs("show", "library/hello", "--raw-config").stdout_bytes
    assert f"sha256:{manifest['config']['digest'][7:]}" == manifest["config"]["digest"]
    assert len(raw) == manifest["config"]["size"]
    assert "TOKEN=hidden" in json.loads(raw)["config"]["Env"]


def test_what_show_raw_refuses(regfs: Regfs, place: Place, made: Shop) -> None:
    refused = regfs("show", "multi/arch:1.0", "--raw-config", code=Code.USAGE)
    assert "has no configuration: it is an index" in refused.stderr
    assert "--json" in regfs("show", "team/content:1", "--raw", "--json", code=Code.USAGE).stderr
    assert "--raw-config" in regfs("show", "team/app:v1", "--raw", "--raw-config", code=Code.USAGE).stderr
    path = BlobData(made.digests["content"]).path.removeprefix("/")
    content = place.get(path)
    try:
        place.put(path, content.replace(b"\n\n", b"\n "))
        failed = regfs("show", "team/content:1", "--raw", code=Code.FAILED)
        assert "is damaged: the content has another digest" in failed.stderr
        assert failed.stdout_bytes == b""
    finally:
        place.put(path, content)
