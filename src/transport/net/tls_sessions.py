"""Resumption of TLS over TCP: a session goes into a connection, and newer ones come out of it.

In TLS 1.3 a server sends its tickets after the handshake, and OpenSSL has them once data has been
read. They are looked for at the connection's end: copying a session takes 0.4 ms, for which no
request shall wait. Python shows the newest only.
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
        self._used_id = b""
        session = slot.take_tcp()
        if session is None:
            return
        # A session of a context that was built anew meanwhile is of no use.
        with suppress(ValueError):
            connection.session = session
            self._used_id = session.id

    def keep(self) -> None:
        """Keep the newest session, unless it was used before; called once, at the end."""
        if not self._slot.wants_tcp:
            return
        session = self._connection.session
        if session is None:
            return
        resumable = session.has_ticket
        if self._connection.version() != _TICKETS_ONLY:
            # TLS 1.2 resumes by the server's memory, too, and the same session more than once.
            resumable = resumable or bool(session.id)
            self._used_id = b""
        if resumable and session.id != self._used_id:
            self._slot.keep_tcp(session)
