"""The fast transport: the hot requests, signed here and sent over one pool of connections for each loop.

It knows success and nothing else. Whatever is not a plain success is raised as botocore would raise it, and
:mod:`regfs.s3.transport` decides: what S3 has answered for good (a missing key) is raised, all else is
repeated through botocore, which follows redirects, refreshes credentials and reads every error. So nothing
depends on this module being right about anything but success.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import time
import weakref
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from regfs._version import __version__
from regfs.s3.documents import LARGEST, DocumentError, parse_error
from regfs.s3.http.pool import NoConnectionError, Origin, Pool, request
from regfs.s3.retry import CONNECT_TIMEOUT, READ_TIMEOUT, throttling
from regfs.s3.sigv4 import EMPTY_SHA256, UNSIGNED, Credentials, Signer, query_string, quote

if TYPE_CHECKING:
    from regfs.parameters.table import DriverParameters
    from regfs.s3.http.connection import Response
    from regfs.s3.pace import Pace

POOL = 128
"""Connections of one loop."""
LARGE = 128 * 1024
"""Bytes from which a body is hashed in a thread."""


class _Way(NamedTuple):
    """The connections of one loop; `always` are the first headers of all requests."""

    pool: Pool
    signer: Signer
    scheme: str
    host: str
    path: str
    always: str
    pace: Pace


class FastTransport:
    """The fast way to one bucket.

    Parameters
    ----------
    parameters : DriverParameters
        The registry's parameters.
    credentials : callable
        Gives those in force now, or None where there are none.
    address : callable
        Returns the bucket's URL, with a final slash, and the region to sign for.
    pace : callable
        Returns the running loop's rate limit, which botocore's requests share.
    """

    def __init__(
        self,
        parameters: DriverParameters,
        credentials: Callable[[], Awaitable[Credentials | None]],
        address: Callable[[], Awaitable[tuple[str, str]]],
        pace: Callable[[], Pace],
    ) -> None:
        self.parameters = parameters
        self._credentials = credentials
        self._address = address
        self._pace = pace
        self._ways: weakref.WeakKeyDictionary[Any, _Way | None] = weakref.WeakKeyDictionary()
        self._opening: weakref.WeakKeyDictionary[Any, asyncio.Lock] = weakref.WeakKeyDictionary()
        p = parameters
        # Access points and directory buckets are signed for in ways of their own.
        special = p.bucket.startswith("arn:") or p.bucket.endswith(("--x-s3", "--xa-s3", "--op-s3"))
        self.possible = p.v4_auth and not special

    async def ready(self) -> bool:
        """Return whether requests of the running loop may go this way, and open it at the first call."""
        if not self.possible:
            return False
        loop = asyncio.get_running_loop()
        if loop not in self._ways:
            async with self._opening.setdefault(loop, asyncio.Lock()):
                if loop not in self._ways:
                    self._ways[loop] = await self._open()
        return self._ways[loop] is not None

    async def _open(self) -> _Way | None:
        p = self.parameters
        try:
            if await self._credentials() is None:
                return None
        except Exception:  # noqa: BLE001 - botocore will fail as well, and report it
            return None
        url, region = await self._address()
        parts = urlsplit(url)
        if getproxies().get(parts.scheme) and not proxy_bypass(parts.hostname or ""):
            return None
        usual = {"http": 80, "https": 443}[parts.scheme]
        name = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname or ""
        host = name if parts.port in (None, usual) else f"{name}:{parts.port}"
        tls = await asyncio.to_thread(trust, p.skip_verify) if parts.scheme == "https" else None
        origin = Origin(parts.hostname or "", parts.port or usual, tls)
        pool = Pool(origin, POOL, CONNECT_TIMEOUT, READ_TIMEOUT)
        weakref.finalize(self, _discard, asyncio.get_running_loop(), pool)
        signer = Signer(region, host)
        always = f"host: {host}\r\nuser-agent: {p.user_agent or f'regfs/{__version__}'}\r\n"
        return _Way(pool, signer, parts.scheme, host, parts.path, always, self._pace())

    def forget(self) -> list[Any]:
        """Return all sessions away, of all loops."""
        kept = list(self._ways.items())
        self._ways = weakref.WeakKeyDictionary()
        self._opening = weakref.WeakKeyDictionary()
        return kept

    async def close(self) -> None:
        """Close the running loop's connections; the next request opens new ones."""
        route = self._ways.pop(asyncio.get_running_loop(), None)
        if route is not None:
            route.pool.close()
            await route.pool.wait_closed()

    def off(self) -> None:
        """Send nothing more this way: the service sends every request elsewhere."""
        self.possible = False

    async def send(
        self,
        method: str,
        key: str,
        *,
        query: Sequence[tuple[str, str]] = (),
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        success: Sequence[int] = (200,),
    ) -> Response:
        """Send one request and give the response, whose body is the caller's to read or to close.

        Parameters
        ----------
        method : str
            The HTTP method.
        key : str
            The object's key; "" for the bucket.
        query : sequence of (str, str)
            Parameters, not encoded.
        headers : mapping, optional
            Signed with the request.
        body : bytes, optional
            What to send.
        success : sequence of int
            The statuses that are plain success.

        Raises
        ------
        botocore.exceptions.ClientError
            The service answered something else.
        botocore.exceptions.HTTPClientError
            It answered nothing.
        """
        route = self._ways[asyncio.get_running_loop()]
        credentials = await self._credentials()
        if route is None or credentials is None:
            raise RuntimeError("not ready")
        pace = route.pace
        if pace.limited:
            await pace.turn()
        path = route.path + quote(key) if key else route.path
        text = query_string(query)
        digest = EMPTY_SHA256
        if body:
            digest = UNSIGNED if route.scheme == "https" else await _sha256(body)
        signed = route.signer.sign(method, path, text, headers or {}, digest, credentials, time.time())
        lines = "".join([f"{name}: {value}\r\n" for name, value in signed.items()])
        length = "" if body is None else f"content-length: {len(body)}\r\n"
        target = f"{path}?{text}" if text else path
        head = f"{method} {target} HTTP/1.1\r\n{route.always}{lines}{length}\r\n".encode()
        sent = pace.mark()
        try:
            response = await request(route.pool, head, body, bodiless=method == "HEAD")
            if response.status in success:
                return response
            try:
                # An object that was sent instead of a range of it is not read to its end.
                error_body = await _read(response, LARGE) if response.status >= 300 else b""
            finally:
                response.close()
        except (OSError, TimeoutError) as exc:
            raise broken(exc, f"{route.scheme}://{route.host}") from exc
        error = refused(response, error_body, method)
        if throttling(error):
            pace.throttled(sent)
        raise error


def refused(response: Response, data: bytes, operation: str) -> Any:
    """Return botocore's error for a response that is no success."""
    from botocore.exceptions import ClientError

    code, message = parse_error(data) if data else ("", "")
    answer = {
        "Error": {"Code": code or str(response.status), "Message": message or response.reason or ""},
        "ResponseMetadata": {
            "HTTPStatusCode": response.status,
            "HTTPHeaders": dict(response.headers),
        },
    }
    return ClientError(answer, operation)


def broken(error: Exception, endpoint: str) -> Any:
    """Return botocore's error for a connection that failed, as aiobotocore does."""
    import ssl

    from botocore import exceptions as boto

    if isinstance(error, NoConnectionError):
        cause = error.__cause__
        if isinstance(cause, ssl.SSLError):
            return boto.SSLError(endpoint_url=endpoint, error=cause)
        if isinstance(cause, TimeoutError):
            return boto.ConnectTimeoutError(endpoint_url=endpoint, error=cause)
        return boto.EndpointConnectionError(endpoint_url=endpoint, error=cause)
    if isinstance(error, TimeoutError):
        return boto.ReadTimeoutError(endpoint_url=endpoint, error=error)
    return boto.ConnectionClosedError(endpoint_url=endpoint, request=None, error=error)


async def read(response: Response) -> bytes:
    """Read a document whole.

    Raises
    ------
    OSError
        The connection broke.
    DocumentError
        It is larger than any document of S3.
    """
    try:
        data = await _read(response, LARGEST + 1)
    finally:
        response.close()  # the connection is in the pool already if all was read
    if len(data) > LARGEST:
        raise DocumentError("the service's answer has no end")
    return data


async def _read(response: Response, limit: int) -> bytes:
    pieces: list[bytes] = []
    while limit > 0 and (piece := await response.read(limit)):
        pieces.append(piece)
        limit -= len(piece)
    return b"".join(pieces)


def _discard(loop: asyncio.AbstractEventLoop, pool: Pool) -> None:
    """Close the connections of a transport that was garbage-collected."""
    if loop.is_closed():
        return
    if loop.is_running():
        with contextlib.suppress(RuntimeError):  # closed meanwhile: the interpreter ends
            loop.call_soon_threadsafe(pool.close)
    else:
        pool.close()


async def _sha256(body: bytes) -> str:
    if len(body) < LARGE:
        return hashlib.sha256(body).hexdigest()
    return (await asyncio.to_thread(hashlib.sha256, body)).hexdigest()


def trust(skip_verify: bool = False) -> Any:
    """Return the TLS context: it trusts the certificates that botocore trusts, or with `skip_verify` any."""
    import os
    import ssl

    from botocore.httpsession import get_cert_path

    if skip_verify:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context
    named = os.environ.get("AWS_CA_BUNDLE") or os.environ.get("REQUESTS_CA_BUNDLE")
    return ssl.create_default_context(cafile=named or get_cert_path(True))
