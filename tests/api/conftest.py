from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.api.receiver import PHOTO, Receiver, running_receiver


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with running_receiver() as running:
        yield running


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.jpg"
    path.write_bytes(PHOTO)
    return path
