"""Which peers say something about the network outside: those with a public address."""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv6Address, ip_address


@lru_cache(maxsize=256)
def is_public(ip: str) -> bool:
    """Whether an address is routed in the public internet (IANA's special-purpose registries).

    Loopback, private, link-local, shared (RFC 6598) and documentation addresses are not, nor is
    what is no address at all.
    """
    try:
        address = ip_address(ip)
    except ValueError:
        return False
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return address.is_global and not address.is_multicast
