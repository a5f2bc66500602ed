"""Is the service there: each way in which it is not is told apart."""

from __future__ import annotations

import socket
import threading
import time
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from typing import TYPE_CHECKING

import pytest
from support.certificates import Certificates, serving

from regfs.doctor import endpoint
from regfs.doctor.checks import Check, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.proxy import CountingProxy, Request

ORDER = ["name", "connection", "TLS", "HTTP", "clock"]


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


def examine(url: str, *, verify: bool = True) -> list[Check]:
    checks = list(endpoint.examine(url, verify=verify))
    assert [check.name for check in checks] == ORDER[: len(checks)]
    return checks


def last_failure(url: str, *, verify: bool = True) -> Check:
    """Return the failure that ended the examination, and see that nothing else failed."""
    *others, last = examine(url, verify=verify)
    assert last.verdict is Verdict.FAILED
    assert last.advice
    assert Verdict.FAILED not in {check.verdict for check in others}
    return last


# -- name and connection ------------------------------------------------------------------------------


def test_a_name_without_address(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    check = last_failure("http://s3.example.invalid:9000")
    assert check.name == "name"
    assert "s3.example.invalid" in check.found
    assert "regionendpoint" in check.advice


def test_what_is_no_name_at_all() -> None:
    check = last_failure(f"http://{'x' * 64}.example:9000")
    assert (check.name, "no host name" in check.found) == ("name", True)


def test_nothing_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    check = last_failure(f"http://127.0.0.1:{port}")
    assert (check.name, f"nothing listens at 127.0.0.1:{port}") == ("connection", check.found)


def test_no_answer_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    def silent(*_: object, **__: object) -> None:
        raise TimeoutError("timed out")

    monkeypatch.setattr(socket, "create_connection", silent)
    check = last_failure("http://127.0.0.1:9000")
    assert check.name == "connection"
    assert "no answer" in check.found
    assert "firewall" in check.advice


def test_a_proxy_of_the_environment_is_what_is_connected_to(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{port}")
    check = last_failure("http://s3.example.invalid")
    assert "the proxy of HTTP_PROXY" in check.found
    assert str(port) in check.found


# -- TLS ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("made", "found", "advice"),
    [
        ({"self_signed": True}, "is self-signed", "AWS_CA_BUNDLE"),
        ({}, "is of an unknown authority", "AWS_CA_BUNDLE"),
    ],
)
def test_a_certificate_that_nobody_vouches_for(
    certificates: Certificates, made: dict[str, bool], found: str, advice: str
) -> None:
    with serving(certificates.make(self_signed=made.get("self_signed", False))) as place:
        check = last_failure(f"https://{place}")
    assert check.name == "TLS"
    assert found in check.found
    assert advice in check.advice


@pytest.mark.parametrize(
    ("days", "address", "found", "advice"),
    [
        (-1, "127.0.0.1", "has expired", "renew"),
        (30, "127.0.0.2", "is for another address", "regionendpoint"),
    ],
)
def test_a_certificate_that_does_not_hold(
    certificates: Certificates,
    monkeypatch: pytest.MonkeyPatch,
    days: float,
    address: str,
    found: str,
    advice: str,
) -> None:
    monkeypatch.setenv("AWS_CA_BUNDLE", str(certificates.authority))
    with serving(certificates.make(days=days, address=address)) as place:
        check = last_failure(f"https://{place}")
        assert (check.name, found in check.found, advice in check.advice) == ("TLS", True, True)
        tls = examine(f"https://{place}", verify=False)[2]
    assert tls.verdict is Verdict.WARNING  # skipverify hides it, and is told so
    assert found in tls.found
    assert "unset skipverify" in tls.advice


@pytest.mark.parametrize(("days", "verdict"), [(30, Verdict.OK), (5, Verdict.WARNING)])
def test_a_good_certificate(
    certificates: Certificates, monkeypatch: pytest.MonkeyPatch, days: int, verdict: Verdict
) -> None:
    monkeypatch.setenv("AWS_CA_BUNDLE", str(certificates.authority))
    with serving(certificates.make(days=days)) as place:
        checks = examine(f"https://{place}")
    until = datetime.now(timezone.utc) + timedelta(days=days)
    assert [check.verdict for check in checks] == [Verdict.OK, Verdict.OK, verdict, Verdict.OK, Verdict.OK]
    assert f"{until:%Y-%m-%d}" in checks[2].found
    assert "403" in checks[3].found


def test_https_where_http_is_spoken() -> None:
    with serving(None) as place:
        check = last_failure(f"https://{place}")
    assert check.name == "TLS"
    assert "speaks HTTP without TLS" in check.found
    assert "secure: false" in check.advice


def test_http_where_tls_is_spoken(certificates: Certificates) -> None:
    with serving(certificates.make(self_signed=True)) as place:
        check = last_failure(f"http://{place}")
    assert check.name == "HTTP"
    assert "speaks TLS" in check.found
    assert "secure: true" in check.advice


def test_something_else_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def greet() -> None:
            for _ in range(3):  # the connection, the request, and a try of TLS
                client, _address = listener.accept()
                with client:
                    client.sendall(b"220 mail.example ESMTP\r\n")

        thread = threading.Thread(target=greet)
        thread.start()
        check = last_failure(f"http://127.0.0.1:{listener.getsockname()[1]}")
        thread.join()
    assert check.name == "HTTP"
    assert "is it S3?" in check.advice


# -- clock --------------------------------------------------------------------------------------------


def dated(moment: datetime | None) -> bytes:
    date = "" if moment is None else f"date: {format_datetime(moment, usegmt=True)}\r\n"
    return f"HTTP/1.1 403 Forbidden\r\n{date}content-length: 0\r\n\r\n".encode()


@pytest.fixture
def clock(proxy: CountingProxy) -> Iterator[dict[str, timedelta]]:
    """A service whose clock is set by the test."""
    skew = {"is": timedelta(0)}
    proxy.fault = lambda _: dated(datetime.now(timezone.utc) + skew["is"])
    yield skew
    proxy.fault = None


@pytest.mark.parametrize("server", ["seaweedfs"], indirect=True)
@pytest.mark.parametrize(
    ("skew", "verdict", "found"),
    [
        (timedelta(0), Verdict.OK, "as the service's"),
        (timedelta(minutes=2), Verdict.OK, "behind"),
        (timedelta(minutes=10), Verdict.WARNING, "10 minutes behind"),
        (timedelta(minutes=-10), Verdict.WARNING, "10 minutes ahead of"),
        (timedelta(hours=1), Verdict.FAILED, "60 minutes behind"),
        (timedelta(hours=-1), Verdict.FAILED, "60 minutes ahead of"),
    ],
)
def test_the_clock(
    proxy: CountingProxy, clock: dict[str, timedelta], skew: timedelta, verdict: Verdict, found: str
) -> None:
    clock["is"] = skew
    check = examine(proxy.endpoint)[-1]
    assert (check.name, check.verdict) == ("clock", verdict)
    assert found in check.found


@pytest.mark.parametrize("server", ["seaweedfs"], indirect=True)
def test_an_answer_without_time(proxy: CountingProxy) -> None:
    proxy.fault = lambda _: dated(None)
    check = examine(proxy.endpoint)[-1]
    assert (check.name, check.verdict) == ("clock", Verdict.SKIPPED)


@pytest.mark.parametrize("server", ["seaweedfs"], indirect=True)
def test_a_slow_answer_is_no_skew(proxy: CountingProxy) -> None:
    def late(_: Request) -> None:
        time.sleep(1.5)

    proxy.fault = late
    assert examine(proxy.endpoint)[-1].found == "as the service's"
