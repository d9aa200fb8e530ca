"""The connection and its path: limits, GOAWAY, closing, datagram sizes."""

from __future__ import annotations

from collections import Counter

import pytest
from aioquic._buffer import Buffer
from aioquic.h3.connection import ErrorCode, FrameType, encode_frame
from aioquic.quic.packet import (
    QuicErrorCode,
    encode_quic_version_negotiation,
    pull_quic_header,
)

from tests.http3.conftest import MakePair
from tests.http3.pair import (
    CLIENT,
    SERVER,
    Pair,
    Upload,
    client_configuration,
    make_machine,
)
from tests.http3.scenes import BIG, answer_raw, begin_upload, get, headers_frame, saw
from tests.peers.certificates import Certificates
from trilane.transport.net.memory_datagram import LinkConditions
from trilane.transport.protocols.events import (
    ConnectionTerminated,
    DataReceived,
    GoAwayReceived,
    ResponseEnded,
    StreamLimitChanged,
    StreamReset,
    StreamWritable,
)
from trilane.transport.protocols.http3_buffer import SEND_FLOOR_BYTES, SEND_HIGH_BYTES
from trilane.transport.protocols.http3_close import CloseKind
from trilane.transport.protocols.http3_frames import data_frame_header, encode_varint


def send_goaway(pair: Pair, payload: bytes) -> None:
    control = pair.server.h3._local_control_stream_id
    assert control is not None
    pair.server.quic.send_stream_data(control, encode_frame(FrameType.GOAWAY, payload))


def test_goaway_refuses_later_requests_and_lets_earlier_ones_finish(make_pair: MakePair) -> None:
    pair = make_pair()
    first, second = Upload(pair, BIG), Upload(pair, b"s" * 1000)
    pair.each_step = first.feed
    pair.run(lambda: bool(pair.server.requests))
    send_goaway(pair, encode_varint(second.stream_id))
    pair.run(lambda: saw(pair, ResponseEnded))

    assert [event.last_stream_id for event in pair.of_kind(GoAwayReceived)] == [first.stream_id]
    resets = [(event.stream_id, event.retryable) for event in pair.of_kind(StreamReset)]
    assert resets == [(second.stream_id, True)]
    assert pair.of_kind(ResponseEnded)[0].stream_id == first.stream_id
    assert pair.machine.available_streams == 0


def test_goaway_may_come_twice_with_a_smaller_id(make_pair: MakePair) -> None:
    pair = make_pair()
    sending = begin_upload(pair)
    pair.run(lambda: bool(pair.server.requests))
    send_goaway(pair, encode_varint((1 << 62) - 4))
    pair.run(lambda: saw(pair, GoAwayReceived))
    assert not saw(pair, StreamReset)
    send_goaway(pair, encode_varint(sending.stream_id))
    pair.run(lambda: saw(pair, StreamReset))

    assert len(pair.of_kind(GoAwayReceived)) == 2


@pytest.mark.parametrize(
    "payloads",
    [
        [encode_varint(3)],
        [b"\x00\x00"],
        [b""],
        [encode_varint(4), encode_varint(8)],
        [b"\x00" * 9],
    ],
)
def test_an_invalid_goaway_ends_the_connection(make_pair: MakePair, payloads: list[bytes]) -> None:
    pair = make_pair()
    get(pair)
    pair.run(lambda: saw(pair, ResponseEnded))
    for payload in payloads:
        send_goaway(pair, payload)
    pair.run(lambda: saw(pair, ConnectionTerminated))

    assert pair.of_kind(ConnectionTerminated)[0].error_code == ErrorCode.H3_ID_ERROR


def test_requests_wait_for_the_peers_stream_limit(make_pair: MakePair) -> None:
    pair = make_pair()
    allowed = pair.machine.available_streams
    assert allowed == 128
    for _ in range(allowed):
        get(pair)
    assert pair.machine.available_streams == 0
    with pytest.raises(RuntimeError):
        get(pair)
    pair.events.clear()
    pair.run(lambda: saw(pair, StreamLimitChanged))

    assert pair.machine.available_streams > 0


def test_a_full_buffer_becomes_writable_again(make_pair: MakePair) -> None:
    pair = make_pair()
    sending = Upload(pair, b"w" * (SEND_HIGH_BYTES + 1))
    sending.feed()
    assert pair.machine.send_budget(sending.stream_id) == 0
    pair.run(lambda: saw(pair, StreamWritable))

    assert pair.machine.send_budget(sending.stream_id) > 0


def test_many_requests_share_the_buffer(make_pair: MakePair) -> None:
    pair = make_pair()
    uploads = [Upload(pair, b"w" * SEND_HIGH_BYTES) for _ in range(100)]
    for sending in uploads:
        sending.feed()

    # The request's head takes its part of the room.
    assert {sending.position // 1024 for sending in uploads} == {SEND_FLOOR_BYTES // 1024 - 1}


@pytest.mark.parametrize(
    ("code", "frame_type", "kind", "clean"),
    [
        (ErrorCode.H3_NO_ERROR, None, CloseKind.PEER, True),
        (QuicErrorCode.NO_ERROR, 0, CloseKind.PEER, True),
        (ErrorCode.H3_INTERNAL_ERROR, None, CloseKind.PEER_ERROR, False),
        (QuicErrorCode.CONNECTION_REFUSED, 0, CloseKind.REFUSED, False),
        (0x4242, None, CloseKind.PEER_ERROR, False),
    ],
)
def test_the_reason_of_a_close_is_known_at_once(
    make_pair: MakePair, code: int, frame_type: int | None, kind: CloseKind, clean: bool
) -> None:
    pair = make_pair()
    begin_upload(pair)
    pair.run(lambda: bool(pair.server.requests))
    began_s = pair.now_s
    pair.server.quic.close(error_code=code, frame_type=frame_type, reason_phrase="because")
    pair.run(lambda: saw(pair, ConnectionTerminated))

    assert pair.now_s - began_s < 0.05
    [ended] = pair.of_kind(ConnectionTerminated)
    assert (ended.error_code, ended.by_peer, ended.clean) == (code, True, clean)
    cause = pair.machine.close_cause
    assert cause is not None
    assert cause.kind is kind
    assert pair.machine.available_streams == 0
    assert pair.machine.next_timer_s() is None


def test_silence_ends_the_connection_after_the_idle_timeout(make_pair: MakePair) -> None:
    pair = make_pair()
    began_s = pair.now_s
    pair.link.conditions = LinkConditions(loss=1.0)
    get(pair)
    pair.run(lambda: saw(pair, ConnectionTerminated))

    assert 29.0 < pair.now_s - began_s < 40.0
    [ended] = pair.of_kind(ConnectionTerminated)
    assert ended.clean
    assert "idle timeout" in ended.reason


def test_a_ping_keeps_the_connection_from_idling(make_pair: MakePair) -> None:
    pair = make_pair()
    until_s = pair.now_s + 100.0

    def ping() -> None:
        if pair.alarm_s is None or pair.now_s >= pair.alarm_s:
            pair.alarm_s = pair.now_s + 10.0
            pair.machine.keep_alive()

    pair.each_step = ping
    pair.run(lambda: pair.now_s >= until_s)

    assert pair.machine.close_cause is None


def test_a_stateless_reset_is_recognised(make_pair: MakePair) -> None:
    pair = make_pair()
    begin_upload(pair)
    token = pair.machine.quic._peer_cid.stateless_reset_token
    assert len(token) == 16
    not_a_reset = b"\x40" + bytes(4) + token
    assert pair.machine.receive_datagram(not_a_reset[:20], SERVER, pair.now_s) == []
    events = pair.machine.receive_datagram(not_a_reset, SERVER, pair.now_s)

    assert [type(event) for event in events] == [ConnectionTerminated]
    cause = pair.machine.close_cause
    assert cause is not None
    assert cause.kind is CloseKind.FORGOTTEN
    assert pair.machine.transmit(pair.now_s) == []


@pytest.mark.parametrize("step", ["receive_datagram", "datagrams_to_send", "handle_timer"])
def test_a_bug_of_the_library_ends_the_connection_only(
    make_pair: MakePair, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    pair = make_pair()
    begin_upload(pair)

    def fail(*_args: object, **_kwargs: object) -> None:
        raise AssertionError("impossible")

    monkeypatch.setattr(pair.machine.quic, step, fail)
    pair.run(lambda: saw(pair, ConnectionTerminated))

    [ended] = pair.of_kind(ConnectionTerminated)
    assert "impossible" in ended.reason
    assert pair.machine.transmit(pair.now_s) == []


def test_version_negotiation_without_a_common_version(certificates: Certificates) -> None:
    machine = make_machine(client_configuration(certificates))
    machine.connect(SERVER, 1.0)
    [initial] = machine.transmit(1.0)
    header = pull_quic_header(Buffer(data=initial.data), host_cid_length=8)
    answer = encode_quic_version_negotiation(
        source_cid=header.destination_cid,
        destination_cid=header.source_cid,
        supported_versions=[0x1A2A3A4A],
    )
    [ended] = machine.receive_datagram(answer, SERVER, 1.1)

    assert isinstance(ended, ConnectionTerminated)
    assert machine.close_cause is not None
    assert machine.close_cause.kind is CloseKind.UNAVAILABLE
    assert machine.next_timer_s() is None


def test_close_says_goodbye(make_pair: MakePair) -> None:
    pair = make_pair()
    get(pair)
    pair.run(lambda: saw(pair, ResponseEnded))
    pair.machine.close()
    pair.machine.close()
    for datagram in pair.machine.transmit(pair.now_s):
        pair.server.receive(datagram.data, CLIENT, pair.now_s)

    cause = pair.server.quic._close_event
    assert cause is not None
    assert cause.error_code == ErrorCode.H3_NO_ERROR
    assert pair.machine.available_streams == 0
    pair.machine.reset_stream(0)


# --- the path ---------------------------------------------------------------------------------


def test_datagrams_grow_after_the_handshake(make_pair: MakePair) -> None:
    pair = make_pair()
    assert set(pair.datagram_sizes) <= set(range(1201))
    begin_upload(pair)
    pair.run(lambda: saw(pair, ResponseEnded))

    assert max(pair.datagram_sizes) == 1350


def test_datagrams_shrink_when_the_path_swallows_large_ones(make_pair: MakePair) -> None:
    pair = make_pair()
    pair.link.conditions = LinkConditions(largest_bytes=1280)
    sending = begin_upload(pair)
    pair.run(lambda: saw(pair, ResponseEnded))

    assert bytes(pair.server.requests[sending.stream_id].body) == BIG
    swallowed = Counter(size for size in pair.datagram_sizes if size > 1280)
    assert swallowed, "larger ones were tried"
    assert max(swallowed.values()) <= 3, "as probes of the path, and for nothing else"


def test_the_peers_largest_datagram_is_respected(make_pair: MakePair) -> None:
    pair = make_pair(max_datagram_bytes=9000)
    begin_upload(pair)
    pair.run(lambda: saw(pair, ResponseEnded))

    assert max(pair.datagram_sizes) == 9000


def test_unknown_frames_and_streams_are_ignored(make_pair: MakePair) -> None:
    pair = make_pair()
    extra = pair.server.quic.get_next_available_stream_id(is_unidirectional=True)
    pair.server.quic.send_stream_data(extra, encode_varint(0x21) + b"grease" * 100)
    grease = encode_varint(0x21) + encode_varint(3) + b"abc"
    answer_raw(
        pair,
        grease
        + headers_frame(pair, (b":status", b"200"))
        + grease
        + data_frame_header(4)
        + b"do"
        + b"ne"
        + grease,
    )
    get(pair)
    pair.run(lambda: saw(pair, ResponseEnded))

    assert b"".join(event.data for event in pair.of_kind(DataReceived)) == b"done"
