"""How far the requests of an HTTP/3 connection were sent and acknowledged, as news."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from .events import BodyAcked, Event, StreamWritable
from .http3_buffer import REFILL_BYTES, room_for
from .http3_stream import RequestStream


@dataclass(frozen=True, slots=True)
class Sent:
    """How far a request's bytes were put into datagrams."""

    stream_id: int
    body_bytes: int
    """Body bytes in all."""
    end: bool
    """The end of the request was among them."""
    in_trains: bool = False
    """Trains of the bulk sender carried bytes of it, at any time."""


def newly_sent(streams: Iterable[RequestStream]) -> list[Sent]:
    """Requests of which more was sent since the last call."""
    progress: list[Sent] = []
    for stream in streams:
        offset = stream.sender.sent_offset
        end = stream.end_queued and stream.sender.end_sent
        if offset > stream.reported_offset or (end and not stream.end_reported):
            stream.reported_offset, stream.end_reported = offset, end
            in_trains = stream.bulk is not None and stream.bulk.carried_bytes > 0
            body_bytes = stream.body.within(offset)
            progress.append(Sent(stream.stream_id, body_bytes, end, in_trains))
    return progress


def report_progress(stream: RequestStream, requests: int, events: list[Event]) -> None:
    """Report what was newly acknowledged, and room that a full buffer has again.

    So many requests share the connection.
    """
    sender = stream.sender
    offset, finished = sender.acked_offset, sender.end_acked
    if offset > stream.acked_offset or finished is not stream.end_acked:
        stream.acked_offset, stream.end_acked = offset, finished
        events.append(BodyAcked(stream.stream_id, offset, finished))
    if stream.starved and room_for(stream, requests) >= REFILL_BYTES:
        stream.starved = False
        events.append(StreamWritable(stream.stream_id))
