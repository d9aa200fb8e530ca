"""Chromium's throughput windows: its own cases, from their facts (throughput_analyzer_unittest)."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from tests.quality.support import Clock
from trilane.transport.profile.moments import Ns
from trilane.transport.quality.windows import (
    HANGING_WINDOW_BYTES,
    MAX_REQUESTS,
    MIN_IN_FLIGHT,
    ThroughputWindows,
)

ENOUGH = 100_000


@dataclass(eq=False)
class Request:
    begun_at: Ns
    last_byte_at: Ns
    is_get: bool = True
    counts: bool = True


@dataclass
class Scene:
    """Windows over a network that a test plays."""

    http_rtt_ms: float | None = 1000
    received: int = 0
    clock: Clock = field(default_factory=Clock)

    def __post_init__(self) -> None:
        self.windows = ThroughputWindows(
            self.clock, lambda: self.http_rtt_ms, lambda: self.received
        )

    def begin(self, *, is_get: bool = True, counts: bool = True) -> Request:
        request = Request(self.clock(), self.clock(), is_get, counts)
        self.windows.began(request)
        return request

    def begin_many(self, count: int) -> list[Request]:
        return [self.begin() for _ in range(count)]

    def end_all(self, requests: list[Request]) -> list[int]:
        rates = [self.windows.ended(request) for request in requests]
        return [kbps for kbps in rates if kbps is not None]


@pytest.mark.parametrize("count", range(1, MIN_IN_FLIGHT + 2))
def test_five_requests_at_once_make_one_observation(count: int) -> None:
    scene = Scene()
    requests = scene.begin_many(count)
    scene.received += ENOUGH
    scene.clock.advance_ms(100)

    assert scene.end_all(requests) == ([8000] if count >= MIN_IN_FLIGHT else [])


@pytest.mark.parametrize(("received", "rates"), [(31_999, []), (32_000, [2560]), (32_001, [2561])])
def test_32_kilobytes_are_needed_and_rates_are_rounded_up(received: int, rates: list[int]) -> None:
    scene = Scene()
    requests = scene.begin_many(MIN_IN_FLIGHT)
    scene.received += received
    scene.clock.advance_ms(100)

    assert scene.end_all(requests) == rates


def test_only_get_requests_count() -> None:
    scene = Scene()
    scene.begin_many(MIN_IN_FLIGHT - 1)

    upload = scene.begin(is_get=False)

    assert scene.windows.in_flight == MIN_IN_FLIGHT - 1
    assert not scene.windows.measuring
    assert scene.windows.ended(upload) is None


def test_observations_follow_each_other_while_enough_are_in_flight() -> None:
    scene = Scene()
    requests = scene.begin_many(MIN_IN_FLIGHT + 1)
    rates = []
    for request in requests[:3]:
        scene.received += ENOUGH
        scene.clock.advance_ms(100)
        rates.append(scene.windows.ended(request))

    # The second leaves four, and with that no window for the third.
    assert rates == [8000, 8000, None]
    assert not scene.windows.measuring


def test_a_window_opens_when_the_last_of_five_begins() -> None:
    # TestThroughputWithMultipleNetworkRequests
    scene = Scene()
    first, *others = scene.begin_many(MIN_IN_FLIGHT - 1)
    scene.received += ENOUGH
    assert scene.windows.ended(first) is None
    others += scene.begin_many(2)
    assert scene.windows.measuring

    scene.received += ENOUGH
    scene.clock.advance_ms(200)

    assert scene.end_all(others) == [4000]


@pytest.mark.parametrize(
    ("local", "local_ends_first", "observed"),
    [(False, False, True), (True, False, False), (True, True, True)],
)
def test_a_request_to_a_local_host_disturbs_while_it_lives(
    local: bool, local_ends_first: bool, observed: bool
) -> None:
    # TestThroughputWithMultipleRequestsOverlap
    scene = Scene()
    disturbing = [scene.begin(counts=False)] if local else []
    requests = scene.begin_many(MIN_IN_FLIGHT)
    if local_ends_first:
        assert scene.end_all(disturbing) == []
        disturbing = []
    scene.received += ENOUGH
    scene.clock.advance_ms(100)

    rates = scene.end_all(requests) + scene.end_all(disturbing)

    assert bool(rates) is observed


def test_a_request_to_a_local_host_ends_a_window() -> None:
    scene = Scene()
    scene.begin_many(MIN_IN_FLIGHT)
    assert scene.windows.measuring

    scene.begin(counts=False)

    assert not scene.windows.measuring


@pytest.mark.parametrize(
    ("http_rtt_ms", "idle_ms", "observed"),
    [
        # TestHangingRequests; five round trips and three seconds.
        (1000, 3000, True),
        (200, 3000, False),
        (100, 100, True),
        (600, 3000, False),
        (2000, 3100, True),
        (2000, 1000, True),
        (None, 59_999, True),
        (None, 300_000, False),
    ],
)
def test_hanging_requests_are_dropped(
    http_rtt_ms: float | None, idle_ms: float, observed: bool
) -> None:
    scene = Scene(http_rtt_ms)
    requests = scene.begin_many(MIN_IN_FLIGHT)
    # So much that the window is not a hanging one in any case.
    scene.received += 1000 * ENOUGH
    scene.clock.advance_ms(idle_ms)

    rates = [scene.windows.ended(requests[0])]
    in_flight = scene.windows.in_flight
    rates += [scene.windows.ended(request) for request in requests[1:]]

    assert in_flight == (MIN_IN_FLIGHT - 1 if observed else 0)
    assert any(rates) is observed


def test_all_requests_are_looked_at_once_a_second() -> None:
    # TestHangingRequestsCheckedOnlyPeriodically
    scene = Scene(http_rtt_ms=1000)
    other = Request(0, 0)
    for _ in range(2):
        scene.clock.advance_ms(1000)
        scene.begin()
    in_flight = []
    for pass_ms in (3500, 1000, 0, 600, 400):
        scene.clock.advance_ms(pass_ms)
        scene.windows.drop_hanging(other)
        in_flight.append(scene.windows.in_flight)

    # At 5.5, 6.5, 6.5, 7.1 and 7.5 s; the first hangs from 6 s on, the second from 7 s on.
    assert in_flight == [2, 1, 1, 1, 0]


def test_bytes_prove_that_a_request_is_alive() -> None:
    # TestLastReceivedTimeIsUpdated
    scene = Scene(http_rtt_ms=1000)
    request, other = scene.begin(), Request(0, 0)
    in_flight = []
    for pass_ms in (4000, 4000, 2000):
        scene.clock.advance_ms(pass_ms)
        scene.windows.drop_hanging(other)
        in_flight.append(scene.windows.in_flight)
        if pass_ms == 4000 and len(in_flight) == 1:
            request.last_byte_at = scene.clock()

    assert in_flight == [1, 1, 0]


def test_the_request_in_hand_is_looked_at_at_once() -> None:
    # TestRequestDeletedImmediately
    scene = Scene(http_rtt_ms=400)
    request = scene.begin()
    scene.clock.advance_ms(2900)
    scene.windows.drop_hanging(request)
    assert scene.windows.in_flight == 1

    scene.clock.advance_ms(500)
    scene.windows.drop_hanging(request)

    assert scene.windows.in_flight == 0


@pytest.mark.parametrize(
    ("byte_count", "duration_ms", "hanging"),
    [
        # TestHangingWindow
        (12, 1000, True),
        (HANGING_WINDOW_BYTES - 1, 1000, True),
        (HANGING_WINDOW_BYTES, 1000, False),
        (2 * HANGING_WINDOW_BYTES - 1, 2000, True),
        (2 * HANGING_WINDOW_BYTES, 2000, False),
        (HANGING_WINDOW_BYTES // 2 - 1, 500, True),
        (HANGING_WINDOW_BYTES // 2, 500, False),
    ],
)
def test_a_window_with_too_little_in_it_hangs(
    byte_count: int, duration_ms: int, hanging: bool
) -> None:
    windows = Scene(http_rtt_ms=1000).windows

    assert windows.is_hanging_window(byte_count, duration_ms * 1_000_000) is hanging


def test_a_hanging_window_clears_what_is_in_flight() -> None:
    scene = Scene(http_rtt_ms=10)
    requests = scene.begin_many(MIN_IN_FLIGHT + 2)
    scene.received += 32_000
    scene.clock.advance_ms(1000)

    assert scene.windows.ended(requests[0]) is None
    assert scene.windows.in_flight == 0
    assert not scene.windows.measuring


def test_without_a_round_trip_ten_seconds_stand_for_it() -> None:
    windows = Scene(http_rtt_ms=None).windows

    assert windows.is_hanging_window(14_999, 10_000_000_000)
    assert not windows.is_hanging_window(15_000, 10_000_000_000)


def test_no_time_is_no_rate() -> None:
    scene = Scene()
    requests = scene.begin_many(MIN_IN_FLIGHT)
    scene.received += ENOUGH

    assert scene.end_all(requests) == []


def test_a_network_change_makes_what_is_in_flight_disturb() -> None:
    scene = Scene()
    crossing = scene.begin_many(MIN_IN_FLIGHT)
    scene.clock.advance_ms(100)

    scene.windows.network_changed()
    new = scene.begin_many(MIN_IN_FLIGHT)
    while_crossing = scene.windows.measuring
    assert scene.end_all(crossing) == []
    assert (while_crossing, scene.windows.measuring) == (False, True)
    scene.received += ENOUGH
    scene.clock.advance_ms(100)

    assert scene.end_all(new) == [8000]


def test_a_request_made_before_the_change_disturbs() -> None:
    scene = Scene()
    made_at = scene.clock()
    scene.clock.advance_ms(100)
    scene.windows.network_changed()

    scene.windows.began(Request(made_at, made_at))

    assert scene.windows.in_flight == 0
    scene.begin_many(MIN_IN_FLIGHT)
    assert not scene.windows.measuring


def test_too_many_requests_are_forgotten_and_counted_anew() -> None:
    # MaximumRequests
    scene = Scene()
    seen = []
    for count in (MAX_REQUESTS, 1, MIN_IN_FLIGHT):
        scene.begin_many(count)
        seen.append((scene.windows.in_flight, scene.windows.measuring))

    assert seen == [(MAX_REQUESTS, True), (0, False), (MIN_IN_FLIGHT, True)]


def test_too_many_disturbing_requests_end_the_measurement_for_good() -> None:
    # MaximumRequests
    scene = Scene()
    disturbing = [scene.begin(counts=False) for _ in range(MAX_REQUESTS + 1)]

    assert scene.end_all(disturbing) == []
    scene.begin_many(2 * MIN_IN_FLIGHT)

    assert scene.windows.in_flight == 0
    assert not scene.windows.measuring
