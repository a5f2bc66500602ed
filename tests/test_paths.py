"""Driver path ⇄ key: nothing leaves the root directory, and both rules hold for every text there is."""

from __future__ import annotations

import errno
import string

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from regfs.errors import InvalidPathError
from regfs.paths import MAX_KEY_BYTES, KeySpace, check_driver_path, split_url

patient = settings(deadline=None)  # a busy machine is no fault
DRIVER_CHARACTERS = set(string.ascii_letters + string.digits + "._-")

# Components of a path: anything but what regfs refuses.
component = st.text(
    st.characters(codec="utf-8", exclude_characters="/\x7f", exclude_categories=["Cc", "Cs"]),
    min_size=1,
    max_size=12,
).filter(lambda text: text not in (".", ".."))
path = st.lists(component, min_size=1, max_size=5).map(lambda parts: "/" + "/".join(parts))
driver_component = st.text(st.sampled_from(sorted(DRIVER_CHARACTERS)), min_size=1, max_size=8)
# Texts that come near a path, so that a rule's edges are met more often than by chance.
near_path = st.lists(
    st.sampled_from(
        ["/", ".", "..", "a", "Z9", "_-", "//", "\n", "\0", "\x7f", " ", "%2e", "ä", "\ud800", "\\"]
    ),
    max_size=8,
).map("".join)
root = st.one_of(
    st.sampled_from(["", "/", "/root", "root/", "/some/base/", "//a//"]),
    path.filter(lambda text: len(text) < 40),
)


class TestKeySpace:
    @pytest.mark.parametrize(
        ("rootdirectory", "given_path", "key"),
        [
            ("", "/a/b", "a/b"),
            ("/", "/a/b", "a/b"),
            ("root", "/a", "root/a"),
            ("/root", "/a", "root/a"),
            ("/base/", "/a", "base/a"),
            ("/some/base//", "/a", "some/base/a"),
            ("", "/year=2024/part.0 ü.parquet", "year=2024/part.0 ü.parquet"),
            ("r", "/...", "r/..."),
            ("r", "/..a/.b/c..", "r/..a/.b/c.."),
        ],
    )
    def test_key_of_a_path_and_back(self, rootdirectory: str, given_path: str, key: str) -> None:
        space = KeySpace("bucket", rootdirectory)
        assert space.key(given_path) == key
        assert space.path(key) == given_path

    @patient
    @given(root, path)
    def test_round_trip(self, rootdirectory: str, given_path: str) -> None:
        space = KeySpace("bucket", rootdirectory)
        key = space.key(given_path)
        assert space.path(key) == given_path
        assert space.addressable(key)

    @patient
    @given(root, path)
    def test_keys_are_those_of_the_registry(self, rootdirectory: str, given_path: str) -> None:
        # Go: strings.TrimLeft(strings.TrimRight(rootDirectory, "/")+path, "/")
        expected = (rootdirectory.rstrip("/") + given_path).lstrip("/")
        assert KeySpace("bucket", rootdirectory).key(given_path) == expected

    @patient
    @given(root, st.one_of(near_path, st.text()).map(lambda text: "/" + text))
    @example("/root", "/../b")
    @example("/root", "/..")
    @example("/root", "/a/../../b")
    def test_no_path_gives_a_key_outside_the_base(self, rootdirectory: str, text: str) -> None:
        space = KeySpace("bucket", rootdirectory)
        try:
            key = space.key(text)
        except InvalidPathError:
            return
        assert key.startswith(space.base)
        assert not {".", ".."} & set(key[len(space.base) :].split("/"))
        assert key.isprintable() or not any(ord(item) < 32 or ord(item) == 127 for item in key)
        assert key.encode().decode() == key

    @pytest.mark.parametrize(
        "bad",
        ["/.", "/..", "/a/.", "/a/..", "/./a", "/../a", "/a/./b", "/a/../b", "/../../a", "/a/../", "//../a"],
    )
    def test_dot_components_are_refused(self, bad: str) -> None:
        with pytest.raises(InvalidPathError, match=r"'\.' or '\.\.' component") as caught:
            KeySpace("bucket", "/root").key(bad)
        assert caught.value.path == bad

    @pytest.mark.parametrize("code", [*range(32), 127])
    def test_control_characters_are_refused(self, code: int) -> None:
        for bad in (f"/a{chr(code)}", f"/{chr(code)}a", f"/a/{chr(code)}/b"):
            with pytest.raises(InvalidPathError, match="control character") as caught:
                KeySpace("bucket", "/root").key(bad)
            assert "\n" not in str(caught.value)

    @pytest.mark.parametrize("bad", ["/\ud800", "/a/\udfff", "/\udc80a"])
    def test_surrogates_are_refused(self, bad: str) -> None:
        with pytest.raises(InvalidPathError, match="UTF-8"):
            KeySpace("bucket").key(bad)

    @pytest.mark.parametrize("letter", ["a", "ä", "€", "😀"])
    @pytest.mark.parametrize("rootdirectory", ["", "/some/root"])
    def test_keys_are_at_most_1024_bytes_of_utf8(self, rootdirectory: str, letter: str) -> None:
        space = KeySpace("bucket", rootdirectory)
        left = MAX_KEY_BYTES - len(space.base)
        most = "/" + letter * (left // len(letter.encode())) + "x" * (left % len(letter.encode()))
        assert len(space.key(most).encode()) == 1024
        with pytest.raises(OSError, match="longer than 1024 bytes") as caught:
            space.key(most + "x")
        assert caught.value.errno == errno.ENAMETOOLONG
        assert caught.value.filename == most + "x"

    @pytest.mark.parametrize(
        ("rootdirectory", "given_path", "prefix"),
        [("", "/", ""), ("/r", "/", "r/"), ("", "/a", "a/"), ("/r", "/a/b", "r/a/b/")],
    )
    def test_prefix_of_a_directory(self, rootdirectory: str, given_path: str, prefix: str) -> None:
        assert KeySpace("bucket", rootdirectory).prefix(given_path) == prefix

    @patient
    @given(root, path, driver_component)
    def test_a_prefix_matches_what_is_under_it_and_no_sibling(
        self, rootdirectory: str, given_path: str, more: str
    ) -> None:
        space = KeySpace("bucket", rootdirectory)
        prefix = space.prefix(given_path)
        assert space.key(f"{given_path}/x{more}").startswith(prefix)
        assert not space.key(given_path).startswith(prefix)
        assert not space.key(given_path + more).startswith(prefix)

    def test_a_prefix_is_checked_like_a_key(self) -> None:
        for bad in ("/..", "/a/../b", "/a\n"):
            with pytest.raises(InvalidPathError):
                KeySpace("bucket", "/root").prefix(bad)

    @pytest.mark.parametrize(
        ("key", "addressable"),
        [
            ("root/a", True),
            ("root/a b/ü", True),
            ("root/a/", False),
            ("root/a//", False),
            ("root/../a", False),
            ("root/a/./b", False),
            ("root/a/..", False),
            ("root/a\nb", False),
            ("root/a\x7f", False),
            ("root/", False),
        ],
    )
    def test_foreign_keys_that_no_path_gives(self, key: str, addressable: bool) -> None:
        assert KeySpace("bucket", "/root").addressable(key) is addressable

    def test_path_of_a_key_has_no_trailing_slash(self) -> None:
        space = KeySpace("bucket", "/root")
        assert space.path("root/a/") == "/a"
        assert space.path("root/") == "/"
        assert space.path("elsewhere/a") == "/"

    @patient
    @given(path)
    def test_url_round_trip(self, given_path: str) -> None:
        # Trailing slashes of the last component's own do not exist: a component holds none.
        assert split_url(KeySpace("bucket", "/root").url(given_path)) == ("bucket", given_path)


@pytest.mark.parametrize(
    ("url", "bucket", "expected"),
    [
        ("regfs://bucket/a/b", "bucket", "/a/b"),
        ("regfs://bucket/a/b/", "bucket", "/a/b"),
        ("regfs://bucket", "bucket", "/"),
        ("regfs://bucket/", "bucket", "/"),
        ("regfs:///a/b", "", "/a/b"),
        ("regfs://", "", "/"),
        ("regfs:///", "", "/"),
        ("regfs::/a", "", "/a"),
        ("/a/b", "", "/a/b"),
        ("/a/b/", "", "/a/b"),
        ("a/b", "", "/a/b"),
        ("/", "", "/"),
        ("", "", "/"),
        ("regfs://bucket/a/../b", "bucket", "/a/../b"),
        ("regfs://bucket/a?b#c%20", "bucket", "/a?b#c%20"),
        ("regfs://my.bucket-1/x://y", "my.bucket-1", "/x://y"),
    ],
)
def test_split_url(url: str, bucket: str, expected: str) -> None:
    assert split_url(url) == (bucket, expected)


@patient
@given(st.text())
def test_split_url_gives_an_absolute_path_without_trailing_slash(text: str) -> None:
    for url in (text, f"regfs://{text}", f"regfs:///{text}"):
        try:
            _, found = split_url(url)
        except InvalidPathError:
            assert {"@", ":"} & set(url.split("/")[2])
            continue
        assert found == "/" or (found.startswith("/") and not found.endswith("/"))


BAD_PATHS = ["", "a", "a/b", "//", "/a/", "//a", "/a//b", "/.", "/..", "/a/.", "/a/..", "/./a", "/a/../b"]
BAD_PATHS += [
    "/a/./b",
    "/a\n",
    "\n/a",
    "/a\x00",
    "/ä",
    "/a b",
    "/a%2e",
    "/a:b",
    "/a+b",
    "/a\\b",
    "/\ud800",
    "/٣",
    "/ａ",
]


def follows_the_rule(text: str) -> bool:
    """The registry's expression without its help: ^(/[A-Za-z0-9._-]+)+$, and no dot components."""
    first, *parts = text.split("/")
    return (
        first == ""
        and bool(parts)
        and all(part and part not in (".", "..") and set(part) <= DRIVER_CHARACTERS for part in parts)
    )


class TestDriverPath:
    @pytest.mark.parametrize(
        "good", ["/a", "/A", "/0", "/_", "/-", "/...", "/a/b/c", "/.a", "/a.", "/..a", "/a..", "/a.b-c_D/9"]
    )
    def test_accepts(self, good: str) -> None:
        assert check_driver_path(good, "s3aws") == good
        assert check_driver_path(good, "s3aws", root=True) == good

    @pytest.mark.parametrize(
        "bad",
        BAD_PATHS,
    )
    def test_rejects(self, bad: str) -> None:
        for root in (False, True):
            with pytest.raises(InvalidPathError) as caught:
                check_driver_path(bad, "s3aws", root=root)
            assert caught.value.path == bad
            assert str(caught.value).startswith("s3aws: invalid path")
            assert "\n" not in str(caught.value)

    @pytest.mark.parametrize("bad", [None, 5, b"/a", ["/a"], object()])
    def test_rejects_what_is_no_text(self, bad: object) -> None:
        with pytest.raises(InvalidPathError, match=r"^s3: invalid path"):
            check_driver_path(bad, "s3", root=True)

    def test_the_root_only_where_it_is_allowed(self) -> None:
        assert check_driver_path("/", "s3aws", root=True) == "/"
        with pytest.raises(InvalidPathError):
            check_driver_path("/", "s3aws")

    @patient
    @given(st.lists(driver_component, min_size=1, max_size=6).map(lambda parts: "/" + "/".join(parts)))
    @example("/.")
    @example("/a/..")
    def test_of_what_the_expression_matches_only_dot_components_are_rejected(self, text: str) -> None:
        if {".", ".."} & set(text.split("/")):
            with pytest.raises(InvalidPathError):
                check_driver_path(text, "s3aws")
        else:
            assert check_driver_path(text, "s3aws") == text

    @patient
    @given(st.one_of(near_path, near_path.map(lambda text: "/" + text), st.text(), path))
    def test_accepts_exactly_the_rule(self, text: str) -> None:
        if follows_the_rule(text):
            assert check_driver_path(text, "s3aws") == text
        else:
            with pytest.raises(InvalidPathError):
                check_driver_path(text, "s3aws")
