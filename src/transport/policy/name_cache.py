"""What was found out about names, for as long as it holds. The clock is passed in."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from ..errors import ResolveError
from .dns_records import Answer, Question

#: Answers kept; the least recently used is forgotten first.
MAX_ANSWERS = 1000
#: A longer TTL is cut: a day is what a mistake in a zone may cost (RFC 8767 §4 has a week).
LONGEST_S = 86400.0
#: Negative answers at most this long (RFC 2308 §5 recommends one to three hours).
LONGEST_NEGATIVE_S = 3 * 3600.0
#: A failed lookup is not repeated at once (RFC 9520 §3.2: at least one second).
FAILURE_S = 1.0


@dataclass(frozen=True, slots=True)
class _Kept:
    outcome: Answer | ResolveError
    until_s: float


class NameCache:
    """Answers and failures by question."""

    def __init__(self, max_answers: int = MAX_ANSWERS) -> None:
        self._max_answers = max_answers
        self._kept: OrderedDict[Question, _Kept] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def find(self, question: Question, now_s: float) -> Answer | ResolveError | None:
        """What is known and still holds."""
        kept = self._kept.get(question)
        if kept is None:
            return None
        if now_s >= kept.until_s:
            del self._kept[question]
            return None
        self._kept.move_to_end(question)
        return kept.outcome

    def keep(self, question: Question, outcome: Answer | ResolveError, now_s: float) -> None:
        """Take note of what came of a lookup, for as long as it holds."""
        ttl_s = _lifetime_s(outcome)
        if ttl_s <= 0:
            self._kept.pop(question, None)
            return
        self._kept[question] = _Kept(outcome, now_s + ttl_s)
        self._kept.move_to_end(question)
        while len(self._kept) > self._max_answers:
            self._kept.popitem(last=False)

    def forget(self, name: str) -> None:
        """Ask again next time: what is known of a name was of no use."""
        for question in [question for question in self._kept if question.name == name]:
            del self._kept[question]


def _lifetime_s(outcome: Answer | ResolveError) -> float:
    if isinstance(outcome, ResolveError):
        return FAILURE_S
    return min(outcome.ttl_s, LONGEST_S if outcome.reason is None else LONGEST_NEGATIVE_S)
