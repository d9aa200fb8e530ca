"""The kernel's time stamps, which are epoch time, as moments of `monotonic_ns`."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Sequence

#: A control message: level, type, data.
ControlMessage = tuple[int, int, bytes]

# asm-generic/socket.h; the few architectures with other numbers refuse these, or send other control
# messages, which are not looked at.
SO_TIMESTAMPNS = 35
SO_TIMESTAMPING = 37
# struct timespec as the kernel's old socket interface has it: two native longs. The message of
# SO_TIMESTAMPING begins with the one made by software.
_TIMESPEC = struct.Struct("@ll")


def stamp_of(control: Sequence[ControlMessage], kind: int) -> int | None:
    """The stamp among the control messages, in epoch nanoseconds; None when there is none."""
    for level, each, data in control:
        if (level, each) == (socket.SOL_SOCKET, kind):
            return epoch_ns(data)
    return None


def epoch_ns(data: bytes) -> int | None:
    """What the data of such a control message says."""
    if len(data) < _TIMESPEC.size:
        return None
    seconds: int
    nanoseconds: int
    seconds, nanoseconds = _TIMESPEC.unpack_from(data)
    return seconds * 1_000_000_000 + nanoseconds


class ClockPair:
    """Both clocks, read now; turns the kernel's time of a moment just past into `monotonic_ns`."""

    __slots__ = ("_offset_ns",)

    def __init__(self) -> None:
        now_ns, epoch_ns = time.monotonic_ns, time.time_ns
        # Being interrupted between the two readings makes an offset too small.
        self._offset_ns = max(now_ns() - epoch_ns(), now_ns() - epoch_ns(), now_ns() - epoch_ns())

    def monotonic_ns(self, epoch_ns: int | None, *, not_before_ns: int = 0) -> int:
        """The moment, within its bounds whoever sets the epoch clock; without one, the present."""
        return self.moments_ns((epoch_ns,), not_before_ns=not_before_ns)[0]

    def moments_ns(self, epoch_ns: Sequence[int | None], *, not_before_ns: int = 0) -> list[int]:
        """The same of several moments."""
        now_ns, offset_ns = time.monotonic_ns(), self._offset_ns
        return [
            now_ns if stamp is None else min(max(stamp + offset_ns, not_before_ns), now_ns)
            for stamp in epoch_ns
        ]
