"""Observations, and the buffers that turn them into a weighted median.

Facts: Chromium's `net/nqe/observation_buffer.cc` and `network_quality_observation.cc`.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Collection
from dataclasses import dataclass
from enum import Enum, auto

from ..profile.moments import Ns

#: Observations a buffer keeps; the oldest makes room.
BUFFER_SIZE = 300
HALF_LIFE_S = 60
#: Weight that an observation loses per level of difference in signal strength.
SIGNAL_LEVEL_FACTOR = 0.8
_NS_PER_S = 1_000_000_000


class Figure(Enum):
    """What is estimated; each has a buffer of its own."""

    HTTP_RTT = auto()
    TRANSPORT_RTT = auto()
    END_TO_END_RTT = auto()
    DOWNSTREAM_KBPS = auto()
    UPSTREAM_KBPS = auto()


class Source(Enum):
    """How an observation was made."""

    HTTP = auto()
    """A request without a body: request start to the end of the response head. Throughput too."""
    HTTP_UPLOAD = auto()
    """A request with a body: its last byte to the first byte of the response."""
    TCP = auto()
    """The kernel's smoothed round trip (TCP_INFO)."""
    QUIC = auto()
    """QUIC's smoothed round trip; nothing on the way answers for the peer."""
    HTTP_CACHED = auto()
    """What was known of this network when the machine left it."""
    TRANSPORT_CACHED = auto()
    HTTP_DEFAULT = auto()
    """What is supposed of this type of network (`PLATFORM_DEFAULTS`)."""
    TRANSPORT_DEFAULT = auto()


CACHED_SOURCES = frozenset({Source.HTTP_CACHED, Source.TRANSPORT_CACHED})
DEFAULT_SOURCES = frozenset({Source.HTTP_DEFAULT, Source.TRANSPORT_DEFAULT})

#: The round trips that each source tells of.
RTT_FIGURES = {
    Source.HTTP: (Figure.HTTP_RTT,),
    Source.HTTP_UPLOAD: (Figure.HTTP_RTT,),
    Source.HTTP_CACHED: (Figure.HTTP_RTT,),
    Source.HTTP_DEFAULT: (Figure.HTTP_RTT,),
    Source.TCP: (Figure.TRANSPORT_RTT,),
    Source.TRANSPORT_CACHED: (Figure.TRANSPORT_RTT,),
    Source.TRANSPORT_DEFAULT: (Figure.TRANSPORT_RTT,),
    Source.QUIC: (Figure.TRANSPORT_RTT, Figure.END_TO_END_RTT),
}


@dataclass(frozen=True, slots=True)
class Observation:
    """One measured value: milliseconds or kbit/s."""

    value: float
    at: Ns
    source: Source
    signal_level: int | None = None
    """Strength of the radio signal when it was made, 0 to 4."""


class ObservationBuffer:
    """The newest observations of one figure, weighted by their age when they are asked."""

    def __init__(
        self, half_life_s: float = HALF_LIFE_S, signal_level_factor: float = SIGNAL_LEVEL_FACTOR
    ) -> None:
        self._per_second = 0.5 ** (1 / half_life_s)
        self._per_level = signal_level_factor
        self._observations: deque[Observation] = deque(maxlen=BUFFER_SIZE)

    def __len__(self) -> int:
        return len(self._observations)

    @property
    def sources(self) -> set[Source]:
        """Where its observations come from."""
        return {observation.source for observation in self._observations}

    def add(self, observation: Observation) -> None:
        """Keep one more.

        Raises:
            ValueError: it is older than the last one.
        """
        if self._observations and observation.at < self._observations[-1].at:
            raise ValueError("observations are added in the order of their time")
        self._observations.append(observation)

    def percentile(
        self, percent: float, now: Ns, *, signal_level: int | None = None, since: Ns | None = None
    ) -> float | None:
        """The smallest value that carries this share of the weight; None without observations.

        Args:
            percent: 0 to 100; 50 is the weighted median.
            now: the time from which ages are counted.
            signal_level: the present one; observations made at another weigh less.
            since: leave out what is older.
        """
        weighted = sorted(
            (observation.value, self._weight(observation, now, signal_level))
            for observation in self._observations
            if since is None or observation.at >= since
        )
        wanted = percent / 100 * sum(weight for _, weight in weighted)
        seen = 0.0
        for value, weight in weighted:
            seen += weight
            if seen >= wanted:
                return value
        # The running sum may miss the whole one by a rounding error.
        return weighted[-1][0] if weighted else None

    def remove(self, sources: Collection[Source]) -> None:
        """Forget what came from these sources."""
        kept = [seen for seen in self._observations if seen.source not in sources]
        self._observations = deque(kept, maxlen=BUFFER_SIZE)

    def clear(self) -> None:
        """Forget everything."""
        self._observations.clear()

    def _weight(self, observation: Observation, now: Ns, signal_level: int | None) -> float:
        weight: float = self._per_second ** ((now - observation.at) // _NS_PER_S)
        if signal_level is not None and observation.signal_level is not None:
            weight *= self._per_level ** abs(signal_level - observation.signal_level)
        # Never 0, so that old observations alone still have a median.
        return min(max(weight, sys.float_info.min), 1.0)
