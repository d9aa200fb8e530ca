"""The memory in which a train is built: where its packets lie, and what is written beside its body.

What is different in each packet follows from its place: numbers, offsets, nonces and masks of a
whole train are computed and written side by side, a column of bytes at a time.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from cryptography.hazmat.primitives.ciphers import CipherContext

from .http3_frames import encode_varint
from .ipsec_mb import IpsecMb, sealer_for
from .sealing import NONCE_BYTES, TAG_BYTES, AeadKey, Places, Row
from .side_by_side import evenly_spaced, flipped_counting, put_counting

#: Segmented sends that make a train. What it costs beside its packets is shared by twice as many
#: with two of them; more would keep acknowledgements waiting.
_SENDS = 3
#: udp(7): what one of them may hold; 65 000 leaves room for the headers.
_PACKETS_PER_SEND = 64
_BYTES_PER_SEND = 65_000

_SAMPLE_BYTES = 16
# Short header form, fixed bit set, packet number of two bytes (RFC 9000 §17.3.1), which aioquic's
# own packets have, too.
_FIRST_BYTE = 0x41
_PACKET_NUMBER_BYTES = 2
# RFC 9001 §5.4.2: samples are taken as if the number had four.
_SAMPLE_AT = 4 - _PACKET_NUMBER_BYTES
#: Packet numbers that differ in what a packet carries of them; a train may not go past a multiple.
TRUNCATED_NUMBERS = 1 << 8 * _PACKET_NUMBER_BYTES
# RFC 9001 §5.4.1: what a mask changes of the first byte.
_MASKED = 0x1F
# STREAM with an offset, without a length (RFC 9000 §19.8).
_STREAM_WITH_OFFSET = 0x0C
_FIN = 0x01
# Offsets as variable-length integers of four or eight bytes, whatever their value (§16).
_SHORT_OFFSETS = 1 << 30
_SHORT_BYTES, _LONG_BYTES = 4, 8
_OFFSET_TAGS = {_SHORT_BYTES: 0x80000000, _LONG_BYTES: 0xC000000000000000}


# Not frozen: one is made for every train, and to freeze takes a call for each field.
@dataclass(slots=True)
class PacketKeys:
    """What 1-RTT packets are protected with now."""

    key: AeadKey
    """Of AES-GCM."""
    iv: int
    protection: CipherContext
    """AES-ECB with the header protection key."""
    first_byte_bits: int
    """Spin bit and key phase, in place."""


class TrainShape(NamedTuple):
    """What trains have in common as long as nothing changes on the path."""

    datagram_bytes: int
    cid: bytes
    """The peer's connection id."""
    stream_bytes: int
    """Of a STREAM frame's type and stream id."""
    offset_bytes: int
    """Of its offset."""


class TrainRoom:
    """Where the packets of trains of one shape lie.

    Slicing a buffer costs as much as half an encryption, so it is done once per shape.
    """

    __slots__ = (
        "_header_bytes",
        "_headers",
        "_nonces",
        "_packets",
        "_plain",
        "_samples",
        "_sealer",
        "bodies",
        "packets",
        "shape",
    )

    def __init__(self, shape: TrainShape, library: IpsecMb | None) -> None:
        """Make room for the longest train; with the library, it is encrypted in place."""
        size, cid = shape.datagram_bytes, shape.cid
        self.shape = shape
        self._header_bytes = header = 1 + len(cid) + _PACKET_NUMBER_BYTES
        """Up to the packet number, which is the last of it."""
        payload, count = size - header - TAG_BYTES, most_packets(size)
        # Bytes that lie apart are written into a bytearray four times as fast as into a view of it.
        self._packets = bytearray(count * size)
        self.packets = packets = memoryview(self._packets)
        """What is given to the operating system."""
        for at in range(1, count * size, size):
            packets[at : at + len(cid)] = cid
        self._headers, self._nonces = bytearray(count * header), bytearray(count * NONCE_BYTES)
        sealed = Row(self._packets, header, size)
        self._plain = plain = sealed if library else Row(bytearray(count * payload), 0, payload)
        nonces, headers = Row(self._nonces, 0, NONCE_BYTES), Row(self._headers, 0, header)
        places = Places(count, payload, plain, sealed, nonces, headers, header)
        self._sealer = sealer_for(places, library)
        self._samples = sealed.further(_SAMPLE_AT).views(count, _SAMPLE_BYTES)
        frame = shape.stream_bytes + shape.offset_bytes
        self.bodies = plain.further(frame).views(count, payload - frame)
        """Where the stream's bytes are read to."""

    def put_frame_headers(
        self, stream_id: int, start: int, share: int, count: int, *, fin: bool
    ) -> None:
        """Write the headers of so many STREAM frames, each with a share of the stream from `start`.

        With `fin`, the last one ends it.
        """
        room, first, step = self._plain
        stream, size = _stream_frame(stream_id), self.shape.offset_bytes
        end = first + (count - 1) * step + len(stream) + size
        for at, byte in enumerate(stream, first):
            room[at:end:step] = bytearray((byte,)) * count
        # Both parts of an offset have their own bits, so their sum is their union.
        offsets = evenly_spaced(_OFFSET_TAGS[size] + start, share, count, size)
        # What is written apart is taken from a bytearray twice as fast as from bytes.
        columns = bytearray(offsets.to_bytes(count * size, "big"))
        for at in range(size):
            room[first + len(stream) + at : end : step] = columns[at::size]
        room[first + (count - 1) * step] |= _FIN * fin

    def protect(self, keys: PacketKeys, first_packet: int, count: int, last_bytes: int) -> None:
        """Encrypt so many packets, the last with so many bytes of the stream, and mask headers."""
        shape = self.shape
        # Of the last one, the bytes of its frame.
        last_bytes += shape.stream_bytes + shape.offset_bytes
        first_byte = _FIRST_BYTE | keys.first_byte_bits
        truncated = first_packet % TRUNCATED_NUMBERS
        prefix = int.from_bytes(bytes((first_byte,)) + shape.cid, "big")
        header = prefix << 8 * _PACKET_NUMBER_BYTES | truncated
        put_counting(self._headers, self._header_bytes, header, count)
        # RFC 9001 §5.3.
        put_counting(self._nonces, NONCE_BYTES, first_packet, count, flipped=keys.iv)
        self._sealer.seal(keys.key, count, last_bytes)
        masks = keys.protection.update(b"".join(self._samples[:count]))
        self._put_headers(first_byte, truncated, count, bytearray(masks))

    def _put_headers(self, first_byte: int, number: int, count: int, masks: bytearray) -> None:
        """Write what is protected of the headers from this packet number on (RFC 9001 §5.4.1)."""
        room, size = self._packets, self.shape.datagram_bytes
        end = (count - 1) * size + self._header_bytes
        room[0:end:size] = masks[::_SAMPLE_BYTES].translate(_first_bytes(first_byte))
        number_masks = masks[1::_SAMPLE_BYTES] + masks[2::_SAMPLE_BYTES]
        upper, lower = flipped_counting(number_masks, number)
        room[self._header_bytes - 2 : end : size] = upper
        room[self._header_bytes - 1 : end : size] = lower


def shape_of(datagram_bytes: int, cid: bytes, stream_id: int, stop: int) -> TrainShape:
    """The shape of a train which ends at this stream offset."""
    return TrainShape(datagram_bytes, cid, len(_stream_frame(stream_id)), _offset_bytes(stop))


def most_packets(datagram_bytes: int) -> int:
    """How many packets of this size a train can have."""
    return _SENDS * min(_PACKETS_PER_SEND, _BYTES_PER_SEND // datagram_bytes)


def data_per_packet(datagram_bytes: int, cid: bytes, stream_id: int, stop: int) -> int:
    """Stream bytes that fit a packet of a train which ends at this stream offset."""
    header_bytes = 1 + len(cid) + _PACKET_NUMBER_BYTES
    frame_bytes = len(_stream_frame(stream_id)) + _offset_bytes(stop)
    return datagram_bytes - header_bytes - frame_bytes - TAG_BYTES


def _offset_bytes(stop: int) -> int:
    return _SHORT_BYTES if stop <= _SHORT_OFFSETS else _LONG_BYTES


@lru_cache(maxsize=64)
def _stream_frame(stream_id: int) -> bytes:
    """Type and stream id."""
    return bytes((_STREAM_WITH_OFFSET,)) + encode_varint(stream_id)


@lru_cache(maxsize=8)
def _first_bytes(plain: int) -> bytes:
    """What masks make of a first byte, by the first byte of the mask."""
    return bytes(plain ^ mask & _MASKED for mask in range(256))
