"""A clock to turn by hand, and legs as drivers leave them behind."""

from __future__ import annotations

from trilane.transport.config import HttpVersion
from trilane.transport.profile.moments import (
    ConnectionFacts,
    DialRecord,
    Moment,
    Ns,
    TransportSample,
)
from trilane.transport.profile.recorder import Leg

MS = 1_000_000
S = 1_000_000_000
PUBLIC = "27.0.0.3"


class Clock:
    """Nanoseconds that pass when told to."""

    def __init__(self) -> None:
        self.now: Ns = 1000 * S

    def __call__(self) -> Ns:
        return self.now

    def advance_ms(self, ms: float) -> None:
        self.now += round(ms * MS)


def make_leg(
    clock: Clock,
    *,
    peer: str = PUBLIC,
    version: HttpVersion = HttpVersion.HTTP1,
    connection_id: int = 1,
) -> Leg:
    """A leg that begins now, on an established connection."""
    leg = Leg("https://example.com/")
    leg.times[Moment.FETCH_START] = clock.now
    leg.connection = ConnectionFacts(
        connection_id=connection_id,
        version=version,
        peer=(peer, 443),
        local=("192.0.2.9", 50000),
        tls=None,
        dial=DialRecord(),
    )
    return leg


def mark_ms(leg: Leg, start: Ns, **moments_ms: float) -> None:
    """Note moments, by their names, so many milliseconds after `start`."""
    for name, ms in moments_ms.items():
        leg.times[Moment[name.upper()]] = start + round(ms * MS)


def sample(rtt_ms: float | None, min_rtt_ms: float | None = None) -> TransportSample:
    return TransportSample(at=0, rtt_ms=rtt_ms, min_rtt_ms=min_rtt_ms)
