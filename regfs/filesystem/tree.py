"""What is in the bucket, read only: paths, info, listings, and the filesystem's connection to its loop.

The lower half of :class:`~regfs.RegistryFileSystem`. Paths are translated to keys here and nowhere above.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hashlib
import os
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, overload

from fsspec.asyn import AsyncFileSystem, get_loop
from fsspec.config import apply_config
from fsspec.utils import stringify_path

from regfs.errors import BucketNotFoundError
from regfs.filesystem.patterns import Pattern
from regfs.filesystem.waiting import mirror_blocking
from regfs.parameters import insecure
from regfs.parameters.table import DriverParameters, Options, resolve
from regfs.paths import PROTOCOL, KeySpace, split_url
from regfs.s3.client import S3Client
from regfs.s3.objects import ObjectInfo
from regfs.s3.transport import Transport
from regfs.store.listing import list_all

if TYPE_CHECKING:
    from typing_extensions import Unpack

Info = dict[str, Any]

_FSSPEC_OPTIONS = {"use_listings_cache", "listings_expiry_time", "max_paths", "skip_instance_cache"}
_OWN_OPTIONS = {"anon", "asynchronous", "loop", "batch_size"} | _FSSPEC_OPTIONS


class _Options(Options, total=False):
    """With fsspec's own."""

    use_listings_cache: bool
    listings_expiry_time: float | None
    max_paths: int | None
    skip_instance_cache: bool


def by_name(info: Info) -> tuple[str, bool]:
    """Sort key of a directory's entries: by name, the file before the directory that is called the same."""
    return info["name"], info["type"] == "directory"


class _UrlBucket(str):
    """A bucket named in a URL. fsspec compares it with the storage option of the same name."""

    __slots__ = ()

    def __ne__(self, other: object) -> bool:
        if str.__ne__(self, other):
            raise ValueError(f"bucket: the URL names {str(self)!r} but the option bucket is {other!r}")
        return False

    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        return str.__eq__(self, other)

    def __reduce__(self) -> tuple[Any, ...]:
        return str, (str(self),)


if TYPE_CHECKING:
    _Resolving = type  # whose calls checkers take from __init__
else:

    class _Resolving(type(AsyncFileSystem)):
        """Makes filesystems of parameters alone, in place of a file's name or what the environment says.

        fsspec knows an instance again by its options, and pickles it as them. So they must not mean another
        bucket when the file or the environment has changed, nor on a worker that has neither.
        """

        def __call__(cls, *args: Any, **kwargs: Any) -> Any:
            default: dict[str, Any] = apply_config(cls, {})
            given = {**default, **kwargs}
            own = {key: value for key, value in given.items() if key in _OWN_OPTIONS}
            config = given.pop("config", None)
            found = resolve({key: value for key, value in given.items() if key not in own}, config)
            # None keeps fsspec from adding its configuration once more.
            return super().__call__(*args, **{**dict.fromkeys(default), **own, **found})


class RegistryTree(AsyncFileSystem, metaclass=_Resolving):
    """The base of :class:`~regfs.RegistryFileSystem`, which documents the parameters."""

    protocol = PROTOCOL
    root_marker = "/"
    _pid: int
    _loop: asyncio.AbstractEventLoop | None
    cachable = True
    mirror_sync_methods = False  # done in __init__, by waiting.mirror_blocking

    def __init__(
        self,
        *,
        config: str | os.PathLike[str] | None = None,
        anon: bool = False,
        asynchronous: bool = False,
        loop: asyncio.AbstractEventLoop | None = None,
        batch_size: int | None = None,
        **options: Unpack[_Options],
    ) -> None:
        # `config` has become parameters before, see _Resolving.
        ours = {k: v for k, v in options.items() if k not in _FSSPEC_OPTIONS}
        self.parameters = DriverParameters.from_mapping(ours)
        super().__init__(
            asynchronous=asynchronous, loop=loop, batch_size=batch_size, use_listings_cache=False
        )
        mirror_blocking(self)
        insecure.warn(self.parameters)
        self.space = KeySpace(self.parameters.bucket, self.parameters.root_directory)
        # pandas repeats with anon=True what lacked a permission; keys that were given stay in force.
        self._anonymous = anon and not self.parameters.access_key
        self.client = self._new_client()
        self._made: set[str] = set()
        # The class' own method cannot know the bucket; this one refuses another bucket's URL.
        self._strip_protocol = self._strip_own  # type: ignore[method-assign]  # on purpose

    # -- what fsspec gives, with types ----------------------------------------------------------------

    if TYPE_CHECKING:

        @overload
        def ls(self, path: str, detail: Literal[True] = True, **kwargs: Any) -> list[Info]: ...
        @overload
        def ls(self, path: str, detail: Literal[False], **kwargs: Any) -> list[str]: ...
        @overload
        def ls(self, path: str, detail: bool, **kwargs: Any) -> list[Info] | list[str]: ...
        def ls(self, path: str, detail: bool = True, **kwargs: Any) -> list[Info] | list[str]:
            """List a directory."""

        def info(self, path: str, **kwargs: Any) -> Info:
            """Return a file's or directory's properties."""

    # -- paths ----------------------------------------------------------------------------------------

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:
        if isinstance(path, (list, tuple, set)):
            return [cls._strip_protocol(p) for p in path]
        return split_url(stringify_path(path))[1]

    def _strip_own(self, path: Any) -> Any:
        if isinstance(path, (list, tuple, set)):
            return [self._strip_own(p) for p in path]
        bucket, path = split_url(stringify_path(path))
        if bucket and bucket != self.space.bucket:
            text = f"bucket: the URL names {bucket!r} but this filesystem is of {self.space.bucket!r}"
            raise ValueError(text)
        return path

    @staticmethod
    def _get_kwargs_from_urls(path: str) -> dict[str, Any]:
        bucket = split_url(path)[0]
        return {"bucket": _UrlBucket(bucket)} if bucket else {}

    def unstrip_protocol(self, name: str) -> str:
        """Give the full URL of a path."""
        return self.space.url(self._strip_own(name))

    @classmethod
    def _parent(cls, path: str) -> str:
        return cls._strip_protocol(path).rpartition("/")[0] or "/"

    @property
    def fsid(self) -> str:
        """The place, as an id that is the same in every process."""
        place = f"{self.parameters.endpoint_url or ''}\0{self.space.bucket}\0{self.space.base}"
        return f"{PROTOCOL}_{hashlib.sha256(place.encode()).hexdigest()[:16]}"

    def __repr__(self) -> str:
        return f"RegistryFileSystem(bucket={self.space.bucket!r}, rootdirectory={self.space.base!r})"

    # -- the loop -------------------------------------------------------------------------------------

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        """The loop that serves blocking calls; after a fork, the child's own."""
        if self._pid != os.getpid():
            self._pid = os.getpid()
            self._loop = None if self.asynchronous else get_loop()
            self.client.transport.loop = self._loop
        return self._loop

    def _new_client(self) -> S3Client:
        transport = Transport(
            self.parameters,
            self.space,
            anonymous=self._anonymous,
            asynchronous=self.asynchronous,
            loop=self._loop,
        )
        return S3Client(transport)

    async def set_session(self) -> Any:
        """Open the connections now instead of at the first request, and give the botocore client."""
        return await self.client.transport.session()

    async def close(self) -> None:
        """Close the running loop's connections; with ``asynchronous=True`` call it at the end."""
        await self.client.close()

    def call_soon(self, function: Callable[[], object]) -> None:
        """Run a function on the loop, from any thread, without waiting for it."""
        loop = self.loop
        if loop is not None and loop.is_running():
            with contextlib.suppress(RuntimeError):  # closed meanwhile: the interpreter ends
                loop.call_soon_threadsafe(function)

    # -- one path -------------------------------------------------------------------------------------

    def describe(self, item: ObjectInfo) -> Info:
        """Give an object's properties as fsspec's info dictionary."""
        return {
            "name": self.space.path(item.key),
            "size": item.size,
            "type": "file",
            "mtime": item.modified.timestamp(),  # pyarrow's FileInfo looks for it
            "LastModified": item.modified,
            "ETag": item.etag,
            "StorageClass": item.storage_class,
        }

    @staticmethod
    def _directory(path: str) -> Info:
        return {"name": path, "size": 0, "type": "directory", "StorageClass": "DIRECTORY"}

    def _not_found(self, path: str) -> FileNotFoundError:
        return FileNotFoundError(errno.ENOENT, "No such file or directory", self.space.url(path))

    async def _is_prefix(self, path: str) -> bool:
        # Without delimiter: SeaweedFS lists a prefix for a while after its last key is gone.
        page = await self.client.list_page(self.space.prefix(path), limit=1)
        return bool(page.objects)

    async def _no_file(self, path: str, missing: FileNotFoundError) -> OSError:
        """Say what is there instead of the file that was asked for."""
        if isinstance(missing, BucketNotFoundError) or not await self._is_prefix(path):
            return missing
        return IsADirectoryError(errno.EISDIR, "Is a directory", self.space.url(path))

    async def _raise_no_file(self, path: str, missing: FileNotFoundError) -> None:
        """Raise if something else is there instead; an error must not become its own cause."""
        found = await self._no_file(path, missing)
        if found is not missing:
            raise found from missing

    async def _info(self, path: str, **kwargs: Any) -> Info:
        path = self._strip_own(path)
        if path == "/":
            return self._directory(path)
        try:
            return self.describe(await self.client.head(self.space.key(path)))
        except BucketNotFoundError:
            raise
        except FileNotFoundError:
            if await self._is_prefix(path):
                return self._directory(path)
            raise

    async def _exists(self, path: str, **kwargs: Any) -> bool:
        try:
            await self._info(path)
        except BucketNotFoundError:
            raise
        except FileNotFoundError:
            return False
        return True

    async def _isfile(self, path: str) -> bool:
        path = self._strip_own(path)
        try:
            if path != "/":
                await self.client.head(self.space.key(path))
        except FileNotFoundError:
            return False
        return path != "/"

    async def _isdir(self, path: str) -> bool:
        try:
            return bool((await self._info(path))["type"] == "directory")
        except BucketNotFoundError:
            raise
        except FileNotFoundError:
            return False

    def created(self, path: str) -> datetime:
        """When the file was written: S3 replaces objects and never alters them. Aware, UTC."""
        return self.modified(path)

    def modified(self, path: str) -> datetime:
        """When the file was last written. Aware, UTC.

        Raises
        ------
        IsADirectoryError
            Directories have no time of their own.
        """
        info = self.info(path)
        if info["type"] == "directory":
            raise IsADirectoryError(errno.EISDIR, "Is a directory", self.unstrip_protocol(path))
        modified: datetime = info["LastModified"]
        return modified

    def checksum(self, path: str) -> int:
        """Give a number that changes when the file does, made of its ETag."""
        return int(self.ukey(path), 16)

    def ukey(self, path: str) -> str:
        """Give a hash that changes when the file does, made of its name, ETag and size."""
        info = self.info(path)
        told = f"{info['name']}\0{info.get('ETag', '')}\0{info['size']}"
        return hashlib.sha256(told.encode()).hexdigest()

    # -- directories ----------------------------------------------------------------------------------

    async def children(self, path: str, prefix: str = "", start_after: str = "") -> list[Info]:
        """List what lies directly in a directory, sorted by name; all of it or what begins with `prefix`.

        One LIST for each 1,000 entries. A file and a directory of one name are two entries. Of what comes
        before or is `start_after`, a name, the service may leave out all it likes.

        Raises
        ------
        FileNotFoundError
            Nothing lies under it, so it is no directory. "/" always is one.
        """
        base = self.space.prefix(path)
        entries: list[Info] = []
        found = path == "/" or bool(prefix)
        start = start_after and base + start_after
        async for page in self.client.pages(base + prefix, delimiter="/", start_after=start):
            found = found or bool(page.objects or page.prefixes)
            # What no path leads to is left out, the marker of the directory itself among it.
            entries += [self.describe(item) for item in page.objects if self.space.addressable(item.key)]
            keys = [common[:-1] for common in page.prefixes]
            entries += [self._directory(self.space.path(key)) for key in keys if self.space.addressable(key)]
        if not found:
            raise self._not_found(path)
        return sorted(entries, key=by_name)

    async def _ls(self, path: str, detail: bool = True, prefix: str = "", **kwargs: Any) -> list[Any]:
        path = self._strip_own(path)
        try:
            entries = await self.children(path, prefix)
        except BucketNotFoundError:
            raise
        except FileNotFoundError:
            try:
                entries = [self.describe(await self.client.head(self.space.key(path)))]
            except FileNotFoundError:
                if path not in self._made:
                    raise
                entries = []
        return entries if detail else list(dict.fromkeys(info["name"] for info in entries))

    async def _walk(
        self,
        path: str,
        maxdepth: int | None = None,
        topdown: bool = True,
        on_error: Any = "omit",
        **kwargs: Any,
    ) -> AsyncIterator[tuple[str, Any, Any]]:
        # fsspec would omit every error; only what is missing may look empty.
        def omit(error: Exception) -> None:
            if not isinstance(error, FileNotFoundError) or isinstance(error, BucketNotFoundError):
                raise error

        on_error = omit if on_error == "omit" else on_error
        async for step in super()._walk(
            path, maxdepth=maxdepth, topdown=topdown, on_error=on_error, **kwargs
        ):
            yield step

    async def _find(
        self,
        path: str,
        maxdepth: int | None = None,
        withdirs: bool = False,
        *,
        detail: bool = False,
        prefix: str = "",
        **kwargs: Any,
    ) -> Any:
        path = self._strip_own(path)
        if maxdepth is not None:
            found = await super()._find(path, maxdepth=maxdepth, withdirs=withdirs, detail=True)
            start = path.rstrip("/") + "/" + prefix
            found = {k: v for k, v in found.items() if not prefix or k.startswith(start) or k == path}
            return found if detail else list(found)
        base = self.space.prefix(path)
        objects: list[ObjectInfo] = []

        async def keep(page: list[ObjectInfo]) -> None:
            objects.extend(page)

        await list_all(self.client, base + prefix, keep)
        there = bool(objects) or (path == "/" and not prefix)
        if not there and not prefix:
            with contextlib.suppress(FileNotFoundError):
                objects = [await self.client.head(self.space.key(path))]
        files = {self.space.path(item.key): item for item in objects if self.space.addressable(item.key)}
        if not withdirs and not detail:
            return sorted(files)
        found = {name: self.describe(item) for name, item in files.items()}
        if withdirs and there:
            for item in objects:
                below = "/" in item.key[len(base) :]
                directory = self.space.path(item.key.rpartition("/")[0]) if below else path
                while len(directory) > len(path) and directory not in found:
                    if self.space.addressable(self.space.base + directory[1:]):
                        found[directory] = self._directory(directory)
                    directory = self._parent(directory)
            found.setdefault(path, self._directory(path))
        names = sorted(found)
        if withdirs:
            # A level at a time: zarr's clear() removes each entry with all that is in it, in this order, and
            # stops at the first that is gone with its parent. All of the first level must be gone by then.
            names.sort(key=lambda name: name.count("/"))
        return {name: found[name] for name in names} if detail else names

    async def candidates(
        self, pattern: Pattern, maxdepth: int | None = None, withdirs: bool = True, **kwargs: Any
    ) -> dict[str, Info]:
        """List what lies where a pattern's matches do; what is called as the pattern is there, too.

        Not if something in it is escaped: then that lies elsewhere.
        """
        if pattern.name is None:
            entries: dict[str, Info] = await self._find(
                pattern.root,
                maxdepth=pattern.depth(maxdepth),
                withdirs=withdirs,
                detail=True,
                prefix=pattern.prefix,
                **kwargs,
            )
            return entries
        try:
            return {pattern.name: await self._info(pattern.name)}
        except BucketNotFoundError:
            raise
        except FileNotFoundError:
            return {}

    async def _glob(
        self,
        path: str,
        maxdepth: int | None = None,
        detail: bool = False,
        withdirs: bool = True,
        **kwargs: Any,
    ) -> Any:
        # fsspec would list from the first "[" on, be it one that glob.escape has made.
        if maxdepth is not None and maxdepth < 1:
            raise ValueError("maxdepth must be at least 1")
        pattern = Pattern(self._strip_own(path), directories=path.endswith("/"))
        entries = await self.candidates(pattern, maxdepth, withdirs, **kwargs)
        if pattern.name is None:
            entries = pattern.matching(entries)
        return entries if detail else list(entries)

    async def _du(self, path: str, total: bool = True, maxdepth: int | None = None, **kwargs: Any) -> Any:
        found = await self._find(path, maxdepth=maxdepth, detail=True, **kwargs)
        sizes = {name: info["size"] for name, info in found.items()}
        return sum(sizes.values()) if total else sizes

    async def _mkdir(self, path: str, create_parents: bool = True, **kwargs: Any) -> None:
        path = self._strip_own(path)
        self.space.key(path)
        # A directory is where keys are, so there is nothing to store, and nothing but ls() shows it. DuckDB
        # lists the directory that it has made, to see that it is empty: no error, then.
        self._made.add(path)

    async def _makedirs(self, path: str, exist_ok: bool = False) -> None:
        await self._mkdir(path)

    def rmdir(self, path: str) -> None:
        """Forget a directory that was made; what lies in one stays, and so does the directory."""
        self._made.discard(self._strip_own(path))
