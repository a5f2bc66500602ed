"""Tables as Parquet files, in a local directory or wherever fsspec leads."""

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
"""Rows of a group; what a reader takes at least."""


class Target:
    """The files that tables are written to; see :meth:`regfs.frames.Frames.to_parquet`.

    Parameters
    ----------
    directory, overwrite, storage_options
        As there.
    names : sequence of str
        The tables.

    Raises
    ------
    KeyError
        A table's name is none.
    FileExistsError
        One of the files is there, and `overwrite` is not given.
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
        # An instance of its own: nobody else's files are to be part of the transaction.
        self._fs, self._base = fsspec.url_to_fs(
            os.fspath(directory), skip_instance_cache=True, **storage_options
        )
        self.paths = {name: f"{self._base.rstrip('/')}/{name}.parquet" for name in names}
        self._overwrite = overwrite
        self._check()

    def _check(self) -> None:
        for path in self.paths.values():
            if not self._overwrite and self._fs.exists(path):
                problem = "it is there already; choose another directory, or overwrite=True"
                raise FileExistsError(errno.EEXIST, problem, self._fs.unstrip_protocol(path))

    def write(self, frames: Iterable[tuple[str, pd.DataFrame]], about: Mapping[str, str]) -> None:
        """Write the files, which appear together.

        Parameters
        ----------
        frames : iterable of (str, DataFrame)
            Names and frames; each is let go once it is written.
        about : mapping of str to str
            Metadata of each file.

        Raises
        ------
        FileExistsError
            One of the files has come meanwhile.
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
    facts = {"frame": schema.name, "row": schema.row, **about}
    metadata = {**(table.schema.metadata or {}), **{f"regfs.{key}": value for key, value in facts.items()}}
    return table.cast(pa.schema(fields, metadata=metadata))
