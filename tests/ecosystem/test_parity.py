"""regfs and s3fs look at the same objects and tell the same, but for what the README calls a difference.

s3fs is given ``bucket/base/a/b`` where regfs is given ``/a/b``; names in answers are compared without the
former's ``bucket/root``. Of an info dictionary the keys are compared that both have.
"""

from __future__ import annotations

import contextlib
import operator
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
import s3fs
from support.servers import Place, Server, fresh_place

from regfs import RegistryFileSystem

TREE = {
    "a/1": b"1234567890",
    "a/b/2": b"line 1\nline 2\nline 3",
    "a/b/c/3": b"",
    "a-b/4": b"4444",
    "a.b/5": b"5",
    "top.txt": b"top",
    ".hidden": b"hidden",
    "year=2024/part.0.parquet": b"24",
    "year=2025/part.0.parquet": b"25",
    "k k/ünï [1]": b"unusual",
}
FILES = ("/a/1", "/a/b/2", "/a/b/c/3", "/top.txt", "/k k/ünï [1]", "/year=2024/part.0.parquet")
DIRECTORIES = ("/a", "/a/b", "/k k", "/year=2024")
NOTHING = ("/nope", "/a/nope", "/top", "/a/1/below")
COMMON_KEYS = {"name", "size", "type", "ETag", "LastModified", "StorageClass"}
PATTERNS = [
    "/*", "/**", "/a*", "/a/*", "/a/**", "/a/*/", "/*/", "/a/**/", "/a/**/[23]", "/**/[23]", "/*/*",
    "/*/*/*", "/*/?", "/a?b", "/a?b/*", "/year=*/*", "/year=202[45]/*.parquet", "/year=202[!4]/*", "/[a-k]*",
    "/top.*", "/top.txt", "/nope", "/nope*", "/nope/*", "/a/nope*", "/.*", "/**/3", "/**/*", "/{a,top.txt}",
    "/a/b", "/a/b/", "/a/1/*", "/*.txt", "/**/*.parquet", "/*[0-9]*", "/a/b/c/**",
]  # fmt: skip

Call = Callable[[Any, Callable[[str], str]], Any]


@dataclass(frozen=True)
class Pair:
    """One filesystem of each kind, and where each has its tree: the same place unless a test writes."""

    ours: RegistryFileSystem
    theirs: Any
    our_base: str
    their_base: str

    def our_path(self, path: str) -> str:
        """Return a path of the tree as regfs has it."""
        return self.our_base + path if path != "/" else self.our_base or "/"

    def their_path(self, path: str) -> str:
        """Return a path of the tree as s3fs has it."""
        return self.their_base + path if path != "/" else self.their_base

    def observe(self, call: Call) -> tuple[Any, Any]:
        """Return what each of the two answers to ``call(fs, path)``: a value, or the type of an error."""
        return (
            _common(_answer(call, self.ours, self.our_path), self.our_base),
            _common(_answer(call, self.theirs, self.their_path), self.their_base),
        )

    def agree(self, call: Call) -> Any:
        """Assert that both answer the same, and give the answer."""
        ours, theirs = self.observe(call)
        assert ours == theirs
        return ours


def _answer(call: Call, fs: Any, path: Callable[[str], str]) -> Any:
    try:
        return call(fs, path)
    except Exception as exc:
        return type(exc)


def _common(value: Any, base: str) -> Any:
    """Leave out what only one of the two can say."""
    if isinstance(value, str):
        mine = base and (value == base or value.startswith(base + "/"))
        return (value.removeprefix(base) or "/") if mine else value
    if isinstance(value, dict):
        if {"name", "type"} <= set(value):
            return {k: _common(v, base) for k, v in value.items() if k in COMMON_KEYS}
        return {_common(k, base): _common(v, base) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_common(x, base) for x in value)
    return type(value) if isinstance(value, Exception) else value


@pytest.fixture(scope="module")
def theirs(server: Server) -> Any:
    """The whole server through s3fs."""
    return s3fs.S3FileSystem(
        key=server.access_key,
        secret=server.secret_key,
        endpoint_url=server.endpoint,
        client_kwargs={"region_name": server.region},
        config_kwargs={"request_checksum_calculation": "when_required"},
        use_listings_cache=False,
        skip_instance_cache=True,
    )


@pytest.fixture(scope="module")
def pair(server: Server, s3: Any, worker_bucket: str, theirs: Any) -> Iterator[Pair]:
    """The tree, only to be looked at."""
    with fresh_place(server, s3, worker_bucket) as place:
        for key, data in TREE.items():
            place.put(key, data)
        ours = RegistryFileSystem(**place.options, skip_instance_cache=True)
        yield Pair(ours, theirs, "", f"{place.bucket}{place.root}")


@pytest.fixture
def apart(fs: RegistryFileSystem, raw: Place, theirs: Any) -> Pair:
    """Two directories that a test may write to, one for each.

    Not one after the other in the same: s3fs takes what SeaweedFS lists of a deleted directory for one.
    """
    return Pair(fs, theirs, "/ours", f"{raw.bucket}{raw.root}/theirs")


@pytest.fixture
def fs(options: dict[str, Any]) -> RegistryFileSystem:
    """An empty place, for what regfs alone is asked."""
    return RegistryFileSystem(**options)


class TestOnePath:
    def test_info_of_a_file(self, pair: Pair) -> None:
        for path in FILES:
            info = pair.agree(lambda fs, p, path=path: fs.info(p(path)))  # type: ignore[misc]  # a lambda's default has no type
            assert set(info) == COMMON_KEYS
            assert (info["name"], info["size"], info["type"]) == (path, len(TREE[path[1:]]), "file")

    def test_info_of_anything_else(self, pair: Pair) -> None:
        for path in (*DIRECTORIES, *NOTHING, "/a/", "/"):
            answer = pair.agree(lambda fs, p, path=path: fs.info(p(path)))  # type: ignore[misc]  # a lambda's default has no type
            assert answer is FileNotFoundError if path in NOTHING else answer["type"] == "directory"

    @pytest.mark.parametrize("ask", ["exists", "isfile", "isdir", "lexists"])
    def test_what_is_there(self, pair: Pair, ask: str) -> None:
        method = operator.methodcaller
        for path in (*FILES, *DIRECTORIES, *NOTHING, "/"):
            answer = pair.agree(lambda fs, p, path=path: method(ask, p(path))(fs))  # type: ignore[misc]  # a lambda's default has no type
            assert answer == (path in FILES if ask == "isfile" else path not in NOTHING) or ask == "isdir"

    @pytest.mark.parametrize("ask", ["size", "modified"])
    def test_size_and_time(self, pair: Pair, ask: str) -> None:
        for path in (*FILES, *NOTHING):
            pair.agree(lambda fs, p, path=path: getattr(fs, ask)(p(path)))  # type: ignore[misc]  # a lambda's default has no type
        pair.agree(lambda fs, p: fs.sizes([p(path) for path in FILES]))

    @pytest.mark.parametrize("ask", ["ukey", "checksum"])
    def test_ids_of_content_are_stable(self, apart: Pair, ask: str) -> None:
        for fs, path in ((apart.ours, apart.our_path("/x")), (apart.theirs, apart.their_path("/x"))):
            seen = []
            for data in (b"first", b"other"):
                fs.pipe_file(path, data)
                seen.append(getattr(fs, ask)(path))
                assert getattr(fs, ask)(path) == seen[-1]
            assert seen[0] != seen[1]
            assert isinstance(seen[0], str if ask == "ukey" else int)


class TestListings:
    @pytest.mark.parametrize("path", ["/", "/a", "/a/", "/a/b/c", "/top.txt", "/nope", "/top", "/k k"])
    @pytest.mark.parametrize("detail", [True, False])
    def test_ls(self, pair: Pair, path: str, detail: bool) -> None:
        answer = pair.agree(lambda fs, p: fs.ls(p(path), detail=detail))
        assert (answer is FileNotFoundError) == (path in NOTHING)

    @pytest.mark.parametrize("path", ["/", "/a", "/top.txt", "/nope"])
    @pytest.mark.parametrize("maxdepth", [None, 1, 2])
    @pytest.mark.parametrize("withdirs", [True, False])
    def test_find(self, pair: Pair, path: str, maxdepth: int | None, withdirs: bool) -> None:
        how = {"maxdepth": maxdepth, "withdirs": withdirs}
        found = pair.agree(lambda fs, p: fs.find(p(path), detail=True, **how))
        assert pair.ours.find(path, **how) == list(found)

    @pytest.mark.parametrize("path", ["/", "/a"])
    @pytest.mark.parametrize("withdirs", [True, False])
    @pytest.mark.parametrize("prefix", ["a", "b", "b/", "b/c", "year=2024", "zzz", ""])
    def test_find_by_prefix(self, pair: Pair, path: str, prefix: str, withdirs: bool) -> None:
        pair.agree(lambda fs, p: sorted(fs.find(p(path), prefix=prefix, withdirs=withdirs)))

    @pytest.mark.parametrize("path", ["/", "/a", "/top.txt", "/nope"])
    @pytest.mark.parametrize("how", [{}, {"maxdepth": 2}, {"detail": True}, {"topdown": False}])
    def test_walk(self, pair: Pair, path: str, how: dict[str, Any]) -> None:
        pair.agree(lambda fs, p: list(fs.walk(p(path), **how)))

    def test_walk_of_nothing_raises_where_asked_to(self, pair: Pair) -> None:
        answer = pair.agree(lambda fs, p: list(fs.walk(p("/nope"), on_error="raise")))
        assert answer is FileNotFoundError

    @pytest.mark.parametrize("path", ["/", "/a", "/a/1", "/nope"])
    @pytest.mark.parametrize(
        "how", [{}, {"total": False}, {"maxdepth": 1}, {"withdirs": True, "total": False}]
    )
    def test_du(self, pair: Pair, path: str, how: dict[str, Any]) -> None:
        pair.agree(lambda fs, p: fs.du(p(path), **how))

    @pytest.mark.parametrize("pattern", PATTERNS)
    def test_glob(self, pair: Pair, pattern: str) -> None:
        found = pair.agree(lambda fs, p: fs.glob(p(pattern), detail=True))
        assert pair.ours.glob(pattern) == list(found)

    @pytest.mark.parametrize("pattern", ["/a**", "/**.txt"])
    def test_two_stars_stand_alone(self, pair: Pair, pattern: str) -> None:
        assert pair.agree(lambda fs, p: fs.glob(p(pattern))) is ValueError

    @pytest.mark.parametrize("pattern", ["/k k/*", "/k k/ünï [[]1]", "/k k/ünï [1]"])
    def test_glob_of_unusual_names(self, pair: Pair, pattern: str) -> None:
        pair.agree(lambda fs, p: fs.glob(p(pattern)))

    @pytest.mark.parametrize("pattern", ["/**", "/a/**", "/**/*.parquet"])
    @pytest.mark.parametrize("maxdepth", [1, 2])
    def test_glob_to_a_depth(self, pair: Pair, pattern: str, maxdepth: int) -> None:
        pair.agree(lambda fs, p: fs.glob(p(pattern), maxdepth=maxdepth))

    @pytest.mark.parametrize("path", ["/", "/a", "/a/1", "/a/*", "/a/**", "/*.txt", "/nope", "/nope*"])
    @pytest.mark.parametrize("how", [{}, {"recursive": True}, {"recursive": True, "maxdepth": 1}])
    def test_expand_path(self, pair: Pair, path: str, how: dict[str, Any]) -> None:
        pair.agree(lambda fs, p: fs.expand_path(p(path), **how))
        pair.agree(lambda fs, p: fs.expand_path([p(path), p("/top.txt")], **how))


@pytest.mark.parametrize("server", ["seaweedfs"], indirect=True)
class TestReading:
    @pytest.mark.parametrize("path", ["/a/1", "/a/b/c/3", "/nope"])
    @pytest.mark.parametrize(
        ("start", "end"),
        [(None, None), (0, 3), (2, None), (-3, None), (None, 4), (-4, -1), (5, 2), (3, 3), (0, 99)],
    )
    def test_cat_file(self, pair: Pair, path: str, start: int | None, end: int | None) -> None:
        ours, theirs = pair.observe(lambda fs, p: fs.cat_file(p(path), start=start, end=end))
        wanted = TREE[path[1:]][start:end] if path != "/nope" else FileNotFoundError
        assert ours == wanted
        assert theirs == wanted or (theirs is OSError and not wanted)  # s3fs passes a refusal on

    @pytest.mark.parametrize("on_error", ["raise", "omit", "return"])
    @pytest.mark.parametrize(
        "paths", [["/a/1"], ["/a/1", "/top.txt"], ["/a/1", "/nope"], ["/nope"], []], ids=repr
    )
    def test_cat_of_many(self, pair: Pair, paths: list[str], on_error: str) -> None:
        pair.agree(lambda fs, p: fs.cat([p(path) for path in paths], on_error=on_error))

    @pytest.mark.parametrize("on_error", ["raise", "omit", "return"])
    @pytest.mark.parametrize("path", ["/a/1", "/nope", "/*.txt", "/year=*/*", "/nope*"])
    def test_cat_of_one_or_of_a_pattern(self, pair: Pair, path: str, on_error: str) -> None:
        pair.agree(lambda fs, p: fs.cat(p(path), on_error=on_error))

    def test_cat_of_one_file_recursively(self, pair: Pair) -> None:
        assert pair.agree(lambda fs, p: fs.cat(p("/a/1"), recursive=True)) == TREE["a/1"]

    @pytest.mark.parametrize("on_error", ["raise", "return"])
    def test_cat_ranges(self, pair: Pair, on_error: str) -> None:
        paths = ["/a/1", "/a/1", "/a/b/2", "/nope", "/top.txt", "/a/1"]
        starts, ends = [0, 2, -3, 0, None, 5], [2, 5, None, 5, None, 99]
        answer = pair.agree(lambda fs, p: fs.cat_ranges(list(map(p, paths)), starts, ends, on_error=on_error))
        if on_error == "raise":
            assert answer is FileNotFoundError
        else:
            assert answer == [b"12", b"345", b"e 3", FileNotFoundError, b"top", b"67890"]

    @pytest.mark.parametrize(("starts", "ends"), [(0, 3), (None, None), ([0], [1]), (2, [3, 9])])
    def test_cat_ranges_with_one_bound_for_all(self, pair: Pair, starts: Any, ends: Any) -> None:
        pair.agree(lambda fs, p: fs.cat_ranges([p("/a/1"), p("/a/b/2")], starts, ends))

    def test_cat_ranges_of_one_text(self, pair: Pair) -> None:
        assert pair.agree(lambda fs, p: fs.cat_ranges(p("/a/1"), [0], [1])) is TypeError

    @pytest.mark.parametrize("path", ["/a/b/2", "/a/b/c/3", "/nope"])
    @pytest.mark.parametrize(
        ("offset", "length", "delimiter"),
        [(0, 10, None), (0, 10, b"\n"), (7, 5, b"\n"), (3, None, None), (0, None, b"\n"), (100, 5, None)],
    )
    def test_read_block(
        self, pair: Pair, path: str, offset: int, length: int | None, delimiter: bytes | None
    ) -> None:
        pair.agree(lambda fs, p: fs.read_block(p(path), offset, length, delimiter))

    @pytest.mark.parametrize("ask", ["head", "tail"])
    @pytest.mark.parametrize("path", ["/a/1", "/a/b/c/3", "/nope"])
    def test_head_and_tail(self, pair: Pair, path: str, ask: str) -> None:
        for size in (0, 1, 5, 10, 100):
            pair.agree(lambda fs, p, size=size: getattr(fs, ask)(p(path), size))  # type: ignore[misc]  # a lambda's default has no type

    @pytest.mark.parametrize("path", ["/top.txt", "/a/b/c/3", "/nope"])
    def test_texts_and_files(self, pair: Pair, path: str, tmp_path: Path) -> None:
        pair.agree(lambda fs, p: fs.read_text(p(path)))
        pair.agree(lambda fs, p: fs.read_bytes(p(path)))
        for mode in ("rb", "r"):
            with contextlib.ExitStack() as stack:
                pair.agree(
                    lambda fs, p, mode=mode, stack=stack: stack.enter_context(fs.open(p(path), mode)).read()  # type: ignore[misc]  # a lambda's default has no type
                )
        pair.agree(lambda fs, p: fs.get_file(p(path), str(tmp_path / "x")))


@pytest.mark.parametrize("server", ["seaweedfs"], indirect=True)
class TestChanging:
    """Each of the two changes a tree of its own; then both trees hold the same."""

    CHANGES: ClassVar[dict[str, Callable[..., object]]] = {
        "pipe": lambda fs, p, _: fs.pipe({p("/new/x"): b"x", p("/new/y"): b"y"}),
        "copy a tree": lambda fs, p, _: fs.cp(p("/a"), p("/copy"), recursive=True),
        "copy a file into a directory": lambda fs, p, _: fs.cp(p("/a/1"), p("/copy/")),
        "copy a pattern": lambda fs, p, _: fs.cp(p("/a/*"), p("/copy/")),
        "copy nothing": lambda fs, p, _: fs.cp(p("/nope"), p("/copy")),
        "move a file": lambda fs, p, _: fs.mv(p("/a/1"), p("/moved")),
        "move nothing": lambda fs, p, _: fs.mv(p("/nope"), p("/moved")),
        "remove a tree": lambda fs, p, _: fs.rm(p("/a"), recursive=True),
        "remove trees by pattern": lambda fs, p, _: fs.rm(p("/a*"), recursive=True),
        "remove files by pattern": lambda fs, p, _: fs.rm(p("/year=*/*")),
        "remove a list": lambda fs, p, _: fs.rm([p("/top.txt"), p("/a/1")]),
        "remove no tree": lambda fs, p, _: fs.rm(p("/nope"), recursive=True),
        "remove a file": lambda fs, p, _: fs.rm_file(p("/top.txt")),
        "touch": lambda fs, p, _: fs.touch(p("/new")),
        "truncate": lambda fs, p, _: fs.touch(p("/top.txt"), truncate=True),
        "make a directory": lambda fs, p, _: fs.mkdir(p("/new")),
        "make an existing directory": lambda fs, p, _: fs.makedirs(p("/a"), exist_ok=True),
        "upload a tree": lambda fs, p, local: fs.put(str(local), p("/put"), recursive=True),
        "upload into a directory": lambda fs, p, local: fs.put(str(local / "one"), p("/put/")),
        "upload nothing": lambda fs, p, local: fs.put_file(str(local / "nope"), p("/put")),
        "download nothing": lambda fs, p, local: fs.get(p("/nope"), str(local / "got")),
    }

    @pytest.mark.parametrize("name", CHANGES)
    def test_leaves_the_same(self, apart: Pair, tmp_path: Path, name: str) -> None:
        for local in ("one", "two/three"):
            (tmp_path / local).parent.mkdir(exist_ok=True)
            (tmp_path / local).write_text(local)
        keys = ("a/1", "a/b/2", "a-b/4", "top.txt", "year=2024/part.0.parquet")
        apart.observe(lambda fs, p: fs.pipe({p("/" + key): TREE[key] for key in keys}))
        ours, theirs = apart.observe(lambda fs, p: self.CHANGES[name](fs, p, tmp_path))
        failures = [answer if isinstance(answer, type) else None for answer in (ours, theirs)]
        assert failures[0] is failures[1]
        apart.agree(lambda fs, p: fs.cat([*fs.find(p("/")), p("/top.txt")], on_error="omit"))


class TestDifferences:
    """Where regfs means to answer otherwise than s3fs; what it answers."""

    def test_ls_gives_details_unless_told_otherwise(self, pair: Pair) -> None:
        ours, theirs = pair.observe(lambda fs, p: fs.ls(p("/a")))
        assert [info["name"] for info in ours] == theirs  # fsspec's default against s3fs' own

    @pytest.mark.parametrize("path", [*DIRECTORIES, "/a/", "/"])
    def test_a_directory_is_never_read_as_an_empty_file(self, pair: Pair, path: str) -> None:
        calls: list[Callable[[], Any]] = [
            lambda: pair.ours.cat_file(path),
            lambda: pair.ours.cat(path),
            lambda: pair.ours.cat_file(path, start=0, end=3),
            lambda: pair.ours.read_bytes(path),
            lambda: pair.ours.open(path),
            lambda: pair.ours.head(path, 3),
            lambda: pair.ours.read_block(path, 0, 3),
        ]
        for call in calls:
            with pytest.raises(IsADirectoryError, match="regfs://"):
                call()
        (returned,) = pair.ours.cat_ranges([path], [0], [1])
        assert isinstance(returned, IsADirectoryError)

    def test_the_root_is_no_match(self, pair: Pair) -> None:
        # As in all of fsspec's filesystems whose root is "/"; s3fs' tree here lies beneath a bucket.
        ours, theirs = pair.observe(lambda fs, p: fs.glob(p("/**/")))
        assert ours == [path for path in theirs if path != "/"]

    def test_created(self, pair: Pair) -> None:
        ours, theirs = pair.observe(lambda fs, p: fs.created(p("/a/1")))
        assert ours == pair.ours.modified("/a/1")
        assert theirs is NotImplementedError

    def test_a_range_behind_the_end_is_empty(self, pair: Pair) -> None:
        # fsspec's own filesystems answer so; s3fs passes on the service's refusal.
        assert pair.ours.cat_ranges(["/a/1"], [50], [60]) == [b""]
        assert pair.ours.cat_file("/a/1", 50, 60) == b""

    def test_a_tree_can_be_moved(self, apart: Pair) -> None:
        apart.observe(lambda fs, p: fs.pipe({p("/a/1"): b"1", p("/a/b/2"): b"2"}))
        ours, _ = apart.observe(lambda fs, p: fs.mv(p("/a"), p("/moved"), recursive=True))
        assert ours is None  # s3fs looks for a file called as the directory
        ours, _ = apart.observe(lambda fs, p: fs.find(p("/")))
        assert ours == ["/moved/1", "/moved/b/2"]

    def test_removing_nothing_is_told(self, fs: RegistryFileSystem) -> None:
        fs.pipe_file("/d/x", b"1")
        for call in (fs.rm, fs.rm_file):
            with pytest.raises(FileNotFoundError):
                call("/nope")
        with pytest.raises(IsADirectoryError):
            fs.rm("/d")
        assert fs.find("/") == ["/d/x"]

    def test_exclusive_creation_is_told_by_one_error(self, fs: RegistryFileSystem) -> None:
        fs.pipe_file("/x", b"1")
        with pytest.raises(FileExistsError):
            fs.pipe_file("/x", b"2", mode="create")
        with pytest.raises(FileExistsError):
            fs.open("/x", "xb")

    def test_touch_keeps_what_is_there(self, fs: RegistryFileSystem) -> None:
        fs.pipe_file("/x", b"1")
        fs.touch("/x", truncate=False)  # s3fs refuses
        assert fs.cat_file("/x") == b"1"

    def test_a_file_and_a_directory_of_one_name(self, fs: RegistryFileSystem, raw: Place) -> None:
        raw.put("twin/x", b"inside")
        raw.put("twin", b"file")
        assert fs.isfile("/twin")
        assert not fs.isdir("/twin")  # s3fs says both
        assert fs.ls("/twin", detail=False) == ["/twin/x"]
        assert [info["type"] for info in fs.ls("/")] == ["file", "directory"]

    def test_directory_markers_are_no_files(self, fs: RegistryFileSystem, raw: Place) -> None:
        for key in ("mark/", "mark/y", "empty/"):
            raw.put(key, b"")
        assert fs.ls("/mark", detail=False) == ["/mark/y"]
        assert fs.ls("/empty") == []
        assert fs.isdir("/empty")
        assert fs.find("/") == ["/mark/y"]

    def test_the_marker_alone_makes_a_directory_everywhere(self, fs: RegistryFileSystem, raw: Place) -> None:
        raw.put("empty/", b"")
        assert fs.info("/empty")["type"] == "directory"
        assert fs.find("/", withdirs=True) == ["/", "/empty"]
        assert fs.find("/empty", withdirs=True) == ["/empty"]
        assert fs.glob("/empty/**") == ["/empty"]
