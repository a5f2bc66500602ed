"""What botocore and aiohttp raise, as the builtin errors that a caller expects."""

from __future__ import annotations

import errno
import time
from email.utils import parsedate_to_datetime

from regfs.errors import (
    BucketNotFoundError,
    DriverError,
    FileChangedError,
    HeaderValueError,
    ThrottledError,
    UploadNotFoundError,
)

THROTTLING = frozenset(
    (
        "429",
        "BandwidthLimitExceeded",
        "EC2ThrottledException",
        "LimitExceededException",
        "PriorRequestNotComplete",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestThrottledException",
        "SlowDown",
        "ThrottledException",
        "Throttling",
        "ThrottlingException",
        "TooManyRequests",
        "TooManyRequestsException",
        "TransactionInProgressException",
    )
)
"""Error codes that ask for fewer requests: botocore's (``ThrottledRetryableChecker``) and others'."""

# S3 error code (or the status, which is all that a HEAD has) -> type, errno, text.
# https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
_SECRET = "the secretkey does not belong to the accesskey (or v4auth is wrong for this service)"  # noqa: S105 - it is about one

_ACCESS = "access denied: the credentials lack the permission for this request"

_ACL = "the bucket has ACLs disabled and takes none but bucket-owner-full-control; leave out objectacl"

_BY_CODE: dict[str, tuple[type[OSError], int, str]] = {
    "AccessControlListNotSupported": (OSError, errno.EINVAL, _ACL),
    "NoSuchBucket": (
        BucketNotFoundError,
        errno.ENOENT,
        "the bucket does not exist; create it or correct bucket",
    ),
    "NoSuchKey": (FileNotFoundError, errno.ENOENT, "No such file or directory"),
    "NoSuchUpload": (UploadNotFoundError, errno.ESTALE, "the upload was committed or aborted meanwhile"),
    "SignatureDoesNotMatch": (PermissionError, errno.EACCES, _SECRET),
    "InvalidAccessKeyId": (PermissionError, errno.EACCES, "the service does not know this accesskey"),
    "AccessDenied": (PermissionError, errno.EACCES, _ACCESS),
    "ExpiredToken": (PermissionError, errno.EACCES, "the temporary credentials have expired; renew them"),
    "RequestTimeTooSkewed": (PermissionError, errno.EACCES, "this machine's clock is wrong; set it"),
    "PreconditionFailed": (FileChangedError, errno.ESTALE, "the file was replaced meanwhile; open it again"),
    "KeyTooLongError": (OSError, errno.ENAMETOOLONG, "the key is longer than 1024 bytes"),
    **dict.fromkeys(
        THROTTLING,
        (
            ThrottledError,
            errno.EBUSY,
            "the service asks for fewer requests; set or lower maxrequestspersecond",
        ),
    ),
    **dict.fromkeys(
        ("PermanentRedirect", "TemporaryRedirect", "301", "302", "303", "307", "308"),
        (OSError, errno.EIO, "the service sends the request elsewhere; correct region and regionendpoint"),
    ),
    "401": (PermissionError, errno.EACCES, _ACCESS),
    "403": (PermissionError, errno.EACCES, _ACCESS),
    "404": (FileNotFoundError, errno.ENOENT, "No such file or directory"),
    "412": (FileChangedError, errno.ESTALE, "the file was replaced meanwhile; open it again"),
    "503": (ThrottledError, errno.EBUSY, "the service is not available; try again later"),
}

PLAIN = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE", "UNEXPECTED_MESSAGE")
"""OpenSSL's reasons where what answers speaks no TLS."""

WITHOUT_TLS = "set secure: false, or begin regionendpoint with http://"
"""What to do then."""

_WIDTH = 400
"""Characters of the service's own words that an error repeats."""


def retry_after(error: BaseException | None) -> float | None:
    """Return the seconds that a response asks to wait; None where it does not.

    https://www.rfc-editor.org/rfc/rfc9110#field.retry-after: seconds, or a date.
    """
    response = getattr(error, "response", None)
    metadata = response.get("ResponseMetadata", {}) if isinstance(response, dict) else {}
    text = str(metadata.get("HTTPHeaders", {}).get("retry-after", "")).strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, OverflowError):
        return None


UNREADABLE = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
"""What reading a response raises that is none of S3's: botocore checks neither the numbers and times in it
nor that it has all that it should."""


def unreadable(error: BaseException) -> bool:
    """Return whether reading a response raised an error that is none of S3's.

    botocore raises a bare RuntimeError where it cannot read a time; any other one is a fault in the program.
    """
    if isinstance(error, UNREADABLE):
        return True
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    raised_in = str(trace.tb_frame.f_globals.get("__name__")) if trace else ""
    return isinstance(error, RuntimeError) and raised_in.startswith("botocore.")


def from_registry(error: BaseException | None) -> bool:
    """Return whether a registry answered in place of S3, by the header that all its responses have.

    https://distribution.github.io/distribution/spec/api/#api-version-check
    """
    response = getattr(error, "response", None)
    metadata = response.get("ResponseMetadata", {}) if isinstance(response, dict) else {}
    return "docker-distribution-api-version" in metadata.get("HTTPHeaders", {})


def _without_tls(error: BaseException) -> bool:
    """Return whether a handshake failed since the other side speaks no TLS."""
    cause = getattr(error, "kwargs", {}).get("error", error)
    reason = str(getattr(getattr(cause, "os_error", cause), "reason", ""))
    return any(item in reason for item in PLAIN)


def of_service(error: BaseException) -> bool:
    """Return whether an error came from talking to the service, and not from a fault in the program."""
    from aiohttp import ClientError
    from botocore import exceptions as boto

    return isinstance(error, (boto.BotoCoreError, boto.ClientError, ClientError, OSError, TimeoutError))


def _line(text: str) -> str:
    """Return the service's text as one short, printable line."""
    first = next(iter(text.splitlines()), "")[:_WIDTH]
    return first if first.isprintable() else repr(first)[1:-1]


def lacks_permission(error: PermissionError) -> bool:
    """Return whether a permission is missing; False where the credentials themselves are not accepted.

    Parameters
    ----------
    error : PermissionError
        A failure of any filesystem; of regfs, one that :func:`translate` has made.
    """
    cause: BaseException | None = error
    while cause is not None:
        response = getattr(cause, "response", None)
        if isinstance(response, dict):
            return str(response.get("Error", {}).get("Code", "")) in ("", "AccessDenied", "401", "403")
        cause = cause.__cause__
    # Without any answer of the service there were no credentials to send.
    return not str(error.filename).startswith("regfs://")


def translate(error: BaseException, filename: str, endpoint: str = "") -> OSError:
    """Return the builtin error for what botocore or aiohttp raised.

    Decided by error code, status and type, never by message text.

    Parameters
    ----------
    error : BaseException
        The failure.
    filename : str
        The full ``regfs://`` URL that the request was about.
    endpoint : str
        The service's URL, named where no connection came about.

    Returns
    -------
    OSError
        To be raised ``from error``. An ``OSError`` of regfs is given back as it is.
    """
    at = f" at {endpoint}" if endpoint else ""
    if from_registry(error):
        # A 404 of its must not look as if S3 had no such file.
        text = f"a registry answers{at}, and not S3; give S3's address in regionendpoint"
        return OSError(errno.EIO, text, filename)
    response = getattr(error, "response", None)
    if isinstance(response, dict):
        code = str(response.get("Error", {}).get("Code", ""))
        status = str(response.get("ResponseMetadata", {}).get("HTTPStatusCode", ""))
        for status_or_code in (code, status):
            if status_or_code in _BY_CODE:
                kind, number, text = _BY_CODE[status_or_code]
                failure = kind(number, text, filename)
                if isinstance(failure, ThrottledError):
                    failure.retry_after = retry_after(error)
                return failure
        message = str(response.get("Error", {}).get("Message", "")) or "no message"
        description = f"the service answered {status or '?'} {_line(code)}: {_line(message)}"
        return OSError(errno.EIO, description, filename)

    if isinstance(error, OSError) and error.filename is not None:
        if isinstance(error, DriverError) or str(error.filename).startswith("regfs://"):
            return error
        # Nothing of the bucket's, and it must not look so: a token's file or a program of the AWS profile.
        text = f"the credentials' source cannot be read: {error.strerror}: {error.filename!r}"
        return PermissionError(errno.EACCES, text, filename)

    if isinstance(error, HeaderValueError):
        if error.name in ("authorization", "x-amz-security-token"):
            text = "the credentials hold a character that cannot be sent; correct their source"
            return PermissionError(errno.EACCES, text, filename)
        return OSError(errno.EINVAL, f"{error}; it comes from the parameters or another object", filename)

    from ssl import SSLError

    from aiohttp import ClientError
    from botocore import exceptions as boto
    from botocore.parsers import ResponseParserError

    if isinstance(error, (boto.NoCredentialsError, boto.PartialCredentialsError)):
        text = "no credentials found; set accesskey and secretkey, or AWS_ACCESS_KEY_ID and so on"
        return PermissionError(errno.EACCES, text, filename)
    if isinstance(error, (boto.ProfileNotFound, boto.ConfigParseError, boto.ConfigNotFound)):
        text = "the AWS profile or configuration cannot be read; correct AWS_PROFILE or AWS_CONFIG_FILE"
        return PermissionError(errno.EACCES, text, filename)
    if isinstance(error, boto.CredentialRetrievalError):
        return PermissionError(errno.EACCES, "the credentials' source gave none; check it", filename)
    if isinstance(error, (boto.SSLError, SSLError, FileNotFoundError)):  # the file of certificates
        if _without_tls(error):
            text = f"the service{at} speaks HTTP without TLS; {WITHOUT_TLS}"
            return ConnectionError(errno.ECONNABORTED, text, filename)
        text = f"TLS failed{at}; correct the certificate or AWS_CA_BUNDLE, or set skipverify: true"
        return ConnectionError(errno.ECONNABORTED, text, filename)
    if isinstance(error, boto.ProxyConnectionError):
        text = f"no connection to the service{at} through a proxy; correct HTTP_PROXY or NO_PROXY"
        return ConnectionError(errno.ECONNREFUSED, text, filename)
    if isinstance(error, (boto.EndpointConnectionError, boto.ConnectTimeoutError)):
        text = (
            f"no connection to the service{at}; check regionendpoint, forcepathstyle, secure and the network"
        )
        return ConnectionError(errno.ECONNREFUSED, text, filename)
    if isinstance(error, (boto.ReadTimeoutError, TimeoutError)):
        return TimeoutError(errno.ETIMEDOUT, f"the service{at} did not answer in time", filename)
    if isinstance(error, (boto.HTTPClientError, ClientError, ConnectionError)):
        return ConnectionError(errno.ECONNRESET, f"the connection to the service{at} broke", filename)
    if isinstance(error, ResponseParserError) or unreadable(error):
        text = f"the service{at} answered with something that is not S3's; correct the proxy before it"
        return OSError(errno.EIO, text, filename)
    return OSError(errno.EIO, f"{type(error).__name__} from the service{at}", filename)
