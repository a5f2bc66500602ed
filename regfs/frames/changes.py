"""The changes in a registry between two exports, or between an export and now."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import fsspec
import pyarrow as pa
from pyarrow import parquet

from regfs.frames.making import text

if TYPE_CHECKING:
    import os

    import pandas as pd

    from regfs.frames.tables import Frames

_NEEDED: Mapping[str, list[str]] = {
    "tags": ["repository", "tag", "digest"],
    "blobs": ["digest", "size"],
    "usage_repositories": ["repository", "stored_bytes"],
}
"""The tables that a comparison needs, and their columns."""
_PREFIX = "regfs."

RepositoryKind: TypeAlias = Literal["added", "removed", "grown", "shrunk"]
TagKind: TypeAlias = Literal["added", "removed", "moved", "broken"]


class ExportError(ValueError):
    """A directory is not an export, or lacks tables that a comparison needs."""


class DifferentPlacesError(ValueError):
    """Two exports are of different registries."""


@dataclass(frozen=True)
class State:
    """The state of a registry at the time of a scan.

    Attributes
    ----------
    name : str
        The export's directory, or "now".
    place, rootdirectory, endpoint : str
        The URL of the registry's directory, its root directory and the S3 endpoint; empty if unknown.
    taken : datetime
        When the scan began, UTC.
    tables : mapping of str to DataFrame
        The tables "tags", "blobs" and "usage_repositories", by name.
    """

    name: str
    place: str
    rootdirectory: str
    endpoint: str
    taken: datetime
    tables: Mapping[str, pd.DataFrame] = field(repr=False)

    @classmethod
    def load(
        cls, directory: str | os.PathLike[str], storage_options: Mapping[str, Any] | None = None
    ) -> State:
        """Read an export that :meth:`regfs.frames.Frames.to_parquet` wrote.

        Parameters
        ----------
        directory : str or path-like
            A local directory, or any fsspec URL.
        storage_options : mapping, optional
            The options for the URL's filesystem.

        Raises
        ------
        FileNotFoundError
            There is no such directory.
        ExportError
            A table is missing or does not belong to an export, or the tables are of different scans.
        OSError
            The export cannot be read.
        """
        name = str(directory)
        fs, base = fsspec.url_to_fs(name, **(storage_options or {}))
        base = base.rstrip("/")
        names = {path.rpartition("/")[2] for path in _files(fs, base, name)}
        if missing := [table for table in _NEEDED if f"{table}.parquet" not in names]:
            raise ExportError(
                f"{name}: lacks {', '.join(f'{table}.parquet' for table in missing)}; a comparison needs the "
                f"tables {', '.join(_NEEDED)}: export without --only, or with these"
            )
        tables, about = {}, {}
        for table, columns in _NEEDED.items():
            tables[table], about[table] = _read(fs, f"{base}/{table}.parquet", columns)
        first, *others = about.values()
        if any(other != first for other in others):
            raise ExportError(
                f"{name}: its tables are of different scans and cannot be compared; export all of them again"
            )
        return cls._made(name, first, tables)

    @classmethod
    def of(cls, frames: Frames, name: str = "now") -> State:
        """Return the present state of a registry."""
        return cls._made(name, frames.about(), {table: frames[table] for table in _NEEDED})

    @classmethod
    def _made(cls, name: str, about: Mapping[str, str], tables: Mapping[str, pd.DataFrame]) -> State:
        return cls(
            name,
            about.get("place", ""),
            about.get("rootdirectory", "").rstrip("/"),
            about.get("endpoint", "").rstrip("/"),
            datetime.fromisoformat(about["started"]),
            tables,
        )

    def at(self) -> str:
        """Describe the place for an error message."""
        parts = [self.place, f"root directory {self.rootdirectory or '/'}"]
        return ", ".join([*parts, *([f"endpoint {self.endpoint}"] if self.endpoint else [])])


def _files(fs: Any, base: str, name: str) -> list[str]:
    try:
        return [str(path) for path in fs.ls(base, detail=False)]
    except NotADirectoryError as exc:
        raise ExportError(f"{name}: is not a directory, so it is not an export") from exc
    except FileNotFoundError as exc:
        raise FileNotFoundError(errno.ENOENT, "there is no such export", name) from exc


def _read(fs: Any, path: str, columns: list[str]) -> tuple[pd.DataFrame, dict[str, str]]:
    """Read a table, and the place and time in its metadata."""
    url = fs.unstrip_protocol(path)
    try:
        with fs.open(path, "rb") as file:
            table = parquet.read_table(file, columns=columns)
    except pa.ArrowInvalid as exc:
        raise ExportError(f"{url}: is not a Parquet file: {exc}") from exc
    metadata = {
        key.decode().removeprefix(_PREFIX): value.decode()
        for key, value in (table.schema.metadata or {}).items()
        if key.startswith(_PREFIX.encode())
    }
    about = {key: value for key, value in metadata.items() if key not in ("frame", "row")}
    if "started" not in about or table.num_columns != len(columns):
        raise ExportError(f"{url}: is not a table of an export: it lacks columns, or place and time")
    return table.to_pandas(), about


@dataclass(frozen=True, slots=True)
class RepositoryChange:
    """A repository whose stored bytes changed; 0 bytes if it does not exist.

    Stored bytes are those of the blobs that it needs, each counted once.
    """

    repository: str
    change: RepositoryKind
    old_stored_bytes: int
    new_stored_bytes: int


@dataclass(frozen=True, slots=True)
class TagChange:
    """A tag that was added, removed, moved to another manifest or broken; a missing digest is None."""

    repository: str
    tag: str
    change: TagKind
    old_digest: str | None
    new_digest: str | None


@dataclass(frozen=True, slots=True)
class Amount:
    """The numbers of repositories, of tags that name a manifest and of blobs, and the blobs' bytes."""

    repositories: int
    tags: int
    blobs: int
    blob_bytes: int


@dataclass(frozen=True, slots=True)
class Changes:
    """The changes between two states.

    Attributes
    ----------
    old, new : Amount
        The totals of both states.
    repositories : list of RepositoryChange
        The repositories that were added, removed or changed in size; the largest change first.
    tags : list of TagChange
        By repository and tag.
    added_blobs, added_bytes, removed_blobs, removed_bytes : int
        The numbers and bytes of the blobs that were added and removed.
    """

    old: Amount
    new: Amount
    repositories: list[RepositoryChange]
    tags: list[TagChange]
    added_blobs: int
    added_bytes: int
    removed_blobs: int
    removed_bytes: int

    @property
    def different(self) -> bool:
        """Whether anything changed."""
        return bool(self.repositories or self.tags or self.added_blobs or self.removed_blobs)


def compare(old: State, new: State, *, allow_other_place: bool = False) -> Changes:
    """Compare two states of a registry.

    Parameters
    ----------
    old, new : State
        The earlier one and the later one.
    allow_other_place : bool
        Compare states of different registries.

    Raises
    ------
    DifferentPlacesError
        The states are of different registries, and `allow_other_place` is false.
    """
    if not allow_other_place and not _same_place(old, new):
        raise DifferentPlacesError(
            f"{old.name} is of {old.at()}; {new.name} of {new.at()}. To compare different registries: "
            "--allow-other-place (allow_other_place=True)"
        )
    before, after = _sizes(old), _sizes(new)
    added, removed = after[~after.index.isin(before.index)], before[~before.index.isin(after.index)]
    return Changes(
        _amount(old, before),
        _amount(new, after),
        _repositories(old, new),
        _tags(old, new),
        len(added),
        int(added.sum()),
        len(removed),
        int(removed.sum()),
    )


def _same_place(old: State, new: State) -> bool:
    endpoints = {old.endpoint, new.endpoint} - {""}
    return (old.place, old.rootdirectory) == (new.place, new.rootdirectory) and len(endpoints) < 2


def _sizes(state: State) -> pd.Series[Any]:
    blobs = state.tables["blobs"]
    sizes: pd.Series[Any] = blobs["size"].copy()
    sizes.index = text(blobs["digest"])  # the dtype differs between frames from files and new ones
    return sizes


def _amount(state: State, sizes: pd.Series[Any]) -> Amount:
    repositories, tags = state.tables["usage_repositories"], state.tables["tags"]
    return Amount(len(repositories), int(tags["digest"].notna().sum()), len(sizes), int(sizes.sum()))


def _repositories(old: State, new: State) -> list[RepositoryChange]:
    before, after = _stored(old), _stored(new)
    changes = []
    for name in sorted(before.keys() | after.keys()):
        old_bytes, new_bytes = before.get(name, 0), after.get(name, 0)
        kind: RepositoryKind = "grown" if new_bytes > old_bytes else "shrunk"
        if name not in before or name not in after:
            kind = "added" if name in after else "removed"
        elif old_bytes == new_bytes:
            continue
        changes.append(RepositoryChange(name, kind, old_bytes, new_bytes))
    return sorted(changes, key=lambda change: -abs(change.new_stored_bytes - change.old_stored_bytes))


def _stored(state: State) -> dict[str, int]:
    table = state.tables["usage_repositories"]
    return dict(zip(table["repository"].astype(str), map(int, table["stored_bytes"]), strict=True))


def _tags(old: State, new: State) -> list[TagChange]:
    before, after = _targets(old), _targets(new)
    changes = []
    for name in sorted(before.keys() | after.keys()):
        old_digest, new_digest = before.get(name), after.get(name)
        if name not in before or name not in after:
            kind: TagKind = "added" if name in after else "removed"
            changes.append(TagChange(*name, kind, old_digest, new_digest))
        elif old_digest != new_digest:
            changes.append(TagChange(*name, "moved" if new_digest else "broken", old_digest, new_digest))
    return changes


def _targets(state: State) -> dict[tuple[str, str], str | None]:
    table = state.tables["tags"]
    digests = [value if isinstance(value, str) else None for value in table["digest"]]
    names = zip(table["repository"].astype(str), table["tag"].astype(str), strict=True)
    return dict(zip(names, digests, strict=True))
