"""From acknowledged bytes of a connection to acknowledged bytes of a body."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from trilane.transport.connections.acks import AckLedger


def test_a_piece_counts_byte_by_byte_once_its_overhead_is_paid_for() -> None:
    ledger = AckLedger()
    ledger.wrote(200, 0, end=False)
    ledger.wrote(200 + 1000, 980, end=True)

    assert not ledger.acknowledged(199)
    assert ledger.acknowledged(200)
    assert not ledger.acknowledged(220)
    assert ledger.acked_body_bytes == 0
    assert ledger.acknowledged(221)
    assert ledger.acked_body_bytes == 1
    assert ledger.acknowledged(1199)
    assert (ledger.acked_body_bytes, ledger.finished) == (979, False)
    assert ledger.acknowledged(1200)
    assert (ledger.acked_body_bytes, ledger.finished) == (980, True)


def test_the_first_piece_counts_as_a_whole() -> None:
    """Where it began on the wire is not known."""
    ledger = AckLedger()
    ledger.wrote(10_000, 900, end=True)

    assert not ledger.acknowledged(9_999)
    assert ledger.acknowledged(10_000)
    assert (ledger.acked_body_bytes, ledger.finished) == (900, True)


def test_a_request_without_a_body_finishes() -> None:
    ledger = AckLedger()
    ledger.wrote(300, 0, end=True)

    assert ledger.acknowledged(300)
    assert (ledger.acked_body_bytes, ledger.finished) == (0, True)


pieces = st.lists(st.lists(st.booleans(), min_size=1, max_size=30), min_size=1, max_size=8)


@given(before=st.integers(0, 20), pieces=pieces)
def test_never_more_than_was_acknowledged_and_all_of_it_in_the_end(
    before: int, pieces: list[list[bool]]
) -> None:
    """Each wire byte is a byte of the body or not; the ledger only knows how many are."""
    ledger = AckLedger()
    wire = [False] * before
    for number, piece in enumerate(pieces):
        wire += piece
        ledger.wrote(len(wire), sum(wire), end=number == len(pieces) - 1)

    for acked in range(len(wire) + 1):
        known = ledger.acked_body_bytes
        news = ledger.acknowledged(acked)
        assert known <= ledger.acked_body_bytes <= sum(wire[:acked])
        assert news or ledger.acked_body_bytes == known
        assert not ledger.acknowledged(acked)
    assert ledger.finished
    assert ledger.acked_body_bytes == sum(wire)
