"""A catalog as pandas DataFrames."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, overload

from regfs.catalog import Catalog
from regfs.catalog.fsck.findings import Ignore, parse_ignore
from regfs.frames.making import frame
from regfs.frames.parquet import Target
from regfs.frames.rows import CATALOG, USAGE, Row, file, finding
from regfs.frames.schemas import FILES, SCHEMAS
from regfs.layout import ROOT

if TYPE_CHECKING:
    import pandas as pd
    from typing_extensions import Self

    from regfs.catalog.snapshot import Snapshot
    from regfs.catalog.usage import Usage


class Table:
    """An attribute that makes a table whenever it is asked for."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.__doc__ = SCHEMAS[name].docstring()

    @overload
    def __get__(self, instance: None, owner: type[Frames]) -> Self: ...
    @overload
    def __get__(self, instance: Frames, owner: type[Frames]) -> pd.DataFrame: ...
    def __get__(self, instance: Frames | None, owner: type[Frames]) -> Self | pd.DataFrame:
        return self if instance is None else instance[self.name]


class Frames:
    """The content of a registry's bucket as pandas DataFrames.

    The catalog reads the bucket once, when the first frame is asked for. Each frame is made anew whenever it
    is asked for, so it may be changed at will; keep it in a variable to use it more than once. All have the
    columns and dtypes of :data:`regfs.frames.SCHEMAS`, which ``help(Frames.blobs)`` and so on show: text is
    "string[pyarrow]", what repeats itself "category", times are in UTC, what is missing is NA.

    Parameters
    ----------
    catalog : Catalog, AbstractFileSystem, str or storage driver
        What was found in the bucket; or what a :class:`~regfs.catalog.Catalog` is made of.
    storage_options : mapping, optional
        Of a URL's filesystem.
    ignore : iterable of str or Ignore
        What `findings` leaves out, as :meth:`Catalog.fsck` does.

    Raises
    ------
    ImportError
        When it is imported: pandas or pyarrow is not there.
    TypeError
        `catalog` is none of these.
    regfs.catalog.fsck.findings.UnknownKindError
        There is no such kind of finding as one in `ignore`.
    regfs.NoRegistryError, OSError
        When a frame is asked for, as of :class:`~regfs.catalog.Catalog`.

    Warns
    -----
    regfs.MetadataDatabaseWarning
        As of :class:`~regfs.catalog.Catalog`.

    Examples
    --------
    >>> frames = Frames(Catalog(fs))  # doctest: +SKIP
    >>> frames.blobs.nlargest(10, "size")  # doctest: +SKIP
    """

    repositories = Table("repositories")
    tags = Table("tags")
    history = Table("history")
    manifests = Table("manifests")
    references = Table("references")
    blobs = Table("blobs")
    uploads = Table("uploads")
    links = Table("links")
    usage_repositories = Table("usage_repositories")
    usage_tags = Table("usage_tags")
    sharing = Table("sharing")
    growth = Table("growth")
    findings = Table("findings")

    def __init__(
        self,
        catalog: Any,
        *,
        storage_options: Mapping[str, Any] | None = None,
        ignore: Iterable[str | Ignore] = (),
    ) -> None:
        ready = isinstance(catalog, Catalog) and storage_options is None
        self.catalog: Catalog = catalog if ready else Catalog(catalog, storage_options=storage_options)
        self._ignore = parse_ignore(ignore)
        self._usage: tuple[Snapshot, Usage] | None = None

    def __repr__(self) -> str:
        return f"Frames({self.catalog!r})"

    def __iter__(self) -> Iterator[str]:
        """Yield the frames' names."""
        return iter(SCHEMAS)

    def __getitem__(self, name: str) -> pd.DataFrame:
        """Make a frame, by its name."""
        if name not in SCHEMAS:
            raise KeyError(f"{name}: no such frame; there are {', '.join(SCHEMAS)}")
        names = sorted(self.catalog.snapshot.repositories)
        return frame(SCHEMAS[name], self._rows(name), {"repository": names, "other": names})

    def files(self, name: str, *, every: bool = False, platform: str | None = None) -> pd.DataFrame:
        """Make a frame of the files in one image; reads its layers, and nothing else of the registry.

        Columns and dtypes are those of :data:`regfs.frames.FILES`: path, kind, size (bytes), mode, owner,
        modified (UTC), target, layer and state.

        Parameters
        ----------
        name : str
            ``REPO``, ``REPO:TAG`` or ``REPO@DIGEST``; see :meth:`regfs.catalog.Catalog.rootfs`.
        every : bool
            Each layer's own entries, also those that are not in the image; their `state` says why.
        platform : str, optional
            Of an index: which image, as "linux/arm64".

        Raises
        ------
        ValueError, OSError
            As of :meth:`regfs.catalog.Catalog.rootfs`.
        regfs.catalog.layers.LayerError
            A layer is missing or damaged, or cannot be read here.

        Examples
        --------
        >>> frames.files("library/hello").nlargest(10, "size")  # doctest: +SKIP
        """
        entries = self.catalog.rootfs(name, platform).entries(every=every)
        return frame(FILES, map(file, entries))

    def to_parquet(
        self,
        directory: str | os.PathLike[str],
        *,
        only: Sequence[str] = tuple(SCHEMAS),
        overwrite: bool = False,
        storage_options: Mapping[str, Any] | None = None,
    ) -> list[str]:
        """Write a Parquet file for each frame, NAME.parquet.

        The files are compressed with zstd. Their Arrow schema has each column's unit and meaning, and in
        its own metadata what place the frame is of, when that was looked at, what a row is, and if the
        registry's metadata is in a database, so that it is not all. They appear all together when all are
        written, as far as the filesystem can, and none after a failure.

        Parameters
        ----------
        directory : str or path-like
            A local directory, which is made if it is not there, or any fsspec URL.
        only : sequence of str
            The frames; all by default, `findings` among them, for which every link is read.
        overwrite : bool
            Replace files that are there.
        storage_options : mapping, optional
            For the URL's filesystem.

        Returns
        -------
        list of str
            The files, as their filesystem names them.

        Raises
        ------
        FileExistsError
            One of the files is there; nothing was read or written.
        KeyError
            A frame's name is none.
        OSError
            It could not be written.
        """
        target = Target(directory, list(only), overwrite, dict(storage_options or {}))
        target.write(((name, self[name]) for name in only), self.about())
        return list(target.paths.values())

    def about(self) -> dict[str, str]:
        """Return what the tables are of, as the metadata of Parquet files has it: place and time, in UTC."""
        snapshot, source = self.catalog.snapshot, self.catalog.source
        parameters = getattr(source.fs, "parameters", None)
        about = {
            "place": source.url(ROOT),
            "rootdirectory": getattr(parameters, "root_directory", ""),
            "endpoint": getattr(parameters, "endpoint_url", None) or "",
            "started": snapshot.started.isoformat(),
            "ended": snapshot.ended.isoformat(),
        }
        if snapshot.database_in_use is not False:
            about["database_in_use"] = "true" if snapshot.database_in_use else "unknown"
        return about

    def _rows(self, name: str) -> Iterable[Row]:
        if name in CATALOG:
            return CATALOG[name](self.catalog)
        if name == "findings":
            return map(finding, self.catalog.fsck(ignore=self._ignore))
        snapshot = self.catalog.snapshot
        if self._usage is None or self._usage[0] is not snapshot:
            self._usage = snapshot, self.catalog.usage()
        return USAGE[name](self._usage[1])
