"""The profile of one call: a pure fold over its record, checked against its own order.

A field is read from the record when it is first asked for: of most profiles only a few are.

All moments are nanoseconds of `time.monotonic_ns` (`Ns`); None means that it did not happen.
`Profile.seed` gives the seed's view: epoch milliseconds under the seed's names.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING

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


class _Fields:
    """Where the fields of a profile come from that was not made of given values."""

    __slots__ = ("_record",)
    _record: Recorder

    if not TYPE_CHECKING:  # it would let any name pass for a field

        def __getattr__(self, name: str) -> object:
            """Read a field that nobody has asked for yet."""
            read = _READ.get(name)
            if read is None:
                raise AttributeError(f"a profile has no {name!r}")
            value = read(self._record)
            object.__setattr__(self, name, value)
            return value


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile(_Fields):
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
    """Turn a record, complete or not, into its profile; nothing may be added to it any more."""
    profile = Profile.__new__(Profile)
    object.__setattr__(profile, "_record", recorder)
    return profile


_Read = Callable[[Recorder], object]


def _last(recorder: Recorder) -> Leg:
    return recorder.legs[-1] if recorder.legs else Leg("")


def _moment(moment: Moment) -> _Read:
    return lambda recorder: _last(recorder).times[moment]


def _connecting(moment: Moment) -> _Read:
    """A connection begun before the leg did not hold it up until the leg began (Fetch §4.6)."""

    def read(recorder: Recorder) -> Ns | None:
        leg = _last(recorder)
        at, fetch_start = leg.times[moment], leg.times[Moment.FETCH_START]
        if at is None or fetch_start is None or leg.socket_reused:
            return at
        return max(at, fetch_start)

    return read


def _confirmed(recorder: Recorder) -> Ns | None:
    """A moment of the connection, like those above, but one that may come after them all."""
    leg = _last(recorder)
    facts, fetch_start = leg.connection, leg.times[Moment.FETCH_START]
    if facts is None or leg.socket_reused or facts.handshake_confirmed is None:
        return None
    return max(facts.handshake_confirmed, fetch_start or 0)


def _of_leg(name: str) -> _Read:
    get = attrgetter(name)
    return lambda recorder: get(_last(recorder))


def _of_connection(name: str) -> _Read:
    get = attrgetter(name)

    def read(recorder: Recorder) -> object:
        facts = _last(recorder).connection
        return None if facts is None else get(facts)

    return read


def _peer(index: int) -> _Read:
    def read(recorder: Recorder) -> object:
        facts = _last(recorder).connection
        return None if facts is None or facts.peer is None else facts.peer[index]

    return read


def _redirected(leg: int) -> _Read:
    """The start of a leg, when there was a redirect."""
    return lambda recorder: (
        recorder.legs[leg].times[Moment.FETCH_START] if _has_redirect(recorder) else None
    )


def _has_redirect(recorder: Recorder) -> bool:
    return any(leg.is_redirect for leg in recorder.legs)


def _is_one_origin(recorder: Recorder) -> bool:
    return _has_redirect(recorder) and len({_origin(leg.url) for leg in recorder.legs}) == 1


def _is_early(recorder: Recorder) -> bool:
    """Whether the response began before the request had been sent."""
    leg = _last(recorder)
    request_end = leg.times[Moment.REQUEST_END]
    response_start = leg.times[Moment.RESPONSE_START]
    if response_start is None:
        return False
    return not leg.upload_complete or (request_end or response_start) > response_start


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


_CALL = ("invoke_start", "queue_start", "queue_end", "http_dns", "failed", "quality")
_LEG = (
    *("status", "proxy", "socket_reused", "upload_complete", "high_performance"),
    *("body_bytes", "body_sent_bytes", "body_acked_bytes"),
)

#: How each field follows from the record.
_READ: dict[str, _Read] = {
    **{moment.name.lower(): _moment(moment) for moment in Moment},
    **{
        moment.name.lower(): _connecting(moment)
        for moment in Moment
        if Moment.DNS_START <= moment <= Moment.CONNECT_END
    },
    **{name: attrgetter(name) for name in _CALL},
    **{name: _of_leg(name) for name in _LEG},
    "url": lambda recorder: _last(recorder).url or None,
    "redirect_start": _redirected(0),
    "redirect_end": _redirected(-1),
    "redirects_same_origin": _is_one_origin,
    "handshake_confirmed": _confirmed,
    "http_version": _of_connection("version"),
    "peer_ip": _peer(0),
    "port": _peer(1),
    "connection_id": _of_connection("connection_id"),
    "tls": _of_connection("tls"),
    "transport": _of_leg("sample"),
    "attempts": lambda recorder: tuple(a for leg in recorder.legs for a in leg.attempts),
    "legs": lambda recorder: tuple(map(_summary, recorder.legs)),
    "sent_bytes": lambda recorder: sum(leg.sent_bytes for leg in recorder.legs),
    "received_bytes": lambda recorder: sum(leg.received_bytes for leg in recorder.legs),
    "early_response": _is_early,
    "wall": lambda _: WALL,
}
