"""Which protocols a request may use, in which order, and how long TCP waits behind QUIC.

====================  ==============================  ===========================================
asked for             https://                        http://
====================  ==============================  ===========================================
neither flag          HTTP/1.1 (ALPN http/1.1)        HTTP/1.1
http2                 ALPN h2, http/1.1               HTTP/1.1
http3                 QUIC raced with http/1.1        HTTP/1.1
http2 and http3       QUIC raced with h2, http/1.1    HTTP/1.1
exactly http/1.1      ALPN http/1.1                   HTTP/1.1
exactly h2            ALPN h2                         h2 with prior knowledge (RFC 9113 §3.3)
exactly h3            QUIC only                       refused: HTTP/3 has no cleartext form
====================  ==============================  ===========================================

QUIC is left out of a race while it is known to be broken for the origin, or not to be there, and
through a proxy that speaks HTTP, which carries no datagrams.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..config import HttpVersion, Preference, ProxyServer
from ..errors import ProtocolUnavailable
from ..message import Origin
from .services import Endpoint, Service

#: Chromium starts TCP this many smoothed round trips after QUIC (net/http, kSRTTMultiplier).
RTT_FACTOR = 1.5
#: … this long after it when no round trip is known …
DEFAULT_TCP_DELAY_S = 0.3
#: … and never later than this.
LONGEST_TCP_DELAY_S = 3.0

_H1, _H2, _H3 = HttpVersion.HTTP1, HttpVersion.HTTP2, HttpVersion.HTTP3


@dataclass(frozen=True, slots=True, kw_only=True)
class OriginKnowledge:
    """What earlier requests and Alt-Svc told about an origin."""

    quic_broken: bool = False
    """QUIC failed lately, or lost a race without an answer."""
    quic_absent: bool = False
    """HTTPS records name protocols of the origin, and HTTP/3 is not among them."""
    alternative: tuple[str, int] | None = None
    """Host and port of an h3 alternative service (RFC 7838), when one was advertised."""
    srtt_s: float | None = None
    """Smoothed round-trip time last seen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How to obtain a connection that a request may use."""

    reusable: frozenset[HttpVersion]
    """Existing connections of these protocols will do."""
    alpn: tuple[HttpVersion, ...] = ()
    """What TCP offers, by preference; empty: TCP is not tried."""
    quic: tuple[str, int] | None = None
    """Where QUIC is tried first."""
    tcp_delay_s: float = 0.0
    """How long TCP waits behind QUIC."""

    @property
    def may_multiplex(self) -> bool:
        """Whether one connection may turn out to serve many requests."""
        return self.quic is not None or _H2 in self.alpn


_PLANS_OF_ONE = {each: Plan(reusable=frozenset({each}), alpn=(each,)) for each in (_H1, _H2)}


def only_plan(preference: Preference, origin: Origin) -> Plan | None:
    """The plan where there is but one, whatever is known of the origin; None: `choose`."""
    if preference.exactly is not None:
        return _PLANS_OF_ONE.get(preference.exactly)
    return None if origin.secure else _PLANS_OF_ONE[_H1]


def choose(
    preference: Preference,
    origin: Origin,
    knowledge: OriginKnowledge,
    proxy: ProxyServer | None = None,
) -> Plan:
    """Decide which protocols a request may use on its way, through a proxy perhaps.

    Raises:
        ProtocolUnavailable: HTTP/3 was demanded for an http:// URL, or through an HTTP proxy.
    """
    plan = only_plan(preference, origin)
    if plan is not None:
        return plan
    quic = knowledge.alternative or (origin.host, origin.port)
    if preference.exactly is _H3:
        if not origin.secure:
            raise ProtocolUnavailable(f"{origin} cannot speak HTTP/3: it needs an https:// URL")
        if proxy is not None and not proxy.is_socks:
            raise ProtocolUnavailable(
                f"{origin} cannot be reached by HTTP/3 through the proxy {proxy}: "
                "only SOCKS5 proxies relay UDP"
            )
        return Plan(reusable=frozenset({_H3}), quic=quic)
    alpn = (_H2, _H1) if preference.http2 else (_H1,)
    if not preference.http3 or (proxy is not None and not proxy.is_socks):
        return Plan(reusable=frozenset(alpn), alpn=alpn)
    if knowledge.quic_broken or (knowledge.quic_absent and knowledge.alternative is None):
        # An HTTP/3 connection that came up after all is still the best one.
        return Plan(reusable=frozenset({_H3, *alpn}), alpn=alpn)
    delay_s = _tcp_delay_s(knowledge.srtt_s)
    return Plan(reusable=frozenset({_H3}), alpn=alpn, quic=quic, tcp_delay_s=delay_s)


@dataclass(frozen=True, slots=True)
class Destinations:
    """Where a connection is made to; each list is tried in order."""

    quic: tuple[Endpoint, ...]
    tcp: tuple[Endpoint, ...]


def destinations(plan: Plan, origin: Origin, services: Sequence[Service]) -> Destinations:
    """Where a plan leads with what HTTPS records say of the origin.

    A service that speaks h3 counts like an advertised alternative; an advertised one comes first,
    for the origin itself vouched for it (RFC 9460 §9.3). Records without h3 say that there is none:
    QUIC is left out of the race, so that nobody waits for it. The origin's own host and port come
    last in any case, except for QUIC in a race, which has TCP to fall back on (§3.1).
    """
    own = Endpoint(origin.host, origin.port)
    tcp = [each for each in services if any(map(each.speaks, plan.alpn))] if plan.alpn else []
    return Destinations(
        quic=_quic_endpoints(plan, own, services),
        tcp=_distinct(*tcp, own) if plan.alpn else (),
    )


def _quic_endpoints(plan: Plan, own: Endpoint, services: Sequence[Service]) -> tuple[Endpoint, ...]:
    if plan.quic is None:
        return ()
    speaking = [each for each in services if each.speaks(_H3)]
    last_resort = [own] if services and not plan.alpn else []
    if plan.quic != own.address:
        return _distinct(Endpoint(*plan.quic), *speaking, *last_resort)
    return _distinct(*speaking, *(last_resort if services else [own]))


def _distinct(*endpoints: Endpoint) -> tuple[Endpoint, ...]:
    """Each address once."""
    first: dict[tuple[str, int], Endpoint] = {}
    for endpoint in endpoints:
        first.setdefault(endpoint.address, endpoint)
    return tuple(first.values())


def _tcp_delay_s(srtt_s: float | None) -> float:
    if srtt_s is None:
        return DEFAULT_TCP_DELAY_S
    return min(RTT_FACTOR * srtt_s, LONGEST_TCP_DELAY_S)
