"""DriverParameters: the registry's storage parameters, from a mapping, a ``config.yml`` or the environment.

The fields of the class are the one table: external key, converter, default, bounds and meaning stand in
them once, and parsing, error texts and the README's table are made from them. The keys are the registry's
(https://distribution.github.io/distribution/storage-drivers/s3/); ``maxretries`` and what follows it are
GitLab's s3_v2 driver's.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TextIO

from regfs import config, regions, values
from regfs.values import ParameterError

__all__ = ["PARAMETERS", "DriverParameters", "Parameter", "ParameterError", "parameter_table"]

MIB = values.MIB
_PART = "the bounds of a part in S3"


@dataclass(frozen=True)
class Parameter:
    """One row of the table.

    Attributes
    ----------
    key : str
        The registry's spelling.
    convert : callable
        Gives the value in its type, or raises ValueError with the rule.
    since : str
        Where the parameter comes from.
    doc : str
        Meaning and rule.
    secret : bool
        Whether the value must never be shown.
    """

    key: str
    convert: Callable[[Any], Any]
    since: str
    doc: str
    secret: bool = False


def _row(
    key: str, convert: Callable[[Any], Any], default: Any, since: str, doc: str, *, secret: bool = False
) -> Any:
    return field(default=default, metadata={"row": Parameter(key, convert, since, doc, secret)})


@dataclass(frozen=True, repr=False, kw_only=True)
class DriverParameters:
    """The registry's S3 storage parameters, checked.

    Attributes carry the Go struct's names in snake_case; every constructor takes real types or text, as YAML
    and the environment give them. Sizes are in bytes.

    Raises
    ------
    ParameterError
        A value breaks its rule; one line that names the key, the value unless it is secret, and the rule.

    Examples
    --------
    >>> DriverParameters(bucket="registry", region="eu-west-1", chunk_size="16MiB").chunk_size
    16777216
    """

    access_key: str = _row(
        "accesskey",
        values.header,
        "",
        "seed",
        "Access key id. Both keys empty: the default credential chain (environment, profile, web identity, "
        "container, instance).",
        secret=True,
    )
    secret_key: str = _row(
        "secretkey",
        values.text,
        "",
        "seed",
        "Secret access key; exactly one of the two is an error.",
        secret=True,
    )
    session_token: str = _row(
        "sessiontoken", values.header, "", "later", "Token of temporary keys; needs both keys.", secret=True
    )
    bucket: str = _row("bucket", values.bucket, "", "seed", "Bucket; required, must exist already.")
    region: str = _row(
        "region",
        values.text,
        "",
        "seed",
        "AWS region; required and known to botocore unless `regionendpoint` is given.",
    )
    region_endpoint: str = _row(
        "regionendpoint",
        values.endpoint,
        "",
        "v2.2",
        "S3-compatible service, `host[:port]` or a URL; implies path style.",
    )
    force_path_style: bool | None = _row(
        "forcepathstyle",
        values.optional_boolean,
        None,
        "v3",
        "Bucket in the path instead of the host name; by default with `regionendpoint` only.",
    )
    redirect_endpoint: str = _row(
        "redirectendpoint",
        values.origin,
        "",
        "v3.1",
        "`scheme://host[:port]` that presigned URLs name and are signed for.",
    )
    encrypt: bool = _row(
        "encrypt", values.boolean, False, "seed", "Server-side encryption of everything that is created."
    )
    key_id: str = _row("keyid", values.header, "", "v2.3", "KMS key id for `encrypt: true`.")
    secure: bool = _row("secure", values.boolean, True, "seed", "HTTPS; a scheme in `regionendpoint` wins.")
    skip_verify: bool = _row("skipverify", values.boolean, False, "v2.4", "No TLS verification.")
    v4_auth: bool = _row(
        "v4auth",
        values.boolean,
        True,
        "seed",
        "Signature version 4; false is version 2, which most regions have never known.",
    )
    chunk_size: int = _row(
        "chunksize",
        values.bounded(values.size, 5 * MIB, 5 * 2**30, _PART),
        10 * MIB,
        "seed",
        "Part size of multipart uploads, 5 MiB to 5 GiB.",
    )
    multipart_copy_chunk_size: int = _row(
        "multipartcopychunksize",
        values.bounded(values.size, 5 * MIB, 5 * 2**30, _PART),
        32 * MIB,
        "v2.6",
        "Part size of server-side copies, 5 MiB to 5 GiB.",
    )
    multipart_copy_max_concurrency: int = _row(
        "multipartcopymaxconcurrency",
        values.bounded(values.number, 1, None, "something must copy"),
        100,
        "v2.6",
        "Part copies at once, at least 1.",
    )
    multipart_copy_threshold_size: int = _row(
        "multipartcopythresholdsize",
        values.bounded(values.size, 0, 5 * 2**30, "the bounds of one copy in S3"),
        32 * MIB,
        "v2.6",
        "Larger objects are copied by parts; at most 5 GiB.",
    )
    root_directory: str = _row("rootdirectory", values.root_directory, "", "seed", "Every key lies under it.")
    storage_class: str = _row(
        "storageclass",
        values.choice(values.STORAGE_CLASSES, fold=str.upper),
        "STANDARD",
        "v2.4",
        "One of " + ", ".join(values.STORAGE_CLASSES) + " (sends no header).",
    )
    object_acl: str = _row(
        "objectacl",
        values.choice(values.ACLS),
        "private",
        "v2.6",
        "Canned ACL: " + ", ".join(values.ACLS) + ".",
    )
    user_agent: str = _row("useragent", values.header, "", "later", "User-Agent instead of regfs' own.")
    use_dual_stack: bool = _row("usedualstack", values.boolean, False, "later", "AWS' IPv6 endpoints.")
    accelerate: bool = _row("accelerate", values.boolean, False, "later", "S3 transfer acceleration.")
    use_fips_endpoint: bool = _row("usefipsendpoint", values.boolean, False, "later", "AWS' FIPS endpoints.")
    log_level: str = _row(
        "loglevel",
        values.choice(values.LOG_LEVELS, fold=str.lower, false="off"),
        "off",
        "later",
        "Anything but off: each request to the logger `regfs`, never a secret.",
    )
    max_retries: int = _row(
        "maxretries",
        values.bounded(values.number, 0, None, "attempts are counted"),
        5,
        "GitLab",
        "Attempts after the first where a request fails in a way that may pass.",
    )
    max_requests_per_second: int = _row(
        "maxrequestspersecond",
        values.bounded(values.number, 0, None, "requests are counted"),
        350,
        "GitLab",
        "Client-side limit, retries included; 0 is none.",
    )
    parallel_walk: bool = _row(
        "parallelwalk",
        values.boolean,
        False,
        "GitLab",
        "Let `walk` list several directories at once; siblings then come in no order.",
    )
    checksum_algorithm: str = _row(
        "checksum_algorithm",
        values.choice(values.CHECKSUMS, fold=str.upper),
        "",
        "GitLab",
        "Checksum the service verifies, MD5 unless set: " + ", ".join(values.CHECKSUMS[1:]) + ".",
    )
    checksum_disabled: bool = _row("checksum_disabled", values.boolean, False, "GitLab", "Send none.")

    def __post_init__(self) -> None:
        for attribute, row in _ROWS.items():
            object.__setattr__(self, attribute, _convert(row, getattr(self, attribute)))
        _check(self)

    def __repr__(self) -> str:
        shown = ", ".join(
            f"{key}={'***' if PARAMETERS[key].secret else value!r}"
            for key, value in self.to_mapping().items()
        )
        return f"DriverParameters({shown})"

    # -- sources --------------------------------------------------------------------------------------

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> DriverParameters:
        """Take the registry's parameters by the registry's spelling.

        Parameters
        ----------
        mapping : mapping of str to object
            Real types or text; None is "not given".

        Raises
        ------
        ParameterError
            A key is unknown (the nearest known one is named) or a value breaks its rule.
        """
        return cls._from({key: (value, "") for key, value in mapping.items()})

    @classmethod
    def from_config(
        cls,
        source: str | os.PathLike[str] | TextIO,
        environ: Mapping[str, str] | None = None,
        overrides: Mapping[str, Any] | None = None,
    ) -> DriverParameters:
        """Take the ``storage.s3`` or ``storage.s3aws`` section of a registry's ``config.yml``.

        Parameters
        ----------
        source : str, path-like or text stream
            The file.
        environ : mapping, optional
            Variables, ``os.environ`` by default. ``REGISTRY_STORAGE_S3_<KEY>`` (and, with an s3aws section,
            ``REGISTRY_STORAGE_S3AWS_<KEY>``) go before the file, an empty one stands for the default; and
            ``REGISTRY_STORAGE`` names the storage in place of all that the file says of it, as in the
            registry.
        overrides : mapping, optional
            Parameters that go before both; None is "not given".

        Raises
        ------
        FileNotFoundError
            There is no such file.
        ParameterError
            It is no YAML, has no such section, or a value breaks its rule.
        """
        given = config.read(source, os.environ if environ is None else environ)
        ours = {key: (value, "") for key, value in (overrides or {}).items() if value is not None}
        return cls._from({**given, **ours})

    @classmethod
    def _from(cls, given: Mapping[Any, tuple[Any, str]]) -> DriverParameters:
        found: dict[str, Any] = {}
        for key, (value, variable) in given.items():
            if key not in _ATTRIBUTES:
                raise values.unknown(key, variable, PARAMETERS)
            if value is not None:
                found[_ATTRIBUTES[key]] = _convert(PARAMETERS[key], value, variable)
        try:
            return cls(**found)
        except ParameterError as exc:
            variable = given.get(exc.key, (None, ""))[1]
            if not variable:
                raise
            raise ParameterError(variable + str(exc).removeprefix(exc.key), exc.key, exc.value) from None

    def to_mapping(self) -> dict[str, Any]:
        """Give the parameters that differ from their defaults, by the registry's spelling."""
        return {
            row.key: getattr(self, f.name)
            for f, row in zip(dataclasses.fields(self), _ROWS.values(), strict=True)
            if getattr(self, f.name) != f.default
        }

    # -- what follows from them -----------------------------------------------------------------------

    @property
    def endpoint_url(self) -> str | None:
        """The URL of the S3-compatible service; None for AWS."""
        if not self.region_endpoint or "://" in self.region_endpoint:
            return self.region_endpoint or None
        return f"http{'s' if self.secure else ''}://{self.region_endpoint}"

    @property
    def path_style(self) -> bool:
        """Whether the bucket stands in the path of a URL and not in its host name."""
        return bool(self.region_endpoint) if self.force_path_style is None else self.force_path_style


_FIELDS = dataclasses.fields(DriverParameters)
_ROWS: dict[str, Parameter] = {f.name: f.metadata["row"] for f in _FIELDS}
_ATTRIBUTES: dict[Any, str] = {row.key: attribute for attribute, row in _ROWS.items()}
PARAMETERS: Mapping[str, Parameter] = {row.key: row for row in _ROWS.values()}
"""The table by external key."""


def parameter_table() -> str:
    """Give the table as Markdown, for the README."""
    lines = ["| key | default | since | meaning and rule |", "|---|---|---|---|"]
    for f in _FIELDS:
        row: Parameter = f.metadata["row"]
        default = f.default
        if isinstance(default, bool) or default is None:
            shown = {True: "true", False: "false", None: "-"}[default]
        elif isinstance(default, int):
            shown = values.show(default, values.size)
        else:
            shown = str(default or "-")
        lines.append(f"| `{row.key}` | {shown} | {row.since} | {row.doc} |")
    return "\n".join(lines)


def _convert(row: Parameter, value: Any, variable: str = "") -> Any:
    scalar = values.plain(value)
    try:
        return row.convert(scalar)
    except ValueError as exc:
        hidden = row.secret or values.may_hold_secret(scalar)
        told = "the value" if hidden else values.shown(value)
        kept = None if hidden or scalar == () else scalar
        raise ParameterError(f"{variable or row.key}: {told} {exc}", row.key, kept) from None


def _check(p: DriverParameters) -> None:
    """Check what concerns several parameters at once."""

    def refuse(key: str, text: str, value: str | bool | None = None) -> None:
        told = "" if value is None else f"{values.shown(value)} "
        raise ParameterError(f"{key}: {told}{text}", key, value)

    if not p.bucket:
        refuse("bucket", "is required; name the bucket, which must exist already")
    if bool(p.access_key) != bool(p.secret_key):
        missing, given = ("secretkey", "accesskey") if p.access_key else ("accesskey", "secretkey")
        refuse(missing, f"is missing beside {given}; give both, or neither for the default credential chain")
    if p.session_token and not p.access_key:
        refuse("sessiontoken", "needs accesskey and secretkey")
    if p.key_id and not p.encrypt:
        refuse("keyid", "has no effect without encrypt: true; set it", p.key_id)
    if not p.region and not p.region_endpoint:
        refuse("region", "is required, unless regionendpoint names an S3-compatible service")
    if p.region_endpoint:
        for key in ("accelerate", "usedualstack", "usefipsendpoint"):
            if getattr(p, _ATTRIBUTES[key]):
                refuse(key, "is for AWS' own endpoints and cannot be combined with regionendpoint", True)
        if not values.is_region(p.region):
            refuse("region", "must be letters, digits and inner hyphens, at most 63", p.region)
    elif not regions.is_known(p.region):
        near = regions.nearest(p.region)
        hint = f"; did you mean {near!r}?" if near else ""
        refuse("region", f"is not a region of AWS; for another service set regionendpoint{hint}", p.region)
    if p.accelerate and p.path_style:
        refuse("accelerate", "needs the bucket in the host name; leave out forcepathstyle", True)
    if not p.v4_auth and not _takes_v2(p):
        text = f"the {p.region} region only works with v4 authentication; leave v4auth out or set it to true"
        refuse("v4auth", "is not possible: " + text, False)


def _takes_v2(p: DriverParameters) -> bool:
    versions = regions.signature_versions(p.region) if p.region else None
    # A region that AWS does not list belongs to the service behind regionendpoint, which has its own rules.
    return bool(p.region_endpoint) if versions is None else "s3" in versions
