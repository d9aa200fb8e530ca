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

from .loop_timer import LoopTimer
from .prompt_future import PromptFuture

#: How often a socket is read before others have their turn.
_MOST_READS = 4


class StandingWatch:
    """Reads from a socket as soon as something has arrived, while somebody waits for it."""

    def __init__(
        self,
        sock: socket.socket,
        loop: asyncio.AbstractEventLoop,
        read: Callable[[], bool],
        has_more: Callable[[], bool] = lambda: False,
    ) -> None:
        """Register nothing yet.

        Args:
            sock: what to watch; it is closed only after the watch.
            loop: the running one.
            read: reads from the socket without waiting; returns whether that is news. Must not
                raise.
            has_more: whether to read again at once, after what was no news; a few times at most.
        """
        self._fd = sock.fileno()
        self._loop = loop
        self._read = read
        self._has_more = has_more
        self._registered = False
        self._waiter: PromptFuture | None = None
        self._timer = LoopTimer(loop, self._time_up)

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
        self._timer.set(until_s)
        return waiter

    def close(self) -> None:
        """Deregister, and wake who waits; idempotent."""
        if self._loop.is_closed():
            return
        self._deregister()
        self._timer.close()
        if self._waiter is not None and not self._waiter.done():
            # Not at once: whoever closes has more to do.
            self._waiter.set_result(True)

    def _time_up(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.resolve(False)

    def _readable(self) -> None:
        waiter = self._waiter
        if waiter is None or waiter.done():
            # Nobody wants it now, and the loop must not spin.
            self._deregister()
        elif self._read_on(waiter):
            self._timer.rest()
            # Reading tells others, who may have cancelled the one who waits, or closed the stream.
            if not waiter.done():
                waiter.resolve(True)

    def _read_on(self, waiter: PromptFuture) -> bool:
        """Read, and again while there is more; whether there is news for who waits."""
        for _ in range(_MOST_READS):
            if self._read():
                return True
            if waiter.done() or not self._has_more():
                break
        return False

    def _deregister(self) -> None:
        if self._registered:
            self._registered = False
            self._loop.remove_reader(self._fd)


def standing_watch(
    sock: socket.socket, read: Callable[[], bool], has_more: Callable[[], bool] = lambda: False
) -> StandingWatch | None:
    """A watch for the running event loop; None where it has no such thing (trio, Windows)."""
    if sniffio.current_async_library() != "asyncio":
        return None
    loop = asyncio.get_running_loop()
    if not _can_watch(loop):
        return None
    return StandingWatch(sock, loop, read, has_more)


def _can_watch(loop: asyncio.AbstractEventLoop) -> bool:
    # Windows' default loop has the method, and only says that it is not implemented.
    return type(loop).add_reader is not asyncio.AbstractEventLoop.add_reader
