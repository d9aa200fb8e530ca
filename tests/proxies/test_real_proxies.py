"""Uploads through real proxies: what arrives, and what the profile says."""

from __future__ import annotations

import base64
import hashlib
import json
import random
from collections.abc import Iterator

import pytest

import trilane
from tests.peers.certificates import Certificates
from tests.peers.leaks import no_leaked_descriptors
from tests.peers.proxies import CREDENTIALS, Proxy
from tests.peers.receipt import Receipt
from tests.peers.servers import Endpoints
from tests.proxies.kinds import KINDS, Kind, Protocol, with_protocols
from trilane.api.client_options import ClientOptions
from trilane.transport.profile.invariants import order_violations

pytestmark = pytest.mark.interop

CONTENT = random.Random(7).randbytes(1_000_003)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(autouse=True)
def nothing_leaks() -> Iterator[None]:
    with no_leaked_descriptors():
        yield


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
    seed = profile.seed()
    assert profile.proxy == proxy.url(kind.scheme)
    assert (profile.peer_ip, seed["peerIP"]) == ("127.0.0.1", "127.0.0.1")
    assert {attempt.proxy for attempt in profile.attempts} == {profile.proxy}
    between(profile.proxy_connect_start, profile.connect_start, profile.proxy_connect_end)
    looked_up = kind.scheme == "socks5"
    assert (profile.dns_start is not None) is looked_up
    if not looked_up:
        assert seed["domainLookUpStart"] == seed["domainLookUpEnd"] == seed["fetchStart"]


def is_relay_port(port: int | None, proxy: Proxy, kind: Kind) -> bool:
    """V2Ray's relay has the same number as its TCP port, dante's one of its own."""
    return port is not None and (port == proxy.port) is (kind.fixture == "v2ray")


@pytest.mark.parametrize(("kind", "protocol"), with_protocols())
async def test_an_upload_and_one_more(
    kind: str, protocol: Protocol, proxy: Proxy, receiver: Endpoints, trust: str
) -> None:
    way = KINDS[kind]
    url = receiver.url("https", host="localhost")
    async with trilane.AsyncClient(verify=trust, proxy=way.url(proxy)) as client:
        profile = sound(await client.upload(url, CONTENT, protocol=protocol))
        again = sound(await client.upload(url, CONTENT, protocol=protocol))

    check_way(profile, proxy, way)
    between(profile.proxy_connect_end, profile.proxy_handshake_start, profile.proxy_handshake_end)
    between(profile.proxy_handshake_end, profile.tls_start, profile.tls_end)
    assert profile.tls_end == profile.connect_end
    dialogue = "socks5" if way.is_socks else "connect"
    expected = ["tcp", dialogue, "quic" if protocol == "h3" else "tls"]
    if way.scheme == "https":
        expected.insert(1, "proxy-tls")
    assert [attempt.protocol for attempt in profile.attempts] == expected
    if protocol == "h3":
        assert profile.high_performance
        assert profile.tcp_connected is None
        assert is_relay_port(profile.port, proxy, way)
    else:
        assert profile.port == proxy.port
        between(profile.connect_start, profile.tcp_connected, profile.proxy_connect_end)
    # What was said to the proxy is the connection's.
    assert again.socket_reused
    assert (again.proxy, again.peer_ip, again.port) == (profile.proxy, "127.0.0.1", profile.port)
    assert again.proxy_connect_start is None
    assert again.proxy_handshake_start is None


@pytest.mark.parametrize(("kind", "protocol"), with_protocols())
async def test_bytes_are_those_of_a_direct_request(
    kind: str, protocol: Protocol, proxy: Proxy, caddy: Endpoints, certificates: Certificates
) -> None:
    way = KINDS[kind]
    trust = str(certificates.ca)

    async def profile_of(url: str) -> trilane.Profile:
        async with trilane.AsyncClient(verify=trust, proxy=url) as client:
            response = await client.request(
                "POST", caddy.url("https"), content=CONTENT, protocol=protocol
            )
        receipt = Receipt.from_json(response.content)
        assert (response.status_code, receipt.body_sha256) == (200, SHA256)
        assert response.profile is not None
        return response.profile

    direct, through = await profile_of(""), await profile_of(way.url(proxy))

    assert through.received_bytes == direct.received_bytes
    more = through.sent_bytes - direct.sent_bytes
    # How many DATA frames there are depends on when the server widens its windows.
    assert more % 9 == 0 if protocol == "h2" else more == 0
    seed = through.seed()
    assert seed["sendBytesCount"] == through.sent_bytes
    assert seed["receivedBytedCount"] == through.received_bytes
    assert through.transport is not None
    wire_bytes = through.transport.wire_sent_bytes
    assert wire_bytes is not None
    if protocol == "h3":
        # Each datagram carries a header of ten bytes or more.
        datagrams = through.transport.datagrams_sent
        assert datagrams is not None
        assert wire_bytes > len(CONTENT) + 10 * datagrams
    else:
        assert wire_bytes > through.sent_bytes


@pytest.mark.parametrize("kind", KINDS)
async def test_plain_http(kind: str, proxy: Proxy, receiver: Endpoints, trust: str) -> None:
    way = KINDS[kind]
    url = receiver.url("http", host="localhost")
    async with trilane.AsyncClient(verify=trust, proxy=way.url(proxy)) as client:
        profile = sound(await client.upload(url, CONTENT))

    check_way(profile, proxy, way)
    assert profile.port == proxy.port
    assert profile.tls_start is None
    assert (profile.proxy_handshake_end is None) is not way.is_socks
    ended = profile.proxy_handshake_end if way.is_socks else profile.proxy_connect_end
    assert profile.connect_end == ended


@pytest.mark.parametrize("kind", ["http", "http-password"])
async def test_forwarding_adds_the_origin_and_the_password_to_the_bytes(
    kind: str, proxy: Proxy, upstream: Endpoints
) -> None:
    way = KINDS[kind]
    url = upstream.url("http")
    sent = []
    for each in ("", way.url(proxy)):
        async with trilane.AsyncClient(proxy=each) as client:
            response = await client.request("POST", url, content=CONTENT)
        assert Receipt.from_json(response.content).body_sha256 == SHA256
        assert response.profile is not None
        sent.append(response.profile.sent_bytes)

    more = len(url) - len("/upload")
    if way.credentials is not None:
        pair = base64.b64encode(way.credentials.encode()).decode()
        more += len(f"Proxy-Authorization: Basic {pair}\r\n")
    assert sent[1] - sent[0] == more


@pytest.mark.parametrize("kind", ["http", "http-squid"])
async def test_a_forwarding_proxys_connection_serves_several_origins(
    kind: str, proxy: Proxy, receiver: Endpoints, upstream: Endpoints
) -> None:
    async with trilane.AsyncClient(proxy=KINDS[kind].url(proxy)) as client:
        first = await client.upload(receiver.url("http"), b"1", filename="a")
        other = await client.upload(upstream.url("http"), b"2", filename="a")

    assert (first.status_code, other.status_code) == (200, 200)
    assert first.profile is not None
    assert other.profile is not None
    # tinyproxy may close after each; if it keeps the connection, it is used.
    reused = other.profile.socket_reused
    assert reused or kind == "http"
    assert (other.profile.connection_id == first.profile.connection_id) is reused


@pytest.mark.parametrize("kind", ["http", "https"])
async def test_an_http_proxy_leaves_http3_out(
    kind: str, proxy: Proxy, receiver: Endpoints, trust: str
) -> None:
    url, way = receiver.url("https"), KINDS[kind]
    async with trilane.AsyncClient(verify=trust, proxy=way.url(proxy), http3=True) as client:
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


@pytest.mark.parametrize(
    ("scheme", "variables", "options", "proxied"),
    [
        ("https", {"HTTPS_PROXY": "{}"}, {}, True),
        ("https", {"https_proxy": "{}"}, {}, True),
        ("http", {"http_proxy": "{}"}, {}, True),
        ("http", {"HTTPS_PROXY": "{}"}, {}, False),
        ("https", {"ALL_PROXY": "{}"}, {}, True),
        ("http", {"all_proxy": "{}"}, {}, True),
        ("https", {"HTTPS_PROXY": "{}", "NO_PROXY": "*"}, {}, False),
        ("https", {"HTTPS_PROXY": "{}", "no_proxy": "127.0.0.0/8"}, {}, False),
        ("https", {"HTTPS_PROXY": "{}", "NO_PROXY": "a.example, 127.0.0.1"}, {}, False),
        ("https", {"HTTPS_PROXY": "{}", "NO_PROXY": "127.0.0.1:9"}, {}, True),
        ("https", {"HTTPS_PROXY": "{}"}, {"trust_env": False}, False),
        ("https", {"HTTPS_PROXY": "{}"}, {"proxy": ""}, False),
        ("https", {"HTTPS_PROXY": "{}"}, {"no_proxy": "127.0.0.0/8"}, False),
        ("https", {"HTTPS_PROXY": "{}", "NO_PROXY": "*"}, {"no_proxy": ""}, True),
    ],
)
async def test_the_environment_is_obeyed_unless_it_is_not_trusted(  # noqa: PLR0917 - fixtures
    dante: Proxy,
    receiver: Endpoints,
    trust: str,
    monkeypatch: pytest.MonkeyPatch,
    scheme: str,
    variables: dict[str, str],
    options: ClientOptions,
    *,
    proxied: bool,
) -> None:
    proxy = dante.url("socks5")
    for name, value in variables.items():
        monkeypatch.setenv(name, value.format(proxy))
    settings: ClientOptions = {**options, "verify": trust}
    async with trilane.AsyncClient(**settings) as client:
        profile = sound(await client.upload(receiver.url(scheme), CONTENT))

    assert profile.proxy == (proxy if proxied else None)
