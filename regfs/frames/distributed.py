"""A registry's bucket as dask DataFrames: every worker lists and reads a part of it."""

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
    raise ImportError('tables by many processes need dask: pip install "regfs[dask]"') from exc

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import pandas as pd
    from typing_extensions import Self

    from regfs.frames.schemas import Schema

# Parts of dask have no types.
dd: Any = dask.dataframe
delayed: Any = dask.delayed  # type: ignore[attr-defined]  # dask exports it untold
clear_known_categories: Any = dask.dataframe.utils.clear_known_categories

PARTITIONS = 32
_LEAST = ""
_MOST = "~"  # behind every letter that a digest may have


class DaskTable:
    """An attribute that makes a dask DataFrame whenever it is asked for."""

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

    The tables of :class:`~regfs.frames.Frames` of what the bucket holds, with the same columns, dtypes and
    rows. `blobs`, `manifests` and `references` are partitioned by the first two digits of the digest, and
    sorted by it: a worker lists the blobs that begin so and reads the manifests among them. The others are
    partitioned by repository; `repositories` reads the manifests, too, for what each needs. The categories
    of `repository` and `media_type` are known once computed, and then are those that occur.

    Nothing is read when the object is made. When the first frame is asked for, repositories' directories are
    listed to find out how to divide them: one LIST for each, level by level, until there are four times as
    many as partitions. All else is read in the workers when a frame is computed, and anew each time unless it
    is persisted; compute several by one ``dask.compute``, and nothing is read twice. Those by digest cost a
    LIST for each of the 256 directories of blobs, and for each thousand blobs in one; each manifest and each
    configuration is read once, by one worker.

    Unlike a :class:`~regfs.catalog.Catalog` it asks for nothing a second time: what a registry writes
    meanwhile may be seen in one part and not yet in another.

    Parameters
    ----------
    fs : AbstractFileSystem, str, storage driver or Catalog
        What to read through, or the URL of it. It travels to the workers, so it has to pickle; a filesystem
        of regfs takes its parameters along, and not the credentials of AWS' chain, of which each worker finds
        its own.
    npartitions : int
        Partitions of each frame, 1 to 256. Fewer where there are fewer directories of repositories.
    storage_options : mapping, optional
        Of the URL's filesystem.

    Raises
    ------
    ImportError
        When it is imported: dask, pandas or pyarrow is not there.
    TypeError, ValueError
        `fs` or `npartitions` are none.
    regfs.NoRegistryError, OSError
        When a frame is asked for, or computed, as of a catalog.

    Warns
    -----
    regfs.MetadataDatabaseWarning
        When the first frame is asked for: the registry keeps its metadata in a database, so that this is not
        all. Costs one HEAD.

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
        """Make a frame, by its name."""
        if name not in CATALOG:
            raise KeyError(f"{name}: no such frame; there are {', '.join(CATALOG)}")
        schema = CATALOG[name]
        if name == "blobs":
            return self._homes(partitions.blobs, schema, self._needs, self._listed)
        if name == "references":
            return self._homes(partitions.references, schema, self._read)
        if name == "manifests":
            return self._homes(partitions.manifests, schema, self._read, self._heads, self._answers)
        parts = [delayed(partitions.table)(name, part, pure=True) for part in self._looks]
        made = dd.from_delayed(parts, meta=_meta(schema), verify_meta=False)
        if name == "repositories":
            stored = self._homes(partitions.stored, STORED, self._needs, self._listed)
            return self._homes(partitions.repositories, schema, made, stored.repartition(npartitions=1))
        return made

    def files(self, name: str, *, every: bool = False, platform: str | None = None) -> Any:
        """Make a frame of the files in one image: :meth:`regfs.frames.Frames.files`, read by the workers.

        Each layer is read by one worker. Their entries, without contents, are then laid over each other by
        one, into one partition: what is in the image depends on all layers.

        Parameters
        ----------
        name : str
            ``REPO``, ``REPO:TAG`` or ``REPO@DIGEST``.
        every : bool
            Each layer's own entries, also those that are not in the image.
        platform : str, optional
            Of an index: which image.

        Raises
        ------
        ValueError, OSError
            As of :meth:`regfs.catalog.Catalog.rootfs`; when it is computed, what is wrong with a layer.
        """
        rootfs = Catalog(self).rootfs(name, platform)
        layers = [
            delayed(partitions.layer)(self.source, digest, number) for number, digest in rootfs.readable
        ]
        part = delayed(partitions.files)(layers, every)
        return dd.from_delayed([part], meta=_meta(FILES), verify_meta=False)

    # -- by repository --------------------------------------------------------------------------------

    @cached_property
    def _looks(self) -> list[Any]:
        """Looks at the repositories' directories, one for each partition."""
        directories = self._directories()
        count = min(self.npartitions, len(directories)) or 1
        groups = [[item for several in directories[at::count] for item in several] for at in range(count)]
        pending = delayed(Source.uploads)(self.source)
        everywhere = [name for group in groups for name in group]
        return [
            delayed(partitions.look)(self.source, group, None if at else everywhere, pending)
            for at, group in enumerate(groups)
        ]

    def _directories(self) -> list[tuple[str, ...]]:
        """Divide the repositories' directory: several for what belongs to one repository."""
        done: list[tuple[str, ...]] = []
        in_use = database_in_use(self.source)
        warn_readers(self.source, in_use)
        waiting: Sequence[str] = self.source.directories(REPOSITORIES)
        if not in_use and not waiting and not self.source.directories(BLOBS) and not self._anything():
            raise no_registry(self.source)
        while waiting and len(done) + len(waiting) < 4 * self.npartitions:
            below = spread(self.source.directories, waiting)
            owned = [tuple(name for name in names if _own(name)) for names in below]
            done += [names for names in owned if names]
            waiting = [name for names in below for name in names if not _own(name)]
        return done + [(item,) for item in waiting]

    def _anything(self) -> bool:
        """Return whether there is anything that a catalog would list: an unknown file, a pending upload."""
        return any(map(len, self.source.pages(ROOT))) or bool(self.source.uploads())

    # -- by digest ------------------------------------------------------------------------------------

    @cached_property
    def _bounds(self) -> list[int]:
        """The first two digits of each partition's first digest, and the end."""
        return [at * HEXES // self.npartitions for at in range(self.npartitions + 1)]

    @cached_property
    def _divisions(self) -> tuple[str, ...]:
        return (_LEAST, *(f"{COMMON}:{first:02x}" for first in self._bounds[1:-1]), _MOST)

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
        parts = [delayed(partitions.heads)(part) for part in self._looks]
        return self._sent(dd.from_delayed(parts, meta=_meta(HEADS), verify_meta=False))

    @cached_property
    def _read(self) -> Any:
        return self._homes(partitions.read, READ, self._heads, self._listed, source=self.source)

    @cached_property
    def _needs(self) -> Any:
        return self._sent(self._homes(partitions.needs, NEEDS, self._read, self._heads))

    @cached_property
    def _answers(self) -> Any:
        questions = self._sent(self._homes(partitions.questions, QUESTIONS, self._read))
        answers = self._homes(
            partitions.answers, ANSWERS, questions, self._listed, self._read, source=self.source
        )
        return self._sent(dd.concat([answers, self._homes(partitions.told, ANSWERS, self._read)]))

    def _sent(self, travelling: Any) -> Any:
        """Send rows to the homes of their digests."""
        return travelling.set_index("digest", divisions=self._divisions)

    def _homes(
        self, function: Callable[..., pd.DataFrame], schema: Schema, *frames: Any, **others: Any
    ) -> Any:
        """Do something at each home, with what is there of some frames."""
        meta = _meta(schema)
        if schema is READ:
            meta = meta.set_index("digest")
        first, *more = frames
        # Enforced, the metadata would stand for every partition that is empty, with a category "unknown".
        return first.map_partitions(
            function, *more, meta=meta, align_dataframes=False, enforce_metadata=False, **others
        )


def _own(directory: str) -> bool:
    """Return whether a directory is a repository's own, and does not hold others."""
    return directory.rpartition("/")[2].startswith("_")


def _meta(schema: Schema) -> pd.DataFrame:
    """Make an empty frame; categories that are not the same in every registry are unknown."""
    unknown = [column.name for column in schema.columns if column.dtype == CATEGORY and not column.categories]
    empty: pd.DataFrame = clear_known_categories(frame(schema, ()), cols=unknown)
    return empty
