"""Names from a name server in clear: dnsmasq, and servers that do as they should not."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import anyio
import pytest

import trilane
from tests.names.conftest import CLOSED_PORT
from tests.peers.leaks import no_leaked_descriptors
from tests.peers.name_servers import wire_name
from tests.peers.process import free_port
from tests.peers.servers import Endpoints
from trilane import DnsServer, ResolveError
from trilane.transport.config import SocketOptions
from trilane.transport.errors import ResolveReason
from trilane.transport.net import dns_server
from trilane.transport.net.dns_server import DnsServerSource
from trilane.transport.policy.dns_records import Kind, Question
from trilane.transport.profile.invariants import order_violations

ASKED = Question("one.example", Kind.A)
ANSWER, TRUNCATED, SERVFAIL = 0x8180, 0x8380, 0x8182
ADDRESS = wire_name("one.example") + struct.pack("!HHIH", 1, 1, 30, 4) + b"\xc0\0\2\1"
LOOP = [
    wire_name(one) + struct.pack("!HHIH", 5, 1, 30, len(wire_name(other))) + wire_name(other)
    for one, other in (("one.example", "two.example"), ("two.example", "one.example"))
]
LONG_NAME = (bytes([63]) + b"x" * 63) * 1100
#: It points at itself: the answer's first byte is at 29.
ENDLESS_NAME = b"\xc0\x1d" + ADDRESS[len(wire_name("one.example")) :]
EVIL = ADDRESS[:-4] + b"\x7f\0\0\1"


@pytest.fixture(autouse=True)
def nothing_leaks() -> Iterator[None]:
    with no_leaked_descriptors():
        yield


def reply(query: bytes, *records: bytes, flags: int = ANSWER, number: bytes | None = None) -> bytes:
    """An answer to a query, without what it asked beside its question (EDNS)."""
    end = query.index(0, 12) + 5
    counts = struct.pack("!HHHHH", flags, 1, len(records), 0, 0)
    return (number or query[:2]) + counts + query[12:end] + b"".join(records)


@contextmanager
def name_server(
    over_udp: Callable[[bytes], list[bytes]], over_tcp: Callable[[bytes], bytes] = lambda _: b""
) -> Iterator[tuple[DnsServer, list[bytes]]]:
    """A server that answers as it is told; over UDP with any number of datagrams."""
    port, asked, stop = free_port(), list[bytes](), threading.Event()
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp,
        socket.create_server(("127.0.0.1", port)) as tcp,
    ):
        udp.bind(("127.0.0.1", port))
        udp.settimeout(0.05)
        tcp.settimeout(0.05)

        def serve_udp() -> None:
            while not stop.is_set():
                try:
                    query, source = udp.recvfrom(4096)
                except TimeoutError:
                    continue
                asked.append(query)
                for answer in over_udp(query):
                    udp.sendto(answer, source)

        def serve_tcp() -> None:
            while not stop.is_set():
                try:
                    connection, _ = tcp.accept()
                except TimeoutError:
                    continue
                with connection:
                    length = int.from_bytes(connection.recv(2))
                    connection.sendall(over_tcp(connection.recv(length)))

        threads = [threading.Thread(target=each) for each in (serve_udp, serve_tcp)]
        for thread in threads:
            thread.start()
        try:
            yield DnsServer("127.0.0.1", port), asked
        finally:
            stop.set()
            for thread in threads:
                thread.join()


def framed(message: bytes) -> bytes:
    return len(message).to_bytes(2) + message


async def ask(server: DnsServer) -> tuple[str, ...]:
    with anyio.fail_after(20):
        answer = await DnsServerSource(server, SocketOptions()).answer(ASKED)
    return answer.addresses


async def test_guesses_are_not_believed() -> None:
    def guess(query: bytes) -> list[bytes]:
        other = query.replace(b"\3one", b"\3two")
        wrong_number = bytes([query[0] ^ 1, query[1]])
        return [
            reply(query, EVIL, number=wrong_number),
            reply(other, EVIL),
            query,
            b"\xff" * 5,
            b"",
            reply(query, ADDRESS),
        ]

    with name_server(guess) as (server, asked):
        for _ in range(4):
            assert await ask(server) == ("192.0.2.1",)
    assert len({query[:2] for query in asked}) > 1


async def test_what_is_too_long_is_asked_for_over_tcp() -> None:
    with name_server(
        lambda query: [reply(query, flags=TRUNCATED)],
        lambda query: framed(reply(query, *[ADDRESS] * 30)),
    ) as (server, asked):
        assert await ask(server) == ("192.0.2.1",)
    assert len(asked) == 1


@pytest.mark.parametrize(
    ("over_udp", "over_tcp", "reason"),
    [
        (lambda q: [reply(q, flags=SERVFAIL)], None, ResolveReason.SERVER_FAILURE),
        (lambda q: [reply(q, ADDRESS)[:-1]], None, ResolveReason.BAD_ANSWER),
        (lambda q: [reply(q, *LOOP)], None, ResolveReason.BAD_ANSWER),
        (lambda q: [reply(q, ENDLESS_NAME)], None, ResolveReason.BAD_ANSWER),
        (
            lambda q: [reply(q, flags=TRUNCATED)],
            lambda q: framed(reply(q, LONG_NAME)[:65535]),
            ResolveReason.BAD_ANSWER,
        ),
        (lambda q: [reply(q, flags=TRUNCATED)], lambda _: b"", ResolveReason.UNREACHABLE),
        (lambda q: [reply(q, flags=TRUNCATED)], lambda _: b"\0\x20x", ResolveReason.UNREACHABLE),
        (
            lambda q: [reply(q, flags=TRUNCATED)],
            lambda q: framed(reply(q, flags=TRUNCATED)),
            ResolveReason.BAD_ANSWER,
        ),
        (
            lambda q: [reply(q, flags=TRUNCATED)],
            lambda q: framed(reply(q, EVIL, number=b"xx")),
            ResolveReason.BAD_ANSWER,
        ),
    ],
)
async def test_what_is_no_answer_is_an_error(
    over_udp: Any, over_tcp: Any, reason: ResolveReason
) -> None:
    serving = name_server(over_udp, over_tcp or (lambda _: b""))
    with serving as (server, _), pytest.raises(ResolveError) as caught:
        await ask(server)
    assert caught.value.reason is reason


async def test_a_lost_question_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dns_server, "_TRIES_S", (0.02, 0.02, 5.0))
    count = iter(range(10))
    with name_server(lambda query: [reply(query, ADDRESS)] if next(count) == 2 else []) as (
        server,
        asked,
    ):
        assert await ask(server) == ("192.0.2.1",)
    assert len(asked) == 3
    assert len({query[:2] for query in asked}) == 1


async def test_a_server_that_is_silent_and_one_that_is_not_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(dns_server, "_TRIES_S", (0.02, 0.02))
    with (
        name_server(lambda _: []) as (server, asked),
        pytest.raises(ResolveError, match="does not answer") as silent,
    ):
        await ask(server)
    assert len(asked) == 2
    with pytest.raises(ResolveError, match="could not be asked") as absent:
        await ask(server)
    for caught in (silent, absent):
        assert caught.value.reason is ResolveReason.UNREACHABLE


async def test_a_cancelled_question_leaves_nothing() -> None:
    with name_server(lambda _: []) as (server, _):
        with anyio.move_on_after(0.05) as scope:
            await ask(server)
    assert scope.cancelled_caught


# --- a real one ---------------------------------------------------------------------------------


@pytest.mark.interop
@pytest.mark.parametrize("host", ["one.trilane.test", "two.trilane.test"])
async def test_a_name_is_found(dns: str, caddy: Endpoints, host: str) -> None:
    async with trilane.AsyncClient(verify=str(caddy.ca), resolver=dns) as client:
        response = await client.upload(caddy.url("https", host=host), b"x")
        cached = await client.upload(caddy.url("http", host=host), b"x")
    for each in (response.profile, cached.profile):
        assert each is not None
        assert not order_violations(each)
        assert not each.http_dns
        assert "httpDNSDomainLookUpStart" not in each.seed()
    assert response.profile is not None
    assert response.profile.dns_start is not None
    assert response.profile.dns_end is not None
    assert response.profile.dns_start < response.profile.dns_end
    assert cached.profile is not None
    assert cached.profile.dns_start is None


@pytest.mark.interop
async def test_its_records_lead_the_very_first_upload_to_h3_on_another_port(dns: str) -> None:
    for host in ("moved.trilane.test", "aliased.trilane.test", "hinted.trilane.test"):
        async with trilane.AsyncClient(verify=False, resolver=dns, http3=True) as client:
            response = await client.upload(f"https://{host}:{CLOSED_PORT}/upload", b"x")
        assert (response.status_code, response.http_version) == (200, "HTTP/3"), host


@pytest.mark.interop
async def test_a_name_that_is_not_there(dns: str) -> None:
    async with trilane.AsyncClient(resolver=dns) as client:
        with pytest.raises(ResolveError) as caught:
            await client.upload("https://nowhere.trilane.test/", b"x")
    assert caught.value.reason is ResolveReason.NO_SUCH_NAME


@pytest.mark.interop
@pytest.mark.parametrize("protocol", ["http/1.1", "h2", "h3"])
async def test_its_answers_are_asked_about(dns: str, protocol: Any) -> None:
    async with trilane.AsyncClient(
        resolver=dns, allow_address=trilane.public_addresses_only
    ) as client:
        with pytest.raises(trilane.AddressRefused):
            await client.upload("https://one.trilane.test/", b"x", protocol=protocol)


# --- how it is given ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "server"),
    [
        ("dns://192.0.2.53", DnsServer("192.0.2.53")),
        ("DNS://192.0.2.53:5353/", DnsServer("192.0.2.53", 5353)),
        ("dns://[2001:db8::53]", DnsServer("2001:db8::53")),
        ("dns://[2001:db8::53]:5353", DnsServer("2001:db8::53", 5353)),
    ],
)
def test_how_a_server_is_written(text: str, server: DnsServer) -> None:
    client = trilane.AsyncClient(resolver=text)
    assert client._engine._options.names.resolver == server


@pytest.mark.parametrize(
    "given",
    [
        *("dns://", "dns://name.example", "dns://192.0.2.53:0", "dns://192.0.2.53:65536"),
        *("dns://192.0.2.53/x", "dns://user@192.0.2.53", "dns://2001:db8::53", "dns://[::1"),
        DnsServer("name.example"),
    ],
)
async def test_what_is_no_server(given: str | DnsServer) -> None:
    with pytest.raises(trilane.UsageError, match="resolver"):
        trilane.AsyncClient(resolver=given)
