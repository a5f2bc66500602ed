"""A registry's bucket as dask DataFrames: each worker lists and reads a part of it."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, overload

from regfs.catalog import Catalog
from regfs.catalog.database import database_in_use, warn_readers
from regfs.catalog.search import no_registry
from regfs.catalog.source import Source, spread
from regfs.frames import partitions
from regfs.frames.making import frame
from regfs.frames.partitions import ANSWERS, COMMON, HEADS, HEXES, LISTED, NEEDS, QUESTIONS, READ, STORED
from regfs.frames.schemas import CATALOG, CATEGORY, FILES
from regfs.layout import BLOBS, REPOSITORIES, ROOT

try:
    import dask.dataframe
    import dask.dataframe.utils
except ImportError as exc:
    raise ImportError('tables as dask DataFrames need dask: pip install "regfs[dask]"') from exc

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import pandas as pd
    from typing_extensions import Self

    from regfs.frames.schemas import Schema

# Parts of dask have no types.
dd: Any = dask.dataframe
delayed: Any = dask.delayed  # type: ignore[attr-defined]  # dask does not list it in __all__
clear_known_categories: Any = dask.dataframe.utils.clear_known_categories

PARTITIONS = 32
_FIRST = ""
_LAST = "~"  # sorts after every character of a digest


class DaskTable:
    """An attribute that creates a dask DataFrame on each access."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.__doc__ = CATALOG[name].docstring()

    @overload
    def __get__(self, instance: None, owner: type[DaskFrames]) -> Self: ...
    @overload
    def __get__(self, instance: DaskFrames, owner: type[DaskFrames]) -> Any: ...
    def __get__(self, instance: DaskFrames | None, owner: type[DaskFrames]) -> Self | Any:
        return self if instance is None else instance[self.name]


class DaskFrames:
    """The content of a registry's bucket as dask DataFrames.

    These are the tables of :class:`~regfs.frames.Frames` for the bucket's content, with the same columns,
    dtypes and rows. `blobs`, `manifests` and `references` are partitioned by the first two digits of the
    digest and sorted by digest: a worker lists the blobs with these digits and reads the manifests among
    them. The other tables are partitioned by repository; `repositories` also reads the manifests, for the
    stored bytes. The categories of `repository` and `media_type` are known only after computing, and are then
    the values that occur.

    Creating the object reads nothing. The first access to a frame lists directories to divide the
    repositories among partitions: one LIST per directory, level by level, until there are four times as many
    directories as partitions. The workers read everything else when a frame is computed, and again for each
    computation unless the frame is persisted; computing several frames in one ``dask.compute`` reads nothing
    twice. The frames by digest cost a LIST for each of the 256 directories of blobs and each thousand blobs
    in one. One worker reads each manifest and each configuration once.

    Unlike a :class:`~regfs.catalog.Catalog` it checks nothing a second time: a file that the registry writes
    during the computation may be in one partition and not yet in another.

    Parameters
    ----------
    fs : AbstractFileSystem, str, storage driver or Catalog
        The registry's storage, or its URL. It is sent to the workers, so it must support pickling. A
        filesystem of regfs is sent with its parameters but without credentials of AWS's credential chain,
        which each worker resolves itself.
    npartitions : int
        The number of partitions of each frame, 1 to 256. Frames by repository have fewer if there are fewer
        directories of repositories.
    storage_options : mapping, optional
        The options for the URL's filesystem.

    Raises
    ------
    ImportError
        On import, if dask, pandas or pyarrow is not installed.
    TypeError, ValueError
        `fs` or `npartitions` is invalid.
    regfs.NoRegistryError, OSError
        On access to a frame or its computation, as for a catalog.

    Warns
    -----
    regfs.MetadataDatabaseWarning
        On the first access to a frame: the registry keeps its metadata in a database, so the frames are
        incomplete. The check costs one HEAD.

    Examples
    --------
    >>> frames = DaskFrames(fs, npartitions=64)  # doctest: +SKIP
    >>> frames.blobs.query("repositories == 0")["size"].sum().compute()  # doctest: +SKIP
    """

    repositories = DaskTable("repositories")
    tags = DaskTable("tags")
    history = DaskTable("history")
    manifests = DaskTable("manifests")
    references = DaskTable("references")
    blobs = DaskTable("blobs")
    uploads = DaskTable("uploads")
    links = DaskTable("links")

    def __init__(
        self,
        fs: Any,
        npartitions: int = PARTITIONS,
        *,
        storage_options: Mapping[str, Any] | None = None,
    ) -> None:
        if not 1 <= npartitions <= HEXES:
            raise ValueError(f"npartitions {npartitions}: must be 1 to {HEXES}")
        self.source = Source.of(fs, storage_options)
        self.npartitions = npartitions

    def __repr__(self) -> str:
        return f"DaskFrames({self.source.url('/')!r}, npartitions={self.npartitions})"

    def __getitem__(self, name: str) -> Any:
        """Create a frame by its name."""
        if name not in CATALOG:
            raise KeyError(f"{name}: no such frame; there are {', '.join(CATALOG)}")
        schema = CATALOG[name]
        if name == "blobs":
            return self._map(partitions.blobs, schema, self._needs, self._listed)
        if name == "references":
            return self._map(partitions.references, schema, self._read)
        if name == "manifests":
            return self._map(partitions.manifests, schema, self._read, self._heads, self._answers)
        parts = [delayed(partitions.table)(name, scan, pure=True) for scan in self._scans]
        table = dd.from_delayed(parts, meta=_meta(schema), verify_meta=False)
        if name == "repositories":
            stored = self._map(partitions.stored, STORED, self._needs, self._listed)
            return self._map(partitions.repositories, schema, table, stored.repartition(npartitions=1))
        return table

    def files(self, name: str, *, every: bool = False, platform: str | None = None) -> Any:
        """Create a frame of the files in an image, as :meth:`regfs.frames.Frames.files`, with dask's workers.

        One worker reads each layer. A single worker then merges their entries, which do not include
        contents, into one partition, because the files in the image depend on all layers.

        Parameters
        ----------
        name : str
            ``REPO``, ``REPO:TAG`` or ``REPO@DIGEST``.
        every : bool
            Include the entries of all layers that are not in the image.
        platform : str, optional
            The platform of the image to choose from an index.

        Raises
        ------
        ValueError, OSError
            As :meth:`regfs.catalog.Catalog.rootfs` raises them; errors in a layer are raised on computation.
        """
        rootfs = Catalog(self).rootfs(name, platform)
        layers = [
            delayed(partitions.layer)(self.source, digest, number) for number, digest in rootfs.readable
        ]
        part = delayed(partitions.files)(layers, every)
        return dd.from_delayed([part], meta=_meta(FILES), verify_meta=False)

    # -- by repository --------------------------------------------------------------------------------

    @cached_property
    def _scans(self) -> list[Any]:
        """Scans of the repositories' directories, one for each partition."""
        units = self._directories()
        count = min(self.npartitions, len(units)) or 1
        groups = [
            [directory for unit in units[number::count] for directory in unit] for number in range(count)
        ]
        pending = delayed(Source.uploads)(self.source)
        all_directories = [directory for group in groups for directory in group]
        return [
            delayed(partitions.scan_repositories)(
                self.source, group, None if number else all_directories, pending
            )
            for number, group in enumerate(groups)
        ]

    def _directories(self) -> list[tuple[str, ...]]:
        """Divide the repositories into units: a repository's own directories, or a directory of several."""
        units: list[tuple[str, ...]] = []
        in_use = database_in_use(self.source)
        warn_readers(self.source, in_use)
        level: Sequence[str] = self.source.directories(REPOSITORIES)
        if not in_use and not level and not self.source.directories(BLOBS) and not self._has_files():
            raise no_registry(self.source)
        while level and len(units) + len(level) < 4 * self.npartitions:
            listings = spread(self.source.directories, level)
            internal = [tuple(path for path in paths if _is_internal(path)) for paths in listings]
            units += [paths for paths in internal if paths]
            level = [path for paths in listings for path in paths if not _is_internal(path)]
        return units + [(path,) for path in level]

    def _has_files(self) -> bool:
        """Return whether a catalog would find anything: an unknown file or a pending upload."""
        return any(map(len, self.source.pages(ROOT))) or bool(self.source.uploads())

    # -- by digest ------------------------------------------------------------------------------------

    @cached_property
    def _bounds(self) -> list[int]:
        """The first byte of each partition's first digest, and the end."""
        return [number * HEXES // self.npartitions for number in range(self.npartitions + 1)]

    @cached_property
    def _divisions(self) -> tuple[str, ...]:
        return (_FIRST, *(f"{COMMON}:{first:02x}" for first in self._bounds[1:-1]), _LAST)

    @cached_property
    def _listed(self) -> Any:
        parts = [
            delayed(partitions.listed)(self.source, first, end - 1)
            for first, end in zip(self._bounds, self._bounds[1:], strict=False)
        ]
        meta = _meta(LISTED).set_index("digest")
        return dd.from_delayed(parts, meta=meta, divisions=self._divisions, verify_meta=False)

    @cached_property
    def _heads(self) -> Any:
        parts = [delayed(partitions.heads)(scan) for scan in self._scans]
        return self._shuffled(dd.from_delayed(parts, meta=_meta(HEADS), verify_meta=False))

    @cached_property
    def _read(self) -> Any:
        return self._map(partitions.read, READ, self._heads, self._listed, source=self.source)

    @cached_property
    def _needs(self) -> Any:
        return self._shuffled(self._map(partitions.needs, NEEDS, self._read, self._heads))

    @cached_property
    def _answers(self) -> Any:
        questions = self._shuffled(self._map(partitions.questions, QUESTIONS, self._read))
        answers = self._map(
            partitions.answers, ANSWERS, questions, self._listed, self._read, source=self.source
        )
        return self._shuffled(dd.concat([answers, self._map(partitions.statements, ANSWERS, self._read)]))

    def _shuffled(self, rows: Any) -> Any:
        """Return a frame with each row in the partition of its digest."""
        return rows.set_index("digest", divisions=self._divisions)

    def _map(
        self, function: Callable[..., pd.DataFrame], schema: Schema, *frames: Any, **keywords: Any
    ) -> Any:
        """Call a function for each partition, with the corresponding partitions of the frames."""
        meta = _meta(schema)
        if schema is READ:
            meta = meta.set_index("digest")
        first, *others = frames
        # Enforced, the metadata would replace every empty partition, and bring a category "unknown".
        return first.map_partitions(
            function, *others, meta=meta, align_dataframes=False, enforce_metadata=False, **keywords
        )


def _is_internal(directory: str) -> bool:
    """Return whether a directory is internal to a repository, as ``_manifests``, and contains no others."""
    return directory.rpartition("/")[2].startswith("_")


def _meta(schema: Schema) -> pd.DataFrame:
    """Create an empty frame; categories that differ between registries are unknown."""
    unknown = [column.name for column in schema.columns if column.dtype == CATEGORY and not column.categories]
    empty: pd.DataFrame = clear_known_categories(frame(schema, ()), cols=unknown)
    return empty
