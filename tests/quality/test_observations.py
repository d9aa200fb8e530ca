"""The buffer: bounded, ordered, weighted; against a naive reference and Chromium's own cases."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tests.quality.support import MS, S
from trilane.transport.profile.moments import Ns
from trilane.transport.quality.observations import (
    BUFFER_SIZE,
    Observation,
    ObservationBuffer,
    Source,
)

DAY = 86_400 * S
NOW = 60 * S + 7 * DAY


def buffer_of(
    *observations: tuple[float, Ns],
    half_life_s: float | None = None,
    source: Source = Source.HTTP,
) -> ObservationBuffer:
    buffer = ObservationBuffer() if half_life_s is None else ObservationBuffer(half_life_s)
    for value, at in observations:
        buffer.add(Observation(value, at, source))
    return buffer


def odd_then_even(buffer: ObservationBuffer) -> None:
    for value in (*range(1, 101, 2), *range(2, 101, 2)):
        buffer.add(Observation(value, NOW, Source.HTTP))


# --- properties -----------------------------------------------------------------------------

aged_values = st.lists(
    st.tuples(st.floats(0, 5000), st.floats(0, 400)), min_size=1, max_size=BUFFER_SIZE
)
percents = st.integers(0, 100)


def total(weights: Iterable[tuple[float, Fraction]]) -> Fraction:
    return sum((weight for _, weight in weights), Fraction(0))


@given(aged_values, percents)
def test_percentile_is_the_naive_one(pairs: list[tuple[float, float]], percent: int) -> None:
    pairs = sorted(pairs, key=lambda pair: -pair[1])
    observations = [(value, NOW - round(age_s * S)) for value, age_s in pairs]

    found = buffer_of(*observations).percentile(percent, NOW)

    # Exact arithmetic over the definition: a value has the share of the weight up to it.
    weights = [(value, Fraction(2.0 ** -(((NOW - at) // S) / 60))) for value, at in observations]
    wanted = Fraction(percent, 100) * total(weights)
    assert found is not None
    up_to = total(pair for pair in weights if pair[0] <= found)
    below = total(pair for pair in weights if pair[0] < found)
    tolerance = Fraction(1, 10**9)
    assert found in dict(observations)
    assert up_to >= wanted - tolerance
    assert below <= wanted + tolerance


@given(st.integers(1, 140), st.integers(1, 140), st.integers(0, 8), st.booleans())
def test_an_observation_loses_half_its_weight_a_minute(
    old_count: int, new_count: int, minutes: int, old_is_less: bool
) -> None:
    # At a tie rounding decides.
    assume(old_count != new_count * 2**minutes)
    old, new = (10.0, 20.0) if old_is_less else (20.0, 10.0)
    olds = [(old, NOW - minutes * 60 * S)] * old_count

    median = buffer_of(*olds, *[(new, NOW)] * new_count).percentile(50, NOW)

    assert median == (old if old_count > new_count * 2**minutes else new)


@given(st.integers(0, 300), st.integers(0, S - 1))
def test_age_counts_in_whole_seconds(age_s: int, more_ns: int) -> None:
    # One at that age against one of that many whole seconds: the first of equals is the median.
    at = NOW - age_s * S - more_ns
    pair = buffer_of((20.0, at), (10.0, NOW - age_s * S))

    assert pair.percentile(50, NOW) == 10.0
    assert pair.percentile(50.001, NOW) == 20.0


@given(aged_values, percents, percents)
def test_percentiles_never_decrease(pairs: list[tuple[float, float]], one: int, other: int) -> None:
    observations = sorted((NOW - round(age_s * S), value) for value, age_s in pairs)
    buffer = buffer_of(*((value, at) for at, value in observations))
    lower, higher = sorted((one, other))

    at_lower, at_higher = buffer.percentile(lower, NOW), buffer.percentile(higher, NOW)

    assert at_lower is not None
    assert at_higher is not None
    assert at_lower <= at_higher


@given(st.lists(st.floats(0, 5000), min_size=1, max_size=3 * BUFFER_SIZE))
def test_only_the_newest_count(values: list[float]) -> None:
    observations = [(value, NOW + number) for number, value in enumerate(values)]
    whole, newest = buffer_of(*observations), buffer_of(*observations[-BUFFER_SIZE:])

    assert len(whole) == min(len(values), BUFFER_SIZE)
    for percent in (0, 50, 100):
        assert whole.percentile(percent, NOW + S) == newest.percentile(percent, NOW + S)


@given(st.floats(0, 5000), st.integers(1, 10**6))
def test_an_observation_alone_is_the_estimate_at_any_age(value: float, days: int) -> None:
    assert buffer_of((value, NOW)).percentile(50, NOW + days * DAY) == value


# --- Chromium's cases, from their facts (observation_buffer_unittest.cc) -------------------------


def test_percentiles_of_one_to_a_hundred() -> None:
    buffer = buffer_of()
    assert buffer.percentile(50, NOW) is None

    odd_then_even(buffer)

    for percent in range(101):
        found = buffer.percentile(percent, NOW)
        assert found is not None
        assert abs(found - percent) <= 1
    assert buffer.percentile(50, NOW, since=NOW + S) is None
    buffer.clear()
    assert buffer.percentile(50, NOW) is None
    assert len(buffer) == 0


def test_very_old_observations_hardly_count() -> None:
    old = [(float(value), NOW - 7 * DAY) for value in range(1, 51)]
    new = [(float(value), NOW) for value in range(51, 101)]
    buffer = buffer_of(*old, *new, half_life_s=1)

    for percent in range(1, 100):
        found = buffer.percentile(percent, NOW, since=NOW - 7 * DAY)
        assert found is not None
        assert abs(found - (51 + 0.49 * percent)) <= 1


@pytest.mark.parametrize(
    ("level", "first", "step"), [(4, 51.0, 0.49), (0, 0.0, 0.5)], ids=["strong", "weak"]
)
def test_observations_at_another_signal_level_count_less(
    level: int, first: float, step: float
) -> None:
    buffer = ObservationBuffer(signal_level_factor=0.25)
    for value in range(1, 101):
        at_level = 0 if value <= 50 else 4
        buffer.add(Observation(value, NOW, Source.HTTP, at_level))

    for percent in range(1, 100):
        found = buffer.percentile(percent, NOW, signal_level=level)
        assert found is not None
        assert abs(found - (first + step * percent)) <= 2


def test_an_unknown_signal_level_changes_no_weight() -> None:
    buffer = buffer_of((10.0, NOW), (20.0, NOW))
    buffer.add(Observation(30.0, NOW, Source.HTTP, 0))

    assert buffer.percentile(50, NOW) == 20.0
    # 0.8 per level: of the weight of 2.41 the two without a level carry 2.
    assert buffer.percentile(82, NOW, signal_level=4) == 20.0
    assert buffer.percentile(84, NOW, signal_level=4) == 30.0


def test_sources_can_be_forgotten() -> None:
    buffer = buffer_of()
    odd_then_even(buffer)
    for _ in range(50):
        buffer.add(Observation(10_000, NOW, Source.TCP))
        buffer.add(Observation(10_000, NOW, Source.QUIC))
    assert len(buffer) == 200

    buffer.remove(())
    assert len(buffer) == 200
    buffer.remove({Source.TCP, Source.QUIC})

    assert len(buffer) == 100
    assert buffer.sources == {Source.HTTP}
    median = buffer.percentile(50, NOW)
    assert median is not None
    assert abs(median - 50) <= 1
    buffer.remove({Source.HTTP})
    assert len(buffer) == 0


@pytest.mark.parametrize(
    ("since", "expected"), [(NOW + 10 * S, None), (NOW, 100), (NOW - MS // 2, 100)]
)
def test_the_median_since_a_moment(since: Ns, expected: float | None) -> None:
    buffer = buffer_of((1.0, NOW - MS), (100.0, NOW))

    assert buffer.percentile(50, NOW, since=since) == expected


def test_an_observation_out_of_order_is_refused() -> None:
    buffer = buffer_of((1.0, NOW))

    buffer.add(Observation(2.0, NOW, Source.HTTP))
    with pytest.raises(ValueError, match="order"):
        buffer.add(Observation(3.0, NOW - 1, Source.HTTP))
