"""A registry's ``config.yml`` and environment, read as the registry reads them.

Only finds the S3 section and what the environment puts over it; what the values mean is for
:mod:`regfs.parameters.table`. The rules are those of distribution's ``configuration/parser.go`` and of its
YAML package, go-yaml v2, with GitLab's section ``s3_v2``; but a value is the text that was written, where
go-yaml makes 120000 of ``12e4``.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping, Sequence
from typing import Any, TextIO

from regfs.parameters.goyaml import NAME, Document
from regfs.parameters.values import ParameterError, shown

LARGEST = 2**20
"""Bytes of a file."""
KINDS = ("s3", "s3aws", "s3_v2")
"""The registry's names of its S3 storage drivers; the last is GitLab's."""

Section = dict[Any, tuple[Any, str]]
"""By key: the value as it is written, and the variable it is from, "" for the file."""

_TYPE = "REGISTRY_STORAGE"
# What stands in `storage` beside the driver's section.
_NOT_DRIVERS = ("cache", "delete", "maintenance", "redirect", "tag")
_QUOTES = "put the value in single quotes, within the variable"


def read(source: str | os.PathLike[str] | TextIO | None, environ: Mapping[str, str]) -> Section:
    """Find the S3 storage parameters of a registry.

    Parameters
    ----------
    source : str, path-like, text stream or None
        The ``config.yml``; None where there is the environment alone.
    environ : mapping of str to str
        Where the ``REGISTRY_STORAGE...`` variables are looked up.

    Returns
    -------
    dict
        By key: the value, which is text, None for "not given", or an empty dict or list in place of one that
        is not empty; and the variable it is from, "" for the file.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ParameterError
        It is a directory or a device, larger than ``LARGEST`` or no YAML; there is no S3 storage, or a second
        storage; or a variable is no YAML.
    """
    origin, storage = "the environment", dict[str, Section]()
    if source is not None:
        origin, content = _load(source)
        document = Document(content, origin, "config")
        storage = _storage(document, document.entries(document.root, "the file").get("storage"))
    if _TYPE in environ:
        # As in the registry: this variable is applied first and leaves nothing of the file's storage.
        origin, document = _TYPE, _variable(_TYPE, _TYPE, environ[_TYPE])
        storage = _storage(document, document.root)
    variables = _variables(environ)
    kind = _kind(origin, [name for name in storage if name not in _NOT_DRIVERS], variables, environ)
    section = storage.get(kind, {})
    # In this order: where both are set, the one that names the section exactly counts.
    for driver in dict.fromkeys(("s3", kind)):
        for variable, key in variables.get(driver, {}).items():
            document = _variable(variable, key, environ[variable])
            if not key:
                whole = _section(document, document.root, "it")
                section = {key: (value, f"{variable}: {key}") for key, (value, _) in whole.items()}
                continue
            value = document.scalar(document.root, "it")
            if isinstance(value, (dict, list)):
                raise document.error(f"is no text for the registry, which reads YAML; {_QUOTES}")
            section[key] = (value, variable)
    return section


def in_environment(environ: Mapping[str, str]) -> bool:
    """Return whether a variable that is not empty is about an S3 storage."""
    variables = _variables(environ)
    return any(environ[name] for kind in KINDS for name in variables.get(kind, ()))


# -- the environment ----------------------------------------------------------------------------------


def _variables(environ: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Return, for each driver, the variables about it, in the registry's order, and the key that each sets.

    The key is "" where a variable gives the whole section.
    """
    variables: dict[str, dict[str, str]] = {}
    for variable in sorted(environ):
        rest = variable.removeprefix(f"{_TYPE}_")
        if rest == variable:
            continue
        driver, _, key = rest.partition("_")
        if rest == "S3_V2" or rest.startswith("S3_V2_"):  # which GitLab's registry does not split
            driver, key = "S3_V2", rest[len("S3_V2_") :]
        if driver != driver.upper() and driver.lower() in KINDS:
            text = f"the registry's variables are upper-case; set {_TYPE}_{driver.upper()}_{key.upper()}"
            raise ParameterError(f"{shown(variable, quotes=False)}: {shown(text, quotes=False)}", key.lower())
        if driver.lower() not in _NOT_DRIVERS:
            variables.setdefault(driver.lower(), {})[variable] = key.lower() if key.isascii() else key
    return variables


def _kind(
    where: str, drivers: Sequence[Any], variables: Mapping[str, Mapping[str, str]], environ: Mapping[str, str]
) -> str:
    """Return which S3 section counts, or raise an error where the registry would not know it either."""
    key = _TYPE if where == _TYPE else "config"
    if len(drivers) > 1:
        text = f"has both {' and '.join(_names(drivers))}; a registry takes only one, so remove the rest"
        raise ParameterError(f"{where}: {text}", key)
    set_by = {driver: [name for name in names if environ[name]] for driver, names in variables.items()}
    in_use = [driver for driver, names in set_by.items() if names]
    kinds = [kind for kind in KINDS if kind in in_use]
    if not drivers and len(kinds) > 1 and "s3" in kinds:
        kinds.remove("s3")  # whose variables count for the others, too
    if drivers and drivers[0] not in KINDS and kinds:
        text = f"has {_names(drivers)[0]} beside {set_by[kinds[0]][0]}; set {_TYPE}={kinds[0]} to replace it"
        raise ParameterError(f"{where}: {shown(text, quotes=False, width=200)}", key)
    kind = drivers[0] if drivers else kinds[0] if kinds else ""
    if kind not in KINDS:
        listed = ", ".join(_names(drivers)) or "no storage driver"
        needed = ", ".join(f"storage.{each}" for each in KINDS)
        raise ParameterError(f"{where}: has {listed}; regfs needs one of {needed}", key)
    for driver in in_use:
        if driver not in ("s3", kind):
            name = set_by[driver][0]
            instead = f"{_TYPE}_{kind.upper()}_{variables[driver][name].upper()}".removesuffix("_")
            text = f"set {instead} instead" if driver in KINDS else "unset it"
            text = f"is about another storage than storage.{kind}, of which a registry takes only one; {text}"
            raise ParameterError(f"{shown(name, quotes=False)}: {text}", variables[driver][name])
    return kind


def _names(drivers: Sequence[Any]) -> list[str]:
    return [f"storage.{name}" if NAME.fullmatch(name) else "another" for name in drivers]


# -- sections -----------------------------------------------------------------------------------------


def _load(source: str | os.PathLike[str] | TextIO) -> tuple[str, str | bytes]:
    """Return how the file is called in errors, and its content."""
    if isinstance(source, (str, os.PathLike)):
        source = os.path.expanduser(source)
        origin = f"config: {shown(os.fsdecode(source), quotes=False, width=4096)}"
        mode = os.stat(source).st_mode
        if stat.S_ISDIR(mode) or stat.S_ISCHR(mode) or stat.S_ISBLK(mode):  # but a pipe holds a file as well
            raise ParameterError(f"{origin}: is no file", "config")
        with open(source, "rb") as file:
            content: str | bytes = file.read(LARGEST + 1)
    else:
        origin = f"config: {shown(str(getattr(source, 'name', 'a stream')), quotes=False, width=4096)}"
        try:
            content = source.read(LARGEST + 1)
        except UnicodeDecodeError:
            content = "\0"
    if len(content) > LARGEST:
        raise ParameterError(
            f"{origin}: is larger than {LARGEST // 2**20} MiB, as no registry's is", "config"
        )
    return origin, content


def _storage(document: Document, node: Any) -> dict[str, Section]:
    """Return the sections by driver; the mere name of a driver stands for an empty one."""
    name = document.scalar(node, "storage")
    if isinstance(name, str):
        return {name: {}}
    return {
        driver: _section(document, value, f"storage.{driver}") if driver in KINDS else {}
        for driver, value in document.entries(node, "storage").items()
    }


def _section(document: Document, node: Any, name: str) -> Section:
    return {
        key: (document.scalar(value, f"{name}.{key}" if NAME.fullmatch(key) else "a value"), "")
        for key, value in document.entries(node, name).items()
    }


def _variable(variable: str, key: str, content: str) -> Document:
    """Read a variable, whose value is YAML for the registry."""
    return Document(
        content, shown(variable, quotes=False), key, f", as which the registry reads it; {_QUOTES}"
    )
