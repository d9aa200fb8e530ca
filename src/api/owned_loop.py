"""The one event loop of a process in which every `uploadFile` is carried out.

It begins with the first upload and lives as long as the program. A small daemon thread waits for
the main thread to end and then tells the loop, which finishes the uploads that are still running,
callbacks included, and ends; so a script of nothing but callbacks works, and an idle loop does not
hold up the exit. After a fork the child begins with a loop of its own.

CPython 3.12.0 and 3.12.1 refuse new threads as soon as the main thread has ended
(python/cpython#113964); there, an upload that begins so late fails with what they say.
"""

from __future__ import annotations

import os
import threading
from collections import deque

import anyio

from ..transport.errors import ClientClosed
from .callback_thread import CallbackThread
from .caller_home import AsyncioHome
from .client_shelf import ClientShelf
from .quiet import logger
from .upload_run import UploadRun


def reserve_loop() -> OwnedLoop:
    """The loop of this process, begun if need be, with a place reserved for one upload.

    Raises:
        RuntimeError: the interpreter is too far in its shutdown to begin one.
    """
    return _process.reserve_loop()


class OwnedLoop:
    """An event loop in a thread of its own, and the thread for callbacks beside it.

    It is made with a place reserved, for the upload it is made for.
    """

    def __init__(self) -> None:
        self.callbacks = CallbackThread()
        self._changed = threading.Condition()
        self._reserved = 1
        """Uploads that are to be started, or have been and are not over."""
        self._program_ended = False
        self._closed = False
        self._inbox: deque[UploadRun] = deque()
        self._runs: set[UploadRun] = set()
        """Uploads that were submitted and are not over."""
        self._here: AsyncioHome | None = None
        self._news: anyio.Event | None = None
        # No daemons: the interpreter is to wait for them.
        self._thread = threading.Thread(target=self._run, name="trilane uploads", daemon=False)
        self._watcher = threading.Thread(
            target=self._watch_main_thread, name="trilane exit watcher", daemon=True
        )

    def start(self) -> None:
        """Start the threads.

        Raises:
            RuntimeError: the interpreter is too far in its shutdown for new threads.
        """
        self._watcher.start()
        self.callbacks.start()
        try:
            self._thread.start()
        except BaseException:
            self.callbacks.stop()
            raise

    def reserve(self) -> bool:
        """Promise to `submit` or `release` one upload; False when the loop is ending."""
        with self._changed:
            if not self._closed:
                self._reserved += 1
            return not self._closed

    def release(self) -> None:
        """Take a promise back, or say that an upload is over."""
        with self._changed:
            self._reserved -= 1
            self._changed.notify_all()
        self._tell()

    def submit(self, run: UploadRun) -> None:
        """Start the upload a place was reserved for."""
        with self._changed:
            self._runs.add(run)
            self._inbox.append(run)
            self._changed.notify_all()
        self._tell()

    def _run(self) -> None:
        reason: BaseException | None = None
        try:
            anyio.run(self._main, backend="asyncio")
        except BaseException as error:  # noqa: BLE001 - nothing may leave a caller without answer
            logger.exception("the event loop of uploadFile broke down")
            reason = error
        self._fail_the_rest(reason)
        self.callbacks.stop()

    async def _main(self) -> None:
        self._here = AsyncioHome()
        async with anyio.create_task_group() as tasks:
            shelf = ClientShelf(tasks)
            while not self._is_over():
                # Replaced before looking, so that nothing told meanwhile is missed.
                self._news = news = anyio.Event()
                while self._inbox:
                    tasks.start_soon(self._carry, self._inbox.popleft(), shelf)
                await news.wait()
            shelf.close()

    async def _carry(self, run: UploadRun, shelf: ClientShelf) -> None:
        await run.run(shelf)
        with self._changed:
            self._runs.discard(run)
        self.release()

    def _is_over(self) -> bool:
        with self._changed:
            self._closed = self._program_ended and not self._reserved
            return self._closed

    def _tell(self) -> None:
        if self._here is not None:
            self._here.post(self._look)

    def _look(self) -> None:
        if self._news is not None:
            self._news.set()

    def _watch_main_thread(self) -> None:
        threading.main_thread().join()
        self._program_ended = True
        self._tell()

    def _fail_the_rest(self, reason: BaseException | None) -> None:
        """End what a broken-down loop has left, what is being submitted to it included."""
        lost = ClientClosed("the event loop of uploadFile broke down")
        lost.__cause__ = reason
        with self._changed:
            self._closed = True
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._runs or not self._reserved)
                if not self._reserved:
                    return
                runs, self._runs = self._runs, set()
            for run in runs:
                run.fail(lost)
                self.release()


class _Process:
    """Which loop this process has."""

    def __init__(self) -> None:
        self._choosing = threading.Lock()
        self._loop: OwnedLoop | None = None

    def reserve_loop(self) -> OwnedLoop:
        with self._choosing:
            if self._loop is None or not self._loop.reserve():
                loop = OwnedLoop()
                loop.start()
                self._loop = loop
            return self._loop

    def forget(self) -> None:
        """In a forked child: neither the threads nor the holder of the lock are there."""
        self._choosing = threading.Lock()
        self._loop = None


_process = _Process()
os.register_at_fork(after_in_child=_process.forget)
