"""A missing program skips a test, unless the run says that it must not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.peers.process import find_program
from tests.peers.servers import Endpoints
from tests.peers.started import started


@contextmanager
def server_nobody_has() -> Iterator[Endpoints]:
    find_program("no-such-server", "some-package")
    yield from ()


def test_missing_program_skips(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRILANE_REQUIRE_INTEROP", raising=False)
    with pytest.raises(pytest.skip.Exception, match="some-package"):
        next(started(server_nobody_has()))


def test_missing_program_fails_where_interop_is_required(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRILANE_REQUIRE_INTEROP", "1")
    with pytest.raises(pytest.fail.Exception, match="some-package"):
        next(started(server_nobody_has()))
