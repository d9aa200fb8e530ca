"""What one leg shows: which moments make a round trip, which bytes a transfer."""

from __future__ import annotations

import pytest

from tests.quality.support import MS, Clock, make_leg, mark_ms, sample
from trilane.transport.config import HttpVersion
from trilane.transport.profile.moments import Moment
from trilane.transport.profile.recorder import Leg
from trilane.transport.quality.flight import Flight
from trilane.transport.quality.observations import Source
from trilane.transport.quality.transfers import Transfer


def flight_of(leg: Leg, *, has_body: bool = True, expects_continue: bool = False) -> Flight:
    return Flight(
        leg=leg, counts=True, is_get=not has_body, has_body=has_body,
        expects_continue=expects_continue,
    )  # fmt: skip


def uploaded_leg(
    *,
    version: HttpVersion = HttpVersion.HTTP1,
    rtt_ms: float | None = 40,
    body_bytes: int = 100_000,
    **moments_ms: float,
) -> Leg:
    """An upload from 0 to 100 ms, acknowledged at 140 and answered at 150 unless told else."""
    clock = Clock()
    leg = make_leg(clock, version=version)
    moments = {"request_start": 0, "request_end": 100, "request_acked": 140}
    moments |= {"response_start": 150, "response_head_end": 151, "response_end": 160}
    mark_ms(leg, clock.now, **moments | moments_ms)
    leg.upload_complete = True
    leg.body_bytes = leg.body_acked_bytes = leg.body_sent_bytes = body_bytes
    leg.sample = sample(rtt_ms, rtt_ms)
    return leg


def test_without_a_body_it_is_chromiums_http_round_trip() -> None:
    leg = uploaded_leg(request_end=0.1)

    assert flight_of(leg, has_body=False).http_rtt() == (151.0, Source.HTTP)


def test_with_a_body_the_time_of_the_upload_is_not_in_it() -> None:
    assert flight_of(uploaded_leg()).http_rtt() == (50.0, Source.HTTP_UPLOAD)


@pytest.mark.parametrize(
    ("acked_ms", "response_ms", "expected_ms"),
    [
        # 3 s of the body lay in the send buffer: the last byte left at 3100, the answer came 60
        # ms after that.
        (3140, 3160, 60),
        # The acknowledgement was noticed only with the answer, or after it.
        (3160, 3160, 40),
        (3165, 3160, 40),
        # A server that thinks for a second is slow, and does not look as if it were the buffer.
        (140, 1140, 1040),
        # An acknowledgement may be late by itself.
        (190, 200, 100),
    ],
)
def test_the_time_in_the_send_buffer_is_not_in_it_either(
    acked_ms: float, response_ms: float, expected_ms: float
) -> None:
    leg = uploaded_leg(request_acked=acked_ms, response_start=response_ms)

    assert flight_of(leg).http_rtt() == (expected_ms, Source.HTTP_UPLOAD)


def test_quic_has_no_send_buffer() -> None:
    leg = uploaded_leg(version=HttpVersion.HTTP3, request_acked=3140, response_start=3160)

    assert flight_of(leg).http_rtt() == (3060.0, Source.HTTP_UPLOAD)


@pytest.mark.parametrize("blind", ["acked", "sample"])
def test_without_acknowledgements_or_round_trips_it_is_the_plain_difference(blind: str) -> None:
    leg = uploaded_leg(request_acked=3140, response_start=3160)
    if blind == "acked":
        leg.times[Moment.REQUEST_ACKED] = None
    else:
        leg.sample = None

    assert flight_of(leg).http_rtt() == (3060.0, Source.HTTP_UPLOAD)


@pytest.mark.parametrize("has_body", [True, False])
def test_an_answer_before_the_end_of_the_request_is_no_round_trip(has_body: bool) -> None:
    leg = uploaded_leg(response_start=90, response_head_end=90)
    if not has_body:
        leg.upload_complete = False

    assert flight_of(leg, has_body=has_body).http_rtt() is None


@pytest.mark.parametrize("has_body", [True, False])
def test_a_request_without_an_answer_is_no_round_trip(has_body: bool) -> None:
    leg = uploaded_leg()
    leg.times[Moment.RESPONSE_START] = leg.times[Moment.RESPONSE_HEAD_END] = None

    assert flight_of(leg, has_body=has_body).http_rtt() is None


@pytest.mark.parametrize(
    ("version", "source"),
    [
        (HttpVersion.HTTP1, Source.TCP),
        (HttpVersion.HTTP2, Source.TCP),
        (HttpVersion.HTTP3, Source.QUIC),
    ],
)
def test_the_transport_has_a_round_trip_of_its_own(version: HttpVersion, source: Source) -> None:
    assert flight_of(uploaded_leg(version=version)).transport_rtt() == (40.0, source)
    assert flight_of(uploaded_leg(version=version, rtt_ms=None)).transport_rtt() is None


def test_an_upload_lasts_until_its_last_byte_is_acknowledged() -> None:
    leg = uploaded_leg()
    start = leg.times[Moment.REQUEST_START]
    assert start is not None

    found = flight_of(leg).upload()

    assert found == Transfer(start, start + 140 * MS, 100_000, 40 * MS, until_acked=True)


def test_an_answer_to_all_of_it_proves_that_all_of_it_arrived() -> None:
    leg = uploaded_leg(request_acked=158, response_start=150)
    start = leg.times[Moment.REQUEST_START]
    assert start is not None

    found = flight_of(leg).upload()

    assert found is not None
    assert found.end == start + 150 * MS


def test_an_early_answer_proves_nothing() -> None:
    leg = uploaded_leg(request_acked=158, response_start=50)
    start = leg.times[Moment.REQUEST_START]
    assert start is not None

    found = flight_of(leg).upload()

    assert found is not None
    assert found.end == start + 158 * MS


def test_a_body_without_a_length_tells_how_fast_it_is_made() -> None:
    leg = uploaded_leg()
    leg.body_bytes = None

    assert flight_of(leg).upload() is None


@pytest.mark.parametrize(
    ("version", "interim_ms", "start_ms"),
    [
        (HttpVersion.HTTP1, 60, 60),
        (HttpVersion.HTTP1, None, None),
        (HttpVersion.HTTP2, 60, 0),
        (HttpVersion.HTTP3, None, 0),
    ],
)
def test_a_body_that_is_held_back_starts_when_it_is_asked_for(
    version: HttpVersion, interim_ms: float | None, start_ms: float | None
) -> None:
    leg = uploaded_leg(version=version)
    start = leg.times[Moment.REQUEST_START]
    assert start is not None
    if interim_ms is not None:
        mark_ms(leg, start, interim_start=interim_ms)

    found = flight_of(leg, expects_continue=True).upload()

    assert (found.start if found else None) == (None if start_ms is None else start + start_ms * MS)


def test_an_upload_on_its_way_is_known_as_far_as_it_is_acknowledged() -> None:
    leg = uploaded_leg()
    start = leg.times[Moment.REQUEST_START]
    assert start is not None
    leg.times[Moment.REQUEST_ACKED] = leg.times[Moment.RESPONSE_START] = None
    leg.body_acked_bytes = 30_000
    flight = flight_of(leg)

    assert flight.upload() is None
    assert flight.upload(start + 50 * MS) == Transfer(start, start + 50 * MS, 30_000, 40 * MS)
    leg.body_acked_bytes = None
    assert flight.upload(start + 50 * MS) is None


def test_a_download_begins_after_the_read_of_the_head() -> None:
    leg = uploaded_leg()
    leg.response_body_bytes, leg.response_body_with_head_bytes = 90_000, 10_000
    head_end = leg.times[Moment.RESPONSE_HEAD_END]
    assert head_end is not None

    assert flight_of(leg).download() == Transfer(head_end, head_end + 9 * MS, 80_000, 40 * MS)
    assert flight_of(leg).received_bytes == 90_000


def test_a_response_in_one_piece_is_no_download() -> None:
    leg = uploaded_leg()
    leg.response_body_bytes = leg.response_body_with_head_bytes = 90_000

    assert flight_of(leg).download() is None


def test_a_flight_was_last_heard_of_when_it_last_received() -> None:
    clock = Clock()
    leg = make_leg(clock)
    flight = flight_of(leg)
    assert flight.last_byte_at == flight.begun_at == clock.now

    heard = []
    for name in ("interim_start", "response_start", "response_end"):
        clock.advance_ms(10)
        leg.times[Moment[name.upper()]] = clock.now
        heard.append(flight.last_byte_at == clock.now)

    assert heard == [True, True, True]
