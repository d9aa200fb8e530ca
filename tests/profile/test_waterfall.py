"""The waterfall: a pure layout whose bars stay on their axis, drawn in any width."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from trilane.transport.config import HttpVersion
from trilane.transport.profile.moments import (
    Attempt,
    AttemptOutcome,
    ConnectionFacts,
    DialRecord,
    Moment,
)
from trilane.transport.profile.profile import Profile, fold
from trilane.transport.profile.recorder import Recorder
from trilane.transport.profile.waterfall import (
    Bar,
    Waterfalls,
    bar_cells,
    duration_text,
    phase_bars,
    size_text,
    upload_rate_bytes_per_s,
    waterfall_text,
)

MS = 1_000_000
URL = "https://127.0.0.1:8443/upload"


def record(
    *,
    version: HttpVersion = HttpVersion.HTTP1,
    reused: bool = False,
    until: Moment = Moment.RESPONSE_END,
) -> Recorder:
    """A plausible record, its moments 1 ms apart, that ends at a given moment."""
    recorder = Recorder(clock=lambda: 0)
    recorder.queue_start = recorder.queue_end = 0
    recorder.begin_leg(URL)
    quic = version is HttpVersion.HTTP3
    dial = DialRecord(
        dns_start=1 * MS,
        dns_end=2 * MS,
        connect_start=3 * MS,
        tcp_connected=None if quic else 4 * MS,
        tls_start=3 * MS if quic else 5 * MS,
        tls_end=6 * MS,
        connect_end=6 * MS,
        attempts=(
            Attempt(
                address=("::1", 8443),
                protocol="tcp",
                start=2 * MS,
                end=3 * MS,
                outcome=AttemptOutcome.FAILED,
                error="refused \x1b[31m by\npeer",
            ),
            Attempt(
                address=("127.0.0.1", 8443),
                protocol="tcp",
                start=3 * MS,
                end=4 * MS,
                outcome=AttemptOutcome.WON,
            ),
        ),
    )
    facts = ConnectionFacts(
        connection_id=1,
        version=version,
        peer=("127.0.0.1", 8443),
        local=("127.0.0.1", 40000),
        tls=None,
        dial=dial,
    )
    recorder.use_connection(facts, reused=reused)
    recorder.leg.upload_complete = True
    recorder.leg.body_bytes = recorder.leg.body_sent_bytes = 2 << 20
    recorder.leg.status = 200
    for moment, at in (
        (Moment.REQUEST_START, 7),
        (Moment.REQUEST_END, 9),
        (Moment.REQUEST_ACKED, 10),
        (Moment.RESPONSE_START, 12),
        (Moment.RESPONSE_HEAD_END, 12),
        (Moment.RESPONSE_END, 15),
    ):
        if moment <= until:
            recorder.mark(moment, at * MS)
    return recorder


def profile_of(
    *,
    version: HttpVersion = HttpVersion.HTTP1,
    reused: bool = False,
    until: Moment = Moment.RESPONSE_END,
) -> Profile:
    return fold(record(version=version, reused=reused, until=until))


def test_phases_come_in_the_order_of_a_request_with_their_own_times() -> None:
    assert phase_bars(profile_of()) == [
        Bar("DNS", 1 * MS, 2 * MS),
        Bar("connect", 3 * MS, 4 * MS),
        Bar("TLS", 5 * MS, 6 * MS),
        Bar("send", 7 * MS, 9 * MS),
        Bar("acked", 9 * MS, 10 * MS),
        Bar("wait", 9 * MS, 12 * MS),
        Bar("receive", 12 * MS, 15 * MS),
    ]


def test_http3_shows_connection_and_tls_as_one_handshake() -> None:
    bars = phase_bars(profile_of(version=HttpVersion.HTTP3))
    assert Bar("QUIC", 3 * MS, 6 * MS) in bars
    assert {"connect", "TLS"}.isdisjoint(bar.label for bar in bars)


def test_a_reused_connection_has_no_connection_bars() -> None:
    labels = [bar.label for bar in phase_bars(profile_of(reused=True))]
    assert labels == ["send", "acked", "wait", "receive"]


def test_a_failed_request_shows_what_it_reached() -> None:
    labels = [bar.label for bar in phase_bars(profile_of(until=Moment.REQUEST_END))]
    assert labels == ["DNS", "connect", "TLS", "send"]


def test_a_failure_has_a_bar_from_the_last_thing_that_happened() -> None:
    failed = record(until=Moment.REQUEST_END)
    failed.failed = 40 * MS
    failed.leg.error = "the peer sent no byte"
    profile = fold(failed)
    assert phase_bars(profile)[-1] == Bar("failed", 9 * MS, 40 * MS)
    assert "failed after 40.0 ms: the peer sent no byte" in waterfall_text(profile, 200)


def test_a_call_that_failed_before_it_began_shows_when() -> None:
    waiting = Recorder(clock=lambda: 2 * MS)
    waiting.failed = 5 * MS
    profile = fold(waiting)
    assert phase_bars(profile) == [Bar("failed", 2 * MS, 5 * MS)]
    assert "failed after 3.0 ms" in waterfall_text(profile, 200)


def test_queue_and_redirect_are_shown_when_they_took_time() -> None:
    profile = replace(profile_of(), queue_end=1 * MS, redirect_start=1 * MS, redirect_end=2 * MS)
    assert phase_bars(profile)[:2] == [
        Bar("queue", 0, 1 * MS),
        Bar("redirect", 1 * MS, 2 * MS),
    ]


def test_an_early_response_has_no_wait_and_says_so() -> None:
    profile = replace(profile_of(), response_start=8 * MS, early_response=True)
    assert "wait" not in [bar.label for bar in phase_bars(profile)]
    assert "began before the request had been sent" in waterfall_text(profile)


@given(
    origin=st.integers(0, 10**15),
    start=st.integers(0, 10**12),
    length=st.integers(0, 10**12),
    slack=st.integers(0, 10**12),
    width=st.integers(1, 300),
)
def test_a_bar_stays_on_its_axis_and_is_never_empty(
    origin: int, start: int, length: int, slack: int, width: int
) -> None:
    bar = Bar("x", origin + start, origin + start + length)
    first, count = bar_cells(bar, origin, start + length + slack, width)
    assert 0 <= first < width
    assert 1 <= count <= width - first


@given(
    times=st.lists(st.integers(0, 10**9), min_size=3, max_size=3).map(sorted),
    width=st.integers(1, 200),
)
def test_bars_keep_their_order_on_the_axis(times: list[int], width: int) -> None:
    earlier, later = Bar("a", times[0], times[1]), Bar("b", times[1], times[2])
    span = times[2]
    assert bar_cells(earlier, 0, span, width)[0] <= bar_cells(later, 0, span, width)[0]


@pytest.mark.parametrize("width", [26, 40, 80, 200])
def test_no_line_is_wider_than_asked_for(width: int) -> None:
    text = waterfall_text(profile_of(), width)
    assert max(map(len, text.splitlines())) <= width
    assert "receive" in text


def test_facts_name_protocol_peer_reuse_and_lost_attempts_without_control_characters() -> None:
    text = waterfall_text(profile_of(), 200)
    assert "http/1.1, 127.0.0.1:8443, new connection, status 200" in text
    assert "tcp to [::1]:8443 failed after 1.0 ms: refused ?[31m by peer" in text
    assert "\x1b" not in text
    assert "reused connection" in waterfall_text(profile_of(reused=True))


def test_a_profile_without_any_leg_still_draws() -> None:
    text = waterfall_text(fold(Recorder()))
    assert "no connection" in text


def test_an_unfinished_body_says_how_far_it_came() -> None:
    profile = replace(
        profile_of(), upload_complete=False, body_sent_bytes=1 << 20, body_acked_bytes=512
    )
    assert "1.0 MiB of 2.0 MiB body, 512 B acknowledged" in waterfall_text(profile, 200)


def test_several_profiles_share_one_scale() -> None:
    short, long = profile_of(), replace(profile_of(), response_end=30 * MS)
    text = Waterfalls([("short", short), ("long", long)]).text(60)
    upper, lower = text.split("\nlong\n")
    assert upper.startswith("short\n")
    bars = {part: [line.count("─") for line in part.splitlines()] for part in (upper, lower)}
    assert max(bars[upper]) * 2 == pytest.approx(max(bars[lower]), abs=1)


def test_str_of_a_profile_is_its_waterfall() -> None:
    profile = profile_of()
    assert str(profile) == waterfall_text(profile)


@pytest.mark.parametrize("width", [40, 100])
def test_rich_draws_the_same_text_in_its_own_width(width: int) -> None:
    profile = profile_of()
    out = io.StringIO()
    Console(file=out, width=width, color_system=None).print(profile)
    drawn = [line.rstrip() for line in out.getvalue().splitlines()]
    assert drawn == waterfall_text(profile, width).splitlines()


def test_no_color_leaves_no_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    out = io.StringIO()
    Console(file=out, width=80, force_terminal=True).print(profile_of())
    colours = [code for code in ("\x1b[32m", "\x1b[34m", "\x1b[92m") if code in out.getvalue()]
    assert colours == []


@pytest.mark.parametrize(
    ("duration_ns", "text"),
    [(0, "0 µs"), (345_000, "345 µs"), (12_340_000, "12.3 ms"), (1_500_000_000, "1.50 s")],
)
def test_durations_read_well(duration_ns: int, text: str) -> None:
    assert duration_text(duration_ns) == text


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (3 << 20, "3.0 MiB"), (5 << 30, "5.0 GiB")],
)
def test_sizes_read_well(size: int, text: str) -> None:
    assert size_text(size) == text


def test_upload_rate_ends_at_the_acknowledgement() -> None:
    profile = profile_of()
    assert upload_rate_bytes_per_s(profile) == pytest.approx((2 << 20) / 0.003)
    assert upload_rate_bytes_per_s(replace(profile, request_acked=None)) == pytest.approx(
        (2 << 20) / 0.002
    )
    assert upload_rate_bytes_per_s(replace(profile, body_sent_bytes=0)) is None
