"""The figures of a TCP connection at one moment, from the kernel and from our own counters."""

from __future__ import annotations

from collections.abc import Callable

from ..net.stream import ByteStream
from ..profile.kernel import TcpInfo, is_all_acked, rtt_us_of
from ..profile.moments import Ns, TransportSample

#: net/ipv4/tcp.c, tcp_init_sock: what the kernel's minimum begins with; the others begin with 0.
_NO_MIN_RTT_US = 0xFFFF_FFFF


class TcpReading:
    """What was known of the stream at one moment; read when somebody wants to see it."""

    __slots__ = (
        "_raw",
        "_received_bytes",
        "_sample",
        "_sent_bytes",
        "_unacked_bytes",
        "acked_bytes",
        "at",
    )

    def __init__(self, stream: ByteStream, clock: Callable[[], Ns]) -> None:
        """Ask now; the clock is the recorder's."""
        self._raw = raw = stream.tcp_info()
        wire = stream.wire
        self._sent_bytes, self._received_bytes = wire.sent_bytes, wire.received_bytes
        unacked: int | None = None
        if raw is not None:
            # As a rule nothing is, which needs no second call.
            unacked = 0 if is_all_acked(raw) else stream.unacked_bytes()
        self._unacked_bytes = unacked
        self.acked_bytes = None if unacked is None else self._sent_bytes - unacked
        """How many of the wire's bytes were acknowledged; None where nobody can tell."""
        self.at: Ns = clock()
        """When that was known."""
        self._sample: TransportSample | None = None

    @property
    def rtt_ms(self) -> float | None:
        """Smoothed round-trip time."""
        return None if self._raw is None else _ms(rtt_us_of(self._raw) or None)

    @property
    def sample(self) -> TransportSample:
        """All figures; None where nobody can tell.

        What the kernel has not measured yet is None, too, and not the figure it begins with.
        """
        if self._sample is None:
            self._sample = self._read()
        return self._sample

    def _read(self) -> TransportSample:
        if self._raw is None:
            return TransportSample(
                at=self.at,
                wire_sent_bytes=self._sent_bytes,
                wire_received_bytes=self._received_bytes,
            )
        info = TcpInfo.of(self._raw)
        return TransportSample(
            at=self.at,
            rtt_ms=_ms(info.rtt_us or None),
            min_rtt_ms=None if info.min_rtt_us == _NO_MIN_RTT_US else _ms(info.min_rtt_us),
            rtt_var_ms=_ms(info.rtt_var_us) if info.rtt_us else None,
            congestion_window_bytes=_congestion_window_bytes(info),
            bytes_in_flight=_in_flight_bytes(self._unacked_bytes, info),
            retransmitted_packets=info.total_retransmits,
            retransmitted_bytes=info.bytes_retransmitted,
            delivery_rate_bytes_per_s=info.delivery_rate_bytes_per_s or None,
            busy_ms=_ms(info.busy_us),
            receive_window_limited_ms=_ms(info.receive_window_limited_us),
            send_buffer_limited_ms=_ms(info.send_buffer_limited_us),
            wire_sent_bytes=self._sent_bytes,
            wire_received_bytes=self._received_bytes,
        )


def _ms(microseconds: int | None) -> float | None:
    return None if microseconds is None else microseconds / 1000


def _congestion_window_bytes(info: TcpInfo) -> int | None:
    # The kernel counts it in segments of the current size.
    if info.congestion_window_packets is None or info.send_mss_bytes is None:
        return None
    return info.congestion_window_packets * info.send_mss_bytes


def _in_flight_bytes(unacked_bytes: int | None, info: TcpInfo) -> int | None:
    # Unacknowledged includes what still waits in the send buffer; that is not in flight.
    if unacked_bytes is None or info.notsent_bytes is None:
        return None
    return max(0, unacked_bytes - info.notsent_bytes)
