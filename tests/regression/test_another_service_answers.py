"""What answers is no S3: a registry, whose 404 looked like a missing file, or a port without TLS."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from regfs import RegistryFileSystem
from regfs.doctor.checks import Verdict
from regfs.doctor.examination import examine

CALLS: dict[str, Callable[[RegistryFileSystem], Any]] = {
    "ls": lambda fs: fs.ls("/"),
    "cat": lambda fs: fs.cat("/a"),
    "exists": lambda fs: fs.exists("/a"),
    "info": lambda fs: fs.info("/a"),
    "pipe": lambda fs: fs.pipe("/a", b"x"),
    "rm": lambda fs: fs.rm("/a"),
    "find": lambda fs: fs.find("/"),
}


class _Registry(http.server.BaseHTTPRequestHandler):
    """Answers as a registry does to a request that is none of its own, with its header at all paths."""

    protocol_version = "HTTP/1.1"

    def _answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = b"404 page not found\n"
        self.send_response(404)
        self.send_header("Docker-Distribution-Api-Version", "registry/2.0")
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("do_"):
            return self._answer
        raise AttributeError(name)

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@pytest.fixture
def address() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Registry)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def filesystem(endpoint: str) -> RegistryFileSystem:
    options: dict[str, Any] = {
        "accesskey": "a",
        "secretkey": "b",
        "bucket": "registry",
        "region": "us-east-1",
    }
    return RegistryFileSystem(**options, regionendpoint=endpoint, maxretries=0)


@pytest.mark.parametrize("call", CALLS)
def test_a_registry_is_no_s3(address: str, call: str) -> None:
    with pytest.raises(OSError, match="a registry answers") as caught:
        CALLS[call](filesystem(f"http://{address}"))
    assert not isinstance(caught.value, FileNotFoundError)
    assert caught.value.strerror == (
        f"a registry answers at http://{address}, and not S3; give S3's address in regionendpoint"
    )


def test_the_doctor_says_so(address: str) -> None:
    failed = [c for c in examine(lambda: filesystem(f"http://{address}")) if c.verdict is Verdict.FAILED]
    assert [(c.found, c.advice) for c in failed] == [
        ("a registry answers there, and not S3", "give S3's address in regionendpoint")
    ]


@pytest.mark.parametrize("call", CALLS)
def test_a_port_without_tls(address: str, call: str) -> None:
    with pytest.raises(ConnectionError) as caught:
        CALLS[call](filesystem(f"https://{address}"))
    assert caught.value.strerror == (
        f"the service at https://{address} speaks HTTP without TLS; "
        "set secure: false, or begin regionendpoint with http://"
    )
