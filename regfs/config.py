"""A registry's ``config.yml`` and environment, read as the registry reads them.

Only finds the S3 section and what the environment puts over it; what the values mean is for
:mod:`regfs.parameters`. The rules are those of distribution's ``configuration/parser.go``.
"""

from __future__ import annotations

import functools
import os
import re
import stat
from collections.abc import Mapping
from typing import Any, TextIO

from regfs.values import ParameterError, shown, type_name

LARGEST = 2**20
"""Bytes of a file."""
MERGED = 10_000
"""Keys of one mapping, what it merges included."""

_TYPE = "REGISTRY_STORAGE"
_KINDS = ("s3", "s3aws")
# What stands in `storage` beside the driver's section.
_NOT_DRIVERS = ("cache", "delete", "maintenance", "redirect", "tag")
# A name short and plain enough to be repeated; the rest of a foreign file is never shown.
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,31}")


def read(source: str | os.PathLike[str] | TextIO, environ: Mapping[str, str]) -> dict[Any, tuple[Any, str]]:
    """Find the S3 storage parameters of a registry.

    Parameters
    ----------
    source : str, path-like or text stream
        The ``config.yml``.
    environ : mapping of str to str
        Where the ``REGISTRY_STORAGE...`` variables are looked up.

    Returns
    -------
    dict
        By key: the value as it stands there, and the variable it came from, "" for the file. None is
        "not given".

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ParameterError
        It is a directory or a device, larger than ``LARGEST`` or no YAML; it has no S3 storage or two of
        them; or a variable has no effect.
    """
    where, content = _load(source)
    storage = _storage(where, content)
    if environ.get(_TYPE):
        # As in the registry: this variable is applied first and leaves nothing of the file's storage.
        where, storage = _TYPE, {environ[_TYPE]: None}
    kind = _kind(where, storage, environ)
    section = storage.get(kind)
    if section is None:
        section = {}
    if not isinstance(section, dict):
        found = f"is of type {type_name(section)}, not a mapping of parameters"
        raise ParameterError(f"{where}: storage.{kind} {found}", "config")
    return {**{key: (value, "") for key, value in section.items()}, **_variables(kind, environ)}


def _load(source: str | os.PathLike[str] | TextIO) -> tuple[str, Any]:
    import yaml

    line, problem = "", "is not valid YAML"
    if isinstance(source, (str, os.PathLike)):
        where = f"config: {shown(os.fsdecode(source), quotes=False, width=4096)}"
        mode = os.stat(source).st_mode
        if stat.S_ISDIR(mode) or stat.S_ISCHR(mode) or stat.S_ISBLK(mode):  # but a pipe holds a file as well
            raise ParameterError(f"{where}: is no file", "config")
        with open(source, "rb") as file:
            content: str | bytes = file.read(LARGEST + 1)
    else:
        where = f"config: {shown(str(getattr(source, 'name', 'a stream')), quotes=False, width=4096)}"
        try:
            content = source.read(LARGEST + 1)
        except UnicodeDecodeError:
            content = "\0"
    if len(content) > LARGEST:
        raise ParameterError(f"{where}: is larger than {LARGEST // 2**20} MiB, as no registry's is", "config")
    try:
        return where, yaml.load(content, _loader())  # noqa: S506 - it is a SafeLoader
    except _TwiceError as exc:
        line, problem = f", line {exc.args[0]}", "gives a key twice; remove one"
    except yaml.YAMLError as exc:
        mark = getattr(exc, "problem_mark", None) or getattr(exc, "context_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
    except Exception:  # noqa: BLE001, S110 - PyYAML's constructors let any error through, content and all
        pass
    # Outside of the handlers, as PyYAML's errors show the content, which holds the secrets.
    raise ParameterError(f"{where}{line}: {problem}", "config")


class _TwiceError(Exception):
    """A key stands twice in one mapping, the second time in the line given."""


@functools.lru_cache(maxsize=1)
def _loader() -> Any:
    import yaml

    class Loader(yaml.SafeLoader):
        """Takes what the standard says and no more: PyYAML lets the last of equal keys win."""

        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            own = [(key.tag, key.value) for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
            if len(set(own)) < len(own):
                again = next(n for n, key in enumerate(own) if key in own[:n])
                scalars = [key for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
                raise _TwiceError(scalars[again].start_mark.line + 1)
            return super().construct_mapping(node, deep)

        def flatten_mapping(self, node: Any) -> None:
            """Put in the mappings that "<<" names, which may name others, several times each."""
            super().flatten_mapping(node)
            if len(node.value) > MERGED:
                raise yaml.constructor.ConstructorError(None, None, "too much is merged", node.start_mark)

    return Loader


def _storage(where: str, content: Any) -> Mapping[Any, Any]:
    """Give the `storage` part; the mere name of a driver stands for one without parameters."""
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ParameterError(f"{where}: is of type {type_name(content)}, without storage.s3", "config")
    storage = content.get("storage")
    if storage is None:
        return {}
    if isinstance(storage, str):
        return {storage: None}
    if not isinstance(storage, dict):
        raise ParameterError(f"{where}: storage is of type {type_name(storage)}, not a mapping", "config")
    return storage


def _kind(where: str, storage: Mapping[Any, Any], environ: Mapping[str, str]) -> str:
    kinds = [kind for kind in _KINDS if kind in storage]
    if len(kinds) > 1:
        raise ParameterError(f"{where}: has both storage.s3 and storage.s3aws; remove one", "config")
    if kinds:
        return kinds[0]
    others = [name for name in storage if name not in _NOT_DRIVERS]
    if not others:
        for kind in reversed(_KINDS):
            if any(name.startswith(f"{_TYPE}_{kind.upper()}_") and environ[name] for name in environ):
                return kind
    plain = [isinstance(name, str) and _NAME.fullmatch(name) for name in others]
    names = [f"storage.{name}" if shows else "another" for name, shows in zip(others, plain, strict=True)]
    found = ", ".join(names[:5]) or "no storage driver"
    raise ParameterError(
        f"{where}: has {found}; regfs needs one of storage.s3, storage.s3aws",
        _TYPE if where == _TYPE else "config",
    )


def _variables(kind: str, environ: Mapping[str, str]) -> dict[Any, tuple[Any, str]]:
    found: dict[Any, tuple[Any, str]] = {}
    # In this order: where both are set, the one that names the section exactly counts.
    for which in _KINDS:
        whole = f"{_TYPE}_{which.upper()}"
        if environ.get(whole):
            raise ParameterError(f"{whole}: has no effect; set {whole}_<KEY> variables instead", whole)
        for name in sorted(environ):
            key = name.removeprefix(f"{whole}_")
            if key == name:
                continue
            if key != key.lower().upper():
                text = f"the registry's variables are upper-case; set {shown(name.upper(), quotes=False)}"
                raise ParameterError(f"{shown(name, quotes=False)}: {text}", key.lower())
            if which == "s3aws" and kind == "s3":
                if environ[name]:
                    text = f"has no effect on storage.s3; set {shown(f'{_TYPE}_S3_{key}', quotes=False)}"
                    raise ParameterError(f"{shown(name, quotes=False)}: {text}", key.lower())
                continue
            found[key.lower()] = (environ[name] or None, name)
    return found
