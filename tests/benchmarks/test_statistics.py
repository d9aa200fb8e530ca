"""From what workers report to the figures that are shown."""

from __future__ import annotations

import pytest

from benchmarks.statistics_of import (
    Metric,
    Spread,
    cpu_seconds_per_gigabyte,
    cpu_us_per_upload,
    megabytes_per_second,
    memory_mib,
    over_rounds,
    percentile_us,
    ratio,
    spread,
    uploads_per_second,
)
from tests.benchmarks.found import found, series

HUNDRED = found(*range(1, 101), elapsed_ms=2000, cpu_s=0.02, memory_mib=3)


def test_a_spread_is_the_least_the_median_and_the_most() -> None:
    assert spread([9, 1, 4, 2]) == Spread(1, 3, 9)
    assert spread([]) is None


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        (uploads_per_second, 50.0),
        (cpu_us_per_upload, 200.0),
        (memory_mib, 3.0),
        (percentile_us(50), 50_500.0),
        (percentile_us(99), 99_010.0),
        (cpu_seconds_per_gigabyte(10**7), 2.0),
    ],
)
def test_metrics(metric: Metric, expected: float) -> None:
    assert metric(HUNDRED) == pytest.approx(expected)


def test_throughput_is_in_millions_of_bytes() -> None:
    assert megabytes_per_second(64 * 2**20)(found(100)) == pytest.approx(671.09, abs=0.01)


def test_one_upload_is_its_own_percentile() -> None:
    assert percentile_us(99)(found(7)) == 7000


def test_a_ratio_compares_measurements_of_the_same_round() -> None:
    """The machine was half as fast in the second round, for both; the ratio does not see it."""
    mine = series("trilane", found(100), found(200), found(300))
    theirs = series("libcurl", found(50), found(100))

    assert over_rounds(mine, percentile_us(50)) == Spread(100_000, 200_000, 300_000)
    assert ratio(mine, theirs, percentile_us(50)) == Spread(2, 2, 2)
    assert ratio(series("trilane"), theirs, percentile_us(50)) is None
