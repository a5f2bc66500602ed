"""Signature version 4 for S3, in headers. Pure: what to sign is given, and the time as well.

A request costs one HMAC and two short hashes. The key that depends on the day, the region and the
credentials is kept, as are the parts of the header that do.

Rules: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html, and for
S3's own (the path is encoded once and never normalised; the hash of the body is a header)
https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html
"""

from __future__ import annotations

import hashlib
import hmac
import re
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple
from urllib import parse

ALGORITHM = "AWS4-HMAC-SHA256"
EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()
UNSIGNED = "UNSIGNED-PAYLOAD"

# What proxies and HTTP libraries change on the way; botocore leaves them out as well.
_UNSIGNED_HEADERS = {
    *("baggage", "connection", "expect", "keep-alive", "proxy-authenticate", "proxy-authorization", "te"),
    *("traceparent", "tracestate", "trailer", "transfer-encoding", "upgrade", "user-agent"),
    "x-amzn-trace-id",
}
_PLAIN = re.compile(r"[A-Za-z0-9._~/-]*")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class Credentials(NamedTuple):
    """An access key, its secret, and the token of temporary ones."""

    access_key: str
    secret_key: str
    token: str = ""

    def __repr__(self) -> str:
        return "Credentials(...)"


def quote(text: str, safe: str = "/") -> str:
    """Percent-encode a key, or with ``safe=""`` a name or value of a query (RFC 3986, UTF-8).

    Raises
    ------
    UnicodeEncodeError
        The text is not encodable as UTF-8.
    """
    if _PLAIN.fullmatch(text) and (safe or "/" not in text):
        return text
    return parse.quote(text, safe=safe + "~")


def query_string(query: Sequence[tuple[str, str]]) -> str:
    """Encode and sort the parameters of a query."""
    return "&".join(f"{n}={v}" for n, v in sorted((quote(n, ""), quote(v, "")) for n, v in query))


class _Day(NamedTuple):
    """The signing key and scope of one day and one pair of keys."""

    date: str
    credentials: Credentials
    key: bytes
    scope: str


class Signer:
    """Signs requests to one host.

    Parameters
    ----------
    region : str
        The bucket's region.
    host : str
        As the ``Host`` header has it: with the port, unless it is the scheme's own.
    service : str
        The service's name in the signature.
    """

    def __init__(self, region: str, host: str, service: str = "s3") -> None:
        self.host = host
        self._region = region
        self._service = service
        self._day: _Day | None = None
        self._second = -1
        self._stamp = ""

    def __repr__(self) -> str:
        return f"Signer({self._region!r}, {self.host!r})"

    def sign(
        self,
        method: str,
        path: str,
        query: str,
        headers: Mapping[str, str],
        digest: str,
        credentials: Credentials,
        now: float,
    ) -> dict[str, str]:
        """Return the headers of a request, signed.

        Parameters
        ----------
        method : str
            The HTTP method.
        path : str
            The path as it will be sent: encoded once (:func:`quote`), as it is otherwise.
        query : str
            The query likewise, sorted (:func:`query_string`).
        headers : mapping
            What else the request carries.
        digest : str
            The SHA-256 of the body in hex, or :data:`UNSIGNED`.
        credentials : Credentials
            Whose signature it is.
        now : float
            Seconds since the epoch.

        Returns
        -------
        dict
            `headers` and those of the signature; all but ``Host``, which the HTTP library sends.

        Raises
        ------
        ValueError
            A header holds a control character, which could end it and begin another.
        """
        stamp = self._time(now)
        day = self._of_day(stamp[:8], credentials)
        signed = {"x-amz-content-sha256": digest, "x-amz-date": stamp}
        if credentials.token:
            signed["x-amz-security-token"] = credentials.token
        for name, value in headers.items():
            signed[name.lower()] = value
        names, lines = self._canonical({"host": self.host, **signed})
        request = f"{method}\n{path}\n{query}\n{lines}\n{names}\n{digest}"
        signature = self._signature(request, stamp, day)
        credential = f"{credentials.access_key}/{day.scope}"
        signed["authorization"] = (
            f"{ALGORITHM} Credential={credential}, SignedHeaders={names}, Signature={signature}"
        )
        return signed

    # -- inside ---------------------------------------------------------------------------------------

    def _time(self, now: float) -> str:
        second = int(now)
        if second != self._second:
            self._stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(second))
            self._second = second
        return self._stamp

    def _of_day(self, date: str, credentials: Credentials) -> _Day:
        day = self._day
        if day is None or day.date != date or day.credentials != credentials:
            carried = credentials.access_key + credentials.token
            if not (carried.isascii() and carried.isprintable()):
                raise ValueError("credentials: hold a control character, or one that is not of ASCII")
            key = f"AWS4{credentials.secret_key}".encode()
            for part in (date, self._region, self._service, "aws4_request"):
                key = hmac.digest(key, part.encode(), "sha256")
            scope = f"{date}/{self._region}/{self._service}/aws4_request"
            self._day = day = _Day(date, credentials, key, scope)
        return day

    @staticmethod
    def _canonical(headers: dict[str, str]) -> tuple[str, str]:
        """Return the names of the headers that are signed, and their canonical lines."""
        names = sorted(headers.keys() - _UNSIGNED_HEADERS)
        lines = []
        for name in names:
            value = headers[name]
            if not value.isprintable() and _CONTROL.search(value):
                raise ValueError(f"header {name}: holds a control character")
            if "  " in value or value[:1] == " " or value[-1:] == " " or not value.isascii():
                value = " ".join(value.split())
            lines.append(f"{name}:{value}\n")
        return ";".join(names), "".join(lines)

    @staticmethod
    def _signature(request: str, stamp: str, day: _Day) -> str:
        digest = hashlib.sha256(request.encode()).hexdigest()
        return hmac.digest(day.key, f"{ALGORITHM}\n{stamp}\n{day.scope}\n{digest}".encode(), "sha256").hex()
