"""Acknowledgements of a long body are collected for a moment before they are read."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import anyio
import pytest

from tests.http3.bulk import begin
from tests.http3.conftest import MakePair
from tests.http3.pair import Pair, ServerSide, Upload
from tests.http3.udp_server import serving
from tests.http3.uploads import BytesBody, Dialling, make_exchange
from tests.peers.certificates import Certificates
from trilane.transport.net.memory_datagram import LinkConditions
from trilane.transport.protocols.bulk_train import Plan
from trilane.transport.protocols.events import Event
from trilane.transport.protocols.http3 import Http3Machine
from trilane.transport.protocols.machine import Address

DELAY_S = 0.02
RTT_S = 2 * DELAY_S
LEAST_S, MOST_S = 0.001, 0.004
"""No shorter and no longer a patience is of use."""


def patience_s(pair: Pair) -> float:
    return pair.machine.patience_s(pair.now_s)


def in_full_flight(make_pair: MakePair, size: int = 3_000_000) -> Pair:
    """In the middle of a long body, with nothing else to send."""
    pair = make_pair(conditions=LinkConditions(delay_s=DELAY_S))
    begin(pair, bytes(size))
    pair.run(lambda: pair.machine.recovery().bytes_in_flight > 200_000)
    pair.run(lambda: not pair.machine.has_news)
    return pair


def test_it_is_a_sixteenth_of_a_round_trip(make_pair: MakePair) -> None:
    pair = in_full_flight(make_pair)

    assert patience_s(pair) == pytest.approx(RTT_S / 16, rel=0.2)


def test_there_is_none_with_little_in_flight(make_pair: MakePair) -> None:
    pair = make_pair(conditions=LinkConditions(delay_s=DELAY_S))
    begin(pair, bytes(3_000_000))
    pair.run(lambda: pair.trains > 0 and not pair.machine.has_news)

    assert pair.machine.recovery().bytes_in_flight < 64 * 1200
    assert patience_s(pair) == 0.0


def test_there_is_none_while_another_request_may_be_answered(make_pair: MakePair) -> None:
    pair = in_full_flight(make_pair)
    pair.server.answer = lambda _stream_id: None
    small = Upload(pair, b"x" * 1000)
    small.feed()
    pair.run(lambda: pair.machine.acked_body(small.stream_id)[1] and not pair.machine.has_news)
    assert pair.machine.recovery().bytes_in_flight > 200_000

    assert patience_s(pair) == 0.0


def test_there_is_none_while_aioquic_has_something_to_send(make_pair: MakePair) -> None:
    pair = in_full_flight(make_pair)
    pair.machine.keep_alive()

    assert patience_s(pair) == 0.0


def test_it_ends_before_the_answer_to_all_of_the_body_can_come(make_pair: MakePair) -> None:
    pair = make_pair(conditions=LinkConditions(delay_s=DELAY_S))
    (upload,) = begin(pair, bytes(1_000_000))
    machine, stream_id, sent_s = pair.machine, upload.stream_id, 0.0

    def sent_bytes() -> int:
        return machine.body_within(stream_id, machine.stream_totals(stream_id).sent_bytes)

    while sent_bytes() < len(upload.body):
        sent_s = pair.now_s
        pair.step()
    pair.run(lambda: not machine.has_news)
    smallest_s = machine.recovery().min_rtt_s
    assert smallest_s is not None
    assert pair.now_s < sent_s + smallest_s

    assert machine.patience_s(sent_s + smallest_s / 2) > LEAST_S
    assert 0 < machine.patience_s(sent_s + smallest_s - LEAST_S / 2) < LEAST_S
    assert machine.patience_s(sent_s + smallest_s) == 0.0


def test_it_is_not_prolonged_by_what_is_sent_again(make_pair: MakePair) -> None:
    # What was thought to be lost may have arrived, and with it all of the body.
    pair = in_full_flight(make_pair)
    (stream,) = pair.machine._bulk._streams.values()
    first_s = stream.sent_s
    again = Plan(stream.stream_id, 0, 1000, fin=False, share=1000)

    stream.sent(pair.machine.quic, again, first_s + 1.0)

    assert stream.sent_s == first_s


async def test_looks_at_the_socket_are_that_far_apart(
    certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[tuple[float, float]] = []
    receive = Http3Machine.receive_batch

    def noted(
        self: Http3Machine,
        datagrams: Sequence[tuple[bytes, Address]],
        now_s: float,
        arrived_s: Sequence[float] = (),
    ) -> list[Event]:
        events = receive(self, datagrams, now_s, arrived_s)
        looks.append((now_s, self.patience_s(now_s)))
        return events

    monkeypatch.setattr(Http3Machine, "receive_batch", noted)
    async with serving(lambda: ServerSide(certificates.server)) as server:
        server.late_s = RTT_S
        async with Dialling(certificates).connection(server.url()) as connection:
            exchange = make_exchange(server.url(), BytesBody(bytes(1_500_000)))
            exchange.recorder.use_connection(connection.facts, reused=False)
            with anyio.fail_after(30):
                response = await connection.exchange(exchange)

    assert response.head.status == 200
    gaps = [
        (now_s - before_s, min(patient_s, MOST_S))
        for (before_s, patient_s), (now_s, _) in pairwise(looks)
        if patient_s >= LEAST_S
    ]
    assert len(gaps) > 10
    # But for one who waited at the socket already when the other looked.
    kept = [gap_s for gap_s, patient_s in gaps if gap_s >= patient_s]
    assert len(kept) > 0.8 * len(gaps)
