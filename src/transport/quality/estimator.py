"""From observations to estimates: buffers, medians, bounds, and the class of the network.

Facts: Chromium's `net/nqe/network_quality_estimator.cc`. Two things are ours: milliseconds keep
their fraction (on a LAN whole ones are all 0), and there is a figure for the way up.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from ..profile.moments import Ns
from .estimate import EstimateSource, Evidence, QualityEstimate
from .known_networks import KnownNetworks
from .network import (
    PLATFORM_DEFAULTS,
    TYPICAL,
    EffectiveType,
    Network,
    NetworkType,
    capped_by_signal,
    capped_kbps,
    effective_type_of,
)
from .observations import (
    CACHED_SOURCES,
    DEFAULT_SOURCES,
    RTT_FIGURES,
    Figure,
    Observation,
    ObservationBuffer,
    Source,
)
from .recomputation import BufferSizes, Recomputation
from .round_trips import RoundTrips, bounded_http_rtt_ms, is_hanging


class QualityEstimator:
    """Takes observations in the order of their time, and says what they amount to."""

    def __init__(
        self,
        clock: Callable[[], Ns],
        *,
        platform_defaults: bool = False,
        network: Network | None = None,
    ) -> None:
        """Begin on a network of which nothing was observed.

        Args:
            clock: nanoseconds that never go back.
            platform_defaults: begin with what is supposed of the network's type, as Chromium does.
            network: the one the machine is on; by default of unknown type.
        """
        self._clock = clock
        self._platform_defaults = platform_defaults
        self._known = KnownNetworks()
        self._buffers = {figure: ObservationBuffer() for figure in Figure}
        self._network = network or Network()
        self._changed_at = clock()
        self._estimate = QualityEstimate()
        self._recomputation = Recomputation()
        self._settle_in()

    @property
    def estimate(self) -> QualityEstimate:
        """The estimates as they were computed last."""
        return self._estimate

    @property
    def changed_at(self) -> Ns:
        """When the machine came to its present network."""
        return self._changed_at

    def is_hanging(self, http_rtt_ms: float) -> bool:
        """Whether an HTTP round trip is too long to be the network's doing."""
        estimate = self._estimate
        estimated = RoundTrips(
            http_ms=estimate.http_rtt_ms,
            transport_ms=estimate.transport_rtt_ms,
            end_to_end_ms=estimate.end_to_end_rtt_ms,
            transport_count=estimate.transport_rtt_evidence.samples,
            end_to_end_count=estimate.end_to_end_rtt_evidence.samples,
        )
        return is_hanging(http_rtt_ms, estimated)

    def add_rtt(self, rtt_ms: float, source: Source) -> None:
        """Take one round trip."""
        self._add(RTT_FIGURES[source], rtt_ms, source)
        self.refresh()

    def add_downstream(self, kbps: int) -> None:
        """Take one rate at which responses came."""
        self._add((Figure.DOWNSTREAM_KBPS,), kbps, Source.HTTP)
        self.refresh()

    def add_upstream(self, kbps: int) -> None:
        """Take one rate at which bodies were acknowledged."""
        self._add((Figure.UPSTREAM_KBPS,), kbps, Source.HTTP_UPLOAD)
        self.refresh()

    def refresh(self) -> None:
        """Compute the estimates anew if that is due."""
        if self._recomputation.due(self._clock(), self._estimate.effective_type, self._sizes()):
            self._compute()

    def change_network(self, network: Network) -> None:
        """Begin anew on another network, with what is remembered of it.

        When only the signal level differs, it is the same network, and observations are kept.
        """
        self._known.remember(self._network, self._estimate)
        same = replace(self._network, signal_level=network.signal_level) == network
        if same and network.signal_level != self._network.signal_level:
            self._network = network
            self._recall()
            self._compute()
        else:
            self._begin_anew(network)

    # --- the network ------------------------------------------------------------------------

    def _begin_anew(self, network: Network) -> None:
        self._network = network
        self._changed_at = self._clock()
        self._estimate = QualityEstimate()
        self._recomputation = Recomputation()
        for buffer in self._buffers.values():
            buffer.clear()
        self._settle_in()

    def _settle_in(self) -> None:
        if not self._recall() and self._platform_defaults:
            self._suppose()
        self._compute()

    def _recall(self) -> bool:
        known = self._known.recall(self._network)
        if known is None or known.http_rtt_ms is None:
            return False
        for buffer in self._buffers.values():
            buffer.remove(DEFAULT_SOURCES)
        self._add((Figure.HTTP_RTT,), known.http_rtt_ms, Source.HTTP_CACHED)
        self._add((Figure.TRANSPORT_RTT,), known.transport_rtt_ms, Source.TRANSPORT_CACHED)
        self._add((Figure.DOWNSTREAM_KBPS,), known.downstream_kbps, Source.HTTP_CACHED)
        self._add((Figure.UPSTREAM_KBPS,), known.upstream_kbps, Source.HTTP_CACHED)
        return True

    def _suppose(self) -> None:
        supposed = PLATFORM_DEFAULTS.get(self._network.type)
        if supposed is not None:
            self._add((Figure.HTTP_RTT,), supposed.http_rtt_ms, Source.HTTP_DEFAULT)
            self._add((Figure.TRANSPORT_RTT,), supposed.transport_rtt_ms, Source.TRANSPORT_DEFAULT)
            self._add((Figure.DOWNSTREAM_KBPS,), supposed.downstream_kbps, Source.HTTP_DEFAULT)

    # --- observations and estimates ---------------------------------------------------------

    def _add(self, figures: tuple[Figure, ...], value: float | None, source: Source) -> None:
        if value is None:
            return
        observation = Observation(value, self._clock(), source, self._network.signal_level)
        if source in CACHED_SOURCES or source in DEFAULT_SOURCES:
            observation = replace(observation, signal_level=None)
        for figure in figures:
            self._buffers[figure].add(observation)
        self._recomputation.observed()

    def _sizes(self) -> BufferSizes:
        buffers = self._buffers
        return BufferSizes(
            rtt=len(buffers[Figure.HTTP_RTT]) + len(buffers[Figure.TRANSPORT_RTT]),
            downstream=len(buffers[Figure.DOWNSTREAM_KBPS]),
            upstream=len(buffers[Figure.UPSTREAM_KBPS]),
        )

    def _compute(self) -> None:
        now = self._clock()
        self._estimate = self._computed(now)
        self._recomputation.done(now, self._sizes())

    def _computed(self, now: Ns) -> QualityEstimate:
        if self._network.type is NetworkType.NONE:
            return QualityEstimate(effective_type=EffectiveType.OFFLINE)
        http_rtt_ms = bounded_http_rtt_ms(self._round_trips(now))
        effective_type = effective_type_of(http_rtt_ms)
        estimate = QualityEstimate(
            effective_type=effective_type,
            http_rtt_ms=http_rtt_ms,
            transport_rtt_ms=self._median(Figure.TRANSPORT_RTT, now),
            end_to_end_rtt_ms=self._median(Figure.END_TO_END_RTT, now),
            downstream_kbps=capped_kbps(
                _whole(self._median(Figure.DOWNSTREAM_KBPS, now)), effective_type
            ),
            upstream_kbps=_whole(self._median(Figure.UPSTREAM_KBPS, now)),
            http_rtt_evidence=self._evidence(Figure.HTTP_RTT),
            transport_rtt_evidence=self._evidence(Figure.TRANSPORT_RTT),
            end_to_end_rtt_evidence=self._evidence(Figure.END_TO_END_RTT),
            downstream_evidence=self._evidence(Figure.DOWNSTREAM_KBPS),
            upstream_evidence=self._evidence(Figure.UPSTREAM_KBPS),
        )
        return _as_the_signal_allows(estimate, self._network)

    def _round_trips(self, now: Ns) -> RoundTrips:
        return RoundTrips(
            http_ms=self._median(Figure.HTTP_RTT, now),
            transport_ms=self._median(Figure.TRANSPORT_RTT, now),
            end_to_end_ms=self._median(Figure.END_TO_END_RTT, now),
            transport_count=len(self._buffers[Figure.TRANSPORT_RTT]),
            end_to_end_count=len(self._buffers[Figure.END_TO_END_RTT]),
        )

    def _median(self, figure: Figure, now: Ns) -> float | None:
        return self._buffers[figure].percentile(50, now, signal_level=self._network.signal_level)

    def _evidence(self, figure: Figure) -> Evidence:
        buffer = self._buffers[figure]
        if not len(buffer):
            return Evidence()
        sources = buffer.sources
        if sources - CACHED_SOURCES - DEFAULT_SOURCES:
            return Evidence(EstimateSource.OBSERVED, len(buffer))
        cached = bool(sources & CACHED_SOURCES)
        return Evidence(EstimateSource.CACHED if cached else EstimateSource.DEFAULT, len(buffer))


def _as_the_signal_allows(estimate: QualityEstimate, network: Network) -> QualityEstimate:
    effective_type = capped_by_signal(estimate.effective_type, network)
    if effective_type is estimate.effective_type:
        return estimate
    typical = TYPICAL[effective_type]
    return replace(
        estimate,
        effective_type=effective_type,
        http_rtt_ms=typical.http_rtt_ms,
        transport_rtt_ms=typical.transport_rtt_ms,
        downstream_kbps=typical.downstream_kbps,
        http_rtt_evidence=Evidence(EstimateSource.TYPICAL, estimate.http_rtt_evidence.samples),
        transport_rtt_evidence=Evidence(
            EstimateSource.TYPICAL, estimate.transport_rtt_evidence.samples
        ),
        downstream_evidence=Evidence(EstimateSource.TYPICAL, estimate.downstream_evidence.samples),
    )


def _whole(kbps: float | None) -> int | None:
    return None if kbps is None else int(kbps)
