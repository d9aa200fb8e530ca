"""asyncio: a socket that stays registered with the event loop from one wait to the next.

`anyio.wait_readable` registers and deregisters its socket each time, which is two system calls and
half the cost of a wait. A registration that stays has to be answered by reading there and then:
until it was read from, the socket is reported again with every turn of the loop.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from math import inf

import sniffio

from .prompt_future import PromptFuture


class StandingWatch:
    """Reads from a socket as soon as something has arrived, while somebody waits for it."""

    def __init__(
        self, sock: socket.socket, loop: asyncio.AbstractEventLoop, read: Callable[[], bool]
    ) -> None:
        """Register nothing yet.

        Args:
            sock: what to watch; it is closed only after the watch.
            loop: the running one.
            read: reads from the socket without waiting; returns whether that is news. Must not
                raise.
        """
        self._fd = sock.fileno()
        self._loop = loop
        self._read = read
        self._registered = False
        self._waiter: PromptFuture | None = None
        self._until_s = inf
        self._timer: asyncio.TimerHandle | None = None
        """Set for the time of a wait, or for that of one before: it looks then who waits."""
        self._timer_s = inf
        """When it is due."""

    def wait(self, until_s: float = inf) -> asyncio.Future[bool]:
        """What to await for news, or for `close`: False when it is later than `until_s`, by the
        loop's clock.

        One task at a time.
        """
        if not self._registered:
            # The context goes with the callback, in which no task runs that would tell.
            token = sniffio.current_async_library_cvar.set("asyncio")
            self._loop.add_reader(self._fd, self._readable)
            sniffio.current_async_library_cvar.reset(token)
            self._registered = True
        self._waiter = waiter = PromptFuture(loop=self._loop)
        self._until_s = until_s
        if until_s != inf:
            self._set_timer(until_s)
        return waiter

    def close(self) -> None:
        """Deregister, and wake who waits; idempotent."""
        if self._loop.is_closed():
            return
        self._deregister()
        if self._timer is not None:
            self._timer.cancel()
        if self._waiter is not None and not self._waiter.done():
            # Not at once: whoever closes has more to do.
            self._waiter.set_result(True)

    def _set_timer(self, until_s: float) -> None:
        """Have `_time_up` called by then: most waits end long before, and one timer serves many."""
        if self._timer is not None:
            if self._timer_s <= until_s:
                return
            self._timer.cancel()
        self._timer = self._loop.call_at(until_s, self._time_up, until_s)
        # Not asked of the timer: uvloop's handle of one that is due at once does not know.
        self._timer_s = until_s

    def _time_up(self, until_s: float) -> None:
        self._timer = None
        if self._waiter is None or self._waiter.done() or self._until_s == inf:
            return
        if self._until_s <= until_s:
            self._waiter.resolve(False)
        else:
            self._set_timer(self._until_s)

    def _readable(self) -> None:
        waiter = self._waiter
        if waiter is None or waiter.done():
            # Nobody wants it now, and the loop must not spin.
            self._deregister()
        elif self._read():
            waiter.resolve(True)

    def _deregister(self) -> None:
        if self._registered:
            self._registered = False
            self._loop.remove_reader(self._fd)


def standing_watch(sock: socket.socket, read: Callable[[], bool]) -> StandingWatch | None:
    """A watch for the running event loop; None where it has no such thing (trio, Windows)."""
    if sniffio.current_async_library() != "asyncio":
        return None
    loop = asyncio.get_running_loop()
    if not _can_watch(loop):
        return None
    return StandingWatch(sock, loop, read)


def _can_watch(loop: asyncio.AbstractEventLoop) -> bool:
    # Windows' default loop has the method, and only says that it is not implemented.
    return type(loop).add_reader is not asyncio.AbstractEventLoop.add_reader
