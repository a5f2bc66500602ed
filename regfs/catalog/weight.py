"""The sizes of an image's directories, and of the contents that its layers waste. Pure.

All sizes are those of file contents, not of compressed layers.
"""

from __future__ import annotations

import posixpath
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from regfs.catalog.layers import Entry, Overlay


@dataclass(frozen=True, slots=True)
class DirectorySize:
    """The size of a directory with everything below it.

    Attributes
    ----------
    path : str
    size : int
        Bytes of the files; the content of hard links counts once.
    files : int
        The number of files, including hard links.
    """

    path: str
    size: int
    files: int


@dataclass(frozen=True, slots=True)
class WastedPath:
    """A path with contents in layers that are not in the image.

    Attributes
    ----------
    path : str
    wasted_bytes : int
        Bytes of these contents.
    layers : tuple of int
        The numbers of their layers, lowest first; a layer with two of the contents is listed twice.
    reason : str
        "overwritten" if the image has another content at this path, "deleted" if it has none.
    """

    path: str
    wasted_bytes: int
    layers: tuple[int, ...]
    reason: str


@dataclass(frozen=True)
class Waste:
    """The contents of layers that are not in the image.

    Attributes
    ----------
    paths : tuple of WastedPath
        The largest first.
    layer_bytes : int
        Bytes of all files in all layers.
    image_bytes : int
        Bytes of the files in the image.
    """

    paths: tuple[WastedPath, ...]
    layer_bytes: int
    image_bytes: int

    @property
    def wasted_bytes(self) -> int:
        """Bytes in the layers that are not in the image."""
        return self.layer_bytes - self.image_bytes

    @property
    def efficiency(self) -> float:
        """The share of the layers' bytes that is in the image, from 0 to 1; 1 if the layers have no bytes."""
        return self.image_bytes / self.layer_bytes if self.layer_bytes else 1.0


def directory_sizes(overlay: Overlay, depth: int | None = None) -> list[DirectorySize]:
    """Sum up the sizes of an image's files by directory, as ``du`` does.

    Parameters
    ----------
    overlay : Overlay
        All layers of the image.
    depth : int, optional
        The largest depth of a directory to return: 0 for the root only, 1 for its subdirectories too.

    Returns
    -------
    list of DirectorySize
        By path, the root first.
    """
    sizes = dict.fromkeys(overlay.directories, 0)
    files = dict.fromkeys(overlay.directories, 0)
    for path, entry in overlay.visible.items():
        if entry.kind in ("file", "hardlink"):
            for parent in _parents(path):
                files[parent] += 1
    for path, content in _contents(overlay):
        for parent in _parents(path):
            sizes[parent] += content.size
    shown = [path for path in sorted(sizes) if depth is None or _depth(path) <= depth]
    return [DirectorySize(path, sizes[path], files[path]) for path in shown]


def waste(overlay: Overlay) -> Waste:
    """Return the contents that later layers delete or overwrite.

    The content of a hidden file counts as used if a hard link in the image still has it.

    Parameters
    ----------
    overlay : Overlay
        All layers of the image.
    """
    used = {content.key: content.size for _, content in _contents(overlay)}
    files = [entry for entry in overlay.hidden if entry.kind == "file" and entry.size]
    unused = [file for file in files if file.key not in used and file.state == "overridden"]
    by_path: defaultdict[str, list[Entry]] = defaultdict(list)
    for file in unused:
        by_path[file.path].append(file)
    paths = [
        WastedPath(
            path,
            sum(entry.size for entry in entries),
            tuple(sorted(entry.layer for entry in entries)),
            "overwritten" if path in overlay.visible or path in overlay.directories else "deleted",
        )
        for path, entries in by_path.items()
    ]
    image_bytes = sum(used.values())
    return Waste(
        tuple(sorted(paths, key=lambda path: (-path.wasted_bytes, path.path))),
        image_bytes + sum(path.wasted_bytes for path in paths),
        image_bytes,
    )


def _contents(overlay: Overlay) -> Iterator[tuple[str, Entry]]:
    """Yield the contents in an image, each with its first path."""
    seen: set[tuple[int, int]] = set()
    for path, entry in sorted(overlay.visible.items()):
        content = overlay.content(entry)
        if content and content.kind == "file" and content.key not in seen:
            seen.add(content.key)
            yield path, content


def _parents(path: str) -> Iterator[str]:
    while path != "/":
        path = posixpath.dirname(path)
        yield path


def _depth(path: str) -> int:
    return 0 if path == "/" else path.count("/")
