"""The turn that other tasks get."""

from __future__ import annotations

import anyio
import pytest

from trilane.transport.net.loop_turn import loop_turn


async def test_others_have_their_turn() -> None:
    ran = False

    async def other() -> None:
        nonlocal ran
        ran = True

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(other)
        await loop_turn()
        await loop_turn()  # trio shuffles those whose turn it is
        assert ran


async def test_it_can_be_cancelled() -> None:
    with anyio.CancelScope() as scope:
        scope.cancel()
        await loop_turn()
        pytest.fail("it went on")
    assert scope.cancelled_caught
