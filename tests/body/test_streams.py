"""File objects that may block, lie, change or fail: pipes, wrappers, anything with `read`."""

from __future__ import annotations

import gzip
import io
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

from tests.body.reading import open_descriptors, read_all
from trilane.transport.errors import (
    SourceError,
    SourceNotRewindable,
    SourceSizeChanged,
    SourceUnavailable,
    UsageError,
)
from trilane.transport.sources import content_body, source_from

BLOCKED_S = 0.05
"""Long enough to be sure that a call really waits; nothing is expected to happen in this time."""


@pytest.fixture
def pipe() -> Iterator[tuple[io.BufferedReader, io.FileIO]]:
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as source, os.fdopen(writing, "wb", buffering=0) as sink:
        yield source, sink


def source_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "trilane source"]


async def end_of(threads: list[threading.Thread]) -> None:
    for thread in threads:
        await anyio.to_thread.run_sync(thread.join, 5)
        assert not thread.is_alive()
    # What the thread had to tell is on its way to the event loop.
    await anyio.sleep(0.01)


class Growable:
    """A seekable object of which the test decides how much is there."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self._position = 0

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = 0, /) -> int:
        self._position = offset + (len(self.content) if whence == os.SEEK_END else 0)
        return self._position

    def read(self, size: int, /) -> bytes:
        piece = self.content[self._position : self._position + min(size, 1000)]
        self._position += len(piece)
        return piece


async def test_a_pipe_gives_what_it_has_without_waiting_for_more(
    pipe: tuple[io.BufferedReader, io.FileIO],
) -> None:
    source, sink = pipe
    body = await content_body(source)
    reader = await body.open()
    buffer = memoryview(bytearray(1000))

    assert (body.length, body.rewindable) == (None, False)
    for piece in (b"first", b"second"):
        sink.write(piece)
        with anyio.fail_after(5):
            assert bytes(buffer[: await reader.readinto(buffer)]) == piece
    sink.close()
    assert await reader.readinto(buffer) == 0
    await reader.aclose()


async def test_what_the_caller_left_in_a_buffered_pipe_is_sent(
    pipe: tuple[io.BufferedReader, io.FileIO],
) -> None:
    source, sink = pipe
    sink.write(b"head;body")
    sink.close()
    assert source.read(5) == b"head;"

    assert await read_all(await content_body(source)) == b"body"


async def test_a_blocked_pipe_can_be_left_at_once_and_leaves_nothing_open(
    pipe: tuple[io.BufferedReader, io.FileIO],
) -> None:
    source, sink = pipe
    body = await content_body(source)
    before = open_descriptors()
    reader = await body.open()
    with anyio.fail_after(5), anyio.move_on_after(BLOCKED_S) as scope:
        await reader.readinto(memoryview(bytearray(10)))
    with anyio.fail_after(5):
        await reader.aclose()

    assert scope.cancelled_caught
    assert open_descriptors() == before
    with pytest.raises(SourceNotRewindable, match="not come back"):
        await body.open()

    sink.write(b"x")  # the thread, which nobody waits for, comes back and ends
    await end_of(source_threads())
    with pytest.raises(SourceNotRewindable, match="not seekable"):
        await body.open()


async def test_a_thread_blocked_in_a_pipe_cannot_keep_the_program_alive(
    pipe: tuple[io.BufferedReader, io.FileIO],
) -> None:
    reader = await (await source_from(pipe[0])).open()
    with anyio.move_on_after(BLOCKED_S):
        await reader.readinto(memoryview(bytearray(10)))

    blocked = source_threads()
    assert blocked
    assert all(thread.daemon for thread in blocked)
    await reader.aclose()
    pipe[1].close()
    await end_of(blocked)


async def test_a_reader_that_was_cancelled_does_not_go_on_with_a_hole_in_the_body(
    pipe: tuple[io.BufferedReader, io.FileIO],
) -> None:
    source, sink = pipe
    reader = await (await content_body(source)).open()
    with anyio.move_on_after(BLOCKED_S):
        await reader.readinto(memoryview(bytearray(10)))
    sink.write(b"lost")

    with pytest.raises(RuntimeError, match="cancelled"):
        await reader.readinto(memoryview(bytearray(10)))
    await reader.aclose()


async def test_a_pipe_in_non_blocking_mode_is_refused(
    pipe: tuple[io.BufferedReader, io.FileIO],
) -> None:
    os.set_blocking(pipe[0].fileno(), False)

    with pytest.raises(UsageError, match="non-blocking"):
        await source_from(pipe[0])


@pytest.mark.parametrize("change", [-3000, -1, 1, 3000])
@pytest.mark.parametrize("sent", [0, 1, 2999])
async def test_a_seekable_object_that_changes_its_size_is_noticed_before_its_last_byte(
    change: int, sent: int
) -> None:
    file = Growable(b"x" * 3000)
    body = await content_body(file)
    assert body.length == 3000

    reader = await body.open()
    found = 0
    while found < sent:
        found += await reader.readinto(memoryview(bytearray(min(1000, sent - found))))
    if found == 2999:
        # The last chunk was compared when it was read: what comes now is not asked for.
        assert await reader.readinto(memoryview(bytearray(10))) == 1
        await reader.aclose()
        return
    file.content = b"x" * (3000 + change)
    with pytest.raises(SourceSizeChanged) as caught:  # noqa: PT012 -- in whichever step
        while count := await reader.readinto(memoryview(bytearray(10_000))):
            found += count
    await reader.aclose()

    assert found < 3000
    assert caught.value.declared_bytes == 3000
    if change < 0:
        assert caught.value.actual_bytes <= max(3000 + change, 1000)
    else:
        assert 3000 < caught.value.actual_bytes <= 3000 + change


async def test_an_empty_seekable_object_that_grew_is_noticed() -> None:
    file = Growable(b"")
    body = await content_body(file)
    file.content = b"x"

    assert body.length == 0
    with pytest.raises(SourceSizeChanged):
        await read_all(body)


class Broken:
    def __init__(self, answer: object) -> None:
        self._answer = answer

    def read(self, size: int, /) -> bytes:
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer  # type: ignore[return-value]  # the point of the test


@pytest.mark.parametrize(
    ("answer", "error", "explanation"),
    [
        ("text", UsageError, "gave a str"),
        (7, UsageError, "gave int"),
        (None, SourceError, "non-blocking"),
        (OSError(5, "the disk is gone"), SourceError, "the disk is gone"),
        (StopIteration(), SourceError, "cannot read"),
        (KeyError("odd"), SourceError, "odd"),
    ],
)
async def test_objects_that_fail_or_give_no_bytes_are_typed_errors(
    answer: object, error: type[Exception], explanation: str
) -> None:
    body = await content_body(Broken(answer))

    with pytest.raises(error, match=explanation):
        await read_all(body)


async def test_a_damaged_gzip_file_is_a_source_error(tmp_path: Path) -> None:
    path = tmp_path / "x.gz"
    path.write_bytes(gzip.compress(os.urandom(100_000))[:-20])
    with gzip.open(path) as file, pytest.raises(SourceUnavailable, match="ended before"):
        await source_from(file)


async def test_wrappers_for_writing_only_or_closed_are_refused(tmp_path: Path) -> None:
    with gzip.open(tmp_path / "x.gz", "wb") as file, pytest.raises(UsageError, match="reading"):
        await source_from(file)
    with gzip.open(tmp_path / "x.gz", "rb") as file:
        source = await source_from(file)
    with pytest.raises(SourceUnavailable, match="closed"):
        await source_from(file)
    with pytest.raises(SourceError, match="closed"):
        await read_all(source)


class Unseekable(Growable):
    def seek(self, offset: int, whence: int = 0, /) -> int:
        if whence == os.SEEK_SET and self.tell() == 3:
            raise OSError("the tape is torn")
        return super().seek(offset, whence)


async def test_an_object_that_cannot_be_sought_back_after_all_is_a_source_error() -> None:
    body = await content_body(Unseekable(b"abcdef"))
    reader = await body.open()
    assert await reader.readinto(memoryview(bytearray(6))) == 6
    await reader.aclose()
    file = Unseekable(b"abc")
    with pytest.raises(SourceUnavailable, match="torn"):
        await source_from(file)


async def test_the_same_seekable_object_can_be_several_parts() -> None:
    file = Growable(b"twice")
    source = await source_from(file)
    again = await source_from(file)
    first, second = await source.open(), await again.open()
    buffer = memoryview(bytearray(10))

    for reader in (first, second):
        assert bytes(buffer[: await reader.readinto(buffer)]) == b"twice"
        assert await reader.readinto(buffer) == 0
        await reader.aclose()
