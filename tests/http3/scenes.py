"""Short scenes between a client and a server, for tests of what the machine makes of them."""

from __future__ import annotations

from aioquic.h3.connection import FrameType, encode_frame

from tests.http3.pair import Pair, Upload, upload_head
from trilane.transport.protocols.events import Event

BIG = b"b" * 600_000
"""More than the server's half of the flow control lets through at once."""


def saw(pair: Pair, kind: type[Event]) -> bool:
    return bool(pair.of_kind(kind))


def begin_upload(pair: Pair, body: bytes = BIG) -> Upload:
    sending = Upload(pair, body)
    pair.each_step = sending.feed
    return sending


def get(pair: Pair, *, method: str = "GET") -> int:
    return pair.machine.send_head(upload_head(0, method=method), end=True)


def answer_raw(pair: Pair, frames: bytes, *, end: bool = True) -> None:
    """Let the server answer with these bytes instead of a well-formed response."""
    pair.server.answer = lambda stream_id: pair.server.quic.send_stream_data(stream_id, frames, end)


def headers_frame(pair: Pair, *fields: tuple[bytes, bytes]) -> bytes:
    _, block = pair.server.h3._encoder.encode(0, list(fields))
    return encode_frame(FrameType.HEADERS, block)
