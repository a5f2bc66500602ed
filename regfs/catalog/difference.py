"""How two images are read, to be compared by :mod:`regfs.catalog.compare`.

The layers that both begin with are the same files, so they are read only where a layer above them adds, hides
or removes something in one image alone, and then only what that concerns is hashed. Each layer streams by;
what is kept is the entries, the digests of files, and copies of packages' databases on disk.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import IO

from regfs.catalog.compare import (
    FileState,
    ImageDifference,
    base_length,
    compare_configs,
    compare_files,
    compare_layers,
)
from regfs.catalog.images import Image, images_of
from regfs.catalog.inspection import configuration
from regfs.catalog.layers import Content, Entry, LayerError, Overlay, Placement, read_members
from regfs.catalog.lookup import Lookup
from regfs.catalog.packages import (
    LARGEST,
    DatabaseError,
    Package,
    compare_packages,
    manager_of,
    read_database,
)
from regfs.catalog.scan import Progress
from regfs.catalog.source import Source
from regfs.layout import BlobData, Digest

_BLOCK = 2**20


class ChoiceError(ValueError):
    """It is not clear, or not possible, which images of two indexes are to be compared."""


@dataclass(frozen=True)
class Named:
    """An image as it is asked for.

    Attributes
    ----------
    lookup : Lookup
        The registry that it is in.
    name : str
        What errors call it.
    digest : Digest
        The manifest of an image or an index.
    """

    lookup: Lookup
    name: str
    digest: Digest


def compare_images(
    old: Named,
    new: Named,
    platform: str | None = None,
    *,
    files: bool = True,
    progress: Progress | None = None,
) -> ImageDifference:
    """Compare two images, of one registry or of two.

    Parameters
    ----------
    old, new : Named
        The images; an index stands for its image of the platform.
    platform : str, optional
        As "linux/arm64"; by default the only one that both have, or each one's only image.
    files : bool
        Compare files and packages, for which layers are read.
    progress : callable, optional
        ``progress(stage, done, total)``, as of a scan.

    Raises
    ------
    ChoiceError
        There is no image of the platform, or there are several to choose from.
    LayerError
        A layer is missing or damaged, or cannot be read here.
    OSError
        A read failed.
    """
    before, after = _choose(old, new, platform)
    configs = compare_configs(
        configuration(old.lookup, before.manifest),
        configuration(new.lookup, after.manifest),
        (before.platform, after.platform),
        (_environment(old.lookup, before), _environment(new.lookup, after)),
    )
    layers = compare_layers(before.layers, after.layers)
    same = before.platform if before.platform == after.platform else ""
    if not files:
        return ImageDifference(before.digest, after.digest, same, layers, configs, None, None)
    with tempfile.TemporaryDirectory(prefix="regfs-diff-") as directory:
        sides = _Side(old.lookup.source, before), _Side(new.lookup.source, after)
        contents = _Contents(*sides, directory, progress or (lambda *_: None))
        contents.read()
        changes = compare_files(*contents.states())
        packages, problems = contents.packages()
    return ImageDifference(
        before.digest,
        after.digest,
        same,
        layers,
        configs,
        changes,
        compare_packages(*packages),
        (*contents.absent, *problems),
    )


# -- which images ----------------------------------------------------------------------------------------


def _choose(old: Named, new: Named, platform: str | None) -> tuple[Image, Image]:
    offered = [_by_platform(old), _by_platform(new)]
    if platform is None and any(len(images) > 1 for images in offered):
        common = offered[0].keys() & offered[1].keys() - {""}
        names = [", ".join(sorted(images)) for images in offered]
        where = f"{old.name} has images for {names[0]}; {new.name} for {names[1]}"
        if not common:
            raise ChoiceError(f"{where}: they have no platform in common")
        if len(common) > 1:
            raise ChoiceError(f"{where}: choose with --platform")
        (platform,) = common
    for named, images in zip((old, new), offered, strict=True):
        if platform is not None and platform not in images:
            platforms = ", ".join(sorted(image or "an unknown one" for image in images))
            raise ChoiceError(f"{named.name}: has no image for {platform}; there is {platforms}")
    before, after = (
        next(iter(images.values())) if platform is None else images[platform] for images in offered
    )
    return before, after


def _by_platform(named: Named) -> dict[str, Image]:
    """Return the images that a manifest leads to, the first for each platform."""
    read = named.lookup.closure([named.digest])
    images: dict[str, Image] = {}
    for image in images_of(named.digest, read):
        if image.manifest.manifest and image.manifest.manifest.kind != "artifact":
            images.setdefault(image.platform, image)
    if not images:
        problems = "; ".join(manifest.problem for manifest in read.values() if manifest.problem)
        raise ChoiceError(f"{named.name}: leads to no image{f': {problems}' if problems else ''}")
    return images


def _environment(lookup: Lookup, image: Image) -> dict[str, str]:
    """Return the environment of an image, to be compared and not to be kept."""
    reference = image.manifest.manifest.config if image.manifest.manifest else None
    if reference is None:
        return {}
    content = lookup.documents([reference.digest], "configurations")[reference.digest]
    try:
        document = json.loads(content) if isinstance(content, bytes) else {}
    except (ValueError, RecursionError):  # which `configuration` has as its problem
        return {}
    runtime = document.get("config") if isinstance(document, dict) else None
    variables = runtime.get("Env") if isinstance(runtime, dict) else None
    pairs = (str(variable).partition("=") for variable in variables) if isinstance(variables, list) else ()
    return {name: value for name, _, value in pairs}


# -- what is in them -------------------------------------------------------------------------------------


@dataclass
class _Side:
    """An image as far as its layers have been read; `hashes` and local `copies` are by an entry's key."""

    source: Source
    image: Image
    overlay: Overlay = field(default_factory=Overlay)
    hashes: dict[tuple[int, int], bytes] = field(default_factory=dict)
    copies: dict[tuple[int, int], str] = field(default_factory=dict)
    shape: set[tuple[str, bool]] = field(default_factory=set)
    removes: bool = False

    def add(self, entries: Sequence[Entry]) -> None:
        self.overlay.add(entries)

    def has_directory(self, path: str) -> bool:
        return path in self.overlay.directories

    def state(self, entry: Entry) -> FileState:
        """Return what is compared of an entry; a hard link is the file that it leads to."""
        origin = self.overlay.content(entry)
        if entry.kind == "hardlink" and origin is not None and origin.key in self.hashes:
            content = self.hashes[origin.key]
            return FileState("file", origin.size, entry.mode, entry.owner, "", content)
        content = self.hashes.get(entry.key, b"")
        return FileState(entry.kind, entry.size, entry.mode, entry.owner, entry.target, content)


class _Contents:
    """The files of two images, read as far as they may differ."""

    def __init__(self, old: _Side, new: _Side, directory: str, progress: Progress) -> None:
        self._old, self._new = old, new
        self._sides = self._old, self._new
        self._base = base_length(old.image.layers, new.image.layers)
        self._directory = directory
        self._progress = progress
        self._large: list[str] = []
        self.absent: list[str] = []

    def read(self) -> None:
        """Read the layers above the base, and the base if it matters."""
        for side in self._sides:
            for number in range(len(side.image.layers), self._base, -1):
                entries = self._read(side, number, [side], lambda _: True)
                side.shape |= {(entry.path, entry.kind == "directory") for entry in entries}
                side.removes |= any(entry.state == "whiteout" for entry in entries)
        alike = self._old.shape == self._new.shape and not any(side.removes for side in self._sides)
        for number in range(0 if alike else self._base, 0, -1):
            self._read(self._old, number, self._sides, self._hidden_in_one)

    def _hidden_in_one(self, entry: Entry) -> bool:
        return self._old.overlay.hides(entry) != self._new.overlay.hides(entry)

    def _read(
        self, origin: _Side, number: int, sides: Iterable[_Side], wants: Callable[[Entry], bool]
    ) -> list[Entry]:
        """Read a layer for one image or for both; `wants` says of which files the content counts."""
        layer = origin.image.layers[number - 1]
        if layer.foreign and not origin.source.find(BlobData(layer.digest).path):
            self.absent.append(f"{layer.digest}: is not distributed with the image, so it is not compared")
            return []
        if layer.media_type.endswith("+encrypted"):
            raise LayerError(f"{layer.digest}: layer {number} is encrypted")
        placement = Placement()
        entries: list[Entry] = []
        for member in read_members(origin.source, layer.digest, number):
            entry = placement.place(member.entry)
            if len(entries) % 500 == 0:
                self._progress(f"layer {number}", len(entries), None)
            entries.append(entry)
            if entry.kind == "file" and not entry.state and wants(entry):
                digest, copy = self._take(entry, member.open())
                for side in sides:
                    side.hashes[entry.key] = digest
                    if copy:
                        side.copies[entry.key] = copy
        for side in sides:
            side.add(entries)
        return entries

    def _take(self, entry: Entry, content: Content) -> tuple[bytes, str]:
        """Hash a file, and copy it if it is a database of packages."""
        copy = ""
        file: IO[bytes] | None = None
        if manager_of(entry.path):
            if entry.size > LARGEST:
                self._large.append(
                    f"{entry.path}: has {entry.size} bytes, more than is read here ({LARGEST})"
                )
            else:
                file = tempfile.NamedTemporaryFile(dir=self._directory, delete=False)  # noqa: SIM115 - below
                copy = file.name
        digest = hashlib.sha256()
        try:
            while data := content.read(_BLOCK):
                digest.update(data)
                if file:
                    file.write(data)
        finally:
            if file:
                file.close()
        return digest.digest(), copy

    def states(self) -> tuple[dict[str, FileState], dict[str, FileState]]:
        """Return the files that may differ, by path."""
        old, new = (side.overlay.visible for side in self._sides)
        before, after = {}, {}
        for path in old.keys() | new.keys():
            first, second = old.get(path), new.get(path)
            if first and second and first.layer <= self._base and first.key == second.key:
                continue
            # A directory needs no entry of its own.
            if first is None and self._old.has_directory(path) and second and second.kind == "directory":
                continue
            if second is None and self._new.has_directory(path) and first and first.kind == "directory":
                continue
            if first:
                before[path] = self._old.state(first)
            if second:
                after[path] = self._new.state(second)
        return before, after

    def packages(self) -> tuple[tuple[list[Package], list[Package]], list[str]]:
        """Return the packages of the databases that differ, and what is wrong with others."""
        problems = list(self._large)
        both: tuple[list[Package], list[Package]] = ([], [])
        for side, packages in zip(self._sides, both, strict=True):
            for path, entry in side.overlay.visible.items():
                copy = side.copies.get(entry.key)
                if copy is None or manager_of(path) is None:
                    continue
                if os.path.getsize(copy) == 0:  # as images have one that has lost its content on purpose
                    continue
                try:
                    packages += read_database(path, copy)
                except DatabaseError as exc:
                    problems.append(str(exc))
        return both, sorted(set(problems))
