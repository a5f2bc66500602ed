"""A configuration, read by regfs and by a real registry: where do its requests go, and who signs them?"""

from __future__ import annotations

import os
import subprocess
import threading
import time
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest
from interop.registry import _program

from regfs import DriverParameters, ParameterError
from regfs.local.server import _free_ports

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.interop, pytest.mark.filterwarnings("ignore::regfs.ConfigurationWarning")]
S3 = "REGISTRY_STORAGE_S3_"


class Service:
    """Answers each request with an empty listing, and keeps the request's bucket, access key and region."""

    def __init__(self) -> None:
        seen: list[tuple[str, str, str]] = []

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                scope = self.headers["Authorization"].split("Credential=")[1].split("/")
                seen.append((self.path.split("/")[1].split("?")[0], scope[0], scope[2]))
                body = b"<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>"
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.seen = seen
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def service(programs: None) -> Iterator[Service]:
    service = Service()
    yield service
    service.server.shutdown()
    service.server.server_close()


def serve(config: Path, environ: dict[str, str], port: int, service: Service) -> bool:
    """Start the registry, let it list something, and return whether it could be started."""
    process = subprocess.Popen(
        [_program("docker-registry"), "serve", str(config)],
        env={"PATH": os.environ["PATH"], **environ},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 30
        while process.poll() is None and not service.seen and time.monotonic() < deadline:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/v2/x/tags/list", timeout=5).close()
            except (urllib.error.URLError, OSError):
                time.sleep(0.05)
        return process.poll() is None
    finally:
        process.kill()
        process.wait()


STORAGE = """
storage:
  s3:
    accesskey: AKIDEXAMPLE
    secretkey: wJalrXUtnFEMI
    bucket: first
    region: us-east-1
    regionendpoint: URL
    secure: false
"""
WITHOUT = "\nstorage: {filesystem: {rootdirectory: /nowhere}}\n"
WHOLE = "{bucket: second, region: r, regionendpoint: URL, accesskey: A, secretkey: S}"
VARIABLES = {
    f"{S3}{key.upper()}": value
    for key, value in {
        "accesskey": "A",
        "secretkey": "S",
        "bucket": "first",
        "region": "r",
        "regionendpoint": "URL",
    }.items()
}


@pytest.mark.parametrize(
    ("text", "environ"),
    [
        (STORAGE, {}),
        (STORAGE + "    bucket: second\n", {}),
        (STORAGE + f"  s3: {WHOLE}\n", {}),
        ("x: &x {bucket: second}\n" + STORAGE + "    <<: *x\n", {}),
        ("x: &x {bucket: second}\n" + STORAGE.replace("bucket: first", "<<: *x\n    bucket: first"), {}),
        (STORAGE + "    keyid: k\n    encrypt: false\n", {}),
        (STORAGE.replace("us-east-1", "test_region"), {}),
        (STORAGE.replace("us-east-1", "12:34:56"), {}),
        (STORAGE.replace("us-east-1", "2024-01-01"), {}),
        (STORAGE + "    chunksize: 10_485_760\n    encrypt: no\n    v4auth: yes\n", {}),
        (STORAGE + "    chunksize: 0xA00000\n    multipartcopychunksize: 050000000\n", {}),
        (STORAGE + "    rootdirectory: ~\n    objectacl:\n    useragent: !foo bar\n", {}),
        (STORAGE + "---\nstorage: [\n", {}),
        (STORAGE + "    loglevel: off\n    forcepathstyle: true\n", {}),
        (STORAGE, {f"{S3}BUCKET": '"second"'}),
        (STORAGE, {f"{S3}BUCKET": "second\n"}),
        (STORAGE, {f"{S3}BUCKET": "second # comment"}),
        (STORAGE, {f"{S3}bucket": "third", f"{S3}BUCKET": "second"}),
        (STORAGE, {"REGISTRY_STORAGE_S3": WHOLE}),
        (WITHOUT, {"REGISTRY_STORAGE": "s3", **VARIABLES}),
        ("", VARIABLES),
        ("", {"REGISTRY_STORAGE": f"{{s3: {WHOLE}}}"}),
    ],
)
def test_both_read_the_same(text: str, environ: dict[str, str], service: Service, tmp_path: Path) -> None:
    (port,) = _free_ports(1)
    config = tmp_path / "config.yml"
    http = f"version: 0.1\nlog: {{level: error}}\nhttp: {{addr: '127.0.0.1:{port}', secret: x}}\n"
    config.write_text(http + text.replace("URL", service.url))
    environ = {name: value.replace("URL", service.url) for name, value in environ.items()}
    assert serve(config, environ, port, service)
    p = DriverParameters.from_config(config, environ)
    assert service.seen[0] == (p.bucket, p.access_key, p.region)


@pytest.mark.parametrize(
    ("text", "environ"),
    [
        (WITHOUT, VARIABLES),
        (STORAGE + "  filesystem: {rootdirectory: /nowhere}\n", {}),
        (STORAGE, {"REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY": "/nowhere"}),
        (STORAGE, {"REGISTRY_STORAGE_S3AWS_BUCKET": "second"}),
        (STORAGE, {f"{S3}SECRETKEY": "*x"}),
        (STORAGE, {f"{S3}SECRETKEY": "@x"}),
        (STORAGE, {"REGISTRY_STORAGE": ""}),
        (STORAGE, {"REGISTRY_STORAGE_S3": ""}),
        (STORAGE + "    encrypt: !!bool maybe\n", {}),
        (STORAGE + "    chunksize: 5M\n", {}),
        (STORAGE + "    encrypt: maybe\n", {}),
    ],
)
def test_both_refuse(text: str, environ: dict[str, str], service: Service, tmp_path: Path) -> None:
    (port,) = _free_ports(1)
    config = tmp_path / "config.yml"
    config.write_text(
        f"version: 0.1\nhttp: {{addr: '127.0.0.1:{port}', secret: x}}\n{text.replace('URL', service.url)}"
    )
    environ = {name: value.replace("URL", service.url) for name, value in environ.items()}
    assert not serve(config, environ, port, service)
    with pytest.raises(ParameterError):
        DriverParameters.from_config(config, environ)
