"""A progress bar on one line of a terminal: what was sent, and what is known to have arrived."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from typing import TextIO

from ...transport.connections.exchange import Progress
from ...transport.profile.waterfall import size_text

_INTERVAL_S = 0.1
_MIN_BAR_CELLS = 10


class ProgressBar:
    """Draws at most ten times a second; `erase` leaves the line as it was.

    Args:
        stream: the terminal.
        clock: seconds that only grow.
        columns: width of the terminal; asked for when None.
    """

    def __init__(
        self,
        stream: TextIO,
        clock: Callable[[], float] = time.monotonic,
        columns: int | None = None,
    ) -> None:
        self._stream = stream
        self._clock = clock
        self._columns = columns or shutil.get_terminal_size().columns
        self._started_s = clock()
        self._due_s = self._started_s
        self._drawn_cells = 0

    def update(self, progress: Progress) -> None:
        """Show how far the body is."""
        now = self._clock()
        if now < self._due_s and progress.sent != progress.total:
            return
        self._due_s = now + _INTERVAL_S
        self._draw(progress_line(progress, now - self._started_s, self._columns - 1))

    def erase(self) -> None:
        """Make room for what comes after."""
        if self._drawn_cells:
            self._draw("")
            self._stream.write("\r")
            self._stream.flush()

    def _draw(self, line: str) -> None:
        self._stream.write("\r" + line.ljust(self._drawn_cells))
        self._stream.flush()
        self._drawn_cells = len(line)


def progress_line(progress: Progress, elapsed_s: float, columns: int) -> str:
    """One line of at most `columns` cells."""
    facts = size_text(progress.sent)
    if progress.total is not None:
        share = progress.sent / progress.total if progress.total else 1.0
        facts = f"{int(share * 100):3} %  {facts} of {size_text(progress.total)}"
    if progress.acked is not None:
        facts += f", {size_text(progress.acked)} acknowledged"
    if elapsed_s > 0:
        facts += f", {size_text(progress.sent / elapsed_s)}/s"
    cells = columns - len(facts) - 3
    if progress.total is None or cells < _MIN_BAR_CELLS:
        return facts[:columns]
    return f"[{_cells(progress, progress.total, cells)}] {facts}"


def _cells(progress: Progress, total: int, cells: int) -> str:
    """`=` for what was acknowledged, `-` for what is on its way."""
    sent = cells * progress.sent // total if total else cells
    acked = sent if progress.acked is None or not total else cells * progress.acked // total
    return ("=" * acked + "-" * (sent - acked)).ljust(cells)
