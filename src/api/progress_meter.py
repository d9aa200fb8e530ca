"""From bytes to whole per cent."""

from __future__ import annotations

from dataclasses import dataclass

from ..transport.connections.exchange import Progress


@dataclass(frozen=True, slots=True)
class Percentage:
    """How much of a body has been given to the operating system."""

    percent: int
    """Rounded down, so that 100 means all of it."""
    sent_bytes: int
    total_bytes: int
    """The whole body, multipart overhead included."""


class ProgressMeter:
    """Lets through what changes the percentage: about a hundred events, however large the body.

    The percentage falls only when the body is sent again, after a redirect or on a retry.
    """

    def __init__(self) -> None:
        self._last: Percentage | None = None

    def read(self, progress: Progress) -> Percentage | None:
        """The new percentage, or None when it is the old one or the total is not known."""
        if progress.total is None:
            return None
        percent = 100 * progress.sent // progress.total if progress.total else 100
        last = self._last
        if last is not None and last.percent == percent and last.sent_bytes <= progress.sent:
            return None
        self._last = Percentage(percent, progress.sent, progress.total)
        return self._last
