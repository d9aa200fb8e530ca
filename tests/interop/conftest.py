"""Fixtures of the interop tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache

import pytest

from tests.interop.cases import HugeFile, make_huge_file
from tests.interop.targets import Reception, Target
from tests.peers.servers import Endpoints


@pytest.fixture
def reception(request: pytest.FixtureRequest, target: Target) -> Reception:
    """What the test's target receives; tests are parametrized by target."""
    endpoints: Endpoints = request.getfixturevalue(target.server)
    return Reception(target, endpoints)


@pytest.fixture(scope="package")
def huge_file(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[int], HugeFile]]:
    """Huge files by size, each written once and removed in the end."""
    made: list[HugeFile] = []

    @cache
    def make(size: int) -> HugeFile:
        made.append(make_huge_file(tmp_path_factory.mktemp("huge"), size))
        return made[-1]

    yield make
    for huge in made:
        huge.path.unlink()
