"""What differs between two images: layers, files, configuration, packages. Pure.

Values of the environment are compared and never kept: they may be secrets. A file's time is not compared:
each build sets it anew. :mod:`regfs.catalog.difference` reads what is compared here.
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
    """A layer; `size` in bytes as it is stored, None where no manifest has it (schema 1)."""

    digest: Digest
    size: int | None


@dataclass(frozen=True, slots=True)
class LayerChanges:
    """Which layers differ.

    Attributes
    ----------
    base : tuple of Layer
        Those that both images begin with, the lowest first.
    removed, added : tuple of Layer
        Those that the old or the new image alone has.
    shared : tuple of Layer
        Those above the base that both have, in another place.
    """

    base: tuple[Layer, ...]
    removed: tuple[Layer, ...]
    added: tuple[Layer, ...]
    shared: tuple[Layer, ...]


class FileState(NamedTuple):
    """The compared properties of a file.

    `size` is in bytes; `content` is the SHA-256 of a regular file's bytes, empty where there are none.
    """

    kind: str
    size: int
    mode: str
    owner: str
    target: str
    content: bytes


@dataclass(frozen=True, slots=True)
class FileChange:
    """A file, directory or link that came, went, or differs.

    Attributes
    ----------
    path : str
    change : str
        "added", "removed" or "changed".
    what : tuple of str
        What of it changed: "kind", "content", "mode", "owner", "target".
    old_size, new_size : int or None
        Bytes; None where it is not.
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
        """The bytes that it concerns: the larger one of its two sizes."""
        return max(self.old_size or 0, self.new_size or 0)


@dataclass(frozen=True, slots=True)
class ConfigChange:
    """A field of the configuration, or an entry of one, that came, went or changed.

    `old` and `new` are None where it is not, and both are None for an entry of the environment, of which
    only the name is known.
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
        The images' manifests; of an index, those of its image for the platform.
    platform : str
        The platform of both, empty if they have none in common.
    layers : LayerChanges
    config : list of ConfigChange
    files : list of FileChange or None
        By path; None if files were left out.
    packages : list of PackageChange or None
        None if files were left out.
    problems : tuple of str
        Databases of packages that cannot be read, and layers that the registry does not have: what they hold
        is not compared.
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
        """Whether the manifests differ, even if only in what is not compared."""
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
    """Return how many layers, from the lowest up, two images have in common."""
    count = 0
    for before, after in zip(old, new, strict=False):
        if before.digest != after.digest:
            break
        count += 1
    return count


def _layers(references: Sequence[Reference] | Iterator[Reference]) -> tuple[Layer, ...]:
    return tuple(Layer(reference.digest, reference.size) for reference in references)


def compare_files(old: Mapping[str, FileState], new: Mapping[str, FileState]) -> list[FileChange]:
    """Compare files by path, the same path in both mappings being the same file.

    Parameters
    ----------
    old, new : mapping of str to FileState
        All that may differ; what is in neither is equal.
    """
    changes = []
    for path in sorted(old.keys() | new.keys()):
        before, after = old.get(path), new.get(path)
        if before is None or after is None:
            change: Change = "added" if before is None else "removed"
            sizes = before.size if before else None, after.size if after else None
            changes.append(FileChange(path, change, (), *sizes))
        elif what := tuple(_differing(before, after)):
            changes.append(FileChange(path, "changed", what, before.size, after.size))
    return changes


def _differing(before: FileState, after: FileState) -> Iterator[str]:
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
    """Compare what two configurations say of how a container runs.

    Parameters
    ----------
    old, new : ConfigPart
        The configurations.
    platforms : tuple of str
        The images' platforms.
    environments : tuple of mapping
        The variables of each, by name. Values that differ are a change, and appear nowhere.
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
