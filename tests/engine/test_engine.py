"""The engine's way with a request: queue, pool, retries, redirects, deadlines, closing."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import AsyncIterator, Iterator
from typing import Any

import anyio
import pytest

from tests.peers.certificates import Certificates
from tests.peers.leaks import no_leaked_descriptors
from tests.peers.scripted import Peer, Script, full_backlog, refused_port, scripted_server
from trilane.transport.call import Call, Outcome
from trilane.transport.config import (
    EngineOptions,
    HttpVersion,
    Limits,
    Preference,
    RetryStale,
    Timeouts,
    TlsOptions,
)
from trilane.transport.connections.exchange import Progress
from trilane.transport.engine import Engine
from trilane.transport.errors import (
    ClientClosed,
    ConnectError,
    ConnectionLost,
    ConnectTimeout,
    Phase,
    PoolTimeout,
    RedirectError,
    SourceNotRewindable,
    TotalTimeout,
    TransportError,
)
from trilane.transport.message import Headers, parse_url
from trilane.transport.policy.redirect import MAX_REDIRECTS
from trilane.transport.profile.invariants import order_violations
from trilane.transport.profile.moments import AttemptOutcome
from trilane.transport.profile.profile import Profile, fold
from trilane.transport.profile.recorder import Recorder
from trilane.transport.protocols import ipsec_mb
from trilane.transport.sources import FileInput, content_body

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@pytest.fixture(autouse=True)
def nothing_leaks() -> Iterator[None]:
    with no_leaked_descriptors():
        yield


def answer(data: bytes = OK) -> Script:
    def script(peer: Peer) -> None:
        while True:
            peer.read_request()
            peer.send(data)

    return script


async def send(
    engine: Engine,
    url: str,
    content: FileInput = b"payload",
    **options: Any,
) -> tuple[Outcome, Profile]:
    recorder = Recorder()
    body = await content_body(content)
    call = Call(method="POST", url=parse_url(url), body=body, **options)
    try:
        outcome = await engine.send(call, recorder)
    except TransportError as error:
        check(error.profile)
        raise
    return outcome, check(fold(recorder))


def check(profile: Profile | None) -> Profile:
    """Every profile keeps its order, a failed request's too."""
    assert profile is not None
    assert order_violations(profile) == []
    return profile


async def test_a_connection_is_kept_and_its_reuse_is_told() -> None:
    with scripted_server(answer()) as server:
        async with Engine() as engine:
            _, first = await send(engine, server.url())
            _, second = await send(engine, server.url())

    assert (first.socket_reused, second.socket_reused) == (False, True)
    assert first.connection_id == second.connection_id
    assert server.accepted == 1
    assert second.seed()["connectEnd"] == second.seed()["fetchStart"]


async def test_more_requests_than_slots_wait_in_order_of_arrival() -> None:
    release = threading.Event()

    def held(peer: Peer) -> None:
        while True:
            peer.read_request()
            release.wait(10)
            peer.send(OK)

    finished: list[int] = []
    profiles: dict[int, Profile] = {}

    async def one(number: int) -> None:
        _, profiles[number] = await send(engine, server.url())
        finished.append(number)

    with scripted_server(held) as server:
        async with (
            Engine(EngineOptions(limits=Limits(parallel_requests=1))) as engine,
            anyio.create_task_group() as tasks,
        ):
            for number in range(5):
                tasks.start_soon(one, number)
                await anyio.wait_all_tasks_blocked()
            release.set()

    assert finished == [0, 1, 2, 3, 4]
    assert profiles[0].queue_start == profiles[0].queue_end
    starts = [profiles[n].fetch_start for n in range(5)]
    assert starts == sorted(start for start in starts if start is not None)
    for number in range(1, 5):
        queued = profiles[number]
        assert queued.queue_start is not None
        assert queued.queue_end is not None
        assert queued.queue_end > queued.queue_start


async def test_waiting_for_a_slot_is_bounded_by_pool_s() -> None:
    with scripted_server(Peer.hold) as server:
        async with (
            Engine(EngineOptions(limits=Limits(parallel_requests=1))) as engine,
            anyio.create_task_group() as tasks,
        ):
            tasks.start_soon(send, engine, server.url())
            await anyio.wait_all_tasks_blocked()
            with pytest.raises(PoolTimeout) as caught:
                await send(engine, server.url(), timeouts=Timeouts(pool_s=0.05))
            tasks.cancel_scope.cancel()

    assert caught.value.phase is Phase.QUEUE


def dies_on_the_second_request(peer: Peer) -> None:
    peer.read_request()
    peer.send(OK)
    peer.read_request()
    peer.close()


async def test_a_stale_connection_is_replaced_once() -> None:
    with scripted_server(dies_on_the_second_request, answer()) as server:
        async with Engine() as engine:
            await send(engine, server.url())
            outcome, profile = await send(engine, server.url())

    assert outcome.body == b"ok"
    assert [leg.error is None for leg in profile.legs] == [False, True]
    assert not profile.socket_reused
    assert profile.connect_start is not None
    assert profile.redirect_start is None


@pytest.mark.parametrize("policy", ["never", "idempotent"])
async def test_a_stale_connection_is_the_callers_business_if_so_wished(policy: RetryStale) -> None:
    with scripted_server(dies_on_the_second_request, answer()) as server:
        async with Engine() as engine:
            await send(engine, server.url())
            with pytest.raises(ConnectionLost) as caught:
                await send(engine, server.url(), retry_stale=policy)

    assert caught.value.before_response
    assert server.accepted == 1


async def test_a_body_that_cannot_be_rewound_is_not_sent_twice() -> None:
    async def once() -> AsyncIterator[bytes]:
        yield b"payload"

    def chunked(peer: Peer) -> None:
        peer.read_request()
        peer.send(OK)
        peer.read_head()
        peer.close()

    with scripted_server(chunked, answer()) as server:
        async with Engine() as engine:
            await send(engine, server.url())
            with pytest.raises(ConnectionLost):
                await send(engine, server.url(), once())

    assert server.accepted == 1


async def test_a_fresh_connection_that_dies_is_not_retried() -> None:
    def dies(peer: Peer) -> None:
        peer.read_request()
        peer.close()

    with scripted_server(dies) as server:
        async with Engine() as engine:
            with pytest.raises(ConnectionLost) as caught:
                await send(engine, server.url())

    assert server.accepted == 1
    assert caught.value.bytes_sent == len(b"payload")


def redirecting(status: int, location: str) -> Script:
    head = f"HTTP/1.1 {status} Moved\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n"
    return answer(head.encode())


async def test_a_redirect_is_followed_with_the_body() -> None:
    bodies: list[bytes] = []

    def sink(peer: Peer) -> None:
        bodies.append(peer.read_request())
        peer.send(OK)

    with scripted_server(sink) as target, scripted_server(redirecting(307, target.url())) as server:
        async with Engine() as engine:
            outcome, profile = await send(engine, server.url())

    assert bodies == [b"payload"]
    assert str(outcome.url) == target.url()
    assert [leg.status for leg in profile.legs] == [307, 200]
    assert profile.redirect_end == profile.fetch_start
    assert profile.seed()["redirectStart"] == 0  # another port is another origin


@pytest.mark.parametrize("location", ["/elsewhere", "ftp://127.0.0.1/", "http://:x/"])
async def test_a_redirect_may_be_left_to_the_caller(location: str) -> None:
    """Wherever it leads."""
    with scripted_server(redirecting(307, location)) as server:
        async with Engine() as engine:
            outcome, _ = await send(engine, server.url(), follow_redirects=False)

    assert outcome.head.status == 307


async def test_redirects_have_an_end() -> None:
    with scripted_server(redirecting(307, "/again")) as server:
        async with Engine() as engine:
            with pytest.raises(RedirectError) as caught:
                await send(engine, server.url())

    assert caught.value.profile is not None
    assert len(caught.value.profile.legs) == MAX_REDIRECTS + 1


async def test_a_redirect_with_a_body_that_is_gone_is_an_error() -> None:
    def moved(peer: Peer) -> None:
        peer.read_head()
        peer.send(b"HTTP/1.1 308 Moved\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n")
        peer.drain()

    async def once() -> AsyncIterator[bytes]:
        yield b"payload"

    with scripted_server(moved) as server:
        async with Engine() as engine:
            with pytest.raises(SourceNotRewindable):
                await send(engine, server.url(), once())


async def test_417_is_answered_by_sending_without_the_expectation() -> None:
    heads: list[bytes] = []

    def strict(peer: Peer) -> None:
        heads.append(peer.read_head())
        peer.send(b"HTTP/1.1 417 No\r\nContent-Length: 0\r\n\r\n")
        peer.drain()

    def lenient(peer: Peer) -> None:
        heads.append(peer.read_head())
        peer.read_body(len(b"payload"))
        peer.send(OK)

    with scripted_server(strict, lenient) as server:
        async with Engine() as engine:
            outcome, profile = await send(engine, server.url(), expect_continue=True)

    assert outcome.head.status == 200
    assert [b"100-continue" in head for head in heads] == [True, False]
    assert [leg.status for leg in profile.legs] == [417, 200]


async def test_the_whole_call_is_bounded_and_its_profile_is_kept() -> None:
    with scripted_server(Peer.hold) as server:
        async with Engine() as engine:
            with pytest.raises(TotalTimeout) as caught:
                await send(engine, server.url(), timeouts=Timeouts(total_s=0.3))

    assert caught.value.phase is Phase.WAIT
    assert caught.value.bytes_sent == len(b"payload")
    assert caught.value.profile is not None
    assert caught.value.profile.request_end is not None


async def test_a_connection_that_does_not_come_is_given_up() -> None:
    with full_backlog() as port:
        async with Engine() as engine:
            with pytest.raises(ConnectTimeout) as caught:
                await send(engine, f"http://127.0.0.1:{port}/", timeouts=Timeouts(connect_s=0.1))

    profile = caught.value.profile
    assert profile is not None
    assert [a.outcome for a in profile.attempts] == [AttemptOutcome.CANCELLED]


async def test_a_refused_port_fails_every_waiting_request_with_its_own_error() -> None:
    errors: list[ConnectError] = []

    async def one() -> None:
        with pytest.raises(ConnectError) as caught:
            await send(engine, f"http://localhost:{port}/")
        errors.append(caught.value)

    with refused_port() as port:
        async with Engine() as engine, anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(one)

    assert len({id(error) for error in errors}) == 3
    for error in errors:
        assert error.profile is not None
        assert error.profile.dns_end is not None
        assert {a.outcome for a in error.profile.attempts} == {AttemptOutcome.FAILED}


async def test_closing_the_engine_ends_the_requests_on_it() -> None:
    errors: list[TransportError] = []

    async def one() -> None:
        with pytest.raises(TransportError) as caught:
            await send(engine, server.url())
        errors.append(caught.value)

    with scripted_server(Peer.hold) as server:
        async with (
            anyio.create_task_group() as tasks,
            Engine(EngineOptions(limits=Limits(connections_per_origin=1))) as engine,
        ):
            for _ in range(3):
                tasks.start_soon(one)
            await anyio.wait_all_tasks_blocked()

    assert {type(error) for error in errors} == {ClientClosed}


async def test_a_closed_engine_takes_nothing() -> None:
    engine = Engine()
    with pytest.raises(ClientClosed):
        await send(engine, "http://127.0.0.1:9/")


async def test_a_cancelled_request_leaves_the_others_and_the_pool_in_order() -> None:
    with scripted_server(Peer.hold, answer()) as server:
        async with Engine() as engine:
            with anyio.move_on_after(0.05):
                await send(engine, server.url())
            outcome, profile = await send(engine, server.url())

            assert outcome.body == b"ok"
            assert not profile.socket_reused
            assert [c.active_requests for c in engine.pool.connections] == [0]


async def test_a_crowd_gets_a_connection_each_and_keeps_them(certificates: Certificates) -> None:
    """A request that another's connection served leaves its own to whoever comes next."""

    async def repeat(engine: Engine, url: str) -> None:
        for _ in range(8):
            await send(engine, url, preference=Preference(exactly=HttpVersion.HTTP1))

    options = EngineOptions(
        limits=Limits(parallel_requests=6, connections_per_origin=6),
        tls=TlsOptions(verify=str(certificates.ca)),
    )
    with scripted_server(answer(), tls=certificates.server.server_context()) as server:
        url = server.url().replace("http:", "https:")
        async with Engine(options) as engine, anyio.create_task_group() as crowd:
            for _ in range(6):
                crowd.start_soon(repeat, engine, url)

    assert server.accepted <= 6


async def test_idle_connections_are_closed_in_time() -> None:
    closed = threading.Event()

    def watch(peer: Peer) -> None:
        peer.read_request()
        peer.send(OK)
        peer.drain()
        closed.set()

    with scripted_server(watch) as server:
        async with Engine(EngineOptions(limits=Limits(idle_connection_s=0.1))) as engine:
            await send(engine, server.url())
            with anyio.fail_after(5):
                while not closed.is_set():
                    await anyio.sleep(0.02)

            assert engine.pool.connections == []


async def test_nothing_is_kept_of_a_connection_that_is_closed() -> None:
    with scripted_server(answer()) as server:
        async with Engine(EngineOptions(limits=Limits(idle_connection_s=0.1))) as engine:
            for _ in range(2):
                await send(engine, server.url())
            (connection,) = engine.pool.connections
            kept = weakref.ref(connection)
            del connection
            with anyio.fail_after(5):
                while engine.pool.connections:
                    await anyio.sleep(0.02)

            gc.collect()
            assert kept() is None, "it knows the credentials it has sent"


async def test_headers_of_the_call_are_sent() -> None:
    heads: list[bytes] = []

    def keep(peer: Peer) -> None:
        heads.append(peer.read_head())
        peer.read_body(len(b"payload"))
        peer.send(OK)

    with scripted_server(keep) as server:
        async with Engine() as engine:
            await send(engine, server.url(), headers=Headers({"X-Token": "t"}))

    assert b"X-Token: t\r\n" in heads[0]
    assert b"Content-Length: 7\r\n" in heads[0] or b"content-length: 7\r\n" in heads[0]


@pytest.mark.parametrize("size", [0, 7, 3_000_000])
async def test_progress_never_runs_ahead_of_itself(size: int) -> None:
    seen: list[Progress] = []
    with scripted_server(answer()) as server:
        async with Engine() as engine:
            await send(engine, server.url(), bytes(size), on_progress=seen.append)

    assert [p.total for p in seen] == [size] * len(seen)
    assert all((p.acked or 0) <= p.sent for p in seen)
    assert [p.sent for p in seen] == sorted(p.sent for p in seen)
    if size:
        assert seen[-1].sent == size


def test_the_multi_buffer_library_is_looked_for_before_any_upload(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looked: list[str] = []
    monkeypatch.setattr(ipsec_mb, "installed", lambda: looked.append("once"))
    Engine()

    assert looked == ["once"]
