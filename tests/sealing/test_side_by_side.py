"""Many numbers at once are what they are one by one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from trilane.transport.protocols.side_by_side import (
    MOST_NUMBERS,
    evenly_spaced,
    flipped_counting,
    put_counting,
)

counts = st.integers(1, MOST_NUMBERS)


@given(first=st.integers(0, 2**30), step=st.integers(0, 2_000), count=counts)
def test_evenly_spaced(first: int, step: int, count: int) -> None:
    expected = b"".join((first + at * step).to_bytes(5, "big") for at in range(count))
    assert evenly_spaced(first, step, count, 5).to_bytes(5 * count, "big") == expected


@given(first=st.integers(0, 2**40), flipped=st.integers(0, 2**96 - 1), count=counts)
def test_put_counting(first: int, flipped: int, count: int) -> None:
    room = bytearray(b"\xee" * 12 * (count + 1))
    put_counting(room, 12, first, count, flipped=flipped)
    numbers = b"".join((first + at ^ flipped).to_bytes(12, "big") for at in range(count))
    assert room == numbers + b"\xee" * 12


@given(first=st.integers(0, 2**16 - MOST_NUMBERS), data=st.data(), count=counts)
def test_flipped_counting(first: int, data: st.DataObject, count: int) -> None:
    rows = data.draw(st.binary(min_size=2 * count, max_size=2 * count))
    upper, lower = flipped_counting(bytearray(rows), first)
    flipped = [(rows[at] << 8 | rows[count + at]) ^ (first + at) for at in range(count)]
    assert list(zip(upper, lower, strict=True)) == [divmod(number, 256) for number in flipped]
