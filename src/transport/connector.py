"""From a plan to a connection: TCP, QUIC, or both in a race.

QUIC starts first. TCP starts when QUIC has failed or has not come up after the plan's delay, and
the first connection wins. A QUIC attempt that lost goes on for a while on its own: when it still
comes up, the connection joins the pool; until then QUIC counts as broken for the origin, so that
the next upload does not wait for it again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial

import anyio
from anyio.abc import TaskGroup

from .config import EngineOptions, HttpVersion, Preference, ProxyScheme, TlsOptions
from .connections.connection import Connection, next_connection_id
from .connections.http1 import Http1Connection
from .connections.http2 import Http2Connection
from .connections.http3_dialer import QuicDialer
from .connections.proxy_dialer import ProxyDialer
from .errors import ConnectError, NetworkError, ProtocolUnavailable, TransportError
from .message import Origin
from .net.dial import dial_tcp
from .net.dial_log import DialLog
from .net.names import DialNames, NameService
from .net.session_keys import session_key
from .net.stream import ByteStream
from .net.tcp import connect_tcp
from .net.unix import dial_unix
from .origins import OriginMemory
from .policy.routes import Route, route_to
from .policy.selection import Plan, destinations
from .policy.services import Endpoint
from .profile.moments import Attempt, ConnectionFacts, DialRecord
from .sessions import SessionSlot, SessionStore

#: How long a QUIC attempt that lost its race may go on (curl's QUIC handshake timeout).
LATE_QUIC_S = 10.0
#: How long a service from DNS may take when there is another endpoint to try.
SERVICE_PATIENCE_S = 3.0


@dataclass(frozen=True, slots=True)
class _Aim:
    """What a connection is made for."""

    origin: Origin
    route: Route
    plan: Plan
    names: DialNames
    early_data: bool


@dataclass(slots=True, eq=False)
class _QuicTry:
    """A QUIC attempt that may outlive the race it was made for."""

    aim: _Aim
    endpoints: tuple[Endpoint, ...]
    log: DialLog = field(default_factory=DialLog)
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    done: anyio.Event = field(default_factory=anyio.Event)
    connection: Connection | None = None
    lost: bool = False
    on_success: Callable[[], None] = lambda: None

    def winner(self) -> Connection | None:
        """The connection, once it is there."""
        return self.connection


class Connector:
    """Makes connections; those of one client."""

    def __init__(
        self,
        tasks: TaskGroup,
        memory: OriginMemory,
        options: EngineOptions,
        sessions: SessionStore,
        names: NameService,
    ) -> None:
        self._tasks = tasks
        self._connect_socket = partial(
            connect_tcp, stamped=options.kernel_timestamps, options=options.sockets
        )
        self._uds = options.sockets.uds
        self._memory = memory
        self._tls = options.tls
        self._limits = options.limits
        self._allow = options.allow_address
        self._names = names
        self._sessions = sessions
        # A proxy that forwards resolves names: it would connect to addresses nobody has vetted.
        may_forward = self._allow is None
        # Requests go to the same few origins again and again.
        self.route_to: Callable[[Origin, Preference], Route] = lru_cache(maxsize=64)(
            partial(route_to, options=options.proxies, may_forward=may_forward)
        )
        """The way a request reaches its origin."""
        self._proxies = ProxyDialer(options, self._connect_socket)
        self._quic = QuicDialer(options, sessions, self._proxies)
        self.on_late_connection: Callable[[Route, Connection], None] = lambda _r, _c: None
        """Called with a QUIC connection that came up after its race was over."""

    async def connect(
        self, origin: Origin, over: Route, plan: Plan, log: DialLog, *, early_data: bool = False
    ) -> Connection:
        """Make a connection as the plan says; `log` shows what happened, whatever the end.

        Args:
            origin: whom to connect to.
            over: the way to it.
            plan: over which protocols, in which order.
            log: takes attempts and moments as they happen.
            early_data: a QUIC connection may be returned before its handshake is complete.

        Raises:
            NetworkError: nothing could be connected to.
            ProtocolUnavailable: the origin was reached, but does not speak what was asked for.
        """
        names = self._names.begin()
        aim = _Aim(origin, over, plan, names, early_data)
        try:
            return await self._connect(aim, log)
        except ConnectError:
            names.forget()
            raise

    async def _connect(self, aim: _Aim, log: DialLog) -> Connection:
        services = await aim.names.services(aim.origin, log) if self._asks_for_services(aim) else ()
        way = destinations(aim.plan, aim.origin, services)
        if aim.plan.quic is not None and not way.quic:
            # Whoever waits for this connection is to know that it will be no HTTP/3.
            self._memory.quic_not_offered(aim.origin)
        if not way.quic:
            return await self._connect_tcp(aim, way.tcp, log)
        if not way.tcp:
            connection = await self._connect_quic(aim, way.quic, log)
            self._memory.quic_worked(aim.origin)
            return connection
        return await self._race(_QuicTry(aim, way.quic), way.tcp, log)

    def _asks_for_services(self, aim: _Aim) -> bool:
        """Whether names are looked up here: not for a Unix socket, nor where a proxy does it."""
        proxy = aim.route.proxy
        return self._uds is None and (proxy is None or proxy.scheme is ProxyScheme.SOCKS5)

    async def _connect_tcp(
        self, aim: _Aim, endpoints: Sequence[Endpoint], log: DialLog
    ) -> Connection:
        return await _first(endpoints, lambda each: self._dial_tcp(aim, each, log))

    async def _dial_tcp(self, aim: _Aim, endpoint: Endpoint, log: DialLog) -> Connection:
        origin, plan = aim.origin, aim.plan
        tls = self._tls if origin.secure else None
        alpn = tuple(version.value for version in plan.alpn)
        stream, record = await self._dial(aim, endpoint, tls, alpn, log)
        try:
            version = _negotiated(origin, plan, stream)
        except BaseException:
            stream.close()
            raise
        facts = ConnectionFacts(
            connection_id=next_connection_id(),
            version=version,
            peer=None if self._uds is not None else stream.peer,
            local=stream.local,
            tls=stream.tls,
            dial=record,
        )
        if version is HttpVersion.HTTP2:
            return Http2Connection(stream, facts, self._limits)
        forwarder = aim.route.proxy if aim.route.origin is None else None
        return Http1Connection(stream, facts, self._limits, forwarder)

    async def _dial(
        self,
        aim: _Aim,
        endpoint: Endpoint,
        tls: TlsOptions | None,
        alpn: tuple[str, ...],
        log: DialLog,
    ) -> tuple[ByteStream, DialRecord]:
        origin = aim.origin
        if self._uds is not None:
            return await dial_unix(self._uds, origin.host, tls=tls, alpn=alpn, log=log)
        sessions = None if tls is None else self._sessions_of(origin, tls, alpn)
        proxy = aim.route.proxy
        if proxy is not None:
            return await self._proxies.dial(
                origin,
                endpoint.address,
                proxy,
                tunnelled=aim.route.origin is not None,
                alpn=alpn,
                names=aim.names,
                log=log,
                sessions=sessions,
            )
        return await dial_tcp(
            *endpoint.address,
            names=aim.names,
            allow=self._allow,
            tls=tls,
            alpn=alpn,
            server_name=origin.host,
            log=log,
            sessions=sessions,
            connect=self._connect_socket,
        )

    def _sessions_of(self, origin: Origin, tls: TlsOptions, alpn: tuple[str, ...]) -> SessionSlot:
        return SessionSlot(self._sessions, session_key(origin, tls, alpn))

    async def _connect_quic(
        self, aim: _Aim, endpoints: Sequence[Endpoint], log: DialLog
    ) -> Connection:
        return await _first(endpoints, lambda each: self._dial_quic(aim, each, log))

    async def _dial_quic(self, aim: _Aim, endpoint: Endpoint, log: DialLog) -> Connection:
        origin, address = aim.origin, endpoint.address
        connection = await self._quic.dial(
            origin,
            address,
            log,
            names=aim.names,
            early_data=aim.early_data,
            proxy=aim.route.proxy,
        )
        if address == aim.plan.quic and address != (origin.host, origin.port):
            connection.facts = replace(connection.facts, alternative=address)
        return connection

    # --- the race -----------------------------------------------------------------------------

    async def _race(self, quic: _QuicTry, tcp: Sequence[Endpoint], log: DialLog) -> Connection:
        self._tasks.start_soon(self._try_quic, quic)
        try:
            with anyio.move_on_after(quic.aim.plan.tcp_delay_s):
                await quic.done.wait()
            if quic.connection is not None:
                return quic.connection
            return await self._tcp_against(quic, tcp, log)
        except BaseException:
            if not quic.lost:
                quic.scope.cancel()
                if quic.connection is not None:
                    quic.connection.retire()
            raise

    async def _tcp_against(
        self, quic: _QuicTry, endpoints: Sequence[Endpoint], log: DialLog
    ) -> Connection:
        tcp: Connection | None = None
        failure: TransportError | None = None
        with anyio.CancelScope() as scope:
            quic.on_success = scope.cancel
            try:
                tcp = await self._connect_tcp(quic.aim, endpoints, log)
            except TransportError as error:
                failure = error
        winner = quic.winner()
        if winner is not None:
            if tcp is not None:
                await tcp.aclose()
            _add_attempts(winner, log.attempts)
            return winner
        if tcp is not None:
            return self._tcp_won(quic, tcp)
        await quic.done.wait()
        winner = quic.winner()
        if winner is not None:
            _add_attempts(winner, log.attempts)
            return winner
        log.attempts.extend(quic.log.attempts)
        if failure is None:
            raise RuntimeError("a dial that was not cancelled ended without a result")
        raise failure

    def _tcp_won(self, quic: _QuicTry, tcp: Connection) -> Connection:
        self._memory.quic_failed(quic.aim.origin)
        quic.lost = True
        quic.scope.deadline = anyio.current_time() + LATE_QUIC_S
        _add_attempts(tcp, quic.log.given_up("no answer yet when TCP had connected"))
        return tcp

    async def _try_quic(self, quic: _QuicTry) -> None:
        # Whatever went wrong, also by a bug, is noted in the log, and TCP goes on.
        with quic.scope, suppress(Exception):
            quic.connection = await self._connect_quic(quic.aim, quic.endpoints, quic.log)
        if quic.connection is not None:
            self._memory.quic_worked(quic.aim.origin)
            quic.on_success()
            if quic.lost:
                self.on_late_connection(quic.aim.route, quic.connection)
            elif quic.scope.cancel_called:
                quic.connection.retire()  # cancellation came too late
        quic.done.set()


async def _first(
    endpoints: Sequence[Endpoint], connect: Callable[[Endpoint], Awaitable[Connection]]
) -> Connection:
    """Connect to the first endpoint that can be; only the last one's failure is the caller's."""
    for endpoint in endpoints[:-1]:
        with anyio.move_on_after(SERVICE_PATIENCE_S), suppress(NetworkError, ProtocolUnavailable):
            return await connect(endpoint)
    return await connect(endpoints[-1])


def _negotiated(origin: Origin, plan: Plan, stream: ByteStream) -> HttpVersion:
    """What the TCP connection speaks: by ALPN, or by prior knowledge on cleartext."""
    if stream.tls is None:
        return plan.alpn[0]
    offered = stream.tls.alpn
    # Without ALPN a server speaks HTTP/1.1 (RFC 7301 makes it optional; so do all clients).
    version = HttpVersion(offered) if offered is not None else HttpVersion.HTTP1
    if version not in plan.alpn:
        answer = "no ALPN protocol" if offered is None else repr(offered)
        raise ProtocolUnavailable(f"{origin} was asked for {plan.alpn[0].value}; it chose {answer}")
    return version


def _add_attempts(winner: Connection, lost: Sequence[Attempt]) -> None:
    """Show the loser's attempts in the profile of the winner's first request."""
    dial = winner.facts.dial
    attempts = tuple(sorted((*dial.attempts, *lost), key=lambda attempt: attempt.start))
    winner.facts = replace(winner.facts, dial=replace(dial, attempts=attempts))
