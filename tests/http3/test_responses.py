"""Responses, good and bad, and what the machine makes of them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from aioquic.h3.connection import ErrorCode, FrameType, encode_frame

from tests.http3.conftest import MakePair
from tests.http3.pair import (
    upload_head,
)
from tests.http3.scenes import answer_raw, get, headers_frame, saw
from trilane.transport.errors import InvalidHeader
from trilane.transport.message import Headers
from trilane.transport.protocols.events import (
    ConnectionTerminated,
    DataReceived,
    HeadReceived,
    InterimReceived,
    ResponseEnded,
    StreamReset,
)
from trilane.transport.protocols.http3_close import CloseKind
from trilane.transport.protocols.http3_frames import encode_varint


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
