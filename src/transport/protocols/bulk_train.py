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
_FIRST_BYTE_BITS = bytes(byte & 0x1F for byte in range(256))
"""What of a mask applies to the first byte."""
# STREAM with an offset, without a length (RFC 9000 §19.8).
_STREAM_WITH_OFFSET = 0x0C
_FIN = 0x01
# Offsets as variable-length integers of four or eight bytes, whatever their value (§16).
_SHORT_OFFSETS = 1 << 30
_SHORT_TAG, _LONG_TAG = 0x80000000, 0xC000000000000000

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
    """What trains have in common as long as nothing changes on the path."""

    datagram_bytes: int
    cid: bytes
    frame_bytes: int
    """The STREAM frame's header."""

    @property
    def header_bytes(self) -> int:
        """Up to the packet number, which is the last of it."""
        return 1 + len(self.cid) + _PACKET_NUMBER_BYTES

    @property
    def share(self) -> int:
        """Stream bytes in a full packet."""
        return self.datagram_bytes - self.header_bytes - self.frame_bytes - _TAG_BYTES


class _Places:
    """Where the packets of trains of one shape lie in the two buffers.

    Slicing a buffer costs as much as half an encryption, so it is done once per shape; and the
    connection id stays where it is from one train to the next.
    """

    __slots__ = ("plain", "samples", "secret", "shape")

    def __init__(self, shape: _Shape, plain: memoryview, packets: memoryview) -> None:
        size, header, cid = shape.datagram_bytes, shape.header_bytes, shape.cid
        starts = range(0, size * min(MOST_PACKETS, MOST_BYTES // size), size)
        self.shape = shape
        self.plain = [
            plain[at : at + shape.frame_bytes + shape.share]
            for at in range(0, shape.share * len(starts), shape.share)
        ]
        self.secret = [packets[at + header : at + size] for at in starts]
        self.samples = [packets[at + header : at + header + _SAMPLE_BYTES] for at in starts]
        for at in starts:
            packets[at + 1 : at + 1 + len(cid)] = cid


class TrainBuilder:
    """Builds one train at a time."""

    def __init__(self) -> None:
        self._packets = memoryview(bytearray(MOST_BYTES))
        self._plain = memoryview(bytearray(MOST_BYTES))
        self._places: _Places | None = None

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
        places = self._places_for(
            _Shape(datagram_bytes, cid, _frame_header_bytes(plan.stream_id, plan.stop))
        )
        frame_bytes, length = places.shape.frame_bytes, plan.stop - plan.start
        read_into(plan.start, self._plain[frame_bytes : frame_bytes + length])
        count = -(-length // plan.share)
        numbers = range(first_packet, first_packet + count)
        truncated = [
            (number & _PACKET_NUMBER_MASK).to_bytes(_PACKET_NUMBER_BYTES, "big")
            for number in numbers
        ]
        first_byte = _FIRST_BYTE | keys.first_byte_bits
        prefix = bytes((first_byte,)) + cid
        headers = [prefix + number for number in truncated]
        _encrypt(places, plan, keys, numbers, headers)
        masks = keys.protection.update(b"".join(places.samples[:count]))
        _protect(self._packets, places.shape, first_byte, b"".join(truncated), masks)
        return self._packets[: length + count * (datagram_bytes - places.shape.share)]

    def _places_for(self, shape: _Shape) -> _Places:
        if self._places is None or shape != self._places.shape:
            self._places = _Places(shape, self._plain, self._packets)
        return self._places


def _encrypt(
    places: _Places, plan: Plan, keys: PacketKeys, numbers: range, headers: list[bytes]
) -> None:
    """Encrypt all payloads into their places."""
    count, share = len(numbers), plan.share
    plains, secrets = places.plain[:count], places.secret[:count]
    left = plan.stop - plan.start - (count - 1) * share
    plains[-1] = plains[-1][: places.shape.frame_bytes + left]
    secrets[-1] = secrets[-1][: len(plains[-1]) + _TAG_BYTES]
    iv, encrypt = keys.iv, keys.aead.encrypt_into
    nonces = [(iv ^ number).to_bytes(_NONCE_BYTES, "big") for number in numbers]
    frame_header, kind, tag = _frame_header(plan)
    pack, kinds = frame_header.pack_into, [kind] * count
    if plan.fin:
        kinds[-1] = bytes((kind[0] | _FIN,)) + kind[1:]
    # Both parts of an offset have their own bits, so their sum is their union.
    offsets = range(tag + plan.start, tag + plan.stop, share)
    for plain, secret, nonce, header, form, offset in zip(
        plains, secrets, nonces, headers, kinds, offsets, strict=True
    ):
        pack(plain, 0, form, offset)
        encrypt(nonce, plain, header, secret)


def _protect(
    packets: memoryview, shape: _Shape, first_byte: int, numbers: bytes, masks: bytes
) -> None:
    """Write first bytes and packet numbers, masked (RFC 9001 §5.4.1), a byte of all at a time."""
    size = shape.datagram_bytes
    count = len(numbers) // _PACKET_NUMBER_BYTES
    end = (count - 1) * size + shape.header_bytes
    bits = _xor(bytes((first_byte,)) * count, masks[::_SAMPLE_BYTES].translate(_FIRST_BYTE_BITS))
    packets[0:end:size] = bits
    for index in range(_PACKET_NUMBER_BYTES):
        at = 1 + len(shape.cid) + index
        plain, mask = numbers[index::_PACKET_NUMBER_BYTES], masks[1 + index :: _SAMPLE_BYTES]
        packets[at:end:size] = _xor(plain, mask)


def _xor(one: bytes, other: bytes) -> bytes:
    return (int.from_bytes(one, "big") ^ int.from_bytes(other, "big")).to_bytes(len(one), "big")


def data_per_packet(datagram_bytes: int, cid: bytes, stream_id: int, stop: int) -> int:
    """Stream bytes that fit a packet of a train which ends at this stream offset."""
    header = 1 + len(cid) + _PACKET_NUMBER_BYTES
    return datagram_bytes - header - _TAG_BYTES - _frame_header_bytes(stream_id, stop)


def _frame_header_bytes(stream_id: int, stop: int) -> int:
    return 1 + len(encode_varint(stream_id)) + (4 if stop <= _SHORT_OFFSETS else 8)


def _frame_header(plan: Plan) -> tuple[Struct, bytes, int]:
    """How a STREAM frame's header is laid out: kind and stream, and the offset with its length."""
    long = plan.stop > _SHORT_OFFSETS
    kind = bytes((_STREAM_WITH_OFFSET,)) + encode_varint(plan.stream_id)
    layout = Struct(f">{len(kind)}s{'Q' if long else 'I'}")
    return layout, kind, _LONG_TAG if long else _SHORT_TAG
