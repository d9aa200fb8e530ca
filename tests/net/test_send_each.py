"""Several pieces in one go, each made when the one before it was taken."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest

from tests.net.support import connected, pattern, receive_all, receive_exactly, reset
from tests.net.test_tls_bulk import CONTENT, exchange
from tests.net.tls_support import over_loopback
from tests.peers.certificates import Certificates
from trilane.transport.buffers import Buffer
from trilane.transport.errors import ConnectionLost, Phase
from trilane.transport.net import tls_bulk
from trilane.transport.net.memory import Link, memory_pair
from trilane.transport.net.tcp import TcpStream
from trilane.transport.sources.positional import read_now

MIB = 1024 * 1024
PIECE = pattern(256 * 1024)


async def test_pieces_arrive_in_order_and_are_counted_and_timed() -> None:
    with connected() as (stream, peer):
        before_ns = time.monotonic_ns()
        async with anyio.create_task_group() as tasks:
            pieces: list[Buffer] = [PIECE] * 40
            tasks.start_soon(stream.send_each, [*pieces, b"", memoryview(b"the end")])
            data = await anyio.to_thread.run_sync(receive_exactly, peer, 40 * len(PIECE) + 7)
        assert data == PIECE * 40 + b"the end"
        assert stream.accepted_bytes == stream.wire.sent_bytes == len(data)
        assert before_ns < stream.write_started_ns < stream.write_ended_ns < time.monotonic_ns()
        assert not stream.broken


async def test_the_start_is_the_first_pieces_although_it_had_to_wait() -> None:
    with connected() as (stream, peer):
        while stream.send_nowait(bytes(MIB)):
            pass
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(stream.send_each, [b"first", *[PIECE] * 8])
            await anyio.lowlevel.checkpoint()
            room_ns = time.monotonic_ns()
            tasks.start_soon(anyio.to_thread.run_sync, receive_all, peer)
            with anyio.fail_after(20):
                while stream.accepted_bytes < 5 + 8 * len(PIECE):
                    await anyio.sleep(0.001)
            assert room_ns < stream.write_started_ns < stream.write_ended_ns
            stream.close()


async def test_a_piece_is_made_when_the_one_before_was_taken() -> None:
    taken: list[int] = []

    with connected() as (stream, peer):

        def pieces() -> Iterator[Buffer]:
            for _ in range(20):
                yield PIECE
                # Blocks, and fails, should it not have been sent by now.
                taken.append(len(receive_exactly(peer, len(PIECE))))

        await stream.send_each(pieces())
        assert taken == [len(PIECE)] * 20


async def test_other_tasks_get_their_turns() -> None:
    turns = 0

    async def turn() -> None:
        nonlocal turns
        while True:
            await anyio.lowlevel.checkpoint()
            turns += 1

    with connected() as (stream, peer):

        def pieces() -> Iterator[Buffer]:
            for _ in range(40):
                yield PIECE
                receive_exactly(peer, len(PIECE))  # so that no piece ever has to wait

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(turn)
            await stream.send_each(pieces())
            tasks.cancel_scope.cancel()
    assert turns >= 10 * 2 - 4  # one per 512 KiB; it takes some to begin


async def test_cancelled_it_breaks_the_stream_and_counts_exactly() -> None:
    with connected() as (stream, peer):
        with anyio.move_on_after(0.05) as scope:
            await stream.send_each([PIECE] * 400)
        assert scope.cancelled_caught
        assert stream.broken
        counted = stream.accepted_bytes
        with pytest.raises(ConnectionLost, match="did not complete"):
            await stream.send_each([b"more"])
        stream.close()
        assert len(receive_all(peer)) == counted == stream.wire.sent_bytes


async def test_a_reset_is_told_of() -> None:
    with connected() as (stream, peer):
        reset(peer)
        with pytest.raises(ConnectionLost) as caught:
            await stream.send_each([PIECE] * 400)
        assert caught.value.phase is Phase.SEND
        assert stream.broken


async def test_closing_wakes_who_waits() -> None:
    with connected() as (stream, _):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(close_soon, stream)
            with pytest.raises(ConnectionLost, match="closed on this side"):
                await stream.send_each([PIECE] * 400)


async def close_soon(stream: TcpStream) -> None:
    await anyio.sleep(0.02)
    stream.close()


async def test_what_making_a_piece_raises_comes_out() -> None:
    def pieces() -> Iterator[Buffer]:
        yield b"taken"
        raise ZeroDivisionError

    with connected() as (stream, peer):
        with pytest.raises(ZeroDivisionError):
            await stream.send_each(pieces())
        assert stream.broken
        assert receive_exactly(peer, 5) == b"taken"
    client, _ = memory_pair(to_server=Link())
    with pytest.raises(ZeroDivisionError):
        await client.send_each(pieces())
    assert client.broken
    assert client.accepted_bytes == 5


@pytest.mark.parametrize("cached", [0, 2, 5])
async def test_files_arrive_whether_they_are_cached_or_not(
    certificates: Certificates, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cached: int
) -> None:
    reads = 0

    def read(fd: int, places: list[memoryview], offset: int) -> int | None:
        nonlocal reads
        reads += 1
        return read_now(fd, places, offset) if reads % 7 < cached else None

    monkeypatch.setattr(tls_bulk, "read_now", read)
    path = tmp_path / "content"
    path.write_bytes(CONTENT)
    fd = os.open(path, os.O_RDONLY)
    async with over_loopback(certificates) as (client, server):
        await exchange(client, server, b"first")
        assert client.begin_bulk()
        for expected in (CONTENT, CONTENT[7:], CONTENT):
            before_ns, before_bytes = time.monotonic_ns(), client.accepted_bytes
            await exchange(client, server, expected, fd)
            assert client.accepted_bytes - before_bytes == len(expected)
            assert before_ns < client.write_started_ns < client.write_ended_ns
        await exchange(client, server, b"last")
    os.close(fd)
