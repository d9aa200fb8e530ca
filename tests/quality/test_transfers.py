"""Rates of single transfers: what is enough, what others carried, when the window ends."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.quality.support import MS
from trilane.transport.quality.transfers import MAX_TRANSFERS, Transfer, TransferRates


def transfer(
    start_ms: float,
    end_ms: float,
    byte_count: int,
    *,
    rtt_ms: float | None = None,
    until_acked: bool = False,
) -> Transfer:
    rtt_ns = None if rtt_ms is None else round(rtt_ms * MS)
    return Transfer(round(start_ms * MS), round(end_ms * MS), byte_count, rtt_ns, until_acked)


@pytest.mark.parametrize(
    ("byte_count", "rtt_ms", "kbps"),
    [
        (63_999, None, None),
        (64_000, None, 5120),
        (64_001, None, 5121),
        # Two round trips and more than an initial window.
        (15_000, 50, 1200),
        (14_999, 50, None),
        (15_000, 50.1, None),
        (15_000, None, None),
        # However long the round trip is.
        (64_000, 1000, 5120),
    ],
)
def test_enough_is_64_kilobytes_or_two_round_trips(
    byte_count: int, rtt_ms: float | None, kbps: int | None
) -> None:
    one = transfer(0, 100, byte_count, rtt_ms=rtt_ms)

    assert TransferRates().finished(one, ()) == kbps


def test_the_way_back_of_the_last_acknowledgement_is_no_sending() -> None:
    one = transfer(0, 140, 125_000, rtt_ms=40, until_acked=True)

    assert TransferRates().finished(one, ()) == 10_000


@pytest.mark.parametrize("end_ms", [0, 40])
def test_a_transfer_without_duration_has_no_rate(end_ms: float) -> None:
    one = transfer(0, end_ms, 10**6, rtt_ms=40, until_acked=True)

    assert TransferRates().finished(one, ()) is None


def test_transfers_that_share_a_link_tell_what_the_link_carries() -> None:
    # 10 Mbit/s, shared evenly; the small one is done first, then the big one has it alone.
    rates = TransferRates()
    small, big = transfer(0, 1600, 1_000_000), transfer(0, 8800, 10_000_000)

    at_small = rates.finished(small, [transfer(0, 1600, 1_000_000)])
    at_big = rates.finished(big, ())

    assert (at_small, at_big) == (10_000, 10_000)


def test_what_was_carried_at_other_times_does_not_count() -> None:
    rates = TransferRates()
    rates.finished(transfer(0, 100, 10**6), ())

    assert rates.finished(transfer(100, 200, 125_000), [transfer(200, 300, 10**6)]) == 10_000


def test_half_of_what_overlaps_by_half_counts() -> None:
    rates = TransferRates()
    rates.finished(transfer(0, 200, 250_000), ())

    assert rates.finished(transfer(100, 200, 125_000), ()) == 20_000


def test_transfers_are_forgotten_in_order_of_their_end() -> None:
    rates = TransferRates()
    for end_ms in (100, 200):
        rates.finished(transfer(0, end_ms, 125_000), ())

    rates.forget_until(round(100 * MS))

    # Of the second, which lasted 200 ms, one half falls into this one.
    assert rates.finished(transfer(0, 100, 125_000), ()) == 15_000


def test_no_more_transfers_are_remembered_than_there_may_be_observations() -> None:
    rates = TransferRates()
    rates.finished(transfer(0, 100, 10**6), ())
    for _ in range(MAX_TRANSFERS):
        rates.finished(transfer(1000, 1100, 10**6), ())

    assert rates.finished(transfer(0, 100, 125_000), ()) == 10_000


spans = st.tuples(st.integers(0, 1000), st.integers(1, 1000)).map(
    lambda pair: (pair[0], pair[0] + pair[1])
)


@given(st.lists(st.tuples(spans, st.integers(1, 10**7)), min_size=1, max_size=20))
def test_no_byte_counts_twice_within_one_window(
    parts: list[tuple[tuple[int, int], int]],
) -> None:
    transfers = [transfer(start, end, count) for (start, end), count in parts]
    window = transfer(0, 2000, 0)

    total = sum(one.bytes_within(window) for one in transfers)

    assert total == pytest.approx(sum(one.byte_count for one in transfers))
    for one in transfers:
        assert 0 <= one.bytes_within(transfer(500, 600, 0)) <= one.byte_count
