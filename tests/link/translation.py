"""Network address translation on raw IP packets: how a client's address changes under its feet.

At first nothing is translated. `rebind` forgets every binding, as a NAT does that restarts or
times out: from then on the client's flows come from new ports (and from another address, if one
is given), and what is sent to their old ones is dropped. IPv4 without options and IPv6 without
extension headers, UDP and TCP; everything else passes as it is, even ICMP errors about translated
packets: the client's kernel does not know what those are about.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from itertools import count

Endpoint = tuple[bytes, int]
"""Packed address and port."""

_TCP, _UDP = 6, 17
#: Where a transport header has its checksum (RFC 9293 §3.1, RFC 768).
_CHECKSUM_OFFSETS = {_TCP: 16, _UDP: 6}
_IPV4_HEADER_BYTES, _IPV6_HEADER_BYTES = 20, 40
_IPV4_CHECKSUM = slice(10, 12)
_FIRST_PUBLIC_PORT = 20_000


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the fields of one packet lie."""

    protocol: int
    source: slice
    destination: slice
    transport: int
    """Offset of the transport header, which begins with the two ports."""
    is_ipv4: bool


@dataclass(frozen=True, slots=True)
class Ends:
    """Where a packet comes from and where it goes."""

    protocol: int
    source: Endpoint
    destination: Endpoint


class Translation:
    """The bindings of one NAT between a client and the world."""

    def __init__(self) -> None:
        self.dropped_packets = 0
        """What came in for a binding that is no more."""
        self._active = False
        self._address: bytes | None = None
        self._ports: Iterator[int] = count(_FIRST_PUBLIC_PORT)
        self._public: dict[tuple[int, Endpoint], Endpoint] = {}
        self._private: dict[tuple[int, Endpoint], Endpoint] = {}

    def rebind(self, address: str | None = None) -> None:
        """Forget all bindings; flows get new ports, and `address` in place of the client's."""
        self._active = True
        self._address = None if address is None else ip_address(address).packed
        self._public.clear()
        self._private.clear()

    def end(self) -> None:
        """Translate nothing any more."""
        self._active = False

    def outward(self, packet: bytes) -> bytes:
        """Translate a packet from the client."""
        ends = ends_of(packet) if self._active else None
        if ends is None:
            return packet
        key = ends.protocol, ends.source
        public = self._public.get(key)
        if public is None:
            public = self._public[key] = self._bind(ends.source)
            self._private[ends.protocol, public] = ends.source
        return rewritten(packet, source=public)

    def inward(self, packet: bytes) -> bytes | None:
        """Translate a packet to the client; None when there is no binding for it."""
        ends = ends_of(packet) if self._active else None
        if ends is None:
            return packet
        private = self._private.get((ends.protocol, ends.destination))
        if private is None:
            self.dropped_packets += 1
            return None
        return rewritten(packet, destination=private)

    def _bind(self, source: Endpoint) -> Endpoint:
        address, _ = source
        other = self._address
        # A flow of the other IP version keeps its address: there is none to give it.
        same_version = other is not None and len(other) == len(address)
        return (other if other is not None and same_version else address), next(self._ports)


def ends_of(packet: bytes) -> Ends | None:
    """Both ends of a UDP or TCP packet; None for anything else."""
    layout = _layout(packet)
    if layout is None:
        return None
    source, destination = struct.unpack_from("!HH", packet, layout.transport)
    return Ends(
        layout.protocol,
        (packet[layout.source], source),
        (packet[layout.destination], destination),
    )


def address_text(packet: bytes) -> str | None:
    """Where a packet goes; None when it is not IP."""
    if packet[:1] and packet[0] >> 4 == 4 and len(packet) >= _IPV4_HEADER_BYTES:
        return str(IPv4Address(packet[16:20]))
    if packet[:1] and packet[0] >> 4 == 6 and len(packet) >= _IPV6_HEADER_BYTES:
        return str(IPv6Address(packet[24:40]))
    return None


def rewritten(
    packet: bytes, *, source: Endpoint | None = None, destination: Endpoint | None = None
) -> bytes:
    """The packet with another source or destination, and checksums that say so (RFC 1624).

    Raises:
        ValueError: it is neither UDP nor TCP.
    """
    layout = _layout(packet)
    if layout is None:
        raise ValueError("not a UDP or TCP packet")
    result = bytearray(packet)
    for end, where, port_at in (
        (source, layout.source, layout.transport),
        (destination, layout.destination, layout.transport + 2),
    ):
        if end is not None:
            address, port = end
            result[where] = address
            struct.pack_into("!H", result, port_at, port)
    _mend_checksums(packet, result, layout)
    return bytes(result)


def _layout(packet: bytes) -> Layout | None:
    version = packet[0] >> 4 if packet else 0
    if version == 4 and len(packet) >= _IPV4_HEADER_BYTES and packet[0] & 15 == 5:
        found = Layout(packet[9], slice(12, 16), slice(16, 20), _IPV4_HEADER_BYTES, is_ipv4=True)
    elif version == 6 and len(packet) >= _IPV6_HEADER_BYTES:
        found = Layout(packet[6], slice(8, 24), slice(24, 40), _IPV6_HEADER_BYTES, is_ipv4=False)
    else:
        return None
    checksum_at = _CHECKSUM_OFFSETS.get(found.protocol)
    whole = checksum_at is not None and len(packet) >= found.transport + checksum_at + 2
    return found if whole else None


def _mend_checksums(before: bytes, after: bytearray, layout: Layout) -> None:
    addresses = slice(layout.source.start, layout.destination.stop)
    ports = slice(layout.transport, layout.transport + 4)
    old, new = before[addresses] + before[ports], after[addresses] + after[ports]
    at = layout.transport + _CHECKSUM_OFFSETS[layout.protocol]
    checksum = int.from_bytes(before[at : at + 2])
    # A UDP checksum of zero means that there is none (IPv4 only).
    if layout.protocol != _UDP or checksum:
        mended = _updated(checksum, old, bytes(new))
        after[at : at + 2] = (mended or 0xFFFF).to_bytes(2)
    if layout.is_ipv4:
        header = int.from_bytes(before[_IPV4_CHECKSUM])
        mended = _updated(header, before[addresses], bytes(after[addresses]))
        after[_IPV4_CHECKSUM] = mended.to_bytes(2)


def _updated(checksum: int, old: bytes, new: bytes) -> int:
    """RFC 1624, equation 3: HC' = ~(~HC + ~m + m')."""
    total = ~checksum & 0xFFFF
    for (was,), (now,) in zip(
        struct.iter_unpack("!H", old), struct.iter_unpack("!H", new), strict=True
    ):
        total += (~was & 0xFFFF) + now
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
