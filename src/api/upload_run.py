"""One upload of `uploadFile` on its way: carried out, watched, aborted, brought to an end."""

from __future__ import annotations

import threading
from collections.abc import Callable

import anyio
from anyio.lowlevel import checkpoint

from ..transport.connections.exchange import Progress
from ..transport.errors import Aborted, TransportError
from ..transport.message import ResponseHead
from ..transport.profile.profile import fold
from ..transport.profile.recorder import Recorder
from .caller_home import AsyncioHome
from .calls import CallDefaults, upload_call
from .client_shelf import ClientShelf
from .delivery import Delivery, Ending
from .dialects import Dialect
from .progress_meter import Percentage, ProgressMeter
from .quiet import logger
from .response import Response
from .upload_plan import UploadPlan

#: How often an upload that has ended looks whether its caller's event loop is still there to run
#: the callbacks.
HOME_CHECK_S = 0.05


class UploadRun:
    """The engine's side of one task; runs in the uploads' own event loop."""

    def __init__(
        self, plan: UploadPlan | TransportError, dialect: Dialect, delivery: Delivery
    ) -> None:
        self._plan = plan
        self._dialect = dialect
        self._delivery = delivery
        self._recorder = Recorder()
        self._meter = ProgressMeter()
        self._lock = threading.Lock()
        self._aborted = False
        self._over = False
        self._cancel: Callable[[], object] | None = None

    def abort(self) -> None:
        """Stop the upload, from any thread; without effect once it is over, or a second time."""
        with self._lock:
            if self._over:
                return
            self._aborted = True
            cancel = self._cancel
        if cancel is not None:
            cancel()

    async def run(self, shelf: ClientShelf) -> None:
        """Carry it out, and return when its callbacks have run."""
        self._end(await self._carry_out(shelf))
        await self._see_delivered()

    def fail(self, error: BaseException) -> None:
        """End it without its having run."""
        self._end(self._failure(error))

    async def _carry_out(self, shelf: ClientShelf) -> Ending:
        with anyio.CancelScope() as scope:
            self._begin(scope)
            try:
                await checkpoint()
                return self._success(await self._upload(shelf))
            except TransportError as error:
                return self._failure(error)
            except Exception as error:  # noqa: BLE001 - a caller is never left without answer
                logger.exception("an upload failed for a reason trilane does not know")
                return self._failure(error)
        return self._failure(Aborted("the upload was aborted"))

    def _begin(self, scope: anyio.CancelScope) -> None:
        here = AsyncioHome()
        with self._lock:
            self._cancel = lambda: here.post(scope.cancel)
            if self._aborted:
                scope.cancel()

    async def _upload(self, shelf: ClientShelf) -> Response:
        plan = self._plan
        if isinstance(plan, TransportError):
            raise plan
        options = plan.options.copy()
        options["on_progress"] = self._on_progress
        options["on_headers"] = self._on_headers
        call = await upload_call(plan.url, plan.file, options, CallDefaults())
        async with shelf.client(plan.connect) as client:
            response = await client.send(call, self._recorder, profile=options["profile"])
        self._finish_progress()
        return response

    def _on_progress(self, progress: Progress) -> None:
        self._report_progress(self._meter.read(progress))

    def _finish_progress(self) -> None:
        # A redirect may have turned it into a GET: the last request that had the body counts.
        for leg in reversed(self._recorder.legs):
            if leg.body_bytes is not None:
                self._report_progress(self._meter.finish(leg.body_sent_bytes, leg.body_bytes))
                return

    def _report_progress(self, at: Percentage | None) -> None:
        if at is not None:
            self._delivery.report_progress(self._dialect.progress(at))

    def _on_headers(self, head: ResponseHead) -> None:
        self._delivery.report_headers({"header": dict(head.headers)})

    def _success(self, response: Response) -> Ending:
        return Ending(payload=self._dialect.success(response))

    def _failure(self, error: BaseException) -> Ending:
        if isinstance(error, TransportError) and error.profile is None:
            self._recorder.failed = self._recorder.now()
            error.profile = profile = fold(self._recorder)
            if profile.legs:
                error.bytes_sent = profile.body_sent_bytes
                error.bytes_acked = profile.body_acked_bytes
        return Ending(payload=self._dialect.failure(error), error=error)

    def _end(self, ending: Ending) -> None:
        with self._lock:
            if self._over:
                return
            self._over = True
        # An abort that came before this counts, even if the response was faster.
        if self._aborted and not isinstance(ending.error, Aborted):
            ending = self._failure(Aborted("the upload was aborted"))
        self._delivery.report_ending(ending)

    async def _see_delivered(self) -> None:
        here, settled = AsyncioHome(), anyio.Event()
        if not self._delivery.add_waiter(lambda: here.post(settled.set)):
            return
        while not settled.is_set():
            with anyio.move_on_after(HOME_CHECK_S):
                await settled.wait()
            self._delivery.rescue()
