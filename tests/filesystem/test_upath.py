"""universal_pathlib: paths of a registry's bucket, found by their URL alone."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

import pytest
from upath import UPath

from regfs.filesystem.upath import RegistryPath

if TYPE_CHECKING:
    from support.servers import Place


@pytest.fixture
def top(options: dict[str, Any], raw: Place) -> UPath:
    for key in ("a/1.txt", "a/b/2.txt", "a/b/3.csv", "z"):
        raw.put(key, key.encode())
    path: UPath = UPath(f"regfs://{raw.bucket}/", **options)
    return path


def names(paths: Any) -> list[str]:
    return sorted(path.path for path in paths)


def test_the_class_is_found_by_the_url(top: UPath) -> None:
    assert type(top) is RegistryPath


@pytest.mark.parametrize("url", ["regfs://{bucket}/a/b", "regfs:///a/b"])
@pytest.mark.parametrize("named", [True, False])
def test_the_text_is_the_full_url(options: dict[str, Any], raw: Place, url: str, named: bool) -> None:
    if not named and "{bucket}" not in url:
        return  # nobody names the bucket
    given = options if named else {k: v for k, v in options.items() if k != "bucket"}
    path = UPath(url.format(bucket=raw.bucket), **given)
    full = f"regfs://{raw.bucket}/a/b"
    assert str(path) == path.as_uri() == full
    assert str(path / "c") == f"{full}/c"
    assert str(path.parent) == f"regfs://{raw.bucket}/a"
    assert path.path == "/a/b"
    (path / "c").write_bytes(b"content")
    assert raw.get("a/b/c") == b"content"


def test_a_bucket_that_contradicts_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="bucket"):
        UPath("regfs://another/a", **options).exists()


def test_looking(top: UPath) -> None:
    assert names(top.iterdir()) == ["/a", "/z"]
    assert names((top / "a").iterdir()) == ["/a/1.txt", "/a/b"]
    assert names((top / "a").glob("*.txt")) == ["/a/1.txt"]
    assert names(top.rglob("*.txt")) == ["/a/1.txt", "/a/b/2.txt"]
    assert names(top.glob("a/**/*.csv")) == ["/a/b/3.csv"]
    assert (top / "a").is_dir()
    assert not (top / "a").is_file()
    assert (top / "z").is_file()
    assert not (top / "missing").exists()
    assert (top / "a/b/2.txt").stat().st_size == 9
    with pytest.raises(FileNotFoundError):
        (top / "missing").stat()


def test_reading_and_writing(top: UPath, raw: Place) -> None:
    path = top / "new" / "file.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("ä\n", encoding="utf-8")
    assert path.read_text(encoding="utf-8") == "ä\n"
    assert raw.get("new/file.txt") == "ä\n".encode()
    with path.open("wb") as file:
        file.write(b"1\n2\n")
    with path.open() as text:
        assert list(text) == ["1\n", "2\n"]
    (top / "empty").touch()
    assert raw.get("empty") == b""
    with pytest.raises(FileNotFoundError):
        (top / "missing").read_bytes()


def test_changing(top: UPath, raw: Place) -> None:
    moved = (top / "z").rename(top / "y")
    assert moved.read_bytes() == b"z"
    assert "z" not in raw.keys()
    moved.unlink()
    assert "y" not in raw.keys()
    with pytest.raises(FileNotFoundError):
        (top / "missing").unlink()


def test_names(top: UPath) -> None:
    path = top / "a" / "b" / "2.txt"
    assert (path.name, path.stem, path.suffix) == ("2.txt", "2", ".txt")
    assert path.with_suffix(".csv").path == "/a/b/2.csv"
    assert path.with_name("x").path == "/a/b/x"
    assert [parent.path for parent in path.parents] == ["/a/b", "/a", "/"]
    assert path.parts == ("/", "a", "b", "2.txt")
    assert str(path.relative_to(top / "a")) == "b/2.txt"
    assert path.joinpath("c", "d").path == "/a/b/2.txt/c/d"


def test_equal_and_pickled(top: UPath) -> None:
    path = top / "a" / "1.txt"
    again = pickle.loads(pickle.dumps(path))
    assert again == path == top / "a/1.txt"
    assert hash(again) == hash(path)
    assert again.read_bytes() == b"a/1.txt"
    assert path != top / "z"
