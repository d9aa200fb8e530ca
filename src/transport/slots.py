"""The parallel slots: at most so many requests at once, the others in order of arrival."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import anyio

from .profile.moments import Ns


@dataclass(slots=True, eq=False)
class _Turn:
    granted: anyio.Event = field(default_factory=anyio.Event)
    at: Ns = 0


class Slots:
    """A counting semaphore that hands its slots on in FIFO order and knows when it did.

    The moment a slot was handed over is not the moment its taker was scheduled; the queue moments
    of a profile mean the first.
    """

    def __init__(self, count: int, clock: Callable[[], Ns]) -> None:
        self._free = count
        self._clock = clock
        self._queue: deque[_Turn] = deque()

    def take_nowait(self) -> bool:
        """Take a slot if one is free; then nobody is waiting."""
        if self._free == 0:
            return False
        self._free -= 1
        return True

    async def take(self) -> Ns:
        """Wait for a slot; return when it was handed over. Cancelled, it takes none."""
        turn = _Turn()
        self._queue.append(turn)
        try:
            await turn.granted.wait()
        except BaseException:
            if turn.granted.is_set():
                self.give_back()
            else:
                self._queue.remove(turn)
            raise
        return turn.at

    def give_back(self) -> None:
        """Hand the slot to whoever has waited longest."""
        if self._queue:
            turn = self._queue.popleft()
            turn.at = self._clock()
            turn.granted.set()
        else:
            self._free += 1
