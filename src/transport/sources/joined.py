"""Sources one after the other as one request body."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from ..body import FileRange
from ..buffers import Buffer
from ..errors import UsageError
from .choose import source_from
from .source import FileInput, Source, SourceReader


async def content_body(content: FileInput) -> JoinedBody:
    """A body made of one source alone, for `content=`.

    Raises:
        UsageError: it is a str (text or path? the caller must say which), or no source at all.
        SourceUnavailable: the file is missing, unreadable or not a regular file.
    """
    if isinstance(content, str):
        raise UsageError(
            "content is a str: encode it to send text, or give a pathlib.Path to send a file"
        )
    return JoinedBody((await source_from(content),))


class JoinedBody:
    """A request body made of sources in a row."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self._sources = sources
        self.length = sources[0].length if len(sources) == 1 else _sum_of_lengths(sources)
        """Sum of all lengths; None when one source cannot tell its own."""

    @property
    def rewindable(self) -> bool:
        """Whether every source can be opened a second time."""
        return all(source.rewindable for source in self._sources)

    def in_memory(self) -> Sequence[Buffer] | None:
        """The pieces of every source, if all are in memory."""
        if len(self._sources) == 1:
            return self._sources[0].in_memory()
        joined: list[Buffer] = []
        for source in self._sources:
            pieces = source.in_memory()
            if pieces is None:
                return None
            joined += pieces
        return joined

    async def open(self) -> JoinedReader:
        """Open every source, so that a file that is gone is noticed before anything is sent."""
        readers: list[SourceReader] = []
        try:
            for source in self._sources:
                readers.append(await source.open())  # noqa: PERF401 - what is open is to be closed
        except BaseException:
            await _close_all(readers)
            raise
        return JoinedReader(readers)


class JoinedReader:
    """One pass over sources in a row; owns their readers."""

    def __init__(self, readers: list[SourceReader]) -> None:
        self._readers = readers
        self._index = 0
        self._closed = False

    async def readinto(self, buffer: memoryview) -> int:
        """Fill `buffer` across sources, as far as no slow one must be waited for."""
        if not buffer.nbytes:
            raise ValueError("the buffer is empty: 0 would not mean the end of the body")
        if self._closed:
            raise RuntimeError("the body reader is closed: 0 would not mean the end of the body")
        filled = 0
        while filled < buffer.nbytes and (reader := self._current()) is not None:
            if filled and not reader.at_hand:
                break
            filled += await reader.readinto(buffer[filled:])
        return filled

    def file_range(self) -> FileRange | None:
        """Where the next bytes are, when they come from a regular file."""
        reader = None if self._closed else self._current()
        return None if reader is None else reader.file_range()

    def skip(self, count: int) -> None:
        """Pass over bytes of `file_range`."""
        reader = None if self._closed else self._current()
        if reader is None:
            raise ValueError(f"there are no {count} bytes to skip")
        reader.skip(count)

    async def aclose(self) -> None:
        """Close every source's reader."""
        self._closed = True
        await _close_all(self._readers)

    def _current(self) -> SourceReader | None:
        while self._index < len(self._readers):
            reader = self._readers[self._index]
            if not reader.exhausted:
                return reader
            self._index += 1
        return None


def _sum_of_lengths(sources: Sequence[Source]) -> int | None:
    lengths = [source.length for source in sources]
    return None if None in lengths else sum(cast("list[int]", lengths))


async def _close_all(readers: list[SourceReader]) -> None:
    """Close them, the last one first; each gets its turn even when closing another is cancelled."""
    try:
        while readers:
            await readers.pop().aclose()
    finally:
        if readers:
            await _close_all(readers)
