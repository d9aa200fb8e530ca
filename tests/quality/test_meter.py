"""Which clients share an estimator, in which threads, and what the whole process is told."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest

import trilane
from tests.quality.support import PUBLIC, Clock, make_leg, mark_ms, sample
from trilane.transport.call import Call
from trilane.transport.config import QualityOptions
from trilane.transport.message import parse_url
from trilane.transport.quality.network import EffectiveType, Network, NetworkType
from trilane.transport.quality_meter import QualityMeter, network_changed, quality_meter

GET = Call(method="GET", url=parse_url("https://example.com/"))
UNIQUE = QualityOptions(platform_defaults=True, throughput_rule="chromium")
"""Options no other test asks for: what is shared is shared with them all."""


@pytest.fixture(autouse=True)
def back_on_an_unknown_network() -> Iterator[None]:
    yield
    network_changed()


def observe(meter: QualityMeter, rtt_ms: float, clock: Clock, connection_id: int = 1) -> None:
    leg = make_leg(clock, peer=PUBLIC, connection_id=connection_id)
    flight = meter.begin(leg, GET, expects_continue=False)
    assert flight is not None
    mark_ms(leg, clock.now, request_start=0, request_end=0, response_start=rtt_ms)
    mark_ms(leg, clock.now, response_head_end=rtt_ms, response_end=rtt_ms)
    leg.upload_complete = True
    leg.sample = sample(rtt_ms)
    meter.end(flight)


def test_clients_that_ask_for_the_same_share_an_estimator() -> None:
    assert quality_meter(UNIQUE) is quality_meter(replace(UNIQUE))
    assert quality_meter(UNIQUE) is not quality_meter(QualityOptions())


def test_a_client_may_have_its_own() -> None:
    options = QualityOptions(scope="client")

    assert quality_meter(options) is not quality_meter(options)


def test_every_estimator_hears_of_another_network() -> None:
    own, shared = quality_meter(QualityOptions(scope="client")), quality_meter(UNIQUE)

    trilane.network_changed(Network(NetworkType.NONE))
    late = quality_meter(QualityOptions(scope="client"))

    for meter in (own, shared, late):
        assert meter.estimate().effective_type is EffectiveType.OFFLINE
    trilane.network_changed(Network(NetworkType.CELLULAR_2G))
    assert own.estimate().effective_type is EffectiveType.UNKNOWN
    assert shared.estimate().effective_type is EffectiveType.TYPE_2G


def test_threads_may_feed_one_estimator_at_once() -> None:
    clock = Clock()
    meter = QualityMeter(QualityOptions(), clock=clock)
    barrier = threading.Barrier(8)

    def work(number: int) -> None:
        barrier.wait()
        for _ in range(30):
            observe(meter, 100, clock, connection_id=number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    clock.advance_ms(10_000)
    # The next request finds everything computed.
    meter.begin(make_leg(clock), GET, expects_continue=False)

    assert meter.estimate().http_rtt_evidence.samples == 240


def test_a_forked_child_begins_with_estimators_of_its_own() -> None:
    network_changed(Network(NetworkType.NONE))
    parents = quality_meter(UNIQUE)

    child = os.fork()
    if child == 0:
        begins_anew = quality_meter(UNIQUE) is not parents
        offline = quality_meter(UNIQUE).estimate().effective_type is EffectiveType.OFFLINE
        os._exit(0 if begins_anew and not offline else 1)

    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
