"""The figures of a TCP connection at one moment, from the kernel and from our own counters."""

from __future__ import annotations

from ..net.stream import ByteStream
from ..profile.kernel import TcpInfo
from ..profile.moments import Ns, TransportSample

#: net/ipv4/tcp.c, tcp_init_sock: what the kernel's minimum begins with; the others begin with 0.
_NO_MIN_RTT_US = 0xFFFF_FFFF


def tcp_sample(stream: ByteStream, at: Ns) -> TransportSample:
    """What is known of the stream now, `at` on the recorder's clock; None where nobody can tell.

    What the kernel has not measured yet is None, too, and not the figure it begins with.
    """
    wire = stream.wire
    info = stream.tcp_info()
    if info is None:
        return TransportSample(
            at=at, wire_sent_bytes=wire.sent_bytes, wire_received_bytes=wire.received_bytes
        )
    return TransportSample(
        at=at,
        rtt_ms=_ms(info.rtt_us or None),
        min_rtt_ms=None if info.min_rtt_us == _NO_MIN_RTT_US else _ms(info.min_rtt_us),
        rtt_var_ms=_ms(info.rtt_var_us) if info.rtt_us else None,
        congestion_window_bytes=_congestion_window_bytes(info),
        bytes_in_flight=_in_flight_bytes(stream.unacked_bytes(), info),
        retransmitted_packets=info.total_retransmits,
        retransmitted_bytes=info.bytes_retransmitted,
        delivery_rate_bytes_per_s=info.delivery_rate_bytes_per_s or None,
        busy_ms=_ms(info.busy_us),
        receive_window_limited_ms=_ms(info.receive_window_limited_us),
        send_buffer_limited_ms=_ms(info.send_buffer_limited_us),
        wire_sent_bytes=wire.sent_bytes,
        wire_received_bytes=wire.received_bytes,
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
