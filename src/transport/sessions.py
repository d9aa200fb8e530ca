"""What is kept of earlier secure connections, so that the next one starts faster: bounded.

Sessions of TLS over TCP, and QUIC's tickets and tokens. Each is used once: a server, or anybody on
the way, could otherwise link connections (RFC 8446 §C.4, RFC 9000 §8.1.3).
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from ssl import SSLContext, SSLSession

from aioquic.tls import SessionTicket

#: Servers send one or two; more than that is never used up.
KEPT_PER_KEY = 2
KEPT_KEYS = 256


@dataclass(frozen=True, slots=True)
class SessionKey:
    """Whom a session was made with, and how that was verified: no other connection may use it."""

    name: str
    """A hash of origin, options, files and protocols."""
    context: SSLContext | None = None
    """A user's context, when it did the verifying: nobody outside this process knows it."""


@dataclass(frozen=True, slots=True)
class Resumption:
    """What a new QUIC connection may start with."""

    ticket: SessionTicket | None = None
    token: bytes = b""
    """Proves our address to the server, which then skips Retry."""


@dataclass(slots=True)
class Kept:
    """What one key has, oldest first."""

    tcp: deque[SSLSession] = field(default_factory=lambda: deque(maxlen=KEPT_PER_KEY))
    tickets: deque[SessionTicket] = field(default_factory=lambda: deque(maxlen=KEPT_PER_KEY))
    tokens: deque[bytes] = field(default_factory=lambda: deque(maxlen=KEPT_PER_KEY))


class SessionStore:
    """Sessions by key; the key used longest ago goes first."""

    def __init__(self, kept_keys: int = KEPT_KEYS) -> None:
        self._kept_keys = kept_keys
        self.wants_tcp = True
        """Whether sessions of TLS over TCP are of use; not when nobody connects any more."""
        self._kept: OrderedDict[SessionKey, Kept] = OrderedDict()

    def __iter__(self) -> Iterator[tuple[SessionKey, Kept]]:
        return iter(self._kept.items())

    def of(self, key: SessionKey) -> Kept:
        """What a key has, to be added to."""
        kept = self._kept.setdefault(key, Kept())
        self._kept.move_to_end(key)
        while len(self._kept) > self._kept_keys:
            self._kept.popitem(last=False)
        return kept

    def take_tcp(self, key: SessionKey) -> SSLSession | None:
        """Take the newest session of TLS over TCP."""
        kept = self._kept.get(key)
        return kept.tcp.pop() if kept is not None and kept.tcp else None

    def take_quic(self, key: SessionKey, *, early_data: bool) -> Resumption:
        """Take the newest ticket and token of QUIC.

        Args:
            key: as they were kept.
            early_data: whether the ticket may be used to send 0-RTT data.
        """
        kept = self._kept.get(key)
        if kept is None:
            return Resumption()
        ticket = None
        while kept.tickets and ticket is None:
            ticket = kept.tickets.pop()
            ticket = ticket if ticket.is_valid else None
        if ticket is not None and not early_data:
            ticket = replace(ticket, max_early_data_size=None)
        return Resumption(ticket, kept.tokens.pop() if kept.tokens else b"")


class SessionSlot:
    """One key's sessions: taken out for a connection, and kept when it brings new ones."""

    def __init__(self, store: SessionStore, key: SessionKey) -> None:
        self._store = store
        self._key = key

    @property
    def wants_tcp(self) -> bool:
        """Whether a session of TLS over TCP would be used."""
        return self._store.wants_tcp

    def take_tcp(self) -> SSLSession | None:
        """The session to resume over TCP."""
        return self._store.take_tcp(self._key)

    def take_quic(self, *, early_data: bool) -> Resumption:
        """What to resume with over QUIC; see `SessionStore.take_quic`."""
        return self._store.take_quic(self._key, early_data=early_data)

    def keep_tcp(self, session: SSLSession) -> None:
        """Keep a session of TLS over TCP."""
        self._store.of(self._key).tcp.append(session)

    def keep_ticket(self, ticket: SessionTicket) -> None:
        """Keep a ticket of QUIC."""
        self._store.of(self._key).tickets.append(ticket)

    def keep_token(self, token: bytes) -> None:
        """Keep an address validation token of QUIC."""
        self._store.of(self._key).tokens.append(token)
