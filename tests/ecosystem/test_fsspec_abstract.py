"""fsspec's own suites for filesystems.

Those for copies and uploads delete directories, make them anew within a test, and look at once. SeaweedFS
goes on listing a directory for up to half a minute after its last file is gone, so they run on moto.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import fsspec.tests.abstract as abstract
import pytest

from regfs import RegistryFileSystem

if TYPE_CHECKING:
    from collections.abc import Callable

on_moto = pytest.mark.parametrize("server", ["moto"], indirect=True)


class Fixtures(abstract.AbstractFixtures):
    @pytest.fixture
    def fs(self, options: dict[str, Any]) -> RegistryFileSystem:
        return RegistryFileSystem(**options)

    @pytest.fixture
    def fs_path(self) -> str:
        return "/suite"

    @pytest.fixture
    def fs_join(self) -> Callable[..., str]:
        return lambda *parts: "/".join(parts)

    @pytest.fixture
    def fs_target(self, fs_path: str) -> str:
        return f"{fs_path}/target"

    @pytest.fixture
    def supports_empty_directories(self) -> bool:
        return False


@on_moto
class TestCopy(abstract.AbstractCopyTests, Fixtures):
    pass


@on_moto
class TestPut(abstract.AbstractPutTests, Fixtures):
    pass


class TestGet(abstract.AbstractGetTests, Fixtures):
    pass


class TestPipe(abstract.AbstractPipeTests, Fixtures):
    pass


class TestOpen(abstract.AbstractOpenTests, Fixtures):
    pass
