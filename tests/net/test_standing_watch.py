"""What waits for bytes over and over; on trio the same is asked of the plain way of waiting."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

import anyio
import anyio.lowlevel
import pytest

from tests.net.support import connected
from trilane.transport.errors import ConnectionLost
from trilane.transport.net.tcp import TcpStream


async def test_nothing_is_lost_when_the_receiver_is_cancelled_as_the_bytes_arrive() -> None:
    with connected() as (stream, peer), anyio.fail_after(5):
        received = b""
        for number in range(50):
            async with anyio.create_task_group() as tasks:

                async def receive() -> None:
                    nonlocal received
                    received += await stream.receive()

                tasks.start_soon(receive)
                await anyio.lowlevel.checkpoint()
                peer.sendall(b"%02d" % number)
                for _ in range(number % 4):
                    await anyio.lowlevel.checkpoint()
                tasks.cancel_scope.cancel()
        while len(received) < 100:
            received += await stream.receive()
        assert received == b"".join(b"%02d" % number for number in range(50))


async def test_a_piece_smaller_than_what_was_read_leaves_the_rest() -> None:
    with connected() as (stream, peer), anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:

            async def receive() -> None:
                assert await stream.receive(4) == b"abcd"

            tasks.start_soon(receive)
            await anyio.lowlevel.checkpoint()
            peer.sendall(b"abcdef")
        assert await stream.receive() == b"ef"
        assert stream.wire.received_bytes == 6


async def test_bytes_that_nobody_wants_do_not_keep_the_loop_turning() -> None:
    with connected() as (stream, peer), anyio.fail_after(5):
        peer.sendall(b"first")
        assert await stream.receive() == b"first"
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(stream.receive)
            await anyio.lowlevel.checkpoint()
            peer.sendall(b"second")
        peer.sendall(b"third")
        await anyio.sleep(0.01)
        watch = stream._watch
        assert watch is None or not watch._registered
        assert await stream.receive() == b"third"


@pytest.mark.parametrize("waited_before", [False, True])
async def test_closing_wakes_the_receiver(waited_before: bool) -> None:
    with connected() as (stream, peer), anyio.fail_after(5):
        if waited_before:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(stream.receive)
                await anyio.lowlevel.checkpoint()
                peer.sendall(b"x")
        async with anyio.create_task_group() as tasks:

            async def receive() -> None:
                with pytest.raises(ConnectionLost, match="this side"):
                    await stream.receive()

            tasks.start_soon(receive)
            await anyio.lowlevel.checkpoint()
            stream.close()
        assert stream._sock.fileno() == -1


async def test_a_wait_lasts_as_long_as_it_was_asked_for_whatever_was_asked_before() -> None:
    with connected() as (stream, peer), anyio.fail_after(5):
        for until_s in (0.5, 0.02, 0.01, 0.03):
            began_s = anyio.current_time()
            async with anyio.create_task_group() as tasks:

                async def answer(after_s: float) -> None:
                    await anyio.sleep(after_s)
                    peer.sendall(b"x")

                tasks.start_soon(answer, until_s / 4)
                assert await stream.receive_until(began_s + until_s) == b"x"
            began_s = anyio.current_time()
            assert await stream.receive_until(began_s + until_s / 4) is None
            assert anyio.current_time() >= began_s + until_s / 4
        with anyio.move_on_after(0.02) as scope:
            await stream.receive()
        assert scope.cancelled_caught


def _pieces_of_one_turn(act: Callable[[TcpStream, socket.socket], bool]) -> list[bytes]:
    """What is taken before the loop's next turn, when `act` is done with each piece that is."""

    async def main() -> list[bytes]:
        with connected() as (stream, peer):
            taken: list[bytes] = []
            first_turn: list[list[bytes]] = []
            loop = asyncio.get_running_loop()

            def take(piece: bytes) -> bool:
                if not taken:
                    loop.call_soon(lambda: first_turn.append(taken.copy()))
                taken.append(piece)
                return act(stream, peer) and not first_turn

            receiver = asyncio.create_task(stream.receive_each(take))
            await asyncio.sleep(0)
            peer.sendall(b"0")
            await asyncio.wait([receiver], timeout=0.2)
            receiver.cancel()
            await asyncio.wait([receiver])
            return first_turn[0]

    return asyncio.run(main())


def _say_more(_: TcpStream, peer: socket.socket) -> bool:
    peer.sendall(b"+")
    return True


def _say_more_and_want_none(_: TcpStream, peer: socket.socket) -> bool:
    peer.sendall(b"+")
    return False


def _answer_and_say_more(stream: TcpStream, peer: socket.socket) -> bool:
    assert stream.send_whole(b"answer")
    peer.sendall(b"+")
    return True


def _say_more_and_close(stream: TcpStream, peer: socket.socket) -> bool:
    peer.sendall(b"+")
    stream.close()
    return True


@pytest.mark.parametrize(
    ("act", "count"),
    [
        (lambda _stream, _peer: True, 1),
        (_say_more, 4),
        (_say_more_and_want_none, 1),
        (_answer_and_say_more, 1),
        (_say_more_and_close, 1),
    ],
)
def test_what_comes_meanwhile_is_read_in_the_same_turn_but_not_forever(
    act: Callable[[TcpStream, socket.socket], bool], count: int
) -> None:
    assert _pieces_of_one_turn(act) == [b"0", b"+", b"+", b"+"][:count]


def test_who_was_cancelled_is_given_no_more() -> None:
    async def main() -> None:
        with connected() as (stream, peer):
            taken: list[bytes] = []

            def take(piece: bytes) -> bool:
                taken.append(piece)
                peer.sendall(b"second")
                receiver.cancel()
                return True

            receiver = asyncio.create_task(stream.receive_each(take))
            await asyncio.sleep(0)
            peer.sendall(b"first")
            await asyncio.wait([receiver])
            assert taken == [b"first"]
            assert await stream.receive() == b"second"

    asyncio.run(main())
