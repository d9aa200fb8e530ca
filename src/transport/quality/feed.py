"""From requests to observations: who is listened to, and what about."""

from __future__ import annotations

from collections.abc import Callable

from ..config import QualityOptions
from ..profile.moments import Ns
from ..profile.recorder import Leg
from .estimator import QualityEstimator
from .flight import Flight
from .network import Network
from .peers import is_public
from .throttle import RttThrottle
from .transfers import Transfer, TransferRates
from .windows import ThroughputWindows


class QualityFeed:
    """Watches requests begin and end, and tells an estimator what they show."""

    def __init__(
        self, estimator: QualityEstimator, options: QualityOptions, clock: Callable[[], Ns]
    ) -> None:
        self._estimator = estimator
        self._options = options
        self._in_windows = options.throughput_rule == "chromium"
        self._clock = clock
        self._flights: set[Flight] = set()
        self._landed_bytes = 0
        self._throttle = RttThrottle()
        self._uploads = TransferRates()
        self._downloads = TransferRates()
        self._windows = ThroughputWindows(
            clock, lambda: estimator.estimate.http_rtt_ms, self._received_bytes
        )

    def begin(
        self, leg: Leg, *, is_get: bool, has_body: bool, expects_continue: bool
    ) -> Flight | None:
        """A request is about to be sent, on the connection its leg names.

        `end` must follow; None when nobody wants to hear of it.
        """
        if not self.wants(leg):
            return None
        self._estimator.refresh()
        flight = Flight(
            leg=leg,
            counts=self._listens_to(leg),
            is_get=is_get,
            has_body=has_body,
            expects_continue=expects_continue,
        )
        self._flights.add(flight)
        if self._in_windows:
            self._windows.began(flight)
        return flight

    def wants(self, leg: Leg) -> bool:
        """Whether anybody wants to hear of the request; the same at any time, in any thread."""
        # A peer inside matters to windows alone, which it disturbs.
        return self._in_windows or self._listens_to(leg)

    def end(self, flight: Flight) -> None:
        """The request is over, one way or another."""
        self._flights.remove(flight)
        self._landed_bytes += flight.received_bytes
        kbps = self._windows.ended(flight)
        if self._tells(flight):
            self._take_transport_rtt(flight)
            self._take_http_rtt(flight)
            if self._options.throughput_rule == "relaxed":
                kbps = self._download_kbps(flight)
            self._take_upstream(flight)
        if kbps is not None:
            self._estimator.add_downstream(kbps)
        self._forget_transfers()

    def change_network(self, network: Network) -> None:
        """The machine is on another network."""
        self._estimator.change_network(network)
        self._windows.network_changed()

    def _listens_to(self, leg: Leg) -> bool:
        if self._options.include_private:
            return True
        peer = leg.connection.peer if leg.connection is not None else None
        return peer is not None and is_public(peer[0])

    def _tells(self, flight: Flight) -> bool:
        # What began on another network tells of neither.
        return flight.counts and flight.begun_at >= self._estimator.changed_at

    def _take_transport_rtt(self, flight: Flight) -> None:
        taken, connection = flight.transport_rtt(), flight.leg.connection
        if taken is None or connection is None:
            return
        rtt_ms, source = taken
        if self._throttle.admits(connection.connection_id, rtt_ms, self._clock()):
            self._estimator.add_rtt(rtt_ms, source)

    def _take_http_rtt(self, flight: Flight) -> None:
        taken = flight.http_rtt()
        if taken is not None and not self._estimator.is_hanging(taken[0]):
            self._estimator.add_rtt(*taken)

    def _download_kbps(self, flight: Flight) -> int | None:
        transfer = flight.download()
        if transfer is None:
            return None
        return self._downloads.finished(transfer, self._others(Flight.download))

    def _take_upstream(self, flight: Flight) -> None:
        transfer = flight.upload()
        if transfer is None:
            return
        kbps = self._uploads.finished(transfer, self._others(Flight.upload))
        if kbps is not None:
            self._estimator.add_upstream(kbps)

    def _others(self, part: Callable[[Flight, Ns], Transfer | None]) -> list[Transfer]:
        now = self._clock()
        parts = [part(flight, now) for flight in self._flights if self._tells(flight)]
        return [transfer for transfer in parts if transfer is not None]

    def _forget_transfers(self) -> None:
        """Whoever is still to end began after these were over."""
        horizon = min((flight.begun_at for flight in self._flights), default=self._clock())
        self._uploads.forget_until(horizon)
        self._downloads.forget_until(horizon)

    def _received_bytes(self) -> int:
        return self._landed_bytes + sum(flight.received_bytes for flight in self._flights)
