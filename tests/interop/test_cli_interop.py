"""The catalog's verbs beside a real registry: what skopeo pushed and tells, and what regfs tells of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner
from support.oci import write_oci_layout

from regfs.cli.group import cli
from regfs.image import build_image
from regfs.layout import Digest

if TYPE_CHECKING:
    from collections.abc import Callable

    from interop.registry import Registry

pytestmark = pytest.mark.interop

FILES = {"etc/motd": b"hello\n", "usr/bin/tool": b"#!/bin/sh\n"}
IMAGE = build_image([FILES, {"app": b"app"}], entrypoint=["/app"], labels={"org.example": "label"})


@pytest.fixture
def regfs(registry: Registry, interop_options: dict[str, Any], tmp_path: Path) -> Callable[..., Any]:
    """Push the image in both formats, and give the command on the registry's bucket, as JSON."""
    write_oci_layout(tmp_path / "layout", {"1.0": IMAGE})
    registry.push(f"{tmp_path / 'layout'}:1.0", "library/hello:1.0")
    registry._run(
        "skopeo",
        "--insecure-policy",
        "copy",
        "--quiet",
        "--format=v2s2",
        "--dest-tls-verify=false",
        f"oci:{tmp_path / 'layout'}:1.0",
        f"docker://{registry.host}/library/hello:docker",
    )
    given = [part for key, value in interop_options.items() for part in ("-o", f"{key}={value}")]

    def run(*arguments: str) -> Any:
        result = CliRunner().invoke(cli, [*arguments, *given, "--json"])
        assert result.exit_code == 0, (result.output, result.exception)
        document = json.loads(result.stdout)
        arrays = [value for key, value in document.items() if key not in ("place", "taken")]
        return arrays[0] if len(arrays) == 1 else document

    return run


@pytest.mark.parametrize("tag", ["1.0", "docker"])
def test_an_image_is_what_skopeo_tells(registry: Registry, regfs: Callable[..., Any], tag: str) -> None:
    name = f"library/hello:{tag}"
    theirs = json.loads(
        registry._run("skopeo", "inspect", "--tls-verify=false", f"docker://{registry.host}/{name}")
    )
    ours = regfs("show", name)
    assert ours["digest"] == theirs["Digest"] == str(Digest.of(registry.manifest("library/hello", tag)))
    assert ours["media_type"] == json.loads(registry.manifest("library/hello", tag))["mediaType"]
    assert [layer["digest"] for layer in ours["layers"]] == theirs["Layers"]
    assert ours["platforms"] == [f"{theirs['Os']}/{theirs['Architecture']}"]
    assert ours["config"]["labels"] == theirs["Labels"]
    found = {entry["path"]: entry["size"] for entry in regfs("files", name) if entry["kind"] == "file"}
    assert found == {"/app": 3, **{f"/{path}": len(content) for path, content in FILES.items()}}


def test_tags_are_the_registrys(registry: Registry, regfs: Callable[..., Any]) -> None:
    assert [regf["tag"] for regf in regfs("tags", "library/hello")] == sorted(registry.tags("library/hello"))
    assert [regf["repository"] for regf in regfs("repos")] == registry.catalog()
    assert regfs("fsck") == []
    assert regfs("orphans", "--older-than", "0")["blobs"] == []
