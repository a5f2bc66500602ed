"""One image in Python: ``Catalog.image``, its table in a notebook, its files as frames."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import dask
import pandas as pd
import pytest
from catalog.archives import CountingSource
from cli.shop import BASE, CREATED, Shop, shop
from support.memory import MemoryDriver

import regfs
from regfs.catalog import Catalog
from regfs.catalog.layers import LayerError
from regfs.catalog.names import UnknownNameError
from regfs.catalog.rootfs import PlatformError, UnreadableImageError
from regfs.frames import FILES, DaskFrames, Frames
from regfs.frames.making import frame
from regfs.image import build_image
from regfs.layout import BlobData

HOSTILE = "<script>alert('x')</script>"


@pytest.fixture(scope="module")
def made() -> Shop:
    return shop()


@pytest.fixture
def catalog(made: Shop) -> Catalog:
    driver = MemoryDriver()
    for path, content in made.files.items():
        driver.put_content(path, content)
    return Catalog(driver)


# -- Catalog.image ---------------------------------------------------------------------------------------


def test_an_image_by_its_name(catalog: Catalog, made: Shop) -> None:
    image = catalog.image("library/hello")
    assert (image.name, image.repository, image.digest) == (
        "library/hello:latest",
        "library/hello",
        made.digests["new"],
    )
    assert (image.platforms, image.created, len(image.layers)) == (("linux/amd64",), CREATED, 2)
    assert "snapshot" not in vars(catalog), "nothing but the image is read"
    by_digest = catalog.image(f"library/hello@{image.digest.hex[:10]}")
    assert by_digest.digest == image.digest
    assert by_digest != image, "the name is another"
    assert image == catalog.image("library/hello")


def test_what_an_image_was_pushed_as(catalog: Catalog, made: Shop) -> None:
    image = catalog.image("library/hello")
    assert image.manifest_document() == made.files[BlobData(image.digest).path]
    assert json.loads(image.config_document())["config"]["User"] == "web"
    with pytest.raises(ValueError, match="has no configuration: it is an index"):
        catalog.image("multi/arch:1.0").config_document()


def test_who_else_has_the_layers(catalog: Catalog) -> None:
    assert catalog.image("library/hello").layers[0].repositories is None
    assert catalog.image("library/hello", sharing=True).layers[0].repositories == ("team/app",)


def test_an_image_that_is_not_there(catalog: Catalog) -> None:
    with pytest.raises(UnknownNameError, match="did you mean library/hello"):
        catalog.image("library/helo")
    with pytest.raises(UnknownNameError, match="no such tag"):
        catalog.rootfs("library/hello:2")
    with pytest.raises(ValueError, match="leave out the host"):
        catalog.image("localhost:5000/library/hello")


def test_the_files_of_an_image(catalog: Catalog, tmp_path: Path) -> None:
    for rootfs in (catalog.image("team/app:v1").rootfs(), catalog.rootfs("team/app:v1")):
        assert [entry.path for entry in rootfs.entries()] == ["/etc", "/etc/link", "/etc/motd"]
        assert rootfs.open("/etc/link").read() == b"bye\n"
        assert rootfs.waste().wasted_bytes == len(BASE["etc/base"]) + len(BASE["etc/motd"])
    assert catalog.rootfs("team/app:v1").extract(tmp_path / "out").files == 1
    assert (tmp_path / "out/etc/motd").read_bytes() == b"bye\n"


def test_the_image_of_a_platform(catalog: Catalog) -> None:
    index = catalog.image("multi/arch:1.0")
    arm = index.rootfs("linux/arm64")
    assert [entry.path for entry in arm.entries()] == ["/bin", "/bin/arm"]
    with pytest.raises(PlatformError) as caught:
        index.rootfs()
    assert str(caught.value) == (
        "multi/arch:1.0: has images for several platforms; choose one: linux/amd64, linux/arm64"
    )
    assert caught.value.platforms == ("linux/amd64", "linux/arm64")
    with pytest.raises(
        PlatformError, match="has no image for plan9/amd64; there is linux/amd64, linux/arm64"
    ):
        catalog.rootfs("multi/arch:1.0", "plan9/amd64")


def test_an_index_whose_images_are_gone(catalog: Catalog, made: Shop) -> None:
    index = json.loads(made.files[BlobData(made.digests["index"]).path])
    for child in index["manifests"]:
        catalog.source.delete([BlobData(regfs.layout.Digest.parse(child["digest"])).path])
    with pytest.raises(UnreadableImageError, match="has no image that can be read: its blob is missing"):
        catalog.rootfs("multi/arch:1.0")


def test_reading_an_image_costs_its_manifests_and_no_layer(catalog: Catalog) -> None:
    source = CountingSource(catalog.source._driver)
    counted = Catalog(source._driver)
    counted.source = source
    rootfs = counted.image("library/hello").rootfs()
    assert source.opened == []
    rootfs.open("/app").close()
    assert len(source.opened) == 1


# -- a notebook ------------------------------------------------------------------------------------------


def test_an_image_shows_as_a_table(catalog: Catalog, made: Shop) -> None:
    table = ElementTree.fromstring(catalog.image("library/hello")._repr_html_())
    assert [item.text for item in table.iter("caption")] == ["library/hello:latest"]
    rows = {row[0].text: row[1].text for row in table.iter("tr")}
    size = catalog.image("library/hello").size
    assert rows["digest"] == str(made.digests["new"])
    assert (rows["kind"], rows["platforms"], rows["created"]) == (
        "image",
        "linux/amd64",
        "2025-03-01 12:00:00",
    )
    titles = [cell.get("title") for cell in table.iter("td") if cell.get("title")]
    assert titles[0] == f"{size:,} bytes"
    assert sorted(name for name in rows if name and name.startswith("layer")) == ["layer 1", "layer 2"]
    index = catalog.image("multi/arch:1.0")._repr_html_()
    assert "linux/amd64, linux/arm64" in index


def test_a_catalog_shows_what_was_read_and_reads_nothing_for_it(catalog: Catalog) -> None:
    before = ElementTree.fromstring(catalog._repr_html_())
    assert "snapshot" not in vars(catalog)
    assert [row[0].text for row in before.findall("tbody/tr")] == ["place"]
    assert "nothing is read until it is needed" in "".join(before.itertext())
    found = catalog.snapshot
    rows = {row[0].text: row[1] for row in ElementTree.fromstring(catalog._repr_html_()).iter("tr")}
    assert rows["repositories"].text == str(len(catalog.repositories))
    assert rows["tags"].text == str(len(catalog.tags))
    assert rows["blobs"].text == str(len(catalog.blobs))
    assert rows["bytes"].get("title") == f"{found.bytes:,} bytes"


def test_usage_shows_as_a_table_with_the_largest_first(catalog: Catalog) -> None:
    usage = catalog.usage()
    made = ElementTree.fromstring(usage._repr_html_())
    rows = made.findall("tbody/tr")
    stored = {repository.repository: repository.stored_bytes for repository in usage.repositories}
    assert [row[0].text for row in rows] == sorted(stored, key=lambda name: (-stored[name], name))
    assert [row[3].get("title") for row in rows] == [f"{stored[row[0].text or '']:,} bytes" for row in rows]
    assert "in all" in "".join(made.find("tfoot").itertext())  # type: ignore[union-attr]  # it is there


def test_a_hostile_platform_is_escaped() -> None:
    driver = MemoryDriver()
    made = Shop()
    made.image("a", build_image([{"x": b""}], architecture=HOSTILE), "1")
    for path, content in made.files.items():
        driver.put_content(path, content)
    html = Catalog(driver).image("a:1")._repr_html_()
    assert "<script" not in html
    assert "&lt;script&gt;" in html


# -- frames ----------------------------------------------------------------------------------------------


def dtypes(table: Any) -> list[str]:
    return ["string[pyarrow]" if dtype == "string[pyarrow]" else str(dtype) for dtype in table.dtypes]


def test_files_as_a_frame(catalog: Catalog) -> None:
    frames = Frames(catalog)
    made = frames.files("team/app:v1")
    assert list(made.columns) == FILES.names
    assert dtypes(made) == [column.dtype for column in FILES.columns]
    assert dtypes(frame(FILES, ())) == dtypes(made)
    assert list(made["path"]) == ["/etc", "/etc/link", "/etc/motd"]
    motd = made.set_index("path").loc["/etc/motd"]
    assert (motd["kind"], motd["size"], motd["mode"], motd["owner"], motd["layer"]) == (
        "file",
        4,
        "-rw-r-----",
        "0:0",
        2,
    )
    assert made.set_index("path").loc["/etc/link", "target"] == "motd"
    assert made["state"].isna().all()
    assert made["target"].isna().sum() == 2
    assert "snapshot" not in vars(catalog), "the registry is not scanned"


def test_every_entry_as_a_frame(catalog: Catalog) -> None:
    made = Frames(catalog).files("team/app:v1", every=True)
    assert list(made["path"] + " " + made["state"].astype("string").fillna("")) == [
        "/etc ",
        "/etc/.wh.base whiteout",
        "/etc/base overridden",
        "/etc/link ",
        "/etc/motd ",
        "/etc/motd overridden",
    ]
    assert list(Frames(catalog).files("multi/arch:1.0", platform="linux/arm64")["path"]) == [
        "/bin",
        "/bin/arm",
    ]


def test_frames_of_files_say_what_their_columns_are() -> None:
    for owner in (Frames, DaskFrames):
        told = inspect.getdoc(owner.files)
        assert told is not None
    assert set(FILES.names) == {
        *("path", "kind", "size", "mode", "owner", "modified", "target", "layer", "state")
    }
    told = inspect.getdoc(Frames.files) or ""
    assert all(name in told for name in FILES.names)
    assert "one file, directory or link in an image" in FILES.row


@pytest.mark.parametrize("every", [False, True])
def test_files_as_a_dask_frame(catalog: Catalog, every: bool) -> None:
    with dask.config.set(scheduler="synchronous"):
        lazy = DaskFrames(catalog).files("team/app:v1", every=every)
        assert dtypes(lazy) == [column.dtype for column in FILES.columns]
        pd.testing.assert_frame_equal(lazy.compute(), Frames(catalog).files("team/app:v1", every=every))
        with pytest.raises(PlatformError):
            DaskFrames(catalog).files("multi/arch:1.0")


def test_a_damaged_layer_is_an_error_of_each_frame(catalog: Catalog, made: Shop) -> None:
    catalog.source._driver.put_content(BlobData(made.digests["base"]).path, b"junk")
    with pytest.raises(LayerError, match=str(made.digests["base"])):
        Frames(catalog).files("team/app:v1")
    with dask.config.set(scheduler="synchronous"):
        lazy = DaskFrames(catalog).files("team/app:v1")
        with pytest.raises(LayerError, match=str(made.digests["base"])):
            lazy.compute()
