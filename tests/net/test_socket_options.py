"""Local addresses, interfaces, congestion control and DSCP, as the kernel tells of them."""

from __future__ import annotations

import errno
import socket
import sys
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

import trilane
from tests.peers.leaks import no_leaked_descriptors
from tests.peers.servers import Endpoints
from trilane.api.socket_input import socket_options
from trilane.transport.config import SocketOptions
from trilane.transport.errors import ConnectError, UsageError
from trilane.transport.net.datagram import DatagramSocket
from trilane.transport.net.socket_options import check, prepare
from trilane.transport.net.tcp import connect_tcp

FAMILIES = [("127.0.0.1", socket.AF_INET), ("::1", socket.AF_INET6)]


@pytest.fixture(autouse=True)
def nothing_leaks() -> Iterator[None]:
    with no_leaked_descriptors():
        yield


@pytest.fixture(params=FAMILIES, ids=["IPv4", "IPv6"])
def listener(request: pytest.FixtureRequest) -> Iterator[socket.socket]:
    host, family = request.param
    with socket.create_server((host, 0), family=family) as sock:
        yield sock


def mark_of(sock: socket.socket) -> int:
    if sock.family == socket.AF_INET6:
        return sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS)
    return sock.getsockopt(socket.IPPROTO_IP, socket.IP_TOS)


async def test_tcp_packets_are_marked_and_controlled(listener: socket.socket) -> None:
    options = SocketOptions(dscp=10, congestion_control="reno")
    stream = await connect_tcp(*listener.getsockname()[:2], options=options)
    with closing(stream):
        assert mark_of(stream._sock) == 10 << 2
        name = stream._sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16)
        assert name.rstrip(b"\0") == b"reno"


async def test_sockets_are_bound_to_their_interface(listener: socket.socket) -> None:
    address, options = listener.getsockname()[:2], SocketOptions(interface="lo")
    stream = await connect_tcp(*address, options=options)
    with closing(stream), closing(DatagramSocket(address, options=options)) as datagrams:
        for sock in (stream._sock, datagrams._socket):
            name = sock.getsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, 16)
            assert name.rstrip(b"\0") == b"lo"


@pytest.mark.parametrize(("host", "family"), FAMILIES)
async def test_datagrams_arrive_with_their_mark(host: str, family: int) -> None:
    with socket.socket(family, socket.SOCK_DGRAM) as receiver:
        receiver.bind((host, 0))
        receiver.settimeout(10)
        if family == socket.AF_INET6:
            receiver.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVTCLASS, 1)
        else:
            receiver.setsockopt(socket.IPPROTO_IP, socket.IP_RECVTOS, 1)
        address = receiver.getsockname()[:2]
        with closing(DatagramSocket(address, options=SocketOptions(dscp=46))) as sock:
            sock._socket.sendto(b"x", address)
            _, control, _, source = receiver.recvmsg(10, 100)
            assert source[:2] == sock.local
    (ancillary,) = control
    assert int.from_bytes(ancillary[2], sys.byteorder) == 46 << 2


@pytest.mark.parametrize(("kind", "ecn"), [(socket.SOCK_DGRAM, 0b01), (socket.SOCK_DGRAM, 0b10)])
def test_a_mark_leaves_ecn_alone(kind: socket.SocketKind, ecn: int) -> None:
    for family in (socket.AF_INET, socket.AF_INET6):
        with socket.socket(family, kind) as sock:
            level, option = (
                (socket.IPPROTO_IPV6, socket.IPV6_TCLASS)
                if family == socket.AF_INET6
                else (socket.IPPROTO_IP, socket.IP_TOS)
            )
            sock.setsockopt(level, option, ecn)
            prepare(sock, SocketOptions(dscp=63))
            assert mark_of(sock) == 63 << 2 | ecn


@pytest.mark.parametrize("protocol", ["http/1.1", "h2", "h3"])
async def test_an_upload_comes_from_the_local_address(caddy: Endpoints, protocol: Any) -> None:
    options: dict[str, Any] = {"local_address": "127.0.0.5", "interface": "lo", "dscp": 1}
    async with trilane.AsyncClient(verify=caddy.ca, **options) as client:
        response = await client.upload(caddy.url("https"), b"x", protocol=protocol)
        (connection,) = client._engine.pool.connections
    assert response.status_code == 200
    assert connection.facts.local[0] == "127.0.0.5"


@pytest.mark.parametrize("protocol", ["http/1.1", "h3"])
async def test_a_port_may_be_chosen_too(caddy: Endpoints, protocol: Any) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.5", 0))
        local = free.getsockname()
    async with trilane.AsyncClient(verify=caddy.ca, local_address=local) as client:
        await client.upload(caddy.url("https"), b"x", protocol=protocol)
        (connection,) = client._engine.pool.connections
    assert connection.facts.local == local


@pytest.mark.parametrize("protocol", ["http/1.1", "h3"])
@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"local_address": "192.0.2.77"}, "192.0.2.77, port 0: no local address"),
        ({"local_address": "::1"}, "local_address ::1 is of the other address family"),
        ({"interface": "nosuch0"}, "interface 'nosuch0': there is no such network interface"),
    ],
)
async def test_what_this_host_lacks_is_named(
    caddy: Endpoints, protocol: Any, options: dict[str, Any], reason: str
) -> None:
    async with trilane.AsyncClient(verify=caddy.ca, **options) as client:
        with pytest.raises(ConnectError, match=reason) as caught:
            await client.upload(caddy.url("https"), b"x", protocol=protocol)
    (attempt,) = caught.value.attempts
    assert attempt.error is not None
    assert reason.split(":", maxsplit=1)[0] in attempt.error


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"uds": ""}, "uds must be"),
        ({"uds": b"/x"}, "uds must be"),
        ({"uds": "/x", "dscp": 1}, "uds: a Unix socket has no"),
        ({"local_address": "localhost"}, "local_address"),
        ({"local_address": ("127.0.0.1", 70000)}, "local_address"),
        ({"local_address": 5}, "local_address"),
        ({"interface": "a" * 16}, "interface"),
        ({"interface": ""}, "interface"),
        ({"interface": "e\0th"}, "interface"),
        ({"congestion_control": "nosuch"}, "congestion_control 'nosuch'.*this host has: .*reno"),
        ({"congestion_control": 1}, "congestion_control"),
        ({"dscp": 64}, "dscp 64"),
        ({"dscp": -1}, "dscp -1"),
        ({"dscp": True}, "dscp"),
    ],
)
async def test_wrong_values_are_refused_at_once(options: Any, complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        trilane.AsyncClient(**options)


def test_all_at_once() -> None:
    assert socket_options({"local_address": ("::1", 5), "interface": "lo", "dscp": 0}) == (
        SocketOptions(local_address=("::1", 5), interface="lo", dscp=0)
    )


@pytest.mark.parametrize(
    ("options", "constant"),
    [
        (SocketOptions(uds="/x"), "AF_UNIX"),
        (SocketOptions(interface="lo"), "SO_BINDTODEVICE"),
        (SocketOptions(congestion_control="reno"), "TCP_CONGESTION"),
        (SocketOptions(dscp=1), "IP_TOS"),
    ],
)
def test_an_operating_system_without_the_option_is_told_of(
    options: SocketOptions, constant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    check(options)
    monkeypatch.delattr(socket, constant)
    with pytest.raises(UsageError, match="operating system has no way"):
        check(options)


def test_an_interface_may_be_forbidden(monkeypatch: pytest.MonkeyPatch) -> None:
    class Forbidding(socket.socket):
        def setsockopt(self, *_args: object) -> None:
            raise OSError(errno.EPERM, "not permitted")

    with Forbidding() as sock, pytest.raises(ConnectError, match="interface 'lo': forbidden"):
        prepare(sock, SocketOptions(interface="lo"))
