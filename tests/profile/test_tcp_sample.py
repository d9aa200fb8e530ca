"""What a profile says of a TCP connection, from what the kernel says."""

from __future__ import annotations

import struct

from trilane.transport.connections.tcp_sample import TcpReading
from trilane.transport.net.memory import MemoryStream, memory_pair
from trilane.transport.profile.kernel import TCP_INFO_FIELDS


def _info(**others: int) -> bytes:
    """A struct tcp_info that is 2000 everywhere else."""
    raw = bytearray(280)
    for name, (offset, code) in TCP_INFO_FIELDS.items():
        struct.pack_into(f"={code}", raw, offset, others.get(name, 2000))
    return bytes(raw)


def _stream(info: bytes | None) -> MemoryStream:
    class Told(MemoryStream):
        def tcp_info(self) -> bytes | None:
            return info

        def unacked_bytes(self) -> int | None:
            return 5000

    stream, _ = memory_pair()
    stream.__class__ = Told
    return stream


def test_the_kernels_figures_are_passed_on_in_our_units() -> None:
    sample = TcpReading(_stream(_info()), lambda: 7).sample

    assert sample.at == 7
    assert (sample.rtt_ms, sample.min_rtt_ms, sample.rtt_var_ms) == (2.0, 2.0, 2.0)
    assert (sample.busy_ms, sample.receive_window_limited_ms) == (2.0, 2.0)
    assert sample.send_buffer_limited_ms == 2.0
    assert sample.congestion_window_bytes == 2000 * 2000
    assert sample.bytes_in_flight == 5000 - 2000
    assert sample.retransmitted_packets == sample.retransmitted_bytes == 2000
    assert sample.delivery_rate_bytes_per_s == 2000


def test_what_was_not_measured_yet_is_not_reported() -> None:
    unmeasured = _info(
        rtt_us=0, rtt_var_us=250_000, min_rtt_us=0xFFFF_FFFF, delivery_rate_bytes_per_s=0
    )
    sample = TcpReading(_stream(unmeasured), lambda: 7).sample

    assert sample.rtt_ms is None
    assert sample.rtt_var_ms is None
    assert sample.min_rtt_ms is None
    assert sample.delivery_rate_bytes_per_s is None
    assert sample.busy_ms == 2.0


def test_without_a_kernel_there_are_our_own_counters() -> None:
    sample = TcpReading(_stream(None), lambda: 7).sample

    assert sample.rtt_ms is None
    assert (sample.wire_sent_bytes, sample.wire_received_bytes) == (0, 0)
