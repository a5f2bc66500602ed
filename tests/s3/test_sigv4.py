"""The signer against botocore's, byte for byte, and against AWS' published examples."""

from __future__ import annotations

import calendar
import datetime
import hashlib
from typing import Any
from unittest import mock

import botocore.auth
import botocore.awsrequest
import botocore.credentials
import pytest
from hypothesis import given
from hypothesis import strategies as st

from regfs.s3.sigv4 import EMPTY_SHA256, UNSIGNED, Credentials, Signer, query_string, quote

EXAMPLE = Credentials("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
THEN = calendar.timegm((2013, 5, 24, 0, 0, 0))

TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=12)
ODD = st.sampled_from(["a b", "a+b", "//", "/..", "%2e%2e", "~*'()!", "&=?#", "ünï", "日本", "a/b/./c", ""])
KEYS = st.lists(TEXT | ODD, max_size=4).map("/".join)
NAMES = st.from_regex(r"x-amz-[a-z][a-z-]{0,8}[a-z]", fullmatch=True)
VALUES = st.text(st.sampled_from("abc XYZ-_=;,/\"'"), max_size=20)
QUERIES = st.lists(
    st.tuples(TEXT.filter(bool) | st.sampled_from(["list-type", "a b", "é"]), TEXT), max_size=4
)
CREDENTIALS = st.builds(
    Credentials,
    st.from_regex(r"[A-Z0-9]{4,20}", fullmatch=True),
    st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=40),
    st.sampled_from(["", "token", "to/ken+=="]),
)
TIMES = st.integers(0, 4_000_000_000)
METHODS = st.sampled_from(["GET", "HEAD", "PUT", "POST", "DELETE"])


def theirs(auth: Any, credentials: Credentials, now: float, request: Any, *more: Any) -> Any:
    """Sign by botocore as of a certain time."""
    them = botocore.credentials.Credentials(
        credentials.access_key, credentials.secret_key, credentials.token or None
    )
    moment = datetime.datetime.fromtimestamp(now, datetime.timezone.utc).replace(tzinfo=None)
    with mock.patch.object(botocore.auth, "get_current_datetime", return_value=moment):
        auth(them, "s3", "eu-west-1", *more).add_auth(request)
    return request


@given(METHODS, KEYS, QUERIES, st.dictionaries(NAMES, VALUES, max_size=3), CREDENTIALS, TIMES)
def test_headers_are_botocores(
    method: str,
    key: str,
    query: list[tuple[str, str]],
    headers: dict[str, str],
    credentials: Credentials,
    now: int,
) -> None:
    path, text = "/bucket/" + quote(key), query_string(query)
    signer = Signer("eu-west-1", "s3.example.org:9000")
    ours = signer.sign(method, path, text, headers, EMPTY_SHA256, credentials, now + 0.5)
    request = botocore.awsrequest.AWSRequest(
        method, f"http://s3.example.org:9000{path}{'?' if text else ''}{text}", dict(headers), b""
    )
    theirs(botocore.auth.S3SigV4Auth, credentials, now, request)
    expected = {name.lower(): value for name, value in request.headers.items()}
    assert ours == expected


@given(KEYS)
def test_a_path_is_encoded_as_botocore_encodes_it(key: str) -> None:
    from botocore.utils import percent_encode

    assert quote(key) == percent_encode(key, safe="/~")
    assert quote(key, "") == percent_encode(key, safe="~")


class TestPublishedExamples:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html."""

    SIGNER = Signer("us-east-1", "examplebucket.s3.amazonaws.com")

    def signature(self, method: str, path: str, query: str, headers: dict[str, str], digest: str) -> str:
        signed = self.SIGNER.sign(method, path, query, headers, digest, EXAMPLE, THEN)
        return signed["authorization"].rpartition("=")[2]

    def test_get_object(self) -> None:
        found = self.signature("GET", "/test.txt", "", {"range": "bytes=0-9"}, EMPTY_SHA256)
        assert found == "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"

    def test_put_object(self) -> None:
        digest = hashlib.sha256(b"Welcome to Amazon S3.").hexdigest()
        headers = {"date": "Fri, 24 May 2013 00:00:00 GMT", "x-amz-storage-class": "REDUCED_REDUNDANCY"}
        found = self.signature("PUT", quote("/test$file.text"), "", headers, digest)
        assert found == "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"

    def test_get_bucket_lifecycle(self) -> None:
        found = self.signature("GET", "/", "lifecycle=", {}, EMPTY_SHA256)
        assert found == "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"

    def test_list_objects(self) -> None:
        query = query_string([("prefix", "J"), ("max-keys", "2")])
        found = self.signature("GET", "/", query, {}, EMPTY_SHA256)
        assert found == "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"


class TestKeptKey:
    def sign(self, signer: Signer, credentials: Credentials, now: float) -> str:
        return signer.sign("GET", "/a", "", {}, UNSIGNED, credentials, now)["authorization"]

    def test_is_of_one_day_and_one_secret(self) -> None:
        kept = Signer("us-east-1", "host")
        others = [
            Credentials("a", "1"),
            Credentials("a", "2"),
            Credentials("b", "1"),
            Credentials("a", "1", "t"),
        ]
        for now in (THEN, THEN + 86_399, THEN + 86_400, THEN - 1, THEN):
            for credentials in others:
                fresh = Signer("us-east-1", "host")
                assert self.sign(kept, credentials, now) == self.sign(fresh, credentials, now)


@pytest.mark.parametrize("value", ["a\r\nx-evil: 1", "a\n", "\x00", "tab\there", "\x7f"])
def test_a_header_holds_no_control_characters(value: str) -> None:
    with pytest.raises(ValueError, match="x-amz-meta-a: holds a control character"):
        Signer("r", "h").sign("GET", "/", "", {"x-amz-meta-a": value}, UNSIGNED, EXAMPLE, THEN)


def test_secrets_are_not_shown() -> None:
    signer, credentials = Signer("r", "h"), Credentials("access", "hidden", "token")
    signer.sign("GET", "/", "", {}, UNSIGNED, credentials, THEN)
    for text in (repr(signer), repr(credentials), str(credentials), f"{credentials}"):
        assert "hidden" not in text
        assert "token" not in text
