"""s3fs, without its cache of listings, which regfs does not have either."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

from .base import DEFAULT, PART, Buffer, Peer, Variants, read_all

_MIB = 2**20
_BATCHES = {f"batch_size {size}": {"batch": size} for size in (32, 128, 512)}
_ONE = {"concurrency": 1}
"""With its default of 10 each read of a whole object begins with a HEAD, to see whether it is large."""


class S3fs(Peer):
    """Its settings: ``batch`` objects at once, ``concurrency`` in one, what open files and large reads take.

    Its own ``walk`` sends a LIST for every directory, 20,000 of them here, which takes minutes. What takes
    part in its place is ``find(withdirs=True)``, that finds the same by one LIST for each 1,000 keys.
    """

    name = "s3fs"
    package = "s3fs"
    variants: ClassVar[Mapping[str, Variants]] = {
        "cat": {f"{label}, one GET": {**settings, **_ONE} for label, settings in _BATCHES.items()},
        "pipe": _BATCHES,
        "get_content": {"one GET": _ONE},
        "stat": DEFAULT,
        "put_content": DEFAULT,
        "find": DEFAULT,
        "walk": {"find(withdirs)": {}},
        "stream_write": {"block_size 10 MiB": {}},
        "stream_read": {
            "readahead 50 MiB": {"cache": "readahead", "block": 50 * _MIB},
            "readahead 10 MiB": {"cache": "readahead", "block": 10 * _MIB},
            "bytes 10 MiB": {"cache": "bytes", "block": 10 * _MIB},
            "background 10 MiB": {"cache": "background", "block": 10 * _MIB},
        },
        "get_object": {
            "max_concurrency 1": _ONE,
            "max_concurrency 4": {"concurrency": 4, "chunk": 32 * _MIB},
            "max_concurrency 10": {"concurrency": 10, "chunk": 16 * _MIB},
        },
        "delete": DEFAULT,
    }

    def open(self) -> None:
        import s3fs

        place, batch = self.place, self.settings.get("batch")
        config: dict[str, Any] = {
            "s3": {"addressing_style": "path"},
            "max_pool_connections": max(batch or 0, 64),
            "request_checksum_calculation": "when_required",
            "response_checksum_validation": "when_required",
        }
        self.fs: Any = s3fs.S3FileSystem(
            key=place.access_key,
            secret=place.secret_key,
            endpoint_url=place.endpoint,
            client_kwargs={"region_name": place.region},
            config_kwargs=config,
            use_listings_cache=False,
            max_concurrency=self.settings.get("concurrency", 10),
        )
        if batch:
            self.fs.batch_size = batch  # its constructor does not take it

    def _path(self, key: str) -> str:
        return f"{self.place.bucket}/{key}"

    def cat(self, keys: Sequence[str]) -> Sequence[Buffer]:
        found = self.fs.cat([self._path(key) for key in keys])
        return [found[self._path(key)] for key in keys]

    def pipe(self, bodies: Mapping[str, bytes]) -> None:
        self.fs.pipe({self._path(key): body for key, body in bodies.items()})

    def get_content(self, key: str) -> Buffer:
        return self.fs.cat_file(self._path(key))

    def stat(self, key: str) -> int:
        return int(self.fs.info(self._path(key))["size"])

    def put_content(self, key: str, content: bytes) -> None:
        self.fs.pipe_file(self._path(key), content)

    def find(self, prefix: str) -> Sequence[Any]:
        found: list[str] = self.fs.find(self._path(prefix))
        return found

    def walk(self, prefix: str) -> Sequence[Any]:
        found: dict[str, dict[str, Any]] = self.fs.find(self._path(prefix), withdirs=True, detail=True)
        return list(found.values())

    def names(self, listing: Sequence[Any]) -> Iterator[str]:
        for item in listing:
            if isinstance(item, str) or item["type"] == "file":
                name = item if isinstance(item, str) else item["name"]
                yield name.removeprefix(self._path(""))

    def stream_write(self, key: str, data: Iterator[bytes]) -> None:
        with self.fs.open(self._path(key), "wb", block_size=PART) as file:
            for piece in data:
                file.write(piece)

    def stream_read(self, key: str, piece: int) -> Iterator[Buffer]:
        cache, block = self.settings["cache"], self.settings["block"]
        return read_all(self.fs.open(self._path(key), "rb", cache_type=cache, block_size=block), piece)

    def get_object(self, key: str, size: int) -> Buffer:
        return self.fs.cat_file(self._path(key), chunksize=self.settings.get("chunk"))

    def delete(self, prefix: str) -> None:
        self.fs.rm(self._path(prefix), recursive=True)
