"""Makes HTTP/3 connections: configuration, resumption, handshakes over a host's addresses.

The handshake runs the link's two tasks in a task group of its own and stops them when it is
complete; what arrives until `Http3Connection.run` starts them again waits in the socket.

With early data allowed, and a ticket that permits it, nothing is waited for: the first datagram is
sent and the connection handed over; a handshake that fails then fails the requests on it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial

import anyio
import anyio.to_thread
from aioquic.quic.configuration import QuicConfiguration
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import Certificate

from ..config import EngineOptions, HttpVersion, ProxyServer
from ..errors import UsageError
from ..message import Origin
from ..net.chain import ChainVerifier, chain_verifier, is_at_hand
from ..net.datagram import Address
from ..net.datagram_channel import DatagramChannel
from ..net.dial_log import DialLog
from ..net.dial_quic import OpenChannel, Shaken, dial_quic
from ..net.resolve import Names
from ..net.session_keys import session_key
from ..pins import pin_problem
from ..policy.addresses import is_allowed
from ..profile.moments import ConnectionFacts, Ns
from ..protocols.events import ConnectionTerminated, Event, HandshakeCompleted, HandshakeConfirmed
from ..protocols.http3 import Http3Machine
from ..protocols.path_mtu import BASE_BYTES
from ..sessions import Resumption, SessionSlot, SessionStore
from .connection import next_connection_id
from .http3 import Http3Connection
from .http3_config import quic_configuration
from .http3_errors import handshake_error
from .proxy_dialer import ProxyDialer
from .quic_link import QuicLink, now_s
from .socks_relay import SocksRelay


class QuicDialer:
    """Makes the HTTP/3 connections of one client, and keeps its session tickets."""

    def __init__(
        self,
        options: EngineOptions,
        sessions: SessionStore,
        proxies: ProxyDialer | None = None,
    ) -> None:
        self._tls = options.tls
        self._quic = options.quic
        self._limits = options.limits
        self._allow = options.allow_address
        self._sockets = options.sockets
        self._proxies = proxies or ProxyDialer(options)
        self._sessions = sessions

    async def dial(
        self,
        origin: Origin,
        address: tuple[str, int],
        log: DialLog,
        *,
        names: Names,
        early_data: bool = False,
        proxy: ProxyServer | None = None,
    ) -> Http3Connection:
        """Connect, with a handshake for `origin`'s name wherever the server is.

        Args:
            origin: whom the certificate must be valid for.
            address: host and port to connect to (RFC 7838: may be another host's).
            log: takes the attempts and moments as they happen.
            names: asked for the address of a name.
            early_data: whether the connection may be handed over before its handshake is complete,
                when a ticket permits it.
            proxy: the SOCKS5 proxy that relays the datagrams; None: directly.

        Returns:
            A connection that is not running yet.

        Raises:
            ResolveError: the name has no address.
            AddressRefused: it has none that `allow_address` permits.
            ConnectError: no address answered.
            ProxyError: the proxy cannot be reached, or relays nothing.
            CertificateError: the certificate was refused.
            TlsError: the handshake failed otherwise.
            ProtocolUnavailable: the server does not offer h3, or no QUIC version we know.
            UsageError: the options cannot be used, or `allow_address` failed.
        """
        resumption = self._slot(origin).take_quic(early_data=early_data)
        attempts = _Handshakes(self, origin, resumption)
        link = await dial_quic(
            *address,
            names=names,
            allow=self._allow,
            options=self._sockets,
            handshake=attempts.shake_hands,
            discard=_discard,
            log=log,
            open_channel=self._channels(proxy, names, log),
            looks_up=proxy is None or self._proxies.looks_up(proxy),
        )
        if isinstance(link.socket, SocksRelay):
            log.adopt_way(link.socket.way)
        machine = link.machine
        facts = ConnectionFacts(
            connection_id=next_connection_id(),
            version=HttpVersion.HTTP3,
            peer=link.path.peer,
            local=link.socket.local,
            tls=machine.tls_facts() if machine.handshake_complete else None,
            dial=log.freeze(),
            handshake_confirmed=link.confirmed_ns,
        )
        return Http3Connection(link, facts, origin.host)

    def _channels(
        self, proxy: ProxyServer | None, names: Names, log: DialLog
    ) -> OpenChannel | None:
        if proxy is None:
            return None
        return lambda target: self._proxies.relay(proxy, target, names=names, log=log)

    async def make_machine(
        self,
        origin: Origin,
        resumption: Resumption,
        overhead_bytes: int,
        may_follow: Callable[[Address], bool],
    ) -> Http3Machine:
        """A machine for one attempt; so much of each datagram on the wire is not QUIC's."""
        room_bytes = self._quic.max_datagram_bytes - overhead_bytes
        if self._reads_files():
            prepared = await anyio.to_thread.run_sync(self._prepare, origin.host)
        else:
            prepared = self._prepare(origin.host)
        configuration, verifier = prepared
        configuration.session_ticket, configuration.token = resumption.ticket, resumption.token
        slot = self._slot(origin)
        return Http3Machine(
            configuration,
            max_datagram_bytes=max(room_bytes, BASE_BYTES),
            response_head_bytes=self._limits.response_head_bytes,
            on_ticket=slot.keep_ticket,
            on_token=slot.keep_token,
            may_follow=may_follow,
            check_certificate=partial(self._problem, verifier, origin.host),
        )

    def may_follow(self, preferred: Address) -> bool:
        """Whether to go to the address a server prefers; the same rule holds for it as for others.

        Raises:
            UsageError: the rule raised, or said neither True nor False.
        """
        follows = self._quic.preferred_address == "follow"
        return follows and (self._allow is None or is_allowed(preferred[0], self._allow))

    def _slot(self, origin: Origin) -> SessionSlot:
        alpn, suites = (HttpVersion.HTTP3.value,), self._quic.cipher_suites
        key = session_key(origin, self._tls, alpn, suites)
        return SessionSlot(self._sessions, key)

    def _reads_files(self) -> bool:
        tls = self._tls
        files = tls.cert, tls.keylog_path, self._quic.qlog_dir
        return files != (None, None, None) or not is_at_hand(tls)

    def _prepare(self, host: str) -> tuple[QuicConfiguration, ChainVerifier | None]:
        return quic_configuration(self._tls, self._quic, host), chain_verifier(self._tls)

    def _problem(
        self, verifier: ChainVerifier | None, host: str, chain: Sequence[Certificate]
    ) -> str | None:
        """What is wrong with a server's certificate; its pin is asked for in any case."""
        problem = None if verifier is None else verifier.problem(chain, host)
        return problem or pin_problem(self._tls.pins, host, chain[0].public_bytes(Encoding.DER))


class _Handshakes:
    """The handshakes of one dial: the first may resume a session, which is used up then."""

    def __init__(self, dialer: QuicDialer, origin: Origin, resumption: Resumption) -> None:
        self._dialer = dialer
        self._origin = origin
        self._resumption = resumption
        self._failure: UsageError | None = None
        """Of the rule that was asked about an address a server prefers."""

    async def shake_hands(self, channel: DatagramChannel) -> Shaken[QuicLink]:
        """Make a connection over a channel; see `net.dial_quic.Handshake`."""
        resumption, self._resumption = self._resumption, Resumption()
        machine = await self._dialer.make_machine(
            self._origin, resumption, channel.overhead_bytes, self._may_follow
        )
        link = QuicLink(machine, channel)
        machine.connect(channel.peer, now_s())
        try:
            await link.flush()
            started, ended = channel.write_started_ns, channel.write_ended_ns
            if not machine.offered_early_data:
                ended = await _complete(link)
        except BaseException:
            _discard(link)
            raise
        if machine.close_cause is not None:
            _discard(link)
            raise handshake_error(machine.close_cause, self._origin.host, channel.peer)
        if self._failure is not None:
            _discard(link)
            raise self._failure
        return Shaken(link, started, ended)

    def _may_follow(self, preferred: Address) -> bool:
        """A rule that fails is no fault of aioquic's, within which it is asked.

        Where the handshake goes on behind early data, the connection stays where it is.
        """
        try:
            return self._dialer.may_follow(preferred)
        except UsageError as exc:
            self._failure = exc
            return False


async def _complete(link: QuicLink) -> Ns:
    """Run the link until the handshake is complete, or the connection is over."""
    completed = link.socket.write_ended_ns
    done = anyio.Event()

    def watch(event: Event, read_at: Ns) -> None:
        nonlocal completed
        if isinstance(event, HandshakeConfirmed):
            link.confirmed_ns = read_at
        if isinstance(event, (HandshakeCompleted, ConnectionTerminated)):
            # Not when the last bytes were read: checking the certificate is part of it.
            completed = time.monotonic_ns()
            done.set()

    link.on_event = watch
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(link.run)
        await done.wait()
        tasks.cancel_scope.cancel()
    return completed


def _discard(link: QuicLink) -> None:
    link.say_goodbye()
    link.close()
