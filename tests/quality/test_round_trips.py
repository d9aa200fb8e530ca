"""How round trips bound each other, and which are left out: Chromium's worked cases."""

from __future__ import annotations

import pytest

from trilane.transport.quality.round_trips import (
    MIN_COUNT,
    RoundTrips,
    bounded_http_rtt_ms,
    is_hanging,
)


@pytest.mark.parametrize(
    ("http_ms", "transport_ms", "count", "expected_ms"),
    [
        # TestTransportRttUsedForHttpRttComputation
        (200, 100, MIN_COUNT, 200),
        (100, 200, MIN_COUNT, 200),
        (100, 4000, MIN_COUNT, 4000),
        (100, 4000, MIN_COUNT - 1, 100),
        # No upper bound, and no HTTP round trip from a transport one alone.
        (3000, 100, MIN_COUNT, 3000),
        (None, 100, MIN_COUNT, None),
    ],
)
def test_http_is_no_faster_than_its_transport(
    http_ms: float | None, transport_ms: float, count: int, expected_ms: float | None
) -> None:
    measured = RoundTrips(http_ms, transport_ms, transport_count=count)

    assert bounded_http_rtt_ms(measured) == expected_ms


@pytest.mark.parametrize(
    ("http_ms", "end_to_end_ms", "enough", "expected_ms"),
    [
        # TestEndToEndRttUsedForHttpRttComputation
        (200, 100, True, 200),
        (100, 200, True, 200),
        (100, 200, False, 100),
        (100, 4000, True, 4000),
        (3000, 100, True, 300),
        (3000, 100, False, 3000),
    ],
)
def test_http_is_one_to_three_end_to_end_round_trips(
    http_ms: float, end_to_end_ms: float, enough: bool, expected_ms: float
) -> None:
    count = MIN_COUNT if enough else MIN_COUNT - 1
    measured = RoundTrips(http_ms, end_to_end_ms=end_to_end_ms, end_to_end_count=count)

    assert bounded_http_rtt_ms(measured) == expected_ms


@pytest.mark.parametrize(
    ("observed_ms", "hanging"), [(10, False), (100, False), (499, False), (501, True), (1000, True)]
)
def test_six_usual_http_round_trips_are_too_many(observed_ms: float, hanging: bool) -> None:
    # HangingRequestUsingHttpOnly
    assert is_hanging(observed_ms, RoundTrips(http_ms=5)) is hanging


@pytest.mark.parametrize(
    ("observed_ms", "enough", "hanging"),
    [
        # HangingRequestEndToEndUsingHttpOnly
        (10, True, False),
        (10, False, False),
        (100, True, False),
        (7999, True, False),
        (8001, True, True),
        (7999, False, True),
    ],
)
def test_eight_end_to_end_round_trips_are_too_many(
    observed_ms: float, enough: bool, hanging: bool
) -> None:
    count = MIN_COUNT if enough else MIN_COUNT - 1
    estimated = RoundTrips(http_ms=10, end_to_end_ms=1000, end_to_end_count=count)

    assert is_hanging(observed_ms, estimated) is hanging


@pytest.mark.parametrize(
    ("observed_ms", "hanging"), [(799, False), (800, True), (801, True), (1000, True)]
)
def test_eight_transport_round_trips_are_too_many(observed_ms: float, hanging: bool) -> None:
    # HangingRequestUsingTransportAndHttpOnly
    estimated = RoundTrips(http_ms=5, transport_ms=100, transport_count=100)

    assert is_hanging(observed_ms, estimated) is hanging


def test_while_nothing_is_known_only_a_minute_is_too_long() -> None:
    assert not is_hanging(59_999, RoundTrips())
    assert is_hanging(60_000, RoundTrips())


def test_half_a_second_is_never_too_long() -> None:
    assert not is_hanging(500, RoundTrips(http_ms=0.1))
    assert is_hanging(500.001, RoundTrips(http_ms=0.1))
