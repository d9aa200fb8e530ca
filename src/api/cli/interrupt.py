"""Ctrl-C as a cancellation, alike on asyncio and trio."""

from __future__ import annotations

import signal
from collections.abc import Awaitable, Callable

import anyio
from anyio.abc import TaskStatus

from .status import Status


async def interruptible(work: Callable[[], Awaitable[Status]]) -> Status:
    """Run `work`; on SIGINT cancel it and return `Status.INTERRUPTED`.

    Where SIGINT is ignored (a background job of a script) it stays ignored. A second SIGINT, while
    the cancelled work is still cleaning up, is a KeyboardInterrupt.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        return await work()
    status, failure = Status.INTERRUPTED, None
    async with anyio.create_task_group() as tasks:
        await tasks.start(_cancel_on_interrupt, tasks.cancel_scope)
        try:
            status = await work()
        except Exception as exc:  # noqa: BLE001 - raised below, outside of the task group's wrapping
            failure = exc
        tasks.cancel_scope.cancel()
    if failure is not None:
        raise failure
    return status


async def _cancel_on_interrupt(scope: anyio.CancelScope, *, task_status: TaskStatus[None]) -> None:
    with anyio.open_signal_receiver(signal.SIGINT) as signals:
        task_status.started()
        async for _ in signals:
            scope.cancel()
            return
