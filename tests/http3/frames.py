"""Packets as a server could have sent them, frame by frame."""

from __future__ import annotations

from aioquic.tls import Epoch

from tests.http3.pair import Pair
from trilane.transport.protocols.http3_frames import encode_varint

ACK, PING, MAX_DATA, MAX_STREAM_DATA, MAX_STREAMS = 0x02, 0x01, 0x10, 0x11, 0x12

STREAM, OFFSET, LENGTH, FIN = 0x08, 0x04, 0x02, 0x01


def frame(*numbers: int) -> bytes:
    return b"".join(map(encode_varint, numbers))


def ack(largest: int, length: int, *more: int) -> bytes:
    """An ACK frame of the packets up to `largest`; `more` are gaps and lengths in turns."""
    return frame(ACK, largest, 25, len(more) // 2, length, *more)


def stream(stream_id: int, offset: int, data: bytes, *, fin: bool = False) -> bytes:
    """A STREAM frame with all there can be in one."""
    return frame(STREAM | OFFSET | LENGTH | FIN * fin, stream_id, offset, len(data)) + data


def kind(frame: bytes) -> int:
    """What it is, whatever there is in it."""
    return STREAM if STREAM <= frame[0] <= STREAM | OFFSET | LENGTH | FIN else frame[0]


def packet(pair: Pair, payload: bytes, *, number: int = 1000, first_byte: int = 0x43) -> bytes:
    """What the server could have sent."""
    quic = pair.server.quic
    header = bytes((first_byte,)) + quic._peer_cid.cid + number.to_bytes(4, "big")
    return quic._cryptos[Epoch.ONE_RTT].encrypt_packet(header, payload, number)
