"""Fuzz what reads the headers of an answer with atheris: ``python tests/fuzz/fuzz_headers.py -runs=9999``."""

from __future__ import annotations

import contextlib
import sys
from datetime import timezone
from typing import Any

import atheris

with atheris.instrument_imports():
    from regfs.s3.failures import retry_after, translate
    from regfs.s3.objects import header_info, http_date
    from regfs.s3.redaction import redacted

_NAMES = ("content-type", "etag", "x-amz-storage-class", "x-amz-meta-a", "x-amz-meta-", "last-modified", "x")
_DAY = "Mon, 23 Nov 2026 10:00:00 GMT"


def one(data: bytes) -> None:
    """Read one answer's headers: what they say, or an error that the lane takes for a bad answer."""
    source = atheris.FuzzedDataProvider(data)
    date = source.ConsumeUnicode(40)
    if source.ConsumeBool():  # near a date
        at = source.ConsumeIntInRange(0, len(_DAY))
        date = _DAY[:at] + date[:4] + _DAY[at:]
    with contextlib.suppress(ValueError, OverflowError, TypeError, IndexError):  # of UNREADABLE
        assert http_date(date).tzinfo is timezone.utc
    headers = {name: source.ConsumeUnicode(12) for name in _NAMES if source.ConsumeBool()}
    with contextlib.suppress(ValueError, OverflowError, TypeError, LookupError):
        info = header_info("k", 1, headers)
        assert info.modified.tzinfo is timezone.utc
        assert all(isinstance(name, str) and isinstance(value, str) for name, value in info.metadata.items())

    error: Any = RuntimeError()
    error.response = {
        "Error": {"Code": source.ConsumeUnicode(12), "Message": source.ConsumeUnicode(40)},
        "ResponseMetadata": {"HTTPStatusCode": 418, "HTTPHeaders": {"retry-after": date}},
    }
    asked = retry_after(error)
    assert asked is None or asked >= 0
    failure = translate(error, "regfs://b/k")
    assert isinstance(failure, OSError)
    assert len(str(failure).splitlines()) == 1
    text = source.ConsumeUnicode(sys.maxsize)
    assert "ZZSECRETZZ" not in redacted(f"{text}x-amz-security-token:ZZSECRETZZ\n{text}")


if __name__ == "__main__":
    atheris.Setup(sys.argv, one)
    atheris.Fuzz()
