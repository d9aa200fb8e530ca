"""Which way an origin is reached."""

from __future__ import annotations

import pytest

from trilane.transport.config import (
    HttpVersion,
    Preference,
    ProxyOptions,
    ProxyScheme,
    ProxyServer,
)
from trilane.transport.errors import ProtocolUnavailable
from trilane.transport.message import Origin
from trilane.transport.policy.routes import Route, is_exempt, route_to
from trilane.transport.policy.selection import OriginKnowledge, choose

PLAIN, SECURE = Origin("http", "a.example", 80), Origin("https", "a.example", 443)
HTTP = ProxyServer(scheme=ProxyScheme.HTTP, host="proxy.example", port=3128)
SOCKS = ProxyServer(scheme=ProxyScheme.SOCKS5, host="proxy.example", port=1080)
ANY = Preference(http2=True, http3=True)


@pytest.mark.parametrize(
    ("origin", "preference", "proxy", "route"),
    [
        (SECURE, ANY, None, Route(SECURE)),
        (PLAIN, ANY, None, Route(PLAIN)),
        (SECURE, ANY, HTTP, Route(SECURE, HTTP)),
        (PLAIN, ANY, HTTP, Route(None, HTTP)),
        (PLAIN, Preference(exactly=HttpVersion.HTTP2), HTTP, Route(PLAIN, HTTP)),
        (SECURE, ANY, SOCKS, Route(SECURE, SOCKS)),
        (PLAIN, ANY, SOCKS, Route(PLAIN, SOCKS)),
    ],
)
def test_tunnels_forwarding_and_none(
    origin: Origin, preference: Preference, proxy: ProxyServer | None, route: Route
) -> None:
    options = ProxyOptions(for_http=proxy, for_https=proxy)

    assert route_to(origin, preference, options) == route
    exempt = ProxyOptions(for_http=proxy, for_https=proxy, no_proxy="*")
    assert route_to(origin, preference, exempt) == Route(origin)


def test_what_may_not_be_forwarded_goes_through_a_tunnel() -> None:
    options = ProxyOptions(for_http=HTTP)

    assert route_to(PLAIN, ANY, options, may_forward=False) == Route(PLAIN, HTTP)
    assert route_to(SECURE, ANY, options) == Route(SECURE)


def test_http_proxies_carry_no_quic() -> None:
    known = OriginKnowledge()

    assert choose(ANY, SECURE, known, HTTP).quic is None
    assert choose(ANY, SECURE, known, HTTP).alpn == (HttpVersion.HTTP2, HttpVersion.HTTP1)
    assert choose(ANY, SECURE, known, SOCKS).quic == ("a.example", 443)
    with pytest.raises(ProtocolUnavailable, match=r"http://proxy\.example:3128"):
        choose(Preference(exactly=HttpVersion.HTTP3), SECURE, known, HTTP)


@pytest.mark.parametrize(
    ("no_proxy", "host", "port", "exempt"),
    [
        ("", "a.example", 80, False),
        ("*", "a.example", 80, True),
        ("b.example, *", "a.example", 80, True),
        ("a.example", "a.example", 80, True),
        ("example", "a.example", 80, True),
        (".example", "a.example", 80, True),
        (".a.example", "a.example", 80, True),
        ("A.Example.", "a.example", 80, True),
        ("a.example", "a.example.", 80, True),
        ("ample", "a.example", 80, False),
        ("a.example.com", "a.example", 80, False),
        ("b.example a.example", "a.example", 80, True),
        ("a.example:80", "a.example", 80, True),
        ("a.example:81", "a.example", 80, False),
        ("10.0.0.1", "10.0.0.1", 80, True),
        ("10.0.0.0/8", "10.1.2.3", 80, True),
        ("10.0.0.0/8:81", "10.1.2.3", 80, False),
        ("10.0.0.0/8", "11.1.2.3", 80, False),
        ("10.0.0.0/8", "name.example", 80, False),
        ("0.1", "10.0.0.1", 80, False),
        ("::1", "::1", 80, True),
        ("[::1]", "::1", 80, True),
        ("[::1]:80", "::1", 80, True),
        ("[::1]:81", "::1", 80, False),
        ("2001:db8::/32", "2001:db8::7", 80, True),
        ("10.0.0.0/8", "::1", 80, False),
        (",, ,.", "a.example", 80, False),
    ],
)
def test_no_proxy_is_read_as_curl_does(no_proxy: str, host: str, port: int, exempt: bool) -> None:
    assert is_exempt(Origin("http", host, port), no_proxy) is exempt
