"""Requests that end early: by STOP_SENDING, by a reset, or because we gave them up."""

from __future__ import annotations

import pytest
from aioquic.h3.connection import ErrorCode

from tests.http3.conftest import MakePair
from tests.http3.pair import (
    Upload,
)
from tests.http3.scenes import BIG, begin_upload, get, saw
from trilane.transport.protocols.events import (
    HeadReceived,
    ResponseEnded,
    SendingStopped,
    StreamReset,
)


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
