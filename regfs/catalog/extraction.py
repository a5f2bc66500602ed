"""Extraction of an image into a local directory: completely or not at all, and never outside the directory.

While layers are read, contents are written to files with numbers as names. The names from the archives are
used only after every layer has been read and verified, and :class:`regfs.catalog.layers.Overlay` has resolved
them without looking at the disk: each path has one entry, and all its parents are directories. Then
directories are created, files are linked to their names, and symbolic links come last, so nothing can be
written through one. The work happens in a new directory of mode 0700 beside the target, or inside the target
if it exists and is empty. It is removed after any failure; only SIGKILL or a crash of the machine leaves it
behind, under a name that ends in ``.incomplete``.

Contents, modes (without set-user-ID and set-group-ID), times and hard links are preserved. So are symbolic
links, including absolute ones and those that lead out of the directory. Owners and extended attributes are
not preserved; devices and fifos are skipped. The owner can always read a file, and read, write and enter a
directory; otherwise the tree could not be removed.
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
"""The maximum nesting of directories; tools that remove trees fail on deeper ones."""
_NO_HARD_LINK = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS}
"""Errors of file systems that do not support hard links, or no more of them for a file."""
_BLOCK = 2**20


class ExtractionError(OSError):
    """An entry that cannot be extracted: a name too long or used twice, or a dangling hard link."""


@dataclass(frozen=True)
class Extraction:
    """The result of an extraction.

    Attributes
    ----------
    directory : str
        The target directory, as it was given.
    files, directories, links : int
        The numbers of files (each hard link counts), of directories in the target, and of symbolic links.
    size : int
        The files' sizes in bytes, each content once.
    skipped : tuple of str
        The paths, in the target, of the devices and fifos that were skipped.
    leaving : tuple of str
        The symbolic links that lead out of the target directory, because they are absolute or have too
        many "..".
    """

    directory: str
    files: int
    directories: int
    links: int
    size: int
    skipped: tuple[str, ...]
    leaving: tuple[str, ...]


class Target:
    """A directory under construction, which holds contents until their final names are known.

    Parameters
    ----------
    directory : str
        The target's name, for error messages.
    work : str
        The existing directory in which it is built.
    within : str
        The path in the image of the extracted part; other files are not wanted.
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
        """Return whether a file is in the extracted part."""
        return f"{entry.path}/".startswith(self._within.rstrip("/") + "/")

    def expect(self, path: str) -> None:
        """Do nothing: the wanted files do not depend on links."""

    def has(self, entry: Entry) -> bool:
        """Return whether the content of a file has been stored."""
        return entry.key in self._sizes

    def put(self, entry: Entry, content: Content) -> None:
        """Store the content of a file under its layer's number and its position there."""
        with open(self._content_path(entry), "wb") as file:
            shutil.copyfileobj(content, file, _BLOCK)
            self._sizes[entry.key] = file.tell()

    def write(
        self,
        entries: Mapping[str, Entry],
        directories: Collection[str],
        origin: Callable[[Entry], Entry | None],
    ) -> Extraction:
        """Create the directories, files and links from the stored contents.

        Parameters
        ----------
        entries : mapping of str to Entry
            The entries by their paths in the target directory, which is itself the empty path.
        directories : collection of str
            The paths of all directories in the target, including the parents of all entries.
        origin : callable
            Returns the entry that holds an entry's content, or None.

        Returns
        -------
        Extraction
            What was written.

        Raises
        ------
        ExtractionError
            An entry cannot be written.
        """
        for path in (*directories, *entries):
            if path.count("/") >= _DEEPEST:
                text = f"is nested in more than {_DEEPEST} directories"
                raise ExtractionError(errno.ENAMETOOLONG, text, os.path.join(self._directory, path))
        for path in sorted(filter(None, directories)):
            with self._errors_for(path):
                os.mkdir(self._path(path))
        links: dict[str, Entry] = {}
        skipped: list[str] = []
        written: dict[tuple[int, int], int] = {}
        files = 0
        for path, entry in sorted(entries.items()):
            content = origin(entry)
            if content is None or (content.kind == "directory" and entry.kind != "directory"):
                raise ExtractionError(
                    errno.EINVAL, f"is a hard link to {entry.target}, which is not a file", entry.path
                )
            if content.kind == "file":
                self._link(content, path)
                written[content.key] = self._sizes[content.key]
                files += 1
            elif content.kind == "symlink":
                links[path] = content
            elif content.kind != "directory":
                skipped.append(path)
        for path, entry in links.items():
            with self._errors_for(path):
                os.symlink(entry.target, self._path(path))
                os.utime(self._path(path), ns=_times(entry), follow_symlinks=False)
        for path in sorted({"", *directories}, reverse=True):  # creating an entry changes its parent's time
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
    def _errors_for(self, path: str) -> Iterator[None]:
        """Raise errors of the block with the path in the target, not the temporary one."""
        name = os.path.join(self._directory, path)
        try:
            yield
        except FileExistsError as exc:
            text = "occurs twice: this file system ignores case or Unicode form in names"
            raise ExtractionError(exc.errno, text, name) from exc
        except OSError as exc:
            raise ExtractionError(exc.errno, exc.strerror, name) from exc
        except ValueError as exc:  # a null character, or one that the file system cannot encode
            raise ExtractionError(
                errno.EINVAL, f"is not a valid name on this file system: {exc}", name
            ) from exc

    def _path(self, path: str) -> str:
        return os.path.join(self.tree, path)

    def _content_path(self, entry: Entry) -> str:
        return os.path.join(self._contents, f"{entry.layer}-{entry.position}")

    def _link(self, content: Entry, path: str) -> None:
        """Create a hard link to a stored content, or a copy where hard links are not supported."""
        source, target = self._content_path(content), self._path(path)
        with self._errors_for(path):
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
        """Set the mode and time of a directory; without an entry it keeps the defaults of mkdir."""
        target = self._path(path)
        with self._errors_for(path):
            if entry is None or entry.kind != "directory":
                os.chmod(target, stat.S_IMODE(os.stat(target).st_mode) | 0o700)
                return
            os.chmod(target, permissions(entry) & (0o777 | stat.S_ISVTX) | 0o700)
            os.utime(target, ns=_times(entry))


@contextmanager
def extracted(directory: str | os.PathLike[str], within: str) -> Iterator[Target]:
    """Yield a target that becomes the directory when the block ends without an error.

    Parameters
    ----------
    directory : str or path-like
        A new directory in an existing one, or an empty directory.
    within : str
        The path in the image of the part to extract.

    Yields
    ------
    Target
        The target to fill. After an error in the block, the directory is unchanged.

    Raises
    ------
    FileExistsError, FileNotFoundError
        The directory is not empty or is not a directory; or its parent does not exist.
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
    """Return whether the directory has to be created."""
    try:
        content = os.listdir(place)
    except FileNotFoundError:
        parent = os.path.dirname(place)
        if not os.path.isdir(parent):
            raise FileNotFoundError(errno.ENOENT, f"there is no directory {parent}", name) from None
        return True
    except NotADirectoryError:
        raise FileExistsError(errno.EEXIST, "exists and is not a directory", name) from None
    if content:
        text = "is not empty; name a new directory, or an empty one"
        raise FileExistsError(errno.EEXIST, text, name)
    return False


def _move_in(tree: str, place: str) -> None:
    """Move the contents of `tree` into an existing directory, which may be a mount point or in use."""
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
    """Return whether a symbolic link leads out of the target directory."""
    joined = posixpath.normpath(posixpath.join(posixpath.dirname(path), target))
    return posixpath.isabs(target) or joined == ".." or joined.startswith("../")
