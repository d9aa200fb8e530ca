"""TCP streams over real loopback sockets."""

from __future__ import annotations

import errno
import socket
import time

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest

from tests.net.support import (
    connected,
    no_free_numbers_below,
    pattern,
    receive_all,
    receive_exactly,
    reset,
)
from tests.peers.leaks import no_leaked_descriptors
from tests.peers.scripted import full_backlog, refused_port
from trilane.transport.errors import ConnectionLost, Phase
from trilane.transport.net.tcp import TcpStream, connect_tcp
from trilane.transport.profile.kernel import TcpInfo

MIB = 1024 * 1024


async def until_readable(stream: TcpStream) -> None:
    """Wait, boundedly, until the peer's last words have crossed the loopback."""
    with anyio.fail_after(5):
        await anyio.wait_readable(stream._sock)


async def send_forever(stream: TcpStream) -> None:
    with anyio.fail_after(5):
        while True:
            await stream.send(bytes(MIB))


async def poke_until_broken(stream: TcpStream) -> None:
    """The RST that answers the first byte takes a moment."""
    with anyio.fail_after(5):
        while True:
            stream.send_nowait(b"x")
            await anyio.sleep(0.001)


async def test_bytes_go_both_ways_and_are_counted() -> None:
    with connected() as (stream, peer):
        before = time.monotonic_ns()
        await stream.send(memoryview(b"hello"))
        await stream.send(bytearray(b" world"))
        assert receive_exactly(peer, 11) == b"hello world"
        peer.sendall(b"answer")
        assert await stream.receive() == b"answer"
        assert (stream.wire.sent_bytes, stream.wire.received_bytes) == (11, 6)
        assert stream.accepted_bytes == 11
        assert before < stream.write_started_ns < stream.write_ended_ns < stream.read_ns
        assert stream.peer == peer.getsockname()
        assert stream.local == peer.getpeername()
        peer.close()
        assert await stream.receive() == b""


async def test_the_start_of_a_long_send_is_its_first_system_call() -> None:
    data = pattern(64 * MIB)
    arrived_ns: list[int] = []

    def read_all(peer: socket.socket) -> None:
        first = peer.recv(1)
        arrived_ns.append(time.monotonic_ns())
        assert first + receive_exactly(peer, len(data) - 1) == data

    with connected() as (stream, peer):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(anyio.to_thread.run_sync, read_all, peer)
            before_ns = time.monotonic_ns()
            await stream.send(data)
        assert stream.accepted_bytes == len(data)
        # The buffers on the way hold less, so the last call comes after the first byte's arrival.
        assert before_ns < stream.write_started_ns < arrived_ns[0] < stream.write_ended_ns


def test_a_small_request_costs_no_turn_of_the_event_loop() -> None:
    with connected() as (stream, peer):
        sending = stream.send(b"POST / HTTP/1.1\r\n\r\n")
        with pytest.raises(StopIteration):
            sending.send(None)
        assert peer.recv(100)


async def test_a_fast_peer_does_not_keep_other_tasks_from_running() -> None:
    turns = 0

    async def turn() -> None:
        nonlocal turns
        while True:
            await anyio.lowlevel.checkpoint()
            turns += 1

    with connected() as (stream, peer):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(turn)
            for _ in range(10 * MIB // (64 * 1024)):
                await stream.send(bytes(64 * 1024))
                receive_exactly(peer, 64 * 1024)  # so that no send ever has to wait
            tasks.cancel_scope.cancel()
        assert turns >= 10 * 2 - 4  # one per 512 KiB; it takes some to begin


async def test_reading_what_is_always_there_lets_others_run_too() -> None:
    turns = 0

    async def turn() -> None:
        nonlocal turns
        while True:
            await anyio.lowlevel.checkpoint()
            turns += 1

    with connected() as (stream, peer):
        peer.sendall(bytes(1000))
        await until_readable(stream)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(turn)
            for _ in range(1000):  # one byte each: the system calls are what takes the time
                assert await stream.receive(1)
            tasks.cancel_scope.cancel()
        assert turns >= 1000 * 8 // 512 - 4  # it takes some turns to begin


async def test_a_cancelled_send_breaks_the_stream_and_counts_exactly() -> None:
    with connected() as (stream, peer):
        with anyio.move_on_after(0.05) as scope:
            await stream.send(bytes(64 * MIB))
        assert scope.cancelled_caught
        assert stream.broken
        assert not stream.is_idle_and_alive()
        with pytest.raises(ConnectionLost, match="did not complete") as caught:
            await stream.send(b"more")
        assert caught.value.phase is Phase.SEND
        stream.close()
        arrived = len(await anyio.to_thread.run_sync(receive_all, peer))
        assert arrived == stream.accepted_bytes == stream.wire.sent_bytes > 0


async def test_data_before_a_reset_can_still_be_read_after_the_send_failed() -> None:
    with connected() as (stream, peer):
        peer.sendall(b"HTTP/1.1 413 Content Too Large\r\n\r\n")
        await stream.send(bytes(1000))  # unread bytes turn the peer's close into a RST
        peer.close()
        with pytest.raises(ConnectionLost, match=r"reset|closed") as caught:
            await send_forever(stream)
        assert caught.value.phase is Phase.SEND
        assert (await stream.receive()).startswith(b"HTTP/1.1 413")
        for _ in range(2):
            with pytest.raises(ConnectionLost, match="reset"):
                await stream.receive()


async def test_data_before_a_reset_can_be_read_without_sending() -> None:
    with connected() as (stream, peer):
        peer.sendall(b"last words")
        reset(peer)
        await until_readable(stream)
        assert await stream.receive() == b"last words"
        with pytest.raises(ConnectionLost, match="reset"):
            await stream.receive()


async def test_after_an_orderly_end_a_failed_send_does_not_turn_it_into_a_reset() -> None:
    with connected() as (stream, peer):
        peer.sendall(b"bye")
        peer.shutdown(socket.SHUT_WR)
        assert await stream.receive() == b"bye"
        assert await stream.receive() == b""
        peer.close()
        with pytest.raises(ConnectionLost):
            await send_forever(stream)
        assert await stream.receive() == b""


@pytest.mark.parametrize("direction", ["receive", "send"])
async def test_close_wakes_who_waits(direction: str) -> None:
    with connected() as (stream, _):

        async def wait() -> None:
            with pytest.raises(ConnectionLost, match="closed on this side"):
                await (stream.receive() if direction == "receive" else send_forever(stream))

        with anyio.fail_after(5):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(wait)
                await anyio.wait_all_tasks_blocked()
                stream.close()
                stream.close()
        assert not stream.is_idle_and_alive()
        assert (stream.tcp_info(), stream.unacked_bytes()) == (None, None)


async def test_closing_under_a_waiter_does_not_harm_the_next_connection() -> None:
    # The next socket gets the descriptor number that has just become free. The old waiter wakes
    # up after the new one has begun to wait, and on asyncio anyio then deregisters its number.
    with socket.create_server(("127.0.0.1", 0)) as listener, connected() as (old, _):

        async def wait() -> None:
            with pytest.raises(ConnectionLost):
                await old.receive()

        async def answer(peer: socket.socket) -> None:
            await anyio.wait_all_tasks_blocked()
            peer.sendall(b"x")

        with no_free_numbers_below(old._sock.fileno()), anyio.fail_after(5):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(wait)
                await anyio.wait_all_tasks_blocked()
                old.close()
                sock = socket.create_connection(listener.getsockname())
                sock.setblocking(False)
                new = TcpStream(sock, listener.getsockname())
                peer, _ = listener.accept()
                with peer:
                    tasks.start_soon(answer, peer)
                    assert await new.receive() == b"x"
                new.close()


async def test_close_without_an_event_loop_gives_the_descriptor_back() -> None:
    with no_leaked_descriptors(), connected() as (stream, _):
        await anyio.to_thread.run_sync(stream.close)


async def test_liveness() -> None:
    with connected() as (stream, peer):
        assert stream.is_idle_and_alive()
        peer.sendall(b"unasked-for")
        await until_readable(stream)
        assert not stream.is_idle_and_alive()
        assert await stream.receive() == b"unasked-for"
        assert stream.is_idle_and_alive()
        peer.close()
        await until_readable(stream)
        assert not stream.is_idle_and_alive()


async def test_a_reset_connection_is_not_alive() -> None:
    with connected() as (stream, peer):
        reset(peer)
        await until_readable(stream)
        assert not stream.is_idle_and_alive()


async def test_nowait_does_what_is_possible_and_no_more() -> None:
    with connected() as (stream, peer):
        assert stream.receive_nowait() is None
        assert stream.send_nowait(b"ping") == 4
        assert stream.accepted_bytes == 0
        assert stream.wire.sent_bytes == 4
        assert receive_exactly(peer, 4) == b"ping"
        while stream.send_nowait(bytes(MIB)):
            pass
        peer.sendall(b"pong")
        await until_readable(stream)
        assert stream.receive_nowait() == b"pong"
        peer.close()
        with pytest.raises(ConnectionLost):
            await poke_until_broken(stream)
        assert stream.broken


async def test_the_kernel_is_asked() -> None:
    with connected() as (stream, peer):
        await stream.send(b"x" * 1000)
        receive_exactly(peer, 1000)
        with anyio.fail_after(5):
            while stream.unacked_bytes():
                await anyio.sleep(0.001)
        raw = stream.tcp_info()
        assert raw is not None
        info = TcpInfo.of(raw)
        assert info.bytes_acked is not None
        assert info.bytes_acked >= 1000


async def test_a_refused_connection_leaves_nothing_open() -> None:
    with refused_port() as port, no_leaked_descriptors():
        with pytest.raises(ConnectionRefusedError) as caught:
            await connect_tcp("127.0.0.1", port)
        assert caught.value.errno == errno.ECONNREFUSED


async def test_a_cancelled_connect_leaves_nothing_open() -> None:
    with full_backlog() as port, no_leaked_descriptors(), anyio.move_on_after(0.05) as scope:
        await connect_tcp("127.0.0.1", port)
    assert scope.cancelled_caught


async def test_ipv6_is_connected_to() -> None:
    try:
        listener = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError:
        pytest.skip("this host has no IPv6 loopback")
    with listener:
        stream = await connect_tcp("::1", listener.getsockname()[1])
        assert stream.peer == ("::1", listener.getsockname()[1])
        assert stream.local[0] == "::1"
        stream.close()


async def test_a_connection_to_itself_is_a_refused_one(monkeypatch: pytest.MonkeyPatch) -> None:
    class SameAddress(socket.socket):
        def connect(self, address: tuple[str, int]) -> None:  # type: ignore[override]
            self.bind(address)  # what the kernel may pick by chance
            super().connect(address)

    with socket.create_server(("127.0.0.1", 0)) as placeholder:
        port = placeholder.getsockname()[1]
    monkeypatch.setattr(socket, "socket", SameAddress)
    with no_leaked_descriptors(), pytest.raises(OSError, match="refused"):
        await connect_tcp("127.0.0.1", port)


async def test_small_writes_go_without_waiting_and_the_rest_of_long_ones_follows() -> None:
    data = bytes(range(256)) * 4096 * 8
    with connected() as (stream, peer), anyio.fail_after(20):
        assert stream.send_whole(b"first")
        assert not stream.send_whole(data)
        assert len(b"first") < stream.accepted_bytes < len(data)
        began_ns = stream.write_started_ns
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(stream.send_rest)
            received = await anyio.to_thread.run_sync(receive_exactly, peer, 5 + len(data))
        assert received == b"first" + data
        assert stream.accepted_bytes == stream.wire.sent_bytes == 5 + len(data)
        assert stream.write_started_ns == began_ns < stream.write_ended_ns


async def test_a_write_of_which_nothing_was_taken_begins_with_its_rest() -> None:
    with connected() as (stream, _), anyio.fail_after(20):
        while stream.send_whole(bytes(65536)):
            pass
        with anyio.move_on_after(0.01):
            await stream.send_rest()
        assert stream.broken
