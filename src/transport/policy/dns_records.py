"""What is asked of a name and what comes back, as values; no wire format here."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from ..errors import ResolveReason


class Kind(StrEnum):
    """What a question asks for."""

    ADDRESSES = "addresses"
    """All addresses at once, as an operating system gives them."""
    A = "A"
    AAAA = "AAAA"
    HTTPS = "HTTPS"
    """Service bindings (RFC 9460)."""


@dataclass(frozen=True, slots=True)
class Question:
    """One thing to find out about a name."""

    name: str
    """ASCII, in lower case, without the final dot."""
    kind: Kind


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpsRecord:
    """One HTTPS record (RFC 9460 §2); `priority` 0 is an alias, everything else a service."""

    priority: int
    target: str
    """Name of the server, the record's owner already put in for `.`; empty for an alias that says
    that there is no service (§2.5.1)."""
    alpn: tuple[str, ...] = ()
    """The `alpn` parameter; without the default."""
    no_default_alpn: bool = False
    port: int | None = None
    hints: tuple[str, ...] = ()
    """`ipv6hint` and `ipv4hint`: addresses to begin with until the target's own are known."""
    understood: bool = True
    """False when a parameter is mandatory that trilane does not know (§8)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What there is, for how long."""

    addresses: tuple[str, ...] = ()
    services: tuple[HttpsRecord, ...] = ()
    ttl_s: float
    """How long it holds, also that there is nothing (RFC 2308); 0: for this once."""
    reason: ResolveReason | None = None
    """Why there is nothing."""
