"""The profile of one call: a pure fold over its record, checked against its own order.

All moments are nanoseconds of `time.monotonic_ns` (`Ns`); None means that it did not happen.
`Profile.seed` gives the seed's view: epoch milliseconds under the seed's names.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..config import HttpVersion
from ..facts import TlsFacts
from ..message import Origin, parse_url
from ..quality.estimate import QualityEstimate
from .moments import WALL, Attempt, Moment, Ns, TransportSample, WallAnchor
from .recorder import Leg, Recorder


@dataclass(frozen=True, slots=True, kw_only=True)
class LegSummary:
    """One request on the wire: the first, a redirect's, or a retry's."""

    url: str
    is_redirect: bool
    fetch_start: Ns
    response_end: Ns | None
    status: int | None
    error: str | None
    http_version: HttpVersion | None
    sent_bytes: int
    received_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What happened when; see `docs/profile.md` for the event behind each field."""

    url: str | None
    """URL of the last leg."""
    invoke_start: Ns
    queue_start: Ns | None
    queue_end: Ns | None
    redirect_start: Ns | None
    """Start of the first leg, when there was a redirect."""
    redirect_end: Ns | None
    """Start of the last leg, when there was a redirect."""
    redirects_same_origin: bool
    """Every hop stayed on the first origin; the seed shows redirect times only then."""
    fetch_start: Ns | None
    dns_start: Ns | None
    dns_end: Ns | None
    http_dns: bool
    """Names are looked up over HTTPS, when one has to be."""
    http_dns_start: Ns | None
    http_dns_end: Ns | None
    connect_start: Ns | None
    tcp_connected: Ns | None
    proxy_connect_start: Ns | None
    proxy_connect_end: Ns | None
    proxy_handshake_start: Ns | None
    proxy_handshake_end: Ns | None
    tls_start: Ns | None
    tls_end: Ns | None
    connect_end: Ns | None
    handshake_confirmed: Ns | None
    """QUIC: the server was seen to have completed the handshake, too; None over TCP, on a used
    connection, and when the response was faster."""
    request_start: Ns | None
    request_end: Ns | None
    request_acked: Ns | None
    """The peer's transport was seen to have acknowledged the last byte of the request."""
    interim_start: Ns | None
    response_start: Ns | None
    response_head_end: Ns | None
    response_end: Ns | None
    failed: Ns | None
    """The call ended with an error; None when it has a response."""
    status: int | None
    http_version: HttpVersion | None
    proxy: str | None
    """URL of the proxy the last leg went through, without credentials; None: directly."""
    peer_ip: str | None
    port: int | None
    connection_id: int | None
    socket_reused: bool
    tls: TlsFacts | None
    transport: TransportSample | None
    """The transport's own figures at the start of the response."""
    attempts: tuple[Attempt, ...]
    """Every connection attempt of every leg, the lost ones included."""
    legs: tuple[LegSummary, ...]
    sent_bytes: int
    """HTTP-layer bytes sent, head and framing included, over all legs."""
    received_bytes: int
    body_bytes: int | None
    """Length announced for the body of the last leg; None without a body or a length."""
    body_sent_bytes: int
    body_acked_bytes: int | None
    upload_complete: bool
    """The operating system took the whole request; False when the peer answered early."""
    early_response: bool
    """The final response began before the request had been sent."""
    high_performance: bool
    quality: QualityEstimate | None
    """What was known of the network when the call ended, from it and others before; None when it
    was made without a profile, or with a client that does not run."""
    wall: WallAnchor = WALL

    @property
    def rtt_ms(self) -> float | None:
        """Smoothed round-trip time of the connection."""
        return self.transport.rtt_ms if self.transport else None

    @property
    def throughput_kbps(self) -> float | None:
        """This response's own download rate; None when it arrived in one piece."""
        if self.response_start is None or self.response_end is None or not self.legs:
            return None
        duration_ns = self.response_end - self.response_start
        return self.legs[-1].received_bytes * 8e6 / duration_ns if duration_ns > 0 else None

    def seed(self) -> dict[str, object]:
        """The seed's dictionary: its spellings, epoch milliseconds, its 0 and fetchStart rules."""
        from .seed import seed_view  # noqa: PLC0415 - the view is built on this module

        return seed_view(self)

    def __str__(self) -> str:
        from .waterfall import waterfall_text  # noqa: PLC0415 - drawn only when asked for

        return waterfall_text(self)

    def __rich__(self) -> object:
        from .waterfall import Waterfalls  # noqa: PLC0415 - drawn only when asked for

        return Waterfalls([("", self)])


def fold(recorder: Recorder) -> Profile:
    """Turn a record, complete or not, into its profile."""
    legs = recorder.legs
    last = legs[-1] if legs else Leg("")
    redirected = any(leg.is_redirect for leg in legs)
    times = _clamped(last)
    facts = last.connection
    return Profile(
        url=last.url or None,
        invoke_start=recorder.invoke_start,
        queue_start=recorder.queue_start,
        queue_end=recorder.queue_end,
        redirect_start=legs[0].times[Moment.FETCH_START] if redirected else None,
        redirect_end=last.times[Moment.FETCH_START] if redirected else None,
        redirects_same_origin=redirected and len({_origin(leg.url) for leg in legs}) == 1,
        fetch_start=times[Moment.FETCH_START],
        dns_start=times[Moment.DNS_START],
        dns_end=times[Moment.DNS_END],
        http_dns=recorder.http_dns,
        http_dns_start=times[Moment.HTTP_DNS_START],
        http_dns_end=times[Moment.HTTP_DNS_END],
        connect_start=times[Moment.CONNECT_START],
        tcp_connected=times[Moment.TCP_CONNECTED],
        proxy_connect_start=times[Moment.PROXY_CONNECT_START],
        proxy_connect_end=times[Moment.PROXY_CONNECT_END],
        proxy_handshake_start=times[Moment.PROXY_HANDSHAKE_START],
        proxy_handshake_end=times[Moment.PROXY_HANDSHAKE_END],
        tls_start=times[Moment.TLS_START],
        tls_end=times[Moment.TLS_END],
        connect_end=times[Moment.CONNECT_END],
        handshake_confirmed=_confirmed(last),
        request_start=times[Moment.REQUEST_START],
        request_end=times[Moment.REQUEST_END],
        request_acked=times[Moment.REQUEST_ACKED],
        interim_start=times[Moment.INTERIM_START],
        response_start=times[Moment.RESPONSE_START],
        response_head_end=times[Moment.RESPONSE_HEAD_END],
        response_end=times[Moment.RESPONSE_END],
        failed=recorder.failed,
        status=last.status,
        http_version=facts.version if facts else None,
        proxy=last.proxy,
        peer_ip=facts.peer[0] if facts and facts.peer else None,
        port=facts.peer[1] if facts and facts.peer else None,
        connection_id=facts.connection_id if facts else None,
        socket_reused=last.socket_reused,
        tls=facts.tls if facts else None,
        transport=last.sample,
        attempts=tuple(attempt for leg in legs for attempt in leg.attempts),
        legs=tuple(_summary(leg) for leg in legs),
        sent_bytes=sum(leg.sent_bytes for leg in legs),
        received_bytes=sum(leg.received_bytes for leg in legs),
        body_bytes=last.body_bytes,
        body_sent_bytes=last.body_sent_bytes,
        body_acked_bytes=last.body_acked_bytes,
        upload_complete=last.upload_complete,
        early_response=_is_early(last, times[Moment.REQUEST_END], times[Moment.RESPONSE_START]),
        high_performance=last.high_performance,
        quality=recorder.quality,
    )


def _is_early(leg: Leg, request_end: Ns | None, response_start: Ns | None) -> bool:
    """Whether the response began before the request had been sent."""
    if response_start is None:
        return False
    return not leg.upload_complete or (request_end or response_start) > response_start


def _clamped(leg: Leg) -> list[Ns | None]:
    """A connection begun before the leg did not hold it up until the leg began (Fetch §4.6)."""
    if leg.socket_reused:
        return leg.times
    times = list(leg.times)
    fetch_start = times[Moment.FETCH_START]
    if fetch_start is not None:
        for moment in range(Moment.DNS_START, Moment.CONNECT_END + 1):
            at = times[moment]
            times[moment] = None if at is None else max(at, fetch_start)
    return times


def _confirmed(leg: Leg) -> Ns | None:
    """A moment of the connection, like those above, but one that may come after them all."""
    facts, fetch_start = leg.connection, leg.times[Moment.FETCH_START]
    if facts is None or leg.socket_reused or facts.handshake_confirmed is None:
        return None
    return max(facts.handshake_confirmed, fetch_start or 0)


def _origin(url: str) -> Origin:
    return parse_url(url).origin


def _summary(leg: Leg) -> LegSummary:
    fetch_start = leg.times[Moment.FETCH_START]
    return LegSummary(
        url=leg.url,
        is_redirect=leg.is_redirect,
        fetch_start=0 if fetch_start is None else fetch_start,
        response_end=leg.times[Moment.RESPONSE_END],
        status=leg.status,
        error=leg.error,
        http_version=leg.connection.version if leg.connection else None,
        sent_bytes=leg.sent_bytes,
        received_bytes=leg.received_bytes,
    )
