"""Which endpoints HTTPS records come to, and which of them a plan tries."""

from __future__ import annotations

import pytest

from trilane.transport.config import HttpVersion, Preference
from trilane.transport.message import Origin
from trilane.transport.policy.dns_records import HttpsRecord
from trilane.transport.policy.selection import OriginKnowledge, choose, destinations
from trilane.transport.policy.services import Service, alias_of, service_name, services

ORIGIN = Origin("https", "one.example", 443)
H1, H2, H3 = HttpVersion.HTTP1, HttpVersion.HTTP2, HttpVersion.HTTP3
BOTH = Preference(http2=True, http3=True)
OWN = ("one.example", 443)
AWAY = Service("cdn.example", 8443, (), frozenset({H1, H2, H3}))
TCP_ONLY = Service("tcp.example", 443, (), frozenset({H1, H2}))
QUIC_ONLY = Service("quic.example", 443, (), frozenset({H3}))


def test_the_name_asked_for_has_the_port_unless_it_is_443() -> None:
    assert service_name(ORIGIN) == "one.example"
    assert service_name(Origin("https", "one.example", 8443)) == "_8443._https.one.example"


def test_usable_services_by_priority() -> None:
    records = (
        HttpsRecord(priority=3, target="third.example", alpn=("h2",)),
        HttpsRecord(priority=1, target="first.example", alpn=("h3",), port=8443, hints=("::1",)),
        HttpsRecord(priority=1, target="strange.example", understood=False),
        HttpsRecord(priority=2, target="no host name!", alpn=("h3",)),
        HttpsRecord(priority=2, target="other.example", alpn=("spdy",), no_default_alpn=True),
        HttpsRecord(priority=2, target="zero.example", port=0),
        HttpsRecord(priority=2, target="quic.example", alpn=("h3",), no_default_alpn=True),
    )
    assert services(records, ORIGIN) == (
        Service("first.example", 8443, ("::1",), frozenset({H1, H3})),
        Service("quic.example", 443, (), frozenset({H3})),
        Service("third.example", 443, (), frozenset({H1, H2})),
    )


def test_an_alias_makes_services_beside_it_void() -> None:
    records = (
        HttpsRecord(priority=1, target="one.example"),
        HttpsRecord(priority=0, target="two.example"),
    )
    assert alias_of(records) == "two.example"
    assert alias_of(records[:1]) is None


@pytest.mark.parametrize(
    ("found", "preference", "quic", "tcp"),
    [
        ((), BOTH, [OWN], [OWN]),
        ((AWAY,), BOTH, [AWAY.address], [AWAY.address, OWN]),
        ((TCP_ONLY,), BOTH, [], [TCP_ONLY.address, OWN]),
        ((QUIC_ONLY,), BOTH, [QUIC_ONLY.address], [OWN]),
        ((AWAY,), Preference(http2=True), [], [AWAY.address, OWN]),
        ((TCP_ONLY,), Preference(exactly=H3), [OWN], []),
        ((QUIC_ONLY,), Preference(exactly=H3), [QUIC_ONLY.address, OWN], []),
        ((QUIC_ONLY,), Preference(exactly=H1), [], [OWN]),
        (
            (Service("bare.example", 443),),
            BOTH,
            [("bare.example", 443)],
            [("bare.example", 443), OWN],
        ),
    ],
)
def test_where_a_plan_leads(
    found: tuple[Service, ...],
    preference: Preference,
    quic: list[tuple[str, int]],
    tcp: list[tuple[str, int]],
) -> None:
    way = destinations(choose(preference, ORIGIN, OriginKnowledge()), ORIGIN, found)
    assert [each.address for each in way.quic] == quic
    assert [each.address for each in way.tcp] == tcp


def test_an_advertised_alternative_comes_first() -> None:
    plan = choose(BOTH, ORIGIN, OriginKnowledge(alternative=("alt.example", 444)))
    way = destinations(plan, ORIGIN, (AWAY,))
    assert [each.address for each in way.quic] == [("alt.example", 444), AWAY.address]


def test_records_without_h3_leave_quic_out_unless_it_is_advertised() -> None:
    assert choose(BOTH, ORIGIN, OriginKnowledge(quic_absent=True)).quic is None
    known = OriginKnowledge(quic_absent=True, alternative=("alt.example", 444))
    assert choose(BOTH, ORIGIN, known).quic == ("alt.example", 444)
