"""A real registry on an S3 bucket: Debian's docker-registry, pushed to and pulled from by skopeo."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from regfs.image import MANIFEST_TYPE
from regfs.local.server import _free_ports
from regfs.local.supervisor import SupervisedProcess

if TYPE_CHECKING:
    from collections.abc import Mapping
    from email.message import Message
    from types import TracebackType

    from typing_extensions import Self

SECRET = "the same for every start, so uploads can be resumed"
PROGRAMS = ("docker-registry", "skopeo")
_ACCEPT = ", ".join(
    [
        MANIFEST_TYPE,
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.docker.distribution.manifest.v2+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
    ]
)


@dataclass(frozen=True)
class Response:
    """What the registry answered."""

    status: int
    headers: Message
    body: bytes


class Registry:
    """A docker-registry process of one's own, on a free port of 127.0.0.1.

    It keeps its port when it is started again, so the locations of uploads stay valid; it is stopped by the
    end of the ``with`` block and by the death of this process.

    Parameters
    ----------
    options : mapping
        regfs storage options; the registry gets the same bucket, credentials and root directory.
    redirect : bool
        Whether blobs are served by redirecting to presigned URLs.
    parameters : Any
        Further parameters of the registry's S3 driver, or others than these.
    """

    def __init__(self, options: Mapping[str, Any], *, redirect: bool = True, **parameters: Any) -> None:
        s3 = {"region": "us-east-1", "secure": False, "v4auth": True, "encrypt": False, "chunksize": 5 << 20}
        self._s3 = {**s3, **options, **parameters}
        self._redirect = redirect
        self._directory: Path | None = None
        self._process: SupervisedProcess | None = None
        self._port = 0

    @property
    def host(self) -> str:
        """``127.0.0.1:PORT``, as image names begin with it."""
        return f"127.0.0.1:{self._port}"

    @property
    def url(self) -> str:
        """The registry's URL, without a slash in the end."""
        return f"http://{self.host}"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # -- its life --------------------------------------------------------------------------------------

    def start(self, timeout: float = 30) -> None:
        """Start it, for the first time or again, and wait until it answers."""
        if self._process is not None:
            return
        self._port = self._port or _free_ports(1)[0]
        self._directory = Path(tempfile.mkdtemp(prefix="regfs-registry-"))
        try:
            self._write_config(self._directory / "config.yml")
            self._process = SupervisedProcess(
                [_program("docker-registry"), "serve", str(self._directory / "config.yml")],
                environ=self._environ(),
                directory=self._directory,
                remove=[self._directory],
            )
            deadline = time.monotonic() + timeout
            # In this order: an answer counts only from a process that has not failed to take the port.
            while self._process.wait(0.05) or not self._answers():
                if self._process.wait(0) or time.monotonic() > deadline:
                    raise RuntimeError(f"docker-registry does not answer: {self._process.last_words()}")
        except BaseException:
            self.stop()
            raise

    def kill(self) -> None:
        """End it by SIGKILL, as a crash would; `start` starts it again."""
        process, self._process = self._process, None
        if process is not None:
            os.kill(process.pid, signal.SIGKILL)
            process.stop()

    def stop(self) -> None:
        """Stop it, wait until it is gone, and remove its directory. Idempotent."""
        process, self._process = self._process, None
        if process is not None:
            process.stop()
        elif self._directory is not None:  # it could not be started
            shutil.rmtree(self._directory, ignore_errors=True)

    def log(self) -> str:
        """Return what it has printed so far."""
        return self._process.log() if self._process is not None else ""

    def _answers(self) -> bool:
        try:
            return self.request("GET", "/v2/").status == 200
        except OSError:
            return False

    def _write_config(self, path: Path) -> None:
        config = {
            "version": "0.1",
            "log": {"level": "warn", "accesslog": {"disabled": True}},
            "storage": {
                "s3": self._s3,
                "delete": {"enabled": True},
                "redirect": {"disable": not self._redirect},
                "maintenance": {"uploadpurging": {"enabled": False}},
            },
            "http": {"addr": self.host, "secret": SECRET},
            "validation": {"manifests": {"urls": {"allow": ["^https://"]}}},
            "health": {"storagedriver": {"enabled": False}},
        }
        path.touch(0o600)
        path.write_text(json.dumps(config, indent=1))  # JSON is YAML

    def _environ(self) -> dict[str, str]:
        # Nothing of ours: AWS_CA_BUNDLE and REGISTRY_… variables would change what the registry does.
        home = str(self._directory)
        return {"PATH": os.environ["PATH"], "HOME": home, "TMPDIR": home, "XDG_RUNTIME_DIR": home}

    # -- images, by skopeo -----------------------------------------------------------------------------

    def push(self, source: str, image: str) -> None:
        """Push an image.

        Parameters
        ----------
        source : str
            ``DIRECTORY:TAG`` of an OCI image layout.
        image : str
            ``REPOSITORY:TAG`` in the registry.
        """
        self._copy("--dest-tls-verify=false", f"oci:{source}", f"docker://{self.host}/{image}")

    def pull(self, image: str, destination: str) -> None:
        """Pull an image.

        Parameters
        ----------
        image : str
            ``REPOSITORY:TAG`` or ``REPOSITORY@DIGEST`` in the registry.
        destination : str
            ``DIRECTORY:TAG`` of an OCI image layout, made if missing.
        """
        self._copy("--src-tls-verify=false", f"docker://{self.host}/{image}", f"oci:{destination}")

    def _copy(self, *arguments: str) -> None:
        self._run("skopeo", "--insecure-policy", "copy", "--quiet", "--preserve-digests", *arguments)

    def garbage_collect(self, *, delete_untagged: bool = False, dry_run: bool = False) -> str:
        """Run the registry's own garbage collection beside it, and return what it printed."""
        flags = [
            *(["--delete-untagged"] if delete_untagged else []),
            *(["--dry-run"] if dry_run else []),
        ]
        return self._run("docker-registry", "garbage-collect", *flags, f"{self._directory}/config.yml")

    def _run(self, program: str, *arguments: str) -> str:
        done = subprocess.run(
            [_program(program), *arguments],
            env=self._environ(),
            cwd=self._directory,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(
                f"{program} {arguments[0]} failed: {done.stderr.strip()}\n"
                f"the registry's log:\n{self.log()[-2000:]}"
            )
        return done.stdout

    # -- its HTTP interface ----------------------------------------------------------------------------

    def tags(self, repository: str) -> list[str]:
        """Return a repository's tags, in the registry's order."""
        answer = json.loads(self._expect(200, "GET", f"/v2/{repository}/tags/list").body)
        return list(answer["tags"] or [])

    def catalog(self) -> list[str]:
        """Return all repositories."""
        return list(json.loads(self._expect(200, "GET", "/v2/_catalog?n=1000").body)["repositories"])

    def manifest(self, repository: str, reference: str) -> bytes:
        """Return a manifest by tag or digest."""
        path = f"/v2/{repository}/manifests/{reference}"
        return self._expect(200, "GET", path, headers={"Accept": _ACCEPT}).body

    def blob(self, repository: str, digest: str) -> bytes:
        """Return a blob, following redirects."""
        return self._expect(200, "GET", f"/v2/{repository}/blobs/{digest}").body

    def delete_manifest(self, repository: str, digest: str) -> None:
        """Delete a manifest and the tags that name it."""
        self._expect(202, "DELETE", f"/v2/{repository}/manifests/{digest}")

    def begin_upload(self, repository: str) -> str:
        """Begin an upload, and return its location, a URL."""
        return self._expect(202, "POST", f"/v2/{repository}/blobs/uploads/").headers["Location"]

    def patch_upload(self, location: str, data: bytes) -> str:
        """Send more of an upload, and return its new location."""
        headers = {"Content-Type": "application/octet-stream"}
        return self._expect(202, "PATCH", location, data, headers).headers["Location"]

    def upload_size(self, location: str) -> int:
        """Return how many bytes of an upload the registry has."""
        answered = self._expect(204, "GET", location).headers["Range"]
        return int(answered.partition("-")[2]) + 1

    def finish_upload(self, location: str, digest: str, data: bytes = b"") -> None:
        """Finish an upload, with the last of its data."""
        separator = "&" if "?" in location else "?"
        url = f"{location}{separator}digest={urllib.parse.quote(digest)}"
        self._expect(201, "PUT", url, data, {"Content-Type": "application/octet-stream"})

    def _expect(
        self,
        status: int,
        method: str,
        url: str,
        data: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        answer = self.request(method, url, data, headers)
        if answer.status != status:
            text = f"{method} {url}: {answer.status} instead of {status}: {answer.body[:500]!r}"
            raise RuntimeError(f"{text}\nthe registry's log:\n{self.log()[-2000:]}")
        return answer

    def request(
        self, method: str, url: str, data: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Response:
        """Send any request, and return any answer, errors included.

        Parameters
        ----------
        method : str
            The method.
        url : str
            A URL, or a path of the registry's.
        data : bytes, optional
            The body.
        headers : mapping, optional
            Further headers.
        """
        url = url if url.startswith("http") else self.url + url
        request = urllib.request.Request(url, data, dict(headers or {}), method=method)
        # No proxy of the environment: all of this is on loopback.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=60) as answer:
                return Response(answer.status, answer.headers, answer.read())
        except urllib.error.HTTPError as error:
            with error:
                return Response(error.code, error.headers, error.read())


def _program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise FileNotFoundError(f"{name} is not installed: apt-get install {name}")
    return found
