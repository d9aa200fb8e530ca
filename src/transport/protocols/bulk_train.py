"""Trains: many equal-sized 1-RTT packets built side by side, for a few segmented sends.

A packet of a train holds one STREAM frame without a length, so its data reaches to the packet's end
(RFC 9000 §19.8). The body is read once for the whole train, each packet's share to where it is
encrypted from, and encrypted straight into the train's buffer. What is different in each packet
follows from its place: numbers, offsets, nonces and masks of a whole train are computed side by
side in one long integer, and the masks of header protection come from one call (RFC 9001 §5.4).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from cryptography.hazmat.primitives.ciphers import CipherContext
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from .http3_frames import encode_varint
from .machine import Address
from .side_by_side import evenly_spaced, repeated

#: Segmented sends that make a train. What it costs beside its packets is shared by twice as many
#: with two of them; more would keep acknowledgements waiting.
_SENDS = 3
#: udp(7): what one of them may hold; 65 000 leaves room for the headers.
_PACKETS_PER_SEND = 64
_BYTES_PER_SEND = 65_000

_TAG_BYTES = 16
_NONCE_BYTES = 12
_SAMPLE_BYTES = 16
# One header form, fixed bit set, packet number of four bytes (RFC 9000 §17.3.1). With four, the
# sample of header protection begins where the ciphertext does.
_FIRST_BYTE = 0x43
_PACKET_NUMBER_BYTES = 4
#: Packet numbers that differ in what a packet carries of them; a train may not go past a multiple.
TRUNCATED_NUMBERS = 1 << 8 * _PACKET_NUMBER_BYTES
# RFC 9001 §5.4.1: what a mask changes of the first byte and of the packet number, and where they
# are moved to, so that they lie as they do in the mask.
_MASKED = 0x1F_FFFFFFFF
_MASK_SHIFT = 8 * (_SAMPLE_BYTES - 1 - _PACKET_NUMBER_BYTES)
# STREAM with an offset, without a length (RFC 9000 §19.8).
_STREAM_WITH_OFFSET = 0x0C
_FIN = 0x01
# Offsets as variable-length integers of four or eight bytes, whatever their value (§16).
_SHORT_OFFSETS = 1 << 30
_SHORT_BYTES, _LONG_BYTES = 4, 8
_OFFSET_TAGS = {_SHORT_BYTES: 0x80000000, _LONG_BYTES: 0xC000000000000000}

ReadIntoPlaces = Callable[[int, int, list[memoryview]], None]
_Shape = tuple[int, bytes, int, int]
"""What trains have in common as long as nothing changes on the path: size of a datagram, the peer's
connection id, bytes of a STREAM frame's type and stream id, and of its offset."""


# Not frozen: three of these are made for every train, and to freeze takes a call for each field.
@dataclass(slots=True)
class PacketKeys:
    """What 1-RTT packets are protected with now."""

    aead: AESGCM
    iv: int
    protection: CipherContext
    """AES-ECB with the header protection key."""
    first_byte_bits: int
    """Spin bit and key phase, in place."""


@dataclass(slots=True)
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


@dataclass(slots=True)
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


class _Places:
    """Where the packets of trains of one shape lie, before and after encryption.

    Slicing a buffer costs as much as half an encryption, so it is done once per shape; and what is
    the same in all packets stays where it is from one train to the next.
    """

    __slots__ = (
        "_cid_bytes",
        "_offset_bytes",
        "_packets_room",
        "_plain_room",
        "_size",
        "_stream",
        "bodies",
        "frame_bytes",
        "header_bytes",
        "headers",
        "headers_side_by_side",
        "nonces",
        "nonces_side_by_side",
        "packets",
        "payload_bytes",
        "plain",
        "samples",
        "secret",
        "shape",
    )

    def __init__(self, shape: _Shape) -> None:
        size, cid, stream_bytes, self._offset_bytes = shape
        self.shape = shape
        self.header_bytes = header = 1 + len(cid) + _PACKET_NUMBER_BYTES
        """Up to the packet number, which is the last of it."""
        self.frame_bytes = frame = stream_bytes + self._offset_bytes
        """The STREAM frame's header."""
        self.payload_bytes = payload = size - header - _TAG_BYTES
        """What is encrypted of a full packet."""
        count = most_packets(size)
        starts, payloads = range(0, size * count, size), range(0, payload * count, payload)
        # Bytes that lie apart are written into a bytearray four times as fast as into a view of it.
        self._plain_room = bytearray(payload * count)
        self._packets_room = bytearray(count * size)
        plain = memoryview(self._plain_room)
        self.packets = packets = memoryview(self._packets_room)
        """Encrypted, and what is given to the operating system."""
        self._size, self._cid_bytes = size, len(cid)
        self._stream = b""
        self.bodies = [plain[at + frame : at + payload] for at in payloads]
        """Where the stream's bytes are read to."""
        self.plain = [plain[at : at + payload] for at in payloads]
        """The same with the frame's header, ready to be encrypted."""
        self.secret = [packets[at + header : at + size] for at in starts]
        self.samples = [packets[at + header : at + header + _SAMPLE_BYTES] for at in starts]
        self.headers_side_by_side, self.headers = _side_by_side(header, count)
        self.nonces_side_by_side, self.nonces = _side_by_side(_NONCE_BYTES, count)
        for at in starts:
            packets[at + 1 : at + 1 + len(cid)] = cid

    def put_frame_headers(self, plan: Plan, count: int) -> None:
        """Write the frame headers of so many packets; what `plan.fin` adds is left out."""
        plain, step = self._plain_room, self.payload_bytes
        end = count * step
        stream = _stream_frame(plan.stream_id)
        if stream != self._stream:
            self._stream = stream
            for at, byte in enumerate(stream):
                plain[at::step] = bytes((byte,)) * len(self.plain)
        size = self._offset_bytes
        # Both parts of an offset have their own bits, so their sum is their union.
        first = _OFFSET_TAGS[size] + plan.start
        offsets = evenly_spaced(first, plan.share, count, size).to_bytes(count * size, "big")
        for index in range(size):
            plain[len(stream) + index : end : step] = offsets[index::size]

    def put_headers(self, first_bytes: int, count: int, masks: bytes) -> None:
        """Write what is protected of the packets' headers (RFC 9001 §5.4.1).

        Args:
            first_bytes: first byte and packet number of the first packet.
            count: how many packets there are.
            masks: of all of them.
        """
        packets, size = self._packets_room, self._size
        plain = evenly_spaced(first_bytes, 1, count, _SAMPLE_BYTES)
        mask = int.from_bytes(masks, "big") >> _MASK_SHIFT & repeated(_MASKED, count, _SAMPLE_BYTES)
        headers = (plain ^ mask).to_bytes(count * _SAMPLE_BYTES, "big")
        end = (count - 1) * size + self.header_bytes
        at = _SAMPLE_BYTES - 1 - _PACKET_NUMBER_BYTES
        packets[0:end:size] = headers[at::_SAMPLE_BYTES]
        for index in range(1, 1 + _PACKET_NUMBER_BYTES):
            place = self._cid_bytes + index
            packets[place:end:size] = headers[at + index :: _SAMPLE_BYTES]


class TrainBuilder:
    """Builds one train at a time."""

    def __init__(self) -> None:
        self._places: _Places | None = None
        """None, too, as long as there was no train: most connections never send one."""

    def build(
        self,
        plan: Plan,
        keys: PacketKeys,
        *,
        cid: bytes,
        first_packet: int,
        datagram_bytes: int,
        read_into_places: ReadIntoPlaces,
    ) -> memoryview:
        """Build the packets, as many as the plan takes; all but the last of `datagram_bytes`.

        Args:
            plan: what they carry; at most what fits one train.
            keys: what they are protected with.
            cid: the peer's connection id.
            first_packet: the number of the first packet.
            datagram_bytes: their size.
            read_into_places: fills views with the stream's bytes between two offsets.

        Raises:
            SourceError: `read_into_places` failed; nothing has happened.
        """
        places = self._places_for(plan, cid, datagram_bytes)
        length = plan.stop - plan.start
        count = -(-length // plan.share)
        last = length - (count - 1) * plan.share
        bodies = places.bodies[:count]
        bodies[-1] = bodies[-1][:last]
        read_into_places(plan.start, plan.stop, bodies)
        places.put_frame_headers(plan, count)
        truncated = first_packet % TRUNCATED_NUMBERS
        first_byte = _FIRST_BYTE | keys.first_byte_bits
        prefix = int.from_bytes(bytes((first_byte,)) + cid, "big")
        header = prefix << 8 * _PACKET_NUMBER_BYTES | truncated
        size = count * places.header_bytes
        headers = evenly_spaced(header, 1, count, places.header_bytes).to_bytes(size, "big")
        places.headers_side_by_side[:size] = headers
        size = count * _NONCE_BYTES
        nonces = repeated(keys.iv, count, _NONCE_BYTES) ^ evenly_spaced(
            first_packet, 1, count, _NONCE_BYTES
        )
        places.nonces_side_by_side[:size] = nonces.to_bytes(size, "big")
        _encrypt(places, keys.aead, count, places.frame_bytes + last, fin=plan.fin)
        masks = keys.protection.update(b"".join(places.samples[:count]))
        first_bytes = first_byte << 8 * _PACKET_NUMBER_BYTES | truncated
        places.put_headers(first_bytes, count, masks)
        return places.packets[: length + count * (datagram_bytes - plan.share)]

    def _places_for(self, plan: Plan, cid: bytes, datagram_bytes: int) -> _Places:
        shape = (
            datagram_bytes,
            cid,
            len(_stream_frame(plan.stream_id)),
            _offset_bytes(plan.stop),
        )
        if self._places is None or shape != self._places.shape:
            self._places = _Places(shape)
        return self._places


def _encrypt(places: _Places, aead: AESGCM, count: int, last_bytes: int, *, fin: bool) -> None:
    """Encrypt so many payloads into their places, the last one of so many bytes."""
    plains, secrets = places.plain[:count], places.secret[:count]
    plains[-1] = plains[-1][:last_bytes]
    secrets[-1] = secrets[-1][: last_bytes + _TAG_BYTES]
    packets = map(aead.encrypt_into, places.nonces, plains, places.headers, secrets)
    plains[-1][0] |= _FIN * fin
    try:
        # An empty deque is how a loop is left to C.
        deque(packets, maxlen=0)
    finally:
        # The place is used again.
        plains[-1][0] &= ~_FIN


def _side_by_side(size: int, count: int) -> tuple[memoryview, list[memoryview]]:
    """Room for equal pieces, as a whole and piece by piece."""
    whole = memoryview(bytearray(size * count))
    return whole, [whole[at : at + size] for at in range(0, size * count, size)]


def most_packets(datagram_bytes: int) -> int:
    """How many packets of this size a train can have."""
    return _SENDS * min(_PACKETS_PER_SEND, _BYTES_PER_SEND // datagram_bytes)


def data_per_packet(datagram_bytes: int, cid: bytes, stream_id: int, stop: int) -> int:
    """Stream bytes that fit a packet of a train which ends at this stream offset."""
    header_bytes = 1 + len(cid) + _PACKET_NUMBER_BYTES
    frame_bytes = len(_stream_frame(stream_id)) + _offset_bytes(stop)
    return datagram_bytes - header_bytes - frame_bytes - _TAG_BYTES


def _offset_bytes(stop: int) -> int:
    return _SHORT_BYTES if stop <= _SHORT_OFFSETS else _LONG_BYTES


@lru_cache(maxsize=64)
def _stream_frame(stream_id: int) -> bytes:
    """Type and stream id."""
    return bytes((_STREAM_WITH_OFFSET,)) + encode_varint(stream_id)
