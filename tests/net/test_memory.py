"""The virtual network keeps its promises, on both event loops and without waiting."""

from __future__ import annotations

import anyio
import pytest

from tests.net.virtual_time import Backend, backend
from trilane.transport.errors import ConnectionLost
from trilane.transport.net.memory import Link, MemoryStream, VirtualNetwork, memory_pair


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> Backend:
    return backend(request.param)


async def read_all(stream: MemoryStream) -> bytes:
    pieces = []
    while piece := await stream.receive():
        pieces.append(piece)
    return b"".join(pieces)


async def send_and_close(stream: MemoryStream, data: bytes) -> None:
    await stream.send(data)
    stream.close()


@pytest.mark.parametrize("seed", range(5))
async def test_bytes_arrive_once_and_in_order_however_they_are_cut(seed: int) -> None:
    link = Link(delay_s=0.02, rate_bytes_per_s=1e6, longest_piece_bytes=1000, buffer_bytes=5000)
    client, server = memory_pair(seed=seed, to_server=link)
    data = bytes(index % 251 for index in range(50_000))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(send_and_close, client, data)
        assert await read_all(server) == data
    assert client.wire.sent_bytes == server.wire.received_bytes == len(data)
    assert client.accepted_bytes == len(data)


async def test_the_same_seed_cuts_the_same_pieces() -> None:
    async def sizes(seed: int) -> list[int]:
        client, server = memory_pair(seed=seed, to_server=Link(longest_piece_bytes=100))
        await send_and_close(client, bytes(10_000))
        found = []
        while piece := await server.receive():
            found.append(len(piece))
        return found

    assert await sizes(1) == await sizes(1)
    assert await sizes(1) != await sizes(2)


async def test_delay_and_rate_take_their_time() -> None:
    client, server = memory_pair(to_server=Link(delay_s=0.5, rate_bytes_per_s=1000))
    start = anyio.current_time()
    await client.send(bytes(2000))
    assert client.unacked_bytes() == 2000
    assert len(await server.receive()) == 2000
    assert anyio.current_time() - start == pytest.approx(2.5)
    assert client.unacked_bytes() == 0
    assert server.read_ns - client.write_ended_ns == pytest.approx(2.5e9)


async def test_a_full_buffer_makes_the_sender_wait() -> None:
    client, server = memory_pair(to_server=Link(buffer_bytes=1000))
    with anyio.move_on_after(10) as scope:
        await client.send(bytes(1500))
    assert scope.cancelled_caught
    assert (client.accepted_bytes, client.broken) == (1000, True)
    with pytest.raises(ConnectionLost):
        await client.send(b"more")
    assert len(await server.receive()) == 1000


async def test_what_was_written_before_a_reset_still_arrives() -> None:
    client, server = memory_pair(to_server=Link(reset_after_bytes=700, delay_s=0.1))
    await server.send(b"early response")
    with pytest.raises(ConnectionLost, match="reset"):
        await client.send(bytes(1000))
    assert client.accepted_bytes == 700
    assert await client.receive() == b"early response"
    assert len(await server.receive()) == 700
    for end in (client, server):
        with pytest.raises(ConnectionLost, match="reset"):
            await end.receive()


async def test_a_stalled_link_delivers_no_more() -> None:
    client, server = memory_pair(to_server=Link(stall_after_bytes=10))
    await client.send(bytes(15))
    assert len(await server.receive()) == 10
    with anyio.move_on_after(3600) as scope:
        await server.receive()
    assert scope.cancelled_caught
    assert client.unacked_bytes() == 5


async def test_closing_ends_the_peers_stream_and_wakes_waiters() -> None:
    client, server = memory_pair()
    async with anyio.create_task_group() as tasks:

        async def wait() -> None:
            with pytest.raises(ConnectionLost, match="closed on this side"):
                await client.receive()

        tasks.start_soon(wait)
        await anyio.sleep(1)
        client.close()
    assert await server.receive() == b""
    with pytest.raises(ConnectionLost, match="peer has closed"):
        await server.send(b"x")


async def test_liveness_sees_data_and_the_end_only_once_they_arrive() -> None:
    client, server = memory_pair(to_client=Link(delay_s=1))
    assert client.is_idle_and_alive()
    await server.send(b"x")
    assert client.is_idle_and_alive()
    await anyio.sleep(1)
    assert not client.is_idle_and_alive()
    await client.receive()
    assert client.is_idle_and_alive()
    server.close()
    assert not client.is_idle_and_alive()


async def test_unknown_hosts_are_unreachable() -> None:
    with pytest.raises(OSError, match=r"[Nn]o route"):
        await VirtualNetwork({}).connect("192.0.2.9", 443)
