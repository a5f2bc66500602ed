"""boto3, which has nothing but threads."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

from .base import DEFAULT, PART, Buffer, Peer, Variants

_THREADS = {f"{count} threads": {"threads": count} for count in (8, 16, 32)}
_TRANSFERS = {f"max_concurrency {count}": {"concurrency": count} for count in (4, 10)}


class Boto3(Peer):
    """Its settings: ``threads`` of small requests, ``concurrency`` of a large one."""

    name = "boto3"
    package = "boto3"
    variants: ClassVar[Mapping[str, Variants]] = {
        "cat": _THREADS,
        "pipe": _THREADS,
        "get_content": DEFAULT,
        "stat": DEFAULT,
        "put_content": DEFAULT,
        "find": {"paginator": {}},
        "stream_write": _TRANSFERS,
        "stream_read": {"Body.read": {}},
        "get_object": {"get_object": {}, **_TRANSFERS},
        "delete": {"delete_objects": {}},
    }

    def open(self) -> None:
        import boto3
        from botocore.config import Config

        place = self.place
        self.s3: Any = boto3.client(
            "s3",
            endpoint_url=place.endpoint,
            aws_access_key_id=place.access_key,
            aws_secret_access_key=place.secret_key,
            region_name=place.region,
            config=Config(
                s3={"addressing_style": "path"},
                max_pool_connections=64,
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
            ),
        )

    def _transfer(self) -> Any:
        from boto3.s3.transfer import TransferConfig

        return TransferConfig(
            multipart_threshold=PART, multipart_chunksize=PART, max_concurrency=self.settings["concurrency"]
        )

    def cat(self, keys: Sequence[str]) -> Sequence[Buffer]:
        return self.map(self.get_content, keys)

    def pipe(self, bodies: Mapping[str, bytes]) -> None:
        self.map(lambda item: self.put_content(*item), bodies.items())

    def get_content(self, key: str) -> Buffer:
        with self.s3.get_object(Bucket=self.place.bucket, Key=key)["Body"] as body:
            return body.read()

    def stat(self, key: str) -> int:
        return int(self.s3.head_object(Bucket=self.place.bucket, Key=key)["ContentLength"])

    def put_content(self, key: str, content: bytes) -> None:
        self.s3.put_object(Bucket=self.place.bucket, Key=key, Body=content)

    def find(self, prefix: str) -> Sequence[Any]:
        pages = self.s3.get_paginator("list_objects_v2").paginate(
            Bucket=self.place.bucket, Prefix=prefix + "/"
        )
        return [item for page in pages for item in page.get("Contents", ())]

    def names(self, listing: Sequence[Any]) -> Iterator[str]:
        return (item["Key"] for item in listing)

    def stream_write(self, key: str, data: Iterator[bytes]) -> None:
        self.s3.upload_fileobj(_Stream(data), self.place.bucket, key, Config=self._transfer())

    def stream_read(self, key: str, piece: int) -> Iterator[Buffer]:
        with self.s3.get_object(Bucket=self.place.bucket, Key=key)["Body"] as body:
            while data := body.read(piece):
                yield data

    def get_object(self, key: str, size: int) -> Buffer:
        if "concurrency" not in self.settings:
            return self.get_content(key)
        target = io.BytesIO()
        self.s3.download_fileobj(self.place.bucket, key, target, Config=self._transfer())
        return target.getbuffer()

    def delete(self, prefix: str) -> None:
        pages = self.s3.get_paginator("list_objects_v2").paginate(
            Bucket=self.place.bucket, Prefix=prefix + "/"
        )
        for page in pages:
            keys = [{"Key": item["Key"]} for item in page.get("Contents", ())]
            answer = self.s3.delete_objects(Bucket=self.place.bucket, Delete={"Objects": keys, "Quiet": True})
            if answer.get("Errors"):
                raise OSError(answer["Errors"])


class _Stream:
    """Pieces as a file that cannot seek."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = b""

    def read(self, size: int) -> bytes:
        """Read `size` bytes, less only at the end."""
        parts, wanted = [], size
        while wanted and (piece := self._rest or next(self._pieces, b"")):
            parts.append(piece[:wanted])
            self._rest = piece[wanted:]
            wanted -= len(parts[-1])
        return b"".join(parts)
