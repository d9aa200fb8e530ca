"""Trains: many equal-sized 1-RTT packets built side by side, for one segmented send.

A packet of a train holds one STREAM frame without a length, so its data reaches to the packet's end
(RFC 9000 §19.8). The body is read once for the whole train; the frame headers are written over what
was encrypted just before. Packets are encrypted straight into the train's buffer, and the masks of
header protection come from one call for all of them (RFC 9001 §5.4).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from struct import Struct

from cryptography.hazmat.primitives.ciphers import CipherContext
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from .http3_frames import encode_varint
from .machine import Address

#: udp(7): what one segmented send may hold; 65 000 leaves room for the headers.
MOST_PACKETS = 64
MOST_BYTES = 65_000

_TAG_BYTES = 16
_NONCE_BYTES = 12
_SAMPLE_BYTES = 16
# One header form, fixed bit set, packet number of four bytes (RFC 9000 §17.3.1). With four, the
# sample of header protection begins where the ciphertext does.
_FIRST_BYTE = 0x43
_PACKET_NUMBER_BYTES = 4
_PACKET_NUMBER_MASK = 0xFFFFFFFF
_MASKED_BITS = 0x1F
# STREAM with an offset, without a length (RFC 9000 §19.8).
_STREAM_WITH_OFFSET = 0x0C
_FIN = 0x01
# Offsets as variable-length integers of four or eight bytes, whatever their value (§16).
_SHORT_OFFSETS = 1 << 30
_SHORT_TAG, _LONG_TAG = 0x80000000, 0xC000000000000000
#: First byte of a mask, the four bytes for the packet number, and what is not used.
_MASK = Struct(">BI11x")

ReadInto = Callable[[int, memoryview], None]


@dataclass(frozen=True, slots=True)
class PacketKeys:
    """What 1-RTT packets are protected with now."""

    aead: AESGCM
    iv: int
    protection: CipherContext
    """AES-ECB with the header protection key."""
    first_byte_bits: int
    """Spin bit and key phase, in place."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a train is to carry."""

    stream_id: int
    start: int
    """Stream offset of its first byte."""
    stop: int
    fin: bool
    """The stream ends at `stop`."""
    share: int
    """Stream bytes in each packet but perhaps the last."""


@dataclass(frozen=True, slots=True)
class Train:
    """Datagrams side by side in one buffer, which is used again for the next train."""

    data: memoryview
    datagram_bytes: int
    """Size of each; the last one may be smaller."""
    count: int
    address: Address

    def datagrams(self) -> list[bytes]:
        """Copies of the datagrams, one by one."""
        size = self.datagram_bytes
        return [bytes(self.data[at : at + size]) for at in range(0, len(self.data), size)]


@dataclass(frozen=True, slots=True)
class _Shape:
    """Sizes that trains have in common as long as nothing changes on the path."""

    datagram_bytes: int
    header_bytes: int
    """Up to the packet number, which is the last of it."""
    frame_bytes: int
    """The STREAM frame's header."""

    @property
    def share(self) -> int:
        """Stream bytes in a full packet."""
        return self.datagram_bytes - self.header_bytes - self.frame_bytes - _TAG_BYTES


class _Places:
    """Where the packets of trains of one shape lie in the two buffers.

    Slicing a buffer costs as much as half an encryption, so it is done once per shape.
    """

    __slots__ = ("plain", "samples", "secret", "shape")

    def __init__(self, shape: _Shape, plain: memoryview, packets: memoryview) -> None:
        size, header, frame = shape.datagram_bytes, shape.header_bytes, shape.frame_bytes
        starts = range(0, size * min(MOST_PACKETS, MOST_BYTES // size), size)
        self.shape = shape
        self.plain = [
            plain[at : at + frame + shape.share]
            for at in range(0, shape.share * len(starts), shape.share)
        ]
        self.secret = [packets[at + header : at + size] for at in starts]
        self.samples = [packets[at + header : at + header + _SAMPLE_BYTES] for at in starts]


class TrainBuilder:
    """Builds one train at a time."""

    def __init__(self) -> None:
        self._packets = memoryview(bytearray(MOST_BYTES))
        self._plain = memoryview(bytearray(MOST_BYTES))
        self._places = _Places(_Shape(MOST_BYTES, 0, 0), self._plain, self._packets)

    def build(
        self,
        plan: Plan,
        keys: PacketKeys,
        *,
        cid: bytes,
        first_packet: int,
        datagram_bytes: int,
        read_into: ReadInto,
    ) -> memoryview:
        """Build the packets, as many as the plan takes; all but the last of `datagram_bytes`.

        Args:
            plan: what they carry; at most what fits one train.
            keys: what they are protected with.
            cid: the peer's connection id.
            first_packet: the number of the first packet.
            datagram_bytes: their size.
            read_into: fills a view with the stream's bytes from an offset on.

        Raises:
            SourceError: `read_into` failed; nothing has happened.
        """
        frame_bytes = _frame_header_bytes(plan.stream_id, plan.stop)
        shape = _Shape(datagram_bytes, 1 + len(cid) + _PACKET_NUMBER_BYTES, frame_bytes)
        if shape != self._places.shape:
            self._places = _Places(shape, self._plain, self._packets)
        read_into(plan.start, self._plain[frame_bytes : frame_bytes + plan.stop - plan.start])
        samples = self._encrypt(plan, keys, cid, first_packet)
        masks = keys.protection.update(b"".join(samples))
        header = Struct(f">B{len(cid)}sI")
        first_byte = _FIRST_BYTE | keys.first_byte_bits
        number, start = first_packet, 0
        for bits, mask in _MASK.iter_unpack(masks):
            masked = (number & _PACKET_NUMBER_MASK) ^ mask
            header.pack_into(self._packets, start, first_byte ^ (bits & _MASKED_BITS), cid, masked)
            number, start = number + 1, start + datagram_bytes
        overhead = datagram_bytes - shape.share
        return self._packets[: plan.stop - plan.start + len(samples) * overhead]

    def _encrypt(
        self, plan: Plan, keys: PacketKeys, cid: bytes, first_packet: int
    ) -> list[memoryview]:
        """Encrypt all payloads into their places; the samples for header protection."""
        share, length = plan.share, plan.stop - plan.start
        frame_header, tag = _frame_header_struct(plan)
        kind, sid = _STREAM_WITH_OFFSET, encode_varint(plan.stream_id)
        header = Struct(f">B{len(cid)}sI")
        first_byte = _FIRST_BYTE | keys.first_byte_bits
        encrypt, iv = keys.aead.encrypt_into, keys.iv
        count = -(-length // share)
        plains, secrets = self._places.plain, self._places.secret
        for index in range(count):
            plain, secret = plains[index], secrets[index]
            position, number = index * share, first_packet + index
            if index == count - 1:
                left = length - position
                plain = plain[: left + self._places.shape.frame_bytes]
                secret = secret[: len(plain) + _TAG_BYTES]
                kind |= _FIN * plan.fin
            frame_header.pack_into(plain, 0, kind, sid, tag | (plan.start + position))
            nonce = (iv ^ number).to_bytes(_NONCE_BYTES, "big")
            encrypt(
                nonce, plain, header.pack(first_byte, cid, number & _PACKET_NUMBER_MASK), secret
            )
        return self._places.samples[:count]


def data_per_packet(datagram_bytes: int, cid: bytes, stream_id: int, stop: int) -> int:
    """Stream bytes that fit a packet of a train which ends at this stream offset."""
    header = 1 + len(cid) + _PACKET_NUMBER_BYTES
    return datagram_bytes - header - _TAG_BYTES - _frame_header_bytes(stream_id, stop)


def _frame_header_bytes(stream_id: int, stop: int) -> int:
    return 1 + len(encode_varint(stream_id)) + (4 if stop <= _SHORT_OFFSETS else 8)


def _frame_header_struct(plan: Plan) -> tuple[Struct, int]:
    """How a STREAM frame's header is laid out, and what marks the offset's length."""
    long = plan.stop > _SHORT_OFFSETS
    sid_bytes = len(encode_varint(plan.stream_id))
    return Struct(f">B{sid_bytes}s{'Q' if long else 'I'}"), _LONG_TAG if long else _SHORT_TAG
