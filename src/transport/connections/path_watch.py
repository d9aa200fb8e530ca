"""Notices that the way to the server has changed at this end, and has the machine go on from there.

The socket is bound to no address, so that a change of interface, or of the route, makes the system
send from another one by itself. What is left to do is to see it: whenever the peer is silent for a
probe timeout, sending failed, or something arrived at another address, the system is asked where it
sends from. While there is no way out at all, it is asked again and again for a while.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf

from ..net.datagram_channel import DatagramChannel
from ..net.reasons import reason_of
from ..protocols.http3 import Http3Machine
from ..protocols.http3_close import CloseCause, CloseKind

#: For how long a host may have no way out, between two networks (Chromium: the same).
WAY_OUT_S = 10.0
#: How often it is asked for one.
_LOOK_EVERY_S = 0.25
#: What is further apart are two outages.
_OUTAGE_GAP_S = 1.0


class PathWatch:
    """Watches over one connection's path; seconds are the link's (`quic_link.now_s`)."""

    def __init__(self, machine: Http3Machine, channel: DatagramChannel) -> None:
        self.peer = channel.peer
        """Where the server is now."""
        self.on_change: Callable[[], None] = lambda: None
        """Called when `peer`, or the socket's own address, has changed."""
        self.look_s = inf
        """When to look again."""
        self._machine = machine
        self._socket = channel
        self._out_since_s = self._out_s = -inf

    def heed(self, now_s: float) -> None:
        """Look, if something that came in gives reason to, and follow the server."""
        if self._socket.arrived_elsewhere:
            self.look(now_s)
        peer = self._machine.peer
        if peer is not None and peer != self.peer:
            self.peer = peer
            self.on_change()

    def look(self, now_s: float) -> None:
        """Ask the system where it sends from now."""
        was_out, self.look_s = self.look_s < inf, inf
        if not self._machine.handshake_complete or self._machine.close_cause is not None:
            return
        try:
            moved = self._socket.find_source(self.peer)
        except OSError as exc:
            self.unsent(exc, now_s)
            return
        if moved:
            self._machine.moved(now_s)
            self.on_change()
        elif was_out:
            # The same address again, but perhaps another network.
            self._machine.path_changed(now_s)

    def unsent(self, error: OSError, now_s: float) -> None:
        """This host knew no way to the server: hope for another one, but not forever."""
        if now_s - self._out_s > _OUTAGE_GAP_S:
            self._out_since_s = now_s
        self._out_s = now_s
        if now_s - self._out_since_s >= WAY_OUT_S:
            self._machine.give_up(CloseCause(CloseKind.UNREACHABLE, reason_of(error)))
        self.look_s = min(self.look_s, now_s + _LOOK_EVERY_S)
