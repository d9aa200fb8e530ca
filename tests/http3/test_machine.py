"""What a server does, and what the machine makes of it."""

from __future__ import annotations

from dataclasses import replace

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
    upload_head,
)
from tests.peers.certificates import Certificates
from trilane.transport.errors import InvalidHeader
from trilane.transport.message import Headers
from trilane.transport.net.memory_datagram import LinkConditions
from trilane.transport.protocols.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    GoAwayReceived,
    HeadReceived,
    InterimReceived,
    ResponseEnded,
    SendingStopped,
    StreamLimitChanged,
    StreamReset,
    StreamWritable,
)
from trilane.transport.protocols.http3 import SEND_FLOOR_BYTES, SEND_HIGH_BYTES
from trilane.transport.protocols.http3_close import CloseKind
from trilane.transport.protocols.http3_frames import data_frame_header, encode_varint

BIG = b"b" * 600_000
"""More than the server's half of the flow control lets through at once."""


def saw(pair: Pair, kind: type[Event]) -> bool:
    return bool(pair.of_kind(kind))


def begin_upload(pair: Pair, body: bytes = BIG) -> Upload:
    sending = Upload(pair, body)
    pair.each_step = sending.feed
    return sending


def get(pair: Pair, *, method: str = "GET") -> int:
    return pair.machine.send_head(upload_head(0, method=method), end=True)


def answer_raw(pair: Pair, frames: bytes, *, end: bool = True) -> None:
    """Let the server answer with these bytes instead of a well-formed response."""
    pair.server.answer = lambda stream_id: pair.server.quic.send_stream_data(stream_id, frames, end)


def headers_frame(pair: Pair, *fields: tuple[bytes, bytes]) -> bytes:
    _, block = pair.server.h3._encoder.encode(0, list(fields))
    return encode_frame(FrameType.HEADERS, block)


# --- responses --------------------------------------------------------------------------------


def test_interim_head_body_and_trailers(make_pair: MakePair) -> None:
    pair = make_pair()

    def answer(stream_id: int) -> None:
        pair.server.h3.send_headers(stream_id, [(b":status", b"103"), (b"link", b"</a>")])
        pair.server.respond(
            stream_id,
            [(b":status", b"201"), (b"content-length", b"4"), (b"x-a", b"1"), (b"x-a", b"2")],
            trailers=[(b"x-digest", b"abc")],
        )

    pair.server.answer = answer
    stream_id = get(pair)
    pair.run(lambda: saw(pair, ResponseEnded))

    events = [event for event in pair.events if getattr(event, "stream_id", None) == stream_id]
    [interim], [head] = pair.of_kind(InterimReceived), pair.of_kind(HeadReceived)
    [data], [ended] = pair.of_kind(DataReceived), pair.of_kind(ResponseEnded)
    assert interim.head.status == 103
    assert head.head.status == 201
    assert head.head.headers.get_list("x-a") == ["1", "2"]
    assert data.data == b"done"
    assert ended.trailers["x-digest"] == "abc"
    order = [events.index(event) for event in (interim, head, data, ended)]
    assert order == sorted(order)


def test_the_request_is_what_was_asked_for(make_pair: MakePair) -> None:
    pair = make_pair()
    stream_id = get(pair)
    pair.run(lambda: saw(pair, ResponseEnded))

    assert pair.server.requests[stream_id].headers == [
        (b":method", b"GET"),
        (b":scheme", b"https"),
        (b":authority", b"localhost"),
        (b":path", b"/upload"),
        (b"x-test", b"yes"),
    ]


def test_a_field_too_large_for_qpack_is_the_callers_error(make_pair: MakePair) -> None:
    pair = make_pair()
    head = replace(upload_head(0), headers=Headers([("x", "y" * 70_000)]))
    with pytest.raises(InvalidHeader):
        pair.machine.send_head(head, end=True)

    get(pair)
    pair.run(lambda: saw(pair, ResponseEnded))


def test_every_received_byte_of_a_stream_is_counted_once(make_pair: MakePair) -> None:
    pair = make_pair()
    pair.server.answer = lambda stream_id: pair.server.respond(stream_id, body=b"x" * 10_000)
    stream_id = get(pair)
    pair.run(lambda: saw(pair, ResponseEnded))

    total = pair.machine.stream_totals(stream_id).received_bytes
    assert total > 10_000
    heads = sum(event.byte_count for event in pair.of_kind(HeadReceived))
    assert heads + sum(event.byte_count for event in pair.of_kind(DataReceived)) == total


def test_a_response_to_head_has_a_length_and_no_content(make_pair: MakePair) -> None:
    pair = make_pair()
    length = (b"content-length", b"1000")
    pair.server.answer = lambda stream_id: pair.server.h3.send_headers(
        stream_id, [(b":status", b"200"), length], end_stream=True
    )
    get(pair, method="HEAD")
    pair.run(lambda: saw(pair, ResponseEnded))

    assert not saw(pair, StreamReset)
    assert pair.machine.close_cause is None


@pytest.mark.parametrize(
    ("fields", "body", "reason"),
    [
        ([(b":status", b"200"), (b"content-length", b"5")], b"done", "4 of 5"),
        ([(b":status", b"200"), (b"content-length", b"3")], b"done", "longer than the 3"),
        ([(b":status", b"200"), (b"X-Upper", b"1")], b"", "X-Upper"),
        ([(b":status", b"200"), (b"connection", b"close")], b"", "connection-specific"),
        ([(b":status", b"abc")], b"", "status"),
        ([(b":status", b"101")], b"", "101"),
        ([(b":path", b"/")], b"", "path"),
        ([(b"x", b"y")], b"", "status"),
        ([(b":status", b"200"), (b"x", b"a\nb")], b"", "forbidden"),
    ],
)
def test_a_malformed_response_ends_its_stream_and_no_other(
    make_pair: MakePair, fields: list[tuple[bytes, bytes]], body: bytes, reason: str
) -> None:
    pair = make_pair()
    data = encode_frame(FrameType.DATA, body) if body else b""
    answer_raw(pair, headers_frame(pair, *fields) + data)
    get(pair)
    pair.run(lambda: saw(pair, StreamReset))
    [reset] = pair.of_kind(StreamReset)
    assert reason in reset.reason
    assert reset.error_code == ErrorCode.H3_MESSAGE_ERROR
    assert not reset.retryable

    pair.server.answer = pair.server.respond
    get(pair)
    pair.run(lambda: saw(pair, ResponseEnded))
    assert pair.machine.close_cause is None


def test_a_stream_without_a_response_is_malformed(make_pair: MakePair) -> None:
    pair = make_pair()
    answer_raw(pair, b"")
    get(pair)
    pair.run(lambda: saw(pair, StreamReset))

    assert "without a response" in pair.of_kind(StreamReset)[0].reason


def test_an_announced_head_beyond_the_limit_is_refused_before_it_arrives(
    make_pair: MakePair,
) -> None:
    pair = make_pair(response_head_bytes=4096)
    answer_raw(pair, encode_varint(1) + encode_varint(1 << 40), end=False)
    get(pair)
    pair.run(lambda: saw(pair, StreamReset))

    [reset] = pair.of_kind(StreamReset)
    assert reset.too_large
    assert "4096" in reset.reason


def test_a_head_that_grows_beyond_the_limit_when_decoded_is_refused(make_pair: MakePair) -> None:
    # Static table entry 46 names "content-type: application/javascript" in one byte.
    pair = make_pair(response_head_bytes=4096)
    block = b"\x00\x00\xd9" + b"\xee" * 2000
    answer_raw(pair, encode_frame(FrameType.HEADERS, block))
    get(pair)
    pair.run(lambda: saw(pair, StreamReset))

    assert pair.of_kind(StreamReset)[0].too_large


@pytest.mark.parametrize(
    ("frames", "code"),
    [
        (encode_frame(FrameType.DATA, b"x"), ErrorCode.H3_FRAME_UNEXPECTED),
        (encode_frame(FrameType.SETTINGS, b""), ErrorCode.H3_FRAME_UNEXPECTED),
        (b"\x01\x05\x00", ErrorCode.H3_FRAME_ERROR),
        (encode_frame(FrameType.HEADERS, b"\xff\xff\xff"), ErrorCode.QPACK_DECOMPRESSION_FAILED),
        # A dynamic table was never offered.
        (encode_frame(FrameType.HEADERS, b"\x02\x00\x80"), ErrorCode.QPACK_DECOMPRESSION_FAILED),
        (encode_frame(FrameType.PUSH_PROMISE, b"\x00\x00\x00"), ErrorCode.H3_ID_ERROR),
    ],
)
def test_broken_framing_ends_the_connection_with_a_reason(
    make_pair: MakePair, frames: bytes, code: int
) -> None:
    pair = make_pair()
    answer_raw(pair, frames)
    get(pair)
    pair.run(lambda: saw(pair, ConnectionTerminated))

    [ended] = pair.of_kind(ConnectionTerminated)
    assert ended.error_code == code
    assert not ended.by_peer
    assert not ended.clean
    assert pair.machine.close_cause is not None
    assert pair.machine.close_cause.kind is CloseKind.VIOLATION
    pair.run(lambda: pair.link.next_delivery_s() is None)


# --- stopping and resetting -------------------------------------------------------------------


def test_an_early_response_with_stop_sending(make_pair: MakePair) -> None:
    pair = make_pair()

    def refuse(stream_id: int) -> None:
        pair.server.respond(stream_id, [(b":status", b"413")])
        pair.server.quic.stop_stream(stream_id, ErrorCode.H3_NO_ERROR)

    pair.server.on_head = refuse
    sending = begin_upload(pair)
    pair.run(lambda: saw(pair, ResponseEnded) and saw(pair, SendingStopped))

    assert pair.of_kind(HeadReceived)[0].head.status == 413
    assert pair.of_kind(SendingStopped)[0].error_code == ErrorCode.H3_NO_ERROR
    assert pair.machine.send_budget(sending.stream_id) == 0
    # A late call is dropped: the request's task may not have seen the event yet.
    pair.machine.send_body(sending.stream_id, b"late", end=False)
    pair.machine.reset_stream(sending.stream_id, response_complete=True)
    pair.machine.forget_stream(sending.stream_id)

    pair.server.on_head = lambda _stream_id: None
    pair.each_step = lambda: None
    get(pair)
    pair.run(lambda: len(pair.of_kind(ResponseEnded)) == 2)


def test_stop_sending_alone_leaves_the_response_to_come(make_pair: MakePair) -> None:
    pair = make_pair()
    pair.server.on_head = lambda stream_id: pair.server.quic.stop_stream(stream_id, 0x100)
    sending = begin_upload(pair)
    pair.run(lambda: saw(pair, SendingStopped))
    pair.server.respond(sending.stream_id)
    pair.run(lambda: saw(pair, ResponseEnded))

    assert not saw(pair, StreamReset)


@pytest.mark.parametrize(
    ("code", "retryable"),
    [(ErrorCode.H3_REQUEST_REJECTED, True), (ErrorCode.H3_INTERNAL_ERROR, False)],
)
def test_a_reset_says_whether_the_request_was_processed(
    make_pair: MakePair, code: int, retryable: bool
) -> None:
    pair = make_pair()
    pair.server.on_head = lambda stream_id: pair.server.quic.reset_stream(stream_id, code)
    begin_upload(pair)
    pair.run(lambda: saw(pair, StreamReset))

    [reset] = pair.of_kind(StreamReset)
    assert (reset.error_code, reset.retryable, reset.reason) == (code, retryable, "")


def test_giving_up_resets_both_halves_and_leaves_the_others(make_pair: MakePair) -> None:
    pair = make_pair()
    given_up, kept = Upload(pair, BIG), Upload(pair, BIG)

    def feed() -> None:
        given_up.feed()
        kept.feed()

    pair.each_step = feed
    received = pair.server.requests
    pair.run(lambda: given_up.stream_id in received and len(received[given_up.stream_id].body) > 0)
    pair.each_step = kept.feed
    pair.machine.reset_stream(given_up.stream_id)
    pair.machine.forget_stream(given_up.stream_id)
    pair.run(lambda: saw(pair, ResponseEnded))

    request = pair.server.requests[given_up.stream_id]
    assert request.reset_code == ErrorCode.H3_REQUEST_CANCELLED
    assert bytes(pair.server.requests[kept.stream_id].body) == BIG
    assert pair.of_kind(ResponseEnded)[0].stream_id == kept.stream_id


def test_nothing_is_kept_about_finished_requests(make_pair: MakePair) -> None:
    pair = make_pair()
    for n in range(5):
        stream_id = get(pair)
        pair.run(lambda: len(pair.of_kind(ResponseEnded)) > n)  # noqa: B023  # run is over by then
        pair.machine.forget_stream(stream_id)
    cancelled = begin_upload(pair)
    pair.machine.reset_stream(cancelled.stream_id)
    pair.machine.forget_stream(cancelled.stream_id)
    pair.each_step = lambda: None
    pair.run(lambda: not any(n % 4 == 0 for n in pair.machine.quic._streams))

    assert pair.machine._streams == {}
    assert pair.machine._receiver is not None
    assert not any(n % 4 == 0 for n in pair.machine._receiver.h3._stream)


# --- the connection ---------------------------------------------------------------------------


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
    assert pair.datagram_sizes[-1] <= 1200


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
