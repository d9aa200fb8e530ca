"""The kernel's own moments of uploads that share connections or follow each other."""

from __future__ import annotations

import sys
import time
from typing import Literal

import anyio
import pytest

import trilane
from tests.peers.certificates import Certificates
from tests.peers.servers import Endpoints
from trilane.transport.profile.invariants import order_violations

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(sys.platform != "linux", reason="only Linux makes such stamps"),
]

SIZES = (0, 10, 1000, 70_000, 2_000_000)
#: Comparing the kernel's clock with ours takes two readings.
CLOCKS_NS = 200_000

every_lane = pytest.mark.parametrize(
    ("scheme", "protocol"),
    [("http", "http/1.1"), ("https", "http/1.1"), ("https", "h2")],
    ids=["h1", "h1-tls", "h2"],
)


def check(response: trilane.Response) -> None:
    profile = response.profile
    assert profile is not None
    assert order_violations(profile) == []
    sample, start = profile.transport, profile.request_start
    assert sample is not None
    assert start is not None
    first, last, acked = sample.first_byte_sent, sample.last_byte_sent, sample.last_byte_acked
    assert first is not None
    assert last is not None
    assert acked is not None
    assert start - CLOCKS_NS <= first <= last <= acked
    assert profile.request_end is not None
    assert profile.request_acked == max(acked, profile.request_end)
    assert profile.response_start is not None
    assert acked <= profile.response_start + CLOCKS_NS


@every_lane
async def test_requests_beside_and_after_each_other_have_their_own(
    caddy: Endpoints,
    certificates: Certificates,
    scheme: Literal["http", "https"],
    protocol: Literal["http/1.1", "h2"],
) -> None:
    async def one(size: int) -> None:
        content = bytes(size)
        check(await client.request("POST", caddy.url(scheme), content=content, protocol=protocol))

    async with trilane.AsyncClient(verify=str(certificates.ca), kernel_timestamps=True) as client:
        for _ in range(2):
            async with anyio.create_task_group() as tasks:
                for size in SIZES:
                    tasks.start_soon(one, size)
            with anyio.move_on_after(0.01):
                await one(SIZES[-1])
        await client.request("GET", caddy.url(scheme), protocol=protocol, profile=False)


@every_lane
async def test_waiting_for_an_answer_costs_nothing(
    caddy: Endpoints,
    certificates: Certificates,
    scheme: Literal["http", "https"],
    protocol: Literal["http/1.1", "h2"],
) -> None:
    """Stamps wake whoever waits on the socket, until they are taken."""
    url = caddy.url(scheme, "/raw?delay_s=0.5")
    async with trilane.AsyncClient(verify=str(certificates.ca), kernel_timestamps=True) as client:
        await client.request("GET", caddy.url(scheme), protocol=protocol)
        before_s, began_s = time.process_time(), time.monotonic()
        check(await client.request("POST", url, content=bytes(300_000), protocol=protocol))
        spent_s, waited_s = time.process_time() - before_s, time.monotonic() - began_s

    assert waited_s > 0.4
    assert spent_s < 0.5 * waited_s
