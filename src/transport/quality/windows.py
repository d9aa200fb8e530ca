"""Chromium's way of measuring downstream throughput: windows with many requests in flight.

Facts: `net/nqe/throughput_analyzer.cc`. With five requests in flight the link is likely to be
full, so that what all of them receive is what it can carry. Uploads never qualify.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil
from typing import Protocol

from ..profile.moments import Ns

MIN_IN_FLIGHT = 5
MIN_BYTES = 32_000
#: In one HTTP round trip a network in use carries at least an initial window: 10 segments.
HANGING_WINDOW_BYTES = 15_000
#: A request is given up for the measurement when nothing came for so many HTTP round trips …
HANGING_MULTIPLE = 5
#: … and for so long.
HANGING_NS = 3_000_000_000
CHECK_INTERVAL_NS = 1_000_000_000
MAX_REQUESTS = 300
#: What stands for the HTTP round trip while none is known.
_WINDOW_RTT_NS = 10_000_000_000
_REQUEST_RTT_NS = 60_000_000_000
_NS_PER_S = 1_000_000_000


class Download(Protocol):
    """A request on its way, as a window sees it. Compared by identity."""

    @property
    def begun_at(self) -> Ns:
        """When it was made."""

    @property
    def last_byte_at(self) -> Ns:
        """When it last received something, or was begun."""

    @property
    def is_get(self) -> bool:
        """Whether its method is GET; no other is measured."""

    @property
    def counts(self) -> bool:
        """Whether its peer is outside; if not, it disturbs the measurement of others."""


@dataclass(frozen=True, slots=True)
class _Window:
    started_at: Ns
    received_bytes: int


class ThroughputWindows:
    """Watches downloads begin and end; at some ends there is a rate to tell."""

    def __init__(
        self,
        clock: Callable[[], Ns],
        http_rtt_ms: Callable[[], float | None],
        received_bytes: Callable[[], int],
    ) -> None:
        """Begin with nothing in flight.

        Args:
            clock: nanoseconds.
            http_rtt_ms: the present estimate.
            received_bytes: what all requests together have received so far; never decreases.
        """
        self._clock = clock
        self._http_rtt_ms = http_rtt_ms
        self._received_bytes = received_bytes
        self._requests: set[Download] = set()
        self._disturbing: set[Download] = set()
        self._window: _Window | None = None
        self._changed_at = clock()
        self._checked_at: Ns | None = None
        self._disabled = False

    @property
    def in_flight(self) -> int:
        """Requests that are measured."""
        return len(self._requests)

    @property
    def measuring(self) -> bool:
        """Whether a window is open."""
        return self._window is not None

    def began(self, request: Download) -> None:
        """A request was made."""
        if self._disabled:
            return
        if not request.counts or request.begun_at < self._changed_at:
            self._disturbing.add(request)
            self._bound()
            self._window = None
        elif request.is_get:
            self.drop_hanging(request)
            self._requests.add(request)
            self._bound()
            self._open()

    def ended(self, request: Download) -> int | None:
        """A request is over; returns kbit/s when that ends a window worth telling of."""
        if request not in self._requests and request not in self._disturbing:
            return None
        self.drop_hanging(request)
        kbps = self._measure()
        if request in self._disturbing:
            self._disturbing.remove(request)
            self._open()
        elif request in self._requests:
            self._requests.remove(request)
            if len(self._requests) < MIN_IN_FLIGHT:
                self._window = None
        else:
            self._open()
        return kbps

    def network_changed(self) -> None:
        """What is in flight crosses from one network to another and tells of neither."""
        self._disturbing |= self._requests
        self._requests.clear()
        self._bound()
        self._window = None
        self._changed_at = self._clock()

    def drop_hanging(self, request: Download) -> None:
        """Stop measuring this request if nothing comes any more; now and then, look at all."""
        now = self._clock()
        suspects = {request} & self._requests
        if self._checked_at is None or now - self._checked_at >= CHECK_INTERVAL_NS:
            self._checked_at = now
            suspects = self._requests
        limit_ns = max(HANGING_MULTIPLE * self._http_rtt_ns(_REQUEST_RTT_NS), HANGING_NS)
        hanging = {suspect for suspect in suspects if now - suspect.last_byte_at >= limit_ns}
        if hanging:
            self._requests -= hanging
            self._window = None

    def is_hanging_window(self, byte_count: int, duration_ns: Ns) -> bool:
        """Whether so little came that servers must have kept the network waiting."""
        per_rtt = byte_count * self._http_rtt_ns(_WINDOW_RTT_NS) / duration_ns
        return per_rtt < HANGING_WINDOW_BYTES

    def _open(self) -> None:
        if self._window is None and not self._disturbing and self.in_flight >= MIN_IN_FLIGHT:
            self._window = _Window(self._clock(), self._received_bytes())

    def _measure(self) -> int | None:
        if self._window is None:
            return None
        byte_count = self._received_bytes() - self._window.received_bytes
        duration_ns = self._clock() - self._window.started_at
        if byte_count < MIN_BYTES or duration_ns <= 0:
            return None
        self._window = None
        if self.is_hanging_window(byte_count, duration_ns):
            self._requests.clear()
            return None
        self._open()
        return ceil(byte_count * 8 * _NS_PER_S / duration_ns / 1000)

    def _bound(self) -> None:
        if len(self._disturbing) > MAX_REQUESTS:
            # From here on it is not known what disturbs the measurement: there is none any more.
            self._disabled = True
            self._disturbing.clear()
            self._requests.clear()
            self._window = None
        if len(self._requests) > MAX_REQUESTS:
            self._requests.clear()
            self._window = None

    def _http_rtt_ns(self, unknown_ns: Ns) -> float:
        http_rtt_ms = self._http_rtt_ms()
        return unknown_ns if http_rtt_ms is None else http_rtt_ms * 1_000_000
