"""Measurements as a worker would have reported them."""

from __future__ import annotations

from benchmarks.measuring import Series
from benchmarks.worker import Found


def found(
    *durations_ms: float, elapsed_ms: float | None = None, cpu_s: float = 0.5, memory_mib: float = 1
) -> Found:
    """Uploads that took so long, one after the other unless they were done sooner."""
    durations = [round(each * 1e6) for each in durations_ms]
    return Found(
        durations_ns=durations,
        elapsed_ns=sum(durations) if elapsed_ms is None else round(elapsed_ms * 1e6),
        cpu_s=cpu_s,
        memory_growth_bytes=round(memory_mib * 2**20),
    )


def series(peer: str, *rounds: Found, lane: str = "h1", failure: str = "") -> Series:
    """What a peer did."""
    return Series(peer, lane, list(rounds), failure)
