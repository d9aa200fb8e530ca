"""The pool's rules, one set for the three protocols: who gets which connection, what is dialled.

`decide` looks at a snapshot and returns actions; `transport/pool.py` carries them out and calls
again. Requests are served in FIFO order per route. A route that may multiplex is dialled once
at a time, whoever waits (single flight); HTTP/1.1 gets a connection per waiting request up to the
limits. An idle connection of another route makes room when the total is reached.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol, TypeVar

from ..config import HttpVersion, Limits
from .routes import Route
from .selection import Plan

_RANK = {HttpVersion.HTTP3: 0, HttpVersion.HTTP2: 1, HttpVersion.HTTP1: 2}


class Candidate(Protocol):
    """What the rules need to know of a connection."""

    @property
    def connection_id(self) -> int:
        """The newer, the higher."""

    @property
    def route(self) -> Route:
        """Where it leads."""

    @property
    def version(self) -> HttpVersion:
        """What it speaks."""

    @property
    def offered(self) -> frozenset[HttpVersion]:
        """What the peer could choose from when it was made."""

    @property
    def free(self) -> int:
        """Requests it can take now; 0 while draining."""

    @property
    def usable(self) -> bool:
        """Open and alive; a connection that is not is retired as soon as it is idle."""

    @property
    def idle_since_s(self) -> float | None:
        """None while requests are on it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionView:
    """A connection as it is now; see `Candidate`."""

    connection_id: int
    route: Route
    version: HttpVersion
    offered: frozenset[HttpVersion]
    free: int
    usable: bool
    idle_since_s: float | None


Open = TypeVar("Open", bound=Candidate)


@dataclass(frozen=True, slots=True, kw_only=True)
class DialView:
    """A connection being made."""

    route: Route
    plan: Plan


@dataclass(slots=True, kw_only=True)
class WaiterView:
    """A request that needs a connection."""

    ticket: int
    route: Route
    plan: Plan
    newer_than: int = 0
    """Only connections with a higher id will do (a retry wants a fresh one)."""


@dataclass(frozen=True, slots=True)
class Assign:
    """Give the connection to the request."""

    ticket: int
    connection_id: int


@dataclass(frozen=True, slots=True)
class Dial:
    """Make a connection, at this request's instance."""

    ticket: int


@dataclass(frozen=True, slots=True)
class Retire:
    """Close the connection once nothing is on it."""

    connection_id: int


Action = Assign | Dial | Retire


def decide(
    connections: Sequence[ConnectionView],
    dials: Sequence[DialView],
    waiters: Sequence[WaiterView],
    limits: Limits,
    now_s: float,
) -> list[Action]:
    """The actions that bring the pool in order. `waiters` is in order of arrival."""
    retired = {c.connection_id for c in connections if _is_spent(c, limits, now_s)}
    room = _Room([c for c in connections if c.connection_id not in retired], dials, limits)
    actions: list[Action] = [Retire(connection_id) for connection_id in sorted(retired)]
    for waiter in waiters:
        actions += room.place(waiter)
    return actions


def preferred(
    connections: Iterable[Open], waiter: WaiterView, limits: Limits, now_s: float
) -> Open | None:
    """What `decide` would give to a request that nobody waits beside; None: ask it.

    `connections` are in the order of their release, the last one first: of the best protocol that
    will do, the first is the one, and the others need not be looked at.
    """
    best, best_rank = None, len(_RANK)
    for c in connections:
        rank = _RANK[c.version]
        if rank < best_rank and _fits(c, waiter) and has_room(c, limits, now_s):
            best, best_rank = c, rank
            if ranks_highest(c, waiter):
                break
    return best


def has_room(connection: Candidate, limits: Limits, now_s: float) -> bool:
    """Whether a request may be given to it, so far as that depends on the moment."""
    if connection.free <= 0 or not connection.usable:
        return False
    idle_since_s = connection.idle_since_s
    return idle_since_s is None or now_s - idle_since_s < limits.idle_connection_s


def ranks_highest(connection: Candidate, waiter: WaiterView) -> bool:
    """Whether the request may use no better protocol than this one."""
    return _RANK[connection.version] == _highest_rank(waiter.plan.reusable)


@lru_cache(maxsize=16)
def _highest_rank(versions: frozenset[HttpVersion]) -> int:
    return min(_RANK[version] for version in versions)


def next_in_line(connection: ConnectionView, waiters: Iterable[WaiterView]) -> WaiterView | None:
    """To whom `decide` would give a connection that alone has become free; None: ask it."""
    if connection.free <= 0 or not connection.usable:
        return None
    return next((waiter for waiter in waiters if _fits(connection, waiter)), None)


def _is_spent(connection: Candidate, limits: Limits, now_s: float) -> bool:
    if connection.idle_since_s is None:
        return False
    expired = now_s - connection.idle_since_s >= limits.idle_connection_s
    return expired or not connection.usable


def _fits(connection: Candidate, waiter: WaiterView) -> bool:
    return (
        connection.version in waiter.plan.reusable
        and connection.connection_id > waiter.newer_than
        and connection.route == waiter.route
        and not _had_no_choice(connection, waiter)
    )


def _had_no_choice(connection: Candidate, waiter: WaiterView) -> bool:
    """Whether it speaks HTTP/1.1 for want of an offer that this request would make."""
    return connection.version is HttpVersion.HTTP1 and not connection.offered.issuperset(
        waiter.plan.alpn
    )


def _merit(connection: ConnectionView) -> tuple[int, float]:
    """The better, the less. The last one used is the least likely to have been closed."""
    return _RANK[connection.version], -(connection.idle_since_s or 0)


class _Room:
    """The snapshot while it is being handed out."""

    def __init__(
        self, connections: list[ConnectionView], dials: Sequence[DialView], limits: Limits
    ) -> None:
        self._limits = limits
        self._connections = connections
        self._free = {c.connection_id: c.free for c in connections if c.usable}
        self._idle = {c.connection_id for c in connections if c.idle_since_s is not None}
        self._open_dials = Counter((d.route, d.plan) for d in dials)
        self._per_origin = Counter(c.route for c in connections)
        self._per_origin.update(d.route for d in dials)
        self._total = len(connections) + len(dials)

    def place(self, waiter: WaiterView) -> list[Action]:
        """Serve one waiting request, dial for it, or leave it waiting."""
        chosen = self._best(waiter)
        if chosen is not None:
            self._free[chosen.connection_id] -= 1
            self._idle.discard(chosen.connection_id)
            return [Assign(waiter.ticket, chosen.connection_id)]
        key = (waiter.route, waiter.plan)
        if self._open_dials[key] > 0:
            if not self._single_flight(waiter):
                # That connection will serve one request: the next waiter needs another.
                self._open_dials[key] -= 1
            return []
        if self._full_multiplexed(waiter):
            return []
        return self._dial(waiter)

    def _best(self, waiter: WaiterView) -> ConnectionView | None:
        # Room is asked for first: with many requests at once, few connections have any.
        free = [
            c
            for c in self._connections
            if self._free.get(c.connection_id, 0) > 0 and _fits(c, waiter)
        ]
        return min(free, key=_merit, default=None)

    def _full_multiplexed(self, waiter: WaiterView) -> bool:
        """Whether a connection exists whose streams are all taken: one of them will end."""
        return self._has(waiter, multiplexed=True)

    def _single_flight(self, waiter: WaiterView) -> bool:
        """One dial for all who wait, unless the origin is seen to answer with HTTP/1.1."""
        return waiter.plan.may_multiplex and not self._has(waiter, multiplexed=False)

    def _has(self, waiter: WaiterView, *, multiplexed: bool) -> bool:
        """Whether a usable connection of this kind exists, with room or without."""
        return any(
            c.connection_id in self._free and _fits(c, waiter)
            for c in self._connections
            if (c.version is not HttpVersion.HTTP1) is multiplexed
        )

    def _dial(self, waiter: WaiterView) -> list[Action]:
        if self._per_origin[waiter.route] >= self._limits.connections_per_origin:
            # Only idle connections this request cannot use are left of those that could go.
            oldest = self._oldest_idle(waiter.route)
        elif self._total >= self._limits.connections_total:
            oldest = self._oldest_idle()
        else:
            return self._dialled(waiter, [])
        if oldest is None:
            return []
        self._drop(oldest)
        return self._dialled(waiter, [Retire(oldest.connection_id)])

    def _dialled(self, waiter: WaiterView, actions: list[Action]) -> list[Action]:
        self._total += 1
        self._per_origin[waiter.route] += 1
        if self._single_flight(waiter):
            self._open_dials[waiter.route, waiter.plan] += 1
        return [*actions, Dial(waiter.ticket)]

    def _oldest_idle(self, route: Route | None = None) -> ConnectionView | None:
        idle = [
            c
            for c in self._connections
            if c.connection_id in self._idle and route in {None, c.route}
        ]
        return min(idle, key=lambda c: c.idle_since_s or 0, default=None)

    def _drop(self, connection: ConnectionView) -> None:
        self._idle.discard(connection.connection_id)
        self._free.pop(connection.connection_id, None)
        self._connections = [c for c in self._connections if c is not connection]
        self._per_origin[connection.route] -= 1
        self._total -= 1
