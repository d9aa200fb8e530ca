"""What waits to be written on an HTTP/2 connection: whole frames, in order, bounded."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

#: Body bytes that may wait. Enough that the writer always has a full write at hand while the
#: requests read their sources; little enough that memory stays flat and a stop takes effect soon.
HIGH_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class OutChunk:
    """One or more whole frames of one stream."""

    stream_id: int
    """0 for the connection's own frames."""
    data: bytes
    body_bytes: int = 0
    """Body bytes among them."""
    is_body: bool = False
    """DATA frames only: they may be dropped when the stream is reset."""
    end: bool = False
    """They end the request."""


class OutQueue:
    """Chunks in the order of sending."""

    __slots__ = ("_body_bytes", "chunks")

    def __init__(self) -> None:
        self.chunks: deque[OutChunk] = deque()
        """What waits."""
        self._body_bytes = 0

    @property
    def byte_count(self) -> int:
        """Bytes that wait, frame headers included."""
        return sum([len(chunk.data) for chunk in self.chunks])

    @property
    def room_bytes(self) -> int:
        """Body bytes that may be added now; never negative."""
        return max(0, HIGH_BYTES - self._body_bytes)

    def push(self, chunk: OutChunk) -> None:
        """Add at the end."""
        self.chunks.append(chunk)
        self._body_bytes += chunk.body_bytes

    def take(self, limit_bytes: int | None = None) -> list[OutChunk]:
        """Take from the front: everything, or whole chunks up to a limit, but at least one."""
        taken: list[OutChunk] = []
        size = 0
        while self.chunks:
            size += len(self.chunks[0].data)
            if taken and limit_bytes is not None and size > limit_bytes:
                break
            chunk = self.chunks.popleft()
            self._body_bytes -= chunk.body_bytes
            taken.append(chunk)
        return taken

    def drop_body(self, stream_id: int | None = None) -> int:
        """Drop the waiting body of one stream, or of all; return how many body bytes it had.

        Heads stay, for the peer's HPACK state depends on them (RFC 9113 §4.3).
        """
        kept: deque[OutChunk] = deque()
        dropped = 0
        for chunk in self.chunks:
            if chunk.is_body and stream_id in (None, chunk.stream_id):
                dropped += chunk.body_bytes
            else:
                kept.append(chunk)
        self.chunks = kept
        self._body_bytes -= dropped
        return dropped
