"""Which way an origin is reached: directly, through a proxy's tunnel, or forwarded by a proxy."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import ip_address, ip_network

from ..config import HttpVersion, Preference, ProxyOptions, ProxyServer
from ..message import Origin


@dataclass(frozen=True, slots=True)
class Route:
    """Where a connection leads; requests with equal routes may share connections."""

    origin: Origin | None
    """None: to any http:// origin, for the proxy forwards (RFC 9112 §3.2.2)."""
    proxy: ProxyServer | None = None
    """None: directly."""


def route_to(
    origin: Origin, preference: Preference, options: ProxyOptions, *, may_forward: bool = True
) -> Route:
    """The way to an origin.

    An HTTP proxy forwards plain http requests, in HTTP/1.1; everything else goes through a tunnel,
    and those, too, when it must not forward.
    """
    proxy = proxy_for(origin, options)
    if proxy is None:
        return Route(origin)
    other_protocol = origin.secure or preference.exactly is HttpVersion.HTTP2
    tunnelled = proxy.is_socks or other_protocol or not may_forward
    return Route(origin if tunnelled else None, proxy)


def proxy_for(origin: Origin, options: ProxyOptions) -> ProxyServer | None:
    """The proxy of an origin; None: directly."""
    proxy = options.for_https if origin.secure else options.for_http
    if proxy is None or is_exempt(origin, options.no_proxy):
        return None
    return proxy


def is_exempt(origin: Origin, no_proxy: str) -> bool:
    """Whether `NO_PROXY`'s list names the origin, read as curl reads it.

    Entries stand between commas or white space. `*` alone names every host; a name, with or without
    a dot before it, itself and all below it; an IP address or network (`10.0.0.0/8`) the literal
    addresses it holds: names are not looked up for this. A port after an entry, `[::1]:8080` for
    IPv6, limits it to that port.
    """
    entries = re.split(r"[,\s]+", no_proxy.strip())
    return "*" in entries or any(_names(entry, origin) for entry in entries if entry)


def _names(entry: str, origin: Origin) -> bool:
    whole, port = _without_port(entry)
    if port not in {None, origin.port}:
        return False
    host = origin.host.rstrip(".")
    try:
        address = ip_address(host)
    except ValueError:
        wanted = whole.strip(".").lower()
        return bool(wanted) and (host == wanted or host.endswith(f".{wanted}"))
    try:
        return address in ip_network(whole, strict=False)
    except ValueError:
        return False


def _without_port(entry: str) -> tuple[str, int | None]:
    bracketed = re.fullmatch(r"\[([^\]]*)\](?::(\d+))?", entry)
    if bracketed:
        return bracketed[1], None if bracketed[2] is None else int(bracketed[2])
    named = re.fullmatch(r"([^:]*):(\d+)", entry)
    if named:
        return named[1], int(named[2])
    return entry, None
