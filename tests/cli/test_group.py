"""The command as a whole: help, completion, exit codes, what it costs to start, and a missing extra."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import click
import pytest
from cli.conftest import payload
from click.testing import CliRunner

from regfs import cli as package
from regfs._version import __version__
from regfs.cli import group
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


@pytest.mark.parametrize("words", [["help"], ["-h"], ["help", "help"]])
def test_help_is_asked_for_in_several_ways(words: list[str]) -> None:
    text = CliRunner().invoke(cli, ["--help"]).stdout
    done = CliRunner().invoke(cli, words)
    assert done.exit_code == Code.OK
    assert (done.stdout == text) == (words[-1] != "help" or len(words) == 1)


@pytest.mark.parametrize("name", ALL)
def test_the_help_of_a_verb_is_asked_for_in_several_ways(name: str) -> None:
    text = CliRunner().invoke(cli, [name, "--help"]).stdout
    assert text.startswith(f"Usage: cli {name} ")
    for words in ([name, "-h"], ["help", name]):
        done = CliRunner().invoke(cli, words)
        assert (done.exit_code, done.stdout) == (Code.OK, text)


def test_the_help_of_no_verb() -> None:
    done = CliRunner().invoke(cli, ["help", "images"])
    assert done.exit_code == Code.USAGE
    assert done.stderr.endswith("there is no verb 'images'; did you mean repos?\n")


def test_the_global_options_stand_before_the_verbs_in_the_help() -> None:
    text = CliRunner().invoke(cli, ["--help"]).stdout
    at = [text.index(word) for word in ("  --config ", "  -o, ", "  --json ", "  --header ", "Files:\n")]
    assert at == sorted(at)


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
        ("regfs d", ["diff", "doctor", "du"]),
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


@pytest.mark.parametrize(
    ("given", "meant"),
    [("images", "repos"), ("list", "ls, or repos"), ("inspect", "show"), ("gc", "orphans"), ("LS", "ls")],
)
def test_what_other_tools_call_a_verb(given: str, meant: str) -> None:
    done = CliRunner().invoke(cli, [given])
    assert done.exit_code == Code.USAGE
    assert done.stderr.endswith(f"there is no verb {given!r}; did you mean {meant}?\n")


def test_what_other_tools_call_a_verb_is_none() -> None:
    verbs = set(cli.list_commands(click.Context(cli)))
    assert not set(group._ELSEWHERE) & verbs
    assert {word for meant in group._ELSEWHERE.values() for word in meant.split(", or ")} <= verbs


def test_nothing_says_where_the_bucket_is() -> None:
    done = run("ls", "regfs://bucket/")
    assert (done.returncode, done.stdout) == (Code.USAGE, "")
    assert done.stderr.startswith(
        "regfs: region: is required, and no options are given; give --config FILE or -o"
    )
    assert "REGFS_CONFIG" in done.stderr
    assert "storage_options" not in done.stderr


def test_a_checksum_without_its_extra(config: str) -> None:
    done = run(
        "awscrt",
        "cp",
        "-",
        "regfs:///a",
        "--config",
        config,
        "-o",
        "checksum_algorithm=CRC32C",
        code=_WITHOUT,
    )
    assert (done.returncode, len(done.stderr.splitlines())) == (Code.USAGE, 1), done.stderr
    assert done.stderr.endswith(': pip install "regfs[crt]"\n')


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
    assert (done.returncode, done.stderr) == (Code.USAGE, f"regfs: {package.MISSING}\n")


def test_another_missing_module_is_a_bug_and_shows() -> None:
    code = (
        "import sys; sys.modules['regfs.parameters.values'] = None\nfrom regfs.cli import main; main(['ls'])"
    )
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
    [
        *(("0", 0), ("00", 0), ("0d", 0), ("90s", 90), ("20m", 1200), ("12h", 43200)),
        *(("7d", 604800), ("2w", 1209600), ("1h30m", 5400), ("1d12h", 129600), ("1w1d1h1m1s", 694861)),
    ],
)
def test_a_duration(text: str, seconds: int) -> None:
    assert Duration().convert(text, None, None).total_seconds() == seconds


@pytest.mark.parametrize(
    ("text", "says"),
    [
        *((text, "must be a number and a unit") for text in ("", "m", "1y", "-1d", "1.5h", "1 h", "9" * 10)),
        *((text, "give a unit, as 7d") for text in ("7", "07", "90", " 7 ", "1h30", "1d0")),
        *((text, "must be at most 36500d") for text in ("36501d", "999999999w", "36500d1s")),
    ],
)
def test_no_duration(text: str, says: str) -> None:
    with pytest.raises(click.BadParameter, match=says) as caught:
        Duration().convert(text, None, None)
    assert "\n" not in caught.value.message


def _durations() -> list[tuple[str, str]]:
    context = click.Context(cli)
    return [
        (name, parameter.opts[0])
        for name in ALL
        if (command := cli.get_command(context, name))
        for parameter in command.params
        if isinstance(parameter.type, Duration)
    ]


def test_the_options_that_take_durations() -> None:
    """An option that is called as one must not read a bare number as seconds."""
    assert _durations() == [
        ("url", "--expires"),
        ("repos", "--since"),
        ("summary", "--older-than"),
        ("orphans", "--older-than"),
        ("uploads", "--older-than"),
    ]


@pytest.mark.parametrize(("verb", "option"), _durations())
def test_a_duration_without_a_unit_does_nothing(verb: str, option: str, regfs: Regfs) -> None:
    path = ["/a"] if verb == "url" else []
    refused = regfs(verb, *path, option, "7", code=Code.USAGE)
    assert refused.stdout == ""
    assert refused.stderr.splitlines()[-1] == (
        f"Error: Invalid value for '{option}': '7': give a unit, as 7d, 12h, 20m or 90s"
    )


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


def test_options_before_the_verb_are_those_after_it(
    regfs: Regfs, config: str, raw: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw.put("a", b"content")
    monkeypatch.setenv("REGFS_CONFIG", "/nowhere/config.yml")
    expected = payload(regfs("stat", "/a", "--config", config, "--json", "-o", "chunksize=5MiB").stdout)
    assert expected["size"] == 7
    before = regfs("--config", config, "--json", "-o", "chunksize=5MiB", "stat", "/a")
    assert payload(before.stdout) == expected
    assert payload(regfs("--json", "stat", "/a", "--config", config).stdout) == expected
    twice = regfs("--config", config, "stat", "/a", "--config", config, "--json")
    assert payload(twice.stdout) == expected
    # What is set before the verb is kept, and what is set after it wins.
    both = ("-o", "rootdirectory=/elsewhere", "-o", "maxretries=-7")
    refused = regfs("--config", config, *both, "stat", "/a", "-o", f"rootdirectory={raw.root}", code=2)
    assert "maxretries" in refused.stderr
    both = ("-o", "rootdirectory=/elsewhere", "-o", "bucket=another")
    after = ("-o", f"rootdirectory={raw.root}", "-o", f"bucket={raw.bucket}")
    assert payload(regfs("--config", config, *both, "stat", "/a", *after, "--json").stdout) == expected


def test_a_wrong_variable_is_no_matter_where_a_file_is_named(
    regfs: Regfs, config: str, raw: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw.put("a", b"content")
    monkeypatch.setenv("REGFS_CONFIG", str(tmp_path))
    assert "is a directory" in regfs("stat", "/a", code=Code.USAGE).stderr
    assert "is a directory" in regfs("--config", str(tmp_path), "stat", "/a", code=Code.USAGE).stderr
    regfs("stat", "/a", "--config", config)
    regfs("help", "stat")


def test_two_configurations_are_refused() -> None:
    done = CliRunner().invoke(cli, ["--config", "a.yml", "ls", "--config", "b.yml"])
    assert (done.exit_code, done.stdout) == (Code.USAGE, "")
    assert done.stderr == "regfs: --config: is given twice, as a.yml and as b.yml; give one\n"


def test_quiet_before_the_verb(regfs: Regfs, raw: Any) -> None:
    raw.put("a", b"content")
    done = regfs("-q", "cp", "regfs:///a", "regfs:///b")
    assert (done.stdout, done.stderr, raw.keys()) == ("", "", ["a", "b"])


@pytest.mark.parametrize("words", [["-q", "ls"], ["ls", "-q"]])
def test_quiet_is_for_verbs_that_change_something(words: list[str]) -> None:
    done = CliRunner().invoke(cli, words)
    assert done.exit_code == Code.USAGE
    assert "No such option" in done.stderr
    assert "-q" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize("words", [["--header", "ls"], ["ls", "--header"], ["ls"]])
def test_a_verb_is_told_of_the_header(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    headers = []
    monkeypatch.setattr("regfs.cli.place.Place.open", lambda *_: 1 / 0)
    monkeypatch.setattr("regfs.cli.options.Output", lambda *given: headers.append(given))
    CliRunner().invoke(cli, words)
    assert [given[:3] for given in headers] == [(False, False, "--header" in words)]


def test_bytes_are_asked_for_by_a_letter(regfs: Regfs, raw: Any) -> None:
    raw.put("a", b"x" * 2048)
    assert regfs("ls", "-lb").stdout.split("\t")[0] == "2048"
    assert regfs("ls", "-l", "--bytes").stdout.split("\t")[0] == "2048"
    assert regfs("ls", "-lh").stdout.startswith("Usage: regfs ls ")


def test_a_wrong_secret_is_4(regfs: Regfs, server: Any) -> None:
    if server.name == "moto":
        pytest.skip("moto verifies no signatures")
    result = regfs("ls", "-o", "secretkey=something-else", code=Code.DENIED)
    assert len(result.stderr.splitlines()) == 1
    assert "something-else" not in result.stderr


def test_json_and_what_is_not_there(regfs: Regfs) -> None:
    result = regfs("stat", "/missing", "--json", code=Code.NOT_FOUND)
    assert result.stdout == ""
    assert payload(regfs("ls", "--json").stdout) == []
