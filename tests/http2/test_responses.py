"""What the machine makes of responses, good and malformed."""

from __future__ import annotations

import pytest
from hyperframe.frame import RstStreamFrame, WindowUpdateFrame

from tests.http2.client import Client
from trilane.transport.config import Limits
from trilane.transport.message import Headers, ResponseHead
from trilane.transport.protocols.events import (
    ConnectionTerminated,
    DataReceived,
    HeadReceived,
    InterimReceived,
    ResponseEnded,
    SendingStopped,
    StreamReset,
)

PROTOCOL_ERROR = 0x1
ENHANCE_YOUR_CALM = 0xB


def test_interim_head_body_and_trailers() -> None:
    client = Client()
    stream_id = client.get()
    head = client.peer.response(stream_id, 200, [("content-type", "a/b"), ("x", "1"), ("x", "2")])
    events = client.receive(
        client.peer.response(stream_id, 103, [("link", "</x>")]),
        head,
        client.peer.data(stream_id, b"abc"),
        client.peer.data(stream_id, b"de", padding=10),
        client.peer.headers(stream_id, [("x-checksum", "5")], end=True),
    )
    headers = Headers([("content-type", "a/b"), ("x", "1"), ("x", "2")])
    assert events == [
        InterimReceived(stream_id, ResponseHead(status=103, headers=Headers([("link", "</x>")]))),
        HeadReceived(stream_id, ResponseHead(status=200, headers=headers), len(head)),
        DataReceived(stream_id, b"abc", 9 + 3),
        DataReceived(stream_id, b"de", 9 + 1 + 2 + 10),
        ResponseEnded(stream_id, Headers([("x-checksum", "5")])),
    ]
    assert client.machine.available_streams == 100


def test_received_bytes_are_those_of_the_response() -> None:
    client = Client()
    stream_id = client.begin()
    parts = [
        client.peer.response(stream_id, 200),
        client.peer.data(stream_id, b"abc", end=True),
    ]
    # Leave to send more of the request is no part of the response.
    credit = client.peer.window_update(stream_id, 5)
    client.receive(credit, parts[0], credit, parts[1], client.peer.ping())
    assert client.machine.stream_totals(stream_id).received_bytes == sum(map(len, parts))


@pytest.mark.parametrize("chunk", [1, 7, 1000])
def test_frames_may_arrive_in_any_pieces(chunk: int) -> None:
    client = Client()
    stream_id = client.get()
    block = client.peer.block([(":status", "200"), ("x", "y" * 50)])
    data = b"".join(
        (
            client.peer.raw_headers(stream_id, block[:5], end_headers=False),
            client.peer.continuation(stream_id, block[5:20]),
            client.peer.continuation(stream_id, block[20:], end_headers=True),
            client.peer.data(stream_id, b"abc", end=True),
        )
    )
    for start in range(0, len(data), chunk):
        client.receive(data[start : start + chunk])
    assert [type(event) for event in client.events] == [HeadReceived, DataReceived, ResponseEnded]
    assert client.saw(HeadReceived)[0].byte_count == len(data) - 12


def test_an_early_response_leaves_the_stream_open_for_the_body() -> None:
    client = Client()
    stream_id = client.begin(100_000)
    client.machine.send_body(stream_id, bytes(65535), end=False)
    assert client.machine.send_budget(stream_id) == 0
    client.receive(client.peer.response(stream_id, 413, end=True))
    assert [type(event) for event in client.events] == [HeadReceived, ResponseEnded]
    client.receive(client.peer.window_update(0, 9), client.peer.window_update(stream_id, 9))
    assert client.machine.send_budget(stream_id) == 9


@pytest.mark.parametrize("code", [0x0, 0x8, 0x5])
def test_a_reset_after_the_complete_response_only_stops_the_sending(code: int) -> None:
    client = Client()
    stream_id = client.begin(100_000)
    client.machine.send_body(stream_id, bytes(1000), end=False)
    client.receive(
        client.peer.response(stream_id, 413, end=True), client.peer.reset(stream_id, code)
    )
    assert client.saw(SendingStopped) == [SendingStopped(stream_id, code)]
    assert not client.saw(StreamReset)
    assert client.machine.send_budget(stream_id) == 0
    assert not client.machine.has_output
    client.machine.reset_stream(stream_id, response_complete=True)
    assert not client.machine.has_output
    assert client.machine.available_streams == 100


@pytest.mark.parametrize("code", [0x0, 0x2, 0x8])
def test_a_reset_before_the_end_of_the_response_fails_it(code: int) -> None:
    client = Client()
    stream_id = client.begin()
    client.receive(
        client.peer.response(stream_id, 200),
        client.peer.data(stream_id, b"ab"),
        client.peer.reset(stream_id, code),
    )
    assert client.saw(StreamReset) == [StreamReset(stream_id, code, retryable=False)]


def test_a_refused_stream_may_be_retried() -> None:
    client = Client()
    stream_id = client.begin()
    client.receive(client.peer.reset(stream_id, 0x7))
    assert client.saw(StreamReset) == [StreamReset(stream_id, 0x7, retryable=True)]


@pytest.mark.parametrize(
    ("length", "body", "trailers"),
    [
        ("5", [b"abcdef"], False),
        ("5", [b"abc"], False),
        ("5", [b"abc", b"def"], False),
        ("5", [b"abcd"], True),
        ("5", [], False),
        ("5", [], True),
    ],
)
def test_a_body_that_contradicts_its_length_ends_its_stream_only(
    length: str, body: list[bytes], *, trailers: bool
) -> None:
    client = Client()
    stream_id, other = client.begin(), client.begin()
    parts = [
        client.peer.response(
            stream_id, 200, [("content-length", length)], end=not body and not trailers
        )
    ]
    for number, piece in enumerate(body, 1):
        last = number == len(body) and not trailers
        parts.append(client.peer.data(stream_id, piece, end=last))
    if trailers:
        parts.append(client.peer.headers(stream_id, [("x", "y")], end=True))
    client.receive(*parts)
    (reset,) = client.saw(StreamReset)
    assert (reset.stream_id, reset.retryable) == (stream_id, False)
    assert "5 bytes" in reset.reason
    assert not client.saw(ResponseEnded)
    client.flush()
    assert [frame.error_code for frame in client.sent(RstStreamFrame)] == [PROTOCOL_ERROR]
    client.receive(client.peer.response(other, 200, end=True))
    assert client.saw(ResponseEnded) == [ResponseEnded(other, Headers())]


def test_no_content_may_announce_a_length() -> None:
    client = Client()
    stream_id = client.begin()
    client.receive(client.peer.response(stream_id, 304, [("content-length", "99")], end=True))
    assert client.saw(ResponseEnded)


@pytest.mark.parametrize("status", ["99", "1000", "2x0", "", "101"])
def test_an_impossible_status_ends_the_stream(status: str) -> None:
    client = Client()
    stream_id = client.begin()
    client.receive(client.peer.response(stream_id, status))
    (reset,) = client.saw(StreamReset)
    assert "status" in reset.reason
    assert not client.saw(ConnectionTerminated)


def test_data_for_a_stream_that_was_given_up_is_dropped() -> None:
    client = Client()
    stream_id = client.begin()
    client.receive(client.peer.response(stream_id, 200))
    client.machine.reset_stream(stream_id)
    client.machine.forget_stream(stream_id)
    client.receive(client.peer.data(stream_id, b"late", end=True))
    other = client.get()
    client.receive(client.peer.response(stream_id, 200), client.peer.response(other, 204, end=True))
    assert [event.stream_id for event in client.saw(HeadReceived)] == [stream_id, other]
    assert not client.saw(DataReceived)
    assert not client.saw(ConnectionTerminated)


def test_received_data_is_acknowledged_at_once() -> None:
    client = Client()
    stream_id = client.get()
    client.receive(client.peer.response(stream_id, 200))
    for _ in range(600):
        client.receive(client.peer.data(stream_id, bytes(16384)))
    client.flush()
    credited = {0: 0, stream_id: 0}
    for frame in client.sent(WindowUpdateFrame):
        credited[frame.stream_id] += frame.window_increment
    assert credited[stream_id] >= 600 * 16384 - 2 * 1024 * 1024
    assert credited[0] >= 600 * 16384 - 8 * 1024 * 1024


@pytest.mark.parametrize(
    "fields",
    [
        [(":status", "200"), ("x", "y" * 2000)],
        [(":status", "200"), *((f"x{number}", "") for number in range(100))],
    ],
)
def test_a_head_beyond_the_limit_ends_the_connection(fields: list[tuple[str, str]]) -> None:
    client = Client(limits=Limits(response_head_bytes=1500))
    stream_id = client.get()
    client.receive(client.peer.headers(stream_id, fields))
    (over,) = client.saw(ConnectionTerminated)
    assert over.too_large
    assert over.error_code == ENHANCE_YOUR_CALM
    assert "1500" in over.reason
    assert not over.by_peer


def test_a_head_just_within_the_limit_is_taken() -> None:
    client = Client(limits=Limits(response_head_bytes=1500))
    stream_id = client.get()
    client.receive(client.peer.headers(stream_id, [(":status", "200"), ("x", "y" * 1400)]))
    assert client.saw(HeadReceived)


def test_an_uncompressed_head_is_refused_before_it_is_complete() -> None:
    client = Client()
    stream_id = client.get()
    client.receive(client.peer.raw_headers(stream_id, bytes(16000), end_headers=False))
    for _ in range(4):
        client.receive(client.peer.continuation(stream_id, bytes(16384)))
    (over,) = client.saw(ConnectionTerminated)
    assert over.too_large
