"""Iterators of bytes: where they run, how they end, and who cleans up."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.body.reading import open_descriptors, read_all
from trilane.transport.errors import SourceError, SourceNotRewindable, SourceSizeChanged
from trilane.transport.sources import content_body, source_from

BLOCKED_S = 0.05
"""Long enough to be sure that a call really waits; nothing is expected to happen in this time."""


async def test_a_generator_runs_in_one_thread_with_the_callers_context() -> None:
    variable: ContextVar[str] = ContextVar("variable")
    variable.set("of the caller")
    threads: set[int] = set()

    def generator() -> Iterator[bytes]:
        for _ in range(3):
            threads.add(threading.get_ident())
            yield variable.get().encode()

    assert await read_all(await content_body(generator())) == b"of the caller" * 3
    assert len(threads) == 1
    assert threading.get_ident() not in threads


async def test_a_generator_may_run_an_event_loop_of_its_own() -> None:
    def generator() -> Iterator[bytes]:
        yield anyio.run(answer)

    async def answer() -> bytes:
        await anyio.lowlevel.checkpoint()
        return b"answer"

    assert await read_all(await content_body(generator())) == b"answer"


async def test_a_blocked_generator_is_left_at_once_and_closed_when_it_comes_back(
    tmp_path: Path,
) -> None:
    release, closed = threading.Event(), threading.Event()
    path = await anyio.Path(tmp_path / "file").resolve()
    await path.write_bytes(b"x")

    def generator() -> Iterator[bytes]:
        try:
            with Path(path).open("rb") as file:
                release.wait()
                yield file.read()
                yield b"never asked for"
        finally:
            closed.set()

    body = await content_body(generator())
    before = open_descriptors()
    reader = await body.open()
    with anyio.fail_after(5):
        with anyio.move_on_after(BLOCKED_S):
            await reader.readinto(memoryview(bytearray(10)))
        with anyio.fail_after(5):
            await reader.aclose()
    assert not closed.is_set()

    release.set()
    assert await anyio.to_thread.run_sync(closed.wait, 5)
    assert open_descriptors() == before


@pytest.mark.parametrize("cancelled", [False, True])
async def test_a_generator_that_is_not_finished_is_closed_with_the_pass(cancelled: bool) -> None:
    events: list[str] = []

    def generator() -> Iterator[bytes]:
        try:
            yield b"x"
            yield b"y"
        finally:
            events.append("closed")

    reader = await (await content_body(generator())).open()
    assert await reader.readinto(memoryview(bytearray(1))) == 1
    with anyio.CancelScope() as scope:
        if cancelled:
            scope.cancel()
        await reader.aclose()
    await reader.aclose()

    assert events == ["closed"]


@pytest.mark.parametrize("cancelled", [False, True])
async def test_an_async_generator_that_is_not_finished_is_closed_with_the_pass(
    cancelled: bool,
) -> None:
    events: list[str] = []

    async def generator() -> AsyncIterator[bytes]:
        try:
            yield b"x"
            yield b"y"
        finally:
            await anyio.lowlevel.checkpoint()
            events.append("closed")

    reader = await (await content_body(generator())).open()
    assert await reader.readinto(memoryview(bytearray(1))) == 1
    with anyio.CancelScope() as scope:
        if cancelled:
            scope.cancel()
        await reader.aclose()
    await reader.aclose()

    assert events == ["closed"]


async def test_cleaning_up_may_fail_without_hiding_what_happened() -> None:
    def generator() -> Iterator[bytes]:
        try:
            yield b"x"
        finally:
            raise ValueError("cannot clean up")

    async def async_generator() -> AsyncIterator[bytes]:
        try:
            yield b"x"
        finally:
            raise ValueError("cannot clean up")

    for value in (generator(), async_generator()):
        reader = await (await content_body(value)).open()
        assert await reader.readinto(memoryview(bytearray(1))) == 1
        await reader.aclose()


async def test_an_async_generator_that_hangs_in_its_cleanup_holds_up_the_end_for_a_bounded_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("trilane.transport.sources.iterators._CLOSE_WAIT_S", 0.01)

    async def generator() -> AsyncIterator[bytes]:
        try:
            yield b"x"
        finally:
            await anyio.sleep_forever()

    reader = await (await content_body(generator())).open()
    assert await reader.readinto(memoryview(bytearray(1))) == 1
    with anyio.fail_after(5):
        await reader.aclose()


async def test_cancelling_reaches_an_async_generator() -> None:
    events: list[str] = []

    async def generator() -> AsyncIterator[bytes]:
        try:
            await anyio.sleep_forever()
        finally:
            events.append("closed")
        yield b"never"

    body = await content_body(generator())
    reader = await body.open()
    with anyio.move_on_after(BLOCKED_S):
        await reader.readinto(memoryview(bytearray(10)))
    await reader.aclose()

    assert events == ["closed"]
    with pytest.raises(SourceNotRewindable):
        await body.open()


def failing() -> Iterator[bytes]:
    yield b"x"
    raise LookupError("no more of it")


async def async_failing() -> AsyncIterator[bytes]:
    yield b"x"
    raise LookupError("no more of it")


@pytest.mark.parametrize("make", [failing, async_failing])
async def test_an_iterator_that_raises_is_a_source_error_with_its_cause(
    make: Callable[[], Any],
) -> None:
    body = await content_body(make())

    with pytest.raises(SourceError, match="no more of it") as caught:
        await read_all(body)
    assert isinstance(caught.value.__cause__, LookupError)


async def test_endless_empty_chunks_can_be_cancelled() -> None:
    async def generator() -> AsyncIterator[bytes]:
        while True:
            yield b""

    reader = await (await content_body(generator())).open()
    with anyio.fail_after(5), anyio.move_on_after(BLOCKED_S) as scope:
        await reader.readinto(memoryview(bytearray(10)))
    await reader.aclose()

    assert scope.cancelled_caught


class Disguised:
    """Iterable again and again, but from one iterator underneath, as progress bars are."""

    def __init__(self) -> None:
        self._iterator = iter([b"first", b"second", b"third"])

    def __iter__(self) -> Iterator[bytes]:
        yield from self._iterator


async def test_an_iterable_that_gives_less_the_second_time_is_noticed() -> None:
    source = await source_from(Disguised())
    reader = await source.open()
    for _ in range(2):
        await reader.readinto(memoryview(bytearray(10)))
    await reader.readinto(memoryview(bytearray(10)))
    await reader.aclose()

    assert source.rewindable
    with pytest.raises(SourceSizeChanged, match="iterated again") as caught:
        await read_all(source)
    assert caught.value.declared_bytes > caught.value.actual_bytes


async def test_an_async_file_is_iterated_once(tmp_path: Path) -> None:
    path = anyio.Path(tmp_path / "file")
    await path.write_bytes(b"line 1\nline 2")
    async with await path.open("rb") as file:
        source = await source_from(file)

        assert (source.length, source.rewindable) == (None, False)
        assert await read_all(source) == b"line 1\nline 2"
        with pytest.raises(SourceNotRewindable):
            await source.open()


async def test_a_thread_that_outlives_its_event_loop_ends_quietly(anyio_backend: str) -> None:
    release, started = threading.Event(), threading.Event()
    threads: list[threading.Thread] = []

    def generator() -> Iterator[bytes]:
        threads.append(threading.current_thread())
        started.set()
        release.wait()
        yield b"too late"

    async def leave_blocked() -> None:
        reader = await (await content_body(generator())).open()
        with anyio.move_on_after(BLOCKED_S):
            await reader.readinto(memoryview(bytearray(10)))
        await reader.aclose()

    def run_short_loop() -> None:
        anyio.run(leave_blocked, backend=anyio_backend)

    runner = threading.Thread(target=run_short_loop)
    runner.start()
    await anyio.to_thread.run_sync(runner.join)
    assert started.is_set()
    release.set()
    await anyio.to_thread.run_sync(threads[0].join, 5)

    assert not threads[0].is_alive()


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_cancelling_a_task_the_asyncio_way_closes_the_generator_too() -> None:
    release, closed = threading.Event(), threading.Event()

    def generator() -> Iterator[bytes]:
        try:
            release.wait()
            yield b"x"
        finally:
            closed.set()

    async def read() -> None:
        body = await content_body(generator())
        await read_all(body)

    task = asyncio.create_task(read())
    await asyncio.sleep(BLOCKED_S)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    release.set()

    assert await anyio.to_thread.run_sync(closed.wait, 5)
