"""Whose turn it is to send: aioquic is asked only when it may have something beside trains."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.http3.bulk import begin, finish
from tests.http3.conftest import MakePair
from tests.http3.frames import ack, packet
from tests.http3.pair import SERVER, Pair, Upload, upload_head
from trilane.transport.net.memory_datagram import LinkConditions
from trilane.transport.protocols.aioquic_private import next_packet_number, paced_until_s

CONTENT = bytes(3_000_000)
DELAY_S = 0.02


def calm(make_pair: MakePair) -> Pair:
    """In the middle of a long body, with nothing else to send."""
    pair = make_pair(conditions=LinkConditions(delay_s=DELAY_S))
    begin(pair, CONTENT)
    pair.run(lambda: pair.trains > 10 and not pair.machine.has_news)
    return pair


def test_a_long_body_seldom_asks_aioquic(
    make_pair: MakePair, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = make_pair(conditions=LinkConditions(delay_s=DELAY_S))
    asked: list[float] = []
    ask = pair.machine.quic.datagrams_to_send

    def counted(now: float) -> list[tuple[bytes, tuple[str, int]]]:
        asked.append(now)
        return ask(now)

    monkeypatch.setattr(pair.machine.quic, "datagrams_to_send", counted)
    (upload,) = begin(pair, CONTENT)
    pair.run(lambda: upload.ended)
    asked.clear()
    trains, steps = pair.trains, pair.steps
    pair.run(lambda: pair.machine.recovery().bytes_in_flight == 0)

    assert pair.trains > trains
    assert len(asked) < (pair.steps - steps) / 4
    finish(pair, upload)


def new_request(pair: Pair) -> None:
    pair.machine.send_head(upload_head(0), end=True)


def reset(pair: Pair) -> None:
    pair.machine.reset_stream(0)


def keep_alive(pair: Pair) -> None:
    pair.machine.keep_alive()


def move(pair: Pair) -> None:
    pair.machine.moved(pair.now_s)


def close(pair: Pair) -> None:
    pair.machine.close()


def news(pair: Pair) -> None:
    """The server pings."""
    pair.server.quic.send_ping(1)
    for data, _ in pair.server.quic.datagrams_to_send(pair.now_s):
        pair.machine.receive_datagram(data, SERVER, pair.now_s)
    pair.now_s += 1.0
    pair.machine.handle_timer(pair.now_s)


@pytest.mark.parametrize("disturb", [new_request, reset, keep_alive, move, close, news])
def test_whatever_aioquic_has_to_send_is_sent(
    make_pair: MakePair, disturb: Callable[[Pair], None]
) -> None:
    pair = calm(make_pair)
    assert pair.machine.transmit(pair.now_s) == []

    disturb(pair)

    assert pair.machine.has_news
    assert pair.machine.transmit(pair.now_s)


def arrived(pair: Pair, upload: Upload) -> bool:
    request = pair.server.requests.get(upload.stream_id)
    return request is not None and request.ended


def test_what_acknowledgements_show_to_be_lost_is_sent_again(make_pair: MakePair) -> None:
    pair = calm(make_pair)
    small = Upload(pair, b"x" * 1000)
    small.feed()
    assert pair.machine.transmit(pair.now_s), "and it is not delivered"
    lost = next_packet_number(pair.machine.quic) - 1
    now_s = pair.now_s
    while pair.machine.next_train(now_s) is None:
        due_s = paced_until_s(pair.machine.quic)
        assert due_s is not None
        now_s = due_s
    newest = next_packet_number(pair.machine.quic) - 1
    assert pair.machine.transmit(now_s) == []

    datagram = packet(pair, ack(newest, newest - lost - 1))
    pair.machine.receive_datagram(datagram, SERVER, now_s + DELAY_S)

    assert pair.machine.recovery().lost_packets > 0
    assert pair.machine.has_news
    pair.run(lambda: arrived(pair, small))
    assert pair.machine.recovery().pto_count == 0


def test_what_waits_for_room_is_sent_with_the_next_acknowledgement(make_pair: MakePair) -> None:
    pair = calm(make_pair)
    loss = pair.machine.recovery()
    free = loss.congestion_window_bytes - loss.bytes_in_flight
    small = Upload(pair, bytes(free + 20_000))
    feed_long = pair.each_step

    def feed() -> None:
        feed_long()
        small.feed()

    pair.each_step = feed
    pair.step()
    assert pair.machine.has_news, "the window is full"
    began_s = pair.now_s
    pair.run(lambda: arrived(pair, small))
    assert pair.now_s - began_s < 8 * DELAY_S


def test_what_waits_for_the_pacer_is_due_though_trains_have_nothing_to_send(
    make_pair: MakePair,
) -> None:
    pair = calm(make_pair)
    pair.each_step = lambda: None
    pair.run(lambda: pair.machine.recovery().bytes_in_flight == 0)
    small = Upload(pair, bytes(200_000))
    small.feed()
    pair.machine.transmit(pair.now_s)
    due_s = paced_until_s(pair.machine.quic)
    assert due_s is not None, "the pacer holds back the rest"

    assert pair.machine.next_train(due_s) is None

    timer_s = pair.machine.next_timer_s()
    assert timer_s is not None
    assert timer_s <= due_s
