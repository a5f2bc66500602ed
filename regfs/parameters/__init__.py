"""The registry's parameters: the table, configuration files, and what is warned of."""

from __future__ import annotations

from regfs.parameters.table import DriverParameters, ParameterError

__all__ = ["DriverParameters", "ParameterError"]
