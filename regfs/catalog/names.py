"""The names of images: ``REPO``, ``REPO:TAG``, ``REPO@DIGEST``. Pure."""

from __future__ import annotations

import difflib
import errno
import re
from collections.abc import Sequence
from dataclasses import dataclass

from regfs.layout import InvalidDigestError, check_repository, check_tag

DEFAULT_TAG = "latest"
"""The tag of a name that has neither tag nor digest."""
_DIGEST = re.compile(r"(?:(?P<algorithm>[a-z0-9_-]+):)?(?P<hex>[a-f0-9]+)")


class UnknownNameError(FileNotFoundError):
    """No repository, tag or manifest has this name."""


class AmbiguousDigestError(ValueError):
    """An abbreviated digest matches several digests."""


def unknown_repository(name: str, names: Sequence[str]) -> UnknownNameError:
    """Return the error for a missing repository; it suggests the most similar of `names`."""
    without_host = name.partition("/")[2]
    if without_host in names:
        suggestions = [without_host]
    else:
        suggestions = difflib.get_close_matches(name, names, 1, 0.7)
    if not suggestions:  # the organisation may be wrong
        suggestions = [other for other in names if other.rpartition("/")[2] == name.rpartition("/")[2]][:1]
    hint = f"; did you mean {suggestions[0]}?" if suggestions else ""
    return UnknownNameError(errno.ENOENT, f"no such repository{hint}", name)


def parse_digest(text: str) -> tuple[str, str]:
    """Split a digest, or the beginning of one, into its algorithm and its hex.

    The algorithm is empty if the text has none.

    Raises
    ------
    InvalidDigestError
        `text` is neither a digest nor the beginning of one.
    """
    match = _DIGEST.fullmatch(text)
    if match is None:
        raise InvalidDigestError(f"digest {text[:150]!r}: expected sha256:… or the first digits of its hex")
    return match["algorithm"] or "", match["hex"]


@dataclass(frozen=True)
class Name:
    """An image's name: ``REPO``, ``REPO:TAG`` or ``REPO@DIGEST``, as in ``docker pull``.

    Attributes
    ----------
    repository : str
    tag : str
        Empty if there is a digest.
    digest : str
        A digest or its beginning, always with the algorithm; empty if there is a tag. The parsed text may
        leave out the algorithm if it is SHA-256.
    """

    repository: str
    tag: str = ""
    digest: str = ""

    @classmethod
    def parse(cls, text: str) -> Name:
        """Parse a name. Without tag and digest it means ``latest``; with both, the digest counts.

        Raises
        ------
        ValueError
            The name includes a host or breaks a rule of the registry.
        """
        host, slash, path = text.partition("/")
        if slash and ":" in host and "@" not in host:
            raise ValueError(f"{text[:150]!r}: leave out the host: {path[:150]!r}")
        name, at_sign, digest = text.partition("@")
        repository, colon, tag = name.rpartition(":")
        if not colon:
            repository, tag = name, ""
        check_repository(repository)
        if colon:
            check_tag(tag)
        if at_sign:
            algorithm, beginning = parse_digest(digest)
            return cls(repository, "", f"{algorithm or 'sha256'}:{beginning}")
        return cls(repository, tag or DEFAULT_TAG)

    def __str__(self) -> str:
        return f"{self.repository}@{self.digest}" if self.digest else f"{self.repository}:{self.tag}"
