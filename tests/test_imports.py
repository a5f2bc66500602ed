"""Who may import whom, and what an import may cost."""

from __future__ import annotations

import subprocess
import sys

import pytest
from support.layers import IMPORTS, LAYERS, OURS, PACKAGE, SAME_LAYER, floors, part_of, parts

# Who may import the packages that are large or tell how requests travel; everyone else goes through them.
MAY_IMPORT_OF_OTHERS: dict[str, set[str]] = {
    "aiobotocore": {"s3.session"},
    "aiohttp": {"s3.failures", "s3.fast", "s3.retry", "s3.session"},
    "awscrt": {"s3.checksums"},
    "boto3": set(),
    "botocore": {"local.server", "parameters.regions", "s3.failures", "s3.fast", "s3.retry", "s3.session"},
    "click": {"cli"},
    "dask": {"frames.distributed"},
    "hypothesis": {"testing"},
    "jinja2": {"report"},
    "pandas": {"demo", "frames"},
    "prometheus_client": {"catalog.metrics"},
    "pytest": {"testing"},
    "rich": {"cli", "demo"},
    "s3fs": {"s3.transport"},
    "squarify": {"report.charts"},
    "tenacity": {"s3.retry"},
    "upath": {"filesystem.upath"},
    "yaml": {"parameters.goyaml"},
}
"""By module, or by part for all modules in it."""
HEAVY = ("aiobotocore", "aiohttp", "botocore", "dask", "pandas", "s3fs", "yaml")


def run(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=PACKAGE.parent, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_every_part_has_its_layer() -> None:
    assert sorted({part_of(module) for module in OURS}) == sorted(part for layer in LAYERS for part in layer)


@pytest.mark.parametrize("module", OURS)
def test_imports_point_downwards(module: str) -> None:
    layer = {part: number for number, layer in enumerate(LAYERS) for part in layer}
    own = part_of(module)
    others = {part_of(name) for name in OURS[module]} - {own}
    if not module:
        return  # what it imports is for type checkers, and resolved on first use
    assert [part for part in others if layer[part] >= layer[own] and (own, part) not in SAME_LAYER] == []
    assert "a relative import" not in IMPORTS[module]


def test_no_modules_import_each_other_in_a_circle() -> None:
    assert floors({module: ours - {""} for module, ours in OURS.items() if module})


def test_nine_floors_are_enough() -> None:
    assert len(floors(parts())) <= 9


@pytest.mark.parametrize("module", IMPORTS)
def test_imports_of_others(module: str) -> None:
    packages = {name.split(".")[0] for name in IMPORTS[module]}
    refused = {
        package
        for package in packages & set(MAY_IMPORT_OF_OTHERS)
        if not MAY_IMPORT_OF_OTHERS[package] & {module, part_of(module)}
    }
    assert refused == set()


@pytest.mark.parametrize(
    "statement",
    [
        "import fsspec, regfs",
        "import regfs.parameters.table",
        "import regfs.layout, regfs.image, regfs.local.server",
        "import fsspec; from regfs import RegistryFileSystem, StorageDriver, DriverParameters, FileWriter",
    ],
)
def test_an_import_is_cheap(statement: str) -> None:
    code = f"import sys; {statement}; print(*sorted({{n.split('.')[0] for n in sys.modules}} & set({HEAVY})))"
    assert run(code) == ""


def test_importing_the_package_takes_none_of_its_modules() -> None:
    code = "import sys, regfs; print(*sorted(n for n in sys.modules if n.startswith('regfs.')))"
    assert run(code) == "regfs._version"


def test_making_a_filesystem_opens_no_connection() -> None:
    code = """
import socket
def refuse(*args):
    raise AssertionError(f"connected to {args}")
socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = refuse
import fsspec
from regfs import StorageDriver
options = dict(accesskey="a", secretkey="b", bucket="registry", region="us-east-1")
fs = fsspec.get_filesystem_class("regfs")(**options)
assert fsspec.filesystem("regfs", **options) is fs
assert fs.unstrip_protocol("/a") == "regfs://registry/a"
StorageDriver(fs)
print("made", type(fs).__name__)
"""
    assert run(code) == "made RegistryFileSystem"
