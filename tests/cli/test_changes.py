"""``cp``, ``mv`` and ``rm``: what ends up where, what is refused, and that nothing is lost on the way."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from cli.conftest import payload, write_config

from regfs.cli.errors import Code

if TYPE_CHECKING:
    from cli.conftest import Regfs, Terminal
    from support.proxy import CountingProxy, Request
    from support.servers import Place, Server

on_seaweedfs = pytest.mark.parametrize("server", ["seaweedfs"], indirect=True)


def files(directory: Path) -> dict[str, bytes]:
    """Return all files under a local directory."""
    found = (path for path in directory.rglob("*") if path.is_file())
    return {str(path.relative_to(directory)): path.read_bytes() for path in found}


def stored(raw: Place) -> dict[str, bytes]:
    """Return all that is stored in a place; uploads must have been ended."""
    assert raw.uploads() == []
    return {key: raw.get(key) for key in raw.keys()}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current directory with a small tree, "t"."""
    monkeypatch.chdir(tmp_path)
    for name, content in {"t/a": b"aaa", "t/sub/b": b"bb", "t/sub/c": b""}.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return tmp_path


# -- where things go ----------------------------------------------------------------------------------

TREE = {"a": b"aaa", "sub/b": b"bb", "sub/c": b""}


def under(prefix: str, tree: Mapping[str, bytes] = TREE) -> dict[str, bytes]:
    return {prefix + name: content for name, content in tree.items()}


@pytest.mark.parametrize(
    ("before", "arguments", "after"),
    [
        ([], ["t/a", "x"], {"x": b"aaa"}),
        ([], ["t/a", "x/"], {"x/a": b"aaa"}),
        (["x/y"], ["t/a", "x"], {"x/a": b"aaa"}),
        ([], ["t/a", "/"], {"a": b"aaa"}),
        ([], ["t/a", "t/sub/b", "x"], {"x/a": b"aaa", "x/b": b"bb"}),
        ([], ["-r", "t", "x"], under("x/")),
        ([], ["-r", "t/", "x"], under("x/")),
        (["x/y"], ["-r", "t", "x"], under("x/t/")),
        (["x/y"], ["-r", "t/", "x"], under("x/")),
        ([], ["-r", "t", "/"], under("t/")),
        ([], ["-r", "t", "t/a", "x"], {**under("x/t/"), "x/a": b"aaa"}),
        (["x"], ["t/a", "x"], {"x": b"aaa"}),
    ],
)
def test_up(
    regfs: Regfs, raw: Place, here: Path, before: list[str], arguments: list[str], after: dict[str, bytes]
) -> None:
    for name in before:
        raw.put(name, b"before")
    *rest, target = arguments
    result = regfs("cp", *rest, f"regfs:///{target.lstrip('/')}", "--json")
    others = {name: b"before" for name in before if name not in after}
    assert stored(raw) == {**after, **others}
    document = payload(result.stdout)
    sizes = {
        entry["target"].removeprefix(f"regfs://{raw.bucket}/"): entry["size"]
        for entry in document.pop("entries")
    }
    assert sizes == {name: len(content) for name, content in after.items()}
    assert document == {"files": len(after), "bytes": sum(sizes.values()), "skipped": 0}


@pytest.mark.parametrize(
    ("before", "arguments", "after"),
    [
        ([], ["/t/a", "x"], {"x": b"aaa"}),
        ([], ["/t/a", "new/deep/x"], {"new/deep/x": b"aaa"}),
        ([], ["/t/a", "x/"], {"x/a": b"aaa"}),
        (["x/y"], ["/t/a", "x"], {"x/a": b"aaa"}),
        ([], ["/t/a", "/t/sub/b", "x"], {"x/a": b"aaa", "x/b": b"bb"}),
        ([], ["-r", "/t", "x"], under("x/")),
        (["x/y"], ["-r", "/t", "x"], under("x/t/")),
        (["x/y"], ["-r", "/t/", "x"], under("x/")),
        ([], ["-r", "/", "x"], under("x/t/")),
        ([], ["-r", "/t", "."], under("t/")),
        (["x"], ["/t/a", "x"], {"x": b"aaa"}),
    ],
)
def test_down(
    regfs: Regfs,
    raw: Place,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    before: list[str],
    arguments: list[str],
    after: dict[str, bytes],
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, content in TREE.items():
        raw.put(f"t/{name}", content)
    for name in before:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"before")
    *rest, target = arguments
    regfs("cp", *[f"regfs://{word}" if word.startswith("/") else word for word in rest], target)
    others = {name: b"before" for name in before if name not in after}
    assert files(tmp_path) == {**after, **others}


@pytest.mark.parametrize(
    ("arguments", "after"),
    [
        (["/t/a", "/x"], {"x": b"aaa"}),
        (["/t/a", "/t/sub"], {"t/sub/a": b"aaa"}),
        (["-r", "/t", "/x"], under("x/")),
        (["-r", "/t/sub", "/t/sub2"], under("t/sub2/", {"b": b"bb", "c": b""})),
    ],
)
def test_within(regfs: Regfs, raw: Place, arguments: list[str], after: dict[str, bytes]) -> None:
    for name, content in TREE.items():
        raw.put(f"t/{name}", content)
    words = [f"regfs://{word}" if word.startswith("/") else word for word in arguments]
    regfs("cp", *words)
    assert stored(raw) == {**under("t/"), **after}
    for key in after:
        raw.s3.delete_object(Bucket=raw.bucket, Key=raw.prefix + key)
    regfs("mv", *words)
    left = {name: content for name, content in under("t/").items() if not _moved(name, arguments[-2])}
    assert stored(raw) == {**left, **after}


def _moved(name: str, source: str) -> bool:
    return f"/{name}" == source or f"/{name}".startswith(source + "/")


@on_seaweedfs
def test_within_a_bucket_the_service_copies(
    regfs: Regfs, raw: Place, proxied: str, proxy: CountingProxy
) -> None:
    raw.put("a", b"x" * 100_000)
    regfs("cp", "regfs:///a", "regfs:///b", "--config", proxied)
    assert any("x-amz-copy-source" in request.headers for request in proxy.requests)
    assert {request.headers.get("content-length", "0") for request in proxy.requests} == {"0"}


@on_seaweedfs
def test_to_another_root_directory_the_service_copies_too(
    regfs: Regfs, raw: Place, proxied: str, proxy: CountingProxy
) -> None:
    raw.put("a", b"aaa")
    other = f"{raw.root}/other"
    regfs("cp", "regfs:///a", "regfs:///", "--config", proxied, "--to-option", f"rootdirectory={other}")
    assert stored(raw) == {"a": b"aaa", "other/a": b"aaa"}
    assert any("x-amz-copy-source" in request.headers for request in proxy.requests)


@pytest.mark.parametrize("verb", ["cp", "mv"])
def test_a_new_directory_gets_a_tree_by_its_name(regfs: Regfs, raw: Place, tmp_path: Path, verb: str) -> None:
    """As a target that ends in a slash gets files by their names, whether or not it is there."""
    for name in ("t/a", "t/d/b"):
        raw.put(name, name.encode())
    regfs("cp", "-r", "regfs:///t", f"{tmp_path}/new/")
    assert (tmp_path / "new" / "t" / "d" / "b").read_bytes() == b"t/d/b"
    regfs("cp", "-r", f"{tmp_path}/new/t", "regfs:///up/")
    regfs(verb, "-r", "regfs:///t", "regfs:///within/")
    kept = {"t/a", "t/d/b"} if verb == "cp" else set()
    assert set(raw.keys()) == kept | {"up/t/a", "up/t/d/b", "within/t/a", "within/t/d/b"}


# -- between buckets ----------------------------------------------------------------------------------


def test_between_buckets(regfs: Regfs, raw: Place, server: Server, bucket: str) -> None:
    content = os.urandom(12 * 2**20)
    raw.put("t/large", content)
    raw.put("t/small", b"small")
    arguments = ["-r", "regfs:///t", f"regfs://{bucket}/t", "-o", "chunksize=5MiB"]
    regfs("cp", *arguments)
    s3, key = raw.s3, f"{raw.prefix}t/"
    assert s3.get_object(Bucket=bucket, Key=key + "large")["Body"].read() == content
    assert s3.get_object(Bucket=bucket, Key=key + "small")["Body"].read() == b"small"
    s3.put_object(Bucket=bucket, Key=key + "small", Body=b"mine")
    told = payload(regfs("cp", "-n", "--json", *arguments).stdout)
    assert (len(told["entries"]), told["files"], told["skipped"]) == (2, 2, 0), "they are in t/t"
    regfs("mv", "regfs:///t/large", f"regfs://{bucket}/moved", "-o", "chunksize=5MiB")
    assert stored(raw) == {"t/small": b"small"}
    assert s3.head_object(Bucket=bucket, Key=f"{raw.prefix}moved")["ContentLength"] == len(content)


@on_seaweedfs
def test_between_services(regfs: Regfs, raw: Place, moto: Server, tmp_path: Path) -> None:
    raw.put("t/a", b"aaa")
    other = moto.make_bucket()
    try:
        config = write_config(tmp_path / "other.yml", moto.storage_options(other))
        regfs("cp", "-r", "regfs:///t", "regfs:///t", "--to-config", config)
        assert regfs("cat", "/t/a", "--config", config).stdout == "aaa"
        # Settings of the sources' own place do not reach the other one.
        regfs("mv", "regfs:///t/a", "regfs:///b", "-o", f"rootdirectory={raw.root}", "--to-config", config)
        assert regfs("ls", "--config", config).stdout == "b\nt/\n"
        assert stored(raw) == {}
    finally:
        moto.remove_bucket(other)


def test_the_target_has_its_own_settings(regfs: Regfs, raw: Place, here: Path) -> None:
    regfs("cp", "t/a", "regfs:///a", "--to-option", "storageclass=REDUCED_REDUNDANCY")
    assert raw.head("a")["StorageClass"] == "REDUCED_REDUNDANCY"


# -- what is refused ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["cp", "t", "regfs:///x"], "t: is a directory; give -r"),
        (["cp", "t/a", "x"], "is local, as the other is"),
        (["cp", "/t/a", "x"], "is local, as the other is"),
        (["cp", "s3://b/k", "regfs:///x"], "is neither a regfs:// URL nor a local path"),
        (["cp", "-r", "t", "regfs:///file"], "is no directory, t is one"),
        (["cp", "t/a", "t/sub/b", "regfs:///file"], "is no directory"),
        (["cp", "t/a", "regfs:///file/"], "is no directory"),
        (["cp", "t/a", "regfs:///dirs"], "/dirs/a: is a directory, t/a is a file"),
        (["cp", "t/a", "t/../t/a", "regfs:///x"], "would both become"),
        (["cp", "regfs:///file", "regfs:///file"], "are the same"),
        (["cp", "regfs:///dirs/a/b", "regfs:///dirs/a"], "are the same"),
        (["cp", "-r", "regfs:///dirs", "regfs:///dirs/a/new"], "lies in"),
        (["cp", "-r", "regfs:///", "regfs:///all"], "lies in"),
        (["cp", "-r", "regfs:///both", "down"], "a file in a directory's place"),
        (["cp", "regfs:///file", "-", "--json"], "the content is the output"),
        (["cp", "-", "-"], '"-" is for cp'),
        (["cp", "-", "t/a", "regfs:///x"], '"-" is for cp'),
        (["cp", "-", "x"], "is local, as the other is"),
        (["cp", "-", "regfs:///dirs"], "name the file that the stream becomes"),
        (["mv", "-", "regfs:///x"], '"-" is for cp'),
        (["cp", "-r", "pipes", "regfs:///x"], "pipes/fifo: is no file"),
        (["cp", "-r", "broken", "regfs:///x"], "this link leads nowhere"),
        (["cp", "-r", "loop", "regfs:///x"], "leads back to a directory that it lies in"),
        (["mv", "pipes/fifo", "regfs:///x"], "is no file; copy it alone"),
        (["rm", "/dirs", "--yes"], "is a directory; give -r"),
        (["rm", "-r", "/", "--yes"], "is everything there is"),
        (["rm", "/file"], "give --yes"),
        (["rm", "s3://bucket/file", "--yes"], "is no regfs:// URL"),
    ],
)
def test_what_is_refused(regfs: Regfs, raw: Place, here: Path, arguments: list[str], told: str) -> None:
    raw.put("file", b"file")
    raw.put("dirs/a/b", b"b")
    raw.put("both/x", b"file")
    raw.put("both/x/y", b"in a directory of that name")
    for name in ("pipes", "broken", "loop/inner"):
        (here / name).mkdir(parents=True)
    os.mkfifo(here / "pipes/fifo")
    (here / "broken/link").symlink_to("nowhere")
    (here / "loop/inner/up").symlink_to("..")
    before = stored(raw), files(here / "t")
    result = regfs(*arguments, code=Code.USAGE)
    assert told in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert (stored(raw), files(here / "t")) == before
    assert not (here / "down").exists()


@pytest.mark.parametrize("verb", ["cp", "mv"])
def test_what_is_missing(regfs: Regfs, raw: Place, here: Path, verb: str) -> None:
    assert "no/such" in regfs(verb, "no/such", "regfs:///x", code=Code.NOT_FOUND).stderr
    assert "/missing" in regfs(verb, "regfs:///missing", "x", code=Code.NOT_FOUND).stderr
    regfs(verb, "t/a", "regfs://no-such-bucket/x", code=Code.NOT_FOUND)
    assert stored(raw) == {}
    assert files(here / "t") == TREE


def test_a_key_cannot_leave_the_directory(regfs: Regfs, raw: Place, tmp_path: Path) -> None:
    raw.put("t//abs/olute", b"x")  # os.path.join would take "/abs/olute"
    raw.put("t/plain", b"p")
    target = tmp_path / "down"
    regfs("cp", "-r", "regfs:///t", str(target))
    assert files(target) == {"abs/olute": b"x", "plain": b"p"}
    assert not Path("/abs").exists()


def test_a_link_is_written_through_and_a_device_is_not_replaced(
    regfs: Regfs, raw: Place, tmp_path: Path
) -> None:
    raw.put("a", b"aaa")
    (tmp_path / "real").write_bytes(b"")
    (tmp_path / "link").symlink_to("real")
    regfs("cp", "regfs:///a", str(tmp_path / "link"))
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_bytes() == b"aaa"
    os.mkfifo(tmp_path / "fifo")
    reader = os.open(tmp_path / "fifo", os.O_RDONLY | os.O_NONBLOCK)
    try:
        regfs("cp", "regfs:///a", str(tmp_path / "fifo"))
        assert os.read(reader, 100) == b"aaa"
        assert (tmp_path / "fifo").is_fifo()
    finally:
        os.close(reader)


def test_links_in_a_tree_are_followed(regfs: Regfs, raw: Place, here: Path) -> None:
    (here / "t/link").symlink_to("sub")
    regfs("cp", "-r", "t", "regfs:///t")
    assert stored(raw) == {**under("t/"), **under("t/link/", {"b": b"bb", "c": b""})}


# -- clobber, dry run, streams ------------------------------------------------------------------------


def test_no_clobber(regfs: Regfs, raw: Place, here: Path) -> None:
    raw.put("t/a", b"old")
    told = payload(regfs("cp", "-rn", "t/", "regfs:///t", "--json").stdout)
    assert {entry["source"] for entry in told.pop("entries")} == {"t/sub/b", "t/sub/c"}
    assert told == {"files": 2, "bytes": 2, "skipped": 1}
    assert stored(raw) == {**under("t/"), "t/a": b"old"}
    (here / "down").mkdir()
    (here / "down/a").write_bytes(b"mine")
    regfs("cp", "-rn", "regfs:///t/", "down")
    assert files(here / "down") == {**TREE, "a": b"mine"}


def test_no_clobber_moves_the_others(regfs: Regfs, raw: Place, here: Path) -> None:
    raw.put("x/a", b"old")
    regfs("mv", "-rn", "t/", "regfs:///x")
    assert stored(raw) == {**under("x/"), "x/a": b"old"}
    assert files(here / "t") == {"a": b"aaa"}


@on_seaweedfs
def test_somebody_is_faster(regfs: Regfs, raw: Place, here: Path, proxied: str, proxy: CountingProxy) -> None:
    def put_first(request: Request) -> None:
        if request.method == "PUT" and not raw.keys():
            raw.put("a", b"theirs")

    proxy.fault = put_first
    told = payload(regfs("cp", "-n", "t/a", "regfs:///a", "--json", "--config", proxied).stdout)
    assert told["skipped"] == 1
    assert stored(raw) == {"a": b"theirs"}


def test_dry_run(regfs: Regfs, raw: Place, here: Path) -> None:
    result = regfs("mv", "-r", "--dry-run", "t", "regfs:///x")
    assert sorted(result.stdout.splitlines()) == [
        f"t/{name} -> regfs://{raw.bucket}/x/{name}" for name in sorted(TREE)
    ]
    told = payload(regfs("cp", "--dry-run", "t/a", "regfs:///x", "--json").stdout)
    assert told == [{"source": "t/a", "target": f"regfs://{raw.bucket}/x", "size": 3}]
    assert stored(raw) == {}
    assert files(here / "t") == TREE


def test_stdin_and_stdout(regfs: Regfs, raw: Place) -> None:
    content = os.urandom(11 * 2**20)
    regfs("cp", "-", "regfs:///large", "-o", "chunksize=5MiB", input=content)
    assert stored(raw) == {"large": content}
    assert regfs("cp", "regfs:///large", "-").stdout_bytes == content
    assert "File exists" in regfs("cp", "-n", "-", "regfs:///large", input=b"x", code=Code.FAILED).stderr
    assert "Is a directory" in regfs("cp", "regfs:///", "-", code=Code.FAILED).stderr


def test_a_local_pipe_is_a_stream(regfs: Regfs, raw: Place) -> None:
    reader, writer = os.pipe()
    os.write(writer, b"out of a pipe")
    os.close(writer)
    try:
        regfs("cp", f"/dev/fd/{reader}", "regfs:///a")
    finally:
        os.close(reader)
    assert stored(raw) == {"a": b"out of a pipe"}


# -- mv -----------------------------------------------------------------------------------------------


def test_mv_up_and_down(regfs: Regfs, raw: Place, here: Path) -> None:
    regfs("mv", "-r", "t", "regfs:///t")
    assert stored(raw) == under("t/")
    assert not (here / "t").exists()
    regfs("mv", "-r", "regfs:///t", "back")
    assert stored(raw) == {}
    assert files(here / "back") == TREE


@on_seaweedfs
@pytest.mark.parametrize("target", ["regfs:///x", "down"])
def test_mv_removes_nothing_where_something_fails(
    regfs: Regfs, raw: Place, tmp_path: Path, proxied: str, proxy: CountingProxy, target: str
) -> None:
    for name, content in TREE.items():
        raw.put(f"t/{name}", content)
    refusal = b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n"

    def fault(request: Request) -> bytes | None:
        about_b = request.path.endswith("/t/sub/b") or request.path.endswith("/x/sub/b")
        return refusal if about_b and request.method in ("GET", "PUT") else None

    proxy.fault = fault
    where = target if ":" in target else str(tmp_path / target)
    regfs("mv", "-r", "regfs:///t", where, "--config", proxied, code=Code.DENIED)
    assert {**stored(raw), **under("t/")} == stored(raw)
    assert not any(request.method in ("DELETE", "POST") for request in proxy.requests)


@on_seaweedfs
@pytest.mark.parametrize("arguments", [["regfs:///a", "regfs:///a"], ["-r", "regfs:///d/", "regfs:///d/"]])
def test_mv_to_the_same_place_by_another_address(
    regfs: Regfs, raw: Place, server: Server, arguments: list[str]
) -> None:
    before = {"a": b"precious", "d/b": b"b", "d/c/d": b"d"}
    for name, content in before.items():
        raw.put(name, content)
    other = server.endpoint.replace("127.0.0.1", "localhost")
    done = regfs("mv", *arguments, "--to-option", f"regionendpoint={other}", code=Code.FAILED)
    assert "is the same file as" in done.stderr
    assert stored(raw) == before


@on_seaweedfs
def test_mv_keeps_the_source_of_a_copy_of_another_size(
    regfs: Regfs, raw: Place, proxied: str, proxy: CountingProxy
) -> None:
    raw.put("a", b"0123456789")

    def shorten(request: Request) -> None:
        if request.method == "HEAD" and request.path.endswith("/x") and "x" in raw.keys():
            raw.put("x", b"01234")

    proxy.fault = shorten
    result = regfs("mv", "regfs:///a", "regfs:///x", "--config", proxied, code=Code.FAILED)
    assert "has 5 instead of 10 bytes" in result.stderr
    assert raw.get("a") == b"0123456789"


# -- rm -----------------------------------------------------------------------------------------------


@pytest.fixture
def tree(raw: Place) -> Place:
    for name in ("a", "a/x", "a/y/z", "a-b", "ab", "c"):
        raw.put(name, b"12345")
    return raw


@pytest.mark.parametrize(
    ("arguments", "left"),
    [
        (["/c"], ["a", "a-b", "a/x", "a/y/z", "ab"]),
        (["/a"], ["a-b", "a/x", "a/y/z", "ab", "c"]),
        (["-r", "/a"], ["a-b", "ab", "c"]),
        (["-r", "/a/y", "/c"], ["a", "a-b", "a/x", "ab"]),
    ],
)
def test_rm(regfs: Regfs, tree: Place, arguments: list[str], left: list[str]) -> None:
    before = len(tree.keys())
    told = payload(regfs("rm", *arguments, "--dry-run", "--json").stdout)
    assert (told["files"], told["bytes"], told["removed"]) == (before - len(left), 5 * told["files"], False)
    assert len(tree.keys()) == before
    told = payload(regfs("rm", *arguments, "--yes", "--json").stdout)
    assert (told["files"], told["removed"]) == (before - len(left), True)
    assert tree.keys() == left


def test_rm_of_nothing_removes_nothing(regfs: Regfs, tree: Place) -> None:
    before = tree.keys()
    regfs("rm", "/c", "/missing", "--yes", code=Code.NOT_FOUND)
    assert tree.keys() == before


@on_seaweedfs
@pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("n\n", 2), ("\x04", 2)])
def test_rm_asks(terminal: Callable[..., Terminal], tree: Place, answer: str, code: int) -> None:
    before = tree.keys()
    command = terminal("rm", "-r", "/a")
    command.expect(f"Remove regfs://{tree.bucket}/a: 3 files, 15 B, in bucket {tree.bucket}, ")
    command.expect(f"root directory {tree.root}, endpoint {tree.server.endpoint}? [y/N]: ")
    command.type(answer)
    assert command.end()[0] == code
    assert ("\nregfs: nothing was done\r\n" in command.said) == (code != 0)
    assert len(tree.keys()) == len(before) - (3 if code == 0 else 0)


@on_seaweedfs
def test_an_interrupted_question(terminal: Callable[..., Terminal], tree: Place) -> None:
    before = tree.keys()
    command = terminal("rm", "-r", "/a")
    command.expect("[y/N]: ")
    command.interrupt()
    code, said = command.end()
    assert code == 130
    assert "regfs: interrupted" in said
    assert tree.keys() == before


def test_a_pattern_is_a_name(regfs: Regfs, raw: Place) -> None:
    raw.put("a*", b"x")
    raw.put("ab", b"x")
    regfs("rm", "/a*", "--yes")
    assert raw.keys() == ["ab"]


@pytest.mark.parametrize("name", ["f[1].txt", "f?.txt", "*"])
def test_a_pattern_is_a_name_in_every_verb(
    regfs: Regfs, raw: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    raw.put("d/f1.txt", b"sibling")
    raw.put(f"d/{name}", b"named")
    assert regfs("cat", f"/d/{name}").stdout == "named"
    assert regfs("ls", f"/d/{name}").stdout == f"{name}\n"
    regfs("cp", f"regfs:///d/{name}", "down")
    (tmp_path / "f1.txt").write_bytes(b"sibling")
    (tmp_path / "down").rename(tmp_path / name)
    regfs("cp", name, "regfs:///up")
    regfs("mv", f"regfs:///d/{name}", "regfs:///moved/")
    assert stored(raw) == {"d/f1.txt": b"sibling", "up": b"named", f"moved/{name}": b"named"}
    for verb in (["rm", "--yes", "/d/" + name], ["mv", f"regfs:///d/{name}", "regfs:///new"]):
        regfs(*verb, code=Code.NOT_FOUND)
    assert raw.get("d/f1.txt") == b"sibling"


@on_seaweedfs
def test_what_may_not_be_removed_is_4(regfs: Regfs, tree: Place, proxied: str, proxy: CountingProxy) -> None:
    refusal = b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n"
    proxy.fault = lambda request: refusal if request.method == "DELETE" else None
    result: Any = regfs("rm", "/c", "--yes", "--config", proxied, code=Code.DENIED)
    assert "could not be deleted: /c" in result.stderr
