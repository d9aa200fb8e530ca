"""The HTTP/3 machine: requests over aioquic's QUIC, without I/O and without a clock.

aioquic does QUIC, TLS, QPACK and the rules of HTTP/3's streams. This module adds what it leaves
out: one bounded send buffer per request with a signal when there is room again, acknowledged
offsets as events, GOAWAY, stateless resets, the reason of a close at once, datagrams that grow
after the handshake and shrink again on a path that loses them, key updates before the cipher's
limit, and no exception of a library ever.

A body of known length is one DATA frame, whose header is sent with the request's head; then the
stream carries the body's bytes and nothing else (RFC 9114 §7.2.1 allows any length).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import repeat

from aioquic.quic import events as quic_events
from aioquic.quic.configuration import QuicConfiguration
from aioquic.tls import SessionTicketHandler

from ..buffers import Buffer
from ..config import HttpVersion
from ..facts import TlsFacts
from ..message import RequestHead
from . import aioquic_paths as paths
from . import aioquic_private as private
from .aioquic_receiving import PlainReader
from .aioquic_recovery import AcksTogether
from .aioquic_tls import CertificateCheck, CheckedConnection
from .bulk_quic import BulkSender
from .bulk_train import Train
from .events import (
    BodyUnreadable,
    ConnectionTerminated,
    Event,
    HandshakeCompleted,
    HandshakeConfirmed,
    ResponseReceived,
    StreamLimitChanged,
)
from .http3_buffer import range_room_for, room_for
from .http3_close import FORGOTTEN, CloseCause, CloseKind, explain
from .http3_frames import H3_NO_ERROR, H3_REQUEST_CANCELLED, data_frame_header
from .http3_limits import note_limit
from .http3_probe import path_probe, wants_probe
from .http3_progress import Sent, newly_sent, report_progress
from .http3_receiver import Http3Receiver
from .http3_sending import Sending
from .http3_stream import RequestStream
from .library_guard import LibraryGuard
from .machine import Address, Datagram, StreamTotals
from .path_mtu import PathMtu
from .send_limits import LimitClock, LimitTimes
from .stream_content import RangeSource, SourceRange

#: Probe timeouts in a row that make full-sized datagrams suspect (RFC 8899 §4.3, a black hole).
BLACK_HOLE_PTOS = 3
#: Packets sent with one key before it is updated; RFC 9001 §6.6 allows 2**23 with AES-GCM.
KEY_UPDATE_PACKETS = 2**22
_ALWAYS_DUE_S = float("-inf")


class Http3Machine:
    """A client connection speaking HTTP/3; implements `DatagramMachine`.

    Begin with `connect`. Beside the common interface, `receive_batch` takes many datagrams at
    once, and `take_sent` says what the datagrams of the last `transmit` carried.
    """

    version = HttpVersion.HTTP3

    def __init__(
        self,
        configuration: QuicConfiguration,
        *,
        max_datagram_bytes: int,
        response_head_bytes: int,
        on_ticket: SessionTicketHandler | None = None,
        on_token: Callable[[bytes], None] | None = None,
        check_certificate: CertificateCheck,
        may_follow: Callable[[Address], bool] = lambda _address: True,
    ) -> None:
        """Prepare a connection.

        Args:
            configuration: for aioquic; the congestion controller must be one of
                `aioquic_private.COUNTING_CONTROLLERS`. The handshake uses its datagram size.
            max_datagram_bytes: no larger datagram is tried, whatever peer and path take.
            response_head_bytes: a larger response head is refused.
            on_ticket: takes TLS session tickets for later connections.
            on_token: takes address validation tokens (RFC 9000 §8.1.3) for later connections.
            check_certificate: judges the server's certificate; whom `configuration` trusts does not
                matter.
            may_follow: whether to go to an address the server prefers (RFC 9000 §9.6).
        """
        self.quic = CheckedConnection(configuration, check_certificate, on_ticket, on_token)
        self.round_trips = private.measure_round_trips(self.quic)
        private.pace(self.quic)
        self._guard = LibraryGuard(self._library_failed)
        self.close_cause: CloseCause | None = None
        """Why the connection is over; None while it is not."""
        self.handshake_complete = False
        self.offered_early_data = False
        self._receiver: Http3Receiver | None = None
        self._streams: dict[int, RequestStream] = {}
        self._max_streams = 0
        self._pending: list[Event] = []
        self._broken = False
        self._path = PathMtu(max_datagram_bytes)
        self._path_bounded = False
        """The search knows what the peer takes."""
        self._may_follow = may_follow
        self._dialled: Address | None = None
        self._peer: Address | None = None
        self._head_limit_bytes = response_head_bytes
        self._key_since_packet = 0
        self._bulk = BulkSender(self.quic)
        self._sending = Sending(self.quic, self._bulk)
        self._plain: PlainReader | None = None
        self._limits = LimitClock()
        self._disturbed = True
        """More has happened since the last `transmit` than what trains make happen."""
        self._lost_packets = 0
        self._leaving_packet = 0
        """The first packet of the last `transmit` that has not left, as far as was told."""

    # --- the handshake ------------------------------------------------------------------------

    def connect(self, address: Address, now_s: float) -> None:
        """Begin the handshake with a server; `transmit` has the first datagrams."""
        with self._guarded():
            self.quic.connect(address, now_s)
            self._dialled = self._peer = address
            self._receiver = Http3Receiver(
                self.quic, self._streams, head_limit_bytes=self._head_limit_bytes
            )
            self.offered_early_data = private.has_early_data_keys(self.quic)
        self._max_streams = private.max_request_streams(self.quic)

    @property
    def usable(self) -> bool:
        """Requests can be sent: the handshake is complete, or early data is offered."""
        return self.close_cause is None and (self.handshake_complete or self.offered_early_data)

    @property
    def going_away(self) -> bool:
        """The server takes no new requests (RFC 9114 §5.2)."""
        return self._receiver is not None and self._receiver.first_refused_id is not None

    # --- requests -----------------------------------------------------------------------------

    @property
    def available_streams(self) -> int:
        """How many more requests may begin now."""
        if not self.usable or self.going_away:
            return 0
        begun = self.quic.get_next_available_stream_id() // 4
        return max(0, private.max_request_streams(self.quic) - begun)

    def send_head(self, head: RequestHead, *, end: bool, bulk: bool = False) -> int:
        """Begin a request and return its stream id.

        Args:
            head: the request's head.
            end: no body follows.
            bulk: the bulk sender is to carry the body, whose length is known.

        Raises:
            InvalidHeader: a header field is too large for QPACK.
        """
        if self._receiver is None or self.available_streams <= 0:
            raise RuntimeError("no request may begin now")
        self._disturbed = True
        stream_id = self.quic.get_next_available_stream_id()
        self._receiver.send_head(stream_id, head, end=end)
        sender = private.send_half(self.quic, stream_id)
        stream = self._streams[stream_id] = RequestStream(stream_id, head, sender, end=end)
        if not end and stream.body_length:
            self._send_frame_header(stream, stream.body_length)
            if bulk:
                stream.bulk = self._bulk.begin(stream_id)
        return stream_id

    def send_budget(self, stream_id: int) -> int:
        """Body bytes that may be passed to `send_body` now."""
        stream = self._streams.get(stream_id)
        if stream is None or not self._can_send(stream):
            return 0
        room = room_for(stream, len(self._streams))
        if room <= 0:
            stream.starved = True
        return 0 if stream.starved else room

    def send_body(self, stream_id: int, data: Buffer, *, end: bool) -> None:
        """Queue body bytes; they are copied. Dropped when the sending was stopped meanwhile."""
        stream = self._streams[stream_id]
        if not self._can_send(stream):
            return
        self._disturbed = True
        stream.end_queued = end
        self._announce(stream, len(data), end=end)
        self.quic.send_stream_data(stream_id, bytes(data), end)

    def range_budget(self, stream_id: int) -> int:
        """Bytes of a file that may be passed to `send_range` now; 0 without the bulk sender.

        It rises when datagrams are sent.
        """
        stream = self._streams.get(stream_id)
        return 0 if stream is None or not self._can_send(stream) else range_room_for(stream)

    def send_range(self, stream_id: int, source: RangeSource, offset: int, length: int) -> None:
        """Queue body bytes of a file, at most `range_budget`, that are read when they are sent.

        The source is kept until they are acknowledged or given up, and read again for what is
        lost. The end of a body is queued by `send_body`. Dropped when the sending was stopped.
        """
        stream = self._streams[stream_id]
        if stream.bulk is None or not self._can_send(stream):
            return
        self._announce(stream, length, end=False)
        stream.bulk.append(SourceRange(source, offset, length))

    def reset_stream(self, stream_id: int, *, response_complete: bool = False) -> None:
        """Give the stream up: RESET_STREAM, and STOP_SENDING while the peer may still send."""
        stream = self._streams.get(stream_id)
        if stream is None or self._receiver is None or self.close_cause is not None:
            return
        self._disturbed = True
        code = H3_NO_ERROR if response_complete else H3_REQUEST_CANCELLED
        self._receiver.abandon(stream_id, code)

    def stream_totals(self, stream_id: int) -> StreamTotals:
        """HTTP-layer byte counts of a stream."""
        stream = self._streams[stream_id]
        return StreamTotals(stream.sender.sent_offset, stream.received_bytes)

    def forget_stream(self, stream_id: int) -> None:
        """Drop what is kept about a finished stream; QUIC still sees it to its end."""
        if self._streams.pop(stream_id, None) is not None and self._receiver is not None:
            self._receiver.h3.drop(stream_id)

    def was_sent(self, stream_id: int) -> bool:
        """Whether any byte of the request was put into a datagram."""
        return self._streams[stream_id].sender.sent_offset > 0

    def body_within(self, stream_id: int, stream_offset: int) -> int:
        """Body bytes among the first bytes of the stream."""
        return self._streams[stream_id].body.within(stream_offset)

    def acked_body(self, stream_id: int) -> tuple[int, bool]:
        """Body bytes acknowledged, and whether the end of the request was acknowledged too."""
        stream = self._streams[stream_id]
        return stream.body.within(stream.sender.acked_offset), stream.sender.end_acked

    # --- datagrams and time -------------------------------------------------------------------

    def receive_datagram(self, data: bytes, address: Address, now_s: float) -> list[Event]:
        """Take one datagram."""
        return self.receive_batch([(data, address)], now_s)

    def receive_batch(
        self,
        datagrams: Sequence[tuple[bytes, Address]],
        now_s: float,
        arrived_s: Sequence[float] = (),
    ) -> list[Event]:
        """Take datagrams that are read together.

        Args:
            datagrams: what was read, and from where.
            now_s: when it is taken; this is what loss recovery's timers count from, since they have
                to be patient with this program's own pace as well.
            arrived_s: when each of them arrived, if known; this is what round trips end with.
        """
        arrivals: Iterable[float | None] = arrived_s or repeat(None, len(datagrams))
        plain, begun = self._plain, False
        with self._guarded(), AcksTogether(self.quic):
            for (data, address), at_s in zip(datagrams, arrivals, strict=True):
                self.round_trips.arrived_s = at_s
                if self.handshake_complete:
                    if plain is None:
                        plain = self._plain = PlainReader(self.quic)
                    if not begun:
                        plain.begin(now_s, len(self._streams))
                        begun = True
                    if plain.take(data, address):
                        continue
                begun, self._disturbed = False, True
                if private.is_stateless_reset(self.quic, data):
                    self.give_up(FORGOTTEN)
                    break
                self.quic.receive_datagram(data, address, now_s)
        if private.lost_packets(self.quic) != self._lost_packets:
            self._lost_packets, self._disturbed = private.lost_packets(self.quic), True
        return self._collect(now_s)

    def transmit(self, now_s: float) -> list[Datagram]:
        """Take the datagrams that congestion control and pacing allow now."""
        if self._receiver is None or self._broken or not self.has_news:
            return []
        self._disturbed = False
        ready: list[tuple[bytes, Address]] = []
        with self._guarded():
            self._leaving_packet = private.next_packet_number(self.quic)
            ready = self._sending.take(now_s)
            if self._path_bounded:
                ready += path_probe(self.quic, self._path, self._streams.values(), now_s)
        return [Datagram(data, address) for data, address in ready]

    @property
    def has_news(self) -> bool:
        """Whether `transmit` is worth a call.

        Not so while there is nothing to send but trains, and nothing is received but what they make
        the peer send: of a long upload, that is nearly always. And not after a short request.
        """
        calm = self._path_bounded and not (self._disturbed or self._sending.held_back)
        return not calm or wants_probe(self.quic, self._path, self._streams.values())

    @property
    def has_trains(self) -> bool:
        """Whether `next_train` is worth a call: there are bodies for the bulk sender."""
        return not self._bulk.idle

    def patience_s(self, now_s: float) -> float:
        """For how long what arrives may be left unread, as it cannot be but acknowledgements."""
        shortest_s = self.round_trips.smallest_s
        if shortest_s is None or self.has_news:
            return 0.0
        return self._bulk.patience_s(len(self._streams), now_s, shortest_s)

    def next_train(self, now_s: float) -> Train | None:
        """Take the next train of the bulk sender, to be sent before the machine is called again.

        After `transmit`; None when there is nothing more to send now.
        """
        if self._receiver is None or self._broken or self._bulk.idle:
            return None
        with self._guarded():
            return self._bulk.next_train(now_s, others_wait=self._sending.held_back)
        return None

    def end_turn(self, now_s: float) -> None:
        """All that could be sent was taken from `transmit` and `next_train`."""
        if self._receiver is None or self._broken:
            return
        with self._guarded():
            self._update_keys()
            self._sweep()
            note_limit(self._limits, self.quic, self._streams.values(), now_s)

    def departed(self, datagram_count: int, at_ns: int) -> None:
        """Say when the operating system got the next datagrams of the last `transmit`.

        Building and encrypting a batch takes milliseconds that are no part of a round trip. A
        datagram is counted as one packet: those of a handshake may hold more, but they are few and
        leave together. `at_ns` is on the clock of `now_s`.
        """
        self.round_trips.left(self._leaving_packet, at_ns / 1e9)
        self._leaving_packet += datagram_count

    def take_sent(self) -> list[Sent]:
        """Requests of which `transmit` has sent more since the last call."""
        return newly_sent(self._streams.values())

    def next_timer_s(self) -> float | None:
        """When `handle_timer` wants to be called; None for never."""
        if self._pending:
            return _ALWAYS_DUE_S
        if self._receiver is None or self.close_cause is not None:
            return None
        return self.quic.get_timer()

    def handle_timer(self, now_s: float) -> list[Event]:
        """Let time pass."""
        due = self.next_timer_s()
        if due is not None and now_s >= due and self.close_cause is None:
            if not self._pending and private.only_sending_is_due(self.quic, now_s):
                # The pacer's timer is for trains, as long as there are any.
                self._disturbed |= self._bulk.idle or private.must_acknowledge(self.quic, now_s)
                return []
            self._disturbed = True
            with self._guarded():
                self.quic.handle_timer(now_s)
                if private.pto_count(self.quic) >= BLACK_HOLE_PTOS:
                    self._path.swallowed()
                    self._follow_path()
        return self._collect(now_s)

    def close(self) -> None:
        """Begin an orderly end; one more `transmit` has the CONNECTION_CLOSE."""
        self._disturbed = True
        if self.close_cause is None and self._receiver is not None:
            self.quic.close(error_code=H3_NO_ERROR)
        self.close_cause = self.close_cause or CloseCause(
            CloseKind.LOCAL, "this side closed the connection", H3_NO_ERROR
        )

    def give_up(self, cause: CloseCause) -> None:
        """End without a word to the peer, who cannot be reached; `handle_timer` has the event."""
        self._broken = True
        self._terminate(cause)

    # --- what the connection and its path are like ---------------------------------------------

    @property
    def peer(self) -> Address | None:
        """Where the server is spoken to now; it may have asked for another address (§9.6)."""
        return self._peer

    @property
    def silences(self) -> int:
        """Probe timeouts in a row without an answer (RFC 9002 §6.2)."""
        return private.pto_count(self.quic)

    def moved(self, now_s: float) -> None:
        """Go on from another address of this host, or give up if that cannot be (RFC 9000 §9.2)."""
        if self.close_cause is not None:
            return
        hindrance = paths.hindrance(self.quic, preferred=self._peer != self._dialled)
        if hindrance is not None:
            self.give_up(
                CloseCause(CloseKind.MOVED, f"this host's address changed and {hindrance}")
            )
            return
        with self._guarded():
            paths.move(self.quic, now_s)
        self.path_changed(now_s)

    def path_changed(self, now_s: float) -> None:
        """Suppose nothing about the way to the server any more; addresses are the same."""
        with self._guarded():
            self._disturbed = True
            private.forget_path(self.quic, now_s)
            self._path.restart()
            # To hear soon whether there is an answer, and be followed: not every packet is (§9.2).
            self.quic.send_ping(0)

    def datagram_refused(self, mtu_bytes: int | None, *, ipv6: bool) -> None:
        """This host did not send a datagram that is too large for the path.

        Args:
            mtu_bytes: the largest IP packet, if the host said so.
            ipv6: the packets are IPv6's.
        """
        self._path.refused(mtu_bytes, ipv6=ipv6)
        self._follow_path()

    def keep_alive(self) -> None:
        """Send a PING, so that neither side's idle timeout ends a waiting request."""
        if self.close_cause is None:
            self._disturbed = True
            self.quic.send_ping(0)

    @property
    def has_requests(self) -> bool:
        """Whether requests are open."""
        return bool(self._streams)

    @property
    def idle_timeout_s(self) -> float:
        """After how long a silence the connection ends (RFC 9000 §10.1)."""
        return private.idle_timeout_s(self.quic)

    def recovery(self) -> private.RecoveryFigures:
        """Figures of loss recovery and congestion control."""
        return private.recovery_figures(self.quic)

    def send_limits(self, now_s: float) -> LimitTimes:
        """How long the sending waited for what, since the connection began."""
        return self._limits.times(now_s)

    def tls_facts(self) -> TlsFacts:
        """What the handshake agreed on; call it when the handshake is complete."""
        tls = self.quic.tls
        return TlsFacts(
            version="TLSv1.3",  # RFC 9001 §4.2: no other is allowed
            cipher=private.cipher_name(self.quic),
            alpn=tls.alpn_negotiated,
            session_resumed=tls.session_resumed,
            early_data_accepted=tls.early_data_accepted if self.offered_early_data else None,
            peer_certificate_der=private.peer_certificate_der(self.quic),
        )

    def finish(self) -> None:
        """Write out diagnostics and let go of files; the connection is not used any more."""
        private.end_qlog(self.quic)
        self._bulk.close()

    # --- inside -------------------------------------------------------------------------------

    def _announce(self, stream: RequestStream, length: int, *, end: bool) -> None:
        """Account for body bytes that are about to be queued, and frame them if need be."""
        announced = stream.body_length
        after = stream.body.body_bytes + length
        if announced is not None and (after > announced or (end and after < announced)):
            raise RuntimeError("the body differs in length from what the request announced")
        if length and announced is None:
            self._send_frame_header(stream, length)
        stream.body.add(stream.sender.queued_offset, length)

    def _sweep(self) -> None:
        """Let the bulk sender forget what is over, and give up what it cannot read."""
        for stream_id, error in self._bulk.sweep():
            self._disturbed = True
            self._pending.append(BodyUnreadable(stream_id, error))
            if self._receiver is not None:
                self._receiver.abandon(stream_id, H3_REQUEST_CANCELLED)

    def _send_frame_header(self, stream: RequestStream, length: int) -> None:
        self.quic.send_stream_data(stream.stream_id, data_frame_header(length))

    def _can_send(self, stream: RequestStream) -> bool:
        over = self.close_cause is not None or stream.end_queued
        return not over and not stream.sender.was_reset

    def _update_keys(self) -> None:
        sent = private.next_packet_number(self.quic)
        if sent - self._key_since_packet >= KEY_UPDATE_PACKETS and private.may_update_keys(
            self.quic, since_packet=self._key_since_packet
        ):
            self.quic.request_key_update()
            self._key_since_packet = sent

    def _collect(self, now_s: float) -> list[Event]:
        """Everything that follows from what was just put in, acknowledgements first."""
        events, self._pending = self._pending, []
        for stream in self._streams.values():
            report_progress(stream, len(self._streams), events)
        with self._guarded():
            self._sweep()
            while (event := self.quic.next_event()) is not None:
                told = self._translate(event, now_s)
                # Anything but a whole response may have made the library say something.
                self._disturbed |= not (told and isinstance(told[0], ResponseReceived))
                events.extend(told)
            self._watch_connection(events, now_s)
        events.extend(self._pending)
        self._pending = []
        return events

    def _watch_connection(self, events: list[Event], now_s: float) -> None:
        close = private.closing(self.quic)
        if close is not None:
            self._terminate(explain(close))
        allowed = private.max_request_streams(self.quic)
        if allowed != self._max_streams:
            self._max_streams = allowed
            events.append(StreamLimitChanged(self.available_streams + len(self._streams)))
        if not self._path_bounded and private.handshake_confirmed(self.quic):
            self._path_bounded = True
            events.append(HandshakeConfirmed())
            self._path.bound(private.max_udp_payload_bytes(self.quic))
        if paths.peer_address(self.quic) != self._peer:
            self._peer = paths.peer_address(self.quic)
            self.path_changed(now_s)
        self._follow_path()

    def _follow_path(self) -> None:
        """Build datagrams of the size that is known to arrive."""
        if self._path.size_bytes != private.datagram_bytes(self.quic):
            private.set_datagram_bytes(self.quic, self._path.size_bytes)

    def _translate(self, event: quic_events.QuicEvent, now_s: float) -> list[Event]:
        if isinstance(event, quic_events.HandshakeCompleted):
            return self._complete_handshake(event, now_s)
        return [] if self._receiver is None else self._receiver.translate(event)

    def _complete_handshake(
        self, event: quic_events.HandshakeCompleted, now_s: float
    ) -> list[Event]:
        self.handshake_complete = True
        self._key_since_packet = private.next_packet_number(self.quic)
        preferred = paths.preferred_address(self.quic)
        if preferred is not None and not self._may_follow(preferred):
            paths.refuse_preferred_address(self.quic)
        if self.offered_early_data and not event.early_data_accepted:
            private.resend_early_data(self.quic, now_s)
        accepted = event.early_data_accepted
        return [HandshakeCompleted(event.alpn_protocol, event.session_resumed, accepted)]

    def _terminate(self, cause: CloseCause) -> None:
        if self.close_cause is None:
            self.close_cause = cause
            self._pending.append(
                ConnectionTerminated(cause.reason, cause.error_code, cause.by_peer, cause.clean)
            )

    def _guarded(self) -> LibraryGuard:
        """What the library raises in this block ends the connection and goes no further."""
        return self._guard

    def _library_failed(self, exc: Exception) -> None:
        self._broken = True
        self._terminate(CloseCause(CloseKind.INTERNAL, f"aioquic failed: {exc!r}"))
