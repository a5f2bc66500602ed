"""A ``config.yml`` is read as data of a bounded size: it runs nothing, repeats nothing and does not grow."""

from __future__ import annotations

import contextlib
import io
import os
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regfs import ConfigurationWarning, DriverParameters, ParameterError, RegistryFileSystem
from regfs.parameters import notices
from regfs.parameters.config import LARGEST

GOOD = "version: 0.1\nstorage:\n  s3:\n    bucket: b\n    region: us-east-1\n"
BOMB = "a0: &a0 [lol]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12))
MERGES = f"a0: &a0 {{{', '.join(f'k{n}: 1' for n in range(9))}}}\n" + "".join(
    f"a{n}: &a{n}\n  <<: [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12)
)
PASSED_OVER = {
    "an object": "x: !!python/object/apply:os.system ['touch FILE']\n" + GOOD,
    "a module": "x: !!python/module:antigravity\n" + GOOD,
    "a name": "x: !!python/name:os.system\n" + GOOD,
    "a new object": "x: !!python/object/new:os.system ['touch FILE']\n" + GOOD,
    "a tuple": "x: !!python/tuple [1]\n" + GOOD,
    "a tag of its own": "x: !evil 1\n" + GOOD,
    "a huge integer": "x: " + "9" * 10_000 + "\n" + GOOD,
    "a huge integer in base 60": "x: 1" + ":59" * 5_000 + "\n" + GOOD,
    "no time": "x: 2026-99-99\n" + GOOD,
    "a second document": GOOD + "---\n!!python/object/apply:os.system ['touch FILE']\n",
    "no second document": GOOD + "---\n[",
}
"""What the registry reads: nothing is made of it, as it is not about the storage."""
REFUSED = {
    "an object in the section": GOOD + "    rootdirectory: !!python/object/apply:os.system ['touch FILE']\n",
    "a name in the section": GOOD + "    rootdirectory: !!python/name:os.system\n",
    "no integer in the section": GOOD + "    chunksize: !!int x\n",
    "a section given twice": GOOD + "storage: {}\n",
    "a merge of itself": "x: &x {<<: *x}\nstorage:\n  s3:\n    <<: *x\n",
    "merges without end": "a0: &a0 {k: 1}\n"
    + "".join(f"a{n}: &a{n} {{<<: *a{n - 1}}}\n" for n in range(1, 200))
    + "storage:\n  s3:\n    <<: *a199\n",
    "a merge of too much": f"a: &a {{{', '.join(f'k{n}: 1' for n in range(5_000))}}}\n"
    f"storage:\n  s3:\n    <<: [{', '.join(['*a'] * 50_000)}]\n",
    "nested without end": "x: " + "[" * 20_000,
    "a huge integer in base 60": "x: 1"
    + ":59" * 5_000
    + "\n"
    + GOOD
    + "    chunksize: 1"
    + ":59" * 50
    + "\n",
    "a control character": GOOD + "x: \x01\n",
    "an unknown alias": "x: *nothing\n" + GOOD,
    "a key that is a list": "? [a]\n: 1\n" + GOOD,
    "a list": "- 1\n",
    "a number": "1\n",
}


@pytest.fixture(autouse=True)
def _unwarned() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConfigurationWarning)
        yield


def refuse(source: object) -> str:
    started = time.monotonic()
    with pytest.raises(ParameterError) as caught:
        DriverParameters.from_config(source, {})  # type: ignore[arg-type]  # also what is none
    assert time.monotonic() - started < 30
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


def test_merges_do_not_multiply(tmp_path: Path) -> None:
    """PyYAML 6.0.4 keeps each key once by itself; with older ones it is refused before it takes long."""
    (tmp_path / "config.yml").write_text(MERGES + GOOD)
    started = time.monotonic()
    with contextlib.suppress(ParameterError):
        assert DriverParameters.from_config(tmp_path / "config.yml", {}).bucket
    assert time.monotonic() - started < 30


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(name: str, tmp_path: Path) -> None:
    text = REFUSED[name].replace("FILE", str(tmp_path / "ran"))
    (tmp_path / "config.yml").write_text(text)
    refuse(tmp_path / "config.yml")
    refuse(io.StringIO(text))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", PASSED_OVER)
def test_what_is_passed_over(name: str, tmp_path: Path) -> None:
    text = PASSED_OVER[name].replace("FILE", str(tmp_path / "ran"))
    (tmp_path / "config.yml").write_text(text)
    assert DriverParameters.from_config(tmp_path / "config.yml", {}).bucket == "b"
    assert not (tmp_path / "ran").exists()


def test_merges_are_as_quick_as_they_are_long() -> None:
    """Each of the levels is read once for each time that it is merged, and no more than so often."""
    text = f"{MERGES}storage:\n  s3:\n    <<: *a11\n"
    started = time.monotonic()
    refuse(io.StringIO(text))
    assert time.monotonic() - started < 5


def test_merges_of_nothing_have_an_end() -> None:
    levels = "".join(f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}]}}\n" for n in range(1, 12))
    started = time.monotonic()
    refuse(io.StringIO(f"a0: &a0 {{}}\n{levels}storage:\n  s3:\n    <<: *a11\n"))
    assert time.monotonic() - started < 5


def test_a_flood_of_keys_is_one_line(caplog: pytest.LogCaptureFixture) -> None:
    text = GOOD + "".join("    bucket: b\n" for _ in range(5_000)) + "x: {Ünsäfe: 1, Ünsäfe: 2}\n"
    notices._given.clear()
    with pytest.warns(ConfigurationWarning) as warned:
        DriverParameters.from_config(io.StringIO(text), {})
    assert len(warned) == len(caplog.records) == 1
    message = str(warned[0].message)
    assert len(message) < 300
    assert "line 6" in message
    assert "and 4998 more" in message
    assert "Ünsäfe" not in message


@pytest.mark.parametrize(
    "data", [b"\xff\xfe\xff", b"\xc3\x28", b"\x00\x01", "storage: é".encode("latin-1"), b"\xff" * 100]
)
def test_what_is_no_text(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "config.yml").write_bytes(data)
    refuse(tmp_path / "config.yml")
    with open(tmp_path / "config.yml", encoding="utf-8") as stream:
        refuse(stream)


def test_what_is_no_file(tmp_path: Path) -> None:
    assert "is no file" in refuse(tmp_path)
    for device in ("/dev/null", "/dev/zero", "/dev/urandom"):
        assert "is no file" in refuse(device)
    with pytest.raises(FileNotFoundError):
        DriverParameters.from_config(tmp_path / "missing", {})
    with pytest.raises(ParameterError, match="is no file"):
        RegistryFileSystem(config=str(tmp_path))


def test_what_is_too_large(tmp_path: Path) -> None:
    (tmp_path / "config.yml").write_text(GOOD + "#" * LARGEST)
    assert "larger than 1 MiB" in refuse(tmp_path / "config.yml")
    assert "larger than 1 MiB" in refuse(io.StringIO(GOOD + "#" * LARGEST))


def test_a_pipe_is_read(tmp_path: Path) -> None:
    """As a shell gives one for ``<(...)``, where a secret is not to lie in a file."""
    reading, writing = os.pipe()
    os.write(writing, GOOD.encode())
    os.close(writing)
    try:
        assert DriverParameters.from_config(f"/dev/fd/{reading}", {}).bucket == "b"
    finally:
        os.close(reading)


@pytest.mark.parametrize(
    "text",
    [
        BOMB + GOOD,  # by reference: it takes no more room than it does here
        "x: &x {bucket: q, region: us-east-1}\nstorage:\n  s3:\n    <<: *x\n    bucket: b\n",
        GOOD.replace("b\n", "&b b\n") + "x: *b\n",
        "\ufeff" + GOOD,
    ],
)
def test_what_is_read(text: str) -> None:
    assert DriverParameters.from_config(io.StringIO(text), {}).bucket == "b"


LINES = st.sampled_from(
    [
        *(
            "storage:",
            "  s3:",
            "  s3aws:",
            "    bucket: b",
            "    region: us-east-1",
            "    <<: *a",
            "&a",
            "- ",
        ),
        *("? ", "!!", "{", "}", "[", "]", "'", '"', "|", ">", "%YAML 9", "---", "...", "\t", "*a", ": ", "#"),
        "    secretkey: sEcReT",
    ]
) | st.text(max_size=8)


@settings(deadline=None, max_examples=300)
@given(
    st.lists(LINES, max_size=12).map("\n".join) | st.binary(max_size=80).map(lambda b: b.decode("latin-1"))
)
def test_only_parameter_errors_come_out(text: str) -> None:
    with contextlib.suppress(ParameterError):
        DriverParameters.from_config(io.StringIO(text), {})
