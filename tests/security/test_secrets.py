"""Keys, tokens and signatures are in nothing that anybody may come to see, unless given as options."""

from __future__ import annotations

import base64
import copy
import dataclasses
import gc
import io
import json
import logging
import pickle
import re
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, quote, urlsplit

import pytest
from click.testing import CliRunner
from security.conftest import answer, shown

import regfs.s3.fast
import regfs.s3.transport
from regfs import DriverParameters, InvalidPathError, ParameterError, RegistryFileSystem, StorageDriver
from regfs.cli.group import cli
from regfs.s3.redaction import redacted
from regfs.s3.sigv4 import Credentials

if TYPE_CHECKING:
    from security.conftest import Make
    from support.proxy import CountingProxy, Request
    from support.servers import Place

SECRETS = {
    "accesskey": "AKIDOFTHISTESTALONE",
    "secretkey": "sEcReT/of+this=test alone",
    "sessiontoken": "tOkEn/of+this=test==",
}
moto = pytest.mark.parametrize("server", ["moto"], indirect=True)  # it takes any keys


def found(text: str, secrets: dict[str, str] = SECRETS) -> list[str]:
    """Name the secrets that a text tells, in whatever form they travel."""
    forms: dict[str, list[Callable[[str], str]]] = {
        "plain": [str],
        "quoted": [quote, lambda s: quote(s, safe="")],
        "escaped": [lambda s: json.dumps(s)[1:-1], lambda s: repr(s)[1:-1]],
        "base64": [lambda s: base64.b64encode(s.encode()).decode().rstrip("=")],
    }
    told = [
        (name, form) for name in secrets for form in forms for f in forms[form] if f(secrets[name]) in text
    ]
    return [f"{name} ({form})" for name, form in dict.fromkeys(told)]


def test_the_search_finds() -> None:
    token = SECRETS["sessiontoken"]
    assert "sessiontoken (plain)" in found(f"x {token}")
    assert found(quote(token, safe="")) == ["sessiontoken (quoted)"]
    assert found(base64.b64encode(token.encode()).decode()) == ["sessiontoken (base64)"]
    assert found("nothing") == []


# -- failures -----------------------------------------------------------------------------------------------


ERROR = (
    b"<Error><Code>%s</Code><Message>m</Message><Token-0>"
    + SECRETS["sessiontoken"].encode()
    + b"</Token-0></Error>"
)
FAILURES: dict[str, bytes] = {
    "denied": answer("403 Forbidden", ERROR % b"AccessDenied"),
    "another signature": answer("403 Forbidden", ERROR % b"SignatureDoesNotMatch"),
    "a token that is no good": answer("400 Bad Request", ERROR % b"InvalidToken"),
    "an expired token": answer("400 Bad Request", ERROR % b"ExpiredToken"),
    "no such bucket": answer("404 Not Found", ERROR % b"NoSuchBucket"),
    "an internal error": answer("500 Internal Server Error", ERROR % b"InternalError"),
    "an unknown error": answer("418 Teapot", ERROR % b"Teapot"),
    "too many requests": answer("503 Slow Down", ERROR % b"SlowDown"),
    "a page of a proxy": answer("502 Bad Gateway", b"<!DOCTYPE html><html>gone</html>"),
    "broken XML": answer("200 OK", b"<ListBucketResult><Contents>"),
    "no HTTP": b"ICY 200 OK\r\n\r\n",
    "a bad header": b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
    "a bad length": b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n",
    "a bad chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "a redirection": answer("301 Moved Permanently", Location="http://127.0.0.1:1/"),
    "an encoding": answer("200 OK", b"x", Content_Encoding="gzip"),
    "a reset": b"",
}
OPERATIONS: dict[str, Callable[[RegistryFileSystem], Any]] = {
    "get": lambda fs: fs.cat_file("/file"),
    "stat": lambda fs: StorageDriver(fs).stat("/file"),
    "list": lambda fs: StorageDriver(fs).list("/d"),
    "put": lambda fs: fs.pipe_file("/new", b"1"),
    "copy": lambda fs: fs.cp_file("/file", "/copy"),
    "delete": lambda fs: fs.rm("/d", recursive=True),
    "uploads": lambda fs: fs.uploads(),
    "writer": lambda fs: StorageDriver(fs).writer("/w", append=True),
}


def fail(told: bytes, request: Request) -> bytes:
    """Answer; to a HEAD without the body."""
    head, end, _ = told.partition(b"\r\n\r\n")
    return head + end if request.method == "HEAD" else told


def failure_of(fs: RegistryFileSystem, operation: Callable[[RegistryFileSystem], Any]) -> OSError | None:
    try:
        operation(fs)
    except OSError as exc:
        return exc
    return None


@moto
@pytest.mark.parametrize("failure", FAILURES)
def test_failures_tell_none(
    make: Make, proxy: CountingProxy, caplog: pytest.LogCaptureFixture, failure: str
) -> None:
    caplog.set_level(logging.DEBUG)
    fs = make(**SECRETS, loglevel="debug")
    proxy.fault = partial(fail, FAILURES[failure])
    errors = [error for error in map(partial(failure_of, fs), OPERATIONS.values()) if error]
    assert errors
    for error in errors:
        assert found(shown(error)) == []
        assert found(repr(pickle.loads(pickle.dumps(error)))) == []
    assert proxy.count() >= len(OPERATIONS)
    assert found(caplog.text) == []
    signatures = {request.headers["authorization"].rpartition("=")[2] for request in proxy.requests}
    assert all(len(signature) == 64 and signature not in caplog.text for signature in signatures)


@moto
@pytest.mark.parametrize(
    "where", ["http://127.0.0.1:9", "https://127.0.0.1:9", "http://no-such-host.invalid", "tls"]
)
def test_connections_that_do_not_come_about_tell_none(
    make: Make, proxy: CountingProxy, caplog: pytest.LogCaptureFixture, where: str, untold: None
) -> None:
    caplog.set_level(logging.DEBUG)
    endpoint = proxy.endpoint.replace("http:", "https:") if where == "tls" else where
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the host that is not this one
        fs = make(**SECRETS, regionendpoint=endpoint, loglevel="debug")
    for name, operation in OPERATIONS.items():
        if where == "tls" and name not in ("get", "copy"):
            continue  # each waits for as long as a connection may take
        with pytest.raises(OSError) as caught:
            operation(fs)
        assert found(shown(caught.value)) == []
    assert found(caplog.text) == []


@moto
def test_an_answer_that_does_not_come_tells_none(
    make: Make, proxy: CountingProxy, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    from support.proxy import Fate

    caplog.set_level(logging.DEBUG)
    for module in (regfs.s3.fast, regfs.s3.transport):
        monkeypatch.setattr(module, "READ_TIMEOUT", 0.3)
    fs = make(**SECRETS, loglevel="debug")
    proxy.fault = lambda _: Fate(answer=-1, how="stalled")
    with pytest.raises(TimeoutError) as caught:
        fs.cat_file("/file")
    assert found(shown(caught.value)) == []
    assert found(caplog.text) == []


@pytest.mark.parametrize("server", ["seaweedfs"], indirect=True)
def test_a_wrong_key_at_a_service_that_looks(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    wrong = {"secretkey": SECRETS["secretkey"]}
    for given in (wrong, {**wrong, "accesskey": SECRETS["accesskey"]}, SECRETS):
        fs = make(**given)
        for operation in OPERATIONS.values():
            with pytest.raises(PermissionError) as caught:
                operation(fs)
            assert found(shown(caught.value), given) == []
    assert found(caplog.text) == []


# -- success ------------------------------------------------------------------------------------------------


@moto
@pytest.mark.parametrize("v4auth", [True, False])
def test_what_succeeds_is_logged_without_them(
    make: Make, raw: Place, proxy: CountingProxy, caplog: pytest.LogCaptureFixture, v4auth: bool
) -> None:
    """By any logger: botocore's tell of all that it signs and sends."""
    caplog.set_level(logging.DEBUG)
    raw.put("file", b"file")
    raw.put("d/1", b"1")
    # moto takes one version 2 signature in two thousand, by the slashes in it, for another service's: 500.
    fs = make(**SECRETS, loglevel="debugwithsigning", v4auth=v4auth, maxretries=5)
    for name, operation in OPERATIONS.items():
        if name != "writer":
            operation(fs)
    driver = StorageDriver(fs)
    urls = [fs.sign("/file"), fs.url("/file"), driver.redirect_url("/file"), driver.url_for("/file", "HEAD")]
    assert len(caplog.records) > 10
    assert {"regfs", "botocore"} <= {record.name.partition(".")[0] for record in caplog.records}
    assert found(caplog.text) == []
    for url in urls:
        asked = parse_qs(urlsplit(url).query)
        (signature,) = asked["X-Amz-Signature" if v4auth else "Signature"]
        assert found(url) != []  # it has to carry the token: a secret of a kind, in no log
        for form in (signature, quote(signature, safe="")):
            assert form not in caplog.text
    if v4auth:
        assert {request.headers["x-amz-security-token"] for request in proxy.requests} == {
            SECRETS["sessiontoken"]
        }


@pytest.mark.parametrize(
    "text",
    [
        "CanonicalRequest:\nGET\n/b/k\n\nhost:h\nx-amz-security-token:{}\n\nhost",
        "Signature:\n{}",
        "request: {{'headers': {{'X-Amz-Security-Token': '{}'}}}}",
        "headers={{'Authorization': b'AWS4-HMAC-SHA256 Credential=a/b, SignedHeaders=host, Signature={}'}}",
        "headers={{'Authorization': 'AWS key:{}', 'Date': 'x'}}",
        "https://h/k?X-Amz-Security-Token={}&X-Amz-Expires=60",
        "https://h/k?AWSAccessKeyId={}&Expires=60",
        "b'<Credentials><SecretAccessKey>{}</SecretAccessKey></Credentials>'",
        "<SessionToken>{}</SessionToken>",
        '{{"SecretAccessKey": "{}", "Code": "Success"}}',
        "{{'WebIdentityToken': '{}'}}",
    ],
)
@pytest.mark.parametrize("secret", ["abc/def+ghi==", quote("abc/def+ghi==", safe="")])
def test_the_redaction(text: str, secret: str) -> None:
    before, after = text.format(secret), redacted(text.format(secret))
    assert secret in before
    assert secret not in after
    assert "abc" not in after
    assert redacted("PUT /bucket/docker/registry/v2: 12.3 ms") == "PUT /bucket/docker/registry/v2: 12.3 ms"


# -- objects ------------------------------------------------------------------------------------------------


@moto
def test_no_object_shows_them(make: Make, raw: Place) -> None:
    raw.put("file", b"file")
    fs = make(**SECRETS)
    driver = StorageDriver(fs)
    things = [
        fs,
        driver,
        fs.parameters,
        fs.client,
        fs.client.transport,
        fs.client.transport.fast,
        fs.space,
        fs.open("/file"),
    ]
    things += [
        driver.writer("/new"),
        driver.reader("/file"),
        fs.get_mapper("/d"),
        fs.info("/file"),
        fs.transaction,
    ]
    file = fs.open("/new", "wb")
    things += [Credentials(*SECRETS.values()), fs.client.transport.session, file]
    ways = [way for way in fs.client.transport.fast._ways.values() if way]
    things += [way.signer for way in ways]
    sessions = [s for each in fs.client.transport._sessions.values() for s in each.values()]
    for thing in [*things, *sessions]:
        texts = [repr(thing), str(thing), f"{thing}", getattr(thing, "_repr_html_", str)()]
        assert found("\n".join(texts)) == [], type(thing)
    file.discard()


def test_options_given_travel_and_nothing_else_tells_of_them() -> None:
    options: dict[str, Any] = {"bucket": "b", "region": "us-east-1", **SECRETS}
    fs = RegistryFileSystem(**options)
    assert set(found(fs.to_json())) >= {"secretkey (plain)"}
    assert pickle.loads(pickle.dumps(fs)).parameters == fs.parameters
    assert copy.copy(fs).storage_options == fs.storage_options
    other = RegistryFileSystem(**{**options, "secretkey": "another"})
    tokens = (fs._fs_token, other._fs_token)  # what dask names its tasks by
    assert tokens[0] != tokens[1]
    assert all(re.fullmatch(r"[0-9a-f]{32,64}", token) for token in tokens)
    assert found(f"{fs.fsid} {hash(fs)} {fs.unstrip_protocol('/a')}") == []


def test_the_chain_s_are_in_nothing_that_travels(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, key in zip(("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "SESSION_TOKEN"), SECRETS, strict=True):
        monkeypatch.setenv(f"AWS_{name}", SECRETS[key])
    fs = RegistryFileSystem(bucket="b", region="us-east-1")
    url = fs.sign("/a")  # so that they were asked for
    assert found(url) == [
        "accesskey (plain)",
        "accesskey (quoted)",
        "accesskey (escaped)",
        "sessiontoken (quoted)",
    ]
    gc.collect()
    texts = [
        fs.to_json(),
        repr(fs.storage_options),
        repr(dataclasses.asdict(fs.parameters)),
        repr(vars(fs.space)),
    ]
    texts.append(pickle.dumps(fs).decode("latin-1"))
    assert found("\n".join(texts)) == []


def test_a_configuration_s_travel_and_are_not_shown(tmp_path: Path) -> None:
    given = "".join(f"    {key}: '{value}'\n" for key, value in SECRETS.items())
    (tmp_path / "config.yml").write_text(f"storage:\n  s3:\n    bucket: b\n    region: us-east-1\n{given}")
    fs = RegistryFileSystem(config=str(tmp_path / "config.yml"))
    assert fs.parameters.secret_key == SECRETS["secretkey"]
    again = pickle.loads(pickle.dumps(fs))
    assert again.parameters == fs.parameters
    for item in (fs, again):
        texts = [repr(item), repr(item.storage_options), str(item.storage_options), repr(item.parameters)]
        assert found("\n".join(texts)) == []


def test_filesystems_of_other_secrets_are_others(tmp_path: Path) -> None:
    keys: dict[str, RegistryFileSystem] = {}
    for secret in ("one", "two", "one"):
        given = f"bucket: b, region: us-east-1, accesskey: a, secretkey: {secret}"
        (tmp_path / "config.yml").write_text(f"storage: {{s3: {{{given}}}}}")
        fs = RegistryFileSystem(config=str(tmp_path / "config.yml"))
        assert keys.setdefault(secret, fs) is fs
        assert fs.parameters.secret_key == secret
    assert keys["one"] != keys["two"]


# -- parameters ---------------------------------------------------------------------------------------------


def bad_values(secret: str) -> list[Any]:
    class Text(str):
        def __repr__(self) -> str:
            return secret

        __str__ = __repr__

    return [
        *(
            [secret],
            (secret,),
            {secret: secret},
            secret.encode(),
            {secret},
            True,
            1.5e300,
            float("nan"),
            object(),
        ),
        *(
            f"{secret}\r\nX-Evil: 1",
            f"{secret}\n",
            f"{secret}\0",
            f"\x7f{secret}",
            f"{secret}\ud800",
            Text("\r"),
        ),
        int.from_bytes(secret.encode() * 20, "big"),
    ]


@pytest.mark.parametrize("key", SECRETS)
@pytest.mark.parametrize("number", range(len(bad_values(""))))
def test_a_refused_value_is_not_repeated(key: str, number: int) -> None:
    value = bad_values(SECRETS[key])[number]
    options = {"bucket": "b", "region": "us-east-1", **SECRETS, key: value}
    for made in (DriverParameters.from_mapping, lambda o: RegistryFileSystem(**o)):
        with pytest.raises(ParameterError) as caught:
            made(options)
        assert caught.value.key == key
        assert found(shown(caught.value)) == []
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("key", SECRETS)
def test_a_refused_variable_is_not_repeated(key: str) -> None:
    environ = {"REGISTRY_STORAGE": "s3", f"REGISTRY_STORAGE_S3_{key.upper()}": f'"{SECRETS[key]}\\n"'}
    with pytest.raises(ParameterError) as caught:
        DriverParameters.from_config(io.StringIO(""), environ)
    assert found(shown(caught.value)) == []
    assert key.upper() in str(caught.value)


@pytest.mark.parametrize(
    "line",
    [
        "secretkey: '{}",
        "secretkey:{}",
        "secretkey: {}: x",
        "secretkey: [{}]",
        "secretkey: !!python/name:{}",
        "&{}: 1",
        "secretkey={}",
        "secretkey: *{}",
        "- {}",
        "secretkey: {}\n    secretkey: {}",
    ],
)
def test_a_broken_configuration_is_not_repeated(line: str, tmp_path: Path) -> None:
    secret = "sEcReTofthistest"
    given = line.replace("{}", secret)
    (tmp_path / "config.yml").write_text(
        f"storage:\n  s3:\n    bucket: b\n    region: us-east-1\n    {given}\n"
    )
    with pytest.raises(ParameterError) as caught:
        DriverParameters.from_config(tmp_path / "config.yml", {})
    assert secret not in shown(caught.value)


URLS = [
    "regfs://{a}:{s}@bucket/f",
    "regfs://{a}:{s}/x@bucket/f",
    "regfs://{s}@bucket",
    "regfs://:{s}@bucket/f",
    "s3://{a}:{s}@bucket/f",
    "s3://{a}:{s}/x@bucket/f",
    "https://{s}@host/f",
    "simplecache::s3://{a}:{s}@bucket/f",
]


@pytest.mark.parametrize("url", URLS)
def test_keys_in_a_url_are_refused_and_not_repeated(url: str, caplog: pytest.LogCaptureFixture) -> None:
    import fsspec

    caplog.set_level(logging.DEBUG)
    secrets = {"accesskey": "AKIDOFTHISTEST", "secretkey": "sEcReTofthistest"}
    url = url.format(a=secrets["accesskey"], s=secrets["secretkey"])
    options: dict[str, Any] = {"bucket": "bucket", "region": "us-east-1", "accesskey": "a", "secretkey": "b"}
    fs = RegistryFileSystem(**options)
    calls: list[Callable[[], Any]] = [
        lambda: fs.cat(url),
        lambda: fs.ls(url),
        lambda: fs.unstrip_protocol(url),
        lambda: fs.sign(url),
        lambda: fs.pipe({url: b"1"}),
    ]
    if url.startswith("regfs:"):
        calls += [
            lambda: fsspec.open(url, **options),
            lambda: fsspec.open(url),
            lambda: fsspec.core.url_to_fs(url, **options),
        ]
    for call in calls:
        with pytest.raises(ValueError, match="carries no keys") as caught:
            call()
        assert found(shown(caught.value), secrets) == []
    assert found(caplog.text, secrets) == []


@pytest.mark.parametrize("url", [*URLS, "regfs:{a}:{s}@bucket/f", "regfs:/{a}:{s}@bucket/f"])
def test_keys_in_a_url_are_not_repeated_by_the_driver_and_the_command(url: str) -> None:
    secrets = {"accesskey": "AKIDOFTHISTEST", "secretkey": "sEcReTofthistest"}
    url = url.format(a=secrets["accesskey"], s=secrets["secretkey"])
    options: dict[str, Any] = {"bucket": "bucket", "region": "us-east-1", "accesskey": "a", "secretkey": "b"}
    driver = StorageDriver(RegistryFileSystem(**options))
    calls: list[Callable[[], Any]] = [
        lambda: driver.get_content(url),
        lambda: driver.stat(url),
        lambda: driver.move("/a", url),
        lambda: driver.delete(url),
    ]
    for call in calls:
        with pytest.raises(InvalidPathError) as caught:
            call()
        assert found(shown(caught.value), secrets) == []
    given = [text for key, value in options.items() for text in ("-o", f"{key}={value}")]
    verbs: list[tuple[str, ...]] = [("ls", url), ("stat", url), ("cat", url), ("du", url), ("rm", url)]
    verbs += [("cp", url, "regfs:///t"), ("mv", url, "regfs:///t"), ("cp", __file__, url)]
    for verb in verbs:
        result = CliRunner().invoke(cli, [verb[0], *given, *verb[1:]], prog_name="regfs")
        assert result.exit_code != 0
        assert found(result.output, secrets) == []


@pytest.mark.parametrize("key", ["regionendpoint", "redirectendpoint", "bucket"])
@pytest.mark.parametrize(
    "value", ["https://me:{}@host", "me:{}@host", "https://host/?X-Amz-Signature={}", "http://me:{}"]
)
def test_secrets_in_other_parameters_are_refused_and_not_repeated(key: str, value: str) -> None:
    secret = "sEcReTofthistest"
    options: dict[str, Any] = {"bucket": "b", "region": "us-east-1", key: value.format(secret)}
    with pytest.raises(ParameterError) as caught:
        RegistryFileSystem(**options)
    assert secret not in shown(caught.value)


# -- what is committed --------------------------------------------------------------------------------------


NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))
LIKE_A_SECRET = re.compile(
    r"(?i)\bAKIA[0-9A-Z]{16}\b|\b[0-9A-F]{20}\b(?![0-9A-F])|X-Amz-(?:Signature|Security-Token|Credential)"
    r"|(?:secret|access)_?key['\"]?\s*[:=]\s*['\"][^'\"]{4,}|[A-Za-z0-9_-]{40}(?![A-Za-z0-9_-])"
)
DIGESTS = re.compile(r"\b[0-9a-f]{64}\b|\b[0-9a-f]{32}\b")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_hold_none(path: Path) -> None:
    """Neither code nor outputs: no key as the embedded server makes them, no path of a machine."""
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        texts = ["".join(cell["source"])]
        for output in cell.get("outputs", ()):
            texts.append("".join(output.get("text", "")))
            texts += [
                "".join(v) for form, v in output.get("data", {}).items() if not form.startswith("image/")
            ]
        for text in texts:
            assert not LIKE_A_SECRET.search(DIGESTS.sub("", text))
            assert not re.search(r"/(?:home|root|tmp|work|Users|var/folders)/", text)


def test_the_search_for_secrets_in_notebooks_finds_the_embedded_server_s() -> None:
    import secrets

    for key in (secrets.token_hex(10).upper(), secrets.token_urlsafe(30)):  # as regfs.local makes them
        assert LIKE_A_SECRET.search(DIGESTS.sub("", f"options = {{'x': '{key}'}}"))
