"""What a driver sees of a request body: a length, whether it can be sent again, and a reader.

The concrete sources (paths, bytes, file objects, iterators) are in `sources.py`; the multipart
stream that joins them is in `multipart.py`.
"""

from __future__ import annotations

from typing import Protocol


class BodyReader(Protocol):
    """One pass over a body. Not shared between tasks."""

    async def readinto(self, buffer: memoryview) -> int:
        """Fill the front of `buffer` and return how many bytes were written; 0 at the end.

        It returns as many bytes as are at hand without waiting for a slow source, at least one
        unless the body has ended, and crosses the borders between parts. Reading from a regular
        file never blocks the event loop.

        Raises:
            SourceError: the source cannot be read, or its size changed while it was being read.
        """
        ...

    async def aclose(self) -> None:
        """Release what the reader opened; idempotent, never raises."""
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

    async def open(self) -> BodyReader:
        """Begin a pass from the first byte.

        Raises:
            SourceUnavailable: a file cannot be opened any more.
            SourceNotRewindable: it was opened before and cannot be rewound.
        """
        ...
