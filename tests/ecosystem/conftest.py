"""What the ecosystem's suites need of pytest: their markers, and coroutines as tests."""

from __future__ import annotations

import asyncio
import inspect
from typing import Any

import pytest

from regfs import RegistryFileSystem


def pytest_configure(config: pytest.Config) -> None:
    """Register the markers that stand at pyarrow's tests; zarr registers its own."""
    from pyarrow.conftest import groups

    for group in groups:
        config.addinivalue_line("markers", f"{group}: pyarrow's")


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a coroutine function, and close in its loop what it opened there."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = inspect.signature(pyfuncitem.obj).parameters
    given: dict[str, Any] = {name: pyfuncitem.funcargs[name] for name in names}

    async def run() -> None:
        try:
            await pyfuncitem.obj(**given)
        finally:
            for fs in list(RegistryFileSystem._cache.values()):
                if fs.asynchronous:
                    await fs.close()

    asyncio.run(run())
    return True
