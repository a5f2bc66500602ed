"""Files and variables that registries in the field serve with, read as those read them.

distribution 2.8 and 3, whose rules for variables are in configuration/parser.go; GitLab's registry with its
section s3_v2; OpenShift's with what its operator sets. tests/interop compares with a real one.
"""

from __future__ import annotations

import io
import socket
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest

from regfs import ConfigurationWarning, DriverParameters, ParameterError, RegistryFileSystem, create
from regfs.cli.place import Place as CommandPlace
from regfs.cli.transfer import together
from regfs.doctor.checks import Verdict
from regfs.doctor.examination import examine
from regfs.parameters import insecure, notices

if TYPE_CHECKING:
    from pathlib import Path

    from support.proxy import CountingProxy
    from support.servers import Place

TYPE = "REGISTRY_STORAGE"
S3 = "REGISTRY_STORAGE_S3_"
BASE: dict[str, Any] = {"bucket": "b", "region": "eu-west-1"}


def section(kind: str = "s3", **parameters: str) -> str:
    lines = [f"    {key}: {value}\n" for key, value in {**BASE, **parameters}.items()]
    return f"version: 0.1\nstorage:\n  {kind}:\n{''.join(lines)}"


def read(text: str, environ: Any = None, **overrides: Any) -> DriverParameters:
    return DriverParameters.from_config(io.StringIO(text), environ or {}, overrides)


def refused(text: str, environ: dict[str, str] | None = None) -> ParameterError:
    with pytest.raises(ParameterError) as caught:
        read(text, environ)
    assert len(str(caught.value).splitlines()) == 1
    return caught.value


# -- GitLab's and OpenShift's -------------------------------------------------------------------------

GITLAB = """
version: 0.1
storage:
  s3_v2:
    accesskey: AKIDEXAMPLE
    secretkey: wJalrXUtnFEMI
    bucket: registry
    region: us-east-1
    regionendpoint: http://minio_server:9000
    pathstyle: true
    secure: false
    objectownership: true
    checksum_disabled: true
    maxrequestspersecond: 0
    maxretries: 3
    parallelwalk: true
    loglevel: logsigning,logretries
    storageclass: NONE
  delete:
    enabled: true
  maintenance:
    uploadpurging:
      enabled: true
  redirect:
    disable: false
  cache:
    blobdescriptor: inmemory
"""


def test_the_section_of_gitlab() -> None:
    p = read(GITLAB)
    assert (p.bucket, p.path_style, p.object_ownership, p.max_retries) == ("registry", True, True, 3)
    assert p.log_level == "logsigning,logretries"
    assert p.endpoint_url == "http://minio_server:9000"
    variables = {
        "REGISTRY_STORAGE_S3_V2_PATHSTYLE": "no",
        "REGISTRY_STORAGE_S3_V2_CHECKSUM_ALGORITHM": "SHA256",
    }
    p = read(GITLAB, variables)
    assert (p.path_style, p.checksum_algorithm) == (False, "SHA256")


def test_the_type_of_gitlab_by_variables() -> None:
    prefix = "REGISTRY_STORAGE_S3_V2_"
    environ = {TYPE: "s3_v2", f"{prefix}BUCKET": "b", f"{prefix}REGION": "eu-west-1"}
    assert read("storage: {filesystem: {rootdirectory: /x}}", environ) == read(section())
    # Without the name of the type, as long as there is no other.
    del environ[TYPE]
    assert read("version: 0.1", environ) == read(section())


@pytest.mark.parametrize("name", ["s3", "s3aws", "s3_v2"])
def test_a_driver_by_each_name(name: str, options: dict[str, Any]) -> None:
    assert create(name, {**options, "pathstyle": True, "objectownership": "true"}).name == name


@pytest.mark.parametrize(
    ("alias", "value", "forced"),
    [
        ("pathstyle", "true", True),
        ("pathstyle", "off", False),
        ("virtualhostedstyle", "true", False),
        ("virtualhostedstyle", "no", True),
        ("virtualhostedstyle", "~", None),
    ],
)
def test_another_name_of_forcepathstyle(alias: str, value: str, forced: bool | None) -> None:
    assert read(section(**{alias: value})).force_path_style is forced
    environ = {f"{S3}{alias.upper()}": value}
    assert read(section(), environ).force_path_style is forced
    if forced is not None:
        # What goes before another does so by whichever name.
        other = str(not forced).lower()
        assert read(section(forcepathstyle=other), environ).force_path_style is forced
        assert read(section(**{alias: value}), forcepathstyle=other).force_path_style is not forced
        assert read(section(forcepathstyle=other), **{alias: value}).force_path_style is forced
        assert read(section(**{alias: value, "forcepathstyle": str(forced)})).force_path_style is forced
        assert read(section(**{alias: value}), {f"{S3}FORCEPATHSTYLE": ""}).force_path_style is None
        message = str(refused(section(**{alias: value, "forcepathstyle": other})))
        assert alias in message
        assert "forcepathstyle" in message
        environ[f"{S3}FORCEPATHSTYLE"] = other
        assert f"{S3}{alias.upper()}" in str(refused(section(), environ))


def test_a_wrong_value_of_another_name() -> None:
    error = refused(section(pathstyle="maybe"))
    assert str(error).startswith("pathstyle: 'maybe' must be one of")
    assert error.key == "pathstyle"
    assert str(refused(section(), {f"{S3}VIRTUALHOSTEDSTYLE": "x"})).startswith(
        f"{S3}VIRTUALHOSTEDSTYLE: 'x'"
    )


def test_the_command_line_goes_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"BUCKET": "b", "REGION": "eu-west-1", "PATHSTYLE": "true"}.items():
        monkeypatch.setenv(f"{S3}{name}", value)
    parameters = DriverParameters.from_mapping(CommandPlace(None, {"forcepathstyle": "false"}).options())
    assert parameters.force_path_style is False


@pytest.mark.parametrize("server", ["seaweedfs"], indirect=True)
@pytest.mark.parametrize("lane", ["fast", "canonical"])
def test_ownership_sends_no_acl(proxied_options: dict[str, Any], proxy: CountingProxy, lane: str) -> None:
    fs = RegistryFileSystem(**proxied_options, objectownership=True, skip_instance_cache=True)
    if lane == "canonical":
        fs.client.transport.fast.off()
    fs.pipe("/small", b"x")
    fs.cp_file("/small", "/copy")
    with fs.open("/large", "wb") as file:
        file.write(b"x" * (11 * 2**20))
    assert fs.ls("/", detail=False) == ["/copy", "/large", "/small"]
    assert len(proxy.requests) > 5
    assert not [request for request in proxy.requests if "x-amz-acl" in request.headers]


# What OpenShift's operator sets for a service of one's own; the middleware is its own affair.
OPENSHIFT = {
    TYPE: "s3",
    f"{S3}BUCKET": "registry",
    f"{S3}CHUNKSIZE": "10485760",
    f"{S3}REGION": "us-east-1",
    f"{S3}REGIONENDPOINT": "https://s3.openshift-storage.example",
    f"{S3}ENCRYPT": "false",
    f"{S3}KEYID": "alias/registry",
    f"{S3}VIRTUALHOSTEDSTYLE": "false",
    f"{S3}USEDUALSTACK": "true",
    f"{S3}CREDENTIALSCONFIGPATH": "/var/run/secrets/cloud/credentials",
    "REGISTRY_STORAGE_CACHE_BLOBDESCRIPTOR": "inmemory",
    "REGISTRY_STORAGE_DELETE_ENABLED": "true",
    "REGISTRY_MIDDLEWARE_STORAGE": "[{name: cloudfront}]",
    "REGISTRY_HTTP_ADDR": ":5000",
}


def test_the_variables_of_openshift() -> None:
    p = read(
        "version: 0.1\nstorage: {filesystem: {rootdirectory: /registry}}\nopenshift: {version: 1.0}",
        OPENSHIFT,
    )
    assert (p.bucket, p.path_style, p.use_dual_stack) == ("registry", True, False)
    assert p.credentials_config_path == "/var/run/secrets/cloud/credentials"


def test_the_credentials_file_of_openshift(options: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "credentials"
    place = {key: value for key, value in options.items() if key not in ("accesskey", "secretkey")}
    fs = RegistryFileSystem(**place, credentialsconfigpath=str(file), maxretries=0, skip_instance_cache=True)
    with pytest.raises(PermissionError):
        fs.pipe("/a", b"x")
    keys = {"aws_access_key_id": options["accesskey"], "aws_secret_access_key": options["secretkey"]}
    file.write_text("[default]\n" + "".join(f"{key} = {value}\n" for key, value in keys.items()))
    fs = RegistryFileSystem(**place, credentialsconfigpath=str(file), maxretries=0, skip_instance_cache=True)
    fs.pipe("/a", b"x")
    assert fs.cat("/a") == b"x"


def test_who_has_another_credentials_file_is_somebody_else() -> None:
    def made(path: str) -> RegistryFileSystem:
        return RegistryFileSystem(**BASE, credentialsconfigpath=path)

    assert together(made("/a"), made("/a"))
    assert not together(made("/a"), made("/b"))


# -- names that botocore takes for none ---------------------------------------------------------------


@pytest.fixture
def compose(monkeypatch: pytest.MonkeyPatch) -> None:
    """Resolve a name that docker-compose gives a service; there is no DNS here."""
    resolve = socket.getaddrinfo

    def resolved(host: Any, *args: Any, **kwargs: Any) -> Any:
        return resolve("127.0.0.1" if host == "minio_server" else host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", resolved)
    # A proxy that must not be asked, though botocore is given another name of the host.
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "127.0.0.1,minio_server")
    monkeypatch.setattr(insecure, "warn", lambda _: None)  # of plain HTTP, which it is


@pytest.mark.parametrize("lane", ["fast", "canonical"])
@pytest.mark.parametrize("region", ["us-east-1", "test_region", "12", "a.b"])
def test_a_service_of_docker_compose(compose: None, options: dict[str, Any], lane: str, region: str) -> None:
    endpoint = options["regionendpoint"].replace("127.0.0.1", "minio_server")
    here = {**options, "regionendpoint": endpoint, "region": region}
    fs = RegistryFileSystem(**here, maxretries=0, skip_instance_cache=True)
    if lane == "canonical":
        fs.client.transport.fast.off()
    fs.pipe("/a", b"content")
    fs.cp_file("/a", "/b")
    assert fs.ls("/", detail=False) == ["/a", "/b"]
    assert fs.cat("/b") == b"content"
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # urlopen's own would stay
    with opener.open(fs.sign("/b")) as answer:
        assert answer.read() == b"content"
    assert f"%2F{region}%2Fs3" in fs.sign("/b")
    fs.rm(["/a", "/b"])


def test_the_doctor_on_such_a_service(compose: None, options: dict[str, Any]) -> None:
    endpoint = options["regionendpoint"].replace("127.0.0.1", "minio_server")
    here = {**options, "regionendpoint": endpoint, "region": "test_region", "keyid": "alias/none"}
    checks = {
        check.name: check for check in examine(lambda: RegistryFileSystem(**here, skip_instance_cache=True))
    }
    assert not [check for check in checks.values() if check.verdict is Verdict.FAILED]
    assert checks["encryption"].verdict is Verdict.WARNING
    assert "encrypt: true" in checks["encryption"].advice


def test_a_key_that_has_no_effect_is_not_sent(raw: Place, options: dict[str, Any]) -> None:
    """The registry sends no key id without encryption."""
    RegistryFileSystem(**options, keyid="alias/none", encrypt=False, skip_instance_cache=True).pipe(
        "/a", b"x"
    )
    assert "SSEKMSKeyId" not in raw.head("a")


# -- keys given twice ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "line", "key"),
    [
        (section() + "    bucket: c\n", 6, "bucket"),
        (section().replace("bucket: b", "bucket: a\n    bucket: c"), 5, "bucket"),
        (section() + "  s3:\n    bucket: c\n    region: eu-west-1\n", 6, "s3"),
        ("storage: s3\n" + section().replace("bucket: b", "bucket: c"), 3, "storage"),
        (
            section().replace("bucket: b", "bucket: c")
            + "http: {addr: x}\nlog:\n  level: info\n  level: debug\n",
            9,
            "level",
        ),
        (section().replace("bucket: b", "bucket: c") + "a: [{x: 1, x: 2}]\n", 6, "x"),
        (section().replace("bucket: b", "bucket: c") + "a: &a {x: 1, x: 2}\nb: *a\n", 6, "x"),
    ],
)
def test_the_last_counts(text: str, line: int, key: str, caplog: pytest.LogCaptureFixture) -> None:
    notices._given.clear()
    with pytest.warns(ConfigurationWarning) as warned:
        assert read(text).bucket == "c"
    assert warned[0].filename == __file__
    (record,) = caplog.records
    assert record.getMessage() == str(warned[0].message)
    assert len(record.getMessage().splitlines()) == 1
    assert f"{key} again in line {line};" in record.getMessage()
    read(text)  # a second time there is no warning, which would be an error


def test_merges_are_no_repetition() -> None:
    """go-yaml merges in place, so that what stands before is replaced."""
    merged = "x: &x {bucket: q, region: us-east-1}\nstorage:\n  s3:\n"
    assert read(merged + "    <<: *x\n    bucket: b\n").bucket == "b"
    assert read(merged + "    bucket: b\n    <<: *x\n").bucket == "q"
    assert read("x: &x {bucket: q}\n" + section().replace("bucket: b", "<<: [{bucket: c}, *x]")).bucket == "c"
    assert read("x: &x {storage: {s3: {bucket: q, region: us-east-1}}}\n<<: *x\n").bucket == "q"


# -- values as they are written -----------------------------------------------------------------------

WRITTEN = [
    "12:34:56",
    "12e4",
    "0o17",
    "1_000",
    "yes",
    "no",
    "on",
    "off",
    "y",
    "2024-01-01",
    "2024-01-01T10:00:00Z",
    "0123",
    "0x1F",
    "0b11",
    ".inf",
    "-.INF",
    ".nan",
    "1.0",
    "1.10",
    "+12",
    "1e3",
    "1.2345678e+07",
    "12345678901234567890",
    "True",
    "nUll",
    "=",
]


@pytest.mark.parametrize("value", WRITTEN)
def test_text_is_what_was_written(value: str) -> None:
    for quoted in (value, f'"{value}"', f"'{value}'", f"!!str {value}"):
        p = read(section(accesskey="AKIDEXAMPLE", secretkey=quoted))
        assert p.secret_key == value
        assert read(section(rootdirectory=quoted)).root_directory == value
        environ = {f"{S3}ACCESSKEY": "AKIDEXAMPLE", f"{S3}SECRETKEY": quoted}
        assert read(section(), environ).secret_key == value


@pytest.mark.parametrize("value", ["~", "null", "Null", "NULL", "", "!!null ''"])
def test_null_is_not_given(value: str) -> None:
    assert read(section(rootdirectory=value)) == read(section())
    assert read(section(rootdirectory="/x"), {f"{S3}ROOTDIRECTORY": value}) == read(section())
    if value and "!" not in value:
        assert read(section(rootdirectory=f'"{value}"')).root_directory == value


@pytest.mark.parametrize("value", ["yes", "Yes", "on", "ON", "y", "true", '"true"', "1", '"t"'])
def test_what_the_registry_takes_for_true(value: str) -> None:
    assert read(section(encrypt=value)).encrypt
    assert read(section(), {f"{S3}ENCRYPT": value}).encrypt


@pytest.mark.parametrize("value", ["no", "No", "off", "OFF", "n", "false", '"false"', "0", '"f"'])
def test_what_the_registry_takes_for_false(value: str) -> None:
    assert not read(section(secure=value)).secure
    assert read(section(loglevel="off")).log_level == "off"


@pytest.mark.parametrize(
    ("value", "size"),
    [("10_485_760", 10485760), ("0xA00000", 10485760), ("050000000", 10485760), ("0o50000000", 10485760)],
)
def test_numbers_of_yaml(value: str, size: int) -> None:
    assert read(section(chunksize=value)).chunk_size == size


def test_keys_are_text() -> None:
    assert "'on': unknown parameter" in str(refused(section(on="x")))
    assert "'7': unknown parameter" in str(refused(section(**{"7": "x"})))
    assert read(section().replace("bucket:", '"bucket":')).bucket == "b"


@pytest.mark.parametrize(
    ("value", "read_as"),
    [
        ('"with quotes"', "with quotes"),  # a docker-compose list has these: - NAME="value"
        ("'with: quotes'", "with: quotes"),
        ("from-a-secret\n", "from-a-secret"),  # of a file that ends in a new line
        ("  spaces  ", "spaces"),
        ("value # and comment", "value"),
        ("a#b", "a#b"),
        ("%%", None),
        ("a%b", "a%b"),
        ("value\n---\nanother", "value"),
    ],
)
def test_variables_are_yaml(value: str, read_as: str | None) -> None:
    environ = {f"{S3}ACCESSKEY": "AKIDEXAMPLE", f"{S3}SECRETKEY": value}
    if read_as is None:
        assert "single quotes" in str(refused(section(), environ))
    else:
        assert read(section(), environ).secret_key == read_as


def test_variables_in_the_order_of_the_registry() -> None:
    assert read(section(), {f"{S3}BUCKET": "A", f"{S3}bucket": "c"}).bucket == "c"
    whole = {f"{TYPE}_S3": "{bucket: c, region: us-east-1, chunksize: 6MiB}"}
    p = read(section(encrypt="true"), {**whole, f"{S3}CHUNKSIZE": "7MiB"})
    assert (p.bucket, p.encrypt, p.chunk_size) == ("c", False, 7 * 2**20)
    assert read("", {TYPE: "{s3: {bucket: c, region: us-east-1}, cache: {}}"}).bucket == "c"
    assert str(refused("", {f"{TYPE}_S3": "{chunksize: 1}"})).startswith(f"{TYPE}_S3: chunksize: '1' ")


# -- another storage ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "variable", "kind"),
    [
        ("storage: {filesystem: {rootdirectory: /x}}", f"{S3}BUCKET", "s3"),
        ("storage: filesystem", f"{S3}BUCKET", "s3"),
        ("storage: {filesystem: {}, delete: {enabled: true}}", f"{TYPE}_S3_V2_BUCKET", "s3_v2"),
        ("storage: {inmemory: }", f"{TYPE}_S3AWS_BUCKET", "s3aws"),
        ("storage: {gcs: {}}", f"{TYPE}_S3", "s3"),
    ],
)
def test_the_type_is_suggested(text: str, variable: str, kind: str) -> None:
    value = "{bucket: b}" if variable == f"{TYPE}_S3" else "b"
    error = refused(text, {variable: value})
    assert f"set {TYPE}={kind}" in str(error)
    assert variable in str(error)
    assert "storage." in str(error)
    assert f"{TYPE}={kind}" not in str(refused(text, {variable: ""}))
    named = refused("", {TYPE: "filesystem", variable: value})
    assert f"set {TYPE}={kind}" in str(named)
    assert named.key == TYPE


def test_what_stands_beside_a_driver_is_none() -> None:
    beside = "".join(
        f"  {name}: {{x: 1}}\n" for name in ("cache", "delete", "maintenance", "redirect", "tag")
    )
    assert read(section() + beside) == read(section())
