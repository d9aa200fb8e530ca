"""One task waits, others ring."""

from __future__ import annotations

import anyio
import anyio.lowlevel

from trilane.transport.net.bell import new_bell


async def test_ringing_wakes_who_waits() -> None:
    bell, woken = new_bell(), 0

    async def wait() -> None:
        nonlocal woken
        for _ in range(3):
            assert await bell.wait(anyio.current_time() + 5)
            woken += 1

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait)
        while woken < 3:
            await anyio.lowlevel.checkpoint()
            bell.ring()
            bell.ring()


async def test_a_ring_that_nobody_waits_for_is_not_kept() -> None:
    bell = new_bell()
    bell.ring()
    assert not await bell.wait(anyio.current_time() + 0.001)
    assert not await bell.wait(anyio.current_time() - 1)


async def test_a_cancelled_wait_leaves_nothing_behind() -> None:
    bell = new_bell()
    with anyio.move_on_after(0.001) as scope:
        await bell.wait()
    assert scope.cancelled_caught
    bell.ring()
    assert not await bell.wait(anyio.current_time() + 0.001)
