"""The caller's own functions, called so that what they raise is logged and breaks nothing."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable
from typing import TypeVar

from ..transport.errors import UsageError

logger = logging.getLogger("trilane")

Payload = TypeVar("Payload")


def call_quietly(callback: Callable[[Payload], object], payload: Payload) -> None:
    """Call it now; an exception is logged with its traceback and goes no further."""
    try:
        callback(payload)
    except Exception:
        logger.exception("a callback raised: %r", callback)


def refuse_coroutines(callback: object) -> None:
    """Refuse what would silently do nothing: a callback is called, and nobody awaits it.

    Raises:
        UsageError: it is a coroutine function.
    """
    if inspect.iscoroutinefunction(callback):
        raise UsageError(f"a callback is a plain function, which {callback!r} is not: it is async")


def quiet(
    callback: Callable[[Payload], object] | None,
) -> Callable[[Payload], None] | None:
    """A callback that can be handed to the engine, which forbids it to raise.

    Raises:
        UsageError: it is a coroutine function.
    """
    if callback is None:
        return None
    refuse_coroutines(callback)

    def guarded(payload: Payload) -> None:
        call_quietly(callback, payload)

    return guarded
