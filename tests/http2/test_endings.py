"""GOAWAY, end of file, violations, PING."""

from __future__ import annotations

import pytest
from h2.settings import SettingCodes
from hyperframe.frame import DataFrame, GoAwayFrame, PingFrame

from tests.http2.client import Client, upload_head
from trilane.transport.config import Limits
from trilane.transport.protocols.events import (
    ConnectionTerminated,
    GoAwayReceived,
    PingAcked,
    ResponseEnded,
    StreamReset,
)
from trilane.transport.protocols.http2 import Http2Machine

LAST_STREAM = 2**31 - 1


def test_goaway_resets_what_is_above_it_and_lets_the_rest_go_on() -> None:
    client = Client()
    first, second = client.begin(100), client.begin(100)
    client.receive(client.peer.settings(), client.peer.goaway(first))
    assert client.saw(GoAwayReceived) == [GoAwayReceived(first, 0)]
    assert client.saw(StreamReset) == [StreamReset(second, 0x7, retryable=True)]
    assert client.machine.available_streams == 0
    with pytest.raises(RuntimeError):
        client.machine.send_head(upload_head(), end=False)
    client.machine.send_body(first, bytes(100), end=True)
    assert client.machine.send_budget(second) == 0
    client.receive(client.peer.response(first, 200), client.peer.data(first, b"ok", end=True))
    assert [event.stream_id for event in client.saw(ResponseEnded)] == [first]
    client.flush()
    assert len(client.sent(DataFrame)) == 1
    client.receive(b"")
    (over,) = client.saw(ConnectionTerminated)
    assert over.clean
    assert over.by_peer


def test_a_graceful_shutdown_says_goaway_twice() -> None:
    client = Client()
    stream_id = client.begin(100)
    client.receive(client.peer.goaway(LAST_STREAM))
    assert not client.saw(StreamReset)
    client.receive(client.peer.goaway(0))
    assert client.saw(StreamReset) == [StreamReset(stream_id, 0x7, retryable=True)]


def test_goaway_that_rises_brings_nothing_back() -> None:
    client = Client()
    first = client.begin()
    client.receive(client.peer.goaway(0), client.peer.goaway(LAST_STREAM))
    assert [event.stream_id for event in client.saw(StreamReset)] == [first]
    assert client.machine.available_streams == 0


def test_why_the_peer_left_is_kept() -> None:
    client = Client()
    client.begin()
    client.receive(client.peer.goaway(1, 0xB, b"too_many_pings"), b"")
    client.receive(b"")
    (over,) = client.saw(ConnectionTerminated)
    assert "ENHANCE_YOUR_CALM" in over.reason
    assert "too_many_pings" in over.reason
    assert (over.error_code, over.by_peer, over.clean) == (0xB, True, False)


def test_end_of_file_between_requests_is_clean() -> None:
    client = Client()
    client.receive(b"")
    assert [event.clean for event in client.saw(ConnectionTerminated)] == [True]
    assert client.machine.available_streams == 0


def test_end_of_file_during_a_request_is_not() -> None:
    client = Client()
    stream_id = client.begin()
    client.receive(client.peer.response(stream_id, 200)[:-1])
    client.receive(b"")
    (over,) = client.saw(ConnectionTerminated)
    assert not over.clean
    assert "middle of a frame" in over.reason
    assert client.machine.send_budget(stream_id) == 0


def test_nothing_comes_after_the_end() -> None:
    client = Client()
    stream_id = client.begin()
    client.machine.send_body(stream_id, bytes(100), end=False)
    client.receive(b"")
    assert client.receive(client.peer.response(stream_id, 200)) == []
    assert client.machine.transmit() == []
    client.machine.reset_stream(stream_id)
    client.machine.ping(b"12345678")
    client.machine.close()
    assert client.machine.transmit() == []


def test_close_says_goaway_and_drops_bodies() -> None:
    client = Client()
    stream_id = client.begin()
    client.machine.send_body(stream_id, bytes(100), end=False)
    client.machine.close()
    client.machine.close()
    (frame,) = client.flush()
    assert isinstance(frame, GoAwayFrame)
    assert frame.error_code == 0
    assert client.receive(client.peer.goaway(0)) == []


def test_ping_is_answered_and_asked() -> None:
    client = Client()
    client.receive(client.peer.ping(b"abcdefgh"))
    client.machine.ping(b"ABCDEFGH")
    client.flush()
    answer, ours = client.sent(PingFrame)
    assert (answer.opaque_data, "ACK" in answer.flags) == (b"abcdefgh", True)
    assert (ours.opaque_data, "ACK" in ours.flags) == (b"ABCDEFGH", False)
    client.receive(client.peer.ping(b"ABCDEFGH", ack=True))
    assert client.saw(PingAcked) == [PingAcked(b"ABCDEFGH")]


def test_a_response_is_kept_when_a_violation_follows_in_the_same_read() -> None:
    client = Client()
    stream_id = client.begin()
    events = client.receive(
        client.peer.response(stream_id, 413, end=True), client.peer.raw(0x6, 0, 0, b"short")
    )
    kinds = [type(event).__name__ for event in events]
    assert kinds == ["HeadReceived", "ResponseEnded", "ConnectionTerminated"]


VIOLATIONS = {
    "opens a stream": lambda peer: peer.response(2, 200),
    "response on an idle stream": lambda peer: peer.response(99, 200),
    "push": lambda peer: peer.push_promise(1, 2, [(":method", "GET"), (":path", "/")]),
    "DATA before HEADERS": lambda peer: peer.data(1, b"x"),
    "DATA on the connection": lambda peer: peer.raw(0, 0, 0, b"x"),
    "HEADERS on the connection": lambda peer: peer.raw(1, 4, 0, b"\x88"),
    "frame too large": lambda peer: peer.raw(0, 0, 1, bytes(16385)),
    "frame inside a field block": lambda peer: (
        peer.raw_headers(1, b"\x88", end_headers=False) + peer.ping()
    ),
    "GOAWAY inside a field block": lambda peer: (
        peer.raw_headers(1, b"\x88", end_headers=False) + peer.goaway(0)
    ),
    "CONTINUATION of another stream": lambda peer: (
        peer.raw_headers(1, b"\x88", end_headers=False) + peer.continuation(3, b"")
    ),
    "naked CONTINUATION": lambda peer: peer.continuation(1, b"\x88"),
    "bad HPACK": lambda peer: peer.raw_headers(1, b"\xff\xff\xff\xff"),
    "upper-case name": lambda peer: peer.headers(1, [(":status", "200"), ("X", "y")]),
    "request pseudo-field": lambda peer: peer.headers(1, [(":status", "200"), (":path", "/")]),
    "no status": lambda peer: peer.headers(1, [("x", "y")]),
    "connection field": lambda peer: peer.response(1, 200, [("connection", "close")]),
    "two lengths": lambda peer: peer.response(
        1, 200, [("content-length", "1"), ("content-length", "2")]
    ),
    "interim with the end": lambda peer: peer.response(1, 100, end=True),
    "short GOAWAY": lambda peer: peer.raw(7, 0, 0, b"1234567"),
    "GOAWAY on a stream": lambda peer: peer.raw(7, 0, 1, bytes(8)),
    "SETTINGS on a stream": lambda peer: peer.raw(4, 0, 1, b""),
    "ragged SETTINGS": lambda peer: peer.raw(4, 0, 0, b"12345"),
    "ACK with content": lambda peer: peer.raw(4, 1, 0, bytes(6)),
    "server enables push": lambda peer: peer.settings({SettingCodes.ENABLE_PUSH: 1}),
    "huge initial window": lambda peer: peer.raw(4, 0, 0, b"\x00\x04\xff\xff\xff\xff"),
    "tiny frame size": lambda peer: peer.raw(4, 0, 0, b"\x00\x05\x00\x00\x00\x01"),
    "WINDOW_UPDATE of 0": lambda peer: peer.raw(8, 0, 0, bytes(4)),
    "WINDOW_UPDATE on an idle stream": lambda peer: peer.window_update(99, 1),
    "short RST_STREAM": lambda peer: peer.raw(3, 0, 1, b"123"),
    "padding beyond the frame": lambda peer: peer.response(1, 200) + peer.raw(0, 8, 1, b"\xffabc"),
}


@pytest.mark.parametrize("name", VIOLATIONS)
def test_violations_end_the_connection_with_a_reason(name: str) -> None:
    client = Client()
    client.begin()
    client.receive(VIOLATIONS[name](client.peer))
    (over,) = client.saw(ConnectionTerminated)
    assert over.reason
    assert not over.by_peer
    assert not over.clean
    assert over.error_code
    client.flush()
    (goaway,) = client.sent(GoAwayFrame)
    assert goaway.error_code == over.error_code
    assert goaway.additional_data


def test_an_http1_answer_is_recognised() -> None:
    machine = Http2Machine(Limits())
    (over,) = machine.receive_data(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    assert isinstance(over, ConnectionTerminated)
    assert "HTTP/1" in over.reason


def test_the_first_frame_must_be_settings() -> None:
    machine = Http2Machine(Limits())
    (over,) = machine.receive_data(Client().peer.ping())
    assert isinstance(over, ConnectionTerminated)
    assert "SETTINGS" in over.reason
