"""The pool: carries out what `policy/pool.py` decides.

Requests `acquire` a lease and `release` it; connections are dialled and run in the client's task
group, so a request that is cancelled takes nothing down with it. Between the decision and the
request's first byte the slot is counted as taken by its lease.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from itertools import count

import anyio
from anyio.abc import TaskGroup

from .config import HttpVersion, Limits, Preference
from .connections.connection import Connection, ConnectionState
from .connector import Connector
from .errors import ClientClosed, ConnectTimeout, PoolTimeout, TransportError, defect
from .message import Origin
from .net.dial_log import DialLog
from .origins import OriginMemory
from .policy.pool import (
    Action,
    Assign,
    ConnectionView,
    Dial,
    DialView,
    Retire,
    WaiterView,
    decide,
    has_room,
    next_in_line,
    preferred,
    ranks_highest,
)
from .policy.routes import Route
from .policy.selection import Plan, choose, only_plan
from .profile.moments import DialRecord

logger = logging.getLogger("trilane")

# By name: an enum's members are looked up each time.
_OPEN = ConnectionState.OPEN


@dataclass(slots=True)
class Lease:
    """One request's right to use a connection."""

    connection: Connection
    reused: bool
    """Another request used it before."""


class DialFailed(Exception):
    """A connection could not be made; carries what happened on the way. Never leaves the engine."""

    def __init__(self, error: TransportError, record: DialRecord) -> None:
        super().__init__(str(error))
        self.error = error
        self.record = record


@dataclass(slots=True)
class _Pooled:
    connection: Connection
    route: Route
    version: HttpVersion
    connection_id: int
    offered: frozenset[HttpVersion]
    released_s: float
    leases: int = 0
    used: bool = False

    @property
    def usable(self) -> bool:
        """Whether it takes requests, for all that is known without looking at its socket."""
        return self.connection.state is _OPEN

    @property
    def idle_since_s(self) -> float | None:
        """When it was released or made; None while requests are on it."""
        return None if self.leases else self.released_s

    @property
    def needs_look(self) -> bool:
        """Whether its peer may have closed it unnoticed: it lies idle after it was used."""
        return self.used and self.leases == 0

    def takes_first(self, since_s: float) -> bool:
        """Whether nobody has it, and it was released after a time and takes requests.

        Then it has room, which is told in fewer steps than `has_room` takes.
        """
        return (
            self.leases == 0
            and self.released_s > since_s
            and self.connection.available_requests > 0
        )

    @property
    def free(self) -> int:
        """How many more requests may be given to it."""
        connection = self.connection
        return connection.active_requests + connection.available_requests - self.leases


@dataclass(slots=True)
class _Way:
    """How requests reach an origin; those of a program follow each other to the same."""

    origin: Origin | None
    preference: Preference | None
    route: Route
    request: WaiterView | None
    """One of them; None: its plan depends on what is known of the origin."""
    best: _Pooled | None = None
    """What the last of them was given, if nothing can be preferred to it as long as it has room
    and is the one that was released last."""


@dataclass(slots=True, eq=False)
class _Waiter:
    ticket: int
    origin: Origin
    route: Route
    preference: Preference
    newer_than: int
    connect_s: float | None
    early_data: bool
    ready: anyio.Event = field(default_factory=anyio.Event)
    own_dial: bool = False
    lease: Lease | None = None
    failure: DialFailed | None = None


@dataclass(slots=True, eq=False)
class _Dialling:
    waiter: _Waiter
    plan: Plan
    scope: anyio.CancelScope
    log: DialLog = field(default_factory=DialLog)


class Pool:
    """All connections of one client."""

    def __init__(
        self,
        tasks: TaskGroup,
        connector: Connector,
        memory: OriginMemory,
        limits: Limits,
        clock_s: Callable[[], float],
    ) -> None:
        self._tasks = tasks
        self._connector = connector
        self._memory = memory
        self._limits = limits
        self._clock_s = clock_s
        self._tickets = count(1)
        self._connections: OrderedDict[int, _Pooled] = OrderedDict()
        """By id; what was given to a request comes first, what was released comes last."""
        self._dials: list[_Dialling] = []
        self._waiters: dict[int, _Waiter] = {}
        self._closed = False
        self._last_way = _Way(None, None, Route(None), None)

    def take_at_hand(
        self, origin: Origin, preference: Preference, *, newer_than: int = 0
    ) -> Lease | None:
        """The connection that `acquire` would give without a wait; None: ask it.

        Raises:
            ProtocolUnavailable: the preference cannot be met by this kind of URL.
        """
        if self._closed or (self._waiters and self._waiting()):
            return None
        way = self._last_way
        if way.origin is not origin or way.preference is not preference:
            route = self._connector.route_to(origin, preference)
            plan = only_plan(preference, origin)
            request = None if plan is None else WaiterView(ticket=0, route=route, plan=plan)
            self._last_way = way = _Way(origin, preference, route, request)
        request = way.request
        if request is None or newer_than:
            plan = self._plan(origin, preference, way.route)
            request = WaiterView(ticket=0, route=way.route, plan=plan, newer_than=newer_than)
            way = _Way(origin, preference, way.route, request)
        return self._take_preferred(way, request)

    async def acquire(
        self,
        origin: Origin,
        preference: Preference,
        *,
        connect_s: float | None,
        pool_s: float | None,
        newer_than: int = 0,
        early_data: bool = False,
        on_cut_short: Callable[[DialRecord], None] | None = None,
    ) -> Lease:
        """Wait for a connection the request may use.

        Args:
            origin: where the request goes.
            preference: which protocols it may use.
            connect_s: bound on a connection made at this request's instance.
            pool_s: bound on waiting for somebody else's connection.
            newer_than: refuse connections up to this id (a retry wants a fresh one).
            early_data: the request may be sent before the QUIC handshake is complete.
            on_cut_short: told what had come of the dial by the time that the caller was cancelled.

        Raises:
            DialFailed: the connection could not be made.
            PoolTimeout: nothing became free in time.
            ProtocolUnavailable: the preference cannot be met by this kind of URL.
            ClientClosed: the client was closed meanwhile.
        """
        if self._closed:
            raise ClientClosed("the client is closed")
        route = self._connector.route_to(origin, preference)
        self._plan(origin, preference, route)  # which refuses what cannot be
        ticket = next(self._tickets)
        waiter = _Waiter(ticket, origin, route, preference, newer_than, connect_s, early_data)
        self._waiters[ticket] = waiter
        try:
            self._settle()
            await self._wait(waiter, pool_s)
        except BaseException:
            if on_cut_short is not None:
                self._tell_cut_short(waiter, on_cut_short)
            self._give_up(waiter)
            raise
        finally:
            self._waiters.pop(ticket, None)
        if waiter.failure is not None:
            raise waiter.failure
        if waiter.lease is None:
            raise ClientClosed("the client was closed while the request waited for a connection")
        return waiter.lease

    def release(self, lease: Lease) -> None:
        """The request is done with its connection."""
        pooled = self._connections.get(lease.connection.facts.connection_id)
        if pooled is not None:
            pooled.leases -= 1
            if not pooled.leases:
                pooled.released_s = self._clock_s()
                self._connections.move_to_end(pooled.connection_id)
        waiting = self._waiting() if self._waiters else []
        if (
            pooled is None
            or lease.connection.state is not _OPEN
            or (waiting and not self._pass_on(pooled, waiting))
        ):
            self._settle()

    def add(self, route: Route, connection: Connection) -> None:
        """Take in a connection that came up without anybody waiting for it any more."""
        self._adopt(route, connection, frozenset({connection.version}))
        self._settle()

    def newest_connection_id(self) -> int:
        """The highest id any connection of this pool has had."""
        return max(self._connections, default=0)

    @property
    def connections(self) -> list[Connection]:
        """Every connection that is not closed."""
        return [pooled.connection for pooled in self._connections.values()]

    async def run_expiry(self) -> None:
        """Close idle connections in time; runs until cancelled."""
        while True:
            await anyio.sleep(max(self._limits.idle_connection_s / 4, 0.05))
            self._settle()

    async def aclose(self) -> None:
        """Close everything; requests that wait get ClientClosed."""
        self._closed = True
        for dialling in self._dials:
            dialling.scope.cancel()
        for waiter in self._waiters.values():
            waiter.ready.set()
        async with anyio.create_task_group() as tasks:
            for connection in self.connections:
                tasks.start_soon(connection.aclose)
        self._connections.clear()
        self._last_way.best = None

    async def _wait(self, waiter: _Waiter, pool_s: float | None) -> None:
        while not waiter.ready.is_set():
            with anyio.move_on_after(None if waiter.own_dial else pool_s) as scope:
                await waiter.ready.wait()
            if scope.cancelled_caught and not waiter.own_dial and not waiter.ready.is_set():
                raise PoolTimeout(f"no connection to {waiter.origin} became free in {pool_s} s")

    # --- the snapshot and its actions; no await from here on ---------------------------------

    def _take_preferred(self, way: _Way, request: WaiterView) -> Lease | None:
        """What settling would come to when nobody waits and the preferred connection lives."""
        connections, limits, now_s = self._connections.values(), self._limits, self._clock_s()
        found = way.best
        if (
            found is None
            or found is not next(reversed(connections), None)
            or not (
                found.takes_first(now_s - limits.idle_connection_s)
                or has_room(found, limits, now_s)
            )
        ):
            found = preferred(reversed(connections), request, limits, now_s)
            way.best = found if found is not None and ranks_highest(found, request) else None
        if found is None or (found.needs_look and not found.connection.is_alive()):
            return None
        return self._lease(found)

    def _lease(self, pooled: _Pooled) -> Lease:
        """Give a connection to one more request."""
        self._connections.move_to_end(pooled.connection_id, last=False)
        lease = Lease(pooled.connection, pooled.used)
        pooled.leases += 1
        pooled.used = True
        return lease

    def _pass_on(self, pooled: _Pooled, waiting: list[_Waiter]) -> bool:
        """Give a connection that has become free to whom settling would, if it can be told."""
        if pooled.needs_look and not pooled.connection.is_alive():
            return False
        views = (self._waiter_view(waiter) for waiter in waiting)
        first = next_in_line(self._view(pooled, usable=True), views)
        if first is None:
            return False
        self._carry_out(Assign(first.ticket, pooled.connection_id))
        return True

    def _waiting(self) -> list[_Waiter]:
        return [waiter for waiter in self._waiters.values() if not waiter.ready.is_set()]

    def _settle(self) -> None:
        if self._closed:
            return
        waiting = self._waiting()
        views = [self._waiter_view(w) for w in waiting]
        dials = [DialView(route=d.waiter.route, plan=d.plan) for d in self._dials]
        routes = {w.route for w in waiting}
        pooled = [self._connection_view(p, routes) for p in self._connections.values()]
        for action in decide(pooled, dials, views, self._limits, self._clock_s()):
            self._carry_out(action)

    def _waiter_view(self, waiter: _Waiter) -> WaiterView:
        return WaiterView(
            ticket=waiter.ticket,
            route=waiter.route,
            plan=self._plan_for(waiter),
            newer_than=waiter.newer_than,
        )

    def _plan_for(self, waiter: _Waiter) -> Plan:
        return self._plan(waiter.origin, waiter.preference, waiter.route)

    def _plan(self, origin: Origin, preference: Preference, route: Route) -> Plan:
        plan = only_plan(preference, origin)
        if plan is None:
            plan = choose(preference, origin, self._memory.knowledge(origin), route.proxy)
        return plan

    def _connection_view(self, pooled: _Pooled, wanted: set[Route]) -> ConnectionView:
        usable = pooled.usable
        if usable and pooled.needs_look and pooled.route in wanted:
            usable = pooled.connection.is_alive()
        return self._view(pooled, usable=usable)

    def _view(self, pooled: _Pooled, *, usable: bool) -> ConnectionView:
        return ConnectionView(
            connection_id=pooled.connection_id,
            route=pooled.route,
            version=pooled.version,
            offered=pooled.offered,
            free=pooled.free if usable else 0,
            usable=usable,
            idle_since_s=pooled.idle_since_s,
        )

    def _carry_out(self, action: Action) -> None:
        match action:
            case Assign(ticket, connection_id):
                waiter = self._waiters[ticket]
                waiter.lease = self._lease(self._connections[connection_id])
                waiter.ready.set()
            case Dial(ticket):
                waiter = self._waiters[ticket]
                waiter.own_dial = True
                dialling = _Dialling(waiter, self._plan_for(waiter), anyio.CancelScope())
                self._dials.append(dialling)
                self._tasks.start_soon(self._dial, dialling)
            case Retire(connection_id):
                connection = self._connections[connection_id].connection
                self._forget(connection)
                connection.retire()

    def _adopt(self, route: Route, connection: Connection, offered: frozenset[HttpVersion]) -> None:
        connection_id = connection.facts.connection_id
        self._connections[connection_id] = _Pooled(
            connection, route, connection.version, connection_id, offered, self._clock_s()
        )
        connection.on_room = partial(self._heed, connection)
        self._tasks.start_soon(self._run, connection)

    def _forget(self, connection: Connection) -> None:
        """Hold it no more: it knows the credentials that were sent on it."""
        pooled = self._connections.pop(connection.facts.connection_id, None)
        if self._last_way.best is pooled:
            self._last_way.best = None

    def _heed(self, connection: Connection) -> None:
        """A connection takes more requests than before, which few wait for, or none any more."""
        if self._waiters or connection.state is not ConnectionState.OPEN:
            self._settle()

    def _wants(self, waiter: _Waiter, dialling: _Dialling) -> bool:
        """Whether the outcome of a dial concerns a waiting request."""
        if waiter.ready.is_set():
            return False
        if waiter is dialling.waiter:
            return True
        return (
            dialling.plan.may_multiplex
            and waiter.route == dialling.waiter.route
            and self._plan_for(waiter) == dialling.plan
        )

    def _tell_cut_short(self, waiter: _Waiter, told: Callable[[DialRecord], None]) -> None:
        for dialling in self._dials:
            if self._wants(waiter, dialling):
                told(dialling.log.cut_short("the time was up"))

    def _give_up(self, waiter: _Waiter) -> None:
        """A request goes away without a connection; so does its dial, unless others want that.

        The dial of a request that got somebody else's connection goes on: there were more requests
        than connections, and whoever waits next counts on it.
        """
        self._waiters.pop(waiter.ticket, None)
        if waiter.lease is not None:
            self.release(waiter.lease)
        for dialling in self._dials:
            if dialling.waiter is waiter and not any(
                self._wants(other, dialling) for other in self._waiters.values()
            ):
                dialling.scope.cancel()

    # --- tasks of the client's group ----------------------------------------------------------

    async def _dial(self, dialling: _Dialling) -> None:
        waiter, log = dialling.waiter, dialling.log
        failure: TransportError | None = None
        connection: Connection | None = None
        with dialling.scope:
            try:
                with anyio.move_on_after(waiter.connect_s) as timer:
                    connection = await self._connector.connect(
                        waiter.origin,
                        waiter.route,
                        dialling.plan,
                        log,
                        early_data=waiter.early_data,
                    )
                if timer.cancelled_caught and connection is None:
                    failure = ConnectTimeout(
                        f"no connection to {waiter.origin} within {waiter.connect_s} s"
                    )
            except TransportError as error:
                failure = error
            except Exception as exc:  # noqa: BLE001 - a bug, which ends this dial and no other
                failure = defect(exc)
        interested = [w for w in self._waiters.values() if self._wants(w, dialling)]
        self._dials.remove(dialling)
        if connection is not None:
            if self._closed:
                await connection.aclose()
            else:
                self._adopt(waiter.route, connection, frozenset(dialling.plan.alpn))
        elif failure is not None:
            for each in interested:
                each.failure = DialFailed(failure.fresh_copy(), log.freeze())
                each.ready.set()
        self._settle()

    async def _run(self, connection: Connection) -> None:
        try:
            await connection.run()
        except Exception:
            logger.exception("a connection has ended by a bug")  # which ends it and no other
        if connection.version is not HttpVersion.HTTP1:
            # Its tasks have ended, so it has; HTTP/1.1 has none and lives on.
            self._forget(connection)
            self._settle()
