"""Windows that are not used do not grow (RFC 9002 §7.8), and bursts are bounded (§7.7)."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from aioquic.quic.congestion.base import create_congestion_control
from aioquic.quic.packet import QuicPacketType
from aioquic.quic.packet_builder import QuicSentPacket
from aioquic.tls import Epoch
from hypothesis import assume, given
from hypothesis import strategies as st

from trilane.transport.protocols.aioquic_private import COUNTING_CONTROLLERS
from trilane.transport.protocols.aioquic_window import Pacer, UsedWindow

SIZE = 1200


def packet(number: int, sent_s: float) -> QuicSentPacket:
    return QuicSentPacket(
        epoch=Epoch.ONE_RTT,
        in_flight=True,
        is_ack_eliciting=True,
        is_crypto_packet=False,
        packet_number=number,
        packet_type=QuicPacketType.ONE_RTT,
        sent_time=sent_s,
        sent_bytes=SIZE,
    )


def controller(name: str) -> UsedWindow:
    made = create_congestion_control(COUNTING_CONTROLLERS[name], max_datagram_size=SIZE)
    assert isinstance(made, UsedWindow)
    return made


def round_trip(window: UsedWindow, count: int, now_s: float) -> None:
    """Send packets, and have them all acknowledged 50 ms later."""
    packets = [packet(number, now_s) for number in range(count)]
    for sent in packets:
        window.on_packet_sent(packet=sent)
    for sent in packets:
        window.on_packet_acked(now=now_s + 0.05, packet=sent)


@pytest.mark.parametrize("name", ["cubic", "reno"])
def test_a_full_window_doubles_in_slow_start(name: str) -> None:
    window = controller(name)
    before = window.congestion_window

    round_trip(window, before // SIZE, 1.0)

    assert window.congestion_window == 2 * before
    assert window.bytes_in_flight == 0


@pytest.mark.parametrize("name", ["cubic", "reno"])
def test_a_window_hardly_used_stays(name: str) -> None:
    window = controller(name)
    before = window.congestion_window

    for turn in range(100):
        round_trip(window, 4, 1.0 + turn)

    assert window.congestion_window == before
    assert window.bytes_in_flight == 0


@pytest.mark.parametrize("name", ["cubic", "reno"])
def test_after_a_loss_only_a_used_window_grows(name: str) -> None:
    window = controller(name)
    window.congestion_window = 100 * SIZE
    lost = packet(0, 1.0)
    window.on_packet_sent(packet=lost)
    for number in range(1, 100):
        window.on_packet_sent(packet=packet(number, 1.0))
    window.on_packets_lost(now=1.1, packets=[lost])
    for number in range(1, 100):
        window.on_packet_acked(now=1.1, packet=packet(number, 1.0))
    reduced = window.congestion_window

    for turn in range(40):
        round_trip(window, reduced // SIZE // 2, 2.0 + turn / 10)
    unused = window.congestion_window
    for turn in range(40):
        round_trip(window, window.congestion_window // SIZE, 7.0 + turn / 10)

    assert unused == reduced
    assert window.congestion_window > reduced


@pytest.mark.parametrize(("name", "kept"), [("cubic", 70), ("reno", 50)])
def test_a_loss_takes_its_share_of_the_window(name: str, kept: int) -> None:
    # However little is in flight once all that one acknowledgement says was taken off.
    window = controller(name)
    window.congestion_window = 100 * SIZE
    for number in range(100):
        window.on_packet_sent(packet=packet(number, 1.0))
    for number in range(10, 100):
        window.on_packet_acked(now=1.1, packet=packet(number, 1.0))
    window.congestion_window = 100 * SIZE
    for _ in range(2):
        # Those of the same round trip are one event.
        window.on_packets_lost(now=1.1, packets=[packet(number, 1.0) for number in range(5)])

    assert window.congestion_window == window.ssthresh == kept * SIZE
    assert window.bytes_in_flight == 0


@pytest.mark.parametrize("name", ["cubic", "reno"])
@pytest.mark.parametrize(("growth_s", "ends"), [(0.002, False), (0.005, True)])
def test_slow_start_ends_when_round_trips_have_grown(
    name: str, growth_s: float, ends: bool
) -> None:
    # RFC 9406 §4.2: by at least 4 ms, however short they are.
    window = controller(name)
    for turn in range(60):
        rtt_s = 0.001 + growth_s * (turn >= 20)
        window.on_rtt_measurement(now=1.0 + turn / 100, rtt=rtt_s)

    assert (window.ssthresh is not None) == ends


@pytest.mark.parametrize("name", ["cubic", "reno"])
@pytest.mark.parametrize("packets", [2, 3, 4])
def test_a_window_with_no_room_for_a_packet_is_used(name: str, packets: int) -> None:
    # A small window grows again although a quarter of it is less than a packet.
    window = controller(name)
    window.on_packets_lost(now=0.5, packets=[])
    window.congestion_window = window.ssthresh = (packets + 1) * SIZE - 1

    for turn in range(40):
        round_trip(window, packets, 1.0 + turn / 10)

    assert window.congestion_window > (packets + 1) * SIZE


def test_time_without_use_is_no_time_to_have_grown_in() -> None:
    # RFC 9438 §5.8: CUBIC's window is a function of time, which must not run meanwhile.
    one, other = controller("cubic"), controller("cubic")
    for window in (one, other):
        window.congestion_window = 100 * SIZE
        window.on_packet_sent(packet=packet(0, 1.0))
        window.on_packets_lost(now=1.1, packets=[packet(0, 1.0)])
        window.congestion_window = 70 * SIZE
        round_trip(window, 70, 2.0)
    for turn in range(19):
        round_trip(other, 3, 3.0 + turn)

    for start, window in ((3.0, one), (22.0, other)):
        for turn in range(10):
            round_trip(window, window.congestion_window // SIZE, start + turn / 10)

    assert other.congestion_window <= one.congestion_window + 2 * SIZE


@dataclass
class Run:
    sent_time: float
    sent_bytes: int


@pytest.mark.parametrize("name", ["cubic", "reno"])
@pytest.mark.parametrize("threshold_packets", [None, 50, 120, 400])
def test_packets_acknowledged_together_count_like_one_by_one(
    name: str, threshold_packets: int | None
) -> None:
    one_by_one, together = controller(name), controller(name)
    for window in (one_by_one, together):
        window.congestion_window = 100 * SIZE
        window.ssthresh = threshold_packets and threshold_packets * SIZE

    for turn in range(3 if threshold_packets is None else 20):
        now_s = 1.0 + turn / 20
        round_trip(one_by_one, one_by_one.congestion_window // SIZE, now_s)
        count = together.congestion_window // SIZE
        for number in range(count):
            together.on_packet_sent(packet=packet(number, now_s))
        for left in range(count, 0, -40):
            run = min(left, 40)
            together.on_packets_acked(now=now_s + 0.05, count=run, sent=Run(now_s, run * SIZE))

        assert together.bytes_in_flight == 0
    assert together.congestion_window == pytest.approx(one_by_one.congestion_window, rel=0.02)


def paced(rate_bytes_per_s: float, rtt_s: float) -> Pacer:
    pacer = Pacer(max_datagram_size=SIZE)
    pacer.update_rate(congestion_window=int(rate_bytes_per_s * rtt_s), smoothed_rtt=rtt_s)
    return pacer


def send_for(pacer: Pacer, duration_s: float) -> tuple[int, int]:
    """Send whenever it is allowed; how many packets in all, and in the largest burst."""
    now, total, largest = 100.0, 0, 0
    end = now + duration_s
    while now < end:
        burst = 0
        while pacer.next_send_time(now) is None:
            pacer.update_after_send(now)
            burst += 1
        total, largest = total + burst, max(largest, burst)
        due = pacer.next_send_time(now)
        assert due is not None
        assert due > now
        now = due + 1e-9
    return total, largest


@given(st.floats(1e4, 2e9), st.floats(0.001, 0.5))
def test_bursts_are_bounded_and_the_rate_is_kept(rate: float, rtt_s: float) -> None:
    pacer = paced(rate, rtt_s)
    packets_per_s = 1.25 * int(rate * rtt_s) / rtt_s / SIZE
    total, largest = send_for(pacer, 2000 / packets_per_s)

    allowed = max(10, min(packets_per_s * 0.002, 195_000 / SIZE))
    assert largest <= allowed + 1
    assert 0.8 * 2000 <= total <= 2000 + 2 * allowed + 2


def test_an_emptied_bucket_waits_until_half_a_burst_may_leave() -> None:
    pacer = paced(10e6, 0.05)
    now = 100.0
    while pacer.next_send_time(now) is None:
        pacer.update_after_send(now)
    soon = now + pacer.bucket_max / 4

    assert pacer.room(soon) == 0
    assert pacer.room(now + pacer.bucket_max) >= 10


@given(st.floats(1e4, 2e9), st.floats(0.001, 0.5), st.floats(0, 1))
def test_after_a_train_it_waits_as_after_the_last_packet(
    rate: float, rtt_s: float, share: float
) -> None:
    # What is left of a packet is not sent for as a train of one.
    pacer = paced(rate, rtt_s)
    now = 100.0
    while pacer.next_send_time(now) is None:
        pacer.update_after_send(now)
    due_s = pacer.next_send_time(now)
    assert due_s is not None
    now = due_s + share * pacer.bucket_max / 2
    room = pacer.room(now)
    assert room >= 4
    pacer.spend(room)
    assert pacer.packet_time is not None
    assume(pacer.bucket_time < 0.98 * pacer.packet_time)

    assert pacer.room(now) == 0
    due_s = pacer.next_train_time(now)
    assert due_s is not None
    assert pacer.room(due_s) >= 4


@given(st.floats(1e4, 2e9), st.floats(0.0005, 0.5))
def test_what_a_train_waits_for_is_next_to_nothing_of_a_long_path(
    rate: float, rtt_s: float
) -> None:
    worthwhile = paced(rate, rtt_s).worthwhile

    assert worthwhile <= 130_000 / SIZE
    # Of the window that is paced, 1.25 times 0.4 ms of its round trip.
    assert worthwhile <= rate * rtt_s / SIZE * 0.0005 / rtt_s + 1


def test_before_the_first_round_trip_a_train_waits_for_nothing() -> None:
    assert Pacer(max_datagram_size=SIZE).worthwhile == 0


def test_nothing_is_paced_before_the_first_round_trip_is_known() -> None:
    pacer = Pacer(max_datagram_size=SIZE)

    assert pacer.next_send_time(1.0) is None
    assert pacer.room(1.0) >= 10
