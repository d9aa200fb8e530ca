"""Smoothed round-trip times as a recording shows them.

Taken at the sender's end of the wire: from a packet's crossing to that of its acknowledgement.
TCP: RFC 6298 with one sample per acknowledgement, of the oldest packet it newly covers, as Linux
takes it (tcp_clean_rtx_queue). QUIC: RFC 9002 §5, where the delays that the peer states are taken
off down to the smallest sample, and the first stated one that is below the average begins it anew:
until then, the peer's share in the handshake is in it.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Sequence
from enum import Enum, auto
from math import inf

from tests.capture.tshark import Packet

_SYN_OR_FIN = 0x3
_NS_PER_MS = 1e6
#: Unit of an acknowledgement's delay; RFC 9000 §18.2: ack_delay_exponent is 3 unless announced.
_ACK_DELAY_NS = 1000 << 3
#: RFC 9002 §2: packets with nothing but PADDING, ACK and CONNECTION_CLOSE do not ask for one.
_NEVER_ACKNOWLEDGED = frozenset({0x00, 0x02, 0x03, 0x1C, 0x1D})


class _Space(Enum):
    """A packet number space (RFC 9000 §12.3)."""

    INITIAL = auto()
    HANDSHAKE = auto()
    APPLICATION = auto()


#: RFC 9000 §17.2: what `quic.long.packet_type` says; Retry packets have no number.
_SPACES = {0: _Space.INITIAL, 1: _Space.APPLICATION, 2: _Space.HANDSHAKE}


def tcp_round_trip_ms(packets: Iterable[Packet], server_ports: Sequence[int]) -> float | None:
    """The smoothed round trip after these packets of one connection; None without a sample."""
    smoothed: float | None = None
    flying: dict[int, int | None] = {}
    for packet in packets:
        if packet.number_of("tcp.srcport") in server_ports:
            acked = packet.number_of("tcp.ack") or 0
            covered = [end for end in flying if end <= acked]
            left = [flying.pop(end) for end in covered]
            if left and None not in left:
                smoothed = _smooth(smoothed, packet.at - (left[0] or 0))
        elif length := _sequence_length(packet):
            end = (packet.number_of("tcp.seq") or 0) + length
            # Of a packet that crossed twice nobody knows which one was acknowledged (Karn).
            flying[end] = None if end in flying else packet.at
    return None if smoothed is None else smoothed / _NS_PER_MS


def quic_round_trip_ms(datagrams: Iterable[Packet], server_ports: Sequence[int]) -> float | None:
    """The smoothed round trip after these datagrams of one connection; None without a sample."""
    smoothed: float | None = None
    smallest, rough = inf, True
    flying: dict[tuple[_Space, int], tuple[int, bool]] = {}
    for datagram in datagrams:
        if datagram.number_of("udp.srcport") not in server_ports:
            asks = not _NEVER_ACKNOWLEDGED.issuperset(datagram.numbers("quic.frame_type"))
            flying |= dict.fromkeys(_numbered(datagram), (datagram.at, asks))
            continue
        for space, largest, delay_ns in _acknowledgements(datagram, flying):
            left_at, _ = flying[space, largest]
            covered = [key for key in flying if key[0] is space and key[1] <= largest]
            asked = [flying.pop(key)[1] for key in covered]
            if any(asked):
                latest = datagram.at - left_at
                smallest = min(smallest, latest)
                sample = max(latest - (delay_ns or 0), smallest)
                if rough and delay_ns is not None and sample < (smoothed or inf):
                    smoothed, rough = None, False
                smoothed = _smooth(smoothed, sample)
    return None if smoothed is None else smoothed / _NS_PER_MS


def _numbered(datagram: Packet) -> list[tuple[_Space, int]]:
    """The packets in a datagram: those with long headers come first (RFC 9000 §12.2)."""
    numbers = datagram.numbers("quic.packet_number")
    spaces = [_SPACES[kind] for kind in datagram.numbers("quic.long.packet_type")]
    spaces += [_Space.APPLICATION] * (len(numbers) - len(spaces))
    return list(zip(spaces, numbers, strict=True))


def _acknowledgements(
    datagram: Packet, flying: Container[tuple[_Space, int]]
) -> Iterator[tuple[_Space, int, int | None]]:
    """Space, largest packet number and delay of each ACK frame about a packet in flight.

    The delay, in nanoseconds, is None before there is application data: it says nothing then.
    """
    spaces = [space for space, _ in _numbered(datagram)]
    acks = zip(
        datagram.numbers("quic.ack.largest_acknowledged"),
        datagram.numbers("quic.ack.ack_delay"),
        strict=True,
    )
    for largest, delay in acks:
        # tshark does not say which of several packets in a datagram the frame is in.
        space = next((space for space in spaces if (space, largest) in flying), None)
        if space is not None:
            spaces.remove(space)
            means = space is _Space.APPLICATION
            yield space, largest, delay * _ACK_DELAY_NS if means else None


def _sequence_length(packet: Packet) -> int:
    return (packet.number_of("tcp.len") or 0) + bool(
        (packet.number_of("tcp.flags") or 0) & _SYN_OR_FIN
    )


def _smooth(smoothed: float | None, sample: float) -> float:
    return sample if smoothed is None else smoothed + (sample - smoothed) / 8
