"""Uploads over Unix sockets: what the URL says is asked for, but nothing is looked up."""

from __future__ import annotations

import hashlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest

import trilane
from tests.peers.leaks import no_leaked_descriptors
from tests.peers.receipt import Receipt
from tests.peers.servers import Endpoints
from trilane.transport.profile.invariants import order_violations

CONTENT = bytes(range(256)) * 4096


@pytest.fixture(autouse=True)
def nothing_leaks() -> Iterator[None]:
    with no_leaked_descriptors():
        yield


def path_of(nginx: Endpoints, name: str) -> Path:
    assert nginx.sockets is not None
    return nginx.sockets / name


@pytest.mark.parametrize(
    ("name", "protocol", "shown"),
    [
        ("http.sock", "http/1.1", "http1.1"),
        ("h2c.sock", "h2", "h2"),
        ("tls.sock", "http/1.1", "http1.1"),
        ("tls.sock", "h2", "h2"),
        ("tls.sock", "auto", "h2"),
    ],
)
async def test_an_upload(
    nginx: Endpoints,
    tmp_path: Path,
    name: str,
    protocol: Literal["auto", "http/1.1", "h2"],
    shown: str,
) -> None:
    scheme = "https" if name == "tls.sock" else "http"
    file = tmp_path / "file.bin"
    file.write_bytes(CONTENT)
    rule = trilane.public_addresses_only
    async with trilane.AsyncClient(
        verify=nginx.ca, http3=True, uds=path_of(nginx, name), allow_address=rule
    ) as client:
        # localhost is in the certificate; port 9 has no listener.
        url = f"{scheme}://localhost:9/raw"
        first = await client.request("POST", url, content=file, protocol=protocol)
        again = await client.upload(f"{scheme}://localhost:9/upload", b"x", protocol=protocol)
    receipt = Receipt.from_json(first.text)
    assert receipt.body_sha256 == hashlib.sha256(CONTENT).hexdigest()
    profile = first.profile
    assert profile is not None
    assert order_violations(profile) == []
    assert (profile.peer_ip, profile.port) == (None, None)
    assert (profile.dns_start, profile.dns_end) == (None, None)
    assert None not in {profile.connect_start, profile.tcp_connected, profile.connect_end}
    assert (profile.tls_start is not None) is (scheme == "https")
    expected = ["unix", "tls"] if scheme == "https" else ["unix"]
    assert [each.protocol for each in profile.attempts] == expected
    assert [each.address for each in profile.attempts] == [None] * len(expected)
    assert (profile.rtt_ms, profile.request_acked, profile.body_acked_bytes) == (None, None, None)
    seed = profile.seed()
    assert (seed["peerIP"], seed["protocol"], seed["domainLookUpStart"]) == (
        "",
        shown,
        seed["fetchStart"],
    )
    assert again.profile is not None
    assert (again.status_code, again.profile.socket_reused) == (200, True)
    assert str(profile)


async def test_http3_cannot_go_there(nginx: Endpoints) -> None:
    async with trilane.AsyncClient(uds=path_of(nginx, "tls.sock")) as client:
        with pytest.raises(trilane.ProtocolUnavailable, match="HTTP/3 needs UDP"):
            await client.upload("https://localhost/", b"x", protocol="h3")


async def test_a_missing_socket_and_one_without_a_server_are_told_apart(tmp_path: Path) -> None:
    async with trilane.AsyncClient(uds=tmp_path / "missing") as client:
        with pytest.raises(trilane.ConnectError, match="missing': no such file") as caught:
            await client.upload("http://localhost/", b"x")
        assert [each.protocol for each in caught.value.attempts] == ["unix"]
    dead = tmp_path / "dead"
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(dead))
    async with trilane.AsyncClient(uds=dead) as client:
        with pytest.raises(trilane.ConnectError, match="dead': connection refused") as caught:
            await client.upload("http://localhost/", b"x")
        assert caught.value.refused


async def test_a_certificate_for_another_host_is_refused(nginx: Endpoints) -> None:
    async with trilane.AsyncClient(verify=nginx.ca, uds=path_of(nginx, "tls.sock")) as client:
        with pytest.raises(trilane.CertificateError):
            await client.upload("https://other.example/", b"x")


async def test_an_abstract_socket() -> None:
    name = f"\0trilane-test-{threading.get_ident()}"
    heads: list[bytes] = []

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            heads.append(connection.recv(65536))
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(name)
        listener.listen()
        server = threading.Thread(target=serve)
        server.start()
        async with trilane.AsyncClient(uds=name) as client:
            response = await client.request("GET", "http://service.example/path")
        server.join(10)
    assert response.status_code == 200
    assert b"GET /path HTTP/1.1\r\nHost: service.example\r\n" in heads[0]
