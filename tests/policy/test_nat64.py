from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, IPv6Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trilane.transport.policy.nat64 import Prefix, prefixes_in

# RFC 6052 §2.4.
VECTORS = [
    ("2001:db8::/32", "2001:db8:c000:221::"),
    ("2001:db8:100::/40", "2001:db8:1c0:2:21::"),
    ("2001:db8:122::/48", "2001:db8:122:c000:2:2100::"),
    ("2001:db8:122:300::/56", "2001:db8:122:3c0:0:221::"),
    ("2001:db8:122:344::/64", "2001:db8:122:344:c0:2:2100:0"),
    ("2001:db8:122:344::/96", "2001:db8:122:344::192.0.2.33"),
    ("64:ff9b::/96", "64:ff9b::192.0.2.33"),
]
OUTSIDE = IPv4Address("192.0.2.33")


def prefix_of(network: str) -> Prefix:
    parsed = IPv6Network(network)
    return Prefix(parsed.network_address.packed[: parsed.prefixlen // 8])


@pytest.mark.parametrize(("network", "expected"), VECTORS)
def test_the_vectors_of_rfc_6052(network: str, expected: str) -> None:
    assert prefix_of(network).synthesize(OUTSIDE) == IPv6Address(expected)


@pytest.mark.parametrize("network", [network for network, _ in VECTORS])
def test_a_prefix_is_found_in_the_addresses_of_the_well_known_name(network: str) -> None:
    prefix = prefix_of(network)
    shown = [str(prefix.synthesize(IPv4Address(f"192.0.0.{last}"))) for last in (170, 171)]

    assert prefixes_in(["192.0.0.170", *shown, "192.0.0.171"]) == [prefix]


@given(st.lists(st.ip_addresses(v=6).map(str)))
def test_what_shows_no_well_known_address_has_no_prefix(addresses: list[str]) -> None:
    for prefix in prefixes_in(addresses):
        made = {str(prefix.synthesize(IPv4Address(f"192.0.0.{last}"))) for last in (170, 171)}
        assert any(IPv6Address(each).packed.startswith(prefix.head) for each in made)
        assert any(IPv6Address(each).packed.startswith(prefix.head) for each in addresses)
