"""RegistryFileSystem: a registry's bucket as an fsspec filesystem, ``regfs://bucket/path``.

The fsspec face of a :class:`~regfs.store.store.Store`: fsspec's names, paths, patterns, info dictionaries,
callbacks and transactions. Users need only expect builtin exceptions, each with the full URL.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hashlib
import os
import stat
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator, Sequence
from datetime import datetime, timedelta
from functools import partial
from glob import has_magic
from typing import IO, TYPE_CHECKING, Any, Literal, overload

from fsspec.asyn import AsyncFileSystem, get_loop
from fsspec.callbacks import DEFAULT_CALLBACK, Callback
from fsspec.implementations.local import make_path_posix
from fsspec.utils import stringify_path

from regfs.errors import BucketNotFoundError
from regfs.filesystem import find
from regfs.filesystem.file import Held, RegistryFile, WholeBinary, WholeText
from regfs.filesystem.info import Info, info_of
from regfs.filesystem.names import Names, ancestors, tops
from regfs.filesystem.options import FSSPEC_OPTIONS, FileSystemOptions, Resolving, UrlBucket
from regfs.filesystem.pairs import LOCAL, End, Pair, make_room
from regfs.filesystem.patterns import Pattern, blocking, names_only
from regfs.filesystem.stream import FIRST_BLOCK
from regfs.filesystem.waiting import mirror_blocking, sync
from regfs.parameters import insecure
from regfs.parameters.table import DriverParameters
from regfs.paths import PROTOCOL, KeySpace, split_url
from regfs.s3.client import MAX_PRESIGN, S3Client
from regfs.s3.transport import Transport
from regfs.store.pending import PendingUpload
from regfs.store.ranges import NEAR, Block, merge
from regfs.store.store import Entry, Store, once
from regfs.store.transfer import gather
from regfs.store.upload import Upload, flat
from regfs.store.verify import Verifier, promised

if TYPE_CHECKING:
    from io import TextIOWrapper

    from typing_extensions import Unpack

    from regfs.filesystem.afile import RegistryAsyncFile

DEFAULT_EXPIRY = 20 * 60
"""Seconds that a presigned URL is valid by default, as in the registry's driver."""

_Binary = Literal["rb", "wb", "xb", "ab"]
_Text = Literal["r", "w", "x", "a", "rt", "wt", "xt", "at"]


class RegistryFileSystem(AsyncFileSystem, metaclass=Resolving):
    """A container registry's S3 bucket.

    Parameters
    ----------
    config : str or path-like, optional
        A registry's ``config.yml``, whose ``storage.s3``, ``s3aws`` or ``s3_v2`` section gives the options,
        with the registry's own ``REGISTRY_STORAGE_S3_*`` overrides; options given beside it win. Without it
        and any option, `bucket` aside, ``REGFS_CONFIG`` names it, or those variables give the options.
    anon : bool
        Send unsigned requests, to a public bucket; without effect beside ``accesskey``.
    asynchronous : bool
        Whether the instance is used from coroutines of the caller's own event loop.
    loop : asyncio.AbstractEventLoop, optional
        The loop for blocking calls; fsspec's by default.
    batch_size : int, optional
        Requests at once in operations on many paths; fsspec's default otherwise.
    **options
        The registry's storage parameters, by the registry's spelling: ``bucket``, ``region``,
        ``rootdirectory``, ``encrypt`` ... (:class:`~regfs.DriverParameters`).

    Attributes
    ----------
    parameters : DriverParameters
        The parameters in force.
    store : Store
        The bucket by driver paths, without fsspec; its methods are coroutines.
    client : S3Client
        Sends the requests.
    space : KeySpace
        Maps paths to keys.

    Raises
    ------
    regfs.ParameterError
        An option is unknown, missing or breaks its rule. No connection is opened here.

    Examples
    --------
    >>> fs = fsspec.filesystem("regfs", bucket="registry", region="eu-west-1")  # doctest: +SKIP
    >>> fs.ls("/docker/registry/v2/repositories", detail=False)  # doctest: +SKIP
    ['/docker/registry/v2/repositories/library']
    """

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
        **options: Unpack[FileSystemOptions],
    ) -> None:
        # `config` has become parameters before, see Resolving.
        parameters = {name: value for name, value in options.items() if name not in FSSPEC_OPTIONS}
        self.parameters = DriverParameters.from_mapping(parameters)
        super().__init__(
            asynchronous=asynchronous, loop=loop, batch_size=batch_size, use_listings_cache=False
        )
        mirror_blocking(self)
        insecure.warn(self.parameters)
        self.space = KeySpace(self.parameters.bucket, self.parameters.root_directory)
        self.client = S3Client(
            Transport(
                self.parameters,
                self.space,
                # pandas repeats with anon=True what lacked a permission; keys that were given stay in force.
                anonymous=anon and not self.parameters.access_key,
                asynchronous=self.asynchronous,
                loop=self._loop,
            )
        )
        self.store = Store(self.client, self.space)
        self._made: set[str] = set()
        # The class's own method cannot know the bucket; this one refuses another bucket's URL.
        self._strip_protocol = self._strip_own  # type: ignore[method-assign]  # on purpose

    # -- fsspec's methods, with types -----------------------------------------------------------------

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
        return {"bucket": UrlBucket(bucket)} if bucket else {}

    def unstrip_protocol(self, name: str) -> str:
        """Return the full URL of a path."""
        return self.space.url(self._strip_own(name))

    @classmethod
    def _parent(cls, path: str) -> str:
        return cls._strip_protocol(path).rpartition("/")[0] or "/"

    @property
    def fsid(self) -> str:
        """An id of the bucket and root directory that is the same in every process."""
        place = f"{self.parameters.endpoint_url or ''}\0{self.space.bucket}\0{self.space.base}"
        return f"{PROTOCOL}_{hashlib.sha256(place.encode()).hexdigest()[:16]}"

    def __repr__(self) -> str:
        return f"RegistryFileSystem(bucket={self.space.bucket!r}, rootdirectory={self.space.base!r})"

    # -- the loop and its connections -----------------------------------------------------------------

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        """The loop that serves blocking calls; after a fork, the child's own."""
        if self._pid != os.getpid():
            self._pid = os.getpid()
            self._loop = None if self.asynchronous else get_loop()
            self.client.transport.loop = self._loop
        return self._loop

    async def set_session(self) -> Any:
        """Open the connections now instead of at the first request, and return the botocore client."""
        return await self.client.transport.session()

    async def close(self) -> None:
        """Close the running loop's connections; with ``asynchronous=True`` call it at the end."""
        await self.client.close()

    # -- properties -----------------------------------------------------------------------------------

    async def _info(self, path: str, **kwargs: Any) -> Info:
        return info_of(await self.store.stat(self._strip_own(path)))

    async def _exists(self, path: str, **kwargs: Any) -> bool:
        return await self.store.lookup(self._strip_own(path)) is not None

    async def _isfile(self, path: str) -> bool:
        return await self.store.find(self._strip_own(path)) is not None

    async def _isdir(self, path: str) -> bool:
        entry = await self.store.lookup(self._strip_own(path))
        return entry is not None and entry.object is None

    def created(self, path: str) -> datetime:
        """Return when the file was written: S3 replaces objects and never alters them. Aware, UTC."""
        return self.modified(path)

    def modified(self, path: str) -> datetime:
        """Return when the file was last written. Aware, UTC.

        Raises
        ------
        IsADirectoryError
            Directories have no time of their own.
        """
        info = self.info(path)
        if info["type"] == "directory":
            raise self.store.directory_error(self._strip_own(path))
        modified: datetime = info["LastModified"]
        return modified

    def checksum(self, path: str) -> int:
        """Return a number that changes when the file does, made of its name, ETag and size."""
        return int(self.ukey(path), 16)

    def ukey(self, path: str) -> str:
        """Return a hash that changes when the file does, made of its name, ETag and size."""
        info = self.info(path)
        properties = f"{info['name']}\0{info.get('ETag', '')}\0{info['size']}"
        return hashlib.sha256(properties.encode()).hexdigest()

    # -- directories ----------------------------------------------------------------------------------

    async def _ls(self, path: str, detail: bool = True, prefix: str = "", **kwargs: Any) -> list[Any]:
        path = self._strip_own(path)
        entries = await self.store.children(path, prefix)
        if entries is None:
            # Only a file of that name can be meant; one that was made by mkdir() looks empty.
            if path in self._made:
                item = await self.store.find(path)
            else:
                item = await self.store.head(path)
            entries = [Entry(path, item)] if item else []
        if detail:
            return [info_of(entry) for entry in entries]
        return list(dict.fromkeys(entry.path for entry in entries))

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
            infos = await super()._find(path, maxdepth=maxdepth, withdirs=withdirs, detail=True)
            start = path.rstrip("/") + "/" + prefix
            infos = {
                name: info
                for name, info in infos.items()
                if not prefix or name.startswith(start) or name == path
            }
            return infos if detail else list(infos)
        if not withdirs and not detail:
            return await find.find_paths(self.store, path, prefix)
        infos = await find.find(self.store, path, prefix, withdirs=withdirs)
        return infos if detail else list(infos)

    def find_pages(self, path: str = "/") -> Generator[list[Info], None, None]:
        """List all files under a directory page by page: memory does not grow with the tree.

        Parameters
        ----------
        path : str
            The directory; one that does not exist has no pages.

        Yields
        ------
        list of dict
            Up to 1,000 files as ``info`` returns them; the pages are in no order. One LIST each, and some
            more, 16 at a time.

        Raises
        ------
        OSError
            The listing failed, perhaps after some pages.
        """
        pages = find.pages(self.store, self._strip_own(path))
        try:
            while (infos := sync(self.loop, _next_page, pages)) is not None:
                yield infos
        finally:
            sync(self.loop, pages.aclose)

    async def _glob(
        self,
        path: str,
        maxdepth: int | None = None,
        detail: bool = False,
        withdirs: bool = True,
        **kwargs: Any,
    ) -> Any:
        # fsspec would list from the first "[" on, even from one that glob.escape has made.
        if maxdepth is not None and maxdepth < 1:
            raise ValueError("maxdepth must be at least 1")
        pattern = Pattern(self._strip_own(path), directories=path.endswith("/"))
        entries = await self._paths.candidates(pattern, maxdepth, withdirs)
        if pattern.name is None:
            entries = pattern.matching(entries)
        return entries if detail else list(entries)

    async def _du(self, path: str, total: bool = True, maxdepth: int | None = None, **kwargs: Any) -> Any:
        infos = await self._find(path, maxdepth=maxdepth, detail=True, **kwargs)
        sizes = {name: info["size"] for name, info in infos.items()}
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
        """Forget a directory that was made; one with files in it stays, and so do they."""
        self._made.discard(self._strip_own(path))

    # -- one file, whole ------------------------------------------------------------------------------

    async def _cat_file(
        self,
        path: str,
        start: int | None = None,
        end: int | None = None,
        verify: bool = False,
        **kwargs: Any,
    ) -> bytes:
        path = self._strip_own(path)
        if verify:
            promised(path)
            if (start, end) != (None, None):
                raise ValueError(f"start {start}, end {end}: only a whole blob can be verified")
        try:
            data = await self._read(path, start, end)
        except FileNotFoundError as exc:
            await self._raise_directory(path, exc)
            raise
        if verify:
            await asyncio.to_thread(Verifier(self.space, path, len(data)).feed, 0, data)
        return data

    async def _read(self, path: str, start: int | None, stop: int | None) -> bytes:
        """Read a slice, whose ends may be negative as those of Python's."""
        if start is not None and start < 0 and stop is None:
            return await self.store.read_suffix(path, -start)
        if (start or 0) < 0 or (stop or 0) < 0:
            start, stop, _ = slice(start, stop).indices((await self.store.head(path)).size)
        start = start or 0
        if stop is not None and stop <= start:
            await self.store.head(path)  # nothing to read, but a missing file is an error all the same
            return b""
        return await self.store.read(path, start, stop)

    async def _raise_directory(self, path: str, missing: FileNotFoundError) -> None:
        """Raise if a directory is there instead; an error must not become its own cause."""
        error = await self.store.explain(path, missing)
        if error is not missing:
            raise error from missing

    async def _pipe_file(self, path: str, value: Any, mode: str = "overwrite", **kwargs: Any) -> None:
        path = self._strip_own(path)
        exclusive = mode == "create"
        if self._intrans:
            view = flat(value)
            upload = self.store.new_upload(path, exclusive=exclusive, total=len(view))
            await self.store.publish(upload, once(view), commit=False)
            self._hold(upload)
        else:
            await self.store.write(path, value, exclusive=exclusive)

    def _hold(self, upload: Upload) -> None:
        """Leave the commit to the transaction that is open."""
        self.transaction.files.append(Held(self, upload))

    async def _put_file(
        self,
        lpath: str,
        rpath: str,
        mode: str = "overwrite",
        callback: Callback = DEFAULT_CALLBACK,
        **kwargs: Any,
    ) -> None:
        status = await asyncio.to_thread(os.stat, lpath)
        if stat.S_ISDIR(status.st_mode):
            await self._makedirs(rpath, exist_ok=True)
            return
        path, size = self._strip_own(rpath), status.st_size
        callback.set_size(size)
        upload = self.store.new_upload(path, exclusive=mode == "create", total=size)
        held = self._intrans
        await self.store.send_file(lpath, upload, commit=not held, progress=callback.relative_update)
        if held:
            self._hold(upload)

    async def _get_file(
        self,
        rpath: str,
        lpath: str | IO[bytes],
        callback: Callback = DEFAULT_CALLBACK,
        outfile: IO[bytes] | None = None,
        verify: bool = False,
        **kwargs: Any,
    ) -> None:
        path = self._strip_own(rpath)
        target: Any = outfile or lpath
        if verify:
            promised(path)
        try:
            if isinstance(target, (str, os.PathLike)):
                target = os.fspath(target)
                if await asyncio.to_thread(os.path.isdir, target) and not await self._isdir(path):
                    raise IsADirectoryError(errno.EISDIR, "Is a directory", target)
            await self.store.save(
                path, target, verify=verify, size=callback.set_size, progress=callback.relative_update
            )
        except FileNotFoundError as exc:
            if isinstance(await self.store.explain(path, exc), IsADirectoryError):
                await asyncio.to_thread(os.makedirs, str(lpath), exist_ok=True)
                return
            raise

    async def _cp_file(self, path1: str, path2: str, **kwargs: Any) -> None:
        source, target = self._strip_own(path1), self._strip_own(path2)
        self.store.key(target)
        if source == "/":  # no file, even where a marker of that key lies
            return
        try:
            await self.store.copy(source, target)
        except FileNotFoundError as exc:
            # fsspec hands over the directories of a tree as well; there is nothing to copy in them.
            if isinstance(await self.store.explain(source, exc), IsADirectoryError):
                return
            raise

    async def _mv_file(self, path1: str, path2: str, **kwargs: Any) -> None:
        await self.store.move(self._strip_own(path1), self._strip_own(path2))

    async def _touch(self, path: str, truncate: bool = True, **kwargs: Any) -> None:
        await self.store.touch(self._strip_own(path), truncate=truncate)

    def touch(self, path: str, truncate: bool = True, **kwargs: Any) -> None:
        """Create an empty file; with ``truncate=False`` an existing one stays as it is, its time too."""
        sync(self.loop, self._touch, path, truncate)

    # -- names and patterns ---------------------------------------------------------------------------

    @property
    def _paths(self) -> Names:
        return Names(self.store, self._find, self.batch_size)

    def _names(self, path: Any) -> list[str]:
        """Return the paths that were given, one or several, each once."""
        paths = [path] if isinstance(path, (str, os.PathLike)) else path
        names = list(dict.fromkeys(self._strip_own(given) for given in paths))
        if not names:
            raise FileNotFoundError(errno.ENOENT, "No path is given")
        return names

    async def _expand_path(
        self, path: Any, recursive: bool = False, maxdepth: int | None = None, assume_literal: bool = False
    ) -> list[str]:
        if maxdepth is not None and maxdepth < 1:
            raise ValueError("maxdepth must be at least 1")
        names = self._names(path)
        literal = assume_literal or names_only()
        if not recursive and (literal or not any(map(has_magic, names))):
            return sorted(names)
        return sorted(await self._paths.expand(names, recursive, maxdepth, literal=literal))

    expand_path = blocking(_expand_path)

    # -- many files: a fixed number of workers carries them, and an interrupt ends all of them --------

    async def _cat(
        self,
        path: Any,
        recursive: bool = False,
        on_error: str = "raise",
        batch_size: int | None = None,
        **kwargs: Any,
    ) -> Any:
        # fsspec would make a task of each file at once, and read the directories of a tree as well.
        if recursive:
            infos = await self._paths.expand(self._names(path), True, literal=names_only())
            paths = sorted(name for name, info in infos.items() if info["type"] == "file")
        else:
            paths = await self._expand_path(path)

        async def read(name: str) -> bytes | Exception:
            try:
                return await self._cat_file(name, **kwargs)
            except Exception as exc:  # noqa: BLE001 - given back in its place, or raised below
                return exc

        results = await gather([partial(read, name) for name in paths], batch_size or self.batch_size)
        if on_error == "raise":
            for answer in results:
                if isinstance(answer, Exception):
                    raise answer
        if isinstance(path, str) and paths == [self._strip_own(path)]:
            return results[0]
        answers = zip(paths, results, strict=True)
        return {name: x for name, x in answers if on_error != "omit" or not isinstance(x, Exception)}

    cat = blocking(_cat)

    async def _pipe(self, path: Any, value: Any = None, batch_size: int | None = None, **kwargs: Any) -> None:
        files = {path: value} if isinstance(path, str) else path
        calls = [partial(self._pipe_file, name, data, **kwargs) for name, data in files.items()]
        await gather(calls, batch_size or self.batch_size)

    async def _cat_ranges(
        self,
        paths: list[str],
        starts: Any,
        ends: Any,
        max_gap: int | None = None,
        batch_size: int | None = None,
        on_error: str = "return",
        **kwargs: Any,
    ) -> list[Any]:
        if not isinstance(paths, list):
            raise TypeError(f"paths: a list is needed, not {type(paths).__name__}")
        spread = [[x] * len(paths) if x is None or isinstance(x, int) else list(x) for x in (starts, ends)]
        if {len(paths)} != {len(x) for x in spread}:
            raise ValueError("paths, starts and ends differ in length")
        ranges = list(zip([self._strip_own(path) for path in paths], *spread, strict=True))
        blocks = merge(ranges, NEAR if max_gap is None else max_gap)

        def read(block: Block) -> Callable[[], Awaitable[bytes | Exception]]:
            async def call() -> bytes | Exception:
                try:
                    return await self._cat_file(block.path, block.start, block.stop)
                except Exception as exc:  # noqa: BLE001 - given back in its place, or raised below
                    return exc

            return call

        results: list[Any] = [None] * len(ranges)
        answers = await gather([read(block) for block in blocks], batch_size or self.batch_size)
        for block, answer in zip(blocks, answers, strict=True):
            if isinstance(answer, Exception) and on_error != "return":
                raise answer
            for position in block.wanted:
                _, start, stop = ranges[position]
                if isinstance(answer, Exception) or len(block.wanted) == 1:
                    results[position] = answer
                else:
                    at = block.start or 0
                    results[position] = answer[(start or 0) - at : stop - at]
        return results

    # -- in, out, about and away ----------------------------------------------------------------------

    @property
    def _end(self) -> End:
        return End(self._strip_own, self._expand_path, self._directories)

    async def _directories(self, names: Sequence[str]) -> set[str]:
        answers = await gather([partial(self._isdir, name) for name in names], self.batch_size)
        return {name for name, is_directory in zip(names, answers, strict=True) if is_directory}

    async def _put(
        self,
        lpath: Any,
        rpath: Any,
        recursive: bool = False,
        callback: Callback = DEFAULT_CALLBACK,
        batch_size: int | None = None,
        maxdepth: int | None = None,
        **kwargs: Any,
    ) -> None:
        self._made.clear()  # where directories are never empty, fsspec's suite wants none to be left
        pairs = await LOCAL.pairs(lpath, rpath, self._end, recursive=recursive, maxdepth=maxdepth)
        directories = await LOCAL.directories([source for source, _ in pairs])
        files = [pair for pair in pairs if pair[0] not in directories]
        await self._carry(files, partial(self._put_file, **kwargs), callback, batch_size)

    put = blocking(_put)

    async def _get(
        self,
        rpath: Any,
        lpath: Any,
        recursive: bool = False,
        callback: Callback = DEFAULT_CALLBACK,
        maxdepth: int | None = None,
        batch_size: int | None = None,
        **kwargs: Any,
    ) -> None:
        target = make_path_posix(lpath)
        pairs = await self._end.pairs(rpath, target, LOCAL, recursive=recursive, maxdepth=maxdepth)
        await asyncio.to_thread(make_room, [path for _, path in pairs], target)
        await self._carry(pairs, partial(self._get_file, **kwargs), callback, batch_size)

    get = blocking(_get)

    async def _carry(
        self,
        pairs: list[Pair],
        carry: Callable[..., Awaitable[None]],
        callback: Callback,
        batch_size: int | None,
    ) -> None:
        # fsspec would carry as well, but what is interrupted then goes on in tasks of its own.
        callback.set_size(len(pairs))

        async def carry_file(source: str, target: str) -> None:
            with callback.branched(source, target) as child:
                await carry(source, target, callback=child)
            callback.relative_update(1)

        await gather([partial(carry_file, *pair) for pair in pairs], batch_size or self.batch_size)

    async def _copy(
        self,
        path1: Any,
        path2: Any,
        recursive: bool = False,
        on_error: str | None = None,
        maxdepth: int | None = None,
        batch_size: int | None = None,
        callback: Callback = DEFAULT_CALLBACK,
        **kwargs: Any,
    ) -> None:
        self._made.clear()  # as in _put()
        pairs = await self._end.pairs(path1, path2, self._end, recursive=recursive, maxdepth=maxdepth)
        ignore = on_error == "ignore" or (on_error is None and recursive)
        await self._copy_pairs(pairs, callback, batch_size, ignore=ignore)

    copy = blocking(_copy)

    async def _copy_pairs(
        self, pairs: list[Pair], callback: Callback, batch_size: int | None, *, ignore: bool
    ) -> None:
        """Copy files; with `ignore`, what has vanished since it was listed is left out."""
        callback.set_size(len(pairs))

        async def copy(source: str, target: str) -> None:
            try:
                await self._cp_file(source, target)
            except FileNotFoundError:
                if not ignore:
                    raise
            callback.relative_update(1)

        await gather([partial(copy, *pair) for pair in pairs], batch_size or self.batch_size)

    async def _mv(
        self,
        path1: Any,
        path2: Any,
        recursive: bool = False,
        maxdepth: int | None = None,
        batch_size: int | None = None,
        callback: Callback = DEFAULT_CALLBACK,
        **kwargs: Any,
    ) -> None:
        """Move files and trees: only when all of them have been copied are they deleted."""
        if path1 == path2:
            return
        # fsspec would copy and then remove by the same pattern, which may match other files by then.
        pairs = await self._end.pairs(path1, path2, self._end, recursive=recursive, maxdepth=maxdepth)
        if not pairs:
            text = "Is a directory; give recursive=True to move it"
            raise IsADirectoryError(errno.EISDIR, text, self.space.url(self._names(path1)[0]))
        sources = self._names(source for source, _ in pairs)
        whole = recursive and maxdepth is None
        top_names = tops(sources) if whole else sources
        self._check_targets([self._strip_own(target) for _, target in pairs], top_names, whole=whole)
        await self._copy_pairs(pairs, callback, batch_size, ignore=False)
        if whole:
            deletions = [partial(self.store.delete_tree, top) for top in top_names]
            await gather(deletions, batch_size or self.batch_size)
        else:
            await self._remove(sources, recursive=recursive)

    mv = blocking(_mv)

    def _check_targets(self, targets: Sequence[str], sources: Sequence[str], *, whole: bool) -> None:
        """Check that no file is lost by a move: replaced by another, or copied to where it is deleted."""
        deleted = set(sources)
        taken: set[str] = set()
        for target in targets:
            if target in deleted or (whole and not deleted.isdisjoint(ancestors(target))):
                raise OSError(errno.EINVAL, "Cannot be moved onto or into itself", self.space.url(target))
            if target in taken:
                raise OSError(errno.EINVAL, "Several files would be moved there", self.space.url(target))
            taken.add(target)

    async def _rm_file(self, path: str, **kwargs: Any) -> None:
        await self._remove([self._strip_own(path)])  # the very file, whose name may look like a pattern

    async def _rm(
        self,
        path: str | list[str],
        recursive: bool = False,
        batch_size: int | None = None,
        maxdepth: int | None = None,
        **kwargs: Any,
    ) -> None:
        if not recursive or maxdepth is not None:
            paths = await self._expand_path(path, recursive=recursive, maxdepth=maxdepth)
            await self._remove(paths, recursive=recursive)
            return
        literal = names_only()
        names = self._names(path)
        self._made.difference_update(names)
        top_names = tops(names)
        if len(top_names) > 1 and not literal and any(map(has_magic, top_names)):
            # What each name means is decided before a deletion changes it; a single name decides by its own.
            expand = partial(self._paths.expand, recursive=False, literal=False)
            meanings = await gather([partial(expand, [top]) for top in top_names], self.batch_size)
            top_names = tops(name for infos in meanings for name in infos)
            literal = True
        for top in top_names:
            try:
                await self.store.delete_tree(top)
            except FileNotFoundError:
                pattern = None if literal or not has_magic(top) else await self._paths.pattern(top)
                matches = pattern.matching(await self._paths.candidates(pattern)) if pattern else {}
                if not matches:
                    raise
                for match in tops(matches):
                    with contextlib.suppress(FileNotFoundError):  # gone meanwhile
                        await self.store.delete_tree(match)

    rm = blocking(_rm)

    async def _remove(self, paths: list[str], *, recursive: bool = False) -> None:
        """Delete files; what is a directory is an error, or with `recursive` left alone."""
        infos = await gather([lambda p=p: self._info(p) for p in paths], self.batch_size)  # type: ignore[misc]  # a lambda's default has no type
        files = [info["name"] for info in infos if info["type"] == "file"]
        if not recursive and len(files) < len(infos):
            folder = next(info["name"] for info in infos if info["type"] != "file")
            text = "Is a directory; give recursive=True to remove it"
            raise IsADirectoryError(errno.EISDIR, text, self.space.url(folder))
        await self.store.delete(files)

    # -- open files -----------------------------------------------------------------------------------

    async def open_async(
        self, path: str, mode: str = "rb", verify: bool = False, **kwargs: Any
    ) -> RegistryAsyncFile:
        """Open a file whose methods are awaited, for streaming reads and writes.

        Parameters
        ----------
        path : str
            The driver path.
        mode : str
            "rb"; "wb"; "xb", which fails if the file exists; "ab", which continues it.
        verify : bool
            As for :meth:`verify`, while it is read.

        Raises
        ------
        FileNotFoundError
            There is no such file, or the directory is none: at once, not at the first read.
        ValueError
            Another mode, or a compression; `verify`, and the path promises no digest.
        """
        from regfs.filesystem.afile import RegistryAsyncFile

        if mode not in ("rb", "wb", "xb", "ab"):
            raise ValueError(f"mode {mode!r}: must be one of rb, wb, xb, ab")
        if kwargs.get("compression"):
            raise ValueError(f"compression {kwargs['compression']!r}: not in open_async")
        path = self._strip_own(path)
        if verify:
            promised(path)
        opened = await self._open_for(path, mode, None)
        verifier = Verifier(self.space, path, opened.info.size) if verify and mode == "rb" else None
        return RegistryAsyncFile(self, self.store, path, mode, opened, verifier)

    async def _open_for(self, path: str, mode: str, stop: int | None) -> Any:
        """Open what a file of a mode reads, up to `stop`, or writes."""
        if mode != "rb":
            return await self.store.open_upload(path, mode)
        try:
            return await self.store.open_body(path, 0, stop)
        except FileNotFoundError as exc:
            await self._raise_directory(path, exc)
            raise

    def _open(
        self, path: str, mode: str = "rb", block_size: int | None = None, verify: bool = False, **kwargs: Any
    ) -> Any:
        if self.asynchronous:
            raise RuntimeError("open() blocks; with asynchronous=True await open_async() or _cat_file()")
        if mode not in ("rb", "wb", "xb", "ab"):
            raise ValueError(f"mode {mode!r}: must be one of rb, wb, xb, ab, or the same without b for text")
        if verify:
            promised(path)
        kwargs.pop("size", None)  # the response has it
        opened = sync(self.loop, self._open_for, path, mode, FIRST_BLOCK)
        verifier = Verifier(self.space, path, opened.info.size) if verify and mode == "rb" else None
        return RegistryFile(self, self.store, path, mode, opened, block_size, verifier=verifier, **kwargs)

    @overload
    def open(self, path: str, mode: _Binary = "rb", *args: Any, **kwargs: Any) -> RegistryFile: ...
    @overload
    def open(self, path: str, mode: _Text, *args: Any, **kwargs: Any) -> TextIOWrapper: ...
    @overload
    def open(self, path: str, mode: str, *args: Any, **kwargs: Any) -> Any: ...
    def open(
        self,
        path: str,
        mode: str = "rb",
        block_size: int | None = None,
        cache_options: dict[str, Any] | None = None,
        compression: str | None = None,
        **kwargs: Any,
    ) -> Any:
        """Open a file; see :meth:`fsspec.AbstractFileSystem.open` for the parameters.

        A file opened for writing is published whole by ``close()``. An exception that leaves its ``with``
        block publishes nothing, in text mode and under a compression as well.
        """
        if "r" in mode or ("b" in mode and compression is None):
            file = super().open(path, mode, block_size, cache_options, compression, **kwargs)
            if "b" not in mode:
                file.mode = mode  # as the builtin open() does
            return file
        from fsspec.compression import compr
        from fsspec.core import get_compression

        text = {k: kwargs.pop(k) for k in ("encoding", "errors", "newline") if k in kwargs}
        binary = mode.replace("t", "").replace("b", "") + "b"
        codec = get_compression(self._strip_own(path), compression)
        file = super().open(path, binary, block_size, cache_options, None, **kwargs)
        try:
            target = file if codec is None else WholeBinary(compr[codec](file, mode="w"), file)
            return target if "b" in mode else WholeText(target, file, mode, **text)
        except BaseException:  # of an unknown encoding, say
            file.discard()
            raise

    def arrow(self) -> Any:
        """Return this filesystem as pyarrow's, whose paths may lack the leading slash.

        Returns
        -------
        pyarrow.fs.PyFileSystem
            For ``filesystem=`` of pyarrow's datasets, tables and readers.

        Raises
        ------
        ModuleNotFoundError
            pyarrow is not there.
        """
        from pyarrow.fs import PyFileSystem

        from regfs.filesystem.arrow import RegistryHandler

        return PyFileSystem(RegistryHandler(self))

    # -- pending uploads ------------------------------------------------------------------------------

    async def _uploads(self, older_than: timedelta | float | None = None) -> list[PendingUpload]:
        return await self.store.uploads(older_than)

    def uploads(self, older_than: timedelta | float | None = None) -> list[PendingUpload]:
        """List the multipart uploads under the root directory that were neither committed nor aborted.

        Parameters
        ----------
        older_than : timedelta or float, optional
            Only those begun at least so long ago; a number is in seconds.

        Returns
        -------
        list of PendingUpload
            Path, id, start (UTC), parts and bytes of each, the oldest first.
        """
        pending: list[PendingUpload] = sync(self.loop, self._uploads, older_than)
        return pending

    async def _abort_uploads(
        self, older_than: timedelta | float | None = None, dry_run: bool = True
    ) -> list[PendingUpload]:
        entries = await self.store.uploads(older_than)
        if not dry_run:
            await self.store.abort_uploads(entries)
        return entries

    def abort_uploads(
        self, older_than: timedelta | float | None = None, dry_run: bool = True
    ) -> list[PendingUpload]:
        """Remove pending uploads under the root directory, and none elsewhere.

        They may still be written: give an age beyond which none is.

        Parameters
        ----------
        older_than : timedelta or float, optional
            Only those begun at least so long ago; a number is in seconds.
        dry_run : bool
            Remove nothing; only return what would be removed.

        Returns
        -------
        list of PendingUpload
            What was removed, or would be.
        """
        removed: list[PendingUpload] = sync(self.loop, self._abort_uploads, older_than, dry_run)
        return removed

    # -- blobs ----------------------------------------------------------------------------------------

    async def _verify(self, path: str) -> str:
        return await self.store.verify(self._strip_own(path))

    def verify(self, path: str) -> str:
        """Read a registry's blob and compare its content with the digest that its path promises.

        The same happens while a blob is read with ``verify=True``: by ``open``, ``open_async``, ``cat``,
        ``get`` and :meth:`StorageDriver.reader`.

        Parameters
        ----------
        path : str
            A blob's data, ``/docker/registry/v2/blobs/sha256/ab/ab…/data``.

        Returns
        -------
        str
            The digest, ``sha256:ab…``.

        Raises
        ------
        DigestMismatchError
            The content is another one.
        ValueError
            The path promises no digest.
        """
        digest: str = sync(self.loop, self._verify, path)
        return digest

    # -- URLs -----------------------------------------------------------------------------------------

    def sign(self, path: str, expiration: float = DEFAULT_EXPIRY, method: str = "GET", **kwargs: Any) -> str:
        """Make a presigned URL, without any request.

        Parameters
        ----------
        path : str
            The file.
        expiration : float
            Seconds from now, at most 7 days.
        method : str
            "GET" or "HEAD".

        Raises
        ------
        ValueError
            Another method, or a time outside 1 second to 7 days.
        """
        return str(sync(self.loop, self._sign, path, expiration, method))

    url = sign

    async def _sign(self, path: str, expiration: float = DEFAULT_EXPIRY, method: str = "GET") -> str:
        if method not in ("GET", "HEAD"):
            raise ValueError(f"method {method!r}: only GET and HEAD can be presigned")
        if not 1 <= expiration <= MAX_PRESIGN:  # neither is NaN
            raise ValueError(f"expiration {expiration!r}: must be 1 to {MAX_PRESIGN} seconds (7 days)")
        return await self.store.presign(self._strip_own(path), int(expiration), method)


async def _next_page(pages: AsyncGenerator[list[Info], None]) -> list[Info] | None:
    return await anext(pages, None)
