"""asyncio: a future whose waiter goes on at once, and not with the next turn of the event loop.

A turn costs a system call and some microseconds, a good part of what a small request takes once its
response is there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import Context
from typing import Any, Self

# Named once: `super()` looks it up each time.
_set_result = asyncio.Future.set_result


class PromptFuture(asyncio.Future[bool]):
    """What one task awaits; `resolve`, in a callback of the event loop, has it go on.

    In everything else it is an ordinary future.
    """

    _waiting: tuple[Callable[[Any], object], Context | None] | None = None
    """The step of the task that waits, which asyncio knows nothing of as long as it is here."""

    def resolve(self, result: bool) -> None:
        """Set the result; who waits has gone on when this returns.

        To be called last, since it may do anything. In a task, which no other can interrupt, it
        goes on with the next turn of the loop.
        """
        waiting = self._waiting
        if waiting is None or asyncio.current_task(self.get_loop()) is not None:
            self.set_result(result)
            return
        self._waiting = None
        _set_result(self, result)
        step, context = waiting
        if context is None:
            step(self)
        else:
            context.run(step, self)

    def add_done_callback(
        self, fn: Callable[[Self], object], /, *, context: Context | None = None
    ) -> None:
        """Take note of the one who waits; see `asyncio.Future`."""
        if self._waiting is not None or self.done():
            super().add_done_callback(fn, context=context)
        else:
            self._waiting = fn, context

    def remove_done_callback(self, fn: Callable[[Self], object], /) -> int:
        """See `asyncio.Future`."""
        self._hand_over()
        return super().remove_done_callback(fn)

    def set_result(self, result: bool, /) -> None:
        """See `asyncio.Future`."""
        self._hand_over()
        super().set_result(result)

    def set_exception(self, exception: type[BaseException] | BaseException, /) -> None:
        """See `asyncio.Future`."""
        self._hand_over()
        super().set_exception(exception)

    def cancel(self, msg: Any | None = None) -> bool:
        """See `asyncio.Future`."""
        self._hand_over()
        return super().cancel(msg)

    def _hand_over(self) -> None:
        """Leave who waits to asyncio."""
        if self._waiting is not None:
            (step, context), self._waiting = self._waiting, None
            super().add_done_callback(step, context=context)
