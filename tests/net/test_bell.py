"""One task waits, others ring."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import anyio
import anyio.lowlevel
import pytest

from trilane.transport.net.bell import Bell, new_bell


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


@pytest.mark.parametrize(
    ("ring", "in_task", "woken"),
    [
        (lambda bell: bell.ring_last(), False, True),
        (lambda bell: bell.ring_last(), True, False),
        (lambda bell: bell.ring(), False, False),
    ],
    ids=["in a callback", "in a task", "not the last thing"],
)
def test_on_asyncio_who_waits_goes_on_at_once_in_a_callback_that_ends(
    ring: Callable[[Bell], None], *, in_task: bool, woken: bool
) -> None:
    async def main() -> None:
        bell, told = new_bell(), list[bool]()

        async def wait() -> None:
            told.append(await bell.wait())

        def act() -> None:
            ring(bell)
            assert told == [True] * woken

        waiter = asyncio.create_task(wait())
        await asyncio.sleep(0)
        if in_task:
            act()
        else:
            asyncio.get_running_loop().call_soon(act)
        await waiter
        assert told == [True]

    asyncio.run(main())


async def test_ringing_at_last_wakes_who_waits() -> None:
    bell, woken = new_bell(), False

    async def wait() -> None:
        nonlocal woken
        woken = await bell.wait(anyio.current_time() + 5)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait)
        while not woken:
            await anyio.lowlevel.checkpoint()
            bell.ring_last()
            bell.ring_last()
