"""What stopped the sender of an HTTP/3 connection at the end of a turn."""

from __future__ import annotations

from collections.abc import Collection

from aioquic.quic.connection import QuicConnection

from . import aioquic_private as private
from . import aioquic_trains as trains
from .http3_stream import RequestStream
from .send_limits import LimitClock, SendLimit


def note_limit(
    clock: LimitClock, quic: QuicConnection, streams: Collection[RequestStream], now_s: float
) -> None:
    """Tell the clock what the connection waits for, after it sent all it could."""
    busy = private.is_busy(quic)
    limit = _limit(quic, streams)
    if limit is not SendLimit.CONGESTION or _is_window_full(quic, streams):
        clock.turn(now_s, limit, busy=busy)
        return
    # There is room. Either the pacer spreads it, or the sender has only given way to other tasks.
    clock.turn(now_s, limit, until_s=private.paced_until_s(quic) or now_s, busy=busy)


def _is_window_full(quic: QuicConnection, streams: Collection[RequestStream]) -> bool:
    """Whether it has no room for what is sent next: a packet, or a train worth its cost."""
    if private.is_window_full(quic):
        return True
    return any(stream.bulk is not None for stream in streams) and trains.awaits_room(quic)


def _limit(quic: QuicConnection, streams: Collection[RequestStream]) -> SendLimit | None:
    """The limit, if congestion control is one whenever nothing else is."""
    unfinished = [stream for stream in streams if not stream.sender.was_reset]
    waiting = [stream for stream in unfinished if stream.sender.has_unsent]
    if waiting:
        blocked = all(private.is_flow_blocked(quic, stream.stream_id) for stream in waiting)
        return SendLimit.FLOW_CONTROL if blocked else SendLimit.CONGESTION
    if any(stream.starved for stream in unfinished):
        return SendLimit.BUFFER
    if any(not stream.end_queued for stream in unfinished):
        return SendLimit.APPLICATION
    return None
