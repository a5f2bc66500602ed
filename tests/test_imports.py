"""Who may import whom, and what an import may cost.

The table is the architecture: a module imports those of the layers beneath it and nothing else. A new
module needs a row here, which is the moment to think about where it belongs.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "regfs"

# Lowest layer first. "" is the package itself, whose names are resolved on first use.
MAY_IMPORT: dict[str, set[str]] = {
    "_version": set(),
    "_supervisor": set(),
    "errors": set(),
    "waiting": set(),
    "values": set(),
    "answers": set(),
    "retry": {"errors"},
    "stream": set(),
    "layout": set(),
    "checksums": set(),
    "config": {"values"},
    "regions": set(),
    "parameters": {"config", "regions", "values"},
    "paths": {"errors"},
    "sigv4": set(),
    "documents": {"answers"},
    "redaction": set(),
    "http1": set(),
    "wire": {"http1"},
    "pool": {"wire"},
    "fast": {"_version", "documents", "pool", "retry", "sigv4"},
    "session": {"documents", "errors", "redaction"},
    "lane": {"_version", "errors", "fast", "retry", "session", "sigv4"},
    "multipart": {"answers", "checksums", "errors", "fast", "lane"},
    "client": {"answers", "checksums", "documents", "errors", "fast", "multipart", "retry"},
    "listing": {"answers", "client"},
    "upload": set(),
    "transfer": {"client", "upload"},
    "verify": {"errors", "layout"},
    "download": {"errors", "transfer"},
    "resume": {"errors", "paths", "transfer", "upload"},
    "pending": {"errors", "paths", "transfer"},
    "insecure": set(),
    "tree": {
        "answers",
        "client",
        "errors",
        "insecure",
        "lane",
        "listing",
        "parameters",
        "paths",
        "waiting",
    },
    "file": {"stream", "upload", "verify", "waiting"},
    "afile": set(),
    "ranges": set(),
    "contents": {
        "download",
        "file",
        "transfer",
        "tree",
        "upload",
        "verify",
        "waiting",
    },
    "bulk": {"answers", "contents", "listing", "ranges", "transfer"},
    "filesystem": {
        "afile",
        "answers",
        "bulk",
        "client",
        "errors",
        "file",
        "listing",
        "pending",
        "tree",
        "upload",
        "verify",
        "waiting",
    },
    "walk": {"answers", "errors", "listing", "tree"},
    "reader": {"verify", "waiting"},
    "writer": {"resume", "waiting"},
    "driver": {"client", "errors", "filesystem", "paths", "reader", "waiting", "walk", "writer"},
    "": {"_version"},
    "manifest": {"layout"},
    "refusal": {"manifest"},
    "snapshot": {"layout", "manifest"},
    "source": set(),
    "search": {"layout", "source"},
    "reading": {"manifest", "refusal", "snapshot", "verify"},
    "scan": {"layout", "manifest", "reading", "snapshot", "source"},
    "pulls": {"layout", "refusal", "verify"},
    "findings": set(),
    "faults": {"findings", "layout", "pulls", "verify"},
    "fsck": {
        "faults",
        "findings",
        "layout",
        "manifest",
        "pulls",
        "reading",
        "scan",
        "snapshot",
        "source",
        "verify",
    },
    "reach": set(),
    "records": {"layout"},
    "usage": {"layout", "snapshot"},
    "plan": {"layout", "source"},
    "orphans": {"layout", "manifest", "plan", "reach", "reading", "scan", "snapshot", "source"},
    "catalog": {
        "fsck",
        "layout",
        "orphans",
        "reach",
        "records",
        "scan",
        "search",
        "snapshot",
        "source",
        "usage",
    },
    "frames.schemas": set(),
    "frames": {"frames.schemas"},
    "frames.rows": set(),
    "frames.making": {"frames.schemas"},
    "frames.parquet": {"frames.schemas"},
    "frames.tables": {"frames.making", "frames.parquet", "frames.rows", "frames.schemas", "layout"},
    "frames.partitions": {
        "catalog",
        "frames",
        "frames.making",
        "frames.schemas",
        "layout",
        "manifest",
        "scan",
        "snapshot",
    },
    "frames.distributed": {
        "catalog",
        "frames",
        "frames.making",
        "frames.partitions",
        "frames.schemas",
        "layout",
        "search",
        "source",
    },
    "names": {"layout"},
    "lookup": {"layout", "manifest", "names", "scan", "search", "snapshot", "source"},
    "inspection": {"lookup", "snapshot"},
    "layers": {"layout", "source"},
    "upath": {"paths"},
    "image": {"layout"},
    "local": {"_supervisor"},
    "demo": {"driver", "image", "layout", "local"},
    "testing.base": {""},
    "testing.content": {"", "testing.base"},
    "testing.streams": {"", "testing.base"},
    "testing.tree": {"", "testing.base"},
    "testing.machine": {"", "testing.base"},
    "testing": {"testing.base", "testing.content", "testing.machine", "testing.streams", "testing.tree"},
    "checks": set(),
    "endpoint": {"checks", "fast"},
    "permissions": {"checks"},
    "trial": {"answers", "checks", "checksums", "fast", "permissions"},
    "doctor": {
        "checks",
        "endpoint",
        "layout",
        "permissions",
        "search",
        "source",
        "trial",
        "values",
        "waiting",
    },
    "cli": set(),
    "cli.errors": {"cli", "errors", "values"},
    "cli.place": {"cli.errors", "config", "driver", "filesystem", "paths", "values"},
    "cli.output": set(),
    "cli.options": {"cli.errors", "cli.output", "cli.place"},
    "cli.sides": {"cli.errors", "errors", "transfer", "waiting"},
    "cli.transfer": {"cli.sides", "transfer", "waiting"},
    "cli.files": {
        "cli.errors",
        "cli.options",
        "cli.output",
        "cli.place",
        "cli.sides",
        "errors",
        "paths",
        "waiting",
    },
    "cli.changes": {
        "cli.errors",
        "cli.options",
        "cli.output",
        "cli.place",
        "cli.sides",
        "cli.transfer",
        "waiting",
    },
    "cli.uploads": {"cli.errors", "cli.options", "cli.output", "cli.place"},
    "cli.doctor": {"checks", "cli.errors", "cli.options", "cli.output", "cli.place", "doctor"},
    "cli.scanning": {
        "catalog",
        "cli.errors",
        "cli.output",
        "cli.place",
        "layout",
        "lookup",
        "source",
    },
    "report.words": set(),
    "report.charts": {"report.words"},
    "report.content": {"layout", "report.charts"},
    "report": {"_version", "report.charts", "report.content", "report.words"},
    "cli.care": {
        "cli.errors",
        "cli.options",
        "cli.output",
        "cli.place",
        "cli.scanning",
        "orphans",
        "plan",
    },
    "cli.share": {
        "cli.errors",
        "cli.options",
        "cli.output",
        "cli.place",
        "cli.scanning",
        "frames",
        "report",
    },
    "cli.registry": {
        "cli.options",
        "cli.output",
        "cli.place",
        "cli.scanning",
        "inspection",
        "lookup",
    },
    "cli.image": {
        "cli.errors",
        "cli.options",
        "cli.output",
        "cli.place",
        "cli.scanning",
        "inspection",
        "layers",
        "layout",
        "lookup",
        "names",
    },
    "cli.group": {"_version", "cli.errors"},
    "__main__": {"cli"},
}

# Who may import the packages that are large or tell how requests travel; everyone else goes through them.
MAY_IMPORT_OF_OTHERS: dict[str, set[str]] = {
    "aiobotocore": {"session"},
    "aiohttp": {"errors", "fast", "retry", "session"},
    "aiolimiter": {"lane"},
    "awscrt": {"checksums"},
    "boto3": set(),
    "botocore": {"errors", "fast", "local", "regions", "retry", "session"},
    "click": {
        f"cli.{name}"
        for name in (
            "care",
            "changes",
            "doctor",
            "errors",
            "files",
            "group",
            "image",
            "options",
            "output",
            "registry",
            "scanning",
            "share",
            "uploads",
        )
    },
    "dask": {"frames.distributed"},
    "jinja2": {"report"},
    "hypothesis": {"testing", "testing.machine"},
    "pandas": {"demo", "frames.making", "frames.partitions"},
    "pytest": {"testing", *(f"testing.{name}" for name in ("base", "content", "machine", "streams", "tree"))},
    "rich": {"cli.output", "cli.scanning", "demo"},
    "s3fs": {"lane"},
    "squarify": {"report.charts"},
    "tenacity": {"retry"},
    "upath": {"upath"},
    "yaml": {"config"},
}
HEAVY = ("aiobotocore", "aiohttp", "botocore", "dask", "pandas", "s3fs", "yaml")


def imports_of(path: Path) -> set[str]:
    """Give the modules that a module imports, anywhere in it, except for type checkers alone."""
    found: set[str] = set()
    waiting: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    while waiting:
        node = waiting.pop()
        match node:
            case ast.If(test=ast.Name(id="TYPE_CHECKING")):
                waiting += node.orelse
                continue
            case ast.Import():
                found.update(name.name for name in node.names)
            case ast.ImportFrom(level=0, module="regfs"):
                modules = {name.name for name in node.names if (PACKAGE / f"{name.name}.py").exists()}
                found.update(f"regfs.{name}" for name in modules)
                if len(modules) < len(node.names):
                    found.add("regfs")
            case ast.ImportFrom(level=0, module=str(module)):
                found.add(module)
            case ast.ImportFrom():
                found.add("a relative import")
        waiting += ast.iter_child_nodes(node)
    return found


MODULES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
    .removesuffix("__init__")
    .rstrip("."): imports_of(path)
    for path in sorted(PACKAGE.rglob("*.py"))
}


def run(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=PACKAGE.parent, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_every_module_has_a_row_and_every_row_a_module() -> None:
    assert set(MODULES) == set(MAY_IMPORT)


@pytest.mark.parametrize("module", MODULES)
def test_imports_of_our_own_modules(module: str) -> None:
    ours = {
        name.removeprefix("regfs").removeprefix(".")
        for name in MODULES[module]
        if name.split(".")[0] == "regfs"
    }
    assert ours - MAY_IMPORT[module] == set()
    assert MAY_IMPORT[module] - ours - {""} == set(), "in the table, but not imported any more"
    assert "a relative import" not in MODULES[module]


@pytest.mark.parametrize("module", MODULES)
def test_imports_of_others(module: str) -> None:
    packages = {name.split(".")[0] for name in MODULES[module]}
    refused = {package for package in packages if module not in MAY_IMPORT_OF_OTHERS.get(package, {module})}
    assert refused == set()


def test_the_table_points_downwards() -> None:
    order = list(MAY_IMPORT)
    upwards = [
        (module, lower)
        for module, lowers in MAY_IMPORT.items()
        for lower in lowers
        if order.index(lower) > order.index(module)
    ]
    assert upwards == []


@pytest.mark.parametrize(
    "statement",
    [
        "import fsspec, regfs",
        "import regfs.parameters",
        "import regfs.layout, regfs.image, regfs.local",
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
