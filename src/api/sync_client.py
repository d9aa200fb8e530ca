"""Client and `upload`: the blocking faces, for programs without an event loop.

The client's work is done by an event loop in a thread of its own; the calling thread waits, and
runs the callbacks of its call meanwhile.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from contextlib import ExitStack
from queue import SimpleQueue
from types import TracebackType
from typing import Self, Unpack, cast

from anyio.from_thread import BlockingPortal, start_blocking_portal

from ..transport.connections.exchange import Progress
from ..transport.errors import ClientClosed, UsageError
from ..transport.sources import FileInput
from .caller_home import Job, refuse_in_event_loop
from .calls import CallOptions, UploadOptions
from .client import AsyncClient
from .client_options import ClientOptions, ConnectOptions
from .quiet import quiet
from .response import Response


class OneShotOptions(ConnectOptions, UploadOptions, total=False):
    """What `upload` may be given by keyword: a client's options and an upload's."""


class Client:
    """The blocking `AsyncClient`; use it as `with Client() as client`.

    Any number of threads may share one. Ctrl-C stops the call it interrupts. The callbacks of a
    call run in the thread that makes it.

    Args:
        options: those of `AsyncClient`.

    Raises:
        UsageError: an option has a value it cannot have.
        RuntimeError: an event loop runs in this thread: use `AsyncClient`.
    """

    def __init__(self, **options: Unpack[ClientOptions]) -> None:
        self._client = AsyncClient(**options)
        self._stack: ExitStack | None = None
        self._portal: BlockingPortal | None = None

    def __enter__(self) -> Self:
        refuse_in_event_loop("use `async with trilane.AsyncClient()`")
        if self._stack is not None:
            raise UsageError("a Client is entered once: make a new one")
        with ExitStack() as stack:
            portal = stack.enter_context(start_blocking_portal("asyncio", name="trilane client"))
            stack.enter_context(portal.wrap_async_context_manager(self._client))
            self._stack = stack.pop_all()
            self._portal = portal
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._stack is not None:
            self._stack.__exit__(kind, error, trace)

    def upload(
        self, url: str, file: FileInput | None = None, **options: Unpack[UploadOptions]
    ) -> Response:
        """`AsyncClient.upload`, blocking."""
        calling = _Calling()
        calling.take_over(options)
        return self._wait(calling, lambda: self._client.upload(url, file, **options))

    def request(
        self,
        method: str,
        url: str,
        *,
        content: FileInput | None = None,
        **options: Unpack[CallOptions],
    ) -> Response:
        """`AsyncClient.request`, blocking."""
        calling = _Calling()
        calling.take_over(options)
        return self._wait(
            calling, lambda: self._client.request(method, url, content=content, **options)
        )

    def _wait(self, calling: _Calling, start: Callable[[], Awaitable[Response]]) -> Response:
        refuse_in_event_loop("await the methods of `trilane.AsyncClient`")
        if self._portal is None:
            raise UsageError("the client is not running: use it inside `with`")
        try:
            future = self._portal.start_task_soon(calling.carry, start)
        except RuntimeError as exc:  # the portal has stopped
            raise ClientClosed("the client was closed") from exc
        return calling.wait(future)


def upload(url: str, file: FileInput | None = None, **options: Unpack[OneShotOptions]) -> Response:
    """Upload once, blocking, with a client of its own.

    Args:
        url: where to; http or https.
        file: as for `AsyncClient.upload`.
        options: those of `AsyncClient` and of its `upload`.

    Raises:
        TransportError: no response came.
        RuntimeError: an event loop runs in this thread: await `AsyncClient.upload`.
    """
    given, mine = dict(options), ConnectOptions.__optional_keys__
    connect = cast("ConnectOptions", {key: given[key] for key in given.keys() & mine})
    rest = cast("UploadOptions", {key: given[key] for key in given.keys() - mine})
    with Client(**connect) as client:
        return client.upload(url, file, **rest)


class _Calling:
    """One blocking call: its callbacks come to the calling thread, which waits here."""

    def __init__(self) -> None:
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        """None: the call is over."""
        self._progress: Progress | None = None
        self._progress_posted = False

    def take_over(self, options: CallOptions) -> None:
        """Redirect the callbacks in `options`, which is this call's own dictionary."""
        on_progress = quiet(options.get("on_progress"))
        if on_progress is not None:
            options["on_progress"] = lambda progress: self._report(on_progress, progress)
        on_headers = quiet(options.get("on_headers"))
        if on_headers is not None:
            options["on_headers"] = lambda head: self._jobs.put(lambda: on_headers(head))

    async def carry(self, start: Callable[[], Awaitable[Response]]) -> Response:
        """In the event loop: make the call, and say when nothing of it is left."""
        try:
            return await start()
        finally:
            self._jobs.put(None)

    def wait(self, future: Future[Response]) -> Response:
        """In the calling thread: run callbacks until the call is over."""
        try:
            while (job := self._jobs.get()) is not None:
                job()
        except BaseException:  # Ctrl-C: stop the call, and wait until nothing of it is left
            future.cancel()
            while self._jobs.get() is not None:
                pass
            raise
        return future.result()

    def _report(self, callback: Callable[[Progress], None], progress: Progress) -> None:
        # A slow callback is not flooded: it gets the newest progress each time it is ready.
        self._progress = progress
        if not self._progress_posted:
            self._progress_posted = True
            self._jobs.put(lambda: self._tell(callback))

    def _tell(self, callback: Callable[[Progress], None]) -> None:
        self._progress_posted = False
        progress, self._progress = self._progress, None
        if progress is not None:
            callback(progress)
