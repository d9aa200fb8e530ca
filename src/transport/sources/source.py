"""What a source of body bytes is: a `Body` that also has a name and a content type."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import AsyncIterable, Iterable, Sequence
from typing import Protocol

from ..body import FileRange
from ..buffers import Buffer
from .naming import guess_content_type


class ReadableFile(Protocol):
    """A binary file object."""

    def read(self, size: int, /) -> bytes | None:
        """Return up to `size` bytes, `b""` at the end."""
        ...


class ReadIntoFile(Protocol):
    """A binary file object that only fills buffers."""

    def readinto(self, buffer: bytearray, /) -> int | None:
        """Fill the front of `buffer` and return how many bytes were written, 0 at the end."""
        ...


FileInput = (
    str
    | os.PathLike[str]
    | Buffer
    | ReadableFile
    | ReadIntoFile
    | Iterable[Buffer]
    | AsyncIterable[Buffer]
)
"""What a file may be given as; a `str` is a path."""


class SourceReader(ABC):
    """One pass over one source: a `FileRangeReader` that also knows about waiting and its end."""

    @property
    def at_hand(self) -> bool:
        """Whether the next `readinto` returns without waiting for a slow source."""
        return True

    @property
    @abstractmethod
    def exhausted(self) -> bool:
        """Whether it is known that nothing follows; False when only another read can tell."""

    @abstractmethod
    async def readinto(self, buffer: memoryview) -> int:
        """As `BodyReader.readinto`; `buffer` is never empty."""

    def file_range(self) -> FileRange | None:
        """As `FileRangeReader.file_range`."""
        return None

    def skip(self, count: int) -> None:
        """As `FileRangeReader.skip`."""
        raise ValueError(f"the next {count} bytes come from no file range")

    @abstractmethod
    async def aclose(self) -> None:
        """As `BodyReader.aclose`."""


class Source(ABC):
    """Where the bytes of one file, or of a whole body, come from."""

    __slots__ = ()

    filename: str | None = None
    """Name it suggests for itself, without folders; None when it has none."""

    @property
    def content_type(self) -> str:
        """Media type by the suggested name, `application/octet-stream` when that says nothing."""
        return guess_content_type(self.filename)

    @property
    @abstractmethod
    def length(self) -> int | None:
        """Exact number of bytes, or None when only reading can tell."""

    @property
    @abstractmethod
    def rewindable(self) -> bool:
        """Whether it can be opened a second time, from its start."""

    def in_memory(self) -> Sequence[Buffer] | None:
        """As `Body.in_memory`."""
        return None

    @abstractmethod
    async def open(self) -> SourceReader:
        """Begin a pass from the first byte.

        Raises:
            SourceUnavailable: a file cannot be opened any more.
            SourceSizeChanged: a file has another size than when the source was made.
            SourceNotRewindable: bytes were taken before and cannot be had again.
        """
