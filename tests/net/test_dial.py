"""Dialling: names, several addresses, TLS, and what is noted of it; on virtual time."""

from __future__ import annotations

import errno
from itertools import count

import anyio
import pytest

from tests.net.support import ServerSide
from tests.net.virtual_time import Backend, backend
from tests.peers.certificates import Certificates
from trilane.transport.config import TlsOptions
from trilane.transport.errors import (
    CertificateError,
    ConnectError,
    ConnectionLost,
    ResolveError,
    TlsError,
    UsageError,
)
from trilane.transport.net.dial import dial_tcp
from trilane.transport.net.dial_log import DialLog
from trilane.transport.net.memory import MemoryStream, VirtualHost, VirtualNetwork
from trilane.transport.net.resolve import Lookup
from trilane.transport.net.stream import LayerableStream
from trilane.transport.net.tls import TlsStream
from trilane.transport.net.tls_context import tls_setup
from trilane.transport.profile.moments import Attempt, AttemptOutcome, DialRecord

V6, V4, OTHER_V6 = "2001:db8::1", "192.0.2.1", "2001:db8::2"
DEAD = VirtualHost(answers_after_s=None)
REFUSING = VirtualHost(error=errno.ECONNREFUSED, answers_after_s=0.01)
UNREACHABLE = VirtualHost(error=errno.ENETUNREACH)
GOOD = VirtualHost(answers_after_s=0.04)


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> Backend:
    return backend(request.param)


class Names:
    """A resolver with one name, which takes its time."""

    def __init__(self, *addresses: str, log: DialLog | None = None, takes_s: float = 0.005) -> None:
        self._clock = (log or DialLog()).clock
        self._addresses = addresses
        self._takes_s = takes_s

    over_https = False

    async def look_up(self, host: str, port: int) -> Lookup:
        assert host == "upload.example"
        start = self._clock()
        await anyio.sleep(self._takes_s)
        if not self._addresses:
            raise ResolveError("cannot resolve 'upload.example'")
        return Lookup(self._addresses, start, self._clock())


def now_ms() -> int:
    return round(anyio.current_time() * 1000)


def outcomes(attempts: list[Attempt]) -> list[tuple[str, int, int, str]]:
    """Address, start and end in ms, outcome of each attempt."""
    return [
        (attempt.address[0] if attempt.address else "", attempt.start, attempt.end, attempt.outcome)
        for attempt in attempts
    ]


async def dial(
    network: VirtualNetwork, *addresses: str, log: DialLog | None = None
) -> tuple[MemoryStream, DialLog]:
    """Dial the name at these addresses; the log's clock shows milliseconds from now on."""
    begin = now_ms()
    log = log or DialLog()
    log.clock = lambda: now_ms() - begin
    stream, record = await dial_tcp(
        "upload.example", 443, names=Names(*addresses, log=log), log=log, connect=network.connect
    )
    assert record == log.freeze()
    assert isinstance(stream, MemoryStream)
    return stream, log


def hosts(**by_name: VirtualHost) -> VirtualNetwork:
    addresses = {"v6": V6, "v4": V4, "other_v6": OTHER_V6}
    return VirtualNetwork({(addresses[name], 443): host for name, host in by_name.items()})


async def test_one_good_address() -> None:
    stream, log = await dial(hosts(v4=GOOD), V4)
    assert stream.peer == (V4, 443)
    assert (log.dns_start, log.dns_end) == (0, 5)
    assert (log.connect_start, log.tcp_connected, log.connect_end) == (5, 45, 45)
    assert (log.tls_start, log.tls_end) == (None, None)
    assert outcomes(log.attempts) == [(V4, 5, 45, AttemptOutcome.WON)]


async def test_a_dead_first_address_costs_250_ms_and_is_shown() -> None:
    network = hosts(v6=DEAD, v4=GOOD)
    stream, log = await dial(network, V6, V4)
    assert stream.peer == (V4, 443)
    assert (log.connect_start, log.tcp_connected) == (255, 295)
    assert outcomes(log.attempts) == [
        (V4, 255, 295, AttemptOutcome.WON),
        (V6, 5, 295, AttemptOutcome.CANCELLED),
    ]
    assert network.open_attempts == 0


async def test_a_refusing_first_address_costs_no_delay() -> None:
    _, log = await dial(hosts(v6=REFUSING, v4=GOOD), V6, V4)
    assert outcomes(log.attempts) == [
        (V6, 5, 15, AttemptOutcome.FAILED),
        (V4, 15, 55, AttemptOutcome.WON),
    ]
    assert log.attempts[0].error == "connection refused"


async def test_a_slow_first_address_may_still_win() -> None:
    network = hosts(v6=VirtualHost(answers_after_s=0.3), v4=VirtualHost(answers_after_s=0.2))
    stream, log = await dial(network, V6, V4)
    assert stream.peer == (V6, 443)
    assert (log.connect_start, log.tcp_connected) == (5, 305)
    assert outcomes(log.attempts) == [
        (V6, 5, 305, AttemptOutcome.WON),
        (V4, 255, 305, AttemptOutcome.CANCELLED),
    ]


async def test_families_alternate_though_the_resolver_does_not() -> None:
    _, log = await dial(hosts(v6=DEAD, other_v6=DEAD, v4=GOOD), V6, OTHER_V6, V4)
    assert [address for address, *_ in outcomes(log.attempts)] == [V4, V6]


async def test_two_that_connect_at_once_leave_one_connection() -> None:
    answers_together = hosts(
        v6=VirtualHost(answers_after_s=0.5), v4=VirtualHost(answers_after_s=0.25)
    )
    stream, log = await dial(answers_together, V6, V4)
    assert sorted(attempt.outcome for attempt in log.attempts) == ["cancelled", "won"]
    ends = []
    for address in (V6, V4):
        with anyio.move_on_after(1):
            ends.append(await answers_together.accept(address, 443))
    winner = next(end for end in ends if end.local == stream.peer)
    await winner.send(b"x")
    assert await stream.receive() == b"x"
    for loser in set(ends) - {winner}:
        assert await loser.receive() == b""


async def test_every_address_and_its_reason_are_named() -> None:
    with pytest.raises(ConnectError) as caught:
        await dial(hosts(v6=UNREACHABLE, v4=REFUSING), V6, V4)
    error = caught.value
    assert str(error) == (
        "cannot connect to upload.example:443: "
        "2001:db8::1: the network is unreachable; 192.0.2.1: connection refused"
    )
    assert not error.refused
    assert outcomes(list(error.attempts)) == [
        (V6, 5, 5, AttemptOutcome.FAILED),
        (V4, 5, 15, AttemptOutcome.FAILED),
    ]


async def test_refused_by_all_can_be_told_apart() -> None:
    with pytest.raises(ConnectError, match="connection refused") as caught:
        await dial(hosts(v6=REFUSING, v4=REFUSING), V6, V4)
    assert caught.value.refused


async def test_a_literal_is_dialled_without_a_lookup_and_named_once() -> None:
    log = DialLog()
    with pytest.raises(ConnectError) as caught:
        await dial_tcp(V6, 443, names=Names(), log=log, connect=hosts(v6=REFUSING).connect)
    assert str(caught.value) == "cannot connect to [2001:db8::1]:443: connection refused"
    assert (log.dns_start, log.dns_end) == (None, None)


async def test_a_name_that_does_not_resolve_is_an_attempt_without_address() -> None:
    with pytest.raises(ResolveError) as caught:
        await dial(hosts())
    (attempt,) = caught.value.attempts
    assert (attempt.address, attempt.start, attempt.end) == (None, 0, 5)


@pytest.mark.parametrize(
    ("after_s", "attempts", "dns_end"),
    [
        (0.003, [], None),
        (0.1, [V6], 5),
        (0.3, [V6, V4], 5),
    ],
)
async def test_a_dial_cut_short_leaves_its_notes_and_nothing_open(
    after_s: float, attempts: list[str], dns_end: int | None
) -> None:
    network, log = hosts(v6=DEAD, v4=DEAD), DialLog()
    with anyio.move_on_after(after_s) as scope:
        await dial(network, V6, V4, log=log)
    assert scope.cancelled_caught
    assert sorted(address for address, *_ in outcomes(log.attempts)) == sorted(attempts)
    assert {attempt.outcome for attempt in log.attempts} <= {AttemptOutcome.CANCELLED}
    assert {attempt.end for attempt in log.attempts} <= {round(after_s * 1000)}
    record = log.freeze()
    assert (record.dns_end, record.connect_start, record.connect_end) == (dns_end, None, None)
    assert network.open_attempts == 0


# --- TLS ------------------------------------------------------------------------------------------


ALPN = ("h2", "http/1.1")
UNVERIFIED = TlsOptions(verify=False)


@pytest.fixture
def verified(certificates: Certificates) -> TlsOptions:
    return TlsOptions(verify=str(certificates.ca))


@pytest.fixture(autouse=True)
def contexts_are_ready(verified: TlsOptions) -> None:
    """Building one takes a thread, and virtual time does not wait for threads."""
    for options in (verified, UNVERIFIED):
        anyio.run(tls_setup, options, ALPN)


async def dial_securely(
    network: VirtualNetwork, log: DialLog, tls: TlsOptions
) -> tuple[LayerableStream, DialRecord]:
    return await dial_tcp(
        V4, 443, names=Names(), tls=tls, alpn=ALPN, log=log, connect=network.connect
    )


async def serve_tls(network: VirtualNetwork, certificates: Certificates) -> None:
    """Shake hands with the first who connects, and hold still."""
    end = await network.accept(V4, 443)
    setup = ServerSide(certificates.server.server_context("h2"), ())
    server = TlsStream(end, setup, "")
    try:
        await server.handshake()
        await anyio.sleep_forever()
    except (ConnectionLost, TlsError):
        pass
    finally:
        server.close()


async def test_tls_follows_tcp_and_both_are_shown(certificates: Certificates) -> None:
    network = hosts(v4=GOOD)
    tick = count()
    log = DialLog(clock=lambda: next(tick))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(serve_tls, network, certificates)
        stream, record = await dial_securely(network, log, UNVERIFIED)
        tasks.cancel_scope.cancel()
    assert stream.tls is not None
    assert stream.tls.alpn == "h2"
    assert [(attempt.protocol, attempt.outcome) for attempt in record.attempts] == [
        ("tcp", AttemptOutcome.WON),
        ("tls", AttemptOutcome.WON),
    ]
    moments = (record.connect_start, record.tcp_connected, record.tls_start, record.tls_end)
    assert list(moments) == sorted(moment for moment in moments if moment is not None)
    assert record.connect_end == record.tls_end
    # TLS begins with its first byte on the wire, not with the making of it.
    assert record.tls_start is not None
    assert record.tls_start > record.attempts[1].start


async def test_a_refused_certificate_shows_its_attempts(
    certificates: Certificates, verified: TlsOptions
) -> None:
    network, log = hosts(v4=GOOD), DialLog()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(serve_tls, network, certificates)
        with pytest.raises(CertificateError) as caught:
            await dial_securely(network, log, verified)
        tasks.cancel_scope.cancel()
    tcp, tls = caught.value.attempts
    assert (tcp.protocol, tcp.outcome) == ("tcp", AttemptOutcome.WON)
    assert (tls.protocol, tls.outcome) == ("tls", AttemptOutcome.FAILED)
    assert tls.error == str(caught.value)
    assert log.tls_start is not None
    assert (log.tls_end, log.connect_end) == (None, None)


async def test_a_handshake_without_answer_is_cut_short_and_shown() -> None:
    network, log = hosts(v4=GOOD), DialLog()
    with anyio.move_on_after(5) as scope:
        await dial_securely(network, log, UNVERIFIED)
    assert scope.cancelled_caught
    assert [(attempt.protocol, attempt.outcome) for attempt in log.attempts] == [
        ("tcp", AttemptOutcome.WON),
        ("tls", AttemptOutcome.CANCELLED),
    ]
    assert log.tls_start is not None
    assert log.tls_end is None
    server = await network.accept(V4, 443)
    while await server.receive():
        pass  # the ClientHello, and then the end: the connection was closed


async def test_options_that_cannot_be_used_are_told_before_anything_is_dialled() -> None:
    network, log = hosts(v4=GOOD), DialLog()
    with pytest.raises(UsageError):
        await dial_securely(network, log, TlsOptions(verify="/nonexistent/ca.pem"))
    assert log.attempts == []
