"""Directories: stat, list, walk, move and delete."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone

import pytest

from regfs import FileInfo, PathNotFoundError, SkipDir, StopWalk
from regfs.testing.base import Driver, SuiteBase, content_of, eventually

SIBLINGS = ("a", "a-b", "a.b", "a0", "a_b", "ab", "A")
"""Names around "/", which "-" and "." sort before and digits and letters behind."""
TREE = ("file", "a-b/x", "a.b/x", "a/1", "a/10", "a/1-0/y", "a/b/c/d", "a/b/z", "a0/x", "ab", "z")
WALKED = (
    *("/a", "/a/1", "/a/1-0", "/a/1-0/y", "/a/10", "/a/b", "/a/b/c", "/a/b/c/d", "/a/b/z", "/a-b"),
    *("/a-b/x", "/a.b", "/a.b/x", "/a0", "/a0/x", "/ab", "/file", "/z"),
)


class TreeTests(SuiteBase):
    """``stat``, ``list``, ``walk``, ``move`` and ``delete``."""

    # -- stat and list --------------------------------------------------------------------------------

    def test_the_root_always_exists(self, driver: Driver) -> None:
        assert isinstance(driver.list("/"), list)
        assert driver.stat("/") == FileInfo("/", 0, None, True)
        driver.walk("/", lambda info: None)

    def test_stat_a_file(self, driver: Driver, root: str) -> None:
        for size in (0, 4096):
            driver.put_content(f"{root}/dir/file", content_of(size))
            info = driver.stat(f"{root}/dir/file")
            assert (info.path, info.size, info.is_dir) == (f"{root}/dir/file", size, False)
            assert info.mod_time is not None
            assert info.mod_time.utcoffset() == timedelta(0)
            # Services have whole seconds, and clocks differ a little.
            assert abs(info.mod_time - datetime.now(timezone.utc)) < timedelta(minutes=5)

    def test_stat_tells_of_a_later_put(self, driver: Driver, root: str) -> None:
        driver.put_content(f"{root}/file", b"1")
        first = driver.stat(f"{root}/file").mod_time

        def is_later() -> bool:
            driver.put_content(f"{root}/file", b"22")
            now = driver.stat(f"{root}/file").mod_time
            assert now is not None
            assert first is not None
            return now > first

        assert eventually(is_later, 3)

    def test_stat_a_directory(self, driver: Driver, root: str) -> None:
        driver.put_content(f"{root}/dir/deep/file", b"content")
        for path in (root, f"{root}/dir", f"{root}/dir/deep"):
            assert driver.stat(path) == FileInfo(path, 0, None, True)

    @pytest.mark.parametrize("name", SIBLINGS)
    def test_a_sibling_is_another_one(self, driver: Driver, root: str, name: str) -> None:
        others = [other for other in SIBLINGS if other != name]
        for other in others:
            driver.put_content(f"{root}/{other}/file", b"content")
        with pytest.raises(PathNotFoundError):
            driver.stat(f"{root}/{name}")
        with pytest.raises(PathNotFoundError):
            driver.list(f"{root}/{name}")
        with pytest.raises(PathNotFoundError):
            driver.delete(f"{root}/{name}")
        assert sorted(driver.list(root)) == sorted(f"{root}/{other}" for other in others)

    def test_list_children_alone(self, driver: Driver, root: str) -> None:
        for key in TREE:
            driver.put_content(f"{root}/{key}", b"content")
        assert root in driver.list("/")
        children = {f"{root}/{key.split('/')[0]}" for key in TREE}
        assert sorted(driver.list(root)) == sorted(children)
        assert sorted(driver.list(f"{root}/a")) == [f"{root}/a/{name}" for name in ("1", "1-0", "10", "b")]
        assert driver.list(f"{root}/a/b/c") == [f"{root}/a/b/c/d"]

    def test_list_a_file(self, driver: Driver, root: str) -> None:
        driver.put_content(f"{root}/file", b"content")
        with pytest.raises(PathNotFoundError):
            driver.list(f"{root}/file")
        with pytest.raises(PathNotFoundError):
            driver.list(f"{root}/file/below")

    def test_list_what_was_deleted(self, driver: Driver, root: str) -> None:
        driver.put_content(f"{root}/dir/file", b"content")
        driver.put_content(f"{root}/file", b"content")
        driver.delete(f"{root}/dir")
        assert eventually(lambda: driver.list(root) == [f"{root}/file"], self.patience)
        driver.put_content(f"{root}/dir/file", b"content")
        assert sorted(driver.list(root)) == [f"{root}/dir", f"{root}/file"]

    def test_a_directory_of_many(self, driver: Driver, root: str) -> None:
        paths = sorted(f"{root}/dir/{number}" for number in range(self.many))
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda path: driver.put_content(path, b""), paths))
        driver.put_content(f"{root}/dir-not/0", b"")
        assert sorted(driver.list(f"{root}/dir")) == paths
        seen: list[str] = []
        driver.walk(f"{root}/dir", lambda info: seen.append(info.path))
        assert sorted(seen) == paths
        driver.delete(f"{root}/dir")
        with pytest.raises(PathNotFoundError):
            driver.stat(f"{root}/dir")
        assert driver.get_content(f"{root}/dir-not/0") == b""

    # -- walk -----------------------------------------------------------------------------------------

    @pytest.fixture
    def tree(self, driver: Driver, root: str) -> str:
        """Write some files and directories."""
        for key in TREE:
            driver.put_content(f"{root}/{key}", key.encode())
        return root

    def walked(
        self,
        driver: Driver,
        path: str,
        act: Callable[[FileInfo], object] = lambda info: None,
        start_after: str | None = None,
    ) -> list[str]:
        """Walk and give the paths seen, below the test's directory."""
        seen: list[str] = []

        def look(info: FileInfo) -> None:
            seen.append("/" + info.path.partition("/suite-")[2].partition("/")[2])
            act(info)

        driver.walk(path, look, start_after)
        return seen

    def test_walk_everything_once(self, driver: Driver, tree: str) -> None:
        seen = self.walked(driver, tree)
        assert sorted(seen) == sorted(WALKED)
        for index, path in enumerate(seen):
            assert path.rpartition("/")[0] in ("", *seen[:index]), f"{path} came before its parent"
        assert sorted(self.walked(driver, f"{tree}/a/b")) == ["/a/b/c", "/a/b/c/d", "/a/b/z"]

    def test_walk_tells_what_stat_tells(self, driver: Driver, tree: str) -> None:
        seen: list[FileInfo] = []
        driver.walk(tree, seen.append)
        assert seen == [driver.stat(info.path) for info in seen]

    @pytest.mark.parametrize("skipped", ["/a", "/a/b", "/a/b/c", "/a0"])
    def test_walk_and_skip(self, driver: Driver, tree: str, skipped: str) -> None:
        def act(info: FileInfo) -> None:
            if info.path == tree + skipped:
                raise SkipDir

        seen = self.walked(driver, tree, act)
        assert sorted(seen) == sorted(path for path in WALKED if not path.startswith(skipped + "/"))

    def test_walk_and_stop(self, driver: Driver, tree: str) -> None:
        everything = self.walked(driver, tree)
        for count in range(1, len(everything) + 1):
            left = iter(range(count - 1))

            def act(info: FileInfo, left: Iterator[int] = left) -> None:
                if next(left, None) is None:
                    raise StopWalk

            assert self.walked(driver, tree, act) == everything[:count]

    def test_walk_on_from_every_path(self, driver: Driver, tree: str) -> None:
        everything = self.walked(driver, tree)
        for index, path in enumerate(everything):
            assert self.walked(driver, tree, start_after=tree + path) == everything[index + 1 :]

    def test_walk_and_raise(self, driver: Driver, tree: str) -> None:
        error = FileNotFoundError("the function's own")

        def act(info: FileInfo) -> None:
            raise error

        with pytest.raises(FileNotFoundError) as caught:
            driver.walk(tree, act)
        assert caught.value is error

    # -- move and delete ------------------------------------------------------------------------------

    def test_move(self, driver: Driver, root: str) -> None:
        for size in (0, 71, self.large):
            driver.put_content(f"{root}/from", content_of(size))
            driver.move(f"{root}/from", f"{root}/to/there")
            assert driver.get_content(f"{root}/to/there") == content_of(size)
            with pytest.raises(PathNotFoundError):
                driver.get_content(f"{root}/from")

    def test_move_replaces(self, driver: Driver, root: str) -> None:
        driver.put_content(f"{root}/from", b"new")
        driver.put_content(f"{root}/to", content_of(4096))
        driver.move(f"{root}/from", f"{root}/to")
        assert driver.get_content(f"{root}/to") == b"new"
        with pytest.raises(PathNotFoundError):
            driver.stat(f"{root}/from")

    def test_move_what_is_missing(self, driver: Driver, root: str) -> None:
        driver.put_content(f"{root}/to", b"old")
        for source in (f"{root}/from", f"{root}/to/below"):
            with pytest.raises(PathNotFoundError):
                driver.move(source, f"{root}/to")
        assert driver.get_content(f"{root}/to") == b"old"

    def test_move_one_of_two_siblings(self, driver: Driver, root: str) -> None:
        for name in SIBLINGS:
            driver.put_content(f"{root}/{name}", name.encode())
        driver.move(f"{root}/a", f"{root}/moved")
        left = sorted(f"{root}/{name}" for name in (*SIBLINGS[1:], "moved"))
        assert sorted(driver.list(root)) == left

    @pytest.mark.parametrize("name", SIBLINGS)
    def test_delete_a_directory_and_no_sibling(self, driver: Driver, root: str, name: str) -> None:
        for other in SIBLINGS:
            driver.put_content(f"{root}/{other}/deep/file", b"content")
        driver.delete(f"{root}/{name}")
        with pytest.raises(PathNotFoundError):
            driver.get_content(f"{root}/{name}/deep/file")
        with pytest.raises(PathNotFoundError):
            driver.stat(f"{root}/{name}")
        for other in set(SIBLINGS) - {name}:
            assert driver.get_content(f"{root}/{other}/deep/file") == b"content"

    @pytest.mark.parametrize("name", SIBLINGS)
    def test_delete_a_file_and_no_sibling(self, driver: Driver, root: str, name: str) -> None:
        for other in SIBLINGS:
            driver.put_content(f"{root}/{other}", b"content")
        driver.delete(f"{root}/{name}")
        assert sorted(driver.list(root)) == sorted(f"{root}/{other}" for other in SIBLINGS if other != name)

    def test_delete_twice(self, driver: Driver, root: str) -> None:
        driver.put_content(f"{root}/dir/file", b"content")
        driver.delete(f"{root}/dir/file")
        for path in (f"{root}/dir/file", f"{root}/dir"):
            with pytest.raises(PathNotFoundError):
                driver.delete(path)
