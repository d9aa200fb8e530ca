"""The estimator: from observations to a class, when it computes, what it keeps of networks."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.quality.support import Clock
from trilane.transport.quality.estimate import EstimateSource, Evidence, QualityEstimate
from trilane.transport.quality.estimator import QualityEstimator
from trilane.transport.quality.known_networks import MAX_NETWORKS
from trilane.transport.quality.network import (
    PLATFORM_DEFAULTS,
    EffectiveType,
    Network,
    NetworkType,
)
from trilane.transport.quality.observations import BUFFER_SIZE, Source

NOTHING = QualityEstimate()
OFFICE = Network(NetworkType.WIFI, "office")
HOME = Network(NetworkType.WIFI, "home")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def estimator(clock: Clock) -> QualityEstimator:
    return QualityEstimator(clock)


def add_many(estimator: QualityEstimator, count: int, rtt_ms: float, source: Source) -> None:
    for _ in range(count):
        estimator.add_rtt(rtt_ms, source)


def test_nothing_is_known_of_what_was_not_observed(estimator: QualityEstimator) -> None:
    estimator.refresh()

    assert estimator.estimate == NOTHING
    assert NOTHING.http_rtt_evidence == Evidence(EstimateSource.NONE, 0)


def test_each_observation_counts_while_nothing_is_known(estimator: QualityEstimator) -> None:
    estimator.add_rtt(300, Source.HTTP_UPLOAD)

    estimate = estimator.estimate
    assert estimate.effective_type is EffectiveType.TYPE_3G
    assert estimate.http_rtt_ms == 300
    assert estimate.http_rtt_evidence == Evidence(EstimateSource.OBSERVED, 1)
    assert estimate.transport_rtt_ms is None


@pytest.mark.parametrize("source", [Source.TCP, Source.QUIC])
def test_a_transport_round_trip_makes_no_class(estimator: QualityEstimator, source: Source) -> None:
    # QuicObservations, QuicObservationsUsedForTransportRTTComputation
    estimator.add_rtt(10, source)

    estimate = estimator.estimate
    assert estimate.transport_rtt_ms == 10
    assert estimate.end_to_end_rtt_ms == (10 if source is Source.QUIC else None)
    assert estimate.http_rtt_ms is None
    assert estimate.effective_type is EffectiveType.UNKNOWN


def test_five_transport_round_trips_bound_the_http_one(estimator: QualityEstimator) -> None:
    add_many(estimator, 4, 200, Source.TCP)
    estimator.add_rtt(100, Source.HTTP)
    assert estimator.estimate.http_rtt_ms == 100

    add_many(estimator, 4, 200, Source.TCP)

    assert estimator.estimate.http_rtt_ms == 200
    # Computed when the 8 observations were more than half as many again as 5.
    assert estimator.estimate.transport_rtt_evidence == Evidence(EstimateSource.OBSERVED, 7)


def test_a_hanging_server_is_told_from_a_slow_network(estimator: QualityEstimator) -> None:
    assert not estimator.is_hanging(2000)
    add_many(estimator, 5, 100, Source.TCP)
    assert not estimator.is_hanging(2000)

    estimator.add_rtt(110, Source.HTTP)

    # 6 x 110 ms, or 8 x 100 ms.
    assert not estimator.is_hanging(799)
    assert estimator.is_hanging(800)


def test_end_to_end_round_trips_tell_as_well(estimator: QualityEstimator) -> None:
    estimator.add_rtt(10, Source.HTTP)
    add_many(estimator, 6, 1000, Source.QUIC)

    assert not estimator.is_hanging(7999)
    assert estimator.is_hanging(8000)


def test_throughput_is_the_median_and_a_slow_class_caps_it(estimator: QualityEstimator) -> None:
    for kbps in (100, 5000, 9000):
        estimator.add_downstream(kbps)
        estimator.add_upstream(10 * kbps)
    assert (estimator.estimate.downstream_kbps, estimator.estimate.upstream_kbps) == (5000, 50_000)

    estimator.add_rtt(500, Source.HTTP)

    # A cap for the way up is not Chromium's to give.
    assert (estimator.estimate.downstream_kbps, estimator.estimate.upstream_kbps) == (1400, 50_000)
    assert estimator.estimate.downstream_evidence == Evidence(EstimateSource.OBSERVED, 3)
    assert estimator.estimate.upstream_evidence == Evidence(EstimateSource.OBSERVED, 3)


# --- when it computes ---------------------------------------------------------------------------


def settled(clock: Clock, count: int) -> QualityEstimator:
    """Has computed an estimate of 100 ms from so many observations, just now."""
    estimator = QualityEstimator(clock)
    add_many(estimator, count, 100, Source.HTTP)
    clock.advance_ms(10_000)
    estimator.refresh()
    assert estimator.estimate.http_rtt_evidence.samples == count
    return estimator


def test_half_as_many_observations_more_are_a_reason(clock: Clock) -> None:
    # AdaptiveRecomputationEffectiveConnectionType
    estimator = settled(clock, 10)

    add_many(estimator, 5, 3000, Source.HTTP)
    assert estimator.estimate.http_rtt_evidence.samples == 10

    estimator.add_rtt(3000, Source.TCP)
    assert estimator.estimate.http_rtt_evidence.samples == 15


def test_ten_seconds_are_a_reason(clock: Clock) -> None:
    estimator = settled(clock, 10)
    estimator.add_rtt(3000, Source.HTTP)

    clock.advance_ms(9_999)
    estimator.refresh()
    assert estimator.estimate.http_rtt_evidence.samples == 10
    clock.advance_ms(1)
    estimator.refresh()
    assert estimator.estimate.http_rtt_evidence.samples == 11


def test_an_unknown_class_is_a_reason(estimator: QualityEstimator) -> None:
    # UnknownEffectiveConnectionType
    for count in range(1, 20):
        estimator.add_rtt(50, Source.TCP)
        assert estimator.estimate.transport_rtt_evidence.samples == count


def test_a_throughput_more_is_a_reason_of_its_own(clock: Clock) -> None:
    estimator = settled(clock, 10)

    estimator.add_downstream(1000)
    assert estimator.estimate.downstream_kbps == 1000
    estimator.add_upstream(2000)
    assert estimator.estimate.upstream_kbps == 2000


def test_fifty_observations_are_a_reason_when_the_buffer_is_full(clock: Clock) -> None:
    # MaybeComputeECTAfterNSamples
    estimator = QualityEstimator(clock)
    add_many(estimator, BUFFER_SIZE, 1000, Source.HTTP)
    assert estimator.estimate.http_rtt_ms == 1000
    clock.advance_ms(3_600_000)
    estimator.refresh()

    add_many(estimator, 49, 3000, Source.HTTP)
    assert estimator.estimate.http_rtt_ms == 1000
    add_many(estimator, 1, 3000, Source.HTTP)

    # An hour weighs more than numbers.
    assert estimator.estimate.http_rtt_ms == 3000


@given(st.lists(st.floats(0.01, 5000), min_size=1, max_size=60), st.sampled_from(Source))
def test_whatever_is_observed_makes_an_estimate_within_it(
    values: list[float], source: Source
) -> None:
    clock = Clock()
    estimator = QualityEstimator(clock)
    for value in values:
        clock.advance_ms(300)
        estimator.add_rtt(value, source)
    clock.advance_ms(10_000)
    estimator.refresh()

    estimate = estimator.estimate
    found = [
        ms
        for ms in (estimate.http_rtt_ms, estimate.transport_rtt_ms, estimate.end_to_end_rtt_ms)
        if ms is not None
    ]
    assert found
    assert all(min(values) <= ms <= max(values) for ms in found)


# --- networks ---------------------------------------------------------------------------------


@pytest.mark.parametrize("network_type", PLATFORM_DEFAULTS)
def test_defaults_are_there_when_asked_for(clock: Clock, network_type: NetworkType) -> None:
    estimator = QualityEstimator(clock, platform_defaults=True, network=Network(network_type))
    supposed = PLATFORM_DEFAULTS[network_type]

    estimate = estimator.estimate
    if network_type is NetworkType.NONE:
        assert estimate == QualityEstimate(effective_type=EffectiveType.OFFLINE)
        return
    assert estimate.http_rtt_ms == supposed.http_rtt_ms
    assert estimate.transport_rtt_ms == supposed.transport_rtt_ms
    assert estimate.downstream_kbps == supposed.downstream_kbps
    assert estimate.upstream_kbps is None
    assert estimate.http_rtt_evidence == Evidence(EstimateSource.DEFAULT, 1)
    assert estimate.transport_rtt_evidence == Evidence(EstimateSource.DEFAULT, 1)
    assert estimate.downstream_evidence == Evidence(EstimateSource.DEFAULT, 1)


def test_an_observation_beside_a_default_is_an_observation(clock: Clock) -> None:
    estimator = QualityEstimator(clock, platform_defaults=True)

    clock.advance_ms(10_000)
    estimator.add_rtt(300, Source.HTTP)

    assert estimator.estimate.http_rtt_evidence == Evidence(EstimateSource.OBSERVED, 2)
    assert estimator.estimate.transport_rtt_evidence == Evidence(EstimateSource.DEFAULT, 1)


def test_a_machine_without_a_network_is_offline(estimator: QualityEstimator) -> None:
    # Offline
    estimator.add_rtt(100, Source.HTTP)

    seen = []
    for network_type in (NetworkType.NONE, NetworkType.CELLULAR_3G):
        estimator.change_network(Network(network_type))
        seen.append(estimator.estimate.effective_type)

    assert seen == [EffectiveType.OFFLINE, EffectiveType.UNKNOWN]


def test_a_new_network_begins_with_nothing(clock: Clock, estimator: QualityEstimator) -> None:
    # StoreObservations
    add_many(estimator, 10, 100, Source.HTTP)
    clock.advance_ms(5)

    estimator.change_network(OFFICE)

    assert estimator.estimate == NOTHING
    assert estimator.changed_at == clock.now
    estimator.add_rtt(500, Source.HTTP)
    assert estimator.estimate.http_rtt_ms == 500


def test_a_known_network_begins_with_what_was_known(estimator: QualityEstimator) -> None:
    # Caching
    estimator.change_network(OFFICE)
    estimator.add_rtt(1500, Source.HTTP)
    estimator.add_upstream(777)
    estimator.change_network(HOME)
    assert estimator.estimate == NOTHING

    estimator.change_network(OFFICE)

    estimate = estimator.estimate
    assert estimate.effective_type is EffectiveType.TYPE_2G
    assert estimate.http_rtt_ms == 1500
    assert estimate.upstream_kbps == 777
    # What was not known is what is typical of a 2G network.
    assert estimate.transport_rtt_ms == 1500
    assert estimate.downstream_kbps == 75
    assert estimate.http_rtt_evidence == Evidence(EstimateSource.CACHED, 1)
    add_many(estimator, 2, 100, Source.HTTP)
    assert estimator.estimate.http_rtt_evidence == Evidence(EstimateSource.OBSERVED, 3)


def test_what_was_known_takes_the_place_of_defaults(clock: Clock) -> None:
    # ObservationDiscardedIfCachedEstimateAvailable
    estimator = QualityEstimator(clock, platform_defaults=True, network=OFFICE)
    estimator.add_rtt(1500, Source.HTTP)
    estimator.change_network(HOME)
    assert estimator.estimate.http_rtt_evidence.source is EstimateSource.DEFAULT

    estimator.change_network(OFFICE)

    assert estimator.estimate.http_rtt_evidence == Evidence(EstimateSource.CACHED, 1)


def test_what_was_known_at_a_signal_level_takes_the_place_of_defaults(clock: Clock) -> None:
    strong, weak = replace(OFFICE, signal_level=4), replace(OFFICE, signal_level=3)
    estimator = QualityEstimator(clock, platform_defaults=True, network=strong)
    add_many(estimator, 2, 1500, Source.HTTP)
    estimator.change_network(HOME)
    estimator.change_network(weak)
    assert estimator.estimate.http_rtt_evidence == Evidence(EstimateSource.DEFAULT, 1)

    estimator.change_network(strong)

    assert estimator.estimate.http_rtt_ms == 1500
    assert estimator.estimate.http_rtt_evidence == Evidence(EstimateSource.CACHED, 1)


@pytest.mark.parametrize("network", [Network(), Network(NetworkType.NONE)])
def test_what_cannot_be_told_apart_is_not_remembered(
    clock: Clock, estimator: QualityEstimator, network: Network
) -> None:
    estimator.change_network(network)
    estimator.add_rtt(1500, Source.HTTP)
    estimator.change_network(HOME)

    estimator.change_network(network)

    assert estimator.estimate.http_rtt_ms is None


def test_the_same_network_again_begins_anew(estimator: QualityEstimator) -> None:
    estimator.add_rtt(100, Source.HTTP)

    estimator.change_network(Network())

    assert estimator.estimate == NOTHING


def test_the_network_left_longest_ago_is_forgotten(estimator: QualityEstimator) -> None:
    for number in range(MAX_NETWORKS + 1):
        estimator.change_network(Network(NetworkType.WIFI, str(number)))
        estimator.add_rtt(100, Source.HTTP)
    estimator.change_network(HOME)

    estimator.change_network(Network(NetworkType.WIFI, "1"))
    assert estimator.estimate.http_rtt_ms == 100
    estimator.change_network(Network(NetworkType.WIFI, "0"))
    assert estimator.estimate.http_rtt_ms is None


def test_a_weak_signal_puts_typical_figures_in_place_of_good_ones(clock: Clock) -> None:
    # SignalStrengthBasedCapping
    estimator = QualityEstimator(clock, network=Network(NetworkType.CELLULAR_4G, signal_level=0))
    estimator.add_rtt(20, Source.HTTP)

    estimate = estimator.estimate
    assert estimate.effective_type is EffectiveType.TYPE_2G
    assert (estimate.http_rtt_ms, estimate.transport_rtt_ms) == (1800, 1500)
    assert estimate.downstream_kbps == 75
    assert estimate.http_rtt_evidence == Evidence(EstimateSource.TYPICAL, 1)


def test_a_stronger_signal_is_the_same_network(clock: Clock) -> None:
    weak = Network(NetworkType.WIFI, "office", signal_level=1)
    estimator = QualityEstimator(clock, network=weak)
    began_at = estimator.changed_at
    estimator.add_rtt(20, Source.HTTP)
    weakly = estimator.estimate
    clock.advance_ms(1)

    estimator.change_network(Network(NetworkType.WIFI, "office", signal_level=4))

    assert estimator.changed_at == began_at
    assert weakly.effective_type is EffectiveType.TYPE_3G
    strongly = estimator.estimate
    assert strongly.effective_type is EffectiveType.TYPE_4G
    assert strongly.http_rtt_ms == 20
    assert strongly.http_rtt_evidence == Evidence(EstimateSource.OBSERVED, 1)
