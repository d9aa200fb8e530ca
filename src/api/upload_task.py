"""UploadTask: what `uploadFile` returns, at once awaitable and a task."""

from __future__ import annotations

import os
import threading
from collections.abc import Generator

import anyio
from anyio.lowlevel import checkpoint

from .callback_thread import CallbackThread
from .caller_home import current_home, refuse_in_event_loop
from .delivery import Delivery
from .listeners import Event, Listener, Listeners
from .upload_run import UploadRun


class UploadTask:
    """An upload on its way.

    `await task` (on asyncio and on trio) and `task.result()` (blocking) give what `success` gets,
    or raise the `TransportError` that `fail` tells about; both return after the callbacks. With a
    running event loop listeners and callbacks are called by that loop, from its next turn on; in a
    program without one, by a thread that serves all uploads, one callback after another.

    Cancelling a task that awaits it aborts the upload.
    """

    def __init__(
        self, run: UploadRun, delivery: Delivery, callbacks: CallbackThread, *, catch_up: bool
    ) -> None:
        self._run = run
        self._delivery = delivery
        self._callbacks = callbacks
        self._catch_up = catch_up
        self._pid = os.getpid()

    def abort(self) -> None:
        """Stop the upload: `fail` and `complete` are called with `uploadFile:fail abort`.

        Works before it has begun, too; does nothing once it is over, or a second time.
        """
        self._run.abort()

    def onProgressUpdate(self, listener: Listener) -> None:  # noqa: N802 - the seed's name
        """Have a function called with `{progress, totalBytesSent, totalBytesExpectedToSend}`.

        `progress` is a whole percentage of the body, form fields and multipart framing included,
        and falls only when the body is sent again after a redirect or on a retry. Before `success`
        it always reaches 100: nothing is left to be sent. When the server answered before it had
        everything, `totalBytesSent` is then less than `totalBytesExpectedToSend`. A slow listener
        is told the newest state, not every one.

        In a program without an event loop the upload runs while this is called; a listener that
        is late is told the last event, so that none is missed by losing that race.
        """
        self._add(self._delivery.progress, listener)

    def offProgressUpdate(self, listener: Listener | None = None) -> None:  # noqa: N802 - the seed's
        """Remove a progress listener; all of them without an argument."""
        self._delivery.progress.remove(listener)

    def onHeadersReceived(self, listener: Listener) -> None:  # noqa: N802 - the seed's name
        """Have a function called with `{header}`, before the body of the response has come."""
        self._add(self._delivery.headers, listener)

    def offHeadersReceived(self, listener: Listener | None = None) -> None:  # noqa: N802 - the seed's
        """Remove a headers listener; all of them without an argument."""
        self._delivery.headers.remove(listener)

    def result(self, timeout: float | None = None) -> Event:
        """Wait for the end, blocking, and return what `success` gets.

        Ctrl-C while waiting aborts the upload.

        Args:
            timeout: seconds to wait; the upload goes on when they have passed.

        Raises:
            TransportError: the upload failed, or was aborted.
            TimeoutError: it is not over yet (a `TransportError` may be one, too: see its class).
            RuntimeError: an event loop runs in this thread: `await` the task instead.
        """
        if self._delivery.ending is None and not self._wait(timeout):
            raise TimeoutError(f"the upload is not over after {timeout} s")
        return self._outcome()

    def __await__(self) -> Generator[object, object, Event]:
        return self._wait_async().__await__()

    def _add(self, listeners: Listeners, listener: Listener) -> None:
        catch_up = listeners.add(listener)
        if catch_up is not None and self._catch_up:
            self._delivery.run_at_home(catch_up)

    def _wait(self, timeout_s: float | None) -> bool:
        """Block until the callbacks have run; False when time ran out."""
        self._refuse_in_forked_child()
        inside_callback = self._callbacks.is_here()
        if not inside_callback:
            refuse_in_event_loop("await the task instead")
        settled = threading.Event()
        wake = (lambda: self._callbacks.post(_nothing)) if inside_callback else settled.set
        if not self._delivery.add_waiter(wake):
            return True
        try:
            if inside_callback:
                return self._callbacks.run_jobs_until(self._is_over, timeout_s)
            return settled.wait(timeout_s)
        except BaseException:  # Ctrl-C
            self.abort()
            raise
        finally:
            self._delivery.discard_waiter(wake)

    async def _wait_async(self) -> Event:
        self._refuse_in_forked_child()
        home, settled = current_home(self._callbacks.post), anyio.Event()

        def wake() -> None:
            home.post(settled.set)

        if not self._delivery.add_waiter(wake):
            await checkpoint()
            return self._outcome()
        try:
            await settled.wait()
        except anyio.get_cancelled_exc_class():
            self.abort()
            raise
        finally:
            self._delivery.discard_waiter(wake)
        return self._outcome()

    def _is_over(self) -> bool:
        return self._delivery.ending is not None

    def _outcome(self) -> Event:
        ending = self._delivery.ending
        if ending is None:
            raise RuntimeError("the upload is not over")
        if ending.error is not None:
            raise ending.error
        return ending.payload

    def _refuse_in_forked_child(self) -> None:
        if os.getpid() != self._pid:
            raise RuntimeError("this upload runs in the parent process: only that can wait for it")


class MpxUploadTask(UploadTask):
    """What an mpx program expects: a promise that carries the task as `__returned`."""

    def __getattr__(self, name: str) -> UploadTask:
        # Not a property: inside a class, Python mangles names that begin with two underscores.
        if name == "__returned":
            return self
        raise AttributeError(name)


def _nothing() -> None:
    """Wake the callback thread to look whether what it waits for has happened."""
