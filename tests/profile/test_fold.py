"""From a record to a profile and its seed view: the rules of the contract, case by case."""

from __future__ import annotations

import json
import pickle
import re
from dataclasses import FrozenInstanceError, fields, replace
from itertools import count
from pathlib import Path

import pytest

from trilane.transport.config import HttpVersion
from trilane.transport.facts import TlsFacts
from trilane.transport.profile.invariants import order_violations
from trilane.transport.profile.moments import (
    Attempt,
    AttemptOutcome,
    ConnectionFacts,
    DialRecord,
    Moment,
    TransportSample,
    WallAnchor,
)
from trilane.transport.profile.profile import Profile, fold
from trilane.transport.profile.recorder import Recorder

TLS = TlsFacts(version="TLSv1.3", cipher="TLS_AES_128_GCM_SHA256", alpn=None, session_resumed=False)
DIAL = DialRecord(
    dns_start=10, dns_end=20, connect_start=20, tcp_connected=30, tls_start=30, tls_end=40,
    connect_end=40,
    attempts=(
        Attempt(
            address=("192.0.2.1", 443), protocol="tcp", start=20, end=30,
            outcome=AttemptOutcome.WON,
        ),
    ),
)  # fmt: skip


def facts(dial: DialRecord = DIAL, *, secure: bool = True) -> ConnectionFacts:
    return ConnectionFacts(
        connection_id=7,
        version=HttpVersion.HTTP1,
        peer=("192.0.2.1", 443),
        local=("192.0.2.9", 50000),
        tls=TLS if secure else None,
        dial=dial,
    )


def record(
    *,
    reused: bool = False,
    secure: bool = True,
    dial: DialRecord = DIAL,
    url: str = "https://a.example/x",
) -> Recorder:
    clock = count(1)
    recorder = Recorder(lambda: next(clock))
    recorder.queue_start = recorder.queue_end = recorder.now()
    leg = recorder.begin_leg(url)
    recorder.use_connection(facts(dial, secure=secure), reused=reused)
    for moment, at in (
        (Moment.REQUEST_START, 50),
        (Moment.REQUEST_END, 60),
        (Moment.REQUEST_ACKED, 65),
        (Moment.RESPONSE_START, 70),
        (Moment.RESPONSE_HEAD_END, 70),
        (Moment.RESPONSE_END, 80),
    ):
        recorder.mark(moment, at)
    leg.upload_complete = True
    leg.sent_bytes, leg.received_bytes = 1000, 200
    return recorder


def test_a_profile_read_field_by_field_is_the_value_it_always_was() -> None:
    recorder = record()
    profile = fold(recorder)
    values = {each.name: getattr(fold(recorder), each.name) for each in fields(Profile)}

    assert profile == Profile(**values) == replace(profile) == pickle.loads(pickle.dumps(profile))
    assert (hash(profile), repr(profile)) == (hash(Profile(**values)), repr(Profile(**values)))
    assert not hasattr(profile, "no_such_field")
    with pytest.raises(FrozenInstanceError):
        profile.dns_start = 1  # type: ignore[misc]


def test_a_fresh_connection_brings_its_moments() -> None:
    profile = fold(record())

    assert (profile.dns_start, profile.connect_end, profile.tls_start) == (10, 40, 30)
    assert (profile.peer_ip, profile.port, profile.socket_reused) == ("192.0.2.1", 443, False)
    assert profile.attempts == DIAL.attempts
    assert order_violations(profile) == []


def test_a_reused_connection_has_no_connect_phases_of_its_own() -> None:
    profile = fold(record(reused=True))
    seed = profile.seed()

    assert (profile.dns_start, profile.connect_start, profile.tls_end) == (None, None, None)
    for name in ("domainLookUpStart", "domainLookUpEnd", "connectStart", "connectEnd",
                 "SSLconnectionStart", "SSLconnectionEnd"):  # fmt: skip
        assert seed[name] == seed["fetchStart"], name
    assert seed["socketReused"] is True


def test_a_connection_begun_before_the_leg_is_clamped_to_its_start() -> None:
    early = DialRecord(dns_start=-9, dns_end=-8, connect_start=-8, tcp_connected=5, connect_end=5)
    profile = fold(record(dial=early))

    assert profile.dns_start == profile.connect_start == profile.fetch_start
    assert profile.connect_end == 5
    assert order_violations(profile) == []


def test_without_a_lookup_dns_equals_fetch_start() -> None:
    literal = DialRecord(connect_start=20, tcp_connected=30, connect_end=30)
    seed = fold(record(dial=literal)).seed()

    assert seed["domainLookUpStart"] == seed["domainLookUpEnd"] == seed["fetchStart"]


def test_plain_http_has_no_tls_times() -> None:
    seed = fold(record(url="http://a.example/x", secure=False)).seed()

    assert (seed["SSLconnectionStart"], seed["SSLconnectionEnd"]) == (0, 0)


def test_what_was_not_reached_is_none_and_zero() -> None:
    recorder = Recorder()
    recorder.begin_leg("https://a.example/")
    recorder.use_dial(DialRecord(dns_start=recorder.now()))
    profile = fold(recorder)
    seed = profile.seed()

    assert (profile.connect_start, profile.request_start, profile.response_end) == (None,) * 3
    assert seed["domainLookUpStart"] != 0
    for name in ("domainLookUpEnd", "connectStart", "requestStart", "responseEnd"):
        assert seed[name] == 0, name
    assert (seed["protocol"], seed["peerIP"], seed["port"]) == ("unknown", "", 0)


def test_nothing_at_all_can_be_folded() -> None:
    profile = fold(Recorder())

    assert profile.seed()["fetchStart"] == 0
    assert order_violations(profile) == []


@pytest.mark.parametrize(
    ("second", "shown"), [("https://a.example/y", True), ("https://b.example/", False)]
)
def test_redirect_times_are_shown_for_hops_within_the_origin(second: str, shown: bool) -> None:
    recorder = record()
    recorder.begin_leg(second, is_redirect=True)
    recorder.mark(Moment.RESPONSE_START, 500)
    profile = fold(recorder)
    seed = profile.seed()

    assert profile.redirect_end == profile.fetch_start
    assert (seed["redirectStart"] != 0) is shown
    assert (seed["redirectEnd"] == seed["fetchStart"]) is shown
    assert profile.sent_bytes == 1000
    assert len(profile.legs) == 2


def test_an_early_response_says_so_and_keeps_its_own_order() -> None:
    recorder = record()
    recorder.leg.upload_complete = False
    recorder.mark(Moment.REQUEST_END, 75)
    recorder.leg.times[Moment.REQUEST_ACKED] = None
    profile = fold(recorder)

    assert profile.early_response
    assert not profile.upload_complete
    assert order_violations(profile) == []


def test_disorder_is_found() -> None:
    recorder = record()
    recorder.mark(Moment.RESPONSE_END, 69)

    assert order_violations(fold(recorder)) == [
        "response_end (69) is before response_head_end (70)"
    ]


def test_throughput_and_rtt_are_measured_or_absent() -> None:
    recorder = record()
    recorder.leg.sample = TransportSample(at=70, rtt_ms=12.5)
    profile = fold(recorder)
    one_piece = record()
    one_piece.mark(Moment.RESPONSE_END, 70)

    assert profile.throughput_kbps == pytest.approx(200 * 8 / 10e-9 / 1000)
    assert profile.seed()["rtt"] == 12.5
    assert fold(one_piece).throughput_kbps is None
    assert fold(one_piece).seed()["throughputKbps"] == 0


def test_epoch_times_keep_microseconds() -> None:
    anchor = WallAnchor(monotonic_ns=1_000, epoch_ns=1_700_000_000_000_000_000)

    assert anchor.epoch_ms(1_000 + 1_234_567) == 1_700_000_000_001.234


def test_the_seed_is_json_and_has_every_field_it_promises() -> None:
    seed = fold(record()).seed()

    assert json.loads(json.dumps(seed)) == seed
    assert set(_documented_fields()) <= set(seed)


def _documented_fields() -> list[str]:
    """The fields of docs/profile.md's first table, which lists the seed's names."""
    text = (Path(__file__).parents[2] / "docs" / "profile.md").read_text("utf-8")
    text = text.split("## Beyond the seed")[0]
    names = re.findall(r"^\| `(\w+)`", text, re.MULTILINE)
    assert len(names) > 25
    return [name for name in names if not name.startswith("httpDNS")]
