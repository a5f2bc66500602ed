"""Layers: their archives in every compression, damaged ones, and how they lie over each other."""

from __future__ import annotations

import gzip
import importlib
import io
import posixpath
import tarfile
from collections.abc import Iterable, Mapping
from typing import Any

import pytest
import zstandard
from catalog.archives import DIRECTORY, hardlink, stored, symlink, tar
from hypothesis import given, settings
from hypothesis import strategies as st
from support.memory import MemoryDriver

from regfs.catalog.layers import (
    Entry,
    LayerError,
    Overlay,
    Placement,
    merged,
    permissions,
    read_layer,
    read_members,
)
from regfs.catalog.source import Source
from regfs.layout import Digest

PLAIN = tar(
    ("./etc", DIRECTORY, b""),
    ("./etc/motd", {"mode": 0o4644, "uid": 5, "gid": 7, "mtime": 1_700_000_000}, b"hello"),
    ("etc/link", {"type": tarfile.SYMTYPE, "linkname": "../usr/lib", "mode": 0o777}, b""),
    ("etc/hard", {"type": tarfile.LNKTYPE, "linkname": "etc/motd"}, b""),
    ("/etc/" + "long-" * 60, {}, b"x"),
    ("../../outside", {}, b"y"),
    ("etc/.wh.gone", {}, b""),
)
HALVES = PLAIN[:1024], PLAIN[1024:]
COMPRESSED = {
    "plain": PLAIN,
    "gzip": gzip.compress(PLAIN),
    # As estargz writes it: one gzip stream after the other.
    "gzip in members": b"".join(map(gzip.compress, HALVES)),
    "zstd": zstandard.compress(PLAIN),
    "zstd in frames": b"".join(map(zstandard.compress, HALVES)),
    "zstd behind a skippable frame": b"\x50\x2a\x4d\x18\x03\x00\x00\x00abc" + zstandard.compress(PLAIN),
}


@pytest.mark.parametrize("how", COMPRESSED)
def test_entries_are_read_whatever_the_compression(how: str) -> None:
    entries = list(read_layer(*stored(COMPRESSED[how]), 3))
    assert [entry.path for entry in entries] == [
        "/etc",
        "/etc/motd",
        "/etc/link",
        "/etc/hard",
        "/etc/" + "long-" * 60,
        "/outside",
        "/etc/.wh.gone",
    ]
    motd = entries[1]
    assert (motd.kind, motd.size, motd.mode, motd.owner, motd.layer) == ("file", 5, "-rwSr--r--", "5:7", 3)
    assert motd.modified.isoformat() == "2023-11-14T22:13:20+00:00"
    assert [(entry.kind, entry.target) for entry in entries[2:4]] == [
        ("symlink", "../usr/lib"),
        ("hardlink", "/etc/motd"),
    ]
    assert [entry.state for entry in entries] == [""] * 6 + ["whiteout"]


def test_a_layer_without_files() -> None:
    """Docker's own empty layer: a tar file of nothing but its end."""
    assert list(read_layer(*stored(gzip.compress(bytes(1024))))) == []


BIG = tar(*((f"file{number}", {}, bytes([number]) * 5000) for number in range(200)))
SQUEEZED = gzip.compress(BIG)
DAMAGED = {
    "empty": b"",
    "no archive": b"nothing of the kind, " * 100,
    "gzip of no archive": gzip.compress(b"nothing of the kind, " * 100),
    "cut gzip": SQUEEZED[:-2000],
    "a changed byte in gzip": SQUEEZED[:900] + b"\xff\xff\xff" + SQUEEZED[903:],
    "rubbish behind gzip": SQUEEZED + b"rubbish",
    "cut zstd": zstandard.compress(BIG)[:-200],
    "no zstd": b"\x28\xb5\x2f\xfd" + b"\xff" * 200,
    "cut tar": BIG[: len(BIG) // 2 + 100],
}


@pytest.mark.parametrize("how", DAMAGED)
def test_a_damaged_layer_is_an_error_that_names_the_digest(how: str) -> None:
    source, digest = stored(DAMAGED[how], Digest.of(BIG if "cut" in how or "byte" in how else b"?"))
    with pytest.raises(LayerError, match=str(digest)):
        list(read_layer(source, digest))


def test_content_of_another_digest_is_damage_though_it_can_be_read() -> None:
    """tarfile ends quietly at a header that it cannot read."""
    tenth = 10 * (512 + 5120)
    content = BIG[:tenth] + b"\xff" * 512 + BIG[tenth + 512 :]
    source, digest = stored(content, Digest.of(BIG))
    entries = []
    with pytest.raises(LayerError, match="another digest"):
        for entry in read_layer(source, digest):
            entries.append(entry)  # noqa: PERF402 - what came before the error counts
    assert len(entries) == 10


def test_a_missing_layer() -> None:
    with pytest.raises(LayerError, match="is missing"):
        list(read_layer(Source(MemoryDriver()), Digest.of(b"")))


def test_zstd_that_cannot_be_read_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        raise ModuleNotFoundError(name=name)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(LayerError, match="pip install zstandard"):
        list(read_layer(*stored(COMPRESSED["zstd"])))


def test_contents_come_with_their_entries() -> None:
    contents = {}
    for member in read_members(*stored(COMPRESSED["gzip"])):
        if member.entry.kind == "file":
            contents[member.entry.path] = member.open().read()
    assert contents == {
        "/etc/motd": b"hello",
        "/etc/" + "long-" * 60: b"x",
        "/outside": b"y",
        "/etc/.wh.gone": b"",
    }


def test_a_content_that_ends_too_early_is_damage() -> None:
    source, digest = stored(DAMAGED["cut tar"], Digest.of(BIG))
    with pytest.raises(LayerError, match=str(digest)):
        for member in read_members(source, digest):
            member.open().read()


@pytest.mark.parametrize("mode", [0o644, 0o4755, 0o2711, 0o1777, 0o7000, 0o7777, 0])
def test_permissions_are_what_the_archive_had(mode: int) -> None:
    (read,) = read_layer(*stored(tar(("a", {"mode": mode}, b""))))
    assert permissions(read) == mode


class Slow(io.RawIOBase):
    """A file that tells how much of it was read."""

    def __init__(self, content: bytes) -> None:
        super().__init__()
        self.content, self.at = content, 0

    def read(self, size: int = -1) -> bytes:
        assert size >= 0, "the whole layer at once"
        data = self.content[self.at : self.at + size]
        self.at += len(data)
        return data


def test_a_layer_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first entry comes long before the last byte."""
    content = tar(*((f"file{number}", {}, b"x" * 2**20) for number in range(64)))
    file = Slow(content)
    source = Source(MemoryDriver())
    monkeypatch.setattr(source, "open", lambda path: file)
    entries = read_layer(source, Digest.of(content))
    next(entries)
    assert file.at < 4 * 2**20
    assert sum(1 for _ in entries) == 63
    assert file.at == len(content)


# -- laid over each other --------------------------------------------------------------------------------


def entry(path: str, layer: int, kind: str = "file") -> Entry:
    name = posixpath.basename(path)
    (read,) = read_layer(*stored(tar((path, DIRECTORY if kind == "directory" else {}, b""))), layer)
    assert read.state == ("whiteout" if name.startswith(".wh.") else "")
    return read


def laid(*layers: Mapping[str, str], every: bool = False) -> list[Entry]:
    return merged(
        [
            iter([entry(path, number, kind) for path, kind in layer.items()])
            for number, layer in enumerate(layers, 1)
        ],
        every=every,
    )


def files(*paths: str) -> dict[str, str]:
    return {path.rstrip("/"): "directory" if path.endswith("/") else "file" for path in paths}


def shown(found: Iterable[Entry]) -> list[tuple[str, int]]:
    return [(item.path, item.layer) for item in found]


def test_the_uppermost_layer_counts() -> None:
    assert shown(laid(files("a", "b"), files("b", "c"))) == [("/a", 1), ("/b", 2), ("/c", 2)]


def test_a_whiteout_removes_what_is_below_and_not_beside_it() -> None:
    lower = files("d/", "d/a", "d/a/x", "d/ab")
    assert shown(laid(lower, files("d/.wh.a", "d/a/y"))) == [("/d", 1), ("/d/a/y", 2), ("/d/ab", 1)]


def test_an_opaque_directory_loses_all_that_was_in_it() -> None:
    lower = files("d/", "d/a", "d/e/", "d/e/f", "other")
    upper = files("d/", "d/.wh..wh..opq", "d/new")
    assert shown(laid(lower, upper)) == [("/d", 2), ("/d/new", 2), ("/other", 1)]


def test_a_file_in_a_directorys_place_and_back_again() -> None:
    """What the file in the middle removed does not come back with the directory above it."""
    layers = files("d/", "d/old"), files("d"), files("d/", "d/new")
    assert shown(laid(*layers)) == [("/d", 3), ("/d/new", 3)]


def test_every_entry_and_why_it_is_not_there() -> None:
    found = laid(files("a", "b"), files(".wh.a", "b"), every=True)
    assert [(item.path, item.layer, item.state) for item in found] == [
        ("/.wh.a", 2, "whiteout"),
        ("/a", 1, "overridden"),
        ("/b", 2, ""),
        ("/b", 1, "overridden"),
    ]


def test_of_a_path_that_an_archive_has_twice_the_last_counts() -> None:
    twice = [entry("a", 1, "directory"), entry("a", 1)]
    assert [item.kind for item in merged([iter(twice)])] == ["file"]
    assert [item.state for item in merged([iter(twice)], every=True)] == ["overridden", ""]


def laid_tars(*layers: bytes) -> Overlay:
    overlay = Overlay()
    for number, content in reversed(list(enumerate(layers, 1))):
        overlay.add(map(Placement().place, read_layer(*stored(content), number)))
    return overlay


@pytest.mark.parametrize(
    ("link", "where"),
    [
        ("usr/lib", "/usr/lib/x"),
        ("/usr/lib", "/usr/lib/x"),
        ("../../usr/lib", "/usr/lib/x"),
        (".", "/x"),
        ("lib", "/lib/x"),
    ],
)
def test_an_entry_lies_behind_the_link_that_its_layer_made_before(link: str, where: str) -> None:
    """As in an archive that is unpacked, and never outside; a link to itself is replaced."""
    found = laid_tars(tar(("lib", symlink(link), b""), ("lib/x", {}, b"x"))).visible
    assert set(found) == {where} | ({"/lib"} if link != "lib" else set())


def test_a_link_that_comes_later_takes_the_place_of_the_directory() -> None:
    found = laid_tars(tar(("lib/x", {}, b"x"), ("lib", symlink("usr/lib"), b"")))
    assert set(found.visible) == {"/lib"}
    assert [(item.path, item.state) for item in found.hidden] == [("/lib/x", "overridden")]


def test_a_directory_takes_the_place_of_a_link_of_a_lower_layer() -> None:
    """As overlayfs has it, which unpacks each layer by itself."""
    lower = tar(("lib", symlink("usr/lib"), b""), ("usr/lib/y", {}, b"y"))
    assert set(laid_tars(lower, tar(("lib/x", {}, b"x"))).visible) == {"/lib/x", "/usr/lib/y"}


def test_a_file_in_a_file_takes_its_place() -> None:
    found = laid_tars(tar(("a", {}, b"a"), ("a/b", {}, b"b")))
    assert set(found.visible) == {"/a/b"}
    assert "/a" in found.directories
    assert set(laid_tars(tar(("a/b", {}, b"b"), ("a", {}, b"a"))).visible) == {"/a"}


@pytest.mark.parametrize("attributes", [{}, symlink("/etc"), hardlink("etc/x")])
def test_the_root_stays_a_directory(attributes: dict[str, Any]) -> None:
    found = laid_tars(tar(("etc/x", {}, b"x")), tar(("./", attributes, b""), ("y", {}, b"y")))
    assert set(found.visible) == {"/etc/x", "/y"}


def test_a_hard_link_has_the_content_that_its_target_had() -> None:
    first = tar(("a", {}, b"first"), ("b", hardlink("a"), b""), ("c", hardlink("b"), b""), ("e", {}, b"e"))
    second = tar(("d", hardlink("e"), b""), ("f", hardlink("gone"), b""))
    third = tar(("a", {}, b"third"), (".wh.e", {}, b""))
    found = laid_tars(first, second, third)
    contents = {path: found.content(entry) for path, entry in found.visible.items()}
    assert {path: (one.path, one.layer) for path, one in contents.items() if one} == {
        "/a": ("/a", 3),
        "/b": ("/a", 1),
        "/c": ("/a", 1),
        "/d": ("/e", 1),
    }
    assert contents["/f"] is None


def test_a_hard_link_of_an_upper_layer_does_not_see_what_is_removed_between() -> None:
    layers = tar(("a", {}, b"a")), tar((".wh.a", {}, b"")), tar(("b", hardlink("a"), b""))
    found = laid_tars(*layers)
    assert found.content(found.visible["/b"]) is None


def unpacked(layers: list[dict[str, str]]) -> dict[str, int]:
    """Unpack layers one on the other, as a container runtime does: the naive way, upwards."""
    there: dict[str, tuple[str, int]] = {}

    def remove(path: str, *, itself: bool = True) -> None:
        for known in list(there):
            if (itself and known == path) or known.startswith(path.rstrip("/") + "/"):
                del there[known]

    for number, layer in enumerate(layers, 1):
        for path in layer:
            parent, name = posixpath.split(path)
            if name == ".wh..wh..opq":
                remove(parent, itself=False)
            elif name.startswith(".wh."):
                remove(posixpath.join(parent, name[4:]))
        for path, kind in layer.items():
            if posixpath.basename(path).startswith(".wh."):
                parent = posixpath.dirname(path)
            else:
                if kind == "file":
                    remove(path)
                there[path] = kind, number
                parent = posixpath.dirname(path)
            while parent != "/":
                if there.get(parent, ("directory", 0))[0] == "file":
                    del there[parent]
                parent = posixpath.dirname(parent)
    return {path: number for path, (_, number) in there.items()}


@st.composite
def _layer(draw: st.DrawFn) -> dict[str, str]:
    """A layer in which nothing lies in a file."""
    names = draw(
        st.lists(
            st.lists(st.sampled_from(["a", "b", ".wh.a", ".wh.b", ".wh..wh..opq"]), min_size=1, max_size=3),
            max_size=6,
        )
    )
    layer: dict[str, str] = {}
    for parts in names:
        # Whiteouts have no children.
        parts = [*(part.removeprefix(".wh.").replace(".wh..opq", "a") for part in parts[:-1]), parts[-1]]
        path = "/" + "/".join(parts)
        kind = "file" if parts[-1].startswith(".wh.") else draw(st.sampled_from(["file", "directory"]))
        inside = any(layer.get("/" + "/".join(parts[:at])) == "file" for at in range(1, len(parts)))
        if inside or (kind == "file" and any(known.startswith(path + "/") for known in layer)):
            continue
        layer[path] = kind
    return layer


ENTRIES = {
    (path, kind): entry(path, 1, kind)
    for path, kind in [("x", "file"), ("x", "directory"), (".wh.x", "file")]
}


def quick(path: str, kind: str, layer: int) -> Entry:
    state = "whiteout" if posixpath.basename(path).startswith(".wh.") else ""
    like = ENTRIES[".wh.x" if state else "x", kind]
    return Entry(path, like.kind, 0, like.mode, like.owner, like.modified, "", layer, like.state)


@settings(deadline=None, max_examples=400)
@given(st.lists(_layer(), max_size=4))
def test_the_merged_view_is_what_unpacking_gives(layers: list[dict[str, str]]) -> None:
    streams = [
        iter([quick(path, kind, number) for path, kind in layer.items()])
        for number, layer in enumerate(layers, 1)
    ]
    assert {item.path: item.layer for item in merged(streams)} == unpacked(layers)
