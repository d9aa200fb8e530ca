"""Blocking calls: waited for to their end, or left alone, whatever cancels the caller."""

from __future__ import annotations

import asyncio
import threading

import anyio
import pytest

from trilane.transport.sources.threads import Worker, run_to_end

BLOCKED_S = 0.05
"""Long enough to be sure that a call really waits; nothing is expected to happen in this time."""


async def test_a_call_is_waited_for_although_its_caller_is_cancelled() -> None:
    release = threading.Event()
    results: list[bool] = []

    async def caller() -> None:
        results.append(await run_to_end(lambda: release.wait(5)))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(caller)
        await anyio.sleep(BLOCKED_S)
        tasks.cancel_scope.cancel()
        release.set()

    # anyio gives the result first and the cancellation at the next checkpoint.
    assert results == [True]


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("cancellations", [1, 3])
async def test_a_call_is_waited_for_although_asyncio_cancels_its_task(cancellations: int) -> None:
    release, ended = threading.Event(), threading.Event()
    discarded: list[str] = []

    def call() -> str:
        release.wait(5)
        ended.set()
        return "a descriptor"

    task = asyncio.create_task(run_to_end(call, discard=discarded.append))
    await asyncio.sleep(BLOCKED_S)
    for _ in range(cancellations):
        task.cancel()
        await asyncio.sleep(0.01)
    assert not task.done()
    release.set()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert ended.is_set()
    assert discarded == ["a descriptor"]


async def test_a_call_whose_caller_is_cancelled_already_does_not_start() -> None:
    calls: list[int] = []
    with anyio.CancelScope() as scope:
        scope.cancel()
        await run_to_end(lambda: calls.append(1))

    assert scope.cancelled_caught
    assert calls == []


async def test_what_a_call_raises_is_raised() -> None:
    def call() -> None:
        raise LookupError("this one")

    with pytest.raises(LookupError, match="this one"):
        await run_to_end(call)
    worker = Worker()
    with pytest.raises(LookupError, match="this one"):
        await worker.call(call)
    await worker.close()


async def test_many_calls_at_once_use_few_threads() -> None:
    running, most = 0, 0
    lock = threading.Lock()
    proceed = threading.Event()

    def call() -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        proceed.wait(5)
        with lock:
            running -= 1

    async with anyio.create_task_group() as tasks:
        for _ in range(100):
            tasks.start_soon(run_to_end, call)
        await anyio.sleep(BLOCKED_S)
        proceed.set()

    assert 1 <= most <= 16


async def test_files_can_be_read_while_the_application_has_used_up_anyios_threads() -> None:
    release = threading.Event()
    limiter = anyio.to_thread.current_default_thread_limiter()
    async with anyio.create_task_group() as tasks:
        for _ in range(int(limiter.total_tokens)):
            tasks.start_soon(anyio.to_thread.run_sync, release.wait, 10)
        await anyio.sleep(BLOCKED_S)
        assert limiter.available_tokens == 0
        with anyio.fail_after(5):
            assert await run_to_end(lambda: "read") == "read"
        release.set()


async def test_a_worker_starts_no_thread_before_it_is_needed_and_keeps_none() -> None:
    before = threading.active_count()
    worker = Worker()
    await worker.close()
    assert threading.active_count() == before

    thread = await worker.call(threading.current_thread)
    assert thread is await worker.call(threading.current_thread)
    assert not worker.busy
    await worker.close()
    await anyio.to_thread.run_sync(thread.join, 5)

    assert not thread.is_alive()
