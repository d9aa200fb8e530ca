from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from trilane.api.progress_meter import Percentage, ProgressMeter
from trilane.transport.connections.exchange import Progress


def read(meter: ProgressMeter, sent: int, total: int | None) -> Percentage | None:
    return meter.read(Progress(sent=sent, total=total, acked=None))


def test_only_whole_per_cent_are_told() -> None:
    meter = ProgressMeter()
    told = [at for sent in range(0, 10_001, 7) if (at := read(meter, sent, 10_000))]

    assert [at.percent for at in told] == list(range(100))


def test_hundred_means_all_of_it() -> None:
    meter = ProgressMeter()

    assert read(meter, 9_999, 10_000) == Percentage(99, 9_999, 10_000)
    assert read(meter, 10_000, 10_000) == Percentage(100, 10_000, 10_000)
    assert read(meter, 10_000, 10_000) is None


def test_an_empty_body_is_complete() -> None:
    assert read(ProgressMeter(), 0, 0) == Percentage(100, 0, 0)


def test_sending_again_begins_anew() -> None:
    meter = ProgressMeter()
    read(meter, 100, 100)

    assert read(meter, 3, 100) == Percentage(3, 3, 100)


def test_the_end_is_told_once() -> None:
    meter = ProgressMeter()
    read(meter, 40, 100)

    # The peer had answered and wanted no more.
    assert meter.finish(45, 100) == Percentage(100, 45, 100)
    assert meter.finish(45, 100) is None


def test_the_end_is_not_told_again_when_all_was_sent() -> None:
    meter = ProgressMeter()
    read(meter, 100, 100)

    assert meter.finish(100, 100) is None


def test_without_a_total_there_is_no_percentage() -> None:
    assert read(ProgressMeter(), 5, None) is None


@given(st.lists(st.integers(0, 1000)), st.integers(1, 1000))
def test_never_more_events_than_per_cent_and_restarts(steps: list[int], total: int) -> None:
    meter = ProgressMeter()
    sent = sorted(min(step, total) for step in steps)
    told = [at for step in sent if (at := read(meter, step, total))]

    assert [at.percent for at in told] == sorted({100 * step // total for step in sent})
