"""Happy eyeballs' rules, without a clock."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trilane.transport.policy.eyeballs import AttemptSchedule, interleave

ADDRESSES = st.lists(st.ip_addresses().map(str), max_size=12)


@pytest.mark.parametrize(
    ("found", "order"),
    [
        ([], []),
        (["1.1.1.1"], ["1.1.1.1"]),
        (["::1", "::2", "1.1.1.1"], ["::1", "1.1.1.1", "::2"]),
        (["1.1.1.1", "::1", "::2", "1.1.1.2"], ["1.1.1.1", "::1", "1.1.1.2", "::2"]),
        (["::1", "::2", "::3"], ["::1", "::2", "::3"]),
        (["1.1.1.1", "1.1.1.1", "::1"], ["1.1.1.1", "::1"]),
    ],
)
def test_families_alternate_beginning_with_the_preferred_one(
    found: list[str], order: list[str]
) -> None:
    assert list(interleave(found)) == order


@given(ADDRESSES)
def test_interleaving_keeps_every_address_and_the_order_within_a_family(found: list[str]) -> None:
    order = interleave(found)
    unique = list(dict.fromkeys(found))
    assert sorted(order) == sorted(unique)
    for v6 in (True, False):
        assert [a for a in order if (":" in a) is v6] == [a for a in unique if (":" in a) is v6]


@given(ADDRESSES)
def test_a_family_repeats_only_when_the_other_is_used_up(found: list[str]) -> None:
    order = interleave(found)
    for index in range(1, len(order)):
        if (":" in order[index]) == (":" in order[index - 1]):
            rest = {":" in address for address in order[index:]}
            assert len(rest) == 1


def test_the_first_starts_at_once_and_the_next_after_the_delay() -> None:
    schedule = AttemptSchedule(["1.1.1.1", "1.1.1.2"], delay_s=0.25)
    assert schedule.next_start_s is not None
    assert schedule.next_start_s <= 100.0
    assert schedule.start(100.0) == "1.1.1.1"
    assert schedule.next_start_s == 100.25
    assert schedule.start(100.25) == "1.1.1.2"
    assert schedule.next_start_s is None


def test_the_head_start_counts_from_when_the_attempt_got_its_turn() -> None:
    schedule = AttemptSchedule(["1.1.1.1", "1.1.1.2", "1.1.1.3"], delay_s=0.25)
    first = schedule.start(0.0)
    schedule.begun(first, 0.01)
    assert schedule.next_start_s == 0.26
    schedule.start(0.26)
    schedule.begun(first, 0.27)
    assert schedule.next_start_s == 0.51


def test_a_failure_of_the_latest_starts_the_next_at_once() -> None:
    schedule = AttemptSchedule(["1.1.1.1", "1.1.1.2", "1.1.1.3"], delay_s=0.25)
    first = schedule.start(0.0)
    schedule.failed(first)
    assert schedule.next_start_s is not None
    assert schedule.next_start_s <= 0.0


def test_a_failure_of_an_older_one_changes_nothing() -> None:
    schedule = AttemptSchedule(["1.1.1.1", "1.1.1.2", "1.1.1.3"], delay_s=0.25)
    first = schedule.start(0.0)
    schedule.start(0.25)
    schedule.failed(first)
    assert schedule.next_start_s == 0.5
