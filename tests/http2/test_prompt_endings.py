"""Over TCP a request goes on as soon as its response was read, while that read's work is ending."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import cast

import anyio
import pytest
from h2.events import Event, StreamEnded

from tests.http2.scripted_server import H2Server, Upload, driving
from tests.net.support import connected
from trilane.transport.connections.connection import ConnectionState
from trilane.transport.connections.http2 import Http2Connection
from trilane.transport.errors import ClientClosed
from trilane.transport.net.memory import MemoryStream
from trilane.transport.net.tcp import TcpStream


@asynccontextmanager
async def over_tcp() -> AsyncIterator[tuple[Http2Connection, H2Server]]:
    with connected() as (ours, peer):
        peer.setblocking(False)
        theirs = cast(MemoryStream, TcpStream(peer, peer.getpeername()))
        async with driving(ours, theirs) as both:
            yield both


class _Pair:
    """Two requests whose responses arrive in one read; what the first one's caller does then."""

    def __init__(self, server: H2Server, connection: Http2Connection) -> None:
        self.connection = connection
        self.second = anyio.CancelScope()
        self.bodies: list[bytes | None] = [None, None]
        self._server = server
        server.on_event = self._serve

    def is_answered(self, *, first_only: bool = False) -> bool:
        """Whether each has its answer, in whatever order they began."""
        orders = [[b"1", b"3"], [b"3", b"1"]]
        return self.bodies in ([[body, None] for body, _ in orders] if first_only else orders)

    def _serve(self, event: Event) -> None:
        if isinstance(event, StreamEnded) and len(self._server.ended) == 2:
            for stream_id in self._server.ended:
                self._server.respond(stream_id, 200, b"%d" % stream_id)
            self._server.on_event = self._server.serve_event

    async def run(self, act: Callable[[_Pair], Awaitable[None]]) -> None:
        async def first() -> None:
            self.bodies[0] = (await Upload(1000).run(self.connection)).body
            await act(self)

        async def second() -> None:
            with self.second:
                self.bodies[1] = (await Upload(2000).run(self.connection)).body

        with anyio.fail_after(5):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(first)
                tasks.start_soon(second)


async def upload_again(pair: _Pair) -> None:
    assert (await Upload(3000).run(pair.connection)).body == b"3000"


async def cancel_the_other(pair: _Pair) -> None:
    pair.second.cancel()


async def retire(pair: _Pair) -> None:
    pair.connection.retire()


@pytest.mark.parametrize("act", [upload_again, cancel_the_other, retire])
async def test_the_first_ones_caller_may_do_anything(
    act: Callable[[_Pair], Awaitable[None]],
) -> None:
    async with over_tcp() as (connection, server):
        pair = _Pair(server, connection)
        await pair.run(act)
        # Cancelled after its response was complete, the other may still have had its turn.
        assert pair.is_answered() or (act is cancel_the_other and pair.is_answered(first_only=True))
        assert not connection.streams
        if act is not retire:
            assert (await Upload(10).run(connection)).body == b"10"
        else:
            await server.closed.wait()
            assert connection.state is ConnectionState.CLOSED


async def test_the_first_ones_caller_may_close_the_connection() -> None:
    async with over_tcp() as (connection, server):
        pair = _Pair(server, connection)

        async def close(_: _Pair) -> None:
            await connection.aclose()

        try:
            await pair.run(close)
        except* ClientClosed:
            assert pair.is_answered(first_only=True)
        else:
            assert pair.is_answered()
        with anyio.fail_after(5):
            await server.closed.wait()
        assert connection.state is ConnectionState.CLOSED
