"""What a query string asks of the receiver: `/upload?delay=500&status=413`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from urllib.parse import parse_qsl

SWITCH_HELP: Mapping[str, str] = MappingProxyType(
    {
        "delay=MS": "think for MS milliseconds before answering",
        "throttle=BYTES": "read at most BYTES of the body per second",
        "status=CODE": "answer CODE at once, without reading the body (with early=0: after it)",
        "redirect=URL": "answer with a redirect to URL, after reading the body (early=1: before)",
        "code=CODE": "status of the redirect: 301, 302, 303, 307 (default) or 308",
        "early=0|1": "whether to answer before the body has been read",
        "interim=103": "send 103 Early Hints first (h2 and h3 only)",
    }
)
"""Every switch with its meaning, for `trilane serve --help`."""

_REDIRECT_CODES = frozenset({301, 302, 303, 307, 308})


class SwitchError(ValueError):
    """The query string asks for something the receiver cannot do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Switches:
    """How one request is to be treated."""

    delay_s: float = 0.0
    throttle_bytes_per_s: int | None = None
    status: int = 200
    location: str | None = None
    """Target of a redirect."""
    early: bool = False
    """Answer without reading the body."""
    early_hints: bool = False
    """Send 103 before the response."""


def parse_switches(query: str) -> Switches:
    """Read the switches out of a query string; other names are left to the user.

    Raises:
        SwitchError: a switch has a value it cannot have.
    """
    fields = dict(parse_qsl(query, keep_blank_values=True))
    location = fields.get("redirect")
    refused = "status" in fields
    status = _number(fields, "status", 200, 200, 599)
    if location is not None:
        status = _number(fields, "code", 307, 301, 308)
        if status not in _REDIRECT_CODES:
            raise SwitchError(f"code={status} is not a redirect")
    throttle = _number(fields, "throttle", 0, 1, 1 << 40)
    return Switches(
        delay_s=_number(fields, "delay", 0, 0, 3_600_000) / 1000,
        throttle_bytes_per_s=throttle or None,
        status=status,
        location=location,
        early=bool(_number(fields, "early", int(refused and location is None), 0, 1)),
        early_hints=bool(_number(fields, "interim", 0, 103, 103)),
    )


def _number(fields: Mapping[str, str], name: str, default: int, lowest: int, highest: int) -> int:
    text = fields.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and lowest <= int(text) <= highest):
        raise SwitchError(f"{name}={text}: a whole number from {lowest} to {highest} is expected")
    return int(text)
