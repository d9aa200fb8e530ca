"""One timer of the event loop for many waits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from math import inf

import pytest

from trilane.transport.net.loop_timer import LoopTimer


class _Loop(asyncio.AbstractEventLoop):
    """An event loop's timers, on a clock of its own."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.made = 0
        self._handles: list[asyncio.TimerHandle] = []

    def call_at(  # type: ignore[override]  # without a context
        self, when: float, callback: Callable[[], object]
    ) -> asyncio.TimerHandle:
        self.made += 1
        handle = asyncio.TimerHandle(when, callback, [], self)
        self._handles.append(handle)
        return handle

    def get_debug(self) -> bool:
        return False

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        self._handles.remove(handle)

    def advance(self, to_s: float) -> None:
        while due := [handle for handle in self._handles if handle.when() <= to_s]:
            first = min(due, key=asyncio.TimerHandle.when)
            self._handles.remove(first)
            self.now_s = first.when()
            first._run()
        self.now_s = to_s


@pytest.fixture(name="loop")
def _loop() -> _Loop:
    return _Loop()  # type: ignore[abstract]  # what is missing is not asked for


def _timer(loop: _Loop) -> tuple[LoopTimer, list[float]]:
    calls: list[float] = []
    return LoopTimer(loop, lambda: calls.append(loop.now_s)), calls


@pytest.mark.parametrize("times", [[3.0], [1.0, 3.0], [5.0, 3.0], [1.0, 2.0, 3.0], [inf, 3.0]])
def test_the_last_time_that_was_set_is_the_one(loop: _Loop, times: list[float]) -> None:
    timer, calls = _timer(loop)
    for time_s in times:
        timer.set(time_s)
    loop.advance(10)
    assert calls == [3.0]


@pytest.mark.parametrize("give_up", [LoopTimer.rest, LoopTimer.close, lambda timer: timer.set(inf)])
def test_what_was_given_up_does_not_come(loop: _Loop, give_up: Callable[[LoopTimer], None]) -> None:
    timer, calls = _timer(loop)
    timer.set(3.0)
    give_up(timer)
    loop.advance(4)
    assert calls == []
    timer.set(5.0)
    loop.advance(6)
    assert calls == [5.0]


def test_many_short_waits_take_few_timers(loop: _Loop) -> None:
    timer, calls = _timer(loop)
    for number in range(1000):
        loop.advance(number / 1000)
        timer.set(loop.now_s + 0.1)
        timer.rest()
    assert calls == []
    assert loop.made <= 11
