"""The arithmetic of an emulated link, without clocks or devices: what leaves when, what is lost.

A direction is a wire of some rate behind a queue that drops what does not fit (tail drop), and
then a delay. Packets that the wire loses at random have still taken up their time on it.
"""

from __future__ import annotations

import heapq
import random
from dataclasses import dataclass, field
from math import inf


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What one direction of a link is like."""

    delay_s: float = 0.0
    """One way."""
    rate_bytes_per_s: float = inf
    """Of IP packets, headers included."""
    queue_bytes: int = 64 * 1024
    """What may wait for the wire; a packet that would not fit is dropped."""
    loss: float = 0.0
    """Share of packets lost at random."""
    seed: int = 0
    """Of the losses, so that they are the same ones each time."""


@dataclass(slots=True)
class Counts:
    """What a direction has done with the packets it was offered."""

    carried_packets: int = 0
    carried_bytes: int = 0
    overflowed_packets: int = 0
    """Dropped because the queue was full."""
    lost_packets: int = 0
    """Lost at random."""
    longest_queue_bytes: int = 0


@dataclass(order=True, slots=True)
class Departure:
    """A packet on its way; ordered by when it arrives, then by when it was offered."""

    due_s: float
    number: int
    packet: bytes = field(compare=False)


class Direction:
    """One direction of a link. Time is whatever clock the caller uses, in seconds."""

    def __init__(self, shape: Shape) -> None:
        self.counts = Counts()
        self._shape = shape
        self._random = random.Random(shape.seed)
        self._wire_free_s = 0.0
        self._offered = 0
        self._travelling: list[Departure] = []

    @property
    def shape(self) -> Shape:
        """What this direction is like now."""
        return self._shape

    @shape.setter
    def shape(self, shape: Shape) -> None:
        """Change it, and begin its losses anew; packets on their way are not touched."""
        self._random = random.Random(shape.seed)
        self._shape = shape

    def offer(self, packet: bytes, now_s: float) -> None:
        """Take a packet that arrives at the queue now, or drop it."""
        shape, size = self._shape, len(packet)
        wait_s = max(0.0, self._wire_free_s - now_s)
        queued_bytes = round(wait_s * shape.rate_bytes_per_s) if wait_s else 0
        if queued_bytes and queued_bytes + size > shape.queue_bytes:
            self.counts.overflowed_packets += 1
            return
        longest = max(self.counts.longest_queue_bytes, queued_bytes + size)
        self.counts.longest_queue_bytes = longest
        self._wire_free_s = now_s + wait_s + size / shape.rate_bytes_per_s
        if shape.loss and self._random.random() < shape.loss:
            self.counts.lost_packets += 1
            return
        self._offered += 1
        departure = Departure(self._wire_free_s + shape.delay_s, self._offered, packet)
        heapq.heappush(self._travelling, departure)

    @property
    def next_due_s(self) -> float:
        """When the next packet arrives; infinity when none is on its way."""
        return self._travelling[0].due_s if self._travelling else inf

    def arrived(self, now_s: float) -> list[bytes]:
        """Take the packets that have arrived by now, in order."""
        packets: list[bytes] = []
        while self._travelling and self._travelling[0].due_s <= now_s:
            packet = heapq.heappop(self._travelling).packet
            self.counts.carried_packets += 1
            self.counts.carried_bytes += len(packet)
            packets.append(packet)
        return packets
