"""Timed tests: begun anew when something else may have kept the machine busy meanwhile.

What is wrong stays wrong, and fails every time.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from typing import ParamSpec

_TRIES = 3

P = ParamSpec("P")


def timed(test: Callable[P, None]) -> Callable[P, None]:
    """Let a test be tried three times; the last failure is the test's."""

    @wraps(test)
    def attempt(*args: P.args, **kwargs: P.kwargs) -> None:
        for _ in range(_TRIES - 1):
            with suppress(AssertionError):
                test(*args, **kwargs)
                return
        test(*args, **kwargs)

    return attempt
