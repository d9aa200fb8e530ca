"""Reach a host over QUIC: resolve, then handshakes by happy eyeballs over its addresses.

What QUIC is made of stands above this layer, so the handshake is passed in. Each attempt has its
own socket, or relay of a proxy; an attempt that fails or loses closes it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from ..config import AddressRule, SocketOptions
from ..errors import ConnectError, ConnectionLost, NetworkError, TransportError
from ..policy.eyeballs import ATTEMPT_DELAY_S, AttemptSchedule
from ..profile.moments import AttemptOutcome, Ns
from .datagram import Address, DatagramSocket
from .datagram_channel import DatagramChannel
from .dial_log import DialLog
from .race import AddressRace
from .reasons import address_text, reason_of
from .resolve import Names, resolve_host
from .socket_options import DEFAULT_OPTIONS

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Shaken(Generic[T]):
    """A handshake that succeeded."""

    connection: T
    started: Ns
    """Just before the operating system took its first datagram."""
    ended: Ns
    """When it was complete. With early data, which goes out together with the first datagram, just
    after that was sent (WHATWG Fetch, connection timing info)."""


Handshake = Callable[[DatagramChannel], Awaitable[Shaken[T]]]
"""Makes a connection over a channel, or raises a `TransportError`; on any exception the channel is
closed for it."""
OpenChannel = Callable[[Address], Awaitable[DatagramChannel]]
"""Makes the channel of one attempt, to an address, or a name that is not looked up here."""


async def dial_quic(
    host: str,
    port: int,
    *,
    names: Names,
    allow: AddressRule | None = None,
    options: SocketOptions = DEFAULT_OPTIONS,
    handshake: Handshake[T],
    discard: Callable[[T], None],
    log: DialLog,
    open_channel: OpenChannel | None = None,
    looks_up: bool = True,
    attempt_delay_s: float = ATTEMPT_DELAY_S,
) -> T:
    """Connect to `host`; whatever happens, nothing is left open but the connection returned.

    Timeouts are the caller's: it cancels, and finds in `log` what was done until then.

    Args:
        host: name or IP literal (IPv6 without brackets).
        port: UDP port.
        names: asked for the addresses of a name.
        allow: says which addresses may be dialled; None: all.
        options: where sockets leave from, and how their packets are treated.
        handshake: makes a connection to one address.
        discard: closes a connection that is not wanted any more.
        log: takes the attempts and moments as they happen.
        open_channel: makes what carries the datagrams of one attempt; None: a socket.
        looks_up: whether the name is looked up here; otherwise `open_channel` is given the name.
        attempt_delay_s: head start of each address over the next one, in seconds.

    Raises:
        ResolveError: the name has no address.
        AddressRefused: it has none that `allow` permits.
        TransportError: what `handshake` raised; several addresses failing alike make one
            `ConnectError` that names them all.
    """

    async def attempt(address: str) -> Shaken[T]:
        with log.attempt("quic", (address, port)) as note:
            if open_channel is None:
                channel: DatagramChannel = open_socket((address, port), options)
            else:
                channel = await open_channel((address, port))
            try:
                shaken = await handshake(channel)
            except BaseException:
                channel.close()
                raise
            if race.won:
                # Two at once: cancellation comes too late for the second.
                note.outcome = AttemptOutcome.CANCELLED
            return shaken

    try:
        addresses: tuple[str, ...] = (host,)
        if looks_up:
            addresses = await resolve_host(
                (host, port), names, log, "quic", allow, dialled_here=open_channel is None
            )
        schedule = AttemptSchedule(addresses, attempt_delay_s)
        race = AddressRace(schedule, attempt, lambda shaken: discard(shaken.connection))
        shaken = await race.run()
        if shaken is None:
            raise _failure((host, port), race.failures)
    except NetworkError as exc:
        exc.attempts = tuple(log.attempts)
        raise
    log.connect_start = log.tls_start = shaken.started
    log.connect_end = log.tls_end = shaken.ended
    return shaken.connection


def open_socket(address: Address, options: SocketOptions) -> DatagramSocket:
    """A socket to talk to an address; whatever carries QUIC is made here.

    Raises:
        ConnectError: there is no way to the address, or none that the options allow.
    """
    try:
        return DatagramSocket(address, options=options)
    except OSError as exc:
        reason = reason_of(exc)
        raise ConnectError(f"cannot reach {address_text(address)} by UDP: {reason}") from exc


def _failure(whom: Address, failures: dict[str, TransportError]) -> TransportError:
    """The error to raise: the one that says most, or one for all."""
    errors = list(failures.values())
    telling = [error for error in errors if not isinstance(error, (ConnectError, ConnectionLost))]
    if telling or len(errors) == 1:
        return (telling or errors)[0]
    text = "; ".join(f"{address}: {error}" for address, error in failures.items())
    error = ConnectError(f"cannot connect to {address_text(whom)} by QUIC: {text}")
    error.refused = all(isinstance(each, ConnectError) and each.refused for each in errors)
    error.__cause__ = errors[0]
    return error
