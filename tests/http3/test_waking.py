"""When the sender of a connection is woken: whenever it has work, and not otherwise."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from math import inf

import anyio
import anyio.lowlevel
import pytest

from tests.http3.udp_server import serving
from tests.http3.uploads import Dialling, answers, serve_with
from tests.peers.certificates import Certificates
from trilane.transport.connections.quic_link import QuicLink, now_s
from trilane.transport.protocols.events import Event

PATIENCE_S = 10.0
#: Passes of the event loop in which whoever was woken has had its turn.
PASSES = 20


@asynccontextmanager
async def at_rest(certificates: Certificates) -> AsyncIterator[QuicLink]:
    """A link that has nothing to do, after a request."""
    with anyio.fail_after(PATIENCE_S):
        async with (
            serving(serve_with(certificates.server)) as server,
            Dialling(certificates).connection(server.url()) as connection,
        ):
            assert await answers(connection, server.url())
            link = connection._link
            while link._rests_until_s < now_s() + 1 or link.machine.has_news:
                await anyio.sleep(0.001)
            yield link


def count_passes(link: QuicLink, monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Grows by one with each pass of the sender."""
    passes: list[bool] = []
    flush = link.flush

    async def counted() -> bool:
        passes.append(link.machine.has_news)
        return await flush()

    monkeypatch.setattr(link, "flush", counted)
    return passes


async def some_passes() -> None:
    for _ in range(PASSES):
        await anyio.lowlevel.checkpoint()


async def test_a_kick_that_changes_nothing_wakes_nobody(
    certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with at_rest(certificates) as link:
        passes = count_passes(link, monkeypatch)
        link.kick()
        await some_passes()
        assert passes == []
        link.machine.keep_alive()
        link.kick()
        await some_passes()
        assert passes
        assert passes[0], "the PING was to be sent"
        assert not link.machine.has_news


async def test_a_timer_that_is_due_when_somebody_rings_is_followed_up(
    certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with at_rest(certificates) as link:
        machine = link.machine
        due = [True]

        def handle_timer(_now_s: float) -> list[Event]:
            due.clear()
            machine.keep_alive()
            return []

        next_timer_s = machine.next_timer_s
        monkeypatch.setattr(machine, "next_timer_s", lambda: -inf if due else next_timer_s())
        monkeypatch.setattr(machine, "handle_timer", handle_timer)
        link.flush_now()
        await some_passes()
        assert not due
        assert not machine.has_news, "the PING was sent"
