"""Fuzz the signer beside botocore's with atheris: ``python tests/fuzz/fuzz_sigv4.py -runs=100000``."""

from __future__ import annotations

import datetime
import sys
from unittest import mock

import atheris
import botocore.auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as Theirs
from botocore.utils import percent_encode

with atheris.instrument_imports():
    from regfs.s3.sigv4 import EMPTY_SHA256, Credentials, Signer, query_string, quote

_NOW = 1_700_000_000
_THEN = datetime.datetime.fromtimestamp(_NOW, datetime.timezone.utc).replace(tzinfo=None)


def one(data: bytes) -> None:
    """Sign one request both ways; the canonical forms, and so the signatures, must be the same."""
    source = atheris.FuzzedDataProvider(data)
    key = source.ConsumeUnicodeNoSurrogates(40)
    query = [
        (source.ConsumeUnicodeNoSurrogates(8) or "n", source.ConsumeUnicodeNoSurrogates(8))
        for _ in range(source.ConsumeIntInRange(0, 3))
    ]
    assert quote(key) == percent_encode(key, safe="/~")
    path, text = "/b/" + quote(key), query_string(query)
    signer = Signer("eu-west-1", "s3.example.org")
    ours = signer.sign("GET", path, text, {}, EMPTY_SHA256, Credentials("AK", "secret"), _NOW)
    request = AWSRequest("GET", f"http://s3.example.org{path}{'?' if text else ''}{text}", {}, b"")
    with mock.patch.object(botocore.auth, "get_current_datetime", return_value=_THEN):
        botocore.auth.S3SigV4Auth(Theirs("AK", "secret"), "s3", "eu-west-1").add_auth(request)
    assert ours["authorization"] == request.headers["Authorization"], (key, query)


if __name__ == "__main__":
    atheris.Setup(sys.argv, one)
    atheris.Fuzz()
