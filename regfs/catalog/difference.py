"""The reader of two images that :mod:`regfs.catalog.compare` compares.

The layers that both images start with hold the same files. They are read only if a layer above them adds,
hides or removes something in one image alone, and then only the affected files are hashed. Layers are
streamed; only their entries, the digests of files, and copies of package databases on disk are kept.
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
    """No pair of images, or more than one, could be compared."""


@dataclass(frozen=True)
class Named:
    """A resolved name of an image or an index.

    Attributes
    ----------
    lookup : Lookup
        The lookup in its registry.
    name : str
        The name, for error messages.
    digest : Digest
        The digest of the image's or index's manifest.
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
    """Compare two images of one registry or of two registries.

    Parameters
    ----------
    old, new : Named
        The images, or indexes with an image for the platform.
    platform : str, optional
        For example "linux/arm64". By default the only platform that both have, or the only image of each.
    files : bool
        Also compare files and packages, which reads layers.
    progress : callable, optional
        Called as ``progress(stage, done, total)``, as by a scan.

    Raises
    ------
    ChoiceError
        There is no image for the platform, or there are several to choose from.
    LayerError
        A layer is missing or damaged, or its compression is not supported.
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
    common_platform = before.platform if before.platform == after.platform else ""
    if not files:
        return ImageDifference(before.digest, after.digest, common_platform, layers, configs, None, None)
    with tempfile.TemporaryDirectory(prefix="regfs-diff-") as directory:
        sides = _Side(old.lookup.source, before), _Side(new.lookup.source, after)
        contents = _Contents(*sides, directory, progress or (lambda *_: None))
        contents.read()
        changes = compare_files(*contents.states())
        packages, problems = contents.packages()
    return ImageDifference(
        before.digest,
        after.digest,
        common_platform,
        layers,
        configs,
        changes,
        compare_packages(*packages),
        (*contents.absent, *problems),
    )


# -- choice of images ------------------------------------------------------------------------------------


def _choose(old: Named, new: Named, platform: str | None) -> tuple[Image, Image]:
    offered = [_by_platform(old), _by_platform(new)]
    if platform is None and any(len(images) > 1 for images in offered):
        common = offered[0].keys() & offered[1].keys() - {""}
        names = [", ".join(sorted(images)) for images in offered]
        choices = f"{old.name} has images for {names[0]}; {new.name} for {names[1]}"
        if not common:
            raise ChoiceError(f"{choices}: they have no platform in common")
        if len(common) > 1:
            raise ChoiceError(f"{choices}: choose with --platform")
        (platform,) = common
    for named, images in zip((old, new), offered, strict=True):
        if platform is not None and platform not in images:
            platforms = ", ".join(sorted(name or "an unknown platform" for name in images))
            raise ChoiceError(f"{named.name}: has no image for {platform}; there is {platforms}")
    before, after = (
        next(iter(images.values())) if platform is None else images[platform] for images in offered
    )
    return before, after


def _by_platform(named: Named) -> dict[str, Image]:
    """Return the first image for each platform that a manifest leads to."""
    read = named.lookup.closure([named.digest])
    images: dict[str, Image] = {}
    for image in images_of(named.digest, read):
        if image.manifest.manifest and image.manifest.manifest.kind != "artifact":
            images.setdefault(image.platform, image)
    if not images:
        problems = "; ".join(manifest.problem for manifest in read.values() if manifest.problem)
        raise ChoiceError(f"{named.name}: has no image{f': {problems}' if problems else ''}")
    return images


def _environment(lookup: Lookup, image: Image) -> dict[str, str]:
    """Return the environment of an image; values may be secrets, so compare them and keep none."""
    reference = image.manifest.manifest.config if image.manifest.manifest else None
    if reference is None:
        return {}
    content = lookup.documents([reference.digest], "configurations")[reference.digest]
    try:
        document = json.loads(content) if isinstance(content, bytes) else {}
    except (ValueError, RecursionError):  # `configuration` reports this
        return {}
    runtime = document.get("config") if isinstance(document, dict) else None
    variables = runtime.get("Env") if isinstance(runtime, dict) else None
    pairs = (str(variable).partition("=") for variable in variables) if isinstance(variables, list) else ()
    return {name: value for name, _, value in pairs}


# -- contents --------------------------------------------------------------------------------------------


@dataclass
class _Side:
    """One image during the comparison; `hashes` and local `copies` are by entry key."""

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
        """Return the compared properties of an entry; a hard link has its file's content."""
        origin = self.overlay.content(entry)
        if entry.kind == "hardlink" and origin is not None and origin.key in self.hashes:
            content = self.hashes[origin.key]
            return FileState("file", origin.size, entry.mode, entry.owner, "", content)
        content = self.hashes.get(entry.key, b"")
        return FileState(entry.kind, entry.size, entry.mode, entry.owner, entry.target, content)


class _Contents:
    """The files of two images that may differ."""

    def __init__(self, old: _Side, new: _Side, directory: str, progress: Progress) -> None:
        self._old, self._new = old, new
        self._sides = self._old, self._new
        self._base = base_length(old.image.layers, new.image.layers)
        self._directory = directory
        self._progress = progress
        self._problems: list[str] = []
        self.absent: list[str] = []

    def read(self) -> None:
        """Read the layers above the base, and the base if its visible files may differ."""
        for side in self._sides:
            for number in range(len(side.image.layers), self._base, -1):
                entries = self._read(side, number, [side], lambda _: True)
                side.shape |= {(entry.path, entry.kind == "directory") for entry in entries}
                side.removes |= any(entry.state == "whiteout" for entry in entries)
        same_shape = self._old.shape == self._new.shape and not any(side.removes for side in self._sides)
        for number in range(0 if same_shape else self._base, 0, -1):
            self._read(self._old, number, self._sides, self._hidden_in_one)

    def _hidden_in_one(self, entry: Entry) -> bool:
        return self._old.overlay.hides(entry) != self._new.overlay.hides(entry)

    def _read(
        self, origin: _Side, number: int, sides: Iterable[_Side], wants: Callable[[Entry], bool]
    ) -> list[Entry]:
        """Read a layer of one image or of both; `wants` selects the files to hash."""
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
                digest, copy = self._hash(entry, member.open())
                for side in sides:
                    side.hashes[entry.key] = digest
                    if copy:
                        side.copies[entry.key] = copy
        for side in sides:
            side.add(entries)
        return entries

    def _hash(self, entry: Entry, content: Content) -> tuple[bytes, str]:
        """Return a file's SHA-256 and, for a package database, the path of a copy."""
        copy = ""
        file: IO[bytes] | None = None
        if manager_of(entry.path):
            if entry.size > LARGEST:
                self._problems.append(
                    f"{entry.path}: has {entry.size} bytes, over the limit of {LARGEST}; it is not compared"
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
            # A directory may exist without an entry of its own.
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
        """Return each image's packages from the databases that were read, and the databases' problems."""
        problems = list(self._problems)
        packages_by_side: tuple[list[Package], list[Package]] = ([], [])
        for side, packages in zip(self._sides, packages_by_side, strict=True):
            for path, entry in side.overlay.visible.items():
                copy = side.copies.get(entry.key)
                if copy is None or manager_of(path) is None:
                    continue
                if os.path.getsize(copy) == 0:  # some images empty the database on purpose
                    continue
                try:
                    packages += read_database(path, copy)
                except DatabaseError as exc:
                    problems.append(str(exc))
        return packages_by_side, sorted(set(problems))
