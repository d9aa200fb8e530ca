"""Heads that are like earlier ones skip h2; whatever the order, they mean what they say."""

from __future__ import annotations

from typing import NamedTuple

import pytest
from h2.settings import SettingCodes
from hpack import Decoder, Encoder
from hyperframe.frame import ContinuationFrame, HeadersFrame
from hypothesis import given
from hypothesis import strategies as st

from tests.http2.client import Client, upload_head
from tests.http2.frame_factory import FrameFactory
from trilane.transport.config import Limits
from trilane.transport.message import Headers, parse_url
from trilane.transport.protocols import h2_private
from trilane.transport.protocols.events import (
    DataReceived,
    Event,
    HeadReceived,
    InterimReceived,
    ResponseEnded,
    ResponseReceived,
    StreamReset,
)
from trilane.transport.protocols.fields import request_fields
from trilane.transport.protocols.http2_fields import HeadEncoder

_HEADERS = st.fixed_dictionaries(
    {"accept": st.sampled_from(["*/*", "a/b"])},
    optional={
        "x-token": st.sampled_from(["1", "2", "é"]),
        "authorization": st.sampled_from(["secret", "other"]),
        "content-type": st.sampled_from(
            ["multipart/form-data; boundary=1", "a; boundary=2", "c/d"]
        ),
    },
)


@given(
    st.lists(st.tuples(_HEADERS, st.sampled_from([0, 5]), st.sampled_from([None, 0, 64, 9000]))),
)
def test_what_the_peer_decodes_is_what_was_to_be_sent(
    requests: list[tuple[dict[str, str], int, int | None]],
) -> None:
    client, decoder = Client(), Decoder()
    for headers, length, table_bytes in requests:
        if table_bytes is not None:
            client.receive(client.peer.settings({SettingCodes.HEADER_TABLE_SIZE: table_bytes}))
            client.flush()
            decoder.max_allowed_table_size = min(table_bytes, 4096)
        head = upload_head(length, headers=headers)
        stream_id = client.machine.send_head(head, end=False)
        frame = next(f for f in client.flush() if isinstance(f, HeadersFrame))
        fields = decoder.decode(frame.data, raw=True)
        assert sorted(map(tuple, fields)) == sorted(request_fields(head))
        assert [name.startswith(b":") for name, _ in fields].index(False) == 4
        client.machine.reset_stream(stream_id)
        client.flush()


@given(st.lists(st.sampled_from(["/a", "/b", "/c"]), min_size=5, max_size=12))
def test_a_head_means_the_same_after_others_have_entered_the_table(paths: list[str]) -> None:
    heads, decoder = HeadEncoder(Encoder()), Decoder()
    for path in paths:
        head = upload_head(5, headers={"accept": "*/*"})
        head.url = parse_url(f"https://example.test{path}")
        fields = decoder.decode(heads.encode(head), raw=True)
        assert sorted(map(tuple, fields)) == sorted(request_fields(head))


def test_a_long_head_goes_on_in_further_frames() -> None:
    client, decoder = Client(), Decoder()
    head = upload_head(5, headers={f"x-{n}": "ä" * 900 for n in range(30)})
    client.machine.send_head(head, end=False)
    first, *rest = client.flush()
    assert isinstance(first, HeadersFrame)
    assert all(isinstance(frame, ContinuationFrame) for frame in rest)
    assert ["END_HEADERS" in frame.flags for frame in (first, *rest)] == [False] * len(rest) + [
        True
    ]
    block = b"".join(frame.data for frame in (first, *rest) if hasattr(frame, "data"))
    decoder.max_header_list_size = 2**20
    assert sorted(map(tuple, decoder.decode(block, raw=True))) == sorted(request_fields(head))


_RESPONSES = st.tuples(
    st.sampled_from([103, 200, 404]),
    st.lists(
        st.tuples(
            st.sampled_from(["date", "server", "content-length"]),
            st.sampled_from(["1", "2", "3"]),
        ),
        max_size=3,
        unique_by=lambda field: field[0],
    ),
    st.integers(0, 3),
    st.booleans(),
)


@given(st.lists(_RESPONSES, max_size=12))
def test_every_head_is_the_one_the_peer_sent(
    responses: list[tuple[int, list[tuple[str, str]], int, bool]],
) -> None:
    client = Client()
    for status, fields, body_bytes, trailers in responses:
        stream_id = client.get()
        sent = client.peer.response(stream_id, status, fields)
        if status == 103:
            events = client.receive(sent)
            assert [type(event) for event in events] == [InterimReceived]
            sent = client.peer.response(stream_id, 200, fields)
        body = client.peer.data(stream_id, bytes(body_bytes), end=not trailers)
        tail = client.peer.headers(stream_id, fields, end=True) if trailers else b""
        events = client.receive(sent, body, tail)
        head = events[0]
        assert isinstance(head, HeadReceived)
        assert (head.head.status, head.head.headers) == (max(status, 200), Headers(fields))
        assert head.byte_count == len(sent)
        announced = dict(fields).get("content-length", str(body_bytes))
        last = events[-1]
        if int(announced) == body_bytes:
            assert last == ResponseEnded(stream_id, Headers(fields if trailers else ()))
            assert sum(len(e.data) for e in events if isinstance(e, DataReceived)) == body_bytes
        else:
            assert isinstance(last, StreamReset)
        client.machine.forget_stream(stream_id)
    assert client.machine.available_streams == 100


class _Answer(NamedTuple):
    """How a server answers."""

    status: int
    announced: int | None
    body: bytes
    end: str
    credit: int
    asks: str
    """The request: `GET`, `HEAD`, or one that has not ended when it is answered."""

    def sent_by(self, peer: FrameFactory, stream_id: int) -> bytes:
        """The frames."""
        length = [] if self.announced is None else [("content-length", str(self.announced))]
        parts = [peer.window_update(0, self.credit)] if self.credit else []
        parts.append(peer.response(stream_id, self.status, length, end=self.end == "head"))
        if self.end != "head":
            parts.append(peer.data(stream_id, self.body, end=self.end == "data"))
        if self.end == "empty data":
            parts.append(peer.data(stream_id, b"", end=True))
        if self.end == "trailers":
            parts.append(peer.headers(stream_id, [("x-after", "1")], end=True))
        if self.end == "another":
            parts += (peer.data(stream_id, b"+", end=True), peer.ping())
        return b"".join(parts)


_ANSWERS = st.builds(
    _Answer,
    st.sampled_from([200, 200, 404, 204]),
    st.sampled_from([None, None, 3, 4]),
    st.sampled_from([b"", b"abc", b"abc", bytes(300)]),
    st.sampled_from(["data", "data", "data", "head", "empty data", "trailers", "another"]),
    st.sampled_from([0, 1000]),
    st.sampled_from(["GET", "GET", "POST", "HEAD"]),
)


@given(st.lists(_ANSWERS, min_size=2, max_size=12), st.sampled_from([1, 13, 1 << 20]))
def test_a_response_taken_at_once_is_one_taken_step_by_step(
    answers: list[_Answer], piece_bytes: int
) -> None:
    whole, bytewise = Client(), Client()
    for answer in answers:
        events: list[list[Event]] = []
        for client, step in ((whole, piece_bytes), (bytewise, 1)):
            head = upload_head(0, method=answer.asks)
            stream_id = client.machine.send_head(head, end=answer.asks != "POST")
            client.flush()
            sent = answer.sent_by(client.peer, stream_id)
            parts = [sent[at : at + step] for at in range(0, len(sent), step)]
            with pytest.MonkeyPatch.context() as patch:
                if client is bytewise:
                    patch.setattr(h2_private, "take_response", lambda *_, **__: False)
                events.append([event for part in parts for event in client.receive(part)])
            client.flush()
        assert events[0] == events[1]
        assert whole.machine.stream_totals(stream_id) == bytewise.machine.stream_totals(stream_id)
        for client in (whole, bytewise):
            client.machine.reset_stream(stream_id)
            client.machine.forget_stream(stream_id)
            client.flush()
        assert whole.machine.available_streams == bytewise.machine.available_streams == 100
    assert list(map(str, whole.frames)) == list(map(str, bytewise.frames))


def test_an_answer_like_an_earlier_one_is_told_at_once() -> None:
    client = Client()
    for number in range(3):
        stream_id = client.get()
        head = client.peer.response(stream_id, 200, [("content-length", "2")])
        data = client.peer.data(stream_id, b"ok", end=True)
        events = client.machine.receive_data(head + data)
        assert [type(event) for event in events] == (
            [ResponseReceived] if number > 1 else [HeadReceived, DataReceived, ResponseEnded]
        )
        client.machine.forget_stream(stream_id)


def test_data_before_a_head_and_a_second_head_are_still_h2s_to_judge() -> None:
    client = Client()
    for _ in range(2):
        stream_id = client.get()
        client.receive(client.peer.response(stream_id, 200, end=True))
    stream_id = client.get()
    events = client.receive(client.peer.data(stream_id, b"x", end=True))
    assert not any(isinstance(event, DataReceived) for event in events)


def test_windows_are_returned_for_data_taken_without_h2() -> None:
    client = Client(limits=Limits())
    for _ in range(16):
        stream_id = client.get()
        client.receive(client.peer.response(stream_id, 200))
        for _ in range(70):
            client.receive(client.peer.data(stream_id, bytes(16384)))
        client.receive(client.peer.data(stream_id, b"x", end=True))
        client.flush()
        client.machine.forget_stream(stream_id)
    assert len(client.saw(ResponseEnded)) == 16


def test_a_known_head_announces_no_body_to_head() -> None:
    client = Client()
    fields = [("content-length", "5")]
    for method, body in (("GET", b"12345"), ("GET", b"12345"), ("HEAD", b""), ("GET", b"12345")):
        stream_id = client.machine.send_head(upload_head(0, method=method), end=True)
        client.flush()
        head = client.peer.response(stream_id, 200, fields, end=not body)
        tail = client.peer.data(stream_id, body, end=True) if body else b""
        events = client.receive(head, tail)
        assert isinstance(events[-1], ResponseEnded)
        assert sum(len(e.data) for e in events if isinstance(e, DataReceived)) == len(body)
