"""Long bodies in trains: they arrive once and whole, whatever the network and the peer do."""

from __future__ import annotations

import itertools
import random

import pytest
from aioquic.h3.connection import ErrorCode
from aioquic.quic.logger import QuicLogger
from aioquic.tls import CipherSuite, Epoch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.http3.bulk import BulkUpload, begin, finish
from tests.http3.conftest import MakePair
from tests.http3.pair import Pair, Upload
from trilane.transport.net.memory_datagram import LinkConditions
from trilane.transport.protocols import http3, ipsec_mb
from trilane.transport.protocols.aioquic_private import recovery_figures
from trilane.transport.protocols.aioquic_trains import TrainBooks
from trilane.transport.protocols.aioquic_window import Pacer
from trilane.transport.protocols.events import (
    BodyAcked,
    BodyUnreadable,
    ResponseEnded,
    SendingStopped,
)
from trilane.transport.protocols.train_room import TRUNCATED_NUMBERS

KEY_PHASE_BIT = 0x04
CONTENT = random.Random(1).randbytes(300_000)


@pytest.mark.usefixtures("each_sealer")
def test_a_body_arrives_in_trains(make_pair: MakePair) -> None:
    pair = make_pair()
    (upload,) = begin(pair, CONTENT)

    finish(pair, upload)

    assert pair.trains > 3
    assert max(pair.datagram_sizes) == 1350
    # Far fewer reads than packets: one per train.
    assert upload.file.reads < len(CONTENT) / 1350 / 2


@pytest.mark.parametrize("seed", range(200))
def test_exactly_once_over_a_bad_network(
    make_pair: MakePair, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    if seed % 2:
        # The other half is sealed by libIPSec_MB, where that is installed.
        monkeypatch.setattr(ipsec_mb, "installed", lambda: None)
    conditions = LinkConditions(loss=0.05, jitter_s=0.01, duplication=0.05)
    pair = make_pair(conditions=conditions, seed=seed)
    (upload,) = begin(pair, CONTENT[:40_000])

    finish(pair, upload)

    assert pair.trains > 0


def test_what_is_lost_is_read_again(make_pair: MakePair) -> None:
    pair = make_pair(conditions=LinkConditions(loss=0.1), seed=5)
    (upload,) = begin(pair, CONTENT)

    finish(pair, upload)

    figures = recovery_figures(pair.machine.quic)
    assert figures.lost_packets > 0
    assert figures.retransmitted_bytes >= figures.lost_packets * 100


def test_several_share_the_connection_fairly(make_pair: MakePair) -> None:
    pair = make_pair(conditions=LinkConditions(delay_s=0.02))
    uploads = begin(pair, CONTENT, CONTENT, CONTENT)

    def bodies() -> list[int]:
        requests = pair.server.requests
        return [
            len(requests[one.stream_id].body) if one.stream_id in requests else 0 for one in uploads
        ]

    pair.run(lambda: max(bodies()) > len(CONTENT) / 2)
    assert min(bodies()) > len(CONTENT) / 4
    finish(pair, *uploads)


def test_a_small_request_passes_a_long_body(make_pair: MakePair) -> None:
    pair = make_pair(conditions=LinkConditions(delay_s=0.02))
    (long,) = begin(pair, CONTENT * 4)
    pair.run(lambda: pair.trains > 2)
    small = Upload(pair, b"x" * 1000)
    feed_long = pair.each_step

    def feed() -> None:
        feed_long()
        small.feed()

    pair.each_step = feed
    pair.run(lambda: len(pair.of_kind(ResponseEnded)) == 1)

    assert pair.of_kind(ResponseEnded)[0].stream_id == small.stream_id
    finish(pair, long, small)


def test_body_through_aioquic_beside_one_in_trains(make_pair: MakePair) -> None:
    pair = make_pair(conditions=LinkConditions(loss=0.02), seed=3)
    (bulk,) = begin(pair, CONTENT)
    plain = Upload(pair, CONTENT, known_length=False)
    feed_bulk = pair.each_step

    def feed() -> None:
        feed_bulk()
        plain.feed()

    pair.each_step = feed
    finish(pair, bulk, plain)
    assert pair.trains > 0


@pytest.mark.parametrize("window", [2_000, 20_000])
def test_flow_control_of_the_stream(make_pair: MakePair, window: int) -> None:
    pair = make_pair(
        server={"max_stream_data": window}, conditions=LinkConditions(loss=0.02), seed=2
    )
    (upload,) = begin(pair, CONTENT[:100_000])

    finish(pair, upload)


@pytest.mark.parametrize("window", [8_000, 20_000])
def test_flow_control_of_the_connection(make_pair: MakePair, window: int) -> None:
    pair = make_pair(server={"max_data": window}, conditions=LinkConditions(loss=0.02), seed=2)
    uploads = begin(pair, CONTENT[:100_000], CONTENT[:50_000])

    feed = pair.each_step
    quic = pair.machine.quic
    used: list[int] = []

    def feed_and_look() -> None:
        feed()
        sent = sum(stream.sender.highest_offset for stream in quic._streams.values())
        used.append(sent - quic._remote_max_data)

    pair.each_step = feed_and_look
    finish(pair, *uploads)

    assert max(used) <= 0


def test_key_updates_on_the_way(make_pair: MakePair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http3, "KEY_UPDATE_PACKETS", 40)
    pair = make_pair(conditions=LinkConditions(loss=0.02), seed=4)
    phases: set[int] = set()
    (upload,) = begin(pair, CONTENT)
    feed = pair.each_step
    steps = itertools.count()

    def feed_and_update() -> None:
        feed()
        phases.add(pair.machine.quic._cryptos[Epoch.ONE_RTT].key_phase)
        if next(steps) == 30:
            pair.server.quic.request_key_update()

    pair.each_step = feed_and_update
    finish(pair, upload)

    assert phases == {0, 1}


@pytest.mark.usefixtures("each_sealer")
def test_trains_carry_out_a_key_update(make_pair: MakePair) -> None:
    pair = make_pair()
    begin(pair, CONTENT)
    pair.run(lambda: pair.trains > 2)
    quic = pair.machine.quic
    before = TrainBooks(quic).keys()
    quic.request_key_update()
    after = TrainBooks(quic).keys()

    assert after.first_byte_bits ^ before.first_byte_bits == KEY_PHASE_BIT
    assert after.iv != before.iv


def test_the_congestion_window_is_kept_to(make_pair: MakePair) -> None:
    pair = make_pair(conditions=LinkConditions(delay_s=0.05))
    (upload,) = begin(pair, CONTENT)
    feed = pair.each_step
    spare: list[int] = []

    def feed_and_look() -> None:
        feed()
        figures = pair.machine.recovery()
        spare.append(figures.congestion_window_bytes - figures.bytes_in_flight)

    pair.each_step = feed_and_look
    finish(pair, upload)

    # What cannot be filled by another packet is left.
    assert 0 <= min(spare) < 1350


def test_the_peer_wants_no_more(make_pair: MakePair) -> None:
    pair = make_pair()
    (upload,) = begin(pair, CONTENT * 10)
    pair.run(lambda: pair.trains > 2)
    pair.server.quic.stop_stream(upload.stream_id, ErrorCode.H3_NO_ERROR)
    pair.run(lambda: bool(pair.of_kind(SendingStopped)))
    upload.feed()

    assert pair.machine.send_budget(upload.stream_id) == 0
    assert pair.machine.range_budget(upload.stream_id) == 0
    assert upload.file.users == 1
    pair.run(lambda: pair.machine.recovery().bytes_in_flight == 0)
    assert pair.machine.close_cause is None


def test_giving_up_lets_go_of_the_file(make_pair: MakePair) -> None:
    pair = make_pair()
    (upload,) = begin(pair, CONTENT * 10)
    pair.run(lambda: pair.trains > 2)
    pair.machine.reset_stream(upload.stream_id)
    pair.machine.forget_stream(upload.stream_id)
    pair.each_step = lambda: None
    request = pair.server.requests[upload.stream_id]
    pair.run(lambda: request.reset_code is not None)

    assert upload.file.users == 1
    assert request.reset_code == ErrorCode.H3_REQUEST_CANCELLED
    (other,) = begin(pair, CONTENT)
    finish(pair, other)


def test_the_end_of_the_connection_lets_go_of_the_file(make_pair: MakePair) -> None:
    pair = make_pair()
    (upload,) = begin(pair, CONTENT * 10)
    pair.run(lambda: pair.trains > 2)
    pair.machine.close()
    pair.machine.finish()

    assert upload.file.users == 1
    assert pair.machine.next_train(pair.now_s) is None


def test_a_request_that_is_forgotten_is_still_sent_again(make_pair: MakePair) -> None:
    pair = make_pair(conditions=LinkConditions(loss=0.1), seed=9)
    (upload,) = begin(pair, CONTENT[:100_000])
    pair.run(lambda: upload.ended and pair.machine.body_within(upload.stream_id, 1 << 30) > 0)
    pair.run(lambda: pair.machine.stream_totals(upload.stream_id).sent_bytes > len(upload.body))
    pair.machine.forget_stream(upload.stream_id)
    pair.run(lambda: pair.server.requests[upload.stream_id].ended)

    assert bytes(pair.server.requests[upload.stream_id].body) == upload.body
    pair.run(lambda: pair.machine.recovery().bytes_in_flight == 0)
    assert upload.file.users == 0


@pytest.mark.parametrize("loss", [0.0, 0.1])
def test_unreadable_content_ends_one_request_only(make_pair: MakePair, loss: float) -> None:
    pair = make_pair(conditions=LinkConditions(loss=loss), seed=1)
    broken, sound = begin(pair, CONTENT, CONTENT)
    broken.file.broken_at = 100_000
    pair.run(lambda: bool(pair.of_kind(BodyUnreadable)))
    (event,) = pair.of_kind(BodyUnreadable)

    assert event.stream_id == broken.stream_id
    assert "disk is gone" in str(event.error)
    finish_one = pair.server.requests[broken.stream_id]
    pair.run(lambda: finish_one.reset_code is not None)
    assert CONTENT.startswith(bytes(finish_one.body[1:]))
    finish(pair, sound)


def test_a_probe_after_silence_carries_the_body(make_pair: MakePair) -> None:
    pair = make_pair()
    (upload,) = begin(pair, CONTENT)
    pair.run(lambda: pair.trains > 2)
    alive, pair.link.conditions = pair.link.conditions, LinkConditions(loss=1.0)
    pair.run(lambda: pair.machine.recovery().pto_count >= 2)
    # aioquic's turn: a probe goes beyond the window.
    assert pair.machine.next_train(pair.now_s) is None
    assert pair.machine.transmit(pair.now_s)
    pair.link.conditions = alive

    finish(pair, upload)


def test_chacha20_is_left_to_aioquic(make_pair: MakePair) -> None:
    pair = make_pair(client={"cipher_suites": [CipherSuite.CHACHA20_POLY1305_SHA256]})
    (upload,) = begin(pair, CONTENT)

    finish(pair, upload)

    assert pair.trains == 0


def test_a_qlog_is_left_to_aioquic(make_pair: MakePair) -> None:
    pair = make_pair(client={"quic_logger": QuicLogger()})
    (upload,) = begin(pair, CONTENT[:50_000])

    finish(pair, upload)

    assert pair.trains == 0


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    st.lists(
        st.tuples(st.integers(2, 30_000), st.binary(min_size=1, max_size=3000)),
        min_size=1,
        max_size=3,
    ),
    st.integers(0, 1000),
    st.floats(0, 0.2),
    st.integers(1200, 9000),
)
def test_whatever_the_sizes(
    make_pair: MakePair,
    shapes: list[tuple[int, bytes]],
    seed: int,
    loss: float,
    datagram_bytes: int,
) -> None:
    conditions = LinkConditions(loss=loss, jitter_s=0.005, duplication=0.05)
    pair = make_pair(conditions=conditions, seed=seed, max_datagram_bytes=datagram_bytes)
    uploads = [
        BulkUpload(pair, CONTENT[:size], head=edge, tail=edge[::-1]) for size, edge in shapes
    ]

    def feed() -> None:
        for upload in uploads:
            upload.feed()

    pair.each_step = feed
    finish(pair, *uploads)


def test_acknowledgements_are_reported_as_they_come(make_pair: MakePair) -> None:
    pair = make_pair()
    (upload,) = begin(pair, CONTENT)
    finish(pair, upload)
    offsets = [event.offset for event in pair.of_kind(BodyAcked)]

    assert offsets == sorted(offsets)
    assert len(offsets) > 5
    assert pair.of_kind(BodyAcked)[-1].finished


def test_a_train_does_not_go_past_where_its_numbers_begin_again(make_pair: MakePair) -> None:
    pair = make_pair()
    begin(pair, CONTENT)
    pair.run(lambda: pair.trains > 2)
    quic = pair.machine.quic
    pair.run(lambda: TrainBooks(quic).room(pair.now_s, others_wait=False) > 5)
    quic._packet_number = TRUNCATED_NUMBERS - 5
    quic._spaces[Epoch.ONE_RTT].largest_acked_packet = TRUNCATED_NUMBERS - 9

    assert TrainBooks(quic).room(pair.now_s, others_wait=False) == 5


@pytest.mark.parametrize(
    ("window", "in_flight", "room"),
    [
        # It is of 108 packets, which this path carries in less than 0.4 ms.
        (400, 293, 0),
        (400, 292, 108),
        # So few are in flight that acknowledgements might not make room soon.
        (300, 217, 0),
        (300, 216, 84),
        (10, 0, 10),
    ],
)
def test_on_a_fast_path_a_train_waits_until_it_is_worth_it(
    make_pair: MakePair, window: int, in_flight: int, room: int
) -> None:
    pair = make_pair()
    on_a_fast_path(pair, window, in_flight)

    assert TrainBooks(pair.machine.quic).room(pair.now_s, others_wait=False) == room


def test_what_it_waits_for_is_congestion_control(make_pair: MakePair) -> None:
    pair = make_pair(conditions=LinkConditions(delay_s=0.02))
    begin(pair, CONTENT)
    pair.run(lambda: pair.trains > 2)
    machine, now_s = pair.machine, pair.now_s
    for in_flight, waited_s in ((293, 1.0), (292, 0.0)):
        on_a_fast_path(pair, 400, in_flight)
        before_s = machine.send_limits(now_s).congestion_s
        machine.end_turn(now_s)
        now_s += 1.0
        assert machine.send_limits(now_s).congestion_s - before_s == pytest.approx(waited_s)


def on_a_fast_path(pair: Pair, window: int, in_flight: int) -> None:
    """As if so many packets were let through and in flight, at a microsecond for each."""
    quic = pair.machine.quic
    size, loss = quic._max_datagram_size, quic._loss
    pacer = loss._pacer
    assert isinstance(pacer, Pacer)
    pacer.packet_time, pacer.bucket_max = 1e-6, 1.0
    pacer.bucket_time, pacer.evaluation_time = 1.0, pair.now_s
    loss._cc.congestion_window, loss._cc.bytes_in_flight = window * size, in_flight * size
    assert pacer.worthwhile == 130_000 // size
