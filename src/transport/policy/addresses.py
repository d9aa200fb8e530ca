"""Which addresses may be dialled: rules of the caller's, and a ready-made one.

A rule sees every address that is about to be dialled, wherever it came from: a literal in a URL, a
name, a redirect, an alternative service. That the address itself is asked about, and then dialled
without being looked up again, is what stops a name that changes its answer (DNS rebinding).
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from ..config import AddressRule
from ..errors import UsageError

# The IANA special-purpose address registries (RFC 6890), as of 2025; `is_global` of the standard
# library follows them differently from release to release. Left out on purpose are their few
# globally reachable services inside 192.0.0.0/24 and 2001::/23: they are anycast, answered by the
# nearest router or translator, and nothing an upload is for.
_NOT_PUBLIC_V4 = tuple(
    IPv4Network(text)
    for text in (
        "0.0.0.0/8",  # this network; Linux connects 0.0.0.0 to itself
        "10.0.0.0/8",  # private (RFC 1918)
        "100.64.0.0/10",  # carrier-grade NAT (RFC 6598); clouds keep services there
        "127.0.0.0/8",  # loopback
        "169.254.0.0/16",  # link-local (RFC 3927); metadata services of clouds
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # IETF protocol assignments (RFC 6890)
        "192.0.2.0/24",  # documentation (RFC 5737)
        "192.88.99.0/24",  # 6to4 relays, withdrawn (RFC 7526)
        "192.168.0.0/16",  # private
        "198.18.0.0/15",  # benchmarks (RFC 2544)
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/3",  # multicast (RFC 1112), reserved, limited broadcast
    )
)
#: All that has been given out as global unicast; loopback, unique local, link-local, site-local,
#: multicast, discard, segment routing and the local NAT64 prefixes (RFC 8215) lie outside.
_GLOBAL_V6 = IPv6Network("2000::/3")
_NOT_PUBLIC_V6 = tuple(
    IPv6Network(text)
    for text in (
        "2001::/23",  # IETF protocol assignments, Teredo among them
        "2001:db8::/32",  # documentation (RFC 3849)
        "3fff::/20",  # documentation (RFC 9637)
    )
)
_6TO4 = IPv6Network("2002::/16")
_NAT64 = IPv6Network("64:ff9b::/96")


def public_addresses_only(address: IPv4Address | IPv6Address) -> bool:
    """A rule for `allow_address`: only what is reachable over the public internet.

    Loopback, private, link-local, carrier-grade NAT, multicast, documentation and all other special
    addresses (RFC 6890) are not, nor are IPv6 addresses that stand for such an IPv4 address:
    IPv4-mapped ones, NAT64's well-known prefix (RFC 6052) and 6to4 (RFC 3056). IPv4 literals are
    asked about before they are translated; names that a network's DNS64 translates with a prefix of
    its own are not seen through: its gateway has to keep private addresses out.
    """
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _NOT_PUBLIC_V4)
    embedded = _embedded_ipv4(address)
    if embedded is not None:
        return public_addresses_only(embedded)
    return address in _GLOBAL_V6 and not any(address in network for network in _NOT_PUBLIC_V6)


def is_allowed(text: str, rule: AddressRule) -> bool:
    """Ask a rule about an address.

    Args:
        text: the address, as it is going to be dialled. What is no IP address is not allowed: the
            operating system would look it up.
        rule: the caller's.

    Raises:
        UsageError: the rule raised, or said neither True nor False.
    """
    try:
        address = ip_address(text)
    except ValueError:
        return False
    try:
        verdict: object = rule(getattr(address, "ipv4_mapped", None) or address)
    except Exception as exc:
        raise UsageError(f"allow_address raised {exc!r} when asked about {text}") from exc
    if not isinstance(verdict, bool):
        kind = type(verdict).__name__
        raise UsageError(f"allow_address must say True or False, not a {kind}, about {text}")
    return verdict


def _embedded_ipv4(address: IPv6Address) -> IPv4Address | None:
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address in _6TO4:
        return IPv4Address(int(address) >> 80 & 0xFFFF_FFFF)
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    return None
