"""What a worker does: list a part of the bucket, read a part of the manifests, look a part up.

Each digest has a home, the partition of its first two hexadecimal digits. There the blobs are listed and the
manifests among them read; what somebody elsewhere has to know of a digest is asked there. Here is what
happens within one partition, in plain pandas; :mod:`regfs.frames.distributed` tells how the partitions hang
together.

Beside the tables themselves these frames travel, each indexed by a digest whose home they go to:

=========  ===========================================================================================
listed     A home's blobs: size, modified.
heads      Who has a manifest: repository, and whether it is a tag that does (else it is a revision).
read       A home's manifests: size, and data, which is missing where it is too large.
questions  What a manifest has to know of another blob: asking, and whether it is its configuration.
answers    What is to be known of a manifest: platform, told (by an index), created, size (to be added).
needs      Who needs a blob: a repository; NA for each manifest that refers to it.
=========  ===========================================================================================
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pandas as pd

from regfs.catalog import Catalog
from regfs.catalog.manifest import LARGEST, ImageConfig, ManifestError, parse_config
from regfs.catalog.scan import batches, scan_part, too_large, understand
from regfs.catalog.snapshot import File, Repository, Snapshot, TagFiles
from regfs.frames import rows
from regfs.frames.making import frame
from regfs.frames.schemas import CATALOG, COUNT, TEXT, TIME, Column, Schema
from regfs.layout import BLOBS, BlobData, Digest

if TYPE_CHECKING:
    from collections.abc import Mapping

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
HEADS = _travelling("heads", ("repository", TEXT), ("tag", "bool"))
READ = _travelling("read", ("size", COUNT), ("data", "object"))
QUESTIONS = _travelling("questions", ("asking", TEXT), ("config", "bool"))
ANSWERS = _travelling("answers", ("platform", TEXT), ("told", TEXT), ("created", TIME), ("size", COUNT))
NEEDS = _travelling("needs", ("repository", TEXT))


# -- by repository ---------------------------------------------------------------------------------------


def look(
    source: Source,
    directories: Sequence[str],
    everywhere: Sequence[str] | None,
    pending: Iterable[Any] | None,
) -> Snapshot:
    """Look at the directories of some repositories.

    Parameters
    ----------
    source : Source
        Where the registry is.
    directories : sequence of str
        What to list.
    everywhere : sequence of str, optional
        All directories that anybody lists. Whoever is given them counts the pending uploads outside of them.
    pending : iterable of PendingUpload, optional
        The pending multipart uploads of the whole registry; None: nobody knows of any.
    """
    own = tuple(f"{path}/" for path in directories)
    others = None if everywhere is None else tuple(f"{path}/" for path in everywhere)
    ours = [
        one
        for one in pending or ()
        if one.path.startswith(own) or (others is not None and not one.path.startswith(others))
    ]
    return scan_part(source, directories, None if pending is None else ours)


def table(name: str, snapshot: Snapshot) -> pd.DataFrame:
    """Make a table of what a look at repositories found."""
    return frame(
        CATALOG[name],
        rows.CATALOG[name](_catalog(snapshot)),
        {"repository": sorted(snapshot.repositories)},
    )


def heads(snapshot: Snapshot) -> pd.DataFrame:
    """Tell which repositories and tags have which manifests."""
    return frame(
        HEADS,
        [
            *(
                (digest, one.name, False)
                for one in snapshot.repositories.values()
                for digest in one.revisions
            ),
            *(
                (files.target, one.name, True)
                for one in snapshot.repositories.values()
                for files in one.tags.values()
                if files.target
            ),
        ],
    )


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
    found = scan_part(source, directories).blobs
    return _indexed(frame(LISTED, ((digest, *file) for digest, file in found.items())))


def read(heads: pd.DataFrame, listed: pd.DataFrame, source: Source) -> pd.DataFrame:
    """Read the manifests."""
    there = listed["size"].loc[listed.index.isin(heads.index)]
    sizes: dict[str, int] = {str(digest): int(size) for digest, size in there.items()}
    found: list[tuple[str, int, bytes | None]] = []
    found += ((digest, size, None) for digest, size in sizes.items() if size > LARGEST)
    small = {digest: size for digest, size in sizes.items() if size <= LARGEST}
    found += ((digest, len(content), content) for digest, content in _contents(source, small))
    return _indexed(frame(READ, found))


def references(read: pd.DataFrame) -> pd.DataFrame:
    """Make the table of references."""
    return frame(CATALOG["references"], rows.CATALOG["references"](_catalog(_rebuilt(read))))


def questions(read: pd.DataFrame) -> pd.DataFrame:
    """Tell what manifests have to know of other blobs: configurations, and sizes that they do not tell."""
    asked: list[tuple[Digest, Digest, bool]] = []
    for digest, one in _rebuilt(read).manifests.items():
        for reference in _kept(one):
            config = (
                reference.relation == "config" and one.manifest is not None and one.manifest.kind == "image"
            )
            if config or reference.size is None:
                asked.append((reference.digest, digest, config))
    return frame(QUESTIONS, asked)


def told(read: pd.DataFrame) -> pd.DataFrame:
    """Tell what indexes tell of their children: an answer that nobody has asked for."""
    return frame(
        ANSWERS,
        (
            (reference.digest, None, reference.platform, None, 0)
            for one in _rebuilt(read).manifests.values()
            for reference in _kept(one)
            if reference.relation == "manifest" and reference.platform
        ),
    )


def answers(questions: pd.DataFrame, listed: pd.DataFrame, source: Source) -> pd.DataFrame:
    """Answer what manifests have to know."""
    sizes: dict[str, int] = {str(digest): int(size) for digest, size in listed["size"].items()}
    wanted = {
        digest for digest in questions.index[questions["config"]] if sizes.get(digest, LARGEST + 1) <= LARGEST
    }
    configs: dict[str, ImageConfig] = {}
    for digest, content in _contents(source, {digest: sizes[digest] for digest in sorted(wanted)}):
        try:
            configs[digest] = parse_config(content)
        except ManifestError:
            continue  # as without a configuration; that it is damaged, `findings` tells
    nothing = ImageConfig()
    given: list[tuple[Any, ...]] = []
    for digest, asking, config in questions.itertuples():
        if config:
            found = configs.get(digest, nothing)
            given.append((asking, found.platform, None, found.created, 0))
        else:
            given.append((asking, None, None, None, sizes.get(digest, 0)))
    return frame(ANSWERS, given)


def manifests(read: pd.DataFrame, heads: pd.DataFrame, answers: pd.DataFrame) -> pd.DataFrame:
    """Make the table of manifests."""
    platforms = answers["platform"].dropna().to_dict()
    told = answers["told"].dropna().groupby(level=0).max().to_dict()
    created = answers["created"].dropna().to_dict()
    sizes = answers["size"].groupby(level=0).sum().to_dict()

    def completed(one: ManifestRecord) -> ManifestRecord:
        name = str(one.digest)
        moment = created.get(name)
        return replace(
            one,
            platform=platforms.get(name) or told.get(name, ""),
            created=moment.to_pydatetime() if moment else None,
            content_size=one.content_size + int(sizes.get(name, 0)),
        )

    catalog = _catalog(_rebuilt(read, heads))
    return frame(CATALOG["manifests"], (rows.manifest(completed(one)) for one in catalog.manifests))


def needs(read: pd.DataFrame, heads: pd.DataFrame) -> pd.DataFrame:
    """Tell who needs what."""
    snapshot = _rebuilt(read, heads)
    referring = (
        (digest, None)
        for one in snapshot.manifests.values()
        if one.manifest
        for digest in {reference.digest for reference in one.manifest.references}
    )
    needing = ((digest, name) for digest, names in _catalog(snapshot).needed.items() for name in names)
    return frame(NEEDS, [*referring, *needing])


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
    found = Snapshot(_NEVER, _NEVER)
    for digest, size, data in read.itertuples():
        one: ReadManifest = understand(data) if data is not None else too_large(size)
        found.manifests[Digest.parse(digest)] = one
    for digest, name, tag in heads.itertuples() if heads is not None else ():
        repository = found.repositories.setdefault(name, Repository(name))
        target = Digest.parse(digest)
        if tag:
            repository.tags[str(len(repository.tags))] = TagFiles(target=target)
        else:
            repository.revisions[target] = File(0, _NEVER)
    return found


def _kept(one: ReadManifest) -> Iterator[Reference]:
    if one.manifest:
        yield from (reference for reference in one.manifest.references if reference.relation != "subject")
