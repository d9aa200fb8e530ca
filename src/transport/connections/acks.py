"""Turns "so many wire bytes are acknowledged" into "so many body bytes are"."""

from __future__ import annotations

from collections import deque

#: How often a waiting request asks the kernel whether its last byte was acknowledged: first soon,
#: for loopback and LAN, then less often; a late answer is at most this much too late.
POLL_FIRST_S = 0.001
POLL_LONGEST_S = 0.008


class AckLedger:
    """Remembers after how many wire bytes each piece of a body had been written.

    TCP acknowledges a connection's bytes, not a request's, and TLS or HTTP/2 put overhead between
    them. Of a piece that is acknowledged in part, what counts is what would be body even if all
    overhead came first.
    """

    __slots__ = ("_base", "_marks", "acked_body_bytes", "finished")

    def __init__(self) -> None:
        self._marks: deque[tuple[int, int, bool]] = deque()
        self._base: tuple[int, int] | None = None
        """Wire and body bytes up to the last mark that is acknowledged."""
        self.acked_body_bytes = 0
        self.finished = False

    def wrote(self, wire_bytes: int, body_bytes: int, *, end: bool) -> None:
        """Note that `body_bytes` of the body lie within the connection's first `wire_bytes`."""
        self._marks.append((wire_bytes, body_bytes, end))

    def acknowledged(self, wire_bytes: int) -> bool:
        """Take note that the first `wire_bytes` are acknowledged; True when that told news."""
        news = False
        while self._marks and self._marks[0][0] <= wire_bytes:
            mark_bytes, self.acked_body_bytes, self.finished = self._marks.popleft()
            self._base = mark_bytes, self.acked_body_bytes
            news = True
        if not self._marks:
            return news
        certain_bytes = self._certain_bytes(wire_bytes)
        if certain_bytes > self.acked_body_bytes:
            self.acked_body_bytes = certain_bytes
            news = True
        return news

    def _certain_bytes(self, wire_bytes: int) -> int:
        if self._base is None or not self._marks:
            return 0
        base_wire_bytes, base_body_bytes = self._base
        end_wire_bytes, end_body_bytes, _ = self._marks[0]
        overhead_bytes = end_wire_bytes - base_wire_bytes - (end_body_bytes - base_body_bytes)
        return base_body_bytes + wire_bytes - base_wire_bytes - overhead_bytes


def next_poll_s(last_s: float | None) -> float:
    """How long to wait before asking again."""
    return POLL_FIRST_S if last_s is None else min(last_s * 2, POLL_LONGEST_S)
