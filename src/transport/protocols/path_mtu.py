"""Finds the largest datagram a path takes: DPLPMTUD (RFC 8899, RFC 9000 §14.3), no I/O, no clock.

A probe is one padded packet of the size in question. Probes go out one at a time, the largest size
first, then by halves; a size that went unanswered three times, or that this host refused, is too
large. Everything else goes on meanwhile in datagrams of the size that is known to arrive.
"""

from __future__ import annotations

#: What every path that carries QUIC takes (RFC 9000 §14).
BASE_BYTES = 1200
#: RFC 8899 §5.1.2: MAX_PROBES.
_MOST_PROBES = 3
#: RFC 8899 §5.1.1: PMTU_RAISE_TIMER; the path may have changed for the better.
_RAISE_AFTER_S = 600.0
#: Searching ends when no more than this can be won.
_NEAR_BYTES = 16
_UDP_HEADER_BYTES = 8
_IPV4_HEADER_BYTES = 20
_IPV6_HEADER_BYTES = 40


class PathMtu:
    """The search on one path; says what to probe and takes what became of it."""

    def __init__(self, most_bytes: int) -> None:
        """Begin with the base size.

        Args:
            most_bytes: no larger datagram is tried.
        """
        self.size_bytes = BASE_BYTES
        """What datagrams are known to arrive with."""
        self._most_bytes = max(BASE_BYTES, most_bytes)
        self._limit_bytes = self._most_bytes
        """Anything above is known, or believed, to be too large."""
        self._probing_bytes: int | None = None
        self._probes = 0
        """Of the same size, in a row."""
        self._told_bytes: int | None = None
        """What this host says the path takes, until that was probed."""
        self._done_s: float | None = None

    def restart(self) -> None:
        """Begin again: the datagrams take another path (RFC 9000 §14.3)."""
        self.size_bytes = BASE_BYTES
        self._limit_bytes = self._most_bytes
        self._probing_bytes = self._told_bytes = self._done_s = None
        self._probes = 0

    def bound(self, peer_bytes: int) -> None:
        """Respect the largest datagram the peer takes (RFC 9000 §18.2)."""
        self._most_bytes = max(BASE_BYTES, min(self._most_bytes, peer_bytes))
        self._limit_bytes = min(self._limit_bytes, self._most_bytes)

    @property
    def searching(self) -> bool:
        """Whether there is a size to probe now."""
        return self._probing_bytes is None and self._candidate() is not None

    def next_probe(self, now_s: float) -> int | None:
        """The size to probe now, which the caller does; None when there is nothing to probe."""
        if self._probing_bytes is not None:
            return None
        size = self._candidate()
        if size is None:
            if self._done_s is None:
                self._done_s = now_s
            if now_s - self._done_s < _RAISE_AFTER_S:
                return None
            self._limit_bytes, self._done_s = self._most_bytes, None
            size = self._candidate()
        self._probing_bytes = size
        return size

    def arrived(self, size_bytes: int) -> None:
        """A probe was acknowledged."""
        if size_bytes == self._probing_bytes:
            self._probing_bytes, self._probes = None, 0
            self.size_bytes = max(self.size_bytes, size_bytes)

    def lost(self, size_bytes: int) -> None:
        """A probe was not acknowledged; that alone says nothing about congestion (§3)."""
        if size_bytes != self._probing_bytes:
            return
        self._probing_bytes = None
        self._probes += 1
        if self._probes >= _MOST_PROBES:
            self._exclude(size_bytes)

    def refused(self, mtu_bytes: int | None, *, ipv6: bool) -> None:
        """This host did not send a datagram, for it was too large.

        Args:
            mtu_bytes: the largest IP packet, if the host said so.
            ipv6: the packets are IPv6's.
        """
        if mtu_bytes is not None:
            ip_bytes = _IPV6_HEADER_BYTES if ipv6 else _IPV4_HEADER_BYTES
            fits = max(BASE_BYTES, mtu_bytes - ip_bytes - _UDP_HEADER_BYTES)
            self._exclude(fits + 1)
            self._told_bytes = fits
            self.size_bytes = min(self.size_bytes, fits)
        elif self._probing_bytes is not None:
            self._exclude(self._probing_bytes)
        else:
            self.swallowed()
            return
        self._probing_bytes = None

    def swallowed(self) -> None:
        """Nothing was acknowledged for long: a black hole, as far as one can tell (§4.3)."""
        if self.size_bytes > BASE_BYTES:
            self._exclude(self.size_bytes)
            self.size_bytes = BASE_BYTES

    def _exclude(self, size_bytes: int) -> None:
        """This size and everything above is too large."""
        self._limit_bytes = max(BASE_BYTES, min(self._limit_bytes, size_bytes - 1))
        self._probes = 0

    def _candidate(self) -> int | None:
        low, high = self.size_bytes, self._limit_bytes
        if high <= low:
            return None
        if high in (self._most_bytes, self._told_bytes):
            return high
        middle = (low + high + 1) // 2
        return middle if high - low > _NEAR_BYTES else None
