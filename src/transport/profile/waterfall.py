"""Draws profiles: the phases of a request as bars on one time axis, and its facts below them.

`phase_bars` is the layout, a pure function. `waterfall_text` and `Waterfalls` draw it, the first
as plain text, the second also on a rich console (without rich it prints the same text).
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..config import HttpVersion
from .moments import AttemptOutcome, Ns
from .profile import Profile

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions
    from rich.text import Text

DEFAULT_WIDTH = 80
_LABEL_CELLS = 8
_DURATION_CELLS = 9
_MIN_BAR_CELLS = 8
_STYLES = {
    "queue": "yellow",
    "redirect": "yellow",
    "DNS": "cyan",
    "DoH": "cyan",
    "connect": "blue",
    "proxy": "blue",
    "TLS": "magenta",
    "QUIC": "magenta",
    "send": "green",
    "acked": "bright_green",
    "wait": "bright_black",
    "receive": "bright_blue",
    "failed": "red",
}


@dataclass(frozen=True, slots=True)
class Bar:
    """One phase on the time axis, in nanoseconds of the profile's clock."""

    label: str
    start_ns: Ns
    end_ns: Ns


@dataclass(frozen=True, slots=True)
class Waterfalls:
    """Several titled profiles, each from its own start, on one scale, so that they compare.

    `str()` gives plain text of `DEFAULT_WIDTH` columns; a rich console draws it in its own width.
    """

    titled: Sequence[tuple[str, Profile]]

    def text(self, width: int = DEFAULT_WIDTH) -> str:
        """Plain text of at most `width` columns (from 26 on)."""
        return "\n".join(
            "".join(text for text, _ in line).rstrip() for line in _lines(self.titled, width)
        )

    def __str__(self) -> str:
        return self.text()

    def __rich_console__(self, _console: Console, options: ConsoleOptions) -> Iterator[Text]:
        from rich.text import Text  # noqa: PLC0415 - only a rich console calls this

        for line in _lines(self.titled, options.max_width):
            yield Text.assemble(*line, no_wrap=True, overflow="ignore")


def waterfall_text(profile: Profile, width: int = DEFAULT_WIDTH) -> str:
    """One profile as plain text of at most `width` columns (from 26 on)."""
    return Waterfalls([("", profile)]).text(width)


def phase_bars(profile: Profile) -> list[Bar]:
    """The phases that happened, in the order of a request; a phase without both ends is left out.

    On HTTP/3 the connection and its TLS are one handshake, hence one bar. A failure's bar begins
    where the last thing that is known ended: so long nothing happened.
    """
    phases = [
        ("queue", profile.queue_start, profile.queue_end),
        ("redirect", profile.redirect_start, profile.redirect_end),
        ("DNS", profile.dns_start, profile.dns_end),
        ("DoH", profile.http_dns_start, profile.http_dns_end),
        *_connect_phases(profile),
        ("send", profile.request_start, profile.request_end),
        ("acked", profile.request_end, profile.request_acked),
        ("wait", profile.request_end, profile.response_start),
        ("receive", profile.response_start, profile.response_end),
    ]
    bars = [
        Bar(label, start, end)
        for label, start, end in phases
        if start is not None and end is not None and _happened(label, start, end)
    ]
    if profile.failed is not None:
        known = max([profile.invoke_start, *(bar.end_ns for bar in bars)])
        bars.append(Bar("failed", min(known, profile.failed), profile.failed))
    return bars


def bar_cells(bar: Bar, origin_ns: Ns, span_ns: int, width: int) -> tuple[int, int]:
    """First cell and number of cells of a bar on an axis of `width` cells; never empty."""
    span_ns = max(span_ns, 1)
    first = min((bar.start_ns - origin_ns) * width // span_ns, width - 1)
    end = -((origin_ns - bar.end_ns) * width // span_ns)
    return first, max(min(end, width) - first, 1)


def duration_text(duration_ns: int) -> str:
    """A duration in the unit a reader expects, in at most 8 columns up to a day."""
    if duration_ns < 1_000_000:
        return f"{duration_ns / 1e3:.0f} µs"
    if duration_ns < 1_000_000_000:
        return f"{duration_ns / 1e6:.1f} ms"
    return f"{duration_ns / 1e9:.2f} s"


def size_text(size_bytes: float) -> str:
    """A number of bytes in binary units."""
    if size_bytes < 1024:
        return f"{size_bytes:.0f} B"
    power = 1 if size_bytes < 1024**2 else 2 if size_bytes < 1024**3 else 3
    return f"{size_bytes / 1024**power:.1f} {' KMG'[power]}iB"


def upload_rate_bytes_per_s(profile: Profile) -> float | None:
    """Body bytes over the time their sending took; None without a body or a duration.

    It ends at the acknowledgement where that was seen: what the operating system has taken into
    its buffer is not at the peer yet.
    """
    end = profile.request_acked or profile.request_end
    if profile.request_start is None or end is None or end <= profile.request_start:
        return None
    if not profile.body_sent_bytes:
        return None
    return profile.body_sent_bytes * 1e9 / (end - profile.request_start)


_Line = list[tuple[str, str]]
"""Pieces of text, each with its rich style."""


def _connect_phases(profile: Profile) -> list[tuple[str, Ns | None, Ns | None]]:
    proxy = ("proxy", profile.proxy_connect_start, _proxy_end(profile))
    if profile.tcp_connected is None:
        if profile.http_version is HttpVersion.HTTP3:
            return [proxy, ("QUIC", profile.tls_start, profile.connect_end)]
        return [proxy, ("connect", profile.connect_start, profile.connect_end)]
    connected = None if profile.proxy else profile.tcp_connected
    return [
        proxy,
        ("connect", profile.connect_start, connected),
        ("TLS", profile.tls_start, profile.tls_end),
    ]


def _proxy_end(profile: Profile) -> Ns | None:
    """The last that is known of the proxy; one that forwards has no handshake."""
    return profile.proxy_handshake_end or profile.proxy_connect_end


def _happened(label: str, start: Ns, end: Ns) -> bool:
    # Nothing was waited for when the queue's ends are equal, or after an early response.
    return end > start or (end == start and label not in {"queue", "wait"})


def _lines(titled: Sequence[tuple[str, Profile]], width: int) -> Iterator[_Line]:
    drawn = [(title, profile, phase_bars(profile)) for title, profile in titled]
    span_ns = max((_span_ns(profile, bars) for _, profile, bars in drawn), default=0)
    bar_area = max(width - _LABEL_CELLS - _DURATION_CELLS - 1, _MIN_BAR_CELLS)
    for index, (title, profile, bars) in enumerate(drawn):
        if index:
            yield []
        if title:
            yield [(_printable(title), "bold")]
        for bar in bars:
            yield _bar_line(bar, profile.invoke_start, span_ns, bar_area, "█")
        whole = Bar("total", profile.invoke_start, profile.invoke_start + _span_ns(profile, bars))
        yield _bar_line(whole, profile.invoke_start, span_ns, bar_area, "─")
        for fact in _facts(profile):
            for row in textwrap.wrap(_printable(fact), max(width, _LABEL_CELLS)):
                yield [(row, "dim")]


def _span_ns(profile: Profile, bars: Sequence[Bar]) -> int:
    """How long it lasted, as far as is known: a failed attempt may be the last thing that was."""
    ends = [bar.end_ns for bar in bars] + [attempt.end for attempt in profile.attempts]
    return max(ends, default=profile.invoke_start) - profile.invoke_start


def _bar_line(bar: Bar, origin_ns: Ns, span_ns: int, bar_area: int, cell: str) -> _Line:
    first, count = bar_cells(bar, origin_ns, span_ns, bar_area)
    duration = duration_text(bar.end_ns - bar.start_ns)
    return [
        (f"{bar.label:<{_LABEL_CELLS}} ", ""),
        (" " * first + cell * count, _STYLES.get(bar.label, "")),
        (f"{' ' * (bar_area - first - count)}{duration:>{_DURATION_CELLS}}", ""),
    ]


def _facts(profile: Profile) -> Iterator[str]:
    yield ", ".join(_connection_facts(profile))
    yield ", ".join(_traffic_facts(profile))
    for attempt in profile.attempts:
        if attempt.outcome is not AttemptOutcome.WON:
            where = "" if attempt.address is None else f" to {_address(*attempt.address)}"
            why = f": {attempt.error}" if attempt.error else ""
            lasted = duration_text(attempt.end - attempt.start)
            yield f"{attempt.protocol}{where} {attempt.outcome} after {lasted}{why}"
    if len(profile.legs) > 1:
        yield f"{len(profile.legs)} requests: " + ", ".join(
            f"{leg.url} {leg.status or leg.error or 'unanswered'}" for leg in profile.legs
        )
    if profile.failed is not None:
        lasted = duration_text(profile.failed - profile.invoke_start)
        reason = profile.legs[-1].error if profile.legs else None
        yield f"failed after {lasted}{f': {reason}' if reason else ''}"
    if profile.early_response:
        yield "the response began before the request had been sent"


def _connection_facts(profile: Profile) -> Iterator[str]:
    yield profile.http_version or "no connection"
    if profile.peer_ip is not None and profile.port is not None:
        yield _address(profile.peer_ip, profile.port)
    if profile.proxy is not None:
        yield f"proxy {profile.proxy}"
    if profile.tls is not None:
        yield profile.tls.version
    if profile.http_version is not None:
        yield "reused connection" if profile.socket_reused else "new connection"
    if profile.rtt_ms is not None:
        yield f"rtt {duration_text(round(profile.rtt_ms * 1e6))}"
    if profile.status is not None:
        yield f"status {profile.status}"


def _traffic_facts(profile: Profile) -> Iterator[str]:
    yield f"sent {size_text(profile.sent_bytes)}"
    if not profile.upload_complete and profile.body_bytes:
        acked = profile.body_acked_bytes
        seen = "" if acked is None else f", {size_text(acked)} acknowledged"
        yield f"{size_text(profile.body_sent_bytes)} of {size_text(profile.body_bytes)} body{seen}"
    yield f"received {size_text(profile.received_bytes)}"
    rate = upload_rate_bytes_per_s(profile)
    if rate is not None:
        yield f"upload {size_text(rate)}/s"


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _printable(text: str) -> str:
    """Without control characters: an error's text may come from the peer."""
    return "".join(char if char.isprintable() else "?" for char in " ".join(text.split()))
