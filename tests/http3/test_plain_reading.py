"""Packets that acknowledge, raise limits, ping and carry responses: read as aioquic reads them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
from aioquic.quic.connection import QuicConnection
from aioquic.quic.events import QuicEvent, StreamDataReceived
from aioquic.quic.recovery import MAX_ACK_RANGES
from aioquic.tls import Epoch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.http3.bulk import begin
from tests.http3.conftest import MakePair
from tests.http3.frames import (
    ACK,
    FIN,
    MAX_DATA,
    MAX_STREAM_DATA,
    MAX_STREAMS,
    PING,
    STREAM,
    ack,
    frame,
    kind,
    packet,
    stream,
)
from tests.http3.pair import SERVER, Pair
from trilane.transport.protocols.aioquic_receiving import PLAIN_ACK_DELAY_S, PlainReader
from trilane.transport.protocols.aioquic_recovery import AcksTogether
from trilane.transport.protocols.aioquic_trains import separate

REQUEST, UNKNOWN_REQUEST, CONTROL, SERVER_CONTROL = 0, 400, 2, 3
NEWEST = 40
"""Packets up to this one were sent."""

plain_frames = st.one_of(
    st.builds(ack, st.integers(NEWEST - 4, NEWEST), st.integers(0, 3)),
    st.builds(ack, st.just(NEWEST), st.integers(0, 2), st.integers(0, 2), st.integers(0, 2)),
    st.builds(frame, st.just(MAX_DATA), st.integers(0, 2**40)),
    st.builds(frame, st.just(MAX_STREAM_DATA), st.just(REQUEST), st.integers(0, 2**40)),
    st.builds(frame, st.just(MAX_STREAMS), st.integers(0, 2**60)),
)
pieces = st.builds(stream, st.just(REQUEST), st.just(0), st.binary(max_size=50), fin=st.booleans())
said_once = st.lists(plain_frames | pieces, min_size=1, max_size=4, unique_by=kind)
with_pings = st.builds(
    lambda acked, others, pings: [acked, *others, *[frame(PING)] * pings],
    st.builds(ack, st.integers(NEWEST - 4, NEWEST), st.integers(0, 3)),
    said_once.map(lambda frames: [each for each in frames if each[0] != ACK]),
    st.integers(1, 2),
)
plain_payloads = said_once | with_pings


def is_hurried(frames: list[bytes]) -> bool:
    """Whether a response is continued that goes on."""
    return any(kind(each) == STREAM and not each[0] & FIN for each in frames)


@dataclass(frozen=True, slots=True)
class State:
    """What such a packet may change, apart from keys and times of two connections."""

    limits: tuple[int, int, int]
    ack_after_s: float | None
    expected: int
    ack_queue: list[range]
    unacknowledged: list[int]
    in_flight: int
    idle_s: float | None
    asked: bool
    spin: tuple[bool, int]
    received: tuple[int, int, bool]
    events: list[QuicEvent]


def state_of(quic: QuicConnection, now_s: float) -> State:
    space = quic._spaces[Epoch.ONE_RTT]
    separate(space, quic._packet_number)
    receiver = quic._streams[REQUEST].receiver
    return State(
        limits=(
            quic._remote_max_data,
            quic._streams[REQUEST].max_stream_data_remote,
            quic._remote_max_streams_bidi,
        ),
        ack_after_s=None if space.ack_at is None else round(space.ack_at - now_s, 9),
        expected=space.expected_packet_number,
        ack_queue=list(space.ack_queue),
        unacknowledged=list(space.sent_packets),
        in_flight=quic._loss.bytes_in_flight,
        idle_s=None if quic._close_at is None else round(quic._close_at - now_s, 3),
        asked=quic._ack_eliciting_sent_since_receipt,
        spin=(quic._spin_bit, quic._spin_highest_pn),
        received=(quic._local_max_data.used, receiver.highest_offset, receiver.is_finished),
        events=list(quic._events),
    )


def with_a_train_on_its_way(make_pair: MakePair) -> Pair:
    pair = make_pair()
    begin(pair, bytes(200_000))
    pair.run(lambda: pair.machine.quic._packet_number > NEWEST)
    assert pair.trains
    return pair


def reader_of(pair: Pair, now_s: float, requests: int = 1) -> PlainReader:
    reader = PlainReader(pair.machine.quic)
    reader.begin(now_s, requests)
    return reader


def take(pair: Pair, datagram: bytes, now_s: float) -> bool:
    with AcksTogether(pair.machine.quic):
        return reader_of(pair, now_s).take(datagram, SERVER)


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(plain_payloads)
def test_it_has_the_effect_it_has_with_aioquic(make_pair: MakePair, frames: list[bytes]) -> None:
    payload = b"".join(frames)
    ours, theirs = with_a_train_on_its_way(make_pair), with_a_train_on_its_way(make_pair)
    now_s = ours.now_s + 0.001

    taken = take(ours, packet(ours, payload), now_s)
    theirs.machine.quic.receive_datagram(packet(theirs, payload), SERVER, now_s)

    assert taken
    expected = state_of(theirs.machine.quic, now_s)
    if expected.ack_after_s is not None:
        # All but what continues is answered later, but within what this end has promised.
        assert PLAIN_ACK_DELAY_S < 0.025
        delay_s = 0.001 if is_hurried(frames) else PLAIN_ACK_DELAY_S
        expected = replace(expected, ack_after_s=delay_s)
    assert state_of(ours.machine.quic, now_s) == expected


@pytest.mark.parametrize(
    "payload",
    [
        frame(PING),
        bytes(8),
        frame(PING) + ack(NEWEST, 1),
        ack(NEWEST, 1) + frame(PING) + bytes(8),
        ack(NEWEST, 1) + ack(NEWEST - 1, 1),
        ack(NEWEST, NEWEST + 1),
        ack(NEWEST, 1)[:-1],
        frame(MAX_STREAMS, 500) + frame(MAX_STREAMS, 501),
        frame(MAX_STREAMS, 2**60 + 1),
        frame(MAX_STREAMS + 1, 500),
        frame(MAX_DATA, 1) + frame(MAX_DATA, 2**40),
        frame(MAX_STREAM_DATA, UNKNOWN_REQUEST, 2**40),
        frame(MAX_STREAM_DATA, CONTROL, 2**40),
        frame(MAX_STREAM_DATA, REQUEST),
        frame(0x21),
        stream(REQUEST, 1, b"behind a gap"),
        stream(REQUEST, 0, b"two") + stream(REQUEST, 3, b"pieces"),
        stream(REQUEST, 0, b"not all")[:-1],
        stream(UNKNOWN_REQUEST, 0, b"of nobody"),
        stream(SERVER_CONTROL, 0, b"control"),
        stream(CONTROL, 0, b"where it may not send"),
        frame(0x08 | 0x04, REQUEST, 2**62 - 1) + b"beyond all offsets",
    ],
)
def test_anything_else_is_left_alone(make_pair: MakePair, payload: bytes) -> None:
    pair = with_a_train_on_its_way(make_pair)
    quic, now_s = pair.machine.quic, pair.now_s
    before = state_of(quic, now_s)

    assert not take(pair, packet(pair, payload), now_s)
    assert state_of(quic, now_s) == before


@pytest.mark.parametrize("first_byte", [0x43 | 0x18, 0x43 | 0x04, 0xC3])
def test_an_unusual_header_is_left_alone(make_pair: MakePair, first_byte: int) -> None:
    pair = with_a_train_on_its_way(make_pair)
    datagram = packet(pair, ack(NEWEST, 1), first_byte=first_byte)

    assert not take(pair, datagram, pair.now_s)


def test_a_packet_is_taken_once(make_pair: MakePair) -> None:
    pair = with_a_train_on_its_way(make_pair)
    datagram = packet(pair, ack(NEWEST, 1))
    reader = reader_of(pair, pair.now_s)

    assert [reader.take(datagram, SERVER) for _ in range(2)] == [True, False]


def test_forged_strayed_and_short_datagrams_are_left_alone(make_pair: MakePair) -> None:
    pair = with_a_train_on_its_way(make_pair)
    datagram = packet(pair, ack(NEWEST, 1))
    reader = reader_of(pair, pair.now_s)

    assert not reader.take(datagram[:-1] + bytes((datagram[-1] ^ 1,)), SERVER)
    assert not reader.take(datagram, ("192.0.2.9", 443))
    assert not any(reader.take(datagram[:size], SERVER) for size in range(len(datagram)))
    assert reader.take(datagram, SERVER)


def test_gaps_in_what_arrives_are_bounded(make_pair: MakePair) -> None:
    pair = with_a_train_on_its_way(make_pair)
    quic = pair.machine.quic
    reader = reader_of(pair, pair.now_s)
    for number in range(1000, 1000 + 4 * MAX_ACK_RANGES, 2):
        assert reader.take(packet(pair, ack(NEWEST, 1), number=number), SERVER)

    assert len(quic._spaces[Epoch.ONE_RTT].ack_queue) <= MAX_ACK_RANGES


def test_a_response_is_taken_piece_by_piece(make_pair: MakePair) -> None:
    pair = with_a_train_on_its_way(make_pair)
    quic, reader = pair.machine.quic, reader_of(pair, pair.now_s)
    pieces = [b"one", b"two", b"three"]
    offset = 0
    for number, piece in enumerate(pieces, 1000):
        fin = piece is pieces[-1]
        datagram = packet(pair, stream(REQUEST, offset, piece, fin=fin), number=number)
        assert reader.take(datagram, SERVER)
        offset += len(piece)
    again = packet(pair, stream(REQUEST, 0, pieces[0]), number=1010)
    assert not reader.take(again, SERVER), "all of it was there"
    told = [event for event in quic._events if isinstance(event, StreamDataReceived)]
    assert [event.data for event in told] == pieces
    assert [event.end_stream for event in told] == [False, False, True]


def test_a_limit_that_comes_near_is_aioquics_to_raise(make_pair: MakePair) -> None:
    pair = with_a_train_on_its_way(make_pair)
    quic = pair.machine.quic
    data = bytes(1000)
    for limit in (quic._local_max_data, quic._streams[REQUEST]):
        name = "value" if limit is quic._local_max_data else "max_stream_data_local"
        before = getattr(limit, name)
        setattr(limit, name, 2 * len(data) - 1)
        assert not take(pair, packet(pair, stream(REQUEST, 0, data)), pair.now_s)
        setattr(limit, name, before)
    assert take(pair, packet(pair, stream(REQUEST, 0, data)), pair.now_s)


@pytest.mark.parametrize(
    ("requests", "allowed", "delay_s"),
    [(1, 128, PLAIN_ACK_DELAY_S), (2, 128, 0.001), (1, 10, 0.001)],
)
def test_a_response_is_acknowledged_soon_where_requests_may_wait_for_it(
    make_pair: MakePair, requests: int, allowed: int, delay_s: float
) -> None:
    pair = with_a_train_on_its_way(make_pair)
    pair.machine.quic._remote_max_streams_bidi = allowed
    reader = reader_of(pair, pair.now_s, requests)
    assert reader.take(packet(pair, stream(REQUEST, 0, b"all", fin=True)), SERVER)
    assert pair.machine.quic._spaces[Epoch.ONE_RTT].ack_at == pair.now_s + delay_s


def test_an_acknowledgement_that_is_due_later_is_made_sooner(make_pair: MakePair) -> None:
    pair = with_a_train_on_its_way(make_pair)
    space, reader = pair.machine.quic._spaces[Epoch.ONE_RTT], reader_of(pair, pair.now_s)
    assert reader.take(packet(pair, frame(MAX_DATA, 1), number=1000), SERVER)
    assert space.ack_at == pair.now_s + PLAIN_ACK_DELAY_S
    assert reader.take(packet(pair, stream(REQUEST, 0, b"more to come"), number=1001), SERVER)
    assert space.ack_at == pair.now_s + 0.001
    assert reader.take(packet(pair, frame(MAX_DATA, 1), number=1002), SERVER)
    assert space.ack_at == pair.now_s + 0.001
