"""Senders that take bytes from the file itself send the same body, and never a wrong one."""

# ruff: noqa: ASYNC240 -- the tests prepare their files with plain calls

from __future__ import annotations

import itertools
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.body.reading import drain, drain_by_ranges, read_all
from trilane.transport.body import FileRangeReader
from trilane.transport.errors import SourceSizeChanged
from trilane.transport.multipart import Part, multipart_body
from trilane.transport.sources import content_body, read_at, read_now

SIZE = 300_000


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "data.bin"
    path.write_bytes(os.urandom(SIZE))
    return path


@pytest.fixture
def parts(path: Path) -> Iterator[list[Part]]:
    """Files of all sizes, between and after other things."""
    empty, one = path.parent / "empty", path.parent / "one"
    empty.write_bytes(b"")
    one.write_bytes(b"1")
    with path.open("rb") as file:
        file.seek(SIZE - 70_000)
        yield [
            Part("a", path),
            Part("b", b"in memory"),
            Part("c", empty),
            Part("d", one),
            Part("e", file),
            Part("f", path),
        ]


@pytest.mark.parametrize("step_bytes", [50, 4096, 1 << 20])
async def test_ranges_and_readinto_give_the_same_body(parts: list[Part], step_bytes: int) -> None:
    body = await multipart_body({"field": "value"}, parts)
    reader = await body.open()
    try:
        found = await drain_by_ranges(reader, step_bytes=step_bytes)
    finally:
        await reader.aclose()

    assert found == await read_all(body)
    assert len(found) == body.length


async def test_a_body_can_leave_by_sendfile(path: Path) -> None:
    reader = await (await content_body(path)).open()
    near, far = socket.socketpair()
    received = bytearray()

    def receive() -> None:
        while data := far.recv(65536):
            received.extend(data)

    receiver = threading.Thread(target=receive)
    receiver.start()
    assert isinstance(reader, FileRangeReader)
    while wanted := reader.file_range():
        reader.skip(os.sendfile(near.fileno(), wanted.fd, wanted.offset, wanted.length))
    near.sendall(await drain(reader))
    near.close()
    receiver.join()
    far.close()
    await reader.aclose()

    assert bytes(received) == path.read_bytes()


async def test_the_last_byte_of_a_file_is_in_no_range(path: Path) -> None:
    reader = await (await content_body(path)).open()
    wanted = reader.file_range()

    assert wanted is not None
    assert (wanted.offset, wanted.length) == (0, SIZE - 1)
    reader.skip(wanted.length)
    assert reader.file_range() is None
    assert await drain(reader) == path.read_bytes()[-1:]
    assert reader.file_range() is None
    await reader.aclose()


@pytest.mark.parametrize("change_bytes", [-100_000, -1, 1])
async def test_a_file_that_changes_cannot_be_completed_by_ranges_either(
    path: Path, change_bytes: int
) -> None:
    body = await content_body(path)
    reader = await body.open()
    os.truncate(path, SIZE + change_bytes)

    with pytest.raises(SourceSizeChanged) as caught:
        await drain_by_ranges(reader, step_bytes=1 << 20)
    await reader.aclose()
    assert (caught.value.declared_bytes, caught.value.actual_bytes) == (SIZE, SIZE + change_bytes)


async def test_only_bytes_of_the_range_can_be_skipped(path: Path) -> None:
    body = await multipart_body(files=[Part("p", path)])
    reader = await body.open()
    assert reader.file_range() is None
    with pytest.raises(ValueError, match="no file range"):
        reader.skip(1)
    while reader.file_range() is None:
        await reader.readinto(memoryview(bytearray(1)))
    for count in (-1, SIZE):
        with pytest.raises(ValueError, match="not in the current file range"):
            reader.skip(count)
    await reader.aclose()


async def test_a_range_can_be_read_again_until_the_reader_is_closed(path: Path) -> None:
    reader = await (await content_body(path)).open()
    wanted = reader.file_range()
    assert wanted is not None
    await drain(reader)

    parts = [memoryview(bytearray(100)) for _ in range(3)]
    assert await read_at(wanted.fd, parts, 1000) == 300
    assert b"".join(parts) == path.read_bytes()[1000:1300]
    await reader.aclose()
    with pytest.raises(OSError, match="Bad file descriptor"):
        await read_at(wanted.fd, parts, 1000)


def test_reading_now_never_waits_and_never_claims_the_end(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    buffer = memoryview(bytearray(10))

    assert read_now(fd, [buffer], 5) in (10, None)  # None where the file system cannot tell
    assert read_now(fd, [buffer], SIZE) is None
    os.close(fd)
    assert read_now(fd, [buffer], 5) is None


@given(
    contents=st.lists(st.binary(max_size=40), max_size=4),
    steps=st.lists(st.tuples(st.booleans(), st.integers(1, 60)), min_size=1, max_size=9),
)
async def test_any_mix_of_ranges_and_reads_gives_the_same_body(
    contents: list[bytes],
    steps: list[tuple[bool, int]],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("mix")
    paths = [folder / str(number) for number in range(len(contents))]
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(content)
    body = await multipart_body(files=[Part("p", path) for path in paths], boundary="b")
    reader = await body.open()
    found = bytearray()
    for by_range, step_bytes in itertools.cycle(steps):
        wanted = reader.file_range()
        if by_range and wanted:
            piece = os.pread(wanted.fd, min(step_bytes, wanted.length), wanted.offset)
            reader.skip(len(piece))
            found += piece
            continue
        buffer = memoryview(bytearray(step_bytes))
        count = await reader.readinto(buffer)
        if not count:
            break
        found += buffer[:count]
    await reader.aclose()

    assert bytes(found) == await read_all(body)
    assert len(found) == body.length
