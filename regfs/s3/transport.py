"""How a request reaches S3, by the fast transport or through s3fs and botocore, and how it fails.

Owns each event loop's connections, the pace of requests, their repetition, and the translation of failures.
"""

from __future__ import annotations

import asyncio
import io
import logging
import os
import time
import weakref
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import parse_qs, urlsplit

from regfs._version import __version__
from regfs.s3.failures import of_service, translate, unreadable
from regfs.s3.fast import FastTransport
from regfs.s3.pace import Pace
from regfs.s3.retry import CONNECT_TIMEOUT, READ_TIMEOUT, expired, retry, status, throttling, transient
from regfs.s3.session import accepted, forget_echo, open_session, session_class
from regfs.s3.sigv4 import Credentials

if TYPE_CHECKING:
    from regfs.parameters.table import DriverParameters
    from regfs.paths import KeySpace

T = TypeVar("T")

logger = logging.getLogger("regfs")

_FINAL = {404, 412, 416}
"""Statuses that need no repetition through botocore: missing, replaced, past the end."""
_ELSEWHERE = {301, 302, 307, 308}
"""Statuses that send every request to another place, which botocore finds."""

_transports: weakref.WeakSet[Transport] = weakref.WeakSet()
_of_parent: list[Any] = []


def _after_fork() -> None:
    """Leave a parent's connections alone, in its child, for ever.

    Both processes have the same sockets and the same epoll set. To close one here, as the collector does to a
    session that nobody uses, would take it out of the parent's set, and the parent would wait for its next
    answer until that times out.
    """
    for transport in _transports:
        _of_parent.extend(transport.forget())


os.register_at_fork(after_in_child=_after_fork)


class _Body(io.BytesIO):
    """A request's body. It shares the bytes that it is made of, and goes on doing so when its size is asked.

    BytesIO's own ``getbuffer()``, with which aiohttp finds the size, would copy them.
    """

    def getbuffer(self) -> memoryview:
        return memoryview(self.getvalue())


async def _close_sessions(sessions: dict[str, Any]) -> None:
    for s3 in sessions.values():
        if s3._s3 is not None:  # noqa: SLF001 - s3fs offers no other way to await its closing
            await s3._s3.close()  # noqa: SLF001 - as above


def _settled(
    call: Callable[[], Awaitable[T]], settle: Callable[[], Awaitable[T | None]]
) -> Callable[[], Awaitable[T]]:
    """After an ambiguous failure, check the object before retrying."""
    doubt = False

    async def attempt() -> T:
        nonlocal doubt
        try:
            return await call()
        except Exception as exc:
            doubt = doubt or transient(exc)
            result = await settle() if doubt else None
            if result is None:
                raise
            return result

    return attempt


class Transport:
    """The way to one bucket's service.

    Parameters
    ----------
    parameters : DriverParameters
        The registry's parameters.
    space : KeySpace
        Names keys in errors.
    anonymous : bool
        Whether requests are sent unsigned.
    asynchronous : bool
        Whether the caller's own event loop is used; then the caller closes what it opened.
    loop : asyncio.AbstractEventLoop, optional
        fsspec's loop, otherwise; in a forked child another one.
    """

    def __init__(
        self,
        parameters: DriverParameters,
        space: KeySpace,
        *,
        anonymous: bool = False,
        asynchronous: bool = False,
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self.parameters = parameters
        self.space = space
        self.anonymous = anonymous
        self.fast = FastTransport(parameters, self.credentials, self.address, self.pace)
        self._host = parameters.endpoint_url or ""
        """The service's URL in errors: that of the bucket's host as soon as it is known."""
        if anonymous:
            self.fast.off()
        self._chains: weakref.WeakKeyDictionary[Any, Any] = weakref.WeakKeyDictionary()
        self._asynchronous = asynchronous
        self.loop = loop
        # A session belongs to the loop it was opened on; a new loop finds none of its own here and opens one.
        self._sessions: weakref.WeakKeyDictionary[Any, dict[str, Any]] = weakref.WeakKeyDictionary()
        self._retired: weakref.WeakKeyDictionary[Any, dict[str, Any]] = weakref.WeakKeyDictionary()
        self._paces: weakref.WeakKeyDictionary[Any, Pace] = weakref.WeakKeyDictionary()
        _transports.add(self)
        if parameters.log_level != "off":
            logger.setLevel(logging.DEBUG)

    async def session(self, endpoint: str | None = None) -> Any:
        """Return the running loop's botocore client, opened at the first call.

        Parameters
        ----------
        endpoint : str, optional
            Another endpoint than the bucket's, for presigned URLs.
        """
        sessions = self._sessions.setdefault(asyncio.get_running_loop(), {})
        endpoint_url = endpoint or self.parameters.endpoint_url or ""
        if endpoint_url not in sessions:
            # The import blocks for half a second: not on the loop.
            opened = await asyncio.to_thread(self._open_session, endpoint_url)
            sessions.setdefault(endpoint_url, opened)
        return await sessions[endpoint_url].set_session()

    def _open_session(self, endpoint: str) -> Any:
        from s3fs import S3FileSystem

        p = self.parameters
        host_style = "auto" if p.force_path_style is None else "virtual"
        style = "path" if p.path_style_at(endpoint) else host_style
        config: dict[str, Any] = {
            "signature_version": "s3v4" if p.v4_auth else "s3",
            "s3": {"addressing_style": style},
            "connect_timeout": CONNECT_TIMEOUT,
            "read_timeout": READ_TIMEOUT,
            "max_pool_connections": 128,
            # regfs.s3.retry does it, so that attempts do not multiply.
            "retries": {"total_max_attempts": 1, "mode": "standard"},
            "http_session_cls": session_class(),
            # Since 1.36 botocore adds checksum trailers that S3-compatible services refuse.
            "request_checksum_calculation": "when_required",
            "response_checksum_validation": "when_required",
        }
        session = open_session(with_profile=not p.access_key, credentials_file=p.credentials_config_path)
        if p.user_agent:
            config["user_agent"] = p.user_agent
            session.user_agent_extra = ""  # aiobotocore would name botocore behind it
        else:
            config["user_agent_extra"] = f"regfs/{__version__}"
        if p.use_dual_stack:
            config["use_dualstack_endpoint"] = True
        if p.use_fips_endpoint:
            config["use_fips_endpoint"] = True
        if p.accelerate and not endpoint:  # redirectendpoint is none of AWS' own, among which it chooses
            config["s3"]["use_accelerate_endpoint"] = True
        endpoint, region, proxies = accepted(session, endpoint, p.region or "us-east-1")
        if proxies is not None:
            config["proxies"] = proxies
        client: dict[str, Any] = {"region_name": region}
        if p.skip_verify:
            client["verify"] = False
        return S3FileSystem(
            session=session,
            anon=self.anonymous,
            key=p.access_key or None,
            secret=p.secret_key or None,
            token=p.session_token or None,
            endpoint_url=endpoint or None,
            use_ssl=p.secure,
            client_kwargs=client,
            config_kwargs=config,
            asynchronous=self._asynchronous,
            loop=self.loop,
            skip_instance_cache=True,
            use_listings_cache=False,
        )

    async def credentials(self) -> Credentials | None:
        """Return the credentials in force now; those of the chain are refreshed when they have to be."""
        p = self.parameters
        if p.access_key:
            return Credentials(p.access_key, p.secret_key, p.session_token)
        loop = asyncio.get_running_loop()
        if loop not in self._chains:
            await self.session()
            s3 = self._sessions[loop][p.endpoint_url or ""]
            self._chains[loop] = await s3.session.get_credentials()
        chain = self._chains[loop]
        if chain is None:
            return None
        frozen = await chain.get_frozen_credentials()
        return Credentials(frozen.access_key, frozen.secret_key, frozen.token or "")

    def credentials_source(self) -> str:
        """Return the source of the running loop's credentials, in botocore's word; "" for the parameters."""
        return str(getattr(self._chains.get(asyncio.get_running_loop()), "method", ""))

    async def address(self) -> tuple[str, str]:
        """Return the bucket's URL, with a final slash, and the region that its requests are signed for.

        botocore decides both, for requests and presigned URLs alike. Sends nothing.

        Raises
        ------
        Exception
            botocore's, where there are no credentials.
        """
        p, bucket = self.parameters, self.space.bucket
        region = p.region or "us-east-1"
        if p.endpoint_url and p.path_style and not bucket.startswith("arn:"):
            # As botocore has it, without the half second that it takes to load.
            return f"{p.endpoint_url}/{bucket}/", region
        session = await self.session()
        url = urlsplit(
            await session.generate_presigned_url(
                "get_object", Params={"Bucket": bucket, "Key": "-"}, ExpiresIn=60
            )
        )
        self._host = f"{url.scheme}://{url.netloc}"
        for credential in parse_qs(url.query).get("X-Amz-Credential", ()):
            region = credential.split("/")[-3]  # of key, date, region, service, "aws4_request"
        return f"{self._host}{url.path.removesuffix('-')}", region

    def pace(self) -> Pace:
        """Return the rate limit of the running loop's requests, fast or through botocore."""
        loop = asyncio.get_running_loop()
        pace = self._paces.get(loop)
        if pace is None:
            pace = self._paces[loop] = Pace(self.parameters.max_requests_per_second)
        return pace

    def forget(self) -> list[Any]:
        """Return all sessions away, of all loops."""
        connections = (self._sessions, self._retired, self._paces)
        kept = [*(list(each.items()) for each in connections), *self.fast.forget()]
        self._sessions = weakref.WeakKeyDictionary()
        self._retired = weakref.WeakKeyDictionary()
        self._chains = weakref.WeakKeyDictionary()
        self._paces = weakref.WeakKeyDictionary()
        return kept

    async def close(self) -> None:
        """Close the running loop's connections; the next request opens new ones."""
        await self.fast.close()
        loop = asyncio.get_running_loop()
        self._chains.pop(loop, None)
        for kept in (self._sessions, self._retired):
            await _close_sessions(kept.pop(loop, {}))

    async def request(self, method: str, body: bytes | None = None, **fields: Any) -> Any:
        """Send one request about the bucket through botocore, once, when its turn has come.

        Parameters
        ----------
        method : str
            botocore's name of the operation.
        body : bytes, optional
            What to send.
        **fields
            botocore's other arguments of the operation.
        """
        session = await self.session()
        pace = self.pace()
        if pace.limited:
            await pace.turn()
        if body is not None:  # a file, as aiohttp would send large bytes in one go
            fields["Body"] = _Body(body)
        sent = pace.mark()
        try:
            return await getattr(session, method)(Bucket=self.space.bucket, **fields)
        except Exception as exc:
            forget_echo(exc)
            if throttling(exc):
                pace.throttled(sent)
            raise

    async def call(self, method: str, key: str, **fields: Any) -> Any:
        """Send one request, again where that may help, and translate what still fails."""
        return await self.attempts(lambda: self.request(method, **fields), method, key)

    async def attempts(
        self,
        call: Callable[[], Awaitable[T]],
        what: str,
        key: str,
        fast: Callable[[], Awaitable[T]] | None = None,
        settle: Callable[[], Awaitable[T | None]] | None = None,
    ) -> T:
        """Make a call, again where that may help, and translate what still fails.

        Parameters
        ----------
        call : callable
            Gives a new awaitable for each attempt.
        what : str
            The operation, for the log.
        key : str
            What it is about, for the error.
        fast : callable, optional
            Does the same by the fast transport, which is tried first if it is available.
        settle : callable, optional
            For what must not be done twice. Once an attempt has failed without a sign whether it was carried
            out, asked after that and each further failure; what it gives, unless None, is the result.

        Raises
        ------
        OSError
            The last attempt's failure.
        """
        telling = logger.isEnabledFor(logging.DEBUG)
        started = time.monotonic()
        sessions = self._sessions.get(asyncio.get_running_loop())
        if settle:
            call = _settled(call, settle)
        try:
            try:
                if fast is not None and await self.fast.ready():
                    try:
                        return await fast()
                    except Exception as exc:
                        if status(exc) in _FINAL or transient(exc):
                            raise
                        if status(exc) in _ELSEWHERE:
                            self.fast.off()
                        logger.debug("%s %s: through botocore, after %s", what, key, type(exc).__name__)
                return await call()
            except Exception as exc:  # noqa: BLE001 - retry() raises it again unless it is transient
                if expired(exc):
                    await self._renew(sessions)
                    return await call()
                return await retry(call, exc, self.parameters.max_retries, started)
        except Exception as exc:
            failure = self.failed(key, exc) if of_service(exc) or unreadable(exc) else exc
            if failure is exc:
                raise
            raise failure from exc
        finally:
            if telling:
                logger.debug("%s %s: %.1f ms", what, key, 1000 * (time.monotonic() - started))

    async def _renew(self, refused: dict[str, Any] | None) -> None:
        """Resolve the chain of credentials again: botocore keeps what it has read from a file."""
        loop = asyncio.get_running_loop()
        if self.parameters.access_key or (refused and self._sessions.get(loop) is not refused):
            return  # there is no chain, or somebody was faster
        self._chains.pop(loop, None)
        retired = self._retired.pop(loop, {})
        self._retired[loop] = self._sessions.pop(loop, {})  # others may be in the middle of a request
        await _close_sessions(retired)

    def failed(self, key: str, error: BaseException) -> OSError:
        """Return the builtin error of a failure, with the full URL."""
        return translate(error, self.space.url(self.space.path(key)), self._host)
