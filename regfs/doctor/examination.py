"""Is all well between a registry's configuration and its bucket? From the parameters to the last permission.

Each check is a value (:class:`regfs.doctor.checks.Check`) that says what was found and what to change.
Nothing here prints, and no secret is in any of them.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from regfs.catalog.database import locked, notice
from regfs.catalog.lost import UNTRUE, seem_lost
from regfs.catalog.search import no_registry
from regfs.catalog.source import Source
from regfs.doctor import endpoint
from regfs.doctor.checks import Check, Report, Verdict, failed, ok, skipped, warning
from regfs.doctor.permissions import code_of
from regfs.doctor.trial import Trial
from regfs.filesystem.waiting import sync
from regfs.layout import ROOT
from regfs.parameters.goyaml import ConfigurationWarning
from regfs.parameters.notices import recorded
from regfs.parameters.values import ParameterError
from regfs.s3.failures import from_registry

if TYPE_CHECKING:
    from regfs.filesystem.spec import RegistryFileSystem

OLD = timedelta(days=7)
"""The age from which a pending upload is taken for abandoned."""

_SOURCES = {
    "env": "the environment",
    "shared-credentials-file": "AWS' credentials file",
    "config-file": "AWS' configuration file",
    "assume-role": "a role of the AWS profile",
    "assume-role-with-web-identity": "a web identity (IRSA)",
    "container-role": "the container",
    "iam-role": "the machine's role",
    "sso": "AWS' single sign-on",
}
"""botocore's names for where credentials came from."""

# S3's codes where it does not accept who asks -> what is wrong, what to change.
# https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
_NOT_ACCEPTED = {
    "InvalidAccessKeyId": ("the service does not know the access key", "correct accesskey"),
    "SignatureDoesNotMatch": ("the secret key is not the access key's", "correct secretkey (or v4auth)"),
    "ExpiredToken": ("the temporary credentials have expired", "renew them"),
    "InvalidToken": ("the session token is not valid", "renew the credentials, or leave sessiontoken out"),
    "TokenRefreshRequired": ("the session token is too old", "renew the credentials"),
    "RequestTimeTooSkewed": ("this machine's clock is wrong", "set it, for example by NTP"),
    "AuthorizationHeaderMalformed": ("signed for another region", "correct region"),
}


def examine(
    make: Callable[[], RegistryFileSystem], report: Report = lambda _: None, *, read_only: bool = False
) -> list[Check]:
    """Check everything that a registry's driver needs, from the outside in.

    Parameters
    ----------
    make : callable
        Makes the filesystem; what it raises is the first thing that is looked at.
    report : callable
        Called with each check as it ends, from any thread.
    read_only : bool
        Write nothing. Otherwise a scratch directory is made in the root directory, and removed at the end.

    Returns
    -------
    list of Check
        All of them, in order.
    """
    checks: list[Check] = []

    def note(check: Check) -> None:
        checks.append(check)
        report(check)

    _Examination(make, note, read_only).run()
    return checks


class _Examination:
    def __init__(
        self, make: Callable[[], RegistryFileSystem], note: Callable[[Check], None], read_only: bool
    ) -> None:
        self._make = make
        self._note = note
        self._read_only = read_only

    def run(self) -> None:
        try:
            with recorded(ConfigurationWarning) as texts:
                fs = self._make()
        except (ParameterError, OSError) as exc:
            detail = f"{exc.filename}: {exc.strerror}" if isinstance(exc, OSError) else str(exc)
            self._note(failed("parameters", detail, "correct the parameter"))
            return
        p = fs.parameters
        shown = (
            f"bucket {p.bucket}, root directory /{fs.space.base.rstrip('/')}, {p.endpoint_url or p.region}"
        )
        self._note(ok("parameters", shown))
        for text in texts:
            self._note(warning("configuration", text, "write each key once"))
        url = self._address(fs)
        if not url:
            return
        for check in endpoint.examine(url, verify=not p.skip_verify):
            self._note(check)
            if check.verdict is Verdict.FAILED and check.name != "clock":
                self._note(skipped("everything else", f"needs the {check.name}"))
                return
        if sync(fs.loop, self._inside, fs):
            self._registry(fs)
            self._metadata(Source(fs))

    def _address(self, fs: RegistryFileSystem) -> str:
        """Return the URL of the host that requests are sent to; "" where there are no credentials."""
        try:
            url, _ = sync(fs.loop, fs.client.transport.address)
        except Exception as exc:  # noqa: BLE001 - botocore's own errors, for which there is a translation
            if sync(fs.loop, self._credentials, fs):
                text = str(fs.client.transport.failed("", exc).strerror)
                self._note(failed("name", text, "correct region or regionendpoint"))
            return ""
        parts = urlsplit(url)
        return f"{parts.scheme}://{parts.netloc}"

    # -- with the credentials -------------------------------------------------------------------------

    async def _inside(self, fs: RegistryFileSystem) -> bool:
        """Check the credentials at the service, and return whether it accepts them."""
        if not await self._credentials(fs) or not await self._accepted(fs):
            return False
        await self._region(fs)
        await Trial(fs, self._note).run(read_only=self._read_only)
        await self._pending(fs)
        return True

    async def _credentials(self, fs: RegistryFileSystem) -> bool:
        transport = fs.client.transport
        if transport.anonymous:
            self._note(skipped("credentials", "anon: true, requests are not signed"))
            return True
        try:
            credentials = await transport.credentials()
        except Exception as exc:  # noqa: BLE001 - botocore's own errors, for which there is a translation
            self._note(failed("credentials", str(transport.failed("", exc).strerror), "correct that"))
            return False
        if credentials is None:
            text = "set accesskey and secretkey, or AWS_ACCESS_KEY_ID and so on, or give the machine a role"
            self._note(failed("credentials", "none found", text))
            return False
        method = transport.credentials_source()
        origin = _SOURCES.get(method, method) or "the parameters"
        key = credentials.access_key
        shown = key[:4] + "…" + key[-4:] if len(key) >= 16 else key[:2] + "…"
        self._note(ok("credentials", f"{shown} from {origin}{', with a token' if credentials.token else ''}"))
        return True

    async def _accepted(self, fs: RegistryFileSystem) -> bool:
        """Check that the service knows the access key and the bucket."""
        p = fs.parameters
        try:
            await fs.client.transport.call("list_objects_v2", "", Prefix=fs.space.base, MaxKeys=1)
            code = ""
        except OSError as exc:
            code = code_of(exc) or str(exc.strerror)
            if from_registry(exc.__cause__):
                text = "give S3's address in regionendpoint"
                self._note(failed("signature", "a registry answers there, and not S3", text))
                self._note(skipped("everything else", "needs the bucket"))
                return False
        if code in _NOT_ACCEPTED:
            self._note(failed("signature", *_NOT_ACCEPTED[code]))
        elif code == "NoSuchBucket":
            self._note(ok("signature", "accepted"))
            text = "create it, or correct bucket (or regionendpoint)"
            self._note(failed("bucket", f"there is no bucket {p.bucket}", text))
        elif code in ("PermanentRedirect", "301", "IllegalLocationConstraintException"):
            self._note(ok("signature", "accepted"))
            self._note(failed("region", f"the bucket is not in {p.region}", "set region to the bucket's"))
        elif code in ("", "AccessDenied", "403"):
            self._note(ok("signature", "accepted"))
            state = "is there" if not code else "may not be listed; see ListObjectsV2"
            self._note(ok("bucket", f"{p.bucket} {state}"))
            return True
        else:
            self._note(failed("signature", f"the service answers {code}", "see the service's own log"))
        self._note(skipped("everything else", "needs the bucket"))
        return False

    async def _region(self, fs: RegistryFileSystem) -> None:
        try:
            answer = await fs.client.transport.call("head_bucket", "")
        except OSError as exc:
            self._note(skipped("region", f"not known: {exc.strerror}"))
            return
        bucket_region = (
            answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("x-amz-bucket-region", "")
        )
        parameter = fs.parameters.region
        if not bucket_region:
            self._note(skipped("region", "the service does not name it"))
        elif parameter and bucket_region != parameter:
            text = f"set region: {bucket_region}"
            self._note(
                warning("region", f"the bucket is in {bucket_region}, and region is {parameter}", text)
            )
        else:
            self._note(ok("region", bucket_region))

    async def _pending(self, fs: RegistryFileSystem) -> None:
        try:
            old = await fs.store.uploads(OLD)
        except OSError as exc:
            self._note(skipped("pending uploads", f"cannot be listed: {exc.strerror}"))
            return
        if not old:
            self._note(ok("pending uploads", f"none older than {OLD.days} days"))
            return
        size = sum(upload.bytes for upload in old)
        noun = "upload" if len(old) == 1 else "uploads"
        summary = f"{len(old)} {noun} older than {OLD.days} days, {size} bytes that are paid for"
        advice = f"see regfs uploads, and be rid of them: regfs uploads --older-than {OLD.days}d --abort"
        self._note(warning("pending uploads", summary, advice))

    # -- what lies there ------------------------------------------------------------------------------

    def _registry(self, fs: RegistryFileSystem) -> None:
        try:
            if fs.exists(ROOT):
                self._note(ok("registry", f"its tree lies at {fs.unstrip_protocol(ROOT)}"))
                return
            elsewhere = no_registry(Source(fs)).suggestions
        except OSError as exc:
            self._note(skipped("registry", f"cannot be looked for: {exc.strerror}"))
            return
        if elsewhere:
            text = f"if that is the one, set rootdirectory: {elsewhere[0]}"
            self._note(warning("registry", f"none here, but under {', '.join(elsewhere)}", text))
        else:
            self._note(ok("registry", "none in this bucket yet"))

    def _metadata(self, source: Source) -> None:
        """Check whether the registry's metadata is in the bucket, or in a database as GitLab's may be."""
        try:
            in_use = locked(source)
        except OSError as exc:
            text = f"the lock file of GitLab's registry cannot be looked for: {exc.strerror}"
            self._note(skipped("metadata", text))
            return
        if in_use:
            text = "use GitLab's own cleanup and online garbage collection; back up the database, too"
            self._note(warning("metadata", notice(source, in_use), text))
            return
        self._note(ok("metadata", "no lock file says that it is in a database"))
        try:
            lost = seem_lost(source)
        except OSError as exc:
            self._note(skipped("links", f"cannot be listed: {exc.strerror}"))
            return
        if lost:
            summary = f"there are blobs, and no repository has a manifest: {UNTRUE}"
            text = "restore the links, or copy them from where the blobs came; delete no blobs meanwhile"
            self._note(warning("links", summary, text))
        else:
            self._note(ok("links", "none seem to be lost"))
