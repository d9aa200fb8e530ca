"""The receiver's UDP side: HTTP/3 connections on aioquic, served on asyncio or trio.

hypercorn serves TCP only here. Its HTTP/3 part takes one datagram per turn of the loop, drops what
a queue of ten cannot hold and stops for good after one refused upload: comparing protocols against
it would compare its loop. This one reads in batches and sends one acknowledgement per batch.
"""

from __future__ import annotations

import logging
import math
import socket
from collections import OrderedDict
from collections.abc import Iterator

import anyio
from aioquic.buffer import Buffer  # type: ignore[attr-defined]  # public, but not re-exported
from aioquic.h3.connection import H3_ALPN
from aioquic.quic.configuration import SMALLEST_MAX_DATAGRAM_SIZE, QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.events import ConnectionIdIssued, ConnectionIdRetired, ConnectionTerminated
from aioquic.quic.packet import (
    QuicHeader,
    QuicPacketType,
    encode_quic_version_negotiation,
    pull_quic_header,
)
from aioquic.tls import SessionTicket
from anyio.abc import TaskGroup

from .asgi import App
from .certificate import CertificateFiles
from .h3_exchange import H3Exchange
from .h3_session import H3Session

Address = tuple[str | int, ...]

_LOG = logging.getLogger(__name__)
_BATCH = 64
_DATAGRAM_BYTES = 65536
_IDLE_TIMEOUT_S = 75.0
# Large enough that a loopback upload does not wait for credit; aioquic doubles them as needed.
_STREAM_WINDOW_BYTES = 8 * 1024 * 1024
_CONNECTION_WINDOW_BYTES = 16 * 1024 * 1024
_TICKETS = 256


def quic_configuration(files: CertificateFiles) -> QuicConfiguration:
    """How the receiver's QUIC connections behave."""
    configuration = QuicConfiguration(
        is_client=False,
        alpn_protocols=H3_ALPN,
        idle_timeout=_IDLE_TIMEOUT_S,
        max_data=_CONNECTION_WINDOW_BYTES,
        max_stream_data=_STREAM_WINDOW_BYTES,
    )
    configuration.load_cert_chain(files.certificate, files.key)
    return configuration


class QuicEndpoint:
    """All HTTP/3 connections of one bound, non-blocking UDP socket, which it closes at the end."""

    def __init__(
        self, sock: socket.socket, configuration: QuicConfiguration, app: App, tasks: TaskGroup
    ) -> None:
        self._sock = sock
        self._configuration = configuration
        self._app = app
        self._tasks = tasks
        self._peers: dict[bytes, _Peer] = {}
        self._tickets: OrderedDict[bytes, SessionTicket] = OrderedDict()
        self._wake = anyio.Event()
        self._sleeping_until = math.inf

    async def serve(self) -> None:
        """Serve until cancelled; then say goodbye to the clients."""
        try:
            async with anyio.create_task_group() as own:
                own.start_soon(self._run_timers)
                while True:
                    await anyio.wait_readable(self._sock)
                    for peer in self._receive_batch():
                        self.attend(peer)
        finally:
            for peer in set(self._peers.values()):
                peer.quic.close()
                self.transmit(peer)
            self._sock.close()

    def attend(self, peer: _Peer) -> None:
        """Handle what a connection has to say, and send what it has to send."""
        while (event := peer.quic.next_event()) is not None:
            if isinstance(event, ConnectionIdIssued):
                self._peers[event.connection_id] = peer
            elif isinstance(event, ConnectionIdRetired):
                self._peers.pop(event.connection_id, None)
            elif isinstance(event, ConnectionTerminated):
                self._forget(peer)
            peer.session.handle(event)
        self.transmit(peer)

    def transmit(self, peer: _Peer) -> None:
        """Send a connection's datagrams; one the kernel does not take is a lost one."""
        for data, address in peer.quic.datagrams_to_send(anyio.current_time()):
            try:
                self._sock.sendto(data, address)
            except OSError as exc:
                _LOG.debug("a datagram to %s was not sent: %s", address, exc)
        if (peer.quic.get_timer() or math.inf) < self._sleeping_until:
            self._wake.set()

    def start(self, peer: _Peer, exchange: H3Exchange) -> None:
        """Run the application for a new request."""
        self._tasks.start_soon(self._run_app, peer, exchange)

    async def _run_app(self, peer: _Peer, exchange: H3Exchange) -> None:
        try:
            await self._app(exchange.scope, exchange.receive, exchange.send)
        except Exception:  # noqa: BLE001 - one broken request must not end the server
            _LOG.exception("the application failed")
            peer.session.fail(exchange)

    def _receive_batch(self) -> set[_Peer]:
        touched: set[_Peer] = set()
        now = anyio.current_time()
        for data, address in self._datagrams():
            peer = self._route(data, address)
            if peer is not None and not peer.session.congested:
                peer.quic.receive_datagram(data, address, now)
                touched.add(peer)
        return touched

    def _datagrams(self) -> Iterator[tuple[bytes, Address]]:
        for _ in range(_BATCH):
            try:
                yield self._sock.recvfrom(_DATAGRAM_BYTES)
            except BlockingIOError:
                return
            except OSError as exc:
                _LOG.debug("a datagram was not received: %s", exc)

    def _route(self, data: bytes, address: Address) -> _Peer | None:
        """The connection a datagram belongs to (RFC 9000 §5.2), a new one if it may open one."""
        try:
            header = pull_quic_header(
                Buffer(data=data), host_cid_length=self._configuration.connection_id_length
            )
        except ValueError:
            return None
        peer = self._peers.get(header.destination_cid)
        if peer is not None or header.version is None or len(data) < SMALLEST_MAX_DATAGRAM_SIZE:
            return peer
        if header.version not in self._configuration.supported_versions:
            self._negotiate_version(header, address)
        elif header.packet_type is QuicPacketType.INITIAL:
            peer = _Peer(self, self._new_connection(header.destination_cid))
            self._peers[header.destination_cid] = peer
            self._peers[peer.quic.host_cid] = peer
        return peer

    def _negotiate_version(self, header: QuicHeader, address: Address) -> None:
        if header.packet_type is QuicPacketType.VERSION_NEGOTIATION:
            return
        answer = encode_quic_version_negotiation(
            source_cid=header.destination_cid,
            destination_cid=header.source_cid,
            supported_versions=self._configuration.supported_versions,
        )
        try:
            self._sock.sendto(answer, address)
        except OSError as exc:
            _LOG.debug("a version negotiation to %s was not sent: %s", address, exc)

    def _new_connection(self, destination_cid: bytes) -> QuicConnection:
        return QuicConnection(
            configuration=self._configuration,
            original_destination_connection_id=destination_cid,
            session_ticket_fetcher=self._take_ticket,
            session_ticket_handler=self._keep_ticket,
        )

    def _keep_ticket(self, ticket: SessionTicket) -> None:
        self._tickets[ticket.ticket] = ticket
        while len(self._tickets) > _TICKETS:
            self._tickets.popitem(last=False)

    def _take_ticket(self, label: bytes) -> SessionTicket | None:
        # Once only, so that early data cannot be replayed (RFC 8446 §8.1).
        return self._tickets.pop(label, None)

    def _forget(self, peer: _Peer) -> None:
        for cid in [cid for cid, known in self._peers.items() if known is peer]:
            del self._peers[cid]

    async def _run_timers(self) -> None:
        while True:
            due = {peer: peer.quic.get_timer() or math.inf for peer in set(self._peers.values())}
            self._sleeping_until = min(due.values(), default=math.inf)
            self._wake = anyio.Event()
            with anyio.CancelScope(deadline=self._sleeping_until):
                await self._wake.wait()
            now = anyio.current_time()
            for peer, at in due.items():
                if at <= now:
                    peer.quic.handle_timer(now)
                    self.attend(peer)


class _Peer:
    """A connection and its session."""

    __slots__ = ("quic", "session")

    def __init__(self, endpoint: QuicEndpoint, quic: QuicConnection) -> None:
        self.quic = quic
        self.session = H3Session(
            quic,
            start=lambda exchange: endpoint.start(self, exchange),
            transmit=lambda: endpoint.transmit(self),
        )
