"""What a driver sees of a request body: a length, whether it can be sent again, and a reader.

The concrete sources (paths, bytes, file objects, iterators) are in `sources`; the multipart stream
that joins them is in `multipart.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from .buffers import Buffer


class BodyReader(Protocol):
    """One pass over a body. Not shared between tasks; after a cancelled call only good to close."""

    async def readinto(self, buffer: memoryview) -> int:
        """Fill the front of `buffer` and return how many bytes were written; 0 at the end.

        It returns as many bytes as are at hand without waiting for a slow source, at least one
        unless the body has ended, and crosses the borders between parts. Reading from a regular
        file never blocks the event loop. What is at hand is returned without a checkpoint.

        Raises:
            SourceError: the source cannot be read, or its size changed while it was being read.
            UsageError: an iterator or file object gave something that is not bytes.
            ValueError: `buffer` is empty, so that 0 would not mean the end.
        """
        ...

    async def aclose(self) -> None:
        """Release what the reader opened; idempotent, never raises."""
        ...


@dataclass(frozen=True, slots=True)
class FileRange:
    """Bytes of a regular file that come next in a body."""

    fd: int
    """Stays open until the reader is closed; its own file position means nothing."""
    offset: int
    """Where in the file they begin."""
    length: int
    """How many there are, at least 1."""


@runtime_checkable
class FileRangeReader(BodyReader, Protocol):
    """A reader that names the file its next bytes come from, for senders that can use it.

    The last byte of a file is never part of a range: it leaves through `readinto` only, which
    compares the file's size with the announced one first. So no sender can complete a body from a
    file that shrank or grew. One that gets fewer bytes from the file than the range promised skips
    what it got and calls `readinto`, which raises `SourceSizeChanged`. Whoever reads a range again
    later (after packet loss) keeps the reader open until then.
    """

    def file_range(self) -> FileRange | None:
        """Where the next bytes are; None when `readinto` is the only way to them, or at the end.

        Changes with `readinto` and `skip` only.
        """
        ...

    def skip(self, count: int) -> None:
        """Pass over bytes of the current range that the caller has taken from the file itself.

        Raises:
            ValueError: there are not so many bytes in the range.
        """
        ...


class Body(Protocol):
    """A request body that can be opened, and perhaps opened again."""

    @property
    def length(self) -> int | None:
        """Exact number of bytes, or None when a source cannot tell."""
        ...

    @property
    def rewindable(self) -> bool:
        """Whether it can be opened a second time, from its start."""
        ...

    def in_memory(self) -> Sequence[Buffer] | None:
        """All of it, in pieces that need not be read; None when some of it has to be."""
        ...

    async def open(self) -> BodyReader:
        """Begin a pass from the first byte.

        Raises:
            SourceUnavailable: a file cannot be opened any more.
            SourceNotRewindable: it was opened before and cannot be rewound.
        """
        ...
