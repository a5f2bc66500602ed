"""Entries and contents of an image written into a local directory: whole, or not at all, and never beside it.

While layers are read, contents go into files that are named by numbers. The names of the archives are used
only once every layer has been read and checked, and what they are was decided before without a look at the
disk (:class:`regfs.catalog.layers.Overlay`): each path is one thing, and all its parents are directories.
Then directories are made, files are linked to their names, and symbolic links come last, so there is none
that anything could be written through. All of this happens in a new directory of mode 0700 beside the
target, or inside it where that is there and empty; it is removed after any failure. Only SIGKILL or a lost
machine leaves it, under a name that ends in ``.incomplete``.

Kept: contents, modes without set-user-ID and set-group-ID, times, hard links, symbolic links as they are,
be they absolute or lead out of the directory. Not kept: owners, extended attributes. Left out: devices and
fifos. The owner can always read a file, and read, write and enter a directory, or nobody could remove it.
"""

from __future__ import annotations

import errno
import os
import posixpath
import shutil
import stat
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from regfs.catalog.layers import Content, Entry, permissions

_DEEPEST = 512
"""Directories inside each other, at most: beyond, what removes trees gives up."""
_NO_HARD_LINK = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS}
"""What file systems answer that have no hard links, or no more of them for a file."""
_BLOCK = 2**20


class ExtractionError(OSError):
    """An image has what cannot be written here: a name that is too long or there twice, a link to nothing."""


@dataclass(frozen=True)
class Extraction:
    """The files that were written.

    Attributes
    ----------
    directory : str
        The directory, as it was given.
    files, directories, links : int
        Files by name, hard links among them; directories in the directory; symbolic links.
    size : int
        Bytes of the files, each content once.
    skipped : tuple of str
        The devices and fifos that were left out, by their paths in the directory.
    leaving : tuple of str
        The symbolic links that lead out of the directory when they are followed here, because they are
        absolute or climb too high.
    """

    directory: str
    files: int
    directories: int
    links: int
    size: int
    skipped: tuple[str, ...]
    leaving: tuple[str, ...]


class Target:
    """A directory that is being filled; keeps the contents of files until their names are known.

    Parameters
    ----------
    directory : str
        What the user calls it.
    work : str
        The directory where it is built, which has to be there.
    within : str
        Only files of the image at or below this path are kept when they come by.
    """

    def __init__(self, directory: str, work: str, within: str) -> None:
        self._directory = directory
        self._contents = os.path.join(work, "contents")
        self.tree = os.path.join(work, "tree")
        self._within = within
        self._sizes: dict[tuple[int, int], int] = {}
        os.mkdir(self._contents)
        os.mkdir(self.tree)

    def wants(self, entry: Entry) -> bool:
        """Return whether a file lies in the part that is extracted."""
        return f"{entry.path}/".startswith(self._within.rstrip("/") + "/")

    def expect(self, path: str) -> None:
        """Do nothing: what is wanted does not depend on links."""

    def has(self, entry: Entry) -> bool:
        """Return whether the content of a file is here."""
        return entry.key in self._sizes

    def put(self, entry: Entry, content: Content) -> None:
        """Keep the content of a file, under a number."""
        with open(self._content_path(entry), "wb") as file:
            shutil.copyfileobj(content, file, _BLOCK)
            self._sizes[entry.key] = file.tell()

    def write(
        self,
        entries: Mapping[str, Entry],
        directories: Collection[str],
        origin: Callable[[Entry], Entry | None],
    ) -> Extraction:
        """Return the contents their names, and make all that has no content.

        Parameters
        ----------
        entries : mapping of str to Entry
            By their paths in the directory, which is itself the empty one if it has an entry.
        directories : collection of str
            All directories, by their paths in this one; the parents of all entries are among them.
        origin : callable
            Returns the entry that the content of one comes with; None if there is none.

        Raises
        ------
        ExtractionError
            Something cannot be written.
        """
        for path in (*directories, *entries):
            if path.count("/") >= _DEEPEST:
                text = f"lies in more than {_DEEPEST} directories"
                raise ExtractionError(errno.ENAMETOOLONG, text, os.path.join(self._directory, path))
        for path in sorted(filter(None, directories)):
            with self._named(path):
                os.mkdir(self._path(path))
        links: dict[str, Entry] = {}
        skipped: list[str] = []
        written: dict[tuple[int, int], int] = {}
        files = 0
        for path, entry in sorted(entries.items()):
            content = origin(entry)
            if content is None or (content.kind == "directory" and entry.kind != "directory"):
                raise ExtractionError(errno.EINVAL, f"is a hard link to {entry.target}, no file", entry.path)
            if content.kind == "file":
                self._link(content, path)
                written[content.key] = self._sizes[content.key]
                files += 1
            elif content.kind == "symlink":
                links[path] = content
            elif content.kind != "directory":
                skipped.append(path)
        for path, entry in links.items():
            with self._named(path):
                os.symlink(entry.target, self._path(path))
                os.utime(self._path(path), ns=_times(entry), follow_symlinks=False)
        for path in sorted({"", *directories}, reverse=True):  # what is made in one changes its time
            self._finish(path, entries.get(path))
        leaving = tuple(path for path, entry in links.items() if _leaves(path, entry.target))
        return Extraction(
            self._directory,
            files,
            len(set(directories) - {""}),
            len(links),
            sum(written.values()),
            tuple(skipped),
            leaving,
        )

    @contextmanager
    def _named(self, path: str) -> Iterator[None]:
        """Raise errors with the path in the image, not with the temporary one."""
        name = os.path.join(self._directory, path)
        try:
            yield
        except FileExistsError as exc:
            text = "is there twice, as names are compared here: by case, or by form of Unicode"
            raise ExtractionError(exc.errno, text, name) from exc
        except OSError as exc:
            raise ExtractionError(exc.errno, exc.strerror, name) from exc
        except ValueError as exc:  # a null character, or a letter that the file system's encoding lacks
            raise ExtractionError(errno.EINVAL, f"cannot be a name here: {exc}", name) from exc

    def _path(self, path: str) -> str:
        return os.path.join(self.tree, path)

    def _content_path(self, entry: Entry) -> str:
        return os.path.join(self._contents, f"{entry.layer}-{entry.position}")

    def _link(self, content: Entry, path: str) -> None:
        """Write a content under one more name."""
        source, target = self._content_path(content), self._path(path)
        with self._named(path):
            try:
                os.link(source, target)
            except OSError as exc:
                if exc.errno not in _NO_HARD_LINK:
                    raise
                with open(source, "rb") as file, open(target, "xb") as copy:
                    shutil.copyfileobj(file, copy, _BLOCK)
            os.chmod(target, permissions(content) & 0o777 | 0o400)
            os.utime(target, ns=_times(content))

    def _finish(self, path: str, entry: Entry | None) -> None:
        """Set the mode and the time of a directory; one without an entry has what mkdir gives."""
        target = self._path(path)
        with self._named(path):
            if entry is None or entry.kind != "directory":
                os.chmod(target, stat.S_IMODE(os.stat(target).st_mode) | 0o700)
                return
            os.chmod(target, permissions(entry) & (0o777 | stat.S_ISVTX) | 0o700)
            os.utime(target, ns=_times(entry))


@contextmanager
def extracted(directory: str | os.PathLike[str], within: str) -> Iterator[Target]:
    """Fill a directory that appears whole or not at all.

    Parameters
    ----------
    directory : str or path-like
        A new one in one that is there, or an empty one.
    within : str
        The path of the image that it becomes.

    Yields
    ------
    Target
        To be filled; it takes the place of the directory when the block ends without an error.

    Raises
    ------
    FileExistsError, FileNotFoundError
        The directory is not empty, or is something else; or there is none to make it in.
    """
    name = os.fspath(directory)
    place = os.path.realpath(name)
    fresh = _check(name, place)
    parent = os.path.dirname(place) if fresh else place
    work = tempfile.mkdtemp(prefix=f".{os.path.basename(place)[:100]}.", suffix=".incomplete", dir=parent)
    try:
        target = Target(name, work, within)
        yield target
        if fresh:
            os.rename(target.tree, place)
        else:
            _move_in(target.tree, place)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _check(name: str, place: str) -> bool:
    """Return whether a directory has still to be made."""
    try:
        content = os.listdir(place)
    except FileNotFoundError:
        parent = os.path.dirname(place)
        if not os.path.isdir(parent):
            raise FileNotFoundError(errno.ENOENT, f"there is no directory {parent}", name) from None
        return True
    except NotADirectoryError:
        raise FileExistsError(errno.EEXIST, "is there, and is no directory", name) from None
    if content:
        text = "is not empty; name a new directory, or an empty one"
        raise FileExistsError(errno.EEXIST, text, name)
    return False


def _move_in(tree: str, place: str) -> None:
    """Move what is in a directory into one that stays: a mount point, or where a shell is, for instance."""
    moved: list[str] = []
    try:
        for name in os.listdir(tree):
            os.rename(os.path.join(tree, name), os.path.join(place, name))
            moved.append(name)
    except BaseException:
        for name in moved:
            with suppress(OSError):
                os.rename(os.path.join(place, name), os.path.join(tree, name))
        raise


def _times(entry: Entry) -> tuple[int, int]:
    nanoseconds = int(entry.modified.timestamp()) * 10**9
    return nanoseconds, nanoseconds


def _leaves(path: str, target: str) -> bool:
    """Return whether a symbolic link leads out of the directory that it is in."""
    joined = posixpath.normpath(posixpath.join(posixpath.dirname(path), target))
    return posixpath.isabs(target) or joined == ".." or joined.startswith("../")
