"""Collects the moments of one request. Every call is synchronous and costs well under 1 µs."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from ..config import HttpVersion
from ..errors import Phase
from ..quality.estimate import QualityEstimate
from .moments import Attempt, ConnectionFacts, DialRecord, Moment, Ns, TransportSample


class Reading(Protocol):
    """Figures of a transport that have been taken, but perhaps not been read yet."""

    @property
    def rtt_ms(self) -> float | None:
        """Smoothed round-trip time."""

    @property
    def sample(self) -> TransportSample:
        """All figures."""


# By plain int: an enum's members are looked up and turned into one each time.
_FETCH_START = int(Moment.FETCH_START)
_NO_TIMES: list[Ns | None] = [None] * len(Moment)


@dataclass(slots=True)
class Leg:
    """One request on the wire: the first, a redirect's, or a retry's."""

    url: str
    is_redirect: bool = False
    times: list[Ns | None] = field(default_factory=_NO_TIMES.copy)
    attempts: list[Attempt] = field(default_factory=list)
    """Connection attempts made for this leg, the lost ones included."""
    connection: ConnectionFacts | None = None
    proxy: str | None = None
    """URL of the proxy it went, or was to go, through."""
    socket_reused: bool = False
    reading: Reading | None = None
    """Makes `sample` when somebody asks for it."""
    status: int | None = None
    error: str | None = None
    body_bytes: int | None = None
    """Announced body length; None without one."""
    body_sent_bytes: int = 0
    """Body bytes given to the operating system."""
    body_acked_bytes: int | None = None
    """Body bytes known to be acknowledged; None when the platform cannot tell."""
    sent_bytes: int = 0
    """HTTP-layer bytes: head, framing, body."""
    received_bytes: int = 0
    response_body_bytes: int = 0
    """Body bytes of the response so far."""
    response_body_with_head_bytes: int = 0
    """Those of them that the read brought which completed the head."""
    upload_complete: bool = False
    """The whole body was given to the operating system."""
    high_performance: bool = False
    """A bulk sender carried the body."""

    @property
    def sample(self) -> TransportSample | None:
        """The transport's figures, as they were when the response began."""
        return None if self.reading is None else self.reading.sample

    @sample.setter
    def sample(self, sample: TransportSample | None) -> None:
        self.reading = sample

    @property
    def carried_by_quic(self) -> bool:
        """Its round trips are those to the origin, through a proxy, too."""
        return self.connection is not None and self.connection.version is HttpVersion.HTTP3

    @property
    def connection_unproven(self) -> bool:
        """Its secure connection has not completed its handshake (QUIC with early data)."""
        return self.connection is not None and self.connection.tls is None


class Recorder:
    """The record of one call: its own moments and its legs, oldest first."""

    __slots__ = (
        "failed",
        "http_dns",
        "invoke_start",
        "legs",
        "now",
        "quality",
        "queue_end",
        "queue_start",
    )

    def __init__(self, clock: Callable[[], Ns] = time.monotonic_ns) -> None:
        self.now = clock
        """Reads the clock moments are taken from."""
        self.invoke_start: Ns = clock()
        self.queue_start: Ns | None = None
        self.queue_end: Ns | None = None
        self.failed: Ns | None = None
        """When the call ended with an error."""
        self.legs: list[Leg] = []
        self.http_dns = False
        """Names are looked up over HTTPS, when one has to be."""
        self.quality: QualityEstimate | None = None
        """What was known of the network when the call ended."""

    @property
    def leg(self) -> Leg:
        """The leg in progress."""
        return self.legs[-1]

    @property
    def phase(self) -> Phase:
        """What the call is doing."""
        if not self.legs:
            return Phase.QUEUE
        leg = self.leg
        if leg.times[Moment.RESPONSE_START] is not None:
            return Phase.RECEIVE
        if leg.upload_complete:
            return Phase.WAIT
        return Phase.SEND if leg.connection is not None else Phase.CONNECT

    def begin_leg(self, url: str, *, is_redirect: bool = False) -> Leg:
        """Turn to a new request on the wire; marks its FETCH_START."""
        leg = Leg(url, is_redirect)
        leg.times[_FETCH_START] = self.now()
        self.legs.append(leg)
        return leg

    def mark(self, moment: Moment, at: Ns | None = None) -> None:
        """Record a moment of the current leg, now or at a clock value already taken."""
        self.legs[-1].times[moment] = self.now() if at is None else at

    def mark_first(self, moment: Moment, at: Ns | None = None) -> None:
        """Record a moment unless the current leg already has it."""
        times = self.legs[-1].times
        if times[moment] is None:
            times[moment] = self.now() if at is None else at

    def use_connection(self, facts: ConnectionFacts, *, reused: bool) -> None:
        """Say which connection carries the leg; a fresh one brings its dial's moments along."""
        leg = self.legs[-1]
        leg.connection = facts
        leg.socket_reused = reused
        leg.proxy = facts.dial.proxy
        if not reused:
            self.use_dial(facts.dial)

    def use_dial(self, dial: DialRecord) -> None:
        """Take over what happened while a connection was made for this leg, or failed to be."""
        leg = self.legs[-1]
        leg.proxy = dial.proxy
        leg.attempts.extend(dial.attempts)
        for moment, at in (
            (Moment.DNS_START, dial.dns_start),
            (Moment.DNS_END, dial.dns_end),
            (Moment.HTTP_DNS_START, dial.http_dns_start),
            (Moment.HTTP_DNS_END, dial.http_dns_end),
            (Moment.CONNECT_START, dial.connect_start),
            (Moment.TCP_CONNECTED, dial.tcp_connected),
            (Moment.PROXY_CONNECT_START, dial.proxy_connect_start),
            (Moment.PROXY_CONNECT_END, dial.proxy_connect_end),
            (Moment.PROXY_HANDSHAKE_START, dial.proxy_handshake_start),
            (Moment.PROXY_HANDSHAKE_END, dial.proxy_handshake_end),
            (Moment.TLS_START, dial.tls_start),
            (Moment.TLS_END, dial.tls_end),
            (Moment.CONNECT_END, dial.connect_end),
        ):
            leg.times[moment] = at
