"""The records of trains, whatever is acknowledged of them and in whatever order."""

from __future__ import annotations

from typing import cast

import pytest
from aioquic.quic.packet_builder import QuicSentPacket
from aioquic.quic.rangeset import RangeSet
from aioquic.quic.recovery import QuicPacketSpace
from aioquic.quic.stream import QuicStream
from hypothesis import given
from hypothesis import strategies as st

from trilane.transport.protocols.aioquic_private import COUNTING_CONTROLLERS
from trilane.transport.protocols.aioquic_recovery import WatchedRecovery
from trilane.transport.protocols.aioquic_trains import BulkStream, SentTrain, TrainRun
from trilane.transport.protocols.bulk_train import Plan

SHARE = 100
PACKETS = 10
TRAINS = 5
TOTAL = PACKETS * TRAINS


class Sender:
    """Trains in flight, and what became of their bytes."""

    def __init__(self) -> None:
        self.loss = WatchedRecovery(
            congestion_control_algorithm=COUNTING_CONTROLLERS["cubic"],
            initial_rtt=0.1,
            max_datagram_size=1200,
            peer_completed_address_validation=True,
            send_probe=lambda: None,
        )
        self.loss.handshake_confirmed = True
        self.space = QuicPacketSpace(is_application_data=True)
        self.loss.spaces = [self.space]
        quic_stream = QuicStream(0)
        quic_stream.sender.write(bytes(TOTAL * SHARE))
        quic_stream.sender._pending.subtract(0, TOTAL * SHARE)
        self.sender = quic_stream.sender
        self.stream = BulkStream(quic_stream, 0)
        for index in range(TRAINS):
            first = index * PACKETS
            plan = Plan(0, first * SHARE, (first + PACKETS) * SHARE, fin=False, share=SHARE)
            run = TrainRun(SentTrain(self.stream, plan, first, 30, 1.0), first, first + PACKETS - 1)
            self.space.ack_eliciting_in_flight += PACKETS - 1
            self.loss.on_packet_sent(packet=cast("QuicSentPacket", run), space=self.space)

    def acknowledge(self, numbers: set[int]) -> None:
        acked = RangeSet()
        for number in numbers:
            acked.add(number)
        self.loss.on_ack_received(ack_rangeset=acked, ack_delay=0.0, now=1.05, space=self.space)

    def recorded(self) -> list[int]:
        """The packets in flight, in the order of their records."""
        numbers: list[int] = []
        for number, record in cast("dict[int, TrainRun]", self.space.sent_packets).items():
            assert record.packet_number == number
            numbers += range(number, record.last + 1)
        return numbers


NUMBERS = st.sets(st.integers(0, TOTAL - 1), min_size=1)


@given(st.lists(NUMBERS, min_size=1, max_size=5))
def test_every_packet_is_accounted_for_once(acks: list[set[int]]) -> None:
    sender = Sender()
    acked: set[int] = set()
    lost: set[int] = set()

    for numbers in acks:
        sender.acknowledge(numbers)
        # Nothing changes what was taken for lost before.
        acked |= numbers - lost
        lost |= {number for number in range(max(acked, default=0) - 2) if number not in acked}
        in_flight = [number for number in range(TOTAL) if number not in acked | lost]

        assert sender.recorded() == in_flight
        assert sender.space.ack_eliciting_in_flight == len(in_flight)
        assert sender.loss.bytes_in_flight == len(in_flight) * (SHARE + 30)
    pending = {offset // SHARE for each in sender.sender._pending for offset in each[::SHARE]}
    assert pending == lost
    assert sender.loss._cc.lost_packets == len(lost)  # type: ignore[attr-defined]


def test_a_probe_carries_one_packet_of_a_train() -> None:
    sender = Sender()

    sender.loss.on_loss_detection_timeout(now=3.0)

    assert sender.recorded() == list(range(1, TOTAL))
    assert list(sender.sender._pending) == [range(SHARE)]


@pytest.mark.parametrize("first", [range(30), range(5, 20)])
def test_acknowledgements_held_are_taken_as_one(first: range) -> None:
    sender = Sender()
    sender.loss._holding = True

    sender.acknowledge(set(first))
    sender.acknowledge(set(range(20, 40)))
    assert len(sender.recorded()) == TOTAL
    sender.loss._holding = False
    sender.loss.take_held()

    assert sender.space.largest_acked_packet == 39
    assert not set(sender.recorded()) & {*first, *range(20, 40)}
