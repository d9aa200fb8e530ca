"""An upload may be cancelled at any await: nothing leaks, nothing else is harmed.

Two ways to find every await: counting the suspensions of the upload's own task, and cancelling
after so many turns of the event loop, which also meets its helper tasks wherever they are. Each
upload goes on being cancelled later until one completes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Coroutine, Generator, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

import trilane
from tests.faults.faulty import HANG_S
from tests.interop.targets import Reception, Target
from tests.peers.servers import Endpoints

BODY = bytes(range(256)) * 1024
"""More than leaves with the head on any protocol, so that sending it is a task of its own."""
LONG_BODY = 4 * BODY
"""Still on its way when a shorter upload beside it is cancelled."""

# Not h3 to Caddy: the quic-go of Caddy 2.6.2 never credits the connection for what it had not read
# of a stream that is reset after its end, so that a connection with enough of them stalls.
MULTIPLEXED = (Target("caddy", "https", "h2"), Target("receiver", "https", "h3"))
TARGETS = (
    Target("upstream", "http", "http/1.1"),
    Target("upstream", "https", "http/1.1"),
    *MULTIPLEXED,
)


@dataclass(slots=True)
class Suspending:
    """Awaits a coroutine and acts when it is about to suspend for the n-th time."""

    coroutine: Coroutine[Any, Any, trilane.Response]
    nth: int
    act: Callable[[], None]
    count: int = 0

    def __await__(self) -> Generator[Any, Any, trilane.Response]:
        steps = self.coroutine.__await__()
        resume = partial(next, steps)
        while True:
            try:
                request = resume()
            except StopIteration as stop:
                response: trilane.Response = stop.value
                return response
            self.count += 1
            if self.count == self.nth:
                self.act()
            try:
                value = yield request
            except BaseException as exc:  # noqa: BLE001 - handed on to the coroutine
                resume = partial(steps.throw, exc)
            else:
                resume = partial(steps.send, value)


@dataclass(slots=True)
class Origin:
    """Where the uploads of one test go."""

    reception: Reception

    def client(self) -> trilane.AsyncClient:
        return trilane.AsyncClient(verify=str(self.reception.ca), timeout=HANG_S, trust_env=False)

    async def upload(self, client: trilane.AsyncClient, body: bytes = BODY) -> trilane.Response:
        return await client.upload(
            self.reception.url, body, protocol=self.reception.target.protocol
        )

    async def upload_intact(
        self, client: trilane.AsyncClient, body: bytes = BODY
    ) -> trilane.Response:
        """Upload and see that exactly the body arrived."""
        response = await self.upload(client, body)
        assert response.status_code == 200
        parts = self.reception.receipt(response.content).parts
        assert parts is not None
        assert [part.sha256 for part in parts] == [hashlib.sha256(body).hexdigest()]
        return response


@pytest.fixture
def origin(request: pytest.FixtureRequest, target: Target) -> Origin:
    endpoints: Endpoints = request.getfixturevalue(target.server)
    return Origin(Reception(target, endpoints))


def marked(targets: tuple[Target, ...]) -> list[object]:
    return [
        pytest.param(
            target,
            id=target.label,
            marks=[pytest.mark.interop] if target.server == "caddy" else [],
        )
        for target in targets
    ]


every_target = pytest.mark.parametrize("target", marked(TARGETS))
multiplexed_target = pytest.mark.parametrize("target", marked(MULTIPLEXED))


def later_and_later() -> Iterator[int]:
    """One after the other at first, then in growing steps: an upload's end is mostly waiting."""
    moment = 0
    while True:
        yield moment
        moment += max(1, moment // 5)


@every_target
async def test_cancelled_at_every_suspension_of_its_task(origin: Origin) -> None:
    nth, cancelled = 0, True
    while cancelled:
        nth += 1
        async with origin.client() as client:
            with anyio.CancelScope() as scope:
                await Suspending(origin.upload(client), nth, scope.cancel)
            cancelled = scope.cancelled_caught
            await origin.upload_intact(client)

    # Waiting to connect, and for the answer, are two at least.
    assert nth > 2


@every_target
async def test_cancelled_at_any_turn_of_the_loop(origin: Origin) -> None:
    for turns in later_and_later():
        async with origin.client() as client:
            if not await cancelled_after(turns, partial(origin.upload, client)):
                break
            await origin.upload_intact(client)

    assert turns > 0


@every_target
async def test_cancelled_at_any_turn_on_a_kept_connection(origin: Origin) -> None:
    async with origin.client() as client:
        for turns in later_and_later():
            await origin.upload_intact(client)
            if not await cancelled_after(turns, partial(origin.upload, client)):
                break

    assert turns > 0


@multiplexed_target
async def test_other_streams_do_not_notice(origin: Origin) -> None:
    async with origin.client() as client:
        first = await origin.upload_intact(client)
        for turns in later_and_later():
            companions: list[trilane.Response] = []

            async def accompany(companions: list[trilane.Response] = companions) -> None:
                companions.append(await origin.upload_intact(client, LONG_BODY))

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(accompany)
                cancelled = await cancelled_after(turns, partial(origin.upload, client))

            [companion] = companions
            assert companion.profile is not None
            assert companion.profile.socket_reused
            assert first.profile is not None
            assert companion.profile.connection_id == first.profile.connection_id
            if not cancelled:
                break

    assert turns > 0


async def cancelled_after(
    turns: int, upload: Callable[[], Coroutine[Any, Any, trilane.Response]]
) -> bool:
    """Cancel an upload after so many turns of the event loop; False when it completed before."""
    completed = False
    async with anyio.create_task_group() as tasks:

        async def carry() -> None:
            nonlocal completed
            response = await upload()
            completed = response.status_code == 200
            tasks.cancel_scope.cancel()

        tasks.start_soon(carry)
        for _ in range(turns):
            await checkpoint()
        tasks.cancel_scope.cancel()
    return not completed
