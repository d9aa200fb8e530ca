"""The progress bar: what it says, how often, and that it never wraps a line."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trilane.api.cli.progress_bar import ProgressBar, progress_line
from trilane.transport.connections.exchange import Progress

MIB = 1024 * 1024


def test_line_tells_sent_and_acknowledged_apart() -> None:
    line = progress_line(Progress(sent=8 * MIB, total=16 * MIB, acked=4 * MIB), 2.0, 100)
    assert line.endswith("]  50 %  8.0 MiB of 16.0 MiB, 4.0 MiB acknowledged, 4.0 MiB/s")
    bar = line[1 : line.index("]")]
    assert bar.count("=") == pytest.approx(len(bar) / 4, abs=1)
    assert bar.count("-") == pytest.approx(len(bar) / 4, abs=1)


def test_without_a_length_there_is_no_bar() -> None:
    line = progress_line(Progress(sent=MIB, total=None, acked=None), 1.0, 80)
    assert line == "1.0 MiB, 1.0 MiB/s"


@given(
    total=st.none() | st.integers(0, 1 << 40),
    share=st.floats(0, 1),
    acked_share=st.none() | st.floats(0, 1),
    columns=st.integers(1, 200),
)
def test_it_fits_its_line(
    total: int | None, share: float, acked_share: float | None, columns: int
) -> None:
    sent = int((total or 0) * share)
    acked = None if acked_share is None else int(sent * acked_share)
    assert len(progress_line(Progress(sent, total, acked), 1.0, columns)) <= columns


def test_it_draws_at_most_ten_times_a_second_but_always_the_end() -> None:
    times = iter([0.0, 0.0, 0.05, 0.09, 0.11, 0.12])
    stream = io.StringIO()
    bar = ProgressBar(stream, clock=lambda: next(times), columns=80)
    for sent in (0, 1, 2, 3, 4):
        bar.update(Progress(sent=sent, total=4, acked=None))
    assert [row.split("%")[0][-4:] for row in stream.getvalue().split("\r")[1:]] == [
        "  0 ",
        " 75 ",
        "100 ",
    ]


def test_erasing_leaves_an_empty_line() -> None:
    stream = io.StringIO()
    bar = ProgressBar(stream, columns=60)
    bar.erase()
    assert stream.getvalue() == ""
    bar.update(Progress(sent=1, total=1, acked=None))
    bar.erase()
    drawn, blank, end = stream.getvalue().split("\r")[1:]
    assert blank == " " * len(drawn)
    assert end == ""
