"""The two sides of a copy: a local path, or one in a bucket. Each lists what it contains."""

from __future__ import annotations

import errno
import os
import stat
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from regfs.cli.errors import Refusal
from regfs.errors import BucketNotFoundError

if TYPE_CHECKING:
    from regfs.filesystem.spec import RegistryFileSystem
    from regfs.s3.objects import ObjectInfo

Kind = Literal["file", "directory", "stream", ""]
"""What is there: "stream" is a pipe or device, "" is nothing."""


@dataclass(frozen=True)
class Local:
    """A local path, as it was given."""

    path: str

    def __str__(self) -> str:
        return self.path

    @property
    def name(self) -> str:
        """The last component; "" where the path means all that lies in a directory."""
        name = os.path.basename(self.path)
        return "" if name in (".", "..") else name

    def kind(self) -> Kind:
        """Return whether it is a file, a directory or nothing; links are followed."""
        try:
            mode = os.stat(self.path).st_mode
        except FileNotFoundError:
            return ""
        if stat.S_ISDIR(mode):
            return "directory"
        return "file" if stat.S_ISREG(mode) else "stream"

    def size(self) -> int:
        """Return the size of the file in bytes."""
        return os.stat(self.path).st_size

    def child(self, relative: str) -> Local:
        """Return what lies under it. No ``os.path.join``: a key with "//" in it would leave the directory."""
        return Local(f"{self.path.rstrip('/')}/{relative}" if relative else self.path)

    def tree(self) -> Iterator[tuple[str, int]]:
        """Yield the files under it, each with its size; links are followed.

        Raises
        ------
        Refusal
            Something is neither file nor directory, or a link leads back to a directory that it is in.
        """
        yield from self._tree("", {os.path.realpath(self.path)})

    def _tree(self, relative: str, above: set[str]) -> Iterator[tuple[str, int]]:
        for name in sorted(os.listdir(self.child(relative).path)):
            inner = f"{relative}/{name}" if relative else name
            child = self.child(inner)
            kind = child.kind()
            if kind == "directory":
                real = os.path.realpath(child.path)
                if real in above:
                    raise Refusal(f"{child}: this link leads back to a directory that it lies in")
                yield from self._tree(inner, above | {real})
            elif kind == "file":
                yield inner, child.size()
            else:
                raise Refusal(f"{child}: {'is no file' if kind else 'this link leads nowhere'}")

    def remove(self, relatives: Sequence[str], removed: Callable[[Sequence[str]], object]) -> None:
        """Remove files under it, and the directories that are empty then; with "", the file itself.

        ``removed(relatives)`` is called with what has been removed.
        """
        for relative in relatives:
            os.unlink(self.child(relative).path)
            removed([relative])
        if list(relatives) == [""]:
            return
        for folder, _, _ in os.walk(self.path, topdown=False):
            if not os.listdir(folder):
                os.rmdir(folder)


@dataclass(frozen=True)
class Remote:
    """A path in a bucket.

    Attributes
    ----------
    fs : RegistryFileSystem
        The bucket.
    path : str
        The driver path.
    """

    fs: RegistryFileSystem
    path: str

    def __str__(self) -> str:
        return self.fs.unstrip_protocol(self.path)

    @property
    def name(self) -> str:
        """The last component; "" for the root."""
        return self.path.rpartition("/")[2]

    def kind(self) -> Kind:
        """Return whether it is a file, a directory or nothing."""
        try:
            return "directory" if self.fs.info(self.path)["type"] == "directory" else "file"
        except BucketNotFoundError:
            raise
        except FileNotFoundError:
            return ""

    def size(self) -> int:
        """Return the size of the file in bytes."""
        return int(self.fs.info(self.path)["size"])

    def child(self, relative: str) -> Remote:
        """Return what lies under it."""
        return Remote(self.fs, f"{self.path.rstrip('/')}/{relative}") if relative else self

    def tree(self) -> Iterator[tuple[str, int]]:
        """Yield the files under it, each with its size."""
        base = self.path.rstrip("/") + "/"
        for name, info in self.fs.find(self.path, detail=True).items():
            if name.startswith(base):
                yield name[len(base) :], info["size"]

    def remove(self, relatives: Sequence[str], removed: Callable[[Sequence[str]], object]) -> None:
        """Remove files under it; with "", the file itself.

        ``removed(relatives)`` is called from another thread with what each request has removed.
        """
        from regfs.filesystem.waiting import sync
        from regfs.store.transfer import delete_keys

        relative = {self.fs.space.key(self.child(name).path): name for name in relatives}

        async def deleted(keys: Sequence[str]) -> None:
            await in_thread(removed, [relative[key] for key in keys])

        sync(self.fs.loop, delete_keys, self.fs.client, list(relative), deleted)

    def list_tree(self, use: Callable[[Sequence[tuple[str, int]]], object]) -> None:
        """List what :meth:`remove_tree` removes: ``use([(url, size), ...])`` is called from other threads."""
        from regfs.filesystem.waiting import sync

        sync(self.fs.loop, self.fs.store.list_tree, self.path, self._reporting(use))

    def remove_tree(self, removed: Callable[[Sequence[tuple[str, int]]], object]) -> None:
        """Remove the file and everything under it as a directory.

        ``removed([(url, size), ...])`` is called from other threads with what each request has removed.
        """
        from regfs.filesystem.waiting import sync

        sync(self.fs.loop, self.fs.store.delete_tree, self.path, self._reporting(removed))

    def _reporting(self, use: Callable[[Sequence[tuple[str, int]]], object]) -> Callable[..., Any]:
        space = self.fs.space

        async def report(objects: Sequence[ObjectInfo]) -> None:
            entries = [(space.url(f"/{item.key.removeprefix(space.base)}"), item.size) for item in objects]
            await in_thread(use, entries)

        return report


Side = Local | Remote


async def in_thread(function: Callable[..., object], *args: Any) -> None:
    """Call a function that prints: where nobody reads, it blocks its thread and no request.

    It is called also where this is cancelled meanwhile: what it prints has happened.
    """
    import asyncio  # which would slow down the help

    await asyncio.shield(asyncio.to_thread(function, *args))


@dataclass(frozen=True)
class Step:
    """A file to copy.

    Attributes
    ----------
    source, target : Local or Remote
        From where and to where.
    size : int
        In bytes, when it was looked at.
    """

    source: Side
    target: Side
    size: int


@dataclass(frozen=True)
class Tree:
    """The files of one source, by their relative names, "" for itself."""

    source: Side
    target: Side
    sizes: dict[str, int]

    def steps(self) -> list[Step]:
        """Return each file's copy."""
        return [self.step(name) for name in self.sizes]

    def step(self, name: str) -> Step:
        """Return the copy of one file."""
        return Step(self.source.child(name), self.target.child(name), self.sizes[name])


def write_out(side: Remote, verify: bool = False) -> None:
    """Write a file to stdout as it comes."""
    if side.kind() == "directory":
        raise IsADirectoryError(errno.EISDIR, "Is a directory", str(side))
    side.fs.get_file(side.path, sys.stdout.buffer, verify=verify)
    sys.stdout.buffer.flush()


def missing(side: Side) -> FileNotFoundError:
    """Return the error for a missing source."""
    return FileNotFoundError(errno.ENOENT, "No such file or directory", str(side))


def plan(sources: Sequence[tuple[Side, bool]], target: Side, slashed: bool, recursive: bool) -> list[Tree]:
    """Find out what is to be copied to where, as cp does.

    Parameters
    ----------
    sources : sequence of (Local or Remote, bool)
        Each with whether it was written with a final slash: then what lies in the directory is meant.
    target : Local or Remote
        A directory that is there or was written with a final slash (`slashed`) gets the sources by their
        names. Another path is the copy's own name.
    slashed : bool
        Whether the target was written with a final slash.
    recursive : bool
        Whether directories are copied.

    Raises
    ------
    Refusal
        A directory without `recursive`, a file in a directory's place or the reverse, a copy onto or into
        itself, two files for one place. Nothing has been copied then.
    FileNotFoundError
        A source is missing.
    """
    target_kind = target.kind()
    several = len(sources) > 1
    if target_kind in ("file", "stream") and (several or slashed):
        raise Refusal(f"{target}: is no directory")
    trees: list[Tree] = []
    for source, inner in sources:
        kind = source.kind()
        if not kind:
            raise missing(source)
        if kind == "stream":
            raise Refusal(f"{source}: is no file; copy it alone, to a path of its own")
        if kind == "directory":
            if not recursive:
                raise Refusal(f"{source}: is a directory; give -r")
            if target_kind in ("file", "stream"):
                raise Refusal(f"{target}: is no directory, {source} is one")
            name = source.name if (several or slashed or target_kind == "directory") and not inner else ""
            tree = Tree(source, target.child(name), dict(source.tree()))
        else:
            place = target.child(source.name) if several or slashed or target_kind == "directory" else target
            if place is not target and place.kind() == "directory":
                raise Refusal(f"{place}: is a directory, {source} is a file")
            tree = Tree(source, place, {"": source.size()})
        _check_apart(tree.source, tree.target, kind)
        trees.append(tree)
    _check_targets([step for tree in trees for step in tree.steps()])
    return trees


def _address(side: Side) -> tuple[str, ...]:
    """Return where something lies for certain, as components."""
    if isinstance(side, Local):
        place, path = "", os.path.realpath(side.path).strip("/")
    else:
        p, space = side.fs.parameters, side.fs.space
        place, path = f"{p.endpoint_url or p.region} {space.bucket}", space.key(side.path).rstrip("/")
    return (place, *(path.split("/") if path else ()))


def _check_apart(source: Side, target: Side, kind: Kind) -> None:
    start, end = _address(source), _address(target)
    if start == end:
        raise Refusal(f"{source} and {target} are the same")
    if kind == "directory" and end[: len(start)] == start:
        raise Refusal(f"{target}: lies in {source} itself")


def _check_targets(steps: Sequence[Step]) -> None:
    """Check that no two targets are equal, and that none is a directory of another."""
    taken: dict[str, Step] = {}
    for step in steps:
        path = str(step.target)
        other = taken.setdefault(os.path.normpath(path) if isinstance(step.target, Local) else path, step)
        if other is not step:
            raise Refusal(f"{other.source} and {step.source} would both become {step.target}")
    if not any(isinstance(step.target, Local) for step in steps):
        return  # in a bucket a file and a directory may have one name
    for path, step in taken.items():
        parent = os.path.dirname(path)
        while parent and parent != os.path.dirname(parent):
            if parent in taken:
                raise Refusal(f"{step.target}: {taken[parent].source} would be a file in a directory's place")
            parent = os.path.dirname(parent)
