"""HTTP/3 over one QUIC connection: requests on the machine, events back to the requests."""

from __future__ import annotations

from dataclasses import replace

import anyio

from ..body import BodyReader
from ..errors import ClientClosed
from ..profile.moments import ConnectionFacts, Ns
from ..profile.recorder import Reading
from ..protocols.events import (
    BodyAcked,
    ConnectionTerminated,
    Event,
    GoAwayReceived,
    HandshakeCompleted,
    HandshakeConfirmed,
    StreamLimitChanged,
)
from ..protocols.http3 import Http3Machine
from ..protocols.http3_close import CloseKind
from ..protocols.http3_progress import Sent
from .connection import ConnectionState
from .exchange import Exchange, RawResponse, out_of_time
from .http3_body import PIECE_BYTES, BulkBody, is_bulk
from .http3_errors import connection_error, handshake_error
from .multiplexed import MultiplexedConnection
from .quic_link import QuicLink, now_s
from .quic_sample import QuicReading
from .request_stream import RequestStream

#: How long CONNECTION_CLOSE may wait for a full socket.
GOODBYE_S = 0.25


class Http3Connection(MultiplexedConnection):
    """A `Connection` that speaks HTTP/3."""

    machine: Http3Machine

    def __init__(self, link: QuicLink, facts: ConnectionFacts, host: str) -> None:
        """Take over a link whose handshake is complete, or whose early data may be sent.

        Args:
            link: machine and socket; nobody else runs it.
            facts: completed by itself when the handshake is over.
            host: whom the certificate is checked against.
        """
        super().__init__()
        self.machine = link.machine
        self.facts = facts
        self._host = host
        self._link = link
        self._state = ConnectionState.DRAINING if self.machine.going_away else ConnectionState.OPEN
        self._running = False
        self._ended = anyio.Event()
        self._proven = anyio.Event()
        """Set when the handshake is complete, or never will be."""
        if self.machine.handshake_complete:
            self._proven.set()
        link.on_event = self.dispatch
        link.on_sent = self._sent
        link.path.on_change = self._path_changed

    # --- what the pool asks -----------------------------------------------------------------

    @property
    def state(self) -> ConnectionState:
        """Whether it takes requests."""
        return self._state

    def is_alive(self) -> bool:
        """Whether the connection has ended; timers and receiver notice by themselves."""
        return self._state is ConnectionState.OPEN and self.machine.close_cause is None

    def retire(self) -> None:
        """Take no more requests and close when the running ones are done."""
        if self._state is ConnectionState.OPEN:
            self._state = ConnectionState.DRAINING
        self.stream_finished()

    async def aclose(self) -> None:
        """Close now; one CONNECTION_CLOSE is sent, whether it arrives or not."""
        self.fail_all(ClientClosed("the client was closed"))
        self._leave()
        if self._running:
            with anyio.CancelScope(shield=True), anyio.move_on_after(GOODBYE_S):
                await self._ended.wait()
            self._link.close()

    async def exchange(self, exchange: Exchange) -> RawResponse:
        """Carry one request; only one that may be replayed goes ahead of the handshake."""
        if not exchange.early_data:
            if not self._proven.is_set():
                # Not asked otherwise: waiting for what has happened gives up a turn of the loop, in
                # which an acknowledgement leaves alone that could go along with the request.
                with anyio.CancelScope(deadline=exchange.deadline_s):
                    await self._proven.wait()
                if not self._proven.is_set():
                    raise out_of_time(exchange.timeouts, exchange.recorder)
            exchange.recorder.leg.connection = self.facts
        return await super().exchange(exchange)

    async def run(self) -> None:
        """Send and receive until the connection is over."""
        if self._state is ConnectionState.CLOSED:
            return
        self._running = True
        try:
            await self._link.run()
        finally:
            if self.machine.close_cause is None:
                # Cancelled with the client: no time to wait, but the peer may as well know.
                self._link.say_goodbye()
            self._state = ConnectionState.CLOSED
            self.fail_all(ClientClosed("the client was closed"))
            self._link.close()
            self._proven.set()
            self._running = False
            self._ended.set()

    # --- events -----------------------------------------------------------------------------

    def heed(self, event: Event, at: Ns) -> None:
        """Take an event of the connection."""
        match event:
            case ConnectionTerminated():
                self._terminated()
            case GoAwayReceived():
                if self._state is ConnectionState.OPEN:
                    self._state = ConnectionState.DRAINING
                    self.on_room()
                self.stream_finished()
            case HandshakeCompleted():
                self._complete_facts()
            case HandshakeConfirmed():
                self._amend_facts(replace(self.facts, handshake_confirmed=at))
            case StreamLimitChanged():
                self.on_room()

    def _terminated(self) -> None:
        self._state = ConnectionState.CLOSED
        self._proven.set()
        cause = self.machine.close_cause
        if cause is None:
            raise RuntimeError("the machine ended without a reason")
        if self.machine.handshake_complete:
            error = connection_error(cause, self._link.path.peer)
        else:
            # Early data was on its way; the handshake it went ahead of has failed.
            error = handshake_error(cause, self._host, self._link.path.peer)
            error.retryable = cause.kind in (CloseKind.REFUSED, CloseKind.UNAVAILABLE)
        self.fail_all(error)
        self.kick()

    def _complete_facts(self) -> None:
        """After early data: what the handshake agreed on is only known now."""
        self._amend_facts(replace(self.facts, tls=self.machine.tls_facts()))
        self._proven.set()

    def _path_changed(self) -> None:
        """This host's address, or the server's, is another one now."""
        peer, local = self._link.path.peer, self._link.socket.local
        self._amend_facts(replace(self.facts, peer=peer, local=local))

    def _amend_facts(self, facts: ConnectionFacts) -> None:
        self.facts = facts
        for stream in self.streams.values():
            stream.exchange.recorder.leg.connection = facts

    def _sent(self, progress: list[Sent], started: Ns, ended: Ns) -> None:
        for sent in progress:
            stream = self.streams.get(sent.stream_id)
            if stream is not None:
                stream.exchange.recorder.leg.high_performance |= sent.in_trains
                stream.took(sent.body_bytes, started, ended, end=sent.end)
                # A file waits for room for a piece, a body from memory for `StreamWritable`.
                if sent.end or self.machine.range_budget(sent.stream_id) >= PIECE_BYTES:
                    stream.wake()
                else:
                    stream.moved_s = self.clock_s()

    # --- the body ---------------------------------------------------------------------------

    def send_at_once(self, exchange: Exchange, content: bytes) -> RequestStream | None:
        """Begin a request and send all of it, if it is alone; see the base class."""
        if self.streams or self.available_requests <= 0:
            return None
        stream_id = self.send_head(exchange, end=not content)
        stream = self.begin(stream_id, exchange, has_body=bool(content))
        if content and len(content) <= self.machine.send_budget(stream_id):
            self.machine.send_body(stream_id, content, end=True)
            stream.body_queued, stream.end_queued = len(content), True
        self._link.flush_now()
        return stream

    def send_head(self, exchange: Exchange, *, end: bool) -> int:
        """Begin a request and return its stream id."""
        return self.machine.send_head(exchange.head, end=end, bulk=is_bulk(exchange))

    async def queue_body(self, stream: RequestStream, reader: BodyReader) -> None:
        """Queue the whole body, long ranges of files by name only."""
        if not is_bulk(stream.exchange):
            await super().queue_body(stream, reader)
            return
        buffer = self.turn_buffer(stream)
        body = BulkBody(self.machine, stream, reader, wait=self.wait_writable, kick=self.kick)
        await body.queue(lambda: self.queue_read(stream, reader, buffer))

    # --- hooks ------------------------------------------------------------------------------

    def kick(self) -> None:
        """Wake the sender."""
        self._link.kick()

    def take_reading(self, stream: RequestStream) -> Reading:  # noqa: ARG002 - hook
        """QUIC's own figures now, and what crossed the socket."""
        limits = self.machine.send_limits(now_s())
        return QuicReading(self.machine.recovery(), limits, self._link.socket.counters)

    def poll_acked(self, stream: RequestStream) -> None:
        """Take the last word of the machine; acknowledgements come as events otherwise."""
        body_bytes, finished = self.machine.acked_body(stream.stream_id)
        stream.acked(body_bytes, finished)

    def acked_body_bytes(self, stream: RequestStream, event: BodyAcked) -> int:
        """Body bytes within the stream bytes that were acknowledged."""
        return self.machine.body_within(stream.stream_id, event.offset)

    def never_written(self, stream: RequestStream) -> bool:
        """Whether no datagram carried a byte of the request."""
        return not self.machine.was_sent(stream.stream_id)

    def stream_finished(self) -> None:
        """Leave when draining and nobody is left."""
        if self._state is ConnectionState.DRAINING and not self.streams:
            self._leave()

    def _leave(self) -> None:
        self._state = ConnectionState.CLOSED
        if self._running:
            self.machine.close()
            self.kick()
        elif self.machine.close_cause is None:
            self._link.say_goodbye()
            self._link.close()
