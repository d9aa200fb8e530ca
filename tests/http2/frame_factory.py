"""Builds any frame a server might send, legal or not, and reads what the client sent."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from h2.settings import SettingCodes
from hpack import Encoder
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    PushPromiseFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
Fields = Sequence[tuple[str, str]]


class FrameFactory:
    """A server's frames as bytes; its HPACK state lives as long as the connection."""

    def __init__(self) -> None:
        self._encoder = Encoder()

    def settings(self, values: dict[SettingCodes | int, int] | None = None) -> bytes:
        return SettingsFrame(0, {int(k): v for k, v in (values or {}).items()}).serialize()

    def settings_ack(self) -> bytes:
        return SettingsFrame(0, flags=["ACK"]).serialize()

    def block(self, fields: Fields) -> bytes:
        encoded: bytes = self._encoder.encode(list(fields))
        return encoded

    def headers(
        self, stream_id: int, fields: Fields, *, end: bool = False, end_headers: bool = True
    ) -> bytes:
        return self.raw_headers(stream_id, self.block(fields), end=end, end_headers=end_headers)

    def raw_headers(
        self, stream_id: int, block: bytes, *, end: bool = False, end_headers: bool = True
    ) -> bytes:
        flags = [name for name, on in (("END_STREAM", end), ("END_HEADERS", end_headers)) if on]
        return HeadersFrame(stream_id, block, flags=flags).serialize()

    def continuation(self, stream_id: int, block: bytes, *, end_headers: bool = False) -> bytes:
        flags = ["END_HEADERS"] if end_headers else []
        return ContinuationFrame(stream_id, block, flags=flags).serialize()

    def response(
        self, stream_id: int, status: int | str, fields: Fields = (), *, end: bool = False
    ) -> bytes:
        return self.headers(stream_id, [(":status", str(status)), *fields], end=end)

    def data(
        self, stream_id: int, data: bytes, *, end: bool = False, padding: int | None = None
    ) -> bytes:
        flags = ["END_STREAM"] if end else []
        frame = DataFrame(stream_id, data, flags=flags)
        if padding is not None:
            frame.flags.add("PADDED")
            frame.pad_length = padding
        return frame.serialize()

    def window_update(self, stream_id: int, increment: int) -> bytes:
        return WindowUpdateFrame(stream_id, increment).serialize()

    def reset(self, stream_id: int, code: int) -> bytes:
        return RstStreamFrame(stream_id, code).serialize()

    def goaway(self, last_stream_id: int, code: int = 0, debug: bytes = b"") -> bytes:
        return GoAwayFrame(0, last_stream_id, code, debug).serialize()

    def ping(self, payload: bytes = b"12345678", *, ack: bool = False) -> bytes:
        return PingFrame(0, payload, flags=["ACK"] if ack else []).serialize()

    def push_promise(self, stream_id: int, promised: int, fields: Fields) -> bytes:
        block = self.block(fields)
        return PushPromiseFrame(stream_id, promised, block, flags=["END_HEADERS"]).serialize()

    def raw(self, kind: int, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
        length = len(payload)
        header = struct.pack(">BHBBL", length >> 16, length & 0xFFFF, kind, flags, stream_id)
        return header + payload


def parse_frames(data: bytes) -> list[Frame]:
    """Read whole frames with hyperframe, which did not write them when they carry bodies."""
    data = data.removeprefix(PREFACE)
    frames = []
    while data:
        frame, length = Frame.parse_frame_header(memoryview(data[:9]))
        frame.parse_body(memoryview(data[9 : 9 + length]))
        frames.append(frame)
        data = data[9 + length :]
    return frames
