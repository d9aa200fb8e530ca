"""Futures whose waiter goes on where they are resolved."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from trilane.transport.net.prompt_future import PromptFuture


class _Waiter:
    """A task that waits for a future, and what has become of it."""

    def __init__(self) -> None:
        self.future = PromptFuture()
        self.told: list[object] = []
        self.task = asyncio.create_task(self._wait())

    async def _wait(self) -> None:
        try:
            self.told.append(await self.future)
        except (RuntimeError, asyncio.CancelledError) as exc:
            self.told.append(type(exc))
            raise


def _run(act: Callable[[_Waiter], object], *, in_task: bool = False) -> tuple[object, object]:
    """What was told when `act` had returned, and what some turns later."""

    async def main() -> tuple[object, object]:
        waiter, at_once = _Waiter(), list[object]()

        def call() -> None:
            act(waiter)
            at_once.extend(waiter.told)

        await asyncio.sleep(0)
        if in_task:
            call()
        else:
            asyncio.get_running_loop().call_soon(call)
        await asyncio.wait([waiter.task])
        waiter.task.cancelled() or waiter.task.exception()
        return at_once, waiter.told

    return asyncio.run(main())


@pytest.mark.parametrize("news", [True, False])
def test_who_waits_has_gone_on_when_it_is_resolved(news: bool) -> None:
    assert _run(lambda waiter: waiter.future.resolve(news)) == ([news], [news])


def test_in_a_task_it_goes_on_a_turn_later() -> None:
    assert _run(lambda waiter: waiter.future.resolve(True), in_task=True) == ([], [True])


@pytest.mark.parametrize(
    ("act", "told"),
    [
        (lambda waiter: waiter.future.set_result(True), True),
        (lambda waiter: waiter.future.set_exception(RuntimeError()), RuntimeError),
        (lambda waiter: waiter.future.cancel(), asyncio.CancelledError),
        (lambda waiter: waiter.task.cancel(), asyncio.CancelledError),
    ],
)
def test_otherwise_it_is_a_future(act: Callable[[_Waiter], object], told: object) -> None:
    assert _run(act) == ([], [told])


def test_others_may_be_told_of_it() -> None:
    async def main() -> None:
        future, told = PromptFuture(), list[object]()

        def forgotten(_: object) -> None:
            told.append("forgotten")

        future.add_done_callback(forgotten)
        future.add_done_callback(told.append)
        assert future.remove_done_callback(forgotten) == 1
        future.resolve(True)
        future.add_done_callback(told.append)
        await asyncio.sleep(0)
        assert told == [future, future]

    asyncio.run(main())
