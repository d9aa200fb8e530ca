"""HTTP/2 frames as bytes: cutting what arrives into frames, laying out what is sent (RFC 9113 §4).

The h2 library does the same inside, but it loses the events of good frames when a bad one comes in
the same read, and stops at GOAWAY although running streams go on (§6.8). So it is given one frame
at a time, and what belongs to framing alone is checked here, before a frame is buffered whole.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

from h2.errors import ErrorCodes

from ..buffers import Buffer

HEADER_BYTES = 9
#: SETTINGS_MAX_FRAME_SIZE of this side: the default; an upload's answers need no more.
MAX_INBOUND_FRAME_BYTES = 16384
#: h2 gives up at 64; nobody needs as many for a head of the size we accept.
MAX_CONTINUATIONS = 60

_TYPE_OFFSET = 3
_FLAG_ACK = 0x1
FLAG_END_STREAM = 0x1
FLAG_END_HEADERS = 0x4
_GOAWAY_FIXED_BYTES = 8
_INCREMENT_BYTES = 4
_HEADER = struct.Struct(">BHBBL")


class FrameType(IntEnum):
    """Frame types of RFC 9113 §6."""

    DATA = 0
    HEADERS = 1
    PRIORITY = 2
    RST_STREAM = 3
    SETTINGS = 4
    PUSH_PROMISE = 5
    PING = 6
    GOAWAY = 7
    WINDOW_UPDATE = 8
    CONTINUATION = 9


# As plain numbers: an enum's members are looked up each time.
_DATA, _HEADERS = int(FrameType.DATA), int(FrameType.HEADERS)
#: What a request or a response is made of. The other frames that name a stream serve its transport
#: (WINDOW_UPDATE, RST_STREAM); HTTP/3 leaves the like to QUIC, and no message's bytes count them.
MESSAGE_FRAMES = frozenset((FrameType.DATA, FrameType.HEADERS, FrameType.CONTINUATION))


def begins_with_message(frames: bytes) -> bool:
    """Whether the first of some whole frames belongs to a request or a response."""
    return frames[_TYPE_OFFSET] in MESSAGE_FRAMES


class Violation(Exception):
    """The peer broke a rule that ends the connection; kept inside the machine."""

    def __init__(self, reason: str, code: int, *, too_large: bool = False) -> None:
        super().__init__(reason)
        self.code = code
        self.too_large = too_large


@dataclass(frozen=True, slots=True)
class Frame:
    """One complete frame as it arrived."""

    kind: int
    flags: int
    stream_id: int
    raw: bytes
    """Header and payload."""

    @property
    def payload_bytes(self) -> int:
        """Length of the payload."""
        return len(self.raw) - HEADER_BYTES

    @property
    def payload(self) -> bytes:
        """What follows the header."""
        return self.raw[HEADER_BYTES:]

    @property
    def is_ack(self) -> bool:
        """Whether a SETTINGS or PING frame answers ours."""
        return bool(self.flags & _FLAG_ACK)

    @property
    def ends_headers(self) -> bool:
        """Whether a HEADERS, PUSH_PROMISE or CONTINUATION frame ends its field block."""
        return bool(self.flags & FLAG_END_HEADERS)


class FrameCutter:
    """Cuts the incoming bytes into frames, and bounds what one frame or field block may take."""

    __slots__ = ("_block_bytes", "_block_frames", "_block_stream", "_data", "_first", "_head_bytes")

    def __init__(self, head_bytes: int) -> None:
        self._data = bytearray()
        self._head_bytes = head_bytes
        self._first = True
        self._block_stream: int | None = None
        self._block_frames = 0
        self._block_bytes = 0

    @property
    def inside_frame(self) -> bool:
        """Whether the last bytes are the beginning of a frame or of a field block."""
        return bool(self._data) or self._block_stream is not None

    @property
    def between_frames(self) -> bool:
        """Whether any frame may come next, and nothing of it has."""
        return not (self._data or self._first or self._block_stream is not None)

    @property
    def block_bytes(self) -> int:
        """Bytes of the last field block's frames, their headers included."""
        return self._block_bytes

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Yield the frames that are complete now.

        Raises:
            Violation: a frame or a field block is too large or out of place.
        """
        self._data += data
        while len(self._data) >= HEADER_BYTES:
            high, low, kind, flags, stream_id = _HEADER.unpack_from(self._data)
            size = HEADER_BYTES + (high << 16) + low
            if self._first:
                self._check_preface(kind, flags)
            if size > HEADER_BYTES + MAX_INBOUND_FRAME_BYTES:
                raise Violation(
                    f"the peer sent a frame of {size - HEADER_BYTES} bytes, more than the "
                    f"{MAX_INBOUND_FRAME_BYTES} allowed",
                    ErrorCodes.FRAME_SIZE_ERROR,
                )
            if len(self._data) < size:
                return
            frame = Frame(kind, flags, stream_id & 0x7FFFFFFF, bytes(self._data[:size]))
            del self._data[:size]
            self._first = False
            self._track_block(frame)
            yield frame

    def _check_preface(self, kind: int, flags: int) -> None:
        # RFC 9113 §3.4: the server's first frame is a SETTINGS frame.
        if self._data.startswith(b"HTTP/1."):
            raise Violation("the peer answered in HTTP/1 instead of HTTP/2", _PROTOCOL_ERROR)
        if kind != FrameType.SETTINGS or flags & _FLAG_ACK:
            raise Violation("the peer did not begin with a SETTINGS frame", _PROTOCOL_ERROR)

    def _track_block(self, frame: Frame) -> None:
        """Follow a field block over its frames (RFC 9113 §4.3, §6.10)."""
        if self._block_stream is not None:
            if frame.kind != FrameType.CONTINUATION or frame.stream_id != self._block_stream:
                raise Violation("the peer put a frame inside a field block", _PROTOCOL_ERROR)
            self._block_frames += 1
            self._block_bytes += len(frame.raw)
        elif frame.kind in (FrameType.HEADERS, FrameType.PUSH_PROMISE):
            self._block_frames = 0
            self._block_bytes = len(frame.raw)
        elif frame.kind == FrameType.CONTINUATION:
            raise Violation("the peer sent CONTINUATION outside a field block", _PROTOCOL_ERROR)
        else:
            return
        self._block_stream = None if frame.ends_headers else frame.stream_id
        self._check_block_size()

    def _check_block_size(self) -> None:
        if self._block_frames > MAX_CONTINUATIONS:
            raise Violation(
                f"the peer sent more than {MAX_CONTINUATIONS} CONTINUATION frames in a row",
                ErrorCodes.ENHANCE_YOUR_CALM,
            )
        # Compressed, a head is hardly ever larger than its field list, whose limit h2 checks.
        if self._block_bytes > self._head_bytes + HEADER_BYTES * (MAX_CONTINUATIONS + 1):
            raise head_too_large(self._head_bytes)


def head_too_large(limit_bytes: int) -> Violation:
    """The violation of a response head beyond the limit."""
    return Violation(
        f"the response head is larger than {limit_bytes} bytes",
        ErrorCodes.ENHANCE_YOUR_CALM,
        too_large=True,
    )


@dataclass(frozen=True, slots=True)
class GoAway:
    """What a GOAWAY frame says (RFC 9113 §6.8)."""

    last_stream_id: int
    error_code: int
    debug: bytes

    def __str__(self) -> str:
        text = f"GOAWAY {code_name(self.error_code)}"
        if not self.debug:
            return text
        return f"{text}: {self.debug[:200].decode('ascii', 'backslashreplace')!r}"


def parse_goaway(frame: Frame) -> GoAway:
    """Read a GOAWAY frame.

    Raises:
        Violation: it names a stream or is too short.
    """
    if frame.stream_id != 0:
        raise Violation("the peer sent GOAWAY on a stream", _PROTOCOL_ERROR)
    if frame.payload_bytes < _GOAWAY_FIXED_BYTES:
        raise Violation("the peer sent a truncated GOAWAY frame", ErrorCodes.FRAME_SIZE_ERROR)
    last, code = struct.unpack_from(">LL", frame.raw, HEADER_BYTES)
    debug = frame.raw[HEADER_BYTES + _GOAWAY_FIXED_BYTES :]
    return GoAway(last & 0x7FFFFFFF, code, debug)


def window_increment(payload: bytes) -> int:
    """What a WINDOW_UPDATE frame says (RFC 9113 §6.9); 0, as it may not say, if malformed."""
    if len(payload) != _INCREMENT_BYTES:
        return 0
    return int.from_bytes(payload, "big") & 0x7FFFFFFF


def whole_frame_at(data: bytes, start: int) -> tuple[int, int, int, int] | None:
    """Type, flags, stream id and end of the frame at a place, if all of it is there.

    None as well when it is longer than it may be.
    """
    if len(data) < start + HEADER_BYTES:
        return None
    high, low, kind, flags, stream_id = _HEADER.unpack_from(data, start)
    payload_bytes = (high << 16) + low
    end = start + HEADER_BYTES + payload_bytes
    if len(data) < end or payload_bytes > MAX_INBOUND_FRAME_BYTES:
        return None
    return kind, flags, stream_id & 0x7FFFFFFF, end


def goaway_frame(error_code: int, debug: bytes) -> bytes:
    """A GOAWAY frame of a client: a server that may not push has no streams to name."""
    length = _GOAWAY_FIXED_BYTES + len(debug)
    header = _HEADER.pack(length >> 16, length & 0xFFFF, FrameType.GOAWAY, 0, 0)
    return header + struct.pack(">LL", 0, error_code) + debug


def head_frames(stream_id: int, block: bytes, frame_bytes: int, *, end: bool) -> bytes:
    """Lay out a field block as HEADERS and, beyond `frame_bytes`, CONTINUATION (RFC 9113 §6.2)."""
    size = len(block)
    if size <= frame_bytes:
        flags = FLAG_END_HEADERS | FLAG_END_STREAM if end else FLAG_END_HEADERS
        return _HEADER.pack(size >> 16, size & 0xFFFF, FrameType.HEADERS, flags, stream_id) + block
    parts: list[bytes] = []
    kind, flags = FrameType.HEADERS, FLAG_END_STREAM if end else 0
    for start in range(0, len(block), frame_bytes):
        piece = block[start : start + frame_bytes]
        if start + len(piece) == len(block):
            flags |= FLAG_END_HEADERS
        size = len(piece)
        parts += (_HEADER.pack(size >> 16, size & 0xFFFF, kind, flags, stream_id), piece)
        kind, flags = FrameType.CONTINUATION, 0
    return b"".join(parts)


def request_frames(stream_id: int, block: bytes, body: bytes, frame_bytes: int) -> bytes:
    """Lay out a whole request: its field block and its body, which may be empty."""
    head_bytes, size = len(block), len(body)
    if not size or head_bytes > frame_bytes or size > frame_bytes:
        head = head_frames(stream_id, block, frame_bytes, end=not size)
        return head + data_frames(stream_id, memoryview(body), frame_bytes, end=True) * (size > 0)
    pack = _HEADER.pack
    return b"%b%b%b%b" % (
        pack(head_bytes >> 16, head_bytes & 0xFFFF, _HEADERS, FLAG_END_HEADERS, stream_id),
        block,
        pack(size >> 16, size & 0xFFFF, _DATA, FLAG_END_STREAM, stream_id),
        body,
    )


def data_frames(stream_id: int, data: memoryview, frame_bytes: int, *, end: bool) -> bytes:
    """Lay out DATA frames of at most `frame_bytes` of payload each; one copy of the data in all.

    With `end`, the last one carries END_STREAM, and may be empty.
    """
    parts: list[Buffer] = []
    for start in range(0, len(data) or int(end), frame_bytes):
        piece = data[start : start + frame_bytes]
        size = len(piece)
        flags = FLAG_END_STREAM if end and start + size == len(data) else 0
        parts.append(_HEADER.pack(size >> 16, size & 0xFFFF, 0, flags, stream_id))
        parts.append(piece)
    return b"".join(parts)


def data_headers(stream_id: int, byte_count: int, frame_bytes: int) -> list[tuple[bytes, int]]:
    """The headers of DATA frames for so many bytes, of at most `frame_bytes` of payload each.

    Each comes with the size of its payload; none ends the stream.
    """
    sizes = [frame_bytes] * (byte_count // frame_bytes)
    if rest := byte_count % frame_bytes:
        sizes.append(rest)
    return [
        (_HEADER.pack(size >> 16, size & 0xFFFF, FrameType.DATA, 0, stream_id), size)
        for size in sizes
    ]


def split_frames(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Cut frames of our own making into (stream id, bytes)."""
    start = 0
    while start < len(data):
        high, low, _, _, stream_id = _HEADER.unpack_from(data, start)
        stop = start + HEADER_BYTES + (high << 16) + low
        yield stream_id, data[start:stop]
        start = stop


def code_name(error_code: int) -> str:
    """An error code by its name in RFC 9113 §7, or as a number."""
    try:
        return ErrorCodes(error_code).name
    except ValueError:
        return f"{error_code:#x}"


_PROTOCOL_ERROR = ErrorCodes.PROTOCOL_ERROR
