"""Builds the packet that a short request makes: stream frames, often with an acknowledgement.

Part of `aioquic_private`, under the same canary test. When there is anything else to say, or more
than one packet holds, nothing is done, and aioquic has its turn: it looks for frames of every kind,
once for the packet and again for the one that would follow it.
"""

# ruff: noqa: SLF001  -- private names are what this module is for

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

from aioquic.quic.connection import QuicConnection, QuicConnectionState
from aioquic.quic.packet import QuicFrameType, QuicPacketType
from aioquic.quic.packet_builder import QuicDeliveryHandler, QuicSentPacket
from aioquic.quic.recovery import QuicPacketSpace
from aioquic.quic.stream import QuicStream
from aioquic.tls import Epoch
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from .http3_frames import encode_varint
from .machine import Address

# RFC 9000 §17.3.1: one header form, fixed bit set, packet number of two bytes, as aioquic sends it.
_FIRST_BYTE = 0x41
_NUMBER_BYTES = 2
_TRUNCATED_NUMBERS = 1 << 8 * _NUMBER_BYTES
_NONCE_BYTES = 12
_TAG_BYTES = 16
# RFC 9001 §5.4: where the sample of header protection lies, and what it masks of the first byte.
_SAMPLE = slice(4 - _NUMBER_BYTES, 4 - _NUMBER_BYTES + 16)
_MASKED_BITS = 0x1F
# RFC 9000 §19.8: STREAM with a length, perhaps with an offset, perhaps the last.
_STREAM_WITH_LENGTH = 0x0A
_OFFSET, _FIN = 0x04, 0x01
_LENGTH_BYTES, _LENGTH_TAG = 2, 0x4000
#: More gaps than this in what was received are rare, and aioquic's.
_MOST_RANGES = 8
_BY_SERVER = 0x01

_Handler = tuple[QuicDeliveryHandler, tuple[object, ...]]
_Sending = dict[int, QuicStream]
"""Streams with something to send, by their ids."""


class _Streams(NamedTuple):
    sending: _Sending
    finished: list[int]
    """Nothing is sent or received on them any more."""


class PlainSender:
    """Sends packets of STREAM and ACK frames; made when the handshake is confirmed.

    From then on, a connection keeps its packet space and its keys' place.
    """

    __slots__ = ("_crypto_stream", "_loss", "_pair", "_quic", "_space")

    def __init__(self, quic: QuicConnection) -> None:
        self._quic = quic
        self._loss = quic._loss
        self._pair = quic._cryptos[Epoch.ONE_RTT]
        self._space = quic._spaces[Epoch.ONE_RTT]
        self._crypto_stream = quic._crypto_streams[Epoch.ONE_RTT]

    def take(self, now_s: float) -> list[tuple[bytes, Address]] | None:
        """All that is to be sent now, if it is at most such a packet; None if aioquic must say."""
        quic, space = self._quic, self._space
        streams = _streams(quic) if self._has_nothing_else else None
        if streams is None:
            return None
        # RFC 9000 §13.2.1: a request that leaves takes an acknowledgement along.
        acks = space.ack_at is not None and (bool(streams.sending) or space.ack_at <= now_s)
        ack = _ack_frame(quic, space, now_s) if acks else b""
        if ack is None or not self._may_send(streams.sending, ack, now_s):
            return None
        quic._pacing_at = None
        for stream_id in streams.finished:
            quic._streams_queue.remove(quic._streams.pop(stream_id))
        if not (streams.sending or ack):
            return []
        return [(self._build(streams.sending, ack, now_s), quic._network_paths[0].addr)]

    @property
    def _has_nothing_else(self) -> bool:
        """Whether aioquic has no frames to send but of these kinds, and we may send these."""
        quic, aead = self._quic, self._pair.send.aead
        path = quic._network_paths[0]
        limits = (quic._local_max_data, quic._local_max_streams_bidi, quic._local_max_streams_uni)
        return not (
            quic._state is not QuicConnectionState.CONNECTED
            or quic._close_pending
            or quic._quic_logger is not None
            or aead is None
            or not isinstance(aead._aead, AESGCM)
            or self._pair._update_key_requested
            or len(quic._network_paths) > 1
            or not path.is_validated
            or path.remote_challenges
            or quic._remote_preferred_address is not None
            or quic._retire_connection_ids
            or quic._streams_blocked_pending
            or quic._ping_pending
            or quic._probe_pending
            or quic._datagrams_pending
            or not self._crypto_stream.sender.buffer_is_empty
            or limits[0].used * 2 > limits[0].value
            or any(limit.value != limit.sent for limit in limits)
            or not all(cid.was_sent for cid in quic._host_cids)
        )

    def _may_send(self, sending: _Sending, ack: bytes, now_s: float) -> bool:
        """Whether one packet holds it all, and limits, window and pacer let it pass."""
        quic, controller = self._quic, self._loss._cc
        if not sending:
            # With gaps in what was received, aioquic adds a PING at times.
            return not ack or len(self._space.ack_queue) == 1
        size = 1 + len(quic._peer_cid.cid) + _NUMBER_BYTES + len(ack) + _TAG_BYTES
        credit = quic._remote_max_data - quic._remote_max_data_used
        for stream_id, stream in sending.items():
            start, stop, fin = _unsent(stream)
            size += stop - start + len(_frame_start(stream_id, start)) + _LENGTH_BYTES
            credit -= max(stop - stream.sender.highest_offset, 0)
            in_pieces = len(stream.sender._pending) > 1 or stream.sender._pending_eof is not fin
            if in_pieces or stop > stream.max_stream_data_remote:
                return False
        window = controller.congestion_window - controller.bytes_in_flight
        if credit < 0 or size > min(quic._max_datagram_size, window):
            return False
        # RFC 9002 §7.7 exempts acknowledgements, and aioquic what leaves with them.
        return bool(ack) or self._loss._pacer.next_send_time(now=now_s) is None

    def _build(self, sending: _Sending, ack: bytes, now_s: float) -> bytes:
        """Build the packet, and enter it into the books."""
        quic, space, pair = self._quic, self._space, self._pair
        frames = [ack]
        handlers: list[_Handler] = []
        if ack:
            handlers.append((quic._on_ack_delivery, (space, space.largest_received_packet)))
            space.ack_at = None
        for stream_id, stream in sending.items():
            start, stop, fin = _unsent(stream)
            before = stream.sender.highest_offset
            frames += (
                _frame_start(stream_id, start, fin=fin),
                _length(stop - start),
                _take(stream),
            )
            handlers.append((stream.sender.on_data_delivery, (start, stop, fin)))
            quic._remote_max_data_used += stream.sender.highest_offset - before
        number = quic._packet_number
        first = _FIRST_BYTE | quic._spin_bit << 5 | pair.key_phase << 2
        packet = self._protect(first, number, b"".join(frames))
        record = QuicSentPacket(
            epoch=Epoch.ONE_RTT,
            in_flight=bool(sending),
            is_ack_eliciting=bool(sending),
            is_crypto_packet=False,
            packet_number=number,
            packet_type=QuicPacketType.ONE_RTT,
            sent_time=now_s,
            sent_bytes=len(packet),
            delivery_handlers=handlers,
        )
        self._register(record, now_s)
        return packet

    def _protect(self, first: int, number: int, payload: bytes) -> bytes:
        """Encrypt, and mask what of the header is masked (RFC 9001 §5)."""
        cid, aead, protection = self._quic._peer_cid.cid, self._pair.send.aead, self._pair.send.hp
        if aead is None or protection is None:
            raise RuntimeError("no packet may be sent")
        truncated = number % _TRUNCATED_NUMBERS
        header = bytes((first,)) + cid + truncated.to_bytes(_NUMBER_BYTES, "big")
        nonce = (aead._iv ^ number).to_bytes(_NONCE_BYTES, "big")
        secret = aead._aead.encrypt(nonce, payload, header)
        mask = protection._encryptor.update(secret[_SAMPLE])
        masked = truncated ^ int.from_bytes(mask[1 : 1 + _NUMBER_BYTES], "big")
        first ^= mask[0] & _MASKED_BITS
        return b"".join((bytes((first,)), cid, masked.to_bytes(_NUMBER_BYTES, "big"), secret))

    def _register(self, packet: QuicSentPacket, now_s: float) -> None:
        quic = self._quic
        quic._packet_number += 1
        quic._network_paths[0].bytes_sent += packet.sent_bytes
        self._loss._pacer.update_after_send(now=now_s)
        self._loss.on_packet_sent(packet=packet, space=self._space)
        if packet.is_ack_eliciting and not quic._ack_eliciting_sent_since_receipt:
            # RFC 9000 §10.1: the first packet that asks for an answer restarts the idle timer.
            quic._close_at = now_s + quic._idle_timeout()
            quic._ack_eliciting_sent_since_receipt = True


def _streams(quic: QuicConnection) -> _Streams | None:
    """What is to be done about the streams; None if one of them wants anything else."""
    sending: _Sending = {}
    finished: list[int] = []
    for stream_id, stream in quic._streams.items():
        sender, receiver = stream.sender, stream.receiver
        if sender.is_finished and receiver.is_finished:
            if stream_id & _BY_SERVER:
                return None  # who may open another one now
            finished.append(stream_id)
        elif (
            sender.reset_pending
            or receiver.stop_pending
            or receiver.highest_offset * 2 > stream.max_stream_data_local > 0
            or stream.max_stream_data_local_sent != stream.max_stream_data_local
        ):
            return None
        elif not (sender.buffer_is_empty or stream.is_blocked):
            if len(sender._pending) or sender._pending_eof:
                sending[stream_id] = stream
            else:
                sender.buffer_is_empty = True
    return _Streams(sending, finished)


def _unsent(stream: QuicStream) -> tuple[int, int, bool]:
    """Where what is to be sent begins and ends, and whether the stream ends there."""
    sender = stream.sender
    if not len(sender._pending):
        return sender._buffer_stop, sender._buffer_stop, True
    pending = sender._pending[0]
    return pending.start, pending.stop, pending.stop == sender._buffer_fin


def _take(stream: QuicStream) -> bytes:
    """Take what is to be sent, as sent."""
    sender = stream.sender
    frame = sender.get_frame(sender._buffer_stop - sender._buffer_start)
    # aioquic finds out when it asks for the frame that would follow.
    sender.buffer_is_empty = True
    return b"" if frame is None else frame.data


def _frame_start(stream_id: int, offset: int, *, fin: bool = False) -> bytes:
    """A STREAM frame up to its length."""
    kind = _STREAM_WITH_LENGTH | _OFFSET * (offset > 0) | _FIN * fin
    return bytes((kind,)) + encode_varint(stream_id) + (encode_varint(offset) if offset else b"")


def _length(byte_count: int) -> bytes:
    """A length that takes as many bytes whatever it is (RFC 9000 §16)."""
    return (byte_count | _LENGTH_TAG).to_bytes(_LENGTH_BYTES, "big")


def _ack_frame(quic: QuicConnection, space: QuicPacketSpace, now_s: float) -> bytes | None:
    """An ACK frame of all that may not be known to be acknowledged; None if that is many gaps."""
    received = list(space.ack_queue)
    arrived_s = space.largest_received_time
    if len(received) > _MOST_RANGES or arrived_s is None:
        return None
    received.reverse()
    newest = received[0]
    delay = int((now_s - arrived_s) * 1_000_000) >> quic._local_ack_delay_exponent
    fields = [QuicFrameType.ACK, newest.stop - 1, delay, len(received) - 1, len(newest) - 1]
    for newer, older in pairwise(received):
        # RFC 9000 §19.3.1: both lengths are written as one less.
        fields += (newer.start - older.stop - 1, len(older) - 1)
    return b"".join(map(encode_varint, fields))
