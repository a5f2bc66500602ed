"""TLS is verified unless that is switched off, which is told once; so is its lack towards another host."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import ssl
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from regfs import DriverParameters, RegistryFileSystem
from regfs.parameters import insecure
from regfs.parameters.insecure import InsecureWarning

if TYPE_CHECKING:
    from security.conftest import Make
    from support.servers import Server


def certify(folder: Path, *, host: str = "localhost", address: str = "127.0.0.1", days: int = 1) -> Path:
    """Make a key and a certificate that it signed itself, in one file; with `days` below 0 it has expired."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "made for this test")])
    now = datetime.now(timezone.utc)
    names = [x509.DNSName(host), x509.IPAddress(ipaddress.ip_address(address))]
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=3))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file = folder / f"{host}{days}.pem"
    file.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return file


class _Front:
    """Stands before a server with TLS, on a loop of its own: two threads cannot share a connection of TLS."""

    def __init__(self, upstream: tuple[str, int], certificate: Path) -> None:
        self._upstream = upstream
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificate)
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))
        self._thread.start()
        self._ready.wait()

    async def _run(self) -> None:
        self._loop, self._over = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._context)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._over.wait()
        server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await asyncio.sleep(0.05)  # until what was closed is gone

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up, down = await asyncio.open_connection(*self._upstream)
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(_pump(reader, down), _pump(up, writer))

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join()


async def _pump(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    try:
        with contextlib.suppress(OSError):
            while data := await source.read(65536):
                target.write(data)
                await target.drain()
    finally:
        target.close()


@contextlib.contextmanager
def behind_tls(upstream: tuple[str, int], certificate: Path) -> Iterator[int]:
    """Stand before a server with TLS, and give the port."""
    front = _Front(upstream, certificate)
    try:
        yield front.port
    finally:
        front.close()


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    return certify(tmp_path)


def upstream(server: Server) -> tuple[str, int]:
    host, _, port = server.endpoint.rpartition("/")[2].partition(":")
    return host, int(port)


@pytest.fixture
def endpoint(server: Server, certificate: Path) -> Iterator[str]:
    with behind_tls(upstream(server), certificate) as port:
        yield f"https://127.0.0.1:{port}"


@pytest.mark.parametrize("server", ["seaweedfs"], indirect=True)
# Python 3.10 warns of a TLS transport that was aborted and not closed.
@pytest.mark.filterwarnings("ignore:unclosed transport <asyncio.sslproto:ResourceWarning")
class TestVerification:
    def test_a_certificate_that_nobody_vouches_for(self, make: Make, endpoint: str) -> None:
        fs = make(regionendpoint=endpoint)
        calls: list[Callable[[], Any]] = [lambda: fs.cat_file("/a"), lambda: fs.ls("/")]
        calls.append(lambda: fs.pipe_file("/a", b"1"))
        for call in calls:
            with pytest.raises(ConnectionError, match=r"TLS failed at https://127\.0\.0\.1:"):
                call()

    @pytest.mark.parametrize("variable", ["AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE"])
    def test_one_that_the_user_vouches_for(
        self, make: Make, endpoint: str, certificate: Path, monkeypatch: pytest.MonkeyPatch, variable: str
    ) -> None:
        monkeypatch.setenv(variable, str(certificate))
        fs = make(regionendpoint=endpoint)
        fs.pipe_file("/a", b"1")
        fs.cp_file("/a", "/b")  # by botocore in any case
        assert fs.cat_file("/b") == b"1"

    @pytest.mark.parametrize("wrong", [{"host": "elsewhere.example", "address": "127.0.0.2"}, {"days": -1}])
    def test_one_of_another_host_or_time(
        self,
        make: Make,
        server: Server,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        wrong: dict[str, Any],
    ) -> None:
        other = certify(tmp_path, **wrong)
        monkeypatch.setenv("AWS_CA_BUNDLE", str(other))
        with behind_tls(upstream(server), other) as port, pytest.raises(ConnectionError, match="TLS failed"):
            make(regionendpoint=f"https://127.0.0.1:{port}").cat_file("/a")

    @pytest.mark.parametrize("content", [None, "no certificate"])
    def test_a_bundle_that_is_none(
        self, make: Make, endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | None
    ) -> None:
        if content:
            (tmp_path / "bundle.pem").write_text(content)
        monkeypatch.setenv("AWS_CA_BUNDLE", str(tmp_path / "bundle.pem"))
        with pytest.raises(ConnectionError, match="correct the certificate or AWS_CA_BUNDLE"):
            make(regionendpoint=endpoint, maxretries=3).cat_file("/a")

    def test_switched_off_it_works_and_is_told_once(
        self, make: Make, endpoint: str, caplog: pytest.LogCaptureFixture, untold: None
    ) -> None:
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            fs = make(regionendpoint=endpoint, skipverify=True)
            for name in ("/a", "/b"):
                fs.pipe_file(name, b"1")
                fs.cp_file(name, "/c")
                assert fs.cat_file("/c") == b"1"
            make(regionendpoint=endpoint, skipverify=True).ls("/")
        (text,) = [str(item.message) for item in told if item.category is InsecureWarning]
        assert text.startswith("nobody verifies that 127.0.0.1:")
        assert [r.levelname for r in caplog.records if "nobody verifies" in r.getMessage()] == ["WARNING"]


HERE = [
    *(
        "localhost",
        "LOCALHOST",
        "localhost:9000",
        "sub.localhost",
        "localhost.",
        "127.0.0.1",
        "127.0.0.1:9000",
    ),
    *("127.1.2.3", "[::1]", "[::1]:9000", "[::ffff:127.0.0.1]", "http://127.0.0.1:9000/path"),
]
ELSEWHERE = [
    *("localhost.evil.example", "127.0.0.1.example.com", "127.evil", "127.0.0.1.nip.io:9000", "notlocalhost"),
    *(
        "s3.example.com",
        "10.0.0.1",
        "192.168.1.1:9000",
        "[2001:db8::1]",
        "[::ffff:10.0.0.1]",
        "0.0.0.0",
        "[::]",
    ),
    *(
        "http://storage",
        "xn--lcalhost-54a",
        "localhost-1",
        "http://s3.example.com/localhost",
        "169.254.169.254",
    ),
]


def warned(**options: Any) -> list[str]:
    """Make a filesystem, which sends nothing, and give what it warned of."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        RegistryFileSystem(bucket="b", region="us-east-1", skip_instance_cache=True, **options)
    return [str(item.message) for item in told if item.category is InsecureWarning]


class TestPlainHttp:
    @pytest.mark.parametrize("host", HERE)
    def test_to_this_host_is_nobody_s_business(self, host: str, untold: None) -> None:
        assert warned(regionendpoint=host, secure=False) == []

    @pytest.mark.parametrize("host", ELSEWHERE)
    def test_to_another_host_is_told_once(
        self, host: str, untold: None, caplog: pytest.LogCaptureFixture
    ) -> None:
        options = {"regionendpoint": host, "secure": False}
        (text,) = warned(**options)
        assert "can be read by others on the way; set secure: true" in text
        assert warned(**options) == warned(**options, rootdirectory="/other") == []
        assert [record.getMessage() for record in caplog.records] == [text]

    @pytest.mark.parametrize("host", ELSEWHERE)
    def test_but_not_with_tls(self, host: str, untold: None) -> None:
        assert warned(regionendpoint=host.replace("http:", "https:")) == []

    def test_to_aws(self, untold: None) -> None:
        assert len(warned(secure=False)) == 1
        assert warned() == []
        assert len(warned(skipverify=True)) == 1

    def test_each_endpoint_is_told_of(self, untold: None) -> None:
        assert len(warned(regionendpoint="a.example", secure=False)) == 1
        assert len(warned(regionendpoint="b.example", secure=False)) == 1
        assert len(warned(regionendpoint="b.example:81", secure=False)) == 1

    def test_it_is_told_once_to_many_threads(self, untold: None, caplog: pytest.LogCaptureFixture) -> None:
        parameters = DriverParameters(bucket="b", region_endpoint="many.example", secure=False)
        barrier = threading.Barrier(16)

        def tell() -> None:
            barrier.wait()
            insecure.warn(parameters)

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            threads = [threading.Thread(target=tell) for _ in range(16)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        assert len(caplog.records) == 1

    def test_where_warnings_are_errors_it_is_logged_alone(self) -> None:
        code = """
import logging
logging.basicConfig(format="%(levelname)s %(message)s")
from regfs import RegistryFileSystem
for _ in range(2):
    RegistryFileSystem(bucket="b", regionendpoint="s3.example.com", secure=False, skip_instance_cache=True)
RegistryFileSystem(bucket="b", regionendpoint="s3.example.com", skipverify=True)
print("made")
"""
        run = subprocess.run(
            [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=120
        )
        assert run.stdout == "made\n", run.stderr
        assert [line.split(" ")[0] for line in run.stderr.splitlines()] == ["WARNING", "WARNING"]


def test_loggers_stay_as_they_are(untold: None) -> None:
    """A library sets no handlers."""
    warned(regionendpoint="s3.example.com", secure=False)
    assert logging.getLogger("regfs").handlers == []
