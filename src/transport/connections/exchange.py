"""What a driver is given and what it gives back: one request, one response."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf

from ..body import Body
from ..config import Limits, Timeouts
from ..errors import TotalTimeout
from ..message import Headers, RequestHead, ResponseHead
from ..profile.recorder import Recorder


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a body is on its way, in bytes of the whole body (multipart overhead included)."""

    sent: int
    """Bytes the operating system has taken."""
    total: int | None
    """Bytes of the body; None when a source has no length."""
    acked: int | None
    """Bytes the peer's transport has acknowledged; None where the platform cannot tell."""


@dataclass(slots=True, kw_only=True)
class Exchange:
    """One request on its way over one connection."""

    head: RequestHead
    body: Body | None
    recorder: Recorder
    timeouts: Timeouts
    limits: Limits
    deadline_s: float = inf
    """When the whole call has to be over, by the event loop's clock. For a connection that
    `keeps_deadlines`; otherwise somebody above cancels the exchange then."""
    expect_continue: bool = False
    """Send `Expect: 100-continue` and hold the body for up to 1 s (RFC 9110 §10.1.1)."""
    on_progress: Callable[[Progress], None] | None = None
    """Called synchronously, never awaited; must not raise (the faces wrap the user's own)."""
    on_head: Callable[[ResponseHead], None] | None = None
    """Called with the final response head, as soon as it is complete."""
    early_data: bool = False
    """May be sent as 0-RTT data, which somebody on the way may replay (RFC 9001 §4.6, RFC 8470)."""
    high_performance: bool = True
    """Whether bulk senders may carry the body."""
    profile: bool = True
    """Whether anybody will look at the transport's figures and at what was acknowledged: asking for
    them costs system calls."""


def out_of_time(timeouts: Timeouts, recorder: Recorder) -> TotalTimeout:
    """The error for a call that is not over at its deadline."""
    what = f"the upload took longer than {timeouts.total_s} s"
    return TotalTimeout(what, phase=recorder.phase)


@dataclass(slots=True, kw_only=True)
class RawResponse:
    """What came back, before the faces dress it."""

    head: ResponseHead
    body: bytes
    trailers: Headers
