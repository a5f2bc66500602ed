"""Sizes by directory, and what later layers delete or overwrite."""

from __future__ import annotations

import pytest
from catalog.archives import DIRECTORY, hardlink, rootfs_of, symlink, tar

LOWER = tar(
    ("a", DIRECTORY, b""),
    ("a/one", {}, b"1" * 100),
    ("a/b/two", {}, b"2" * 1000),
    ("a/b/again", hardlink("a/b/two"), b""),
    ("empty", DIRECTORY, b""),
    ("c/gone", {}, b"g" * 30),
    ("c/kept", {}, b"k" * 7),
    ("link", symlink("a"), b""),
)
UPPER = tar(
    ("a/one", {}, b"!" * 50),
    ("a/b/.wh.two", {}, b""),  # its content stays, under the other name
    ("c/.wh.gone", {}, b""),
    ("c/kept", {}, b"K" * 7),
)


def test_sizes_by_directory() -> None:
    rootfs = rootfs_of(LOWER, UPPER)
    sizes = {size.path: (size.size, size.files) for size in rootfs.directory_sizes()}
    assert sizes == {
        "/": (1057, 3),
        "/a": (1050, 2),
        "/a/b": (1000, 1),
        "/c": (7, 1),
        "/empty": (0, 0),
    }
    assert list(sizes) == sorted(sizes)
    assert [size.path for size in rootfs.directory_sizes(0)] == ["/"]
    assert [size.path for size in rootfs.directory_sizes(1)] == ["/", "/a", "/c", "/empty"]


def test_a_content_with_two_names_counts_once_and_both_are_files() -> None:
    root = rootfs_of(LOWER).directory_sizes(0)[0]
    assert (root.size, root.files) == (1137, 5)


def test_what_is_wasted() -> None:
    waste = rootfs_of(LOWER, UPPER).waste()
    assert [(path.path, path.wasted_bytes, path.layers, path.reason) for path in waste.paths] == [
        ("/a/one", 100, (1,), "overwritten"),
        ("/c/gone", 30, (1,), "deleted"),
        ("/c/kept", 7, (1,), "overwritten"),
    ]
    assert (waste.layer_bytes, waste.image_bytes, waste.wasted_bytes) == (1194, 1057, 137)
    assert waste.efficiency == pytest.approx(1057 / 1194)


def test_copies_of_several_layers_add_up() -> None:
    layers = [tar(("x", {}, bytes(size))) for size in (10, 20, 40)]
    (path,) = rootfs_of(*layers, tar((".wh.x", {}, b""))).waste().paths
    assert (path.path, path.wasted_bytes, path.layers, path.reason) == ("/x", 70, (1, 2, 3), "deleted")
    twice = tar(("x", {}, bytes(5)), ("x", {}, bytes(6)))
    waste = rootfs_of(twice).waste()
    assert [(item.wasted_bytes, item.layers, item.reason) for item in waste.paths] == [
        (5, (1,), "overwritten")
    ]


def test_an_image_without_files_wastes_nothing() -> None:
    waste = rootfs_of(tar(("a", DIRECTORY, b""))).waste()
    assert (waste.paths, waste.efficiency, waste.layer_bytes) == ((), 1.0, 0)
