"""asyncio: one timer for many waits, most of which end long before their time is up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from math import inf


class LoopTimer:
    """Calls when a time has come that is set again and again.

    Making a timer of the event loop and taking it back is a good part of what a short wait costs.
    So the one that was made stays, and looks, when it is due, what was set meanwhile.
    """

    __slots__ = ("_call", "_due_s", "_handle", "_loop", "_until_s")

    def __init__(self, loop: asyncio.AbstractEventLoop, call: Callable[[], object]) -> None:
        """Nothing is set yet."""
        self._loop = loop
        self._call = call
        self._until_s = inf
        self._handle: asyncio.TimerHandle | None = None
        self._due_s = inf
        """When the handle is due. Not asked of it: uvloop's, when due at once, does not know."""

    def set(self, until_s: float) -> None:
        """Call at that time of the loop's clock, `inf` for never, and at no other."""
        self._until_s = until_s
        if until_s == inf:
            return
        if self._handle is not None:
            if self._due_s <= until_s:
                return
            self._handle.cancel()
        self._handle = self._loop.call_at(until_s, self._look)
        self._due_s = until_s

    def rest(self) -> None:
        """Do not call, until the next time is set."""
        self._until_s = inf

    def close(self) -> None:
        """The same for good; idempotent."""
        self._until_s = inf
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _look(self) -> None:
        self._handle = None
        if self._until_s <= self._due_s:
            self._call()
        else:
            self.set(self._until_s)
