"""Address translation on hand-made packets; their checksums are added up from scratch."""

from __future__ import annotations

import struct
from ipaddress import ip_address

import pytest

from tests.link.translation import Translation, address_text, ends_of, rewritten

UDP, TCP = 17, 6
CLIENT, SERVER = {4: "10.0.0.1", 6: "fd00::1"}, {4: "10.0.0.2", 6: "fd00::2"}
OTHER = {4: "192.0.2.7", 6: "2001:db8::7"}

every_kind = pytest.mark.parametrize(
    ("version", "protocol"), [(4, UDP), (4, TCP), (6, UDP), (6, TCP)]
)


def ones_sum(data: bytes | bytearray) -> int:
    padded = data + bytes(len(data) % 2)
    total: int = sum(word for (word,) in struct.iter_unpack("!H", padded))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def pseudo_header(version: int, source: bytes, destination: bytes, protocol: int, n: int) -> bytes:
    if version == 4:
        return source + destination + struct.pack("!BBH", 0, protocol, n)
    return source + destination + struct.pack("!IHBB", n, 0, 0, protocol)


def packet_of(
    version: int, protocol: int, source: tuple[str, int], destination: tuple[str, int]
) -> bytes:
    """A packet with right checksums."""
    payload = b"payload of odd length"
    ports = struct.pack("!HH", source[1], destination[1])
    if protocol == UDP:
        transport = bytearray(ports + struct.pack("!HH", 8 + len(payload), 0) + payload)
        checksum_at = 6
    else:
        transport = bytearray(ports + struct.pack("!IIBBHHH", 1, 2, 5 << 4, 16, 99, 0, 0) + payload)
        checksum_at = 16
    addresses = [ip_address(end[0]).packed for end in (source, destination)]
    pseudo = pseudo_header(version, addresses[0], addresses[1], protocol, len(transport))
    checksum = ~ones_sum(pseudo + transport) & 0xFFFF
    struct.pack_into("!H", transport, checksum_at, checksum)
    if version == 6:
        head = struct.pack("!IHBB", 6 << 28, len(transport), protocol, 64)
        return head + addresses[0] + addresses[1] + transport
    total = 20 + len(transport)
    header = bytearray(struct.pack("!BBHHHBBH", 0x45, 0, total, 7, 0, 64, protocol, 0))
    header += addresses[0] + addresses[1]
    struct.pack_into("!H", header, 10, ~ones_sum(header) & 0xFFFF)
    return bytes(header + transport)


def check_sums(packet: bytes) -> None:
    """A sum over checked data and its checksum is all ones (RFC 1071)."""
    version = packet[0] >> 4
    header_bytes, at = (20, 12) if version == 4 else (40, 8)
    width = 4 if version == 4 else 16
    if version == 4:
        assert ones_sum(packet[:20]) == 0xFFFF
    ends = ends_of(packet)
    assert ends is not None
    transport = packet[header_bytes:]
    source, destination = packet[at : at + width], packet[at + width : at + 2 * width]
    pseudo = pseudo_header(version, source, destination, ends.protocol, len(transport))
    assert ones_sum(pseudo + transport) == 0xFFFF


def seen(packet: bytes) -> tuple[tuple[str, int], tuple[str, int]]:
    ends = ends_of(packet)
    assert ends is not None
    (source, source_port), (destination, port) = ends.source, ends.destination
    return (str(ip_address(source)), source_port), (str(ip_address(destination)), port)


@every_kind
def test_the_packets_of_this_test_are_right(version: int, protocol: int) -> None:
    packet = packet_of(version, protocol, (CLIENT[version], 1000), (SERVER[version], 443))

    check_sums(packet)
    assert seen(packet) == ((CLIENT[version], 1000), (SERVER[version], 443))
    assert address_text(packet) == SERVER[version]


@every_kind
def test_rewriting_keeps_the_checksums_right(version: int, protocol: int) -> None:
    packet = packet_of(version, protocol, (CLIENT[version], 1000), (SERVER[version], 443))
    other = (ip_address(OTHER[version]).packed, 65_535)

    changed = rewritten(packet, source=other, destination=other)

    check_sums(changed)
    assert seen(changed) == ((OTHER[version], 65_535), (OTHER[version], 65_535))
    before = ends_of(packet)
    assert before is not None
    assert rewritten(changed, source=before.source, destination=before.destination) == packet


def test_a_datagram_without_a_checksum_keeps_having_none() -> None:
    packet = bytearray(packet_of(4, UDP, (CLIENT[4], 1000), (SERVER[4], 443)))
    packet[26:28] = bytes(2)

    changed = rewritten(bytes(packet), source=(ip_address(OTHER[4]).packed, 5))

    assert changed[26:28] == bytes(2)


@every_kind
def test_at_first_nothing_is_translated(version: int, protocol: int) -> None:
    nat = Translation()
    packet = packet_of(version, protocol, (CLIENT[version], 1000), (SERVER[version], 443))

    assert nat.outward(packet) == packet
    assert nat.inward(packet) == packet


@every_kind
def test_after_rebinding_flows_have_new_ports(version: int, protocol: int) -> None:
    nat = Translation()
    nat.rebind()
    packet = packet_of(version, protocol, (CLIENT[version], 1000), (SERVER[version], 443))
    another = packet_of(version, protocol, (CLIENT[version], 1001), (SERVER[version], 443))

    outside = nat.outward(packet)
    public, _ = seen(outside)

    check_sums(outside)
    assert public[0] == CLIENT[version]
    assert public[1] != 1000
    assert nat.outward(packet) == outside
    assert seen(nat.outward(another))[0] != public
    answer = nat.inward(packet_of(version, protocol, (SERVER[version], 443), public))
    assert answer == packet_of(version, protocol, (SERVER[version], 443), (CLIENT[version], 1000))


@every_kind
def test_answers_to_bindings_that_are_gone_are_dropped(version: int, protocol: int) -> None:
    nat = Translation()
    old = packet_of(version, protocol, (SERVER[version], 443), (CLIENT[version], 1000))
    nat.rebind()
    nat.outward(packet_of(version, protocol, (CLIENT[version], 1000), (SERVER[version], 443)))

    assert nat.inward(old) is None
    assert nat.dropped_packets == 1


@every_kind
def test_rebinding_can_change_the_address(version: int, protocol: int) -> None:
    nat = Translation()
    nat.rebind(OTHER[version])

    outside = nat.outward(
        packet_of(version, protocol, (CLIENT[version], 1000), (SERVER[version], 443))
    )

    check_sums(outside)
    assert seen(outside)[0][0] == OTHER[version]


@every_kind
def test_in_the_end_nothing_is_translated(version: int, protocol: int) -> None:
    nat = Translation()
    packet = packet_of(version, protocol, (CLIENT[version], 1000), (SERVER[version], 443))
    nat.rebind()
    nat.outward(packet)

    nat.end()

    assert nat.outward(packet) == packet
    assert nat.inward(packet) == packet


def test_an_address_of_the_other_version_is_not_used() -> None:
    nat = Translation()
    nat.rebind(OTHER[4])

    outside = nat.outward(packet_of(6, UDP, (CLIENT[6], 1000), (SERVER[6], 443)))

    assert seen(outside)[0][0] == CLIENT[6]


@pytest.mark.parametrize(
    "packet",
    [b"", b"\x45" + bytes(10), bytes([0x45, *bytes(8), 1]) + bytes(30), bytes([0x60]) + bytes(39)],
    ids=["empty", "short", "icmp", "no next header"],
)
def test_other_packets_pass_as_they_are(packet: bytes) -> None:
    nat = Translation()
    nat.rebind()

    assert nat.outward(packet) == packet
    assert nat.inward(packet) == packet
    with pytest.raises(ValueError, match="not a UDP or TCP packet"):
        rewritten(packet, source=(bytes(4), 1))
