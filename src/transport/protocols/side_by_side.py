"""Many numbers of one size at once: side by side in one long integer, or in memory.

What is done to that integer is done to all of them, as long as none outgrows its place.
"""

from __future__ import annotations

from functools import cache, lru_cache

#: As many at once as any caller needs.
MOST_NUMBERS = 256
_BYTE_VALUES = 256
# Where bytes are written that lie apart, a bytearray is taken twice as fast as bytes.
_COUNTING = bytearray(range(_BYTE_VALUES)) * 2


def evenly_spaced(first: int, step: int, count: int, size_bytes: int) -> int:
    """`first`, `first + step` and so on, the first one highest, each in so many bytes."""
    ones, places = _combs(count, size_bytes)
    return first * ones + (places if step == 1 else step * places)


def put_counting(
    room: bytearray, size_bytes: int, first: int, count: int, *, flipped: int = 0
) -> None:
    """Write `first`, `first + 1` and so on, each in so many bytes and with these bits flipped."""
    low, end = first % _BYTE_VALUES, count * size_bytes
    # All but their last bytes change at most once.
    before = min(_BYTE_VALUES - low, count)
    middle, upper = before * size_bytes, first - low
    room[:middle] = (upper ^ flipped).to_bytes(size_bytes, "big") * before
    if before < count:
        upper += _BYTE_VALUES
        room[middle:end] = (upper ^ flipped).to_bytes(size_bytes, "big") * (count - before)
    lowest = _COUNTING[low : low + count]
    room[size_bytes - 1 : end : size_bytes] = lowest.translate(_flips(flipped % _BYTE_VALUES))


def flipped_counting(rows: bytearray, first: int) -> tuple[bytearray, bytearray]:
    """What rows of two bytes make of `first`, `first + 1` and so on, by flipping their bits.

    Args:
        rows: first all first bytes, then all second ones.
        first: in two bytes, as all that follow are.

    Returns:
        All first bytes, and all second ones.
    """
    count, low = len(rows) // 2, first % _BYTE_VALUES
    before = min(_BYTE_VALUES - low, count)
    upper = rows[:before].translate(_flips(first >> 8))
    if before < count:
        upper += rows[before:count].translate(_flips((first >> 8) + 1))
    flips = int.from_bytes(rows[count:], "big")
    lower = flips ^ int.from_bytes(_COUNTING[low : low + count], "big")
    return upper, bytearray(lower.to_bytes(count, "big"))


@cache
def _flips(bits: int) -> bytes:
    """What becomes of each byte when these bits are flipped."""
    return bytes(byte ^ bits for byte in range(_BYTE_VALUES))


# Most trains are of the same length.
@lru_cache(maxsize=16)
def _combs(count: int, size_bytes: int) -> tuple[int, int]:
    """So many ones, and the numbers from zero, each in so many bytes."""
    ones, places = _longest_combs(size_bytes)
    rest = 8 * size_bytes * (MOST_NUMBERS - count)
    return ones >> rest, places >> rest


@cache
def _longest_combs(size_bytes: int) -> tuple[int, int]:
    ones = MOST_NUMBERS * (1).to_bytes(size_bytes, "big")
    places = b"".join(index.to_bytes(size_bytes, "big") for index in range(MOST_NUMBERS))
    return int.from_bytes(ones, "big"), int.from_bytes(places, "big")
