"""HTTP/3 frames as they pass by: their sizes, and the few payloads the library leaves unread."""

from __future__ import annotations

from dataclasses import dataclass

#: RFC 9114 §7.2.
DATA = 0x0
HEADERS = 0x1
GOAWAY = 0x7

#: RFC 9114 §8.1.
H3_NO_ERROR = 0x100
H3_EXCESSIVE_LOAD = 0x107
H3_ID_ERROR = 0x108
H3_REQUEST_REJECTED = 0x10B
H3_REQUEST_CANCELLED = 0x10C
H3_MESSAGE_ERROR = 0x10E

#: RFC 9000 §16: the two upper bits of the first byte give the length.
_LARGEST_VARINT = (1 << 62) - 1


@dataclass(frozen=True, slots=True)
class FrameSeen:
    """A frame whose header has arrived, or whose wanted payload is complete."""

    kind: int
    length: int
    """Bytes of the payload."""
    header_bytes: int
    payload: bytes | None = None
    """The payload, when its kind is among those to keep."""


class FrameReader:
    """Follows the frames of one stream, which the library parses for itself.

    A frame is reported as soon as its header is complete, so that an oversized one can be refused
    before it is buffered; one whose payload is to be kept, when that is complete.
    """

    __slots__ = ("_frame", "_header", "_keep", "_largest_kept", "_payload", "_remaining")

    def __init__(self, keep: frozenset[int] = frozenset(), largest_kept: int = 8) -> None:
        self._keep = keep
        self._largest_kept = largest_kept
        self._header = b""
        self._payload = b""
        self._frame: FrameSeen | None = None
        self._remaining = 0

    def feed(self, data: bytes) -> list[FrameSeen]:
        """Take the next bytes of the stream."""
        seen: list[FrameSeen] = []
        position = 0
        while position < len(data):
            if self._remaining:
                position = self._skip(data, position, seen)
            else:
                position = self._read_header(data, position, seen)
        return seen

    def _read_header(self, data: bytes, position: int, seen: list[FrameSeen]) -> int:
        # A frame header is at most two varints, so at most 16 bytes are joined here.
        header = self._header + data[position : position + 16 - len(self._header)]
        kind, kind_end = decode_varint(header, 0)
        length, end = decode_varint(header, kind_end) if kind is not None else (None, 0)
        if kind is None or length is None:
            self._header = header
            return len(data)
        position += end - len(self._header)
        self._header = b""
        self._remaining = length
        frame = FrameSeen(kind, length, end)
        if kind in self._keep and length <= self._largest_kept:
            self._frame, self._payload = frame, b""
            if length == 0:
                self._complete(seen)
        else:
            seen.append(frame)
        return position

    def _skip(self, data: bytes, position: int, seen: list[FrameSeen]) -> int:
        taken = min(self._remaining, len(data) - position)
        self._remaining -= taken
        if self._frame is not None:
            self._payload += data[position : position + taken]
            if not self._remaining:
                self._complete(seen)
        return position + taken

    def _complete(self, seen: list[FrameSeen]) -> None:
        frame, self._frame = self._frame, None
        if frame is not None:
            seen.append(FrameSeen(frame.kind, frame.length, frame.header_bytes, self._payload))


def whole_frame_at(data: bytes, start: int, kind: int) -> tuple[int, int] | None:
    """Where the payload of a whole frame of that kind begins and ends, if one begins there."""
    found, kind_end = decode_varint(data, start)
    if found != kind:
        return None
    length, begin = decode_varint(data, kind_end)
    if length is None or begin + length > len(data):
        return None
    return begin, begin + length


def encode_varint(value: int) -> bytes:
    """Encode a variable-length integer (RFC 9000 §16)."""
    if value < 1 << 6:
        return value.to_bytes(1, "big")
    if value < 1 << 14:
        return (value | 0x4000).to_bytes(2, "big")
    if value < 1 << 30:
        return (value | 0x80000000).to_bytes(4, "big")
    if value <= _LARGEST_VARINT:
        return (value | 0xC000000000000000).to_bytes(8, "big")
    raise OverflowError(f"{value} does not fit a variable-length integer")


def decode_varint(data: bytes, position: int) -> tuple[int | None, int]:
    """Decode a variable-length integer; returns it and where it ends, or None when incomplete."""
    if position >= len(data):
        return None, position
    size = 1 << (data[position] >> 6)
    end = position + size
    if end > len(data):
        return None, position
    mask = (1 << (8 * size - 2)) - 1
    return int.from_bytes(data[position:end], "big") & mask, end


def data_frame_header(length: int) -> bytes:
    """The header of a DATA frame (RFC 9114 §7.2.1)."""
    return encode_varint(DATA) + encode_varint(length)


def headers_frame(section: bytes) -> bytes:
    """A HEADERS frame (RFC 9114 §7.2.2)."""
    return encode_varint(HEADERS) + encode_varint(len(section)) + section


class ControlStreamWatch:
    """Finds the GOAWAY frames on the peer's control stream, which the library skips.

    The library checks everything else about unidirectional streams.
    """

    __slots__ = ("_readers", "_types")

    def __init__(self) -> None:
        self._types: dict[int, bytes] = {}
        self._readers: dict[int, FrameReader | None] = {}

    def feed(self, stream_id: int, data: bytes, *, ended: bool) -> list[int | None]:
        """Take bytes of a peer's unidirectional stream; the ids its GOAWAY frames name.

        None stands for a frame that names no id.
        """
        found: list[int | None] = []
        if stream_id not in self._readers:
            data = self._types.pop(stream_id, b"") + data
            kind, end = decode_varint(data, 0)
            if kind is None:
                self._types[stream_id] = data
            else:
                # RFC 9114 §6.2.1: type 0 is the control stream.
                self._readers[stream_id] = FrameReader(frozenset({GOAWAY})) if kind == 0 else None
                data = data[end:]
        reader = self._readers.get(stream_id)
        if reader is not None:
            found = [_goaway_id(frame) for frame in reader.feed(data) if frame.kind == GOAWAY]
        if ended:
            self._types.pop(stream_id, None)
            self._readers.pop(stream_id, None)
        return found


def _goaway_id(frame: FrameSeen) -> int | None:
    value, end = decode_varint(frame.payload or b"", 0)
    return value if end == frame.length else None
