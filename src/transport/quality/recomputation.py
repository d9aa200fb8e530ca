"""When the estimates are computed anew: not at each observation, but whenever it may matter.

Facts: Chromium's `ShouldComputeEffectiveConnectionType` (net/nqe/network_quality_estimator.cc).
"""

from __future__ import annotations

from dataclasses import dataclass

from ..profile.moments import Ns
from .network import EffectiveType

INTERVAL_NS = 10_000_000_000
#: This many times as many observations as at the last computation.
GROWTH = 1.5
#: New observations, for when full buffers grow no more.
NEW_OBSERVATIONS = 50


@dataclass(frozen=True, slots=True)
class BufferSizes:
    """How many observations there are: HTTP and transport round trips together, throughputs."""

    rtt: int = 0
    downstream: int = 0
    upstream: int = 0


class Recomputation:
    """Remembers the last computation."""

    def __init__(self) -> None:
        self._at: Ns | None = None
        self._sizes = BufferSizes()
        self._new_observations = 0

    def observed(self) -> None:
        """Count one new observation."""
        self._new_observations += 1

    def due(self, now: Ns, effective_type: EffectiveType, sizes: BufferSizes) -> bool:
        """Whether the estimates of now are likely to differ from those of then."""
        then = self._sizes
        return (
            self._at is None
            or now - self._at >= INTERVAL_NS
            or effective_type is EffectiveType.UNKNOWN
            or sizes.rtt > then.rtt * GROWTH
            or sizes.downstream > then.downstream * GROWTH
            or sizes.upstream > then.upstream * GROWTH
            or self._new_observations >= NEW_OBSERVATIONS
        )

    def done(self, now: Ns, sizes: BufferSizes) -> None:
        """Remember a computation."""
        self._at = now
        self._sizes = sizes
        self._new_observations = 0
