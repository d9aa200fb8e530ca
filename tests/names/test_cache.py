"""What is kept of answers, and for how long."""

from __future__ import annotations

import pytest

from trilane.transport.errors import ResolveError, ResolveReason
from trilane.transport.policy.dns_records import Answer, Kind, Question
from trilane.transport.policy.name_cache import LONGEST_NEGATIVE_S, LONGEST_S, NameCache

ASKED = Question("one.example", Kind.A)
FOUND = Answer(addresses=("192.0.2.1",), ttl_s=30.0)


def test_an_answer_holds_for_its_ttl() -> None:
    cache = NameCache()
    cache.keep(ASKED, FOUND, 100.0)
    assert cache.find(ASKED, 129.9) is FOUND
    assert cache.find(Question("one.example", Kind.AAAA), 100.0) is None
    assert cache.find(ASKED, 130.0) is None
    assert len(cache) == 0


@pytest.mark.parametrize(
    ("outcome", "holds_s"),
    [
        (Answer(addresses=("192.0.2.1",), ttl_s=2.0**31), LONGEST_S),
        (Answer(ttl_s=7.0, reason=ResolveReason.NO_SUCH_NAME), 7.0),
        (Answer(ttl_s=1e6, reason=ResolveReason.NO_ADDRESS), LONGEST_NEGATIVE_S),
        (ResolveError("SERVFAIL"), 1.0),
    ],
)
def test_how_long_what_holds(outcome: Answer | ResolveError, holds_s: float) -> None:
    cache = NameCache()
    cache.keep(ASKED, outcome, 0.0)
    assert cache.find(ASKED, holds_s - 0.01) is outcome
    assert cache.find(ASKED, holds_s) is None


def test_without_ttl_nothing_is_kept_and_the_old_is_forgotten() -> None:
    cache = NameCache()
    cache.keep(ASKED, FOUND, 0.0)
    cache.keep(ASKED, Answer(ttl_s=0.0, reason=ResolveReason.NO_ADDRESS), 1.0)
    assert cache.find(ASKED, 1.0) is None


def test_a_name_can_be_forgotten() -> None:
    cache = NameCache()
    other = Question("two.example", Kind.A)
    for question in (ASKED, other):
        cache.keep(question, FOUND, 0.0)
    cache.forget("one.example")
    assert cache.find(ASKED, 0.0) is None
    assert cache.find(other, 0.0) is FOUND


def test_the_least_recently_used_goes_first() -> None:
    cache = NameCache(max_answers=2)
    first, second, third = (Question(f"{n}.example", Kind.A) for n in range(3))
    for question in (first, second):
        cache.keep(question, FOUND, 0.0)
    assert cache.find(first, 1.0) is FOUND
    cache.keep(third, FOUND, 1.0)
    assert cache.find(second, 1.0) is None
    assert cache.find(first, 1.0) is FOUND
