"""Make a TCP or TLS connection to a host: resolve, happy eyeballs, handshake (RFC 8305)."""

from __future__ import annotations

import errno
from collections.abc import Awaitable, Callable
from math import inf

import anyio

from ..config import TlsOptions
from ..errors import ConnectError, NetworkError
from ..policy.eyeballs import ATTEMPT_DELAY_S, AttemptSchedule
from ..profile.moments import AttemptOutcome, DialRecord
from .dial_log import DialLog
from .reasons import address_text, reason_of
from .resolve import Resolver, resolve_host
from .stream import LayerableStream
from .tcp import connect_tcp
from .tls import start_tls
from .tls_context import TlsSetup, tls_setup

Connector = Callable[[str, int], Awaitable[LayerableStream]]
"""Connects to an IP address and a port, or raises OSError."""


async def dial_tcp(
    host: str,
    port: int,
    *,
    resolver: Resolver,
    tls: TlsOptions | None = None,
    alpn: tuple[str, ...] = (),
    log: DialLog | None = None,
    connect: Connector = connect_tcp,
    attempt_delay_s: float = ATTEMPT_DELAY_S,
) -> tuple[LayerableStream, DialRecord]:
    """Connect to `host`; whatever happens, nothing is left open but the stream returned.

    Timeouts are the caller's: it cancels, and finds in `log` what was done until then.

    Args:
        host: name or IP literal (IPv6 without brackets).
        port: TCP port.
        resolver: asked for the addresses of a name.
        tls: how to verify the peer; None for a cleartext connection.
        alpn: protocols to offer (RFC 7301), preferred first.
        log: takes the attempts and moments as they happen; its clock tells the time.
        connect: makes one connection; tests and virtual networks bring their own.
        attempt_delay_s: head start of each address over the next one, in seconds.

    Raises:
        ResolveError: the name has no address.
        ConnectError: no address could be connected to; names each and its reason.
        CertificateError: the peer's certificate was refused.
        TlsError: the TLS handshake failed otherwise.
        ProtocolUnavailable: the peer speaks none of `alpn`.
        UsageError: `tls` cannot be used.
    """
    log = log or DialLog()
    setup = None if tls is None else await tls_setup(tls, alpn)
    try:
        addresses = await resolve_host(host, resolver, log, "tcp")
        race = _Race(port, AttemptSchedule(addresses, attempt_delay_s), connect, log)
        stream = await race.run(host)
        if setup is not None:
            stream = await _secure(stream, setup, host, log)
        else:
            log.connect_end = log.tcp_connected
    except NetworkError as exc:
        exc.attempts = tuple(log.attempts)
        raise
    return stream, log.freeze()


class _Race:
    """Attempts on several addresses, of which the first to succeed wins."""

    def __init__(
        self, port: int, schedule: AttemptSchedule, connect: Connector, log: DialLog
    ) -> None:
        self._port = port
        self._schedule = schedule
        self._connect = connect
        self._log = log
        self._changed = anyio.Event()
        self._running = 0
        self._failures: dict[str, OSError] = {}
        self._winner: LayerableStream | None = None

    async def run(self, host: str) -> LayerableStream:
        """Return the winner's stream; the others are closed and noted.

        Raises:
            ConnectError: every attempt failed.
        """
        try:
            async with anyio.create_task_group() as tasks:
                while self._winner is None and await self._until_due():
                    self._running += 1
                    tasks.start_soon(self._attempt, self._schedule.start(anyio.current_time()))
                tasks.cancel_scope.cancel()
        except BaseException:
            if self._winner is not None:
                self._winner.close()
            raise
        if self._winner is None:
            raise self._error(host)
        return self._winner

    async def _until_due(self) -> bool:
        """Wait until the next address is due; False when the race is over."""
        while self._winner is None:
            due_s = self._schedule.next_start_s
            if due_s is None and not self._running:
                return False
            if due_s is not None and due_s <= anyio.current_time():
                return True
            with anyio.CancelScope(deadline=inf if due_s is None else due_s):
                await self._changed.wait()
        return False

    async def _attempt(self, address: str) -> None:
        try:
            with self._log.attempt("tcp", (address, self._port)) as note:
                stream = await self._connect(address, self._port)
                if self._winner is None:
                    self._winner = stream
                    self._log.connect_start = note.start
                    self._log.tcp_connected = self._log.clock()
                else:
                    # Two at once: cancellation comes too late for the second.
                    note.outcome = AttemptOutcome.CANCELLED
                    stream.close()
        except OSError as exc:
            self._failures[address] = exc
            self._schedule.failed(address)
        finally:
            self._running -= 1
            changed, self._changed = self._changed, anyio.Event()
            changed.set()

    def _error(self, host: str) -> ConnectError:
        whom = address_text((host, self._port))
        reasons = {address: reason_of(exc) for address, exc in self._failures.items()}
        if list(reasons) == [host]:
            text = reasons[host]
        else:
            text = "; ".join(f"{address}: {reason}" for address, reason in reasons.items())
        error = ConnectError(f"cannot connect to {whom}: {text}")
        error.refused = all(exc.errno == errno.ECONNREFUSED for exc in self._failures.values())
        error.__cause__ = next(iter(self._failures.values()))
        return error


async def _secure(
    stream: LayerableStream, setup: TlsSetup, host: str, log: DialLog
) -> LayerableStream:
    with log.attempt("tls", stream.peer) as note:
        log.tls_start = note.start
        secured = await start_tls(stream, setup, host)
        log.tls_end = log.connect_end = log.clock()
    return secured
