"""Reads most of what an upload receives: acknowledgements, larger limits, PINGs and the response.

Part of `aioquic_private`, under the same canary test. What is anything else, or in any way unusual,
is left to aioquic, untouched: a packet is recognised before any state has changed.
"""

# ruff: noqa: SLF001  -- private names are what this module is for

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, cast

from aioquic._buffer import Buffer, BufferReadError
from aioquic.quic.connection import (
    STREAM_COUNT_MAX,
    QuicConnection,
    QuicConnectionState,
)
from aioquic.quic.crypto import CryptoContext
from aioquic.quic.packet import QuicFrameType, QuicStreamFrame, decode_packet_number
from aioquic.quic.recovery import MAX_ACK_RANGES, QuicPacketSpace
from aioquic.quic.stream import QuicStream
from aioquic.tls import Epoch
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from .aioquic_recovery import WatchedRecovery
from .machine import Address

#: For how long the answer to larger limits, PINGs and the end of a lone response is held back.
#: aioquic promises 25 ms at the most (RFC 9000 §13.2.1), and answers after one. None of what the
#: peer sends depends on it, and each answer takes a turn of the sender: 76 to 114 of them in 64 MiB
#: on a fast path, now about 20; and none after a response that another request follows soon.
PLAIN_ACK_DELAY_S = 0.02
#: So many more requests than are open have to be allowed for that.
_MANY_REQUESTS = 16
# RFC 9000 §17.3.1, of a 1-RTT packet's first byte.
_LONG_HEADER = 0x80
_SPIN_BIT = 0x20
_RESERVED_BITS = 0x18
_KEY_PHASE_BIT = 0x04
_NUMBER_LENGTH_BITS = 0x03
_EXPECTED_BITS = _LONG_HEADER | _RESERVED_BITS | _KEY_PHASE_BIT
# RFC 9001 §5.4: what header protection masks of it, and where its sample lies.
_MASKED_BITS = 0x1F
_SAMPLE_BYTES = 16
_LONGEST_NUMBER = 4
_NONCE_BYTES = 12
# RFC 9000 §2.1: what tells streams begun by the server, or of one direction.
_NOT_A_REQUEST = 0x03
# Plain numbers, which are compared faster.
_PING = int(QuicFrameType.PING)
_ACK = int(QuicFrameType.ACK)
_MAX_DATA = int(QuicFrameType.MAX_DATA)
_MAX_STREAM_DATA = int(QuicFrameType.MAX_STREAM_DATA)
_MAX_STREAMS = int(QuicFrameType.MAX_STREAMS_BIDI)
# RFC 9000 §19.8: kinds of STREAM frames, by what is in them.
_STREAM = int(QuicFrameType.STREAM_BASE)
_OFFSET, _LENGTH, _FIN = 0x04, 0x02, 0x01
_LAST_STREAM = _STREAM | _OFFSET | _LENGTH | _FIN


class _Keys(NamedTuple):
    """What 1-RTT packets are opened with."""

    decrypt: Callable[[bytes, bytes, bytes], bytes]
    iv: int
    mask: Callable[[bytes], bytes]
    """Of header protection, for a sample."""
    phase_bit: int
    """In place."""


class _Piece(NamedTuple):
    """The next bytes of a response."""

    stream: QuicStream
    data: bytes
    fin: bool


@dataclass(slots=True)
class _Said:
    """What a packet says; None where it says nothing."""

    acked: list[range] | None = None
    ack_delay: int = 0
    """As it is written."""
    max_data: int | None = None
    max_stream_data: tuple[QuicStream, int] | None = None
    max_streams: int | None = None
    piece: _Piece | None = None
    asks: bool = False
    """It asks to be acknowledged (RFC 9000 §13.2)."""


class PlainReader:
    """Takes packets that acknowledge, raise limits, ping and continue a response, and no others.

    In a block of `AcksTogether`, and made when the handshake is complete: from then on a connection
    keeps its packet space. What cannot change while there are no other packets is looked up by
    `begin`, once for all that are read together and stand before another one.
    """

    __slots__ = (
        "_address",
        "_aead",
        "_any",
        "_cid",
        "_keys",
        "_loss",
        "_may_take",
        "_now_s",
        "_pair",
        "_quic",
        "_space",
        "_unhurried",
    )

    def __init__(self, quic: QuicConnection) -> None:
        self._quic = quic
        self._loss = cast("WatchedRecovery", quic._loss)
        self._pair = quic._cryptos[Epoch.ONE_RTT]
        self._space = quic._spaces[Epoch.ONE_RTT]
        self._aead: object = None
        self._keys: _Keys | None = None

    def begin(self, now_s: float, requests: int) -> None:
        """Begin with packets that are read together, now, and anew behind other packets.

        With more than one request open, or few more allowed, the end of a response is acknowledged
        soon: the peer may allow no further one before (RFC 9000 §4.6).
        """
        quic = self._quic
        allowed = quic._remote_max_streams_bidi - quic.get_next_available_stream_id() // 4
        self._unhurried = requests <= 1 and allowed >= _MANY_REQUESTS
        self._cid = b""
        self._now_s = now_s
        self._any = False
        self._may_take = _may_take(quic)
        self._address = quic._network_paths[0].addr
        context = self._pair.recv
        if context.aead is not self._aead:
            # The first time, and when this end has updated the keys.
            self._aead, self._keys = context.aead, _keys(context)

    def take(self, datagram: bytes, address: Address) -> bool:
        """Take a datagram if that is all it holds; otherwise do nothing."""
        quic, space, keys = self._quic, self._space, self._keys
        if not self._may_take or keys is None or self._address != address:
            return False
        cid = datagram[1 : 1 + len(quic.host_cid)]
        if cid != self._cid:
            if all(cid != each.cid for each in quic._host_cids):
                return False
            self._cid = cid
        opened = _open(datagram, cid, keys, space.expected_packet_number)
        if opened is None:
            return False
        first_byte, number, payload = opened
        said = None if number in space.received_packets else _said(quic, payload)
        if said is None:
            return False
        if number > quic._spin_highest_pn:
            # RFC 9000 §17.4: a client answers with the opposite.
            quic._spin_bit, quic._spin_highest_pn = not first_byte & _SPIN_BIT, number
        self._heed(said, space)
        if not self._any:
            # RFC 9000 §10.1: what is received restarts the idle timer.
            self._any = True
            quic._close_at = self._now_s + quic._idle_timeout()
            quic._ack_eliciting_sent_since_receipt = False
        _note(space, number, self._now_s)
        return True

    def _heed(self, said: _Said, space: QuicPacketSpace) -> None:
        quic, now_s = self._quic, self._now_s
        if said.acked is not None:
            delay_s = (said.ack_delay << quic._remote_ack_delay_exponent) / 1_000_000
            self._loss.hold(said.acked, delay_s, now_s, space)
        if not said.asks:
            return
        # RFC 9000 §19.9 - §19.11: a limit that is not larger says nothing.
        if said.max_data is not None and said.max_data > quic._remote_max_data:
            quic._remote_max_data = said.max_data
        if said.max_stream_data is not None:
            stream, limit = said.max_stream_data
            stream.max_stream_data_remote = max(stream.max_stream_data_remote, limit)
        if said.max_streams is not None and said.max_streams > quic._remote_max_streams_bidi:
            quic._remote_max_streams_bidi = said.max_streams
        unhurried = said.piece is None or (said.piece.fin and self._unhurried)
        if said.piece is not None:
            _receive(quic, said.piece)
        ack_at_s = now_s + (PLAIN_ACK_DELAY_S if unhurried else quic._ack_delay)
        if space.ack_at is None or space.ack_at > ack_at_s:
            space.ack_at = ack_at_s


def _may_take(quic: QuicConnection) -> bool:
    """Whether the connection is past everything that makes a packet mean more."""
    return (
        quic._handshake_confirmed
        and quic._state is QuicConnectionState.CONNECTED
        and not quic._close_pending
        and quic._quic_logger is None
        and quic._network_paths[0].is_validated
        and quic._loss.peer_completed_address_validation
    )


def _keys(context: CryptoContext) -> _Keys | None:
    aead, protection = context.aead, context.hp
    if aead is None or protection is None or not isinstance(aead._aead, AESGCM):
        return None
    phase_bit = _KEY_PHASE_BIT * context.key_phase
    return _Keys(aead._aead.decrypt, aead._iv, protection._encryptor.update, phase_bit)


def _open(datagram: bytes, cid: bytes, keys: _Keys, expected: int) -> tuple[int, int, bytes] | None:
    """First byte, packet number and payload; None when it is not for us to say."""
    start = 1 + len(cid)
    sample = datagram[start + _LONGEST_NUMBER : start + _LONGEST_NUMBER + _SAMPLE_BYTES]
    if len(sample) < _SAMPLE_BYTES:
        return None
    mask = keys.mask(sample)
    first_byte = datagram[0] ^ mask[0] & _MASKED_BITS
    if first_byte & _EXPECTED_BITS != keys.phase_bit:
        return None
    length = (first_byte & _NUMBER_LENGTH_BITS) + 1
    end = start + length
    masked = int.from_bytes(datagram[start:end], "big")
    truncated = masked ^ int.from_bytes(mask[1 : 1 + length], "big")
    number = decode_packet_number(truncated, length * 8, expected)
    header = bytes((first_byte,)) + cid + truncated.to_bytes(length, "big")
    nonce = (keys.iv ^ number).to_bytes(_NONCE_BYTES, "big")
    try:
        return first_byte, number, keys.decrypt(nonce, datagram[end:], header)
    except InvalidTag:
        return None


def _said(quic: QuicConnection, payload: bytes) -> _Said | None:
    """What a packet says, if its frames are of known kinds, of which only PING is there twice."""
    said = _Said()
    buffer = Buffer(data=payload)
    pull = buffer.pull_uint_var
    try:
        while not buffer.eof():
            kind = pull()
            if kind == _ACK and said.acked is None:
                said.acked, said.ack_delay = _ack_frame(pull)
            elif _STREAM <= kind <= _LAST_STREAM and said.piece is None:
                said.asks, said.piece = True, _piece(quic, kind, buffer)
                if said.piece is None:
                    return None
            elif not _says_little(quic, kind, pull, said):
                return None
    except (BufferReadError, ValueError):
        return None
    return said if payload else None


def _says_little(quic: QuicConnection, kind: int, pull: Callable[[], int], said: _Said) -> bool:
    """Take a larger limit or a PING; whether it is one, and for us to take.

    Raises:
        BufferReadError: it is not all there.
    """
    said.asks = True
    if kind == _MAX_DATA and said.max_data is None:
        said.max_data = pull()
        return True
    if kind == _MAX_STREAM_DATA and said.max_stream_data is None:
        # Of requests only: whether others may be sent on is not ours to judge.
        stream_id, limit = pull(), pull()
        stream = quic._streams.get(stream_id)
        if stream is None or stream_id & _NOT_A_REQUEST:
            return False
        said.max_stream_data = stream, limit
        return True
    if kind == _MAX_STREAMS and said.max_streams is None:
        said.max_streams = pull()
        # What waits for the limit, or a limit that cannot be, is aioquic's.
        return not quic._streams_blocked_bidi and said.max_streams <= STREAM_COUNT_MAX
    # quic-go asks with a PING for every 20th acknowledgement; one alone is urgent.
    return kind == _PING and said.acked is not None


def _piece(quic: QuicConnection, kind: int, buffer: Buffer) -> _Piece | None:
    """What a STREAM frame without its type says, if it is the next of a request's response.

    None, too, when this end would have to raise its limits soon (RFC 9000 §4.1).

    Raises:
        BufferReadError: it is not all there.
    """
    pull = buffer.pull_uint_var
    stream_id = pull()
    stream = quic._streams.get(stream_id)
    offset = pull() if kind & _OFFSET else 0
    length = pull() if kind & _LENGTH else buffer.capacity - buffer.tell()
    data = buffer.pull_bytes(length)
    if stream is None or stream_id & _NOT_A_REQUEST:
        return None
    receiver, received = stream.receiver, quic._local_max_data
    if (
        receiver.is_finished
        or receiver._final_size is not None
        or receiver._buffer
        or offset != receiver.highest_offset
        or (offset + length) * 2 > stream.max_stream_data_local
        or (received.used + length) * 2 > received.value
    ):
        return None
    return _Piece(stream, data, bool(kind & _FIN))


def _receive(quic: QuicConnection, piece: _Piece) -> None:
    """Take the next bytes of a response."""
    receiver = piece.stream.receiver
    frame = QuicStreamFrame(piece.data, piece.fin, receiver.highest_offset)
    quic._local_max_data.used += len(piece.data)
    event = receiver.handle_frame(frame)
    if event is not None:
        quic._events.append(event)


def _ack_frame(pull: Callable[[], int]) -> tuple[list[range], int]:
    """The ranges of an ACK frame without its type, ascending, and its delay (RFC 9000 §19.3).

    Raises:
        BufferReadError: it is not all there.
        ValueError: it acknowledges packets below the first.
    """
    largest, delay, more, length = pull(), pull(), pull(), pull()
    smallest = largest - length
    acked = [range(smallest, largest + 1)]
    for _ in range(more):
        largest = smallest - pull() - 2
        smallest = largest - pull()
        acked.append(range(smallest, largest + 1))
    if smallest < 0:
        raise ValueError("a packet below the first is acknowledged")
    acked.reverse()
    return acked, delay


def _note(space: QuicPacketSpace, number: int, now_s: float) -> None:
    """Note that a packet was received."""
    if number > space.expected_packet_number:
        space.expected_packet_number = number + 1
    if number > space.largest_received_packet:
        space.largest_received_packet, space.largest_received_time = number, now_s
    space.ack_queue.add(number)
    space.received_packets.add(number)
    if len(space.ack_queue) > MAX_ACK_RANGES:
        space.ack_queue.shift()
