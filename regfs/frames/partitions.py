"""The tasks of dask's workers, each for one partition, in plain pandas.

Each digest has a home, the partition of its first two hexadecimal digits. The home's worker lists the blobs
and reads the manifests among them, and the other partitions send it their questions about the digest.
:mod:`regfs.frames.distributed` connects the partitions.

Besides the tables, these frames are exchanged between partitions. Each is indexed by the digest whose home
receives it, except `stored`, which has no index:

=========  ===========================================================================================
listed     The blobs of a home: size, modified.
heads      The repositories and tags of a manifest: repository, and tag (missing for a revision).
read       The manifests of a home: size, and data (missing if it is too large).
questions  The questions of a manifest about another blob: asking (the manifest) and relation ("config",
           "subject", or "size" for a layer whose size the manifest does not state).
answers    The answers for a manifest: platform, stated (the platform in an index), created, size (to be
           added), role ("child" of an index, "referrer" of an existing subject).
needs      The repositories that need a blob, and NA for each manifest that refers to it: repository.
stored     The bytes of a home's blobs that each repository needs: repository, bytes.
=========  ===========================================================================================
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pandas as pd

from regfs.catalog import Catalog
from regfs.catalog.layers import merged, read_layer
from regfs.catalog.manifest import LARGEST, ImageConfig, ManifestError, parse_config
from regfs.catalog.scan import batches, scan_part, too_large, understand
from regfs.catalog.snapshot import File, Repository, Snapshot, TagFiles
from regfs.frames import rows
from regfs.frames.making import frame
from regfs.frames.schemas import CATALOG, COUNT, FILES, TEXT, TIME, Column, Schema
from regfs.layout import BLOBS, BlobData, Digest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from regfs.catalog.layers import Entry
    from regfs.catalog.manifest import Reference
    from regfs.catalog.records import ManifestRecord
    from regfs.catalog.snapshot import ReadManifest
    from regfs.catalog.source import Source

HEXES = 256
"""The number of directories over which a registry spreads the blobs of an algorithm."""
COMMON = "sha256"
"""The algorithm of nearly all digests."""
_NEVER = pd.Timestamp(0, tz="UTC").to_pydatetime()


def _exchanged(name: str, *columns: tuple[str, str]) -> Schema:
    return Schema(
        name, "", tuple(Column(column, dtype, "") for column, dtype in (("digest", TEXT), *columns))
    )


LISTED = _exchanged("listed", ("size", COUNT), ("modified", TIME))
HEADS = _exchanged("heads", ("repository", TEXT), ("tag", TEXT))
READ = _exchanged("read", ("size", COUNT), ("data", "object"))
QUESTIONS = _exchanged("questions", ("asking", TEXT), ("relation", TEXT))
ANSWERS = _exchanged(
    "answers", ("platform", TEXT), ("stated", TEXT), ("created", TIME), ("size", COUNT), ("role", TEXT)
)
NEEDS = _exchanged("needs", ("repository", TEXT))
STORED = Schema("stored", "", (Column("repository", TEXT, ""), Column("bytes", COUNT, "")))


# -- by repository ---------------------------------------------------------------------------------------


def scan_repositories(
    source: Source,
    directories: Sequence[str],
    all_directories: Sequence[str] | None,
    pending: Iterable[Any] | None,
) -> Snapshot:
    """Scan the directories of some repositories.

    Parameters
    ----------
    source : Source
        The registry's storage.
    directories : sequence of str
        The directories to list.
    all_directories : sequence of str, optional
        The directories of all partitions, given to one partition only: it also counts the pending uploads
        outside of these.
    pending : iterable of PendingUpload, optional
        The pending multipart uploads of the whole registry; None if they are unknown.
    """
    own = tuple(f"{path}/" for path in directories)
    scanned = None if all_directories is None else tuple(f"{path}/" for path in all_directories)
    uploads = [
        upload
        for upload in pending or ()
        if upload.path.startswith(own) or (scanned is not None and not upload.path.startswith(scanned))
    ]
    return scan_part(source, directories, None if pending is None else uploads)


def table(name: str, snapshot: Snapshot) -> pd.DataFrame:
    """Create a table from the scan of some repositories."""
    return frame(
        CATALOG[name],
        rows.CATALOG[name](_catalog(snapshot)),
        {"repository": sorted(snapshot.repositories)},
    )


def repositories(incomplete: pd.DataFrame, stored: pd.DataFrame) -> pd.DataFrame:
    """Add the stored bytes of all homes to the table of repositories."""
    sizes = stored.groupby("repository")["bytes"].sum().to_dict()
    column = [sizes.get(name, 0) for name in incomplete["repository"]]
    # Without an explicit dtype, an empty column would have another one.
    stored_bytes = pd.Series(column, index=incomplete.index, dtype="int64")
    completed: pd.DataFrame = incomplete.assign(stored_bytes=stored_bytes)
    return completed


def heads(snapshot: Snapshot) -> pd.DataFrame:
    """Return the manifests that each repository has as revisions or tags."""
    return frame(
        HEADS,
        [
            *(
                (digest, repository.name, None)
                for repository in snapshot.repositories.values()
                for digest in repository.revisions
            ),
            *(
                (files.target, repository.name, tag)
                for repository in snapshot.repositories.values()
                for tag, files in repository.tags.items()
                if files.target
            ),
        ],
    )


# -- in an image -----------------------------------------------------------------------------------------


def layer(source: Source, digest: Digest, number: int) -> list[Entry]:
    """Read the entries of one layer."""
    return list(read_layer(source, digest, number))


def files(layers: Sequence[Sequence[Entry]], every: bool) -> pd.DataFrame:
    """Create the table of an image's files from the entries of its layers, lowest first."""
    return frame(FILES, map(rows.file, merged([iter(entries) for entries in layers], every=every)))


# -- at a digest's home ----------------------------------------------------------------------------------


def listed(source: Source, first: int, last: int) -> pd.DataFrame:
    """List the blobs whose SHA-256 begins with a byte from `first` to `last`.

    The first home also has the blobs of the algorithms before sha256 in alphabetical order, the last home
    those of the algorithms after it.
    """
    directories = [f"{BLOBS}/{COMMON}/{byte:02x}" for byte in range(first, last + 1)]
    if first == 0 or last == HEXES - 1:
        for path in source.directories(BLOBS):
            name = path.rpartition("/")[2]
            if (first == 0 and name < COMMON) or (last == HEXES - 1 and name > COMMON):
                directories.append(path)
    blobs = scan_part(source, directories).blobs
    return _indexed(frame(LISTED, ((digest, *file) for digest, file in blobs.items())))


def read(heads: pd.DataFrame, listed: pd.DataFrame, source: Source) -> pd.DataFrame:
    """Read the manifests of a home."""
    manifests = listed["size"].loc[listed.index.isin(heads.index)]
    sizes: dict[str, int] = {str(digest): int(size) for digest, size in manifests.items()}
    rows: list[tuple[str, int, bytes | None]] = []
    rows += ((digest, size, None) for digest, size in sizes.items() if size > LARGEST)
    small = {digest: size for digest, size in sizes.items() if size <= LARGEST}
    rows += ((digest, len(content), content) for digest, content in _contents(source, small))
    return _indexed(frame(READ, rows))


def references(read: pd.DataFrame) -> pd.DataFrame:
    """Create the table of references."""
    return frame(CATALOG["references"], rows.CATALOG["references"](_catalog(_rebuilt(read))))


def questions(read: pd.DataFrame) -> pd.DataFrame:
    """Return the questions of manifests: about configurations, subjects, and sizes that they do not state."""
    rows: list[tuple[Digest, Digest, str]] = []
    for digest, manifest in _rebuilt(read).manifests.items():
        for reference in _kept(manifest):
            config = (
                reference.relation == "config"
                and manifest.manifest is not None
                and manifest.manifest.kind == "image"
            )
            if config or reference.size is None:
                rows.append((reference.digest, digest, "config" if config else "size"))
        if manifest.manifest and manifest.manifest.subject:
            rows.append((manifest.manifest.subject, digest, "subject"))
    return frame(QUESTIONS, rows)


def statements(read: pd.DataFrame) -> pd.DataFrame:
    """Return what indexes state about their children, as answers without a question."""
    return frame(
        ANSWERS,
        (
            (reference.digest, None, reference.platform or None, None, 0, "child")
            for manifest in _rebuilt(read).manifests.values()
            for reference in _kept(manifest)
            if reference.relation == "manifest"
        ),
    )


def answers(
    questions: pd.DataFrame, listed: pd.DataFrame, read: pd.DataFrame, source: Source
) -> pd.DataFrame:
    """Answer the questions of manifests."""
    sizes: dict[str, int] = {str(digest): int(size) for digest, size in listed["size"].items()}
    wanted = {
        digest
        for digest in questions.index[questions["relation"] == "config"]
        if sizes.get(digest, LARGEST + 1) <= LARGEST
    }
    configs: dict[str, ImageConfig] = {}
    for digest, content in _contents(source, {digest: sizes[digest] for digest in sorted(wanted)}):
        try:
            configs[digest] = parse_config(content)
        except ManifestError:
            continue  # as without a configuration; `findings` reports the damage
    empty = ImageConfig()
    rows: list[tuple[Any, ...]] = []
    manifests = set(read.index)
    for digest, asking, relation in questions.itertuples():
        if relation == "config":
            config = configs.get(digest, empty)
            rows.append((asking, config.platform, None, config.created, 0, None))
        elif relation == "size":
            rows.append((asking, None, None, None, sizes.get(digest, 0), None))
        elif digest in manifests:
            rows.append((asking, None, None, None, 0, "referrer"))
    return frame(ANSWERS, rows)


def manifests(read: pd.DataFrame, heads: pd.DataFrame, answers: pd.DataFrame) -> pd.DataFrame:
    """Create the table of manifests."""
    platforms = answers["platform"].dropna().to_dict()
    stated = answers["stated"].dropna().groupby(level=0).max().to_dict()
    created = answers["created"].dropna().to_dict()
    sizes = answers["size"].groupby(level=0).sum().to_dict()
    roles = answers["role"].dropna().groupby(level=0).min().to_dict()  # a child before a referrer

    def completed(record: ManifestRecord) -> ManifestRecord:
        name = str(record.digest)
        moment = created.get(name)
        return replace(
            record,
            role=record.role if record.role == "tagged" else min(roles.get(name, record.role), record.role),
            platform=platforms.get(name) or stated.get(name, ""),
            created=moment.to_pydatetime() if moment else None,
            content_size=record.content_size + int(sizes.get(name, 0)),
        )

    catalog = _catalog(_rebuilt(read, heads))
    return frame(CATALOG["manifests"], (rows.manifest(completed(manifest)) for manifest in catalog.manifests))


def needs(read: pd.DataFrame, heads: pd.DataFrame) -> pd.DataFrame:
    """Return the blobs that each repository needs and that each manifest refers to."""
    snapshot = _rebuilt(read, heads)
    referring = (
        (digest, None)
        for manifest in snapshot.manifests.values()
        if manifest.manifest
        for digest in {reference.digest for reference in manifest.manifest.references}
    )
    needing = ((digest, name) for digest, names in _catalog(snapshot).needed.items() for name in names)
    return frame(NEEDS, [*referring, *needing])


def stored(needs: pd.DataFrame, listed: pd.DataFrame) -> pd.DataFrame:
    """Return the bytes that each repository needs of a home's blobs."""
    needed = needs.dropna().reset_index().drop_duplicates()  # several homes may report the same need
    sized = needed.merge(listed["size"], left_on="digest", right_index=True)
    return frame(STORED, sized.groupby("repository")["size"].sum().items())


def blobs(needs: pd.DataFrame, listed: pd.DataFrame) -> pd.DataFrame:
    """Create the table of blobs."""
    by_digest = needs["repository"].groupby(level=0)
    manifests = by_digest.size() - by_digest.count()
    repositories = by_digest.nunique()  # several homes may report the same need
    counted = listed.assign(
        manifests=manifests.reindex(listed.index, fill_value=0).astype("int64"),
        repositories=repositories.reindex(listed.index, fill_value=0).astype("int64"),
    )
    blobs: pd.DataFrame = counted.sort_index().reset_index()[CATALOG["blobs"].names]
    return blobs


# -- helpers ---------------------------------------------------------------------------------------------


def _indexed(table: pd.DataFrame) -> pd.DataFrame:
    by_digest: pd.DataFrame = table.set_index("digest").sort_index()
    return by_digest


def _catalog(snapshot: Snapshot) -> Catalog:
    catalog = object.__new__(Catalog)  # only to create records, without a source to read
    catalog.snapshot = snapshot
    return catalog


def _contents(source: Source, sizes: Mapping[str, int]) -> Iterator[tuple[str, bytes]]:
    """Yield the contents of blobs by digest; blobs that have vanished are left out."""
    paths = {BlobData(Digest.parse(digest)).path: digest for digest in sizes}
    for batch in batches(paths, lambda path: sizes[paths[path]]):
        for path, content in zip(batch, source.read(batch), strict=True):
            if isinstance(content, bytes):
                yield paths[path], content


def _rebuilt(read: pd.DataFrame, heads: pd.DataFrame | None = None) -> Snapshot:
    """Rebuild a snapshot from the manifests that were read and their repositories and tags."""
    snapshot = Snapshot(_NEVER, _NEVER)
    for digest, size, data in read.itertuples():
        manifest: ReadManifest = understand(data) if data is not None else too_large(size)
        snapshot.manifests[Digest.parse(digest)] = manifest
    for digest, name, tag in heads.itertuples() if heads is not None else ():
        repository = snapshot.repositories.setdefault(name, Repository(name))
        target = Digest.parse(digest)
        if isinstance(tag, str):
            repository.tags[tag] = TagFiles(target=target)
        else:
            repository.revisions[target] = File(0, _NEVER)
    return snapshot


def _kept(manifest: ReadManifest) -> Iterator[Reference]:
    if manifest.manifest:
        yield from (
            reference for reference in manifest.manifest.references if reference.relation != "subject"
        )
