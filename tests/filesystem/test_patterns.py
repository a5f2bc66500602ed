"""What a name with magic characters means, and how much of a bucket a pattern has to be looked for in."""

from __future__ import annotations

import glob
import re

import pytest
from fsspec.utils import glob_translate
from hypothesis import given
from hypothesis import strategies as st

from regfs.filesystem.patterns import Pattern

COMPONENTS = st.text("ab*?[]!-{}", min_size=1, max_size=5).filter(lambda text: "**" not in text)
PATHS = st.lists(COMPONENTS, min_size=1, max_size=3).map(lambda parts: "/" + "/".join(parts))
PATTERNS = st.lists(COMPONENTS | st.just("**"), min_size=1, max_size=3).map(
    lambda parts: "/" + "/".join(parts)
)


@pytest.mark.parametrize(
    ("text", "root", "prefix", "depth"),
    [
        ("/a*", "/", "a", 1),
        ("/d/a*", "/d", "a", 1),
        ("/d/a*/b", "/d", "a", 2),
        ("/d/**", "/d", "", None),
        ("/d/*/**/x", "/d", "", None),
        ("/d[[]1]/a*", "/d[1]", "a", 1),
        ("/d[[]1]/e[*]/f[?]g?", "/d[1]/e*", "f?g", 1),
        ("/d[1]/a", "/", "d", 2),
        ("/[!a]", "/", "", 1),
    ],
)
def test_where_its_matches_lie(text: str, root: str, prefix: str, depth: int | None) -> None:
    pattern = Pattern(text)
    assert (pattern.root, pattern.prefix, pattern.depth()) == (root, prefix, depth)
    assert pattern.name is None


@pytest.mark.parametrize(
    ("text", "maxdepth", "depth"),
    [("/d/*", 3, 1), ("/d/**", 1, 1), ("/d/**", 3, 3), ("/d/*/**", 2, 3), ("/d/**/x", 2, 2)],
)
def test_how_deep_they_lie(text: str, maxdepth: int, depth: int) -> None:
    assert Pattern(text).depth(maxdepth) == depth


@given(PATHS)
def test_an_escaped_name_is_that_name(path: str) -> None:
    assert Pattern(glob.escape(path)).name == path
    info = {"type": "file"}
    assert Pattern(glob.escape(path)).matching({path: info, path + "a": info}) == {path: info}


@given(PATTERNS, st.sets(PATHS, max_size=10))
def test_all_that_matches_lies_there(text: str, paths: set[str]) -> None:
    pattern = Pattern(text)
    entries = {path: {"type": "file"} for path in {*paths, text, text.replace("*", "b").replace("?", "a")}}
    matches = pattern.matching(entries)
    assert list(matches) == sorted(filter(re.compile(glob_translate(text)).match, entries))
    if pattern.name is not None:
        assert set(matches) <= {pattern.name}
        return
    base = pattern.root.rstrip("/") + "/"
    depth = pattern.depth()
    for path in matches:
        assert path.startswith(base + pattern.prefix) or path == pattern.root
        assert depth is None or path[len(base) :].count("/") < depth


@given(PATHS)
def test_a_name_lies_among_its_own_matches(path: str) -> None:
    # That is where it is looked for if it is a directory, and nothing in it is escaped.
    pattern = Pattern(path)
    if pattern.name is None and not pattern.escaped:
        assert path.startswith(pattern.root.rstrip("/") + "/" + pattern.prefix)
