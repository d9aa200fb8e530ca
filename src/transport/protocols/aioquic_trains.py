"""Trains and aioquic: what may be sent now, with which keys, and the books kept of it.

Part of `aioquic_private`: the private names of aioquic that the bulk sender needs, with the same
canary test. A packet of a train is entered into aioquic's packet space like one of its own, so loss
detection, congestion control, pacing, timers and acknowledgements are aioquic's.
"""

# ruff: noqa: SLF001  -- private names are what this module is for

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from math import inf
from operator import attrgetter, itemgetter
from typing import cast

from aioquic.quic.congestion.base import QuicCongestionControl
from aioquic.quic.connection import QuicConnection, QuicConnectionState
from aioquic.quic.crypto import CryptoContext, derive_key_iv_hp
from aioquic.quic.packet import QuicFrameType, QuicPacketType
from aioquic.quic.packet_builder import (
    QuicDeliveryHandler,
    QuicDeliveryState,
    QuicPacketBuilder,
    QuicSentPacket,
)
from aioquic.quic.recovery import QuicPacketSpace
from aioquic.quic.stream import QuicStream
from aioquic.tls import Epoch
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from .aioquic_window import Acknowledged, Pacer
from .bulk_train import Plan
from .machine import Address
from .path_mtu import PathMtu
from .sealing import AeadKey
from .stream_content import SourceRange, StreamContent
from .train_room import TRUNCATED_NUMBERS, PacketKeys, data_per_packet, most_packets

#: Packets carry two bytes of their number, which tell 32 768 in flight apart (RFC 9000 §17.1).
_MOST_IN_FLIGHT = 1 << 14
#: Acknowledgements are collected for this share of the shortest round trip, if so many packets are
#: in flight that this makes a few: most servers send one for every two packets (RFC 9000 §13.2.2),
#: and to act on one of them costs as much as on many.
_PATIENT_SHARE = 1 / 16
_PATIENT_PACKETS = 64


class _Record:
    """What the records of our packets have in common with those of aioquic's."""

    __slots__ = ()

    epoch = Epoch.ONE_RTT
    in_flight = True
    is_ack_eliciting = True
    is_crypto_packet = False
    packet_type = QuicPacketType.ONE_RTT


class SentTrain:
    """What the packets of a train have in common: their contents follow from their numbers."""

    __slots__ = ("_first_packet", "_plan", "overhead", "sent_time", "stream")

    def __init__(
        self, stream: BulkStream, plan: Plan, first_packet: int, overhead: int, now_s: float
    ) -> None:
        self.stream = stream
        self.sent_time = now_s
        self._plan = plan
        self._first_packet = first_packet
        self.overhead = overhead
        """What a packet holds beside its share."""

    def carried(self, first: int, last: int) -> tuple[int, int, bool]:
        """Where the data of these packets begins and ends, and whether the stream ends there."""
        plan, share = self._plan, self._plan.share
        start = plan.start + (first - self._first_packet) * share
        stop = min(plan.start + (last + 1 - self._first_packet) * share, plan.stop)
        return start, stop, plan.fin and stop == plan.stop

    def bytes_of(self, first: int, last: int) -> int:
        """Size of these packets together."""
        start, stop, _ = self.carried(first, last)
        return stop - start + (last + 1 - first) * self.overhead


class TrainRun(_Record):
    """The record of neighbouring packets of a train; aioquic is shown runs of one packet only."""

    __slots__ = ("last", "packet_number", "train")

    def __init__(self, train: SentTrain, first: int, last: int) -> None:
        self.train = train
        self.packet_number = first
        """Of the first of them."""
        self.last = last

    @property
    def sent_time(self) -> float:
        """When they were built."""
        return self.train.sent_time

    @property
    def sent_bytes(self) -> int:
        """Their size."""
        return self.train.bytes_of(self.packet_number, self.last)

    @property
    def delivery_handlers(self) -> Sequence[tuple[QuicDeliveryHandler, tuple[int, int, bool]]]:
        """Who is told what became of them."""
        carried = self.train.carried(self.packet_number, self.last)
        return ((self.train.stream.delivered, carried),)

    def part(self, first: int, last: int) -> TrainRun:
        """The record of some of them."""
        return TrainRun(self.train, first, last)


class _SentBytes(_Record):
    """Some packets as the congestion controllers see them: a size and a time."""

    __slots__ = ("sent_bytes", "sent_time")

    def __init__(self, sent_time: float, sent_bytes: int) -> None:
        self.sent_time = sent_time
        self.sent_bytes = sent_bytes


_Sent = QuicSentPacket | TrainRun
_number = itemgetter(0)
_stop = attrgetter("stop")


class ProbePacket(_Record):
    """The record of a packet that probes the path; its loss is no sign of congestion.

    RFC 9000 §14.4. So congestion control does not hear of it at all; one at a time is in flight.
    """

    __slots__ = ("delivery_handlers", "packet_number", "sent_bytes", "sent_time")

    in_flight = False

    def __init__(
        self,
        packet_number: int,
        sent_time: float,
        sent_bytes: int,
        delivery_handlers: Sequence[tuple[QuicDeliveryHandler, tuple[int, ...]]],
    ) -> None:
        self.packet_number = packet_number
        self.sent_time = sent_time
        self.sent_bytes = sent_bytes
        self.delivery_handlers = delivery_handlers


class BulkStream:
    """A request's stream whose content is kept by us and not by aioquic."""

    __slots__ = ("_sender", "_stream", "carried_bytes", "content", "sent_s", "stream_id")

    def __init__(self, stream: QuicStream, stream_id: int) -> None:
        """Take over a stream of which nothing was sent yet."""
        self.stream_id = stream_id
        self.content = StreamContent(bytes(stream.sender._buffer))
        self.carried_bytes = 0
        """Stream bytes that trains carried, those sent again included."""
        self.sent_s = -inf
        """When the last train was built that carried bytes for the first time."""
        self._stream = stream
        self._sender = stream.sender
        self._sender._buffer = cast("bytearray", self.content)

    @property
    def over(self) -> bool:
        """Nothing of it will be sent any more: it was reset, or all of it was acknowledged."""
        return self._sender.is_finished or self._sender._reset_error_code is not None

    @property
    def unsent_bytes(self) -> int:
        """Bytes queued that were never sent."""
        return self._sender._buffer_stop - self._sender.highest_offset

    def append(self, added: SourceRange) -> None:
        """Queue bytes of a file."""
        # aioquic asks for the length, and appends to its buffer, which is ours.
        self._sender.write(cast("bytes", added))

    def hide(self) -> bool:
        """Keep aioquic from sending its data until `show`; resets and the bare end it may send.

        False if there is nothing to hide.
        """
        if len(self._sender._pending) == 0 or self._stream.is_blocked:
            return False
        self._stream.is_blocked = True
        return True

    def show(self) -> None:
        """Undo `hide`."""
        self._stream.is_blocked = False

    def next_plan(self, quic: QuicConnection, packets: int) -> Plan | None:
        """What so many packets can carry next, within the peer's limits (RFC 9000 §4.1)."""
        sender = self._sender
        if self.over or self._stream.is_blocked or len(sender._pending) == 0:
            return None
        first = sender._pending[0]
        start = first.start
        credit = quic._remote_max_data - quic._remote_max_data_used
        limit = min(sender.highest_offset + credit, self._stream.max_stream_data_remote)
        size, cid = quic._max_datagram_size, quic._peer_cid.cid
        furthest = min(first.stop, start + packets * size, limit)
        share = data_per_packet(size, cid, self.stream_id, furthest)
        stop = min(furthest, start + packets * share)
        if stop <= start:
            return None
        if furthest != stop:
            # Where offsets become longer, `stop` may lie below that while `furthest` does not.
            share = data_per_packet(size, cid, self.stream_id, stop)
        return Plan(self.stream_id, start, stop, stop == sender._buffer_fin, share)

    def sent(self, quic: QuicConnection, plan: Plan, now_s: float) -> None:
        """Note that a train has carried it."""
        sender = self._sender
        sender._pending.subtract(plan.start, plan.stop)
        if plan.fin:
            sender._pending_eof = False
        if plan.stop > sender.highest_offset:
            quic._remote_max_data_used += plan.stop - sender.highest_offset
            sender.highest_offset = plan.stop
            self.sent_s = now_s
        self.carried_bytes += plan.stop - plan.start

    def delivered(self, state: QuicDeliveryState, start: int, stop: int, fin: bool) -> None:
        """A packet was acknowledged or lost; aioquic calls it."""
        sender = self._sender
        in_order = state is QuicDeliveryState.ACKED and start == sender._buffer_start
        if in_order and not fin and not len(sender._acked) and not self.over:
            # The common case of what follows, at a tenth of its cost.
            sender._buffer_start = stop
            self.content.release(stop)
        else:
            sender.on_data_delivery(state, start, stop, fin)


def take_over(quic: QuicConnection, stream_id: int) -> BulkStream:
    """Keep a stream's content ourselves; before anything of it is sent."""
    return BulkStream(quic._streams[stream_id], stream_id)


class TrainBooks:
    """Where aioquic keeps what trains depend on and what is noted of them.

    Made when the handshake is confirmed, after which a connection keeps its packet space and its
    keys' place; finding them by name takes as long as half of what is done with them.
    """

    __slots__ = ("_aead", "_key", "_loss", "_pair", "_quic", "_space")

    def __init__(self, quic: QuicConnection) -> None:
        self._quic = quic
        self._loss = quic._loss
        self._aead: object = None
        self._key: AeadKey | None = None
        """Of `_aead`."""
        self._pair = quic._cryptos[Epoch.ONE_RTT]
        self._space = quic._spaces[Epoch.ONE_RTT]

    @property
    def may_send(self) -> bool:
        """Whether trains can be sent: not on an unvalidated path or as a probe.

        A qlog is written by aioquic, so with one it sends everything; and AES it must be.
        """
        quic, aead = self._quic, self._pair.send.aead
        return (
            quic._state is QuicConnectionState.CONNECTED
            and not quic._close_pending
            and not quic._probe_pending
            and quic._quic_logger is None
            and quic._network_paths[0].is_validated
            and aead is not None
            and isinstance(aead._aead, AESGCM)
        )

    def keys(self) -> PacketKeys:
        """The keys of the next packet; carries out a key update that was asked for."""
        pair = self._pair
        if pair._update_key_requested:
            pair._update_key("local_update")
        context = pair.send
        if self._key is None or context.aead is not self._aead:
            self._aead, self._key = context.aead, _key(context)
        if context.hp is None or context.aead is None:
            raise RuntimeError("no train may be sent")
        bits = self._quic._spin_bit << 5 | pair.key_phase << 2
        return PacketKeys(self._key, context.aead._iv, context.hp._encryptor, bits)

    def room(self, now_s: float, *, others_wait: bool) -> int:
        """Packets that may be sent now; when the pacer holds them back, aioquic's timer knows.

        With `others_wait`, packets of aioquic's own may wait for that timer, which then stays.
        """
        quic, pacer, controller = self._quic, self._pacer, self._loss._cc
        size, number = quic._max_datagram_size, quic._packet_number
        window = (controller.congestion_window - controller.bytes_in_flight) // size
        numbers = self._space.largest_acked_packet + _MOST_IN_FLIGHT - number
        if window <= 0 or numbers <= 0 or _awaits_room(controller, pacer, size):
            return 0
        paced = pacer.room(now_s)
        if paced <= 0:
            quic._pacing_at = pacer.next_train_time(now_s)
        elif not others_wait:
            quic._pacing_at = None
        distinct = TRUNCATED_NUMBERS - number % TRUNCATED_NUMBERS
        return min(window, numbers, paced, distinct, most_packets(size))

    def patience_s(
        self, streams: Iterable[BulkStream], now_s: float, shortest_trip_s: float
    ) -> float:
        """For how long to collect acknowledgements before they are read; 0 with few on their way.

        Not for longer than nothing else can arrive: what answers the end of a body comes no sooner
        than the shortest round trip after it was sent first. And no share of a longer one: what a
        queue adds to it, patience must not.
        """
        if self._loss.bytes_in_flight < _PATIENT_PACKETS * self._quic._max_datagram_size:
            return 0.0
        sent_s = min((stream.sent_s for stream in streams), default=-inf)
        alone_s = sent_s + shortest_trip_s - now_s
        return max(min(shortest_trip_s * _PATIENT_SHARE, alone_s), 0.0)

    def register(self, stream: BulkStream, plan: Plan, now_s: float) -> int:
        """Enter the packets of a stream's train; how many they are."""
        quic, space = self._quic, self._space
        first = quic._packet_number
        count = -((plan.start - plan.stop) // plan.share)
        overhead = quic._max_datagram_size - plan.share
        train = SentTrain(stream, plan, first, overhead, now_s)
        run = TrainRun(train, first, first + count - 1)
        space.sent_packets[first] = cast("QuicSentPacket", run)
        total = plan.stop - plan.start + count * overhead
        space.ack_eliciting_in_flight += count
        quic._packet_number = first + count
        quic._network_paths[0].bytes_sent += total
        self._loss._time_of_last_sent_ack_eliciting_packet = now_s
        # The controllers look at a packet's size and time only.
        self._loss._cc.on_packet_sent(packet=cast("QuicSentPacket", _SentBytes(now_s, total)))
        self._pacer.spend(count)
        if not quic._ack_eliciting_sent_since_receipt:
            # RFC 9000 §10.1: the first packet that asks for an answer restarts the idle timer.
            quic._close_at = now_s + quic._idle_timeout()
            quic._ack_eliciting_sent_since_receipt = True
        stream.sent(quic, plan, now_s)
        return count

    @property
    def _pacer(self) -> Pacer:
        return _pacer(self._quic)


def awaits_room(quic: QuicConnection) -> bool:
    """Whether trains wait until the congestion window has room for one that is worth it.

    Not when so little is in flight that acknowledgements might not make that room soon.
    """
    return _awaits_room(quic._loss._cc, _pacer(quic), quic._max_datagram_size)


def _awaits_room(controller: QuicCongestionControl, pacer: Pacer, size: int) -> bool:
    least, in_flight = pacer.worthwhile * size, controller.bytes_in_flight
    return in_flight > 2 * least and controller.congestion_window - in_flight < least


def _pacer(quic: QuicConnection) -> Pacer:
    return quic._loss._pacer  # type: ignore[return-value]  # ours, since `pace`


def _key(context: CryptoContext) -> AeadKey:
    aead, suite, secret = context.aead, context.cipher_suite, context.secret
    version = context.version
    if aead is None or suite is None or secret is None or version is None:
        raise RuntimeError("no train may be sent")
    key, _, _ = derive_key_iv_hp(cipher_suite=suite, secret=secret, version=version)
    return AeadKey(aead._aead, key)


def destination(quic: QuicConnection) -> tuple[Address, bytes]:
    """Where packets go, and the connection id they carry."""
    return quic._network_paths[0].addr, quic._peer_cid.cid


def acknowledge(
    space: QuicPacketSpace, acked: Sequence[range], window: Acknowledged, now_s: float
) -> None:
    """Take what an ACK frame newly acknowledges of trains, many packets at a time.

    The last packet of all is left to aioquic, which takes a round-trip sample with it, looks for
    losses and resets its timers.
    """
    sent = _records(space)
    numbers = list(sent)
    whole = acked[-1]
    # A run is known by its first packet, which may lie before what is acknowledged of it.
    start = max(bisect_right(numbers, acked[0].start) - 1, 0)
    stop = bisect_left(numbers, whole.stop)
    settled: list[TrainRun] = []
    kept: list[tuple[int, _Sent]] = []
    for number in numbers[start:stop]:
        record = sent[number]
        if not isinstance(record, TrainRun):
            kept.append((number, record))
        elif whole.start <= number and record.last < whole.stop:
            settled.append(record)
        else:
            _divide(record, acked, settled, kept)
    if not settled:
        return
    last = settled.pop()
    if last.packet_number < last.last:
        settled.append(last.part(last.packet_number, last.last - 1))
    kept.append((last.last, last.part(last.last, last.last)))
    kept.sort(key=_number)
    _replace(space, start, stop, kept)
    for run in settled:
        train, count = run.train, run.last + 1 - run.packet_number
        carried = first, end, _ = train.carried(run.packet_number, run.last)
        space.ack_eliciting_in_flight -= count
        total = _SentBytes(train.sent_time, end - first + count * train.overhead)
        window.on_packets_acked(now=now_s, count=count, sent=total)
        train.stream.delivered(QuicDeliveryState.ACKED, *carried)


def separate(space: QuicPacketSpace, limit: int) -> None:
    """Give each packet of the runs that begin below this number a record of its own.

    What was overtaken by an acknowledgement, or waits for a probe, is judged packet by packet.
    """
    stop = 0
    singles: list[tuple[int, _Sent]] = []
    for number, record in _records(space).items():
        if number >= limit:
            break
        stop += 1
        if isinstance(record, TrainRun):
            singles += [(each, record.part(each, each)) for each in range(number, record.last + 1)]
        else:
            singles.append((number, record))
    if len(singles) > stop:
        _replace(space, 0, stop, singles)


def _divide(
    run: TrainRun,
    ranges: Sequence[range],
    settled: list[TrainRun],
    kept: list[tuple[int, _Sent]],
) -> None:
    """Sort the packets of a run into those that are acknowledged and those that are not."""
    position = run.packet_number
    for index in range(bisect_right(ranges, position, key=_stop), len(ranges)):
        acked = ranges[index]
        if acked.start > run.last:
            break
        first, last = max(position, acked.start), min(run.last, acked.stop - 1)
        if first > position:
            kept.append((position, run.part(position, first - 1)))
        settled.append(run.part(first, last))
        position = last + 1
    if position <= run.last:
        kept.append((position, run.part(position, run.last)))


def _records(space: QuicPacketSpace) -> dict[int, _Sent]:
    return cast("dict[int, _Sent]", space.sent_packets)


def _replace(
    space: QuicPacketSpace, start: int, stop: int, records: list[tuple[int, _Sent]]
) -> None:
    """Put these in place of some records; aioquic relies on the order of the numbers."""
    items = list(_records(space).items())
    items[start:stop] = records
    space.sent_packets = cast("dict[int, QuicSentPacket]", dict(items))


def probe_datagram(quic: QuicConnection, path: PathMtu, size_bytes: int, now_s: float) -> bytes:
    """Build a PING padded to a size (RFC 9000 §14.4), and tell the search what becomes of it."""
    number = quic._packet_number
    builder = QuicPacketBuilder(
        host_cid=quic.host_cid,
        peer_cid=quic._peer_cid.cid,
        version=quic._version or 0,
        is_client=True,
        max_datagram_size=size_bytes,
        packet_number=number,
        spin_bit=quic._spin_bit,
    )
    builder.start_packet(QuicPacketType.ONE_RTT, quic._cryptos[Epoch.ONE_RTT])
    builder.start_frame(QuicFrameType.PING)
    padding = builder.remaining_buffer_space
    builder.start_frame(QuicFrameType.PADDING).push_bytes(bytes(padding - 1))
    (datagram,), _ = builder.flush()
    quic._packet_number = builder.packet_number

    def answered(state: QuicDeliveryState, size: int) -> None:
        (path.arrived if state is QuicDeliveryState.ACKED else path.lost)(size)

    packet = ProbePacket(number, now_s, len(datagram), [(answered, (size_bytes,))])
    space = quic._spaces[Epoch.ONE_RTT]
    quic._loss.on_packet_sent(packet=cast("QuicSentPacket", packet), space=space)
    quic._network_paths[0].bytes_sent += len(datagram)
    return datagram


def may_probe(quic: QuicConnection) -> bool:
    """Whether the path can be probed: established, and not while it is silent."""
    return (
        quic._handshake_confirmed
        and quic._state is QuicConnectionState.CONNECTED
        and not quic._close_pending
        and quic._loss._pto_count == 0
        and quic._network_paths[0].is_validated
    )
