"""Throughput from single transfers: the `relaxed` rule for responses, and the rule for uploads.

A transfer's own duration is the window, and what others carried meanwhile counts too: transfers
that share a link each get a part of it, and the link is what is to be known.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from math import ceil

from ..profile.moments import Ns

#: So many bytes make a rate …
MIN_BYTES = 64_000
#: … or fewer, but more than a sender may send at once (10 segments), over so many round trips.
INITIAL_WINDOW_BYTES = 15_000
MIN_ROUND_TRIPS = 2
#: Finished transfers that are remembered, as many as there are observations.
MAX_TRANSFERS = 300
_NS_PER_S = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Transfer:
    """Bytes that crossed the network between two moments, as evenly as it goes."""

    start: Ns
    end: Ns
    byte_count: int
    rtt_ns: Ns | None = None
    """The least round trip of the connection, when it is known."""
    until_acked: bool = False
    """`end` is the acknowledgement of the last byte, a round trip after the byte could leave."""

    def bytes_within(self, other: Transfer) -> float:
        """Its share of bytes that fell into the duration of another."""
        overlap = min(self.end, other.end) - max(self.start, other.start)
        if overlap <= 0:
            return 0.0
        return self.byte_count * overlap / (self.end - self.start)


class TransferRates:
    """Remembers the transfers of one direction."""

    def __init__(self) -> None:
        self._finished: deque[Transfer] = deque(maxlen=MAX_TRANSFERS)

    def finished(self, transfer: Transfer, in_flight: Iterable[Transfer]) -> int | None:
        """A transfer is complete; returns kbit/s when it is large enough to tell.

        Args:
            transfer: the one that is complete.
            in_flight: the others, as far as they have come.
        """
        byte_count = transfer.byte_count + sum(
            other.bytes_within(transfer) for other in (*self._finished, *in_flight)
        )
        self._finished.append(transfer)
        return _kbps(transfer, byte_count)

    def forget_until(self, moment: Ns) -> None:
        """No transfer that is still to finish began before this moment."""
        while self._finished and self._finished[0].end <= moment:
            self._finished.popleft()


def _kbps(transfer: Transfer, byte_count: float) -> int | None:
    duration_ns = lasted_ns = transfer.end - transfer.start
    if transfer.until_acked and transfer.rtt_ns is not None:
        duration_ns -= transfer.rtt_ns
    if duration_ns <= 0 or not _is_enough(transfer, byte_count, lasted_ns):
        return None
    return ceil(byte_count * 8 * _NS_PER_S / duration_ns / 1000)


def _is_enough(transfer: Transfer, byte_count: float, lasted_ns: Ns) -> bool:
    if byte_count >= MIN_BYTES:
        return True
    if byte_count < INITIAL_WINDOW_BYTES or transfer.rtt_ns is None:
        return False
    return lasted_ns >= MIN_ROUND_TRIPS * transfer.rtt_ns
