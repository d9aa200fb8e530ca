"""The caller's own functions, called so that what they raise is logged and breaks nothing."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

logger = logging.getLogger("trilane")

Payload = TypeVar("Payload")


def call_quietly(callback: Callable[[Payload], object], payload: Payload) -> None:
    """Call it now; an exception is logged with its traceback and goes no further."""
    try:
        callback(payload)
    except Exception:
        logger.exception("a callback raised: %r", callback)


def quiet(
    callback: Callable[[Payload], object] | None,
) -> Callable[[Payload], None] | None:
    """A callback that can be handed to the engine, which forbids it to raise."""
    if callback is None:
        return None

    def guarded(payload: Payload) -> None:
        call_quietly(callback, payload)

    return guarded
