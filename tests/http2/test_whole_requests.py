"""A request that is laid out in one step is the request that would have been queued."""

from __future__ import annotations

import pytest
from h2.settings import SettingCodes
from hyperframe.frame import DataFrame, HeadersFrame, RstStreamFrame

from tests.http2.client import Client, upload_head
from tests.http2.frame_factory import parse_frames
from trilane.transport.protocols.events import ResponseEnded, StreamReset

FORM = {"content-type": "multipart/form-data; boundary=b", "x-token": "1"}


def queued(client: Client, body: bytes) -> bytes:
    stream_id = client.machine.send_head(upload_head(len(body), headers=FORM), end=not body)
    if body:
        assert client.machine.send_budget(stream_id) >= len(body)
        client.machine.send_body(stream_id, body, end=True)
    return b"".join(bytes(part) for part in client.machine.transmit())


@pytest.mark.parametrize("size", [0, 1, 1024, 16384, 16385, 60_000])
def test_it_is_what_would_have_been_queued(size: int) -> None:
    ours, theirs = Client(), Client()
    for number in range(1, 4):
        stream_id = 2 * number - 1
        body = bytes(size // number)
        begun = ours.machine.send_whole(upload_head(len(body), headers=FORM), body)
        assert begun == (stream_id, queued(theirs, body))
        for client in (ours, theirs):
            given_back = client.peer.window_update(0, len(body)) if body else b""
            answer = client.peer.response(stream_id, 200), client.peer.data(stream_id, b"ok")
            events = client.receive(given_back, *answer, client.peer.data(stream_id, b"", end=True))
            assert isinstance(events[-1], ResponseEnded)
        totals = [client.machine.stream_totals(stream_id) for client in (ours, theirs)]
        assert totals[0] == totals[1]
        for client in (ours, theirs):
            client.machine.forget_stream(stream_id)
            assert client.machine.available_streams == 100


@pytest.mark.parametrize("what", ["stream", "connection"])
def test_a_body_beyond_a_window_is_left_to_be_queued(what: str) -> None:
    settings: dict[SettingCodes | int, int] = {}
    settings[SettingCodes.INITIAL_WINDOW_SIZE] = 999 if what == "stream" else 1 << 20
    client = Client(settings)
    if what == "connection":
        assert client.machine.send_whole(upload_head(65535), bytes(65535)) is not None
    assert client.machine.send_whole(upload_head(1000), bytes(1000)) is None
    # Nothing was done: the next stream is still the next.
    next_id = 3 if what == "connection" else 1
    begun = client.machine.send_whole(upload_head(0), b"")
    assert begun is not None
    assert begun[0] == next_id


def test_nothing_overtakes_what_waits() -> None:
    client = Client()
    client.machine.send_head(upload_head(5), end=False)
    assert client.machine.send_whole(upload_head(5), b"12345") is None
    client.flush()
    assert client.machine.send_whole(upload_head(5), b"12345") is not None


def test_a_window_that_changes_meanwhile_is_the_next_ones() -> None:
    client = Client()
    client.receive(client.peer.settings({SettingCodes.INITIAL_WINDOW_SIZE: 10}))
    client.flush()
    assert client.machine.send_whole(upload_head(11), bytes(11)) is None
    client.receive(client.peer.settings({SettingCodes.INITIAL_WINDOW_SIZE: 11}))
    client.flush()
    assert client.machine.send_whole(upload_head(11), bytes(11)) is not None


def test_it_can_be_given_up_and_refused_like_any_other() -> None:
    client = Client()
    for refused in (False, True):
        begun = client.machine.send_whole(upload_head(5), b"12345")
        assert begun is not None
        stream_id, frames = begun
        head, data = parse_frames(frames)
        assert isinstance(head, HeadersFrame)
        assert isinstance(data, DataFrame)
        assert "END_STREAM" in data.flags
        if refused:
            (event,) = client.receive(client.peer.reset(stream_id, 7))
            assert event == StreamReset(stream_id, 7, retryable=True)
        client.machine.reset_stream(stream_id)
        client.machine.forget_stream(stream_id)
        resets = [frame for frame in client.flush() if isinstance(frame, RstStreamFrame)]
        assert len(resets) == (0 if refused else 1)
        assert client.machine.available_streams == 100
