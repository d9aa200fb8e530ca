"""Sessions of TLS over TCP are resumed, used once, and only with what they were verified by."""

from __future__ import annotations

import ssl
from dataclasses import replace

import anyio
import pytest
import truststore

from tests.net.support import ServerSide
from tests.peers.certificates import Certificates
from trilane.transport.config import TlsOptions
from trilane.transport.errors import CertificateError, TransportError
from trilane.transport.message import Origin
from trilane.transport.net.memory import memory_pair
from trilane.transport.net.session_keys import session_key
from trilane.transport.net.tls import TlsStream
from trilane.transport.net.tls_context import tls_setup
from trilane.transport.pins import read_pins
from trilane.transport.sessions import SessionSlot, SessionStore

ORIGIN = Origin("https", "localhost", 443)
OTHER_PIN = "sha256/47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="


async def exchange(
    store: SessionStore,
    server: ssl.SSLContext,
    options: TlsOptions,
    alpn: tuple[str, ...] = ("h2",),
) -> bool:
    """Shake hands, hear something and leave; whether a session was resumed."""
    client_end, server_end = memory_pair()
    slot = SessionSlot(store, session_key(ORIGIN, options, alpn))
    client = TlsStream(client_end, await tls_setup(options, alpn), "localhost", slot)
    peer = TlsStream(server_end, ServerSide(server, ()), "")

    async def serve() -> None:
        try:
            await peer.handshake()
            await peer.send(b"hello")
        except TransportError:
            server_end.close()

    error: TransportError | None = None
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(serve)
            try:
                await client.handshake()
                assert await client.receive() == b"hello"
            except TransportError as exc:
                error = exc
                client_end.close()
        if error is not None:
            raise error
        assert client.tls is not None
        assert client.tls.peer_certificate_der is not None
        return client.tls.session_resumed
    finally:
        client.close()
        peer.close()


def server_of(certificates: Certificates, version: str) -> ssl.SSLContext:
    context = certificates.server.server_context("h2", "http/1.1")
    context.minimum_version = context.maximum_version = {
        "1.2": ssl.TLSVersion.TLSv1_2,
        "1.3": ssl.TLSVersion.TLSv1_3,
    }[version]
    return context


@pytest.mark.parametrize("version", ["1.2", "1.3"])
async def test_every_connection_after_the_first_resumes(
    certificates: Certificates, version: str
) -> None:
    store, server = SessionStore(), server_of(certificates, version)
    options = TlsOptions(verify=str(certificates.ca))
    assert [await exchange(store, server, options) for _ in range(4)] == [False, True, True, True]


@pytest.mark.parametrize("version", ["1.2", "1.3"])
async def test_a_users_context_resumes_too(certificates: Certificates, version: str) -> None:
    store, server = SessionStore(), server_of(certificates, version)
    options = TlsOptions(verify=certificates.client_context())
    assert [await exchange(store, server, options) for _ in range(3)] == [False, True, True]


async def test_so_does_one_of_a_subclass(certificates: Certificates) -> None:
    store, server = SessionStore(), server_of(certificates, "1.3")
    context = truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(certificates.ca)
    options = TlsOptions(verify=context)
    assert [await exchange(store, server, options) for _ in range(3)] == [False, True, True]


async def test_a_ticket_of_tls_1_3_is_used_once(certificates: Certificates) -> None:
    store, server = SessionStore(), server_of(certificates, "1.3")
    options = TlsOptions(verify=str(certificates.ca))
    key = session_key(ORIGIN, options, ("h2",))
    await exchange(store, server, options)
    first = store.take_tcp(key)
    assert first is not None
    store.of(key).tcp.append(first)
    server.num_tickets = 0
    assert await exchange(store, server, options)
    assert store.take_tcp(key) is None


async def test_a_server_that_forgot_the_session(certificates: Certificates) -> None:
    store, options = SessionStore(), TlsOptions(verify=str(certificates.ca))
    assert not await exchange(store, server_of(certificates, "1.3"), options)
    restarted = server_of(certificates, "1.3")
    assert not await exchange(store, restarted, options)
    assert await exchange(store, restarted, options)


async def test_other_options_do_not_resume(certificates: Certificates) -> None:
    store, server = SessionStore(), server_of(certificates, "1.3")
    options = TlsOptions(verify=False)
    assert not await exchange(store, server, options)
    verified = TlsOptions(verify=str(certificates.ca))
    assert not await exchange(store, server, verified)
    assert not await exchange(store, server, replace(options, minimum="1.3"))
    assert not await exchange(store, server, options, ("http/1.1",))
    pinned = replace(verified, pins=read_pins({"localhost": [OTHER_PIN]}))
    with pytest.raises(CertificateError):
        await exchange(store, server, pinned)
    with pytest.raises(CertificateError):
        await exchange(store, server, TlsOptions())
    assert await exchange(store, server, options)


def test_the_systems_authorities_are_part_of_the_key(
    certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = session_key(ORIGIN, TlsOptions(), ())
    assert session_key(ORIGIN, TlsOptions(), ()) == here
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates.ca))
    assert session_key(ORIGIN, TlsOptions(), ()) != here


async def test_a_context_that_was_changed_does_not_resume(certificates: Certificates) -> None:
    store, server = SessionStore(), server_of(certificates, "1.3")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    options = TlsOptions(verify=context)
    assert not await exchange(store, server, options)
    context.verify_mode = ssl.CERT_REQUIRED
    with pytest.raises(CertificateError):
        await exchange(store, server, options)
