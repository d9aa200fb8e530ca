"""Round trips of QUIC: RFC 9002 §5's arithmetic, and what a machine makes of a link it knows."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.http3.conftest import MakePair
from tests.http3.pair import CLIENT, SERVER
from tests.http3.scenes import get
from trilane.transport.net.memory_datagram import LinkConditions
from trilane.transport.protocols.events import ResponseEnded
from trilane.transport.protocols.quic_round_trips import _DEPARTURES, RoundTrips


def test_the_first_sample_is_taken_as_it_is() -> None:
    trips = RoundTrips()

    trips.sample(0, built_s=1.0, read_s=1.04, ack_delay_s=0.025)

    assert trips.latest_s == trips.smoothed_s == trips.smallest_s == pytest.approx(0.04)
    assert trips.variation_s == pytest.approx(0.02)


def test_there_is_nothing_before_the_first_sample() -> None:
    trips = RoundTrips()

    trips.left(0, 1.0)

    assert trips.smoothed_s is trips.smallest_s is trips.latest_s is trips.variation_s is None


def test_the_moment_of_departure_counts_not_that_of_building() -> None:
    trips = RoundTrips()
    trips.left(0, 1.003)
    trips.left(10, 2.005)

    trips.sample(9, built_s=1.0, read_s=1.0035, ack_delay_s=0)
    assert trips.latest_s == pytest.approx(0.0005)
    trips.sample(12, built_s=2.0, read_s=2.006, ack_delay_s=0)
    assert trips.latest_s == pytest.approx(0.001)


def test_a_batch_whose_departure_nobody_told_counts_from_its_building() -> None:
    trips = RoundTrips()
    trips.left(0, 1.0)

    trips.sample(30, built_s=5.0, read_s=5.02, ack_delay_s=0)

    assert trips.latest_s == pytest.approx(0.02)


def test_a_clock_that_went_backwards_makes_no_sample() -> None:
    trips = RoundTrips()

    trips.sample(0, built_s=1.0, read_s=0.9, ack_delay_s=0)

    assert trips.latest_s is None


def test_the_handshakes_samples_count_until_there_are_better_ones() -> None:
    """A server does its public-key arithmetic before it acknowledges the first packet."""
    trips = RoundTrips()
    trips.sample(0, built_s=0.0, read_s=0.048, ack_delay_s=None)
    trips.sample(1, built_s=0.0, read_s=0.040, ack_delay_s=None)
    assert trips.smoothed_s == pytest.approx(0.047)

    trips.sample(2, built_s=0.0, read_s=0.055, ack_delay_s=0)
    assert trips.smoothed_s == pytest.approx(0.048)
    trips.sample(2, built_s=0.0, read_s=0.043, ack_delay_s=0.002)
    assert trips.smoothed_s == pytest.approx(0.041)
    assert trips.variation_s == pytest.approx(0.0205)
    trips.sample(3, built_s=0.0, read_s=0.049, ack_delay_s=0)
    assert trips.smoothed_s == pytest.approx(0.042)


def test_the_peers_delay_is_taken_off_as_far_as_it_can_be_true() -> None:
    trips = RoundTrips()
    trips.sample(0, built_s=0.0, read_s=0.040, ack_delay_s=0)
    trips.sample(1, built_s=0.0, read_s=0.066, ack_delay_s=0.025)
    assert trips.smoothed_s == pytest.approx(0.040 * 7 / 8 + 0.041 / 8)

    trips.sample(2, built_s=0.0, read_s=0.050, ack_delay_s=0.025)
    assert trips.smoothed_s == pytest.approx((0.040 * 7 / 8 + 0.041 / 8) * 7 / 8 + 0.040 / 8)


samples = st.lists(st.tuples(st.floats(1e-6, 2.0), st.floats(0, 0.025)), min_size=1, max_size=40)


@given(samples)
def test_the_arithmetic_is_that_of_the_rfc(pairs: Sequence[tuple[float, float]]) -> None:
    """Against the pseudocode of RFC 9002 appendix A.7, but for a delay that is too long."""
    trips = RoundTrips()
    smoothed = min_rtt = rttvar = 0.0
    for number, (latest_rtt, ack_delay) in enumerate(pairs):
        trips.sample(number, built_s=0.0, read_s=latest_rtt, ack_delay_s=ack_delay)
        if number == 0:
            min_rtt = smoothed = latest_rtt
            rttvar = latest_rtt / 2
            continue
        min_rtt = min(min_rtt, latest_rtt)
        adjusted_rtt = max(latest_rtt - ack_delay, min_rtt)
        rttvar = 3 / 4 * rttvar + 1 / 4 * abs(smoothed - adjusted_rtt)
        smoothed = 7 / 8 * smoothed + 1 / 8 * adjusted_rtt

    assert trips.smallest_s == pytest.approx(min_rtt)
    assert trips.smoothed_s == pytest.approx(smoothed)
    assert trips.variation_s == pytest.approx(rttvar)


def test_what_was_acknowledged_is_forgotten() -> None:
    trips = RoundTrips()
    for number in range(5000):
        trips.left(number, number + 0.5)
        trips.sample(number, built_s=number, read_s=number + 0.6, ack_delay_s=0)

    assert len(trips._first_packets) == len(trips._left_s) == 1
    assert trips.smallest_s == pytest.approx(0.1)


def test_packets_nobody_acknowledges_take_no_room_for_ever() -> None:
    trips = RoundTrips()
    for number in range(20_000):
        trips.left(number, number + 0.5)

    assert len(trips._left_s) <= _DEPARTURES
    trips.sample(19_000, built_s=19_000, read_s=19_000.6, ack_delay_s=0)
    assert trips.latest_s == pytest.approx(0.1)


def test_the_arrival_counts_not_the_reading() -> None:
    trips = RoundTrips()
    trips.arrived_s = 1.02

    trips.sample(0, built_s=1.0, read_s=1.5, ack_delay_s=0)

    assert trips.latest_s == pytest.approx(0.02)


@pytest.mark.parametrize("delay_s", [0.0002, 0.02])
def test_a_machine_reads_the_links_round_trip(make_pair: MakePair, delay_s: float) -> None:
    """A fraction of a millisecond, too: aioquic's own figure never falls below a whole one."""
    pair = make_pair(conditions=LinkConditions(delay_s=delay_s))
    for number in range(12):
        get(pair)
        pair.run(lambda wanted=number + 1: len(pair.of_kind(ResponseEnded)) == wanted)  # type: ignore[misc]

    figures = pair.machine.recovery()
    assert figures.min_rtt_s == pytest.approx(2 * delay_s, rel=0.05)
    assert figures.smoothed_rtt_s == pytest.approx(2 * delay_s, rel=0.05)


def test_acknowledgements_count_from_their_arrival_not_from_their_reading(
    make_pair: MakePair,
) -> None:
    pair = make_pair(conditions=LinkConditions(delay_s=0.01))
    get(pair)
    arrived_s = pair.now_s + 0.02
    for datagram in pair.machine.transmit(pair.now_s):
        pair.server.receive(datagram.data, CLIENT, pair.now_s + 0.01)
    answers = pair.server.quic.datagrams_to_send(pair.now_s + 0.01)

    batch = [(data, SERVER) for data, _ in answers]
    pair.machine.receive_batch(batch, pair.now_s + 0.5, [arrived_s] * len(batch))

    assert pair.machine.recovery().latest_rtt_s == pytest.approx(0.02)
