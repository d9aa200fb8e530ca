"""How often transport round trips are taken, so that a busy connection does not speak for all.

Facts: Chromium's `net/nqe/socket_watcher.cc`. Its rule to drop the first round trip of a QUIC
connection, because it may be a remembered one, is left out: ours are measured, or there is none.
"""

from __future__ import annotations

from ..profile.moments import Ns

#: Each connection may speak this often …
PER_CONNECTION_NS = 1_000_000_000
#: … or at any time when no connection has spoken for so long.
OVERALL_NS = 200_000_000
#: Round trips up to this are a kernel's way of saying that it has none.
NO_RTT_MS = 0.001


class RttThrottle:
    """Remembers when which connection spoke."""

    def __init__(self) -> None:
        self._spoke_at: dict[int, Ns] = {}
        """In the order in which they spoke."""
        self._last_at: Ns | None = None

    def admits(self, connection_id: int, rtt_ms: float, now: Ns) -> bool:
        """Whether a connection's round trip is taken now."""
        if rtt_ms <= NO_RTT_MS:
            return False
        last_at = self._spoke_at.get(connection_id)
        silent = self._last_at is None or now - self._last_at >= OVERALL_NS
        if not (silent or last_at is None or now - last_at >= PER_CONNECTION_NS):
            return False
        self._spoke_at.pop(connection_id, None)
        self._spoke_at[connection_id] = self._last_at = now
        self._forget(now)
        return True

    def _forget(self, now: Ns) -> None:
        """Drop those that may speak again at any time."""
        while now - self._spoke_at[oldest := next(iter(self._spoke_at))] >= PER_CONNECTION_NS:
            del self._spoke_at[oldest]
