"""The differences between two images: layers, files, configuration, packages. Pure.

Values of environment variables are compared but never kept, because they may be secrets. Modification times
are not compared, because each build changes them. :mod:`regfs.catalog.difference` reads the images.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from shlex import join
from typing import Literal, NamedTuple, TypeAlias

from regfs.catalog.inspection import ConfigPart
from regfs.catalog.manifest import Reference
from regfs.catalog.packages import PackageChange
from regfs.layout import Digest

Change: TypeAlias = Literal["added", "removed", "changed"]


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer; `size` is its stored size in bytes, None if no manifest states it (schema 1)."""

    digest: Digest
    size: int | None


@dataclass(frozen=True, slots=True)
class LayerChanges:
    """The layers that two images share, and those that differ.

    Attributes
    ----------
    base : tuple of Layer
        The layers that both images start with, the lowest first.
    removed, added : tuple of Layer
        The layers that only the old or only the new image has.
    shared : tuple of Layer
        The layers above the base that both images have, in different positions.
    """

    base: tuple[Layer, ...]
    removed: tuple[Layer, ...]
    added: tuple[Layer, ...]
    shared: tuple[Layer, ...]


class FileState(NamedTuple):
    """The compared properties of a file.

    `size` is in bytes; `content` is the SHA-256 of a regular file's bytes, empty for other kinds.
    """

    kind: str
    size: int
    mode: str
    owner: str
    target: str
    content: bytes


@dataclass(frozen=True, slots=True)
class FileChange:
    """A file, directory or link that was added, removed or changed.

    Attributes
    ----------
    path : str
    change : str
        "added", "removed" or "changed".
    what : tuple of str
        The properties that changed: "kind", "content", "mode", "owner", "target".
    old_size, new_size : int or None
        Bytes; None for the image that lacks the file.
    """

    path: str
    change: Change
    what: tuple[str, ...]
    old_size: int | None
    new_size: int | None

    @property
    def growth(self) -> int:
        """The image's growth in bytes."""
        return (self.new_size or 0) - (self.old_size or 0)

    @property
    def weight(self) -> int:
        """The larger of the two sizes, in bytes."""
        return max(self.old_size or 0, self.new_size or 0)


@dataclass(frozen=True, slots=True)
class ConfigChange:
    """A configuration field, or an entry of one, that was added, removed or changed.

    `old` or `new` is None for the image that lacks the field. Both are None for environment variables, of
    which only the name is kept.
    """

    field: str
    name: str
    change: Change
    old: str | None
    new: str | None


@dataclass(frozen=True, slots=True)
class ImageDifference:
    """The differences between two images.

    Attributes
    ----------
    old, new : Digest
        The images' manifests; for an index, the manifest of its image for the platform.
    platform : str
        The platform of both images; empty if their platforms differ.
    layers : LayerChanges
    config : list of ConfigChange
    files : list of FileChange or None
        By path; None if files were not compared.
    packages : list of PackageChange or None
        None if files were not compared.
    problems : tuple of str
        Package databases that cannot be read and layers that the registry lacks; their contents are not
        compared.
    """

    old: Digest
    new: Digest
    platform: str
    layers: LayerChanges
    config: list[ConfigChange]
    files: list[FileChange] | None
    packages: list[PackageChange] | None
    problems: tuple[str, ...] = ()

    @property
    def different(self) -> bool:
        """Whether the manifests differ, even if everything compared is equal."""
        return self.old != self.new


def compare_layers(old: Sequence[Reference], new: Sequence[Reference]) -> LayerChanges:
    """Compare the layers of two images, the lowest first."""
    count = base_length(old, new)
    before = {layer.digest for layer in old}
    after = {layer.digest for layer in new}
    base = {layer.digest for layer in old[:count]}
    return LayerChanges(
        _layers(old[:count]),
        _layers(layer for layer in old[count:] if layer.digest not in after),
        _layers(layer for layer in new[count:] if layer.digest not in before),
        _layers(layer for layer in new[count:] if layer.digest in before - base),
    )


def base_length(old: Sequence[Reference], new: Sequence[Reference]) -> int:
    """Return the number of layers, from the lowest up, that two images have in common."""
    count = 0
    for before, after in zip(old, new, strict=False):
        if before.digest != after.digest:
            break
        count += 1
    return count


def _layers(references: Sequence[Reference] | Iterator[Reference]) -> tuple[Layer, ...]:
    return tuple(Layer(reference.digest, reference.size) for reference in references)


def compare_files(old: Mapping[str, FileState], new: Mapping[str, FileState]) -> list[FileChange]:
    """Compare two images' files by path.

    Parameters
    ----------
    old, new : mapping of str to FileState
        The files that may differ, by path; files in neither mapping are equal.
    """
    changes = []
    for path in sorted(old.keys() | new.keys()):
        before, after = old.get(path), new.get(path)
        if before is None or after is None:
            change: Change = "added" if before is None else "removed"
            sizes = before.size if before else None, after.size if after else None
            changes.append(FileChange(path, change, (), *sizes))
        elif properties := tuple(_changed_properties(before, after)):
            changes.append(FileChange(path, "changed", properties, before.size, after.size))
    return changes


def _changed_properties(before: FileState, after: FileState) -> Iterator[str]:
    if before.kind != after.kind:
        yield "kind"
    if (before.content, before.size) != (after.content, after.size):
        yield "content"
    for name in ("mode", "owner", "target"):
        if getattr(before, name) != getattr(after, name):
            yield name


def compare_configs(
    old: ConfigPart,
    new: ConfigPart,
    platforms: tuple[str, str],
    environments: tuple[Mapping[str, str], Mapping[str, str]],
) -> list[ConfigChange]:
    """Compare the fields of two configurations that affect how a container runs.

    Parameters
    ----------
    old, new : ConfigPart
        The configurations.
    platforms : tuple of str
        The images' platforms.
    environments : tuple of mapping
        Each image's variables, by name. Different values are reported as a change, without the values.
    """
    changes = [*_value("platform", *platforms)]
    for field in ("entrypoint", "cmd"):
        changes += _value(field, join(getattr(old, field)), join(getattr(new, field)))
    for field in ("user", "workdir"):
        changes += _value(field, getattr(old, field), getattr(new, field))
    changes += [
        ConfigChange(change.field, change.name, change.change, None, None)
        for change in _entries("environment", *environments)
    ]
    changes += _entries("label", old.labels, new.labels)
    for field, names in (("port", (old.ports, new.ports)), ("volume", (old.volumes, new.volumes))):
        changes += _entries(field, *(dict.fromkeys(side, "") for side in names))
    return changes


def _value(field: str, old: str, new: str) -> Iterator[ConfigChange]:
    if old != new:
        change: Change = "changed" if old and new else "added" if new else "removed"
        yield ConfigChange(field, "", change, old or None, new or None)


def _entries(field: str, old: Mapping[str, str], new: Mapping[str, str]) -> Iterator[ConfigChange]:
    for name in sorted(old.keys() | new.keys()):
        before, after = old.get(name), new.get(name)
        if before != after:
            change: Change = "added" if before is None else "removed" if after is None else "changed"
            yield ConfigChange(field, name, change, before, after)
