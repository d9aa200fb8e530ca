"""A virtual UDP link for tests: delay, loss, reordering and duplication from a seed, no clock.

Pure: time is a number the caller passes in and advances to `next_delivery_s`.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from itertools import count
from random import Random

Address = tuple[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkConditions:
    """What the link does to datagrams; probabilities lie between 0 and 1."""

    delay_s: float = 0.010
    """One-way delay."""
    jitter_s: float = 0.0
    """Up to this much is added to the delay of each datagram, which reorders them."""
    loss: float = 0.0
    duplication: float = 0.0
    largest_bytes: int = 65507
    """A larger datagram is lost without a word, as in a path-MTU black hole."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """A datagram that has arrived."""

    data: bytes
    source: Address
    destination: Address


@dataclass(slots=True)
class LinkCounters:
    """What became of the datagrams."""

    sent: int = 0
    lost: int = 0
    duplicated: int = 0


class VirtualLink:
    """Carries datagrams between any addresses; the same seed gives the same fate."""

    def __init__(self, conditions: LinkConditions, seed: int) -> None:
        self.conditions = conditions
        self.counters = LinkCounters()
        self._random = Random(seed)  # noqa: S311  # reproducible, not secret
        self._order = count()
        self._in_flight: list[tuple[float, int, Delivery]] = []

    def send(self, data: bytes, source: Address, destination: Address, now_s: float) -> None:
        """Put a datagram on the link."""
        self.counters.sent += 1
        if len(data) > self.conditions.largest_bytes or self._happens(self.conditions.loss):
            self.counters.lost += 1
            return
        copies = 1
        if self._happens(self.conditions.duplication):
            self.counters.duplicated += 1
            copies = 2
        for _ in range(copies):
            delay_s = self.conditions.delay_s + self._random.random() * self.conditions.jitter_s
            delivery = Delivery(data, source, destination)
            heapq.heappush(self._in_flight, (now_s + delay_s, next(self._order), delivery))

    def next_delivery_s(self) -> float | None:
        """When the next datagram arrives; None when none is on its way."""
        return self._in_flight[0][0] if self._in_flight else None

    def deliver(self, now_s: float) -> list[Delivery]:
        """Take what has arrived by now, in order of arrival."""
        arrived: list[Delivery] = []
        while self._in_flight and self._in_flight[0][0] <= now_s:
            arrived.append(heapq.heappop(self._in_flight)[2])
        return arrived

    def _happens(self, probability: float) -> bool:
        return probability > 0 and self._random.random() < probability
