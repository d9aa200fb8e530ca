"""Whether this host has a way to an address at all."""

from __future__ import annotations

import socket

#: `ipv4only.arpa` behind NAT64's well-known prefix (RFC 7050, RFC 6052): any address outside.
_SOMEWHERE_V6 = "64:ff9b::c000:aa"


def is_ipv6_only_towards(address: str) -> bool:
    """Whether nothing leads to an IPv4 address, while IPv6 leads somewhere. Sends nothing."""
    return not _has_way(address) and _has_way(_SOMEWHERE_V6)


def _has_way(address: str) -> bool:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            # Connecting a UDP socket only looks for a route.
            probe.connect((address, 9))
    except OSError:
        return False
    return True
