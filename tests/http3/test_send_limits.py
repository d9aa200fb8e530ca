"""What an upload over QUIC waited for: the clock that adds it up, and a machine's own account."""

from __future__ import annotations

import pytest

from tests.http3.conftest import MakePair
from tests.http3.pair import Pair, Upload, upload_head
from tests.http3.scenes import begin_upload, saw
from trilane.transport.net.memory_datagram import LinkConditions
from trilane.transport.protocols.events import BodyAcked, ResponseEnded
from trilane.transport.protocols.send_limits import LimitClock, LimitTimes, SendLimit

RTT_S = 0.1
LONG_WAY = LinkConditions(delay_s=RTT_S / 2)


def test_a_clock_adds_up_what_it_was_told_last() -> None:
    clock = LimitClock()
    clock.turn(10.0, SendLimit.CONGESTION, busy=True)
    clock.turn(11.0, SendLimit.APPLICATION, busy=True)
    clock.turn(11.5, SendLimit.CONGESTION, busy=False)
    clock.turn(12.5, None, busy=False)

    assert clock.times(20.0) == LimitTimes(
        busy_s=1.5, flow_control_s=0.0, congestion_s=2.0, buffer_s=0.0, application_s=0.5
    )


def test_a_limit_that_is_in_force_counts_up_to_now() -> None:
    clock = LimitClock()
    clock.turn(1.0, SendLimit.FLOW_CONTROL, busy=True)

    assert clock.times(2.0).flow_control_s == pytest.approx(1.0)
    assert clock.times(4.0).flow_control_s == pytest.approx(3.0)
    assert clock.times(4.0).busy_s == pytest.approx(3.0)


def test_a_limit_ends_by_itself() -> None:
    clock = LimitClock()
    clock.turn(1.0, SendLimit.CONGESTION, until_s=1.25, busy=True)

    assert clock.times(1.125).congestion_s == pytest.approx(0.125)
    assert clock.times(5.0).congestion_s == pytest.approx(0.25)


def pass_time(pair: Pair, seconds: float) -> None:
    end_s = pair.now_s + seconds
    pair.alarm_s = end_s
    pair.run(lambda: pair.now_s >= end_s)
    pair.alarm_s = None


def limits(pair: Pair) -> LimitTimes:
    return pair.machine.send_limits(pair.now_s)


def test_a_source_that_delivers_nothing_is_what_the_sending_waits_for(
    make_pair: MakePair,
) -> None:
    pair = make_pair(conditions=LONG_WAY)
    stream_id = pair.machine.send_head(upload_head(2000), end=False)
    pair.machine.send_body(stream_id, b"x" * 1000, end=False)
    pass_time(pair, 3.0)

    seen = limits(pair)
    assert seen.application_s == pytest.approx(3.0, abs=0.01)
    assert seen.congestion_s < 0.01
    assert seen.flow_control_s == seen.buffer_s == 0.0

    pair.machine.send_body(stream_id, b"x" * 1000, end=True)
    pair.run(lambda: saw(pair, ResponseEnded))
    pair.machine.forget_stream(stream_id)
    pass_time(pair, 2.0)
    assert limits(pair).application_s == seen.application_s


def test_a_connection_without_requests_waits_for_nothing(make_pair: MakePair) -> None:
    pair = make_pair(conditions=LONG_WAY)
    pass_time(pair, 0.5)
    before = limits(pair)
    pass_time(pair, 5.0)

    assert limits(pair) == before
    assert before.application_s == 0.0


def test_a_small_window_is_what_the_sending_waits_for(make_pair: MakePair) -> None:
    pair = make_pair(conditions=LONG_WAY)
    began_s = pair.now_s
    begin_upload(pair, b"b" * 200_000)
    pair.run(lambda: any(event.finished for event in pair.of_kind(BodyAcked)))

    seen, duration_s = limits(pair), pair.now_s - began_s
    assert duration_s > 3 * RTT_S
    assert seen.congestion_s > 0.5 * duration_s
    assert seen.flow_control_s == 0.0
    assert seen.application_s < 0.01
    assert seen.busy_s == pytest.approx(duration_s, rel=0.5)
    assert seen.congestion_s + seen.buffer_s <= duration_s


@pytest.mark.parametrize("whose", ["stream", "connection"])
def test_a_peer_that_gives_no_credit_is_what_the_sending_waits_for(
    make_pair: MakePair, whose: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = make_pair(conditions=LONG_WAY)
    quic = pair.machine.quic
    if whose == "connection":
        monkeypatch.setattr(quic, "_remote_max_data", 50_000)
        monkeypatch.setattr(pair.server.quic, "_write_connection_limits", lambda **_: None)
    else:
        monkeypatch.setattr(pair.server.quic, "_write_stream_limits", lambda **_: None)
    sending = Upload(pair, b"b" * 2_000_000)
    if whose == "stream":
        quic._streams[sending.stream_id].max_stream_data_remote = 50_000
    pair.each_step = sending.feed
    pass_time(pair, 10.0)

    seen = limits(pair)
    assert seen.flow_control_s > 9.0
    assert seen.flow_control_s + seen.congestion_s <= 10.0
    assert seen.buffer_s == seen.application_s == 0.0


def test_a_full_buffer_of_our_own_is_what_the_sending_waits_for(make_pair: MakePair) -> None:
    pair = make_pair(conditions=LONG_WAY)
    quic = pair.machine.quic
    quic._loss._cc.congestion_window = 1 << 30
    quic._remote_max_data = 1 << 30
    sending = Upload(pair, b"b" * 4_000_000)
    quic._streams[sending.stream_id].max_stream_data_remote = 1 << 30
    pair.server.quic._local_max_data.value = 1 << 30
    pair.server.configuration.max_stream_data = 1 << 30
    pair.server.quic._local_max_stream_data_bidi_remote = 1 << 30
    pair.each_step = sending.feed
    began_s = pair.now_s
    pair.run(lambda: any(event.finished for event in pair.of_kind(BodyAcked)))

    seen, duration_s = limits(pair), pair.now_s - began_s
    assert seen.buffer_s > 0.4 * duration_s
    assert seen.flow_control_s == 0.0
