"""Many uploads at once: one connection carries a hundred, ten slots serve a thousand in order."""

from __future__ import annotations

import hashlib
import random
import resource
from collections.abc import Iterator
from typing import Literal

import anyio
import pytest

import trilane
from tests.peers.certificates import Certificates
from tests.peers.leaks import no_leaked_descriptors
from tests.peers.receipt import Receipt
from tests.peers.servers import Endpoints
from trilane.transport.profile.invariants import order_violations

pytestmark = pytest.mark.interop

MIB = 1 << 20
Protocol = Literal["http/1.1", "h2", "h3"]


@pytest.fixture(autouse=True)
def nothing_leaks(caddy: Endpoints) -> Iterator[None]:
    with no_leaked_descriptors():
        yield


def sound(response: trilane.Response) -> trilane.Profile:
    assert response.status_code == 200
    assert response.profile is not None
    assert order_violations(response.profile) == []
    return response.profile


@pytest.mark.timeout(180)
@pytest.mark.parametrize("protocol", ["h2", "h3"])
async def test_a_hundred_uploads_share_one_connection(
    protocol: Protocol, caddy: Endpoints, certificates: Certificates
) -> None:
    content = [random.Random(n).randbytes(MIB) for n in range(100)]
    profiles: list[trilane.Profile] = []

    async def one(number: int) -> None:
        response = await client.request(
            "POST", caddy.url("https"), content=content[number], protocol=protocol
        )
        profiles.append(sound(response))
        receipt = Receipt.from_json(response.text)
        assert receipt.body_sha256 == hashlib.sha256(content[number]).hexdigest()

    async with (
        trilane.AsyncClient(
            verify=str(certificates.ca),
            limits=trilane.Limits(parallel_requests=100),
            timeout=150.0,
        ) as client,
        anyio.create_task_group() as tasks,
    ):
        for number in range(100):
            tasks.start_soon(one, number)

    assert len(profiles) == 100
    assert len({profile.connection_id for profile in profiles}) == 1
    assert sum(not profile.socket_reused for profile in profiles) == 1


@pytest.mark.timeout(180)
@pytest.mark.parametrize("protocol", ["http/1.1", "h2", "h3"])
async def test_a_thousand_uploads_take_their_turn_at_ten_slots(
    protocol: Protocol, caddy: Endpoints, certificates: Certificates
) -> None:
    profiles: dict[int, trilane.Profile] = {}

    async def one(number: int) -> None:
        response = await client.request(
            "POST", caddy.url("https"), content=str(number).encode() * 20, protocol=protocol
        )
        profiles[number] = sound(response)
        receipt = Receipt.from_json(response.text)
        assert receipt.body_sha256 == hashlib.sha256(str(number).encode() * 20).hexdigest()

    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    async with (
        trilane.AsyncClient(verify=str(certificates.ca), timeout=150.0) as client,
        anyio.create_task_group() as tasks,
    ):
        for number in range(1000):
            tasks.start_soon(one, number)

    grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib
    assert grown_kib < 64 * 1024
    queued = sorted(profiles.values(), key=lambda profile: profile.queue_start or 0)
    assert len(queued) == 1000
    # The slots are given out in the order in which they were asked for.
    ends = [profile.queue_end or 0 for profile in queued]
    assert ends == sorted(ends)
    assert sum(profile.queue_end == profile.queue_start for profile in queued) == 10
    running = [(profile.queue_end or 0, 1) for profile in queued]
    running += [(profile.response_end or 0, -1) for profile in queued]
    level = highest = 0
    for _, step in sorted(running):
        level += step
        highest = max(highest, level)
    assert highest <= 10
    if protocol != "http/1.1":
        assert len({profile.connection_id for profile in queued}) == 1
    else:
        assert len({profile.connection_id for profile in queued}) <= 10
