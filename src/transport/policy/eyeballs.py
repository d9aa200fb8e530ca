"""Happy eyeballs version 2: in which order addresses are tried, and when (RFC 8305 §4, §5)."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

#: RFC 8305 §8, Connection Attempt Delay: the recommended value.
ATTEMPT_DELAY_S = 0.25


def interleave(addresses: Iterable[str]) -> tuple[str, ...]:
    """Alternate the address families, beginning with that of the first address (RFC 8305 §4).

    The order within a family is kept: it is the resolver's preference (RFC 6724). First Address
    Family Count is 1, as the RFC recommends where no family is known to be better.

    Args:
        addresses: IP addresses as text, preferred first. Repeated ones are left out.
    """
    queues: dict[bool, deque[str]] = {}
    for address in dict.fromkeys(addresses):
        queues.setdefault(_is_ipv6(address), deque()).append(address)
    order: list[str] = []
    while queues:
        for family in list(queues):
            order.append(queues[family].popleft())
            if not queues[family]:
                del queues[family]
    return tuple(order)


class AttemptSchedule:
    """Says which address to try next and from when on; the caller tells what became of each.

    The next attempt starts when the one before it has had `delay_s`, or at once when that one
    failed. All times are seconds of one clock of the caller's.
    """

    def __init__(self, addresses: Iterable[str], delay_s: float = ATTEMPT_DELAY_S) -> None:
        self._waiting = deque(interleave(addresses))
        self._delay_s = delay_s
        self._latest: str | None = None
        self._next_start_s = float("-inf")

    @property
    def next_start_s(self) -> float | None:
        """When the next attempt is due; in the past if at once, None if no address is left."""
        return self._next_start_s if self._waiting else None

    def start(self, now_s: float) -> str:
        """Take the next address; its attempt starts now, or as soon as it gets its turn."""
        self._latest = self._waiting.popleft()
        self._next_start_s = now_s + self._delay_s
        return self._latest

    def begun(self, address: str, now_s: float) -> None:
        """An attempt got its turn; what it waited for that is not taken off its head start."""
        if address == self._latest:
            self._next_start_s = now_s + self._delay_s

    def failed(self, address: str) -> None:
        """An attempt failed: there is no reason to wait for the latest one any longer."""
        if address == self._latest:
            self._next_start_s = float("-inf")


def _is_ipv6(address: str) -> bool:
    return ":" in address
