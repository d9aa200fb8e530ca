"""Behind a proxy `allow_address` is asked about the target, before the proxy hears of it."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from typing import Literal
from urllib.parse import quote

import pytest

import trilane
from tests.peers.proxies import Proxy
from tests.peers.servers import Endpoints

pytestmark = pytest.mark.interop

Protocol = Literal["http/1.1", "h2", "h3"]

every_way = pytest.mark.parametrize(
    ("name", "scheme", "protocol"),
    [
        ("dante", "socks5", "http/1.1"),
        ("dante", "socks5h", "h2"),
        ("dante", "socks5h", "h3"),
        ("tinyproxy", "http", "http/1.1"),
        ("tinyproxy", "http", "h2"),
    ],
)


@pytest.fixture
def proxy(request: pytest.FixtureRequest, name: str, scheme: str) -> str:
    found: Proxy = request.getfixturevalue(name)
    return found.url(scheme)


def only_main(address: IPv4Address | IPv6Address) -> bool:
    return str(address) == "127.0.0.1"


def refused(error: trilane.AddressRefused) -> list[str]:
    assert error.profile is not None
    attempts = error.profile.attempts
    return [
        each.address[0]
        for each in attempts
        if each.address is not None and each.error == "refused by allow_address"
    ]


@every_way
@pytest.mark.parametrize("host", ["127.0.0.1", "0x7f.1", "mapped.example", "localhost"])
async def test_the_proxy_is_not_even_connected_to(
    proxy: str, receiver: Endpoints, trust: str, protocol: Protocol, host: str
) -> None:
    url = receiver.url("https", host=host)
    async with trilane.AsyncClient(
        verify=trust,
        proxy=proxy,
        allow_address=trilane.public_addresses_only,
        resolve={f"mapped.example:{receiver.https_port}": ["127.0.0.1"]},
    ) as client:
        with pytest.raises(trilane.AddressRefused) as caught:
            await client.upload(url, b"x", protocol=protocol)
    profile = caught.value.profile
    assert profile is not None
    assert "127.0.0.1" in refused(caught.value)
    assert len(refused(caught.value)) == len(profile.attempts)
    assert profile.proxy_connect_start is None


@every_way
async def test_an_address_that_is_permitted_is_told_and_a_redirect_away_is_not_followed(
    proxy: str, receiver: Endpoints, trust: str, protocol: Protocol
) -> None:
    away = quote(receiver.url("https", host="127.0.0.2"))
    async with trilane.AsyncClient(verify=trust, proxy=proxy, allow_address=only_main) as client:
        response = await client.upload(receiver.url("https"), b"x", protocol=protocol)
        assert response.status_code == 200
        url = receiver.url("https", f"/upload?redirect={away}")
        with pytest.raises(trilane.AddressRefused) as caught:
            await client.upload(url, b"x", protocol=protocol)
    assert refused(caught.value) == ["127.0.0.2"]
