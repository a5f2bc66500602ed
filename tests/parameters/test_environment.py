"""Where a filesystem's parameters come from in Python, and that nothing but them is kept."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import pytest
import yaml

import regfs
from regfs import ParameterError, RegistryFileSystem
from regfs.parameters.table import resolve

CONFIG = {
    "accesskey": "AKfromfile",
    "secretkey": "SKfromfile",
    "region": "eu-west-1",
    "bucket": "registry",
    "rootdirectory": "/a",
    "chunksize": 16777216,
}
S3 = "REGISTRY_STORAGE_S3_"


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A ``config.yml`` in the home directory."""
    monkeypatch.setenv("HOME", str(tmp_path))
    path = tmp_path / "config.yml"
    path.write_text(yaml.safe_dump({"storage": {"s3": CONFIG}}))
    return path


def opened_by_url() -> RegistryFileSystem:
    fs = fsspec.open("regfs://registry/x").fs
    assert isinstance(fs, RegistryFileSystem)
    return fs


WAYS: dict[str, Callable[[], RegistryFileSystem]] = {
    "the class": lambda: RegistryFileSystem(),
    "fsspec.filesystem": lambda: fsspec.filesystem("regfs"),
    "a URL": opened_by_url,
    "the driver": lambda: regfs.StorageDriver(RegistryFileSystem()).fs,
}


class TestEnvironment:
    @pytest.mark.parametrize("way", WAYS)
    def test_regfs_config_names_the_file(
        self, config: Path, way: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("REGFS_CONFIG", "~/config.yml")
        assert WAYS[way]().parameters.to_mapping() == CONFIG

    @pytest.mark.parametrize("way", WAYS)
    def test_the_registrys_variables_are_enough(self, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
        for key, value in CONFIG.items():
            monkeypatch.setenv(S3 + key.upper(), str(value))
        assert WAYS[way]().parameters.to_mapping() == CONFIG

    def test_the_variables_override_the_file(self, config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("REGFS_CONFIG", str(config))
        monkeypatch.setenv(S3 + "ROOTDIRECTORY", "/b")
        assert RegistryFileSystem().parameters.root_directory == "/b"

    def test_a_bucket_in_the_url_counts(self, config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("REGFS_CONFIG", str(config))
        assert fsspec.open("regfs://another/x").fs.parameters.bucket == "another"
        assert type(fsspec.open("regfs://another/x").fs.storage_options["bucket"]) is str

    def test_options_are_not_mixed_with_it(self, config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("REGFS_CONFIG", str(config))
        monkeypatch.setenv(S3 + "ROOTDIRECTORY", "/b")
        given: dict[str, Any] = {"bucket": "own", "region": "us-east-1"}
        assert RegistryFileSystem(**given).parameters.to_mapping() == given

    def test_what_is_no_parameter_does_not_count(self, config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("REGFS_CONFIG", str(config))
        fs = RegistryFileSystem(skip_instance_cache=True, batch_size=7, region=None)
        assert fs.parameters.region == "eu-west-1"
        assert fs.batch_size == 7

    def test_an_instance_is_of_the_environment_that_it_was_made_in(
        self, config: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("REGFS_CONFIG", str(config))
        first = RegistryFileSystem()
        assert RegistryFileSystem() is first
        monkeypatch.setenv(S3 + "BUCKET", "second")
        assert RegistryFileSystem().parameters.bucket == "second"
        config.write_text(config.read_text().replace("/a", "/c"))
        assert RegistryFileSystem().parameters.root_directory == "/c"
        assert first.parameters.root_directory == "/a"

    def test_a_file_that_is_missing(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setenv("REGFS_CONFIG", str(tmp_path / "none.yml"))
        with pytest.raises(FileNotFoundError, match=r"REGFS_CONFIG names no file.*none\.yml"):
            RegistryFileSystem()

    @pytest.mark.parametrize(
        ("options", "key"), [({}, "bucket"), ({"bucket": "b"}, "region"), ({"anon": True}, "bucket")]
    )
    def test_nothing_is_given(self, options: dict[str, Any], key: str) -> None:
        with pytest.raises(ParameterError) as caught:
            RegistryFileSystem(**options)
        text = str(caught.value)
        assert caught.value.key == key
        assert "storage_options=" in text
        assert "REGFS_CONFIG" in text
        assert S3 in text
        assert "\n" not in text


class TestRegion:
    @pytest.mark.parametrize("variable", ["AWS_REGION", "AWS_DEFAULT_REGION"])
    def test_aws_variables_give_what_is_missing(
        self, variable: str, config: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        config.write_text(config.read_text().replace("region: eu-west-1", "region:"))
        monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-north-1")
        monkeypatch.setenv(variable, "eu-central-1")
        for options in ({"bucket": "b"}, {"bucket": "b", "encrypt": True}, {"config": config}):
            fs = RegistryFileSystem(**options)
            assert fs.parameters.region == fs.storage_options["region"] == "eu-central-1", options

    def test_and_nothing_else(self, config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_REGION", "eu-central-1")
        assert RegistryFileSystem(config=config).parameters.region == "eu-west-1"
        own: dict[str, Any] = {"bucket": "b", "regionendpoint": "http://127.0.0.1:9"}
        assert RegistryFileSystem(**own).parameters.region == ""
        assert resolve(own) == own

    def test_an_error_names_the_variable(self, config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        config.write_text(config.read_text().replace("region: eu-west-1", "region:"))
        monkeypatch.setenv("AWS_REGION", "eu_west-1")
        with pytest.raises(ParameterError, match=r"^AWS_REGION: 'eu_west-1' is not a region.*eu-west-1"):
            RegistryFileSystem(config=config)


class TestTravelling:
    def test_the_parameters_travel_and_not_the_file(self, config: Path) -> None:
        fs = RegistryFileSystem(config="~/config.yml", chunksize="8MiB", anon=False)
        assert fs.storage_options == {**CONFIG, "chunksize": 8388608, "anon": False}
        config.unlink()
        RegistryFileSystem.clear_instance_cache()
        for again in (pickle.loads(pickle.dumps(fs)), fsspec.AbstractFileSystem.from_json(fs.to_json())):
            assert again.parameters == fs.parameters
            assert again == fs

    def test_to_a_process_that_has_another_environment(
        self, config: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setenv("REGFS_CONFIG", str(config))
        pickled = pickle.dumps(fsspec.open("regfs://registry/x").fs)
        code = "import sys, pickle, json; fs = pickle.loads(sys.stdin.buffer.read()); "
        code += "print(json.dumps(fs.parameters.to_mapping()))"
        environ = {**os.environ, "REGFS_CONFIG": str(tmp_path / "none"), S3 + "ROOTDIRECTORY": "/other"}
        done = subprocess.run(
            [sys.executable, "-c", code], input=pickled, env=environ, capture_output=True, timeout=60
        )
        assert json.loads(done.stdout) == CONFIG, done.stderr

    def test_fsspecs_own_configuration_is_added_once(
        self, config: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        conf = {"config": str(config), "encrypt": True, "batch_size": 5}
        monkeypatch.setitem(fsspec.config.conf, "regfs", conf)
        fs = RegistryFileSystem(encrypt=False)
        assert fs.parameters.to_mapping() == CONFIG
        assert fs.batch_size == 5
        assert pickle.loads(pickle.dumps(fs)).parameters == fs.parameters

    def test_the_command_expands_the_home_directory(self, config: Path) -> None:
        code = "from regfs.cli.place import Place; print(Place('~/config.yml', {}).filesystem())"
        done = subprocess.run(
            [sys.executable, "-c", code], env=dict(os.environ), capture_output=True, text=True, timeout=60
        )
        assert "bucket='registry'" in done.stdout, done.stderr


def test_a_catalog_is_of_the_environment(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGFS_CONFIG", str(config))
    assert regfs.Catalog().source.fs.parameters.to_mapping() == CONFIG
