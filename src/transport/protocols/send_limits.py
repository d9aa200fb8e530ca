"""What keeps a connection from sending, and for how long each of it did.

The sender says at the end of each turn what stopped it; until its next turn, that is what it waits
for. Nothing is counted per packet.
"""

from __future__ import annotations

from enum import Enum, auto
from math import inf
from typing import NamedTuple


class SendLimit(Enum):
    """Why nothing is sent although a request is not sent to its end."""

    FLOW_CONTROL = auto()
    """The peer's limit for the stream or the connection (RFC 9000 §4)."""
    CONGESTION = auto()
    """The congestion window is full, or the pacer spreads it over the round trip (RFC 9002 §7)."""
    BUFFER = auto()
    """Our own bounded buffer holds only bytes that were sent and are not acknowledged yet."""
    APPLICATION = auto()
    """There is nothing to send: the body's source has not delivered more."""


class LimitTimes(NamedTuple):
    """Seconds since the connection began."""

    busy_s: float
    """With data that was sent and is not acknowledged."""
    flow_control_s: float
    congestion_s: float
    buffer_s: float
    application_s: float


class LimitClock:
    """Adds up how long the sender waited for what; `now_s` never goes back."""

    __slots__ = ("_busy", "_busy_s", "_limit", "_limited_s", "_since_s", "_until_s")

    def __init__(self) -> None:
        self._limited_s = dict.fromkeys(SendLimit, 0.0)
        self._busy_s = 0.0
        self._limit: SendLimit | None = None
        self._busy = False
        self._since_s = 0.0
        self._until_s = inf

    def turn(
        self, now_s: float, limit: SendLimit | None, *, until_s: float = inf, busy: bool
    ) -> None:
        """Note what stopped the sender now.

        Args:
            now_s: the connection's clock.
            limit: what it waits for; None when it is done, or only gave way to other tasks.
            until_s: when the limit ends by itself.
            busy: whether anything that was sent is not acknowledged.
        """
        self._advance(now_s)
        self._limit, self._until_s, self._busy = limit, until_s, busy

    def times(self, now_s: float) -> LimitTimes:
        """The sums up to now."""
        self._advance(now_s)
        return LimitTimes(
            busy_s=self._busy_s,
            flow_control_s=self._limited_s[SendLimit.FLOW_CONTROL],
            congestion_s=self._limited_s[SendLimit.CONGESTION],
            buffer_s=self._limited_s[SendLimit.BUFFER],
            application_s=self._limited_s[SendLimit.APPLICATION],
        )

    def _advance(self, now_s: float) -> None:
        if self._busy:
            self._busy_s += now_s - self._since_s
        if self._limit is not None:
            end_s = min(now_s, self._until_s)
            self._limited_s[self._limit] += max(0.0, end_s - self._since_s)
        self._since_s = now_s
