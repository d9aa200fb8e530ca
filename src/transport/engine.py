"""One request's whole way: queue, choose, connect, exchange, redirect, retry.

The only module that knows the whole way; each step is somebody else's.
"""

from __future__ import annotations

import logging
import time
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial
from math import inf
from types import TracebackType
from typing import Self

import anyio
from anyio import to_thread

from .alt_svc_file import load_alternatives, save_alternatives
from .call import Call, Outcome
from .config import DnsOverHttps, DnsServer, EngineOptions, HttpVersion, Preference
from .connections.exchange import Exchange, RawResponse, out_of_time
from .connector import Connector
from .errors import (
    ClientClosed,
    PoolTimeout,
    ProtocolUnavailable,
    RedirectError,
    SourceNotRewindable,
    TotalTimeout,
    TransportError,
    UsageError,
)
from .message import Headers, Origin, RequestHead, without_secrets
from .net.flights import AnswerSource
from .net.loop_clock import loop_clock
from .net.names import NameService, ResolverSource
from .origins import OriginMemory
from .policy.redirect import MAX_REDIRECTS, REDIRECT_STATUSES, Redirection, redirection
from .policy.retry import Failure, may_retry
from .pool import DialFailed, Lease, Pool
from .profile.profile import fold
from .profile.recorder import Leg, Recorder
from .protocols import ipsec_mb
from .quality_meter import quality_meter
from .session_file import put_sessions, take_sessions
from .sessions import SessionStore
from .slots import Slots

logger = logging.getLogger("trilane")

#: Closing waits this long for goodbyes; a peer that does not answer is left behind.
CLOSE_GRACE_S = 1.0


class Engine:
    """Owns the pool and the task group of all its connections; an async context manager."""

    def __init__(self, options: EngineOptions | None = None) -> None:
        self._options = options or EngineOptions()
        self._limits = self._options.limits
        self._quality = quality_meter(self._options.quality)
        self._alt_svc_path = self._options.alt_svc_path
        self._sessions = SessionStore()
        self._unix = self._options.sockets.uds is not None
        self._http_dns = isinstance(self._options.names.resolver, DnsOverHttps)
        # Once in a process, looking for it takes 5 ms; they belong to no upload's profile.
        ipsec_mb.installed()
        self._stack: AsyncExitStack | None = None

    async def __aenter__(self) -> Self:
        if self._stack is not None:
            raise RuntimeError("this engine is already running")
        self._clock_s = clock_s = loop_clock()
        self._memory = OriginMemory(clock_s)
        if self._alt_svc_path is not None:
            self._memory.recall(await to_thread.run_sync(load_alternatives, self._alt_svc_path))
        if self._options.sessions_path is not None:
            path = self._options.sessions_path
            await to_thread.run_sync(take_sessions, path, self._sessions)
        self._sessions.wants_tcp = True
        self._stack = stack = AsyncExitStack()
        source = await self._name_source(stack)
        tasks = await stack.enter_async_context(anyio.create_task_group())
        self._slots = Slots(self._limits.parallel_requests, time.monotonic_ns)
        names = NameService(tasks, self._options.names, source)
        connector = Connector(tasks, self._memory, self._options, self._sessions, names)
        self._pool = Pool(tasks, connector, self._memory, self._limits, clock_s)
        connector.on_late_connection = self._pool.add
        tasks.start_soon(self._pool.run_expiry)
        self._tasks = tasks
        return self

    async def _name_source(self, stack: AsyncExitStack) -> AnswerSource:
        resolver = self._options.names.resolver
        if not isinstance(resolver, DnsOverHttps | DnsServer):
            return ResolverSource(resolver)
        # What asks needs dnspython, which is an extra.
        if isinstance(resolver, DnsServer):
            from .net.dns_server import DnsServerSource  # noqa: PLC0415

            return DnsServerSource(resolver, self._options.sockets)
        from .doh_exchange import ask, server_options  # noqa: PLC0415
        from .net.doh import DohSource  # noqa: PLC0415

        inner = await stack.enter_async_context(Engine(server_options(self._options)))
        shown = without_secrets(resolver.url)
        return DohSource(shown, partial(ask, resolver, inner.send))

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        stack, self._stack = self._stack, None
        if stack is None:
            return
        self._sessions.wants_tcp = False
        with anyio.move_on_after(CLOSE_GRACE_S, shield=True):
            await self._pool.aclose()
        await self._keep_alternatives()
        await self._keep_sessions()
        self._tasks.cancel_scope.cancel()
        # The group has nothing to say about why its owner leaves: background tasks never raise.
        await stack.__aexit__(None, None, None)

    async def _keep_alternatives(self) -> None:
        if self._alt_svc_path is None:
            return
        known = self._memory.alternatives()
        with anyio.CancelScope(shield=True):
            try:
                await to_thread.run_sync(save_alternatives, self._alt_svc_path, known)
            except OSError as exc:
                logger.warning("alternative services could not be kept: %s", exc)

    async def _keep_sessions(self) -> None:
        if self._options.sessions_path is None:
            return
        path = self._options.sessions_path
        with anyio.CancelScope(shield=True):
            try:
                await to_thread.run_sync(put_sessions, path, self._sessions)
            except (OSError, UsageError) as exc:
                logger.warning("TLS sessions could not be kept: %s", exc)

    @property
    def pool(self) -> Pool:
        """The connections of this engine."""
        return self._pool

    async def send(self, call: Call, recorder: Recorder) -> Outcome:
        """Carry out a call and return its response; runs in the caller's scope.

        Raises:
            TransportError: with `profile`, `bytes_sent` and `bytes_acked` filled in.
        """
        try:
            try:
                if self._stack is None:
                    raise ClientClosed("the client is not running: use it inside `async with`")
                recorder.http_dns = self._http_dns
                total_s = call.timeouts.total_s
                deadline_s = inf if total_s is None else self._clock_s() + total_s
                recorder.queue_start = recorder.queue_end = recorder.now()
                if not self._slots.take_nowait():
                    await self._take_slot(call, recorder, deadline_s)
                try:
                    outcome = await self._leg(call, recorder, deadline_s)
                    if call.follow_redirects and outcome.head.status in REDIRECT_STATUSES:
                        outcome = await self._follow(call, recorder, deadline_s, outcome)
                finally:
                    self._slots.give_back()
            finally:
                # Before an error gets its profile, to which nothing is added any more.
                if call.profile:
                    recorder.quality = self._quality.estimate()
        except TransportError as error:
            _describe(error, recorder)
            raise
        return outcome

    async def _follow(
        self, call: Call, recorder: Recorder, deadline_s: float, outcome: Outcome
    ) -> Outcome:
        """Each leg after the first, from redirect to redirect."""
        hops = 0
        while outcome.head.status in REDIRECT_STATUSES:
            step = redirection(
                call.method,
                call.url,
                call.headers,
                outcome.head,
                may_leave_https=call.insecure_redirects,
            )
            if step is None:
                break
            if hops == MAX_REDIRECTS:
                raise RedirectError(f"more than {MAX_REDIRECTS} redirects")
            hops += 1
            call = _redirected(call, step)
            outcome = await self._leg(call, recorder, deadline_s, is_redirect=True)
        return outcome

    async def _take_slot(self, call: Call, recorder: Recorder, deadline_s: float) -> None:
        """Wait for one of the parallel slots, which is what the queue moments mean."""
        recorder.queue_end = None
        with anyio.CancelScope(deadline=deadline_s) as scope:
            with anyio.move_on_after(call.timeouts.pool_s):
                recorder.queue_end = await self._slots.take()
        if scope.cancelled_caught:
            raise out_of_time(call.timeouts, recorder)
        if recorder.queue_end is None:
            raise PoolTimeout(
                f"none of the {self._limits.parallel_requests} slots "
                f"became free within {call.timeouts.pool_s} s"
            )

    async def _leg(
        self, call: Call, recorder: Recorder, deadline_s: float, *, is_redirect: bool = False
    ) -> Outcome:
        """One request on the wire, and its retries."""
        expect_continue, newer_than = call.expect_continue, 0
        retries = 0
        while True:
            leg = recorder.begin_leg(call.url.shown, is_redirect=is_redirect and retries == 0)
            leg.body_bytes = call.body.length if call.body is not None else None
            preference = _without_quic(call.preference) if self._unix else call.preference
            lease = self._pool.take_at_hand(
                call.url.origin, preference, newer_than=newer_than
            ) or await self._acquire(call, preference, recorder, newer_than, deadline_s)
            recorder.use_connection(lease.connection.facts, reused=lease.reused)
            early = call.early_data and _is_unproven(lease, leg)
            try:
                raw = await self._exchange(
                    call, recorder, lease, deadline_s, expect_continue=expect_continue
                )
            except TotalTimeout:
                raise
            except TransportError as error:
                leg.error = str(error)
                if _is_unproven(lease, leg):
                    # Early data went ahead of a handshake that then failed.
                    self._memory.quic_failed(call.url.origin)
                if not may_retry(_failure(call, error, lease, retries), call.retry_stale):
                    raise
                newer_than = self._pool.newest_connection_id()
            else:
                if call.url.origin.secure:
                    self._learn(call, leg, raw)
                if raw.head.status == 417 and expect_continue:
                    expect_continue = False
                elif raw.head.status == 425 and early and _is_rewindable(call):
                    # RFC 8470 §5.2: the same once more, when the handshake is complete.
                    call = replace(call, early_data=False)
                else:
                    return _outcome(call, lease, raw)
            retries += 1

    async def _acquire(
        self,
        call: Call,
        preference: Preference,
        recorder: Recorder,
        newer_than: int,
        deadline_s: float,
    ) -> Lease:
        """Wait for a connection that is not at hand."""
        try:
            with anyio.CancelScope(deadline=deadline_s):
                return await self._pool.acquire(
                    call.url.origin,
                    preference,
                    connect_s=call.timeouts.connect_s,
                    pool_s=call.timeouts.pool_s,
                    newer_than=newer_than,
                    early_data=call.early_data,
                    on_cut_short=recorder.use_dial,
                )
        except DialFailed as failed:
            recorder.use_dial(failed.record)
            raise failed.error from failed.error.__cause__
        raise out_of_time(call.timeouts, recorder)

    async def _exchange(
        self,
        call: Call,
        recorder: Recorder,
        lease: Lease,
        deadline_s: float,
        *,
        expect_continue: bool,
    ) -> RawResponse:
        flight, connection = None, lease.connection
        try:
            exchange = Exchange(
                head=_head(call, lease),
                body=call.body,
                recorder=recorder,
                timeouts=call.timeouts,
                limits=self._limits,
                deadline_s=deadline_s,
                expect_continue=expect_continue,
                early_data=call.early_data,
                on_progress=call.on_progress,
                on_head=call.on_head,
                high_performance=call.high_performance,
                profile=call.profile,
            )
            if call.profile:
                flight = self._quality.begin(recorder.leg, call, expects_continue=expect_continue)
            if connection.keeps_deadlines:
                return await connection.exchange(exchange)
            with anyio.CancelScope(deadline=deadline_s):
                return await connection.exchange(exchange)
            raise out_of_time(call.timeouts, recorder)
        finally:
            self._pool.release(lease)
            if flight is not None:
                self._quality.end(flight)

    def _learn(self, call: Call, leg: Leg, raw: RawResponse) -> None:
        """Only races with QUIC ask for what is to be learned, and there are none for http."""
        origin = call.url.origin
        alt_svc = raw.head.headers.get_list("alt-svc")
        if alt_svc:
            self._memory.saw_alt_svc(origin, ", ".join(alt_svc))
        # Over TCP, a proxy's round trip is not the origin's.
        if leg.reading is not None and (leg.proxy is None or leg.carried_by_quic):
            rtt_ms = leg.reading.rtt_ms
            if rtt_ms is not None:
                self._memory.saw_rtt(origin, rtt_ms)


def _is_unproven(lease: Lease, leg: Leg) -> bool:
    """Whether the handshake of its connection is not complete yet."""
    return lease.connection.version is HttpVersion.HTTP3 and leg.connection_unproven


def _is_rewindable(call: Call) -> bool:
    return call.body is None or call.body.rewindable


def _without_quic(preference: Preference) -> Preference:
    """What of it can go over a Unix socket."""
    if preference.exactly is HttpVersion.HTTP3:
        raise ProtocolUnavailable("HTTP/3 needs UDP, which a Unix socket does not carry")
    return replace(preference, http3=False)


def _head(call: Call, lease: Lease) -> RequestHead:
    headers = call.headers
    alternative = lease.connection.facts.alternative
    if alternative is not None:
        # RFC 7838 §5: tell the server which alternative service it was taken for.
        used = Origin(call.url.origin.scheme, *alternative).authority
        headers = Headers([*headers.fields, ("Alt-Used", used)])
    return RequestHead(
        method=call.method,
        url=call.url,
        headers=headers,
        content_length=call.body.length if call.body is not None else 0,
    )


def _failure(call: Call, error: TransportError, lease: Lease, retries: int) -> Failure:
    return Failure(
        error=error,
        method=call.method,
        rewindable=_is_rewindable(call),
        reused_connection=lease.reused,
        retries=retries,
    )


def _outcome(call: Call, lease: Lease, raw: RawResponse) -> Outcome:
    return Outcome(
        head=raw.head,
        body=raw.body,
        trailers=raw.trailers,
        url=call.url,
        version=lease.connection.version,
    )


def _redirected(call: Call, step: Redirection) -> Call:
    body = call.body if step.keeps_body else None
    if body is not None and not body.rewindable:
        raise SourceNotRewindable(
            f"redirected to {step.url.origin} with the body to be sent again, "
            "but its source cannot be rewound"
        )
    return replace(call, method=step.method, url=step.url, headers=step.headers, body=body)


def _describe(error: TransportError, recorder: Recorder) -> None:
    recorder.failed = recorder.now()
    if recorder.legs:
        leg = recorder.leg
        error.bytes_sent = leg.body_sent_bytes
        error.bytes_acked = leg.body_acked_bytes
        leg.error = leg.error or str(error)
    error.profile = fold(recorder)
