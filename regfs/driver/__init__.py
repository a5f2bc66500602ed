"""The registry's face of a store: its driver interface."""

from __future__ import annotations

from regfs.driver.driver import FileInfo, StorageDriver, create
from regfs.driver.walk import SkipDir, StopWalk
from regfs.driver.writer import FileWriter

__all__ = ["FileInfo", "FileWriter", "SkipDir", "StopWalk", "StorageDriver", "create"]
