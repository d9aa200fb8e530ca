"""The mailbox, with a home that runs its jobs when the test says so."""

from __future__ import annotations

from collections import deque

import pytest

from trilane.api.caller_home import Home, Job
from trilane.api.delivery import Callbacks, Delivery, Ending
from trilane.api.listeners import Event, Listener
from trilane.transport.errors import Aborted


class FakeHome(Home):
    def __init__(self) -> None:
        super().__init__()
        self.jobs: deque[Job] = deque()
        self.closed = False
        self.stopped = False

    def post(self, job: Job) -> bool:
        if not self.closed:
            self.jobs.append(job)
        return not self.closed

    def is_gone(self) -> bool:
        return self.closed or self.stopped

    def run(self) -> None:
        while self.jobs:
            self.jobs.popleft()()


class Scene:
    """A delivery whose every call is written down."""

    def __init__(self) -> None:
        self.home, self.fallback = FakeHome(), FakeHome()
        self.log: list[tuple[str, Event]] = []
        self.delivery = Delivery(
            self.home,
            self.fallback,
            Callbacks(
                success=self.note("success"), fail=self.note("fail"), complete=self.note("complete")
            ),
        )
        self.delivery.progress.add(self.note("progress"))
        self.delivery.headers.add(self.note("headers"))
        assert self.delivery.add_waiter(lambda: self.log.append(("woken", {})))

    def note(self, name: str) -> Listener:
        return lambda event: self.log.append((name, event))

    def names(self) -> list[str]:
        return [name for name, _ in self.log]


GOOD = Ending(payload={"statusCode": 200})
BAD = Ending(payload={"errMsg": "uploadFile:fail abort"}, error=Aborted("x"))


@pytest.mark.parametrize(("ending", "first"), [(GOOD, "success"), (BAD, "fail")])
def test_order(ending: Ending, first: str) -> None:
    scene = Scene()
    scene.delivery.report_progress({"progress": 100})
    scene.delivery.report_headers({"header": {}})
    scene.delivery.report_ending(ending)
    assert scene.log == []
    scene.home.run()

    assert scene.names() == ["progress", "headers", first, "complete", "woken"]
    assert dict(scene.log)[first] is dict(scene.log)["complete"]


def test_a_slow_home_gets_the_newest_progress_in_one_job() -> None:
    scene = Scene()
    for percent in range(101):
        scene.delivery.report_progress({"progress": percent})
    assert len(scene.home.jobs) == 1
    scene.home.run()

    assert scene.log == [("progress", {"progress": 100})]


def test_the_ending_is_known_to_the_callbacks_and_then_to_all() -> None:
    scene, seen = Scene(), list[Ending | None]()
    delivery = scene.delivery = Delivery(
        scene.home, scene.fallback, Callbacks(success=lambda _: seen.append(delivery.ending))
    )
    delivery.report_ending(GOOD)
    seen.append(delivery.ending)
    scene.home.run()
    seen.append(delivery.ending)

    assert seen == [None, GOOD, GOOD]
    assert not delivery.add_waiter(print)


def test_callbacks_that_raise_break_nothing(caplog: pytest.LogCaptureFixture) -> None:
    scene = Scene()
    delivery = Delivery(
        scene.home,
        scene.fallback,
        Callbacks(success=lambda _: 1 / 0, complete=scene.note("complete")),
    )
    delivery.add_waiter(lambda: scene.log.append(("woken", {})))
    delivery.report_ending(GOOD)
    scene.home.run()

    assert scene.names() == ["complete", "woken"]
    assert "ZeroDivisionError" in caplog.text


def test_a_callback_that_ends_the_program_still_settles() -> None:
    scene = Scene()

    def leave(_: Event) -> None:
        raise SystemExit(3)

    delivery = Delivery(scene.home, scene.fallback, Callbacks(success=leave))
    delivery.add_waiter(lambda: scene.log.append(("woken", {})))
    delivery.report_ending(GOOD)
    with pytest.raises(SystemExit):
        scene.home.run()

    assert scene.names() == ["woken"]


def test_a_closed_home_is_left_for_the_fallback() -> None:
    scene = Scene()
    scene.home.closed = True
    scene.delivery.report_ending(GOOD)
    scene.fallback.run()

    assert scene.names() == ["success", "complete", "woken"]


def test_what_a_stopped_home_never_ran_is_rescued_once() -> None:
    scene = Scene()
    scene.delivery.report_progress({"progress": 100})
    scene.delivery.report_ending(GOOD)
    scene.delivery.rescue()
    assert not scene.fallback.jobs
    scene.home.stopped = True
    scene.delivery.rescue()
    scene.fallback.run()
    scene.home.run()
    scene.delivery.rescue()
    scene.fallback.run()

    assert scene.names() == ["progress", "success", "complete", "woken"]


def test_a_waiter_that_has_gone_is_not_woken() -> None:
    scene = Scene()
    woken: list[str] = []

    def wake() -> None:
        woken.append("x")

    scene.delivery.add_waiter(wake)
    scene.delivery.discard_waiter(wake)
    scene.delivery.report_ending(GOOD)
    scene.home.run()
    scene.delivery.discard_waiter(wake)

    assert woken == []


def test_a_listener_that_runs_the_home_itself_gets_everything_behind_it() -> None:
    """That is what waiting for the result inside a callback comes to."""
    scene = Scene()
    scene.delivery.progress.add(lambda _: scene.home.run())
    scene.delivery.report_progress({"progress": 100})
    scene.delivery.report_headers({"header": {}})
    scene.delivery.report_ending(GOOD)
    scene.home.jobs.popleft()()

    assert scene.names() == ["progress", "headers", "success", "complete", "woken"]
    assert not scene.home.jobs
