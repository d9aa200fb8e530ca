"""Two machines over a virtual network that loses and duplicates: the body arrives once."""

from __future__ import annotations

import random
from collections import deque

import pytest
from aioquic.quic.stream import QuicStream
from aioquic.tls import Epoch

from tests.http3.conftest import MakePair
from tests.http3.pair import Pair, Upload
from trilane.transport.net.memory_datagram import LinkConditions
from trilane.transport.protocols import aioquic_private, http3
from trilane.transport.protocols.events import BodyAcked, HeadReceived, ResponseEnded
from trilane.transport.protocols.http3_buffer import SEND_HIGH_BYTES

ROUGH = LinkConditions(delay_s=0.010, jitter_s=0.004, loss=0.03, duplication=0.02)


def random_body(length: int, seed: int) -> bytes:
    return random.Random(seed).randbytes(length)


def upload(pair: Pair, body: bytes, *, known_length: bool = True) -> Upload:
    sending = Upload(pair, body, known_length=known_length)
    pair.each_step = sending.feed
    pair.run(lambda: bool(pair.of_kind(ResponseEnded)))
    return sending


@pytest.mark.parametrize("seed", range(24))
def test_the_body_arrives_exactly_once_whatever_the_link_does(
    make_pair: MakePair, seed: int
) -> None:
    pair = make_pair(conditions=ROUGH, seed=seed)
    body = random_body(150_000 + seed, seed)
    sending = upload(pair, body, known_length=seed % 2 == 0)

    request = pair.server.requests[sending.stream_id]
    assert bytes(request.body) == body
    assert request.ended
    assert pair.link.counters.lost > 0
    assert [event.head.status for event in pair.of_kind(HeadReceived)] == [200]


@pytest.mark.parametrize("known_length", [True, False])
@pytest.mark.parametrize("length", [0, 1, 63, 64, 16_383, 16_384, 70_000])
def test_bodies_of_any_length(make_pair: MakePair, length: int, known_length: bool) -> None:
    pair = make_pair()
    body = random_body(length, length)
    sending = upload(pair, body, known_length=known_length)

    request = pair.server.requests[sending.stream_id]
    assert bytes(request.body) == body
    announced = dict(request.headers).get(b"content-length")
    assert announced == (str(length).encode() if known_length else None)


def test_a_body_of_known_length_is_one_data_frame(make_pair: MakePair) -> None:
    pair = make_pair()
    sending = upload(pair, b"x" * 1_000_000)
    totals = pair.machine.stream_totals(sending.stream_id)

    # HEADERS takes less than 100 bytes, the one DATA frame header 5.
    assert 1_000_005 < totals.sent_bytes < 1_000_105


def test_what_is_buffered_stays_bounded(make_pair: MakePair) -> None:
    pair = make_pair(conditions=LinkConditions(delay_s=0.1))
    body = random_body(3 * SEND_HIGH_BYTES, 1)
    sending = Upload(pair, body)
    most = 0

    def feed() -> None:
        nonlocal most
        sending.feed()
        sender = pair.machine._streams[sending.stream_id].sender
        most = max(most, sender.buffered_bytes)

    pair.each_step = feed
    pair.run(lambda: bool(pair.of_kind(ResponseEnded)), max_steps=60_000)

    assert bytes(pair.server.requests[sending.stream_id].body) == body
    assert SEND_HIGH_BYTES - 65_536 < most <= SEND_HIGH_BYTES + 200


def test_acknowledged_offsets_grow_to_the_end(make_pair: MakePair) -> None:
    pair = make_pair(conditions=ROUGH, seed=3)
    sending = upload(pair, b"y" * 100_000)
    pair.run(lambda: pair.machine.acked_body(sending.stream_id)[1])

    acked = pair.of_kind(BodyAcked)
    offsets = [event.offset for event in acked]
    assert offsets == sorted(offsets)
    assert acked[-1].finished
    assert pair.machine.acked_body(sending.stream_id) == (100_000, True)


def test_progress_says_when_the_end_was_put_into_a_datagram(make_pair: MakePair) -> None:
    pair = make_pair()
    sending = Upload(pair, b"z" * 200_000)
    pair.each_step = sending.feed
    seen = []

    def ended() -> bool:
        seen.extend(pair.machine.take_sent())
        return bool(pair.of_kind(ResponseEnded))

    pair.run(ended)
    assert [sent.body_bytes for sent in seen] == sorted(sent.body_bytes for sent in seen)
    assert [sent.end for sent in seen].count(True) == 1
    assert (seen[-1].body_bytes, seen[-1].end) == (200_000, True)
    # Bounded by congestion control, it cannot have gone out at once.
    assert len(seen) > 3


def test_many_uploads_share_a_connection(make_pair: MakePair) -> None:
    pair = make_pair(conditions=LinkConditions(loss=0.01), seed=5)
    bodies = {n: random_body(20_000 + n, n) for n in range(30)}
    uploads = {n: Upload(pair, body) for n, body in bodies.items()}

    def feed() -> None:
        for sending in uploads.values():
            sending.feed()

    pair.each_step = feed
    pair.run(lambda: len(pair.of_kind(ResponseEnded)) == len(bodies))
    for n, sending in uploads.items():
        assert bytes(pair.server.requests[sending.stream_id].body) == bodies[n]


def test_keys_are_updated_on_the_way(make_pair: MakePair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http3, "KEY_UPDATE_PACKETS", 50)
    pair = make_pair()
    body = random_body(400_000, 1)
    sending = Upload(pair, body)
    phases: list[int] = []

    def feed() -> None:
        sending.feed()
        phase = pair.server.quic._cryptos[Epoch.ONE_RTT].recv.key_phase
        if phases[-1:] != [phase]:
            phases.append(phase)

    pair.each_step = feed
    pair.run(lambda: bool(pair.of_kind(ResponseEnded)))
    assert bytes(pair.server.requests[sending.stream_id].body) == body
    assert len(phases) >= 4


def test_requests_do_not_wait_behind_streams_that_are_over() -> None:
    # aioquic keeps a stream that is over until it sends next. A turn that was full of them sent
    # nothing, which passed for a full window, and the requests behind waited for the next PING.
    over = [QuicStream(stream_id) for stream_id in range(0, 80, 4)]
    for stream in over:
        stream.sender.is_finished = stream.receiver.is_finished = True
    wanting = QuicStream(80)
    wanting.sender.write(b"head")

    assert wanting in aioquic_private._next_in_turn(deque([*over, wanting]), [])
