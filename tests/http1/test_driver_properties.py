"""Whatever a peer sends and however it ends: a response or one of our errors, and no half state."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.http1.support import Sending, TestBody, connection_over, sending
from tests.http1.test_machine_properties import PROMISING, WIRE
from trilane.transport.config import Limits, Timeouts
from trilane.transport.connections import http1_conversation
from trilane.transport.connections.connection import ConnectionState
from trilane.transport.connections.http1 import Http1Connection
from trilane.transport.errors import ConnectionLost, TransportError
from trilane.transport.net.memory import Link, MemoryStream, memory_pair

LIMITS = Limits(response_head_bytes=300)


class Ending(Enum):
    CLOSE = "close"
    RESET = "reset"
    SILENCE = "silence"


@pytest.fixture(autouse=True)
def short_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http1_conversation, "LINGER_S", 0.005)
    monkeypatch.setattr(http1_conversation, "REFUSAL_IDLE_S", 0.005)
    monkeypatch.setattr(http1_conversation, "EXPECT_WAIT_S", 0.005)


@dataclass(frozen=True)
class AnyPeer:
    """Answers a request's head with some bytes, then perhaps reads, and ends in some way."""

    wire: bytes
    ending: Ending
    reads: bool

    async def talk(self, server: MemoryStream) -> None:
        with suppress(ConnectionLost):
            while b"\r\n\r\n" not in await server.receive():
                pass
            if self.wire:
                await server.send(self.wire)
            while self.reads and await server.receive():
                await anyio.lowlevel.checkpoint()

    async def end(self, server: MemoryStream) -> None:
        await anyio.sleep(0.002)
        if self.ending is Ending.CLOSE:
            server.close()
        elif self.ending is Ending.RESET:
            server.reset()


PEERS = st.builds(
    AnyPeer, wire=WIRE | PROMISING, ending=st.sampled_from(Ending), reads=st.booleans()
)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@settings(max_examples=60, deadline=None)
@given(
    peer=PEERS,
    size=st.sampled_from([0, 10, 300_000]),
    expect=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_any_peer(*, backend: str, peer: AnyPeer, size: int, expect: bool, seed: int) -> None:
    async def scenario() -> None:
        client, server = memory_pair(
            seed=seed, to_client=Link(longest_piece_bytes=40), clock=time.monotonic_ns
        )
        connection = connection_over(client, LIMITS)
        one = sending(
            TestBody(b"x" * size) if size else None,
            connection=connection,
            timeouts=Timeouts(read_idle_s=0.005, write_idle_s=0.005),
            limits=LIMITS,
            expect_continue=expect,
        )
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(peer.talk, server)
            tasks.start_soon(peer.end, server)
            with anyio.fail_after(10):
                failed = await attempt(one, connection)
            tasks.cancel_scope.cancel()
        check(one, connection, peer)
        assert not failed or connection.state is ConnectionState.CLOSED
        await connection.aclose()

    anyio.run(scenario, backend=backend)


async def attempt(one: Sending, connection: Http1Connection) -> bool:
    """Make the exchange; True when it failed as it may."""
    try:
        response = await connection.exchange(one.exchange)
    except TransportError:
        return True
    assert response.head.status >= 200
    return False


def check(one: Sending, connection: Http1Connection, peer: AnyPeer) -> None:
    one.check_order()
    profile = one.profile()
    assert profile.received_bytes <= len(peer.wire)
    assert connection.active_requests == 0
    assert connection.available_requests == int(connection.state is ConnectionState.OPEN)
    if connection.state is ConnectionState.OPEN:
        assert profile.upload_complete
        assert profile.status is not None
