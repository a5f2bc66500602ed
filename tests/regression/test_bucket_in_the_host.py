"""``forcepathstyle: false`` beside ``regionendpoint`` still put the bucket into the path.

Aliyun's OSS, among others, takes it in the host name alone. So does the server of these tests, for its own
part: what counts is what arrives there, from both lanes and by presigned URLs, and that the signature holds.
"""

from __future__ import annotations

import socket
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest
from support.proxy import CountingProxy

from regfs import RegistryFileSystem, StorageDriver
from regfs.doctor.checks import Verdict
from regfs.doctor.examination import examine
from regfs.local import server as local

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from support.proxy import Request

DOMAIN = "s3.test"
CHUNK = 5 * 2**20
LARGE = 2 * CHUNK + 1
SMALL: dict[str, Any] = {
    "chunksize": CHUNK,
    "multipartcopythresholdsize": CHUNK,
    "multipartcopychunksize": CHUNK,
}


@pytest.fixture(scope="module")
def service() -> Iterator[local.LocalS3]:
    """A server that knows buckets by names under a domain of its own."""
    flags = local._flags
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(local, "_flags", lambda *args: [*flags(*args), f"-s3.domainName={DOMAIN}"])
        with local.LocalS3(bucket="plain") as started:
            yield started


@pytest.fixture
def proxy(service: local.LocalS3, monkeypatch: pytest.MonkeyPatch) -> Iterator[CountingProxy]:
    """The way to it, where every name under its domain leads to."""
    resolve = socket.getaddrinfo

    def resolve_here(host: Any, *args: Any, **kwargs: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        return resolve("127.0.0.1" if name and name.endswith(DOMAIN) else host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", resolve_here)
    counting = CountingProxy(service.endpoint)
    yield counting
    counting.close()


@pytest.fixture
def options(service: local.LocalS3, proxy: CountingProxy) -> dict[str, Any]:
    port = proxy.endpoint.rpartition(":")[2]
    endpoint = f"http://{DOMAIN}:{port}"
    return {**service.storage_options, "regionendpoint": endpoint, "forcepathstyle": False, **SMALL}


@pytest.fixture
def fs(options: dict[str, Any]) -> Iterator[RegistryFileSystem]:
    fs = RegistryFileSystem(**options, skip_instance_cache=True)
    for path in ("/d/1", "/d/2", "/file"):
        fs.pipe_file(path, path.encode())
    yield fs
    fs.rm(list(fs.find("/")))


def append(fs: RegistryFileSystem) -> bytes:
    driver = StorageDriver(fs)
    with driver.writer("/new") as writer:
        writer.write(b"begun ")
    with driver.writer("/new", append=True) as writer:
        writer.write(b"and ended")
        writer.commit()
    return driver.get_content("/new")


OPERATIONS: dict[str, tuple[Callable[[RegistryFileSystem], Any], Any]] = {
    "GET": (lambda fs: fs.cat_file("/file"), b"/file"),
    "GET of a range": (lambda fs: fs.cat_file("/file", 1, 3), b"fi"),
    "HEAD": (lambda fs: fs.info("/file")["size"], 5),
    "LIST": (lambda fs: fs.find("/d"), ["/d/1", "/d/2"]),
    "PUT": (lambda fs: fs.pipe_file("/new", b"new") or fs.cat_file("/new"), b"new"),
    "PUT of a new one": (lambda fs: fs.pipe_file("/new", b"new", mode="create"), None),
    "DELETE": (lambda fs: fs.rm_file("/d/1") or fs.find("/d"), ["/d/2"]),
    "DELETE of many": (lambda fs: fs.rm("/d", recursive=True) or fs.find("/d"), []),
    "COPY": (lambda fs: fs.copy("/file", "/copy") or fs.cat_file("/copy"), b"/file"),
    "multipart": (lambda fs: fs.pipe_file("/new", b"x" * LARGE) or fs.size("/new"), LARGE),
    "multipart, resumed": (append, b"begun and ended"),
    "uploads": (lambda fs: fs.uploads(), []),
}


def lane(request: Request) -> str:
    return "botocore" if "botocore" in request.headers["user-agent"].lower() else "fast"


def check(requests: list[Request], proxy: CountingProxy) -> None:
    """See that all named the bucket by the host alone, and that the server took them."""
    port = proxy.endpoint.rpartition(":")[2]
    assert requests
    assert {request.headers["host"] for request in requests} == {f"plain.{DOMAIN}:{port}"}
    assert not [request for request in requests if request.path.startswith("/plain")]
    assert not [request for request in requests if request.status in (400, 403)]


@pytest.mark.parametrize("how", ["fast", "botocore", "repeated"])
@pytest.mark.parametrize("name", OPERATIONS)
def test_on_both_lanes(fs: RegistryFileSystem, proxy: CountingProxy, name: str, how: str) -> None:
    first = True

    def busy(_: Request) -> bytes | None:
        nonlocal first
        was, first = first, False
        return b"HTTP/1.1 503 Slow Down\r\ncontent-length: 0\r\n\r\n" if was else None

    if how == "botocore":
        fs.client.transport.fast.off()
    proxy.fault = busy if how == "repeated" else None
    call, expected = OPERATIONS[name]
    with proxy.counting() as seen:
        assert call(fs) == expected
    check(seen, proxy)
    if how == "botocore":
        assert {lane(request) for request in seen} == {"botocore"}
    if how == "repeated":
        assert "botocore" in {lane(request) for request in seen}
        assert seen[0].status == 503


def test_a_large_copy(fs: RegistryFileSystem, proxy: CountingProxy) -> None:
    fs.pipe_file("/large", b"x" * LARGE)
    with proxy.counting() as seen:
        fs.copy("/large", "/copy")
    assert fs.size("/copy") == LARGE
    assert [request for request in seen if "x-amz-copy-source-range" in request.headers]
    check(seen, proxy)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_presigned(fs: RegistryFileSystem, proxy: CountingProxy, method: str) -> None:
    urls = {fs.sign("/file"), fs.url("/file")} if method == "GET" else set()
    driver = StorageDriver(fs)
    with proxy.counting() as seen:
        for url in {*urls, driver.url_for("/file", method), driver.redirect_url("/file", method)}:
            with urllib.request.urlopen(urllib.request.Request(url, method=method), timeout=30) as answer:
                assert answer.read() == (b"/file" if method == "GET" else b"")
    check(seen, proxy)


def test_version_2_of_the_signature(
    fs: RegistryFileSystem, proxy: CountingProxy, options: dict[str, Any]
) -> None:
    """SeaweedFS looks for the bucket in the path here, so it is not asked whether the signature holds."""
    old = RegistryFileSystem(**options, v4auth=False)
    proxy.fault = lambda _: b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n"
    with proxy.counting() as seen, pytest.raises(FileNotFoundError):
        old.cat_file("/file")
    proxy.fault = None
    check(seen, proxy)
    assert seen[0].headers["authorization"].startswith("AWS ")
    assert old.sign("/file").startswith(f"{options['regionendpoint'].replace('://', '://plain.')}/file?")


def test_by_default_it_stands_in_the_path(
    proxy: CountingProxy, options: dict[str, Any], fs: RegistryFileSystem
) -> None:
    del options["forcepathstyle"]
    with proxy.counting() as seen:
        assert RegistryFileSystem(**options).cat_file("/file") == b"/file"
    assert [(request.path, request.headers["host"].partition(":")[0]) for request in seen] == [
        ("/plain/file", DOMAIN)
    ]


def test_an_address_takes_the_path(service: local.LocalS3, fs: RegistryFileSystem) -> None:
    """No name can stand before it."""
    other = RegistryFileSystem(**service.storage_options, forcepathstyle=False)
    assert other.cat_file("/file") == b"/file"
    assert other.sign("/file").startswith(f"{service.endpoint}/plain/file?")


def test_doctor_looks_at_that_host(options: dict[str, Any], proxy: CountingProxy) -> None:
    checks = {check.name: check for check in examine(lambda: RegistryFileSystem(**options))}
    assert not [check for check in checks.values() if check.verdict is Verdict.FAILED]
    assert checks["name"].found.startswith(f"plain.{DOMAIN}")
    assert f"plain.{DOMAIN}" in checks["presigned GET"].found
    # The first one is unsigned, and one has a checksum that is wrong.
    check([request for request in proxy.requests[1:] if not request.path.endswith("/spoilt")], proxy)


def test_a_host_that_is_not_there_is_named(options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    fs = RegistryFileSystem(**options, maxretries=0)
    with pytest.raises(ConnectionError, match=rf"at http://plain\.{DOMAIN}:\d+; check .*forcepathstyle"):
        fs.cat_file("/file")
