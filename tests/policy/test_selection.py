"""Which protocols a request may use: the table of `policy.selection`, row by row."""

from __future__ import annotations

import pytest

from trilane.transport.config import HttpVersion, Preference
from trilane.transport.errors import ProtocolUnavailable
from trilane.transport.message import Origin
from trilane.transport.policy.selection import OriginKnowledge, choose

H1, H2, H3 = HttpVersion.HTTP1, HttpVersion.HTTP2, HttpVersion.HTTP3
SECURE = Origin("https", "upload.example", 443)
PLAIN = Origin("http", "upload.example", 80)
NOTHING_KNOWN = OriginKnowledge()


@pytest.mark.parametrize(
    ("preference", "alpn", "races_quic"),
    [
        (Preference(), (H1,), False),
        (Preference(http2=True), (H2, H1), False),
        (Preference(http3=True), (H1,), True),
        (Preference(http2=True, http3=True), (H2, H1), True),
        (Preference(exactly=H1), (H1,), False),
        (Preference(exactly=H2), (H2,), False),
        (Preference(exactly=H3), (), True),
    ],
)
def test_https_offers_what_was_asked_for(
    preference: Preference, alpn: tuple[HttpVersion, ...], races_quic: bool
) -> None:
    plan = choose(preference, SECURE, NOTHING_KNOWN)

    assert plan.alpn == alpn
    assert plan.quic == (("upload.example", 443) if races_quic else None)


@pytest.mark.parametrize(
    ("preference", "alpn"),
    [
        (Preference(), (H1,)),
        (Preference(http2=True, http3=True), (H1,)),
        (Preference(exactly=H1), (H1,)),
        (Preference(exactly=H2), (H2,)),
    ],
)
def test_cleartext_speaks_http2_only_on_demand(
    preference: Preference, alpn: tuple[HttpVersion, ...]
) -> None:
    plan = choose(preference, PLAIN, NOTHING_KNOWN)

    assert (plan.alpn, plan.quic) == (alpn, None)


def test_cleartext_http3_is_refused_with_the_reason() -> None:
    with pytest.raises(ProtocolUnavailable, match="needs an https"):
        choose(Preference(exactly=H3), PLAIN, NOTHING_KNOWN)


@pytest.mark.parametrize(("srtt_s", "delay_s"), [(None, 0.3), (0.04, 0.06), (5.0, 3.0)])
def test_tcp_waits_in_proportion_to_the_round_trip(srtt_s: float | None, delay_s: float) -> None:
    plan = choose(Preference(http3=True), SECURE, OriginKnowledge(srtt_s=srtt_s))

    assert plan.tcp_delay_s == pytest.approx(delay_s)


def test_broken_quic_is_left_out_of_the_race_but_an_h3_connection_is_still_used() -> None:
    plan = choose(Preference(http2=True, http3=True), SECURE, OriginKnowledge(quic_broken=True))

    assert plan.quic is None
    assert plan.reusable == {H1, H2, H3}


def test_broken_quic_is_tried_all_the_same_on_demand() -> None:
    plan = choose(Preference(exactly=H3), SECURE, OriginKnowledge(quic_broken=True))

    assert plan.quic == ("upload.example", 443)


def test_an_alternative_service_is_where_quic_goes() -> None:
    knowledge = OriginKnowledge(alternative=("alt.example", 8443))

    assert choose(Preference(http3=True), SECURE, knowledge).quic == ("alt.example", 8443)
