"""aioquic's loss recovery, made to know trains and to take acknowledgements together.

Part of `aioquic_private`, under the same canary test, and imported by its parts alone.
"""

# ruff: noqa: SLF001  -- private names are what this module is for

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from typing import Protocol, cast

from aioquic.quic.connection import QuicConnection
from aioquic.quic.rangeset import RangeSet
from aioquic.quic.recovery import QuicPacketRecovery, QuicPacketSpace

from .aioquic_trains import acknowledge, separate
from .aioquic_window import Acknowledged
from .quic_round_trips import RoundTrips

#: More ranges than this are not joined to others: each is compared with each.
_MOST_JOINED_RANGES = 16


class _Watched(Acknowledged, Protocol):
    """What the congestion controller offers beside its own."""

    round_trips: RoundTrips

    def on_ack(self, largest_packet: int, ack_delay_s: float | None) -> None: ...


@dataclass(slots=True)
class _HeldAck:
    """Acknowledgements that arrived together, as one."""

    acked: Sequence[range]
    """Ascending, with gaps between them."""
    delay_s: float
    """With the largest packet."""
    arrived_s: float | None
    """The same."""
    now_s: float
    space: QuicPacketSpace


class WatchedRecovery(QuicPacketRecovery):
    """Loss recovery that passes on what its own round-trip times leave out, and knows trains."""

    _holding = False
    _held: _HeldAck | None = None

    def on_ack_received(
        self, *, ack_rangeset: RangeSet, ack_delay: float, now: float, space: QuicPacketSpace
    ) -> None:
        """Act on an ACK frame, at once or at the end of a batch."""
        acked = list(ack_rangeset)
        if self._holding and self.handshake_confirmed and space.is_application_data:
            self.hold(acked, ack_delay, now, space)
        else:
            arrived_s = self._watched.round_trips.arrived_s
            self._take(_HeldAck(acked, ack_delay, arrived_s, now, space))

    def hold(
        self, acked: Sequence[range], delay_s: float, now_s: float, space: QuicPacketSpace
    ) -> None:
        """Act on an ACK frame of 1-RTT packets at the end of the batch, as `AcksTogether` does.

        Args:
            acked: the ranges of packets, ascending, with gaps between them.
            delay_s: what the peer says of how long it held it back.
            now_s: when the batch is taken.
            space: of the packets.
        """
        held = self._held
        if held is None:
            arrived_s = self._watched.round_trips.arrived_s
            self._held = _HeldAck(acked, delay_s, arrived_s, now_s, space)
            return
        newer, older = acked, held.acked
        is_newer = acked[-1].stop > older[-1].stop
        if not is_newer:
            newer, older = older, newer
        if newer[-1].start > older[0].start:
            # Not all of what is older lies in the last range, as it does when nothing was lost.
            if len(newer) + len(older) > _MOST_JOINED_RANGES:
                self.take_held()
                self.hold(acked, delay_s, now_s, space)
                return
            newer = _union(newer, older)
        held.acked = newer
        if is_newer:
            held.delay_s, held.arrived_s = delay_s, self._watched.round_trips.arrived_s

    def reschedule_data(self, *, now: float, speed_up_handshake: bool = False) -> None:
        """Have a probe sent, which carries what the oldest packet carried."""
        for space in self.spaces:
            if space.is_application_data and space.sent_packets:
                separate(space, next(iter(space.sent_packets)) + 1)
        super().reschedule_data(now=now, speed_up_handshake=speed_up_handshake)

    def _detect_loss(self, *, now: float, space: QuicPacketSpace) -> None:
        if space.is_application_data:
            if next(iter(space.sent_packets), inf) > space.largest_acked_packet:
                space.loss_time = None
                return  # nothing was overtaken
            separate(space, space.largest_acked_packet)
        super()._detect_loss(now=now, space=space)

    def take_held(self) -> None:
        """Act on what was held."""
        held, self._held = self._held, None
        if held is not None:
            self._take(held)

    def _take(self, ack: _HeldAck) -> None:
        acked, space, watched = ack.acked, ack.space, self._watched
        watched.round_trips.arrived_s = ack.arrived_s
        watched.on_ack(acked[-1].stop - 1, self._credible(ack.delay_s, space))
        acknowledge(space, acked, watched, ack.now_s)
        super().on_ack_received(
            # Backwards, each range finds its place at once.
            ack_rangeset=RangeSet(reversed(acked)),
            ack_delay=ack.delay_s,
            now=ack.now_s,
            space=space,
        )

    @property
    def _watched(self) -> _Watched:
        return self._cc  # type: ignore[return-value]  # ours, see `COUNTING_CONTROLLERS`

    def _credible(self, ack_delay_s: float, space: QuicPacketSpace) -> float | None:
        """What of the delay that the peer states is taken off (RFC 9002 §5.3).

        The handshake's own packets are not held back on purpose, so it states none with them; once
        the handshake is confirmed, no more counts than it has announced as its longest.
        """
        if not space.is_application_data:
            return None
        return min(ack_delay_s, self.max_ack_delay) if self.handshake_confirmed else ack_delay_s


class AcksTogether:
    """Takes the acknowledgements that arrive in its block as one, at its end.

    Each says again what the ones before it said, and to act on one costs more than to read it.
    """

    __slots__ = ("_loss",)

    def __init__(self, quic: QuicConnection) -> None:
        self._loss = cast("WatchedRecovery", quic._loss)

    def __enter__(self) -> None:
        self._loss._holding = True

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: object
    ) -> None:
        self._loss._holding = False
        if error is None:
            self._loss.take_held()


def _union(one: Sequence[range], other: Sequence[range]) -> list[range]:
    joined = RangeSet(one)
    for each in other:
        joined.add(each.start, each.stop)
    return list(joined)
