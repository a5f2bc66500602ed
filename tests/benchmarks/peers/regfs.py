"""regfs' two faces, with the settings that everyone has."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .base import DEFAULT, Buffer, Peer, read_all


class Regfs(Peer):
    """The filesystem."""

    name = "regfs"
    package = "regfs"
    variants = dict.fromkeys(
        ("cat", "pipe", "find", "stream_write", "stream_read", "get_object", "delete"), DEFAULT
    )

    def open(self) -> None:
        import fsspec

        place = self.place
        self.fs: Any = fsspec.filesystem(
            "regfs",
            accesskey=place.access_key,
            secretkey=place.secret_key,
            region=place.region,
            regionendpoint=place.endpoint,
            bucket=place.bucket,
            secure=False,
        )

    def cat(self, keys: Sequence[str]) -> Sequence[Buffer]:
        found = self.fs.cat(["/" + key for key in keys])
        return [found["/" + key] for key in keys]

    def pipe(self, bodies: Mapping[str, bytes]) -> None:
        self.fs.pipe({"/" + key: body for key, body in bodies.items()})

    def stat(self, key: str) -> int:
        return int(self.fs.info("/" + key)["size"])

    def find(self, prefix: str) -> Sequence[Any]:
        found: list[str] = self.fs.find("/" + prefix)
        return found

    def names(self, listing: Sequence[Any]) -> Iterator[str]:
        return (name[1:] for name in listing)

    def stream_write(self, key: str, data: Iterator[bytes]) -> None:
        with self.fs.open("/" + key, "wb") as file:
            for piece in data:
                file.write(piece)

    def stream_read(self, key: str, piece: int) -> Iterator[Buffer]:
        return read_all(self.fs.open("/" + key, "rb"), piece)

    def get_object(self, key: str, size: int) -> Buffer:
        return self.fs.cat_file("/" + key)

    def delete(self, prefix: str) -> None:
        self.fs.rm("/" + prefix, recursive=True)


class RegfsDriver(Regfs):
    """The registry's storage driver."""

    name = "regfs driver"
    variants = dict.fromkeys(("get_content", "stat", "put_content", "walk", "stream_read"), DEFAULT)

    def open(self) -> None:
        super().open()
        from regfs import StorageDriver

        self.driver = StorageDriver(self.fs)

    def get_content(self, key: str) -> Buffer:
        return self.driver.get_content("/" + key)

    def stat(self, key: str) -> int:
        return self.driver.stat("/" + key).size

    def put_content(self, key: str, content: bytes) -> None:
        self.driver.put_content("/" + key, content)

    def walk(self, prefix: str) -> Sequence[Any]:
        found: list[Any] = []
        self.driver.walk("/" + prefix, found.append)
        return found

    def names(self, listing: Sequence[Any]) -> Iterator[str]:
        return (info.path[1:] for info in listing if not info.is_dir)

    def stream_read(self, key: str, piece: int) -> Iterator[Buffer]:
        return read_all(self.driver.reader("/" + key), piece)
