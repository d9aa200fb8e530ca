"""The way from a server to a fixture, with what happens when its program is missing."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from typing import TypeVar

import pytest

from tests.peers.process import ProgramMissing

T = TypeVar("T")


def started(server: AbstractContextManager[T]) -> Iterator[T]:
    """Run a server; without its program, skip what needs it, or fail where that is not allowed."""
    with ExitStack() as stack:
        try:
            endpoints = stack.enter_context(server)
        except ProgramMissing as exc:
            if os.environ.get("TRILANE_REQUIRE_INTEROP") == "1":
                pytest.fail(str(exc))
            pytest.skip(str(exc))
        yield endpoints
