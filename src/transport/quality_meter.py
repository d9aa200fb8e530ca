"""The estimators of this process: one for all clients that ask for the same, or one of their own.

Clients may run in threads of their own, so whatever reaches an estimator goes through a lock.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from weakref import WeakSet

from .call import Call
from .config import QualityOptions
from .profile.moments import Ns
from .profile.recorder import Leg
from .quality.estimate import QualityEstimate
from .quality.estimator import QualityEstimator
from .quality.feed import QualityFeed
from .quality.flight import Flight
from .quality.network import Network


class QualityMeter:
    """An estimator and its feed, for any number of engines in any threads."""

    def __init__(
        self,
        options: QualityOptions,
        *,
        network: Network | None = None,
        clock: Callable[[], Ns] = time.monotonic_ns,
    ) -> None:
        self._lock = threading.Lock()
        self._estimator = QualityEstimator(
            clock, platform_defaults=options.platform_defaults, network=network
        )
        self._feed = QualityFeed(self._estimator, options, clock)

    def begin(self, leg: Leg, call: Call, *, expects_continue: bool) -> Flight | None:
        """A leg has its connection and is about to be carried.

        `end` must follow; None when nobody wants to hear of it.
        """
        if not self._feed.wants(leg):
            return None
        with self._lock:
            return self._feed.begin(
                leg,
                is_get=call.method == "GET",
                has_body=call.body is not None and call.body.length != 0,
                expects_continue=expects_continue,
            )

    def end(self, flight: Flight) -> None:
        """The leg is over, one way or another."""
        with self._lock:
            self._feed.end(flight)

    def estimate(self) -> QualityEstimate:
        """What is known of the network."""
        # A value that is replaced as a whole: it needs no lock to be read.
        return self._estimator.estimate

    def change_network(self, network: Network) -> None:
        """The machine is on another network."""
        with self._lock:
            self._feed.change_network(network)


def quality_meter(options: QualityOptions) -> QualityMeter:
    """The meter for these options: shared over the process, or a new one, as they say."""
    return _process.meter(options)


def network_changed(network: Network | None = None) -> None:
    """Tell every estimator of this process that the machine is on another network.

    Estimates begin anew, with what is remembered of that network; requests on their way are not
    counted. Nobody watches the network interfaces: a program that does may call this, in any
    thread. Without such calls old observations just lose their weight, half of it a minute.

    Args:
        network: the new one; None when nothing is known of it. `NetworkType.NONE` says that the
            machine is offline.
    """
    _process.change_network(network or Network())


class _Process:
    """The meters of this process."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """In a forked child: the holder of a lock may not be there."""
        self._lock = threading.Lock()
        self._network = Network()
        self._shared: dict[QualityOptions, QualityMeter] = {}
        self._all: WeakSet[QualityMeter] = WeakSet()

    def meter(self, options: QualityOptions) -> QualityMeter:
        with self._lock:
            meter = self._shared.get(options)
            if meter is None:
                meter = QualityMeter(options, network=self._network)
                self._all.add(meter)
            if options.scope == "process":
                self._shared[options] = meter
            return meter

    def change_network(self, network: Network) -> None:
        with self._lock:
            self._network = network
            meters = list(self._all)
            for meter in meters:
                meter.change_network(network)


_process = _Process()
os.register_at_fork(after_in_child=_process.forget)
