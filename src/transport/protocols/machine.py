"""The one sans-IO interface behind which HTTP/1.1, HTTP/2 and HTTP/3 look alike.

A driver feeds a machine what it read, drains its events, and sends what it wants sent. Machines
never block, never read a clock and never raise foreign exceptions: what a peer does wrong comes
back as `ConnectionTerminated` or `StreamReset`; calling a machine against its own rules is a bug
of ours and raises `RuntimeError`.

When values may change: `send_budget`, `transmit` and `next_timer_s` after *any* other call on the
machine, and at no other time. Spurious calls are harmless.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

from ..buffers import Buffer
from ..config import HttpVersion
from ..message import RequestHead
from .events import Event


class StreamTotals(NamedTuple):
    """HTTP-layer bytes of one stream so far: head, framing and body (contract: sendBytesCount)."""

    sent_bytes: int
    received_bytes: int


class HttpMachine(Protocol):
    """What the three protocols have in common."""

    version: HttpVersion

    @property
    def available_streams(self) -> int:
        """How many more requests may begin now; 0 after GOAWAY or termination."""
        ...

    def send_head(self, head: RequestHead, *, end: bool) -> int:
        """Begin a request and return its stream id. `end`: no body follows."""
        ...

    def send_budget(self, stream_id: int) -> int:
        """Body bytes that may be passed to `send_body` now; 0 means wait for StreamWritable.

        The least of the peer's flow-control windows and the room in our own bounded buffers;
        0 for a stream that is closed or reset.
        """
        ...

    def send_body(self, stream_id: int, data: Buffer, *, end: bool) -> None:
        """Queue body bytes, at most `send_budget`; `end` marks the last call and may be empty.

        The data is copied or fully consumed by the next `transmit`; the caller may reuse its
        buffer once what `transmit` returned has been sent.
        """
        ...

    def reset_stream(self, stream_id: int, *, response_complete: bool = False) -> None:
        """Give the stream up: RST_STREAM / RESET_STREAM + STOP_SENDING. A no-op when it is over.

        `response_complete`: the response was read to its end and only the body is cut short, so
        the code is NO_ERROR / H3_NO_ERROR rather than CANCEL / H3_REQUEST_CANCELLED.
        """
        ...

    def stream_totals(self, stream_id: int) -> StreamTotals:
        """HTTP-layer byte counts of a stream; valid until `forget_stream`."""
        ...

    def forget_stream(self, stream_id: int) -> None:
        """Drop what is kept about a finished stream."""
        ...

    def close(self) -> None:
        """Begin an orderly end: GOAWAY / CONNECTION_CLOSE; what remains is in `transmit`."""
        ...


class StreamMachine(HttpMachine, Protocol):
    """A machine over a byte stream (HTTP/1.1, HTTP/2)."""

    def receive_data(self, data: bytes) -> list[Event]:
        """Take bytes read from the peer; `b""` means end of file."""
        ...

    def transmit(self) -> list[Buffer]:
        """Take everything that is to be sent now, in order; the caller sends all of it."""
        ...


Address = tuple[str, int]
"""IP address text and port. IPv6 scope ids are not carried."""


@dataclass(frozen=True, slots=True)
class Datagram:
    """One UDP payload and where it goes."""

    data: bytes
    address: Address


class DatagramMachine(HttpMachine, Protocol):
    """A machine over datagrams (HTTP/3). `now_s` is the driver's monotonic clock in seconds."""

    def receive_datagram(self, data: bytes, address: Address, now_s: float) -> list[Event]:
        """Take one datagram."""
        ...

    def transmit(self, now_s: float) -> list[Datagram]:
        """Take the datagrams that congestion control and pacing allow now."""
        ...

    def next_timer_s(self) -> float | None:
        """When `handle_timer` wants to be called; None for never."""
        ...

    def handle_timer(self, now_s: float) -> list[Event]:
        """Let time pass. Harmless when called early."""
        ...
