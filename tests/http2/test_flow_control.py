"""Windows, limits and the bounded output (RFC 9113 §5.2, §6.9)."""

from __future__ import annotations

import pytest
from h2.settings import SettingCodes
from hyperframe.frame import DataFrame, GoAwayFrame

from tests.http2.client import Client
from trilane.transport.protocols.events import (
    ConnectionTerminated,
    StreamLimitChanged,
    StreamReset,
    StreamWritable,
)
from trilane.transport.protocols.http2_core import TURN_BYTES
from trilane.transport.protocols.http2_queue import HIGH_BYTES


def wide_client() -> Client:
    client = Client({SettingCodes.INITIAL_WINDOW_SIZE: 2**31 - 1})
    client.receive(client.peer.window_update(0, 2**31 - 1 - 65535))
    return client


def test_the_budget_is_the_smaller_window() -> None:
    client = Client({SettingCodes.INITIAL_WINDOW_SIZE: 1000})
    stream_id = client.begin()
    assert client.machine.send_budget(stream_id) == 1000
    client.receive(client.peer.window_update(stream_id, 100_000))
    assert client.machine.send_budget(stream_id) == 65535


@pytest.mark.parametrize("piece_bytes", [1, 5, 13, 20, 26, 1000])
def test_windows_grow_alike_however_the_updates_arrive(piece_bytes: int) -> None:
    client = Client({SettingCodes.INITIAL_WINDOW_SIZE: 1000})
    stream_id = client.begin()
    peer = client.peer
    frames = [
        *(peer.window_update(stream_id, 10), peer.window_update(0, 7), peer.ping(bytes(8))),
        *(peer.window_update(stream_id, 5), peer.window_update(stream_id + 2**31, 1)),
    ]
    data = b"".join(frames)
    for start in range(0, len(data), piece_bytes):
        client.receive(data[start : start + piece_bytes])
    assert client.machine.send_budget(stream_id) == 1016
    assert client.machine.range_budget(stream_id) == 1016
    client.receive(peer.window_update(stream_id, 100_000))
    assert client.machine.send_budget(stream_id) == 65542


def test_a_window_made_negative_by_settings_waits_until_it_is_positive_again() -> None:
    # RFC 9113 §6.9.2; a client that only waits while the window equals 0 crashes here.
    client = Client({SettingCodes.INITIAL_WINDOW_SIZE: 50_000})
    stream_id = client.begin()
    client.machine.send_body(stream_id, bytes(40_000), end=False)
    client.flush()
    client.receive(client.peer.settings({SettingCodes.INITIAL_WINDOW_SIZE: 10_000}))
    assert client.machine.send_budget(stream_id) == 0
    client.receive(client.peer.window_update(stream_id, 30_000))
    assert client.machine.send_budget(stream_id) == 0
    assert not client.saw(StreamWritable)
    client.receive(client.peer.window_update(stream_id, 7))
    assert client.saw(StreamWritable) == [StreamWritable(stream_id)]
    assert client.machine.send_budget(stream_id) == 7
    client.machine.send_body(stream_id, b"1234567", end=True)
    client.flush()
    assert client.sent(DataFrame)[-1].data == b"1234567"


def test_the_end_may_be_said_while_the_window_is_negative() -> None:
    client = Client({SettingCodes.INITIAL_WINDOW_SIZE: 50_000})
    stream_id = client.begin()
    client.machine.send_body(stream_id, bytes(40_000), end=False)
    client.receive(client.peer.settings({SettingCodes.INITIAL_WINDOW_SIZE: 0}))
    client.machine.send_body(stream_id, b"", end=True)
    client.flush()
    assert "END_STREAM" in client.sent(DataFrame)[-1].flags


def test_settings_that_widen_windows_make_streams_writable() -> None:
    client = Client({SettingCodes.INITIAL_WINDOW_SIZE: 0})
    first, second = client.begin(), client.begin()
    assert client.machine.send_budget(second) == client.machine.send_budget(first) == 0
    client.receive(client.peer.settings({SettingCodes.INITIAL_WINDOW_SIZE: 10}))
    # Who waited longest comes first.
    assert client.saw(StreamWritable) == [StreamWritable(second), StreamWritable(first)]


def test_smaller_frames_are_used_once_the_peer_says_so() -> None:
    client = Client({SettingCodes.MAX_FRAME_SIZE: 30_000})
    stream_id = client.begin()
    client.machine.send_body(stream_id, bytes(30_000), end=False)
    client.receive(client.peer.settings({SettingCodes.MAX_FRAME_SIZE: 16384}))
    client.machine.send_body(stream_id, bytes(30_000), end=False)
    client.flush()
    assert [len(frame.data) for frame in client.sent(DataFrame)] == [30_000, 16384, 13616]


def test_what_waits_to_be_written_is_bounded() -> None:
    client = wide_client()
    first, second = client.begin(), client.begin()
    assert client.machine.send_budget(first) == HIGH_BYTES
    client.machine.send_body(first, bytes(HIGH_BYTES), end=False)
    assert client.machine.send_budget(first) == client.machine.send_budget(second) == 0
    client.flush()
    assert client.saw(StreamWritable) == [StreamWritable(first), StreamWritable(second)]
    assert client.machine.send_budget(second) == HIGH_BYTES


def test_writable_is_said_once_and_only_to_those_who_asked() -> None:
    client = Client({SettingCodes.INITIAL_WINDOW_SIZE: 0})
    asked, _silent = client.begin(), client.begin()
    assert client.machine.send_budget(asked) == 0
    client.receive(client.peer.settings({SettingCodes.INITIAL_WINDOW_SIZE: 10}))
    client.receive(client.peer.window_update(asked, 10))
    assert client.saw(StreamWritable) == [StreamWritable(asked)]


def test_only_as_many_are_woken_as_the_shared_window_serves() -> None:
    client = Client({SettingCodes.INITIAL_WINDOW_SIZE: 1 << 20})
    streams = [client.begin() for _ in range(10)]
    client.machine.send_body(streams[0], bytes(65535), end=False)
    client.flush()
    assert [client.machine.send_budget(stream_id) for stream_id in streams] == [0] * 10
    client.receive(client.peer.window_update(0, TURN_BYTES + 1))
    assert client.saw(StreamWritable) == [StreamWritable(each) for each in streams[:2]]
    client.receive(client.peer.ping())
    assert len(client.saw(StreamWritable)) == 2
    # Who was woken and leaves, or needs less, gives way to the next.
    client.machine.reset_stream(streams[0])
    client.flush()
    assert client.machine.send_budget(streams[1]) == TURN_BYTES + 1
    client.machine.send_body(streams[1], b"little", end=True)
    client.flush()
    woken = [event.stream_id for event in client.saw(StreamWritable)]
    assert woken == streams[:3]


def test_the_peers_stream_limit() -> None:
    client = Client()
    assert client.machine.available_streams == 100
    first, _ = client.begin(), client.begin()
    client.receive(client.peer.settings({SettingCodes.MAX_CONCURRENT_STREAMS: 1}))
    assert client.saw(StreamLimitChanged) == [StreamLimitChanged(1)]
    assert client.machine.available_streams == 0
    client.receive(client.peer.settings({SettingCodes.MAX_CONCURRENT_STREAMS: 2**32 - 1}))
    assert client.machine.available_streams > 1000
    client.receive(client.peer.settings({SettingCodes.MAX_CONCURRENT_STREAMS: 2}))
    assert client.machine.available_streams == 0
    client.receive(client.peer.response(first, 200, end=True))
    assert client.machine.available_streams == 0  # its request still runs
    client.machine.send_body(first, b"", end=True)
    assert client.machine.available_streams == 1


def test_a_stream_window_beyond_31_bits_ends_the_stream() -> None:
    client = wide_client()
    stream_id = client.begin()
    client.receive(client.peer.window_update(stream_id, 1))
    (reset,) = client.saw(StreamReset)
    assert "window" in reset.reason
    assert client.machine.available_streams == 100


def test_a_connection_window_beyond_31_bits_ends_the_connection() -> None:
    client = wide_client()
    client.begin()
    client.receive(client.peer.window_update(0, 1))
    (over,) = client.saw(ConnectionTerminated)
    assert over.error_code == 0x3
    client.flush()
    assert client.sent(GoAwayFrame)[0].error_code == 0x3
