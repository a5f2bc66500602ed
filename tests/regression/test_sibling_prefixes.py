"""Siblings that share a prefix were lost from listings, survived or stopped deletions, and made stat lie.

"-" and "." sort before "/", digits and letters behind it, so what lies under "a" is not contiguous in a
byte-ordered listing of its siblings.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from regfs import PathNotFoundError, RegistryFileSystem, StorageDriver

if TYPE_CHECKING:
    from support.servers import Place

TAGS = "/docker/registry/v2/repositories/app/_manifests/tags"
REPOSITORIES = "/docker/registry/v2/repositories"


@pytest.fixture
def driver(options: dict[str, Any]) -> StorageDriver:
    return StorageDriver(RegistryFileSystem(**options))


def test_tags_whose_names_begin_alike_are_all_listed(driver: StorageDriver) -> None:
    tags = ["0.1", "0.1.2", "0.1.20", "0.1.2-rc1", "0.1.2.3", "0.1.2_x", "0.10"]
    for tag in tags:
        driver.put_content(f"{TAGS}/{tag}/current/link", b"sha256:0")
    assert driver.list(TAGS) == sorted(f"{TAGS}/{tag}" for tag in tags)


def test_repositories_whose_names_begin_alike_are_all_listed_and_walked(driver: StorageDriver) -> None:
    names = ["team/app", "team/app-extra", "team/app.old", "team/app0", "team/app_", "team/app/sub"]
    for name in names:
        driver.put_content(f"{REPOSITORIES}/{name}/_layers/sha256/0/link", b"sha256:0")
    expected = sorted(f"{REPOSITORIES}/{name}" for name in names if name.count("/") == 1)
    assert driver.list(f"{REPOSITORIES}/team") == expected
    seen: list[str] = []
    driver.walk(f"{REPOSITORIES}/team", lambda info: seen.append(info.path))
    assert [path for path in seen if path.endswith("/link")] == sorted(
        (f"{REPOSITORIES}/{name}/_layers/sha256/0/link" for name in names), key=lambda path: path.split("/")
    )
    assert len(seen) == len(set(seen))


@pytest.mark.parametrize("sibling", ["a-b", "a.b", "a0", "ab", "a_", "aa/a"])
def test_deleting_does_not_stop_at_a_sibling(driver: StorageDriver, raw: Place, sibling: str) -> None:
    for key in (f"{sibling}/x", "a/x", "a/y/z", sibling.partition("/")[0] + "z"):
        raw.put(key, b"")
    driver.delete("/a")
    assert raw.keys() == sorted([f"{sibling}/x", sibling.partition("/")[0] + "z"])


@pytest.mark.parametrize("sibling", ["a-b", "a.b/x", "a0", "ab/x"])
def test_deleting_is_no_success_where_only_siblings_match(
    driver: StorageDriver, raw: Place, sibling: str
) -> None:
    raw.put(sibling, b"")
    with pytest.raises(PathNotFoundError):
        driver.delete("/a")
    assert raw.keys() == [sibling]


@pytest.mark.parametrize("sibling", ["foobar", "foobar/x", "foo-", "foo.x/y", "foo0"])
def test_a_sibling_does_not_make_a_path_exist(driver: StorageDriver, raw: Place, sibling: str) -> None:
    raw.put(sibling, b"x")
    for call in (driver.stat, driver.list, driver.get_content, lambda path: driver.walk(path, print)):
        with pytest.raises(PathNotFoundError):
            call("/foo")
