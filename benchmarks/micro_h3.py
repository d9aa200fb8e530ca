"""Building blocks of the HTTP/3 bulk sender, for `micro`: a train, and its acknowledgement."""

from __future__ import annotations

from typing import cast

from aioquic.quic.packet_builder import QuicSentPacket
from aioquic.quic.rangeset import RangeSet
from aioquic.quic.recovery import QuicPacketSpace
from aioquic.quic.stream import QuicStream
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from trilane.transport.protocols.aioquic_private import COUNTING_CONTROLLERS
from trilane.transport.protocols.aioquic_recovery import WatchedRecovery
from trilane.transport.protocols.aioquic_trains import BulkStream, SentTrain, TrainRun
from trilane.transport.protocols.bulk_train import Plan, TrainBuilder
from trilane.transport.protocols.ipsec_mb import installed
from trilane.transport.protocols.sealing import AeadKey
from trilane.transport.protocols.train_room import PacketKeys, data_per_packet

_DATAGRAM_BYTES = 1452
_CID = bytes(4)
_STREAM_ID = 4
_KEY = bytes(16)
#: What one segmented send holds of that size.
PACKETS_IN_TRAIN = 44
#: quic-go acknowledges so much at once when trains come in.
TRAINS_IN_ACK = 4


def _plan(start: int) -> Plan:
    share = data_per_packet(_DATAGRAM_BYTES, _CID, _STREAM_ID, start)
    return Plan(_STREAM_ID, start, start + PACKETS_IN_TRAIN * share, fin=False, share=share)


class Trains:
    """Full trains of a body that is in memory already."""

    def __init__(self) -> None:
        protection = Cipher(algorithms.AES(_KEY), modes.ECB()).encryptor()
        self._keys = PacketKeys(AeadKey(AESGCM(_KEY), _KEY), 2**95, protection, 0)
        self._builder = TrainBuilder(installed)

    def build(self) -> None:
        """Build and encrypt one."""
        self._builder.build(
            _plan(2**20),
            self._keys,
            cid=_CID,
            first_packet=2**16,
            datagram_bytes=_DATAGRAM_BYTES,
            read_into_places=lambda _start, _stop, _places: None,
        )


class Acknowledgements:
    """Trains in flight that one ACK frame acknowledges."""

    def __init__(self) -> None:
        self._loss = WatchedRecovery(
            congestion_control_algorithm=COUNTING_CONTROLLERS["cubic"],
            initial_rtt=0.1,
            max_datagram_size=_DATAGRAM_BYTES,
            peer_completed_address_validation=True,
            send_probe=lambda: None,
        )
        self._space = QuicPacketSpace(is_application_data=True)
        self._loss.spaces = [self._space]
        self._stream = BulkStream(QuicStream(_STREAM_ID), _STREAM_ID)
        self._first = 0
        self._start = 0
        self._now_s = 1.0

    def once(self) -> None:
        """Send them, without building any, and take their acknowledgement."""
        began = self._first
        for _ in range(TRAINS_IN_ACK):
            plan, first = _plan(self._start), self._first
            self._first, self._start = first + PACKETS_IN_TRAIN, plan.stop
            train = SentTrain(self._stream, plan, first, _DATAGRAM_BYTES - plan.share, self._now_s)
            run = cast("QuicSentPacket", TrainRun(train, first, self._first - 1))
            self._space.ack_eliciting_in_flight += PACKETS_IN_TRAIN - 1
            self._loss.on_packet_sent(packet=run, space=self._space)
        self._now_s += 0.001
        self._loss.on_ack_received(
            ack_rangeset=RangeSet([range(began, self._first)]),
            ack_delay=0.0,
            now=self._now_s,
            space=self._space,
        )
