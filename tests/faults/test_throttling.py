"""A service that throttles is asked as often as it bears, by all requests of a filesystem together."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from faults.table import answer, error
from support.proxy import Throttling

from regfs import RegistryFileSystem, ThrottledError
from regfs.s3.failures import THROTTLING
from regfs.s3.pace import Pace

if TYPE_CHECKING:
    from support.proxy import CountingProxy, Request
    from support.servers import Place

pytestmark = pytest.mark.parametrize("server", ["seaweedfs"], indirect=True)

SLOW_DOWN = error("503 Slow Down", "SlowDown")
WORKERS = 128
"""Requests of `cat` at the same time: fsspec's default."""


def slow_down(request: Request) -> bytes:
    return answer("503 Slow Down") if request.method == "HEAD" else SLOW_DOWN


@pytest.fixture
def fs(proxied_options: dict[str, Any]) -> RegistryFileSystem:
    return RegistryFileSystem(**proxied_options)


def pace(fs: RegistryFileSystem) -> Pace:
    return fs.client.transport._paces[fs.loop]


def once(response: bytes) -> Callable[[Request], bytes | None]:
    responses = [response]
    return lambda _: responses.pop() if responses else None


class TestByDefault:
    def test_nothing_is_limited(self, fs: RegistryFileSystem, monkeypatch: pytest.MonkeyPatch) -> None:
        """No request waits for a turn, however many there are."""
        monkeypatch.delattr(Pace, "turn")
        files = {f"/d/{number}": b"%d" % number for number in range(500)}
        fs.pipe(files)
        assert fs.cat("/d", recursive=True) == files
        fs.mv("/d", "/e", recursive=True)
        fs.rm("/e", recursive=True)
        assert pace(fs).rate == math.inf

    @pytest.mark.parametrize(
        "response",
        [
            error("500 Internal Server Error", "InternalError"),
            error("400 Bad Request", "RequestTimeout"),
            b"",
        ],
    )
    def test_nor_by_other_failures(
        self, fs: RegistryFileSystem, proxy: CountingProxy, raw: Place, response: bytes
    ) -> None:
        raw.put("file", b"1")
        proxy.fault = once(response)
        assert fs.cat_file("/file") == b"1"
        with pytest.raises(FileNotFoundError):
            fs.cat_file("/missing")
        assert not pace(fs).limited


class TestWhatStartsALimit:
    @pytest.mark.parametrize(
        "response",
        [
            SLOW_DOWN,
            error("503 Service Unavailable", "ServiceUnavailable"),
            error("503 Service Unavailable", "SlowDownRead"),
            answer("503 Service Unavailable"),
            answer("503 Service Unavailable", b"<html>overloaded</html>"),
            error("429 Too Many Requests", "TooManyRequests"),
            answer("429 Too Many Requests"),
            error("400 Bad Request", "Throttling"),
            error("400 Bad Request", "RequestLimitExceeded"),
        ],
    )
    def test_answers(
        self,
        fs: RegistryFileSystem,
        proxy: CountingProxy,
        raw: Place,
        response: bytes,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        raw.put("file", b"1")
        proxy.fault = once(response)
        with caplog.at_level(logging.DEBUG, "regfs"):
            assert fs.cat_file("/file") == b"1"
        assert pace(fs).limited
        assert sum("a limit starts at" in text for text in caplog.messages) == 1

    @pytest.mark.parametrize("code", ["SlowDown", "InternalError"])
    def test_single_keys_of_a_deletion(
        self, fs: RegistryFileSystem, proxy: CountingProxy, raw: Place, code: str
    ) -> None:
        """They are sent again, as the request would be that is refused as a whole."""
        for name in "abc":
            raw.put(f"d/{name}", b"1")
        failed = f"<Error><Key>{fs.space.key('/d/b')}</Key><Code>{code}</Code></Error>"
        refusal = answer("200 OK", f"<DeleteResult>{failed}</DeleteResult>".encode())
        proxy.fault = lambda request: refusal if "delete" in request.query else None
        fs.rm(["/d/a", "/d/b", "/d/c"])
        deletions = [request for request in proxy.requests if request.method in ("POST", "DELETE")]
        assert [request.method for request in deletions] == ["POST", "DELETE"]
        assert deletions[1].path.endswith("/d/b")
        assert "d/b" not in raw.keys()
        assert pace(fs).limited == (code == "SlowDown")

    def test_single_keys_for_good(
        self, proxied_options: dict[str, Any], proxy: CountingProxy, raw: Place
    ) -> None:
        fs = RegistryFileSystem(**proxied_options, maxretries=1)
        for name in "ab":
            raw.put(f"d/{name}", b"1")
        keys = [fs.space.key(f"/d/{name}") for name in "ab"]
        failed = "".join(f"<Error><Key>{key}</Key><Code>SlowDown</Code></Error>" for key in keys)
        refusal = answer("200 OK", f"<DeleteResult>{failed}</DeleteResult>".encode())
        proxy.fault = lambda request: refusal if "delete" in request.query else None
        with pytest.raises(ThrottledError, match=r"2 of 2 could not be deleted: /d/a \(SlowDown\)"):
            fs.rm(["/d/a", "/d/b"])
        assert proxy.count("POST") == 2

    def test_an_answer_to_a_head(self, fs: RegistryFileSystem, proxy: CountingProxy, raw: Place) -> None:
        raw.put("file", b"1")
        proxy.fault = once(answer("503 Slow Down"))
        assert fs.size("/file") == 1
        assert pace(fs).limited

    def test_in_either_lane(self, fs: RegistryFileSystem, proxy: CountingProxy, raw: Place) -> None:
        """Copies are botocore's. The limit is the same for what it sends and for what is sent here."""
        raw.put("file", b"1")
        fs.info("/file")
        proxy.fault = lambda request: (
            SLOW_DOWN if request.method == "PUT" and len(proxy.requests) == 3 else None
        )
        fs.cp_file("/file", "/copy")
        assert [request.status for request in proxy.requests if request.method == "PUT"] == [503, 200]
        assert pace(fs).limited

    @pytest.mark.parametrize("code", sorted(THROTTLING))
    def test_every_code_is_repeated_and_an_error_of_its_own(
        self, proxied_options: dict[str, Any], proxy: CountingProxy, code: str
    ) -> None:
        fs = RegistryFileSystem(**proxied_options, maxretries=1)
        proxy.fault = lambda _: error("400 Bad Request", code)
        with pytest.raises(ThrottledError):
            fs.cat_file("/file")
        assert len(proxy.requests) == 2


class TestAServiceThatBearsSoMany:
    def test_all_is_read_and_little_is_in_vain(
        self, fs: RegistryFileSystem, proxy: CountingProxy, caplog: pytest.LogCaptureFixture
    ) -> None:
        files = {f"/d/{number}": b"%d" % number for number in range(600)}
        fs.pipe(files)
        proxy.fault = throttling = Throttling(100, 30, slow_down)
        with caplog.at_level(logging.DEBUG, "regfs"):
            assert fs.cat("/d", recursive=True) == files
            assert 0 < throttling.refused < 2 * WORKERS
            assert [text for text in caplog.messages if "a limit starts at" in text]
            assert [text for text in caplog.messages if "the limit is lowered to" in text]

            throttling.rate = math.inf
            while pace(fs).limited:
                assert fs.cat_file("/d/7") == b"7"
        starts, ends = (
            sum(words in text for text in caplog.messages)
            for words in ("a limit starts at", "the limit ends")
        )
        assert starts == ends
        assert pace(fs).rate == math.inf
        assert fs.cat("/d", recursive=True) == files
        assert not pace(fs).limited

    @pytest.mark.again
    def test_writes_and_deletions(self, fs: RegistryFileSystem, proxy: CountingProxy) -> None:
        files = {f"/d/{number}": b"%d" % number for number in range(150)}
        proxy.fault = throttling = Throttling(50, 5, slow_down)
        fs.pipe(files)
        assert fs.cat("/d", recursive=True) == files
        fs.rm(list(files))
        assert fs.find("/") == []
        assert 0 < throttling.refused < 3 * WORKERS


def test_a_forked_process_starts_afresh(fs: RegistryFileSystem, proxy: CountingProxy, raw: Place) -> None:
    raw.put("file", b"1")
    proxy.fault = once(SLOW_DOWN)
    assert fs.cat_file("/file") == b"1"
    assert pace(fs).limited
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            content = fs.cat_file("/file")
            os.write(write, b"%s %d" % (content, pace(fs).limited))
        finally:
            os._exit(0)
    os.close(write)
    os.waitpid(child, 0)
    with os.fdopen(read, "rb") as result:
        assert result.read() == b"1 0"
    assert pace(fs).limited
