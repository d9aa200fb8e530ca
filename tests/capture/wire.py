"""What a recording shows of the uploads on one connection, by the names of the profile."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from tests.capture.messages import Message, http1_messages, http2_messages, http3_messages
from tests.capture.round_trips import quic_round_trip_ms, tcp_round_trip_ms
from tests.capture.tshark import Decoded, Packet, Piece
from tests.link.uploads import Protocol

_SYN = 0x2
# RFC 8446 §4, HandshakeType.
_CLIENT_HELLO, _FINISHED = 1, 20

_SPLIT_STREAM: Mapping[Protocol, Callable[[Sequence[Piece]], list[Message]]] = {
    "http/1.1": http1_messages,
    "h2": http2_messages,
}


@dataclass(frozen=True, slots=True)
class OnWire:
    """One upload as it crossed the wire."""

    moments: Mapping[str, int]
    """Epoch nanoseconds, by the names of the profile; those of the connection only once."""
    sent_bytes: int
    received_bytes: int
    acked: int | None
    """When the last byte of the request was acknowledged, in epoch nanoseconds; None if never."""
    round_trip_ms: float | None
    """Smoothed, when the response began."""


def uploads_on_wire(
    decoded: Decoded, protocol: Protocol, number: int, server_ports: Sequence[int]
) -> list[OnWire]:
    """The uploads of a connection, one after the other.

    Args:
        decoded: the recording.
        protocol: what the connection speaks.
        number: which of the recording's TCP or QUIC connections it is, counted from 0.
        server_ports: tell the server's packets from the client's.
    """
    column = "quic.connection.number" if protocol == "h3" else "tcp.stream"
    port = "udp.srcport" if protocol == "h3" else "tcp.srcport"
    packets = [packet for packet in decoded.packets if packet.fields[column] == str(number)]

    def from_server(packet: Packet) -> bool:
        return packet.number_of(port) in server_ports

    ours = [packet for packet in packets if not from_server(packet)]
    theirs = list(filter(from_server, packets))
    if protocol == "h3":
        requests, responses = http3_messages(ours), http3_messages(theirs)
        connecting = _quic_moments(ours)
    else:
        split = _SPLIT_STREAM[protocol]
        pieces = decoded.streams[number]
        requests = split([piece for piece in pieces if not from_server(piece.packet)])
        responses = split([piece for piece in pieces if from_server(piece.packet)])
        connecting = _tcp_moments(ours)
    estimate = quic_round_trip_ms if protocol == "h3" else tcp_round_trip_ms
    acknowledged = _quic_acknowledged if protocol == "h3" else _tcp_acknowledged
    uploads = []
    for index, (request, response) in enumerate(zip(requests, responses, strict=True)):
        until = [packet for packet in packets if packet.number <= response.first.number]
        uploads.append(
            OnWire(
                (connecting if index == 0 else {}) | _exchange_moments(request, response),
                request.byte_count,
                response.byte_count,
                acknowledged(request.last, theirs),
                estimate(until, server_ports),
            )
        )
    return uploads


def _exchange_moments(request: Message, response: Message) -> dict[str, int]:
    return {
        "request_start": request.first.at,
        "request_end": request.last.at,
        "response_start": response.first.at,
        "response_end": response.last.at,
    }


def _tcp_moments(ours: Sequence[Packet]) -> dict[str, int]:
    """From the SYN to the acknowledgement of its answer, and TLS's two ends where there is TLS."""
    syn, acknowledgement = ours[:2]
    assert (syn.number_of("tcp.flags") or 0) & _SYN
    moments = {"connect_start": syn.at, "tcp_connected": acknowledgement.at}
    hello = next(_with_handshake(ours, _CLIENT_HELLO), None)
    if hello is None:
        return moments | {"connect_end": acknowledgement.at}
    finished = next(_with_handshake(ours, _FINISHED))
    return moments | {
        "tls_start": hello.at,
        "tls_end": finished.at,
        "connect_end": finished.at,
    }


def _quic_moments(ours: Sequence[Packet]) -> dict[str, int]:
    """From the first datagram to the one with the client's Finished (RFC 9001 §4.1.1)."""
    finished = next(_with_handshake(ours, _FINISHED))
    return {
        "connect_start": ours[0].at,
        "tls_start": ours[0].at,
        "tls_end": finished.at,
        "connect_end": finished.at,
    }


def _tcp_acknowledged(last: Packet, theirs: Sequence[Packet]) -> int | None:
    end = last.numbers("tcp.seq")[0] + last.numbers("tcp.len")[0]
    return next((packet.at for packet in theirs if packet.numbers("tcp.ack")[0] >= end), None)


def _quic_acknowledged(last: Packet, theirs: Sequence[Packet]) -> int | None:
    number = last.numbers("quic.packet_number")[-1]
    later = (datagram for datagram in theirs if datagram.number > last.number)
    return next((datagram.at for datagram in later if _acknowledges(datagram, number)), None)


def _acknowledges(datagram: Packet, number: int) -> bool:
    """Whether it acknowledges a packet with application data: it has no long header then."""
    ranges = zip(
        datagram.numbers("quic.ack.largest_acknowledged"),
        datagram.numbers("quic.ack.first_ack_range"),
        strict=True,
    )
    covered = any(largest - length <= number <= largest for largest, length in ranges)
    return covered and not datagram.texts("quic.long.packet_type")


def _with_handshake(packets: Sequence[Packet], kind: int) -> Iterator[Packet]:
    return (packet for packet in packets if kind in packet.numbers("tls.handshake.type"))
