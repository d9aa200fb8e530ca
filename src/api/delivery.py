"""Brings what happens to one upload to its caller, where the caller lives, in order.

The upload's thread reports; the caller's home delivers: progress and headers as they come, then
`success` or `fail`, then `complete`, and only then are those woken who wait for the result. A slow
caller is not flooded: what it has not yet seen is replaced by what is newer.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from .caller_home import Home, Job
from .listeners import Event, Listener, Listeners
from .quiet import call_quietly, logger


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How an upload ended."""

    payload: Event = field(repr=False)
    """What its callbacks are called with."""
    error: BaseException | None = None
    """What waiting for it raises; None after a response."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Callbacks:
    """The functions given with the options."""

    success: Listener | None = None
    fail: Listener | None = None
    complete: Listener | None = None

    def for_ending(self, ending: Ending) -> list[Listener]:
        """What to call, in order."""
        first = self.fail if ending.error is not None else self.success
        return [callback for callback in (first, self.complete) if callback is not None]


@dataclass(slots=True)
class _Undelivered:
    progress: Event | None = None
    headers: Event | None = None
    ending: Ending | None = None


class Delivery:
    """The mailbox between one upload and its caller; every method may be called by any thread."""

    def __init__(self, home: Home, fallback: Home, callbacks: Callbacks) -> None:
        self.progress = Listeners()
        self.headers = Listeners()
        self._home = home
        self._fallback = fallback
        self._callbacks = callbacks
        self._lock = threading.Lock()
        self._undelivered = _Undelivered()
        self._posted = False
        self._ending: Ending | None = None
        self._delivering_in: int | None = None
        self._settled = False
        self._waiters: list[Job] = []

    @property
    def ending(self) -> Ending | None:
        """How it ended, for those who may know: everybody once the callbacks have run, and the
        callbacks themselves.
        """
        if self._settled or self._delivering_in == threading.get_ident():
            return self._ending
        return None

    def report_progress(self, event: Event) -> None:
        """Tell how far the body is; replaces what has not been delivered."""
        with self._lock:
            self._undelivered.progress = event
        self._post()

    def report_headers(self, event: Event) -> None:
        """Tell that a response head has come."""
        with self._lock:
            self._undelivered.headers = event
        self._post()

    def report_ending(self, ending: Ending) -> None:
        """Tell how it ended; nothing may be reported afterwards."""
        with self._lock:
            self._undelivered.ending = self._ending = ending
        self._post()

    def run_at_home(self, job: Job) -> None:
        """Have something else run where the callbacks run."""
        if not self._home.post(job):
            self._move_out()
            self._home.post(job)

    def add_waiter(self, wake: Job) -> bool:
        """Have `wake` called once the callbacks have run; False when they have already."""
        with self._lock:
            if not self._settled:
                self._waiters.append(wake)
            return not self._settled

    def discard_waiter(self, wake: Job) -> None:
        """Forget a waiter that waits no more; without effect when it has been called."""
        with self._lock:
            if wake in self._waiters:
                self._waiters.remove(wake)

    def rescue(self) -> None:
        """Deliver in the fallback home what a home that has gone was given and never ran."""
        if not self._settled and self._home.is_gone():
            self._move_out()
            self._home.post(self._deliver)

    def _post(self) -> None:
        with self._lock:
            posted, self._posted = self._posted, True
        if not posted:
            self.run_at_home(self._deliver)

    def _move_out(self) -> None:
        if self._home is not self._fallback:
            logger.info(
                "the event loop of an upload's caller has ended: its callbacks run in a thread"
            )
            self._home = self._fallback

    def _deliver(self) -> None:
        """Tell the first of what is there.

        What is behind it has a job of its own, posted before: should a listener wait for the
        result in the thread that delivers, that thread can go on (`CallbackThread.run_jobs_until`).
        """
        with self._lock:
            tell = self._take()
            self._posted = more = self._undelivered != _Undelivered()
        if more:
            self.run_at_home(self._deliver)
        tell()

    def _take(self) -> Job:
        news = self._undelivered
        if (progress := news.progress) is not None:
            news.progress = None
            return lambda: self.progress.tell(progress)
        if (headers := news.headers) is not None:
            news.headers = None
            return lambda: self.headers.tell(headers)
        if (ending := news.ending) is not None:
            news.ending = None
            return lambda: self._finish(ending)
        return _nothing

    def _finish(self, ending: Ending) -> None:
        self._delivering_in = threading.get_ident()
        try:
            for callback in self._callbacks.for_ending(ending):
                call_quietly(callback, ending.payload)
        finally:
            self._delivering_in = None
            self._settle()

    def _settle(self) -> None:
        with self._lock:
            self._settled = True
            waiters, self._waiters = self._waiters, []
        for wake in waiters:
            wake()


def _nothing() -> None:
    """What is left to do when a home that had gone comes back to a job that was done elsewhere."""
