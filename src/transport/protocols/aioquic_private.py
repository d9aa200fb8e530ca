"""The one place that touches private names of aioquic (pinned to 1.7.x, guarded by a canary test).

aioquic publishes no round-trip time (and keeps none below 1 ms), no congestion window, no
acknowledged offset and no room in its send buffers, keeps the reason of a closing connection to
itself until three probe timeouts later, and does not recognise a stateless reset. Everything here
reads such state, except the functions whose names are verbs.
"""

# ruff: noqa: SLF001  -- private names are what this module is for

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from hmac import compare_digest
from math import inf, nextafter
from typing import NamedTuple

from aioquic.quic.congestion.base import QuicRttMonitor, register_congestion_control
from aioquic.quic.congestion.cubic import K_CUBIC_LOSS_REDUCTION_FACTOR, CubicCongestionControl
from aioquic.quic.congestion.reno import RenoCongestionControl
from aioquic.quic.connection import QuicConnection, QuicConnectionState
from aioquic.quic.events import ConnectionTerminated
from aioquic.quic.packet import QuicPacketType
from aioquic.quic.packet_builder import QuicSentPacket
from aioquic.quic.stream import QuicStream
from aioquic.tls import Epoch
from cryptography.hazmat.primitives.serialization import Encoding

from .aioquic_paths import peer_parameters
from .aioquic_recovery import WatchedRecovery
from .aioquic_trains import separate
from .aioquic_window import Pacer, PatientRttMonitor, UsedWindow
from .path_mtu import BASE_BYTES
from .quic_round_trips import RoundTrips

#: RFC 9000 §10.3: what a stateless reset looks like at the very least.
_SMALLEST_STATELESS_RESET_BYTES = 21
_RESET_TOKEN_BYTES = 16
_LONG_HEADER = 0x80
#: RFC 9000 §18.2: the limit of a peer that states none.
_DEFAULT_MAX_UDP_PAYLOAD_BYTES = 65527

#: Enough for a packet to be filled from several small streams, few enough to be walked per packet.
_STREAMS_IN_TURN = 8


class _Counting(UsedWindow):
    """Counts what a congestion controller is told; goes before the controller it extends."""

    lost_packets = 0
    lost_bytes = 0
    retransmitted_packets = 0
    retransmitted_bytes = 0
    _acked_packet = 0
    _ack_delay_s: float | None = None

    def __init__(self, *, max_datagram_size: int) -> None:
        super().__init__(max_datagram_size=max_datagram_size)
        self._rtt_monitor: QuicRttMonitor = PatientRttMonitor()
        self.round_trips = RoundTrips()

    def successor(self) -> _Counting:
        """A controller that knows nothing of the path and goes on counting."""
        other = type(self)(max_datagram_size=BASE_BYTES)
        other.lost_packets, other.lost_bytes = self.lost_packets, self.lost_bytes
        other.retransmitted_packets = self.retransmitted_packets
        other.retransmitted_bytes = self.retransmitted_bytes
        other.round_trips = self.round_trips
        self.round_trips.restart()
        return other

    def on_ack(self, largest_packet: int, ack_delay_s: float | None) -> None:
        """An ACK frame has come; `on_rtt_measurement` follows if it makes a sample."""
        self._acked_packet, self._ack_delay_s = largest_packet, ack_delay_s

    def on_rtt_measurement(self, *, now: float, rtt: float) -> None:
        self.round_trips.sample(self._acked_packet, now - rtt, now, self._ack_delay_s)
        # The controller that follows in the method resolution order implements it.
        super().on_rtt_measurement(now=now, rtt=rtt)  # type: ignore[safe-super]

    def on_packets_lost(self, *, now: float, packets: Iterable[QuicSentPacket]) -> None:
        lost = list(packets)
        self.lost_packets += len(lost)
        self.lost_bytes += sum(packet.sent_bytes for packet in lost)
        self._count_retransmitted(lost)
        # The controller that follows in the method resolution order implements it.
        super().on_packets_lost(now=now, packets=lost)  # type: ignore[safe-super]

    def on_packets_expired(self, *, packets: Iterable[QuicSentPacket]) -> None:
        expired = list(packets)
        self._count_retransmitted(expired)
        super().on_packets_expired(packets=expired)  # type: ignore[safe-super]

    def set_datagram_bytes(self, size_bytes: int) -> None:
        self._max_datagram_size = size_bytes
        # RFC 9002 §7.2: the minimum window is two datagrams; one that held none would never grow.
        self.congestion_window = max(self.congestion_window, 2 * size_bytes)

    def _count_retransmitted(self, packets: list[QuicSentPacket]) -> None:
        # Packets of the handshake also "expire" when their keys are discarded: nothing is resent.
        resent = [packet for packet in packets if packet.epoch is Epoch.ONE_RTT]
        self.retransmitted_packets += len(resent)
        self.retransmitted_bytes += sum(packet.sent_bytes for packet in resent)


class _CountingCubic(_Counting, CubicCongestionControl):
    def on_packets_lost(self, *, now: float, packets: Iterable[QuicSentPacket]) -> None:
        before, began_s = self.congestion_window, self._congestion_recovery_start_time
        super().on_packets_lost(now=now, packets=packets)
        if self._congestion_recovery_start_time == began_s:
            return
        # aioquic takes a share of what is in flight, after everything was taken off that the
        # acknowledgement has acknowledged or shown to be lost: of many packets taken together,
        # hardly anything is left. RFC 9438 §4.6 allows to take it of a window that does not grow
        # unused.
        kept = max(int(before * K_CUBIC_LOSS_REDUCTION_FACTOR), 2 * self._max_datagram_size)
        self.ssthresh = self.congestion_window = kept

    def set_datagram_bytes(self, size_bytes: int) -> None:
        super().set_datagram_bytes(size_bytes)
        self.additive_increase_factor = size_bytes

    def on_grown(self, before: int, packets: int) -> None:
        slow_start = self.ssthresh is None or before < self.ssthresh
        # In the Reno-friendly region the window is `_W_est`, which counts bytes.
        if slow_start or self.congestion_window == self._W_est:
            return
        # RFC 9438 §4.4: by (target - window) / window for each segment, of which the controller
        # took these for one. A whole window of them brings it to the target and not beyond.
        packets = min(packets, before // self._max_datagram_size)
        self.congestion_window += max(packets - 1, 0) * (self.congestion_window - before)

    def on_kept(self, sent_s: float) -> None:
        # Without it, the controller would take the connection to have been idle.
        self.last_ack = sent_s

    def on_unused_time(self, duration_s: float) -> None:
        # RFC 9438 §5.8: time in which the window was not used is no time to have grown in.
        self._t_epoch += duration_s


class _CountingReno(_Counting, RenoCongestionControl):
    pass


#: Our congestion controllers, by the names `QuicConfiguration` takes.
COUNTING_CONTROLLERS = {"cubic": "trilane-cubic", "reno": "trilane-reno"}
register_congestion_control(COUNTING_CONTROLLERS["cubic"], _CountingCubic)
register_congestion_control(COUNTING_CONTROLLERS["reno"], _CountingReno)


def measure_round_trips(quic: QuicConnection) -> RoundTrips:
    """Have round trips measured from now on; returns what departures and arrivals are told to."""
    quic._loss.__class__ = WatchedRecovery
    return _counts(quic).round_trips


def pace(quic: QuicConnection) -> None:
    """Give a new connection the pacer of RFC 9002 §7.7."""
    quic._loss._pacer = Pacer(max_datagram_size=quic._max_datagram_size)


def forget_path(quic: QuicConnection, now_s: float) -> None:
    """Forget what was learnt of the path so far (RFC 9000 §9.4).

    What is in flight may have met its end on the old path, and must not count for the new one: it
    is sent again, without a sign of congestion.
    """
    loss, space = quic._loss, quic._spaces[Epoch.ONE_RTT]
    separate(space, quic._packet_number)
    in_flight = list(space.sent_packets.values())
    loss._on_packets_lost(congestion_event=False, now=now_s, packets=in_flight, space=space)
    space.loss_time = None
    loss._cc = _counts(quic).successor()
    loss._pto_count = 0
    loss._rtt_initialized = False
    loss._rtt_first_sample_time = loss._rtt_latest = loss._rtt_smoothed = loss._rtt_variance = 0.0
    loss._rtt_min = inf
    quic._max_datagram_size = BASE_BYTES
    pace(quic)


class SendHalf:
    """What is known of the sending half of a stream."""

    __slots__ = ("_sender",)

    def __init__(self, stream: QuicStream) -> None:
        self._sender = stream.sender

    @property
    def queued_offset(self) -> int:
        """Stream bytes queued so far."""
        return self._sender._buffer_stop

    @property
    def buffered_bytes(self) -> int:
        """Bytes kept: not yet sent, or sent and not yet acknowledged."""
        return self._sender._buffer_stop - self._sender._buffer_start

    @property
    def sent_offset(self) -> int:
        """Stream bytes put into datagrams at least once."""
        return self._sender.highest_offset

    @property
    def end_sent(self) -> bool:
        """The end of the stream was put into a datagram (and is not known to be lost)."""
        sender = self._sender
        return sender._buffer_fin == sender.highest_offset and not sender._pending_eof

    @property
    def has_unsent(self) -> bool:
        """Bytes or the end are still to be put into a datagram, for the first time or again."""
        return len(self._sender._pending) > 0 or self._sender._pending_eof

    @property
    def acked_offset(self) -> int:
        """Contiguous stream bytes acknowledged."""
        return self._sender._buffer_start

    @property
    def end_acked(self) -> bool:
        """Every byte and the end of the stream were acknowledged."""
        return self._sender.is_finished and self._sender._reset_error_code is None

    @property
    def was_reset(self) -> bool:
        """The sending was cut short, by us or by STOP_SENDING."""
        return self._sender._reset_error_code is not None


def datagrams_to_send(quic: QuicConnection, now_s: float) -> list[tuple[bytes, tuple[str, int]]]:
    """What aioquic wants sent now.

    aioquic walks all its streams for every packet, so a hundred uploads at once would be a hundred
    times the work. It is shown a few of those that have something to send, in turns.
    """
    _let_acks_pass(quic, now_s)
    if len(quic._streams_queue) <= _STREAMS_IN_TURN:
        return quic.datagrams_to_send(now_s)
    datagrams: list[tuple[bytes, tuple[str, int]]] = []
    resting: list[QuicStream] = []
    waiting = deque(quic._streams_queue)
    more = True
    while more:
        quic._streams_queue = _next_in_turn(waiting, resting)
        try:
            produced = quic.datagrams_to_send(now_s)
        finally:
            # aioquic has put those it served behind the others, and dropped the finished ones.
            resting += quic._streams_queue
            quic._streams_queue = [*waiting, *resting]
        datagrams += produced
        more = bool(produced and waiting)
    return datagrams


def _let_acks_pass(quic: QuicConnection, now_s: float) -> None:
    """Exempt acknowledgements from pacing (RFC 9002 §7.7) when they are due, not a moment later.

    aioquic does so only afterwards; a clock that stands still would never get there. They are due
    as well when a request leaves that can take them along (RFC 9000 §13.2.1).
    """
    space = quic._spaces.get(Epoch.ONE_RTT)
    if space is None or space.ack_at is None or space.ack_at < now_s:
        return
    few = quic._streams_queue[:_STREAMS_IN_TURN]
    if space.ack_at == now_s or any(map(_has_something_to_send, few)):
        space.ack_at = nextafter(now_s, -inf)


def _next_in_turn(waiting: deque[QuicStream], resting: list[QuicStream]) -> list[QuicStream]:
    chosen: list[QuicStream] = []
    room = _STREAMS_IN_TURN
    while waiting and room:
        stream = waiting.popleft()
        if stream.is_finished:
            # aioquic only drops it. Counted, a turn of them would send nothing, which looks like a
            # full window, and those behind would wait for the next timer.
            chosen.append(stream)
        elif _has_something_to_send(stream):
            chosen.append(stream)
            room -= 1
        else:
            resting.append(stream)
    return chosen


def _has_something_to_send(stream: QuicStream) -> bool:
    if stream.sender.reset_pending or stream.receiver.stop_pending:
        return True
    return not (stream.is_blocked or stream.sender.buffer_is_empty)


def send_half(quic: QuicConnection, stream_id: int) -> SendHalf:
    """The sending half of a stream on which something was queued; outlives the stream."""
    return SendHalf(quic._streams[stream_id])


def is_receiving(quic: QuicConnection, stream_id: int) -> bool:
    """Whether the peer may still send on a stream."""
    stream = quic._streams.get(stream_id)
    return stream is not None and not stream.receiver.is_finished


def max_request_streams(quic: QuicConnection) -> int:
    """Requests the peer has allowed since the connection began (RFC 9000 §4.6)."""
    return quic._remote_max_streams_bidi


@dataclass(frozen=True, slots=True)
class QuicClose:
    """Why a connection is closing."""

    error_code: int
    application: bool
    """The code is HTTP/3's, not QUIC's."""
    reason: str
    by_peer: bool


def closing(quic: QuicConnection) -> QuicClose | None:
    """Why the connection is closing, before the library's closing period is over."""
    event: ConnectionTerminated | None = quic._close_event
    if event is None:
        return None
    return QuicClose(
        event.error_code,
        event.frame_type is None,
        event.reason_phrase,
        by_peer=quic._state is QuicConnectionState.DRAINING,
    )


def is_open(quic: QuicConnection) -> bool:
    """Whether the connection neither closes nor is closed."""
    return quic._close_event is None


def handshake_confirmed(quic: QuicConnection) -> bool:
    """Whether the server has confirmed the handshake (RFC 9001 §4.1.2)."""
    return quic._handshake_confirmed


def idle_timeout_s(quic: QuicConnection) -> float:
    """After how long a silence both sides consider the connection dead (RFC 9000 §10.1)."""
    return quic._idle_timeout()


def is_stateless_reset(quic: QuicConnection, datagram: bytes) -> bool:
    """Whether the peer says that it has forgotten the connection (RFC 9000 §10.3.1)."""
    token = quic._peer_cid.stateless_reset_token
    return (
        len(token) == _RESET_TOKEN_BYTES
        and len(datagram) >= _SMALLEST_STATELESS_RESET_BYTES
        and not datagram[0] & _LONG_HEADER
        and compare_digest(datagram[-_RESET_TOKEN_BYTES:], token)
    )


class RecoveryFigures(NamedTuple):
    """Loss recovery's own figures; times in seconds, None before the first sample."""

    smoothed_rtt_s: float | None
    latest_rtt_s: float | None
    min_rtt_s: float | None
    rtt_variance_s: float | None
    congestion_window_bytes: int
    bytes_in_flight: int
    pto_count: int
    lost_packets: int
    lost_bytes: int
    retransmitted_packets: int
    retransmitted_bytes: int


def recovery_figures(quic: QuicConnection) -> RecoveryFigures:
    """Read loss recovery and congestion control."""
    loss = quic._loss
    counts = _counts(quic)
    round_trips = counts.round_trips
    return RecoveryFigures(
        smoothed_rtt_s=round_trips.smoothed_s,
        latest_rtt_s=round_trips.latest_s,
        min_rtt_s=round_trips.smallest_s,
        rtt_variance_s=round_trips.variation_s,
        congestion_window_bytes=loss.congestion_window,
        bytes_in_flight=loss.bytes_in_flight,
        pto_count=loss._pto_count,
        lost_packets=counts.lost_packets,
        lost_bytes=counts.lost_bytes,
        retransmitted_packets=counts.retransmitted_packets,
        retransmitted_bytes=counts.retransmitted_bytes,
    )


def is_flow_blocked(quic: QuicConnection, stream_id: int) -> bool:
    """Whether the peer's limits hold back the next byte of a stream (RFC 9000 §4.1)."""
    stream = quic._streams.get(stream_id)
    if stream is None or len(stream.sender._pending) == 0:
        return False
    sender = stream.sender
    connection_room = quic._remote_max_data - quic._remote_max_data_used
    limit = min(sender.highest_offset + connection_room, stream.max_stream_data_remote)
    return sender.next_offset >= limit


def is_window_full(quic: QuicConnection) -> bool:
    """Whether the congestion window has no room for another full datagram."""
    return quic._loss.congestion_window - quic._loss.bytes_in_flight < quic._max_datagram_size


def is_busy(quic: QuicConnection) -> bool:
    """Whether anything that was sent is neither acknowledged nor lost."""
    return quic._loss.bytes_in_flight > 0


def paced_until_s(quic: QuicConnection) -> float | None:
    """When the pacer lets the next packet pass; None when it holds none back."""
    return quic._pacing_at


def may_be_held_back(quic: QuicConnection) -> bool:
    """Whether `datagrams_to_send`, just called, may have left something for a later call.

    For want of room in the congestion window, for the pacer, or for the peer's limits.
    """
    if quic._pacing_at is not None or is_window_full(quic):
        return True
    return any(map(_has_something_to_send, quic._streams_queue))


def lost_packets(quic: QuicConnection) -> int:
    """Packets that loss detection has found lost so far."""
    return _counts(quic).lost_packets


def _counts(quic: QuicConnection) -> _Counting:
    controller = quic._loss._cc
    if not isinstance(controller, _Counting):
        raise TypeError("the connection was not configured with one of COUNTING_CONTROLLERS")
    return controller


def pto_count(quic: QuicConnection) -> int:
    """Probe timeouts since the peer last acknowledged anything."""
    return quic._loss._pto_count


def datagram_bytes(quic: QuicConnection) -> int:
    """Size of the datagrams that are built."""
    return quic._max_datagram_size


def set_datagram_bytes(quic: QuicConnection, size_bytes: int) -> None:
    """Build datagrams of another size from now on."""
    quic._max_datagram_size = size_bytes
    quic._loss._pacer._max_datagram_size = size_bytes
    _counts(quic).set_datagram_bytes(size_bytes)


def max_udp_payload_bytes(quic: QuicConnection) -> int:
    """The largest datagram the peer takes."""
    return peer_parameters(quic).max_udp_payload_size or _DEFAULT_MAX_UDP_PAYLOAD_BYTES


def cipher_name(quic: QuicConnection) -> str:
    """The cipher suite in use, as OpenSSL writes it."""
    schedule = quic.tls.key_schedule
    return "" if schedule is None else f"TLS_{schedule.cipher_suite.name}"


def peer_certificate_der(quic: QuicConnection) -> bytes | None:
    """The peer's leaf certificate; None on a resumed session, which carries none."""
    certificate = quic.tls._peer_certificate
    return None if certificate is None else certificate.public_bytes(Encoding.DER)


def only_sending_is_due(quic: QuicConnection, now_s: float) -> bool:
    """Whether the timer that is due, if any, means no more than to ask for datagrams.

    To be asked after `get_timer`. Most timers are an acknowledgement's.
    """
    ends = (quic._close_at, quic._loss_at, quic._path_validation_deadline())
    return all(end_s is None or now_s < end_s for end_s in ends)


def must_acknowledge(quic: QuicConnection, now_s: float) -> bool:
    """Whether an acknowledgement is due, with which it is aioquic's turn to send."""
    return any(space.ack_at is not None and space.ack_at <= now_s for space in quic._loss.spaces)


def sent_bytes(quic: QuicConnection) -> int:
    """What was sent on the path so far."""
    return quic._network_paths[0].bytes_sent


def next_packet_number(quic: QuicConnection) -> int:
    """Number of the next packet to be sent."""
    return quic._packet_number


def may_update_keys(quic: QuicConnection, *, since_packet: int) -> bool:
    """Whether a packet of the current key phase was acknowledged (RFC 9001 §6.1)."""
    space = quic._spaces[Epoch.ONE_RTT]
    return quic._handshake_confirmed and space.largest_acked_packet >= since_packet


def resend_early_data(quic: QuicConnection, now_s: float) -> None:
    """Queue again at once what was sent as 0-RTT data, because the server refused it.

    RFC 9002 §6.2 leaves the packets in flight until loss detection finds them; the client knows
    better, and no congestion was involved.
    """
    space = quic._spaces[Epoch.ONE_RTT]
    refused = [
        packet
        for packet in space.sent_packets.values()
        if packet.packet_type is QuicPacketType.ZERO_RTT
    ]
    quic._loss._on_packets_lost(congestion_event=False, now=now_s, packets=refused, space=space)
    for stream_id, stream in quic._streams.items():
        if stream_id % 4 == 0:
            stream.max_stream_data_remote = quic._remote_max_stream_data_bidi_remote


def has_early_data_keys(quic: QuicConnection) -> bool:
    """Whether 0-RTT data can be sent now."""
    return quic._cryptos[Epoch.ZERO_RTT].send.is_valid()


def end_qlog(quic: QuicConnection) -> None:
    """Write the qlog file, if one was asked for and not written yet."""
    logger, trace = quic.configuration.quic_logger, quic._quic_logger
    if logger is not None and trace is not None:
        quic._quic_logger = None
        with suppress(OSError):  # diagnostics must not break the connection's end
            logger.end_trace(trace)
