"""Iterators and iterables of bytes as sources: their length is not known in advance.

A synchronous one may block, so it runs in a thread of its own; an asynchronous one runs in the
task that reads. An iterator is used up by its first pass, an iterable can be iterated again. A
generator that a pass began and did not finish is closed with the pass, as nobody else would do it.
"""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Generator,
    Iterable,
    Iterator,
)

import anyio

from ..buffers import Buffer
from ..errors import SourceError, SourceNotRewindable, SourceSizeChanged
from .chunks import END, ChunkReader
from .source import Source
from .threads import Worker

_log = logging.getLogger(__name__)
# How long closing a user's asynchronous generator may hold up the end of an upload.
_CLOSE_WAIT_S = 1.0


class IterationSource(Source):
    """What synchronous and asynchronous iterables have in common."""

    def __init__(self, name: str, *, one_shot: bool) -> None:
        self._name = name
        self._one_shot = one_shot
        self._seen_bytes: int | None = None

    @property
    def length(self) -> None:
        """Never known."""
        return

    @property
    def rewindable(self) -> bool:
        """Whether it can be iterated again."""
        return not self._one_shot

    async def open(self) -> IterationReader:
        """Begin a pass; a one-shot iterator may be opened again until a chunk was asked for."""
        if self._one_shot and self._seen_bytes is not None:
            raise SourceNotRewindable(
                f"the body must be sent again, but {self._name} was already used up: give a path,"
                " bytes or a list of bytes instead"
            )
        return self._reader()

    def record(self, total: int, *, ended: bool) -> None:
        """Remember how many bytes a pass has given so far.

        Raises:
            SourceSizeChanged: it ended before the point that an earlier pass had reached, as an
                iterable does that is an iterator in disguise.
        """
        seen = self._seen_bytes or 0
        if ended and total < seen:
            raise SourceSizeChanged(
                f"{self._name} gave only {total} bytes when it was iterated again, after at least"
                f" {seen} the first time",
                declared_bytes=seen,
                actual_bytes=total,
            )
        self._seen_bytes = max(seen, total)

    @abstractmethod
    def _reader(self) -> IterationReader: ...


class IterableSource(IterationSource):
    """A synchronous iterable of bytes-like objects, run in a thread."""

    def __init__(self, iterable: Iterable[Buffer]) -> None:
        super().__init__(_describe(iterable), one_shot=isinstance(iterable, Iterator))
        self._iterable = iterable

    def _reader(self) -> IterationReader:
        return _SyncReader(self, self._name, self._iterable)


class AsyncIterableSource(IterationSource):
    """An asynchronous iterable of bytes-like objects."""

    def __init__(self, iterable: AsyncIterable[Buffer]) -> None:
        # A file object's iterator goes on from wherever the file is: it cannot be had again.
        one_shot = isinstance(iterable, AsyncIterator) or hasattr(iterable, "read")
        super().__init__(_describe(iterable), one_shot=one_shot)
        self._iterable = iterable

    def _reader(self) -> IterationReader:
        return _AsyncReader(self, self._name, self._iterable)


class IterationReader(ChunkReader):
    """One pass over an iterable."""

    def __init__(self, source: IterationSource, name: str) -> None:
        super().__init__(name)
        self._source = source
        self._total = 0

    async def pull(self) -> object:
        """The next chunk, or `END`."""
        self._source.record(self._total, ended=False)
        try:
            chunk = await self.next_chunk()
        except Exception as exc:
            raise SourceError(f"{self._name} failed: {exc!r}") from exc
        if chunk is END:
            self._source.record(self._total, ended=True)
        return chunk

    async def readinto(self, buffer: memoryview) -> int:
        """Copy the rest of the last chunk, or else wait for the next one."""
        count = await super().readinto(buffer)
        self._total += count
        return count

    @abstractmethod
    async def next_chunk(self) -> object:
        """What the iterator gives next, or `END`."""


class _SyncReader(IterationReader):
    def __init__(self, source: IterationSource, name: str, iterable: Iterable[Buffer]) -> None:
        super().__init__(source, name)
        self._iterable = iterable
        self._iterator: Iterator[Buffer] | None = None
        self._worker = Worker()

    async def next_chunk(self) -> object:
        return await self._worker.call(self._next)

    async def aclose(self) -> None:
        await self._worker.close(None if self.ended else self._close)

    def _next(self) -> object:
        if self._iterator is None:
            self._iterator = iter(self._iterable)
        return next(self._iterator, END)

    def _close(self) -> None:
        if isinstance(self._iterator, Generator):
            self._iterator.close()


class _AsyncReader(IterationReader):
    def __init__(self, source: IterationSource, name: str, iterable: AsyncIterable[Buffer]) -> None:
        super().__init__(source, name)
        self._iterable = iterable
        self._iterator: AsyncIterator[Buffer] | None = None

    async def next_chunk(self) -> object:
        if self._iterator is None:
            self._iterator = aiter(self._iterable)
        try:
            return await self._iterator.__anext__()
        except StopAsyncIteration:
            return END

    async def aclose(self) -> None:
        iterator, self._iterator = self._iterator, None
        if self.ended or not isinstance(iterator, AsyncGenerator):
            return
        with anyio.move_on_after(_CLOSE_WAIT_S, shield=True):
            try:
                await iterator.aclose()
            except Exception:  # noqa: BLE001 -- a source that fails to close changes no upload
                _log.debug("closing a body source failed", exc_info=True)


def _describe(iterable: object) -> str:
    kind = type(iterable).__name__.replace("_", " ")
    return f"the {kind} {getattr(iterable, '__name__', '')}".rstrip()
