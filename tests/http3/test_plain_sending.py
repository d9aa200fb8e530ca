"""Packets of STREAM and ACK frames: built by us as aioquic builds them, and anything else left."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
from aioquic._buffer import Buffer
from aioquic.quic.connection import QuicConnectionState, QuicNetworkPath
from aioquic.quic.logger import QuicLogger
from aioquic.quic.packet import QuicFrameType, QuicPreferredAddress, pull_ack_frame
from aioquic.quic.packet_builder import QuicDeliveryState
from aioquic.tls import Epoch
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.http3.conftest import MakePair
from tests.http3.frames import PING, frame, packet
from tests.http3.pair import SERVER, Pair, Upload, upload_head
from tests.http3.scenes import saw
from trilane.transport.net.memory_datagram import LinkConditions
from trilane.transport.protocols.aioquic_private import datagrams_to_send
from trilane.transport.protocols.aioquic_sending import PlainSender
from trilane.transport.protocols.events import ResponseEnded

FIRST_STREAM = 0
LATER_S = 0.003
"""After the last datagram of the handshake."""


def at_rest(make_pair: MakePair) -> Pair:
    """A pair whose handshake is confirmed, with nothing left to say and no path to probe."""
    pair = make_pair(max_datagram_bytes=1200)
    quic = pair.machine.quic
    pair.run(lambda: pair.machine._path_bounded)
    pair.run(lambda: not (quic._loss.bytes_in_flight or pair.server.quic._loss.bytes_in_flight))
    pair.run(lambda: quic._spaces[Epoch.ONE_RTT].ack_at is None)
    pair.now_s += LATER_S
    return pair


@dataclass(frozen=True, slots=True)
class Said:
    """What a packet says; an acknowledgement by its ranges and its delay."""

    acked: tuple[tuple[range, ...], int] | None
    pieces: list[tuple[int, int, bytes, bool]]
    """Stream, offset, data, and whether it is the end."""


def said_by(pair: Pair, datagram: bytes) -> Said:
    """Read as the server does; all of it has to be understood."""
    quic = pair.server.quic
    number_at = 1 + len(quic.host_cid)
    expected = pair.machine.quic._packet_number - 1
    header, payload, number = quic._cryptos[Epoch.ONE_RTT].decrypt_packet(
        datagram, number_at, expected
    )
    assert header[1:number_at] == quic.host_cid
    assert number == expected
    buffer = Buffer(data=payload)
    acked: tuple[tuple[range, ...], int] | None = None
    pieces: list[tuple[int, int, bytes, bool]] = []
    while not buffer.eof():
        kind = buffer.pull_uint_var()
        if kind == QuicFrameType.ACK:
            ranges, delay = pull_ack_frame(buffer)
            acked = tuple(ranges), delay
        elif kind != QuicFrameType.PING:
            assert kind & ~0x05 == QuicFrameType.STREAM_BASE | 0x02
            stream_id = buffer.pull_uint_var()
            offset = buffer.pull_uint_var() if kind & 0x04 else 0
            data = buffer.pull_bytes(buffer.pull_uint_var())
            pieces.append((stream_id, offset, data, bool(kind & 0x01)))
    return Said(acked, pieces)


@dataclass(frozen=True, slots=True)
class State:
    """What sending changes, apart from keys and times of two connections."""

    next_packet: int
    credit: int
    streams: dict[int, tuple[object, ...]]
    queued: set[int | None]
    ack_at: bool
    in_flight: int
    asking: int
    records: list[tuple[int, bool, bool, int]]
    path_bytes: int
    idle_s: float
    asked: bool
    bucket_s: float
    paced: bool


def state_of(pair: Pair, now_s: float) -> State:
    quic = pair.machine.quic
    space, pacer = quic._spaces[Epoch.ONE_RTT], quic._loss._pacer
    pacer.update_bucket(now=now_s)
    return State(
        next_packet=quic._packet_number,
        credit=quic._remote_max_data - quic._remote_max_data_used,
        streams={
            stream_id: (
                list(stream.sender._pending),
                stream.sender._pending_eof,
                stream.sender.highest_offset,
                stream.sender.buffer_is_empty,
            )
            for stream_id, stream in quic._streams.items()
        },
        queued={stream.stream_id for stream in quic._streams_queue},
        ack_at=space.ack_at is not None,
        in_flight=quic._loss.bytes_in_flight,
        asking=space.ack_eliciting_in_flight,
        records=[
            (each.packet_number, each.in_flight, each.is_ack_eliciting, each.sent_bytes)
            for each in space.sent_packets.values()
        ],
        path_bytes=quic._network_paths[0].bytes_sent,
        idle_s=round((quic._close_at or 0) - now_s, 3),
        asked=quic._ack_eliciting_sent_since_receipt,
        bucket_s=round(pacer.bucket_time, 9),
        paced=quic._pacing_at is not None,
    )


@dataclass(frozen=True, slots=True)
class Scene:
    """What there is to send."""

    bodies: list[int]
    """Lengths of the bodies of new requests."""
    begun: bool
    """The first of them has sent its head already."""
    lost: bool
    """And that was lost."""
    received: list[int]
    """Numbers of packets that ask to be acknowledged."""
    waited_s: float
    """Since they came."""


scenes = st.builds(
    Scene,
    st.lists(st.integers(0, 400), max_size=4),
    st.booleans(),
    st.booleans(),
    st.lists(st.integers(1000, 1004), max_size=3, unique=True),
    st.sampled_from([0.0, 0.0005, 0.001, 0.002]),
)


def prepare(pair: Pair, scene: Scene) -> float:
    """Set it; and when it is."""
    machine, quic, now_s = pair.machine, pair.machine.quic, pair.now_s
    ids: list[int] = []
    for length in scene.bodies:
        ids.append(machine.send_head(upload_head(length), end=not length))
        if scene.begun and len(ids) == 1:
            quic.datagrams_to_send(now_s)
    for number in scene.received:
        quic.receive_datagram(packet(pair, frame(PING), number=number), SERVER, now_s)
    for stream_id, length in zip(ids, scene.bodies, strict=True):
        if length:
            machine.send_body(stream_id, bytes(index % 251 for index in range(length)), end=True)
    if scene.lost:
        space = quic._spaces[Epoch.ONE_RTT]
        quic._loss._on_packets_lost(
            congestion_event=False,
            now=now_s,
            packets=list(space.sent_packets.values()),
            space=space,
        )
    if quic._packet_number % 8 == 0:
        # aioquic adds a PING when it tells of gaps in one of these.
        quic._packet_number += 1
    return now_s + scene.waited_s


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(scenes)
def test_it_sends_what_aioquic_sends(make_pair: MakePair, scene: Scene) -> None:
    ours, theirs = at_rest(make_pair), at_rest(make_pair)
    now_s = prepare(ours, scene)
    assert prepare(theirs, scene) == now_s
    before = state_of(ours, now_s)

    sent = PlainSender(ours.machine.quic).take(now_s)
    expected = datagrams_to_send(theirs.machine.quic, now_s)

    if sent is None:
        assert state_of(ours, now_s) == before
        assert len(expected) > 1 or not said_by(theirs, expected[0][0]).pieces
        return
    assert [(len(data), address) for data, address in sent] == [
        (len(data), address) for data, address in expected
    ]
    for (data, _), (other, _) in zip(sent, expected, strict=True):
        assert said_by(ours, data) == said_by(theirs, other)
    assert state_of(ours, now_s) == state_of(theirs, now_s)


def ping(pair: Pair) -> None:
    pair.machine.quic.send_ping(1)


def reset(pair: Pair) -> None:
    pair.machine.reset_stream(FIRST_STREAM)


def stop(pair: Pair) -> None:
    pair.machine.quic.stop_stream(FIRST_STREAM, 0x10C)


def probe(pair: Pair) -> None:
    pair.machine.quic._probe_pending = True


def close(pair: Pair) -> None:
    pair.machine.close()


def closing(pair: Pair) -> None:
    pair.machine.quic._state = QuicConnectionState.CLOSING


def without_keys(pair: Pair) -> None:
    pair.machine.quic._cryptos[Epoch.ONE_RTT].send.teardown()


def another_cipher(pair: Pair) -> None:
    aead = pair.machine.quic._cryptos[Epoch.ONE_RTT].send.aead
    assert aead is not None
    aead._aead = ChaCha20Poly1305(bytes(32))


def blocked_streams(pair: Pair) -> None:
    pair.machine.quic._streams_blocked_pending = True


def update_keys(pair: Pair) -> None:
    pair.machine.quic.request_key_update()


def change_connection_id(pair: Pair) -> None:
    pair.machine.quic.change_connection_id()


def new_connection_id(pair: Pair) -> None:
    pair.machine.quic._host_cids[-1].was_sent = False


def send_datagram(pair: Pair) -> None:
    pair.machine.quic._datagrams_pending.append(b"datagram")


def crypto(pair: Pair) -> None:
    pair.machine.quic._crypto_streams[Epoch.ONE_RTT].sender.write(b"crypto")


def challenge(pair: Pair) -> None:
    pair.machine.quic._network_paths[0].remote_challenges.append(bytes(8))


def second_path(pair: Pair) -> None:
    pair.machine.quic._network_paths.append(QuicNetworkPath(("192.0.2.9", 443)))


def unvalidated_path(pair: Pair) -> None:
    pair.machine.quic._network_paths[0].is_validated = False


def preferred_address(pair: Pair) -> None:
    pair.machine.quic._remote_preferred_address = QuicPreferredAddress(
        ("192.0.2.9", 443), None, b"12345678", bytes(16)
    )


def more_data(pair: Pair) -> None:
    limit = pair.machine.quic._local_max_data
    limit.used = limit.value // 2 + 1


def lost_limit(pair: Pair) -> None:
    pair.machine.quic._local_max_streams_uni.sent = 0


def more_stream_data(pair: Pair) -> None:
    stream = pair.machine.quic._streams[FIRST_STREAM]
    stream.receiver.highest_offset = stream.max_stream_data_local // 2 + 1


def lost_stream_limit(pair: Pair) -> None:
    pair.machine.quic._streams[FIRST_STREAM].max_stream_data_local_sent = 0


def server_stream_over(pair: Pair) -> None:
    stream = pair.machine.quic._streams[3]
    stream.receiver.is_finished = stream.sender.is_finished = True


def too_much_for_a_packet(pair: Pair) -> None:
    pair.machine.send_head(upload_head(5000), end=False)
    pair.machine.send_body(4, bytes(5000), end=True)


def two_gaps_to_fill(pair: Pair) -> None:
    sender = pair.machine.quic._streams[FIRST_STREAM].sender
    assert sender.get_frame(20) is not None
    assert sender.get_frame(20) is not None
    sender.on_data_delivery(QuicDeliveryState.LOST, 0, 20, fin=False)


def an_end_apart(pair: Pair) -> None:
    sender = pair.machine.quic._streams[FIRST_STREAM].sender
    while sender.get_frame(20) is not None:
        pass
    end = sender._buffer_stop
    sender.on_data_delivery(QuicDeliveryState.LOST, 0, 20, fin=False)
    sender.on_data_delivery(QuicDeliveryState.LOST, end, end, fin=True)
    assert sender._pending_eof


def gaps_alone(pair: Pair) -> None:
    pair.machine.quic._streams[FIRST_STREAM].is_blocked = True
    for number in (1000, 1002):
        datagram = packet(pair, frame(PING), number=number)
        pair.machine.quic.receive_datagram(datagram, SERVER, pair.now_s - 1.0)


def full_window(pair: Pair) -> None:
    pair.machine.quic._loss._cc.bytes_in_flight = pair.machine.quic._loss.congestion_window - 40


def no_credit(pair: Pair) -> None:
    pair.machine.quic._remote_max_data = pair.machine.quic._remote_max_data_used + 3


def no_stream_credit(pair: Pair) -> None:
    pair.machine.quic._streams[FIRST_STREAM].max_stream_data_remote = 3


def empty_bucket(pair: Pair) -> None:
    pacer = pair.machine.quic._loss._pacer
    pacer.update_bucket(now=pair.now_s)
    pacer.bucket_time = -1.0


def qlog(pair: Pair) -> None:
    pair.machine.quic._quic_logger = QuicLogger().start_trace(True, b"")


def many_gaps(pair: Pair) -> None:
    for number in range(1000, 1020, 2):
        datagram = packet(pair, frame(PING), number=number)
        pair.machine.quic.receive_datagram(datagram, SERVER, pair.now_s)


@pytest.mark.parametrize(
    "change",
    [
        ping, reset, stop, probe, close, closing, without_keys, another_cipher, blocked_streams,
        update_keys, change_connection_id, new_connection_id,
        send_datagram, crypto, challenge, second_path, unvalidated_path, preferred_address,
        more_data, lost_limit, more_stream_data, lost_stream_limit, server_stream_over,
        too_much_for_a_packet, two_gaps_to_fill, an_end_apart, gaps_alone, full_window, no_credit,
        no_stream_credit, empty_bucket, qlog, many_gaps,
    ],
)  # fmt: skip
def test_anything_else_is_left_to_aioquic(
    make_pair: MakePair, change: Callable[[Pair], None]
) -> None:
    pair = at_rest(make_pair)
    sender = PlainSender(pair.machine.quic)
    Upload(pair, b"x" * 100).feed()
    change(pair)
    before = state_of(pair, pair.now_s)

    assert sender.take(pair.now_s) is None
    assert state_of(pair, pair.now_s) == before


def test_nothing_is_what_it_says(make_pair: MakePair) -> None:
    pair = at_rest(make_pair)
    before = state_of(pair, pair.now_s)

    assert PlainSender(pair.machine.quic).take(pair.now_s) == []
    assert state_of(pair, pair.now_s) == before


def test_it_is_what_carries_short_requests(
    make_pair: MakePair, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = at_rest(make_pair)
    monkeypatch.setattr(pair.machine.quic, "datagrams_to_send", lambda _now: pytest.fail("asked"))
    for _ in range(300):
        pair.events.clear()
        upload = Upload(pair, b"x" * 600)
        upload.feed()
        pair.datagram_sizes.clear()
        pair.run(lambda: saw(pair, ResponseEnded))
        assert len(pair.datagram_sizes) == 1
        pair.machine.forget_stream(upload.stream_id)
    # Its streams are let go of as aioquic would.
    assert len(pair.machine.quic._streams) < 10
    assert {*pair.machine.quic._streams_queue} == {*pair.machine.quic._streams.values()}
    # What follows the last response is its acknowledgement, in time.
    answered_s = pair.now_s
    pair.datagram_sizes.clear()
    pair.run(lambda: pair.machine.quic._spaces[Epoch.ONE_RTT].ack_at is None)
    assert len(pair.datagram_sizes) == 1
    assert pair.now_s - answered_s <= 0.025


def test_it_sends_again_what_was_lost(make_pair: MakePair) -> None:
    pair = make_pair(conditions=LinkConditions(delay_s=0.01, loss=0.3), seed=3)
    pair.run(lambda: pair.machine._path_bounded)
    uploads: list[Upload] = []
    for index in range(100):
        uploads.append(Upload(pair, bytes((index,)) * 300))
        uploads[-1].feed()
        ended = len(uploads)
        pair.run(lambda: len(pair.of_kind(ResponseEnded)) == ended)  # noqa: B023 - run at once
    assert pair.machine.recovery().retransmitted_packets > 30
    for upload in uploads:
        assert bytes(pair.server.requests[upload.stream_id].body) == upload.body
