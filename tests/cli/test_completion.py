"""Completion: of names, paths, options and their values, through click and in a real bash."""

from __future__ import annotations

import logging
import os
import pty
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest
from cli.conftest import Terminal, write_config
from cli.shop import shop
from support.servers import Place, Server, fresh_place

from regfs.filesystem import RegistryFileSystem
from regfs.frames import SCHEMAS

if TYPE_CHECKING:
    from pathlib import Path

    from cli.conftest import Regfs
    from support.proxy import CountingProxy, Request

pytestmark = pytest.mark.parametrize("server", ["seaweedfs"], indirect=True)


@pytest.fixture(scope="module")
def place(server: Server, s3: Any, worker_bucket: str) -> Iterator[Place]:
    with fresh_place(server, s3, worker_bucket) as fresh:
        shop().store(RegistryFileSystem(**fresh.options))
        fresh.put("docs/a b", b"")
        fresh.put("docs/a:b", b"")
        yield fresh


@pytest.fixture
def config(place: Place, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The config.yml of the shop."""
    return write_config(tmp_path_factory.mktemp("config") / "config.yml", place.options)


@pytest.fixture
def proxied(place: Place, proxy: CountingProxy, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The same through the counting proxy."""
    options = {**place.options, "regionendpoint": proxy.endpoint}
    return write_config(tmp_path_factory.mktemp("config") / "config.yml", options)


@pytest.fixture(autouse=True)
def _logging_again() -> Iterator[None]:
    """Completion switches logging off in its process, which is the tests' own in some of them."""
    yield
    logging.disable(logging.NOTSET)


@pytest.fixture
def complete(regfs: Regfs, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Complete the last word of a line, in this process, however long a busy machine takes."""
    monkeypatch.setattr("regfs.cli.completion.LIMIT", 60)

    def names(line: str) -> list[str]:
        words = line.split(" ")
        environ = {
            "_REGFS_COMPLETE": "zsh_complete",
            "COMP_WORDS": line,
            "COMP_CWORD": str(len(words) - 1),
        }
        result = regfs(env=environ)
        assert result.stderr == ""
        return result.stdout.rstrip("\n").split("\n")[1::3]

    return names


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("tags li", ["library/"]),
        ("tags library/", ["library/hello"]),
        ("show library/hello:", ["library/hello:1.0", "library/hello:latest"]),
        ("show library/hello:l", ["library/hello:latest"]),
        ("tags library/hello:", []),
        ("show nobody/", []),
        ("show library/hello@sha256:", []),
        ("tags regfs://{bucket}/li", ["regfs://{bucket}/library/"]),
        ("show regfs://{bucket}/library/hello:l", ["regfs://{bucket}/library/hello:latest"]),
        ("show regfs://{bucket}", []),
    ],
)
def test_names(complete: Callable[..., list[str]], place: Place, line: str, names: list[str]) -> None:
    assert complete("regfs " + line.format(bucket=place.bucket)) == [
        name.format(bucket=place.bucket) for name in names
    ]


def test_the_place_may_stand_before_the_verb(
    complete: Callable[..., list[str]], config: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("REGFS_CONFIG")
    assert complete("regfs tags li") == []
    assert complete(f"regfs --config {config} tags li") == ["library/"]
    assert complete(f"regfs tags --config {config} li") == ["library/"]


@pytest.mark.parametrize(
    ("line", "names"),
    [
        *((f"{verb} /do", ["/docker/", "/docs/"]) for verb in ("ls", "stat", "cat", "du", "url", "rm -r")),
        ("ls ", ["/docker/", "/docs/"]),
        ("ls doc", ["docker/", "docs/"]),
        ("ls /docs/a", ["/docs/a b", "/docs/a:b"]),
        ("ls /nothing/", []),
        ("ls regfs:///dock", ["regfs:///docker/"]),
        ("ls regfs://{bucket}/docker/r", ["regfs://{bucket}/docker/registry/"]),
        ("ls regfs://{bucket}", []),
        ("ls regfs:/do", []),
        ("ls s3://bucket/do", []),
        ("cp regfs:///dock", ["regfs:///docker/"]),
        ("cp here regfs:///dock", ["regfs:///docker/"]),
        ("mv regfs:///dock", ["regfs:///docker/"]),
    ],
)
def test_paths(complete: Callable[..., list[str]], place: Place, line: str, names: list[str]) -> None:
    assert complete("regfs " + line.format(bucket=place.bucket)) == [
        name.format(bucket=place.bucket) for name in names
    ]


def test_a_local_path_is_the_shells_own(regfs: Regfs) -> None:
    for line in ("regfs cp doc", "regfs mv a doc"):
        words = line.split()
        environ = {
            "_REGFS_COMPLETE": "bash_complete",
            "COMP_WORDS": line,
            "COMP_CWORD": str(len(words) - 1),
        }
        assert regfs(env=environ).stdout == "file,doc\n"


def test_a_path_costs_one_request(
    complete: Callable[..., list[str]], proxied: str, proxy: CountingProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REGFS_CONFIG", proxied)
    assert complete("regfs ls /do") == ["/docker/", "/docs/"]
    (request,) = proxy.requests
    assert request.query["delimiter"] == "/"


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("export out --only bl", ["blobs"]),
        ("export out --only ", list(SCHEMAS)),
        ("ls -o rootd", ["rootdirectory="]),
        ("-o rootd", ["rootdirectory="]),
        ("ls -o rootdirectory=", []),
        ("usage --sort f", ["freed"]),
        ("usage --sort=f", ["freed"]),
        ("fsck --ignore old", ["old-upload"]),
        ("help dia", []),
        ("help do", ["doctor"]),
        ("--hea", ["--header"]),
        ("nonsense li", []),
    ],
)
def test_values(complete: Callable[..., list[str]], line: str, names: list[str]) -> None:
    assert complete(f"regfs {line}") == names


def test_a_registry_that_is_slow_to_answer_completes_nothing(
    regfs: Regfs, proxied: str, proxy: CountingProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    released = threading.Event()

    def hold(_: Request) -> None:
        released.wait(60)

    proxy.fault = hold
    monkeypatch.setattr("regfs.cli.completion.LIMIT", 0.2)
    monkeypatch.setenv("REGFS_CONFIG", proxied)
    for verb in ("tags", "ls"):
        environ = {"_REGFS_COMPLETE": "zsh_complete", "COMP_WORDS": f"regfs {verb} li", "COMP_CWORD": "2"}
        assert regfs(env=environ).stdout.strip() == ""
    released.set()


def test_completion_is_silent_where_nothing_answers(
    start: Callable[..., Any], tmp_path: Path, place: Place
) -> None:
    dead = write_config(tmp_path / "dead.yml", {**place.options, "regionendpoint": "http://127.0.0.1:9"})
    environ = {
        "REGFS_CONFIG": dead,
        "_REGFS_COMPLETE": "zsh_complete",
        "COMP_WORDS": "regfs tags li",
        "COMP_CWORD": "2",
    }
    out, err = start(environ=environ).communicate(timeout=60)
    assert (out.strip(), err) == (b"", b"")


# -- a real bash --------------------------------------------------------------------------------------

_COMMAND = """#!{python}
import sys
from regfs.cli import completion, main
completion.LIMIT = 60  # a busy machine takes longer than a shell waits
sys.exit(main())
"""


@pytest.fixture
def bash(config: str, tmp_path: Path) -> Iterator[Terminal]:
    """A bash with completion for regfs, in which the command itself prints its arguments."""
    command = tmp_path / "regfs"
    command.write_text(_COMMAND.format(python=sys.executable))
    command.chmod(0o755)
    (tmp_path / "inputrc").write_text("set enable-bracketed-paste off\nset bell-style none\n")
    environ = {
        **os.environ,
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "REGFS_CONFIG": config,
        "INPUTRC": str(tmp_path / "inputrc"),
        "TERM": "dumb",
        "COLUMNS": "400",
        "PS1": "$ ",
    }
    ours, theirs = pty.openpty()
    command_line = ["bash", "--norc", "--noprofile", "-i"]
    with subprocess.Popen(
        command_line, env=environ, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
    ) as process:
        os.close(theirs)
        shell = Terminal(process, ours)
        shell.type(
            'eval "$(_REGFS_COMPLETE=bash_source regfs)"; '
            "regfs() { printf '[%s]' \"$@\"; }; cd /; echo set'' up\n"
        )
        shell.expect("set up\r\n")
        yield shell
        process.kill()
    os.close(ours)


@pytest.mark.parametrize(
    ("typed", "completed", "arguments"),
    [
        ("show library/hello:l", "atest ", "[show][library/hello:latest]"),
        ("show library/hello", " ", "[show][library/hello]"),
        ("show library/hello:1", ".0 ", "[show][library/hello:1.0]"),
        ("tags li", "brary/", "[tags][library/]"),
        ("ls /docke", "r/", "[ls][/docker/]"),
        ("ls regfs:///docker/r", "egistry/", "[ls][regfs:///docker/registry/]"),
        ("rm -r regfs:///dock", "er/", "[rm][-r][regfs:///docker/]"),
        ("cp x regfs:///dock", "er/", "[cp][x][regfs:///docker/]"),
        ("ls '/docs/a ", "b' ", "[ls][/docs/a b]"),
        ("ls /docs/a\\ ", "b ", "[ls][/docs/a b]"),
        ("ls -o rootd", "irectory=", "[ls][-o][rootdirectory=]"),
        ("export out --only bl", "obs ", "[export][out][--only][blobs]"),
        ("usage --sort=fr", "eed ", "[usage][--sort=freed]"),
        ("cp et", "", "[cp][et"),
    ],
)
def test_bash_completes_a_word_in_its_place(
    bash: Terminal, typed: str, completed: str, arguments: str
) -> None:
    bash.said = ""
    bash.type(f"regfs {typed}\t")
    bash.expect(f"regfs {typed}{completed}")
    bash.type("; echo do''ne\n")
    bash.expect("done\r\n")
    assert f"\n{arguments}" in bash.said


def test_bash_lists_the_tags_behind_the_colon(bash: Terminal) -> None:
    bash.said = ""
    bash.type("regfs show library/hello:\t\t")
    bash.expect("1.0")
    bash.expect("latest")
    bash.type("1.0; echo do''ne\n")
    bash.expect("done\r\n")
    assert "[show][library/hello:1.0]" in bash.said
    assert "library/hello:library" not in bash.said


def test_a_script_of_an_earlier_version_goes_on(regfs: Regfs) -> None:
    environ = {
        "_REGFS_COMPLETE": "bash_complete",
        "COMP_WORDS": "regfs\nusage\n--sort\nfr",
        "COMP_CWORD": "3",
    }
    assert regfs(env=environ).stdout == "plain,freed\n"
