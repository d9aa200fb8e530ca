"""Messages sealed at their places, by either sealer, are what cryptography makes of each alone."""

from __future__ import annotations

import gc
import random
from dataclasses import dataclass

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from hypothesis import given
from hypothesis import strategies as st

from tests.peers.multi_buffer import installed_library
from trilane.transport.protocols.ipsec_mb import InBursts, IpsecMb, sealer_for
from trilane.transport.protocols.sealing import (
    NONCE_BYTES,
    TAG_BYTES,
    AeadKey,
    OneByOne,
    Places,
    Row,
    Sealer,
)


def key_of(data: bytes) -> AeadKey:
    return AeadKey(AESGCM(data), data)


@dataclass(frozen=True, slots=True)
class Scene:
    """Places in rooms of random bytes, with gaps of random sizes between them."""

    places: Places
    rooms: list[bytearray]

    def expected(self, key: AeadKey, count: int, last_bytes: int) -> list[bytes]:
        """The rooms after so many messages were sealed."""
        places, before = self.places, [bytes(room) for room in self.rooms]
        after = [bytearray(room) for room in before]
        for index in range(count):
            size = last_bytes if index == count - 1 else places.size_bytes
            nonce, header, plain = (
                self._piece(row, before, index, length)
                for row, length in (
                    (places.nonces, NONCE_BYTES),
                    (places.headers, places.header_bytes),
                    (places.plain, size),
                )
            )
            start = places.sealed.first + index * places.sealed.step
            sealed = AESGCM(key.data).encrypt(nonce, plain, header)
            after[self._number(places.sealed)][start : start + len(sealed)] = sealed
        return [bytes(room) for room in after]

    def _piece(self, row: Row, rooms: list[bytes], index: int, length: int) -> bytes:
        start = row.first + index * row.step
        return rooms[self._number(row)][start : start + length]

    def _number(self, row: Row) -> int:
        return next(at for at, room in enumerate(self.rooms) if room is row.room)


def scene(seed: int, count: int, size_bytes: int, header_bytes: int, *, in_place: bool) -> Scene:
    chance, rooms = random.Random(seed), []

    def row(length: int) -> Row:
        first, step = chance.randrange(30), length + chance.randrange(30)
        rooms.append(bytearray(chance.randbytes(first + count * step + chance.randrange(30))))
        return Row(rooms[-1], first, step)

    sealed = row(size_bytes + TAG_BYTES)
    plain = sealed if in_place else row(size_bytes)
    nonces, headers = row(NONCE_BYTES), row(header_bytes)
    return Scene(Places(count, size_bytes, plain, sealed, nonces, headers, header_bytes), rooms)


def new(places: Places, library: IpsecMb | None) -> Sealer:
    sealer = sealer_for(places, library)
    assert isinstance(sealer, OneByOne if library is None else InBursts)
    return sealer


@given(
    seed=st.integers(0, 2**32),
    key=st.sampled_from([16, 32]).flatmap(lambda size: st.binary(min_size=size, max_size=size)),
    count=st.integers(1, 300),
    size_bytes=st.integers(1, 3_000),
    header_bytes=st.integers(1, 40),
    data=st.data(),
)
def test_messages_are_those_of_cryptography(
    *,
    library: IpsecMb | None,
    seed: int,
    key: bytes,
    count: int,
    size_bytes: int,
    header_bytes: int,
    data: st.DataObject,
) -> None:
    in_place = library is not None and data.draw(st.booleans())
    laid = scene(seed, count, size_bytes, header_bytes, in_place=in_place)
    sealer = new(laid.places, library)
    for _ in range(2):
        sealed = data.draw(st.integers(1, count))
        last = data.draw(st.integers(1, size_bytes))
        expected = laid.expected(key_of(key), sealed, last)
        sealer.seal(key_of(key), sealed, last)
        assert [bytes(room) for room in laid.rooms] == expected


def test_keys_may_change(library: IpsecMb | None) -> None:
    laid = scene(1, 5, 100, 5, in_place=False)
    sealer = new(laid.places, library)
    for key in map(key_of, (bytes(16), bytes(range(32)), bytes(range(16)), bytes(16))):
        expected = laid.expected(key, 5, 100)
        sealer.seal(key, 5, 100)
        assert [bytes(room) for room in laid.rooms] == expected


def test_two_do_not_disturb_each_other(library: IpsecMb | None) -> None:
    scenes = [scene(seed, 200, 50 + seed, 5, in_place=False) for seed in (1, 2)]
    sealers = [new(laid.places, library) for laid in scenes]
    keys = [key_of(bytes([seed]) * 16) for seed in (1, 2)]
    for count in (1, 200, 130):
        for laid, sealer, key in zip(scenes, sealers, keys, strict=True):
            expected = laid.expected(key, count, 7)
            sealer.seal(key, count, 7)
            assert [bytes(room) for room in laid.rooms] == expected


def test_cryptography_does_not_seal_in_place() -> None:
    with pytest.raises(ValueError, match="places of their own"):
        OneByOne(scene(1, 1, 10, 5, in_place=True).places)


@pytest.mark.parametrize(("count", "last_bytes"), [(0, 10), (4, 10), (-1, 10), (3, 0), (3, 11)])
def test_nothing_is_written_beyond_the_places(count: int, last_bytes: int) -> None:
    laid = scene(1, 3, 10, 5, in_place=True)
    before = [bytes(room) for room in laid.rooms]
    with pytest.raises(ValueError, match="beyond their places"):
        InBursts(installed_library(), laid.places).seal(key_of(bytes(16)), count, last_bytes)
    assert [bytes(room) for room in laid.rooms] == before


def test_a_key_of_another_cipher_is_refused() -> None:
    laid = scene(1, 3, 10, 5, in_place=True)
    before = [bytes(room) for room in laid.rooms]
    sealer = InBursts(installed_library(), laid.places)
    with pytest.raises(ValueError, match="another cipher"):
        sealer.seal(AeadKey(ChaCha20Poly1305(bytes(32)), bytes(32)), 3, 10)
    assert [bytes(room) for room in laid.rooms] == before


def test_rooms_stay_where_they_are_as_long_as_they_are_written_to() -> None:
    laid = scene(1, 3, 10, 5, in_place=True)
    sealer = InBursts(installed_library(), laid.places)
    for room in laid.rooms:
        with pytest.raises(BufferError):
            room.extend(bytes(1_000_000))
    del sealer
    gc.collect()
    laid.rooms[0].extend(b"now it may")
