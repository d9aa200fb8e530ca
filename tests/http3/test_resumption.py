"""Session tickets and early data: used once, asked for, refused, and visible in the profile."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

import anyio
import pytest
from aioquic.quic.events import HandshakeCompleted, StreamDataReceived
from aioquic.tls import CipherSuite, SessionTicket

from tests.http3.udp_server import serving
from tests.http3.uploads import PATIENCE_S, BytesBody, Dialling, answers, make_exchange, serve_with
from tests.peers.certificates import Certificates
from trilane.transport.errors import (
    ConnectError,
    TransportError,
)
from trilane.transport.profile.moments import Moment
from trilane.transport.sessions import Resumption, SessionKey, SessionStore


async def wait_for_ticket(dialling: Dialling) -> None:
    while not any(kept.tickets for _, kept in dialling.sessions):
        await anyio.sleep(0.001)


async def test_a_second_connection_resumes_the_session(certificates: Certificates) -> None:
    tickets: dict[bytes, SessionTicket] = {}
    dialling = Dialling(certificates)
    with anyio.fail_after(PATIENCE_S):
        async with serving(serve_with(certificates.server, tickets=tickets)) as server:
            resumed = []
            for _ in range(3):
                async with dialling.connection(server.url()) as connection:
                    assert await answers(connection, server.url())
                    await wait_for_ticket(dialling)
                tls = connection.facts.tls
                assert tls is not None
                resumed.append(tls.session_resumed)
                # Nobody asked for early data.
                assert tls.early_data_accepted is None
    assert resumed == [False, True, True]


@pytest.mark.parametrize("accepted", [True, False])
async def test_early_data(certificates: Certificates, accepted: bool) -> None:
    tickets: dict[bytes, SessionTicket] = {}
    body = BytesBody(bytes(range(256)) * 20)
    dialling = Dialling(certificates, early_data=True)
    with anyio.fail_after(PATIENCE_S):
        async with serving(serve_with(certificates.server, tickets=tickets)) as server:
            async with dialling.connection(server.url()) as connection:
                assert await answers(connection, server.url())
                await wait_for_ticket(dialling)
            if not accepted:
                tickets.clear()  # as a server that was restarted
            async with dialling.connection(server.url()) as connection:
                assert connection.facts.tls is None
                assert not connection.machine.handshake_complete
                began_s = anyio.current_time()
                exchange = make_exchange(server.url(), body)
                exchange.early_data = True
                exchange.recorder.use_connection(connection.facts, reused=False)
                response = await connection.exchange(exchange)
                took_s = anyio.current_time() - began_s
            request = server.sides[1].requests[0]

    assert response.head.status == 200
    assert bytes(request.body) == body.data
    assert took_s < 1.0
    leg = exchange.recorder.leg
    assert leg.connection is not None
    assert leg.connection.tls is not None
    assert leg.connection.tls.early_data_accepted is accepted
    assert leg.connection.tls.session_resumed is accepted
    times = leg.times
    connect_end, request_start = times[Moment.CONNECT_END], times[Moment.REQUEST_START]
    assert connect_end is not None
    assert request_start is not None
    assert connect_end <= request_start


async def test_other_requests_wait_for_the_handshake(certificates: Certificates) -> None:
    tickets: dict[bytes, SessionTicket] = {}
    dialling = Dialling(certificates, early_data=True)
    with anyio.fail_after(PATIENCE_S):
        async with serving(serve_with(certificates.server, tickets=tickets)) as server:
            async with dialling.connection(server.url()) as connection:
                assert await answers(connection, server.url())
                await wait_for_ticket(dialling)
            async with dialling.connection(server.url()) as connection:
                assert not connection.machine.handshake_complete
                exchange = make_exchange(server.url(), BytesBody(b"not to be replayed"))
                exchange.recorder.use_connection(connection.facts, reused=False)
                await connection.exchange(exchange)
            events = server.sides[1].events

    leg = exchange.recorder.leg
    assert leg.connection is not None
    assert leg.connection.tls is not None
    kinds = [type(e) for e in events if getattr(e, "stream_id", 0) == 0]
    assert kinds.index(HandshakeCompleted) < kinds.index(StreamDataReceived)


async def test_early_data_to_a_port_that_died(certificates: Certificates) -> None:
    dialling = Dialling(certificates, early_data=True)
    with anyio.fail_after(PATIENCE_S):
        async with serving(serve_with(certificates.server)) as server:
            async with dialling.connection(server.url()) as connection:
                assert await answers(connection, server.url())
                await wait_for_ticket(dialling)
            server.close()
            with pytest.raises(TransportError) as caught:
                async with dialling.connection(server.url()) as connection:
                    await answers(connection, server.url(), early_data=True)
    error = caught.value
    assert isinstance(error, ConnectError)
    assert error.refused
    assert error.retryable


def test_the_session_store_is_bounded_and_uses_tickets_once() -> None:
    store = SessionStore(kept_keys=2)
    a, b, c = (SessionKey(name) for name in "abc")
    for n in range(5):
        store.of(a).tokens.append(b"%d" % n)
    assert [store.take_quic(a, early_data=False).token for _ in range(3)] == [b"4", b"3", b""]
    for key in (a, b, c):
        store.of(key).tokens.append(key.name.encode())
    taken = [store.take_quic(key, early_data=False).token for key in (a, b, c)]
    assert taken == [b"", b"b", b"c"]
    assert store.take_quic(SessionKey("unknown"), early_data=True) == Resumption()
    assert store.take_tcp(a) is None


def test_an_expired_ticket_is_not_used() -> None:
    now = dt.datetime.now(dt.UTC)
    good = SessionTicket(
        age_add=0,
        cipher_suite=CipherSuite.AES_128_GCM_SHA256,
        not_valid_after=now + dt.timedelta(hours=1),
        not_valid_before=now - dt.timedelta(hours=1),
        resumption_secret=b"",
        server_name="localhost",
        ticket=b"good",
        max_early_data_size=0xFFFFFFFF,
    )
    expired = replace(good, not_valid_after=now - dt.timedelta(seconds=1), ticket=b"expired")
    store, key = SessionStore(), SessionKey("a")
    store.of(key).tickets.extend((good, expired))
    taken = store.take_quic(key, early_data=False).ticket
    assert taken is not None
    assert (taken.ticket, taken.max_early_data_size) == (b"good", None)
    store.of(key).tickets.append(good)
    assert store.take_quic(key, early_data=True).ticket == good
