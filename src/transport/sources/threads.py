"""Blocking calls off the event loop.

Calls on regular files end by themselves: `run_to_end` always waits for them, because they write
into the caller's buffer or return a descriptor. Calls on pipes and generators may block for ever:
a `Worker` runs them in a daemon thread of its own and leaves them alone when the caller is
cancelled; such a thread keeps neither the program nor other threads' slots from going away.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextvars import copy_context
from queue import SimpleQueue
from typing import Generic, TypeVar

import anyio
from anyio import CapacityLimiter, from_thread, to_thread
from anyio.lowlevel import RunVar, current_token
from sniffio import current_async_library_cvar

_T = TypeVar("_T")
_log = logging.getLogger(__name__)

# Apart from anyio's default 40 slots, which the application may have filled with threads that
# wait for this very upload. Disks gain nothing from more than a few reads at once.
_FILE_THREADS = 16
_file_limiter: RunVar[CapacityLimiter] = RunVar("trilane_file_limiter")
_POLL_S = 0.001
# How long closing a user's generator may hold up the end of an upload.
_CLOSE_WAIT_S = 1.0


async def run_to_end(
    call: Callable[[], _T], *, discard: Callable[[_T], object] | None = None
) -> _T:
    """Run `call` in a worker thread and come back only when it has ended, even if cancelled.

    anyio shields a thread against its own cancel scopes; `asyncio.Task.cancel` (and so
    `asyncio.timeout` around an upload) breaks through, and is held up here.

    Args:
        call: what to run.
        discard: takes care of a result that the interrupted caller cannot be given.
    """
    job = _Job(call)
    try:
        return await to_thread.run_sync(job.run, limiter=_limiter())
    except BaseException:
        if job.withdraw():
            raise
        await _wait_for_end(job)
        if discard is not None:
            for result in job.results:
                discard(result)
        raise


class Worker:
    """One daemon thread, started when first needed, for calls that may block for ever."""

    def __init__(self) -> None:
        self._token = current_token()
        self._context = copy_context()
        # The thread runs no event loop: a generator in it may well start one.
        self._context.run(current_async_library_cvar.set, None)
        self._queue: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._pending = 0

    @property
    def busy(self) -> bool:
        """Whether a call has not come back yet, an abandoned one included."""
        return self._pending > 0

    async def call(self, call: Callable[[], _T]) -> _T:
        """Run `call` in the thread. Cancelled, it is left alone there and its result is lost."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="trilane source", daemon=True)
            self._thread.start()
        job = _Job(call)
        done = anyio.Event()
        self._pending += 1
        self._queue.put(lambda: self._perform(job, done))
        await done.wait()
        return job.result()

    async def close(self, last: Callable[[], object] | None = None) -> None:
        """End the thread once it is free; run `last` in it first. Idempotent, never raises.

        Waits for `last`, within bounds, unless the thread is still blocked in an earlier call.
        """
        if self._thread is None:
            return
        try:
            if last is not None and self.busy:
                self._queue.put(lambda: _close_quietly(last))
            elif last is not None:
                with anyio.move_on_after(_CLOSE_WAIT_S, shield=True):
                    await self.call(lambda: _close_quietly(last))
        finally:
            self._thread = None
            self._queue.put(None)

    def _run(self) -> None:
        while (step := self._queue.get()) is not None:
            self._context.run(step)

    def _perform(self, job: _Job[_T], done: anyio.Event) -> None:
        job.settle()

        def tell() -> None:
            self._pending -= 1
            done.set()

        try:
            from_thread.run_sync(tell, token=self._token)
        except RuntimeError:
            # The event loop is gone, and with it whoever asked.
            self._pending -= 1


class _Job(Generic[_T]):
    """A call that runs at most once, and what came of it."""

    def __init__(self, call: Callable[[], _T]) -> None:
        self._call = call
        self._claim = threading.Lock()
        self.ended = threading.Event()
        self.results: list[_T] = []
        self._error: BaseException | None = None

    def withdraw(self) -> bool:
        """Keep it from starting; False when it has started already."""
        return self._claim.acquire(blocking=False)

    def settle(self) -> None:
        """Run it, unless withdrawn, and keep the outcome."""
        if not self._claim.acquire(blocking=False):
            return
        try:
            self.results.append(self._call())
        except BaseException as exc:  # noqa: BLE001 -- raised again by `result`
            self._error = exc
        self.ended.set()

    def result(self) -> _T:
        """The outcome of an ended job."""
        if self._error is not None:
            try:
                raise self._error
            finally:
                self._error = None  # breaks the cycle of traceback, frame and job
        return self.results[0]

    def run(self) -> _T:
        """Run it in this thread and give its outcome; a withdrawn job has nobody to give it to."""
        self.settle()
        return self.result()


async def _wait_for_end(job: _Job[_T]) -> None:
    """Wait for a started job; more cancellation meanwhile adds nothing to the one being handled."""
    with anyio.CancelScope(shield=True):
        while not job.ended.is_set():
            try:
                await anyio.sleep(_POLL_S)
            except anyio.get_cancelled_exc_class():
                continue


def _limiter() -> CapacityLimiter:
    try:
        return _file_limiter.get()
    except LookupError:
        limiter = CapacityLimiter(_FILE_THREADS)
        _file_limiter.set(limiter)
        return limiter


def _close_quietly(call: Callable[[], object]) -> None:
    try:
        call()
    except BaseException:  # noqa: BLE001 -- a source that fails to close changes no upload
        _log.debug("closing a body source failed", exc_info=True)
