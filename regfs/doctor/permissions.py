"""What a request needs to be allowed, and what to change where it fails. How requests are tried.

Pure but for what it is given to try: :mod:`regfs.doctor.trial` knows the requests.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from regfs.doctor.checks import Check, Report, Verdict, failed, ok, skipped

if TYPE_CHECKING:
    from regfs.parameters.table import DriverParameters
    from regfs.paths import KeySpace

WRITING = (
    "PutObject",
    "PutObject again",
    "If-None-Match",
    "checksum",
    "CopyObject",
    "CreateMultipartUpload",
    "UploadPart",
    "UploadPartCopy",
    "ListParts",
    "CompleteMultipartUpload",
    "AbortMultipartUpload",
)
"""The requests that write, as they are tried."""

# Operation -> IAM's action, and whether it is allowed on the bucket or on the objects.
# https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazons3.html
_ACTIONS = {
    "ListObjectsV2": ("s3:ListBucket", False),
    "ListMultipartUploads": ("s3:ListBucketMultipartUploads", False),
    "ListParts": ("s3:ListMultipartUploadParts", True),
    "AbortMultipartUpload": ("s3:AbortMultipartUpload", True),
    "DeleteObject": ("s3:DeleteObject", True),
    "DeleteObjects": ("s3:DeleteObject", True),
    "GetObject": ("s3:GetObject", True),
    "GetObject range": ("s3:GetObject", True),
    "HeadObject": ("s3:GetObject", True),
    "presigned GET": ("s3:GetObject", True),
    "CopyObject": ("s3:GetObject and s3:PutObject", True),
    "UploadPartCopy": ("s3:GetObject and s3:PutObject", True),
}


class FaultError(Exception):
    """The service answers, but not as it should.

    Attributes
    ----------
    advice : str
        What to change.
    verdict : Verdict
        How bad it is.
    """

    def __init__(self, found: str, advice: str, verdict: Verdict = Verdict.FAILED) -> None:
        super().__init__(found)
        self.advice = advice
        self.verdict = verdict


class LackingError(Exception):
    """It cannot be tried: something is missing."""


def code_of(error: BaseException | None) -> str:
    """Return S3's error code of a failure, "" where the service gave none."""
    while error is not None:
        response = getattr(error, "response", None)
        if isinstance(response, dict):
            return str(response.get("Error", {}).get("Code", ""))
        error = error.__cause__
    return ""


def refused(error: BaseException | None) -> bool:
    """Return whether the service refused a request, and so did nothing; False where that is unknown."""
    while error is not None:
        response = getattr(error, "response", None)
        if isinstance(response, dict):
            return 400 <= int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)) < 500
        error = error.__cause__
    return False


def advice(name: str, error: BaseException, p: DriverParameters, space: KeySpace) -> str:
    """Return what to change where a request fails.

    Parameters
    ----------
    name : str
        The request, by S3's name of the operation.
    error : BaseException
        Its failure.
    p : DriverParameters
        What the request carried.
    space : KeySpace
        Where it was to act.
    """
    code = code_of(error)
    if code == "AccessControlListNotSupported":
        return "leave out objectacl, or enable ACLs in the bucket"
    if code.startswith("KMS"):
        return "correct keyid, or allow kms:GenerateDataKey and kms:Decrypt on that key"
    if code == "InvalidStorageClass":
        return "set storageclass to one that the service has, or to NONE"
    if isinstance(error, ModuleNotFoundError):
        return "install it, or set another checksum_algorithm"
    if not isinstance(error, PermissionError):
        return "see the service's own log; it may not offer this request"
    action, on_objects = _ACTIONS.get(name, ("s3:PutObject", True))
    writes = "PutObject" in action
    action += " and s3:PutObjectAcl" * (writes and p.object_acl not in ("", "private"))
    resource = f"arn:aws:s3:::{p.bucket}" + (f"/{space.base}*" if on_objects else "")
    keys = (
        f", and kms:GenerateDataKey and kms:Decrypt on {p.key_id}"
        if writes and p.encrypt and p.key_id
        else ""
    )
    return f"allow {action} on {resource}{keys}"


class Tries:
    """Carries out tries, one after the other, and reports how each ended.

    Parameters
    ----------
    p : DriverParameters
        What requests carry.
    space : KeySpace
        Where they act.
    report : callable
        Called with each check as it ends.

    Attributes
    ----------
    well : set of str
        The names of those that went well.
    """

    def __init__(self, p: DriverParameters, space: KeySpace, report: Report) -> None:
        self.well: set[str] = set()
        self.report = report
        self._p = p
        self._space = space

    async def __call__(self, name: str, call: Callable[[], Awaitable[str]], *needs: str) -> None:
        """Try something, unless what it needs did not go well.

        Parameters
        ----------
        name : str
            What it is.
        call : callable
            Does it, and returns what was found.
        *needs : str
            The names of those that come first.
        """
        lacking = [need for need in needs if need not in self.well]
        if lacking:
            self.report(skipped(name, f"needs {lacking[0]}"))
            return
        try:
            result = await call()
        except LackingError as exc:
            self.report(skipped(name, str(exc)))
        except FaultError as exc:
            self.report(Check(name, exc.verdict, str(exc), exc.advice))
        except (OSError, ModuleNotFoundError) as exc:
            detail = exc.strerror if isinstance(exc, OSError) else str(exc)
            self.report(failed(name, " ".join(str(detail).split()), advice(name, exc, self._p, self._space)))
        else:
            self.well.add(name)
            self.report(ok(name, result))
