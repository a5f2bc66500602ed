"""What there is, as pandas DataFrames and as Parquet files."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import fsspec
import pandas as pd
import pyarrow.parquet as pq
import pytest
from catalog.varied import CREATED, store
from support.servers import fresh_place

import regfs
from regfs.catalog import Catalog
from regfs.frames import SCHEMAS, DaskFrames, Frames
from regfs.frames.making import frame
from regfs.frames.schemas import CATALOG, SPAN, TEXT, TIME, Column, Schema, markdown
from regfs.layout import Digest, TagCurrentLink

if TYPE_CHECKING:
    from support.servers import Place, Server

ON_SEAWEEDFS = pytest.mark.parametrize("server", ["seaweedfs"], indirect=True)
PACKAGE = Path(regfs.__file__).parent


@pytest.fixture(scope="module")
def place(server: Server, s3: Any, worker_bucket: str) -> Iterator[Place]:
    """The varied registry; nobody writes into its tree."""
    with fresh_place(server, s3, worker_bucket) as place:
        store(regfs.create("s3", {**place.options, "chunksize": 5 * 2**20}))
        yield place


@pytest.fixture
def catalog(place: Place) -> Catalog:
    return Catalog(regfs.RegistryFileSystem(**place.options))


@pytest.fixture
def frames(catalog: Catalog) -> Frames:
    return Frames(catalog)


def dtypes(table: Any) -> dict[str, str]:
    # pandas prints the storage of text or not, as it likes.
    return {name: TEXT if dtype == TEXT else str(dtype) for name, dtype in table.dtypes.items()}


def promised(name: str) -> dict[str, str]:
    return {column.name: column.dtype for column in SCHEMAS[name].columns}


@ON_SEAWEEDFS
@pytest.mark.parametrize("name", SCHEMAS)
class TestEvery:
    def test_has_its_columns_and_dtypes(self, frames: Frames, name: str) -> None:
        made = frames[name]
        assert len(made) > 0
        assert dtypes(made) == promised(name)
        assert list(made.index) == list(range(len(made)))

    def test_in_a_registry_that_has_next_to_nothing(self, raw: Place, name: str) -> None:
        raw.put("docker/registry/v2/repositories/a/_layers/junk", b"junk")
        made = Frames(Catalog(regfs.RegistryFileSystem(**raw.options)))[name]
        assert dtypes(made) == promised(name)

    def test_is_an_attribute_that_tells_of_itself(self, frames: Frames, name: str) -> None:
        pd.testing.assert_frame_equal(getattr(frames, name), frames[name])
        for owner in (Frames, *((DaskFrames,) if name in CATALOG else ())):
            told = inspect.getdoc(getattr(owner, name))
            assert told is not None
            for column in SCHEMAS[name].columns:
                assert f"\n{column.name} : {column.dtype}" in told
                assert f"\n    {column.meaning}" in told

    def test_has_the_same_categories_wherever_a_repository_is_named(
        self, frames: Frames, catalog: Catalog, name: str
    ) -> None:
        made, names = frames[name], [repository.name for repository in catalog.repositories]
        for column in {"repository", "other"} & set(made.columns):
            assert list(made[column].cat.categories) == names


@ON_SEAWEEDFS
class TestRows:
    """The rows are the catalog's records."""

    def test_repositories(self, frames: Frames, catalog: Catalog) -> None:
        made = frames.repositories
        assert list(made["repository"]) == [repository.repository for repository in catalog.repositories]
        counts = ("tags", "manifests", "layers", "uploads", "files")
        for name in (*counts, "stored_bytes", "link_bytes", "upload_bytes", "pending_bytes"):
            assert list(made[name]) == [getattr(repository, name) for repository in catalog.repositories]
        assert list(made["stored_bytes"]) == list(frames.usage_repositories["stored_bytes"])
        pending = made.set_index("repository").loc["only/pending"]
        assert pending["modified"] is pd.NaT
        assert (pending["uploads"], pending["pending_bytes"]) == (1, 5_300_000)

    def test_tags(self, frames: Frames, catalog: Catalog) -> None:
        made = frames.tags
        named = made[["repository", "tag"]].itertuples(index=False, name=None)
        assert list(named) == [(tag.repository, tag.name) for tag in catalog.tags]
        broken = made[made["repository"] == "broken"].set_index("tag")
        assert broken["digest"].isna().to_dict() == {
            "damaged": False,
            "empty": True,
            "no-current": True,
            "target-gone": False,
        }
        assert broken.loc["empty", "problem"] == "its link is empty"
        assert broken.loc["no-current", "modified"] is pd.NaT
        assert broken.loc["damaged", "problem"] is pd.NA

    def test_history(self, frames: Frames, catalog: Catalog) -> None:
        made = frames.history
        assert len(made) == sum(len(tag.history) for tag in catalog.tags)
        latest = made[(made["repository"] == "team/app1") & (made["tag"] == "latest")]
        assert len(latest) == 2
        [now] = latest[latest["current"]]["digest"]
        tags = frames.tags.set_index(["repository", "tag"])
        assert now == tags.loc[("team/app1", "latest"), "digest"]

    def test_manifests(self, frames: Frames, catalog: Catalog) -> None:
        made = frames.manifests.set_index("digest")
        assert list(made.index) == [str(manifest.digest) for manifest in catalog.manifests]
        assert dict(made["kind"].value_counts()) == {"image": 9, "index": 5, "artifact": 1, "schema1": 1}
        assert made["problem"].notna().sum() == made["kind"].isna().sum() == 2
        images = made[(made["kind"] == "image") & (made["repositories"] == 1)]
        assert sorted(images["created"])[-1] == pd.Timestamp(CREATED.replace(month=6))
        assert set(images["platform"]) == {"linux/amd64", "linux/arm64", "linux/arm/v7"}
        [index] = made[made["annotations"].notna()].to_dict("records")
        assert index["annotations"] == '{"a": "b", "ä": "ö"}'
        [artifact] = made[made["kind"] == "artifact"].to_dict("records")
        assert artifact["subject"] in made.index
        assert artifact["role"] == "referrer"
        assert list(made["role"]) == [manifest.role for manifest in catalog.manifests]
        assert set(made["role"]) == {"child", "referrer", "tagged", "untagged"}
        assert artifact["artifact_type"] == "application/x.sbom"
        assert artifact["content_size"] == 2 + 4 + 4

    def test_references(self, frames: Frames, catalog: Catalog) -> None:
        made = frames.references
        assert len(made) == len(catalog.references)
        assert set(made["relation"]) == {"config", "layer", "manifest", "subject"}
        old = made[made["size"].isna()]
        assert list(old["position"]) == [0, 1]
        assert old["manifest"].nunique() == 1
        assert old["media_type"].isna().all()
        # Sums go on as integers.
        assert made.groupby("relation", observed=True)["size"].sum()["layer"] > 0

    def test_blobs_add_up(self, frames: Frames, catalog: Catalog) -> None:
        made = frames.blobs
        assert made["size"].sum() == sum(blob.size for blob in catalog.blobs)
        assert made["digest"].is_monotonic_increasing
        assert made["modified"].max() <= pd.Timestamp.now("UTC")
        orphans = made[made["repositories"] == 0]["digest"]
        assert set(orphans) >= {str(Digest.of(b"orphan"))}
        assert {digest.partition(":")[0] for digest in orphans} == {"sha256", "sha512", "blake3"}

    def test_uploads(self, frames: Frames, catalog: Catalog) -> None:
        made = frames.uploads.set_index("repository")
        begun = made.loc["pushing", "started"]
        assert begun == datetime(2026, 11, 1, 10, tzinfo=timezone.utc)
        assert made.loc["pushing", "age"] == catalog.snapshot.started - begun
        assert made.loc["only/pending", "pending_bytes"] == 5_300_000
        assert made.loc["only/pending", "parts"] == 2
        assert made["multipart_ids"].isna().to_dict() == {"only/pending": False, "pushing": True}

    def test_links(self, frames: Frames, catalog: Catalog) -> None:
        made = frames.links
        assert list(made["path"]) == [link.path for link in catalog.links]
        assert list(made["kind"].cat.categories) == ["layer", "revision", "signature", "tag", "tag index"]
        assert made[made["digest"].isna()]["path"].tolist() == [TagCurrentLink("broken", "empty").path]

    def test_usage(self, frames: Frames, catalog: Catalog) -> None:
        whole, usage = frames.usage_repositories, catalog.usage()
        assert whole["unique_bytes"].sum() == usage.totals.unique_bytes
        assert whole["link_bytes"].sum() == usage.totals.link_bytes
        assert (whole["stored_bytes"] == whole["unique_bytes"] + whole["shared_bytes"]).all()
        tags = frames.usage_tags
        assert list(tags["freed_bytes"]) == [tag.freed_bytes for tag in usage.tags]
        assert len(tags) == len(frames.tags)
        pairs = [(item.repository, item.other, item.bytes) for item in usage.sharing()]
        shared = frames.sharing[["repository", "other", "bytes"]].itertuples(index=False, name=None)
        assert list(shared) == pairs
        growth = frames.growth
        assert growth["bytes"].sum() == growth["total_bytes"].iloc[-1] == frames.blobs["size"].sum()
        assert (growth["month"].dt.day == 1).all()

    def test_findings(self, frames: Frames, catalog: Catalog) -> None:
        made, found = frames.findings, catalog.fsck()
        assert list(made["detail"].fillna("")) == [item.detail for item in found]
        assert "broken" in set(made["repository"])


@ON_SEAWEEDFS
class TestBehaviour:
    def test_a_frame_may_be_changed(self, frames: Frames) -> None:
        first = frames.blobs
        first["size"] = 0
        first["more"] = 1
        assert frames.blobs["size"].sum() > 0
        assert "more" not in frames.blobs

    def test_the_bucket_is_read_once(self, options: dict[str, Any], server: Server) -> None:
        from support.proxy import CountingProxy

        store(regfs.create("s3", options), uploads=False)
        proxy = CountingProxy(server.endpoint)
        try:
            frames = Frames(
                Catalog(regfs.RegistryFileSystem(**{**options, "regionendpoint": proxy.endpoint}))
            )
            assert proxy.count() == 0
            assert len(frames.blobs) > 0
            read = proxy.count()
            for name in set(SCHEMAS) - {"findings"}:
                assert dtypes(frames[name]) == promised(name)
            assert proxy.count() == read
        finally:
            proxy.close()

    def test_usage_follows_the_catalog(self, options: dict[str, Any]) -> None:
        driver = regfs.create("s3", options)
        store(driver, uploads=False)
        catalog = Catalog(driver)
        frames = Frames(catalog)
        before = frames.usage_repositories["link_bytes"].sum()
        driver.delete(TagCurrentLink("broken", "damaged").path)
        assert frames.usage_repositories["link_bytes"].sum() == before
        catalog.refresh()
        assert frames.usage_repositories["link_bytes"].sum() == before - 71

    def test_an_unknown_name(self, frames: Frames) -> None:
        with pytest.raises(KeyError, match="layers: no such frame; there are repositories, tags"):
            frames["layers"]
        assert list(frames) == list(SCHEMAS)

    def test_where_there_is_no_registry(self, options: dict[str, Any]) -> None:
        with pytest.raises(FileNotFoundError, match="no registry lies there"):
            _ = Frames(Catalog(regfs.RegistryFileSystem(**options))).tags


@ON_SEAWEEDFS
class TestParquet:
    def test_a_local_directory(self, frames: Frames, tmp_path: Path) -> None:
        files = frames.to_parquet(tmp_path / "new" / "export")
        assert files == [str(tmp_path / "new" / "export" / f"{name}.parquet") for name in SCHEMAS]
        assert sorted(os.listdir(tmp_path / "new" / "export")) == sorted(
            f"{name}.parquet" for name in SCHEMAS
        )
        for name, file in zip(SCHEMAS, files, strict=True):
            made, read = frames[name], pd.read_parquet(file)
            assert {name: str(dtype) for name, dtype in read.dtypes.items()} == {
                name: str(dtype) for name, dtype in made.dtypes.items()
            }
            for column in made.select_dtypes("category"):
                read[column] = read[column].astype(made[column].dtype)
            for column in made.select_dtypes("string"):  # pandas 2 reads text into another storage
                read[column] = read[column].astype(TEXT)
            pd.testing.assert_frame_equal(read, made)

    def test_tells_what_it_is(self, frames: Frames, catalog: Catalog, place: Place, tmp_path: Path) -> None:
        [file] = frames.to_parquet(tmp_path, only=["blobs"])
        schema = pq.read_schema(file)
        assert schema.field("size").metadata == {b"unit": b"bytes", b"meaning": b"as stored"}
        told = {key: value.decode() for key, value in schema.metadata.items() if key.startswith(b"regfs.")}
        assert told == {
            b"regfs.frame": "blobs",
            b"regfs.row": SCHEMAS["blobs"].row,
            b"regfs.place": f"regfs://{place.bucket}/docker/registry/v2",
            b"regfs.rootdirectory": place.root,
            b"regfs.endpoint": place.server.endpoint,
            b"regfs.started": catalog.snapshot.started.isoformat(),
            b"regfs.ended": catalog.snapshot.ended.isoformat(),
        }
        compressions = {
            pq.read_metadata(file).row_group(0).column(number).compression for number in range(len(schema))
        }
        assert compressions == {"ZSTD"}

    def test_into_the_bucket_and_out_with_sql(
        self, frames: Frames, options: dict[str, Any], raw: Place
    ) -> None:
        url = f"regfs://{options['bucket']}/reports"
        names = ["blobs", "references", "uploads"]
        assert frames.to_parquet(url, only=names, storage_options=options) == [
            f"/reports/{name}.parquet" for name in names
        ]
        assert raw.keys() == [f"reports/{name}.parquet" for name in names]
        with duckdb.connect() as sql:
            sql.register_filesystem(regfs.RegistryFileSystem(**options))
            [(count, size)] = sql.execute(
                "select count(*), sum(b.size) from 'regfs:///reports/references.parquet' r"
                " join 'regfs:///reports/blobs.parquet' b using (digest) where relation = 'layer'"
            ).fetchall()
        both = frames.references.query("relation == 'layer'").merge(frames.blobs, on="digest")
        assert (count, size) == (len(both), both["size_y"].sum())

    def test_replaces_nothing_unless_told(self, frames: Frames, tmp_path: Path) -> None:
        (tmp_path / "tags.parquet").write_bytes(b"mine")
        with pytest.raises(FileExistsError, match="overwrite=True") as caught:
            frames.to_parquet(tmp_path, only=["repositories", "tags"])
        assert str(caught.value.filename).endswith("/tags.parquet")
        assert os.listdir(tmp_path) == ["tags.parquet"]
        frames.to_parquet(tmp_path, only=["repositories", "tags"], overwrite=True)
        assert len(pd.read_parquet(tmp_path / "tags.parquet")) == len(frames.tags)

    @pytest.mark.parametrize("where", ["local", "bucket"])
    def test_a_failure_leaves_nothing(
        self,
        frames: Frames,
        options: dict[str, Any],
        raw: Place,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        where: str,
    ) -> None:
        url = str(tmp_path) if where == "local" else "regfs:///reports"
        wanted: dict[str, Any] = {} if where == "local" else options
        frames.to_parquet(url, only=["tags"], storage_options=wanted)
        fs, base = fsspec.url_to_fs(url, **wanted)
        before = fs.cat_file(f"{base}/tags.parquet")

        def broken(self: Frames, name: str) -> Any:
            if name == "blobs":
                raise OSError("no more")
            return frame(SCHEMAS[name], ())

        monkeypatch.setattr(Frames, "__getitem__", broken)
        with pytest.raises(OSError, match="no more"):
            frames.to_parquet(url, overwrite=True, storage_options=wanted)
        assert fs.cat_file(f"{base}/tags.parquet") == before
        assert [path.rpartition("/")[2] for path in fs.find(base)] == ["tags.parquet"]
        assert raw.uploads() == []

    def test_an_unknown_name(self, frames: Frames, tmp_path: Path) -> None:
        with pytest.raises(KeyError, match="layers: no such frame"):
            frames.to_parquet(tmp_path, only=["tags", "layers"])
        assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", SCHEMAS)
def test_dtypes_are_the_same_without_a_row(name: str) -> None:
    assert dtypes(frame(SCHEMAS[name], ())) == promised(name)


def test_a_time_that_nanoseconds_do_not_reach() -> None:
    schema = Schema("x", "", (Column("at", TIME, ""), Column("for", SPAN, "")))
    far = datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=timezone.utc)
    made = frame(schema, [(far, timedelta(days=900_000)), (None, None)])
    assert made["at"][0].to_pydatetime() == far
    assert made["for"][0].to_pytimedelta() == timedelta(days=900_000)
    assert made.loc[1].isna().all()


def test_the_table_for_the_readme() -> None:
    lines = list(markdown())
    assert lines[2].startswith("| `repositories` | one repository, by name | `repository`, `tags`, ")
    assert len(lines) == 2 + len(SCHEMAS)
    for line, schema in zip(lines[2:], SCHEMAS.values(), strict=True):
        assert all(f"`{column.name}`" in line for column in schema.columns)
    assert "`age` (duration)" in "".join(lines)
    assert "`size` (bytes)" in "".join(lines)


@pytest.mark.parametrize(
    ("missing", "name", "extra"),
    [("pandas", "Frames", "pandas"), ("pyarrow", "Frames", "pandas"), ("dask", "DaskFrames", "dask")],
)
def test_a_missing_package_is_named_with_its_extra(missing: str, name: str, extra: str) -> None:
    code = f"import sys; sys.modules[{missing!r}] = None; from regfs.frames import {name}"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=PACKAGE.parent)
    assert run.returncode == 1
    last = run.stderr.splitlines()[-1]
    assert last.startswith("ImportError: tables ")
    assert last.endswith(f'pip install "regfs[{extra}]"')


def test_the_package_itself_imports_none_of_them() -> None:
    code = "import sys, regfs.frames; print({'pandas', 'dask', 'pyarrow'} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=PACKAGE.parent)
    assert run.stdout == "set()\n", run.stderr
