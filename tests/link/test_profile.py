"""What a profile says of an upload over a link whose properties are known.

TCP's congestion control is Reno here (see `emulated_link`), QUIC's is the default, CUBIC: both
fill the queue in front of the wire. A request's round trips are then those of a link with a full
queue ("bufferbloat"): `rtt` says so, and `min_rtt_ms` tells the link's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import pytest

from tests.link.conftest import MakeLink
from tests.link.emulation import Link
from tests.link.servers import Site
from tests.link.shaper import Shape
from tests.link.timed import timed
from tests.link.uploads import Job, Observation, Plan, Protocol, upload_from

pytestmark = [pytest.mark.interop, pytest.mark.timeout(120)]

RTT_MS, RATE_MBIT = 40, 10
RATE_BYTES_PER_S = RATE_MBIT * 1e6 / 8
QUEUE_BYTES = 64 * 1024
#: 1.6 s on the wire, and a few round trips: slow start, and the last acknowledgement.
BODY_BYTES = 2_000_000
ROUND_TRIPS = 4
MIB = 1 << 20

Lane = tuple[Protocol, bool]
LANES: Sequence[Lane] = (("http/1.1", False), ("http/1.1", True), ("h2", True), ("h3", True))

every_lane = pytest.mark.parametrize(
    ("protocol", "secure"), LANES, ids=["h1", "h1-tls", "h2", "h3"]
)


def upload(
    wire: Link,
    site: Site,
    *jobs: Job,
    backend: Literal["asyncio", "trio"] = "asyncio",
    kernel_timestamps: bool = False,
) -> list[Observation]:
    plan = Plan(ca=str(site.ca), jobs=jobs, backend=backend, kernel_timestamps=kernel_timestamps)
    return upload_from(wire.client, plan)


@every_lane
@timed
def test_a_long_upload_shows_the_rate_of_the_link(
    link: MakeLink, site: Site, protocol: Protocol, secure: bool
) -> None:
    wire = link(rtt_ms=RTT_MS, rate_mbit=RATE_MBIT, queue_bytes=QUEUE_BYTES)
    before = wire.counts().up
    [seen] = upload(
        wire,
        site,
        Job(url=site.url(protocol, secure=secure), protocol=protocol, body_bytes=BODY_BYTES),
    )
    after = wire.counts().up

    # The wire carries headers, and again what was dropped; what it carried is its own count.
    carried = after.carried_bytes - before.carried_bytes
    assert carried > BODY_BYTES
    assert seen.receipt["body_bytes"] == BODY_BYTES
    duration_s = seen.between_s("request_start", "request_acked")
    on_the_wire_s = carried / RATE_BYTES_PER_S
    assert 0.99 * on_the_wire_s < duration_s < on_the_wire_s + ROUND_TRIPS * RTT_MS / 1e3

    check_what_buffers_hid(seen)
    check_round_trips_under_load(seen)


def check_what_buffers_hid(seen: Observation) -> None:
    """`request_end` comes before `request_acked` by what the link needs for what is under way."""
    hidden_bytes = seen.body_sent_bytes - (seen.acked_when_sent_bytes or 0)
    hidden_s = seen.between_s("request_end", "request_acked")
    assert hidden_s > RTT_MS / 1e3
    assert hidden_s > 0.95 * hidden_bytes / RATE_BYTES_PER_S
    assert hidden_s < 1.1 * hidden_bytes / RATE_BYTES_PER_S + RTT_MS / 1e3


def check_round_trips_under_load(seen: Observation) -> None:
    """The smoothed round trip includes the queue, the smallest does not."""
    longest_ms = RTT_MS + QUEUE_BYTES / RATE_BYTES_PER_S * 1e3
    rtt_ms, min_rtt_ms = seen.rtt_ms, seen.transport["min_rtt_ms"]
    assert rtt_ms is not None
    assert min_rtt_ms == pytest.approx(RTT_MS, rel=0.1)
    assert RTT_MS * 1.2 < rtt_ms < longest_ms * 1.1


@every_lane
@timed
def test_short_uploads_show_the_round_trip_of_the_link(
    link: MakeLink, site: Site, protocol: Protocol, secure: bool
) -> None:
    wire = link(rtt_ms=RTT_MS, rate_mbit=RATE_MBIT)
    url = site.url(protocol, secure=secure)
    jobs = [
        Job(url=url, protocol=protocol, body_bytes=1024, new_client=number == 0)
        for number in range(5)
    ]
    # The least of three: what else the machine does comes on top of a handshake's arithmetic.
    more = [replace(jobs[0], body_bytes=0)] * 2

    seen = upload(wire, site, *jobs, *more, backend="trio")

    assert [each.socket_reused for each in seen] == [False, *[True] * 4, False, False]
    for each in seen[: len(jobs)]:
        assert each.rtt_ms == pytest.approx(RTT_MS, rel=0.1)
        assert each.transport["min_rtt_ms"] == pytest.approx(RTT_MS, rel=0.1)
        # Nothing is hidden: one packet leaves at once and is acknowledged a round trip later.
        assert each.between_s("request_start", "request_end") < 0.01
        acked_ms = each.between_s("request_start", "request_acked") * 1e3
        assert acked_ms == pytest.approx(RTT_MS, rel=0.3)
    round_trips = {"http/1.1": 2 if secure else 1, "h2": 2, "h3": 1}[protocol]
    fresh = [each for each in seen if not each.socket_reused]
    connecting_ms = min(each.between_s("connect_start", "connect_end") for each in fresh) * 1e3
    assert connecting_ms == pytest.approx(round_trips * RTT_MS, rel=0.3)


@pytest.mark.parametrize(("protocol", "secure"), LANES[:3], ids=["h1", "h1-tls", "h2"])
@timed
def test_the_kernel_tells_when_bytes_left_and_arrived(
    link: MakeLink, site: Site, protocol: Protocol, secure: bool
) -> None:
    wire = link(rtt_ms=RTT_MS, rate_mbit=RATE_MBIT, queue_bytes=QUEUE_BYTES)
    url = site.url(protocol, secure=secure)
    jobs = [
        Job(url=url, protocol=protocol, body_bytes=size, new_client=size == MIB)
        for size in (MIB, 1024)
    ]

    long, short = upload(wire, site, *jobs, backend="trio", kernel_timestamps=True)

    # What the send buffer holds when the system has taken everything is still to leave.
    assert long.between_s("request_end", "last_byte_sent") > RTT_MS / 1e3
    assert long.between_s("first_byte_sent", "last_byte_sent") > 0.8 * MIB / RATE_BYTES_PER_S
    queue_s = QUEUE_BYTES / RATE_BYTES_PER_S
    on_the_way_s = long.between_s("last_byte_sent", "last_byte_acked")
    assert 0.9 * RTT_MS / 1e3 < on_the_way_s < 1.3 * RTT_MS / 1e3 + queue_s
    assert short.socket_reused
    # The peer sends its ACK with the response, or 40 ms later (Linux) when that takes longer.
    on_the_way_s = short.between_s("last_byte_sent", "last_byte_acked")
    assert 0.9 * RTT_MS / 1e3 < on_the_way_s < 1.3 * RTT_MS / 1e3 + 0.04
    for each in (long, short):
        assert each.between_s("request_start", "first_byte_sent") == pytest.approx(0, abs=0.01)
        assert each.at("request_acked") == each.at("last_byte_acked")


@timed
def test_a_slow_link_is_what_the_sending_waited_for(link: MakeLink, site: Site) -> None:
    wire = link(rtt_ms=RTT_MS, rate_mbit=RATE_MBIT, queue_bytes=QUEUE_BYTES)

    [seen] = upload(wire, site, Job(url=site.upstream_url(), protocol="http/1.1", body_bytes=MIB))

    busy, by_peer = limits_ms(seen)
    duration_ms = seen.between_s("request_start", "request_acked") * 1e3
    assert busy == pytest.approx(duration_ms, rel=0.1)
    assert by_peer < 0.1 * busy


@timed
def test_a_slow_link_is_what_quic_waited_for(link: MakeLink, site: Site) -> None:
    wire = link(rtt_ms=RTT_MS, rate_mbit=RATE_MBIT, queue_bytes=QUEUE_BYTES)

    [seen] = upload(wire, site, Job(url=site.url("h3"), protocol="h3", body_bytes=MIB))

    busy, by_peer = limits_ms(seen)
    by_congestion = seen.transport["congestion_limited_ms"]
    by_source = seen.transport["application_limited_ms"]
    assert by_congestion is not None
    assert by_source is not None
    duration_ms = seen.between_s("request_start", "request_acked") * 1e3
    assert busy > 0.9 * duration_ms
    assert by_congestion > 0.6 * duration_ms
    assert by_peer < 0.1 * duration_ms
    assert by_source < 0.1 * duration_ms


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("from_file", [True, False], ids=["file", "memory"])
def test_a_slow_link_is_not_an_idle_one(
    link: MakeLink, site: Site, backend: Literal["asyncio", "trio"], from_file: bool
) -> None:
    wire = link(rtt_ms=RTT_MS, rate_mbit=RATE_MBIT, queue_bytes=QUEUE_BYTES)
    job = Job(url=site.url("h3"), protocol="h3", body_bytes=5 * MIB // 2, from_file=from_file)
    # Room for the next piece of a file takes 0.8 s; datagrams leave all the time.
    plan = Plan(ca=str(site.ca), jobs=[job], backend=backend, write_idle_s=0.4)

    [seen] = upload_from(wire.client, plan)

    assert seen.receipt["body_bytes"] == job.body_bytes
    assert seen.between_s("request_start", "request_end") > 3 * 0.4


@timed
def test_a_receiver_that_does_not_read_is_what_the_sending_waited_for(
    link: MakeLink, site: Site
) -> None:
    wire = link(rtt_ms=RTT_MS, rate_mbit=100)
    url = site.upstream_url("/raw?pause_s=1")

    [seen] = upload(wire, site, Job(url=url, protocol="http/1.1", body_bytes=4 * MIB))

    busy, by_peer = limits_ms(seen)
    assert by_peer > 700
    assert by_peer < busy


def limits_ms(seen: Observation) -> tuple[float, float]:
    """Time with unacknowledged data, and the part of it stalled by the peer's window."""
    busy, by_peer = seen.transport["busy_ms"], seen.transport["receive_window_limited_ms"]
    assert busy is not None
    assert by_peer is not None
    return busy, by_peer


@pytest.mark.parametrize("protocol", ["http/1.1", "h3"])
@timed
def test_losses_are_counted(link: MakeLink, site: Site, protocol: Protocol) -> None:
    wire = link(rtt_ms=10, rate_mbit=50)
    wire.shape(
        Shape(delay_s=0.005, rate_bytes_per_s=50e6 / 8, loss=0.02, seed=4), Shape(delay_s=0.005)
    )
    before = wire.counts().up

    [seen] = upload(
        wire, site, Job(url=site.url(protocol, secure=False), protocol=protocol, body_bytes=MIB)
    )

    after = wire.counts().up
    lost = after.lost_packets - before.lost_packets
    lost += after.overflowed_packets - before.overflowed_packets
    assert lost > 0
    assert seen.receipt["body_bytes"] == MIB
    retransmitted = seen.transport["retransmitted_packets"]
    assert retransmitted is not None
    # Acknowledgements of ours may be among the lost, and a probe may be one too many.
    assert 0.5 * lost <= retransmitted <= 2 * lost + 5
