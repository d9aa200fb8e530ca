"""TLS 1.3 records: sealing a run of them in place, and opening what another sealed (RFC 8446 §5).

A nonce that is used twice gives AES-GCM's authentication key away, so no caller ever names one: a
`RecordSealer` numbers its records itself, counts a number as used before it encrypts, and goes on
to new keys and the number 0 in one step.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

from cryptography.exceptions import InvalidTag

from ..buffers import Buffer
from .ipsec_mb import IpsecMb, sealer_for
from .sealing import NONCE_BYTES, TAG_BYTES, AeadKey, Places, Row
from .tls_keys import TrafficKeys

HEADER_BYTES = 5
#: RFC 8446 §5.1.
MAX_CONTENT_BYTES = 2**14
#: What a record adds: header, content type, tag.
OVERHEAD_BYTES = HEADER_BYTES + 1 + TAG_BYTES
#: RFC 8446 §5.5: 2^24.5 full records are safe with one AES-GCM key. Half of that is nearly 200 GB.
MOST_RECORDS = 2**23

_HEADER = struct.Struct(">BHH")
_LEGACY_VERSION = 0x0303


class ContentType(IntEnum):
    """What a record carries (RFC 8446 §5.1)."""

    ALERT = 21
    HANDSHAKE = 22
    APPLICATION_DATA = 23


_FULL_BYTES = MAX_CONTENT_BYTES + OVERHEAD_BYTES
_FULL_HEADER = _HEADER.pack(
    ContentType.APPLICATION_DATA, _LEGACY_VERSION, _FULL_BYTES - HEADER_BYTES
)
_START = _FULL_HEADER[:3]
_APPLICATION_DATA = bytes([ContentType.APPLICATION_DATA])


class UnreadableRecord(Exception):
    """Bytes are no record, or none that these keys open."""


class KeysExhausted(Exception):
    """The keys have sealed as many records as is safe."""


@dataclass(frozen=True, slots=True)
class Content:
    """What was in a record."""

    kind: int
    data: bytes


class RecordRoom:
    """Plaintext for a run of records, and the place where they are sealed; used again and again.

    The plaintext lies in pieces, for each record's content type follows its content (§5.2).
    """

    __slots__ = (
        "_contents",
        "_headers",
        "_kinds",
        "_sealer",
        "_short_header",
        "byte_count",
        "nonces",
        "plain",
        "wire",
    )

    def __init__(self, records: int, library: IpsecMb | None) -> None:
        """Made by `RecordSealer.new_room`."""
        self.byte_count = records * MAX_CONTENT_BYTES
        """How much plaintext fits."""
        inner = MAX_CONTENT_BYTES + 1
        wire = bytearray(records * _FULL_BYTES)
        self.wire = memoryview(wire)
        self.nonces = bytearray(records * NONCE_BYTES)
        """Where those of a run are written, one after the other."""
        headers, nonces = Row(wire, 0, _FULL_BYTES), Row(self.nonces, 0, NONCE_BYTES)
        sealed = headers.further(HEADER_BYTES)
        plain = sealed if library else Row(bytearray(records * inner), 0, inner)
        places = Places(records, inner, plain, sealed, nonces, headers, HEADER_BYTES)
        self._sealer = sealer_for(places, library)
        # Slicing costs as much as a tenth of an encryption, so it is done once.
        self.plain = plain.views(records, inner)
        self._contents = [piece[:MAX_CONTENT_BYTES] for piece in self.plain]
        self._kinds = plain.further(MAX_CONTENT_BYTES)
        self._headers = headers.views(records, HEADER_BYTES)
        for header in self._headers:
            header[:] = _FULL_HEADER
        self._short_header: memoryview | None = None
        """The one that is not a full record's."""

    def places(self, start: int, stop: int) -> list[memoryview]:
        """Where the plaintext's bytes from `start` to `stop` are to be written."""
        first, last = start // MAX_CONTENT_BYTES, -(-stop // MAX_CONTENT_BYTES)
        places = self._contents[first:last]
        if places:
            places[-1] = places[-1][: stop - (last - 1) * MAX_CONTENT_BYTES]
            places[0] = places[0][start - first * MAX_CONTENT_BYTES :]
        return places

    def put(self, start: int, data: Buffer) -> None:
        """Write plaintext from `start` on."""
        done = 0
        for place in self.places(start, start + len(data)):
            place[:] = data[done : done + len(place)]
            done += len(place)

    def seal(self, key: AeadKey, byte_count: int) -> memoryview:
        """Seal the first bytes, at least one, with the nonces that were put; the records."""
        full, rest = divmod(byte_count, MAX_CONTENT_BYTES)
        if self._short_header is not None:
            self._short_header[:] = _FULL_HEADER
            self._short_header = None
        if full:
            room, first, step = self._kinds
            room[first : first + full * step : step] = _APPLICATION_DATA * full
        if rest:
            self.plain[full][rest] = ContentType.APPLICATION_DATA
            self._short_header = self._headers[full]
            self._short_header[:] = _header(rest)
        self._sealer.seal(key, full + (rest > 0), (rest or MAX_CONTENT_BYTES) + 1)
        return self.wire[: full * _FULL_BYTES + (rest + OVERHEAD_BYTES if rest else 0)]


class RecordSealer:
    """Seals the records of one direction of a connection, one after the other."""

    __slots__ = ("_keys", "_number")

    def __init__(self, keys: TrafficKeys, number: int) -> None:
        """Begin at a number which, like all that follow, nobody has used with these keys."""
        self._keys = keys
        self._number = number

    @property
    def left(self) -> int:
        """How many records these keys may seal still."""
        return MOST_RECORDS - self._number

    def new_room(self, records: int, library: IpsecMb | None) -> RecordRoom:
        """Make room for so many records, sealed in place if the library has the cipher."""
        return RecordRoom(records, library if self._keys.key.is_aes_gcm else None)

    def seal(self, kind: int, content: bytes) -> bytes:
        """One record.

        Raises:
            KeysExhausted: it needs other keys.
        """
        record = memoryview(bytearray(len(content) + OVERHEAD_BYTES))
        record[:HEADER_BYTES] = header = _header(len(content))
        nonce, inner = self._keys.nonce(self._take_numbers(1)), content + bytes([kind])
        self._keys.key.cipher.encrypt_into(nonce, inner, header, record[HEADER_BYTES:])
        return bytes(record)

    def seal_room(self, room: RecordRoom, byte_count: int) -> memoryview:
        """Seal the room's first bytes as application data; the records, which lie in the room.

        Raises:
            KeysExhausted: they need other keys; the records are of no use.
        """
        if not byte_count:
            return room.wire[:0]
        count = -(-byte_count // MAX_CONTENT_BYTES)
        self._keys.put_nonces(room.nonces, self._take_numbers(count), count)
        return room.seal(self._keys.key, byte_count)

    def update(self) -> None:
        """Go on with the next keys: a KeyUpdate was sealed (§7.2)."""
        self._keys, self._number = self._keys.updated(), 0

    def _take_numbers(self, count: int) -> int:
        """Numbers that nobody gets again, whatever becomes of these records; the first of them."""
        first = self._number
        if first + count > MOST_RECORDS:
            raise KeysExhausted
        self._number = first + count
        return first


class RecordOpener:
    """Opens the records that another sealed, in order."""

    __slots__ = ("keys", "number")

    def __init__(self, keys: TrafficKeys) -> None:
        self.keys = keys
        self.number = 0
        """The next record's."""

    def open(self, record: bytes) -> Content:
        """What is in the next record.

        Raises:
            UnreadableRecord: it is another one.
        """
        content = open_record(self.keys, self.number, record)
        self.number += 1
        return content

    def skip(self) -> None:
        """Count a record that is not opened."""
        self.number += 1

    def update(self) -> None:
        """Go on with the next keys."""
        self.keys, self.number = self.keys.updated(), 0


def open_record(keys: TrafficKeys, number: int, record: bytes) -> Content:
    """What is in a record of that number.

    Raises:
        UnreadableRecord: it is not, or has other keys.
    """
    try:
        inner = keys.key.cipher.decrypt(
            keys.nonce(number), record[HEADER_BYTES:], record[:HEADER_BYTES]
        ).rstrip(b"\0")  # padding (§5.4)
    except InvalidTag as exc:
        raise UnreadableRecord from exc
    if not inner:
        raise UnreadableRecord
    return Content(inner[-1], inner[:-1])


def _header(content_bytes: int) -> bytes:
    length = content_bytes + OVERHEAD_BYTES - HEADER_BYTES
    return _HEADER.pack(ContentType.APPLICATION_DATA, _LEGACY_VERSION, length)


def is_one_record(data: bytes) -> bool:
    """Whether it is what `cut_records` would give as one record."""
    return (
        data.startswith(_START)
        and len(data) == int.from_bytes(data[3:HEADER_BYTES], "big") + HEADER_BYTES
    )


def cut_records(data: bytes) -> Iterator[bytes]:
    """Cut whole records apart.

    Raises:
        UnreadableRecord: the bytes are something else.
    """
    at = 0
    while at < len(data):
        if at + HEADER_BYTES > len(data):
            raise UnreadableRecord
        kind, version, length = _HEADER.unpack_from(data, at)
        end = at + HEADER_BYTES + length
        if (kind, version) != (ContentType.APPLICATION_DATA, _LEGACY_VERSION) or end > len(data):
            raise UnreadableRecord
        yield data[at:end]
        at = end
