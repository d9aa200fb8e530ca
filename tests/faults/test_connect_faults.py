"""Uploads that never get a connection: refused, unknown, unanswered, or not to be trusted."""

from __future__ import annotations

import re

import pytest

import trilane
from tests.faults.faulty import Faulty, check_failure, failed_upload
from tests.peers.certificates import Certificates
from tests.peers.scripted import Peer, Script, full_backlog, refused_port, scripted_server
from trilane.transport.errors import Phase
from trilane.transport.profile.moments import AttemptOutcome


async def test_refused_port(certificates: Certificates) -> None:
    with refused_port() as port:
        async with Faulty(None, certificates.ca).client() as client:
            error = await failed_upload(client, f"http://127.0.0.1:{port}/", trilane.ConnectError)

    assert error.phase is Phase.CONNECT
    assert error.profile is not None
    [attempt] = error.profile.attempts
    assert attempt.address == ("127.0.0.1", port)
    assert attempt.outcome is AttemptOutcome.FAILED
    assert attempt.error is not None
    assert "refused" in attempt.error
    assert "refused" in str(error)
    assert error.profile.seed()["connectEnd"] == 0


async def test_name_that_does_not_exist(certificates: Certificates) -> None:
    # RFC 6761 §6.4: .invalid never resolves.
    async with Faulty(None, certificates.ca).client() as client:
        error = await failed_upload(client, "http://no-such-host.invalid/", trilane.ResolveError)

    assert error.phase is Phase.RESOLVE
    assert "no-such-host.invalid" in str(error)
    assert error.profile is not None
    assert error.profile.dns_start is not None
    assert error.profile.connect_start is None


@pytest.mark.parametrize(
    ("identity", "reason"),
    [
        ("expired", "expired"),
        ("wrong_host", "127.0.0.1"),
        ("unknown_ca", "issuer|self-signed|unknown"),
    ],
)
async def test_certificate_that_cannot_be_trusted(
    certificates: Certificates, identity: str, reason: str
) -> None:
    def expect_nothing(peer: Peer) -> None:
        peer.read_head()
        raise AssertionError("a request was sent over an untrusted connection")

    context = getattr(certificates, identity).server_context()
    faulty = Faulty(context, certificates.ca)
    with faulty.server(expect_nothing) as server:
        async with faulty.client() as client:
            error = await failed_upload(client, server.url(), trilane.CertificateError)

        async with faulty.client(verify=False, timeout=5.0) as careless:
            # The same server is reached when nobody looks: the certificate was the only fault.
            with pytest.raises(trilane.TransportError) as caught:
                await careless.upload(server.url(), b"payload", protocol="h2")

    assert error.phase is Phase.TLS
    assert re.search(reason, str(error))
    assert isinstance(caught.value, trilane.ProtocolUnavailable)
    assert error.profile is not None
    assert error.profile.tcp_connected is not None
    assert error.profile.request_start is None


async def test_plain_http_on_a_tls_port(certificates: Certificates) -> None:
    def answer_in_clear(peer: Peer) -> None:
        peer.send(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
        peer.drain()

    with scripted_server(answer_in_clear) as server:
        async with Faulty(None, certificates.ca).client() as client:
            url = server.url().replace("http://", "https://")
            error = await failed_upload(client, url, trilane.TlsError)

    assert error.phase is Phase.TLS


@pytest.mark.parametrize("end", [Peer.close, Peer.reset], ids=["close", "reset"])
async def test_broken_in_the_handshake(certificates: Certificates, end: Script) -> None:
    def end_after_the_hello(peer: Peer) -> None:
        peer.read_body(5)
        end(peer)

    with scripted_server(end_after_the_hello) as server:
        async with Faulty(None, certificates.ca).client() as client:
            url = server.url().replace("http://", "https://")
            with pytest.raises(trilane.NetworkError) as caught:
                await client.upload(url, b"payload")

    check_failure(caught.value)
    assert caught.value.phase is Phase.TLS


async def test_listener_that_never_accepts(certificates: Certificates) -> None:
    with full_backlog() as port:
        timeouts = trilane.Timeouts(connect_s=0.3)
        async with Faulty(None, certificates.ca).client(timeout=timeouts) as client:
            error = await failed_upload(client, f"http://127.0.0.1:{port}/", trilane.ConnectTimeout)

    assert error.phase is Phase.CONNECT
    assert error.profile is not None
    assert [attempt.outcome for attempt in error.profile.attempts] == [AttemptOutcome.CANCELLED]


async def test_handshake_that_is_never_answered(certificates: Certificates) -> None:
    with scripted_server(Peer.hold) as server:
        timeouts = trilane.Timeouts(connect_s=0.3)
        async with Faulty(None, certificates.ca).client(timeout=timeouts) as client:
            url = server.url().replace("http://", "https://")
            error = await failed_upload(client, url, trilane.ConnectTimeout)

    assert error.profile is not None
    assert error.profile.tcp_connected is not None
    assert error.profile.request_start is None


async def test_protocol_the_server_does_not_speak(certificates: Certificates) -> None:
    faulty = Faulty(certificates.server.server_context("http/1.1"), certificates.ca)
    with faulty.server(Peer.hold) as server:
        async with faulty.client() as client:
            error = await failed_upload(
                client, server.url(), trilane.ProtocolUnavailable, protocol="h2"
            )

    assert "h2" in str(error)
