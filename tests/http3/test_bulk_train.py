"""Trains, taken apart packet by packet by aioquic's own reading of packets and frames."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from aioquic._buffer import Buffer
from aioquic.quic.crypto import CryptoContext, derive_key_iv_hp
from aioquic.quic.packet import QuicProtocolVersion
from aioquic.tls import CipherSuite

from trilane.transport.errors import SourceError
from trilane.transport.protocols.bulk_train import Plan, TrainBuilder
from trilane.transport.protocols.ipsec_mb import IpsecMb
from trilane.transport.protocols.sealing import AeadKey
from trilane.transport.protocols.train_room import (
    TRUNCATED_NUMBERS,
    PacketKeys,
    data_per_packet,
    most_packets,
)

SIZE = 1252
STREAM = 0x08


@dataclass(frozen=True, slots=True)
class Frame:
    """What a packet held."""

    number: int
    stream_id: int
    offset: int
    data: bytes
    fin: bool


@pytest.fixture
def builder(library: IpsecMb | None) -> TrainBuilder:
    return TrainBuilder(lambda: library)


@pytest.fixture
def keys() -> CryptoContext:
    return keys_of(CipherSuite.AES_128_GCM_SHA256, bytes(range(32)))


def keys_of(suite: CipherSuite, secret: bytes) -> CryptoContext:
    context = CryptoContext()
    context.setup(cipher_suite=suite, secret=secret, version=QuicProtocolVersion.VERSION_1)
    return context


def content(start: int, stop: int) -> bytes:
    return bytes(at % 251 for at in range(start, stop))


def read_into_places(start: int, stop: int, places: list[memoryview]) -> None:
    assert sum(map(len, places)) == stop - start
    for place in places:
        place[:] = content(start, start + len(place))
        start += len(place)


def plan_of(stream_id: int, cid: bytes, start: int, size: int, *, fin: bool = False) -> Plan:
    share = data_per_packet(SIZE, cid, stream_id, start + size)
    return Plan(stream_id, start, start + size, fin=fin, share=share)


def protection_of(keys: CryptoContext) -> PacketKeys:
    assert keys.aead is not None
    assert keys.hp is not None
    assert keys.cipher_suite is not None
    assert keys.secret is not None
    key, _, _ = derive_key_iv_hp(
        cipher_suite=keys.cipher_suite, secret=keys.secret, version=keys.version or 0
    )
    return PacketKeys(AeadKey(keys.aead._aead, key), keys.aead._iv, keys.hp._encryptor, 0)


def build(
    builder: TrainBuilder, keys: CryptoContext, plan: Plan, cid: bytes, first_packet: int
) -> list[bytes]:
    protection = protection_of(keys)
    data = builder.build(
        plan,
        protection,
        cid=cid,
        first_packet=first_packet,
        datagram_bytes=SIZE,
        read_into_places=read_into_places,
    )
    return [bytes(data[at : at + SIZE]) for at in range(0, len(data), SIZE)]


def opened(keys: CryptoContext, packet: bytes, cid: bytes, expected: int) -> Frame:
    assert packet[1 : 1 + len(cid)] == cid
    _, payload, number, _ = keys.decrypt_packet(packet, 1 + len(cid), expected)
    buffer = Buffer(data=payload)
    kind = buffer.pull_uint_var()
    assert kind & ~0x01 == STREAM | 0x04
    stream_id, offset = buffer.pull_uint_var(), buffer.pull_uint_var()
    return Frame(number, stream_id, offset, payload[buffer.tell() :], fin=bool(kind & 1))


def opened_all(
    keys: CryptoContext, packets: list[bytes], cid: bytes, first_packet: int
) -> list[Frame]:
    return [opened(keys, packet, cid, first_packet + n) for n, packet in enumerate(packets)]


def joined(frames: list[Frame], plan: Plan) -> bytes:
    """The stream bytes of a train's packets, which lie side by side as planned."""
    offset = plan.start
    for frame in frames:
        assert (frame.stream_id, frame.offset) == (plan.stream_id, offset)
        assert frame.fin == (plan.fin and frame is frames[-1])
        offset += len(frame.data)
    return b"".join(frame.data for frame in frames)


@pytest.mark.parametrize("cid", [b"", b"\x01\x02\x03\x04", bytes(20)])
@pytest.mark.parametrize(
    "first_packet", [0, 2**20 + 253, 3 * TRUNCATED_NUMBERS - 9, 3 * TRUNCATED_NUMBERS, 2**40 + 5]
)
def test_packets_hold_what_was_planned(
    builder: TrainBuilder, keys: CryptoContext, cid: bytes, first_packet: int
) -> None:
    plan = plan_of(4, cid, 7, 9_000)
    packets = build(builder, keys, plan, cid, first_packet)

    frames = opened_all(keys, packets, cid, first_packet)

    assert [frame.number for frame in frames] == [first_packet + n for n in range(len(packets))]
    assert joined(frames, plan) == content(plan.start, plan.stop)


def test_one_builder_serves_streams_and_offsets_in_turns(
    builder: TrainBuilder, keys: CryptoContext
) -> None:
    number = 100
    plans = [
        plan_of(4, b"1234", 0, 50_000),
        plan_of(8, b"1234", 50, 3_000, fin=True),
        plan_of(4, b"1234", 50_000, 20_000),
        plan_of(400, b"1234", 2**30 - 4_000, 4_000),
        plan_of(400, b"1234", 2**30, 30_000, fin=True),
        plan_of(8, b"12345678", 0, 1, fin=True),
        plan_of(4, b"12345678", 70_000, 2_400),
    ]
    for plan in plans:
        cid = b"12345678" if plan in plans[-2:] else b"1234"
        packets = build(builder, keys, plan, cid, number)
        frames = opened_all(keys, packets, cid, number)
        assert joined(frames, plan) == content(plan.start, plan.stop)
        number += len(packets)


@pytest.mark.parametrize("suite", [CipherSuite.AES_128_GCM_SHA256, CipherSuite.AES_256_GCM_SHA384])
def test_keys_may_change_from_train_to_train(builder: TrainBuilder, suite: CipherSuite) -> None:
    plan, number = plan_of(4, b"1234", 0, 60_000), 7
    secret_bytes = 48 if suite is CipherSuite.AES_256_GCM_SHA384 else 32
    for keys in (keys_of(suite, bytes([first]) * secret_bytes) for first in (1, 2, 1)):
        packets = build(builder, keys, plan, b"1234", number)
        assert joined(opened_all(keys, packets, b"1234", number), plan) == content(0, 60_000)
        number += len(packets)


def test_a_train_of_the_greatest_length(builder: TrainBuilder, keys: CryptoContext) -> None:
    # 192 of the smallest QUIC allows are more than the library takes at once.
    share, count = data_per_packet(SIZE, b"1234", 4, 200_000), most_packets(SIZE)
    plan = Plan(4, 0, count * share, fin=True, share=share)
    for number in (0, 200):
        packets = build(builder, keys, plan, b"1234", number)
        assert len(packets) == count
        assert joined(opened_all(keys, packets, b"1234", number), plan) == content(0, plan.stop)


def test_a_read_that_fails_spoils_nothing(builder: TrainBuilder, keys: CryptoContext) -> None:
    plan = plan_of(4, b"1234", 0, 5_000, fin=True)

    def fail(_start: int, _stop: int, _places: list[memoryview]) -> None:
        raise SourceError("the disk is gone")

    protection = protection_of(keys)
    with pytest.raises(SourceError):
        builder.build(
            plan,
            protection,
            cid=b"1234",
            first_packet=1,
            datagram_bytes=SIZE,
            read_into_places=fail,
        )

    packets = build(builder, keys, plan, b"1234", 1)
    assert joined(opened_all(keys, packets, b"1234", 1), plan) == content(0, 5_000)
