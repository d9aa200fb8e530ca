"""The idle timeouts of the driver: what counts as a peer that does nothing."""

from __future__ import annotations

import anyio
import pytest

from tests.http1.support import (
    OK,
    TestBody,
    TestReader,
    body_of,
    read_head,
    sending,
    virtual_connection,
)
from trilane.transport.body import Body
from trilane.transport.config import Timeouts
from trilane.transport.connections.connection import ConnectionState
from trilane.transport.errors import Phase, ReadTimeout, TotalTimeout, WriteTimeout
from trilane.transport.net.memory import Link, MemoryStream
from trilane.transport.sources.memory import MemorySource

BIG = 2_000_000


async def test_a_peer_that_takes_nothing() -> None:
    async with virtual_connection() as (connection, _):
        one = sending(body_of(BIG), connection=connection, timeouts=Timeouts(write_idle_s=0.1))
        with anyio.fail_after(5), pytest.raises(WriteTimeout):
            await connection.exchange(one.exchange)
        assert connection.state is ConnectionState.CLOSED
        profile = one.profile()
        assert 0 < profile.body_sent_bytes < BIG
        one.check_order()


@pytest.mark.parametrize("size", [60_000, 100_000], ids=["one write", "a stream"])
async def test_a_slow_link_that_moves_is_left_alone(size: int) -> None:
    async def script(server: MemoryStream) -> None:
        while server.wire.received_bytes < size:
            await anyio.sleep(0.02)
            while server.receive_nowait() is not None:
                pass
        await server.send(OK)

    # One write takes at least 15 such turns, 0.3 s; each of them moves it.
    timeouts = Timeouts(write_idle_s=0.2)
    async with virtual_connection(script, to_server=Link(buffer_bytes=4000)) as (connection, _):
        one = sending(body_of(size), connection=connection, timeouts=timeouts)
        started_s = anyio.current_time()
        with anyio.fail_after(20):
            response = await connection.exchange(one.exchange)
        assert response.head.status == 200
        assert anyio.current_time() - started_s > 0.2


async def test_a_slow_source_is_not_a_slow_peer() -> None:
    class Slow(TestBody):
        async def open(self) -> TestReader:
            return SlowReader(self)

    class SlowReader(TestReader):
        async def readinto(self, buffer: memoryview) -> int:
            await anyio.sleep(0.12)
            return await super().readinto(buffer)

    async def script(server: MemoryStream) -> None:
        await read_head(server)
        assert await server.receive() == b"3\r\nabc\r\n"
        assert await server.receive() == b"0\r\n\r\n"
        await server.send(OK)

    async with virtual_connection(script) as (connection, _):
        timeouts = Timeouts(write_idle_s=0.05, read_idle_s=0.05)
        body = Slow(b"abc", announce=False)
        one = sending(body, connection=connection, timeouts=timeouts)
        response = await connection.exchange(one.exchange)
        assert response.head.status == 200


@pytest.mark.parametrize("size", [0, 100, BIG], ids=["none", "small", "big"])
async def test_a_peer_that_says_nothing(size: int) -> None:
    async def script(server: MemoryStream) -> None:
        while await server.receive():
            pass

    async with virtual_connection(script) as (connection, _):
        one = sending(body_of(size), connection=connection, timeouts=Timeouts(read_idle_s=0.05))
        with anyio.fail_after(5), pytest.raises(ReadTimeout) as caught:
            await connection.exchange(one.exchange)
        assert caught.value.phase is Phase.WAIT
        assert one.profile().upload_complete
        one.check_order()


async def test_a_peer_that_stops_in_the_middle() -> None:
    async def script(server: MemoryStream) -> None:
        await read_head(server)
        await server.send(OK[:-1])

    async with virtual_connection(script) as (connection, _):
        one = sending(connection=connection, timeouts=Timeouts(read_idle_s=0.05))
        with anyio.fail_after(5), pytest.raises(ReadTimeout) as caught:
            await connection.exchange(one.exchange)
        assert caught.value.phase is Phase.RECEIVE


async def test_a_slow_drip_keeps_within_the_idle_time() -> None:
    async def script(server: MemoryStream) -> None:
        await read_head(server)
        for byte in OK:
            await server.send(bytes((byte,)))
            await anyio.sleep(0.005)

    async with virtual_connection(script) as (connection, _):
        one = sending(connection=connection, timeouts=Timeouts(read_idle_s=0.15))
        response = await connection.exchange(one.exchange)
        assert response.body == b"ok"
        one.check_order()


@pytest.mark.parametrize(
    ("size", "in_memory", "script_reads", "phase"),
    [
        (1000, True, True, Phase.WAIT),
        (1000, False, True, Phase.WAIT),
        (60_000, True, False, Phase.SEND),
        (60_000, False, False, Phase.SEND),
        (BIG, False, False, Phase.SEND),
    ],
)
@pytest.mark.parametrize("write_idle_s", [None, 30.0])
async def test_a_deadline_ends_whatever_goes_on(
    size: int, in_memory: bool, script_reads: bool, phase: Phase, write_idle_s: float | None
) -> None:
    async def script(server: MemoryStream) -> None:
        while script_reads and await server.receive():
            pass

    body: Body = MemorySource([bytes(size)]) if in_memory else TestBody(bytes(size))
    timeouts = Timeouts(total_s=0.05, write_idle_s=write_idle_s)
    link = Link(buffer_bytes=4000)
    async with virtual_connection(script, to_server=link) as (connection, _):
        one = sending(body, connection=connection, timeouts=timeouts)
        one.exchange.deadline_s = anyio.current_time() + 0.05
        with anyio.fail_after(5), pytest.raises(TotalTimeout, match="longer than") as caught:
            await connection.exchange(one.exchange)
        assert caught.value.phase is phase
        assert connection.state is ConnectionState.CLOSED
        one.check_order()
