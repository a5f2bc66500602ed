"""``ls``, ``stat``, ``cat``, ``du``, ``url``: what they print, and in which form."""

from __future__ import annotations

import re
import urllib.request
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest
from cli.conftest import payload

from regfs.cli.errors import Code
from regfs.cli.output import Column, visible
from regfs.units import format_size

if TYPE_CHECKING:
    from collections.abc import Callable

    from cli.conftest import Regfs, Terminal
    from support.proxy import CountingProxy
    from support.servers import Place


@pytest.fixture
def tree(raw: Place) -> Place:
    raw.put("docs/a.txt", b"aaa")
    raw.put("docs/sub/b", b"b" * 2000)
    raw.put("docs/sub/deep/c", b"")
    raw.put("docs-old/d", b"d")
    raw.put("top", b"top")
    return raw


# -- ls -----------------------------------------------------------------------------------------------


def test_ls(regfs: Regfs, tree: Place) -> None:
    assert regfs("ls").stdout == "docs/\ndocs-old/\ntop\n"
    assert regfs("ls", "/docs").stdout == "a.txt\nsub/\n"
    assert regfs("ls", f"regfs://{tree.bucket}/docs/").stdout == "a.txt\nsub/\n"
    assert regfs("ls", "docs/a.txt").stdout == "a.txt\n"


def test_ls_of_several_tells_whole_paths(regfs: Regfs, tree: Place) -> None:
    assert regfs("ls", "/docs-old", "/top").stdout == "/docs-old/d\n/top\n"


def test_ls_recursive(regfs: Regfs, tree: Place) -> None:
    assert regfs("ls", "-R", "/docs").stdout == "/docs/a.txt\n/docs/sub/b\n/docs/sub/deep/c\n"


def test_ls_long(regfs: Regfs, tree: Place) -> None:
    lines = [line.split("\t") for line in regfs("ls", "-l", "/docs/sub").stdout.splitlines()]
    assert [line[-1] for line in lines] == ["b", "deep/"]
    assert lines[0][0] == "2000"
    assert datetime.fromisoformat(lines[0][1] + "+00:00") - datetime.now(timezone.utc) < timedelta(minutes=2)
    assert lines[0][2] == "STANDARD"
    assert lines[1][:3] == ["-", "-", "-"]
    assert regfs("ls", "-l", "/docs/sub", "--header").stdout.startswith("size\tmodified\tclass\tname\n2000\t")


def test_ls_json(regfs: Regfs, tree: Place) -> None:
    text = regfs("ls", "/docs", "--json").stdout
    file, directory = payload(text)
    assert len(text.splitlines()) == 4  # one object a line
    assert (file["path"], file["type"], file["size"]) == ("/docs/a.txt", "file", 3)
    assert file["modified"].endswith("Z")
    assert file["etag"] == "47bce5c74f589f4867dbd57e9ca9f808"
    assert directory == {"path": "/docs/sub", "bucket": tree.bucket, "type": "directory", "name": "sub/"}


def test_ls_of_nothing(regfs: Regfs, tree: Place) -> None:
    for arguments in (["/doc"], ["-R", "/doc"], ["-l", "/missing/"]):
        result = regfs("ls", *arguments, code=Code.NOT_FOUND)
        assert result.stderr.endswith(": No such file or directory\n")
        assert result.stdout == ""


def test_ls_of_a_missing_bucket(regfs: Regfs) -> None:
    result = regfs("ls", "regfs://no-such-bucket/", code=Code.NOT_FOUND)
    assert "bucket does not exist" in result.stderr


def test_a_path_that_would_leave_the_root(regfs: Regfs, tree: Place) -> None:
    result = regfs("cat", "/docs/../../x", code=Code.USAGE)
    assert "'..'" in result.stderr
    assert "Traceback" not in result.stderr


# -- stat ---------------------------------------------------------------------------------------------


def test_stat_of_a_file(regfs: Regfs, raw: Place) -> None:
    raw.put("dir with space/file", b"12345", Metadata={"who": "me"}, ContentType="text/x-test")
    told = payload(regfs("stat", "/dir with space/file", "--json").stdout)
    assert datetime.fromisoformat(told.pop("modified").replace("Z", "+00:00")).tzinfo == timezone.utc
    assert told.pop("version", None) in (None, "null")
    assert told == {
        "path": "/dir with space/file",
        "bucket": raw.bucket,
        "type": "file",
        "size": 5,
        "etag": "827ccb0eea8a706c4c34a16891f84e7b",
        "class": "STANDARD",
        "url": f"regfs://{raw.bucket}/dir with space/file",
        "driver": False,  # a space
        "key": f"{raw.prefix}dir with space/file",
        "content_type": "text/x-test",
        "encryption": None,
        "kms_key": None,
        "metadata": {"who": "me"},
    }


def test_stat_tells_the_encryption(regfs: Regfs, raw: Place) -> None:
    raw.put("file", b"x", ServerSideEncryption="AES256")
    assert "encryption\tAES256\n" in regfs("stat", "/file").stdout


def test_stat_of_a_directory(regfs: Regfs, tree: Place) -> None:
    told = payload(regfs("stat", "/docs", "--json").stdout)
    assert (told["type"], told["key"], told["driver"]) == ("directory", f"{tree.prefix}docs/", True)


# -- cat ----------------------------------------------------------------------------------------------


def test_cat(regfs: Regfs, raw: Place) -> None:
    raw.put("a", bytes(range(256)))
    raw.put("b", b"end")
    assert regfs("cat", "/a", "-", "/b", input=b"middle").stdout_bytes == bytes(range(256)) + b"middleend"


def test_cat_of_what_is_no_file(regfs: Regfs, tree: Place) -> None:
    assert "Is a directory" in regfs("cat", "/docs", code=Code.FAILED).stderr
    regfs("cat", "/missing", code=Code.NOT_FOUND)
    assert "--json" in regfs("cat", "/top", "--json", code=Code.USAGE).stderr


def test_cat_verifies_a_blob(regfs: Regfs, raw: Place) -> None:
    digest = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"  # of "hello"
    path = f"docker/registry/v2/blobs/sha256/2c/{digest}/data"
    raw.put(path, b"hello")
    assert regfs("cat", "--verify", f"/{path}").stdout == "hello"
    raw.put(path, b"jello")
    assert "sha256" in regfs("cat", "--verify", f"/{path}", code=Code.FAILED).stderr
    raw.put("plain", b"x")
    assert "promises no digest" in regfs("cat", "--verify", "/plain", code=Code.USAGE).stderr


# -- du -----------------------------------------------------------------------------------------------


def test_du(regfs: Regfs, tree: Place) -> None:
    lines = regfs("du", "/").stdout.splitlines()
    assert lines == ["1\t1\tdocs-old/", "3\t1\ttop", "2003\t3\tdocs/", "2007\t5\t/"]
    assert regfs("du", "-s", "/docs").stdout == "2003\t3\t/docs\n"


def test_du_json(regfs: Regfs, tree: Place) -> None:
    told = payload(regfs("du", "/docs", "--json").stdout)
    children = told.pop("children")
    assert told == {"path": "/docs", "bytes": 2003, "files": 3}
    assert children == [
        {"path": "a.txt", "bytes": 3, "files": 1},
        {"path": "sub/", "bytes": 2000, "files": 2},
    ]
    assert payload(regfs("du", "/docs", "-s", "--json").stdout) == told


def test_du_of_a_file_and_of_nothing(regfs: Regfs, tree: Place) -> None:
    assert regfs("du", "-sb", "/top").stdout == "3\t1\t/top\n"
    regfs("du", "/missing", code=Code.NOT_FOUND)


@pytest.mark.parametrize("server", ["seaweedfs"], indirect=True)
def test_du_costs_one_listing(regfs: Regfs, tree: Place, proxied: str, proxy: CountingProxy) -> None:
    regfs("du", "/docs", "--config", proxied)
    assert [request.method for request in proxy.requests] == ["GET"]


# -- url ----------------------------------------------------------------------------------------------


def test_url(regfs: Regfs, raw: Place) -> None:
    raw.put("file", b"content")
    url = regfs("url", "/file", "--expires", "90s").stdout.strip()
    assert "X-Amz-Expires=90" in url
    with urllib.request.urlopen(url, timeout=10) as answer:
        assert answer.read() == b"content"
    told = payload(regfs("url", "/file", "--method", "head", "--json").stdout)
    assert told["method"] == "HEAD"
    left = datetime.fromisoformat(told["expires"].replace("Z", "+00:00")) - datetime.now(timezone.utc)
    assert timedelta(minutes=19) < left <= timedelta(minutes=20)


def test_url_for_more_than_a_week(regfs: Regfs) -> None:
    assert "7 days" in regfs("url", "/file", "--expires", "8d", code=Code.USAGE).stderr


# -- on a terminal ------------------------------------------------------------------------------------


def _plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text).replace("\r\n", "\n")


@pytest.mark.parametrize("server", ["seaweedfs"], indirect=True)
def test_a_table_on_a_terminal(terminal: Callable[..., Terminal], tree: Place) -> None:
    code, said = terminal("ls", "-l", "/docs").end()
    assert code == 0
    heading, file, directory = _plain(said).splitlines()
    assert heading.split() == ["size", "modified", "class", "name"]
    assert file.split()[:2] == ["3", "B"]
    assert directory.split() == ["-", "-", "-", "sub/"]
    assert "\x1b[1m" in said  # the heading is bold


@pytest.mark.parametrize("server", ["seaweedfs"], indirect=True)
def test_a_name_cannot_steer_a_terminal(terminal: Callable[..., Terminal], raw: Place) -> None:
    raw.put("evil\u009b2J\u202egnp", b"")  # a control sequence, and a change of direction
    for arguments in (["ls"], ["ls", "-l"]):
        code, said = terminal(*arguments).end()
        assert code == 0
        assert "evil\\x9b2J\\u202egnp" in _plain(said)
        assert "\u009b" not in said
        assert "\u202e" not in said


@pytest.mark.parametrize("server", ["seaweedfs"], indirect=True)
def test_markup_in_a_name_is_text(terminal: Callable[..., Terminal], raw: Place) -> None:
    raw.put("[bold]x", b"")
    assert "[bold]x" in _plain(terminal("ls", "-l").end()[1])


# -- figures ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 KiB"),
        (1024, "1.0 KiB"),
        (10_200, "10 KiB"),
        (1_048_575, "1.0 MiB"),
        (5 * 2**30, "5.0 GiB"),
        (5 * 2**40, "5.0 TiB"),
        (2**70, "1048576 PiB"),
    ],
)
def test_a_size_for_reading(count: int, text: str) -> None:
    assert format_size(count) == text


@pytest.mark.parametrize(
    ("kind", "value", "text"),
    [
        ("text", None, "-"),
        ("text", True, "yes"),
        ("text", False, "no"),
        ("size", 2048, "2.0 KiB"),
        ("bytes", 2048, "2048"),
    ],
)
def test_a_cell(kind: Any, value: Any, text: str) -> None:
    assert Column("key", kind).show(value) == text


def test_text_that_is_only_text() -> None:
    assert visible("plain é") == "plain é"
    assert visible("a\x1b[2Jb\n") == "a\\x1b[2Jb\\n"
