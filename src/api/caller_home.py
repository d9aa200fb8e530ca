"""Where a caller lives: the event loop, or the thread, that its callbacks are to run in.

A home takes jobs from any thread. Jobs do not raise: `quiet.py` guards the user's functions.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextvars import copy_context

import sniffio

Job = Callable[[], object]


def running_library() -> str | None:
    """The async library whose event loop runs in this thread; None when there is none."""
    try:
        # Asked first, because trio in guest mode runs inside another library's loop.
        return sniffio.current_async_library()
    except sniffio.AsyncLibraryNotFoundError:
        pass
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return None
    return "asyncio"


def refuse_in_event_loop(instead: str) -> None:
    """Refuse to block a running event loop.

    Raises:
        RuntimeError: an event loop runs in this thread; `instead` says what to do about it.
    """
    library = running_library()
    if library is not None:
        raise RuntimeError(f"this would block the running {library} event loop: {instead}")


class Home(ABC):
    """Runs one caller's jobs in order, in the context (`contextvars`) it was made in."""

    def __init__(self) -> None:
        self._context = copy_context()

    @abstractmethod
    def post(self, job: Job) -> bool:
        """Have a job run soon; False when this home cannot run anything any more."""

    @abstractmethod
    def is_gone(self) -> bool:
        """Whether jobs that were posted may never run."""


class AsyncioHome(Home):
    """The asyncio event loop that runs in this thread."""

    def __init__(self) -> None:
        super().__init__()
        self._loop = asyncio.get_running_loop()

    def post(self, job: Job) -> bool:
        """See `Home.post`."""
        try:
            self._loop.call_soon_threadsafe(job, context=self._context.copy())
        except RuntimeError:  # the loop is closed
            return False
        return True

    def is_gone(self) -> bool:
        """See `Home.is_gone`; nobody knows whether a stopped loop will run again."""
        return not self._loop.is_running()


class TrioHome(Home):
    """The trio run of this thread."""

    def __init__(self) -> None:
        from trio.lowlevel import (  # noqa: PLC0415 - costs 0.1 s, and only trio programs need it
            current_trio_token,
        )

        super().__init__()
        self._token = current_trio_token()

    def post(self, job: Job) -> bool:
        """See `Home.post`."""
        try:
            self._token.run_sync_soon(self._context.copy().run, job)
        except RuntimeError:  # trio.RunFinishedError
            return False
        return True

    def is_gone(self) -> bool:
        """See `Home.is_gone`; trio runs every job it has taken, the last ones when it ends."""
        return False


class ThreadHome(Home):
    """For a caller without an event loop: the thread that `post_to_thread` feeds."""

    def __init__(self, post_to_thread: Callable[[Job], None]) -> None:
        super().__init__()
        self._post_to_thread = post_to_thread

    def post(self, job: Job) -> bool:
        """See `Home.post`."""
        context = self._context.copy()
        self._post_to_thread(lambda: context.run(job))
        return True

    def is_gone(self) -> bool:
        """See `Home.is_gone`; the thread outlives every upload whose callbacks it runs."""
        return False


def current_home(post_to_thread: Callable[[Job], None]) -> Home:
    """The home of whoever calls; `post_to_thread` serves callers without an event loop."""
    library = running_library()
    if library == "trio":
        return TrioHome()
    if library == "asyncio":
        return AsyncioHome()
    return ThreadHome(post_to_thread)
