"""TLS streams against Python's own server side, over loopback sockets and in memory."""

from __future__ import annotations

import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import anyio
import anyio.to_thread
import pytest

from tests.net.support import ServerSide, connected, pattern, reset
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
from trilane.transport.net.memory import Link, MemoryStream, memory_pair
from trilane.transport.net.stream import LayerableStream
from trilane.transport.net.tcp import TcpStream, connect_tcp
from trilane.transport.net.tls import TlsStream, start_tls
from trilane.transport.net.tls_context import tls_setup

MIB = 1024 * 1024


async def connect_tls(
    port: int, options: TlsOptions, host: str = "localhost", alpn: tuple[str, ...] = ()
) -> TlsStream:
    return await start_tls(
        await connect_tcp("127.0.0.1", port), await tls_setup(options, alpn), host
    )


def trusting(certificates: Certificates) -> TlsOptions:
    return TlsOptions(verify=str(certificates.ca))


@asynccontextmanager
async def both_ends(
    certificates: Certificates, client_side: LayerableStream, server_side: LayerableStream
) -> AsyncIterator[tuple[TlsStream, TlsStream]]:
    """TLS from one stream to the other, client first."""
    setup = await tls_setup(trusting(certificates), ("h2",))
    client = TlsStream(client_side, setup, "localhost")
    server = TlsStream(
        server_side, ServerSide(certificates.server.server_context("h2"), ()), "localhost"
    )
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(server.handshake)
        await client.handshake()
    try:
        yield client, server
    finally:
        client.close()
        server.close()


@asynccontextmanager
async def over_loopback(certificates: Certificates) -> AsyncIterator[tuple[TlsStream, TlsStream]]:
    with connected() as (ours, peer):
        peer.setblocking(False)
        theirs = TcpStream(peer, peer.getpeername())
        async with both_ends(certificates, ours, theirs) as ends:
            yield ends


def socket_below(stream: TlsStream) -> socket.socket:
    assert isinstance(stream._inner, TcpStream)
    return stream._inner._sock


async def until_readable(stream: TlsStream) -> None:
    """Wait, boundedly, until the peer's last bytes have crossed the loopback."""
    with anyio.fail_after(5):
        await anyio.wait_readable(socket_below(stream))


# --- the handshake -------------------------------------------------------------------------------


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


# --- bytes ---------------------------------------------------------------------------------------


async def test_both_directions_at_once_carry_everything(certificates: Certificates) -> None:
    count = 64 * MIB
    data = memoryview(pattern(MIB))

    async def send(stream: TlsStream) -> None:
        for _ in range(count // MIB):
            await stream.send(data)

    async def check(stream: TlsStream) -> None:
        received = 0
        while received < count:
            piece = await stream.receive()
            start = received % MIB
            end = min(start + len(piece), MIB)
            assert piece[: end - start] == data[start:end]
            assert piece[end - start :] == data[: len(piece) - (end - start)]
            received += len(piece)
        assert received == count

    async with over_loopback(certificates) as ends, anyio.create_task_group() as tasks:
        for stream in ends:
            tasks.start_soon(send, stream)
            tasks.start_soon(check, stream)
    for stream in ends:
        assert stream.accepted_bytes == count
        assert count < stream.wire.sent_bytes < count * 1.01
        assert count < stream.wire.received_bytes < count * 1.01


@pytest.mark.parametrize("seed", range(3))
async def test_records_may_arrive_in_any_pieces(certificates: Certificates, seed: int) -> None:
    link = Link(longest_piece_bytes=700, buffer_bytes=4000)
    data = pattern(100_000)
    pair = memory_pair(seed=seed, to_server=link, to_client=link)
    async with both_ends(certificates, *pair) as (client, server):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(client.send, data)
            received = b""
            while len(received) < len(data):
                received += await server.receive()
        assert received == data


async def test_tls_goes_through_tls(certificates: Certificates) -> None:
    link = Link(longest_piece_bytes=3000, buffer_bytes=8000)
    data = pattern(200_000)
    pair = memory_pair(to_server=link, to_client=link)
    async with (
        both_ends(certificates, *pair) as outer,
        both_ends(certificates, *outer) as (client, server),
    ):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(client.send, data)
            received = b""
            while len(received) < len(data):
                received += await server.receive()
        assert received == data
        assert client.is_idle_and_alive()
        server.close()
        assert await client.receive() == b""
        assert not client.truncated


async def test_a_cancelled_send_breaks_the_stream(certificates: Certificates) -> None:
    async with over_loopback(certificates) as (client, server):
        await until_readable(client)
        assert client.is_idle_and_alive()  # has read the tickets, so that the close is no RST
        with anyio.move_on_after(0.05) as scope:
            await client.send(bytes(64 * MIB))
        assert scope.cancelled_caught
        assert client.broken
        assert client.write_started_ns > 0
        with pytest.raises(ConnectionLost, match="did not complete"):
            await client.send(b"more")
        accepted = client.accepted_bytes
        client.close()
        received = 0
        while piece := await server.receive():
            received += len(piece)
        assert server.truncated
        # What was taken of the last step is not counted.
        assert 0 < accepted <= received <= accepted + 64 * 1024


async def test_data_before_a_reset_can_still_be_read_after_the_send_failed(
    certificates: Certificates,
) -> None:
    async with over_loopback(certificates) as (client, server):
        await client.send(b"POST / HTTP/1.1\r\n\r\n")
        sock = socket_below(server)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # it leaves before the RST
        await server.send(b"HTTP/1.1 413 Content Too Large\r\n\r\n")
        reset(sock)
        with pytest.raises(ConnectionLost), anyio.fail_after(5):
            await _send_forever(client)
        assert (await client.receive()).startswith(b"HTTP/1.1 413")
        with pytest.raises(ConnectionLost, match="reset"):
            await client.receive()


# --- the end -------------------------------------------------------------------------------------


async def test_close_notify_is_sent_and_understood(certificates: Certificates) -> None:
    async with over_loopback(certificates) as (client, server):
        await client.send(b"all of it")
        client.close()
        client.close()
        assert await server.receive() == b"all of it"
        assert await server.receive() == b""
        assert await server.receive() == b""
        assert not server.truncated


async def test_an_end_without_close_notify_is_reported(certificates: Certificates) -> None:
    async with over_loopback(certificates) as (client, server):
        await server.send(b"half of")
        server._inner.close()
        assert await client.receive() == b"half of"
        assert not client.truncated
        for _ in range(2):
            assert await client.receive() == b""
            assert client.truncated


async def test_half_a_record_is_a_truncation_too(certificates: Certificates) -> None:
    pair = memory_pair(to_client=Link(reset_after_bytes=None))
    async with both_ends(certificates, *pair) as (client, server):
        assert isinstance(server._inner, MemoryStream)
        await server._inner.send(b"\x17\x03\x03\x01\x00half")
        server._inner.close()
        assert await client.receive() == b""
        assert client.truncated


async def test_garbage_between_records_breaks_the_connection(certificates: Certificates) -> None:
    async with both_ends(certificates, *memory_pair()) as (client, server):
        await server._inner.send(b"\x17\x03\x03\x00\x20" + bytes(32))
        with pytest.raises(ConnectionLost, match=r"192\.0\.2\.1:443: .*(mac|decryption)"):
            await client.receive()
        with pytest.raises(ConnectionLost):
            await client.send(b"x")
        with pytest.raises(ConnectionLost, match=r"mac|decryption|alert"):
            await server.receive()  # our alert reached it


async def test_close_wakes_who_waits(certificates: Certificates) -> None:
    async with over_loopback(certificates) as (client, _):

        async def wait() -> None:
            with pytest.raises(ConnectionLost, match="closed on this side"):
                await client.receive()

        async def fill() -> None:
            with pytest.raises(ConnectionLost, match="closed on this side"):
                await _send_forever(client)

        with anyio.fail_after(5):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(wait)
                tasks.start_soon(fill)
                await anyio.wait_all_tasks_blocked()
                client.close()


async def test_close_does_not_wait_for_a_peer_that_does_not_read(
    certificates: Certificates,
) -> None:
    pair = memory_pair(to_server=Link(buffer_bytes=2000))
    async with both_ends(certificates, *pair) as (client, _):
        with anyio.move_on_after(0.05):
            await client.send(bytes(10_000))
        client.close()


# --- liveness ------------------------------------------------------------------------------------


async def test_session_tickets_are_not_taken_for_data(certificates: Certificates) -> None:
    done: list[int] = []

    def script(peer: Peer) -> None:
        done.append(1)
        peer.hold()

    with scripted_server(script, tls=certificates.server.server_context()) as server:
        stream = await connect_tls(server.port, trusting(certificates))
        # The server's tickets come after our Finished (RFC 8446 §4.6.1).
        await until_readable(stream)
        before = stream.wire.received_bytes
        assert stream.is_idle_and_alive()
        assert stream.wire.received_bytes > before
        assert stream.is_idle_and_alive()
        stream.close()
        assert not stream.is_idle_and_alive()


async def test_data_close_notify_and_end_of_file_end_idleness(certificates: Certificates) -> None:
    for last_words in ("data", "close_notify", "end of file"):
        async with over_loopback(certificates) as (client, server):
            while client.receive_nowait() is not None:
                pass
            assert client.is_idle_and_alive()
            if last_words == "data":
                await server.send(b"x")
            elif last_words == "close_notify":
                with suppress(ssl.SSLWantReadError):
                    server._ssl.unwrap()
                server._flush_nowait()
            else:
                server._inner.close()
            await until_readable(client)
            assert not client.is_idle_and_alive(), last_words


async def test_data_already_decrypted_ends_idleness(certificates: Certificates) -> None:
    async with over_loopback(certificates) as (client, server):
        await server.send(b"two")
        assert await client.receive(1) == b"t"
        assert not client.is_idle_and_alive()


# --- housekeeping --------------------------------------------------------------------------------


class _OwingSetup(ServerSide):
    """Stands for an OpenSSL that owes the peer an answer with every read."""

    def wrap(self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO, host: str) -> ssl.SSLObject:
        real = super().wrap(incoming, outgoing, host)

        class Owing:
            def read(self, _count: int) -> bytes:
                data = incoming.read(1)
                if not data:
                    raise ssl.SSLWantReadError
                outgoing.write(b"a" * 27)
                return data

            def write(self, data: memoryview) -> int:
                return outgoing.write(data)

            def unwrap(self) -> None:
                return None

        assert real is not None
        return Owing()  # type: ignore[return-value]


async def test_answers_leave_at_once_or_with_the_next_send(certificates: Certificates) -> None:
    setup = _OwingSetup(certificates.server.server_context(), ())
    ours, peer = memory_pair(to_server=Link(buffer_bytes=30))
    stream = TlsStream(ours, setup, "localhost")
    await peer.send(b"xyz")
    assert await stream.receive() == b"x"
    assert await stream.receive() == b"y"  # only 3 bytes of this answer fit
    assert ours.wire.sent_bytes == 30
    received = b""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(stream.send, b"data")
        while len(received) < 58:
            received += await peer.receive()
    assert received == b"a" * 54 + b"data"


async def test_a_peer_that_demands_without_reading_is_given_up(certificates: Certificates) -> None:
    setup = _OwingSetup(certificates.server.server_context(), ())
    ours, peer = memory_pair(to_server=Link(buffer_bytes=30))
    stream = TlsStream(ours, setup, "localhost")
    await peer.send(bytes(4000))
    with pytest.raises(ConnectionLost, match="faster than it reads"):
        await _receive_forever(stream)


def _first_certificate(identity: Identity) -> str:
    end = "-----END CERTIFICATE-----"
    return identity.cert.read_text().partition(end)[0] + end


def _asking_for_certificates(certificates: Certificates) -> ssl.SSLContext:
    context = certificates.server.server_context()
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(certificates.ca)
    return context


async def _receive_forever(stream: TlsStream) -> None:
    while True:
        await stream.receive()


async def _send_forever(stream: TlsStream) -> None:
    while True:
        await stream.send(bytes(MIB))
