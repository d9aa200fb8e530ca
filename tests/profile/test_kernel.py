"""The kernel's struct tcp_info, of whatever length a kernel gives."""

from __future__ import annotations

import socket
import struct
from typing import cast

import pytest

from trilane.transport.profile.kernel import TcpInfo, read_tcp_info

#: Every 4 bytes are the number of their own offset, so that each field tells where it was read.
_INFO = b"".join(struct.pack("=I", offset) for offset in range(0, 280, 4))


class _Socket:
    """Answers `getsockopt` with the beginning of `_INFO`."""

    def __init__(self, known_bytes: int) -> None:
        self._known_bytes = known_bytes

    def getsockopt(self, _level: int, _name: int, room_bytes: int) -> bytes:
        return _INFO[: min(self._known_bytes, room_bytes)]


def _read(known_bytes: int) -> TcpInfo:
    raw = read_tcp_info(cast("socket.socket", _Socket(known_bytes)))
    assert raw is not None
    return TcpInfo.of(raw)


def test_reads_each_field_at_its_place() -> None:
    """`linux/tcp.h`; the 64-bit ones hold two of the numbers."""
    info = _read(280)
    found = (info.send_mss_bytes, info.rtt_us, info.congestion_window_packets, info.min_rtt_us)
    assert found == (16, 68, 80, 148)
    assert info.bytes_retransmitted == struct.unpack("=Q", struct.pack("=II", 208, 212))[0]


@pytest.mark.parametrize("known_bytes", [232, 216, 215, 160, 104, 0])
def test_an_older_kernel_knows_fewer_fields(known_bytes: int) -> None:
    """What lies behind the end of its struct is None, the rest is as ever."""
    info, full = _read(known_bytes), _read(280)
    ends = {
        "rtt_us": 72,
        "total_retransmits": 104,
        "notsent_bytes": 148,
        "bytes_retransmitted": 216,
    }
    for name, end in ends.items():
        expected = getattr(full, name) if end <= known_bytes else None
        assert getattr(info, name) == expected, name
