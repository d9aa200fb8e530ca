"""HTTP/3 that does not come: the upload goes over TCP, says why, and the next one does not wait."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from functools import partial

import anyio
import pytest

import trilane
from tests.http3.pair import ServerSide
from tests.http3.udp_server import serving
from tests.peers.certificates import Certificates
from tests.peers.leaks import no_leaked_descriptors
from tests.peers.process import free_port
from tests.peers.scripted import Peer, ScriptedServer, scripted_server
from trilane.transport.connections.connection import ConnectionState
from trilane.transport.connections.http3 import Http3Connection
from trilane.transport.connections.http3_dialer import QuicDialer
from trilane.transport.errors import CertificateError, ConnectError
from trilane.transport.profile.invariants import order_violations
from trilane.transport.profile.moments import AttemptOutcome

UdpSide = Callable[[Certificates], AbstractAsyncContextManager[int]]


@pytest.fixture(autouse=True)
def nothing_leaks() -> Iterator[None]:
    with no_leaked_descriptors():
        yield


@asynccontextmanager
async def dead(_certificates: Certificates) -> AsyncIterator[int]:
    """Nothing listens: ICMP says so at once."""
    yield free_port()


@asynccontextmanager
async def black_hole(_certificates: Certificates) -> AsyncIterator[int]:
    """Datagrams vanish."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sink:
        sink.bind(("127.0.0.1", free_port()))
        yield sink.getsockname()[1]


@asynccontextmanager
async def untrusted(certificates: Certificates) -> AsyncIterator[int]:
    """The QUIC handshake is refused, for its certificate."""
    async with serving(lambda: ServerSide(certificates.unknown_ca), port=free_port()) as server:
        yield server.port


@asynccontextmanager
async def other_alpn(certificates: Certificates) -> AsyncIterator[int]:
    """QUIC, but no HTTP/3 on it."""

    def side() -> ServerSide:
        return ServerSide(certificates.server, alpn="hq-interop")

    async with serving(side, port=free_port()) as server:
        yield server.port


CASES: list[tuple[UdpSide, AttemptOutcome, type[trilane.TransportError]]] = [
    (dead, AttemptOutcome.FAILED, ConnectError),
    (black_hole, AttemptOutcome.CANCELLED, trilane.ConnectTimeout),
    (untrusted, AttemptOutcome.FAILED, CertificateError),
    (other_alpn, AttemptOutcome.FAILED, trilane.ProtocolUnavailable),
]
cases = pytest.mark.parametrize(("udp", "outcome", "error"), CASES)


def serve(peer: Peer) -> None:
    while True:
        peer.read_request()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")


@contextmanager
def tcp_server(certificates: Certificates, port: int) -> Iterator[ScriptedServer]:
    context = certificates.server.server_context("http/1.1")
    with scripted_server(serve, tls=context, port=port) as server:
        yield server


def client(certificates: Certificates) -> trilane.AsyncClient:
    return trilane.AsyncClient(http2=True, http3=True, verify=str(certificates.ca))


@cases
async def test_the_upload_goes_over_tcp_and_the_next_one_does_not_wait(
    udp: UdpSide,
    outcome: AttemptOutcome,
    error: type[trilane.TransportError],
    certificates: Certificates,
) -> None:
    async with udp(certificates) as port, client(certificates) as uploader:
        with tcp_server(certificates, port) as server:
            first = await uploader.upload(server.url(), b"content", filename="a.bin")
            second = await uploader.upload(server.url(), b"content", filename="a.bin")

    assert (first.status_code, first.http_version) == (200, "HTTP/1.1")
    assert first.profile is not None
    assert second.profile is not None
    assert order_violations(first.profile) == []
    (lost,) = [attempt for attempt in first.profile.attempts if attempt.protocol == "quic"]
    assert (lost.outcome, lost.address) == (outcome, ("127.0.0.1", port))
    assert lost.error
    won = [a.protocol for a in first.profile.attempts if a.outcome is AttemptOutcome.WON]
    assert won == ["tcp", "tls"]
    assert [attempt.protocol for attempt in second.profile.attempts] == []
    assert second.profile.socket_reused


@cases
async def test_a_new_connection_does_not_wait_either(
    udp: UdpSide,
    outcome: AttemptOutcome,
    error: type[trilane.TransportError],
    certificates: Certificates,
) -> None:
    def once(peer: Peer) -> None:
        peer.read_request()
        peer.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")

    context = certificates.server.server_context("http/1.1")
    async with udp(certificates) as port, client(certificates) as uploader:
        with scripted_server(once, tls=context, port=port) as server:
            await uploader.upload(server.url(), b"content", filename="a.bin")
            second = await uploader.upload(server.url(), b"content", filename="a.bin")

    assert second.profile is not None
    assert {attempt.protocol for attempt in second.profile.attempts} == {"tcp", "tls"}


@cases
async def test_on_demand_the_error_says_what_is_wrong(
    udp: UdpSide,
    outcome: AttemptOutcome,
    error: type[trilane.TransportError],
    certificates: Certificates,
) -> None:
    timeouts = trilane.Timeouts(connect_s=0.8)
    async with udp(certificates) as port, client(certificates) as uploader:
        with tcp_server(certificates, port) as server, pytest.raises(error) as caught:
            await uploader.upload(
                server.url(), b"content", filename="a.bin", protocol="h3", timeout=timeouts
            )

    assert caught.value.profile is not None
    assert [attempt.protocol for attempt in caught.value.profile.attempts] == ["quic"]


async def test_quic_that_comes_up_as_it_is_cancelled_is_closed(
    certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    dial, began, made = QuicDialer.dial, anyio.Event(), list[Http3Connection]()

    async def uninterrupted(*args: object, **options: object) -> Http3Connection:
        with anyio.CancelScope(shield=True):  # as the last step of a handshake may be
            began.set()
            made.append(await dial(*args, **options))  # type: ignore[arg-type]
        return made[0]

    monkeypatch.setattr(QuicDialer, "dial", uninterrupted)
    async with serving(lambda: ServerSide(certificates.server)) as server:
        async with client(certificates) as uploader, anyio.create_task_group() as tasks:
            tasks.start_soon(partial(uploader.upload, server.url(), b"content", filename="a.bin"))
            with anyio.fail_after(10):
                await began.wait()
                tasks.cancel_scope.cancel()
        assert [each.state for each in made] == [ConnectionState.CLOSED]


async def test_quic_wins_where_it_is_there(certificates: Certificates) -> None:
    async with (
        serving(lambda: ServerSide(certificates.server), port=free_port()) as udp,
        client(certificates) as uploader,
    ):
        with tcp_server(certificates, udp.port) as server:
            response = await uploader.upload(server.url(), b"content", filename="a.bin")

            assert response.http_version == "HTTP/3"
            assert server.accepted == 0


async def test_a_demanded_h2_never_falls_back(certificates: Certificates) -> None:
    context = certificates.server.server_context("http/1.1")
    async with client(certificates) as uploader:
        with (
            scripted_server(serve, tls=context) as server,
            pytest.raises(trilane.ProtocolUnavailable, match="h2"),
        ):
            await uploader.upload(server.url(), b"x", filename="a.bin", protocol="h2")
