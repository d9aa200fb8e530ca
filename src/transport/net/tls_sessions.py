"""Resumption of TLS over TCP: a session goes into a connection, and newer ones come out of it.

In TLS 1.3 a server sends its tickets after the handshake, and OpenSSL has them once data has been
read; so that is when they are looked for, and once more at the end. Python shows the newest only.
"""

from __future__ import annotations

import ssl
from contextlib import suppress

from ..sessions import SessionSlot

_TICKETS_ONLY = "TLSv1.3"


class SessionKeeper:
    """The sessions of one connection, whose handshake has not begun."""

    def __init__(self, connection: ssl.SSLObject, slot: SessionSlot) -> None:
        self._connection = connection
        self._slot = slot
        self._due = True
        self._known_ids: set[bytes] = set()
        session = slot.take_tcp()
        if session is None:
            return
        # A session of a context that was built anew meanwhile is of no use.
        with suppress(ValueError):
            connection.session = session
            self._known_ids.add(session.id)

    def saw_data(self) -> None:
        """Look for a session when the first data has been read."""
        if self._due:
            self._due = False
            self.keep()

    def keep(self) -> None:
        """Keep the newest session, unless it was kept, or used, before."""
        session = self._connection.session
        if session is None:
            return
        resumable = session.has_ticket
        if self._connection.version() != _TICKETS_ONLY:
            # TLS 1.2 resumes by the server's memory, too, and the same session more than once.
            resumable = resumable or bool(session.id)
            if self._connection.session_reused:
                self._known_ids.clear()
        if resumable and session.id not in self._known_ids:
            self._known_ids.add(session.id)
            self._slot.keep_tcp(session)
