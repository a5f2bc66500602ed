"""How a driver is made, and the paths that it refuses."""

from __future__ import annotations

import contextlib
import io
import socket
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from regfs import (
    BucketNotFoundError,
    FileInfo,
    InvalidPathError,
    ParameterError,
    PathNotFoundError,
    RegistryFileSystem,
    StorageDriver,
    create,
)

if TYPE_CHECKING:
    from support.proxy import CountingProxy
    from support.servers import Place, Server

from support.drivers import BAD_PATHS, WITH_ROOT, WITHOUT_ROOT, kinds, on_seaweedfs


class TestConstruction:
    def test_from_a_filesystem(self, options: dict[str, Any]) -> None:
        fs = RegistryFileSystem(**options)
        driver = StorageDriver(fs)
        assert driver.fs is fs
        assert driver.name == "s3aws"

    def test_both_faces_show_the_same_bucket(self, driver: StorageDriver) -> None:
        driver.put_content("/a/b", b"content")
        assert driver.fs.cat_file("/a/b") == b"content"
        driver.fs.pipe_file("/a/c", b"other")
        assert driver.get_content("/a/c") == b"other"

    @pytest.mark.parametrize("name", ["s3", "s3aws"])
    def test_create(self, options: dict[str, Any], name: str) -> None:
        driver = create(name, options)
        assert driver.name == name
        with pytest.raises(PathNotFoundError, match=f"^{name}: "):
            driver.get_content("/missing")

    @pytest.mark.parametrize("name", ["", "S3", "gcs", "filesystem", "s3-aws"])
    def test_create_knows_no_other_name(self, name: str) -> None:
        with pytest.raises(ValueError, match="'s3', 's3aws' and 's3_v2'") as caught:
            create(name, {})
        assert repr(name) in str(caught.value)

    def test_from_parameters_makes_one_request(
        self, proxied_options: dict[str, Any], proxy: CountingProxy
    ) -> None:
        assert StorageDriver.from_parameters(proxied_options, "s3").name == "s3"
        assert kinds(proxy.requests) == ["LIST"]

    def test_repr_tells_the_place_and_no_secret(self, options: dict[str, Any]) -> None:
        driver = StorageDriver(RegistryFileSystem(**options), "s3")
        assert options["bucket"] in repr(driver)
        assert "'s3'" in repr(driver)
        assert options["secretkey"] not in repr(driver)

    def test_refuses_a_filesystem_for_coroutines(self, options: dict[str, Any]) -> None:
        fs = RegistryFileSystem(**options, asynchronous=True)
        with pytest.raises(ValueError, match="asynchronous"):
            StorageDriver(fs)


class TestConstructionFails:
    def test_bad_parameters_and_nothing_is_sent(
        self, proxied_options: dict[str, Any], proxy: CountingProxy
    ) -> None:
        for wrong in ({"chunksize": 1}, {"bucket": ""}, {"buket": "x"}, {"v4auth": "perhaps"}):
            with pytest.raises(ParameterError, match=next(iter(wrong))) as caught:
                StorageDriver.from_parameters({**proxied_options, **wrong})
            assert "\n" not in str(caught.value)
            assert proxied_options["secretkey"] not in str(caught.value)
        assert proxy.count() == 0

    def test_missing_bucket(self, options: dict[str, Any]) -> None:
        with pytest.raises(BucketNotFoundError, match="no-such-bucket") as caught:
            StorageDriver.from_parameters({**options, "bucket": "no-such-bucket"})
        assert "\n" not in str(caught.value)
        assert not isinstance(caught.value, PathNotFoundError)

    @on_seaweedfs
    @pytest.mark.parametrize(
        ("wrong", "text"), [("secretkey", "secretkey"), ("accesskey", "does not know this accesskey")]
    )
    def test_wrong_credentials(self, options: dict[str, Any], wrong: str, text: str) -> None:
        with pytest.raises(PermissionError, match=text) as caught:
            StorageDriver.from_parameters({**options, wrong: "wrong-credential"})
        assert "\n" not in str(caught.value)
        assert "wrong-credential" not in str(caught.value)
        assert options["secretkey"] not in str(caught.value)

    @on_seaweedfs
    def test_wrong_credentials_are_never_an_empty_result(self, options: dict[str, Any], raw: Place) -> None:
        raw.put("a/b", b"x")
        denied = StorageDriver(RegistryFileSystem(**{**options, "secretkey": "wrong"}))
        calls: list[Callable[[], object]] = [
            lambda: denied.get_content("/a/b"),
            lambda: denied.put_content("/a/b", b""),
            lambda: denied.reader("/a/b"),
            lambda: denied.stat("/a/b"),
            lambda: denied.list("/"),
            lambda: denied.walk("/", print),
            lambda: denied.move("/a/b", "/c"),
            lambda: denied.delete("/a"),
            lambda: denied.writer("/a/b", append=True),
            lambda: denied.write_stream("/a/b", 1, io.BytesIO(b"y")),
        ]
        for call in calls:
            with pytest.raises(PermissionError):
                call()
        assert raw.get("a/b") == b"x"

    def parameters(self, port: int) -> dict[str, Any]:
        return {
            "accesskey": "a",
            "secretkey": "s",
            "region": "us-east-1",
            "regionendpoint": f"http://127.0.0.1:{port}",
            "bucket": "registry",
            "secure": False,
        }

    def unreachable_within(self, seconds: float, port: int) -> None:
        start = time.monotonic()
        with pytest.raises(ConnectionError, match=f"127.0.0.1:{port}") as caught:
            StorageDriver.from_parameters(self.parameters(port))
        assert time.monotonic() - start < seconds
        assert "regionendpoint" in str(caught.value)
        assert "\n" not in str(caught.value)

    def test_endpoint_that_refuses_connections(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
        self.unreachable_within(30, port)

    def test_endpoint_that_swallows_connections(self) -> None:
        # A full backlog: the system drops further attempts to connect without a word, as a firewall does.
        with contextlib.ExitStack() as stack:
            listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
            for _ in range(8):
                filler = stack.enter_context(socket.socket())
                filler.setblocking(False)
                filler.connect_ex(listener.getsockname())
            self.unreachable_within(30, listener.getsockname()[1])

    def test_a_bucket_that_is_gone_is_no_missing_file(self, server: Server, options: dict[str, Any]) -> None:
        driver = StorageDriver(RegistryFileSystem(**{**options, "bucket": "no-such-bucket"}))
        calls: list[Callable[[], object]] = [
            lambda: driver.get_content("/a"),
            lambda: driver.reader("/a"),
            lambda: driver.stat("/a"),
            lambda: driver.list("/"),
            lambda: driver.walk("/", print),
            lambda: driver.delete("/a"),
            lambda: driver.put_content("/a", b""),
            lambda: driver.write_stream("/a", 0, io.BytesIO(b"")),
        ]
        for call in calls:
            with pytest.raises(BucketNotFoundError):
                call()


# -- paths ----------------------------------------------------------------------------------------------


class TestBadPaths:
    @pytest.mark.parametrize("method", [*WITHOUT_ROOT, *WITH_ROOT])
    def test_are_refused_and_nothing_is_sent(
        self, method: str, counted: StorageDriver, proxy: CountingProxy
    ) -> None:
        call = {**WITHOUT_ROOT, **WITH_ROOT}[method]
        for path in BAD_PATHS if method in WITH_ROOT else [*BAD_PATHS, "/"]:
            with pytest.raises(InvalidPathError) as caught:
                call(counted, path)
            assert str(caught.value).startswith("s3aws: invalid path")
            assert repr(path) in str(caught.value)
            assert len(str(caught.value).splitlines()) == 1
        assert proxy.count() == 0

    def test_a_bad_start_of_a_walk_is_refused(self, counted: StorageDriver, proxy: CountingProxy) -> None:
        with pytest.raises(InvalidPathError):
            counted.walk("/", print, start_after="/a/../b")
        assert proxy.count() == 0

    def test_the_root_is_valid_for_list_stat_and_walk(self, driver: StorageDriver) -> None:
        assert driver.stat("/") == FileInfo("/", 0, None, True)
        assert driver.list("/") == []
        seen: list[FileInfo] = []
        driver.walk("/", seen.append)
        assert seen == []


# -- whole files ----------------------------------------------------------------------------------------
