"""What is kept of earlier QUIC connections, so that the next one starts faster: bounded, in memory.

Tickets and tokens are used once: a server, or anybody on the way, could otherwise link connections
(RFC 8446 §C.4, RFC 9000 §8.1.3).
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Hashable
from dataclasses import dataclass, field, replace

from aioquic.tls import SessionTicket

#: Servers send one or two; more than that is never used up.
KEPT_PER_ORIGIN = 2
KEPT_ORIGINS = 256


@dataclass(frozen=True, slots=True)
class Resumption:
    """What a new connection may start with."""

    ticket: SessionTicket | None = None
    token: bytes = b""
    """Proves our address to the server, which then skips Retry."""


@dataclass(slots=True)
class _Kept:
    tickets: deque[SessionTicket] = field(default_factory=lambda: deque(maxlen=KEPT_PER_ORIGIN))
    tokens: deque[bytes] = field(default_factory=lambda: deque(maxlen=KEPT_PER_ORIGIN))


class SessionCache:
    """Tickets and tokens by origin; the origin used longest ago goes first."""

    def __init__(self, kept_origins: int = KEPT_ORIGINS) -> None:
        self._kept_origins = kept_origins
        self._origins: OrderedDict[Hashable, _Kept] = OrderedDict()

    def keep_ticket(self, key: Hashable, ticket: SessionTicket) -> None:
        """Keep a TLS session ticket. `key` names the origin and how its certificate was checked."""
        self._of(key).tickets.append(ticket)

    def keep_token(self, key: Hashable, token: bytes) -> None:
        """Keep an address validation token."""
        self._of(key).tokens.append(token)

    def take(self, key: Hashable, *, early_data: bool) -> Resumption:
        """Take what is known, newest first, out of the cache.

        Args:
            key: as it was kept.
            early_data: whether the ticket may be used to send 0-RTT data.
        """
        kept = self._origins.get(key)
        if kept is None:
            return Resumption()
        ticket = None
        while kept.tickets and ticket is None:
            ticket = kept.tickets.pop()
            ticket = ticket if ticket.is_valid else None
        if ticket is not None and not early_data:
            ticket = replace(ticket, max_early_data_size=None)
        return Resumption(ticket, kept.tokens.pop() if kept.tokens else b"")

    def _of(self, key: Hashable) -> _Kept:
        kept = self._origins.setdefault(key, _Kept())
        self._origins.move_to_end(key)
        while len(self._origins) > self._kept_origins:
            self._origins.popitem(last=False)
        return kept
