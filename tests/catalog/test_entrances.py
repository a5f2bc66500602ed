"""What catalogs and frames can be made of: each of them the same, and everything else is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import regfs
from regfs.catalog import Catalog
from regfs.catalog.source import Source
from regfs.frames import DaskFrames, Frames
from regfs.image import build_image, store_image

if TYPE_CHECKING:
    from support.servers import Place

MAKERS: dict[str, Callable[..., Any]] = {"Catalog": Catalog, "Frames": Frames, "DaskFrames": DaskFrames}

pytestmark = pytest.mark.parametrize("maker", MAKERS)
ON_SEAWEEDFS = pytest.mark.parametrize("server", ["seaweedfs"], indirect=True)


def source_of(made: Any) -> Source:
    source: Source = made.catalog.source if isinstance(made, Frames) else made.source
    return source


@ON_SEAWEEDFS
def test_all_that_stands_for_a_registry(maker: str, raw: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    options, make = raw.options, MAKERS[maker]
    fs = regfs.RegistryFileSystem(**options)
    driver = regfs.StorageDriver(fs)
    store_image(driver, build_image([{"a": b"a"}]), "team/app", "1")
    url = f"regfs://{options['bucket']}"
    for made in (
        make(fs),
        make(driver),
        make(Catalog(fs)),
        make(url, storage_options=options),
        make("regfs://", storage_options=options),
    ):
        assert source_of(made).fs.parameters == fs.parameters
        assert source_of(made).directories("/docker/registry/v2/repositories/team") == [
            "/docker/registry/v2/repositories/team/app"
        ]
    for key, value in options.items():
        monkeypatch.setenv(f"REGISTRY_STORAGE_S3_{key.upper()}", str(value))
    for place in (url, "regfs://"):
        assert source_of(make(place)).fs.parameters == fs.parameters


def test_a_url_of_another_filesystem_is_its_root(maker: str, tmp_path: Path) -> None:
    (tmp_path / "docker/registry/v2/repositories/team").mkdir(parents=True)
    for url in (str(tmp_path), f"file://{tmp_path}"):
        source = source_of(MAKERS[maker](url))
        assert source.directories("/docker/registry/v2/repositories") == [
            "/docker/registry/v2/repositories/team"
        ]


def test_a_path_in_the_url_is_the_root_directory(maker: str) -> None:
    options = {"bucket": "registry", "region": "us-east-1"}
    with pytest.raises(ValueError, match=r"regfs://registry/a: has a path, .*'rootdirectory': '/a'"):
        MAKERS[maker]("regfs://registry/a", storage_options=options)


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        (None, "NoneType"),
        (b"regfs://registry", "bytes"),
        ({"bucket": "registry"}, "dict"),
        (Path("/a"), "PosixPath"),
        (regfs.RegistryFileSystem, "the class RegistryFileSystem"),
        (regfs.StorageDriver, "the class StorageDriver"),
    ],
)
def test_anything_else_is_a_type_error(maker: str, given: Any, kind: str) -> None:
    expected = (
        f"a catalog needs an fsspec filesystem, its URL, a storage driver or another catalog, not {kind}"
    )
    with pytest.raises(TypeError) as caught:
        MAKERS[maker](given)
    assert str(caught.value) == expected


def test_options_need_a_url(maker: str) -> None:
    fs = regfs.RegistryFileSystem(bucket="registry", region="us-east-1")
    for given in (fs, Catalog(fs)):
        with pytest.raises(TypeError, match="storage_options: belong to a URL, not to an object of"):
            MAKERS[maker](given, storage_options={"bucket": "registry"})
