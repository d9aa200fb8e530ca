"""The names of a client: static ones, cached ones, and those that somebody has to be asked for."""

from __future__ import annotations

import time
from collections.abc import Callable

import anyio
from anyio.abc import TaskGroup

from ..config import NameOptions, Resolver
from ..errors import ResolveError, ResolveReason
from ..hosts import is_ip_literal
from ..message import Origin
from ..policy.dns_records import Answer, HttpsRecord, Kind, Question
from ..policy.nat64 import IPV4_ONLY_NAME
from ..policy.services import (
    MAX_ALIASES,
    Endpoint,
    Service,
    alias_of,
    bare_service,
    service_name,
    services,
)
from ..profile.moments import Ns
from .dial_log import DialLog
from .flights import AnswerSource, Flight, Flights, Watch
from .resolve import Lookup, SystemResolver

#: The system tells no TTL: its answers hold this long (Chromium, net/dns: 60 s).
SYSTEM_TTL_S = 60.0
#: RFC 8305 §3: how long the other address family, and here the HTTPS record, is waited for when
#: there is an address to begin with.
RESOLUTION_DELAY_S = 0.05


_LOOPBACK = ("::1", "127.0.0.1")


class ResolverSource:
    """Asks the system's resolver, or one of the caller's."""

    kinds = (Kind.ADDRESSES,)
    offers_services = False
    over_https = False

    def __init__(self, resolver: Resolver | None) -> None:
        self._resolver = resolver or SystemResolver()
        # A resolver of the caller's is asked each time: what it keeps is its own business.
        self._ttl_s = SYSTEM_TTL_S if resolver is None else 0.0

    async def answer(self, question: Question) -> Answer:
        """See `AnswerSource`; whatever a resolver raises is a `ResolveError`."""
        host = question.name
        try:
            found = tuple(await self._resolver.resolve(host))
        except ResolveError:
            raise
        except Exception as exc:
            raise ResolveError(f"cannot resolve {host!r}: the resolver raised {exc!r}") from exc
        for address in found:
            if not isinstance(address, str) or not is_ip_literal(address):
                raise ResolveError(
                    f"cannot resolve {host!r}: the resolver said {address!r}, which is no address",
                    reason=ResolveReason.BAD_ANSWER,
                )
        reason = None if found else ResolveReason.NO_ADDRESS
        return Answer(addresses=found, ttl_s=self._ttl_s if found else 0.0, reason=reason)


class NameService:
    """Looks up the names of one client."""

    def __init__(
        self,
        tasks: TaskGroup,
        options: NameOptions,
        source: AnswerSource,
        clock_s: Callable[[], float] = anyio.current_time,
    ) -> None:
        self.source = source
        self.flights = Flights(tasks, source, clock_s)
        self._network = Flights(tasks, ResolverSource(None), clock_s)
        self._static = dict(options.static)

    def begin(self) -> DialNames:
        """The names of one connection that is to be made."""
        return DialNames(self)

    def static(self, host: str, port: int) -> tuple[str, ...]:
        """The addresses the caller gave, or that are known anyway; empty when there are none."""
        name = host.removesuffix(".")
        for key in (f"{name}:{port}", name, f"*:{port}", "*"):
            if key in self._static:
                return self._static[key]
        is_server = self.source.offers_services
        if is_server and (name == "localhost" or name.endswith(".localhost")):
            # RFC 6761 §6.3: no name server has anything to say about it.
            return _LOOPBACK
        return ()

    async def ask_network(self, host: str) -> Lookup:
        """What the operating system says, whoever else is asked about names.

        Raises:
            ResolveError: nothing.
        """
        flight = self._network.flight(Question(host, Kind.ADDRESSES))
        start = None if flight.cached else time.monotonic_ns()
        with self._network.watch([flight]) as watch:
            await watch.settle(0.0)
            if not watch.addresses:
                raise _failure(host, watch)
            end = None if flight.cached else time.monotonic_ns()
            return Lookup(watch.addresses, start, end)


class DialNames:
    """The names of one connection: what was found once counts until it is made, also without TTL.

    It is a `Names` for the dials.
    """

    def __init__(self, service: NameService) -> None:
        self._service = service
        self._source = service.source
        self._flights = service.flights
        self._found: dict[str, Lookup] = {}
        self._hints: dict[tuple[str, int], tuple[str, ...]] = {}
        self._asked: Ns | None = None
        self._hurried = False

    @property
    def over_https(self) -> bool:
        """Whether names are looked up over HTTPS."""
        return self._source.over_https

    async def look_up(self, host: str, port: int) -> Lookup:
        """Find the addresses of a name; see `resolve.Names`."""
        static = self._service.static(host, port)
        if static:
            return Lookup(static)
        if host == IPV4_ONLY_NAME:
            return await self._service.ask_network(host)
        hints = self._hints.get((host, port), ())
        if host not in self._found:
            with self._watch_addresses(host) as watch:
                await watch.settle(RESOLUTION_DELAY_S, enough=bool(hints))
                found = watch.addresses
                if not found and not hints:
                    raise _failure(host, watch)
                if not found:
                    return self._lookup(hints)
                self._found[host] = self._lookup(found)
        return self._found[host]

    async def services(self, origin: Origin, log: DialLog) -> tuple[Service, ...]:
        """What HTTPS records say of an origin; its own addresses are asked for meanwhile.

        No record at all, a failed lookup and one that is late when there are addresses are the same
        (RFC 9460 §3.1: records are optional for HTTPS).
        """
        host = origin.host
        if (
            not self._source.offers_services
            or not origin.secure
            or is_ip_literal(host)
            or self._service.static(host, origin.port)
        ):
            return ()
        log.looked_up(log.clock(), None, over_https=self.over_https)
        found: tuple[Service, ...] = ()
        with self._watch_addresses(host) as watch, anyio.CancelScope() as scope:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._limit, watch, scope)
                found = await self._follow(origin)
                tasks.cancel_scope.cancel()
            for flight in watch.watched:
                # Whoever connects takes them up again.
                flight.detached = True
        if watch.addresses and watch.done:
            self._found[host] = self._lookup(watch.addresses)
        for service in found:
            self.hint(service)
        return found

    def hint(self, endpoint: Endpoint) -> None:
        """Take an endpoint's address hints into account."""
        self._hints[endpoint.address] = endpoint.hints

    def forget(self) -> None:
        """Nothing of what was found could be connected to."""
        for host in self._found:
            self._flights.forget(host)

    async def _limit(self, watch: Watch, scope: anyio.CancelScope) -> None:
        """End the wait for HTTPS records soon after there are addresses to begin with."""
        await watch.settle(RESOLUTION_DELAY_S)
        if watch.addresses:
            await anyio.sleep(RESOLUTION_DELAY_S)
            self._hurried = True
            scope.cancel()

    async def _follow(self, origin: Origin) -> tuple[Service, ...]:
        """Follow aliases to services (RFC 9460 §3)."""
        name, aliases = service_name(origin), 0
        while True:
            records = await self._records(name)
            alias = alias_of(records)
            if alias is None:
                found = services(records, origin)
                return found or (bare_service(name, origin) if aliases else ())
            aliases += 1
            if not alias or aliases > MAX_ALIASES:
                return ()
            name = alias

    async def _records(self, name: str) -> tuple[HttpsRecord, ...]:
        flight = self._take_off(Question(name, Kind.HTTPS))
        with self._flights.watch([flight]) as watch:
            try:
                while flight.outcome is None:
                    await watch.wait()
            except anyio.get_cancelled_exc_class():
                # Not waited for any longer; if the connection itself is still wanted, the answer is
                # for the next one.
                flight.detached = self._hurried
                raise
        if isinstance(flight.outcome, Answer):
            return flight.outcome.services
        return ()

    def _watch_addresses(self, host: str) -> Watch:
        kinds = self._source.kinds
        return self._flights.watch([self._take_off(Question(host, kind)) for kind in kinds])

    def _take_off(self, question: Question) -> Flight:
        flight = self._flights.flight(question)
        if not flight.cached and self._asked is None:
            self._asked = time.monotonic_ns()
        return flight

    def _lookup(self, found: tuple[str, ...]) -> Lookup:
        """What was found, just now; who asks again for this connection is told the same."""
        addresses = tuple(dict.fromkeys(found))
        if self._asked is None:
            return Lookup(addresses)
        return Lookup(addresses, self._asked, time.monotonic_ns())


def _failure(host: str, watch: Watch) -> ResolveError:
    outcomes = [flight.outcome for flight in watch.watched]
    for outcome in outcomes:
        if isinstance(outcome, ResolveError):
            return outcome.fresh_copy()
    reasons = [each.reason for each in outcomes if isinstance(each, Answer)]
    if ResolveReason.NO_SUCH_NAME in reasons:
        return ResolveError(
            f"cannot resolve {host!r}: there is no such name", reason=ResolveReason.NO_SUCH_NAME
        )
    return ResolveError(
        f"cannot resolve {host!r}: the name has no address", reason=ResolveReason.NO_ADDRESS
    )
