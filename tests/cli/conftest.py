"""One receiver for all tests of the command line; each asks for what it wants by its URL."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from trilane.api.receiver.address import ReceiverAddress
from trilane.api.receiver.process import running_receiver


@pytest.fixture(scope="module", params=["asyncio", "trio"])
def either_receiver(request: pytest.FixtureRequest) -> Iterator[ReceiverAddress]:
    with running_receiver(trio=request.param == "trio", cleartext=True) as address:
        yield address


@pytest.fixture(scope="session")
def receiver() -> Iterator[ReceiverAddress]:
    with running_receiver(cleartext=True) as address:
        yield address


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.jpg"
    path.write_bytes(bytes(range(256)) * 300)
    return path
