"""What is no source of bytes is refused with an explanation, as early as it shows."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.body.reading import read_all
from trilane.transport.errors import UsageError
from trilane.transport.sources import content_body, source_from


def generator_of_text() -> Iterator[str]:
    yield "text"


async def async_generator_of_text() -> AsyncIterator[str]:
    yield "text"


class AsyncRead:
    async def read(self, size: int) -> bytes:
        return b"" * size


@pytest.mark.parametrize(
    ("value", "explanation"),
    [
        (io.StringIO("text"), "binary mode"),
        (["text"], "gave a str"),
        ([1, 2], "gave int"),
        ({"a": b"b"}, "expected a path"),
        (None, "not NoneType"),
        (7, "not int"),
        (generator_of_text, "not function"),
        (AsyncRead(), "async iterator"),
        (memoryview(b"abcd")[::2], "not contiguous"),
    ],
)
async def test_what_is_no_source_is_refused_with_an_explanation(
    value: Any, explanation: str
) -> None:
    with pytest.raises(UsageError, match=explanation):
        await source_from(value)


async def test_text_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"text")
    with path.open() as file, pytest.raises(UsageError, match="'rb'"):
        await source_from(file)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "value", [generator_of_text, async_generator_of_text, lambda: iter([None]), lambda: iter([1])]
)
async def test_iterators_of_anything_but_bytes_are_refused_when_they_show_it(value: Any) -> None:
    source = await source_from(value())

    with pytest.raises(UsageError, match="gave"):
        await read_all(source)


async def test_a_str_as_content_could_be_text_or_a_path_and_is_refused() -> None:
    with pytest.raises(UsageError, match="encode it"):
        await content_body("/etc/hostname")
