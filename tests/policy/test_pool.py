"""The pool's decisions, as values in and values out."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from trilane.transport.config import HttpVersion, Limits
from trilane.transport.message import Origin
from trilane.transport.policy.pool import (
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
from trilane.transport.policy.routes import Route
from trilane.transport.policy.selection import Plan

H1, H2, H3 = HttpVersion.HTTP1, HttpVersion.HTTP2, HttpVersion.HTTP3
A, B = (Route(Origin("https", host, 443)) for host in ("a.example", "b.example"))
ONLY_H1 = Plan(reusable=frozenset({H1}), alpn=(H1,))
EITHER = Plan(reusable=frozenset({H1, H2}), alpn=(H2, H1))
LIMITS = Limits()


def connection(
    connection_id: int,
    version: HttpVersion = H1,
    *,
    route: Route = A,
    offered: frozenset[HttpVersion] = frozenset({H1, H2}),
    free: int = 1,
    usable: bool = True,
    idle_since_s: float | None = 0.0,
) -> ConnectionView:
    return ConnectionView(
        connection_id=connection_id,
        route=route,
        version=version,
        offered=offered,
        free=free,
        usable=usable,
        idle_since_s=idle_since_s,
    )


def waiter(ticket: int, plan: Plan = ONLY_H1, route: Route = A, newer_than: int = 0) -> WaiterView:
    return WaiterView(ticket=ticket, route=route, plan=plan, newer_than=newer_than)


def test_requests_are_served_in_order_of_arrival() -> None:
    actions = decide([connection(1)], [], [waiter(5), waiter(6)], LIMITS, 1.0)

    assert actions == [Assign(5, 1), Dial(6)]


def test_the_most_recently_used_idle_connection_is_taken() -> None:
    idle = [connection(1, idle_since_s=3.0), connection(2, idle_since_s=9.0)]

    assert decide(idle, [], [waiter(1)], LIMITS, 10.0) == [Assign(1, 2)]


def test_the_better_protocol_is_taken() -> None:
    both = [connection(1, H1), connection(2, H2, free=100)]

    assert decide(both, [], [waiter(1, EITHER)], LIMITS, 0.0) == [Assign(1, 2)]


def test_http1_for_want_of_an_offer_does_not_stand_for_http2() -> None:
    """A peer that could not choose HTTP/2 has not refused it."""
    unasked = connection(1, H1, offered=frozenset({H1}))

    assert decide([unasked], [], [waiter(1, EITHER)], LIMITS, 0.0) == [Dial(1)]
    assert decide([unasked], [], [waiter(1, ONLY_H1)], LIMITS, 0.0) == [Assign(1, 1)]
    assert decide([connection(1, H1)], [], [waiter(1, EITHER)], LIMITS, 0.0) == [Assign(1, 1)]


def test_an_origin_that_may_multiplex_is_dialled_once() -> None:
    waiters = [waiter(n, EITHER) for n in range(1, 6)]

    assert decide([], [], waiters, LIMITS, 0.0) == [Dial(1)]
    assert decide([], [DialView(route=A, plan=EITHER)], waiters, LIMITS, 0.0) == []


def test_an_origin_seen_to_speak_http1_gets_parallel_dials_all_the_same() -> None:
    busy = connection(1, H1, free=0, idle_since_s=None)
    waiters = [waiter(n, EITHER) for n in range(1, 4)]

    assert decide([busy], [], waiters, LIMITS, 0.0) == [Dial(1), Dial(2), Dial(3)]


def test_http1_dials_once_per_waiting_request() -> None:
    dials = [DialView(route=A, plan=ONLY_H1)]

    assert decide([], dials, [waiter(1), waiter(2)], LIMITS, 0.0) == [Dial(2)]


def test_streams_are_given_out_up_to_the_peers_limit_and_then_waited_for() -> None:
    shared = connection(1, H2, free=2, idle_since_s=None)
    waiters = [waiter(n, EITHER) for n in range(1, 5)]

    assert decide([shared], [], waiters, LIMITS, 0.0) == [Assign(1, 1), Assign(2, 1)]


def test_idle_connections_expire_and_dead_ones_go_at_once() -> None:
    views = [
        connection(1, idle_since_s=0.0),
        connection(2, idle_since_s=29.0),
        connection(3, usable=False, free=0, idle_since_s=29.0),
        connection(4, usable=False, free=0, idle_since_s=None),
    ]

    assert decide(views, [], [], LIMITS, 30.0) == [Retire(1), Retire(3)]


def test_the_limit_per_origin_holds() -> None:
    limits = Limits(connections_per_origin=2)
    busy = [connection(n, free=0, idle_since_s=None) for n in (1, 2)]

    assert decide(busy, [], [waiter(1)], limits, 0.0) == []


def test_an_unusable_idle_connection_makes_room_within_the_origin() -> None:
    limits = Limits(connections_per_origin=1)
    only_h3 = Plan(reusable=frozenset({H3}), quic=("a.example", 443))

    actions = decide([connection(1, H1)], [], [waiter(1, only_h3)], limits, 0.0)

    assert actions == [Retire(1), Dial(1)]


def test_the_longest_idle_connection_elsewhere_makes_room() -> None:
    limits = Limits(connections_total=2)
    idle = [connection(1, route=B, idle_since_s=5.0), connection(2, route=B, idle_since_s=1.0)]

    assert decide(idle, [], [waiter(1)], limits, 6.0) == [Retire(2), Dial(1)]


def test_a_retry_gets_none_of_the_connections_that_may_be_stale_too() -> None:
    idle = [connection(1), connection(2)]

    assert decide(idle, [], [waiter(1, newer_than=2)], LIMITS, 0.0) == [Dial(1)]


views = st.builds(
    connection,
    st.integers(1, 1000),
    st.sampled_from(HttpVersion),
    route=st.sampled_from([A, B]),
    offered=st.sampled_from([frozenset({H1}), frozenset({H1, H2})]),
    free=st.integers(0, 3),
    usable=st.booleans(),
    idle_since_s=st.none() | st.floats(0, 100),
)
plans = st.sampled_from([ONLY_H1, EITHER, Plan(reusable=frozenset({H3}), quic=("a", 1))])
some_waiters = st.lists(
    st.builds(waiter, st.integers(), plans, st.sampled_from([A, B])),
    unique_by=lambda w: w.ticket,
    max_size=8,
)


@given(
    st.lists(views, unique_by=lambda c: c.connection_id, max_size=8),
    st.builds(waiter, st.integers(), plans, st.sampled_from([A, B]), st.integers(0, 1000)),
)
def test_what_is_preferred_is_what_would_be_decided(
    connections: list[ConnectionView], alone: WaiterView
) -> None:
    newest_first = sorted(connections, key=lambda c: -(c.idle_since_s or 0))
    found = preferred(newest_first, alone, LIMITS, 100.0)
    given = [a for a in decide(connections, [], [alone], LIMITS, 100.0) if isinstance(a, Assign)]

    assert given == ([] if found is None else [Assign(alone.ticket, found.connection_id)])


@given(views, st.lists(views, max_size=4), st.builds(waiter, st.integers(), plans))
def test_the_last_one_released_is_preferred_if_it_has_room_and_none_ranks_higher(
    newest: ConnectionView, others: list[ConnectionView], alone: WaiterView
) -> None:
    """So whether it fits need not be asked again for every request."""
    fitted = preferred([replace(newest, free=1, usable=True, idle_since_s=None)], alone, LIMITS, 0)
    if fitted is not None and ranks_highest(newest, alone) and has_room(newest, LIMITS, 100.0):
        assert preferred([newest, *others], alone, LIMITS, 100.0) is newest


@given(views, st.lists(views, unique_by=lambda c: c.connection_id, max_size=4), some_waiters)
def test_who_is_next_in_line_is_whom_it_would_be_assigned_to(
    freed: ConnectionView, others: list[ConnectionView], waiters: list[WaiterView]
) -> None:
    """The others are all taken, and it was given back a moment ago."""
    freed = replace(freed, idle_since_s=None if freed.idle_since_s is None else 100.0)
    taken = [
        replace(each, free=0, idle_since_s=None)
        for each in others
        if each.connection_id != freed.connection_id
    ]
    found = next_in_line(freed, waiters)
    actions = decide([freed, *taken], [], waiters, LIMITS, 100.0)
    given = [action for action in actions if isinstance(action, Assign)]

    assert given[:1] == ([] if found is None else [Assign(found.ticket, freed.connection_id)])


@given(
    st.lists(views, unique_by=lambda c: c.connection_id, max_size=8),
    st.lists(st.builds(DialView, route=st.sampled_from([A, B]), plan=plans), max_size=4),
    some_waiters,
    st.integers(1, 6),
    st.integers(1, 8),
)
def test_whatever_the_state_limits_and_capacities_hold(
    connections: list[ConnectionView],
    dials: list[DialView],
    waiters: list[WaiterView],
    per_origin: int,
    total: int,
) -> None:
    limits = Limits(connections_per_origin=per_origin, connections_total=total)
    actions = decide(connections, dials, waiters, limits, 100.0)

    by_id = {c.connection_id: c for c in connections}
    assigned = [a for a in actions if isinstance(a, Assign)]
    retired = [a.connection_id for a in actions if isinstance(a, Retire)]
    dialled = [a.ticket for a in actions if isinstance(a, Dial)]
    plans_by_ticket = {w.ticket: w for w in waiters}
    assert len(retired) == len(set(retired))
    assert len({a.ticket for a in assigned} | set(dialled)) == len(assigned) + len(dialled)
    for action in assigned:
        chosen, wanted = by_id[action.connection_id], plans_by_ticket[action.ticket]
        assert chosen.connection_id not in retired
        assert (chosen.route, chosen.usable) == (wanted.route, True)
        assert chosen.version in wanted.plan.reusable
    for connection_id in {a.connection_id for a in assigned}:
        taken = [a for a in assigned if a.connection_id == connection_id]
        assert len(taken) <= by_id[connection_id].free
    if dialled:
        left = len(connections) - len(retired) + len(dials) + len(dialled)
        assert left <= max(total, len(connections) + len(dials))
