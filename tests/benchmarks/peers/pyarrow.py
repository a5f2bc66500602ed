"""pyarrow's own S3 filesystem, in C++."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

from .base import DEFAULT, Buffer, Peer, Variants, read_all, spans

_THREADS = {f"{count} threads": {"threads": count} for count in (8, 32)}


class PyArrow(Peer):
    """Its settings: ``threads`` of small requests, ``ranges`` of a large one. Its parts have 10 MiB."""

    name = "pyarrow"
    package = "pyarrow"
    variants: ClassVar[Mapping[str, Variants]] = {
        "cat": _THREADS,
        "pipe": _THREADS,
        "get_content": DEFAULT,
        "stat": DEFAULT,
        "put_content": DEFAULT,
        "find": {"FileSelector": {}},
        "walk": {"FileSelector": {}},
        "stream_write": DEFAULT,
        "stream_read": {"default": {}, "buffer 10 MiB": {"buffer": 10 * 2**20}},
        "get_object": {"readall": {}, "4 ranges": {"threads": 4}},
        "delete": {"delete_dir": {}},
    }

    def open(self) -> None:
        import pyarrow
        from pyarrow.fs import S3FileSystem

        place = self.place
        pyarrow.set_io_thread_count(max(8, self.settings.get("threads", 0)))
        self.fs: Any = S3FileSystem(
            access_key=place.access_key,
            secret_key=place.secret_key,
            region=place.region,
            scheme="http",
            endpoint_override=place.endpoint.removeprefix("http://"),
            allow_delayed_open=True,  # a small object by one PUT, instead of three requests
        )

    def _path(self, key: str) -> str:
        return f"{self.place.bucket}/{key}"

    def cat(self, keys: Sequence[str]) -> Sequence[Buffer]:
        return self.map(self.get_content, keys)

    def pipe(self, bodies: Mapping[str, bytes]) -> None:
        self.map(lambda item: self.put_content(*item), bodies.items())

    def get_content(self, key: str) -> Buffer:
        with self.fs.open_input_stream(self._path(key)) as file:
            return file.read()

    def stat(self, key: str) -> int:
        return int(self.fs.get_file_info(self._path(key)).size)

    def put_content(self, key: str, content: bytes) -> None:
        with self.fs.open_output_stream(self._path(key)) as file:
            file.write(content)

    def find(self, prefix: str) -> Sequence[Any]:
        from pyarrow.fs import FileSelector

        found: list[Any] = self.fs.get_file_info(FileSelector(self._path(prefix), recursive=True))
        return found

    def walk(self, prefix: str) -> Sequence[Any]:
        return self.find(prefix)

    def names(self, listing: Sequence[Any]) -> Iterator[str]:
        return (info.path.removeprefix(self._path("")) for info in listing if info.is_file)

    def stream_write(self, key: str, data: Iterator[bytes]) -> None:
        with self.fs.open_output_stream(self._path(key)) as file:
            for piece in data:
                file.write(piece)

    def stream_read(self, key: str, piece: int) -> Iterator[Buffer]:
        return read_all(
            self.fs.open_input_stream(self._path(key), buffer_size=self.settings.get("buffer")), piece
        )

    def get_object(self, key: str, size: int) -> Buffer:
        with self.fs.open_input_file(self._path(key)) as file:
            if "threads" not in self.settings:
                return file.read_buffer()
            parts = spans(size, self.settings["threads"])
            return b"".join(self.map(lambda span: file.read_at(span[1] - span[0], span[0]), parts))

    def delete(self, prefix: str) -> None:
        self.fs.delete_dir(self._path(prefix))
