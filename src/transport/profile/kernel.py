"""The kernel's view of a TCP connection: TCP_INFO and the unacknowledged bytes (Linux)."""

from __future__ import annotations

import fcntl
import socket
import struct
import sys
import termios
from dataclasses import dataclass
from functools import cache
from typing import Self

_LINUX = sys.platform == "linux"
# struct tcp_info grows with kernels (232 bytes on 6.18); ask for more, use what comes back.
_TCP_INFO_BYTES = 280


@dataclass(slots=True)
class TcpInfo:
    """What `getsockopt(TCP_INFO)` said, in its order; None for what this kernel does not report."""

    send_mss_bytes: int | None
    unacked_packets: int | None
    rtt_us: int | None
    rtt_var_us: int | None
    congestion_window_packets: int | None
    total_retransmits: int | None
    bytes_acked: int | None
    bytes_received: int | None
    notsent_bytes: int | None
    min_rtt_us: int | None
    delivery_rate_bytes_per_s: int | None
    busy_us: int | None
    receive_window_limited_us: int | None
    send_buffer_limited_us: int | None
    bytes_sent: int | None
    bytes_retransmitted: int | None

    @classmethod
    def of(cls, raw: bytes) -> Self:
        """What `read_tcp_info` brought."""
        layout, absent = _layout(len(raw))
        return cls(*layout.unpack_from(raw), *absent)


_UINT = struct.Struct("=I")
_NO_UINT = bytes(_UINT.size)
_INT = struct.Struct("i")
_NO_INT = bytes(_INT.size)

#: name -> (offset, format), by offset; `linux/tcp.h`, struct tcp_info.
TCP_INFO_FIELDS: dict[str, tuple[int, str]] = {
    "send_mss_bytes": (16, "I"),
    "unacked_packets": (24, "I"),
    "rtt_us": (68, "I"),
    "rtt_var_us": (72, "I"),
    "congestion_window_packets": (80, "I"),
    "total_retransmits": (100, "I"),
    "bytes_acked": (120, "Q"),
    "bytes_received": (128, "Q"),
    "notsent_bytes": (144, "I"),
    "min_rtt_us": (148, "I"),
    "delivery_rate_bytes_per_s": (160, "Q"),
    "busy_us": (168, "Q"),
    "receive_window_limited_us": (176, "Q"),
    "send_buffer_limited_us": (184, "Q"),
    "bytes_sent": (200, "Q"),
    "bytes_retransmitted": (208, "Q"),
}


def _place(name: str) -> slice:
    offset, code = TCP_INFO_FIELDS[name]
    return slice(offset, offset + struct.calcsize(code))


_UNACKED, _NOTSENT = _place("unacked_packets"), _place("notsent_bytes")
_RTT = _place("rtt_us")


def read_tcp_info(sock: socket.socket) -> bytes | None:
    """Ask the kernel about a connected TCP socket; None off Linux or when it will not say.

    What it said is for `TcpInfo.of`, which takes several times as long as the asking.
    """
    if not _LINUX:
        return None
    try:
        return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_BYTES)
    except OSError:
        return None


def rtt_us_of(raw: bytes) -> int | None:
    """The smoothed round trip alone, of what `read_tcp_info` brought."""
    return int.from_bytes(raw[_RTT], sys.byteorder) if len(raw) >= _RTT.stop else None


def is_all_acked(raw: bytes) -> bool:
    """Whether nothing that was written is unacknowledged, for all that `read_tcp_info` brought."""
    return raw[_UNACKED] == raw[_NOTSENT] == _NO_UINT


def read_unacked_bytes(sock: socket.socket) -> int | None:
    """Bytes written to the socket that the peer's TCP has not acknowledged (SIOCOUTQ, tcp(7)).

    Bytes not yet sent are part of them. None off Linux.
    """
    if not _LINUX:
        return None
    try:
        count: int = _INT.unpack(fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, _NO_INT))[0]
    except OSError:
        return None
    return count


@cache
def _layout(raw_bytes: int) -> tuple[struct.Struct, list[None]]:
    """How to read a `tcp_info` of that size: all fields it has, in one step, and those it lacks."""
    formats, end = ["="], 0
    for offset, code in TCP_INFO_FIELDS.values():
        if offset + struct.calcsize(code) <= raw_bytes:
            formats.append(f"{offset - end}x{code}")
            end = offset + struct.calcsize(code)
    known = len(formats) - 1
    return struct.Struct("".join(formats)), [None] * (len(TCP_INFO_FIELDS) - known)
