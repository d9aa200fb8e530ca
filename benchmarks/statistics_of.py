"""From rounds to figures: throughput, cost, latency, and their ratios to the reference."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median, quantiles

from .measuring import Series
from .worker import Found

Metric = Callable[[Found], float]


@dataclass(frozen=True, slots=True)
class Spread:
    """A metric over the rounds."""

    low: float
    middle: float
    high: float


def spread(values: Sequence[float]) -> Spread | None:
    """Minimum, median and maximum; None of nothing."""
    return Spread(min(values), median(values), max(values)) if values else None


def over_rounds(series: Series, metric: Metric) -> Spread | None:
    """A metric's spread over the rounds."""
    return spread([metric(found) for found in series.rounds])


def ratio(series: Series, reference: Series, metric: Metric) -> Spread | None:
    """The spread of a metric divided by the reference's in the same round."""
    pairs = zip(series.rounds, reference.rounds, strict=False)
    return spread([metric(mine) / metric(theirs) for mine, theirs in pairs if metric(theirs)])


def megabytes_per_second(byte_count: int) -> Metric:
    """Throughput of one upload of so many bytes, in 10^6 bytes a second."""
    return lambda found: byte_count * 1e3 / found.durations_ns[0]


def megabits_per_second(byte_count: int) -> Metric:
    """Throughput of one upload of so many bytes, in 10^6 bits a second."""
    return lambda found: byte_count * 8e3 / found.durations_ns[0]


def cpu_seconds_per_gigabyte(byte_count: int) -> Metric:
    """Processor time for 10^9 bytes."""
    return lambda found: found.cpu_s * 1e9 / byte_count


def cpu_us_per_upload(found: Found) -> float:
    """Processor time of one upload, in microseconds."""
    return found.cpu_s * 1e6 / len(found.durations_ns)


def memory_mib(found: Found) -> float:
    """Growth of resident memory."""
    return found.memory_growth_bytes / 2**20


def uploads_per_second(found: Found) -> float:
    """Uploads a second, all together."""
    return len(found.durations_ns) * 1e9 / found.elapsed_ns


def percentile_us(percent: int) -> Metric:
    """The time within which so many percent of the uploads were done, in microseconds."""

    def at(found: Found) -> float:
        if len(found.durations_ns) == 1:
            return found.durations_ns[0] / 1e3
        return quantiles(found.durations_ns, n=100, method="inclusive")[percent - 1] / 1e3

    return at
