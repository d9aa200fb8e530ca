"""What one task waits for and anybody rings: cheaper than an event, which may have many waiters.

Nothing is remembered: who waits has looked before, without an `await` in between, and looks again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from math import inf
from typing import Protocol

import anyio
import sniffio

from .loop_timer import LoopTimer
from .prompt_future import PromptFuture


class Bell(Protocol):
    """One task at a time waits for it."""

    async def wait(self, until_s: float = inf) -> bool:
        """Wait for `ring`; False when it is later than `until_s` of the event loop's clock."""
        ...

    def ring(self) -> None:
        """Wake who waits; nothing happens when nobody does."""
        ...

    def ring_last(self) -> None:
        """The same, as the last thing that a callback of the event loop does.

        Who waits may have gone on when this returns, which spares a turn of the loop.
        """
        ...

    def close(self) -> None:
        """Nobody will wait any more."""
        ...


def bell_maker() -> Callable[[], Bell]:
    """What makes bells for the running event loop."""
    if sniffio.current_async_library() == "asyncio":
        return partial(_LoopBell, asyncio.get_running_loop())
    return _EventBell


def new_bell() -> Bell:
    """A bell for the running event loop."""
    return bell_maker()()


class _LoopBell:
    """asyncio: a future and a timer, where an event and a cancel scope take three times as long."""

    __slots__ = ("_loop", "_timer", "_waiter")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._timer = LoopTimer(loop, self._end)
        self._waiter: PromptFuture | None = None

    async def wait(self, until_s: float = inf) -> bool:
        """Wait; see `Bell.wait`."""
        self._waiter = waiter = PromptFuture(loop=self._loop)
        self._timer.set(until_s)
        try:
            return await waiter
        finally:
            self._waiter = None
            self._timer.rest()

    def ring(self) -> None:
        """Wake who waits; see `Bell.ring`."""
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(True)

    def ring_last(self) -> None:
        """Have who waits go on; see `Bell.ring_last`."""
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.resolve(True)

    def close(self) -> None:
        """Let go of the timer; see `Bell.close`."""
        self._timer.close()

    def _end(self) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.resolve(False)


class _EventBell:
    """Any event loop."""

    __slots__ = ("_event",)

    def __init__(self) -> None:
        self._event: anyio.Event | None = None

    async def wait(self, until_s: float = inf) -> bool:
        """Wait; see `Bell.wait`."""
        self._event = event = anyio.Event()
        with anyio.CancelScope(deadline=until_s):
            await event.wait()
        return event.is_set()

    def ring(self) -> None:
        """Wake who waits; see `Bell.ring`."""
        if self._event is not None:
            self._event.set()

    def ring_last(self) -> None:
        """The same; see `Bell.ring_last`."""
        self.ring()

    def close(self) -> None:
        """Nothing is kept; see `Bell.close`."""
