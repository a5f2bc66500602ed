"""Fixtures of the command's tests: run it in this process, or as the real thing."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from regfs.cli.group import cli

Regfs = Callable[..., Result]


@pytest.fixture
def config(options: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> str:
    """A registry's config.yml for the empty place of ``options``."""
    path = tmp_path_factory.mktemp("config") / "config.yml"
    path.write_text(yaml.safe_dump({"version": 0.1, "storage": {"s3": options}}))
    return str(path)


@pytest.fixture
def proxied(proxied_options: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> str:
    """The same through the counting proxy."""
    path = tmp_path_factory.mktemp("config") / "config.yml"
    path.write_text(yaml.safe_dump({"version": 0.1, "storage": {"s3": proxied_options}}))
    return str(path)


@pytest.fixture
def regfs(config: str, monkeypatch: pytest.MonkeyPatch) -> Regfs:
    """Run a command line in this process, on the empty place; ``code`` is the exit code it must have."""
    monkeypatch.setenv("REGFS_CONFIG", config)

    def run(*arguments: str, code: int = 0, **kwargs: Any) -> Result:
        result = CliRunner().invoke(cli, list(arguments), prog_name="regfs", **kwargs)
        assert result.exit_code == code, (result.output, result.exception)
        return result

    return run


@pytest.fixture
def process(config: str) -> Callable[..., subprocess.Popen[bytes]]:
    """Start the command as a process of its own, on the empty place."""

    def start(
        *arguments: str, environ: dict[str, str] | None = None, **kwargs: Any
    ) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "regfs", *arguments],
            env={**os.environ, "REGFS_CONFIG": config, **(environ or {})},
            stdin=kwargs.pop("stdin", subprocess.DEVNULL),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            **kwargs,
        )

    return start
