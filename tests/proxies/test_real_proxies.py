"""Uploads through real proxies: what arrives, what the profile says, what goes wrong."""

from __future__ import annotations

import hashlib
import json
import logging
import random
from collections.abc import Iterator
from typing import Literal

import pytest

import trilane
from tests.peers.leaks import no_leaked_descriptors
from tests.peers.proxies import CREDENTIALS, Proxy
from tests.peers.scripted import refused_port
from tests.peers.servers import Endpoints
from tests.proxies.conftest import TINY_PASSWORD
from trilane.transport.profile.invariants import order_violations

pytestmark = pytest.mark.interop

CONTENT = random.Random(7).randbytes(1_000_003)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
Kind = Literal["socks5", "socks5h", "socks5-password", "http", "http-password", "https"]
Protocol = Literal["http/1.1", "h2", "h3"]
FIXTURES: dict[Kind, str] = {
    "socks5": "dante",
    "socks5h": "dante",
    "socks5-password": "microsocks",
    "http": "tinyproxy",
    "http-password": "guarded_tinyproxy",
    "https": "secure_tinyproxy",
}
CREDENTIALS_OF: dict[Kind, str] = {
    "socks5-password": CREDENTIALS,
    "http-password": f"bob:{TINY_PASSWORD}",
}


@pytest.fixture(autouse=True)
def nothing_leaks() -> Iterator[None]:
    with no_leaked_descriptors():
        yield


@pytest.fixture
def proxy(request: pytest.FixtureRequest, kind: Kind) -> Proxy:
    found: Proxy = request.getfixturevalue(FIXTURES[kind])
    return found


def url_of(proxy: Proxy, kind: Kind) -> str:
    return proxy.url(kind.partition("-")[0], CREDENTIALS_OF.get(kind))


def sound(response: trilane.Response) -> trilane.Profile:
    """The file has arrived whole, and the profile is in order."""
    assert response.status_code == 200
    assert [part["sha256"] for part in json.loads(response.content)["parts"]] == [SHA256]
    profile = response.profile
    assert profile is not None
    assert order_violations(profile) == []
    return profile


def between(*moments: int | None) -> None:
    """Everything happened, in this order."""
    times = [at for at in moments if at is not None]
    assert len(times) == len(moments), moments
    assert times == sorted(times)


def check_way(profile: trilane.Profile, proxy: Proxy, kind: Kind) -> None:
    scheme = kind.partition("-")[0]
    assert profile.proxy == proxy.url(scheme)
    assert profile.peer_ip == "127.0.0.1"
    assert {attempt.proxy for attempt in profile.attempts} == {profile.proxy}
    between(profile.proxy_connect_start, profile.connect_start, profile.proxy_connect_end)
    looked_up = scheme == "socks5"
    assert (profile.dns_start is not None) is looked_up
    if not looked_up:
        assert profile.seed()["domainLookUpStart"] == profile.seed()["fetchStart"]


TUNNELS: list[tuple[Kind, Protocol]] = [
    (kind, protocol) for kind in FIXTURES for protocol in ("http/1.1", "h2")
]


@pytest.mark.parametrize(("kind", "protocol"), TUNNELS)
async def test_tcp_through_a_tunnel(
    kind: Kind, protocol: Protocol, proxy: Proxy, receiver: Endpoints, trust: str
) -> None:
    url = receiver.url("https", host="localhost")
    async with trilane.AsyncClient(verify=trust, proxy=url_of(proxy, kind)) as client:
        profile = sound(await client.upload(url, CONTENT, protocol=protocol))
        again = sound(await client.upload(url, CONTENT, protocol=protocol))

    check_way(profile, proxy, kind)
    assert profile.port == proxy.port
    between(profile.connect_start, profile.tcp_connected, profile.proxy_connect_end)
    between(profile.proxy_connect_end, profile.proxy_handshake_start, profile.proxy_handshake_end)
    between(profile.proxy_handshake_end, profile.tls_start, profile.tls_end)
    assert profile.tls_end == profile.connect_end
    expected = ["tcp", "connect" if kind.startswith("http") else "socks5", "tls"]
    if kind == "https":
        expected.insert(1, "proxy-tls")
    assert [attempt.protocol for attempt in profile.attempts] == expected
    # A request's bytes are its own: the same again on the used connection, which has no dialogue.
    assert again.socket_reused
    assert again.proxy == profile.proxy
    assert again.proxy_connect_start is None
    if protocol == "http/1.1":
        assert again.sent_bytes == profile.sent_bytes
    assert profile.transport is not None
    assert (profile.transport.wire_sent_bytes or 0) > profile.sent_bytes


@pytest.mark.parametrize("kind", ["socks5", "socks5h"])
async def test_http3_through_a_relay(
    kind: Kind, proxy: Proxy, receiver: Endpoints, trust: str
) -> None:
    url = receiver.url("https", host="localhost")
    async with trilane.AsyncClient(verify=trust, proxy=url_of(proxy, kind)) as client:
        profile = sound(await client.upload(url, CONTENT, protocol="h3"))
        again = sound(await client.upload(url, CONTENT, protocol="h3"))

    check_way(profile, proxy, kind)
    assert profile.http_version == "h3"
    assert profile.high_performance
    # The relay's port, which is none of those anybody listens on by TCP.
    assert profile.port not in {None, proxy.port, receiver.https_port}
    between(profile.proxy_connect_end, profile.proxy_handshake_start, profile.proxy_handshake_end)
    between(profile.proxy_handshake_end, profile.tls_start, profile.connect_end)
    assert [attempt.protocol for attempt in profile.attempts] == ["tcp", "socks5", "quic"]
    assert again.socket_reused
    assert profile.transport is not None
    # Each datagram carries a header of at least ten bytes.
    datagrams = profile.transport.datagrams_sent or 0
    assert (profile.transport.wire_sent_bytes or 0) > len(CONTENT) + 10 * datagrams


@pytest.mark.parametrize("kind", ["socks5", "socks5h", "http", "http-password", "https"])
async def test_plain_http(kind: Kind, proxy: Proxy, receiver: Endpoints, trust: str) -> None:
    url = receiver.url("http", host="localhost")
    async with trilane.AsyncClient(verify=trust, proxy=url_of(proxy, kind)) as client:
        profile = sound(await client.upload(url, CONTENT))

    check_way(profile, proxy, kind)
    assert profile.tls_start is None
    forwarded = kind.startswith("http")
    assert (profile.proxy_handshake_end is None) is forwarded
    ended = profile.proxy_connect_end if forwarded else profile.proxy_handshake_end
    assert profile.connect_end == ended


async def test_a_forwarding_proxys_connection_serves_several_origins(
    tinyproxy: Proxy, receiver: Endpoints, trust: str, upstream: Endpoints
) -> None:
    async with trilane.AsyncClient(proxy=tinyproxy.url("http")) as client:
        first = await client.upload(receiver.url("http"), b"1", filename="a")
        other = await client.upload(upstream.url("http"), b"2", filename="a")

    assert (first.status_code, other.status_code) == (200, 200)
    assert first.profile is not None
    assert other.profile is not None
    # tinyproxy may close after each; if it keeps the connection, it is used.
    reused = other.profile.socket_reused
    assert (other.profile.connection_id == first.profile.connection_id) is reused


@pytest.mark.parametrize("kind", ["http", "https"])
async def test_an_http_proxy_leaves_http3_out(
    kind: Kind, proxy: Proxy, receiver: Endpoints, trust: str
) -> None:
    url = receiver.url("https")
    async with trilane.AsyncClient(verify=trust, proxy=url_of(proxy, kind), http3=True) as client:
        with pytest.raises(trilane.ProtocolUnavailable, match="only SOCKS5 proxies relay UDP"):
            await client.upload(url, CONTENT, protocol="h3")
        profile = sound(await client.upload(url, CONTENT))

    assert profile.http_version == "h2"
    assert "quic" not in {attempt.protocol for attempt in profile.attempts}


async def test_a_race_goes_on_over_tcp_where_udp_is_not_relayed(
    microsocks: Proxy, receiver: Endpoints, trust: str
) -> None:
    proxy = microsocks.url("socks5", CREDENTIALS)
    async with trilane.AsyncClient(verify=trust, proxy=proxy, http3=True) as client:
        profile = sound(await client.upload(receiver.url("https"), CONTENT))
        with pytest.raises(trilane.ProxyError, match="command not supported") as refused:
            await client.upload(receiver.url("https"), CONTENT, protocol="h3")

    assert profile.http_version == "h2"
    assert refused.value.reply == 7


@pytest.mark.parametrize(
    ("kind", "credentials", "status"),
    [
        ("socks5-password", "bob:wr0ng", None),
        ("socks5-password", None, None),
        ("http-password", "bob:wr0ng", 401),
        ("http-password", None, 407),
    ],
)
async def test_a_wrong_password_is_said_and_shown_nowhere(  # noqa: PLR0917 - fixtures
    kind: Kind,
    credentials: str | None,
    status: int | None,
    proxy: Proxy,
    receiver: Endpoints,
    trust: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    url = proxy.url(kind.partition("-")[0], credentials)
    async with trilane.AsyncClient(verify=trust, proxy=url) as client:
        with pytest.raises(trilane.ProxyAuthenticationError) as raised:
            await client.upload(receiver.url("https"), CONTENT)

    error = raised.value
    assert error.status == status
    assert error.proxy == proxy.url(kind.partition("-")[0])
    reason = "wants a user name and password" if credentials is None else "refused the user name"
    assert reason in str(error)
    profile = error.profile
    assert profile is not None
    assert profile.proxy == error.proxy
    assert profile.request_start is None
    assert error.bytes_sent == 0
    shown = f"{error!r} {error} {profile!r} {profile} {profile.seed()} {caplog.text}"
    assert "wr0ng" not in shown
    assert "bob" not in shown


@pytest.mark.parametrize(
    ("scheme", "protocol"),
    [
        ("http", "http/1.1"),
        ("https", "h2"),
        ("socks5", "http/1.1"),
        ("socks5h", "h2"),
        ("socks5", "h3"),
        ("socks5h", "h3"),
    ],
)
async def test_a_dead_proxy(
    scheme: str, protocol: Protocol, receiver: Endpoints, trust: str
) -> None:
    with refused_port() as port:
        proxy = f"{scheme}://bob:{TINY_PASSWORD}@127.0.0.1:{port}"
        async with trilane.AsyncClient(verify=trust, proxy=proxy) as client:
            with pytest.raises(trilane.ProxyError, match="connection refused") as raised:
                await client.upload(receiver.url("https"), CONTENT, protocol=protocol)

    assert TINY_PASSWORD not in str(raised.value)
    assert raised.value.profile is not None
    assert next(attempt.protocol for attempt in raised.value.profile.attempts) == "tcp"


async def test_a_proxys_certificate_is_verified(
    secure_tinyproxy: Proxy, receiver: Endpoints, trust: str
) -> None:
    async with trilane.AsyncClient(proxy=secure_tinyproxy.url("https")) as client:
        with pytest.raises(trilane.ProxyError, match="cannot be reached") as raised:
            await client.upload(receiver.url("https"), CONTENT)

    assert isinstance(raised.value.__cause__, trilane.CertificateError)


async def test_what_the_target_does_is_told_as_without_a_proxy(
    dante: Proxy, receiver: Endpoints, trust: str
) -> None:
    proxy = dante.url("socks5")
    async with trilane.AsyncClient(proxy=proxy) as client:
        with pytest.raises(trilane.CertificateError):
            await client.upload(receiver.url("https"), CONTENT, protocol="http/1.1")
        with pytest.raises(trilane.CertificateError):
            await client.upload(receiver.url("https"), CONTENT, protocol="h3")
        with refused_port() as port, pytest.raises(trilane.ProxyError) as refused:
            await client.upload(f"http://127.0.0.1:{port}/", CONTENT)

    assert refused.value.reply == 5
    assert refused.value.refused


async def test_allow_address_is_asked_before_a_proxy_is_told_a_name(
    dante: Proxy, tinyproxy: Proxy, receiver: Endpoints, trust: str
) -> None:
    """A proxy that resolves would connect to an address nobody has looked at."""
    for proxy in (dante.url("socks5h"), tinyproxy.url("http")):
        async with trilane.AsyncClient(
            verify=trust, proxy=proxy, allow_address=trilane.public_addresses_only
        ) as client:
            for scheme in ("http", "https"):
                with pytest.raises(trilane.AddressRefused):
                    await client.upload(receiver.url(scheme, host="localhost"), CONTENT)


async def test_the_environment_is_obeyed_unless_it_is_not_trusted(
    dante: Proxy, receiver: Endpoints, trust: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", dante.url("socks5"))
    url = receiver.url("https")
    ways: list[trilane.Profile] = []
    for options in ({}, {"trust_env": False}, {"proxy": ""}, {"no_proxy": "127.0.0.0/8"}):
        async with trilane.AsyncClient(verify=trust, **options) as client:
            ways.append(sound(await client.upload(url, CONTENT)))

    assert [way.proxy for way in ways] == [dante.url("socks5"), None, None, None]
