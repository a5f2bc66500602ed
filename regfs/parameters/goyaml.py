"""YAML as go-yaml v2 reads it, which is the registry's package: of equal keys, the last one counts.

A document is looked at as a tree of nodes, and nothing is made of them but text: a scalar is what was
written, a tag runs nothing, and an alias is the node that it names. What a configuration says is not known.
"""

from __future__ import annotations

import functools
import re
from typing import Any

from regfs.parameters.notices import warn_once
from regfs.parameters.values import ParameterError

MERGED = 10_000
"""Keys of a document that "<<" may copy."""
DEPTH = 50
"""Mappings of which each merges the next."""

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,31}")
"""A name short and plain enough to be repeated; the rest of a foreign file is never shown."""
_PLAIN = "plain"
_STANDARD = "tag:yaml.org,2002:"
_NULLS = ("", "~", "null", "Null", "NULL")


class ConfigurationWarning(UserWarning):
    """A registry's configuration says something twice; it is read as the registry reads it."""


@functools.lru_cache(maxsize=1)
def _loader() -> Any:
    import yaml

    class Loader(yaml.BaseLoader):
        """Tells plain scalars, without quotes and tag, from others, and no more."""

        def resolve(self, kind: Any, value: Any, implicit: Any) -> Any:
            if kind is yaml.ScalarNode and implicit[0]:
                return _PLAIN
            return super().resolve(kind, value, implicit)  # type: ignore[no-untyped-call]

    return Loader


class Document:
    """A YAML document, or the first of several.

    Warns once, by a :class:`ConfigurationWarning`, of keys that a mapping has twice.

    Parameters
    ----------
    content : str or bytes
        The YAML.
    where : str
        What it is called in errors: the file or the variable.
    key : str
        The parameter that errors are about.
    advice : str
        What to do where it is no YAML.

    Attributes
    ----------
    root : yaml.Node or None
        The document's node; None if there is no document.

    Raises
    ------
    ParameterError
        It is no YAML.
    """

    def __init__(self, content: str | bytes, where: str, key: str, advice: str = "") -> None:
        self._where = where
        self._key = key
        self._merged = 0
        self._merging: list[Any] = []
        self.root = self._compose(content, advice)
        self._warn()

    def scalar(self, node: Any, name: str) -> str | dict[str, str] | list[str] | None:
        """Return a scalar as it is written, None for a null, and something empty for a mapping or sequence.

        Parameters
        ----------
        node : yaml.Node or None
            The scalar.
        name : str
            What it is called in an error.

        Raises
        ------
        ParameterError
            It has a tag that makes something else of it.
        """
        import yaml

        if node is None:
            return None
        if not isinstance(node, yaml.ScalarNode):
            return {} if isinstance(node, yaml.MappingNode) else []
        if node.tag == f"{_STANDARD}null" or (node.tag == _PLAIN and node.value in _NULLS):
            return None
        if node.tag.startswith(_STANDARD) and node.tag != f"{_STANDARD}str":
            raise self.error(f"{name} has a tag; write the value without it, in quotes where need be", node)
        return str(node.value)

    def entries(self, node: Any, name: str) -> dict[str, Any]:
        """Return a mapping's nodes by key; a null is an empty one.

        What "<<" names is put in at its place, so that it replaces what stands before it.

        Parameters
        ----------
        node : yaml.Node or None
            The mapping.
        name : str
            What it is called in an error.

        Raises
        ------
        ParameterError
            It is no mapping, a key is no scalar, or "<<" has no end.
        """
        import yaml

        if self.scalar(node, name) is None:
            return {}
        if not isinstance(node, yaml.MappingNode):
            kind = "a list" if isinstance(node, yaml.SequenceNode) else "text"
            raise self.error(f"{name} is {kind}, not a mapping", node)
        if node in self._merging or len(self._merging) > DEPTH:
            raise self.error("what << names has no end", node)
        self._merging.append(node)
        merged_entries: dict[str, Any] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise self.error("a key is no text", key)
            if not _merges(key):
                merged_entries["" if key.tag == _PLAIN and key.value in _NULLS else key.value] = value
                continue
            # Of several, the first goes before the others.
            for each in reversed(value.value) if isinstance(value, yaml.SequenceNode) else [value]:
                merged = self.entries(each, "what << names")
                self._merged += 1 + len(merged)
                if self._merged > MERGED:
                    raise self.error("too much is merged", key)
                merged_entries |= merged
        self._merging.pop()
        return merged_entries

    def error(self, text: str, node: Any = None) -> ParameterError:
        """Return an error that names the document, and the line of a node."""
        line = f", line {node.start_mark.line + 1}" if node is not None else ""
        return ParameterError(f"{self._where}{line}: {text}", self._key)

    def _compose(self, content: str | bytes, advice: str) -> Any:
        import yaml

        place = None
        try:
            loader = _loader()(content)
            try:
                return loader.get_node() if loader.check_node() else None
            finally:
                loader.dispose()
        except yaml.MarkedYAMLError as exc:
            mark = exc.problem_mark or exc.context_mark
            place = mark and yaml.ScalarNode("", "", mark, mark)
        except Exception:  # noqa: BLE001, S110 - nested too deeply, or an escape sequence of no character
            pass
        # Outside of the handlers, as PyYAML's errors show the content, which holds the secrets.
        raise self.error(f"is not valid YAML{advice}", place)

    def _warn(self) -> None:
        import yaml

        again: list[tuple[int, str]] = []
        nodes, seen = [self.root], set()
        while nodes:
            node = nodes.pop()
            if id(node) in seen or not isinstance(node, yaml.CollectionNode):
                continue
            seen.add(id(node))
            if isinstance(node, yaml.SequenceNode):
                nodes += node.value
                continue
            keys: set[str] = set()
            for key, value in node.value:
                nodes += [key, value]
                if isinstance(key, yaml.ScalarNode) and not _merges(key):
                    if key.value in keys:
                        again.append((key.start_mark.line + 1, key.value))
                    keys.add(key.value)
        if again:
            named = [
                f"{key if NAME.fullmatch(key) else 'a key'} again in line {line}"
                for line, key in sorted(again)
            ]
            more = f" and {len(named) - 3} more" if len(named) > 3 else ""
            text = f"gives {', '.join(named[:3])}{more}; the last one counts, as for the registry; remove one"
            warn_once(f"{self._where}: {text}", ConfigurationWarning)


def _merges(key: Any) -> bool:
    return bool(key.tag == f"{_STANDARD}merge" or (key.tag == _PLAIN and key.value == "<<"))
