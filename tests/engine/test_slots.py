"""The parallel slots: order, cancellation, and when a slot was handed over."""

from __future__ import annotations

from itertools import count

import anyio

from trilane.transport.slots import Slots


async def test_slots_are_handed_on_in_order_and_the_moment_is_the_handover() -> None:
    clock = count(1)
    slots = Slots(1, lambda: next(clock))
    taken: list[tuple[str, int]] = []

    async def take(name: str) -> None:
        taken.append((name, await slots.take()))

    assert slots.take_nowait()
    assert not slots.take_nowait()
    async with anyio.create_task_group() as tasks:
        for name in "abc":
            tasks.start_soon(take, name)
            await anyio.wait_all_tasks_blocked()
        slots.give_back()
        slots.give_back()
        slots.give_back()

    assert sorted(taken) == [("a", 1), ("b", 2), ("c", 3)]
    slots.give_back()
    assert slots.take_nowait()


async def test_who_gives_up_leaves_the_queue() -> None:
    slots = Slots(1, lambda: 0)
    slots.take_nowait()
    with anyio.move_on_after(0.01):
        await slots.take()

    slots.give_back()
    assert slots.take_nowait()


async def test_a_slot_handed_to_a_cancelled_request_goes_on_to_the_next() -> None:
    slots = Slots(1, lambda: 7)
    slots.take_nowait()
    scope = anyio.CancelScope()
    later: list[int] = []

    async def first() -> None:
        with scope:
            await slots.take()
            # Whether the handover or the cancellation comes first is the backend's choice.
            slots.give_back()

    async def second() -> None:
        later.append(await slots.take())

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(first)
        await anyio.wait_all_tasks_blocked()
        tasks.start_soon(second)
        await anyio.wait_all_tasks_blocked()
        slots.give_back()
        scope.cancel()

    assert later == [7]
