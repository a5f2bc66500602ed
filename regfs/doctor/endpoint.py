"""Is the service there at all? Name, connection, TLS, HTTP and clock, one after the other.

Works below S3, with nothing but the standard library, and sends no credentials.
"""

from __future__ import annotations

import http.client
import ipaddress
import socket
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

from regfs.doctor.checks import Check, Verdict, failed, ok, skipped, warning
from regfs.s3.failures import PLAIN, WITHOUT_TLS
from regfs.s3.fast import trust

TIMEOUT = 5.0
"""Seconds that a connection or an answer may take."""
EXPIRES_SOON = timedelta(days=14)
SKEW_NOTED, SKEW_REFUSED = timedelta(minutes=5), timedelta(minutes=15)
"""How far two clocks may be apart: without a word, and until S3 refuses signatures."""
# OpenSSL's X509_V_ERR_*
_CERTIFICATE = {
    9: ("is not valid yet", "set this machine's clock, or the certificate"),
    10: ("has expired", "renew the service's certificate"),
    18: ("is self-signed", "name it in AWS_CA_BUNDLE, or set skipverify: true"),
    19: ("is of an unknown authority", "name the authority's certificate in AWS_CA_BUNDLE"),
    20: ("is of an unknown authority", "name the authority's certificate in AWS_CA_BUNDLE"),
    62: ("is for another host", "name in regionendpoint the host that the certificate is for"),
    64: ("is for another address", "name in regionendpoint the host that the certificate is for"),
}


def examine(url: str, *, verify: bool) -> Iterator[Check]:
    """Check a service from the outside in; what depends on a failed check is left out.

    Parameters
    ----------
    url : str
        The service's endpoint.
    verify : bool
        Whether its certificate has to be right.

    Yields
    ------
    Check
        "name", "connection", "TLS", "HTTP", "clock".
    """
    parts = urlsplit(url)
    secure = parts.scheme == "https"
    host, port = parts.hostname or "", parts.port or (443 if secure else 80)
    through = ""
    proxy = urllib.request.getproxies().get(parts.scheme)
    if proxy and not urllib.request.proxy_bypass(host):
        between = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
        host, port = between.hostname or "", between.port or 80
        through = f" (the proxy of {parts.scheme.upper()}_PROXY)"
    addresses = _name(host, port, through)
    yield addresses if isinstance(addresses, Check) else ok("name", f"{host}{through} is {_said(addresses)}")
    if isinstance(addresses, Check):
        return
    connection = _connect(host, port, through)
    yield connection
    if connection.verdict is Verdict.FAILED:
        return
    if through:
        yield skipped("TLS", "through a proxy")
    elif secure:
        tls = _tls(host, port, verify=verify)
        yield tls
        if tls.verdict is Verdict.FAILED:
            return
    elif all(ipaddress.ip_address(each.partition("%")[0]).is_loopback for each in addresses):
        yield skipped("TLS", "plain HTTP, on this machine")
    else:
        yield warning("TLS", "plain HTTP: others on the way can read along", "set secure: true")
    yield from _answer(url, host, port, verify=verify)


def _said(addresses: list[str]) -> str:
    return ", ".join(addresses[:2]) + (f" and {len(addresses) - 2} more" if len(addresses) > 2 else "")


def _name(host: str, port: int, through: str) -> list[str] | Check:
    try:
        addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as exc:
        remedy = "HTTP_PROXY" if through else "regionendpoint, region or forcepathstyle, or the name server"
        reason = exc.strerror if isinstance(exc, OSError) else "no host name"
        return failed("name", f"{host}{through} has no address: {reason}", f"correct {remedy}")
    return list(dict.fromkeys(str(entry[4][0]) for entry in addresses))


def _connect(host: str, port: int, through: str) -> Check:
    at = f"{host}:{port}{through}"
    try:
        socket.create_connection((host, port), timeout=TIMEOUT).close()
    except ConnectionRefusedError:
        text = "start the service, or correct the port in regionendpoint"
        return failed("connection", f"nothing listens at {at}", text)
    except TimeoutError:
        text = "a firewall may drop the packets; correct regionendpoint, or open the way"
        return failed("connection", f"no answer from {at} in {TIMEOUT:g} s", text)
    except OSError as exc:
        text = "correct regionendpoint, or this machine's network"
        return failed("connection", f"no way to {at}: {exc.strerror}", text)
    return ok("connection", f"{at} accepts connections")


def _handshake(host: str, port: int, context: ssl.SSLContext) -> dict[str, object]:
    with (
        socket.create_connection((host, port), timeout=TIMEOUT) as plain,
        context.wrap_socket(plain, server_hostname=host) as wrapped,
    ):
        return {"version": wrapped.version(), **(wrapped.getpeercert() or {})}


def _unverified() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _tls(host: str, port: int, *, verify: bool) -> Check:
    try:
        certificate = _handshake(host, port, trust())
    except ssl.SSLCertVerificationError as exc:
        default = (exc.verify_message, "correct the certificate, AWS_CA_BUNDLE or regionendpoint")
        problem, advice = _CERTIFICATE.get(exc.verify_code, default)
        if verify:
            return failed("TLS", f"the certificate of {host} {problem}", advice)
        text = f"nobody verifies who answers (skipverify), and the certificate of {host} {problem}"
        return warning(
            "TLS", text, advice.replace(", or set skipverify: true", "") + ", and unset skipverify"
        )
    except ssl.SSLError as exc:
        if any(reason in str(exc.reason) for reason in PLAIN):
            return failed("TLS", f"{host}:{port} speaks HTTP without TLS", WITHOUT_TLS)
        return failed("TLS", f"no handshake with {host}:{port}: {exc.reason}", "correct the service's TLS")
    except OSError as exc:
        reason = exc.strerror or type(exc).__name__
        text = "the port may be another service's: correct it in regionendpoint"
        return failed("TLS", f"{host}:{port} broke the handshake off: {reason}", text)
    until = datetime.fromtimestamp(ssl.cert_time_to_seconds(str(certificate["notAfter"])), timezone.utc)
    left = until - datetime.now(timezone.utc)
    problem = f"{certificate['version']}, certificate valid until {until:%Y-%m-%d}"
    if left < EXPIRES_SOON:
        return warning("TLS", f"{problem}, {max(0, left.days)} days", "renew the service's certificate")
    if not verify:
        return warning("TLS", f"{problem}; nobody verifies it (skipverify)", "set skipverify: false")
    return ok("TLS", problem)


class _Unredirected(urllib.request.HTTPRedirectHandler):
    """An answer is an answer, also one that names another place."""

    def redirect_request(self, *args: object) -> None:
        return None


def _answer(url: str, host: str, port: int, *, verify: bool) -> Iterator[Check]:
    """Send an unsigned request, and compare the response's time with this machine's."""
    request = urllib.request.Request(url, method="HEAD")  # noqa: S310 - http or https, by its own rule
    tls = urllib.request.HTTPSHandler(context=trust() if verify else _unverified())
    opener = urllib.request.build_opener(tls, _Unredirected)
    sent_at = datetime.now(timezone.utc)
    try:
        with opener.open(request, timeout=TIMEOUT) as answer:
            headers, answered = answer.headers, f"{answer.status} {answer.reason}"
    except urllib.error.HTTPError as exc:  # 403, most likely; all that counts is that it is HTTP
        headers, answered = exc.headers, f"{exc.code} {exc.reason}"
        exc.close()
    except (OSError, http.client.HTTPException) as exc:
        yield _no_http(url, host, port, exc)
        return
    if url.startswith("http:") and "date" not in headers and _speaks_tls(host, port):
        yield _no_http(url, host, port, None)
        return
    yield ok("HTTP", f"answers {answered}")
    now = datetime.now(timezone.utc)
    try:
        service_time = parsedate_to_datetime(headers["date"]).astimezone(timezone.utc)
    except (TypeError, ValueError):
        yield skipped("clock", "the response has no date")
        return
    # Between these two the skew is unknown: the response took its time, and the header has whole seconds.
    early, late = sent_at - timedelta(seconds=1) - service_time, now - service_time
    within = early <= timedelta(0) <= late
    yield _judged(timedelta(0) if within else min(early, late, key=abs))


def _judged(skew: timedelta) -> Check:
    seconds = abs(skew.total_seconds())
    if not seconds:
        return ok("clock", "as the service's")
    much = f"{seconds / 60:.0f} minutes" if seconds >= 120 else f"{seconds:.0f} s"
    verdict = f"this machine is {much} {'ahead of' if skew > timedelta(0) else 'behind'} the service"
    advice = "set this machine's clock (or the service's), for example by NTP"
    if abs(skew) > SKEW_REFUSED:
        return failed("clock", f"{verdict}; signatures are refused from 15 minutes on", advice)
    if abs(skew) > SKEW_NOTED:
        return warning("clock", verdict, advice)
    return ok("clock", verdict)


def _speaks_tls(host: str, port: int) -> bool:
    try:
        _handshake(host, port, _unverified())
    except OSError:
        return False
    return True


def _no_http(url: str, host: str, port: int, error: Exception | None) -> Check:
    if url.startswith("http:") and _speaks_tls(host, port):
        text = "set secure: true, or begin regionendpoint with https://"
        return failed("HTTP", f"{host}:{port} speaks TLS, and plain HTTP was tried", text)
    reason = getattr(error, "reason", None) or error
    detail = " ".join(str(reason).split()) or type(error).__name__
    return failed("HTTP", f"no HTTP answer from {host}:{port}: {detail}", "correct regionendpoint: is it S3?")
