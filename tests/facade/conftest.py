"""What the tests of the whole facade share: the built-in receiver and its three protocols."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from tests.peers.servers import Endpoints

PROTOCOLS = ("http/1.1", "h2", "h3")


@pytest.fixture(params=PROTOCOLS, ids=["h1", "h2", "h3"])
def protocol(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def options(receiver: Endpoints, protocol: str, tmp_path: Path) -> Mapping[str, Any]:
    """An upload of a small file to the receiver, by exactly one protocol."""
    path = tmp_path / "photo.jpg"
    path.write_bytes(bytes(range(256)) * 16)
    return MappingProxyType(
        {
            "url": receiver.url("https"),
            "filePath": str(path),
            "name": "picture",
            "verify": str(receiver.ca),
            "protocol": protocol,
        }
    )
