"""Whole files: get_content and put_content."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import TYPE_CHECKING, Any

import pytest

from regfs import (
    PathNotFoundError,
    RegistryFileSystem,
    StorageDriver,
)

if TYPE_CHECKING:
    from support.proxy import CountingProxy
    from support.servers import Place

from support.drivers import CHUNK, DENIED, SIZES, content_of


class TestContent:
    @pytest.mark.parametrize("size", SIZES)
    def test_round_trip(self, driver: StorageDriver, raw: Place, size: int) -> None:
        content = content_of(size)
        driver.put_content("/some/file", content)
        assert raw.get("some/file") == content
        assert driver.get_content("/some/file") == content
        assert raw.uploads() == []

    def test_any_bytes(self, driver: StorageDriver) -> None:
        for content in (bytes(range(256)), b"\r\n\0\n", b"0\r\n\r\n", b"\xff\xfe", "ü€😀".encode()):
            driver.put_content("/file", content)
            assert driver.get_content("/file") == content
            assert driver.stat("/file").size == len(content)

    def test_put_replaces_completely(self, driver: StorageDriver, raw: Place) -> None:
        for size in (71, CHUNK + 1, 3, 0):
            driver.put_content("/file", content_of(size))
            assert raw.get("file") == content_of(size)

    @pytest.mark.parametrize("name", ["...", "a..b", "-", "_", ".a", "A", "0", "sha256-_.x"])
    def test_every_allowed_name(self, driver: StorageDriver, raw: Place, name: str) -> None:
        driver.put_content(f"/{name}/{name}", b"x")
        assert raw.keys() == [f"{name}/{name}"]
        assert driver.get_content(f"/{name}/{name}") == b"x"

    def test_what_others_stored_is_read(self, driver: StorageDriver, raw: Place) -> None:
        raw.put("a/b", b"by hand")
        assert driver.get_content("/a/b") == b"by hand"

    @pytest.mark.parametrize(
        "path", ["/missing", "/dir", "/dir/missing", "/dir/file/under", "/di", "/dir/fil"]
    )
    def test_missing(self, driver: StorageDriver, raw: Place, path: str) -> None:
        raw.put("dir/file", b"x")
        with pytest.raises(PathNotFoundError) as caught:
            driver.get_content(path)
        assert str(caught.value) == f"s3aws: path not found: {path!r}"
        assert caught.value.path == path

    def test_a_failed_put_leaves_the_old_content(
        self, counted: StorageDriver, proxy: CountingProxy, raw: Place
    ) -> None:
        raw.put("file", b"old")
        for size, failing in ((3, ""), (2 * CHUNK, "2")):
            proxy.fault = lambda request, failing=failing: (
                DENIED if request.method == "PUT" and request.query.get("partNumber", "") == failing else None
            )
            with pytest.raises(PermissionError, match="/file"):
                counted.put_content("/file", content_of(size))
            assert raw.get("file") == b"old"
            assert raw.uploads() == []


def test_an_answer_that_breaks_off_names_its_cause(options: dict[str, Any]) -> None:
    modified = b"Last-Modified: Mon, 23 Nov 2026 11:00:00 GMT"
    broken = b"\r\n".join([b"HTTP/1.1 200 OK", b"Content-Length: 100", modified, b"", b"abc"])

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                with client:
                    client.recv(65_536)
                    client.sendall(broken)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        endpoint = f"http://127.0.0.1:{listener.getsockname()[1]}"
        driver = StorageDriver(RegistryFileSystem(**{**options, "regionendpoint": endpoint, "maxretries": 0}))
        with pytest.raises(OSError, match="/file") as caught:
            driver.get_content("/file")
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
    assert caught.value.__cause__ is not None
    assert caught.value.__cause__ is not caught.value


# -- readers --------------------------------------------------------------------------------------------
