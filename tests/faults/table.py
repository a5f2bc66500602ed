"""What can go wrong between regfs and the service, and what regfs makes of it.

Each fault comes in two strengths. *Once*: every request of an operation is hit the first time that it is
sent, and not when it is repeated. *Lasting*: every request is hit, however often it is sent; only the
requests that clear up after a failure (those about pending uploads) come through then, since nobody can
clear up behind a service that is gone for good.
"""

from __future__ import annotations

from dataclasses import dataclass

from support.proxy import Fate, Request

from regfs import ThrottledError

REFUSED = "connection refused"
STALL = 2.0
"""Seconds after which the filesystems of these tests give up a silent connection."""


def answer(status: str, body: bytes = b"", **headers: str) -> bytes:
    """Return a raw response."""
    told = {"Content-Length": str(len(body)), "Content-Type": "application/xml"}
    told |= {name.replace("_", "-"): value for name, value in headers.items()}
    lines = "".join(f"{name}: {value}\r\n" for name, value in told.items())
    return f"HTTP/1.1 {status}\r\n{lines}\r\n".encode() + body


def error(status: str, code: str, **headers: str) -> bytes:
    """Return an error of S3 as a raw response."""
    text = f"<Error><Code>{code}</Code><Message>made up by the test</Message></Error>"
    return answer(status, f'<?xml version="1.0" encoding="UTF-8"?>{text}'.encode(), **headers)


@dataclass(frozen=True)
class Fault:
    """One thing that goes wrong.

    Attributes
    ----------
    name : str
        What it is, for the table.
    hit : bytes or Fate
        As for `CountingProxy.fault`.
    lasting : type or None
        What it ends with where it lasts; None: operations complete all the same.
    only : tuple of str
        The kinds of requests that it can happen to; all by default.
    """

    name: str
    hit: bytes | Fate
    lasting: type[Exception] | None
    only: tuple[str, ...] = ()

    def strikes(self, request: Request) -> bool:
        """Return whether it can happen to a request."""
        return not self.only or kind(request) in self.only


def kind(request: Request) -> str:
    """Name a request as S3's documentation does."""
    asked, method = request.query, request.method
    if "uploads" in asked:
        return "CreateMultipartUpload" if method == "POST" else "ListMultipartUploads"
    if "uploadId" in asked:
        part = "UploadPartCopy" if "x-amz-copy-source" in request.headers else "UploadPart"
        names = {"PUT": part, "POST": "CompleteMultipartUpload", "DELETE": "AbortMultipartUpload"}
        return names.get(method, "ListParts")
    if "list-type" in asked:
        return "ListObjectsV2"
    if "delete" in asked:
        return "DeleteObjects"
    if method == "PUT":
        return "CopyObject" if "x-amz-copy-source" in request.headers else "PutObject"
    return {"GET": "GetObject", "HEAD": "HeadObject", "DELETE": "DeleteObject"}[method]


def identity(request: Request) -> tuple[object, ...]:
    """Return what is the same when a request is repeated."""
    query = tuple(sorted(item for item in request.query.items() if not item[0].startswith("X-Amz")))
    return kind(request), request.path, query, request.headers.get("range")


_BODIES = ("GetObject", "ListObjectsV2")
_UPLOADS = ("PutObject", "UploadPart", "DeleteObjects", "CompleteMultipartUpload")
_DOCUMENTS = ("CompleteMultipartUpload", "CopyObject", "UploadPartCopy")
CLEARING = ("AbortMultipartUpload", "ListMultipartUploads", "ListParts")

FAULTS = (
    Fault(REFUSED, b"", ConnectionError),
    Fault("reset before the answer", b"", ConnectionError),
    Fault("reset in the middle of the request's body", Fate(request=0.5), ConnectionError, _UPLOADS),
    Fault("reset in the middle of the answer's body", Fate(answer=0.5), ConnectionError, _BODIES),
    Fault(
        "answer cut short, with its right length", Fate(answer=0.5, how="closed"), ConnectionError, _BODIES
    ),
    Fault("no answer", Fate(answer=-1, how="stalled"), TimeoutError),
    # Not in its half, as what goes on from there stalls as well, which takes its time.
    Fault("stalled in the middle of the answer", Fate(answer=0.95, how="stalled"), TimeoutError, _BODIES),
    Fault("answer that drips", Fate(drip=0.003), None, _BODIES),
    Fault("answer lost after the service has acted", Fate(answer=-1), ConnectionError),
    Fault("500 InternalError", error("500 Internal Server Error", "InternalError"), OSError),
    Fault("503 SlowDown", error("503 Slow Down", "SlowDown"), ThrottledError),
    Fault("503 with Retry-After", error("503 Slow Down", "SlowDown", Retry_After="0"), ThrottledError),
    Fault("400 RequestTimeout", error("400 Bad Request", "RequestTimeout"), OSError),
    Fault("403 ExpiredToken", error("403 Forbidden", "ExpiredToken"), PermissionError),
    Fault(
        "301 to another region",
        error("301 Moved Permanently", "PermanentRedirect", x_amz_bucket_region="eu-west-1"),
        OSError,
    ),
    Fault(
        "307 to another region",
        error("307 Temporary Redirect", "TemporaryRedirect", x_amz_bucket_region="eu-west-1"),
        OSError,
    ),
    Fault("200 with an error document", error("200 OK", "InternalError"), OSError, _DOCUMENTS),
    Fault("byte changed on the way to the service", Fate(spoil=True), OSError, ("PutObject", "UploadPart")),
)


def table() -> str:
    """Write the faults as the README shows them."""
    rows = ["| what happens | to | once | lasting |", "|---|---|---|---|"]
    for fault in FAULTS:
        where = ", ".join(fault.only) or "every request"
        ends = fault.lasting.__name__ if fault.lasting else "completes"
        rows.append(f"| {fault.name} | {where} | completes | {ends} |")
    return "\n".join(rows)
