"""What aioquic's congestion controllers and pacer leave out of RFC 9002: §7.7 and §7.8.

Part of `aioquic_private`, under the same canary test, and imported by its parts alone.

aioquic lets a window grow that is not used, until its pacer hands out one packet at a time: the
work per byte then doubles within a few hundred megabytes, and the first loss finds a window that
says nothing about the path.
"""

from __future__ import annotations

from typing import Protocol, cast

from aioquic.quic.congestion.base import QuicCongestionControl, QuicRttMonitor
from aioquic.quic.packet_builder import QuicSentPacket
from aioquic.quic.recovery import QuicPacketPacer

#: RFC 9002 §7.7: faster than window / round trip, so that pacing itself does not leave the window
#: unused.
_PACING_GAIN = 1.25
#: RFC 9002 §7.2: the initial window, to which §7.7 limits bursts.
_INITIAL_PACKETS = 10
_INITIAL_BYTES = 14_720
#: §7.7 allows more on a path that is known to absorb it. What the path has carried in this time,
#: again and again, it is trusted to take at once; timers are no finer than half of it.
_BURST_S = 0.002
#: Never more than a train holds.
_LARGEST_BURST_BYTES = 195_000
#: What is sent in this time is worth waiting for, up to two segmented sends; far less than a burst,
#: and next to nothing of the window of a path whose round trips take longer than a fast network's.
_WORTHWHILE_S = 0.0004
_MOST_WORTHWHILE_BYTES = 130_000
_LONGEST_PACKET_S = 1.0
_SHORTEST_RTT_S = 1e-6
#: Who waits until exactly when he was told must find the bucket full enough, rounding or not.
_CLOCK_STEP_S = 1e-6
#: Less of a packet's time than this is not enough for one. More is a rounding.
_WHOLE_PACKET = 0.99
#: This share of the window, but no more packets than aioquic's pacer lets pass at once, may be
#: unused while the window still counts as used.
_SPARE_SHARE = 4
_SPARE_PACKETS = 16


#: RFC 9406 §4.2, MIN_RTT_THRESH: what a round trip must have grown by to end slow start. Without
#: it, the noise of one of less than 1 ms ends it far below what the path carries.
_LEAST_RTT_GROWTH_S = 0.004


class PatientRttMonitor(QuicRttMonitor):
    """Tells slow start to end only when the round trip has grown by what RFC 9406 asks for."""

    def is_rtt_increasing(self, *, now: float, rtt: float) -> bool:
        """Take a round trip; whether they have been growing for a while."""
        increasing = super().is_rtt_increasing(now=now, rtt=rtt)
        if self._sample_min is None or self._filtered_min is None:
            return False
        return increasing and self._sample_min - self._filtered_min >= _LEAST_RTT_GROWTH_S


class SentBytes(Protocol):
    """Packets as a controller sees them; one object may stand for many."""

    sent_time: float
    sent_bytes: int


class Acknowledged(Protocol):
    """What takes acknowledgements of many packets at once."""

    def on_packets_acked(self, *, now: float, count: int, sent: SentBytes) -> None:
        """Take note that so many packets, sent together, arrived."""
        ...


class UsedWindow(QuicCongestionControl):
    """Lets the window grow only while it is used (RFC 9002 §7.8); goes before a controller."""

    _max_datagram_size: int
    _ack_s = -1.0
    _grows = True

    def on_packet_acked(self, *, now: float, packet: QuicSentPacket) -> None:
        """Take note that a packet arrived."""
        if self._may_grow(now):
            # The controller that follows in the method resolution order implements it.
            super().on_packet_acked(now=now, packet=packet)  # type: ignore[safe-super]
        else:
            self._keep(packet)

    def on_packets_acked(self, *, now: float, count: int, sent: SentBytes) -> None:
        """Take note that so many packets, sent together, arrived.

        What is true of one acknowledged packet is true of all their bytes, but where slow start
        ends among them.
        """
        if not self._may_grow(now):
            self._keep(sent)
            return
        window, threshold, whole = self.congestion_window, self.ssthresh, sent.sent_bytes
        if threshold is None or not window < threshold < window + whole:
            super().on_packet_acked(now=now, packet=cast("QuicSentPacket", sent))  # type: ignore[safe-super]
            self.on_grown(window, count)
            return
        for left in range(count, 0, -1):
            sent.sent_bytes = whole // left
            whole -= sent.sent_bytes
            super().on_packet_acked(now=now, packet=cast("QuicSentPacket", sent))  # type: ignore[safe-super]

    def on_grown(self, before: int, packets: int) -> None:
        """So many packets were acknowledged in one call, before which the window was this large."""

    def _may_grow(self, now: float) -> bool:
        # One acknowledgement reports many packets; what counts is what was in flight before it.
        if now != self._ack_s:
            self._grows = self._used()
            if not self._grows:
                self.on_unused_time(0.0 if self._ack_s < 0 else now - self._ack_s)
            self._ack_s = now
        return self._grows

    def _keep(self, packet: QuicSentPacket | SentBytes) -> None:
        self.bytes_in_flight -= packet.sent_bytes
        if packet.sent_time is not None:
            self.on_kept(packet.sent_time)

    def on_kept(self, sent_s: float) -> None:
        """Packets were acknowledged that do not make the window grow, sent at this time."""

    def on_unused_time(self, duration_s: float) -> None:
        """The window was not used for so long."""

    def _used(self) -> bool:
        window = self.congestion_window
        if self.ssthresh is None or window < self.ssthresh:
            return 2 * self.bytes_in_flight > window
        packet = self._max_datagram_size
        # Less than a packet cannot be used.
        spare = max(min(window // _SPARE_SHARE, _SPARE_PACKETS * packet), packet)
        return self.bytes_in_flight + spare >= window


class Pacer(QuicPacketPacer):
    """A bucket of sending time (RFC 9002 §7.7) that is spent in bursts and refilled by time.

    Emptied, it lets nothing pass until it is half full again: many packets in one call cost a
    fraction of what they cost one by one.
    """

    _resting = False
    """It is being refilled."""
    _saving = False
    """The same for the next train."""

    def next_send_time(self, now: float) -> float | None:  # type: ignore[override]  # annotated as never None
        """When the next packet may be sent; None for now."""
        if self.packet_time is None:
            return None
        self.update_bucket(now=now)
        due_s = self._due_s(now, refills=self._resting or self.bucket_time <= 0)
        self._resting = due_s is not None
        return due_s

    def next_train_time(self, now: float) -> float | None:
        """The same of a train, which is of whole packets and never empties the bucket quite."""
        if self.packet_time is None:
            return None
        self.update_bucket(now=now)
        low = self.bucket_time < _WHOLE_PACKET * self.packet_time
        due_s = self._due_s(now, refills=self._saving or self._resting or low)
        self._saving = due_s is not None
        return due_s

    def update_after_send(self, now: float) -> None:
        """Account for one packet."""
        self.update_bucket(now=now)
        self.spend(1)

    def room(self, now: float) -> int:
        """Packets that a train may have now."""
        if self.packet_time is None:
            return _LARGEST_BURST_BYTES // self._max_datagram_size
        if self.next_train_time(now) is not None:
            return 0
        return max(1, int(self.bucket_time / self.packet_time))

    @property
    def worthwhile(self) -> int:
        """How many packets the window should have room for before a train is begun."""
        if self.packet_time is None:
            return 0
        most = _MOST_WORTHWHILE_BYTES // self._max_datagram_size
        return min(int(_WORTHWHILE_S / self.packet_time), most)

    def spend(self, packets: int) -> None:
        """Account for packets that were sent; what exceeds the bucket is owed."""
        if self.packet_time is not None:
            self.bucket_time -= packets * self.packet_time

    def update_rate(self, congestion_window: int, smoothed_rtt: float) -> None:
        """Follow the window and the round trip."""
        rate = _PACING_GAIN * congestion_window / max(smoothed_rtt, _SHORTEST_RTT_S)
        self.packet_time = min(self._max_datagram_size / rate, _LONGEST_PACKET_S)
        initial = max(_INITIAL_BYTES, 2 * self._max_datagram_size)
        initial = min(_INITIAL_PACKETS * self._max_datagram_size, initial)
        burst = max(initial, min(rate * _BURST_S, _LARGEST_BURST_BYTES))
        self.bucket_max = burst / rate
        self.bucket_time = min(self.bucket_time, self.bucket_max)

    def _due_s(self, now: float, *, refills: bool) -> float | None:
        """When there is as much as is waited for; None for now."""
        wanted_s = self.bucket_max / 2 if refills else 0.0
        left_s = wanted_s - self.bucket_time
        return now + left_s if left_s > _CLOCK_STEP_S else None
