"""File objects that are not plain files: pipes, `GzipFile`, wrappers, anything with `read`.

Any call on one may block for as long as it likes, so they run in a thread of their own, which
fills bytes objects of its own. A seekable object is sent from its current position to its end, and
its length is found by seeking there (which makes a `GzipFile` decompress everything once).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from io import BufferedRandom, BufferedReader, FileIO
from typing import Protocol, cast

from ..errors import (
    Phase,
    SourceError,
    SourceNotRewindable,
    SourceSizeChanged,
    SourceUnavailable,
    UsageError,
)
from .chunks import END, ChunkReader, byte_view, require_readable
from .naming import name_of_file_object
from .source import ReadableFile, ReadIntoFile, Source
from .threads import Worker

# Small enough for flat memory, large enough that the hop to the thread does not count.
_READ_BYTES = 256 * 1024

ReadCall = Callable[[int], object]


class _Seekable(Protocol):
    def tell(self) -> int: ...
    def seek(self, offset: int, whence: int = 0, /) -> object: ...


def unmeasured_source(file: BufferedReader | BufferedRandom | FileIO) -> StreamSource:
    """A file object without an end to be known: a pipe, a device, a file made by the kernel.

    Raises:
        UsageError: it is in non-blocking mode, in which "nothing yet" looks like the end.
    """
    if not os.get_blocking(file.fileno()):
        raise UsageError(f"{file!r} is in non-blocking mode: give an async iterator instead")
    return StreamSource(file, None)


async def stream_source(file: ReadableFile | ReadIntoFile) -> StreamSource:
    """Find out where a file object is and how much follows, if it can tell.

    Raises:
        UsageError: it is not open for reading.
        SourceUnavailable: it is closed, or cannot be read.
    """
    worker = Worker()
    try:
        span = await worker.call(lambda: _measure(file))
    finally:
        await worker.close()
    return StreamSource(file, span)


class StreamSource(Source):
    """What follows the position of a file object, which is moved by reading."""

    def __init__(self, file: ReadableFile | ReadIntoFile, span: tuple[int, int] | None) -> None:
        self._file = file
        self._name = repr(file)
        self._span = span
        self._worker: Worker | None = None
        self._touched = False
        self.filename = name_of_file_object(file)

    @property
    def length(self) -> int | None:
        """Bytes from its position to its end when the source was made; None if not seekable."""
        return None if self._span is None else max(0, self._span[1] - self._span[0])

    @property
    def rewindable(self) -> bool:
        """Whether it is seekable."""
        return self._span is not None

    async def open(self) -> StreamReader:
        """Begin a pass; the object is moved back to its first position before the first read."""
        if self._worker is not None and self._worker.busy:
            raise SourceNotRewindable(
                f"the body must be sent again, but a read of {self._name} that was cancelled has"
                " not come back yet"
            )
        if self._touched and self._span is None:
            raise SourceNotRewindable(
                f"the body must be sent again, but {self._name} is not seekable and was already"
                " read from"
            )
        self._worker = Worker()
        return StreamReader(self._name, self._worker, self._begin, self.length)

    def _begin(self) -> ReadCall:
        """Move to the start; runs in the thread."""
        self._touched = True
        if self._span is not None:
            try:
                cast("_Seekable", self._file).seek(self._span[0])
            except Exception as exc:
                raise SourceError(f"cannot rewind {self._name}: {exc}") from exc
        return _read_call(self._file)


class StreamReader(ChunkReader):
    """One pass over a file object."""

    def __init__(
        self, name: str, worker: Worker, begin: Callable[[], ReadCall], length: int | None
    ) -> None:
        super().__init__(name)
        self._worker = worker
        self._begin = begin
        self._read: ReadCall | None = None
        self._length = length
        self._total = 0

    async def pull(self) -> object:
        """Read in the thread, and compare sizes at the end of an object of known length."""
        chunk = await self._worker.call(self._next)
        return chunk if chunk.nbytes else END

    async def aclose(self) -> None:
        """Let the thread go; the file object stays as it is: it is the caller's."""
        await self._worker.close()

    def _next(self) -> memoryview:
        if self._read is None:
            self._read = self._begin()
        chunk = _checked_read(self._read, _READ_BYTES, self._name)
        if self._length is not None:
            self._check(self._total + chunk.nbytes, ended=not chunk.nbytes)
            if chunk.nbytes and self._total + chunk.nbytes == self._length:
                extra = _checked_read(self._read, 1, self._name)
                self._check(self._length + extra.nbytes, ended=True)
        self._total += chunk.nbytes
        return chunk

    def _check(self, actual: int, *, ended: bool) -> None:
        length = self._length or 0
        if actual > length or (ended and actual < length):
            comparison = "at least" if actual > length else "only"
            raise SourceSizeChanged(
                f"{self._name} changed while it was being sent: {length} bytes were announced,"
                f" {comparison} {actual} are there now",
                declared_bytes=length,
                actual_bytes=actual,
            )


def _measure(file: ReadableFile | ReadIntoFile) -> tuple[int, int] | None:
    """Current position and end of a file object; None when it is not seekable."""
    try:
        require_readable(file, readable=_says(file, "readable", default=True))
        # An mmap is seekable, and says so from Python 3.13 on only.
        if not _says(file, "seekable", default=hasattr(file, "seek") and hasattr(file, "tell")):
            return None
        seekable = cast("_Seekable", file)
        start = seekable.tell()
        seekable.seek(0, os.SEEK_END)
        end = seekable.tell()
        seekable.seek(start)
    except UsageError:
        raise
    except Exception as exc:
        raise SourceUnavailable(f"cannot read {file!r}: {exc}") from exc
    return start, end


def _says(file: object, question: str, *, default: bool) -> bool:
    method = getattr(file, question, None)
    return default if method is None else bool(method())


def _read_call(file: object) -> ReadCall:
    """The method that returns what is there instead of waiting until all that was asked for is."""
    for name in ("read1", "read"):
        method: ReadCall | None = getattr(file, name, None)
        if method is not None:
            return method
    readinto: Callable[[bytearray], int | None] = cast("ReadIntoFile", file).readinto

    def read(size: int) -> object:
        buffer = bytearray(size)
        count = readinto(buffer)
        return None if count is None else memoryview(buffer)[:count]

    return read


def _checked_read(read: ReadCall, size: int, name: str) -> memoryview:
    try:
        chunk = read(size)
    except Exception as exc:
        raise SourceError(f"cannot read {name}: {exc}") from exc
    if chunk is None:
        raise SourceError(f"{name} is in non-blocking mode and has nothing to give yet")
    return byte_view(chunk, name, Phase.SEND)
