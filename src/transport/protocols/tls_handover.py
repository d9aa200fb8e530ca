"""From OpenSSL's records to ours, on a connection that is up.

OpenSSL seals what it is given and numbers the records; from some moment on we do so ourselves, for
long bodies are sealed in place and faster that way. From then on nothing of OpenSSL's may reach the
network as it is: what it says of its own accord (close_notify and other alerts, answers to
KeyUpdate) is opened with the known keys and sealed again under our numbers.

The number to begin with is proven, not guessed: a record opens under its own number and keys only,
so OpenSSL's latest record is opened before a handover. When that fails there is none.
"""

from __future__ import annotations

from .ipsec_mb import IpsecMb
from .sealing import TAG_BYTES
from .tls_keys import CipherSuite, TrafficKeys
from .tls_records import (
    HEADER_BYTES,
    Content,
    ContentType,
    RecordOpener,
    RecordRoom,
    RecordSealer,
    UnreadableRecord,
    cut_records,
    is_one_record,
    open_record,
)

#: RFC 8446 §4.6.3: type, length, and whether the peer is to update its keys, too.
_KEY_UPDATE = b"\x18\x00\x00\x01"
_KEY_UPDATE_NOT_REQUESTED = _KEY_UPDATE + b"\x00"
_KEY_UPDATE_RECORD_BYTES = HEADER_BYTES + len(_KEY_UPDATE_NOT_REQUESTED) + 1 + TAG_BYTES


class RecordFollower:
    """Counts the records of a traffic secret that OpenSSL sends."""

    __slots__ = ("_last", "_opener")

    def __init__(self, suite: CipherSuite, secret: bytes) -> None:
        """Begin before the first record.

        Raises:
            ValueError: the secret has not the length of the suite's hash.
        """
        self._opener: RecordOpener | None = RecordOpener(TrafficKeys(suite, secret))
        self._last = b""

    def follow(self, data: bytes) -> None:
        """Take note of what is sent: whole records. Should they not be what is expected, give up.

        They are not opened, but for those that are as long as a KeyUpdate.
        """
        opener = self._opener
        if opener is None:
            return
        if is_one_record(data) and len(data) != _KEY_UPDATE_RECORD_BYTES:
            opener.skip()
            self._last = data
            return
        try:
            for record in cut_records(data):
                if len(record) != _KEY_UPDATE_RECORD_BYTES:
                    opener.skip()
                elif _is_key_update(opener.open(record)):
                    opener.update()
                self._last = record
        except UnreadableRecord:
            self._opener = None

    def hand_over(self) -> RecordTranslator | None:
        """End the counting; None before the first record, or if it cannot be shown to be right."""
        if not self._last:
            return None
        opener, self._opener = self._opener, None
        if opener is None:
            return None
        # After a KeyUpdate its record has been opened, and no number of the new keys was used.
        if opener.number > 0:
            try:
                latest = open_record(opener.keys, opener.number - 1, self._last)
            except UnreadableRecord:
                return None
            if _is_key_update(latest):
                return None  # padded (§5.4, OpenSSL's RecordPadding), so it was not recognised
        translator = RecordTranslator(opener)
        return translator if translator.may_seal else None


class RecordTranslator:
    """Seals what is to be sent; opens what OpenSSL meant to send, and seals that as well."""

    __slots__ = ("_opener", "_sealer")

    def __init__(self, opener: RecordOpener) -> None:
        """Go on where OpenSSL has stopped sending; it goes on writing, for the opener."""
        self._opener = opener
        self._sealer = RecordSealer(opener.keys, opener.number)

    @property
    def may_seal(self) -> bool:
        """Whether OpenSSL left the keys good for a record: a KeyUpdate, when it is the last."""
        return self._sealer.left > 0

    def new_room(self, records: int, library: IpsecMb | None) -> RecordRoom:
        """Make room for so many records; see `RecordSealer.new_room`."""
        return self._sealer.new_room(records, library)

    def seal(self, room: RecordRoom, byte_count: int) -> memoryview:
        """Seal the first bytes of the room; the records, which lie in the room."""
        return self._sealer.seal_room(room, byte_count)

    def refreshes(self, records: int) -> bool:
        """Whether `refresh` says anything."""
        return self._sealer.left <= records

    def refresh(self, records: int) -> bytes:
        """A KeyUpdate when the keys are not good for so many records more, else nothing."""
        if not self.refreshes(records):
            return b""
        return self._seal_again(Content(ContentType.HANDSHAKE, _KEY_UPDATE_NOT_REQUESTED))

    def translate(self, data: bytes) -> bytes:
        """What is to be sent for records that OpenSSL has written.

        Raises:
            UnreadableRecord: they are not what was expected.
        """
        sealed: list[bytes] = []
        for record in cut_records(data):
            content = self._opener.open(record)
            if _is_key_update(content):
                self._opener.update()
            sealed.append(self._seal_again(content))
        return b"".join(sealed)

    def _seal_again(self, content: Content) -> bytes:
        record = self._sealer.seal(content.kind, content.data)
        if _is_key_update(content):
            self._sealer.update()
        return record


def _is_key_update(content: Content) -> bool:
    # It ends its record, for what follows has other keys (§5.1), and OpenSSL sends it alone.
    return content.kind == ContentType.HANDSHAKE and content.data[:-1] == _KEY_UPDATE
