"""Heads that are like earlier ones skip the library; they mean what they would have meant."""

from __future__ import annotations

from dataclasses import replace

import pylsqpack
import pytest
from aioquic.h3.connection import FrameType, Setting, encode_frame
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from hypothesis import given
from hypothesis import strategies as st

from tests.http3.conftest import MakePair
from tests.http3.pair import Pair, upload_head
from tests.http3.scenes import answer_raw, get, headers_frame, saw
from trilane.transport.message import Headers
from trilane.transport.protocols import aioquic_private as private
from trilane.transport.protocols.aioquic_h3 import RequestOnlyH3Connection
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
from trilane.transport.protocols.http3_fields import FieldEncoder
from trilane.transport.protocols.http3_stream import RequestStream

OK = ((b":status", b"200"), (b"x-a", b"1"))
FIVE = (*OK, (b"content-length", b"5"))
BODY = encode_frame(FrameType.DATA, b"12345")


@pytest.fixture
def plainly(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether each response was taken without the library; one with a body is one event then."""
    results: list[bool] = []
    take_plain = RequestStream.take_plain

    def noting(stream: RequestStream, data: bytes, heads: object) -> list[Event] | None:
        events = take_plain(stream, data, heads)  # type: ignore[arg-type]
        results.append(events is not None)
        kinds = [type(event) for event in events or ()]
        assert kinds in ([], [ResponseReceived], [HeadReceived, ResponseEnded])
        return events

    monkeypatch.setattr(RequestStream, "take_plain", noting)
    return results


def exchange(pair: Pair, frames: bytes, *, method: str = "GET") -> list[Event]:
    """What the machine makes of a response; the stream's number is left out."""
    pair.events.clear()
    answer_raw(pair, frames)
    stream_id = get(pair, method=method)
    pair.run(lambda: saw(pair, ResponseEnded) or saw(pair, StreamReset))
    kinds = (InterimReceived, HeadReceived, DataReceived, ResponseEnded, StreamReset)
    found: list[Event] = []
    found += [replace(event, stream_id=0) for event in pair.events if isinstance(event, kinds)]
    totals = pair.machine.stream_totals(stream_id)
    assert totals.received_bytes == len(frames)
    pair.machine.forget_stream(stream_id)
    return found


@pytest.mark.parametrize("fields", [OK, FIVE])
@pytest.mark.parametrize("body", [b"", BODY])
def test_the_second_response_is_the_first_one_again(
    make_pair: MakePair,
    plainly: list[bool],
    fields: tuple[tuple[bytes, bytes], ...],
    body: bytes,
) -> None:
    pair = make_pair()
    frames = headers_frame(pair, *fields) + body
    first = exchange(pair, frames)
    assert exchange(pair, frames) == exchange(pair, frames) == first
    complete = body or fields is OK
    assert isinstance(first[-1], ResponseEnded if complete else StreamReset)
    assert plainly == [False] + [bool(complete)] * 2


def test_other_frames_behind_a_known_head_are_the_librarys_to_judge(
    make_pair: MakePair, plainly: list[bool]
) -> None:
    pair = make_pair()
    head = headers_frame(pair, *OK)
    trailers = headers_frame(pair, (b"x-t", b"1"))
    unknown = encode_frame(0x21, b"grease")
    exchange(pair, head)
    for rest, data in (
        (BODY + BODY, b"1234512345"),
        (BODY + trailers, b"12345"),
        (unknown + BODY, b"12345"),
        (BODY + unknown, b"12345"),
    ):
        events = exchange(pair, head + rest)
        found = b"".join(event.data for event in events if isinstance(event, DataReceived))
        assert found == data
        last = events[-1]
        assert isinstance(last, ResponseEnded)
        assert bool(last.trailers) == (rest == BODY + trailers)
    assert not any(plainly)


def test_an_interim_head_is_none_to_remember(make_pair: MakePair, plainly: list[bool]) -> None:
    pair = make_pair()
    early, head = headers_frame(pair, (b":status", b"103")), headers_frame(pair, *OK)
    for _ in range(2):
        events = exchange(pair, early + head + BODY)
        assert [type(event) for event in events] == [
            InterimReceived,
            HeadReceived,
            DataReceived,
            ResponseEnded,
        ]
    assert not any(plainly)


def test_a_known_head_announces_no_body_to_head(make_pair: MakePair) -> None:
    pair = make_pair()
    head = headers_frame(pair, *FIVE)
    for method, body in (("HEAD", b""), ("GET", BODY), ("GET", BODY), ("HEAD", b"")):
        events = exchange(pair, head + body, method=method)
        assert isinstance(events[-1], ResponseEnded)


def test_a_length_that_is_not_kept_to_is_refused_each_time(make_pair: MakePair) -> None:
    pair = make_pair()
    head = headers_frame(pair, *FIVE)
    exchange(pair, head + BODY)
    for body in (encode_frame(FrameType.DATA, b"1234"), encode_frame(FrameType.DATA, b"123456")):
        events = exchange(pair, head + body)
        assert isinstance(events[-1], StreamReset)
        assert "malformed" in events[-1].reason


_HEADERS = st.fixed_dictionaries(
    {"accept": st.sampled_from(["*/*", "a/b"])},
    optional={
        "x-token": st.sampled_from(["1", "é"]),
        "content-type": st.sampled_from(
            [f"multipart/form-data; boundary={'b' * size}" for size in (1, 95, 97, 98, 400, 20_000)]
            + ["c/d"]
        ),
    },
)


@given(st.lists(st.tuples(_HEADERS, st.sampled_from([0, 5, 123_456, None])), max_size=8))
def test_what_the_peer_decodes_is_what_was_to_be_sent(
    requests: list[tuple[dict[str, str], int | None]],
) -> None:
    quic = QuicConnection(configuration=QuicConfiguration(is_client=True))
    encoder = FieldEncoder(RequestOnlyH3Connection(quic, max_field_section_bytes=1000))
    for headers, length in requests:
        head = replace(upload_head(length), headers=Headers(headers))
        _, fields = pylsqpack.Decoder(0, 0).feed_header(0, encoder.encode(head))
        assert sorted(fields) == sorted(request_fields(head))
        assert [name.startswith(b":") for name, _ in fields].index(False) == 4


@pytest.mark.parametrize("end", [True, False])
def test_a_request_begun_without_the_library_is_one_it_has_begun(
    make_pair: MakePair, *, end: bool
) -> None:
    pair = make_pair()
    receiver = pair.machine._receiver
    assert receiver is not None
    ours, theirs = 400, 404
    receiver.h3.begin_request(ours, end=end)
    receiver.h3.send_headers(theirs, [(b":method", b"GET")], end_stream=end)
    # Neither is forgotten before the response has ended.
    states = [vars(receiver.h3._stream[each]) | {"stream_id": 0} for each in (ours, theirs)]
    assert states[0] == states[1]


@pytest.mark.parametrize("capacity", [0, 4096])
def test_a_table_is_used_where_the_peer_has_one(make_pair: MakePair, *, capacity: int) -> None:
    pair = make_pair()
    receiver = pair.machine._receiver
    assert receiver is not None
    pair.run(lambda: receiver.h3.received_settings is not None)
    settings = receiver.h3.received_settings
    assert settings is not None
    settings[Setting.QPACK_MAX_TABLE_CAPACITY] = capacity
    sent = []
    for _ in range(3):
        stream_id = get(pair)
        sent.append(private.send_half(pair.machine.quic, stream_id).queued_offset)
        pair.events.clear()
        pair.run(lambda: saw(pair, ResponseEnded))
    assert (sent[2] < sent[0]) == (capacity > 0)
