"""What the tables are made of: each column's name, dtype, unit and meaning. Pure; no pandas here.

This one table makes the frames, their documentation and the metadata of the Parquet files.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

TEXT = "string[pyarrow]"
TIME = "datetime64[us, UTC]"
SPAN = "timedelta64[us]"
COUNT = "int64"
MAYBE = "Int64"
CATEGORY = "category"
"""Of text; its categories are the column's own (`Column.categories`), or what the registry holds."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column.

    Attributes
    ----------
    name, dtype : str
        The dtype in pandas' words; the same in an empty frame. What is missing is NA (NaT).
    meaning : str
        What it holds.
    unit : str
        "bytes", "UTC"; empty of text and of plain counts.
    categories : tuple of str
        All values that there can be, if they are known beforehand.
    """

    name: str
    dtype: str
    meaning: str
    unit: str = ""
    categories: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Schema:
    """A table.

    Attributes
    ----------
    name : str
        The attribute of :class:`~regfs.frames.Frames`.
    row : str
        What a row is.
    columns : tuple of Column
    """

    name: str
    row: str
    columns: tuple[Column, ...]

    @property
    def names(self) -> list[str]:
        """The columns' names."""
        return [column.name for column in self.columns]

    def docstring(self) -> str:
        """Describe the table as numpydoc does."""
        lines = [f"{self.row[0].upper()}{self.row[1:]}.", "", "Columns", "-------"]
        for column in self.columns:
            unit = f", {column.unit}" if column.unit else ""
            lines += [f"{column.name} : {column.dtype}{unit}", f"    {column.meaning}"]
        return "\n".join(lines) + "\n"


def _text(name: str, meaning: str) -> Column:
    return Column(name, TEXT, meaning)


def _digest(name: str = "digest", meaning: str = "sha256:…, in full") -> Column:
    return Column(name, TEXT, meaning)


def _count(name: str, meaning: str) -> Column:
    return Column(name, COUNT, meaning)


def _bytes(name: str, meaning: str) -> Column:
    return Column(name, COUNT, meaning, "bytes")


def _time(name: str, meaning: str) -> Column:
    return Column(name, TIME, meaning, "UTC")


def _one_of(name: str, meaning: str, *categories: str) -> Column:
    return Column(name, CATEGORY, meaning, "", categories)


_REPOSITORY = _one_of("repository", "its name; categories are all of the registry's")
_TAG = _text("tag", "the tag's name")
_PENDING = Column(
    "pending_bytes",
    MAYBE,
    "parts of unfinished uploads, which no listing shows and S3 charges for; NA: S3 refuses to list them",
    "bytes",
)

_CATALOG = (
    Schema(
        "repositories",
        "one repository, by name",
        (
            _REPOSITORY,
            _count("tags", "tags that have a current link"),
            _count("manifests", "revisions"),
            _count("layers", "links to layers and configurations"),
            _count("uploads", "unfinished uploads"),
            _count("files", "its own objects: links, and what uploads hold as objects"),
            _bytes("stored_bytes", "the blobs that it needs, each once; they belong to the registry"),
            _bytes("link_bytes", "its links"),
            _bytes("upload_bytes", "what its unfinished uploads hold as objects"),
            _PENDING,
            _time("modified", "when one of its own objects was last written"),
        ),
    ),
    Schema(
        "tags",
        "one tag, by repository and name",
        (
            _REPOSITORY,
            _TAG,
            _digest("digest", "the manifest that it names now; NA if it is broken"),
            _time("modified", "when it was last moved"),
            _count("revisions", "manifests that it names or has named"),
            _text("problem", "why it is broken; else NA"),
        ),
    ),
    Schema(
        "history",
        "one manifest that a tag names or has named, by repository, tag and time",
        (
            _REPOSITORY,
            _TAG,
            _digest("digest", "the manifest"),
            _time("since", "when the tag was last moved to it"),
            Column("current", "bool", "whether the tag names it now"),
        ),
    ),
    Schema(
        "manifests",
        "one manifest, whichever repositories have it, by digest",
        (
            _digest(),
            _count("repositories", "repositories that have it as a revision"),
            _count("tags", "tags that name it now"),
            _one_of("media_type", "as it states, or as its form shows; NA if it could not be read"),
            _one_of(
                "kind",
                "image, index, artifact, schema1; NA if it could not be read",
                "artifact",
                "image",
                "index",
                "schema1",
            ),
            _one_of(
                "role",
                "tagged; child of an index; referrer, which is about another; untagged: none of these",
                "child",
                "referrer",
                "tagged",
                "untagged",
            ),
            _text("artifact_type", "of an artifact"),
            _text("platform", "os/architecture/variant, as the configuration or an index states"),
            _time("created", "when the image was made, by its configuration"),
            _digest("config", "its configuration"),
            _digest("subject", "the manifest that it is about"),
            _bytes("size", "of the manifest itself"),
            _bytes("content_size", "of what it keeps, as it states: configuration and layers, or children"),
            _text("annotations", "a JSON object; NA if there are none"),
            _text("problem", "why it could not be read; else NA"),
        ),
    ),
    Schema(
        "references",
        "one thing that a manifest refers to, by manifest and in its own order",
        (
            _digest("manifest", "which refers"),
            _one_of(
                "relation",
                "config, layer, manifest (an index' child), subject",
                "config",
                "layer",
                "manifest",
                "subject",
            ),
            _count("position", "among those of this relation, from 0"),
            _digest("digest", "what is referred to"),
            _one_of("media_type", "as the manifest states"),
            Column("size", MAYBE, "as the manifest states; NA in schema 1", "bytes"),
            _text("platform", "of an index' child"),
        ),
    ),
    Schema(
        "blobs",
        "one blob: a layer, a configuration, a manifest; by digest",
        (
            _digest(),
            _bytes("size", "as stored"),
            _time("modified", "when it was written"),
            _count("manifests", "manifests that refer to it, subjects included"),
            _count("repositories", "repositories that need it, as the garbage collector sees it"),
        ),
    ),
    Schema(
        "uploads",
        "one unfinished upload, by repository and id",
        (
            _REPOSITORY,
            _text("id", "the registry's id of it"),
            _text("path", "of its data, the driver path"),
            _time("started", "when it began"),
            Column("age", SPAN, "for how long it had been unfinished at the time of the look"),
            Column("parts", MAYBE, "of its multipart uploads; no listing shows them, NA where S3 refuses to"),
            _PENDING,
            _count("files", "its objects"),
            _bytes("upload_bytes", "of these objects"),
            _text("multipart_ids", "S3's ids of its multipart uploads, with blanks between"),
        ),
    ),
    Schema(
        "links",
        "one link, by repository and kind",
        (
            _one_of(
                "kind",
                "layer, revision, signature, tag (names now), tag index (has named)",
                "layer",
                "revision",
                "signature",
                "tag",
                "tag index",
            ),
            _REPOSITORY,
            _text("tag", "of the two kinds of tags; else NA"),
            _digest("digest", "what it leads to; NA of a broken tag"),
            _text("path", "the driver path"),
            _bytes("size", "of the link itself"),
            _time("modified", "when it was written"),
        ),
    ),
)

_USAGE = (
    _bytes("logical_bytes", "what it would take if nothing were shared"),
    _bytes("stored_bytes", "the blobs that it reaches, each once"),
    _bytes("unique_bytes", "of these, what no other repository, or no other tag, reaches"),
    _bytes("shared_bytes", "of these, the rest"),
)

_EVALUATED = (
    Schema(
        "usage_repositories",
        "one repository, and what it uses",
        (
            _REPOSITORY,
            _count("tags", "tags that have a current link"),
            _count("manifests", "revisions"),
            *_USAGE,
            _bytes("link_bytes", "its links"),
            _bytes("upload_bytes", "what its unfinished uploads hold as objects"),
            _PENDING,
            _bytes("freed_bytes", "what deleting it and collecting garbage would free"),
        ),
    ),
    Schema(
        "usage_tags",
        "one tag, and what it uses",
        (
            _REPOSITORY,
            _TAG,
            _digest("digest", "the manifest that it names now"),
            *_USAGE,
            _bytes("freed_bytes", "what deleting it and collecting garbage would free"),
        ),
    ),
    Schema(
        "sharing",
        "one pair of repositories that need the same blobs, the largest first",
        (
            _one_of("repository", "the first by name; categories are all of the registry's"),
            _one_of("other", "the second; the same categories"),
            _count("blobs", "that both need"),
            _bytes("bytes", "of these blobs"),
        ),
    ),
    Schema(
        "growth",
        "one month, from the oldest blob's to the newest one's",
        (
            _time("month", "its beginning"),
            _count("blobs", "that were written in it and are still there"),
            _bytes("bytes", "of these"),
            _bytes("total_bytes", "of these and all before"),
        ),
    ),
    Schema(
        "findings",
        "one thing that is wrong, by repository, path and kind",
        (
            _one_of("kind", "what is wrong, as `regfs fsck` calls it"),
            _one_of(
                "severity",
                "error: a pull fails; warning: none does, yet, or that of one platform",
                "error",
                "warning",
            ),
            _text("path", "its driver path, present or missing"),
            _one_of("repository", "whose pulls it concerns; NA: nobody's; categories as elsewhere"),
            _text("detail", "what is wrong with it"),
            _text("pull", "what a pull that needs it gets from the registry"),
            _text("breaks", "the tags it breaks, repository:tag with blanks between, a hundred at most"),
            _count("broken_tags", "how many tags it breaks"),
        ),
    ),
)

FILES = Schema(
    "files",
    "one file, directory or link in an image, by path; the uppermost layer first",
    (
        _text("path", "absolute, in the image"),
        _one_of(
            "kind",
            "file, directory, symlink, hardlink, device, fifo",
            *("device", "directory", "fifo", "file", "hardlink", "symlink"),
        ),
        _bytes("size", "of a file's content; 0 of all else, hard links among it"),
        _text("mode", "as `ls -l` shows it"),
        _text("owner", "uid:gid, numbers"),
        _time("modified", "as the layer states, to the second"),
        _text("target", "where a link leads; else NA"),
        _count("layer", "the layer that it is in, from 1, the lowest"),
        _one_of(
            "state", "why it is not in the image: overridden, whiteout; NA if it is", "overridden", "whiteout"
        ),
    ),
)
"""The files in one image: no table of a registry, so it is made by a method, and not in `SCHEMAS`."""

CATALOG: Mapping[str, Schema] = MappingProxyType({schema.name: schema for schema in _CATALOG})
"""The tables of what the bucket holds; many processes can make them."""
SCHEMAS: Mapping[str, Schema] = MappingProxyType({schema.name: schema for schema in (*_CATALOG, *_EVALUATED)})
"""All tables, by name."""


def markdown() -> Iterator[str]:
    """Yield the lines of the README's table: for each frame its columns, with unit or dtype."""
    yield "| Frame | A row is | Columns |"
    yield "|---|---|---|"
    for schema in SCHEMAS.values():
        columns = ", ".join(f"`{column.name}`{_remark(column)}" for column in schema.columns)
        yield f"| `{schema.name}` | {schema.row} | {columns} |"


def _remark(column: Column) -> str:
    unit = column.unit or {CATEGORY: "", TEXT: "", COUNT: "", SPAN: "duration"}.get(
        column.dtype, column.dtype
    )
    return f" ({unit})" if unit else ""
