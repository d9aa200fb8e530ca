"""libcurl's times and the profile's, over a link whose round trip tells the phases apart."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import pytest

from tests.link.emulation import Link
from tests.link.libcurl import LANES, RTT_MS, THINK_MS, Row, compare, smaller
from tests.link.servers import Site
from tests.link.shaper import Shape

pytestmark = [pytest.mark.interop, pytest.mark.timeout(120)]

#: Half of what lies between two events that a round trip separates.
CLOSE_MS = RTT_MS / 2
#: What arithmetic and certificates may add to the link's own times; still less than a round trip.
WORK_MS = 0.8 * RTT_MS
#: Round trips until a new connection can carry a request.
ROUND_TRIPS: Mapping[str, int] = {"h1": 1, "h1-tls": 2, "h2": 2, "h3": 1}

every_lane = pytest.mark.parametrize("lane", LANES)
new_and_used = pytest.mark.parametrize("reused", [False, True], ids=["new", "used"])


@pytest.fixture(scope="module")
def rows(wire: Link, site: Site) -> Iterator[Sequence[Row]]:
    measured = compare(wire, site, rounds=3)
    if not all(is_close(row) for row in measured):
        # Something else may have kept the machine busy; what is wrong stays wrong.
        measured = smaller(measured, compare(wire, site, rounds=3))
    yield measured
    wire.shape(Shape())


@new_and_used
@every_lane
def test_times_of_the_exchange_agree(rows: Sequence[Row], lane: str, *, reused: bool) -> None:
    times = times_of(rows, lane, reused=reused)
    ready_ms = 0 if reused else ROUND_TRIPS[lane] * RTT_MS
    expected_ms = {
        "PRETRANSFER": ready_ms,
        "POSTTRANSFER": ready_ms,
        "STARTTRANSFER": ready_ms + RTT_MS + THINK_MS,
        "TOTAL": ready_ms + RTT_MS + THINK_MS,
    }
    for name, wanted_ms in expected_ms.items():
        row = times[name]
        assert row.trilane_ms == pytest.approx(row.curl_ms, abs=CLOSE_MS), row
        assert row.trilane_ms is not None
        assert wanted_ms <= row.trilane_ms < wanted_ms + WORK_MS, row


@every_lane
def test_times_of_a_new_connection_agree(rows: Sequence[Row], lane: str) -> None:
    times = times_of(rows, lane, reused=False)
    connect, appconnect = times["CONNECT"], times["APPCONNECT"]
    if lane == "h3":
        # libcurl's is the first datagram that came from the server; QUIC has no such phase.
        assert connect.trilane_ms is None
        assert connect.curl_ms <= appconnect.curl_ms
    else:
        assert connect.trilane_ms == pytest.approx(connect.curl_ms, abs=CLOSE_MS)
        assert connect.trilane_ms is not None
        assert RTT_MS <= connect.trilane_ms < RTT_MS + WORK_MS
    if lane == "h1":
        assert (appconnect.curl_ms, appconnect.trilane_ms) == (0, None)
    else:
        assert appconnect.trilane_ms == pytest.approx(appconnect.curl_ms, abs=CLOSE_MS)
        assert appconnect.trilane_ms is not None
        wanted_ms = ROUND_TRIPS[lane] * RTT_MS
        assert wanted_ms <= appconnect.trilane_ms < wanted_ms + WORK_MS


@every_lane
def test_a_used_connection_has_no_phases_of_its_own(rows: Sequence[Row], lane: str) -> None:
    times = times_of(rows, lane, reused=True)
    for name in ("CONNECT", "APPCONNECT"):
        assert (times[name].curl_ms, times[name].trilane_ms) == (0, None)


def is_close(row: Row) -> bool:
    return abs(row.curl_ms - (row.trilane_ms or row.curl_ms)) < CLOSE_MS / 2


def times_of(rows: Sequence[Row], lane: str, *, reused: bool) -> Mapping[str, Row]:
    return {row.curl_name: row for row in rows if (row.lane, row.reused) == (lane, reused)}
