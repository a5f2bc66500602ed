"""The S3 servers of a test run: one SeaweedFS and one moto, whatever the number of pytest-xdist workers.

Each starts when the first test asks for it, in the process that pytest was started as, and lives until
that process ends. Workers ask for it through a `Broker`.
"""

from __future__ import annotations

import contextlib
import http.client
import itertools
import os
import secrets
import sys
import tempfile
import threading
import time
import uuid
from dataclasses import dataclass
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client, Listener
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

import boto3
from botocore.config import Config

from regfs.local.server import LocalS3, _free_ports
from regfs.local.supervisor import SupervisedProcess

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

ServerName: TypeAlias = Literal["seaweedfs", "moto"]
BUCKET = "registry"
"""The bucket that SeaweedFS has from the start."""
_REGION = "us-east-1"


@dataclass(frozen=True)
class Server:
    """A running S3 server, and how to reach it."""

    name: str
    endpoint: str
    access_key: str
    secret_key: str
    region: str = _REGION

    def storage_options(self, bucket: str) -> dict[str, Any]:
        """Return the options with which regfs opens a bucket here."""
        return {
            "accesskey": self.access_key,
            "secretkey": self.secret_key,
            "region": self.region,
            "regionendpoint": self.endpoint,
            "bucket": bucket,
            "secure": False,
        }

    def client(self, **config: Any) -> Any:
        """Make a plain boto3 S3 client, to arrange and to inspect. The caller closes it.

        Keyword arguments go to ``botocore.config.Config``.
        """
        settings = {
            "s3": {"addressing_style": "path"},
            "request_checksum_calculation": "when_required",
            "response_checksum_validation": "when_required",
            "retries": {"max_attempts": 2},
        }
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            region_name=self.region,
            config=Config(**{**settings, **config}),
        )

    def make_bucket(self) -> str:
        """Make a fresh bucket and return its name. Whoever makes it removes it (`remove_bucket`)."""
        name = f"regfs-{uuid.uuid4().hex[:12]}"
        with contextlib.closing(self.client()) as s3:
            s3.create_bucket(Bucket=name)
        return name

    def remove_bucket(self, name: str) -> None:
        """Remove a bucket with everything in it."""
        with contextlib.closing(self.client()) as s3:
            Place(self, s3, name, "").clean()
            s3.delete_bucket(Bucket=name)


class Place:
    """A part of a bucket below a root directory of its own, seen with raw boto3.

    Parameters
    ----------
    server : Server
        Where it is.
    s3 : boto3 client
        For that server.
    bucket, root : str
        The bucket, and the registry's ``rootdirectory`` in it ("/a/b"; "" is the whole bucket).

    Keys are given and returned relative to the root: ``put("a/b", …)`` is the driver path ``/a/b``.
    """

    def __init__(self, server: Server, s3: Any, bucket: str, root: str) -> None:
        self.server = server
        self.s3 = s3
        self.bucket = bucket
        self.root = root
        self.prefix = f"{root.strip('/')}/" if root else ""

    @property
    def options(self) -> dict[str, Any]:
        """The storage options with which regfs opens this place."""
        return {**self.server.storage_options(self.bucket), "rootdirectory": self.root}

    def put(self, key: str, data: bytes = b"", **extra: Any) -> None:
        """Put an object; keyword arguments go to boto3's ``put_object``."""
        self.s3.put_object(Bucket=self.bucket, Key=self.prefix + key, Body=data, **extra)

    def get(self, key: str) -> bytes:
        """Return an object's content."""
        with contextlib.closing(
            self.s3.get_object(Bucket=self.bucket, Key=self.prefix + key)["Body"]
        ) as body:
            content = body.read()
        assert isinstance(content, bytes)
        return content

    def head(self, key: str) -> dict[str, Any]:
        """Return what ``head_object`` tells of an object."""
        return dict(self.s3.head_object(Bucket=self.bucket, Key=self.prefix + key))

    def keys(self) -> list[str]:
        """Return every key, sorted by code point, directory markers included."""
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=self.prefix)
        keys = (item["Key"] for page in pages for item in page.get("Contents", ()))
        return sorted(key.removeprefix(self.prefix) for key in keys)

    def uploads(self) -> list[tuple[str, str]]:
        """Return (key, upload id) of every pending multipart upload, sorted."""
        pages = self.s3.get_paginator("list_multipart_uploads").paginate(
            Bucket=self.bucket, Prefix=self.prefix
        )
        uploads = ((item["Key"], item["UploadId"]) for page in pages for item in page.get("Uploads", ()))
        return sorted((key.removeprefix(self.prefix), upload) for key, upload in uploads)

    def clean(self) -> None:
        """Abort every pending upload and delete every key."""
        for key, upload in self.uploads():
            self.s3.abort_multipart_upload(Bucket=self.bucket, Key=self.prefix + key, UploadId=upload)
        keys = iter(self.keys())
        while some := [{"Key": self.prefix + key} for key in itertools.islice(keys, 1000)]:
            answer = self.s3.delete_objects(Bucket=self.bucket, Delete={"Objects": some, "Quiet": True})
            assert not answer.get("Errors"), answer["Errors"]


@contextlib.contextmanager
def fresh_place(server: Server, s3: Any, bucket: str) -> Iterator[Place]:
    """Return an empty place in a bucket, and clean it afterwards."""
    place = Place(server, s3, bucket, f"/roots/{uuid.uuid4().hex[:12]}")
    try:
        yield place
    finally:
        place.clean()


class Source(Protocol):
    """Whoever hands out the servers of this run."""

    def get(self, name: ServerName) -> Server:
        """Return a server, started if need be."""


class Servers:
    """The servers themselves; for the process that owns them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: dict[ServerName, Server] = {}
        self._stops: list[Callable[[], None]] = []

    def get(self, name: ServerName) -> Server:
        """Return a server, started if need be."""
        with self._lock:
            if name not in self._running:
                server, stop = _start_moto() if name == "moto" else _start_seaweedfs()
                self._running[name] = server
                self._stops.append(stop)
            return self._running[name]

    def stop(self) -> None:
        """Stop those that run."""
        with self._lock:
            self._running.clear()
            while self._stops:
                self._stops.pop()()


class Broker:
    """Hands the servers of this process to pytest-xdist's workers.

    Attributes
    ----------
    ticket : tuple
        What `RemoteServers` needs to ask; plain scalars, so that it fits into a worker's input.
    """

    def __init__(self, servers: Servers) -> None:
        key = secrets.token_hex(16)
        self._servers = servers
        self._listener = Listener(("127.0.0.1", 0), backlog=64, authkey=key.encode())
        self.ticket = (*self._listener.address, key)
        self._thread = threading.Thread(target=self._answer, daemon=True, name="broker")
        self._thread.start()

    def _answer(self) -> None:
        while True:
            # A worker that died while it asked, or a stranger at the port, must not end the thread.
            with (
                contextlib.suppress(OSError, EOFError, AuthenticationError),
                self._listener.accept() as connection,
            ):
                name = connection.recv()
                if name is None:
                    return
                try:
                    answer: Server | RuntimeError = self._servers.get(name)
                except Exception as error:
                    answer = RuntimeError(f"cannot start {name}: {error}")
                connection.send(answer)

    def close(self) -> None:
        """Stop answering."""
        with Client(self.ticket[:2], authkey=self.ticket[2].encode()) as connection:
            connection.send(None)
        self._thread.join()
        self._listener.close()


class RemoteServers:
    """The servers of the pytest-xdist controller; for a worker."""

    def __init__(self, ticket: Iterable[Any]) -> None:
        self._host, self._port, self._key = ticket
        self._known: dict[ServerName, Server] = {}

    def get(self, name: ServerName) -> Server:
        """Return a server, started if need be."""
        if name not in self._known:
            with Client((self._host, self._port), authkey=self._key.encode()) as connection:
                connection.send(name)
                answer = connection.recv()
            if isinstance(answer, Exception):
                raise answer
            self._known[name] = answer
        return self._known[name]


def _start_seaweedfs() -> tuple[Server, Callable[[], None]]:
    local = LocalS3(bucket=BUCKET).start()
    return Server("seaweedfs", local.endpoint, local.access_key, local.secret_key, local.region), local.stop


def _start_moto() -> tuple[Server, Callable[[], None]]:
    directory = Path(tempfile.mkdtemp(prefix="regfs-moto-"))
    (port,) = _free_ports(1)
    process = SupervisedProcess(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        environ={"PATH": os.environ["PATH"], "HOME": str(directory), "PYTHONDONTWRITEBYTECODE": "1"},
        directory=directory,
        remove=[directory],
    )
    deadline = time.monotonic() + 60
    while not _answers(port):
        if process.wait(0.1) or time.monotonic() > deadline:
            words = process.last_words()
            process.stop()
            raise RuntimeError(f"moto did not start: {words}")
    server = Server("moto", f"http://127.0.0.1:{port}", "moto", "moto-secret")
    with contextlib.closing(server.client()) as s3:
        s3.create_bucket(Bucket=BUCKET)
    return server, process.stop


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/moto-api/")
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
