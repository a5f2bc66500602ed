"""One image's files: which layers are read for them, how links are followed, and what is not there."""

from __future__ import annotations

import errno
import tarfile
import tracemalloc
from typing import Any

import pytest
from catalog.archives import DIRECTORY, files, hardlink, read_layers, rootfs_of, symlink, tar

from regfs.catalog.layers import LayerError
from regfs.catalog.rootfs import BuildCacheError, RootFilesystem
from regfs.layout import BlobData

BASE = tar(
    ("etc", DIRECTORY, b""),
    ("etc/motd", {}, b"hello\n"),
    ("etc/os-release", symlink("../usr/lib/os-release"), b""),
    ("usr/lib/os-release", {}, b"ID=debian\n"),
    ("usr/bin/perl", {}, b"perl"),
    ("usr/bin/perl5", hardlink("usr/bin/perl"), b""),
    ("bin", symlink("/usr/bin"), b""),
    ("dev/null", {"type": tarfile.CHRTYPE}, b""),
    ("loop", symlink("loop"), b""),
    ("up", symlink("../../../../usr"), b""),
    ("old/a", {}, b"a"),
    ("old/b", {}, b"b"),
)
UPPER = tar(
    ("etc/.wh.motd", {}, b""),
    ("usr/bin/perl", {}, b"another"),
    ("old/.wh..wh..opq", {}, b""),
    ("old/b", {}, b"new b"),
    ("app", {}, bytes(range(256)) * 100),
)


def read(rootfs: RootFilesystem, path: str) -> bytes:
    with rootfs.open(path) as file:
        return file.read()


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("/app", bytes(range(256)) * 100),
        ("app", bytes(range(256)) * 100),
        ("/usr/bin/perl", b"another"),
        ("/usr/bin/perl5", b"perl"),  # which the layer above has overridden by its other name
        ("/bin/perl", b"another"),
        ("/etc/os-release", b"ID=debian\n"),
        ("/up/lib/os-release", b"ID=debian\n"),
        ("/usr/../../etc/./os-release", b"ID=debian\n"),
        ("/old/b", b"new b"),
    ],
)
def test_a_file_as_a_container_sees_it(path: str, content: bytes) -> None:
    assert read(rootfs_of(BASE, UPPER), path) == content


@pytest.mark.parametrize(
    ("path", "error", "text"),
    [
        ("/etc/motd", FileNotFoundError, "no such file in team/app:v1"),
        ("/old/a", FileNotFoundError, "no such file in team/app:v1"),
        ("/etc/os-releas", FileNotFoundError, "did you mean /etc/os-release?"),
        ("/lib/os-release", FileNotFoundError, "no such file in team/app:v1"),
        ("/app/x", NotADirectoryError, "is not a directory in team/app:v1"),
        ("/etc", IsADirectoryError, "is a directory in team/app:v1"),
        ("/", IsADirectoryError, "is a directory in team/app:v1"),
        ("/dev/null", OSError, "is a device in team/app:v1, which has no content"),
        ("/loop", OSError, "too many symbolic links in team/app:v1"),
    ],
)
def test_what_cannot_be_opened(path: str, error: type[OSError], text: str) -> None:
    with pytest.raises(error) as caught:
        rootfs_of(BASE, UPPER).open(path)
    assert text in str(caught.value)


def test_names_of_another_directory_are_suggested() -> None:
    with pytest.raises(FileNotFoundError, match=r"did you mean /usr/bin/perl5\?"):
        rootfs_of(BASE).open("/perl5")


def test_a_hard_link_to_nothing() -> None:
    broken = tar(("a", hardlink("/etc/passwd"), b""))
    with pytest.raises(FileNotFoundError, match="is a hard link to /etc/passwd, which is not in team/app:v1"):
        rootfs_of(files(b=b"b"), broken).open("/a")


def test_layers_are_read_downwards_and_no_further_than_needed() -> None:
    layers = files(low=b"low"), files(middle=b"middle"), files(top=b"top")
    rootfs = rootfs_of(*layers)
    assert read(rootfs, "/top") == b"top"
    assert read_layers(rootfs) == [3]
    rootfs = rootfs_of(*layers)
    assert read(rootfs, "/middle") == b"middle"
    assert read_layers(rootfs) == [3, 2], "each once: the content is kept when it comes by"


def test_several_files_cost_one_look() -> None:
    rootfs = rootfs_of(files(a=b"a", b=b"b"), files(c=b"c"))
    assert [file.read() for file in rootfs.open_many(["/a", "/c", "/b"])] == [b"a", b"c", b"b"]
    assert read_layers(rootfs) == [2, 1]


def test_the_same_file_twice() -> None:
    rootfs = rootfs_of(BASE)
    opened = rootfs.open_many(["/etc/motd", "/usr/bin/perl", "/usr/bin/perl5", "/etc/motd"])
    assert [file.read() for file in opened] == [b"hello\n", b"perl", b"perl", b"hello\n"]
    opened[0].seek(1)
    assert opened[0].read() == b"ello\n"


def test_what_a_whiteout_removed_needs_no_layer_below() -> None:
    rootfs = rootfs_of(BASE, files(x=b"x"), UPPER)
    for path in ("/etc/motd", "/old/a"):
        with pytest.raises(FileNotFoundError):
            rootfs.open(path)
    assert read_layers(rootfs) == [3]


def test_a_layer_whose_content_is_needed_later_is_read_again() -> None:
    rootfs = rootfs_of(BASE, UPPER)
    assert len(rootfs.entries()) == 11
    assert read_layers(rootfs) == [2, 1]
    assert read(rootfs, "/etc/os-release") == b"ID=debian\n"
    assert read_layers(rootfs) == [2, 1, 1]


def test_nothing_is_returned_of_a_damaged_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is whole; what comes behind it is not."""
    rootfs = rootfs_of(tar(("a", {}, b"a"), ("b", {}, b"b" * 10**5)))
    digest = rootfs.layers[0].digest
    content = rootfs.source.read([BlobData(digest).path])[0]
    assert isinstance(content, bytes)
    rootfs.source._driver.put_content(BlobData(digest).path, content[:-20_000] + b"x" * 20_000)
    with pytest.raises(LayerError, match=f"{digest}: is damaged: the content has another digest"):
        rootfs.open("/a")
    rootfs.source._driver.put_content(BlobData(digest).path, content)
    assert read(rootfs, "/a") == b"a", "a layer that failed counts as not read"


def test_the_properties_of_a_path() -> None:
    rootfs = rootfs_of(BASE, UPPER)
    assert (rootfs.find("/bin/perl").path, rootfs.find("/bin/perl").layer) == ("/usr/bin/perl", 2)
    assert (rootfs.find("/etc").mode, rootfs.find("/etc").layer) == ("drwxr-xr-x", 1)
    assert rootfs.find("/usr").kind == rootfs.find("/").kind == "directory"


def test_a_large_file_is_not_held_in_memory() -> None:
    rootfs = rootfs_of(tar(("large", {}, bytes(48 * 2**20))))
    tracemalloc.start()
    try:
        with rootfs.open("/large") as file:
            assert sum(map(len, iter(lambda: file.read(2**20), b""))) == 48 * 2**20
        assert tracemalloc.get_traced_memory()[1] < 24 * 2**20
    finally:
        tracemalloc.stop()


def test_an_encrypted_layer_is_named_before_anything_is_read() -> None:
    rootfs = rootfs_of(BASE, media_type="application/vnd.oci.image.layer.v1.tar+gzip+encrypted")
    calls: list[Any] = [rootfs.entries, lambda: rootfs.open("/app"), lambda: list(rootfs.layer_entries(1))]
    for call in calls:
        with pytest.raises(LayerError, match="layer 1 is encrypted"):
            call()
    assert read_layers(rootfs) == []


def test_a_build_cache_has_layers_and_no_files() -> None:
    image = rootfs_of(BASE)
    rootfs = RootFilesystem(image.source, "app:cache", image.layers, cache=True)
    with pytest.raises(BuildCacheError, match="app:cache: is a build cache, whose layers make no image"):
        rootfs.entries()
    assert len(list(rootfs.layer_entries(1))) == 12


def test_a_foreign_layer_that_is_not_there_is_left_out() -> None:
    rootfs = rootfs_of(BASE, UPPER, media_type="application/vnd.docker.image.rootfs.foreign.diff.tar.gzip")
    rootfs.source._driver.delete(BlobData(rootfs.layers[0].digest).path)
    assert rootfs.absent == (1,)
    assert [entry.path for entry in rootfs.entries()] == ["/app", "/old/b", "/usr/bin/perl"]


def test_a_loop_of_two_links_is_named() -> None:
    with pytest.raises(OSError, match="too many symbolic links") as caught:
        rootfs_of(tar(("a", symlink("b"), b""), ("b", symlink("a"), b""))).open("/a")
    assert caught.value.errno == errno.ELOOP
