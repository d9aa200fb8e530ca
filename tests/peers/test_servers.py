"""The foreign servers, tried with a foreign client: what they report is what libcurl sent."""

from __future__ import annotations

import hashlib
import io
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from http.client import HTTPConnection

import pycurl
import pytest

from tests.peers.certificates import Certificates
from tests.peers.foreign_parsers import PARSERS
from tests.peers.receipt import Receipt
from tests.peers.receivers import (
    LogFollower,
    receipt_of,
    requests_in_gtlsserver_log,
    requests_in_nghttpd_log,
)
from tests.peers.servers import Endpoints

pytestmark = pytest.mark.interop

HTTP1 = pycurl.CURL_HTTP_VERSION_1_1
H2 = pycurl.CURL_HTTP_VERSION_2_0
H2C = pycurl.CURL_HTTP_VERSION_2_PRIOR_KNOWLEDGE
H3 = 31  # CURL_HTTP_VERSION_3ONLY, which pycurl names only since 7.46

FILE = bytes(range(256)) * 40 + bytes(1000)
BODY = (
    b'--bOuNd\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n'
    b'--bOuNd\r\nContent-Disposition: form-data; name="file"; '
    b'filename="na\xc3\xafve %22q%22.bin"\r\n'
    b"Content-Type: application/x-test\r\n\r\n" + FILE + b"\r\n--bOuNd--\r\n"
)


@dataclass(slots=True)
class CurlResponse:
    """What libcurl got back."""

    status: int = 0
    body: bytes = b""
    headers: list[str] = field(default_factory=list)


@pytest.fixture
def post(certificates: Certificates) -> Callable[..., CurlResponse]:
    def send(url: str, version: int, body: bytes = BODY) -> CurlResponse:
        curl, received, response = pycurl.Curl(), io.BytesIO(), CurlResponse()
        curl.setopt(pycurl.URL, url)
        curl.setopt(pycurl.CAINFO, str(certificates.ca))
        curl.setopt(pycurl.HTTP_VERSION, version)
        curl.setopt(
            pycurl.HTTPHEADER, ["Content-Type: multipart/form-data; boundary=bOuNd", "Expect:"]
        )
        curl.setopt(pycurl.POSTFIELDS, body)
        curl.setopt(pycurl.WRITEDATA, received)
        curl.setopt(pycurl.HEADERFUNCTION, lambda line: response.headers.append(line.decode()))
        curl.setopt(pycurl.TIMEOUT, 20)
        curl.perform()
        response.status = curl.getinfo(pycurl.RESPONSE_CODE)
        response.body = received.getvalue()
        curl.close()
        return response

    return send


@pytest.mark.parametrize(
    ("server", "scheme", "version"),
    [
        ("upstream", "http", HTTP1),
        ("upstream", "https", HTTP1),
        ("caddy", "http", HTTP1),
        ("caddy", "https", HTTP1),
        ("caddy", "http", H2C),
        ("caddy", "https", H2),
        ("caddy", "https", H3),
        ("nginx", "http", HTTP1),
        ("nginx", "https", HTTP1),
        ("nginx", "http", H2C),
        ("nginx", "https", H2),
    ],
)
def test_receiver_tells_what_arrived(
    request: pytest.FixtureRequest,
    post: Callable[..., CurlResponse],
    server: str,
    scheme: str,
    version: int,
) -> None:
    endpoints: Endpoints = request.getfixturevalue(server)
    response = post(endpoints.url(scheme, h2c=version == H2C), version)

    assert response.status == 200
    check_receipt(Receipt.from_json(response.body))


@pytest.mark.parametrize(("scheme", "version"), [("https", H2), ("http", H2C)])
def test_nghttpd_echoes_what_arrived(
    nghttpd: Endpoints, post: Callable[..., CurlResponse], scheme: str, version: int
) -> None:
    log = LogFollower(nghttpd.log_of(scheme))
    response = post(nghttpd.url(scheme, h2c=version == H2C), version)
    [logged] = requests_in_nghttpd_log(log)

    check_receipt(receipt_of(logged.headers, response.body))


def test_gtlsserver_dumps_what_arrived(
    gtlsserver: Endpoints, post: Callable[..., CurlResponse]
) -> None:
    log = LogFollower(gtlsserver.log_of("https"))
    response = post(gtlsserver.url("https"), H3)
    [logged] = requests_in_gtlsserver_log(log)

    assert response.status == 200
    check_receipt(logged.receipt())


def test_receiver_reads_chunked_bodies_and_hides_nothing(upstream: Endpoints) -> None:
    assert upstream.http_port
    connection = HTTPConnection("127.0.0.1", upstream.http_port, timeout=10)
    connection.request("PUT", "/raw", iter([b"abc", b"", b"d" * 100_000]), {"X-Seen": "yes"})
    receipt = Receipt.from_json(connection.getresponse().read())
    connection.close()

    assert receipt.method == "PUT"
    assert receipt.content_length is None
    assert receipt.body_bytes == 100_003
    assert receipt.body_sha256 == hashlib.sha256(b"abc" + b"d" * 100_000).hexdigest()
    assert receipt.parts is None
    assert ("X-Seen", "yes") in receipt.headers


def test_broken_multipart_is_refused(
    upstream: Endpoints, post: Callable[..., CurlResponse]
) -> None:
    response = post(upstream.url("http"), HTTP1, BODY[:-10])

    assert response.status == 400
    assert b"closing boundary" in response.body


def test_switches_change_the_answer(upstream: Endpoints, post: Callable[..., CurlResponse]) -> None:
    response = post(upstream.url("http", "/x?status=307&location=/there&body_bytes=5"), HTTP1)

    assert response.status == 307
    assert "Location: /there\r\n" in response.headers
    assert response.body == bytes(5)


def test_early_answer_comes_before_the_body_is_sent(upstream: Endpoints) -> None:
    assert upstream.http_port
    with socket.create_connection(("127.0.0.1", upstream.http_port), timeout=10) as client:
        client.sendall(
            b"POST /x?early=1&status=413 HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n"
        )
        head = client.recv(65536)
        client.sendall(b"123456789GET /next HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        with client.makefile("rb") as rest:
            answers = head + rest.read()

    assert head.startswith(b"HTTP/1.1 413 ")
    assert b"HTTP/1.1 200 " in answers


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"na\xc3\xafve %22q%22.bin", b"C:\\\\folder\\\\q.bin"),
        (b'form-data; name="a"', b'attachment; name="a"'),
    ],
    ids=["file name one of them shortens", "disposition one of them refuses"],
)
def test_parsers_that_differ_are_reported(old: bytes, new: bytes) -> None:
    fields = [
        (":method", "POST"),
        (":path", "/"),
        ("content-type", "multipart/form-data; boundary=bOuNd"),
    ]

    assert receipt_of(fields, BODY).disagreement is None
    assert receipt_of(fields, BODY.replace(old, new)).disagreement is not None


def check_receipt(receipt: Receipt) -> None:
    assert receipt.method == "POST"
    assert receipt.target == "/upload"
    assert receipt.content_length == len(BODY)
    assert receipt.body_bytes == len(BODY)
    assert receipt.body_sha256 == hashlib.sha256(BODY).hexdigest()
    assert receipt.parsers == tuple(PARSERS)
    assert receipt.disagreement is None
    assert receipt.parts is not None
    field_part, file_part = receipt.parts
    assert (field_part.name, field_part.filename, field_part.size) == ("a", None, 1)
    assert (file_part.name, file_part.filename) == ("file", 'naïve "q".bin')
    assert file_part.content_type == "application/x-test"
    assert file_part.sha256 == hashlib.sha256(FILE).hexdigest()
