"""IPv4 addresses on networks that carry IPv6 only: the address a NAT64 translator knows them by.

RFC 6052 §2.2 says how an IPv4 address lies in an IPv6 address, behind a prefix of 32 to 96 bits and
around byte 8, which is zero. RFC 7050 finds the network's prefix: it asks for the IPv6 addresses of
a name that has IPv4 addresses only, and looks for those in the answer.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address

#: RFC 7050 §8: the name, and the addresses it has.
IPV4_ONLY_NAME = "ipv4only.arpa"
_ITS_ADDRESSES = (IPv4Address("192.0.0.170"), IPv4Address("192.0.0.171"))

#: Longest first: the well-known prefix has 96 bits.
_PREFIX_BYTES = (12, 8, 7, 6, 5, 4)
_RESERVED_BYTE = 8


@dataclass(frozen=True, slots=True)
class Prefix:
    """A translator's prefix."""

    head: bytes

    def synthesize(self, address: IPv4Address) -> IPv6Address:
        """The IPv6 address that stands for an IPv4 address."""
        made = bytearray(self.head.ljust(16, b"\0"))
        for place, byte in zip(_places(len(self.head)), address.packed, strict=True):
            made[place] = byte
        return IPv6Address(bytes(made))


def prefixes_in(addresses: Iterable[str]) -> list[Prefix]:
    """The prefixes that show in the addresses of `IPV4_ONLY_NAME`, each once (RFC 7050 §3)."""
    found = (ip_address(address) for address in addresses)
    shown = [_prefix_of(address) for address in found if isinstance(address, IPv6Address)]
    return list(dict.fromkeys(prefix for prefix in shown if prefix is not None))


def _prefix_of(address: IPv6Address) -> Prefix | None:
    packed = address.packed
    for length in _PREFIX_BYTES:
        inside = bytes(packed[place] for place in _places(length))
        if IPv4Address(inside) in _ITS_ADDRESSES:
            return Prefix(packed[:length])
    return None


def _places(prefix_bytes: int) -> list[int]:
    """Where the four bytes lie."""
    return [place for place in range(prefix_bytes, 16) if place != _RESERVED_BYTE][:4]
