"""Fixtures of the interop tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.interop.cases import HugeFile, make_huge_file

GIBIBYTE = 1 << 30


@pytest.fixture(scope="package")
def gibibyte(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HugeFile]:
    huge = make_huge_file(tmp_path_factory.mktemp("huge"), GIBIBYTE)
    yield huge
    huge.path.unlink()
