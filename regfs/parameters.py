"""DriverParameters: the registry's storage parameters, from a mapping, a ``config.yml`` or the environment.

The fields of the class are the one table: external key, converter, default, bounds and meaning stand in
them once, and parsing, error texts and the README's table are made from them. The keys are the registry's
(https://distribution.github.io/distribution/storage-drivers/s3/); ``maxretries`` and what follows it are
GitLab's s3_v2 driver's.
"""

from __future__ import annotations

import dataclasses
import difflib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from regfs import values

MIB = values.MIB
_PART = "the bounds of a part in S3"


class ParameterError(ValueError):
    """A parameter is missing, unknown or breaks its rule.

    Attributes
    ----------
    key : str
        The parameter, by the registry's spelling.
    """

    def __init__(self, message: str, key: str) -> None:
        super().__init__(message)
        self.key = key

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (str(self), self.key)


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


_STORAGE_CLASSES = (
    "STANDARD",
    "REDUCED_REDUNDANCY",
    "STANDARD_IA",
    "ONEZONE_IA",
    "INTELLIGENT_TIERING",
    "OUTPOSTS",
    "GLACIER_IR",
    "EXPRESS_ONEZONE",
    "NONE",
)
_ACLS = (
    "private",
    "public-read",
    "public-read-write",
    "authenticated-read",
    "aws-exec-read",
    "bucket-owner-read",
    "bucket-owner-full-control",
)
_LOG_LEVELS = (
    "off",
    "debug",
    "debugwithsigning",
    "debugwithhttpbody",
    "debugwithrequestretries",
    "debugwithrequesterrors",
    "debugwitheventstreambody",
)
_CHECKSUMS = ("", "MD5", "CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256")


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
        values.text,
        "",
        "seed",
        "Access key id. Both keys empty: the default credential chain (environment, profile, web identity, container, instance).",
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
        "sessiontoken", values.text, "", "later", "Token of temporary keys; needs both keys.", secret=True
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
        values.choice(_STORAGE_CLASSES, upper=True),
        "STANDARD",
        "v2.4",
        "One of " + ", ".join(_STORAGE_CLASSES) + " (sends no header).",
    )
    object_acl: str = _row(
        "objectacl", values.choice(_ACLS), "private", "v2.6", "Canned ACL: " + ", ".join(_ACLS) + "."
    )
    user_agent: str = _row("useragent", values.header, "", "later", "User-Agent instead of regfs' own.")
    use_dual_stack: bool = _row("usedualstack", values.boolean, False, "later", "AWS' IPv6 endpoints.")
    accelerate: bool = _row("accelerate", values.boolean, False, "later", "S3 transfer acceleration.")
    use_fips_endpoint: bool = _row("usefipsendpoint", values.boolean, False, "later", "AWS' FIPS endpoints.")
    log_level: str = _row(
        "loglevel",
        values.choice(_LOG_LEVELS),
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
        "parallelwalk", values.boolean, False, "GitLab", "Walk directories in parallel."
    )
    checksum_algorithm: str = _row(
        "checksum_algorithm",
        values.choice(_CHECKSUMS, upper=True),
        "",
        "GitLab",
        "Checksum the service verifies: " + ", ".join(_CHECKSUMS[1:]) + ".",
    )
    checksum_disabled: bool = _row("checksum_disabled", values.boolean, False, "GitLab", "Send none.")

    def __post_init__(self) -> None:
        for attribute, row in _ROWS.items():
            object.__setattr__(self, attribute, _convert(row, getattr(self, attribute), row.key))
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
        return cls._from({key: (value, str(key)) for key, value in mapping.items()})

    @classmethod
    def from_config(
        cls,
        path: str | os.PathLike[str],
        environ: Mapping[str, str] | None = None,
        overrides: Mapping[str, Any] | None = None,
    ) -> DriverParameters:
        """Take the ``storage.s3`` or ``storage.s3aws`` section of a registry's ``config.yml``.

        Parameters
        ----------
        path : str or path-like
            The file.
        environ : mapping, optional
            Variables, ``os.environ`` by default. ``REGISTRY_STORAGE_S3_<KEY>`` (and, with an s3aws section,
            ``REGISTRY_STORAGE_S3AWS_<KEY>``) go before the file, and ``REGISTRY_STORAGE`` names the section,
            as in the registry. An empty variable is "not given".
        overrides : mapping, optional
            Parameters that go before both.

        Raises
        ------
        FileNotFoundError
            There is no such file.
        ParameterError
            It is no YAML, has no such section, or a value breaks its rule.
        """
        environ = os.environ if environ is None else environ
        name, section = _section(os.fspath(path), environ.get("REGISTRY_STORAGE") or "")
        given: dict[Any, tuple[Any, str]] = {key: (value, str(key)) for key, value in section.items()}
        prefixes = ["REGISTRY_STORAGE_S3_"] + (["REGISTRY_STORAGE_S3AWS_"] if name == "s3aws" else [])
        for prefix in prefixes:
            for variable, value in environ.items():
                if variable.startswith(prefix):
                    given[variable[len(prefix) :].lower()] = (value or None, variable)
        given.update({key: (value, str(key)) for key, value in (overrides or {}).items()})
        return cls._from(given)

    @classmethod
    def _from(cls, given: Mapping[Any, tuple[Any, str]]) -> DriverParameters:
        found: dict[str, Any] = {}
        for key, (value, source) in given.items():
            if key not in _ATTRIBUTES:
                raise ParameterError(
                    f"{source!r}: unknown parameter{_nearest(str(key), PARAMETERS)}", str(key)
                )
            if value is not None:
                found[_ATTRIBUTES[key]] = _convert(PARAMETERS[key], value, source)
        return cls(**found)

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


def _convert(row: Parameter, value: Any, source: str) -> Any:
    try:
        return row.convert(value)
    except ValueError as exc:
        shown = "" if row.secret or _may_hold_secret(value) else f" {_short(value)}"
        raise ParameterError(f"{source}:{shown} {exc}", row.key) from None


def _short(value: Any) -> str:
    try:
        told = repr(value)
    except ValueError:  # an int of more digits than Python turns into text
        told = "a number too long to show"
    return told if len(told) <= 80 else told[:77] + "..."


def _may_hold_secret(value: Any) -> bool:
    """Tell whether a refused value might be a URL with a password in it."""
    return isinstance(value, str) and "@" in value


def _nearest(word: str, known: Mapping[str, Any] | list[str]) -> str:
    plain = word.lower().replace("_", "").replace("-", "")
    near = difflib.get_close_matches(plain, {k.replace("_", ""): k for k in known}, n=1)
    if not near:
        return ""
    return f"; did you mean {next(k for k in known if k.replace('_', '') == near[0])!r}?"


def _check(p: DriverParameters) -> None:
    """Check what concerns several parameters at once."""

    def refuse(key: str, text: str) -> None:
        raise ParameterError(f"{key}: {text}", key)

    if not p.bucket:
        refuse("bucket", "is required; name the bucket, which must exist already")
    if bool(p.access_key) != bool(p.secret_key):
        missing, given = ("secretkey", "accesskey") if p.access_key else ("accesskey", "secretkey")
        refuse(missing, f"is missing beside {given}; give both, or neither for the default credential chain")
    if p.session_token and not p.access_key:
        refuse("sessiontoken", "needs accesskey and secretkey")
    if p.key_id and not p.encrypt:
        refuse("keyid", "has no effect without encrypt: true; set it")
    if not p.region and not p.region_endpoint:
        refuse("region", "is required, unless regionendpoint names an S3-compatible service")
    if p.region_endpoint:
        for key, on in (
            ("accelerate", p.accelerate),
            ("usedualstack", p.use_dual_stack),
            ("usefipsendpoint", p.use_fips_endpoint),
        ):
            if on:
                refuse(key, "is for AWS' own endpoints and cannot be combined with regionendpoint")
    elif not _known_region(p.region):
        near = _nearest_region(p.region)
        refuse(
            "region",
            f"{_short(p.region)} is not a region of AWS{near}; for another service set regionendpoint",
        )
    if p.accelerate and p.path_style:
        refuse("accelerate", "needs the bucket in the host name; leave out forcepathstyle")
    if not p.v4_auth and not _knows_v2(p.region):
        refuse(
            "v4auth",
            f"the {p.region} region only works with v4 authentication; leave v4auth out or set it to true",
        )


def _load(name: str) -> Any:
    from botocore.loaders import create_loader

    return create_loader().load_data(name)


def _known_region(region: str) -> bool:
    import re

    partitions = _load("partitions")["partitions"]
    return any(
        region in p["regions"] or re.fullmatch(p["regionRegex"].strip("^$"), region) for p in partitions
    )


def _nearest_region(region: str) -> str:
    names = [name for p in _load("partitions")["partitions"] for name in p["regions"]]
    near = difflib.get_close_matches(region, names, n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def _knows_v2(region: str) -> bool:
    """Tell whether botocore's endpoint data lists signature version 2 ("s3") for a region.

    A region of no AWS partition belongs to another service, which has its own rules.
    """
    if not region or not _known_region(region):
        return True
    for partition in _load("endpoints")["partitions"]:
        service = partition["services"].get("s3", {})
        if region in service.get("endpoints", {}):
            default = service.get("defaults", {}).get("signatureVersions", [])
            return "s3" in service["endpoints"][region].get("signatureVersions", default)
    return False


def _section(path: str, storage: str) -> tuple[str, Mapping[Any, Any]]:
    """Find the driver's section in a registry's configuration."""
    import yaml

    with open(path, "rb") as file:
        try:
            config = yaml.safe_load(file)
        except (yaml.YAMLError, ValueError, RecursionError) as exc:
            mark = getattr(exc, "problem_mark", None)
            where = f", line {mark.line + 1}" if mark else ""
            raise ParameterError(f"config: {path}{where}: is not valid YAML", "config") from None
    found = config.get("storage") if isinstance(config, Mapping) else None
    sections = found if isinstance(found, Mapping) else {}
    named = [name for name in ("s3", "s3aws") if name in sections]
    if storage in ("s3", "s3aws"):
        named = [storage]
    elif storage:
        raise ParameterError(f"REGISTRY_STORAGE: {storage!r} is not 's3' or 's3aws'", "REGISTRY_STORAGE")
    if len(named) != 1:
        others = ", ".join(f"storage.{name}" for name in map(str, sections)) or "no storage section"
        what = "has both storage.s3 and storage.s3aws" if named else f"has no storage.s3 section but {others}"
        raise ParameterError(
            f"config: {path}: {what}; regfs needs one of storage.s3, storage.s3aws", "config"
        )
    section = sections.get(named[0])
    if section is not None and not isinstance(section, Mapping):
        raise ParameterError(f"config: {path}: storage.{named[0]} is not a mapping of parameters", "config")
    return named[0], section or {}
