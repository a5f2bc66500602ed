"""The fast lane sends what succeeds; whatever else happens is botocore's to repeat, once and not twice.

Who sent a request is told by its User-Agent: botocore names itself.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import sys
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fsspec.asyn
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from regfs import BucketNotFoundError, RegistryFileSystem
from regfs.s3.pace import Pace

if TYPE_CHECKING:
    from support.proxy import CountingProxy, Request
    from support.servers import Place

CHUNK = 5 * 2**20


def lane(request: Request) -> str:
    return "botocore" if "botocore" in request.headers["user-agent"].lower() else "fast"


def answer(status: str, body: bytes = b"", **headers: str) -> bytes:
    """Write a response of its own connection."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


def error(code: str) -> bytes:
    return f"<Error><Code>{code}</Code><Message>told by the test</Message></Error>".encode()


@pytest.fixture
def fs(proxied_options: dict[str, Any], raw: Place) -> RegistryFileSystem:
    for key in ("file", "d/1", "d/2", "gone/1", "gone/2", "alone"):
        raw.put(key, key.encode())
    return RegistryFileSystem(**proxied_options, chunksize=CHUNK)


def put_parts(fs: RegistryFileSystem) -> int:
    fs.pipe_file("/large", b"x" * (CHUNK + 1))
    return int(fs.size("/large"))


# What it does, its result, and the method and a parameter of the request that is disturbed.
OPERATIONS: dict[str, tuple[Callable[[RegistryFileSystem], Any], Any, str, str]] = {
    "get": (lambda fs: fs.cat_file("/file"), b"file", "GET", ""),
    "range": (lambda fs: fs.cat_file("/file", 1, 3), b"il", "GET", ""),
    "open": (lambda fs: fs.open("/file").read(), b"file", "GET", ""),
    "head": (lambda fs: fs.info("/file")["size"], 4, "HEAD", ""),
    "list": (lambda fs: fs.find("/d"), ["/d/1", "/d/2"], "GET", "list-type"),
    "put": (lambda fs: fs.pipe_file("/new", b"new") or fs.cat_file("/new"), b"new", "PUT", ""),
    "part": (put_parts, CHUNK + 1, "PUT", "partNumber"),
    "delete many": (lambda fs: fs.rm("/gone", recursive=True) or fs.find("/gone"), [], "POST", "delete"),
    "delete one": (lambda fs: fs.rm_file("/alone") or fs.exists("/alone"), False, "DELETE", ""),
}
FAULTS = {
    "500": answer("500 Internal Server Error", error("InternalError")),
    "503": answer("503 Slow Down", error("SlowDown")),
    "400": answer("400 Bad Request", error("RequestTimeout")),
    "403 expired": answer("403 Forbidden", error("ExpiredToken")),
    "403 signature": answer("403 Forbidden", error("SignatureDoesNotMatch")),
    "501": answer("501 Not Implemented", error("NotImplemented")),
    "reset": b"",
    "204": answer("204 No Content"),
}


class TestRepeats:
    @pytest.mark.parametrize(
        ("operation", "fault"),
        # "204" is how a deletion succeeds.
        [(item, fault) for item in OPERATIONS for fault in FAULTS if (item, fault) != ("delete one", "204")],
    )
    @pytest.mark.parametrize("server", ["seaweedfs"], indirect=True)
    def test_what_is_no_success(
        self, fs: RegistryFileSystem, proxy: CountingProxy, operation: str, fault: str
    ) -> None:
        call, expected, method, parameter = OPERATIONS[operation]
        disturbed: list[Request] = []

        def disturb(request: Request) -> bytes | None:
            asked = request.method == method and (parameter in request.query or not parameter)
            if not asked or disturbed:
                return None
            disturbed.append(request)
            return FAULTS[fault]

        proxy.fault = disturb
        with proxy.counting() as seen:
            assert call(fs) == expected
        assert [lane(request) for request in disturbed] == ["fast"]
        again = [lane(item) for item in seen if item.method == method and parameter in ("", *item.query)]
        # aiohttp itself sends once more what was cut off on a connection that had been used before.
        assert again.count("botocore") == 1 or (fault == "reset" and again[:2] == ["fast", "fast"])

    @pytest.mark.parametrize("body", [b"", b"<html/>", b"<ListBucketResult>", error("InternalError")])
    def test_a_success_that_is_no_listing(
        self, fs: RegistryFileSystem, proxy: CountingProxy, body: bytes
    ) -> None:
        proxy.fault = lambda request: answer("200 OK", body) if lane(request) == "fast" else None
        assert fs.find("/d") == ["/d/1", "/d/2"]
        fs.rm("/gone", recursive=True)
        proxy.fault = None
        assert fs.find("/gone") == []

    @pytest.mark.parametrize("operation", ["get", "range"])
    def test_a_body_that_ends_early(
        self, fs: RegistryFileSystem, proxy: CountingProxy, operation: str
    ) -> None:
        status = "206 Partial Content" if operation == "range" else "200 OK"
        etag = f'"{hashlib.md5(b"file").hexdigest()}"'
        short = answer(status, b"f", Last_Modified="Mon, 23 Nov 2026 10:00:00 GMT", ETag=etag)
        short = short.replace(b"Content-Length: 1", b"Content-Length: 4")
        proxy.fault = lambda request: short if lane(request) == "fast" else None
        call, expected, *_ = OPERATIONS[operation]
        assert call(fs) == expected

    @pytest.mark.parametrize(
        "said",
        [
            answer("200 OK", b"file"),
            answer("200 OK", b"file", Last_Modified="yesterday"),
            b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nfile",
        ],
    )
    def test_a_success_that_lacks_what_every_object_has(
        self, fs: RegistryFileSystem, proxy: CountingProxy, said: bytes
    ) -> None:
        proxy.fault = lambda request: said if lane(request) == "fast" else None
        assert fs.cat_file("/file") == b"file"

    def test_a_range_that_is_answered_whole(self, fs: RegistryFileSystem, proxy: CountingProxy) -> None:
        whole = answer("200 OK", b"file", Last_Modified="Mon, 23 Nov 2026 10:00:00 GMT")
        proxy.fault = lambda request: whole if lane(request) == "fast" else None
        assert fs.cat_file("/file", 1, 3) == b"il"

    @pytest.mark.parametrize(
        ("start", "end", "expected"),
        [
            (0, 2, b"fi"),
            (0, 9, b"file"),
            (0, None, b"file"),
            (-9, None, b"file"),
            (1, 3, None),
            (-2, None, None),
        ],
    )
    def test_ranges_that_are_always_answered_whole(
        self,
        fs: RegistryFileSystem,
        proxy: CountingProxy,
        start: int,
        end: int | None,
        expected: bytes | None,
    ) -> None:
        whole = answer("200 OK", b"file", Last_Modified="Mon, 23 Nov 2026 10:00:00 GMT", ETag='"1"')
        proxy.fault = lambda _: whole
        if expected is not None:
            assert fs.cat_file("/file", start, end) == expected
        else:
            with pytest.raises(OSError, match="with the whole object; correct the proxy"):
                fs.cat_file("/file", start, end)

    @pytest.mark.parametrize("status", ["301 Moved Permanently", "307 Temporary Redirect"])
    def test_a_service_elsewhere_is_asked_by_botocore_from_then_on(
        self, fs: RegistryFileSystem, proxy: CountingProxy, status: str
    ) -> None:
        proxy.fault = lambda request: (
            answer(status, error("PermanentRedirect")) if lane(request) == "fast" else None
        )
        with proxy.counting() as seen:
            for _ in range(3):
                assert fs.cat_file("/file") == b"file"
        assert [lane(request) for request in seen] == ["fast", "botocore", "botocore", "botocore"]

    def test_retries_count_from_the_first(self, fs: RegistryFileSystem, proxy: CountingProxy) -> None:
        proxy.fault = lambda _: FAULTS["503"]
        with proxy.counting() as seen, pytest.raises(OSError, match="fewer requests"):
            fs.cat_file("/file")
        assert [lane(request) for request in seen] == ["fast"] + 5 * ["botocore"]

    @pytest.mark.parametrize("fault", ["503", "403 expired", "none"])
    def test_the_pace_counts_every_attempt(
        self,
        proxied_options: dict[str, Any],
        raw: Place,
        proxy: CountingProxy,
        monkeypatch: pytest.MonkeyPatch,
        fault: str,
    ) -> None:
        """Of both lanes: no request is sent whose turn has not come."""
        raw.put("file", b"file")
        passed = []
        turn = Pace.turn

        async def noted(self: Pace) -> None:
            await turn(self)
            passed.append(self.rate <= 50)

        monkeypatch.setattr(Pace, "turn", noted)
        fs = RegistryFileSystem(**proxied_options, maxrequestspersecond=50, chunksize=CHUNK)
        left = [2 if fault == "503" else 1]

        def failing(request: Request) -> bytes | None:
            left[0] -= 1
            return FAULTS[fault] if left[0] >= 0 else None

        proxy.fault = None if fault == "none" else failing
        with proxy.counting() as seen:
            assert fs.cat_file("/file") == b"file"
            fs.pipe_file("/large", b"x" * (CHUNK + 1))
            fs.rm("/large")
        assert passed == [True] * len(seen)


class TestFinalAnswers:
    def test_are_asked_for_once(self, fs: RegistryFileSystem, proxy: CountingProxy, raw: Place) -> None:
        raw.put("empty", b"")
        with proxy.counting() as seen:
            with pytest.raises(FileNotFoundError):
                fs.cat_file("/nope")
            assert fs.cat_file("/file", 100, 200) == b""
            assert fs.cat_file("/empty") == b""
        assert {lane(request) for request in seen} == {"fast"}
        assert [request.status for request in seen][:1] == [404]

    def test_a_missing_bucket_is_told_as_such(self, proxied_options: dict[str, Any]) -> None:
        fs = RegistryFileSystem(**{**proxied_options, "bucket": "no-such-bucket"})
        with pytest.raises(BucketNotFoundError):
            fs.cat_file("/a")
        with pytest.raises(BucketNotFoundError):
            fs.find("/")


class TestWhoMayTakeIt:
    def lanes(self, proxy: CountingProxy, fs: RegistryFileSystem) -> set[str]:
        with proxy.counting() as seen:
            fs.pipe_file("/x", b"1")
            assert fs.cat_file("/x") == b"1"
        return {lane(request) for request in seen}

    def test_by_default(self, proxy: CountingProxy, fs: RegistryFileSystem) -> None:
        assert self.lanes(proxy, fs) == {"fast"}

    def test_with_a_signature_of_version_2(
        self, proxy: CountingProxy, proxied_options: dict[str, Any]
    ) -> None:
        fs = RegistryFileSystem(**proxied_options, v4auth=False)
        assert self.lanes(proxy, fs) == {"botocore"}

    def test_behind_a_proxy_of_the_environment(
        self, proxy: CountingProxy, proxied_options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        fs = RegistryFileSystem(**proxied_options)
        monkeypatch.setenv("http_proxy", proxy.endpoint)
        assert not fsspec.asyn.sync(fs.loop, fs.client.transport.fast.ready)
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        other = RegistryFileSystem(**proxied_options, skip_instance_cache=True)
        assert fsspec.asyn.sync(other.loop, other.client.transport.fast.ready)

    def test_exclusive_creation_is_botocores(self, proxy: CountingProxy, fs: RegistryFileSystem) -> None:
        with proxy.counting() as seen:
            fs.pipe_file("/once", b"1", mode="create")
        assert [lane(request) for request in seen] == ["botocore"]

    def test_a_host_that_has_its_schemes_port(self, proxied_options: dict[str, Any]) -> None:
        fs = RegistryFileSystem(**{**proxied_options, "regionendpoint": "http://LocalHost:80"})
        assert fsspec.asyn.sync(fs.loop, fs.client.transport.fast.ready)
        (way,) = fs.client.transport.fast._ways.values()
        assert way is not None
        assert way.signer.host == "localhost"


@pytest.mark.parametrize("server", ["seaweedfs"], indirect=True)
class TestCredentials:
    def test_of_the_environments_chain_are_renewed(
        self,
        proxied_options: dict[str, Any],
        proxy: CountingProxy,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        def tell(access: str, secret: str) -> None:
            soon = datetime.now(timezone.utc) + timedelta(seconds=30)  # so that botocore asks each time
            told = {"Version": 1, "AccessKeyId": access, "SecretAccessKey": secret, "SessionToken": ""}
            (tmp_path / "keys").write_text(json.dumps({**told, "Expiration": soon.isoformat()}))

        code = f"print(open({str(tmp_path / 'keys')!r}).read())"
        (tmp_path / "program.py").write_text(code)
        (tmp_path / "config").write_text(
            f"[default]\ncredential_process = {sys.executable} {tmp_path / 'program.py'}\n"
        )
        monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
        access, secret = (proxied_options.pop(name) for name in ("accesskey", "secretkey"))
        tell(access, secret)
        fs = RegistryFileSystem(**proxied_options)
        with proxy.counting() as seen:
            fs.pipe_file("/x", b"1")
            tell(access, "wrong")
            with pytest.raises(PermissionError):
                fs.cat_file("/x")
            tell(access, secret)
            assert fs.cat_file("/x") == b"1"
        assert [lane(request) for request in seen] == ["fast", "fast", "botocore", "fast"]

    def test_are_asked_for_again_where_they_were_refused(
        self, proxy: CountingProxy, fs: RegistryFileSystem
    ) -> None:
        refuse = [True]
        proxy.fault = lambda _: FAULTS["403 expired"] if refuse and refuse.pop() else None
        assert fs.cat_file("/file") == b"file"
        assert fs.cat_file("/file") == b"file"
        assert [lane(request) for request in proxy.requests] == ["fast", "botocore", "fast"]


KEYS = st.lists(
    st.sampled_from(
        ["..", ".", "", "a", "a b", "a+b", "%2e%2e", "%2F", "?x=1", "#f", "é", "日本", ";", "~", "\\", "&"]
    )
    | st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=6),
    min_size=1,
    max_size=5,
).map("/".join)


@pytest.mark.parametrize("server", ["moto"], indirect=True)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=150)
@given(key=KEYS.filter(bool))
def test_the_key_that_arrives_is_the_key_meant(
    proxied_options: dict[str, Any], proxy: CountingProxy, key: str
) -> None:
    fs = RegistryFileSystem(**proxied_options)
    proxy.fault = lambda _: answer("200 OK", ETag='"e"', Last_Modified="Mon, 23 Nov 2026 10:00:00 GMT")
    proxy.clear()
    fsspec.asyn.sync(fs.loop, fs.client.put, key, b"")
    fsspec.asyn.sync(fs.loop, fs.client.head, key)
    assert [request.path for request in proxy.requests] == 2 * [f"/{proxied_options['bucket']}/{key}"]


def test_a_session_for_each_loop(options: dict[str, Any]) -> None:
    fs = RegistryFileSystem(**options, asynchronous=True)

    async def use() -> int:
        await fs._pipe_file("/x", b"1")
        ways = len(fs.client.transport.fast._ways)
        await fs.close()
        return ways

    assert [asyncio.run(use()) for _ in range(2)] == [1, 1]
    assert len(fs.client.transport.fast._ways) == 0
