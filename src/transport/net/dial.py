"""Make a TCP or TLS connection to a host: resolve, happy eyeballs, handshake (RFC 8305)."""

from __future__ import annotations

import errno
from collections.abc import Awaitable, Callable

from ..config import AddressRule, TlsOptions
from ..errors import ConnectError, NetworkError, TransportError
from ..policy.eyeballs import ATTEMPT_DELAY_S, AttemptSchedule
from ..profile.moments import AttemptOutcome, DialRecord
from ..sessions import SessionSlot
from .dial_log import DialLog
from .race import AddressRace
from .reasons import address_text, reason_of
from .resolve import Names, resolve_host
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
    names: Names,
    allow: AddressRule | None = None,
    tls: TlsOptions | None = None,
    alpn: tuple[str, ...] = (),
    server_name: str | None = None,
    log: DialLog | None = None,
    sessions: SessionSlot | None = None,
    connect: Connector = connect_tcp,
    attempt_delay_s: float = ATTEMPT_DELAY_S,
) -> tuple[LayerableStream, DialRecord]:
    """Connect to `host`; whatever happens, nothing is left open but the stream returned.

    Timeouts are the caller's: it cancels, and finds in `log` what was done until then.

    Args:
        host: name or IP literal (IPv6 without brackets).
        port: TCP port.
        names: asked for the addresses of a name.
        allow: says which addresses may be dialled; None: all.
        tls: how to verify the peer; None for a cleartext connection.
        alpn: protocols to offer (RFC 7301), preferred first.
        server_name: whom the certificate must be valid for, if not `host`.
        log: takes the attempts and moments as they happen; its clock tells the time.
        sessions: has a TLS session to resume, and takes new ones.
        connect: makes one connection; tests and virtual networks bring their own.
        attempt_delay_s: head start of each address over the next one, in seconds.

    Raises:
        ResolveError: the name has no address.
        AddressRefused: it has none that `allow` permits.
        ConnectError: no address could be connected to; names each and its reason.
        CertificateError: the peer's certificate was refused.
        TlsError: the TLS handshake failed otherwise.
        ProtocolUnavailable: the peer speaks none of `alpn`.
        UsageError: `tls` cannot be used.
    """
    log = log or DialLog()
    setup = None if tls is None else await tls_setup(tls, alpn)
    try:
        stream = await connect_host(
            host,
            port,
            names=names,
            allow=allow,
            log=log,
            connect=connect,
            attempt_delay_s=attempt_delay_s,
        )
        if setup is not None:
            stream = await secure(stream, setup, server_name or host, log, sessions)
        else:
            log.connect_end = log.tcp_connected
    except NetworkError as exc:
        exc.attempts = tuple(log.attempts)
        raise
    return stream, log.freeze()


async def connect_host(
    host: str,
    port: int,
    *,
    names: Names,
    allow: AddressRule | None = None,
    log: DialLog,
    connect: Connector = connect_tcp,
    attempt_delay_s: float = ATTEMPT_DELAY_S,
) -> LayerableStream:
    """The part of `dial_tcp` that ends with TCP's handshake.

    Raises:
        ResolveError: the name has no address.
        AddressRefused: it has none that `allow` permits.
        ConnectError: no address could be connected to; names each and its reason.
    """
    addresses = await resolve_host((host, port), names, log, "tcp", allow)
    schedule = AttemptSchedule(addresses, attempt_delay_s)
    return await _connect_first((host, port), schedule, connect, log)


async def secure(
    stream: LayerableStream,
    setup: TlsSetup,
    host: str,
    log: DialLog,
    sessions: SessionSlot | None,
) -> LayerableStream:
    """The part of `dial_tcp` that is TLS; failed or cancelled, the stream is closed.

    Raises:
        CertificateError: the peer's certificate was refused.
        TlsError: the TLS handshake failed otherwise.
        ProtocolUnavailable: the peer speaks none of the ALPN protocols.
    """

    def began() -> None:
        log.tls_start = log.clock()

    with log.attempt("tls", stream.peer):
        secured = await start_tls(stream, setup, host, began, sessions)
        log.tls_end = log.connect_end = log.clock()
    return secured


async def _connect_first(
    whom: tuple[str, int], schedule: AttemptSchedule, connect: Connector, log: DialLog
) -> LayerableStream:
    _, port = whom

    async def attempt(address: str) -> LayerableStream:
        try:
            with log.attempt("tcp", (address, port)) as note:
                stream = await connect(address, port)
                if race.won:
                    # Two at once: cancellation comes too late for the second.
                    note.outcome = AttemptOutcome.CANCELLED
                else:
                    log.connect_start, log.tcp_connected = note.start, log.clock()
        except OSError as exc:
            error = ConnectError(reason_of(exc))
            error.refused = exc.errno == errno.ECONNREFUSED
            raise error from exc
        return stream

    race = AddressRace(schedule, attempt, lambda stream: stream.close())
    stream = await race.run()
    if stream is None:
        raise _failure(whom, race.failures)
    return stream


def _failure(whom: tuple[str, int], failures: dict[str, TransportError]) -> ConnectError:
    """One error that names every address, unless the caller named the only one already."""
    errors = list(failures.values())
    if list(failures) == [whom[0]]:
        reasons = str(errors[0])
    else:
        reasons = "; ".join(f"{address}: {error}" for address, error in failures.items())
    error = ConnectError(f"cannot connect to {address_text(whom)}: {reasons}")
    error.refused = all(isinstance(each, ConnectError) and each.refused for each in errors)
    error.__cause__ = errors[0]
    return error
