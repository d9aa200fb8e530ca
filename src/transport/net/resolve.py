"""From a host name to addresses."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Protocol

import anyio
import anyio.to_thread
from anyio.lowlevel import RunVar

from ..config import AddressRule
from ..errors import AddressRefused, ResolveError, ResolveReason
from ..hosts import is_ip_literal
from ..policy.addresses import is_allowed
from ..policy.nat64 import IPV4_ONLY_NAME, prefixes_in
from ..profile.moments import Ns
from .dial_log import DialLog
from .ways_out import is_ipv6_only_towards

#: Lookups at once. They have their own limit: a name server that does not answer must not keep
#: file reads from getting a thread.
_PARALLEL_LOOKUPS = 16
_limiter = RunVar[anyio.CapacityLimiter]("trilane_lookup_limiter")


@dataclass(frozen=True, slots=True)
class Lookup:
    """The addresses of a name, and when somebody was asked for them."""

    addresses: tuple[str, ...]
    start: Ns | None = None
    """None when nobody had to be asked: the answer was known."""
    end: Ns | None = None


class Names(Protocol):
    """Where the dials get addresses from; `net.names` has the real thing."""

    @property
    def over_https(self) -> bool:
        """Whether names are looked up over HTTPS, not by the operating system."""
        ...

    async def look_up(self, host: str, port: int) -> Lookup:
        """Find at least one address; not asked about IP literals.

        `IPV4_ONLY_NAME` is looked up by the operating system, whatever other names are: only the
        network's own name servers know its translator (RFC 8880 §7.1).

        Raises:
            ResolveError: the name has no address, or it could not be found out.
        """
        ...


class SystemResolver:
    """The operating system's resolver: hosts file, DNS, and whatever else nsswitch names.

    The addresses come in the system's order (RFC 6724). AI_ADDRCONFIG is not used: glibc then
    hides `::1` and `127.0.0.1` behind the addresses of real interfaces, so that `localhost` loses
    a family; an address of a family this host does not have fails at once instead, which happy
    eyeballs takes in its stride.

    `getaddrinfo` cannot be interrupted. A cancelled lookup returns at once and leaves its thread
    to finish alone.
    """

    async def resolve(self, host: str) -> tuple[str, ...]:
        """Ask `getaddrinfo` in a worker thread; see `config.Resolver`."""
        try:
            found = await anyio.to_thread.run_sync(
                _lookup, host, abandon_on_cancel=True, limiter=_lookup_limiter()
            )
        except OSError as exc:  # gaierror is one
            reason = exc.strerror or str(exc)
            raise ResolveError(f"cannot resolve {host!r}: {reason}") from exc
        except ValueError as exc:  # UnicodeError is one
            # The codec refuses empty labels and labels of more than 63 bytes.
            raise ResolveError(
                f"cannot resolve {host!r}: not a valid host name: {exc}",
                reason=ResolveReason.INVALID_NAME,
            ) from exc
        if not found:
            raise ResolveError(
                f"cannot resolve {host!r}: the name has no address",
                reason=ResolveReason.NO_ADDRESS,
            )
        return found


async def resolve_host(
    whom: tuple[str, int],
    names: Names,
    log: DialLog,
    protocol: str,
    allow: AddressRule | None = None,
    *,
    dialled_here: bool = True,
) -> tuple[str, ...]:
    """Find the addresses that may be dialled; all that is dialled comes from here.

    An IP literal is its own address, without a lookup. Where there are IPv4 addresses only, and
    this host has IPv6 only, they are translated as its network does it (NAT64), and the rule is
    asked about both.

    Args:
        whom: name or IP literal (IPv6 without brackets), and port.
        names: asked for a name's addresses.
        log: takes the lookup's start and end; a name that does not resolve and an address that is
            refused are failed attempts.
        protocol: what the addresses are wanted for, for those attempts.
        allow: says which addresses may be dialled; None: all.
        dialled_here: whether it is this host that dials, and not a proxy on a network of its own.

    Raises:
        ResolveError: the name has no address, or it could not be found out.
        AddressRefused: it has, but none that may be dialled.
        UsageError: `allow` failed.
    """
    host, port = whom
    found: tuple[str, ...] = (host,)
    if not is_ip_literal(host):
        found = await _look_up(whom, names, log, protocol, over_https=names.over_https)
    allowed = found if allow is None else _allowed(whom, found, log, protocol, allow)
    # One address tells for all: a network has either a way to the internet of a version, or none.
    has_ipv6 = any(":" in address for address in allowed)
    if has_ipv6 or not dialled_here or not is_ipv6_only_towards(allowed[0]):
        return allowed
    translated = await _translated(allowed, port, names, log, protocol)
    return translated if allow is None else _allowed(whom, translated, log, protocol, allow)


async def _translated(
    addresses: tuple[str, ...], port: int, names: Names, log: DialLog, protocol: str
) -> tuple[str, ...]:
    """What stands for IPv4 addresses here (RFC 8305 §7.1, §7.2); themselves, where nothing does.

    An operating system's answer has been translated by the network's DNS64, but not what a name
    server elsewhere says, nor what the caller knows.
    """
    try:
        network = (IPV4_ONLY_NAME, port)
        shown = await _look_up(network, names, log, protocol, over_https=False)
    except ResolveError:
        return addresses
    prefixes, meant = prefixes_in(shown), [IPv4Address(each) for each in addresses]
    return tuple(str(each.synthesize(one)) for one in meant for each in prefixes) or addresses


async def _look_up(
    whom: tuple[str, int], names: Names, log: DialLog, protocol: str, *, over_https: bool
) -> tuple[str, ...]:
    earlier = log.lookup(over_https=over_https)
    start = log.looking_since(over_https=over_https) or log.clock()
    log.looked_up(start, None, over_https=over_https)
    try:
        found = await names.look_up(*whom)
    except ResolveError as exc:
        end = log.clock()
        log.looked_up(start, end, over_https=over_https)
        log.unresolved(protocol, start, end, str(exc))
        raise
    if earlier is None:
        log.looked_up(found.start, found.end, over_https=over_https)
    else:
        # One after the other, for the same connection.
        log.looked_up(earlier[0], found.end or earlier[1], over_https=over_https)
    return found.addresses


def _allowed(
    whom: tuple[str, int],
    found: tuple[str, ...],
    log: DialLog,
    protocol: str,
    allow: AddressRule,
) -> tuple[str, ...]:
    host, port = whom
    allowed = tuple(address for address in found if is_allowed(address, allow))
    refused = [address for address in found if address not in allowed]
    for address in refused:
        log.refused(protocol, (address, port), "refused by allow_address")
    if not allowed:
        whose = "" if found == (host,) else f" of {host!r}"
        raise AddressRefused(f"allow_address refused {', '.join(refused)}{whose}")
    return allowed


def _lookup(host: str) -> tuple[str, ...]:
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    usable = (socket.AF_INET, socket.AF_INET6)
    return tuple(dict.fromkeys(str(to[0]) for family, _, _, _, to in found if family in usable))


def _lookup_limiter() -> anyio.CapacityLimiter:
    try:
        return _limiter.get()
    except LookupError:
        limiter = anyio.CapacityLimiter(_PARALLEL_LOOKUPS)
        _limiter.set(limiter)
        return limiter
