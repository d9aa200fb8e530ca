"""What `receive_each` gives as it arrives: over TCP, TLS, TLS in TLS and the virtual network."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress

import anyio
import anyio.lowlevel
import pytest

from tests.net.support import connected, pattern
from tests.net.tls_support import both_ends, over_loopback
from tests.peers.certificates import Certificates
from trilane.transport.errors import ConnectionLost
from trilane.transport.net.memory import Link, memory_pair
from trilane.transport.net.stream import LayerableStream
from trilane.transport.net.tcp import TcpStream

Ends = tuple[LayerableStream, LayerableStream]
Maker = Callable[[Certificates], AbstractAsyncContextManager[Ends]]


@asynccontextmanager
async def tcp(certificates: Certificates) -> AsyncIterator[Ends]:
    with connected() as (ours, peer):
        peer.setblocking(False)
        theirs = TcpStream(peer, peer.getpeername())
        yield ours, theirs
        theirs.close()


@asynccontextmanager
async def memory(certificates: Certificates) -> AsyncIterator[Ends]:
    link = Link(longest_piece_bytes=3000, buffer_bytes=8000)
    yield memory_pair(to_client=link)


@asynccontextmanager
async def tls_in_tls(certificates: Certificates) -> AsyncIterator[Ends]:
    async with over_loopback(certificates) as inner, both_ends(certificates, *inner) as ends:
        yield ends


@pytest.fixture(params=[tcp, memory, over_loopback, tls_in_tls], ids=lambda maker: maker.__name__)
async def ends(
    request: pytest.FixtureRequest, certificates: Certificates, anyio_backend: object
) -> AsyncIterator[Ends]:
    maker: Maker = request.param
    async with maker(certificates) as made:
        yield made


async def test_everything_arrives_in_order_and_then_the_end(ends: Ends) -> None:
    ours, theirs = ends
    data = pattern(300_000)
    pieces: list[bytes] = []

    def take(piece: bytes) -> bool:
        pieces.append(piece)
        return True

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ours.receive_each, take)
        for start in range(0, len(data), 50_000):
            await theirs.send(data[start : start + 50_000])
            await anyio.lowlevel.checkpoint()
        theirs.close()
    assert b"".join(pieces) == data
    assert pieces[-1] == b""
    assert b"" not in pieces[:-1]


async def test_who_wants_no_more_leaves_the_rest_to_others(ends: Ends) -> None:
    ours, theirs = ends
    taken: list[bytes] = []

    def take(piece: bytes) -> bool:
        taken.append(piece)
        return False

    with anyio.fail_after(5):
        for text in (b"one", b"two"):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(ours.receive_each, take)
                await anyio.lowlevel.checkpoint()
                await theirs.send(text)
        assert taken == [b"one", b"two"]
        await theirs.send(b"three")
        assert await ours.receive() == b"three"


async def test_what_it_raises_comes_out(ends: Ends) -> None:
    ours, theirs = ends

    def take(piece: bytes) -> bool:
        raise ValueError(piece)

    async def send_soon() -> None:
        await anyio.lowlevel.checkpoint()
        await theirs.send(b"bad")

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(send_soon)
            with pytest.raises(ValueError, match="bad"):
                await ours.receive_each(take)


async def test_it_may_ask_which_event_loop_runs(ends: Ends) -> None:
    ours, theirs = ends
    times: list[float] = []

    def take(piece: bytes) -> bool:
        assert piece
        times.append(anyio.current_time())
        return False

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ours.receive_each, take)
            await anyio.lowlevel.checkpoint()
            await theirs.send(b"now")
    assert times


async def test_it_may_close_the_stream(ends: Ends) -> None:
    ours, theirs = ends

    def take(piece: bytes) -> bool:
        ours.close()
        return bool(piece)

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:

            async def receive() -> None:
                with pytest.raises(ConnectionLost, match="this side"):
                    await ours.receive_each(take)

            tasks.start_soon(receive)
            await anyio.lowlevel.checkpoint()
            await theirs.send(b"close")


@pytest.mark.parametrize("way", ["close", "cancel"])
async def test_it_may_end_the_wait_and_want_no_more(ends: Ends, way: str) -> None:
    ours, theirs = ends

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:

            def take(piece: bytes) -> bool:
                assert piece
                if way == "close":
                    ours.close()
                else:
                    tasks.cancel_scope.cancel()
                return False

            async def receive() -> None:
                with suppress(ConnectionLost):
                    await ours.receive_each(take)

            tasks.start_soon(receive)
            await anyio.lowlevel.checkpoint()
            await theirs.send(b"enough")


async def test_being_cancelled_loses_nothing(ends: Ends) -> None:
    ours, theirs = ends
    received: list[bytes] = []

    def take(piece: bytes) -> bool:
        received.append(piece)
        return True

    with anyio.fail_after(5):
        for number in range(20):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(ours.receive_each, take)
                await anyio.lowlevel.checkpoint()
                await theirs.send(b"%02d" % number)
                for _ in range(number % 4):
                    await anyio.lowlevel.checkpoint()
                tasks.cancel_scope.cancel()
        theirs.close()
        await ours.receive_each(take)
    assert b"".join(received) == b"".join(b"%02d" % number for number in range(20))
