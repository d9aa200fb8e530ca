"""`allow_address` is asked about addresses from DNS over HTTPS, hints and the `resolve` map, too.

The name server is at 127.0.0.1 itself: whom the caller has configured is not asked about.
"""

from __future__ import annotations

from typing import Any, Literal

import pytest

import trilane
from tests.names.conftest import CLOSED_PORT
from tests.peers.servers import Endpoints

Protocol = Literal["http/1.1", "h2", "h3", "auto"]

every_protocol = pytest.mark.parametrize("protocol", ["http/1.1", "h2", "h3", "auto"])


async def refused(url: str, protocol: Protocol, **options: Any) -> list[tuple[str, int] | None]:
    """All addresses of an upload that is refused; none of them has been tried."""
    async with trilane.AsyncClient(
        allow_address=trilane.public_addresses_only, http3=True, **options
    ) as client:
        with pytest.raises(trilane.AddressRefused) as caught:
            await client.upload(url, b"x", protocol=protocol)
    profile = caught.value.profile
    assert profile is not None
    assert profile.connect_start is None
    tried = [each for each in profile.attempts if each.error != "refused by allow_address"]
    assert [each for each in tried if each.address is not None] == []
    return [each.address for each in profile.attempts if each not in tried]


def over_https(doh: Endpoints) -> dict[str, Any]:
    return {"verify": str(doh.ca), "resolver": doh.url("https", "/dns-query")}


@pytest.mark.interop
@every_protocol
@pytest.mark.parametrize("host", ["one.trilane.test", "two.trilane.test"])
async def test_an_answer_over_https(doh: Endpoints, host: str, protocol: Protocol) -> None:
    found = await refused(f"https://{host}:{CLOSED_PORT}/", protocol, **over_https(doh))
    assert set(found) == {("127.0.0.1", CLOSED_PORT), ("::1", CLOSED_PORT)}


@pytest.mark.interop
@pytest.mark.parametrize("protocol", ["h3", "auto"])
async def test_a_hint_of_an_https_record(
    doh: Endpoints, caddy: Endpoints, protocol: Protocol
) -> None:
    url = f"https://hinted.trilane.test:{CLOSED_PORT}/"
    found = await refused(url, protocol, **over_https(doh))
    # The record's target has no address but the hint, which names a server that would answer.
    assert set(found) == {("127.0.0.1", caddy.https_port), ("192.0.2.1", CLOSED_PORT)}


@pytest.mark.interop
@every_protocol
async def test_the_target_of_an_https_record(
    doh: Endpoints, caddy: Endpoints, protocol: Protocol
) -> None:
    url = f"https://moved.trilane.test:{CLOSED_PORT}/"
    found = await refused(url, protocol, **over_https(doh))
    assert ("127.0.0.1", caddy.https_port) in found


@every_protocol
async def test_the_callers_own_map(protocol: Protocol) -> None:
    addresses = ["10.0.0.1", "fd00::1", "::ffff:192.168.0.1"]
    mapped = {"internal.example:443": addresses}
    found = await refused("https://internal.example/", protocol, resolve=mapped)
    assert {host for host, _ in filter(None, found)} == {*addresses}
