"""HTTP messages in a recording: which packets bore their first and last byte, and their length.

Read from the streams by code that shares nothing with the engine. What belongs to a message is
what a profile counts as HTTP-layer bytes: on HTTP/1.1 head and body, on HTTP/2 the HEADERS,
CONTINUATION and DATA frames of its stream, on HTTP/3 the bytes of its QUIC stream.
"""

from __future__ import annotations

import re
import struct
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

from tests.capture.tshark import Packet, Piece

_CONTENT_LENGTH = re.compile(rb"^content-length: *(\d+)\r$", re.IGNORECASE | re.MULTILINE)
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_FRAME_HEADER = struct.Struct(">BHBBI")
_OF_MESSAGES = frozenset({0x0, 0x1, 0x9})  # DATA, HEADERS, CONTINUATION
# RFC 9000 §19.8: the bits of a STREAM frame's type.
_STREAM_FRAMES = range(0x08, 0x10)
_HAS_OFFSET = 0x04
#: What tshark writes for a frame that only ends its stream.
_NO_DATA = "<MISSING>"


@dataclass(frozen=True, slots=True)
class Message:
    """A request or a response as it crossed the wire."""

    first: Packet
    last: Packet
    byte_count: int


def http1_messages(pieces: Sequence[Piece]) -> list[Message]:
    """Split one direction of an HTTP/1.1 connection; every message has a Content-Length."""
    crossed = _Crossed(pieces)
    messages, start = [], 0
    while start < len(crossed.data):
        body = crossed.data.index(b"\r\n\r\n", start) + 4
        found = _CONTENT_LENGTH.search(crossed.data, start, body)
        assert found is not None, crossed.data[start:body]
        end = body + int(found[1])
        messages.append(crossed.message(start, end))
        start = end
    return messages


def http2_messages(pieces: Sequence[Piece]) -> list[Message]:
    """Split one direction of an HTTP/2 connection into its streams, by number."""
    crossed = _Crossed(pieces)
    streams: dict[int, list[Message]] = {}
    start = len(_PREFACE) if crossed.data.startswith(_PREFACE) else 0
    while start < len(crossed.data):
        high, low, kind, _, stream = _FRAME_HEADER.unpack_from(crossed.data, start)
        end = start + _FRAME_HEADER.size + (high << 16 | low)
        if kind in _OF_MESSAGES:
            streams.setdefault(stream, []).append(crossed.message(start, end))
        start = end
    return [_joined(streams[number]) for number in sorted(streams)]


def http3_messages(datagrams: Iterable[Packet]) -> list[Message]:
    """Split one direction of a QUIC connection into its request streams, by number."""
    streams: dict[int, list[Message]] = {}
    reached: dict[int, int] = {}
    for datagram in datagrams:
        for stream, offset, length in _stream_frames(datagram):
            # RFC 9000 §2.1: bidirectional, opened by the client. What crossed again, because a
            # packet was taken for lost, counts once.
            news = max(offset + length - reached.get(stream, 0), 0)
            if stream % 4 == 0 and (news or stream not in streams):
                streams.setdefault(stream, []).append(Message(datagram, datagram, news))
                reached[stream] = max(offset + length, reached.get(stream, 0))
    return [_joined(streams[number]) for number in sorted(streams)]


def _stream_frames(datagram: Packet) -> Iterator[tuple[int, int, int]]:
    """Stream, offset and length of every STREAM frame in a datagram."""
    streams = iter(datagram.numbers("quic.stream.stream_id"))
    offsets = iter(datagram.numbers("quic.stream.offset"))
    data = iter(datagram.texts("quic.stream_data"))
    for kind in datagram.numbers("quic.frame_type"):
        if kind in _STREAM_FRAMES:
            offset = next(offsets) if kind & _HAS_OFFSET else 0
            yield next(streams), offset, len(next(data).removeprefix(_NO_DATA)) // 2


def _joined(parts: Sequence[Message]) -> Message:
    return Message(parts[0].first, parts[-1].last, sum(part.byte_count for part in parts))


class _Crossed:
    """The bytes of one direction of a connection, and the packets they came with."""

    def __init__(self, pieces: Sequence[Piece]) -> None:
        self.data = b"".join(piece.data for piece in pieces)
        self._packets = [piece.packet for piece in pieces]
        self._ends = list(accumulate(len(piece.data) for piece in pieces))

    def message(self, start: int, end: int) -> Message:
        """The bytes from one position to another."""
        return Message(self._packet_of(start), self._packet_of(end - 1), end - start)

    def _packet_of(self, position: int) -> Packet:
        return self._packets[bisect_right(self._ends, position)]
