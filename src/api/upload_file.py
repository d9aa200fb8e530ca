"""uploadFile: the seed's function, for programs with and without an event loop."""

from __future__ import annotations

from collections.abc import Mapping

from ..transport.errors import UsageError
from .caller_home import ThreadHome, current_home
from .delivery import Delivery
from .dialects import dialect_named
from .owned_loop import reserve_loop
from .upload_plan import UploadPlan, check_keys, read_callbacks, read_plan
from .upload_run import UploadRun
from .upload_task import MpxUploadTask, UploadTask


def uploadFile(  # noqa: N802 - the seed's name
    options: Mapping[str, object] | None = None, /, **more: object
) -> UploadTask:
    """Upload a file as `multipart/form-data`; returns at once.

    Any HTTP status is a success. The call can be made from a plain program, on asyncio and on trio;
    a program ends only when its uploads have.

    Args:
        options: the options, as a mapping; it is read once and never changed.
        more: options as keyword arguments, beside the mapping or instead of it.

            - `url`, `filePath`, `name` (of the form field): required.
            - `header`, `formData`: mappings; form values are str, bool, int or float.
            - `timeout`: milliseconds for everything, default 60000.
            - `enableProfile` (default True), `enableHttp2`, `enableQuic` (default False).
            - `success(res)`, `fail(error)`, `complete(either)`.
            - `verify`, `cert`, `proxy`, `protocol`: as for `AsyncClient`.
            - `fileName`, `fileType`: file name and content type of the file's part.
            - `dialect`: `wx` (default), `mpx` or `alipay`.
            - `useHighPerformanceMode` (default True): whether bulk senders may carry the body.
            - `resolver`, `resolve`: as for `AsyncClient`; `enableHttpDNS`: whether a `resolver`
              that is the URL of a name server is used (default True).

    Raises:
        UsageError: an unknown option or dialect, or a callback that cannot be called. Every other
            mistake is told through `fail` and by waiting for the task.
    """
    if not isinstance(options, Mapping | None):
        raise UsageError(f"uploadFile takes a mapping, not {type(options).__name__}")
    given = {**(options or {}), **more}
    dialect = dialect_named(given.get("dialect"))
    check_keys(given, dialect.known_options())
    seed_options = dialect.seed_options(given)
    callbacks = read_callbacks(seed_options)
    plan: UploadPlan | UsageError
    try:
        plan = read_plan(seed_options)
    except UsageError as error:
        plan = error
    loop = reserve_loop()
    try:
        fallback = ThreadHome(loop.callbacks.post)
        home = current_home(loop.callbacks.post)
        delivery = Delivery(home, fallback, callbacks)
        run = UploadRun(plan, dialect, delivery)
        kind = MpxUploadTask if given.get("dialect") == "mpx" else UploadTask
        task = kind(run, delivery, loop.callbacks, catch_up=isinstance(home, ThreadHome))
    except BaseException:
        loop.release()
        raise
    loop.submit(run)
    return task
