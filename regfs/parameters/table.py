"""DriverParameters: the registry's storage parameters, from a mapping, a ``config.yml`` or the environment.

The fields of the class are the one table: external key, converter, default, bounds and meaning stand in
them once, and parsing, error texts and the README's table are made from them. The keys are the registry's
(https://distribution.github.io/distribution/storage-drivers/s3/), with what GitLab's registry and OpenShift's
add; where those have another name for the same, it is an alias.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TextIO, TypedDict
from urllib.parse import urlsplit

from regfs.parameters import config, regions, values
from regfs.parameters.values import ParameterError

__all__ = ["PARAMETERS", "DriverParameters", "Options", "Parameter", "ParameterError", "parameter_table"]

MIB = values.MIB
_PART = "the bounds of a part in S3"


@dataclass(frozen=True)
class Parameter:
    """A row of the table.

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
    of : str
        The parameter that this one is an alias of; then `convert` gives a value of that one.
    """

    key: str
    convert: Callable[[Any], Any]
    since: str
    doc: str
    secret: bool = False
    of: str = ""


def _row(
    key: str, convert: Callable[[Any], Any], default: Any, since: str, doc: str, *, secret: bool = False
) -> Any:
    return field(default=default, metadata={"row": Parameter(key, convert, since, doc, secret)})


_ALIASES = (
    Parameter(
        "pathstyle", values.optional_boolean, "GitLab", "The same as `forcepathstyle`.", of="forcepathstyle"
    ),
    Parameter(
        "virtualhostedstyle",
        values.inverse,
        "OpenShift",
        "The opposite of `forcepathstyle`.",
        of="forcepathstyle",
    ),
)


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
    credentials_config_path: str = _row(
        "credentialsconfigpath",
        values.text,
        "",
        "OpenShift",
        "File of AWS credentials and configuration, instead of the user's own; not beside `accesskey`.",
    )
    bucket: str = _row("bucket", values.bucket, "", "seed", "Bucket; required, must exist already.")
    region: str = _row(
        "region",
        values.text,
        "",
        "seed",
        "AWS region, known to botocore; without it `AWS_REGION` or `AWS_DEFAULT_REGION` counts. Beside "
        "`regionendpoint` any name, or none.",
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
        "Bucket in the path instead of the host name. By default with `regionendpoint` only; always at an IP "
        "address, and where the name cannot be part of a host name.",
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
    key_id: str = _row(
        "keyid", values.header, "", "v2.3", "KMS key id for `encrypt: true`; without effect otherwise."
    )
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
        "",
        "v2.6",
        "Canned ACL of everything that is created: "
        + ", ".join(values.ACLS[1:])
        + ". None is sent unless set.",
    )
    object_ownership: bool = _row(
        "objectownership",
        values.boolean,
        False,
        "GitLab",
        "The bucket has ACLs disabled: none is sent; not beside `objectacl`.",
    )
    user_agent: str = _row("useragent", values.header, "", "later", "User-Agent instead of regfs' own.")
    use_dual_stack: bool = _row(
        "usedualstack",
        values.boolean,
        False,
        "later",
        "AWS' IPv6 endpoints; without effect beside `regionendpoint`.",
    )
    accelerate: bool = _row("accelerate", values.boolean, False, "later", "S3 transfer acceleration.")
    use_fips_endpoint: bool = _row("usefipsendpoint", values.boolean, False, "later", "AWS' FIPS endpoints.")
    log_level: str = _row(
        "loglevel",
        values.log_levels,
        "off",
        "later",
        "Anything but off or logoff: each request to the logger `regfs`, never a secret. The words are those "
        "of the registry and of GitLab's, several with commas between.",
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
        0,
        "GitLab",
        "Most requests a second, retries included; 0: no limit until the service throttles.",
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
        if self.region_endpoint:
            # As in AWS' SDK for Go. OpenShift's operator sets it for every service.
            object.__setattr__(self, "use_dual_stack", False)
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
        """Parse the registry's parameters, by the registry's spelling.

        Parameters
        ----------
        mapping : mapping of str to object
            Real types or text; None is "not given".

        Raises
        ------
        ParameterError
            A key is unknown (the nearest known one is named), a value breaks its rule, or two names of one
            parameter contradict each other.
        """
        return cls._from(_canonical({key: (value, "") for key, value in mapping.items()}))

    @classmethod
    def from_config(
        cls,
        source: str | os.PathLike[str] | TextIO | None,
        environ: Mapping[str, str] | None = None,
        overrides: Mapping[str, Any] | None = None,
    ) -> DriverParameters:
        """Read the ``storage.s3``, ``s3aws`` or ``s3_v2`` section of a registry's ``config.yml``.

        It is read as the registry reads it (:mod:`regfs.parameters.config`); values are the text as written.

        Parameters
        ----------
        source : str, path-like, text stream or None
            The file, in which ``~`` is the home directory; None where there is the environment alone.
        environ : mapping, optional
            Variables, ``os.environ`` by default. ``REGISTRY_STORAGE_S3_<KEY>`` (and, with such a section,
            ``REGISTRY_STORAGE_S3AWS_<KEY>`` or ``REGISTRY_STORAGE_S3_V2_<KEY>``) go before the file, an empty
            one stands for the default; and ``REGISTRY_STORAGE`` names the storage in place of all that the
            file says of it. Their values are YAML, as for the registry. Without region and regionendpoint,
            ``AWS_REGION`` or ``AWS_DEFAULT_REGION`` is the region.
        overrides : mapping, optional
            Parameters that go before both; None is "not given".

        Raises
        ------
        FileNotFoundError
            There is no such file.
        ParameterError
            It is no YAML, has no such section, or a value breaks its rule.
        """
        environ = os.environ if environ is None else environ
        file_values = _canonical(config.read(source, environ))
        override_values = {key: (value, "") for key, value in (overrides or {}).items() if value is not None}
        file_values.update(_canonical(override_values))
        if not any(file_values.get(key, ("",))[0] for key in _PLACES):
            file_values.update(_region(environ))
        return cls._from(file_values)

    @classmethod
    def _from(cls, given: Mapping[Any, tuple[Any, str]]) -> DriverParameters:
        converted: dict[str, Any] = {}
        for key, (value, variable) in given.items():
            if key not in _ATTRIBUTES:
                raise values.unknown(key, variable, PARAMETERS, _ELSEWHERE)
            if value is not None:
                converted[_ATTRIBUTES[key]] = _convert(PARAMETERS[key], value, variable)
        try:
            return cls(**converted)
        except ParameterError as exc:
            variable = given.get(exc.key, (None, ""))[1]
            if not variable:
                raise
            raise ParameterError(variable + str(exc).removeprefix(exc.key), exc.key, exc.value) from None

    def to_mapping(self) -> dict[str, Any]:
        """Return the parameters that differ from their defaults, by the registry's spelling."""
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
        """Whether requests name the bucket in the path and not in the host name."""
        return self.path_style_at(self.endpoint_url or "")

    def path_style_at(self, endpoint: str) -> bool:
        """Return whether URLs at an endpoint, "" for AWS' own, name the bucket in the path.

        An IP address has no names below it, so that it always takes the path.
        """
        forced = bool(endpoint) if self.force_path_style is None else self.force_path_style
        return forced or values.is_address(urlsplit(endpoint).hostname or "")


_FIELDS = dataclasses.fields(DriverParameters)
_ROWS: dict[str, Parameter] = {f.name: f.metadata["row"] for f in _FIELDS}
_ATTRIBUTES: dict[Any, str] = {row.key: attribute for attribute, row in _ROWS.items()}
PARAMETERS: Mapping[Any, Parameter] = {
    each.key: each
    for row in _ROWS.values()
    for each in (row, *(alias for alias in _ALIASES if alias.of == row.key))
}
"""The table by external key, each parameter followed by its aliases."""


_ELSEWHERE = {
    # s3fs; https://s3fs.readthedocs.io/en/latest/api.html
    "key": "accesskey",
    "username": "accesskey",
    "secret": "secretkey",
    "password": "secretkey",
    "token": "sessiontoken",
    "endpointurl": "regionendpoint",
    "usessl": "secure",
    "anon": "that is for the filesystem alone, RegistryFileSystem(anon=True, ...)",
    "clientkwargs": "set its endpoint_url as regionendpoint, its region_name as region, its verify=False as "
    "skipverify",
    "configkwargs": "set its s3 addressing_style as forcepathstyle, its retries as maxretries",
    "s3additionalkwargs": "set its ServerSideEncryption as encrypt, its SSEKMSKeyId as keyid, its "
    "StorageClass as storageclass, its ACL as objectacl",
    "profile": "set AWS_PROFILE in the environment, or credentialsconfigpath",
    "defaultblocksize": "chunksize",
    "verify": "set skipverify, its opposite",
    # boto3, polars, obstore and pyarrow
    "awsaccesskeyid": "accesskey",
    "accesskeyid": "accesskey",
    "awssecretaccesskey": "secretkey",
    "secretaccesskey": "secretkey",
    "awssessiontoken": "sessiontoken",
    "regionname": "region",
    "awsregion": "region",
    "endpoint": "regionendpoint",
    "awsendpoint": "regionendpoint",
    "endpointoverride": "regionendpoint",
    "awsendpointurl": "regionendpoint",
}
"""What other libraries call the same, in lower case and without signs: the parameter, or what to do."""

_PLACES = ("region", "regionendpoint")
"""Of these, one has to be given."""


def resolve(
    options: Mapping[str, Any],
    source: str | os.PathLike[str] | TextIO | None = None,
    environ: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Return parameters that mean the same on every machine, without its files and variables.

    Parameters
    ----------
    options : mapping of str to object
        The registry's parameters by the registry's spelling; None is "not given".
    source : str, path-like or text stream, optional
        A registry's ``config.yml``, which the variables and the options override. Where it is missing and
        there are no options, ``bucket`` aside, ``REGFS_CONFIG`` names it; without that the registry's
        variables give the parameters. They count for nothing else: options are not mixed with an environment
        that may be about another registry.
    environ : mapping, optional
        Variables, ``os.environ`` by default.

    Returns
    -------
    dict
        The options as they are, with the region of ``AWS_REGION`` or ``AWS_DEFAULT_REGION`` if there is
        neither ``region`` nor ``regionendpoint``; or what the file and the variables say, checked. Secrets
        are :class:`~regfs.parameters.values.Secret`.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ParameterError
        As :meth:`DriverParameters.from_config`; or nothing is given, and nothing in the environment.
    """
    resolved = _found(options, source, os.environ if environ is None else environ)
    return {
        key: values.Secret(value)
        if type(value) is str and key in PARAMETERS and PARAMETERS[key].secret
        else value
        for key, value in resolved.items()
    }


def _found(
    options: Mapping[str, Any],
    source: str | os.PathLike[str] | TextIO | None,
    environ: Mapping[str, str],
) -> dict[str, Any]:
    explicit = {key: value for key, value in options.items() if value is not None}
    region = {key: value for key, (value, _) in _region(environ).items()}
    variable: str | None = None
    if source is None and not explicit.keys() - {"bucket"}:
        source = variable = environ.get("REGFS_CONFIG") or None
        if source is None and not config.in_environment(environ):
            missing = "" if explicit and region else "region" if explicit else "bucket"
            if missing:
                raise ParameterError(f"{missing}: is required, and no options are given; {_WAYS}", missing)
            return {**options, **region}
    elif source is None:
        return dict(options) if any(explicit.get(key) for key in _PLACES) else {**options, **region}
    if "bucket" in explicit:  # fsspec's comparison of one that a URL names is none of equality
        explicit["bucket"] = str(explicit["bucket"])
    try:
        return DriverParameters.from_config(source, environ, explicit).to_mapping()
    except FileNotFoundError as exc:
        if not variable:
            raise
        raise FileNotFoundError(exc.errno, "REGFS_CONFIG names no file that exists", exc.filename) from None


_WAYS = (
    "give storage_options={'config': 'config.yml'} or the registry's parameters in it, "
    "or set REGFS_CONFIG or REGISTRY_STORAGE_S3_<KEY>"
)


def _region(environ: Mapping[str, str]) -> dict[Any, tuple[Any, str]]:
    """Return the region of AWS' variables: of the tools' one before botocore's, as AWS' tools have it."""
    for variable in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        if environ.get(variable):
            return {"region": (environ[variable], variable)}
    return {}


class Options(TypedDict, total=False):
    """The parameters as keywords, for type checkers and editors; at run time text is taken as well."""

    accesskey: str | None
    secretkey: str | None
    sessiontoken: str | None
    credentialsconfigpath: str | None
    bucket: str | None
    region: str | None
    regionendpoint: str | None
    forcepathstyle: bool | None
    pathstyle: bool | None
    virtualhostedstyle: bool | None
    redirectendpoint: str | None
    encrypt: bool | None
    keyid: str | None
    secure: bool | None
    skipverify: bool | None
    v4auth: bool | None
    chunksize: int | str | None
    multipartcopychunksize: int | str | None
    multipartcopymaxconcurrency: int | None
    multipartcopythresholdsize: int | str | None
    rootdirectory: str | None
    storageclass: str | None
    objectacl: str | None
    objectownership: bool | None
    useragent: str | None
    usedualstack: bool | None
    accelerate: bool | None
    usefipsendpoint: bool | None
    loglevel: str | None
    maxretries: int | None
    maxrequestspersecond: int | None
    parallelwalk: bool | None
    checksum_algorithm: str | None
    checksum_disabled: bool | None


def parameter_table() -> str:
    """Return the table as Markdown, for the README."""
    lines = ["| key | default | since | meaning and rule |", "|---|---|---|---|"]
    defaults = {f.metadata["row"].key: f.default for f in _FIELDS}
    for row in PARAMETERS.values():
        default = defaults.get(row.key)
        if isinstance(default, bool) or default is None:
            shown = {True: "true", False: "false", None: "-"}[default]
        elif isinstance(default, int):
            shown = values.show(default, values.size)
        else:
            shown = str(default or "-")
        lines.append(f"| `{row.key}` | {shown} | {row.since} | {row.doc} |")
    return "\n".join(lines)


def canonical(mapping: Mapping[str, Any]) -> dict[str, Any]:
    """Return parameters with aliases replaced by the parameters that they stand for.

    So sources can be laid over each other by key. What is no parameter is kept.

    Raises
    ------
    ParameterError
        An alias' value breaks its rule, or contradicts the parameter that it stands for.
    """
    values_by_key = _canonical({key: (value, "") for key, value in mapping.items()})
    return {key: value for key, (value, _) in values_by_key.items()}


def _canonical(given: Mapping[Any, tuple[Any, str]]) -> dict[Any, tuple[Any, str]]:
    """Replace aliases; a variable goes before the file, whichever of a parameter's names each has."""
    by_key: dict[Any, tuple[Any, str]] = {}
    names: dict[Any, str] = {}
    for key, (written, variable) in given.items():
        of, value, name = key, written, variable or key
        if key in PARAMETERS and (of := PARAMETERS[key].of or key) != key and written is not None:
            value = _convert(PARAMETERS[key], written, variable)
        if of in by_key:
            earlier, source = by_key[of]
            if bool(source) != bool(variable):
                if source:
                    continue
            elif value is None:
                continue
            elif earlier is not None and _convert(PARAMETERS[of], earlier, names[of]) != _convert(
                PARAMETERS[of], value, name
            ):
                raise ParameterError(f"{name}: contradicts {names[of]}; leave one of them out", key)
        by_key[of], names[of] = (value, variable), name
    return by_key


def _convert(row: Parameter, value: Any, variable: str = "") -> Any:
    scalar = values.plain(value)
    try:
        return row.convert(scalar)
    except ValueError as exc:
        hidden = row.secret or values.may_hold_secret(scalar)
        shown_value = "the value" if hidden else values.shown(value)
        kept = None if hidden or scalar == () else scalar
        raise ParameterError(f"{variable or row.key}: {shown_value} {exc}", row.key, kept) from None


def _check(p: DriverParameters) -> None:
    """Check what concerns several parameters at once."""

    def refuse(key: str, text: str, value: str | bool | None = None) -> None:
        shown_value = "" if value is None else f"{values.shown(value)} "
        raise ParameterError(f"{key}: {shown_value}{text}", key, value)

    if not p.bucket:
        refuse("bucket", "is required; name the bucket, which must exist already")
    if bool(p.access_key) != bool(p.secret_key):
        missing, present = ("secretkey", "accesskey") if p.access_key else ("accesskey", "secretkey")
        refuse(
            missing, f"is missing beside {present}; give both, or neither for the default credential chain"
        )
    if p.session_token and not p.access_key:
        refuse("sessiontoken", "needs accesskey and secretkey")
    if p.credentials_config_path and p.access_key:
        refuse("credentialsconfigpath", "cannot be combined with accesskey; leave one out")
    if p.object_ownership and p.object_acl:
        refuse("objectownership", "says that the bucket takes no ACLs; leave objectacl out", True)
    if not p.region and not p.region_endpoint:
        refuse("region", "is required, unless regionendpoint names an S3-compatible service")
    if p.region_endpoint:
        for key in ("accelerate", "usefipsendpoint"):
            if getattr(p, _ATTRIBUTES[key]):
                refuse(key, "is for AWS' own endpoints and cannot be combined with regionendpoint", True)
        if not values.is_scope(p.region):
            refuse("region", "must be ASCII without spaces, commas and slashes", p.region)
    elif not regions.is_known(p.region):
        near = regions.nearest(p.region)
        hint = f"; did you mean {near!r}?" if near else ""
        refuse("region", f"is not a region of AWS; for another service set regionendpoint{hint}", p.region)
    elif objection := regions.objection(
        p.region,
        p.bucket,
        accelerate=p.accelerate,
        dual_stack=p.use_dual_stack,
        fips=p.use_fips_endpoint,
    ):
        refuse(*objection, True)
    if p.accelerate and p.path_style:
        refuse("accelerate", "needs the bucket in the host name; leave out forcepathstyle", True)
    if not p.v4_auth and not _takes_v2(p):
        text = f"the {p.region} region only works with v4 authentication; leave v4auth out or set it to true"
        refuse("v4auth", "is not possible: " + text, False)


def _takes_v2(p: DriverParameters) -> bool:
    versions = regions.signature_versions(p.region) if p.region else None
    # A region that AWS does not list belongs to the service behind regionendpoint, which has its own rules.
    return bool(p.region_endpoint) if versions is None else "s3" in versions
