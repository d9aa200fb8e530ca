"""One call of the user, as the faces hand it to the engine, and what they get back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from .body import Body
from .config import HttpVersion, Preference, RetryStale, Timeouts
from .connections.exchange import Progress
from .message import Headers, ResponseHead, Url


@dataclass(slots=True, kw_only=True)
class Call:
    """What to send, where, and under which rules."""

    method: str
    url: Url
    headers: Headers = field(default_factory=Headers)
    """The fields to send, without Host, Content-Length and Transfer-Encoding."""
    body: Body | None = None
    preference: Preference = field(default_factory=Preference)
    timeouts: Timeouts = field(default_factory=Timeouts)
    expect_continue: bool = False
    """Wait up to 1 s for `100 Continue` before sending the body (RFC 9110 §10.1.1)."""
    retry_stale: RetryStale = "always"
    """Whether to resend on a fresh connection when a reused one died before any response byte."""
    follow_redirects: bool = True
    insecure_redirects: bool = False
    """Whether a redirect may lead from https to http."""
    high_performance: bool = True
    """Whether bulk senders may carry the body."""
    early_data: bool = False
    """The caller says that a replay of this request does no harm (RFC 8470): it may be 0-RTT."""
    profile: bool = True
    """Whether it is profiled, and counts for the estimates of the network's quality. Otherwise the
    kernel is asked for no figures: neither acknowledgements nor round trips are known."""
    on_progress: Callable[[Progress], None] | None = None
    on_head: Callable[[ResponseHead], None] | None = None


@dataclass(slots=True, kw_only=True)
class Outcome:
    """The response of a call."""

    head: ResponseHead
    body: bytes
    trailers: Headers
    url: Url
    """Where it came from, after redirects."""
    version: HttpVersion
