"""From legs to observations: whose count, under which rule, and in which order."""

from __future__ import annotations

from math import ceil
from typing import Any

import pytest

from tests.quality.support import PUBLIC, Clock, make_leg, mark_ms, sample
from trilane.transport.config import HttpVersion, QualityOptions
from trilane.transport.profile.moments import Ns
from trilane.transport.profile.recorder import Leg
from trilane.transport.quality.estimate import EstimateSource, Evidence, QualityEstimate
from trilane.transport.quality.estimator import QualityEstimator
from trilane.transport.quality.feed import QualityFeed
from trilane.transport.quality.flight import Flight
from trilane.transport.quality.network import EffectiveType, Network, NetworkType


class Recording(QualityEstimator):
    """Keeps a list of the rates it is given."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.upstream: list[int] = []
        self.downstream: list[int] = []

    def add_upstream(self, kbps: int) -> None:
        self.upstream.append(kbps)
        super().add_upstream(kbps)

    def add_downstream(self, kbps: int) -> None:
        self.downstream.append(kbps)
        super().add_downstream(kbps)


class Scene:
    """An estimator and its feed on a network that a test plays."""

    def __init__(self, **options: Any) -> None:
        self.clock = Clock()
        self.estimator = Recording(self.clock)
        self.feed = QualityFeed(self.estimator, QualityOptions(**options), self.clock)
        self._connections = 0

    @property
    def estimate(self) -> QualityEstimate:
        """What is known once everything is computed."""
        self.clock.advance_ms(10_000)
        self.estimator.refresh()
        return self.estimator.estimate

    def begin(
        self,
        *,
        body_bytes: int | None = None,
        peer: str = PUBLIC,
        version: HttpVersion = HttpVersion.HTTP1,
    ) -> Flight:
        """A request with or without a body on a connection of its own begins now."""
        self._connections += 1
        leg = make_leg(self.clock, peer=peer, version=version, connection_id=self._connections)
        leg.body_bytes = body_bytes
        flight = self.feed.begin(
            leg, is_get=body_bytes is None, has_body=body_bytes is not None, expects_continue=False
        )
        assert flight is not None
        return flight

    def carry(self, flight: Flight, upload_ms: float, rtt_ms: float, download_ms: float) -> None:
        """Let time pass as a complete exchange takes it; its server answers at once."""
        start, leg = self.clock.now, flight.leg
        ms = upload_ms + rtt_ms
        mark_ms(leg, start, request_start=0, request_end=upload_ms, request_acked=ms)
        mark_ms(leg, start, response_start=ms, response_head_end=ms, response_end=ms + download_ms)
        leg.upload_complete = True
        leg.body_acked_bytes = leg.body_bytes
        leg.sample = sample(rtt_ms, rtt_ms)
        self.clock.advance_ms(ms + download_ms)

    def upload(self, body_bytes: int = 125_000, **options: Any) -> None:
        """A complete upload at 10 Mbit/s over 40 ms."""
        flight = self.begin(body_bytes=body_bytes, **options)
        self.carry(flight, body_bytes * 8 / 10_000, 40, 0)
        self.feed.end(flight)

    def download(self, byte_count: int = 125_000) -> None:
        """A complete GET at 10 Mbit/s over 40 ms."""
        flight = self.begin()
        flight.leg.response_body_bytes = byte_count
        self.carry(flight, 0, 40, byte_count * 8 / 10_000)
        self.feed.end(flight)


def test_an_upload_tells_of_round_trips_and_of_the_way_up() -> None:
    scene = Scene()

    scene.upload()

    estimate = scene.estimate
    assert estimate.effective_type is EffectiveType.TYPE_4G
    assert estimate.http_rtt_ms == 40
    assert estimate.transport_rtt_ms == 40
    assert estimate.end_to_end_rtt_ms is None
    assert estimate.upstream_kbps == 10_000
    assert estimate.downstream_kbps is None
    assert estimate.upstream_evidence == Evidence(EstimateSource.OBSERVED, 1)


def test_quic_tells_of_the_way_from_end_to_end() -> None:
    scene = Scene()

    scene.upload(version=HttpVersion.HTTP3)

    assert scene.estimate.end_to_end_rtt_ms == 40


def test_a_response_in_pieces_tells_of_the_way_down() -> None:
    scene = Scene()

    scene.download()

    estimate = scene.estimate
    assert estimate.downstream_kbps == 10_000
    assert estimate.upstream_kbps is None


def test_uploads_side_by_side_tell_what_they_carry_together() -> None:
    # 10 Mbit/s shared evenly for 200 ms, then the bigger one has it alone.
    scene = Scene()
    one, other = scene.begin(body_bytes=125_000), scene.begin(body_bytes=250_000)
    start = scene.clock.now
    mark_ms(other.leg, start, request_start=0)
    other.leg.body_acked_bytes = 125_000
    scene.carry(one, 200, 40, 0)
    scene.feed.end(one)
    mark_ms(other.leg, start, request_end=300, request_acked=340, response_start=340)
    other.leg.upload_complete, other.leg.body_acked_bytes = True, 250_000
    other.leg.sample = sample(40, 40)
    scene.clock.advance_ms(100)
    scene.feed.end(other)

    assert scene.estimator.upstream == [10_000, 10_000]


@pytest.mark.parametrize("peer", ["127.0.0.1", "192.168.1.6", "::1", "fe80::1"])
def test_inside_peers_count_only_when_asked_for(peer: str) -> None:
    silent, talkative = Scene(), Scene(include_private=True)

    leg = make_leg(silent.clock, peer=peer)
    assert silent.feed.begin(leg, is_get=True, has_body=False, expects_continue=False) is None
    talkative.upload(peer=peer)

    assert talkative.estimate.http_rtt_ms == 40


def test_a_server_that_thinks_is_not_the_network() -> None:
    scene = Scene()
    for _ in range(6):
        scene.upload()
        scene.clock.advance_ms(1000)

    slow = scene.begin(body_bytes=1000)
    scene.carry(slow, 1, 40, 0)
    mark_ms(slow.leg, scene.clock.now, response_start=4000, response_head_end=4000)
    scene.clock.advance_ms(4000)
    scene.feed.end(slow)

    assert scene.estimate.http_rtt_evidence.samples == 6


def test_one_connection_is_asked_for_its_round_trip_now_and_then() -> None:
    scene = Scene()
    leg = make_leg(scene.clock)
    for _ in range(10):
        flight = scene.feed.begin(leg, is_get=True, has_body=False, expects_continue=False)
        assert flight is not None
        scene.carry(flight, 0, 50, 0)
        scene.feed.end(flight)

    # Ten requests in half a second.
    assert scene.estimate.http_rtt_evidence.samples == 10
    assert scene.estimate.transport_rtt_evidence.samples == 3


def test_a_failed_request_tells_only_of_its_connection() -> None:
    scene = Scene()
    flight = scene.begin(body_bytes=125_000)
    mark_ms(flight.leg, scene.clock.now, request_start=0, request_end=50)
    flight.leg.body_acked_bytes = 60_000
    flight.leg.sample = sample(40)
    scene.clock.advance_ms(60)

    scene.feed.end(flight)

    estimate = scene.estimate
    assert estimate.transport_rtt_ms == 40
    assert estimate.http_rtt_ms is None
    assert estimate.upstream_kbps is None


def test_what_began_on_another_network_is_left_out() -> None:
    scene = Scene()
    flight = scene.begin(body_bytes=125_000)
    scene.clock.advance_ms(1)

    scene.feed.change_network(Network(NetworkType.WIFI, "office"))
    scene.carry(flight, 100, 40, 0)
    scene.feed.end(flight)
    assert scene.estimate == QualityEstimate()

    scene.upload()
    assert scene.estimate.http_rtt_ms == 40


def test_an_upload_that_crosses_networks_adds_nothing_to_others() -> None:
    scene = Scene()
    crossing = scene.begin(body_bytes=1_250_000)
    mark_ms(crossing.leg, scene.clock.now, request_start=0)
    scene.clock.advance_ms(1)
    scene.feed.change_network(Network(NetworkType.WIFI, "office"))

    crossing.leg.body_acked_bytes = 1_000_000
    scene.upload()

    assert scene.estimator.upstream == [10_000]


def test_what_overlaps_somebody_in_flight_is_not_forgotten() -> None:
    scene = Scene()
    long = scene.begin(body_bytes=250_000)
    start = scene.clock.now
    scene.clock.advance_ms(1)
    scene.upload()
    scene.begin(body_bytes=1)
    scene.upload()
    mark_ms(long.leg, start, request_start=0, request_end=240, request_acked=290)
    mark_ms(long.leg, start, response_start=290, response_head_end=290, response_end=290)
    long.leg.upload_complete, long.leg.body_acked_bytes = True, 250_000
    long.leg.sample = sample(40, 40)

    scene.feed.end(long)

    # Both short ones fell into the long one, though the first was over before others began.
    assert scene.estimator.upstream[-1] == ceil(500_000 * 8 / 250)


# --- Chromium's rule ----------------------------------------------------------------------------


def five_downloads(scene: Scene, byte_count: int) -> None:
    """Five GETs side by side, which receive so much each."""
    start: Ns = scene.clock.now
    flights = [scene.begin() for _ in range(5)]
    for flight in flights:
        scene.clock.now = start
        scene.carry(flight, 0, 40, 60)
        flight.leg.response_body_bytes = byte_count
    for flight in flights:
        scene.feed.end(flight)


def test_chromiums_rule_measures_five_downloads_together() -> None:
    scene = Scene(throughput_rule="chromium")

    five_downloads(scene, 25_000)

    estimate = scene.estimate
    assert estimate.downstream_kbps == 10_000
    assert estimate.downstream_evidence == Evidence(EstimateSource.OBSERVED, 1)


def test_chromiums_rule_has_nothing_to_say_of_one_download_or_any_upload() -> None:
    scene = Scene(throughput_rule="chromium")

    scene.download()
    scene.upload()

    estimate = scene.estimate
    assert estimate.downstream_kbps is None
    # The way up is ours.
    assert estimate.upstream_kbps == 10_000


def test_under_chromiums_rule_an_inside_peer_disturbs() -> None:
    scene = Scene(throughput_rule="chromium")
    inside = scene.begin(peer="127.0.0.1")

    five_downloads(scene, 25_000)
    scene.feed.end(inside)
    assert scene.estimate.downstream_kbps is None

    five_downloads(scene, 25_000)
    assert scene.estimate.downstream_kbps == 10_000


def test_under_chromiums_rule_an_inside_peer_tells_nothing() -> None:
    scene = Scene(throughput_rule="chromium")

    scene.upload(peer="127.0.0.1")

    assert scene.estimate == QualityEstimate()


def test_under_chromiums_rule_everything_received_counts() -> None:
    scene = Scene(throughput_rule="chromium")
    upload = scene.begin(body_bytes=1000)
    upload.leg.response_body_bytes = 125_000

    five_downloads(scene, 25_000)
    flights = [scene.begin() for _ in range(5)]
    upload.leg.response_body_bytes += 125_000
    scene.clock.advance_ms(100)
    scene.feed.end(upload)
    scene.feed.end(flights[0])

    assert scene.estimator.downstream == [10_000, 10_000]


def test_the_relaxed_rule_measures_no_windows() -> None:
    scene = Scene()

    five_downloads(scene, 1000)

    assert scene.estimate.downstream_kbps is None


def test_a_leg_without_a_connection_counts_for_nothing() -> None:
    leg = Leg("https://example.com/")

    assert Scene().feed.begin(leg, is_get=True, has_body=False, expects_continue=False) is None
