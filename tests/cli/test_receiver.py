"""The receiver over HTTP/1.1, h2 and h3, as libcurl sees it."""

from __future__ import annotations

import hashlib
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.curl import Curl
from trilane.api.receiver.address import ReceiverAddress

MIB = 1024 * 1024


@pytest.fixture(params=["1.1", "2", "3"])
def version(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def curl(either_receiver: ReceiverAddress, version: str) -> Iterator[Curl]:
    client = Curl(either_receiver, version)
    yield client
    client.close()


def test_it_says_what_it_received(curl: Curl, version: str) -> None:
    body = bytes(range(256)) * 8192
    answer = curl.put("/a%20b?user=test", body)
    assert answer.status == 200
    assert answer.json() == {
        "method": "PUT",
        "path": "/a b",
        "query": "user=test",
        "http_version": version,
        "content_length": str(len(body)),
        "body_bytes": len(body),
        "sha256": hashlib.sha256(body).hexdigest(),
        "parts": None,
    }


def test_it_parses_multipart(curl: Curl) -> None:
    body = b'--X\r\nContent-Disposition: form-data; name="a"\r\n\r\nv\r\n--X--\r\n'
    answer = curl.put("/", body, headers=["Content-Type: multipart/form-data; boundary=X"])
    assert answer.json()["parts"] == [
        {
            "name": "a",
            "filename": None,
            "content_type": None,
            "size": 1,
            "sha256": hashlib.sha256(b"v").hexdigest(),
        }
    ]


def test_an_empty_body_is_one(curl: Curl) -> None:
    assert curl.put("/", b"").json()["body_bytes"] == 0


def test_a_refusal_comes_before_the_body_has_been_sent(curl: Curl) -> None:
    taken = 0

    def endless(size: int) -> bytes:
        nonlocal taken
        taken += size
        return bytes(size)

    answer = curl.put("/?status=413", endless, 1 << 40)
    assert answer.status == 413
    assert "body_bytes" not in answer.json()
    assert taken < 256 * MIB


def test_after_a_refusal_it_serves_on(curl: Curl, version: str) -> None:
    refused = curl.put("/?status=413", bytes(4 * MIB))
    served = curl.put("/", bytes(MIB))
    assert (refused.status, served.status) == (413, 200)
    assert served.json()["body_bytes"] == MIB
    if version == "1.1":
        assert "connection: close" in refused.head.lower()


def test_a_refused_stream_leaves_its_connection_alone(either_receiver: ReceiverAddress) -> None:
    curl = Curl(either_receiver, "2")
    assert curl.put("/", b"first").new_connections == 1
    assert curl.put("/?status=413", bytes(8 * MIB)).new_connections == 0
    assert curl.put("/", b"third").new_connections == 0
    curl.close()


def test_a_refusal_may_wait_for_the_body(curl: Curl) -> None:
    answer = curl.put("/?status=507&early=0", bytes(MIB))
    assert answer.status == 507
    assert answer.json()["body_bytes"] == MIB


def test_a_response_without_content(curl: Curl) -> None:
    answer = curl.put("/?status=204&early=0", b"x")
    assert (answer.status, answer.body) == (204, b"")


def test_redirect_names_its_target_and_cannot_inject_a_header(curl: Curl) -> None:
    answer = curl.put("/?redirect=/b%0d%0aX-Injected:%20yes%C3%A9&code=308", b"x")
    assert answer.status == 308
    assert "location: /b%0d%0ax-injected:%20yes%c3%a9\r\n" in answer.head.lower()
    assert "\r\nx-injected" not in answer.head.lower()


def test_delay_is_thinking_time(curl: Curl) -> None:
    started = time.monotonic()
    curl.put("/?delay=200", b"x")
    assert time.monotonic() - started >= 0.2


def test_throttle_slows_the_reading(curl: Curl) -> None:
    started = time.monotonic()
    answer = curl.put(f"/?throttle={4 * MIB}", bytes(MIB))
    assert time.monotonic() - started >= 0.25
    assert answer.json()["body_bytes"] == MIB


def test_interim_response(curl: Curl, version: str) -> None:
    answer = curl.put("/?interim=103", b"x")
    assert answer.status == 200
    assert (" 103" in answer.head) is (version != "1.1")


@pytest.mark.parametrize(
    ("path", "content_type", "complaint"),
    [
        ("/?delay=x", "text/plain", "delay=x"),
        ("/", "multipart/form-data", "without a boundary"),
        ("/", "multipart/form-data; boundary=X", "boundary"),
    ],
)
def test_what_makes_no_sense_is_a_400(
    curl: Curl, path: str, content_type: str, complaint: str
) -> None:
    answer = curl.put(path, b"--nothing", headers=[f"Content-Type: {content_type}"])
    assert answer.status == 400
    assert complaint in str(answer.json()["error"])


def test_tcp_responses_advertise_http3(either_receiver: ReceiverAddress) -> None:
    curl = Curl(either_receiver, "2")
    head = curl.put("/", b"x").head.lower()
    curl.close()
    assert f'alt-svc: h3=":{either_receiver.port}"; ma=3600' in head


def test_cleartext_port(either_receiver: ReceiverAddress) -> None:
    curl = Curl(either_receiver, "1.1")
    assert curl.put("/", b"x", cleartext=True).json()["http_version"] == "1.1"
    curl.close()


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "::1"])
def test_its_certificate_passes_strict_verification(receiver: ReceiverAddress, name: str) -> None:
    context = ssl.create_default_context(cafile=receiver.ca_path)
    context.verify_flags |= ssl.VERIFY_X509_STRICT  # the default from Python 3.13 on
    with (
        socket.create_connection(("127.0.0.1", receiver.port)) as raw,
        context.wrap_socket(raw, server_hostname=name) as connection,
    ):
        assert connection.getpeercert()


def test_its_key_is_for_its_owner_only(receiver: ReceiverAddress) -> None:
    key = Path(receiver.ca_path).with_name("server.key")
    assert key.stat().st_mode & 0o077 == 0
