"""The suite's second subject: a driver that has nothing in common with S3."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from support.memory import MemoryDriver

from regfs.testing import StorageDriverSuite, machine

if TYPE_CHECKING:
    from regfs.testing import Driver


class TestMemory(StorageDriverSuite):
    presigned = False

    def make_driver(self) -> Driver:
        return MemoryDriver()

    def leftovers(self, driver: Driver) -> list[str]:
        assert isinstance(driver, MemoryDriver)
        return [*driver.files, *(f"an upload of {path}" for path in driver.uploads)]


TestInOneLine = StorageDriverSuite.of(MemoryDriver, presigned=False)
TestAtRandom = machine(MemoryDriver, large=100_000)


@pytest.mark.parametrize("missing", ["pytest", "hypothesis"])
def test_a_missing_extra_is_named(missing: str) -> None:
    code = f"import sys; sys.modules[{missing!r}] = None; import regfs.testing"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].endswith('needs the extra testing: pip install "regfs[testing]"')


def test_without_a_driver_the_suite_says_what_to_do() -> None:
    with pytest.raises(NotImplementedError, match="override make_driver"):
        StorageDriverSuite().make_driver()
