"""The UDP socket against plain sockets on loopback."""

from __future__ import annotations

import errno
import socket
import sys
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import anyio
import pytest

from tests.peers.leaks import no_leaked_descriptors
from trilane.transport.errors import ConnectionLost
from trilane.transport.net import datagram
from trilane.transport.net.datagram import Address, DatagramSocket
from trilane.transport.net.kernel_clock import SO_TIMESTAMPNS
from trilane.transport.protocols.bulk_train import Train

LOOPBACK_MTU_PAYLOAD = 65_507


@dataclass(frozen=True, slots=True)
class Packet:
    data: bytes
    address: Address


@pytest.fixture
def peer() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(5)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        yield sock


@pytest.fixture
async def ours(peer: socket.socket) -> AsyncIterator[DatagramSocket]:
    made = DatagramSocket(peer.getsockname())
    yield made
    made.close()


def packets(peer: socket.socket, sizes: list[int]) -> list[Packet]:
    address = peer.getsockname()
    return [Packet(bytes([n % 256]) * size, address) for n, size in enumerate(sizes)]


@pytest.mark.parametrize("segmentation", [True, False])
@pytest.mark.parametrize(
    "sizes",
    [
        [1],
        [1200] * 200,
        [1350] * 10 + [17],
        [100, 1350, 1350, 20, 1350, 1200],
        [1, 2, 3],
        [9000] * 20,
    ],
)
async def test_datagrams_keep_their_borders_and_order(
    peer: socket.socket, sizes: list[int], segmentation: bool
) -> None:
    ours = DatagramSocket(peer.getsockname(), segmentation=segmentation)
    sent = packets(peer, sizes)
    with anyio.fail_after(5):
        await ours.send(sent)
    received = [peer.recvfrom(65535) for _ in sizes]

    assert [data for data, _ in received] == [packet.data for packet in sent]
    assert {source for _, source in received} == {ours.local}
    assert ours.counters.sent_datagrams == len(sizes)
    assert ours.counters.sent_bytes == sum(sizes)
    assert 0 < ours.write_started_ns <= ours.write_ended_ns
    ours.close()


async def until_the_kernel_notes_arrivals(peer: socket.socket, ours: DatagramSocket) -> None:
    """It begins to a moment after the first socket asks; until then it notes when one is read."""
    with anyio.fail_after(5):
        noted = False
        while not noted:
            peer.sendto(b"warm", ours.local)
            after = time.monotonic_ns()
            await anyio.sleep(0.01)
            await ours.receive()
            noted = ours.arrived_ns[-1] <= after + 100_000


def train_of(peer: socket.socket, sizes: list[int]) -> Train:
    data = b"".join(packet.data for packet in packets(peer, sizes))
    return Train(memoryview(data), sizes[0], len(sizes), peer.getsockname())


@pytest.mark.parametrize("segmentation", [True, False])
@pytest.mark.parametrize("sizes", [[700], [1472] * 44, [1200] * 10 + [17], [1200, 1200]])
async def test_a_train_arrives_as_datagrams(
    peer: socket.socket, sizes: list[int], segmentation: bool
) -> None:
    ours = DatagramSocket(peer.getsockname(), segmentation=segmentation)
    departures: list[int] = []
    ours.on_departure = lambda count, _at: departures.append(count)
    with anyio.fail_after(5):
        await ours.send_train(train_of(peer, sizes))

    assert [peer.recv(65535) for _ in sizes] == [item.data for item in packets(peer, sizes)]
    assert ours.counters.sent_datagrams == sum(departures) == len(sizes)
    assert ours.counters.sent_bytes == sum(sizes)
    assert 0 < ours.write_started_ns <= ours.write_ended_ns
    ours.close()


async def test_a_train_is_taken_apart_where_segmentation_is_refused(
    peer: socket.socket, ours: DatagramSocket, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A control message the kernel refuses, as a network card does with its own.
    monkeypatch.setattr(datagram, "_UDP_SEGMENT", 9999)
    sizes = [1200] * 5 + [3]
    with anyio.fail_after(5):
        await ours.send_train(train_of(peer, sizes))

    assert [peer.recv(65535) for _ in sizes] == [item.data for item in packets(peer, sizes)]


async def test_a_train_too_large_for_the_path_is_told_of(
    peer: socket.socket, ours: DatagramSocket
) -> None:
    await ours.send_train(Train(memoryview(bytes(65_520)), 65_520, 1, peer.getsockname()))

    assert {error.errno for error in ours.take_errors()} == {errno.EMSGSIZE}
    assert ours.counters.sent_datagrams == 0


async def test_what_another_task_takes_is_not_handed_out_twice(
    peer: socket.socket, ours: DatagramSocket
) -> None:
    received: list[tuple[bytes, int]] = []

    async def receive() -> None:
        while True:
            batch = [data for data, _ in await ours.receive()]
            received.extend(zip(batch, ours.arrived_ns, strict=True))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(receive)
        for n in range(200):
            peer.sendto(bytes([n]), ours.local)
            if n % 3:
                await anyio.lowlevel.checkpoint()
            batch = [data for data, _ in ours.receive_nowait()]
            received.extend(zip(batch, ours.arrived_ns, strict=True))
        with anyio.fail_after(5):
            while len(received) < 200:
                await anyio.lowlevel.checkpoint()
        tasks.cancel_scope.cancel()

    assert sorted(data for data, _ in received) == [bytes([n]) for n in range(200)]
    assert ours.receive_nowait() == []
    assert ours.counters.received_datagrams == 200


async def test_runs_to_different_addresses_are_kept_apart(peer: socket.socket) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 0))
        other.settimeout(5)
        ours = DatagramSocket(peer.getsockname())
        first, second = peer.getsockname(), other.getsockname()
        await ours.send([Packet(b"a", first), Packet(b"b", second), Packet(b"c", first)])

        assert [peer.recv(10), peer.recv(10), other.recv(10)] == [b"a", b"c", b"b"]
        ours.close()


async def test_a_batch_arrives_in_one_wake_up(peer: socket.socket, ours: DatagramSocket) -> None:
    sent = [bytes([n]) * 1000 for n in range(40)]
    for data in sent:
        peer.sendto(data, ours.local)
    with anyio.fail_after(5):
        received = await ours.receive()

    assert received == [(data, peer.getsockname()) for data in sent]
    assert ours.counters.received_datagrams == 40
    assert ours.counters.received_bytes == 40_000
    assert ours.read_ns > 0


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel notes arrivals on Linux")
async def test_arrivals_are_the_kernels_however_late_they_are_read(
    peer: socket.socket, ours: DatagramSocket
) -> None:
    await until_the_kernel_notes_arrivals(peer, ours)
    before = after = 0
    for data in (b"one", b"two"):
        before = time.monotonic_ns()
        peer.sendto(data, ours.local)
        after = time.monotonic_ns()
        await anyio.sleep(0.02)
    with anyio.fail_after(5):
        await ours.receive()

    first, second = ours.arrived_ns
    # The second one's moments; conversion between the clocks costs a few microseconds.
    assert before - 100_000 <= second <= after + 100_000
    assert second - first >= 20_000_000
    assert ours.read_ns - second >= 20_000_000


async def test_arrivals_nobody_noted_are_those_of_the_reading(
    peer: socket.socket, ours: DatagramSocket
) -> None:
    ours._socket.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 0)
    peer.sendto(b"data", ours.local)
    await anyio.sleep(0.02)
    before = time.monotonic_ns()
    with anyio.fail_after(5):
        await ours.receive()

    [arrived] = ours.arrived_ns
    assert before <= arrived <= ours.read_ns


@pytest.mark.parametrize("step_ns", [-(10**12), 10**12])
async def test_arrivals_stay_possible_when_somebody_sets_the_clock(
    peer: socket.socket,
    ours: DatagramSocket,
    step_ns: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    peer.sendto(b"first", ours.local)
    with anyio.fail_after(5):
        await ours.receive()
    emptied = time.monotonic_ns()
    monkeypatch.setattr(time, "time_ns", lambda real=time.time_ns: real() + step_ns)
    peer.sendto(b"second", ours.local)
    with anyio.fail_after(5):
        await ours.receive()

    [arrived] = ours.arrived_ns
    assert emptied - 10_000_000 <= arrived <= ours.read_ns


async def test_departures_are_told_of_with_the_time_of_their_system_call(
    peer: socket.socket, ours: DatagramSocket
) -> None:
    told: list[tuple[int, int]] = []
    ours.on_departure = lambda count, at: told.append((count, at))
    sizes = [1200, 1200, 700, 1200]

    await ours.send(packets(peer, sizes))

    assert sum(count for count, _ in told) == len(sizes)
    moments = [at for _, at in told]
    assert moments == sorted(moments)
    assert ours.write_started_ns <= moments[0]
    assert moments[-1] <= ours.write_ended_ns


async def test_coalesced_datagrams_are_split_again(peer: socket.socket) -> None:
    """What UDP_SEGMENT joins, UDP_GRO delivers joined."""
    receiving, sending = DatagramSocket(peer.getsockname()), DatagramSocket(peer.getsockname())
    sent = [bytes([n]) * 1350 for n in range(30)] + [b"last"]
    await sending.send([Packet(data, receiving.local) for data in sent])
    received: list[bytes] = []
    with anyio.fail_after(5):
        while len(received) < len(sent):
            received += [data for data, _ in await receiving.receive()]

    assert received == sent
    receiving.close()
    sending.close()


async def test_a_dead_port_is_heard_of(ours: DatagramSocket) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as dead:
        dead.bind(("127.0.0.1", 0))
        address = dead.getsockname()
    with anyio.fail_after(5):
        await ours.send([Packet(b"anybody?", address)])
        assert await ours.receive() == []
    [error] = ours.take_errors()

    assert (error.errno, error.address) == (errno.ECONNREFUSED, address)
    assert ours.take_errors() == []


async def test_an_old_error_does_not_swallow_the_next_datagram(
    peer: socket.socket, ours: DatagramSocket
) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as dead:
        dead.bind(("127.0.0.1", 0))
        address = dead.getsockname()
    with anyio.fail_after(5):
        await ours.send([Packet(b"anybody?", address)])
        await ours.send([Packet(b"you", peer.getsockname())])

    assert peer.recv(10) == b"you"
    assert [error.errno for error in ours.take_errors()] == [errno.ECONNREFUSED]


async def test_too_large_a_datagram_is_dropped_and_told_of(
    peer: socket.socket, ours: DatagramSocket
) -> None:
    too_large = Packet(bytes(LOOPBACK_MTU_PAYLOAD + 1), peer.getsockname())
    with anyio.fail_after(5):
        await ours.send([too_large, Packet(b"next", peer.getsockname())])

    assert peer.recv(10) == b"next"
    assert {error.errno for error in ours.take_errors()} == {errno.EMSGSIZE}


class RefusingSocket:
    """A socket whose network card cannot segment."""

    def __init__(self, real: socket.socket, error: int) -> None:
        self._real = real
        self._error = error
        self.refusals = 0

    def sendmsg(
        self, data: list[bytes], control: list[object], flags: int, address: Address
    ) -> int:
        if control:
            self.refusals += 1
            raise OSError(self._error, "no segmentation")
        return self._real.sendmsg(data, [], flags, address)

    def __getattr__(self, name: str) -> object:
        return getattr(self._real, name)


@pytest.mark.parametrize("error", [errno.EIO, errno.EINVAL, errno.ENOPROTOOPT, errno.EOPNOTSUPP])
async def test_refused_segmentation_falls_back_for_good(
    peer: socket.socket, ours: DatagramSocket, error: int
) -> None:
    refusing = RefusingSocket(ours._socket, error)
    ours._socket = refusing  # type: ignore[assignment]
    sent = packets(peer, [500] * 10)
    with anyio.fail_after(5):
        await ours.send(sent)
        await ours.send(sent)

    assert [peer.recv(1000) for _ in range(20)] == [packet.data for packet in sent] * 2
    assert refusing.refusals == 1


async def test_a_host_that_cannot_be_sent_to(ours: DatagramSocket) -> None:
    with pytest.raises(ConnectionLost, match="255"):
        await ours.send([Packet(b"x", ("255.255.255.255", 9))])


async def test_a_full_socket_is_waited_for(
    peer: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datagram, "_SOCKET_BUFFER_BYTES", 4096)
    ours = DatagramSocket(peer.getsockname())
    sent = packets(peer, [1350] * 300)
    with anyio.fail_after(10):
        await ours.send(sent)
    assert ours.counters.sent_datagrams == 300
    ours.close()


async def test_closing_wakes_who_waits(ours: DatagramSocket) -> None:
    ended = False

    async def receive() -> None:
        nonlocal ended
        with pytest.raises(ConnectionLost):
            await ours.receive()
        ended = True

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(receive)
            await anyio.wait_all_tasks_blocked()
            ours.close()
            ours.close()
    assert ended
    with pytest.raises(ConnectionLost):
        await ours.receive()


def test_nothing_is_left_open_when_there_is_no_route() -> None:
    with no_leaked_descriptors(), pytest.raises(OSError, match="denied"):
        DatagramSocket(("255.255.255.255", 9))
