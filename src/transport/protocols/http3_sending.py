"""What an HTTP/3 connection sends beside trains: plain packets of ours, or aioquic's."""

from __future__ import annotations

from aioquic.quic.connection import QuicConnection

from . import aioquic_private as private
from .aioquic_sending import PlainSender
from .bulk_quic import BulkSender
from .machine import Address


class Sending:
    """Asks who has something to send."""

    __slots__ = ("_bulk", "_plain", "_quic", "held_back")

    def __init__(self, quic: QuicConnection, bulk: BulkSender) -> None:
        self._quic = quic
        self._bulk = bulk
        self._plain: PlainSender | None = None
        self.held_back = False
        """The last `take` may have left something for want of room."""

    def take(self, now_s: float) -> list[tuple[bytes, Address]]:
        """All that may be sent now and is not for trains."""
        if self._bulk.idle:
            return self._take_alone(now_s)
        hidden = self._bulk.hide()
        try:
            ready = private.datagrams_to_send(self._quic, now_s)
            trains_only = self._bulk.may_send and not private.may_be_held_back(self._quic)
            self.held_back = not trains_only
        finally:
            self._bulk.show(hidden)
        return ready

    def _take_alone(self, now_s: float) -> list[tuple[bytes, Address]]:
        if self._plain is None and private.handshake_confirmed(self._quic):
            self._plain = PlainSender(self._quic)
        plain = None if self._plain is None else self._plain.take(now_s)
        if plain is not None:
            self.held_back = False
            return plain
        ready = private.datagrams_to_send(self._quic, now_s)
        self.held_back = private.may_be_held_back(self._quic)
        return ready
