"""Progress of long transfers: fsspec's callbacks hear true totals."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from fsspec.callbacks import Callback

from regfs import RegistryFileSystem

if TYPE_CHECKING:
    from pathlib import Path

    from support.proxy import CountingProxy, Request
    from support.servers import Place

SIZES = {"a/1": 100, "a/2": 3 * 2**20 + 7, "a/b/3": 0}


class Noting(Callback):  # type: ignore[misc]  # fsspec ships no types
    """Notes the total and the value of the whole and of each file."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.files: dict[str, Noting] = {}

    def branched(self, path_1: str, path_2: str, **kwargs: Any) -> Noting:
        return self.files.setdefault(str(path_1), Noting())


@pytest.fixture
def fs(options: dict[str, Any]) -> RegistryFileSystem:
    return RegistryFileSystem(**options)


@pytest.fixture
def tree(raw: Place) -> None:
    for name, size in SIZES.items():
        raw.put(name, b"x" * size)


@pytest.mark.usefixtures("tree")
def test_get(fs: RegistryFileSystem, tmp_path: Path) -> None:
    noting = Noting()
    fs.get("/a", str(tmp_path / "a"), recursive=True, callback=noting)
    assert noting.size == noting.value > 0
    heard = {name: (one.size, one.value) for name, one in noting.files.items() if one.size is not None}
    assert heard == {f"/{name}": (size, size) for name, size in SIZES.items()}


def test_put(fs: RegistryFileSystem, raw: Place, tmp_path: Path) -> None:
    for name, size in SIZES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x" * size)
    noting = Noting()
    fs.put(str(tmp_path / "a"), "/a", recursive=True, callback=noting)
    assert noting.size == noting.value > 0
    heard = {name: (one.size, one.value) for name, one in noting.files.items() if one.size is not None}
    assert heard == {str(tmp_path / name): (size, size) for name, size in SIZES.items()}
    assert raw.keys() == sorted(SIZES)


@pytest.mark.usefixtures("tree")
def test_copy(fs: RegistryFileSystem, raw: Place) -> None:
    noting = Noting()
    fs.copy("/a", "/copy", recursive=True, callback=noting)
    assert noting.size == noting.value >= len(SIZES)
    assert [key for key in raw.keys() if key.startswith("copy/")] == ["copy/1", "copy/2", "copy/b/3"]


@pytest.mark.usefixtures("tree")
def test_one_file(fs: RegistryFileSystem, tmp_path: Path) -> None:
    noting = Noting()
    fs.get_file("/a/2", str(tmp_path / "2"), callback=noting)
    assert noting.size == noting.value == SIZES["a/2"]
    noting = Noting()
    fs.put_file(str(tmp_path / "2"), "/again", callback=noting)
    assert noting.size == noting.value == SIZES["a/2"]


@pytest.mark.usefixtures("tree")
@pytest.mark.parametrize(("on_error", "recursive"), [("raise", False), ("raise", True), (None, False)])
def test_a_copy_of_what_is_missing(fs: RegistryFileSystem, on_error: str | None, recursive: bool) -> None:
    with pytest.raises(FileNotFoundError):
        fs.copy(["/a/1", "/missing"], ["/copy/1", "/copy/2"], recursive=recursive, on_error=on_error)


@pytest.mark.parametrize("server", ["seaweedfs"], indirect=True)
def test_an_upload_counts_what_is_stored(
    proxied_options: dict[str, Any], proxy: CountingProxy, tmp_path: Path
) -> None:
    size = 15 * 2**20 + 1
    (tmp_path / "large").write_bytes(bytes(size))
    noting = Noting()
    counted: list[tuple[int, int]] = []
    lock = threading.Lock()
    sent = 0

    def watch(request: Request) -> None:
        """Let the parts through one after the other, in whatever order they come."""
        nonlocal sent
        with lock:
            deadline = time.monotonic() + 20
            while noting.value < sent and time.monotonic() < deadline:
                time.sleep(0.01)
            counted.append((noting.value, sent))
            if request.method == "PUT":
                sent += int(request.headers["content-length"])

    proxy.fault = watch
    fs = RegistryFileSystem(**proxied_options, chunksize=5 * 2**20)
    fs.put_file(str(tmp_path / "large"), "/large", callback=noting)
    assert len(counted) == 6, "it is begun, has four parts, and is completed"
    assert all(value == before for value, before in counted), counted
    assert noting.value == noting.size == sent == size
