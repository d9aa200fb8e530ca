"""QUIC's datagrams through SOCKS5's UDP ASSOCIATE: headers, sizes, what is dropped, and the end."""

from __future__ import annotations

import errno
import hashlib
import json
import socket
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from ipaddress import ip_address

import anyio
import pytest

import trilane
from tests.peers.leaks import no_leaked_descriptors
from tests.peers.servers import Endpoints
from tests.peers.udp_relay import LOOPBACK, udp_relay
from trilane.transport.config import SocketOptions
from trilane.transport.connections.socks_relay import SocksRelay
from trilane.transport.errors import ConnectionLost
from trilane.transport.net.datagram import Address, PathError
from trilane.transport.net.dial_log import DialLog
from trilane.transport.net.memory import MemoryStream, memory_pair
from trilane.transport.protocols.bulk_train import Train

PROXY = "socks5://proxy.example:1080"
TARGET = ("192.0.2.7", 443)
HEADER = b"\0\0\0\x01\xc0\0\x02\x07\x01\xbb"
CONTENT = bytes(range(256)) * 4096


@dataclass(frozen=True, slots=True)
class Packet:
    data: bytes
    address: Address


@pytest.fixture(autouse=True)
def nothing_leaks() -> Iterator[None]:
    with no_leaked_descriptors():
        yield


@pytest.fixture
def proxy() -> Iterator[socket.socket]:
    """The proxy's end of the relay."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(5)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        yield sock


@dataclass
class Association:
    relay: SocksRelay
    control: MemoryStream
    """The proxy's end of the connection that keeps it alive."""
    proxy: socket.socket

    def answer(self, data: bytes) -> None:
        self.proxy.sendto(data, ("127.0.0.1", self.relay.local[1]))


def associate(proxy: socket.socket, target: Address = TARGET) -> Association:
    ours, theirs = memory_pair()
    relay = SocksRelay(
        ours, proxy.getsockname(), target, DialLog(), proxy=PROXY, options=SocketOptions()
    )
    return Association(relay, theirs, proxy)


@pytest.fixture
async def association(proxy: socket.socket) -> AsyncIterator[Association]:
    made = associate(proxy)
    yield made
    made.relay.close()
    made.control.close()


@pytest.mark.parametrize(
    ("host", "header_bytes"),
    [("192.0.2.7", 10), ("2001:db8::7", 22), ("a.example", 4 + 1 + 9 + 2)],
)
async def test_each_datagram_names_its_target(
    proxy: socket.socket, host: str, header_bytes: int
) -> None:
    made = associate(proxy, (host, 443))
    relay = made.relay
    assert relay.overhead_bytes == header_bytes
    await relay.send([Packet(b"first", relay.peer), Packet(b"second", relay.peer)])
    received = [proxy.recv(100) for _ in range(2)]
    header = received[0][:header_bytes]
    assert received == [header + b"first", header + b"second"]
    assert header[:3] == b"\0\0\0"
    assert header[-2:] == (443).to_bytes(2, "big")
    if header[3] == 3:
        assert header[4:-2] == bytes((len(host),)) + host.encode()
    else:
        assert ip_address(header[4:-2]) == ip_address(host)
    made.answer(header + b"answer")
    assert await relay.receive() == [(b"answer", relay.peer)]
    relay.close()
    made.control.close()


async def test_another_address_of_the_server_is_named_and_recognised(
    association: Association,
) -> None:
    """QUIC may turn to the one a server prefers (RFC 9000 §9.6)."""
    relay, other = association.relay, ("2001:db8::9", 8443)
    await relay.send([Packet(b"there", other)])
    header = association.proxy.recv(100)[: -len(b"there")]
    assert ip_address(header[4:20]) == ip_address(other[0])
    association.answer(header + b"from there")
    association.answer(HEADER + b"from here")
    got: list[tuple[bytes, Address]] = []
    while len(got) < 2:
        got += await relay.receive()
    assert got == [(b"from there", other), (b"from here", relay.peer)]


@pytest.mark.parametrize(
    "dropped",
    [
        b"\0\0\x01" + HEADER[3:] + b"a fragment",
        b"\0\0\x80" + HEADER[3:] + b"the last fragment",
        b"\0\0\0\x09" + HEADER[4:] + b"an unknown type of address",
        b"\0\0\0\x03\xff" + b"a name that is longer than the datagram",
        HEADER[:-1],
        b"\0\0\0",
        b"",
    ],
)
async def test_what_has_no_sound_header_is_dropped(
    association: Association, dropped: bytes
) -> None:
    association.answer(dropped)
    association.answer(HEADER + b"good")
    received: list[tuple[bytes, Address]] = []
    with anyio.fail_after(5):
        while not received:
            received = await association.relay.receive()
            assert len(association.relay.arrived_ns) == len(received)
    assert received == [(b"good", association.relay.peer)]


async def test_what_does_not_come_from_the_relay_is_dropped(association: Association) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.sendto(HEADER + b"forged", ("127.0.0.1", association.relay.local[1]))
    association.answer(HEADER + b"good")
    received: list[tuple[bytes, Address]] = []
    with anyio.fail_after(5):
        while not received:
            received = await association.relay.receive()
    assert received == [(b"good", association.relay.peer)]


@pytest.mark.parametrize(
    ("size", "count", "last"), [(1000, 64, 1000), (1472, 44, 7), (1200, 1, 1200)]
)
async def test_a_train_has_a_header_before_each_datagram(
    association: Association, size: int, count: int, last: int
) -> None:
    """With the headers, 64 of 1000 bytes are more than one call takes."""
    plain = [bytes((number,)) * size for number in range(count - 1)] + [b"\xff" * last]
    relay = association.relay
    departures: list[int] = []
    relay.on_departure = lambda sent, _: departures.append(sent)
    data = memoryview(b"".join(plain))
    await relay.send_train(Train(data, size, count, relay.peer))
    received = [association.proxy.recv(2000) for _ in plain]
    assert received == [HEADER + each for each in plain]
    assert sum(departures) == count
    assert relay.counters.sent_bytes == len(data) + len(HEADER) * count
    assert 0 < relay.write_started_ns <= relay.write_ended_ns


async def test_a_train_that_outgrows_one_call_takes_two(proxy: socket.socket) -> None:
    made = associate(proxy, ("a" * 200 + ".example", 443))
    plain = [bytes((number,)) * 1000 for number in range(64)]
    data = memoryview(b"".join(plain))
    await made.relay.send_train(Train(data, 1000, len(plain), made.relay.peer))
    received = [proxy.recv(2000) for _ in plain]
    assert [each[made.relay.overhead_bytes :] for each in received] == plain
    made.relay.close()
    made.control.close()


async def test_what_the_socket_does_not_take_is_told_without_headers(
    association: Association, monkeypatch: pytest.MonkeyPatch
) -> None:
    relay = association.relay
    packets = [Packet(bytes((number,)), relay.peer) for number in range(3)]
    monkeypatch.setattr(relay._socket, "send_nowait", lambda wrapped: wrapped[1:])
    assert relay.send_nowait(packets) == packets[1:]
    monkeypatch.setattr(relay._socket, "send_nowait", lambda _: ())
    assert relay.send_nowait(packets) == []


async def test_the_way_to_every_address_is_that_to_the_relay(
    association: Association, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Address] = []
    monkeypatch.setattr(association.relay._socket, "find_source", asked.append)
    association.relay.find_source(TARGET)
    assert asked == [association.relay.peer]


async def test_the_header_is_taken_off_the_mtu(
    association: Association, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = [
        PathError(errno.EMSGSIZE, association.relay.peer, 1400),
        PathError(errno.EMSGSIZE, association.relay.peer),
        PathError(errno.ECONNREFUSED, association.relay.peer),
    ]
    monkeypatch.setattr(association.relay._socket, "take_errors", lambda: told)
    assert [error.mtu_bytes for error in association.relay.take_errors()] == [1390, None, None]


async def test_it_ends_with_the_connection_it_was_asked_for_on(association: Association) -> None:
    async def hang_up() -> None:
        await association.control.send(b"what nobody asked for")
        association.control.close()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(hang_up)
        with pytest.raises(ConnectionLost, match=f"the proxy {PROXY} ended the relay"):
            await association.relay.wait_ended()


async def test_closing_ends_the_association(association: Association) -> None:
    association.relay.close()
    association.relay.close()
    assert await association.control.receive() == b""


@pytest.mark.parametrize(("scheme", "header_bytes"), [("socks5", 10), ("socks5h", 16)])
async def test_no_datagram_is_larger_than_wanted(
    receiver: Endpoints, scheme: str, header_bytes: int
) -> None:
    assert receiver.https_port is not None
    quic = trilane.QuicOptions(max_datagram_bytes=1400)
    with udp_relay(receiver.https_port) as relay:
        proxy = f"{scheme}://127.0.0.1:{relay.proxy_port}"
        async with trilane.AsyncClient(verify=str(receiver.ca), proxy=proxy, quic=quic) as client:
            url = receiver.url("https", host="localhost")
            response = await client.upload(url, CONTENT, protocol="h3")
    [part] = json.loads(response.content)["parts"]
    assert part["sha256"] == hashlib.sha256(CONTENT).hexdigest()
    assert max(relay.sizes) == 1400
    # The first ones have QUIC's least size (RFC 9000 §14.1) inside.
    assert relay.sizes[0] == 1200 + header_bytes


@pytest.mark.parametrize(
    "bound",
    [
        LOOPBACK,
        b"\x01\0\0\0\0",
        b"\x04" + bytes(16),
        b"\x03\x09localhost",
    ],
    ids=["an address", "the proxy's, IPv4", "the proxy's, IPv6", "a name"],
)
async def test_the_relay_is_where_the_proxy_says(receiver: Endpoints, bound: bytes) -> None:
    """An unspecified address is the proxy's own, as many understand it."""
    assert receiver.https_port is not None
    with udp_relay(receiver.https_port, bound) as relay:
        proxy = f"socks5://127.0.0.1:{relay.proxy_port}"
        async with trilane.AsyncClient(
            verify=str(receiver.ca), proxy=proxy, resolve={"localhost": ["127.0.0.1"]}
        ) as client:
            response = await client.upload(receiver.url("https"), b"x", protocol="h3")
    assert response.status_code == 200
    assert response.profile is not None
    assert response.profile.peer_ip == "127.0.0.1"


async def test_an_upload_notices_the_end_of_its_relay(receiver: Endpoints) -> None:
    assert receiver.https_port is not None
    with udp_relay(receiver.https_port) as relay:
        proxy = f"socks5://127.0.0.1:{relay.proxy_port}"
        async with trilane.AsyncClient(verify=str(receiver.ca), proxy=proxy) as client:
            url = receiver.url("https", "/upload?throttle=1000000")

            def end(progress: trilane.Progress) -> None:
                if progress.sent:
                    relay.end.set()

            with pytest.raises(ConnectionLost, match=f"the proxy {proxy} ended the relay"):
                await client.upload(
                    url, CONTENT * 8, protocol="h3", on_progress=end, retry_stale="never"
                )
