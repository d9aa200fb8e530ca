from __future__ import annotations

import logging
from functools import partial
from typing import Any

import pytest

from trilane.api.listeners import Event, Listeners
from trilane.transport.errors import UsageError


class Log:
    def __init__(self) -> None:
        self.events: list[Event] = []

    def listen(self, event: Event) -> None:
        self.events.append(event)


async def later(_: Event) -> None:
    raise AssertionError("nobody awaits a listener")


@pytest.mark.parametrize("listener", ["print", None, later, partial(later)])
def test_what_cannot_be_called_to_any_effect_is_refused(listener: Any) -> None:
    with pytest.raises(UsageError):
        Listeners().add(listener)


def test_listeners_are_told_in_order() -> None:
    listeners, order = Listeners(), []
    listeners.add(lambda _: order.append("first"))
    listeners.add(lambda _: order.append("second"))
    listeners.tell({"n": 1})

    assert order == ["first", "second"]


def test_a_bound_method_is_the_same_listener_each_time() -> None:
    listeners, log, other = Listeners(), Log(), Log()
    listeners.add(log.listen)
    listeners.add(other.listen)
    listeners.remove(log.listen)
    listeners.tell({"n": 1})

    assert (log.events, other.events) == ([], [{"n": 1}])


def test_without_an_argument_all_are_removed() -> None:
    listeners, log = Listeners(), Log()
    listeners.add(log.listen)
    listeners.add(log.listen)
    listeners.remove(None)
    listeners.tell({"n": 1})

    assert log.events == []


def test_removing_a_stranger_changes_nothing() -> None:
    listeners, log = Listeners(), Log()
    listeners.add(log.listen)
    listeners.remove(print)
    listeners.tell({"n": 1})

    assert log.events == [{"n": 1}]


def test_a_listener_removed_by_an_earlier_one_is_not_told() -> None:
    listeners, log = Listeners(), Log()
    listeners.add(lambda _: listeners.remove(log.listen))
    listeners.add(log.listen)
    listeners.tell({"n": 1})

    assert log.events == []


def test_a_listener_that_raises_is_logged_and_the_next_is_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    listeners, log = Listeners(), Log()
    listeners.add(lambda _: 1 / 0)
    listeners.add(log.listen)
    with caplog.at_level(logging.ERROR, "trilane"):
        listeners.tell({"n": 1})

    assert log.events == [{"n": 1}]
    assert "ZeroDivisionError" in caplog.text


def test_each_listener_has_an_event_of_its_own() -> None:
    listeners, log = Listeners(), Log()
    listeners.add(lambda event: event.clear())
    listeners.add(log.listen)
    listeners.tell({"n": 1})

    assert log.events == [{"n": 1}]


def test_a_late_listener_can_catch_up_once() -> None:
    listeners, log = Listeners(), Log()
    assert listeners.add(print) is None
    listeners.remove(None)
    listeners.tell({"n": 1})
    listeners.tell({"n": 2})
    catch_up = listeners.add(log.listen)
    assert catch_up is not None
    catch_up()
    catch_up()

    assert log.events == [{"n": 2}]


def test_catching_up_comes_too_late_after_a_newer_event_or_a_removal() -> None:
    listeners, log, gone = Listeners(), Log(), Log()
    listeners.tell({"n": 1})
    catch_up, of_gone = listeners.add(log.listen), listeners.add(gone.listen)
    assert catch_up is not None
    assert of_gone is not None
    listeners.remove(gone.listen)
    listeners.tell({"n": 2})
    catch_up()
    of_gone()

    assert (log.events, gone.events) == ([{"n": 2}], [])
