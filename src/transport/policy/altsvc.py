"""Reading the Alt-Svc header field (RFC 7838 §3)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote

from ..errors import InvalidUrl
from ..hosts import ascii_host

#: RFC 7838 §3.1: fresh for 24 hours unless `ma` says otherwise.
DEFAULT_MAX_AGE_S = 86400
#: RFC 9111 §1.2.2: what a larger number of seconds is taken for.
LONGEST_S = 2**31
_LONGEST_DIGITS = len(str(LONGEST_S))

_TCHARS = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_QUOTED = r'"(?:[^"\\]|\\.)*"'
_ENTRY = re.compile(
    rf"\s*({_TCHARS})=({_QUOTED})((?:\s*;\s*{_TCHARS}=(?:{_TCHARS}|{_QUOTED}))*)\s*(?:,|$)"
)
_PARAMETER = re.compile(rf";\s*({_TCHARS})=({_TCHARS}|{_QUOTED})")
_AUTHORITY = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^:\[\]]*):(\d{1,5})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Alternative:
    """One alternative service."""

    protocol: str
    """ALPN identifier."""
    host: str
    """Empty for the origin's own host; an IPv6 literal without brackets."""
    port: int
    max_age_s: int = DEFAULT_MAX_AGE_S
    persist: bool = False
    """Kept when the network changes."""


def parse_alt_svc(value: str) -> tuple[Alternative, ...] | None:
    """The alternatives of one field value; None for `clear`, empty when nothing is readable.

    Entries that cannot be parsed end the list: what follows them has no certain start.
    """
    if value.strip() == "clear":
        return None
    found: list[Alternative] = []
    position = 0
    while match := _ENTRY.match(value, position):
        position = match.end()
        authority = _AUTHORITY.fullmatch(_unquoted(match[2]))
        if authority is None or not 0 < int(authority[2]) < 1 << 16:
            continue
        host = _host(authority[1])
        if host is None:
            continue
        parameters = {name.lower(): _unquoted(raw) for name, raw in _PARAMETER.findall(match[3])}
        found.append(
            Alternative(
                protocol=unquote(match[1]),
                host=host,
                port=int(authority[2]),
                max_age_s=_seconds(parameters.get("ma", "")),
                persist=parameters.get("persist") == "1",
            )
        )
    return tuple(found)


def _host(text: str) -> str | None:
    """The one spelling of a host, which `Alt-Used` repeats; None when it is none."""
    try:
        return ascii_host(text.strip("[]")) if text else ""
    except InvalidUrl:
        return None


def _seconds(text: str) -> int:
    if not (text.isascii() and text.isdecimal()):
        return DEFAULT_MAX_AGE_S
    digits = text.lstrip("0")
    return min(int(digits or "0"), LONGEST_S) if len(digits) <= _LONGEST_DIGITS else LONGEST_S


def _unquoted(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text[1:-1]) if text.startswith('"') else text
