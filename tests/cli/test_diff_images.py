"""``diff`` of images: layers, configuration, files and packages, out of real layers."""

from __future__ import annotations

import gzip
import io
import json
import re
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import support.rpmdb as rpmdb
from cli.shop import Shop, described

from regfs.catalog.manifest import OCI_INDEX, OCI_MANIFEST
from regfs.cli.errors import Code
from regfs.filesystem import RegistryFileSystem
from regfs.image import LAYER_TYPE, Image
from regfs.layout import BlobData, Digest

if TYPE_CHECKING:
    from cli.conftest import Regfs, Terminal
    from support.proxy import CountingProxy
    from support.servers import Place

pytestmark = pytest.mark.parametrize("server", ["seaweedfs"], indirect=True)
STATUS = "var/lib/dpkg/status"


def layer(files: Mapping[str, Any]) -> bytes:
    """Make a layer of contents, alone or with a mode; "-> x" and "= x" are links, None is a directory."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, value in files.items():
            member = tarfile.TarInfo(name)
            content, mode = value if isinstance(value, tuple) else (value, 0o644)
            member.mode = mode
            if content is None:
                member.type = tarfile.DIRTYPE
                archive.addfile(member)
            elif isinstance(content, str):
                how, _, member.linkname = content.partition(" ")
                member.type = tarfile.SYMTYPE if how == "->" else tarfile.LNKTYPE
                archive.addfile(member)
            else:
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    return gzip.compress(buffer.getvalue(), mtime=0)


def image(*layers: bytes, architecture: str = "amd64", **runtime: Any) -> Image:
    config = json.dumps({"architecture": architecture, "os": "linux", "config": runtime}).encode()
    manifest = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": described(config, "application/vnd.oci.image.config.v1+json"),
        "layers": [described(data, LAYER_TYPE) for data in layers],
    }
    return Image(json.dumps(manifest).encode(), config, layers)


@pytest.fixture
def push(options: dict[str, Any]) -> Callable[..., Image]:
    """Store an image of some layers as a tag of app."""
    fs = RegistryFileSystem(**options)

    def store(tag: str, *layers: bytes, **kwargs: Any) -> Image:
        made = image(*layers, **kwargs)
        shop = Shop()
        shop.image("app", made, tag)
        shop.store(fs)
        return made

    return store


def difference(regfs: Regfs, *arguments: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(regfs("diff", "app:1", "app:2", *arguments, "--json").stdout)
    return document


def changed(document: dict[str, Any]) -> dict[str, tuple[Any, ...]]:
    return {
        file["path"]: (file["change"], tuple(file["what"]), file["old_size"], file["new_size"])
        for file in document["files"]
    }


BASE = layer({"etc/": None, "etc/motd": b"hello\n", "etc/same": b"same", "bin/tool": (b"tool", 0o755)})
Push = Callable[..., Image]


def test_layers(regfs: Regfs, push: Push) -> None:
    first, second, third = (layer({name: b"x"}) for name in "abc")
    push("1", BASE, first, second)
    push("2", BASE, third, first)
    layers = difference(regfs)["layers"]

    def part(data: bytes) -> dict[str, Any]:
        return {"digest": str(Digest.of(data)), "size": len(data)}

    assert layers == {
        "base": [part(BASE)],
        "removed": [part(second)],
        "added": [part(third)],
        "shared": [part(first)],
    }


def test_files_above_a_common_base(regfs: Regfs, push: Push) -> None:
    push(
        "1",
        BASE,
        layer(
            {"app/gone": b"gone", "app/content": b"old", "app/mode": b"m", "app/link": "-> a", "app/x": b"x"}
        ),
    )
    push(
        "2",
        BASE,
        layer({"app/new": b"new!", "app/content": b"newer", "app/mode": (b"m", 0o755), "app/link": "-> b"}),
        layer({"app/x": b"x"}),
    )
    assert changed(difference(regfs)) == {
        "/app/gone": ("removed", (), 4, None),
        "/app/new": ("added", (), None, 4),
        "/app/content": ("changed", ("content",), 3, 5),
        "/app/mode": ("changed", ("mode",), 1, 1),
        "/app/link": ("changed", ("target",), 0, 0),
    }


def test_what_a_layer_makes_of_the_base(regfs: Regfs, push: Push) -> None:
    """An overwritten file is changed or equal, not added; a whiteout removes; the rest is equal."""
    push("1", BASE)
    push(
        "2",
        BASE,
        layer({"etc/motd": b"other\n", "etc/same": b"same", "bin/.wh.tool": b"", "etc/new": b"new"}),
    )
    assert changed(difference(regfs)) == {
        "/etc/motd": ("changed", ("content",), 6, 6),
        "/etc/new": ("added", (), None, 3),
        "/bin/tool": ("removed", (), 4, None),
    }


def test_an_opaque_directory_and_a_file_in_its_place(regfs: Regfs, push: Push) -> None:
    push("1", BASE, layer({"etc/.wh..wh..opq": b"", "etc/only": b"1"}))
    push("2", BASE, layer({"bin": b"a file"}))
    assert changed(difference(regfs)) == {
        "/etc/only": ("removed", (), 1, None),
        "/etc/motd": ("added", (), None, 6),
        "/etc/same": ("added", (), None, 4),
        "/bin": ("added", (), None, 6),
        "/bin/tool": ("removed", (), 4, None),
    }


def test_hard_links_are_the_files_that_they_lead_to(regfs: Regfs, push: Push) -> None:
    push("1", layer({"a": b"content", "b": "= a"}))
    push("2", layer({"b": b"content", "a": "= b"}))
    assert changed(difference(regfs)) == {}
    push("2", layer({"b": b"another", "a": "= b"}))
    assert set(changed(difference(regfs))) == {"/a", "/b"}


def test_times_and_the_archives_order_are_no_change(regfs: Regfs, push: Push) -> None:
    push("1", layer({"a": b"1", "b": b"2"}))
    push("2", layer({"b": b"2", "a": b"1"}))
    document = difference(regfs)
    assert document["files"] == []
    assert document["different"] is True, "the digests differ"
    assert len(document["layers"]["added"]) == 1


def test_the_base_is_read_only_if_it_matters(
    regfs: Regfs, push: Push, proxied: str, proxy: CountingProxy
) -> None:
    top = layer({"app": b"1"})
    push("1", BASE, top)
    push("2", BASE, layer({"app": b"2"}))
    push("3", BASE, layer({"app": b"2", "more": b""}))

    def read(*arguments: str) -> list[str]:
        with proxy.counting() as seen:
            regfs("diff", *arguments, "--config", proxied)
        return [
            request.path
            for request in seen
            if request.method == "GET" and request.path.endswith(BlobData(Digest.of(BASE)).path)
        ]

    assert read("app:1", "app:2") == [], "the same path in both"
    assert len(read("app:1", "app:3")) == 1, "a file that may replace one of the base; read once for both"
    with proxy.counting() as seen:
        regfs("diff", "app:1", "app:3", "--no-files", "--config", proxied)
    assert BlobData(Digest.of(top)).path not in "".join(request.path for request in seen)


def test_configuration_without_the_values_of_the_environment(regfs: Regfs, push: Push) -> None:
    push(
        "1",
        BASE,
        Entrypoint=["/app"],
        Env=["PATH=/bin", "TOKEN=s3cret", "OLD=x"],
        Labels={"version": "1"},
        ExposedPorts={"80/tcp": {}},
        User="root",
    )
    push(
        "2",
        BASE,
        Entrypoint=["/app", "--serve it"],
        Cmd=["run"],
        Env=["PATH=/bin", "TOKEN=0ther", "NEW=hidden"],
        Labels={"version": "2", "new": "label"},
        ExposedPorts={"443/tcp": {}},
        Volumes={"/data": {}},
        WorkingDir="/srv",
        User="web",
    )
    result = regfs("diff", "app:1", "app:2", "--json").stdout
    changes = {
        (item["field"], item["name"]): (item["change"], item["old"], item["new"])
        for item in json.loads(result)["config"]
    }
    assert changes == {
        ("entrypoint", ""): ("changed", "/app", "/app '--serve it'"),
        ("cmd", ""): ("added", None, "run"),
        ("user", ""): ("changed", "root", "web"),
        ("workdir", ""): ("added", None, "/srv"),
        ("environment", "TOKEN"): ("changed", None, None),
        ("environment", "OLD"): ("removed", None, None),
        ("environment", "NEW"): ("added", None, None),
        ("label", "version"): ("changed", "1", "2"),
        ("label", "new"): ("added", None, "label"),
        ("port", "80/tcp"): ("removed", "", None),
        ("port", "443/tcp"): ("added", None, ""),
        ("volume", "/data"): ("added", None, ""),
    }
    for value in ("s3cret", "0ther", "hidden"):
        assert value not in result
        assert value not in regfs("diff", "app:1", "app:2").stdout


def status(**versions: str) -> bytes:
    return "\n\n".join(
        f"Package: {name}\nStatus: install ok installed\nArchitecture: amd64\nVersion: {version}"
        for name, version in versions.items()
    ).encode()


def packages(document: dict[str, Any]) -> dict[str, tuple[Any, ...]]:
    return {
        package["name"]: (
            package["manager"],
            package["change"],
            package["old_versions"],
            package["new_versions"],
        )
        for package in document["packages"]
    }


def test_packages_of_dpkg_in_the_base_and_above(regfs: Regfs, push: Push) -> None:
    base = layer(
        {STATUS: status(libc6="2.36", curl="7"), "var/lib/dpkg/status.d/tz": b"Package: tz\nVersion: 1"}
    )
    push("1", base)
    push("2", base, layer({STATUS: status(libc6="2.37", jq="1.6")}))
    assert packages(difference(regfs)) == {
        "libc6": ("dpkg", "changed", ["2.36"], ["2.37"]),
        "curl": ("dpkg", "removed", ["7"], []),
        "jq": ("dpkg", "added", [], ["1.6"]),
    }


def test_packages_of_apk(regfs: Regfs, push: Push) -> None:
    path = "lib/apk/db/installed"
    push("1", layer({path: b"P:musl\nV:1.2.3-r0\nA:x86_64\n\nP:zlib\nV:1\nA:x86_64\n"}))
    push("2", layer({path: b"P:musl\nV:1.2.4-r0\nA:x86_64\n\nP:zlib\nV:1\nA:x86_64\n"}))
    assert packages(difference(regfs)) == {"musl": ("apk", "changed", ["1.2.3-r0"], ["1.2.4-r0"])}


def test_packages_of_rpm(regfs: Regfs, push: Push, tmp_path: Path) -> None:
    path = "usr/lib/sysimage/rpm/rpmdb.sqlite"
    same = rpmdb.header("glibc", "2.37", "4.fc38", "x86_64")
    for tag, version in (("1", "5.2.15"), ("2", "5.2.21")):
        headers = [same, rpmdb.header("bash", version, "3.fc38", "x86_64", epoch=1)]
        push(tag, layer({path: rpmdb.database(tmp_path, headers)}))
    assert packages(difference(regfs)) == {
        "bash": ("rpm", "changed", ["1:5.2.15-3.fc38"], ["1:5.2.21-3.fc38"])
    }


def test_databases_that_cannot_be_read_are_named(regfs: Regfs, push: Push) -> None:
    push("1", layer({"var/lib/rpm/Packages": b"1", "usr/lib/sysimage/rpm/rpmdb.sqlite": b"x" * 100}))
    push("2", layer({"var/lib/rpm/Packages": b"2", "usr/lib/sysimage/rpm/Packages.db": b"2"}))
    document = difference(regfs)
    assert document["packages"] == []
    sqlite, bdb, ndb = sorted(document["problems"], key=lambda text: "format" in text)
    assert "rpmdb.sqlite: cannot be read: file is not a database" in sqlite
    assert "/var/lib/rpm/Packages: is in rpm's format BerkeleyDB" in ndb + bdb
    assert "Packages.db: is in rpm's format ndb" in ndb + bdb
    assert "BerkeleyDB, which cannot be read here" in regfs("diff", "app:1", "app:2").stderr


def test_the_same_image(regfs: Regfs, push: Push) -> None:
    push("1", BASE)
    made = push("2", BASE)
    document = json.loads(regfs("diff", "app:1", "app:2", "--exit-code", "--json").stdout)
    assert document["different"] is False
    assert document["old"] == document["new"] | {"name": "app:1"}
    assert regfs("diff", "app:1", f"app@{made.manifest_digest}", "--exit-code").stdout == ""


def test_the_exit_code(regfs: Regfs, push: Push) -> None:
    push("1", BASE)
    push("2", BASE, layer({"a": b""}))
    regfs("diff", "app:1", "app:2")
    regfs("diff", "app:1", "app:2", "--exit-code", "--no-files", code=Code.FINDINGS)


def test_without_files(regfs: Regfs, push: Push) -> None:
    push("1", BASE)
    push("2", BASE, layer({"a": b""}))
    document = difference(regfs, "--no-files")
    assert (document["files"], document["packages"]) == (None, None)
    assert len(document["layers"]["added"]) == 1


def test_in_a_pipe_all_of_it(regfs: Regfs, push: Push) -> None:
    push("1", BASE)
    push("2", BASE, layer({f"f/{number:02}": b"x" * number for number in range(30)}), User="web")
    rows = [line.split("\t") for line in regfs("diff", "app:1", "app:2", "-b").stdout.splitlines()]
    assert {row[0] for row in rows} == {"layer", "config", "file"}
    assert len([row for row in rows if row[0] == "file"]) == 30
    assert ["file", "added", "-", "29", "-", "/f/29"] in rows
    assert ["config", "added", "user", "-", "web"] in rows


def test_on_a_terminal(terminal: Callable[..., Terminal], push: Push) -> None:
    top = layer({f"usr/share/{'long/' * 3}{number:02}": b"x" * number for number in range(30)})
    push("1", layer({STATUS: status(libc6="2.36")}), Env=["A=1"])
    push("2", layer({STATUS: status(libc6="2.37")}), top, Env=["A=2"])
    code, text = terminal("diff", "app:1", "app:2").end()
    assert code == 0
    page = re.sub(r"\x1b\[\d*m", "", text.replace("\r", "").rpartition("\x1b[2K")[2])
    lines = page.splitlines()
    assert [line for line in lines if len(line) > 80] == []
    assert any(line.startswith("Files ") and "30 added, 1 changed; +435 B" in line for line in lines)
    assert "... and 21 more; --all shows them" in lines
    files = [line for line in lines if "/usr/share/" in line]
    assert files[0].endswith("/29"), "the largest comes first"
    assert "/00" not in page
    assert any(line.split() == ["changed", "environment", "A", "…", "…"] for line in lines)
    _, whole = terminal("diff", "app:1", "app:2", "--all").end()
    assert "/00" in whole


# -- which images ----------------------------------------------------------------------------------------


@pytest.fixture
def index(options: dict[str, Any]) -> Callable[..., None]:
    """Store an index of app for some platforms; each image has a file of the tag's and platform's name."""
    fs = RegistryFileSystem(**options)

    def store(tag: str, *architectures: str) -> None:
        shop = Shop()
        images = {
            architecture: image(layer({f"{tag}-{architecture}": b""}), architecture=architecture)
            for architecture in architectures
        }
        for made in images.values():
            shop.image("app", made)
        attestation = image(architecture="unknown")
        shop.image("app", attestation)
        children = [
            described(made.manifest, platform={"os": "linux", "architecture": one})
            for one, made in images.items()
        ]
        children.append(
            described(attestation.manifest, platform={"os": "unknown", "architecture": "unknown"})
        )
        shop.manifest("app", {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": children}, tag)
        shop.store(fs)

    return store


def test_indexes_with_one_platform_in_common(regfs: Regfs, index: Callable[..., None]) -> None:
    index("1", "amd64", "arm64")
    index("2", "arm64")
    document = difference(regfs)
    assert document["platform"] == "linux/arm64"
    assert set(changed(document)) == {"/1-arm64", "/2-arm64"}


def test_an_index_and_an_image(regfs: Regfs, index: Callable[..., None], push: Push) -> None:
    index("1", "amd64", "arm64")
    push("2", BASE)
    assert difference(regfs)["platform"] == "linux/amd64"


def test_indexes_of_several_platforms(regfs: Regfs, index: Callable[..., None]) -> None:
    index("1", "amd64", "arm64")
    index("2", "amd64", "arm64", "s390x")
    refused = regfs("diff", "app:1", "app:2", code=Code.USAGE)
    assert (
        "app:1 has images for linux/amd64, linux/arm64; app:2 for linux/amd64, linux/arm64, linux/s390x: "
        "choose with --platform"
    ) in refused.stderr
    assert set(changed(difference(regfs, "--platform", "linux/amd64"))) == {"/1-amd64", "/2-amd64"}
    refused = regfs("diff", "app:1", "app:2", "--platform", "linux/s390x", code=Code.USAGE)
    assert "app:1: has no image for linux/s390x; there is linux/amd64, linux/arm64" in refused.stderr


def test_no_platform_in_common(regfs: Regfs, index: Callable[..., None], push: Push) -> None:
    index("1", "amd64", "arm64")
    index("2", "s390x", "ppc64le")
    refused = regfs("diff", "app:1", "app:2", code=Code.USAGE)
    assert "they have no platform in common" in refused.stderr
    push("1", BASE)
    push("2", BASE, architecture="arm64")
    document = difference(regfs)
    assert (document["platform"], document["config"][0]["field"]) == ("", "platform")


def test_images_of_two_repositories_and_registries(
    regfs: Regfs, push: Push, raw: Place, tmp_path: Path
) -> None:
    push("1", BASE, layer({"a": b"1"}))
    other = Shop()
    other.image("team/web", image(BASE, layer({"a": b"2"})), "latest")
    other.store(RegistryFileSystem(**raw.options))
    document = json.loads(regfs("diff", "app:1", f"regfs://{raw.bucket}/team/web:latest", "--json").stdout)
    assert set(changed(document)) == {"/a"}
    assert "team/web" in regfs("diff", "app:1", "team/web", "--json").stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["app:1"], "app:1: is an image; name the one that it is compared with, as app:1 REPO:TAG"),
        (
            ["app:1", "./exports"],
            "app:1 is an image and ./exports an export; name two images, or two exports",
        ),
        (["app:1", "app:2", "--allow-other-place"], "--allow-other-place: is for exports"),
        (["./a", "./b", "--no-files"], "--no-files: is for images"),
        (["./a", "./b", "--platform", "linux/arm64"], "--platform: is for images"),
        (["regfs://b/team/app", "app:1"], "write regfs://b/team/app:latest for the image"),
    ],
)
def test_arguments_that_fit_nothing(regfs: Regfs, arguments: list[str], says: str) -> None:
    assert says in regfs("diff", *arguments, code=Code.USAGE).stderr


def test_a_missing_tag_and_a_damaged_layer(regfs: Regfs, push: Push, raw: Place) -> None:
    push("1", BASE)
    failed = regfs("diff", "app:1", "app:none", code=Code.NOT_FOUND)
    assert "app:none" in failed.stderr
    top = layer({"a": b""})
    push("2", BASE, top)
    raw.put(BlobData(Digest.of(top)).path[1:], top[:-4])
    failed = regfs("diff", "app:1", "app:2", code=Code.FAILED)
    assert f"{Digest.of(top)}: is damaged" in failed.stderr
