"""Driver path ⇄ S3 key, and the rules for both. Pure: nothing here does I/O.

There is one form of path in regfs: the driver path, absolute, ``/a/b``. It lies in the bucket under
``rootdirectory``; a path that would leave it is refused here, where every path passes.
"""

from __future__ import annotations

import errno
import re
from dataclasses import dataclass
from functools import cached_property

from regfs.errors import InvalidPathError

PROTOCOL = "regfs"
MAX_KEY_BYTES = 1024
"""The longest key S3 takes, in bytes of UTF-8
(https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html)."""

RECORD_SUFFIX = "~regfs"
"""Ends the keys of records (:mod:`regfs.store.resume`), which are no files. No driver path can hold a "~"."""

# Go: storagedriver.PathRegexp, `^(/[A-Za-z0-9._-]+)+$`; fullmatch, as "$" would let a final newline pass.
_DRIVER_PATH = re.compile(r"(/[A-Za-z0-9._-]+)+")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
# A URL, perhaps chained as fsspec has it; and one with a user or a password, which may hold "/" and "@".
_URL = re.compile(r"(?:[\w.+-]+::)*([A-Za-z][A-Za-z0-9+.-]*)://([^/]*)")
_USER = re.compile(r"((?:[A-Za-z][A-Za-z0-9+.-]*://|\bregfs:/*)).*@", re.DOTALL)
_DOTS = re.compile(r"(?:^|/)\.\.?(?:/|$)")


# Both are asked of every key of a listing; the expressions cost ten times what comes before them.
def _dots(text: str) -> bool:
    return ("/." in text or text.startswith(".")) and _DOTS.search(text) is not None


def _control(text: str) -> bool:
    return not text.isprintable() and _CONTROL.search(text) is not None


def split_url(url: str) -> tuple[str, str]:
    """Split a path or URL into bucket and driver path.

    Parameters
    ----------
    url : str
        ``regfs://BUCKET/a/b``, ``regfs:///a/b``, ``/a/b`` or ``a/b``.

    Returns
    -------
    bucket : str
        Empty where the URL names none.
    path : str
        The driver path, absolute, without trailing slash; "/" for the root.

    Raises
    ------
    InvalidPathError
        There is a user or a password before the bucket, or before the host of a URL of another scheme. They
        are not shown.
    """
    bucket = ""
    if match := _URL.match(url):
        scheme, authority = match.groups()
        password = (
            ":" in authority and (scheme == PROTOCOL or "@" in url) and not authority.startswith("arn:")
        )
        if "@" in authority or password:
            text = (
                "a URL carries no keys, which would be shown with it; give accesskey and secretkey as options"
            )
            raise InvalidPathError(text, f"{scheme}://***")
    if url.startswith(f"{PROTOCOL}://"):
        bucket, _, url = url[len(PROTOCOL) + 3 :].partition("/")
        url = "/" + url
    elif url.startswith(f"{PROTOCOL}::"):
        url = url[len(PROTOCOL) + 2 :]
    path = url.rstrip("/")
    return bucket, path if path.startswith("/") else "/" + path


def without_user(text: str) -> str:
    """Return a text for a message, with the user and the password of a URL masked.

    Examples
    --------
    >>> without_user("s3://AKIA:secret@bucket/x")
    's3://***@bucket/x'
    """
    return _USER.sub(r"\1***@", text)


def check_driver_path(path: object, driver: str, *, root: bool = False) -> str:
    """Apply the registry's path rule (Go: ``base.go`` and ``PathRegexp``) and give the path back.

    Parameters
    ----------
    path : object
        What the caller gave as a path.
    driver : str
        The driver's name, for the error.
    root : bool
        Whether "/" is valid: for list, stat and walk alone.

    Raises
    ------
    InvalidPathError
        Not absolute, empty, a character outside ``A-Za-z0-9._-``, a doubled or trailing slash, or a "."
        or ".." component, which the expression would let through but an HTTP library would resolve.
    """
    if isinstance(path, str):
        if root and path == "/":
            return path
        if _DRIVER_PATH.fullmatch(path) and not _DOTS.search(path):
            return path
    text = "invalid path, it must be /component/... of A-Z a-z 0-9 . _ - without '.' and '..' components"
    raise InvalidPathError(text, without_user(path if isinstance(path, str) else repr(path)), driver)


@dataclass(frozen=True)
class KeySpace:
    """The part of one bucket that paths are mapped onto.

    Parameters
    ----------
    bucket : str
        The bucket's name.
    rootdirectory : str
        As the registry's parameter has it: with or without slashes at its ends.
    """

    bucket: str
    rootdirectory: str = ""

    @cached_property
    def base(self) -> str:
        """The prefix of every key: "" or the root directory and a slash."""
        root = self.rootdirectory.strip("/")
        return root + "/" if root else ""

    def key(self, path: str) -> str:
        """Return the S3 key of a driver path.

        Raises
        ------
        InvalidPathError
            A "." or ".." component, a control character, or text that is not UTF-8.
        OSError
            ``ENAMETOOLONG``: the key would exceed 1024 bytes.
        """
        if _dots(path):
            raise InvalidPathError(
                "invalid path, a '.' or '..' component could leave the root directory", path
            )
        if _control(path):
            raise InvalidPathError("invalid path, it holds a control character", path)
        key = self.base + path[1:]
        try:
            length = len(key.encode())
        except UnicodeEncodeError as exc:
            raise InvalidPathError("invalid path, it is not encodable as UTF-8", path) from exc
        if length > MAX_KEY_BYTES:
            raise OSError(errno.ENAMETOOLONG, f"the key is longer than {MAX_KEY_BYTES} bytes", path)
        return key

    def prefix(self, path: str) -> str:
        """Return what the keys under a directory begin with: its key and a slash, "" for a whole bucket."""
        return self.base if path == "/" else self.key(path) + "/"

    def path(self, key: str) -> str:
        """Return the driver path of a key, without trailing slash."""
        return "/" + key[len(self.base) :].rstrip("/") if key.startswith(self.base) else "/"

    def addressable(self, key: str) -> bool:
        """Return whether :meth:`key` would give this very key back: foreign programs store others, too."""
        rest = key[len(self.base) :]
        return (
            bool(rest)
            and not (rest.endswith(("/", RECORD_SUFFIX)) or _dots(rest) or _control(rest))
            and (len(key) <= MAX_KEY_BYTES // 4 or len(key.encode(errors="replace")) <= MAX_KEY_BYTES)
        )

    def within(self, key: str) -> bool:
        """Return whether a key lies under the root directory, for whoever resolves its components as well."""
        return key.startswith(self.base) and not _dots(key[len(self.base) :])

    def url(self, path: str) -> str:
        """Return the full URL of a driver path."""
        return f"{PROTOCOL}://{self.bucket}{path}"
