"""Many numbers of one size at once: they lie side by side in one long integer.

What is done to that integer is done to all of them, as long as none outgrows its place.
"""

from __future__ import annotations

from functools import cache, lru_cache

#: As many at once as any caller needs.
MOST_NUMBERS = 256


def repeated(number: int, count: int, size_bytes: int) -> int:
    """The same number so many times, each in so many bytes."""
    return number * _combs(count, size_bytes)[0]


def evenly_spaced(first: int, step: int, count: int, size_bytes: int) -> int:
    """`first`, `first + step` and so on, the first one highest, each in so many bytes."""
    ones, places = _combs(count, size_bytes)
    return first * ones + (places if step == 1 else step * places)


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
