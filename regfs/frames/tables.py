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
    """An attribute that creates a table on each access."""

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

    The catalog scans the bucket once, on the first access to a frame. Each access creates a new frame, which
    the caller may modify; keep it in a variable to use it more than once. All frames have the columns and
    dtypes of :data:`regfs.frames.SCHEMAS`, which ``help(Frames.blobs)`` and so on describe: text is
    "string[pyarrow]" or, for few distinct values, "category"; times are in UTC; missing values are NA.

    Parameters
    ----------
    catalog : Catalog, AbstractFileSystem, str or storage driver
        The catalog, or a storage or URL from which to create a :class:`~regfs.catalog.Catalog`.
    storage_options : mapping, optional
        The options for the URL's filesystem.
    ignore : iterable of str or Ignore
        The findings that `findings` leaves out, as for :meth:`Catalog.fsck`.

    Raises
    ------
    ImportError
        On import, if pandas or pyarrow is not installed.
    TypeError
        `catalog` is none of these.
    regfs.catalog.fsck.findings.UnknownKindError
        `ignore` names an unknown kind of finding.
    regfs.NoRegistryError, OSError
        On access to a frame, as :class:`~regfs.catalog.Catalog` raises them.

    Warns
    -----
    regfs.MetadataDatabaseWarning
        As :class:`~regfs.catalog.Catalog` does.

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
        """Create a frame by its name."""
        if name not in SCHEMAS:
            raise KeyError(f"{name}: no such frame; there are {', '.join(SCHEMAS)}")
        names = sorted(self.catalog.snapshot.repositories)
        return frame(SCHEMAS[name], self._rows(name), {"repository": names, "other": names})

    def files(self, name: str, *, every: bool = False, platform: str | None = None) -> pd.DataFrame:
        """Create a frame of the files in an image; reads its manifests and layers, but does not scan.

        Columns and dtypes are those of :data:`regfs.frames.FILES`: path, kind, size (bytes), mode, owner,
        modified (UTC), target, layer and state.

        Parameters
        ----------
        name : str
            ``REPO``, ``REPO:TAG`` or ``REPO@DIGEST``; see :meth:`regfs.catalog.Catalog.rootfs`.
        every : bool
            Include the entries of all layers that are not in the image; their `state` says why.
        platform : str, optional
            The platform of the image to choose from an index, such as "linux/arm64".

        Raises
        ------
        ValueError, OSError
            As :meth:`regfs.catalog.Catalog.rootfs` raises them.
        regfs.catalog.layers.LayerError
            A layer is missing or damaged, or its format is not supported.

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

        The files are compressed with zstd. The metadata of each Arrow field has the column's unit and
        meaning. The schema's own metadata has the registry's place, the time of the scan, the description of
        a row, and whether the registry keeps its metadata in a database, so that the frame is incomplete.
        The files appear together after all have been written, as far as the filesystem supports it, and none
        appears after a failure.

        Parameters
        ----------
        directory : str or path-like
            A local directory, which is created if necessary, or any fsspec URL.
        only : sequence of str
            The names of the frames. The default is all, including `findings`, which reads every link.
        overwrite : bool
            Replace existing files.
        storage_options : mapping, optional
            The options for the URL's filesystem.

        Returns
        -------
        list of str
            The paths of the files in their filesystem.

        Raises
        ------
        FileExistsError
            One of the files exists; nothing was read or written.
        KeyError
            There is no frame with one of the names.
        OSError
            A file could not be written.
        """
        target = Target(directory, list(only), overwrite, dict(storage_options or {}))
        target.write(((name, self[name]) for name in only), self.about())
        return list(target.paths.values())

    def about(self) -> dict[str, str]:
        """Return the registry's place and the time (UTC) of the scan, as the metadata of Parquet files."""
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
