"""The command as a whole: help, completion, exit codes, what it costs to start, and a missing extra."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import click
import pytest
from click.testing import CliRunner

from regfs import cli as package
from regfs._version import __version__
from regfs.cli.errors import MEANING, Code, one_line
from regfs.cli.group import VERBS, cli
from regfs.cli.options import Duration

if TYPE_CHECKING:
    from cli.conftest import Regfs

ALL = {name: verb for verbs in VERBS.values() for name, verb in verbs.items()}


def run(*arguments: str, code: str = "", environ: dict[str, str] | None = None) -> Any:
    command = ["-c", code] if code else ["-m", "regfs"]
    return subprocess.run(
        [sys.executable, *command, *arguments],
        env={**os.environ, **(environ or {})},
        capture_output=True,
        text=True,
        timeout=60,
    )


# -- help ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ALL)
def test_a_verb_of_the_table(name: str) -> None:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    assert command.name == name
    assert {"config", "given", "as_json"} <= {parameter.name for parameter in command.params}
    assert ALL[name].help.endswith(".")
    text = CliRunner().invoke(cli, [name, "--help"]).stdout
    assert "JSON" in text
    assert all(len(line) <= 110 for line in text.splitlines())


def test_the_help_tells_every_verb_and_every_exit_code() -> None:
    text = CliRunner().invoke(cli, ["--help"]).stdout
    for name in ALL:
        assert f"  {name} " in text
    for code in Code:
        assert f"  {code.value} " in text
        assert MEANING[code].split(",")[0].split(" ")[0] in text


def test_the_version() -> None:
    assert run("--version").stdout == f"regfs, version {__version__}\n"


def test_no_verb_is_a_usage_error() -> None:
    done = run()
    assert done.returncode == Code.USAGE
    assert "Usage:" in done.stderr


def test_a_mistyped_verb_is_told_the_nearest() -> None:
    done = run("dotcor")
    assert done.returncode == Code.USAGE
    assert done.stderr.endswith("there is no verb 'dotcor'; did you mean doctor?\n")


# -- what it costs ------------------------------------------------------------------------------------

HEAVY = ("aiobotocore", "aiohttp", "asyncio", "botocore", "fsspec", "pandas", "rich", "s3fs", "yaml")


@pytest.mark.parametrize("arguments", [["--help"], ["ls", "--help"], ["doctor", "--help"], ["nonsense"]])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    code = f"""
import sys
from regfs.cli import main
main({arguments!r})
print(*sorted({{n.split('.')[0] for n in sys.modules}} & set({HEAVY!r})), file=sys.stderr)
"""
    done = run(code=code)
    assert done.stderr.splitlines()[-1] == ""


def test_a_verb_that_draws_nothing_loads_no_rich(config: str) -> None:
    code = """
import sys
from regfs.cli import main
main(["url", "/a", "--config", sys.argv[1]])
print("rich" in sys.modules, file=sys.stderr)
"""
    assert run(config, code=code).stderr == "False\n"


# -- completion ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_completion_script(shell: str) -> None:
    code = "import sys; from regfs.cli import main; sys.exit(main())"
    done = run(code=code, environ={"_REGFS_COMPLETE": f"{shell}_source"})
    assert done.returncode == 0, done.stderr
    assert "_REGFS_COMPLETE" in done.stdout
    assert "regfs" in done.stdout


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("regfs d", ["doctor", "du"]),
        ("regfs up", ["uploads"]),
        ("regfs ls --j", ["--json"]),
        ("regfs doctor --read", ["--read-only"]),
    ],
)
def test_completion(words: str, found: list[str]) -> None:
    position = str(len(words.split()) - 1)
    code = "import sys; from regfs.cli import main; sys.exit(main())"
    environ = {"_REGFS_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": position}
    done = run(code=code, environ=environ)
    assert sorted(line.partition(",")[2] for line in done.stdout.split()) == found


# -- failures -----------------------------------------------------------------------------------------


_WITHOUT = """
import sys
sys.modules[sys.argv.pop(1)] = None
from regfs.cli import main
sys.stdout.isatty = lambda: True
sys.exit(main())
"""


@pytest.mark.parametrize("name", ["click", "rich"])
def test_a_missing_extra_is_told_in_one_line(name: str, config: str, raw: Any) -> None:
    raw.put("a", b"content")
    done = run(name, "ls", "-l", "--config", config, code=_WITHOUT)
    assert (done.returncode, done.stderr) == (1, f"regfs: {package.MISSING}\n")


def test_another_missing_module_is_a_bug_and_shows() -> None:
    code = "import sys; sys.modules['regfs.values'] = None\nfrom regfs.cli import main; main(['ls'])"
    assert "ModuleNotFoundError" in run(code=code).stderr


def test_a_bug_in_a_verb_shows(regfs: Regfs, monkeypatch: pytest.MonkeyPatch) -> None:
    files = importlib.import_module("regfs.cli.files")

    def broken(*_: object) -> None:
        raise TypeError("a bug")

    monkeypatch.setattr(files, "_listed", broken)
    with pytest.raises(TypeError, match="a bug"):
        regfs("ls")


def test_an_error_is_one_line_that_begins_with_its_path() -> None:
    assert (
        one_line(FileNotFoundError(2, "No such file or directory", "/a")) == "/a: No such file or directory"
    )
    assert one_line(OSError(5, "two\nlines")) == "two lines"
    assert one_line(ValueError()) == "ValueError"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("90s", 90), ("20m", 1200), ("12h", 43200), ("7d", 604800), ("2w", 1209600)],
)
def test_a_duration(text: str, seconds: int) -> None:
    assert Duration().convert(text, None, None).total_seconds() == seconds


@pytest.mark.parametrize("text", ["", "m", "1y", "-1d", "1.5h", "1d1h", "9999999999d"])
def test_no_duration(text: str) -> None:
    with pytest.raises(click.BadParameter, match="must be a number and a unit"):
        Duration().convert(text, None, None)


# -- the place ----------------------------------------------------------------------------------------

_LINE = "regfs: bucket: is required; give a URL regfs://BUCKET/..., -o bucket=BUCKET, or --config FILE\n"


def test_no_place_at_all() -> None:
    done = run("ls")
    assert (done.returncode, done.stdout, done.stderr) == (Code.USAGE, "", _LINE)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["ls", "-o", "bucket"], "must be KEY=VALUE"),
        (["ls", "-o", "=x"], "must be KEY=VALUE"),
        (["ls", "s3://bucket/a"], "s3://bucket/a: is no regfs:// URL"),
        (["ls", "regfs:/a"], "write regfs://BUCKET/path"),
        (["ls", "-o", "bucket=a", "-o", "region=us-east-1", "regfs://b/"], "names the bucket 'b'"),
        (["ls", "-o", "bucket=a", "-o", "regoin=x"], "region"),
        (["ls", "-o", "bucket=a", "-o", "region=us-east-1", "-o", "anon=maybe"], "anon: 'maybe'"),
        (["doctor", "regfs://bucket/a"], "a whole root directory is examined"),
        (["url", "/a", "--expires", "8d", "-o", "bucket=a", "-o", "region=us-east-1"], "7 days"),
    ],
)
def test_a_wrong_place(arguments: list[str], told: str) -> None:
    done = CliRunner().invoke(cli, arguments)
    assert done.exit_code == Code.USAGE
    assert told in done.stderr
    assert "Traceback" not in done.stderr


def test_a_secret_without_its_key_is_not_repeated() -> None:
    done = CliRunner().invoke(cli, ["ls", "-o", "topsecret"])
    assert "topsecret" not in done.stderr


def test_every_way_to_name_the_place(options: dict[str, Any], regfs: Regfs, raw: Any) -> None:
    raw.put("a", b"content")
    expected = regfs("stat", "/a").stdout
    given = [word for key, value in options.items() for word in ("-o", f"{key}={value}")]
    bare = CliRunner(env={"REGFS_CONFIG": None})
    assert bare.invoke(cli, ["stat", "/a", *given]).stdout == expected
    variables = {f"REGISTRY_STORAGE_S3_{key.upper()}": str(value) for key, value in options.items()}
    assert bare.invoke(cli, ["stat", "/a"], env=variables).stdout == expected
    variables["REGISTRY_STORAGE_S3_BUCKET"] = "another"
    arguments = ["stat", f"regfs://{options['bucket']}/a"]
    assert bare.invoke(cli, arguments, env=variables).stdout == expected
    assert regfs("stat", f"regfs://{options['bucket']}/a").stdout == expected
    # What is nearer wins: -o before the file.
    other = regfs("stat", "/a", "-o", "rootdirectory=/elsewhere", code=3)
    assert other.stderr == f"regfs: regfs://{options['bucket']}/a: No such file or directory\n"


def test_a_wrong_secret_is_4(regfs: Regfs, server: Any) -> None:
    if server.name == "moto":
        pytest.skip("moto verifies no signatures")
    result = regfs("ls", "-o", "secretkey=something-else", code=Code.DENIED)
    assert len(result.stderr.splitlines()) == 1
    assert "something-else" not in result.stderr


def test_json_and_what_is_not_there(regfs: Regfs) -> None:
    result = regfs("stat", "/missing", "--json", code=Code.NOT_FOUND)
    assert result.stdout == ""
    assert json.loads(regfs("ls", "--json").stdout) == []
