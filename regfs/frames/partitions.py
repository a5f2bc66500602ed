"""What a worker does: list a part of the bucket, read a part of the manifests, look a part up.

Each digest has a home, the partition of its first two hexadecimal digits. There the blobs are listed and the
manifests among them read; what somebody elsewhere has to know of a digest is asked there. Here is what
happens within one partition, in plain pandas; :mod:`regfs.frames.distributed` defines how the partitions hang
together.

Beside the tables themselves these frames travel, each indexed by a digest whose home they go to:

=========  ===========================================================================================
listed     A home's blobs: size, modified.
heads      Who has a manifest: repository, and the tag if it is one that does (else it is a revision).
read       A home's manifests: size, and data, which is missing where it is too large.
questions  What a manifest has to know of another blob: asking, and what that is to it ("config", "size" of
           a layer, "subject").
answers    What is to be known of a manifest: platform, told (by an index), created, size (to be added), role
           ("child" of an index, "referrer" of a subject that is there).
needs      Who needs a blob: a repository; NA for each manifest that refers to it.
stored     What repositories need of a home's blobs: repository, bytes. Indexed by nothing.
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
"""Directories that a registry spreads an algorithm's blobs over."""
COMMON = "sha256"
"""The algorithm of nearly all digests."""
_NEVER = pd.Timestamp(0, tz="UTC").to_pydatetime()


def _travelling(name: str, *columns: tuple[str, str]) -> Schema:
    return Schema(
        name, "", tuple(Column(column, dtype, "") for column, dtype in (("digest", TEXT), *columns))
    )


LISTED = _travelling("listed", ("size", COUNT), ("modified", TIME))
HEADS = _travelling("heads", ("repository", TEXT), ("tag", TEXT))
READ = _travelling("read", ("size", COUNT), ("data", "object"))
QUESTIONS = _travelling("questions", ("asking", TEXT), ("what", TEXT))
ANSWERS = _travelling(
    "answers", ("platform", TEXT), ("told", TEXT), ("created", TIME), ("size", COUNT), ("role", TEXT)
)
NEEDS = _travelling("needs", ("repository", TEXT))
STORED = Schema("stored", "", (Column("repository", TEXT, ""), Column("bytes", COUNT, "")))


# -- by repository ---------------------------------------------------------------------------------------


def look(
    source: Source,
    directories: Sequence[str],
    everywhere: Sequence[str] | None,
    pending: Iterable[Any] | None,
) -> Snapshot:
    """Scan the directories of some repositories.

    Parameters
    ----------
    source : Source
        Where the registry is.
    directories : sequence of str
        What to list.
    everywhere : sequence of str, optional
        All directories that anybody lists. Whoever is given them counts the pending uploads outside of them.
    pending : iterable of PendingUpload, optional
        The pending multipart uploads of the whole registry; None: unknown.
    """
    own = tuple(f"{path}/" for path in directories)
    others = None if everywhere is None else tuple(f"{path}/" for path in everywhere)
    own_uploads = [
        upload
        for upload in pending or ()
        if upload.path.startswith(own) or (others is not None and not upload.path.startswith(others))
    ]
    return scan_part(source, directories, None if pending is None else own_uploads)


def table(name: str, snapshot: Snapshot) -> pd.DataFrame:
    """Make a table of what a look at repositories found."""
    return frame(
        CATALOG[name],
        rows.CATALOG[name](_catalog(snapshot)),
        {"repository": sorted(snapshot.repositories)},
    )


def repositories(made: pd.DataFrame, stored: pd.DataFrame) -> pd.DataFrame:
    """Complete the table of repositories by what they need of all homes' blobs."""
    sizes = stored.groupby("repository")["bytes"].sum().to_dict()
    column = [sizes.get(name, 0) for name in made["repository"]]
    # The dtype of a column without a row would be another.
    stored_bytes = pd.Series(column, index=made.index, dtype="int64")
    completed: pd.DataFrame = made.assign(stored_bytes=stored_bytes)
    return completed


def heads(snapshot: Snapshot) -> pd.DataFrame:
    """Return which repositories and tags have which manifests."""
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
    """Make the table of an image's files, of the entries of its layers, lowest first."""
    return frame(FILES, map(rows.file, merged([iter(entries) for entries in layers], every=every)))


# -- at a digest's home ----------------------------------------------------------------------------------


def listed(source: Source, first: int, last: int) -> pd.DataFrame:
    """List the blobs whose SHA-256 begins with the bytes from `first` to `last`.

    The first home has those of the algorithms before that in alphabetical order, the last those behind.
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
    """Read the manifests."""
    sizes_found = listed["size"].loc[listed.index.isin(heads.index)]
    sizes: dict[str, int] = {str(digest): int(size) for digest, size in sizes_found.items()}
    rows: list[tuple[str, int, bytes | None]] = []
    rows += ((digest, size, None) for digest, size in sizes.items() if size > LARGEST)
    small = {digest: size for digest, size in sizes.items() if size <= LARGEST}
    rows += ((digest, len(content), content) for digest, content in _contents(source, small))
    return _indexed(frame(READ, rows))


def references(read: pd.DataFrame) -> pd.DataFrame:
    """Make the table of references."""
    return frame(CATALOG["references"], rows.CATALOG["references"](_catalog(_rebuilt(read))))


def questions(read: pd.DataFrame) -> pd.DataFrame:
    """Return what manifests need of other blobs: configurations, and sizes that they do not state."""
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


def told(read: pd.DataFrame) -> pd.DataFrame:
    """Return what indexes state of their children, as answers without a question."""
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
    """Answer what manifests have to know."""
    sizes: dict[str, int] = {str(digest): int(size) for digest, size in listed["size"].items()}
    wanted = {
        digest
        for digest in questions.index[questions["what"] == "config"]
        if sizes.get(digest, LARGEST + 1) <= LARGEST
    }
    configs: dict[str, ImageConfig] = {}
    for digest, content in _contents(source, {digest: sizes[digest] for digest in sorted(wanted)}):
        try:
            configs[digest] = parse_config(content)
        except ManifestError:
            continue  # as without a configuration; `findings` reports that it is damaged
    nothing = ImageConfig()
    rows: list[tuple[Any, ...]] = []
    manifests = set(read.index)
    for digest, asking, what in questions.itertuples():
        if what == "config":
            config = configs.get(digest, nothing)
            rows.append((asking, config.platform, None, config.created, 0, None))
        elif what == "size":
            rows.append((asking, None, None, None, sizes.get(digest, 0), None))
        elif digest in manifests:
            rows.append((asking, None, None, None, 0, "referrer"))
    return frame(ANSWERS, rows)


def manifests(read: pd.DataFrame, heads: pd.DataFrame, answers: pd.DataFrame) -> pd.DataFrame:
    """Make the table of manifests."""
    platforms = answers["platform"].dropna().to_dict()
    stated = answers["told"].dropna().groupby(level=0).max().to_dict()
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
    """Return which repositories and manifests need which blobs."""
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
    """Sum up what each repository needs of the blobs here."""
    needed = needs.dropna().reset_index().drop_duplicates()  # several homes may name the same
    sized = needed.merge(listed["size"], left_on="digest", right_index=True)
    return frame(STORED, sized.groupby("repository")["size"].sum().items())


def blobs(needs: pd.DataFrame, listed: pd.DataFrame) -> pd.DataFrame:
    """Make the table of blobs."""
    by_digest = needs["repository"].groupby(level=0)
    manifests = by_digest.size() - by_digest.count()
    repositories = by_digest.nunique()  # which several homes may name
    counted = listed.assign(
        manifests=manifests.reindex(listed.index, fill_value=0).astype("int64"),
        repositories=repositories.reindex(listed.index, fill_value=0).astype("int64"),
    )
    made: pd.DataFrame = counted.sort_index().reset_index()[CATALOG["blobs"].names]
    return made


# -- inside ----------------------------------------------------------------------------------------------


def _indexed(made: pd.DataFrame) -> pd.DataFrame:
    by_digest: pd.DataFrame = made.set_index("digest").sort_index()
    return by_digest


def _catalog(snapshot: Snapshot) -> Catalog:
    catalog = object.__new__(Catalog)  # for the records that it makes: there is nothing to read
    catalog.snapshot = snapshot
    return catalog


def _contents(source: Source, sizes: Mapping[str, int]) -> Iterator[tuple[str, bytes]]:
    """Read blobs by digest; what is gone by now is left out."""
    paths = {BlobData(Digest.parse(digest)).path: digest for digest in sizes}
    for batch in batches(paths, lambda path: sizes[paths[path]]):
        for path, content in zip(batch, source.read(batch), strict=True):
            if isinstance(content, bytes):
                yield paths[path], content


def _rebuilt(read: pd.DataFrame, heads: pd.DataFrame | None = None) -> Snapshot:
    """Make a look's result of what was read here."""
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
