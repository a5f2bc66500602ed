"""Tables as Parquet files, in a local directory or at any fsspec URL."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import fsspec
import pyarrow as pa
from pyarrow import parquet

from regfs.frames.schemas import SCHEMAS

if TYPE_CHECKING:
    import pandas as pd

    from regfs.frames.schemas import Schema

_ROWS = 2**17
"""Rows per row group, the smallest amount that a reader loads."""


class Target:
    """The Parquet files of an export; see :meth:`regfs.frames.Frames.to_parquet`.

    Parameters
    ----------
    directory, overwrite, storage_options
        As for that method.
    names : sequence of str
        The names of the tables.

    Raises
    ------
    KeyError
        There is no table with one of the names.
    FileExistsError
        One of the files exists, and `overwrite` is false.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        names: Sequence[str],
        overwrite: bool,
        storage_options: Mapping[str, Any],
    ) -> None:
        if unknown := [name for name in names if name not in SCHEMAS]:
            raise KeyError(f"{unknown[0]}: no such frame; there are {', '.join(SCHEMAS)}")
        # Without the cached instance, whose other users' files would be part of the transaction.
        self._fs, self._base = fsspec.url_to_fs(
            os.fspath(directory), skip_instance_cache=True, **storage_options
        )
        self.paths = {name: f"{self._base.rstrip('/')}/{name}.parquet" for name in names}
        self._overwrite = overwrite
        self._check()

    def _check(self) -> None:
        for path in self.paths.values():
            if not self._overwrite and self._fs.exists(path):
                problem = "the file exists; choose another directory or pass overwrite=True"
                raise FileExistsError(errno.EEXIST, problem, self._fs.unstrip_protocol(path))

    def write(self, frames: Iterable[tuple[str, pd.DataFrame]], about: Mapping[str, str]) -> None:
        """Write the files in one transaction.

        Parameters
        ----------
        frames : iterable of (str, DataFrame)
            Names and frames; an iterator needs to hold only one frame in memory at a time.
        about : mapping of str to str
            Metadata for each file.

        Raises
        ------
        FileExistsError
            One of the files was created in the meantime.
        """
        self._check()
        self._fs.makedirs(self._base, exist_ok=True)
        with self._fs.transaction:
            for name, frame in frames:
                table = _table(SCHEMAS[name], frame, about)
                with self._fs.open(self.paths[name], "wb") as file:
                    parquet.write_table(table, file, compression="zstd", row_group_size=_ROWS)


def _table(schema: Schema, frame: pd.DataFrame, about: Mapping[str, str]) -> pa.Table:
    table = pa.Table.from_pandas(frame, preserve_index=False)
    fields = [
        table.schema.field(column.name).with_metadata({"unit": column.unit, "meaning": column.meaning})
        for column in schema.columns
    ]
    properties = {"frame": schema.name, "row": schema.row, **about}
    metadata = {
        **(table.schema.metadata or {}),
        **{f"regfs.{key}": value for key, value in properties.items()},
    }
    return table.cast(pa.schema(fields, metadata=metadata))
