"""Where the bytes of an image's files are: in which directories, and in copies that nobody sees. Pure.

All sizes are those of contents as they are in files, not of compressed layers.
"""

from __future__ import annotations

import posixpath
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from regfs.catalog.layers import Entry, Overlay


@dataclass(frozen=True, slots=True)
class DirectorySize:
    """A directory with all that is in it, at any depth.

    Attributes
    ----------
    path : str
    size : int
        Bytes of the files, each content once, though hard links may name it more often.
    files : int
        Files, hard links among them.
    """

    path: str
    size: int
    files: int


@dataclass(frozen=True, slots=True)
class WastedPath:
    """A path with contents that are in layers, and not in the image.

    Attributes
    ----------
    path : str
    wasted_bytes : int
        Bytes of these contents.
    layers : tuple of int
        The layers that they are in, lowest first; one counts twice if it has two.
    reason : str
        "overwritten" if the path is in the image with something else, "deleted" if it is not.
    """

    path: str
    wasted_bytes: int
    layers: tuple[int, ...]
    reason: str


@dataclass(frozen=True)
class Waste:
    """The content of layers that an image does not use.

    Attributes
    ----------
    paths : tuple of WastedPath
        The largest first.
    layer_bytes : int
        Bytes of all files in all layers.
    image_bytes : int
        Of these, what is in the image.
    """

    paths: tuple[WastedPath, ...]
    layer_bytes: int
    image_bytes: int

    @property
    def wasted_bytes(self) -> int:
        """Bytes that are in layers, and not in the image."""
        return self.layer_bytes - self.image_bytes

    @property
    def efficiency(self) -> float:
        """The share of the layers' bytes that is in the image, 0 to 1; of no bytes it is 1."""
        return self.image_bytes / self.layer_bytes if self.layer_bytes else 1.0


def directory_sizes(overlay: Overlay, depth: int | None = None) -> list[DirectorySize]:
    """Add up an image's files by directory, as ``du`` does.

    Parameters
    ----------
    overlay : Overlay
        All layers of the image.
    depth : int, optional
        Leave out what lies deeper: 0 for the root alone, 1 for what is directly in it.

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
    """Find the contents that later layers delete or overwrite.

    The content of a hidden file counts as used where a hard link in the image still has it.

    Parameters
    ----------
    overlay : Overlay
        All layers of the image.
    """
    used = {content.key: content.size for _, content in _contents(overlay)}
    unused = [item for item in overlay.hidden if item.kind == "file" and item.size and item.key not in used]
    unused = [link for link in unused if link.state == "overridden"]
    by_path: defaultdict[str, list[Entry]] = defaultdict(list)
    for entry in unused:
        by_path[entry.path].append(entry)
    paths = [
        WastedPath(
            path,
            sum(item.size for item in entries),
            tuple(sorted(item.layer for item in entries)),
            "overwritten" if path in overlay.visible or path in overlay.directories else "deleted",
        )
        for path, entries in by_path.items()
    ]
    image_bytes = sum(used.values())
    return Waste(
        tuple(sorted(paths, key=lambda item: (-item.wasted_bytes, item.path))),
        image_bytes + sum(item.wasted_bytes for item in paths),
        image_bytes,
    )


def _contents(overlay: Overlay) -> Iterator[tuple[str, Entry]]:
    """Yield the contents in an image, each with the first of its paths."""
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
