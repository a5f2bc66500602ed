"""What regfs changes in botocore's sessions, so that they are as strict as the fast transport.

A request is sent once and to nobody else, a response is no larger than a document may be and defines no
entities, and what is logged of both holds no secret.
"""

from __future__ import annotations

import functools
import re
import socket
import ssl
from typing import Any

from regfs.errors import HeaderValueError
from regfs.s3 import redaction
from regfs.s3.checksums import compute
from regfs.s3.documents import LARGEST, DocumentError, check

REDIRECTIONS = (301, 302, 303, 307, 308)
# Services name what they answer to a change in several ways.
_ROOTS = {
    "ListObjectsV2": "ListBucketResult",
    "ListMultipartUploads": "ListMultipartUploadsResult",
    "ListParts": "ListParts(?:Result|Response)",  # the second is moto's
    "DeleteObjects": "DeleteResult",
    **dict.fromkeys(
        ("CopyObject", "UploadPartCopy", "CreateMultipartUpload", "CompleteMultipartUpload"), r"\w+Result"
    ),
}
_ROOT = re.compile(rb"\s*(?:<\?xml[^>]*\?>)?\s*<(?:\w+:)?(\w+)")
_SENDABLE = re.compile(rb"[\t -~]*")


def open_session(*, with_profile: bool, credentials_file: str = "") -> Any:
    """Make a session of aiobotocore.

    Parameters
    ----------
    with_profile : bool
        Whether the user's AWS profile is read. A wrong one does no harm otherwise.
    credentials_file : str
        The file of credentials and configuration in place of the user's two.
    """
    from aiobotocore.session import AioSession

    redaction.install()
    session = AioSession(None if with_profile else {"profile": (None, None, None, None)})
    if credentials_file:
        session.set_config_variable("credentials_file", credentials_file)
        session.set_config_variable("config_file", credentials_file)
    session.register_component("data_loader", _loader())
    session.register("before-parse.s3", _expect)
    session.register("before-call.s3.DeleteObjects", _verify_by_md5)
    events = session.get_component("event_emitter")
    events.register_first("before-endpoint-resolution.s3", _resolve_for_requests)
    return session


@functools.lru_cache(maxsize=1)
def _loader() -> Any:
    """Return botocore's description of S3, read once: 12 MB and 70 ms for each session otherwise."""
    from botocore.loaders import create_loader

    return create_loader()


def _resolve_for_requests(context: dict[str, Any], **kwargs: Any) -> None:
    """Presign URLs for the host that requests are sent to.

    botocore presigns for AWS' global host, which redirects to the regions of 2019 and before and answers
    those after with 400.
    https://docs.aws.amazon.com/AmazonS3/latest/userguide/VirtualHosting.html#deprecated-global-endpoint
    """
    context.pop("use_global_endpoint", None)


def _verify_by_md5(params: dict[str, Any], context: dict[str, Any], **kwargs: Any) -> None:
    """Delete keys with the checksum that the fast transport sends, and that every service understands.

    botocore has sent CRC32 since 1.36, to which others answer 400 MissingContentMD5. Directory buckets know
    no MD5. https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteObjects.html
    """
    if context.get("input_params", {}).get("Bucket", "").endswith(("--x-s3", "--xa-s3")):
        return
    context.pop("checksum", None)
    params["headers"]["Content-MD5"] = compute("MD5", params["body"])


def accepted(session: Any, endpoint: str, region: str) -> tuple[str, str, dict[str, str] | None]:
    """Return an endpoint, a region and the proxies with which botocore makes a client.

    It makes none for a host with "_", such as docker-compose gives its services, nor for a region's name that
    no host could have. Where that is so, names that it accepts stand in, and each request of the session gets
    the right ones.

    Parameters
    ----------
    session : AioSession
        The session of the client.
    endpoint : str
        The service's URL, "" for AWS.
    region : str
        The region that requests are signed for.
    """
    from botocore.exceptions import InvalidRegionError
    from botocore.utils import get_environ_proxies, is_valid_uri, validate_region_name

    def resolve(builtins: dict[str, Any], **kwargs: Any) -> None:
        builtins["SDK::Endpoint"] = endpoint

    def sign(request: Any, **kwargs: Any) -> None:
        request.context.setdefault("signing", {})["region"] = region

    stand_in, signed, proxies = endpoint, region, None
    if endpoint and not is_valid_uri(endpoint):
        session.register("before-endpoint-resolution.s3", resolve)
        stand_in, proxies = f"{endpoint.partition(':')[0]}://endpoint.invalid", get_environ_proxies(endpoint)
    try:
        validate_region_name(region)
    except InvalidRegionError:
        session.register("before-sign.s3", sign)
        signed = "us-east-1"
    return stand_in, signed, proxies


def _expect(operation_model: Any, response_dict: dict[str, Any], **kwargs: Any) -> None:
    """Refuse a success that is another document: botocore would find nothing in it, as where nothing is."""
    name, body = operation_model.name, response_dict.get("body")
    if response_dict["status_code"] != 200 or name not in _ROOTS or not isinstance(body, bytes):
        return
    root = _ROOT.match(body)
    if not root or not re.fullmatch(_ROOTS[name], root[1].decode()):
        raise DocumentError(f"the service answered {name} with another document")


@functools.lru_cache(maxsize=1)
def session_class() -> Any:
    """Return the class that sends a request."""
    from aiobotocore.httpsession import AIOHTTPSession
    from aiohttp import ClientConnectorError
    from botocore.exceptions import (
        ConnectionClosedError,
        EndpointConnectionError,
        HTTPClientError,
        SSLError,
    )

    class OnceSession(AIOHTTPSession):  # type: ignore[misc]  # it ships no types
        """Sends each request once. aiohttp itself would silently repeat a PUT whose response is lost."""

        async def send(self, request: Any) -> Any:
            for name, value in request.headers.items():
                if not _SENDABLE.fullmatch(value if isinstance(value, bytes) else str(value).encode()):
                    raise HeaderValueError(str(name).lower())
            whole, request.stream_output = not request.stream_output, True
            try:
                response = await super().send(request)
            except EndpointConnectionError as exc:  # also of a connection that came about and broke
                broken = exc.kwargs["error"]
                if isinstance(broken, (ClientConnectorError, socket.gaierror)):
                    raise
                raise ConnectionClosedError(endpoint_url=request.url, error=broken) from broken
            except HTTPClientError as exc:
                exc.request, cause = None, exc.kwargs.get("error")  # it would show the headers
                _scrub(cause)
                if isinstance(cause, (ssl.SSLError, FileNotFoundError)):  # the file of certificates
                    raise SSLError(endpoint_url=request.url, error=cause) from cause
                raise
            finally:
                request.stream_output = not whole
            if whole or response.status_code >= 300:
                data = await _read(response.raw, request.url)
                response._content = _plain(data, response.status_code)  # noqa: SLF001 - its own has no end
            if request.method == "HEAD" and _leads_nowhere(response):
                # As it is, botocore would ask for the region by another HEAD, and so for ever.
                response.status_code = 400
            return response

        async def _get_session(self, proxy_url: str | None) -> Any:
            session = await super()._get_session(proxy_url)
            session._retry_connection = False  # noqa: SLF001 - there is no other way
            return _Direct(session)

    return OnceSession


async def _read(raw: Any, url: str) -> bytes:
    """Read a document whole, unless it is larger than any of S3."""
    from aiohttp import ClientError, ServerTimeoutError
    from botocore.exceptions import ConnectionClosedError, ReadTimeoutError

    pieces: list[bytes] = []
    left = LARGEST
    try:
        while left >= 0 and (piece := await raw.content.read(LARGEST)):
            pieces.append(piece)
            left -= len(piece)
    except (ServerTimeoutError, TimeoutError) as exc:
        raise ReadTimeoutError(endpoint_url=url, error=exc) from exc
    except ClientError as exc:
        raise ConnectionClosedError(endpoint_url=url, error=exc) from exc
    finally:
        raw.close()  # the connection is in the pool already if all was read
    if left < 0:
        raise DocumentError("the service's answer has no end")
    return b"".join(pieces)


def _plain(data: bytes, status: int) -> bytes:
    """Refuse a document that botocore's parsers would expand; of an error, the status is enough."""
    try:
        check(data)
    except DocumentError:
        if status < 300:
            raise
        return b""
    return data


def _scrub(error: Any) -> None:
    """Remove the request's headers, with signature and token, from an error of aiohttp.

    It would show them in its ``repr()``, where a response is no HTTP.
    """
    from aiohttp import ClientResponseError, RequestInfo

    if isinstance(error, ClientResponseError):
        request_info = error.request_info
        nothing: Any = {}
        error.request_info = RequestInfo(
            request_info.url, request_info.method, nothing, request_info.real_url
        )
        error.args = (error.request_info, error.history)


def _leads_nowhere(response: Any) -> bool:
    """Return whether a redirection does not say which region the bucket is in."""
    return response.status_code in REDIRECTIONS and "x-amz-bucket-region" not in response.headers


def forget_echo(error: Any) -> None:
    """Keep of an error what it says: S3 sends back with it a token that it does not like."""
    response = getattr(error, "response", None)
    if isinstance(response, dict) and "Error" in response:
        response["Error"] = {name: response["Error"].get(name, "") for name in ("Code", "Message")}


class _Direct:
    """Sends requests to whom they are for: aiohttp would follow a redirection, with the session token."""

    def __init__(self, session: Any) -> None:
        self._session = session

    async def request(self, *args: Any, **kwargs: Any) -> Any:
        return await self._session.request(*args, **{**kwargs, "allow_redirects": False})
