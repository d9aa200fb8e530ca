"""Which addresses are public, and how a rule of the caller's is asked."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trilane.transport.errors import UsageError
from trilane.transport.policy.addresses import is_allowed, public_addresses_only

#: First and last address of every special block, and its public neighbours.
BLOCKS_V4 = (
    ("0.0.0.0", "0.255.255.255", (None, "1.0.0.0")),
    ("10.0.0.0", "10.255.255.255", ("9.255.255.255", "11.0.0.0")),
    ("100.64.0.0", "100.127.255.255", ("100.63.255.255", "100.128.0.0")),
    ("127.0.0.0", "127.255.255.255", ("126.255.255.255", "128.0.0.0")),
    ("169.254.0.0", "169.254.255.255", ("169.253.255.255", "169.255.0.0")),
    ("172.16.0.0", "172.31.255.255", ("172.15.255.255", "172.32.0.0")),
    ("192.0.0.0", "192.0.0.255", ("191.255.255.255", "192.0.1.0")),
    ("192.0.2.0", "192.0.2.255", ("192.0.1.255", "192.0.3.0")),
    ("192.88.99.0", "192.88.99.255", ("192.88.98.255", "192.88.100.0")),
    ("192.168.0.0", "192.168.255.255", ("192.167.255.255", "192.169.0.0")),
    ("198.18.0.0", "198.19.255.255", ("198.17.255.255", "198.20.0.0")),
    ("198.51.100.0", "198.51.100.255", ("198.51.99.255", "198.51.101.0")),
    ("203.0.113.0", "203.0.113.255", ("203.0.112.255", "203.0.114.0")),
    ("224.0.0.0", "255.255.255.255", ("223.255.255.255", None)),
)
SIX_TO_FOUR = IPv6Network("2002::/16")
BLOCKS_V6 = (
    ("::", "::ffff:0:0", (None, None)),
    ("::1", "::1", (None, None)),
    ("64:ff9b:1::", "64:ff9b:1:ffff:ffff:ffff:ffff:ffff", (None, None)),
    ("100::", "100::ffff:ffff:ffff:ffff", (None, None)),
    ("2001::", "2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff", (None, "2001:200::")),
    (
        "2001:db8::",
        "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff",
        ("2001:db7:ffff:ffff:ffff:ffff:ffff:ffff", "2001:db9::"),
    ),
    (
        "3fff::",
        "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff",
        ("3ffe:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "3fff:1000::"),
    ),
    ("5f00::", "5f00:ffff:ffff:ffff:ffff:ffff:ffff:ffff", (None, None)),
    ("fc00::", "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", (None, None)),
    ("fe80::", "febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff", (None, None)),
    ("fec0::", "feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", (None, None)),
    ("ff00::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", (None, None)),
)


@pytest.mark.parametrize(("first", "last", "neighbours"), BLOCKS_V4 + BLOCKS_V6)
def test_special_blocks_end_where_the_registries_say(
    first: str, last: str, neighbours: tuple[str | None, str | None]
) -> None:
    for inside in (first, last):
        assert public_addresses_only(ip_address(inside)) is False, inside
    for outside in filter(None, neighbours):
        assert public_addresses_only(ip_address(outside)) is True, outside


@pytest.mark.parametrize("text", ["8.8.8.8", "1.1.1.1", "2606:4700::1111", "2a00:1450::1"])
def test_ordinary_addresses_are_public(text: str) -> None:
    assert public_addresses_only(ip_address(text)) is True


@given(st.ip_addresses(v=4))
def test_an_ipv6_address_that_stands_for_an_ipv4_address_is_as_public_as_it(
    inner: IPv4Address,
) -> None:
    expected = public_addresses_only(inner)
    for outer in (
        IPv6Address((0xFFFF << 32) + int(inner)),
        IPv6Address(int(IPv6Address("64:ff9b::")) + int(inner)),
        IPv6Address((0x2002 << 112) + (int(inner) << 80) + 1),
    ):
        assert public_addresses_only(outer) is expected, outer


@pytest.mark.parametrize("text", ["2001:0:4136:e378:8000:63bf:3fff:fdd2", "::7f00:1", "::808:808"])
def test_teredo_and_ipv4_compatible_addresses_are_not_public(text: str) -> None:
    assert public_addresses_only(ip_address(text)) is False


@given(st.ip_addresses())
def test_nothing_is_public_that_the_standard_library_calls_special(
    address: IPv4Address | IPv6Address,
) -> None:
    if address.version == 6 and address not in IPv6Network("2000::/3"):
        return  # those that stand for an IPv4 address: see above
    if public_addresses_only(address) and address not in SIX_TO_FOUR:
        special = (address.is_private, address.is_loopback, address.is_link_local)
        assert not any((*special, address.is_multicast, address.is_reserved))


def test_the_rule_sees_what_the_operating_system_would_connect_to() -> None:
    asked: list[object] = []

    def rule(address: IPv4Address | IPv6Address) -> bool:
        asked.append(address)
        return True

    texts = ("192.0.2.1", "2001:db8::1", "::ffff:127.0.0.1", "fe80::1%lo")
    assert all(is_allowed(text, rule) for text in texts)
    assert asked == [
        IPv4Address("192.0.2.1"),
        IPv6Address("2001:db8::1"),
        IPv4Address("127.0.0.1"),
        IPv6Address("fe80::1%lo"),
    ]


@pytest.mark.parametrize("text", ["localhost", "", "127.1", "0x7f000001", "127.0.0.01"])
def test_what_would_be_looked_up_once_more_is_not_allowed(text: str) -> None:
    assert is_allowed(text, lambda _: True) is False


@pytest.mark.parametrize("verdict", [None, 1, "yes", object()])
def test_only_true_is_consent(verdict: object) -> None:
    with pytest.raises(UsageError, match="True or False"):
        is_allowed("192.0.2.1", lambda _: verdict)  # type: ignore[arg-type,return-value]


def test_a_rule_that_fails_is_no_consent() -> None:
    def rule(address: IPv4Address | IPv6Address) -> bool:
        raise KeyError(address)

    with pytest.raises(UsageError, match=r"allow_address raised KeyError.*192\.0\.2\.1") as caught:
        is_allowed("192.0.2.1", rule)
    assert isinstance(caught.value.__cause__, KeyError)


def test_a_rule_may_be_made_of_networks() -> None:
    allowed = (IPv4Network("10.1.0.0/16"), IPv6Network("fd00::/8"))
    texts = ("10.1.2.3", "10.2.0.1", "fd00::1", "::1")
    verdicts = [is_allowed(text, lambda a: any(a in net for net in allowed)) for text in texts]
    assert verdicts == [True, False, True, False]
