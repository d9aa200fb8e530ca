"""The vocabulary of a request's timeline, and the facts that go with it.

A moment is a point of `time.monotonic_ns`. What each means is in `docs/profile.md`; the seed's
field names are given by `seed.py`.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from enum import IntEnum, StrEnum, auto
from typing import Self

from ..config import HttpVersion
from ..facts import TlsFacts

Ns = int
"""Nanoseconds of `time.monotonic_ns`."""


class Moment(IntEnum):
    """Points of one leg (one request on the wire). An IntEnum, so that it indexes a list."""

    FETCH_START = 0
    """The engine turned to this leg."""
    DNS_START = auto()
    DNS_END = auto()
    HTTP_DNS_START = auto()
    """DNS over HTTPS was asked."""
    HTTP_DNS_END = auto()
    CONNECT_START = auto()
    """The winning attempt called connect (TCP) or sent its first datagram (QUIC)."""
    TCP_CONNECTED = auto()
    """TCP only: the three-way handshake is complete."""
    PROXY_CONNECT_START = auto()
    """The engine turned to the proxy: to its name, or, without one, to its address."""
    PROXY_CONNECT_END = auto()
    """The proxy can be spoken to: TCP is connected and, for an https:// proxy, TLS complete."""
    PROXY_HANDSHAKE_START = auto()
    """Just before the operating system took the first byte of CONNECT or of SOCKS."""
    PROXY_HANDSHAKE_END = auto()
    """The read that completed the proxy's consent."""
    TLS_START = auto()
    """First handshake byte; on QUIC the same as CONNECT_START."""
    TLS_END = auto()
    """Handshake complete; on QUIC the same as CONNECT_END."""
    CONNECT_END = auto()
    """The connection can carry requests: TLS and proxy handshakes included."""
    REQUEST_START = auto()
    """Just before the operating system took the first byte of this request."""
    REQUEST_END = auto()
    """Just after the operating system took the last byte of this request's body (of its head,
    without one), or, when the sending stopped early, the last byte that was given to it."""
    REQUEST_ACKED = auto()
    """The peer's transport was seen to have acknowledged the last byte."""
    INTERIM_START = auto()
    """First byte of the first 1xx response."""
    RESPONSE_START = auto()
    """First byte of the final response head."""
    RESPONSE_HEAD_END = auto()
    """The final response head was complete."""
    RESPONSE_END = auto()
    """Last byte of the response body."""


class AttemptOutcome(StrEnum):
    """How a connection attempt ended."""

    WON = "won"
    FAILED = "failed"
    CANCELLED = "cancelled"
    """Given up: another attempt won first, or the call was ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One try to reach one address with one protocol, as happy eyeballs and the race made it."""

    address: tuple[str, int] | None
    """IP address and port; None when the name did not resolve, and for a Unix socket."""
    protocol: str
    """`tcp`, `unix`, `tls` or `quic`; with a proxy also `proxy-tls`, `connect` and `socks5`."""
    start: Ns
    end: Ns
    outcome: AttemptOutcome
    error: str | None = None
    """Why it failed; an address that `allow_address` refuses fails without being tried."""
    proxy: str | None = None
    """URL of the proxy that was tried, or through which the attempt went; no credentials."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DialRecord:
    """When and how a connection came to be; folded into the profile of its first request."""

    dns_start: Ns | None = None
    """None when no lookup was needed (IP literal) or an address was cached."""
    dns_end: Ns | None = None
    http_dns_start: Ns | None = None
    """The same of a lookup over HTTPS; only one of the two pairs is set."""
    http_dns_end: Ns | None = None
    connect_start: Ns | None = None
    tcp_connected: Ns | None = None
    proxy_connect_start: Ns | None = None
    proxy_connect_end: Ns | None = None
    proxy_handshake_start: Ns | None = None
    proxy_handshake_end: Ns | None = None
    tls_start: Ns | None = None
    tls_end: Ns | None = None
    connect_end: Ns | None = None
    attempts: tuple[Attempt, ...] = ()
    proxy: str | None = None
    """URL of the proxy, without credentials; None: directly."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionFacts:
    """The connection a request used."""

    connection_id: int
    version: HttpVersion
    peer: tuple[str, int] | None
    """The address talked to; None over a Unix socket."""
    local: tuple[str, int]
    tls: TlsFacts | None
    dial: DialRecord
    handshake_confirmed: Ns | None = None
    """QUIC: the server's HANDSHAKE_DONE was read (RFC 9001 §4.1.2)."""
    alternative: tuple[str, int] | None = None
    """Host and port of the alternative service that stands in for the origin (RFC 7838)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TransportSample:
    """The transport's own figures at one moment; None where the platform cannot tell."""

    at: Ns
    rtt_ms: float | None = None
    """Smoothed round-trip time."""
    min_rtt_ms: float | None = None
    latest_rtt_ms: float | None = None
    rtt_var_ms: float | None = None
    congestion_window_bytes: int | None = None
    bytes_in_flight: int | None = None
    retransmitted_packets: int | None = None
    retransmitted_bytes: int | None = None
    lost_packets: int | None = None
    pto_count: int | None = None
    delivery_rate_bytes_per_s: int | None = None
    busy_ms: float | None = None
    """Time with unacknowledged data since the connection began (TCP: Linux)."""
    receive_window_limited_ms: float | None = None
    """Time stalled by the peer: TCP's receive window (Linux), QUIC's flow control."""
    send_buffer_limited_ms: float | None = None
    """Time stalled by the send buffer: TCP's in the kernel (Linux), our own over QUIC."""
    congestion_limited_ms: float | None = None
    """QUIC: time stalled by congestion control, its window or its pacing."""
    application_limited_ms: float | None = None
    """QUIC: time with an unfinished request and nothing of it to send."""
    wire_sent_bytes: int | None = None
    """Bytes this connection gave to its socket so far, TLS or QUIC overhead included."""
    wire_received_bytes: int | None = None
    first_byte_sent: Ns | None = None
    """The kernel gave the segment with the request's first byte to the network device (TCP on
    Linux, with `kernel_timestamps`)."""
    last_byte_sent: Ns | None = None
    """The same of its last byte."""
    last_byte_acked: Ns | None = None
    """The kernel took in the peer's acknowledgement of the last byte."""
    datagrams_sent: int | None = None
    datagrams_received: int | None = None

    @property
    def sample(self) -> Self:
        """Itself: a reading that has been read (`recorder.Reading`)."""
        return self


@dataclass(frozen=True, slots=True)
class WallAnchor:
    """One pair of clock readings that turns moments into epoch time; taken once per process."""

    monotonic_ns: int
    epoch_ns: int

    def epoch_ms(self, moment: Ns) -> float:
        """Epoch milliseconds, with microsecond fraction."""
        return (self.epoch_ns + moment - self.monotonic_ns) // 1000 / 1000


WALL = WallAnchor(time.monotonic_ns(), time.time_ns())
