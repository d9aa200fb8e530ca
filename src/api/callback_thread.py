"""The thread that runs the callbacks of callers that have no event loop."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from queue import Empty, SimpleQueue

from .caller_home import Job
from .quiet import logger


class CallbackThread:
    """Runs jobs one after another, so that callbacks never run at once nor hold up an upload.

    The thread is not a daemon: a program may end only after its callbacks have run.
    """

    def __init__(self) -> None:
        self._jobs: SimpleQueue[Job] = SimpleQueue()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="trilane callbacks", daemon=False)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Let the thread end after the jobs it has."""
        self._jobs.put(self._stop)

    def post(self, job: Job) -> None:
        """Have a job run after those before it."""
        self._jobs.put(job)

    def is_here(self) -> bool:
        """Whether the caller is one of the jobs."""
        return threading.current_thread() is self._thread

    def run_jobs_until(self, done: Callable[[], bool], timeout_s: float | None) -> bool:
        """From within a job: run the jobs behind it until `done`; False when time ran out.

        A callback that waits for another upload needs this, because that upload's own callbacks
        are to run in the very thread that waits. `done` is asked after every job.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while not done():
            try:
                left_s = None if deadline is None else max(0.0, deadline - time.monotonic())
                job = self._jobs.get(timeout=left_s)
            except Empty:
                return False
            _run_job(job)
        return True

    def _run(self) -> None:
        while not self._stopping:
            _run_job(self._jobs.get())

    def _stop(self) -> None:
        self._stopping = True


def _run_job(job: Job) -> None:
    try:
        job()
    except BaseException:  # noqa: BLE001 - SystemExit too: a callback cannot end this thread
        logger.exception("a callback tried to end the thread that runs callbacks")
