"""The cancellation matrix: an exchange is cancelled at its first, second, third … await.

Afterwards the connection is closed, or proves by another request that both sides are in step; and
the server has never taken a request for complete that was not sent to its end.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

import anyio
import pytest
from anyio.lowlevel import checkpoint

from tests.http1.support import (
    Seen,
    TestBody,
    TestReader,
    connection_over,
    read_head,
    sending,
    serve_h11,
)
from trilane.transport.buffers import Buffer
from trilane.transport.connections.connection import ConnectionState
from trilane.transport.connections.http1 import Http1Connection
from trilane.transport.errors import ConnectionLost
from trilane.transport.net.memory import Link, MemoryStream, memory_pair

REFUSAL = b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 4\r\n\r\nmuch"
DATA = bytes(range(256)) * 2000


@dataclass
class Awaits:
    """Counts the awaits of an exchange and cancels it at one of them."""

    fatal: int
    cancel: Callable[[], object] = lambda: None
    passed: int = 0

    async def reach(self) -> None:
        self.passed += 1
        if self.passed == self.fatal:
            self.cancel()
        await checkpoint()


class CountedStream(MemoryStream):
    """A stream whose every await can be the one at which the exchange is cancelled."""

    awaits: Awaits

    async def send(self, data: Buffer) -> None:
        done = False
        half = memoryview(data)[: len(data) // 2]
        try:
            await self.awaits.reach()
            await super().send(half)
            await self.awaits.reach()
            await super().send(memoryview(data)[len(half) :])
            await self.awaits.reach()
            done = True
        finally:
            self.broken = self.broken or not done

    async def receive(self, max_bytes: int = 65536) -> bytes:
        await self.awaits.reach()
        return await super().receive(max_bytes)


class CountedBody(TestBody):
    awaits: Awaits

    async def open(self) -> TestReader:
        await self.awaits.reach()
        reader = CountedReader(self)
        reader.awaits = self.awaits
        self.readers.append(reader)
        return reader


class CountedReader(TestReader):
    awaits: Awaits

    async def readinto(self, buffer: memoryview) -> int:
        await self.awaits.reach()
        return await super().readinto(buffer)


@dataclass(frozen=True)
class Case:
    size: int = 0
    announce: bool = True
    expect: bool = False
    refuse: bool = False


CASES = {
    "no body": Case(),
    "small": Case(size=1000),
    "streamed": Case(size=len(DATA)),
    "chunked": Case(size=len(DATA), announce=False),
    "expect": Case(size=1000, expect=True),
    "refused": Case(size=len(DATA), refuse=True),
}


@dataclass
class Trial:
    """One exchange over a connection of its own, cancelled at one await."""

    case: Case
    awaits: Awaits
    seen: list[Seen] = field(default_factory=list)

    def connect(self) -> tuple[Http1Connection, MemoryStream]:
        client, server = memory_pair(
            to_client=Link(longest_piece_bytes=11), clock=time.monotonic_ns
        )
        client.__class__ = CountedStream  # the pair makes its own ends
        assert isinstance(client, CountedStream)
        client.awaits = self.awaits
        return connection_over(client), server

    def body(self) -> CountedBody | None:
        if not self.case.size:
            return None
        body = CountedBody(DATA[: self.case.size], announce=self.case.announce, step=200_000)
        body.awaits = self.awaits
        return body

    async def serve(self, server: MemoryStream) -> None:
        if self.case.refuse:
            with suppress(AssertionError, ConnectionLost):  # cancelled before its head was sent
                await read_head(server)
                await server.send(REFUSAL)
        else:
            await serve_h11(server, self.seen)

    async def exchange(self, connection: Http1Connection) -> None:
        body = self.body()
        one = sending(body, connection=connection, expect_continue=self.case.expect)
        try:
            await connection.exchange(one.exchange)
        finally:
            one.check_order()
            assert connection.active_requests == 0
            assert body is None or all(reader.closed for reader in body.readers)

    async def check(self, connection: Http1Connection) -> None:
        for seen in self.seen:
            assert not seen.complete or seen.body == DATA[: self.case.size]
        if connection.state is ConnectionState.CLOSED:
            assert connection.available_requests == 0
            return
        assert connection.available_requests == 1
        before = len(self.seen)
        one = sending(TestBody(b"the next one"), connection=connection)
        with anyio.fail_after(5):
            response = await connection.exchange(one.exchange)
        if self.case.refuse:
            assert response.body == b"much"
            return
        assert response.body == b"ok"
        assert [bytes(seen.body) for seen in self.seen[before:]] == [b"the next one"]


@pytest.mark.parametrize("name", CASES)
async def test_cancelled_at_every_await(name: str) -> None:
    outcomes = set()
    for fatal in range(1, 1000):
        trial = Trial(CASES[name], Awaits(fatal))
        connection, server = trial.connect()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(trial.serve, server)
            with anyio.CancelScope() as scope, anyio.fail_after(10):
                trial.awaits.cancel = scope.cancel
                await trial.exchange(connection)
            outcomes.add((scope.cancelled_caught, connection.state))
            await trial.check(connection)
            await connection.aclose()
            tasks.cancel_scope.cancel()
        server.close()
        if trial.awaits.passed < fatal:
            break
    else:
        pytest.fail("the exchange never came to its end")
    assert fatal > 4
    assert (True, ConnectionState.CLOSED) in outcomes
    # Before anything was written there is nothing to lose.
    assert ((True, ConnectionState.OPEN) in outcomes) is (CASES[name].size > 0)


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("name", CASES)
async def test_cancelled_the_asyncio_way_at_every_await(name: str) -> None:
    for fatal in range(1, 1000):
        trial = Trial(CASES[name], Awaits(fatal))
        connection, server = trial.connect()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(trial.serve, server)
            task = asyncio.create_task(trial.exchange(connection))
            trial.awaits.cancel = partial(task.cancel, "by the test")
            await asyncio.wait([task], timeout=10)
            assert task.done()
            assert task.cancelled() or task.exception() is None
            await trial.check(connection)
            await connection.aclose()
            tasks.cancel_scope.cancel()
        server.close()
        if trial.awaits.passed < fatal:
            break
    else:
        pytest.fail("the exchange never came to its end")
