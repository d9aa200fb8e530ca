"""TLS handshakes: what is agreed on, who is refused, and what is said about it."""

from __future__ import annotations

import ssl

import anyio
import pytest

from tests.net.tls_support import connect_tls, trusting
from tests.peers.certificates import Certificates, Identity
from tests.peers.leaks import no_leaked_descriptors
from tests.peers.scripted import Peer, scripted_server
from trilane.transport.config import TlsOptions
from trilane.transport.errors import (
    CertificateError,
    ConnectionLost,
    ProtocolUnavailable,
    TlsError,
    TransportError,
)
from trilane.transport.net.memory import memory_pair
from trilane.transport.net.tls import start_tls
from trilane.transport.net.tls_context import tls_setup


async def test_a_handshake_says_what_was_agreed_on(certificates: Certificates) -> None:
    def script(peer: Peer) -> None:
        peer.send(b"got " + peer.read_request())

    with scripted_server(
        script, tls=certificates.server.server_context("h2", "http/1.1")
    ) as server:
        stream = await connect_tls(server.port, trusting(certificates), alpn=("h2", "http/1.1"))
        assert stream.tls is not None
        assert (stream.tls.version, stream.tls.alpn) == ("TLSv1.3", "h2")
        assert stream.tls.cipher.startswith("TLS_")
        assert not stream.tls.session_resumed
        assert stream.tls.peer_certificate_der == ssl.PEM_cert_to_DER_cert(
            _first_certificate(certificates.server)
        )
        handshake_bytes = stream.wire.sent_bytes
        assert (stream.write_started_ns, stream.accepted_bytes) == (0, 0)
        request = b"POST / HTTP/1.1\r\ncontent-length: 4\r\n\r\nbody"
        await stream.send(request)
        assert stream.accepted_bytes == len(request)
        assert stream.wire.sent_bytes - handshake_bytes > len(request)
        assert 0 < stream.write_started_ns < stream.write_ended_ns
        assert await stream.receive() == b"got body"
        assert stream.read_ns > stream.write_ended_ns
        stream.close()


@pytest.mark.parametrize(
    ("identity", "host", "words"),
    [
        ("expired", "localhost", "has expired"),
        ("wrong_host", "localhost", "for another host"),
        ("wrong_host", "127.0.0.1", "for another IP address"),
        ("unknown_ca", "localhost", "unknown certificate authority"),
        ("server", "127.0.0.2", "for another IP address"),
        ("server", "localhost.example", "for another host"),
    ],
)
async def test_a_bad_certificate_is_refused_and_the_reason_told(
    certificates: Certificates, identity: str, host: str, words: str
) -> None:
    served: Identity = getattr(certificates, identity)
    with (
        no_leaked_descriptors(),
        scripted_server(Peer.hold, tls=served.server_context()) as server,
        pytest.raises(CertificateError, match=words) as caught,
    ):
        await connect_tls(server.port, trusting(certificates), host)
    assert host in str(caught.value)


@pytest.mark.parametrize("host", ["localhost", "localhost.", "127.0.0.1", "::1"])
async def test_names_and_addresses_are_asked_for_as_they_should_be(
    certificates: Certificates, host: str
) -> None:
    asked: list[str | None] = []
    context = certificates.server.server_context()
    context.sni_callback = lambda _sock, name, _context: asked.append(name)
    with scripted_server(Peer.hold, tls=context) as server:
        (await connect_tls(server.port, trusting(certificates), host)).close()
    # RFC 6066 §3: a name without its trailing dot, and nothing at all for an IP address.
    assert asked == [None if host[0] in "1:" else "localhost"]


@pytest.mark.parametrize("identity", ["expired", "wrong_host", "unknown_ca"])
async def test_without_verification_everything_passes(
    certificates: Certificates, identity: str
) -> None:
    served: Identity = getattr(certificates, identity)
    with scripted_server(Peer.hold, tls=served.server_context()) as server:
        (await connect_tls(server.port, TlsOptions(verify=False))).close()


@pytest.mark.parametrize("name", ["a" * 64 + ".example", "a..example", "", "."])
async def test_a_name_tls_cannot_ask_for(name: str) -> None:
    client, _ = memory_pair()
    with pytest.raises(TlsError, match="host name"):
        await start_tls(client, await tls_setup(TlsOptions(verify=False), ()), name)
    with pytest.raises(ConnectionLost, match="closed"):
        await client.receive()


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", TlsError, "plain HTTP .* use http://"),
        (b"220 mail.example ESMTP\r\n", TlsError, "does not speak TLS"),
        (b"\x00" * 64, TlsError, "does not speak TLS"),
        (b"", TlsError, "closed the connection during the TLS handshake"),
        (b"\x16\x03\x03", TlsError, "closed the connection during the TLS handshake"),
        (b"\x15\x03\x03\x00\x02\x02\x28", TlsError, "no common cipher"),
        (b"\x15\x03\x03\x00\x02\x02\x46", TlsError, "none of our TLS versions"),
        (b"\x15\x03\x03\x00\x02\x02\x78", ProtocolUnavailable, "none of h2, http/1.1"),
    ],
)
async def test_peers_that_do_not_shake_hands(
    answer: bytes, error: type[TransportError], words: str
) -> None:
    def script(peer: Peer) -> None:
        peer.send(answer)
        peer.finish_sending()
        peer.drain()

    with (
        no_leaked_descriptors(),
        scripted_server(script) as server,
        pytest.raises(error, match=words),
    ):
        await connect_tls(server.port, TlsOptions(), alpn=("h2", "http/1.1"))


async def test_a_reset_in_the_handshake_is_told(certificates: Certificates) -> None:
    def script(peer: Peer) -> None:
        peer.read_body(1)
        peer.reset()

    with (
        no_leaked_descriptors(),
        scripted_server(script) as server,
        pytest.raises(TlsError, match=r"handshake with localhost failed: .*reset"),
    ):
        await connect_tls(server.port, trusting(certificates))


async def test_a_cancelled_handshake_leaves_nothing_open() -> None:
    with no_leaked_descriptors(), scripted_server(Peer.hold) as server:
        with anyio.move_on_after(0.05) as scope:
            await connect_tls(server.port, TlsOptions())
        assert scope.cancelled_caught


async def test_a_client_certificate_is_shown(certificates: Certificates) -> None:
    context = _asking_for_certificates(certificates)
    options = TlsOptions(
        verify=str(certificates.ca),
        cert=str(certificates.client.cert),
        key=str(certificates.client.key),
    )
    with scripted_server(lambda peer: peer.send(b"welcome"), tls=context) as server:
        stream = await connect_tls(server.port, options)
        assert await stream.receive() == b"welcome"
        stream.close()


async def test_a_missing_client_certificate_is_told_after_the_handshake(
    certificates: Certificates,
) -> None:
    # In TLS 1.3 the client has finished before the server looks (RFC 8446 §4.4.2.4).
    with scripted_server(Peer.hold, tls=_asking_for_certificates(certificates)) as server:
        stream = await connect_tls(server.port, trusting(certificates))
        with pytest.raises(ConnectionLost, match="wants a client certificate"):
            await stream.receive()
        assert not stream.is_idle_and_alive()
        stream.close()


def _first_certificate(identity: Identity) -> str:
    end = "-----END CERTIFICATE-----"
    return identity.cert.read_text().partition(end)[0] + end


def _asking_for_certificates(certificates: Certificates) -> ssl.SSLContext:
    context = certificates.server.server_context()
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(certificates.ca)
    return context
