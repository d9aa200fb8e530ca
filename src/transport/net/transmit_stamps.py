"""When the kernel gave bytes of a TCP connection to the network card, and heard that they arrived.

Linux's SO_TIMESTAMPING (Documentation/networking/timestamping.rst): each system call that sends
makes two stamps, one when the last of its bytes is handed to the device and one when that byte is
acknowledged. They come on the socket's error queue, known by the byte's number. A queue with
something in it makes the socket readable and writable for those who poll, so whoever waits on the
socket drains it; that is also how the stamps are collected without asking. The queue is short (some
150 stamps, by the size of the receive buffer), and what does not fit is dropped without a word; so
none are made for what nobody asks about.
"""

from __future__ import annotations

import socket
import struct
import sys
from collections import deque
from dataclasses import dataclass
from enum import IntEnum

from ..buffers import Buffer
from .kernel_clock import SO_TIMESTAMPING, ClockPair, ControlMessage, stamp_of

_LINUX = sys.platform == "linux"
# linux/net_tstamp.h: SOFTWARE | OPT_ID | OPT_TSONLY, which say what a stamp is to be like. As long
# as OPT_ID stays, bytes keep their numbers.
_MANNER = 1 << 4 | 1 << 7 | 1 << 11
# And TX_SOFTWARE | TX_ACK, which have the kernel make them.
_MAKING = _MANNER | 1 << 1 | 1 << 9
# linux/errqueue.h: struct sock_extended_err {u32 errno; u8 origin, type, code, pad; u32 info, data}
_EXTENDED_ERROR = struct.Struct("=IBBBBII")
_ORIGIN_TIMESTAMPING = 4
# linux/in.h, linux/in6.h: names that CPython 3.11 lacks.
_IP_RECVERR = 11
_IPV6_RECVERR = 25
_ANCILLARY_BYTES = 256
_KEYS = 1 << 32
#: Stamps kept for spans whose end is not known yet when they come.
_LATEST = 64


class _Kind(IntEnum):
    """linux/errqueue.h: SCM_TSTAMP_SND and SCM_TSTAMP_ACK."""

    SENT = 0
    ACKED = 2


@dataclass(frozen=True, slots=True)
class _Stamp:
    kind: int
    end: int
    """Bytes of the connection up to and with the stamped one."""
    at_ns: int


class SentSpan:
    """A run of bytes, such as a request, and what became of its ends: moments of `monotonic_ns`."""

    __slots__ = ("_end", "_start", "first_sent_ns", "last_acked_ns", "last_sent_ns")

    def __init__(self, start: int) -> None:
        self._start = start
        self._end: int | None = None
        self.first_sent_ns: int | None = None
        """The device got the segment with the first byte."""
        self.last_sent_ns: int | None = None
        """The device got the segment with the last byte, for the first time."""
        self.last_acked_ns: int | None = None
        """The acknowledgement of the last byte came in."""

    def take(self, stamp: _Stamp) -> None:
        """Look whether a stamp is the first one about an end of the span."""
        sent = stamp.kind == _Kind.SENT
        if sent and self.first_sent_ns is None and stamp.end > self._start:
            self.first_sent_ns = stamp.at_ns
        if self._end is None or stamp.end < self._end:
            return
        if sent and self.last_sent_ns is None:
            self.last_sent_ns = stamp.at_ns
        if stamp.kind == _Kind.ACKED and self.last_acked_ns is None:
            self.last_acked_ns = stamp.at_ns

    def end_at(self, end: int) -> None:
        """Say after how many bytes of the connection the span ends."""
        self._end = end


class TransmitStamps:
    """The stamps of one connection; made before its first byte is sent."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._spans: list[SentSpan] = []
        self._latest: deque[_Stamp] = deque(maxlen=_LATEST)
        self._highest = 0
        self._cut = False
        self._making = True
        self.sealing = False
        """What is written now ends a span, and what follows is another's: bytes that are added to a
        segment that has not left take its stamp away."""

    def begin(self, start: int) -> SentSpan:
        """Watch the bytes that follow the first `start` ones of the connection."""
        span = SentSpan(start)
        self._spans.append(span)
        self._cut = True
        return span

    def end(self, span: SentSpan, end: int) -> None:
        """Say that the span ended with the write that ended at this byte of the connection."""
        span.end_at(end)
        for stamp in self._latest:
            span.take(stamp)

    def finish(self, span: SentSpan) -> None:
        """Take the stamps that are there, and watch the span no longer."""
        self.drain()
        if span in self._spans:
            self._spans.remove(span)

    def cut(self, data: Buffer) -> tuple[Buffer, int]:
        """What to give to one system call, and its flags.

        A stamp is about the last byte of a call. So the first segment of a span goes alone, and
        MSG_EOR keeps the kernel from adding to it. It is as full as the write could make it:
        nothing else changes on the wire.

        Raises:
            OSError: the socket is closed.
        """
        self._make(wanted=True)
        if self._cut:
            self._cut = False
            segment_bytes = self._sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG)
            return memoryview(data)[: segment_bytes or None], socket.MSG_EOR
        return data, socket.MSG_EOR if self.sealing else 0

    def pause(self) -> None:
        """Make none until `cut` is next asked: what is sent until then begins and ends no span.

        To the kernel, one `sendfile` is a send for every 64 KiB. The stamps of 4 MiB on their way
        nearly fill the queue, and the one that is dropped is the last.

        Raises:
            OSError: the socket is closed.
        """
        self._make(wanted=False)

    def drain(self) -> None:
        """Take all stamps that have come; never waits."""
        clocks: ClockPair | None = None
        while True:
            try:
                _, control, _, _ = self._sock.recvmsg(0, _ANCILLARY_BYTES, socket.MSG_ERRQUEUE)
            except OSError:
                return  # nothing more, or closed
            clocks = clocks or ClockPair()
            self._take(control, clocks)

    def _make(self, *, wanted: bool) -> None:
        if wanted != self._making:
            flags = _MAKING if wanted else _MANNER
            self._sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPING, flags)
            self._making = wanted

    def _take(self, control: list[ControlMessage], clocks: ClockPair) -> None:
        what, epoch_ns = _identity(control), stamp_of(control, SO_TIMESTAMPING)
        if what is None or epoch_ns is None:
            return
        kind, key = what
        stamp = _Stamp(kind, self._offset_of(key) + 1, clocks.monotonic_ns(epoch_ns))
        self._latest.append(stamp)
        for span in self._spans:
            span.take(stamp)

    def _offset_of(self, key: int) -> int:
        """Byte number of a key, which has 32 bits and starts anew after 4 GiB."""
        ahead = (key - self._highest) % _KEYS
        offset = self._highest + (ahead if ahead < _KEYS // 2 else ahead - _KEYS)
        self._highest = max(self._highest, offset)
        return offset


def stamp_transmissions(sock: socket.socket) -> TransmitStamps | None:
    """Have the kernel stamp what a connected socket sends; None where it cannot."""
    if not _LINUX:
        return None
    try:
        sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPING, _MAKING)
    except OSError:
        return None
    return TransmitStamps(sock)


def _identity(control: list[ControlMessage]) -> tuple[int, int] | None:
    for level, kind, data in control:
        if (level, kind) in (
            (socket.IPPROTO_IP, _IP_RECVERR),
            (socket.IPPROTO_IPV6, _IPV6_RECVERR),
        ) and len(data) >= _EXTENDED_ERROR.size:
            _, origin, _, _, _, info, key = _EXTENDED_ERROR.unpack_from(data)
            return (info, key) if origin == _ORIGIN_TIMESTAMPING else None
    return None
