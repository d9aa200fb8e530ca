"""A bug of ours ends the requests it concerns, and not the client with all its other ones."""

from __future__ import annotations

import logging

import pytest

import trilane
from tests.peers.certificates import Certificates
from tests.peers.scripted import Peer, scripted_server
from trilane.transport.connections.http1 import Http1Connection
from trilane.transport.connections.http3_dialer import QuicDialer
from trilane.transport.connector import Connector


def serve(peer: Peer) -> None:
    while True:
        peer.read_request()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")


async def fails(*_given: object, **_options: object) -> None:
    raise RuntimeError("a bug")


async def test_in_a_dial(monkeypatch: pytest.MonkeyPatch) -> None:
    with scripted_server(serve) as server:
        async with trilane.AsyncClient() as client:
            with monkeypatch.context() as patched:
                patched.setattr(Connector, "connect", fails)
                with pytest.raises(trilane.TransportError, match="a bug") as caught:
                    await client.request("POST", server.url(), content=b"x")
            assert isinstance(caught.value.__cause__, RuntimeError)
            assert (await client.request("POST", server.url(), content=b"x")).is_success


async def test_in_a_connection(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(Http1Connection, "run", fails)
    with scripted_server(serve) as server, caplog.at_level(logging.ERROR, "trilane"):
        async with trilane.AsyncClient() as client:
            assert (await client.request("POST", server.url(), content=b"x")).is_success
    assert "a bug" in caplog.text


async def test_in_quic(monkeypatch: pytest.MonkeyPatch, certificates: Certificates) -> None:
    monkeypatch.setattr(QuicDialer, "dial", fails)
    context = certificates.server.server_context("http/1.1")
    with scripted_server(serve, tls=context) as server:
        async with trilane.AsyncClient(http3=True, verify=str(certificates.ca)) as client:
            assert (await client.request("POST", server.url(), content=b"x")).is_success
