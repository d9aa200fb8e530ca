"""Responses that arrive whole, as what they consist of: the same however a machine came by them."""

from __future__ import annotations

from collections.abc import Sequence

from trilane.transport.message import Headers
from trilane.transport.protocols.events import (
    DataReceived,
    Event,
    HeadReceived,
    ResponseEnded,
    ResponseReceived,
)


def apart(events: Sequence[Event]) -> list[Event]:
    """A response that has arrived whole as what it consists of."""
    parts: list[Event] = []
    for event in events:
        if isinstance(event, ResponseReceived):
            stream_id = event.stream_id
            assert event.body
            parts += (
                HeadReceived(stream_id, event.head, event.head_byte_count),
                DataReceived(stream_id, event.body, event.body_byte_count),
                ResponseEnded(stream_id, Headers()),
            )
        else:
            parts.append(event)
    return parts
