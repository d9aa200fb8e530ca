"""Round-trip times of a QUIC connection as RFC 9002 §5 defines them, in full resolution.

aioquic's own serve its timers: never below 1 ms (§6.1.2), with a variation taken from the smallest
round trip, and with this program's own work in them, from the moment at which it began to build a
batch of packets to the moment at which it got round to reading the answer. These count from the
system call that sent the packet to the moment at which the kernel received the acknowledgement.

Who built a packet does not matter: packets are known by their numbers.

Two things differ from §5.3, which is about timers. An endpoint answers the first flight of a
handshake only after its public-key arithmetic: milliseconds that it does not state as a delay. So
the first sample whose delay is stated and that is below the average begins it anew, instead of
moving it by an eighth. And a stated delay that would bring a sample below the smallest one is taken
off as far as that one, not left in it altogether: the smallest of few samples is not the smallest
possible.
"""

from __future__ import annotations

from bisect import bisect_right

#: Departures remembered. Packets that only acknowledge are seldom acknowledged themselves, so that
#: what is older is forgotten, half of it at a time.
_DEPARTURES = 4096


class RoundTrips:
    """Takes one sample per acknowledgement; seconds on the connection's clock."""

    __slots__ = (
        "_first_packets",
        "_left_s",
        "_rough",
        "arrived_s",
        "latest_s",
        "smallest_s",
        "smoothed_s",
        "variation_s",
    )

    def __init__(self) -> None:
        self.latest_s: float | None = None
        """The last sample, the peer's delay included."""
        self.smallest_s: float | None = None
        self.smoothed_s: float | None = None
        self.variation_s: float | None = None
        self.arrived_s: float | None = None
        """When the datagram in hand arrived; None when only its reading is known."""
        self._rough = True
        """The handshake's samples are still in the average."""
        self._first_packets: list[int] = []
        """The first packet number of each departure, ascending."""
        self._left_s: list[float] = []

    def restart(self) -> None:
        """Forget all samples: the packets take another path from now on (RFC 9000 §9.4)."""
        self.latest_s = self.smallest_s = self.smoothed_s = self.variation_s = None

    def left(self, first_packet: int, at_s: float) -> None:
        """Note when the packets from this one on were given to the operating system.

        What counts for a packet is the last word on a number not above its own.
        """
        if len(self._left_s) >= _DEPARTURES:
            self._forget(_DEPARTURES // 2)
        self._first_packets.append(first_packet)
        self._left_s.append(at_s)

    def sample(self, packet: int, built_s: float, read_s: float, ack_delay_s: float | None) -> None:
        """Take the acknowledgement of the largest packet number acknowledged so far (§5.1).

        Args:
            packet: the number acknowledged.
            built_s: when the packet was built; what counts if nobody said when it left.
            read_s: when the acknowledgement was read; what counts without `arrived_s`.
            ack_delay_s: for how long the peer says it held it back; None where none is stated.
        """
        acked_s = read_s if self.arrived_s is None else self.arrived_s
        latest_s = acked_s - self._sent_s(packet, built_s)
        if latest_s <= 0:
            return  # a clock that was set in between
        self.latest_s = latest_s
        smallest_s = self.smallest_s = min(latest_s, self.smallest_s or latest_s)
        self._average(max(latest_s - (ack_delay_s or 0.0), smallest_s), ack_delay_s)

    def _average(self, adjusted_s: float, ack_delay_s: float | None) -> None:
        smoothed_s, variation_s = self.smoothed_s, self.variation_s
        better = self._rough and ack_delay_s is not None and adjusted_s < (smoothed_s or 0.0)
        if smoothed_s is None or variation_s is None or better:
            self._rough = ack_delay_s is None
            self.smoothed_s, self.variation_s = adjusted_s, adjusted_s / 2
            return
        deviation_s = abs(smoothed_s - adjusted_s)
        self.variation_s = 3 / 4 * variation_s + 1 / 4 * deviation_s
        self.smoothed_s = 7 / 8 * smoothed_s + 1 / 8 * adjusted_s

    def _sent_s(self, packet: int, built_s: float) -> float:
        departure = bisect_right(self._first_packets, packet) - 1
        if departure < 0:
            return built_s
        # Nothing acknowledged from now on counts that is older.
        self._forget(departure)
        # A later packet of whose departure nobody has told has not left before it was built.
        return max(self._left_s[0], built_s)

    def _forget(self, count: int) -> None:
        del self._first_packets[:count], self._left_s[:count]
