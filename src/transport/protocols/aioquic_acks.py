"""Reads the packets of which a long upload receives most: those that hold one ACK frame alone.

Part of `aioquic_private`, under the same canary test. What is anything else, or in any way unusual,
is left to aioquic, untouched: a packet is recognised before any state has changed.
"""

# ruff: noqa: SLF001  -- private names are what this module is for

from __future__ import annotations

from aioquic._buffer import Buffer, BufferReadError
from aioquic.quic.connection import QuicConnection, QuicConnectionState
from aioquic.quic.crypto import CryptoContext
from aioquic.quic.packet import QuicFrameType, decode_packet_number, pull_ack_frame
from aioquic.quic.rangeset import RangeSet
from aioquic.quic.recovery import MAX_ACK_RANGES, QuicPacketSpace
from aioquic.tls import Epoch
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from .machine import Address

# RFC 9000 §17.3.1, of a 1-RTT packet's first byte.
_LONG_HEADER = 0x80
_SPIN_BIT = 0x20
_RESERVED_BITS = 0x18
_KEY_PHASE_BIT = 0x04
_NUMBER_LENGTH_BITS = 0x03
# RFC 9001 §5.4: what header protection masks of it, and where its sample lies.
_MASKED_BITS = 0x1F
_SAMPLE_BYTES = 16
_LONGEST_NUMBER = 4
_NONCE_BYTES = 12


def take_bare_ack(quic: QuicConnection, datagram: bytes, address: Address, now_s: float) -> bool:
    """Take a datagram if all it holds is an ACK frame in a 1-RTT packet; otherwise do nothing."""
    if not _may_take(quic) or quic._network_paths[0].addr != address:
        return False
    space, context = quic._spaces[Epoch.ONE_RTT], quic._cryptos[Epoch.ONE_RTT].recv
    cid = datagram[1 : 1 + len(quic.host_cid)]
    if cid != quic.host_cid and all(cid != each.cid for each in quic._host_cids):
        return False
    opened = _open(datagram, cid, context, space.expected_packet_number)
    if opened is None:
        return False
    first_byte, number, payload = opened
    if number in space.received_packets:
        return False
    found = _ack_alone(payload)
    if found is None:
        return False
    acked, delay = found
    if number > quic._spin_highest_pn:
        # RFC 9000 §17.4: a client answers with the opposite.
        quic._spin_bit, quic._spin_highest_pn = not first_byte & _SPIN_BIT, number
    quic._loss.on_ack_received(
        ack_rangeset=acked,
        ack_delay=(delay << quic._remote_ack_delay_exponent) / 1_000_000,
        now=now_s,
        space=space,
    )
    quic._close_at = now_s + quic._idle_timeout()
    quic._ack_eliciting_sent_since_receipt = False
    _note(space, number, now_s)
    return True


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


def _open(
    datagram: bytes, cid: bytes, context: CryptoContext, expected: int
) -> tuple[int, int, bytes] | None:
    """First byte, packet number and payload; None when it is not for us to say."""
    start = 1 + len(cid)
    sample = datagram[start + _LONGEST_NUMBER : start + _LONGEST_NUMBER + _SAMPLE_BYTES]
    aead, protection = context.aead, context.hp
    if (
        len(sample) < _SAMPLE_BYTES
        or datagram[0] & _LONG_HEADER
        or aead is None
        or protection is None
        or not isinstance(aead._aead, AESGCM)
    ):
        return None
    mask = protection._encryptor.update(sample)
    first_byte = datagram[0] ^ (mask[0] & _MASKED_BITS)
    if first_byte & _RESERVED_BITS or (first_byte & _KEY_PHASE_BIT) >> 2 != context.key_phase:
        return None
    length = (first_byte & _NUMBER_LENGTH_BITS) + 1
    end = start + length
    masked = int.from_bytes(datagram[start:end], "big")
    truncated = masked ^ int.from_bytes(mask[1 : 1 + length], "big")
    number = decode_packet_number(truncated, length * 8, expected)
    header = bytes((first_byte,)) + cid + truncated.to_bytes(length, "big")
    nonce = (aead._iv ^ number).to_bytes(_NONCE_BYTES, "big")
    try:
        return first_byte, number, aead._aead.decrypt(nonce, datagram[end:], header)
    except InvalidTag:
        return None


def _ack_alone(payload: bytes) -> tuple[RangeSet, int] | None:
    """What an ACK frame acknowledges and the delay it states, if there is nothing beside it."""
    if not payload or payload[0] != QuicFrameType.ACK:
        return None
    buffer = Buffer(data=payload[1:])
    try:
        found: tuple[RangeSet, int] = pull_ack_frame(buffer)
    except (BufferReadError, ValueError):
        return None
    return found if buffer.eof() else None


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
