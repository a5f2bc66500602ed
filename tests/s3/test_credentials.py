"""Where credentials come from and that they change: both lanes, on local fakes of AWS' own endpoints."""

from __future__ import annotations

import json
import logging
import pickle
import threading
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from regfs import RegistryFileSystem

if TYPE_CHECKING:
    from support.proxy import CountingProxy, Request

# moto takes any credentials, so that the requests tell which ones they carry.
pytestmark = pytest.mark.parametrize("server", ["moto"], indirect=True)

TOKEN = "a-token-that-nobody-may-see/+="


class Authority:
    """Gives credentials away: a container's endpoint, an instance's, and STS, all at one port.

    Attributes
    ----------
    number : int
        Which credentials are in force: "AK1" with "secret-of-AK1", and so on.
    lifetime : float
        Seconds that it says they will last.
    asked : list of str
        What it was asked for.
    """

    def __init__(self) -> None:
        self.number = 1
        self.lifetime = 3600.0
        self.asked: list[str] = []
        authority = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *args: object) -> None:
                pass

            def answer(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                body = authority.answer(f"{self.command} {self.path}").encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_PUT = do_POST = answer  # noqa: N815 - the names of http.server

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    def answer(self, asked: str) -> str:
        self.asked.append(asked)
        until = (datetime.now(timezone.utc) + timedelta(seconds=self.lifetime)).strftime("%Y-%m-%dT%H:%M:%SZ")
        access = f"AK{self.number}"
        match asked.split("?")[0]:
            case "PUT /latest/api/token":
                return "a-session"
            case "GET /latest/meta-data/iam/security-credentials/":
                return "a-role"
            case "POST /":
                return (
                    '<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">'
                    "<AssumeRoleWithWebIdentityResult><Credentials>"
                    f"<AccessKeyId>{access}</AccessKeyId><SecretAccessKey>secret-of-{access}</SecretAccessKey>"
                    f"<SessionToken>{TOKEN}</SessionToken><Expiration>{until}</Expiration></Credentials>"
                    "</AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"
                )
        told = {"AccessKeyId": access, "SecretAccessKey": f"secret-of-{access}", "Token": TOKEN}
        return json.dumps({**told, "Code": "Success", "Expiration": until})

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def authority() -> Iterator[Authority]:
    authority = Authority()
    yield authority
    authority.close()


Turn = Callable[[int], None]


@pytest.fixture(params=["environment", "profile", "web identity", "container", "instance"])
def turn(
    request: pytest.FixtureRequest, authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Turn:
    """Set up one source; the function makes other credentials the ones in force."""

    def change(number: int) -> None:
        authority.number = number
        access, secret = f"AK{number}", f"secret-of-AK{number}"
        if request.param == "environment":
            monkeypatch.setenv("AWS_ACCESS_KEY_ID", access)
            monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", secret)
            monkeypatch.setenv("AWS_SESSION_TOKEN", TOKEN)
        elif request.param == "profile":
            (tmp_path / "credentials").write_text(
                f"[ours]\naws_access_key_id={access}\naws_secret_access_key={secret}\n"
                f"aws_session_token={TOKEN}\n"
            )

    if request.param == "profile":
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
        monkeypatch.setenv("AWS_PROFILE", "ours")
    elif request.param == "web identity":
        (tmp_path / "token").write_text("who I am")
        monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "token"))
        monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/reader")
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", authority.url)
    elif request.param == "container":
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{authority.url}/credentials")
    elif request.param == "instance":
        monkeypatch.delenv("AWS_EC2_METADATA_DISABLED")
        monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", authority.url)
    change(1)
    return change


@pytest.fixture
def chained(proxied_options: dict[str, Any]) -> dict[str, Any]:
    """The options without keys."""
    return {k: v for k, v in proxied_options.items() if k not in ("accesskey", "secretkey")}


def key_of(request: Request) -> str:
    """Return the access key that a request was signed with."""
    assert request.headers["x-amz-security-token"] == TOKEN
    return request.headers["authorization"].partition("Credential=")[2].partition("/")[0]


def use(fs: RegistryFileSystem) -> None:
    """Send requests by the fast lane and by botocore."""
    fs.pipe_file("/a", b"a")
    fs.cp_file("/a", "/b")
    assert fs.cat_file("/b") == b"a"


def test_every_source_serves_both_lanes(chained: dict[str, Any], proxy: CountingProxy, turn: Turn) -> None:
    use(RegistryFileSystem(**chained))
    assert {key_of(request) for request in proxy.requests} == {"AK1"}
    agents = {"aiobotocore" in request.headers["user-agent"].lower() for request in proxy.requests}
    assert agents == {False, True}


def test_what_has_expired_is_asked_for_again(
    chained: dict[str, Any], proxy: CountingProxy, turn: Turn
) -> None:
    """Whatever botocore keeps: the service says that it has expired, so the source is asked anew."""
    fs = RegistryFileSystem(**chained)
    use(fs)
    turn(2)
    told = b"<Error><Code>ExpiredToken</Code><Message>no more</Message></Error>"
    head = b"HTTP/1.1 403 Forbidden\r\nContent-Type: application/xml\r\nContent-Length: %d\r\n\r\n"
    proxy.fault = lambda request: head % len(told) + told if key_of(request) == "AK1" else None
    for _ in range(2):
        with proxy.counting() as seen:
            use(fs)
        keys = [key_of(request) for request in seen]
        assert keys[-1] == "AK2"
    assert set(keys) == {"AK2"}


# botocore goes on with what an instance gave beyond its time, as the endpoint may be down.
@pytest.mark.parametrize("turn", ["web identity", "container"], indirect=True)
def test_what_expires_soon_is_renewed_before(
    chained: dict[str, Any], proxy: CountingProxy, turn: Turn, authority: Authority
) -> None:
    authority.lifetime = 60  # botocore renews what has less than ten minutes left
    fs = RegistryFileSystem(**chained)
    use(fs)
    turn(2)
    with proxy.counting() as seen:
        use(fs)
    assert {key_of(request) for request in seen} == {"AK2"}


def test_nothing_of_it_is_pickled_shown_or_logged(
    chained: dict[str, Any], proxy: CountingProxy, turn: Turn, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, "regfs"):
        fs = RegistryFileSystem(**chained, loglevel="debug")
        use(fs)
        with pytest.raises(FileNotFoundError) as caught:
            fs.cat_file("/missing")
    shown = [str(fs), fs.to_json(), *map(repr, (fs, fs.storage_options, fs.parameters, caught.value))]
    for text in (*shown, caplog.text, pickle.dumps(fs).decode("latin-1")):
        assert TOKEN not in text
        assert "secret-of" not in text
    copy = pickle.loads(pickle.dumps(fs))
    turn(2)
    copy.clear_instance_cache()
    use(copy)


def test_a_source_that_fails_is_a_permission_error(chained: dict[str, Any], proxy: CountingProxy) -> None:
    fs = RegistryFileSystem(**chained)
    with pytest.raises(PermissionError, match="no credentials found"):
        fs.ls("/")
    assert proxy.requests == []
