"""The listeners of one kind of event."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..transport.errors import UsageError
from .quiet import call_quietly, refuse_coroutines

Event = dict[str, Any]
"""A plain object of the original APIs; which keys it has is the dialect's business."""
Listener = Callable[[Event], object]


@dataclass(slots=True, eq=False)
class _Registration:
    listener: Listener
    told: bool = False
    """Whether it has been called."""


class Listeners:
    """Functions to call with each event, in the order they were added."""

    def __init__(self) -> None:
        self._changing = threading.Lock()
        # Replaced, never changed in place: one thread tells while others add and remove.
        self._registrations: tuple[_Registration, ...] = ()
        self._last: Event | None = None

    def add(self, listener: Listener) -> Callable[[], None] | None:
        """Add a function; when events have passed already, return a job that tells it the last.

        Raises:
            UsageError: it cannot be called, or would have to be awaited.
        """
        if not callable(listener):
            raise UsageError(f"a listener is a function, not {type(listener).__name__}")
        refuse_coroutines(listener)
        registration = _Registration(listener)
        with self._changing:
            self._registrations = (*self._registrations, registration)
        return None if self._last is None else lambda: self._catch_up(registration)

    def remove(self, listener: Listener | None) -> None:
        """Remove a function (what compares equal, so bound methods work), or all when None."""
        with self._changing:
            self._registrations = tuple(
                kept
                for kept in self._registrations
                if listener is not None and kept.listener != listener
            )

    def tell(self, event: Event) -> None:
        """Call every function."""
        self._last = event
        for registration in self._registrations:
            if registration in self._registrations:  # an earlier one may have removed it
                self._call(registration, event)

    def _catch_up(self, registration: _Registration) -> None:
        if registration in self._registrations and not registration.told and self._last is not None:
            self._call(registration, self._last)

    def _call(self, registration: _Registration, event: Event) -> None:
        registration.told = True
        call_quietly(registration.listener, dict(event))
