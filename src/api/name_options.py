"""Where names are looked up, as a client is told: `resolver` and `resolve`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from importlib.util import find_spec

from ..transport.config import DnsOverHttps, DnsServer, NameOptions, Resolver
from ..transport.errors import InvalidUrl, UsageError
from ..transport.hosts import ascii_host, is_ip_literal
from ..transport.message import parse_url, without_secrets

ResolverInput = str | DnsOverHttps | DnsServer | Resolver | None
"""The `https://` URL of a name server (RFC 8484), `dns://` and the address of one that is asked in
clear, the same with its options, or an object with `async def resolve(self, host)`."""
_DNS_SCHEME = "dns://"
_DNS_PORT = 53
_DNS_URL = re.compile(
    r"dns://(?:\[(?P<v6>[^\]]+)\]|(?P<v4>[^:\[\]/]+))(?::(?P<port>[0-9]{1,5}))?/?", re.IGNORECASE
)
ResolveInput = Mapping[str, str | Iterable[str]] | None
"""`host:port`, `host`, `*:port` or `*`, and IP addresses."""


def name_options(resolver: ResolverInput, static: ResolveInput) -> NameOptions:
    """What the options ask of the engine.

    Raises:
        UsageError: one has a value it cannot have, or needs a package that is not there.
    """
    return NameOptions(resolver=_resolver(resolver), static=_static(static or {}))


def asks_over_https(resolver: ResolverInput) -> bool:
    """Whether names are looked up over HTTPS."""
    in_clear = isinstance(resolver, str) and resolver.lower().startswith(_DNS_SCHEME)
    return isinstance(resolver, str | DnsOverHttps) and not in_clear


def _resolver(given: object) -> DnsOverHttps | DnsServer | Resolver | None:
    server = _server(given) if isinstance(given, str) else given
    if isinstance(server, DnsOverHttps):
        _check_server(server)
    elif isinstance(server, DnsServer) and not is_ip_literal(server.address):
        raise UsageError(f"resolver {server}: a name server is given by its IP address")
    if isinstance(server, DnsOverHttps | DnsServer):
        _check_package()
        return server
    if server is None:
        return None
    if not callable(getattr(server, "resolve", None)) or isinstance(server, type):
        raise UsageError(
            "resolver must be the https:// URL of a name server, dns:// and its address, a "
            "DnsOverHttps, a DnsServer, or an object with `async def resolve(self, host)`, not "
            f"{given!r}"
        )
    try:
        hash(server)
    except TypeError:
        raise UsageError(f"resolver must be hashable: {given!r} is not") from None
    return server  # type: ignore[return-value]  # just looked at


def _server(text: str) -> DnsOverHttps | DnsServer:
    if not text.lower().startswith(_DNS_SCHEME):
        return DnsOverHttps(text)
    found = _DNS_URL.fullmatch(text)
    host = found and (found["v6"] or found["v4"])
    port = int(found["port"] or _DNS_PORT) if found else 0
    if not host or not is_ip_literal(host) or not 0 < port < 1 << 16:
        shown = without_secrets(text)
        raise UsageError(f"resolver {shown!r} is not dns://, an IP address, and a port if wanted")
    return DnsServer(host, port)


def _check_server(server: DnsOverHttps) -> None:
    try:
        secure = parse_url(server.url.removesuffix("{?dns}")).origin.secure
    except InvalidUrl as error:
        raise UsageError(f"resolver: {error}") from None
    if not secure:
        shown = without_secrets(server.url)
        raise UsageError(f"resolver {shown!r} must start with https://")
    if server.method not in ("POST", "GET"):
        raise UsageError(f"the resolver's method is 'POST' or 'GET', not {server.method!r}")


def _check_package() -> None:
    if find_spec("dns") is None:
        raise UsageError(
            "name servers are asked with dnspython, which is not installed: "
            "pip install 'trilane[dns]'"
        )


def _static(given: object) -> tuple[tuple[str, tuple[str, ...]], ...]:
    if not isinstance(given, Mapping):
        raise UsageError(f"resolve must map 'host:port' to IP addresses, not be {given!r}")
    return tuple(sorted((_key(key), _addresses(key, value)) for key, value in given.items()))


def _key(key: object) -> str:
    host, colon, port = str(key).rpartition(":")
    if not colon:
        host, port = str(key), ""
    try:
        name = host if host == "*" else ascii_host(host).removesuffix(".")
    except InvalidUrl as error:
        raise UsageError(f"resolve {key!r}: {error}") from None
    if not colon:
        return name
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 1 << 16):
        raise UsageError(f"resolve {key!r} is neither 'host:port' nor 'host'")
    return f"{name}:{int(port)}"


def _addresses(key: object, value: object) -> tuple[str, ...]:
    found = (value,) if isinstance(value, str) else value
    addresses = tuple(found) if isinstance(found, Iterable) else ()
    plain = tuple(str(each).removeprefix("[").removesuffix("]") for each in addresses)
    if not plain or not all(map(is_ip_literal, plain)):
        raise UsageError(f"resolve {key!r} must have one IP address or more, not {value!r}")
    return plain
