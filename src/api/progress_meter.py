"""From bytes to whole per cent."""

from __future__ import annotations

from dataclasses import dataclass

from ..transport.connections.exchange import Progress


@dataclass(frozen=True, slots=True)
class Percentage:
    """How much of a body has been given to the operating system."""

    percent: int
    """Rounded down, so that 100 means that nothing is left to be sent: all of it was, or the peer
    answered before it had all."""
    sent_bytes: int
    total_bytes: int
    """The whole body, multipart overhead included."""


class ProgressMeter:
    """Lets through what changes the percentage: about a hundred events, however large the body.

    The percentage falls only when the body is sent again, after a redirect or on a retry. An upload
    that got its response ends with 100, also when the peer wanted no more of the body; how much it
    was given is in `sent_bytes`.
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

    def finish(self, sent_bytes: int, total_bytes: int) -> Percentage | None:
        """The last event of an upload that got its response; None when 100 was the last already."""
        if self._last is not None and self._last.percent == 100:
            return None
        self._last = Percentage(100, sent_bytes, total_bytes)
        return self._last
