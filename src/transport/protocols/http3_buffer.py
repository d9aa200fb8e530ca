"""How much of a body may wait in a stream.

aioquic keeps every byte until it is acknowledged, without a limit of its own.
"""

from __future__ import annotations

from .http3_stream import RequestStream

#: What one request may keep buffered until it is acknowledged: enough for 160 Mbit/s at 50 ms.
#: Memory grows by about six times as much: aioquic's own records of what is in flight.
SEND_HIGH_BYTES = 1024 * 1024
#: What all requests of a connection share; many requests get less each, but never less than a
#: quarter of a MiB, so that none starves.
SEND_TOTAL_BYTES = 16 * 1024 * 1024
SEND_FLOOR_BYTES = 256 * 1024
#: After the buffer was full, at least this much room makes `StreamWritable`: fewer wake-ups, and
#: still refilled long before the buffer runs dry.
REFILL_BYTES = 128 * 1024
#: Bytes of a file that may be queued and not sent yet. They take no memory, but were looked for in
#: the page cache when they were queued, and should still be there when they are read.
READ_AHEAD_BYTES = 2 * 1024 * 1024


def room_for(stream: RequestStream, requests: int) -> int:
    """Bytes the stream may take now, when so many requests share the connection."""
    share = SEND_TOTAL_BYTES // requests
    high = max(SEND_FLOOR_BYTES, min(SEND_HIGH_BYTES, share))
    return high - stream.buffered_bytes


def range_room_for(stream: RequestStream) -> int:
    """Bytes of a file that may be queued now."""
    return 0 if stream.bulk is None else READ_AHEAD_BYTES - stream.bulk.unsent_bytes
