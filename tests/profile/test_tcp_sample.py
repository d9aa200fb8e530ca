"""What a profile says of a TCP connection, from what the kernel says."""

from __future__ import annotations

from dataclasses import fields, replace

from trilane.transport.connections.tcp_sample import tcp_sample
from trilane.transport.net.memory import MemoryStream, memory_pair
from trilane.transport.profile.kernel import TcpInfo

_INFO = TcpInfo(**{field.name: 2000 for field in fields(TcpInfo)})


def _stream(info: TcpInfo | None) -> MemoryStream:
    class Told(MemoryStream):
        def tcp_info(self) -> TcpInfo | None:
            return info

        def unacked_bytes(self) -> int | None:
            return 5000

    stream, _ = memory_pair()
    stream.__class__ = Told
    return stream


def test_the_kernels_figures_are_passed_on_in_our_units() -> None:
    sample = tcp_sample(_stream(_INFO), 7)

    assert sample.at == 7
    assert (sample.rtt_ms, sample.min_rtt_ms, sample.rtt_var_ms) == (2.0, 2.0, 2.0)
    assert (sample.busy_ms, sample.receive_window_limited_ms) == (2.0, 2.0)
    assert sample.send_buffer_limited_ms == 2.0
    assert sample.congestion_window_bytes == 2000 * 2000
    assert sample.bytes_in_flight == 5000 - 2000
    assert sample.retransmitted_packets == sample.retransmitted_bytes == 2000
    assert sample.delivery_rate_bytes_per_s == 2000


def test_what_was_not_measured_yet_is_not_reported() -> None:
    unmeasured = replace(
        _INFO, rtt_us=0, rtt_var_us=250_000, min_rtt_us=0xFFFF_FFFF, delivery_rate_bytes_per_s=0
    )
    sample = tcp_sample(_stream(unmeasured), 7)

    assert sample.rtt_ms is None
    assert sample.rtt_var_ms is None
    assert sample.min_rtt_ms is None
    assert sample.delivery_rate_bytes_per_s is None
    assert sample.busy_ms == 2.0


def test_without_a_kernel_there_are_our_own_counters() -> None:
    sample = tcp_sample(_stream(None), 7)

    assert sample.rtt_ms is None
    assert (sample.wire_sent_bytes, sample.wire_received_bytes) == (0, 0)
