"""The figures of a QUIC connection at one moment, from its loss recovery and from its socket."""

from __future__ import annotations

import time

from ..net.datagram import DatagramCounters
from ..profile.moments import TransportSample
from ..protocols.aioquic_private import RecoveryFigures
from ..protocols.send_limits import LimitTimes


class QuicReading:
    """What was known of the connection at one moment; laid out when somebody wants to see it."""

    __slots__ = ("_at", "_counted", "_figures", "_limits", "_sample")

    def __init__(
        self, figures: RecoveryFigures, limits: LimitTimes, counters: DatagramCounters
    ) -> None:
        """Keep the figures, and what the socket has counted by now."""
        self._at = time.monotonic_ns()
        self._figures = figures
        self._limits = limits
        self._counted = (
            counters.sent_bytes,
            counters.received_bytes,
            counters.sent_datagrams,
            counters.received_datagrams,
        )
        self._sample: TransportSample | None = None

    @property
    def rtt_ms(self) -> float | None:
        """Smoothed round-trip time."""
        return _ms(self._figures.smoothed_rtt_s)

    @property
    def sample(self) -> TransportSample:
        """All figures."""
        if self._sample is None:
            self._sample = self._lay_out()
        return self._sample

    def _lay_out(self) -> TransportSample:
        figures, limits = self._figures, self._limits
        sent_bytes, received_bytes, sent_datagrams, received_datagrams = self._counted
        return TransportSample(
            at=self._at,
            rtt_ms=_ms(figures.smoothed_rtt_s),
            min_rtt_ms=_ms(figures.min_rtt_s),
            latest_rtt_ms=_ms(figures.latest_rtt_s),
            rtt_var_ms=_ms(figures.rtt_variance_s),
            congestion_window_bytes=figures.congestion_window_bytes,
            bytes_in_flight=figures.bytes_in_flight,
            retransmitted_packets=figures.retransmitted_packets,
            retransmitted_bytes=figures.retransmitted_bytes,
            lost_packets=figures.lost_packets,
            pto_count=figures.pto_count,
            busy_ms=_ms(limits.busy_s),
            receive_window_limited_ms=_ms(limits.flow_control_s),
            send_buffer_limited_ms=_ms(limits.buffer_s),
            congestion_limited_ms=_ms(limits.congestion_s),
            application_limited_ms=_ms(limits.application_s),
            wire_sent_bytes=sent_bytes,
            wire_received_bytes=received_bytes,
            datagrams_sent=sent_datagrams,
            datagrams_received=received_datagrams,
        )


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else seconds * 1000
