"""The schemas of the tables: each column's name, dtype, unit and meaning. Pure, without pandas.

The frames, their documentation and the metadata of the Parquet files are all generated from them.
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
"""Text with the categories in `Column.categories`, or else the values that the registry has."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column.

    Attributes
    ----------
    name, dtype : str
        The column's name and its pandas dtype, which an empty frame has too. Missing values are NA (NaT).
    meaning : str
        A description of the values.
    unit : str
        "bytes" or "UTC"; empty for text and counts.
    categories : tuple of str
        All possible values, if they are fixed.
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
        The table's attribute of :class:`~regfs.frames.Frames`.
    row : str
        A description of a row.
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
        """Return a description of the table in numpydoc's format."""
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


_REPOSITORY = _one_of("repository", "the repository's name; the categories are all repositories")
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
            _count("files", "its own objects: links, and the objects of uploads"),
            _bytes("stored_bytes", "the blobs that it needs, each once; they belong to the registry"),
            _bytes("link_bytes", "its links"),
            _bytes("upload_bytes", "the objects of its unfinished uploads"),
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
            _text("problem", "why it is broken; NA if it is not"),
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
            _one_of("media_type", "as it states, or inferred from its fields; NA if it could not be read"),
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
                "tagged; child: of an index; referrer: about another manifest; untagged: none of these",
                "child",
                "referrer",
                "tagged",
                "untagged",
            ),
            _text("artifact_type", "the type of an artifact; else NA"),
            _text("platform", "os/architecture/variant, as the configuration or an index states"),
            _time("created", "when the image was created, as its configuration states"),
            _digest("config", "its configuration"),
            _digest("subject", "its subject, the manifest that it is about"),
            _bytes("size", "the size of the manifest itself"),
            _bytes("content_size", "the size of its configuration and layers, or its children, as it states"),
            _text("annotations", "a JSON object; NA if there are none"),
            _text("problem", "why it could not be read; NA if it could"),
        ),
    ),
    Schema(
        "references",
        "one thing that a manifest refers to, by manifest and in its own order",
        (
            _digest("manifest", "the manifest that refers"),
            _one_of(
                "relation",
                "config, layer, manifest (an index's child), subject",
                "config",
                "layer",
                "manifest",
                "subject",
            ),
            _count("position", "the position among the references of this relation, from 0"),
            _digest("digest", "the digest that it refers to"),
            _one_of("media_type", "as the manifest states"),
            Column("size", MAYBE, "as the manifest states; NA in schema 1", "bytes"),
            _text("platform", "the platform of an index's child; else NA"),
        ),
    ),
    Schema(
        "blobs",
        "one blob: a layer, a configuration, a manifest; by digest",
        (
            _digest(),
            _bytes("size", "as stored"),
            _time("modified", "when it was written"),
            _count("manifests", "manifests that refer to it, also as their subject"),
            _count("repositories", "repositories that need it, by the rule of the garbage collector"),
        ),
    ),
    Schema(
        "uploads",
        "one unfinished upload, by repository and id",
        (
            _REPOSITORY,
            _text("id", "the registry's id for the upload"),
            _text("path", "the driver path of its data"),
            _time("started", "when it began"),
            Column("age", SPAN, "the time from its start to the scan"),
            Column("parts", MAYBE, "parts of its multipart uploads; NA: S3 refuses to list them"),
            _PENDING,
            _count("files", "its objects"),
            _bytes("upload_bytes", "the size of these objects"),
            _text("multipart_ids", "S3's ids of its multipart uploads, separated by spaces"),
        ),
    ),
    Schema(
        "links",
        "one link, by repository and kind",
        (
            _one_of(
                "kind",
                "layer, revision, signature, tag (a tag's current link), tag index (a link in its history)",
                "layer",
                "revision",
                "signature",
                "tag",
                "tag index",
            ),
            _REPOSITORY,
            _text("tag", "the tag's name for the two kinds of tag links; else NA"),
            _digest("digest", "the digest that it links to; NA for a broken tag"),
            _text("path", "the driver path"),
            _bytes("size", "the size of the link itself"),
            _time("modified", "when it was written"),
        ),
    ),
)

_USAGE = (
    _bytes("logical_bytes", "the size if nothing were shared"),
    _bytes("stored_bytes", "the blobs that it reaches, each once"),
    _bytes("unique_bytes", "the part of these that no other repository, or no other tag, reaches"),
    _bytes("shared_bytes", "the rest of these"),
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
            _bytes("upload_bytes", "the objects of its unfinished uploads"),
            _PENDING,
            _bytes("freed_bytes", "how much deleting it and collecting garbage would free"),
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
            _bytes("freed_bytes", "how much deleting it and collecting garbage would free"),
        ),
    ),
    Schema(
        "sharing",
        "one pair of repositories that need the same blobs, the largest first",
        (
            _one_of("repository", "the first by name; the categories are all repositories"),
            _one_of("other", "the second; the same categories"),
            _count("blobs", "blobs that both need"),
            _bytes("bytes", "the size of these blobs"),
        ),
    ),
    Schema(
        "growth",
        "one month, from the oldest blob's to the newest one's",
        (
            _time("month", "the beginning of the month"),
            _count("blobs", "blobs written in the month that still exist"),
            _bytes("bytes", "the size of these blobs"),
            _bytes("total_bytes", "the size of these and all earlier blobs"),
        ),
    ),
    Schema(
        "findings",
        "one thing that is wrong, by repository, path and kind",
        (
            _one_of("kind", "the kind of finding, as in `regfs fsck`"),
            _one_of(
                "severity",
                "error: a pull fails; warning: no pull fails yet, or only that of one platform",
                "error",
                "warning",
            ),
            _text("path", "the driver path of the file, present or missing"),
            _one_of("repository", "the repository whose pulls it affects; NA if none"),
            _text("detail", "a description of the problem"),
            _text("pull", "the registry's answer to a pull that needs the file"),
            _text(
                "breaks", "at most a hundred of the tags that it breaks, repository:tag separated by spaces"
            ),
            _count("broken_tags", "the number of tags that it breaks"),
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
        _bytes("size", "the size of a file's content; 0 for all other kinds, including hard links"),
        _text("mode", "as `ls -l` shows it"),
        _text("owner", "uid:gid, as numbers"),
        _time("modified", "as the layer states, to the second"),
        _text("target", "the target of a link; else NA"),
        _count("layer", "the number of its layer; 1 is the lowest"),
        _one_of(
            "state", "why it is not in the image: overridden, whiteout; NA if it is", "overridden", "whiteout"
        ),
    ),
)
"""The files in one image. It is not a table of a registry, so a method creates it and `SCHEMAS` lacks it."""

CATALOG: Mapping[str, Schema] = MappingProxyType({schema.name: schema for schema in _CATALOG})
"""The tables of the bucket's content, which `DaskFrames` has too."""
SCHEMAS: Mapping[str, Schema] = MappingProxyType({schema.name: schema for schema in (*_CATALOG, *_EVALUATED)})
"""All tables, by name."""


def markdown() -> Iterator[str]:
    """Yield the lines of the README's table: for each frame its columns with their units or dtypes."""
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
