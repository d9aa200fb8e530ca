"""However large a body is, memory stays as it is."""

from __future__ import annotations

import tracemalloc
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.body.reading import forbid_inline_reads
from trilane.transport.multipart import Part, multipart_body

MIB = 1024 * 1024
TOTAL = 64 * MIB


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("large") / "large.bin"
    with path.open("wb") as file:
        file.truncate(TOTAL)
    return path


def by_path(path: Path) -> Any:
    return path


def by_file_object(path: Path) -> Any:
    return path.open("rb")


def by_foreign_object(path: Path) -> Any:
    class Wrapper:
        def __init__(self) -> None:
            self._file = path.open("rb")
            self.close = self._file.close

        def read(self, size: int) -> bytes:
            return self._file.read(size)

    return Wrapper()


def by_generator(_: Path) -> Iterator[bytes]:
    return (bytes(MIB // 4) for _number in range(TOTAL * 4 // MIB))


async def by_async_generator(_: Path) -> AsyncIterator[bytes]:
    for _number in range(TOTAL * 4 // MIB):
        yield bytes(MIB // 4)


@pytest.mark.parametrize("threads_only", [False, True])
@pytest.mark.parametrize(
    "make", [by_path, by_file_object, by_foreign_object, by_generator, by_async_generator]
)
async def test_64_mib_need_no_more_memory_than_a_few_steps(
    make: Callable[[Path], Any], path: Path, threads_only: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if threads_only:
        forbid_inline_reads(monkeypatch)
    value = make(path)
    body = await multipart_body({"a": "b"}, [Part("f", value)])
    buffer = memoryview(bytearray(MIB // 4))
    total = 0
    tracemalloc.start()
    try:
        reader = await body.open()
        while count := await reader.readinto(buffer):
            total += count
        await reader.aclose()
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    if hasattr(value, "close"):
        value.close()

    assert total > TOTAL
    assert peak_bytes < MIB
    if make is by_path:
        # The caller's buffer is filled by the kernel: not even one step is allocated.
        assert peak_bytes < MIB // 4
