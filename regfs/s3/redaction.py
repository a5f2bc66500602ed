"""What botocore logs, without the secrets in it.

At level DEBUG botocore logs what it sends and what it is answered: session tokens, signatures that make a
presigned URL, and the very keys where STS hands some out. regfs' own logger never gets any of these.
"""

from __future__ import annotations

import logging
import re

_LOGGERS = ("botocore.auth", "botocore.endpoint", "botocore.parsers", "botocore.utils")
_HIDDEN = "***"

_NAMES = (
    "x-amz-security-token|authorization|secretaccesskey|sessiontoken|webidentitytoken|samlassertion"
    "|accesskeyid|awsaccesskeyid|x-amz-credential|x-amz-signature|credential|signature|token(?:-0)?"
)
_END = r"""[^\s'"&,<>}\\]"""
_SECRETS = (
    # name=value, name:value, 'name': b'value', "name": "value" and <name>value, as far as it goes
    re.compile(rf"""\b((?:{_NAMES})['"]?\s*(?:[=:]\s*|>)(?:b?['"])?){_END}+""", re.IGNORECASE),
    # a header that is made of several words
    re.compile(r"""(\bauthorization['"]?\s*:\s*)(?:b?'[^']*'|b?"[^"]*"|[^\n'"]+)""", re.IGNORECASE),
)


def redacted(text: str) -> str:
    r"""Return a text with secrets masked.

    Examples
    --------
    >>> redacted("x-amz-date:20261124T120000Z\nx-amz-security-token:abc")
    'x-amz-date:20261124T120000Z\nx-amz-security-token:***'
    """
    for pattern in reversed(_SECRETS):
        text = pattern.sub(rf"\g<1>{_HIDDEN}", text)
    return text


class _Redaction(logging.Filter):
    """Rewrites what a logger is given before any handler sees it."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Mask the secrets in a record, and let it pass."""
        text = record.getMessage()
        masked = redacted(text)
        if masked != text:
            record.msg, record.args = masked, ()
        return True


_REDACTION = _Redaction()


def install() -> None:
    """Hide the secrets in what botocore logs from now on, for all handlers. Further calls do nothing."""
    for name in _LOGGERS:
        logging.getLogger(name).addFilter(_REDACTION)
