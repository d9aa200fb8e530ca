"""What several classes of networks are taken for, from one small upload over each protocol."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from tests.link.conftest import MakeLink
from tests.link.servers import Site
from tests.link.timed import timed
from tests.link.uploads import Job, Observation, Plan, Protocol, upload_from
from trilane import EffectiveType

pytestmark = [pytest.mark.interop, pytest.mark.timeout(120)]

PROTOCOLS: tuple[Protocol, ...] = ("http/1.1", "h2", "h3")
#: What the receiver and a loaded machine may add to a round trip; no class is left by it.
WORK_MS = 230


@pytest.mark.parametrize(
    ("rtt_ms", "effective_type"),
    [
        (40, EffectiveType.TYPE_4G),
        (350, EffectiveType.TYPE_3G),
        (1500, EffectiveType.TYPE_2G),
    ],
)
@timed
def test_the_network_gets_its_class(
    link: MakeLink, site: Site, rtt_ms: int, effective_type: EffectiveType
) -> None:
    wire = link(rtt_ms=rtt_ms, rate_mbit=10)
    jobs = [
        Job(url=site.url(protocol), protocol=protocol, body_bytes=1024) for protocol in PROTOCOLS
    ]

    # All three at once: at 1.5 s per round trip, one after the other would take a while.
    plan = Plan(ca=str(site.ca), jobs=jobs, clients_at_once=True, estimates=True)
    for seen in upload_from(wire.client, plan):
        check_estimates(seen, rtt_ms, effective_type)


def check_estimates(seen: Observation, rtt_ms: int, effective_type: EffectiveType) -> None:
    protocol, estimates = seen.job.protocol, numbers(seen.seed)
    assert estimates["estimate_nettype"] == effective_type, protocol
    waited_ms = seen.between_s("request_end", "response_start") * 1e3
    # A busy process may note a little late that a request was sent.
    assert 0.9 * rtt_ms <= estimates["httpRttEstimate"] < rtt_ms + WORK_MS, protocol
    # Less what the end of the request is known to have waited before it left.
    assert estimates["httpRttEstimate"] <= waited_ms + 0.001, protocol
    # One request, one sample: what was measured while it ran.
    assert estimates["transportRttEstimate"] == estimates["rtt"], protocol
    assert 0.9 * rtt_ms <= estimates["transportRttEstimate"] < rtt_ms + WORK_MS, protocol


def numbers(seed: Mapping[str, object]) -> dict[str, float]:
    return {name: value for name, value in seed.items() if isinstance(value, int | float)}
