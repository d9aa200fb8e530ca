"""Whatever the peer sends, the machine neither hangs nor raises, and what it says is consistent."""

from __future__ import annotations

from collections.abc import Callable

from h2.settings import SettingCodes
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.apart import apart
from tests.http2.client import Client, upload_head
from tests.http2.frame_factory import FrameFactory
from trilane.transport.config import Limits
from trilane.transport.protocols.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    HeadReceived,
    ResponseEnded,
    SendingStopped,
    StreamReset,
    StreamWritable,
)
from trilane.transport.protocols.http2 import Http2Machine

FrameMaker = Callable[[FrameFactory], bytes]

stream_ids = st.sampled_from([0, 1, 1, 1, 3, 3, 5, 2, 99])
codes = st.sampled_from([0, 1, 7, 8, 11, 0xFFFFFFFF])
small = st.binary(max_size=40)
fields = st.lists(
    st.tuples(
        st.sampled_from([":status", "content-length", "x", "X", "", "te", ":path", "connection"]),
        st.sampled_from(["200", "100", "101", "404", "3", "0", "", "a\nb", " x", "trailers"]),
    ),
    max_size=4,
)
setting_values = st.dictionaries(
    st.sampled_from(list(SettingCodes)),
    st.sampled_from([0, 1, 100, 16384, 65535, 70_000, 2**31 - 1, 2**32 - 1]),
    max_size=3,
)

frame_makers: st.SearchStrategy[FrameMaker] = st.one_of(
    st.builds(lambda v: lambda p: p.settings(v), setting_values),
    st.builds(
        lambda i, s, e: lambda p: p.response(i, s, [("content-length", "3")], end=e),
        stream_ids.filter(bool),
        st.sampled_from([100, 103, 200, 204, 413]),
        st.booleans(),
    ),
    st.builds(
        lambda i, f, e, h: lambda p: p.headers(i, f, end=e, end_headers=h),
        stream_ids.filter(bool),
        fields,
        st.booleans(),
        st.sampled_from([True, True, True, False]),
    ),
    st.builds(
        lambda i, d, e: lambda p: p.data(i, d, end=e), stream_ids.filter(bool), small, st.booleans()
    ),
    st.builds(
        lambda i, n: lambda p: p.window_update(i, n),
        stream_ids,
        st.sampled_from([1, 1000, 70_000, 2**31 - 1]),
    ),
    st.builds(lambda i, c: lambda p: p.reset(i, c), stream_ids.filter(bool), codes),
    st.builds(lambda i, c, d: lambda p: p.goaway(i, c, d), stream_ids, codes, small),
    st.builds(lambda a: lambda p: p.ping(ack=a), st.booleans()),
    st.builds(
        lambda i, b, e: lambda p: p.continuation(i, b, end_headers=e),
        stream_ids.filter(bool),
        small,
        st.booleans(),
    ),
    st.builds(
        lambda k, f, i, b: lambda p: p.raw(k, f, i, b),
        st.integers(0, 12),
        st.integers(0, 255),
        stream_ids,
        small,
    ),
)

Action = Callable[[Client], object]


def _arrives(make: FrameMaker) -> Action:
    return lambda client: client.receive(make(client.peer))


arrivals: st.SearchStrategy[Action] = frame_makers.map(_arrives)


def _send(stream_id: int, wanted: int, *, end: bool) -> Action:
    def act(client: Client) -> None:
        budget = client.machine.send_budget(stream_id)
        assert budget >= 0
        if budget:
            client.machine.send_body(stream_id, bytes(min(wanted, budget)), end=end)

    return act


def _begin(client: Client) -> None:
    if client.machine.available_streams:
        client.machine.send_head(upload_head(), end=False)


actions: st.SearchStrategy[Action] = st.one_of(
    st.builds(
        lambda i, n, e: _send(i, n, end=e),
        st.sampled_from([1, 3, 5]),
        st.sampled_from([1, 20_000, 10**9]),
        st.sampled_from([False, False, True]),
    ),
    st.builds(
        lambda i, c: lambda client: client.machine.reset_stream(i, response_complete=c),
        st.sampled_from([1, 3, 5]),
        st.booleans(),
    ),
    st.builds(lambda i: lambda client: client.machine.forget_stream(i), st.sampled_from([1, 3])),
    st.just(_begin),
    st.just(lambda client: client.machine.transmit()),
    st.just(lambda client: client.machine.ping(b"12345678")),
    st.just(lambda client: client.machine.close()),
    st.just(lambda client: client.receive(b"")),
)


def check_story(events: list[Event]) -> None:
    """Each stream's events come in an order that makes sense."""
    state: dict[int, str] = {}
    for position, event in enumerate(events):
        match event:
            case ConnectionTerminated():
                rest = events[position + 1 :]
                assert not [later for later in rest if not isinstance(later, StreamWritable)]
            case HeadReceived(stream_id=stream_id):
                assert state.get(stream_id) is None
                state[stream_id] = "head"
            case DataReceived(stream_id=stream_id):
                assert state.get(stream_id) == "head"
            case ResponseEnded(stream_id=stream_id):
                assert state.get(stream_id) == "head"
                state[stream_id] = "ended"
            case StreamReset(stream_id=stream_id):
                assert state.get(stream_id) in (None, "head")
                state[stream_id] = "over"
            case SendingStopped(stream_id=stream_id):
                assert state.get(stream_id) == "ended"
                state[stream_id] = "over"
            case _:
                pass


@given(st.lists(st.binary(max_size=200), max_size=10), st.booleans())
def test_arbitrary_bytes(pieces: list[bytes], after_settings: bool) -> None:
    client = Client() if after_settings else None
    machine = client.machine if client is not None else Http2Machine(Limits())
    stream_id = machine.send_head(upload_head(), end=False)
    events: list[Event] = []
    for piece in pieces:
        events += apart(machine.receive_data(piece))
        assert machine.send_budget(stream_id) >= 0
        machine.transmit()
    events += machine.receive_data(b"")
    check_story(events)
    assert [type(event) for event in events].count(ConnectionTerminated) == 1
    assert machine.available_streams == 0


@settings(max_examples=400, deadline=None)
@given(st.lists(st.one_of(arrivals, arrivals, actions), max_size=30))
def test_arbitrary_frames_and_actions(steps: list[Action]) -> None:
    client = Client({SettingCodes.INITIAL_WINDOW_SIZE: 70_000})
    for _ in range(3):
        client.begin()
    for step in steps:
        step(client)
        assert client.machine.available_streams >= 0
    client.receive(b"")
    client.flush()
    check_story(client.events)
