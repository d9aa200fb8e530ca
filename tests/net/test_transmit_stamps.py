"""The kernel's word on when bytes left and were acknowledged, over real loopback sockets."""

from __future__ import annotations

import os
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio
import anyio.to_thread
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.net.support import receive_exactly
from trilane.transport.net.kernel_clock import SO_TIMESTAMPING, ClockPair
from trilane.transport.net.tcp import TcpStream, connect_tcp
from trilane.transport.net.transmit_stamps import TransmitStamps, _Kind

MIB = 1 << 20


@contextmanager
def listening(host: str = "127.0.0.1") -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, 0), family=family)
    except OSError:
        pytest.skip(f"this host has no {host}")
    with listener:
        listener.settimeout(20)
        yield listener


async def connect(listener: socket.socket) -> tuple[TcpStream, TransmitStamps, socket.socket]:
    """A stream with stamps, and the peer's blocking socket; both the caller's to close."""
    stream = await connect_tcp(*listener.getsockname()[:2], stamped=True)
    peer, _ = listener.accept()
    peer.settimeout(20)
    if stream.stamps is None:
        stream.close()
        peer.close()
        pytest.skip("this kernel makes no stamps")
    return stream, stream.stamps, peer


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_a_short_write_is_stamped_on_its_way(host: str) -> None:
    with listening(host) as listener:
        stream, stamps, peer = await connect(listener)
        with peer:
            for size in (1, 300, 5000):
                span = stamps.begin(stream.wire.sent_bytes)
                await stream.send(bytes(size))
                stamps.end(span, stream.wire.sent_bytes)
                receive_exactly(peer, size)
                with anyio.fail_after(5):
                    while span.last_acked_ns is None:
                        await anyio.sleep(0.001)
                        stamps.drain()
                stamps.finish(span)

                assert span.first_sent_ns is not None
                assert span.last_sent_ns is not None
                # Two clocks are read to compare them.
                assert stream.write_started_ns - 100_000 <= span.first_sent_ns
                assert span.first_sent_ns <= span.last_sent_ns <= span.last_acked_ns
                assert span.last_acked_ns <= time.monotonic_ns()
        stream.close()


@pytest.mark.parametrize("sendfile", [False, True])
async def test_the_ends_of_a_long_write_are_told_apart(tmp_path: Path, sendfile: bool) -> None:
    """The peer reads late: the last byte leaves long after the first one."""
    size, pause_s = 32 * MIB, 0.2
    path = tmp_path / "body"
    path.write_bytes(bytes(size))

    def read_late(peer: socket.socket) -> None:
        peer.recv(1, socket.MSG_PEEK)
        time.sleep(pause_s)
        receive_exactly(peer, size + 8)
        peer.sendall(b"answer")

    with listening() as listener:
        stream, stamps, peer = await connect(listener)
        fd = os.open(path, os.O_RDONLY)
        with peer:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(anyio.to_thread.run_sync, read_late, peer)
                span = stamps.begin(0)
                await stream.send(b"head")
                started = stream.write_started_ns
                if sendfile:
                    await stream.send_file(fd, 0, size)
                else:
                    await stream.send(path.read_bytes())
                await stream.send(b"tail")  # no request ends with what `send_file` sends
                stamps.end(span, stream.wire.sent_bytes)
                # Who waits for the answer takes the stamps; nobody's queue of them overflows.
                assert await stream.receive() == b"answer"
            stamps.finish(span)
        os.close(fd)
        stream.close()

    assert span.first_sent_ns is not None
    assert span.last_sent_ns is not None
    assert span.last_acked_ns is not None
    assert span.last_sent_ns - span.first_sent_ns > 0.8 * pause_s * 1e9
    assert span.first_sent_ns - started < 0.5 * pause_s * 1e9
    assert span.last_sent_ns <= span.last_acked_ns


async def test_a_long_file_leaves_room_for_the_stamps_of_its_request(tmp_path: Path) -> None:
    """The queue is short, and this process does something else while it fills."""
    size = 8 * MIB
    path = tmp_path / "body"
    path.write_bytes(bytes(size))
    with listening() as listener:
        stream, stamps, peer = await connect(listener)
        stream._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        with peer, path.open("rb") as file:
            for _ in range(2):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(anyio.to_thread.run_sync, receive_exactly, peer, size + 8)
                    span = stamps.begin(stream.wire.sent_bytes)
                    await stream.send(b"head")
                    await stream.send_file(file.fileno(), 0, size)
                    await stream.send(b"tail")
                    stamps.end(span, stream.wire.sent_bytes)
                    time.sleep(0.1)  # noqa: ASYNC251 - the event loop is held up
                stamps.finish(span)

                assert span.first_sent_ns is not None
                assert span.last_sent_ns is not None
                assert span.last_acked_ns is not None
                assert span.first_sent_ns <= span.last_sent_ns <= span.last_acked_ns
        stream.close()


async def test_the_first_segment_goes_alone() -> None:
    with listening() as listener:
        stream, stamps, peer = await connect(listener)
        with peer:
            segment_bytes = stream._sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG)
            data = bytes(3 * segment_bytes)
            stamps.begin(0)

            piece, flags = stamps.cut(data)
            assert (len(piece), flags) == (segment_bytes, socket.MSG_EOR)
            assert stamps.cut(data) == (data, 0)
            stamps.sealing = True
            assert stamps.cut(data) == (data, socket.MSG_EOR)
        stream.close()


async def test_what_follows_a_sealed_write_leaves_its_stamps_alone() -> None:
    """The peer's window is full, so that the kernel would add the one write to the other."""
    with listening() as listener:
        stream, stamps, peer = await connect(listener)
        with peer:
            while stream.send_nowait(bytes(MIB)):
                pass
            stream._sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 64 * MIB)
            spans = []
            for sealing in (True, False):
                stamps.sealing = sealing
                span = stamps.begin(stream.wire.sent_bytes)
                await stream.send(b"x" * 100)
                stamps.end(span, stream.wire.sent_bytes)
                spans.append(span)
            queued_bytes = stream.wire.sent_bytes
            await anyio.to_thread.run_sync(receive_exactly, peer, queued_bytes)
            with anyio.fail_after(5):
                while spans[-1].last_acked_ns is None:
                    await anyio.sleep(0.001)
                    stamps.drain()
            taken = {(stamp.kind, stamp.end) for stamp in stamps._latest}
        stream.close()

    ends = (queued_bytes - 100, queued_bytes)
    assert {(kind, end) for kind in _Kind for end in ends} <= taken


async def test_stamps_let_a_receiver_sleep() -> None:
    """What is in the error queue makes the socket readable until somebody takes it."""
    with listening() as listener:
        stream, stamps, peer = await connect(listener)
        with peer:
            for _ in range(20):
                await stream.send(b"x" * 1000)
            receive_exactly(peer, 20_000)
            rounds = 0
            take = stamps.drain

            def count() -> None:
                nonlocal rounds
                rounds += 1
                take()

            stamps.drain = count  # type: ignore[method-assign]
            with anyio.move_on_after(0.2):
                await stream.receive()
            assert rounds <= 60
            peer.sendall(b"answer")
            assert await stream.receive() == b"answer"
        stream.close()


async def test_closing_is_no_trouble_for_stamps() -> None:
    with listening() as listener:
        stream, stamps, peer = await connect(listener)
        with peer:
            span = stamps.begin(0)
            await stream.send(b"x")
            stream.close()
            stamps.end(span, 1)
            stamps.finish(span)
        assert span.first_sent_ns is None


async def test_nobody_pays_who_does_not_ask() -> None:
    with listening() as listener:
        stream = await connect_tcp(*listener.getsockname())
        assert stream.stamps is None
        assert stream._sock.getsockopt(socket.SOL_SOCKET, SO_TIMESTAMPING) == 0
        stream.close()


@given(st.lists(st.integers(0, 3 << 30), min_size=1, max_size=30))
def test_byte_numbers_go_on_where_the_kernels_start_anew(steps: list[int]) -> None:
    """Each stamp is less than 2 GiB ahead of the highest one before, or behind it."""
    with socket.socket() as sock:
        stamps = TransmitStamps(sock)
        offset = 0
        for step in steps:
            offset += step % (1 << 31)
            assert stamps._offset_of(offset % (1 << 32)) == offset
            if offset:
                assert stamps._offset_of((offset - 1) % (1 << 32)) == offset - 1


@pytest.mark.parametrize(
    "control",
    [
        [],
        [(socket.SOL_SOCKET, SO_TIMESTAMPING, b"short")],
        [(socket.IPPROTO_IP, 11, struct.pack("=IBBBBII", 111, 2, 3, 3, 0, 0, 0))],
    ],
)
def test_messages_about_something_else_are_passed_over(
    control: list[tuple[int, int, bytes]],
) -> None:
    with socket.socket() as sock:
        stamps = TransmitStamps(sock)
        span = stamps.begin(0)
        stamps._take(control, ClockPair())

    assert span.first_sent_ns is None
