"""The counting proxy tells the truth and changes nothing; on both servers."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import http.client
import socket
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from botocore.exceptions import ClientError, ConnectionClosedError
from botocore.exceptions import ConnectionError as BotocoreConnectionError
from support.proxy import CountingProxy, Request

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.servers import Place, Server

MIB = 1024 * 1024


@pytest.fixture
def client(server: Server, proxy: CountingProxy) -> Iterator[Any]:
    through = dataclasses.replace(server, endpoint=proxy.endpoint)
    with contextlib.closing(through.client(retries={"total_max_attempts": 1})) as client:
        yield client


def test_a_round_trip_is_recorded_request_by_request(client: Any, raw: Place, proxy: CountingProxy) -> None:
    key = raw.prefix + "a b/ü"
    with proxy.counting() as seen:
        client.put_object(Bucket=raw.bucket, Key=key, Body=b"content")
        assert client.head_object(Bucket=raw.bucket, Key=key)["ContentLength"] == 7
        assert client.get_object(Bucket=raw.bucket, Key=key)["Body"].read() == b"content"
        client.list_objects_v2(Bucket=raw.bucket, Prefix=raw.prefix, Delimiter="/")
        client.delete_object(Bucket=raw.bucket, Key=key)
    path = f"/{raw.bucket}/{key}"
    assert [(item.method, item.path, item.status) for item in seen] == [
        ("PUT", path, 200),
        ("HEAD", path, 200),
        ("GET", path, 200),
        ("GET", f"/{raw.bucket}", 200),
        ("DELETE", path, 204),
    ]
    assert seen[3].query["prefix"] == raw.prefix
    assert seen[3].query["delimiter"] == "/"
    assert seen[0].headers["host"] == urlsplit(proxy.endpoint).netloc
    assert proxy.requests == seen
    assert (proxy.count(), proxy.count("GET"), proxy.count("POST")) == (5, 2, 0)
    proxy.clear()
    assert proxy.count() == 0
    assert raw.keys() == []


@pytest.mark.parametrize("server", ["seaweedfs"], indirect=True)
def test_the_server_still_verifies_signatures(server: Server, raw: Place, proxy: CountingProxy) -> None:
    wrong = dataclasses.replace(server, endpoint=proxy.endpoint, secret_key="wrong")
    with contextlib.closing(wrong.client()) as client, pytest.raises(ClientError) as caught:
        client.put_object(Bucket=raw.bucket, Key=raw.prefix + "a", Body=b"content")
    assert caught.value.response["Error"]["Code"] == "SignatureDoesNotMatch"
    assert [request.status for request in proxy.requests] == [403]


def test_large_bodies_pass_both_ways_unchanged(client: Any, raw: Place) -> None:
    content = b"".join(hashlib.sha256(b"%d" % number).digest() for number in range(24 * MIB // 32))
    client.put_object(Bucket=raw.bucket, Key=raw.prefix + "big", Body=content)
    assert raw.get("big") == content
    body = client.get_object(Bucket=raw.bucket, Key=raw.prefix + "big")["Body"]
    assert hashlib.sha256(body.read()).digest() == hashlib.sha256(content).digest()


def test_errors_and_multipart_uploads_pass(client: Any, raw: Place, proxy: CountingProxy) -> None:
    with pytest.raises(ClientError) as caught:
        client.get_object(Bucket=raw.bucket, Key=raw.prefix + "missing")
    assert caught.value.response["Error"]["Code"] == "NoSuchKey"
    client.create_multipart_upload(Bucket=raw.bucket, Key=raw.prefix + "pending")
    assert [key for key, _ in raw.uploads()] == ["pending"]
    assert [request.status for request in proxy.requests] == [404, 200]
    assert proxy.requests[1].query == {"uploads": ""}


def test_a_fault_answers_instead_of_the_server(client: Any, raw: Place, proxy: CountingProxy) -> None:
    def slow_down(request: Request) -> bytes | None:
        if request.method != "PUT":
            return None
        xml = b"<Error><Code>SlowDown</Code><Message>Slow down.</Message></Error>"
        return b"HTTP/1.1 503 Slow Down\r\nContent-Length: %d\r\n\r\n%s" % (len(xml), xml)

    proxy.fault = slow_down
    with pytest.raises(ClientError) as caught:
        client.put_object(Bucket=raw.bucket, Key=raw.prefix + "a", Body=b"x" * MIB)
    assert caught.value.response["Error"]["Code"] == "SlowDown"
    assert client.list_objects_v2(Bucket=raw.bucket, Prefix=raw.prefix)["KeyCount"] == 0
    proxy.fault = None
    client.put_object(Bucket=raw.bucket, Key=raw.prefix + "a", Body=b"x" * MIB)
    assert [(item.method, item.status) for item in proxy.requests] == [
        ("PUT", 503),
        ("GET", 200),
        ("PUT", 200),
    ]


def test_a_fault_resets_the_connection(client: Any, raw: Place, proxy: CountingProxy) -> None:
    proxy.fault = lambda request: b"" if request.method == "GET" else None
    with pytest.raises((ConnectionClosedError, BotocoreConnectionError)):
        client.get_object(Bucket=raw.bucket, Key=raw.prefix + "a")
    assert [item.status for item in proxy.requests] == [0]
    client.put_object(Bucket=raw.bucket, Key=raw.prefix + "a", Body=b"after")
    assert raw.get("a") == b"after"


def test_a_client_that_leaves_in_the_middle_harms_no_other(
    client: Any, raw: Place, proxy: CountingProxy
) -> None:
    with socket.create_connection(("127.0.0.1", urlsplit(proxy.endpoint).port or 0)) as leaving:
        leaving.sendall(b"PUT /x/y HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nonly this")
    raw.put("big", b"x" * 8 * MIB)
    client.get_object(Bucket=raw.bucket, Key=raw.prefix + "big")["Body"].close()
    client.put_object(Bucket=raw.bucket, Key=raw.prefix + "a", Body=b"content")
    assert raw.get("a") == b"content"


def test_chunked_bodies_end_where_they_end() -> None:
    answer = (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"5;extension=1\r\nhello\r\n1\r\n\n\r\n0\r\nTrailer: x\r\n\r\n"
    )
    with socket.create_server(("127.0.0.1", 0)) as upstream:
        upstream.settimeout(10)
        proxy = CountingProxy(f"http://127.0.0.1:{upstream.getsockname()[1]}")
        client = http.client.HTTPConnection("127.0.0.1", urlsplit(proxy.endpoint).port, timeout=10)
        try:
            for again in (False, True):  # the second time over the same connections
                client.request("POST", "/a?b", body=iter([b"one", b"two"]), encode_chunked=True)
                if not again:
                    server, _ = upstream.accept()
                    server.settimeout(10)
                received = b""
                while not received.endswith(b"0\r\n\r\n"):
                    received += server.recv(1000)
                assert received.endswith(b"3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n")
                for at in range(0, len(answer), 7):
                    server.sendall(answer[at : at + 7])
                assert client.getresponse().read() == b"hello\n"
            assert [request.status for request in proxy.requests] == [200, 200]
            server.close()
        finally:
            client.close()
            proxy.close()
