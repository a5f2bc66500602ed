"""Images written into a directory: what `tar` and whiteouts make of them, and never anything beside it."""

from __future__ import annotations

import errno
import os
import posixpath
import shutil
import stat
import tarfile
import tempfile
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from catalog.archives import DIRECTORY, files, hardlink, read_layers, rootfs_of, symlink, tar
from hypothesis import given, settings
from hypothesis import strategies as st

from regfs.catalog.extraction import ExtractionError
from regfs.catalog.layers import LayerError
from regfs.layout import BlobData

DEVICE: dict[str, Any] = {"type": tarfile.CHRTYPE, "devmajor": 1, "devminor": 3}
FIFO: dict[str, Any] = {"type": tarfile.FIFOTYPE}


def tree(directory: Path) -> dict[str, str | bytes]:
    """Return all files of a directory with their contents; of links and of directories what they are."""
    found: dict[str, str | bytes] = {}
    for place, directories, names in os.walk(directory):
        for name in [*directories, *names]:
            path = Path(place, name)
            relative = str(path.relative_to(directory))
            if path.is_symlink():
                found[relative] = f"-> {os.readlink(path)}"
            elif path.is_dir():
                found[relative] = "directory"
            else:
                found[relative] = path.read_bytes()
    return found


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


# -- what is written -------------------------------------------------------------------------------------

LOWER = tar(
    ("etc", {**DIRECTORY, "mtime": 1_600_000_000}, b""),
    ("etc/motd", {"mode": 0o640, "mtime": 1_700_000_000}, b"hello"),
    ("etc/gone", {}, b"gone"),
    ("bin/su", {"mode": 0o6755}, b"su"),
    ("bin/sudo", hardlink("bin/su"), b""),
    ("bin/secret", {"mode": 0}, b"s"),
    ("lib", symlink("/usr/lib"), b""),
    ("up", symlink("../../x"), b""),
    ("near", symlink("etc/../etc/motd"), b""),
    ("tmp", {**DIRECTORY, "mode": 0o1777}, b""),
    ("closed", {**DIRECTORY, "mode": 0}, b""),
    ("closed/x", {}, b"x"),
    ("dev/null", DEVICE, b""),
    ("pipe", FIFO, b""),
)
UPPER = tar(("etc/.wh.gone", {}, b""), ("bin/su", {"mode": 0o755}, b"new su"))


def test_an_image_is_written(tmp_path: Path) -> None:
    done = rootfs_of(LOWER, UPPER).extract(tmp_path / "out")
    assert tree(tmp_path / "out") == {
        "etc": "directory",
        "etc/motd": b"hello",
        "bin": "directory",
        "bin/su": b"new su",
        "bin/sudo": b"su",
        "bin/secret": b"s",
        "lib": "-> /usr/lib",
        "up": "-> ../../x",
        "near": "-> etc/../etc/motd",
        "tmp": "directory",
        "closed": "directory",
        "closed/x": b"x",
        "dev": "directory",
    }
    assert os.listdir(tmp_path) == ["out"]
    assert (done.files, done.directories, done.links, done.size) == (5, 5, 3, 5 + 6 + 2 + 1 + 1)
    assert done.directory == str(tmp_path / "out")
    assert done.skipped == ("dev/null", "pipe")
    assert done.leaving == ("lib", "up")


def test_modes_and_times_are_kept_and_privileges_are_not(tmp_path: Path) -> None:
    out = tmp_path / "out"
    rootfs_of(LOWER).extract(out)
    modes = {name: oct(mode(out / name)) for name in ("etc/motd", "bin/su", "bin/secret", "tmp", "closed")}
    assert modes == {
        "etc/motd": "0o640",
        "bin/su": "0o755",
        "bin/secret": "0o400",
        "tmp": "0o1777",
        "closed": "0o700",
    }
    assert (out / "etc/motd").stat().st_mtime == 1_700_000_000
    assert (out / "etc").stat().st_mtime == 1_600_000_000
    assert (out / "lib").lstat().st_mtime == 0
    assert (out / "bin/su").samefile(out / "bin/sudo")
    assert (out / "etc").stat().st_uid == os.getuid()


def test_the_mode_of_the_root(tmp_path: Path) -> None:
    rootfs_of(tar(("./", {**DIRECTORY, "mode": 0o711, "mtime": 7}, b""), ("a", {}, b""))).extract(
        tmp_path / "a"
    )
    assert (mode(tmp_path / "a"), (tmp_path / "a").stat().st_mtime) == (0o711, 7)
    mask = os.umask(0o027)
    try:
        rootfs_of(files(a=b"a")).extract(tmp_path / "b")
    finally:
        os.umask(mask)
    assert mode(tmp_path / "b") == 0o750


@pytest.mark.parametrize(
    ("path", "written"),
    [
        ("/etc", {"motd": b"hello"}),
        ("etc/", {"motd": b"hello"}),
        ("/etc/motd", {"motd": b"hello"}),
        ("/near", {"motd": b"hello"}),
        ("/bin/sudo", {"sudo": b"su"}),
        ("/tmp", {}),
    ],
)
def test_a_part_of_an_image(tmp_path: Path, path: str, written: dict[str, bytes]) -> None:
    """The directory becomes what the path is; a file is written into it."""
    rootfs_of(LOWER, UPPER).extract(tmp_path / "out", path)
    assert tree(tmp_path / "out") == written


def test_a_part_behind_a_link(tmp_path: Path) -> None:
    image = tar(("usr/lib/a", {}, b"a"), ("lib", symlink("usr/lib"), b""))
    rootfs_of(image).extract(tmp_path / "out", "/lib")
    assert tree(tmp_path / "out") == {"a": b"a"}


def test_each_layer_is_read_once_unless_a_link_needs_what_is_hidden(tmp_path: Path) -> None:
    plain = rootfs_of(files(a=b"a"), files(b=b"b"))
    plain.extract(tmp_path / "plain")
    assert read_layers(plain) == [2, 1]
    linked = rootfs_of(LOWER, UPPER)
    linked.extract(tmp_path / "linked")
    assert read_layers(linked) == [2, 1, 1]


def test_a_part_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no such file in team/app:v1; did you mean /etc/motd"):
        rootfs_of(LOWER).extract(tmp_path / "out", "/etc/mod")
    assert os.listdir(tmp_path) == []


# -- where it is written ---------------------------------------------------------------------------------


def test_an_empty_directory_is_filled_and_stays_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A shell may be in it, or it may be a mount point."""
    before = tmp_path.stat().st_ino
    monkeypatch.chdir(tmp_path)
    rootfs_of(LOWER, UPPER).extract(".")
    assert tmp_path.stat().st_ino == before
    assert sorted(os.listdir(".")) == ["bin", "closed", "dev", "etc", "lib", "near", "tmp", "up"]


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full/mine").write_text("mine")
    (tmp_path / "file").write_text("file")
    (tmp_path / "link").symlink_to("full")
    for name, text in (("full", "is not empty"), ("link", "is not empty"), ("file", "is not a directory")):
        rootfs = rootfs_of(LOWER)
        with pytest.raises(FileExistsError, match=text):
            rootfs.extract(tmp_path / name)
        assert read_layers(rootfs) == [], "it is refused before anything is read"
    with pytest.raises(FileNotFoundError, match="there is no directory"):
        rootfs_of(LOWER).extract(tmp_path / "a" / "b")
    assert tree(tmp_path) == {"full": "directory", "full/mine": b"mine", "file": b"file", "link": "-> full"}


@pytest.mark.parametrize("there", [False, True])
def test_of_a_damaged_layer_nothing_is_left(tmp_path: Path, there: bool) -> None:
    rootfs = rootfs_of(files(low=b"low" * 10_000), files(top=b"top"))
    digest = rootfs.layers[0].digest
    rootfs.source._driver.put_content(BlobData(digest).path, files(low=b"LOW" * 10_000))
    if there:
        (tmp_path / "out").mkdir()
    with pytest.raises(LayerError, match=f"{digest}: is damaged: the content has another digest"):
        rootfs.extract(tmp_path / "out")
    assert tree(tmp_path) == ({"out": "directory"} if there else {})


@pytest.mark.parametrize("there", [False, True])
@pytest.mark.parametrize("step", ["copyfileobj", "link", "symlink", "utime", "chmod", "rename"])
def test_of_an_interrupted_extraction_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, there: bool
) -> None:
    if there:
        (tmp_path / "out").mkdir()
    module: Any = shutil if step == "copyfileobj" else os
    real, calls = getattr(module, step), []

    def interrupted(*arguments: Any, **options: Any) -> Any:
        calls.append(arguments)
        if len(calls) == (2 if there or step != "rename" else 1):
            raise KeyboardInterrupt
        return real(*arguments, **options)

    monkeypatch.setattr(module, step, interrupted)
    with pytest.raises(KeyboardInterrupt):
        rootfs_of(LOWER, UPPER).extract(tmp_path / "out")
    monkeypatch.undo()
    assert tree(tmp_path) == ({"out": "directory"} if there else {})


def test_a_disk_that_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shutil, "copyfileobj", full)
    with pytest.raises(OSError, match="No space left"):
        rootfs_of(LOWER).extract(tmp_path / "out")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("code", [errno.EPERM, errno.EMLINK, errno.ENOTSUP])
def test_a_file_system_without_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "link", refuse)
    rootfs_of(LOWER, UPPER).extract(tmp_path / "out")
    monkeypatch.undo()
    found = tree(tmp_path / "out")
    assert (found["bin/su"], found["bin/sudo"], found["etc/motd"]) == (b"new su", b"su", b"hello")


def test_large_files_are_not_held_in_memory(tmp_path: Path) -> None:
    rootfs = rootfs_of(tar(("large", {}, bytes(48 * 2**20))))
    tracemalloc.start()
    try:
        rootfs.extract(tmp_path / "out")
        assert tracemalloc.get_traced_memory()[1] < 16 * 2**20
    finally:
        tracemalloc.stop()
    assert (tmp_path / "out/large").stat().st_size == 48 * 2**20


# -- hostile archives ------------------------------------------------------------------------------------

OUTSIDE = "@"
"""Stands for the absolute path of a directory that nothing may be written to."""
HOSTILE: dict[str, list[list[tuple[str, dict[str, Any], bytes]]]] = {
    "dots": [[("../../evil", {}, b"evil"), ("a/../../../evil2", {}, b"evil")]],
    "absolute names": [[("/evil", {}, b"evil"), ("//evil2", {}, b"evil"), (f"{OUTSIDE}/evil3", {}, b"evil")]],
    "through a link": [[("out", symlink(OUTSIDE), b""), ("out/evil", {}, b"evil")]],
    "through a relative link": [[("out", symlink("../outside"), b""), ("out/evil", {}, b"evil")]],
    "through two links": [
        [("b", symlink("../outside"), b""), ("a", symlink("b"), b""), ("a/evil", {}, b"evil")]
    ],
    "through a link with dots": [
        [("a", symlink("."), b""), ("b", symlink("a/../../outside"), b""), ("b/evil", {}, b"evil")]
    ],
    "through a link below": [[("out", symlink(OUTSIDE), b"")], [("out/evil", {}, b"evil")]],
    "a link in a directory's place": [[("out/evil", {}, b"evil")], [("out", symlink(OUTSIDE), b"")]],
    "a directory that is a link": [
        [("out", symlink(OUTSIDE), b""), ("out", DIRECTORY, b""), ("out/evil", {}, b"evil")]
    ],
    "onto a link": [[("s", symlink(f"{OUTSIDE}/secret"), b""), ("s", {}, b"evil")]],
    "onto a link below": [[("s", symlink(f"{OUTSIDE}/secret"), b"")], [("s", {}, b"evil")]],
    "onto a hard link of a link": [
        [("s", symlink(f"{OUTSIDE}/secret"), b""), ("h", hardlink("s"), b""), ("h", {}, b"evil")]
    ],
    "a hard link of a link": [[("s", symlink(f"{OUTSIDE}/secret"), b""), ("h", hardlink("s"), b"")]],
    "a hard link out": [[("h", hardlink(f"{OUTSIDE}/secret"), b""), ("h", {}, b"evil")]],
    "the root is a link": [[("./", symlink(OUTSIDE), b""), ("evil", {}, b"evil")]],
    "the root is a link above": [[("evil", {}, b"evil")], [(".", symlink(OUTSIDE), b"")]],
    "the root is a file": [[("/", {}, b"evil"), ("a", {}, b"a")]],
    "whiteouts with dots": [
        [("a/b", {}, b"b")],
        [("a/.wh...", {}, b""), ("a/.wh..", {}, b""), ("../.wh.outside", {}, b""), (".wh.", {}, b"")],
    ],
    "devices": [
        [("null", DEVICE, b""), ("disk", {**DEVICE, "type": tarfile.BLKTYPE}, b""), ("p", FIFO, b"")]
    ],
    "a hard link of a device": [[("null", DEVICE, b""), ("h", hardlink("null"), b"")]],
    "a loop of links": [[("a", symlink("b"), b""), ("b", symlink("a"), b""), ("a/evil", {}, b"evil")]],
    "bytes that are no UTF-8": [[("evil\udcff", {}, b"evil"), ("link", symlink("\udcfe"), b"")]],
    "names that a terminal obeys": [[("\x1b[2J\n\u202e", {}, b"evil")]],
    "everything twice": [
        [("a", {}, b"1"), ("a", DIRECTORY, b""), ("a/b", {}, b"2"), ("a", {}, b"3"), ("a/c", {}, b"4")]
    ],
}
REFUSED: dict[str, tuple[list[tuple[str, dict[str, Any], bytes]], str]] = {
    "a hard link to what is outside": ([("h", hardlink(f"{OUTSIDE}/secret"), b"")], "is a hard link to"),
    "a hard link to a directory": (
        [("d", DIRECTORY, b""), ("h", hardlink("d"), b"")],
        "is a hard link to /d",
    ),
    "a long name": ([("x" * 300, {}, b"evil")], "File name too long"),
    "a long path": ([("/".join(["x" * 200] * 30), {}, b"evil")], "File name too long"),
    "a deep path": ([("x/" * 600 + "x", {}, b"evil")], "is nested in more than 512 directories"),
    "a long target": ([("s", symlink("x/" * 4000), b"")], "File name too long"),
    "a null character": (
        [("x", {"pax_headers": {"path": "a\0b"}}, b"evil")],
        "is not a valid name on this file system",
    ),
    "a target with a null character": (
        [("s", {**symlink("x"), "pax_headers": {"linkpath": "a\0b"}}, b"")],
        "is not a valid name on this file system",
    ),
}


def placed(layer: list[tuple[str, dict[str, Any], bytes]], outside: Path) -> bytes:
    """Make an archive in which `OUTSIDE` is the real path."""
    place = str(outside)

    def real(value: Any) -> Any:
        return value.replace(OUTSIDE, place) if isinstance(value, str) else value

    return tar(
        *((real(name), {key: real(one) for key, one in more.items()}, data) for name, more, data in layer)
    )


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A directory beside the one that is written."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/secret").write_text("secret")
    return tmp_path / "outside"


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("there", [False, True])
def test_nothing_is_written_outside(tmp_path: Path, outside: Path, name: str, there: bool) -> None:
    if there:
        (tmp_path / "dir").mkdir()
    rootfs = rootfs_of(*(placed(layer, outside) for layer in HOSTILE[name]))
    rootfs.extract(tmp_path / "dir")
    assert tree(outside) == {"secret": b"secret"}
    assert sorted(os.listdir(tmp_path)) == ["dir", "outside"]
    contents = [content for content in tree(tmp_path / "dir").values() if isinstance(content, bytes)]
    if any(data == b"evil" for layer in HOSTILE[name] for _, _, data in layer):
        hidden = {"a link in a directory's place", "the root is a file"}
        assert (b"evil" in contents) == (name not in hidden), "what is safe is there"
    for place, directories, names in os.walk(tmp_path / "dir"):
        for entry in [*directories, *names]:
            kind = os.lstat(os.path.join(place, entry)).st_mode
            assert stat.S_ISREG(kind) or stat.S_ISDIR(kind) or stat.S_ISLNK(kind)


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_written_is_an_error_and_leaves_nothing(
    tmp_path: Path, outside: Path, name: str
) -> None:
    layer, text = REFUSED[name]
    with pytest.raises(ExtractionError, match=text):
        rootfs_of(placed([("good", {}, b"good"), *layer], outside)).extract(tmp_path / "dir")
    assert tree(tmp_path) == {"outside": "directory", "outside/secret": b"secret"}


@pytest.mark.parametrize("step", ["link", "mkdir", "symlink"])
def test_membersthat_differ_by_case_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    """On a file system that takes them for one; here it is made believe."""
    real, names = getattr(os, step), set()

    def insensitive(*arguments: Any, **options: Any) -> Any:
        name = os.path.basename(arguments[0 if step == "mkdir" else 1]).lower()
        if name in names:
            raise FileExistsError(errno.EEXIST, "File exists")
        names.add(name)
        return real(*arguments, **options)

    kinds = {"link": {}, "mkdir": DIRECTORY, "symlink": symlink("x")}
    rootfs = rootfs_of(tar(("readme", kinds[step], b""), ("README", kinds[step], b"")))
    monkeypatch.setattr(os, step, insensitive)
    with pytest.raises(ExtractionError, match="occurs twice: this file system ignores case"):
        rootfs.extract(tmp_path / "out")
    monkeypatch.undo()
    assert os.listdir(tmp_path) == []


# -- against tarfile -------------------------------------------------------------------------------------

NAMES = st.sampled_from(["a", "b", "c"])


@st.composite
def _archive(draw: st.DrawFn) -> list[tuple[str, dict[str, Any], bytes]]:
    """Draw a layer that has no path twice and nothing in what is no directory."""
    members: dict[str, tuple[dict[str, Any], bytes]] = {}
    for number in range(draw(st.integers(0, 7))):
        path = "/".join(draw(st.lists(NAMES, min_size=1, max_size=3)))
        kind = draw(
            st.sampled_from(["file", "file", "directory", "symlink", "hardlink", "whiteout", "opaque"])
        )
        parents = ["/".join(path.split("/")[:count]) for count in range(1, path.count("/") + 1)]
        if any(parent in members and members[parent][0].get("type") != tarfile.DIRTYPE for parent in parents):
            continue
        if kind in ("whiteout", "opaque"):
            directory, name = posixpath.split(path)
            name = f".wh.{name}" if kind == "whiteout" else ".wh..wh..opq"
            members.setdefault(posixpath.join(directory, name), ({}, b""))
            continue
        inside = any(other.startswith(path + "/") for other in members)
        if path in members or (inside and kind != "directory"):
            continue
        attributes: dict[str, Any] = {"mode": draw(st.sampled_from([0o644, 0o755, 0o600])), "mtime": number}
        content = b""
        if kind == "file":
            content = draw(st.binary(max_size=5))
        elif kind == "directory":
            attributes = {**DIRECTORY}
        elif kind == "symlink":
            attributes |= symlink(draw(st.sampled_from(["a", "b/c", "nowhere"])))
        else:
            regular = [
                other
                for other, (more, _) in members.items()
                if "type" not in more and not posixpath.basename(other).startswith(".wh.")
            ]
            if not regular:
                continue
            target = draw(st.sampled_from(regular))
            attributes = {**members[target][0], **hardlink(target)}
        members[path] = attributes, content
    return [(path, attributes, content) for path, (attributes, content) in members.items()]


def remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    elif path.is_symlink() or path.exists():
        path.unlink()


def laid_by_hand(layers: list[bytes], work: Path) -> Path:
    """Unpack each layer with tarfile, and lay it over those below with its whiteouts: the plain way."""
    root = work / "root"
    root.mkdir()
    for number, layer in enumerate(layers):
        (work / "archive").write_bytes(layer)
        unpacked = work / f"layer{number}"
        with tarfile.open(work / "archive") as archive:
            archive.extractall(unpacked, filter="fully_trusted")
            members = [item.name for item in archive if not posixpath.basename(item.name).startswith(".wh.")]
        made = {
            unpacked,
            *(path for name in members for path in (unpacked / name, *(unpacked / name).parents)),
        }
        walked = [(Path(place), directories, names) for place, directories, names in os.walk(unpacked)]
        for place, _, names in walked:
            for name in names:
                at = root / place.relative_to(unpacked)
                if name == ".wh..wh..opq":
                    for other in at.iterdir() if at.is_dir() and not at.is_symlink() else ():
                        remove(other)
                elif name.startswith(".wh.") and not any(item.is_symlink() for item in (at, *at.parents)):
                    remove(at / name[4:])
        for place, directories, names in walked:
            at = root / place.relative_to(unpacked)
            if at.is_symlink() or not at.is_dir():
                remove(at)
                if place in made:  # whiteouts alone make no directory
                    at.mkdir()
            for name in [*directories, *names]:
                source = place / name
                if source.is_symlink() or (name in names and not name.startswith(".wh.")):
                    remove(at / name)
                    shutil.copy2(source, at / name, follow_symlinks=False)
    return root


@settings(deadline=None, max_examples=150)
@given(st.lists(_archive(), max_size=3))
def test_what_is_written_is_what_tarfile_and_whiteouts_make(
    layers: list[list[tuple[str, dict[str, Any], bytes]]],
) -> None:
    archives = [tar(*layer) for layer in layers]
    with tempfile.TemporaryDirectory() as directory:
        expected = laid_by_hand(archives, Path(directory))
        rootfs = rootfs_of(*archives)
        done = rootfs.extract(Path(directory, "out"))
        assert tree(Path(directory, "out")) == tree(expected)
        for name, content in tree(expected).items():
            ours, theirs = Path(directory, "out", name).lstat(), Path(expected, name).lstat()
            if isinstance(content, bytes):  # tarfile sets no times of links
                assert (ours.st_mode, int(ours.st_mtime)) == (theirs.st_mode, int(theirs.st_mtime)), name
        written = [content for content in tree(expected).values() if isinstance(content, bytes)]
        assert done.files == len(written)
        for name, content in tree(expected).items():
            if isinstance(content, bytes):
                with rootfs.open(name) as file:
                    assert file.read() == content


def test_an_image_of_no_layers(tmp_path: Path) -> None:
    rootfs_of().extract(tmp_path / "out")
    assert tree(tmp_path) == {"out": "directory"}
